//! The recordings in a record log: opened with the key file that lies there, gapless, in order, sealed with the
//! numbers that the frames give, and, with an auditor's key, readable from the first byte to the last.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use policies::digest::Digest;
use policies::ids::{NodeId, PersonId, RequestId, ServiceName, SessionId, TargetName};
use serde::Deserialize;

use super::Context;
use super::keeping::Keepings;
use super::log::{At, Before, Reader};
use super::report::{Finding, FindingKind, SessionReport, SessionVerdict};
use crate::block::PlainFrame;
use crate::frame::{self, Fact, Header, Kind, RawFrame, TAG_BYTES};
use crate::keeping::length_and_digest;
use crate::keys::SessionKeys;
use crate::leaf::{
    ABANDONED, BlockLeaf, CRASHED, Direction, Entry, Leaf, OTHER_CHANNELS, Opened, Sealed, SealedAccount, Statement,
    fold_mark, signed_bytes,
};
use crate::ledger::LedgerDigest;
use crate::notes::Note;
use crate::read::{self, AuditorKeys, KeysFault};
use crate::sealer::DataBytes;
use crate::segment::{self, OpenSession};
use crate::state::NODE;

/// Channels of one session that are counted one by one; a seal lists fewer.
const CHANNELS_MAX: usize = 1 << 16;

/// Reads a record log's sessions.
pub(super) struct Sessions<'a> {
    dir: &'a Path,
    relative: &'a Path,
    keys: Option<&'a AuditorKeys>,
    open: BTreeMap<u64, Track>,
    /// Every session with an opening.
    pub(super) known: BTreeMap<SessionId, Known>,
    /// Of each session with blocks, its files.
    files: BTreeMap<SessionId, BlockFiles>,
    /// Numbers of sessions whose opening is lost, each told once.
    orphans: BTreeSet<u64>,
    /// Sessions of which something was found after they were reported.
    accused: BTreeSet<SessionId>,
    /// Whether an opening may be among what was lost.
    pub(super) lost: bool,
    /// Whether the gate runs at this place; none where that is not known.
    runs: Option<bool>,
    /// The entry by which it was started last.
    pub(super) started: Option<u64>,
    /// What of them is kept, as the journal decided and as leaves say.
    pub(super) keeping: Keepings,
}

/// What the journal is compared with.
#[derive(Default)]
pub(super) struct Known {
    /// The digest of its seal.
    pub(super) seal: Option<Digest>,
    /// What its opening says of it.
    pub(super) told: Option<Told>,
    /// How many entries the journal had once the session was in it, as the opening says.
    pub(super) journal_size: u64,
    /// The index of the opening's entry.
    pub(super) opened: u64,
    /// And of the seal's.
    pub(super) sealed: Option<u64>,
    /// From its opening to the last byte that passed.
    pub(super) lasted: Duration,
}

/// What a session's opening says of it, as far as the journal says it too; the gate writes more.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Told {
    pub(super) session: SessionId,
    pub(super) grant: RequestId,
    pub(super) technician: PersonId,
    pub(super) target: TargetName,
    pub(super) service: ServiceName,
    pub(super) node: NodeId,
}

/// What a session's opening says of the journal.
#[derive(Deserialize)]
struct Seen {
    journal_size: u64,
}

/// A session's files of blocks: of each, how many bytes are in blocks that have leaves.
#[derive(Default)]
struct BlockFiles {
    ends: BTreeMap<u32, u64>,
    /// Whether every frame is in a block that has a leaf.
    complete: bool,
}

/// A session whose seal did not come yet, or of which some frames are in no block yet.
struct Track {
    recording: SessionId,
    /// None where it was lost.
    opened: Option<Opened>,
    keys: Option<SessionKeys>,
    sequence: u64,
    /// None behind a gap.
    digest: Option<[u8; 32]>,
    kept: Kept,
    /// What its blocks hold, with the key; none without one, or behind a gap.
    content: Option<Content>,
    /// What its blocks' leaves say of them; none behind a gap.
    sums: Option<DataBytes>,
    sealed: bool,
    /// What it is sealed with; none where that was lost.
    seal: Option<Sealed>,
    nanos: u64,
    /// What its frames in segments hold.
    bytes: Bytes,
    ledger: LedgerDigest,
    /// Whether frames of it lay in segments that are not here.
    unseen: bool,
    is_altered: bool,
}

/// Bytes of each direction of each channel.
type Bytes = BTreeMap<(Direction, u32), Recorded>;

/// What blocks hold.
struct Content {
    /// Over the marks of the frames, made again.
    digest: [u8; 32],
    bytes: Bytes,
    ledger: LedgerDigest,
}

/// What of a session is in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    /// The sequence behind the last frame.
    until: u64,
    blocks: u32,
    /// The hash of the opening's or the last block's entry.
    leaf: [u8; 32],
}

/// Bytes of one direction of one channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Recorded {
    received: u64,
    made: u64,
}

impl<'a> Sessions<'a> {
    pub(super) fn new(dir: &'a Path, relative: &'a Path, keys: Option<&'a AuditorKeys>, keeping: Keepings) -> Self {
        Self {
            dir,
            relative,
            keys,
            open: BTreeMap::new(),
            known: BTreeMap::new(),
            files: BTreeMap::new(),
            orphans: BTreeSet::new(),
            accused: BTreeSet::new(),
            lost: false,
            runs: None,
            started: None,
            keeping,
        }
    }

    /// Sessions that began when the journal had more entries than this.
    pub(super) fn newer_than(&self, journal_size: u64) -> BTreeSet<SessionId> {
        self.known.iter().filter(|(_, known)| known.journal_size > journal_size).map(|(id, _)| *id).collect()
    }

    /// Tells of sessions without a seal, and of what lies in the folder and belongs to none. `runs` says which sessions
    /// go on where this was copied.
    pub(super) fn finish(&mut self, runs: impl Fn(SessionId) -> bool, are_open: bool, context: &mut Context<'_>) {
        for track in std::mem::take(&mut self.open).into_values() {
            if track.sealed {
                continue;
            }
            let (kind, verdict, words) = match (track.is_altered, runs(track.recording)) {
                (false, true) => (FindingKind::Open, SessionVerdict::Open, "the session goes on"),
                (is_altered, _) => (
                    FindingKind::NotSealed,
                    if is_altered { SessionVerdict::Altered } else { SessionVerdict::NotSealed },
                    "the recording has no seal: nobody says that this is all of it",
                ),
            };
            context.find(Finding::new(kind, words).of(track.recording));
            context.report.sessions.push(track.report(None, verdict, self.keys.is_some()));
        }
        self.check_folder(context);
        let accused = |session: &&mut SessionReport| self.accused.contains(&session.session);
        context
            .report
            .sessions
            .iter_mut()
            .filter(accused)
            .for_each(|session| session.verdict = SessionVerdict::Altered);
        self.keeping.tell(are_open, context);
    }

    fn check_folder(&mut self, context: &mut Context<'_>) {
        let dir = self.dir.join("sessions");
        let relative = self.relative.join("sessions");
        for name in super::names(&dir, &relative, context) {
            let session = session_of(&name);
            match session.filter(|session| self.known.contains_key(session)) {
                Some(id) => {
                    self.check_session_folder(id, &dir.join(&name), &relative.join(&name), context);
                    self.check_copied(id, &dir.join(&name), &relative.join(&name), context);
                }
                None if session.is_some() && !self.lost => {
                    let words = "keys of a recording that never began: the gate stopped before, or let nobody in";
                    context.find(Finding::new(FindingKind::Note, words).at(relative.join(&name), 0));
                }
                None => context.find(super::stray(relative.join(&name))),
            }
        }
    }

    fn check_session_folder(&self, session: SessionId, dir: &Path, relative: &Path, context: &mut Context<'_>) {
        let files = self.files.get(&session);
        for name in super::names(dir, relative, context).into_iter().filter(|name| *name != segment::key_file_name(0)) {
            let at = relative.join(&name);
            let Some(number) = segment::block_file_number(&name) else {
                context.find(super::stray(at));
                continue;
            };
            let length = std::fs::metadata(dir.join(&name)).map_or(0, |metadata| metadata.len());
            let kept = files.and_then(|files| files.ends.get(&number)).copied().unwrap_or(0);
            if length <= kept {
                continue;
            }
            // A block that found no room, or that was being kept when the gate died, is kept again in a later file.
            let goes_on = files.is_none_or(|files| !files.complete || files.ends.keys().any(|later| *later > number));
            let (kind, words) = if goes_on {
                (FindingKind::Note, "bytes of a block that was not kept to its end")
            } else {
                (FindingKind::Altered, "there are bytes behind the last block")
            };
            context.find(Finding::new(kind, words).at(at, kept).of(session));
        }
    }

    /// Files of which a leaf says that a copy lies in a bucket, as far as they are here, are what it says.
    fn check_copied(&mut self, session: SessionId, dir: &Path, relative: &Path, context: &mut Context<'_>) {
        for copied in self.keeping.copies(session) {
            let finding = match length_and_digest(&dir.join(&copied.name)) {
                Ok(found) if found == (copied.bytes, copied.sha256) => continue,
                Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => continue,
                // Overwritten, and not removed yet.
                Ok(_) if self.keeping.excuses(session) => continue,
                Ok(_) => {
                    self.accused.insert(session);
                    let words = "the file is not the one of which a leaf says that a copy lies in a bucket";
                    Finding::new(FindingKind::Altered, words)
                }
                Err(error) => Finding::new(FindingKind::NotChecked, format!("cannot be read: {error}")),
            };
            context.find(finding.at(relative.join(&copied.name), 0).of(session));
        }
    }

    fn opened(&mut self, at: &At<'_>, opened: Opened, entry: &Entry, context: &mut Context<'_>) {
        let recording = opened.recording;
        let mut track = Track::new(recording, opened.nanos);
        let journal_size = serde_json::from_slice(&opened.metadata).map_or(0, |Seen { journal_size }| journal_size);
        let told = serde_json::from_slice(&opened.metadata).ok();
        let known = Known { seal: None, told, journal_size, opened: entry.index, sealed: None, lasted: Duration::ZERO };
        if opened.epoch != 0 || self.known.insert(recording, known).is_some() {
            let words = "a recording was opened a second time";
            context.find(at.wrong(FindingKind::Altered, words).of(recording));
            track.is_altered = true;
        }
        if !self.check_key_file(&opened, context) {
            track.is_altered = true;
        }
        track.keys = self.open_keys(&opened, context);
        track.kept = Kept { until: 1, blocks: 0, leaf: entry.hash };
        track.content = track.keys.is_some().then(Content::new);
        track.sums = Some(DataBytes::default());
        track.opened = Some(opened);
        let number = match at.header() {
            Some(header) => header.session,
            None => {
                (track.sequence, track.digest, track.unseen) = (1, None, true);
                entry.index
            }
        };
        self.open.insert(number, track);
    }

    fn key_file(&self, opened: &Opened) -> PathBuf {
        read::key_file_path(self.relative, opened)
    }

    /// Whether the key file is the one that the opening names.
    fn check_key_file(&mut self, opened: &Opened, context: &mut Context<'_>) -> bool {
        let finding = match read::read_key_file(&read::key_file_path(self.dir, opened)) {
            Ok(bytes) if Digest::of_bytes(&bytes) == opened.key_file => return true,
            // Overwritten, and not removed yet.
            Ok(_) if self.keeping.excuses(opened.recording) => return true,
            Ok(_) => Finding::new(FindingKind::Altered, "the key file is not the one the recording was opened with"),
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {
                let finding = Finding::new(FindingKind::Missing, "the key file is missing");
                let finding = finding.at(self.key_file(opened), 0).of(opened.recording);
                self.keeping.missing(opened.recording, finding);
                return true;
            }
            Err(error) => Finding::new(FindingKind::NotChecked, format!("the key file cannot be read: {error}")),
        };
        context.find(finding.at(self.key_file(opened), 0).of(opened.recording));
        false
    }

    fn open_keys(&self, opened: &Opened, context: &mut Context<'_>) -> Option<SessionKeys> {
        let finding = match self.keys?.open(self.dir, opened) {
            Ok(keys) => {
                context.report.opened += 1;
                return Some(keys);
            }
            // Told without a key already.
            Err(KeysFault::Io { .. } | KeysFault::OtherKeyFile(_)) => return None,
            Err(KeysFault::OtherRoot(_)) => {
                let words = "the key in it is not the one that the recording's opening commits to";
                Finding::new(FindingKind::Altered, words)
            }
            // As without a key: it says itself for whom it is, and what it holds is theirs to open.
            Err(KeysFault::NotForYou { to, .. }) if !to.is_empty() => {
                let words = format!("not opened: encrypted to {}, and to none of your keys", read::to_whom(&to));
                Finding::new(FindingKind::Note, words)
            }
            Err(KeysFault::NotAsSaid { recipient, .. }) => {
                let words = format!("it says that it is encrypted to {recipient}, and that key does not open it");
                Finding::new(FindingKind::Altered, words)
            }
            Err(fault) => Finding::new(FindingKind::NotChecked, fault.to_string()),
        };
        context.report.not_opened += u64::from(finding.kind == FindingKind::Note && context.holds(opened.recording));
        context.find(finding.at(self.key_file(opened), 0).of(opened.recording));
        None
    }

    /// The session that a frame stands in, its place in it checked.
    fn follow(&mut self, at: &At<'_>, header: &Header, context: &mut Context<'_>) -> Option<&mut Track> {
        let number = header.session;
        let Some(track) = self.open.get_mut(&number).filter(|track| !track.sealed) else {
            if self.orphans.len() < CHANNELS_MAX && self.orphans.insert(number) {
                let words = format!("frames of session {number}, which was not opened or is sealed already");
                context.find(at.wrong(FindingKind::Altered, words));
            }
            return None;
        };
        let (sequence, nanos) = (header.sequence, header.nanos);
        if sequence != track.sequence {
            let words =
                format!("frame {} of the recording should stand here, and frame {sequence} does", track.sequence);
            context.find(at.wrong(FindingKind::Missing, words).of(track.recording));
            track.lose();
        }
        if nanos < track.nanos {
            let words = "a frame is earlier than the one before it";
            context.find(at.wrong(FindingKind::Altered, words).of(track.recording));
            track.is_altered = true;
        }
        track.sequence = sequence.saturating_add(1);
        track.nanos = nanos;
        Some(track)
    }

    fn sealed(&mut self, at: &At<'_>, sealed: &Sealed, entry: &Entry, context: &mut Context<'_>) {
        let Some(mut track) = self.open.remove(&sealed.session).filter(|track| !track.sealed) else {
            return context.find(at.wrong(FindingKind::Altered, "a seal of a recording that is not open"));
        };
        match at.header() {
            Some(header) if track.sequence != header.sequence => {
                let words = format!("frames {} to {} of the recording are missing", track.sequence, header.sequence);
                context.find(at.wrong(FindingKind::Missing, words).of(track.recording));
                track.sequence = header.sequence;
                track.lose();
            }
            Some(_) => {}
            None => track.sequence = track.sequence.max(sealed.frames),
        }
        for words in track.contradictions(at, sealed) {
            context.find(at.wrong(FindingKind::Altered, words).of(track.recording));
            track.is_altered = true;
        }
        let signed = signed_bytes(Statement::Seal, at.origin, &sealed.body());
        if at.verifier.is_some_and(|verifier| verifier.verify(&signed, &sealed.signature).is_err()) {
            let words = "the seal is not signed by the key that you trust";
            context.find(at.wrong(FindingKind::NotSigned, words).of(track.recording));
            track.is_altered = true;
        }
        let known = self.known.entry(track.recording).or_default();
        (known.seal, known.sealed) = (Some(Digest(entry.hash)), Some(entry.index));
        let verdict = match sealed.ending.as_str() {
            _ if track.is_altered => SessionVerdict::Altered,
            CRASHED | ABANDONED => SessionVerdict::CutOff,
            _ => SessionVerdict::Ok,
        };
        context.report.sessions.push(track.report(Some(sealed.ending.clone()), verdict, self.keys.is_some()));
        (track.sealed, track.seal) = (true, Some(sealed.clone()));
        self.open.insert(sealed.session, track);
        self.finish_covered(at, context);
    }

    /// What a segment's head says of a session. Where only entries are known of what stands before, its frames are in blocks.
    fn head_session(&mut self, at: &At<'_>, session: &OpenSession, context: &mut Context<'_>) {
        let lost = !self.open.contains_key(&session.session);
        let track = self.open.entry(session.session).or_insert_with(|| Track::new(session.recording, 0));
        let kept = Kept { until: session.covered, blocks: session.blocks, leaf: session.leaf };
        let entries_say = track.recording == session.recording && track.sealed == session.sealed && track.kept == kept;
        let frames_say =
            track.sequence == session.sequence && track.digest.is_none_or(|digest| digest == session.digest);
        let goes_on = at.known == Before::Entries && track.sequence <= session.sequence;
        if lost || !entries_say || !(frames_say || goes_on) {
            let words = "frames of the recording are missing before this segment";
            context.find(at.wrong(FindingKind::Missing, words).of(session.recording));
            track.recording = session.recording;
            track.lose();
            (track.content, track.sums) = (None, None);
        }
        track.unseen |= at.known != Before::Frames;
        (track.sequence, track.digest, track.sealed) = (session.sequence, Some(session.digest), session.sealed);
        track.kept = kept;
    }

    /// A block's leaf: it follows what is in blocks already, and names bytes that lie there.
    fn block(&mut self, at: &At<'_>, leaf: &BlockLeaf, entry: &Entry, context: &mut Context<'_>) {
        let Some(track) = self.open.get_mut(&leaf.session) else {
            return context.find(at.wrong(FindingKind::Altered, "a block of a recording that is not open"));
        };
        if at.header().is_none() && !track.sealed {
            track.sequence = track.sequence.max(leaf.end());
        }
        let Kept { until, blocks, leaf: previous } = track.kept;
        let follows = (leaf.first, leaf.number, leaf.previous) == (until, blocks, previous);
        let within = leaf.end() <= track.sequence && leaf.frames > 0;
        let mut wrong = None;
        if !(follows || track.kept == Kept::UNKNOWN) || !within {
            wrong = Some(at.wrong(FindingKind::Altered, "a block does not follow the one before it"));
        }
        let path = segment::session_dir(self.dir, track.recording).join(segment::block_file_name(leaf.file));
        let relative = path.strip_prefix(self.dir).map(|inner| self.relative.join(inner)).unwrap_or_default();
        let found = |kind, words: String| Finding::new(kind, words).at(&relative, leaf.offset);
        let checked = match read::read_block(&path, leaf) {
            Ok(bytes) => {
                context.has_read(bytes.len() as u64);
                let header = read::check_block(&bytes, leaf);
                header.map_err(str::to_owned).and_then(|_| track.keep(&bytes, leaf))
            }
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {
                let finding = found(FindingKind::Missing, "a file of blocks is missing".to_owned());
                self.keeping.missing(track.recording, finding.of(track.recording));
                track.content = None;
                Ok(())
            }
            Err(error) => {
                wrong = wrong.or(Some(found(FindingKind::NotChecked, format!("cannot be read: {error}"))));
                Ok(())
            }
        };
        if let Err(words) = checked {
            let until = leaf.offset.saturating_add(leaf.length);
            wrong = wrong.or(Some(found(FindingKind::Altered, words).until(until)));
        }
        let (recording, lasted) = (track.recording, track.since_opened(leaf.last_nanos));
        track.kept = Kept { until: leaf.end(), blocks: leaf.number.saturating_add(1), leaf: entry.hash };
        if let Some(sums) = &mut track.sums {
            sums.add(Direction::In, leaf.bytes_in);
            sums.add(Direction::Out, leaf.bytes_out);
        }
        let end = self.files.entry(track.recording).or_default().ends.entry(leaf.file).or_default();
        *end = leaf.offset.saturating_add(leaf.length).max(*end);
        if let Some(wrong) = wrong {
            track.content = None;
            self.accuse(recording, leaf.session);
            context.find(wrong.of(recording));
        }
        if leaf.bytes_in > 0 || leaf.bytes_out > 0 {
            self.lasted(recording, lasted);
        }
        self.finish_covered(at, context);
    }

    /// Something of a session is not as it was, found after it was reported or before.
    fn accuse(&mut self, recording: SessionId, number: u64) {
        if let Some(track) = self.open.get_mut(&number) {
            track.is_altered = true;
        }
        self.accused.insert(recording);
    }

    fn lasted(&mut self, recording: SessionId, span: Duration) {
        if let Some(known) = self.known.get_mut(&recording) {
            known.lasted = known.lasted.max(span);
        }
    }

    /// A sealed session all of whose frames are in blocks is done with: what the blocks hold is what was sealed.
    fn finish_covered(&mut self, at: &At<'_>, context: &mut Context<'_>) {
        let done = |track: &mut Track| track.sealed && track.kept.until >= track.sequence;
        let done: Vec<(u64, Track)> = self.open.extract_if(.., |_, track| done(track)).collect();
        for (_, track) in done {
            self.files.entry(track.recording).or_default().complete = true;
            for words in track.seal.as_ref().map_or_else(Vec::new, |seal| track.blocks_contradict(seal)) {
                context.find(at.wrong(FindingKind::Altered, words).of(track.recording));
                self.accused.insert(track.recording);
            }
            let mut reports = context.report.sessions.iter_mut();
            if let Some(report) = reports.rfind(|report| track.unseen && report.session == track.recording) {
                track.put_sums(report);
            }
        }
    }
}

/// The session whose folder has this name.
fn session_of(name: &str) -> Option<SessionId> {
    format!("s_{name}").parse().ok()
}

impl Reader for Sessions<'_> {
    fn entry(&mut self, at: &At<'_>, entry: &Entry, context: &mut Context<'_>) {
        let leaf = match Leaf::parse(&entry.bytes) {
            Ok(leaf) => leaf,
            Err(malformed) => return context.find(at.wrong(FindingKind::Altered, malformed.to_string())),
        };
        // An entry says itself in which session it stood.
        let number = at.header().map_or_else(|| session_number(&leaf, entry), |header| header.session);
        match leaf {
            leaf @ (Leaf::Started(_) | Leaf::Stopped) if number == NODE => {
                let starts = matches!(leaf, Leaf::Started(_));
                if self.runs == Some(starts) && at.header().is_some() {
                    let words = if starts { "a run starts in another one" } else { "a run ends that had ended" };
                    context.find(at.wrong(FindingKind::Altered, words));
                }
                self.runs = Some(starts);
                self.started = if starts { Some(entry.index) } else { self.started };
            }
            Leaf::Anchor(_) | Leaf::Retired(_) if number == NODE => {}
            Leaf::Opened(opened) if number != NODE && (number == entry.index || at.tree.is_none()) => {
                self.opened(at, opened, entry, context);
                if let Some(header) = at.header() {
                    self.follow(at, header, context);
                }
            }
            Leaf::Held(_) | Leaf::Released(_) | Leaf::Erased(_) if number == NODE => {
                self.keeping.leaf(at, (entry.index, &leaf), context);
            }
            Leaf::Copied(ref copied) if number == NODE => {
                let is_open = self.open.values().any(|track| track.recording == copied.recording);
                if is_open || !(self.known.contains_key(&copied.recording) || self.lost) {
                    let words = "a leaf says where a copy lies of a recording that is not wholly in blocks";
                    context.find(at.wrong(FindingKind::Altered, words).of(copied.recording));
                }
                self.keeping.copied(entry.index, &leaf, copied.recording);
            }
            Leaf::Block(block) if number == NODE => self.block(at, &block, entry, context),
            Leaf::Sealed(sealed) if number != NODE && sealed.session == number => {
                self.sealed(at, &sealed, entry, context);
            }
            _ => context.find(at.wrong(FindingKind::Altered, "a leaf stands where it is not about anything")),
        }
    }

    fn session_frame(&mut self, at: &At<'_>, frame: &RawFrame<'_>, context: &mut Context<'_>) {
        if frame.header.session == NODE {
            return;
        }
        let Some(track) = self.follow(at, &frame.header, context) else { return };
        let (recording, lasted) = (track.recording, track.since_opened(frame.header.nanos));
        track.fold(frame);
        count(&mut track.bytes, &frame.header, frame.body.len().saturating_sub(TAG_BYTES));
        if let Err(words) = track.open(frame) {
            track.is_altered = true;
            context.find(at.wrong(FindingKind::Altered, words).of(recording));
        }
        if frame.header.kind == Kind::Data {
            self.lasted(recording, lasted);
        }
    }

    fn heads_sessions(&mut self, at: &At<'_>, open: &[OpenSession], context: &mut Context<'_>) {
        if at.known == Before::Gap {
            self.runs = None;
            // Where a part has no segments, others ended unseen.
            let goes_on = |number: &u64| open.iter().any(|session| session.session == *number);
            self.open.retain(|number, track| context.holds(track.recording) || goes_on(number));
        }
        let ours: Vec<u64> = self.open.keys().copied().collect();
        if at.known != Before::Gap && ours != open.iter().map(|session| session.session).collect::<Vec<_>>() {
            let words = "a segment's head names other open sessions than there are";
            context.find(at.wrong(FindingKind::Altered, words));
        }
        for session in open {
            self.head_session(at, session, context);
            self.known.entry(session.recording).or_default();
        }
    }

    fn open_sessions(&self) -> usize {
        self.open.values().filter(|track| !track.sealed).count()
    }

    fn crashed(&mut self) {
        self.runs = None;
    }

    fn entries_lost(&mut self) {
        self.lost = true;
        self.runs = None;
        // Leaves of blocks may be among what was lost.
        for track in self.open.values_mut() {
            (track.kept, track.content, track.sums) = (Kept::UNKNOWN, None, None);
        }
    }
}

impl Track {
    fn new(recording: SessionId, nanos: u64) -> Self {
        Self {
            recording,
            opened: None,
            keys: None,
            sequence: 0,
            digest: Some([0; 32]),
            kept: Kept::UNKNOWN,
            content: None,
            sums: None,
            sealed: false,
            seal: None,
            nanos,
            bytes: Bytes::new(),
            ledger: LedgerDigest::default(),
            unseen: false,
            is_altered: false,
        }
    }

    /// By the clock that nobody sets.
    fn since_opened(&self, nanos: u64) -> Duration {
        let opened = self.opened.as_ref().map_or(nanos, |opened| opened.nanos);
        Duration::from_nanos(nanos.saturating_sub(opened))
    }

    fn lose(&mut self) {
        self.is_altered = true;
        self.digest = None;
    }

    fn fold(&mut self, frame: &RawFrame<'_>) {
        self.digest = self.digest.map(|digest| fold_mark(&digest, &frame.mark()));
    }

    /// With a key: what a block holds, and that it is readable.
    fn keep(&mut self, bytes: &[u8], leaf: &BlockLeaf) -> Result<(), String> {
        let Some(keys) = &mut self.keys else { return Ok(()) };
        for PlainFrame { header, bytes } in read::open_block(bytes, leaf, keys)? {
            let Some(content) = &mut self.content else { continue };
            let mark = frame::mark_again(&header, &bytes, keys.frame_key(header.block));
            content.digest = fold_mark(&content.digest, &mark);
            count(&mut content.bytes, &header, bytes.len());
            understand(&header, &bytes, &mut content.ledger)?;
        }
        Ok(())
    }

    /// With a key: whether the frame was made with it, and says something.
    fn open(&mut self, frame: &RawFrame<'_>) -> Result<(), String> {
        let Some(keys) = &mut self.keys else { return Ok(()) };
        let plain = read::plain(frame, keys)?.bytes;
        understand(&frame.header, &plain, &mut self.ledger)
    }

    /// What a seal says that the frames do not.
    fn contradictions(&self, at: &At<'_>, sealed: &Sealed) -> Vec<String> {
        let mut words = Vec::new();
        let mut check = |holds: bool, otherwise: &str| {
            if !holds {
                words.push(otherwise.to_owned());
            }
        };
        check(sealed.recording == self.recording, "the seal is of another recording");
        check(sealed.frames == self.sequence, "the seal counts other frames than there are");
        check(self.digest.is_none_or(|digest| digest == sealed.digest), "the seal is over other frames than there are");
        let here = at.header().is_none() || sealed.chain == at.position;
        check(here, "the seal was made at another place");
        let without_word = matches!(sealed.ending.as_str(), CRASHED | ABANDONED);
        match (&sealed.ledger, &sealed.accounts) {
            (Some(ledger), Some(accounts)) => {
                let is_seen = self.digest.is_some() && !self.unseen;
                let readable = is_seen && self.keys.is_some();
                check(!readable || *ledger == self.ledger.digest(), "the seal is over another file ledger");
                check(!is_seen || accounts_agree(&self.bytes, accounts), "the seal counts other bytes than there are");
                let balanced = accounts.iter().all(is_balanced);
                check(balanced, "not every byte that was received is forwarded, refused or undelivered");
            }
            (None, None) => check(without_word, "the seal counts nothing, and nobody crashed"),
            _ => check(false, "the seal has half an account"),
        }
        words
    }

    /// What the blocks hold that the seal does not say.
    fn blocks_contradict(&self, seal: &Sealed) -> Vec<String> {
        let mut words = Vec::new();
        let mut check = |holds: bool, otherwise: &str| {
            if !holds {
                words.push(otherwise.to_owned());
            }
        };
        let accounts = seal.accounts.as_deref();
        match (&self.content, accounts) {
            (Some(content), accounts) => {
                check(content.digest == seal.digest, "the blocks hold other frames than were sealed");
                let agree = accounts.is_none_or(|accounts| accounts_agree(&content.bytes, accounts));
                check(agree, "the seal counts other bytes than the blocks hold");
                let ledger = seal.ledger.is_none_or(|ledger| ledger == content.ledger.digest());
                check(ledger, "the seal is over another file ledger than the blocks hold");
            }
            (None, Some(accounts)) => {
                let agree = self.sums.is_none_or(|sums| sums == sums_of(accounts));
                check(agree, "the seal counts other bytes than the blocks are said to hold");
            }
            (None, None) => {}
        }
        words
    }

    fn put_sums(&self, report: &mut SessionReport) {
        if let Some(DataBytes { inward, outward }) = self.sums {
            (report.bytes_in, report.bytes_out) = (inward, outward);
        }
        report.files = self.content.as_ref().map(|content| content.ledger.entries()).or(report.files);
    }

    fn report(&self, ending: Option<String>, verdict: SessionVerdict, with_key: bool) -> SessionReport {
        let bytes = |wanted: Direction| {
            let of = self.bytes.iter().filter(|((direction, _), _)| *direction == wanted);
            of.map(|(_, recorded)| recorded.received + recorded.made).sum()
        };
        SessionReport {
            session: self.recording,
            began: self.opened.as_ref().map(|opened| opened.wall).unwrap_or_default(),
            ending,
            verdict,
            frames: self.sequence,
            bytes_in: bytes(Direction::In),
            bytes_out: bytes(Direction::Out),
            files: (with_key && self.keys.is_some()).then(|| self.ledger.entries()),
            holds: 0,
            erased: None,
        }
    }
}

impl Kept {
    /// Behind a gap.
    const UNKNOWN: Self = Self { until: 1, blocks: 0, leaf: [0; 32] };
}

impl Content {
    fn new() -> Self {
        Self { digest: [0; 32], bytes: Bytes::new(), ledger: LedgerDigest::default() }
    }
}

/// What a seal counts in each direction.
fn sums_of(accounts: &[SealedAccount]) -> DataBytes {
    accounts.iter().fold(DataBytes::default(), |mut sums, row| {
        sums.add(row.account.direction, row.recorded.saturating_add(row.recorded_made));
        sums
    })
}

/// The number of the session that a leaf stands in.
fn session_number(leaf: &Leaf, entry: &Entry) -> u64 {
    match leaf {
        Leaf::Opened(_) => entry.index,
        Leaf::Sealed(sealed) => sealed.session,
        _ => NODE,
    }
}

/// Counts a frame's bytes of data.
fn count(bytes: &mut Bytes, header: &Header, length: usize) {
    let Some(direction) = header.stream.direction().filter(|_| header.kind == Kind::Data) else { return };
    let channel = if bytes.len() < CHANNELS_MAX { header.channel } else { OTHER_CHANNELS };
    let recorded = bytes.entry((direction, channel)).or_default();
    if header.stream.is_of_the_gate() {
        recorded.made += length as u64;
    } else {
        recorded.received += length as u64;
    }
}

/// Whether what a frame holds says something; files go into the ledger.
fn understand(header: &Header, plain: &[u8], ledger: &mut LedgerDigest) -> Result<(), String> {
    let Kind::Fact(fact) = header.kind else { return Ok(()) };
    if fact == Fact::FileEntry {
        ledger.push(plain);
    }
    Note::decode(fact, plain).map(drop).map_err(|not_a_note| not_a_note.to_string())
}

/// Each account is what its frames add up to, and no channel is without one. The last ones may be sums.
fn accounts_agree(bytes: &Bytes, accounts: &[SealedAccount]) -> bool {
    let key = |row: &SealedAccount| (row.account.direction, row.account.channel);
    let mut rest = bytes.clone();
    let in_order = accounts.windows(2).all(|pair| key(&pair[0]) < key(&pair[1]))
        || accounts.iter().any(|row| row.account.channel == OTHER_CHANNELS);
    let mut agree = in_order;
    for row in accounts.iter().filter(|row| row.account.channel != OTHER_CHANNELS) {
        agree &= rest.remove(&key(row)).unwrap_or_default() == recorded(row);
    }
    for row in accounts.iter().filter(|row| row.account.channel == OTHER_CHANNELS) {
        let mut sum = Recorded::default();
        rest.retain(|(direction, _), recorded| {
            let counts = *direction == row.account.direction;
            if counts {
                sum.received += recorded.received;
                sum.made += recorded.made;
            }
            !counts
        });
        agree &= sum == recorded(row);
    }
    agree && rest.is_empty()
}

const fn recorded(row: &SealedAccount) -> Recorded {
    Recorded { received: row.recorded, made: row.recorded_made }
}

fn is_balanced(row: &SealedAccount) -> bool {
    let account = &row.account;
    let went = account.forwarded.checked_add(account.refused).and_then(|sum| sum.checked_add(account.undelivered));
    went == Some(account.received) && account.received == row.recorded && account.made == row.recorded_made
}

#[cfg(test)]
mod tests {
    use super::super::log::Place;
    use super::super::{Progress, Report};
    use super::*;
    use crate::leaf::{Account, Position};

    /// As whoever has the log's key could make it: a seal over other frames than the blocks hold.
    #[test]
    fn blocks_that_hold_something_else_than_was_sealed_contradict_it_each_in_its_own_words() {
        let ulid = |n: u128| SessionId::new(ulid::Ulid::from(n));
        let account = Account {
            direction: Direction::In,
            channel: 1,
            received: 7,
            forwarded: 7,
            refused: 0,
            undelivered: 0,
            made: 0,
        };
        let ledger = LedgerDigest::default();
        let seal = Sealed {
            recording: ulid(1),
            session: 3,
            ending: "left".to_owned(),
            frames: 2,
            digest: [5; 32],
            ledger: Some(ledger.digest()),
            accounts: Some(vec![SealedAccount { account, recorded: 7, recorded_made: 0 }]),
            chain: Position { segment: 0, offset: 0, link: [0; 32] },
            signature: [0; 64],
        };
        let bytes = |received: u64| Bytes::from([((Direction::In, 1), Recorded { received, made: 0 })]);
        let with_key = |digest: u8, received: u64, file: Option<&[u8]>| {
            let mut track = Track::new(ulid(1), 0);
            let mut ledger = LedgerDigest::default();
            file.into_iter().for_each(|file| ledger.push(file));
            track.content = Some(Content { digest: [digest; 32], bytes: bytes(received), ledger });
            track.blocks_contradict(&seal)
        };
        assert_eq!(with_key(5, 7, None), Vec::<String>::new());
        assert_eq!(with_key(6, 7, None), ["the blocks hold other frames than were sealed"]);
        assert_eq!(with_key(5, 8, None), ["the seal counts other bytes than the blocks hold"]);
        assert_eq!(with_key(5, 7, Some(b"{}")), ["the seal is over another file ledger than the blocks hold"]);

        let without_key = |inward: u64| {
            let mut track = Track::new(ulid(1), 0);
            track.sums = Some(DataBytes { inward, outward: 0 });
            track.blocks_contradict(&seal)
        };
        assert_eq!(without_key(7), Vec::<String>::new());
        assert_eq!(without_key(6), ["the seal counts other bytes than the blocks are said to hold"]);

        // And it is told of the session as soon as its last block has a leaf.
        let told = |covered: u64| {
            let mut sessions = Sessions::new(Path::new("records"), Path::new("records"), None, Keepings::default());
            let mut track = Track::new(ulid(1), 0);
            track.sums = Some(DataBytes { inward: 6, outward: 0 });
            (track.seal, track.sealed, track.sequence) = (Some(seal.clone()), true, 2);
            track.kept.until = covered;
            sessions.open.insert(3, track);
            let mut report = Report::default();
            let mut context = Context {
                report: &mut report,
                progress: &mut |_| {},
                progressed: Progress { read_bytes: 0, total_bytes: 0 },
                part: None,
                bucket: false,
            };
            let place = Place::of_entry(Path::new("records/tile/entries/000"));
            let position = Position { segment: 0, offset: 0, link: [0; 32] };
            let (known, tree, origin, verifier) = (Before::Entries, None, "mill-3/records/gate-1", None);
            sessions.finish_covered(&At { place: &place, position, known, tree, origin, verifier }, &mut context);
            let accused = sessions.accused.contains(&ulid(1));
            let words: Vec<String> = report.findings.iter().map(|finding| finding.words.clone()).collect();
            (accused, words)
        };
        assert_eq!(told(1), (false, Vec::new()));
        assert_eq!(told(2), (true, vec!["the seal counts other bytes than the blocks are said to hold".to_owned()]));
    }
}

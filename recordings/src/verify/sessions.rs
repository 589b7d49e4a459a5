//! The recordings in a record log: opened with the key file that lies there, gapless, in order, sealed with the
//! numbers that the frames give, and, with an auditor's key, readable from the first byte to the last.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use policies::digest::Digest;
use policies::ids::{NodeId, PersonId, RequestId, ServiceName, SessionId, TargetName};
use serde::Deserialize;

use super::Context;
use super::keeping::Keepings;
use super::log::{At, Reader};
use super::report::{Finding, FindingKind, SessionReport, SessionVerdict};
use crate::block::PlainFrame;
use crate::frame::{self, Fact, Kind, RawFrame, Stream, TAG_BYTES};
use crate::keys::SessionKeys;
use crate::leaf::{
    ABANDONED, BlockLeaf, CRASHED, Direction, Entry, Leaf, OTHER_CHANNELS, Opened, Sealed, SealedAccount, Statement,
    fold_mark, signed_bytes,
};
use crate::ledger::LedgerDigest;
use crate::notes::Note;
use crate::read::{self, AuditorKeys, KeysFault};
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
    sealed: bool,
    nanos: u64,
    bytes: BTreeMap<(Direction, u32), Recorded>,
    ledger: LedgerDigest,
    is_altered: bool,
}

/// What of a session is in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    /// The sequence behind the last frame.
    until: u64,
    blocks: u32,
    /// The hash of the opening's or the last block's entry.
    leaf: [u8; 32],
    /// Over the marks of the frames, made again with the key; none without one, or behind a gap.
    digest: Option<[u8; 32]>,
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
            keeping,
        }
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

    fn check_folder(&self, context: &mut Context<'_>) {
        let dir = self.dir.join("sessions");
        let relative = self.relative.join("sessions");
        for name in super::names(&dir, &relative, context) {
            let session = session_of(&name);
            match session.filter(|session| self.known.contains_key(session)) {
                Some(id) => self.check_session_folder(id, &dir.join(&name), &relative.join(&name), context),
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

    fn opened(&mut self, at: &At<'_>, frame: &RawFrame<'_>, opened: Opened, entry: &Entry, context: &mut Context<'_>) {
        let recording = opened.recording;
        let mut track = Track::new(recording, frame.header.nanos);
        let known = Known { seal: None, told: serde_json::from_slice(&opened.metadata).ok() };
        if opened.epoch != 0 || self.known.insert(recording, known).is_some() {
            let words = "a recording was opened a second time";
            context.find(at.wrong(frame, FindingKind::Altered, words).of(recording));
            track.is_altered = true;
        }
        if !self.check_key_file(&opened, context) {
            track.is_altered = true;
        }
        track.keys = self.open_keys(&opened, context);
        track.kept = Kept { until: 1, blocks: 0, leaf: entry.hash, digest: track.keys.is_some().then_some([0; 32]) };
        track.opened = Some(opened);
        self.open.insert(frame.header.session, track);
    }

    fn key_file(&self, opened: &Opened) -> PathBuf {
        read::key_file_path(self.relative, opened)
    }

    /// Whether the key file is the one that the opening names.
    fn check_key_file(&mut self, opened: &Opened, context: &mut Context<'_>) -> bool {
        let finding = match read::read_key_file(&read::key_file_path(self.dir, opened)) {
            Ok(bytes) if Digest::of_bytes(&bytes) == opened.key_file => return true,
            Ok(_) => Finding::new(FindingKind::Altered, "the key file is not the one the recording was opened with"),
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {
                if self.keeping.excuses(opened.recording) {
                    return true;
                }
                Finding::new(FindingKind::Missing, "the key file is missing")
            }
            Err(error) => Finding::new(FindingKind::NotChecked, format!("the key file cannot be read: {error}")),
        };
        context.find(finding.at(self.key_file(opened), 0).of(opened.recording));
        false
    }

    fn open_keys(&self, opened: &Opened, context: &mut Context<'_>) -> Option<SessionKeys> {
        let finding = match self.keys?.open(self.dir, opened) {
            Ok(keys) => return Some(keys),
            // Told without a key already.
            Err(KeysFault::Io { .. } | KeysFault::OtherKeyFile(_)) => return None,
            Err(KeysFault::OtherRoot(_)) => {
                let words = "the key in it is not the one that the recording's opening commits to";
                Finding::new(FindingKind::Altered, words)
            }
            Err(fault) => Finding::new(FindingKind::NotChecked, fault.to_string()),
        };
        context.find(finding.at(self.key_file(opened), 0).of(opened.recording));
        None
    }

    /// The session that a frame stands in, its place in it checked.
    fn follow(&mut self, at: &At<'_>, frame: &RawFrame<'_>, context: &mut Context<'_>) -> Option<&mut Track> {
        let number = frame.header.session;
        let Some(track) = self.open.get_mut(&number).filter(|track| !track.sealed) else {
            if self.orphans.len() < CHANNELS_MAX && self.orphans.insert(number) {
                let words = format!("frames of session {number}, which was not opened or is sealed already");
                context.find(at.wrong(frame, FindingKind::Altered, words));
            }
            return None;
        };
        let (sequence, nanos) = (frame.header.sequence, frame.header.nanos);
        if sequence != track.sequence {
            let words =
                format!("frame {} of the recording should stand here, and frame {sequence} does", track.sequence);
            context.find(at.wrong(frame, FindingKind::Missing, words).of(track.recording));
            track.lose();
        }
        if nanos < track.nanos {
            let words = "a frame is earlier than the one before it";
            context.find(at.wrong(frame, FindingKind::Altered, words).of(track.recording));
            track.is_altered = true;
        }
        track.sequence = sequence.saturating_add(1);
        track.nanos = nanos;
        Some(track)
    }

    fn sealed(&mut self, at: &At<'_>, frame: &RawFrame<'_>, sealed: &Sealed, entry: &Entry, context: &mut Context<'_>) {
        let Some(mut track) = self.open.remove(&frame.header.session).filter(|track| !track.sealed) else {
            return context.find(at.wrong(frame, FindingKind::Altered, "a seal of a recording that is not open"));
        };
        if track.sequence != frame.header.sequence {
            let words = format!("frames {} to {} of the recording are missing", track.sequence, frame.header.sequence);
            context.find(at.wrong(frame, FindingKind::Missing, words).of(track.recording));
            track.lose();
        }
        for words in track.contradictions(at, frame, sealed, self.keys.is_some()) {
            context.find(at.wrong(frame, FindingKind::Altered, words).of(track.recording));
            track.is_altered = true;
        }
        let signed = signed_bytes(Statement::Seal, at.origin, &sealed.body());
        if at.verifier.is_some_and(|verifier| verifier.verify(&signed, &sealed.signature).is_err()) {
            let words = "the seal is not signed by the key that you trust";
            context.find(at.wrong(frame, FindingKind::NotSigned, words).of(track.recording));
            track.is_altered = true;
        }
        self.known.entry(track.recording).or_default().seal = Some(Digest(entry.hash));
        let verdict = match sealed.ending.as_str() {
            _ if track.is_altered => SessionVerdict::Altered,
            CRASHED | ABANDONED => SessionVerdict::CutOff,
            _ => SessionVerdict::Ok,
        };
        context.report.sessions.push(track.report(Some(sealed.ending.clone()), verdict, self.keys.is_some()));
        track.sealed = true;
        self.open.insert(frame.header.session, track);
        self.finish_covered(at, frame, context);
    }

    /// A block's leaf: it follows what is in blocks already, and names bytes that lie there.
    fn block(&mut self, at: &At<'_>, frame: &RawFrame<'_>, leaf: &BlockLeaf, entry: &Entry, context: &mut Context<'_>) {
        let Some(track) = self.open.get_mut(&leaf.session) else {
            return context.find(at.wrong(frame, FindingKind::Altered, "a block of a recording that is not open"));
        };
        let Kept { until, blocks, leaf: previous, .. } = track.kept;
        let follows = (leaf.first, leaf.number, leaf.previous) == (until, blocks, previous);
        let within = leaf.end() <= track.sequence && leaf.frames > 0;
        let mut wrong = None;
        if !(follows || track.kept == Kept::UNKNOWN) || !within {
            wrong = Some(at.wrong(frame, FindingKind::Altered, "a block does not follow the one before it"));
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
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound && self.keeping.excuses(track.recording) => {
                track.kept.digest = None;
                Ok(())
            }
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {
                wrong = wrong.or(Some(found(FindingKind::Missing, "a file of blocks is missing".to_owned())));
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
        track.kept = Kept { until: leaf.end(), blocks: leaf.number.saturating_add(1), leaf: entry.hash, ..track.kept };
        let end = self.files.entry(track.recording).or_default().ends.entry(leaf.file).or_default();
        *end = leaf.offset.saturating_add(leaf.length).max(*end);
        if let Some(wrong) = wrong {
            let recording = track.recording;
            track.kept.digest = None;
            self.accuse(recording, leaf.session);
            context.find(wrong.of(recording));
        }
        self.finish_covered(at, frame, context);
    }

    /// Something of a session is not as it was, found after it was reported or before.
    fn accuse(&mut self, recording: SessionId, number: u64) {
        if let Some(track) = self.open.get_mut(&number) {
            track.is_altered = true;
        }
        self.accused.insert(recording);
    }

    /// A sealed session all of whose frames are in blocks is done with: what the blocks hold is what was sealed.
    fn finish_covered(&mut self, at: &At<'_>, frame: &RawFrame<'_>, context: &mut Context<'_>) {
        let done = |track: &mut Track| track.sealed && track.kept.until >= track.sequence;
        let done: Vec<(u64, Track)> = self.open.extract_if(.., |_, track| done(track)).collect();
        for (_, track) in done {
            self.files.entry(track.recording).or_default().complete = true;
            let differs = track.kept.digest.zip(track.digest).is_some_and(|(kept, sealed)| kept != sealed);
            if differs {
                let words = "the blocks hold other frames than were sealed";
                context.find(at.wrong(frame, FindingKind::Altered, words).of(track.recording));
                self.accused.insert(track.recording);
            }
        }
    }
}

/// The session whose folder has this name.
fn session_of(name: &str) -> Option<SessionId> {
    format!("s_{name}").parse().ok()
}

impl Reader for Sessions<'_> {
    fn entry(&mut self, at: &At<'_>, frame: &RawFrame<'_>, entry: &Entry, context: &mut Context<'_>) {
        let number = frame.header.session;
        let leaf = match Leaf::parse(&entry.bytes) {
            Ok(leaf) => leaf,
            Err(malformed) => return context.find(at.wrong(frame, FindingKind::Altered, malformed.to_string())),
        };
        match leaf {
            Leaf::Started(_) | Leaf::Stopped if number == NODE => {}
            Leaf::Opened(opened) if number != NODE && (number == entry.index || at.tree.is_none()) => {
                self.opened(at, frame, opened, entry, context);
                self.follow(at, frame, context);
            }
            Leaf::Held(_) | Leaf::Released(_) | Leaf::Erased(_) if number == NODE => {
                self.keeping.leaf(at, frame, (entry.index, &leaf), context);
            }
            Leaf::Block(block) if number == NODE => self.block(at, frame, &block, entry, context),
            Leaf::Sealed(sealed) if number != NODE && sealed.session == number => {
                self.sealed(at, frame, &sealed, entry, context);
            }
            _ => context.find(at.wrong(frame, FindingKind::Altered, "a leaf stands where it is not about anything")),
        }
    }

    fn session_frame(&mut self, at: &At<'_>, frame: &RawFrame<'_>, context: &mut Context<'_>) {
        if frame.header.session == NODE {
            return;
        }
        let Some(track) = self.follow(at, frame, context) else { return };
        track.fold(frame);
        track.count(frame);
        if let Err(words) = track.open(frame) {
            track.is_altered = true;
            let recording = track.recording;
            context.find(at.wrong(frame, FindingKind::Altered, words).of(recording));
        }
    }

    fn heads_sessions(&mut self, at: &At<'_>, frame: &RawFrame<'_>, open: &[OpenSession], context: &mut Context<'_>) {
        if !at.unbroken {
            // Where a part has no segments, others ended unseen.
            let goes_on = |number: &u64| open.iter().any(|session| session.session == *number);
            self.open.retain(|number, track| context.holds(track.recording) || goes_on(number));
        }
        let ours: Vec<u64> = self.open.keys().copied().collect();
        if at.unbroken && ours != open.iter().map(|session| session.session).collect::<Vec<_>>() {
            let words = "a segment's head names other open sessions than there are";
            context.find(at.wrong(frame, FindingKind::Altered, words));
        }
        for session in open {
            let lost = !self.open.contains_key(&session.session);
            let track = self.open.entry(session.session).or_insert_with(|| Track::new(session.recording, 0));
            let kept = (track.kept.until, track.kept.blocks, track.kept.leaf, track.sealed);
            let same = track.recording == session.recording
                && track.sequence == session.sequence
                && kept == (session.covered, session.blocks, session.leaf, session.sealed)
                && track.digest.is_none_or(|digest| digest == session.digest);
            if lost || !same {
                let words = "frames of the recording are missing before this segment";
                context.find(at.wrong(frame, FindingKind::Missing, words).of(session.recording));
                track.recording = session.recording;
                track.lose();
            }
            (track.sequence, track.digest, track.sealed) = (session.sequence, Some(session.digest), session.sealed);
            let OpenSession { covered: until, blocks, leaf, .. } = *session;
            track.kept = Kept { until, blocks, leaf, digest: track.kept.digest.filter(|_| same) };
            self.known.entry(session.recording).or_default();
        }
    }

    fn open_sessions(&self) -> usize {
        self.open.values().filter(|track| !track.sealed).count()
    }

    fn entries_lost(&mut self) {
        self.lost = true;
        // Leaves of blocks may be among what was lost.
        self.open.values_mut().for_each(|track| track.kept = Kept::UNKNOWN);
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
            sealed: false,
            nanos,
            bytes: BTreeMap::new(),
            ledger: LedgerDigest::default(),
            is_altered: false,
        }
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
            let mark = frame::mark_again(&header, &bytes, keys.frame_key(header.block));
            self.kept.digest = self.kept.digest.map(|digest| fold_mark(&digest, &mark));
        }
        Ok(())
    }

    /// What a frame's length says of the bytes in it.
    fn count(&mut self, frame: &RawFrame<'_>) {
        if frame.header.kind != Kind::Data {
            return;
        }
        let direction = match frame.header.stream {
            Stream::In | Stream::GateIn => Direction::In,
            _ => Direction::Out,
        };
        let channel = if self.bytes.len() < CHANNELS_MAX { frame.header.channel } else { OTHER_CHANNELS };
        let recorded = self.bytes.entry((direction, channel)).or_default();
        let bytes = frame.body.len().saturating_sub(TAG_BYTES) as u64;
        if frame.header.stream.is_of_the_gate() {
            recorded.made += bytes;
        } else {
            recorded.received += bytes;
        }
    }

    /// With a key: whether the frame was made with it, and says something.
    fn open(&mut self, frame: &RawFrame<'_>) -> Result<(), String> {
        let Some(keys) = &mut self.keys else { return Ok(()) };
        let plain = read::plain(frame, keys)?.bytes;
        let Kind::Fact(fact) = frame.header.kind else { return Ok(()) };
        if fact == Fact::FileEntry {
            self.ledger.push(&plain);
        }
        Note::decode(fact, &plain).map(drop).map_err(|not_a_note| not_a_note.to_string())
    }

    /// What a seal says that the frames do not.
    fn contradictions(&self, at: &At<'_>, frame: &RawFrame<'_>, sealed: &Sealed, with_key: bool) -> Vec<String> {
        let mut words = Vec::new();
        let mut check = |holds: bool, otherwise: &str| {
            if !holds {
                words.push(otherwise.to_owned());
            }
        };
        check(sealed.recording == self.recording, "the seal is of another recording");
        check(sealed.frames == frame.header.sequence, "the seal counts other frames than there are");
        check(self.digest.is_none_or(|digest| digest == sealed.digest), "the seal is over other frames than there are");
        check(sealed.chain == at.position, "the seal was made at another place");
        let without_word = matches!(sealed.ending.as_str(), CRASHED | ABANDONED);
        match (&sealed.ledger, &sealed.accounts) {
            (Some(ledger), Some(accounts)) => {
                let readable = with_key && self.keys.is_some() && self.digest.is_some();
                check(!readable || *ledger == self.ledger.digest(), "the seal is over another file ledger");
                check(
                    self.digest.is_none() || self.accounts_agree(accounts),
                    "the seal counts other bytes than there are",
                );
                let balanced = accounts.iter().all(is_balanced);
                check(balanced, "not every byte that was received is forwarded, refused or undelivered");
            }
            (None, None) => check(without_word, "the seal counts nothing, and nobody crashed"),
            _ => check(false, "the seal has half an account"),
        }
        words
    }

    /// Each account is what its frames add up to, and no channel is without one. The last ones may be sums.
    fn accounts_agree(&self, accounts: &[SealedAccount]) -> bool {
        let key = |row: &SealedAccount| (row.account.direction, row.account.channel);
        let mut rest = self.bytes.clone();
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
    const UNKNOWN: Self = Self { until: 1, blocks: 0, leaf: [0; 32], digest: None };
}

const fn recorded(row: &SealedAccount) -> Recorded {
    Recorded { received: row.recorded, made: row.recorded_made }
}

fn is_balanced(row: &SealedAccount) -> bool {
    let account = &row.account;
    let went = account.forwarded.checked_add(account.refused).and_then(|sum| sum.checked_add(account.undelivered));
    went == Some(account.received) && account.received == row.recorded && account.made == row.recorded_made
}

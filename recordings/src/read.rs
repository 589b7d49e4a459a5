//! Recordings read from a copied folder, with no server running: which sessions there are, and what happened in one,
//! in order, decrypted with an auditor's key. Each frame is checked and chained as it is read; whether the whole
//! folder is what it should be is for [`crate::verify`] to say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use certs::auditor::BadAuditorKeys;
use jiff::{SignedDuration, Timestamp};
use policies::digest::Digest;
use policies::ids::{NodeId, Recipient, RestoreId, SessionId};

use crate::block::{self, BlockHeader, Content, Form, Keyframe, PlainFrame};
use crate::disk::{self, Disk as _, RealDisk};
use crate::frame::{self, Fact, Header, Kind, RawFrame, Stream};
use crate::keeping::Keeping;
use crate::keys::{Root, SessionKeys};
use crate::leaf::{BlockLeaf, Entry, Leaf, Opened, Sealed};
use crate::notes::Note;
use crate::scan::{Scan, ScanFault};
use crate::segment::{self, SegmentFile, SegmentState, SegmentsFault};
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::folder::{CHECKPOINT, Folder, FolderFault, View};
use crate::tlog::kept::{self, KEPT};
use crate::tlog::tile::Tile;

/// Where in a data folder the journal's log lies.
pub const JOURNAL_DIR: &str = "journal";
/// Where in a data folder a node's record log lies.
pub const RECORDS_DIR: &str = "records";

/// In a data folder out of a backup: a gate starts there only after a restore.
pub const OUT_OF_A_BACKUP: &str = "BACKUP";
/// In a data folder: a restore that was decided, and is not finished.
pub const RESTORING: &str = "RESTORING";
/// The same while it is being written.
pub const RESTORING_DRAFT: &str = "RESTORING.tmp";

/// Why something cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFault {
    /// Nothing there is a log.
    #[error("{} holds no recordings: a data folder or its `records` is wanted, with a file FORMAT in it", .0.display())]
    NotAStore(PathBuf),
    /// The file FORMAT is not one this program understands.
    #[error("{} is of a format this program does not know; the program of that time reads it", .0.display())]
    Format(PathBuf),
    /// The file system, or segments that are not a log.
    #[error(transparent)]
    Segments(#[from] SegmentsFault),
}

impl ReadFault {
    fn io(path: &Path, error: io::Error) -> Self {
        SegmentsFault::Io { path: path.to_owned(), error }.into()
    }

    fn damaged(path: &Path, offset: u64, why: impl fmt::Display) -> Self {
        segment::damaged(path, offset, why.to_string()).into()
    }

    fn of_scan(path: &Path, fault: ScanFault) -> Self {
        match fault {
            ScanFault::Io(error) => Self::io(path, error),
            ScanFault::Flaw(fault) => Self::damaged(path, fault.offset, fault.flaw),
        }
    }
}

/// What a log says of itself in its file FORMAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// The log's name among all logs.
    pub origin: String,
    /// The node that writes it.
    pub node: NodeId,
    /// The public key it says it is signed with; what that is worth, the auditor's trust file says.
    pub verifier: String,
    /// Its restores, in order; since each it has another name.
    pub restored: Vec<RestoredAt>,
    /// Which of the released formats it is of.
    pub number: Number,
}

/// The released formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Number {
    /// `holdpoint log 1`.
    One,
    /// `holdpoint log 2`: a record log that may say of recordings' files that a locked copy lies in a bucket.
    Two,
}

impl Number {
    /// The first line of a log's file FORMAT.
    pub const fn line(self) -> &'static str {
        match self {
            Self::One => "holdpoint log 1",
            Self::Two => "holdpoint log 2",
        }
    }
}

/// That a log was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoredAt {
    /// By which restore.
    pub restore: RestoreId,
    /// How many entries it had then: those from here on are under its new name.
    pub size: u64,
}

/// A log's names, one after the other: from which entry on it has which. `base` is its first.
pub fn names_of(base: &str, restored: &[RestoredAt]) -> Vec<(u64, String)> {
    let later = restored.iter().map(|at| (at.size, format!("{base}/{}", at.restore)));
    std::iter::once((0, base.to_owned())).chain(later).collect()
}

/// The folder in a log's folder with what it had published under its name before a restore.
pub fn before_dir(restore: RestoreId) -> String {
    format!("before-{restore}")
}

/// Whether this is the name, in a log's folder, of something that the log published or says of itself, and not of a segment or a
/// session: names that somebody else wrote become paths only after this.
pub fn is_published_file(name: &str) -> bool {
    let is_size = |text: &str| kept::size_in(text).is_some();
    let is_before = |text: &str| {
        let Some((restore, inner)) = text.split_once('/') else { return false };
        restore.parse::<RestoreId>().is_ok_and(|parsed| before_dir(parsed) == format!("before-{restore}"))
            && (inner == CHECKPOINT || is_size(inner))
    };
    name == crate::FORMAT
        || name == CHECKPOINT
        || Tile::parse(name).is_some()
        || name.strip_prefix(KEPT).and_then(|rest| rest.strip_prefix('/')).is_some_and(is_size)
        || name.strip_prefix("before-").is_some_and(is_before)
}

/// Longer ones are no FORMAT.
const FORMAT_BYTES_MAX: u64 = 4096;

impl Format {
    /// Reads the file in a log's folder.
    pub fn read(log: &Path) -> Result<Self, ReadFault> {
        let path = log.join(crate::FORMAT);
        match read_bounded(&path, FORMAT_BYTES_MAX) {
            Ok(bytes) => Self::parse(&bytes).ok_or(ReadFault::Format(path)),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Err(ReadFault::NotAStore(log.to_owned())),
            Err(error) => Err(ReadFault::io(&path, error)),
        }
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let lines: Vec<&str> = text.strip_suffix('\n')?.split('\n').collect();
        let [first, origin, node, verifier, restored @ ..] = lines.as_slice() else { return None };
        let number = [Number::One, Number::Two].into_iter().find(|number| number.line() == *first)?;
        let restored: Vec<RestoredAt> = restored.iter().map(|line| restored_at(line)).collect::<Option<_>>()?;
        let format = Self {
            origin: (*origin).to_owned(),
            node: node.parse().ok()?,
            verifier: (*verifier).to_owned(),
            restored,
            number,
        };
        let is_named =
            names_of(format.base()?, &format.restored).last().is_some_and(|(_, name)| *name == format.origin);
        (is_named && format.to_string() == text).then_some(format)
    }

    /// The log's first name.
    pub fn base(&self) -> Option<&str> {
        match self.restored.last() {
            Some(last) => self.origin.strip_suffix(&last.restore.to_string())?.strip_suffix('/'),
            None => Some(&self.origin),
        }
    }
}

fn restored_at(line: &str) -> Option<RestoredAt> {
    let (restore, size) = line.strip_prefix("restored ")?.split_once(' ')?;
    Some(RestoredAt { restore: restore.parse().ok()?, size: size.parse().ok()? })
}

/// As it stands in the file.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, node, verifier, restored, number } = self;
        write!(f, "{}\n{origin}\n{node}\n{verifier}\n", number.line())?;
        restored.iter().try_for_each(|at| writeln!(f, "restored {} {}", at.restore, at.size))
    }
}

/// A file's bytes, if it has no more than so many.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let length = std::fs::metadata(path)?.len();
    if length > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{length} bytes, and {bytes_max} are the most"),
        ));
    }
    disk::read(&RealDisk, path)
}

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The segment's number.
    pub segment: u64,
    /// The offset in it.
    pub offset: u64,
}

/// One recording, as far as it can be known without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Its session's number in the log.
    pub number: u64,
    /// How it began.
    pub opened: Opened,
    /// How it ended; `None` while it runs, or where the log ends too early.
    pub sealed: Option<Sealed>,
    /// The index of the seal's entry in the log.
    pub sealed_at: Option<u64>,
    /// How many frames there are, the seal not counted.
    pub frames: u64,
    /// The monotonic clock when it began.
    pub opened_nanos: u64,
    /// The same at its last frame.
    pub last_nanos: u64,
    /// Where its first frame begins, or where segments do that came before those there are.
    pub begins: Place,
    /// Where its last one ends.
    pub ends: Place,
    /// The blocks that hold its frames, in order; the last frames of one that runs are in none.
    pub blocks: Vec<BlockLeaf>,
    /// Whether it is held, or erased.
    pub keeping: Keeping,
}

impl Recording {
    fn new(number: u64, opened: Opened, begins: Place) -> Self {
        let nanos = opened.nanos;
        Self {
            number,
            opened,
            sealed: None,
            sealed_at: None,
            frames: 1,
            opened_nanos: nanos,
            last_nanos: nanos,
            begins,
            ends: begins,
            blocks: Vec::new(),
            keeping: Keeping::default(),
        }
    }

    /// The session it is of.
    pub const fn id(&self) -> SessionId {
        self.opened.recording
    }

    /// From the opening to the last frame.
    pub const fn duration(&self) -> Duration {
        Duration::from_nanos(self.last_nanos.saturating_sub(self.opened_nanos))
    }

    /// When its last frame was written: the opening's wall clock, carried on. `None` past the end of all calendars.
    pub fn ended(&self) -> Option<Timestamp> {
        self.opened.wall.checked_add(self.duration()).ok()
    }
}

/// A node's record log at rest.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    format: Format,
    segments: Vec<SegmentFile>,
}

/// The recordings of a store, and what kept others from being found.
#[derive(Debug)]
pub struct Listing {
    /// In the order in which they began.
    pub recordings: Vec<Recording>,
    /// Damage that was passed over.
    pub damage: Vec<ReadFault>,
}

impl Store {
    /// Opens a data folder, or the folder of a record log. Nothing in it is changed, and nothing locked.
    pub fn open(folder: &Path) -> Result<Self, ReadFault> {
        let inner = folder.join(RECORDS_DIR);
        let dir = if inner.join(crate::FORMAT).exists() { inner } else { folder.to_owned() };
        let format = Format::read(&dir)?;
        let segments = segment::segments(&RealDisk, &dir)?;
        Ok(Self { dir, format, segments })
    }

    /// What the log says of itself.
    pub const fn format(&self) -> &Format {
        &self.format
    }

    /// The log's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads all frames once and gives the recordings. Damage is passed over: a recording it touches may end early. What a crash
    /// tore of the last batch was never acknowledged, and is no damage.
    pub fn list(&self) -> Listing {
        let mut finder = Finder { found: BTreeMap::new(), entries: 0 };
        let mut damage = Vec::new();
        damage.extend(self.read_retired(&mut finder).err());
        for used in self.used() {
            damage.extend(finder.read(&used).err());
        }
        Listing { recordings: finder.found.into_values().collect(), damage }
    }

    /// Whether the files of a recording lie here.
    pub fn has_files(&self, recording: &Recording) -> bool {
        key_file_path(&self.dir, &recording.opened).exists()
    }

    /// What happened in a recording, in order, from its beginning.
    pub fn moments(&self, recording: &Recording, keys: SessionKeys) -> Moments {
        let segments = self.used().filter(|used| used.number >= recording.begins.segment).collect::<Vec<_>>();
        Moments {
            dir: segment::session_dir(&self.dir, recording.id()),
            blocks: recording.blocks.clone().into_iter(),
            ready: VecDeque::new(),
            segments: segments.into_iter(),
            scan: None,
            keys,
            recording: recording.clone(),
            sequence: 0,
            at: Duration::ZERO,
            standing: None,
            over: false,
        }
    }

    /// What it takes to show a channel as it stood after so long, and what happened from there on: how it stood a little
    /// earlier, as the gate noted it in a keyframe ([`What::Standing`]), and all moments since. Opens some blocks, however
    /// long the recording is. Where the gate noted nothing that helps, all moments from the beginning. Without a channel,
    /// the first on which a shell or a command ran.
    pub fn seek(
        &self,
        recording: &Recording,
        keys: SessionKeys,
        after: Duration,
        channel: Option<u32>,
    ) -> Result<Moments, ReadFault> {
        let mut moments = self.moments(recording, keys);
        match moments.look_back(after)? {
            Back::Beginning => Ok(moments.rewound()),
            Back::Keyframes(begin) if channel.is_some_and(|channel| begin.has(channel)) => {
                Ok(moments.begin_at(begin, channel))
            }
            Back::Keyframes(begin) | Back::Nothing(begin) => {
                let first = moments.rewound().first_program(begin.at, channel)?;
                let moments = self.moments(recording, first.keys);
                match first.program {
                    // Its screen is none of those that stood then: it was closed.
                    Some(program) if program.has_terminal && !begin.has(program.channel) => Ok(moments),
                    None if begin.screens.is_empty() => Ok(moments),
                    program => Ok(moments.begin_at(begin, program.map(|program| program.channel))),
                }
            }
        }
    }

    /// The entries of segments that are gone, from what the log published.
    fn read_retired(&self, finder: &mut Finder) -> Result<(), ReadFault> {
        let heads = self.segments.iter().find_map(|file| match &file.state {
            SegmentState::Used { head, .. } => Some(head),
            SegmentState::Torn | SegmentState::Spare => None,
        });
        let fault = |fault: FolderFault| ReadFault::damaged(&self.dir.join(&fault.path), fault.bytes.start, fault.flaw);
        let folder = Folder::new(Arc::new(RealDisk), &self.dir);
        let (size, root) = match heads.map(|head| &head.tree) {
            Some(before) => (before.size(), before.root()),
            // Out of a bucket: what was published is all there is.
            None => match folder.checkpoint().map_err(fault)? {
                Some(published) => (published.size, published.root),
                None => return Ok(()),
            },
        };
        if size == 0 {
            return Ok(());
        }
        let origin = self.format.origin.clone();
        let mut view = View::open(folder, &Checkpoint { origin, size, root }).map_err(fault)?;
        for (leaf, index) in view.entries(0..size).zip(0..) {
            let leaf = leaf.map_err(fault)?;
            let taken = Entry::parse(index, &leaf).map_err(String::from).and_then(|entry| finder.take_entry(&entry));
            taken.map_err(|why| ReadFault::damaged(&self.dir.join("tile"), 0, format!("entry {index}: {why}")))?;
        }
        Ok(())
    }

    fn used(&self) -> impl Iterator<Item = Used> + '_ {
        self.segments.iter().filter_map(|file| match &file.state {
            SegmentState::Used { head, end } => {
                Some(Used { number: file.number, path: file.path.clone(), first_entry: head.tree.size(), end: *end })
            }
            SegmentState::Torn | SegmentState::Spare => None,
        })
    }
}

/// A segment with frames in it.
#[derive(Debug)]
struct Used {
    number: u64,
    path: PathBuf,
    first_entry: u64,
    end: Option<u64>,
}

/// Finds recordings in frames.
struct Finder {
    found: BTreeMap<u64, Recording>,
    entries: u64,
}

impl Finder {
    fn read(&mut self, segment: &Used) -> Result<(), ReadFault> {
        let mut scan =
            Scan::open(&segment.path, 0, segment.end).map_err(|error| ReadFault::io(&segment.path, error))?;
        self.entries = segment.first_entry;
        loop {
            let fault = match scan.next() {
                Ok(Some(frame)) => {
                    self.take(segment, &frame).map_err(|why| ReadFault::damaged(&segment.path, frame.offset, why))?;
                    continue;
                }
                Ok(None) => return Ok(()),
                Err(fault) => fault,
            };
            return match fault {
                ScanFault::Flaw(flaw) if scan.is_torn_at(flaw).unwrap_or(false) => Ok(()),
                fault => Err(ReadFault::of_scan(&segment.path, fault)),
            };
        }
    }

    fn take(&mut self, segment: &Used, frame: &RawFrame<'_>) -> Result<(), String> {
        let Header { session, nanos, .. } = frame.header;
        let ends = Place { segment: segment.number, offset: frame.end() };
        let leaf = match frame.header.kind {
            Kind::Leaf => Some(self.leaf(frame)?),
            _ => None,
        };
        match leaf {
            Some(Leaf::Opened(opened)) => {
                let begins = Place { segment: segment.number, offset: frame.offset };
                self.found.insert(session, Recording { ends, ..Recording::new(session, opened, begins) });
            }
            Some(Leaf::Block(block)) => self.take_block(block)?,
            Some(leaf) if leaf.keeps().is_some() => self.take_keeping(self.entries - 1, &leaf)?,
            Some(Leaf::Sealed(sealed)) => {
                if let Some(recording) = self.found.get_mut(&session) {
                    (recording.sealed, recording.sealed_at) = (Some(sealed), Some(self.entries - 1));
                    recording.ends = ends;
                }
            }
            _ => {
                if let Some(recording) = self.found.get_mut(&session) {
                    (recording.ends, recording.last_nanos) = (ends, nanos);
                    recording.frames = frame.header.sequence.saturating_add(1);
                }
            }
        }
        Ok(())
    }

    /// An entry whose segment is gone: the frames of its session lie in blocks.
    fn take_entry(&mut self, entry: &Entry) -> Result<(), String> {
        match Leaf::parse(&entry.bytes)? {
            Leaf::Opened(opened) => {
                let nowhere = Place { segment: 0, offset: 0 };
                self.found.insert(entry.index, Recording::new(entry.index, opened, nowhere));
            }
            Leaf::Block(block) => self.take_block(block)?,
            Leaf::Sealed(sealed) => {
                if let Some(recording) = self.found.get_mut(&sealed.session) {
                    (recording.frames, recording.sealed_at) = (sealed.frames, Some(entry.index));
                    recording.sealed = Some(sealed);
                }
            }
            leaf @ (Leaf::Held(_) | Leaf::Released(_) | Leaf::Erased(_) | Leaf::Copied(_)) => {
                self.take_keeping(entry.index, &leaf)?;
            }
            Leaf::Started(_) | Leaf::Stopped | Leaf::Anchor(_) | Leaf::Retired(_) => {}
        }
        Ok(())
    }

    fn take_keeping(&mut self, index: u64, leaf: &Leaf) -> Result<(), String> {
        let of = leaf.keeps();
        let recording = self.found.values_mut().find(|recording| Some(recording.id()) == of);
        recording.ok_or("nothing of that name was recorded")?.keeping.take(index, leaf);
        Ok(())
    }

    fn take_block(&mut self, block: BlockLeaf) -> Result<(), String> {
        let follows = |recording: &&mut Recording| {
            block.number as usize == recording.blocks.len()
                && block.first == recording.blocks.last().map_or(1, BlockLeaf::end)
        };
        let recording = self.found.get_mut(&block.session).filter(follows);
        let recording = recording.ok_or("a block stands where none can be")?;
        recording.last_nanos = recording.last_nanos.max(block.last_nanos);
        recording.frames = recording.frames.max(block.end());
        recording.blocks.push(block);
        Ok(())
    }

    fn leaf(&mut self, frame: &RawFrame<'_>) -> Result<Leaf, String> {
        let entry = Entry::parse(self.entries, frame.body)?;
        self.entries += 1;
        Ok(Leaf::parse(&entry.bytes)?)
    }
}

/// An auditor's private keys, and what they open here.
pub struct AuditorKeys(certs::auditor::AuditorKeys);

/// Why keys do not open a recording.
#[derive(Debug, thiserror::Error)]
pub enum KeysFault {
    /// There are no keys.
    #[error(transparent)]
    Keys(#[from] BadAuditorKeys),
    /// The recording's key file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The recording's key file is not the one its opening names.
    #[error("{} is not the key file this recording was opened with", .0.display())]
    OtherKeyFile(PathBuf),
    /// None of the keys opens it, and none of them is among those it says it is for.
    #[error("none of these keys opens {}: it was encrypted to {}", path.display(), to_whom(to))]
    NotForYou {
        /// The key file.
        path: PathBuf,
        /// Whom it is for, as the recording's opening says; empty where it does not.
        to: BTreeSet<Recipient>,
    },
    /// It says that it is for one of the keys, and does not open.
    #[error("{} does not open, and its recording says that it is for {recipient}, whose key this is", path.display())]
    NotAsSaid {
        /// The key file.
        path: PathBuf,
        /// Whom it is not for.
        recipient: Recipient,
    },
    /// It opens, and what is inside is not what the recording was made with.
    #[error("{} opens, and is not what its recording says it is: two auditors may have been shown two keys", .0.display())]
    OtherRoot(PathBuf),
}

/// Recipients in a sentence.
pub(crate) fn to_whom(recipients: &BTreeSet<Recipient>) -> String {
    let all: Vec<&str> = recipients.iter().map(Recipient::as_str).collect();
    match all.split_last() {
        None => "other auditors".to_owned(),
        Some((one, [])) => (*one).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// An age file of one key to some hundred auditors.
const KEY_FILE_BYTES_MAX: u64 = 1 << 16;
/// Longer than a root, so that one which is too long is found out.
const ROOT_BYTES_MAX: usize = 64;

impl AuditorKeys {
    /// Reads a file of private keys, as `age-keygen` writes one.
    pub fn read(path: &Path) -> Result<Self, KeysFault> {
        Ok(Self(certs::auditor::AuditorKeys::read(path)?))
    }

    /// Keys from the text of such a file.
    pub fn parse(text: &str) -> Result<Self, KeysFault> {
        Ok(Self(certs::auditor::AuditorKeys::parse(text)?))
    }

    /// The keys of a recording's frames and blocks, from the key file in the log's folder: the very file that the recording was
    /// opened with, and the very root that was in it then.
    pub fn open(&self, log: &Path, opened: &Opened) -> Result<SessionKeys, KeysFault> {
        let path = key_file_path(log, opened);
        let bytes = read_key_file(&path).map_err(|error| KeysFault::Io { path: path.clone(), error })?;
        if Digest::of_bytes(&bytes) != opened.key_file {
            return Err(KeysFault::OtherKeyFile(path));
        }
        let root = self.0.open(&bytes, ROOT_BYTES_MAX).ok_or_else(|| self.not_opened(path.clone(), opened))?;
        let root = Root::from_bytes(&root).ok().filter(|root| root.commitment() == opened.commitment);
        root.map(SessionKeys::new).ok_or(KeysFault::OtherRoot(path))
    }

    /// Each key by itself, under the recipient to which it belongs.
    pub fn apart(&self) -> impl Iterator<Item = (Recipient, Self)> + '_ {
        let known = |(text, key): (String, _)| Some((text.parse().ok()?, Self(key)));
        self.0.apart().filter_map(known)
    }

    fn not_opened(&self, path: PathBuf, opened: &Opened) -> KeysFault {
        let to = opened.recipients();
        match self.apart().find(|(recipient, _)| to.contains(recipient)) {
            Some((recipient, _)) => KeysFault::NotAsSaid { path, recipient },
            None => KeysFault::NotForYou { path, to },
        }
    }
}

impl fmt::Debug for AuditorKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

pub(crate) fn key_file_path(log: &Path, opened: &Opened) -> PathBuf {
    segment::session_dir(log, opened.recording).join(segment::key_file_name(opened.epoch))
}

pub(crate) fn read_key_file(path: &Path) -> io::Result<Vec<u8>> {
    read_bounded(path, KEY_FILE_BYTES_MAX)
}

/// Something that happened in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Since the session was opened, on a clock that is never set.
    pub at: Duration,
    /// By the wall clock as it stood when the session was opened, carried on.
    pub wall: Timestamp,
    /// Its number among the session's frames.
    pub sequence: u64,
    /// The channel; 0 for what belongs to none.
    pub channel: u32,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The session was opened.
    Opened,
    /// How its channels stood, as the gate noted it. No evidence, and only where a reader began here.
    Standing(Box<Standing>),
    /// Bytes of a stream.
    Data(Stream, Bytes),
    /// Something else, on a channel or in the session.
    Note(Note),
    /// Something this program does not understand: a newer one wrote it.
    Unknown(Fact, Bytes),
    /// The session ended.
    Sealed(Box<Sealed>),
}

/// How the channels of a session stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The channel that a replay shows, where one is known; it had no terminal if it is not among the screens.
    pub channel: Option<u32>,
    /// The screens of all terminals.
    pub screens: Vec<Keyframe>,
}

/// Where a reader can begin.
struct Begin {
    at: Duration,
    sequence: u64,
    screens: Vec<Keyframe>,
    /// What was opened on the way there, in order, and how many blocks that and all before are.
    frames: VecDeque<PlainFrame>,
    blocks: usize,
}

impl Begin {
    fn has(&self, channel: u32) -> bool {
        self.screens.iter().any(|screen| screen.channel == channel)
    }
}

/// What was found by looking back.
enum Back {
    /// The beginning is near.
    Beginning,
    /// The screens as they stood.
    Keyframes(Begin),
    /// As far as was looked, no screen was noted.
    Nothing(Begin),
}

/// A program that a replay shows.
#[derive(Clone, Copy)]
struct Program {
    channel: u32,
    has_terminal: bool,
}

struct FirstProgram {
    program: Option<Program>,
    keys: SessionKeys,
}

/// Blocks that are opened to find a keyframe. The gate makes one each half minute or mebibyte in which something passes, and
/// closes a block each five seconds or quarter mebibyte; the rest is for what it notes besides.
const BLOCKS_BACK_MAX: usize = 64;

/// The moments of one recording, in order: from its blocks, and behind them from the segments. Holds one block and one
/// window of one segment, and where a reader began in the middle, some blocks; ends after the first error.
pub struct Moments {
    dir: PathBuf,
    blocks: std::vec::IntoIter<BlockLeaf>,
    ready: VecDeque<PlainFrame>,
    segments: std::vec::IntoIter<Used>,
    scan: Option<(Used, Scan)>,
    keys: SessionKeys,
    recording: Recording,
    sequence: u64,
    at: Duration,
    standing: Option<Box<Standing>>,
    over: bool,
}

impl Iterator for Moments {
    type Item = Result<Moment, ReadFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.advance().transpose();
        self.over = !matches!(&next, Some(Ok(Moment { what, .. })) if !matches!(what, What::Sealed(_)));
        next
    }
}

impl Moments {
    /// The keys, to read something else of the same recording.
    pub fn into_keys(self) -> SessionKeys {
        self.keys
    }

    /// Looks for a keyframe, from the last block that had begun after so long.
    fn look_back(&mut self, after: Duration) -> Result<Back, ReadFault> {
        let wanted = self.recording.opened_nanos.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
        let blocks = std::mem::take(&mut self.blocks).as_slice().to_vec();
        let begun = blocks.partition_point(|block| block.first_nanos <= wanted);
        let (mut opened, mut screens) = (Vec::new(), Vec::new());
        let mut first = begun;
        while first > 1 && screens.is_empty() && opened.len() < BLOCKS_BACK_MAX {
            first -= 1;
            let content = self.open_block(&blocks[first])?;
            screens = content.keyframes;
            opened.push(content.frames);
        }
        let Some(leaf) = blocks.get(first).filter(|_| first > 1 || !screens.is_empty()) else {
            return Ok(Back::Beginning);
        };
        let at = Duration::from_nanos(leaf.first_nanos.saturating_sub(self.recording.opened_nanos));
        let frames = opened.into_iter().rev().flatten().collect();
        let found = if screens.is_empty() { Back::Nothing } else { Back::Keyframes };
        Ok(found(Begin { at, sequence: leaf.first, screens, frames, blocks: begun }))
    }

    /// From the first moment again.
    fn rewound(mut self) -> Self {
        self.blocks = self.recording.blocks.clone().into_iter();
        self
    }

    fn begin_at(mut self, begin: Begin, channel: Option<u32>) -> Self {
        self.blocks = self.recording.blocks.split_off(begin.blocks).into_iter();
        (self.sequence, self.at, self.ready) = (begin.sequence, begin.at, begin.frames);
        self.standing = Some(Box::new(Standing { channel, screens: begin.screens }));
        self
    }

    /// The first program that ran before so long, on this channel if one is named.
    fn first_program(mut self, before: Duration, channel: Option<u32>) -> Result<FirstProgram, ReadFault> {
        let (mut terminals, mut program) = (BTreeSet::new(), None);
        while program.is_none()
            && let Some(moment) = self.next().transpose()?
            && moment.at < before
        {
            if channel.is_some_and(|channel| channel != moment.channel) {
                continue;
            }
            match &moment.what {
                What::Note(Note::Terminal { .. }) => drop(terminals.insert(moment.channel)),
                What::Note(Note::ChannelClose) => drop(terminals.remove(&moment.channel)),
                What::Note(Note::Shell | Note::Exec { copies_files: false, .. }) => {
                    let has_terminal = terminals.contains(&moment.channel);
                    program = Some(Program { channel: moment.channel, has_terminal });
                }
                _ => {}
            }
        }
        Ok(FirstProgram { program, keys: self.into_keys() })
    }

    fn advance(&mut self) -> Result<Option<Moment>, ReadFault> {
        if let Some(standing) = self.standing.take() {
            return Ok(Some(self.moment(self.sequence, 0, What::Standing(standing))));
        }
        if self.sequence == 0 {
            self.sequence = 1;
            return Ok(Some(self.moment(0, 0, What::Opened)));
        }
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return self.frame(frame).map(Some);
            }
            if let Some(leaf) = self.blocks.next() {
                self.ready = self.open_block(&leaf)?.frames.into();
            } else if self.sequence < self.recording.frames {
                match self.next_in_segments()? {
                    Some(frame) => return self.frame(frame).map(Some),
                    None => return Ok(None),
                }
            } else {
                let sealed = self.recording.sealed.clone();
                return Ok(sealed.map(|sealed| self.moment(self.sequence, 0, What::Sealed(Box::new(sealed)))));
            }
        }
    }

    fn open_block(&mut self, leaf: &BlockLeaf) -> Result<Content, ReadFault> {
        let path = self.dir.join(segment::block_file_name(leaf.file));
        let bytes = read_block(&path, leaf).map_err(|error| ReadFault::io(&path, error))?;
        let opened = open_content(&bytes, leaf, &mut self.keys);
        opened.map_err(|why| ReadFault::damaged(&path, leaf.offset, why))
    }

    fn frame(&mut self, frame: PlainFrame) -> Result<Moment, ReadFault> {
        let Header { nanos, channel, sequence, kind, stream, .. } = frame.header;
        if sequence != self.sequence {
            let why = format!("frame {} of the session is missing", self.sequence);
            return Err(ReadFault::damaged(&self.dir, 0, why));
        }
        self.sequence += 1;
        self.at = self.at.max(Duration::from_nanos(nanos.saturating_sub(self.recording.opened_nanos)));
        let what = match kind {
            Kind::Fact(fact) => {
                Note::decode(fact, &frame.bytes).map_or_else(|_| What::Unknown(fact, frame.bytes), What::Note)
            }
            _ => What::Data(stream, frame.bytes),
        };
        Ok(self.moment(sequence, channel, what))
    }

    /// The session's next frame that is in no block.
    fn next_in_segments(&mut self) -> Result<Option<PlainFrame>, ReadFault> {
        let Recording { number, ends, .. } = self.recording;
        loop {
            let Some((used, scan)) = &mut self.scan else {
                if !self.enter_next()? {
                    return Ok(None);
                }
                continue;
            };
            if (Place { segment: used.number, offset: scan.at() }) >= ends {
                return Ok(None);
            }
            let is_next = |header: &Header| {
                header.session == number && header.kind.is_encrypted() && header.sequence >= self.sequence
            };
            let frame = match scan.next() {
                Ok(Some(frame)) if is_next(&frame.header) => frame,
                Ok(Some(_)) => continue,
                Ok(None) => {
                    self.scan = None;
                    continue;
                }
                Err(fault) => return Err(ReadFault::of_scan(&used.path, fault)),
            };
            let opened = plain(&frame, &mut self.keys);
            return opened.map(Some).map_err(|why| ReadFault::damaged(&used.path, frame.offset, why));
        }
    }

    /// Whether there is another segment.
    fn enter_next(&mut self) -> Result<bool, ReadFault> {
        let Some(used) = self.segments.next() else { return Ok(false) };
        let begins = self.recording.begins;
        let from = if used.number == begins.segment { begins.offset } else { 0 };
        let scan = Scan::open(&used.path, from, used.end).map_err(|error| ReadFault::io(&used.path, error))?;
        self.scan = Some((used, scan));
        Ok(true)
    }

    fn moment(&self, sequence: u64, channel: u32, what: What) -> Moment {
        let since = SignedDuration::try_from(self.at).unwrap_or(SignedDuration::MAX);
        let wall = self.recording.opened.wall.saturating_add(since).unwrap_or(Timestamp::MAX);
        Moment { at: self.at, wall, sequence, channel, what }
    }
}

/// A block's bytes, as many as its leaf says.
pub(crate) fn read_block(path: &Path, leaf: &BlockLeaf) -> io::Result<Vec<u8>> {
    let file = RealDisk.open_to_read(path)?;
    let mut bytes = vec![0; leaf.length.min(block::WHOLE_BYTES_MAX) as usize];
    let read = file.read_at(&mut bytes, leaf.offset)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// What a block's bytes say of themselves, where that is what its leaf says, and they are the bytes it was made for.
pub(crate) fn check_block(bytes: &[u8], leaf: &BlockLeaf) -> Result<BlockHeader, &'static str> {
    use sha2::Digest as _;
    if sha2::Sha256::digest(bytes)[..] != leaf.sha256 {
        return Err("the block is not the one that its leaf names");
    }
    let header = BlockHeader::parse(bytes).map_err(|_| "what its leaf names is no block")?;
    let said = (header.session, header.number, header.first, header.frames, header.first_nanos, header.last_nanos);
    let named = (leaf.session, leaf.number, leaf.first, leaf.frames, leaf.first_nanos, leaf.last_nanos);
    if said == named && header.length() == leaf.length {
        Ok(header)
    } else {
        Err("the block is not what its leaf says")
    }
}

/// The frames in a block: what of it is evidence.
pub(crate) fn open_block(bytes: &[u8], leaf: &BlockLeaf, keys: &mut SessionKeys) -> Result<Vec<PlainFrame>, String> {
    open_content(bytes, leaf, keys).map(|content| content.frames)
}

fn open_content(bytes: &[u8], leaf: &BlockLeaf, keys: &mut SessionKeys) -> Result<Content, String> {
    let header = check_block(bytes, leaf)?;
    if u64::from(header.number) > header.first {
        return Err("a block has a higher number than its first frame".to_owned());
    }
    match header.form {
        Form::Sealed => block::open(bytes, &keys.block_key(header.number)).map_err(|fault| fault.to_string()),
        Form::Frames => {
            let frames = block::raw_frames(bytes)?;
            let frames = frames.iter().map(|frame| plain(frame, keys)).collect::<Result<_, _>>()?;
            Ok(Content { keyframes: Vec::new(), frames })
        }
    }
}

/// What an encrypted frame holds.
pub(crate) fn plain(frame: &RawFrame<'_>, keys: &mut SessionKeys) -> Result<PlainFrame, String> {
    if u64::from(frame.header.block) > frame.header.sequence {
        return Err("a frame says that it is of a block that cannot be yet".to_owned());
    }
    let key = keys.frame_key(frame.header.block);
    let bytes = frame::open_payload(key, frame).map_err(|not_opened| not_opened.to_string())?;
    Ok(PlainFrame { header: frame.header, bytes: bytes.into() })
}

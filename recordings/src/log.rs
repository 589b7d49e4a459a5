//! A running log: one folder, one lock, one writer thread, one chain. It serves twice: as the journal of decisions, to
//! which its caller appends entries, and as a node's record log, in which sessions are open. Entries are leaves of a
//! Merkle tree whose root is in every signed head; `press` publishes them as tiles under signed checkpoints. The format
//! is `holdpoint log 1`, or 2 where copies of recordings lie elsewhere; every later version reads both.
//!
//! A head is signed when a session is sealed and with every append, when the log starts and stops, each second with
//! a session open, and each minute otherwise.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use certs::log_key::{BadVerifier, LogKey, Verifier};
use certs::vault::VaultFault;
use futures::channel::oneshot;
use jiff::Timestamp;
use policies::ids::{NodeId, SessionId};

use crate::disk::{Disk, Machine};
use crate::entries::{EntryReader, Recent};
use crate::fault::{AppendFault, Cause, OpenFault, StoreFault};
use crate::keeping::{Copied, Decided, Erased};
use crate::leaf::{Entry, Leaf};
use crate::press::{Press, Printer};
use crate::queue::{Queue, Work, answer};
use crate::recover::{self, Found};
use crate::segment::{self, SegmentsFault, is_session_file, key_file_name, session_dir};
use crate::session::{Opening, SessionWriter, answered, lock};
use crate::spares::{Maker, SpareFault, Spares, SparesWatch};
use crate::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::tlog::note::NotSignable;
use crate::tree::Tree;
use crate::writer::{Writer, append_bytes_max, entry_bytes};

/// What a log is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Decisions: every entry is the caller's.
    Journal,
    /// Sessions: entries are leaves about them; see [`crate::leaf::Leaf`].
    Records,
}

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// What it is for.
    pub purpose: Purpose,
    /// Its name among all logs: `<deployment>/journal` or `<deployment>/records/<node>`.
    pub origin: String,
    /// The node that writes it.
    pub node: NodeId,
    /// Bytes of a segment; from 16 KiB to 1 GiB. A record log does well with 64 MiB, a journal with 8.
    pub segment_bytes: u64,
    /// How many zero-filled segments lie ready. With 0 each is made when it is needed, by the writer itself.
    pub spares: usize,
    /// Below this much free space no session is opened; those that run may use it.
    pub reserve_bytes: u64,
    /// Below this much free space [`Log::room`] says [`RoomState::Low`].
    pub low_water_bytes: u64,
    /// Whether it may say of recordings' files that a locked copy lies elsewhere; then it is `holdpoint log 2` from now on.
    pub says_copied: bool,
    /// File systems that are taken although what a sync promises there is doubtful, by name.
    pub file_systems_allowed: Vec<String>,
}

impl LogOptions {
    /// Options with a segment of 64 MiB, or 8 for a journal, two spares, and no reserve.
    pub fn new(purpose: Purpose, origin: impl Into<String>, node: NodeId) -> Self {
        let segment_bytes = match purpose {
            Purpose::Journal => 8 << 20,
            Purpose::Records => 64 << 20,
        };
        Self {
            purpose,
            origin: origin.into(),
            node,
            segment_bytes,
            spares: 2,
            reserve_bytes: 0,
            low_water_bytes: 0,
            says_copied: false,
            file_systems_allowed: Vec::new(),
        }
    }
}

/// Signs a log's heads and seals.
pub trait Signer: Send + Sync {
    /// An Ed25519 signature (RFC 8032) over the message.
    ///
    /// # Errors
    /// Whoever holds the key does not answer.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], VaultFault>;
    /// The public half under the log's name, as C2SP's signed notes write it; refused where that cannot be a name.
    fn verifier(&self, origin: &str) -> Result<Verifier, BadVerifier>;
}

impl Signer for LogKey {
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], VaultFault> {
        Self::sign(self, message)
    }

    fn verifier(&self, origin: &str) -> Result<Verifier, BadVerifier> {
        Self::verifier(self, origin)
    }
}

/// A log's state, as a compare-and-swap needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// How many entries there are.
    pub size: u64,
    /// The hash of the last one; zeros where there is none.
    pub last: [u8; 32],
    /// The root of their tree (RFC 6962).
    pub root: [u8; 32],
}

impl Head {
    /// The head of a log without entries.
    pub fn empty() -> Self {
        Self { size: 0, last: [0; 32], root: Tree::default().root() }
    }
}

/// An entry on its way into a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timed {
    /// When it was appended. Earlier than the last entry's, it gets that one's.
    pub at: Timestamp,
    /// What is appended.
    pub bytes: Vec<u8>,
}

/// Where the next entry goes, and what it follows: enough to work out elsewhere which hash and root it will have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The hash of the last entry; zeros where there is none.
    pub last: [u8; 32],
    /// Its time.
    pub at: Timestamp,
    /// The tree of all entries.
    pub tree: Tree,
}

impl End {
    /// The head of a log that ends so.
    pub fn head(&self) -> Head {
        Head { size: self.tree.size(), last: self.last, root: self.tree.root() }
    }

    /// Goes on by one entry; gives it as the log will have it.
    pub fn push(&mut self, next: &Timed) -> Entry {
        self.at = next.at.max(self.at);
        let leaf = Entry::encode(&self.last, self.at, &next.bytes);
        let entry = Entry::parse(self.tree.size(), &leaf).expect("it was encoded just now");
        self.tree.push(entry.hash);
        self.last = entry.hash;
        entry
    }
}

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// How many entries the log had.
    pub entries: u64,
    /// How the run before ended.
    pub before: Before,
    /// Sessions that were open when it ended; they are sealed as crashed now.
    pub crashed: Vec<CrashedSession>,
}

/// How the run before ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// There was none.
    Fresh,
    /// It stopped the log.
    Stopped,
    /// It did not; everything it acknowledged is there.
    Crashed {
        /// The segment it was writing.
        segment: PathBuf,
        /// Where what is whole ends in it.
        offset: u64,
        /// Whether bytes of a batch that was never acknowledged lie behind.
        torn: bool,
    },
}

/// A session that was open when the program or the machine died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashedSession {
    /// Its recording.
    pub recording: SessionId,
    /// The index of its opening leaf.
    pub session: u64,
    /// How many of its frames there are.
    pub frames: u64,
}

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes free.
    pub free: u64,
    /// Bytes that must be free for a session to be let in.
    pub reserve: u64,
    /// What that means.
    pub state: RoomState,
}

/// What the free space means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomState {
    /// Enough.
    Plenty,
    /// Below the low-water mark: time to raise an alarm.
    Low,
    /// Below the reserve: no session is let in.
    None,
}

/// A log at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Its head.
    pub head: Head,
    /// The segment that is being written.
    pub segment: u64,
    /// Where what is durable ends in it.
    pub offset: u64,
}

/// How a log is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Why it takes nothing more, where it does not.
    pub fault: Option<StoreFault>,
    /// Sessions open.
    pub open: usize,
    /// Zero-filled segments that lie ready.
    pub spares: usize,
    /// The number of the segment being written.
    pub segment: u64,
    /// How the writer thread is scheduled.
    pub priority: Priority,
    /// Work that waits for the writer thread.
    pub waiting: usize,
    /// How long commits took, from the first write to the end of the sync.
    pub commits: Commits,
}

/// How long commits took since the log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Commits {
    /// How many took at most so long as [`BOUNDS_MICROS`](Self::BOUNDS_MICROS) says and longer than the bound before; the
    /// last, longer than all.
    pub counts: [u64; Self::BOUNDS_MICROS.len() + 1],
    /// All together, in nanoseconds.
    pub nanos: u64,
}

impl Commits {
    /// In microseconds.
    pub const BOUNDS_MICROS: [u64; 11] =
        [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000];

    pub(crate) fn took(&mut self, nanos: u64) {
        let slot = Self::BOUNDS_MICROS.partition_point(|bound| bound * 1_000 < nanos);
        self.counts[slot] += 1;
        self.nanos = self.nanos.saturating_add(nanos);
    }
}

/// How the writer thread is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Like any other thread: the system allowed no more.
    Normal,
    /// Before ordinary threads (nice -10).
    Raised,
    /// Real-time, first in first out.
    RealTime,
}

/// What the writer makes known after each commit.
pub(crate) struct Published {
    pub(crate) head: Head,
    /// The head, so that it can be gone on from.
    pub(crate) end: End,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) open: usize,
    pub(crate) priority: Priority,
    pub(crate) commits: Commits,
    /// Of every used segment: its number, its first entry's index, and where its frames end, if others follow.
    pub(crate) extents: Vec<Extent>,
    /// The newest entries, for those who follow the log.
    pub(crate) recent: Recent,
    /// How many entries are under the last checkpoint of this run.
    pub(crate) checkpointed: u64,
    /// What may be removed.
    pub(crate) retired: RetiredBelow,
}

/// Segments that are retired, and how many entries a checkpoint must have that covers what says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetiredBelow {
    /// The first segment that is not.
    pub(crate) first: u64,
    pub(crate) size: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) segment: u64,
    pub(crate) first_entry: u64,
    pub(crate) end: Option<u64>,
}

/// A running log. Dropping it stops it, and blocks until that is done: what is in line is written, open sessions are
/// sealed as abandoned, the head is signed.
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: LogOptions,
    queue: Arc<Queue>,
    published: Arc<Mutex<Published>>,
    reader: Arc<EntryReader>,
    signer: Arc<dyn Signer>,
    /// Until it has a thread of its own.
    printer: Option<Printer>,
    press: Option<Press>,
    spares: SparesWatch,
    admission: Option<SyncSender<Admission>>,
    threads: Vec<JoinHandle<()>>,
    _lock: Box<dyn Send + Sync>,
}

impl Log {
    /// Opens the log in `dir`, or makes it; takes its lock, recovers what a crash left, and starts its threads.
    /// Blocks, for as long as it takes to read one segment and to fill the first.
    pub fn open(
        disk: Arc<dyn Disk>,
        machine: Arc<dyn Machine>,
        dir: &Path,
        options: LogOptions,
        signer: Arc<dyn Signer>,
    ) -> Result<(Self, Recovery), OpenFault> {
        let (mut log, writer, recovery) = Self::open_idle(disk, machine, dir, options, signer)?;
        log.start(writer).map_err(|error| OpenFault::Io(Cause::new("start a thread for", dir, &error)))?;
        Ok((log, recovery))
    }

    /// All of `open` but the threads.
    pub(crate) fn open_idle(
        disk: Arc<dyn Disk>,
        machine: Arc<dyn Machine>,
        dir: &Path,
        mut options: LogOptions,
        signer: Arc<dyn Signer>,
    ) -> Result<(Self, Writer, Recovery), OpenFault> {
        options.segment_bytes = options.segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let lock = recover::claim(&*disk, dir, &options, &*signer)?;
        let found = recover::recover(&*disk, dir, options.purpose)?;
        let recovery = found.recovery();
        let reader = Arc::new(EntryReader::new(Arc::clone(&disk), dir));
        let printer = Printer::open(&disk, dir, &options.origin, Arc::clone(&signer), &reader, &found)?;
        let spares = spares(&disk, dir, &options, &found)?;
        let watch = spares.watch();
        let queue = Arc::new(Queue::new(Arc::clone(&machine)));
        let signs = Arc::clone(&signer);
        let writer = Writer::begin(&disk, machine, dir, &options, signs, Arc::clone(&queue), spares, found)?;
        let published = writer.published();
        let log = Self {
            disk,
            dir: dir.to_owned(),
            options,
            queue,
            published,
            reader,
            signer,
            printer: Some(printer),
            press: None,
            spares: watch,
            admission: None,
            threads: Vec::new(),
            _lock: lock,
        };
        Ok((log, writer, recovery))
    }

    fn start(&mut self, mut writer: Writer) -> std::io::Result<()> {
        if self.options.purpose == Purpose::Records {
            writer.start_sealer()?;
        }
        if let Some(printer) = self.printer.take() {
            let parts = (Arc::clone(&self.reader), Arc::clone(&self.published), Arc::clone(&self.queue));
            let press = Press::start(printer, parts)?;
            writer.prints_with(press.bell());
            self.press = Some(press);
        }
        self.spawn("log-writer", move || {
            writer.raise();
            while writer.turn(writer.until_due()).is_continue() {}
        })?;
        if self.options.purpose == Purpose::Records {
            let (admission, admitted) = sync_channel::<Admission>(ADMISSIONS_WAITING_MAX);
            self.spawn("admission", move || admitted.into_iter().for_each(Admission::carry_out))?;
            self.admission = Some(admission);
        }
        Ok(())
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(run)?);
        Ok(())
    }

    /// The durable head.
    pub fn head(&self) -> Head {
        lock(&self.published).head
    }

    /// The durable end: what the next entry follows.
    pub fn end(&self) -> End {
        lock(&self.published).end.clone()
    }

    /// The durable head, signed: for whoever is to remember that this log had come so far. It may be ahead of what is
    /// published, and is never behind what was acknowledged.
    ///
    /// # Errors
    /// The log's name is none that a key can have; then it would not have opened.
    pub fn checkpoint(&self) -> Result<SignedCheckpoint, NotSignable> {
        let Head { size, root, .. } = self.head();
        Checkpoint { origin: self.options.origin.clone(), size, root }.sign(&*self.signer)
    }

    /// Stops it as dropping does, and leaves it to be looked at: what is in line is written, open sessions are sealed as
    /// abandoned, the head is signed and published, and nothing more is taken. Blocks until that is done.
    pub fn stop(&self) {
        self.queue.stop();
        if !self.threads.is_empty() {
            self.queue.wait_closed();
        }
        // Last, so that what the writer wrote last is published, too.
        self.press.iter().for_each(Press::stop);
    }

    /// Appends entries after a head, all of them or none, if that is still the head; durable when the future
    /// completes. An entry earlier than the last one gets the last one's time.
    ///
    /// On [`AppendFault::Unavailable`] the entries may or may not be there: read again.
    pub fn append(
        &self,
        after: Head,
        entries: Vec<Vec<u8>>,
        at: Timestamp,
    ) -> impl Future<Output = Result<Head, AppendFault>> + Send + use<> {
        self.append_timed(after, entries.into_iter().map(|bytes| Timed { at, bytes }).collect())
    }

    /// The same with entries that have each a time of their own: such as whoever follows another log copies from it.
    pub fn append_timed(
        &self,
        after: Head,
        entries: Vec<Timed>,
    ) -> impl Future<Output = Result<Head, AppendFault>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let pushed = self.queue.push(Work::Append { after, entries, reply });
        answered(pushed, answer, Arc::clone(&self.queue))
    }

    /// The durable entries from an index on; those that are not among the newest are read from the segments, each checked
    /// against the one before. Blocks. Of a record log, entries of retired segments are in its bundles alone.
    pub fn entries(&self, from: u64) -> Result<Vec<Entry>, SegmentsFault> {
        self.reader.follow(from, &self.published)
    }

    /// The next of them: those of one segment at most, so that whoever has much to read holds little of it at once. None
    /// where there are none yet.
    ///
    /// # Errors
    /// As [`entries`](Self::entries).
    pub fn next_entries(&self, from: u64) -> Result<Vec<Entry>, SegmentsFault> {
        self.reader.follow_on(from, &self.published)
    }

    /// How many of these, from the first on, go into one append.
    pub fn takes_at_once(&self, entries: &[Timed]) -> usize {
        let mut left = append_bytes_max(self.options.segment_bytes);
        let fits = |entry: &&Timed| {
            let rest = left.checked_sub(entry_bytes(entry));
            rest.inspect(|rest| left = *rest).is_some()
        };
        entries.iter().take_while(fits).count()
    }

    /// Opens a session: room is looked for, the key file is written and synced, then the opening leaf. Nothing may
    /// reach a target before the future completes.
    pub fn open_session(
        &self,
        opening: Opening,
    ) -> impl Future<Output = Result<SessionWriter, StoreFault>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let pushed = self.admit(Admission {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            reserve: self.options.reserve_bytes,
            spares: self.spares.clone(),
            queue: Arc::clone(&self.queue),
            opening,
            reply,
        });
        answered(pushed, answer, Arc::clone(&self.queue))
    }

    /// That a recording is held: the index of the leaf, durable when the future completes.
    pub fn held(&self, decided: Decided) -> impl Future<Output = Result<u64, StoreFault>> + Send + use<> {
        self.keep(decided.recording, Leaf::Held(decided))
    }

    /// That a hold is over.
    pub fn released(&self, decided: Decided) -> impl Future<Output = Result<u64, StoreFault>> + Send + use<> {
        self.keep(decided.recording, Leaf::Released(decided))
    }

    /// That a recording is erased; refused while frames of it are in no block. Its files may go once the leaf is
    /// [`published`](Self::published_entries).
    pub fn erased(&self, erased: Erased) -> impl Future<Output = Result<u64, StoreFault>> + Send + use<> {
        self.keep(erased.decided.recording, Leaf::Erased(erased))
    }

    /// That a locked copy of one of a recording's files lies elsewhere; refused while frames of the recording are in no block,
    /// so that the file stays as it is.
    ///
    /// # Panics
    /// Of a log that was not opened to say so, or of a file that no session has.
    pub fn copied(&self, copied: Copied) -> impl Future<Output = Result<u64, StoreFault>> + Send + use<> {
        assert!(self.options.says_copied && is_session_file(&copied.name), "a log says what its format has");
        self.keep(copied.recording, Leaf::Copied(copied))
    }

    /// Whether a recording is sealed and wholly in blocks, so that its files stay as they are.
    pub fn is_settled(&self, recording: SessionId) -> impl Future<Output = Result<bool, StoreFault>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let pushed = self.queue.push(Work::Settled { recording, reply });
        answered(pushed, answer, Arc::clone(&self.queue))
    }

    fn keep(&self, recording: SessionId, leaf: Leaf) -> impl Future<Output = Result<u64, StoreFault>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let pushed = match self.options.purpose {
            Purpose::Records => self.queue.push(Work::Keeping { recording, leaf, reply }),
            Purpose::Journal => Err(StoreFault::NotARecordLog),
        };
        answered(pushed, answer, Arc::clone(&self.queue))
    }

    /// How many entries the last checkpoint covers that this run published.
    pub fn published_entries(&self) -> u64 {
        lock(&self.published).checkpointed
    }

    fn admit(&self, admission: Admission) -> Result<(), StoreFault> {
        if self.options.purpose != Purpose::Records {
            return Err(StoreFault::NotARecordLog);
        }
        match &self.admission {
            Some(thread) => thread.try_send(admission).map_err(|refused| match refused {
                TrySendError::Full(_) => StoreFault::TooManySessions(ADMISSIONS_WAITING_MAX),
                TrySendError::Disconnected(_) => StoreFault::Stopped,
            }),
            None => {
                admission.carry_out();
                Ok(())
            }
        }
    }

    /// Publishes what is durable, where no thread does it.
    #[cfg(test)]
    pub(crate) fn print(&mut self) -> std::io::Result<()> {
        let printer = self.printer.as_mut().expect("this log has no threads");
        printer.print(&self.reader, &self.published)
    }

    /// Where the log is now: what is durable, and nothing behind it.
    pub fn now(&self) -> Now {
        let published = lock(&self.published);
        Now { head: published.head, segment: published.segment, offset: published.offset }
    }

    /// How much room there is.
    pub fn room(&self) -> std::io::Result<Room> {
        let free = self.disk.free_bytes(&self.dir)?;
        let reserve = self.options.reserve_bytes;
        let state = match free {
            free if free < reserve => RoomState::None,
            free if free < self.options.low_water_bytes => RoomState::Low,
            _ => RoomState::Plenty,
        };
        Ok(Room { free, reserve, state })
    }

    /// How the log is doing.
    pub fn status(&self) -> Status {
        let published = lock(&self.published);
        Status {
            fault: self.queue.fault(),
            open: published.open,
            spares: self.spares.ready(),
            segment: published.segment,
            priority: published.priority,
            waiting: self.queue.len(),
            commits: published.commits,
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.admission = None;
        self.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the log in {} panicked", self.dir.display());
            }
        }
    }
}

/// Smaller, and a head with some sessions and their frames would not fit.
const SEGMENT_BYTES_MIN: u64 = 16 << 10;
/// Larger, and reading one at the start would take too long; a frame's `batch` has 32 bits besides.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Sessions that may wait for their key file at once: a morning's rush at a slow disk.
const ADMISSIONS_WAITING_MAX: usize = 256;

fn spares(disk: &Arc<dyn Disk>, dir: &Path, options: &LogOptions, found: &Found) -> Result<Spares, OpenFault> {
    let dir = segment::segments_dir(dir);
    let open = |number: &u64| {
        let path = dir.join(segment::file_name(*number));
        disk.open(&path).map(|file| (*number, file)).map_err(|error| OpenFault::Io(Cause::new("open", &path, &error)))
    };
    let ready = found.spares.iter().map(open).collect::<Result<_, _>>()?;
    let maker = Maker { disk: Arc::clone(disk), dir: dir.clone(), next: found.next, bytes: options.segment_bytes };
    Spares::new(maker, ready, options.spares)
        .map_err(|error| OpenFault::Io(Cause::new("start a thread for", &dir, &error)))
}

/// A session's way in: what must be on the disk before its opening leaf.
struct Admission {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    reserve: u64,
    spares: SparesWatch,
    queue: Arc<Queue>,
    opening: Opening,
    reply: oneshot::Sender<Result<SessionWriter, StoreFault>>,
}

impl Admission {
    fn carry_out(self) {
        match self.prepare() {
            Ok(()) => {
                let (opening, reply) = (self.opening, self.reply);
                let work = Work::Open { opening, reply };
                // A refused push drops the reply, and the caller then asks the queue why.
                drop(self.queue.push(work));
            }
            Err(fault) => answer(self.reply, Err(fault)),
        }
    }

    fn prepare(&self) -> Result<(), StoreFault> {
        if let Some(fault) = self.queue.fault() {
            return Err(fault);
        }
        let free =
            self.disk.free_bytes(&self.dir).map_err(|error| self.failed("ask for free space in", &self.dir, &error))?;
        let no_room = StoreFault::NoRoom { free, reserve: self.reserve };
        if free < self.reserve {
            return Err(no_room);
        }
        self.spares.wait_ready().map_err(|fault| match fault {
            SpareFault::Full => no_room.clone(),
            SpareFault::Failed(cause) => self.poison(cause),
        })?;
        self.write_keys(no_room)
    }

    /// The key file and the names that lead to it, each durable.
    fn write_keys(&self, no_room: StoreFault) -> Result<(), StoreFault> {
        let dir = session_dir(&self.dir, self.opening.recording);
        let path = dir.join(key_file_name(0));
        let write = || {
            self.disk.create_dir(&dir)?;
            let file = self.disk.create(&path)?;
            file.write_at(&self.opening.key_file.bytes, 0)?;
            file.sync_data()?;
            self.disk.sync_dir(&dir)?;
            self.disk.sync_dir(&self.dir.join("sessions"))?;
            self.disk.sync_dir(&self.dir)
        };
        write().map_err(|error: std::io::Error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                drop(self.disk.remove(&path));
                no_room
            }
            std::io::ErrorKind::AlreadyExists => StoreFault::Exists(Cause::new("create", &path, &error)),
            _ => self.failed("write", &path, &error),
        })
    }

    fn failed(&self, doing: &'static str, path: &Path, error: &std::io::Error) -> StoreFault {
        self.poison(Cause::new(doing, path, error))
    }

    /// A disk that fails here will fail the writer too; nobody is let in, and it takes nothing more.
    fn poison(&self, cause: Cause) -> StoreFault {
        let fault = StoreFault::Poisoned(cause);
        self.queue.close(&fault);
        fault
    }
}

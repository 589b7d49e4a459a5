//! The one that seals blocks, beside the writer: packs what was gathered, encrypts it, appends it to the session's file
//! and syncs that, and only then gives the leaf to the writer. Until the leaf is in the log the frames count where they
//! lie, in the segments, so nothing here is in anybody's way, and a block that was half written is nobody's loss.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use policies::ids::SessionId;

use crate::block::{Block, BlockKey, Gathered, Sealing};
use crate::disk::Disk;
use crate::fault::{Cause, is_full};
use crate::frame::Stream;
use crate::leaf::{BlockLeaf, Direction};
use crate::queue::Queue;
use crate::segment::{block_file_name, block_file_number, session_dir};
use crate::session::lock;

/// A session's file of blocks goes on in the next one when it is so long.
const FILE_BYTES: u64 = 64 << 20;
/// What may wait to be sealed. A copy that outruns the sealing waits there; who types never comes near.
const BACKLOG_BYTES_MAX: usize = 64 << 20;

/// A block to be sealed.
pub(crate) struct ToSeal {
    pub(crate) recording: SessionId,
    pub(crate) gathered: Gathered,
    pub(crate) key: BlockKey,
    /// Whether none of this session follows.
    pub(crate) last: bool,
    pub(crate) bytes: DataBytes,
}

/// Bytes of data frames, by direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DataBytes {
    pub(crate) inward: u64,
    pub(crate) outward: u64,
}

impl DataBytes {
    /// Counts what a stream carried.
    pub(crate) fn count(&mut self, stream: Stream, bytes: u64) {
        stream.direction().into_iter().for_each(|direction| self.add(direction, bytes));
    }

    pub(crate) fn add(&mut self, direction: Direction, bytes: u64) {
        let sum = match direction {
            Direction::In => &mut self.inward,
            Direction::Out => &mut self.outward,
        };
        *sum = sum.saturating_add(bytes);
    }
}

/// Writes blocks to the sessions' files.
pub(crate) struct Keeper {
    disk: Arc<dyn Disk>,
    log: PathBuf,
    ends: BTreeMap<u64, End>,
}

/// Where a session's next block goes.
#[derive(Debug, Clone, Copy, Default)]
struct End {
    file: u32,
    offset: u64,
}

/// A block on its way into a leaf.
pub(crate) struct Kept<'a> {
    pub(crate) recording: SessionId,
    pub(crate) block: &'a Block,
    pub(crate) bytes: DataBytes,
}

impl Keeper {
    pub(crate) fn new(disk: Arc<dyn Disk>, log: &Path) -> Self {
        Self { disk, log: log.to_owned(), ends: BTreeMap::new() }
    }

    /// Appends a block durably and gives what its leaf says, but for the leaf before. Whatever lies in the file behind the
    /// blocks that have leaves is left alone: what a run before began to write, or what found no room, ends a file.
    pub(crate) fn keep(&mut self, kept: &Kept<'_>) -> io::Result<BlockLeaf> {
        let header = &kept.block.header;
        let dir = session_dir(&self.log, kept.recording);
        let end = match self.ends.get(&header.session) {
            Some(end) if end.offset < FILE_BYTES => *end,
            Some(end) => End { file: end.file + 1, offset: 0 },
            None => End { file: self.free_file(&dir)?, offset: 0 },
        };
        self.ends.insert(header.session, End { file: end.file + 1, offset: 0 });
        self.write(&dir, end, &kept.block.bytes)?;
        let length = kept.block.bytes.len() as u64;
        self.ends.insert(header.session, End { file: end.file, offset: end.offset + length });
        Ok(BlockLeaf {
            session: header.session,
            number: header.number,
            first: header.first,
            frames: header.frames,
            first_nanos: header.first_nanos,
            last_nanos: header.last_nanos,
            bytes_in: kept.bytes.inward,
            bytes_out: kept.bytes.outward,
            file: end.file,
            offset: end.offset,
            length,
            sha256: kept.block.sha256(),
            previous: [0; 32],
        })
    }

    fn write(&self, dir: &Path, end: End, bytes: &[u8]) -> io::Result<()> {
        let path = dir.join(block_file_name(end.file));
        let file = if end.offset == 0 { self.disk.create(&path)? } else { self.disk.open(&path)? };
        file.write_at(bytes, end.offset)?;
        file.sync_data()?;
        if end.offset == 0 { self.disk.sync_dir(dir) } else { Ok(()) }
    }

    /// The first number behind all files there are.
    fn free_file(&self, dir: &Path) -> io::Result<u32> {
        let names = self.disk.list(dir)?;
        let last = names.iter().filter_map(|name| block_file_number(name)).max();
        Ok(last.map_or(0, |last| last + 1))
    }

    fn forget(&mut self, session: u64) {
        self.ends.remove(&session);
    }
}

/// Seals, on a thread of its own or, where the log is stepped by hand, when the writer says so.
pub(crate) struct Sealer {
    bench: Arc<Bench>,
    by_hand: Option<Box<Worker>>,
    thread: Option<JoinHandle<()>>,
}

struct Bench {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<ToSeal>,
    backlog_bytes: usize,
    /// One is being sealed.
    busy: bool,
    done: Vec<BlockLeaf>,
    /// The disk is full; tried again when the writer says so.
    stalled: bool,
    failed: Option<Cause>,
    stopping: bool,
}

impl State {
    fn can_go_on(&self) -> bool {
        !self.waiting.is_empty() && !self.stalled && self.failed.is_none()
    }
}

struct Worker {
    sealing: Sealing,
    keeper: Keeper,
}

impl Worker {
    fn seal(&mut self, to_seal: &ToSeal) -> io::Result<BlockLeaf> {
        let block = self.sealing.seal(&to_seal.gathered, &[], &to_seal.key);
        let kept = Kept { recording: to_seal.recording, block: &block, bytes: to_seal.bytes };
        let leaf = self.keeper.keep(&kept)?;
        if to_seal.last {
            self.keeper.forget(to_seal.gathered.session());
        }
        Ok(leaf)
    }
}

impl Sealer {
    /// A sealer that works when told.
    pub(crate) fn by_hand(keeper: Keeper) -> Self {
        let bench = Arc::new(Bench { state: Mutex::default(), changed: Condvar::new() });
        Self { bench, by_hand: Some(Box::new(Worker { sealing: Sealing::new(), keeper })), thread: None }
    }

    /// From here on it works by itself, and wakes the log's writer when something is done.
    pub(crate) fn start(&mut self, queue: Arc<Queue>) -> io::Result<()> {
        let Some(worker) = self.by_hand.take() else { return Ok(()) };
        let bench = Arc::clone(&self.bench);
        let run = move || bench.work(*worker, &queue);
        self.thread = Some(std::thread::Builder::new().name("sealer".to_owned()).spawn(run)?);
        Ok(())
    }

    /// Takes a block; never waits.
    pub(crate) fn submit(&self, to_seal: ToSeal) {
        let mut state = self.bench.state();
        state.backlog_bytes += to_seal.gathered.len();
        state.waiting.push_back(to_seal);
        drop(state);
        self.bench.changed.notify_all();
    }

    /// The leaves of what is done, in order; or why nothing more will be.
    pub(crate) fn take_done(&mut self) -> Result<Vec<BlockLeaf>, Cause> {
        if let Some(worker) = &mut self.by_hand {
            while self.bench.seal_next(worker) {}
        }
        let mut state = self.bench.state();
        match &state.failed {
            Some(cause) => Err(cause.clone()),
            None => Ok(std::mem::take(&mut state.done)),
        }
    }

    /// Waits while too much waits to be sealed; whether there is room again. There is none where the disk is full.
    pub(crate) fn wait_for_room(&mut self) -> bool {
        let full = |state: &State| state.backlog_bytes > BACKLOG_BYTES_MAX;
        if let Some(worker) = &mut self.by_hand {
            while full(&self.bench.state()) && self.bench.seal_next(worker) {}
            return !full(&self.bench.state());
        }
        let state = self.bench.wait_while(|state| full(state) && (state.busy || state.can_go_on()));
        !full(&state)
    }

    /// Waits until all is done that can be.
    pub(crate) fn drain(&mut self) {
        if self.by_hand.is_none() {
            drop(self.bench.wait_while(|state| state.busy || state.can_go_on()));
        }
    }

    /// Tries what found no room once more.
    pub(crate) fn retry(&self) {
        self.bench.state().stalled = false;
        self.bench.changed.notify_all();
    }

    /// Nothing more is sealed.
    pub(crate) fn abort(&self) {
        let mut state = self.bench.state();
        state.stopping = true;
        state.waiting.clear();
        state.backlog_bytes = 0;
        drop(state);
        self.bench.changed.notify_all();
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        self.abort();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Bench {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn wait_while(&self, waits: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        self.changed.wait_while(self.state(), |state| waits(state)).unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, mut worker: Worker, queue: &Queue) {
        loop {
            let state = self.wait_while(|state| !state.stopping && !state.can_go_on());
            if state.stopping {
                return;
            }
            drop(state);
            self.seal_next(&mut worker);
            self.changed.notify_all();
            queue.nudge();
        }
    }

    /// Seals one block; whether there was one that could be.
    fn seal_next(&self, worker: &mut Worker) -> bool {
        let mut state = self.state();
        if !state.can_go_on() {
            return false;
        }
        let Some(to_seal) = state.waiting.pop_front() else { return false };
        state.busy = true;
        drop(state);
        let sealed = worker.seal(&to_seal);
        let mut state = self.state();
        state.busy = false;
        match sealed {
            Ok(leaf) => {
                state.backlog_bytes = state.backlog_bytes.saturating_sub(to_seal.gathered.len());
                state.done.push(leaf);
            }
            Err(full) if is_full(&full) => {
                state.waiting.push_front(to_seal);
                state.stalled = true;
            }
            Err(error) => {
                let dir = session_dir(&worker.keeper.log, to_seal.recording);
                state.failed = Some(Cause::new("keep a block in", &dir, &error));
            }
        }
        true
    }
}

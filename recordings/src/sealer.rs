//! The one that seals blocks, beside the writer: packs what was gathered, encrypts it, appends it to the session's file
//! and syncs that, and only then gives the leaf to the writer. Until the leaf is in the log the frames count where they
//! lie, in the segments, so nothing here is in anybody's way, and a block that was half written is nobody's loss.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use policies::ids::SessionId;

use crate::block::{Block, BlockKey, Gathered, Keyframe, Sealing};
use crate::disk::Disk;
use crate::fault::{Cause, is_full};
use crate::frame::Stream;
use crate::leaf::{BlockLeaf, Direction};
use crate::queue::Queue;
use crate::segment::{block_file_name, block_file_number, session_dir};
use crate::session::lock;

/// A session's file of blocks goes on in the next one when it is so long.
const FILE_BYTES: u64 = 64 << 20;
/// A block is closed when it has so many bytes: larger ones are no denser, and take more of a reader's memory.
pub(crate) const BLOCK_BYTES: usize = 256 << 10;
/// What may wait to be sealed. A copy that outruns the sealing waits there; who types never comes near.
const BACKLOG_BYTES_MAX: usize = 64 << 20;

/// A block to be sealed.
pub(crate) struct ToSeal {
    pub(crate) recording: SessionId,
    pub(crate) gathered: Gathered,
    pub(crate) keyframes: Vec<Keyframe>,
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
    pub(crate) block: &'a Block,
    pub(crate) bytes: DataBytes,
}

impl Kept<'_> {
    fn leaf(&self, at: End) -> BlockLeaf {
        let header = &self.block.header;
        BlockLeaf {
            session: header.session,
            number: header.number,
            first: header.first,
            frames: header.frames,
            first_nanos: header.first_nanos,
            last_nanos: header.last_nanos,
            bytes_in: self.bytes.inward,
            bytes_out: self.bytes.outward,
            file: at.file,
            offset: at.offset,
            length: self.block.bytes.len() as u64,
            sha256: self.block.sha256(),
            previous: [0; 32],
        }
    }
}

impl Keeper {
    pub(crate) fn new(disk: Arc<dyn Disk>, log: &Path) -> Self {
        Self { disk, log: log.to_owned(), ends: BTreeMap::new() }
    }

    /// Appends blocks of one session durably, with one sync, and gives what their leaves say, but for the leaf before. Whatever
    /// lies in the file behind the blocks that have leaves is left alone: what a run before began to write, or what found no
    /// room, ends a file.
    pub(crate) fn keep(&mut self, recording: SessionId, kept: &[Kept<'_>]) -> io::Result<Vec<BlockLeaf>> {
        let Some(first) = kept.first() else { return Ok(Vec::new()) };
        let session = first.block.header.session;
        let dir = session_dir(&self.log, recording);
        let mut end = match self.ends.get(&session) {
            Some(end) if end.offset < FILE_BYTES => *end,
            Some(end) => End { file: end.file + 1, offset: 0 },
            None => End { file: self.free_file(&dir)?, offset: 0 },
        };
        self.ends.insert(session, End { file: end.file + 1, offset: 0 });
        self.write(&dir, end, kept)?;
        let leaves = kept.iter().map(|kept| {
            let leaf = kept.leaf(end);
            end.offset += leaf.length;
            leaf
        });
        let leaves = leaves.collect();
        self.ends.insert(session, end);
        Ok(leaves)
    }

    fn write(&self, dir: &Path, end: End, kept: &[Kept<'_>]) -> io::Result<()> {
        let path = dir.join(block_file_name(end.file));
        let file = if end.offset == 0 { self.disk.create(&path)? } else { self.disk.open(&path)? };
        let mut offset = end.offset;
        for kept in kept {
            file.write_at(&kept.block.bytes, offset)?;
            offset += kept.block.bytes.len() as u64;
        }
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
    /// Buffers of whole blocks, to be filled again.
    buffers: Vec<Vec<u8>>,
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

/// What is sealed with one sync: a copy writes so much in some milliseconds.
const GROUP_BYTES_MAX: usize = 1 << 20;
/// Buffers that are kept for other blocks: what one copy has under way.
const BUFFERS_MAX: usize = 8;

impl State {
    /// The first block that waits, and those of its session right behind it.
    fn next_group(&mut self) -> Vec<ToSeal> {
        let Some(first) = self.waiting.pop_front() else { return Vec::new() };
        let (session, mut bytes) = (first.gathered.session(), first.gathered.len());
        let mut group = vec![first];
        while let Some(next) = self
            .waiting
            .pop_front_if(|next| next.gathered.session() == session && bytes + next.gathered.len() <= GROUP_BYTES_MAX)
        {
            bytes += next.gathered.len();
            group.push(next);
        }
        group
    }

    fn take_back(&mut self, gathered: Gathered) {
        self.backlog_bytes = self.backlog_bytes.saturating_sub(gathered.len());
        let buffer = gathered.into_buffer();
        if self.buffers.len() < BUFFERS_MAX && buffer.len() >= BLOCK_BYTES {
            self.buffers.push(buffer);
        }
    }
}

struct Worker {
    sealing: Sealing,
    keeper: Keeper,
}

impl Worker {
    /// Seals blocks of one session.
    fn seal(&mut self, group: &[ToSeal]) -> io::Result<Vec<BlockLeaf>> {
        let Some(last) = group.last() else { return Ok(Vec::new()) };
        let seal = |to_seal: &ToSeal| self.sealing.seal(&to_seal.gathered, &to_seal.keyframes, &to_seal.key);
        let blocks: Vec<Block> = group.iter().map(seal).collect();
        let kept: Vec<Kept<'_>> =
            blocks.iter().zip(group).map(|(block, to_seal)| Kept { block, bytes: to_seal.bytes }).collect();
        let leaves = self.keeper.keep(last.recording, &kept)?;
        blocks.into_iter().for_each(|block| self.sealing.reuse(block));
        if last.last {
            self.keeper.forget(last.gathered.session());
        }
        Ok(leaves)
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

    /// A buffer for a block that will be filled.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        self.bench.state().buffers.pop().unwrap_or_default()
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

    /// Seals the next blocks of one session; whether there were any that could be.
    fn seal_next(&self, worker: &mut Worker) -> bool {
        let mut state = self.state();
        if !state.can_go_on() {
            return false;
        }
        let group = state.next_group();
        state.busy = true;
        drop(state);
        let sealed = worker.seal(&group);
        let mut state = self.state();
        state.busy = false;
        match sealed {
            Ok(leaves) => {
                state.done.extend(leaves);
                group.into_iter().for_each(|to_seal| state.take_back(to_seal.gathered));
            }
            Err(full) if is_full(&full) => {
                group.into_iter().rev().for_each(|to_seal| state.waiting.push_front(to_seal));
                state.stalled = true;
            }
            Err(error) => {
                let recording = group.first().map(|to_seal| to_seal.recording);
                let dir = recording.map(|recording| session_dir(&worker.keeper.log, recording));
                state.failed = Some(Cause::new("keep a block in", &dir.unwrap_or_default(), &error));
            }
        }
        true
    }
}

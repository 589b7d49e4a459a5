//! The one that writes a log: takes all that waits, frames, encrypts and chains it, writes it once, syncs it once, and
//! only then tells who waited. It does not linger: while one batch is being synced, the next one gathers.
//!
//! A write or sync that fails is poison. There is no second try, since after a failed sync the kernel calls pages
//! clean that never reached the disk, and the next sync says yes. A disk that is full is not poison: what would need
//! a new segment is refused, and what is written stays true.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::channel::oneshot;
use jiff::Timestamp;
use policies::digest::Digest;
use policies::ids::SessionId;

use crate::block::{Gathered, Keyframe};
use crate::closing::Closings;
use crate::disk::{Disk, DiskFile, Machine};
use crate::entries::Recent;
use crate::fault::{AppendFault, Cause, OpenFault, StoreFault, is_full};
use crate::frame::{self, BODY_BYTES_MAX, Fact, FrameKey, HEADER_BYTES, Header, Kind, Stream, TAG_BYTES};
use crate::keys::Ratchet;
use crate::leaf::{
    ABANDONED, ACCOUNTS_MAX, Account, Anchor, BlockLeaf, CRASHED, Direction, ENTRY_BYTES_MAX, ENTRY_OVERHEAD_BYTES,
    Entry, Leaf, OTHER_CHANNELS, Opened, Position, Recovered, Sealed, SealedAccount, Started, Statement, signed_bytes,
};
use crate::ledger::LedgerDigest;
use crate::leftover::{self, Leftover};
use crate::log::{
    Before, Commits, Extent, Head, LogOptions, Priority, Published, Purpose, RetiredBelow, Signer, Timed,
};
use crate::press::Bell;
use crate::queue::{Next, Queue, Reply, Stamped, Work, answer};
use crate::recover::Found;
use crate::retire::Retiring;
use crate::sealer::{BLOCK_BYTES, DataBytes, Keeper, Kept, Sealer, ToSeal};
use crate::segment::{self, OPEN_SESSION_BYTES, OpenSession, SegmentHead};
use crate::session::{
    LineShared, Opening, Seal, SealedSession, SessionShared, SessionWriter, Tallies, is_last_word, lock,
};
use crate::spares::{SpareFault, Spares};
use crate::state::{NODE, State};

/// A batch is written when it has so many bytes. Larger ones make who waits wait longer, and the disk not faster.
const BATCH_BYTES: usize = 1 << 20;

/// Bytes of the entries that one append may have, where segments are so long.
pub(crate) fn append_bytes_max(segment_bytes: u64) -> usize {
    BATCH_BYTES.min(segment_bytes as usize / 4)
}

/// What an entry takes of them.
pub(crate) fn entry_bytes(entry: &Timed) -> usize {
    HEADER_BYTES + ENTRY_OVERHEAD_BYTES + entry.bytes.len()
}

/// Or so many frames to be acknowledged.
const BATCH_FRAMES: usize = 1_024;
/// What systems cache files in, at least.
const PAGE_BYTES: u64 = 4 << 10;
/// A signed head is due so many seconds after the last one, with a session open.
const ANCHOR_SECONDS_BUSY: u16 = 1;
/// And without one.
const ANCHOR_SECONDS_IDLE: u16 = 60;

/// Why a frame could not be put in line for the disk.
enum Halt {
    /// Nothing more can ever be written.
    Poison(StoreFault),
    /// It cannot be; what was written is whole, and other frames may follow.
    Refused(StoreFault),
}

impl Halt {
    fn fault(&self) -> &StoreFault {
        match self {
            Self::Poison(fault) | Self::Refused(fault) => fault,
        }
    }

    /// Stops the writer if it is poison, and nothing otherwise.
    fn unless_refused(self) -> Result<(), Self> {
        match self {
            Self::Poison(_) => Err(self),
            Self::Refused(_) => Ok(()),
        }
    }
}

pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    machine: Arc<dyn Machine>,
    signer: Arc<dyn Signer>,
    queue: Arc<Queue>,
    published: Arc<Mutex<Published>>,
    spares: Spares,
    dir: PathBuf,
    purpose: Purpose,
    origin: String,
    reserve_bytes: u64,
    segment_bytes: u64,
    file: Option<Box<dyn DiskFile>>,
    state: State,
    sessions: BTreeMap<u64, Session>,
    sealer: Sealer,
    /// Leaves of sealed blocks that are to be put in line; on a full disk they wait for room, and their frames count where
    /// they lie.
    done: VecDeque<BlockLeaf>,
    closing: Closings,
    /// Sessions whose seal found no room; tried again with each anchor.
    unsealed: Vec<u64>,
    retiring: Retiring,
    /// Entries of the batch.
    fresh: Vec<Entry>,
    buffer: Vec<u8>,
    /// Where the buffer goes.
    batch: u64,
    acks: Vec<Ack>,
    now: u64,
    anchored: u64,
    anchor_wanted: bool,
    /// Rung when there is something to be published soon.
    bell: Bell,
}

/// A session the writer serves.
struct Session {
    ratchet: Ratchet,
    /// The key of the open block's frames.
    key: FrameKey,
    /// The open block, once it has a frame.
    block: Option<OpenBlock>,
    /// For the next one.
    buffer: Vec<u8>,
    /// What the next one begins with.
    keyframes: Vec<Keyframe>,
    tallies: Tallies,
    ledger: LedgerDigest,
    shared: Arc<SessionShared>,
}

/// Frames of a block that is not closed.
struct OpenBlock {
    gathered: Gathered,
    keyframes: Vec<Keyframe>,
    bytes: DataBytes,
}

/// Who is told when the batch is durable.
enum Ack {
    Data { session: Arc<SessionShared>, line: Arc<LineShared>, frames: u64, cost: u64, position: u64 },
    Fact { session: Arc<SessionShared>, frames: u64, cost: u64, reply: Reply<()> },
    Opened { reply: Reply<SessionWriter>, writer: SessionWriter },
    Sealed { shared: Option<Arc<SessionShared>>, reply: Reply<SealedSession>, sealed: SealedSession },
    Appended { reply: oneshot::Sender<Result<Head, AppendFault>>, head: Head },
    Kept { reply: Reply<u64>, index: u64 },
}

/// What a frame may use of a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// All but a margin at the end.
    Ordinary,
    /// Half of the margin too, so that on a full disk a recording says how it ended and what of its files had passed.
    LastWords,
    /// The margin too: seals and anchors, so that they find room on a full disk.
    Closing,
}

impl Writer {
    /// Takes over what recovery found and writes the first batch of this run: the mark of a crash and the seals of its
    /// sessions, where there was one, and a signed head.
    #[allow(clippy::too_many_arguments, reason = "all of a log's parts meet here, once")]
    pub(crate) fn begin(
        disk: &Arc<dyn Disk>,
        machine: Arc<dyn Machine>,
        dir: &Path,
        options: &LogOptions,
        signer: Arc<dyn Signer>,
        queue: Arc<Queue>,
        spares: Spares,
        found: Found,
    ) -> Result<Self, OpenFault> {
        // Before anything is written: a folder that is refused stays as it is.
        let left = leftover::blocks(&**disk, dir, &found.state)?;
        let end = found.state.end;
        let published = Published {
            head: found.state.head(),
            end: found.state.entries_end(),
            segment: end.segment,
            offset: end.offset,
            open: 0,
            priority: Priority::Normal,
            commits: Commits::default(),
            extents: found.extents,
            recent: Recent::new(found.state.tree.size()),
            checkpointed: 0,
            retired: RetiredBelow { first: found.state.first, size: found.state.tree.size() },
        };
        let mut retiring = Retiring::default();
        found.ended.iter().for_each(|(end, open)| retiring.push(*end, open));
        let now = machine.monotonic_nanos();
        let mut writer = Self {
            disk: Arc::clone(disk),
            machine,
            signer,
            queue,
            published: Arc::new(Mutex::new(published)),
            spares,
            dir: dir.to_owned(),
            purpose: options.purpose,
            origin: options.origin.clone(),
            reserve_bytes: options.reserve_bytes,
            segment_bytes: 0,
            file: None,
            state: found.state,
            sessions: BTreeMap::new(),
            sealer: Sealer::by_hand(Keeper::new(Arc::clone(disk), dir)),
            done: VecDeque::new(),
            closing: Closings::default(),
            unsealed: Vec::new(),
            retiring,
            fresh: Vec::new(),
            buffer: Vec::new(),
            batch: end.offset,
            acks: Vec::new(),
            now,
            anchored: now,
            anchor_wanted: false,
            bell: Bell::default(),
        };
        writer.begin_run(&found.before, left).map_err(|halt| halt.fault().clone())?;
        Ok(writer)
    }

    fn begin_run(&mut self, before: &Before, left: Vec<Leftover>) -> Result<(), Halt> {
        match before {
            Before::Fresh => self.roll()?,
            Before::Stopped => self.resume()?,
            Before::Crashed { torn, .. } => self.begin_after_crash(*torn)?,
        }
        if self.purpose == Purpose::Records {
            let program = env!("CARGO_PKG_VERSION").to_owned();
            let started = Leaf::Started(Started { boot_id: self.machine.boot_id(), program });
            self.put_leaf(NODE, &started, Use::Closing)?;
        }
        self.anchor(self.due_seconds())?;
        self.commit()?;
        self.cover_what_is_left(left)
    }

    /// Puts into blocks what the run before left in segments alone: as it lies there, since its keys are gone.
    fn cover_what_is_left(&mut self, left: Vec<Leftover>) -> Result<(), Halt> {
        if self.state.open.is_empty() {
            return Ok(());
        }
        let mut keeper = Keeper::new(Arc::clone(&self.disk), &self.dir);
        for Leftover { recording, block, bytes } in left {
            match keeper.keep(recording, &[Kept { block: &block, bytes }]) {
                Ok(leaves) => leaves.into_iter().try_for_each(|leaf| self.cover(leaf))?,
                // It lies in the segments, and is tried again at the next start.
                Err(full) if is_full(&full) => break,
                Err(error) => return Err(poison("keep a block in", &self.dir, &error)),
            }
        }
        self.anchor(self.due_seconds())?;
        self.commit()
    }

    /// Puts a block's leaf in line.
    fn cover(&mut self, leaf: BlockLeaf) -> Result<(), Halt> {
        let open = self.state.open.get(&leaf.session).expect("a session is forgotten when all its blocks have leaves");
        let leaf = BlockLeaf { previous: open.leaf, ..leaf };
        let entry = self.put_leaf(NODE, &Leaf::Block(leaf), Use::Closing)?;
        self.state.cover(&leaf, entry.hash).expect("blocks are sealed in the order in which they were closed");
        Ok(())
    }

    /// Goes on in the segment that the run before stopped in.
    fn resume(&mut self) -> Result<(), Halt> {
        let path = self.path();
        let file = self.disk.open(&path).map_err(|error| poison("open", &path, &error))?;
        self.segment_bytes = file.len().map_err(|error| poison("look at", &path, &error))?;
        self.file = Some(file);
        Ok(())
    }

    fn begin_after_crash(&mut self, torn: bool) -> Result<(), Halt> {
        let good = self.state.end;
        self.roll()?;
        let recovered = Recovered { good, torn, boot_id: self.machine.boot_id(), wall: self.machine.wall() };
        self.put_clear(Kind::Recovered, NODE, false, &recovered.encode());
        let crashed = self.live();
        crashed.into_iter().try_for_each(|session| self.seal(session, Ended::without_word(CRASHED)).map(drop))
    }

    pub(crate) fn published(&self) -> Arc<Mutex<Published>> {
        Arc::clone(&self.published)
    }

    /// Asks the system to run this thread before others, and goes on as it is where that is refused.
    pub(crate) fn raise(&self) {
        lock(&self.published).priority = raise_this_thread();
    }

    /// How long until there is something to do that nobody asks for: a head to sign, a block to close.
    pub(crate) fn until_due(&self) -> Duration {
        let due = self.closing.earliest().unwrap_or(u64::MAX).min(self.due_at());
        Duration::from_nanos(due.saturating_sub(self.machine.monotonic_nanos()))
    }

    fn due_at(&self) -> u64 {
        self.anchored + u64::from(self.due_seconds()) * 1_000_000_000
    }

    fn due_seconds(&self) -> u16 {
        if self.state.open.is_empty() { ANCHOR_SECONDS_IDLE } else { ANCHOR_SECONDS_BUSY }
    }

    /// The sessions that are open.
    fn live(&self) -> Vec<u64> {
        self.state.live().map(|open| open.session).collect()
    }

    /// Who publishes what was written.
    pub(crate) fn prints_with(&mut self, bell: Bell) {
        self.bell = bell;
    }

    /// From here on blocks are sealed on a thread of their own.
    pub(crate) fn start_sealer(&mut self) -> std::io::Result<()> {
        self.sealer.start(Arc::clone(&self.queue))
    }

    /// Waits for something to do, and does it; breaks when nothing is to be done any more.
    pub(crate) fn turn(&mut self, at_most: Duration) -> ControlFlow<()> {
        match self.queue.wait(at_most) {
            Next::Work => {
                self.step();
                return ControlFlow::Continue(());
            }
            Next::Stop => self.stop(),
            Next::Fail(fault) => self.fail(&fault),
        }
        ControlFlow::Break(())
    }

    /// Does all that waits, and signs the head when that is due.
    fn step(&mut self) {
        let mut works = self.queue.take();
        let mut done = Ok(());
        while let (Ok(()), Some(Stamped { nanos, work })) = (&done, works.pop_front()) {
            self.now = nanos;
            done = self.carry_out(work);
        }
        if let Err(Halt::Poison(fault)) = done.and_then(|()| self.finish_step()) {
            self.fail(&fault);
            works.into_iter().for_each(|stamped| stamped.work.refuse(&fault));
        }
    }

    fn finish_step(&mut self) -> Result<(), Halt> {
        let publish = self.anchor_wanted;
        self.now = self.machine.monotonic_nanos();
        self.close_due();
        self.cover_done()?;
        if self.anchor_wanted || self.now >= self.due_at() {
            self.sealer.retry();
            self.seal_late()?;
            self.retire().or_else(Halt::unless_refused)?;
            self.anchor(self.due_seconds()).or_else(Halt::unless_refused)?;
            self.anchored = self.now;
            self.anchor_wanted = false;
        }
        self.commit()?;
        if publish {
            self.bell.ring();
        }
        Ok(())
    }

    /// Closes the blocks whose time has come.
    fn close_due(&mut self) {
        while let Some(closing) = self.closing.take_due(self.now) {
            let is_open = |session: &&mut Session| session.ratchet.block() == closing.block;
            if let Some(session) = self.sessions.get_mut(&closing.session).filter(is_open) {
                session.close_block(false).into_iter().for_each(|to_seal| self.sealer.submit(to_seal));
            }
        }
    }

    /// The session's next frame begins a block, with these.
    fn begin_block(&mut self, session: u64, keyframes: Vec<Keyframe>) {
        let Some(session) = self.sessions.get_mut(&session) else { return };
        session.close_block(false).into_iter().for_each(|to_seal| self.sealer.submit(to_seal));
        session.keyframes = keyframes;
    }

    /// Puts the leaves of sealed blocks in line.
    fn cover_done(&mut self) -> Result<(), Halt> {
        self.done.extend(self.sealer.take_done().map_err(|cause| Halt::Poison(StoreFault::Poisoned(cause)))?);
        while let Some(leaf) = self.done.front().copied() {
            if let Err(halt) = self.cover(leaf) {
                return halt.unless_refused();
            }
            self.done.pop_front();
        }
        Ok(())
    }

    /// Says of segments that they may go.
    fn retire(&mut self) -> Result<(), Halt> {
        if self.purpose != Purpose::Records {
            return Ok(());
        }
        let checkpointed = lock(&self.published).checkpointed;
        while let Some(retired) = self.retiring.next(&self.state, checkpointed) {
            self.put_leaf(NODE, &Leaf::Retired(retired), Use::Closing)?;
            self.state.retire(&retired).expect("it is the oldest that is not retired");
        }
        Ok(())
    }

    /// Writes the last of this run: open sessions are sealed as abandoned, and the head says that none is due.
    fn stop(&mut self) {
        match self.end_run() {
            Ok(()) => tracing::debug!("stopped the log in {}", self.dir.display()),
            Err(Halt::Refused(fault)) => tracing::warn!("no room to stop {} cleanly: {fault}", self.dir.display()),
            Err(Halt::Poison(fault)) => self.fail(&fault),
        }
    }

    fn end_run(&mut self) -> Result<(), Halt> {
        self.now = self.machine.monotonic_nanos();
        self.live().into_iter().try_for_each(|session| self.abandon(session))?;
        self.sealer.drain();
        self.cover_done()?;
        if self.purpose == Purpose::Records {
            self.put_leaf(NODE, &Leaf::Stopped, Use::Closing)?;
        }
        self.anchor(0)?;
        self.commit()
    }

    /// Nothing more is written: everyone who waits is told why.
    fn fail(&mut self, fault: &StoreFault) {
        self.queue.close(fault);
        self.sealer.abort();
        self.buffer.clear();
        self.fresh.clear();
        self.acks.drain(..).for_each(|ack| ack.refuse(fault));
        std::mem::take(&mut self.sessions).into_values().for_each(|session| session.shared.fail(fault));
        let mut published = lock(&self.published);
        published.open = 0;
    }

    /// What fails here for want of room is told to whoever wanted it; an error is poison.
    fn carry_out(&mut self, work: Work) -> Result<(), Halt> {
        let done = match work {
            Work::Data { session, line, bytes, cost, position } => match self.data(&session, &line, &bytes) {
                Ok(frames) => {
                    self.acks.push(Ack::Data { session, line, frames, cost, position });
                    Ok(())
                }
                Err(halt) => {
                    session.fail(halt.fault());
                    Err(halt)
                }
            },
            Work::Fact { session, fact, channel, bytes, cost, reply } => {
                match self.put_sealed(&session, Kind::Fact(fact), Stream::None, channel, &bytes) {
                    Ok(frames) => {
                        if fact == Fact::FileEntry {
                            self.served(&session).ledger.push(&bytes);
                        }
                        self.acks.push(Ack::Fact { session, frames, cost, reply });
                        Ok(())
                    }
                    Err(halt) => {
                        session.fail(halt.fault());
                        refuse(reply, halt)
                    }
                }
            }
            Work::Keyframes { session, keyframes, cost } => {
                self.begin_block(session.number, keyframes);
                session.give_back(cost);
                Ok(())
            }
            Work::Open { opening, reply } => match self.open(opening) {
                Ok(writer) => {
                    self.acks.push(Ack::Opened { reply, writer });
                    Ok(())
                }
                Err(halt) => refuse(reply, halt),
            },
            Work::Seal { session, seal, reply } => match self.seal_as(session, seal) {
                Ok((shared, sealed)) => {
                    self.acks.push(Ack::Sealed { shared, reply, sealed });
                    Ok(())
                }
                Err(halt) => {
                    self.unsealed.push(session);
                    refuse(reply, halt)
                }
            },
            Work::Abandon { session } => self.abandon_or_wait(session),
            Work::Append { after, entries, reply } => self.append(after, &entries, reply),
            Work::Keeping { recording, leaf, reply } => match self.keep(recording, &leaf) {
                Ok(index) => {
                    self.acks.push(Ack::Kept { reply, index });
                    Ok(())
                }
                Err(halt) => refuse(reply, halt),
            },
            Work::Settled { recording, reply } => {
                answer(reply, Ok(self.is_settled(recording)));
                Ok(())
            }
        };
        done.or_else(Halt::unless_refused)?;
        if self.buffer.len() >= BATCH_BYTES || self.acks.len() >= BATCH_FRAMES { self.commit() } else { Ok(()) }
    }

    /// How many frames the session has with these.
    fn data(&mut self, session: &SessionShared, line: &LineShared, bytes: &[u8]) -> Result<u64, Halt> {
        if !self.sealer.wait_for_room() {
            return Err(Halt::Refused(self.no_room()));
        }
        let mut frames = 0;
        for part in bytes.chunks(self.data_bytes()) {
            if self.buffer.len() >= BATCH_BYTES {
                self.commit()?;
            }
            frames = self.put_sealed(session, Kind::Data, line.stream, line.channel, part)?;
            *self.served(session).tallies.entry((line.stream, line.channel)).or_default() += part.len() as u64;
        }
        Ok(frames)
    }

    /// A session that a frame was just put in line for.
    fn served(&mut self, session: &SessionShared) -> &mut Session {
        self.sessions.get_mut(&session.number).expect("put_sealed() found it")
    }

    /// Bytes of one data frame: what a relay moves at once, or less in a small segment.
    fn data_bytes(&self) -> usize {
        (self.segment_bytes / 8).min(DATA_BYTES_MAX as u64) as usize
    }

    /// How many frames the session has with this one.
    fn put_sealed(
        &mut self,
        session: &SessionShared,
        kind: Kind,
        stream: Stream,
        channel: u32,
        plain: &[u8],
    ) -> Result<u64, Halt> {
        let is_last_word = matches!(kind, Kind::Fact(fact) if is_last_word(fact));
        if session.fault_for(is_last_word).is_some() || !self.sessions.contains_key(&session.number) {
            return Err(Halt::Refused(StoreFault::Sealed));
        }
        let usage = if is_last_word { Use::LastWords } else { Use::Ordinary };
        self.make_room(HEADER_BYTES + plain.len() + TAG_BYTES, usage)?;
        let block = self.sessions[&session.number].ratchet.block();
        let header = Header { stream, channel, block, ..self.header(kind, session.number, false) };
        let at = self.buffer.len();
        let served = self.sessions.get_mut(&session.number).expect("it was there just now");
        let put = frame::put_sealed(&mut self.buffer, &header, plain, &served.key);
        self.state.advance(session.number, (self.buffer.len() - at) as u64, put.link, Some(put.mark));
        if served.gather(&header, plain) {
            self.closing.add(session.number, block, self.now);
        }
        if served.block.as_ref().is_some_and(|block| block.gathered.len() >= BLOCK_BYTES) {
            served.close_block(false).into_iter().for_each(|to_seal| self.sealer.submit(to_seal));
            served.buffer = self.sealer.buffer();
        }
        Ok(header.sequence + 1)
    }

    fn put_clear(&mut self, kind: Kind, session: u64, continues: bool, body: &[u8]) {
        let header = self.header(kind, session, continues);
        let at = self.buffer.len();
        let link = frame::put_clear(&mut self.buffer, &header, body);
        self.state.advance(session, (self.buffer.len() - at) as u64, link, None);
    }

    fn header(&self, kind: Kind, session: u64, continues: bool) -> Header {
        Header {
            kind,
            stream: Stream::None,
            continues,
            session,
            sequence: self.state.sequence(session).expect("frames are made of open sessions only"),
            nanos: self.now,
            batch: u32::try_from(self.batch).expect("a segment has at most a gibibyte"),
            channel: 0,
            block: 0,
            previous: self.state.end.link,
        }
    }

    /// Puts an entry in line that is a leaf about sessions, and gives it.
    fn put_leaf(&mut self, session: u64, leaf: &Leaf, usage: Use) -> Result<Entry, Halt> {
        let bytes = leaf.encode();
        self.make_room(HEADER_BYTES + ENTRY_OVERHEAD_BYTES + bytes.len(), usage)?;
        Ok(self.put_entry(session, false, self.machine.wall(), &bytes))
    }

    fn put_entry(&mut self, session: u64, continues: bool, at: Timestamp, bytes: &[u8]) -> Entry {
        let leaf = Entry::encode(&self.state.last, at.max(self.state.at), bytes);
        let entry = Entry::parse(self.state.tree.size(), &leaf).expect("it was encoded just now");
        self.state.push(&entry);
        self.put_clear(Kind::Leaf, session, continues, &leaf);
        self.fresh.push(entry.clone());
        entry
    }

    /// Sees to it that so many bytes fit in the segment, if need be in the next one.
    fn make_room(&mut self, bytes: usize, usage: Use) -> Result<(), Halt> {
        if self.has_room(bytes, usage) {
            return Ok(());
        }
        self.commit()?;
        self.roll()?;
        if self.has_room(bytes, usage) { Ok(()) } else { Err(Halt::Refused(StoreFault::TooLong(bytes))) }
    }

    fn has_room(&self, bytes: usize, usage: Use) -> bool {
        let margin = (self.segment_bytes / 8).min(MARGIN_BYTES_MAX);
        let margin = match usage {
            Use::Ordinary => margin,
            Use::LastWords => margin / 2,
            Use::Closing => 0,
        };
        self.state.end.offset + bytes as u64 + margin <= self.segment_bytes
    }

    /// Goes on in the next segment; its head is the first frame of the next batch.
    fn roll(&mut self) -> Result<(), Halt> {
        let (number, file) = self.spares.take().map_err(|fault| match fault {
            SpareFault::Full => Halt::Refused(self.no_room()),
            SpareFault::Failed(cause) => Halt::Poison(StoreFault::Poisoned(cause)),
        })?;
        let after = self.state.end;
        self.state.end = Position { segment: number, offset: 0, ..after };
        self.segment_bytes = file.len().map_err(|error| poison("look at", &self.path(), &error))?;
        self.file = Some(file);
        self.batch = 0;
        let mut id = [0; 16];
        self.machine.fill_random(&mut id);
        if after.offset > 0 {
            self.retiring.push(after, self.state.open.values());
        }
        let State { tree, last, at, first, open, .. } = self.state.clone();
        let head = SegmentHead { number, id, after, tree, last, at, first, open: open.into_values().collect() };
        self.put_clear(Kind::SegmentHead, NODE, false, &head.encode());
        Ok(())
    }

    fn no_room(&self) -> StoreFault {
        let free = self.disk.free_bytes(&self.dir).unwrap_or(0);
        StoreFault::NoRoom { free, reserve: self.reserve_bytes }
    }

    fn path(&self) -> PathBuf {
        segment::segments_dir(&self.dir).join(segment::file_name(self.state.end.segment))
    }

    /// Writes the batch, syncs it, and tells who waited.
    fn commit(&mut self) -> Result<(), Halt> {
        if !self.buffer.is_empty() {
            let began = self.machine.monotonic_nanos();
            self.fill_page();
            let file = self.file.as_deref().expect("a segment is opened before its first frame");
            file.write_at(&self.buffer, self.batch).map_err(|error| poison("write", &self.path(), &error))?;
            file.sync_data().map_err(|error| poison("sync", &self.path(), &error))?;
            self.batch = self.state.end.offset;
            self.buffer.clear();
            self.publish();
            lock(&self.published).commits.took(self.machine.monotonic_nanos().saturating_sub(began));
        }
        for ack in std::mem::take(&mut self.acks) {
            ack.tell();
        }
        Ok(())
    }

    /// Writes the page that the batch ends in to its end, zeros over zeros: the system would have to read it from the disk
    /// before it could write a part of it.
    fn fill_page(&mut self) {
        let page_end = self.state.end.offset.next_multiple_of(PAGE_BYTES).min(self.segment_bytes);
        self.buffer.resize((page_end - self.batch) as usize, 0);
    }

    fn publish(&mut self) {
        let mut published = lock(&self.published);
        let segment = self.state.end.segment;
        if published.extents.last().is_none_or(|last| last.segment != segment) {
            let (first_entry, end) = (published.head.size, published.offset);
            if let Some(last) = published.extents.last_mut() {
                last.end.get_or_insert(end);
            }
            published.extents.push(Extent { segment, first_entry, end: None });
        }
        published.recent.extend(self.fresh.drain(..));
        published.head = self.state.head();
        published.end = self.state.entries_end();
        if self.state.first > published.retired.first {
            published.retired = RetiredBelow { first: self.state.first, size: self.state.tree.size() };
        }
        published.segment = segment;
        published.offset = self.state.end.offset;
        published.open = self.sessions.len();
    }

    fn open(&mut self, opening: Opening) -> Result<SessionWriter, Halt> {
        // What is sealed and not wholly in blocks yet takes a place, too.
        if self.state.open.len() >= self.sessions_max() {
            return Err(Halt::Refused(StoreFault::TooManySessions(self.state.open.len())));
        }
        let Opening { recording, metadata, key_file } = opening;
        if metadata.len() > METADATA_BYTES_MAX {
            return Err(Halt::Refused(StoreFault::TooLong(metadata.len())));
        }
        let leaf = Leaf::Opened(Opened {
            recording,
            epoch: 0,
            key_file: key_file.digest,
            commitment: key_file.commitment,
            nanos: self.now,
            wall: self.machine.wall(),
            metadata,
        });
        self.make_room(HEADER_BYTES + ENTRY_OVERHEAD_BYTES + leaf.encode().len(), Use::Ordinary)?;
        let number = self.state.tree.size();
        // The leaf is the session's first frame, and its hash is what the session is known by.
        self.state.open.insert(number, OpenSession::opened(number, recording, [0; 32]));
        let entry = self.put_leaf(number, &leaf, Use::Ordinary)?;
        if let Some(open) = self.state.open.get_mut(&number) {
            open.leaf = entry.hash;
        }
        let session = Arc::new(SessionShared::new(number, recording));
        self.sessions.insert(number, Session::new(key_file.ratchet, Arc::clone(&session)));
        Ok(SessionWriter { queue: Arc::clone(&self.queue), session })
    }

    /// As many as fit in the head of a segment.
    fn sessions_max(&self) -> usize {
        (self.segment_bytes as usize / 4).min(BODY_BYTES_MAX / 2) / OPEN_SESSION_BYTES
    }

    fn append(
        &mut self,
        after: Head,
        entries: &[Timed],
        reply: oneshot::Sender<Result<Head, AppendFault>>,
    ) -> Result<(), Halt> {
        let head = self.state.head();
        if after != head {
            answer(reply, Err(AppendFault::Conflict { head: Box::new(head) }));
            return Ok(());
        }
        if let Err(halt) = self.put_entries(entries) {
            answer(reply, Err(halt.fault().clone().into()));
            return Err(halt);
        }
        self.anchor_wanted = true;
        self.acks.push(Ack::Appended { reply, head: self.state.head() });
        Ok(())
    }

    /// All of them in one segment and one batch.
    fn put_entries(&mut self, entries: &[Timed]) -> Result<(), Halt> {
        if self.purpose != Purpose::Journal {
            return Err(Halt::Refused(StoreFault::NotAJournal));
        }
        let longest = entries.iter().map(|entry| entry.bytes.len()).max().unwrap_or(0);
        if longest > ENTRY_BYTES_MAX - ENTRY_OVERHEAD_BYTES {
            return Err(Halt::Refused(StoreFault::TooLong(longest)));
        }
        let bytes = entries.iter().map(entry_bytes).sum();
        if bytes > append_bytes_max(self.segment_bytes) {
            return Err(Halt::Refused(StoreFault::TooLong(bytes)));
        }
        self.make_room(bytes, Use::Ordinary)?;
        for (index, entry) in entries.iter().enumerate() {
            self.put_entry(NODE, index + 1 < entries.len(), entry.at, &entry.bytes);
        }
        Ok(())
    }

    fn seal_as(&mut self, session: u64, seal: Seal) -> Result<(Option<Arc<SessionShared>>, SealedSession), Halt> {
        let open = self.sessions.get(&session);
        let tallies = open.map(|session| session.tallies.clone()).unwrap_or_default();
        let ledger = open.map(|session| session.ledger.digest()).unwrap_or_else(|| LedgerDigest::default().digest());
        let has_failed = open.is_some_and(|session| session.shared.has_failed());
        let mut accounts = sealed_accounts(&seal.accounts, &tallies);
        if has_failed {
            accounts.iter_mut().for_each(forget_unrecorded);
        }
        let accounts = Some(accounts);
        let ended = Ended { ending: seal.ending, ledger: Some(ledger), accounts };
        let sealed = self.seal(session, ended)?;
        self.close_last_block(session);
        Ok((self.sessions.remove(&session).map(|session| session.shared), sealed))
    }

    fn close_last_block(&mut self, session: u64) {
        let closed = self.sessions.get_mut(&session).and_then(|session| session.close_block(true));
        closed.into_iter().for_each(|to_seal| self.sealer.submit(to_seal));
    }

    /// Puts a leaf about a recording in line that is wholly in blocks: its index.
    fn keep(&mut self, recording: SessionId, leaf: &Leaf) -> Result<u64, Halt> {
        if matches!(leaf, Leaf::Erased(_) | Leaf::Copied(_)) && !self.is_settled(recording) {
            return Err(Halt::Refused(StoreFault::NotInBlocks));
        }
        self.anchor_wanted = true;
        Ok(self.put_leaf(NODE, leaf, Use::Closing)?.index)
    }

    /// Whether it is sealed and wholly in blocks, as far as it was ever opened.
    fn is_settled(&self, recording: SessionId) -> bool {
        !self.state.open.values().any(|open| open.recording == recording)
    }

    fn abandon_or_wait(&mut self, session: u64) -> Result<(), Halt> {
        self.abandon(session).inspect_err(|_| self.unsealed.push(session))
    }

    fn abandon(&mut self, session: u64) -> Result<(), Halt> {
        if self.state.sequence(session).is_none() {
            return Ok(());
        }
        self.seal(session, Ended::without_word(ABANDONED))?;
        self.close_last_block(session);
        if let Some(session) = self.sessions.remove(&session) {
            session.shared.fail(&StoreFault::Sealed);
        }
        Ok(())
    }

    /// Sessions whose seal found no room the last time.
    fn seal_late(&mut self) -> Result<(), Halt> {
        for session in std::mem::take(&mut self.unsealed) {
            self.abandon_or_wait(session).or_else(Halt::unless_refused)?;
        }
        Ok(())
    }

    /// Puts a session's last leaf in line, signed over all frames before it.
    fn seal(&mut self, session: u64, ended: Ended) -> Result<SealedSession, Halt> {
        let open = self.state.open.get(&session).filter(|open| !open.sealed);
        let open = *open.ok_or(Halt::Refused(StoreFault::Sealed))?;
        let mut sealed = Sealed {
            recording: open.recording,
            session,
            ending: ended.ending.chars().take(ENDING_CHARS_MAX).collect(),
            frames: open.sequence,
            digest: open.digest,
            ledger: ended.ledger,
            accounts: ended.accounts,
            chain: self.state.end,
            signature: [0; 64],
        };
        let bytes = HEADER_BYTES + ENTRY_OVERHEAD_BYTES + Leaf::Sealed(sealed.clone()).encode().len();
        self.make_room(bytes, Use::Closing)?;
        sealed.chain = self.state.end;
        sealed.signature = self.signed(Statement::Seal, &sealed.body())?;
        let (signature, accounts) = (sealed.signature, sealed.accounts.clone().unwrap_or_default());
        let entry = self.put_leaf(session, &Leaf::Sealed(sealed), Use::Closing)?;
        self.state.seal(session);
        self.anchor_wanted = true;
        Ok(SealedSession { digest: Digest(entry.hash), index: entry.index, signature, frames: open.sequence, accounts })
    }

    /// What cannot be signed is as what cannot be written: it would prove nothing.
    fn signed(&self, statement: Statement, body: &[u8]) -> Result<[u8; 64], Halt> {
        let signed = self.signer.sign(&signed_bytes(statement, &self.origin, body));
        signed.map_err(|fault| Halt::Poison(StoreFault::NotSigned(fault.to_string())))
    }

    fn anchor(&mut self, due_seconds: u16) -> Result<(), Halt> {
        self.make_room(HEADER_BYTES + ENTRY_OVERHEAD_BYTES + ANCHOR_BYTES_MAX, Use::Closing)?;
        let mut anchor = Anchor {
            chain: self.state.end,
            size: self.state.tree.size(),
            root: self.state.tree.root(),
            nanos: self.now,
            wall: self.machine.wall(),
            open: u32::try_from(self.state.live().count()).expect("a log admits fewer sessions than that"),
            due_seconds,
            signature: [0; 64],
        };
        anchor.signature = self.signed(Statement::Anchor, &anchor.body())?;
        match self.purpose {
            Purpose::Journal => self.put_clear(Kind::Anchor, NODE, false, &anchor.encode()),
            Purpose::Records => self.put_leaf(NODE, &Leaf::Anchor(anchor), Use::Closing).map(drop)?,
        }
        Ok(())
    }
}

impl Session {
    fn new(ratchet: Ratchet, shared: Arc<SessionShared>) -> Self {
        let key = ratchet.frame_key();
        Self {
            ratchet,
            key,
            block: None,
            buffer: Vec::new(),
            keyframes: Vec::new(),
            tallies: Tallies::new(),
            ledger: LedgerDigest::default(),
            shared,
        }
    }

    /// Takes a frame into the open block; whether it begins one.
    fn gather(&mut self, header: &Header, plain: &[u8]) -> bool {
        let begins = self.block.is_none();
        let (buffer, keyframes) = (&mut self.buffer, &mut self.keyframes);
        let block = self.block.get_or_insert_with(|| OpenBlock {
            gathered: Gathered::new(
                header.session,
                header.block,
                header.sequence,
                header.nanos,
                std::mem::take(buffer),
            ),
            keyframes: std::mem::take(keyframes),
            bytes: DataBytes::default(),
        });
        block.gathered.push(header.kind, header.stream, header.channel, header.nanos, plain);
        block.bytes.count(header.stream, plain.len() as u64);
        begins
    }

    /// The open block, to be sealed, where there is one; the next frame begins another, with other keys.
    fn close_block(&mut self, last: bool) -> Option<ToSeal> {
        let OpenBlock { gathered, keyframes, bytes } = self.block.take()?;
        let (key, recording) = (self.ratchet.block_key(), self.shared.recording);
        self.ratchet.advance();
        self.key = self.ratchet.frame_key();
        Some(ToSeal { recording, gathered, keyframes, key, last, bytes })
    }
}

impl Drop for Writer {
    /// However it ends, nobody waits for ever.
    fn drop(&mut self) {
        self.fail(&StoreFault::Stopped);
    }
}

/// Bytes of one data frame; a relay merges reads into as much.
const DATA_BYTES_MAX: usize = 128 << 10;
/// What ordinary frames leave at a segment's end, so that last words, seals and heads find room when the disk is full.
const MARGIN_BYTES_MAX: u64 = 1 << 20;
/// An opening's metadata: ids and digests, not texts.
const METADATA_BYTES_MAX: usize = 32 << 10;
/// An ending is a word.
const ENDING_CHARS_MAX: usize = 100;
/// An encoded anchor is a little smaller.
const ANCHOR_BYTES_MAX: usize = 256;

fn poison(doing: &'static str, path: &Path, error: &std::io::Error) -> Halt {
    Halt::Poison(StoreFault::Poisoned(Cause::new(doing, path, error)))
}

fn refuse<T>(reply: Reply<T>, halt: Halt) -> Result<(), Halt> {
    answer(reply, Err(halt.fault().clone()));
    Err(halt)
}

/// How a session ended, as far as anyone says.
struct Ended {
    ending: String,
    ledger: Option<Digest>,
    accounts: Option<Vec<SealedAccount>>,
}

impl Ended {
    fn without_word(ending: &str) -> Self {
        Self { ending: ending.to_owned(), ledger: None, accounts: None }
    }
}

/// What the relay says beside what was counted here, in order; beyond [`ACCOUNTS_MAX`], one sum for each direction.
fn sealed_accounts(accounts: &[Account], tallies: &Tallies) -> Vec<SealedAccount> {
    let mut all: BTreeMap<(Direction, u32), SealedAccount> = BTreeMap::new();
    for account in accounts {
        add(&mut all, &SealedAccount { account: *account, recorded: 0, recorded_made: 0 });
    }
    for (&(stream, channel), &bytes) in tallies {
        let Some(direction) = stream.direction() else { continue };
        let (recorded, recorded_made) = if stream.is_of_the_gate() { (0, bytes) } else { (bytes, 0) };
        add(&mut all, &SealedAccount { account: no_account(direction, channel), recorded, recorded_made });
    }
    let mut kept: BTreeMap<_, _> = BTreeMap::new();
    for (index, row) in all.into_values().enumerate() {
        let channel = if index < ACCOUNTS_MAX { row.account.channel } else { OTHER_CHANNELS };
        add(&mut kept, &SealedAccount { account: Account { channel, ..row.account }, ..row });
    }
    kept.into_values().collect()
}

/// Bytes that were given to a recording that failed meanwhile reached nobody, like those still in the kernel's buffers,
/// and are in no account.
fn forget_unrecorded(row: &mut SealedAccount) {
    let unrecorded = row.account.received.saturating_sub(row.recorded).min(row.account.undelivered);
    row.account.received -= unrecorded;
    row.account.undelivered -= unrecorded;
    row.account.made = row.account.made.min(row.recorded_made);
}

const fn no_account(direction: Direction, channel: u32) -> Account {
    Account { direction, channel, received: 0, forwarded: 0, refused: 0, undelivered: 0, made: 0 }
}

fn add(rows: &mut BTreeMap<(Direction, u32), SealedAccount>, more: &SealedAccount) {
    let Account { direction, channel, .. } = more.account;
    let row = rows.entry((direction, channel)).or_insert_with(|| SealedAccount {
        account: no_account(direction, channel),
        recorded: 0,
        recorded_made: 0,
    });
    row.account.received += more.account.received;
    row.account.forwarded += more.account.forwarded;
    row.account.refused += more.account.refused;
    row.account.undelivered += more.account.undelivered;
    row.account.made += more.account.made;
    row.recorded += more.recorded;
    row.recorded_made += more.recorded_made;
}

impl Ack {
    fn tell(self) {
        match self {
            Self::Data { session, line, frames, cost, position } => {
                session.acknowledge(frames, cost);
                line.acknowledge(position);
            }
            Self::Fact { session, frames, cost, reply } => {
                session.acknowledge(frames, cost);
                answer(reply, Ok(()));
            }
            Self::Opened { reply, writer } => answer(reply, Ok(writer)),
            Self::Sealed { shared, reply, sealed } => {
                if let Some(shared) = shared {
                    shared.fail(&StoreFault::Sealed);
                }
                answer(reply, Ok(sealed));
            }
            Self::Appended { reply, head } => answer(reply, Ok(head)),
            Self::Kept { reply, index } => answer(reply, Ok(index)),
        }
    }

    fn refuse(self, fault: &StoreFault) {
        match self {
            Self::Data { session, .. } => session.fail(fault),
            Self::Fact { session, reply, .. } => {
                session.fail(fault);
                answer(reply, Err(fault.clone()));
            }
            Self::Opened { reply, .. } => answer(reply, Err(fault.clone())),
            Self::Sealed { shared, reply, .. } => {
                if let Some(shared) = shared {
                    shared.fail(fault);
                }
                answer(reply, Err(fault.clone()));
            }
            Self::Appended { reply, .. } => answer(reply, Err(fault.clone().into())),
            Self::Kept { reply, .. } => answer(reply, Err(fault.clone())),
        }
    }
}

/// Real-time if it may be, else nice -10, else as it is.
fn raise_this_thread() -> Priority {
    use thread_priority::{
        RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
        set_thread_priority_and_policy, thread_native_id,
    };
    let lowest = ThreadPriorityValue::try_from(1).map(ThreadPriority::Crossplatform).unwrap_or(ThreadPriority::Min);
    let fifo = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    if set_thread_priority_and_policy(thread_native_id(), lowest, fifo).is_ok() {
        return Priority::RealTime;
    }
    // On Linux this is the calling thread's alone.
    match rustix::process::setpriority_process(None, -10) {
        Ok(()) => Priority::Raised,
        Err(_) => Priority::Normal,
    }
}

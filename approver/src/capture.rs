//! What passes between this node and targets over TCP, for those who read it as it passes. Whoever carries a connection says
//! what passed and goes on: nothing here waits, what is kept for a reader is bounded, and while nobody reads, it costs two
//! additions. A reader who is too slow misses whole pieces; since each piece says how much came before it, what is missing
//! can be told to the byte.

mod script;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use policies::ids::{PersonId, ServiceName, SessionId, TargetName, ZoneName};
use recordings::pcapng::{End, Ends};
use tokio::sync::Notify;

use crate::clock::Clock;
pub use script::Script;

/// Readers at once, on one node.
pub const READERS_MAX: usize = 8;
/// What waits for one reader at most, in bytes.
const ROOM_BYTES: usize = 8 << 20;
/// What a piece takes beside its bytes, or less.
const PIECE_COST: usize = 128;

/// Brings what passes to those who read it. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Captures(Arc<Inner>);

struct Inner {
    clock: Clock,
    rings: Mutex<Vec<Arc<Ring>>>,
    /// As many as there are rings: looked at before anything else is done.
    readers: AtomicUsize,
    connections: AtomicU32,
}

/// What one reader wants; everything, where nothing is said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Of this target alone.
    pub target: Option<TargetName>,
    /// Of targets in this zone alone.
    pub zone: Option<ZoneName>,
}

/// Whose a connection to a target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// In which session.
    pub session: SessionId,
    /// Whose.
    pub technician: PersonId,
    /// Where to.
    pub target: TargetName,
    /// To which of its services.
    pub service: ServiceName,
    /// Where the target stood when the session began; none where it was in no plant file by then.
    pub zone: Option<ZoneName>,
}

/// A connection to a target.
#[derive(Debug, PartialEq, Eq)]
pub struct Connection {
    /// No other of this node that is open has the same.
    number: u32,
    about: Arc<About>,
    /// The gate's socket stands for the technician: what a packet on the target's wire would show.
    ends: Ends,
}

/// Something that happened on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    at: Timestamp,
    connection: Arc<Connection>,
    /// How many bytes of the technician and of the target passed before.
    before: [u64; 2],
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Opened,
    Passed(End, Bytes),
    Finished(End),
    Closed,
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece(Inside);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Inside {
    Frame(Frame),
    /// So many pieces were missed here.
    Missed(u64),
}

impl Captures {
    /// Nobody reads yet.
    pub fn new(clock: Clock) -> Self {
        let inner =
            Inner { clock, rings: Mutex::default(), readers: AtomicUsize::new(0), connections: AtomicU32::new(0) };
        Self(Arc::new(inner))
    }

    /// Reads along from now on; `None` where [`READERS_MAX`] do already.
    pub fn read(&self, wanted: Wanted) -> Option<Capture> {
        self.read_with_room(wanted, ROOM_BYTES)
    }

    fn read_with_room(&self, wanted: Wanted, room: usize) -> Option<Capture> {
        let mut rings = lock(&self.0.rings);
        if rings.len() >= READERS_MAX {
            return None;
        }
        let ring = Arc::new(Ring { wanted, room, held: Mutex::default(), news: Notify::new() });
        rings.push(Arc::clone(&ring));
        self.0.readers.store(rings.len(), Ordering::Release);
        Some(Capture { captures: self.clone(), ring })
    }

    /// A connection to a target was opened; it is closed when the passage is dropped.
    pub fn passage(&self, about: Arc<About>, ends: Ends) -> Passage {
        let number = self.0.connections.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection { number, about, ends });
        let passage = Passage { captures: self.clone(), connection, passed: Default::default() };
        passage.tell(|| What::Opened);
        passage
    }

    fn leave(&self, ring: &Arc<Ring>) {
        let mut rings = lock(&self.0.rings);
        rings.retain(|other| !Arc::ptr_eq(other, ring));
        self.0.readers.store(rings.len(), Ordering::Release);
    }
}

impl fmt::Debug for Captures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Captures({} readers)", self.0.readers.load(Ordering::Relaxed))
    }
}

/// Where it is said what passes on one connection.
#[derive(Debug)]
pub struct Passage {
    captures: Captures,
    connection: Arc<Connection>,
    passed: [AtomicU64; 2],
}

impl Passage {
    /// These bytes of this end passed.
    pub fn passed(&self, from: End, bytes: &[u8]) {
        self.tell(|| What::Passed(from, Bytes::copy_from_slice(bytes)));
        self.passed[usize::from(from == End::Target)].fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }

    /// This end has no more to send.
    pub fn finished(&self, from: End) {
        self.tell(|| What::Finished(from));
    }

    fn tell(&self, what: impl FnOnce() -> What) {
        let inner = &*self.captures.0;
        if inner.readers.load(Ordering::Acquire) == 0 {
            return;
        }
        let before = self.passed.each_ref().map(|passed| passed.load(Ordering::Relaxed));
        let frame = Frame { at: inner.clock.wall(), connection: Arc::clone(&self.connection), before, what: what() };
        for ring in lock(&inner.rings).iter().filter(|ring| ring.wanted.takes(&self.connection.about)) {
            ring.push(frame.clone());
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.tell(|| What::Closed);
    }
}

impl Wanted {
    fn takes(&self, about: &About) -> bool {
        self.target.as_ref().is_none_or(|target| *target == about.target)
            && self.zone.as_ref().is_none_or(|zone| about.zone.as_ref() == Some(zone))
    }
}

/// What waits for one reader.
struct Ring {
    wanted: Wanted,
    room: usize,
    held: Mutex<Held>,
    news: Notify,
}

#[derive(Default)]
struct Held {
    pieces: VecDeque<Piece>,
    bytes: usize,
    missed: u64,
}

impl Ring {
    /// Once it is full, nothing is taken before half of it was read: so there are few gaps, and not one for each piece.
    fn push(&self, frame: Frame) {
        let (cost, mut held) = (frame.cost(), lock(&self.held));
        let room = if held.missed > 0 { self.room / 2 } else { self.room };
        if held.bytes + cost > room {
            held.missed += 1;
            return;
        }
        if let Some(missed) = held.take_missed() {
            held.pieces.push_back(missed);
        }
        held.bytes += cost;
        held.pieces.push_back(Piece(Inside::Frame(frame)));
        drop(held);
        self.news.notify_one();
    }

    fn pop(&self) -> Option<Piece> {
        let mut held = lock(&self.held);
        let piece = held.pieces.pop_front();
        if let Some(Piece(Inside::Frame(frame))) = &piece {
            held.bytes -= frame.cost();
        }
        piece.or_else(|| held.take_missed())
    }
}

impl Held {
    fn take_missed(&mut self) -> Option<Piece> {
        let missed = std::mem::take(&mut self.missed);
        (missed > 0).then_some(Piece(Inside::Missed(missed)))
    }
}

impl Frame {
    fn cost(&self) -> usize {
        match &self.what {
            What::Passed(_, bytes) => PIECE_COST + bytes.len(),
            _ => PIECE_COST,
        }
    }
}

/// A reader's place; leaving is dropping it.
pub struct Capture {
    captures: Captures,
    ring: Arc<Ring>,
}

impl Capture {
    /// The next piece. May be dropped and called again.
    pub async fn next(&mut self) -> Piece {
        loop {
            if let Some(piece) = self.try_next() {
                return piece;
            }
            self.ring.news.notified().await;
        }
    }

    /// The next piece, if it is here.
    pub fn try_next(&mut self) -> Option<Piece> {
        self.ring.pop()
    }

    /// What time it is for the pieces.
    pub fn now(&self) -> Timestamp {
        self.captures.0.clock.wall()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.captures.leave(&self.ring);
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capture({:?})", self.ring.wanted)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No change under these locks can stop halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

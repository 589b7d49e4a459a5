//! A session's end of the record log: lines for bytes, notes for facts, one seal. Nothing here touches the disk: it
//! hands over to the log's writer and waits for its word.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use futures::task::AtomicWaker;
use policies::digest::Digest;
use policies::ids::SessionId;

use crate::block::{KEYFRAMES_BYTES_MAX, Keyframe};
use crate::fault::StoreFault;
use crate::frame::{Fact, Stream};
use crate::keys::KeyFile;
use crate::leaf::{Account, SealedAccount};
use crate::queue::{Queue, Work};

/// How much one session may have submitted that is not durable yet. A relay holds back at 4 MiB in each direction of a
/// channel; this is where a session that does not is stopped, before it takes the machine's memory.
pub const IN_FLIGHT_BYTES_MAX: u64 = 64 << 20;
/// What each submission counts beside its bytes: what it takes to wait in line.
const SUBMISSION_BYTES: u64 = 128;

/// What a session begins with.
#[derive(Debug)]
pub struct Opening {
    /// The session, and its recording.
    pub recording: SessionId,
    /// Who, where, by which grant: canonical JSON.
    pub metadata: Vec<u8>,
    /// Its keys.
    pub key_file: KeyFile,
}

/// What a session ends with.
#[derive(Debug, Clone)]
pub struct Seal {
    /// Why, in a word.
    pub ending: String,
    /// Where its bytes went.
    pub accounts: Vec<Account>,
}

/// A session's recording, open. Dropped without [`Self::seal`], it is sealed with the ending `abandoned`.
pub struct SessionWriter {
    pub(crate) queue: Arc<Queue>,
    pub(crate) session: Arc<SessionShared>,
}

impl SessionWriter {
    /// The session's number: the index of its opening leaf.
    pub fn number(&self) -> u64 {
        self.session.number
    }

    /// The session and its recording.
    pub fn recording(&self) -> SessionId {
        self.session.recording
    }

    /// A line for the bytes of one stream of one channel.
    pub fn line(&self, stream: Stream, channel: u32) -> Line {
        let line = Arc::new(LineShared { stream, channel, acked: AtomicU64::new(0), waker: AtomicWaker::new() });
        let mut lines = lock(&self.session.lines);
        lines.retain(|known| known.strong_count() > 0);
        lines.push(Arc::downgrade(&line));
        drop(lines);
        let submitted = Mutex::new(Submitted::default());
        Line { queue: Arc::clone(&self.queue), session: Arc::clone(&self.session), line, submitted }
    }

    /// Where the screens of its terminals go.
    pub fn keyframes(&self) -> Keyframes {
        Keyframes { queue: Arc::clone(&self.queue), session: Arc::clone(&self.session) }
    }

    /// Records a fact. It is in line when this returns, after everything submitted before, and durable when the
    /// future completes. When a full disk has kept something out, what says how it all ended still finds room: the file
    /// ledger, words that were shown, a cut, and that a channel is closed.
    pub fn note(
        &self,
        fact: Fact,
        channel: u32,
        bytes: Bytes,
    ) -> impl Future<Output = Result<(), StoreFault>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let pushed = self.session.take_up(bytes.len(), is_last_word(fact)).and_then(|cost| {
            let session = Arc::clone(&self.session);
            self.queue.push(Work::Fact { session, fact, channel, bytes, cost, reply })
        });
        answered(pushed, answer, Arc::clone(&self.queue))
    }

    /// How many of the session's frames are durable.
    pub fn durable_through(&self) -> u64 {
        self.session.durable.load(Ordering::Acquire)
    }

    /// Completes when this session can record no more, with the reason. One task may wait for it.
    pub fn poisoned(&self) -> impl Future<Output = StoreFault> + Send + use<> {
        let session = Arc::clone(&self.session);
        poll_fn(move |cx| {
            session.fault_waker.register(cx.waker());
            session.fault.get().cloned().map_or(Poll::Pending, Poll::Ready)
        })
    }

    /// Ends the recording: its last leaf, signed and durable when the future completes. It is in line when this
    /// returns; lines take nothing more.
    pub fn seal(self, seal: Seal) -> impl Future<Output = Result<SealedSession, StoreFault>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let pushed = if self.session.closed.swap(true, Ordering::AcqRel) {
            Err(StoreFault::Sealed)
        } else {
            self.queue.push(Work::Seal { session: self.session.number, seal, reply })
        };
        answered(pushed, answer, Arc::clone(&self.queue))
    }
}

impl Drop for SessionWriter {
    fn drop(&mut self) {
        if !self.session.closed.swap(true, Ordering::AcqRel) {
            self.queue.push_last(Work::Abandon { session: self.session.number });
        }
    }
}

impl std::fmt::Debug for SessionWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionWriter({})", self.session.recording)
    }
}

/// A sealed session, as the journal's `Ended` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSession {
    /// The hash of the sealing leaf's entry; it commits to every frame of the session.
    pub digest: Digest,
    /// Where that entry stands in the record log.
    pub index: u64,
    /// The log key's signature in it.
    pub signature: [u8; 64],
    /// How many frames the session has, the seal not counted.
    pub frames: u64,
    /// The accounts as sealed.
    pub accounts: Vec<SealedAccount>,
}

/// The bytes of one stream of one channel, on their way to the disk. One task may wait for it at a time.
pub struct Line {
    queue: Arc<Queue>,
    session: Arc<SessionShared>,
    line: Arc<LineShared>,
    submitted: Mutex<Submitted>,
}

#[derive(Default)]
struct Submitted {
    position: u64,
    waiting: VecDeque<(u64, u64)>,
}

impl Line {
    /// Puts bytes in line and gives the position that is durable when they are: how many bytes this line was given.
    /// Never blocks.
    pub fn submit(&self, bytes: Bytes) -> Result<u64, StoreFault> {
        let mut submitted = lock(&self.submitted);
        if bytes.is_empty() {
            return Ok(submitted.position);
        }
        let cost = self.session.take_up(bytes.len(), false)?;
        let position = submitted.position + bytes.len() as u64;
        let (session, line) = (Arc::clone(&self.session), Arc::clone(&self.line));
        self.queue.push(Work::Data { session, line, bytes, cost, position })?;
        submitted.position = position;
        submitted.forget(self.line.acked());
        submitted.waiting.push_back((position, self.queue.now()));
        Ok(position)
    }

    /// Whether everything up to `position` is durable. Ready with an error when it never will be.
    pub fn poll_durable(&self, cx: &mut Context<'_>, position: u64) -> Poll<Result<(), StoreFault>> {
        self.line.waker.register(cx.waker());
        if self.line.acked() >= position {
            return Poll::Ready(Ok(()));
        }
        self.session.fault.get().cloned().map_or(Poll::Pending, |fault| Poll::Ready(Err(fault)))
    }

    /// Completes when everything up to `position` is durable.
    pub async fn durable(&self, position: u64) -> Result<(), StoreFault> {
        poll_fn(|cx| self.poll_durable(cx, position)).await
    }

    /// How long the oldest bytes that are not durable have waited; `None` when all are. Past 2 s reading stops, past
    /// 10 s the session ends: both are the session's to do.
    pub fn waiting_for(&self) -> Option<Duration> {
        let mut submitted = lock(&self.submitted);
        submitted.forget(self.line.acked());
        let (_, since) = submitted.waiting.front()?;
        Some(Duration::from_nanos(self.queue.now().saturating_sub(*since)))
    }
}

impl Submitted {
    fn forget(&mut self, acked: u64) {
        while self.waiting.front().is_some_and(|(position, _)| *position <= acked) {
            self.waiting.pop_front();
        }
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Line({}, {:?}, {})", self.session.recording, self.line.stream, self.line.channel)
    }
}

/// Takes the screens of a session's terminals, so that a reader need not begin at the beginning.
pub struct Keyframes {
    queue: Arc<Queue>,
    session: Arc<SessionShared>,
}

impl Keyframes {
    /// Puts in line how all terminals of the session stand after everything that was submitted before. The session's next
    /// frame begins a block with them. Nobody waits for them, and where they find no room there are none.
    pub fn submit(&self, keyframes: Vec<Keyframe>) {
        let bytes = keyframes.iter().map(|keyframe| keyframe.draws.len()).sum();
        if keyframes.is_empty() || bytes > KEYFRAMES_BYTES_MAX {
            return;
        }
        if let Ok(cost) = self.session.take_up(bytes, false) {
            let session = Arc::clone(&self.session);
            self.queue.push_last(Work::Keyframes { session, keyframes, cost });
        }
    }
}

impl std::fmt::Debug for Keyframes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyframes({})", self.session.recording)
    }
}

/// What a session's ends and the writer share.
pub(crate) struct SessionShared {
    pub(crate) number: u64,
    pub(crate) recording: SessionId,
    in_flight: AtomicU64,
    durable: AtomicU64,
    closed: AtomicBool,
    fault: OnceLock<StoreFault>,
    fault_waker: AtomicWaker,
    lines: Mutex<Vec<Weak<LineShared>>>,
}

impl SessionShared {
    pub(crate) fn new(number: u64, recording: SessionId) -> Self {
        Self {
            number,
            recording,
            in_flight: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            fault: OnceLock::new(),
            fault_waker: AtomicWaker::new(),
            lines: Mutex::default(),
        }
    }

    /// Counts a submission, or says why there is none.
    fn take_up(&self, bytes: usize, is_last_word: bool) -> Result<u64, StoreFault> {
        if let Some(fault) = self.fault_for(is_last_word) {
            return Err(fault.clone());
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreFault::Sealed);
        }
        let cost = bytes as u64 + SUBMISSION_BYTES;
        if self.in_flight.fetch_add(cost, Ordering::AcqRel) + cost > IN_FLIGHT_BYTES_MAX {
            self.in_flight.fetch_sub(cost, Ordering::AcqRel);
            return Err(StoreFault::TooMuchInFlight(IN_FLIGHT_BYTES_MAX));
        }
        Ok(cost)
    }

    /// The writer's word that a frame is durable.
    pub(crate) fn acknowledge(&self, frames: u64, cost: u64) {
        self.durable.store(frames, Ordering::Release);
        self.give_back(cost);
    }

    /// A submission waits in line no more.
    pub(crate) fn give_back(&self, cost: u64) {
        self.in_flight.fetch_sub(cost, Ordering::AcqRel);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.fault.get().is_some()
    }

    /// Why no frame is taken. On a full disk last words are.
    pub(crate) fn fault_for(&self, is_last_word: bool) -> Option<&StoreFault> {
        self.fault.get().filter(|fault| !(is_last_word && matches!(fault, StoreFault::NoRoom { .. })))
    }

    /// The writer's word that nothing more of this session will be durable, but last words where the disk is full.
    pub(crate) fn fail(&self, fault: &StoreFault) {
        if self.fault.set(fault.clone()).is_err() {
            return;
        }
        self.fault_waker.wake();
        lock(&self.lines).iter().filter_map(Weak::upgrade).for_each(|line| line.waker.wake());
    }
}

/// Whether a fact says how a session or a channel ended, or what of a file had passed until then.
pub(crate) const fn is_last_word(fact: Fact) -> bool {
    matches!(fact, Fact::FileEntry | Fact::Notice | Fact::Cut | Fact::ChannelClose)
}

pub(crate) struct LineShared {
    pub(crate) stream: Stream,
    pub(crate) channel: u32,
    acked: AtomicU64,
    waker: AtomicWaker,
}

impl LineShared {
    fn acked(&self) -> u64 {
        self.acked.load(Ordering::Acquire)
    }

    pub(crate) fn acknowledge(&self, position: u64) {
        self.acked.store(position, Ordering::Release);
        self.waker.wake();
    }
}

/// The writer's answer to something pushed; where it died without one, what it died of.
pub(crate) async fn answered<T, E: From<StoreFault>>(
    pushed: Result<(), StoreFault>,
    answer: oneshot::Receiver<Result<T, E>>,
    queue: Arc<Queue>,
) -> Result<T, E> {
    pushed?;
    answer.await.unwrap_or_else(|_| Err(queue.fault().unwrap_or(StoreFault::Stopped).into()))
}

/// Bytes recorded per stream and channel.
pub(crate) type Tallies = BTreeMap<(Stream, u32), u64>;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

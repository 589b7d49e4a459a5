//! Nothing is forwarded before it is durable: a [`Tap`] takes what a queue holds, gives it to the recorder and hands it
//! out once the recorder has it on disk. Where it goes then, and whether it may, is decided in `ssh::channel`.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use recordings::fault::StoreFault;
use recordings::frame::Stream;
use recordings::leaf::{Account, Direction};
use recordings::notes::Note;
use recordings::session::SessionWriter;
use tokio::sync::watch;

use crate::flow::{Event, Queue};

/// How much one direction may have with the recorder and the other leg at once: enough that a commit never waits for
/// more, little enough that a stalled direction stays within its queue's bounds, in which it counts.
const IN_FLIGHT_BYTES: usize = 4 << 20;

/// A session's recording as the relay needs it. A live watcher is one more recorder laid around the real one.
pub trait Recorder: Send + Sync {
    /// One stream of one channel.
    type Line: Line;

    /// A line for a stream of a channel.
    fn line(&self, stream: Stream, channel: u32) -> Self::Line;

    /// Records what happened on a channel; durable when it returns.
    ///
    /// It is in line when this returns.
    fn note(&self, channel: u32, note: &Note) -> impl Future<Output = Result<(), StoreFault>> + Send + use<Self>;

    /// A channel has waited too long for it and will go no further. Called before that channel closes, so that whoever ends
    /// the session can still say why on it.
    fn does_not_answer(&self) {}
}

/// A line of a recording: submitted bytes get a position and become durable in order.
pub trait Line: Send {
    /// Hands over bytes without waiting, and returns their position.
    fn submit(&self, bytes: Bytes) -> Result<u64, StoreFault>;

    /// Ready when everything up to `position` is durable, or never will be.
    fn poll_durable(&self, cx: &mut Context<'_>, position: u64) -> Poll<Result<(), StoreFault>>;
}

impl Recorder for SessionWriter {
    type Line = recordings::session::Line;

    fn line(&self, stream: Stream, channel: u32) -> Self::Line {
        Self::line(self, stream, channel)
    }

    fn note(&self, channel: u32, note: &Note) -> impl Future<Output = Result<(), StoreFault>> + Send + use<> {
        Self::note(self, note.fact(), channel, note.encode().into())
    }
}

impl Line for recordings::session::Line {
    fn submit(&self, bytes: Bytes) -> Result<u64, StoreFault> {
        Self::submit(self, bytes)
    }

    fn poll_durable(&self, cx: &mut Context<'_>, position: u64) -> Poll<Result<(), StoreFault>> {
        Self::poll_durable(self, cx, position)
    }
}

/// Why a relay must stop, on the recorder's side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordingFault {
    /// The store failed.
    #[error("recording stopped: {0}")]
    Store(#[from] StoreFault),
    /// The store did not answer.
    #[error("recording took longer than {} s", LATE.as_secs())]
    Late,
}

/// A recorder slower than this has stopped, whatever it says later.
const LATE: Duration = Duration::from_secs(10);

/// Waits until a fact is durable, and for a recorder that does not answer no longer than for bytes.
///
/// # Errors
/// It is not, or nobody knows yet.
pub async fn noted(durable: impl Future<Output = Result<(), StoreFault>>) -> Result<(), RecordingFault> {
    match tokio::time::timeout(LATE, durable).await {
        Ok(durable) => Ok(durable?),
        Err(_) => Err(RecordingFault::Late),
    }
}

/// Where one direction's bytes went, counted as they go, so that the account stands however the relay ends.
#[derive(Debug, Default)]
pub struct Tally {
    received: AtomicU64,
    forwarded: AtomicU64,
    refused: AtomicU64,
    made: AtomicU64,
}

impl Tally {
    /// Bytes written to the other side.
    pub fn note_forwarded(&self, bytes: usize) {
        self.forwarded.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes held back for good.
    pub fn note_refused(&self, bytes: usize) {
        self.refused.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The account for the seal. Received is what was recorded: bytes that still waited unrecorded when the session
    /// was cut were seen by nobody, like those in the kernel's buffers, and are in no account.
    pub fn account(&self, direction: Direction, channel: u32) -> Account {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (received, forwarded, refused) = (read(&self.received), read(&self.forwarded), read(&self.refused));
        let undelivered = received.saturating_sub(forwarded + refused);
        Account { direction, channel, received, forwarded, refused, undelivered, made: read(&self.made) }
    }
}

/// What a tap hands out: durable if it is data; to be noted, then acted upon, if it is anything else.
#[derive(Debug)]
pub struct Recorded {
    /// What happened.
    pub event: Event,
    /// Whether the gate made it, rather than the peer.
    pub made: bool,
    /// Whether its direction was frozen when it came: what is typed then is thrown away, even if the freeze ends before
    /// it is durable.
    pub frozen: bool,
}

/// One direction of one channel between its queue and its recording.
pub struct Tap<L> {
    queue: Arc<Queue>,
    made: Arc<Queue>,
    lines: Lines<L>,
    tally: Arc<Tally>,
    flying: VecDeque<Flying>,
    flying_bytes: usize,
    held_back: bool,
    ended: bool,
    lateness: Lateness,
    frozen: Option<watch::Receiver<bool>>,
}

struct Flying {
    recorded: Recorded,
    position: u64,
}

impl<L: Line> Tap<L> {
    /// Taps `queue`, which the peer fills, and `made`, which the gate fills in the same direction.
    pub fn new<R: Recorder<Line = L>>(
        recorder: &R,
        direction: Direction,
        channel: u32,
        queue: Arc<Queue>,
        made: Arc<Queue>,
        tally: Arc<Tally>,
    ) -> Self {
        let lines = Lines::open(recorder, direction, channel);
        Self {
            queue,
            made,
            lines,
            tally,
            flying: VecDeque::new(),
            flying_bytes: 0,
            held_back: false,
            ended: false,
            lateness: Lateness::default(),
            frozen: None,
        }
    }

    /// Whether this is true is told with each event, as it was when the event came.
    pub fn frozen_by(self, frozen: watch::Receiver<bool>) -> Self {
        Self { frozen: Some(frozen), ..self }
    }

    /// The next event in order, or `None` when the peer's queue has ended and nothing waits. May be dropped and called
    /// again: nothing is lost. Each event is to be [`settled`](Tap::settle) once it has been acted upon.
    pub async fn next(&mut self) -> Result<Option<Recorded>, RecordingFault> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next of what the gate made, after the peer's end too. May be dropped and called again.
    pub async fn next_made(&mut self) -> Result<Recorded, RecordingFault> {
        self.ended = true;
        loop {
            let next = poll_fn(|cx| match self.poll_next(cx) {
                Poll::Ready(Ok(None)) => Poll::Pending,
                next => next,
            });
            if let Some(recorded) = next.await? {
                return Ok(recorded);
            }
        }
    }

    /// The event has left the gate, or was thrown away.
    pub fn settle(&self, made: bool, weight: usize) {
        let queue = if made { &self.made } else { &self.queue };
        queue.forwarded(weight);
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Recorded>, RecordingFault>> {
        self.fill(cx)?;
        let Some(first) = self.flying.front() else {
            return if self.ended { Poll::Ready(Ok(None)) } else { Poll::Pending };
        };
        if let Event::Data { stream, bytes } = &first.recorded.event {
            match self.lines.of(first.recorded.made, *stream).poll_durable(cx, first.position) {
                Poll::Ready(durable) => durable?,
                Poll::Pending => return self.lateness.poll_late(cx).map(|()| Err(RecordingFault::Late)),
            }
            self.lateness.clear();
            self.flying_bytes -= bytes.len();
        } else {
            self.held_back = false;
        }
        Poll::Ready(Ok(self.flying.pop_front().map(|flying| flying.recorded)))
    }

    /// Takes what waits, as far as it may fly. Anything but data holds back what follows until it is handed out and
    /// noted, so that the recording keeps the order in which things happened.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), StoreFault> {
        while self.flying_bytes < IN_FLIGHT_BYTES && !self.held_back {
            if let Poll::Ready(Some(event)) = self.made.poll_pop(cx) {
                self.fly(event, true)?;
                continue;
            }
            if self.ended {
                break;
            }
            match self.queue.poll_pop(cx) {
                Poll::Ready(Some(event)) => self.fly(event, false)?,
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn fly(&mut self, event: Event, made: bool) -> Result<(), StoreFault> {
        let mut position = 0;
        // Before the bytes are submitted, since a code among them may end the freeze at once.
        let frozen = self.frozen.as_ref().is_some_and(|frozen| *frozen.borrow());
        if let Event::Data { stream, bytes } = &event {
            position = self.lines.of(made, *stream).submit(bytes.clone())?;
            self.flying_bytes += bytes.len();
            let count = if made { &self.tally.made } else { &self.tally.received };
            count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        } else {
            self.held_back = true;
        }
        self.flying.push_back(Flying { recorded: Recorded { event, made, frozen }, position });
        Ok(())
    }
}

/// What the gate itself says in one direction of a channel: recorded before it is sent.
pub struct Made<L> {
    line: L,
    tally: Arc<Tally>,
}

impl<L: Line> Made<L> {
    /// Nothing said yet.
    pub fn new<R: Recorder<Line = L>>(recorder: &R, direction: Direction, channel: u32, tally: Arc<Tally>) -> Self {
        let stream = match direction {
            Direction::In => Stream::GateIn,
            Direction::Out => Stream::GateOut,
        };
        Self { line: recorder.line(stream, channel), tally }
    }

    /// Records it; it may be sent when this returns. One at a time.
    ///
    /// # Errors
    /// It is not recorded, and must not be sent.
    pub async fn record(&self, bytes: &Bytes) -> Result<(), RecordingFault> {
        let position = self.line.submit(bytes.clone())?;
        self.tally.made.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        noted(poll_fn(|cx| self.line.poll_durable(cx, position))).await
    }
}

/// Notices a recorder that does not answer. Its timer runs on between waits, so that a wait costs nothing.
struct Lateness {
    patience: Duration,
    since: Option<Instant>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Default for Lateness {
    fn default() -> Self {
        Self { patience: LATE, since: None, timer: None }
    }
}

impl Lateness {
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.patience)));
        while timer.as_mut().poll(cx).is_ready() {
            if since.elapsed() >= self.patience {
                return Poll::Ready(());
            }
            timer.as_mut().reset((since + self.patience).into());
        }
        Poll::Pending
    }

    fn clear(&mut self) {
        self.since = None;
    }
}

/// A direction's lines: what the peer sent and what the gate made, each on the main stream and on standard error.
struct Lines<L> {
    main: L,
    error: Option<L>,
    gate_main: L,
    gate_error: Option<L>,
}

impl<L: Line> Lines<L> {
    fn open<R: Recorder<Line = L>>(recorder: &R, direction: Direction, channel: u32) -> Self {
        let line = |stream| recorder.line(stream, channel);
        match direction {
            Direction::In => {
                Self { main: line(Stream::In), error: None, gate_main: line(Stream::GateIn), gate_error: None }
            }
            Direction::Out => Self {
                main: line(Stream::Out),
                error: Some(line(Stream::OutErr)),
                gate_main: line(Stream::GateOut),
                gate_error: Some(line(Stream::GateOutErr)),
            },
        }
    }

    fn of(&self, made: bool, stream: Option<u32>) -> &L {
        let (main, error) = if made { (&self.gate_main, &self.gate_error) } else { (&self.main, &self.error) };
        match (stream, error) {
            (Some(_), Some(error)) => error,
            _ => main,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt;
    use futures::task::AtomicWaker;

    use super::*;
    use crate::flow::{Brake, Request, Valve};

    /// A recording in which nothing is durable before the test says so.
    #[derive(Clone, Default)]
    struct Slow(Arc<SlowState>);

    #[derive(Default)]
    struct SlowState {
        submitted: Mutex<Vec<(Stream, Bytes)>>,
        durable: AtomicU64,
        failed: Mutex<Option<StoreFault>>,
        waker: AtomicWaker,
    }

    impl Slow {
        fn submitted(&self) -> Vec<(Stream, Bytes)> {
            self.0.submitted.lock().unwrap().clone()
        }

        fn let_through(&self, count: u64) {
            self.0.durable.store(count, Ordering::SeqCst);
            self.0.waker.wake();
        }

        fn fail(&self) {
            *self.0.failed.lock().unwrap() = Some(StoreFault::Stopped);
            self.0.waker.wake();
        }
    }

    impl Recorder for Slow {
        type Line = SlowLine;
        fn line(&self, stream: Stream, _: u32) -> SlowLine {
            SlowLine { stream, state: Arc::clone(&self.0) }
        }
        fn note(&self, _: u32, _: &Note) -> impl Future<Output = Result<(), StoreFault>> + Send + use<> {
            std::future::ready(Ok(()))
        }
    }

    struct SlowLine {
        stream: Stream,
        state: Arc<SlowState>,
    }

    impl Line for SlowLine {
        fn submit(&self, bytes: Bytes) -> Result<u64, StoreFault> {
            let mut submitted = self.state.submitted.lock().unwrap();
            submitted.push((self.stream, bytes));
            Ok(submitted.len() as u64)
        }
        fn poll_durable(&self, cx: &mut Context<'_>, position: u64) -> Poll<Result<(), StoreFault>> {
            self.state.waker.register(cx.waker());
            if let Some(fault) = self.state.failed.lock().unwrap().clone() {
                return Poll::Ready(Err(fault));
            }
            match self.state.durable.load(Ordering::SeqCst) >= position {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            }
        }
    }

    struct Bench {
        recorder: Slow,
        queue: Arc<Queue>,
        made: Arc<Queue>,
        tally: Arc<Tally>,
        tap: Tap<SlowLine>,
    }

    fn bench(direction: Direction) -> Bench {
        let valve = Arc::new(Valve::default());
        let recorder = Slow::default();
        let (queue, made) =
            (Queue::new(Brake::Window, Arc::clone(&valve)), Queue::new(Brake::Writer, Arc::clone(&valve)));
        let tally = Arc::new(Tally::default());
        let tap = Tap::new(&recorder, direction, 1, Arc::clone(&queue), Arc::clone(&made), Arc::clone(&tally));
        Bench { recorder, queue, made, tally, tap }
    }

    fn event(next: Option<Result<Option<Recorded>, RecordingFault>>) -> Event {
        next.expect("ready").expect("no fault").expect("not the end").event
    }

    #[tokio::test]
    async fn nothing_is_handed_out_before_it_is_durable() {
        let mut bench = bench(Direction::In);
        bench.queue.push_data(None, b"open the valve");
        assert!(bench.tap.next().now_or_never().is_none());
        assert_eq!(bench.recorder.submitted(), [(Stream::In, "open the valve".into())]);
        bench.recorder.let_through(1);
        assert!(
            matches!(event(bench.tap.next().now_or_never()), Event::Data { bytes, .. } if bytes == "open the valve")
        );
    }

    #[tokio::test]
    async fn what_came_in_a_freeze_is_told_to_have_though_the_freeze_ended_before_it_was_durable() {
        let mut bench = bench(Direction::In);
        let (freeze, frozen) = watch::channel(true);
        bench.tap = bench.tap.frozen_by(frozen);
        bench.queue.push_data(None, b"314159\r");
        assert!(bench.tap.next().now_or_never().is_none());
        freeze.send_replace(false);
        bench.queue.push_data(None, b"ls\r");
        assert!(bench.tap.next().now_or_never().is_none());
        bench.recorder.let_through(2);
        let mut told = Vec::new();
        while let Some(Ok(Some(recorded))) = bench.tap.next().now_or_never() {
            told.push(recorded.frozen);
        }
        assert_eq!(told, [true, false]);
    }

    #[tokio::test]
    async fn a_failed_store_lets_nothing_through_not_even_what_was_submitted() {
        let mut bench = bench(Direction::In);
        bench.queue.push_data(None, b"x");
        assert!(bench.tap.next().now_or_never().is_none());
        bench.recorder.fail();
        let fault = bench.tap.next().now_or_never().unwrap().unwrap_err();
        assert_eq!(fault, RecordingFault::Store(StoreFault::Stopped));
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_given_up_in_time_counted_from_each_wait() {
        let mut lateness = Lateness { patience: Duration::from_millis(100), ..Lateness::default() };
        let started = Instant::now();
        let brief = tokio::time::timeout(Duration::from_millis(60), poll_fn(|cx| lateness.poll_late(cx))).await;
        assert!(brief.is_err());
        lateness.clear();
        poll_fn(|cx| lateness.poll_late(cx)).await;
        assert!(started.elapsed() >= Duration::from_millis(160), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn what_follows_a_request_is_recorded_after_it() {
        let mut bench = bench(Direction::In);
        bench.queue.push(Event::Request(Request::Shell));
        bench.queue.push_data(None, b"typed ahead");
        assert!(matches!(event(bench.tap.next().now_or_never()), Event::Request(Request::Shell)));
        assert!(bench.recorder.submitted().is_empty(), "the request is noted first");
        assert!(bench.tap.next().now_or_never().is_none());
        assert_eq!(bench.recorder.submitted().len(), 1);
    }

    #[tokio::test]
    async fn each_stream_has_its_line_and_what_the_gate_made_is_counted_apart() {
        let mut bench = bench(Direction::Out);
        bench.queue.push_data(None, b"out");
        bench.queue.push_data(Some(1), b"error");
        bench.made.push_data(None, b"reply");
        bench.made.push_data(Some(1), b"words");
        bench.recorder.let_through(4);
        while let Some(Ok(Some(recorded))) = bench.tap.next().now_or_never() {
            let weight = recorded.event.weight();
            bench.tap.settle(recorded.made, weight);
        }
        let lines: Vec<Stream> = bench.recorder.submitted().into_iter().map(|(stream, _)| stream).collect();
        assert_eq!(lines, [Stream::GateOut, Stream::GateOutErr, Stream::Out, Stream::OutErr]);
        let account = bench.tally.account(Direction::Out, 1);
        assert_eq!((account.received, account.made), (8, 10));
        assert_eq!((bench.queue.held_bytes(), bench.made.held_bytes()), (0, 0));
    }

    #[tokio::test]
    async fn the_account_adds_up_however_the_relay_ends() {
        let mut bench = bench(Direction::In);
        bench.queue.push_data(None, &[0; 100]);
        assert!(bench.tap.next().now_or_never().is_none());
        bench.tally.note_forwarded(30);
        bench.tally.note_refused(20);
        let account = bench.tally.account(Direction::In, 1);
        assert_eq!((account.received, account.forwarded, account.refused, account.undelivered), (100, 30, 20, 50));
    }

    #[tokio::test]
    async fn no_more_than_four_mebibytes_fly() {
        let mut bench = bench(Direction::In);
        for _ in 0..8 {
            bench.queue.push_data(None, &vec![0; 1 << 20]);
        }
        assert!(bench.tap.next().now_or_never().is_none());
        let flying: usize = bench.recorder.submitted().iter().map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(flying, IN_FLIGHT_BYTES);
    }
}

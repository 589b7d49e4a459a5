//! One direction of one channel: what a peer sent and the gate has not yet forwarded, in order and counted in bytes.
//! It records nothing and sends nothing; `relay` empties it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures::task::AtomicWaker;

use super::{CAP_BYTES, CHUNK_BYTES, Event, HIGH_BYTES, LOW_BYTES, Valve};

/// How a queue that is too full makes its peer stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brake {
    /// By the channel's window: for the vendor leg, which always reads.
    Window,
    /// By not reading the socket: for the target leg, which carries one channel at a time.
    Socket,
    /// Not at all: whoever appends asks for room first.
    Writer,
}

/// Why a queue gave up on its peer, fit to be told to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueFault {
    /// The peer sent far more than its window allows.
    #[error("the client ignores its window: more than {} MiB wait on one channel", CAP_BYTES >> 20)]
    Overflow,
    /// Nothing could be forwarded for minutes, and the other channels of the connection had to wait behind it.
    #[error("the target has taken nothing for {} minutes, and other channels wait behind this one", STALL_MAX.as_secs() / 60)]
    Stalled,
}

/// How long one stalled upload may slow down the other uploads of its vendor connection.
const STALL_MAX: Duration = Duration::from_secs(5 * 60);

/// An ordered queue with one reader.
///
/// Bytes count from [`push_data`](Queue::push_data) until [`forwarded`](Queue::forwarded), not until they are popped,
/// so that what the recorder and the other leg hold counts as well.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    held_bytes: AtomicUsize,
    brake: Brake,
    valve: Arc<Valve>,
    reader: AtomicWaker,
    writer: AtomicWaker,
    watcher: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    // The youngest data, still growing. Its spare capacity is kept, so that memory follows bytes and not packets.
    tail: BytesMut,
    tail_stream: Option<u32>,
    in_bulk: bool,
    over_since: Option<Instant>,
    frozen: bool,
    fault: Option<QueueFault>,
    ended: bool,
}

impl Queue {
    /// An empty queue whose brake works on `valve`.
    pub fn new(brake: Brake, valve: Arc<Valve>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            held_bytes: AtomicUsize::new(0),
            brake,
            valve,
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            watcher: AtomicWaker::new(),
        })
    }

    /// Appends bytes, merged with their neighbours. After a [`QueueFault`] or the end nothing more is taken.
    pub fn push_data(&self, stream: Option<u32>, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let mut state = self.lock();
        if state.ended || state.fault.is_some() {
            return;
        }
        state.append(stream, data);
        self.count(&mut state, data.len());
        drop(state);
        self.reader.wake();
    }

    /// Appends anything else.
    pub fn push(&self, event: Event) {
        if let Event::Data { stream, bytes } = &event {
            return self.push_data(*stream, bytes);
        }
        let mut state = self.lock();
        if state.ended || state.fault.is_some() {
            return;
        }
        state.close_tail();
        let weight = event.weight();
        state.events.push_back(event);
        self.count(&mut state, weight);
        drop(state);
        self.reader.wake();
    }

    /// Puts events before all that waits, in this order: for whoever popped them and hands the queue on.
    pub fn put_first(&self, events: Vec<Event>) {
        let mut state = self.lock();
        let weight = events.iter().map(Event::weight).sum();
        for event in events.into_iter().rev() {
            state.events.push_front(event);
        }
        self.count(&mut state, weight);
        drop(state);
        self.reader.wake();
    }

    /// Nothing more will come. What waits can still be popped; then `None`. The brake is let go.
    pub fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        self.steer(&mut state);
        drop(state);
        self.reader.wake();
        self.writer.wake();
        self.watcher.wake();
    }

    /// Whether [`end`](Queue::end) was called.
    pub fn is_ended(&self) -> bool {
        self.lock().ended
    }

    /// The next event, or `None` after the end. For one reader.
    pub async fn pop(&self) -> Option<Event> {
        poll_fn(|cx| self.poll_pop(cx)).await
    }

    /// As [`pop`](Queue::pop).
    pub fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Poll::Ready(event) = self.lock().take() {
            return Poll::Ready(event);
        }
        self.reader.register(cx.waker());
        self.lock().take()
    }

    /// Looks at what waits, and again whenever more came, until something is found; takes nothing. `None` after the end.
    /// For the one reader.
    pub async fn look<T>(&self, found: impl Fn(&VecDeque<Event>) -> Option<T>) -> Option<T> {
        poll_fn(|cx| {
            self.reader.register(cx.waker());
            let state = self.lock();
            match found(&state.events) {
                Some(found) => Poll::Ready(Some(found)),
                None if state.ended => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// What was popped has left the gate, or was thrown away: it counts no longer.
    pub fn forwarded(&self, bytes: usize) {
        let held = self.held_bytes.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        if held <= LOW_BYTES {
            let mut state = self.lock();
            if self.held_bytes() == 0 && !state.in_bulk {
                state.release();
            }
            self.steer(&mut state);
        }
        self.writer.wake();
    }

    /// Bytes that wait here, in the recorder, or for the other leg.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// Whether the peer is asked to stop.
    pub fn is_over(&self) -> bool {
        self.lock().over_since.is_some()
    }

    /// How long the peer has been asked to stop without a break.
    pub fn stalled_for(&self) -> Option<Duration> {
        self.lock().over_since.map(|since| since.elapsed())
    }

    /// Asks the peer to stop, or to go on, whatever the queue holds: a freeze that tears nothing.
    pub fn freeze(&self, frozen: bool) {
        let mut state = self.lock();
        state.frozen = frozen;
        self.steer(&mut state);
    }

    /// Waits until the queue holds less than `bytes`, or has ended.
    pub async fn room_below(&self, bytes: usize) {
        poll_fn(|cx| self.poll_room_below(cx, bytes)).await;
    }

    pub(super) fn poll_room_below(&self, cx: &mut Context<'_>, bytes: usize) -> Poll<()> {
        let has_room = || self.held_bytes() < bytes || self.is_ended();
        if has_room() {
            return Poll::Ready(());
        }
        self.writer.register(cx.waker());
        if has_room() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Gives up on a peer whose data has waited longer than its neighbours can bear.
    pub(super) fn give_up_if_stalled(&self) {
        let mut state = self.lock();
        let waited = state.over_since.map(|since| since.elapsed()).unwrap_or_default();
        if waited > STALL_MAX && !state.frozen {
            self.fail(&mut state, QueueFault::Stalled);
        }
    }

    /// Completes when the queue has ended, `Ok`, or has given up on its peer. What it held stays to be popped.
    pub async fn finished(&self) -> Result<(), QueueFault> {
        poll_fn(|cx| {
            self.watcher.register(cx.waker());
            let state = self.lock();
            match state.fault {
                Some(fault) => Poll::Ready(Err(fault)),
                None if state.ended => Poll::Ready(Ok(())),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn count(&self, state: &mut State, bytes: usize) {
        let held = self.held_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held > HIGH_BYTES {
            self.steer(state);
        }
        if held > CAP_BYTES && self.brake != Brake::Writer {
            self.fail(state, QueueFault::Overflow);
        }
    }

    fn fail(&self, state: &mut State, fault: QueueFault) {
        state.fault = Some(fault);
        self.watcher.wake();
    }

    /// Sets the brake by what is held now; called under the lock, so that setting and letting go alternate.
    fn steer(&self, state: &mut State) {
        let held = self.held_bytes();
        let was_over = state.over_since.is_some();
        let full = held > HIGH_BYTES || (was_over && held > LOW_BYTES);
        let is_over = !state.ended && (state.frozen || full);
        match (was_over, is_over) {
            (false, true) => {
                state.over_since = Some(Instant::now());
                match self.brake {
                    Brake::Window => self.valve.pace(),
                    Brake::Socket => self.valve.shut(),
                    Brake::Writer => {}
                }
            }
            (true, false) => {
                state.over_since = None;
                match self.brake {
                    Brake::Window => self.valve.unpace(),
                    Brake::Socket => self.valve.open(),
                    Brake::Writer => {}
                }
            }
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.end();
    }
}

impl State {
    fn append(&mut self, stream: Option<u32>, data: &[u8]) {
        /// Above this the peer is sending in bulk, and a whole chunk is worth its allocation.
        const BULK_BYTES: usize = 8 << 10;
        if !self.tail.is_empty() && (self.tail_stream != stream || self.tail.len() + data.len() > CHUNK_BYTES) {
            self.close_tail();
        }
        self.in_bulk = data.len() >= BULK_BYTES;
        if self.tail.capacity() - self.tail.len() < data.len() {
            let room = if self.in_bulk { CHUNK_BYTES.max(data.len()) } else { data.len() };
            if self.tail.is_empty() {
                self.tail = BytesMut::with_capacity(room);
            } else {
                self.tail.reserve(room);
            }
        }
        self.tail_stream = stream;
        self.tail.extend_from_slice(data);
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let bytes = self.tail.split().freeze();
            self.events.push_back(Event::Data { stream: self.tail_stream, bytes });
        }
    }

    fn take(&mut self) -> Poll<Option<Event>> {
        if self.events.is_empty() {
            self.close_tail();
        }
        match self.events.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if self.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// An idle channel keeps no buffers.
    fn release(&mut self) {
        self.tail = BytesMut::new();
        self.events.shrink_to(8);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::flow::Request;

    fn queue(brake: Brake) -> (Arc<Queue>, Arc<Valve>) {
        let valve = Arc::new(Valve::default());
        (Queue::new(brake, Arc::clone(&valve)), valve)
    }

    fn pop(queue: &Queue) -> Poll<Option<Event>> {
        queue.poll_pop(&mut Context::from_waker(Waker::noop()))
    }

    fn data(event: Poll<Option<Event>>) -> (Option<u32>, Bytes) {
        match event {
            Poll::Ready(Some(Event::Data { stream, bytes })) => (stream, bytes),
            other => panic!("no data: {other:?}"),
        }
    }

    fn poll_finished(queue: &Queue) -> Poll<Result<(), QueueFault>> {
        let mut finished = std::pin::pin!(queue.finished());
        finished.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn neighbouring_packets_of_one_stream_are_one_chunk_and_others_are_not() {
        let (queue, _) = queue(Brake::Window);
        queue.push_data(None, b"a");
        queue.push_data(None, b"b");
        queue.push_data(Some(1), b"c");
        queue.push(Event::Eof);
        queue.push_data(Some(1), b"d");
        assert_eq!(data(pop(&queue)), (None, "ab".into()));
        assert_eq!(data(pop(&queue)), (Some(1), "c".into()));
        assert!(matches!(pop(&queue), Poll::Ready(Some(Event::Eof))));
        assert_eq!(data(pop(&queue)), (Some(1), "d".into()));
        assert!(pop(&queue).is_pending());
        queue.end();
        assert!(matches!(pop(&queue), Poll::Ready(None)));
    }

    #[test]
    fn a_million_single_bytes_are_eight_chunks() {
        let (queue, _) = queue(Brake::Window);
        for _ in 0..8 * CHUNK_BYTES {
            queue.push_data(None, b"x");
        }
        assert_eq!(queue.lock().events.len(), 7);
        assert_eq!(queue.held_bytes(), 8 * CHUNK_BYTES);
    }

    #[test]
    fn bytes_count_until_they_are_forwarded_and_the_brake_follows_the_count() {
        for (brake, is_on) in [
            (Brake::Window, Valve::is_paced as fn(&Valve) -> bool),
            (Brake::Socket, Valve::is_shut as fn(&Valve) -> bool),
        ] {
            let (queue, valve) = queue(brake);
            queue.push_data(None, &vec![0; HIGH_BYTES]);
            assert!(!is_on(&valve) && !queue.is_over());
            queue.push_data(None, b"x");
            assert!(is_on(&valve) && queue.is_over());
            while pop(&queue).is_ready() {}
            assert!(is_on(&valve), "popped is not forwarded");
            queue.forwarded(HIGH_BYTES - LOW_BYTES);
            assert!(is_on(&valve), "one byte above the low mark");
            queue.forwarded(1);
            assert!(!is_on(&valve) && !queue.is_over());
        }
    }

    #[test]
    fn a_queue_that_ends_or_is_dropped_lets_go_of_its_brake() {
        let (queue, valve) = queue(Brake::Socket);
        queue.push_data(None, &vec![0; HIGH_BYTES + 1]);
        assert!(valve.is_shut());
        queue.end();
        assert!(!valve.is_shut());
        let second = Queue::new(Brake::Socket, Arc::clone(&valve));
        second.push_data(None, &vec![0; HIGH_BYTES + 1]);
        assert!(valve.is_shut());
        drop(second);
        assert!(!valve.is_shut());
    }

    #[test]
    fn a_peer_that_ignores_its_window_is_given_up_and_takes_no_more_memory() {
        let (queue, _) = queue(Brake::Window);
        let packet = vec![0; 32 << 10];
        for _ in 0..CAP_BYTES / packet.len() {
            queue.push_data(None, &packet);
        }
        assert!(poll_finished(&queue).is_pending());
        queue.push_data(None, b"x");
        assert_eq!(poll_finished(&queue), Poll::Ready(Err(QueueFault::Overflow)));
        let held = queue.held_bytes();
        queue.push_data(None, &packet);
        assert_eq!(queue.held_bytes(), held);
    }

    #[test]
    fn a_flood_of_requests_is_bounded_like_a_flood_of_bytes() {
        let (queue, valve) = queue(Brake::Window);
        let mut sent = 0;
        while poll_finished(&queue).is_pending() {
            queue.push(Event::Request(Request::Shell));
            sent += 1;
            assert!(sent < 1_000_000, "never given up");
        }
        assert!(valve.is_paced());
    }

    #[test]
    fn a_frozen_queue_asks_its_peer_to_stop_though_it_is_empty() {
        let (queue, valve) = queue(Brake::Window);
        queue.freeze(true);
        assert!(valve.is_paced());
        queue.freeze(false);
        assert!(!valve.is_paced());
    }

    #[test]
    fn a_peer_stalled_for_minutes_is_given_up_for_its_neighbours_and_a_frozen_one_is_not() {
        let long_ago = Instant::now().checked_sub(STALL_MAX + Duration::from_secs(1)).unwrap();
        let (stalled, _) = queue(Brake::Window);
        stalled.push_data(None, &vec![0; HIGH_BYTES + 1]);
        stalled.give_up_if_stalled();
        assert!(poll_finished(&stalled).is_pending(), "it has only begun");
        stalled.lock().over_since = Some(long_ago);
        stalled.give_up_if_stalled();
        assert_eq!(poll_finished(&stalled), Poll::Ready(Err(QueueFault::Stalled)));

        let (frozen, _) = queue(Brake::Window);
        frozen.freeze(true);
        frozen.lock().over_since = Some(long_ago);
        frozen.give_up_if_stalled();
        assert!(poll_finished(&frozen).is_pending());
    }

    #[tokio::test]
    async fn looking_finds_what_comes_and_takes_nothing() {
        let (queue, _) = queue(Brake::Window);
        let shell = |events: &VecDeque<Event>| {
            events.iter().find_map(|event| matches!(event, Event::Request(Request::Shell)).then_some(events.len()))
        };
        queue.push(Event::Request(Request::Exec("x".into())));
        let come = async { queue.push(Event::Request(Request::Shell)) };
        let (found, ()) = tokio::join!(queue.look(shell), come);
        assert_eq!(found, Some(2));
        assert!(matches!(queue.pop().await, Some(Event::Request(Request::Exec(_)))));
        queue.pop().await;
        queue.end();
        assert_eq!(queue.look(shell).await, None);
    }

    #[tokio::test]
    async fn what_is_put_first_comes_before_what_waits() {
        let (queue, _) = queue(Brake::Window);
        queue.push_data(None, b"later");
        let typed = Event::Data { stream: None, bytes: "typed".into() };
        queue.put_first(vec![Event::Request(Request::Shell), typed]);
        assert!(matches!(queue.pop().await, Some(Event::Request(Request::Shell))));
        for text in ["typed", "later"] {
            assert!(matches!(queue.pop().await, Some(Event::Data { bytes, .. }) if bytes == text));
        }
        queue.forwarded(Event::Request(Request::Shell).weight() + 10);
        assert_eq!(queue.held_bytes(), 0);
    }

    #[test]
    fn an_idle_queue_keeps_no_memory() {
        let (queue, _) = queue(Brake::Window);
        queue.push_data(None, &vec![0; CHUNK_BYTES]);
        queue.push_data(None, b"$ ");
        while let Poll::Ready(Some(event)) = pop(&queue) {
            queue.forwarded(event.weight());
        }
        assert_eq!(queue.lock().tail.capacity(), 0);
    }

    /// `length` bytes from `at` of an endless stream in which neighbouring stretches differ.
    fn pattern(at: usize, length: usize) -> &'static [u8] {
        static STRETCH: std::sync::LazyLock<Vec<u8>> =
            std::sync::LazyLock::new(|| (0..1 << 20).map(|n| (n % 251) as u8).collect());
        &STRETCH[at % 251..][..length]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Whatever is pushed and forwarded, in whatever order: the bytes come out as they went in, and the brake is
        /// on exactly as the two marks say.
        #[test]
        fn bytes_keep_their_order_and_the_brake_its_marks(
            steps in prop::collection::vec((0usize..600_000, any::<bool>(), prop::option::of(Just(1u32))), 1..60)
        ) {
            let (queue, valve) = queue(Brake::Window);
            let (mut pushed, mut popped, mut over) = (0, 0, false);
            for (length, pushes, stream) in steps {
                if pushes {
                    queue.push_data(stream, pattern(pushed, length));
                    pushed += length;
                } else if let Poll::Ready(Some(Event::Data { bytes, .. })) = pop(&queue) {
                    prop_assert!(bytes == pattern(popped, bytes.len()));
                    popped += bytes.len();
                    queue.forwarded(bytes.len());
                }
                let held = pushed - popped;
                over = held > HIGH_BYTES || (over && held > LOW_BYTES);
                prop_assert_eq!(queue.held_bytes(), held);
                prop_assert_eq!(queue.is_over(), over);
                prop_assert_eq!(valve.is_paced(), over);
            }
        }
    }
}

//! The state of one connection that its stream, its queues and whoever cuts it share. It moves no bytes itself.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;

/// One connection's valve: open, paced or shut; and cut, which is for ever.
///
/// Shutting stops reading, never writing, so that Ctrl-C still reaches a target whose output waits.
#[derive(Debug)]
pub struct Valve {
    shut_by: AtomicUsize,
    paced_by: AtomicUsize,
    cut: AtomicBool,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    opened: Instant,
    read_at: AtomicU64,
    input_at: AtomicU64,
    gone: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
    watcher: AtomicWaker,
}

impl Default for Valve {
    fn default() -> Self {
        Self {
            shut_by: AtomicUsize::new(0),
            paced_by: AtomicUsize::new(0),
            cut: AtomicBool::new(false),
            read_bytes: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            opened: Instant::now(),
            read_at: AtomicU64::new(0),
            input_at: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            watcher: AtomicWaker::new(),
        }
    }
}

impl Valve {
    /// Ends the connection: the next read or write fails, and one that waits is woken to fail.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.reader.wake();
        self.writer.wake();
    }

    /// Whether the connection was cut.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// Completes when the connection's stream is gone, whoever ended it. For one task.
    pub async fn gone(&self) {
        poll_fn(|cx| {
            self.watcher.register(cx.waker());
            if self.gone.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Whether reading is stopped because what was read has not been forwarded: such a connection is held, not idle.
    pub fn is_shut(&self) -> bool {
        self.shut_by.load(Ordering::SeqCst) > 0
    }

    /// Whether some upload waits, so that its peer is granted two bytes at a time.
    pub fn is_paced(&self) -> bool {
        self.paced_by.load(Ordering::SeqCst) > 0
    }

    /// Bytes read from the connection.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Bytes written to the connection, or taken to be.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// How long nothing at all has been read: the peer may be gone, or the valve shut.
    pub fn silent_for(&self) -> Duration {
        self.since(&self.read_at)
    }

    /// How long no channel has brought data: a person's idleness, which keepalives do not interrupt.
    pub fn idle_for(&self) -> Duration {
        self.since(&self.input_at)
    }

    /// The stream was dropped.
    pub(super) fn note_gone(&self) {
        self.gone.store(true, Ordering::SeqCst);
        self.watcher.wake();
    }

    pub(super) fn note_input(&self) {
        self.stamp(&self.input_at);
    }

    pub(super) fn note_read(&self, bytes: usize) {
        self.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.stamp(&self.read_at);
    }

    pub(super) fn note_written(&self, bytes: usize) {
        self.written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// One more queue stops the reading.
    pub(super) fn shut(&self) {
        self.shut_by.fetch_add(1, Ordering::SeqCst);
    }

    /// One queue fewer stops the reading.
    pub(super) fn open(&self) {
        self.shut_by.fetch_sub(1, Ordering::SeqCst);
        self.reader.wake();
    }

    /// One more queue slows the reading.
    pub(super) fn pace(&self) {
        self.paced_by.fetch_add(1, Ordering::SeqCst);
    }

    /// One queue fewer slows the reading; a read that waits for its turn goes on at once.
    pub(super) fn unpace(&self) {
        self.paced_by.fetch_sub(1, Ordering::SeqCst);
        self.reader.wake();
    }

    pub(super) fn wake_reader_with(&self, waker: &Waker) {
        self.reader.register(waker);
    }

    pub(super) fn wake_writer_with(&self, waker: &Waker) {
        self.writer.register(waker);
    }

    fn stamp(&self, moment: &AtomicU64) {
        moment.store(self.opened.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn since(&self, moment: &AtomicU64) -> Duration {
        self.opened.elapsed().saturating_sub(Duration::from_millis(moment.load(Ordering::Relaxed)))
    }
}

//! The state of one connection that its stream, its queues and whoever cuts it share. It moves no bytes itself.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use rustix::net::Shutdown;

use super::Moment;

/// One connection's valve: open, paced or shut; and cut, which is for ever.
///
/// Shutting stops reading, never writing, so that Ctrl-C still reaches a target whose output waits.
#[derive(Debug, Default)]
pub struct Valve {
    shut_by: AtomicUsize,
    paced_by: AtomicUsize,
    cut: OnceLock<Instant>,
    deaf: AtomicBool,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    read: Moment,
    input: Moment,
    written: Arc<Moment>,
    /// What a cut closes under the stream.
    socket: Mutex<Option<OwnedFd>>,
    gone: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
    watcher: AtomicWaker,
    cut_waiter: AtomicWaker,
}

impl Valve {
    /// Of a connection whose writes are noted in `written` too, which several connections may share.
    pub fn noting(written: Arc<Moment>) -> Self {
        Self { written, ..Self::default() }
    }

    /// Ends the connection: the next read or write fails, and one that waits is woken to fail. A target's socket is
    /// closed in the kernel before this returns, whatever its stream is busy with.
    pub fn cut(&self) {
        self.cut.get_or_init(Instant::now);
        if let Some(socket) = self.socket().take() {
            sever(&socket);
        }
        self.wake_all_for_the_end();
    }

    /// Ends the connection as TCP does: the next read or write fails, what the kernel holds goes out, and then the end.
    pub fn hang_up(&self) {
        self.cut.get_or_init(Instant::now);
        if let Some(Err(error)) = self.socket().as_ref().map(|socket| rustix::net::shutdown(socket, Shutdown::Both)) {
            tracing::debug!(%error, "a socket was gone before it was hung up");
        }
        self.wake_all_for_the_end();
    }

    fn wake_all_for_the_end(&self) {
        [&self.reader, &self.writer, &self.cut_waiter].into_iter().for_each(AtomicWaker::wake);
    }

    /// Whether the connection was cut.
    pub fn is_cut(&self) -> bool {
        self.cut.get().is_some()
    }

    /// Completes when the connection is cut, also where its peer ended it before. For one task.
    pub async fn until_cut(&self) {
        poll_fn(|cx| {
            self.cut_waiter.register(cx.waker());
            if self.is_cut() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// When the connection was cut: from then on nothing passes either way.
    pub fn cut_at(&self) -> Option<Instant> {
        self.cut.get().copied()
    }

    /// From now on what the peer sends is thrown away unread, since nobody is left to want it; only its end is noticed.
    pub fn stop_listening(&self) {
        self.deaf.store(true, Ordering::SeqCst);
        self.reader.wake();
    }

    pub(super) fn is_deaf(&self) -> bool {
        self.deaf.load(Ordering::SeqCst)
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
        self.read.silence()
    }

    /// How long no channel has brought data: a person's idleness, which keepalives do not interrupt.
    pub fn idle_for(&self) -> Duration {
        self.input.silence()
    }

    /// When a byte last went into the connection's socket.
    pub fn written(&self) -> &Arc<Moment> {
        &self.written
    }

    /// From now on a cut closes this socket too: a second handle of the stream's own.
    pub(super) fn close_on_cut(&self, socket: OwnedFd) {
        *self.socket() = Some(socket);
        // It may have been cut before there was a socket.
        if self.is_cut() {
            self.cut();
        }
    }

    /// The stream was dropped.
    pub(super) fn note_gone(&self) {
        drop(self.socket().take());
        self.gone.store(true, Ordering::SeqCst);
        self.watcher.wake();
    }

    pub(super) fn note_input(&self) {
        self.input.note();
    }

    pub(super) fn note_read(&self, bytes: usize) {
        self.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.read.note();
    }

    /// The stream took bytes; they may wait in its memory.
    pub(super) fn note_taken(&self, bytes: usize) {
        self.written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The socket took bytes just now.
    pub(super) fn note_written(&self) {
        self.written.note();
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

    fn socket(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        // Nothing under this lock can panic halfway through a change.
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resets a connection now. The kernel throws away what it has not sent, and takes nothing more: closing the socket
/// would have to wait for its stream's turn, in which the kernel goes on sending.
fn sever(socket: &OwnedFd) {
    if let Err(error) = rustix::net::connect_unspec(socket) {
        tracing::debug!(%error, "a socket was gone before it was cut");
    }
}

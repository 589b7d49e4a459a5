//! The stream given to russh in place of a socket: its reads obey the valve, its writes never wait long.
//! Which reads to stop is the queues' business.

use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::{SPILL_BYTES, Valve};

/// How long a peer that was told the end, and goes on sending, is let read it: whoever closes under bytes that arrive
/// resets the connection, and the peer's kernel throws away what it has not read yet (RFC 1122, section 4.2.2.13).
const LINGER_MAX: Duration = Duration::from_secs(2);

/// A socket that reads only while its [`Valve`] is open, and takes writes into memory while the socket is full.
///
/// A full socket must not stop the reading, or a peer that writes before it reads would wait for us for ever; so up to
/// 4 MiB spill into memory, and every read drains them, because russh's loop always reads.
pub struct GatedStream<S> {
    socket: S,
    valve: Arc<Valve>,
    inbox: Inbox,
    pacer: Pacer,
    spill: BytesMut,
    lingering: Lingering,
}

/// Whether a cut lets the peer read what it was sent.
enum Lingering {
    /// More was to be sent: what there is of it is worth nothing.
    No,
    /// All was sent, and its end.
    Told,
    /// It was cut then.
    Until(Pin<Box<Sleep>>),
}

impl GatedStream<TcpStream> {
    /// The target's leg: when it is cut, nothing more goes out, not even what the kernel holds.
    ///
    /// # Errors
    /// The system has no second handle for the socket.
    pub fn target(socket: TcpStream, valve: Arc<Valve>) -> io::Result<Self> {
        valve.close_on_cut(socket.as_fd().try_clone_to_owned()?);
        Ok(Self::vendor(socket, valve))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> GatedStream<S> {
    /// The vendor's leg: when it is cut, words already given to the kernel may still arrive, and where they were its last,
    /// the socket stays for two seconds more for who does not hang up. Nothing passes in them either way.
    pub fn vendor(socket: S, valve: Arc<Valve>) -> Self {
        let (inbox, pacer, spill) = (Inbox::default(), Pacer::default(), BytesMut::new());
        Self { socket, valve, inbox, pacer, spill, lingering: Lingering::No }
    }

    fn check_cut(&self) -> io::Result<()> {
        if self.valve.is_cut() { Err(cut_error()) } else { Ok(()) }
    }

    /// The one place where bytes enter the socket.
    fn poll_socket(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes))?;
        self.valve.note_written();
        Poll::Ready(Ok(written))
    }

    /// Writes out what spilled; `Ready` when nothing is left.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut spill = std::mem::take(&mut self.spill);
        while !spill.is_empty() {
            match self.poll_socket(cx, &spill) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => spill.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.spill = spill;
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_refill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.pacer.poll_turn(cx, &self.valve));
        let read = ready!(self.inbox.poll_fill(cx, &mut self.socket))?;
        self.valve.note_read(read);
        self.pacer.note_read(read, &self.valve);
        Poll::Ready(Ok(read))
    }
}

impl<S: AsyncRead + Unpin> GatedStream<S> {
    /// Reads to the peer's end and keeps nothing.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inbox.clear();
        while ready!(self.inbox.poll_fill(cx, &mut self.socket))? > 0 {
            self.inbox.clear();
        }
        Poll::Ready(Ok(()))
    }

    /// What a read of a connection that was cut comes to: an error, now or once the peer had its time.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Lingering::Told = self.lingering {
            self.lingering = Lingering::Until(Box::pin(tokio::time::sleep(LINGER_MAX)));
        }
        if let Lingering::Until(over) = &mut self.lingering
            && over.as_mut().poll(cx).is_pending()
        {
            return self.poll_discard(cx);
        }
        Poll::Ready(Err(cut_error()))
    }
}

impl<S> Drop for GatedStream<S> {
    fn drop(&mut self) {
        self.valve.note_gone();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for GatedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.valve.wake_reader_with(cx.waker());
        if this.valve.is_cut() {
            return this.poll_linger(cx);
        }
        if let Poll::Ready(drained) = this.poll_drain(cx) {
            drained?;
        }
        if this.valve.is_deaf() {
            return this.poll_discard(cx);
        }
        if this.valve.is_shut() {
            return Poll::Pending;
        }
        if this.inbox.is_empty() && ready!(this.poll_refill(cx))? == 0 {
            return Poll::Ready(Ok(()));
        }
        this.inbox.give(buf);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GatedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.valve.wake_writer_with(cx.waker());
        this.check_cut()?;
        let written = match this.poll_drain(cx) {
            Poll::Ready(drained) => {
                drained?;
                this.poll_socket(cx, buf)?
            }
            Poll::Pending => Poll::Pending,
        };
        let taken = match written {
            Poll::Ready(written) => written,
            Poll::Pending => {
                let taken = buf.len().min(SPILL_BYTES.saturating_sub(this.spill.len()));
                if taken == 0 {
                    return Poll::Pending;
                }
                this.spill.extend_from_slice(&buf[..taken]);
                taken
            }
        };
        this.valve.note_taken(taken);
        Poll::Ready(Ok(taken))
    }

    /// Answers at once: what spilled is drained by the reads, which never stop.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.valve.wake_writer_with(cx.waker());
        this.check_cut()?;
        ready!(this.poll_drain(cx))?;
        ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
        this.lingering = Lingering::Told;
        Poll::Ready(Ok(()))
    }
}

pub(super) fn cut_error() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was cut")
}

/// What was read from the socket and not yet asked for: russh reads four bytes, then the rest of a packet.
#[derive(Default)]
struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// Enough for a keystroke or an answer, so that an idle session costs little.
    const IDLE_BYTES: usize = 1 << 10;
    /// Two of the largest packets: larger reads gain nothing.
    const BUSY_BYTES: usize = 64 << 10;

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Reads once. The buffer grows as long as reads fill it, and shrinks when the socket runs dry after a small one.
    fn poll_fill<S: AsyncRead + Unpin>(&mut self, cx: &mut Context<'_>, socket: &mut S) -> Poll<io::Result<usize>> {
        if self.end == self.buffer.len() {
            let size = (self.buffer.len() * 4).clamp(Self::IDLE_BYTES, Self::BUSY_BYTES);
            self.buffer.resize(size, 0);
        }
        let mut unread = ReadBuf::new(&mut self.buffer);
        match Pin::new(socket).poll_read(cx, &mut unread) {
            Poll::Ready(outcome) => {
                outcome?;
                self.start = 0;
                self.end = unread.filled().len();
                Poll::Ready(Ok(self.end))
            }
            Poll::Pending => {
                if self.end < Self::IDLE_BYTES && self.buffer.len() > Self::IDLE_BYTES {
                    self.buffer = vec![0; Self::IDLE_BYTES];
                    (self.start, self.end) = (0, 0);
                }
                Poll::Pending
            }
        }
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let given = (self.end - self.start).min(buf.remaining());
        buf.put_slice(&self.buffer[self.start..self.start + given]);
        self.start += given;
    }
}

/// Slows the reading of probes: a peer whose upload waits sends two bytes at a time, and answering each as fast as it
/// comes burns a third of a core for nothing. Large reads go on at full speed.
#[derive(Default)]
pub(super) struct Pacer {
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
    wait: Duration,
}

impl Pacer {
    /// Above this a read is not a probe.
    const PROBE_BYTES: usize = 256;
    const WAIT_MIN: Duration = Duration::from_millis(2);
    const WAIT_MAX: Duration = Duration::from_millis(20);

    /// `Ready` when the next read may happen: at once, unless probes are being paced.
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>, valve: &Valve) -> Poll<()> {
        let Some(pause) = &mut self.pause else { return Poll::Ready(()) };
        if valve.is_paced() {
            ready!(pause.as_mut().poll(cx));
        }
        self.pause = None;
        Poll::Ready(())
    }

    pub(super) fn note_read(&mut self, bytes: usize, valve: &Valve) {
        if !valve.is_paced() || bytes >= Self::PROBE_BYTES {
            self.wait = Duration::ZERO;
            return;
        }
        self.wait = (self.wait * 2).clamp(Self::WAIT_MIN, Self::WAIT_MAX);
        self.pause = Some(Box::pin(tokio::time::sleep(self.wait)));
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::flow::{Brake, HIGH_BYTES, Queue};

    fn pair(socket_bytes: usize) -> (GatedStream<DuplexStream>, DuplexStream, Arc<Valve>) {
        let (near, far) = duplex(socket_bytes);
        let valve = Arc::new(Valve::default());
        (GatedStream::vendor(near, Arc::clone(&valve)), far, valve)
    }

    async fn is_still<T>(future: impl Future<Output = T>) -> bool {
        tokio::time::timeout(Duration::from_millis(50), future).await.is_err()
    }

    #[tokio::test]
    async fn a_shut_valve_stops_reading_and_not_writing_and_opening_it_wakes_the_reader() {
        let (mut stream, mut far, valve) = pair(1024);
        let queue = Queue::new(Brake::Socket, Arc::clone(&valve));
        queue.push_data(None, &vec![0; HIGH_BYTES + 1]);
        far.write_all(b"output").await.unwrap();
        let mut read = [0; 6];
        assert!(is_still(stream.read_exact(&mut read)).await);
        stream.write_all(b"^C").await.unwrap();
        let mut written = [0; 2];
        far.read_exact(&mut written).await.unwrap();
        assert_eq!(&written, b"^C");
        let (outcome, ()) = tokio::join!(stream.read_exact(&mut read), async { queue.end() });
        outcome.unwrap();
        assert_eq!(&read, b"output");
    }

    #[tokio::test]
    async fn a_full_socket_does_not_stop_the_writer_until_the_spill_is_full_and_nothing_is_lost() {
        let (mut stream, mut far, _) = pair(1024);
        let words: Vec<u8> = (0..SPILL_BYTES + 1024).map(|n| n as u8).collect();
        stream.write_all(&words).await.unwrap();
        assert!(is_still(stream.write_all(b"more")).await);
        let mut seen = vec![0; words.len()];
        // Only reading drains: russh always reads.
        let mut silence = [0; 1];
        tokio::select! {
            _ = stream.read(&mut silence) => panic!("nothing was sent this way"),
            outcome = far.read_exact(&mut seen) => drop(outcome.unwrap()),
        }
        assert!(seen == words);
    }

    #[tokio::test]
    async fn shutting_down_writes_what_spilled_first() {
        let (mut stream, mut far, _) = pair(16);
        stream.write_all(&[7; 4096]).await.unwrap();
        let mut seen = Vec::new();
        let (down, read) = tokio::join!(stream.shutdown(), far.read_to_end(&mut seen));
        down.unwrap();
        assert_eq!(read.unwrap(), 4096);
    }

    #[tokio::test]
    async fn a_cut_fails_the_read_that_waits_and_every_write_after() {
        let (mut stream, _far, valve) = pair(1024);
        let mut read = [0; 1];
        let (outcome, ()) = tokio::join!(stream.read(&mut read), async { valve.cut() });
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(stream.write(b"x").await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_told_the_end_and_goes_on_sending_is_let_read_it_for_a_while() {
        let (mut stream, mut far, valve) = pair(1024);
        stream.write_all(b"farewell").await.unwrap();
        stream.shutdown().await.unwrap();
        valve.cut();
        let begun = tokio::time::Instant::now();
        let mut read = [0; 1];
        tokio::select! {
            outcome = stream.read(&mut read) => assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::ConnectionAborted),
            () = goes_on_sending(&mut far) => {}
        }
        assert!(begun.elapsed() >= LINGER_MAX, "{:?}", begun.elapsed());
        assert_eq!(stream.write(b"x").await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        let mut farewell = Vec::new();
        far.read_to_end(&mut farewell).await.unwrap();
        assert_eq!(farewell, b"farewell");
    }

    async fn goes_on_sending(far: &mut DuplexStream) {
        while far.write_all(&[0; 512]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn what_the_kernel_holds_for_a_target_is_discarded_by_a_cut_though_its_stream_gets_no_turn() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut target, _) = listener.accept().await.unwrap();
        let valve = Arc::new(Valve::default());
        let mut stream = GatedStream::target(socket, Arc::clone(&valve)).unwrap();
        // More than the target's kernel takes, so that some stays in ours.
        stream.write_all(&vec![0; SPILL_BYTES]).await.unwrap();
        valve.cut();
        let mut seen = Vec::new();
        let outcome = target.read_to_end(&mut seen).await;
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(seen.len() < SPILL_BYTES);
        // Whoever was past the check when the cut came finds the socket closed.
        futures::future::poll_fn(|cx| stream.poll_socket(cx, b"late")).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_connection_that_is_cut_before_it_has_a_socket_never_gets_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut target, _) = listener.accept().await.unwrap();
        let valve = Arc::new(Valve::default());
        valve.cut();
        let mut stream = GatedStream::target(socket, valve).unwrap();
        futures::future::poll_fn(|cx| stream.poll_socket(cx, b"late")).await.unwrap_err();
        assert_eq!(target.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_write_is_noted_when_the_socket_takes_it_and_not_while_it_waits_in_memory() {
        let (mut stream, mut far, valve) = pair(1024);
        assert_eq!(valve.written().at(), None);
        stream.write_all(&[7; 1024]).await.unwrap();
        let full = valve.written().at().unwrap();
        stream.write_all(&[7; 1024]).await.unwrap();
        assert_eq!((valve.written().at(), valve.written_bytes()), (Some(full), 2048));
        far.read_exact(&mut [0; 1024]).await.unwrap();
        assert!(is_still(stream.read(&mut [0])).await);
        assert!(valve.written().at().unwrap() > full);
    }

    #[tokio::test]
    async fn who_stopped_listening_is_told_of_the_end_alone() {
        let (mut stream, mut far, valve) = pair(1024);
        far.write_all(b"unread").await.unwrap();
        let mut read = [0; 1];
        stream.read_exact(&mut read).await.unwrap();
        valve.stop_listening();
        let talking = async {
            far.write_all(&[7; 64 << 10]).await.unwrap();
            drop(far);
        };
        let (outcome, ()) = tokio::join!(stream.read(&mut read), talking);
        assert_eq!(outcome.unwrap(), 0);
    }

    #[tokio::test]
    async fn probes_are_paced_while_an_upload_waits_and_bulk_is_not() {
        let (mut stream, mut far, valve) = pair(1 << 20);
        let queue = Queue::new(Brake::Window, Arc::clone(&valve));
        queue.freeze(true);
        let started = tokio::time::Instant::now();
        let mut read = vec![0; 1 << 16];
        for _ in 0..10 {
            far.write_all(b"probe").await.unwrap();
            stream.read_exact(&mut read[..5]).await.unwrap();
        }
        let paced = started.elapsed();
        assert!(paced >= Duration::from_millis(2 + 4 + 8 + 16 + 5 * 20), "{paced:?}");
        for _ in 0..100 {
            far.write_all(&[0; 4096]).await.unwrap();
            stream.read_exact(&mut read[..4096]).await.unwrap();
        }
        assert!(started.elapsed() < paced + Duration::from_millis(1000), "bulk goes at full speed");
        far.write_all(b"probe").await.unwrap();
        stream.read_exact(&mut read[..5]).await.unwrap();
        far.write_all(b"probe").await.unwrap();
        assert!(is_pacing(&mut stream, &mut read).await);
        let (outcome, ()) = tokio::join!(stream.read_exact(&mut read[..5]), async { queue.freeze(false) });
        outcome.unwrap();
    }

    async fn is_pacing(stream: &mut GatedStream<DuplexStream>, read: &mut [u8]) -> bool {
        futures::poll!(std::pin::pin!(stream.read_exact(&mut read[..5]))).is_pending()
    }

    #[tokio::test]
    async fn an_idle_stream_keeps_a_small_buffer() {
        let (mut stream, mut far, _) = pair(1 << 20);
        far.write_all(&[0; 256 << 10]).await.unwrap();
        let mut read = vec![0; 256 << 10];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(stream.inbox.buffer.len(), Inbox::BUSY_BYTES);
        far.write_all(b"$ ").await.unwrap();
        stream.read_exact(&mut read[..2]).await.unwrap();
        assert!(is_still(stream.read(&mut read)).await);
        assert_eq!(stream.inbox.buffer.len(), Inbox::IDLE_BYTES);
    }
}

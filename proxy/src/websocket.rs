//! A TCP connection within a WebSocket (RFC 6455), as both the gate and `connect` carry it: binary messages are bytes, text
//! messages are words of ours, and a close says why. How it is opened, and who may, is known elsewhere.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::task::AtomicWaker;
use futures::{Sink as _, SinkExt as _, StreamExt as _};
use policies::ids::SessionId;
use serde::{Deserialize, Serialize};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, ReadHalf, WriteHalf,
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::Stream;

/// What is said beside a service's bytes, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Said {
    /// By the gate, first of all.
    Carried {
        /// In which session.
        session: SessionId,
    },
    /// By either side: it has no more to send, and still listens. TCP's FIN.
    Finished,
    /// By either side, before a close whose reason cannot hold them: why it closes.
    Closing {
        /// In full.
        words: String,
    },
}

pub(crate) type Socket = WebSocketStream<Box<dyn Stream>>;

/// Until the answer went out and the connection is a WebSocket.
pub(crate) const UPGRADE_MAX: Duration = Duration::from_secs(10);
/// What a message carries of ours; of others', up to twice as much.
pub(crate) const PIECE_BYTES: usize = 32 << 10;
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Waits in each direction between the WebSocket and what it is joined to.
const PIPE_BYTES: usize = 32 << 10;
/// A reason's bytes (RFC 6455, 5.5.1: 125 with the code).
const REASON_BYTES_MAX: usize = 123;
/// Proxies give up a connection on which nothing passes, many after a minute. A ping is nobody's input.
const PING_EVERY: Duration = Duration::from_secs(20);
/// For the last bytes and the close to be taken, and the other side's close to come.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// A connection that both sides have agreed to go on with so, as this side's end of a WebSocket.
pub(crate) async fn open(connection: impl Stream + 'static, role: Role) -> Socket {
    let config = WebSocketConfig::default()
        .read_buffer_size(PIECE_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MESSAGE_BYTES_MAX)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let connection: Box<dyn Stream> = Box::new(connection);
    WebSocketStream::from_raw_socket(connection, role, Some(config)).await
}

/// Says something on it.
pub(crate) async fn say(socket: &mut Socket, said: &Said) -> Result<(), Error> {
    socket.send(message(said)).await
}

/// What the gate says first.
pub(crate) async fn heard(socket: &mut Socket) -> Result<Said, String> {
    match socket.next().await {
        Some(Ok(Message::Text(text))) => serde_json::from_str(&text).map_err(|cause| cause.to_string()),
        Some(Ok(Message::Close(Some(close)))) => Err(close.reason.to_string()),
        Some(Ok(_)) => Err("it does not say whether it carries this".into()),
        Some(Err(cause)) => Err(cause.to_string()),
        None => Err("it hangs up".into()),
    }
}

/// Words as a message.
pub(crate) fn message(said: &impl Serialize) -> Message {
    Message::text(serde_json::to_string(said).expect("words have string keys"))
}

/// When it is time to ask whether the other side is still there.
pub(crate) fn pings() -> Interval {
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings
}

/// Takes leave: says what is last, closes, and reads until the other side has closed too, all within this time.
pub(crate) async fn leave(within: Duration, leaving: impl Future<Output = Result<(), Error>>) {
    match timeout(within, leaving).await {
        Ok(Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed)) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a WebSocket was gone before it was closed"),
        Err(_) => tracing::debug!("a WebSocket takes nothing, not even a close"),
    }
}

/// A close that says why, in words that fit; in none where the connection came to its own end.
fn closing(words: Option<&str>) -> CloseFrame {
    let Some(words) = words else { return CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() } };
    let fits = words.floor_char_boundary(REASON_BYTES_MAX);
    CloseFrame { code: CloseCode::Policy, reason: words[..fits].into() }
}

/// A WebSocket as a stream of bytes. Its end without the other side's word is an error; dropping it closes the WebSocket.
/// What was written is flushed, and its end shut down, once the WebSocket's own socket has taken it: until then it counts
/// as nothing that left.
pub(crate) struct Carried {
    pipe: DuplexStream,
    other_has_finished: Arc<AtomicBool>,
    written: u64,
    left: Arc<Left>,
    _dropped: DropGuard,
}

/// How much of what was written to a [`Carried`] has left by the socket.
#[derive(Default)]
struct Left {
    bytes: AtomicU64,
    /// Their end, too.
    end: AtomicBool,
    /// Nothing more will.
    over: AtomicBool,
    news: AtomicWaker,
}

impl Left {
    fn poll(&self, cx: &mut Context<'_>, has_left: impl Fn(&Self) -> bool) -> Poll<io::Result<()>> {
        self.news.register(cx.waker());
        if has_left(self) {
            return Poll::Ready(Ok(()));
        }
        match self.over.load(Ordering::Acquire) {
            true => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            false => Poll::Pending,
        }
    }
}

/// The side that says what has left.
struct Leaving(Arc<Left>);

impl Leaving {
    fn note(&self, what: &UnderWay) {
        match what {
            UnderWay::Bytes(bytes) => drop(self.0.bytes.fetch_add(*bytes, Ordering::AcqRel)),
            UnderWay::End => self.0.end.store(true, Ordering::Release),
        }
        self.0.news.wake();
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
        self.0.news.wake();
    }
}

/// What carries bytes between a [`Carried`] and its WebSocket.
pub(crate) struct Carrying {
    inward: Inward,
    outward: Outward,
    dropped: CancellationToken,
}

/// Both ends of a pipe to this WebSocket.
pub(crate) fn pipe(socket: Socket) -> (Carried, Carrying) {
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let ((send, receive), (from_pipe, to_pipe)) = (socket.split(), tokio::io::split(far));
    let (other_has_finished, dropped) = (Arc::<AtomicBool>::default(), CancellationToken::new());
    let left = Arc::<Left>::default();
    let carried = Carried {
        pipe: near,
        other_has_finished: Arc::clone(&other_has_finished),
        written: 0,
        left: Arc::clone(&left),
        _dropped: dropped.clone().drop_guard(),
    };
    let inward = Inward { receive, to_pipe, finished: other_has_finished, words: None };
    let leaving = Leaving(left);
    let outward = Outward { send, from_pipe, held: None, under_way: None, finished: false, leaving };
    (carried, Carrying { inward, outward, dropped })
}

impl Carrying {
    /// Carries until either side closes or breaks, or the [`Carried`] is dropped; then says `last_words`. Gives what the
    /// other side said at its close, where this one had nothing to say: an answer to a close repeats its words.
    pub(crate) async fn run(self, last_words: impl FnOnce() -> Option<String>) -> Option<String> {
        let Self { mut inward, mut outward, dropped } = self;
        let ended = tokio::select! {
            biased;
            () = dropped.cancelled() => Ended::Here,
            ended = inward.run() => ended.map_or_else(Ended::Broken, |()| Ended::There),
            error = outward.run() => Ended::Broken(error),
        };
        let Inward { mut receive, to_pipe, mut words, .. } = inward;
        let Outward { mut send, from_pipe, leaving, .. } = outward;
        drop((to_pipe, from_pipe, leaving));
        let farewell = async {
            let own = match ended {
                Ended::Here => Some((None, last_words())),
                // It was answered already.
                Ended::There => None,
                Ended::Broken(error) => {
                    tracing::debug!(%error, "a WebSocket broke");
                    Some((Some(CloseCode::Protocol), Some(error.to_string())))
                }
            };
            let has_said_why = matches!(own, Some((_, Some(_))));
            if let Some((code, own)) = own {
                if let Some(words) = own.clone().filter(|own| own.len() > REASON_BYTES_MAX) {
                    send.send(message(&Said::Closing { words })).await?;
                }
                let close = closing(own.as_deref());
                let code = code.unwrap_or(close.code);
                send.send(Message::Close(Some(CloseFrame { code, ..close }))).await?;
            }
            // Its bytes nobody reads any more.
            while let Some(message) = receive.next().await.transpose()? {
                if !has_said_why {
                    learn(&mut words, &message);
                }
            }
            Ok::<_, Error>(())
        };
        leave(FAREWELL_MAX, farewell).await;
        words
    }
}

/// Learns from a message why the other side closes. A close says the beginning of what was said in full before it.
fn learn(words: &mut Option<String>, message: &Message) {
    let said = match message {
        Message::Text(text) => match serde_json::from_str(text) {
            Ok(Said::Closing { words }) => Some(words),
            _ => None,
        },
        Message::Close(Some(close)) => Some(close.reason.to_string()).filter(|reason| !reason.is_empty()),
        _ => None,
    };
    if let Some(said) = said
        && words.as_ref().is_none_or(|known| !known.starts_with(&said))
    {
        *words = Some(said);
    }
}

/// How carrying ended.
enum Ended {
    /// The [`Carried`] was dropped.
    Here,
    /// The other side closed.
    There,
    Broken(Error),
}

/// From the WebSocket.
struct Inward {
    receive: SplitStream<Socket>,
    to_pipe: WriteHalf<DuplexStream>,
    finished: Arc<AtomicBool>,
    /// Why the other side closes.
    words: Option<String>,
}

impl Inward {
    /// Until the other side closes. It is read no faster than its bytes are taken.
    async fn run(&mut self) -> Result<(), Error> {
        while let Some(message) = self.receive.next().await.transpose()? {
            learn(&mut self.words, &message);
            match message {
                Message::Binary(bytes) if !self.finished.load(Ordering::Acquire) => {
                    self.to_pipe.write_all(&bytes).await?;
                }
                Message::Text(text) => match serde_json::from_str(&text) {
                    Ok(Said::Finished) => {
                        self.finished.store(true, Ordering::Release);
                        self.to_pipe.shutdown().await?;
                    }
                    Ok(Said::Closing { .. }) => {}
                    Ok(Said::Carried { .. }) | Err(_) => return Err(odd("words that mean nothing here")),
                },
                Message::Close(_) => return Ok(()),
                Message::Binary(_) | Message::Frame(_) => return Err(odd("bytes after the last")),
                Message::Ping(_) | Message::Pong(_) => {}
            }
        }
        Ok(())
    }
}

fn odd(what: &'static str) -> Error {
    io::Error::new(io::ErrorKind::InvalidData, what).into()
}

/// To the WebSocket.
struct Outward {
    send: SplitSink<Socket, Message>,
    from_pipe: ReadHalf<DuplexStream>,
    /// A message that was taken from the pipe and not given to the WebSocket yet.
    held: Option<Message>,
    /// What was given to it, and has not all left yet.
    under_way: Option<UnderWay>,
    finished: bool,
    leaving: Leaving,
}

enum UnderWay {
    Bytes(u64),
    End,
}

impl Outward {
    /// Until it breaks.
    async fn run(&mut self) -> Error {
        let mut pings = pings();
        loop {
            let sent = tokio::select! {
                biased;
                sent = self.next(), if !self.finished => sent,
                _ = pings.tick() => self.send.send(Message::Ping(Bytes::new())).await,
            };
            if let Err(error) = sent {
                return error;
            }
        }
    }

    /// Sends what comes from the pipe next, until it has left. May be dropped and called again, and loses nothing by it.
    async fn next(&mut self) -> Result<(), Error> {
        if self.under_way.is_none() {
            self.take_up().await?;
        }
        self.send.flush().await?;
        if let Some(left) = self.under_way.take() {
            self.finished = matches!(left, UnderWay::End);
            self.leaving.note(&left);
        }
        Ok(())
    }

    async fn take_up(&mut self) -> Result<(), Error> {
        if self.held.is_none() {
            let mut piece = vec![0; PIECE_BYTES];
            self.held = Some(match self.from_pipe.read(&mut piece).await? {
                0 => message(&Said::Finished),
                read => {
                    piece.truncate(read);
                    Message::Binary(piece.into())
                }
            });
        }
        poll_fn(|cx| self.send.poll_ready_unpin(cx)).await?;
        if let Some(held) = self.held.take() {
            self.under_way = Some(match &held {
                Message::Binary(bytes) => UnderWay::Bytes(bytes.len() as u64),
                _ => UnderWay::End,
            });
            Pin::new(&mut self.send).start_send(held)?;
        }
        Ok(())
    }
}

impl AsyncRead for Carried {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.pipe).poll_read(cx, buf))?;
        let is_end = buf.filled().len() == before && buf.remaining() > 0;
        Poll::Ready(match is_end && !self.other_has_finished.load(Ordering::Acquire) {
            true => Err(io::Error::new(io::ErrorKind::ConnectionReset, "the WebSocket closed before all had come")),
            false => Ok(()),
        })
    }
}

impl AsyncWrite for Carried {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.pipe).poll_write(cx, buf))?;
        self.written += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.left.poll(cx, |left| left.bytes.load(Ordering::Acquire) >= self.written)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.pipe).poll_shutdown(cx))?;
        self.left.poll(cx, |left| left.end.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of a WebSocket: streams of bytes, and what carries them.
    async fn both() -> [(Carried, Carrying); 2] {
        let (gate, technician) = tokio::io::duplex(4 << 10);
        [pipe(open(gate, Role::Server).await), pipe(open(technician, Role::Client).await)]
    }

    fn carry(carrying: Carrying, words: Option<&'static str>) -> tokio::task::JoinHandle<Option<String>> {
        tokio::spawn(carrying.run(move || words.map(str::to_owned)))
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_and_each_side_may_finish_first() {
        let [(mut gate, at_gate), (mut technician, at_technician)] = both().await;
        let tasks = [carry(at_gate, None), carry(at_technician, None)];
        let much = vec![7; 300_000];
        let sending = async {
            technician.write_all(&much).await.unwrap();
            technician.shutdown().await.unwrap();
            let mut back = Vec::new();
            technician.read_to_end(&mut back).await.unwrap();
            back
        };
        let answering = async {
            let mut heard = Vec::new();
            gate.read_to_end(&mut heard).await.unwrap();
            gate.write_all(&heard).await.unwrap();
            gate.shutdown().await.unwrap();
        };
        let both = async { tokio::join!(sending, answering) };
        let (back, ()) = timeout(Duration::from_secs(30), both).await.expect("both come to an end");
        assert!(back == much, "{} bytes", back.len());
        drop((gate, technician));
        for task in tasks {
            task.await.unwrap();
        }
    }

    #[tokio::test]
    async fn whoever_drops_it_says_why_after_the_last_bytes_and_the_end_is_no_finish() {
        let (gate, technician) = tokio::io::duplex(4 << 10);
        let (mut gate, at_gate) = pipe(open(gate, Role::Server).await);
        let mut technician = open(technician, Role::Client).await;
        let words = "x".repeat(122) + "\u{e4}";
        let (said, in_full) = (words.clone(), serde_json::json!({ "closing": { "words": words } }).to_string());
        let task = tokio::spawn(at_gate.run(move || Some(said)));
        gate.write_all(b"the last").await.unwrap();
        gate.shutdown().await.unwrap();
        drop(gate);
        let mut heard = Vec::new();
        while let Some(Ok(message)) = technician.next().await {
            heard.push(message);
        }
        let [Message::Binary(last), Message::Text(_), Message::Text(closing), Message::Close(Some(close))] =
            heard.as_slice()
        else {
            panic!("{heard:?}")
        };
        assert_eq!(closing.as_str(), in_full);
        assert_eq!((&**last, close.code, close.reason.len()), (&b"the last"[..], CloseCode::Policy, 122));
        task.await.unwrap();
        // A line that breaks is no end of what was sent.
        let [(gate, at_gate), (mut technician, at_technician)] = both().await;
        drop((gate, at_gate));
        let task = carry(at_technician, None);
        assert_eq!(technician.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        drop(technician);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn whoever_is_closed_learns_why_in_full_also_after_they_had_their_fill() {
        for (words, leaves_first) in [("short", false), (TOO_LONG, false), (TOO_LONG, true)] {
            let [(gate, at_gate), (mut technician, at_technician)] = both().await;
            let (gates, technicians) = (carry(at_gate, Some(words)), carry(at_technician, None));
            if leaves_first {
                technician.shutdown().await.unwrap();
                drop((gate, technician));
            } else {
                drop(gate);
                assert!(technician.read(&mut [0]).await.is_err());
                drop(technician);
            }
            assert_eq!(technicians.await.unwrap().as_deref(), Some(words));
            assert_eq!(gates.await.unwrap(), None);
        }
    }

    const TOO_LONG: &str = "A reason for somebody who is tired is as long as it has to be: it says what happened, which \
                            rule says so, whom to ask, and what to do next, and no part of that may be cut off.";

    #[tokio::test(start_paused = true)]
    async fn what_the_socket_has_not_taken_is_not_flushed() {
        let (near, far) = tokio::io::duplex(4 << 10);
        let (mut gate, at_gate) = pipe(open(near, Role::Server).await);
        let task = carry(at_gate, None);
        gate.write_all(&[7; 1000]).await.unwrap();
        gate.flush().await.unwrap();
        // The socket has room for a part of this, and the pipe for all of it.
        gate.write_all(&[7; 8000]).await.unwrap();
        assert!(timeout(Duration::from_secs(5), gate.flush()).await.is_err(), "it waits for the socket");
        assert!(timeout(Duration::from_secs(5), gate.shutdown()).await.is_err(), "and its end does");
        let mut technician = open(far, Role::Client).await;
        let read = async {
            while let Some(Ok(message)) = technician.next().await {
                if matches!(message, Message::Text(_)) {
                    return;
                }
            }
        };
        let (flushed, ()) = tokio::join!(gate.shutdown(), read);
        flushed.unwrap();
        gate.flush().await.unwrap();
        drop(technician);
        task.await.unwrap();
        assert!(gate.write_all(b"x").await.is_err() || gate.flush().await.is_err(), "nothing takes it any more");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_line_is_kept_alive_by_what_is_nobodys_input() {
        let (gate, technician) = tokio::io::duplex(4 << 10);
        let (mut gate, at_gate) = pipe(open(gate, Role::Server).await);
        let mut technician = open(technician, Role::Client).await;
        let _task = carry(at_gate, None);
        for _ in 0..3 {
            let heard = timeout(2 * PING_EVERY, technician.next()).await.expect("something is said");
            assert!(matches!(heard, Some(Ok(Message::Ping(_)))));
        }
        let reading = timeout(Duration::from_secs(1), gate.read_u8()).await;
        assert!(reading.is_err(), "a pong is no byte");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_read_is_waited_for_with_little_in_hand_and_closed_all_the_same() {
        let [(mut gate, at_gate), (technician, at_technician)] = both().await;
        let tasks = [carry(at_gate, None), carry(at_technician, None)];
        let mut taken = 0;
        while let Ok(written) = timeout(Duration::from_secs(5), gate.write(&[7; 4096])).await {
            taken += written.unwrap();
            assert!(taken < 8 * MESSAGE_BYTES_MAX, "it takes everything");
        }
        let [at_gate, at_technician] = tasks;
        drop(gate);
        timeout(2 * FAREWELL_MAX, at_gate).await.expect("it does not wait for ever").unwrap();
        drop(technician);
        timeout(2 * FAREWELL_MAX, at_technician).await.expect("it does not wait for ever").unwrap();
    }

    #[tokio::test]
    async fn what_means_nothing_ends_it_with_a_word() {
        let too_long = Message::Binary(vec![0; MESSAGE_BYTES_MAX + 1].into());
        let finished = message(&Said::Finished);
        let bytes = Message::Binary(Bytes::from_static(b"x"));
        for (number, odd) in [
            vec![too_long],
            vec![Message::text("hello")],
            vec![finished.clone(), bytes],
            vec![message(&Said::Carried { session: SessionId::new(7_u128.into()) })],
        ]
        .into_iter()
        .enumerate()
        {
            let (gate, technician) = tokio::io::duplex(256 << 10);
            let (mut gate, at_gate) = pipe(open(gate, Role::Server).await);
            let technician: Box<dyn Stream> = Box::new(technician);
            let mut technician = WebSocketStream::from_raw_socket(technician, Role::Client, None).await;
            let task = carry(at_gate, None);
            for message in odd.clone() {
                technician.send(message).await.unwrap();
            }
            let closed = technician.next().await;
            let Some(Ok(Message::Close(Some(close)))) = closed else { panic!("{number}: {closed:?}") };
            assert_eq!(close.code, CloseCode::Protocol, "{close}");
            assert!(gate.read(&mut [0]).await.is_err() || odd.contains(&finished), "{number}");
            assert!(technician.next().await.is_none_or(|more| more.is_err()));
            task.await.unwrap();
        }
    }
}

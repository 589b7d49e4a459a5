//! One telnet connection to a target, as a channel is carried over it, and those of one session. What the target sends becomes
//! the events of a channel's target, what the gate logs in with among them in its place; nothing is recorded here.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use recordings::notes::Note;
use recordings::words::Words;
use russh::Sig;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::codec::{Codec, Decoded};
use super::login::{Act, Attempt, Login, Typed};
use crate::flow::{Brake, Event, HIGH_BYTES, Leg, Own, Queue, Request, Valve, WindowSize};
use crate::legs::Legs;
use crate::session::texts;
use crate::ssh::channel::{BROKEN, TargetWrite};
use crate::ssh::target::TargetChannel;
use crate::tcp::{NotReached, Reach, Slot};

/// The connections of one session to a target that speaks telnet: one for each terminal, made when its shell is asked for. None
/// is made ahead: many such machines take one connection at a time, and end one on which nobody says anything.
pub(crate) struct Exchange {
    reach: Arc<Reach>,
    login: Arc<Login>,
}

impl Exchange {
    /// No connections yet.
    pub(crate) fn new(reach: Reach, login: Arc<Login>) -> Self {
        Self { reach: Arc::new(reach), login }
    }

    /// What all of its connections stand on.
    pub(crate) fn legs(&self) -> &Arc<Legs> {
        self.reach.legs()
    }

    /// A line for one terminal.
    pub(crate) fn open(&self) -> TargetChannel {
        let (valve, name) = (Arc::<Valve>::default(), self.reach.target().to_string());
        let line = Line {
            name: name.clone(),
            reach: Arc::clone(&self.reach),
            joined: OnceLock::new(),
            valve: Arc::clone(&valve),
            out: Queue::new(Brake::Writer, Arc::new(Valve::default())),
            login: Arc::clone(&self.login),
            terminal: Mutex::default(),
            talk: Mutex::new(None),
            begun: CancellationToken::new(),
        };
        // `Line::attend` asks for room itself.
        let download = Queue::new(Brake::Writer, Arc::new(Valve::default()));
        TargetChannel { write: TargetWrite::Telnet(Box::new(line)), download, valve, name }
    }

    /// Takes leave of the target, as a session that ends in peace does.
    pub(crate) fn close(&self) {
        self.legs().hang_up();
    }
}

/// One connection. It is made when its shell is asked for: then the terminal is known.
pub struct Line {
    name: String,
    reach: Arc<Reach>,
    /// The connection, and its place at the target.
    joined: OnceLock<(Slot, Leg)>,
    /// Cut with the session's connections, whether this one was made by then or not.
    valve: Arc<Valve>,
    /// Bytes of the wire on their way out; bounded by whoever fills it, and by what the codec answers.
    out: Arc<Queue>,
    login: Arc<Login>,
    terminal: Mutex<Terminal>,
    talk: Mutex<Option<Talk>>,
    begun: CancellationToken,
}

#[derive(Default)]
struct Terminal {
    term: String,
    size: WindowSize,
}

/// What a connection has come to.
struct Talk {
    codec: Codec,
    attempt: Attempt,
    has_shown: bool,
}

/// Behind a target's name.
const ASKS_AGAIN: &str = "asks again, so it does not take what the gate logs in with. Whoever administers the plant must renew \
                          it; until then log in yourself, or leave.";

/// How a connection ended by itself.
enum Over {
    /// There was none.
    Unreached(NotReached),
    /// The target closed it, which is how a telnet session ends.
    Closed,
    /// It broke.
    Broken,
    /// The session's connections were cut.
    Cut,
    /// It gave its place at the target up.
    Released,
}

impl Line {
    /// Marks bytes on their way out that whoever reads along must not see.
    const HIDDEN: Option<u32> = Some(1);
    const READ_BYTES: usize = 16 << 10;
    /// Said when it gives its place up.
    const RELEASED: &str = "This connection gave its place at the target up.";
    /// Said, behind the target's name, where nothing else would tell a dead terminal from one that was used.
    const SHOWED_NOTHING: &str = "ended the connection before it showed anything. Many machines take one connection at a time, and \
                                  somebody in the plant may have it: try again, or ask the control room.";
    /// Said, behind the target's name, to whoever looks at an empty terminal.
    const SHOWS_NOTHING: &str = "is connected, and shows nothing yet. Some machines wait for Return; while the gate waits for \
                                 their prompt to log in, Ctrl-C comes first.";
    /// A machine shows its greeting at once, one that is short of time within some seconds.
    const SHOWS_WITHIN: Duration = Duration::from_secs(5);
    /// What a shell ends with where nobody says: telnet knows no status.
    const ENDED: u32 = 0;
    const REFUSED: u32 = 1;

    /// Reads and writes until the connection is over, and tells `download` everything. Never completes: dropped, it stops.
    pub(crate) async fn attend(&self, download: &Queue) {
        let over = tokio::select! {
            biased;
            () = self.reach.legs().over() => Over::Cut,
            over = self.join(download) => over,
        };
        // Who cuts ends one connection after the other, and tells then: what this one came to meanwhile is the cut's doing.
        let over = if self.reach.legs().is_cut() { Over::Cut } else { over };
        self.leave_target(&over, download);
        match &over {
            Over::Unreached(why) => {
                download.push(Event::Own(Own::Say(format!("holdpoint: {why}\r\n"))));
                self.end(download, BROKEN);
            }
            Over::Closed if self.has_shown() => self.end(download, Self::ENDED),
            Over::Closed => {
                download.push(Event::Own(Own::Say(texts::line(&format!("{} {}", self.name, Self::SHOWED_NOTHING)))));
                self.end(download, BROKEN);
            }
            Over::Released => {
                download.push(Event::Own(Own::Say(texts::line(Self::RELEASED))));
                self.end(download, Self::REFUSED);
            }
            Over::Broken => download.end(),
            Over::Cut => {}
        }
        if !matches!(over, Over::Cut) {
            // What it came to may wait for a technician who does not read; the session's end does not.
            self.reach.legs().over().await;
        }
        self.valve.cut();
        download.end();
        std::future::pending::<()>().await;
    }

    /// Connects once there is a shell to connect for.
    async fn join(&self, download: &Queue) -> Over {
        self.begun.cancelled().await;
        let connected = match self.reach.connect().await {
            Ok(connected) => connected,
            Err(why) => return Over::Unreached(why),
        };
        let (slot, leg) = self.joined.get_or_init(|| connected);
        leg.keep_urgent_in_line();
        tokio::select! {
            biased;
            () = slot.released() => Over::Released,
            over = self.write_out(leg) => over,
            over = self.read_in(leg, download) => over,
            over = self.tell_if_silent(download) => over,
        }
    }

    /// Gives the place at the target up at once, though what the target said may still wait for the technician. A connection
    /// that broke or was cut has no end to be told; a target that is held in the middle of its output would not read one.
    fn leave_target(&self, over: &Over, download: &Queue) {
        let Some((slot, leg)) = self.joined.get() else { return };
        match over {
            Over::Broken | Over::Cut | Over::Unreached(_) => {}
            Over::Released if download.held_bytes() >= HIGH_BYTES => leg.valve().cut(),
            Over::Released | Over::Closed => leg.valve().hang_up(),
        }
        slot.give_up();
    }

    /// Tells, once, whoever waits before a terminal on which nothing comes. Never completes.
    async fn tell_if_silent(&self, download: &Queue) -> Over {
        tokio::time::sleep(Self::SHOWS_WITHIN).await;
        if !self.has_shown() {
            download.push(Event::Own(Own::Say(texts::line(&format!("{} {}", self.name, Self::SHOWS_NOTHING)))));
        }
        std::future::pending().await
    }

    fn has_shown(&self) -> bool {
        self.talk().as_ref().is_some_and(|talk| talk.has_shown)
    }

    fn end(&self, download: &Queue, status: u32) {
        tracing::debug!(target = self.name, status, "a telnet connection ended");
        download.push(Event::Eof);
        download.push(Event::ExitStatus(status));
        download.push(Event::Close);
    }

    /// The one place where bytes enter the socket, so that nothing stands within anything else.
    async fn write_out(&self, leg: &Leg) -> Over {
        while let Some(event) = self.out.pop().await {
            let Event::Data { stream, bytes } = event else { continue };
            let written = match stream {
                None => leg.write(&bytes).await,
                Some(_) => leg.write_hidden(&bytes).await,
            };
            if written.is_err() {
                return Over::Broken;
            }
            self.out.forwarded(bytes.len());
        }
        std::future::pending().await
    }

    async fn read_in(&self, leg: &Leg, download: &Queue) -> Over {
        let mut wire = BytesMut::new();
        loop {
            // A target that never stops must leave a turn to the channel's other directions, and to other channels.
            tokio::task::yield_now().await;
            // The target's socket is not read while its output waits for the technician.
            download.room_below(HIGH_BYTES).await;
            wire.clear();
            wire.reserve(Self::READ_BYTES);
            let read = match self.holds_for() {
                None => leg.read(&mut wire).await,
                Some(patience) => match tokio::time::timeout(patience, leg.read(&mut wire)).await {
                    Ok(read) => read,
                    Err(_) => {
                        download.push_data(None, &self.let_go());
                        continue;
                    }
                },
            };
            match read {
                Ok(0) => {
                    download.push_data(None, &self.let_go());
                    return Over::Closed;
                }
                Ok(_) => self.take(leg, &wire, download),
                Err(error) => {
                    tracing::debug!(target = self.name, %error, "a telnet connection broke");
                    return Over::Broken;
                }
            }
        }
    }

    fn take(&self, leg: &Leg, wire: &[u8], download: &Queue) {
        let now = Instant::now();
        let mut talk = self.talk();
        let Some(Talk { codec, attempt, has_shown }) = &mut *talk else { return };
        let Decoded { data, answers, agreed } = codec.decode(wire);
        self.out.push_data(None, &answers);
        for words in agreed {
            let note = Note::GateVerdict {
                allowed: true,
                words: words.into(),
                operation: None,
                spliced: Vec::new(),
                checked: None,
            };
            download.push(Event::Own(Own::Note(Box::new(note))));
        }
        if data.is_empty() {
            return;
        }
        *has_shown = true;
        let shown = attempt.shown(&data, now);
        leg.hide(attempt.masks());
        download.push_data(None, &shown.bytes);
        if shown.masked > 0 {
            let reason = Words::from("the target showed the secret that the gate logged in with");
            let note = Note::Redacted { bytes: shown.masked as u64, reason };
            download.push(Event::Own(Own::Note(Box::new(note))));
        }
        let own = match shown.act {
            None => return,
            Some(Act::Name(name)) => Own::Answer(name),
            Some(Act::Secret) => Own::Secret,
            Some(Act::AsksAgain) => {
                tracing::warn!(target = self.name, "a target asks again after the gate logged in by telnet");
                Own::Say(texts::line(&format!("{} {ASKS_AGAIN}", self.name)))
            }
        };
        download.push(Event::Own(own));
    }

    fn holds_for(&self) -> Option<Duration> {
        self.talk().as_ref().and_then(|talk| talk.attempt.holds_for())
    }

    fn let_go(&self) -> Vec<u8> {
        self.talk().as_mut().map(|talk| talk.attempt.let_go()).unwrap_or_default()
    }

    /// What becomes of what the technician typed.
    pub(crate) fn typed(&self, bytes: &[u8]) -> Typed {
        match &mut *self.talk() {
            Some(talk) => talk.attempt.typed(bytes, Instant::now()),
            None => Typed::Passes,
        }
    }

    /// The secret, to be sent now, where that is still due.
    pub(crate) fn take_secret(&self) -> Option<Zeroizing<Vec<u8>>> {
        let secret = self.talk().as_mut().and_then(|talk| talk.attempt.take_secret(Instant::now()))?;
        self.joined.get().into_iter().for_each(|(_, leg)| leg.hide(true));
        Some(secret)
    }

    /// Sends what was typed; it is in the kernel's hands when this returns. Waits for ever where nothing can be sent.
    pub(crate) async fn send(&self, typed: &[u8]) {
        self.joined.get().into_iter().for_each(|(slot, _)| slot.note_input());
        let wire = self.encoded(typed);
        self.send_wire(None, &wire).await;
    }

    /// Sends a secret; as [`Line::send`], and who reads along sees nothing of it.
    pub(crate) async fn send_hidden(&self, secret: &[u8]) {
        let wire = Zeroizing::new(self.encoded(secret));
        self.send_wire(Self::HIDDEN, &wire).await;
    }

    fn encoded(&self, typed: &[u8]) -> Vec<u8> {
        self.talk().as_ref().map(|talk| talk.codec.encode(typed)).unwrap_or_default()
    }

    async fn send_wire(&self, stream: Option<u32>, wire: &[u8]) {
        self.out.push_data(stream, wire);
        self.out.room_below(1).await;
    }

    /// Does what was asked for on the channel, as far as telnet has it.
    pub(crate) async fn request(&self, request: Request) {
        match request {
            Request::Pty { term, size, .. } => *self.terminal() = Terminal { term, size },
            Request::Shell => self.begin(),
            Request::WindowChange(size) => {
                self.terminal().size = size;
                let told = self.talk().as_mut().map(|talk| talk.codec.resize(size)).unwrap_or_default();
                self.send_wire(None, &told).await;
            }
            Request::Signal(Sig::INT) => self.send_wire(None, &Codec::interrupt()).await,
            Request::Signal(Sig::QUIT) => self.send_wire(None, &Codec::brk()).await,
            Request::Env { .. } | Request::Signal(_) | Request::Exec(_) | Request::Subsystem(_) => {}
        }
    }

    fn begin(&self) {
        let Terminal { term, size } = &*self.terminal();
        let attempt = Attempt::new(Arc::clone(&self.login), Instant::now());
        *self.talk() = Some(Talk { codec: Codec::new(term, *size), attempt, has_shown: false });
        self.begun.cancel();
    }

    /// Says that no more will come.
    pub(crate) fn close(&self) {
        self.out.end();
        self.joined.get().into_iter().for_each(|(_, leg)| leg.finish());
    }

    fn terminal(&self) -> MutexGuard<'_, Terminal> {
        lock(&self.terminal)
    }

    fn talk(&self) -> MutexGuard<'_, Option<Talk>> {
        lock(&self.talk)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({})", self.name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No change under these locks can stop halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::{Pin, pin};
    use std::sync::mpsc;
    use std::task::{Context, Poll, Wake, Waker};

    use approver::testing::Leased;
    use bytes::Bytes;
    use futures::poll;
    use policies::plant::Prompts;
    use recordings::fault::StoreFault;
    use recordings::frame::Stream;
    use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    use super::*;
    use crate::floor::Floor;
    use crate::flow::GatedStream;
    use crate::relay::{self, Recorder};
    use crate::sittings::Outlet;
    use crate::ssh::channel::{End, Judge, Terms, VendorEnd, Verdict, carry};
    use crate::websocket::PIECE_BYTES;

    async fn channel_to(listener: &TcpListener) -> (Leased, TargetChannel, Arc<Legs>) {
        let leased = Leased::to(&listener.local_addr().unwrap().to_string()).await;
        let floor = Floor::new(leased.stage.desk.clock().clone());
        let reach = Reach::new(&leased.lease, &floor, None, None, Duration::from_secs(5));
        let exchange = Exchange::new(reach, Arc::new(Login::new(None, None, Prompts::default())));
        let (channel, legs) = (exchange.open(), Arc::clone(exchange.legs()));
        (leased, channel, legs)
    }

    /// Holds whoever wakes it until it is let go.
    struct Holding(Mutex<mpsc::Receiver<()>>);

    impl Wake for Holding {
        fn wake(self: Arc<Self>) {
            assert!(lock(&self.0).recv().is_err(), "nothing is sent, and then nobody can");
        }
    }

    #[tokio::test]
    async fn a_connection_that_ends_while_the_cut_is_still_at_the_next_one_was_cut_and_did_not_break() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_leased, channel, legs) = channel_to(&listener).await;
        let TargetWrite::Telnet(line) = &channel.write else { panic!("it speaks telnet") };
        line.request(Request::Shell).await;
        let attending = line.attend(&channel.download);
        tokio::pin!(attending);
        let shows = async {
            let (mut target, _) = listener.accept().await.unwrap();
            target.write_all(b"#").await.unwrap();
            assert!(matches!(channel.download.pop().await, Some(Event::Data { .. })));
            target
        };
        let _target = tokio::select! {
            () = &mut attending => unreachable!("it never completes"),
            target = shows => target,
        };
        let (_lease, second) = legs.one_more().unwrap();
        let (near, _far) = tokio::io::duplex(16);
        let mut stream = GatedStream::vendor(near, second);
        // The cut stays at the second connection until it is let go; at the latest when this ends.
        let (let_go, held) = mpsc::channel();
        let holding = Waker::from(Arc::new(Holding(Mutex::new(held))));
        let mut room = [0; 1];
        let reading = Pin::new(&mut stream).poll_read(&mut Context::from_waker(&holding), &mut ReadBuf::new(&mut room));
        assert!(matches!(reading, Poll::Pending));
        let cutting = std::thread::spawn(move || legs.cut());
        tokio::select! {
            () = &mut attending => unreachable!("it never completes"),
            ended = channel.download.finished() => ended.unwrap(),
        }
        assert!(channel.valve.is_cut(), "it is told that the connection broke");
        assert!(channel.download.pop().await.is_none(), "and no other reason");
        drop(let_go);
        cutting.join().unwrap();
    }

    /// Ends the connection while what it sent becomes durable, where it is given one.
    #[derive(Clone)]
    struct CutMeanwhile(Option<(Arc<Valve>, Arc<Queue>)>);

    impl Recorder for CutMeanwhile {
        type Line = Self;

        fn line(&self, _: Stream, _: u32) -> Self {
            self.clone()
        }

        fn note(&self, _: u32, _: &Note) -> impl Future<Output = Result<(), StoreFault>> + Send + use<> {
            std::future::ready(Ok(()))
        }
    }

    impl relay::Line for CutMeanwhile {
        fn submit(&self, _: Bytes) -> Result<u64, StoreFault> {
            Ok(1)
        }

        fn poll_durable(&self, _: &mut Context<'_>, _: u64) -> Poll<Result<(), StoreFault>> {
            if let Some((valve, download)) = &self.0 {
                valve.cut();
                download.end();
            }
            Poll::Ready(Ok(()))
        }
    }

    struct Everything;

    impl Judge for Everything {
        fn judge(&self, _: &Request) -> Verdict {
            Verdict::allow()
        }

        fn waits(&self) -> String {
            String::new()
        }
    }

    #[tokio::test]
    async fn a_channel_whose_connection_is_cut_after_it_looked_for_a_cut_does_not_say_that_it_broke() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_leased, channel, _legs) = channel_to(&listener).await;
        let recorder = CutMeanwhile(Some((Arc::clone(&channel.valve), Arc::clone(&channel.download))));
        channel.download.push_data(None, b"#");
        let (outlet, _shown) = Outlet::new(1 << 10);
        let upload = Queue::new(Brake::Writer, Arc::new(Valve::default()));
        let vendor = VendorEnd::in_browser(outlet, "192.0.2.7:50000".parse().unwrap(), upload);
        let (_thawed, frozen) = watch::channel(false);
        let terms = Terms { recorder: &recorder, number: 1, judge: &Everything, frozen, checks: None };
        assert_eq!(carry(vendor, channel, terms).await.end, Ok(End::Cut));
    }

    #[tokio::test]
    async fn a_channel_whose_connection_broke_while_nobody_reads_what_came_is_cut_all_the_same() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_leased, channel, _legs) = channel_to(&listener).await;
        let (valve, download) = (Arc::clone(&channel.valve), Arc::clone(&channel.download));
        download.push_data(None, &[b'#'; 2 * PIECE_BYTES]);
        // A page that draws nothing.
        let (outlet, _shown) = Outlet::new(1);
        let upload = Queue::new(Brake::Writer, Arc::new(Valve::default()));
        let vendor = VendorEnd::in_browser(outlet, "192.0.2.7:50000".parse().unwrap(), Arc::clone(&upload));
        let (_thawed, frozen) = watch::channel(false);
        let recorder = CutMeanwhile(None);
        let terms = Terms { recorder: &recorder, number: 1, judge: &Everything, frozen, checks: None };
        let mut carrying = pin!(carry(vendor, channel, terms));
        assert!(poll!(&mut carrying).is_pending());
        download.end();
        assert!(poll!(&mut carrying).is_pending(), "that it broke is told behind what came");
        valve.cut();
        assert!(poll!(&mut carrying).is_pending(), "whoever cuts says why on it");
        upload.end();
        assert_eq!(carrying.await.end, Ok(End::Cut));
    }

    #[tokio::test]
    async fn a_cut_ends_a_channel_whose_target_had_closed_while_nobody_reads_what_came() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_leased, channel, legs) = channel_to(&listener).await;
        let TargetWrite::Telnet(line) = &channel.write else { panic!("it speaks telnet") };
        line.request(Request::Shell).await;
        let mut attending = pin!(line.attend(&channel.download));
        let closes = async {
            let (mut target, _) = listener.accept().await.unwrap();
            target.write_all(b"#").await.unwrap();
            drop(target);
            let told =
                |events: &VecDeque<Event>| events.iter().any(|event| matches!(event, Event::Close)).then_some(());
            channel.download.look(told).await.expect("it is told");
        };
        tokio::select! {
            () = &mut attending => unreachable!("it never completes"),
            () = closes => {}
        }
        assert!(!channel.valve.is_cut() && !channel.download.is_ended());
        legs.cut();
        assert!(poll!(&mut attending).is_pending());
        assert!(channel.valve.is_cut() && channel.download.is_ended());
    }
}

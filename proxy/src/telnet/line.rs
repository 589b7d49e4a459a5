//! One telnet connection to a target, as a channel is carried over it, and those of one session. What the target sends becomes
//! the events of a channel's target, what the gate logs in with among them in its place; nothing is recorded here.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
use crate::ssh::channel::TargetWrite;
use crate::ssh::target::TargetChannel;
use crate::tcp::{NotReached, Reach, Slot};

/// The connections of one session to a target that speaks telnet: one for each terminal.
pub(crate) struct Exchange {
    reach: Reach,
    login: Arc<Login>,
    /// Connected ahead of the first terminal.
    ahead: Mutex<Option<(Slot, Leg)>>,
}

impl Exchange {
    /// No connections yet.
    pub(crate) const fn new(reach: Reach, login: Arc<Login>) -> Self {
        Self { reach, login, ahead: Mutex::new(None) }
    }

    /// What all of its connections stand on.
    pub(crate) const fn legs(&self) -> &Arc<Legs> {
        self.reach.legs()
    }

    /// Connects ahead of the first terminal, so that a target that is down is told at admission. Nothing is read or written.
    pub(crate) async fn warm(&self) -> Result<(), NotReached> {
        let connected = self.connect().await?;
        *lock(&self.ahead) = Some(connected);
        Ok(())
    }

    async fn connect(&self) -> Result<(Slot, Leg), NotReached> {
        let (slot, leg) = self.reach.connect().await?;
        leg.keep_urgent_in_line();
        Ok((slot, leg))
    }

    /// A connection for one terminal.
    pub(crate) async fn open(&self) -> Result<TargetChannel, NotReached> {
        let ahead = lock(&self.ahead).take();
        let (slot, leg) = match ahead {
            Some(connected) => connected,
            None => self.connect().await?,
        };
        let (valve, name) = (Arc::clone(leg.valve()), self.reach.target().to_string());
        let line = Line {
            name: name.clone(),
            leg,
            slot,
            legs: Arc::clone(self.legs()),
            out: Queue::new(Brake::Writer, Arc::new(Valve::default())),
            login: Arc::clone(&self.login),
            terminal: Mutex::default(),
            talk: Mutex::new(None),
            begun: CancellationToken::new(),
        };
        // `Line::attend` asks for room itself.
        let download = Queue::new(Brake::Writer, Arc::new(Valve::default()));
        Ok(TargetChannel { write: TargetWrite::Telnet(Box::new(line)), download, valve, name })
    }

    /// Takes leave of the target, as a session that ends in peace does.
    pub(crate) fn close(&self) {
        drop(lock(&self.ahead).take());
        self.legs().hang_up();
    }
}

/// One connection. Nothing is read or written before its shell is asked for: then the terminal is known.
pub struct Line {
    name: String,
    leg: Leg,
    slot: Slot,
    legs: Arc<Legs>,
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
}

/// Behind a target's name.
const ASKS_AGAIN: &str = "asks again, so it does not take what the gate logs in with. Whoever administers the plant must renew \
                          it; until then log in yourself, or leave.";

/// How a connection ended by itself.
enum Over {
    /// The target closed it, which is how a telnet session ends.
    Closed,
    /// It broke, or was cut.
    Broken,
    /// It gave its place at the target up.
    Released,
}

impl Line {
    /// Marks bytes on their way out that whoever reads along must not see.
    const HIDDEN: Option<u32> = Some(1);
    const READ_BYTES: usize = 16 << 10;
    /// Said when it gives its place up.
    const RELEASED: &str = "This connection gave its place at the target up.";
    /// What a shell ends with where nobody says: telnet knows no status.
    const ENDED: u32 = 0;
    const REFUSED: u32 = 1;

    /// Reads and writes until the connection is over, and tells `download` everything. Never completes: dropped, it stops.
    pub(crate) async fn attend(&self, download: &Queue) {
        self.begun.cancelled().await;
        let over = tokio::select! {
            biased;
            () = self.legs.over() => Over::Broken,
            () = self.slot.released() => Over::Released,
            over = self.write_out() => over,
            over = self.read_in(download) => over,
        };
        match over {
            Over::Closed => self.end(download, Self::ENDED),
            Over::Released => {
                download.push(Event::Own(Own::Say(texts::line(Self::RELEASED))));
                self.end(download, Self::REFUSED);
            }
            Over::Broken => download.end(),
        }
        std::future::pending::<()>().await;
    }

    fn end(&self, download: &Queue, status: u32) {
        tracing::debug!(target = self.name, status, "a telnet connection ended");
        download.push(Event::Eof);
        download.push(Event::ExitStatus(status));
        download.push(Event::Close);
    }

    /// The one place where bytes enter the socket, so that nothing stands within anything else.
    async fn write_out(&self) -> Over {
        while let Some(event) = self.out.pop().await {
            let Event::Data { stream, bytes } = event else { continue };
            let written = match stream {
                None => self.leg.write(&bytes).await,
                Some(_) => self.leg.write_hidden(&bytes).await,
            };
            if written.is_err() {
                return Over::Broken;
            }
            self.out.forwarded(bytes.len());
        }
        std::future::pending().await
    }

    async fn read_in(&self, download: &Queue) -> Over {
        let mut wire = BytesMut::new();
        loop {
            // A target that never stops must leave a turn to the channel's other directions, and to other channels.
            tokio::task::yield_now().await;
            // The target's socket is not read while its output waits for the technician.
            download.room_below(HIGH_BYTES).await;
            wire.clear();
            wire.reserve(Self::READ_BYTES);
            let read = match self.holds_for() {
                None => self.leg.read(&mut wire).await,
                Some(patience) => match tokio::time::timeout(patience, self.leg.read(&mut wire)).await {
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
                Ok(_) => self.take(&wire, download),
                Err(error) => {
                    tracing::debug!(target = self.name, %error, "a telnet connection broke");
                    return Over::Broken;
                }
            }
        }
    }

    fn take(&self, wire: &[u8], download: &Queue) {
        let now = Instant::now();
        let mut talk = self.talk();
        let Some(Talk { codec, attempt }) = &mut *talk else { return };
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
        let shown = attempt.shown(&data, now);
        self.leg.hide(attempt.masks());
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
        self.leg.hide(true);
        Some(secret)
    }

    /// Sends what was typed; it is in the kernel's hands when this returns. Waits for ever where nothing can be sent.
    pub(crate) async fn send(&self, typed: &[u8]) {
        self.slot.note_input();
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
        *self.talk() = Some(Talk { codec: Codec::new(term, *size), attempt });
        self.begun.cancel();
    }

    /// Says that no more will come.
    pub(crate) fn close(&self) {
        self.out.end();
        self.leg.finish();
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

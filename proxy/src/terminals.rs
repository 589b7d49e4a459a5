//! Terminals on pages of ours: a WebSocket as the technician's end of a channel. Binary messages are the terminal's bytes, text
//! messages what page and gate say beside them. Who comes was proved before; what passes is carried as a shell by SSH is.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use approver::carrier::{Sitting, Terminals};
use approver::desk::Desk;
use approver::floor::Shown;
use approver::gate::Gate;
use approver::lease::Ask;
use approver::mint;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use policies::events::Ending;
use policies::ids::{SessionId, TargetName};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

use crate::files::judge::{Asked, wants};
use crate::floor::Telling;
use crate::flow::{Brake, Event, Queue, Request, Valve, WindowSize};
use crate::lanes::Lanes;
use crate::session::{Hold, Session, Sessions, VendorChannel, VendorLine, Who, texts};
use crate::ssh::channel::VendorEnd;
use crate::websocket::{self, PIECE_BYTES, Socket, UPGRADE_MAX, message};

/// What terminals are opened from.
pub(crate) struct TerminalParts {
    /// What opens sessions.
    pub(crate) sessions: Sessions,
    /// Who decides.
    pub(crate) desk: Desk,
    /// How technicians reach the gate.
    pub(crate) gate: Gate,
    /// Where connections run.
    pub(crate) lanes: Lanes,
}

/// Opens terminals on pages.
pub(crate) struct BrowserTerminals(Arc<TerminalParts>);

/// What the gate says beside the terminal's bytes, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum ToPage {
    /// What is typed from now on reaches the target.
    Opened { session: SessionId },
    /// A line of the gate's, which stands on the terminal too; here no target can have written it.
    Told { words: String },
    /// Nothing follows: why, and what to do next.
    Over { words: String },
}

/// What the page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FromPage {
    /// So large is the terminal now. The first of them asks for the shell.
    Size { columns: u32, rows: u32 },
    /// So many more bytes are drawn.
    Drawn { bytes: usize },
}

/// What the browser may have that it has not drawn: some screens, and nothing to wait for on a line that is not slow. So a target
/// that prints for ever is held at its own socket, and Ctrl-C is not behind megabytes.
const UNDRAWN_BYTES_MAX: usize = 256 << 10;
/// What was typed or pasted and waits for the target: nobody types that, and a browser cannot be asked to wait.
const TYPED_BYTES_MAX: usize = 1 << 20;
/// Cells: the largest screens there are, in the smallest script.
const SIDE_MAX: u32 = 1_000;
/// What waits to be sent: pieces on their way, and lines.
const OUTGOING_MAX: usize = 4;
const LINES_MAX: usize = 16;
/// A ping is answered by the browser itself, so whoever is gone is noticed as a lost SSH connection is.
const SILENT_MAX: Duration = Duration::from_secs(60);
/// For a session that is over to be sealed; for the last words to be taken behind what is under way on a slow line; and for the
/// connection's end.
const SEALED_WITHIN: Duration = Duration::from_secs(20);
const FAREWELL_MAX: Duration = Duration::from_secs(10);
const SHUT_MAX: Duration = Duration::from_secs(1);

impl BrowserTerminals {
    pub(crate) fn new(parts: TerminalParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Terminals for BrowserTerminals {
    fn open(&self, upgrade: OnUpgrade, sitting: Result<Sitting, String>) {
        let parts = Arc::clone(&self.0);
        self.0.lanes.carry(move || async move {
            let Ok(Ok(upgraded)) = timeout(UPGRADE_MAX, upgrade).await else {
                tracing::debug!("a technician was gone before their terminal was open");
                return;
            };
            let mut socket = websocket::open(TokioIo::new(upgraded), Role::Server).await;
            let over = match sitting {
                Ok(sitting) => Box::pin(sit(&parts, sitting, &mut socket)).await,
                Err(words) => Some(words),
            };
            take_leave(socket, over).await;
        });
    }
}

/// A terminal from its first moment to its last; gives the last words, where somebody is there to read them.
async fn sit(parts: &TerminalParts, sitting: Sitting, socket: &mut Socket) -> Option<String> {
    let Sitting { who, grant, target, service, from, signed_out } = sitting;
    let (told, tellings) = mpsc::channel(LINES_MAX);
    let line = VendorLine { gate: parts.gate.clone(), hold: Hold::Channels { told }, is_page: true };
    let session = mint::session(parts.desk.clock().wall());
    let ask = Ask { target, service: Some(service), wants: wants(Asked::Shell), grant: Some(grant), session };
    let who = Who { login: who.person().to_string(), proof: who };
    let (person, target) = (who.proof.person(), ask.target.clone());
    let session = match parts.sessions.open(who, ask, line).await {
        Ok(session) => session,
        Err(not_opened) => {
            tracing::info!(%person, %target, "no session: {not_opened}");
            return Some(format!("{not_opened}."));
        }
    };
    if socket.send(message(&ToPage::Opened { session: session.id() })).await.is_err() {
        return None;
    }
    carry(session, socket, (tellings, from, signed_out)).await
}

/// What ends a terminal.
enum End {
    /// The technician closed the page, or is gone.
    Left,
    /// The channel is closed: by the program at the target, or with the session.
    Closed,
    /// For this, which they are told.
    Because(&'static str),
}

const SIGNED_OUT: &str =
    "You are signed out, so the terminal was closed. Sign in, and open it again on the page of your grant.";
const TOO_MUCH: &str = "More was typed than the machine takes, so the terminal was closed. Bring large files by sftp.";
const ODD: &str = "The page said what means nothing here. Load it again.";

async fn carry(
    session: Session,
    socket: &mut Socket,
    (tellings, from, signed_out): (mpsc::Receiver<Telling>, SocketAddr, BoxFuture<'static, ()>),
) -> Option<String> {
    let (outlet, outgoing) = Outlet::new();
    let upload = Queue::new(Brake::Writer, Arc::new(Valve::default()));
    let end = VendorEnd::in_browser(outlet.clone(), from, Arc::clone(&upload));
    if session.channel(VendorChannel::Typed(end)).is_err() {
        return session.over_in_words();
    }
    let heard = Heard::default();
    let (send, receive) = socket.split();
    let mut inward = Inward { receive, upload: &upload, credit: &outlet.0.credit, asked: false };
    let mut outward = Outward { send, outgoing, tellings, heard: &heard };
    let ended = session.ended();
    let end = tokio::select! {
        biased;
        _ = ended => End::Closed,
        () = signed_out => End::Because(SIGNED_OUT),
        end = inward.run(&heard) => end,
        end = outward.run() => end,
    };
    // From here on nothing is sent, so the channel ends.
    drop((inward, outward));
    if matches!(end, End::Because(_)) {
        outlet.dismiss();
    }
    upload.end();
    last_words(end, session, &outlet).await
}

/// Why the terminal is closed, once its session has ended.
async fn last_words(end: End, session: Session, outlet: &Outlet) -> Option<String> {
    let (ended, farewell) = (session.ended(), session.farewell());
    let target = session.target().clone();
    drop(session);
    match end {
        End::Left => None,
        End::Because(words) => Some(words.to_owned()),
        End::Closed => match timeout(SEALED_WITHIN, ended).await {
            Ok(Ending::Left) => Some(outlet.end_in_words(&target)),
            Ok(_) => Some(farewell.await),
            Err(_) => Some("The session is over.".to_owned()),
        },
    }
}

/// When something last came from the browser.
struct Heard(Mutex<Instant>);

impl Default for Heard {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Heard {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silent_for(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// From the page.
struct Inward<'a> {
    receive: SplitStream<&'a mut Socket>,
    upload: &'a Queue,
    credit: &'a Credit,
    /// The shell was asked for.
    asked: bool,
}

impl Inward<'_> {
    async fn run(&mut self, heard: &Heard) -> End {
        while let Some(Ok(message)) = self.receive.next().await {
            heard.note();
            match message {
                Message::Binary(bytes) => self.upload.push_data(None, &bytes),
                Message::Text(text) => match serde_json::from_str(&text) {
                    Ok(FromPage::Size { columns, rows }) => self.sized(columns, rows),
                    Ok(FromPage::Drawn { bytes }) => self.credit.give(bytes),
                    Err(_) => return End::Because(ODD),
                },
                Message::Close(_) => return End::Left,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
            if self.upload.held_bytes() > TYPED_BYTES_MAX {
                return End::Because(TOO_MUCH);
            }
        }
        End::Left
    }

    fn sized(&mut self, columns: u32, rows: u32) {
        let side = |cells: u32| cells.clamp(1, SIDE_MAX);
        let size = WindowSize { columns: side(columns), rows: side(rows), width_pixels: 0, height_pixels: 0 };
        if std::mem::replace(&mut self.asked, true) {
            return self.upload.push(Event::Request(Request::WindowChange(size)));
        }
        let term = "xterm-256color".to_owned();
        self.upload.push(Event::Request(Request::Pty { term, size, modes: Vec::new() }));
        self.upload.push(Event::Request(Request::Shell));
    }
}

/// To the page.
struct Outward<'a> {
    send: SplitSink<&'a mut Socket, Message>,
    outgoing: Outgoing,
    tellings: mpsc::Receiver<Telling>,
    heard: &'a Heard,
}

impl Outward<'_> {
    async fn run(&mut self) -> End {
        let mut pings = websocket::pings();
        let closed = self.outgoing.closed.clone();
        loop {
            let mut wanted = None;
            let next = tokio::select! {
                biased;
                Some(line) = self.outgoing.lines.recv() => match line {
                    Line::Drawn(bytes) => Message::Binary(bytes),
                    Line::Beside(words) => message(&ToPage::Told { words }),
                },
                Some(telling) = self.tellings.recv() => {
                    wanted = telling.wanted;
                    message(&ToPage::Told { words: telling.text })
                }
                Some(bytes) = self.outgoing.pieces.recv() => Message::Binary(bytes),
                () = closed.cancelled() => return End::Closed,
                _ = pings.tick() => match self.heard.silent_for() > SILENT_MAX {
                    true => return End::Left,
                    false => Message::Ping(Bytes::new()),
                },
            };
            // A browser that takes nothing is waited for no longer than one that is gone.
            let Ok(Ok(())) = timeout(SILENT_MAX, self.send.send(next)).await else { return End::Left };
            Telling::shown(wanted, Shown::OnTerminals(1));
        }
    }
}

/// A terminal on a page, for whoever writes to it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outlet(Arc<ToTerminal>);

struct ToTerminal {
    pieces: mpsc::Sender<Bytes>,
    lines: mpsc::Sender<Line>,
    credit: Credit,
    /// Nothing is shown any more. Told beside what is shown, so that no line is too slow for it.
    closed: CancellationToken,
    /// What was typed and waits goes nowhere.
    dismissed: AtomicBool,
    last: Mutex<Last>,
}

/// What the gate says, past all that is shown.
enum Line {
    /// On the terminal.
    Drawn(Bytes),
    /// Beside it.
    Beside(String),
}

/// For the last words.
#[derive(Default)]
struct Last {
    /// What the gate told on this channel last.
    told: Option<String>,
    end: Option<ShellEnd>,
}

/// How what was to run in a terminal ended.
#[derive(Debug, Clone)]
pub(crate) enum ShellEnd {
    /// With this status.
    Status(u32),
    /// By this signal.
    Signal(String),
    /// The gate ended it, or let none begin, and told why.
    ByGate,
}

/// What comes out of an [`Outlet`].
struct Outgoing {
    pieces: mpsc::Receiver<Bytes>,
    lines: mpsc::Receiver<Line>,
    closed: CancellationToken,
}

impl Outlet {
    fn new() -> (Self, Outgoing) {
        let ((pieces, shown), (lines, said)) = (mpsc::channel(OUTGOING_MAX), mpsc::channel(LINES_MAX));
        let closed = CancellationToken::new();
        let outgoing = Outgoing { pieces: shown, lines: said, closed: closed.clone() };
        let (credit, dismissed, last) = (Credit::default(), AtomicBool::new(false), Mutex::default());
        (Self(Arc::new(ToTerminal { pieces, lines, credit, closed, dismissed, last })), outgoing)
    }

    /// Shows bytes, once the browser has drawn enough of what came before.
    pub(crate) async fn shown(&self, mut bytes: Bytes) -> Result<(), russh::Error> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
            self.room().await;
            self.0.credit.owe(piece.len());
            self.0.pieces.send(piece).await.map_err(|_| russh::Error::SendError)?;
        }
        Ok(())
    }

    /// Waits until enough of what was shown is drawn, or nobody is there to draw it. For the one task that shows.
    async fn room(&self) {
        while self.0.credit.is_spent() {
            tokio::select! {
                () = self.0.credit.news.notified() => {}
                () = self.0.pieces.closed() => return,
            }
        }
    }

    /// Shows a line now, whatever waits.
    pub(crate) async fn said(&self, line: Bytes) -> Result<(), russh::Error> {
        self.0.credit.owe(line.len());
        self.line(Line::Drawn(line)).await
    }

    /// Says lines of the gate's beside the terminal, where no target can have written them.
    pub(crate) async fn told(&self, lines: &[u8]) -> Result<(), russh::Error> {
        for words in texts::words_of(&String::from_utf8_lossy(lines)) {
            self.last().told = Some(words.to_owned());
            self.line(Line::Beside(words.to_owned())).await?;
        }
        Ok(())
    }

    async fn line(&self, line: Line) -> Result<(), russh::Error> {
        self.0.lines.send(line).await.map_err(|_| russh::Error::SendError)
    }

    /// How what was to run here ended, for the last words.
    pub(crate) fn note_end(&self, end: ShellEnd) {
        self.last().end.get_or_insert(end);
    }

    fn end_in_words(&self, target: &TargetName) -> String {
        let last = self.last();
        match (&last.end, &last.told) {
            (Some(ShellEnd::Status(0)), _) => format!("The shell at {target} ended, and your session with it."),
            (Some(ShellEnd::Status(status)), _) => {
                format!("The shell at {target} ended with status {status}, and your session with it.")
            }
            (Some(ShellEnd::Signal(signal)), _) => {
                format!("The shell at {target} was ended by signal {signal}, and your session with it.")
            }
            (Some(ShellEnd::ByGate), Some(told)) => {
                format!("{}. Your session ended with it.", told.trim_end_matches('.'))
            }
            (Some(ShellEnd::ByGate) | None, _) => {
                format!("The terminal of {target} was closed, and your session with it.")
            }
        }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was typed and has not gone to the target yet is thrown away.
    fn dismiss(&self) {
        self.0.dismissed.store(true, Ordering::Release);
    }

    /// Whether that is so.
    pub(crate) fn is_dismissed(&self) -> bool {
        self.0.dismissed.load(Ordering::Acquire)
    }

    /// Closes the terminal behind what was shown. Waits for nobody.
    pub(crate) fn close(&self) {
        self.0.closed.cancel();
    }
}

/// How much the browser has that it has not said to have drawn.
#[derive(Default)]
struct Credit {
    undrawn: AtomicUsize,
    news: Notify,
}

impl Credit {
    fn is_spent(&self) -> bool {
        self.undrawn.load(Ordering::Acquire) >= UNDRAWN_BYTES_MAX
    }

    fn owe(&self, bytes: usize) {
        self.undrawn.fetch_add(bytes, Ordering::AcqRel);
    }

    /// The page's word is taken for no more than it was given.
    fn give(&self, bytes: usize) {
        let less = |undrawn: usize| Some(undrawn.saturating_sub(bytes));
        self.undrawn.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).expect("it always gives a value");
        self.news.notify_one();
    }
}

/// Says the last words, and closes. Whoever still sends is read on, and learns that nothing follows before the connection is dropped:
/// bytes that nobody reads would take the last words along.
async fn take_leave(mut socket: Socket, words: Option<String>) {
    let leaving = async {
        if let Some(words) = words {
            socket.send(message(&ToPage::Over { words })).await?;
        }
        socket.close(None).await?;
        while socket.next().await.transpose()?.is_some() {}
        Ok(())
    };
    websocket::leave(FAREWELL_MAX, leaving).await;
    if !matches!(timeout(SHUT_MAX, socket.get_mut().shutdown()).await, Ok(Ok(()))) {
        tracing::debug!("a browser was gone before its terminal's connection was shut");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn taken(outgoing: &mut Outgoing) -> usize {
        let mut taken = 0;
        while let Ok(Some(bytes)) = timeout(Duration::from_secs(1), outgoing.pieces.recv()).await {
            taken += bytes.len();
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_drawn_holds_what_follows_but_no_line_of_the_gate() {
        let (outlet, mut outgoing) = Outlet::new();
        let target = outlet.clone();
        let printing = tokio::spawn(async move { target.shown(vec![b'y'; 1 << 20].into()).await });
        assert_eq!(taken(&mut outgoing).await, UNDRAWN_BYTES_MAX);
        outlet.said(Bytes::from_static(b"cut")).await.unwrap();
        assert!(matches!(outgoing.lines.recv().await.unwrap(), Line::Drawn(line) if line == "cut"));
        // A page that says to have drawn more than there was gets no more than the others.
        outlet.0.credit.give(usize::MAX);
        assert_eq!(taken(&mut outgoing).await, UNDRAWN_BYTES_MAX);
        // Whoever waits for a page that is gone is told.
        drop(outgoing);
        assert!(printing.await.unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_waits_for_no_page_and_comes_behind_what_was_shown() {
        let (outlet, outgoing) = Outlet::new();
        outlet.shown(vec![b'y'; OUTGOING_MAX * PIECE_BYTES].into()).await.unwrap();
        outlet.told(b"\r\n[holdpoint] Your input goes on.\r\nholdpoint: shell was refused\r\n").await.unwrap();
        outlet.note_end(ShellEnd::ByGate);
        outlet.close();
        // Nothing was taken until now.
        let (near, far) = tokio::io::duplex(1 << 20);
        let (mut socket, mut page) =
            tokio::join!(websocket::open(near, Role::Server), websocket::open(far, Role::Client));
        let (told, tellings) = mpsc::channel(1);
        let (wanted, shown) = tokio::sync::oneshot::channel();
        told.send(Telling { text: "the crane moves".into(), wanted: Some(wanted) }).await.unwrap();
        let heard = Heard::default();
        let mut outward = Outward { send: (&mut socket).split().0, outgoing, tellings, heard: &heard };
        assert!(matches!(outward.run().await, End::Closed));
        assert_eq!(shown.await, Ok(Shown::OnTerminals(1)));
        drop(outward);
        drop(socket);
        let (mut words, mut bytes) = (Vec::new(), 0);
        while let Some(Ok(message)) = page.next().await {
            match message {
                Message::Text(text) => words.push(text.to_string()),
                message => bytes += message.len(),
            }
        }
        let told = |words: &str| format!(r#"{{"told":{{"words":"{words}"}}}}"#);
        assert_eq!(words, ["Your input goes on.", "shell was refused", "the crane moves"].map(told));
        assert_eq!(bytes, OUTGOING_MAX * PIECE_BYTES);
        let hmi = "hmi-2".parse().unwrap();
        assert_eq!(outlet.end_in_words(&hmi), "shell was refused. Your session ended with it.");
    }

    #[test]
    fn whoever_reads_why_a_terminal_is_closed_reads_how_its_shell_ended() {
        let said = |end| {
            let (outlet, _outgoing) = Outlet::new();
            outlet.note_end(end);
            outlet.end_in_words(&"hmi-2".parse().unwrap())
        };
        assert_eq!(said(ShellEnd::Status(0)), "The shell at hmi-2 ended, and your session with it.");
        assert_eq!(said(ShellEnd::Status(3)), "The shell at hmi-2 ended with status 3, and your session with it.");
        let signal = said(ShellEnd::Signal("KILL".into()));
        assert_eq!(signal, "The shell at hmi-2 was ended by signal KILL, and your session with it.");
    }

    #[tokio::test]
    async fn a_terminal_is_as_large_as_is_said_within_reason_and_asks_for_one_shell() {
        let (near, _far) = tokio::io::duplex(64);
        let mut socket = websocket::open(near, Role::Server).await;
        let upload = Queue::new(Brake::Writer, Arc::new(Valve::default()));
        let credit = Credit::default();
        let mut inward = Inward { receive: (&mut socket).split().1, upload: &upload, credit: &credit, asked: false };
        inward.sized(0, u32::MAX);
        inward.sized(80, 24);
        upload.end();
        let mut asked = Vec::new();
        while let Some(Event::Request(request)) = upload.pop().await {
            asked.push(format!("{request:?}"));
        }
        assert!(asked[0].contains("columns: 1, rows: 1000,") && asked[0].starts_with("Pty"), "{asked:?}");
        assert!(asked[1] == "Shell" && asked[2].contains("columns: 80, rows: 24,") && asked.len() == 3, "{asked:?}");
    }
}

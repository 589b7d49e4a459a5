//! `holdpoint watch`: a session as it runs, from the screen as it stands. What the gate sends goes into a screen of our
//! own, and only what that draws reaches this terminal; when watching ends, however it ends, the terminal is as before.
//! Where the rule demands an escort, whoever watches says by a key that they are there.

mod bar;

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Stdin};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use approver::api::types::{Escorting, HappenedLine, SessionView, VncScreen, WatchLine};
use approver::watching::{Lines, NotALine, Took, Watched};
use jiff::tz::TimeZone;
use policies::ids::SessionId;
use recordings::notes::Size;
use recordings::screen::{DEFAULT_SIZE, Painter, Screen};
use rustix::io::{ioctl_fionread, retry_on_intr};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use bar::{Bar, Wish};

use super::gate::{ProfileArg, at_gate};
use super::showing::plain;
use super::{Done, Failure, print_json};
use crate::client::{Client, Fault, Pieces};
use crate::saying;

/// Watch a session live. Ctrl-C leaves it; that you watched is in the journal. Where the rule demands an escort, SPACE
/// says that you are there, again and again: the last line tells how long it counts.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// As `sessions` lists it.
    #[arg(value_name = "SESSION")]
    session: SessionId,
    /// For machines: a line of JSON for each thing that happens. Bytes are base64, and as the technician's terminal gets
    /// them.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let session: SessionView = client.get(&format!("/api/v1/sessions/{}", args.session)).await?;
        if args.json {
            return watch(client, args.session, &mut Told, Keys::none()).await.map(drop);
        }
        let why = {
            let quiet = Quiet::begin();
            let page = format!("{}/sessions/{}", client.profile().origin, args.session);
            let mut view = View::new(client.timezone(), page);
            let keys = if quiet.reads_keys() && view.window.is_some() { Keys::of_terminal() } else { Keys::none() };
            let why = watch(client, args.session, &mut view, keys).await;
            saying::write(format_args!("{}", view.leave()));
            why?
        };
        let (who, target) = (plain(&session.technician.name), &session.target);
        say!("{} ({who} on {target}): {why}.", args.session);
        Ok(())
    })
}

/// What is done with what is seen.
trait Spectator {
    /// Takes a line; why it is over, if it is.
    fn take(&mut self, line: &WatchLine) -> Result<Option<String>, Failure>;

    /// This terminal has another size.
    fn begin_anew(&mut self) {}

    /// A key was pressed.
    fn press(&mut self, _: u8) -> Wish {
        Wish::Nothing
    }

    /// What the gate said to a wish.
    fn answer(&mut self, _: Result<(), Fault>) {}

    /// A second went by.
    fn tick(&mut self) {}
}

/// Tells each line on.
struct Told;

impl Spectator for Told {
    fn take(&mut self, line: &WatchLine) -> Result<Option<String>, Failure> {
        print_json(line)?;
        Ok(match line {
            WatchLine::Over { in_words } => Some(in_words.clone()),
            _ => None,
        })
    }
}

/// Shows the session until it is over or one leaves; why, in words.
async fn watch(
    client: &mut Client,
    session: SessionId,
    spectator: &mut impl Spectator,
    mut keys: Keys,
) -> Result<String, Failure> {
    let pieces = client.stream(&format!("/api/v1/sessions/{session}/watch")).await?;
    let mut telling = Telling { pieces, lines: Lines::default() };
    let heard = |kind| signal(kind).map_err(Failure::failed);
    let (mut interrupt, mut terminate) = (heard(SignalKind::interrupt())?, heard(SignalKind::terminate())?);
    let mut resized: Signal = heard(SignalKind::window_change())?;
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            line = telling.next() => match line? {
                Some(line) => match spectator.take(&line)? {
                    None => {}
                    Some(over) => return Ok(plain(&over)),
                },
                None => return Err(Failure::failed("the gate broke the connection off")),
            },
            _ = interrupt.recv() => return Ok("you watch no longer".to_owned()),
            _ = terminate.recv() => return Ok("you watch no longer".to_owned()),
            _ = resized.recv() => spectator.begin_anew(),
            _ = seconds.tick() => spectator.tick(),
            key = keys.next() => {
                let wish = spectator.press(key);
                if wish != Wish::Nothing {
                    spectator.answer(wished(client, session, wish).await);
                }
            }
        }
    }
}

/// Asks the gate for what a key meant.
async fn wished(client: &mut Client, session: SessionId, wish: Wish) -> Result<(), Fault> {
    if let Wish::SignIn(code) = &wish {
        client.sign_in(code).await?;
    }
    let _counts: Escorting = client.post(&format!("/api/v1/sessions/{session}/escort"), &()).await?;
    Ok(())
}

/// What the gate tells, line by line.
struct Telling {
    pieces: Pieces,
    lines: Lines,
}

impl Telling {
    /// The next line. May be dropped and called again.
    async fn next(&mut self) -> Result<Option<WatchLine>, Fault> {
        loop {
            if let Some(line) = self.lines.next_line()? {
                return Ok(Some(line));
            }
            match self.pieces.next().await? {
                Some(piece) => self.lines.push(&piece)?,
                None => return Ok(None),
            }
        }
    }
}

impl From<NotALine> for Fault {
    fn from(bad: NotALine) -> Self {
        Self::Odd(bad.to_string())
    }
}

/// The watched screen, or where there is no terminal what passes, and how much of it stands on this terminal; below it a line
/// of our own, while there is one.
struct View {
    watched: Watched,
    /// What passes, as a screen.
    passing: Screen,
    timezone: TimeZone,
    /// Where pictures are shown.
    page: String,
    painter: Painter,
    window: Option<Size>,
    bar: Bar,
    has_bar: bool,
}

impl View {
    fn new(timezone: TimeZone, page: String) -> Self {
        let window = window();
        let (watched, painter) = (Watched::default(), Painter::new(window));
        let passing = Screen::new(DEFAULT_SIZE);
        Self { watched, passing, timezone, page, painter, window, bar: Bar::default(), has_bar: false }
    }

    fn paint(&mut self) {
        self.paint_screen();
        self.draw_bar();
    }

    fn paint_screen(&mut self) {
        let screen = if self.watched.has_terminal() { self.watched.screen() } else { &self.passing };
        saying::write(format_args!("{}", self.painter.paint(screen)));
    }

    /// What passes, as much of it as the window has room for.
    fn list(&mut self) {
        let size = self.window.map_or(DEFAULT_SIZE, |window| self.room(window));
        let mut passing = Screen::new(size);
        for (number, line) in self.watched.happened().iter().enumerate() {
            let begins = if number == 0 { "" } else { "\r\n" };
            let colour = if line.refused { "\x1b[1;31m" } else { "" };
            passing.feed(format!("{begins}{colour}{}\x1b[0m", self.line(line)).as_bytes());
        }
        if let Some(screen) = self.watched.vnc() {
            let begins = if self.watched.happened().is_empty() { "" } else { "\r\n" };
            passing.feed(format!("{begins}\x1b[7m{}\x1b[0m", where_shown(screen, &self.page)).as_bytes());
        }
        self.passing = passing;
    }

    /// Beside a terminal there is room for the newest of what passes alone, for a while.
    fn pass_by(&mut self) {
        let newest = self.watched.happened().back();
        let Some(line) = newest.map(|line| self.line(line)) else { return };
        self.bar.passes(line, Instant::now());
        self.draw_bar();
    }

    fn line(&self, line: &HappenedLine) -> String {
        let at = line.at.to_zoned(self.timezone.clone()).strftime("%H:%M:%S").to_string();
        format!("{at} {}", plain(&line.words))
    }

    /// The line stands in the last row, which is the screen's again where there is nothing to say.
    fn draw_bar(&mut self) {
        let Some(window) = self.window else { return };
        let text = self.bar.text(Instant::now());
        if self.has_bar != text.is_some() {
            self.has_bar = text.is_some();
            self.painter = Painter::new(Some(self.room(window)));
            self.list();
            self.paint_screen();
        }
        let Some(text) = text else { return };
        let (row, bell) = (window.rows, if self.bar.rings(Instant::now()) { "\x07" } else { "" });
        let text: String = format!("[holdpoint] {text}").chars().take(window.columns as usize).collect();
        saying::write(format_args!("\x1b7\x1b[{row};1H\x1b[0;7m{text}\x1b[0m\x1b[K\x1b8{bell}"));
    }

    /// How much of the window is the session's.
    const fn room(&self, window: Size) -> Size {
        let below = if self.has_bar { 1 } else { 0 };
        Size { columns: window.columns, rows: if window.rows > 1 { window.rows - below } else { 1 } }
    }

    /// What to write at the end.
    fn leave(&self) -> String {
        let erased = match (self.window, self.has_bar) {
            (Some(window), true) => format!("\x1b[{};1H\x1b[K", window.rows),
            _ => String::new(),
        };
        format!("{erased}{}", self.painter.leave())
    }
}

impl Spectator for View {
    /// Works a line in and draws what changed.
    fn take(&mut self, line: &WatchLine) -> Result<Option<String>, Failure> {
        if let WatchLine::Standing { stopped, escort } = line {
            self.bar.take(stopped.as_deref(), escort.as_ref(), Instant::now());
            self.draw_bar();
        }
        match self.watched.take(line).map_err(Fault::from)? {
            Took::Nothing => {}
            Took::Drew => self.paint(),
            Took::Happened | Took::Vnc => {
                self.list();
                if self.watched.has_terminal() {
                    self.pass_by();
                } else {
                    self.paint();
                }
            }
            Took::Over(in_words) => return Ok(Some(in_words)),
        }
        Ok(None)
    }

    fn begin_anew(&mut self) {
        self.window = window();
        self.painter = Painter::new(self.window.map(|window| self.room(window)));
        self.list();
        self.paint();
    }

    fn press(&mut self, key: u8) -> Wish {
        let wish = self.bar.press(key);
        self.draw_bar();
        wish
    }

    fn answer(&mut self, answered: Result<(), Fault>) {
        match answered {
            Ok(()) => {}
            Err(Fault::NotSignedIn) => self.bar.wants_code(),
            Err(Fault::Problem(problem)) if problem.refusal == "not-signed-in" => self.bar.wants_code(),
            Err(fault) => self.bar.came_to_nothing(&format!("{fault}.")),
        }
        self.draw_bar();
    }

    fn tick(&mut self) {
        self.draw_bar();
    }
}

/// A picture cannot stand on a terminal.
fn where_shown(screen: &VncScreen, page: &str) -> String {
    match &screen.lost {
        Some(why) => format!("The picture of the screen was lost: {}. The session goes on.", plain(why)),
        None => format!("The screen, {} by {}, is to be watched on its page:\r\n{page}", screen.width, screen.height),
    }
}

/// The size of the terminal that is written to, if it is one.
pub(super) fn window() -> Option<Size> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    Some(Size { columns: size.ws_col.into(), rows: size.ws_row.into() })
}

/// What a spectator types does not show, and is read key by key; as it was again when dropped.
struct Quiet {
    was: Option<Termios>,
    reads_keys: bool,
}

impl Quiet {
    fn begin() -> Self {
        let input = io::stdin();
        let was = if input.is_terminal() { tcgetattr(input.as_fd()).ok() } else { None };
        let reads_keys = was.as_ref().is_some_and(|was| {
            let mut quiet = was.clone();
            quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
            quiet.special_codes[SpecialCodeIndex::VMIN] = 0;
            quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
            set(&quiet)
        });
        Self { was, reads_keys }
    }

    /// Whether a read of the terminal gives what was typed, and does not wait for it.
    const fn reads_keys(&self) -> bool {
        self.reads_keys
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(was) = &self.was {
            set(was);
        }
    }
}

/// A terminal that cannot be set is left as it is. Whether it was set.
fn set(modes: &Termios) -> bool {
    let set = tcsetattr(io::stdin().as_fd(), OptionalActions::Flush, modes);
    if let Err(error) = &set {
        tracing::debug!(%error, "the terminal keeps its modes");
    }
    set.is_ok()
}

/// How often is looked whether a key was pressed: nobody notices.
const KEYS_LOOKED_AT: Duration = Duration::from_millis(50);

/// The keys that are pressed on this terminal. What is no terminal presses none: to be there is a person's to say.
struct Keys {
    terminal: Option<Stdin>,
    pressed: VecDeque<u8>,
}

impl Keys {
    /// None ever.
    const fn none() -> Self {
        Self { terminal: None, pressed: VecDeque::new() }
    }

    /// Of a terminal that is [`Quiet`]. Nothing reads it but whoever waits for a key, and no read waits: one in a thread beside
    /// could be late, begin when the terminal is as before, and wait for a line that nobody types.
    fn of_terminal() -> Self {
        Self { terminal: Some(io::stdin()), pressed: VecDeque::new() }
    }

    /// The next key; never, where there is none. May be dropped and called again.
    async fn next(&mut self) -> u8 {
        loop {
            if let Some(key) = self.pressed.pop_front() {
                return key;
            }
            let Some(terminal) = &self.terminal else { return std::future::pending().await };
            match typed(terminal) {
                Ok(keys) if keys.is_empty() => tokio::time::sleep(KEYS_LOOKED_AT).await,
                Ok(keys) => self.pressed.extend(keys),
                // It is gone.
                Err(_) => self.terminal = None,
            }
        }
    }
}

/// What was typed, as far as it can be read at once: where something has given the terminal its lines back, whole ones.
fn typed(terminal: &Stdin) -> rustix::io::Result<Vec<u8>> {
    if ioctl_fionread(terminal)? == 0 {
        return Ok(Vec::new());
    }
    let mut keys = vec![0; 64];
    let read = retry_on_intr(|| rustix::io::read(terminal, &mut keys[..]))?;
    keys.truncate(read);
    Ok(keys)
}

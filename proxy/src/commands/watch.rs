//! `holdpoint watch`: a session as it runs, from the screen as it stands. What the gate sends goes into a screen of our
//! own, and only what that draws reaches this terminal; when watching ends, however it ends, the terminal is as before.

use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;

use approver::api::types::{SessionView, WatchLine};
use approver::watching::{Lines, NotALine, Took, Watched};
use policies::ids::SessionId;
use recordings::notes::Size;
use recordings::screen::Painter;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::gate::{ProfileArg, at_gate};
use super::showing::plain;
use super::{Done, Failure, print_json};
use crate::client::{Client, Fault, Pieces};
use crate::saying;

/// Watch a session live. Ctrl-C leaves it; that you watched is in the journal.
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
            return watch(client, args.session, &mut Told).await.map(drop);
        }
        let why = {
            let _quiet = Quiet::begin();
            let mut view = View::new();
            let why = watch(client, args.session, &mut view).await;
            saying::write(format_args!("{}", view.painter.leave()));
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
async fn watch(client: &mut Client, session: SessionId, spectator: &mut impl Spectator) -> Result<String, Failure> {
    let pieces = client.stream(&format!("/api/v1/sessions/{session}/watch")).await?;
    let mut telling = Telling { pieces, lines: Lines::default() };
    let heard = |kind| signal(kind).map_err(Failure::failed);
    let (mut interrupt, mut terminate) = (heard(SignalKind::interrupt())?, heard(SignalKind::terminate())?);
    let mut resized: Signal = heard(SignalKind::window_change())?;
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
        }
    }
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

/// The watched screen, and how much of it stands on this terminal.
struct View {
    watched: Watched,
    painter: Painter,
}

impl View {
    fn new() -> Self {
        Self { watched: Watched::default(), painter: Painter::new(window()) }
    }

    fn paint(&mut self) {
        let painted = self.painter.paint(self.watched.screen());
        saying::write(format_args!("{painted}"));
    }
}

impl Spectator for View {
    /// Works a line in and draws what changed.
    fn take(&mut self, line: &WatchLine) -> Result<Option<String>, Failure> {
        match self.watched.take(line).map_err(Fault::from)? {
            Took::Nothing => {}
            Took::Drew => self.paint(),
            Took::Over(in_words) => return Ok(Some(in_words)),
        }
        Ok(None)
    }

    fn begin_anew(&mut self) {
        self.painter = Painter::new(window());
        self.paint();
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

/// What a spectator types does not show; as it was again when dropped.
struct Quiet(Option<Termios>);

impl Quiet {
    fn begin() -> Self {
        let input = io::stdin();
        let was = if input.is_terminal() { tcgetattr(input.as_fd()).ok() } else { None };
        if let Some(was) = &was {
            let mut quiet = was.clone();
            quiet.local_modes.remove(LocalModes::ECHO);
            set(&quiet);
        }
        Self(was)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(was) = &self.0 {
            set(was);
        }
    }
}

/// A terminal that cannot be set is left as it is.
fn set(modes: &Termios) {
    if let Err(error) = tcsetattr(io::stdin().as_fd(), OptionalActions::Flush, modes) {
        tracing::debug!(%error, "the terminal keeps its modes");
    }
}

//! `holdpoint watch`: a session as it runs, from the screen as it stands. What the gate sends goes into a screen of our
//! own, and only what that draws reaches this terminal; when watching ends, however it ends, the terminal is as before.

use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;

use approver::api::types::{SessionView, WatchLine};
use data_encoding::BASE64;
use policies::ids::SessionId;
use recordings::notes::Size;
use recordings::screen::{DEFAULT_SIZE, Painter, Screen};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::gate::{ProfileArg, at_gate};
use super::showing::plain;
use super::{Done, Failure};
use crate::client::{Client, Fault, Pieces};
use crate::saying;
use crate::session::drawn_for;

/// Watch a session live. Ctrl-C leaves it; that you watched is in the journal.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// As `sessions` lists it.
    #[arg(value_name = "SESSION")]
    session: SessionId,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let session: SessionView = client.get(&format!("/api/v1/sessions/{}", args.session)).await?;
        let why = {
            let _quiet = Quiet::begin();
            watch(client, args.session).await?
        };
        let (who, target) = (plain(&session.technician.name), &session.target);
        say!("{} ({who} on {target}): {why}.", args.session);
        Ok(())
    })
}

/// Shows the session until it is over or one leaves; why, in words.
async fn watch(client: &mut Client, session: SessionId) -> Result<String, Failure> {
    let mut lines =
        Lines { pieces: client.stream(&format!("/api/v1/sessions/{session}/watch")).await?, read: Vec::new() };
    let heard = |kind| signal(kind).map_err(Failure::failed);
    let (mut interrupt, mut terminate) = (heard(SignalKind::interrupt())?, heard(SignalKind::terminate())?);
    let mut resized: Signal = heard(SignalKind::window_change())?;
    let mut view = View::new();
    let why = loop {
        tokio::select! {
            line = lines.next() => match line {
                Ok(Some(line)) => match view.take(&line) {
                    Ok(None) => {}
                    Ok(Some(over)) => break Ok(plain(&over)),
                    Err(failure) => break Err(failure),
                },
                Ok(None) => break Err(Failure::failed("the gate broke the connection off")),
                Err(fault) => break Err(fault.into()),
            },
            _ = interrupt.recv() => break Ok("you watch no longer".to_owned()),
            _ = terminate.recv() => break Ok("you watch no longer".to_owned()),
            _ = resized.recv() => view.begin_anew(),
        }
    };
    saying::write(format_args!("{}", view.painter.leave()));
    why
}

/// Lines of JSON out of pieces.
struct Lines {
    pieces: Pieces,
    read: Vec<u8>,
}

/// A fresh screen of the largest terminal, in base64, is less.
const LINE_BYTES_MAX: usize = 4 << 20;

impl Lines {
    /// The next line. May be dropped and called again.
    async fn next(&mut self) -> Result<Option<WatchLine>, Fault> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return serde_json::from_slice(&line).map(Some).map_err(|cause| Fault::Odd(cause.to_string()));
            }
            if self.read.len() > LINE_BYTES_MAX {
                return Err(Fault::Odd("a line does not end".into()));
            }
            match self.pieces.next().await? {
                Some(piece) => self.read.extend_from_slice(&piece),
                None => return Ok(None),
            }
        }
    }
}

/// The watched screen, and how much of it stands on this terminal.
struct View {
    screen: Screen,
    painter: Painter,
}

impl View {
    fn new() -> Self {
        Self { screen: Screen::new(DEFAULT_SIZE), painter: Painter::new(window()) }
    }

    /// Works a line in and draws what changed; why it is over, if it is.
    fn take(&mut self, line: &WatchLine) -> Result<Option<String>, Failure> {
        match line {
            WatchLine::Screen { data } | WatchLine::Skipped { data, .. } => {
                let bytes = decoded(data)?;
                let size = drawn_for(&bytes).unwrap_or_else(|| self.screen.size());
                self.screen = Screen::new(size);
                self.screen.feed(&bytes);
            }
            WatchLine::Output { data } => self.screen.feed(&decoded(data)?),
            WatchLine::Resize { columns, rows } => {
                self.screen.resize(Size { columns: (*columns).into(), rows: (*rows).into() });
            }
            WatchLine::Still => return Ok(None),
            WatchLine::Over { in_words } => return Ok(Some(in_words.clone())),
        }
        let painted = self.painter.paint(&self.screen);
        saying::write(format_args!("{painted}"));
        Ok(None)
    }

    /// This terminal has another size.
    fn begin_anew(&mut self) {
        self.painter = Painter::new(window());
        let painted = self.painter.paint(&self.screen);
        saying::write(format_args!("{painted}"));
    }
}

fn decoded(data: &str) -> Result<Vec<u8>, Failure> {
    BASE64.decode(data.as_bytes()).map_err(|cause| Fault::Odd(cause.to_string()).into())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> WatchLine {
        WatchLine::Skipped { frames: 0, data: BASE64.encode(bytes) }
    }

    #[test]
    fn who_joins_late_has_the_size_and_the_screen() {
        let mut view = View::new();
        assert_eq!(view.take(&line(b"\x1b[8;3;20t\x1bcfirst\r\nsecond")).unwrap(), None);
        assert_eq!(view.screen.size(), Size { columns: 20, rows: 3 });
        assert_eq!(view.screen.lines(), ["first", "second", ""]);
        view.take(&WatchLine::Output { data: BASE64.encode(b"\x1b]52;c;eA==\x07 more") }).unwrap();
        assert_eq!(view.screen.lines()[1], "second more");
        view.take(&WatchLine::Resize { columns: 30, rows: 2 }).unwrap();
        assert_eq!(view.screen.size(), Size { columns: 30, rows: 2 });
        let over = view.take(&WatchLine::Over { in_words: "an operator cut it".into() }).unwrap();
        assert_eq!(over.as_deref(), Some("an operator cut it"));
        assert!(view.take(&WatchLine::Output { data: "!".into() }).is_err());
    }
}

//! The live sessions, as decisions reach them: the port through which the Desk cuts, freezes and watches what runs in
//! the crate above. Nothing here decides; nothing here may block.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use policies::events::Ending;
use policies::ids::SessionId;
use tokio::sync::{broadcast, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::capture::{Capture, Wanted};
use crate::clock::Boot;

/// A session that runs here now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveSession {
    /// Which.
    pub session: SessionId,
    /// Bytes from the technician so far.
    pub bytes_up: u64,
    /// Bytes from the target so far.
    pub bytes_down: u64,
    /// How long it has run.
    pub age: Duration,
    /// When a person last gave input.
    pub last_input: Boot,
    /// Whether a program is being transferred to the target.
    pub transferring: bool,
    /// Whether a connection of it comes within a WebSocket.
    pub within_websocket: bool,
    /// Whether a terminal or a screen of it is on a page of ours, in the technician's browser.
    pub in_browser: bool,
    /// Whether its terminals are locked, because nobody typed anything.
    pub locked: bool,
    /// How many watch it.
    pub watchers: usize,
    /// How many of its target's places it holds; none where it is no service by TCP.
    pub connections: usize,
    /// Its screens over VNC that are open, the oldest first.
    pub screens: Vec<OpenScreen>,
}

/// What runs here now. Every call returns at once, stuck sessions or not.
pub trait Floor: Send + Sync {
    /// The live sessions.
    fn list(&self) -> Vec<LiveSession>;
    /// Ends these now: no byte goes to a target after this returns, and each learns why. Those unknown here are passed over.
    fn cut(&self, sessions: &[SessionId], ending: &Ending);
    /// Stops a session's input, or lets it go on.
    fn freeze(&self, session: SessionId, frozen: bool);
    /// Closes a session's connections to its target, so that others may have their places; the session goes on. How many
    /// there were.
    fn disconnect(&self, session: SessionId) -> usize;
    /// Shows the technician a line of ours.
    fn tell(&self, session: SessionId, text: &str);
    /// Shows the technician a line that an operator wrote; whether it could be shown is told once the session has taken it.
    /// `None` where it does not run here.
    fn write_to(&self, session: SessionId, text: &str) -> Option<oneshot::Receiver<Shown>>;
    /// Joins a session as a spectator; `None` where it does not run here.
    fn watch(&self, session: SessionId) -> Option<Watch>;
    /// Reads along what passes to targets over TCP and back; `None` where as many do as may.
    fn capture(&self, wanted: Wanted) -> Option<Capture>;
}

/// Where a line for a technician could be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// On so many terminals of the session.
    OnTerminals(usize),
    /// On the page of ours that they work on.
    OnPage,
    /// In the lobby that is open beside it.
    InLobby,
    /// Nobody reads lines of this session now: it has no terminal, or its technician reads nothing.
    Nowhere,
}

/// A seat from which one sees a session: the screen as it stands, then what comes.
pub struct Watch {
    /// Draws the screen as it stands; nothing where there is no terminal.
    pub screen: Bytes,
    /// What was done of late outside the terminals, oldest first.
    pub happened: Vec<Happened>,
    /// What follows.
    pub frames: WatchFrames,
    /// Its screens over VNC.
    pub screens: Arc<dyn Screens>,
    /// Cancelled when the session is over, before that is among what follows: pictures that wait are then for nobody.
    pub over: CancellationToken,
    /// Sits there; leaving is dropping it.
    pub seat: Box<dyn Send + Sync>,
}

/// The screens of a session, as its targets draw them over VNC. A spectator looks when it wants to: what changed since its last
/// look is one picture, however much came in between, so a slow one misses nothing that still stands and holds nothing up.
pub trait Screens: Send + Sync {
    /// Told whenever a look might find something new.
    fn changed(&self) -> watch::Receiver<()>;
    /// Which is shown to whoever wants this one, and how it stands; none where none is open.
    fn shown(&self, wanted: WantedScreen) -> Option<ScreenFacts>;
    /// What is new to whoever wants this one and has seen so much. Work of some milliseconds, and more where all of a large
    /// screen is new.
    fn look(&self, wanted: WantedScreen, seen: SeenScreen) -> Look;
}

/// Which of a session's screens somebody wants to see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WantedScreen {
    /// The newest on which something was drawn.
    #[default]
    Newest,
    /// That of this connection, as long as it is open; then the newest.
    Of(u32),
}

/// What a spectator has seen of a session's screens. By default, nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SeenScreen {
    /// Of which connection.
    pub connection: u32,
    /// How often it had another size until then.
    pub sizes: u64,
    /// How often it was drawn on.
    pub stamp: u64,
    /// Of a picture that is given in several looks: how often it was drawn on when the first of them began.
    pub begun: u64,
    /// Where the next of them goes on; 0 where all was given.
    pub row: usize,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// With which the next look goes on.
    pub seen: SeenScreen,
    /// Which is shown, as [`Screens::shown`] has it.
    pub screen: Option<ScreenFacts>,
    /// What changed on it, to be drawn over what was seen; no more than is soon made into lines.
    pub pieces: Vec<ScreenPiece>,
    /// Whether more changed than that: the next look may be at once.
    pub is_more: bool,
}

/// A screen that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenScreen {
    /// The connection whose it is.
    pub connection: u32,
    /// How large it is, in pixels; 0 until the target has said so.
    pub width: u16,
    /// Likewise.
    pub height: u16,
}

/// A screen that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScreenFacts {
    /// The connection whose it is.
    pub connection: u32,
    /// All that are open, the oldest first.
    pub open: Vec<OpenScreen>,
    /// How large it is, in pixels; 0 until the target has said so.
    pub width: u16,
    /// Likewise.
    pub height: u16,
    /// Why its picture cannot be followed any further, in words. The connection itself goes on.
    pub lost: Option<String>,
}

/// A part of a screen, of some ten thousand pixels at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScreenPiece {
    /// Where its left upper corner is.
    pub x: u16,
    /// Likewise.
    pub y: u16,
    /// Its pixels.
    pub png: Bytes,
}

/// Of a session that has none.
#[derive(Debug, Default)]
pub struct NoScreens(watch::Sender<()>);

impl Screens for NoScreens {
    fn changed(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }

    fn shown(&self, _: WantedScreen) -> Option<ScreenFacts> {
        None
    }

    fn look(&self, _: WantedScreen, seen: SeenScreen) -> Look {
        Look { seen, screen: None, pieces: Vec::new(), is_more: false }
    }
}

/// The frames a spectator gets. Bounded: a slow one misses some, and gets a fresh screen in their place.
pub struct WatchFrames {
    receiver: broadcast::Receiver<WatchFrame>,
    rejoin: Rejoin,
}

/// Gives what a spectator sees at once and the frames that follow it: all taken at one moment, so that nothing is seen twice.
pub type Rejoin = Box<dyn Fn() -> Joined + Send + Sync>;

/// What somebody sees who joins just now.
pub struct Joined {
    /// Draws the screen as it stands; nothing where there is no terminal.
    pub screen: Bytes,
    /// What was done of late outside the terminals.
    pub happened: Vec<Happened>,
    /// What follows.
    pub frames: broadcast::Receiver<WatchFrame>,
}

/// Something that was done outside the terminals, in harmless words: an operation that a gate read, a command, a file, or
/// what the gate itself did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// When, by the gate's clock.
    pub at: Timestamp,
    /// What.
    pub words: String,
    /// Whether the gate refused it.
    pub refused: bool,
}

/// One thing a spectator sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchFrame {
    /// Output of the target, or of the gate itself, as the technician gets it.
    Output(Bytes),
    /// The terminal has another size.
    Resize {
        /// Columns.
        columns: u16,
        /// Rows.
        rows: u16,
    },
    /// Some frames were missed; this draws the screen as it stands now.
    Skipped {
        /// How many.
        frames: u64,
        /// Draws the screen.
        screen: Bytes,
        /// What was done of late, in place of all that was told of it; none where nothing of it was missed.
        happened: Option<Vec<Happened>>,
    },
    /// Something was done outside the terminals.
    Happened(Happened),
    /// The session ended.
    Over(Ending),
}

impl WatchFrames {
    /// What is seen at once, and what follows; `rejoin` is asked again whenever frames were missed.
    pub fn join(rejoin: Rejoin) -> (Bytes, Vec<Happened>, Self) {
        let Joined { screen, happened, frames } = rejoin();
        (screen, happened, Self { receiver: frames, rejoin })
    }

    /// The next frame; `None` once the session is gone. May be dropped and called again.
    pub async fn next(&mut self) -> Option<WatchFrame> {
        match self.receiver.recv().await {
            Ok(frame) => Some(frame),
            Err(broadcast::error::RecvError::Lagged(frames)) => {
                let joined = (self.rejoin)();
                self.receiver = joined.frames;
                Some(WatchFrame::Skipped { frames, screen: joined.screen, happened: Some(joined.happened) })
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl fmt::Debug for WatchFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchFrames")
    }
}

/// A floor on which nothing runs: of commands that decide without serving.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmptyFloor;

impl Floor for EmptyFloor {
    fn list(&self) -> Vec<LiveSession> {
        Vec::new()
    }
    fn cut(&self, _: &[SessionId], _: &Ending) {}
    fn freeze(&self, _: SessionId, _: bool) {}
    fn disconnect(&self, _: SessionId) -> usize {
        0
    }

    fn tell(&self, _: SessionId, _: &str) {}

    fn write_to(&self, _: SessionId, _: &str) -> Option<oneshot::Receiver<Shown>> {
        None
    }

    fn watch(&self, _: SessionId) -> Option<Watch> {
        None
    }

    fn capture(&self, _: Wanted) -> Option<Capture> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_spectator_gets_a_fresh_screen_instead_of_what_was_missed() {
        let (sender, _) = broadcast::channel(2);
        let seats = sender.downgrade();
        let rejoin = move || Joined {
            screen: Bytes::from_static(b"screen"),
            happened: Vec::new(),
            frames: seats.upgrade().unwrap().subscribe(),
        };
        let (screen, _, mut frames) = WatchFrames::join(Box::new(rejoin));
        assert_eq!(screen, "screen");
        for n in 0..5_u8 {
            sender.send(WatchFrame::Output(Bytes::from(vec![n]))).unwrap();
        }
        assert!(
            matches!(frames.next().await, Some(WatchFrame::Skipped { frames: 3, screen, happened: Some(_) }) if screen == "screen")
        );
        sender.send(WatchFrame::Output(Bytes::from_static(b"after"))).unwrap();
        assert_eq!(frames.next().await, Some(WatchFrame::Output(Bytes::from_static(b"after"))));
        drop(sender);
        assert_eq!(frames.next().await, None);
    }
}

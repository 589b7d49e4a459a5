//! A session as whoever watches it is told of it, line by line.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One line of a watched session, as JSON, in `application/x-ndjson`. Bytes are base64, and are as the technician's
/// terminal gets them: to be shown only through something that neutralises them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum WatchLine {
    /// Draws the screen as it stands; comes first. Nothing, where the session has no terminal.
    Screen {
        /// Base64.
        data: String,
    },
    /// Output.
    Output {
        /// Base64.
        data: String,
    },
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
        /// Base64.
        data: String,
    },
    /// What was done outside the terminals: operations that a gate read, commands, files, and what the gate itself did.
    Happened {
        /// Whether these stand in place of all that was told of it before.
        anew: bool,
        /// Oldest first.
        lines: Vec<HappenedLine>,
    },
    /// How the session's input stands, and who escorts it; comes second, and whenever that changes.
    Standing {
        /// Why input is stopped: `by-operator`, `nobody-watches`, `time-is-up` or `not-accepted`; none where it goes on.
        stopped: Option<String>,
        /// Where the rule demands an escort.
        escort: Option<EscortLine>,
    },
    /// Which screen over VNC is shown, and how it stands; whenever that changes. What was drawn of another one, or in another
    /// size, is to be forgotten.
    Vnc {
        /// None where none is open any more.
        screen: Option<VncScreen>,
    },
    /// A part of that screen, to be drawn over what was there; the whole comes first, in such parts. Only where `pictures` were
    /// asked for, and a few times a second at most: what changed in between is one picture.
    Picture {
        /// Where its left upper corner is, in pixels.
        x: u16,
        /// Likewise.
        y: u16,
        /// Its pixels, a PNG in base64.
        data: String,
        /// You took what came before so slowly that some of what was drawn since was not shown. This is how it stands.
        skipped: bool,
    },
    /// Nothing happened for a while; the connection stands.
    Still,
    /// The session ended, or this person may watch no longer.
    Over {
        /// Why.
        in_words: String,
    },
}

/// A screen over VNC of a watched session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VncScreen {
    /// The number of its connection in the recording: the one that was asked for, or the newest where none was or it is
    /// closed.
    pub connection: u32,
    /// All screens that are open, the oldest first.
    pub open: Vec<VncOpen>,
    /// How large it is, in pixels; 0 until the target has said so.
    pub width: u16,
    /// Likewise.
    pub height: u16,
    /// Why its picture cannot be followed any further, in words; the connection itself goes on.
    pub lost: Option<String>,
}

/// A screen over VNC that is open, and can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VncOpen {
    /// The number of its connection in the recording.
    pub connection: u32,
    /// How large it is, in pixels; 0 until the target has said so.
    pub width: u16,
    /// Likewise.
    pub height: u16,
}

/// Something that was done in a watched session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HappenedLine {
    /// When, by the gate's clock.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// In words.
    pub words: String,
    /// Whether the gate refused it.
    pub refused: bool,
}

/// Who escorts a watched session, and what of it is up to whoever watches here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EscortLine {
    /// Those who are there, by name. Input waits while there is nobody.
    pub there: Vec<String>,
    /// How much longer your own word that you are there counts, in seconds; none where you gave none, or it is over.
    pub yours_seconds: Option<u64>,
    /// How long such a word counts.
    pub tap_seconds: u64,
    /// So long before its end it is time for the next.
    pub warn_seconds: u64,
}

/// What of a watched session is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchWanted {
    /// The picture of a screen over VNC, too.
    #[serde(default)]
    pub pictures: bool,
    /// Of the screen of this connection, as long as it is open; of the newest, where nothing is said.
    #[serde(default)]
    pub screen: Option<u32>,
}

//! Sessions, live and over, and what is done to live ones.

use std::net::IpAddr;

use jiff::Timestamp;
use policies::actions::Actions;
use policies::digest::Digest;
use policies::events::Ending;
use policies::ids::{NodeId, RequestId, ServiceName, SessionId, TargetName, VendorId, ZoneName};
use policies::plant::Protocol;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{DrawnView, KeptView, Named, VncOpen};

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndingView {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The word of the journal for it.
    pub ending: String,
    /// For people.
    pub in_words: String,
}

impl EndingView {
    /// An ending of the journal's.
    pub fn of(at: Timestamp, ending: &Ending) -> Self {
        Self { at, ending: ending.word().to_owned(), in_words: ending.in_words().to_owned() }
    }
}

/// What is known of a session while it runs on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveView {
    /// From the technician.
    pub bytes_up: u64,
    /// From the target.
    pub bytes_down: u64,
    /// How long it has run.
    pub age_seconds: u64,
    /// Since a person last gave input.
    pub idle_seconds: u64,
    /// Whether a program is being transferred to the target.
    #[serde(default)]
    pub transferring: bool,
    /// Whether a connection of it comes within a WebSocket: something in between may open TLS, and then reads it and can
    /// alter it.
    #[serde(default)]
    pub within_websocket: bool,
    /// Whether a terminal or a screen of it is in the technician's browser: something in between may open TLS there, too.
    #[serde(default)]
    pub in_browser: bool,
    /// How many of its target's places it holds.
    #[serde(default)]
    pub connections: usize,
    /// How many there are at that service, for everybody; nothing where it is no service by TCP.
    #[serde(default)]
    pub connections_max: Option<u16>,
    /// Its screens over VNC that are open, the oldest first.
    #[serde(default)]
    pub screens: Vec<VncOpen>,
}

/// A session's connections to its target were closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disconnected {
    /// How many; none where the session runs at another node, which closes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
    /// Whether the journal took it; else it follows.
    pub journaled: bool,
}

/// A session, live or over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionView {
    /// Which.
    #[schema(value_type = String)]
    pub session: SessionId,
    /// Under which grant.
    #[schema(value_type = String)]
    pub request: RequestId,
    /// Whose.
    pub technician: Named,
    /// Of which vendor.
    #[schema(value_type = Option<String>)]
    pub vendor: Option<VendorId>,
    /// Where.
    #[schema(value_type = String)]
    pub target: TargetName,
    /// Through what.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// What is spoken there; unknown where the plant file in force has the service no longer.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// What it may do.
    #[schema(value_type = Vec<String>)]
    pub actions: Actions,
    /// From where.
    #[schema(value_type = String)]
    pub source: IpAddr,
    /// Through which node.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub started: Timestamp,
    /// Until when, while it runs.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline: Option<Timestamp>,
    /// How it ended.
    pub ended: Option<EndingView>,
    /// Input stopped by an operator.
    pub frozen: bool,
    /// Why its input is stopped now: `by-operator`, `nobody-watches`, `time-is-up` or `not-accepted`. Only of what runs on this node.
    #[serde(default)]
    pub stopped: Option<String>,
    /// Who watches. Not shown to technicians.
    pub watchers: Vec<Named>,
    /// Where the rule demands an escort. Not shown to technicians.
    #[serde(default)]
    pub escort: Option<EscortView>,
    /// What operators wrote to the technician of late, oldest first.
    #[serde(default)]
    pub told: Vec<ToldView>,
    /// Only of what runs on this node.
    pub live: Option<LiveView>,
    /// The digest of the recording's seal.
    #[schema(value_type = Option<String>)]
    pub seal: Option<Digest>,
    /// Where it was drawn to be reviewed. Not shown to technicians.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<DrawnView>,
    /// How long its recording is kept. Not shown to technicians.
    pub kept: Option<KeptView>,
}

/// Who escorts a session that demands it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EscortView {
    /// Those who watch and have said of late that they are there. Input waits while there is nobody.
    pub there: Vec<Named>,
    /// How long each such word counts.
    pub tap_seconds: u32,
}

/// A line of an operator to a technician.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ToldView {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The line; none where the text was erased.
    pub text: Option<String>,
}

/// Something to tell a technician.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tell {
    /// One line, of 400 characters at most.
    pub text: String,
}

/// What became of a line to a technician. It is in the journal and, in words, in the recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ToldAnswer {
    /// `on-terminals`, `on-page`, `in-lobby` or `nowhere`.
    pub shown: String,
    /// The same for people.
    pub in_words: String,
}

/// That somebody who watches is there, as the gate took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Escorting {
    /// How long that counts.
    pub tap_seconds: u64,
}

/// Several sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionsView {
    /// Newest first.
    pub sessions: Vec<SessionView>,
    /// Where there are older ones: what to ask for `before`.
    #[schema(value_type = Option<String>)]
    pub next: Option<SessionId>,
}

/// Whether what acted is in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acted {
    /// If not, it will be once the journal answers.
    pub journaled: bool,
}

/// What of a capture is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureWanted {
    /// Of this target alone.
    #[serde(default)]
    pub target: Option<TargetName>,
    /// Of targets in this zone alone.
    #[serde(default)]
    pub zone: Option<ZoneName>,
}

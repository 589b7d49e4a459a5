//! The feed, as it goes out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// From where the feed is wanted, and how far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct FeedWanted {
    /// Behind this cursor.
    pub from: Option<String>,
    /// Also what comes.
    #[serde(default)]
    pub follow: bool,
}

/// A line of the feed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FeedLine {
    /// The version of this form: 1.
    pub v: u8,
    /// Asked for with this one, the feed goes on behind this line. The same line has the same one, however often it comes.
    pub cursor: String,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// The installation and the node.
    pub source: String,
    /// What it is about, roughly.
    pub category: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// As docs/EVENTS.md lists it.
    pub id: String,
    /// `success` or `failure`.
    pub result: String,
    /// Its index in the journal, where it stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<u64>,
    /// Who and what, by ids.
    #[schema(value_type = Object)]
    pub about: serde_json::Map<String, serde_json::Value>,
}

//! The past: what was asked, done and refused, all that the journal knows of one of them, and who was there at a moment.

use jiff::Timestamp;
use policies::actions::Actions;
use policies::history::{Kind, Outcome};
use policies::ids::{AskId, PersonId, RequestId, RuleId, ServiceName, SessionId, TargetName, VendorId, ZoneName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{EndingView, Named};

/// Which of the past is wanted: a page of those to which all that is said applies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryWanted {
    /// So many at most; [`LISTED_MAX`](super::LISTED_MAX) where nothing is said, and never more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Those older than this entry of the journal: what `next` of the page before said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Of which this came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Sessions that ended so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending: Option<String>,
    /// Of this vendor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<VendorId>,
    /// This person's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonId>,
    /// At this target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetName>,
    /// In this zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<ZoneName>,
    /// In which this person of the plant had a hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<PersonId>,
    /// From this moment on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Something that was asked, done or refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryItem {
    /// The entry of the journal that it began with.
    pub entry: u64,
    /// `session`, `request`, `more` (an extension or a widening) or `refusal`.
    #[schema(value_type = String)]
    pub kind: Kind,
    /// What came of it: `pending`, `granted`, `denied`, `withdrawn`, `lapsed`, `revoked`, `not-accepted`, `restored`; of
    /// sessions `live` or `ended`; of refusals `refused`.
    #[schema(value_type = String)]
    pub outcome: Outcome,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// How a session ended.
    pub ended: Option<EndingView>,
    /// The request; of a session that of its grant, of more that of what it is asked of.
    #[schema(value_type = Option<String>)]
    pub request: Option<RequestId>,
    /// The extension or widening.
    #[schema(value_type = Option<String>)]
    pub ask: Option<AskId>,
    /// The session.
    #[schema(value_type = Option<String>)]
    pub session: Option<SessionId>,
    /// Whose.
    pub person: Named,
    /// Of which vendor they were then.
    #[schema(value_type = Option<String>)]
    pub vendor: Option<VendorId>,
    /// Where.
    #[schema(value_type = Option<String>)]
    pub target: Option<TargetName>,
    /// In which zone that was then.
    #[schema(value_type = Option<String>)]
    pub zone: Option<ZoneName>,
    /// What, in words.
    pub in_words: String,
    /// Asked as an emergency.
    pub emergency: bool,
    /// Under which rule; of a refusal, by which.
    #[schema(value_type = Option<String>)]
    pub rule: Option<RuleId>,
    /// Who said yes to it; of a session, to its grant.
    pub approvers: Vec<Named>,
    /// Who had another hand in it.
    pub others: Vec<Named>,
}

/// A page of the past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryView {
    /// Newest first.
    pub items: Vec<HistoryItem>,
    /// Where there are older ones: what to ask for `before`.
    pub next: Option<u64>,
}

/// A text that an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EntryText {
    /// What it is: `reason`, `work order`, `line`, `objection`.
    pub what: String,
    /// The text; none where it was erased.
    pub text: Option<String>,
}

/// An entry of the journal, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EntryView {
    /// Its place in the journal, from 0.
    pub entry: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The stable id of the event (`docs/EVENTS.md`).
    pub id: String,
    /// Who did it; nobody, where the gate did.
    pub by: Option<Named>,
    /// What, in words.
    pub in_words: String,
    /// Texts beside it.
    pub texts: Vec<EntryText>,
}

/// What the journal knows of a request or a session, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EntriesView {
    /// In the journal's order.
    pub entries: Vec<EntryView>,
    /// Where there are later ones: what to ask for `after`.
    pub next: Option<u64>,
}

/// What the journal knows of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestEntries {
    /// Its entries, and those of what more was asked of its grant.
    #[serde(flatten)]
    pub known: EntriesView,
    /// What came of it, as the history says.
    #[schema(value_type = String)]
    pub outcome: Outcome,
    /// The rule as it was frozen into the request.
    #[schema(value_type = Object)]
    pub rule: serde_json::Value,
    /// All sessions under its grant, the oldest first.
    #[schema(value_type = Vec<String>)]
    pub sessions: Vec<SessionId>,
}

/// From where on entries of one subject are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behind {
    /// Those behind this one.
    pub after: Option<u64>,
}

/// Of which moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresenceWanted {
    /// Of now, if left out.
    pub at: Option<Timestamp>,
}

/// A session that ran at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PresentSession {
    /// Which.
    #[schema(value_type = String)]
    pub session: SessionId,
    /// Under which grant.
    #[schema(value_type = String)]
    pub request: RequestId,
    /// Whose.
    pub technician: Named,
    /// Of which vendor they were then.
    #[schema(value_type = Option<String>)]
    pub vendor: Option<VendorId>,
    /// Where.
    #[schema(value_type = String)]
    pub target: TargetName,
    /// In which zone that was then.
    #[schema(value_type = Option<String>)]
    pub zone: Option<ZoneName>,
    /// Through what.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// What its grant allowed when it began.
    #[schema(value_type = Vec<String>)]
    pub actions: Actions,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub started: Timestamp,
    /// How it ended, if it did since.
    pub ended: Option<EndingView>,
    /// Who said yes to its grant.
    pub approvers: Vec<Named>,
}

/// Who was there at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PresenceView {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The sessions that ran then, the oldest first.
    pub sessions: Vec<PresentSession>,
    /// The operators who were on duty.
    pub on_duty: Vec<Named>,
}

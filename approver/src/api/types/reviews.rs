//! What was done without the usual approvals or was drawn by chance, and must be looked back at.

use jiff::Timestamp;
use policies::ids::{GuestId, RequestId, SessionId, TargetName, VendorId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Named;

/// That somebody else looked back at what one operator alone brought about, or at a session that was drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LookBackView {
    /// Who.
    pub by: Named,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// They signed that it should not have been; of a drawn session, that they found something.
    pub objects: bool,
    /// Why not, or what they found; `null` also where the text was erased or the directory does not answer.
    pub objection: Option<String>,
}

/// What somebody is to look back at: an emergency grant by its request, a guest's visit, or a session that was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ReviewId {
    /// An emergency grant.
    Emergency(RequestId),
    /// A guest's visit.
    Guest(GuestId),
    /// A session that was drawn.
    Session(SessionId),
}

impl ReviewId {
    const fn at(self) -> ulid::Ulid {
        match self {
            Self::Emergency(request) => request.ulid(),
            Self::Guest(guest) => guest.ulid(),
            Self::Session(session) => session.ulid(),
        }
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Emergency(_) => 0,
            Self::Guest(_) => 1,
            Self::Session(_) => 2,
        }
    }
}

/// In the order in which they came up.
impl Ord for ReviewId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at().cmp(&other.at()).then_with(|| self.rank().cmp(&other.rank()))
    }
}

impl PartialOrd for ReviewId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Display for ReviewId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Emergency(request) => request.fmt(f),
            Self::Guest(guest) => guest.fmt(f),
            Self::Session(session) => session.fmt(f),
        }
    }
}

impl From<ReviewId> for String {
    fn from(id: ReviewId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ReviewId {
    type Error = policies::ids::BadName;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let session = || text.parse().map(Self::Session);
        text.parse().map(Self::Guest).or_else(|_| session()).or_else(|_| text.parse().map(Self::Emergency))
    }
}

/// Something that somebody is to look back at, or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReviewView {
    /// Which: `r_…` of an emergency grant, `g_…` of a guest, `s_…` of a session that was drawn.
    #[schema(value_type = String)]
    pub review: ReviewId,
    /// Who came.
    pub technician: Named,
    /// For whom.
    #[schema(value_type = Option<String>)]
    pub vendor: Option<VendorId>,
    /// Where to.
    #[schema(value_type = String)]
    pub target: TargetName,
    /// What it was, in words.
    pub in_words: String,
    /// Who gave it: whoever looks back is none of them.
    pub given_by: Vec<Named>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who looked back at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed: Option<LookBackView>,
    /// From when on somebody can look back at it; now, where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    /// Until when somebody is to look back at a session that was drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due: Option<Timestamp>,
}

/// What somebody is to look back at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReviewsView {
    /// Newest first.
    pub reviews: Vec<ReviewView>,
    /// Where there are older ones: what to ask for `before`.
    #[schema(value_type = Option<String>)]
    pub next: Option<ReviewId>,
}

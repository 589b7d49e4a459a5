//! What comes after work: the account of what was done, the close-out, and the review of drawn sessions.

use jiff::Timestamp;
use policies::digest::Salted;
use policies::requests::{Account, CloseOut, Signed, VerdictStatement, Work};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{LookBackView, Named};

/// What was done under a grant; a text is `null` where it was erased or the directory does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountView {
    /// Who says so.
    pub by: Named,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What was done.
    pub done: Option<String>,
    /// What is otherwise than before.
    pub changed: Option<String>,
    /// How it was left.
    pub left: Option<String>,
    /// It was said before the newest session began, so not of all that was done.
    #[serde(default)]
    pub earlier: bool,
}

/// A grant that can be closed out: somebody was at work under it, and nobody is any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CloseOutView {
    /// Until when its rule wants that; `null` where no rule does, or work is not over.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due: Option<Timestamp>,
    /// That is over.
    pub overdue: bool,
    /// What was at work, which whoever signs off names: `sessions`, how many, and `last`, the newest of them.
    #[schema(value_type = Object)]
    pub work: Work,
}

/// What a technician says they did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountGiven {
    /// What was done.
    pub done: String,
    /// What is otherwise than before.
    pub changed: String,
    /// How it was left.
    pub left: String,
}

/// What is to be signed off, as kept texts' digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseOutFor {
    /// What was done.
    pub done: Salted,
    /// What is otherwise than before.
    pub changed: Salted,
    /// How it was left.
    pub left: Salted,
}

impl From<CloseOutFor> for Account {
    fn from(CloseOutFor { done, changed, left }: CloseOutFor) -> Self {
        Self { done, changed, left }
    }
}

/// A close-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseOutGiven {
    /// What was done, under which grant, and in which sessions.
    #[schema(value_type = Object)]
    pub close_out: CloseOut,
    /// The signed yes to it.
    #[schema(value_type = Object)]
    pub verdict: Signed<VerdictStatement>,
}

/// That a session was drawn to be reviewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrawnView {
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub due: Timestamp,
    /// That is over, and nobody did.
    pub overdue: bool,
    /// Who did, and what they found.
    pub reviewed: Option<LookBackView>,
}

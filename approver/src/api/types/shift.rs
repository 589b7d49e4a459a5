//! Who is on duty, and what the shift before left.

use jiff::Timestamp;
use policies::plant::Then;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Card, Named};

/// Work that the shift before left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandoverView {
    /// Since when nobody of the shift stands for it.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// It is late.
    pub red: bool,
    /// When its rule acts, if nobody accepts it until then.
    #[schema(value_type = String, format = DateTime)]
    pub acts: Timestamp,
    /// What its rule says happens then: `freeze` or `end`.
    #[schema(value_type = String)]
    pub then: Then,
    /// It is frozen until somebody accepts it.
    pub frozen: bool,
}

/// Who is on duty, and what waits to be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShiftView {
    /// The plant's shifts, in words.
    pub shifts: String,
    /// When they change next; `null` where nobody takes over from anybody.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub changes: Option<Timestamp>,
    /// Operators on duty.
    pub on_duty: Vec<OnDutyView>,
    /// What the shift before left.
    pub waiting: Vec<Card>,
}

/// An operator on duty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OnDutyView {
    /// Who.
    pub who: Named,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}

//! Guests whom an operator invites, and what is signed for it.

use jiff::Timestamp;
use policies::digest::Digest;
use policies::ids::{GuestId, RequestId, RoleName, RuleId, SessionId, TargetName, VendorId};
use policies::plant::Rule;
use policies::requests::{GuestStatement, Signed};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{KeptText, LookBackView, Named};

/// Under which rule operators on duty may invite guests, and whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvitableView {
    /// Which.
    #[schema(value_type = String)]
    pub rule: RuleId,
    /// Of these vendors, whose contracts run.
    pub vendors: Vec<HostView>,
    /// To one of these targets.
    #[schema(value_type = Vec<String>)]
    pub targets: Vec<TargetName>,
    /// For so long at most.
    pub most_seconds: u32,
    /// Until when somebody is a guest under it already: then nobody else can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub taken_until: Option<Timestamp>,
}

/// A vendor whose people may come as guests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostView {
    /// Which.
    #[schema(value_type = String)]
    pub vendor: VendorId,
    /// The number to call back; without one nobody is invited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telephone: Option<String>,
}

/// Every rule under which guests may come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvitableRules {
    /// As the plant file orders them.
    pub rules: Vec<InvitableView>,
}

/// A guest to invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GuestWanted {
    /// What they are called and sign in by.
    pub name: String,
    /// Whose technician they are.
    #[schema(value_type = String)]
    pub vendor: VendorId,
    /// The one target that they may ask for.
    #[schema(value_type = String)]
    pub target: TargetName,
    /// Under which rule; the first that takes guests of this vendor there, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub rule: Option<RuleId>,
    /// For how long from now.
    pub lasts_seconds: u32,
    /// Why.
    pub reason: String,
}

/// A guest's invitation to be signed: by whoever called the vendor back on this number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GuestTemplate {
    /// Sign `statement.digest()` in the namespace `holdpoint-guest@v1`.
    #[schema(value_type = Object)]
    pub statement: GuestStatement,
    /// The rule that it names by its digest.
    #[schema(value_type = Object)]
    pub rule: Rule,
    /// What the guest is called.
    pub name: KeptText,
    /// Why they come.
    pub reason: KeptText,
    /// The vendor's registered number, to call before signing.
    pub telephone: KeptText,
}

/// A guest's signed invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct GuestGiven(pub Signed<GuestStatement>);

/// A guest's visit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GuestView {
    /// Which.
    #[schema(value_type = String)]
    pub guest: GuestId,
    /// Who.
    pub person: Named,
    /// Whether they enrolled: `invited`, `active`, `over` or `disabled`.
    pub standing: String,
    /// Whose technician they are.
    #[schema(value_type = String)]
    pub vendor: VendorId,
    /// In which role.
    #[schema(value_type = String)]
    pub role: RoleName,
    /// The one target that they may ask for.
    #[schema(value_type = String)]
    pub target: TargetName,
    /// Under which rule.
    #[schema(value_type = String)]
    pub rule: RuleId,
    /// Who invited them.
    pub by: Named,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The first moment after the visit.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended: Option<Timestamp>,
    /// On whose word it ended, where not by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<Named>,
    /// Nothing of it counts any longer.
    pub over: bool,
    /// Why they were invited.
    pub reason: Option<String>,
    /// The number on which the vendor was called back.
    pub telephone: Option<String>,
    /// Who looked back at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed: Option<LookBackView>,
    /// It is over, and nobody looked back at it.
    pub review_wanted: bool,
    /// What they asked for.
    #[schema(value_type = Vec<String>)]
    pub requests: Vec<RequestId>,
    /// Their sessions.
    #[schema(value_type = Vec<String>)]
    pub sessions: Vec<SessionId>,
    /// What the operator signed.
    #[schema(value_type = Object)]
    pub covered: GuestStatement,
    /// Its digest, which looking back is about.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// As six words, to compare.
    pub words: String,
}

/// Guests' visits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GuestsView {
    /// Newest first.
    pub guests: Vec<GuestView>,
    /// Where there are older ones: what to ask for `before`.
    #[schema(value_type = Option<String>)]
    pub next: Option<GuestId>,
}

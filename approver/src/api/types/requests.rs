//! Requests and what is asked for beyond them, as operators and as technicians see them, and verdicts about them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use policies::actions::{Action, Actions};
use policies::digest::Digest;
use policies::ids::{
    AskId, DeploymentId, GuestId, RequestId, RoleName, RuleId, ServiceName, SessionId, TargetName, VendorId, ZoneName,
};
use policies::plant::{Protocol, Weaker};
use policies::requests::{Extension, Request, Signed, VerdictStatement, Widening};
use policies::time::Window;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AccountView, AttestationView, CloseOutView, HandoverView, LookBackView, Named};

/// What a technician asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskAccess {
    /// Where to.
    #[schema(value_type = String)]
    pub target: TargetName,
    /// Through which service; may be left out where the target has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub service: Option<ServiceName>,
    /// To do what.
    #[schema(value_type = Vec<String>)]
    pub actions: Actions,
    /// Not before; now where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub from: Option<Timestamp>,
    /// Not after; eight hours, or as long as is asked for, where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// How long from the first connection.
    pub duration_seconds: u32,
    /// Why.
    pub reason: String,
    /// Under which work order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_order: Option<String>,
    /// As an emergency.
    #[serde(default)]
    pub emergency: bool,
}

/// A request by its identifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestMade {
    /// Which.
    #[schema(value_type = String)]
    pub request: RequestId,
}

/// An extension or widening by its identifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AskMade {
    /// Which.
    #[schema(value_type = String)]
    pub ask: AskId,
}

/// More time, asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskMoreTime {
    /// How much.
    pub by_seconds: u32,
    /// Why.
    pub reason: String,
}

/// More actions, asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskMoreActions {
    /// Which.
    #[schema(value_type = Vec<String>)]
    pub actions: Actions,
    /// For how long from the yes.
    pub lasts_seconds: u32,
    /// Why.
    pub reason: String,
}

/// What may be asked for at one service, now or later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReachView {
    /// Where.
    #[schema(value_type = String)]
    pub target: TargetName,
    /// Through what.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// What is spoken there.
    #[schema(value_type = String)]
    pub protocol: Protocol,
    /// What may be asked for, each by itself.
    pub actions: Vec<ActionView>,
    /// Since only hours are against it: when the first of it opens.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub opens: Option<Timestamp>,
    /// On which terms, where it may be asked for at that moment. What opens later at the same service stands apart.
    pub offer: Option<OfferView>,
}

/// On which terms something may be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OfferView {
    /// What most ask for.
    #[schema(value_type = Vec<String>)]
    pub usual_actions: Actions,
    /// For how long most ask.
    pub usual_seconds: u32,
    /// Of each action by itself, in the order of `actions`. What is asked for together takes a rule that allows all of it.
    pub terms: Vec<TermsView>,
    /// What of it may be asked for as an emergency.
    #[schema(value_type = Vec<String>)]
    pub emergency: Actions,
    /// A cut keeps you out there until an operator reopens it.
    pub cut_off: bool,
}

/// What the rule demands and gives that decides about an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TermsView {
    /// For how long at most.
    pub most_seconds: u32,
    /// `required`, `optional`, or a pattern that one must match.
    pub work_order: String,
    /// Whose approval it takes.
    pub needs: String,
    /// Whether enough of those who approve are on duty now.
    pub staffed: bool,
}

/// What may be asked for is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReachWanted {
    /// At this moment; now where nothing is said.
    pub at: Option<Timestamp>,
}

/// What may be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReachesView {
    /// By target and service.
    pub reach: Vec<ReachView>,
}

/// A service on a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceView {
    /// Its name.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// What it speaks; unknown where the plant file in force has it no longer.
    #[schema(value_type = Option<String>)]
    pub protocol: Option<Protocol>,
}

/// One action in the word of rules and in words for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActionView {
    /// The word.
    #[schema(value_type = String)]
    pub action: Action,
    /// What it means.
    pub in_words: String,
}

/// A window of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WindowView {
    /// The first moment inside.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// The first moment after.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}

impl From<Window> for WindowView {
    fn from(window: Window) -> Self {
        Self { from: window.from, until: window.until }
    }
}

/// One operator's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VoteView {
    /// Whose.
    pub operator: Named,
    /// Yes.
    pub yes: bool,
    /// Why not, where it is a no; `null` also where the text was erased or the directory does not answer.
    pub reason: Option<String>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Given in this weaker way: not signed, the gate's word alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub weaker: Option<Weaker>,
}

/// An operator's no: to a request, or by taking its grant back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NoView {
    /// Whose, by name.
    pub by: String,
    /// Why; `null` where the text was erased or the directory does not answer.
    pub reason: Option<String>,
}

/// A request with everything that an operator should see before answering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Card {
    /// Which.
    #[schema(value_type = String)]
    pub request: RequestId,
    /// Who asks.
    pub technician: Named,
    /// For whom.
    #[schema(value_type = Option<String>)]
    pub vendor: Option<VendorId>,
    /// In which role.
    #[schema(value_type = Option<String>)]
    pub role: Option<RoleName>,
    /// Where to.
    #[schema(value_type = String)]
    pub target: TargetName,
    /// Where that stands.
    #[schema(value_type = Option<String>)]
    pub zone: Option<ZoneName>,
    /// Through what.
    pub services: Vec<ServiceView>,
    /// To do what, as it stands after narrowings.
    pub actions: Vec<ActionView>,
    /// What everybody who approves should know about these actions.
    pub cautions: Vec<String>,
    /// Why; `null` where the text was erased or the directory does not answer.
    pub reason: Option<String>,
    /// Under which work order.
    pub work_order: Option<String>,
    /// When.
    pub window: WindowView,
    /// How long from the first connection.
    pub duration_seconds: u32,
    /// What earlier approvals took away, in words.
    pub taken_away: Vec<String>,
    /// Under which rule.
    #[schema(value_type = String)]
    pub rule: RuleId,
    /// Whose approval it takes, all of them.
    pub needs: String,
    /// In which ways it can be answered without a signature.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub weaker: BTreeSet<Weaker>,
    /// Who answered.
    pub votes: Vec<VoteView>,
    /// As an emergency.
    pub emergency: bool,
    /// The visit of a guest that it was asked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub guest: Option<GuestId>,
    /// The shift changed, and it waits for somebody of this one to accept or to end it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<HandoverView>,
    /// Given as an emergency, and nobody has looked back at it yet.
    pub review_wanted: bool,
    /// Who looked back at an emergency grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed: Option<LookBackView>,
    /// Whether a manager of their company must have attested the technician, and what there is of it; nothing of what is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<AttestationView>,
    /// It can be closed out: work under it is over, or nobody is there for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_out: Option<CloseOutView>,
    /// What the technician says they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountView>,
    /// What an operator signed off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_out: Option<AccountView>,
    /// `pending`, `granted`, `denied`, `withdrawn`, `lapsed`, `revoked`, `closed out`, or in words how else it ended.
    pub standing: String,
    /// Who ended it by a no, and why.
    pub no: Option<NoView>,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    pub submitted: Timestamp,
    /// When it was granted.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub granted: Option<Timestamp>,
    /// When it was first used.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub first_use: Option<Timestamp>,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub deadline: Timestamp,
    /// Sessions that run under it.
    #[schema(value_type = Vec<String>)]
    pub sessions: Vec<SessionId>,
    /// Open extensions and widenings.
    pub asks: Vec<AskView>,
    /// The digest that a yes to all of it is about.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// The digest as six words, to compare.
    pub words: String,
    /// What the digest covers, as it stands: from this a narrowed digest is worked out.
    #[schema(value_type = Object)]
    pub covered: Request,
}

/// Several requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CardsView {
    /// Newest first.
    pub requests: Vec<Card>,
    /// Where there are older ones: what to ask for `before`.
    #[schema(value_type = Option<String>)]
    pub next: Option<RequestId>,
}

/// A request, as the technician who made it sees it: of operators, only who said no is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnRequest {
    /// Which.
    #[schema(value_type = String)]
    pub request: RequestId,
    /// Where to.
    #[schema(value_type = String)]
    pub target: TargetName,
    /// Through what.
    pub services: Vec<ServiceView>,
    /// What may be done.
    pub actions: Vec<ActionView>,
    /// When.
    pub window: WindowView,
    /// How long from the first connection.
    pub duration_seconds: u32,
    /// What approvals took away, in words.
    pub taken_away: Vec<String>,
    /// Whose approval it takes.
    pub needs: String,
    /// Whether enough of those who approve are on duty now.
    pub staffed: bool,
    /// Why it was asked; `null` where the text was erased or the directory does not answer.
    pub reason: Option<String>,
    /// What you said that you did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountView>,
    /// You can still say it: somebody was at work, and it is neither closed out nor over for long.
    #[serde(default)]
    pub may_account: bool,
    /// Its rule demands that what was done is signed off.
    #[serde(default)]
    pub close_out_wanted: bool,
    /// `pending`, `granted`, `denied`, `withdrawn`, `lapsed`, `revoked`, `closed out`, or in words how else it ended.
    pub standing: String,
    /// Who ended it by a no, and why.
    pub no: Option<NoView>,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    pub submitted: Timestamp,
    /// When it was first used.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub first_use: Option<Timestamp>,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub deadline: Timestamp,
    /// Sessions that run under it.
    #[schema(value_type = Vec<String>)]
    pub sessions: Vec<SessionId>,
    /// More time or more actions that were asked for it, oldest first.
    pub asks: Vec<OwnAsk>,
    /// As six words, to compare with the operator.
    pub words: String,
    /// What to read out to an operator on the telephone, where the rule lets them answer so, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_back: Option<String>,
}

/// More time or more actions, as the technician who asked for it sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnAsk {
    /// Which.
    #[schema(value_type = String)]
    pub ask: AskId,
    /// What was asked, in words.
    pub in_words: String,
    /// `pending`, `granted`, `denied`, `lapsed` with its grant, or `ended by a restore` with it.
    pub standing: String,
    /// Who said no, and why.
    pub no: Option<NoView>,
    /// What to read out to an operator on the telephone, where the rule lets them answer so, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_back: Option<String>,
}

/// One's own requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnRequestsView {
    /// Newest first.
    pub requests: Vec<OwnRequest>,
    /// Where there are older ones: what to ask for `before`.
    #[schema(value_type = Option<String>)]
    pub next: Option<RequestId>,
}

/// More time or more actions, asked of a standing grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AskView {
    /// Which.
    #[schema(value_type = String)]
    pub ask: AskId,
    /// Of which grant.
    #[schema(value_type = String)]
    pub request: RequestId,
    /// What is asked, in words.
    pub in_words: String,
    /// Why.
    pub reason: Option<String>,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Whose approval it takes.
    pub needs: String,
    /// In which ways it can be answered without a signature.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub weaker: BTreeSet<Weaker>,
    /// Who answered.
    pub votes: Vec<VoteView>,
    /// Waits for operators.
    pub open: bool,
    /// The digest that a yes is about.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// As six words, to compare.
    pub words: String,
    /// What the digest covers.
    #[schema(value_type = Object)]
    pub covered: AskCovered,
}

/// What the digest of an [`AskView`] covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AskCovered {
    /// More time.
    Extension(Extension),
    /// More actions.
    Widening(Widening),
}

impl AskCovered {
    /// The digest that verdicts about it name.
    pub fn digest(&self, deployment: &DeploymentId) -> Digest {
        match self {
            Self::Extension(extension) => Digest::of("extension", &(deployment, extension)),
            Self::Widening(widening) => Digest::of("widening", &(deployment, widening)),
        }
    }
}

/// Several extensions and widenings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AsksView {
    /// Newest first.
    pub asks: Vec<AskView>,
    /// Where there are older ones: what to ask for `before`.
    #[schema(value_type = Option<String>)]
    pub next: Option<AskId>,
}

/// A verdict to be signed: a yes to all of it. Whoever narrows it works out the digest anew from what the card says is
/// covered; whoever says no puts the digest of a kept text there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerdictTemplate {
    /// Sign `statement.digest()` in the namespace `holdpoint-approval@v1`.
    #[schema(value_type = Object)]
    pub statement: VerdictStatement,
    /// The digest of the matter as six words, to compare.
    pub words: String,
}

/// A signed verdict about a request, an extension, a widening or an emergency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct VerdictGiven(pub Signed<VerdictStatement>);

/// A verdict that is not signed, in a way that the rule allows. It counts, and is marked as weaker everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WeakerVerdictGiven {
    /// What is answered.
    #[schema(value_type = Object)]
    pub statement: VerdictStatement,
    /// `totp` or `telephone`.
    #[schema(value_type = String)]
    pub way: Weaker,
    /// Of the operator's own authenticator app; it is spent by this.
    pub code: String,
    /// What the technician reads out; by telephone alone.
    #[serde(default)]
    pub read_back: Option<String>,
}

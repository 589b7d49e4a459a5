//! What goes over the wire, in both directions: the commands of the client are written against these types too, and the
//! OpenAPI file is made from them. Times are RFC 3339 in UTC, spans whole seconds, bytes base64, digests hexadecimal.
//! What is signed is in `policies`, and goes as it is.

use std::collections::BTreeSet;
use std::net::IpAddr;

use certs::proof::Face;
use jiff::Timestamp;
use policies::actions::{Action, Actions};
use policies::digest::{Digest, Salted};
use policies::events::{ErasedOn, PackOf, Scope};
use policies::ids::{
    AskId, CredentialName, CutId, DeploymentId, GroupName, GuestId, NodeId, PersonId, Recipient, RequestId, RestoreId,
    RoleName, RuleId, ServiceName, SessionId, TargetName, VendorId, ZoneName,
};
use policies::people::Kind;
use policies::plant::{Protocol, Rule, Then, Weaker};
use policies::requests::{
    CertifyStatement, EraseStatement, Extension, GuestStatement, PlantStatement, Reopening, Request, SeenHead, Signed,
    VerdictStatement, Widening,
};
use policies::time::Window;
use policies::version::V1;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A no, or a failure, as RFC 9457 wants it (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemBody {
    /// `urn:holdpoint:` and the id of the refusal.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for every problem of this type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, and what to do next, for a person.
    pub detail: String,
    /// The stable id of the refusal.
    pub refusal: String,
    /// Single mistakes, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<String>,
}

/// Who wants to sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChallengeWanted {
    /// By which name. The answer is the same for names that nobody has.
    pub name: String,
}

/// What is to be signed to sign in: `certs::sshsig::login_message(origin, nonce)`, in the namespace
/// `holdpoint-login@v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Challenge {
    /// Thirty-two bytes in hexadecimal; good for one sign-in.
    pub nonce: String,
    /// The face's origin, which is signed too.
    pub origin: String,
    /// Void from then on.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
}

/// A complete login: a signature by one's key, and a code.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// By which name.
    pub name: String,
    /// From the challenge.
    pub nonce: String,
    /// An OpenSSH public key.
    pub public_key: String,
    /// The armoured signature (PROTOCOL.sshsig).
    pub signature: String,
    /// Of the authenticator app, or a recovery code.
    pub code: String,
}

impl std::fmt::Debug for SignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignIn({:?}, ..)", self.name)
    }
}

/// Signed in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignedIn {
    /// Goes with each request as `Authorization: Bearer`, beside a proof by the same key.
    pub token: String,
    /// What the proof of each request names.
    pub token_id: String,
    /// Void from then on.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// Who.
    #[schema(value_type = String)]
    pub person: PersonId,
    /// Signed in by key alone, because the directory does not answer: enough to see and to cut, and for nothing else.
    pub key_alone: bool,
    /// The plant's time zone (IANA), in which people are shown times.
    pub timezone: String,
    /// On duty until then, where the person is an operator on the plant face.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub on_duty_until: Option<Timestamp>,
}

impl std::fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignedIn({}, ..)", self.person)
    }
}

/// A one-use code and the key that shall count.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// The enrolment code.
    pub code: String,
    /// An OpenSSH public key.
    pub public_key: String,
}

impl std::fmt::Debug for Enrol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Enrol(..)")
    }
}

/// Enrolled. The secrets are shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnrolledAnswer {
    /// Who.
    #[schema(value_type = String)]
    pub person: PersonId,
    /// The name to sign in by.
    pub name: String,
    /// `plant` or `vendor`: where to sign in.
    #[schema(value_type = String)]
    pub face: Face,
    /// What they sign in with beside their key; none of a sensor, which has its key alone.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub second: Option<SecondFactor>,
    /// `active`, or `enrolled` where others must vouch for the key first.
    pub standing: String,
    /// The gate's CA, to be kept: clients trust nothing else.
    pub ca_pem: String,
}

/// What somebody signs in with beside their key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecondFactor {
    /// For the authenticator app, in base32.
    pub totp_secret: String,
    /// The same as `otpauth://…`, for a QR code.
    pub totp_url: String,
    /// For the day the phone is gone; each works once.
    pub recovery_codes: Vec<String>,
}

impl std::fmt::Debug for SecondFactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecondFactor(..)")
    }
}

impl std::fmt::Debug for EnrolledAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EnrolledAnswer({}, ..)", self.person)
    }
}

/// A short-lived SSH certificate that stands for both factors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateAnswer {
    /// To be written beside the key as `…-cert.pub`.
    pub certificate: String,
    /// Void from then on.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// By which name the gate is reached by SSH.
    pub ssh_host: String,
    /// At which port.
    pub ssh_port: u16,
    /// The only address it is good from.
    #[schema(value_type = String)]
    pub source: IpAddr,
    /// The same login serves the API too: a code works once.
    pub signed_in: SignedIn,
}

/// Asks for a client certificate of the TCP face, under a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificateWanted {
    /// A certificate signing request (RFC 2986) in PEM, for a key on P-256 that was made where it is used. Nothing of it
    /// counts but the key.
    pub signing_request: String,
}

/// A client certificate of the TCP face, and what it opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClientCertificate {
    /// In PEM.
    pub certificate: String,
    /// Void from then on, for new connections: a quarter of an hour at most.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// The only address it is good from.
    #[schema(value_type = String)]
    pub source: IpAddr,
    /// Where it is shown.
    pub face: TcpFaceView,
    /// The one grant that it opens connections under, as it stands.
    pub grant: OwnRequest,
    /// Sessions under it, newest first, ten at most.
    pub sessions: Vec<SessionView>,
}

/// The TCP face, as one grant sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TcpFaceView {
    /// By which name the gate is reached.
    pub host: String,
    /// At which port.
    pub port: u16,
    /// What is carried.
    pub services: Vec<TcpServiceView>,
}

/// A service that the TCP face carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TcpServiceView {
    /// Its name.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// What it speaks.
    #[schema(value_type = String)]
    pub protocol: Protocol,
    /// The name to ask for in TLS (RFC 6066, 3).
    pub server_name: String,
}

/// A person, as others see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Named {
    /// Who.
    #[schema(value_type = String)]
    pub person: PersonId,
    /// Their name; the identifier again where it is not known.
    pub name: String,
}

/// Everything about a person that is not secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PersonView {
    /// Who.
    #[schema(value_type = String)]
    pub person: PersonId,
    /// Their name.
    pub name: String,
    /// What for.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub kind: Kind,
    /// An operator's groups.
    #[schema(value_type = Vec<String>)]
    pub groups: BTreeSet<GroupName>,
    /// `invited`, `enrolled`, `active`, `disabled`, or of a guest whose time is up `over`.
    pub standing: String,
    /// The visit as a guest that they came for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub guest: Option<GuestId>,
    /// OpenSSH public keys.
    pub keys: Vec<String>,
    /// Their SHA-256 fingerprints, in the same order.
    pub fingerprints: Vec<String>,
    /// Named when the installation was founded.
    pub founder: bool,
    /// Who has vouched so far, while that does not suffice.
    pub vouchers: Vec<Named>,
    /// After wrong codes.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub locked_until: Option<Timestamp>,
    /// Signed in on the plant face.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub on_duty_until: Option<Timestamp>,
    /// When the journal last saw them do something, or were invited.
    #[schema(value_type = String, format = DateTime)]
    pub last_seen: Timestamp,
    /// Counts, and was not seen for a quarter: ask whether they still need to.
    pub dormant: bool,
}

/// Everybody.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct PeopleView {
    /// Newest first.
    pub people: Vec<PersonView>,
    /// Where there are older ones: what to ask for `before`.
    #[schema(value_type = Option<String>)]
    pub next: Option<PersonId>,
}

/// Somebody to invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invite {
    /// What they are called and sign in by.
    pub name: String,
    /// `{"kind": "technician", "vendor": …, "role": …}`, `{"kind": "operator"}`, `auditor` or `administrator`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub kind: Kind,
    /// An operator's groups.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub groups: BTreeSet<GroupName>,
    /// How long the code is good; three days where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts_seconds: Option<u32>,
}

/// Another code for somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reinvite {
    /// How long the code is good; three days where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts_seconds: Option<u32>,
}

/// An invitation, shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invited {
    /// Who.
    #[schema(value_type = String)]
    pub person: PersonId,
    /// By what name.
    pub name: String,
    /// The one-use code to hand over.
    pub code: String,
    /// By which name the gate is reached by SSH, to enrol with any client.
    pub ssh_host: String,
    /// At which port.
    pub ssh_port: u16,
    /// Void from then on.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
}

impl std::fmt::Debug for Invited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Invited({}, ..)", self.person)
    }
}

/// Another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// The new one.
    pub name: String,
}

/// A vendor's contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VendorView {
    /// Which vendor.
    #[schema(value_type = String)]
    pub vendor: VendorId,
    /// The first moment after the contract.
    #[schema(value_type = String, format = DateTime)]
    pub end: Timestamp,
    /// Who answers for it at the plant.
    pub sponsor: Named,
    /// Disabled in one act.
    pub disabled: bool,
    /// How many of its technicians are active.
    pub technicians: usize,
    /// The number by which it is called back before a guest of theirs is invited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telephone: Option<String>,
}

/// All contracts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VendorsView {
    /// By name.
    pub vendors: Vec<VendorView>,
}

/// A contract that begins or changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// The first moment after it.
    #[schema(value_type = String, format = DateTime)]
    pub end: Timestamp,
    /// Who answers for the vendor at the plant.
    #[schema(value_type = String)]
    pub sponsor: PersonId,
    /// The number by which the vendor is called back before a guest of theirs is invited; that which stands, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telephone: Option<String>,
}

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
    /// `pending`, `granted`, `denied`, `withdrawn`, `lapsed` or `revoked`.
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
    /// `pending`, `granted`, `denied`, `withdrawn`, `lapsed` or `revoked`.
    pub standing: String,
    /// Who ended it by a no, and why.
    pub no: Option<NoView>,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    pub submitted: Timestamp,
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
    /// `pending`, `granted`, `denied`, or `lapsed` with its grant.
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

/// The digest that a verdict about a reopening names.
pub fn reopening_digest(deployment: &DeploymentId, reopening: &Reopening) -> Digest {
    Digest::of("reopening", &(deployment, reopening))
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

/// A vouching to be signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertifyTemplate {
    /// Sign `statement.digest()` in the namespace `holdpoint-certify@v1`.
    #[schema(value_type = Object)]
    pub statement: CertifyStatement,
    /// The person's name.
    pub name: String,
    /// Fingerprints of the keys, to compare with what the person says.
    pub fingerprints: Vec<String>,
}

/// A plant file's adoption to be signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlantTemplate {
    /// Sign `statement.digest()` in the namespace `holdpoint-plant@v1`.
    #[schema(value_type = Object)]
    pub statement: PlantStatement,
    /// The file's digest as six words, to compare.
    pub words: String,
}

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
    pub reviewed_by: Option<Named>,
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

/// What somebody is to look back at: an emergency grant by its request, or a guest's visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ReviewId {
    /// An emergency grant.
    Emergency(RequestId),
    /// A guest's visit.
    Guest(GuestId),
}

impl ReviewId {
    const fn at(self) -> ulid::Ulid {
        match self {
            Self::Emergency(request) => request.ulid(),
            Self::Guest(guest) => guest.ulid(),
        }
    }
}

/// In the order in which they came up.
impl Ord for ReviewId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let is_guest = |id: &Self| matches!(id, Self::Guest(_));
        self.at().cmp(&other.at()).then_with(|| is_guest(self).cmp(&is_guest(other)))
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
        text.parse().map(Self::Guest).or_else(|_| text.parse().map(Self::Emergency))
    }
}

/// Something that somebody is to look back at, or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReviewView {
    /// Which: `r_…` of an emergency grant, `g_…` of a guest.
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
    /// Who gave it.
    pub given_by: Vec<Named>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Somebody looked back at it.
    pub reviewed: bool,
    /// From when on somebody can look back at it; now, where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
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

/// A signed verdict about a request, an extension, a widening or an emergency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct VerdictGiven(pub Signed<VerdictStatement>);

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

/// A signed vouching.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct CertificateGiven(pub Signed<CertifyStatement>);

/// A signature under a plant file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct PlantSignature(pub Signed<PlantStatement>);

/// What came of an act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// The ids of the events that were journaled, in order; none where nothing was left to do.
    pub events: Vec<String>,
}

/// A text to be kept, so that its salted digest can be signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeepText {
    /// One line.
    pub text: String,
}

/// A text as it was kept. Check that salt and text give the digest before signing it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeptText {
    /// SHA-256(salt ‖ text).
    #[schema(value_type = String)]
    pub digest: Salted,
    /// Thirty-two bytes in hexadecimal.
    pub salt: String,
    /// As it was kept: made fit to show.
    pub text: String,
}

impl KeptText {
    /// Whether the digest is this text's.
    pub fn is_right(&self) -> bool {
        let salt = data_encoding::HEXLOWER_PERMISSIVE.decode(self.salt.as_bytes());
        let salt = salt.ok().and_then(|salt| <[u8; 32]>::try_from(salt).ok());
        salt.is_some_and(|salt| self.digest.opens_with(&salt, &self.text))
    }
}

/// Why something is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Because {
    /// In words.
    pub reason: String,
}

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
    /// How many of its target's places it holds.
    #[serde(default)]
    pub connections: usize,
    /// How many there are at that service, for everybody; nothing where it is no service by TCP.
    #[serde(default)]
    pub connections_max: Option<u16>,
}

/// A session's connections to its target were closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disconnected {
    /// How many.
    pub connections: usize,
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
    /// `on-terminals`, `in-lobby` or `nowhere`.
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

/// How long a recording is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeptView {
    /// Nothing erases it earlier; none while its session runs.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// When it goes by itself, if nobody holds it then.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub removed: Option<Timestamp>,
    /// Who holds it.
    pub holds: Vec<HoldView>,
    /// Who signed, since the last hold, that it is erased.
    pub signers: Vec<Named>,
    /// That it was erased.
    pub erased: Option<ErasedView>,
}

/// That somebody holds a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HoldView {
    /// Who.
    pub by: Named,
    /// Why; none where the text was erased.
    pub reason: Option<String>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// That a recording was erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErasedView {
    /// When it was decided.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// `{"on": "people", "administrator": "p_…", "operator": "p_…"}` or `{"on": "rule", "rule": "…"}`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub on: ErasedOn,
}

/// To whom a backup is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupTo {
    /// `age1…`, several with commas between.
    pub to: String,
}

/// How far a backup goes; the file BACKUP in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupHeads {
    /// 1.
    #[schema(value_type = u64)]
    pub v: V1,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Entries of the journal.
    pub journal: u64,
    /// Entries of this node's record log.
    pub records: u64,
}

/// Whose hold is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Your own, if left out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub of: Option<PersonId>,
}

/// An erasure, to be signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EraseTemplate {
    /// Sign `statement.digest()` in the namespace `holdpoint-erase@v1`.
    #[schema(value_type = Object)]
    pub statement: EraseStatement,
}

/// A signed erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct EraseSignature(pub Signed<EraseStatement>);

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
    /// The number of its connection in the recording: the newest is shown.
    pub connection: u32,
    /// How many screens are open.
    pub connections: usize,
    /// How large it is, in pixels; 0 until the target has said so.
    pub width: u16,
    /// Likewise.
    pub height: u16,
    /// Why its picture cannot be followed any further, in words; the connection itself goes on.
    pub lost: Option<String>,
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

/// Whom or what to end and keep out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cut {
    /// `{"scope": "session", "of": "s_…"}`, `technician`, `vendor`, `zone`, or `{"scope": "plant"}`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub scope: Scope,
}

/// What a cut did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CutMade {
    /// Which; it keeps out until it is reopened.
    #[schema(value_type = String)]
    pub cut: CutId,
    /// The sessions it ended.
    #[schema(value_type = Vec<String>)]
    pub sessions: Vec<SessionId>,
    /// `journal`, `disk` (in `data/cuts` until the journal takes it) or `memory` (neither took it: it is lost at a
    /// restart).
    pub kept: String,
}

/// A cut that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CutView {
    /// Which.
    #[schema(value_type = String)]
    pub cut: CutId,
    /// Whom or what it keeps out.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub scope: Scope,
    /// In the journal; only then can it be reopened.
    pub journaled: bool,
}

/// Cuts that stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CutsView {
    /// In the order of their identifiers.
    pub cuts: Vec<CutView>,
}

/// Letting back in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reopen {
    /// What is reopened, and why.
    #[schema(value_type = Object)]
    pub reopening: Reopening,
    /// The signed yes to it.
    #[schema(value_type = Object)]
    pub verdict: Signed<VerdictStatement>,
}

/// A plant file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlantFile {
    /// SHA-256 of its text.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// As six words, to compare.
    pub words: String,
    /// Whole.
    pub text: String,
    /// It is the one in force.
    pub in_force: bool,
    /// Who signed it so far.
    pub signers: Vec<Named>,
    /// Who must sign, beside an administrator.
    pub needs: String,
}

/// Plant files without their texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlantFiles {
    /// In the order of their digests; `text` is empty.
    pub files: Vec<PlantFile>,
}

/// A plant file to be signed by others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposePlant {
    /// Whole.
    pub text: String,
}

/// A plant file by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlantProposed {
    /// SHA-256 of its text.
    #[schema(value_type = String)]
    pub digest: Digest,
}

/// A target's credential: a password, or a private key in OpenSSH's form. Sealed at once and never shown again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretSet {
    /// As text.
    pub secret: String,
}

impl std::fmt::Debug for SecretSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretSet(..)")
    }
}

impl Drop for SecretSet {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret);
    }
}

/// The names of the credentials that were set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretNames {
    /// In order.
    #[schema(value_type = Vec<String>)]
    pub names: Vec<CredentialName>,
}

/// The journal's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeadView {
    /// Entries.
    pub size: u64,
    /// Merkle root over them.
    #[schema(value_type = String)]
    pub root: Digest,
}

impl From<HeadView> for SeenHead {
    fn from(head: HeadView) -> Self {
        Self { size: head.size, root: head.root }
    }
}

/// The longest prefix of the journal that somebody else remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WitnessedView {
    /// Entries.
    pub size: u64,
    /// Merkle root over them.
    #[schema(value_type = String)]
    pub root: Digest,
    /// Since it was signed.
    pub age_seconds: u64,
    /// The witness that cosigned it; none where it is the signature of somebody who approved or vouched.
    pub witness: Option<String>,
}

/// How it stands with a witness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WitnessView {
    /// Its name.
    pub name: String,
    /// Entries of the journal that it cosigned.
    pub journal: Option<u64>,
    /// Entries of this node's record log that it cosigned.
    pub records: Option<u64>,
    /// When it cosigned the older of the two, by its own clock.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// Why it cosigns no more.
    pub trouble: Option<String>,
}

/// How the recorder is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecorderView {
    /// Why it takes nothing more, where it does not.
    pub fault: Option<String>,
    /// Recordings open.
    pub open: usize,
    /// The head of its log.
    pub head: HeadView,
    /// Bytes free on its disk.
    pub free_bytes: Option<u64>,
    /// Below this no session is let in.
    pub reserve_bytes: Option<u64>,
}

/// How the gate is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The installation.
    #[schema(value_type = String)]
    pub deployment: DeploymentId,
    /// This node.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// The last restore: the logs' names end with it.
    #[schema(value_type = Option<String>)]
    pub restore: Option<RestoreId>,
    /// By the gate's clock.
    #[schema(value_type = String, format = DateTime)]
    pub now: Timestamp,
    /// The journal.
    pub journal: HeadView,
    /// What of it nobody can change unnoticed any more.
    pub witnessed: Option<WitnessedView>,
    /// The witnesses that are asked.
    pub witnesses: Vec<WitnessView>,
    /// Since how long it does not answer.
    pub journal_down_seconds: Option<u64>,
    /// An event this program does not know: nobody is admitted until it was upgraded.
    pub unknown_event: Option<String>,
    /// Facts that wait to be journaled.
    pub late: usize,
    /// Facts that had to be forgotten.
    pub lost: u64,
    /// Sessions live.
    pub live: usize,
    /// Requests that wait for operators.
    pub pending: usize,
    /// Cuts that stand.
    pub cuts: usize,
    /// The board is red: see `because`.
    pub red: bool,
    /// Why, in words.
    pub because: Vec<String>,
    /// The plant file in force.
    #[schema(value_type = Option<String>)]
    pub plant: Option<Digest>,
    /// The recorder of this node.
    pub recorder: Option<RecorderView>,
    /// To whom recordings are encrypted.
    pub recipients: Vec<RecipientView>,
    /// What a thief of the disk gets.
    pub seal: String,
    /// What stands and must be looked after, by kind.
    pub alarms: Vec<AlarmView>,
    /// How long the plant takes to say yes; nothing where no request was granted lately.
    pub answered: Option<AnswerTimes>,
    /// Those whom the gate brings the feed.
    pub feed: Vec<ReceiverView>,
}

/// An alarm that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AlarmView {
    /// Its kind, as docs/EVENTS.md lists them.
    pub alarm: String,
    /// Of whom or what, where there may be several of the kind.
    pub of: Option<String>,
    /// In words.
    pub text: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// The operator who saw it, or the display at which somebody did.
    #[schema(value_type = Option<String>)]
    pub seen_by: Option<PersonId>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub seen_at: Option<Timestamp>,
}

/// An alarm that stands, as somebody names it who saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlarmSeen {
    /// Its kind.
    pub alarm: String,
    /// Of whom or what.
    #[serde(default)]
    pub of: Option<String>,
    /// Since when it stands; one that was raised anew since is another.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// The alarms that somebody saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlarmsSeen {
    /// Those.
    pub alarms: Vec<AlarmSeen>,
}

/// How many alarms sound no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AlarmsQuiet {
    /// Those that stand and that nobody had seen before.
    pub acknowledged: usize,
}

/// How long requests of the last thirty days waited from being made to being granted; emergencies are not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnswerTimes {
    /// How many.
    pub requests: usize,
    /// Half of them, so long at most.
    pub p50_seconds: u64,
    /// Of twenty, nineteen.
    pub p95_seconds: u64,
}

/// A receiver of the feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceiverView {
    /// As the configuration calls it.
    pub name: String,
    /// Events that it does not have yet.
    pub behind: u64,
    /// Events that it will never have, since this node started.
    pub missed: u64,
    /// Why it takes nothing, where it does not.
    pub trouble: Option<String>,
}

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

/// Whether new sessions can be let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// They can.
    pub healthy: bool,
}

/// One of the first people, whose keys an auditor keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FounderView {
    /// Who.
    #[schema(value_type = String)]
    pub person: PersonId,
    /// `administrator` or `operator`.
    pub role: String,
    /// SHA-256 fingerprints of their keys.
    pub fingerprints: Vec<String>,
}

/// What an evidence pack is to be about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pack {
    /// `{"pack": "session", "session": "s_…"}`, or `{"pack": "vendor", "vendor": …, "from": …, "until": …}`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub of: PackOf,
}

/// A key that opens a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rehearsed {
    /// The recipient to which the key belongs, `age1…`.
    #[schema(value_type = String)]
    pub recipient: Recipient,
    /// The recording that it opened, whole.
    #[schema(value_type = String)]
    pub session: SessionId,
}

/// A key to which recordings are encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecipientView {
    /// `age1…`.
    #[schema(value_type = String)]
    pub recipient: Recipient,
    /// What the configuration calls it.
    pub name: Option<String>,
    /// Since when recordings are.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When somebody last said that it opens one.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub used: Option<Timestamp>,
    /// Nobody has for a year.
    pub forgotten: bool,
}

/// What evidence is checked by, as the server tells it: to be compared with what the auditor keeps, never to replace it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrustView {
    /// The installation.
    #[schema(value_type = String)]
    pub deployment: DeploymentId,
    /// Verifier keys of the logs.
    pub logs: Vec<String>,
    /// The first administrators and operators.
    pub founders: Vec<FounderView>,
    /// The TLS CA.
    pub ca_pem: String,
    /// The line for `known_hosts`.
    pub ssh_ca: String,
}

/// An entry of the journal, one line each in `application/x-ndjson`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EntryLine {
    /// Its place, from 0.
    pub index: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The stable id of the event (`docs/EVENTS.md`).
    pub id: String,
    /// The fact.
    #[schema(value_type = Object)]
    pub event: serde_json::Value,
    /// Its hash as a leaf of the journal's tree, in hexadecimal.
    pub leaf: String,
}

/// What of a list is wanted: newest first, a page at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted<I> {
    /// Also those that are over.
    #[serde(default)]
    pub all: bool,
    /// So many at most; [`LISTED_MAX`] where nothing is said, and never more.
    pub limit: Option<usize>,
    /// Those older than this one: what `next` of the page before said.
    pub before: Option<I>,
}

/// No page of a list is longer.
pub const LISTED_MAX: usize = 1_000;

/// One page of a list.
pub trait Page: DeserializeOwned {
    /// What to ask for `before`, where there are older ones.
    fn next(&self) -> Option<String>;
    /// Puts an older page behind this one.
    fn append(&mut self, older: Self);

    /// Where the next page of the list at `path` is, if there is one.
    fn older(&self, path: &str) -> Option<String> {
        let mark = if path.contains('?') { '&' } else { '?' };
        self.next().map(|before| format!("{path}{mark}before={before}"))
    }
}

macro_rules! pages {
    ($($view:ident of $list:ident,)*) => {
        $(impl Page for $view {
            fn next(&self) -> Option<String> {
                self.next.as_ref().map(ToString::to_string)
            }

            fn append(&mut self, older: Self) {
                self.$list.extend(older.$list);
                self.next = older.next;
            }
        })*
    };
}

pages! {
    CardsView of requests,
    OwnRequestsView of requests,
    AsksView of asks,
    SessionsView of sessions,
    PeopleView of people,
    GuestsView of guests,
    ReviewsView of reviews,
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

/// What of a watched session is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchWanted {
    /// The picture of a screen over VNC, too.
    #[serde(default)]
    pub pictures: bool,
}

/// From where on the journal is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// Entries that are known already.
    #[serde(default)]
    pub after: u64,
}

/// Why a cut is to be reopened, as a kept text's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReopenFor {
    /// Of the reason.
    pub reason: Salted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_output_shows_a_code_or_a_token() {
        let sign_in = SignIn {
            name: "lee".into(),
            nonce: String::new(),
            public_key: String::new(),
            signature: "sesame".into(),
            code: "sesame".into(),
        };
        let set = SecretSet { secret: "sesame".into() };
        let enrol = Enrol { code: "sesame".into(), public_key: String::new() };
        assert!(!format!("{sign_in:?}{set:?}{enrol:?}").contains("sesame"));
    }

    #[test]
    fn a_scope_reads_as_it_stands_in_the_description() {
        for (text, scope) in [
            (r#"{"scope":"plant"}"#, Scope::Plant),
            (r#"{"scope":"zone","of":"packaging"}"#, Scope::Zone("packaging".parse().unwrap())),
        ] {
            assert_eq!(serde_json::from_str::<Cut>(text).unwrap().scope, scope);
        }
    }
}

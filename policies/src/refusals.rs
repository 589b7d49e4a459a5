//! The noes. Each is a value with a stable id, a reason fit to show, and what to do next; none names a secret or
//! tells a stranger what exists.

use std::collections::BTreeSet;

use crate::actions::{Action, Actions};
use crate::ids::{NodeId, PersonId, RequestId, RoleName, RuleId, TargetName, VendorId, ZoneName};
use crate::people::Standing;
use crate::plant::Weaker;
use crate::rules::{Lacking, NotAllowed};
use crate::time::{PlantTime, Seconds};

/// A no to an authenticated person.
#[allow(missing_docs, reason = "each variant's message is its documentation")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    // People
    #[error("this person is not known here. Ask an administrator of the plant")]
    UnknownPerson,
    #[error("{}", not_active(*.0))]
    NotActive(Standing),
    #[error("too many wrong codes: locked until {0}. Wait, or ask an administrator")]
    LockedOut(PlantTime),
    #[error("only {0} may do this")]
    WrongKind(&'static str),
    #[error(
        "this key is, or was, another person's here. Enrol with another one (`ssh-keygen -t ed25519`), or, where you were \
         here before, ask the plant to invite you by the name that you had then"
    )]
    KeyTaken,
    #[error(
        "you have {0} keys here, and no more fit. Ask an administrator for a new code: the key you enrol with it replaces all"
    )]
    KeysFull(usize),
    #[error(
        "{0} gave you an account that is somebody else's here, so it was not linked, and nothing changed. Sign out there, and in as \
         yourself. If that does not help, tell an administrator: {0} hands out one account twice"
    )]
    SubjectTaken(String),
    #[error("the account that you signed in by is no longer linked to you here. Sign in with your own key")]
    SubjectGone,
    #[error("this key is not one of the signer's. Sign with a key you enrolled")]
    NotYourKey,
    #[error("this link was used, has expired, or never was. Ask an administrator for a new one")]
    LinkSpent,
    #[error("this identifier is already in use")]
    Exists,
    #[error("vendor {0} has no contract here. An administrator enters one with `holdpoint contract`")]
    NoContract(VendorId),
    #[error("the contract of vendor {0} ended {1}. Ask your sponsor at the plant")]
    ContractEnded(VendorId, PlantTime),
    #[error("vendor {0} is disabled. Ask your sponsor at the plant")]
    VendorDisabled(VendorId),
    #[error(
        "no telephone number of vendor {0} is registered, so nobody can be called back. An administrator registers one: \
         `holdpoint contract {0} --until DAY --sponsor NAME --telephone NUMBER`, or People on the plant face"
    )]
    NoTelephone(VendorId),
    // Vendors' own people
    #[error(
        "only a manager of your company may do this. An administrator of the plant names one: ask your sponsor at the plant"
    )]
    NotManager,
    #[error(
        "a manager invites technicians of their own company, and nobody else. For anybody else, ask an administrator of the plant"
    )]
    OtherCompany,
    #[error("the plant lets your company's managers invite nobody. Ask your sponsor at the plant")]
    NoInvitations,
    #[error(
        "the plant lets your company's managers have {0} technicians here at once, and they are here. Put one out who comes no \
         longer (whoever never enrolled counts for 30 days even so), or ask your sponsor at the plant for more"
    )]
    InvitationsFull(u16),
    #[error("the plant lets your company's managers invite in the roles {}, not {role}. Ask your sponsor at the plant", names(.roles))]
    RoleNotAllowed { role: RoleName, roles: BTreeSet<RoleName> },
    #[error("managers who invite hand out roles: name one at least, such as `--role maintenance`")]
    RolesWanted,
    #[error(
        "they have enrolled already, or the plant invited them: then only an administrator of the plant gives another code. Ask \
         your sponsor at the plant"
    )]
    NotYourInvitation,
    #[error("managers, yourself too, are put out by the plant alone. Ask an administrator of the plant")]
    ManagerStays,
    #[error("a guest comes for a night and manages nobody. Invite them as a technician first")]
    GuestManages,
    #[error("they were put out, and stay so")]
    PutOut,
    #[error("they have not enrolled yet. Attest them when they have")]
    NotEnrolled,
    #[error("{}", not_attested(.rule, *.within, *.has_manager))]
    NotAttested { rule: RuleId, within: Seconds, has_manager: bool },
    #[error(
        "rule {0} wants that the technician's own company attested them, and nothing of that holds now, so your yes was not kept. \
         Tell their company, and answer again then; or say no"
    )]
    TechnicianNotAttested(RuleId),

    // Vouching
    #[error("{0} may not vouch here: an administrator is needed, and for each group a member of it")]
    MayNotVouch(&'static str),

    // Guests
    #[error("no rule {0} takes guests. `holdpoint guests` lists the rules that do")]
    NoGuests(RuleId),
    #[error(
        "no rule lets operators invite a guest of {vendor} to {target}. `holdpoint guests` lists who may come where"
    )]
    NoGuestRule { vendor: VendorId, target: TargetName },
    #[error("rule {rule} lets no guest of {vendor} come to {target}. `holdpoint guests` lists who may come where")]
    GuestOutsideRule { rule: RuleId, vendor: VendorId, target: TargetName },
    #[error("somebody is a guest under rule {rule} until {until}, and it takes one at a time. Wait, or end that visit")]
    GuestThere { rule: RuleId, until: PlantTime },
    #[error("your time here as a guest ended {0}. The control room can invite you again")]
    GuestOver(PlantTime),
    #[error("you are a guest here for {0} alone. Ask for that, or ask your sponsor at the plant")]
    GuestElsewhere(TargetName),
    #[error("a guest gets no emergency grant. Ask without it; the control room that invited you answers")]
    GuestEmergency,
    #[error(
        "a guest has one code, for one visit. End that visit and invite them again: an operator on duty does both. When it is over, \
         an administrator may invite them as a technician: `holdpoint invite NAME --technician VENDOR/ROLE`"
    )]
    GuestHasOneCode,
    #[error("there was no such visit of a guest")]
    NoSuchGuest,
    #[error("this visit ended {0}; nothing is left to end")]
    GuestGone(PlantTime),
    #[error("the guest may come until {0}. Look back when the visit is over, or end it first")]
    GuestStillThere(PlantTime),

    // What is signed
    #[error("signed for another installation")]
    OtherDeployment,
    #[error("the signed statement expired {0}. Look at it again and sign anew")]
    StatementExpired(PlantTime),
    #[error("what was signed is not what stands here: it changed meanwhile. Look at it again and sign anew")]
    OtherDigest,
    #[error("the journal named in the signature is not this one, or lies ahead of it")]
    OtherJournal,

    // The plant file
    #[error("the plant file has {0} mistakes; `holdpoint check` lists them")]
    PlantFileWrong(usize),
    #[error("no plant file with this digest was proposed. Run `holdpoint adopt FILE` first")]
    NoSuchPlantFile,
    #[error("this plant file is in force already")]
    PlantInForce,
    #[error(
        "nobody is let in, because this version of Holdpoint cannot read the plant file in force. Run the version that \
         adopted it, adopt a file with which `holdpoint check` of this version finds no mistake, then update again"
    )]
    NoPlant,

    // Asking
    #[error("{0}")]
    NotAllowed(NotAllowed),
    #[error("this rule wants a work order. Give it with --work-order")]
    WorkOrderWanted,
    #[error("the work order does not look as rule {0} wants it: {1}")]
    WorkOrderShape(RuleId, String),
    #[error("you enrolled again since this was proved. Connect anew, with the key and the codes you have now")]
    EarlierKey,
    #[error("one of the first people enrols with the code that `init` printed; it does not expire")]
    FirstCodeStands,
    #[error("say why: a reason is needed")]
    ReasonWanted,
    #[error("{asked} is longer than rule {rule} gives: at most {most}")]
    TooLong { asked: Seconds, most: Seconds, rule: RuleId },
    #[error("rule {rule} of this grant allows {}, and you ask for {}", list(.allowed), list(.asked))]
    OutsideRule { asked: Actions, allowed: Actions, rule: RuleId },
    #[error("the window is empty or over. Choose one that ends after it begins, and after now")]
    WindowOver,
    #[error("a request may look ahead {0} at most")]
    WindowTooFar(Seconds),
    #[error("{0} requests of yours are waiting already. Withdraw one first")]
    TooManyPending(usize),

    // Answering
    #[error("there is no such request")]
    NoSuchRequest,
    #[error("this request is {0}; nothing is left to answer")]
    NotPending(&'static str),
    #[error("nobody was at work under this grant, so there is nothing to say of it")]
    NothingDone,
    #[error("say what was done, what was changed, and how it was left; \"nothing\" is an answer")]
    AccountWanted,
    #[error("you said exactly this already, and the control room has it")]
    AccountSame,
    #[error("you said {0} times what you did under this grant; the last time counts. Tell an operator what is missing")]
    AccountsFull(usize),
    #[error("this is over for longer than {0}. Tell an operator what is missing")]
    AccountLate(Seconds),
    #[error("somebody is at work under this grant. It can be closed out when they are gone")]
    StillAtWork,
    #[error("somebody was at work under this grant since you looked. Look again, and sign what stands then")]
    OtherWork,
    #[error("this grant is closed out already")]
    ClosedOut,
    #[error("this session was not drawn to be reviewed, or somebody has reviewed it")]
    NotDrawn,
    #[error("nobody looks back at what they gave, or whom they invited, themselves. Another operator does")]
    OwnDeed,
    #[error("nobody approves for their own vendor")]
    OwnVendor,
    #[error("you have answered this already; each operator has one vote")]
    AlreadyVoted,
    #[error("your groups have no say here. It takes {0}")]
    NoSay(String),
    #[error("an approval can only take away: shorter, fewer actions, a later start")]
    Widens,
    #[error("only an operator on duty may give an emergency grant. Sign in on the plant face first")]
    NotOnDuty,
    #[error("rule {rule} lets nobody answer {}: sign with your passkey or SSH key", without_signature(*.way))]
    WeakerNotAllowed { way: Weaker, rule: RuleId },
    #[error("{0} takes a signature, because one yes is all it takes: sign with your passkey or SSH key")]
    SignatureWanted(&'static str),
    #[error("only an operator on duty {0}. Sign in on the plant face first")]
    DutyWanted(&'static str),
    #[error("nothing waits to be accepted here: whoever stands for it is on duty for as long as you are")]
    NothingToAccept,
    #[error("a code of your own authenticator app is wanted here, and no other")]
    NotYourCode,
    #[error(
        "you have no authenticator app here, so you cannot answer without your key. An administrator can give you another \
         code to enrol with, which shows one"
    )]
    NoApp,

    // Connecting
    #[error("no grant for {0}. Ask for one: name the target when you connect, or use `request {0}`")]
    NoGrant(TargetName),
    #[error("request {id} for {target} still waits for {waits_for}")]
    StillPending { id: RequestId, target: TargetName, waits_for: String },
    #[error("the grant for {0} begins {1}")]
    NotYet(TargetName, PlantTime),
    #[error("the grant for {0} ended {1}. Ask for a new one")]
    GrantOver(TargetName, PlantTime),
    #[error("the grant for {0} was taken back by an operator")]
    GrantRevoked(TargetName),
    #[error("the shift changed, and nobody accepted the grant for {0} yet. Ask the control room to accept it")]
    NotAccepted(TargetName),
    #[error("the shift changed, and nobody accepted the grant for {0}, which ended it. Ask for a new one")]
    GrantNotAccepted(TargetName),
    #[error("the gate was restored from an earlier state, which ended the grant for {0}. Ask for a new one")]
    GrantRestored(TargetName),
    #[error("the grant for {0} was closed out: an operator signed off what was done. Ask for a new one")]
    GrantClosedOut(TargetName),
    #[error("the grant allows {}, not {wanted}. Ask for {wanted}", list(.granted))]
    ActionNotGranted { wanted: Action, granted: Actions },
    #[error("the rule's hours are over for now{}", .0.as_ref().map(|when| format!("; they begin again {when}")).unwrap_or_default())]
    OutsideHours(Option<PlantTime>),
    #[error("connections from this network are not in rule {0}")]
    WrongSource(RuleId),
    #[error("you no longer match rule {0} that this grant stands on")]
    RuleNoLongerFits(RuleId),
    #[error("{0} connections under this grant are open, which is all it allows. Close one first")]
    TooManyConnections(u16),
    #[error("{0} is held by somebody else for now. Ask {1} when it becomes free")]
    HeldExclusively(TargetName, String),
    #[error(
        "this plant takes no connections within a WebSocket, because whoever opens TLS in between reads and can alter \
         them. Connect from a network that leaves TLS alone, or ask the plant"
    )]
    NoWebSockets,
    #[error("zone {0} is closed to everybody, always")]
    ZoneNever(ZoneName),
    #[error("access was cut by an operator and not reopened yet. Ask the control room")]
    CutOff,
    #[error("the gate's clock stands behind its journal. Nobody is admitted until an administrator has set it right")]
    ClockBehind,
    #[error("the gate restarts at {0} and lets nobody in before. Your grant stands: come again a minute later")]
    Restarts(PlantTime),

    // Running
    #[error("there is no such live session")]
    NoSuchSession,
    #[error("the rule of this session demands no escort, so nobody need say that they are there")]
    NoEscortWanted,
    #[error("only whoever watches a session escorts it. Watch it, and say it again")]
    NotWatching,
    #[error("it would run past {0}: {1}")]
    ExtensionTooFar(PlantTime, &'static str),
    #[error("there is no such cut, or it is reopened already")]
    NoSuchCut,

    // Nodes
    #[error(
        "the node {0} is up and runs an older version, which could not read this and would let nobody in any more. Upgrade it; where it is gone \
         for good, an administrator says so: `holdpoint nodes forget {0}`"
    )]
    OlderNode(NodeId),
    #[error(
        "the journal knows no node {0} since it began or was restored. `holdpoint nodes` lists those that it knows"
    )]
    NoSuchNode(NodeId),
    #[error(
        "the node {node} may be up: nothing was heard of it for {}, and only after {wanted} can what it carried be taken for over. Where it \
         runs, stop it; where it is gone, say it again then", silence(*silent)
    )]
    NodeNotSilent { node: NodeId, silent: Seconds, wanted: Seconds },

    // Keeping
    #[error("nothing was recorded of a session of this name")]
    NoSuchRecording,
    #[error("the session runs. What is recorded of it is kept for at least {least} from its end: rule {rule}")]
    StillRecording { rule: RuleId, least: Seconds },
    #[error("rule {rule} keeps it for at least {least}, until {until}. It can be erased from then on")]
    KeptUntil { rule: RuleId, least: Seconds, until: PlantTime },
    #[error("it is held by {}, and stays until each of them releases it", each(.0))]
    Held(Vec<PersonId>),
    #[error("nobody of this name holds it")]
    NotHeld,
    #[error("it was erased {0}. That it was, and what it was, stays in the logs")]
    Erased(PlantTime),
    // Evidence
    #[error("nothing was ever encrypted to this key here. The keys that count are `recipients` in holdpoint.toml")]
    NoRecipient,
    #[error("that span of time is empty: it ends before it begins")]
    EmptySpan,
    #[error("a report is about {0} days at most. Choose a shorter span")]
    LongSpan(i64),
    #[error("that are more than {0} rows. Choose a shorter span, or one vendor")]
    ManyRows(usize),
}

impl Refusal {
    /// The stable id, for events, logs and machines.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::UnknownPerson => "unknown-person",
            Self::NotActive(_) => "not-active",
            Self::LockedOut(_) => "locked-out",
            Self::WrongKind(_) => "wrong-kind",
            Self::KeyTaken => "key-taken",
            Self::KeysFull(_) => "keys-full",
            Self::SubjectTaken(_) => "subject-taken",
            Self::SubjectGone => "subject-gone",
            Self::NotYourKey => "not-your-key",
            Self::LinkSpent => "link-spent",
            Self::Exists => "exists",
            Self::NoContract(_) => "no-contract",
            Self::ContractEnded(..) => "contract-ended",
            Self::VendorDisabled(_) => "vendor-disabled",
            Self::NoTelephone(_) => "no-telephone",
            Self::NoGuests(_) => "no-guests",
            Self::NoGuestRule { .. } => "no-guest-rule",
            Self::GuestOutsideRule { .. } => "guest-outside-rule",
            Self::GuestThere { .. } => "guest-there",
            Self::GuestOver(_) => "guest-over",
            Self::GuestElsewhere(_) => "guest-elsewhere",
            Self::GuestEmergency => "guest-emergency",
            Self::GuestHasOneCode => "guest-has-one-code",
            Self::NoSuchGuest => "no-such-guest",
            Self::GuestGone(_) => "guest-gone",
            Self::GuestStillThere(_) => "guest-still-there",
            Self::MayNotVouch(_) => "may-not-vouch",
            Self::NotManager => "not-manager",
            Self::OtherCompany => "other-company",
            Self::NoInvitations => "no-invitations",
            Self::InvitationsFull(_) => "invitations-full",
            Self::RoleNotAllowed { .. } => "role-not-allowed",
            Self::RolesWanted => "roles-wanted",
            Self::NotYourInvitation => "not-your-invitation",
            Self::ManagerStays => "manager-stays",
            Self::GuestManages => "guest-manages",
            Self::PutOut => "put-out",
            Self::NotEnrolled => "not-enrolled",
            Self::NotAttested { .. } => "not-attested",
            Self::TechnicianNotAttested(_) => "technician-not-attested",
            Self::OtherDeployment => "other-deployment",
            Self::StatementExpired(_) => "statement-expired",
            Self::OtherDigest => "other-digest",
            Self::OtherJournal => "other-journal",
            Self::PlantFileWrong(_) => "plant-file-wrong",
            Self::NoSuchPlantFile => "no-such-plant-file",
            Self::PlantInForce => "plant-in-force",
            Self::NoPlant => "no-plant",
            Self::NotAllowed(_) => "not-allowed",
            Self::WorkOrderWanted => "work-order-wanted",
            Self::WorkOrderShape(..) => "work-order-shape",
            Self::EarlierKey => "earlier-key",
            Self::FirstCodeStands => "first-code-stands",
            Self::ReasonWanted => "reason-wanted",
            Self::TooLong { .. } => "too-long",
            Self::OutsideRule { .. } => "outside-rule",
            Self::WindowOver => "window-over",
            Self::WindowTooFar(_) => "window-too-far",
            Self::TooManyPending(_) => "too-many-pending",
            Self::NoSuchRequest => "no-such-request",
            Self::NotPending(_) => "not-pending",
            Self::NothingDone => "nothing-done",
            Self::AccountWanted => "account-wanted",
            Self::AccountSame => "account-same",
            Self::AccountsFull(_) => "accounts-full",
            Self::AccountLate(_) => "account-late",
            Self::StillAtWork => "still-at-work",
            Self::OtherWork => "other-work",
            Self::ClosedOut => "closed-out",
            Self::NotDrawn => "not-drawn",
            Self::OwnDeed => "own-deed",
            Self::OwnVendor => "own-vendor",
            Self::AlreadyVoted => "already-voted",
            Self::NoSay(_) => "no-say",
            Self::Widens => "widens",
            Self::NotOnDuty | Self::DutyWanted(_) => "not-on-duty",
            Self::WeakerNotAllowed { .. } => "weaker-not-allowed",
            Self::NothingToAccept => "nothing-to-accept",
            Self::NotYourCode => "not-your-code",
            Self::NoApp => "no-app",
            Self::SignatureWanted(_) => "signature-wanted",
            Self::NoGrant(_) => "no-grant",
            Self::StillPending { .. } => "still-pending",
            Self::NotYet(..) => "not-yet",
            Self::GrantOver(..) => "grant-over",
            Self::GrantRevoked(_) => "grant-revoked",
            Self::NotAccepted(_) => "not-accepted",
            Self::GrantNotAccepted(_) => "grant-not-accepted",
            Self::GrantRestored(_) => "grant-restored",
            Self::GrantClosedOut(_) => "grant-closed-out",
            Self::ActionNotGranted { .. } => "action-not-granted",
            Self::OutsideHours(_) => "outside-hours",
            Self::WrongSource(_) => "wrong-source",
            Self::RuleNoLongerFits(_) => "rule-no-longer-fits",
            Self::TooManyConnections(_) => "too-many-connections",
            Self::HeldExclusively(..) => "held-exclusively",
            Self::NoWebSockets => "no-websockets",
            Self::ZoneNever(_) => "zone-never",
            Self::CutOff => "cut-off",
            Self::ClockBehind => "clock-behind",
            Self::Restarts(_) => "restarts",
            Self::NoSuchSession => "no-such-session",
            Self::NoEscortWanted => "no-escort-wanted",
            Self::NotWatching => "not-watching",
            Self::ExtensionTooFar(..) => "extension-too-far",
            Self::NoSuchCut => "no-such-cut",
            Self::OlderNode(_) => "older-node",
            Self::NoSuchNode(_) => "no-such-node",
            Self::NodeNotSilent { .. } => "node-not-silent",
            Self::NoSuchRecording => "no-such-recording",
            Self::StillRecording { .. } => "still-recording",
            Self::KeptUntil { .. } => "kept-until",
            Self::Held(_) => "held",
            Self::NotHeld => "not-held",
            Self::Erased(_) => "erased",
            Self::NoRecipient => "no-recipient",
            Self::EmptySpan => "empty-span",
            Self::LongSpan(_) => "long-span",
            Self::ManyRows(_) => "many-rows",
        }
    }
}

impl Refusal {
    /// The stable id of why something was refused, as HP1409 has it: of the rules' no, which of them.
    pub const fn why(&self) -> &'static str {
        match self {
            Self::NotAllowed(not) => not.id(),
            other => other.id(),
        }
    }

    /// The rule that it is about: of the rules' no, the nearest.
    pub fn rule(&self) -> Option<&RuleId> {
        match self {
            Self::NotAllowed(not) => not.nearest().map(|nearest| &nearest.rule),
            Self::WorkOrderShape(rule, _)
            | Self::WrongSource(rule)
            | Self::RuleNoLongerFits(rule)
            | Self::TooLong { rule, .. }
            | Self::OutsideRule { rule, .. } => Some(rule),
            _ => None,
        }
    }

    /// Of what the nearest rule allows something else.
    pub fn lacks(&self) -> BTreeSet<Lacking> {
        match self {
            Self::NotAllowed(not) => not.lacks(),
            _ => BTreeSet::new(),
        }
    }
}

/// What HP1409 has as `reason`, in words for the plant's own people; a reason of another version stands for itself.
pub fn in_words(reason: &str) -> &str {
    match reason {
        "no-such-target" => "there is no such target",
        "no-such-service" => "the target has no such service",
        "service-needed" => "the target has several services, and none was named",
        "zone-never" => "its zone is closed to everybody, always",
        "no-actions" => "nothing was asked for",
        "not-spoken" => "the service knows nothing of the kind",
        "no-rule" => "no rule allows it",
        // Of the rules' no, whichever: journaled before it said which.
        "not-allowed" => "the rules do not allow it",
        "no-plant" => "no plant file is in force",
        "unknown-person" => "the person is not known",
        "not-active" => "the person does not count, or not any more",
        "locked-out" => "the person is locked out after wrong codes",
        "wrong-kind" => "only technicians may",
        "no-contract" => "the vendor has no contract",
        "contract-ended" => "the vendor's contract has ended",
        "vendor-disabled" => "the vendor is disabled",
        "guest-over" => "the visit is over",
        "guest-elsewhere" => "the guest was invited for another target",
        "guest-emergency" => "a guest gets no emergency grant",
        "work-order-wanted" => "no work order was given",
        "work-order-shape" => "the work order does not look as its rule wants it",
        "reason-wanted" => "no reason was given",
        "too-long" => "longer than its rule gives",
        "outside-rule" => "beyond what its rule gives",
        "not-attested" => "nobody at the vendor attested them in time, as the rule wants",
        "window-over" => "its window is empty or over",
        "window-too-far" => "too far ahead",
        "too-many-pending" => "too many requests of theirs wait",
        "exists" => "its identifier is in use",
        "no-such-request" => "there is no such request",
        "earlier-key" => "proved by an earlier key",
        "no-grant" => "no grant for it",
        "still-pending" => "the request still waits",
        "not-yet" => "the grant has not begun",
        "grant-over" => "the grant is over",
        "grant-revoked" => "the grant was taken back",
        "not-accepted" => "the shift changed, and nobody has accepted the grant",
        "grant-not-accepted" => "the shift changed, and the grant ended, since nobody accepted it",
        "grant-restored" => "a restore ended the grant",
        "grant-closed-out" => "the grant was closed out",
        "action-not-granted" => "something else was granted",
        "outside-hours" => "outside the hours of its rule",
        "wrong-source" => "from a network that its rule does not name",
        "rule-no-longer-fits" => "they no longer match the rule of the grant",
        "too-many-connections" => "as many connections are open as its rule allows",
        "held-exclusively" => "somebody else holds the target",
        "no-websockets" => "the plant takes no WebSockets",
        "cut-off" => "cut off by an operator",
        "clock-behind" => "the gate's clock stands behind its journal",
        "restarts" => "the gate was about to restart",
        "provider-refused" => "the identity provider vouches for no group that lets them in",
        other => other,
    }
}

impl From<NotAllowed> for Refusal {
    fn from(reason: NotAllowed) -> Self {
        Self::NotAllowed(reason)
    }
}

const fn not_active(standing: Standing) -> &'static str {
    match standing {
        Standing::Invited => "you have not enrolled yet. Use the one-use code you were given: `ssh enrol@…`",
        Standing::Enrolled => "you are enrolled, but nobody has vouched for your key yet. Ask an administrator",
        Standing::Active => "active",
        Standing::Over => "your time here as a guest is over. The control room can invite you again",
        Standing::Disabled => "your access was ended. Ask your sponsor at the plant",
    }
}

fn not_attested(rule: &RuleId, within: Seconds, has_manager: bool) -> String {
    let ask = match has_manager {
        true => "Ask a manager of your company to attest you",
        false => "Your company has no manager here: ask your sponsor at the plant to have one named",
    };
    format!(
        "rule {rule} wants that within {within} a manager of your company attested that you still work for it, are trained, and \
         are sent, and nothing of that holds now. {ask}"
    )
}

fn silence(silent: Seconds) -> String {
    if silent == Seconds(0) { "less than a second".to_owned() } else { silent.to_string() }
}

fn names(roles: &BTreeSet<RoleName>) -> String {
    roles.iter().map(RoleName::as_str).collect::<Vec<_>>().join(", ")
}

const fn without_signature(way: Weaker) -> &'static str {
    match way {
        Weaker::Totp => "by TOTP",
        Weaker::Telephone => "by telephone",
    }
}

fn each(people: &[PersonId]) -> String {
    people.iter().map(PersonId::to_string).collect::<Vec<_>>().join(", ")
}

fn list(actions: &Actions) -> String {
    actions.iter().map(|action| action.as_str()).collect::<Vec<_>>().join(", ")
}

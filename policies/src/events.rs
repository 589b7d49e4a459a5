//! The facts the journal holds. Their bytes are for ever: UTF-8 JSON as first written, versioned, with stable ids
//! (`docs/EVENTS.md`). Nobody's name, reason or work order is in one, only its salted digest.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::actions::Actions;
use crate::digest::{Digest, Salted};
use crate::ids::{
    AskId, CredentialName, CutId, DeploymentId, GroupName, GuestId, LinkId, NodeId, PersonId, ProviderName, Recipient,
    RequestId, RoleName, RuleId, ServiceName, SessionId, TargetName, VendorId, ZoneName,
};
use crate::people::{Kind, SshKey};
use crate::plant::{Rule, Then, Weaker};
use crate::requests::{
    Account, CertifyStatement, CloseOut, EraseStatement, Extension, GuestStatement, PlantStatement, Reopening, Request,
    RestoreStatement, SeenHead, Signed, VerdictStatement, Widening,
};
use crate::rules::Lacking;
use crate::time::Seconds;
use crate::vocabulary::Vocabulary;

/// A person named when the installation was founded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founder {
    /// Who.
    pub person: PersonId,
    /// Administrator or operator.
    #[serde(flatten)]
    pub kind: Kind,
    /// An operator's groups.
    pub groups: BTreeSet<GroupName>,
    /// The one-use link they enrol by.
    pub link: LinkId,
}

/// Whom or what a cut ends, and keeps out until reopened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "scope", content = "of")]
pub enum Scope {
    /// One session; its grant stays shut.
    Session(SessionId),
    /// Everything of one technician.
    Technician(PersonId),
    /// Everything of one vendor.
    Vendor(VendorId),
    /// Everything in one zone.
    Zone(ZoneName),
    /// Everything.
    Plant,
}

/// What an evidence pack is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "pack")]
pub enum PackOf {
    /// One session, with the request behind it.
    Session {
        /// Which.
        session: SessionId,
    },
    /// All that a vendor asked for and did in a span of time, refused requests included.
    Vendor {
        /// Which.
        vendor: VendorId,
        /// The first moment inside.
        from: Timestamp,
        /// The first moment after.
        until: Timestamp,
    },
}

/// What somebody asked for and was refused as they did: no request came of it, and nobody else was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedFor {
    /// To do what; nothing where it did not come to that.
    pub actions: Actions,
    /// Through which service, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// As an emergency.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
    /// Of what the nearest rule allows something else.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lacks: BTreeSet<Lacking>,
}

/// On whose word a cut was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "by", content = "person")]
pub enum CutBy {
    /// A person who signed in.
    Operator(PersonId),
    /// Somebody at this display of the control room.
    Display(PersonId),
    /// Somebody at the machine itself, with everything else gone.
    Local,
}

/// Why a session ended. The first one that happens counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ending")]
pub enum Ending {
    /// The technician closed it, or their connection was lost.
    Left,
    /// The target closed it.
    TargetClosed,
    /// The target could not be reached or refused us.
    TargetUnreachable,
    /// The target showed another host key than the pinned one.
    HostKeyChanged,
    /// The time given was up.
    Expired,
    /// The grant was taken back.
    Revoked,
    /// An operator cut it.
    Cut {
        /// By which cut.
        cut: CutId,
    },
    /// Nobody touched it for the rule's `idle`.
    Idle,
    /// Nobody watched where the rule demands it.
    EscortLost,
    /// The shift changed, and nobody accepted it in time.
    NotAccepted,
    /// The recording stopped, so the session did.
    RecorderFailed,
    /// The journal could not be read for longer than the rule's `staleness`.
    Stale,
    /// A peer held more than the limits allow.
    Overrun,
    /// The gate was stopped in order.
    Shutdown,
    /// The gate stopped without order; found at its next start.
    Crashed,
    /// Nobody heard of its node for twice the rule's `staleness`, so another node took it for ended. Where that node could not
    /// reach the journal, the session ran on until it could.
    Presumed,
}

/// Why somebody escorts a session no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EscortEnd {
    /// They did not say within the rule's `escort_tap` that they are still there.
    Lapsed,
    /// They watch no longer.
    Left,
}

/// On whose word a recording is erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "on")]
pub enum ErasedOn {
    /// Two people signed.
    People {
        /// One of them.
        administrator: PersonId,
        /// The other.
        operator: PersonId,
    },
    /// The rule's `retention_max` is over.
    Rule {
        /// Frozen in the session's request.
        rule: RuleId,
    },
}

impl Ending {
    /// The words for all of them, in the order in which they are listed.
    pub const WORDS: [&str; 16] = [
        "left",
        "target-closed",
        "target-unreachable",
        "host-key-changed",
        "expired",
        "revoked",
        "cut",
        "idle",
        "escort-lost",
        "not-accepted",
        "recorder-failed",
        "stale",
        "overrun",
        "shutdown",
        "crashed",
        "presumed",
    ];

    /// The journal's word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::TargetClosed => "target-closed",
            Self::TargetUnreachable => "target-unreachable",
            Self::HostKeyChanged => "host-key-changed",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Cut { .. } => "cut",
            Self::Idle => "idle",
            Self::EscortLost => "escort-lost",
            Self::NotAccepted => "not-accepted",
            Self::RecorderFailed => "recorder-failed",
            Self::Stale => "stale",
            Self::Overrun => "overrun",
            Self::Shutdown => "shutdown",
            Self::Crashed => "crashed",
            Self::Presumed => "presumed",
        }
    }

    /// For people.
    pub const fn in_words(&self) -> &'static str {
        match self {
            Self::Left => "the technician left",
            Self::TargetClosed => "the target closed it",
            Self::TargetUnreachable => "the target could not be reached",
            Self::HostKeyChanged => "the target showed another host key than the pinned one",
            Self::Expired => "the time given was up",
            Self::Revoked => "the grant was taken back",
            Self::Cut { .. } => "an operator cut it",
            Self::Idle => "nobody touched it for too long",
            Self::EscortLost => "nobody watched",
            Self::NotAccepted => "the shift changed, and nobody accepted it",
            Self::RecorderFailed => "the recording stopped",
            Self::Stale => "the journal could not be read for too long",
            Self::Overrun => "a peer held more than the limits allow",
            Self::Shutdown => "the gate was stopped",
            Self::Crashed => "the gate stopped without order",
            Self::Presumed => "nothing was heard of its gate for too long",
        }
    }
}

/// What proved the technician when a session was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Factor {
    /// An SSH key.
    Key,
    /// A code by time (RFC 6238).
    Totp,
    /// A recovery code.
    Recovery,
    /// A password.
    Password,
    /// A short-lived certificate of ours, which stands for both.
    Certificate,
    /// A complete login of the same key, source and grant within `factor_lasts`.
    RecentLogin,
    /// A passkey, on a page.
    Passkey,
    /// The word of an identity provider, on a page.
    Oidc,
}

impl Factor {
    /// For people.
    pub const fn in_words(&self) -> &'static str {
        match self {
            Self::Key => "SSH key",
            Self::Totp => "code by time (TOTP)",
            Self::Recovery => "recovery code",
            Self::Password => "password",
            Self::Certificate => "short-lived certificate of the gate's, which stands for key and code",
            Self::RecentLogin => "a complete login shortly before",
            Self::Passkey => "a passkey",
            Self::Oidc => "the word of an identity provider",
        }
    }
}

/// A fact. Variants are grouped by hundred of their id.
#[allow(missing_docs, reason = "docs/EVENTS.md explains each field by name")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// The installation exists, with these people to begin with.
    Founded { deployment: DeploymentId, log_key: String, founders: Vec<Founder> },

    /// A vendor's contract begins or changes.
    Contracted {
        vendor: VendorId,
        end: Timestamp,
        sponsor: PersonId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        telephone: Option<Salted>,
        by: PersonId,
    },
    /// A link went out.
    Invited {
        person: PersonId,
        #[serde(flatten)]
        kind: Kind,
        groups: BTreeSet<GroupName>,
        link: LinkId,
        expires: Timestamp,
        by: PersonId,
    },
    /// Another link went out to somebody who is known: older ones are void, and what they have counts until it is used.
    Reinvited { person: PersonId, link: LinkId, expires: Timestamp, by: PersonId },
    /// A link was used: these are the person's keys from now on.
    Enrolled { person: PersonId, link: LinkId, keys: Vec<SshKey> },
    /// A technician who had proved who they are has one more key.
    KeyAdded { person: PersonId, key: SshKey },
    /// An administrator or a member of a group vouched for a person's keys and groups.
    Certified { certificate: Signed<CertifyStatement> },
    /// Vouched for by all it takes: the person counts.
    Activated { person: PersonId },
    /// A person goes by another name.
    Renamed { person: PersonId, name: Salted, by: PersonId },
    /// A person is out.
    Disabled { person: PersonId, by: PersonId },
    /// A vendor is out, with everybody of it.
    VendorDisabled { vendor: VendorId, by: PersonId },
    /// Too many wrong codes behind a verified key.
    Locked { person: PersonId, until: Timestamp },
    /// A technician set a password, or another one.
    PasswordSet { person: PersonId },
    /// Somebody who had proved who they are here signs in as this subject of an identity provider, too, from now on; as
    /// another one of that provider no longer.
    SubjectLinked {
        person: PersonId,
        provider: ProviderName,
        subject: Digest,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        called: Option<Salted>,
    },
    /// They sign in by that provider no longer.
    SubjectUnlinked { person: PersonId, provider: ProviderName, by: PersonId },
    /// The provider calls the same subject otherwise than before; who it is was proved here, too.
    SubjectRenamed { person: PersonId, provider: ProviderName, subject: Digest, called: Salted },
    /// The provider gave somebody a subject that is somebody else's here. Nothing changed by it.
    SubjectContested { person: PersonId, provider: ProviderName, subject: Digest, holder: PersonId },
    /// So many technicians in these roles may a vendor's managers have here at once by their invitations, from now on.
    InvitationsAllowed { vendor: VendorId, most: u16, roles: BTreeSet<RoleName>, by: PersonId },
    /// A technician manages their company's people here from now on.
    ManagerNamed { person: PersonId, by: PersonId },
    /// And no longer: codes they gave out and nobody used are void.
    ManagerDismissed { person: PersonId, by: PersonId },
    /// A manager says of a technician of their company that they still work for it, are trained, and are sent.
    Attested {
        person: PersonId,
        until: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<Salted>,
        by: PersonId,
    },
    /// They take it back.
    AttestationWithdrawn { person: PersonId, by: PersonId },
    /// An operator signed in on the plant face; by the word of this provider, or by factors of the gate's own alone.
    OnDuty {
        person: PersonId,
        until: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider: Option<ProviderName>,
    },
    /// An operator on duty invited one named guest of a vendor, under a rule that is frozen here.
    GuestInvited { invitation: Signed<GuestStatement>, rule: Box<Rule>, link: LinkId },
    /// A guest's visit is over: its time was, or somebody ended it.
    GuestEnded {
        guest: GuestId,
        person: PersonId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<PersonId>,
    },
    /// Somebody looked back at a guest's visit; why it should not have been, where they say so.
    GuestReviewed {
        guest: GuestId,
        by: PersonId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        objection: Option<Salted>,
    },

    /// Part of the text of a plant file; all parts are in one append.
    PlantText { plant: Digest, part: u16, of: u16, text: String },
    /// A plant file is up for signing.
    PlantProposed { plant: Digest, by: PersonId },
    /// Somebody signed it.
    PlantSigned { signed: Signed<PlantStatement> },
    /// All it takes have signed: it is in force.
    PlantAdopted { plant: Digest },
    /// An administrator set what the gate keeps sealed under this name, in place of what was there. Of the secret nothing is here.
    SecretSet { credential: CredentialName, by: PersonId },
    /// An administrator had the gate forget it.
    SecretForgotten { credential: CredentialName, by: PersonId },

    /// Somebody asks, under a rule that is frozen here.
    Submitted { request: Request, rule: Box<Rule> },
    /// An operator answered.
    Voted { verdict: Signed<VerdictStatement> },
    /// An operator answered without an authenticator, in a way that the rule allows: no signature, the gate's word alone.
    VotedWeaker { statement: VerdictStatement, way: Weaker },
    /// All it takes said yes.
    Granted { request: RequestId },
    /// Somebody said no.
    Denied { request: RequestId, by: PersonId },
    /// The technician took it back.
    Withdrawn { request: RequestId },
    /// Nobody answered in time, or it was never used.
    Lapsed { request: RequestId },
    /// More time is asked for.
    ExtensionAsked { extension: Extension },
    /// The deadline moved.
    Extended { ask: AskId, request: RequestId, deadline: Timestamp },
    /// More actions are asked for.
    WideningAsked { widening: Widening },
    /// Actions added, until then.
    Widened { ask: AskId, request: RequestId, until: Timestamp },
    /// An extension or a widening was answered with no.
    AskDenied { ask: AskId, request: RequestId, by: PersonId },
    /// A grant was taken back.
    Revoked { request: RequestId, by: PersonId, reason: Salted },
    /// Somebody looked back at an emergency grant; why it should not have been given, where they say so.
    Reviewed {
        request: RequestId,
        by: PersonId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        objection: Option<Salted>,
    },

    /// An operator accepts what the shift before left, and stands for it until then.
    Accepted { request: RequestId, by: PersonId, until: Timestamp },
    /// The shift changed, and nobody accepted it in time: what the rule says then.
    NotAccepted { request: RequestId, then: Then },

    /// A session begins: nothing was sent to the target yet.
    Started {
        session: SessionId,
        request: RequestId,
        technician: PersonId,
        target: TargetName,
        service: ServiceName,
        actions: Actions,
        source: IpAddr,
        factors: Vec<Factor>,
        node: NodeId,
        deadline: Timestamp,
    },
    /// A session is over.
    Ended {
        session: SessionId,
        #[serde(flatten)]
        ending: Ending,
        seal: Option<Digest>,
    },
    /// Input stopped on an operator's word.
    Frozen { session: SessionId, by: PersonId },
    /// Input goes on.
    Thawed { session: SessionId, by: PersonId },
    /// Somebody watches a live session.
    Watched { session: SessionId, by: PersonId },
    /// Somebody stopped watching.
    WatchEnded { session: SessionId, by: PersonId },
    /// Somebody who watches says that they are there: input that waits for an escort goes on.
    Escorted { session: SessionId, by: PersonId },
    /// Somebody escorts no longer. Where they were the last, input waits from then on.
    EscortEnded { session: SessionId, by: PersonId, why: EscortEnd },
    /// An operator wrote a line to the technician.
    Told { session: SessionId, text: Salted, by: PersonId },
    /// The technician said what they did under a grant; the last one counts.
    Accounted {
        request: RequestId,
        #[serde(flatten)]
        account: Account,
        by: PersonId,
    },
    /// An operator signed off what was done under a grant, which ends it.
    ClosedOut { close_out: CloseOut, verdict: Signed<VerdictStatement> },
    /// Somebody reviewed a session that was drawn; what they found, where they found something.
    SessionReviewed {
        session: SessionId,
        by: PersonId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        findings: Option<Salted>,
    },
    /// Somebody fetched a recording, for replay or export.
    Fetched { session: SessionId, by: PersonId },
    /// Somebody made an evidence pack.
    Packed {
        #[serde(flatten)]
        of: PackOf,
        by: PersonId,
    },
    /// Somebody reads along what passes to targets over TCP, from now on: of a target, a zone, or all.
    CaptureBegun { target: Option<TargetName>, zone: Option<ZoneName>, by: PersonId },
    /// Somebody opened this recording, whole, with the private key of this recipient.
    Rehearsed { recipient: Recipient, session: SessionId, by: PersonId },
    /// A target showed a key that is not the pinned one.
    HostKeyMismatch { target: TargetName, service: ServiceName, expected: String, got: String },
    /// A session's time is over, and its program transfer is let finish, until then at most.
    TransferRunsOn { session: SessionId, until: Timestamp },
    /// Nobody typed anything for as long as the rule says: the technician's terminals are locked until they give a code.
    IdleLocked { session: SessionId },
    /// The technician gave a code, and their terminals are open again.
    IdleUnlocked { session: SessionId },
    /// The technician was told how much time is left, in seconds.
    Warned { session: SessionId, left: Seconds },
    /// An operator closed a session's connections to its target; the session goes on.
    Disconnected { session: SessionId, by: PersonId },
    /// An authenticated person was refused: what they asked for, or a connection.
    Refused {
        person: PersonId,
        reason: String,
        target: Option<TargetName>,
        rule: Option<RuleId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<AskedFor>,
    },
    /// A recording must not be erased, whatever its rule says.
    Held { session: SessionId, reason: Salted, by: PersonId },
    /// A hold is over.
    Released { session: SessionId, of: PersonId, by: PersonId },
    /// Somebody signed that a recording is erased.
    ErasureSigned { signed: Signed<EraseStatement> },
    /// A recording is erased: its keys first, then its bytes.
    Erased {
        session: SessionId,
        #[serde(flatten)]
        on: ErasedOn,
    },

    /// An operator's word to end and keep out.
    Cut {
        cut: CutId,
        #[serde(flatten)]
        scope: Scope,
        #[serde(flatten)]
        by: CutBy,
        at: Timestamp,
    },
    /// Let back in.
    Reopened { reopening: Reopening, verdict: Signed<VerdictStatement> },

    /// A node of the program runs, and reads so much.
    NodeStarted {
        node: NodeId,
        version: String,
        #[serde(default, skip_serializing_if = "Vocabulary::is_first")]
        vocabulary: Vocabulary,
    },
    /// A node was stopped in order.
    NodeStopped { node: NodeId },
    /// How far a node's log of recordings had come, as that log signed it, so that it can neither vanish nor shrink.
    Checkpointed { node: NodeId, checkpoint: String },
    /// The recorder of a node failed; its sessions end and nobody is admitted there.
    RecorderFailed { node: NodeId },
    /// Somebody took a backup of a node.
    BackedUp { node: NodeId, by: PersonId },
    /// To whom a node encrypts what it records from now on; it said otherwise before, or nothing.
    RecipientsNamed { node: NodeId, recipients: BTreeSet<Recipient> },
    /// The logs go on from an earlier state, under new names: two people signed what is lost.
    Restored { administrator: Box<Signed<RestoreStatement>>, operator: Box<Signed<RestoreStatement>> },
    /// An administrator said that these nodes are gone for good.
    NodesForgotten { nodes: BTreeSet<NodeId>, by: PersonId },
}

/// Bytes that are no event this version knows.
#[derive(Debug, thiserror::Error)]
pub enum UnknownEvent {
    /// Written by a newer version.
    #[error("an event of version {0}; this program knows version 1: upgrade it, nobody is admitted until then")]
    Version(u64),
    /// Not understood.
    #[error("not an event this program knows: upgrade it, nobody is admitted until then ({0})")]
    Json(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct Written<'a> {
    v: u8,
    id: &'static str,
    #[serde(flatten)]
    event: &'a Event,
}

#[derive(Deserialize)]
struct Version {
    v: u64,
}

/// [`Event::Submitted`], as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Submitted {
    #[serde(rename = "v")]
    _version: IgnoredAny,
    #[serde(rename = "id")]
    _id: IgnoredAny,
    #[serde(rename = "event")]
    _event: IgnoredAny,
    request: Request,
    rule: Box<Rule>,
}

impl Submitted {
    const BEGINS: &[u8] = br#"{"v":1,"id":"HP1301","event":"submitted","#;
}

/// [`Event::Voted`], as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Voted {
    #[serde(rename = "v")]
    _version: IgnoredAny,
    #[serde(rename = "id")]
    _id: IgnoredAny,
    #[serde(rename = "event")]
    _event: IgnoredAny,
    verdict: Signed<VerdictStatement>,
}

impl Voted {
    const BEGINS: &[u8] = br#"{"v":1,"id":"HP1302","event":"voted","#;
}

impl Event {
    /// The bytes the journal keeps.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(&Written { v: 1, id: self.id(), event: self })
            .expect("events have string keys and finite numbers")
    }

    /// The event in bytes the journal kept.
    ///
    /// # Errors
    /// Of a version or kind this program does not know: it is never skipped.
    pub fn decode(bytes: &[u8]) -> Result<Self, UnknownEvent> {
        if let Some(event) = Self::decode_as_written(bytes) {
            return Ok(event);
        }
        match serde_json::from_slice::<Version>(bytes)?.v {
            1 => Ok(serde_json::from_slice(bytes)?),
            newer => Err(UnknownEvent::Version(newer)),
        }
    }

    /// Half of a journal's bytes are these two, and whoever reads an event by its tag copies all of it first. One that is not just as
    /// this program writes it is left to that.
    fn decode_as_written(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(Submitted::BEGINS) {
            let Submitted { request, rule, .. } = serde_json::from_slice(bytes).ok()?;
            return Some(Self::Submitted { request, rule });
        }
        if bytes.starts_with(Voted::BEGINS) {
            let Voted { verdict, .. } = serde_json::from_slice(bytes).ok()?;
            return Some(Self::Voted { verdict });
        }
        None
    }

    /// Who did this; nobody where the gate itself did, or two people together.
    pub const fn actor(&self) -> Option<PersonId> {
        match self {
            Self::Contracted { by, .. }
            | Self::Invited { by, .. }
            | Self::Reinvited { by, .. }
            | Self::Renamed { by, .. }
            | Self::Disabled { by, .. }
            | Self::VendorDisabled { by, .. }
            | Self::SubjectUnlinked { by, .. }
            | Self::InvitationsAllowed { by, .. }
            | Self::ManagerNamed { by, .. }
            | Self::ManagerDismissed { by, .. }
            | Self::Attested { by, .. }
            | Self::AttestationWithdrawn { by, .. }
            | Self::PlantProposed { by, .. }
            | Self::SecretSet { by, .. }
            | Self::SecretForgotten { by, .. }
            | Self::Denied { by, .. }
            | Self::AskDenied { by, .. }
            | Self::Revoked { by, .. }
            | Self::Reviewed { by, .. }
            | Self::GuestReviewed { by, .. }
            | Self::SessionReviewed { by, .. }
            | Self::Accounted { by, .. }
            | Self::GuestEnded { by: Some(by), .. }
            | Self::Frozen { by, .. }
            | Self::Thawed { by, .. }
            | Self::Watched { by, .. }
            | Self::Escorted { by, .. }
            | Self::Told { by, .. }
            | Self::Accepted { by, .. }
            | Self::Fetched { by, .. }
            | Self::Packed { by, .. }
            | Self::CaptureBegun { by, .. }
            | Self::Rehearsed { by, .. }
            | Self::Disconnected { by, .. }
            | Self::Held { by, .. }
            | Self::Released { by, .. }
            | Self::BackedUp { by, .. }
            | Self::NodesForgotten { by, .. }
            | Self::Cut { by: CutBy::Operator(by) | CutBy::Display(by), .. } => Some(*by),
            Self::Enrolled { person, .. }
            | Self::KeyAdded { person, .. }
            | Self::PasswordSet { person }
            | Self::SubjectLinked { person, .. }
            | Self::SubjectRenamed { person, .. }
            | Self::SubjectContested { person, .. }
            | Self::OnDuty { person, .. }
            | Self::Refused { person, .. } => Some(*person),
            Self::Started { technician, .. } => Some(*technician),
            Self::Submitted { request, .. } => Some(request.technician),
            Self::Certified { certificate } => Some(certificate.statement.signer),
            Self::GuestInvited { invitation, .. } => Some(invitation.statement.operator),
            Self::PlantSigned { signed } => Some(signed.statement.signer),
            Self::ErasureSigned { signed } => Some(signed.statement.signer),
            Self::Voted { verdict } | Self::Reopened { verdict, .. } | Self::ClosedOut { verdict, .. } => {
                Some(verdict.statement.operator)
            }
            Self::VotedWeaker { statement, .. } => Some(statement.operator),
            Self::Founded { .. }
            | Self::Activated { .. }
            | Self::Locked { .. }
            | Self::GuestEnded { by: None, .. }
            | Self::PlantText { .. }
            | Self::PlantAdopted { .. }
            | Self::Granted { .. }
            | Self::Withdrawn { .. }
            | Self::Lapsed { .. }
            | Self::ExtensionAsked { .. }
            | Self::Extended { .. }
            | Self::WideningAsked { .. }
            | Self::Widened { .. }
            | Self::Ended { .. }
            | Self::WatchEnded { .. }
            | Self::EscortEnded { .. }
            | Self::HostKeyMismatch { .. }
            | Self::TransferRunsOn { .. }
            | Self::IdleLocked { .. }
            | Self::IdleUnlocked { .. }
            | Self::Warned { .. }
            | Self::Erased { .. }
            | Self::NotAccepted { .. }
            | Self::Cut { by: CutBy::Local, .. }
            | Self::NodeStarted { .. }
            | Self::NodeStopped { .. }
            | Self::Checkpointed { .. }
            | Self::RecorderFailed { .. }
            | Self::RecipientsNamed { .. }
            | Self::Restored { .. } => None,
        }
    }

    /// The journal as the signer of this event saw it, where somebody signed it.
    pub const fn seen(&self) -> Option<SeenHead> {
        match self {
            Self::Certified { certificate } => Some(certificate.statement.journal),
            Self::GuestInvited { invitation, .. } => Some(invitation.statement.journal),
            Self::PlantSigned { signed } => Some(signed.statement.journal),
            Self::ErasureSigned { signed } => Some(signed.statement.journal),
            Self::Restored { administrator, .. } => Some(administrator.statement.journal),
            Self::Voted { verdict } | Self::Reopened { verdict, .. } | Self::ClosedOut { verdict, .. } => {
                Some(verdict.statement.journal)
            }
            _ => None,
        }
    }

    /// The stable id, documented in `docs/EVENTS.md`, never reused.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::Founded { .. } => "HP1001",
            Self::Contracted { .. } => "HP1101",
            Self::Invited { .. } => "HP1102",
            Self::Enrolled { .. } => "HP1103",
            Self::Certified { .. } => "HP1104",
            Self::Activated { .. } => "HP1105",
            Self::Renamed { .. } => "HP1106",
            Self::Disabled { .. } => "HP1107",
            Self::VendorDisabled { .. } => "HP1108",
            Self::Locked { .. } => "HP1109",
            Self::OnDuty { .. } => "HP1110",
            Self::PasswordSet { .. } => "HP1111",
            Self::Reinvited { .. } => "HP1112",
            Self::GuestInvited { .. } => "HP1113",
            Self::GuestEnded { .. } => "HP1114",
            Self::GuestReviewed { .. } => "HP1115",
            Self::KeyAdded { .. } => "HP1116",
            Self::SubjectLinked { .. } => "HP1117",
            Self::SubjectUnlinked { .. } => "HP1118",
            Self::SubjectRenamed { .. } => "HP1119",
            Self::SubjectContested { .. } => "HP1120",
            Self::InvitationsAllowed { .. } => "HP1121",
            Self::ManagerNamed { .. } => "HP1122",
            Self::ManagerDismissed { .. } => "HP1123",
            Self::Attested { .. } => "HP1124",
            Self::AttestationWithdrawn { .. } => "HP1125",
            Self::PlantText { .. } => "HP1201",
            Self::PlantProposed { .. } => "HP1202",
            Self::PlantSigned { .. } => "HP1203",
            Self::PlantAdopted { .. } => "HP1204",
            Self::SecretSet { .. } => "HP1210",
            Self::SecretForgotten { .. } => "HP1211",
            Self::Submitted { .. } => "HP1301",
            Self::Voted { .. } => "HP1302",
            Self::Granted { .. } => "HP1303",
            Self::Denied { .. } => "HP1304",
            Self::Withdrawn { .. } => "HP1305",
            Self::Lapsed { .. } => "HP1306",
            Self::ExtensionAsked { .. } => "HP1307",
            Self::Extended { .. } => "HP1308",
            Self::WideningAsked { .. } => "HP1309",
            Self::Widened { .. } => "HP1310",
            Self::AskDenied { .. } => "HP1311",
            Self::Revoked { .. } => "HP1312",
            Self::Reviewed { .. } => "HP1313",
            Self::VotedWeaker { .. } => "HP1314",
            Self::Accepted { .. } => "HP1315",
            Self::NotAccepted { .. } => "HP1316",
            Self::Started { .. } => "HP1401",
            Self::Ended { .. } => "HP1402",
            Self::Frozen { .. } => "HP1403",
            Self::Thawed { .. } => "HP1404",
            Self::Watched { .. } => "HP1405",
            Self::WatchEnded { .. } => "HP1406",
            Self::Fetched { .. } => "HP1407",
            Self::HostKeyMismatch { .. } => "HP1408",
            Self::Refused { .. } => "HP1409",
            Self::Held { .. } => "HP1410",
            Self::Released { .. } => "HP1411",
            Self::ErasureSigned { .. } => "HP1412",
            Self::Erased { .. } => "HP1413",
            Self::Packed { .. } => "HP1414",
            Self::Rehearsed { .. } => "HP1415",
            Self::TransferRunsOn { .. } => "HP1416",
            Self::Disconnected { .. } => "HP1417",
            Self::CaptureBegun { .. } => "HP1418",
            Self::Escorted { .. } => "HP1419",
            Self::EscortEnded { .. } => "HP1420",
            Self::Told { .. } => "HP1421",
            Self::Accounted { .. } => "HP1422",
            Self::ClosedOut { .. } => "HP1423",
            Self::SessionReviewed { .. } => "HP1424",
            Self::IdleLocked { .. } => "HP1430",
            Self::IdleUnlocked { .. } => "HP1431",
            Self::Warned { .. } => "HP1432",
            Self::Cut { .. } => "HP1501",
            Self::Reopened { .. } => "HP1502",
            Self::NodeStarted { .. } => "HP1601",
            Self::NodeStopped { .. } => "HP1602",
            Self::Checkpointed { .. } => "HP1603",
            Self::RecorderFailed { .. } => "HP1604",
            Self::BackedUp { .. } => "HP1605",
            Self::RecipientsNamed { .. } => "HP1606",
            Self::Restored { .. } => "HP1607",
            Self::NodesForgotten { .. } => "HP1608",
        }
    }
}

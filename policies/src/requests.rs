//! What is asked, what is answered, and the exact bytes that are signed. A request's digest covers all that an
//! operator sees; a verdict's digest covers the request's and the journal's head, so each approver witnesses the journal.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::actions::Actions;
use crate::digest::{Digest, Salted};
use crate::ids::{
    AskId, CutId, DeploymentId, GroupName, GuestId, NodeId, PersonId, RequestId, RestoreId, RoleName, ServiceName,
    SessionId, TargetName, VendorId,
};
use crate::people::{Kind, SshKey};
use crate::refusals::Refusal;
use crate::time::{Seconds, Window};

/// Services of one target. Copies are one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Services(Arc<BTreeSet<ServiceName>>);

impl<const N: usize> From<[ServiceName; N]> for Services {
    fn from(services: [ServiceName; N]) -> Self {
        Self(Arc::new(services.into()))
    }
}

impl Deref for Services {
    type Target = BTreeSet<ServiceName>;
    fn deref(&self) -> &BTreeSet<ServiceName> {
        &self.0
    }
}

impl Serialize for Services {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (*self.0).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Services {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(Arc::new(BTreeSet::deserialize(from)?)))
    }
}

/// A request for access, as asked or as narrowed by a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Which.
    pub id: RequestId,
    /// Who asks.
    pub technician: PersonId,
    /// Where to.
    pub target: TargetName,
    /// Through which of its services; never empty.
    pub services: Services,
    /// To do what; never empty.
    pub actions: Actions,
    /// When a first connection may be made, and when all ends.
    pub window: Window,
    /// How long from the first connection.
    pub duration: Seconds,
    /// Why.
    pub reason: Salted,
    /// Under which work order.
    pub work_order: Option<Salted>,
    /// Digest of the rule it stands on.
    pub rule: Digest,
    /// Asked as an emergency: one operator on duty may give it.
    pub emergency: bool,
}

impl Request {
    /// The digest that verdicts are about.
    pub fn digest(&self, deployment: &DeploymentId) -> Digest {
        #[derive(Serialize)]
        struct Covered<'a> {
            deployment: &'a DeploymentId,
            request: &'a Request,
        }
        Digest::of("request", &Covered { deployment, request: self })
    }

    /// The request with what a verdict takes away. A narrowing that widens changes nothing here: see [`Narrowing::narrows`].
    pub fn narrowed(&self, narrowing: &Narrowing) -> Self {
        let mut narrowed = self.clone();
        if let Some(duration) = narrowing.duration {
            narrowed.duration = duration.min(self.duration);
        }
        if let Some(actions) = &narrowing.actions {
            narrowed.actions = self.actions.intersection(actions).copied().collect();
        }
        if let Some(from) = narrowing.from {
            narrowed.window.from = from.max(self.window.from);
        }
        narrowed
    }
}

/// What a yes takes away from a request. It never adds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Narrowing {
    /// Shorter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Seconds>,
    /// Fewer actions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions: Option<Actions>,
    /// A later start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
}

impl Narrowing {
    /// Whether every part of this takes away from `request`, and something is left.
    pub fn narrows(&self, request: &Request) -> bool {
        self.duration.is_none_or(|d| d.0 > 0 && d <= request.duration)
            && self.actions.as_ref().is_none_or(|a| !a.is_empty() && a.is_subset(&request.actions))
            && self.from.is_none_or(|f| request.window.contains(f))
    }

    /// Whether nothing is taken away.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a verdict is about. Each has a digest; what was signed for one never passes for another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "about", content = "id")]
pub enum Matter {
    /// A request for access.
    Request(RequestId),
    /// More time for a standing grant.
    Extension(AskId),
    /// One more action for a standing grant, for some minutes.
    Widening(AskId),
    /// Letting people back in after a cut.
    Reopening(CutId),
    /// The look back at an emergency grant.
    Review(RequestId),
    /// The look back at a guest's visit.
    Guest(GuestId),
    /// What was done under a grant, signed off.
    CloseOut(RequestId),
    /// The review of a session that was drawn.
    Session(SessionId),
}

/// More time, asked of a standing grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Which.
    pub id: AskId,
    /// Of which grant.
    pub request: RequestId,
    /// How much.
    pub by: Seconds,
    /// The deadline it would move to.
    pub deadline: Timestamp,
    /// Why.
    pub reason: Salted,
}

/// Actions added to a standing grant for some minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Widening {
    /// Which.
    pub id: AskId,
    /// Of which grant.
    pub request: RequestId,
    /// What is added.
    pub actions: Actions,
    /// For how long from the yes.
    pub lasts: Seconds,
    /// Why.
    pub reason: Salted,
}

/// Letting people back in after a cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reopening {
    /// Which cut.
    pub cut: CutId,
    /// Why.
    pub reason: Salted,
}

/// What was done under a grant, and how the machine was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What was done.
    pub done: Salted,
    /// What is otherwise than before.
    pub changed: Salted,
    /// How it was left.
    pub left: Salted,
}

impl Account {
    /// So many texts it has.
    pub const TEXTS: usize = 3;

    /// Its texts, in this order.
    pub const fn texts(&self) -> [Salted; Self::TEXTS] {
        [self.done, self.changed, self.left]
    }
}

/// The account of what was done under a grant that an operator signs off, and the work that it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseOut {
    /// Of which grant.
    pub request: RequestId,
    /// What was done.
    #[serde(flatten)]
    pub account: Account,
    /// In which sessions: nobody vouches for one that began after they looked.
    pub work: Work,
}

/// What was at work under a grant: so many sessions, of which this is the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// How many sessions.
    pub sessions: usize,
    /// The newest of them.
    pub last: SessionId,
}

impl CloseOut {
    /// The digest that a verdict about it names.
    pub fn digest(&self, deployment: &DeploymentId) -> Digest {
        Digest::of("close-out", &(deployment, self))
    }
}

/// The answer of one operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum Answer {
    /// An approval, perhaps of less than was asked.
    Yes {
        /// What is taken away.
        #[serde(default, skip_serializing_if = "Narrowing::is_empty")]
        narrowing: Narrowing,
    },
    /// One no ends it; of what is over, it says that it should not have been.
    No {
        /// Why: for the technician, or for whoever reads of it later.
        reason: Salted,
    },
}

impl Answer {
    /// What it says of something that is over, as it was: why that should not have been, where it is a no.
    ///
    /// # Errors
    /// It takes something away from what is over.
    pub fn looked_back(&self) -> Result<Option<Salted>, Refusal> {
        match self {
            Self::No { reason } => Ok(Some(*reason)),
            Self::Yes { narrowing } if narrowing.is_empty() => Ok(None),
            Self::Yes { .. } => Err(Refusal::Widens),
        }
    }
}

/// The journal as the signer saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenHead {
    /// Entries.
    pub size: u64,
    /// Merkle root (RFC 9162, 2.1) over them.
    pub root: Digest,
}

/// Everything an operator signs when giving a verdict. For requests `digest` is that of the request *as narrowed*.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictStatement {
    /// The installation.
    pub deployment: DeploymentId,
    /// What it is about.
    pub matter: Matter,
    /// The digest of that.
    pub digest: Digest,
    /// Yes or no.
    #[serde(flatten)]
    pub answer: Answer,
    /// Who answers.
    pub operator: PersonId,
    /// Sixteen random bytes in hexadecimal, so that no two statements are alike.
    pub nonce: String,
    /// A statement not journaled by then is void.
    pub expires: Timestamp,
    /// The journal when it was signed.
    pub journal: SeenHead,
}

impl VerdictStatement {
    /// The 32 bytes that are signed, in the approval namespace.
    pub fn digest(&self) -> Digest {
        Digest::of("verdict", self)
    }

    /// What that is the SHA-256 of, for whoever checks a signature with other tools.
    pub fn covered(&self) -> Vec<u8> {
        Digest::covered("verdict", self)
    }
}

/// What an administrator and members of the groups sign about a person whose keys are to count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifyStatement {
    /// The installation.
    pub deployment: DeploymentId,
    /// About whom.
    pub person: PersonId,
    /// As what.
    pub kind: Kind,
    /// The keys that shall count.
    pub keys: Vec<SshKey>,
    /// The groups that shall count.
    pub groups: BTreeSet<GroupName>,
    /// Who signs.
    pub signer: PersonId,
    /// Sixteen random bytes in hexadecimal.
    pub nonce: String,
    /// Void afterwards.
    pub expires: Timestamp,
    /// The journal when it was signed.
    pub journal: SeenHead,
}

impl CertifyStatement {
    /// The 32 bytes that are signed, in the certifying namespace.
    pub fn digest(&self) -> Digest {
        Digest::of("certify", self)
    }
}

/// What an operator on duty signs so that one named guest of a vendor may come: by signing they say, too, that they called
/// the vendor back on this number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestStatement {
    /// The installation.
    pub deployment: DeploymentId,
    /// Which visit.
    pub guest: GuestId,
    /// Who comes.
    pub person: PersonId,
    /// What they are called.
    pub name: Salted,
    /// Whose technician they are.
    pub vendor: VendorId,
    /// In which role of the rule's.
    pub role: RoleName,
    /// The one target that they may ask for.
    pub target: TargetName,
    /// Digest of the one rule that they may ask under.
    pub rule: Digest,
    /// The first moment after the visit.
    pub until: Timestamp,
    /// Why.
    pub reason: Salted,
    /// The vendor's registered number.
    pub telephone: Salted,
    /// Who invites.
    pub operator: PersonId,
    /// Sixteen random bytes in hexadecimal.
    pub nonce: String,
    /// Void afterwards.
    pub expires: Timestamp,
    /// The journal when it was signed.
    pub journal: SeenHead,
}

impl GuestStatement {
    /// The 32 bytes that are signed, in the guests' namespace; and what the look back at the visit is about.
    pub fn digest(&self) -> Digest {
        Digest::of("guest", self)
    }
}

/// What an administrator and the `changes` of the plant file in force sign about a new plant file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlantStatement {
    /// The installation.
    pub deployment: DeploymentId,
    /// SHA-256 of the new file.
    pub plant: Digest,
    /// SHA-256 of the file it replaces.
    pub replaces: Digest,
    /// Who signs.
    pub signer: PersonId,
    /// Sixteen random bytes in hexadecimal.
    pub nonce: String,
    /// Void afterwards.
    pub expires: Timestamp,
    /// The journal when it was signed.
    pub journal: SeenHead,
}

impl PlantStatement {
    /// The 32 bytes that are signed, in the plant namespace.
    pub fn digest(&self) -> Digest {
        Digest::of("plant", self)
    }
}

/// What an administrator and an operator sign so that a recording is erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseStatement {
    /// The installation.
    pub deployment: DeploymentId,
    /// Whose recording.
    pub session: SessionId,
    /// Who signs.
    pub signer: PersonId,
    /// Sixteen random bytes in hexadecimal.
    pub nonce: String,
    /// Void afterwards.
    pub expires: Timestamp,
    /// The journal when it was signed.
    pub journal: SeenHead,
}

impl EraseStatement {
    /// The 32 bytes that are signed, in the erasing namespace.
    pub fn digest(&self) -> Digest {
        Digest::of("erase", self)
    }
}

/// What a restore loses of a log: entries that it had under its name before, as far as somebody remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The first that is lost. What stays of the log may differ from what it was from here on, and is the same before.
    pub from: u64,
    /// Behind the last that anybody remembers; `from`, where nobody remembers any.
    pub until: u64,
}

/// What an administrator and an operator sign so that the logs go on from what is there, under new names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreStatement {
    /// The installation.
    pub deployment: DeploymentId,
    /// Which restore; the last part of the logs' new names.
    pub restore: RestoreId,
    /// What stays of the journal: all that the restore follows.
    pub journal: SeenHead,
    /// What the journal loses.
    pub journal_lost: Lost,
    /// Whose recordings.
    pub node: NodeId,
    /// What stays of the log of recordings.
    pub records: SeenHead,
    /// What that log loses.
    pub records_lost: Lost,
    /// Who signs.
    pub signer: PersonId,
    /// Sixteen random bytes in hexadecimal.
    pub nonce: String,
    /// Void afterwards.
    pub expires: Timestamp,
}

impl RestoreStatement {
    /// The 32 bytes that are signed, in the restoring namespace.
    pub fn digest(&self) -> Digest {
        Digest::of("restore", self)
    }

    /// Whether two people signed the same.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let as_theirs =
            Self { signer: other.signer, nonce: other.nonce.clone(), expires: other.expires, ..self.clone() };
        as_theirs == *other
    }
}

/// A statement with the SSH signature over its digest. Whether it holds is settled in `certs`; that it was checked is
/// the Desk's duty before anything is decided on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    /// What was signed.
    pub statement: T,
    /// By which key of the signer.
    pub key: SshKey,
    /// The armoured signature (OpenSSH PROTOCOL.sshsig).
    pub signature: String,
}

//! People and the companies they come from. Names are not here: the directory keeps them, and events carry only
//! their salted digest. A key is the text of an OpenSSH public key without its comment.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Salted};
use crate::ids::{GroupName, GuestId, PersonId, ProviderName, RoleName, VendorId};

/// Keys that a technician has at most: a workplace's, a browser's, a phone's, and one to spare.
pub const KEYS_MAX: usize = 4;
/// For so long whose key it is hears that one was added to theirs.
const KEY_IS_NEWS: SignedDuration = SignedDuration::from_hours(14 * 24);

/// What a person is here for. One person, one kind: duties stay separated (IEC 62443-3-3 SR 2.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Kind {
    /// Connects, for a vendor, in a role of the vendor's contract.
    Technician {
        /// The company.
        vendor: VendorId,
        /// The role rules refer to.
        role: RoleName,
    },
    /// Approves, watches, cuts.
    Operator {
        /// The vendor an operator works for, where the control room is staffed by one: they cannot decide about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vendor: Option<VendorId>,
    },
    /// Replays and verifies.
    Auditor,
    /// Manages people and keys; cannot approve.
    Administrator,
    /// Nobody, but a program that detects intrusions: reads what passes to targets, and decides nothing.
    Sensor,
    /// Nobody, but a screen in the control room: shows the board, and can cut. It decides nothing else.
    Display,
}

impl Kind {
    /// The word for it in messages.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Technician { .. } => "technician",
            Self::Operator { .. } => "operator",
            Self::Auditor => "auditor",
            Self::Administrator => "administrator",
            Self::Sensor => "sensor",
            Self::Display => "display",
        }
    }

    /// The vendor this person works for.
    pub const fn vendor(&self) -> Option<&VendorId> {
        match self {
            Self::Technician { vendor, .. } => Some(vendor),
            Self::Operator { vendor } => vendor.as_ref(),
            _ => None,
        }
    }

    /// Whether nobody stands beside it who could give a second factor: its key alone signs it in.
    pub const fn is_unattended(&self) -> bool {
        matches!(self, Self::Sensor | Self::Display)
    }

    /// Whether keys of this kind count only once certified by people who already count.
    pub const fn needs_certifying(&self) -> bool {
        matches!(self, Self::Operator { .. } | Self::Administrator)
    }
}

/// An OpenSSH public key (`ssh-ed25519 AAAA…`), without comment. Parsed and judged in `certs`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SshKey(pub String);

/// As whom an identity provider knows a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Made of the provider's issuer and its `sub` under a key of the gate's, so that nobody else reads an account in it.
    pub id: Digest,
    /// What the provider calls them, where it says.
    pub called: Option<Salted>,
    /// Since when.
    pub since: Timestamp,
}

/// That a technician still works for their company, is trained, and is sent: the word of a manager of that company.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attestation {
    /// Whose word.
    pub by: PersonId,
    /// When it was journaled.
    pub at: Timestamp,
    /// From then on it says nothing.
    pub until: Timestamp,
    /// What they wrote beside it, such as the number of a certificate or of a work order.
    pub note: Option<Salted>,
}

/// Whom a vendor's managers may invite.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowance {
    /// So many technicians who came by their invitations may there be at once.
    pub most: u16,
    /// In these roles of the contract.
    pub roles: BTreeSet<RoleName>,
}

/// How far a person has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A link went out and was not used.
    Invited,
    /// Factors are enrolled; an operator's or administrator's key does not count yet.
    Enrolled,
    /// May do what their kind may.
    Active,
    /// Out, in one act; remains resolvable.
    Disabled,
    /// Was a guest, whose time is over. Comes back by another invitation alone.
    Over,
}

/// A person, as folded from the journal.
#[derive(Debug, Clone)]
pub struct Person {
    /// Who.
    pub id: PersonId,
    /// What for.
    pub kind: Kind,
    /// An operator's groups; they count while the person is active.
    pub groups: BTreeSet<GroupName>,
    /// The keys that prove the person.
    pub keys: Vec<SshKey>,
    /// As whom identity providers know them: each provider as one. A subject signs in beside a key, and signs nothing.
    pub subjects: BTreeMap<ProviderName, Subject>,
    /// Keys of earlier visits of somebody who is invited again: they prove nothing, and nobody else enrols them before they
    /// have enrolled.
    pub former_keys: Vec<SshKey>,
    /// How far.
    pub standing: Standing,
    /// Named when the installation was founded: the chain of trust starts here.
    pub founder: bool,
    /// The keys that one of the first people first enrolled with: those that auditors keep.
    pub founding_keys: Vec<SshKey>,
    /// Since when these keys count or wait to: what an earlier key began is over.
    pub enrolled_at: Option<Timestamp>,
    /// When the last of them came beside the others; none did since they enrolled where there is nothing.
    pub key_added: Option<Timestamp>,
    /// Wrong codes behind a verified key locked the person until then.
    pub locked_until: Option<Timestamp>,
    /// Signed in on the plant face; on duty until then.
    pub on_duty_until: Option<Timestamp>,
    /// The visit as a guest that this technician came for; nobody else has one.
    pub guest: Option<GuestId>,
    /// Who invited them; nobody, where they were here from the beginning.
    pub invited_by: Option<PersonId>,
    /// A technician who manages their company's people here.
    pub is_manager: bool,
    /// What a manager of their company last said for them, unless it was taken back.
    pub attested: Option<Attestation>,
    /// When the journal last saw them do something, or were invited.
    pub last_seen: Timestamp,
    /// When a session of theirs last ended because nobody typed anything.
    pub left_alone: Option<Timestamp>,
}

impl Person {
    /// Whether they were here as a guest of this vendor, and are gone: then they may be invited for it again.
    pub fn may_come_again(&self, vendor: &VendorId) -> bool {
        self.standing == Standing::Over && self.kind.vendor() == Some(vendor)
    }

    /// Somebody to whom a link went out, and of whom nothing more is known.
    pub(crate) const fn invited(id: PersonId, kind: Kind, groups: BTreeSet<GroupName>, at: Timestamp) -> Self {
        Self {
            id,
            kind,
            groups,
            keys: Vec::new(),
            subjects: BTreeMap::new(),
            former_keys: Vec::new(),
            standing: Standing::Invited,
            founder: false,
            founding_keys: Vec::new(),
            enrolled_at: None,
            key_added: None,
            locked_until: None,
            on_duty_until: None,
            guest: None,
            invited_by: None,
            is_manager: false,
            attested: None,
            last_seen: at,
            left_alone: None,
        }
    }

    /// Somebody who was here before, if anybody was.
    pub(crate) fn again(self, known: Option<&Self>) -> Self {
        let former_keys = known.map(|known| [&known.keys[..], &known.former_keys].concat());
        Self { former_keys: former_keys.unwrap_or_default(), ..self }
    }

    /// Whether nobody else may enrol this key.
    pub(crate) fn claims(&self, key: &SshKey) -> bool {
        self.keys.contains(key) || self.former_keys.contains(key)
    }

    /// These keys are the person's from now on, and no others. Those of one of the first people count at once when they
    /// first enrol; later theirs, too, count only once others vouched for them.
    pub(crate) fn enrol(&mut self, keys: &[SshKey], at: Timestamp) {
        let is_first = self.founder && self.founding_keys.is_empty();
        if is_first {
            self.founding_keys = keys.to_vec();
        }
        self.keys = keys.to_vec();
        self.former_keys.clear();
        self.subjects.clear();
        (self.enrolled_at, self.key_added) = (Some(at), None);
        (self.locked_until, self.on_duty_until) = (None, None);
        self.standing = if self.kind.needs_certifying() && !is_first { Standing::Enrolled } else { Standing::Active };
    }

    /// One more key of a technician. Nobody else's keys come about so, whatever a journal says.
    pub(crate) fn add_key(&mut self, key: &SshKey, at: Timestamp) {
        if matches!(self.kind, Kind::Technician { .. }) && !self.keys.contains(key) {
            self.keys.push(key.clone());
            self.key_added = Some(at);
        }
    }

    /// When a key was added to theirs, for as long as that is news to whoever did not add it.
    pub fn key_news(&self, now: Timestamp) -> Option<Timestamp> {
        self.key_added.filter(|added| now.duration_since(*added) < KEY_IS_NEWS)
    }

    /// Whether a provider knows them as this subject.
    pub fn is_subject(&self, provider: &ProviderName, subject: &Digest) -> bool {
        self.subjects.get(provider).is_some_and(|known| known.id == *subject)
    }

    /// Whether this is an active operator of that group.
    pub fn is_member(&self, group: &GroupName) -> bool {
        self.is_active_operator() && self.groups.contains(group)
    }

    /// Whether this is an operator whose keys and groups count.
    pub fn is_active_operator(&self) -> bool {
        matches!(self.kind, Kind::Operator { .. }) && self.standing == Standing::Active
    }

    /// Whether this operator signed in on the plant face within the shift.
    pub fn is_on_duty(&self, now: Timestamp) -> bool {
        self.is_active_operator() && self.on_duty_until.is_some_and(|until| now < until)
    }

    /// Whether this is an administrator whose keys count.
    pub fn is_active_administrator(&self) -> bool {
        self.kind == Kind::Administrator && self.standing == Standing::Active
    }
}

/// A vendor's contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// The first moment after the contract: everybody of the vendor is out from then on.
    pub end: Timestamp,
    /// The person at the plant who answers for the vendor.
    pub sponsor: PersonId,
    /// Disabled in one act, before the contract's end.
    pub disabled: bool,
    /// The number by which the vendor is called back before a guest of theirs is invited; none, and none is.
    pub telephone: Option<Salted>,
    /// Whom its managers may invite; nobody, until the plant says so.
    pub allowance: Allowance,
}

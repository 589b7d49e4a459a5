//! People, invitations, vouching, and the contracts of vendors.

use std::collections::BTreeSet;

use jiff::Timestamp;
use policies::ids::{GroupName, GuestId, PersonId, ProviderName, VendorId};
use policies::people::Kind;
use policies::requests::{CertifyStatement, Signed};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AttestedView, ConcernView, InvitationsAllowed, InvitationsView};

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
    /// When the last of them came beside those they enrolled with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub key_added: Option<Timestamp>,
    /// By which identity providers they sign in, too.
    #[serde(default)]
    pub subjects: Vec<SubjectView>,
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
    /// Counts, and was not seen for as long as the plant file says: ask whether they still need to.
    pub dormant: bool,
    /// Manages their company's people here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub manager: bool,
    /// Who invited them; nobody, where they were here from the beginning. Technicians see it where it was their own company.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited_by: Option<Named>,
    /// Until when the code counts that went out to them and was not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub code_until: Option<Timestamp>,
    /// What a manager of their company attests, while that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attested: Option<AttestedView>,
}

/// That an identity provider knows somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubjectView {
    /// Which, as the configuration calls it.
    #[schema(value_type = String)]
    pub provider: ProviderName,
    /// What it calls them, where it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<String>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
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
    /// Who of its technicians manages its people here.
    #[serde(default)]
    pub managers: Vec<Named>,
    /// Whom they may invite.
    #[serde(default)]
    pub invitations: InvitationsView,
    /// What its sponsor should see to.
    #[serde(default)]
    pub concerns: Vec<ConcernView>,
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
    /// Whom its managers may invite; whom they may, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitations: Option<InvitationsAllowed>,
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

/// A signed vouching.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct CertificateGiven(pub Signed<CertifyStatement>);

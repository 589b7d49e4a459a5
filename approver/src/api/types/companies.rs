//! Vendors' own people: their managers, whom those may invite, and what they attest.

use std::collections::BTreeSet;

use jiff::Timestamp;
use policies::ids::{RoleName, VendorId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Named;

/// Whom a vendor's managers may invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvitationsAllowed {
    /// So many technicians who came by their invitations may be here at once; 0: they invite nobody.
    pub most: u16,
    /// In these roles.
    #[schema(value_type = Vec<String>)]
    pub roles: BTreeSet<RoleName>,
}

/// The same, and how many are here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvitationsView {
    /// So many at once.
    pub most: u16,
    /// In these roles.
    #[schema(value_type = Vec<String>)]
    pub roles: BTreeSet<RoleName>,
    /// How many came by their invitations and are not out.
    pub here: usize,
}

/// Something of a vendor's that its sponsor should see to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConcernView {
    /// `contract-ends` (within 30, 7 or 1 days), `contract-over`, `dormant`, or `unused-invitation` (the code is void).
    pub concern: String,
    /// Whom it is about; nobody, where it is about the contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<Named>,
    /// The contract's end, when they were last seen, or when they were invited.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// One's own company, as its manager sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CompanyView {
    /// Which.
    #[schema(value_type = String)]
    pub vendor: VendorId,
    /// The first moment after its contract.
    #[schema(value_type = String, format = DateTime)]
    pub end: Timestamp,
    /// Whom its managers may invite.
    pub invitations: InvitationsView,
}

/// What a manager attests of a technician: that they still work for the company, are trained, and are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttestedView {
    /// Who.
    pub by: Named,
    /// The manager says so of themself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_themself: bool,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// It counts until then.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// What they wrote beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a rule demands of a manager of the technician's company, and what there is of it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttestationView {
    /// Not longer ago than this; nothing is demanded, where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_seconds: Option<u32>,
    /// What a manager attests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attested: Option<AttestedView>,
}

/// That a manager attests a technician.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Attest {
    /// The first moment at which it counts no longer; no later than the end of the contract.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// Such as the number of a certificate, or of a work order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

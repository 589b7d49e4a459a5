//! Recordings that are held, released and erased; and backups.

use jiff::Timestamp;
use policies::events::ErasedOn;
use policies::ids::PersonId;
use policies::requests::{EraseStatement, Signed};
use policies::version::V1;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Named;

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
    /// Recordings that are not in it, because they lie in the bucket alone and that could not be had.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
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

//! Cuts, and reopening them.

use jiff::Timestamp;
use policies::digest::{Digest, Salted};
use policies::events::Scope;
use policies::ids::{CutId, DeploymentId, SessionId};
use policies::requests::{Reopening, Signed, VerdictStatement};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The digest that a verdict about a reopening names.
pub fn reopening_digest(deployment: &DeploymentId, reopening: &Reopening) -> Digest {
    Digest::of("reopening", &(deployment, reopening))
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
    /// On whose word, once it is in the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When it was made, once it is in the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
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
    fn a_scope_reads_as_it_stands_in_the_description() {
        for (text, scope) in [
            (r#"{"scope":"plant"}"#, Scope::Plant),
            (r#"{"scope":"zone","of":"packaging"}"#, Scope::Zone("packaging".parse().unwrap())),
        ] {
            assert_eq!(serde_json::from_str::<Cut>(text).unwrap().scope, scope);
        }
    }
}

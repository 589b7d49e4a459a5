//! What answers have in common: a no as RFC 9457 wants it, what came of an act, and texts that are kept so that their digest can be
//! signed.

use policies::digest::Salted;
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

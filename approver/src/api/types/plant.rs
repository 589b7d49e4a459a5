//! The plant file, signatures under it, and the secrets that it names.

use policies::digest::Digest;
use policies::ids::CredentialName;
use policies::requests::{PlantStatement, Signed};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Named;

/// A plant file's adoption to be signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlantTemplate {
    /// Sign `statement.digest()` in the namespace `holdpoint-plant@v1`.
    #[schema(value_type = Object)]
    pub statement: PlantStatement,
    /// The file's digest as six words, to compare.
    pub words: String,
}

/// A signature under a plant file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct PlantSignature(pub Signed<PlantStatement>);

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

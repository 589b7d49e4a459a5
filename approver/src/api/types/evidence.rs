//! What evidence is made of and checked by.

use jiff::Timestamp;
use policies::events::PackOf;
use policies::ids::{DeploymentId, PersonId, Recipient, SessionId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One of the first people, whose keys an auditor keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FounderView {
    /// Who.
    #[schema(value_type = String)]
    pub person: PersonId,
    /// `administrator` or `operator`.
    pub role: String,
    /// SHA-256 fingerprints of their keys.
    pub fingerprints: Vec<String>,
}

/// What an evidence pack is to be about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pack {
    /// `{"pack": "session", "session": "s_…"}`, or `{"pack": "vendor", "vendor": …, "from": …, "until": …}`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub of: PackOf,
}

/// An evidence pack that the gate is to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PackFile {
    /// As in [`Pack`].
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub of: PackOf,
    /// The text of your `trust.toml`: the pack is checked by it, and a copy goes in.
    pub trust: String,
}

/// What of a recording is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesWanted {
    /// What beside it.
    #[serde(default)]
    pub with: Option<FilesWith>,
}

/// What may come beside a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilesWith {
    /// Both logs, and the file `PART`: a folder to verify and to play from.
    Logs,
}

/// A key that opens a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rehearsed {
    /// The recipient to which the key belongs, `age1…`.
    #[schema(value_type = String)]
    pub recipient: Recipient,
    /// The recording that it opened, whole.
    #[schema(value_type = String)]
    pub session: SessionId,
}

/// A key to which recordings are encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecipientView {
    /// `age1…`.
    #[schema(value_type = String)]
    pub recipient: Recipient,
    /// What the configuration calls it.
    pub name: Option<String>,
    /// Since when recordings are.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When somebody last said that it opens one.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub used: Option<Timestamp>,
    /// Nobody has for a year.
    pub forgotten: bool,
}

/// What evidence is checked by, as the server tells it: to be compared with what the auditor keeps, never to replace it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrustView {
    /// The installation.
    #[schema(value_type = String)]
    pub deployment: DeploymentId,
    /// Verifier keys of the logs.
    pub logs: Vec<String>,
    /// The first administrators and operators.
    pub founders: Vec<FounderView>,
    /// The TLS CA; several while one is renewed.
    pub ca_pem: String,
    /// The line for `known_hosts`; two while the SSH CA is renewed.
    pub ssh_ca: String,
}

/// An entry of the journal, one line each in `application/x-ndjson`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EntryLine {
    /// Its place, from 0.
    pub index: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The stable id of the event (`docs/EVENTS.md`).
    pub id: String,
    /// The fact.
    #[schema(value_type = Object)]
    pub event: serde_json::Value,
    /// Its hash as a leaf of the journal's tree, in hexadecimal.
    pub leaf: String,
}

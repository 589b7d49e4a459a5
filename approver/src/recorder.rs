//! The only way to a recording: no lease, no recorder; no recorder, no session. What is recorded and when it is durable
//! is the business of `recordings`; who may look at it later, of the auditors' keys.
//!
//! Nobody makes one by hand:
//! ```compile_fail
//! fn unleased(writer: recordings::session::SessionWriter) -> approver::recorder::Recorder {
//!     approver::recorder::Recorder { writer }
//! }
//! ```
//! or two of one:
//! ```compile_fail
//! fn twice(one: &approver::recorder::Recorder) -> approver::recorder::Recorder {
//!     one.clone()
//! }
//! ```
//! ```
//! fn once(one: approver::recorder::Recorder) -> approver::recorder::Recorder {
//!     one
//! }
//! ```
//! or without a lease:
//! ```compile_fail
//! async fn unleased(log: &recordings::log::Log, recipients: &recordings::keys::Recipients) {
//!     let _ = approver::recorder::Recorder::open(log, recipients, &recordings::disk::RealMachine, "1.0").await;
//! }
//! ```
//! ```
//! use approver::lease::Lease;
//! async fn leased(lease: &Lease, log: &recordings::log::Log, recipients: &recordings::keys::Recipients) {
//!     let _ = approver::recorder::Recorder::open(lease, log, recipients, &recordings::disk::RealMachine, "1.0").await;
//! }
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use policies::digest::Digest;
use policies::events::{Ending, Factor};
use policies::ids::{NodeId, PersonId, Recipient, RequestId, RuleId, ServiceName, SessionId, TargetName};
use recordings::disk::Machine;
use recordings::fault::StoreFault;
use recordings::keys::Recipients;
use recordings::leaf::Account;
use recordings::log::Log;
use recordings::session::{Opening, Seal, SealedSession, SessionWriter};
use serde::{Deserialize, Serialize};

use crate::lease::Lease;

/// What a recording's opening leaf says, as canonical JSON (RFC 8785).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each field is the lease's of the same name")]
pub struct OpeningFacts {
    /// The version of this form: 1.
    pub v: u8,
    pub session: SessionId,
    pub grant: RequestId,
    /// Digest of the request as it was approved.
    pub grant_digest: Digest,
    /// Digest of the request as it was asked.
    pub asked_digest: Digest,
    pub technician: PersonId,
    pub target: TargetName,
    pub service: ServiceName,
    /// As dialled: host and port.
    pub address: String,
    pub rule: RuleId,
    pub rule_digest: Digest,
    /// Digest of the plant file in force.
    pub plant: Digest,
    /// Digest of the banner that was shown.
    pub banner: Digest,
    pub factors: Vec<Factor>,
    pub source: IpAddr,
    pub node: NodeId,
    /// The program's version.
    pub program: String,
    /// How many entries the journal had with this session's `Started`.
    pub journal_size: u64,
    /// Whom the key file is for.
    pub recipients: BTreeSet<Recipient>,
}

/// Nothing can be recorded, so there is no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this session cannot be recorded, so it cannot be opened: {0}")]
pub struct RecorderFault(#[from] pub StoreFault);

/// A session's recording, open. Not `Clone`. Dropped without [`seal`](Self::seal) it is sealed as abandoned.
pub struct Recorder {
    writer: SessionWriter,
}

impl Recorder {
    /// Opens the recording of a lease's session: key file and opening leaf are on the disk when this completes.
    ///
    /// # Errors
    /// The store has no room, has failed, or has a recording of this session already.
    pub async fn open(
        lease: &Lease,
        log: &Log,
        recipients: &Recipients,
        machine: &dyn Machine,
        program: &str,
    ) -> Result<Self, RecorderFault> {
        let metadata = serde_json_canonicalizer::to_vec(&facts(lease, recipients.names(), program))
            .expect("the facts have string keys and finite numbers");
        let opening = Opening { recording: lease.session(), metadata, key_file: recipients.new_key_file(machine) };
        Ok(Self { writer: log.open_session(opening).await? })
    }

    /// Where lines and facts are recorded.
    pub const fn writer(&self) -> &SessionWriter {
        &self.writer
    }

    /// Ends the recording; its seal is durable when this completes, and its digest goes into the journal with the
    /// session's end.
    ///
    /// # Errors
    /// The store failed; then the next start seals it as crashed.
    pub async fn seal(self, ending: &Ending, accounts: Vec<Account>) -> Result<SealedSession, RecorderFault> {
        let seal = Seal { ending: ending.word().to_owned(), accounts };
        Ok(self.writer.seal(seal).await?)
    }
}

fn facts(lease: &Lease, recipients: BTreeSet<Recipient>, program: &str) -> OpeningFacts {
    OpeningFacts {
        v: 1,
        session: lease.session(),
        grant: lease.grant(),
        grant_digest: lease.grant_digest(),
        asked_digest: lease.asked_digest(),
        technician: lease.technician(),
        target: lease.target().clone(),
        service: lease.service().clone(),
        address: lease.destination().address.to_string(),
        rule: lease.rule().id.clone(),
        rule_digest: lease.rule().digest(),
        plant: lease.plant(),
        banner: lease.banner(),
        factors: lease.factors().to_vec(),
        source: lease.source(),
        node: lease.node().clone(),
        program: program.to_owned(),
        journal_size: lease.journal_size(),
        recipients,
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorder({})", self.writer.recording())
    }
}

/// What the documentation shows not to compile elsewhere compiles in here: so it is privacy that forbids it, and not a
/// field that is called otherwise by now.
#[cfg(test)]
mod from_inside {
    use super::*;

    const _: fn(SessionWriter) -> Recorder = |writer| Recorder { writer };
}

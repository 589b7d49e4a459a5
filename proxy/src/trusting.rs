//! `trust.toml` as the gate can write it: its logs' keys and those of the first people, as they enrol. The auditor takes
//! it away once all have; what the gate says of itself later proves nothing.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use approver::desk::Desk;
use certs::log_key::{LogKey, Verifier};
use certs::trust::{FirstRole, KeyFingerprint, LogVerifier, Trust, TrustedPerson};
use policies::people::{Kind, Person, SshKey};
use policies::state::State;

use crate::app::stores::Identity;

/// The public keys of this installation's logs: the journal's first.
pub fn verifiers(identity: &Identity, key: &LogKey) -> Vec<Verifier> {
    [identity.journal_origin(), identity.records_origin()].iter().filter_map(|name| key.verifier(name).ok()).collect()
}

/// Writes the file anew as the first people enrol, until all have.
pub async fn keep_current(desk: Desk, verifiers: Vec<Verifier>, path: PathBuf) {
    loop {
        let (size, trust) = desk.with_state(|state| (state.size, trust_of(state, verifiers.clone())));
        if let Err(cause) = write_if_changed(&path, &trust.to_string()) {
            tracing::error!(%cause, "what the auditor is to keep could not be written");
        }
        if trust.people.iter().all(|person| !person.keys.is_empty()) {
            return;
        }
        desk.changed(size).await;
    }
}

fn write_if_changed(path: &Path, text: &str) -> io::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    // In its place: a running gate may make no file beside its keys. Never emptied first, so that a reader finds the old one or,
    // for a moment, the new one's beginning with the old one's end; what a crash tears is written anew by the next start.
    let mut file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

/// What an auditor may trust of a state whose journal just began.
pub fn trust_of(state: &State, verifiers: Vec<Verifier>) -> Trust {
    Trust {
        deployment: state.deployment.clone().expect("a founded installation has a name"),
        logs: verifiers.into_iter().map(LogVerifier).collect(),
        witnesses: Vec::new(),
        witnesses_needed: None,
        people: state.people.values().filter(|person| person.founder).filter_map(trusted).collect(),
    }
}

fn trusted(person: &Person) -> Option<TrustedPerson> {
    let role = match person.kind {
        Kind::Administrator => FirstRole::Administrator,
        Kind::Operator { .. } => FirstRole::Operator,
        Kind::Technician { .. } | Kind::Auditor | Kind::Sensor | Kind::Display => return None,
    };
    let keys = person.founding_keys.iter().filter_map(fingerprint).collect();
    Some(TrustedPerson { person: person.id, role, keys })
}

fn fingerprint(key: &SshKey) -> Option<KeyFingerprint> {
    ssh_key::PublicKey::from_openssh(&key.0).ok().map(|key| KeyFingerprint::of(&key))
}

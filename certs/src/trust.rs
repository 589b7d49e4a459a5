//! `trust.toml`: what an auditor keeps, apart from the server, to check everything else by: the deployment's name, its
//! logs' public keys, and the fingerprints of the first administrators and operators. Checking is done above.

use std::collections::BTreeSet;
use std::fmt;

use policies::ids::{DeploymentId, PersonId, RestoreId};
use serde::{Deserialize, Serialize};
use ssh_key::{Fingerprint, PublicKey};

use crate::log_key::Verifier;
use crate::witness_key::Cosigner;

/// What an auditor trusts. Everybody who came later is trusted because one of these signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// The installation; part of everything that is signed.
    pub deployment: DeploymentId,
    /// The public keys of the logs of the journal and of each node.
    pub logs: Vec<LogVerifier>,
    /// The public keys of the witnesses that are believed.
    #[serde(default)]
    pub witnesses: Vec<TrustedWitness>,
    /// How many of them must have seen what counts as seen; all where that is not said.
    #[serde(default)]
    pub witnesses_needed: Option<usize>,
    /// The first administrators and operators.
    pub people: Vec<TrustedPerson>,
}

/// A witness's public key, as text in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustedWitness(pub Cosigner);

/// A log's public key, as text in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogVerifier(pub Verifier);

/// One of the first people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedPerson {
    /// Their id.
    pub person: PersonId,
    /// What they are.
    pub role: FirstRole,
    /// The fingerprints of their SSH keys.
    pub keys: Vec<KeyFingerprint>,
}

/// What one of the first people is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstRole {
    /// Manages people and keys.
    Administrator,
    /// Approves, watches, cuts.
    Operator,
}

/// The SHA-256 fingerprint of an SSH key, as text in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyFingerprint(Fingerprint);

/// Text that is no `trust.toml`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no trust file of Holdpoint:\n{0}")]
pub struct BadTrust(String);

/// A file of a plant is some kilobytes; more is none.
const BYTES_MAX: usize = 1 << 20;

impl Trust {
    /// Reads the file's text. Unknown keys are mistakes, and so is a file that trusts nobody.
    pub fn parse(text: &str) -> Result<Self, BadTrust> {
        if text.len() > BYTES_MAX {
            return Err(BadTrust(format!("it has {} bytes, and {BYTES_MAX} are the most", text.len())));
        }
        let trust: Self = toml::from_str(text).map_err(|cause| BadTrust(cause.to_string()))?;
        if trust.logs.is_empty() || trust.people.iter().all(|person| person.keys.is_empty()) {
            return Err(BadTrust("it names no log, or no key of any person: then everything would be believed".into()));
        }
        let (names, all) = (trust.witnesses.iter().map(|witness| witness.0.name()), trust.witnesses.len());
        if names.collect::<BTreeSet<_>>().len() < all {
            return Err(BadTrust("two of its witnesses have one name, and one must not count twice".into()));
        }
        if trust.witnesses_needed.is_some_and(|needed| needed == 0 || needed > all) {
            return Err(BadTrust(format!("witnesses_needed is from 1 to the number of witnesses, which is {all}")));
        }
        Ok(trust)
    }

    /// The witnesses' keys.
    pub fn witnesses(&self) -> Vec<Cosigner> {
        self.witnesses.iter().map(|witness| witness.0.clone()).collect()
    }

    /// How many witnesses must have seen what counts as seen; 0 where there is none.
    pub fn witnesses_needed(&self) -> usize {
        self.witnesses_needed.unwrap_or(self.witnesses.len())
    }

    /// Whether this key is one the auditor knows for this person, in this role.
    pub fn knows(&self, person: PersonId, role: FirstRole, key: &PublicKey) -> bool {
        let key = KeyFingerprint::of(key);
        self.people.iter().any(|known| known.person == person && known.role == role && known.keys.contains(&key))
    }

    /// The key of the log of this name, or of the one that goes on under it since a restore. What the restore is worth,
    /// the signatures of people say.
    pub fn verifier_of(&self, name: &str) -> Option<Verifier> {
        let restored = || {
            let (before, restore) = name.rsplit_once('/')?;
            restore.parse::<RestoreId>().ok()?;
            self.log(before)?.renamed(name).ok()
        };
        self.log(name).cloned().or_else(restored)
    }

    /// The log of this name.
    pub fn log(&self, name: &str) -> Option<&Verifier> {
        self.logs.iter().map(|log| &log.0).find(|log| log.name() == name)
    }
}

/// As a file to print, to store away from the server, and to compare with the sheet of paper.
impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Keep this away from the server, and on paper: `holdpoint verify` checks everything by it.")?;
        writeln!(f, "deployment = \"{}\"", self.deployment)?;
        writeln!(f, "logs = [")?;
        for log in &self.logs {
            writeln!(f, "    \"{}\",", log.0)?;
        }
        writeln!(f, "]")?;
        if !self.witnesses.is_empty() {
            writeln!(f, "witnesses = [")?;
            self.witnesses.iter().try_for_each(|witness| writeln!(f, "    \"{}\",", witness.0))?;
            writeln!(f, "]")?;
        }
        if let Some(needed) = self.witnesses_needed {
            writeln!(f, "witnesses_needed = {needed}")?;
        }
        for person in &self.people {
            let role = match person.role {
                FirstRole::Administrator => "administrator",
                FirstRole::Operator => "operator",
            };
            writeln!(f, "\n[[people]]\nperson = \"{}\"\nrole = \"{role}\"\nkeys = [", person.person)?;
            for key in &person.keys {
                writeln!(f, "    \"{}\",", key.0)?;
            }
            writeln!(f, "]")?;
        }
        Ok(())
    }
}

impl KeyFingerprint {
    /// Of this key.
    pub fn of(key: &PublicKey) -> Self {
        Self(key.fingerprint(ssh_key::HashAlg::Sha256))
    }

    /// As `ssh-key` has it.
    pub const fn get(&self) -> Fingerprint {
        self.0
    }
}

impl TryFrom<String> for KeyFingerprint {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let fingerprint = text.parse::<Fingerprint>().ok().filter(|fingerprint| fingerprint.is_sha256());
        fingerprint.map(Self).ok_or_else(|| "not a fingerprint such as `ssh-keygen -lf` prints: SHA256:…".to_owned())
    }
}

impl From<KeyFingerprint> for String {
    fn from(fingerprint: KeyFingerprint) -> Self {
        fingerprint.0.to_string()
    }
}

impl TryFrom<String> for TrustedWitness {
    type Error = crate::log_key::BadVerifier;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Cosigner::parse(&text).map(Self)
    }
}

impl From<TrustedWitness> for String {
    fn from(witness: TrustedWitness) -> Self {
        witness.0.to_string()
    }
}

impl TryFrom<String> for LogVerifier {
    type Error = crate::log_key::BadVerifier;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Verifier::parse(&text).map(Self)
    }
}

impl From<LogVerifier> for String {
    fn from(log: LogVerifier) -> Self {
        log.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log_key::LogKey;
    use crate::ssh_ca::fresh_key;
    use crate::totp::tests::person;

    fn trust(key: &PublicKey) -> Trust {
        Trust {
            deployment: "mill-3".parse().unwrap(),
            logs: vec![LogVerifier(LogKey::from_seed(&[1; 32]).verifier("mill-3/journal").unwrap())],
            witnesses: Vec::new(),
            witnesses_needed: None,
            people: vec![
                TrustedPerson {
                    person: person(1),
                    role: FirstRole::Administrator,
                    keys: vec![KeyFingerprint::of(key)],
                },
                TrustedPerson { person: person(2), role: FirstRole::Operator, keys: vec![] },
            ],
        }
    }

    #[test]
    fn a_trust_file_reads_back_as_printed() {
        let trust = trust(fresh_key("").public_key());
        assert_eq!(Trust::parse(&trust.to_string()), Ok(trust));
    }

    #[test]
    fn a_key_is_known_for_its_person_and_role_only() {
        let (key, other) = (fresh_key(""), fresh_key(""));
        let trust = trust(key.public_key());
        assert!(trust.knows(person(1), FirstRole::Administrator, key.public_key()));
        assert!(!trust.knows(person(1), FirstRole::Operator, key.public_key()));
        assert!(!trust.knows(person(2), FirstRole::Operator, key.public_key()));
        assert!(!trust.knows(person(1), FirstRole::Administrator, other.public_key()));
        assert!(trust.log("mill-3/journal").is_some() && trust.log("mill-3").is_none());
    }

    #[test]
    fn witnesses_read_back_and_none_counts_twice() {
        let witness = |name: &str| {
            let dir = tempfile::tempdir().unwrap();
            let key = crate::witness_key::WitnessKey::create(&dir.path().join("key"), Some(name)).unwrap();
            TrustedWitness(key.cosigner().clone())
        };
        let with =
            |witnesses, witnesses_needed| Trust { witnesses, witnesses_needed, ..trust(fresh_key("").public_key()) };
        for needed in [None, Some(1), Some(2)] {
            let trust = with(vec![witness("one"), witness("two")], needed);
            assert_eq!(trust.witnesses_needed(), needed.unwrap_or(2));
            assert_eq!(Trust::parse(&trust.to_string()), Ok(trust));
        }
        for wrong in [
            with(vec![witness("one"), witness("one")], None),
            with(vec![witness("one")], Some(2)),
            with(vec![], Some(1)),
            with(vec![witness("one")], Some(0)),
        ] {
            assert!(Trust::parse(&wrong.to_string()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_that_trusts_nobody_or_says_more_than_it_may_is_refused() {
        let text = trust(fresh_key("").public_key()).to_string();
        let nobody = Trust { people: vec![], ..trust(fresh_key("").public_key()) };
        assert!(Trust::parse(&nobody.to_string()).is_err());
        assert!(Trust::parse(&format!("verify = false\n{text}")).is_err());
        assert!(Trust::parse(&text.replace("SHA256:", "MD5:")).is_err());
        assert!(Trust::parse(&text.replace("mill-3/journal+", "mill-4/journal+")).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text: String, at: prop::sample::Index, to: char) {
            let _ = Trust::parse(&text);
            let mut chars: Vec<char> = trust(fresh_key("").public_key()).to_string().chars().collect();
            let at = at.index(chars.len());
            chars[at] = to;
            let _ = Trust::parse(&chars.into_iter().collect::<String>());
        }
    }
}

//! The auditors' keys (age, X25519): they alone open recordings. The gate makes a pair only when an installation is
//! founded without any; what it reads later are recipients, the public halves.

use age::secrecy::ExposeSecret as _;
use jiff::Timestamp;
use zeroize::Zeroizing;

/// A new auditor's key, to be moved away from the gate.
pub struct NewAuditorKey {
    /// The file, as `age-keygen` writes one.
    pub file: Zeroizing<String>,
    /// The recipient (`age1…`) recordings are wrapped to.
    pub recipient: String,
}

impl NewAuditorKey {
    /// A fresh pair.
    pub fn generate(now: Timestamp) -> Self {
        let identity = age::x25519::Identity::generate();
        let recipient = identity.to_public().to_string();
        let secret = identity.to_string();
        let file = Zeroizing::new(format!(
            "# created: {}\n# public key: {recipient}\n{}\n",
            now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            secret.expose_secret()
        ));
        Self { file, recipient }
    }
}

impl std::fmt::Debug for NewAuditorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewAuditorKey({})", self.recipient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_its_recipient_and_nothing_else() {
        let key = NewAuditorKey::generate(Timestamp::UNIX_EPOCH);
        assert!(key.recipient.starts_with("age1"));
        assert!(key.file.contains("AGE-SECRET-KEY-1") && key.file.contains(&key.recipient));
        assert!(!format!("{key:?}").contains("SECRET"));
    }
}

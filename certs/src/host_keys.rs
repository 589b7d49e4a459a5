//! A target's host key against the pin in the plant file. The pin is the only thing that says a target is the target:
//! nothing is learnt on first use, and a changed key refuses until a person changes the plant file.

use ssh_key::{Fingerprint, HashAlg, PublicKey};

/// The key a target showed is not the pinned one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the target showed the host key {got}, but the plant file says {expected}. Either the machine was replaced or \
     set up anew, or something else answers at its address. Ask who works on it; if the new key is right, write it into the plant file"
)]
pub struct HostKeyChanged {
    /// The pin, as it stands in the plant file.
    pub expected: String,
    /// The fingerprint of the key that was shown.
    pub got: String,
}

/// Whether `key` is the pinned one. The pin is `SHA256:` and base64 without padding, as `ssh-keygen -lf` prints it; a
/// pin that is not even that matches no key.
pub fn check(pin: &str, key: &PublicKey) -> Result<(), HostKeyChanged> {
    let got = key.fingerprint(HashAlg::Sha256);
    if pin.trim().parse::<Fingerprint>().is_ok_and(|expected| expected == got) {
        return Ok(());
    }
    Err(HostKeyChanged { expected: pin.trim().to_owned(), got: got.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh_ca::fresh_key;

    #[test]
    fn only_the_pinned_key_passes() {
        let (key, other) = (fresh_key("").public_key().clone(), fresh_key("").public_key().clone());
        let pin = key.fingerprint(HashAlg::Sha256).to_string();
        assert_eq!(check(&pin, &key), Ok(()));
        let changed = check(&pin, &other).unwrap_err();
        assert_eq!((changed.expected, changed.got), (pin, other.fingerprint(HashAlg::Sha256).to_string()));
    }

    #[test]
    fn a_pin_that_is_no_fingerprint_matches_nothing() {
        let key = fresh_key("").public_key().clone();
        let sha512 = key.fingerprint(HashAlg::Sha512).to_string();
        for pin in ["", "SHA256:", "MD5:aa", "SHA256:AAAA", sha512.as_str()] {
            assert!(check(pin, &key).is_err(), "{pin}");
        }
    }
}

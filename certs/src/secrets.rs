//! Secrets at rest: targets' passwords and keys, and TOTP secrets, sealed with AES-256-GCM under a key of the key store.
//! Where the sealed bytes are kept is the caller's business; what a thief of the disk gets is told by [`crate::keys`].

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use policies::ids::CredentialName;
use ssh_key::PrivateKey;
use zeroize::Zeroizing;

/// Seals and opens. Cheap to clone; `Debug` shows nothing.
#[derive(Clone)]
pub struct Secrets(Arc<Keys>);

struct Keys {
    sealing: RandomizedNonceKey,
    tagging: hmac::Key,
}

/// The key of tags is made of the one that seals, so that neither's bytes say anything of the other's.
const TAGGING: &[u8] = b"holdpoint/secrets/tagging/v1";

/// Sealed bytes that do not open: altered, cut, sealed under another name, or by another gate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed secret does not open: it was altered, moved from another name, or sealed by another key store")]
pub struct CannotOpen;

/// A target's credential, opened. `Debug` shows only its kind.
#[derive(Clone)]
pub enum Credential {
    /// A private key in OpenSSH's form, without a passphrase.
    Key(Arc<PrivateKey>),
    /// A password: one line of text.
    Password(Zeroizing<String>),
}

impl Credential {
    /// Reads what was set for a target; `None` where it is neither.
    pub fn parse(secret: &[u8]) -> Option<Self> {
        const PRIVATE_KEY: &str = "-----BEGIN ";
        let text = std::str::from_utf8(secret).ok()?;
        if text.trim_start().starts_with(PRIVATE_KEY) {
            let key = PrivateKey::from_openssh(text.trim_start()).ok().filter(|key| !key.is_encrypted())?;
            return Some(Self::Key(Arc::new(key)));
        }
        let password = text.strip_suffix('\n').unwrap_or(text);
        let password = password.strip_suffix('\r').unwrap_or(password);
        let fits = !password.is_empty() && !password.contains('\n');
        fits.then(|| Self::Password(Zeroizing::new(password.to_owned())))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key",
            Self::Password(_) => "Password",
        })
    }
}

/// Tells the format: `hps1` ‖ 12 bytes of nonce ‖ ciphertext ‖ 16 bytes of tag.
const MAGIC: &[u8; 4] = b"hps1";

impl Secrets {
    /// With this key. Nonces are random, which is safe far beyond the some thousand secrets of a plant (NIST SP
    /// 800-38D, 8.3: 2^32 under one key).
    pub(crate) fn with_key(key: &[u8; 32]) -> Self {
        let sealing = RandomizedNonceKey::new(&AES_256_GCM, key).expect("32 bytes are the length of an AES-256 key");
        let tagging = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), TAGGING);
        Self(Arc::new(Keys { sealing, tagging: hmac::Key::new(hmac::HMAC_SHA256, tagging.as_ref()) }))
    }

    /// Seals a target's credential. The name is bound in: sealed bytes moved to another name do not open.
    pub fn seal(&self, name: &CredentialName, plaintext: &[u8]) -> Vec<u8> {
        self.seal_labelled(&credential(name), plaintext)
    }

    /// Opens what [`Secrets::seal`] sealed under this name.
    pub fn open(&self, name: &CredentialName, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        self.open_labelled(&credential(name), sealed)
    }

    /// Seals anything else under a label of the caller's, such as `totp/p_01jd…`.
    pub fn seal_labelled(&self, label: &str, plaintext: &[u8]) -> Vec<u8> {
        let mut body = Zeroizing::new(Vec::with_capacity(plaintext.len() + AES_256_GCM.tag_len()));
        body.extend_from_slice(plaintext);
        let nonce = self
            .0
            .sealing
            .seal_in_place_append_tag(Aad::from(label.as_bytes()), &mut *body)
            .expect("a secret is shorter than the 64 GiB one AES-GCM message may have");
        [MAGIC, nonce.as_ref().as_slice(), &body].concat()
    }

    /// Opens what [`Secrets::seal_labelled`] sealed under this label.
    pub fn open_labelled(&self, label: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        let rest = sealed.strip_prefix(MAGIC).ok_or(CannotOpen)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(CannotOpen)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self
            .0
            .sealing
            .open_in_place(Nonce::from(nonce), Aad::from(label.as_bytes()), &mut body)
            .map_err(|_| CannotOpen)?
            .len();
        body.truncate(length);
        Ok(body)
    }

    /// What nobody without the key can work out for these bytes, and every node of an installation alike (HMAC-SHA-256).
    pub(crate) fn tag(&self, of: &[u8]) -> [u8; 32] {
        hmac::sign(&self.0.tagging, of).as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

/// A slash is in no credential's name, so no label of another kind can be taken for one.
fn credential(name: &CredentialName) -> String {
    format!("credential/{name}")
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets() -> Secrets {
        Secrets::with_key(&[7; 32])
    }

    fn name(text: &str) -> CredentialName {
        text.parse().unwrap()
    }

    #[test]
    fn a_secret_opens_under_its_own_name_and_key_only() {
        let sealed = secrets().seal(&name("hmi-maint"), b"hunter2");
        assert_eq!(secrets().open(&name("hmi-maint"), &sealed).unwrap().as_slice(), b"hunter2");
        assert_eq!(secrets().open(&name("plc-maint"), &sealed), Err(CannotOpen));
        assert_eq!(secrets().open_labelled("hmi-maint", &sealed), Err(CannotOpen));
        assert_eq!(Secrets::with_key(&[8; 32]).open(&name("hmi-maint"), &sealed), Err(CannotOpen));
    }

    #[test]
    fn the_same_secret_sealed_twice_looks_different() {
        assert_ne!(secrets().seal(&name("a"), b"x"), secrets().seal(&name("a"), b"x"));
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", secrets()), "Secrets(..)");
        assert_eq!(format!("{:?}", Credential::parse(b"hunter2")), "Some(Password)");
    }

    #[test]
    fn a_credential_is_a_private_key_or_one_line_of_text() {
        let key = crate::ssh_ca::fresh_key("test").to_openssh(Default::default()).unwrap();
        assert!(matches!(Credential::parse(key.as_bytes()), Some(Credential::Key(_))));
        let Some(Credential::Password(password)) = Credential::parse(b"correct horse\r\n") else {
            panic!("a password")
        };
        assert_eq!(password.as_str(), "correct horse");
        for unfit in [&b""[..], b"\n", b"two\nlines", b"\xff", b"-----BEGIN RSA PRIVATE KEY-----\nAA==\n"] {
            assert!(Credential::parse(unfit).is_none(), "{unfit:?}");
        }
    }

    proptest! {
        #[test]
        fn any_changed_bit_is_refused(plaintext: Vec<u8>, at: prop::sample::Index, bit in 0_u8..8) {
            let mut sealed = secrets().seal(&name("a"), &plaintext);
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert_eq!(secrets().open(&name("a"), &sealed), Err(CannotOpen));
        }

        #[test]
        fn random_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            prop_assert_eq!(secrets().open(&name("a"), &bytes), Err(CannotOpen));
            prop_assert_eq!(secrets().open(&name("a"), &[MAGIC, bytes.as_slice()].concat()), Err(CannotOpen));
        }
    }
}

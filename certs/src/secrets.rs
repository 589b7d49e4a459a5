//! Secrets at rest: targets' passwords and keys, and TOTP secrets, sealed with AES-256-GCM under a key of the key store.
//! Where the sealed bytes are kept is the caller's business; what a thief of the disk gets is told by [`crate::keys`].

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use policies::ids::{CredentialName, PersonId};
use ssh_key::PrivateKey;
use zeroize::Zeroizing;

use crate::totp::{self, TotpSecret};
use crate::vault::wire::Ask;
use crate::vault::{Line, Purpose, VaultFault};

/// Seals and opens. Cheap to clone; `Debug` shows nothing.
#[derive(Clone)]
pub struct Secrets(Held);

#[derive(Clone)]
enum Held {
    Here(Arc<Keys>),
    InVault(Line),
}

struct Keys {
    sealing: RandomizedNonceKey,
    tagging: hmac::Key,
}

/// The key of tags is made of the one that seals, so that neither's bytes say anything of the other's.
const TAGGING: &[u8] = b"holdpoint/secrets/tagging/v1";

/// Why a sealed secret does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotOpen {
    /// Altered, cut, sealed under another name, or by another gate's key.
    #[error("the sealed secret does not open: it was altered, moved from another name, or sealed by another key store")]
    Damaged,
    /// The vault does not answer, or knows no session that it is for.
    #[error(transparent)]
    Vault(#[from] VaultFault),
}

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
        Self(Held::Here(Arc::new(Keys { sealing, tagging: hmac::Key::new(hmac::HMAC_SHA256, tagging.as_ref()) })))
    }

    pub(crate) const fn in_vault(line: Line) -> Self {
        Self(Held::InVault(line))
    }

    /// Seals a target's credential. The name is bound in: sealed bytes moved to another name do not open.
    ///
    /// # Errors
    /// The vault does not answer.
    pub fn seal(&self, name: &CredentialName, plaintext: &[u8]) -> Result<Vec<u8>, VaultFault> {
        self.seal_labelled(&credential(name), plaintext)
    }

    /// Opens what [`Secrets::seal`] sealed under this name. A vault opens it only where it knows by itself that this purpose
    /// wants it.
    ///
    /// # Errors
    /// See [`CannotOpen`].
    pub fn open(
        &self,
        name: &CredentialName,
        sealed: &[u8],
        purpose: Purpose,
    ) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        match (&self.0, purpose) {
            (Held::Here(keys), _) => keys.open(&credential(name), sealed),
            (Held::InVault(line), Purpose::Gate) => {
                Ok(line.bytes(&Ask::OpenForGate { name: name.clone(), sealed: sealed.into() })?)
            }
            (Held::InVault(line), Purpose::Session(session)) => {
                Ok(line.bytes(&Ask::OpenForSession { session, name: name.clone(), sealed: sealed.into() })?)
            }
        }
    }

    /// Opens what [`Secrets::seal_labelled`] sealed under this label; a vault opens nothing so.
    pub(crate) fn open_labelled(&self, label: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        match &self.0 {
            Held::Here(keys) => keys.open(label, sealed),
            Held::InVault(_) => Err(VaultFault::Refused("it opens nothing without saying what for".into()).into()),
        }
    }

    /// Seals anything else under a label of the caller's, such as `totp/p_01jd…`.
    ///
    /// # Errors
    /// The vault does not answer.
    pub fn seal_labelled(&self, label: &str, plaintext: &[u8]) -> Result<Vec<u8>, VaultFault> {
        match &self.0 {
            Held::Here(keys) => Ok(keys.seal(label, plaintext)),
            Held::InVault(line) => {
                Ok(line.bytes(&Ask::Seal { label: label.to_owned(), plain: plaintext.into() })?.to_vec())
            }
        }
    }

    /// Which step's code of a sealed TOTP secret was typed, around this one; a vault works it out around its own time, and
    /// gives away no secret.
    pub(crate) fn matching_step(
        &self,
        person: PersonId,
        sealed: &[u8],
        code: &str,
        step: u64,
    ) -> Result<Option<u64>, CannotOpen> {
        match &self.0 {
            Held::Here(keys) => {
                let secret = TotpSecret::of_bytes(&keys.open(&totp::label(person), sealed)?)?;
                Ok(secret.matching_step(code, step))
            }
            Held::InVault(line) => {
                Ok(line.step(&Ask::Totp { person, sealed: sealed.into(), code: code.as_bytes().into() })?)
            }
        }
    }

    /// What nobody without the key can work out for these bytes, and every node of an installation alike (HMAC-SHA-256).
    pub(crate) fn tag(&self, of: &[u8]) -> Result<[u8; 32], VaultFault> {
        match &self.0 {
            Held::Here(keys) => Ok(hmac::sign(&keys.tagging, of).as_ref().try_into().expect("SHA-256 has 32 bytes")),
            Held::InVault(line) => {
                let tag = line.bytes(&Ask::Tag(of.into()))?;
                tag.as_slice().try_into().map_err(|_| VaultFault::Gone("a tag has 32 bytes".into()))
            }
        }
    }
}

impl Keys {
    fn seal(&self, label: &str, plaintext: &[u8]) -> Vec<u8> {
        let mut body = Zeroizing::new(Vec::with_capacity(plaintext.len() + AES_256_GCM.tag_len()));
        body.extend_from_slice(plaintext);
        let nonce = self
            .sealing
            .seal_in_place_append_tag(Aad::from(label.as_bytes()), &mut *body)
            .expect("a secret is shorter than the 64 GiB one AES-GCM message may have");
        [MAGIC, nonce.as_ref().as_slice(), &body].concat()
    }

    fn open(&self, label: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        let rest = sealed.strip_prefix(MAGIC).ok_or(CannotOpen::Damaged)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(CannotOpen::Damaged)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self
            .sealing
            .open_in_place(Nonce::from(nonce), Aad::from(label.as_bytes()), &mut body)
            .map_err(|_| CannotOpen::Damaged)?
            .len();
        body.truncate(length);
        Ok(body)
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
        let sealed = secrets().seal(&name("hmi-maint"), b"hunter2").unwrap();
        assert_eq!(secrets().open(&name("hmi-maint"), &sealed, Purpose::Gate).unwrap().as_slice(), b"hunter2");
        assert_eq!(secrets().open(&name("plc-maint"), &sealed, Purpose::Gate), Err(CannotOpen::Damaged));
        assert_eq!(secrets().open_labelled("hmi-maint", &sealed), Err(CannotOpen::Damaged));
        assert_eq!(
            Secrets::with_key(&[8; 32]).open(&name("hmi-maint"), &sealed, Purpose::Gate),
            Err(CannotOpen::Damaged)
        );
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
            let mut sealed = secrets().seal(&name("a"), &plaintext).unwrap();
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert_eq!(secrets().open(&name("a"), &sealed, Purpose::Gate), Err(CannotOpen::Damaged));
        }

        #[test]
        fn random_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            prop_assert_eq!(secrets().open(&name("a"), &bytes, Purpose::Gate), Err(CannotOpen::Damaged));
            prop_assert_eq!(secrets().open(&name("a"), &[MAGIC, bytes.as_slice()].concat(), Purpose::Gate), Err(CannotOpen::Damaged));
        }
    }
}

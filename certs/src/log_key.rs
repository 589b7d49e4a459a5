//! The key that signs the heads of the journal and of the recordings' log, and its public half as C2SP's signed note
//! writes it (<https://c2sp.org/signed-note>). A witness's key is in [`crate::witness_key`]. What is signed, and when, is the
//! business of `recordings`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest as _, Sha256};

use crate::vault::wire::Ask;
use crate::vault::{Line, VaultFault};

/// Signs log heads with Ed25519. Cheap to clone; `Debug` shows nothing.
#[derive(Clone)]
pub struct LogKey(Held);

#[derive(Clone)]
enum Held {
    Here(Arc<Ed25519KeyPair>),
    InVault { line: Line, public: [u8; 32] },
}

impl LogKey {
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are an Ed25519 seed");
        Self(Held::Here(Arc::new(pair)))
    }

    pub(crate) const fn in_vault(line: Line, public: [u8; 32]) -> Self {
        Self(Held::InVault { line, public })
    }

    /// The signature of RFC 8032 over `message` as it is.
    ///
    /// # Errors
    /// The key lies in a vault that does not answer.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], VaultFault> {
        match &self.0 {
            Held::Here(pair) => Ok(pair.sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes")),
            Held::InVault { line, .. } => {
                let signature = line.bytes(&Ask::SignForLog(message.into()))?;
                signature.as_slice().try_into().map_err(|_| VaultFault::Gone("a signature has 64 bytes".into()))
            }
        }
    }

    /// The public half under the name of a log (its origin).
    pub fn verifier(&self, name: &str) -> Result<Verifier, BadVerifier> {
        NamedKey::new(ED25519_TYPE, name, self.public()).map(Verifier)
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        match &self.0 {
            Held::Here(pair) => pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes"),
            Held::InVault { public, .. } => *public,
        }
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogKey(..)")
    }
}

/// A log's public key under its name; as text `name+1a2b3c4d+base64(0x01 ‖ key)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier(NamedKey);

/// An Ed25519 public key under a name, as signed notes know one: what it signs is part of its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedKey {
    kind: u8,
    name: String,
    id: [u8; 4],
    key: [u8; 32],
}

/// Text that is no verifier key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadVerifier {
    /// Not three parts joined by `+`.
    #[error("the key of a log or a witness looks like NAME+1a2b3c4d+AbCd…: three parts joined by '+'")]
    Shape,
    /// The name is empty, or has a space, a `+` or a control character in it.
    #[error("the name of a log's or a witness's key is not empty and has no space and no '+' in it")]
    Name,
    /// The last part is not base64 of an Ed25519 key.
    #[error(
        "the last part of this key is not an Ed25519 key of this kind in base64: it was copied wrong, or is a witness's \
         key where a log's is wanted, or the other way round"
    )]
    Key,
    /// The middle part does not belong to name and key.
    #[error("name, number and key of this key do not belong together: it was copied wrong")]
    Id,
}

/// A signature that the key did not make over these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log's signature is not by this key over these bytes")]
pub struct NotSigned;

/// Signed note's number for Ed25519.
const ED25519_TYPE: u8 = 0x01;

impl Verifier {
    /// The log's name.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// The four bytes that stand before the signature in a note's signature line.
    pub const fn id(&self) -> [u8; 4] {
        self.0.id()
    }

    /// The Ed25519 public key.
    pub const fn key(&self) -> &[u8; 32] {
        &self.0.key
    }

    /// Parses the text form. Name, number and key must belong together.
    pub fn parse(text: &str) -> Result<Self, BadVerifier> {
        NamedKey::parse(ED25519_TYPE, text).map(Self)
    }

    /// The same key under another name.
    pub fn renamed(&self, name: &str) -> Result<Self, BadVerifier> {
        NamedKey::new(ED25519_TYPE, name, self.0.key).map(Self)
    }

    /// Whether this key signed `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), NotSigned> {
        self.0.verify(message, signature)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Verifier {
    type Err = BadVerifier;
    fn from_str(text: &str) -> Result<Self, BadVerifier> {
        Self::parse(text)
    }
}

impl NamedKey {
    pub(crate) fn new(kind: u8, name: &str, key: [u8; 32]) -> Result<Self, BadVerifier> {
        if name.is_empty() || name.contains('+') || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(BadVerifier::Name);
        }
        // The first four bytes of SHA-256(name ‖ LF ‖ kind ‖ key).
        let hash = Sha256::new().chain_update(name).chain_update([b'\n', kind]).chain_update(key).finalize();
        Ok(Self { kind, name: name.to_owned(), id: [hash[0], hash[1], hash[2], hash[3]], key })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn id(&self) -> [u8; 4] {
        self.id
    }

    pub(crate) fn parse(kind: u8, text: &str) -> Result<Self, BadVerifier> {
        let text = text.trim();
        let (name, rest) = text.split_once('+').ok_or(BadVerifier::Shape)?;
        let (id, key) = rest.split_once('+').ok_or(BadVerifier::Shape)?;
        let key = BASE64.decode(key.as_bytes()).map_err(|_| BadVerifier::Key)?;
        let (found, key) = key.split_first().ok_or(BadVerifier::Key)?;
        let key = key.try_into().ok().filter(|_| *found == kind).ok_or(BadVerifier::Key)?;
        let named = Self::new(kind, name, key)?;
        if HEXLOWER.encode(&named.id) != id {
            return Err(BadVerifier::Id);
        }
        // Base64 has more than one spelling here; a key has not.
        if named.to_string() == text { Ok(named) } else { Err(BadVerifier::Key) }
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), NotSigned> {
        UnparsedPublicKey::new(&ED25519, &self.key).verify(message, signature).map_err(|_| NotSigned)
    }
}

impl fmt::Display for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.kind], self.key.as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, HEXLOWER.encode(&self.id), BASE64.encode(&key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// From the documentation of Go's `golang.org/x/mod/sumdb/note`, which the specification grew from.
    const GO_EXAMPLE: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn the_verifier_of_another_implementation_is_understood() {
        let verifier = Verifier::parse(GO_EXAMPLE).unwrap();
        assert_eq!(verifier.name(), "PeterNeumann");
        assert_eq!(verifier.to_string(), GO_EXAMPLE);
    }

    #[test]
    fn a_signature_is_of_one_key_over_one_message() {
        let key = LogKey::from_seed(&[1; 32]);
        let verifier = key.verifier("mill3/journal").unwrap();
        let signature = key.sign(b"head").unwrap();
        assert_eq!(verifier.verify(b"head", &signature), Ok(()));
        assert_eq!(verifier.verify(b"Head", &signature), Err(NotSigned));
        assert_eq!(verifier.verify(b"head", &signature[..63]), Err(NotSigned));
        let other = LogKey::from_seed(&[2; 32]).verifier("mill3/journal").unwrap();
        assert_eq!(other.verify(b"head", &signature), Err(NotSigned));
    }

    #[test]
    fn each_way_to_copy_a_verifier_wrong_has_its_own_error() {
        let good = LogKey::from_seed(&[1; 32]).verifier("mill3").unwrap().to_string();
        assert_eq!(Verifier::parse(&good).unwrap().to_string(), good);
        assert_eq!(Verifier::parse("mill3"), Err(BadVerifier::Shape));
        assert_eq!(Verifier::parse(&good.replacen("mill3", "mill4", 1)), Err(BadVerifier::Id));
        assert_eq!(Verifier::parse(&good.replacen("mill3", "", 1)), Err(BadVerifier::Name));
        assert_eq!(Verifier::parse(&good[..good.len() - 4]), Err(BadVerifier::Key));
        let of_another_kind = format!("mill3+00000000+{}", BASE64.encode(&[2; 33]));
        assert_eq!(Verifier::parse(&of_another_kind), Err(BadVerifier::Key));
        assert!(LogKey::from_seed(&[1; 32]).verifier("a b").is_err());
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", LogKey::from_seed(&[1; 32])), "LogKey(..)");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text: String, cut in 0_usize..80) {
            prop_assert!(Verifier::parse(&text).is_err());
            let mutated: String = GO_EXAMPLE.chars().take(cut).chain(text.chars()).collect();
            if let Ok(verifier) = Verifier::parse(&mutated) {
                prop_assert_eq!(verifier.to_string(), GO_EXAMPLE);
            }
        }
    }
}

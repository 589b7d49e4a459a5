//! SHA-256 with domain separation over canonical JSON (RFC 8785): the one way in which anything of the domain is
//! reduced to 32 bytes. Texts of people enter only salted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::ids::from_text;

/// A SHA-256 value; lower-case hexadecimal as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from_text(from)
    }
}

/// Text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 digest: 64 lower-case hexadecimal digits are wanted")]
pub struct BadDigest;

impl Digest {
    /// SHA-256 of bytes as they are.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// SHA-256(`holdpoint/<kind>/v1` ‖ JCS of `value`). `kind` separates what is hashed for one purpose from all others.
    pub fn of<T: Serialize>(kind: &str, value: &T) -> Self {
        Self::of_bytes(&Self::covered(kind, value))
    }

    /// The bytes that [`of`](Self::of) hashes.
    pub fn covered<T: Serialize>(kind: &str, value: &T) -> Vec<u8> {
        let json = serde_json_canonicalizer::to_vec(value).expect("domain values have string keys and finite numbers");
        [format!("holdpoint/{kind}/v1").into_bytes(), json].concat()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = BadDigest;
    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let nibble = |b: u8| match b {
            b'0'..=b'9' => Ok(b - b'0'),
            b'a'..=b'f' => Ok(b - b'a' + 10),
            _ => Err(BadDigest),
        };
        let text = text.as_bytes();
        if text.len() != 64 {
            return Err(BadDigest);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = BadDigest;
    fn try_from(text: String) -> Result<Self, BadDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// A text of a person (name, reason, work order) as it enters events: SHA-256(salt ‖ text). Salt and text live in the
/// directory; erasing the salt erases the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Salted(pub Digest);

impl Salted {
    /// What stands in the journal for `text`.
    pub fn new(salt: &[u8; 32], text: &str) -> Self {
        Self(Digest(Sha256::new().chain_update(salt).chain_update(text).finalize().into()))
    }

    /// Whether these are the salt and text that were hashed.
    pub fn opens_with(&self, salt: &[u8; 32], text: &str) -> bool {
        *self == Self::new(salt, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_separates_equal_values() {
        assert_ne!(Digest::of("request", &1), Digest::of("verdict", &1));
    }

    #[test]
    fn a_digest_has_one_spelling() {
        let digest = Digest::of_bytes(b"abc");
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!(digest.to_string().to_uppercase().parse::<Digest>().is_err());
    }
}

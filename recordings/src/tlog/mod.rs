//! Transparency logs as C2SP specifies them: signed notes, checkpoints, tiles, proofs, witnesses' cosignatures and proof
//! files. Pure code over bytes and [`crate::disk::Disk`]; when a log publishes what, is decided elsewhere.
//!
//! The specifications are those of <https://c2sp.org>: signed-note 1.0.0, tlog-checkpoint 1.0.0, tlog-tiles, merkle-tree
//! (RFC 6962 and RFC 9162), tlog-cosignature, tlog-witness and tlog-proof@v1. Every reader here is strict: one spelling
//! for each thing, so that no byte of a file is free.

pub mod check;
pub mod checkpoint;
pub mod cosignature;
pub mod edge;
pub mod folder;
pub mod kept;
pub mod note;
pub mod proof;
pub mod publish;
pub mod submission;
pub mod tile;
pub mod tlog_proof;
pub mod witness;

use data_encoding::BASE64;

/// A SHA-256 hash: of a leaf, a node or a whole tree.
pub type Hash = [u8; 32];

/// The largest tree; larger numbers of entries are refused as malformed. Other implementations count with 63 bits too.
pub const SIZE_MAX: u64 = i64::MAX as u64;

/// Base64 in its one canonical spelling. The library takes several padded pieces in a row, which is none.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    (BASE64.encode(&bytes) == text).then_some(bytes)
}

/// A hash in base64, as checkpoints and proofs write it.
pub(crate) fn parse_hash(text: &str) -> Option<Hash> {
    decode_base64(text)?.try_into().ok()
}

/// A number without leading zeros, as checkpoints and proofs write it; at most [`SIZE_MAX`].
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok().filter(|number| *number <= SIZE_MAX)?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_and_numbers_have_one_spelling() {
        assert_eq!(decode_base64("Zg=="), Some(b"f".to_vec()));
        for other in ["Zg", "Zh==", "Zg==Zg==", "Zg==\n", " Zg==", "Zg=", "_w=="] {
            assert_eq!(decode_base64(other), None, "{other:?}");
        }
        assert_eq!(parse_decimal("0"), Some(0));
        assert_eq!(parse_decimal("9223372036854775807"), Some(SIZE_MAX));
        for other in ["", "00", "01", "+1", "-1", "1 ", "9223372036854775808", "99999999999999999999", "1e3"] {
            assert_eq!(parse_decimal(other), None, "{other:?}");
        }
    }
}

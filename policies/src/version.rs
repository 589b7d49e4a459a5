//! The version that a file of ours begins with.

use serde::{Deserialize, Serialize};

/// `1`, the only version there is so far; another one is refused where it is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct V1;

/// A version that this program does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is of version {0}, and this program knows version 1: a newer program wrote it")]
pub struct UnknownVersion(u64);

impl TryFrom<u64> for V1 {
    type Error = UnknownVersion;

    fn try_from(version: u64) -> Result<Self, UnknownVersion> {
        if version == 1 { Ok(Self) } else { Err(UnknownVersion(version)) }
    }
}

impl From<V1> for u64 {
    fn from(_: V1) -> Self {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_refused_in_words() {
        assert_eq!(serde_json::to_string(&V1).unwrap(), "1");
        assert_eq!(serde_json::from_str::<V1>("1").unwrap(), V1);
        let refused = serde_json::from_str::<V1>("2").unwrap_err().to_string();
        assert!(refused.contains("a newer program wrote it"), "{refused}");
    }
}

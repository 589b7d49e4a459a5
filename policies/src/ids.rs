//! One type per noun, so that a request is never taken for a session. Names chosen by people (`VendorId`,
//! `TargetName`, …) are DNS labels (RFC 1123, 2.1); identifiers made by the program are a prefix and a ULID.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

use crate::digest::Digest;

/// Text that does not name what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Not a DNS label.
    #[error("{0:?} is not a name: use 1 to 63 of a-z, 0-9 and '-', with neither end a '-'")]
    Label(String),
    /// Not an identifier of this kind.
    #[error("{text:?} is not {noun}: it looks like {prefix}01jd0c4…")]
    Id {
        /// What was given, cut short.
        text: String,
        /// What was wanted, with its article.
        noun: &'static str,
        /// How one begins.
        prefix: &'static str,
    },
    /// Not an auditor's public key.
    #[error("{0:?} is no age recipient: one looks like age1… and is printed by `age-keygen`")]
    Recipient(String),
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}

/// Reads from text without a copy of it: a journal is little else than identifiers and digests.
pub(crate) fn from_text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(from: D) -> Result<T, D::Error> {
    struct Text<T>(PhantomData<T>);
    impl<T: FromStr<Err: fmt::Display>> serde::de::Visitor<'_> for Text<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    from.deserialize_str(Text(PhantomData))
}

/// Names that were met, each kept once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(BTreeSet<Arc<str>>);

impl Names {
    /// The same name, as it was met first.
    pub(crate) fn once<N: Name>(&mut self, name: &N) -> N {
        if !self.0.contains(name.text()) {
            self.0.insert(Arc::clone(name.text()));
        }
        N::again(self.0.get(name.text()).unwrap_or(name.text()))
    }
}

/// A name chosen by people.
pub(crate) trait Name {
    fn text(&self) -> &Arc<str>;
    /// Of the text of another one.
    fn again(text: &Arc<str>) -> Self;
}

macro_rules! label {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl Name for $name {
            fn text(&self) -> &Arc<str> {
                &self.0
            }
            fn again(text: &Arc<str>) -> Self {
                Self(Arc::clone(text))
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from_text(from)
            }
        }

        impl $name {
            /// The text of it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                if is_label(text) { Ok(Self(text.into())) } else { Err(BadName::Label(shown(text))) }
            }
        }
        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

label! {
    /// A third-party company, as rules and people refer to it.
    VendorId,
    /// A technician's role in the vendor's contract, such as `maintenance`.
    RoleName,
    /// A group of operators, such as `shift-lead`.
    GroupName,
    /// A part of the plant (IEC 62443 zone).
    ZoneName,
    /// One machine in one zone.
    TargetName,
    /// A service of a target, such as `ssh` or `modbus`.
    ServiceName,
    /// A rule of the plant file.
    RuleId,
    /// The name of a sealed credential (`holdpoint secret set NAME`).
    CredentialName,
    /// An identity provider, as the configuration calls it.
    ProviderName,
    /// One running program among several.
    NodeId,
    /// The installation; part of everything that is signed.
    DeploymentId,
}

/// An auditor's public key, to which recordings are encrypted: age's X25519 recipient in its text form, `age1…`. Its checksum is
/// for whoever encrypts to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Recipient(String);

impl Recipient {
    /// The text of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Recipient {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        /// Of 32 bytes and a checksum (BIP 173).
        const CHARS: usize = 58;
        const ALPHABET: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
        let key = text.strip_prefix("age1").map(str::as_bytes);
        match key.filter(|key| key.len() == CHARS && key.iter().all(|byte| ALPHABET.contains(byte))) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(BadName::Recipient(shown(text))),
        }
    }
}

impl TryFrom<String> for Recipient {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Recipient> for String {
    fn from(recipient: Recipient) -> Self {
        recipient.0
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal $noun:literal),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(ulid::Ulid);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from_text(from)
            }
        }

        impl $name {
            /// The identifier with this ULID; the caller brings clock and chance.
            pub const fn new(ulid: ulid::Ulid) -> Self {
                Self(ulid)
            }
            /// Its ULID.
            pub const fn ulid(self) -> ulid::Ulid {
                self.0
            }
        }
        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                text.strip_prefix($prefix)
                    .filter(|rest| rest.bytes().all(|b| !b.is_ascii_uppercase()))
                    .and_then(|rest| ulid::Ulid::from_string(rest).ok())
                    .map(Self)
                    .ok_or_else(|| BadName::Id { text: shown(text), noun: $noun, prefix: $prefix })
            }
        }
        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.to_string().to_ascii_lowercase())
            }
        }
    )*};
}

ids! {
    /// A named person of any kind; never a shared login.
    PersonId "p_" "a person",
    /// A request, and the grant it becomes.
    RequestId "r_" "a request",
    /// Something asked of a standing grant or of a cut: an extension, a widening, a reopening.
    AskId "a_" "an ask",
    /// A session and its recording.
    SessionId "s_" "a session",
    /// A cut, until it is reopened.
    CutId "c_" "a cut",
    /// A one-use enrolment link.
    LinkId "l_" "a link",
    /// A guest's visit, from the invitation to the look back.
    GuestId "g_" "a guest's visit",
    /// A restore of the logs, which go on under a name of its own.
    RestoreId "e_" "a restore",
}

impl CutId {
    /// The cut of the whole plant that stands for a line of the file `cuts` which cannot be read, its LF not counted.
    pub fn for_line(line: &[u8]) -> Self {
        let digest = Digest::of_bytes(line).0;
        Self::new(Ulid::from(u128::from_be_bytes(*digest.first_chunk().expect("a digest has 32 bytes"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "plc-7", "7", &"x".repeat(63)] {
            assert!(good.parse::<TargetName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a b", "a\u{1b}[2J", &"x".repeat(64)] {
            assert!(bad.parse::<TargetName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_identifier_has_one_spelling() {
        let id = RequestId::new(ulid::Ulid::from(7_u128));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().to_ascii_uppercase().parse::<RequestId>().is_err());
        assert!(id.to_string().parse::<SessionId>().is_err());
    }
}

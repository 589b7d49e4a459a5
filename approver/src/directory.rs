//! The directory: small keyed state that may change and may be deleted, with compare-and-swap. Names, salts and texts,
//! sealed secrets, counters and cursors live here; nothing that is evidence does. Here are the port and the keys; what
//! each key holds is in `uses`, adapters stand beside.

use std::fmt;

use futures::future::BoxFuture;
use policies::digest::Digest;
use policies::ids::{CredentialName, LinkId, PersonId};

pub mod memory;
mod nonces;
pub mod postgres;
pub mod sled;
mod uses;

pub use nonces::Nonces;
pub(crate) use uses::json;
pub use uses::{CleanText, Link, NotFilled, Spending, TEXT_CHARS_MAX, TextRefused, clean_text};

/// Bytes a value may have: sled puts long ones into files that are never synced.
pub const VALUE_BYTES_MAX: usize = 4096;

/// Where one value lies. One variant per use, so that none is taken for another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The name a person is shown and signs in by.
    NameOf(PersonId),
    /// The person of a name, in small letters.
    Named(String),
    /// Salt and text behind a salted digest.
    Text(Digest),
    /// A person's sealed TOTP secret.
    Totp(PersonId),
    /// The last TOTP step a person used.
    Step(PersonId),
    /// A person's wrong codes behind a verified key, and when they were given.
    Failures(PersonId),
    /// The hashes of the recovery codes a person has left.
    Recovery(PersonId),
    /// The hash of a person's password, where they set one.
    Password(PersonId),
    /// The hash of an enrolment code.
    Link(LinkId),
    /// The newest code with which a person may make a passkey beside the key they have.
    Offered(PersonId),
    /// A target's sealed credential.
    Credential(CredentialName),
    /// How far a reader of the journal came.
    Cursor(String),
    /// Which entry of a record log says where a copy of a file lies, and which files of a session there are.
    Copied(String),
}

/// A group of keys that can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// All of [`Key::NameOf`].
    Names,
    /// All of [`Key::Credential`].
    Credentials,
}

impl Key {
    /// The bytes an adapter keeps it under: the use, a slash, and which.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::NameOf(person) => format!("name-of/{person}"),
            Self::Named(name) => format!("named/{name}"),
            Self::Text(digest) => format!("text/{digest}"),
            Self::Totp(person) => format!("totp/{person}"),
            Self::Step(person) => format!("step/{person}"),
            Self::Failures(person) => format!("failures/{person}"),
            Self::Recovery(person) => format!("recovery/{person}"),
            Self::Password(person) => format!("password/{person}"),
            Self::Offered(person) => format!("offered/{person}"),
            Self::Link(link) => format!("link/{link}"),
            Self::Credential(name) => format!("credential/{name}"),
            Self::Cursor(reader) => format!("cursor/{reader}"),
            Self::Copied(file) => format!("copied/{file}"),
        }
        .into_bytes()
    }
}

/// Bytes that are no key of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no key that this program knows")]
pub struct UnknownKey;

impl Key {
    /// The key that an adapter keeps under these bytes.
    ///
    /// # Errors
    /// There is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, UnknownKey> {
        let text = std::str::from_utf8(bytes).map_err(|_| UnknownKey)?;
        let (of, which) = text.split_once('/').ok_or(UnknownKey)?;
        let person = || which.parse().map_err(|_| UnknownKey);
        let key = match of {
            "name-of" => Self::NameOf(person()?),
            "named" => Self::Named(which.to_owned()),
            "text" => Self::Text(which.parse().map_err(|_| UnknownKey)?),
            "totp" => Self::Totp(person()?),
            "step" => Self::Step(person()?),
            "failures" => Self::Failures(person()?),
            "recovery" => Self::Recovery(person()?),
            "password" => Self::Password(person()?),
            "link" => Self::Link(which.parse().map_err(|_| UnknownKey)?),
            "credential" => Self::Credential(which.parse().map_err(|_| UnknownKey)?),
            "cursor" => Self::Cursor(which.to_owned()),
            "copied" => Self::Copied(which.to_owned()),
            _ => return Err(UnknownKey),
        };
        if key.encode() == bytes { Ok(key) } else { Err(UnknownKey) }
    }
}

impl Table {
    /// What the keys of it begin with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Names => "name-of/",
            Self::Credentials => "credential/",
        }
    }
}

/// What a key must hold for a change to be made.
#[derive(Clone, PartialEq, Eq)]
pub enum Expected {
    /// Anything or nothing.
    Any,
    /// Nothing.
    Absent,
    /// Exactly this.
    Exactly(Vec<u8>),
}

impl Expected {
    /// What was read a moment ago.
    pub fn as_read(value: Option<Vec<u8>>) -> Self {
        value.map_or(Self::Absent, Self::Exactly)
    }

    /// Whether a key that holds `value` holds what is expected.
    pub fn is_met(&self, value: Option<&[u8]>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => value.is_none(),
            Self::Exactly(wanted) => value == Some(wanted),
        }
    }
}

/// One change of a [`swap`](Directory::swap).
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// Of which key.
    pub key: Key,
    /// If it holds this.
    pub expected: Expected,
    /// To this; `None` deletes.
    pub value: Option<Vec<u8>>,
}

impl Change {
    /// Whatever was there before.
    pub const fn set(key: Key, value: Vec<u8>) -> Self {
        Self { key, expected: Expected::Any, value: Some(value) }
    }

    /// Only where nothing is.
    pub const fn create(key: Key, value: Vec<u8>) -> Self {
        Self { key, expected: Expected::Absent, value: Some(value) }
    }

    /// Whatever was there before.
    pub const fn delete(key: Key) -> Self {
        Self { key, expected: Expected::Any, value: None }
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Change({:?}, ..)", self.key)
    }
}

/// The directory cannot be used. Whatever was asked of it counts as not done and not there: it fails closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryFault {
    /// The store behind it failed. Of a swap it is unknown whether it happened.
    #[error("the directory cannot be used: {0}")]
    Unavailable(String),
    /// A value beyond [`VALUE_BYTES_MAX`].
    #[error("a value of {0} bytes is longer than the directory takes ({VALUE_BYTES_MAX})")]
    TooLong(usize),
    /// What lies under a key does not read as what it should be.
    #[error("what the directory holds as {0} is damaged")]
    Damaged(&'static str),
    /// Others changed the same value again and again.
    #[error("the directory is too busy: try again")]
    Busy,
}

/// What the keys of a table end with, and what they hold, in order.
pub type Listed = Vec<(String, Vec<u8>)>;

/// Every key as an adapter keeps it, with what it holds.
pub type Dumped = Vec<(Vec<u8>, Vec<u8>)>;

/// Small keyed state. What each key holds is known to the methods of `dyn Directory`.
pub trait Directory: Send + Sync {
    /// What a key holds.
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Vec<u8>>, DirectoryFault>>;

    /// Makes all changes or none: none, and `false`, where a key does not hold what is expected. `true` only once all
    /// of it is durable. Keys differ.
    fn swap(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<bool, DirectoryFault>>;

    /// All there is: for a backup.
    fn dump(&self) -> BoxFuture<'_, Result<Dumped, DirectoryFault>>;

    /// A whole table.
    fn list(&self, table: Table) -> BoxFuture<'_, Result<Listed, DirectoryFault>>;
}

/// No adapter takes a value that another would not.
fn check_lengths(changes: &[Change]) -> Result<(), DirectoryFault> {
    let longest = changes.iter().filter_map(|change| change.value.as_ref()).map(Vec::len).max().unwrap_or(0);
    if longest > VALUE_BYTES_MAX { Err(DirectoryFault::TooLong(longest)) } else { Ok(()) }
}

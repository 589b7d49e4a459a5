//! Blobs: the port to a place of immutable objects, behind the store on this machine and never in its way. What is kept
//! there is locked until a time that nobody can bring forward, and whoever keeps something is handed a [`Kept`], which was
//! looked at after it was put. Objects are versions: what a delete marker hides is still listed, and read by its version.

use std::path::Path;

use futures::future::BoxFuture;
use jiff::Timestamp;

pub mod s3;

/// Bytes to keep.
#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    /// These.
    Bytes(&'a [u8]),
    /// Those of a file, from its beginning to this length. They must not change meanwhile.
    File(&'a Path, u64),
}

impl What<'_> {
    /// How many.
    pub const fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A version of an object, as the place itself says that it lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Which version.
    pub version: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// Until when nobody can delete it, the place's owner included.
    pub locked_until: Option<Timestamp>,
    /// Whether nobody can delete it, however long, until that is taken off.
    pub held: bool,
}

/// One version of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// Which version.
    pub version: String,
    /// Bytes; none of a delete marker.
    pub bytes: Option<u64>,
    /// Whether it is what whoever asks for the key alone gets.
    pub is_latest: bool,
}

/// Why a place did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobFault {
    /// It did not answer, or answered that it cannot now; nothing is known of what was asked.
    #[error("{0}")]
    Unreachable(String),
    /// It will not, whenever it is asked: something has to be set right there or here.
    #[error("{said}. {remedy}")]
    Refused {
        /// What it says.
        said: String,
        /// What to do.
        remedy: &'static str,
    },
    /// It is none that recordings could be relied on to.
    #[error("{said}. {remedy}")]
    Unfit {
        /// What is missing.
        said: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// It lies locked or held, and cannot be deleted yet.
    #[error("{key} is locked there{}", until_in_words(*until))]
    Locked {
        /// The key.
        key: String,
        /// Until when; none where it is held.
        until: Option<Timestamp>,
    },
    /// What was just put lies there otherwise.
    #[error("{key} lies there otherwise than it was put: version {version}")]
    Differs {
        /// The key.
        key: String,
        /// The version.
        version: String,
    },
    /// What was to be kept cannot be read here.
    #[error("{0}")]
    Here(String),
}

fn until_in_words(until: Option<Timestamp>) -> String {
    until.map_or_else(|| ", held by a legal hold".to_owned(), |until| format!(" until {until}"))
}

/// A place of immutable objects. Nothing here is asked twice: whoever calls knows when to ask again.
pub trait Blobs: Send + Sync {
    /// Keeps bytes under a key, locked until then, and looks at the version that holds them afterwards: its length, its
    /// SHA-256, its lock. One that lies there already is as good as put now, and its lock is made longer where it is too short;
    /// other versions of the key, whosever they are, change nothing.
    fn keep<'a>(
        &'a self,
        key: &'a str,
        what: What<'a>,
        sha256: [u8; 32],
        until: Timestamp,
    ) -> BoxFuture<'a, Result<Kept, BlobFault>>;
    /// Puts bytes in place of what lay under a key, unlocked.
    fn put<'a>(&'a self, key: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), BlobFault>>;
    /// A version as it lies there; none where it does not.
    fn look<'a>(&'a self, key: &'a str, version: &'a str) -> BoxFuture<'a, Result<Option<Kept>, BlobFault>>;
    /// So many bytes of a version from an offset on; fewer only at its end.
    fn read<'a>(
        &'a self,
        key: &'a str,
        version: &'a str,
        offset: u64,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<u8>, BlobFault>>;
    /// Every version of every key that begins so, in the order of keys.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, BlobFault>>;
    /// Locks a version for longer.
    fn lock<'a>(&'a self, key: &'a str, version: &'a str, until: Timestamp) -> BoxFuture<'a, Result<(), BlobFault>>;
    /// Holds a version, or no more.
    fn hold<'a>(&'a self, key: &'a str, version: &'a str, held: bool) -> BoxFuture<'a, Result<(), BlobFault>>;
    /// Deletes a version for good; one that is not there is no error.
    fn destroy<'a>(&'a self, key: &'a str, version: &'a str) -> BoxFuture<'a, Result<(), BlobFault>>;
    /// Whether the place keeps versions and locks, and says of what is missing that it is.
    fn check(&self) -> BoxFuture<'_, Result<(), BlobFault>>;
}

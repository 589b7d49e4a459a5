//! Why the store said no: to a session, to an append, to being opened. A fault is for a log and for the layer above,
//! which chooses the words that a technician reads.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use certs::log_key::BadVerifier;

use crate::codec::Malformed;
use crate::log::Head;
use crate::segment::SegmentsFault;

/// What failed, where, and what the system said. Cheap to clone: everyone who waits gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause(Arc<(&'static str, PathBuf, String)>);

impl Cause {
    pub(crate) fn new(doing: &'static str, path: &Path, error: &io::Error) -> Self {
        Self::told(doing, path, &error.to_string())
    }

    pub(crate) fn told(doing: &'static str, path: &Path, why: &str) -> Self {
        Self(Arc::new((doing, path.to_owned(), why.to_owned())))
    }
}

/// What to do about segments that are not as a log leaves them.
const fn way_out(fault: &SegmentsFault) -> &'static str {
    match fault {
        SegmentsFault::Io { .. } => "",
        SegmentsFault::Missing(_) | SegmentsFault::Stray(_) | SegmentsFault::Damaged { .. } => {
            ". No crash leaves that. Put the file right from a copy of this folder; where there is none, keep the folder as it is, \
             as evidence, and go on from the newest backup: `holdpoint restore`. Nothing was changed"
        }
    }
}

/// Whether an error says that there is no room, and nothing else is in doubt.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (doing, path, error) = &*self.0;
        write!(f, "{doing} {}: {error}", path.display())
    }
}

/// Why nothing is recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// A write or a sync failed. The log takes nothing more until the program was started again on a checked volume.
    #[error("the store failed and takes nothing more until it is started again on a checked volume: {0}")]
    Poisoned(Cause),
    /// The disk is full, or fuller than new sessions are let in for. Passes when space is freed.
    #[error("no room to record: {free} bytes are free, {reserve} are reserved for what is running; free some space")]
    NoRoom {
        /// Bytes free.
        free: u64,
        /// Bytes that must stay free for new sessions to be let in.
        reserve: u64,
    },
    /// Whoever holds the log's key does not sign.
    #[error("nothing is signed any more: {0}")]
    NotSigned(String),
    /// More was submitted than a session may have waiting; see [`crate::session::IN_FLIGHT_BYTES_MAX`].
    #[error("more than {0} bytes wait to be recorded")]
    TooMuchInFlight(u64),
    /// As many sessions are open, or wait to be let in, as a log takes.
    #[error("{0} sessions are open or on their way in, and a log takes no more at once")]
    TooManySessions(usize),
    /// A fact, or an opening's metadata, is longer than a frame or an entry may be.
    #[error("{0} bytes are more than one record may have")]
    TooLong(usize),
    /// Frames of this recording are in no block yet.
    #[error("the recording is not wholly in blocks yet; that takes seconds from its session's end")]
    NotInBlocks,
    /// A session of this recording is or was open.
    #[error("a recording of that name exists already: {0}")]
    Exists(Cause),
    /// The session is sealed, or its writer is gone.
    #[error("the recording is sealed")]
    Sealed,
    /// The log was stopped.
    #[error("the store was stopped")]
    Stopped,
    /// This log is a journal; sessions are recorded in another.
    #[error("a journal records no sessions")]
    NotARecordLog,
    /// This log is a record log; its entries are about sessions.
    #[error("a record log takes no entries but those about its sessions")]
    NotAJournal,
}

/// Why an append did not happen, or may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendFault {
    /// Others appended first.
    #[error("the log's head is no longer the one this append was decided on")]
    Conflict {
        /// The head now.
        head: Box<Head>,
    },
    /// Nothing is known: it may be there after a restart. Read again.
    #[error("the append did not become durable: {0}")]
    Unavailable(#[from] StoreFault),
}

/// Why a log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// Another program has it.
    #[error("another program has {} open; end it first, or give this one a data folder of its own", .0.display())]
    InUse(PathBuf),
    /// The folder holds another log, or one of another format.
    #[error("{} says {found:?} where this program expects {expected:?}", path.display())]
    OtherLog {
        /// The file `FORMAT`.
        path: PathBuf,
        /// What was expected in it.
        expected: String,
        /// What it says.
        found: String,
    },
    /// On such a file system the store's promises do not hold.
    #[error("{} is on {kind}, where overwriting and syncing a file promise too little; use ext4 or xfs, or allow {kind} by name", path.display())]
    Unsuited {
        /// The folder.
        path: PathBuf,
        /// The file system.
        kind: &'static str,
    },
    /// The origin names no log.
    #[error(transparent)]
    Origin(#[from] BadVerifier),
    /// The segments are not what a log leaves behind, whatever happens to the machine. They are left as they are.
    #[error("{0}{way}", way = way_out(.0))]
    Segments(#[from] SegmentsFault),
    /// The log's own checkpoint is none that this log signed.
    #[error("{} is not a checkpoint of this log: {why}. Put the file back from a copy; nothing was changed", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The log is shorter than what it once published: somebody put back an older copy.
    #[error("{} says that this log had {published} entries, and {found} are there: an older copy was put back. Put back the newest one, or go on from this one: an administrator and an operator together, `holdpoint restore`. Nothing was changed", path.display())]
    SetBack {
        /// The checkpoint.
        path: PathBuf,
        /// Entries that it is over.
        published: u64,
        /// Entries that are there.
        found: u64,
    },
    /// The log is another one than what it once published.
    #[error("{} is over other {size} entries than this log has: parts of two copies were mixed. Put back one whole copy, or go on from this one: an administrator and an operator together, `holdpoint restore`. Nothing was changed", path.display())]
    Forked {
        /// The checkpoint.
        path: PathBuf,
        /// Entries that it is over.
        size: u64,
    },
    /// Entries of retired segments lie in tiles alone, and those do not hold them any more.
    #[error("the beginning of the log in {} lies in its tiles alone, and they do not give it: {fault}. Put `tile` and `checkpoint` back from a copy; nothing was changed", dir.display())]
    TilesLost {
        /// The log's folder.
        dir: PathBuf,
        /// What is wrong with them.
        fault: String,
    },
    /// The file system said no.
    #[error("cannot {0}")]
    Io(Cause),
    /// The log could not begin to write.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

impl From<Malformed> for String {
    fn from(malformed: Malformed) -> Self {
        malformed.to_string()
    }
}

//! The journal: the port to the one place where decisions are kept, in order, for ever. An append happens after exactly
//! the head it was decided on, or not at all. Who may append is settled by there being one caller, the Desk.

use std::num::NonZero;

use futures::future::BoxFuture;
use jiff::Timestamp;
use policies::events::{Event, UnknownEvent};
use policies::ids::NodeId;

pub mod files;
pub mod memory;
pub mod postgres;

pub use recordings::log::Head;

/// An entry as the journal gives it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place, from 0.
    pub index: u64,
    /// When it was appended; never before its predecessor.
    pub at: Timestamp,
    /// The fact.
    pub event: Event,
    /// Its hash as a leaf of the journal's tree (RFC 6962).
    pub leaf: [u8; 32],
}

/// That a node lives: a number of its own that grows while it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Which node.
    pub node: NodeId,
    /// How often it said so; 0 where it never did.
    pub said: u64,
}

/// Why an append did not happen, or may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended first; this is the head now. Nothing of ours was written.
    #[error("the journal went on meanwhile")]
    Conflict(Head),
    /// It is not known whether it was written: read again.
    #[error("the journal did not answer: {0}")]
    Unavailable(String),
}

/// Why the journal cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// An entry this program does not know. It is never skipped: nobody is admitted until the program was upgraded.
    #[error("entry {index} of the journal: {cause}")]
    Unknown {
        /// Which entry.
        index: u64,
        /// What is not understood.
        cause: String,
    },
    /// The store behind it.
    #[error("the journal cannot be read: {0}")]
    Unavailable(String),
}

/// Where decisions are kept.
pub trait Journal: Send + Sync {
    /// Appends all events or none, in one piece, after exactly the head `after`; durable when it completes. An entry
    /// whose time would lie before its predecessor's gets its predecessor's.
    fn append<'a>(
        &'a self,
        after: Head,
        events: &'a [Event],
        at: Timestamp,
    ) -> BoxFuture<'a, Result<Head, AppendError>>;

    /// The entries from index `after` on, in order; none where there are none yet. Entries before an unknown one are
    /// given first: it is an error only where it is the first to be read.
    fn read(&self, after: u64) -> BoxFuture<'_, Result<Vec<Entry>, ReadError>>;

    /// The next of them, as many as may be held at once: who has read them reads on behind them. None where there are
    /// none yet.
    fn read_next(&self, after: u64) -> BoxFuture<'_, Result<Vec<Entry>, ReadError>> {
        self.read(after)
    }

    /// Those at these places, which are in order, as far as [`read_next`](Self::read_next) from the first of them goes. What is not
    /// among them need not be understood.
    fn read_at<'a>(&'a self, places: &'a [u64]) -> BoxFuture<'a, Result<Vec<Entry>, ReadError>> {
        let read = async move {
            let Some(first) = places.first() else { return Ok(Vec::new()) };
            let mut entries = self.read_next(*first).await?;
            entries.retain(|entry| places.binary_search(&entry.index).is_ok());
            Ok(entries)
        };
        Box::pin(read)
    }

    /// The durable head. An error where the store behind it takes nothing more.
    fn head(&self) -> BoxFuture<'_, Result<Head, ReadError>>;

    /// Completes once there may be more than `size` entries.
    fn changed(&self, size: u64) -> BoxFuture<'_, ()>;

    /// Says that this node lives, and gives what each node of the installation said last. None where no other can append here.
    fn speak(&self) -> BoxFuture<'_, Result<Vec<Word>, ReadError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// Fewer are not worth another thread.
const DECODED_ALONE: usize = 512;

/// Decodes entries up to the first unknown one; many by as many threads as the machine runs at once.
fn decode_known(raw: &[recordings::leaf::Entry]) -> Result<Vec<Entry>, ReadError> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut parts = raw.chunks(raw.len().div_ceil(threads).max(DECODED_ALONE));
    let own = parts.next().unwrap_or_default();
    std::thread::scope(|scope| {
        // Where the system gives no thread, this one does it.
        let apart = |part| (part, std::thread::Builder::new().spawn_scoped(scope, move || decode_part(part)).ok());
        let others: Vec<_> = parts.map(apart).collect();
        let (mut entries, mut unknown) = decode_part(own);
        for (part, other) in others {
            let (more, not_known) = match other {
                Some(other) => other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                None => decode_part(part),
            };
            if unknown.is_none() {
                entries.extend(more);
                unknown = not_known;
            }
        }
        match unknown {
            Some(unknown) if entries.is_empty() => Err(unknown),
            _ => Ok(entries),
        }
    })
}

/// Those before the first unknown one, and what is not known of it.
fn decode_part(raw: &[recordings::leaf::Entry]) -> (Vec<Entry>, Option<ReadError>) {
    let mut entries = Vec::with_capacity(raw.len());
    for raw in raw {
        match decode(raw) {
            Ok(entry) => entries.push(entry),
            Err(cause) => return (entries, Some(ReadError::Unknown { index: raw.index, cause: cause.to_string() })),
        }
    }
    (entries, None)
}

/// All entries of a journal at rest, each of which must be known.
///
/// # Errors
/// The first that this program does not know.
pub fn decode_all(raw: &[recordings::leaf::Entry]) -> Result<Vec<Entry>, ReadError> {
    let unknown = |raw: &recordings::leaf::Entry, cause: UnknownEvent| ReadError::Unknown {
        index: raw.index,
        cause: cause.to_string(),
    };
    raw.iter().map(|entry| decode(entry).map_err(|cause| unknown(entry, cause))).collect()
}

fn decode(raw: &recordings::leaf::Entry) -> Result<Entry, UnknownEvent> {
    Ok(Entry { index: raw.index, at: raw.at, event: Event::decode(&raw.bytes)?, leaf: raw.hash })
}

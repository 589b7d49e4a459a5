//! The journal in memory, for tests and for commands that keep nothing. Its entries have the same bytes, chain and tree
//! as the one on files, so whatever is signed over its head means the same.

use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use policies::events::Event;
use recordings::tree::{Tree, leaf_hash};
use tokio::sync::watch;

use super::{AppendError, Entry, Head, Journal, ReadError, decode_known};

/// Forgets everything when dropped.
pub struct MemoryJournal {
    kept: Mutex<Kept>,
    size: watch::Sender<u64>,
}

struct Kept {
    head: Head,
    tree: Tree,
    entries: Vec<recordings::leaf::Entry>,
}

impl MemoryJournal {
    /// An empty one.
    pub fn new() -> Self {
        let kept = Kept { head: Head::empty(), tree: Tree::default(), entries: Vec::new() };
        Self { kept: Mutex::new(kept), size: watch::Sender::new(0) }
    }

    /// Appends bytes as they are: what a newer version of the program would have written.
    pub fn append_bytes(&self, bytes: Vec<Vec<u8>>, at: Timestamp) -> Head {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for bytes in bytes {
            kept.push(bytes, at);
        }
        self.size.send_replace(kept.head.size);
        kept.head
    }
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

impl Kept {
    fn push(&mut self, bytes: Vec<u8>, at: Timestamp) {
        let at = self.entries.last().map_or(at, |last| at.max(last.at));
        let previous = self.head.last;
        let hash = leaf_hash(&[previous.as_slice(), at.to_string().as_bytes(), &bytes].concat());
        self.entries.push(recordings::leaf::Entry { index: self.head.size, at, bytes, hash, previous });
        self.tree.push(hash);
        self.head = Head { size: self.tree.size(), last: hash, root: self.tree.root() };
    }
}

impl Journal for MemoryJournal {
    fn append<'a>(
        &'a self,
        after: Head,
        events: &'a [Event],
        at: Timestamp,
    ) -> BoxFuture<'a, Result<Head, AppendError>> {
        async move {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.head != after {
                return Err(AppendError::Conflict(kept.head));
            }
            for event in events {
                kept.push(event.encode(), at);
            }
            self.size.send_replace(kept.head.size);
            Ok(kept.head)
        }
        .boxed()
    }

    fn read(&self, after: u64) -> BoxFuture<'_, Result<Vec<Entry>, ReadError>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let from = usize::try_from(after).unwrap_or(usize::MAX).min(kept.entries.len());
        let raw = kept.entries[from..].to_vec();
        async move { decode_known(&raw) }.boxed()
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, ReadError>> {
        let head = self.kept.lock().unwrap_or_else(PoisonError::into_inner).head;
        async move { Ok(head) }.boxed()
    }

    fn changed(&self, size: u64) -> BoxFuture<'_, ()> {
        let mut sizes = self.size.subscribe();
        async move {
            let grown = sizes.wait_for(|now| *now > size).await.is_ok();
            debug_assert!(grown, "the sender lives as long as this journal");
        }
        .boxed()
    }
}

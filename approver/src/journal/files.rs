//! The journal on append-only files: one log of `recordings`, with its own folder and writer thread.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use policies::events::Event;
use recordings::fault::AppendFault;
use recordings::leaf;
use recordings::log::Log;
use recordings::segment::SegmentsFault;
use tokio::sync::watch;

use super::{AppendError, Entry, Head, Journal, ReadError, decode_known};

/// Decisions in the segments of a [`Log`] of the purpose `Journal`.
pub struct FilesJournal {
    log: Arc<Log>,
    size: watch::Sender<u64>,
}

impl FilesJournal {
    /// Over this log, which nothing else appends to.
    pub fn new(log: Arc<Log>) -> Self {
        let size = watch::Sender::new(log.head().size);
        Self { log, size }
    }

    /// The log that it is over.
    pub(super) const fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Wakes whoever waits for what was appended to the log itself.
    pub(super) fn has_grown(&self) {
        self.size.send_replace(self.log.head().size);
    }

    async fn look(
        &self,
        read: impl FnOnce(&Log) -> Result<Vec<leaf::Entry>, SegmentsFault> + Send + 'static,
    ) -> Result<Vec<Entry>, ReadError> {
        let log = self.log.clone();
        let look = move || {
            let raw = read(&log).map_err(|fault| ReadError::Unavailable(fault.to_string()))?;
            decode_known(&raw)
        };
        let looked = tokio::task::spawn_blocking(look).await;
        looked.unwrap_or_else(|panic| Err(ReadError::Unavailable(panic.to_string())))
    }
}

impl Journal for FilesJournal {
    fn append<'a>(
        &'a self,
        after: Head,
        events: &'a [Event],
        at: Timestamp,
    ) -> BoxFuture<'a, Result<Head, AppendError>> {
        let appended = self.log.append(after, events.iter().map(Event::encode).collect(), at);
        async move {
            match appended.await {
                Ok(head) => {
                    self.size.send_replace(head.size);
                    Ok(head)
                }
                Err(AppendFault::Conflict { head }) => Err(AppendError::Conflict(*head)),
                Err(AppendFault::Unavailable(fault)) => Err(AppendError::Unavailable(fault.to_string())),
            }
        }
        .boxed()
    }

    fn read(&self, after: u64) -> BoxFuture<'_, Result<Vec<Entry>, ReadError>> {
        self.look(move |log| log.entries(after)).boxed()
    }

    fn read_next(&self, after: u64) -> BoxFuture<'_, Result<Vec<Entry>, ReadError>> {
        self.look(move |log| log.next_entries(after)).boxed()
    }

    fn read_at<'a>(&'a self, places: &'a [u64]) -> BoxFuture<'a, Result<Vec<Entry>, ReadError>> {
        let wanted = places.to_vec();
        let read = move |log: &Log| {
            let Some(first) = wanted.first() else { return Ok(Vec::new()) };
            let mut entries = log.next_entries(*first)?;
            entries.retain(|entry| wanted.binary_search(&entry.index).is_ok());
            Ok(entries)
        };
        self.look(read).boxed()
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, ReadError>> {
        async move {
            match self.log.status().fault {
                Some(fault) => Err(ReadError::Unavailable(fault.to_string())),
                None => Ok(self.log.head()),
            }
        }
        .boxed()
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

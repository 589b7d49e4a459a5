//! Carries out what the journal decided about this node's recordings: a leaf in the record log for each hold, release and
//! erasure, and then, for an erasure, the destruction. In this order, so that a crash leaves nothing that nobody explains:
//! the decision is in the journal; the leaf is durable and under a published checkpoint; what was left of evidence packs,
//! which may have a copy, is gone; the key files are gone for good;
//! the blocks go; the texts of the request go, where no other recording needs them. Only then does the cursor move, so
//! what was broken off is taken up at the next start; a leaf may then stand twice. After a restore all decisions are carried out
//! again: the recordings may be those of an earlier moment.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use policies::events::Event;
use policies::ids::{NodeId, SessionId};
use recordings::disk::RealDisk;
use recordings::fault::StoreFault;
use recordings::keeping::{Decided, Erased, Files, destroy, survey};
use recordings::log::Log;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, RwLockWriteGuard};

use crate::clock::Clock;
use crate::deposits::{self, Copies};
use crate::desk::Desk;
use crate::directory::DirectoryFault;
use crate::journal::{Entry, ReadError};
use crate::packs;

/// Under this name and the node's the directory remembers how far it came; several nodes may share one.
pub(crate) const READER: &str = "eraser";
/// How often it is looked whether a leaf is published, or a session wholly in blocks. Both take seconds.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// So long it waits after something failed.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// Entries that are about nothing here are read again at a start, unless they are so many.
const ENTRIES_UNREMEMBERED: u64 = 256;

/// Keeps what is erased and what is copied apart. Whoever copies finds no leaf about keeping without the decision that it names,
/// and no file goes that was listed.
#[derive(Debug, Clone, Default)]
pub struct Copying(Arc<RwLock<()>>);

impl Copying {
    /// Nothing is erased while this lives.
    pub(crate) async fn begin(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.0).read_owned().await
    }

    /// Nobody begins to copy while this lives; none where somebody does.
    pub(crate) fn none_now(&self) -> Option<RwLockWriteGuard<'_, ()>> {
        self.0.try_write().ok()
    }

    /// Waits until nobody copies; nobody begins to while this lives. Whoever waits here keeps nobody from beginning.
    async fn over(&self, clock: &Clock) -> RwLockWriteGuard<'_, ()> {
        if let Ok(over) = self.0.try_write() {
            return over;
        }
        tracing::info!("what was decided about recordings waits until a backup or an evidence pack is made");
        loop {
            clock.sleep(LOOK_EVERY).await;
            if let Ok(over) = self.0.try_write() {
                return over;
            }
        }
    }
}

/// The one who erases.
pub struct Eraser {
    /// What was decided.
    pub desk: Desk,
    /// This node's record log.
    pub records: Arc<Log>,
    /// Its folder.
    pub dir: PathBuf,
    /// The data folder.
    pub data: PathBuf,
    /// Whether somebody copies it.
    pub copying: Copying,
    /// What the record log says of copies in a bucket.
    pub copies: Copies,
}

/// Why it was broken off.
#[derive(Debug, thiserror::Error)]
enum BrokenOff {
    #[error("the journal: {0}")]
    Journal(#[from] ReadError),
    #[error(transparent)]
    Directory(#[from] DirectoryFault),
    #[error("the record log: {0}")]
    Log(#[from] StoreFault),
    #[error("the files of {0}: {1}")]
    Files(SessionId, std::io::Error),
    #[error("what the record log says of copies: {0}")]
    Copies(#[from] deposits::BrokenOff),
    #[error("what was left of an evidence pack: {0}")]
    Left(std::io::Error),
    #[error("a part of the program died")]
    Died,
}

/// What its cursor is called: entries before that are carried out.
pub(crate) fn reader(node: &NodeId) -> String {
    format!("{READER}/{node}")
}

impl Eraser {
    /// Follows the journal for as long as it is let.
    pub async fn run(self) {
        let mut done = None;
        loop {
            match self.go_on(&mut done).await {
                Ok(size) => self.desk.changed(size).await,
                Err(broken_off) => {
                    tracing::error!(%broken_off, "what was decided about recordings is not carried out; it is tried again");
                    self.desk.clock().sleep(TRY_AGAIN).await;
                }
            }
        }
    }

    /// Carries out what came since: how many entries are known now.
    async fn go_on(&self, done: &mut Option<u64>) -> Result<u64, BrokenOff> {
        let from = match *done {
            Some(done) => done,
            None => {
                let over = self.copying.over(self.desk.clock()).await;
                self.sweep().await?;
                drop(over);
                self.desk.directory().cursor(&self.reader()).await?
            }
        };
        let mut remembered = from;
        for entry in self.desk.entries(from).await? {
            let concerns = self.carry_out(&entry).await?;
            let next = entry.index + 1;
            *done = Some(next);
            if concerns || next - remembered >= ENTRIES_UNREMEMBERED {
                self.desk.directory().set_cursor(&self.reader(), next).await?;
                remembered = next;
            }
        }
        Ok(*done.get_or_insert(from))
    }

    fn reader(&self) -> String {
        reader(self.desk.node())
    }

    /// Whether the entry is about a recording of this node.
    async fn carry_out(&self, entry: &Entry) -> Result<bool, BrokenOff> {
        let (Event::Held { session, .. } | Event::Released { session, .. } | Event::Erased { session, .. }) =
            &entry.event
        else {
            return Ok(false);
        };
        let is_ours = |node: &policies::ids::NodeId| node == self.desk.node();
        if !self.desk.with_state(|state| state.sessions.get(session).is_some_and(|facts| is_ours(&facts.node))) {
            return Ok(false);
        }
        let decided = Decided { recording: *session, entry: entry.index, hash: entry.leaf };
        match &entry.event {
            Event::Held { .. } => drop(self.append(|records| records.held(decided)).await?),
            Event::Released { .. } => drop(self.append(|records| records.released(decided)).await?),
            _ => self.erase(decided).await?,
        }
        Ok(true)
    }

    async fn erase(&self, decided: Decided) -> Result<(), BrokenOff> {
        let session = decided.recording;
        while let Some(found) = self.found(session).await? {
            match self.append(|records| records.erased(Erased { decided, found })).await {
                Ok(leaf) => {
                    self.wait_until_published(leaf).await?;
                    let over = self.copying.over(self.desk.clock()).await;
                    self.sweep().await?;
                    self.on_disk(session, move |dir| destroy(&RealDisk, &dir, session)).await?;
                    drop(over);
                    tracing::info!(%session, files = found.count, bytes = found.bytes, "a recording is erased");
                    break;
                }
                Err(StoreFault::NotInBlocks) => self.desk.clock().sleep(LOOK_EVERY).await,
                Err(fault) => return Err(fault.into()),
            }
        }
        let now = self.desk.clock().wall();
        for text in self.desk.with_state(|state| state.texts_of_erased(session, now)) {
            self.desk.directory().erase_text(text).await?;
        }
        Ok(())
    }

    /// What lies here of a recording, or in a bucket alone; none where nothing was recorded.
    async fn found(&self, session: SessionId) -> Result<Option<Files>, BrokenOff> {
        let here = self.on_disk(session, move |dir| survey(&RealDisk, &dir, session)).await?;
        if here.is_some() || self.copies.of(session).await?.is_empty() {
            return Ok(here);
        }
        Ok(Some(Files::none()))
    }

    /// No pack is made meanwhile: nobody copies.
    async fn sweep(&self) -> Result<(), BrokenOff> {
        let data = self.data.clone();
        let swept = tokio::task::spawn_blocking(move || packs::sweep(&data)).await.map_err(|_| BrokenOff::Died)?;
        swept.map_err(BrokenOff::Left)
    }

    /// While nobody copies.
    async fn append<F>(&self, leaf: impl FnOnce(&Log) -> F) -> F::Output
    where
        F: Future<Output = Result<u64, StoreFault>>,
    {
        let _over = self.copying.over(self.desk.clock()).await;
        leaf(&self.records).await
    }

    async fn wait_until_published(&self, leaf: u64) -> Result<(), BrokenOff> {
        loop {
            if let Some(fault) = self.records.status().fault {
                return Err(fault.into());
            }
            if leaf < self.records.published_entries() {
                return Ok(());
            }
            self.desk.clock().sleep(LOOK_EVERY).await;
        }
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        session: SessionId,
        work: impl FnOnce(PathBuf) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, BrokenOff> {
        let dir = self.dir.clone();
        let done = tokio::task::spawn_blocking(move || work(dir)).await.map_err(|_| BrokenOff::Died)?;
        done.map_err(|cause| BrokenOff::Files(session, cause))
    }
}

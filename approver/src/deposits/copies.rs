//! What the record log says of copies: of each file of a recording, which version in the bucket holds it (leaf 11). Whoever
//! reads, relies on or removes goes by that and by no list, in which others could have put something. The directory has
//! an index of these leaves, which is made again from what the log published wherever it is not there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use policies::ids::SessionId;
use recordings::disk::RealDisk;
use recordings::keeping::Copied;
use recordings::leaf::{Entry, Leaf};
use recordings::tlog::folder::{Folder, FolderFault, View};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::BrokenOff;
use crate::directory::{Change, Directory, Key, json};

/// Entries that are read at once: 256 bundles.
const ENTRIES_AT_ONCE: u64 = 1 << 16;

/// The leaves, found by session and file.
#[derive(Clone)]
pub struct Copies {
    directory: Arc<dyn Directory>,
    /// The record log's folder.
    dir: PathBuf,
    /// The node, and what it is since its last restore: of another log's leaves nothing counts.
    place: String,
    /// Of those who take in at once, who is behind would put older leaves in place of newer ones.
    going_on: Arc<Mutex<()>>,
}

/// What the index has of a file.
#[derive(Serialize, Deserialize)]
struct File {
    /// The last leaf about it.
    leaf: u64,
    /// The file of that session that came before it, where there is one.
    before: Option<String>,
}

impl Copies {
    /// Those of the record log in this folder.
    pub fn new(directory: Arc<dyn Directory>, dir: PathBuf, place: String) -> Self {
        Self { directory, dir, place, going_on: Arc::default() }
    }

    /// What the log says of a recording's files, the last word of each, as far as that is under a published checkpoint.
    pub(crate) async fn of(&self, session: SessionId) -> Result<Vec<Copied>, BrokenOff> {
        self.among(session, u64::MAX).await
    }

    /// The same, as far as so many entries of the log go.
    pub(super) async fn among(&self, session: SessionId, entries: u64) -> Result<Vec<Copied>, BrokenOff> {
        self.go_on().await?;
        let mut leaves: Vec<u64> = self.files(session).await?.into_iter().map(|(_, file)| file.leaf).collect();
        leaves.retain(|leaf| *leaf < entries);
        if leaves.is_empty() {
            return Ok(Vec::new());
        }
        leaves.sort_unstable();
        let read = self.blocking(move |dir| read_at(dir, &leaves)).await?;
        Ok(read.into_iter().filter(|copied| copied.recording == session).collect())
    }

    /// Forgets where they are, of a recording that is gone.
    pub(super) async fn forget(&self, session: SessionId) -> Result<(), BrokenOff> {
        let files = self.files(session).await?;
        let files = files.into_iter().map(|(name, _)| Change::delete(self.file(session, &name)));
        self.directory.swap(files.chain([Change::delete(self.last(session))]).collect()).await?;
        Ok(())
    }

    /// Takes in what was published since.
    async fn go_on(&self) -> Result<(), BrokenOff> {
        let _alone = self.going_on.lock().await;
        let reader = format!("copies/{}", self.place);
        let mut next = self.directory.cursor(&reader).await?;
        loop {
            let (found, until) = self.blocking(move |dir| read_from(dir, next)).await?;
            for (leaf, copied) in found {
                self.take_in(leaf, &copied).await?;
            }
            if until <= next {
                return Ok(());
            }
            self.directory.set_cursor(&reader, until).await?;
            next = until;
        }
    }

    async fn take_in(&self, leaf: u64, Copied { recording, name, .. }: &Copied) -> Result<(), BrokenOff> {
        let (file, last) = (self.file(*recording, name), self.last(*recording));
        let known: Option<File> = self.directory.copied(&file).await?;
        let changes = match known {
            Some(File { before, .. }) => vec![Change::set(file, json(&File { leaf, before }))],
            None => {
                let before: Option<String> = self.directory.copied(&last).await?;
                vec![Change::set(file, json(&File { leaf, before })), Change::set(last, json(name))]
            }
        };
        self.directory.swap(changes).await?;
        Ok(())
    }

    /// What the index has of a session: its files by name, the last one first.
    async fn files(&self, session: SessionId) -> Result<Vec<(String, File)>, BrokenOff> {
        let mut next: Option<String> = self.directory.copied(&self.last(session)).await?;
        let mut files = Vec::new();
        while let Some(name) = next.take() {
            let Some(file) = self.directory.copied::<File>(&self.file(session, &name)).await? else { break };
            next.clone_from(&file.before);
            files.push((name, file));
        }
        Ok(files)
    }

    fn file(&self, session: SessionId, name: &str) -> Key {
        Key::Copied(format!("{}/{session}/{name}", self.place))
    }

    /// Under this lies the name of the file that came last.
    fn last(&self, session: SessionId) -> Key {
        Key::Copied(format!("{}/{session}", self.place))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, FolderFault> + Send + 'static,
    ) -> Result<T, BrokenOff> {
        let dir = self.dir.clone();
        let done = tokio::task::spawn_blocking(move || work(&dir)).await.map_err(|_| BrokenOff::Died)?;
        done.map_err(BrokenOff::Published)
    }
}

/// The log as it is published; none before its first checkpoint.
fn view(dir: &Path) -> Result<Option<View>, FolderFault> {
    let folder = Folder::new(Arc::new(RealDisk), dir);
    folder.checkpoint()?.map(|checkpoint| View::open(folder, &checkpoint)).transpose()
}

/// Leaves about copies from an entry on, with their places, and up to which entry was read.
fn read_from(dir: &Path, from: u64) -> Result<(Vec<(u64, Copied)>, u64), FolderFault> {
    let Some(mut view) = view(dir)? else { return Ok((Vec::new(), from)) };
    let until = view.size().min(from.saturating_add(ENTRIES_AT_ONCE));
    let mut found = Vec::new();
    for (index, entry) in (from..until).zip(view.entries(from..until)) {
        found.extend(copied(index, &entry?).map(|copied| (index, copied)));
    }
    Ok((found, until))
}

fn read_at(dir: &Path, leaves: &[u64]) -> Result<Vec<Copied>, FolderFault> {
    let Some(mut view) = view(dir)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for leaf in leaves.iter().filter(|leaf| **leaf < view.size()).copied().collect::<Vec<_>>() {
        found.extend(copied(leaf, &view.entry(leaf)?));
    }
    Ok(found)
}

fn copied(index: u64, entry: &[u8]) -> Option<Copied> {
    match Leaf::parse(&Entry::parse(index, entry).ok()?.bytes) {
        Ok(Leaf::Copied(copied)) => Some(copied),
        _ => None,
    }
}

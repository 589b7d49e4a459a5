//! The directory on sled 0.34.7. One thread owns every change; one function makes changes durable, because sled's own
//! `flush` answers before the file's data and length are on the disk: `flush`, then `sync_data` on the file. Nobody else flushes.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use recordings::disk::once_free;
use tokio::sync::{mpsc, oneshot};

use super::{Change, Directory, DirectoryFault, Dumped, Key, Listed, Table, check_lengths};

/// Changes that wait for the thread. They are a few hundred bytes each, and a caller waits for its own.
const WAITING_MAX: usize = 256;

/// Small state in a folder. Dropping it waits for its thread.
pub struct SledDirectory {
    tree: sled::Tree,
    changes: Option<mpsc::Sender<Wanted>>,
    thread: Option<JoinHandle<()>>,
}

struct Wanted {
    changes: Vec<Change>,
    answer: oneshot::Sender<Result<bool, DirectoryFault>>,
}

/// Why the folder does not open.
#[derive(Debug, thiserror::Error)]
pub enum CannotOpen {
    /// The files.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another program has it.
    #[error("another program has {path} open; end it first", path = .0.display())]
    InUse(PathBuf),
    /// sled.
    #[error(
        "the directory in {path} does not open: {source}. Put back a backup of this folder with the program stopped"
    )]
    Sled {
        /// The folder.
        path: PathBuf,
        /// What sled says.
        source: sled::Error,
    },
}

impl SledDirectory {
    /// Opens or makes the directory in `dir`. A snapshot that was being written at a crash is moved aside once.
    ///
    /// # Errors
    /// The folder cannot be used, another program has it open, or it is damaged.
    pub fn open(dir: &Path) -> Result<Self, CannotOpen> {
        let io = |source| CannotOpen::Io { path: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(io)?;
        let open = || once_free(|| if_free(sled_config(dir).open()));
        let db = match open() {
            Err(sled::Error::Corruption { .. }) if move_snapshots_aside(dir).map_err(io)? => open(),
            opened => opened,
        };
        let db = db.map_err(|source| CannotOpen::Sled { path: dir.to_owned(), source })?;
        let db = db.ok_or_else(|| CannotOpen::InUse(dir.to_owned()))?;
        sync_all_files(dir).map_err(io)?;
        let file = File::options().write(true).open(dir.join("db")).map_err(io)?;
        let tree = (*db).clone();
        let (changes, waiting) = mpsc::channel(WAITING_MAX);
        let owner = Owner { tree: tree.clone(), db, file, poison: None };
        let thread =
            std::thread::Builder::new().name("directory".into()).spawn(move || owner.run(waiting)).map_err(io)?;
        Ok(Self { tree, changes: Some(changes), thread: Some(thread) })
    }

    async fn send(&self, changes: Vec<Change>) -> Result<bool, DirectoryFault> {
        check_lengths(&changes)?;
        let stopped = || DirectoryFault::Unavailable("its thread has stopped".into());
        let (answer, answered) = oneshot::channel();
        let sender = self.changes.as_ref().ok_or_else(stopped)?;
        sender.send(Wanted { changes, answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

fn sled_config(dir: &Path) -> sled::Config {
    sled::Config::new().path(dir).mode(sled::Mode::LowSpace).flush_every_ms(Some(500))
}

/// `None` where others have it open, which this version of sled says in words alone.
fn if_free(opened: sled::Result<sled::Db>) -> sled::Result<Option<sled::Db>> {
    match opened {
        Err(sled::Error::Io(held)) if held.to_string().starts_with("could not acquire lock") => Ok(None),
        opened => opened.map(Some),
    }
}

/// sled refuses to start beside a half-written snapshot (spacejam/sled#1527), which holds nothing of its own.
fn move_snapshots_aside(dir: &Path) -> io::Result<bool> {
    let mut moved = false;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            tracing::warn!(%name, "a half-written snapshot of the directory is moved aside");
            std::fs::rename(&path, dir.join(format!("aside.{name}")))?;
            moved = true;
        }
    }
    Ok(moved)
}

/// sled makes files and never syncs their names.
fn sync_all_files(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(dir)?.sync_all()?;
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// The state thread: the only writer.
struct Owner {
    tree: sled::Tree,
    db: sled::Db,
    file: File,
    poison: Option<DirectoryFault>,
}

impl Owner {
    /// Takes all that waits, makes it durable by one sync, then answers.
    fn run(mut self, mut waiting: mpsc::Receiver<Wanted>) {
        let mut batch = Vec::with_capacity(WAITING_MAX);
        while waiting.blocking_recv_many(&mut batch, WAITING_MAX) > 0 {
            let done: Vec<_> = batch.iter().map(|wanted| self.change(&wanted.changes)).collect();
            let durable = if done.contains(&Ok(true)) { self.make_durable() } else { Ok(()) };
            for (wanted, done) in batch.drain(..).zip(done) {
                let answer = done.and_then(|changed| if changed { durable.clone().map(|()| true) } else { Ok(false) });
                if wanted.answer.send(answer).is_err() {
                    tracing::debug!("nobody waits for a change of the directory any more");
                }
            }
        }
    }

    fn change(&mut self, changes: &[Change]) -> Result<bool, DirectoryFault> {
        if let Some(poison) = &self.poison {
            return Err(poison.clone());
        }
        let mut batch = sled::Batch::default();
        for change in changes {
            let key = change.key.encode();
            let held = self.tree.get(&key).map_err(|error| self.fail(&error))?;
            if !change.expected.is_met(held.as_deref()) {
                return Ok(false);
            }
            match &change.value {
                Some(value) => batch.insert(key, value.as_slice()),
                None => batch.remove(key),
            }
        }
        self.tree.apply_batch(batch).map(|()| true).map_err(|error| self.fail(&error))
    }

    /// The one durability point.
    fn make_durable(&mut self) -> Result<(), DirectoryFault> {
        self.db.flush().map_err(|error| self.fail(&error))?;
        self.file.sync_data().map_err(|error| self.fail(&error))
    }

    /// After a failed write or sync nothing is known of what lies on the disk, so nothing more is answered.
    fn fail(&mut self, error: &dyn std::error::Error) -> DirectoryFault {
        tracing::error!(%error, "the directory failed and answers no more; restart the program on a checked volume");
        self.poison.insert(DirectoryFault::Unavailable(error.to_string())).clone()
    }
}

impl Directory for SledDirectory {
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Vec<u8>>, DirectoryFault>> {
        async move {
            let value = self.tree.get(key.encode()).map_err(unavailable)?;
            Ok(value.map(|value| value.to_vec()))
        }
        .boxed()
    }

    fn swap(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<bool, DirectoryFault>> {
        self.send(changes).boxed()
    }

    fn dump(&self) -> BoxFuture<'_, Result<Dumped, DirectoryFault>> {
        async move {
            let pair = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
                entry.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(unavailable)
            };
            self.tree.iter().map(pair).collect()
        }
        .boxed()
    }

    fn list(&self, table: Table) -> BoxFuture<'_, Result<Listed, DirectoryFault>> {
        let prefix = table.prefix();
        async move {
            let found = self.tree.scan_prefix(prefix).map(|entry| {
                let (key, value) = entry.map_err(unavailable)?;
                Ok((String::from_utf8_lossy(&key[prefix.len()..]).into_owned(), value.to_vec()))
            });
            found.collect()
        }
        .boxed()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unavailable(error: sled::Error) -> DirectoryFault {
    DirectoryFault::Unavailable(error.to_string())
}

impl Drop for SledDirectory {
    fn drop(&mut self) {
        self.changes = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the directory's thread panicked");
        }
    }
}

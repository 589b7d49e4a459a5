//! Uploads that are looked at before the target has any of them: a file is kept on the gate while it comes, then a program of
//! the plant's choice looks at it. What a file is in SFTP or scp, and how it is handed over, is in `files`; who is told is in
//! `ssh::channel`.

mod program;

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use policies::digest::Digest;
use policies::ids::TargetName;
use policies::plant::FileCheck;
use recordings::notes::CheckOutcome;
use recordings::words::Words;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedMutexGuard, Semaphore};

/// Whether there is room that recordings do not need.
pub type Room = Arc<dyn Fn() -> io::Result<bool> + Send + Sync>;

/// Where uploads are kept while they are checked. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Staging(Arc<Place>);

struct Place {
    folder: PathBuf,
    room: Room,
    next: AtomicU64,
    turns: Mutex<HashMap<TargetName, Arc<tokio::sync::Mutex<()>>>>,
    runs: Semaphore,
    bounds: Bounds,
}

/// How long a hand-over waits for others: the target's other uploads wait for it.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// For a target that neither takes nor sends anything: a controller that writes to its flash may be busy for a minute.
    pub moves_within: Duration,
    /// For a technician behind whose unread output the target's answers stand; with the least that is carried at once, who reads
    /// some kilobytes a second is in time.
    pub reads_within: Duration,
    /// For input that is stopped: as long as a rule freezes by default. Nothing is torn that goes on within it.
    pub thaws_within: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            moves_within: Duration::from_secs(120),
            reads_within: Duration::from_secs(60),
            thaws_within: Duration::from_secs(900),
        }
    }
}

impl Staging {
    const FOLDER: &'static str = "uploads";
    /// Programs at once: a virus scanner may want a gigabyte each.
    const RUNS_MAX: usize = 4;

    /// Its folder, in that of the directory: what is there is no evidence.
    pub fn folder(state: &Path) -> PathBuf {
        state.join(Self::FOLDER)
    }

    /// In the directory's folder. What a run before left there is removed: no target has it, and nobody is waiting for it.
    ///
    /// # Errors
    /// The folder cannot be made, read or emptied.
    pub fn open(state: &Path, room: Room, bounds: Bounds) -> io::Result<Self> {
        let folder = Self::folder(state);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        for left in fs::read_dir(&folder)? {
            fs::remove_file(left?.path())?;
        }
        let (next, turns, runs) = (AtomicU64::new(0), Mutex::default(), Semaphore::new(Self::RUNS_MAX));
        Ok(Self(Arc::new(Place { folder, room, next, turns, runs, bounds })))
    }

    /// For uploads to a target, under a rule that has them checked.
    pub fn checks(&self, check: &FileCheck, target: &TargetName) -> Checks {
        let turn =
            Arc::clone(self.0.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(target.clone()).or_default());
        Checks { staging: self.clone(), check: check.clone(), turn }
    }
}

impl std::fmt::Debug for Staging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Staging({})", self.0.folder.display())
    }
}

/// How uploads to one target are checked.
#[derive(Debug, Clone)]
pub struct Checks {
    staging: Staging,
    check: FileCheck,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// What became of a check, and why: the program's first line, or what kept it from having a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckVerdict {
    /// What.
    pub outcome: CheckOutcome,
    /// Why.
    pub said: Words,
}

impl Checks {
    /// A file begins, empty.
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn begin(&self) -> io::Result<Staged> {
        let number = self.staging.0.next.fetch_add(1, Ordering::Relaxed);
        let path = self.staging.0.folder.join(number.to_string());
        let room = Arc::clone(&self.staging.0.room);
        aside(move || {
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
            Ok(Staged { path, file: Arc::new(file), room })
        })
        .await
    }

    /// Has the program look at a file of this length and hash, which is of no use if it has others afterwards. Dropped, the
    /// program is killed.
    pub async fn check(&self, staged: &Staged, of: (u64, Digest)) -> CheckVerdict {
        let _run = self.staging.0.runs.acquire().await.expect("nobody closes it");
        let verdict = program::run(&self.check, &staged.path).await;
        match verdict.outcome == CheckOutcome::Passed && !staged.digest().await.is_ok_and(|now| now == of) {
            true => program::not_run("the file changed while it was checked"),
            false => verdict,
        }
    }

    /// How long a hand-over waits.
    pub(crate) fn bounds(&self) -> Bounds {
        self.staging.0.bounds
    }

    /// Waits until no other file is handed over to the same target. Two at once could become one at the target that nobody
    /// has looked at.
    pub async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }
}

/// A file that is kept on the gate; removed when dropped.
pub struct Staged {
    path: PathBuf,
    file: Arc<File>,
    room: Room,
}

impl Staged {
    /// Keeps bytes.
    ///
    /// # Errors
    /// The disk has no room that recordings could spare, or fails.
    pub async fn keep(&self, offset: u64, bytes: Bytes) -> io::Result<()> {
        let (file, room) = (Arc::clone(&self.file), Arc::clone(&self.room));
        aside(move || {
            if !room()? {
                return Err(io::ErrorKind::StorageFull.into());
            }
            file.write_all_at(&bytes, offset)
        })
        .await
    }

    /// Cuts it, or fills it with zeros.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn resize(&self, bytes: u64) -> io::Result<()> {
        let file = Arc::clone(&self.file);
        aside(move || file.set_len(bytes)).await
    }

    /// How long it is, and the hash of all of it.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn digest(&self) -> io::Result<(u64, Digest)> {
        let file = Arc::clone(&self.file);
        aside(move || {
            let (mut hash, mut length, mut piece) = (Sha256::new(), 0, vec![0; 256 << 10]);
            loop {
                match file.read_at(&mut piece, length)? {
                    0 => return Ok((length, Digest(hash.finalize().into()))),
                    read => {
                        hash.update(&piece[..read]);
                        length += read as u64;
                    }
                }
            }
        })
        .await
    }

    /// A part of it.
    ///
    /// # Errors
    /// It cannot be read, or is shorter.
    pub async fn part(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let file = Arc::clone(&self.file);
        aside(move || {
            let mut part = vec![0; bytes];
            file.read_exact_at(&mut part, offset)?;
            Ok(part)
        })
        .await
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::error!(%error, "an upload that was kept to be checked could not be removed; the next start tries again");
        }
    }
}

/// On a thread that may wait for the disk.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::task::Poll;

    use futures::StreamExt as _;
    use futures::stream::FuturesUnordered;
    use policies::time::Seconds;
    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    /// The processes on whose command line this stands.
    fn running(mark: &str) -> BTreeSet<i32> {
        let listed =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        listed
            .filter(|process| {
                let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
                line.windows(mark.len()).any(|window| window == mark.as_bytes())
            })
            .collect()
    }

    #[tokio::test]
    async fn four_programs_look_at_files_at_once_and_the_next_when_one_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::open(folder.path(), Arc::new(|| Ok(true)), Bounds::default()).unwrap();
        let command = ["/usr/bin/tail", "-f", FileCheck::FILE].map(String::from).to_vec();
        let checks = staging.checks(&FileCheck { command, max: Seconds(600) }, &"hmi-2".parse().unwrap());
        let nothing = (0, Digest::of_bytes(b""));
        let mut files = Vec::new();
        for _ in 0..6 {
            files.push(checks.begin().await.unwrap());
        }
        let mut all: FuturesUnordered<_> = files.iter().map(|file| checks.check(file, nothing)).collect();
        let mark = folder.path().to_str().unwrap();
        // A program is started by the first look at its check, or waits for its turn; it has its name a moment later.
        assert!(matches!(futures::poll!(all.next()), Poll::Pending));
        let four_run = async {
            while running(mark).len() < 4 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), four_run).await.expect("four run");
        let first = running(mark);
        assert_eq!(first.len(), 4);
        kill_process(Pid::from_raw(*first.first().unwrap()).unwrap(), Signal::KILL).unwrap();
        assert_eq!(all.next().await.unwrap().outcome, CheckOutcome::NotRun);
        let next_begins = async {
            loop {
                assert!(matches!(futures::poll!(all.next()), Poll::Pending));
                if running(mark).difference(&first).count() == 1 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), next_begins).await.expect("the fifth has its turn");
        assert_eq!(running(mark).len(), 4);
    }
}

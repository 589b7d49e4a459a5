//! What both logs published, in the bucket: so that whoever has nothing but the bucket can verify it. Full tiles are locked, each
//! under its name. What changes with each entry is one archive, put anew each time, so that whoever reads while a gate brings has
//! things of one moment, and what is old is an old version of one key, which the bucket's own rules remove. Once a day
//! one is locked.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use recordings::FORMAT;
use recordings::disk::RealDisk;
use recordings::log::Log;
use recordings::read::{Format, JOURNAL_DIR, RECORDS_DIR, before_dir};
use recordings::tlog::folder::{CHECKPOINT, Folder};
use recordings::tlog::kept::KEPT;
use sha2::{Digest as _, Sha256};

use super::{BrokenOff, Bytes, Depositor, LOOK_EVERY};
use crate::api::tar;

/// What changes with each entry of a log, in its folder in the bucket.
pub const NEWEST: &str = "newest.tar";
/// The folder of those that are locked, each under the size of its log.
pub const LOCKED: &str = "locked";
/// Cosigned checkpoints that go along: the newest ones, since witnesses are behind.
const COSIGNED_MAX: usize = 3;
/// And of those under a name of before a restore, which stay where they are.
const COSIGNED_BEFORE_MAX: usize = 1_000;

/// How often what goes on is brought to the bucket, where no recording came there meanwhile.
const EVERY: Duration = Duration::from_secs(300);
/// What a rule keeps where it says nothing.
const RETENTION: SignedDuration = SignedDuration::from_hours(24 * 365 * 3);
/// What a day has.
const SECONDS_A_DAY: i64 = 86_400;
/// A leaf is published within ten seconds; a log that does not publish has other alarms.
const LOOKS_MAX: u32 = 60;

/// A log as it is brought to the bucket.
pub struct PublishedLog {
    log: Arc<Log>,
    dir: PathBuf,
    /// What its keys begin with.
    name: &'static str,
    /// Entries that the checkpoint in the bucket is to have.
    wanted: u64,
    /// When one was brought last, on the clock that nobody sets.
    at: Option<Duration>,
}

impl PublishedLog {
    /// The journal, below a data folder.
    pub fn journal(log: Arc<Log>, data: &Path) -> Self {
        Self { log, dir: data.join(JOURNAL_DIR), name: JOURNAL_DIR, wanted: 0, at: None }
    }

    /// The recordings', below a data folder.
    pub fn records(log: Arc<Log>, data: &Path) -> Self {
        Self { log, dir: data.join(RECORDS_DIR), name: RECORDS_DIR, wanted: 0, at: None }
    }

    /// The next checkpoint in the bucket is to be over so many entries.
    pub(super) fn wants(&mut self, entries: u64) {
        self.wanted = self.wanted.max(entries);
    }

    /// Waits for that, and not for long: what is not published then is brought the next time.
    async fn wait_published(&self, clock: &crate::clock::Clock) {
        for _ in 0..LOOKS_MAX {
            if self.log.published_entries() >= self.wanted || self.log.status().fault.is_some() {
                return;
            }
            clock.sleep(LOOK_EVERY).await;
        }
    }
}

/// What a log published, as of one moment.
struct Found {
    size: u64,
    /// Tiles that were filled since.
    tiles: Vec<String>,
    /// An archive for each name that the log had before a restore.
    before: Vec<(String, Vec<u8>)>,
    /// The archive of all that changes.
    newest: Vec<u8>,
}

impl Depositor {
    /// Brings what was published since, the journal's first: what the recordings' log tells of is there then.
    pub(super) async fn bring_logs(&mut self) -> Result<(), BrokenOff> {
        let now = self.desk.clock().boot().0;
        let is_due = |log: &PublishedLog| log.wanted > 0 || log.at.is_none_or(|at| now.saturating_sub(at) >= EVERY);
        if !self.logs.iter().any(is_due) {
            return Ok(());
        }
        for which in 0..self.logs.len() {
            // The journal that lies there by then may name this head.
            if which == 1 {
                let head = self.records.head().size;
                self.logs[1].wants(head);
            }
            self.logs[which].wait_published(self.desk.clock()).await;
            let size = self.bring_log(&self.logs[which]).await?;
            let log = &mut self.logs[which];
            log.at = Some(now);
            if log.wanted <= size {
                log.wanted = 0;
            }
        }
        Ok(())
    }

    async fn bring_log(&self, log: &PublishedLog) -> Result<u64, BrokenOff> {
        let brought = self.brought(log.name).await?;
        let found = self.blocking(&log.dir, move |dir| published(dir, brought)).await?;
        if found.size == 0 {
            return Ok(0);
        }
        let until = self.logs_locked_until();
        let key = |path: &str| format!("{}/{}/{path}", self.place, log.name);
        for path in &found.tiles {
            let bytes = self.blocking(&log.dir.join(path), |path| std::fs::read(path)).await?;
            self.keep_locked(&key(path), &bytes, until).await?;
        }
        for (name, archive) in &found.before {
            self.keep_locked(&key(name), archive, until).await?;
        }
        self.bucket.put(&key(NEWEST), &found.newest).await?;
        self.desk.directory().set_cursor(&self.log_cursor(log.name), found.size).await?;
        self.lock_one_a_day(log, &found, until).await?;
        Ok(found.size)
    }

    /// How many entries of a log the bucket has.
    pub(super) async fn brought(&self, log: &str) -> Result<u64, BrokenOff> {
        Ok(self.desk.directory().cursor(&self.log_cursor(log)).await?)
    }

    fn log_cursor(&self, log: &str) -> String {
        format!("deposits-{log}/{}", self.cursors())
    }

    async fn lock_one_a_day(&self, log: &PublishedLog, found: &Found, until: Timestamp) -> Result<(), BrokenOff> {
        let cursor = format!("deposits-{}-locked/{}", log.name, self.cursors());
        let today = u64::try_from(self.desk.clock().wall().as_second() / SECONDS_A_DAY).unwrap_or(0);
        if self.desk.directory().cursor(&cursor).await? == today {
            return Ok(());
        }
        let key = format!("{}/{}/{LOCKED}/{}.tar", self.place, log.name, found.size);
        self.keep_locked(&key, &found.newest, until).await?;
        Ok(self.desk.directory().set_cursor(&cursor, today).await?)
    }

    async fn keep_locked(&self, key: &str, bytes: &[u8], until: Timestamp) -> Result<(), BrokenOff> {
        self.bucket.keep(key, Bytes::Bytes(bytes), Sha256::digest(bytes).into(), until).await?;
        Ok(())
    }

    /// What proves recordings stays as long as the longest of them may have to.
    fn logs_locked_until(&self) -> Timestamp {
        let longest = self.desk.with_state(|state| {
            let rules = state.plant.as_ref().map(|plant| plant.rules.iter().map(|rule| rule.retention).max());
            rules.flatten()
        });
        let longest = longest.map_or(RETENTION, |longest| SignedDuration::from_secs(i64::from(longest.0)));
        self.desk.clock().wall().saturating_add(longest.max(super::LOCK_MIN)).unwrap_or(Timestamp::MAX)
    }
}

/// What is new since the log had `brought` entries. Blocks.
fn published(dir: &Path, brought: u64) -> io::Result<Found> {
    let format = Format::read(dir).map_err(io::Error::other)?;
    let mut newest = Vec::new();
    let put = |to: &mut Vec<u8>, name: &str, bytes: &[u8]| tar::append(to, name, bytes.len() as u64, bytes);
    put(&mut newest, FORMAT, format.to_string().as_bytes())?;
    let mut found = Found { size: 0, tiles: Vec::new(), before: Vec::new(), newest: Vec::new() };
    if let Some(published) = Folder::new(Arc::new(RealDisk), dir).published_since(brought).map_err(io::Error::other)? {
        found.size = published.size;
        for file in published.files {
            match file.bytes {
                Some(bytes) => put(&mut newest, &file.path, &bytes)?,
                None => found.tiles.push(file.path),
            }
        }
        for (name, bytes) in cosigned(&dir.join(KEPT), COSIGNED_MAX)? {
            put(&mut newest, &format!("{KEPT}/{name}"), &bytes)?;
        }
    }
    tar::end(&mut newest)?;
    found.newest = newest;
    // They stay as they are, so they are brought once.
    if brought == 0 {
        for at in &format.restored {
            let name = before_dir(at.restore);
            found.before.push((format!("{name}.tar"), archive_before(dir, &name)?));
        }
    }
    Ok(found)
}

fn archive_before(dir: &Path, name: &str) -> io::Result<Vec<u8>> {
    let (dir, mut packed) = (dir.join(name), Vec::new());
    let put = |to: &mut Vec<u8>, inner: &str, bytes: &[u8]| {
        tar::append(to, &format!("{name}/{inner}"), bytes.len() as u64, bytes)
    };
    match std::fs::read(dir.join(CHECKPOINT)) {
        Ok(bytes) => put(&mut packed, CHECKPOINT, &bytes)?,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    for (inner, bytes) in cosigned(&dir, COSIGNED_BEFORE_MAX)? {
        put(&mut packed, &inner, &bytes)?;
    }
    tar::end(&mut packed)?;
    Ok(packed)
}

/// So many of the largest cosigned checkpoints in a folder, by their sizes.
fn cosigned(dir: &Path, most: usize) -> io::Result<Vec<(String, Vec<u8>)>> {
    let files = crate::api::plain_files(dir)?;
    let mut sizes: Vec<(u64, PathBuf)> =
        files.into_iter().filter_map(|(name, path)| Some((name.parse().ok()?, path))).collect();
    sizes.sort();
    let first = sizes.len().saturating_sub(most);
    let mut read = Vec::new();
    for (size, path) in sizes.split_off(first) {
        match std::fs::read(path) {
            Ok(bytes) => read.push((size.to_string(), bytes)),
            // Others take the place of those in between.
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

//! Brings this node's recordings to a bucket, behind the store in the data folder and never in its way. The journal is
//! followed by three readers with a cursor each, so that what was broken off anywhere is taken up again, and nothing else
//! needs to be remembered:
//!
//! - one deposits each session that ended, file by file: kept and locked until the recording's minimum is over, looked at;
//!   then leaves in the record log say which version holds each (`copies`); and it holds what is held;
//! - one removes local files, once they have lain here for as long as the plant wants them, those leaves are in the bucket, too,
//!   and what they name was looked at once more;
//! - one deletes from the bucket what was erased, once the record log says that it is, keys first. A lock that is not over is waited for.
//!
//! Beside the recordings, what both logs published is brought there (`logs`), so that the bucket alone can be verified. While
//! the bucket cannot be had, all waits; memory does not grow, and nobody who works notices. What cannot be done about one recording
//! is stepped over (`following`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use policies::digest::Digest;
use policies::events::Event;
use policies::ids::{NodeId, SessionId};
use recordings::fault::StoreFault;
use recordings::keeping::{Copied, length_and_digest};
use recordings::log::Log;
use recordings::read::RECORDS_DIR;
use recordings::segment::{is_session_file, session_dir};
use recordings::tlog::folder::FolderFault;

use crate::blobs::{BlobFault, Blobs, Listed, What as Bytes};
use crate::desk::Desk;
use crate::directory::DirectoryFault;
use crate::eraser::{self, Copying};
use crate::journal::ReadError;
use crate::spans::{Key, Span, Work};

mod copies;
mod following;
mod logs;
mod reading;
mod standing;

pub use copies::Copies;
use following::{Done, Followed, Matter, Reader, What};
pub use logs::{LOCKED, NEWEST, PublishedLog};
pub(crate) use reading::Remote;
pub use standing::{Deposits, Standing, Trouble, Waiting};

/// How often what is not told by the journal is looked at: blocks that are being sealed, heads that are being published.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often it is looked whether something may be removed here or there by now.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// The first pause after a failure; each is twice the one before.
const AGAIN: Duration = Duration::from_secs(1);
/// And the longest: a bucket that is back is used within minutes.
const AGAIN_MAX: Duration = Duration::from_secs(300);
/// What is to be locked is locked for so long at least: a time that is over by the bucket's clock, once all of a long file is
/// there, is refused.
const LOCK_MIN: SignedDuration = SignedDuration::from_hours(1);
/// For so long at least a file in the bucket alone is locked again, whose lock is over.
const LOCK_AGAIN: SignedDuration = SignedDuration::from_hours(24);
/// A session is wholly in blocks seconds after its end; where it is not by now, something keeps it from that.
const SETTLED_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// Whoever brings recordings to a bucket.
pub struct Depositor {
    /// What was decided.
    pub desk: Desk,
    /// This node's record log.
    pub records: Arc<Log>,
    /// Both logs, the journal's first.
    pub logs: [PublishedLog; 2],
    /// The data folder.
    pub data: PathBuf,
    /// Where recordings go.
    pub bucket: Arc<dyn Blobs>,
    /// What it is called: of another one nothing that was done counts.
    pub bucket_name: String,
    /// How long they stay here at least, too.
    pub keep_local: Duration,
    /// Whether somebody copies the data folder.
    pub copying: Copying,
    /// Where in the bucket the logs go: a name of this node's alone, and of what it is since its last restore.
    pub place: String,
    /// What the record log says of copies.
    pub copies: Copies,
    /// How it stands.
    pub standing: Deposits,
    /// How far it came; of a new one nothing is known.
    pub progress: Progress,
}

/// How far a depositor came since it was started.
#[derive(Debug, Default)]
pub struct Progress {
    /// Of each reader.
    followed: [Followed; Reader::ALL.len()],
    /// When it was last looked whether something may be removed, on the clock that nobody sets; none where that is due.
    tidied: Option<Duration>,
    /// Whether something that waits is done in seconds.
    is_soon: bool,
    /// Which reader's question about which recording the bucket answered last with nothing, and how often in a row.
    unheard: Option<(Reader, SessionId, u32)>,
}

/// Why it was broken off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokenOff {
    #[error(transparent)]
    Blob(#[from] BlobFault),
    #[error("the journal: {0}")]
    Journal(#[from] ReadError),
    #[error(transparent)]
    Directory(#[from] DirectoryFault),
    #[error("the record log: {0}")]
    Log(#[from] StoreFault),
    #[error("what the record log published: {0}")]
    Published(FolderFault),
    #[error("{0}: {1}")]
    Files(PathBuf, io::Error),
    #[error("{0}")]
    Copy(String),
    #[error("{0} ended at {1:.0}, and is not wholly in blocks yet: is there room on the disk?")]
    Unsettled(SessionId, Timestamp),
    #[error("the bucket answers, and never when it comes to {0}: {1}")]
    Unheard(SessionId, String),
    #[error("a part of the program died")]
    Died,
}

impl Depositor {
    /// Works for as long as it is let.
    pub async fn run(mut self) {
        let mut failures = 0;
        loop {
            let clock = self.desk.clock().clone();
            let size = self.desk.head().size;
            match self.round(size).await {
                Ok(()) => {
                    failures = 0;
                    self.standing.is_well();
                    let pause = if self.progress.is_soon { LOOK_EVERY } else { TIDY_EVERY };
                    tokio::select! {
                        () = self.desk.changed(size) => {}
                        () = clock.sleep(pause) => {}
                    }
                }
                Err(broken_off) => {
                    failures += 1;
                    self.standing.is_broken_off(&broken_off, clock.wall());
                    clock.sleep(pause(failures)).await;
                }
            }
        }
    }

    /// All that can be done now, of a journal of this size: what keeps one part from it keeps no other. The first fault is told.
    async fn round(&mut self, size: u64) -> Result<(), BrokenOff> {
        self.progress.is_soon = false;
        self.count().await?;
        let deposited = self.follow(Reader::Depositing, u64::MAX).await;
        let counted = self.count().await;
        let brought = self.bring_logs().await;
        let now = self.desk.clock().boot().0;
        let (mut erased, mut removed) = (Ok(()), Ok(()));
        if self.progress.tidied.is_none_or(|at| now.saturating_sub(at) >= TIDY_EVERY) {
            self.progress.tidied = Some(now);
            erased = self.follow(Reader::Erasing, size).await;
            removed = self.follow(Reader::Removing, size).await;
        }
        deposited.and(counted).and(brought).and(erased).and(removed)
    }

    /// What cursors are told apart by.
    fn cursors(&self) -> String {
        format!("{}/{}", self.place, Digest::of_bytes(self.bucket_name.as_bytes()))
    }

    /// What is left to do about it.
    async fn carry_out(&mut self, reader: Reader, matter: Matter) -> Result<Done, BrokenOff> {
        let Matter { index, what, session, at } = matter;
        match (reader, what) {
            (Reader::Depositing, What::Ended) => {
                let done = self.deposit(session, at).await?;
                self.progress.tidied = self.progress.tidied.filter(|_| !self.keep_local.is_zero());
                Ok(done)
            }
            (Reader::Depositing, What::Erased) => {
                self.progress.tidied = None;
                Ok(Done::All)
            }
            (Reader::Depositing, What::KeptOtherwise) => self.hold(session).await.map(|()| Done::All),
            (Reader::Removing, What::Ended) => self.remove(at, session).await,
            (Reader::Erasing, What::Erased) => {
                // The leaf that says so comes first, whatever goes.
                if self.desk.directory().cursor(&eraser::reader(self.desk.node())).await? <= index {
                    (self.progress.is_soon, self.progress.tidied) = (true, None);
                    return Ok(Done::NorAfter);
                }
                self.erase(session).await
            }
            _ => Ok(Done::All),
        }
    }

    /// Brings a session's files to the bucket; once all are there, leaves say so.
    async fn deposit(&mut self, session: SessionId, ended: Timestamp) -> Result<Done, BrokenOff> {
        if !self.records.is_settled(session).await? {
            if self.desk.clock().wall().duration_since(ended) > SETTLED_WITHIN {
                return Err(BrokenOff::Unsettled(session, ended));
            }
            // Whoever reads the bucket takes what ended before a recording that is there, and is not there itself, for missing.
            self.progress.is_soon = true;
            return Ok(Done::NorAfter);
        }
        self.standing.is_at(session);
        let files = self.local_files(session).await?;
        if files.is_empty() {
            // Nothing was recorded, or it lies in the bucket alone.
            return Ok(Done::All);
        }
        let depositing = Span::begin(Work::Deposit);
        depositing.set(Key::Session, &session);
        let deposited = depositing.around(self.deposit_files(session, files)).await;
        if deposited.is_err() {
            depositing.failed("broken off");
        }
        deposited
    }

    async fn deposit_files(&mut self, session: SessionId, files: Vec<(String, PathBuf)>) -> Result<Done, BrokenOff> {
        let (said, mut new) = (self.copies.of(session).await?, Vec::new());
        for (name, path) in files {
            // None of a recording that was erased: the bucket is to have no copy of it.
            let Some(until) = self.kept_until(session) else { return Ok(Done::All) };
            let (bytes, sha256) = self.blocking(&path, length_and_digest).await?;
            let is_this = |one: &&Copied| (&one.name, one.bytes, one.sha256) == (&name, bytes, sha256);
            if let Some(said) = said.iter().find(is_this)
                && self.lies_locked(said, until).await?
            {
                continue;
            }
            let soonest = self.desk.clock().wall().saturating_add(LOCK_MIN).unwrap_or(Timestamp::MAX);
            let until = until.max(soonest);
            let kept = self.bucket.keep(&self.key(session, &name), Bytes::File(&path, bytes), sha256.0, until).await?;
            let until = kept.locked_until.unwrap_or(until);
            new.push(Copied { recording: session, name, bytes, sha256, version: kept.version, until });
        }
        if self.is_held(session) {
            self.hold(session).await?;
        }
        for copied in new {
            let leaf = self.records.copied(copied).await?;
            self.logs[1].wants(leaf + 1);
        }
        self.logs[0].wants(self.desk.head().size);
        self.standing.deposited();
        tracing::info!(%session, "a recording lies in the bucket, locked");
        Ok(Done::All)
    }

    /// Until when it must be kept; none where it was erased.
    fn kept_until(&self, session: SessionId) -> Option<Timestamp> {
        self.desk.with_state(|state| {
            let facts = state.sessions.get(&session)?;
            state.kept_until(session).filter(|_| facts.erased().is_none())
        })
    }

    /// Whether a copy lies in the bucket as the log says, and locked until then.
    async fn lies_locked(&self, copied: &Copied, until: Timestamp) -> Result<bool, BrokenOff> {
        let looked = self.bucket.look(&self.key(copied.recording, &copied.name), &copied.version).await?;
        Ok(looked.is_some_and(|kept| {
            let is_locked = kept.locked_until.is_some_and(|locked| locked >= until);
            kept.bytes == copied.bytes && is_locked
        }))
    }

    /// Whether a copy lies in the bucket as the log says, and nobody can delete it there now. Where somebody could, that is mended,
    /// and looked at again another time.
    async fn is_safe_there(&self, copied: &Copied, until: Timestamp) -> Result<bool, BrokenOff> {
        let (key, version) = (self.key(copied.recording, &copied.name), &copied.version);
        let looked = self.bucket.look(&key, version).await?.filter(|kept| kept.bytes == copied.bytes);
        let Some(kept) = looked else {
            return Err(BrokenOff::Copy(format!("of {key} the version {version} is not in the bucket")));
        };
        let now = self.desk.clock().wall();
        let is_locked = kept.locked_until.is_some_and(|locked| locked >= until && locked > now);
        let is_held = kept.held || !self.is_held(copied.recording);
        if !is_locked {
            let again = now.saturating_add(LOCK_AGAIN).unwrap_or(Timestamp::MAX);
            self.bucket.lock(&key, version, until.max(again)).await?;
        }
        if !is_held {
            self.bucket.hold(&key, version, true).await?;
        }
        Ok(is_locked && is_held)
    }

    fn is_held(&self, session: SessionId) -> bool {
        self.desk.with_state(|state| state.sessions.get(&session).is_some_and(|facts| !facts.holds.is_empty()))
    }

    /// Makes the bucket hold what the journal holds, and nothing else.
    async fn hold(&self, session: SessionId) -> Result<(), BrokenOff> {
        let held = self.is_held(session);
        for one in self.all_of(session).await?.iter().filter(|one| one.bytes.is_some()) {
            self.bucket.hold(&one.key, &one.version, held).await?;
        }
        Ok(())
    }

    /// All that lies in the bucket of a session, whoever put it there.
    async fn all_of(&self, session: SessionId) -> Result<Vec<Listed>, BrokenOff> {
        Ok(self.bucket.list(&self.key(session, "")).await?)
    }

    /// Deletes all of it from the bucket, for good. Keys go first: what nobody can open may wait.
    async fn erase(&self, session: SessionId) -> Result<Done, BrokenOff> {
        let (keys, others): (Vec<Listed>, Vec<Listed>) =
            self.all_of(session).await?.into_iter().partition(|one| one.key.contains("/keys."));
        for some in [&keys, &others] {
            let mut locked = None;
            for one in some {
                match self.bucket.destroy(&one.key, &one.version).await {
                    Ok(()) => {}
                    Err(fault @ BlobFault::Locked { .. }) => drop(locked.get_or_insert(fault)),
                    Err(fault) => return Err(fault.into()),
                }
            }
            if let Some(locked) = locked {
                self.standing.waits_for_lock(session, &locked);
                return Ok(Done::NotYet);
            }
        }
        self.standing.is_gone(session);
        self.copies.forget(session).await?;
        if !keys.is_empty() || !others.is_empty() {
            tracing::info!(%session, objects = keys.len() + others.len(), "a recording that was erased is deleted from the bucket");
        }
        Ok(Done::All)
    }

    /// Removes local files of which the log says, as far as the bucket has that, too, which version there holds them, once that was
    /// looked at again.
    async fn remove(&self, ended: Timestamp, session: SessionId) -> Result<Done, BrokenOff> {
        let stays = SignedDuration::try_from(self.keep_local).unwrap_or(SignedDuration::MAX);
        if self.desk.clock().wall().duration_since(ended) < stays {
            // Sessions end in this order, so what comes after is no older.
            return Ok(Done::NorAfter);
        }
        // Of what was erased the eraser destroys the files.
        let Some(until) = self.kept_until(session) else { return Ok(Done::All) };
        let files = self.local_files(session).await?;
        if files.is_empty() {
            return Ok(Done::All);
        }
        let said = self.copies.among(session, self.brought(RECORDS_DIR).await?).await?;
        for (name, path) in &files {
            let bytes = self.blocking(path, |path| path.metadata().map(|about| about.len())).await?;
            let copied = said.iter().find(|copied| copied.name == *name && copied.bytes == bytes);
            let Some(copied) = copied else { return Ok(Done::NotYet) };
            if !self.is_safe_there(copied, until).await? {
                return Ok(Done::NotYet);
            }
        }
        let Some(_over) = self.copying.none_now() else { return Ok(Done::NotYet) };
        let dir = session_dir(&self.data.join(RECORDS_DIR), session);
        self.blocking(&dir, move |dir| {
            // Where the key file lies, all lies.
            let (keys, others): (Vec<_>, Vec<_>) = files.iter().partition(|(name, _)| name.starts_with("keys."));
            keys.iter().try_for_each(|(_, path)| std::fs::remove_file(path))?;
            std::fs::File::open(dir)?.sync_all()?;
            others.iter().try_for_each(|(_, path)| std::fs::remove_file(path))?;
            std::fs::File::open(dir)?.sync_all()
        })
        .await?;
        tracing::info!(%session, "a recording lies in the bucket alone from now on");
        Ok(Done::All)
    }

    async fn local_files(&self, session: SessionId) -> Result<Vec<(String, PathBuf)>, BrokenOff> {
        let dir = session_dir(&self.data.join(RECORDS_DIR), session);
        let files = self.blocking(&dir, crate::api::plain_files).await?;
        Ok(files.into_iter().filter(|(name, _)| is_session_file(name)).collect())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        path: &Path,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, BrokenOff> {
        let owned = path.to_owned();
        let done = tokio::task::spawn_blocking(move || work(&owned)).await.map_err(|_| BrokenOff::Died)?;
        done.map_err(|cause| BrokenOff::Files(path.to_owned(), cause))
    }

    /// Counts what ended and is not deposited.
    async fn count(&mut self) -> Result<(), BrokenOff> {
        let followed = &self.progress.followed[Reader::Depositing as usize];
        let mut waiting = Waiting::default();
        let left = followed.left().filter(|matter| matter.what == What::Ended).copied().collect::<Vec<_>>();
        for matter in left {
            self.count_one(&mut waiting, matter).await;
        }
        let mut next = match followed.next() {
            Some(next) => next,
            None => self.desk.directory().cursor(&self.cursor(Reader::Depositing)).await?,
        };
        loop {
            let entries = self.desk.entries(next).await?;
            let Some(last) = entries.last() else { break };
            next = last.index + 1;
            for entry in entries.iter().filter(|entry| matches!(entry.event, Event::Ended { .. })) {
                if let Some(matter) = self.matter(entry) {
                    self.count_one(&mut waiting, matter).await;
                }
            }
        }
        self.standing.waits(waiting);
        Ok(())
    }

    async fn count_one(&self, waiting: &mut Waiting, matter: Matter) {
        // What keeps them from being read is told when they are to be brought.
        let files = self.local_files(matter.session).await.unwrap_or_default();
        let bytes = files.iter().map(|(_, path)| path.metadata().map_or(0, |about| about.len())).sum();
        waiting.take(matter.at, bytes);
    }

    fn key(&self, session: SessionId, name: &str) -> String {
        key(self.desk.node(), session, name)
    }
}

/// The name in the bucket of one of a session's files: below its node's name as below a data folder. A restore changes nothing of
/// it: no two sessions have one name, and of two files of one name leaves tell the versions apart.
pub(crate) fn key(node: &NodeId, session: SessionId, name: &str) -> String {
    format!("{node}/{RECORDS_DIR}/sessions/{}/{name}", session.ulid().to_string().to_ascii_lowercase())
}

/// Longer with each failure, and of each node at another moment.
fn pause(failures: u32) -> Duration {
    let whole = AGAIN.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(AGAIN_MAX);
    let mut chance = [0];
    aws_lc_rs::rand::fill(&mut chance).expect("the system's random source has no failure mode once it is seeded");
    whole.mul_f64(0.75 + f64::from(chance[0]) / 1024.0)
}

#[cfg(test)]
mod tests;

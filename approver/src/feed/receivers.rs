//! Those whom the gate brings the feed: each goes its own way from its own cursor, which moves when the receiver has taken
//! what was sent. What is not known to have been taken is sent again: twice is better than never, and a line's cursor is
//! the same both times.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::syslog::Syslog;
use super::{Batch, Cursor, Feed, Reading, Trouble};
use crate::checked;
use crate::clock::Clock;

/// A receiver, under the name of its cursor.
#[derive(Debug)]
pub struct Receiver {
    /// What the configuration calls it: a DNS label.
    pub name: String,
    /// How it gets the feed.
    pub way: Way,
}

/// How a receiver gets the feed.
#[derive(Debug)]
pub enum Way {
    /// As syslog.
    Syslog(Syslog),
    /// Lines appended to a file, which somebody else may move away.
    File(PathBuf),
}

/// Where cursors are kept, beside the spool.
const CURSORS: &str = "cursors";
/// After so long, what was sent over a connection is to be confirmed, whether more comes or not.
const CONFIRMED_EVERY: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);

impl Receiver {
    /// Brings the feed to it for as long as it is let.
    pub async fn run(mut self, feed: Feed, clock: Clock) {
        let saved = Saved::open(feed.0.dir.join(CURSORS), &self.name);
        let mut wait = FIRST_WAIT;
        loop {
            let mut cursor = saved.read();
            let before = cursor.clone();
            let Err(cause) = self.go_on(&feed, &saved, &mut cursor).await;
            self.forget();
            if cursor != before {
                wait = FIRST_WAIT;
            }
            let name = &self.name;
            feed.set_receiver(name, |state| {
                let since = state.trouble.as_ref().map_or_else(|| clock.wall(), |trouble| trouble.since);
                if state.trouble.replace(Trouble { why: cause.to_string(), since }).is_none() {
                    tracing::warn!(receiver = name, %cause, "the feed does not reach a receiver; it is tried again");
                }
            });
            clock.sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    fn forget(&mut self) {
        if let Way::Syslog(syslog) = &mut self.way {
            syslog.drop_line();
        }
    }

    async fn go_on(
        &mut self,
        feed: &Feed,
        saved: &Saved,
        cursor: &mut Option<Cursor>,
    ) -> Result<std::convert::Infallible, io::Error> {
        let mut reading = feed.read(cursor.clone());
        self.says(feed, &reading, cursor.as_ref());
        loop {
            reading.more_or_lost().await;
            let taken = self.bring(feed, &mut reading).await?;
            if cursor.as_ref() != Some(&taken) {
                saved.write(&taken).await?;
                *cursor = Some(taken);
            }
            self.says(feed, &reading, cursor.as_ref());
            let mut had_trouble = false;
            feed.set_receiver(&self.name, |state| had_trouble = state.trouble.take().is_some());
            if had_trouble {
                tracing::info!(receiver = self.name, "the feed reaches a receiver again");
            }
        }
    }

    /// Brings what there is, and what comes within a moment, until it is known to have been taken.
    async fn bring(&mut self, feed: &Feed, reading: &mut Reading) -> io::Result<Cursor> {
        let until = tokio::time::Instant::now() + CONFIRMED_EVERY;
        let mut last = None;
        loop {
            match reading.try_next(&self.name).await? {
                Some(Batch { text, cursor, missed }) => {
                    self.take(&text).await?;
                    last = Some(cursor);
                    if missed > 0 {
                        tracing::error!(receiver = self.name, missed, "a receiver of the feed misses events for good");
                        feed.set_receiver(&self.name, |state| {
                            (state.missed, state.missed_at) = (state.missed + missed, Some(Timestamp::now()));
                        });
                    }
                    if tokio::time::Instant::now() < until {
                        continue;
                    }
                }
                None => {
                    if let Way::Syslog(syslog) = &mut self.way
                        && !syslog.is_best_effort()
                    {
                        tokio::select! {
                            () = reading.more() => continue,
                            () = tokio::time::sleep_until(until) => {}
                            cause = syslog.broken() => return Err(cause),
                        }
                    }
                }
            }
            if let Way::Syslog(syslog) = &mut self.way
                && !syslog.is_best_effort()
            {
                syslog.finish().await?;
            }
            return Ok(last.unwrap_or_else(|| reading.cursor()));
        }
    }

    async fn take(&mut self, text: &[u8]) -> io::Result<()> {
        match &mut self.way {
            Way::Syslog(syslog) => syslog.send(text).await,
            Way::File(path) => {
                let (path, text) = (path.clone(), text.to_owned());
                tokio::task::spawn_blocking(move || append(&path, &text)).await.map_err(io::Error::other)?
            }
        }
    }

    fn says(&self, feed: &Feed, reading: &Reading, cursor: Option<&Cursor>) {
        let behind = feed.end().saturating_sub(cursor.map_or(reading.next, |cursor| cursor.after));
        feed.set_receiver(&self.name, |state| state.behind = behind);
    }
}

/// Each time anew, because whoever rotates the file moves it away. A line that a crash tore is ended first.
fn append(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = open(path)?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let mut whole = Vec::new();
    if last != [b'\n'] {
        whole.push(b'\n');
    }
    whole.extend(text);
    file.write_all(&whole)?;
    file.sync_data()
}

/// One that is made here is the group's to read, whatever the program's umask says: whoever collects it is in it.
fn open(path: &Path) -> io::Result<File> {
    let mut how = OpenOptions::new();
    how.read(true).append(true);
    match how.clone().create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => how.open(path),
        made => {
            let made = made?;
            made.set_permissions(Permissions::from_mode(0o640))?;
            Ok(made)
        }
    }
}

/// Where a receiver's cursor is kept.
struct Saved {
    dir: PathBuf,
    path: PathBuf,
}

impl Saved {
    fn open(dir: PathBuf, name: &str) -> Self {
        let path = dir.join(name);
        Self { dir, path }
    }

    /// None where it was never told anything, or where what stands there is not to be believed.
    fn read(&self) -> Option<Cursor> {
        let cursor = read_cursor(&self.path);
        cursor.unwrap_or_else(|cause| {
            let file = self.path.display();
            tracing::error!(%file, %cause, "a receiver's cursor cannot be read: it gets all that there is once more");
            None
        })
    }

    async fn write(&self, cursor: &Cursor) -> io::Result<()> {
        let (dir, path, text) = (self.dir.clone(), self.path.clone(), checked::sealed(&cursor.to_string()));
        let write = move || {
            fs::create_dir_all(&dir)?;
            checked::replace(&path, text.as_bytes())
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
    }
}

/// None where nothing was kept there.
fn read_cursor(path: &Path) -> io::Result<Option<Cursor>> {
    match fs::read_to_string(path) {
        Ok(kept) => {
            let cursor = checked::opened(&kept).and_then(|cursor| cursor.parse().ok());
            cursor.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is not as it was written"))
        }
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// The most of a spool that a receiver is known to have taken.
pub(super) fn furthest(dir: &Path, spool: &str) -> io::Result<u64> {
    let kept = match fs::read_dir(dir.join(CURSORS)) {
        Ok(kept) => kept,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(cause) => return Err(cause),
    };
    let mut most = 0;
    for file in kept {
        let cursor = read_cursor(&file?.path()).ok().flatten().filter(|cursor| cursor.spool == spool);
        most = cursor.map_or(most, |cursor| cursor.after.max(most));
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_a_crash_tore_spoils_no_other_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feed.jsonl");
        append(&path, b"{\"a\":1}\n").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        fs::write(&path, b"{\"a\":1}\n{\"b\"").unwrap();
        append(&path, b"{\"b\":2}\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"a\":1}\n{\"b\"\n{\"b\":2}\n");
    }
}

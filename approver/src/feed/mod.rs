//! The feed: what the plant's own systems are told of the journal, of operations in sums, of strangers' failures in sums,
//! and of alarms. It has a spool of its own and each receiver a cursor of its own, so that whoever is slow or away loses
//! nothing up to the spool's bound; beyond it the oldest go, marked. Nothing waits for it: no session, no decision.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use policies::events::Event;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::desk::Desk;
use crate::journal::ReadError;

pub mod counts;
mod event;
pub mod receivers;
mod spool;
pub mod syslog;

pub use event::Told;

use spool::{Found, Place, Spool};

/// A place in the feed: behind this many events of a spool. What a receiver keeps, to go on from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    spool: String,
    after: u64,
}

impl Cursor {
    fn new(spool: &str, after: u64) -> Self {
        Self { spool: spool.to_owned(), after }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.spool, self.after)
    }
}

/// Text that is no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no cursor: give the `cursor` of the last line you have, such as \"3f9a01bc-1207\"")]
pub struct BadCursor(String);

impl FromStr for Cursor {
    type Err = BadCursor;
    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let bad = || BadCursor(text.chars().take(60).collect());
        let (spool, after) = text.split_once('-').ok_or_else(bad)?;
        let is_name = (1..=16).contains(&spool.len()) && spool.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_number = (1..=20).contains(&after.len()) && after.bytes().all(|byte| byte.is_ascii_digit());
        if !is_name || !is_number {
            return Err(bad());
        }
        Ok(Self::new(spool, after.parse().map_err(|_| bad())?))
    }
}

/// The feed. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    id: String,
    source: String,
    own: mpsc::Sender<Told>,
    not_kept: AtomicU64,
    end: watch::Sender<u64>,
    /// So many entries of the journal are told.
    journal: watch::Sender<u64>,
    begin: AtomicU64,
    receivers: Mutex<Vec<ReceiverState>>,
}

/// How a receiver is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverState {
    /// What the configuration calls it.
    pub name: String,
    /// Events that it does not have yet.
    pub behind: u64,
    /// Events that it will never have, because they had to be dropped.
    pub missed: u64,
    /// When it last missed some.
    pub missed_at: Option<Timestamp>,
    /// Why it takes nothing, where it does not.
    pub trouble: Option<Trouble>,
}

/// Why a receiver takes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What went wrong last.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
}

/// Who writes the feed. There is one.
pub struct Writer {
    feed: Feed,
    spool: Arc<Mutex<Spool>>,
    own: mpsc::Receiver<Told>,
    /// The journal goes on with an event that this program does not know.
    is_unknown: bool,
}

/// Events of the gate's own that wait to be written.
const WAITING_MAX: usize = 4_096;
/// How often it is looked whether a minute is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So long it waits after something failed.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// So long whoever pulls waits for what was in the journal when they asked.
const STANDS_STILL: Duration = Duration::from_secs(2);
/// A reader is given about so much at once.
const TOGETHER_BYTES: usize = 64 << 10;
/// Events that are written at once: less than a file of the smallest spool holds, so that what goes is never much.
const TOGETHER: usize = 128;

/// What the feed is made of.
#[derive(Debug, Clone)]
pub struct FeedParts {
    /// Where its spool is.
    pub dir: PathBuf,
    /// Whose it is: the installation and the node.
    pub source: String,
    /// The journal's name as a log.
    pub journal: String,
    /// Entries of the journal that stayed when it got that name.
    pub restored: u64,
    /// The spool's bound.
    pub bytes_max: u64,
}

impl Feed {
    /// Opens the spool.
    ///
    /// # Errors
    /// What the system says of its folder.
    pub fn open(parts: FeedParts) -> io::Result<(Self, Writer)> {
        let FeedParts { dir, source, journal, restored, bytes_max } = parts;
        let spool = Spool::open(&dir, &source, &journal, restored, bytes_max)?;
        let (own, waiting) = mpsc::channel(WAITING_MAX);
        let feed = Self(Arc::new(Inner {
            dir: spool.dir().to_owned(),
            id: spool.id().to_owned(),
            source,
            own,
            not_kept: AtomicU64::new(0),
            end: watch::Sender::new(spool.end()),
            journal: watch::Sender::new(spool.journal()),
            begin: AtomicU64::new(spool.begin()),
            receivers: Mutex::default(),
        }));
        let writer = Writer { feed: feed.clone(), spool: Arc::new(Mutex::new(spool)), own: waiting, is_unknown: false };
        Ok((feed, writer))
    }

    /// Tells an event of the gate's own. Waits for nothing; what finds no room is counted and told as missing.
    pub fn tell(&self, told: Told) {
        if self.0.own.try_send(told).is_err() {
            self.0.not_kept.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reads from behind this cursor on, or from the oldest event.
    pub fn read(&self, from: Option<Cursor>) -> Reading {
        let (next, is_lost) = match from {
            Some(cursor) if cursor.spool == self.0.id && cursor.after <= *self.0.end.borrow() => (cursor.after, false),
            Some(_) => (self.0.begin.load(Ordering::Acquire), true),
            None => (self.0.begin.load(Ordering::Acquire), false),
        };
        Reading { feed: self.clone(), place: Some(Place::at(&self.0.dir, next)), next, is_lost }
    }

    /// Waits until so many entries of the journal are told, or for two seconds: where the feed stands still, what it has is given.
    pub async fn has_told(&self, entries: u64) {
        let mut journal = self.0.journal.subscribe();
        let told = journal.wait_for(|told| *told >= entries);
        drop(tokio::time::timeout(STANDS_STILL, told).await);
    }

    /// How many events there were, ever.
    pub fn end(&self) -> u64 {
        *self.0.end.borrow()
    }

    /// How receivers are doing, by name.
    pub fn receivers(&self) -> Vec<ReceiverState> {
        self.0.receivers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nothing more is told of those that are none of these.
    pub fn forget_other_receivers(&self, named: &BTreeSet<&str>) {
        let mut receivers = self.0.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        receivers.retain(|receiver| named.contains(receiver.name.as_str()));
    }

    fn set_receiver(&self, name: &str, change: impl FnOnce(&mut ReceiverState)) {
        let mut receivers = self.0.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(receiver) = receivers.iter_mut().find(|receiver| receiver.name == name) {
            change(receiver);
        } else {
            let mut new = ReceiverState { name: name.to_owned(), behind: 0, missed: 0, missed_at: None, trouble: None };
            change(&mut new);
            receivers.push(new);
        }
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Feed({} up to {})", self.0.id, self.end())
    }
}

/// Somebody's way through the feed.
pub struct Reading {
    feed: Feed,
    /// Away while a thread reads.
    place: Option<Place>,
    next: u64,
    is_lost: bool,
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whole lines.
    pub text: Vec<u8>,
    /// To go on behind them.
    pub cursor: Cursor,
    /// So many events are missing before the rest; `text` is one line that says so.
    pub missed: u64,
}

impl Reading {
    /// What comes next; `None` where there is nothing more yet.
    ///
    /// # Errors
    /// What the system says of the spool.
    pub async fn try_next(&mut self, receiver: &str) -> io::Result<Option<Batch>> {
        if std::mem::take(&mut self.is_lost) {
            return Ok(Some(self.missing(receiver, None)));
        }
        let end = self.feed.end();
        if self.next >= end {
            return Ok(None);
        }
        // Dropped while a thread reads, this begins again where it was.
        let mut place = self.place.take().unwrap_or_else(|| Place::at(&self.feed.0.dir, self.next));
        let reading = tokio::task::spawn_blocking(move || (place.read(end, TOGETHER_BYTES), place)).await;
        let (found, place) = reading.map_err(io::Error::other)?;
        let found = found?;
        self.next = place.next();
        self.place = Some(place);
        Ok(Some(match found {
            Found::Lines(text, next) => Batch { text, cursor: Cursor::new(&self.feed.0.id, next), missed: 0 },
            Found::Missed(events, _) => self.missing(receiver, Some(events)),
        }))
    }

    /// Waits until there is more. May be dropped and called again.
    pub async fn more(&self) {
        let next = self.next;
        let grown = self.feed.0.end.subscribe().wait_for(|end| *end > next).await.is_ok();
        debug_assert!(grown, "the feed holds the sender");
    }

    /// The same, where nothing has to be said first.
    pub async fn more_or_lost(&self) {
        if !self.is_lost {
            self.more().await;
        }
    }

    /// Where it stands.
    pub fn cursor(&self) -> Cursor {
        Cursor::new(&self.feed.0.id, self.next)
    }

    fn missing(&self, receiver: &str, events: Option<u64>) -> Batch {
        let cursor = Cursor::new(&self.feed.0.id, self.next);
        let told = Told::missed(Timestamp::now(), receiver, events);
        Batch { text: told.line(&self.feed.0.source, &cursor), cursor, missed: events.unwrap_or(1) }
    }
}

impl Writer {
    /// Follows the journal and what the gate tells by itself, until `stop`; then the last of it.
    pub async fn run(mut self, desk: Desk, stop: CancellationToken) {
        let (mut waiting, mut is_down) = (Vec::new(), false);
        while !stop.is_cancelled() {
            let gathered = self.gather(&desk, &mut waiting).await;
            let had = waiting.len();
            match gathered.and(self.write(&mut waiting).await) {
                Ok(()) => is_down = false,
                Err(cause) => {
                    if !std::mem::replace(&mut is_down, true) {
                        tracing::error!(%cause, "the feed stands still; it is tried again, and nothing waits for it");
                    }
                    stop.run_until_cancelled(desk.clock().sleep(TRY_AGAIN)).await;
                    continue;
                }
            }
            if had > 0 {
                continue;
            }
            let journal = if self.is_unknown { u64::MAX } else { self.lock().journal() };
            tokio::select! {
                () = desk.changed(journal) => {}
                Some(told) = self.own.recv() => waiting.push(told),
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
        waiting.extend(std::iter::from_fn(|| self.own.try_recv().ok()).take(WAITING_MAX));
        waiting.extend(desk.counts().take(true));
        let gathered = self.gather(&desk, &mut waiting).await;
        if let Err(cause) = gathered.and(self.write(&mut waiting).await) {
            tracing::warn!(%cause, "the last of the feed is told after the next start, as far as the journal has it");
        }
    }

    /// Entries first, in order; what the gate tells by itself goes beside them.
    async fn gather(&mut self, desk: &Desk, waiting: &mut Vec<Told>) -> io::Result<()> {
        let journal = self.lock().journal();
        let mut read = Ok(());
        if !waiting.iter().any(|told| told.journal().is_some()) && desk.head().size > journal {
            let entries = match desk.entries(journal).await {
                Ok(entries) => entries,
                // Until the program is upgraded the feed has what the gate tells by itself, and nothing is skipped.
                Err(ReadError::Unknown { .. }) => {
                    self.is_unknown = true;
                    Vec::new()
                }
                // That the journal does not answer is what the gate itself has to tell.
                Err(cause) => {
                    read = Err(io::Error::other(cause));
                    Vec::new()
                }
            };
            for entry in &entries {
                if let Event::Refused { reason, .. } = &entry.event {
                    desk.counts().refused(reason);
                }
            }
            waiting.extend(entries.iter().map(|entry| Told::journaled(entry.index, entry.at, &entry.event)));
        }
        if waiting.len() < TOGETHER {
            waiting.extend(desk.counts().take(false));
            waiting.extend(std::iter::from_fn(|| self.own.try_recv().ok()).take(TOGETHER));
            match self.feed.0.not_kept.swap(0, Ordering::Relaxed) {
                0 => {}
                events => waiting.push(Told::not_kept(desk.clock().wall(), events)),
            }
        }
        read
    }

    /// In pieces, each of which is written or is left waiting, whole.
    async fn write(&mut self, waiting: &mut Vec<Told>) -> io::Result<()> {
        while !waiting.is_empty() {
            let rest = waiting.split_off(waiting.len().min(TOGETHER));
            let (spool, events) = (Arc::clone(&self.spool), std::mem::replace(waiting, rest));
            let written = tokio::task::spawn_blocking(move || {
                let mut spool = spool.lock().unwrap_or_else(PoisonError::into_inner);
                (spool.append(&events), events, spool.begin(), spool.end(), spool.journal())
            });
            let (written, events, begin, end, journal) = written.await.map_err(io::Error::other)?;
            if let Err(cause) = written {
                waiting.splice(..0, events);
                return Err(cause);
            }
            self.feed.0.begin.store(begin, Ordering::Release);
            self.feed.0.end.send_replace(end);
            self.feed.0.journal.send_replace(journal);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &std::path::Path) -> (Feed, Writer) {
        let journal = "m/journal".to_owned();
        let parts = FeedParts { dir: dir.to_owned(), source: "m/n".into(), journal, restored: 0, bytes_max: 64 << 10 };
        Feed::open(parts).unwrap()
    }

    #[tokio::test]
    async fn who_is_too_slow_reads_how_many_are_gone_and_goes_on_with_the_oldest() {
        let folder = tempfile::tempdir().unwrap();
        let (feed, mut writer) = open(folder.path());
        let told = |times| vec![Told::not_kept(Timestamp::UNIX_EPOCH, 7); times];
        writer.write(&mut told(3)).await.unwrap();
        let mut reading = feed.read(None);
        let first = reading.try_next("siem").await.unwrap().unwrap();
        assert_eq!((first.cursor.after, reading.try_next("siem").await.unwrap()), (3, None));
        writer.write(&mut told(2_000)).await.unwrap();
        let mut late = feed.read(Some(first.cursor.clone()));
        let missing = late.try_next("siem").await.unwrap().unwrap();
        let line: serde_json::Value = serde_json::from_slice(&missing.text).unwrap();
        assert_eq!((&line["id"], &line["about"]["receiver"]), (&"HP1905".into(), &"siem".into()));
        assert_eq!(line["about"]["events"].as_u64(), Some(missing.missed));
        assert_eq!(
            (missing.cursor.after, missing.cursor.to_string()),
            (3 + missing.missed, line["cursor"].as_str().unwrap().into())
        );
        let next = late.try_next("siem").await.unwrap().unwrap();
        let line: serde_json::Value =
            serde_json::Deserializer::from_slice(&next.text).into_iter().next().unwrap().unwrap();
        assert_eq!(line["cursor"], Cursor::new(&feed.0.id, 4 + missing.missed).to_string());
        // What a killed program leaves is what was there.
        drop(writer);
        assert_eq!(open(folder.path()).0.end(), 2_003);
    }

    #[test]
    fn a_cursor_is_what_it_is_written_as() {
        let cursor: Cursor = "3f9a01bc-1207".parse().unwrap();
        assert_eq!((cursor.to_string().as_str(), cursor.after), ("3f9a01bc-1207", 1_207));
        for none in ["", "-", "3f-", "-1", "3f-1x", "zz-1", "3f-99999999999999999999", "3f-1\n"] {
            assert!(none.parse::<Cursor>().is_err(), "{none:?}");
        }
    }
}

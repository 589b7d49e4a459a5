//! Where notices wait for one way until they arrived, kept in a file, so that a gate that is killed tells afterwards what it
//! had not told yet. What a group is told, whoever asks or works causes as often as they like: it has a queue of its own,
//! so that nobody fills the one of what everybody is told and nobody may mute.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Notice;
use crate::checked;

/// Notices that wait for a way that does not answer, beside the one that is tried: a night's worth. Newer ones are then
/// dropped, because what is oldest has waited longest; how many, is told when there is room again.
const WAITING_MAX: usize = 256;

/// How long is waited for the disk.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// The notices for one way. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct Waiting {
    everybody: Queue,
    group: Queue,
}

impl Waiting {
    /// What waited when the gate stopped, from the files of this way in `folder`; nothing where there is no folder.
    pub(super) fn open(folder: Option<&Path>, way: &str) -> Self {
        let file = |of: &str| folder.map(|folder| folder.join(format!("{way}-{of}.json")));
        Self { everybody: Queue::open(file("everybody")), group: Queue::open(file("group")) }
    }

    /// One more; whether it is on the disk.
    pub(super) async fn push(&self, notice: &Notice) -> bool {
        let queue = if notice.group.is_some() { &self.group } else { &self.everybody };
        queue.push(notice).await
    }

    /// Says what each queue dropped, once there is room in it to do so.
    pub(super) async fn tell_dropped(&self, say: impl Fn(String) -> Notice) {
        for queue in [&self.everybody, &self.group] {
            if let Some(text) = queue.take_dropped() {
                queue.push(&say(text)).await;
            }
        }
    }

    /// Each by itself, so that a notice to a group that does not arrive holds up none that nobody may mute.
    pub(super) fn queues(&self) -> [Queue; 2] {
        [self.everybody.clone(), self.group.clone()]
    }
}

/// Notices in the order in which they came up.
#[derive(Clone)]
pub(super) struct Queue(Arc<Inner>);

struct Inner {
    held: Mutex<Held>,
    more: Notify,
    kept: Kept,
}

#[derive(Default)]
struct Held {
    notices: VecDeque<Notice>,
    /// How many of each kind found no room.
    dropped: BTreeMap<&'static str, u64>,
}

impl Queue {
    fn open(file: Option<PathBuf>) -> Self {
        let notices = file.as_ref().map(|file| read(file)).unwrap_or_default();
        let held = Mutex::new(Held { notices, ..Held::default() });
        Self(Arc::new(Inner { held, more: Notify::new(), kept: Kept::new(file) }))
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // No change under this lock can stop halfway.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is carried at once; whether it is on the disk when this returns.
    async fn push(&self, notice: &Notice) -> bool {
        !self.add(notice) || self.keep().await
    }

    fn add(&self, notice: &Notice) -> bool {
        let mut held = self.lock();
        if held.notices.iter().any(|other| other.id == notice.id) {
            return false;
        }
        if held.notices.len() > WAITING_MAX {
            tracing::error!(kind = notice.kind, id = notice.id, "a notice reaches nobody: too many wait already");
            *held.dropped.entry(notice.kind).or_default() += 1;
            return false;
        }
        held.notices.push_back(notice.clone());
        self.0.more.notify_one();
        true
    }

    fn take_dropped(&self) -> Option<String> {
        let mut held = self.lock();
        if held.dropped.is_empty() || held.notices.len() > WAITING_MAX {
            return None;
        }
        let dropped = std::mem::take(&mut held.dropped);
        let kinds: Vec<String> = dropped.iter().map(|(kind, count)| format!("{count} of {kind}")).collect();
        Some(format!("notices were dropped, because too many waited here: {}", kinds.join(", ")))
    }

    /// The next one. It waits on until it is settled.
    pub(super) async fn next(&self) -> Notice {
        loop {
            let more = self.0.more.notified();
            if let Some(notice) = self.lock().notices.front().cloned() {
                return notice;
            }
            more.await;
        }
    }

    /// It arrived, or was given up.
    pub(super) async fn settle(&self, notice: &Notice) {
        let settled = self.lock().notices.pop_front_if(|first| first.id == notice.id);
        if settled.is_some() {
            self.keep().await;
        }
    }

    /// Writes down what waits; whether it is written.
    async fn keep(&self) -> bool {
        let bytes = || serde_json::to_vec(&self.lock().notices).expect("notices have string keys and finite numbers");
        let written = self.0.kept.replace(bytes).await;
        if let Err(cause) = &written {
            tracing::warn!(%cause, file = %self.0.kept, "notices that wait are not kept: a gate that is killed now forgets them");
        }
        written.is_ok()
    }
}

/// A file that is replaced whole, or nothing where there is none.
pub(super) struct Kept {
    file: Option<PathBuf>,
    /// Whoever has it writes the file.
    pen: Arc<tokio::sync::Mutex<()>>,
}

impl Kept {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self { file, pen: Arc::default() }
    }

    /// Writes what is right when its turn comes, so that of several in a row the last is, beside the threads that carry
    /// connections. A disk that hangs holds up nobody for long; its write goes on, and no other overtakes it.
    pub(super) async fn replace(&self, bytes: impl FnOnce() -> Vec<u8>) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let writing = async {
            let pen = Arc::clone(&self.pen).lock_owned().await;
            let (file, bytes) = (file.clone(), bytes());
            let write = move || {
                let replaced = checked::replace(&file, &bytes);
                drop(pen);
                replaced
            };
            tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
        };
        let late = |_| Err(io::ErrorKind::TimedOut.into());
        tokio::time::timeout(DISK_PATIENCE, writing).await.unwrap_or_else(late)
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.as_ref().map_or(Ok(()), |file| file.display().fmt(f))
    }
}

/// What waited for a way that is configured no longer is kept for nobody: there are names in it.
pub(super) fn forget_other_ways(folder: &Path, ways: &[&str]) {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let of = |file: &Path| Some(file.file_name()?.to_str()?.strip_suffix(".json")?.rsplit_once('-')?.0.to_owned());
    for file in files.filter(|file| of(file).is_some_and(|way| !ways.contains(&way.as_str()))) {
        let (waited, gone) = (read(&file).len(), fs::remove_file(&file));
        let file = file.display();
        match gone {
            Ok(()) => tracing::warn!(%file, waited, "these notices reach nobody: their way is configured no longer"),
            Err(cause) => tracing::warn!(%file, %cause, "notices that reach nobody cannot be removed"),
        }
    }
}

/// A file that cannot be read keeps no gate from starting.
fn read(file: &Path) -> VecDeque<Notice> {
    match fs::read(file).map(|bytes| serde_json::from_slice(&bytes)) {
        Ok(Ok(notices)) => notices,
        Ok(Err(cause)) => {
            tracing::error!(%cause, file = %file.display(), "notices that waited cannot be read: they reach nobody");
            VecDeque::new()
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => VecDeque::new(),
        Err(cause) => {
            tracing::error!(%cause, file = %file.display(), "notices that waited cannot be read: they reach nobody");
            VecDeque::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// The draft is a pipe that nobody reads: whoever opens it hangs.
    #[test]
    fn a_disk_that_hangs_holds_up_neither_the_threads_of_connections_nor_the_notice() {
        let folder = tempfile::tempdir().unwrap();
        let draft = folder.path().join("test-everybody.draft");
        assert!(Command::new("mkfifo").arg(&draft).status().unwrap().success());
        let (carried, is_carried) = mpsc::channel();
        let disk = thread::spawn(move || {
            let in_time = is_carried.recv_timeout(Duration::from_secs(20)).is_ok();
            drop(fs::read(&draft));
            in_time
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let waiting = Waiting::open(Some(folder.path()), "test");
            let [everybody, _] = waiting.queues();
            let [one, two] = ["one", "two"].map(|id| super::super::tests::notice(id, None, "a cut"));
            let (is_kept, next) = tokio::join!(waiting.push(&one), everybody.next());
            assert_eq!((is_kept, next), (false, one.clone()));
            let (is_kept, ()) = tokio::join!(waiting.push(&two), everybody.settle(&one));
            assert_eq!((is_kept, everybody.next().await), (false, two));
            carried.send(()).expect("the disk waits");
        });
        assert!(disk.join().unwrap(), "the disk hung, and so did everything else");
    }

    #[tokio::test]
    async fn what_waits_keeps_its_order_across_a_restart_each_once_and_not_beyond_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let notice = |id: usize| super::super::tests::notice(&id.to_string(), None, "x");
        let waiting = Waiting::open(Some(folder.path()), "test");
        for id in [7, 3, 9, 3] {
            waiting.push(&notice(id)).await;
        }
        let [everybody, group] = waiting.queues();
        everybody.settle(&notice(3)).await;
        assert_eq!(everybody.next().await.id, "7", "what is not the next is not settled");
        everybody.settle(&notice(7)).await;
        waiting.push(&super::super::tests::notice("g", Some("shift-lead"), "x")).await;
        let [everybody_later, group_later] = Waiting::open(Some(folder.path()), "test").queues();
        for id in ["3", "9"] {
            let next = everybody_later.next().await;
            assert_eq!(next.id, id);
            everybody_later.settle(&next).await;
        }
        assert!(everybody_later.lock().notices.is_empty(), "what was said twice waits once");
        assert_eq!((group.next().await.id, group_later.next().await.id), ("g".to_owned(), "g".to_owned()));
        for id in 100..100 + 2 * WAITING_MAX {
            waiting.push(&notice(id)).await;
        }
        assert_eq!(everybody.lock().notices.len(), WAITING_MAX + 1, "the one that is tried, and a night's worth");
    }

    #[test]
    fn what_waited_for_a_way_that_is_gone_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["e-mail-everybody.json", "webhook-group.json", "webhook-everybody.json", "told"];
        names.iter().for_each(|name| fs::write(folder.path().join(name), "[]").unwrap());
        forget_other_ways(folder.path(), &["e-mail"]);
        let left = names.map(|name| folder.path().join(name).exists());
        assert_eq!(left, [true, false, false, true]);
    }
}

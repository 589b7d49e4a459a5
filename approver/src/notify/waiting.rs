//! Where notices wait for one way until they arrived, kept in a file, so that a gate that is killed tells afterwards what it
//! had not told yet. What a group is told, whoever asks or works causes as often as they like: it has a queue of its own,
//! so that nobody fills the one of what everybody is told and nobody may mute.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Notice;

/// Notices that wait for a way that does not answer, beside the one that is tried: a night's worth. Newer ones are then
/// dropped, because what is oldest has waited longest; how many, is told when there is room again.
const WAITING_MAX: usize = 256;

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

    /// One more.
    pub(super) fn push(&self, notice: &Notice) {
        let queue = if notice.group.is_some() { &self.group } else { &self.everybody };
        queue.push(notice);
    }

    /// What each queue dropped, in words, once there is room in it to say so.
    pub(super) fn dropped(&self, mut say: impl FnMut(String) -> Notice) {
        for queue in [&self.everybody, &self.group] {
            if let Some(text) = queue.take_dropped() {
                queue.push(&say(text));
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
    file: Option<PathBuf>,
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
        Self(Arc::new(Inner { held, more: Notify::new(), file }))
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // No change under this lock can stop halfway.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, notice: &Notice) {
        let mut held = self.lock();
        if held.notices.iter().any(|other| other.id == notice.id) {
            return;
        }
        if held.notices.len() > WAITING_MAX {
            tracing::error!(kind = notice.kind, id = notice.id, "a notice reaches nobody: too many wait already");
            *held.dropped.entry(notice.kind).or_default() += 1;
            return;
        }
        held.notices.push_back(notice.clone());
        self.keep(&held);
        self.0.more.notify_one();
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
    pub(super) fn settle(&self, notice: &Notice) {
        let mut held = self.lock();
        if held.notices.pop_front_if(|first| first.id == notice.id).is_some() {
            self.keep(&held);
        }
    }

    fn keep(&self, held: &Held) {
        let Some(file) = &self.0.file else { return };
        if let Err(cause) = write(file, &held.notices) {
            tracing::warn!(%cause, file = %file.display(), "notices that wait are not kept: a gate that is killed now forgets them");
        }
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

fn write(file: &Path, notices: &VecDeque<Notice>) -> io::Result<()> {
    replace(file, &serde_json::to_vec(notices)?)
}

/// Whole or not at all.
pub(super) fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = file.with_extension("draft");
    let mut open = fs::OpenOptions::new();
    let mut writing = open.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    writing.write_all(bytes)?;
    fs::rename(&draft, file)
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
    use super::*;

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

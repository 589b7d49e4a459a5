//! A log that goes on from an earlier state: under a new name, so that nobody who remembers more of it under the old one sees
//! it forked. Its entries and their tree stay; only what was published under the old name is put aside, and tiles that were
//! made for entries that are no more are removed. That people decided it, and what they signed, is for the layers above.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use certs::log_key::Verifier;
use policies::ids::RestoreId;
use serde::Deserialize;

use crate::FORMAT;
use crate::disk::{self, Disk};
use crate::entries::{EntryReader, Snapshot};
use crate::fault::{Cause, OpenFault};
use crate::leaf::{Entry, Leaf};
use crate::log::{Head, LogOptions, Signer};
use crate::read::{Format, RestoredAt, before_dir};
use crate::recover::{self, Found};
use crate::segment::SegmentsFault;
use crate::tlog::check::beyond;
use crate::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::tlog::folder::{CHECKPOINT, Flaw, Folder, FolderFault, View};
use crate::tlog::kept::{KEPT, size_in};
use crate::tlog::note::NotSignable;

/// A log at rest: nobody has it open, and nobody can open it meanwhile. Nothing is written but the last batch again, as it
/// was.
pub struct Resting {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    format: Format,
    found: Found,
    _lock: Box<dyn Send + Sync>,
}

impl Resting {
    /// Takes the log in `dir`, which says that it is the one of `options`. What it published is not compared with it.
    ///
    /// # Errors
    /// As [`Log::open`](crate::log::Log::open), but for checkpoints.
    pub fn take(disk: Arc<dyn Disk>, dir: &Path, options: &LogOptions, signer: &dyn Signer) -> Result<Self, OpenFault> {
        let path = dir.join(FORMAT);
        let lock = recover::claim(&*disk, dir, options, signer)?;
        let bytes = disk::read(&*disk, &path).map_err(cannot("read", &path))?;
        let format = Format::parse(&bytes).expect("the log was claimed by what this says");
        let found = recover::recover(&*disk, dir, options.purpose)?;
        Ok(Self { disk, dir: dir.to_owned(), format, found, _lock: lock })
    }

    /// What it says of itself.
    pub const fn format(&self) -> &Format {
        &self.format
    }

    /// How far it goes.
    pub fn head(&self) -> Head {
        self.found.state.head()
    }

    /// All entries. For journals: of a record log, those of retired segments are in its bundles alone.
    ///
    /// # Errors
    /// They cannot be read, or do not follow each other.
    pub fn entries(&self) -> Result<Vec<Entry>, SegmentsFault> {
        self.reader().read(0, &self.snapshot())
    }

    /// The newest entry in which something is found; reads no further back than there, a segment at a time.
    ///
    /// # Errors
    /// They cannot be read, or do not follow each other.
    pub fn find_newest<T>(&self, find: impl Fn(&Entry) -> Option<T>) -> Result<Option<T>, SegmentsFault> {
        let (reader, snapshot) = (self.reader(), self.snapshot());
        for entries in reader.read_back(&snapshot, self.head().last) {
            if let Some(found) = entries?.iter().rev().find_map(&find) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn reader(&self) -> EntryReader {
        EntryReader::new(Arc::clone(&self.disk), &self.dir)
    }

    fn snapshot(&self) -> Snapshot {
        let state = &self.found.state;
        Snapshot::new(state.tree.size(), state.end.offset, self.found.extents.clone())
    }

    /// Heads that the log signed with this key, and that lie beside it: the one it published last, and those that witnesses
    /// cosigned. What is none of them is passed over.
    pub fn signed(&self, verifier: &Verifier) -> Vec<Checkpoint> {
        let kept = self.disk.list(&self.dir.join(KEPT)).unwrap_or_default();
        let paths = kept.iter().map(|name| self.dir.join(KEPT).join(name)).chain([self.dir.join(CHECKPOINT)]);
        paths.filter_map(|path| self.open_signed(&path, verifier)).collect()
    }

    /// The one of [`signed`](Self::signed) that goes furthest.
    pub fn furthest_signed(&self, verifier: &Verifier) -> Option<Checkpoint> {
        let mut kept: Vec<(u64, String)> = self
            .disk
            .list(&self.dir.join(KEPT))
            .unwrap_or_default()
            .into_iter()
            .filter_map(|name| Some((size_in(&name)?, name)))
            .collect();
        kept.sort_unstable();
        let kept = kept.iter().rev().find_map(|(_, name)| self.open_signed(&self.dir.join(KEPT).join(name), verifier));
        kept.into_iter().chain(self.open_signed(&self.dir.join(CHECKPOINT), verifier)).max_by_key(|head| head.size)
    }

    fn open_signed(&self, path: &Path, verifier: &Verifier) -> Option<Checkpoint> {
        let bytes = disk::read(&*self.disk, path).ok()?;
        let signed = SignedCheckpoint::open(&bytes, std::slice::from_ref(verifier)).ok()?;
        Some(signed.checkpoint().clone())
    }

    /// Its head, signed, for whoever is asked about it.
    ///
    /// # Errors
    /// The log's name is none that a key can have.
    pub fn sign(&self, signer: &dyn Signer) -> Result<SignedCheckpoint, NotSignable> {
        let Head { size, root, .. } = self.head();
        Checkpoint { origin: self.format.origin.clone(), size, root }.sign(signer)
    }

    /// As many entries the journal had at least, by what a record log says since it was restored last, as far as its segments go
    /// back.
    ///
    /// # Errors
    /// They cannot be read, or do not follow each other.
    pub fn tells_of_journal(&self) -> Result<u64, SegmentsFault> {
        let restored = self.format.restored.last().map_or(0, |restored| restored.size);
        let from = restored.max(self.found.tree_before().size());
        let entries = self.reader().read(from, &self.snapshot())?;
        let size = |entry: &Entry| match Leaf::parse(&entry.bytes) {
            Ok(Leaf::Opened(opened)) => {
                serde_json::from_slice::<Told>(&opened.metadata).map_or(0, |told| told.journal_size)
            }
            Ok(leaf) => leaf.decided().map_or(0, |decided| decided.entry.saturating_add(1)),
            Err(_) => 0,
        };
        Ok(entries.iter().map(size).max().unwrap_or(0))
    }

    /// Whether the log once had this head: the first so many entries with this root. None where it has fewer.
    ///
    /// # Errors
    /// Neither segments nor tiles say so.
    pub fn had(&self, head: &Checkpoint) -> Result<Option<bool>, OpenFault> {
        let here = self.head();
        if head.size > here.size {
            return Ok(None);
        }
        if head.size == here.size {
            return Ok(Some(head.root == here.root));
        }
        let Some(mut tree) = self.found.trees.iter().rfind(|tree| tree.size() <= head.size).cloned() else {
            // Those lie in tiles alone; tiles that have this root are of this log, because later ones follow from them.
            let folder = Folder::new(Arc::clone(&self.disk), &self.dir);
            return match View::open(folder, head) {
                Ok(_) => Ok(Some(true)),
                Err(FolderFault { flaw: Flaw::Altered(_), .. }) => Ok(Some(false)),
                Err(fault) => Err(OpenFault::TilesLost { dir: self.dir.clone(), fault: fault.to_string() }),
            };
        };
        for entry in self.reader().read(tree.size(), &self.snapshot())? {
            if tree.size() == head.size {
                break;
            }
            tree.push(entry.hash);
        }
        Ok(Some(tree.root() == head.root))
    }

    /// How many entries lie before the first segment that is left.
    #[cfg(test)]
    pub(crate) fn segments_begin_at(&self) -> u64 {
        self.found.tree_before().size()
    }

    /// Gives the log the name of this restore. May be done again where it broke off; the file FORMAT is last.
    ///
    /// # Errors
    /// The file system says no; then the log has its old name, or its new one.
    pub fn rename(self, restore: RestoreId, signer: &dyn Signer) -> Result<(), OpenFault> {
        let size = self.head().size;
        self.put_aside(&self.dir.join(before_dir(restore)))?;
        let folder = Folder::new(Arc::clone(&self.disk), &self.dir);
        let mut changed = BTreeSet::new();
        for tile in beyond(&folder, size).map_err(|fault| self.not_listed(&fault))? {
            let path = self.dir.join(tile);
            self.disk.remove(&path).map_err(cannot("remove", &path))?;
            changed.extend(path.parent().map(Path::to_owned));
        }
        // Once it has its new name, nobody looks for them again.
        changed.iter().try_for_each(|dir| self.disk.sync_dir(dir).map_err(cannot("sync", dir)))?;
        self.write_format(&self.renamed(restore, size, signer)?)
    }

    fn renamed(&self, restore: RestoreId, size: u64, signer: &dyn Signer) -> Result<Format, OpenFault> {
        let base = self.format.base().expect("what was parsed has a first name");
        let origin = format!("{base}/{restore}");
        let verifier = signer.verifier(&origin)?.to_string();
        let restored = self.format.restored.iter().copied().chain([RestoredAt { restore, size }]).collect();
        Ok(Format { origin, verifier, restored, node: self.format.node.clone(), number: self.format.number })
    }

    /// What was published under the old name is evidence of what is lost, and would be in the way of the new.
    fn put_aside(&self, to: &Path) -> Result<(), OpenFault> {
        let (disk, kept) = (&*self.disk, self.dir.join(KEPT));
        disk.create_dir(to).map_err(cannot("create", to))?;
        let checkpoint = self.dir.join(CHECKPOINT);
        let cosigned = disk.list(&kept).map_err(cannot("list", &kept))?;
        let there = disk.list(&self.dir).map_err(cannot("list", &self.dir))?;
        let emptied = there.iter().any(|name| name == KEPT).then_some(kept.as_path());
        for name in cosigned {
            let from = kept.join(&name);
            if name.ends_with(".tmp") {
                disk.remove(&from).map_err(cannot("remove", &from))?;
            } else {
                disk.rename(&from, &to.join(&name)).map_err(cannot("move", &from))?;
            }
        }
        for name in there {
            let from = self.dir.join(&name);
            if name == CHECKPOINT {
                disk.rename(&from, &to.join(CHECKPOINT)).map_err(cannot("move", &checkpoint))?;
            } else if name.strip_suffix(".tmp") == Some(CHECKPOINT) {
                disk.remove(&from).map_err(cannot("remove", &from))?;
            }
        }
        // First where the files are now, so that none is nowhere.
        let mut changed = [to].into_iter().chain(emptied).chain([self.dir.as_path()]);
        changed.try_for_each(|dir| disk.sync_dir(dir).map_err(cannot("sync", dir)))
    }

    fn write_format(&self, format: &Format) -> Result<(), OpenFault> {
        let (path, draft) = (self.dir.join(FORMAT), self.dir.join("FORMAT.tmp"));
        let left = self.disk.list(&self.dir).map_err(cannot("list", &self.dir))?;
        if left.iter().any(|name| name == "FORMAT.tmp") {
            self.disk.remove(&draft).map_err(cannot("remove", &draft))?;
        }
        let write = || -> io::Result<()> {
            let file = self.disk.create(&draft)?;
            file.write_at(format.to_string().as_bytes(), 0)?;
            file.sync_data()?;
            self.disk.rename(&draft, &path)?;
            self.disk.sync_dir(&self.dir)
        };
        write().map_err(cannot("write", &path))
    }

    fn not_listed(&self, fault: &FolderFault) -> OpenFault {
        OpenFault::Io(Cause::told("list", &self.dir.join("tile"), &fault.to_string()))
    }
}

/// What an opening says of the journal.
#[derive(Deserialize)]
struct Told {
    journal_size: u64,
}

fn cannot(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenFault {
    let path = path.to_owned();
    move |error| OpenFault::Io(Cause::new(doing, &path, &error))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;
    use crate::disk::Machine as _;
    use crate::log::{Log, Purpose};
    use crate::sim::{Fault, SimDisk, SimMachine, SimSigner};

    const DIR: &str = "/data/journal";
    const NAME: &str = "mill-3/journal";

    fn options(origin: &str) -> LogOptions {
        let segment_bytes = 16 << 10;
        LogOptions { segment_bytes, spares: 0, ..LogOptions::new(Purpose::Journal, origin, "gate-1".parse().unwrap()) }
    }

    fn restore() -> RestoreId {
        "e_00000000000000000000000007".parse().unwrap()
    }

    fn resting(disk: &SimDisk, origin: &str) -> Result<Resting, OpenFault> {
        Resting::take(Arc::new(disk.clone()), Path::new(DIR), &options(origin), &SimSigner::new(1))
    }

    /// A journal of so many entries, each published: the heads that it had.
    fn grown(disk: &SimDisk, entries: u8) -> Vec<Checkpoint> {
        grown_of(disk, (0..entries).map(|entry| vec![entry; 600]))
    }

    fn grown_of(disk: &SimDisk, entries: impl Iterator<Item = Vec<u8>>) -> Vec<Checkpoint> {
        let (machine, signer) = (SimMachine::new(1), Arc::new(SimSigner::new(1)));
        let (disk, dir) = (Arc::new(disk.clone()), Path::new(DIR));
        let (mut log, mut writer, _) =
            Log::open_idle(disk, Arc::new(machine.clone()), dir, options(NAME), signer).unwrap();
        let mut append = |entry: Vec<u8>| {
            let mut answer = pin!(log.append(log.head(), vec![entry], machine.wall()));
            let _goes_on = writer.turn(Duration::ZERO);
            assert!(matches!(answer.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(_))));
            log.print().unwrap();
            let Head { size, root, .. } = log.head();
            Checkpoint { origin: NAME.to_owned(), size, root }
        };
        let heads = entries.map(&mut append).collect();
        drop(log);
        let _over = writer.turn(Duration::ZERO);
        heads
    }

    fn write(disk: &SimDisk, name: &str, bytes: &[u8]) {
        let path = Path::new(DIR).join(name);
        let dir = path.parent().unwrap();
        disk.create_dir(dir).unwrap();
        let file = disk.create(&path).unwrap();
        file.write_at(bytes, 0).and_then(|()| file.sync_data()).and_then(|()| disk.sync_dir(dir)).unwrap();
    }

    #[test]
    fn a_log_knows_each_head_that_it_had_and_no_other() {
        let disk = SimDisk::new(1);
        let heads = grown(&disk, 60);
        let log = resting(&disk.killed(), NAME).unwrap();
        assert!(log.found.extents.len() > 2);
        for head in &heads {
            assert_eq!(log.had(head).unwrap(), Some(true), "{}", head.size);
            let other = Checkpoint { root: [1; 32], ..head.clone() };
            assert_eq!(log.had(&other).unwrap(), Some(false), "{}", head.size);
        }
        let beyond = Checkpoint { size: 61, ..heads[59].clone() };
        assert_eq!(log.had(&beyond).unwrap(), None);
        let entries = log.entries().unwrap();
        assert_eq!(entries.len(), 60);
        for wanted in &entries {
            let found = log.find_newest(|entry| (entry.bytes == wanted.bytes).then_some(entry.index)).unwrap();
            assert_eq!(found, Some(wanted.index));
        }
        assert_eq!(log.find_newest(|entry| Some(entry.index)).unwrap(), Some(59), "the newest of all");
        assert_eq!(log.find_newest(|entry| entry.bytes.is_empty().then_some(())).unwrap(), None);
    }

    #[test]
    fn whoever_reads_back_finds_that_a_segment_is_of_another_log() {
        let (disk, other) = (SimDisk::new(1), SimDisk::new(1));
        grown(&disk, 60);
        grown_of(&other, (0..60).map(|entry| vec![100 + entry; 600]));
        let (disk, name) = (disk.killed(), Path::new(DIR).join("segments/00000001.seg"));
        disk.tamper(&name, |bytes| *bytes = other.content(&name).unwrap());
        let log = resting(&disk, NAME).unwrap();
        let first = |wanted: u8| log.find_newest(|entry| (entry.bytes[0] == wanted).then_some(entry.index));
        assert_eq!(first(59).unwrap(), Some(59), "it reads no further than it must");
        let Err(SegmentsFault::Damaged { path, .. }) = first(0) else { panic!("it is not noticed") };
        assert_eq!(path, name);
        assert!(log.entries().is_err(), "nor does whoever reads all");
    }

    /// What was published lies where it is looked for, or where it is put aside.
    fn published(disk: &SimDisk, name: &str) -> usize {
        let before = Path::new(DIR).join(before_dir(restore()));
        let aside = before.join(Path::new(name).file_name().unwrap());
        [Path::new(DIR).join(name), aside].into_iter().filter(|path| disk.content(path).is_some()).count()
    }

    #[test]
    fn whatever_call_the_power_is_cut_at_a_log_has_its_old_name_or_its_new_one_and_nothing_published_is_lost() {
        let disk = SimDisk::new(1);
        let heads = grown(&disk, 40);
        // A witness cosigned some of it, and what was being written when the gate died.
        let signer = SimSigner::new(1);
        for head in [&heads[10], &heads[39]] {
            let signed = head.clone().sign(&signer).unwrap().to_string();
            write(&disk, &format!("checkpoints/{}", head.size), signed.as_bytes());
        }
        for draft in ["checkpoints/12.tmp", "checkpoint.tmp", "FORMAT.tmp", "tile/0/000.p/77"] {
            write(&disk, draft, b"half");
        }
        let disk = disk.killed();
        let new = format!("{NAME}/{}", restore());
        let format = |disk: &SimDisk| Format::parse(&disk.content(&Path::new(DIR).join(FORMAT)).unwrap()).unwrap();
        let (mut old_ones, mut new_ones) = (0, 0);
        for call in 1.. {
            let disk = disk.killed();
            let log = resting(&disk, NAME).unwrap();
            disk.fail_call(disk.calls() + call, Fault::PowerCut);
            let done = log.rename(restore(), &signer).is_ok();
            let mut disk = disk.power_cut();
            for name in ["checkpoint", "checkpoints/11", "checkpoints/40"] {
                assert_eq!(published(&disk, name), 1, "call {call}: {name}");
            }
            if format(&disk).origin == NAME {
                assert!(!done, "call {call}: what was done is undone");
                old_ones += 1;
                resting(&disk, NAME).unwrap().rename(restore(), &signer).unwrap();
                disk = disk.power_cut();
            } else {
                new_ones += 1;
            }
            let renamed = format(&disk);
            assert_eq!((renamed.origin.as_str(), renamed.restored.len()), (new.as_str(), 1), "call {call}");
            assert_eq!(renamed.restored[0], RestoredAt { restore: restore(), size: 40 });
            let before = disk.list(&Path::new(DIR).join(before_dir(restore()))).unwrap();
            assert_eq!(before, ["11", "40", "checkpoint"], "call {call}");
            assert!(disk.content(&Path::new(DIR).join("tile/0/000.p/77")).is_none(), "no tile of what is no more");
            assert_eq!(resting(&disk, &new).unwrap().head().root, heads[39].root);
            Log::open_idle(
                Arc::new(disk),
                Arc::new(SimMachine::new(1)),
                Path::new(DIR),
                options(&new),
                Arc::new(SimSigner::new(1)),
            )
            .unwrap();
            if done {
                break;
            }
        }
        assert!(old_ones > 3 && new_ones > 0, "{old_ones} {new_ones}");
    }
}

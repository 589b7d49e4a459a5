//! Writes a log's folder: each file whole under its name or not at all, and durable before anything says that it exists.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use super::checkpoint::SignedCheckpoint;
use super::edge::Content;
use super::folder::Folder;
use super::tile::Tile;
use crate::disk::Disk;
use crate::fault::is_full;

/// Writes a log's tiles, bundles and checkpoints. After an error it takes nothing more: what of the file system's promises
/// still holds is not known. A full disk is no such error, and is over when there is room.
pub struct Publisher {
    folder: Folder,
    /// Folders whose own names are known to be durable, the latest last. Any that are forgotten are synced once more.
    durable: VecDeque<PathBuf>,
    has_failed: bool,
}

/// Each level and the bundles have two folders that change, and some above them.
const FOLDERS_REMEMBERED: usize = 64;

/// Behind the name of a file that is being written.
pub(super) const DRAFT: &str = ".tmp";

impl Publisher {
    /// Writes into this folder.
    pub const fn new(folder: Folder) -> Self {
        Self { folder, durable: VecDeque::new(), has_failed: false }
    }

    /// Writes tiles and bundles; durable when it returns. What is there already is replaced.
    pub fn tiles(&mut self, tiles: &[Content]) -> io::Result<()> {
        let files: Vec<_> = tiles.iter().map(|(tile, bytes)| (tile.to_string(), bytes.as_slice())).collect();
        self.write(&files)
    }

    /// Writes a checkpoint under a name; durable when it returns. Its tiles must be durable before.
    pub fn checkpoint(&mut self, name: &str, signed: &SignedCheckpoint) -> io::Result<()> {
        self.file(name, signed.to_string().as_bytes())
    }

    /// Writes another file that is read whole; durable when it returns.
    pub(super) fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write(&[(name.to_owned(), bytes)])
    }

    /// Removes the partial forms of a tile that is full and durable.
    pub fn remove_partials(&self, tile: &Tile) -> io::Result<()> {
        let folder = self.folder.dir.join(format!("{}.p", tile.full()));
        self.folder.disk.list(&folder)?.iter().try_for_each(|name| self.folder.disk.remove(&folder.join(name)))
    }

    /// Whether it takes nothing more.
    pub(super) const fn has_failed(&self) -> bool {
        self.has_failed
    }

    fn write(&mut self, files: &[(String, &[u8])]) -> io::Result<()> {
        if self.has_failed {
            return Err(io::Error::other("a write or a sync in this log's folder failed before"));
        }
        self.has_failed = true;
        let folders = match self.draft(files) {
            Err(full) if is_full(&full) => {
                self.has_failed = false;
                return Err(full);
            }
            drafted => drafted?,
        };
        self.put_in_place(files, folders)?;
        self.has_failed = false;
        Ok(())
    }

    /// Writes what nobody reads yet. Where there is no room for it, it is written anew, as other files, the next time.
    fn draft(&self, files: &[(String, &[u8])]) -> io::Result<Folders> {
        let Folder { disk, dir } = self.folder.clone();
        let mut folders = Folders::default();
        for (name, bytes) in files {
            let path = dir.join(name);
            let folder = path.parent().unwrap_or(&dir);
            let unknown: Vec<_> = self.not_known_durable(folder).map(Path::to_owned).collect();
            if !unknown.is_empty() {
                disk.create_dir(folder)?;
            }
            write_draft(&*disk, &draft(&dir, name), bytes)?;
            folders.changed.insert(folder.to_owned());
            folders.changed.extend(unknown.iter().filter_map(|folder| Some(folder.parent()?.to_owned())));
            folders.new.extend(unknown);
        }
        Ok(folders)
    }

    fn put_in_place(&mut self, files: &[(String, &[u8])], folders: Folders) -> io::Result<()> {
        let Folder { disk, dir } = self.folder.clone();
        files.iter().try_for_each(|(name, _)| disk.rename(&draft(&dir, name), &dir.join(name)))?;
        folders.changed.iter().try_for_each(|folder| disk.sync_dir(folder))?;
        self.durable.extend(folders.new);
        self.durable.drain(..self.durable.len().saturating_sub(FOLDERS_REMEMBERED));
        Ok(())
    }

    /// This folder and those above it whose names may not be durable: made just now, or by a program that died before it
    /// had synced them.
    fn not_known_durable<'p>(&self, folder: &'p Path) -> impl Iterator<Item = &'p Path> {
        let inside = folder.ancestors().take_while(|folder| *folder != self.folder.dir);
        inside.take_while(|folder| !self.durable.iter().any(|known| known == folder))
    }
}

/// What becomes durable with files.
#[derive(Default)]
struct Folders {
    changed: BTreeSet<PathBuf>,
    new: BTreeSet<PathBuf>,
}

fn draft(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}{DRAFT}"))
}

fn write_draft(disk: &dyn Disk, draft: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = match disk.create(draft) {
        // Left by a program that died while it wrote.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(draft)?;
            disk.create(draft)?
        }
        made => made?,
    };
    file.write_at(bytes, 0)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::disk::DiskFile;
    use crate::sim::{Fault, SimDisk, SimSigner};
    use crate::tlog::checkpoint::Checkpoint;
    use crate::tlog::edge::Edge;
    use crate::tlog::folder::tests::{DIR, checkpoint, folder, publish, published, view};
    use crate::tlog::folder::{CHECKPOINT, View};
    use crate::tlog::proof::tests::Naive;
    use crate::tlog::tile::Kind;

    /// The newest checkpoint on a disk, where there is one.
    fn newest(disk: &SimDisk) -> Option<Checkpoint> {
        let keys = [crate::log::Signer::verifier(&SimSigner::new(1), "mill3").unwrap()];
        let bytes = disk.content(&Path::new(DIR).join(CHECKPOINT))?;
        Some(SignedCheckpoint::open(&bytes, &keys).unwrap().checkpoint().clone())
    }

    #[test]
    fn a_checkpoint_never_stands_without_its_tiles_whatever_call_the_power_is_cut_at() {
        let log = Naive::of(300);
        let sizes = [3, 255, 300];
        let calls = published(&log, &sizes).calls();
        for (call, seed) in (1..=calls).flat_map(|call| [(call, 1), (call, 2), (call, 3)]) {
            let disk = SimDisk::new(seed);
            disk.fail_call(call, Fault::PowerCut);
            publish(&disk, &log, &sizes).unwrap_err();
            let after = disk.power_cut();
            let Some(checkpoint) = newest(&after) else { continue };
            assert!(sizes.contains(&checkpoint.size));
            let mut view = view(&after, &log, checkpoint.size).unwrap();
            let entries: Vec<_> = view.entries(0..checkpoint.size).collect::<Result<_, _>>().unwrap();
            assert_eq!(entries, log.0[..checkpoint.size as usize], "call {call}, seed {seed}");
        }
    }

    #[test]
    fn whatever_call_fails_the_published_log_is_whole_and_nothing_is_written_to_a_file_again() {
        let log = Naive::of(300);
        let sizes = [3, 255, 300];
        for call in 1..=published(&log, &sizes).calls() {
            let disk = SimDisk::new(1);
            disk.fail_call(call, Fault::Error(io::ErrorKind::StorageFull));
            publish(&disk, &log, &sizes).unwrap_err();
            assert!(!disk.was_touched_after_failure(), "call {call}");
            if let Some(checkpoint) = newest(&disk) {
                assert!(
                    view(&disk, &log, checkpoint.size).unwrap().entries(0..checkpoint.size).all(|entry| entry.is_ok())
                );
            }
        }
    }

    /// A disk that takes down which folders were synced.
    struct Watched(SimDisk, Mutex<BTreeSet<PathBuf>>);

    impl Disk for Watched {
        fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            self.0.open(path)
        }
        fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            self.0.create(path)
        }
        fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            self.0.open_to_read(path)
        }
        fn create_dir(&self, path: &Path) -> io::Result<()> {
            self.0.create_dir(path)
        }
        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            self.1.lock().unwrap().insert(path.to_owned());
            self.0.sync_dir(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.0.rename(from, to)
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            self.0.remove(path)
        }
        fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
            self.0.list(dir)
        }
        fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
            self.0.free_bytes(dir)
        }
        fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
            self.0.lock(path)
        }
        fn unsuited(&self, dir: &Path) -> io::Result<Option<&'static str>> {
            self.0.unsuited(dir)
        }
    }

    #[test]
    fn every_name_on_the_way_to_a_file_is_synced_once_by_each_program_and_later_those_that_changed() {
        let disk = Arc::new(Watched(SimDisk::new(1), Mutex::default()));
        let synced = || -> Vec<String> {
            let folders = std::mem::take(&mut *disk.1.lock().unwrap());
            folders.iter().map(|folder| folder.display().to_string()).collect()
        };
        let mut edge = Edge::default();
        edge.push(b"entry").unwrap();
        let all =
            ["/log", "/log/tile", "/log/tile/0", "/log/tile/0/000.p", "/log/tile/entries", "/log/tile/entries/000.p"];
        // The second program finds folders that the first may have made and not synced.
        for _ in 0..2 {
            let mut publisher = Publisher::new(Folder::new(disk.clone(), DIR));
            publisher.tiles(&edge.partial(0)).unwrap();
            assert_eq!(synced(), all);
            publisher.tiles(&edge.partial(0)).unwrap();
            assert_eq!(synced(), ["/log/tile/0/000.p", "/log/tile/entries/000.p"]);
        }
    }

    #[test]
    fn a_full_disk_is_over_when_there_is_room() {
        let log = Naive::of(300);
        let disk = SimDisk::new(1);
        let mut publisher = Publisher::new(folder(&disk));
        let mut edge = Edge::default();
        let mut tiles: Vec<_> = log.0.iter().flat_map(|entry| edge.push(entry).unwrap()).collect();
        tiles.extend(edge.partial(0));
        disk.set_room(1_000);
        for _ in 0..2 {
            let full = publisher.tiles(&tiles).unwrap_err();
            assert!(is_full(&full), "{full}");
        }
        disk.set_room(1 << 20);
        publisher.tiles(&tiles).unwrap();
        publisher.checkpoint(CHECKPOINT, &checkpoint(&log, 300).sign(&SimSigner::new(1)).unwrap()).unwrap();
        let after = disk.power_cut();
        assert!(view(&after, &log, 300).unwrap().entries(0..300).all(|entry| entry.is_ok()));
    }

    #[test]
    fn after_an_error_nothing_more_is_written() {
        let disk = SimDisk::new(1);
        let mut publisher = Publisher::new(folder(&disk));
        disk.fail_call(disk.calls() + 3, Fault::Error(io::ErrorKind::Other));
        let mut edge = Edge::default();
        edge.push(b"entry").unwrap();
        publisher.tiles(&edge.partial(0)).unwrap_err();
        let calls = disk.calls();
        publisher.tiles(&edge.partial(0)).unwrap_err();
        assert_eq!(disk.calls(), calls);
    }

    #[test]
    fn what_was_written_is_there_after_a_power_cut() {
        let log = Naive::of(300);
        for seed in 1..20 {
            let disk = SimDisk::new(seed);
            publish(&disk, &log, &[3, 255, 300]).unwrap();
            let after = disk.power_cut();
            assert_eq!(newest(&after).map(|checkpoint| checkpoint.size), Some(300));
            assert!(view(&after, &log, 300).unwrap().entries(0..300).all(|entry| entry.is_ok()));
        }
    }

    #[test]
    fn a_real_folder_is_written_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let log = Naive::of(300);
        let folder = Folder::new(std::sync::Arc::new(crate::disk::RealDisk), dir.path());
        let mut publisher = Publisher::new(folder.clone());
        let mut edge = Edge::default();
        for half in [0..150, 150..300] {
            let old = edge.size();
            let mut tiles: Vec<_> = log.0[half].iter().flat_map(|entry| edge.push(entry).unwrap()).collect();
            tiles.extend(edge.partial(old));
            std::fs::create_dir_all(dir.path().join("tile/0/000.p")).unwrap();
            std::fs::write(dir.path().join("tile/0/000.p/150.tmp"), b"left behind").unwrap();
            publisher.tiles(&tiles).unwrap();
        }
        let mut view = View::open(folder, &checkpoint(&log, 300)).unwrap();
        assert_eq!(view.entries(0..300).collect::<Result<Vec<_>, _>>().unwrap(), log.0);
        publisher.remove_partials(&Tile::in_log(Kind::Hashes(0), 0, 150).unwrap()).unwrap();
        assert!(!dir.path().join("tile/0/000.p/150").exists());
    }
}

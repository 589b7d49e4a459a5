//! A log's tiles in a folder, read so that every hash and every entry handed out is under the root of a checkpoint. `publish`
//! writes them.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::checkpoint::{BadCheckpoint, Checkpoint};
use super::edge::Edge;
use super::note::{NOTE_BYTES_MAX, Note};
use super::proof::{Hashes, fold};
use super::tile::{
    BUNDLE_BYTES_MAX, Kind, LEVELS, Tile, WIDTH, bundle_entries, full_subtrees, parse_hashes, put_entry, tile_root,
    tiles_between,
};
use super::{Hash, SIZE_MAX};
use crate::disk::Disk;
use crate::tree::{Tree, leaf_hash};

/// The newest checkpoint's name in a log's folder.
pub const CHECKPOINT: &str = "checkpoint";

/// A folder that holds a log as C2SP's tlog-tiles lays it out; any web server can publish it unchanged.
#[derive(Clone)]
pub struct Folder {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
}

/// A file of [`Folder::published`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedFile {
    /// Below the log's folder.
    pub path: String,
    /// What it held; none of a full tile, which stays as it is.
    pub bytes: Option<Vec<u8>>,
}

/// Files of [`Folder::published_since`], under one checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedFiles {
    /// Entries under the checkpoint.
    pub size: u64,
    /// The checkpoint first.
    pub files: Vec<PublishedFile>,
}

/// What is wrong in a log's folder, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {flaw}")]
pub struct FolderFault {
    /// The file, below the log's folder.
    pub path: String,
    /// The bytes of it that are wrong, as narrowly as that can be told.
    pub bytes: Range<u64>,
    /// What is wrong.
    pub flaw: Flaw,
}

/// What is wrong with a file of a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// It is not what the checkpoint's root is over.
    #[error("{0}")]
    Altered(&'static str),
    /// It is no checkpoint, or none that counts.
    #[error(transparent)]
    Checkpoint(#[from] BadCheckpoint),
    /// The log does not reach so far.
    #[error("is beyond the end of the log")]
    Beyond,
}

impl FolderFault {
    pub(super) fn new(path: &dyn fmt::Display, bytes: Range<u64>, flaw: Flaw) -> Self {
        Self { path: path.to_string(), bytes, flaw }
    }
}

impl Folder {
    /// A log's folder.
    pub fn new(disk: Arc<dyn Disk>, dir: impl Into<PathBuf>) -> Self {
        Self { disk, dir: dir.into() }
    }

    /// A tile's bytes, as it is or, where only that is left, from a wider one; and which it was.
    pub(super) fn read(&self, tile: Tile) -> Result<(Tile, Vec<u8>), FolderFault> {
        match self.read_file(&tile.to_string(), BUNDLE_BYTES_MAX) {
            Err(fault) if fault.flaw == Flaw::Missing && !tile.is_full() => {
                let wider = self.wider(tile);
                match self.read_file(&wider.to_string(), BUNDLE_BYTES_MAX) {
                    Err(none) if none.flaw == Flaw::Missing => Err(fault),
                    read => Ok((wider, read?)),
                }
            }
            read => Ok((tile, read?)),
        }
    }

    /// What the log published, as of one moment while it goes on: the checkpoint, then every tile under it; nothing before the first
    /// checkpoint.
    pub fn published(&self) -> Result<Vec<PublishedFile>, FolderFault> {
        Ok(self.published_since(0)?.map_or_else(Vec::new, |published| published.files))
    }

    /// The same without the tiles that were full when it had `old` entries; none before the first checkpoint.
    pub fn published_since(&self, old: u64) -> Result<Option<PublishedFiles>, FolderFault> {
        let Some((Checkpoint { size, .. }, bytes)) = self.read_checkpoint()? else { return Ok(None) };
        let mut files = vec![PublishedFile { path: CHECKPOINT.to_owned(), bytes: Some(bytes) }];
        let partial = Kind::all().filter_map(|kind| partial(kind, size));
        let full = tiles_between(old.min(size), size).filter(Tile::is_full);
        for tile in full.chain(partial) {
            files.push(if tile.is_full() {
                PublishedFile { path: tile.to_string(), bytes: None }
            } else {
                let (read, bytes) = self.read(tile)?;
                PublishedFile { path: read.to_string(), bytes: Some(bytes) }
            });
        }
        Ok(Some(PublishedFiles { size, files }))
    }

    /// The checkpoint as it lies there, by whomever it is signed; none before the first.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, FolderFault> {
        Ok(self.read_checkpoint()?.map(|(checkpoint, _)| checkpoint))
    }

    fn read_checkpoint(&self) -> Result<Option<(Checkpoint, Vec<u8>)>, FolderFault> {
        let bytes = match self.read_file(CHECKPOINT, NOTE_BYTES_MAX as u64) {
            Err(none) if none.flaw == Flaw::Missing => return Ok(None),
            read => read?,
        };
        let wrong = |why: BadCheckpoint| FolderFault::new(&CHECKPOINT, 0..bytes.len() as u64, Flaw::Checkpoint(why));
        let note = Note::parse(&bytes).map_err(|bad| wrong(bad.into()))?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(wrong)?;
        Ok(Some((checkpoint, bytes)))
    }

    /// The narrowest form of a tile that is there and wider than it; the full one where there is none.
    fn wider(&self, tile: Tile) -> Tile {
        let partials = format!("{}.p", tile.full());
        let names = self.disk.list(&self.dir.join(partials)).unwrap_or_default();
        let widths =
            names.iter().filter_map(|name| name.parse().ok()).filter(|width| (tile.width()..WIDTH).contains(width));
        widths.min().map_or(tile.full(), |width| tile.of_width(width))
    }

    /// A file's bytes; of a longer one nothing, since nothing of this format is.
    pub(super) fn read_file(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, FolderFault> {
        let read = || -> io::Result<Result<Vec<u8>, u64>> {
            let file = self.disk.open_to_read(&self.dir.join(path))?;
            let length = file.len()?;
            if length > bytes_max {
                return Ok(Err(length));
            }
            let mut bytes = vec![0; length as usize];
            let read = file.read_at(&mut bytes, 0)?;
            bytes.truncate(read);
            Ok(Ok(bytes))
        };
        let wrong = |bytes, flaw| FolderFault::new(&path, bytes, flaw);
        match read() {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(length)) => Err(wrong(bytes_max..length, Flaw::Altered("is longer than a file of its kind can be"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(wrong(0..0, Flaw::Missing)),
            Err(error) => Err(wrong(0..0, Flaw::Unreadable(error.to_string()))),
        }
    }

    /// The hashes of a tile, as many as it has; not compared with anything.
    fn read_hashes(&self, tile: Tile) -> Result<Vec<Hash>, FolderFault> {
        let (read, bytes) = self.read(tile)?;
        let expected = 32 * u64::from(read.width());
        let hashes = parse_hashes(&bytes).filter(|hashes| hashes.len() == usize::from(read.width()));
        let mut hashes = hashes.ok_or_else(|| {
            let length = bytes.len() as u64;
            FolderFault::new(
                &read,
                length.min(expected)..length.max(expected),
                Flaw::Altered("has not the length of a tile"),
            )
        })?;
        hashes.truncate(usize::from(tile.width()));
        Ok(hashes)
    }
}

/// A log as of one checkpoint. What is handed out was compared with the checkpoint's root, by the tiles in between.
pub struct View {
    folder: Folder,
    size: u64,
    /// The partial tile of each level.
    edge: [Vec<Hash>; LEVELS as usize],
    /// The full tile of each level that was read last.
    full: [Option<(u64, Vec<Hash>)>; LEVELS as usize],
}

impl View {
    /// Looks at a log as of a checkpoint, which the caller trusts.
    pub fn open(folder: Folder, checkpoint: &Checkpoint) -> Result<Self, FolderFault> {
        let size = checkpoint.size.min(SIZE_MAX);
        let mut edge: [Vec<Hash>; LEVELS as usize] = Default::default();
        for (level, hashes) in (0..LEVELS).zip(&mut edge) {
            if let Some(tile) = partial(Kind::Hashes(level), size) {
                *hashes = folder.read_hashes(tile)?;
            }
        }
        let full: Vec<Hash> = edge.iter().rev().flat_map(|hashes| full_subtrees(hashes)).collect();
        let root = fold(&full).unwrap_or_else(|| Tree::default().root());
        if root != checkpoint.root {
            let flaw = Flaw::Altered("does not have the root of the tiles");
            return Err(FolderFault::new(&CHECKPOINT, 0..0, flaw));
        }
        Ok(Self { folder, size, edge, full: Default::default() })
    }

    /// How many entries the log has.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Entries, one after the other.
    pub fn entries(&mut self, range: Range<u64>) -> Entries<'_> {
        Entries { view: self, next: range.start, end: range.end, bundle: Vec::new().into_iter() }
    }

    /// One entry.
    pub fn entry(&mut self, index: u64) -> Result<Vec<u8>, FolderFault> {
        self.entries(index..index.saturating_add(1)).next().unwrap_or_else(|| Err(beyond(Kind::Entries, index)))
    }

    /// What the tiles above a full tile or bundle say that the root over it is.
    pub fn root_of(&mut self, tile: Tile) -> Result<Hash, FolderFault> {
        let above = match tile.kind() {
            Kind::Entries => 1,
            Kind::Hashes(level) => u32::from(level) + 1,
        };
        self.hash(8 * above, tile.index())
    }

    /// What it takes to go on writing this log's tiles.
    pub fn edge(&mut self) -> Result<Edge, FolderFault> {
        let mut bundle = Vec::new();
        if let Some(tile) = partial(Kind::Entries, self.size) {
            for entry in self.bundle(tile)? {
                put_entry(&mut bundle, &entry).expect("it was in a bundle");
            }
        }
        Ok(Edge::new(self.size, self.edge.clone(), bundle))
    }

    /// A bundle's entries, each compared with its hash. An entry that is wrong is so together with its length.
    fn bundle(&mut self, tile: Tile) -> Result<Vec<Vec<u8>>, FolderFault> {
        let (read, bytes) = self.folder.read(tile)?;
        let mut hashes = self.tile(0, tile.index())?.iter();
        let mut entries = Vec::with_capacity(usize::from(tile.width()));
        for entry in bundle_entries(&bytes, read.width()) {
            let (at, entry) =
                entry.map_err(|bad| FolderFault::new(&read, bad.at..bytes.len() as u64, Flaw::Altered(bad.words)))?;
            // Behind what this view reaches there may be more.
            let Some(hash) = hashes.next() else { break };
            if leaf_hash(entry) != *hash {
                let bytes = at - 2..at + entry.len() as u64;
                return Err(FolderFault::new(
                    &read,
                    bytes,
                    Flaw::Altered("is not the entry that the log's tree is over"),
                ));
            }
            entries.push(entry.to_vec());
        }
        Ok(entries)
    }

    /// A tile's hashes. A full one is compared with its parent's hash of it; partial ones were compared with the root.
    fn tile(&mut self, level: u8, index: u64) -> Result<&[Hash], FolderFault> {
        let place = usize::from(level);
        let tile =
            Tile::in_log(Kind::Hashes(level), index, self.size).ok_or_else(|| beyond(Kind::Hashes(level), index))?;
        if !tile.is_full() {
            return Ok(&self.edge[place]);
        }
        if self.full[place].as_ref().is_none_or(|(read, _)| *read != index) {
            let (above, at) = (index / u64::from(WIDTH), index % u64::from(WIDTH));
            let expected = self.tile(level + 1, above)?[at as usize];
            let hashes = self.folder.read_hashes(tile)?;
            if tile_root(&hashes) != Some(expected) {
                let bytes = 0..32 * u64::from(WIDTH);
                return Err(FolderFault::new(&tile, bytes, Flaw::Altered("has another root than the tile above says")));
            }
            self.full[place] = Some((index, hashes));
        }
        Ok(self.full[place].as_ref().map(|(_, hashes)| hashes.as_slice()).expect("it was just read"))
    }
}

/// The partial tile of a kind in a log of this size; none where the last one is full.
pub(super) fn partial(kind: Kind, size: u64) -> Option<Tile> {
    let level = if let Kind::Hashes(level) = kind { level } else { 0 };
    Tile::in_log(kind, size.unbounded_shr(8 * u32::from(level)) / u64::from(WIDTH), size)
}

fn beyond(kind: Kind, index: u64) -> FolderFault {
    let name = match kind {
        Kind::Entries => format!("entry {index}"),
        Kind::Hashes(level) => format!("tile {index} of level {level}"),
    };
    FolderFault::new(&name, 0..0, Flaw::Beyond)
}

impl Hashes for View {
    type Fault = FolderFault;

    fn hash(&mut self, level: u32, index: u64) -> Result<Hash, FolderFault> {
        let (tile_level, inside) = ((level / 8) as u8, level % 8);
        if level >= 63 || index >= self.size >> level {
            return Err(beyond(Kind::Hashes(tile_level), index));
        }
        let first = index << inside;
        let hashes = self.tile(tile_level, first / u64::from(WIDTH))?;
        let at = (first % u64::from(WIDTH)) as usize;
        Ok(tile_root(&hashes[at..at + (1 << inside)]).expect("a subtree is not empty"))
    }
}

/// See [`View::entries`].
pub struct Entries<'v> {
    view: &'v mut View,
    next: u64,
    end: u64,
    bundle: std::vec::IntoIter<Vec<u8>>,
}

impl Entries<'_> {
    /// The rest of the bundle in which the next entry stands.
    fn read(&mut self) -> Result<(), FolderFault> {
        let (index, inside) = (self.next / u64::from(WIDTH), self.next % u64::from(WIDTH));
        let tile = Tile::in_log(Kind::Entries, index, self.view.size).filter(|tile| inside < u64::from(tile.width()));
        self.bundle = self.view.bundle(tile.ok_or_else(|| beyond(Kind::Entries, self.next))?)?.into_iter();
        self.bundle.by_ref().take(inside as usize).for_each(drop);
        Ok(())
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Vec<u8>, FolderFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        if self.bundle.len() == 0
            && let Err(fault) = self.read()
        {
            self.end = self.next;
            return Some(Err(fault));
        }
        self.next += 1;
        self.bundle.next().map(Ok)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;
    use crate::sim::{SimDisk, SimSigner};
    use crate::tlog::proof::tests::Naive;
    use crate::tlog::proof::{consistency, inclusion, root, verify_consistency, verify_inclusion};
    use crate::tlog::publish::Publisher;
    use crate::tlog::tile::root_in;

    pub(crate) const DIR: &str = "/log";

    pub(crate) fn checkpoint(log: &Naive, size: u64) -> Checkpoint {
        Checkpoint { origin: "mill3".to_owned(), size, root: log.root(size) }
    }

    pub(crate) fn folder(disk: &SimDisk) -> Folder {
        Folder::new(Arc::new(disk.clone()), DIR)
    }

    /// A log that grew in steps, published after each.
    pub(crate) fn publish(disk: &SimDisk, log: &Naive, sizes: &[u64]) -> io::Result<()> {
        let mut publisher = Publisher::new(folder(disk));
        let mut edge = Edge::default();
        for size in sizes {
            let old = edge.size();
            let entries = &log.0[old as usize..*size as usize];
            let mut tiles: Vec<_> = entries.iter().flat_map(|entry| edge.push(entry).unwrap()).collect();
            tiles.extend(edge.partial(old));
            publisher.tiles(&tiles)?;
            let signed = checkpoint(log, *size).sign(&SimSigner::new(1)).unwrap();
            publisher.checkpoint(CHECKPOINT, &signed)?;
        }
        Ok(())
    }

    pub(crate) fn published(log: &Naive, sizes: &[u64]) -> SimDisk {
        let disk = SimDisk::new(1);
        publish(&disk, log, sizes).unwrap();
        disk
    }

    pub(crate) fn view(disk: &SimDisk, log: &Naive, size: u64) -> Result<View, FolderFault> {
        View::open(folder(disk), &checkpoint(log, size))
    }

    #[test]
    fn entries_hashes_and_proofs_are_read_back_at_every_size_that_was_published() {
        let log = Naive::of(1000);
        let sizes = [0, 1, 3, 255, 256, 257, 512, 700, 999, 1000];
        let disk = published(&log, &sizes);
        for size in sizes {
            let mut view = view(&disk, &log, size).unwrap();
            let entries: Vec<_> = view.entries(0..size).collect::<Result<_, _>>().unwrap();
            assert_eq!(entries, log.0[..size as usize]);
            assert_eq!(root(&mut view, size), Ok(log.root(size)));
            assert_eq!(view.entry(size).unwrap_err().flaw, Flaw::Beyond);
            for index in (0..size).step_by(97).chain(size.checked_sub(1)) {
                let proof = inclusion(&mut view, index, size).unwrap();
                let leaf = leaf_hash(&view.entry(index).unwrap());
                assert_eq!(verify_inclusion(&leaf, index, size, &proof, &log.root(size)), Ok(()), "{index} of {size}");
                let proof = consistency(&mut view, index, size).unwrap();
                let trees = ((index, &log.root(index)), (size, &log.root(size)));
                assert_eq!(verify_consistency(trees.0, trees.1, &proof), Ok(()), "{index} to {size}");
            }
        }
    }

    #[test]
    fn a_range_of_entries_begins_and_ends_anywhere() {
        let log = Naive::of(600);
        let disk = published(&log, &[600]);
        let mut view = view(&disk, &log, 600).unwrap();
        for range in [0..0, 0..1, 255..257, 100..600, 512..599, 599..600] {
            let entries: Vec<_> = view.entries(range.clone()).collect::<Result<_, _>>().unwrap();
            assert_eq!(entries, log.0[range.start as usize..range.end as usize], "{range:?}");
        }
        let read: Vec<_> = view.entries(598..602).map(|entry| entry.map_err(|fault| fault.flaw)).collect();
        assert_eq!(read, [Ok(log.0[598].clone()), Ok(log.0[599].clone()), Err(Flaw::Beyond)]);
    }

    #[test]
    fn writing_goes_on_where_another_program_ended() {
        let log = Naive::of(700);
        for first in [0, 1, 255, 256, 300, 512] {
            let (disk, whole) = (published(&log, &[first]), published(&log, &[first, 700]));
            let mut edge = view(&disk, &log, first).unwrap().edge().unwrap();
            let mut tiles: Vec<_> =
                log.0[first as usize..].iter().flat_map(|entry| edge.push(entry).unwrap()).collect();
            tiles.extend(edge.partial(first));
            Publisher::new(folder(&disk)).tiles(&tiles).unwrap();
            for path in whole.paths().iter().filter(|path| !path.ends_with(CHECKPOINT)) {
                assert_eq!(disk.content(path), whole.content(path), "{}", path.display());
            }
            assert_eq!(edge.root(), log.root(700));
        }
    }

    #[test]
    fn the_tiles_above_say_what_a_full_tile_holds_before_it_is_there() {
        let log = Naive::of(600);
        let whole = published(&log, &[600]);
        let disk = published(&log, &[600]);
        let full: Vec<_> = tiles_between(0, 600).filter(Tile::is_full).collect();
        assert_eq!(full.len(), 4);
        for tile in &full {
            disk.remove(&Path::new(DIR).join(tile.to_string())).unwrap();
        }
        let mut view = view(&disk, &log, 600).unwrap();
        for tile in full {
            let mut bytes = whole.content(&Path::new(DIR).join(tile.to_string())).unwrap();
            let expected = view.root_of(tile).unwrap();
            assert_eq!(root_in(tile.kind(), &bytes), Some(expected), "{tile}");
            bytes[40] ^= 1;
            assert_ne!(root_in(tile.kind(), &bytes), Some(expected), "{tile}");
            bytes.pop();
            assert_eq!(root_in(tile.kind(), &bytes), None, "{tile}");
        }
    }

    #[test]
    fn a_log_that_grew_published_what_was_not_full_before() {
        let log = Naive::of(600);
        let disk = published(&log, &[300, 600]);
        let paths = |old| -> Vec<(String, bool)> {
            let published = folder(&disk).published_since(old).unwrap().unwrap();
            assert_eq!(published.size, 600);
            published.files.into_iter().map(|file| (file.path, file.bytes.is_some())).collect()
        };
        let full: Vec<String> = paths(300).into_iter().filter(|(_, read)| !read).map(|(path, _)| path).collect();
        assert_eq!(full, ["tile/entries/001", "tile/0/001"]);
        let read = |old| paths(old).into_iter().filter(|(_, read)| *read).collect::<Vec<_>>();
        assert_eq!(read(0), read(600));
        assert_eq!(read(0).len(), 4, "the checkpoint, entries, and hashes of two levels");
        assert_eq!(folder(&SimDisk::new(1)).published_since(0).unwrap(), None);
    }

    #[test]
    fn a_full_tile_serves_where_its_partial_form_is_gone() {
        let log = Naive::of(600);
        let disk = published(&log, &[100, 600]);
        let publisher = Publisher::new(folder(&disk));
        for kind in [Kind::Entries, Kind::Hashes(0)] {
            publisher.remove_partials(&Tile::in_log(kind, 0, 100).unwrap()).unwrap();
        }
        assert!(!disk.paths().iter().any(|path| path.ends_with("tile/0/000.p/100")));
        let mut view = view(&disk, &log, 100).unwrap();
        assert_eq!(view.entries(0..100).collect::<Result<Vec<_>, _>>().unwrap(), log.0[..100]);
    }

    #[test]
    fn no_altered_byte_of_a_tile_or_bundle_is_handed_out() {
        let log = Naive::of(600);
        let disk = published(&log, &[600]);
        let tiles: Vec<_> = disk.paths().into_iter().filter(|path| !path.ends_with(CHECKPOINT)).collect();
        assert_eq!(tiles.len(), 7);
        for path in tiles {
            let last = disk.content(&path).unwrap().len() - 1;
            for at in [0, 1, 33, last] {
                disk.tamper(&path, |bytes| bytes[at] ^= 4);
                let read =
                    view(&disk, &log, 600).and_then(|mut view| view.entries(0..600).collect::<Result<Vec<_>, _>>());
                let fault = read.unwrap_err();
                let is_named = path.ends_with(&fault.path) && fault.bytes.contains(&(at as u64));
                let is_edge = fault.path == CHECKPOINT && path.to_string_lossy().contains(".p/");
                // A length of a bundle is found by what is read as the entry behind it.
                let is_bundle = path.ends_with(&fault.path) && path.to_string_lossy().contains("entries");
                assert!(is_named || is_edge || is_bundle, "{} at {at}: {fault:?}", path.display());
                disk.tamper(&path, |bytes| bytes[at] ^= 4);
            }
            for change in
                [|bytes: &mut Vec<u8>| bytes.push(0), |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1), Vec::clear]
            {
                let before = disk.content(&path).unwrap();
                disk.tamper(&path, change);
                let read =
                    view(&disk, &log, 600).and_then(|mut view| view.entries(0..600).collect::<Result<Vec<_>, _>>());
                assert!(path.ends_with(read.unwrap_err().path), "{}", path.display());
                disk.tamper(&path, |bytes| *bytes = before);
            }
        }
        assert!(view(&disk, &log, 600).unwrap().entries(0..600).all(|entry| entry.is_ok()));
    }
}

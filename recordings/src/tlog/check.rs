//! Checks all of a log's folder: the checkpoint, every tile, every bundle, every byte. What is wrong is named as narrowly as
//! what is right allows; what lies there besides is told.

use std::collections::BTreeMap;

use certs::log_key::Verifier;

use super::checkpoint::{BadCheckpoint, SignedCheckpoint};
use super::edge::Edge;
use super::folder::{CHECKPOINT, Flaw, Folder, FolderFault, View};
use super::note::NOTE_BYTES_MAX;
use super::publish::DRAFT;
use super::tile::{BUNDLE_BYTES_MAX, Kind, LEVELS, Tile, parse_bundle};

/// A log whose folder is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Its checkpoint.
    pub signed: SignedCheckpoint,
    /// What lies beside its tiles.
    pub others: Vec<Other>,
}

/// A file among the tiles that is none of the log as of its checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Where, below the log's folder.
    pub path: String,
    /// What it is.
    pub kind: OtherKind,
}

/// Why a file lies among the tiles that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherKind {
    /// A program died while it wrote it.
    Draft,
    /// It reaches beyond the checkpoint: a program died before it had signed the next one. As far as the checkpoint
    /// reaches, its bytes are right.
    Beyond,
    /// No log puts this there.
    Unknown,
}

/// Checks a log's folder completely, by the keys of the log.
pub fn check_folder(folder: &Folder, verifiers: &[Verifier]) -> Result<Checked, FolderFault> {
    let signed = read_checkpoint(folder, verifiers)?;
    let checkpoint = signed.checkpoint();
    let mut check = Check::new(folder, checkpoint.size)?;
    // What is malformed may be so because of something before it, which only the hashes show.
    let edge = check.read_all().map_err(|fault| by_the_tiles(folder, &signed).unwrap_or(fault))?;
    let fault = match (edge.root() == checkpoint.root, check.disagreement.take()) {
        (true, None) => return Ok(Checked { others: check.others(), signed }),
        // The bundles are right, so the tile is wrong.
        (true, Some(fault)) => fault,
        (false, fault) => by_the_tiles(folder, &signed).or(fault).unwrap_or_else(|| {
            FolderFault::new(&CHECKPOINT, 0..0, Flaw::Altered("has another root than tiles and bundles, which agree"))
        }),
    };
    Err(fault)
}

fn read_checkpoint(folder: &Folder, verifiers: &[Verifier]) -> Result<SignedCheckpoint, FolderFault> {
    let bytes = folder.read_file(CHECKPOINT, NOTE_BYTES_MAX as u64)?;
    let wrong = |why| FolderFault::new(&CHECKPOINT, 0..bytes.len() as u64, Flaw::Checkpoint(why));
    let signed = SignedCheckpoint::open(&bytes, verifiers).map_err(wrong)?;
    // Our logs write no line that extends it.
    if signed.note().text() == signed.checkpoint().to_string() { Ok(signed) } else { Err(wrong(BadCheckpoint::Text)) }
}

/// The first fault where the bundles have another root than the checkpoint, and the tiles have its root.
fn by_the_tiles(folder: &Folder, signed: &SignedCheckpoint) -> Option<FolderFault> {
    let mut view = View::open(folder.clone(), signed.checkpoint()).ok()?;
    let size = view.size();
    view.entries(0..size).find_map(Result::err)
}

/// Files among the tiles that no log of this size has: made for one that went further, or not finished.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn beyond(folder: &Folder, size: u64) -> Result<Vec<String>, FolderFault> {
    let check = Check::new(folder, size)?;
    let is_beyond =
        |tile: &Tile| Tile::in_log(tile.kind(), tile.index(), size).is_none_or(|ours| ours.width() < tile.width());
    let tiles = check.files.into_values().flatten().filter(is_beyond).map(|tile| tile.to_string());
    let drafts = check.others.into_iter().filter(|other| other.kind == OtherKind::Draft).map(|other| other.path);
    Ok(tiles.chain(drafts).collect())
}

struct Check<'a> {
    folder: &'a Folder,
    size: u64,
    /// Every tile file there is, by what it is a form of.
    files: BTreeMap<(Kind, u64), Vec<Tile>>,
    others: Vec<Other>,
    /// The first place where a tile is not what follows from the bundles.
    disagreement: Option<FolderFault>,
}

impl<'a> Check<'a> {
    fn new(folder: &'a Folder, size: u64) -> Result<Self, FolderFault> {
        let mut check = Self { folder, size, files: BTreeMap::new(), others: Vec::new(), disagreement: None };
        check.list("tile", 0)?;
        Ok(check)
    }

    /// Takes down what lies in a folder. Groups of digits make no more than seven folders inside each other.
    fn list(&mut self, folder: &str, depth: u8) -> Result<(), FolderFault> {
        let names = self.folder.disk.list(&self.folder.dir.join(folder));
        let unreadable = |error: std::io::Error| FolderFault::new(&folder, 0..0, Flaw::Unreadable(error.to_string()));
        for name in names.map_err(unreadable)? {
            let path = format!("{folder}/{name}");
            let kind = match Tile::parse(&path) {
                Some(tile) => {
                    self.files.entry((tile.kind(), tile.index())).or_default().push(tile);
                    continue;
                }
                None if depth < 10 && is_folder(&name, depth) => {
                    self.list(&path, depth + 1)?;
                    continue;
                }
                None if path.strip_suffix(DRAFT).and_then(Tile::parse).is_some() => OtherKind::Draft,
                None => OtherKind::Unknown,
            };
            self.others.push(Other { path, kind });
        }
        Ok(())
    }

    /// Reads every bundle, and compares every tile with what follows from them.
    fn read_all(&mut self) -> Result<Edge, FolderFault> {
        let mut edge = Edge::default();
        for index in 0.. {
            let Some(tile) = Tile::in_log(Kind::Entries, index, self.size) else { break };
            let (read, bytes) = self.folder.read(tile)?;
            let entries = parse_bundle(&bytes, read.width()).map_err(|bad| {
                let rest = bad.at..bytes.len() as u64;
                FolderFault::new(&read, rest, Flaw::Altered(bad.words))
            })?;
            let ends: Vec<u64> = entries.iter().map(|(at, entry)| at + entry.len() as u64).collect();
            self.compare(tile, &bytes, |width| ends.get(usize::from(width) - 1).copied())?;
            for (_, entry) in entries.iter().take(usize::from(tile.width())) {
                for (tile, hashes) in edge.push(entry).expect("it was in a bundle") {
                    self.compare_hashes(tile, &hashes)?;
                }
            }
        }
        for (tile, hashes) in edge.partial(0) {
            self.compare_hashes(tile, &hashes)?;
        }
        Ok(edge)
    }

    fn compare_hashes(&mut self, tile: Tile, hashes: &[u8]) -> Result<(), FolderFault> {
        if tile.kind() == Kind::Entries {
            return Ok(());
        }
        // Whether it is there at all, in its own width or in a larger one.
        self.folder.read(tile)?;
        self.compare(tile, hashes, |width| Some(32 * u64::from(width)))
    }

    /// Compares every file of this tile, of whatever width, with what is right; `end_of` says where so many entries end.
    fn compare(&mut self, tile: Tile, right: &[u8], end_of: impl Fn(u16) -> Option<u64>) -> Result<(), FolderFault> {
        for file in self.files.remove(&(tile.kind(), tile.index())).unwrap_or_default() {
            let width = file.width();
            let bytes = self.folder.read_file(&file.to_string(), BUNDLE_BYTES_MAX)?;
            let end = end_of(width.min(tile.width())).unwrap_or(right.len() as u64) as usize;
            let known = &right[..end.min(right.len())];
            let is_beyond = width > tile.width();
            if bytes.len() < known.len() || (bytes.len() > known.len() && !is_beyond) {
                let (shorter, longer) = (bytes.len().min(known.len()), bytes.len().max(known.len()));
                let flaw = Flaw::Altered("has another length than what stands in it");
                return Err(FolderFault::new(&file, shorter as u64..longer as u64, flaw));
            }
            if is_beyond {
                self.others.push(Other { path: file.to_string(), kind: OtherKind::Beyond });
            }
            if let Some(at) = bytes.iter().zip(known).position(|(found, right)| found != right) {
                let flaw = Flaw::Altered("is not what follows from the entries");
                let fault = FolderFault::new(&file, at as u64..(at as u64 / 32 + 1) * 32, flaw);
                self.disagreement.get_or_insert(fault);
            }
        }
        Ok(())
    }

    /// Everything that was not compared is beyond the checkpoint.
    fn others(mut self) -> Vec<Other> {
        let beyond = self.files.into_values().flatten();
        self.others.extend(beyond.map(|tile| Other { path: tile.to_string(), kind: OtherKind::Beyond }));
        self.others
    }
}

/// Whether a name in a folder of tiles is that of a folder of tiles.
fn is_folder(name: &str, depth: u8) -> bool {
    let is_three = |digits: &str| digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if depth == 0 {
        return name == "entries" || name.parse().is_ok_and(|level: u8| level < LEVELS && level.to_string() == name);
    }
    name.strip_prefix('x').is_some_and(is_three) || name.strip_suffix(".p").is_some_and(is_three)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::disk::Disk as _;
    use crate::log::Signer as _;
    use crate::sim::{Fault, SimDisk, SimSigner};
    use crate::tlog::folder::tests::{DIR, folder, publish, published};
    use crate::tlog::proof::tests::Naive;
    use crate::tlog::publish::Publisher;

    fn check(disk: &SimDisk) -> Result<Checked, FolderFault> {
        check_folder(&folder(disk), &[SimSigner::new(1).verifier("mill3").unwrap()])
    }

    #[test]
    fn a_log_that_nobody_touched_is_whole_at_every_size() {
        let log = Naive::of(700);
        for sizes in [vec![0], vec![1], vec![0, 3, 255, 256], vec![300, 512, 513], vec![1, 100, 256, 600, 700]] {
            let checked = check(&published(&log, &sizes)).unwrap();
            assert_eq!(checked.signed.checkpoint().size, *sizes.last().unwrap());
            assert_eq!(checked.others, []);
        }
    }

    fn tiles(disk: &SimDisk) -> Vec<PathBuf> {
        disk.paths().into_iter().filter(|path| !path.ends_with(CHECKPOINT)).collect()
    }

    fn is_of(fault: &FolderFault, path: &Path) -> bool {
        path == Path::new(DIR).join(&fault.path)
    }

    fn flip_and_find(disk: &SimDisk, path: &Path, at: usize, bit: u8) {
        disk.tamper(path, |bytes| bytes[at] ^= 1 << bit);
        let fault = check(disk).unwrap_err();
        let is_found = is_of(&fault, path) && fault.bytes.contains(&(at as u64));
        assert!(is_found, "{} at {at}.{bit}: {fault:?}", path.display());
        disk.tamper(path, |bytes| bytes[at] ^= 1 << bit);
    }

    #[test]
    fn every_bit_of_a_small_log_is_found_where_it_was_flipped() {
        let disk = published(&Naive::of(9), &[4, 9]);
        for path in disk.paths() {
            for at in 0..disk.content(&path).unwrap().len() {
                (0..8).for_each(|bit| flip_and_find(&disk, &path, at, bit));
            }
        }
        assert!(check(&disk).is_ok());
    }

    #[test]
    fn bytes_of_a_larger_log_are_found_where_they_were_changed() {
        let disk = published(&Naive::of(600), &[200, 600]);
        assert_eq!(tiles(&disk).len(), 9);
        for path in tiles(&disk) {
            let length = disk.content(&path).unwrap().len();
            (0..length).step_by(length / 23 + 1).chain([length - 1]).for_each(|at| flip_and_find(&disk, &path, at, 5));
        }
        assert!(check(&disk).is_ok());
    }

    #[test]
    fn what_is_missing_cut_lengthened_or_exchanged_is_named() {
        let log = Naive::of(600);
        let disk = published(&log, &[600]);
        for path in disk.paths() {
            let whole = disk.content(&path).unwrap();
            let cuts: [fn(&mut Vec<u8>); 4] = [
                |bytes| bytes.push(0),
                |bytes| bytes.truncate(bytes.len() - 1),
                Vec::clear,
                |bytes| bytes.rotate_left(32),
            ];
            for cut in cuts {
                disk.tamper(&path, cut);
                let fault = check(&disk).unwrap_err();
                assert!(is_of(&fault, &path), "{}: {fault:?}", path.display());
                disk.tamper(&path, |bytes| *bytes = whole.clone());
            }
            disk.remove(&path).unwrap();
            let fault = check(&disk).unwrap_err();
            assert!(is_of(&fault, &path) && fault.flaw == Flaw::Missing, "{}: {fault:?}", path.display());
            disk.create(&path).unwrap().write_at(&whole, 0).unwrap();
        }
        let [one, two] = ["tile/entries/000", "tile/entries/001"].map(|name| Path::new(DIR).join(name));
        let (first, second) = (disk.content(&one).unwrap(), disk.content(&two).unwrap());
        disk.tamper(&one, |bytes| *bytes = second);
        disk.tamper(&two, |bytes| *bytes = first);
        assert!(is_of(&check(&disk).unwrap_err(), &one));
    }

    #[test]
    fn a_log_rewritten_with_its_tiles_is_found_by_its_checkpoint() {
        let (mut log, disk) = (Naive::of(300), published(&Naive::of(300), &[300]));
        log.0[7].push(b'!');
        let rewritten = published(&log, &[300]);
        for path in tiles(&disk) {
            disk.tamper(&path, |bytes| *bytes = rewritten.content(&path).unwrap());
        }
        let fault = check(&disk).unwrap_err();
        assert_eq!((fault.path.as_str(), matches!(fault.flaw, Flaw::Altered(_))), (CHECKPOINT, true));
    }

    #[test]
    fn a_checkpoint_by_a_stranger_or_with_more_in_it_is_refused() {
        let disk = published(&Naive::of(3), &[3]);
        let strangers = [SimSigner::new(2).verifier("mill3").unwrap()];
        assert!(matches!(check_folder(&folder(&disk), &strangers), Err(FolderFault { flaw: Flaw::Checkpoint(_), .. })));
        let extended = super::super::note::Note::sign(
            &format!("{}more\n", check(&disk).unwrap().signed.checkpoint()),
            "mill3",
            &SimSigner::new(1),
        );
        let extended = extended.unwrap().to_string().into_bytes();
        disk.tamper(&Path::new(DIR).join(CHECKPOINT), |bytes| *bytes = extended);
        assert_eq!(check(&disk).unwrap_err().flaw, Flaw::Checkpoint(BadCheckpoint::Text));
    }

    #[test]
    fn what_lies_beside_the_tiles_is_told_and_what_lies_there_of_an_older_size_is_compared() {
        let disk = published(&Naive::of(300), &[40, 300]);
        let (x, p) = (Path::new(DIR).join("tile/0/x001/readme"), Path::new(DIR).join("tile/entries/001.p/44.tmp"));
        for path in [&x, &p] {
            disk.create_dir(path.parent().unwrap()).unwrap();
            disk.create(path).unwrap();
        }
        let others = check(&disk).unwrap().others;
        let told: Vec<_> = others.iter().map(|other| (other.path.as_str(), other.kind)).collect();
        let expected = [("tile/0/x001/readme", OtherKind::Unknown), ("tile/entries/001.p/44.tmp", OtherKind::Draft)];
        assert_eq!(told, expected);
        for (name, at) in [("tile/entries/000.p/40", 100), ("tile/0/000.p/40", 1279)] {
            flip_and_find(&disk, &Path::new(DIR).join(name), at, 0);
        }
    }

    #[test]
    fn whatever_call_the_power_is_cut_at_what_is_left_is_not_accused() {
        let log = Naive::of(300);
        let sizes = [3, 255, 300];
        let mut beyond = 0;
        for call in 1..=published(&log, &sizes).calls() {
            let disk = SimDisk::new(call);
            disk.fail_call(call, Fault::PowerCut);
            publish(&disk, &log, &sizes).unwrap_err();
            match check(&disk.power_cut()) {
                Ok(checked) => {
                    assert!(
                        checked.others.iter().all(|other| other.kind != OtherKind::Unknown),
                        "{:?}",
                        checked.others
                    );
                    beyond += checked.others.iter().filter(|other| other.kind == OtherKind::Beyond).count();
                }
                Err(fault) => assert_eq!((fault.path.as_str(), fault.flaw), (CHECKPOINT, Flaw::Missing), "call {call}"),
            }
        }
        assert!(beyond > 0, "no cut left a tile that is not signed yet");
    }

    #[test]
    fn a_tile_beyond_the_checkpoint_is_compared_as_far_as_that_reaches() {
        let log = Naive::of(300);
        let disk = published(&log, &[250]);
        let mut edge = Edge::default();
        let mut full: Vec<_> = log.0.iter().flat_map(|entry| edge.push(entry).unwrap()).collect();
        full.extend(edge.partial(0));
        Publisher::new(folder(&disk)).tiles(&full).unwrap();
        let others = check(&disk).unwrap().others;
        assert!(others.iter().all(|other| other.kind == OtherKind::Beyond) && others.len() == 5, "{others:?}");
        flip_and_find(&disk, &Path::new(DIR).join("tile/0/000"), 100, 0);
    }
}

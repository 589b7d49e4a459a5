//! Tiles and entry bundles (<https://c2sp.org/tlog-tiles>): which there are in a log of some size, what they are called, and
//! what stands in them. Where they lie is `folder`'s business.

use std::fmt;

use super::proof::fold;
use super::{Hash, SIZE_MAX};
use crate::leaf::ENTRY_BYTES_MAX;
use crate::tree::{leaf_hash, node_hash};

/// Hashes of a full tile, and entries of a full bundle.
pub const WIDTH: u16 = 256;
/// Levels that can have tiles: 256⁸ entries are more than [`SIZE_MAX`].
pub const LEVELS: u8 = 8;
/// Bytes of the longest bundle.
pub const BUNDLE_BYTES_MAX: u64 = WIDTH as u64 * (2 + ENTRY_BYTES_MAX as u64);

/// What stands in a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The entries themselves: an entry bundle.
    Entries,
    /// Hashes over 256 to the power of this many leaves each.
    Hashes(u8),
}

impl Kind {
    /// All kinds of tile.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Entries).chain((0..LEVELS).map(Self::Hashes))
    }

    /// How many entries or hashes of this kind a log has.
    const fn count(self, size: u64) -> u64 {
        match self {
            Self::Entries => size,
            Self::Hashes(level) => size.unbounded_shr(8 * level as u32),
        }
    }
}

/// One file of a log: a tile of hashes or a bundle of entries, full or partial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    kind: Kind,
    index: u64,
    width: u16,
}

impl Tile {
    /// Tile number `index` of its kind in a log of `size` entries; none where that is empty.
    pub fn in_log(kind: Kind, index: u64, size: u64) -> Option<Self> {
        let from = index.checked_mul(u64::from(WIDTH))?;
        let width = kind.count(size).checked_sub(from)?.min(u64::from(WIDTH));
        (width > 0 && size <= SIZE_MAX).then_some(Self { kind, index, width: width as u16 })
    }

    /// What stands in it.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its number among those of its kind.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// How many entries or hashes stand in it: 1 to 256.
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Whether no more can come to stand in it.
    pub const fn is_full(&self) -> bool {
        self.width == WIDTH
    }

    /// The same tile, full.
    pub const fn full(self) -> Self {
        Self { width: WIDTH, ..self }
    }

    /// The same tile of another width.
    pub(super) const fn of_width(self, width: u16) -> Self {
        Self { width, ..self }
    }

    /// Reads a path. Each tile has one.
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match kind {
            "entries" => Kind::Entries,
            level => Kind::Hashes(level.parse().ok().filter(|level| *level < LEVELS)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok().filter(|width| (1..WIDTH).contains(width))?),
            None => (rest, WIDTH),
        };
        let digits: String = number.split('/').map(|group| group.trim_start_matches('x')).collect();
        let tile = Self { kind, index: digits.parse().ok()?, width };
        (tile.index <= SIZE_MAX / u64::from(WIDTH) && tile.to_string() == path).then_some(tile)
    }
}

/// The path below the log's folder or address.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Entries => f.write_str("tile/entries/")?,
            Kind::Hashes(level) => write!(f, "tile/{level}/")?,
        }
        write_number(self.index, f)?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

/// Groups of three digits, all but the last with an `x`: so no folder is ever named like a file.
fn write_number(index: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut groups = vec![index % 1000];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(rest % 1000);
        rest /= 1000;
    }
    groups[1..].iter().rev().try_for_each(|group| write!(f, "x{group:03}/"))?;
    write!(f, "{:03}", groups[0])
}

/// The tiles of a log of `new` entries that it did not have, or not as wide, with `old` of them.
pub fn tiles_between(old: u64, new: u64) -> impl Iterator<Item = Tile> {
    Kind::all().flat_map(move |kind| {
        let (had, has) = (kind.count(old), kind.count(new));
        let first = had / u64::from(WIDTH);
        let end = if has > had { has.div_ceil(u64::from(WIDTH)) } else { first };
        (first..end).filter_map(move |index| Tile::in_log(kind, index, new))
    })
}

/// The root over the hashes of a tile, or over some of them.
pub fn tile_root(hashes: &[Hash]) -> Option<Hash> {
    fold(&full_subtrees(hashes))
}

/// The roots of the full subtrees over these leaves, largest first.
pub(super) fn full_subtrees(hashes: &[Hash]) -> Vec<Hash> {
    let mut rest = hashes;
    let mut full = Vec::new();
    while let Some(levels) = rest.len().checked_ilog2() {
        let (subtree, behind) = rest.split_at(1 << levels);
        let mut nodes = subtree.to_vec();
        while nodes.len() > 1 {
            nodes = nodes.chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
        }
        full.extend(nodes);
        rest = behind;
    }
    full
}

/// A bundle that is none: where, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {words}")]
pub struct BadBundle {
    /// Where it stops being one.
    pub at: u64,
    /// Why.
    pub words: &'static str,
}

/// Puts an entry behind those of a bundle; refuses what is too long for one.
pub(super) fn put_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), EntryTooLong> {
    let length = u16::try_from(entry.len()).map_err(|_| EntryTooLong(entry.len()))?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// An entry that no bundle takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry of a log has at most {ENTRY_BYTES_MAX} bytes, and this one has {0}")]
pub struct EntryTooLong(pub usize);

/// The entries of a bundle of this width, each with its offset; all bytes belong to one of them.
pub fn parse_bundle(bytes: &[u8], width: u16) -> Result<Vec<(u64, &[u8])>, BadBundle> {
    bundle_entries(bytes, width).collect()
}

/// The same, one after the other; ends at what is wrong.
pub(super) fn bundle_entries(bytes: &[u8], width: u16) -> impl Iterator<Item = Result<(u64, &[u8]), BadBundle>> {
    let (mut rest, mut left) = (bytes, width);
    std::iter::from_fn(move || {
        let at = (bytes.len() - rest.len()) as u64;
        if left == 0 {
            let is_longer = !std::mem::take(&mut rest).is_empty();
            return is_longer.then_some(Err(BadBundle { at, words: "the bundle goes on behind its last entry" }));
        }
        left -= 1;
        let length = rest.split_first_chunk().map(|(length, _)| usize::from(u16::from_be_bytes(*length)));
        match length.and_then(|length| rest[2..].split_at_checked(length)) {
            Some((entry, behind)) => {
                rest = behind;
                Some(Ok((at + 2, entry)))
            }
            None => {
                (rest, left) = (&[], 0);
                Some(Err(BadBundle { at, words: "the bundle ends within an entry" }))
            }
        }
    })
}

/// The hashes of a tile; none where the bytes are no whole number of them.
pub fn parse_hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks();
    rest.is_empty().then(|| hashes.to_vec())
}

/// The root over what stands in a full tile, or over the entries of a full bundle; none where these bytes are neither.
pub fn root_in(kind: Kind, bytes: &[u8]) -> Option<Hash> {
    let hashes: Vec<Hash> = match kind {
        Kind::Hashes(_) => parse_hashes(bytes)?,
        Kind::Entries => bundle_entries(bytes, WIDTH)
            .map(|entry| entry.ok().map(|(_, entry)| leaf_hash(entry)))
            .collect::<Option<_>>()?,
    };
    tile_root(&hashes).filter(|_| hashes.len() == usize::from(WIDTH))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tlog::proof::tests::Naive;

    #[test]
    fn paths_are_those_of_the_specification() {
        let path = |kind, index, width| Tile { kind, index, width }.to_string();
        assert_eq!(path(Kind::Hashes(0), 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(path(Kind::Hashes(0), 0, 256), "tile/0/000");
        assert_eq!(path(Kind::Hashes(2), 5, 1), "tile/2/005.p/1");
        assert_eq!(path(Kind::Entries, 1000, 255), "tile/entries/x001/000.p/255");
    }

    #[test]
    fn a_path_has_one_spelling() {
        for path in [
            "",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/00",
            "tile/0/0000",
            "tile/00/000",
            "tile/+0/000",
            "tile/8/000",
            "tile/-1/000",
            "tile/data/000",
            "tile/0/x000/000",
            "tile/0/001/000",
            "tile/0/x001/x000",
            "tile/0/xx001/000",
            "tile/0/000.p/",
            "tile/0/000.p/0",
            "tile/0/000.p/01",
            "tile/0/000.p/256",
            "tile/0/000.p/1/",
            "tile/0/000.p/1.p/1",
            "tile/0/x999/x999/x999/x999/x999/x999/999",
            "/tile/0/000",
            "tile/0/../0/000",
        ] {
            assert_eq!(Tile::parse(path), None, "{path:?}");
        }
    }

    #[test]
    fn a_log_has_the_tiles_that_the_specification_counts() {
        let paths = |size| tiles_between(0, size).map(|tile| tile.to_string()).collect::<Vec<_>>();
        assert_eq!(paths(0), [""; 0]);
        assert_eq!(paths(1), ["tile/entries/000.p/1", "tile/0/000.p/1"]);
        assert_eq!(paths(256), ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
        let many = tiles_between(0, 70_000).filter(|tile| tile.kind() != Kind::Entries);
        let (full, partial): (Vec<_>, Vec<_>) = many.partition(Tile::is_full);
        let count = |level| full.iter().filter(|tile| tile.kind() == Kind::Hashes(level)).count();
        assert_eq!((count(0), count(1), full.len()), (273, 1, 274));
        let partial: Vec<_> = partial.iter().map(Tile::to_string).collect();
        assert_eq!(partial, ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
    }

    #[test]
    fn a_log_that_grows_writes_what_changed_and_nothing_else() {
        let paths = |old, new| tiles_between(old, new).map(|tile| tile.to_string()).collect::<Vec<_>>();
        assert_eq!(paths(5, 5), [""; 0]);
        assert_eq!(paths(600, 601), ["tile/entries/002.p/89", "tile/0/002.p/89"]);
        assert_eq!(
            paths(511, 513),
            ["tile/entries/001", "tile/entries/002.p/1", "tile/0/001", "tile/0/002.p/1", "tile/1/000.p/2"]
        );
        assert_eq!(tiles_between(0, SIZE_MAX).nth(5).map(|tile| tile.is_full()), Some(true));
    }

    #[test]
    fn a_bundle_is_read_to_its_last_byte() {
        let mut bundle = Vec::new();
        let longest = vec![7; ENTRY_BYTES_MAX];
        for entry in [b"".as_slice(), b"ab", &longest] {
            put_entry(&mut bundle, entry).unwrap();
        }
        assert_eq!(bundle[..6], [0, 0, 0, 2, b'a', b'b']);
        let entries = parse_bundle(&bundle, 3).unwrap();
        assert_eq!(entries, [(2, b"".as_slice()), (4, b"ab"), (8, &longest)]);
        assert_eq!(put_entry(&mut bundle, &[0; ENTRY_BYTES_MAX + 1]), Err(EntryTooLong(65_536)));
        let why = |bytes: &[u8], width| parse_bundle(bytes, width).unwrap_err();
        assert_eq!(why(&bundle, 2), BadBundle { at: 6, words: "the bundle goes on behind its last entry" });
        assert_eq!(why(&bundle, 4).at, bundle.len() as u64);
        assert_eq!(why(&bundle[..5], 3), BadBundle { at: 2, words: "the bundle ends within an entry" });
        assert_eq!(why(&[0], 1).at, 0);
    }

    #[test]
    fn a_tiles_root_is_that_of_the_definition() {
        let log = Naive::of(256);
        let leaves: Vec<Hash> = log.0.iter().map(|entry| crate::tree::leaf_hash(entry)).collect();
        for width in [1, 2, 3, 100, 255, 256] {
            assert_eq!(tile_root(&leaves[..width]), Some(log.root(width as u64)), "{width}");
        }
        assert_eq!(tile_root(&[]), None);
    }

    fn any_tile() -> impl Strategy<Value = Tile> {
        let kind = prop::sample::select(Kind::all().collect::<Vec<_>>());
        (kind, 0..=SIZE_MAX / 256, 1..=WIDTH).prop_map(|(kind, index, width)| Tile { kind, index, width })
    }

    proptest! {
        #[test]
        fn a_path_reads_back(tile in any_tile(), at: prop::sample::Index, with: char) {
            let path = tile.to_string();
            prop_assert_eq!(Tile::parse(&path), Some(tile));
            let at = at.index(path.len());
            let changed = format!("{}{with}{}", &path[..at], &path[at + 1..]);
            if let Some(tile) = Tile::parse(&changed) {
                prop_assert_eq!(tile.to_string(), changed);
            }
        }

        #[test]
        fn what_is_written_step_by_step_is_what_a_log_has(sizes in prop::collection::btree_set(0_u64..200_000, 1..5)) {
            let sizes: Vec<u64> = sizes.into_iter().collect();
            let mut written = std::collections::BTreeSet::new();
            let mut old = 0;
            for size in &sizes {
                written.extend(tiles_between(old, *size));
                old = *size;
            }
            for tile in tiles_between(0, old) {
                prop_assert!(written.contains(&tile), "{}", tile);
            }
        }

        #[test]
        fn no_bytes_make_the_parsers_panic(bytes: Vec<u8>, width: u16) {
            parse_hashes(&bytes);
            if let Ok(entries) = parse_bundle(&bytes, width) {
                let mut again = Vec::new();
                entries.iter().for_each(|(_, entry)| put_entry(&mut again, entry).unwrap());
                prop_assert_eq!(again, bytes);
            }
        }
    }
}

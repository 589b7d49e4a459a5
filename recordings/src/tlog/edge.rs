//! A log's right edge: what must be at hand to go on writing its tiles. At most 255 hashes of each level and the entries of
//! one bundle, whatever the log's size.

use sha2::{Digest as _, Sha256};

use super::Hash;
use super::proof::fold;
use super::tile::{EntryTooLong, Kind, LEVELS, Tile, WIDTH, full_subtrees, put_entry, tile_root};
use crate::tree::leaf_hash;

/// A log's right edge, and the file contents that follow from each entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edge {
    size: u64,
    /// The hashes of the partial tile of each level.
    levels: [Vec<Hash>; LEVELS as usize],
    /// The partial bundle.
    bundle: Vec<u8>,
}

/// A file of a log, and what stands in it.
pub type Content = (Tile, Vec<u8>);

impl Edge {
    /// The edge of a log of `size` entries, by its partial tiles and its partial bundle.
    pub(super) const fn new(size: u64, levels: [Vec<Hash>; LEVELS as usize], bundle: Vec<u8>) -> Self {
        Self { size, levels, bundle }
    }

    /// How many entries the log has.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root of their tree.
    pub fn root(&self) -> Hash {
        let full: Vec<Hash> = self.levels.iter().rev().flat_map(|hashes| full_subtrees(hashes)).collect();
        fold(&full).unwrap_or_else(|| Sha256::digest([]).into())
    }

    /// Adds an entry. What is full now is handed back: it never changes again.
    pub fn push(&mut self, entry: &[u8]) -> Result<Vec<Content>, EntryTooLong> {
        put_entry(&mut self.bundle, entry)?;
        self.size += 1;
        let mut full = Vec::new();
        if self.size.is_multiple_of(u64::from(WIDTH)) {
            full.push((self.last(Kind::Entries), std::mem::take(&mut self.bundle)));
        }
        let mut hash = leaf_hash(entry);
        for level in 0..LEVELS {
            let hashes = &mut self.levels[usize::from(level)];
            hashes.push(hash);
            if hashes.len() < usize::from(WIDTH) {
                break;
            }
            let hashes = std::mem::take(hashes);
            hash = tile_root(&hashes).expect("a full tile is not empty");
            full.push((self.last(Kind::Hashes(level)), hashes.concat()));
        }
        Ok(full)
    }

    /// The partial tiles and the partial bundle, but for those that a log of `since` entries had just so.
    pub fn partial(&self, since: u64) -> Vec<Content> {
        let changed =
            |kind| Some(self.last(kind)).filter(|tile| Tile::in_log(kind, tile.index(), since) != Some(*tile));
        let bundle = (!self.bundle.is_empty()).then(|| self.bundle.clone());
        let bundle = bundle.and_then(|bundle| Some((changed(Kind::Entries)?, bundle)));
        let levels = (0..LEVELS).zip(&self.levels).filter(|(_, hashes)| !hashes.is_empty());
        let levels = levels.filter_map(|(level, hashes)| Some((changed(Kind::Hashes(level))?, hashes.concat())));
        bundle.into_iter().chain(levels).collect()
    }

    /// The last tile of a kind that is not empty.
    fn last(&self, kind: Kind) -> Tile {
        let level = if let Kind::Hashes(level) = kind { level } else { 0 };
        let last = (self.size.unbounded_shr(8 * u32::from(level)) - 1) / u64::from(WIDTH);
        Tile::in_log(kind, last, self.size).expect("a log with entries has a last tile of each kind it has")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::tlog::proof::tests::Naive;
    use crate::tlog::tile::tiles_between;

    /// What must stand in a tile, by the definition.
    fn by_definition(log: &mut Naive, tile: &Tile) -> Vec<u8> {
        use crate::tlog::proof::Hashes as _;
        let first = tile.index() * 256;
        let all = first..first + u64::from(tile.width());
        match tile.kind() {
            Kind::Entries => {
                let entries = all.map(|n| &log.0[n as usize]);
                entries.flat_map(|entry| [&(entry.len() as u16).to_be_bytes(), entry.as_slice()].concat()).collect()
            }
            Kind::Hashes(level) => all.flat_map(|n| log.hash(8 * u32::from(level), n).unwrap()).collect(),
        }
    }

    fn grow(edge: &mut Edge, log: &Naive, to: u64) -> BTreeMap<Tile, Vec<u8>> {
        let old = edge.size();
        let entries = &log.0[old as usize..to as usize];
        let mut written: BTreeMap<_, _> = entries.iter().flat_map(|entry| edge.push(entry).unwrap()).collect();
        written.extend(edge.partial(old));
        written
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
        #[test]
        fn a_log_writes_as_it_grows_the_tiles_of_the_definition(
            sizes in prop::collection::btree_set(prop_oneof![0_u64..1200, (0_u64..4).prop_map(|n| n * 256)], 1..8),
        ) {
            let mut log = Naive::of(1200);
            let mut edge = Edge::default();
            for size in sizes {
                let old = edge.size();
                let written = grow(&mut edge, &log, size);
                let tiles: Vec<Tile> = written.keys().copied().collect();
                let mut expected: Vec<Tile> = tiles_between(old, size).collect();
                expected.sort();
                prop_assert_eq!(tiles, expected);
                for (tile, bytes) in written {
                    prop_assert_eq!(bytes, by_definition(&mut log, &tile), "{}", tile);
                }
                prop_assert_eq!(edge.root(), log.root(size));
            }
        }
    }

    #[test]
    fn a_third_level_begins_at_65_536_entries() {
        let mut edge = Edge::default();
        let mut tree = crate::tree::Tree::default();
        let mut full = BTreeMap::new();
        for n in 0..65_537_u32 {
            full.extend(edge.push(&n.to_be_bytes()).unwrap());
            tree.push(leaf_hash(&n.to_be_bytes()));
        }
        assert_eq!(edge.root(), tree.root());
        full.extend(edge.partial(0));
        let mut expected: Vec<Tile> = tiles_between(0, 65_537).collect();
        expected.sort();
        assert!(full.keys().eq(&expected));
        assert_eq!(full.keys().last().map(Tile::to_string), Some("tile/2/000.p/1".to_owned()));
    }
}

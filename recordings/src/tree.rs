//! The Merkle tree of RFC 6962 over a log's entries, kept as its right edge only: enough to append and to say the
//! root. Proofs need the tiles; see [`crate::tlog`].

use sha2::{Digest as _, Sha256};

/// A tree of some size, as the roots of the full subtrees along its right edge, largest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    size: u64,
    edge: Vec<[u8; 32]>,
}

impl Tree {
    /// A tree from its size and right edge; `None` where their numbers do not agree.
    pub fn from_edge(size: u64, edge: Vec<[u8; 32]>) -> Option<Self> {
        (edge.len() == size.count_ones() as usize).then_some(Self { size, edge })
    }

    /// The roots of the full subtrees along the right edge, largest first.
    pub fn edge(&self) -> &[[u8; 32]] {
        &self.edge
    }

    /// How many leaves there are.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: [u8; 32]) {
        let mut node = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self.edge.pop().expect("a tree has one edge node for each bit set in its size");
            node = node_hash(&left, &node);
        }
        self.edge.push(node);
        self.size += 1;
    }

    /// The root; of the empty tree, the hash of nothing.
    pub fn root(&self) -> [u8; 32] {
        let mut edge = self.edge.iter().rev();
        match edge.next() {
            None => Sha256::digest([]).into(),
            Some(last) => edge.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

/// The hash of an entry as a leaf: SHA-256(0x00 ‖ entry).
pub fn leaf_hash(entry: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

/// The hash of a node: SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962, 2.1, word for word.
    fn by_definition(leaves: &[Vec<u8>]) -> [u8; 32] {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => leaf_hash(one),
            many => {
                let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
                node_hash(&by_definition(left), &by_definition(right))
            }
        }
    }

    #[test]
    fn the_edge_gives_the_root_of_the_definition() {
        let leaves: Vec<Vec<u8>> = (0..70_u8).map(|n| vec![n; usize::from(n)]).collect();
        let mut tree = Tree::default();
        for size in 0..leaves.len() {
            assert_eq!(tree.root(), by_definition(&leaves[..size]), "{size}");
            assert_eq!(Tree::from_edge(tree.size(), tree.edge().to_vec()).as_ref(), Some(&tree));
            tree.push(leaf_hash(&leaves[size]));
        }
    }
}

//! Proofs (<https://c2sp.org/merkle-tree>, RFC 6962 and RFC 9162): that an entry is in a tree, and that a tree grew out of
//! another. They are built from the roots of full subtrees, wherever those are had, and checked with nothing at all.

use sha2::{Digest as _, Sha256};

use super::{Hash, SIZE_MAX};
use crate::tree::node_hash;

/// Where the hashes of a log are had.
pub trait Hashes {
    /// Why one is not to be had.
    type Fault;
    /// The root over the leaves from `index << level` to `(index + 1) << level`, all of which are in the log.
    fn hash(&mut self, level: u32, index: u64) -> Result<Hash, Self::Fault>;
}

/// Why a proof cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault<F> {
    /// There is no such entry or no such tree.
    #[error("there is nothing to prove: {0} is beyond the end of a log of {1} entries")]
    Beyond(u64, u64),
    /// A hash is not to be had.
    #[error(transparent)]
    Hashes(#[from] F),
}

/// A proof that proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotProved {
    /// The entry lies beyond the tree, or the old tree is larger than the new one.
    #[error("the proof is about something beyond the end of the log")]
    Beyond,
    /// More or fewer hashes than this proof has.
    #[error("the proof has too many or too few hashes")]
    Length,
    /// It leads to another root.
    #[error("the proof leads to another root")]
    OtherRoot,
}

/// The root of a tree of `size` leaves.
pub fn root<H: Hashes>(hashes: &mut H, size: u64) -> Result<Hash, H::Fault> {
    if size == 0 { Ok(Sha256::digest([]).into()) } else { range(hashes, 0, size) }
}

/// That entry `index` is in the tree of `size` leaves: hashes from the leaf's sibling up to the root's child.
pub fn inclusion<H: Hashes>(hashes: &mut H, index: u64, size: u64) -> Result<Vec<Hash>, ProofFault<H::Fault>> {
    if index >= size || size > SIZE_MAX {
        return Err(ProofFault::Beyond(index, size));
    }
    let mut siblings = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            siblings.push((middle, end));
            end = middle;
        } else {
            siblings.push((start, middle));
            start = middle;
        }
    }
    from_below(hashes, &siblings)
}

/// That the tree of `new` leaves grew out of that of `old`.
pub fn consistency<H: Hashes>(hashes: &mut H, old: u64, new: u64) -> Result<Vec<Hash>, ProofFault<H::Fault>> {
    if old > new || new > SIZE_MAX {
        return Err(ProofFault::Beyond(old, new));
    }
    if old == 0 {
        return Ok(Vec::new());
    }
    let mut siblings = Vec::new();
    let (mut start, mut end) = (0, new);
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            siblings.push((middle, end));
            end = middle;
        } else {
            siblings.push((start, middle));
            start = middle;
        }
    }
    // A verifier has the old root. Where that is no single node of the new tree, the proof begins with one that is.
    if start > 0 {
        siblings.push((start, end));
    }
    from_below(hashes, &siblings)
}

/// The largest power of two smaller than `leaves`, of which there are two at least.
const fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

fn from_below<H: Hashes>(hashes: &mut H, siblings: &[(u64, u64)]) -> Result<Vec<Hash>, ProofFault<H::Fault>> {
    siblings.iter().rev().map(|(start, end)| Ok(range(hashes, *start, *end)?)).collect()
}

/// The root over the leaves from `start`, which is a multiple of the power of two that is no smaller than their number.
fn range<H: Hashes>(hashes: &mut H, start: u64, end: u64) -> Result<Hash, H::Fault> {
    let mut full = Vec::new();
    let mut at = start;
    while at < end {
        let level = (end - at).ilog2();
        full.push(hashes.hash(level, at >> level)?);
        at += 1 << level;
    }
    Ok(fold(&full).expect("the range is not empty"))
}

/// One root over full subtrees, largest first.
pub(super) fn fold(full: &[Hash]) -> Option<Hash> {
    full.iter().copied().rev().reduce(|right, left| node_hash(&left, &right))
}

/// Checks that the entry with this hash is entry `index` of the tree.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> Result<(), NotProved> {
    if index >= size {
        return Err(NotProved::Beyond);
    }
    let mut path = Path { index, last: size - 1 };
    let mut hash = *leaf;
    for sibling in proof {
        hash = if path.is_right()? { node_hash(sibling, &hash) } else { node_hash(&hash, sibling) };
        path.up();
    }
    path.end()?;
    if hash == *root { Ok(()) } else { Err(NotProved::OtherRoot) }
}

/// Checks that the new tree grew out of the old one.
pub fn verify_consistency(
    (old, old_root): (u64, &Hash),
    (new, new_root): (u64, &Hash),
    proof: &[Hash],
) -> Result<(), NotProved> {
    if old > new {
        return Err(NotProved::Beyond);
    }
    if old == 0 || old == new {
        let is_same = old == 0 || old_root == new_root;
        return if !proof.is_empty() {
            Err(NotProved::Length)
        } else if is_same {
            Ok(())
        } else {
            Err(NotProved::OtherRoot)
        };
    }
    let (first, rest) = match proof {
        _ if old.is_power_of_two() => (old_root, proof),
        [first, rest @ ..] => (first, rest),
        [] => return Err(NotProved::Length),
    };
    let mut path = Path { index: old - 1, last: new - 1 };
    path.up_by(path.index.trailing_ones());
    let (mut before, mut after) = (*first, *first);
    for sibling in rest {
        if path.is_right()? {
            before = node_hash(sibling, &before);
            after = node_hash(sibling, &after);
        } else {
            after = node_hash(&after, sibling);
        }
        path.up();
    }
    path.end()?;
    if before == *old_root && after == *new_root { Ok(()) } else { Err(NotProved::OtherRoot) }
}

/// The way from a node to the root: its index among the nodes of its level, and that of the level's last node.
struct Path {
    index: u64,
    last: u64,
}

impl Path {
    /// Whether the sibling to come stands on the left.
    fn is_right(&mut self) -> Result<bool, NotProved> {
        if self.last == 0 {
            return Err(NotProved::Length);
        }
        let is_right = self.index & 1 == 1 || self.index == self.last;
        if is_right {
            // The last node of a level may have no sibling there; the next one on its way up that has, is a right one.
            self.up_by(self.index.trailing_zeros());
        }
        Ok(is_right)
    }

    const fn up(&mut self) {
        self.up_by(1);
    }

    const fn up_by(&mut self, levels: u32) {
        self.index = self.index.unbounded_shr(levels);
        self.last = self.last.unbounded_shr(levels);
    }

    const fn end(&self) -> Result<(), NotProved> {
        if self.last == 0 { Ok(()) } else { Err(NotProved::Length) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::convert::Infallible;

    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;
    use crate::tree::leaf_hash;

    /// A log in memory whose hashes follow RFC 6962, 2.1, word for word.
    pub(crate) struct Naive(pub(crate) Vec<Vec<u8>>);

    impl Naive {
        pub(crate) fn of(size: u64) -> Self {
            Self((0..size).map(|n| format!("entry {n}").into_bytes()).collect())
        }

        pub(crate) fn root(&self, size: u64) -> Hash {
            Self::mth(&self.0[..size as usize])
        }

        fn mth(entries: &[Vec<u8>]) -> Hash {
            match entries {
                [] => Sha256::digest([]).into(),
                [one] => leaf_hash(one),
                many => {
                    let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
                    node_hash(&Self::mth(left), &Self::mth(right))
                }
            }
        }

        /// PATH of RFC 6962, 2.1.1.
        fn path(index: usize, entries: &[Vec<u8>]) -> Vec<Hash> {
            if entries.len() == 1 {
                return Vec::new();
            }
            let (left, right) = entries.split_at(entries.len().next_power_of_two() / 2);
            let (mut path, sibling) = match index.checked_sub(left.len()) {
                None => (Self::path(index, left), right),
                Some(index) => (Self::path(index, right), left),
            };
            path.push(Self::mth(sibling));
            path
        }

        /// SUBPROOF of RFC 6962, 2.1.2.
        fn subproof(old: usize, entries: &[Vec<u8>], is_known: bool) -> Vec<Hash> {
            if old == entries.len() {
                return if is_known { Vec::new() } else { vec![Self::mth(entries)] };
            }
            let (left, right) = entries.split_at(entries.len().next_power_of_two() / 2);
            let (mut proof, sibling) = match old.checked_sub(left.len()).filter(|old| *old > 0) {
                None => (Self::subproof(old, left, is_known), right),
                Some(old) => (Self::subproof(old, right, false), left),
            };
            proof.push(Self::mth(sibling));
            proof
        }
    }

    impl Hashes for Naive {
        type Fault = Infallible;
        fn hash(&mut self, level: u32, index: u64) -> Result<Hash, Infallible> {
            let width = 1 << level;
            Ok(Self::mth(&self.0[index as usize * width..][..width]))
        }
    }

    #[test]
    fn proofs_of_every_entry_and_every_pair_of_sizes_are_those_of_the_definition_and_verify() {
        let mut log = Naive::of(33);
        let entries = log.0.clone();
        for size in 0..=33_u64 {
            let new_root = log.root(size);
            assert_eq!(root(&mut log, size), Ok(new_root));
            for index in 0..size {
                let proof = inclusion(&mut log, index, size).unwrap();
                assert_eq!(proof, Naive::path(index as usize, &entries[..size as usize]), "{index} of {size}");
                let leaf = leaf_hash(&entries[index as usize]);
                assert_eq!(verify_inclusion(&leaf, index, size, &proof, &new_root), Ok(()), "{index} of {size}");
            }
            for old in 0..=size {
                let proof = consistency(&mut log, old, size).unwrap();
                if old > 0 {
                    let expected = Naive::subproof(old as usize, &entries[..size as usize], true);
                    assert_eq!(proof, expected, "{old} to {size}");
                }
                let trees = ((old, &log.root(old)), (size, &new_root));
                assert_eq!(verify_consistency(trees.0, trees.1, &proof), Ok(()), "{old} to {size}");
            }
        }
        assert_eq!(inclusion(&mut log, 5, 5), Err(ProofFault::Beyond(5, 5)));
        assert_eq!(consistency(&mut log, 6, 5), Err(ProofFault::Beyond(6, 5)));
    }

    /// The entries that Certificate Transparency's own tests use.
    fn known() -> Naive {
        let entries = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"];
        let last = "606162636465666768696a6b6c6d6e6f";
        Naive(entries.into_iter().chain([last]).map(|hex| HEXLOWER.decode(hex.as_bytes()).unwrap()).collect())
    }

    fn hashes(hex: &[&str]) -> Vec<Hash> {
        hex.iter().map(|hex| HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()).collect()
    }

    #[test]
    fn known_answers_of_certificate_transparency_are_ours() {
        let mut log = known();
        let a = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
        let b = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
        let c = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
        let d = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
        let e = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
        let f = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7";
        let g = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
        let h = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        let i = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125";
        for (index, size, proof) in [
            (0, 1, &[] as &[&str]),
            (0, 2, &[a]),
            (1, 2, &[h]),
            (2, 3, &[i]),
            (1, 5, &[h, b, d]),
            (0, 8, &[a, b, c]),
            (5, 8, &[d, e, f]),
        ] {
            assert_eq!(inclusion(&mut log, index, size), Ok(hashes(proof)), "{index} of {size}");
        }
        for (old, new, proof) in [(1, 1, &[] as &[&str]), (1, 8, &[a, b, c]), (2, 5, &[b, d]), (6, 8, &[g, e, f])] {
            assert_eq!(consistency(&mut log, old, new), Ok(hashes(proof)), "{old} to {new}");
        }
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let eight = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328";
        assert_eq!([root(&mut log, 0).unwrap(), root(&mut log, 8).unwrap()].to_vec(), hashes(&[empty, eight]));
    }

    /// The proofs in the tests of a public witness, over trees that nobody could make up leaves for.
    #[test]
    fn consistency_proofs_of_another_log_verify() {
        let starred = |first| {
            let mut hash = [0; 32];
            hash[..2].copy_from_slice(&[0x2a, first]);
            hash
        };
        let to_three = "45c088d4d939e9971298811f227d1295eaad57bbafae55cd71c171e7de48c25d";
        let to_five = "42bb57ad06420afa4882c4a63ac6a1ec77480b330b2f20dfc53a0caa5f564e36";
        let middle = "f9f50357e93def4078237b8aaea24ce1a3f5965a0f64ff26bebd99e30470d8b2";
        let [three, five, middle] = hashes(&[to_three, to_five, middle])[..] else { unreachable!() };
        let one = starred(0);
        assert_eq!(verify_consistency((1, &one), (3, &three), &[starred(1), starred(2)]), Ok(()));
        assert_eq!(verify_consistency((1, &one), (5, &five), &[starred(1), middle, starred(4)]), Ok(()));
        let swapped = [middle, starred(1), starred(4)];
        assert_eq!(verify_consistency((1, &one), (5, &five), &swapped), Err(NotProved::OtherRoot));
    }

    fn changed(proof: &[Hash], at: usize, how: u8) -> Option<Vec<Hash>> {
        let mut changed = proof.to_vec();
        match how % 4 {
            0 => changed.get_mut(at)?[usize::from(how >> 3)] ^= 1 << (how & 7),
            1 => drop((at < proof.len()).then(|| changed.remove(at))?),
            2 => changed.insert(at.min(proof.len()), [how; 32]),
            _ => (at + 1 < proof.len()).then(|| changed.swap(at, at + 1))?,
        }
        (changed != proof).then_some(changed)
    }

    proptest! {
        #[test]
        fn no_changed_proof_and_no_other_place_is_believed(
            size in 1_u64..300, at: prop::sample::Index, other: prop::sample::Index, place in 0_usize..10, how: u8,
        ) {
            let mut log = Naive::of(size);
            let (index, new_root) = (at.index(size as usize) as u64, log.root(size));
            let leaf = leaf_hash(&log.0[index as usize]);
            let proof = inclusion(&mut log, index, size).unwrap();
            prop_assert_eq!(verify_inclusion(&leaf, index, size, &proof, &new_root), Ok(()));
            if let Some(changed) = changed(&proof, place, how) {
                prop_assert!(verify_inclusion(&leaf, index, size, &changed, &new_root).is_err());
            }
            let elsewhere = other.index(size as usize) as u64;
            prop_assert_eq!(verify_inclusion(&leaf, elsewhere, size, &proof, &new_root).is_ok(), elsewhere == index);
            let old = index + 1;
            let old_root = log.root(old);
            let proof = consistency(&mut log, old, size).unwrap();
            prop_assert_eq!(verify_consistency((old, &old_root), (size, &new_root), &proof), Ok(()));
            if let Some(changed) = changed(&proof, place, how) {
                prop_assert!(verify_consistency((old, &old_root), (size, &new_root), &changed).is_err());
            }
            prop_assert!(verify_consistency((old, &[how; 32]), (size, &new_root), &proof).is_err());
            prop_assert!(verify_consistency((old, &old_root), (size, &[how; 32]), &proof).is_err());
        }

        #[test]
        fn no_numbers_make_the_verifiers_panic(a: u64, b: u64, hashes in prop::collection::vec(any::<Hash>(), 0..70)) {
            verify_inclusion(&[0; 32], a, b, &hashes, &[0; 32]).ok();
            verify_consistency((a, &[0; 32]), (b, &[0; 32]), &hashes).ok();
        }
    }
}

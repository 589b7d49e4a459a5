//! Which parts of a file passed, and their hashes. Content is hashed as it passes; what comes out of order is kept for
//! a while, within a budget that all files of a channel share, so that the hash is one over the whole. What the bytes
//! mean, and whether they are all of the file, is decided by who adds them.

use std::collections::BTreeMap;

use policies::digest::Digest;
use recordings::ledger::{EXTENTS_MAX, Extent};
use sha2::{Digest as _, Sha256};

/// What one channel may keep to put content in order. OpenSSH asks for 64 pieces of 32 KiB at once, half of this.
const BUDGET_BYTES: usize = 4 << 20;

/// What one run may keep before it is hashed without what might belong before it: all that OpenSSH asks for at once, so
/// that a transfer that was taken up in the middle gives back its share of the budget.
const WAITING_BYTES_MAX: usize = 2 << 20;

/// What a run costs beside the bytes it keeps: its hash and its place in the map.
const RUN_BYTES: usize = 256;

/// What a channel's runs and the bytes they keep occupy.
#[derive(Debug, Default)]
pub(super) struct Budget {
    spent_bytes: usize,
}

impl Budget {
    fn allows(&self, bytes: usize) -> bool {
        self.spent_bytes + bytes <= BUDGET_BYTES
    }
}

/// The parts of one file that passed in one direction: runs by their offset, neither overlapping nor touching.
#[derive(Debug, Default)]
pub(super) struct Content {
    runs: BTreeMap<u64, Run>,
    more: bool,
}

#[derive(Debug)]
struct Run {
    until: u64,
    hash: Hash,
}

#[derive(Debug)]
enum Hash {
    /// Of everything in the run, which passed in order.
    Running(Box<Sha256>),
    /// Not begun: the bytes wait for what belongs before them.
    Waiting(Vec<u8>),
    /// Some of it passed twice, not at all, or in an order that could not be kept up with.
    Lost,
}

impl Content {
    /// Content passed. Bytes that pass a second time take the hash from the run they are in.
    pub(super) fn add(&mut self, offset: u64, data: &[u8], budget: &mut Budget) {
        let Some(until) = offset.checked_add(data.len() as u64).filter(|until| *until > offset) else {
            return;
        };
        if self.touched(offset, until).is_some() {
            return self.swallow(offset, until, budget);
        }
        let first = self.runs.is_empty();
        if let Some((_, run)) = self.runs.range_mut(..offset).next_back().filter(|(_, run)| run.until == offset) {
            run.extend(data, budget);
        } else if !first && (self.runs.len() >= EXTENTS_MAX || !budget.allows(RUN_BYTES)) {
            self.more = true;
            return;
        } else if (first && offset == 0) || !budget.allows(RUN_BYTES + data.len()) {
            self.insert(offset, until, Hash::begun(data), budget);
        } else {
            self.insert(offset, until, Hash::Waiting(data.to_vec()), budget);
        }
        self.join_at(until, budget);
    }

    /// These bytes did not pass after all.
    pub(super) fn remove(&mut self, offset: u64, bytes: u64, budget: &mut Budget) {
        let until = offset.saturating_add(bytes);
        if until == offset {
            return;
        }
        while let Some(from) = self.touched(offset, until) {
            let end = self.take_out(from, budget);
            for (from, until) in [(from, offset), (until, end)] {
                if from < until {
                    self.insert(from, until, Hash::Lost, budget);
                }
            }
        }
    }

    /// Where the file ends if it consists of what passed and of nothing else.
    pub(super) fn end(&self) -> Option<u64> {
        match self.runs.first_key_value() {
            _ if self.more => None,
            None => Some(0),
            Some((0, run)) if self.runs.len() == 1 => Some(run.until),
            Some(_) => None,
        }
    }

    /// The extents, and whether there were more. A whole file without a byte has one that is empty.
    pub(super) fn extents(mut self, whole: bool, budget: &mut Budget) -> (Vec<Extent>, bool) {
        let mut extents = Vec::with_capacity(self.runs.len());
        while let Some((from, run)) = self.runs.pop_first() {
            budget.spent_bytes -= run.cost_bytes();
            extents.push(Extent { from, until: run.until, sha256: run.hash.finish() });
        }
        if extents.is_empty() && whole {
            extents.push(Extent { from: 0, until: 0, sha256: Some(Digest::of_bytes(b"")) });
        }
        (extents, self.more)
    }

    /// The last run that shares a byte with `from..until`.
    fn touched(&self, from: u64, until: u64) -> Option<u64> {
        self.runs.range(..until).next_back().filter(|(_, run)| run.until > from).map(|(start, _)| *start)
    }

    /// One run without a hash in place of all that share or border on these bytes.
    fn swallow(&mut self, mut from: u64, mut until: u64, budget: &mut Budget) {
        while let Some((&start, run)) = self.runs.range(..=until).next_back()
            && run.until >= from
        {
            from = from.min(start);
            until = until.max(self.take_out(start, budget));
        }
        self.insert(from, until, Hash::Lost, budget);
    }

    /// Makes one of the runs that end and begin there.
    fn join_at(&mut self, border: u64, budget: &mut Budget) {
        if !self.runs.contains_key(&border) {
            return;
        }
        let Some((&from, _)) = self.runs.range(..border).next_back() else { return };
        let (Some(left), Some(right)) = (self.runs.remove(&from), self.runs.remove(&border)) else { return };
        budget.spent_bytes -= left.cost_bytes() + right.cost_bytes();
        self.insert(from, right.until, left.hash.followed_by(right.hash), budget);
    }

    fn insert(&mut self, from: u64, until: u64, hash: Hash, budget: &mut Budget) {
        let run = Run { until, hash };
        budget.spent_bytes += run.cost_bytes();
        self.runs.insert(from, run);
    }

    /// Removes a run and tells where it ended.
    fn take_out(&mut self, from: u64, budget: &mut Budget) -> u64 {
        let run = self.runs.remove(&from).expect("callers name a run they have just found");
        budget.spent_bytes -= run.cost_bytes();
        run.until
    }
}

impl Run {
    fn cost_bytes(&self) -> usize {
        match &self.hash {
            Hash::Waiting(bytes) => RUN_BYTES + bytes.len(),
            Hash::Running(_) | Hash::Lost => RUN_BYTES,
        }
    }

    fn extend(&mut self, data: &[u8], budget: &mut Budget) {
        budget.spent_bytes -= self.cost_bytes();
        self.until += data.len() as u64;
        match &mut self.hash {
            Hash::Running(hash) => hash.update(data),
            Hash::Waiting(bytes)
                if bytes.len() + data.len() <= WAITING_BYTES_MAX
                    && budget.allows(RUN_BYTES + bytes.len() + data.len()) =>
            {
                bytes.extend_from_slice(data);
            }
            Hash::Waiting(bytes) => self.hash = Hash::begun(bytes).followed_by(Hash::Waiting(data.to_vec())),
            Hash::Lost => {}
        }
        budget.spent_bytes += self.cost_bytes();
    }
}

impl Hash {
    fn begun(data: &[u8]) -> Self {
        Self::Running(Box::new(Sha256::new().chain_update(data)))
    }

    fn followed_by(self, next: Self) -> Self {
        match (self, next) {
            (Self::Running(mut hash), Self::Waiting(bytes)) => {
                hash.update(bytes);
                Self::Running(hash)
            }
            (Self::Waiting(mut bytes), Self::Waiting(more)) => {
                bytes.extend_from_slice(&more);
                Self::Waiting(bytes)
            }
            _ => Self::Lost,
        }
    }

    fn finish(self) -> Option<Digest> {
        match self {
            Self::Running(hash) => Some(Digest(hash.finalize().into())),
            Self::Waiting(bytes) => Some(Digest::of_bytes(&bytes)),
            Self::Lost => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(content: Content, budget: &mut Budget) -> Vec<Extent> {
        content.extents(false, budget).0
    }

    #[test]
    fn what_comes_out_of_order_is_hashed_in_order() {
        let (mut content, mut budget) = (Content::default(), Budget::default());
        for (offset, data) in [(0, "ab"), (4, "ef"), (6, "g"), (2, "cd")] {
            content.add(offset, data.as_bytes(), &mut budget);
        }
        assert_eq!(content.end(), Some(7));
        let whole = Extent { from: 0, until: 7, sha256: Some(Digest::of_bytes(b"abcdefg")) };
        assert_eq!(shown(content, &mut budget), [whole]);
        assert_eq!(budget.spent_bytes, 0);
    }

    #[test]
    fn bytes_that_pass_twice_have_no_hash() {
        let (mut content, mut budget) = (Content::default(), Budget::default());
        for (offset, data) in [(0, "abc"), (2, "xy")] {
            content.add(offset, data.as_bytes(), &mut budget);
        }
        assert_eq!(shown(content, &mut budget), [Extent { from: 0, until: 4, sha256: None }]);
    }

    #[test]
    fn more_disorder_than_can_be_kept_loses_hashes_not_bytes() {
        let (mut content, mut budget) = (Content::default(), Budget::default());
        let piece = vec![7; 1 << 20];
        content.add(0, &piece, &mut budget);
        for n in (2..9).rev() {
            content.add(n << 20, &piece, &mut budget);
        }
        content.add(1 << 20, &piece, &mut budget);
        assert!(budget.spent_bytes <= BUDGET_BYTES);
        assert_eq!(shown(content, &mut budget), [Extent { from: 0, until: 9 << 20, sha256: None }]);
        assert_eq!(budget.spent_bytes, 0);
    }

    #[test]
    fn extents_without_number_are_counted_as_more() {
        let (mut content, mut budget) = (Content::default(), Budget::default());
        (0..1000).for_each(|n| content.add(n * 2, b"x", &mut budget));
        assert_eq!(content.end(), None);
        let (extents, more) = content.extents(false, &mut budget);
        assert_eq!((extents.len(), more), (EXTENTS_MAX, true));
    }

    #[test]
    fn an_offset_at_the_end_of_numbers_adds_nothing() {
        let (mut content, mut budget) = (Content::default(), Budget::default());
        content.add(u64::MAX, b"ab", &mut budget);
        assert_eq!(shown(content, &mut budget), []);
    }

    proptest! {
        #[test]
        fn extents_are_those_of_a_map_of_bytes(
            steps in prop::collection::vec((any::<bool>(), 0_u64..60, prop::collection::vec(any::<u8>(), 0..9)), 0..40)
        ) {
            let (mut content, mut budget) = (Content::default(), Budget::default());
            let mut model = [None; 80];
            for (adds, offset, data) in steps {
                if adds {
                    content.add(offset, &data, &mut budget);
                } else {
                    content.remove(offset, data.len() as u64, &mut budget);
                }
                for (place, byte) in model[offset as usize..].iter_mut().zip(data) {
                    *place = adds.then_some(byte);
                }
            }
            let extents = shown(content, &mut budget);
            prop_assert_eq!(budget.spent_bytes, 0);
            let mut covered = [None; 80];
            for extent in &extents {
                let range = extent.from as usize..extent.until as usize;
                if let Some(hash) = extent.sha256 {
                    let bytes: Option<Vec<u8>> = model[range.clone()].iter().copied().collect();
                    prop_assert_eq!(Some(hash), bytes.map(|bytes| Digest::of_bytes(&bytes)));
                }
                covered[range.clone()].copy_from_slice(&model[range]);
                prop_assert!(covered[extent.from as usize..extent.until as usize].iter().all(Option::is_some));
            }
            prop_assert_eq!(covered, model);
            prop_assert!(extents.windows(2).all(|pair| pair[0].until < pair[1].from));
        }
    }
}

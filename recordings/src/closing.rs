//! When which open block is closed.

use std::collections::BTreeSet;

/// A block that is not full is closed at most so long after its first frame, so that a gate that is seized gives up no more
/// than that.
const BLOCK_NANOS: u64 = 5_000_000_000;

/// A block to be closed, the earliest first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Closing {
    due: u64,
    pub(crate) session: u64,
    pub(crate) block: u32,
}

/// Blocks that are open; those that were closed before their time, since they were full, stand there in vain.
#[derive(Default)]
pub(crate) struct Closings(BTreeSet<Closing>);

impl Closings {
    /// A block whose first frame is of this moment.
    pub(crate) fn add(&mut self, session: u64, block: u32, now: u64) {
        self.0.insert(Closing { due: now + until_beat(session, now), session, block });
    }

    /// When the next one is due.
    pub(crate) fn earliest(&self) -> Option<u64> {
        self.0.first().map(|closing| closing.due)
    }

    /// The next one that is due by now.
    pub(crate) fn take_due(&mut self, now: u64) -> Option<Closing> {
        self.0.first().filter(|closing| closing.due <= now)?;
        self.0.pop_first()
    }
}

/// How long until a session's next beat. Each has its own, so that sessions that began or printed in the same moment do not have
/// their blocks sealed in one moment too, while somebody's key waits for the disk.
pub(crate) fn until_beat(session: u64, now: u64) -> u64 {
    // Fibonacci hashing: neighbouring numbers lie far apart.
    let hash = session.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let beat = (u128::from(hash) * u128::from(BLOCK_NANOS)) >> u64::BITS;
    BLOCK_NANOS - (now % BLOCK_NANOS + BLOCK_NANOS - beat as u64) % BLOCK_NANOS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_block_is_closed_within_five_seconds_and_not_before_then(session: u64, now in 0..u64::MAX / 2) {
            let mut closings = Closings::default();
            closings.add(session, 7, now);
            let due = closings.earliest().expect("one was added");
            prop_assert!(now < due && due <= now + BLOCK_NANOS);
            prop_assert_eq!(closings.take_due(due - 1), None);
            prop_assert_eq!(closings.take_due(due), Some(Closing { due, session, block: 7 }));
            prop_assert_eq!(closings.earliest(), None);
        }

        /// Numbers of sessions are places in the log: neighbours, or with one or two other leaves between.
        #[test]
        fn a_hundred_sessions_of_one_moment_are_closed_all_over_the_five_seconds(
            first in 0..1_u64 << 40,
            step in 1..4_u64,
            now in 0..u64::MAX / 2,
        ) {
            let mut closings = Closings::default();
            (0..100).for_each(|index| closings.add(first + index * step, 0, now));
            for tenth in 1..=10 {
                let until = now + BLOCK_NANOS / 10 * tenth;
                let due = std::iter::from_fn(|| closings.take_due(until)).count();
                prop_assert!((5..=15).contains(&due), "{due} in one half second");
            }
        }
    }
}

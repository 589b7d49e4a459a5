//! How long requests waited for the yes that granted them. Counted as it happens, so that who asks walks through no past.

use jiff::SignedDuration;

/// The count of all that were granted, by how long they waited.
#[derive(Debug, Clone, Default)]
pub struct Answered {
    counts: [u64; Self::BOUNDS_SECONDS.len() + 1],
    seconds: f64,
}

impl Answered {
    /// Up to how many seconds each is counted: a minute, a coffee, a shift. Longer ones come last.
    pub const BOUNDS_SECONDS: [f64; 10] = [15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 3_600.0, 14_400.0, 43_200.0];

    /// How many waited no longer than each bound and longer than the one before, and how many longer than all.
    pub const fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// How many seconds they waited together.
    pub const fn seconds(&self) -> f64 {
        self.seconds
    }

    pub(crate) fn take(&mut self, waited: SignedDuration) {
        let waited = waited.as_secs_f64().max(0.0);
        self.counts[Self::BOUNDS_SECONDS.partition_point(|bound| *bound < waited)] += 1;
        self.seconds += waited;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_at_the_first_bound_that_it_does_not_exceed() {
        let mut answered = Answered::default();
        for seconds in [-1, 0, 15, 16, 43_200, 43_201] {
            answered.take(SignedDuration::from_secs(seconds));
        }
        assert_eq!(answered.counts(), [3, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert!((answered.seconds() - 86_432.0).abs() < 0.001);
    }
}

//! When something last happened: noted by whoever does it, read by whoever wants to know. It decides nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When something last happened, on the monotonic clock. Noting and reading it are one atomic step each.
#[derive(Debug)]
pub struct Moment {
    from: Instant,
    /// Since `from`, and one more, so that nought says never.
    nanos: AtomicU64,
}

impl Default for Moment {
    /// It never happened.
    fn default() -> Self {
        Self { from: Instant::now(), nanos: AtomicU64::new(0) }
    }
}

impl Moment {
    /// It happens now.
    pub fn note(&self) {
        let nanos = u64::try_from(self.from.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_max(nanos.saturating_add(1), Ordering::Relaxed);
    }

    /// When it last happened; `None` where it never did.
    pub fn at(&self) -> Option<Instant> {
        let nanos = self.nanos.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.from + Duration::from_nanos(nanos))
    }

    /// How long it has not happened: where it never did, since the value was made.
    pub fn silence(&self) -> Duration {
        self.at().unwrap_or(self.from).elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_has_no_moment_and_the_latest_stays() {
        let moment = Moment::default();
        assert_eq!(moment.at(), None);
        let before = Instant::now();
        moment.note();
        let first = moment.at().unwrap();
        assert!(first >= before && first <= Instant::now());
        moment.note();
        assert!(moment.at().unwrap() >= first);
        assert!(moment.silence() <= before.elapsed());
    }
}

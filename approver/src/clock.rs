//! Where time comes from: the wall clock for what people agreed on, and a clock that counts suspend and is never set
//! for how long something still lasts. Decisions take time as an argument; only this crate's shell and those above ask here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::time::ClockId;
use tokio::sync::watch;

/// A moment on `CLOCK_BOOTTIME`: since this machine's boot, suspend counted. Means nothing on another machine or after
/// a restart of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Boot(pub Duration);

impl Boot {
    /// How long after `earlier` this is; zero where it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment and `span` later.
    pub const fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// This moment moved by a span of either sign; the boot itself where it would lie before it.
    pub fn moved(self, span: SignedDuration) -> Self {
        match Duration::try_from(span) {
            Ok(forward) => self.after(forward),
            Err(_) => Self(self.0.saturating_sub(span.unsigned_abs())),
        }
    }
}

/// The machine's clocks, or in tests clocks that somebody turns. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Option<Arc<Turned>>);

struct Turned(watch::Sender<(Timestamp, Boot)>);

/// Tokio's timers stand still while the machine is suspended, so a sleeper looks at the clock this often: it wakes at
/// most so late after a suspend, and a thousand sleepers cost a thousandth of a core.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Clock {
    /// The machine's.
    pub const fn system() -> Self {
        Self(None)
    }

    /// A clock that stands until it is turned, for tests of this crate and those above.
    pub fn turned() -> (Self, Turn) {
        let start =
            (Timestamp::from_second(1_790_000_000).expect("a second of 2026"), Boot(Duration::from_secs(1_000)));
        let turned = Arc::new(Turned(watch::Sender::new(start)));
        (Self(Some(turned.clone())), Turn(turned))
    }

    /// What time it is for people. May be wrong, and may be set.
    pub fn wall(&self) -> Timestamp {
        self.0.as_ref().map_or_else(Timestamp::now, |turned| turned.0.borrow().0)
    }

    /// Now on the clock that counts suspend and is never set.
    pub fn boot(&self) -> Boot {
        self.0.as_ref().map_or_else(system_boot, |turned| turned.0.borrow().1)
    }

    /// Waits until `deadline`; at once where it is over.
    pub async fn sleep_until(&self, deadline: Boot) {
        match &self.0 {
            None => system_sleep(deadline).await,
            Some(turned) => {
                let waited = turned.0.subscribe().wait_for(|(_, boot)| *boot >= deadline).await.map(|_| ());
                debug_assert!(waited.is_ok(), "this clock holds the sender");
            }
        }
    }

    /// Waits for `span`, as [`sleep_until`](Self::sleep_until) does.
    pub async fn sleep(&self, span: Duration) {
        self.sleep_until(self.boot().after(span)).await;
    }
}

fn system_boot() -> Boot {
    let time = rustix::time::clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).expect("a machine's boot is not in its future");
    Boot(Duration::new(seconds, u32::try_from(time.tv_nsec).expect("a clock gives less than 10^9 nanoseconds")))
}

/// A timer of the kernel on this very clock would need either `unsafe` or a deprecated call of Tokio's.
async fn system_sleep(deadline: Boot) {
    loop {
        match deadline.since(system_boot()) {
            Duration::ZERO => return,
            left => tokio::time::sleep(left.min(LOOK_AGAIN)).await,
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_none() { "Clock(system)" } else { "Clock(turned)" })
    }
}

/// What turns a [`Clock::turned`].
#[derive(Clone)]
pub struct Turn(Arc<Turned>);

impl Turn {
    /// Time passes: both clocks go on.
    pub fn pass(&self, span: Duration) {
        self.boot(span);
        self.wall(SignedDuration::try_from(span).expect("a test's span fits"));
    }

    /// Somebody sets the wall clock, forward or back.
    pub fn wall(&self, by: SignedDuration) {
        self.0.0.send_modify(|(wall, _)| *wall += by);
    }

    /// The machine's own clock goes on alone, as it does where the wall clock was held back.
    pub fn boot(&self, by: Duration) {
        self.0.0.send_modify(|(_, boot)| *boot = boot.after(by));
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_machines_clock_wakes_a_sleeper_not_before_its_time() {
        let clock = Clock::system();
        let deadline = clock.boot().after(Duration::from_millis(30));
        clock.sleep_until(deadline).await;
        assert!(clock.boot() >= deadline);
        clock.sleep_until(Boot::default()).await;
    }

    #[tokio::test]
    async fn setting_the_wall_clock_wakes_nobody() {
        let (clock, turn) = Clock::turned();
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(60)).await }
        });
        turn.wall(SignedDuration::from_hours(9));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        turn.boot(Duration::from_secs(60));
        sleeper.await.unwrap();
    }
}

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
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System(Arc<System>),
    Turned(Arc<Turned>),
}

/// Tells sleepers that the machine was suspended: Tokio's timers stood still meanwhile.
struct System(watch::Sender<()>);

struct Turned(watch::Sender<(Timestamp, Boot)>);

/// How often somebody looks whether the machine was suspended: sleepers wake at most so late after it. One looks for
/// all, because a thousand that looked by themselves would cost more than the sessions they wait for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Less than this is the time between asking the one clock and the other.
const SUSPEND_MIN: Duration = Duration::from_millis(50);

impl Clock {
    /// The machine's.
    pub fn system() -> Self {
        Self(Source::System(Arc::new(System(watch::Sender::new(())))))
    }

    /// A clock that stands until it is turned, for tests of this crate and those above.
    pub fn turned() -> (Self, Turn) {
        let start =
            (Timestamp::from_second(1_790_000_000).expect("a second of 2026"), Boot(Duration::from_secs(1_000)));
        let turned = Arc::new(Turned(watch::Sender::new(start)));
        (Self(Source::Turned(turned.clone())), Turn(turned))
    }

    /// What time it is for people. May be wrong, and may be set.
    pub fn wall(&self) -> Timestamp {
        match &self.0 {
            Source::System(_) => Timestamp::now(),
            Source::Turned(turned) => turned.0.borrow().0,
        }
    }

    /// Now on the clock that counts suspend and is never set.
    pub fn boot(&self) -> Boot {
        match &self.0 {
            Source::System(_) => system_time(ClockId::Boottime),
            Source::Turned(turned) => turned.0.borrow().1,
        }
    }

    /// Waits until `deadline`; at once where it is over.
    pub async fn sleep_until(&self, deadline: Boot) {
        match &self.0 {
            Source::System(system) => system.sleep_until(deadline).await,
            Source::Turned(turned) => {
                let waited = turned.0.subscribe().wait_for(|(_, boot)| *boot >= deadline).await.map(|_| ());
                debug_assert!(waited.is_ok(), "this clock holds the sender");
            }
        }
    }

    /// Wakes sleepers whose time came while the machine was suspended. To run once, for as long as anybody sleeps by
    /// this clock or a clone of it.
    pub async fn watch_for_suspend(&self) {
        match &self.0 {
            Source::System(system) => system.watch_for_suspend().await,
            Source::Turned(_) => std::future::pending().await,
        }
    }

    /// Waits for `span`, as [`sleep_until`](Self::sleep_until) does.
    pub async fn sleep(&self, span: Duration) {
        self.sleep_until(self.boot().after(span)).await;
    }
}

impl System {
    /// A timer of the kernel on this very clock would need either `unsafe` or a deprecated call of Tokio's.
    async fn sleep_until(&self, deadline: Boot) {
        let mut resumed = self.0.subscribe();
        loop {
            match deadline.since(system_time(ClockId::Boottime)) {
                Duration::ZERO => return,
                left => tokio::select! {
                    () = tokio::time::sleep(left) => {}
                    woken = resumed.changed() => debug_assert!(woken.is_ok(), "this clock holds the sender"),
                },
            }
        }
    }

    async fn watch_for_suspend(&self) {
        let mut before = suspended();
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let now = suspended();
            if now.saturating_sub(before) > SUSPEND_MIN {
                self.0.send_replace(());
            }
            before = now;
        }
    }
}

/// How long this machine has been suspended since its boot.
fn suspended() -> Duration {
    let running = system_time(ClockId::Monotonic);
    system_time(ClockId::Boottime).since(running)
}

fn system_time(clock: ClockId) -> Boot {
    let time = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).expect("a machine's boot is not in its future");
    Boot(Duration::new(seconds, u32::try_from(time.tv_nsec).expect("a clock gives less than 10^9 nanoseconds")))
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System(_) => "Clock(system)",
            Source::Turned(_) => "Clock(turned)",
        })
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

    /// Tokio's clock stands while a blocking task runs, as it does while the machine is suspended.
    #[tokio::test(start_paused = true)]
    async fn a_sleeper_whose_time_came_during_a_suspend_is_woken() {
        let system = Arc::new(System(watch::Sender::new(())));
        let deadline = system_time(ClockId::Boottime).after(Duration::from_millis(30));
        let suspend = tokio::task::spawn_blocking({
            let system = system.clone();
            move || {
                while system_time(ClockId::Boottime) < deadline || system.0.receiver_count() == 0 {
                    std::thread::yield_now();
                }
                system.0.send_replace(());
            }
        });
        let before = tokio::time::Instant::now();
        system.sleep_until(deadline).await;
        assert_eq!(before.elapsed(), Duration::ZERO, "no timer woke it");
        suspend.await.unwrap();
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

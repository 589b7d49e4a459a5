//! How fast requests go to a service: one after the other, at even spaces, whoever sends them. Nothing is dropped; a request
//! waits for its turn, and only then it is judged, so that what was taken back meanwhile does not pass.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use policies::ids::{ServiceName, TargetName};
use tokio::time::Instant;

/// The paces of all services of this node. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Paces(Arc<Mutex<HashMap<(TargetName, ServiceName), Next>>>);

/// When the next request may go.
type Next = Arc<Mutex<Instant>>;

impl Paces {
    /// That of one service, which takes so many requests in a second.
    pub(super) fn of(&self, place: &(TargetName, ServiceName), per_second: NonZeroU32) -> Pace {
        let next = Arc::clone(lock(&self.0).entry(place.clone()).or_insert_with(|| Mutex::new(Instant::now()).into()));
        Pace { next, per_second }
    }
}

/// The pace of one service.
pub(crate) struct Pace {
    next: Next,
    per_second: NonZeroU32,
}

impl Pace {
    /// How many requests the service takes in a second.
    pub(super) const fn per_second(&self) -> NonZeroU32 {
        self.per_second
    }

    /// The next turn, and how long it is until then.
    pub(super) fn turn(&self) -> (Turn<'_>, Duration) {
        let (now, mut next) = (Instant::now(), lock(&self.next));
        let at = now.max(*next);
        *next = at + self.apart();
        (Turn { pace: self, after: *next, is_used: false }, at - now)
    }

    fn apart(&self) -> Duration {
        Duration::from_secs(1) / self.per_second.get()
    }
}

/// The right to let one request through.
pub(crate) struct Turn<'a> {
    pace: &'a Pace,
    /// When the turn behind it begins.
    after: Instant,
    is_used: bool,
}

impl Turn<'_> {
    /// So many requests went through.
    pub(super) fn used(mut self, requests: usize) {
        self.is_used = requests > 0;
        if let Some(more) = requests.checked_sub(1) {
            *lock(&self.pace.next) += self.pace.apart() * u32::try_from(more).unwrap_or(u32::MAX);
        }
    }
}

impl Drop for Turn<'_> {
    /// One that was not used is the next one's, unless somebody has a turn behind it already.
    fn drop(&mut self) {
        let mut next = lock(&self.pace.next);
        if !self.is_used && *next == self.after {
            *next -= self.pace.apart();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No change under these locks can stop halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(paces: &Paces) -> Pace {
        paces.of(&("plc-7".parse().unwrap(), "modbus".parse().unwrap()), NonZeroU32::new(10).unwrap())
    }

    const APART: Duration = Duration::from_millis(100);

    #[tokio::test(start_paused = true)]
    async fn all_connections_of_a_service_share_its_turns() {
        let paces = Paces::default();
        let (one, other) = (pace(&paces), pace(&paces));
        let turns = [one.turn(), other.turn(), one.turn()];
        assert_eq!(turns.each_ref().map(|(_, wait)| *wait), [Duration::ZERO, APART, 2 * APART]);
        turns.into_iter().for_each(|(turn, _)| turn.used(1));
        tokio::time::advance(Duration::from_secs(60)).await;
        let (late, wait) = one.turn();
        late.used(1);
        assert_eq!((wait, other.turn().1), (Duration::ZERO, APART), "nobody saves turns up");
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_nothing_came_of_is_the_next_ones() {
        let paces = Paces::default();
        let pace = pace(&paces);
        pace.turn().0.used(1);
        drop(pace.turn());
        pace.turn().0.used(0);
        let (turn, wait) = pace.turn();
        assert_eq!(wait, APART);
        turn.used(3);
        assert_eq!(pace.turn().1, 4 * APART, "each request that went through counts");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_moved_up_to_where_others_wait() {
        let paces = Paces::default();
        let pace = pace(&paces);
        let (unused, behind) = (pace.turn(), pace.turn());
        drop(unused);
        behind.0.used(1);
        assert_eq!(pace.turn().1, 2 * APART);
    }
}

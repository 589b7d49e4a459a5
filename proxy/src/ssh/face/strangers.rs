//! Those who have not signed in yet: how many there may be, in all and from one address, and how often an address has
//! failed of late. Whoever proves a person's key is a stranger no longer, and counts among that person's connections
//! until the code is given too.
//!
//! A full house turns away nobody: the stranger who has waited longest goes. So somebody who holds thousands of sockets
//! open keeps nobody out, since a technician's client proves a key in the first second.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use approver::clock::{Boot, Clock};
use approver::feed::counts::Counts;
use policies::ids::PersonId;
use tokio_util::sync::CancellationToken;

use crate::flow::Valve;

/// The strangers of one face.
pub(crate) struct Strangers {
    clock: Clock,
    /// Where failures are counted for the feed.
    counts: Counts,
    house: Mutex<House>,
}

#[derive(Default)]
struct House {
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    sources: BTreeMap<IpAddr, Failures>,
}

struct Waiting {
    source: IpAddr,
    /// What they speak SSH through, once they do.
    valve: Option<Arc<Valve>>,
    /// Whose key was proved, once one was: strangers have none.
    person: Option<PersonId>,
    turned_out: CancellationToken,
}

/// What an address got wrong within one minute.
struct Failures {
    since: Boot,
    count: u32,
}

/// The place of somebody who has not signed in; dropping it leaves.
pub(crate) struct Stranger {
    strangers: Arc<Strangers>,
    number: u64,
    source: IpAddr,
    turned_out: CancellationToken,
}

/// Strangers at once, from everywhere: each costs some 30 KiB while it is in its key exchange.
const WAITING_MAX: usize = 200;
/// Strangers at once from one address, behind which a whole company may stand.
const WAITING_FROM_ONE_MAX: usize = 40;
/// Connections of one person who has proved a key and no code: more than anybody types codes into, and few enough that one
/// vendor's key does not take all places for the minute that each may stay.
pub(super) const HALFWAY_MAX: usize = 20;
/// Addresses whose failures are remembered. Beyond it the oldest are forgotten: each is a minute's memory anyway.
const SOURCES_MAX: usize = 4096;
/// Failures count together for so long.
const MINUTE: Duration = Duration::from_secs(60);
/// Failures within a minute that cost nothing: an agent full of keys, a mistyped code.
const FREE_FAILURES: u32 = 10;
/// What each further one costs the address's next connections, and the most it can cost.
const SLOWER: Duration = Duration::from_millis(250);
const SLOWEST: Duration = Duration::from_secs(5);

impl Strangers {
    pub(super) fn new(clock: Clock, counts: Counts) -> Arc<Self> {
        Arc::new(Self { clock, counts, house: Mutex::default() })
    }

    /// Takes a place for a connection that was accepted just now, if need be the one of whoever has waited longest. Called
    /// in the order in which they came, or the last to come could be taken for the first.
    pub(crate) fn enter(self: &Arc<Self>, source: IpAddr) -> Stranger {
        let mut house = self.house();
        let is_stranger = |waiting: &Waiting| waiting.person.is_none();
        if house.count(|waiting| is_stranger(waiting) && waiting.source == source) >= WAITING_FROM_ONE_MAX {
            house.turn_out(|waiting| is_stranger(waiting) && waiting.source == source);
        } else if house.count(is_stranger) >= WAITING_MAX {
            house.turn_out(is_stranger);
        }
        let number = house.next;
        house.next += 1;
        let turned_out = CancellationToken::new();
        house.waiting.insert(number, Waiting { source, valve: None, person: None, turned_out: turned_out.clone() });
        Stranger { strangers: Arc::clone(self), number, source, turned_out }
    }

    /// All who have proved nobody's key go: whoever comes later may need the memory that they hold.
    pub(crate) fn turn_out_all(&self) {
        let mut house = self.house();
        while house.turn_out(|waiting| waiting.person.is_none()) {}
    }

    /// They speak SSH, through this.
    fn speaks_ssh(&self, number: u64, valve: Arc<Valve>) {
        match self.house().waiting.get_mut(&number) {
            Some(waiting) => waiting.valve = Some(valve),
            None => valve.cut(),
        }
    }

    /// Who came as a stranger has proved this person's key.
    fn is_known(&self, number: u64, person: PersonId) {
        let mut house = self.house();
        let halfway = |waiting: &Waiting| waiting.person == Some(person);
        if !house.waiting.get(&number).is_some_and(halfway) && house.count(halfway) >= HALFWAY_MAX {
            house.turn_out(halfway);
        }
        if let Some(waiting) = house.waiting.get_mut(&number) {
            waiting.person = Some(person);
        }
    }

    /// How long a new connection from here is kept waiting: slower with each failure, and never locked out.
    fn delay(&self, source: IpAddr) -> Duration {
        let now = self.clock.boot();
        let count = self.house().sources.get(&source).filter(|f| now.since(f.since) < MINUTE).map_or(0, |f| f.count);
        (SLOWER * count.saturating_sub(FREE_FAILURES)).min(SLOWEST)
    }

    /// Somebody from here failed. Of each address the log has one line a minute: the first failure, and once that
    /// minute is over how many there were.
    pub(crate) fn failed(&self, source: IpAddr, how: &'static str) {
        self.failed_because(source, how, &"");
    }

    /// The same, with what the log alone is told: somebody outside may have chosen it.
    pub(crate) fn failed_because(&self, source: IpAddr, how: &'static str, why: &dyn fmt::Display) {
        self.counts.stranger_failed(source, how);
        let now = self.clock.boot();
        let mut house = self.house();
        let before = house.sources.get(&source).filter(|failures| now.since(failures.since) >= MINUTE);
        let before = before.map(|failures| failures.count);
        if before.is_some() {
            house.sources.remove(&source);
        }
        let failures = house.sources.entry(source).or_insert(Failures { since: now, count: 0 });
        failures.count += 1;
        let is_first = failures.count == 1;
        house.forget(now);
        drop(house);
        if is_first {
            let before = before.unwrap_or_default();
            tracing::warn!(%source, how, %why, before, "a stranger failed; more within a minute are counted, not told");
        }
    }

    fn house(&self) -> MutexGuard<'_, House> {
        self.house.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl House {
    fn count(&self, is_meant: impl Fn(&Waiting) -> bool) -> usize {
        self.waiting.values().filter(|waiting| is_meant(waiting)).count()
    }

    /// The eldest such goes: a stranger without a word, a person told why by whoever attends to the connection. Whether there
    /// was one.
    fn turn_out(&mut self, is_meant: impl Fn(&Waiting) -> bool) -> bool {
        let oldest = self.waiting.iter().find(|(_, waiting)| is_meant(waiting)).map(|(number, _)| *number);
        let Some(Waiting { valve, person, turned_out, .. }) = oldest.and_then(|number| self.waiting.remove(&number))
        else {
            return false;
        };
        if let (None, Some(valve)) = (person, valve) {
            valve.cut();
        }
        turned_out.cancel();
        true
    }

    /// What is over a minute old, and where that does not suffice, anybody.
    fn forget(&mut self, now: Boot) {
        if self.sources.len() > SOURCES_MAX {
            self.sources.retain(|_, failures| now.since(failures.since) < MINUTE);
        }
        while self.sources.len() > SOURCES_MAX {
            self.sources.pop_first();
        }
    }
}

impl Stranger {
    /// They proved this person's key.
    pub(super) fn is_known(&self, person: PersonId) {
        self.strangers.is_known(self.number, person);
    }

    /// They speak SSH, through this: it is cut when they are turned out.
    pub(super) fn speaks_ssh(&self, valve: Arc<Valve>) {
        self.strangers.speaks_ssh(self.number, valve);
    }

    /// Keeps them waiting for what their address got wrong of late; nothing, if they were turned out meanwhile.
    pub(crate) async fn waits(&self) -> Option<()> {
        let delay = self.strangers.clock.sleep(self.strangers.delay(self.source));
        self.turned_out.run_until_cancelled(delay).await
    }

    /// Cancelled when they have to make room: for another connection of the same person, or, as strangers, for anybody's.
    pub(crate) fn turned_out(&self) -> CancellationToken {
        self.turned_out.clone()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.strangers.house().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn speaking(strangers: &Arc<Strangers>, from: u8, valve: &Arc<Valve>) -> Stranger {
        let stranger = strangers.enter(address(from));
        stranger.speaks_ssh(Arc::clone(valve));
        stranger
    }

    #[test]
    fn a_full_house_turns_out_whoever_waited_longest_and_nobody_who_proved_a_key() {
        let (clock, _turn) = Clock::turned();
        let strangers = Strangers::new(clock.clone(), Counts::new(clock));
        let mut valves = Vec::new();
        let mut places = Vec::new();
        for n in 0..=WAITING_FROM_ONE_MAX + 1 {
            let valve = Arc::new(Valve::default());
            places.push(speaking(&strangers, 1, &valve));
            valves.push(valve);
            if n == 0 {
                places.clear();
            }
        }
        let cut: Vec<_> = valves.iter().map(|valve| valve.is_cut()).collect();
        assert!(!cut[0], "it had proved a key");
        assert!(cut[1], "it had waited longest");
        assert!(cut[2..].iter().all(|cut| !cut));
    }

    fn person(number: u128) -> PersonId {
        PersonId::new(number.into())
    }

    #[test]
    fn of_one_person_so_many_wait_for_a_code_and_then_the_eldest_is_told_to_go() {
        let (clock, _turn) = Clock::turned();
        let strangers = Strangers::new(clock.clone(), Counts::new(clock));
        let halfway: Vec<_> = (0..=HALFWAY_MAX)
            .map(|_| {
                let valve = Arc::new(Valve::default());
                let place = speaking(&strangers, 1, &valve);
                place.is_known(person(1));
                place.is_known(person(1));
                (place, valve)
            })
            .collect();
        let told: Vec<bool> = halfway.iter().map(|(place, _)| place.turned_out().is_cancelled()).collect();
        assert!(told[0] && told[1..].iter().all(|told| !told), "{told:?}");
        assert!(halfway.iter().all(|(_, valve)| !valve.is_cut()), "whoever is told why is not cut before");
        let other = strangers.enter(address(1));
        other.is_known(person(2));
        assert!(!halfway[1].0.turned_out().is_cancelled(), "another person's count for themselves");
    }

    #[test]
    fn whoever_proved_a_persons_key_takes_no_strangers_place() {
        let (clock, _turn) = Clock::turned();
        let strangers = Strangers::new(clock.clone(), Counts::new(clock));
        let known = strangers.enter(address(1));
        known.is_known(person(1));
        let first = Arc::new(Valve::default());
        let _first = speaking(&strangers, 1, &first);
        let others = || strangers.enter(address(1));
        let _others: Vec<_> = (1..WAITING_FROM_ONE_MAX).map(|_| others()).collect();
        assert!(!first.is_cut());
        let _last = others();
        assert!(first.is_cut() && !known.turned_out().is_cancelled());
    }

    #[test]
    fn where_there_is_no_room_at_all_whoever_proved_a_key_stays_and_nobody_else() {
        let (clock, _turn) = Clock::turned();
        let strangers = Strangers::new(clock.clone(), Counts::new(clock));
        let valves = [(); 2].map(|()| Arc::new(Valve::default()));
        let known = speaking(&strangers, 1, &valves[0]);
        known.is_known(person(1));
        let (speaks, silent) = (speaking(&strangers, 2, &valves[1]), strangers.enter(address(3)));
        strangers.turn_out_all();
        assert!(!valves[0].is_cut() && !known.turned_out().is_cancelled());
        assert!(valves[1].is_cut() && speaks.turned_out().is_cancelled() && silent.turned_out().is_cancelled());
        strangers.turn_out_all();
        let later = strangers.enter(address(2));
        assert!(!later.turned_out().is_cancelled(), "it was for those who were there");
    }

    #[test]
    fn whoever_has_said_nothing_yet_makes_room_too() {
        let (clock, _turn) = Clock::turned();
        let strangers = Strangers::new(clock.clone(), Counts::new(clock));
        let silent: Vec<_> = (0..=WAITING_FROM_ONE_MAX).map(|_| strangers.enter(address(1))).collect();
        let told: Vec<bool> = silent.iter().map(|stranger| stranger.turned_out().is_cancelled()).collect();
        assert!(told[0] && told[1..].iter().all(|told| !told), "{told:?}");
        let late = Arc::new(Valve::default());
        silent[0].speaks_ssh(Arc::clone(&late));
        assert!(late.is_cut(), "whoever speaks only after they were turned out");
    }

    #[tokio::test]
    async fn whoever_is_kept_waiting_and_turned_out_waits_no_longer() {
        let (clock, turn) = Clock::turned();
        let strangers = Strangers::new(clock.clone(), Counts::new(clock));
        for _ in 0..=FREE_FAILURES {
            strangers.failed(address(1), "test");
        }
        let first = strangers.enter(address(1));
        let _others: Vec<_> = (0..WAITING_FROM_ONE_MAX).map(|_| strangers.enter(address(1))).collect();
        assert_eq!(first.waits().await, None);
        let last = strangers.enter(address(1));
        let (waited, ()) = tokio::join!(last.waits(), async { turn.pass(SLOWER) });
        assert_eq!(waited, Some(()));
    }

    #[test]
    fn many_addresses_together_are_bounded_too() {
        let (clock, _turn) = Clock::turned();
        let strangers = Strangers::new(clock.clone(), Counts::new(clock));
        let first = Arc::new(Valve::default());
        let _first = speaking(&strangers, 0, &first);
        let places: Vec<_> = (0..WAITING_MAX).map(|n| strangers.enter(address((n % 250) as u8 + 1))).collect();
        assert!(first.is_cut());
        assert_eq!(strangers.house().waiting.len(), WAITING_MAX);
        drop(places);
        assert_eq!(strangers.house().waiting.len(), 0);
    }

    #[test]
    fn an_address_that_fails_gets_slower_and_is_never_locked_out() {
        let (clock, turn) = Clock::turned();
        let strangers = Strangers::new(clock.clone(), Counts::new(clock));
        for _ in 0..FREE_FAILURES {
            strangers.failed(address(1), "test");
        }
        assert_eq!(strangers.delay(address(1)), Duration::ZERO);
        strangers.failed(address(1), "test");
        assert_eq!(strangers.delay(address(1)), SLOWER);
        for _ in 0..1000 {
            strangers.failed(address(1), "test");
        }
        assert_eq!(strangers.delay(address(1)), SLOWEST);
        assert_eq!(strangers.delay(address(2)), Duration::ZERO);
        turn.pass(MINUTE);
        assert_eq!(strangers.delay(address(1)), Duration::ZERO);
    }

    #[test]
    fn addresses_without_number_are_forgotten() {
        let (clock, _turn) = Clock::turned();
        let strangers = Strangers::new(clock.clone(), Counts::new(clock));
        for n in 0..SOURCES_MAX as u32 + 100 {
            strangers.failed(IpAddr::from(n.to_be_bytes()), "test");
        }
        assert_eq!(strangers.house().sources.len(), SOURCES_MAX);
    }
}

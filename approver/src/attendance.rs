//! Who watches one session here, and who of them is there: said so by a tap, which counts for a while and no longer than
//! they watch. Whether an escort is demanded, and what is journaled of it, is the Desk's business. Time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use policies::ids::PersonId;

use crate::clock::Boot;

/// Those who watch a session.
#[derive(Debug, Default)]
pub(crate) struct Attendance(BTreeMap<PersonId, Seat>);

#[derive(Debug, Default)]
struct Seat {
    /// How often at once.
    views: usize,
    /// They said that they are there; that counts until then, as long as nobody has taken it for over.
    until: Option<Boot>,
}

/// What a person's going meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// They still watch elsewhere, and had not said that they are there.
    NotYet,
    /// They still watch elsewhere. That they are there was said at a window, and nobody knows whether at this one: they say
    /// it again.
    Escorting,
    /// They watch no longer; they were only looking.
    Watcher,
    /// They watch no longer, and had said that they are there.
    Escort,
}

/// Whoever does not watch is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotWatching;

impl Attendance {
    /// Somebody watches, once more; whether it is the first time.
    pub(crate) fn come(&mut self, who: PersonId) -> bool {
        let seat = self.0.entry(who).or_default();
        seat.views += 1;
        seat.views == 1
    }

    /// Somebody watches once less.
    pub(crate) fn go(&mut self, who: PersonId) -> Gone {
        let Some(seat) = self.0.get_mut(&who) else { return Gone::NotYet };
        seat.views = seat.views.saturating_sub(1);
        if seat.views > 0 {
            return if seat.until.take().is_some() { Gone::Escorting } else { Gone::NotYet };
        }
        match self.0.remove(&who).and_then(|seat| seat.until) {
            Some(_) => Gone::Escort,
            None => Gone::Watcher,
        }
    }

    /// Somebody who is there says so again; false where they were not, or are no longer.
    pub(crate) fn stay(&mut self, who: PersonId, now: Boot, counts: Duration) -> bool {
        match self.0.get_mut(&who) {
            Some(Seat { until: Some(until), .. }) if now < *until => {
                *until = (*until).max(now.after(counts));
                true
            }
            _ => false,
        }
    }

    /// Somebody says that they are there, for the first time or again.
    ///
    /// # Errors
    /// They do not watch.
    pub(crate) fn begin(&mut self, who: PersonId, now: Boot, counts: Duration) -> Result<(), NotWatching> {
        let seat = self.0.get_mut(&who).ok_or(NotWatching)?;
        seat.until = seat.until.max(Some(now.after(counts)));
        Ok(())
    }

    /// Whose word counts no longer by now. Each is told once.
    pub(crate) fn lapse(&mut self, now: Boot) -> Vec<PersonId> {
        let over = self.0.iter_mut().filter(|(_, seat)| seat.until.is_some_and(|until| until <= now));
        over.map(|(who, seat)| {
            seat.until = None;
            *who
        })
        .collect()
    }

    /// Those who are there, and until when that counts.
    pub(crate) fn there(&self, now: Boot) -> impl Iterator<Item = (PersonId, Boot)> + '_ {
        let said = self.0.iter().filter_map(|(who, seat)| Some((*who, seat.until?)));
        said.filter(move |(_, until)| now < *until)
    }

    /// Those who watch.
    pub(crate) fn watchers(&self) -> impl Iterator<Item = PersonId> + '_ {
        self.0.keys().copied()
    }

    /// Whether somebody watches.
    pub(crate) fn is_watched_by(&self, who: PersonId) -> bool {
        self.0.contains_key(&who)
    }

    /// Whether nobody does.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const TAP: Duration = Duration::from_secs(60);

    fn person(number: u8) -> PersonId {
        format!("p_{number:026}").parse().unwrap()
    }

    fn at(seconds: u64) -> Boot {
        Boot(Duration::from_secs(seconds))
    }

    fn there(attendance: &Attendance, now: Boot) -> Vec<PersonId> {
        attendance.there(now).map(|(who, _)| who).collect()
    }

    #[test]
    fn whoever_does_not_watch_cannot_say_that_they_are_there() {
        let mut attendance = Attendance::default();
        assert_eq!(attendance.begin(person(1), at(0), TAP), Err(NotWatching));
        assert!(attendance.come(person(1)));
        assert_eq!(there(&attendance, at(0)), []);
        assert_eq!(attendance.begin(person(1), at(0), TAP), Ok(()));
        assert_eq!(there(&attendance, at(59)), [person(1)]);
        assert_eq!(there(&attendance, at(60)), []);
    }

    #[test]
    fn a_hand_over_leaves_no_moment_without_somebody() {
        let mut attendance = Attendance::default();
        attendance.come(person(1));
        attendance.begin(person(1), at(0), TAP).unwrap();
        attendance.come(person(2));
        attendance.begin(person(2), at(30), TAP).unwrap();
        assert_eq!(attendance.go(person(1)), Gone::Escort);
        assert_eq!(there(&attendance, at(70)), [person(2)]);
        assert_eq!(attendance.lapse(at(70)), []);
    }

    #[test]
    fn who_watches_twice_says_it_again_when_one_window_goes_and_leaves_with_the_second() {
        let mut attendance = Attendance::default();
        assert!(attendance.come(person(1)));
        assert!(!attendance.come(person(1)));
        attendance.begin(person(1), at(0), TAP).unwrap();
        assert_eq!(attendance.go(person(1)), Gone::Escorting);
        assert_eq!(there(&attendance, at(1)), []);
        assert!(attendance.come(person(2)) && !attendance.come(person(1)));
        assert_eq!(attendance.go(person(1)), Gone::NotYet);
        attendance.begin(person(1), at(1), TAP).unwrap();
        assert_eq!(attendance.go(person(1)), Gone::Escort);
        assert_eq!(attendance.go(person(2)), Gone::Watcher);
        assert!(attendance.is_empty());
        assert!(attendance.come(person(1)), "and begins anew");
        assert_eq!(there(&attendance, at(1)), []);
    }

    #[test]
    fn a_late_tap_begins_anew_and_is_told_as_over_before() {
        let mut attendance = Attendance::default();
        attendance.come(person(1));
        attendance.begin(person(1), at(0), TAP).unwrap();
        assert!(!attendance.stay(person(1), at(60), TAP));
        assert_eq!(attendance.lapse(at(61)), [person(1)]);
        assert_eq!(attendance.lapse(at(62)), []);
        assert!(!attendance.stay(person(1), at(62), TAP));
        attendance.begin(person(1), at(62), TAP).unwrap();
        assert!(attendance.stay(person(1), at(100), TAP));
        assert_eq!(there(&attendance, at(159)), [person(1)]);
    }

    #[derive(Debug, Clone, Copy)]
    enum Turn {
        Comes(u8),
        Goes(u8),
        Taps(u8),
        Looks,
    }

    fn turns() -> impl Strategy<Value = Vec<(u64, Turn)>> {
        let turn = prop_oneof![
            (0..3_u8).prop_map(Turn::Comes),
            (0..3_u8).prop_map(Turn::Goes),
            (0..3_u8).prop_map(Turn::Taps),
            Just(Turn::Looks),
        ];
        prop::collection::vec((0..40_u64, turn), 0..60)
    }

    proptest! {
        /// Beside it, ten lines of a model: somebody is there if and only if they watch, and tapped while they did, since
        /// a window of theirs last went, less than a minute ago.
        #[test]
        fn somebody_is_there_who_watches_and_tapped_of_late(turns in turns()) {
            let mut attendance = Attendance::default();
            let (mut views, mut taps, mut journaled) = ([0_u32; 3], [None::<u64>; 3], BTreeSet::new());
            let mut now = 0;
            for (later, turn) in turns {
                now += later;
                for who in attendance.lapse(at(now)) {
                    prop_assert!(journaled.remove(&who), "over once, and only who had begun");
                }
                match turn {
                    Turn::Comes(n) => {
                        prop_assert_eq!(attendance.come(person(n)), views[n as usize] == 0);
                        views[n as usize] += 1;
                    }
                    Turn::Goes(n) if views[n as usize] > 0 => {
                        views[n as usize] -= 1;
                        let gone = attendance.go(person(n));
                        let expected = match (views[n as usize] > 0, journaled.remove(&person(n))) {
                            (true, true) => Gone::Escorting,
                            (true, false) => Gone::NotYet,
                            (false, true) => Gone::Escort,
                            (false, false) => Gone::Watcher,
                        };
                        prop_assert_eq!(gone, expected);
                        taps[n as usize] = None;
                    }
                    Turn::Goes(_) | Turn::Looks => {}
                    Turn::Taps(n) => {
                        let stays = attendance.stay(person(n), at(now), TAP);
                        prop_assert_eq!(stays, journaled.contains(&person(n)));
                        let begins = stays || attendance.begin(person(n), at(now), TAP).is_ok();
                        prop_assert_eq!(begins, views[n as usize] > 0);
                        if begins {
                            journaled.insert(person(n));
                            taps[n as usize] = Some(now);
                        }
                    }
                }
                let model: Vec<PersonId> = (0..3_u8)
                    .filter(|n| views[*n as usize] > 0 && taps[*n as usize].is_some_and(|tapped| now < tapped + 60))
                    .map(person)
                    .collect();
                prop_assert_eq!(there(&attendance, at(now)), model.clone());
                prop_assert_eq!(journaled.iter().copied().collect::<Vec<_>>(), model);
            }
        }
    }
}

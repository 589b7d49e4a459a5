//! When people in the control room change, by the clock on the plant's wall, and until when somebody who signed in is on
//! duty. What becomes of open work then is decided elsewhere.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::Seconds;
use super::hours::{DAY_MINUTES, parse_time};

/// A time of day, to the minute, such as `06:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u32);

/// Text that is no time of day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time of day: write 00:00 to 23:59")]
pub struct BadTimeOfDay(String);

impl FromStr for TimeOfDay {
    type Err = BadTimeOfDay;
    fn from_str(text: &str) -> Result<Self, BadTimeOfDay> {
        let minutes = parse_time(text).filter(|minutes| *minutes < DAY_MINUTES);
        minutes.map(Self).ok_or_else(|| BadTimeOfDay(text.chars().take(40).collect()))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl TimeOfDay {
    /// When it is that time on that day. A time that a change of clocks skips is later by as much, one that comes twice is
    /// the first.
    fn on(self, day: Date, tz: &TimeZone) -> Option<Timestamp> {
        let (hour, minute) = (i8::try_from(self.0 / 60).ok()?, i8::try_from(self.0 % 60).ok()?);
        let time = Time::new(hour, minute, 0, 0).ok()?;
        Some(day.to_datetime(time).to_zoned(tz.clone()).ok()?.timestamp())
    }
}

/// Shifts of a control room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shifts {
    /// Everybody's begins when they sign in, and is so long. Nobody takes over from anybody.
    Each(Seconds),
    /// All change at these times. Never empty.
    At(BTreeSet<TimeOfDay>),
}

impl Shifts {
    /// Whoever signs in so long before a change, and is not on duty, comes for the next shift.
    pub const EARLY: Seconds = Seconds(30 * 60);
    /// Shifts that change at times of day are no shorter.
    pub const SHORTEST: Seconds = Seconds(3_600);

    /// Whether people take over from each other.
    pub const fn change(&self) -> bool {
        matches!(self, Self::At(_))
    }

    /// The first change after `at`. `None` where there are none, or at the end of time.
    pub fn change_after(&self, at: Timestamp, tz: &TimeZone) -> Option<Timestamp> {
        let Self::At(times) = self else { return None };
        let yesterday = at.to_zoned(tz.clone()).date().yesterday().ok()?;
        // Clocks move by less than a day, so the next change is on one of these.
        let days = yesterday.series(jiff::Span::new().days(1)).take(4);
        let changes = days.flat_map(|day| times.iter().filter_map(move |time| time.on(day, tz)));
        changes.filter(|change| at < *change).min()
    }

    /// Until when somebody is on duty who signs in at `at`, and was until `held`.
    pub fn duty(&self, at: Timestamp, held: Option<Timestamp>, tz: &TimeZone) -> Timestamp {
        let change_after = |at| self.change_after(at, tz).unwrap_or(Timestamp::MAX);
        match self {
            Self::Each(length) => length.after(at),
            Self::At(_) => {
                let next = change_after(at);
                let is_on_duty = held.is_some_and(|until| at < until);
                if !is_on_duty && next <= Self::EARLY.after(at) { change_after(next) } else { next }
            }
        }
    }

    /// Two times of day that lie too close, if any do: such a shift would be over before it is taken over.
    pub fn too_short(&self) -> Option<(TimeOfDay, TimeOfDay)> {
        let Self::At(times) = self else { return None };
        let next = times.iter().cycle().skip(1);
        let apart = |from: TimeOfDay, to: TimeOfDay| (to.0 + DAY_MINUTES - from.0) % DAY_MINUTES * 60;
        let mut pairs = times.iter().zip(next).map(|(from, to)| (*from, *to)).filter(|(from, to)| from != to);
        pairs.find(|(from, to)| apart(*from, *to) < Self::SHORTEST.0)
    }
}

impl fmt::Display for Shifts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Each(length) => write!(f, "{length} from each sign-in"),
            Self::At(times) => {
                let times: Vec<String> = times.iter().map(TimeOfDay::to_string).collect();
                write!(f, "changing at {}", times.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use jiff::tz::TimeZoneDatabase;
    use proptest::prelude::*;

    use super::*;

    fn berlin() -> TimeZone {
        TimeZoneDatabase::bundled().get("Europe/Berlin").unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn three() -> Shifts {
        Shifts::At(["06:00", "14:00", "22:00"].map(|time| time.parse().unwrap()).into())
    }

    #[test]
    fn shifts_change_by_the_clock_on_the_wall_when_clocks_change_too() {
        // In 2026 clocks go ahead on 29 March and back on 25 October, both at 01:00 UTC.
        for (now, next) in [
            ("2026-03-28T20:59:59Z", "2026-03-28T21:00:00Z"),
            ("2026-03-28T21:00:00Z", "2026-03-29T04:00:00Z"),
            ("2026-10-24T20:00:00Z", "2026-10-25T05:00:00Z"),
            ("2026-06-01T04:00:00Z", "2026-06-01T12:00:00Z"),
        ] {
            assert_eq!(three().change_after(at(now), &berlin()), Some(at(next)), "{now}");
        }
    }

    #[test]
    fn a_time_that_is_skipped_is_an_hour_later_and_one_that_comes_twice_is_the_first() {
        let night = Shifts::At(["02:30".parse().unwrap()].into());
        let next = |now| night.change_after(at(now), &berlin()).unwrap();
        assert_eq!(next("2026-03-29T00:00:00Z"), at("2026-03-29T01:30:00Z"));
        assert_eq!(next("2026-10-24T22:00:00Z"), at("2026-10-25T00:30:00Z"));
        assert_eq!(next("2026-10-25T00:30:00Z"), at("2026-10-26T01:30:00Z"), "once that day");
    }

    #[test]
    fn who_comes_early_comes_for_the_next_shift_and_who_is_there_stays_for_this_one() {
        let zone = berlin();
        let (early, late) = (at("2026-06-01T11:30:00Z"), at("2026-06-01T11:29:59Z"));
        let (change, after) = (at("2026-06-01T12:00:00Z"), at("2026-06-01T20:00:00Z"));
        assert_eq!(three().duty(late, None, &zone), change);
        assert_eq!(three().duty(early, None, &zone), after);
        assert_eq!(three().duty(early, Some(change), &zone), change, "they go home then");
        assert_eq!(three().duty(early, Some(early), &zone), after, "their own shift was over");
        assert_eq!(three().duty(change, Some(change), &zone), after);
        assert_eq!(Shifts::Each(Seconds(60)).duty(early, None, &zone), Seconds(60).after(early));
    }

    #[test]
    fn times_lie_an_hour_apart_at_least_over_midnight_too() {
        let shifts = |times: &[&str]| Shifts::At(times.iter().map(|time| time.parse().unwrap()).collect());
        let pair = |a: &str, b: &str| Some((a.parse().unwrap(), b.parse().unwrap()));
        assert_eq!(three().too_short(), None);
        assert_eq!(shifts(&["06:00"]).too_short(), None);
        assert_eq!(shifts(&["06:00", "06:59"]).too_short(), pair("06:00", "06:59"));
        assert_eq!(shifts(&["00:30", "12:00", "23:45"]).too_short(), pair("23:45", "00:30"));
    }

    proptest! {
        /// In any week of fifty years, in zones whose clocks change: the next change is the soonest moment at which the wall
        /// shows one of the times.
        #[test]
        fn the_next_change_is_the_first_moment_at_which_the_wall_shows_one(
            second in 1_700_000_000_i64..3_300_000_000,
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
            times in prop::collection::btree_set(0_u32..24, 1..4),
        ) {
            let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
            // Full hours that no change of clocks skips or repeats: those are tried by name.
            let times: BTreeSet<u32> = times.into_iter().filter(|hour| !(1..4).contains(hour)).collect();
            prop_assume!(!times.is_empty());
            let shifts = Shifts::At(times.iter().map(|hour| TimeOfDay(hour * 60)).collect());
            let now = Timestamp::from_second(second).unwrap();
            let next = shifts.change_after(now, &zone).unwrap();
            let shows = |moment: Timestamp| {
                let wall = moment.to_zoned(zone.clone());
                wall.second() == 0 && wall.minute() == 0 && times.contains(&u32::try_from(wall.hour()).unwrap())
            };
            prop_assert!(shows(next), "{next}");
            let mut minute = Timestamp::from_second(second - second % 60 + 60).unwrap();
            while minute < next {
                prop_assert!(!shows(minute), "{minute} comes before {next}");
                minute += SignedDuration::from_secs(60);
            }
        }
    }
}

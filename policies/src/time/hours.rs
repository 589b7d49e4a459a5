//! Weekly opening hours in a plant's local time, and the moments at which they open and close. What time it is
//! there is the time zone's business; what follows from being open is the rules'.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::Seconds;

/// Hours of a week, such as `Mon-Fri 06:00-18:00, Sat 08:00-12:00`, as the clock on the plant's wall shows them.
///
/// A span that ends at or before its start reaches into the next day; `24:00` may stand as an end. When clocks change,
/// the wall clock decides: an hour that is skipped opens nothing, and one that comes twice opens twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WeeklyHours {
    spans: Vec<Span>,
    /// Seconds of the week from Monday 00:00, ascending, apart from each other; derived from `spans`.
    open: Vec<Range<u32>>,
}

/// Text that gives no weekly hours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHours {
    /// Not of the form `DAYS FROM-TO`.
    #[error("{0:?} is no span of hours: write for example Mon-Fri 06:00-18:00, Sat 08:00-12:00")]
    Span(String),
    /// Not a day.
    #[error("{0:?} is no day: there are Mon, Tue, Wed, Thu, Fri, Sat, Sun")]
    Day(String),
    /// Not a time of day.
    #[error("{0:?} is no time of day: write 00:00 to 23:59, or 24:00 as an end")]
    Time(String),
    /// A span that would be nothing or everything.
    #[error("{0:?} opens and closes at the same time: a whole day is 00:00-24:00")]
    SameTime(String),
    /// More text than hours need.
    #[error("hours of more than {TEXT_MAX} characters: write fewer spans")]
    TooLong,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    first: u32,
    last: u32,
    opens: u32,
    closes: u32,
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
pub(super) const DAY_MINUTES: u32 = 24 * 60;
const DAY: u32 = DAY_MINUTES * 60;
const WEEK: u32 = 7 * DAY;
/// 1970-01-01 was a Thursday.
const MONDAY_BEFORE_EPOCH: i64 = -3 * DAY as i64;
/// Hours hold at some moment of any week but one that loses them to a clock change, and no two such weeks adjoin.
const HORIZON: Seconds = Seconds(3 * WEEK);
/// Room for a line of a dozen spans.
const TEXT_MAX: usize = 300;

impl WeeklyHours {
    /// Reads hours as a plant file writes them.
    pub fn parse(text: &str) -> Result<Self, BadHours> {
        if text.len() > TEXT_MAX {
            return Err(BadHours::TooLong);
        }
        let spans = text.split(',').map(|span| parse_span(span.trim())).collect::<Result<Vec<_>, _>>()?;
        let open = merged(spans.iter().flat_map(Span::seconds).collect());
        Ok(Self { spans, open })
    }

    /// Whether the hours hold at `at` in a plant with this time zone.
    pub fn contains(&self, at: Timestamp, tz: &TimeZone) -> bool {
        let second = second_of_week(at, tz);
        self.open.iter().any(|range| range.contains(&second))
    }

    /// The first moment, `after` itself included, at which the hours hold. `None` only at the end of time.
    pub fn next_opening(&self, after: Timestamp, tz: &TimeZone) -> Option<Timestamp> {
        self.first_moment(true, after, tz)
    }

    /// When the opening that holds at `at` ends: the first moment outside. `None` where nothing limits it: the hours
    /// never close, or do not hold at `at` at all, which [`contains`](Self::contains) tells.
    pub fn closes_after(&self, at: Timestamp, tz: &TimeZone) -> Option<Timestamp> {
        let never_closes = self.open.first() == Some(&(0..WEEK));
        if never_closes || !self.contains(at, tz) { None } else { self.first_moment(false, at, tz) }
    }

    /// Between two changes of the zone's offset the local clock is even, so the next boundary of the week is a sum;
    /// at a change the question is asked anew.
    fn first_moment(&self, open: bool, at: Timestamp, tz: &TimeZone) -> Option<Timestamp> {
        let horizon = HORIZON.after(at);
        let mut changes = tz.following(at).map(|change| change.timestamp());
        let mut from = at;
        while from <= horizon {
            if self.contains(from, tz) == open {
                return Some(from);
            }
            let even_until = changes.next().unwrap_or(Timestamp::MAX);
            let second = second_of_week(from, tz);
            let boundary = Timestamp::from_second(whole_seconds(from) + i64::from(self.until_boundary(second))).ok()?;
            if boundary < even_until {
                return Some(boundary);
            }
            from = even_until;
        }
        None
    }

    /// Seconds from a second of the week to the next at which the hours open or close.
    fn until_boundary(&self, second: u32) -> u32 {
        match self.open.iter().find(|range| range.contains(&second)) {
            Some(range) if range.end == WEEK => {
                let over_sunday = self.open.first().filter(|first| first.start == 0).map_or(0, |first| first.end);
                WEEK + over_sunday - second
            }
            Some(range) => range.end - second,
            None => self.open.iter().map(|range| (range.start + WEEK - second) % WEEK).min().unwrap_or(WEEK),
        }
    }
}

fn whole_seconds(at: Timestamp) -> i64 {
    at.as_second() - i64::from(at.subsec_nanosecond() < 0)
}

fn second_of_week(at: Timestamp, tz: &TimeZone) -> u32 {
    let local = whole_seconds(at) + i64::from(tz.to_offset(at).seconds());
    u32::try_from((local - MONDAY_BEFORE_EPOCH).rem_euclid(i64::from(WEEK))).expect("a remainder of WEEK, a u32")
}

fn parse_span(text: &str) -> Result<Span, BadHours> {
    let bad = || BadHours::Span(text.to_owned());
    let (days, times) = text.split_once(char::is_whitespace).ok_or_else(bad)?;
    let (first, last) = days.split_once('-').unwrap_or((days, days));
    let (opens, closes) = times.split_once('-').ok_or_else(bad)?;
    let (opens, closes) = (opens.trim(), closes.trim());
    let span = Span {
        first: parse_day(first)?,
        last: parse_day(last)?,
        opens: parse_time(opens).filter(|minute| *minute < DAY_MINUTES).ok_or_else(|| BadHours::Time(opens.into()))?,
        closes: parse_time(closes).ok_or_else(|| BadHours::Time(closes.into()))?,
    };
    if span.opens == span.closes { Err(BadHours::SameTime(text.to_owned())) } else { Ok(span) }
}

fn parse_day(text: &str) -> Result<u32, BadHours> {
    (0..7).zip(DAYS).find(|(_, name)| *name == text).map(|(day, _)| day).ok_or_else(|| BadHours::Day(text.to_owned()))
}

/// Minutes since midnight, 24:00 included.
pub(super) fn parse_time(text: &str) -> Option<u32> {
    let two_digits = |part: &str| {
        let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse::<u32>().ok()).flatten()
    };
    let (hour, minute) = text.split_once(':')?;
    let minutes = two_digits(hour)? * 60 + two_digits(minute).filter(|minute| *minute < 60)?;
    (minutes <= DAY_MINUTES).then_some(minutes)
}

impl Span {
    /// Its seconds of the week, one range per day, two where Sunday night reaches into Monday.
    fn seconds(&self) -> impl Iterator<Item = Range<u32>> {
        let days = (self.last + 7 - self.first) % 7 + 1;
        let minutes = if self.closes > self.opens { 0 } else { DAY_MINUTES } + self.closes - self.opens;
        let (first, opens) = (self.first, self.opens);
        (0..days).flat_map(move |day| {
            let start = (first + day) % 7 * DAY + opens * 60;
            let end = start + minutes * 60;
            [start..end.min(WEEK), 0..end.saturating_sub(WEEK)]
        })
    }
}

fn merged(mut ranges: Vec<Range<u32>>) -> Vec<Range<u32>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut apart: Vec<Range<u32>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match apart.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart
}

impl fmt::Display for WeeklyHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, span) in self.spans.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { ", " })?;
            span.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = |day: u32| DAYS[day as usize];
        f.write_str(day(self.first))?;
        if self.first != self.last {
            write!(f, "-{}", day(self.last))?;
        }
        let (opens, closes) = (self.opens, self.closes);
        write!(f, " {:02}:{:02}-{:02}:{:02}", opens / 60, opens % 60, closes / 60, closes % 60)
    }
}

impl FromStr for WeeklyHours {
    type Err = BadHours;
    fn from_str(text: &str) -> Result<Self, BadHours> {
        Self::parse(text)
    }
}

impl TryFrom<String> for WeeklyHours {
    type Error = BadHours;
    fn try_from(text: String) -> Result<Self, BadHours> {
        Self::parse(&text)
    }
}

impl From<WeeklyHours> for String {
    fn from(hours: WeeklyHours) -> Self {
        hours.to_string()
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::{DateTime, Weekday};
    use jiff::tz::TimeZoneDatabase;
    use proptest::prelude::*;

    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZoneDatabase::bundled().get(name).expect("a bundled zone")
    }

    fn hours(text: &str) -> WeeklyHours {
        WeeklyHours::parse(text).expect("hours")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    /// Opening and closing moments from `from`, as a stranger would list them by asking again and again.
    fn openings(text: &str, zone_name: &str, from: &str, count: usize) -> Vec<String> {
        let (hours, tz) = (hours(text), zone(zone_name));
        let mut now = at(from);
        let mut listed = Vec::new();
        for _ in 0..count {
            let opens = hours.next_opening(now, &tz).expect("opens some day");
            let closes = hours.closes_after(opens, &tz).expect("closes some day");
            listed.push(format!("{opens} {closes}"));
            now = closes;
        }
        listed
    }

    #[test]
    fn hours_read_back_as_written() {
        for text in
            ["Mon-Fri 06:00-18:00", "Mon-Sun 00:00-24:00", "Fri 22:00-06:00", "Sat-Mon 08:30-12:00, Wed 13:00-14:00"]
        {
            assert_eq!(hours(text).to_string(), text);
            let json = serde_json::to_string(&hours(text)).expect("a text");
            assert_eq!(serde_json::from_str::<WeeklyHours>(&json).expect("as written"), hours(text));
        }
        assert_eq!(hours("Mon 6:00-18:00".replace(" 6", "  06").as_str()).to_string(), "Mon 06:00-18:00");
    }

    #[test]
    fn what_is_unclear_is_refused() {
        for bad in [
            "",
            "Mon",
            "06:00-18:00",
            "Mon 06:00",
            "mon 06:00-18:00",
            "Monday 06:00-18:00",
            "Mon-Fry 06:00-18:00",
            "Mon 6:00-18:00",
            "Mon 06:00-24:01",
            "Mon 24:00-06:00",
            "Mon 06:60-07:00",
            "Mon 06:00-06:00",
            "Mon +6:00-07:00",
            "Mon 06:00-18:00,",
            "Mon-Tue-Wed 06:00-18:00",
            "Mon 06:00-18:00-20:00",
            "Mon 00:00-00:00",
            &"Mon 06:00-18:00,".repeat(40),
        ] {
            assert!(WeeklyHours::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_night_reaches_into_the_next_day_and_sunday_night_into_monday() {
        let tz = zone("Europe/Berlin");
        let local = |text: &str| tz.to_timestamp(text.parse::<DateTime>().expect("civil")).expect("exists");
        let night = hours("Fri 22:00-06:00, Sun 23:00-01:00");
        for (time, open) in [
            ("2026-11-27T21:59:59", false),
            ("2026-11-27T22:00", true),
            ("2026-11-28T05:59:59", true),
            ("2026-11-28T06:00", false),
            ("2026-11-29T23:00", true),
            ("2026-11-30T00:59", true),
            ("2026-11-30T01:00", false),
        ] {
            assert_eq!(night.contains(local(time), &tz), open, "{time}");
        }
        assert_eq!(night.closes_after(local("2026-11-29T23:30"), &tz), Some(local("2026-11-30T01:00")));
    }

    #[test]
    fn in_berlin_hours_follow_the_wall_clock_into_summer_and_back() {
        // 2026-03-29, 02:00 becomes 03:00; 2026-10-25, 03:00 becomes 02:00.
        assert_eq!(
            openings("Sat-Mon 06:00-18:00", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
            [
                "2026-03-28T05:00:00Z 2026-03-28T17:00:00Z",
                "2026-03-29T04:00:00Z 2026-03-29T16:00:00Z",
                "2026-03-30T04:00:00Z 2026-03-30T16:00:00Z",
            ]
        );
        // The night is an hour shorter, and then an hour longer.
        assert_eq!(
            openings("Sat 22:00-06:00", "Europe/Berlin", "2026-03-28T00:00:00Z", 1),
            ["2026-03-28T21:00:00Z 2026-03-29T04:00:00Z"]
        );
        assert_eq!(
            openings("Sat 22:00-06:00", "Europe/Berlin", "2026-10-24T00:00:00Z", 1),
            ["2026-10-24T20:00:00Z 2026-10-25T05:00:00Z"]
        );
        // An hour that is skipped opens nothing that week; half of one opens late.
        assert_eq!(
            openings("Sun 02:00-03:00", "Europe/Berlin", "2026-03-28T00:00:00Z", 1),
            ["2026-04-05T00:00:00Z 2026-04-05T01:00:00Z"]
        );
        assert_eq!(
            openings("Sun 02:30-03:30", "Europe/Berlin", "2026-03-28T00:00:00Z", 1),
            ["2026-03-29T01:00:00Z 2026-03-29T01:30:00Z"]
        );
        // An hour that comes twice: as a whole it holds for two, and half of it opens twice.
        assert_eq!(
            openings("Sun 02:00-03:00", "Europe/Berlin", "2026-10-24T00:00:00Z", 1),
            ["2026-10-25T00:00:00Z 2026-10-25T02:00:00Z"]
        );
        assert_eq!(
            openings("Sun 02:00-02:30", "Europe/Berlin", "2026-10-24T00:00:00Z", 2),
            ["2026-10-25T00:00:00Z 2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z 2026-10-25T01:30:00Z"]
        );
    }

    #[test]
    fn in_new_york_hours_follow_the_wall_clock_into_summer_and_back() {
        // 2026-03-08, 02:00 becomes 03:00; 2026-11-01, 02:00 becomes 01:00.
        assert_eq!(
            openings("Sat-Sun 08:00-12:00", "America/New_York", "2026-03-07T05:00:00Z", 2),
            ["2026-03-07T13:00:00Z 2026-03-07T17:00:00Z", "2026-03-08T12:00:00Z 2026-03-08T16:00:00Z"]
        );
        assert_eq!(
            openings("Sun 00:00-04:00", "America/New_York", "2026-03-07T05:00:00Z", 1),
            ["2026-03-08T05:00:00Z 2026-03-08T08:00:00Z"]
        );
        assert_eq!(
            openings("Sun 00:00-04:00", "America/New_York", "2026-10-31T05:00:00Z", 1),
            ["2026-11-01T04:00:00Z 2026-11-01T09:00:00Z"]
        );
        assert_eq!(
            openings("Sun 00:00-01:30", "America/New_York", "2026-10-31T05:00:00Z", 2),
            ["2026-11-01T04:00:00Z 2026-11-01T05:30:00Z", "2026-11-01T06:00:00Z 2026-11-01T06:30:00Z"]
        );
    }

    #[test]
    fn hours_that_never_close_have_no_end() {
        let tz = zone("Europe/Berlin");
        for always in ["Mon-Sun 00:00-24:00", "Mon-Sun 12:00-11:59, Mon-Sun 11:00-12:00"] {
            assert_eq!(hours(always).closes_after(at("2026-10-24T00:00:00Z"), &tz), None);
            assert!(hours(always).contains(at("2026-10-25T01:30:00Z"), &tz));
        }
    }

    #[test]
    fn the_ends_of_time_are_survived() {
        let (hours, tz) = (hours("Mon 06:00-18:00"), zone("Europe/Berlin"));
        for moment in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
            let _ = (hours.contains(moment, &tz), hours.closes_after(moment, &tz));
            assert!(hours.next_opening(moment, &tz).is_none_or(|opens| opens >= moment && hours.contains(opens, &tz)));
        }
    }

    /// The definition: look at the wall clock, and see whether today's span or yesterday's reaches this minute.
    fn model(spans: &[(usize, usize, u32, u32)], at: Timestamp, tz: &TimeZone) -> bool {
        let local = tz.to_datetime(at);
        let minute = local.hour() as u32 * 60 + local.minute() as u32;
        let today = local.weekday();
        let among = |day: Weekday, first: usize, last: usize| {
            let mut each = first;
            loop {
                if each == day.to_monday_zero_offset() as usize {
                    return true;
                }
                if each == last {
                    return false;
                }
                each = (each + 1) % 7;
            }
        };
        spans.iter().any(|&(first, last, opens, closes)| match opens < closes {
            true => among(today, first, last) && (opens..closes).contains(&minute),
            false => {
                among(today, first, last) && minute >= opens || among(today.previous(), first, last) && minute < closes
            }
        })
    }

    fn spans() -> impl Strategy<Value = Vec<(usize, usize, u32, u32)>> {
        let quarter = |n: u32| n * 15;
        let span = (0..7_usize, 0..7_usize, (0..96_u32).prop_map(quarter), (0..=96_u32).prop_map(quarter));
        prop::collection::vec(span.prop_filter("opens and closes apart", |(.., opens, closes)| opens != closes), 1..4)
    }

    fn written(spans: &[(usize, usize, u32, u32)]) -> String {
        let time = |minute: &u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        let one = |(first, last, opens, closes): &(usize, usize, u32, u32)| {
            format!("{}-{} {}-{}", DAYS[*first], DAYS[*last], time(opens), time(closes))
        };
        spans.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    const CHANGES: [(&str, &str); 4] = [
        ("Europe/Berlin", "2026-03-29T01:00:00Z"),
        ("Europe/Berlin", "2026-10-25T01:00:00Z"),
        ("America/New_York", "2026-03-08T07:00:00Z"),
        ("America/New_York", "2026-11-01T06:00:00Z"),
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Minute by minute through the week around each clock change; openings and closings are where the model turns.
        #[test]
        fn hours_agree_with_a_look_at_the_wall_clock(spans in spans(), change in 0..4_usize) {
            let (hours, tz) = (hours(&written(&spans)), zone(CHANGES[change].0));
            let start = at(CHANGES[change].1) - jiff::SignedDuration::from_hours(84);
            let minutes: Vec<_> = (0..7 * 24 * 60).map(|n| start + jiff::SignedDuration::from_mins(n)).collect();
            let open: Vec<_> = minutes.iter().map(|minute| model(&spans, *minute, &tz)).collect();
            for (minute, open) in minutes.iter().zip(&open) {
                prop_assert_eq!(hours.contains(*minute, &tz), *open, "{}", minute);
            }
            for (n, minute) in minutes.iter().enumerate().step_by(97) {
                let later = |wanted: bool| open[n..].iter().position(|open| *open == wanted).map(|after| minutes[n + after]);
                if let Some(opens) = later(true) {
                    prop_assert_eq!(hours.next_opening(*minute, &tz), Some(opens));
                }
                if let (true, Some(closes)) = (open[n], later(false)) {
                    prop_assert_eq!(hours.closes_after(*minute, &tz), Some(closes));
                }
            }
        }
    }
}

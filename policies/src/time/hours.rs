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
const DAY_MINUTES: u32 = 24 * 60;
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
fn parse_time(text: &str) -> Option<u32> {
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

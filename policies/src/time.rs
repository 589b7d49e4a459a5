//! Time as the rules know it: spans in whole seconds, windows, weekly hours. The clock itself is elsewhere.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

mod hours;
mod shifts;

pub use hours::{BadHours, WeeklyHours};
pub use shifts::{BadTimeOfDay, Shifts, TimeOfDay};

/// A moment as the clock on the plant's wall shows it, with its zone: the one form in which people read it, wherever they
/// are. Machines get the moment itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlantTime {
    at: Timestamp,
    zone: TimeZone,
}

impl PlantTime {
    /// This moment in the plant's zone.
    pub const fn new(at: Timestamp, zone: TimeZone) -> Self {
        Self { at, zone }
    }

    /// With seconds and without the day, to compare clocks: `14:03:07 CET`.
    pub fn to_the_second(&self) -> String {
        self.written("%H:%M:%S %Z")
    }

    /// Where the day is plain: `14:03 CET`.
    pub fn without_day(&self) -> String {
        self.written("%H:%M %Z")
    }

    fn written(&self, format: &str) -> String {
        self.at.to_zoned(self.zone.clone()).strftime(format).to_string()
    }
}

/// As `2026-11-23 14:03 CET`.
impl fmt::Display for PlantTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written("%Y-%m-%d %H:%M %Z"))
    }
}

/// A span in whole seconds. As text `90s`, `15m`, `4h`, `7d`, `3y` (a year is 365 days), or a sum such as `1h30m`.
/// In events it is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub u32);

/// Text that is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no duration: write for example 90s, 15m, 4h, 1h30m, 7d or 3y")]
pub struct BadSpan(String);

const UNITS: [(char, u32); 5] = [('y', 365 * 86_400), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

impl FromStr for Seconds {
    type Err = BadSpan;
    fn from_str(text: &str) -> Result<Self, BadSpan> {
        parse_span(text).map(Self).ok_or_else(|| BadSpan(text.chars().take(40).collect()))
    }
}

/// Units in falling order, each at most once; a bare `0` needs none.
fn parse_span(text: &str) -> Option<u32> {
    if text == "0" {
        return Some(0);
    }
    let (mut rest, mut total, mut units) = (text, 0_u32, UNITS.iter());
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
        let unit = rest[digits..].chars().next()?;
        let (_, seconds) = units.by_ref().find(|(letter, _)| *letter == unit)?;
        total = total.checked_add(rest[..digits].parse::<u32>().ok()?.checked_mul(*seconds)?)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then_some(total)
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0");
        }
        let mut left = self.0;
        for (letter, seconds) in UNITS {
            if left >= seconds {
                write!(f, "{}{letter}", left / seconds)?;
                left %= seconds;
            }
        }
        Ok(())
    }
}

impl Seconds {
    /// As the standard library's duration.
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0 as u64)
    }

    /// `at` and this span later; the end of time where there is no such moment.
    pub fn after(self, at: Timestamp) -> Timestamp {
        at.checked_add(jiff::SignedDuration::from_secs(i64::from(self.0))).unwrap_or(Timestamp::MAX)
    }
}

/// From one moment to another, the second not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The first moment inside.
    pub from: Timestamp,
    /// The first moment after.
    pub until: Timestamp,
}

impl Window {
    /// Whether `at` lies inside.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }

    /// Whether `other` lies wholly inside.
    pub fn covers(&self, other: &Self) -> bool {
        self.from <= other.from && other.until <= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_reads_back_as_written() {
        for (text, seconds) in [("0", 0), ("90s", 90), ("15m", 900), ("1h30m", 5_400), ("3y", 94_608_000)] {
            assert_eq!(text.parse(), Ok(Seconds(seconds)));
            assert_eq!(Seconds(seconds).to_string().parse(), Ok(Seconds(seconds)));
        }
        for bad in ["", "h", "5", "1m1h", "1m1m", "-1s", "99999999999s", "200y", "1 h"] {
            assert!(bad.parse::<Seconds>().is_err(), "{bad}");
        }
    }
}

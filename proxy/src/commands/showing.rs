//! How answers look in a terminal: texts of strangers made harmless, moments in the plant's time, spans in words, labelled
//! lines and tables that fit 80 columns.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use policies::time::PlantTime;
use recordings::words::{Words, is_plain};

use super::Failure;
use crate::client::Client;

/// A stranger's text, harmless to a terminal: whatever would move or hide something is spelled out.
pub(super) fn plain(text: &str) -> String {
    Words::from(text).to_string()
}

/// The same JSON, without a character that would do anything to a terminal. Such stand in strings alone.
pub(super) fn plain_json(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    for c in json.chars() {
        if is_plain(c) {
            plain.push(c);
        } else {
            let units = c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            plain.push_str(&units);
        }
    }
    plain
}

/// The clock on the plant's wall, by which people are shown moments and understood when they write one.
pub(super) struct Clock {
    zone: TimeZone,
    now: Timestamp,
}

impl Clock {
    /// As the gate said when one signed in.
    pub(super) fn of(client: &Client) -> Self {
        Self::in_zone(client.timezone())
    }

    /// As the plant file says.
    pub(super) fn in_zone(zone: TimeZone) -> Self {
        Self { zone, now: Timestamp::now() }
    }

    /// A moment, with its zone.
    pub(super) fn moment(&self, at: Timestamp) -> PlantTime {
        PlantTime::new(at, self.zone.clone())
    }

    /// Whether a moment has passed.
    pub(super) fn is_past(&self, at: Timestamp) -> bool {
        at < self.now
    }

    /// How far a moment lies from now, in words.
    pub(super) fn away(&self, at: Timestamp) -> String {
        from_now(at, self.now)
    }
}

/// How many of something, which is made several by an `s`.
pub(super) fn counted(count: usize, of: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {of}{plural}")
}

/// A span in words, its two largest parts.
pub(super) fn span(seconds: u64) -> String {
    const PARTS: [(u64, &str); 5] =
        [(365 * 86_400, "year"), (86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let mut left = seconds;
    let mut words = Vec::new();
    for (unit, name) in PARTS {
        let count = left / unit;
        left %= unit;
        if count > 0 && words.len() < 2 {
            let plural = if count == 1 { "" } else { "s" };
            words.push(format!("{count} {name}{plural}"));
        } else if !words.is_empty() {
            break;
        }
    }
    if words.is_empty() { "no time".to_owned() } else { words.join(" ") }
}

fn from_now(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.as_second().saturating_sub(now.as_second());
    // To the minute, where seconds say nothing any more.
    let rounded = if seconds.unsigned_abs() > 120 { seconds.unsigned_abs() / 60 * 60 } else { seconds.unsigned_abs() };
    match seconds {
        0 => "now".to_owned(),
        ..0 => format!("{} ago", span(rounded)),
        1.. => format!("in {}", span(rounded)),
    }
}

/// A moment as people write it: `14:00` (the next one), `2026-11-23 14:00` or `2026-11-23`, all on the plant's clock, or
/// with a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Moment(Timestamp),
    Local(DateTime),
    Daily(Time),
}

impl FromStr for Written {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let moment = text.parse().map(Self::Moment).ok();
        let written = moment.or_else(|| text.parse().map(Self::Local).ok());
        written
            .or_else(|| text.parse().map(Self::Daily).ok())
            .ok_or_else(|| format!("{text:?} is no time: write for example 14:00 or \"2026-11-23 14:00\""))
    }
}

impl Written {
    /// The moment that is meant.
    ///
    /// # Errors
    /// There is none in this calendar.
    pub(super) fn on(self, clock: &Clock) -> Result<Timestamp, Failure> {
        let local = |at: DateTime| at.to_zoned(clock.zone.clone()).map(|zoned| zoned.timestamp());
        let today = clock.zone.to_datetime(clock.now).date();
        let meant = match self {
            Self::Moment(at) => Ok(at),
            Self::Local(at) => local(at),
            Self::Daily(time) => match local(today.to_datetime(time)) {
                Ok(at) if at <= clock.now => today.tomorrow().and_then(|tomorrow| local(tomorrow.to_datetime(time))),
                today => today,
            },
        };
        meant.map_err(|cause| Failure::usage(format_args!("that is no time: {cause}")))
    }
}

/// The end of a day as people write it, or a moment: a contract `until 2027-12-31` has that day in it.
pub(super) fn parse_end(text: &str) -> Result<Written, String> {
    match text.parse::<Date>().ok().filter(|_| text.len() == 10).and_then(|date| date.tomorrow().ok()) {
        Some(next) => Ok(Written::Local(next.to_datetime(Time::midnight()))),
        None => text.parse(),
    }
}

const COLUMNS: usize = 80;
const LABEL: usize = 13;

/// A labelled line; what does not fit goes on below. The value must be harmless already.
pub(super) fn labelled(label: &str, value: &str) {
    for line in labelled_lines(label, value) {
        say!("{line}");
    }
}

/// The same, to be said later.
pub(super) fn labelled_lines(label: &str, value: &str) -> Vec<String> {
    let lines = wrapped(value, COLUMNS - LABEL);
    let labels = [label].into_iter().chain(std::iter::repeat(""));
    lines.iter().zip(labels).map(|(line, label)| format!("{label:<LABEL$}{line}").trim_end().to_owned()).collect()
}

/// Breaks between words, and within one that is too long.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let line = lines.last_mut().expect("there is always a line");
            let used = line.chars().count();
            let gap = usize::from(used > 0);
            if used + gap + word.len() <= columns {
                if gap > 0 {
                    line.push(' ');
                }
                line.extend(&word);
                break;
            }
            if used > 0 {
                lines.push(String::new());
            } else {
                line.extend(word.drain(..columns));
            }
        }
    }
    lines
}

/// Columns as wide as what stands in them; the last one is not padded.
pub(super) fn table<const N: usize>(titles: [&str; N], rows: &[[String; N]]) {
    for line in table_lines(titles, rows) {
        say!("{line}");
    }
}

fn table_lines<const N: usize>(titles: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([titles[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let rows = rows.iter().map(|row| line(std::array::from_fn(|column| row[column].as_str())));
    [line(titles)].into_iter().chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_does_nothing_to_a_terminal() {
        let stranger = "a\u{1b}[2Jb\u{9b}c\u{202e}\u{e0001}";
        assert_eq!(plain(&stranger[..12]), r"a\x1b[2Jb\xc2\x9bc\xe2\x80\xae");
        let json = plain_json(&serde_json::to_string(stranger).unwrap());
        assert_eq!(json, r#""a\u001b[2Jb\u009bc\u202e\udb40\udc01""#);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), stranger);
    }

    #[test]
    fn spans_are_words_of_two_parts_at_most() {
        for (seconds, words) in [
            (0, "no time"),
            (1, "1 second"),
            (90, "1 minute 30 seconds"),
            (3_600, "1 hour"),
            (5_400, "1 hour 30 minutes"),
            (86_400 + 60, "1 day"),
            (90_000, "1 day 1 hour"),
        ] {
            assert_eq!(span(seconds), words);
        }
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(from_now(at(3_725), at(0)), "in 1 hour 2 minutes");
        assert_eq!(from_now(at(0), at(30)), "30 seconds ago");
    }

    #[test]
    fn a_line_that_is_too_long_goes_on_below_its_beginning() {
        let lines = labelled_lines("reason", &format!("{} {}", "word ".repeat(20).trim(), "x".repeat(100)));
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "{lines:#?}");
        assert!(lines[0].starts_with("reason       word") && lines[1].starts_with("             word"), "{lines:#?}");
        assert_eq!(lines.concat().matches('x').count(), 100);
    }

    #[test]
    fn a_table_stands_in_columns() {
        let rows = [["lee".to_owned(), "operator".to_owned()], ["ada-lovelace".to_owned(), "a".to_owned()]];
        assert_eq!(
            table_lines(["NAME", "KIND"], &rows),
            ["NAME          KIND", "lee           operator", "ada-lovelace  a"]
        );
    }

    fn clock(now: &str) -> Clock {
        let zone = jiff::tz::TimeZoneDatabase::bundled().get("Europe/Berlin").unwrap();
        Clock { zone, now: now.parse().unwrap() }
    }

    #[test]
    fn moments_are_shown_and_read_by_the_clock_on_the_plants_wall() {
        let clock = clock("2026-11-23T12:30:00Z");
        for (text, meant) in [
            ("14:00", "2026-11-23T13:00:00Z"),
            ("13:30", "2026-11-24T12:30:00Z"),
            ("2026-06-01 14:00", "2026-06-01T12:00:00Z"),
            ("2026-11-23", "2026-11-22T23:00:00Z"),
            ("2026-11-23T14:00:00Z", "2026-11-23T14:00:00Z"),
        ] {
            let at = text.parse::<Written>().unwrap().on(&clock).unwrap();
            assert_eq!(at.to_string(), meant, "{text}");
        }
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(clock.moment(at("2026-11-23T13:00:00Z")).to_string(), "2026-11-23 14:00 CET");
        assert_eq!(clock.moment(at("2026-06-01T12:00:00Z")).to_string(), "2026-06-01 14:00 CEST");
        assert_eq!(parse_end("2027-12-31").unwrap().on(&clock).unwrap().to_string(), "2027-12-31T23:00:00Z");
        assert!("soon".parse::<Written>().is_err());
    }
}

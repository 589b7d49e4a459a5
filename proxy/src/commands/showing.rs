//! How answers look in a terminal: texts of strangers made harmless, moments in local time, spans in words, labelled
//! lines and tables that fit 80 columns.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use recordings::words::{Words, is_plain};

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

/// A moment in local time, with its zone.
pub(super) fn moment(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M %Z").to_string()
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

/// How far a moment lies from now, in words.
pub(super) fn from_now(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.as_second().saturating_sub(now.as_second());
    // To the minute, where seconds say nothing any more.
    let rounded = if seconds.unsigned_abs() > 120 { seconds.unsigned_abs() / 60 * 60 } else { seconds.unsigned_abs() };
    match seconds {
        0 => "now".to_owned(),
        ..0 => format!("{} ago", span(rounded)),
        1.. => format!("in {}", span(rounded)),
    }
}

/// A moment as people write it: `14:00` (the next one), `2026-11-23 14:00` or `2026-11-23` in local time, or with a zone.
pub(super) fn parse_moment(text: &str) -> Result<Timestamp, String> {
    let here = TimeZone::system();
    let now = Timestamp::now().to_zoned(here.clone());
    let local = |at: DateTime| at.to_zoned(here.clone()).ok().map(|zoned| zoned.timestamp());
    let clock = |time: Time| {
        let today = local(now.date().to_datetime(time))?;
        if today > now.timestamp() { Some(today) } else { local(now.date().tomorrow().ok()?.to_datetime(time)) }
    };
    let parsed = text.parse::<Timestamp>().ok();
    let parsed = parsed.or_else(|| text.parse::<DateTime>().ok().and_then(local));
    parsed
        .or_else(|| text.parse::<Time>().ok().and_then(clock))
        .ok_or_else(|| format!("{text:?} is no time: write for example 14:00 or \"2026-11-23 14:00\""))
}

/// The end of a day as people write it, or a moment: a contract `until 2027-12-31` has that day in it.
pub(super) fn parse_end(text: &str) -> Result<Timestamp, String> {
    match text.parse::<Date>().ok().filter(|_| text.len() == 10).and_then(|date| date.tomorrow().ok()) {
        Some(next) => parse_moment(&format!("{next} 00:00")),
        None => parse_moment(text),
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

fn labelled_lines(label: &str, value: &str) -> Vec<String> {
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

    #[test]
    fn moments_are_read_as_people_write_them() {
        let next = parse_moment("14:00").unwrap();
        let now = Timestamp::now();
        assert!(next > now && next.as_second() - now.as_second() <= 25 * 3_600);
        assert_eq!(parse_moment("2026-11-23T14:00:00Z").unwrap().to_string(), "2026-11-23T14:00:00Z");
        let day = parse_end("2027-12-31").unwrap();
        assert_eq!(day, parse_moment("2028-01-01 00:00").unwrap());
        assert!(parse_moment("soon").is_err());
    }
}

//! What is wrong in a file, where, and what would be right. Here alone a place in the text becomes line and
//! column; what counts as a mistake is decided where the file is read.

use std::cell::RefCell;
use std::fmt;

/// One mistake, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Which key: `targets.hmi-2.zone`, `rules[acme-packaging].hours`. Entries of a list, and rules whose `id` cannot
    /// be read, are counted from 1. Empty where the file is not even TOML.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub right: String,
}

impl fmt::Display for Mistake {
    /// `12:8: targets.hmi-2.zone: what is wrong; what would be right`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}; {}", self.what, self.right)
    }
}

/// The mistakes of a file, by place; at least one. All of them, unless there are more than a thousand: then it is
/// no file people wrote, and what was left out is told when these are gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.in_file("plant.toml"))]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Each of them, by place.
    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.0.iter()
    }

    /// How many: one or more.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// One line for each, with the name of the file in front as editors and compilers write it.
    pub fn in_file(&self, name: &str) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            for (n, mistake) in self.0.iter().enumerate() {
                let end_of_last = if n == 0 { "" } else { "\n" };
                write!(f, "{end_of_last}{name}:{mistake}")?;
            }
            Ok(())
        })
    }
}

/// Mistakes as they are found. Shared by everything that reads one file.
#[derive(Debug, Default)]
pub(super) struct Log(RefCell<Vec<Found>>);

#[derive(Debug)]
struct Found {
    offset: usize,
    path: String,
    what: String,
    right: String,
}

impl Log {
    const NOTED_MAX: usize = 1_000;

    /// Notes a mistake at a byte of the text.
    pub(super) fn note(&self, offset: usize, path: &str, what: impl Into<String>, right: impl Into<String>) {
        let mut noted = self.0.borrow_mut();
        if noted.len() < Self::NOTED_MAX {
            noted.push(Found { offset, path: path.to_owned(), what: what.into(), right: right.into() });
        }
    }

    /// All that was noted about `text`; `None` where nothing was.
    pub(super) fn into_mistakes(self, text: &str) -> Option<Mistakes> {
        let mut found = self.0.into_inner();
        found.sort_by(|a, b| (a.offset, &a.path).cmp(&(b.offset, &b.path)));
        let mut place = Place::start(text);
        let mistakes: Vec<_> = found
            .into_iter()
            .map(|Found { offset, path, what, right }| {
                let (line, column) = place.advance(offset);
                Mistake { line, column, path, what, right }
            })
            .collect();
        (!mistakes.is_empty()).then_some(Mistakes(mistakes))
    }
}

/// Walks a text once, because a file of one long line may hold many mistakes.
struct Place<'t> {
    text: &'t str,
    offset: usize,
    line: usize,
    column: usize,
}

impl<'t> Place<'t> {
    fn start(text: &'t str) -> Self {
        Self { text, offset: 0, line: 1, column: 1 }
    }

    /// Line and column of `offset`, which lies no earlier than the last one asked for.
    fn advance(&mut self, offset: usize) -> (usize, usize) {
        let passed = self.text[self.offset..].char_indices().take_while(|(at, _)| self.offset + at < offset);
        for (_, c) in passed {
            (self.line, self.column) = if c == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        }
        self.offset = self.text.len().min(offset.max(self.offset));
        while !self.text.is_char_boundary(self.offset) {
            self.offset += 1;
        }
        (self.line, self.column)
    }
}

/// A text of the file as a message shows it: quoted, escaped, cut short.
pub fn shown(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The one of `names` that `text` most likely meant: at most a third of its letters differ, or only their order does.
pub fn closest<'n>(text: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    const COMPARED_MAX: usize = 100;
    if text.len() > COMPARED_MAX {
        return None;
    }
    let tolerated = text.chars().count().max(3) / 3;
    names
        .into_iter()
        .filter(|name| name.len().abs_diff(text.len()) <= 4 * tolerated)
        .map(|name| (if is_anagram(text, name) { 1 } else { distance(text, name) }, name))
        .filter(|(distance, _)| *distance <= tolerated)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

fn is_anagram(a: &str, b: &str) -> bool {
    let sorted = |text: &str| {
        let mut letters: Vec<_> = text.chars().collect();
        letters.sort_unstable();
        letters
    };
    a.len() == b.len() && sorted(a) == sorted(b)
}

/// Levenshtein's distance: letters to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[row.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_counted_in_lines_and_characters() {
        let text = "ä = 1\nbö = 2\n";
        let log = Log::default();
        for offset in [text.len() + 5, text.find('b').expect("there"), text.find('2').expect("there"), 0, 1] {
            log.note(offset, "", "", "");
        }
        let places: Vec<_> =
            log.into_mistakes(text).expect("noted").iter().map(|mistake| (mistake.line, mistake.column)).collect();
        assert_eq!(places, [(1, 1), (1, 2), (2, 1), (2, 6), (3, 1)]);
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_another_word_is_not() {
        let keys = ["zones", "targets", "hours", "from"];
        assert_eq!(closest("zone", keys), Some("zones"));
        assert_eq!(closest("tragets", keys), Some("targets"));
        assert_eq!(closest("form", keys), Some("from"));
        assert_eq!(closest("sources", keys), None);
        assert_eq!(closest("", keys), None);
    }
}

//! Heads of logs on a sheet of paper: rows that a person can type, each with a check of its own, so that a typing error is told
//! from a log that was rolled back. Case, spaces and dashes do not matter, nor whether a `0` was taken for an `O`.

use std::fmt;

use certs::log_key::Verifier;
use data_encoding::{Encoding, Specification};
use jiff::Timestamp;
use policies::digest::Digest;
use policies::ids::RestoreId;
use sha2::{Digest as _, Sha256};

use crate::read::{JOURNAL_DIR, RECORDS_DIR};
use crate::verify::{By, Remembered};

/// Crockford's: without the letters that are taken for others.
const ALPHABET: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Rows of a head.
const ROWS: usize = 4;
/// Characters of the root in each.
const ROOT_CHARS: usize = 13;
/// Characters of its check behind them.
const CHECK_CHARS: usize = 3;

/// What stands before the moment in which a sheet was printed.
const PRINTED: &str = "printed";

/// A log's head, as the sheet has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaperHead {
    /// The log's name, `<deployment>/journal` or `<deployment>/records/<node>`.
    pub origin: String,
    /// Its entries.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Digest,
}

/// Why typed text is no head. Nothing was rolled back: somebody mistyped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistyped {
    /// No log is named.
    #[error(
        "no head is in it: type `journal` and its number of entries, and below it the four rows, each with its number"
    )]
    Nothing,
    /// A log without a number.
    #[error("behind `{0}` stands no number of entries")]
    NoSize(String),
    /// A row is missing, or too long or short.
    #[error("row {row} below `{log}` has {chars} letters and digits, and on the sheet it has 16")]
    Length {
        /// `journal` or `records`.
        log: String,
        /// Which.
        row: usize,
        /// As typed.
        chars: usize,
    },
    /// A row's check fails.
    #[error("row {row} below `{log}` is mistyped: compare it with the sheet")]
    Row {
        /// `journal` or `records`.
        log: String,
        /// The first such.
        row: usize,
    },
    /// All of them fail.
    #[error(
        "no row below `{0}` fits: its number of entries is mistyped, or the sheet is of another installation than your \
         trust file"
    )]
    All(String),
}

/// The rows as they are printed and typed, below a line with the log and its size.
impl fmt::Display for PaperHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.origin.split_once('/').map_or(self.origin.as_str(), |(_, log)| log);
        write!(f, "{} {} entries", name.replace('/', " "), self.size)?;
        let root = encoding().encode(&self.root.0);
        for (row, chars) in root.as_bytes().chunks(ROOT_CHARS).enumerate() {
            let chars = String::from_utf8_lossy(chars);
            let all = format!("{chars}{}", check(&self.origin, self.size, row, &chars));
            let groups: Vec<&str> = (0..all.len()).step_by(4).map(|at| &all[at..at + 4]).collect();
            write!(f, "\n  {}  {}", row + 1, groups.join(" "))?;
        }
        Ok(())
    }
}

/// What a sheet says, without the words around it: what its picture holds, and what `verify` takes.
pub fn sheet(heads: &[PaperHead], at: Timestamp) -> String {
    let heads: Vec<String> = heads.iter().map(ToString::to_string).collect();
    format!("{PRINTED} {at:.0}\n{}\n", heads.join("\n"))
}

/// Reads typed text, by the logs that are trusted. Other lines, such as a title, are passed over.
pub fn parse(text: &str, logs: &[Verifier]) -> Result<Vec<Remembered>, Mistyped> {
    let mut typed: Vec<Typed> = Vec::new();
    let mut at = None;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        let first = first.to_ascii_lowercase();
        let rest: Vec<&str> = words.collect();
        if first == PRINTED {
            at = rest.first().and_then(|moment| moment.parse().ok());
        } else if first == JOURNAL_DIR || first == RECORDS_DIR {
            let size = rest.iter().rev().find_map(|word| word.parse().ok());
            let size = size.ok_or_else(|| Mistyped::NoSize(first.clone()))?;
            let restore = rest.iter().find_map(|word| restore_of(word));
            typed.push(Typed { log: first, restore, size, rows: Default::default() });
        } else if let (Some(last), Some((row, chars))) = (typed.last_mut(), row_of(line.trim_start())) {
            last.rows[row] = chars.chars().filter_map(symbol).collect();
        }
    }
    if typed.is_empty() {
        return Err(Mistyped::Nothing);
    }
    typed.iter().map(|typed| typed.head(logs, at)).collect()
}

/// One log, as typed.
struct Typed {
    log: String,
    /// The last part of its name since a restore.
    restore: Option<RestoreId>,
    size: u64,
    rows: [String; ROWS],
}

impl Typed {
    fn head(&self, logs: &[Verifier], at: Option<Timestamp>) -> Result<Remembered, Mistyped> {
        let log = || self.log.clone();
        let wrong = |row: &String| row.chars().count() != ROOT_CHARS + CHECK_CHARS;
        if let Some(row) = self.rows.iter().position(wrong) {
            return Err(Mistyped::Length { log: log(), row: row + 1, chars: self.rows[row].chars().count() });
        }
        let ours = |key: &&Verifier| key.name().split('/').nth(1) == Some(self.log.as_str());
        let named = |key: &Verifier| match self.restore {
            Some(restore) => format!("{}/{restore}", key.name()),
            None => key.name().to_owned(),
        };
        let wrong_rows = |name: String| -> (String, Vec<usize>) {
            let right = |row: &usize| {
                let (chars, told) = self.rows[*row].split_at(ROOT_CHARS);
                check(&name, self.size, *row, chars) == told
            };
            let wrong = (0..ROWS).filter(|row| !right(row)).collect();
            (name, wrong)
        };
        let all = logs.iter().filter(ours).map(|key| wrong_rows(named(key)));
        let found = all.min_by_key(|(_, wrong)| wrong.len());
        let (origin, wrong) = found.ok_or_else(|| Mistyped::All(log()))?;
        match wrong.first() {
            Some(_) if wrong.len() == ROWS => return Err(Mistyped::All(log())),
            Some(row) => return Err(Mistyped::Row { log: log(), row: row + 1 }),
            None => {}
        }
        let root: String = self.rows.iter().map(|row| &row[..ROOT_CHARS]).collect();
        let root = encoding().decode(root.as_bytes()).ok().and_then(|root| root.try_into().ok());
        let root = Digest(root.ok_or_else(|| Mistyped::Row { log: log(), row: ROWS })?);
        Ok(Remembered { origin, size: self.size, root, by: By::Paper { at } })
    }
}

/// A restore in a log's name, as it was meant.
fn restore_of(word: &str) -> Option<RestoreId> {
    let word = word.to_ascii_lowercase();
    let meant: String = word.strip_prefix("e_")?.chars().filter_map(symbol).collect();
    format!("e_{}", meant.to_ascii_lowercase()).parse().ok()
}

/// A row's number from 0, and what stands behind it and whatever parts the two.
fn row_of(line: &str) -> Option<(usize, &str)> {
    let number = line.chars().next()?.to_digit(10)? as usize;
    let rest = line.get(1..).filter(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))?;
    number.checked_sub(1).filter(|row| *row < ROWS).map(|row| (row, rest))
}

/// A typed character as it was meant; none for what only parts groups.
fn symbol(typed: char) -> Option<char> {
    match typed.to_ascii_uppercase() {
        'O' => Some('0'),
        'I' | 'L' => Some('1'),
        letter if letter.is_ascii_alphanumeric() => Some(letter),
        _ => None,
    }
}

/// Fifteen bits over all that the row means.
fn check(origin: &str, size: u64, row: usize, chars: &str) -> String {
    let digest = Sha256::digest(format!("holdpoint/paper/v1\n{origin}\n{size}\n{row}\n{chars}"));
    encoding().encode(&digest[..2])[..CHECK_CHARS].to_owned()
}

fn encoding() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str(ALPHABET);
    specification.encoding().expect("the alphabet has 32 letters")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::Signer as _;
    use crate::sim::SimSigner;

    fn logs() -> Vec<Verifier> {
        let key = |origin| SimSigner::new(1).verifier(origin).unwrap();
        vec![key("mill-3/journal"), key("mill-3/records/gate-1"), key("mill-3/records/gate-2")]
    }

    fn head(origin: &str, size: u64, root: [u8; 32]) -> PaperHead {
        PaperHead { origin: origin.to_owned(), size, root: Digest(root) }
    }

    fn at() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    #[test]
    fn a_sheet_is_typed_in_any_case_with_any_spaces_and_dashes() {
        let restored = "mill-3/records/gate-2/e_01m8gkwnsqsabngwckzketfwkj";
        let heads = [head("mill-3/journal", 41, [0xA5; 32]), head(restored, 17, [1; 32])];
        let text = sheet(&heads, at());
        let same = |text: &str| {
            let read = parse(text, &logs()).unwrap();
            let heads: Vec<_> = heads.iter().map(|head| (head.origin.clone(), head.size, head.root)).collect();
            assert_eq!(read.iter().map(|head| (head.origin.clone(), head.size, head.root)).collect::<Vec<_>>(), heads);
            read
        };
        assert_eq!(same(&text)[0].by, By::Paper { at: Some(at()) });
        same(&text.to_lowercase().replace("printed", "xxx"));
        same(&format!("Holdpoint, mill-3\n\n{}\nsigned", text.replace('0', "o")));
        same(&text.replace("  1  ", "1.").replace("  2  ", "2) - "));
    }

    #[test]
    fn each_typing_error_is_told_from_a_rollback() {
        let text = head("mill-3/journal", 41, [0xA5; 32]).to_string();
        let read = |text: &str| parse(text, &logs()).unwrap_err();
        let log = || "journal".to_owned();
        assert_eq!(read("hello\n"), Mistyped::Nothing);
        assert_eq!(read(&text.replace("41", "many")), Mistyped::NoSize(log()));
        assert_eq!(read(&text.replace("41", "14")), Mistyped::All(log()));
        assert_eq!(read(&head("mill-4/journal", 41, [0xA5; 32]).to_string()), Mistyped::All(log()));
        let last = text.trim_end().len();
        assert_eq!(read(&text[..last - 1]), Mistyped::Length { log: log(), row: 4, chars: 15 });
        let lines: Vec<&str> = text.lines().collect();
        let swapped = [lines[0], &lines[2].replace("2  ", "1  "), &lines[1].replace("1  ", "2  "), lines[3], lines[4]];
        assert_eq!(read(&swapped.join("\n")), Mistyped::Row { log: log(), row: 1 });
    }

    proptest! {
        #[test]
        fn one_character_mistyped_is_found_in_its_row(root: [u8; 32], size: u64, row in 0_usize..4, at in 0_usize..16, by in 1_usize..32) {
            let text = head("mill-3/journal", size, root).to_string();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let place = lines[row + 1].char_indices().skip(5).filter(|(_, c)| *c != ' ').nth(at).unwrap().0;
            let old = ALPHABET.find(&lines[row + 1][place..=place]).unwrap();
            let new = (old + by) % 32;
            lines[row + 1].replace_range(place..=place, &ALPHABET[new..=new]);
            let read = parse(&lines.join("\n"), &logs());
            // Of the check's fifteen bits one in 32,768 errors is not seen.
            let of_its_row = Err(Mistyped::Row { log: "journal".to_owned(), row: row + 1 });
            prop_assert!(read.is_ok() || read == of_its_row);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text: String, rows in "journal [0-9]{1,3}\n([1-4] .{0,20}\n){0,5}") {
            let _ = parse(&text, &logs());
            let _ = parse(&rows, &logs());
        }
    }
}

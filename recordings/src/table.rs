//! The operations of a session for other programs: one line for each that a protocol gate read, passed or refused, as CSV
//! (RFC 4180) or as JSON lines. Unlike [`crate::timeline`] nothing is put together: what was recorded apart stands apart.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use crate::notes::Note;
use crate::operation::Operation;
use crate::read::{Moment, ReadFault, What};
use crate::words::Words;

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableForm {
    /// For spreadsheets; no cell of it is taken for a formula.
    Csv,
    /// An object on each line.
    JsonLines,
}

/// Why there is no table, or only its beginning.
#[derive(Debug, thiserror::Error)]
pub enum TableFault {
    /// The recording cannot be read on.
    #[error(transparent)]
    Read(#[from] ReadFault),
    /// It cannot be written.
    #[error("cannot write the operations: {0}")]
    Write(#[from] io::Error),
    /// There are none.
    #[error(
        "no protocol gate read an operation here, so there is no list of them; `play` shows what is known of this session"
    )]
    NoOperation,
}

/// What one line says.
#[derive(Serialize)]
struct Line<'a> {
    at: Timestamp,
    channel: u32,
    allowed: bool,
    words: &'a Words,
    #[serde(flatten)]
    operation: &'a Operation,
}

const HEAD: &str = "time,channel,result,times,protocol,class,code,object,value,rule,reason,words";

/// Writes the operations among a recording's moments, of one channel where one is named; gives how many lines.
pub fn write_operations(
    out: &mut dyn Write,
    moments: impl IntoIterator<Item = Result<Moment, ReadFault>>,
    form: TableForm,
    channel: Option<u32>,
) -> Result<u64, TableFault> {
    let mut lines = 0;
    for moment in moments {
        let moment = moment?;
        let What::Note(Note::GateVerdict { allowed, words, operation: Some(operation), .. }) = &moment.what else {
            continue;
        };
        if channel.is_some_and(|channel| channel != moment.channel) {
            continue;
        }
        let line = Line { at: moment.wall, channel: moment.channel, allowed: *allowed, words, operation };
        match form {
            TableForm::Csv if lines == 0 => write!(out, "{HEAD}\r\n{}\r\n", csv(&line))?,
            TableForm::Csv => write!(out, "{}\r\n", csv(&line))?,
            TableForm::JsonLines => {
                writeln!(out, "{}", serde_json::to_string(&line).expect("string keys and whole numbers"))?;
            }
        }
        lines += 1;
    }
    out.flush()?;
    if lines == 0 { Err(TableFault::NoOperation) } else { Ok(lines) }
}

fn csv(line: &Line<'_>) -> String {
    let Line { at, channel, allowed, words, operation } = line;
    let Operation { protocol, class, code, object, value, rule, refused, times } = operation;
    let or_nothing = |words: &Option<Words>| words.as_ref().map(ToString::to_string).unwrap_or_default();
    let cells = [
        at.to_string(),
        channel.to_string(),
        if *allowed { "passed" } else { "REFUSED" }.to_owned(),
        times.to_string(),
        protocol.to_string(),
        class.map(|class| class.as_str().to_owned()).unwrap_or_default(),
        code.to_string(),
        or_nothing(object),
        or_nothing(value),
        rule.as_ref().map(ToString::to_string).unwrap_or_default(),
        or_nothing(refused),
        words.to_string(),
    ];
    cells.iter().map(|cell| self::cell(cell)).collect::<Vec<_>>().join(",")
}

/// What begins a formula in some spreadsheet.
const FORMULAS: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'];

/// Spreadsheets take a file for UTF-8 by this mark at its beginning alone.
pub const MARK: &str = "\u{feff}";

/// A cell of a table (RFC 4180), in quotes, in which a spreadsheet finds text and no formula: an apostrophe goes before what it would take for one,
/// also where a program that goes by other separators than these sees a cell begin inside of one.
pub fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len() + 3);
    cell.push('"');
    let mut begins = true;
    for c in text.chars() {
        if begins && FORMULAS.contains(&c) {
            cell.push('\'');
        }
        begins = matches!(c, ';' | '\t' | '\n' | '\r') || begins && (c.is_whitespace() || c == '"');
        cell.push(c);
        if c == '"' {
            cell.push(c);
        }
    }
    cell.push('"');
    cell
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use policies::actions::Action;
    use policies::plant::Protocol;
    use proptest::prelude::*;

    use super::*;

    fn moment(allowed: bool, value: &str) -> Result<Moment, ReadFault> {
        let operation = Operation {
            protocol: Protocol::Modbus,
            class: Some(Action::Operate),
            code: "6".into(),
            object: Some("holding register 40101 (address 100), unit 1".into()),
            value: Some(value.into()),
            rule: Some("acme".parse().unwrap()),
            refused: (!allowed).then(|| "not granted".into()),
            times: 1,
        };
        let (words, operation) = ("wrote".into(), Some(Box::new(operation)));
        let what = What::Note(Note::GateVerdict { allowed, words, operation, spliced: Vec::new(), checked: None });
        Ok(Moment { at: Duration::ZERO, wall: Timestamp::UNIX_EPOCH, sequence: 0, channel: 2, what })
    }

    fn table(form: TableForm, moments: Vec<Result<Moment, ReadFault>>) -> String {
        let mut out = Vec::new();
        write_operations(&mut out, moments, form, None).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn operations_are_written_this_way() {
        let moments = || vec![moment(true, "55"), moment(false, "=1+1,\"x\"\u{1b}")];
        assert_eq!(
            table(TableForm::Csv, moments()),
            "time,channel,result,times,protocol,class,code,object,value,rule,reason,words\r\n\
             \"1970-01-01T00:00:00Z\",\"2\",\"passed\",\"1\",\"modbus\",\"operate\",\"6\",\
             \"holding register 40101 (address 100), unit 1\",\"55\",\"acme\",\"\",\"wrote\"\r\n\
             \"1970-01-01T00:00:00Z\",\"2\",\"REFUSED\",\"1\",\"modbus\",\"operate\",\"6\",\
             \"holding register 40101 (address 100), unit 1\",\"'=1+1,\"\"x\"\"\\x1b\",\"acme\",\"not granted\",\"wrote\"\r\n"
        );
        let first = table(TableForm::JsonLines, moments()).lines().next().unwrap().to_owned();
        assert_eq!(
            first,
            r#"{"at":"1970-01-01T00:00:00Z","channel":2,"allowed":true,"words":"wrote","protocol":"modbus","class":"operate","code":"6","object":"holding register 40101 (address 100), unit 1","value":"55","rule":"acme"}"#
        );
        let none = write_operations(&mut Vec::new(), moments(), TableForm::Csv, Some(1));
        assert!(matches!(none, Err(TableFault::NoOperation)));
    }

    /// What a reader by RFC 4180 finds in a line of quoted cells.
    fn read(line: &str) -> Vec<String> {
        let cells = line.strip_prefix('"').unwrap().strip_suffix('"').unwrap().split("\",\"");
        // A quote that is doubled before a comma is no end of a cell; these lines hold none, but where the test says so.
        cells.map(|cell| cell.replace("\"\"", "\"")).collect()
    }

    /// Whether a spreadsheet finds a formula in a cell, whatever it goes by.
    fn has_formula(cell: &str) -> bool {
        let begins =
            |part: &str| part.trim_start_matches(|c: char| c == '"' || c.is_whitespace()).starts_with(FORMULAS);
        cell.split([';', '\t', '\n', '\r']).any(begins)
    }

    #[test]
    fn no_cell_ends_early_or_is_a_formula_inside() {
        for (text, expected) in [
            ("plain", "plain"),
            ("1-2", "1-2"),
            ("-2", "'-2"),
            (" =1+1", " '=1+1"),
            ("a \"b\", c", "a \"\"b\"\", c"),
            ("line\nbreak", "line\nbreak"),
            ("a; =1", "a; '=1"),
            ("b\n@c", "b\n'@c"),
            ("d\t+e", "d\t'+e"),
            ("; \"=1", "; \"\"'=1"),
        ] {
            assert_eq!(cell(text), format!("\"{expected}\""));
        }
    }

    proptest! {
        #[test]
        fn no_cell_is_a_formula_and_none_leaks_into_the_next(value: String) {
            let value = value.replace(',', "");
            let table = table(TableForm::Csv, vec![moment(true, &value)]);
            let lines: Vec<&str> = table.strip_suffix("\r\n").unwrap().split("\r\n").collect();
            prop_assert_eq!(lines.len(), 2);
            let cells = read(lines[1]);
            prop_assert_eq!(cells.len(), 12);
            prop_assert!(cells.iter().all(|cell| !has_formula(cell)), "{cells:?}");
            let without = |text: &str| text.replace('\'', "");
            prop_assert_eq!(without(&cells[8]), without(&Words::from(value.as_str()).to_string()));
        }

        #[test]
        fn a_formula_is_made_text(before in "[; \"\t\n]{0,3}", rest: String, sign in prop::sample::select(FORMULAS.to_vec())) {
            let cell = cell(&format!("{before}{sign}{rest}"));
            prop_assert!(!has_formula(&cell[1..cell.len() - 1]), "{cell}");
            prop_assert!(cell.contains('\''));
        }
    }
}

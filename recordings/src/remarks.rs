//! What the gate itself said and did in a session, which files passed, and which channels there were, in words for an
//! auditor: beside the terminal, so that what a replay does not paint is not missed. The words come from the recording alone.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::frame::Stream;
use crate::ledger::{Direction, Extent, FileEntry, Outcome};
use crate::notes::Note;
use crate::read::{Moment, What};
use crate::timeline::in_words;
use crate::words::Words;

/// Something that the gate said or did, or a file that it listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Since the session was opened.
    pub at: Duration,
    /// By the gate's wall clock.
    pub wall: Timestamp,
    /// What, harmless to a terminal.
    pub words: String,
}

/// What ran on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ran {
    /// A shell.
    Shell,
    /// A command line.
    Command(Words),
    /// A command that copies files, which are listed: nothing that could be shown.
    Copy(Words),
    /// A subsystem, such as `sftp`: nothing that a screen shows.
    Subsystem(Words),
}

impl Ran {
    /// What began at a moment.
    pub fn of(moment: &Moment) -> Option<Self> {
        match &moment.what {
            What::Note(Note::Shell) => Some(Self::Shell),
            What::Note(Note::Exec { command, copies_files: true }) => Some(Self::Copy(command.clone())),
            What::Note(Note::Exec { command, copies_files: false }) => Some(Self::Command(command.clone())),
            What::Note(Note::Subsystem { name }) => Some(Self::Subsystem(name.clone())),
            _ => None,
        }
    }

    /// Whether a replay can show it.
    pub const fn is_shown(&self) -> bool {
        matches!(self, Self::Shell | Self::Command(_))
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shell => f.write_str("a shell"),
            Self::Command(command) | Self::Copy(command) => write!(f, "the command {command}"),
            Self::Subsystem(name) => write!(f, "{name}"),
        }
    }
}

/// Gathers what the gate said and did while the moments of a session pass.
#[derive(Debug, Clone, Default)]
pub struct Remarks {
    /// In order; the last one says why the session ended, where it is sealed.
    pub remarks: Vec<Remark>,
    /// Remarks that were too many to keep.
    pub more: u64,
    /// What ran, by channel.
    pub channels: BTreeMap<u32, Ran>,
    /// Whether the session's end is among them.
    pub has_ended: bool,
}

/// A session of a day has some dozens; one that goes on being refused has more, and they are alike.
const REMARKS_MAX: usize = 1_000;
/// Channels of one session that are listed.
const CHANNELS_MAX: usize = 1_000;
/// What begins a line that the gate writes on a technician's terminal.
const LINE: &str = "[holdpoint] ";

impl Remarks {
    /// Takes in the next moment.
    pub fn take(&mut self, moment: &Moment) {
        if let Some(ran) = Ran::of(moment).filter(|_| self.channels.len() < CHANNELS_MAX) {
            self.channels.insert(moment.channel, ran);
        }
        self.has_ended |= matches!(moment.what, What::Sealed(_));
        let Some(words) = of(moment).or_else(|| said(moment)) else { return };
        // The end is always kept.
        if self.remarks.len() < REMARKS_MAX || self.has_ended {
            self.remarks.push(Remark { at: moment.at, wall: moment.wall, words });
        } else {
            self.more += 1;
        }
    }
}

/// What the gate did at a moment, if it did something. What it wrote on a terminal is not among it.
pub fn of(moment: &Moment) -> Option<String> {
    match &moment.what {
        What::Note(note) => of_note(note),
        What::Sealed(sealed) => Some(format!("the session ended: {}", Words::from(sealed.ending.as_str()))),
        _ => None,
    }
}

/// The same of a fact that is recorded just now.
pub fn of_note(note: &Note) -> Option<String> {
    match note {
        Note::ChannelOpen { kind, to: None, from: Some(from) } => Some(format!("a page in a {kind} at {from}")),
        Note::Notice { text } => Some(format!("told the technician: {}", Words::from(text.trim()))),
        Note::Freeze { frozen: true, reason } => Some(format!("input stopped: {reason}")),
        Note::Freeze { frozen: false, reason } => Some(format!("input went on: {reason}")),
        Note::Watch { operator, watching: true } => Some(format!("{operator} watched")),
        Note::Watch { operator, watching: false } => Some(format!("{operator} watched no longer")),
        Note::Cut { words } => Some(format!("cut: {words}")),
        // What a protocol gate says of an operation is a whole line.
        Note::GateVerdict { allowed: false, words, operation: Some(operation), .. } => Some(in_words(words, operation)),
        Note::GateVerdict { allowed: false, words, .. } => Some(format!("refused {words}")),
        Note::GateVerdict { words, checked: Some(_), .. } => Some(words.to_string()),
        Note::FileEntry(entry) => Some(file(entry)),
        Note::Redacted { bytes, reason } => Some(format!("{bytes} bytes were not kept: {reason}")),
        _ => None,
    }
}

fn file(entry: &FileEntry) -> String {
    let mut words = format!("file: {} {}", entry.operation.as_str(), entry.path);
    if let Some(to) = &entry.to {
        words.push_str(&format!(" to {to}"));
    }
    match entry.outcome {
        Outcome::Done => {}
        Outcome::Failed(status) => words.push_str(&format!(", the target said no (status {status})")),
        Outcome::Unfinished => words.push_str(", unfinished"),
        Outcome::NotBegun => words.push_str(", refused"),
    }
    if entry.operation.direction() != Direction::AtTarget && entry.outcome != Outcome::NotBegun {
        words.push_str(&format!(", {}", bytes(entry)));
    }
    match (entry.sha256(), entry.extents.as_slice()) {
        (Some(digest), _) => words.push_str(&format!(", SHA-256 {digest}")),
        (None, [Extent { from, until, sha256: Some(digest) }]) => {
            words.push_str(&format!(", SHA-256 of bytes {from} to {until} {digest}"));
        }
        _ => {}
    }
    words
}

/// How much passed. Of what was under way when the channel ended, nobody here knows how much arrived.
fn bytes(entry: &FileEntry) -> String {
    let FileEntry { bytes, unanswered, .. } = entry;
    match (entry.outcome, entry.operation.direction()) {
        (Outcome::Unfinished, Direction::FromTarget) if *bytes > 0 => format!("at most {bytes} bytes"),
        _ if *unanswered > 0 => format!("at least {} and at most {bytes} bytes", bytes - unanswered),
        _ => format!("{bytes} bytes"),
    }
}

/// A line of the gate's on a terminal. Other bytes of its own are answers in a protocol.
pub fn said(moment: &Moment) -> Option<String> {
    let What::Data(Stream::GateOut | Stream::GateOutErr, bytes) = &moment.what else { return None };
    let line = str::from_utf8(bytes).ok()?.trim().strip_prefix(LINE)?;
    Some(format!("told the technician: {}", Words::from(line)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ledger::{Operation, RemotePath, Verdict};
    use crate::notes::{CheckOutcome, Checked};
    use policies::digest::Digest;

    #[test]
    fn a_file_is_told_with_its_name_size_and_digest_and_how_it_went() {
        let digest = Digest([0xab; 32]);
        let path = |name: &str| RemotePath::new(name.as_bytes());
        let put = FileEntry::new(Operation::Put, path("recipe\u{1b}[2J"), Verdict::Allowed, Outcome::Done);
        let extents = vec![Extent { from: 0, until: 7, sha256: Some(digest) }];
        let put = FileEntry { bytes: 7, extents, whole: true, ..put };
        let part = FileEntry { whole: false, outcome: Outcome::Unfinished, ..put.clone() };
        let on_its_way = FileEntry { unanswered: 3, ..part.clone() };
        let got = FileEntry { operation: Operation::Get, extents: Vec::new(), ..part.clone() };
        let refused = FileEntry::new(Operation::Get, path("trend"), Verdict::Refused, Outcome::NotBegun);
        let renamed = FileEntry::new(Operation::Rename, path("a"), Verdict::Allowed, Outcome::Failed(4));
        let renamed = FileEntry { to: Some(path("b")), ..renamed };
        let told = [put, part, on_its_way, got, refused, renamed]
            .map(|entry| of(&moment(1, What::Note(Note::FileEntry(Box::new(entry))))));
        assert_eq!(
            told.map(Option::unwrap),
            [
                format!(r"file: put recipe\x1b[2J, 7 bytes, SHA-256 {digest}"),
                format!(r"file: put recipe\x1b[2J, unfinished, 7 bytes, SHA-256 of bytes 0 to 7 {digest}"),
                format!(
                    r"file: put recipe\x1b[2J, unfinished, at least 4 and at most 7 bytes, SHA-256 of bytes 0 to 7 {digest}"
                ),
                r"file: get recipe\x1b[2J, unfinished, at most 7 bytes".to_owned(),
                "file: get trend, refused".to_owned(),
                "file: rename a to b, the target said no (status 4)".to_owned(),
            ]
        );
    }

    fn moment(channel: u32, what: What) -> Moment {
        Moment { at: Duration::ZERO, wall: Timestamp::UNIX_EPOCH, sequence: 0, channel, what }
    }

    #[test]
    fn what_the_gate_did_and_wrote_on_a_terminal_is_told_and_a_protocol_of_its_own_is_not() {
        let wrote = |bytes: &'static [u8]| moment(1, What::Data(Stream::GateOutErr, Bytes::from_static(bytes)));
        let reason = "Your input is stopped.\u{1b}[2J";
        let mut remarks = Remarks::default();
        for moment in [
            moment(1, What::Note(Note::Shell)),
            moment(2, What::Note(Note::Subsystem { name: "sftp".into() })),
            moment(3, What::Note(Note::Exec { command: "scp -t x".into(), copies_files: true })),
            moment(4, What::Note(Note::Exec { command: "uptime".into(), copies_files: false })),
            wrote(b"\r\n[holdpoint] 5 minutes left.\r\n"),
            wrote(b"\0\0\0\x11\x65\xff"),
            moment(0, What::Note(Note::Freeze { frozen: true, reason: reason.into() })),
            moment(
                2,
                What::Note(Note::GateVerdict {
                    allowed: false,
                    words: "put recipe".into(),
                    operation: None,
                    spliced: Vec::new(),
                    checked: None,
                }),
            ),
            moment(
                2,
                What::Note(Note::GateVerdict {
                    allowed: true,
                    words: "get recipe".into(),
                    operation: None,
                    spliced: Vec::new(),
                    checked: None,
                }),
            ),
            moment(
                2,
                What::Note(Note::GateVerdict {
                    allowed: true,
                    words: "put recipe: the file check passed it".into(),
                    operation: None,
                    spliced: Vec::new(),
                    checked: Some(Box::new(Checked {
                        path: RemotePath::new(b"recipe"),
                        bytes: 7,
                        sha256: Digest::of_bytes(b"content"),
                        outcome: CheckOutcome::Passed,
                        said: "OK".into(),
                    })),
                }),
            ),
        ] {
            remarks.take(&moment);
        }
        let words: Vec<&str> = remarks.remarks.iter().map(|remark| remark.words.as_str()).collect();
        assert_eq!(
            words,
            [
                "told the technician: 5 minutes left.",
                r"input stopped: Your input is stopped.\x1b[2J",
                "refused put recipe",
                "put recipe: the file check passed it"
            ]
        );
        let shown: Vec<u32> = remarks.channels.iter().filter(|(_, ran)| ran.is_shown()).map(|(n, _)| *n).collect();
        assert_eq!((shown, remarks.has_ended), (vec![1, 4], false));
    }
}

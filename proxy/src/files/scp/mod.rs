//! Old-style scp, looked into: the records that one end sends and the answers of the other, in lockstep. The protocol
//! has no description of its own; this is what OpenSSH's `scp.c` does with `-O`, and BSD's rcp did before it.

mod command;
mod upload;

use bytes::Bytes;
use policies::digest::Digest;
use recordings::ledger::{Extent, FileEntry, Operation, Outcome, RemotePath, Verdict};
use sha2::{Digest as _, Sha256};

use super::{Breach, End, HandOver, Inspect, Inspected, Malformed, UploadStep};
pub(super) use command::{Command, Direction, Scp, parse_command};
use upload::Uploads;

/// The longest record. Old programs read into buffers of 1,024 bytes, and take what does not fit for another record.
const RECORD_BYTES_MAX: usize = 1000;

/// The longest answer: OpenSSH reads it into 2,048 bytes, and what is in it may be a message with a path.
const ANSWER_BYTES_MAX: usize = 2000;

/// Directories within directories.
const DEPTH_MAX: usize = 256;

/// What SFTP calls "failure"; scp has no codes.
const FAILURE: u32 = 4;

/// Looks into the channel of one scp command.
#[derive(Debug)]
pub(super) struct Copy {
    command: Scp,
    line: Vec<u8>,
    state: State,
    answer: Vec<u8>,
    awaited: Option<Awaited>,
    directories: Vec<Vec<u8>>,
    file: Option<File>,
    /// Where each upload is checked before the target has any of it.
    uploads: Option<Uploads>,
}

/// Where the sending end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Record,
    Content {
        left: u64,
    },
    /// After the content, a record that says how reading it went.
    Verdict,
    /// A fatal error was told.
    Over,
}

/// What the receiving end has to answer before the sending end may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Awaited {
    Start,
    File {
        size: u64,
    },
    Directory {
        name: Vec<u8>,
    },
    /// Times, or the end of a directory.
    Nothing,
    Content,
}

/// The file under way.
#[derive(Debug)]
struct File {
    path: RemotePath,
    to: Option<RemotePath>,
    hash: Sha256,
    bytes: u64,
    failed: bool,
}

impl Copy {
    /// Whether uploads are `checked` first.
    pub(super) fn new(command: Scp, checked: bool) -> Self {
        let uploads = (checked && command.direction == Direction::Put).then(Uploads::default);
        Self {
            command,
            line: Vec::new(),
            state: State::Record,
            answer: Vec::new(),
            awaited: Some(Awaited::Start),
            directories: Vec::new(),
            file: None,
            uploads,
        }
    }
}

impl Inspect for Copy {
    fn upward(&mut self, chunk: Bytes) -> Result<Inspected, Malformed> {
        let inspected = match self.command.direction {
            Direction::Put => self.sent(&chunk),
            Direction::Get => self.answered(&chunk),
        };
        inspected.map_err(|breach| Malformed { by: End::Technician, breach })
    }

    fn downward(&mut self, chunk: Bytes) -> Result<Inspected, Malformed> {
        let inspected = match self.command.direction {
            Direction::Put => self.answered(&chunk),
            Direction::Get => self.sent(&chunk),
        };
        inspected.map_err(|breach| Malformed { by: End::Target, breach })
    }

    fn finish(&mut self) -> Vec<FileEntry> {
        let operation = self.operation();
        let handed = self.uploads.as_ref().map(Uploads::handed_bytes);
        let unfinished = self.file.take().map(|file| match handed {
            Some(bytes) => FileEntry {
                bytes,
                unanswered: bytes,
                ..FileEntry::new(operation, file.path, Verdict::Allowed, Outcome::Unfinished)
            },
            None => file.into_entry(operation, Outcome::Unfinished),
        });
        unfinished.into_iter().collect()
    }

    fn uploads(&mut self) -> &mut dyn HandOver {
        self
    }
}

/// The sending end.
impl Copy {
    fn sent(&mut self, chunk: &Bytes) -> Result<Inspected, Breach> {
        let mut out = Inspected::default();
        let mut at = 0;
        while at < chunk.len() {
            if self.awaited.is_some() {
                return Err(Breach::DidNotWait);
            }
            if let State::Content { left } = self.state {
                let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len() - at);
                let offset = self.file.as_ref().map_or(0, |file| file.bytes);
                self.content(&chunk[at..at + bytes], left);
                let bytes = chunk.slice(at..at + bytes);
                at += bytes.len();
                match &self.uploads {
                    Some(uploads) => {
                        out.refused += bytes.len() as u64;
                        out.uploads.push(UploadStep::Keep { upload: uploads.current(), offset, bytes });
                    }
                    None => out.forward.push(bytes),
                }
            } else {
                self.record_byte(chunk[at], &mut out)?;
                at += 1;
            }
        }
        Ok(out)
    }

    fn content(&mut self, bytes: &[u8], left: u64) {
        let left = left - bytes.len() as u64;
        self.state = if left == 0 { State::Verdict } else { State::Content { left } };
        if let Some(file) = &mut self.file {
            file.hash.update(bytes);
            file.bytes += bytes.len() as u64;
        }
    }

    /// Keeps a record until it is whole, so that the receiving end sees none that is not understood.
    fn record_byte(&mut self, byte: u8, out: &mut Inspected) -> Result<(), Breach> {
        self.line.push(byte);
        let alone = self.line == b"\0";
        if !alone && byte != b'\n' {
            let room = self.line.len() < RECORD_BYTES_MAX;
            return room.then_some(()).ok_or(Breach::BadLine);
        }
        let line = std::mem::take(&mut self.line);
        if self.record(&line, out)? {
            out.forward.push(line.into());
        } else {
            out.refused += line.len() as u64;
        }
        Ok(())
    }

    /// Whether the record goes on to the receiving end.
    fn record(&mut self, line: &[u8], out: &mut Inspected) -> Result<bool, Breach> {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let (&first, rest) = text.split_first().ok_or(Breach::BadLine)?;
        match (self.state, first) {
            (State::Verdict, 0 | 1) if self.uploads.is_some() => {
                self.upload_sent(first == 0, out);
                return Ok(false);
            }
            (State::Verdict, 0 | 1) => {
                if let Some(file) = &mut self.file {
                    file.failed = first != 0;
                }
                self.await_answer(Awaited::Content, State::Record);
            }
            (State::Record, 1) => {}
            (State::Record | State::Verdict, 2) => {
                out.uploads.extend(self.uploads.as_ref().map(|uploads| UploadStep::Discard(uploads.current())));
                out.ledger.extend(self.finish());
                self.state = State::Over;
            }
            (State::Record, b'C') => {
                let (size, name) = sized_name(rest)?;
                if self.uploads.is_some() {
                    self.upload_begins(line, size, name, out);
                    return Ok(false);
                }
                self.file = Some(self.new_file(name));
                self.await_answer(Awaited::File { size }, State::Record);
            }
            (State::Record, b'D') => self.directory(rest)?,
            (State::Record, b'E') if rest.is_empty() => {
                self.directories.pop().ok_or(Breach::BadLine)?;
                self.await_answer(Awaited::Nothing, State::Record);
            }
            (State::Record, b'T') if is_times(rest) => self.await_answer(Awaited::Nothing, State::Record),
            _ => return Err(Breach::BadLine),
        }
        Ok(true)
    }

    fn directory(&mut self, rest: &[u8]) -> Result<(), Breach> {
        let (_, name) = sized_name(rest)?;
        if !self.command.recursive {
            return Err(Breach::NotRecursive);
        }
        if self.directories.len() >= DEPTH_MAX {
            return Err(Breach::BadName);
        }
        self.await_answer(Awaited::Directory { name: name.to_vec() }, State::Record);
        Ok(())
    }

    fn await_answer(&mut self, awaited: Awaited, state: State) {
        (self.awaited, self.state) = (Some(awaited), state);
    }

    fn new_file(&self, name: &[u8]) -> File {
        let (path, to) = self.place(name);
        File { path, to, hash: Sha256::new(), bytes: 0, failed: false }
    }
}

/// The receiving end.
impl Copy {
    fn answered(&mut self, chunk: &Bytes) -> Result<Inspected, Breach> {
        let mut out = Inspected::default();
        for &byte in chunk {
            self.answer.push(byte);
            let whole = match self.answer[0] {
                0 => true,
                1 | 2 => byte == b'\n',
                _ => return Err(Breach::BadLine),
            };
            if whole {
                let answer = std::mem::take(&mut self.answer);
                if self.uploads.as_ref().is_some_and(|uploads| uploads.is_under_way()) {
                    out.refused += answer.len() as u64;
                    self.handed(answer)?;
                } else {
                    self.answer(answer[0] == 0, &mut out)?;
                    out.forward.push(answer.into());
                }
            } else if self.answer.len() >= ANSWER_BYTES_MAX {
                return Err(Breach::BadLine);
            }
        }
        Ok(out)
    }

    fn answer(&mut self, yes: bool, out: &mut Inspected) -> Result<(), Breach> {
        let failed = Outcome::Failed(FAILURE);
        match self.awaited.take().ok_or(Breach::UnaskedAnswer)? {
            Awaited::File { size } if yes => {
                self.state = if size == 0 { State::Verdict } else { State::Content { left: size } };
            }
            Awaited::File { .. } => out.ledger.extend(self.file_done(failed)),
            Awaited::Content => out.ledger.extend(self.file_done(if yes { Outcome::Done } else { failed })),
            Awaited::Directory { name } => {
                let outcome = if yes { Outcome::Done } else { failed };
                out.ledger.extend(self.directory_entry(&name, outcome));
                self.directories.extend(yes.then_some(name));
            }
            Awaited::Start | Awaited::Nothing => {}
        }
        Ok(())
    }

    fn file_done(&mut self, outcome: Outcome) -> Option<FileEntry> {
        let operation = self.operation();
        self.file.take().map(|file| file.into_entry(operation, outcome))
    }

    fn directory_entry(&self, name: &[u8], outcome: Outcome) -> Option<FileEntry> {
        let (path, to) = self.place(name);
        let entry = FileEntry::new(Operation::MakeDirectory, path, Verdict::Allowed, outcome);
        (self.command.direction == Direction::Put).then_some(FileEntry { to, ..entry })
    }

    fn operation(&self) -> Operation {
        match self.command.direction {
            Direction::Put => Operation::Put,
            Direction::Get => Operation::Get,
        }
    }

    /// What a file or directory announced under this name is at the target: its path, and where the name says something
    /// more, the name. Whether an upload to `x` becomes `x` or a file in it depends on what `x` is, which only the
    /// target knows.
    fn place(&self, name: &[u8]) -> (RemotePath, Option<RemotePath>) {
        let path = &self.command.path;
        let announced = self.directories.iter().map(Vec::as_slice).chain([name]).collect::<Vec<_>>();
        let join = |parts: &[&[u8]]| {
            let base = path.strip_suffix(b"/").unwrap_or(path);
            RemotePath::new(&[&[base], parts].concat().join(&b'/'))
        };
        let is_directory =
            self.command.into_directory || path.ends_with(b"/") || matches!(&path[..], b"." | b".." | b"~");
        match self.command.direction {
            Direction::Put if is_directory => (join(&announced), None),
            Direction::Get if path.rsplit(|byte| *byte == b'/').next() == Some(announced[0]) => {
                (join(&announced[1..]), None)
            }
            Direction::Put | Direction::Get => (RemotePath::new(path), Some(RemotePath::new(&announced.join(&b'/')))),
        }
    }
}

impl File {
    fn into_entry(self, operation: Operation, outcome: Outcome) -> FileEntry {
        let outcome = if self.failed { Outcome::Failed(FAILURE) } else { outcome };
        let whole = outcome == Outcome::Done;
        // The target answers for a file once, when all of it was sent.
        let is_unanswered = operation == Operation::Put && outcome == Outcome::Unfinished;
        let extent = Extent { from: 0, until: self.bytes, sha256: Some(Digest(self.hash.finalize().into())) };
        FileEntry {
            to: self.to,
            bytes: self.bytes,
            unanswered: if is_unanswered { self.bytes } else { 0 },
            extents: Vec::from_iter((self.bytes > 0 || whole).then_some(extent)),
            whole,
            ..FileEntry::new(operation, self.path, Verdict::Allowed, outcome)
        }
    }
}

/// The size and name in `0644 123 name`. A name is one of the directory it is for: neither another's nor its own.
fn sized_name(record: &[u8]) -> Result<(u64, &[u8]), Breach> {
    let mut parts = record.splitn(3, |byte| *byte == b' ');
    let (Some(mode), Some(size), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Breach::BadLine);
    };
    let is_mode = mode.len() == 4 && mode.iter().all(|digit| (b'0'..=b'7').contains(digit));
    let size = is_mode.then(|| number(size)).flatten().ok_or(Breach::BadLine)?;
    let leads_out = name.is_empty() || name.contains(&b'/') || name.contains(&0) || matches!(name, b"." | b"..");
    if leads_out { Err(Breach::BadName) } else { Ok((size, name)) }
}

/// `1700000000 0 1700000000 0`.
fn is_times(record: &[u8]) -> bool {
    let parts = record.split(|byte| *byte == b' ').map(number);
    parts.clone().count() == 4 && parts.into_iter().all(|part| part.is_some())
}

/// Decimal digits alone, of a number that fits everybody's.
fn number(digits: &[u8]) -> Option<u64> {
    let plain = (1..=19).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()?;
    (number <= i64::MAX as u64).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What passes: `>` is sent by the sending end, `<` answered by the other.
    type Talk<'a> = [(char, &'a str)];

    fn scp(line: &str) -> Copy {
        match parse_command(line.as_bytes()) {
            Command::Scp(command) => Copy::new(command, false),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn show(copy: &mut Copy, end: char, bytes: &[u8]) -> Result<Inspected, Malformed> {
        let bytes = Bytes::copy_from_slice(bytes);
        if (end == '>') == (copy.command.direction == Direction::Put) {
            copy.upward(bytes)
        } else {
            copy.downward(bytes)
        }
    }

    /// The ledger of a talk, each part of which must go on unchanged, cut like this.
    fn ledger(line: &str, talk: &Talk<'_>, mut cut: impl FnMut() -> usize) -> Vec<FileEntry> {
        let mut copy = scp(line);
        let mut entries = Vec::new();
        for (end, text) in talk {
            let (mut rest, mut forwarded) = (text.as_bytes(), Vec::new());
            while !rest.is_empty() {
                let (chunk, more) = rest.split_at(cut().clamp(1, rest.len()));
                let inspected = show(&mut copy, *end, chunk).unwrap();
                forwarded.extend(inspected.forward.concat());
                entries.extend(inspected.ledger);
                rest = more;
            }
            assert_eq!(forwarded, text.as_bytes());
        }
        entries.extend(copy.finish());
        entries
    }

    fn breach(line: &str, talk: &Talk<'_>) -> Breach {
        let mut copy = scp(line);
        let shown = talk.iter().map(|(end, text)| show(&mut copy, *end, text.as_bytes()));
        shown.filter_map(Result::err).next().unwrap().breach
    }

    fn file(operation: Operation, path: &str, to: Option<&str>, content: &str) -> FileEntry {
        let sha256 = Some(Digest::of_bytes(content.as_bytes()));
        let until = content.len() as u64;
        FileEntry {
            to: to.map(|to| RemotePath::new(to.as_bytes())),
            bytes: until,
            extents: vec![Extent { from: 0, until, sha256 }],
            whole: true,
            ..FileEntry::new(operation, RemotePath::new(path.as_bytes()), Verdict::Allowed, Outcome::Done)
        }
    }

    const TREE: &Talk<'_> = &[
        ('<', "\0"),
        ('>', "T1700000000 0 1700000000 0\n"),
        ('<', "\0"),
        ('>', "D0755 0 d\n"),
        ('<', "\0"),
        ('>', "C0644 3 a\n"),
        ('<', "\0"),
        ('>', "abc\0"),
        ('<', "\0"),
        ('>', "\x01scp: d/secret: Permission denied\n"),
        ('>', "C0644 9 big\n"),
        ('<', "\x01scp: d/big: No space left on device\n"),
        ('>', "C0600 0 empty\n"),
        ('<', "\0"),
        ('>', "\0"),
        ('<', "\0"),
        ('>', "E\n"),
        ('<', "\0"),
    ];

    #[test]
    fn a_tree_is_listed_file_by_file() {
        let failed = FileEntry::new(Operation::Put, RemotePath::new(b"/x/d/big"), Verdict::Allowed, Outcome::Failed(4));
        let directory =
            FileEntry::new(Operation::MakeDirectory, RemotePath::new(b"/x/d"), Verdict::Allowed, Outcome::Done);
        let put = |path, content| file(Operation::Put, path, None, content);
        assert_eq!(
            ledger("scp -r -t /x/", TREE, || usize::MAX),
            [directory, put("/x/d/a", "abc"), failed.clone(), put("/x/d/empty", "")]
        );
        let get = |path, content| file(Operation::Get, path, None, content);
        let failed = FileEntry { operation: Operation::Get, ..failed };
        assert_eq!(
            ledger("scp -r -f /x/d", TREE, || usize::MAX),
            [get("/x/d/a", "abc"), failed, get("/x/d/empty", "")]
        );
    }

    #[test]
    fn a_name_that_may_be_a_directory_is_listed_with_the_announced_one() {
        let talk = [('<', "\0"), ('>', "C0644 3 a\n"), ('<', "\0"), ('>', "abc\0"), ('<', "\0")];
        assert_eq!(ledger("scp -t x", &talk, || usize::MAX), [file(Operation::Put, "x", Some("a"), "abc")]);
        assert_eq!(ledger("scp -f x", &talk, || usize::MAX), [file(Operation::Get, "x", Some("a"), "abc")]);
        assert_eq!(ledger("scp -d -t x", &talk, || usize::MAX), [file(Operation::Put, "x/a", None, "abc")]);
    }

    #[test]
    fn a_copy_that_stops_or_fails_is_not_whole() {
        let begun = [('<', "\0"), ('>', "C0644 6 a\n"), ('<', "\0"), ('>', "abc")];
        let entries = ledger("scp -f a", &begun, || usize::MAX);
        assert_eq!((entries[0].outcome, entries[0].bytes, entries[0].whole), (Outcome::Unfinished, 3, false));
        // The target answers for the whole file alone.
        assert_eq!((entries[0].unanswered, ledger("scp -t a", &begun, || usize::MAX)[0].unanswered), (0, 3));
        let unread = [('<', "\0"), ('>', "C0644 3 a\n"), ('<', "\0"), ('>', "abc\x01gone\n"), ('<', "\0")];
        let entries = ledger("scp -f a", &unread, || usize::MAX);
        assert_eq!((entries[0].outcome, entries[0].whole), (Outcome::Failed(4), false));
    }

    #[test]
    fn what_is_not_in_lockstep_is_broken() {
        let start = ('<', "\0");
        for (talk, wanted) in [
            (&[('>', "C0644 1 a\n")][..], Breach::DidNotWait),
            (&[start, ('>', "C0644 1 a\nx")], Breach::DidNotWait),
            (&[start, start], Breach::UnaskedAnswer),
            (&[('<', "Welcome\n")], Breach::BadLine),
            (&[start, ('>', "Welcome\n")], Breach::BadLine),
            (&[start, ('>', "C0644 1 ../a\n")], Breach::BadName),
            (&[start, ('>', "C0644 1 ..\n")], Breach::BadName),
            (&[start, ('>', "C0644 1 \n")], Breach::BadName),
            (&[start, ('>', "C0644 1 a\0b\n")], Breach::BadName),
            (&[start, ('>', "C644 1 a\n")], Breach::BadLine),
            (&[start, ('>', "C0644 +1 a\n")], Breach::BadLine),
            (&[start, ('>', "C0644 9223372036854775808 a\n")], Breach::BadLine),
            (&[start, ('>', "C0644 -1 a\n")], Breach::BadLine),
            (&[start, ('>', "T1 0 1\n")], Breach::BadLine),
            (&[start, ('>', "E\n")], Breach::BadLine),
            (&[start, ('>', "\0")], Breach::BadLine),
            (&[start, ('>', "\n")], Breach::BadLine),
            (&[start, ('>', "D0755 0 d\n")], Breach::NotRecursive),
            (&[start, ('>', "\x02over\n"), ('>', "C0644 1 a\n")], Breach::BadLine),
        ] {
            assert_eq!(breach("scp -t x", talk), wanted, "{talk:?}");
        }
        assert_eq!(breach("scp -t x", &[start, ('>', &"C".repeat(1001))]), Breach::BadLine);
        assert_eq!(breach("scp -t x", &[('<', &"\x01".repeat(2001))]), Breach::BadLine);
    }

    proptest! {
        #[test]
        fn cutting_the_bytes_changes_nothing(cuts in prop::collection::vec(1_usize..9, 1..30), get: bool) {
            let line = if get { "scp -r -f /x/d" } else { "scp -r -t /x/" };
            let mut cuts = cuts.into_iter().cycle();
            let anyhow = ledger(line, TREE, || cuts.next().unwrap_or(1));
            prop_assert_eq!(anyhow, ledger(line, TREE, || usize::MAX));
        }

        #[test]
        fn no_bytes_make_it_panic(
            parts in prop::collection::vec((any::<bool>(), "[\\x00-\\x02CDET0-9 a/.\n]{0,20}"), 0..30)
        ) {
            let mut copy = scp("scp -r -t x");
            for (sends, text) in parts {
                if show(&mut copy, if sends { '>' } else { '<' }, text.as_bytes()).is_err() {
                    break;
                }
            }
            copy.finish();
        }
    }
}

//! One open handle: what passed through it, and what the ledger says of it in the end. Which packets those bytes came
//! in is not known here.

use recordings::ledger::{FileEntry, Operation, Outcome, RemotePath, Verdict};

use super::super::content::{Budget, Content};
use super::names::{is_same, renamed};
use super::request::opening;
use super::wire::{open, status};

/// What a handle was opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A file, with the flags of its OPEN.
    File { flags: u32 },
    /// A directory.
    Directory,
}

impl Purpose {
    /// Whether content can change through it.
    pub(super) fn writes(self) -> bool {
        matches!(self, Self::File { flags } if flags & !open::READ != 0)
    }
}

/// An open file or directory.
#[derive(Debug)]
pub(super) struct OpenFile {
    /// Under which name it was opened.
    pub(super) path: Box<[u8]>,
    /// What it is called now, or was called last.
    name: Box<[u8]>,
    pub(super) purpose: Purpose,
    /// Requests on it that wait for an answer, CLOSE left out.
    pub(super) unanswered: u32,
    /// How CLOSE was answered.
    pub(super) closed: Option<u32>,
    read: Passed,
    written: Passed,
    /// How long the target said it is.
    size: Option<u64>,
    /// Where reading came to an end, by an answer shorter than was asked for.
    short_end: Option<u64>,
    /// The lowest offset at which the target had nothing more.
    eof: Option<u64>,
    /// Before what is written, the file was empty, or was made to end where what was written ended.
    fresh: bool,
    /// Where the next bytes appended count from.
    appended_until: Option<u64>,
    /// Its content may have changed by another way than this handle.
    disturbed: bool,
    /// What was refused through it.
    refused: Vec<Operation>,
}

/// What passed in one direction.
#[derive(Debug, Default)]
struct Passed {
    content: Content,
    bytes: u64,
    unanswered: u64,
    tried: bool,
    failure: Option<u32>,
}

impl OpenFile {
    pub(super) fn new(path: Box<[u8]>, purpose: Purpose, size: Option<u64>, disturbed: bool) -> Self {
        let created = open::CREATE | open::EXCLUSIVE;
        let fresh = matches!(purpose, Purpose::File { flags }
            if flags & open::TRUNCATE != 0 || flags & created == created);
        Self {
            name: path.clone(),
            path,
            purpose,
            unanswered: 0,
            closed: None,
            read: Passed::default(),
            written: Passed::default(),
            size,
            short_end: None,
            eof: None,
            fresh,
            appended_until: None,
            disturbed,
            refused: Vec::new(),
        }
    }

    /// Whether this is its name now.
    pub(super) fn is_called(&self, path: &[u8]) -> bool {
        is_same(&self.name, path)
    }

    /// It, or a directory above it, was renamed.
    pub(super) fn rename(&mut self, from: &[u8], to: &[u8]) {
        if let Some(now) = renamed(&self.name, from, to) {
            self.name = now;
        }
    }

    /// Something else may have changed its content.
    pub(super) fn disturb(&mut self) {
        self.disturbed = true;
    }

    /// The target told its size.
    pub(super) fn note_size(&mut self, size: u64) {
        self.size = Some(size);
    }

    /// The target sent content that was asked for.
    pub(super) fn note_read(&mut self, offset: u64, wanted: u32, data: &[u8], budget: &mut Budget) {
        self.read.tried = true;
        self.read.bytes += data.len() as u64;
        self.read.content.add(offset, data, budget);
        let until = offset.saturating_add(data.len() as u64);
        self.eof = self.eof.filter(|eof| *eof >= until);
        // "For normal disk files, it is guaranteed that this will read the specified number of bytes, or up to end of
        // file": draft-ietf-secsh-filexfer-02, 6.4.
        if data.len() < wanted as usize {
            self.short_end = Some(until);
        }
    }

    /// The target had no content to send. Of nothing, which it may be asked for too, it never has any.
    pub(super) fn note_not_read(&mut self, offset: u64, wanted: u32, code: u32) {
        self.read.tried = true;
        if code == status::EOF && wanted == 0 {
            return;
        }
        if code == status::EOF {
            self.eof = Some(self.eof.map_or(offset, |eof| eof.min(offset)));
        } else {
            self.read.failure.get_or_insert(code);
        }
    }

    /// Content goes to the target. Returns the offset it counts under: where bytes are appended, the order in which
    /// they are sent says more than the offset, which the target ignores.
    pub(super) fn write(&mut self, offset: u64, data: &[u8], budget: &mut Budget) -> u64 {
        self.written.tried = true;
        let offset = match (self.operation_of_writing(), self.appended_until) {
            (Operation::Append, Some(until)) => until,
            _ => offset,
        };
        self.appended_until = Some(offset.saturating_add(data.len() as u64));
        self.written.content.add(offset, data, budget);
        offset
    }

    /// The target answered a WRITE.
    pub(super) fn note_written(&mut self, offset: u64, bytes: u32, code: u32, budget: &mut Budget) {
        if code == status::OK {
            self.written.bytes += u64::from(bytes);
        } else {
            self.written.failure.get_or_insert(code);
            self.written.content.remove(offset, u64::from(bytes), budget);
        }
    }

    /// The target did not answer a WRITE: it may have it or not.
    pub(super) fn note_unanswered(&mut self, bytes: u32) {
        self.written.bytes += u64::from(bytes);
        self.written.unanswered += u64::from(bytes);
    }

    /// Something asked through it is refused; whether that is the first time.
    pub(super) fn is_first_refusal(&mut self, operation: Operation) -> bool {
        let first = !self.refused.contains(&operation);
        self.refused.extend(first.then_some(operation));
        first
    }

    /// Whether what was written so far is all of a file of this size. Where appending began only the target knows.
    pub(super) fn ends_writing_at(&self, size: u64) -> bool {
        self.operation_of_writing() == Operation::Put && self.written.content.end() == Some(size)
    }

    /// The target set its size. Set to where writing ended, it is whole, which is how some programs end a copy.
    pub(super) fn note_resized(&mut self, ends_writing: bool) {
        self.fresh |= ends_writing;
        self.disturbed |= !ends_writing;
    }

    /// What the ledger says of it: an entry for each direction that was used, or for what it was opened for.
    pub(super) fn into_entries(self, budget: &mut Budget) -> Vec<FileEntry> {
        let path = RemotePath::new(&self.path);
        let closed = self.closed.filter(|_| self.unanswered == 0);
        let Purpose::File { flags } = self.purpose else {
            return vec![FileEntry::new(Operation::List, path, Verdict::Allowed, outcome(closed, None))];
        };
        let writing = self.operation_of_writing();
        let emptied = flags & (open::TRUNCATE | open::CREATE) != 0;
        let opened_to_write = opening(flags) != Operation::Get;
        let wrote = self.written.tried || emptied || (opened_to_write && !self.read.tried);
        let got = self.read.tried || !wrote;
        let (read_whole, wrote_whole) = (self.is_read_whole(), self.is_written_whole());
        let mut entries = Vec::with_capacity(2);
        for (used, operation, passed, whole) in
            [(got, Operation::Get, self.read, read_whole), (wrote, writing, self.written, wrote_whole)]
        {
            let entry = passed.into_entry(operation, path.clone(), whole, closed, budget);
            entries.extend(used.then_some(entry));
        }
        entries
    }

    fn is_read_whole(&self) -> bool {
        let ends = [self.short_end, self.eof, self.size];
        let end = self.read.content.end();
        !self.disturbed && !self.written.tried && end.is_some() && ends.contains(&end)
    }

    fn is_written_whole(&self) -> bool {
        !self.disturbed && self.fresh && self.written.content.end().is_some()
    }

    fn operation_of_writing(&self) -> Operation {
        match self.purpose {
            Purpose::File { flags } if flags & open::APPEND != 0 => Operation::Append,
            _ => Operation::Put,
        }
    }
}

impl Passed {
    fn into_entry(
        self,
        operation: Operation,
        path: RemotePath,
        whole: bool,
        closed: Option<u32>,
        budget: &mut Budget,
    ) -> FileEntry {
        let outcome = outcome(closed, self.failure);
        let whole = whole && outcome == Outcome::Done;
        let (extents, more_extents) = self.content.extents(whole, budget);
        FileEntry {
            bytes: self.bytes,
            unanswered: self.unanswered,
            extents,
            more_extents,
            whole,
            ..FileEntry::new(operation, path, Verdict::Allowed, outcome)
        }
    }
}

/// How it went with a handle that was, or was not, closed with this status.
fn outcome(closed: Option<u32>, failure: Option<u32>) -> Outcome {
    match (failure, closed) {
        (Some(code), _) => Outcome::Failed(code),
        (None, Some(status::OK)) => Outcome::Done,
        (None, Some(code)) => Outcome::Failed(code),
        (None, None) => Outcome::Unfinished,
    }
}

//! Uploads by old-style scp that are checked before the target has any of them: the gate answers the sending end as the
//! target would, until the file is whole; once it passed, the gate is the sending end at the target.

use bytes::Bytes;
use policies::digest::Digest;
use recordings::ledger::{Extent, FileEntry, Operation, Outcome, RemotePath, Verdict};
use recordings::words::Words;

use super::super::{Breach, Concluded, HandOver, Inspected, Next, UPLOAD_BYTES_MAX, UploadKey, UploadStep};
use super::{Awaited, Copy, FAILURE, State};

/// How much of a file is sent at once.
const CONTENT_BYTES: usize = 64 << 10;

/// The uploads of one scp: one after another.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    begun: u32,
    /// The record that announced the file, as it came.
    record: Vec<u8>,
    under: Option<Under>,
}

/// The upload that is being handed over.
#[derive(Debug)]
struct Under {
    bytes: u64,
    sha256: Digest,
    phase: Phase,
    sent: u64,
    /// What the target said last.
    answer: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Announces,
    Announced,
    Sends,
    Sent,
    /// The target has not all of it: the same file is sent once more, empty.
    Empties,
    Emptied,
    EmptySends,
    EmptySent,
    Over,
}

impl Uploads {
    /// The file under way.
    pub(super) const fn current(&self) -> UploadKey {
        UploadKey(self.begun)
    }

    /// Whether a file is handed over now.
    pub(super) const fn is_under_way(&self) -> bool {
        self.under.is_some()
    }

    /// How much of a file the target was sent, of which nobody knows what became.
    pub(super) fn handed_bytes(&self) -> u64 {
        self.under.as_ref().map_or(0, |under| under.sent)
    }

    /// The record again, of a file without content.
    fn empty_record(&self) -> Bytes {
        let mut parts = self.record.splitn(3, |byte| *byte == b' ');
        let (mode, name) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
        [mode, b"0", name].join(&b' ').into()
    }
}

/// The technician's end.
impl Copy {
    /// A file is announced, and the gate answers.
    pub(super) fn upload_begins(&mut self, line: &[u8], size: u64, name: &[u8], out: &mut Inspected) {
        let file = self.new_file(name);
        if size > UPLOAD_BYTES_MAX {
            let why = "files are checked here, and one of more than 2 GiB cannot be";
            let entry = FileEntry::new(Operation::Put, file.path, Verdict::Refused, Outcome::NotBegun);
            out.ledger.push(FileEntry { to: file.to, ..entry });
            out.to_technician.push(complaint(&format!("{}: {why}", Words::new(name))));
            return;
        }
        self.file = Some(file);
        self.state = if size == 0 { State::Verdict } else { State::Content { left: size } };
        if let Some(uploads) = &mut self.uploads {
            uploads.begun += 1;
            uploads.record = line.to_vec();
            out.uploads.push(UploadStep::Begin(uploads.current()));
        }
        out.to_technician.push(Bytes::from_static(b"\0"));
    }

    /// All of the file came, and whether the sending end could read it.
    pub(super) fn upload_sent(&mut self, read: bool, out: &mut Inspected) {
        let Some(uploads) = &self.uploads else { return };
        let upload = uploads.current();
        if read {
            out.uploads.push(UploadStep::Check(upload));
            self.await_answer(Awaited::Content, State::Record);
            return;
        }
        out.uploads.push(UploadStep::Discard(upload));
        out.to_technician.push(Bytes::from_static(b"\0"));
        self.state = State::Record;
        let entry = |file: super::File| FileEntry {
            to: file.to,
            ..FileEntry::new(Operation::Put, file.path, Verdict::Allowed, Outcome::Failed(FAILURE))
        };
        out.ledger.extend(self.file.take().map(entry));
    }
}

impl HandOver for Copy {
    fn path(&self, _upload: UploadKey) -> RemotePath {
        self.file.as_ref().map_or_else(|| RemotePath::new(&[]), |file| file.path.clone())
    }

    /// The sending end hears of nothing before it has sent all.
    fn spoil(&mut self, _upload: UploadKey) {}

    fn refuse(&mut self, _upload: UploadKey, why: &str) -> Concluded {
        let Some(file) = self.file.take() else { return Concluded::default() };
        self.awaited = None;
        let called = file.to.as_ref().unwrap_or(&file.path);
        let to_technician = vec![complaint(&format!("{called} was not passed on: {why}"))];
        let entry = FileEntry::new(Operation::Put, file.path, Verdict::Refused, Outcome::NotBegun);
        Concluded { to_technician, say: Vec::new(), ledger: vec![FileEntry { to: file.to, ..entry }] }
    }

    fn begin(&mut self, _upload: UploadKey, bytes: u64, sha256: Digest) {
        if let Some(uploads) = &mut self.uploads {
            let phase = Phase::Announces;
            uploads.under = Some(Under { bytes, sha256, phase, sent: 0, answer: Vec::new() });
        }
    }

    fn next(&mut self) -> Next {
        let Some(uploads) = &mut self.uploads else { return Next::Done(Concluded::default()) };
        let empty_record = uploads.empty_record();
        let Some(under) = &mut uploads.under else { return Next::Done(Concluded::default()) };
        let (phase, bytes) = match under.phase {
            Phase::Announces => (Phase::Announced, Bytes::copy_from_slice(&uploads.record)),
            Phase::Sends if under.sent < under.bytes => {
                let left = usize::try_from(under.bytes - under.sent).unwrap_or(usize::MAX);
                return Next::Content { offset: under.sent, bytes: left.min(CONTENT_BYTES) };
            }
            Phase::Sends => (Phase::Sent, Bytes::from_static(b"\0")),
            Phase::Empties => (Phase::Emptied, empty_record),
            Phase::EmptySends => (Phase::EmptySent, Bytes::from_static(b"\0")),
            Phase::Announced | Phase::Sent | Phase::Emptied | Phase::EmptySent => return Next::Wait,
            Phase::Over => return Next::Done(self.handed_over()),
        };
        under.phase = phase;
        Next::Send(bytes)
    }

    fn content(&mut self, data: &[u8]) -> Bytes {
        if let Some(under) = self.uploads.as_mut().and_then(|uploads| uploads.under.as_mut()) {
            under.sent += data.len() as u64;
        }
        Bytes::copy_from_slice(data)
    }
}

/// The target's end.
impl Copy {
    /// The target answered.
    pub(super) fn handed(&mut self, answer: Vec<u8>) -> Result<(), Breach> {
        let Some(under) = self.uploads.as_mut().and_then(|uploads| uploads.under.as_mut()) else { return Ok(()) };
        let yes = answer[0] == 0;
        under.phase = match (under.phase, yes) {
            (Phase::Announced, true) => Phase::Sends,
            (Phase::Sent, false) => Phase::Empties,
            (Phase::Emptied, true) => Phase::EmptySends,
            (Phase::EmptySent, true) => {
                under.sent = 0;
                Phase::Over
            }
            (Phase::Sent | Phase::Announced | Phase::Emptied | Phase::EmptySent, _) => Phase::Over,
            _ => return Err(Breach::UnaskedAnswer),
        };
        if matches!(under.phase, Phase::Empties) || under.answer.is_empty() || under.answer[0] == 0 {
            under.answer = answer;
        }
        Ok(())
    }

    fn handed_over(&mut self) -> Concluded {
        let under = self.uploads.as_mut().and_then(|uploads| uploads.under.take());
        let (Some(under), Some(file)) = (under, self.file.take()) else { return Concluded::default() };
        self.awaited = None;
        let entry = FileEntry::new(Operation::Put, file.path, Verdict::Allowed, Outcome::Failed(FAILURE));
        let entry = FileEntry { to: file.to, ..entry };
        let entry = if under.answer.first() == Some(&0) {
            let extent = Extent { from: 0, until: under.bytes, sha256: Some(under.sha256) };
            FileEntry { bytes: under.bytes, extents: vec![extent], whole: true, outcome: Outcome::Done, ..entry }
        } else {
            FileEntry { bytes: under.sent, ..entry }
        };
        Concluded { to_technician: vec![under.answer.into()], say: Vec::new(), ledger: vec![entry] }
    }
}

/// An answer of scp's that says no, which the program shows.
fn complaint(words: &str) -> Bytes {
    // Shorter than an answer may be.
    let words: String = words.chars().take(400).collect();
    format!("\x01scp: holdpoint: {words}\n").into()
}

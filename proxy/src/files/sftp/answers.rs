//! The target's answers: each settles one request, and what it brought or did is noted for the ledger.

use recordings::ledger::{FileEntry, Operation, Outcome, RemotePath, Verdict};

use super::super::{Breach, Inspected};
use super::names::is_same;
use super::open_file::OpenFile;
use super::request::Extension;
use super::unanswered::{Opening, Sent};
use super::wire::{self, Fields, kind, status};
use super::{FileKey, Greeting, Sftp};

/// The longest handle there is: draft-ietf-secsh-filexfer-02, 6.2.
pub(super) const HANDLE_BYTES_MAX: usize = 256;

/// Sizes remembered by path, because some programs ask for a file's size before they open it and then read only so far.
const SIZES_MAX: usize = 16;

impl Sftp {
    /// Whether the packet goes on to the technician.
    pub(super) fn packet_downward(&mut self, packet: &[u8], out: &mut Inspected) -> Result<bool, Breach> {
        let (packet_kind, mut fields) = Fields::of_packet(packet)?;
        match (self.greeting, packet_kind) {
            (Greeting::Offered, kind::VERSION) => self.version(fields, out),
            (Greeting::Agreed, answer) => {
                let sent = self.unanswered.answered(fields.u32()?).ok_or(Breach::UnaskedAnswer)?;
                if !sent.can_be_answered_by(answer) {
                    return Err(Breach::UnexpectedPacket(answer));
                }
                if let Sent::Handing(handing) = sent {
                    self.handed(handing, answer, fields)?;
                    self.answer_own(out);
                    return Ok(false);
                }
                self.settle(sent, answer, fields, out)?;
                self.answer_own(out);
                Ok(true)
            }
            (Greeting::Awaited | Greeting::Offered, other) => Err(Breach::UnexpectedPacket(other)),
        }
    }

    /// Leaves out of the target's offer what the gate could not judge.
    fn version(&mut self, mut fields: Fields<'_>, out: &mut Inspected) -> Result<bool, Breach> {
        let version = fields.u32()?;
        if version != 3 {
            return Err(Breach::Version(version));
        }
        let (mut known, mut all_known) = (Vec::new(), true);
        while !fields.is_empty() {
            let (name, data) = (fields.string()?, fields.string()?);
            match Extension::named(name) {
                Some(_) => known.extend([name, data]),
                None => all_known = false,
            }
        }
        self.greeting = Greeting::Agreed;
        out.to_technician.extend((!all_known).then(|| wire::version(&known)));
        Ok(all_known)
    }

    fn settle(&mut self, sent: Sent, answer: u8, mut fields: Fields<'_>, out: &mut Inspected) -> Result<(), Breach> {
        let code = if answer == kind::STATUS { Some(fields.u32()?) } else { None };
        match (sent, code) {
            (Sent::Open(opening), None) => self.opened(*opening, fields.string()?)?,
            (Sent::Open(_), Some(status::OK)) => return Err(Breach::UnexpectedPacket(answer)),
            (Sent::Open(opening), Some(code)) => out.ledger.push(opening.into_entry(Outcome::Failed(code))),
            (Sent::Close(file), code) => {
                self.on_file(file, out, |open, _| open.closed = code);
            }
            (Sent::Read { file, offset, wanted }, None) => {
                let data = fields.string()?;
                self.on_answered(file, out, |open, budget| open.note_read(offset, wanted, data, budget));
            }
            (Sent::Read { file, offset, wanted }, Some(code)) => {
                self.on_answered(file, out, |open, _| open.note_not_read(offset, wanted, code));
            }
            (Sent::Write { file, offset, bytes }, code) => {
                let code = code.unwrap_or(status::FAILURE);
                self.on_answered(file, out, |open, budget| open.note_written(offset, bytes, code, budget));
            }
            (Sent::Stat(path), None) => self.remember_size(path, fields.size()?),
            (Sent::FileStat(file), code) => {
                let size = if code.is_none() { fields.size()? } else { None };
                self.on_answered(file, out, |open, _| size.into_iter().for_each(|size| open.note_size(size)));
            }
            (Sent::SetFileAttributes { file, ends_writing }, code) => {
                out.ledger.extend(self.attributes_entry(file, outcome(code)));
                let resized = ends_writing.filter(|_| code == Some(status::OK));
                self.on_answered(file, out, |open, _| resized.into_iter().for_each(|ends| open.note_resized(ends)));
            }
            (Sent::SetAttributes { entry, resizes }, code) => {
                if resizes && code == Some(status::OK) {
                    self.disturb_all(entry.path.bytes());
                    self.sizes.clear();
                }
                out.ledger.push(FileEntry { outcome: outcome(code), ..*entry });
            }
            (Sent::Change(entry), code) => {
                let entry = FileEntry { outcome: outcome(code), ..*entry };
                self.changed(&entry);
                out.ledger.push(entry);
            }
            (Sent::Stat(_) | Sent::Look { .. } | Sent::Handing(_), _) => {}
        }
        Ok(())
    }

    fn opened(&mut self, mut opening: Opening, handle: &[u8]) -> Result<(), Breach> {
        if handle.len() > HANDLE_BYTES_MAX || self.handles.contains_key(handle) {
            return Err(Breach::BadHandle);
        }
        opening.disturbed |= self.disturb_others(&opening.path, opening.purpose);
        let remembered = self.sizes.iter().position(|(path, _)| is_same(path, &opening.path));
        let size = remembered.and_then(|place| self.sizes.remove(place)).map(|(_, size)| size);
        let file = OpenFile::new(opening.path, opening.purpose, size, opening.disturbed);
        self.opened += 1;
        self.handles.insert(handle.into(), self.opened);
        self.files.insert(self.opened, file);
        Ok(())
    }

    /// Names mean other files than before.
    fn changed(&mut self, entry: &FileEntry) {
        let (path, to) = (entry.path.bytes(), entry.to.as_ref().map(RemotePath::bytes));
        if entry.outcome != Outcome::Done {
            return;
        }
        self.sizes.clear();
        match (entry.operation, to) {
            (Operation::Rename, Some(to)) => self.files.values_mut().for_each(|open| open.rename(path, to)),
            (Operation::HardLink | Operation::SymbolicLink, _) => self.linked = true,
            _ => {}
        }
    }

    fn remember_size(&mut self, path: Box<[u8]>, size: Option<u64>) {
        self.sizes.retain(|(known, _)| !is_same(known, &path));
        self.sizes.truncate(SIZES_MAX - 1);
        if let Some(size) = size {
            self.sizes.push_front((path, size));
        }
    }

    /// An answer to a request on an open file.
    fn on_answered(
        &mut self,
        file: FileKey,
        out: &mut Inspected,
        note: impl FnOnce(&mut OpenFile, &mut super::Budget),
    ) {
        self.on_file(file, out, |open, budget| {
            open.unanswered -= 1;
            note(open, budget);
        });
    }

    /// Notes something about an open file. Once closed, with nothing unanswered, it is listed.
    fn on_file(&mut self, file: FileKey, out: &mut Inspected, note: impl FnOnce(&mut OpenFile, &mut super::Budget)) {
        let Some(open) = self.files.get_mut(&file) else { return };
        note(open, &mut self.budget);
        if open.closed.is_some()
            && open.unanswered == 0
            && let Some(done) = self.files.remove(&file)
        {
            if done.purpose.writes() {
                self.sizes.clear();
            }
            out.ledger.extend(done.into_entries(&mut self.budget));
        }
    }

    pub(super) fn attributes_entry(&self, file: FileKey, outcome: Outcome) -> Option<FileEntry> {
        let path = RemotePath::new(&self.files.get(&file)?.path);
        Some(FileEntry::new(Operation::SetAttributes, path, Verdict::Allowed, outcome))
    }
}

/// How it went with what is answered by STATUS alone.
fn outcome(code: Option<u32>) -> Outcome {
    match code {
        Some(status::OK) => Outcome::Done,
        Some(code) => Outcome::Failed(code),
        None => Outcome::Unfinished,
    }
}

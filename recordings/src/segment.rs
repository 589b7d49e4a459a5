//! Segments: files of frames of all sessions, zero-filled before use and never used twice. Here: their names, the head
//! that carries a log's state from one to the next, and which part of each file counts. Writing them is elsewhere.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use policies::ids::SessionId;

use crate::codec::{Fields, Malformed, Put as _};
use crate::disk::Disk;
use crate::frame::{self, Flaw, Kind};
use crate::leaf::{self, Position};
use crate::tree::Tree;

/// The directory of a log's segments.
pub fn segments_dir(log: &Path) -> PathBuf {
    log.join("segments")
}

/// A segment's file name; numbers count from 0 without a gap. In a record log the first ones may be retired.
pub fn file_name(number: u64) -> String {
    format!("{number:08}.seg")
}

pub(crate) fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".seg")?.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// A session's directory below `sessions/`: the ULID in lower case.
pub fn session_dir(log: &Path, recording: SessionId) -> PathBuf {
    log.join("sessions").join(recording.ulid().to_string().to_ascii_lowercase())
}

/// The name of one of a session's block files.
pub fn block_file_name(file: u32) -> String {
    format!("{file:04}.blk")
}

pub(crate) fn block_file_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".blk")?.parse().ok()?;
    (block_file_name(number) == name).then_some(number)
}

/// The name of a session's key file.
pub fn key_file_name(epoch: u32) -> String {
    format!("keys.{epoch}.age")
}

/// Whether a session's folder may have a file of this name: a key file or a block file, and nothing else. Names that somebody
/// else wrote become paths only after this.
pub fn is_session_file(name: &str) -> bool {
    let key_file = || name.strip_prefix("keys.")?.strip_suffix(".age")?.parse().ok();
    block_file_number(name).is_some() || key_file().is_some_and(|epoch| key_file_name(epoch) == name)
}

/// A segment's first frame: what the log was when the segment began, so that reading may begin with any of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHead {
    /// The segment's number, as in its name.
    pub number: u64,
    /// Random; no two segments have the same.
    pub id: [u8; 16],
    /// Where the segment before ends, and its last link. In the first segment, zeros. What lies behind is torn.
    pub after: Position,
    /// The entries so far, as a tree.
    pub tree: Tree,
    /// The hash of the last entry; zeros when there is none.
    pub last: [u8; 32],
    /// The time of the last entry.
    pub at: Timestamp,
    /// The first segment that is not retired.
    pub first: u64,
    /// The sessions open, and those of which some frames lie in segments alone, in order.
    pub open: Vec<OpenSession>,
}

/// A session that is open where a segment begins, or not wholly in blocks yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenSession {
    /// Index of its opening leaf.
    pub session: u64,
    /// Its recording.
    pub recording: SessionId,
    /// The sequence of its next frame.
    pub sequence: u64,
    /// Its digest so far; see [`leaf::fold_mark`].
    pub digest: [u8; 32],
    /// The sequence behind its last frame that lies in a block.
    pub covered: u64,
    /// How many blocks have leaves.
    pub blocks: u32,
    /// The hash of its last leaf that is its opening or a block's.
    pub leaf: [u8; 32],
    /// Whether it is sealed: no frame of it follows.
    pub sealed: bool,
}

impl OpenSession {
    /// A session whose opening leaf has this hash.
    pub const fn opened(session: u64, recording: SessionId, leaf: [u8; 32]) -> Self {
        let (sequence, covered, blocks) = (0, 1, 0);
        Self { session, recording, sequence, digest: [0; 32], covered, blocks, leaf, sealed: false }
    }

    /// Whether every encrypted frame of it lies in a block. The opening leaf is frame 0.
    pub(crate) const fn is_covered(&self) -> bool {
        self.covered >= self.sequence
    }
}

impl SegmentHead {
    /// Reads a segment-head frame's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(bytes, "segment head");
        let (number, id) = (fields.u64()?, fields.array()?);
        let after = Position::parse(&mut fields)?;
        let (size, nodes) = (fields.u64()?, fields.u8()?);
        let edge = (0..nodes).map(|_| fields.array()).collect::<Result<_, _>>()?;
        let tree = Tree::from_edge(size, edge).ok_or(Malformed("segment head"))?;
        let (last, at, first) = (fields.array()?, fields.timestamp()?, fields.u64()?);
        let open = (0..fields.u32()?).map(|_| OpenSession::parse(&mut fields)).collect::<Result<_, _>>()?;
        fields.end().map(|()| Self { number, id, after, tree, last, at, first, open })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_u64(self.number);
        bytes.put(&self.id);
        self.after.put(&mut bytes);
        bytes.put_u64(self.tree.size());
        bytes.put_u8(u8::try_from(self.tree.edge().len()).expect("a size of 64 bits has at most 64 of them set"));
        self.tree.edge().iter().for_each(|node| bytes.put(node));
        bytes.put(&self.last);
        bytes.put_timestamp(self.at);
        bytes.put_u64(self.first);
        bytes.put_u32(u32::try_from(self.open.len()).expect("a log admits fewer sessions than that"));
        self.open.iter().for_each(|session| session.put(&mut bytes));
        bytes
    }
}

/// Bytes an open session takes in a segment's head.
pub(crate) const OPEN_SESSION_BYTES: usize = 8 + 16 + 8 + 32 + 8 + 4 + 32 + 1;

impl OpenSession {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.put_u64(self.session);
        leaf::put_recording(bytes, self.recording);
        bytes.put_u64(self.sequence);
        bytes.put(&self.digest);
        bytes.put_u64(self.covered);
        bytes.put_u32(self.blocks);
        bytes.put(&self.leaf);
        bytes.put_u8(u8::from(self.sealed));
    }

    fn parse(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            session: fields.u64()?,
            recording: leaf::recording(fields)?,
            sequence: fields.u64()?,
            digest: fields.array()?,
            covered: fields.u64()?,
            blocks: fields.u32()?,
            leaf: fields.array()?,
            sealed: leaf::is_there(fields)?,
        })
    }
}

/// A segment's file, and which part of it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFile {
    /// Its number.
    pub number: u64,
    /// Where it lies.
    pub path: PathBuf,
    /// What it is.
    pub state: SegmentState,
}

impl SegmentFile {
    /// With its head and where its frames end, if it holds any.
    pub(crate) const fn used(&self) -> Option<(&Self, &SegmentHead, Option<u64>)> {
        match &self.state {
            SegmentState::Used { head, end } => Some((self, head, *end)),
            SegmentState::Torn | SegmentState::Spare => None,
        }
    }
}

/// What a segment's file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentState {
    /// It holds frames.
    Used {
        /// Its first frame.
        head: SegmentHead,
        /// Where its frames end, as the next used segment says; `None` for the last one, whose frames end where they
        /// end.
        end: Option<u64>,
    },
    /// Writing it was interrupted before its head was durable: nothing in it was ever acknowledged.
    Torn,
    /// Nothing but zeros: it lies ready.
    Spare,
}

/// Why a folder's segments are not a log.
#[derive(Debug, thiserror::Error)]
pub enum SegmentsFault {
    /// The file system said no.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A segment is not there.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// A file lies there that is no segment.
    #[error("{} does not belong there", .0.display())]
    Stray(PathBuf),
    /// A segment is not what a log leaves behind, whatever happens to the machine.
    #[error("{} is damaged at byte {offset}: {why}", path.display())]
    Damaged {
        /// The segment's file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
}

/// The log's segment files in order, each with the part of it that counts. Reads heads, and wholly what has none; frames are not
/// checked. A file that is being filled (`*.tmp`) is passed over.
pub fn segments(disk: &dyn Disk, log: &Path) -> Result<Vec<SegmentFile>, SegmentsFault> {
    let mut files = Vec::new();
    for (number, path) in numbered(disk, log)? {
        let state = state_of(disk, number, &path)?;
        files.push(SegmentFile { number, path, state });
    }
    put_ends(&mut files)?;
    Ok(files)
}

/// Numbers and paths, without a gap; whether those before the first one are retired, the log's leaves say.
fn numbered(disk: &dyn Disk, log: &Path) -> Result<Vec<(u64, PathBuf)>, SegmentsFault> {
    let dir = segments_dir(log);
    let names = disk.list(&dir).map_err(|error| SegmentsFault::Io { path: dir.clone(), error })?;
    let mut found = Vec::new();
    for name in names.iter().filter(|name| !name.ends_with(".tmp")) {
        found.push(number_of(name).ok_or_else(|| SegmentsFault::Stray(dir.join(name)))?);
    }
    found.sort_unstable();
    let first = found.first().copied().unwrap_or(0);
    let gap = (first..).zip(&found).find(|(expected, number)| expected != *number);
    match gap {
        Some((missing, _)) => Err(SegmentsFault::Missing(dir.join(file_name(missing)))),
        None => Ok(found.into_iter().map(|number| (number, dir.join(file_name(number)))).collect()),
    }
}

/// What a file is by its first frame, or, where it has none, by all of it.
fn state_of(disk: &dyn Disk, number: u64, path: &Path) -> Result<SegmentState, SegmentsFault> {
    let first = read_first(disk, path)?;
    match frame::frame_at(&first, 0) {
        Ok(first) => head_of(number, &first)
            .map(|head| SegmentState::Used { head, end: None })
            .map_err(|why| damaged(path, 0, why)),
        Err(flaw) => headless(&read(disk, path)?, flaw).map_err(|why| damaged(path, 0, why)),
    }
}

/// As much of a file as its first frame can have.
fn read_first(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, SegmentsFault> {
    let mut bytes = vec![0; frame::HEADER_BYTES + frame::BODY_BYTES_MAX];
    let read = disk.open_to_read(path).and_then(|file| file.read_at(&mut bytes, 0));
    bytes.truncate(read.map_err(|error| SegmentsFault::Io { path: path.to_owned(), error })?);
    Ok(bytes)
}

pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, SegmentsFault> {
    read_part(disk, path, 0, None)
}

/// A segment's bytes from an offset on, to `end` or to the end of the file. That the file is shorter than `end` is damage.
pub(crate) fn read_part(disk: &dyn Disk, path: &Path, offset: u64, end: Option<u64>) -> Result<Vec<u8>, SegmentsFault> {
    let failed = |error| SegmentsFault::Io { path: path.to_owned(), error };
    let file = disk.open_to_read(path).map_err(failed)?;
    let length = file.len().map_err(failed)?;
    let end = end.unwrap_or(length);
    if length < end {
        return Err(damaged(path, end, "it ends too early"));
    }
    let too_large = |_| failed(std::io::ErrorKind::FileTooLarge.into());
    let mut bytes = vec![0; usize::try_from(end.saturating_sub(offset)).map_err(too_large)?];
    let read = file.read_at(&mut bytes, offset).map_err(failed)?;
    bytes.truncate(read);
    Ok(bytes)
}

fn headless(bytes: &[u8], flaw: Flaw) -> Result<SegmentState, String> {
    if frame::is_zero(bytes) {
        return Ok(SegmentState::Spare);
    }
    sworn_beyond(bytes, 0).map_or(Ok(SegmentState::Torn), |offset| Err(lost(flaw, offset)))
}

fn head_of(number: u64, first: &frame::RawFrame<'_>) -> Result<SegmentHead, String> {
    if first.header.kind != Kind::SegmentHead {
        return Err("its first frame is not a segment head".to_owned());
    }
    let head = SegmentHead::parse(first.body).map_err(|malformed| malformed.to_string())?;
    if head.number != number || head.after.link != first.header.previous {
        return Err("its head is that of another segment".to_owned());
    }
    Ok(head)
}

pub(crate) fn damaged(path: &Path, offset: u64, why: impl Into<String>) -> SegmentsFault {
    SegmentsFault::Damaged { path: path.to_owned(), offset, why: why.into() }
}

/// The words for an acknowledged frame that is gone.
pub(crate) fn lost(flaw: Flaw, offset: u64) -> String {
    format!(
        "{flaw}, and the whole frame at byte {offset} shows that what stood there was durable: not torn, but changed"
    )
}

/// An intact frame at or after `stop` whose batch began after `stop`. It swears that everything before its batch was
/// durable: the next batch is written only after the one before was synced.
pub(crate) fn sworn_beyond(bytes: &[u8], stop: usize) -> Option<u64> {
    let mut at = stop;
    while let Some(step) = bytes.get(at..)?.iter().position(|byte| *byte != 0) {
        at += step;
        match frame::frame_at(bytes, at) {
            Ok(found) if u64::from(found.header.batch) > stop as u64 => return Some(found.offset),
            Ok(found) => at = usize::try_from(found.end()).ok()?,
            Err(_) => at += 1,
        }
    }
    None
}

/// Each used segment names the one it follows; what lies between two of them is torn.
fn put_ends(files: &mut [SegmentFile]) -> Result<(), SegmentsFault> {
    let mut last_used: Option<usize> = None;
    let mut ready = false;
    for index in 0..files.len() {
        let file = &files[index];
        let number = file.number;
        let after = match &file.state {
            SegmentState::Spare => {
                ready = true;
                continue;
            }
            _ if ready => return Err(damaged(&file.path, 0, "it is used, and one before it is not")),
            SegmentState::Torn => continue,
            SegmentState::Used { head, .. } => head.after,
        };
        match last_used.map(|before| &mut files[before]) {
            None if after.offset == 0 || number > 0 => {}
            Some(SegmentFile { number: before, state: SegmentState::Used { end, .. }, .. })
                if *before == after.segment =>
            {
                *end = Some(after.offset);
            }
            _ => return Err(damaged(&files[index].path, 0, "it does not follow the segment before it")),
        }
        last_used = Some(index);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sessions_files_have_these_names_and_no_others() {
        for name in ["keys.0.age", "keys.12.age", "0000.blk", "0042.blk", "12345.blk"] {
            assert!(is_session_file(name), "{name}");
        }
        for name in [
            "",
            "keys.age",
            "keys.00.age",
            "keys.0.age/x",
            "keys.+1.age",
            "0.blk",
            "00001.blk",
            "+001.blk",
            "../../0000.blk",
            "/etc/0000.blk",
            "0000.blk.tmp",
            "PART",
        ] {
            assert!(!is_session_file(name), "{name}");
        }
    }
}

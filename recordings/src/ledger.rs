//! The file ledger: one entry for each file a session read, wrote or changed by SFTP or SCP, or was refused to. Here
//! are the entry, its bytes inside `FileEntry` frames and the digest that the seal carries over all of them. How
//! entries are won from the protocols is the business of the SSH face.

use std::fmt;

use policies::digest::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::words::{escaped, unescaped};

/// Bytes of a path that are kept: `PATH_MAX` of Linux. A longer one is kept cut, with its length.
pub const PATH_BYTES_MAX: usize = 4096;

/// Extents an entry lists; with more, [`FileEntry::more_extents`] is set. Keeps an entry within one frame.
pub const EXTENTS_MAX: usize = 256;

/// What was done to one file. A handle used for reading and writing makes two entries, one for each direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// What.
    pub operation: Operation,
    /// To which file, as the technician named it.
    pub path: RemotePath,
    /// The new name of a rename, the name a link got, where a copy went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<RemotePath>,
    /// Content bytes that passed; of bytes that passed twice, twice. 0 where no content belongs to the operation.
    pub bytes: u64,
    /// Of `bytes`, those sent to the target for which it never answered, because the channel ended first: how many of
    /// them it has, only it knows. The others it has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unanswered: u64,
    /// Which parts of the file passed, in ascending order, neither overlapping nor touching.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extents: Vec<Extent>,
    /// There were more extents than [`EXTENTS_MAX`]; the first ones are listed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more_extents: bool,
    /// The one extent is the whole file: it begins at 0 and ends where the file ended when it was closed.
    pub whole: bool,
    /// Whether the grant allowed it.
    pub verdict: Verdict,
    /// How it went.
    pub outcome: Outcome,
}

/// What is done to files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Content from the target to the technician.
    Get,
    /// Content from the technician to the target; truncating alone counts, with no bytes.
    Put,
    /// Content added at the file's end, wherever that was.
    Append,
    /// Another name, replacing what had it where the target does so.
    Rename,
    /// Removal of a file.
    Remove,
    /// A new directory.
    MakeDirectory,
    /// Removal of a directory.
    RemoveDirectory,
    /// A symbolic link: `path` is what it points to, `to` is the link.
    SymbolicLink,
    /// A second name for a file.
    HardLink,
    /// Size, owner, mode or times of a file.
    SetAttributes,
    /// A copy made at the target, from `path` to `to`.
    Copy,
    /// A directory's names.
    List,
}

impl Operation {
    /// Which way content goes, where any does.
    pub const fn direction(self) -> Direction {
        match self {
            Self::Get | Self::List => Direction::FromTarget,
            Self::Put | Self::Append => Direction::ToTarget,
            _ => Direction::AtTarget,
        }
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Append => "append",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::MakeDirectory => "make directory",
            Self::RemoveDirectory => "remove directory",
            Self::SymbolicLink => "symbolic link",
            Self::HardLink => "hard link",
            Self::SetAttributes => "set attributes",
            Self::Copy => "copy",
            Self::List => "list",
        }
    }
}

/// Which way a file went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To the technician.
    FromTarget,
    /// To the target.
    ToTarget,
    /// Nowhere: something was changed at the target.
    AtTarget,
}

/// A part of a file that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Offset of its first byte.
    pub from: u64,
    /// Offset behind its last byte.
    pub until: u64,
    /// SHA-256 over it, where every byte passed once; in whatever order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

/// Whether the grant allowed what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It went to the target.
    Allowed,
    /// The gate answered no, and the target saw nothing of it.
    Refused,
}

/// How an operation went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The target said yes.
    Done,
    /// The target said no, with this status (of SFTP; 4, "failure", of SCP).
    Failed(u32),
    /// The channel ended before it did.
    Unfinished,
    /// Not begun: refused by the gate.
    NotBegun,
}

impl FileEntry {
    /// An entry for an operation without content, from which the rest is filled in.
    pub fn new(operation: Operation, path: RemotePath, verdict: Verdict, outcome: Outcome) -> Self {
        Self {
            operation,
            path,
            to: None,
            bytes: 0,
            unanswered: 0,
            extents: Vec::new(),
            more_extents: false,
            whole: false,
            verdict,
            outcome,
        }
    }

    /// SHA-256 of the whole file, where all of it passed.
    pub fn sha256(&self) -> Option<Digest> {
        match self.extents.as_slice() {
            [one] if self.whole && !self.more_extents => one.sha256,
            _ => None,
        }
    }

    /// The bytes of a `FileEntry` frame: JSON. Extents beyond [`EXTENTS_MAX`] are left out, and said to be.
    pub fn encode(&self) -> Vec<u8> {
        if self.extents.len() > EXTENTS_MAX {
            let mut cut = self.clone();
            cut.extents.truncate(EXTENTS_MAX);
            cut.more_extents = true;
            return cut.encode();
        }
        serde_json::to_vec(&Written { v: 1, entry: self }).expect("an entry has string keys and whole numbers")
    }

    /// The entry in a frame's bytes, whatever members a later version has added. An entry that contradicts itself is no entry.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotAnEntry> {
        let read: Read = serde_json::from_slice(bytes).map_err(|_| NotAnEntry)?;
        let entry = Some(read).filter(|read| read.v == 1).ok_or(NotAnEntry)?.entry()?;
        entry.is_consistent().then_some(entry).ok_or(NotAnEntry)
    }

    fn is_consistent(&self) -> bool {
        let ordered = self.extents.windows(2).all(|pair| pair[0].until < pair[1].from);
        let forward = self.extents.iter().all(|extent| extent.from <= extent.until);
        let whole = !self.whole || matches!(self.extents.as_slice(), [only] if only.from == 0 && !self.more_extents);
        let answered = self.unanswered <= self.bytes && (self.unanswered == 0 || !self.whole);
        ordered && forward && whole && answered && self.extents.len() <= EXTENTS_MAX
    }
}

/// Bytes that are no entry of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an entry of the file ledger")]
pub struct NotAnEntry;

#[derive(Serialize)]
struct Written<'a> {
    v: u8,
    #[serde(flatten)]
    entry: &'a FileEntry,
}

#[derive(Deserialize)]
struct Read {
    v: u8,
    #[serde(flatten)]
    entry: serde_json::Map<String, serde_json::Value>,
}

impl Read {
    fn entry(self) -> Result<FileEntry, NotAnEntry> {
        serde_json::from_value(serde_json::Value::Object(self.entry)).map_err(|_| NotAnEntry)
    }
}

pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A path as a stranger named it: any bytes. As text, printable characters stand as they are and every other byte, the
/// backslash too, as `\xNN`: nothing is lost, no two paths look alike by hidden characters, and none can do anything
/// to a terminal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "WrittenPath", into = "WrittenPath")]
pub struct RemotePath {
    bytes: Vec<u8>,
    cut_from: Option<u64>,
}

impl RemotePath {
    /// The path with these bytes; of more than [`PATH_BYTES_MAX`], the first ones and the length.
    pub fn new(bytes: &[u8]) -> Self {
        match bytes.get(..PATH_BYTES_MAX) {
            Some(kept) if kept.len() < bytes.len() => Self { bytes: kept.to_vec(), cut_from: Some(bytes.len() as u64) },
            _ => Self { bytes: bytes.to_vec(), cut_from: None },
        }
    }

    /// The bytes, as far as they are kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How long it was, where only the beginning is kept.
    pub const fn cut_from(&self) -> Option<u64> {
        self.cut_from
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.bytes))?;
        if self.cut_from.is_some() { f.write_str("…") } else { Ok(()) }
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemotePath({self})")
    }
}

#[derive(Serialize, Deserialize)]
struct WrittenPath {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cut_from: Option<u64>,
}

impl From<RemotePath> for WrittenPath {
    fn from(path: RemotePath) -> Self {
        Self { name: escaped(&path.bytes), cut_from: path.cut_from }
    }
}

impl TryFrom<WrittenPath> for RemotePath {
    type Error = NotAnEntry;
    fn try_from(written: WrittenPath) -> Result<Self, NotAnEntry> {
        let bytes = unescaped(&written.name).ok_or(NotAnEntry)?;
        let cut_rightly = match written.cut_from {
            Some(length) => bytes.len() == PATH_BYTES_MAX && length > PATH_BYTES_MAX as u64,
            None => bytes.len() <= PATH_BYTES_MAX,
        };
        let one_spelling = escaped(&bytes) == written.name;
        (cut_rightly && one_spelling).then_some(Self { bytes, cut_from: written.cut_from }).ok_or(NotAnEntry)
    }
}

/// The digest over a session's entries, in the order of their frames, which the seal carries:
/// SHA-256(`holdpoint/ledger/v1` ‖ for each entry its length in 32 bits, little endian ‖ its bytes).
#[derive(Debug, Clone)]
pub struct LedgerDigest {
    hash: Sha256,
    entries: u64,
}

impl Default for LedgerDigest {
    fn default() -> Self {
        Self { hash: Sha256::new().chain_update("holdpoint/ledger/v1"), entries: 0 }
    }
}

impl LedgerDigest {
    /// Takes the next entry, as it stands in its frame.
    pub fn push(&mut self, encoded: &[u8]) {
        self.hash.update(u32::try_from(encoded.len()).expect("an entry is shorter than a frame").to_le_bytes());
        self.hash.update(encoded);
        self.entries += 1;
    }

    /// How many entries there were.
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// The digest over all of them so far.
    pub fn digest(&self) -> Digest {
        Digest(self.hash.clone().finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::words::is_plain;

    fn put() -> FileEntry {
        FileEntry {
            bytes: 3,
            extents: vec![Extent { from: 0, until: 3, sha256: Some(Digest::of_bytes(b"abc")) }],
            whole: true,
            ..FileEntry::new(Operation::Put, RemotePath::new(b"/tmp/recipe 7"), Verdict::Allowed, Outcome::Done)
        }
    }

    #[test]
    fn an_entry_is_written_this_way_for_ever() {
        let text = String::from_utf8(put().encode()).unwrap();
        assert_eq!(
            text,
            r#"{"v":1,"operation":"put","path":{"name":"/tmp/recipe 7"},"bytes":3,"extents":[{"from":0,"until":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}],"whole":true,"verdict":"allowed","outcome":"done"}"#
        );
        assert_eq!(FileEntry::decode(text.as_bytes()), Ok(put()));
        assert_eq!(put().sha256(), Some(Digest::of_bytes(b"abc")));
    }

    /// FORMAT.md: whoever reads a fact passes over members that it does not know.
    #[test]
    fn members_of_a_later_version_are_passed_over() {
        let later = r#"{"v":1,"operation":"put","why":[1],"path":{"name":"/tmp/recipe 7","in":"utf-8"},"bytes":3,"extents":[{"from":0,"until":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","blake3":""}],"whole":true,"verdict":"allowed","outcome":"done","by":{}}"#;
        assert_eq!(FileEntry::decode(later.as_bytes()), Ok(put()));
    }

    #[test]
    fn a_path_cannot_reach_the_terminal_or_look_like_another() {
        let shown = RemotePath::new(b"a\\\x1b]0;x\x07\xff\xe2\x80\xae\xc3\xa9").to_string();
        assert_eq!(shown, "a\\x5c\\x1b]0;x\\x07\\xff\\xe2\\x80\\xaeé");
    }

    #[test]
    fn entries_that_contradict_themselves_are_none() {
        let extent = |from, until| Extent { from, until, sha256: None };
        for extents in [vec![extent(4, 3)], vec![extent(0, 3), extent(2, 5)], vec![extent(0, 3), extent(3, 5)]] {
            let entry = FileEntry { extents, whole: false, ..put() };
            assert_eq!(FileEntry::decode(&entry.encode()), Err(NotAnEntry));
        }
        let partial = FileEntry { extents: vec![extent(5, 9)], ..put() };
        assert_eq!(FileEntry::decode(&partial.encode()), Err(NotAnEntry));
        let (bytes, unanswered) = (put().bytes, |unanswered| FileEntry { unanswered, whole: false, ..put() });
        let whole = FileEntry { whole: true, ..unanswered(1) };
        for entry in [unanswered(bytes + 1), whole] {
            assert_eq!(FileEntry::decode(&entry.encode()), Err(NotAnEntry));
        }
        assert_eq!(FileEntry::decode(&unanswered(bytes).encode()), Ok(unanswered(bytes)));
    }

    #[test]
    fn the_largest_entry_fits_a_frame() {
        let extents = (0..EXTENTS_MAX as u64 * 2)
            .map(|n| Extent { from: u64::MAX - n, until: u64::MAX - n, sha256: Some(Digest([0; 32])) })
            .rev()
            .collect();
        let path = RemotePath::new(&[0; PATH_BYTES_MAX + 1]);
        let largest = FileEntry { path: path.clone(), to: Some(path), extents, whole: false, ..put() };
        let encoded = largest.encode();
        assert!(encoded.len() < 128 << 10, "{}", encoded.len());
        assert!(FileEntry::decode(&encoded).unwrap_or_else(|_| put()).more_extents || !largest.is_consistent());
    }

    #[test]
    fn the_ledgers_digest_keeps_entries_apart() {
        let of = |entries: &[&[u8]]| {
            let mut digest = LedgerDigest::default();
            entries.iter().for_each(|entry| digest.push(entry));
            digest.digest()
        };
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[]), of(&[b""]));
        assert_ne!(of(&[b"a", b"b"]), of(&[b"b", b"a"]));
    }

    proptest! {
        #[test]
        fn every_path_survives(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let entry = FileEntry { path: RemotePath::new(&bytes), ..put() };
            let read = FileEntry::decode(&entry.encode()).unwrap();
            prop_assert_eq!(read.path.bytes(), &bytes[..]);
            prop_assert!(read.path.to_string().chars().all(is_plain));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..200, byte: u8) {
            prop_assert!(FileEntry::decode(&bytes).is_err());
            let mut mutated = put().encode();
            mutated[at] = byte;
            let _ = FileEntry::decode(&mutated);
        }
    }
}

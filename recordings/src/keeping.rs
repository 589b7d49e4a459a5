//! What becomes of recordings in the end: that one is held or released stands as a leaf in the record log, beside the
//! journal's decision; one that is erased leaves its leaves behind and nothing else. Who decides, and in which order it is
//! done, is the caller's; here is how a recording is looked over and how its files go, keys first.
//!
//! Frames that still lie in a segment need no erasing: they are encrypted, the key file is the one way to their key, and
//! the segment goes when it is retired.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use jiff::Timestamp;
use policies::digest::Digest;
use policies::ids::SessionId;
use sha2::{Digest as _, Sha256};

use crate::codec::{Fields, Malformed, Put as _};
use crate::disk::{Disk, RealDisk};
use crate::leaf::{Leaf, put_recording, recording};
use crate::segment::{is_session_file, session_dir};

/// A decision of the journal about one recording, as a leaf of the record log names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// Whose recording.
    pub recording: SessionId,
    /// The index of the decision in the journal.
    pub entry: u64,
    /// The hash of that entry.
    pub hash: [u8; 32],
}

/// That a recording was erased, and what lay there then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// The decision.
    pub decided: Decided,
    /// What lay there.
    pub found: Files,
}

/// A recording's files, summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Files {
    /// How many.
    pub count: u32,
    /// Bytes of all of them.
    pub bytes: u64,
    /// SHA-256 over each file's name, length and SHA-256, in the order of names.
    pub digest: Digest,
}

impl Files {
    /// None: all of them lie elsewhere.
    pub fn none() -> Self {
        Self { count: 0, bytes: 0, digest: Digest::of_bytes(b"") }
    }
}

/// That a file of a recording lies elsewhere, too: looked at there, and locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Whose recording.
    pub recording: SessionId,
    /// The file's name in the session's folder.
    pub name: String,
    /// Bytes of it.
    pub bytes: u64,
    /// SHA-256 of these.
    pub sha256: Digest,
    /// Which version of the object holds them.
    pub version: String,
    /// Until when nobody can delete that.
    pub until: Timestamp,
}

/// How a recording is kept, as far as the record log says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Decisions by which it is held. After a crash a leaf may stand twice.
    held: BTreeSet<u64>,
    released: BTreeSet<u64>,
    /// That it is erased: the index of the leaf, and the decision.
    pub erased: Option<(u64, Decided)>,
    /// Its files of which a locked copy lies elsewhere, by name. After a crash a leaf may stand twice, and after a longer
    /// retention with a later time: the last counts.
    pub copied: BTreeMap<String, Copied>,
}

impl Keeping {
    /// How many holds stand.
    pub fn holds(&self) -> usize {
        self.held.len().saturating_sub(self.released.len())
    }

    /// One more leaf about it.
    pub(crate) fn take(&mut self, index: u64, leaf: &Leaf) {
        match leaf {
            Leaf::Held(decided) => drop(self.held.insert(decided.entry)),
            Leaf::Released(decided) => drop(self.released.insert(decided.entry)),
            Leaf::Erased(erased) => drop(self.erased.get_or_insert((index, erased.decided))),
            Leaf::Copied(copied) => drop(self.copied.insert(copied.name.clone(), copied.clone())),
            _ => {}
        }
    }
}

impl Copied {
    pub(crate) fn parse(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let (recording, name) = (recording(fields)?, fields.text()?);
        if !is_session_file(&name) {
            return Err(Malformed("name of a session's file"));
        }
        Ok(Self {
            recording,
            name,
            bytes: fields.u64()?,
            sha256: Digest(fields.array()?),
            version: fields.text()?,
            until: fields.timestamp()?,
        })
    }

    pub(crate) fn put(&self, bytes: &mut Vec<u8>) {
        put_recording(bytes, self.recording);
        bytes.put_long(self.name.as_bytes());
        bytes.put_u64(self.bytes);
        bytes.put(&self.sha256.0);
        bytes.put_long(self.version.as_bytes());
        bytes.put_timestamp(self.until);
    }
}

impl Leaf {
    /// The recording whose keeping it is about, where it is about that.
    pub(crate) const fn keeps(&self) -> Option<SessionId> {
        match self {
            Self::Copied(copied) => Some(copied.recording),
            other => match other.decided() {
                Some(decided) => Some(decided.recording),
                None => None,
            },
        }
    }

    /// The decision about keeping that it carries out, where it does.
    pub(crate) const fn decided(&self) -> Option<&Decided> {
        match self {
            Self::Held(decided) | Self::Released(decided) => Some(decided),
            Self::Erased(erased) => Some(&erased.decided),
            _ => None,
        }
    }
}

impl Decided {
    pub(crate) fn parse(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self { recording: recording(fields)?, entry: fields.u64()?, hash: fields.array()? })
    }

    pub(crate) fn put(&self, bytes: &mut Vec<u8>) {
        put_recording(bytes, self.recording);
        bytes.put_u64(self.entry);
        bytes.put(&self.hash);
    }
}

impl Erased {
    pub(crate) fn parse(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let decided = Decided::parse(fields)?;
        let found = Files { count: fields.u32()?, bytes: fields.u64()?, digest: Digest(fields.array()?) };
        Ok(Self { decided, found })
    }

    pub(crate) fn put(&self, bytes: &mut Vec<u8>) {
        self.decided.put(bytes);
        bytes.put_u32(self.found.count);
        bytes.put_u64(self.found.bytes);
        bytes.put(&self.found.digest.0);
    }
}

/// What lies there of a recording, in the log's folder; none where nothing does. Reads all of it.
///
/// # Errors
/// It cannot be read.
pub fn survey(disk: &dyn Disk, log: &Path, recording: SessionId) -> io::Result<Option<Files>> {
    let dir = session_dir(log, recording);
    let names = disk.list(&dir)?;
    let (mut listing, mut bytes) = (Vec::new(), 0);
    for name in &names {
        let file = disk.open_to_read(&dir.join(name))?;
        let length = file.len()?;
        listing.put_long(name.as_bytes());
        listing.put_u64(length);
        listing.put(&hash(&*file, length)?);
        bytes += length;
    }
    let count = u32::try_from(names.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    Ok((count > 0).then(|| Files { count, bytes, digest: Digest::of_bytes(&listing) }))
}

/// How many bytes a file has, and their SHA-256.
///
/// # Errors
/// It cannot be read.
pub fn length_and_digest(path: &Path) -> io::Result<(u64, Digest)> {
    let file = RealDisk.open_to_read(path)?;
    let length = file.len()?;
    Ok((length, Digest(hash(&*file, length)?)))
}

/// Of this many bytes at once.
const PIECE: usize = 256 << 10;

fn hash(file: &dyn crate::disk::DiskFile, length: u64) -> io::Result<[u8; 32]> {
    let (mut hash, mut piece, mut at) = (Sha256::new(), vec![0; PIECE], 0);
    while at < length {
        let read = file.read_at(&mut piece, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hash.update(&piece[..read]);
        at += read as u64;
    }
    Ok(hash.finalize().into())
}

/// Destroys a recording's files: the key files are overwritten, removed, and that is made durable, so that nobody reads the
/// rest again; then the rest goes. What a run before left over is finished. To be called only when the leaf that says so
/// is under a published checkpoint.
///
/// # Errors
/// It cannot be done; to be tried again.
pub fn destroy(disk: &dyn Disk, log: &Path, recording: SessionId) -> io::Result<()> {
    let dir = session_dir(log, recording);
    let (keys, others): (Vec<String>, Vec<String>) =
        disk.list(&dir)?.into_iter().partition(|name| name.starts_with("keys."));
    for name in &keys {
        let path = dir.join(name);
        let file = disk.open(&path)?;
        let zeros = vec![0; usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?];
        file.write_at(&zeros, 0)?;
        file.sync_data()?;
        disk.remove(&path)?;
    }
    if !keys.is_empty() {
        disk.sync_dir(&dir)?;
    }
    for name in &others {
        disk.remove(&dir.join(name))?;
    }
    if others.is_empty() { Ok(()) } else { disk.sync_dir(&dir) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Mutex;

    use super::*;
    use crate::disk::DiskFile;
    use crate::sim::{Fault, SimDisk};

    /// The real disk, and what was asked of it, in order; it fails from a number on.
    #[derive(Default)]
    struct Watched {
        asked: Mutex<Vec<String>>,
        fails_at: Option<usize>,
    }

    impl Watched {
        fn note(&self, what: &str, path: &Path) -> io::Result<()> {
            let mut asked = self.asked.lock().expect("not poisoned");
            asked.push(format!("{what} {}", path.file_name().unwrap_or_default().to_string_lossy()));
            if self.fails_at.is_some_and(|at| asked.len() > at) { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
        }
    }

    impl Disk for Watched {
        fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            self.note("open", path)?;
            RealDisk.open(path)
        }
        fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            RealDisk.create(path)
        }
        fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            RealDisk.open_to_read(path)
        }
        fn create_dir(&self, path: &Path) -> io::Result<()> {
            RealDisk.create_dir(path)
        }
        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            self.note("sync", path)?;
            RealDisk.sync_dir(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            RealDisk.rename(from, to)
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            self.note("remove", path)?;
            RealDisk.remove(path)
        }
        fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
            RealDisk.list(dir)
        }
        fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
            RealDisk.free_bytes(dir)
        }
        fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
            RealDisk.lock(path)
        }
        fn unsuited(&self, dir: &Path) -> io::Result<Option<&'static str>> {
            RealDisk.unsuited(dir)
        }
    }

    fn recorded() -> (tempfile::TempDir, SessionId, PathBuf) {
        let log = tempfile::tempdir().expect("a folder");
        let recording = SessionId::new(ulid::Ulid::from(7_u128));
        let dir = session_dir(log.path(), recording);
        std::fs::create_dir_all(&dir).expect("a folder");
        for (name, bytes) in [("0000.blk", &b"cipher"[..]), ("0001.blk", b"text"), ("keys.0.age", b"key")] {
            std::fs::write(dir.join(name), bytes).expect("a file");
        }
        (log, recording, dir)
    }

    #[test]
    fn keys_are_gone_for_good_before_the_first_block_goes() {
        let (log, recording, dir) = recorded();
        let disk = Watched::default();
        destroy(&disk, log.path(), recording).expect("destroyed");
        let name = dir.file_name().expect("a name").to_string_lossy();
        let asked = disk.asked.into_inner().expect("not poisoned");
        let expected = [
            "open keys.0.age",
            "remove keys.0.age",
            &format!("sync {name}"),
            "remove 0000.blk",
            "remove 0001.blk",
            &format!("sync {name}"),
        ];
        assert_eq!(asked, expected);
        assert_eq!(survey(&RealDisk, log.path(), recording).expect("readable"), None);
    }

    #[test]
    fn what_is_left_of_a_key_file_on_the_disk_is_zeros() {
        let (log, recording, dir) = recorded();
        // Another name for the same bytes, as a thief of the disk finds them without any.
        let unnamed = log.path().join("sectors");
        std::fs::hard_link(dir.join("keys.0.age"), &unnamed).expect("a link");
        destroy(&RealDisk, log.path(), recording).expect("destroyed");
        assert_eq!(std::fs::read(unnamed).expect("a file"), [0; 3]);
    }

    /// A recording on a disk that can lose its power.
    fn simulated(seed: u64) -> (SimDisk, SessionId, PathBuf) {
        let (disk, recording) = (SimDisk::new(seed), SessionId::new(ulid::Ulid::from(7_u128)));
        let dir = session_dir(Path::new("/log"), recording);
        disk.create_dir(&dir).expect("a folder");
        for name in ["0000.blk", "0001.blk", "keys.0.age", "keys.1.age"] {
            let file = disk.create(&dir.join(name)).expect("a file");
            file.write_at(&[7; 700], 0).and_then(|()| file.sync_data()).expect("room");
        }
        disk.sync_dir(&dir).expect("a folder");
        (disk, recording, dir)
    }

    #[test]
    fn whatever_call_the_power_is_cut_at_no_key_outlives_a_block_and_the_next_start_finishes() {
        let log = Path::new("/log");
        for seed in 0..40 {
            for call in 1.. {
                let (disk, recording, dir) = simulated(seed);
                disk.fail_call(disk.calls() + call, Fault::PowerCut);
                let done = destroy(&disk, log, recording).is_ok();
                let disk = disk.power_cut();
                let left = disk.list(&dir).expect("readable");
                let blocks = left.iter().filter(|name| name.ends_with(".blk")).count();
                let is_key = |name: &&String| name.starts_with("keys.");
                let opens = |name: &String| disk.content(&dir.join(name)).is_some_and(|bytes| bytes.contains(&7));
                let key = left.iter().filter(is_key).any(opens);
                assert!(blocks == 2 || !key, "seed {seed}, call {call}: {left:?}");
                assert!(!done || left.is_empty(), "seed {seed}: {left:?} came back");
                destroy(&disk, log, recording).expect("finished");
                assert!(disk.power_cut().list(&dir).expect("readable").is_empty(), "seed {seed}, call {call}");
                if done {
                    break;
                }
            }
        }
    }

    #[test]
    fn what_was_broken_off_anywhere_is_finished_the_next_time() {
        for at in 0..6 {
            let (log, recording, dir) = recorded();
            let disk = Watched { fails_at: Some(at), ..Watched::default() };
            destroy(&disk, log.path(), recording).expect_err("broken off");
            let left = RealDisk.list(&dir).expect("readable");
            let a_block_went = left.iter().filter(|name| name.ends_with(".blk")).count() < 2;
            assert!(!a_block_went || !left.iter().any(|name| name.starts_with("keys.")), "{left:?}");
            destroy(&RealDisk, log.path(), recording).expect("finished");
            assert!(RealDisk.list(&dir).expect("readable").is_empty());
        }
    }

    #[test]
    fn a_survey_tells_one_byte_from_another() {
        let (log, recording, dir) = recorded();
        let before = survey(&RealDisk, log.path(), recording).expect("readable").expect("there");
        assert_eq!((before.count, before.bytes), (3, 13));
        std::fs::write(dir.join("0001.blk"), b"tex!").expect("a file");
        assert_ne!(survey(&RealDisk, log.path(), recording).expect("readable").expect("there").digest, before.digest);
    }
}

//! `data/cuts`: cuts that could not be journaled, one signed line each, synced before anybody is told that they stand.
//! Read before any listener binds; a cut in it blocks until it was journaled and reopened. Lines are only ever added.
//! Cuts themselves are made by the Desk; `holdpoint cut --local` adds a line when all else is gone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use certs::log_key::LogKey;
use jiff::Timestamp;
use policies::digest::Digest;
use policies::events::{CutBy, Scope};
use policies::ids::{CutId, DeploymentId};
use serde::{Deserialize, Serialize};

/// A cut as it lies in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCut {
    /// Which.
    pub cut: CutId,
    /// Whom or what it keeps out.
    #[serde(flatten)]
    pub scope: Scope,
    /// On whose word.
    #[serde(flatten)]
    pub by: CutBy,
    /// When it was made.
    pub at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Line {
    v: u8,
    #[serde(flatten)]
    cut: KeptCut,
    /// By the log key, over [`signed`], in hexadecimal.
    signature: String,
}

/// What the log key signs: SHA-256(`holdpoint/cut/v1` ‖ JCS of the deployment and the cut).
pub fn signed(deployment: &DeploymentId, cut: &KeptCut) -> Digest {
    #[derive(Serialize)]
    struct Covered<'a> {
        deployment: &'a DeploymentId,
        cut: &'a KeptCut,
    }
    Digest::of("cut", &Covered { deployment, cut })
}

/// A file at one moment. One that was removed and made anew has another, however long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    file: u64,
    length: u64,
    changed: (i64, i64),
}

/// The file of one installation, and the key that signs in it.
#[derive(Debug, Clone)]
pub struct CutsFile {
    path: PathBuf,
    deployment: DeploymentId,
    key: LogKey,
}

/// Longer files are not read: a thousand cuts are some hundred kilobytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

impl CutsFile {
    /// The file at `path`, which need not exist.
    pub const fn new(path: PathBuf, deployment: DeploymentId, key: LogKey) -> Self {
        Self { path, deployment, key }
    }

    /// Adds a cut; it is on the disk when this returns. Blocks.
    pub fn add(&self, cut: &KeptCut) -> io::Result<()> {
        let signature = self.key.sign(&signed(&self.deployment, cut).0).map_err(io::Error::other)?;
        let signature = data_encoding::HEXLOWER.encode(&signature);
        let mut line = serde_json::to_vec(&Line { v: 1, cut: cut.clone(), signature }).map_err(io::Error::other)?;
        line.push(b'\n');
        let mut file = self.open()?;
        if ends_within_a_line(&mut file)? {
            line.insert(0, b'\n');
        }
        file.write_all(&line)?;
        file.sync_all()?;
        File::open(self.folder())?.sync_all()
    }

    /// To add to. What root makes there is the folder's owner's, as whom the gate reads it.
    fn open(&self) -> io::Result<File> {
        let mut how = OpenOptions::new();
        how.read(true).append(true);
        let made = match how.clone().create_new(true).mode(0o640).open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return how.open(&self.path),
            made => made?,
        };
        self.give_to_owner(&made).inspect_err(|_| drop(fs::remove_file(&self.path)))?;
        Ok(made)
    }

    fn give_to_owner(&self, made: &File) -> io::Result<()> {
        let folder = fs::metadata(self.folder())?;
        let is_roots = made.metadata()?.uid() == 0;
        if is_roots && folder.uid() != 0 { fchown(made, Some(folder.uid()), Some(folder.gid())) } else { Ok(()) }
    }

    fn folder(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Every cut in the file. A line that cannot be read, or whose signature is not by this installation's key, counts
    /// as a cut of the whole plant: what it said is not known, and access stays shut until an operator reopens it.
    pub fn read(&self) -> io::Result<Vec<KeptCut>> {
        let bytes = read_bounded(&self.path)?;
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(lines.map(|line| self.parse(line).unwrap_or_else(|| unreadable(line))).collect())
    }

    /// Which file lies there, as of when, and how long it is, to see that it is another; none where there is none.
    ///
    /// # Errors
    /// The file system does not say.
    pub fn stamp(&self) -> io::Result<Option<Stamp>> {
        match fs::metadata(&self.path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
            found => {
                let found = found?;
                Ok(Some(Stamp { file: found.ino(), length: found.len(), changed: (found.ctime(), found.ctime_nsec()) }))
            }
        }
    }

    fn parse(&self, line: &[u8]) -> Option<KeptCut> {
        let line: Line = serde_json::from_slice(line).ok().filter(|line: &Line| line.v == 1)?;
        let signature = data_encoding::HEXLOWER.decode(line.signature.as_bytes()).ok()?;
        let verifier = self.key.verifier(self.deployment.as_str()).ok()?;
        verifier.verify(&signed(&self.deployment, &line.cut).0, &signature).ok()?;
        Some(line.cut)
    }
}

/// A line that a crash cut short stays as it is, and the next begins anew.
fn ends_within_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(io::SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = match File::open(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    if file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)? as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("the file of cuts is far larger than cuts make it"));
    }
    Ok(bytes)
}

/// The same line is the same cut each time it is read, so that it can be reopened for good.
fn unreadable(line: &[u8]) -> KeptCut {
    tracing::error!("a line of the file of cuts cannot be read or is not signed by this gate: the whole plant is cut");
    KeptCut { cut: CutId::for_line(line), scope: Scope::Plant, by: CutBy::Local, at: Timestamp::UNIX_EPOCH }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;
    use crate::testing::Props;

    #[test]
    fn what_root_cuts_the_gate_can_read() {
        const GATE: u32 = 990;
        let cuts = Props::new().cuts();
        let folder = tempfile::tempdir().expect("a folder");
        let cuts = CutsFile { path: folder.path().join("cuts"), ..cuts };
        if let Err(not) = chown(folder.path(), Some(GATE), Some(GATE)) {
            println!("SKIPPED: only root gives files to another account");
            assert_eq!(not.kind(), io::ErrorKind::PermissionDenied);
            return;
        }
        let cut = unreadable(b"any");
        cuts.add(&cut).expect("it is on the disk");
        let made = fs::metadata(&cuts.path).expect("it is there");
        assert_eq!((made.uid(), made.gid(), made.mode() & 0o400), (GATE, GATE, 0o400));
        assert_eq!(cuts.read().expect("it is read"), [cut]);
    }
}

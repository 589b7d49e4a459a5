//! `manifest.json`: what a pack is about, who made it and when, and the digest of every other file in it. It has one
//! spelling. Nobody signs it: what is signed lies in the journal and the recordings, and the rest is made from those.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use jiff::Timestamp;
use policies::digest::Digest;
use policies::events::PackOf;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{MANIFEST, TEXT_BYTES_MAX};
use crate::read::read_bounded;

/// What a pack says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this form: 1.
    pub pack: u8,
    /// What it is about.
    pub of: PackOf,
    /// How it was made.
    pub made: Made,
    /// All other files, by name.
    pub files: BTreeMap<String, FileDigest>,
}

/// How a pack was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// When, by the clock of the machine it was made on.
    pub at: Timestamp,
    /// By which version of the program.
    pub program: String,
    /// From what.
    pub from: Source,
    /// Whether an auditor's key was at hand, so that what it opens stands in the pages.
    pub opened: bool,
}

/// Where a pack's parts came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A running gate, which journaled it first.
    Gate,
    /// A copied data folder: the journal knows nothing of it.
    Folder,
}

/// A file's length and digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: Digest,
}

impl FileDigest {
    /// Of a file.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let (mut hash, mut piece, mut bytes) = (Sha256::new(), vec![0; 256 << 10], 0);
        loop {
            let read = file.read(&mut piece)?;
            if read == 0 {
                return Ok(Self { bytes, sha256: Digest(hash.finalize().into()) });
            }
            hash.update(&piece[..read]);
            bytes += read as u64;
        }
    }
}

impl Manifest {
    /// The manifest in a pack's folder.
    ///
    /// # Errors
    /// There is none, or it is not written as one.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let bytes = read_bounded(&folder.join(MANIFEST), TEXT_BYTES_MAX)?;
        Self::parse(&bytes)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not written as a pack's manifest"))
    }

    /// The manifest in these bytes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let manifest: Self = serde_json::from_slice(bytes).ok()?;
        let is_ours = manifest.pack == 1 && manifest.encode() == bytes;
        is_ours.then_some(manifest)
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        pretty(self)
    }
}

/// JSON that people can read, ended by LF.
pub(super) fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("what stands in a pack has string keys");
    bytes.push(b'\n');
    bytes
}

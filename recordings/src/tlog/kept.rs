//! Cosigned checkpoints of a log, kept beside the one that it published: `checkpoints/<size>`, each a signed note with the
//! lines of witnesses below the log's own. The newest of each witness stays, and of those before one for each ten minutes.

use std::collections::BTreeMap;
use std::io;

use certs::log_key::Verifier;
use certs::witness_key::Cosigner;

use super::checkpoint::{Checkpoint, SignedCheckpoint};
use super::cosignature::cosigned;
use super::folder::{Folder, FolderFault};
use super::note::{NOTE_BYTES_MAX, Signature};
use super::publish::Publisher;
use super::{Hash, parse_decimal};

/// Their folder in a log's folder.
pub const KEPT: &str = "checkpoints";

/// Of those that newer ones replace, one is kept for each such span.
const APART_SECONDS: u64 = 600;

/// What a witness cosigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Entries of the log.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// When, by the witness's clock, in seconds since 1970.
    pub seconds: u64,
}

/// The cosigned checkpoints of one log.
pub struct Kept {
    folder: Folder,
    verifier: Verifier,
    witnesses: Vec<Cosigner>,
    /// By size: the root, and by which witnesses and when.
    known: BTreeMap<u64, (Hash, BTreeMap<String, u64>)>,
}

/// The name of the file of a checkpoint of this size.
fn file_of(size: u64) -> String {
    format!("{KEPT}/{size}")
}

/// The size in a file's name.
pub(crate) fn size_in(name: &str) -> Option<u64> {
    parse_decimal(name)
}

impl Kept {
    /// Takes up what lies there. What is not a checkpoint of this log counts for nothing: witnesses give others.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn open(folder: Folder, verifier: Verifier, witnesses: Vec<Cosigner>) -> io::Result<Self> {
        let mut kept = Self { folder, verifier, witnesses, known: BTreeMap::new() };
        for size in kept.folder.disk.list(&kept.folder.dir.join(KEPT))?.iter().filter_map(|name| size_in(name)) {
            match kept.read(size) {
                Ok(signed) => kept.note(&signed),
                Err(fault) => tracing::warn!(%fault, "a cosigned checkpoint is passed over"),
            }
        }
        Ok(kept)
    }

    fn read(&self, size: u64) -> Result<SignedCheckpoint, FolderFault> {
        let (name, keys) = (file_of(size), std::slice::from_ref(&self.verifier));
        let bytes = self.folder.read_file(&name, NOTE_BYTES_MAX as u64)?;
        SignedCheckpoint::open(&bytes, keys).map_err(|bad| FolderFault::new(&name, 0..0, bad.into()))
    }

    fn note(&mut self, signed: &SignedCheckpoint) {
        let Checkpoint { size, root, .. } = signed.checkpoint();
        let lines = cosigned(signed.note(), &self.witnesses).unwrap_or_default();
        let by = lines.iter().map(|line| (line.witness.name().to_owned(), line.seconds)).collect();
        self.known.insert(*size, (*root, by));
    }

    /// The largest checkpoint that a witness of this name cosigned.
    pub fn newest_of(&self, witness: &str) -> Option<Held> {
        let held = |(size, (root, by)): (&u64, &(Hash, BTreeMap<String, u64>))| {
            by.get(witness).map(|seconds| Held { size: *size, root: *root, seconds: *seconds })
        };
        self.known.iter().rev().find_map(held)
    }

    /// Keeps lines under the checkpoint they are for; durable when it returns.
    ///
    /// # Errors
    /// The disk takes it not. Nothing is lost: the witness gives others.
    pub fn keep(&mut self, signed: &SignedCheckpoint, lines: &[(Signature, u64)]) -> io::Result<()> {
        let size = signed.checkpoint().size;
        let there = self.read(size).ok().filter(|there| there.checkpoint() == signed.checkpoint());
        let mut signed = there.unwrap_or_else(|| signed.clone());
        lines.iter().for_each(|(line, _)| signed.note_mut().put(line.clone()));
        // A new one each time: what an error left undone is done anew.
        Publisher::new(self.folder.clone()).checkpoint(&file_of(size), &signed)?;
        self.note(&signed);
        self.thin()
    }

    fn thin(&mut self) -> io::Result<()> {
        let newest: Vec<u64> =
            self.witnesses.iter().filter_map(|witness| self.newest_of(witness.name()).map(|held| held.size)).collect();
        let (mut last, mut gone) = (None, Vec::new());
        for (size, (_, by)) in &self.known {
            let at = by.values().copied().min().unwrap_or(0);
            if newest.contains(size) || last.is_none_or(|last: u64| at >= last.saturating_add(APART_SECONDS)) {
                last = Some(at);
            } else {
                gone.push(*size);
            }
        }
        for size in gone {
            self.folder.disk.remove(&self.folder.dir.join(file_of(size)))?;
            self.known.remove(&size);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Signer as _;
    use crate::sim::{SimDisk, SimSigner};
    use crate::tlog::cosignature::cosign;
    use crate::tlog::cosignature::tests::witness;
    use crate::tlog::folder::tests::{DIR, folder};

    #[test]
    fn the_newest_of_each_witness_stays_and_one_for_each_ten_minutes() {
        let (disk, one, two) = (SimDisk::new(1), witness("one"), witness("two"));
        let witnesses = vec![one.cosigner().clone(), two.cosigner().clone()];
        let verifier = SimSigner::new(1).verifier("mill3").unwrap();
        let open = || Kept::open(folder(&disk), verifier.clone(), witnesses.clone()).unwrap();
        let mut kept = open();
        for (size, seconds, key) in
            [(0, 0, &one), (1, 10, &one), (2, 20, &two), (3, 599, &one), (4, 610, &one), (5, 700, &one), (5, 710, &one)]
        {
            let signed = Checkpoint { origin: "mill3".to_owned(), size, root: [size as u8; 32] };
            let signed = signed.sign(&SimSigner::new(1)).unwrap();
            let line = cosign(signed.note().text(), key, seconds);
            kept.keep(&signed, &[(line, seconds)]).unwrap();
        }
        let names = || {
            let paths = disk.paths().into_iter().filter_map(|path| Some(path.strip_prefix(DIR).ok()?.to_owned()));
            paths.map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(), ["checkpoints/0", "checkpoints/2", "checkpoints/5"].map(str::to_owned));
        for kept in [kept, open()] {
            assert_eq!(kept.newest_of("one"), Some(Held { size: 5, root: [5; 32], seconds: 710 }));
            assert_eq!(kept.newest_of("two"), Some(Held { size: 2, root: [2; 32], seconds: 20 }));
            assert_eq!(kept.newest_of("three"), None);
        }
        disk.tamper(&std::path::Path::new(DIR).join("checkpoints/5"), |bytes| bytes[0] ^= 1);
        assert_eq!(open().newest_of("one").map(|held| held.size), Some(0));
    }
}

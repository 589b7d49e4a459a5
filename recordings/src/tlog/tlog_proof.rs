//! Proof files (<https://c2sp.org/tlog-proof@v1>): that an entry is in a log, to be checked anywhere with nothing but the
//! log's key. Evidence packs have some, each as `.tlog-proof` beside its entry.

use std::fmt;

use certs::log_key::Verifier;
use data_encoding::BASE64;

use super::checkpoint::{BadCheckpoint, SignedCheckpoint};
use super::note::{BadNote, NOTE_BYTES_MAX, Note};
use super::proof::{Hashes, NotProved, ProofFault, inclusion, verify_inclusion};
use super::{Hash, decode_base64, parse_decimal, parse_hash};

/// Bytes of a proof file that is read.
pub const PROOF_BYTES_MAX: usize = 2 * NOTE_BYTES_MAX;

/// A proof as it stands there. Nothing of it counts before [`TlogProof::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    extra: Option<Vec<u8>>,
    index: u64,
    hashes: Vec<Hash>,
    checkpoint: Note,
}

/// Bytes that are no proof file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    /// More than [`PROOF_BYTES_MAX`].
    #[error("a proof file has at most {PROOF_BYTES_MAX} bytes")]
    TooLong,
    /// It does not begin as one.
    #[error("no proof file: it begins with {HEAD:?}")]
    Head,
    /// A line above the checkpoint in another spelling.
    #[error("line {0} of the proof file is not what stands there in one")]
    Line(usize),
    /// Below the blank line stands no note.
    #[error(transparent)]
    Note(#[from] BadNote),
}

/// A proof that proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefused {
    /// The checkpoint does not count.
    #[error(transparent)]
    Checkpoint(#[from] BadCheckpoint),
    /// The entry is not where the proof says.
    #[error(transparent)]
    NotProved(#[from] NotProved),
}

const HEAD: &str = "c2sp.org/tlog-proof@v1";
/// More than any tree has levels.
const HASHES_MAX: usize = 63;

impl TlogProof {
    /// Proves that entry `index` is in the log, as of a checkpoint.
    pub fn make<H: Hashes>(
        hashes: &mut H,
        index: u64,
        signed: &SignedCheckpoint,
    ) -> Result<Self, ProofFault<H::Fault>> {
        let hashes = inclusion(hashes, index, signed.checkpoint().size)?;
        Ok(Self { extra: None, index, hashes, checkpoint: signed.note().clone() })
    }

    /// The same with bytes that nobody vouches for.
    pub fn with_extra(self, extra: Vec<u8>) -> Self {
        Self { extra: Some(extra).filter(|extra| !extra.is_empty()), ..self }
    }

    /// Reads a proof file: its shape, not whether it proves anything.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadProof> {
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(BadProof::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| BadProof::Head)?;
        let rest = text.strip_prefix(HEAD).and_then(|rest| rest.strip_prefix('\n')).ok_or(BadProof::Head)?;
        let (lines, checkpoint) = rest.split_once("\n\n").ok_or(BadNote::NoSignatures)?;
        let mut lines = lines.split('\n').zip(2..).peekable();
        let extra = lines.next_if(|(line, _)| line.starts_with("extra "));
        let extra = extra.map(|(line, number)| parse_extra(line).ok_or(BadProof::Line(number))).transpose()?;
        let (line, number) = lines.next().ok_or(BadProof::Head)?;
        let index = line.strip_prefix("index ").and_then(parse_decimal).ok_or(BadProof::Line(number))?;
        let hashes = lines
            .map(|(line, number)| parse_hash(line).filter(|_| number < 4 + HASHES_MAX).ok_or(BadProof::Line(number)));
        Ok(Self {
            extra,
            index,
            hashes: hashes.collect::<Result<_, _>>()?,
            checkpoint: Note::parse(checkpoint.as_bytes())?,
        })
    }

    /// Which entry of the log.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// Bytes that came along and that nobody vouches for.
    pub fn extra(&self) -> Option<&[u8]> {
        self.extra.as_deref()
    }

    /// Checks that the entry with this hash (as [`crate::tree::leaf_hash`] makes it) is where the proof says, in the log of
    /// one of these keys. Gives the checkpoint, for its size and its cosignatures.
    pub fn verify(&self, entry: &Hash, logs: &[Verifier]) -> Result<SignedCheckpoint, ProofRefused> {
        let signed = SignedCheckpoint::verify(self.checkpoint.clone(), logs)?;
        let tree = signed.checkpoint();
        verify_inclusion(entry, self.index, tree.size, &self.hashes, &tree.root)?;
        Ok(signed)
    }
}

fn parse_extra(line: &str) -> Option<Vec<u8>> {
    decode_base64(line.strip_prefix("extra ")?).filter(|extra| !extra.is_empty())
}

/// The file, as it is written.
impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", BASE64.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", BASE64.encode(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::Signer as _;
    use crate::sim::SimSigner;
    use crate::tlog::checkpoint::Checkpoint;
    use crate::tlog::note::NotVerified;
    use crate::tlog::proof::tests::Naive;
    use crate::tree::leaf_hash;

    fn made(index: u64) -> TlogProof {
        let mut log = Naive::of(9);
        let checkpoint = Checkpoint { origin: "mill3".to_owned(), size: 9, root: log.root(9) };
        TlogProof::make(&mut log, index, &checkpoint.sign(&SimSigner::new(1)).unwrap()).unwrap()
    }

    fn keys() -> [Verifier; 1] {
        [SimSigner::new(1).verifier("mill3").unwrap()]
    }

    #[test]
    fn a_proof_is_written_read_and_verified_and_is_about_one_entry_at_one_place() {
        let log = Naive::of(9);
        for index in 0..9 {
            let proof = TlogProof::parse(made(index).to_string().as_bytes()).unwrap();
            assert_eq!((&proof, proof.index()), (&made(index), index));
            for (at, entry) in (0..).zip(&log.0) {
                let verified = proof.verify(&leaf_hash(entry), &keys());
                assert_eq!(verified.is_ok(), at == index, "entry {at} by the proof of {index}");
            }
            let strangers = [SimSigner::new(2).verifier("mill3").unwrap()];
            let refused = Err(ProofRefused::Checkpoint(BadCheckpoint::NotVerified(NotVerified::NotSigned)));
            assert_eq!(proof.verify(&leaf_hash(&log.0[index as usize]), &strangers), refused);
        }
    }

    #[test]
    fn the_file_is_the_one_of_the_specification() {
        let text = made(8).with_extra(b"more".to_vec()).to_string();
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!(lines[..3], ["c2sp.org/tlog-proof@v1", "extra bW9yZQ==", "index 8"]);
        assert_eq!((lines[3].len(), lines[4], lines[5], lines[6]), (44, "", "mill3", "9"));
        assert_eq!(TlogProof::parse(text.as_bytes()).unwrap().extra(), Some(b"more".as_slice()));
        assert_eq!(made(8).with_extra(Vec::new()), made(8));
    }

    #[test]
    fn a_proof_file_has_one_spelling() {
        let good = made(8).with_extra(b"more".to_vec()).to_string();
        let hash = good.split('\n').nth(3).unwrap();
        for (bad, why) in [
            (good.replacen("@v1", "@v2", 1), BadProof::Head),
            (good.replacen("index 8", "index 08", 1), BadProof::Line(3)),
            (good.replacen("index 8\n", "", 1), BadProof::Line(3)),
            (good.replacen("index 8", "index 8 ", 1), BadProof::Line(3)),
            (good.replacen("bW9yZQ==", "bW9yZR==", 1), BadProof::Line(2)),
            (good.replacen("bW9yZQ==", "", 1), BadProof::Line(2)),
            (good.replacen("extra bW9yZQ==\n", "extra bW9yZQ==\nextra bW9yZQ==\n", 1), BadProof::Line(3)),
            (good.replacen(hash, &hash[4..], 1), BadProof::Line(4)),
            (good.replacen(hash, &[hash; 80].join("\n"), 1), BadProof::Line(67)),
            (good.replacen("\n\n", "\n", 1), BadProof::Line(5)),
            (good.replacen('\n', "\r\n", 1), BadProof::Head),
            (good[..good.len() - 1].to_owned(), BadProof::Note(BadNote::NoSignatures)),
            ("c2sp.org/tlog-proof@v1\n".to_owned(), BadProof::Note(BadNote::NoSignatures)),
        ] {
            assert_eq!(TlogProof::parse(bad.as_bytes()), Err(why), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(at: prop::sample::Index, with: u8, any: Vec<u8>) {
            TlogProof::parse(&any).ok();
            let mut bytes = made(8).with_extra(b"more".to_vec()).to_string().into_bytes();
            let at = at.index(bytes.len());
            let is_changed = bytes[at] != with;
            bytes[at] = with;
            if let Ok(proof) = TlogProof::parse(&bytes) {
                prop_assert_eq!(proof.to_string().into_bytes(), bytes);
                let entry = leaf_hash(&Naive::of(9).0[8]);
                // Nobody vouches for what is extra; everything else is covered.
                let is_extra = proof.extra() != Some(b"more");
                prop_assert_eq!(proof.verify(&entry, &keys()).is_ok(), !is_changed || is_extra);
            }
        }
    }
}

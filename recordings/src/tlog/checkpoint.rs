//! Checkpoints (<https://c2sp.org/tlog-checkpoint>): a log's name, size and root, as the text of a signed note. When one
//! is signed, and whether it is consistent with those before, is decided elsewhere.

use std::fmt;

use certs::log_key::Verifier;
use data_encoding::BASE64;

use super::note::{BadNote, NotSignable, NotVerified, Note};
use super::{Hash, parse_decimal, parse_hash};
use crate::log::Signer;

/// A log at one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, which no other log has.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// The root of their tree (RFC 6962).
    pub root: Hash,
}

/// Why a checkpoint does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    /// The text is no checkpoint.
    #[error("no checkpoint: it has a line with the log's name, one with its size and one with its root in base64")]
    Text,
    /// It is no note.
    #[error(transparent)]
    Note(#[from] BadNote),
    /// Nobody who is trusted signed it.
    #[error(transparent)]
    NotVerified(#[from] NotVerified),
    /// Whoever signed it is trusted for another log.
    #[error("the checkpoint of {origin:?} is signed by the key of another log")]
    OtherLog {
        /// The log that it is of.
        origin: String,
    },
}

impl Checkpoint {
    /// Reads the text of a checkpoint. Lines that extend it, which other logs may write, are passed over: whoever signed
    /// the text signed them too.
    pub fn parse(text: &str) -> Result<Self, BadCheckpoint> {
        Self::read(text).ok_or(BadCheckpoint::Text)
    }

    fn read(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let is_whole = !origin.is_empty() && !origin.contains(char::is_control) && lines.all(|line| !line.is_empty());
        is_whole.then_some(Self { origin: origin.to_owned(), size: parse_decimal(size)?, root: parse_hash(root)? })
    }

    /// Signs it under the log's name.
    pub fn sign(self, signer: &dyn Signer) -> Result<SignedCheckpoint, NotSignable> {
        let note = Note::sign(&self.to_string(), &self.origin, signer)?;
        Ok(SignedCheckpoint { checkpoint: self, note })
    }
}

/// The text, as it is signed.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(&self.root))
    }
}

/// A checkpoint that its log signed: made here, or verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

impl SignedCheckpoint {
    /// Reads a checkpoint and verifies it. One of the keys must have signed that bears the log's name; whatever the keys
    /// of other names say counts for nothing here.
    pub fn open(bytes: &[u8], verifiers: &[Verifier]) -> Result<Self, BadCheckpoint> {
        Self::verify(Note::parse(bytes)?, verifiers)
    }

    /// Verifies a checkpoint that was read as a note.
    pub fn verify(note: Note, verifiers: &[Verifier]) -> Result<Self, BadCheckpoint> {
        let checkpoint = Checkpoint::parse(note.text())?;
        let signed_by = note.verify(verifiers)?;
        if signed_by.iter().any(|verifier| verifier.name() == checkpoint.origin) {
            Ok(Self { checkpoint, note })
        } else {
            Err(BadCheckpoint::OtherLog { origin: checkpoint.origin })
        }
    }

    /// What it says.
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note, with every signature that stands under it.
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// The note, for more signatures.
    pub fn note_mut(&mut self) -> &mut Note {
        &mut self.note
    }
}

/// The note, as it is published.
impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sim::SimSigner;

    const SOFA: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    /// A checkpoint of the log that the race in tlog-witness is told of, from the tests of a public witness.
    const TREE: &str = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562\n1\n\
        KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\
        — sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562 \
        UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY=\n";
    const TREE_KEY: &str = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562\
        +5202289b+Af/cLU2Y5BJNP+r3iMDC+av9eWCD0fBJVDfzAux5zxAP";

    #[test]
    fn the_example_of_the_specification_is_read_and_written_as_it_was() {
        let checkpoint = Checkpoint::parse(SOFA).unwrap();
        assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("example.com/behind-the-sofa", 20_852_163));
        assert_eq!(checkpoint.to_string(), SOFA);
    }

    #[test]
    fn a_checkpoint_of_another_log_is_verified_by_its_key() {
        let keys = [Verifier::parse(TREE_KEY).unwrap()];
        let signed = SignedCheckpoint::open(TREE.as_bytes(), &keys).unwrap();
        assert_eq!((signed.checkpoint().size, signed.checkpoint().root[0]), (1, 0x2a));
        assert_eq!(signed.to_string(), TREE);
        let altered = TREE.replacen("\n1\n", "\n2\n", 1);
        let refused = SignedCheckpoint::open(altered.as_bytes(), &keys).unwrap_err();
        assert!(matches!(refused, BadCheckpoint::NotVerified(NotVerified::WrongSignature { .. })), "{refused:?}");
    }

    #[test]
    fn a_checkpoint_has_one_spelling() {
        for text in [
            "",
            "\n",
            "log\n",
            "log\n1\n",
            &SOFA[..SOFA.len() - 1],
            &format!("{SOFA}\n"),
            &SOFA.replacen("example.com/behind-the-sofa", "", 1),
            &SOFA.replacen("20852163", "020852163", 1),
            &SOFA.replacen("20852163", "+20852163", 1),
            &SOFA.replacen("20852163", "-1", 1),
            &SOFA.replacen("20852163", "9223372036854775808", 1),
            &SOFA.replacen("q2I=", "q2J=", 1),
            &SOFA.replacen("q2I=", "q2I", 1),
            &SOFA.replacen("CsUY", "", 1),
            &SOFA.replacen('\n', "\r\n", 1),
        ] {
            assert_eq!(Checkpoint::parse(text), Err(BadCheckpoint::Text), "{text:?}");
        }
        assert_eq!(Checkpoint::parse(&format!("{SOFA}more\n")), Checkpoint::parse(SOFA));
    }

    #[test]
    fn what_is_signed_here_opens_with_its_own_key_alone() {
        let checkpoint = Checkpoint { origin: "mill3/journal".to_owned(), size: 7, root: [7; 32] };
        let signed = checkpoint.clone().sign(&SimSigner::new(1)).unwrap();
        let (ours, other) = (SimSigner::new(1).verifier("mill3/journal"), SimSigner::new(2).verifier("mill3/journal"));
        let bytes = signed.to_string().into_bytes();
        assert_eq!(SignedCheckpoint::open(&bytes, &[ours.unwrap()]), Ok(signed));
        let refused = Err(BadCheckpoint::NotVerified(NotVerified::NotSigned));
        assert_eq!(SignedCheckpoint::open(&bytes, &[other.unwrap()]), refused);
        assert!(Checkpoint { origin: "two words".to_owned(), ..checkpoint }.sign(&SimSigner::new(1)).is_err());
    }

    #[test]
    fn the_key_of_one_log_signs_no_checkpoint_of_another() {
        let text = Checkpoint { origin: "mill4".to_owned(), size: 0, root: [0; 32] }.to_string();
        let note = Note::sign(&text, "mill3", &SimSigner::new(1)).unwrap();
        let keys = [SimSigner::new(1).verifier("mill3").unwrap()];
        let refused = Err(BadCheckpoint::OtherLog { origin: "mill4".to_owned() });
        assert_eq!(SignedCheckpoint::verify(note, &keys), refused);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(at in 0..SOFA.len(), with: u8, any: String) {
            Checkpoint::parse(&any).ok();
            let mut bytes = SOFA.as_bytes().to_vec();
            bytes[at] = with;
            let text = String::from_utf8_lossy(&bytes);
            if let Ok(checkpoint) = Checkpoint::parse(&text) {
                prop_assert_eq!(checkpoint.to_string(), text);
            }
        }
    }
}

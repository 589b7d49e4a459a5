//! Witnesses' cosignatures under a checkpoint (<https://c2sp.org/tlog-cosignature>, version 1: Ed25519 with a time). How many
//! of which witnesses are enough is decided elsewhere.

use certs::witness_key::{Cosigner, TIME_MAX, WitnessKey};

use super::note::{NotVerified, Note, Signature};

/// That a witness saw a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cosigned<'w> {
    /// Who says so.
    pub witness: &'w Cosigner,
    /// When, by the witness's clock, in seconds since 1970.
    pub seconds: u64,
}

/// The line that says that this witness saw the checkpoint of this text.
pub fn cosign(checkpoint: &str, key: &WitnessKey, seconds: u64) -> Signature {
    let seconds = seconds.min(TIME_MAX);
    let bytes = [seconds.to_be_bytes().as_slice(), &key.cosign(seconds, checkpoint)].concat();
    Signature::new(key.cosigner().name(), key.cosigner().id(), bytes)
}

/// Which of these witnesses saw the checkpoint in this note, in the order of its lines. Lines by others mean nothing; every
/// line that names one of these must be right.
pub fn cosigned<'w>(note: &Note, witnesses: &'w [Cosigner]) -> Result<Vec<Cosigned<'w>>, NotVerified> {
    let mut found = Vec::new();
    for line in note.signatures() {
        for witness in witnesses.iter().filter(|witness| line.is_by(witness.name(), witness.id())) {
            let seconds = seconds_of(note.text(), line, witness);
            let seconds = seconds.ok_or_else(|| NotVerified::WrongSignature { name: line.name().to_owned() })?;
            found.push(Cosigned { witness, seconds });
        }
    }
    Ok(found)
}

/// When the witness made this line for this text; none where it did not.
pub(super) fn seconds_of(checkpoint: &str, line: &Signature, witness: &Cosigner) -> Option<u64> {
    let (seconds, signature) = line.bytes().split_first_chunk()?;
    let seconds = u64::from_be_bytes(*seconds);
    witness.verify(seconds, checkpoint, signature).ok().map(|()| seconds)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::sim::SimSigner;
    use crate::tlog::checkpoint::Checkpoint;

    pub(crate) fn witness(name: &str) -> WitnessKey {
        let dir = tempfile::tempdir().unwrap();
        WitnessKey::create(&dir.path().join("witness.key"), Some(name)).unwrap()
    }

    #[test]
    fn cosignatures_of_known_witnesses_are_found_and_no_others() {
        let checkpoint = Checkpoint { origin: "mill3".to_owned(), size: 3, root: [3; 32] };
        let mut signed = checkpoint.clone().sign(&SimSigner::new(1)).unwrap();
        let (one, two, stranger) = (witness("one"), witness("two"), witness("stranger"));
        let text = checkpoint.to_string();
        for (key, seconds) in [(&one, 7), (&stranger, 8), (&two, 9), (&one, 10)] {
            signed.note_mut().put(cosign(&text, key, seconds));
        }
        let known = [one.cosigner().clone(), two.cosigner().clone()];
        let note = Note::parse(signed.to_string().as_bytes()).unwrap();
        let found = cosigned(&note, &known).unwrap();
        let seconds: Vec<_> = found.iter().map(|one| (one.witness.name(), one.seconds)).collect();
        assert_eq!(seconds, [("one", 10), ("two", 9)]);
        assert_eq!(cosigned(&note, &[]), Ok(Vec::new()));
    }

    #[test]
    fn a_known_witness_whose_line_is_not_over_this_checkpoint_rejects_it() {
        let checkpoint = Checkpoint { origin: "mill3".to_owned(), size: 3, root: [3; 32] };
        let key = witness("one");
        let refused = Err(NotVerified::WrongSignature { name: "one".to_owned() });
        let right = cosign(&checkpoint.to_string(), &key, 7);
        let later = [8_u64.to_be_bytes().as_slice(), &right.bytes()[8..]].concat();
        let of_another = cosign(&checkpoint.to_string().replacen('3', "4", 1), &key, 7).bytes().to_vec();
        for bytes in [later, of_another, right.bytes()[..7].to_vec(), right.bytes()[..71].to_vec()] {
            let mut signed = checkpoint.clone().sign(&SimSigner::new(1)).unwrap();
            signed.note_mut().put(Signature::new("one", key.cosigner().id(), bytes));
            assert_eq!(cosigned(signed.note(), &[key.cosigner().clone()]), refused);
        }
    }
}

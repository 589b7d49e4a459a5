//! The other side of a witness: what a log asks it, and what its answer says. Sending is the caller's business.

use certs::witness_key::Cosigner;

use super::checkpoint::SignedCheckpoint;
use super::cosignature::seconds_of;
use super::note::Signature;
use super::parse_decimal;
use super::proof::{Hashes, ProofFault, consistency};
use super::witness::AddCheckpoint;

/// What to ask of a witness that cosigned size `held` last. Who does not know says 0; the answer is then
/// [`Answer::Holds`].
pub fn add_checkpoint<H: Hashes>(
    signed: &SignedCheckpoint,
    held: u64,
    hashes: &mut H,
) -> Result<AddCheckpoint, ProofFault<H::Fault>> {
    let proof = consistency(hashes, held, signed.checkpoint().size)?;
    Ok(AddCheckpoint { old: held, proof, note: signed.note().clone() })
}

/// What a witness answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It cosigned: lines for the checkpoint's note, each with the second it was made in.
    Cosigned(Vec<(Signature, u64)>),
    /// It cosigned another size last: ask again from there.
    Holds(u64),
}

/// Why a witness's answer is no cosignature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCosigned {
    /// It has seen more of this log than there is: the log was set back, or runs twice. An answer without a signature, so
    /// whoever stands between can say this too.
    #[error(
        "the witness has seen {held} entries of this log, and here are {size}: it was set back, or another copy of it \
         runs elsewhere"
    )]
    SetBack {
        /// What the witness has seen.
        held: u64,
        /// What is here.
        size: u64,
    },
    /// It has seen another log of this name and size.
    #[error("the witness has seen another log of this name with {0} entries: it runs twice, or was rewritten")]
    Forked(u64),
    /// It refused.
    #[error("the witness refused with status {status}: {words}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said, cut short.
        words: String,
    },
    /// The answer is none.
    #[error("the witness answered with something else than {0}")]
    Malformed(&'static str),
    /// No line is by a witness that is known, or one is wrong.
    #[error("the answer has no right cosignature of a witness that is known here")]
    NotKnown,
}

/// Bytes of an answer that are worth reading.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Characters of a refusal that are worth showing.
const WORDS_MAX: usize = 300;

/// Reads the answer to [`add_checkpoint`]: `asked` with this HTTP status and body. Lines by other witnesses than these are
/// passed over; one that names one of these and is wrong makes the whole answer worthless.
pub fn read_answer(
    asked: &AddCheckpoint,
    size: u64,
    (status, body): (u16, &[u8]),
    witnesses: &[Cosigner],
) -> Result<Answer, NotCosigned> {
    let text = String::from_utf8_lossy(&body[..body.len().min(ANSWER_BYTES_MAX)]);
    match status {
        200 => cosigned(asked.note.text(), &text, witnesses).map(Answer::Cosigned),
        409 => {
            let held = text.strip_suffix('\n').and_then(parse_decimal);
            match held.ok_or(NotCosigned::Malformed("the size it holds"))? {
                held if held > size => Err(NotCosigned::SetBack { held, size }),
                held if held == asked.old && held == size => Err(NotCosigned::Forked(size)),
                held if held == asked.old => Err(NotCosigned::Malformed("another size than it was asked from")),
                held => Ok(Answer::Holds(held)),
            }
        }
        status => {
            let words = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS_MAX).collect();
            Err(NotCosigned::Refused { status, words })
        }
    }
}

fn cosigned(checkpoint: &str, lines: &str, witnesses: &[Cosigner]) -> Result<Vec<(Signature, u64)>, NotCosigned> {
    let malformed = NotCosigned::Malformed("signature lines");
    let lines = lines.strip_suffix('\n').ok_or(malformed.clone())?;
    let lines = lines.split('\n').map(|line| Signature::parse(line).ok_or(malformed.clone()));
    let mut found = Vec::new();
    for line in lines.collect::<Result<Vec<_>, _>>()? {
        if let Some(witness) = witnesses.iter().find(|witness| line.is_by(witness.name(), witness.id())) {
            let seconds = seconds_of(checkpoint, &line, witness).ok_or(NotCosigned::NotKnown)?;
            found.push((line, seconds));
        }
    }
    if found.is_empty() { Err(NotCosigned::NotKnown) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::log::Signer as _;
    use crate::sim::{SimDisk, SimSigner};
    use crate::tlog::checkpoint::Checkpoint;
    use crate::tlog::cosignature::tests::witness as key;
    use crate::tlog::cosignature::{cosign, cosigned as cosigned_by};
    use crate::tlog::proof::tests::Naive;
    use crate::tlog::witness::{Refused, Witness, WitnessDir};

    fn signed(log: &Naive) -> SignedCheckpoint {
        let size = log.0.len() as u64;
        let checkpoint = Checkpoint { origin: "mill3".to_owned(), size, root: log.root(size) };
        checkpoint.sign(&SimSigner::new(1)).unwrap()
    }

    fn witness() -> Witness {
        let dir = WitnessDir::take(Arc::new(SimDisk::new(1)), Path::new("/w")).unwrap();
        Witness::new(dir, key("w1"), vec![SimSigner::new(1).verifier("mill3").unwrap()]).unwrap()
    }

    /// One question to a witness, as HTTP would carry it.
    fn ask(witness: &Witness, log: &mut Naive, held: u64) -> Result<Answer, NotCosigned> {
        let signed = signed(log);
        let asked = add_checkpoint(&signed, held, log).unwrap();
        let (status, body) = match witness.add_checkpoint(asked.to_string().as_bytes(), 7) {
            Ok(line) => (200, line),
            Err(Refused::Holds(size)) => (409, format!("{size}\n")),
            Err(refused) => (refused.status(), refused.to_string()),
        };
        read_answer(&asked, signed.checkpoint().size, (status, body.as_bytes()), &[witness.cosigner().clone()])
    }

    #[test]
    fn a_log_learns_what_a_witness_holds_and_gets_its_cosignature_from_there() {
        let witness = witness();
        assert!(matches!(ask(&witness, &mut Naive::of(5), 0), Ok(Answer::Cosigned(_))));
        let mut log = Naive::of(9);
        assert_eq!(ask(&witness, &mut log, 0), Ok(Answer::Holds(5)));
        assert_eq!(ask(&witness, &mut log, 7), Ok(Answer::Holds(5)));
        let Ok(Answer::Cosigned(lines)) = ask(&witness, &mut log, 5) else { panic!("not cosigned") };
        let mut signed = signed(&log);
        lines.iter().for_each(|(line, _)| signed.note_mut().put(line.clone()));
        let known = [witness.cosigner().clone()];
        assert_eq!(cosigned_by(signed.note(), &known).unwrap()[0].seconds, 7);
        assert_eq!(lines[0].1, 7);
    }

    #[test]
    fn a_log_that_was_set_back_or_rewritten_is_told_so() {
        let witness = witness();
        ask(&witness, &mut Naive::of(9), 0).unwrap();
        assert_eq!(ask(&witness, &mut Naive::of(5), 0), Err(NotCosigned::SetBack { held: 9, size: 5 }));
        let mut other = Naive::of(9);
        other.0[3].push(b'!');
        assert_eq!(ask(&witness, &mut other, 9), Err(NotCosigned::Forked(9)));
        let mut longer = Naive::of(12);
        longer.0[3].push(b'!');
        let refused = ask(&witness, &mut longer, 9).unwrap_err();
        assert!(matches!(refused, NotCosigned::Refused { status: 422, .. }), "{refused:?}");
    }

    #[test]
    fn only_right_lines_of_known_witnesses_count() {
        let mut log = Naive::of(3);
        let signed = signed(&log);
        let asked = add_checkpoint(&signed, 0, &mut log).unwrap();
        let (known, stranger) = (key("known"), key("stranger"));
        let line = |key, text: &str| format!("{}\n", cosign(text, key, 7));
        let (text, other) = (signed.note().text(), "mill3\n4\n");
        let read = |status, body: &str| read_answer(&asked, 3, (status, body.as_bytes()), &[known.cosigner().clone()]);
        let both = format!("{}{}", line(&stranger, text), line(&known, text));
        assert!(matches!(read(200, &both), Ok(Answer::Cosigned(lines)) if lines.len() == 1));
        assert_eq!(read(200, &line(&stranger, text)), Err(NotCosigned::NotKnown));
        assert_eq!(read(200, &line(&known, other)), Err(NotCosigned::NotKnown));
        assert_eq!(read(200, &format!("{}{}", line(&known, text), line(&known, other))), Err(NotCosigned::NotKnown));
        for body in ["", "\n", "yes\n", line(&known, text).trim_end(), &format!("{}\n", line(&known, text))] {
            assert_eq!(read(200, body), Err(NotCosigned::Malformed("signature lines")), "{body:?}");
        }
        for body in ["", "2", "02\n", "2\n\n", "two\n"] {
            assert_eq!(read(409, body), Err(NotCosigned::Malformed("the size it holds")), "{body:?}");
        }
        assert_eq!(read(409, "0\n"), Err(NotCosigned::Malformed("another size than it was asked from")));
        let Err(NotCosigned::Refused { status: 500, words }) = read(500, &"\u{1b}[2J".repeat(999)) else { panic!() };
        assert!(words.len() == 300 && !words.contains(char::is_control));
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(status in prop::sample::select(vec![200, 409, 422]), body: Vec<u8>) {
            let mut log = Naive::of(3);
            let asked = add_checkpoint(&signed(&log), 0, &mut log).unwrap();
            let known = [key("known").cosigner().clone()];
            prop_assert!(!matches!(read_answer(&asked, 3, (status, &body), &known), Ok(Answer::Cosigned(_))));
        }
    }
}

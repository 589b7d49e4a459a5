//! A witness (<https://c2sp.org/tlog-witness>): remembers of each log the last checkpoint that it cosigned, and cosigns only
//! what grew out of that. What it has cosigned it never forgets: that is durable before the cosignature leaves. The network
//! is `proxy`'s business.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use certs::log_key::Verifier;
use certs::witness_key::{Cosigner, WitnessKey};
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest as _, Sha256};

use super::checkpoint::{BadCheckpoint, Checkpoint, SignedCheckpoint};
use super::cosignature::{cosign, cosigned};
use super::folder::{Flaw, Folder};
use super::note::{BadNote, NOTE_BYTES_MAX, Note};
use super::proof::{NotProved, verify_consistency};
use super::publish::Publisher;
use super::{Hash, parse_decimal, parse_hash};
use crate::disk::Disk;
use crate::session::lock;
use crate::tree::Tree;

/// What is asked of a witness: the body of a POST to `add-checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size of the checkpoint that the witness is believed to have cosigned last; 0 for none.
    pub old: u64,
    /// That the new tree grew out of that one.
    pub proof: Vec<Hash>,
    /// The new checkpoint, as its log signed it.
    pub note: Note,
}

/// Bytes that ask nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// The first line is not `old SIZE`.
    #[error("the first line is `old` and the size of the last checkpoint")]
    Old,
    /// A line of the proof is no hash, or there are too many.
    #[error("the lines of the proof are hashes in base64, at most {PROOF_LINES_MAX}, and a blank line follows")]
    Proof,
    /// Below the blank line stands no note.
    #[error(transparent)]
    Note(#[from] BadNote),
}

/// Lines of a proof in a request.
pub const PROOF_LINES_MAX: usize = 63;
/// Bytes of a request.
pub const REQUEST_BYTES_MAX: usize = NOTE_BYTES_MAX + 64 * 64;

impl AddCheckpoint {
    /// Reads a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadRequest> {
        let blank = bytes.windows(2).position(|pair| pair == b"\n\n").ok_or(BadRequest::Proof)?;
        let head = std::str::from_utf8(&bytes[..blank]).map_err(|_| BadRequest::Old)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(parse_decimal);
        let old = old.ok_or(BadRequest::Old)?;
        let proof = lines.map(|line| parse_hash(line).ok_or(BadRequest::Proof)).collect::<Result<Vec<_>, _>>()?;
        if proof.len() > PROOF_LINES_MAX {
            return Err(BadRequest::Proof);
        }
        Ok(Self { old, proof, note: Note::parse(&bytes[blank + 2..])? })
    }
}

/// The body, as it is sent.
impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", BASE64.encode(hash)))?;
        write!(f, "\n{}", self.note)
    }
}

/// Why a witness does not cosign. Each has an HTTP status of its own meaning; see [`Refused::status`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The request is none.
    #[error(transparent)]
    Malformed(#[from] BadRequest),
    /// What it carries is no checkpoint.
    #[error("{0}")]
    NoCheckpoint(BadCheckpoint),
    /// The old size is beyond the new one.
    #[error("the old size is larger than the checkpoint's")]
    OldLarger,
    /// No key that is trusted for this log signed the checkpoint.
    #[error("{0}")]
    NotSigned(BadCheckpoint),
    /// This witness has no key for that log.
    #[error("this witness knows no log of that name")]
    UnknownLog,
    /// The last checkpoint that was cosigned has this size: another than the request says, or this one and another root.
    #[error("the last checkpoint that this witness cosigned is another, of size {0}")]
    Holds(u64),
    /// The new tree did not grow out of the old one, as far as the proof goes.
    #[error("{0}")]
    NotConsistent(NotProved),
    /// What was cosigned could not be remembered. Until the witness is started again on a checked disk, it cosigns nothing.
    #[error("this witness cannot remember what it cosigns, and so cosigns nothing")]
    CannotRemember,
}

impl Refused {
    /// The HTTP status that the specification gives to it.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::NoCheckpoint(_) | Self::OldLarger => 400,
            Self::NotSigned(_) => 403,
            Self::UnknownLog => 404,
            Self::Holds(_) => 409,
            Self::NotConsistent(_) => 422,
            Self::CannotRemember => 500,
        }
    }
}

/// Why a witness cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum WitnessFault {
    /// Another program uses the folder.
    #[error("another witness has {} open; end it first, or give this one a folder of its own", .0.display())]
    InUse(PathBuf),
    /// What it remembers is not what it wrote.
    #[error(
        "{}: {words}. A witness that goes on with less than it has seen would vouch for a log that was set back: put \
         the file's backup back, or remove it and tell everybody who relies on this witness",
        .path.display()
    )]
    Memory {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        words: String,
    },
    /// The file system said no.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

/// A witness's folder, which no other program uses meanwhile.
pub struct WitnessDir {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    _lock: Box<dyn Send + Sync>,
}

impl WitnessDir {
    /// Takes the folder, and makes it where there is none.
    pub fn take(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, WitnessFault> {
        let io = |error| WitnessFault::Io { path: dir.to_owned(), error };
        disk.create_dir(dir).map_err(io)?;
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        disk.sync_dir(parent).map_err(io)?;
        let lock = disk.lock(&dir.join("LOCK")).map_err(io)?;
        let lock = lock.ok_or_else(|| WitnessFault::InUse(dir.to_owned()))?;
        Ok(Self { disk, dir: dir.to_owned(), _lock: lock })
    }
}

/// A witness. Requests may come from any number of threads.
pub struct Witness {
    key: WitnessKey,
    logs: Vec<Verifier>,
    memory: Mutex<Memory>,
}

struct Memory {
    publisher: Publisher,
    /// The last checkpoint of each log that was cosigned, as it is on the disk.
    seen: BTreeMap<String, Checkpoint>,
    _dir: WitnessDir,
}

impl Witness {
    /// A witness of the logs that have these keys; a log's name is its key's. Refuses to begin where what it remembers of
    /// one of them is not what it wrote.
    pub fn new(dir: WitnessDir, key: WitnessKey, logs: Vec<Verifier>) -> Result<Self, WitnessFault> {
        let folder = Folder::new(dir.disk.clone(), &dir.dir);
        let mut seen = BTreeMap::new();
        for log in &logs {
            if let Some(checkpoint) = remembered(&folder, log.name(), key.cosigner())
                .map_err(|words| WitnessFault::Memory { path: dir.dir.join(file_of(log.name())), words })?
            {
                seen.insert(log.name().to_owned(), checkpoint);
            }
        }
        let memory = Memory { publisher: Publisher::new(folder), seen, _dir: dir };
        Ok(Self { key, logs, memory: Mutex::new(memory) })
    }

    /// Its public key, for those who are to believe it.
    pub const fn cosigner(&self) -> &Cosigner {
        self.key.cosigner()
    }

    /// The last checkpoint of a log that was cosigned.
    pub fn last(&self, origin: &str) -> Option<Checkpoint> {
        lock(&self.memory).seen.get(origin).cloned()
    }

    /// Cosigns what is asked for, at this second: gives the line to answer with, which is remembered by then. Blocks for as
    /// long as the disk takes.
    pub fn add_checkpoint(&self, body: &[u8], seconds: u64) -> Result<String, Refused> {
        let request = AddCheckpoint::parse(body)?;
        let mut signed = self.verify(request.note)?;
        let new = signed.checkpoint().clone();
        // From here to the end nobody else compares or remembers: of two requests that grow out of the same checkpoint,
        // the second finds what the first left.
        let mut memory = lock(&self.memory);
        if memory.publisher.has_failed() {
            return Err(Refused::CannotRemember);
        }
        let held = memory.seen.get(&new.origin).cloned().unwrap_or_else(|| nothing_of(&new.origin));
        decide(&held, request.old, &request.proof, &new)?;
        let line = cosign(signed.note().text(), &self.key, seconds);
        signed.note_mut().put(line.clone());
        if held != new || !memory.seen.contains_key(&new.origin) {
            memory.remember(&signed)?;
        }
        Ok(format!("{line}\n"))
    }

    fn verify(&self, note: Note) -> Result<SignedCheckpoint, Refused> {
        let checkpoint = Checkpoint::parse(note.text()).map_err(Refused::NoCheckpoint)?;
        let keys: Vec<_> = self.logs.iter().filter(|log| log.name() == checkpoint.origin).cloned().collect();
        if keys.is_empty() {
            return Err(Refused::UnknownLog);
        }
        SignedCheckpoint::verify(note, &keys).map_err(Refused::NotSigned)
    }
}

/// Whether the new checkpoint may follow the one that is held.
fn decide(held: &Checkpoint, old: u64, proof: &[Hash], new: &Checkpoint) -> Result<(), Refused> {
    if old > new.size {
        return Err(Refused::OldLarger);
    }
    if old != held.size || (old == new.size && held.root != new.root) {
        return Err(Refused::Holds(held.size));
    }
    verify_consistency((held.size, &held.root), (new.size, &new.root), proof).map_err(Refused::NotConsistent)
}

/// What is held of a log that was never seen.
fn nothing_of(origin: &str) -> Checkpoint {
    Checkpoint { origin: origin.to_owned(), size: 0, root: Tree::default().root() }
}

impl Memory {
    /// Durable when it returns.
    fn remember(&mut self, signed: &SignedCheckpoint) -> Result<(), Refused> {
        let checkpoint = signed.checkpoint();
        let content = format!("{VERSION}{signed}");
        self.publisher.file(&file_of(&checkpoint.origin), content.as_bytes()).map_err(|error| {
            tracing::error!(%error, origin = checkpoint.origin, "what was to be cosigned cannot be remembered");
            Refused::CannotRemember
        })?;
        self.seen.insert(checkpoint.origin.clone(), checkpoint.clone());
        Ok(())
    }
}

/// Stands before a checkpoint in a witness's memory.
const VERSION: &str = "holdpoint witness 1\n";

/// The file of a log; its name may be no file's name.
fn file_of(origin: &str) -> String {
    format!("seen/{}", HEXLOWER.encode(&Sha256::digest(origin)))
}

/// What this witness cosigned last of a log. Its own cosignature says that this is what it wrote.
fn remembered(folder: &Folder, origin: &str, witness: &Cosigner) -> Result<Option<Checkpoint>, String> {
    let bytes = match folder.read_file(&file_of(origin), (VERSION.len() + NOTE_BYTES_MAX) as u64) {
        Ok(bytes) => bytes,
        Err(fault) if fault.flaw == Flaw::Missing => return Ok(None),
        Err(fault) => return Err(fault.flaw.to_string()),
    };
    let note = bytes.strip_prefix(VERSION.as_bytes()).ok_or("this is not what this version of a witness writes")?;
    let note = Note::parse(note).map_err(|why| why.to_string())?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|why| why.to_string())?;
    let by = cosigned(&note, std::slice::from_ref(witness)).map_err(|why| why.to_string())?;
    if by.is_empty() || checkpoint.origin != origin {
        return Err("this is not what this witness cosigned of this log".to_owned());
    }
    Ok(Some(checkpoint))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use proptest::prelude::*;

    use super::*;
    use crate::log::Signer as _;
    use crate::sim::{Fault, SimDisk, SimSigner};
    use crate::tlog::cosignature::tests::witness as key;
    use crate::tlog::proof::consistency;
    use crate::tlog::proof::tests::Naive;

    const ORIGIN: &str = "mill3/journal";

    fn logs() -> Vec<Verifier> {
        vec![SimSigner::new(1).verifier(ORIGIN).unwrap(), SimSigner::new(2).verifier("mill4").unwrap()]
    }

    /// The same key each time: what one witness wrote, the next one reads.
    fn start_with(disk: &SimDisk, key: WitnessKey) -> Result<Witness, WitnessFault> {
        Witness::new(WitnessDir::take(Arc::new(disk.clone()), Path::new("/w"))?, key, logs())
    }

    struct Rig {
        keys: tempfile::TempDir,
    }

    impl Rig {
        fn new() -> Self {
            let keys = tempfile::tempdir().unwrap();
            WitnessKey::create(&keys.path().join("key"), Some("w1")).unwrap();
            Self { keys }
        }

        fn key(&self) -> WitnessKey {
            WitnessKey::read(&self.keys.path().join("key")).unwrap().unwrap()
        }

        fn start(&self, disk: &SimDisk) -> Witness {
            start_with(disk, self.key()).unwrap()
        }
    }

    fn signed(size: u64) -> SignedCheckpoint {
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root: Naive::of(size).root(size) };
        checkpoint.sign(&SimSigner::new(1)).unwrap()
    }

    fn body(old: u64, new: u64) -> String {
        let proof = consistency(&mut Naive::of(new), old.min(new), new).unwrap();
        AddCheckpoint { old, proof, note: signed(new).note().clone() }.to_string()
    }

    fn ask(witness: &Witness, body: &str) -> Result<(), Refused> {
        let line = witness.add_checkpoint(body.as_bytes(), 7)?;
        let (_, note) = body.split_once("\n\n").unwrap();
        let note = Note::parse(format!("{note}{line}").as_bytes()).unwrap();
        assert_eq!(cosigned(&note, &[witness.cosigner().clone()]).unwrap()[0].seconds, 7);
        Ok(())
    }

    #[test]
    fn a_log_that_grows_is_cosigned_and_the_same_size_again_too() {
        let witness = Rig::new().start(&SimDisk::new(1));
        for (old, new) in [(0, 0), (0, 0), (0, 1), (1, 1), (1, 5), (5, 70), (70, 70), (70, 1000)] {
            assert_eq!(ask(&witness, &body(old, new)), Ok(()), "{old} to {new}");
            assert_eq!(witness.last(ORIGIN).unwrap().size, new);
        }
    }

    #[test]
    fn each_refusal_has_the_status_of_the_specification_and_changes_nothing() {
        let rig = Rig::new();
        let disk = SimDisk::new(1);
        let witness = rig.start(&disk);
        ask(&witness, &body(0, 5)).unwrap();
        let other_root = |size| {
            let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root: [9; 32] };
            checkpoint.sign(&SimSigner::new(1)).unwrap().to_string()
        };
        let of = |origin: &str, seed| {
            let checkpoint = Checkpoint { origin: origin.to_owned(), size: 1, root: [9; 32] };
            checkpoint.sign(&SimSigner::new(seed)).unwrap().to_string()
        };
        let swapped = {
            let whole = body(5, 9);
            let lines: Vec<&str> = whole.split('\n').collect();
            whole.replacen(&format!("{}\n{}", lines[1], lines[2]), &format!("{}\n{}", lines[2], lines[1]), 1)
        };
        for (body, refused) in [
            (String::new(), Refused::Malformed(BadRequest::Proof)),
            (body(5, 9).replacen("old 5", "old 05", 1), Refused::Malformed(BadRequest::Old)),
            (body(5, 9).replacen("old 5", "new 5", 1), Refused::Malformed(BadRequest::Old)),
            (format!("old 5\n{}\n\n{}", ["x"; 3].join("\n"), signed(9)), Refused::Malformed(BadRequest::Proof)),
            (
                format!("old 5\n{}\n{}", format!("{}\n", "A".repeat(43) + "=").repeat(64), signed(9)),
                Refused::Malformed(BadRequest::Proof),
            ),
            ("old 5\n\nno note\n".to_owned(), Refused::Malformed(BadRequest::Note(BadNote::NoSignatures))),
            (
                format!("old 5\n\n{}", Note::sign("text\n", ORIGIN, &SimSigner::new(1)).unwrap()),
                Refused::NoCheckpoint(BadCheckpoint::Text),
            ),
            (format!("old 6\n\n{}", signed(5)), Refused::OldLarger),
            (format!("old 0\n\n{}", of("mill5", 1)), Refused::UnknownLog),
            (
                format!("old 0\n\n{}", of(ORIGIN, 2)),
                Refused::NotSigned(BadCheckpoint::NotVerified(crate::tlog::note::NotVerified::NotSigned)),
            ),
            (body(0, 9), Refused::Holds(5)),
            (body(4, 9), Refused::Holds(5)),
            (body(6, 9), Refused::Holds(5)),
            (body(0, 4), Refused::Holds(5)),
            (body(4, 4), Refused::Holds(5)),
            (format!("old 5\n\n{}", other_root(5)), Refused::Holds(5)),
            (format!("old 5\n\n{}", other_root(9)), Refused::NotConsistent(NotProved::Length)),
            (
                body(5, 9).replacen(&signed(9).to_string(), &other_root(9), 1),
                Refused::NotConsistent(NotProved::OtherRoot),
            ),
            (swapped, Refused::NotConsistent(NotProved::OtherRoot)),
            (
                body(5, 5).replacen("old 5\n", &format!("old 5\n{}=\n", "A".repeat(43)), 1),
                Refused::NotConsistent(NotProved::Length),
            ),
        ] {
            assert_eq!(ask(&witness, &body), Err(refused), "{body}");
            assert_eq!(witness.last(ORIGIN), Some(signed(5).checkpoint().clone()));
        }
        let first_with_proof = body(0, 1).replacen("old 0\n", &format!("old 0\n{}=\n", "A".repeat(43)), 1);
        let fresh = rig.start(&SimDisk::new(1));
        assert_eq!(ask(&fresh, &first_with_proof), Err(Refused::NotConsistent(NotProved::Length)));
        assert_eq!(ask(&fresh, &format!("old 0\n\n{}", other_root(0))), Err(Refused::Holds(0)));
    }

    #[test]
    fn a_known_key_that_did_not_sign_is_not_believed() {
        let witness = Rig::new().start(&SimDisk::new(1));
        let forged = body(0, 5).replacen("\n5\n", "\n6\n", 1);
        assert_eq!(ask(&witness, &forged).map_err(|refused| refused.status()), Err(403));
    }

    /// What a log of another make asked in the tests of a public witness: an order of events that must not roll back.
    #[test]
    fn requests_of_another_implementation_are_answered_as_the_specification_has_it() {
        let origin = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562";
        let asks = |old, proof: &[&str], size, root, signature| {
            let proof: String = proof.iter().map(|hash| format!("{hash}\n")).collect();
            format!("old {old}\n{proof}\n{origin}\n{size}\n{root}\n\n— {origin} {signature}\n")
        };
        let first = "KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let to_one = asks(
            0,
            &[],
            1,
            "KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY=",
        );
        let to_three = asks(
            1,
            &[first, "KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],
            3,
            "RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=",
            "UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6go=",
        );
        let to_five = asks(
            1,
            &[first, "+fUDV+k970B4I3uKrqJM4aP1lloPZP8mvr2Z4wRw2LI=", "KgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],
            5,
            "QrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY=",
            "UgIomw/EOJmWi0i1FQsOj+etB7F8IccFam/jgd6wzRns4QPVmyEZtdvl1U2KEmLOZ/ASRcWJi0tW90dJWAShei7sDww=",
        );
        let dir = WitnessDir::take(Arc::new(SimDisk::new(1)), Path::new("/w")).unwrap();
        let log = Verifier::parse(&format!("{origin}+5202289b+Af/cLU2Y5BJNP+r3iMDC+av9eWCD0fBJVDfzAux5zxAP")).unwrap();
        let witness = Witness::new(dir, key("w1"), vec![log]).unwrap();
        assert_eq!(ask(&witness, &to_one), Ok(()));
        assert_eq!(ask(&witness, &to_five), Ok(()));
        assert_eq!(ask(&witness, &to_three), Err(Refused::Holds(5)));
        assert_eq!(witness.last(origin).unwrap().size, 5);
    }

    #[test]
    fn two_keys_of_one_log_both_count() {
        let rig = Rig::new();
        let dir = WitnessDir::take(Arc::new(SimDisk::new(1)), Path::new("/w")).unwrap();
        let keys = [1, 2].map(|seed| SimSigner::new(seed).verifier(ORIGIN).unwrap());
        let witness = Witness::new(dir, rig.key(), keys.to_vec()).unwrap();
        ask(&witness, &body(0, 5)).unwrap();
        let second = signed(9).checkpoint().clone().sign(&SimSigner::new(2)).unwrap();
        let proof = consistency(&mut Naive::of(9), 5, 9).unwrap();
        let request = AddCheckpoint { old: 5, proof, note: second.note().clone() };
        assert_eq!(ask(&witness, &request.to_string()), Ok(()));
    }

    #[test]
    fn what_was_cosigned_is_remembered_whatever_call_the_power_is_cut_at() {
        let rig = Rig::new();
        let grow = |disk: &SimDisk| {
            let mut cosigned = 0;
            let Ok(witness) = start_with(disk, rig.key()) else { return cosigned };
            for (old, new) in [(0, 3), (3, 8), (8, 20)] {
                match ask(&witness, &body(old, new)) {
                    Ok(()) => cosigned = new,
                    Err(refused) => assert_eq!(refused, Refused::CannotRemember),
                }
            }
            cosigned
        };
        let calls = {
            let disk = SimDisk::new(1);
            assert_eq!(grow(&disk), 20);
            disk.calls()
        };
        for (call, seed) in (1..=calls + 1).flat_map(|call| (1..5).map(move |seed| (call, seed))) {
            let disk = SimDisk::new(seed);
            disk.fail_call(call, Fault::PowerCut);
            let cosigned = grow(&disk);
            let held = rig.start(&disk.power_cut()).last(ORIGIN).map_or(0, |checkpoint| checkpoint.size);
            assert!(held >= cosigned, "{cosigned} was cosigned, {held} is held: call {call}, seed {seed}");
        }
    }

    #[test]
    fn after_a_failed_write_nothing_is_cosigned_any_more_and_nothing_cosigned_is_forgotten() {
        let rig = Rig::new();
        for call in 1.. {
            let disk = SimDisk::new(1);
            let witness = rig.start(&disk);
            ask(&witness, &body(0, 3)).unwrap();
            disk.fail_call(disk.calls() + call, Fault::Error(io::ErrorKind::Other));
            if ask(&witness, &body(3, 8)).is_ok() {
                assert!(call > 4, "no call failed");
                break;
            }
            assert_eq!(ask(&witness, &body(3, 8)), Err(Refused::CannotRemember), "call {call}");
            assert_eq!(ask(&witness, &body(3, 3)), Err(Refused::CannotRemember), "call {call}");
            drop(witness);
            let again = rig.start(&disk.power_cut());
            assert!([3, 8].contains(&again.last(ORIGIN).unwrap().size), "call {call}");
        }
    }

    #[test]
    fn of_many_requests_at_once_that_grow_out_of_one_checkpoint_one_is_cosigned() {
        let witness = Rig::new().start(&SimDisk::new(1));
        ask(&witness, &body(0, 5)).unwrap();
        let bodies: Vec<String> = (6..22).map(|new| body(5, new)).collect();
        let all_there = Barrier::new(bodies.len());
        let answers: Vec<_> = std::thread::scope(|scope| {
            let asking: Vec<_> = bodies
                .iter()
                .map(|body| {
                    scope.spawn(|| {
                        all_there.wait();
                        ask(&witness, body)
                    })
                })
                .collect();
            asking.into_iter().map(|asking| asking.join().unwrap()).collect()
        });
        let held = witness.last(ORIGIN).unwrap().size;
        for (answer, new) in answers.iter().zip(6..) {
            assert_eq!(*answer, if new == held { Ok(()) } else { Err(Refused::Holds(held)) }, "{new}");
        }
    }

    #[test]
    fn one_folder_has_one_witness() {
        let rig = Rig::new();
        let disk = SimDisk::new(1);
        let first = rig.start(&disk);
        assert!(matches!(start_with(&disk, rig.key()), Err(WitnessFault::InUse(_))));
        drop(first);
        rig.start(&disk);
    }

    #[test]
    fn a_witness_whose_memory_was_altered_does_not_begin() {
        let rig = Rig::new();
        let disk = SimDisk::new(1);
        ask(&rig.start(&disk), &body(0, 5)).unwrap();
        let path = Path::new("/w").join(file_of(ORIGIN));
        let whole = disk.content(&path).unwrap();
        let refused = |disk: &SimDisk| matches!(start_with(disk, rig.key()), Err(WitnessFault::Memory { .. }));
        for at in 0..whole.len() {
            disk.tamper(&path, |bytes| bytes[at] ^= 1);
            // The log's own signature is not asked: another key may have been taken since.
            let line_of_the_log = String::from_utf8_lossy(&whole).find("— mill3").unwrap();
            let its_end = line_of_the_log + whole[line_of_the_log..].iter().position(|byte| *byte == b'\n').unwrap();
            assert!(refused(&disk) || (line_of_the_log..its_end).contains(&at), "byte {at}");
            disk.tamper(&path, |bytes| bytes[at] ^= 1);
        }
        for change in [|bytes: &mut Vec<u8>| bytes.clear(), |bytes: &mut Vec<u8>| bytes.truncate(90)] {
            disk.tamper(&path, change);
            assert!(refused(&disk));
            disk.tamper(&path, |bytes| *bytes = whole.clone());
        }
        assert!(matches!(start_with(&disk, key("another")), Err(WitnessFault::Memory { .. })));
        assert_eq!(rig.start(&disk).last(ORIGIN), Some(signed(5).checkpoint().clone()));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(at: prop::sample::Index, with: u8, any: Vec<u8>) {
            AddCheckpoint::parse(&any).ok();
            let mut bytes = body(5, 9).into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = with;
            if let Ok(request) = AddCheckpoint::parse(&bytes) {
                prop_assert_eq!(request.to_string().into_bytes(), bytes);
            }
        }
    }
}

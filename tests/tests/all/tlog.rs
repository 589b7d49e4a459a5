//! A second opinion on transparency logs: what is written here, Go's `golang.org/x/mod/sumdb` reads, and what it does not
//! believe is not believed here either.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::fs;
use std::sync::Arc;

use certs::log_key::Verifier;
use certs::witness_key::WitnessKey;
use data_encoding::BASE64;
use recordings::disk::RealDisk;
use recordings::tlog::Hash;
use recordings::tlog::check::check_folder;
use recordings::tlog::cosignature::{cosign, cosigned};
use recordings::tlog::folder::Folder;
use recordings::tlog::note::Note;
use recordings::tlog::proof::{consistency, inclusion, verify_consistency, verify_inclusion};
use recordings::tree::leaf_hash;
use serde_json::{Value, json};
use tests::grown::{GrownLog, SecondOpinion, entry};
use tests::long_or;

const ORIGIN: &str = "mill3.example/journal";

fn texts(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(|hash| BASE64.encode(hash)).collect()
}

#[test]
fn another_implementation_reads_a_log_that_grew_here_and_makes_the_same_proofs() {
    let Some(mut go) = SecondOpinion::start() else { return };
    let mut log = GrownLog::new(ORIGIN, 1, "history");
    let sizes: &[u64] = long_or(&[1, 2, 255, 256, 257, 600, 1023, 65_535, 65_536, 66_000], &[1, 2, 255, 256, 257, 600]);
    for size in sizes {
        let signed = log.grow(*size).clone();
        let some: Vec<u64> = (0..*size).step_by(61).chain([*size - 1]).collect();
        let olds: Vec<u64> = some.iter().map(|index| index + 1).collect();
        let keys = [log.verifier().to_string()];
        let read = go.ask(&json!({"Do": "folder", "Dir": log.dir(), "Keys": keys, "Indexes": some, "Sizes": olds}));
        assert_eq!(read["OK"], true, "{size}: {read}");
        assert_eq!((&read["Size"], &read["Root"]), (&json!(size), &json!(BASE64.encode(&signed.checkpoint().root))));
        let mut view = log.view(*size);
        let ours: Vec<_> = some.iter().map(|index| texts(&inclusion(&mut view, *index, *size).unwrap())).collect();
        assert_eq!(read["Inclusion"], json!(ours), "{size}");
        let ours: Vec<_> = olds.iter().map(|old| texts(&consistency(&mut view, *old, *size).unwrap())).collect();
        assert_eq!(read["Consistency"], json!(ours), "{size}");
    }
}

#[test]
fn what_was_altered_in_a_log_neither_implementation_reads() {
    let Some(mut go) = SecondOpinion::start() else { return };
    let mut log = GrownLog::new(ORIGIN, 1, "history");
    let signed = log.grow(300).clone();
    let keys = [log.verifier()];
    let question = json!({"Do": "folder", "Dir": log.dir(), "Keys": [keys[0].to_string()]});
    let folder = Folder::new(Arc::new(RealDisk), log.dir());
    let ours = || check_folder(&folder, &keys).map(drop).map_err(|fault| fault.path);
    assert_eq!((ours(), go.believes(&question)), (Ok(()), true));
    for path in
        ["checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44"]
    {
        let path = log.dir().join(path);
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 20 + 1) {
            let mut altered = whole.clone();
            altered[at] ^= 0x10;
            fs::write(&path, &altered).unwrap();
            assert_eq!(ours().map_err(|wrong| log.dir().join(wrong)), Err(path.clone()), "altered at {at}");
            assert!(!go.believes(&question), "Go reads {} altered at {at}", path.display());
        }
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(signed.checkpoint().size, 300);
}

/// Whether ours believes a note, and whether Go's does.
fn both(go: &mut SecondOpinion, note: &[u8], keys: &[Verifier]) -> Option<(bool, bool)> {
    // JSON carries text alone; what is no text, no note is.
    let text = std::str::from_utf8(note).ok()?;
    let ours = Note::parse(note).is_ok_and(|note| note.verify(keys).is_ok());
    let names: Vec<_> = keys.iter().map(Verifier::to_string).collect();
    Some((ours, go.believes(&json!({"Do": "note", "Note": text, "Keys": names}))))
}

#[test]
fn another_implementation_believes_what_is_signed_here_and_nothing_is_believed_here_that_it_does_not_believe() {
    let Some(mut go) = SecondOpinion::start() else { return };
    let mut log = GrownLog::new(ORIGIN, 1, "history");
    let keys = [log.verifier(), GrownLog::new("another", 2, "").verifier()];
    let good = log.grow(5).to_string();
    assert_eq!(both(&mut go, good.as_bytes(), &keys), Some((true, true)));
    let stranger = "— stranger eHh4eHh4eHg=\n";
    let line = good.split_inclusive('\n').next_back().unwrap().to_owned();
    let odd = [
        format!("{good}{stranger}"),
        format!("{stranger}{good}"),
        format!("{good}{line}"),
        format!("{good}\n"),
        format!("{good}{}", stranger.repeat(98)),
        format!("{good}{}", stranger.repeat(200)),
        good.replacen("\n\n", "\n", 1),
        good.replacen("\n\n", "\n\n\n", 1),
        good.replacen("— ", "- ", 1),
        good.replacen("— ", "—  ", 1),
        good.trim_end().to_owned(),
        good.replacen(ORIGIN, "another", 2),
        good.replacen(&format!("— {ORIGIN}"), "— another", 1),
        String::new(),
        "\n\n".to_owned(),
    ];
    let mut flipped: Vec<Vec<u8>> = odd.into_iter().map(String::into_bytes).collect();
    for at in 0..good.len() {
        for with in [b'\n', b' ', b'+', b'A', b'=', b'\t', good.as_bytes()[at] ^ 1] {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = with;
            flipped.push(bytes);
        }
        flipped.push([&good.as_bytes()[..at], &good.as_bytes()[at + 1..]].concat());
    }
    let mut believed = 0;
    for note in flipped {
        let Some((ours, theirs)) = both(&mut go, &note, &keys) else { continue };
        let text = String::from_utf8_lossy(&note);
        assert!(theirs || !ours, "only we believe {text:?}");
        // Go takes base64 with stray bits in its last letter, of which there is one spelling here.
        let is_spelling = text != good && text.len() == good.len() && text[..good.len() - 4] == good[..good.len() - 4];
        assert!(ours || !theirs || is_spelling, "only Go believes {text:?}");
        believed += u32::from(ours);
    }
    assert!(believed > 3, "nothing was believed, so nothing was tried");
}

#[test]
fn neither_implementation_believes_a_proof_that_the_other_does_not() {
    let Some(mut go) = SecondOpinion::start() else { return };
    let mut log = GrownLog::new(ORIGIN, 1, "history");
    let size = 77;
    let new_root = log.grow(size).checkpoint().root;
    let mut view = log.view(size);
    let (mut yes, mut no) = (0, 0);
    let mut agree = |ours: bool, question: Value, go: &mut SecondOpinion| {
        assert_eq!(go.believes(&question), ours, "{question}");
        if ours { yes += 1 } else { no += 1 }
    };
    for index in [0, 1, 31, 32, 63, 64, 75, 76] {
        let leaf = leaf_hash(entry("history", index).as_bytes());
        for proof in variants(&inclusion(&mut view, index, size).unwrap()) {
            for at in [index, index ^ 1, index + 1, size] {
                let ours = verify_inclusion(&leaf, at, size, &proof, &new_root).is_ok();
                let question = json!({"Do": "inclusion", "Index": at, "Size": size, "Proof": texts(&proof),
                    "Leaf": BASE64.encode(&leaf), "Root": BASE64.encode(&new_root)});
                agree(ours, question, &mut go);
            }
        }
    }
    for old in [1, 2, 3, 32, 63, 64, 65, 76] {
        let mut smaller = GrownLog::new(ORIGIN, 1, "history");
        let old_root = smaller.grow(old).checkpoint().root;
        for proof in variants(&consistency(&mut view, old, size).unwrap()) {
            for at in [old, old ^ 1, old + 1].into_iter().filter(|at| *at > 0) {
                let ours = verify_consistency((at, &old_root), (size, &new_root), &proof).is_ok();
                let question = json!({"Do": "consistency", "Old": at, "Size": size, "Proof": texts(&proof),
                    "OldRoot": BASE64.encode(&old_root), "Root": BASE64.encode(&new_root)});
                agree(ours, question, &mut go);
            }
        }
    }
    assert!(yes >= 16 && no > 500, "{yes} believed, {no} not");
}

/// A proof, and what is nearly one.
fn variants(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = vec![proof.to_vec(), Vec::new(), [proof, &[[7; 32]]].concat(), [&[[7; 32]], proof].concat()];
    for at in 0..proof.len() {
        let mut flipped = proof.to_vec();
        flipped[at][at % 32] ^= 1;
        let mut without = proof.to_vec();
        without.remove(at);
        let mut swapped = proof.to_vec();
        swapped.swap(at, 0);
        all.extend([flipped, without, swapped]);
    }
    all
}

#[test]
fn another_implementation_believes_a_cosignature_made_here() {
    let Some(mut go) = SecondOpinion::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let witness = WitnessKey::create(&dir.path().join("key"), Some("witness.example/w1")).unwrap();
    let mut log = GrownLog::new(ORIGIN, 1, "history");
    let mut signed = log.grow(5).clone();
    let line = cosign(signed.note().text(), &witness, 1_679_315_147);
    signed.note_mut().put(line);
    let text = signed.to_string();
    let mut believes = |text: &str| {
        let question = json!({"Do": "note", "Note": text, "Keys": [witness.cosigner().to_string()]});
        let ours = Note::parse(text.as_bytes());
        let ours = ours.is_ok_and(|note| cosigned(&note, &[witness.cosigner().clone()]).is_ok_and(|by| by.len() == 1));
        assert_eq!(go.believes(&question), ours, "{text}");
        ours
    };
    assert!(believes(&text));
    let its_line = text.split_inclusive('\n').next_back().unwrap();
    for at in (0..text.len()).filter(|at| text.is_char_boundary(*at) && text.is_char_boundary(at + 1)) {
        // The last letters have more than one spelling for Go.
        if at < text.len() - 4 {
            let altered =
                format!("{}{}{}", &text[..at], if &text[at..=at] == "B" { "C" } else { "B" }, &text[at + 1..]);
            let is_the_logs = (signed.note().text().len()..text.len() - its_line.len()).contains(&at);
            assert!(is_the_logs || !believes(&altered), "{altered}");
        }
    }
}

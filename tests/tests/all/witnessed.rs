//! A gate and its witness, both the real program: what is decided and recorded is remembered on another machine, a witness
//! that is lost is told, and a gate that was set back is refused and told loudly.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::evidence::Evidence;
use tests::witness::{Witness, cosigned, is_remembered, published, trusts};
use tests::{Ended, Options, Plant, eventually, holdpoint, log_in, recipient, run};

/// A plant whose gate asks a witness, and the file of its notices.
fn witnessed() -> (Plant, Witness, PathBuf) {
    let plant = Plant::ready(Options::default());
    let witness = Witness::of(&plant);
    plant.edit_config(|text| format!("{text}{}", witness.configured()));
    let notices = plant.notices();
    (plant, witness, notices)
}

#[track_caller]
fn work(plant: &Plant) {
    let tess = plant.tess();
    run(&mut tess.ssh(&[&tess.at("hmi-2"), "true"]), b"").ok();
}

#[track_caller]
fn is_told(notices: &Path, words: &str) {
    eventually(words, || fs::read_to_string(notices).unwrap_or_default().contains(words));
}

fn verify_again(evidence: &Evidence) -> Ended {
    run(&mut evidence.holdpoint(&["verify", "data", "--trust", "trust.toml", "--no-memory"]), b"")
}

fn put_back(from: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap();
    run(Command::new("cp").arg("-a").arg(from).arg(to), b"").ok();
}

#[test]
fn a_gate_has_its_logs_cosigned_and_one_that_was_set_back_is_refused_loudly() {
    let (mut plant, mut witness, notices) = witnessed();
    let check = run(
        &mut plant.holdpoint(&[
            "check",
            "--config",
            plant.config().to_str().unwrap(),
            "--plant",
            plant.installation().join("plant.toml").to_str().unwrap(),
        ]),
        b"",
    )
    .ok();
    assert!(check.out().contains("witness w1, asked at 127.0.0.1"), "{}", check.out());
    plant.serve();
    is_remembered(&plant);
    let before = published(&plant, "records");
    work(&plant);
    // The end of a session, at once and not in an hour.
    eventually("the session's end is cosigned", || {
        cosigned(&plant, "records").last().is_some_and(|last| *last > before + 1)
    });
    let note = fs::read_to_string(
        plant.data().join("journal/checkpoints").join(cosigned(&plant, "journal").last().unwrap().to_string()),
    )
    .unwrap();
    assert!(note.contains("\n— mill-3/journal ") && note.contains("\n— w1 "), "{note}");
    log_in(&plant, "lee");
    eventually("status says who remembers", || {
        run(&mut plant.as_person("lee", &["status"]), b"").out().contains("the witness w1 remembers the first ")
    });

    // A backup takes along what was cosigned.
    log_in(&plant, "ada");
    let backup = plant.person("ada").path("backup.age");
    holdpoint(&plant, "ada", &["backup", "-o", backup.to_str().unwrap(), "--to", &recipient(&plant)]).ok();
    let mut list = Command::new("sh");
    list.args(["-ec", "age -d -i \"$0\" \"$1\" | tar --zstd -t"]);
    let files = run(list.arg(plant.installation().join("auditors/auditor-1.key")).arg(backup), b"").ok().out();
    assert!(files.contains("data/journal/checkpoints/") && files.contains("data/records/checkpoints/"), "{files}");

    // Lost, it is told and stops nothing; back, that is told, too.
    witness.kill();
    work(&plant);
    is_told(&notices, "the witness w1 does not cosign");
    work(&plant);
    let status = run(&mut plant.as_person("lee", &["status"]), b"").ok().out();
    assert!(status.contains("RED") && status.contains("DOES NOT COSIGN"), "{status}");
    witness.start();
    is_told(&notices, "the witness w1 cosigns again");
    is_remembered(&plant);

    plant.stop();
    let early_evidence = plant.evidence();
    trusts(&early_evidence, &witness);
    let early = tempfile::tempdir().unwrap();
    run(Command::new("cp").arg("-a").arg(plant.data()).arg(early.path().join("data")), b"").ok();
    plant.serve();
    // More than the older copy will have when it is started.
    for _ in 0..3 {
        work(&plant);
    }
    is_remembered(&plant);
    let seen = published(&plant, "journal");
    plant.stop();
    let late = plant.evidence();
    let told = verify_again(&late).ok().out();
    assert!(!told.contains("cosigned by") && told.contains("entries, signed with a decision at"), "{told}");
    trusts(&late, &witness);
    let told = verify_again(&late).ok().out();
    for log in ["mill-3/journal", "mill-3/records/gate-1"] {
        let line = told.lines().find(|line| line.starts_with(&format!("{log}: somebody else remembers "))).unwrap();
        assert!(line.contains(", cosigned by w1 at 20"), "{told}");
    }
    assert!(told.contains("times are the gate's word") && told.contains("WHOLE: nothing was"), "{told}");
    assert!(told.contains("Unwitnessed since 20"), "the gate's stop came last: {told}");
    // What a witness cosigned later stands beside an older copy, and what nobody cosigned beside a later one.
    put_back(&late.data().join("journal/checkpoints"), &early_evidence.data().join("journal/checkpoints"));
    verify_again(&early_evidence).refused(1, "as w1 cosigned at 20");
    let newest = late.data().join("journal/checkpoints").join(cosigned(&plant, "journal").last().unwrap().to_string());
    let text = fs::read_to_string(&newest).unwrap();
    let (before, line) = text.split_once("— w1 ").unwrap();
    let other = if line.as_bytes()[40] == b'A' { "B" } else { "A" };
    fs::write(&newest, format!("{before}— w1 {}{other}{}", &line[..40], &line[41..])).unwrap();
    late.verify().refused(1, "NOT SIGNED: a cosigned checkpoint: ");
    fs::write(&notices, "").unwrap();
    // The witness answers, so the set-back gate does not start; without it nobody knows, and it does.
    put_back(&early.path().join("data"), &plant.data());
    let refused = run(&mut plant.serve_command(), b"").refused(3, "an older copy was put back").text();
    assert!(
        refused.contains(&format!("mill-3/journal has {} entries here", published(&plant, "journal"))),
        "{refused}"
    );
    assert!(refused.contains(&format!("the witness w1 remembers {seen} entries")), "{refused}");
    assert!(refused.contains("`holdpoint restore`"), "{refused}");
    witness.kill();
    plant.serve();
    witness.start();
    is_told(&notices, "the witness w1 refuses, because this gate was set back or runs twice");
    let told = fs::read_to_string(&notices).unwrap();
    assert!(told.contains("it was set back"), "{told}");
    // It goes on, beyond what the witness has seen, and is refused still.
    while published(&plant, "journal") <= seen {
        work(&plant);
    }
    plant.stop();
    run(&mut plant.serve_command(), b"").refused(3, "others: an older copy was put back, or this gate ran twice");
    witness.kill();
    fs::write(&notices, "").unwrap();
    plant.serve();
    witness.start();
    is_told(&notices, "did not grow out of those that it has seen");
    plant.stop();
}

#[test]
fn what_no_witness_has_seen_is_never_called_whole() {
    let (mut plant, witness, _) = witnessed();
    plant.serve();
    work(&plant);
    is_remembered(&plant);
    plant.stop();
    let evidence = plant.evidence();
    evidence.both_say(0);
    trusts(&evidence, &witness);
    evidence.both_say(0);
    // Somebody takes away what would say otherwise, or the auditor trusts somebody else.
    fs::remove_dir_all(evidence.data().join("records/checkpoints")).unwrap();
    let told = evidence.both_say(4);
    assert!(
        told.contains("NOT WITNESSED: ") && told.contains("all of mill-3/records/gate-1 could be made up"),
        "{told}"
    );
    let evidence = plant.evidence();
    let mut other = Witness::of(&plant);
    trusts(&evidence, &other);
    assert!(evidence.both_say(4).contains("mill-3/journal and of mill-3/records/gate-1 could be made up"));
    other.kill();
    // A line under the name of one who is trusted, and not by them.
    let evidence = plant.evidence();
    trusts(&evidence, &witness);
    let kept =
        evidence.data().join("journal/checkpoints").join(cosigned(&plant, "journal").last().unwrap().to_string());
    let note = fs::read_to_string(&kept).unwrap();
    let line = note.lines().find(|line| line.starts_with("— w1 ")).unwrap();
    let at = line.len() - 20;
    let other = if &line[at..=at] == "A" { "B" } else { "A" };
    fs::write(&kept, note.replace(line, &format!("{}{other}{}", &line[..at], &line[at + 1..]))).unwrap();
    evidence.both_say(1);
}

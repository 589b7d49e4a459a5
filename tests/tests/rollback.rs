//! Who catches a rollback: an older copy of a log beside what others remember. The program's own folder, set back with the
//! tools that a thief of it has.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::evidence::Evidence;
use tests::{Options, Plant, run};

/// A session of one command, begun and ended while the program runs.
#[track_caller]
fn work(plant: &Plant) {
    let tess = plant.tess();
    run(&mut tess.ssh(&[&tess.at("hmi-2"), "true"]), b"").ok();
}

/// Puts a copy of a folder in the place of another.
fn put_back(from: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap();
    run(Command::new("cp").arg("-a").arg(from).arg(to), b"").ok();
}

#[track_caller]
fn is_whole(evidence: &Evidence) {
    let verified = evidence.verify().ok().out();
    assert!(verified.contains("\nWHOLE"), "{verified}");
}

/// What is found first.
#[track_caller]
fn found(evidence: &Evidence) -> String {
    let verified = evidence.verify();
    assert_eq!(verified.status.code(), Some(1), "{}", verified.text());
    let out = verified.out();
    out.split("NOT WHOLE. First: ").nth(1).unwrap_or_else(|| panic!("{out}")).to_owned()
}

#[test]
fn recordings_that_are_shorter_gone_or_others_than_the_journal_says_are_found() {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    work(&plant);
    plant.stop();
    let early = plant.evidence();
    is_whole(&early);
    // Nobody works: what is newer is only that the gate ran, and no session is missed.
    plant.serve();
    plant.stop();
    let late = plant.evidence();
    is_whole(&late);

    let shorter = plant.evidence();
    put_back(&early.data().join("records"), &shorter.data().join("records"));
    let first = found(&shorter);
    assert!(
        first.starts_with("MISSING: the log once had ") && first.contains("as the journal says in entry "),
        "{first}"
    );

    // The older copy went on: as long as the one it stands for, and longer.
    put_back(&early.data(), &plant.data());
    plant.serve();
    work(&plant);
    plant.stop();
    let other = plant.evidence();
    is_whole(&other);
    let forked = plant.evidence();
    put_back(&late.data().join("journal"), &forked.data().join("journal"));
    let first = found(&forked);
    assert!(first.starts_with("ALTERED: the log once had other entries up to "), "{first}");

    let gone = plant.evidence();
    fs::remove_dir_all(gone.data().join("records")).unwrap();
    let verified = gone.verify().says_no("");
    assert!(verified.out().contains("as the journal says in entry "), "{}", verified.out());
}

//! Who catches a rollback: an older copy of a log beside what others remember. The program's own folder, set back with the
//! tools that a thief of it has.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::evidence::Evidence;
use tests::{Ended, Options, Plant, log_in, run};

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

/// `holdpoint verify` on a copy, with more arguments.
fn verify(evidence: &Evidence, more: &[&str]) -> Ended {
    let mut command = evidence.holdpoint(&["verify", "data", "--trust", "trust.toml"]);
    run(command.args(more).env_remove("XDG_STATE_HOME"), b"")
}

#[test]
fn an_older_copy_of_everything_is_found_by_whoever_checked_a_newer_one() {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    work(&plant);
    plant.stop();
    let early = plant.evidence();
    plant.serve();
    work(&plant);
    // What was seen of a gate that runs holds it too, and accuses nobody of what comes after.
    let running = plant.evidence();
    let auditor = tempfile::tempdir().unwrap();
    let file = auditor.path().join("state/seen.toml");
    let memory = ["--memory", file.to_str().unwrap()];
    verify(&running, &memory).refused(4, "OPEN: ");
    plant.kill();
    plant.serve();
    plant.stop();
    let late = plant.evidence();
    for _ in 0..2 {
        assert!(verify(&late, &memory).ok().out().contains("WHOLE"));
    }
    let seen = fs::read_to_string(&file).unwrap();
    assert!(seen.contains("log = \"mill-3/journal+") && seen.contains("log = \"mill-3/records/gate-1+"), "{seen}");

    for older in [&early, &running] {
        let found = verify(older, &memory).refused(1, "as you saw when you checked it on 20").out();
        let rolled_back = found.lines().filter(|line| line.starts_with("MISSING") && line.contains("rolled back"));
        assert_eq!(rolled_back.count(), 2, "both logs: {found}");
    }
    verify(&early, &["--no-memory"]).ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), seen, "nothing was learned from a copy in which something is wrong");
    // An installation of the same name with other keys is another one.
    let mut other = Plant::ready(Options::default());
    other.serve();
    other.stop();
    verify(&other.evidence(), &memory).ok();
    verify(&late, &memory).ok();

    let flipped = plant.evidence();
    let checkpoint = flipped.data().join("journal/checkpoint");
    let text = fs::read_to_string(&checkpoint).unwrap();
    let root = text.lines().nth(2).unwrap();
    let other = format!("{}{}", if root.starts_with('A') { 'B' } else { 'A' }, &root[1..]);
    fs::write(&checkpoint, text.replacen(root, &other, 1)).unwrap();
    verify(&flipped, &[]).refused(1, "NOT WHOLE");
    let usual = ".local/state/holdpoint/seen.toml";
    assert!(!flipped.path(usual).exists());
    verify(&late, &[]).ok();
    assert!(late.path(usual).exists());
    fs::write(late.path(usual), "[[seen]]\n").unwrap();
    verify(&late, &[]).refused(2, "--no-memory");
}

#[test]
fn a_sheet_of_paper_finds_an_older_copy_and_a_typing_error_is_told_from_it() {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    work(&plant);
    plant.stop();
    let early = plant.evidence();
    plant.serve();
    work(&plant);
    log_in(&plant, "lee");
    let sheet = run(&mut plant.as_person("lee", &["checkpoint", "--print"]), b"").ok().out();
    assert!(sheet.contains("mill-3: how far its logs had come") && sheet.contains("Signature ____"), "{sheet}");
    assert!(sheet.contains('\u{2580}') && sheet.contains("\nrecords gate-1 "), "{sheet}");
    assert!(sheet.lines().all(|line| line.chars().count() <= 90), "{sheet}");
    plant.stop();
    let late = plant.evidence();
    let on_paper = |evidence: &Evidence, text: &str| {
        let mut verify =
            evidence.holdpoint(&["verify", "data", "--trust", "trust.toml", "--no-memory", "--paper", "-"]);
        run(&mut verify, text.as_bytes())
    };
    let told = on_paper(&late, &sheet).ok().out();
    assert!(told.contains("entries, on paper that was printed at 20"), "{told}");
    on_paper(&late, &sheet.to_lowercase()).ok();
    let found = on_paper(&early, &sheet).refused(1, "as the sheet of paper says, and has ").out();
    assert_eq!(found.lines().filter(|line| line.starts_with("MISSING") && line.contains("rolled back")).count(), 2);
    let row = sheet.lines().find(|line| line.starts_with("  2  ")).unwrap();
    let mistyped = if row.ends_with('7') { "3" } else { "7" };
    let mistyped = sheet.replacen(row, &format!("{}{mistyped}", &row[..row.len() - 1]), 1);
    on_paper(&late, &mistyped).refused(2, "row 2 below `journal` is mistyped");
    on_paper(&early, &mistyped).refused(2, "Nothing was checked");
    let to_file = ["checkpoint", "--print", "-o", "sheet.txt"];
    run(&mut plant.as_person("lee", &to_file), b"").refused(3, "");
}

//! A backup of a gate that works meanwhile, opened by stock tools alone, and checked as an auditor checks a copy.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tests::process::start_on_a_terminal;
use tests::{Options, Plant, eventually, holdpoint, log_in, recipient, run, start, worked};

/// With the stock tools, into a new folder.
#[track_caller]
pub(super) fn unpack(plant: &Plant, backup: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    let key = plant.installation().join("auditors/auditor-1.key");
    let mut age = Command::new("sh");
    age.args(["-ec", "age -d -i \"$0\" \"$1\" | tar --zstd -x -C \"$2\""]).arg(key).arg(backup).arg(to);
    run(&mut age, b"").ok();
}

#[test]
fn a_backup_of_a_busy_gate_opens_with_stock_tools_and_verifies() {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    for who in ["ada", "lee"] {
        log_in(&plant, who);
    }
    let at = plant.tess().at("hmi-2");
    run(&mut plant.tess().ssh(&[&at, "echo before"]), b"").ok();
    // Somebody works all the while.
    let mut busy = start_on_a_terminal(&plant.tess().ssh(&["-tt", &at]));
    busy.type_in("while :; do seq 1 2000; done\r");
    busy.until("1999");
    let (to, backup) = (recipient(&plant), plant.person("ada").path("backup.age"));
    let file = backup.display().to_string();
    run(&mut plant.as_person("lee", &["backup", "-o", "x", "--to", &to]), b"").says_no("administrators");
    run(&mut plant.as_person("ada", &["backup", "-o", "x", "--to", "bob"]), b"").refused(2, "age1");
    let made = run(&mut plant.as_person("ada", &["backup", "-o", &file, "--to", &to]), b"").ok().out();
    assert!(made.contains("of the recordings' log"), "{made}");
    run(&mut plant.as_person("ada", &["backup", "-o", &file, "--to", &to]), b"").refused(2, "there already");
    let sealed = fs::read(&backup).expect("a file");
    assert!(sealed.starts_with(b"age-encryption.org/v1"));
    run(&mut plant.tess().ssh(&[&at, "echo after"]), b"").ok();

    let unpacked = plant.installation().join("unpacked");
    unpack(&plant, &backup, &unpacked);
    let lists = |name: &str| fs::read_to_string(unpacked.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(lists("directory.jsonl").contains("name-of/p_") && lists("directory.jsonl").contains("totp/p_"));
    assert!(lists("holdpoint.toml").contains("[store]") && lists("BACKUP").contains("\"journal\""));
    assert!(unpacked.join("keys/log.sealed").exists() && !unpacked.join("keys/sealing.key").exists());
    let arguments = ["verify", "data", "--trust", "trust.toml", "--key"];
    let mut verify = plant.holdpoint(&arguments);
    verify.arg(plant.installation().join("auditors/auditor-1.key")).current_dir(&unpacked);
    let verified = run(&mut verify, b"");
    // It was copied while the gate ran, so nobody can say that this is all; nothing is wrong in it.
    assert_eq!(verified.code(), 4, "{}", verified.text());
    assert!(verified.out().contains("1 session open"), "{}", verified.text());
    drop(busy);

    // The directory of people is gone, and nothing is made in its place without a word.
    assert_eq!(plant.stop().code(), 0);
    let state = plant.data().join("state");
    fs::rename(&state, plant.installation().join("lost")).expect("a folder");
    run(&mut plant.serve_command(), b"").refused(3, "holdpoint rebuild --directory directory.jsonl");
    let mut rebuild = plant.holdpoint(&["rebuild", "--config"]);
    rebuild.arg(plant.config()).arg("--directory").arg(unpacked.join("directory.jsonl"));
    let code = plant.person("ada").code();
    run(&mut rebuild, b"").ok();
    run(&mut rebuild, b"").refused(1, "newer than any backup");
    plant.serve();
    // Nobody knows any more whether a code from before was used.
    run(&mut plant.as_person("ada", &["login"]), format!("{code}\n").as_bytes()).says_no("wait for the next code");
    let recovery = String::from_utf8(plant.person("ada").read("recovery")).expect("text");
    let recovery = recovery.lines().next().expect("a code").to_owned();
    run(&mut plant.as_person("ada", &["login"]), format!("{recovery}\n").as_bytes()).ok();
    assert!(run(&mut plant.as_person("ada", &["people"]), b"").ok().out().contains("tess"));
}

#[test]
fn nothing_is_erased_from_under_a_backup() {
    let rule = "idle = \"4h\"\nretention = \"1s\"".to_owned();
    let mut plant = Plant::ready(Options { rule, ..Options::default() });
    plant.serve();
    for who in ["ada", "lee"] {
        log_in(&plant, who);
    }
    // Far more than waits in sockets and pipes.
    let session = worked(&plant, "head -c 64M /dev/urandom");
    eventually("it may be erased", || holdpoint(&plant, "ada", &["erase", &session, "--yes"]).status.success());
    let (to, backup) = (recipient(&plant), plant.person("ada").path("backup.age"));
    let file = backup.display().to_string();
    let mut backing_up = start(&mut plant.as_person("ada", &["backup", "-o", &file, "--to", &to]));
    let part = backup.with_added_extension("part");
    eventually("it has begun", || fs::metadata(&part).is_ok_and(|part| part.len() > 0));
    backing_up.signal(Signal::STOP);
    assert!(!backing_up.has_ended());

    holdpoint(&plant, "lee", &["erase", &session, "--yes"]).ok();
    plant.gate().until("waits until a backup or an evidence pack is made");
    // Others copy, and nobody waits for that.
    holdpoint(&plant, "lee", &["fetch", "-o", "meanwhile"]);
    let folder = plant.data().join("records/sessions").join(&session[2..]);
    assert!(folder.join("keys.0.age").exists());
    backing_up.signal(Signal::CONT);
    backing_up.ends().ok();
    eventually("it is erased", || fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_none()));

    let unpacked = plant.installation().join("unpacked");
    unpack(&plant, &backup, &unpacked);
    let mut verify = plant.holdpoint(&["verify", "data", "--trust", "trust.toml", "--no-memory"]);
    let verified = run(verify.current_dir(&unpacked), b"");
    assert_eq!(verified.code(), 4, "{}", verified.text());

    // A gate that goes away in the middle leaves nothing that could be taken for a backup.
    worked(&plant, "head -c 64M /dev/urandom");
    let half = plant.person("ada").path("half.age");
    let file = half.display().to_string();
    let mut backing_up = start(&mut plant.as_person("ada", &["backup", "-o", &file, "--to", &to]));
    let part = half.with_added_extension("part");
    eventually("it has begun", || fs::metadata(&part).is_ok_and(|part| part.len() > 0));
    backing_up.signal(Signal::STOP);
    assert!(!backing_up.has_ended());
    plant.kill();
    backing_up.signal(Signal::CONT);
    backing_up.ends().refused(3, "");
    assert!(!half.exists() && !part.exists());
}

//! Auditors and a site key come and go: what was recorded stays open to whom it was encrypted, a rehearsal finds a key that
//! opens nothing, and everybody reads whose key it takes.

use std::fs;
use std::path::Path;

use policies::people::Kind;
use rustix::process::Signal;
use tests::evidence::Evidence;
use tests::{Options, Plant, holdpoint, json, log_in, run, worked};

/// The public half of a key file.
fn recipient(key: &Path) -> String {
    let text = fs::read_to_string(key).expect("a key file");
    let line = text.lines().find_map(|line| line.strip_prefix("# public key: "));
    line.expect("age-keygen writes it").to_owned()
}

#[track_caller]
fn verify(evidence: &Evidence, arguments: &[&str]) -> (i32, String) {
    let all = [&["verify", "data", "--trust", "trust.toml"], arguments].concat();
    let ended = run(&mut evidence.holdpoint(&all), b"");
    (ended.code(), ended.text())
}

#[test]
fn recipients_change_and_nothing_old_is_lost() {
    let mut plant = Plant::ready(Options::default());
    plant.employ("rita", Kind::Auditor, &[]);
    plant.serve();
    for who in ["lee", "rita"] {
        log_in(&plant, who);
    }
    let before = worked(&plant, "echo before");

    // The second auditor leaves, the control room gets a site key.
    let site = plant.installation().join("site.key");
    run(std::process::Command::new("age-keygen").arg("-o").arg(&site), b"").ok();
    let [first, second] =
        ["auditor-1.key", "auditor-2.key"].map(|name| recipient(&plant.installation().join("auditors").join(name)));
    let new = recipient(&site);
    plant.edit_config(|text| text.replace(&second, &format!("{new} site key, control room")));
    plant.gate().signal(Signal::HUP);
    plant.gate().until("the configuration was read again");
    let after = worked(&plant, "echo after");
    let status = holdpoint(&plant, "lee", &["status"]).ok().out();
    assert!(status.contains("site key, control room") && status.contains("never tried"), "{status}");
    assert!(!status.contains(&second), "{status}");
    let checked =
        run(&mut plant.holdpoint(&["check", "--config", "mill-3/holdpoint.toml", "--plant", "mill-3/plant.toml"]), b"");
    assert!(checked.ok().out().contains("(site key, control room)"));

    // On a copy of the running gate: exit code 4, as of each such copy.
    let evidence = plant.evidence();
    fs::copy(&site, evidence.path("site")).expect("a copy");
    fs::copy(plant.installation().join("auditors/auditor-2.key"), evidence.path("old")).expect("a copy");
    let listed = run(&mut evidence.holdpoint(&["recordings"]), b"").ok().out();
    assert!(listed.contains(&format!("{first} opens 2 recordings")), "{listed}");
    assert!(listed.contains(&format!("{second} opens 1 recording")), "{listed}");
    for (key, opens, closed, by) in [("old", &before, &after, &new), ("site", &after, &before, &second)] {
        run(&mut evidence.holdpoint(&["play", opens, "--key", key]), b"").ok();
        run(&mut evidence.holdpoint(&["play", closed, "--key", key]), b"").says_no(by);
        let (code, said) = verify(&evidence, &["--key", key]);
        assert_eq!(code, 4, "{said}");
        assert!(said.contains(&format!("note: {closed}: not opened: encrypted to ")) && said.contains(by), "{said}");
        let (code, said) = verify(&evidence, &["--rehearse", "--key", key]);
        assert_eq!(code, 4, "{said}");
        assert!(said.contains(&format!("opened wholly, the oldest: {opens}")), "{said}");
        let why = if key == "old" { "a recipient no more" } else { "before this key became a recipient" };
        assert!(said.contains(why) && said.contains(closed), "{said}");
    }
    let (code, said) = verify(&evidence, &["--rehearse", "--key", "key"]);
    assert_eq!(code, 4, "{said}");
    assert!(
        said.contains(&format!("the oldest: {before}")) && said.contains(&format!("the newest: {after}")),
        "{said}"
    );
    assert!(!said.contains("  not opened:"), "{said}");

    // A key that opens nothing is no key; one that should open what it does not is worse.
    let stranger = evidence.path("stranger");
    run(std::process::Command::new("age-keygen").arg("-o").arg(&stranger), b"").ok();
    let (code, said) = verify(&evidence, &["--rehearse", "--key", "stranger"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("opened no recording here"), "{said}");

    // Told to the gate, it stands in the journal and on the status.
    let seen = plant.person("rita").path("seen.toml");
    let rehearsed = holdpoint(
        &plant,
        "rita",
        &[
            "verify",
            &evidence.data().display().to_string(),
            "--trust",
            &evidence.path("trust.toml").display().to_string(),
            "--key",
            &evidence.path("site").display().to_string(),
            "--memory",
            &seen.display().to_string(),
            "--rehearse",
            "--tell",
        ],
    );
    assert_eq!(rehearsed.code(), 4, "{}", rehearsed.text());
    assert!(fs::read_to_string(&seen).expect("remembered").contains(&format!("recipient = \"{new}\"")));
    let told = json(&plant, "lee", &["status"])["recipients"].clone();
    let of =
        |key: &str| told.as_array().expect("a list").iter().find(|one| one["recipient"] == key).cloned().expect("one");
    assert!(of(&new)["used"].is_string() && of(&first)["used"].is_null(), "{told}");
    assert_eq!(plant.stop().code(), 0);
    let (code, said) = verify(&plant.evidence(), &["--key", "key"]);
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("not opened:"), "{said}");
}

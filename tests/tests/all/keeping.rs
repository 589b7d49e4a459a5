//! What becomes of recordings, by real commands: kept for their minimum, held, released, erased on two people's word or by
//! their rule, and what an auditor finds afterwards.

use std::fs;
use std::path::Path;

use certs::sshsig::{self, Namespace};
use futures::executor::block_on;
use jiff::{SignedDuration, Timestamp};
use policies::actions::Action;
use policies::digest::{Digest, Salted};
use policies::events::{ErasedOn, Event};
use policies::ids::SessionId;
use policies::people::{Kind, SshKey};
use policies::requests::{EraseStatement, Signed};
use policies::time::Seconds;
use recordings::keeping::{Decided, Erased, Files};
use tests::browser::Browser;
use tests::witness::published;
use tests::{Options, Person, Plant, Seized, eventually, holdpoint, json, log_in, names_in, run, worked};

/// With two auditors, and under this rule.
fn plant(rule: &str) -> Plant {
    let options = Options { rule: format!("idle = \"4h\"\n{rule}"), ..Options::default() };
    let mut plant = Plant::ready(options);
    plant.employ("rita", Kind::Auditor, &[]);
    plant.employ("otto", Kind::Auditor, &[]);
    plant.serve();
    for who in ["ada", "lee", "rita", "otto"] {
        log_in(&plant, who);
    }
    plant
}

#[track_caller]
fn is_erased(plant: &Plant, session: &str) {
    eventually("nothing lies there any more", || names_in(&plant.recording(session)).is_empty());
}

#[test]
fn a_recording_is_held_and_then_erased_on_two_words() {
    let mut plant = plant("retention = \"1s\"");
    let (gone, kept) = (worked(&plant, "echo one"), worked(&plant, "echo two"));
    eventually("its minimum is over", || {
        let until = json(&plant, "lee", &["sessions", "--all"])["sessions"][0]["kept"]["until"].clone();
        until.as_str().expect("a time").parse::<jiff::Timestamp>().expect("a time") <= jiff::Timestamp::now()
    });
    holdpoint(&plant, "rita", &["hold", &gone, "--reason", "the insurance asks"]).ok();
    holdpoint(&plant, "lee", &["hold", &gone, "--reason", "me too"]).says_no("auditors");
    let held = holdpoint(&plant, "ada", &["erase", &gone, "--yes"]);
    held.says_no("held by rita");
    let shown = holdpoint(&plant, "otto", &["sessions", "--all"]).ok().out();
    assert!(shown.contains("by rita") && shown.contains("the insurance asks"), "{shown}");
    holdpoint(&plant, "otto", &["release", &gone]).says_no("nobody of this name holds it");
    holdpoint(&plant, "otto", &["release", &gone, "--of", "rita"]).ok();
    holdpoint(&plant, "rita", &["hold", &kept, "--reason", "a claim"]).ok();

    let all = plant.person("rita").path("all");
    let all = all.to_str().expect("text");
    holdpoint(&plant, "rita", &["fetch", "-o", all]).ok();
    // What a fetch of long ago may have left there.
    for stale in ["records/segments/00000007.seg", "records/tile/0/001", "journal/segments/00000007.seg"] {
        fs::write(Path::new(all).join(stale), b"stale").expect("a file");
    }

    let first = holdpoint(&plant, "ada", &["erase", &gone, "--yes"]).ok().out();
    assert!(first.contains("the other one signs"), "{first}");
    holdpoint(&plant, "ada", &["erase", &gone, "--yes"]).says_no("one vote");
    assert!(!names_in(&plant.recording(&gone)).is_empty(), "one word erases nothing");
    let second = holdpoint(&plant, "lee", &["erase", &gone, "--yes"]).ok().out();
    assert!(second.contains("erased"), "{second}");
    is_erased(&plant, &gone);
    assert_eq!(names_in(&plant.recording(&kept)), ["0000.blk", "keys.0.age"]);
    holdpoint(&plant, "otto", &["fetch", "-o", "part", "--session", &gone]).says_no("it was erased");
    let trust = plant.installation().join("trust.toml");
    let trust = trust.to_str().expect("text");
    let verify = |what: &str, words: &str| {
        let told = holdpoint(&plant, "rita", &["verify", what, "--trust", trust, "--no-memory"]);
        told.refused(4, words);
    };
    holdpoint(&plant, "rita", &["fetch", "-o", all]).ok();
    verify(all, "keys still lie here");
    holdpoint(&plant, "rita", &["fetch", "-o", plant.data().to_str().expect("text")]).refused(2, "is a gate's own");
    // Somebody's folder with something of theirs in it.
    let theirs = plant.person("rita").path("theirs");
    fs::create_dir_all(theirs.join("records")).expect("a folder");
    fs::write(theirs.join("records/of-my-own"), b"dear").expect("a file");
    let refused = holdpoint(&plant, "rita", &["fetch", "-o", theirs.to_str().expect("text")]);
    refused.refused(2, "is no log that was fetched");
    assert_eq!(fs::read(theirs.join("records/of-my-own")).expect("a file"), b"dear");
    for (session, words) in [(&gone, "0 sessions of 2"), (&kept, "held by 1")] {
        let pack = plant.person("rita").path(&format!("{session}.zip"));
        let pack = pack.to_str().expect("text");
        holdpoint(&plant, "rita", &["evidence", session, "--trust", trust, "-o", pack]).ok();
        verify(pack, words);
    }
    let pages = plant.person("rita").path("pages/");
    holdpoint(&plant, "rita", &["evidence", &gone, "--trust", trust, "-o", pages.to_str().expect("text")]).ok();
    let page = fs::read_to_string(pages.join("index.html")).expect("a page");
    assert!(page.contains("its leaves stay in the gate&#39;s log"), "{page}");

    assert_eq!(plant.stop().code(), 0);
    let evidence = plant.evidence();
    let verified = evidence.verify().ok().out();
    let line = |session: &str| {
        verified.lines().find(|line| line.starts_with(session)).unwrap_or_else(|| panic!("{verified}")).to_owned()
    };
    assert!(line(&gone).contains(": erased (") && line(&gone).contains("of the journal and leaf"), "{verified}");
    assert!(line(&kept).contains(": ok (") && line(&kept).contains("held by 1"), "{verified}");
    let listed = run(&mut evidence.holdpoint(&["recordings"]), b"").ok().out();
    let state = |session: &str| listed.lines().find(|line| line.starts_with(session)).expect("a row").to_owned();
    assert!(state(&gone).contains(" erased ") && state(&kept).contains(" held "), "{listed}");
    run(&mut evidence.holdpoint(&["play", &gone, "--key", "key"]), b"").says_no("was erased");

    // What nobody decided is no erasure.
    fs::remove_dir_all(evidence.data().join("records/sessions").join(kept[2..].to_ascii_lowercase()))
        .expect("a folder");
    let lost = evidence.verify();
    assert_eq!(lost.code(), 1, "{}", lost.text());
    let row = lost.out().lines().find(|line| line.starts_with(&kept)).expect("a row").to_owned();
    assert!(row.contains(": MISSING ("), "{row}");
}

#[test]
fn that_a_recording_is_erased_is_signed_on_a_page_too() {
    let rule = "idle = \"4h\"\nretention = \"1s\"".to_owned();
    let mut plant = Plant::enrolled(Options { rule, later: vec!["kim"], ..Options::default() });
    plant.grant("tess", "hmi-2", &[Action::Shell], Seconds(900));
    plant.log_in("tess");
    plant.serve();
    let Some(mut browser) = Browser::new(&plant) else { return };
    ["ada", "lee"].iter().for_each(|who| log_in(&plant, who));
    let session = worked(&plant, "echo one");
    eventually("it may be erased", || holdpoint(&plant, "ada", &["erase", &session, "--yes"]).status.success());
    browser.has_a_passkey();
    browser.enrols("kim", &plant.codes["kim"]);
    browser.signs_in();
    browser.open(&format!("/sessions/{session}"));
    browser.says("That it is erased was signed by ada");
    browser.evaluate("document.querySelector('form[action$=\"/erase\"] button').click()");
    browser.says("the recording of tess at hmi-2, which began at");
    browser.says("signed so far by ada");
    browser.look("erase-sign");
    browser.click("Sign with your passkey");
    browser.says("Erased, as was decided at");
    is_erased(&plant, &session);
    drop(browser);
    plant.stop();
    assert!(plant.evidence().both_say(0).contains(": erased ("));
}

#[test]
fn what_was_decided_and_not_done_is_done_at_the_next_start() {
    let mut plant = plant("retention = \"1s\"");
    let session = worked(&plant, "echo one");
    eventually("it can be erased", || {
        let asked = holdpoint(&plant, "ada", &["erase", &session, "--yes"]);
        asked.status.success()
    });
    holdpoint(&plant, "lee", &["erase", &session, "--yes"]).ok();
    // The decision is in the journal; nobody knows how far it came.
    plant.kill();
    plant.serve();
    is_erased(&plant, &session);
    assert_eq!(plant.stop().code(), 0);
    let verified = plant.evidence().verify().ok().out();
    assert!(verified.contains(": erased ("), "{verified}");
}

#[test]
fn nothing_goes_before_its_minimum_and_it_says_when() {
    let plant = plant("retention = \"3y\"");
    let session = worked(&plant, "echo one");
    let refused = holdpoint(&plant, "ada", &["erase", &session, "--yes"]);
    refused.says_no("acme-packaging keeps it for at least 3y, until 20");
    let explained =
        run(&mut plant.holdpoint(&["explain", "acme/maintenance", "hmi-2", "shell", "--plant", "wanted.toml"]), b"");
    assert!(explained.ok().out().contains("recording kept: 3y at least, never removed by itself"));
}

#[test]
fn a_rule_with_a_maximum_removes_by_itself() {
    let mut plant = plant("retention = \"1s\"\nretention_max = \"20s\"");
    let (gone, held) = (worked(&plant, "echo one"), worked(&plant, "echo two"));
    holdpoint(&plant, "rita", &["hold", &held, "--reason", "a claim"]).ok();
    // The journal must know that the maximum is over before anything goes: somebody works on.
    eventually("its maximum is over", || {
        let sessions = json(&plant, "lee", &["sessions", "--all"]);
        let removed = sessions["sessions"][1]["kept"]["removed"].as_str().expect("a time").to_owned();
        removed.parse::<jiff::Timestamp>().expect("a time") <= jiff::Timestamp::now()
    });
    worked(&plant, "echo three");
    is_erased(&plant, &gone);
    assert!(!names_in(&plant.recording(&held)).is_empty());
    assert_eq!(plant.stop().code(), 0);
    let verified = plant.evidence().verify().ok().out();
    assert!(verified.lines().any(|line| line.starts_with(&gone) && line.contains(": erased (")), "{verified}");
}

/// Two signed in the copy, as if it were time.
fn signed(seized: &Seized, who: &Person, session: SessionId) -> Event {
    let statement = EraseStatement {
        deployment: "mill-3".parse().expect("a name"),
        session,
        signer: who.id,
        nonce: "00".into(),
        expires: Timestamp::now() + SignedDuration::from_hours(1),
        journal: seized.seen("journal"),
    };
    let signature = sshsig::sign_with(&who.key, Namespace::Erase, &statement.digest().0).expect("a key that signs");
    let key = SshKey(who.key.public_key().to_openssh().expect("a key"));
    Event::ErasureSigned { signed: Signed { statement, key, signature } }
}

type Forging<'a> = &'a dyn Fn(&Seized) -> Vec<Event>;

#[test]
fn what_was_erased_against_the_rules_is_found_by_both_verifiers() {
    let mut plant = plant("retention = \"1h\"\nretention_max = \"2h\"");
    let session = worked(&plant, "echo one");
    let id: SessionId = session.parse().expect("an id");
    plant.stop();
    let (ada, lee, rita) = (plant.person("ada"), plant.person("lee"), plant.person("rita"));
    let on = || ErasedOn::People { administrator: ada.id, operator: lee.id };
    let by_people = || Event::Erased { session: id, on: on() };
    let rule = "acme-packaging".parse().expect("a name");
    let by_rule = Event::Erased { session: id, on: ErasedOn::Rule { rule } };
    let held = || Event::Held { session: id, reason: Salted(Digest([7; 32])), by: rita.id };
    let both = |seized: &Seized| [ada, lee].map(|who| signed(seized, who, id)).to_vec();
    let forged: [(&str, Forging<'_>); 5] = [
        ("by the rule, before its time", &|_| vec![by_rule.clone()]),
        ("by people who did not sign", &|_| vec![by_people()]),
        ("before its minimum", &|seized| [both(seized), vec![by_people()]].concat()),
        ("while it is held", &|seized| [both(seized), vec![held(), by_people()]].concat()),
        ("by one alone", &|seized| vec![signed(seized, lee, id), by_people()]),
    ];
    for (what, events) in forged {
        println!("{what}");
        let evidence = plant.evidence();
        let seized = Seized::of(&plant, evidence.data());
        seized.append(&events(&seized));
        let told = evidence.both_say(1);
        assert!(told.contains("First: NOT ALLOWED"), "{what}: {told}");
    }
    // A leaf that names no decision, or one behind the journal's end, excuses nothing where both logs were ended.
    for entry in [3, 10_000] {
        let evidence = plant.evidence();
        let seized = Seized::of(&plant, evidence.data());
        let decided = Decided { recording: id, entry, hash: [7; 32] };
        let found = Files { count: 2, bytes: 900, digest: Digest([7; 32]) };
        seized.open("records", |log| block_on(log.erased(Erased { decided, found })).expect("a disk with room"));
        seized.open("journal", |_| {});
        let copied = evidence.data().join("records/sessions").join(&session[2..]);
        fs::remove_dir_all(copied).expect("a folder");
        let told = evidence.both_say(1);
        assert!(told.contains("decided no such thing") && told.contains("the key file is missing"), "{told}");
    }
}

#[test]
fn a_copy_by_hand_of_a_gate_that_keeps_and_erases_meanwhile_is_open() {
    let plant = plant("retention = \"1s\"");
    let (gone, kept) = (worked(&plant, "echo one"), worked(&plant, "echo two"));
    eventually("it may be erased", || holdpoint(&plant, "ada", &["erase", &gone, "--yes"]).status.success());
    // The journal is copied first, as the guide says.
    let early = plant.evidence();
    let before = published(&plant, "records");
    holdpoint(&plant, "rita", &["hold", &kept, "--reason", "a claim"]).ok();
    holdpoint(&plant, "lee", &["erase", &gone, "--yes"]).ok();
    is_erased(&plant, &gone);
    eventually("both leaves are published", || published(&plant, "records") >= before + 2);
    let evidence = plant.evidence();
    fs::remove_dir_all(evidence.data().join("journal")).expect("a folder");
    fs::rename(early.data().join("journal"), evidence.data().join("journal")).expect("a folder");
    let told = evidence.both_say(4);
    for session in [&gone, &kept] {
        let words = format!("OPEN: {session}: what was decided about its keeping came after the journal was copied");
        assert!(told.contains(&words), "{told}");
    }

    // The decision was copied, the leaf was not, and the files went before they were.
    let evidence = plant.evidence();
    fs::remove_dir_all(evidence.data().join("records")).expect("a folder");
    fs::rename(early.data().join("records"), evidence.data().join("records")).expect("a folder");
    let copied = evidence.data().join("records/sessions").join(&gone[2..]);
    fs::remove_dir_all(&copied).expect("a folder");
    assert!(evidence.both_say(4).contains("is being erased"));

    // Overwritten, and not removed yet.
    let evidence = plant.evidence();
    let copied = evidence.data().join("records/sessions").join(&gone[2..]);
    fs::create_dir_all(&copied).expect("a folder");
    fs::write(copied.join("keys.0.age"), [0; 600]).expect("a file");
    evidence.both_say(4);
}

#[test]
fn keys_stay_until_a_checkpoint_covers_the_leaf_that_says_they_go() {
    let mut plant = plant("retention = \"1s\"");
    let session = worked(&plant, "echo one");
    eventually("it may be erased", || holdpoint(&plant, "ada", &["erase", &session, "--yes"]).status.success());
    // Nothing can be published.
    let draft = plant.data().join("records/checkpoint.tmp");
    eventually("it is in the way", || fs::create_dir_all(draft.join("in the way")).is_ok());
    let before = published(&plant, "records");
    holdpoint(&plant, "lee", &["erase", &session, "--yes"]).ok();
    plant.gate().until("what was decided about recordings is not carried out");
    assert_eq!(published(&plant, "records"), before);
    assert_eq!(names_in(&plant.recording(&session)), ["0000.blk", "keys.0.age"]);
    plant.kill();
    fs::remove_dir_all(&draft).expect("a folder");
    plant.serve();
    is_erased(&plant, &session);
    assert_eq!(plant.stop().code(), 0);
    assert!(plant.evidence().both_say(0).contains(": erased ("));
}

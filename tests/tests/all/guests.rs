//! A guest at night with the real program: invited by an operator on duty who called the vendor back, let in as anybody is,
//! escorted or stopped, gone at the end, and looked back at by somebody else.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tests::browser::Browser;
use tests::process::{Running, start_on_a_terminal};
use tests::{Options, Plant, eventually, holdpoint, json, log_in, run, text};

const RULE: &str = "idle = \"4h\"\nescort = \"required\"\nguest_max = \"1h\"";
const NUMBER: &str = "+49 30 123456";

/// Where nobody answers and nothing is asked.
const INVITE: [&str; 9] =
    ["invite", "gus", "--guest", "acme", "--target", "hmi-2", "--reason", "the pump trips", "--yes"];

fn a_plant(later: Vec<&'static str>) -> Plant {
    Plant::enrolled(Options { rule: RULE.into(), later, ..Options::default() })
}

fn registers_the_number(plant: &Plant) {
    log_in(plant, "ada");
    let contract = ["contract", "acme", "--until", "2040-12-31", "--sponsor", "lee", "--telephone", NUMBER];
    holdpoint(plant, "ada", &contract).ok();
}

/// The guest asks with stock `ssh`, and somebody says yes.
fn is_granted(plant: &Plant, operator: &str) -> String {
    let lobby = plant.person("gus").at("");
    run(&mut plant.person("gus").ssh(&[&lobby, "request", "hmi-2", "1h", "the pump trips"]), b"").ok();
    let requests = json(plant, operator, &["requests"]);
    let request = text(&requests["requests"][0]["request"]);
    assert!(requests["requests"][0]["guest"].is_string(), "{requests}");
    holdpoint(plant, operator, &["approve", &request, "--yes"]).ok();
    request
}

fn at_work(plant: &Plant) -> Running {
    let gus = plant.person("gus");
    let mut shell = start_on_a_terminal(&gus.ssh(&["-tt", &gus.at("hmi-2")]));
    shell.until("here an operator must watch, and nobody does");
    shell
}

#[test]
fn a_guest_comes_for_what_they_were_invited_for_and_is_gone_at_the_end() {
    let mut plant = a_plant(Vec::new());
    let notices = plant.notices();
    plant.serve();
    log_in(&plant, "lee");
    let invite = |plant: &Plant, who: &str, more: &[&str]| holdpoint(plant, who, &[&INVITE[..], more].concat());
    invite(&plant, "lee", &["--for", "1m"]).says_no("no telephone number of vendor acme is registered");
    registers_the_number(&plant);
    invite(&plant, "ada", &["--for", "1m"]).says_no("only operators");
    invite(&plant, "lee", &["--for", "61m"]).says_no("longer than rule");
    invite(&plant, "lee", &["--for", "1m", "--rule", "nothing"]).says_no("no rule nothing takes guests");
    let elsewhere = ["invite", "gus", "--guest", "acme", "--target", "plc-7", "--for", "1m", "--reason", "x", "--yes"];
    holdpoint(&plant, "lee", &elsewhere).says_no("no rule lets operators invite a guest of acme to plc-7");

    let shown = holdpoint(&plant, "lee", &["guests"]).ok().out();
    assert!(shown.contains("Nobody is a guest here") && shown.contains(NUMBER), "{shown}");
    let invited: Value =
        serde_json::from_str(&invite(&plant, "lee", &["--for", "50s", "--json"]).ok().out()).expect("JSON");
    let until: Timestamp = text(&invited["expires"]).parse().unwrap();
    let second = ["invite", "gwen", "--guest", "acme", "--target", "hmi-2", "--for", "1m", "--reason", "x", "--yes"];
    holdpoint(&plant, "lee", &second).says_no("it takes one at a time");
    plant.enrol_by_ssh("gus", &text(&invited["code"]));
    let gus = plant.person("gus");
    let targets = run(&mut gus.ssh(&[&gus.at(""), "request", "hmi-3", "1h", "x"]), b"");
    assert!(targets.code() != 0, "{}", targets.text());

    is_granted(&plant, "lee");
    let mut shell = at_work(&plant);
    shell.type_in("touch unseen\r");
    let session = text(&json(&plant, "lee", &["sessions"])["sessions"][0]["session"]);
    let mut watch = start_on_a_terminal(&plant.as_person("lee", &["watch", &session]));
    watch.until("SPACE says that you are there");
    watch.type_in(" ");
    shell.until("An operator watches. Your input goes on.");
    shell.type_in("ls unseen; echo seen $((40 + 2))\r");
    shell.until("seen 42");
    assert!(shell.said().contains("No such file"), "{}", shell.said());
    let more = run(&mut gus.ssh(&[&gus.at(""), "extend", "30m", "more"]), b"");
    assert!(more.text().contains("your time as a guest ends"), "{}", more.text());
    shell.ends_within(Duration::from_secs(90));
    let late = Timestamp::now().duration_since(until).as_secs();
    assert!((0..20).contains(&late), "{late} s after the visit");
    drop(watch);

    let again = run(&mut gus.ssh(&[&gus.at("hmi-2"), "true"]), b"");
    assert!(again.code() != 0, "{}", again.text());
    eventually("the visit is over in the journal", || {
        json(&plant, "lee", &["guests", "--all"])["guests"][0]["ended"].is_string()
    });
    let visit = text(&json(&plant, "lee", &["reviews"])["reviews"][0]["review"]);
    holdpoint(&plant, "lee", &["approve", &visit, "--yes"]).says_no("nobody looks back at what they gave");
    log_in(&plant, "kim");
    let reviews = holdpoint(&plant, "kim", &["reviews"]).ok().out();
    assert!(reviews.contains("gus of acme, at hmi-2") && reviews.contains("by lee"), "{reviews}");
    let why = "the day shift could have done it";
    let objects = holdpoint(&plant, "kim", &["deny", &visit, "--reason", why, "--yes"]).ok().out();
    assert!(objects.contains("with your objection"), "{objects}");
    assert!(holdpoint(&plant, "kim", &["reviews"]).ok().out().contains("Nothing waits"));
    let over = holdpoint(&plant, "lee", &["reviews", "--all"]).ok().out();
    let over = over.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(over.contains("kim looked back at it") && over.contains(&format!("OBJECTS: {why}")), "{over}");
    eventually("the objection is an alarm", || {
        let alarms = json(&plant, "lee", &["status"])["alarms"].as_array().expect("a list").clone();
        alarms.iter().any(|alarm| alarm["alarm"] == "objection" && alarm["of"] == visit.as_str())
    });
    eventually("people are told of it", || {
        fs::read_to_string(&notices).is_ok_and(|told| {
            told.contains("\"kind\":\"objection\"")
                && told.contains("kim looked back at the visit of gus of acme as a guest to hmi-2, invited by lee")
        })
    });
    holdpoint(&plant, "ada", &["disable", "--vendor", "acme"]).ok();
    invite(&plant, "lee", &["--for", "1m"]).says_no("vendor acme is disabled");

    let feed = holdpoint(&plant, "lee", &["feed"]).ok().out();
    for id in ["HP1113", "HP1114", "HP1115"] {
        assert!(feed.contains(&format!("\"{id}\"")), "{id} in {feed}");
    }
    assert!(!feed.contains("123456") && !feed.contains(why), "no number and no text leaves the plant: {feed}");
    let told = fs::read_to_string(&notices).unwrap();
    assert!(told.contains("\"kind\":\"guest\"") && told.contains("lee invited gus of acme"), "{told}");
    plant.stop();
    let evidence = plant.evidence();
    evidence.both_say(0);
    let made = ["evidence", &session, "--data", "data", "--trust", "trust.toml", "--key", "key", "-o", "pack/"];
    run(&mut evidence.holdpoint(&made), b"").ok();
    let page = fs::read_to_string(evidence.path("pack/index.html")).unwrap();
    for words in ["a guest, invited by lee", NUMBER, "the pump trips", "WITH AN OBJECTION", why] {
        assert!(page.contains(words), "{words} in {page}");
    }
}

/// Ends the visit that goes on.
fn is_sent_away(plant: &Plant) {
    let visit = text(&json(plant, "lee", &["guests"])["guests"][0]["guest"]);
    holdpoint(plant, "lee", &["guests", "--end", &visit]).ok();
}

#[test]
fn a_guest_comes_again_and_may_become_a_technician_by_the_name_and_the_key_they_had() {
    let mut plant = a_plant(Vec::new());
    plant.serve();
    log_in(&plant, "lee");
    registers_the_number(&plant);
    let invite = |plant: &Plant| holdpoint(plant, "lee", &[&INVITE[..], &["--for", "30m", "--json"]].concat());
    let employ = |plant: &Plant, of: &str| holdpoint(plant, "ada", &["invite", "gus", "--technician", of, "--json"]);
    let code = |told: tests::Ended| {
        let told: Value = serde_json::from_str(&told.ok().out()).expect("JSON");
        text(&told["code"])
    };
    let first = code(invite(&plant));
    plant.enrol_by_ssh("gus", &first);
    let who = |plant: &Plant| {
        let people = json(plant, "lee", &["people"])["people"].as_array().expect("a list").clone();
        let called: Vec<_> = people.iter().filter(|person| person["name"] == "gus").cloned().collect();
        let [one] = &called[..] else { panic!("one is called so: {called:?}") };
        (text(&one["person"]), text(&one["standing"]))
    };
    let (gus, _) = who(&plant);
    invite(&plant).says_no("is a guest here until");
    employ(&plant, "acme/maintenance").says_no("is a guest here until");

    // The next night, with the same key; nobody else gets that, and no other vendor gets the name.
    is_sent_away(&plant);
    employ(&plant, "stackwell/maintenance").says_no("was here as a guest of acme");
    holdpoint(&plant, "ada", &["reinvite", "gus"]).says_no("an administrator may invite them as a technician");
    let second = code(invite(&plant));
    plant.enrols_again("gus", &second);
    assert_eq!(who(&plant), (gus.clone(), "active".to_owned()));
    is_granted(&plant, "lee");
    is_sent_away(&plant);
    let stranger = text(&json(&plant, "ada", &["invite", "gwen", "--technician", "acme/maintenance"])["code"]);
    plant.person("gus").write("enrolment", stranger.as_bytes());
    let enrols = |plant: &Plant| run(&mut plant.person("gus").ssh(&[&format!("enrol@{}", tests::person::GATE)]), b"");
    enrols(&plant).says_no("this key is, or was, another person's here");

    // By day, as a technician of the same vendor: the same person, who is no guest.
    let third = code(employ(&plant, "acme/maintenance"));
    assert_eq!(who(&plant), (gus.clone(), "invited".to_owned()));
    let at = plant.person("gus").at("hmi-2");
    assert!(run(&mut plant.person("gus").ssh(&[&at, "true"]), b"").code() != 0, "what they had counts no more");
    plant.enrols_again("gus", &third);
    assert_eq!(who(&plant), (gus, "active".to_owned()));
    let lobby = plant.person("gus").at("");
    run(&mut plant.person("gus").ssh(&[&lobby, "request", "hmi-2", "1h", "maintenance"]), b"").ok();
    let asked = json(&plant, "lee", &["requests"])["requests"][0].clone();
    assert!(asked["guest"].is_null(), "{asked}");
    invite(&plant).says_no("is taken: choose another name");
    employ(&plant, "acme/maintenance").says_no("is taken: choose another name");
    holdpoint(&plant, "ada", &["disable", "gus"]).ok();
    invite(&plant).says_no("was put out, and the name stays theirs");
    let guests = json(&plant, "lee", &["guests", "--all"])["guests"].as_array().expect("a list").clone();
    let came: Vec<_> = guests.iter().map(|visit| visit["requests"].as_array().expect("a list").len()).collect();
    assert_eq!(came, [1, 0], "what was asked by day is of no visit: {guests:?}");
    plant.stop();
    plant.evidence().both_say(0);
}

/// Half an hour for gus, up to what is to be signed.
fn is_to_come(browser: &mut Browser) {
    browser.fill("input[name=name]", "gus");
    browser.fill("input[name=minutes]", "30");
    browser.fill("textarea[name=reason]", "the <b>pump</b> trips");
    browser.click("Invite…");
}

#[test]
fn on_pages_an_operator_calls_back_invites_sends_away_and_another_looks_back() {
    let mut plant = a_plant(vec!["kim"]);
    plant.serve();
    let Some(mut browser) = Browser::new(&plant) else { return };
    registers_the_number(&plant);
    browser.has_a_passkey();
    browser.enrols("kim", &plant.codes["kim"]);
    browser.signs_in();
    browser.click("Guests");
    browser.says("Nobody is a guest here");
    browser.says(NUMBER);
    browser.look("guests");
    is_to_come(&mut browser);
    browser.says("gus of acme (maintenance) may come as a guest to hmi-2, and nowhere else");
    browser.says(&format!("I called {NUMBER} back"));
    browser.look("guest-sign");
    // The browser wants the tick, and so does the gate.
    browser.click("Sign with your passkey");
    browser.says("You sign: yes");
    browser.evaluate("document.querySelector('input[name=confirmed]').required = false");
    browser.click("Sign with your passkey");
    browser.says("call the vendor back first");
    browser.open("/guests");
    browser.says("Nobody is a guest here");
    is_to_come(&mut browser);
    browser.says("You sign: yes");
    browser.evaluate("document.querySelector('input[name=confirmed]').checked = true");
    browser.click("Sign with your passkey");
    browser.says("A code for gus");
    browser.look("guest-code");
    let code = text(&browser.evaluate("document.querySelector('#code code').textContent"));
    plant.enrol_by_ssh("gus", &code);

    log_in(&plant, "lee");
    is_granted(&plant, "lee");
    let shell = at_work(&plant);
    browser.open("/");
    browser.says("At work: 1");
    browser.says("guest");
    browser.look("guest-board");
    browser.click("hmi-2 / ssh");
    browser.says("(guest)");
    browser.click("its card");
    browser.says("Guest: gus");
    browser.says("kim invited them for this target alone");
    browser.look("guest-card");
    browser.click("Who invited this guest, and why");
    browser.says("the <b>pump</b> trips");
    browser.says("may come");
    browser.look("guest");
    browser.open("/guests");
    browser.says("Somebody is a guest under this rule until");
    browser.click("gus");
    browser.says("Send the guest away");
    browser.click("Send the guest away");
    browser.says("I have looked back at this visit…");
    shell.ends();
    browser.says("To look back at: 1");
    browser.click("To look back at: 1");
    browser.says("given by kim");
    browser.look("reviews");
    browser.click("gus");
    browser.click("I have looked back at this visit…");
    browser.says("looked back at");
    browser.click("Sign with your passkey");
    browser.says("nobody looks back at what they gave");
    let visit = text(&json(&plant, "lee", &["reviews"])["reviews"][0]["review"]);
    holdpoint(&plant, "lee", &["approve", &visit, "--yes"]).ok();
    browser.open("/reviews");
    browser.says("Nothing waits");
    browser.says("Looked back at, newest first");
    browser.look("reviews-done");
    drop(browser);
    plant.stop();
    plant.evidence().both_say(0);
}

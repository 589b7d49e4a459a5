//! Answers without a signature, where the rule allows them: by a code alone, and by telephone with what the technician reads
//! out. They count, and everybody is told what they are: card, list, feed, verifiers and evidence.

use std::fs;

use certs::totp::TotpSecret;
use jiff::Timestamp;
use serde_json::Value;
use tests::browser::Browser;
use tests::commands::find;
use tests::process::start_on_a_terminal;
use tests::{Options, Plant, holdpoint, json, log_in, run, text};

const RULE: &str = "idle = \"4h\"\nweaker = [\"totp\", \"telephone\"]";

fn lenient(later: Vec<&'static str>) -> Plant {
    let mut plant = Plant::enrolled(Options { rule: RULE.into(), later, ..Options::default() });
    plant.serve();
    plant
}

fn asks(plant: &Plant) -> Value {
    let asked = ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", "the pump trips"];
    json(plant, "tess", &asked)
}

/// A command that is asked for codes, one a line.
fn with_codes(plant: &Plant, arguments: &[&str], codes: &[&str]) -> tests::Ended {
    run(&mut plant.as_person("lee", arguments), codes.join("\n").as_bytes())
}

/// What stands in a text behind these words, up to the full stop.
fn read_out(told: &str) -> String {
    let behind = told.split("read out: ").nth(1).unwrap_or_else(|| panic!("nothing to read out: {told}"));
    behind.chars().take("1234 5678".len()).collect()
}

#[test]
fn by_telephone_and_by_code_and_what_is_left_of_it_in_the_evidence() {
    let mut plant = lenient(Vec::new());
    log_in(&plant, "lee");
    log_in(&plant, "tess");

    // The technician waits at the machine's name, and reads out what stands there.
    let at = plant.tess().at("hmi-2");
    let lobby = plant.tess().at("");
    let asked = run(&mut plant.tess().ssh(&[&lobby, "request", "hmi-2", "1h", "the pump trips"]), b"").ok().out();
    let heard = read_out(&asked);
    let own = json(&plant, "tess", &["requests"]);
    assert_eq!(text(&own["requests"][0]["read_back"]), heard);
    let request = text(&own["requests"][0]["request"]);
    for shown in [json(&plant, "lee", &["requests"]).to_string(), holdpoint(&plant, "lee", &["requests"]).ok().out()] {
        assert!(!shown.contains(&heard) && !shown.contains("read_back"), "the operator sees it: {shown}");
    }
    let approve = ["approve", &request, "--telephone", "--yes"];
    let code = plant.person("lee").app_code();
    with_codes(&plant, &approve, &["0000 0000", &code]).says_no("not the code that the technician reads");
    let said = with_codes(&plant, &approve, &[&heard, &code]).ok().out();
    assert!(said.contains("HP1314") && said.contains("weaker: by telephone"), "{said}");
    let other = text(&asks(&plant)["request"]);
    with_codes(&plant, &["approve", &other, "--totp", "--yes"], &[&code]).says_no("used already");
    let cards = holdpoint(&plant, "lee", &["requests"]).ok().out();
    assert!(cards.contains("lee: yes (weaker: by telephone)"), "{cards}");
    assert_eq!(run(&mut plant.tess().ssh(&[&at, "echo it counts"]), b"").ok().out(), "it counts\n");

    // More time, by a code alone.
    let mut shell = start_on_a_terminal(&plant.tess().ssh(&["-tt", &at]));
    shell.type_in("echo I am $((40 + 2))\r");
    shell.until("I am 42");
    let told = run(&mut plant.tess().ssh(&[&lobby, "extend", "30m", "the pump still trips"]), b"").ok().out();
    assert_eq!(read_out(&told).len(), 9, "{told}");
    let ask = find(&json(&plant, "lee", &["requests"]), "ask").expect("it waits");
    let approve = ["approve", &ask, "--totp", "--yes"];
    with_codes(&plant, &approve, &[&plant.person("lee").app_code()]).ok();
    shell.until("The session now lasts until");
    shell.type_in("exit\r");
    shell.ends();

    let feed = holdpoint(&plant, "lee", &["feed"]).ok().out();
    let told = feed.lines().filter(|line| line.contains("\"HP1314\"")).collect::<Vec<_>>();
    assert!(told.len() == 2 && told[0].contains("\"weaker\":\"telephone\"") && !feed.contains(&heard), "{told:?}");
    plant.stop();
    let evidence = plant.evidence();
    let said = evidence.both_say(0);
    assert!(said.contains("2 answers without a signature") && said.contains("the gate's word alone"), "{said}");
    let session = text(&holdpoint_list(&evidence)["session"]);
    let made = ["evidence", &session, "--data", "data", "--trust", "trust.toml", "--key", "key", "-o", "pack/"];
    let pack = run(&mut evidence.holdpoint(&made), b"");
    assert!(pack.status.success(), "{}", pack.text());
    let page = fs::read_to_string(evidence.path("pack/index.html")).unwrap();
    for words in ["YES (weaker: by telephone)", "YES (weaker: TOTP)", "NOT SIGNED"] {
        assert!(page.contains(words), "{words} in {page}");
    }
    run(&mut evidence.holdpoint(&["verify", "pack", "--trust", "trust.toml", "--no-memory"]), b"").refused(4, "");
}

fn holdpoint_list(evidence: &tests::evidence::Evidence) -> Value {
    let listed = run(&mut evidence.holdpoint(&["recordings", "--json"]), b"").ok().out();
    let listed: Value = serde_json::from_str(listed.trim()).unwrap();
    listed["recordings"].as_array().or(listed.as_array()).expect("a list")[0].clone()
}

#[test]
fn what_the_rule_does_not_allow_is_refused_before_a_code_is_asked_for() {
    let mut plant = Plant::enrolled(Options::default());
    plant.serve();
    log_in(&plant, "lee");
    log_in(&plant, "tess");
    let asked = asks(&plant);
    assert!(asked["read_back"].is_null(), "{asked}");
    let request = text(&asked["request"]);
    with_codes(&plant, &["approve", &request, "--totp", "--yes"], &[]).says_no("lets nobody answer by TOTP");
    holdpoint(&plant, "lee", &["deny", &request, "--telephone", "--reason", "no", "--yes"]).says_no("by telephone");
    holdpoint(&plant, "lee", &["approve", &request, "--yes"]).ok();
    plant.stop();
    plant.evidence().both_say(0);
}

/// Without script, too: a form, two codes, and a card that says what came of it.
#[test]
fn on_a_page_an_operator_answers_by_telephone_or_code() {
    let mut plant = lenient(vec!["kim"]);
    let Some(mut browser) = Browser::new(&plant) else { return };
    browser.has_a_passkey();
    browser.enrols("kim", &plant.codes["kim"]);
    browser.says("An authenticator app, beside it");
    browser.look("weaker-enrolled");
    let secret = text(&browser.evaluate("document.querySelector('.qr + dl code').textContent"));
    let app = TotpSecret::from_base32(&secret).expect("a secret");
    browser.signs_in();

    log_in(&plant, "tess");
    let asked = asks(&plant);
    let (request, heard) = (text(&asked["request"]), text(&asked["read_back"]));
    browser.open(&format!("/requests/{request}"));
    browser.says("The rule lets you answer without your passkey");
    let page = text(&browser.evaluate("document.documentElement.outerHTML"));
    assert!(!page.contains(&heard), "the operator sees it");
    browser.look("weaker-card");
    browser.click("Approve…");
    browser.says("Without your passkey");
    browser.look("weaker-sign");
    let code = app.code_at(Timestamp::now()).to_string();
    browser.fill("#read-back", "1234 5678");
    browser.fill("#code-telephone", &code);
    browser.click("Say yes by telephone, with the code that the technician reads out and your own");
    browser.says("not the code that the technician reads");
    browser.open(&format!("/requests/{request}"));
    browser.says("The rule lets you answer without your passkey");
    browser.click("Approve…");
    browser.says("Without your passkey");
    browser.fill("#read-back", &heard);
    browser.fill("#code-telephone", &code);
    browser.click("Say yes by telephone, with the code that the technician reads out and your own");
    browser.says("(weaker: by telephone)");
    browser.says("granted");
    browser.look("weaker-granted");
    browser.open("/");
    browser.says("weaker: by telephone");
    browser.look("weaker-board");

    // A no by the next code.
    let next = text(&asks(&plant)["request"]);
    browser.open(&format!("/requests/{next}"));
    browser.says("Your answer");
    browser.fill("#no", "not tonight");
    browser.click("Refuse…");
    browser.says("because: not tonight");
    let next_code = app.code_at(Timestamp::now() + jiff::SignedDuration::from_secs(30)).to_string();
    browser.fill("#code-totp", &next_code);
    browser.click("Say no by the code of your authenticator app");
    browser.says("kim said no");
    browser.says("(weaker: TOTP)");
    drop(browser);
    plant.stop();
    let said = plant.evidence().both_say(0);
    assert!(said.contains("2 answers without a signature"), "{said}");
}

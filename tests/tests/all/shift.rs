//! A shift change with the real program and real sessions: what the shift before left waits to be accepted, turns red, and is
//! frozen or ended; an operator takes it over by command and on a page.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use policies::actions::Action;
use policies::time::Seconds;
use serde_json::Value;
use tests::browser::Browser;
use tests::process::{Running, start_on_a_terminal};
use tests::{Options, Plant, eventually, holdpoint, json, log_in, text};

/// The next full minute that is some way off, as the plant file writes it, and another far from it.
fn soon() -> (Timestamp, String) {
    let some_way = Timestamp::now().as_second() + 30;
    let change = Timestamp::from_second(some_way + (60 - some_way % 60)).unwrap();
    let written = |at: Timestamp| at.to_zoned(TimeZone::UTC).strftime("%H:%M").to_string();
    let other = written(change + SignedDuration::from_hours(8));
    (change, format!("shifts = [\"{}\", \"{other}\"]\naccept_within = \"2s\"", written(change)))
}

/// A plant whose shift changes in a minute, and a grant that was given before.
fn before_the_change(rule: &str, later: Vec<&'static str>) -> (Plant, Timestamp, String) {
    before_the_change_and("6s", rule, later)
}

/// The same, with what the rule gives somebody to accept it.
fn before_the_change_and(after: &str, rule: &str, later: Vec<&'static str>) -> (Plant, Timestamp, String) {
    let (change, plant) = soon();
    let rule = format!("idle = \"4h\"\nunaccepted_after = \"{after}\"\n{rule}");
    let mut plant = Plant::enrolled(Options { plant, rule, later, ..Options::default() });
    let request = plant.grant("tess", "hmi-2", &[Action::Shell], Seconds(3_600));
    plant.log_in("tess");
    plant.serve();
    (plant, change, request.to_string())
}

fn at_work(plant: &Plant) -> Running {
    let mut shell = start_on_a_terminal(&plant.tess().ssh(&["-tt", &plant.tess().at("hmi-2")]));
    shell.type_in("echo I am $((40 + 2))\r");
    shell.until("I am 42");
    shell
}

/// It is up to a minute and a half away, and each wait is shorter than what is taken for a hang.
fn the_shift_changes(change: Timestamp) {
    for before in [60, 30, 0] {
        let soon = change - SignedDuration::from_secs(before);
        eventually("the shift changes", || Timestamp::now() >= soon);
    }
}

fn waits(plant: &Plant) -> Vec<Value> {
    json(plant, "lee", &["shift"])["waiting"].as_array().expect("a list").clone()
}

#[test]
fn what_nobody_accepts_is_frozen_until_the_next_shift_takes_it_over() {
    let (mut plant, change, request) = before_the_change("", Vec::new());
    let mut shell = at_work(&plant);
    log_in(&plant, "lee");
    let shift = json(&plant, "lee", &["shift"]);
    assert_eq!(text(&shift["changes"]).parse::<Timestamp>().unwrap(), change, "{shift}");
    assert!(shift["waiting"].as_array().unwrap().is_empty() || Timestamp::now() >= change, "{shift}");
    let on_duty = text(&shift["on_duty"][0]["until"]).parse::<Timestamp>().unwrap();
    assert_eq!(on_duty, change + SignedDuration::from_hours(8), "who comes early comes for the next shift");

    the_shift_changes(change);
    shell.until("The shift changed, and nobody has accepted your work yet");
    assert!(Timestamp::now() >= change + SignedDuration::from_secs(6), "not before its time");
    let left = waits(&plant);
    assert_eq!((text(&left[0]["request"]), &left[0]["handover"]["frozen"]), (request.clone(), &true.into()));
    let shown = holdpoint(&plant, "lee", &["shift"]).ok().out();
    assert!(shown.contains("FROZEN: the shift changed"), "{shown}");
    eventually("it is an alarm", || {
        json(&plant, "lee", &["status"]).to_string().contains("waits for somebody to accept")
    });
    let new = tests::run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "true"]), b"");
    assert!(new.text().contains("nobody accepted the grant for hmi-2 yet"), "{}", new.text());

    holdpoint(&plant, "lee", &["shift", "--accept", &request]).ok();
    shell.until("Your input goes on.");
    shell.type_in("echo still $((40 + 3))\r");
    shell.until("still 43");
    assert!(waits(&plant).is_empty());
    holdpoint(&plant, "lee", &["shift", "--accept", &request]).says_no("nothing waits to be accepted");
    shell.type_in("exit\r");
    shell.ends();
    let feed = holdpoint(&plant, "lee", &["feed"]).ok().out();
    assert!(feed.contains("\"HP1315\"") && feed.contains("\"HP1316\""), "{feed}");
    plant.stop();
    plant.evidence().both_say(0);
}

#[test]
fn what_nobody_accepts_ends_where_the_rule_says_so_and_the_technician_reads_why() {
    let (mut plant, change, request) = before_the_change("unaccepted = \"end\"", Vec::new());
    let mut shell = at_work(&plant);
    the_shift_changes(change);
    shell.until("The shift changed, and nobody in the control room accepted your work.");
    shell.ends();
    log_in(&plant, "lee");
    let cards = holdpoint(&plant, "lee", &["requests", "--all"]).ok().out();
    assert!(cards.contains(&request) && cards.contains("ended: nobody accepted it"), "{cards}");
    let sessions = json(&plant, "lee", &["sessions", "--all"]).to_string();
    assert!(sessions.contains("not-accepted"), "{sessions}");
    plant.stop();
    plant.evidence().both_say(0);
}

#[test]
fn a_restart_in_the_middle_gives_back_the_time_that_it_took_and_begins_nothing_anew() {
    let (mut plant, change, request) = before_the_change_and("30s", "unaccepted = \"end\"", Vec::new());
    the_shift_changes(change);
    let restart = change + SignedDuration::from_secs(20);
    eventually("some of the time is over", || Timestamp::now() >= restart);
    plant.stop();
    let stopped = Timestamp::now();
    eventually("it would have been time", || Timestamp::now() >= restart + SignedDuration::from_secs(15));
    let at_least = Timestamp::now().duration_since(stopped);
    plant.serve();
    let stood_still = Timestamp::now().duration_since(stopped) + SignedDuration::from_secs(2);
    log_in(&plant, "lee");
    let ended = || {
        let feed = holdpoint(&plant, "lee", &["feed"]).ok().out();
        let lines = feed.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let mut of_it = lines.filter(|line| line["id"] == "HP1316" && line["about"]["request"] == request.as_str());
        of_it.next().map(|line| text(&line["time"]).parse::<Timestamp>().expect("a time"))
    };
    eventually("nobody accepted it", || ended().is_some());
    let (at, due) = (ended().expect("it is there"), change + SignedDuration::from_secs(30));
    // The clerk looks every five seconds.
    assert!(
        due + at_least <= at && at <= due + stood_still + SignedDuration::from_secs(6),
        "{at}, due at {due} and {stood_still} later"
    );
    plant.stop();
    plant.evidence().both_say(0);
}

#[test]
fn on_a_page_the_next_shift_sees_what_was_left_and_accepts_it() {
    let (mut plant, change, request) = before_the_change("", vec!["kim"]);
    let Some(mut browser) = Browser::new(&plant) else { return };
    browser.has_a_passkey();
    browser.enrols("kim", &plant.codes["kim"]);
    browser.signs_in();
    let mut shell = at_work(&plant);
    the_shift_changes(change);
    browser.says("To accept after the shift change: 1");
    browser.says("to be accepted");
    browser.look("shift-board");
    browser.open(&format!("/requests/{request}"));
    browser.says("The shift changed at");
    browser.look("shift-card");
    browser.click("Accept: I stand for it now");
    browser.says("granted");
    browser.until("!document.body.innerText.includes('The shift changed at')");
    browser.open("/");
    browser.says("At work: 1");
    browser.until("!document.body.innerText.includes('To accept after the shift change')");
    shell.type_in("exit\r");
    shell.ends();
    drop(browser);
    plant.stop();
    plant.evidence().both_say(0);
}

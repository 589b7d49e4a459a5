//! What comes after work: the technician says what they did, an operator signs it off, and the session that was drawn is
//! reviewed by somebody who did not approve it; by command and in a real browser.

use policies::actions::Action;
use policies::time::Seconds;
use tests::{Options, Plant, holdpoint, json, log_in, run, text};

use crate::cards::{control_room, signs};

#[test]
fn what_was_done_is_signed_off_and_a_drawn_session_reviewed_or_both_are_red() {
    let rule = "idle = \"4h\"\nclose_out = \"required\"\nclose_out_within = \"1s\"\nreview_percent = 100\n\
                review_within = \"1s\""
        .to_owned();
    let mut plant = Plant::enrolled(Options { later: vec!["kim"], rule, ..Options::default() });
    let [mine, theirs] = [0, 1].map(|_| plant.grant("tess", "hmi-2", &[Action::Shell], Seconds(900)).to_string());
    plant.log_in("tess");
    plant.serve();
    let Some(mut browser) = control_room(&plant) else { return };
    log_in(&plant, "tess");
    log_in(&plant, "lee");
    let fixes = |plant: &Plant| run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "echo fixed"]), b"");
    let says = |request: &str| {
        let words = ["--done", "replaced <b>the</b> fan", "--changed", "nothing", "--left", "running"];
        holdpoint(&plant, "tess", &[&["close-out", request], &words[..]].concat())
    };
    says(&mine).says_no("nobody was at work under this grant");
    assert_eq!(fixes(&plant).ok().out(), "fixed\n");
    let session = json(&plant, "lee", &["sessions", "--all"])["sessions"][0].clone();
    let (session, spent) = (text(&session["session"]), text(&session["request"]));
    let other = if spent == mine { theirs } else { mine };
    says(&spent).ok();
    says(&spent).says_no("you said exactly this already");

    // What the technician said is on the board and on the card, and what is signed is what the operator makes of it.
    browser.click("Board");
    browser.says("To close out: 1");
    browser.says("tess said what was done");
    browser.says("OVERDUE since");
    browser.says("nobody signed off in time what was done under the grant of tess");
    browser.says("nobody reviewed in time the session of tess");
    browser.look("close-out-board");
    browser.open(&format!("/requests/{spent}"));
    browser.says("Its rule wants somebody to sign off what was done");
    browser.says("replaced <b>the</b> fan");
    browser.look("close-out-card");
    browser.fill("#left", "running, <i>in automatic</i>");
    browser.click("Close it out…");
    browser.says("You sign: yes");
    browser.says("left: running, <i>in automatic</i>");
    browser.look("close-out-sign");
    signs(&mut browser, "Signed off by kim");
    browser.says("running, <i>in automatic</i>");
    browser.look("closed-out");
    says(&spent).says_no("closed out already");
    holdpoint(&plant, "lee", &["close-out", &spent, "--yes"]).says_no("closed out already");

    // The session was drawn: whoever approved its grant does not review it.
    holdpoint(&plant, "lee", &["approve", &session, "--yes"]).says_no("nobody looks back at what they gave");
    let listed = holdpoint(&plant, "lee", &["reviews"]).ok().out();
    assert!(listed.contains(&session) && listed.contains("session drawn for review: shell"), "{listed}");
    browser.open("/reviews");
    browser.says("session drawn for review: shell");
    browser.look("drawn-reviews");
    browser.click("tess");
    browser.says("Chance drew this session");
    browser.look("drawn-session");
    browser.fill("#found", "a <b>new</b> account");
    browser.click("I have reviewed it, and found this…");
    browser.says("something was found");
    signs(&mut browser, "and found: a <b>new</b> account");
    browser.look("reviewed-session");
    holdpoint(&plant, "lee", &["approve", &session, "--yes"]).says_no("not drawn to be reviewed, or somebody has");

    // The other grant, by command: what the technician said is signed as it is, and the grant opens nothing any more.
    assert_eq!(fixes(&plant).ok().out(), "fixed\n");
    holdpoint(&plant, "lee", &["close-out", &other, "--yes"]).says_no("say all three");
    says(&other).ok();
    // Whoever comes again says it again: what was said before is signed by nobody as if it were of all.
    assert_eq!(fixes(&plant).ok().out(), "fixed\n");
    holdpoint(&plant, "lee", &["close-out", &other, "--yes"]).says_no("say all three");
    browser.open(&format!("/requests/{other}"));
    browser.says("before the newest session began");
    browser.says("2 sessions, the newest s_");
    says(&other).ok();
    let shown = holdpoint(&plant, "lee", &["requests"]).ok().out();
    assert!(
        shown.contains("holdpoint close-out") && shown.contains(&other) && shown.contains("replaced <b>the</b> fan"),
        "{shown}"
    );
    holdpoint(&plant, "lee", &["close-out", &other, "--yes"]).ok();
    let all = json(&plant, "lee", &["requests", "--all"]);
    let standing = |card: &serde_json::Value| card["standing"] == "closed out";
    assert!(all["requests"].as_array().expect("a list").iter().all(standing), "{all}");
    browser.open("/");
    browser.until("!document.body.innerText.includes('To close out')");
    drop(browser);
    plant.stop();
    plant.evidence().both_say(0);
}

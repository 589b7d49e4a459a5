//! A technician's pages in a real browser, beside the tools that they have: a passkey beside their key, what they may reach,
//! asking, the wait, the way to the machine, more time, more actions, and what is over.

use tests::browser::Browser;
use tests::{Options, Plant, holdpoint, json, log_in, passkey_code, run, start, text};

const NIGHT: &str = r#"
[targets.plc-7]
zone = "packaging"
[targets.plc-7.services.modbus]
protocol = "modbus"
address = "127.0.0.1:5020"
[[rules]]
id = "acme-panel"
vendors = ["acme"]
roles = ["maintenance"]
targets = ["plc-7"]
actions = ["observe", "operate", "control"]
duration_max = "2h"
work_order = "WO-[0-9]+"
emergency = true
approvals = [{ from = "shift-lead", count = 1 }]
"#;

fn plant() -> Plant {
    let technicians = vec![("tess", "acme"), ("tom", "acme")];
    let mut plant = Plant::enrolled(Options { more: NIGHT.into(), technicians, ..Options::default() });
    plant.serve();
    for who in ["tess", "lee", "ada"] {
        log_in(&plant, who);
    }
    plant
}

fn allow_what_was_asked(plant: &Plant) {
    let cards = json(plant, "lee", &["requests"])["requests"].clone();
    let asks = cards.as_array().expect("cards").iter().flat_map(|card| card["asks"].as_array().expect("asks"));
    for ask in asks.filter(|ask| ask["open"] == true) {
        holdpoint(plant, "lee", &["approve", &text(&ask["ask"]), "--yes"]).ok();
    }
}

pub(super) fn at_the_page(plant: &Plant) -> Option<Browser> {
    let mut browser = Browser::of_a_technician(plant)?;
    browser.has_a_passkey();
    browser.enrols("tess", &passkey_code(plant, "tess"));
    browser.signs_in();
    Some(browser)
}

/// The page is behind another one, in a browser that may tell of it; `told` has what it told.
fn looks_elsewhere(browser: &mut Browser, is: bool) {
    let told = "window.told ??= []; window.Notification = class { static permission = 'granted'; \
                constructor(_, { body }) { told.push(body); } };";
    let hidden = format!("Object.defineProperty(document, 'hidden', {{ value: {is}, configurable: true }});");
    browser.evaluate(&format!("{told} {hidden} document.dispatchEvent(new Event('visibilitychange')); 0"));
}

#[test]
fn a_technician_asks_waits_works_and_asks_for_more_from_a_browser() {
    let plant = plant();
    let Some(mut browser) = at_the_page(&plant) else { return };
    browser.says("What you may ask for now");
    // By the key that was there before, one hears of the one that came; by that one, nobody has to be told.
    assert_eq!(browser.evaluate("document.body.innerText.includes('A key was added')"), false);
    let tess = plant.person("tess");
    let lobby = run(&mut tess.ssh(&[&tess.at("")]), b"exit\n").ok().out();
    assert!(lobby.starts_with("A key was added to yours at ") && lobby.contains("call the plant now"), "{lobby}");
    browser.says("observe: read values; at most 2h, answered by 1 of shift-lead");
    browser.says("Nothing is open, and nothing waits");
    browser.look("mine-empty");

    // What is wrong is said above what was typed.
    browser.click("Ask for plc-7");
    browser.says("Ask for plc-7");
    browser.fill("#reason", "the <b>counter</b> stands");
    browser.fill("#work-order", "none");
    browser.click("Ask the plant");
    browser.says("work order");
    browser.until("document.querySelector('#reason').value === 'the <b>counter</b> stands'");
    browser.look("ask-again");
    browser.fill("#work-order", "WO-17");
    browser.fill("#minutes", "40");
    browser.click("Ask the plant");
    browser.says("It waits for an answer");
    browser.says("Answered by 1 of shift-lead");
    browser.says("the <b>counter</b> stands");
    browser.look("own-waiting");
    let request = text(&json(&plant, "tess", &["requests"])["requests"][0]["request"]);
    let card = json(&plant, "lee", &["requests"])["requests"][0].clone();
    assert_eq!((&card["work_order"], &card["duration_seconds"]), (&"WO-17".into(), &2_400.into()), "{card}");
    assert!(browser.evaluate("document.body.innerText").as_str().expect("a text").contains(&text(&card["words"])));

    // The answer comes by itself, with the way there; whoever looks elsewhere meanwhile is told.
    looks_elsewhere(&mut browser, true);
    holdpoint(&plant, "lee", &["approve", &request, "--yes"]).ok();
    browser.until("document.title.startsWith('● plc-7 granted')");
    browser.until("told.length === 1 && told[0].startsWith('plc-7 granted')");
    looks_elsewhere(&mut browser, false);
    browser.until("document.title === 'plc-7 – Holdpoint'");
    browser.says("granted: at most 40m from your first connection");
    browser.says("ssh -N -L 5020:modbus.plc-7:5020");
    browser.look("own-granted");
    browser.fill("#lasts", "10");
    browser.fill("#why", "set the limit");
    browser.evaluate("document.querySelector('input[value=control]').checked = true");
    browser.click("Ask for more");
    browser.says("Asked beside it");
    browser.says("pending");
    allow_what_was_asked(&plant);
    browser.says("for 10m also control: granted");

    // By the words of the page with the key of always; at work on the page, and over.
    browser.open("/ask?target=hmi-2&service=ssh");
    browser.says("Ask for hmi-2");
    browser.fill("#reason", "look");
    browser.click("Ask the plant");
    browser.says("It waits for an answer");
    let shell = text(&json(&plant, "tess", &["requests"])["requests"][0]["request"]);
    holdpoint(&plant, "lee", &["approve", &shell, "--yes"]).ok();
    browser.says("How to get there");
    browser.says("User tess+hmi-2");
    browser.says("Auto-login username: tess+hmi-2");
    browser.look("own-ssh");
    let mut working = start(&mut plant.tess().ssh(&["-tt", &plant.tess().at("hmi-2")]));
    browser.says("More time");
    browser.fill("#minutes", "20");
    browser.fill("#reason", "one more pump");
    browser.click("Ask for more time");
    browser.says("Asked beside it");
    allow_what_was_asked(&plant);
    browser.until("[...document.querySelectorAll('li strong')].some((one) => one.textContent === 'granted')");
    browser.click("My access");
    browser.says("At work: 1");
    browser.look("mine-at-work");
    working.type_in("exit\r");
    working.ends();
    browser.says("Asked for and granted: 2");
    browser.open(&format!("/requests/{shell}"));
    for (field, words) in [("#done", "swapped the <b>pump</b>"), ("#changed", "nothing"), ("#left", "running")] {
        browser.fill(field, words);
    }
    browser.look("own-done");
    browser.click("Say it");
    browser.says("You said it at");
    let card = json(&plant, "lee", &["requests"]);
    assert!(card.to_string().contains("swapped the <b>pump</b>"), "{card}");
    browser.click("My sessions");
    browser.says("Ended");
    browser.look("own-sessions");

    // Taken back, and signed out.
    let mine = text(
        &json(&plant, "tess", &["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", "again"])["request"],
    );
    browser.open(&format!("/requests/{mine}"));
    browser.click("Take the request back");
    browser.says("withdrawn");
    browser.click("My access");
    browser.says("withdrawn");
    let denied = ["request", "plc-7", "--actions", "observe", "--for", "1h", "--work-order", "WO-18", "--reason", "no"];
    let denied = text(&json(&plant, "tess", &denied)["request"]);
    browser.says("waits for 1 of shift-lead");
    holdpoint(&plant, "lee", &["deny", &denied, "--reason", "not <b>today</b>", "--yes"]).ok();
    browser.says("denied");
    browser.open(&format!("/requests/{denied}"));
    browser.says("lee said no: not <b>today</b>");
    // What is cut is not offered, and what opens later can be asked for ahead.
    json(&plant, "lee", &["cut", "--zone", "packaging"]);
    browser.open("/");
    browser.says("cut off, until an operator lets you back in");
    browser.open("/ask?target=hmi-2");
    browser.says("choose what you want to reach");
    browser.open("/ask?target=nothing&service=ssh");
    browser.says("no rule lets you ask for anything there now");
    browser.open("/");
    browser.click("Sign out");
    browser.says("Sign in with your passkey");
}

#[test]
fn nobody_gets_a_passkey_or_a_look_that_is_not_theirs() {
    let plant = plant();
    log_in(&plant, "tom");
    let theirs = ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", "theirs"];
    let theirs = text(&json(&plant, "tom", &theirs)["request"]);
    let first = passkey_code(&plant, "tess");
    let code = passkey_code(&plant, "tess");
    let Some(mut browser) = Browser::of_a_technician(&plant) else { return };
    browser.has_a_passkey();
    let refused = |browser: &mut Browser, code: &str, words: &str| {
        browser.open("/enrol");
        browser.says("The code that you were given");
        browser.fill("#code", code);
        browser.click("Go on");
        browser.says(words);
    };
    refused(&mut browser, &first, "this code was used, has expired, or never was. Another one");
    let operator = json(&plant, "ada", &["invite", "otto", "--operator", "--group", "shift-lead"]);
    refused(&mut browser, &text(&operator["code"]), "it is used on the plant face, on the plant's own network");

    // It enrols a passkey once.
    browser.enrols("tess", &code);
    refused(&mut browser, &code, "this code was used, has expired, or never was. Another one");
    browser.signs_in();
    browser.says("My access");
    browser.open(&format!("/requests/{theirs}"));
    browser.says("there is no such request");
    let all = browser.evaluate("document.body.innerText").as_str().expect("a text").to_owned();
    assert!(!all.contains("tom"), "{all}");
    // The key that was there opens what it did; out is out, on pages too.
    run(&mut plant.tess().ssh(&[&plant.tess().at(""), "list"]), b"").ok();
    holdpoint(&plant, "ada", &["disable", "tess"]).ok();
    browser.open("/");
    browser.says("Sign in with your passkey");
}

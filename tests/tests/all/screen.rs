//! A target's screen in a technician's real browser, from a real VNC server: what they see and may do, what the control room and an
//! auditor see of it, and how it ends.

use policies::actions::Action;
use recordings::notes::Note;
use serde_json::Value;
use tests::browser::Browser;
use tests::commands::find;
use tests::peers::free_port;
use tests::{Plant, Running, eventually, holdpoint, json, log_in, run};

use super::mine::at_the_page;
use super::vnc::{HOUR, password_in, plant_for_screen, screen, shown_on};

const RED: u32 = 0xc8_1e28;
const BLUE: u32 = 0x14_3cdc;
const CANVAS: &str = "#place canvas";

fn opens(browser: &mut Browser, grant: &str) {
    browser.open(&format!("/requests/{grant}"));
    browser.click("Open its screen here");
}

/// Clicks onto the machine's panel, which is below what is painted, and types there.
fn click_and_type(browser: &mut Browser, text: &str) {
    browser.click_on(CANVAS, [0.5, 0.9]);
    browser.types(text);
}

fn arrives(panel: &Running, sign: char) {
    eventually("what is typed arrives", || panel.said().contains(&format!(", {sign})")));
}

/// Asks for `operate` while the screen is open, and gets it.
fn steps_up(plant: &Plant) {
    let lobby = plant.tess().at("");
    run(&mut plant.tess().ssh(&[&lobby, "widen", "operate", "--at", "hmi-3", "a valve sticks"]), b"").ok();
    let ask = find(&json(plant, "lee", &["requests", "--all"]), "ask").expect("the widening waits");
    holdpoint(plant, "lee", &["approve", &ask, "--yes"]).ok();
}

/// A picture as a target sends it, which the policy lets no page load.
const PICTURE: &str = "(async () => {
  const made = document.createElement('canvas');
  [made.width, made.height] = [8, 8];
  const draw = made.getContext('2d');
  draw.fillStyle = 'rgb(200, 30, 40)';
  draw.fillRect(0, 0, 8, 8);
  const picture = new Image();
  const drawn = new Promise((done) => picture.addEventListener('load', done));
  picture.src = made.toDataURL('image/jpeg').replace('data:', 'data: ');
  await drawn;
  draw.clearRect(0, 0, 8, 8);
  draw.drawImage(picture, 0, 0);
  return picture.complete && draw.getImageData(4, 4, 1, 1).data.every((part, n) => Math.abs(part - [200, 30, 40, 255][n]) < 9);
})()";

#[test]
fn a_technician_works_on_a_screen_in_their_browser_until_they_are_cut_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let mut plant = plant_for_screen(port, "credential = \"screen\"");
    let grant = plant.grant("tess", "hmi-3", &[Action::Observe], HOUR).to_string();
    plant.serve();
    log_in(&plant, "lee");
    let Some(mut browser) = at_the_page(&plant) else { return };
    let Some(mut kim) = Browser::new(&plant) else { return };
    browser.complaints();
    opens(&mut browser, &grant);
    browser.says("hmi-3 cannot be reached. Try again later, or ask the control room.");

    let (machine, panel) = screen(&password_in(folder.path()), port);
    let _red = machine.paint(RED, [0, 0, 640, 240]);
    opens(&mut browser, &grant);
    browser.until(&shown_on(CANVAS, RED, 320, 120));
    browser.says("You may only look");
    assert_eq!(browser.evaluate("at('ctrl-alt-del').checkVisibility()"), false);
    assert_eq!(browser.evaluate(PICTURE), true);
    let told = holdpoint(&plant, "lee", &["sessions"]).ok().out();
    assert!(told.contains("in a browser: what opens TLS in between may read and alter it"), "{told}");
    let running = find(&json(&plant, "lee", &["sessions"]), "session").expect("it runs");
    // Neither the page sends it nor, where it did, would the gate.
    click_and_type(&mut browser, "a");
    browser.evaluate("channel.send(new Uint8Array([4, 1, 0, 0, 0, 0, 0, 0x7a]))");
    browser.says("refused to type 1 key: operate is not granted");

    steps_up(&plant);
    browser.says("You may type and click here.");
    assert_eq!(browser.evaluate("at('ctrl-alt-del').checkVisibility()"), true);
    click_and_type(&mut browser, "b");
    arrives(&panel, 'b');
    assert!(panel.said().contains("ButtonPress"), "{}", panel.said());
    browser.click("Press Ctrl+Alt+Del");
    eventually("it arrives", || panel.said().contains("Delete)"));
    browser.look("screen-operated");
    browser.click("Text for the machine");
    browser.until("document.getElementById('text').open");
    browser.look("screen-text");
    browser.fill("#text-typed", "55\u{200b}");
    browser.click("Send it");
    browser.says("It had characters that cannot be seen, which were taken out.");
    browser.click("Send it");
    browser.until("!document.getElementById('text').open");

    kim.has_a_passkey();
    kim.enrols("kim", &plant.codes["kim"]);
    kim.signs_in();
    kim.click("hmi-3 / vnc");
    kim.click("Watch");
    kim.until(&shown_on("#picture", RED, 320, 120));
    kim.says("sent 2 characters of text to the clipboard");

    holdpoint(&plant, "lee", &["freeze", &running]).ok();
    browser.says("Your input is stopped by an operator");
    click_and_type(&mut browser, "c");
    browser.says("refused to type 1 key: an operator has stopped your input");
    let told = json(&plant, "lee", &["tell", &running, "the crane moves"]);
    assert_eq!(told["shown"], "on-page", "{told}");
    browser.says("the crane moves");
    holdpoint(&plant, "lee", &["thaw", &running]).ok();
    browser.says("Your input goes on");
    click_and_type(&mut browser, "d");
    arrives(&panel, 'd');
    for never in ["a", "c", "z"] {
        assert!(!panel.said().contains(&format!(", {never})")), "{never}: {}", panel.said());
    }

    json(&plant, "lee", &["cut", "--technician", "tess"]);
    browser.says("Access was cut by an operator, and stays shut until it is reopened. Ask the control room.");
    browser.until("document.activeElement.id === 'over' && viewer.viewOnly");
    let _blue = machine.paint(BLUE, [0, 0, 640, 480]);
    browser.look("screen-cut");
    assert_eq!(browser.evaluate(&shown_on(CANVAS, RED, 320, 120)), true);
    let complaints = browser.complaints();
    // Of how often its pixels are read here.
    let others = |complaint: &&Value| !complaint.to_string().contains("getImageData");
    assert_eq!(complaints.as_array().map(|all| all.iter().filter(others).count()), Some(0), "{complaints}");
    // Of what others wrote only what is on the list is served, and kept.
    let fetched = |name: &str| {
        format!(
            "fetch(place.dataset.viewer + '{name}').then((answer) => `${{answer.status}} ${{answer.headers.get('cache-control')}}`)"
        )
    };
    assert_eq!(browser.evaluate(&fetched("../LICENSE.txt")), "200 public, max-age=31536000, immutable");
    for name in ["../package.json", "..%2f..%2fCargo.toml", "rfb.js/"] {
        assert_eq!(browser.evaluate(&fetched(name)), "404 no-store", "{name}");
    }

    plant.stop();
    let evidence = plant.evidence();
    evidence.both_say(0);
    let played = run(&mut evidence.holdpoint(&["play", &running, "--key", "key"]), b"").ok().out();
    let opened_to = format!(" opened to 127.0.0.1:{port}");
    for line in ["connection (browser) from 127.0.0.1:", &opened_to, "passed   opened the screen, 640 by 480"] {
        assert!(played.contains(line), "{line}: {played}");
    }
    let recorded = evidence.recordings();
    let opened = |note: &&&Note| matches!(note, Note::ChannelOpen { kind, to: Some(_), from: Some(_) } if kind.to_string() == "browser");
    assert_eq!(recorded.iter().flat_map(|one| one.notes()).filter(|note| opened(&note)).count(), 2);
}

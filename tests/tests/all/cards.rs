//! The cards beside a request's own: more time, more actions, taking back, letting back in after a cut, and emergencies; each
//! answered in a real browser with a passkey, and seen to act on what runs.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use policies::actions::Action;
use policies::ids::RequestId;
use policies::time::Seconds;
use tests::browser::Browser;
use tests::peers::free_port;
use tests::process::{Running, start_on_a_terminal};
use tests::{Echo, Options, Plant, eventually, holdpoint, json, log_in, run, text};

/// A link with the technician's name leads to the card.
const CARD: &str = "tess";
/// Function 6: 55 into the holding register at 100.
const WRITE: [u8; 12] = [0, 7, 0, 0, 0, 6, 1, 6, 0, 100, 0, 55];

/// Signed in with a passkey, at a plant that runs.
pub(crate) fn control_room(plant: &Plant) -> Option<Browser> {
    let mut browser = Browser::new(plant)?;
    browser.has_a_passkey();
    browser.enrols("kim", &plant.codes["kim"]);
    browser.signs_in();
    Some(browser)
}

/// Beside the panel a controller, of which `tess` may read for an hour; at the panel they may work for a quarter of one.
fn with_two_grants(echo: &Echo) -> (Plant, RequestId) {
    let more = format!(
        "[targets.plc-7]\nzone = \"packaging\"\n[targets.plc-7.services.modbus]\nprotocol = \"modbus\"\n\
         address = \"127.0.0.1:{}\"\n[[rules]]\nid = \"acme-plc\"\nvendors = [\"acme\"]\nroles = [\"maintenance\"]\n\
         targets = [\"plc-7\"]\nactions = [\"observe\", \"operate\"]\nduration_max = \"4h\"\nidle = \"4h\"\n\
         approvals = [{{ from = \"shift-lead\", count = 1 }}]\nwork_order = \"optional\"\n",
        echo.port
    );
    let mut plant = Plant::enrolled(Options { later: vec!["kim"], more, ..Options::default() });
    plant.grant("tess", "hmi-2", &[Action::Shell], Seconds(900));
    let controller = plant.grant("tess", "plc-7", &[Action::Observe], Seconds(3_600));
    plant.log_in("tess");
    plant.serve();
    (plant, controller)
}

fn at_work(plant: &Plant) -> Running {
    let mut shell = start_on_a_terminal(&plant.tess().ssh(&["-tt", &plant.tess().at("hmi-2")]));
    shell.type_in("echo I am $((40 + 2))\r");
    shell.until("I am 42");
    shell
}

/// An engineering tool that is connected to the controller through `ssh -L`.
fn tool(plant: &Plant, echo: &Echo) -> (Running, TcpStream) {
    let port = free_port();
    let leads = format!("127.0.0.1:{port}:plc-7:{}", echo.port);
    let ssh = start_on_a_terminal(&plant.tess().ssh(&["-N", "-L", &leads, &plant.tess().at("")]));
    eventually("ssh listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let tool = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    tool.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
    (ssh, tool)
}

fn asks_in_the_lobby(plant: &Plant, words: &[&str]) {
    let lobby = plant.tess().at("");
    run(&mut plant.tess().ssh(&[&[&*lobby], words].concat()), b"").ok();
}

/// Signs what is on the page, and waits until it says so.
pub(crate) fn signs(browser: &mut Browser, so: &str) {
    browser.click("Sign with your passkey");
    browser.says(so);
}

fn more_time(plant: &Plant, browser: &mut Browser, shell: &mut Running) {
    let asks = || asks_in_the_lobby(plant, &["extend", "30m", "--at", "hmi-2", "the pump <b>still</b> trips"]);
    asks();
    browser.says("30m more, until");
    browser.click(CARD);
    for words in
        ["the pump <b>still</b> trips", "The grant that it is for", "a shell can do whatever", "at work since", "ends "]
    {
        browser.says(words);
    }
    browser.says("tess may begin at plc-7");
    browser.look("extension");
    browser.click("Approve…");
    browser.says("30m more, until");
    browser.look("extension-sign");
    signs(browser, "This is answered");
    browser.says("kim said yes");
    shell.until("The session now lasts until");

    asks();
    browser.open("/");
    browser.says("30m more, until");
    browser.click(CARD);
    browser.fill("#no", "the shift ends then");
    browser.click("Refuse…");
    browser.says("You sign: no");
    signs(browser, "kim said no");
    browser.look("extension-refused");
    shell.until("kim said no to this: 30m more");
    shell.until("the shift ends then");
}

fn more_actions(plant: &Plant, browser: &mut Browser, tool: &mut TcpStream) {
    let mut asks =
        |answer: &mut [u8]| tool.write_all(&WRITE).and_then(|()| tool.read_exact(answer)).expect("an answer");
    let mut refused = [0; 9];
    asks(&mut refused);
    assert_eq!(refused[7], 0x86, "a write is answered by an exception: {refused:?}");
    asks_in_the_lobby(plant, &["widen", "operate", "--for", "10m", "--at", "plc-7", "a valve sticks"]);
    browser.open("/");
    browser.says("for 10m also: write values and commands");
    browser.click(CARD);
    for words in ["a valve sticks", "observe: read values", "tess is at work at hmi-2"] {
        browser.says(words);
    }
    browser.look("step-up");
    browser.click("Approve…");
    browser.says("also: write values and commands");
    signs(browser, "This is answered");
    let mut written = [0; 12];
    asks(&mut written);
    assert_eq!(written, WRITE, "it passes");
}

fn taken_back(plant: &Plant, browser: &mut Browser, grant: RequestId, tool: &mut TcpStream) {
    browser.open(&format!("/requests/{grant}"));
    browser.says("The session under it ends at once.");
    browser.fill("#why", "the valve is replaced instead");
    browser.look("revoke");
    browser.click("Take it back");
    browser.says("taken back by kim: the valve is replaced instead");
    browser.until("!document.body.innerText.includes('at work since')");
    browser.look("revoked");
    let ended = tool.read(&mut [0]);
    let is_reset = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset;
    assert!(ended.as_ref().map_or_else(is_reset, |read| *read == 0), "its connection ends: {ended:?}");
    log_in(plant, "tess");
    let own = holdpoint(plant, "tess", &["requests", "--all"]).ok().out();
    assert!(own.contains("kim took it back: the valve is replaced instead"), "{own}");
    browser.open("/");
    browser.says("At work: 1");
}

fn cut_and_let_back_in(plant: &Plant, browser: &mut Browser, mut shell: Running) {
    browser.open("/cut?scope=vendor&of=acme");
    browser.says("This ends at once");
    browser.press("Cut now");
    browser.says("One session is ended");
    shell.until("cut");
    shell.ends();
    let out = ["-o", "KbdInteractiveAuthentication=no", &plant.tess().at("hmi-2"), "true"];
    run(&mut plant.tess().ssh(&out), b"").says_no("cut by an operator");
    let cuts = holdpoint(plant, "lee", &["cuts"]).ok().out();
    assert!(cuts.contains("vendor acme") && cuts.contains("kim"), "{cuts}");
    browser.click("The cut");
    for words in ["Cut: vendor acme", "by kim at", "tess at hmi-2, until"] {
        browser.says(words);
    }
    browser.look("reopening");
    browser.fill("#why", "the vendor was called, and it was not them");
    browser.click("Let back in…");
    browser.says("let back in: vendor acme");
    browser.says("cut by kim at");
    browser.look("reopening-sign");
    signs(browser, "At work: 0");
    let mut shell = at_work(plant);
    browser.says("At work: 1");
    shell.type_in("exit\r");
    shell.ends();
}

#[test]
fn what_is_asked_of_a_grant_and_what_ends_it_is_answered_on_cards_and_acts_on_what_runs() {
    let echo = Echo::listen();
    let (mut plant, controller) = with_two_grants(&echo);
    let Some(mut browser) = control_room(&plant) else { return };
    let mut shell = at_work(&plant);
    more_time(&plant, &mut browser, &mut shell);
    let (_ssh, mut tool) = tool(&plant, &echo);
    more_actions(&plant, &mut browser, &mut tool);
    taken_back(&plant, &mut browser, controller, &mut tool);
    log_in(&plant, "lee");
    cut_and_let_back_in(&plant, &mut browser, shell);
    drop(browser);
    plant.stop();
    plant.evidence().both_say(0);
}

fn asks_in_an_emergency(plant: &Plant, why: &str) -> String {
    let ask = ["request", "hmi-2", "--actions", "shell", "--for", "30m", "--reason", why, "--emergency"];
    text(&json(plant, "tess", &ask)["request"])
}

#[test]
fn an_emergency_is_loud_on_board_and_card_until_somebody_else_signs_that_they_looked_back() {
    let rule = "idle = \"4h\"\nemergency = true".to_owned();
    let mut plant = Plant::enrolled(Options { later: vec!["kim"], rule, ..Options::default() });
    plant.log_in("tess");
    plant.serve();
    let Some(mut browser) = control_room(&plant) else { return };
    log_in(&plant, "tess");
    log_in(&plant, "lee");
    let mine = asks_in_an_emergency(&plant, "the line burns");
    browser.says("emergency");
    browser.look("emergency-board");
    browser.click(CARD);
    browser.says("Emergency: tess");
    browser.says("one yes suffices");
    browser.look("emergency-card");
    browser.click("Approve…");
    browser.says("EMERGENCY: tess of acme at hmi-2");
    browser.look("emergency-sign");
    signs(&mut browser, "Look back");
    let mut shell = at_work(&plant);
    browser.click("Board");
    browser.says("At work: 1");
    browser.says("waits for somebody to look back at it");
    browser
        .until("[...document.querySelectorAll('.card.live .state')].some((mark) => mark.textContent === 'emergency')");
    browser.look("emergency-live");
    shell.type_in("exit\r");
    shell.ends();

    // Whoever gave it does not look back at it.
    browser.click("To look back at: 1");
    browser.says("emergency grant: shell for 30m");
    browser.says("given by kim");
    browser.look("emergency-reviews");
    browser.click(CARD);
    browser.says("the technician left");
    browser.look("emergency-look-back");
    // What is signed is what was looked at: a form that was about something else makes no look back.
    let answered = "document.querySelectorAll('[name=about]').forEach((about) => about.remove())";
    browser.evaluate(answered);
    browser.click("I have looked back at this emergency…");
    browser.says("somebody else answered it meanwhile: look at the card again");
    browser.open(&format!("/requests/{mine}"));
    browser.click("I have looked back at this emergency…");
    browser.says("looked back at");
    signs(&mut browser, "nobody looks back at what they gave");
    holdpoint(&plant, "lee", &["approve", &mine, "--yes"]).ok();

    // Somebody else's, to which this one objects.
    let theirs = asks_in_an_emergency(&plant, "the line burns again");
    holdpoint(&plant, "lee", &["approve", &theirs, "--yes"]).ok();
    browser.open("/reviews");
    browser.says("lee looked back at");
    browser.click("at hmi-2");
    browser.says("the line burns again");
    browser.fill("#no", "nobody <b>asked</b> the shift");
    browser.click("I have looked back, and object…");
    browser.says("You sign: no");
    browser.says("it should not have been given");
    browser.look("emergency-object");
    signs(&mut browser, "and objects: nobody <b>asked</b> the shift");
    browser.look("emergency-objected");
    browser.open("/reviews");
    browser.says("Nothing waits");
    browser.says("and objects: nobody <b>asked</b> the shift");
    browser.look("emergency-reviewed");
    browser.click("Board");
    browser.until("!document.body.innerText.includes('waits for somebody to look back at it')");
    drop(browser);
    plant.stop();
    plant.evidence().both_say(0);
}

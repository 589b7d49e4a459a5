//! The plant face's pages in a real browser with a passkey: an operator enrols, signs in, answers, watches the board and
//! cuts; what was signed there is evidence like any other.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use policies::actions::Action;
use policies::time::Seconds;
use recordings::notes::Note;
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::peers::free_port;
use tests::process::{Running, start_on_a_terminal};
use tests::{Echo, Options, Plant, eventually, holdpoint, json, log_in, run, text};

const CARD: &str = "tess";
const ORIGIN: &str = "https://holdpoint.mill3.example:9443";

/// A plant whose operator `kim` has only a code yet, and a browser before it.
fn at_the_door() -> Option<(Plant, Browser, String)> {
    let mut plant = Plant::enrolled(Options { later: vec!["kim"], ..Options::default() });
    plant.serve();
    let mut browser = Browser::new(&plant)?;
    let passkey = browser.has_a_passkey();
    Some((plant, browser, passkey))
}

/// Signed in, with nothing going on.
fn in_the_control_room() -> Option<(Plant, Browser, String)> {
    let (plant, mut browser, passkey) = at_the_door()?;
    browser.enrols("kim", &plant.codes["kim"]);
    browser.signs_in();
    Some((plant, browser, passkey))
}

fn asks(plant: &Plant, reason: &str) -> String {
    let asked = ["request", "hmi-2", "--actions", "shell,file-get", "--for", "1h", "--reason", reason];
    text(&json(plant, "tess", &asked)["request"])
}

/// A shell at the machine that says it is there.
fn at_work(plant: &Plant) -> Running {
    let at = plant.tess().at("hmi-2");
    let mut shell = start_on_a_terminal(&plant.tess().ssh(&["-tt", &at]));
    shell.type_in("echo I am $((40 + 2))\r");
    shell.until("I am 42");
    shell
}

/// Half an hour, and no files.
fn less_than_was_asked(browser: &mut Browser) {
    browser.fill("#minutes", "30");
    browser.evaluate("document.querySelector('input[value=file-get]').checked = false");
    browser.click("Approve…");
    browser.says("You sign: yes");
    browser.says("without file-get");
    browser.says("for 30m from the first connection");
}

#[test]
fn an_operator_with_a_browser_and_a_passkey_does_the_whole_job() {
    let Some((mut plant, mut browser, passkey)) = in_the_control_room() else { return };
    log_in(&plant, "tess");
    browser.says("Nobody waits");

    // What is asked appears by itself, and is text whatever it is.
    let request = asks(&plant, "<script>document.title = 'owned'</script> \u{202e}pmup");
    browser.says("Waiting for an answer: 1");
    browser.says("<script>document.title");
    browser.look("board");
    browser.click(CARD);
    browser.says("What may be done then");
    browser.says("This vendor has not been at this target before");
    assert!(!browser.evaluate("document.title").as_str().unwrap().contains("owned"));
    browser.look("card");

    less_than_was_asked(&mut browser);
    browser.look("sign");
    browser.knows_its_holder(&passkey, false);
    browser.click("Sign with your passkey");
    browser.says("The passkey gave no answer");
    browser.knows_its_holder(&passkey, true);
    // A statement that was changed after it was shown is not what the passkey signs.
    let field = "document.querySelector('input[name=statement]')";
    browser.evaluate(&format!("{field}.value = {field}.value.replace('\"nonce\":\"', '\"nonce\":\"00')"));
    browser.click("Sign with your passkey");
    browser.says("this answers another question");
    browser.open(&format!("/requests/{request}"));
    browser.says("What may be done then");
    less_than_was_asked(&mut browser);
    browser.click("Sign with your passkey");
    browser.says("granted");
    browser.says("30m instead of 1h");
    let own = json(&plant, "tess", &["requests"]);
    assert!(own.to_string().contains("without file-get"), "{own}");

    // At work, on the board; cut by a button that has to be held.
    let mut shell = at_work(&plant);
    browser.click("Board");
    browser.says("At work: 1");
    browser.look("board-live");
    browser.click("hmi-2 / ssh");
    browser.says("Pause: freeze input");
    browser.look("session");
    browser.click("Watch");
    browser.says("I am 42");
    shell.type_in("printf '\\033[7m<b>%s</b>\\033[0m\\n' $((41 + 2))\r");
    browser.says("<b>43</b>");
    browser.look("watch");
    browser.click("Watch no longer");
    browser.click("Pause: freeze input");
    browser.says("Resume: let input go on");
    shell.until("Your input is stopped by an operator");
    browser.click("Board");
    browser.says("paused");
    browser.click("Resume");
    shell.until("Your input goes on");
    browser.says("At work: 1");
    browser.click("hmi-2 / ssh");
    browser.fill("#text", "mind the <b>crane</b>");
    browser.click("Send");
    browser.says("Shown on the technician's terminal");
    browser.look("told");
    shell.until("[holdpoint] kim writes: mind the <b>crane</b>");
    browser.click("To the session");
    browser.says("mind the <b>crane</b>");
    browser.click("This session…");
    browser.says("This ends at once");
    browser.look("before-cut");
    browser.click("Cut now");
    browser.says("This ends at once");
    shell.type_in("echo still $((40 + 2))\r");
    shell.until("still 42");
    browser.press("Cut now");
    browser.says("One session is ended");
    browser.look("cut-made");
    shell.until("cut");
    shell.ends();

    // Let back in, with a reason and a signature.
    browser.click("The cut");
    browser.fill("#why", "it was a drill");
    browser.click("Let back in…");
    browser.says("let back in: session");
    browser.click("Sign with your passkey");
    browser.says("At work: 0");
    let card = holdpoint(&plant, "tess", &["requests"]).ok().out();
    assert!(card.contains(&request), "{card}");

    // Chromium would have RS256 offered, too; and the changed statement was refused.
    let expected =
        |said: &Value| ["pubKeyCredParams", "403 (Forbidden)"].iter().any(|known| text(said).contains(known));
    let complaints = browser.complaints();
    assert!(complaints.as_array().unwrap().iter().all(expected), "{complaints}");
    drop(browser);
    plant.stop();
    let evidence = plant.evidence();
    let said = evidence.both_say(0);
    assert!(said.contains("WHOLE"), "{said}");
}

#[test]
fn what_is_refused_on_a_page_says_why_and_what_to_do() {
    let Some((mut plant, mut browser, _)) = at_the_door() else { return };
    browser.open("/");
    browser.says("Sign in with your passkey");
    browser.click("Sign in with your passkey");
    browser.says("The passkey gave no answer");
    browser.open("/enrol");
    browser.says("The code that you were given");
    browser.fill("#code", "nonsense");
    browser.click("Go on");
    browser.says("this enrolment code has 8 signs");
    browser.enrols("kim", &plant.codes["kim"]);
    browser.open("/enrol");
    browser.says("The code that you were given");
    browser.fill("#code", &plant.codes["kim"].clone());
    browser.click("Go on");
    browser.says("used");
    browser.signs_in();
    browser.open("/requests/r_01jd0c4000000000000000000");
    browser.says("there is no");

    // Who is put out is out at once, wherever they look.
    log_in(&plant, "ada");
    browser.open("/");
    browser.says("Nobody waits");
    let people = json(&plant, "ada", &["people"]);
    assert!(people.to_string().contains("sk-ecdsa-sha2-nistp256@openssh.com"), "{people}");
    holdpoint(&plant, "ada", &["disable", "kim"]).ok();
    browser.says("Sign in with your passkey");
    browser.click("Sign in with your passkey");
    browser.says("Not signed in");
    plant.stop();
}

/// An escort who signed out, or whose sign-in was taken elsewhere, is none.
#[test]
fn watching_ends_with_the_sign_in() {
    let mut plant = Plant::enrolled(Options { later: vec!["kim"], ..Options::default() });
    plant.grant("tess", "hmi-2", &[Action::Shell], Seconds(3_600));
    plant.log_in("tess");
    plant.serve();
    let Some(mut browser) = Browser::new(&plant) else { return };
    browser.has_a_passkey();
    browser.enrols("kim", &plant.codes["kim"]);
    browser.signs_in();
    let _shell = at_work(&plant);
    browser.says("At work: 1");
    browser.click("hmi-2 / ssh");
    browser.click("Watch");
    browser.says("I am 42");
    log_in(&plant, "lee");
    let watchers = || json(&plant, "lee", &["sessions"])["sessions"][0]["watchers"].as_array().unwrap().len();
    assert_eq!(watchers(), 1);
    let out = "fetch('/sign-out', { method: 'POST', redirect: 'manual', body: new URLSearchParams({ csrf: document.querySelector('input[name=csrf]').value }) }).then(() => true)";
    assert_eq!(browser.evaluate(out), json!(true));
    browser.says("you are signed out");
    eventually("nobody watches", || watchers() == 0);
}

/// On one page the whole of it: nobody there, there, paused and resumed, a line, soon over, over, and there again; and of
/// the recording when input waited.
#[test]
fn an_escort_taps_on_the_page_and_input_waits_when_they_do_not() {
    let rule = "escort = \"required\"\nescort_tap = \"30s\"\nidle = \"4h\"".to_owned();
    let mut plant = Plant::enrolled(Options { later: vec!["kim"], rule, ..Options::default() });
    plant.grant("tess", "hmi-2", &[Action::Shell], Seconds(3_600));
    plant.serve();
    let Some(mut browser) = Browser::new(&plant) else { return };
    browser.has_a_passkey();
    browser.enrols("kim", &plant.codes["kim"]);
    browser.signs_in();
    let at = plant.tess().at("hmi-2");
    let mut shell = start_on_a_terminal(&plant.tess().ssh(&["-tt", &at]));
    shell.until("here an operator must watch, and nobody does");
    browser.says("waits for an escort");
    browser.look("board-waits");
    browser.click("hmi-2 / ssh");
    browser.says("nobody is there; demanded, with a word every 30s");
    browser.look("session-waits");
    browser.click("Watch and escort");
    browser.says("You have not said yet that you are there");
    browser.says("Input waits: nobody who watches");
    browser.says("input stopped: Your input waits");
    shell.type_in("touch unseen\r");
    browser.look("escort-not-yet");
    browser.click("I am there");
    browser.says("You count as there for 0:");
    browser.says("There now: kim");
    shell.until("An operator watches. Your input goes on.");
    shell.type_in("echo heard $((40 + 2))\r");
    browser.says("heard 42");
    browser.look("escort");

    // Nothing on the page leads away from it, which would end that one watches.
    browser.click("Pause: freeze input");
    browser.says("Paused: an operator froze");
    shell.until("Your input is stopped by an operator");
    browser.click("Resume: let input go on");
    shell.until("Your input goes on.");
    browser.fill("#text", "the crane moves");
    browser.click("Send");
    browser.says("Shown on the technician's terminal");
    shell.until("[holdpoint] kim writes: the crane moves");
    browser.click("I am there");

    browser.until("document.getElementById('tap').classList.contains('urgent') && document.getElementById('mine').textContent.includes('0:0')");
    browser.look("escort-soon");
    browser.says("You count as there no longer");
    browser.says("Input waits: nobody who watches");
    browser.look("escort-over");
    shell.until("What you type now is thrown away");
    let lapsed = |shell: &Running| shell.said().matches("here an operator must watch, and nobody does").count();
    assert_eq!(lapsed(&shell), 2);
    shell.type_in("touch unseen\r");
    log_in(&plant, "lee");
    let session = text(&json(&plant, "lee", &["sessions"])["sessions"][0]["session"]);
    browser.click("I am there");
    browser.says("You count as there for 0:");
    shell.type_in("ls unseen; echo after $((40 + 2))\r");
    shell.until("after 42");
    assert!(shell.said().contains("No such file"), "{}", shell.said());

    // An escort is handed over: the second says so, the first leaves, and input never waits.
    let mut second = start_on_a_terminal(&plant.as_person("lee", &["watch", &session]));
    second.until("SPACE says that you are there. There: kim.");
    second.type_in(" ");
    browser.says("lee");
    browser.click("Watch no longer");
    browser.says("lee; demanded, with a word every 30s");
    shell.type_in("echo handed $((40 + 2))\r");
    shell.until("handed 42");
    assert_eq!(lapsed(&shell), 2, "input never waited in between");
    second.until("LEFT: press SPACE.");
    second.until("YOU COUNT NO LONGER: press SPACE. Nobody is there");
    eventually("it is told a third time", || lapsed(&shell) == 3);
    drop(second);
    shell.signal(Signal::KILL);
    drop(shell);
    drop(browser);
    plant.stop();
    let evidence = plant.evidence();
    evidence.both_say(0);
    let [opened] = &evidence.recordings()[..] else { panic!("one session") };
    let froze = |note: &Note| match note {
        Note::Freeze { frozen, reason } => Some((*frozen, reason.to_string())),
        _ => None,
    };
    let waited =
        (true, "Your input waits: here an operator must watch, and nobody does. What you type now is thrown away.");
    let went_on = (false, "An operator watches. Your input goes on.");
    let paused = (true, "Your input is stopped by an operator. What you type now is thrown away.");
    let resumed = (false, "Your input goes on.");
    let expected = [waited, went_on, paused, resumed, waited, went_on, waited];
    let expected: Vec<_> = expected.map(|(frozen, reason)| (frozen, reason.to_owned())).into();
    assert_eq!(opened.notes().into_iter().filter_map(froze).collect::<Vec<_>>(), expected);
    let is_told = |note: &Note| matches!(note, Note::Notice { text } if text == "kim writes: the crane moves");
    assert!(opened.notes().into_iter().any(is_told));
}

#[test]
fn what_is_done_at_a_controller_passes_by_on_the_page() {
    let echo = Echo::listen();
    let more = format!(
        "[targets.plc-7]\nzone = \"packaging\"\n[targets.plc-7.services.modbus]\nprotocol = \"modbus\"\n\
         address = \"127.0.0.1:{}\"\n[[rules]]\nid = \"acme-plc\"\nvendors = [\"acme\"]\nroles = [\"maintenance\"]\n\
         targets = [\"plc-7\"]\nactions = [\"observe\", \"operate\"]\nduration_max = \"4h\"\nidle = \"4h\"\n\
         approvals = [{{ from = \"shift-lead\", count = 1 }}]\nwork_order = \"optional\"\n",
        echo.port
    );
    let mut plant = Plant::enrolled(Options { later: vec!["kim"], more, ..Options::default() });
    plant.grant("tess", "plc-7", &[Action::Observe, Action::Operate], Seconds(3_600));
    plant.serve();
    let Some(mut browser) = Browser::new(&plant) else { return };
    browser.has_a_passkey();
    browser.enrols("kim", &plant.codes["kim"]);
    browser.signs_in();
    let port = free_port();
    let leads = format!("127.0.0.1:{port}:plc-7:{}", echo.port);
    let at = plant.tess().at("");
    let _ssh = start_on_a_terminal(&plant.tess().ssh(&["-N", "-L", &leads, &at]));
    eventually("ssh listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut tool = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let write = [0, 7, 0, 0, 0, 6, 1, 6, 0, 100, 0, 55];
    tool.write_all(&write).and_then(|()| tool.read_exact(&mut [0; 12])).expect("an answer");
    browser.says("plc-7 / modbus");
    browser.click("plc-7 / modbus");
    browser.click("Watch");
    browser.says("wrote 55 to holding register 40101");
    assert_eq!(browser.evaluate("document.getElementById('screen').hidden"), json!(true), "there is no terminal");
    // Function 8, a restart, is no operating.
    tool.write_all(&[0, 8, 0, 0, 0, 6, 1, 8, 0, 1, 0, 0]).and_then(|()| tool.read_exact(&mut [0; 9])).expect("a no");
    browser.until("document.querySelector('#happened .refused')?.textContent.includes('refused')");
    browser.look("operations");
}

/// Another administrator, who has a passkey, signed in.
fn in_the_office() -> Option<(Plant, Browser)> {
    let mut plant = Plant::enrolled(Options::default());
    plant.serve();
    let mut browser = Browser::new(&plant)?;
    browser.has_a_passkey();
    log_in(&plant, "ada");
    log_in(&plant, "lee");
    let code = text(&json(&plant, "ada", &["invite", "ann", "--administrator"])["code"]);
    // The code came as a link.
    browser.open(&format!("/enrol#{code}"));
    browser.says("The code that you were given");
    browser.until("location.hash === ''");
    browser.click("Go on");
    browser.click("Make the passkey");
    browser.says("does not count yet");
    for voucher in ["ada", "lee"] {
        holdpoint(&plant, voucher, &["certify", "ann", "--yes"]).ok();
    }
    browser.signs_in();
    Some((plant, browser))
}

#[test]
fn an_administrator_invites_vouches_writes_contracts_down_and_puts_out_on_pages() {
    let Some((mut plant, mut browser)) = in_the_office() else { return };
    browser.click("People");
    browser.says("Last seen");
    browser.look("people");
    let row =
        |words: &str| format!("[...document.querySelectorAll('tr')].some((row) => row.innerText.includes({words:?}))");

    // A contract, whose last day is in it.
    browser.fill("#of", "beta");
    browser.fill("#until", "2031-12-31");
    browser.click("Write the contract down");
    browser.until(&row("beta\t2032-01-01 00:00"));
    let vendors = json(&plant, "ada", &["people"])["vendors"].to_string();
    assert!(vendors.contains(r#""beta""#), "{vendors}");

    // What cannot be is said, and nothing is half done.
    browser.fill("#name", "nina");
    browser.fill("#groups", "shift-lead");
    browser.click("Invite");
    browser.says("the vendor of a technician is a word of small letters");
    browser.click("People");
    browser.says("Last seen");
    browser.fill("#name", "nina");
    browser.fill("#groups", "shift-lead");
    browser.evaluate("document.getElementById('kind').value = 'operator'");
    browser.click("Invite");
    browser.says("A code for nina");
    browser.look("invited");
    let code = text(&browser.evaluate("document.getElementById('code').innerText.trim()"));
    let nina = plant.newcomer("nina");
    let own = plant.faces.plant[0].to_string();
    let mut enrol = nina.tool(tests::plant::program());
    enrol.args(["enrol", "--gate", ORIGIN, "--address", &own, "--key", "key"]);
    let told = run(&mut enrol, format!("{code}\n").as_bytes()).ok().out();
    let key = told.split_whitespace().find(|word| word.starts_with("SHA256:")).map(str::to_owned);

    // Both vouch: one with a passkey, one with a key in a file; what is signed names key and groups.
    browser.click("People");
    browser.says("Not vouched for yet: 1");
    browser.click("nina");
    browser.says("does not count yet");
    browser.look("person");
    browser.click("Vouch for key and groups…");
    browser.says("the keys and groups of nina shall count");
    browser.says("operator: shift-lead");
    if let Some(key) = key {
        browser.says(&key);
    }
    browser.click("Sign with your passkey");
    browser.says("Vouched for by");
    holdpoint(&plant, "lee", &["certify", "nina", "--yes"]).ok();
    browser.click("People");
    browser.until(&row("nina\toperator: shift-lead\tactive"));

    // Out, in one act.
    browser.click("nina");
    browser.says("Another name");
    browser.click("Put out…");
    browser.click("Put nina out");
    browser.says("disabled");
    let people = json(&plant, "ada", &["people"])["people"].to_string();
    assert!(people.contains("\"disabled\""), "{people}");
    drop(browser);
    plant.stop();
    let said = plant.evidence().both_say(0);
    assert!(said.contains("WHOLE"), "{said}");
}

#[test]
fn a_plant_file_is_put_up_and_signed_on_pages() {
    let Some((mut plant, mut browser)) = in_the_office() else { return };
    let file = std::fs::read_to_string(plant.installation().join("plant.toml")).expect("a plant file");
    let changed = file.replace("duration_max = \"4h\"", "duration_max = \"5h\"");
    assert_ne!(file, changed);
    browser.click("Plant files");
    browser.says("Put one up");
    browser.look("plant-files");
    browser.fill("#text", &changed.replace("duration_max", "duration_mux"));
    browser.click("Check it and put it up");
    browser.says("duration_mux");
    browser.click("To the board");
    browser.click("Plant files");
    browser.says("Put one up");
    browser.fill("#text", &changed);
    browser.click("Check it and put it up");
    browser.says("What it changes");
    browser.says("duration_max");
    browser.look("plant-file");
    browser.click("Sign it…");
    browser.says("this plant file shall be in force");
    browser.says("5h");
    browser.click("Sign with your passkey");
    browser.says("Signed by");
    // The same file, to the byte, from a terminal.
    let path = plant.person("lee").path("plant.toml");
    std::fs::write(&path, &changed).expect("a file");
    let told = holdpoint(&plant, "lee", &["adopt", path.to_str().expect("a path"), "--yes"]).ok().out();
    assert!(told.contains("in force"), "{told}");
    browser.click("Plant files");
    browser.says("In force");
    drop(browser);
    plant.stop();
    let said = plant.evidence().both_say(0);
    assert!(said.contains("WHOLE"), "{said}");
}

/// The gate is started again where it was: browsers come back by themselves.
fn starts_again(plant: &mut Plant) {
    let own = plant.faces.plant[0];
    plant.edit_config(|text| {
        let at = text.rfind("127.0.0.1:0").expect("the plant face's");
        format!("{}{own}{}", &text[..at], &text[at + "127.0.0.1:0".len()..])
    });
    plant.stop();
    plant.serve();
}

#[test]
fn a_display_shows_the_board_with_nobody_signed_in_and_can_cut_and_nothing_else() {
    let mut plant = Plant::enrolled(Options::default());
    plant.grant("tess", "hmi-2", &[Action::Shell], Seconds(3_600));
    plant.log_in("tess");
    plant.serve();
    let Some(mut browser) = Browser::new(&plant) else { return };
    log_in(&plant, "ada");
    log_in(&plant, "tess");
    let code = text(&json(&plant, "ada", &["invite", "wall-1", "--display"])["code"]);
    let somebodys = text(&json(&plant, "ada", &["invite", "newcomer", "--auditor"])["code"]);

    // Its code enrols no person and no program, and a person's code no display.
    let mut enrol = plant.newcomer("wall-1").tool(tests::plant::program());
    let own = plant.faces.plant[0].to_string();
    enrol.args(["enrol", "--gate", ORIGIN, "--address", &own, "--key", "key"]);
    let told = run(&mut enrol, format!("{code}\n").as_bytes());
    assert!(told.err().contains("/display in the browser of its screen"), "{}", told.err());
    browser.open("/display");
    browser.says("Enrol this display");
    browser.look("display-enrol");
    browser.fill("#code", &somebodys);
    browser.click("Enrol this display");
    browser.says("this code is not for a display");
    browser.fill("#code", &code);
    browser.click("Enrol this display");
    browser.says("Display wall-1");
    browser.says("Nobody waits");

    // It sees, and what it is not for is not offered, nor done when it is asked.
    let _shell = at_work(&plant);
    browser.says("At work: 1");
    browser.look("display");
    let request = asks(&plant, "the pump is stuck");
    browser.says("the pump is stuck");
    browser.click(CARD);
    browser.says("What may be done then");
    assert_eq!(browser.evaluate("document.querySelectorAll('main form').length"), json!(0));
    browser.click("Board");
    browser.click("hmi-2 / ssh");
    browser.says("This session");
    let session = text(&browser.evaluate("location.pathname"));
    browser.click("This session…");
    browser.says("This ends at once");
    for page in [format!("{session}/freeze"), format!("{session}/watch"), format!("/requests/{request}/revoke")] {
        let body = "new URLSearchParams({ reason: 'why', csrf: document.querySelector('input[name=csrf]').value })";
        let code = format!(
            "fetch('{page}', {{ method: 'POST', redirect: 'manual', body: {body} }}).then((answer) => answer.text())"
        );
        let said = text(&browser.evaluate(&code));
        assert!(said.contains("operators") || said.contains("Watch"), "{page}: {said}");
    }
    let screen = format!("fetch('{session}/screen').then((answer) => answer.status)");
    assert_eq!(browser.evaluate(&screen), json!(403), "what a technician types is not for everybody who passes by");

    // It signs in again by itself when the gate was started again.
    browser.open("/");
    browser.says("At work: 1");
    browser.trusts();
    starts_again(&mut plant);
    browser.says("At work: 0");
    browser.says("Display wall-1");

    // Anybody who stands before it cuts; by whom, is the display.
    let mut shell = at_work(&plant);
    browser.says("At work: 1");
    browser.click("Cut everything…");
    browser.says("Cut: the whole plant");
    browser.press("Cut now");
    browser.says("One session is ended");
    shell.until("cut");
    browser.click("The cut");
    browser.says("the whole plant");
    assert_eq!(browser.evaluate("document.querySelectorAll('main form').length"), json!(0));
    browser.click("Board");
    browser.says("an operator cut it");

    // That a cut stands is an alarm, and sounds until somebody says that they saw it; then it stands, and is still.
    browser.says("Alarms: 1");
    browser.until("Number(document.documentElement.dataset.rings) > 0");
    browser.look("alarm");
    browser.click("Seen: stop the sound");
    browser.says("seen by wall-1");
    browser.until("document.querySelector('[data-sounding]') === null");
    let status = json(&plant, "ada", &["status"]);
    assert_eq!(
        (status["alarms"][0]["alarm"].as_str(), status["alarms"][0]["seen_at"].is_string()),
        (Some("cut"), true)
    );

    // Out in one act.
    holdpoint(&plant, "ada", &["disable", "wall-1"]).ok();
    browser.open("/");
    browser.says("it was disabled");
    plant.stop();
    let evidence = plant.evidence();
    let said = evidence.both_say(0);
    assert!(said.contains("WHOLE"), "{said}");
}

#[test]
fn a_page_that_lost_the_gate_says_so() {
    let Some((mut plant, mut browser, _)) = in_the_control_room() else { return };
    browser.until("document.getElementById('lost').hidden");
    plant.gate().signal(Signal::STOP);
    browser.until("!document.getElementById('lost').hidden");
    browser.look("lost");
    plant.gate().signal(Signal::CONT);
    browser.until("document.getElementById('lost').hidden");
}

/// What other programs send is not taken for a page: no origin, another one, no secret, a cookie from elsewhere.
#[test]
fn nothing_but_its_own_pages_sends_a_form() {
    let Some((plant, mut browser, _)) = in_the_control_room() else { return };
    let token = browser.evaluate("document.querySelector('input[name=csrf]').value");
    let csrf = token.as_str().unwrap();
    let sent = |headers: &str, body: &str| -> Value {
        let code = format!(
            "fetch('/cut', {{ method: 'POST', headers: {headers}, body: new URLSearchParams({body:?}), redirect: 'manual' }}).then((answer) => answer.status)"
        );
        Value::String(code)
    };
    for (body, status) in [
        (format!("scope=zone&of=packaging&csrf={csrf}"), 200),
        ("scope=zone&of=packaging".to_owned(), 403),
        (format!("scope=zone&of=packaging&csrf={}", "0".repeat(64)), 403),
    ] {
        let code = sent("{}", &body);
        assert_eq!(browser.evaluate(code.as_str().unwrap()), json!(status), "{body}");
    }
    let cookie = browser.cookie();
    let status = |path: &str, more: &[&str]| asked(&plant, path, more);
    let (ours, theirs) = ("Origin: https://holdpoint.mill3.example:9443", "Origin: https://evil.example");
    assert_eq!(status("/sign-in", &["-d", "nonce=1"]), "403 ");
    assert_eq!(status("/sign-in", &["-d", "nonce=1", "-H", theirs]), "403 ");
    assert_eq!(status("/sign-in", &["-d", "nonce=1", "-H", ours, "-H", "Sec-Fetch-Site: cross-site"]), "403 ");
    assert_eq!(status("/sign-in", &["-d", "nonce=1", "-H", ours]), "401 ");
    assert_eq!(status("/", &["-b", &cookie]), "200 ");
    let watched =
        status("/sessions/s_01jd0c4000000000000000000/screen", &["-b", &cookie, "-H", "Sec-Fetch-Site: none"]);
    assert_eq!(watched, "403 ", "nobody is led to watch by a link");
    assert_eq!(
        status("/", &["-b", &cookie, "--interface", "127.0.0.9"]),
        TO_SIGN_IN,
        "a cookie that was taken elsewhere"
    );
    let long = format!("reason={}", "x".repeat(100_000));
    let too_long = status("/requests/r_1/sign", &["-b", &cookie, "-H", ours, "-d", &long]);
    assert!(
        ["413 ", "000 "].contains(&too_long.as_str()),
        "{too_long}: the gate does not read to its end what is too long"
    );
    eventually("the cut stands", || {
        let code = "fetch('/').then((page) => page.text()).then((text) => text.includes('zone packaging'))";
        browser.evaluate(code) == json!(true)
    });
}

const TO_SIGN_IN: &str = "303 https://holdpoint.mill3.example:9443/sign-in";

/// Status and address of where to go instead, asked without a browser.
fn asked(plant: &Plant, path: &str, more: &[&str]) -> String {
    let face = plant.faces.plant[0];
    let mut curl = Command::new("curl");
    curl.args(["-sk", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"]).args(more);
    curl.args(["--connect-to", &format!("holdpoint.mill3.example:9443:{}:{}", face.ip(), face.port())]);
    run(curl.arg(format!("{ORIGIN}{path}")), b"").out()
}

/// Every page but those that signing in and enrolling need, by address and by what is sent there.
#[test]
fn whoever_is_not_signed_in_sees_no_page_and_does_nothing() {
    let mut plant = Plant::enrolled(Options::default());
    plant.serve();
    let (request, session, ask) =
        ("r_01jd0c4000000000000000000", "s_01jd0c4000000000000000000", "a_01jd0c4000000000000000000");
    let shown =
        ["/".to_owned(), format!("/requests/{request}"), format!("/asks/{ask}"), format!("/sessions/{session}")];
    for page in shown.into_iter().chain(
        [
            "/cut?scope=plant",
            "/cuts/c_1",
            "/events",
            "/sessions/s_1/screen",
            "/people",
            "/people/p_1",
            "/plant-files",
            "/history",
            "/history.csv",
            "/history/requests/r_1",
            "/history/sessions/s_1",
            "/presence",
        ]
        .map(str::to_owned),
    ) {
        assert_eq!(asked(&plant, &page, &[]), TO_SIGN_IN, "{page}");
        assert_eq!(
            asked(&plant, &page, &["-b", &format!("__Host-holdpoint={}", "0".repeat(64))]),
            TO_SIGN_IN,
            "{page}"
        );
    }
    let sent = [
        "sign-out",
        "requests/r_1/sign",
        "requests/r_1/revoke",
        "asks/a_1/sign",
        "cuts/c_1/sign",
        "signed",
        "answered",
        "requests/r_1/accept",
        "cut",
        "alarms/seen",
        "people",
        "people/p_1/disable",
        "people/p_1/reinvite",
        "people/p_1/certify",
        "people/p_1/certified",
        "vendors",
        "vendors/acme/disable",
        "plant-files",
        "plant-files/0/sign",
        "plant-files/0/signed",
        "sessions/s_1/erase",
        "sessions/s_1/erased",
        "history/pack",
        "history/sessions/s_1/recording",
        "history/sessions/s_1/pack",
        "history/sessions/s_1/hold",
        "history/sessions/s_1/release",
    ];
    let acts =
        ["freeze", "thaw", "disconnect", "watch", "escort", "tell"].map(|act| format!("sessions/{session}/{act}"));
    for page in sent.map(str::to_owned).into_iter().chain(acts) {
        let form = ["-d", "csrf=", "-H", "Origin: https://holdpoint.mill3.example:9443"];
        assert_eq!(asked(&plant, &format!("/{page}"), &form), "401 ", "{page}: it is said that nothing was done");
    }
    assert_eq!(asked(&plant, "/assets/other.js", &[]), "404 ");
}

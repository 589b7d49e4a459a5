//! The plant face's pages in a real browser with a passkey: an operator enrols, signs in, answers, watches the board and
//! cuts; what was signed there is evidence like any other.

use std::process::Command;

use policies::actions::Action;
use policies::time::Seconds;
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::process::{Running, start_on_a_terminal};
use tests::{Options, Plant, eventually, holdpoint, json, log_in, run, text};

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

fn enrols(plant: &Plant, browser: &mut Browser) {
    browser.open("/enrol");
    browser.says("The code that you were given");
    browser.fill("#code", &plant.codes["kim"]);
    browser.click("Go on");
    browser.says("You enrol as kim");
    browser.look("enrol");
    browser.click("Make the passkey");
    browser.says("You are enrolled, kim");
    browser.look("enrolled");
}

fn signs_in(browser: &mut Browser) {
    browser.open("/");
    browser.says("Sign in with your passkey");
    browser.look("sign-in");
    browser.click("Sign in with your passkey");
    browser.says("Board");
}

/// Signed in, with nothing going on.
fn in_the_control_room() -> Option<(Plant, Browser, String)> {
    let (plant, mut browser, passkey) = at_the_door()?;
    enrols(&plant, &mut browser);
    signs_in(&mut browser);
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
    browser.says("Freeze input");
    browser.look("session");
    browser.click("Watch");
    browser.says("I am 42");
    shell.type_in("printf '\\033[7m<b>%s</b>\\033[0m\\n' $((41 + 2))\r");
    browser.says("<b>43</b>");
    browser.look("watch");
    browser.click("Watch no longer");
    browser.click("Freeze input");
    browser.says("Let input go on");
    browser.click("Let input go on");
    browser.says("Freeze input");
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
    enrols(&plant, &mut browser);
    browser.open("/enrol");
    browser.says("The code that you were given");
    browser.fill("#code", &plant.codes["kim"].clone());
    browser.click("Go on");
    browser.says("used");
    signs_in(&mut browser);
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
    enrols(&plant, &mut browser);
    signs_in(&mut browser);
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
    for page in
        shown.into_iter().chain(["/cut?scope=plant", "/cuts/c_1", "/events", "/sessions/s_1/screen"].map(str::to_owned))
    {
        assert_eq!(asked(&plant, &page, &[]), TO_SIGN_IN, "{page}");
        assert_eq!(
            asked(&plant, &page, &["-b", &format!("__Host-holdpoint={}", "0".repeat(64))]),
            TO_SIGN_IN,
            "{page}"
        );
    }
    let sent =
        ["sign-out", "requests/r_1/sign", "requests/r_1/revoke", "asks/a_1/sign", "cuts/c_1/sign", "signed", "cut"];
    let acts = ["freeze", "thaw", "disconnect", "watch"].map(|act| format!("sessions/{session}/{act}"));
    for page in sent.map(str::to_owned).into_iter().chain(acts) {
        let form = ["-d", "csrf=", "-H", "Origin: https://holdpoint.mill3.example:9443"];
        assert_eq!(asked(&plant, &format!("/{page}"), &form), "401 ", "{page}: it is said that nothing was done");
    }
    assert_eq!(asked(&plant, "/assets/other.js", &[]), "404 ");
}

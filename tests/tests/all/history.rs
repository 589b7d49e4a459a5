//! The past on the plant face: an auditor at a browser finds what was asked, done and refused, reads all that is known of a
//! session, holds its recording and takes it away; what they take is whole wherever it is checked.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::browser::Browser;
use tests::plant::program;
use tests::process::{Running, start_on_a_terminal};
use tests::{Options, Plant, eventually, holdpoint, json, log_in, run, start, text};

use crate::cards::control_room;

const ORIGIN: &str = "https://holdpoint.mill3.example:9443";
/// What a stranger types to be run, by the page or by a spreadsheet.
const STRANGE: &str = "<script>document.title = 'owned'</script> \u{202e}pmup";

/// A request that was denied; a session that is over, with a file; and one that runs.
struct Past {
    denied: String,
    session: String,
    shell: Running,
}

fn past(plant: &Plant) -> Past {
    let ask = |reason: &str| {
        let asked = ["request", "hmi-2", "--actions", "shell,file-put", "--for", "1h", "--reason", reason];
        text(&json(plant, "tess", &asked)["request"])
    };
    let denied = ask(STRANGE);
    holdpoint(plant, "lee", &["deny", &denied, "--reason", "not during the batch", "--yes"]).ok();
    let granted = ask("the pump trips");
    holdpoint(plant, "lee", &["approve", &granted, "--yes"]).ok();
    let tess = plant.tess();
    let at = tess.at("hmi-2");
    tess.write("recipe", b"seven");
    run(tess.tool("scp").args(["-F", "ssh_config", "recipe"]).arg(format!("{at}:recipe")), b"").ok();
    let sessions = || json(plant, "lee", &["sessions", "--all"])["sessions"].clone();
    eventually("the copy is over", || !sessions()[0]["ended"].is_null());
    let session = text(&sessions()[0]["session"]);
    let mut shell = start_on_a_terminal(&tess.ssh(&["-tt", &at]));
    shell.type_in("echo I am $((40 + 2))\r");
    shell.until("I am 42");
    Past { denied, session, shell }
}

/// A form of a page of the auditor's, sent without the browser, to a file.
fn takes(plant: &Plant, browser: &mut Browser, path: &str, fields: &[&str], to: &Path) -> String {
    let csrf = text(&browser.evaluate("document.querySelector('input[name=csrf]').value"));
    let face = plant.faces.plant[0];
    let mut curl = Command::new("curl");
    curl.args(["-sk", "-w", "%{http_code} %{content_type}", "-b", &browser.cookie()]).arg("-o").arg(to);
    curl.args(["-H", &format!("Origin: {ORIGIN}"), "--data-urlencode", &format!("csrf={csrf}")]);
    for field in fields {
        curl.args(["--data-urlencode", field]);
    }
    curl.args(["--connect-to", &format!("holdpoint.mill3.example:9443:{}:{}", face.ip(), face.port())]);
    run(curl.arg(format!("{ORIGIN}{path}")), b"").ok().out()
}

fn verified(folder: &Path, what: &str, key: &[&str]) -> String {
    let mut verify = Command::new(program());
    verify.args(["verify", what, "--trust", "trust.toml", "--no-memory"]).args(key).current_dir(folder);
    let said = run(&mut verify, b"");
    assert!(said.code() == 4 && said.out().contains("\nWHOLE AS FAR AS IT GOES"), "{}", said.text());
    said.out()
}

#[test]
fn an_auditor_goes_through_the_past_in_a_browser() {
    let mut plant = Plant::enrolled(Options::default());
    // What a kill left of a pack in the making.
    let left = plant.data().join("state/pack-left");
    std::fs::create_dir_all(left.join("pack/data")).expect("a folder");
    plant.serve();
    eventually("it is gone", || !left.exists());
    let Some(mut browser) = Browser::new(&plant) else { return };
    ["lee", "tess", "ada"].iter().for_each(|who| log_in(&plant, who));
    let Past { denied, session, mut shell } = past(&plant);
    let code = text(&json(&plant, "ada", &["invite", "rita", "--auditor"])["code"]);
    browser.has_a_passkey();
    browser.enrols("rita", &code);
    browser.signs_in();

    // The whole population, then what came to nothing; what is listed stands in the address.
    browser.click("History");
    browser.says("All that was asked, done and refused");
    let rows = "document.querySelectorAll('.dense tbody tr').length";
    assert_eq!(browser.evaluate(rows), json!(4));
    browser.look("history");
    browser.evaluate("document.getElementById('kind').value = 'nothing-given'");
    browser.evaluate("document.getElementById('vendor').value = 'acme'");
    browser.click("List");
    browser.until("location.search.includes('kind=nothing-given')");
    browser.says("denied");
    assert_eq!(browser.evaluate(rows), json!(1));
    let kept = text(&browser.evaluate("location.pathname + location.search"));
    browser.open("/history?vendor=acme&until=2026-01-01T00:00");
    browser.says("Nothing of the kind stands in the journal");
    browser.open("/history?from=rain");
    browser.says("is no time: write it as");
    browser.open(&kept);
    browser.says("denied");
    let table = "fetch(document.querySelector('a[href*=csv]').href).then((answer) => answer.text())";
    let table = text(&browser.evaluate(table));
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 2 && lines[1].contains("\"denied\"") && lines[1].contains(&denied), "{table}");

    // By the keyboard, to the denied request: as it was asked, in the order in which it came.
    browser.evaluate("document.querySelector('.dense tbody a').focus()");
    browser.evaluate("document.activeElement.click()");
    browser.says("All that the journal knows");
    browser.says("asked for shell, file-put at hmi-2 (ssh) for 1h");
    browser.says("<script>document.title");
    browser.says("said NO to the request, signed by ssh-");
    browser.says("not during the batch");
    browser.look("past-request");
    assert!(!text(&browser.evaluate("document.title")).contains("owned"));

    // Who is there now; and, when nobody is any more, who was.
    browser.open("/presence");
    browser.says("Sessions: 1");
    browser.says("still runs");
    browser.look("presence");
    let moment = text(&browser.evaluate("document.getElementById('at').value"));
    shell.type_in("exit\r");
    shell.ends();
    eventually("nobody is at work", || json(&plant, "lee", &["sessions"])["sessions"] == json!([]));
    browser.open("/presence");
    browser.says("Sessions: 0");
    browser.open(&format!("/presence?at={moment}"));
    browser.says("Sessions: 1");
    browser.says("the technician left");
    browser.says("On duty: ");
    browser.open("/presence?at=2100-01-01T00:00");
    browser.says("that moment has not come yet");

    // One session: held, and released by the one who holds it.
    browser.open(&format!("/history/sessions/{session}"));
    browser.says("began at hmi-2 (ssh) from 127.0.0.1");
    browser.says("said yes to the request, signed by ssh-");
    browser.says("over: the technician left; sealed");
    browser.says("Kept until");
    browser.fill("#reason", "claim 2026-114");
    browser.click("Hold");
    browser.says("Held by rita");
    browser.says("holds the recording: nothing erases it");
    browser.look("past-session");

    // Taken away, it is whole and tells of the taking.
    let machine = tempfile::tempdir().expect("a folder");
    let room = machine.path();
    for (from, to) in [("trust.toml", "trust.toml"), ("auditors/auditor-1.key", "key")] {
        std::fs::copy(plant.installation().join(from), room.join(to)).expect("a file");
    }
    let path = format!("/history/sessions/{session}");
    let said = takes(&plant, &mut browser, &format!("{path}/recording"), &[], &room.join("recording.tar"));
    assert_eq!(said, "200 application/x-tar");
    std::fs::create_dir(room.join("data")).expect("a folder");
    run(Command::new("tar").arg("-xf").arg(room.join("recording.tar")).arg("-C").arg(room.join("data")), b"").ok();
    let told = verified(room, "data", &["--key", "key"]);
    assert!(told.contains(" files)"), "{told}");
    let trust = format!("trust@{}", room.join("trust.toml").display());
    let said = takes(&plant, &mut browser, &format!("{path}/pack"), &[&trust], &room.join("pack.zip"));
    assert_eq!(said, "200 application/zip");
    let pack = verified(room, "pack.zip", &[]);
    assert!(pack.contains("1 session of 2"), "{pack}");
    let span = ["vendor=acme", "from=2026-01-01T00:00", "until=2100-01-01T00:00", &trust];
    assert_eq!(takes(&plant, &mut browser, "/history/pack", &span, &room.join("acme.zip")), "200 application/zip");
    verified(room, "acme.zip", &[]);
    let said = takes(&plant, &mut browser, &format!("{path}/pack"), &["trust=rain"], &room.join("none"));
    assert_eq!(said, "400 text/html; charset=utf-8");
    let left = std::fs::read_dir(plant.data().join("state")).expect("a folder").flatten();
    assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().starts_with("pack-")));
    browser.open(&path);
    browser.says("fetched the recording");
    browser.says("made an evidence pack of it");
    browser.says("made an evidence pack of all of vendor acme");
    browser.click("Release");
    browser.says("holds it no longer");
    // Chromium would have RS256 offered, too; and two addresses said what cannot be shown.
    let expected = |said: &Value| ["pubKeyCredParams", "422"].iter().any(|known| text(said).contains(known));
    let complaints = browser.complaints();
    assert!(complaints.as_array().expect("a list").iter().all(expected), "{complaints}");

    drop(browser);
    replayed(room, &session);
    plant.stop();
}

/// The page of `play --web` beside what was taken away: the ledger, and what the check says.
fn replayed(room: &Path, session: &str) {
    let mut play = Command::new(program());
    play.args(["play", session, "--key", "key", "--web"]).current_dir(room).env("XDG_STATE_HOME", room);
    let mut web = start(&mut play);
    let told = web.until("until Ctrl-C");
    let url = told.lines().find(|line| line.starts_with("http://127.0.0.1:")).expect("an address").to_owned();
    let get = |what: &str| run(Command::new("curl").args(["-s", &format!("{url}{what}")]), b"").ok().out();
    let lines = get("marks");
    let file = lines.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).expect("an object");
        line.get("file").filter(|file| file["operation"] == "put").map(|file| (line["direction"].clone(), file.clone()))
    });
    let (direction, file) = file.expect("the copy is in the ledger");
    assert_eq!((&direction, &file["bytes"], &file["allowed"]), (&json!("to-target"), &json!(5), &json!(true)));
    assert!(text(&file["path"]).ends_with("recipe") && text(&file["sha256"]).len() == 64, "{file}");
    let mut verdict = Value::Null;
    eventually("it is checked", || {
        verdict = serde_json::from_str(&get("verdict")).expect("an object");
        !verdict["verdict"].is_null()
    });
    assert_eq!((&verdict["verdict"], &verdict["session"]["verdict"]), (&json!("part"), &json!("ok")), "{verdict}");
    assert_eq!((&verdict["wrong"], &verdict["own"]), (&Value::Null, &Value::Null));
    assert!(!verdict["remembrance"].as_array().expect("a list").is_empty(), "{verdict}");
    web.signal(rustix::process::Signal::INT);
    assert_eq!(web.ends().code(), 0);
}

#[test]
fn what_no_rule_allows_stands_in_the_past_however_it_was_asked() {
    let safety = "[zones.safety]\nnever = true\n[targets.sis]\nzone = \"safety\"\n[targets.sis.services.ssh]\n\
                  protocol = \"ssh\"\naddress = \"127.0.0.1:9\"\nuser = \"maint\"\ncredential = \"certificate\"\n\
                  host_key = \"SHA256:yZIANsnlACGLq2WHSpDJgVXbMz7TSvUBKqKX872gM4s\"\n";
    let mut plant = Plant::enrolled(Options {
        more: safety.into(),
        later: vec!["kim"],
        technicians: vec![("tess", "acme"), ("theo", "acme")],
        ..Options::default()
    });
    plant.log_in("tess");
    plant.serve();
    ["lee", "tess"].iter().for_each(|who| log_in(&plant, who));
    let ask = |target: &str, more: &[&str]| {
        let asked = ["request", target, "--actions", "shell", "--for", "1h", "--reason", "a reason that stays"];
        holdpoint(&plant, "tess", &[&asked, more].concat())
    };
    let (tess, theo) = (plant.tess(), plant.person("theo"));
    ask("sis", &[]).says_no("whatever the rules say");
    ask("hmi-2", &["--emergency"]).says_no("it provides for none");
    run(&mut tess.ssh(&[&tess.at(""), "request", "nowhere", "the", "pump", "trips"]), b"").says_no("no target nowhere");
    run(&mut theo.ssh(&[&theo.at("elsewhere"), "true"]), b"").says_no("no target elsewhere");
    let urgent = ["request", "hmi-2", "--actions", "shell,tunnel", "--emergency", "the", "pump", "trips"];
    run(&mut tess.ssh(&[&[tess.at("").as_str()][..], &urgent].concat()), b"").says_no("there is no tunnel");
    run(&mut tess.ssh(&["-W", "forwarded-to:22", &tess.at("")]), b"").says_no("no target forwarded-to");
    let csv = || holdpoint(&plant, "lee", &["report", "refusals", "--csv"]).ok().out();
    eventually("all of it is in the journal", || csv().lines().count() == 6);
    let csv = csv();
    for row in [
        "\"tess\",\"acme\",\"sis\",\"request\",\"shell\",\"\",\"its zone is closed to everybody, always\",\"\",\"\"",
        "\"hmi-2\",\"request\",\"shell\",\"yes\",\"no rule allows it\",\"acme-packaging\",\"for no emergency\"",
        "\"hmi-2\",\"request\",\"shell, tunnel\",\"yes\",\"the service knows nothing of the kind\",\"\",\"\"",
        "\"nowhere\",\"request\",\"\",\"\",\"there is no such target\",\"\",\"\"",
        "\"elsewhere\",\"request\",\"\",\"\",\"there is no such target\",\"\",\"\"",
    ] {
        assert!(csv.contains(row), "{row} is not in {csv}");
    }
    assert!(!csv.contains("forwarded-to"), "a name that a browser could ask for: {csv}");
    if let Some(mut browser) = control_room(&plant) {
        browser.open("/history?kind=refusal");
        browser.says("asked for shell, and refused: its zone is closed to everybody, always");
        browser.says("no rule allows it; the nearest, acme-packaging, is for no emergency");
        browser.look("refused-requests");
    }
    let fed = holdpoint(&plant, "lee", &["feed"]).ok().out();
    let fed: Vec<Value> = fed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let urgent = fed.iter().find(|line| line["about"]["emergency"] == true).expect("it leaves the plant");
    assert_eq!((&urgent["type"], &urgent["about"]["lacks"]), (&json!("refused"), &json!(["emergency"])));
    assert!(!format!("{fed:?}").contains("a reason that stays"));
    plant.stop();
    plant.evidence().both_say(0);
}

//! A technician's terminal in a real browser, before a real `sshd`: it works as one by SSH does, is recorded, ends as it does, and what
//! a hostile target, another page or another sign-in makes of it.

use std::fs;
use std::process::Command;

use policies::actions::Action;
use policies::time::Seconds;
use recordings::notes::Note;
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::person::GATE;
use tests::process::start_on_a_terminal;
use tests::telnetd::{PASSWORD, Telnetd};
use tests::{Options, Plant, eventually, holdpoint, json, log_in, run, text};

use super::mine::at_the_page;

const HOUR: Seconds = Seconds(3_600);

/// A plant with a grant for a shell, and its technician at its page; and somebody else's grant.
fn at_a_grant(plant: &str) -> Option<(Plant, Browser, [String; 2])> {
    under(Options { plant: plant.into(), ..Options::default() })
}

fn under(options: Options) -> Option<(Plant, Browser, [String; 2])> {
    let technicians = vec![("tess", "acme"), ("tom", "acme")];
    let mut plant = Plant::enrolled(Options { technicians, ..options });
    let [grant, theirs] = ["tess", "tom"].map(|who| plant.grant(who, "hmi-2", &[Action::Shell], HOUR).to_string());
    plant.serve();
    for who in ["tess", "lee"] {
        log_in(&plant, who);
    }
    let mut browser = at_the_page(&plant)?;
    browser.open(&format!("/requests/{grant}"));
    Some((plant, browser, [grant, theirs]))
}

fn opens(browser: &mut Browser) {
    browser.click("Open a terminal here");
    browser.until("document.getElementById('state')?.textContent === 'open'");
}

/// Waits until this stands on the terminal: JavaScript that says it of `rows`, its text.
#[track_caller]
fn shows(browser: &mut Browser, what: &str) {
    browser
        .until(&format!("(rows => {what})(document.querySelector('.xterm-rows').innerText.replace(/\\u00a0/g, ' '))"));
}

/// Pastes, as a browser tells a page of it.
fn pastes(browser: &mut Browser, pasted: &str) {
    browser.evaluate(&format!(
        "(() => {{ const clipboardData = new DataTransfer(); clipboardData.setData('text/plain', {}); terminal.textarea\
         .dispatchEvent(new ClipboardEvent('paste', {{ clipboardData, bubbles: true, cancelable: true }})); }})()",
        json!(pasted)
    ));
}

fn session(plant: &Plant) -> Value {
    json(plant, "lee", &["sessions", "--all"])["sessions"][0].clone()
}

#[test]
fn a_technician_works_in_a_terminal_of_their_browser_until_they_are_cut_off() {
    let Some((mut plant, mut browser, _)) = at_a_grant("") else { return };
    browser.complaints();
    opens(&mut browser);
    browser.types("PS1='$ '; unset PROMPT_COMMAND; echo $((6*7))-wide\r");
    shows(&mut browser, "rows.includes('42-wide')");
    browser.look("terminal");
    let told = holdpoint(&plant, "lee", &["sessions"]).ok().out();
    assert!(told.contains("in a browser: what opens TLS in between may read and alter it"), "{told}");
    let running = text(&session(&plant)["session"]);

    // As large as its place, at once and when that changes.
    let rows = browser.evaluate("terminal.rows");
    browser.types("stty size\r");
    shows(&mut browser, "rows.includes(`${terminal.rows} ${terminal.cols}`)");
    browser.evaluate("document.getElementById('terminal').style.height = '22rem'");
    browser.until(&format!("terminal.rows < {rows}"));
    browser.types("clear; stty size\r");
    shows(&mut browser, "rows.includes(`${terminal.rows} ${terminal.cols}`)");

    // A program that takes the whole screen, and colours that no sheet of style knows beforehand.
    browser.types("printf '\\033[?1049h\\033[38;2;200;100;50mfull of %s' colour; read x; printf '\\033[?1049l'\r");
    shows(&mut browser, "rows.includes('full of colour')");
    browser.types("\r");
    shows(&mut browser, "!rows.includes('full of colour')");

    // A target asks the terminal for all it might do: it gets the place of the cursor, which programs need, and nothing else.
    let asks = r"printf '\033]0;owned\007\033]52;c;b3duZWQ=\007\033]52;c;?\007\033]8;;https://evil.example\007LINK\033]8;;\007\033[21t\033[18t\033]11;?\007\033]4;1;?\007\033P$qm\033\\\033[>q\005\033[6n'";
    browser.types(&format!("clear; {asks}; IFS= read -rsd R got; printf '<%q>' \"$got\"\r"));
    shows(&mut browser, r"/<\$'\\E\[\d+;\d+'>/.test(rows)");
    assert_eq!(browser.evaluate("document.title"), "Terminal of hmi-2 – Holdpoint");
    assert_eq!(browser.evaluate("document.querySelectorAll('#terminal a, .xterm-underline-5').length"), 0);

    // More than the browser may have undrawn passes, and what prints for ever is held and can be ended.
    browser.types("clear; head -c 1500000 /dev/zero | tr '\\0' x; echo; echo done-$((1+1))\r");
    shows(&mut browser, "rows.includes('done-2')");
    browser.types("yes\r");
    shows(&mut browser, "rows.split('\\n').filter((row) => row.trim() === 'y').length > 9");
    browser.types("\u{3}");
    browser.types("clear; echo still-$((2+2))\r");
    shows(&mut browser, "rows.includes('still-4')");

    pastes_are_guarded(&mut browser);

    // What the gate says stands on the terminal and beside it; what is typed meanwhile is thrown away.
    holdpoint(&plant, "lee", &["freeze", &running]).ok();
    browser.says("Your input is stopped by an operator");
    shows(&mut browser, "rows.includes('[holdpoint] Your input is stopped')");
    browser.types("echo not-$((8+1))\r");
    holdpoint(&plant, "lee", &["tell", &running, "the crane moves"]).ok();
    browser.until(
        "[...document.querySelectorAll('#told p')].some((line) => line.textContent.includes('the crane moves'))",
    );
    holdpoint(&plant, "lee", &["thaw", &running]).ok();
    browser.says("Your input goes on");
    browser.types("echo again-$((3+3))\r");
    shows(&mut browser, "rows.includes('again-6') && !rows.includes('not-9')");

    json(&plant, "lee", &["cut", "--technician", "tess"]);
    browser.says("Access was cut by an operator, and stays shut until it is reopened. Ask the control room.");
    browser.until("document.activeElement.id === 'over' && terminal.options.disableStdin");
    browser.look("terminal-cut");
    assert_eq!(browser.complaints(), json!([]));
    eventually("it has ended", || session(&plant)["ended"]["ending"] == "cut");

    // An auditor sees where it came from, and what was done.
    plant.stop();
    let evidence = plant.evidence();
    evidence.both_say(0);
    let played =
        run(&mut evidence.holdpoint(&["play", &running, "--key", "key", "--speed", "1000", "--idle", "1s"]), b"");
    let played = played.ok().out();
    assert!(played.contains("42-wide") && played.contains("a page in a browser at 127.0.0.1:"), "{played}");
    let recorded = evidence.recordings();
    let opened = |note: &&&Note| matches!(note, Note::ChannelOpen { kind, to: None, from: Some(_) } if kind.to_string() == "browser");
    assert_eq!(recorded.iter().flat_map(|one| one.notes()).filter(|note| opened(&note)).count(), 1);
}

/// Several lines, or signs that cannot be seen, are shown first; one plain line is not.
fn pastes_are_guarded(browser: &mut Browser) {
    browser.types("clear\r");
    pastes(browser, "echo plain-$((4+4))");
    browser.types("\r");
    shows(browser, "rows.includes('plain-8')");
    pastes(browser, "echo one-$((5+5))\necho two-$((5+6))\n");
    browser.until("document.getElementById('paste').open");
    browser.says("It has 3 lines: the machine may run each as it comes.");
    browser.look("terminal-paste");
    browser.click("Do not send it");
    browser.until("!document.getElementById('paste').open");
    pastes(browser, "echo \u{1b}[201~three-$((6+6))");
    browser.says("It has characters that cannot be seen");
    browser.until("document.getElementById('pasted').textContent.includes('\u{27e8}1b\u{27e9}[201~')");
    browser.click("Do not send it");
    browser.types("echo four-$((7+7))\r");
    shows(browser, "rows.includes('four-14') && !rows.includes('one-') && !rows.includes('three-')");
    pastes(browser, "echo one-$((5+5))\necho two-$((5+6))\n");
    browser.click("Send it");
    browser.types("\r");
    shows(browser, "rows.includes('one-10') && rows.includes('two-11')");
}

/// In the page: a ticket as a form gets it, and a WebSocket that keeps what it hears.
const PARTS: &str = "
  window.ticket = async (grant, csrf = window.csrf) => {
    const body = new URLSearchParams({ csrf, pane: 'terminal', service: 'ssh' });
    const answer = await fetch(`/requests/${grant}/open`, { method: 'POST', body });
    const text = await answer.text();
    return /data-ticket=\"([0-9a-f]+)\"/.exec(text)?.[1] ?? `${answer.status} ${text.replace(/<[^>]*>/g, ' ')}`;
  };
  window.heard = {};
  window.sockets = {};
  window.opens = (name, ticket) => {
    const socket = sockets[name] = new WebSocket(`wss://${location.host}/sitting`, ['holdpoint-sitting', ticket]);
    heard[name] = '';
    socket.onopen = () => socket.send(JSON.stringify({ size: { columns: 80, rows: 24 } }));
    socket.onmessage = ({ data }) => { if (typeof data === 'string') heard[name] += data; };
    socket.onclose = () => { heard[name] += ' closed'; };
  };
  window.csrf = document.querySelector('input[name=csrf]').value;";

#[test]
fn a_terminal_is_opened_by_its_own_page_for_its_own_sign_in_and_once() {
    let Some((plant, mut browser, [grant, theirs])) = at_a_grant("") else { return };
    browser.says("How to get there");
    browser.evaluate(PARTS);
    let asked = |browser: &mut Browser, code: String| text(&browser.evaluate(&code));
    let ticket = |browser: &mut Browser, grant: &str| asked(browser, format!("ticket('{grant}')"));
    assert!(asked(&mut browser, format!("ticket('{grant}', '0')")).starts_with("403 "));
    assert!(ticket(&mut browser, &theirs).contains("there is no such request"));

    // Nobody without the cookie, and no other page with it.
    let cookie = browser.cookie();
    let first = ticket(&mut browser, &grant);
    let knock = |more: &[&str]| knocked(&plant, &first, more);
    let (ours, evil) = ("Origin: https://gate.mill3.example:8443", "Origin: https://evil.example");
    assert!(knock(&["-H", ours]).starts_with("HTTP/1.1 401 "));
    assert!(knock(&["-H", evil, "-b", &cookie]).starts_with("HTTP/1.1 403 "));
    assert!(knock(&["-b", &cookie]).starts_with("HTTP/1.1 403 "));
    assert!(knock(&["-H", ours, "-b", &cookie, "--interface", "127.0.0.9"]).starts_with("HTTP/1.1 401 "));
    let unknown = knocked(&plant, &"0".repeat(64), &["-H", ours, "-b", &cookie]);
    assert!(unknown.starts_with("HTTP/1.1 101 ") && unknown.contains("was opened before"), "{unknown}");

    // Its own does, once. A line that breaks ends the session as one by SSH.
    browser.evaluate(&format!("opens('one', '{first}')"));
    browser.until("heard.one.includes('opened')");
    browser.evaluate(&format!("opens('again', '{first}')"));
    browser.until("heard.again.includes('This page was opened before') && heard.again.endsWith(' closed')");
    browser.evaluate("sockets.one.close()");
    eventually("it has ended", || session(&plant)["ended"]["ending"] == "left");
    // What is no size and no terminal's.
    let odd = ticket(&mut browser, &grant);
    browser.evaluate(&format!("opens('odd', '{odd}')"));
    browser.until("heard.odd.includes('opened')");
    browser.evaluate("sockets.odd.send('{\"size\":{\"columns\":-1,\"rows\":1e9}}')");
    browser.until("heard.odd.includes('The page said what means nothing here')");

    // Signed out is out; a ticket is of one sign-in.
    let [running, left] = [ticket(&mut browser, &grant), ticket(&mut browser, &grant)];
    browser.evaluate(&format!("opens('two', '{running}')"));
    browser.until("heard.two.includes('opened')");
    browser.evaluate("fetch('/sign-out', { method: 'POST', body: new URLSearchParams({ csrf }) }).then(() => 0)");
    browser.until("heard.two.includes('You are signed out') && heard.two.endsWith(' closed')");
    browser.signs_in();
    browser.evaluate(PARTS);
    browser.evaluate(&format!("opens('left', '{left}')"));
    browser.until("heard.left.includes('This page was opened before')");

    // Whose grant is taken back reads so, whatever page is still open.
    let late = ticket(&mut browser, &grant);
    holdpoint(&plant, "lee", &["revoke", &grant, "--reason", "done"]).ok();
    browser.evaluate(&format!("opens('late', '{late}')"));
    browser.until("heard.late.includes('over') && heard.late.includes('hmi-2') && heard.late.endsWith(' closed')");
    assert!(ticket(&mut browser, &grant).contains("that cannot be opened under this grant now"));
}

#[test]
fn a_plant_that_takes_no_websockets_offers_no_terminal() {
    let Some((_plant, mut browser, [grant, _])) = at_a_grant("websockets = false") else { return };
    browser.says("How to get there");
    browser.evaluate(PARTS);
    assert_eq!(browser.evaluate("document.body.innerText.includes('Open a terminal here')"), false);
    let asked = text(&browser.evaluate(&format!("ticket('{grant}')")));
    assert!(asked.contains("that cannot be opened under this grant now"), "{asked}");
}

#[test]
fn whoever_forbids_websockets_forbids_terminals_that_are_about_to_open() {
    let Some((plant, mut browser, [grant, _])) = at_a_grant("") else { return };
    browser.says("How to get there");
    browser.evaluate(PARTS);
    let late = text(&browser.evaluate(&format!("ticket('{grant}')")));
    let file = fs::read_to_string(plant.installation().join("plant.toml")).expect("a plant file");
    let forbidding = plant.installation().join("forbidding.toml");
    fs::write(&forbidding, file.replace("[plant]\n", "[plant]\nwebsockets = false\n")).expect("a file");
    log_in(&plant, "ada");
    for signer in ["ada", "lee"] {
        holdpoint(&plant, signer, &["adopt", forbidding.to_str().expect("a path"), "--yes"]).ok();
    }
    browser.evaluate(&format!("opens('late', '{late}')"));
    browser.until("heard.late.includes('over') && heard.late.includes('WebSocket') && heard.late.endsWith(' closed')");
}

#[test]
fn a_passkey_is_asked_for_again_where_its_answer_serves_no_longer() {
    let rule = "idle = \"4h\"\nfactor_lasts = \"0\"".into();
    let Some((plant, mut browser, [grant, _])) = under(Options { rule, ..Options::default() }) else { return };
    browser.says("How to get there");
    browser.evaluate(PARTS);
    let asked = text(&browser.evaluate(&format!("ticket('{grant}')")));
    assert!(asked.starts_with("200 ") && asked.contains("Your passkey answered a while ago"), "{asked}");
    // What is no answer opens nothing, and signs nobody out.
    let forged = "fetch(`/requests/GRANT/open`, { method: 'POST', body: new URLSearchParams({ csrf, pane: 'terminal', service: 'ssh', nonce: '00' }) })\
                  .then(async (answer) => `${answer.status} ${await answer.text()}`)";
    let forged = text(&browser.evaluate(&forged.replace("GRANT", &grant)));
    assert!(forged.starts_with("403 ") && forged.contains("answer does not count"), "{forged}");
    for _ in 0..2 {
        browser.open(&format!("/requests/{grant}"));
        browser.click("Open a terminal here");
        browser.says("Your passkey answered a while ago");
        browser.look("before-terminal");
        browser.click("Open it with your passkey");
        browser.until("document.getElementById('state')?.textContent === 'open'");
        // A shell that a signal ends says so.
        browser.types("kill -KILL $$\r");
        browser.says("The shell at hmi-2 was ended by signal KILL, and your session with it.");
    }
    assert_eq!(session(&plant)["ended"]["ending"], "left");
}

#[test]
fn whoever_has_a_passkey_alone_asks_works_and_comes_back_from_the_browser() {
    let mut plant = Plant::enrolled(Options { rule: "idle = \"10s\"".into(), ..Options::default() });
    plant.serve();
    for who in ["lee", "ada"] {
        log_in(&plant, who);
    }
    let invited = json(&plant, "ada", &["invite", "nina", "--technician", "acme/maintenance"]);
    let Some(mut browser) = Browser::of_a_technician(&plant) else { return };
    browser.has_a_passkey();
    browser.enrols("nina", &text(&invited["code"]));
    browser.says("With the passkey alone no program of your own reaches a machine");
    let secret = browser.evaluate("[...document.querySelectorAll('dd code')].at(-1).textContent");
    let mut nina = plant.newcomer("nina");
    nina.has_app(secret.as_str().expect("a secret"), &[]);
    browser.signs_in();
    browser.open("/ask?target=hmi-2&service=ssh");
    browser.says("Ask for hmi-2");
    browser.fill("#reason", "look");
    browser.click("Ask the plant");
    browser.says("It waits for an answer");
    let request = text(&json(&plant, "lee", &["requests"])["requests"][0]["request"]);
    holdpoint(&plant, "lee", &["approve", &request, "--yes"]).ok();
    browser.says("Your passkey opens it here, and is no key for a program of your own");
    assert!(!browser.evaluate("document.body.innerText").as_str().expect("a text").contains("PuTTY"));
    browser.look("own-by-passkey-alone");
    opens(&mut browser);
    browser.says("Locked: nobody typed anything for 10s");
    browser.types(&format!("{}\r", nina.app_code()));
    browser.says("Unlocked.");
    browser.types("echo back-$((1+1))\r");
    shows(&mut browser, "rows.includes('back-2')");
    browser.types("exit\r");
    browser.says("It is over");
    plant.stop();
    plant.evidence().both_say(0);
}

/// For two minutes, at a machine that speaks telnet.
#[test]
fn a_terminal_waits_for_its_escort_and_is_told_what_time_is_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let switch = Telnetd::start(&folder.path().join("switch-3"));
    let more = switch.in_a_plant_file("user = \"maint\"\ncredential = \"switch\"\n");
    let rule = "idle = \"4h\"\nescort = \"required\"".into();
    let mut plant = Plant::enrolled(Options { rule, more, ..Options::default() });
    plant.decide(|office| office.set_secret("switch", format!("{PASSWORD}\n").as_bytes()));
    let grant = plant.grant("tess", "switch-3", &[Action::Shell], Seconds(120)).to_string();
    plant.serve();
    for who in ["tess", "lee"] {
        log_in(&plant, who);
    }
    let Some(mut browser) = at_the_page(&plant) else { return };
    browser.open(&format!("/requests/{grant}"));
    opens(&mut browser);
    browser.says("here an operator must watch, and nobody does.");
    shows(&mut browser, "rows.includes('switch# ')");
    browser.types("touch unwatched\r");
    let running = text(&session(&plant)["session"]);
    let mut watching = start_on_a_terminal(&plant.as_person("lee", &["watch", &running]));
    watching.until("SPACE says that you are there");
    watching.type_in(" ");
    browser.says("An operator watches. Your input goes on");
    browser.types("touch watched\r");
    eventually("what is typed then arrives", || switch.path("watched").exists());
    assert!(!switch.path("unwatched").exists());
    let stands = |browser: &mut Browser, words: &str| {
        browser.evaluate(&format!("document.body.innerText.includes({})", json!(words))) == true
    };
    eventually("they are told", || {
        stands(&mut browser, "1 minute left, until") && stands(&mut browser, "More time: on the page of your grant")
    });
    browser.look("terminal-last-minute");
    eventually("it is over", || stands(&mut browser, "Your time at switch-3 is over"));
    eventually("it has ended", || session(&plant)["ended"]["ending"] == "expired");
}

#[test]
fn a_terminal_left_alone_is_locked_and_so_is_the_way_to_another() {
    let options = Options { rule: "idle = \"10s\"".into(), ..Options::default() };
    let Some((plant, mut browser, [grant, _])) = under(options) else { return };
    opens(&mut browser);
    browser.says("Locked: nobody typed anything for 10s");
    browser.evaluate(&PARTS.replace("document.querySelector('input[name=csrf]').value", "''"));
    let csrf = format!(
        "fetch('/requests/{grant}').then((page) => page.text()).then((page) => /name=\"csrf\" value=\"([^\"]+)/.exec(page)[1])"
    );
    let csrf = text(&browser.evaluate(&csrf));
    let asked = text(&browser.evaluate(&format!("ticket('{grant}', '{csrf}')")));
    assert!(asked.contains("a session of yours was left alone since"), "{asked}");
    browser.types(&format!("{}\r", plant.tess().code()));
    browser.says("Unlocked.");
    browser.types("echo back-$((1+1))\r");
    shows(&mut browser, "rows.includes('back-2')");
    let ticket = text(&browser.evaluate(&format!("ticket('{grant}', '{csrf}')")));
    assert!(ticket.bytes().all(|sign| sign.is_ascii_hexdigit()), "{ticket}");
}

/// What a program that speaks WebSocket by hand gets, with head and all.
fn knocked(plant: &Plant, ticket: &str, more: &[&str]) -> String {
    let face = plant.faces.pages[0];
    let mut curl = Command::new("curl");
    curl.args(["-ski", "-N", "--http1.1", "--max-time", "10", "--output", "-"]).args(more);
    for head in [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
    ] {
        curl.args(["-H", head]);
    }
    curl.args(["-H", &format!("Sec-WebSocket-Protocol: holdpoint-sitting, {ticket}")]);
    curl.args(["--connect-to", &format!("{GATE}:8443:{}:{}", face.ip(), face.port())]);
    run(curl.arg(format!("https://{GATE}:8443/sitting")), b"").out()
}

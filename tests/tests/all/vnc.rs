//! Screens over VNC: TigerVNC's server and viewer, each on a display of its own, with the gate between them.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use policies::actions::Action;
use policies::time::Seconds;
use recordings::frame::Stream;
use recordings::notes::Note;
use tests::browser::Browser;
use tests::commands::{find, holdpoint, json, log_in};
use tests::peers::{Display, free_port};
use tests::process::start_on_a_terminal;
use tests::{Options, Person, Plant, Running, eventually, run, start};

pub(super) const HOUR: Seconds = Seconds(3_600);
const PASSWORD: &str = "hunter2";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn looking_at(port: u16) -> Plant {
    plant_with_screen(port, "credential = \"screen\"", &[Action::Observe])
}

fn plant_with_screen(port: u16, keys: &str, granted: &[Action]) -> Plant {
    let mut plant = plant_for_screen(port, keys);
    plant.grant("tess", "hmi-3", granted, HOUR);
    plant.serve();
    plant
}

/// A plant whose program does not run yet, with a rule for the screen at this port.
pub(super) fn plant_for_screen(port: u16, keys: &str) -> Plant {
    let more = format!(
        "[targets.hmi-3]\nzone = \"packaging\"\n[targets.hmi-3.services.vnc]\nprotocol = \"vnc\"\n\
         address = \"127.0.0.1:{port}\"\n{keys}\n\
         [[rules]]\nid = \"acme-screen\"\nvendors = [\"acme\"]\nroles = [\"maintenance\"]\ntargets = [\"hmi-3\"]\n\
         actions = [\"observe\", \"operate\", \"control\"]\nduration_max = \"4h\"\nidle = \"4h\"\n\
         approvals = [{{ from = \"shift-lead\", count = 1 }}]\nwork_order = \"optional\"\n"
    );
    let plant = Plant::ready(Options { more, later: vec!["kim"], ..Options::default() });
    plant.decide(|office| office.set_secret("screen", format!("{PASSWORD}\n").as_bytes()));
    plant
}

/// A technician's `ssh -L` with the lobby beside it, where they read what is refused, and the local port it leads from.
fn forward(tess: &Person, target_port: u16) -> (Running, u16) {
    let port = free_port();
    let leads = format!("127.0.0.1:{port}:hmi-3:{target_port}");
    let ssh = start(&mut tess.ssh(&["-tt", "-L", &leads, &tess.at("")]));
    // Whether it listens is asked of the system: a connection would be one to the screen.
    eventually("ssh listens", || TcpListener::bind(("127.0.0.1", port)).is_err());
    (ssh, port)
}

/// Clicks into the viewer's window and types there.
fn click_and_type(display: &Display, key: &str) {
    let window = run(&mut display.program("xdotool", &["search", "--onlyvisible", "--name", "TigerVNC"]), b"").out();
    let window = window.lines().last().unwrap_or_default();
    let place = ["mousemove", "--window", window, "100", "150"];
    let keys = ["key", key, "key", "Return"];
    let acts = [&["windowfocus", window][..], &place, &["click", "1"], &keys].concat();
    run(&mut display.program("xdotool", &acts), b"").ok();
}

pub(super) fn password_in(folder: &Path) -> PathBuf {
    let password = folder.join("password");
    let hidden = run(Command::new("tigervncpasswd").arg("-f"), format!("{PASSWORD}\n").as_bytes()).ok();
    std::fs::write(&password, hidden.out).expect("a file");
    password
}

/// The machine's screen, with a program on it that tells what is pressed.
pub(super) fn screen(password: &Path, port: u16) -> (Display, Running) {
    let mut server = Command::new("Xtigervnc");
    server.args(["-rfbport", &port.to_string(), "-localhost", "-geometry", "640x480"]);
    server.args(["-SecurityTypes", "VncAuth", "-PasswordFile"]).arg(password);
    let display = Display::start(&mut server);
    let panel = start(&mut display.program("stdbuf", &["-oL", "xev", "-geometry", "640x480+0+0"]));
    eventually("the panel is on the screen", || panel.said().contains("Expose event"));
    (display, panel)
}

fn viewer(display: &Display, port: u16, more: &[&str]) -> Running {
    let place = format!("127.0.0.1::{port}");
    let settled = ["-ReconnectOnError=0", "-AlertOnFatalError=0", "-RemoteResize=0", "-geometry", "640x480+0+0"];
    let viewer = start(&mut display.program("xtigervncviewer", &[&settled, more, &[place.as_str()]].concat()));
    eventually("the viewer shows the screen", || {
        assert!(!viewer.said().contains("End of stream"), "{}", viewer.said());
        let shown = display.program("xdotool", &["search", "--onlyvisible", "--name", "TigerVNC"]).output();
        shown.is_ok_and(|shown| !shown.stdout.is_empty())
    });
    viewer
}

#[test]
fn who_may_look_touches_nothing_until_an_operator_said_yes_and_throws_nobody_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let password = password_in(folder.path());
    let port = free_port();
    let (_screen, panel) = screen(&password, port);
    let desk = || Display::virtual_screen("800x600x24");
    let (operators, technicians) = (desk(), desk());
    let file = password.display().to_string();
    let mut own = viewer(&operators, port, &["-SecurityTypes", "VncAuth", "-PasswordFile", &file]);

    let mut plant = looking_at(port);
    log_in(&plant, "lee");
    let live = folder.path().join("live.pcapng");
    let eyes = start(plant.as_person("lee", &["capture", "-o"]).arg(&live));
    eventually("it is read along", || live.metadata().is_ok_and(|metadata| metadata.len() > 0));
    let (ssh, local) = forward(plant.tess(), port);
    // It asks to be alone on the screen, and knows no password.
    let theirs = viewer(&technicians, local, &["-SecurityTypes", "None", "-Shared=0"]);
    eventually("the technician reads the refusals", || {
        click_and_type(&technicians, "a");
        ["refused to click at 100,150: operate is not granted", "refused to type 1 key", "refused to press Enter"]
            .iter()
            .all(|line| ssh.said().contains(line))
    });
    for event in ["ButtonPress", "KeyPress"] {
        assert!(!panel.said().contains(event), "{}", panel.said());
    }

    let lobby = plant.tess().at("");
    run(&mut plant.tess().ssh(&[&lobby, "widen", "operate", "--at", "hmi-3", "a valve sticks"]), b"").ok();
    let ask = find(&json(&plant, "lee", &["requests", "--all"]), "ask").expect("the widening waits");
    holdpoint(&plant, "lee", &["approve", &ask, "--yes"]).ok();
    eventually("what is pressed arrives", || {
        click_and_type(&technicians, "b");
        ["ButtonPress", "keysym 0x62, b", "Return"].iter().all(|event| panel.said().contains(event))
    });
    assert!(!panel.said().contains("keysym 0x61, a"), "what was refused never arrives: {}", panel.said());
    assert!(!own.has_ended(), "the plant's own viewer stays: {}", own.said());
    drop(theirs);

    plant.stop();
    drop(eyes);
    let sent = run(
        Command::new("tshark")
            .arg("-r")
            .arg(&live)
            .args(["-T", "fields", "-e", "tcp.payload"])
            .args(["-Y", &format!("tcp.dstport=={port} && tcp.len > 0")]),
        b"",
    );
    let sent = sent.ok().out().replace('\n', "");
    let login = format!("{}02{}010200", hex(b"RFB 003.008\n"), "00".repeat(16));
    assert!(sent.starts_with(&login), "who reads along learns no password: {}", &sent[..120]);
    let evidence = plant.evidence();
    evidence.verify().ok();
    let recording = evidence.recording();
    let notes = recording.notes();
    assert!(notes.iter().any(|note| matches!(note, Note::Redacted { bytes: 16, .. })), "{notes:?}");
    assert!(
        recording.bytes(Stream::GateIn).starts_with(b"RFB 003.008\n\x02\x01\x02\0"),
        "version, type, shared, encodings"
    );
    let lines: Vec<String> = notes
        .iter()
        .filter_map(|note| match note {
            Note::GateVerdict { words, operation: Some(_), .. } => Some(words.to_string()),
            _ => None,
        })
        .collect();
    for line in [
        "joined whoever else is on the screen, though it asked to be alone there",
        "opened the screen, 640 by 480",
        "refused to click at 100,150",
        "refused to press Enter",
        "clicked at 100,150",
        "pressed Enter",
    ] {
        assert!(lines.iter().any(|said| said == line), "{line:?} not in {lines:#?}");
    }
}

#[test]
fn why_there_is_no_screen_is_shown_by_the_viewer() {
    let port = free_port();
    let plant = looking_at(port);
    let (_ssh, local) = forward(plant.tess(), port);
    let mut viewer = TcpStream::connect(("127.0.0.1", local)).expect("ssh listens");
    viewer.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut version = [0; 12];
    viewer.read_exact(&mut version).expect("the gate speaks first");
    assert_eq!(&version, b"RFB 003.008\n");
    viewer.write_all(b"RFB 003.003\n").expect("it is taken");
    let mut no = Vec::new();
    viewer.read_to_end(&mut no).expect("to its end");
    let why = "hmi-3 cannot be reached: Connection refused (os error 111)";
    assert_eq!(
        no,
        [&[0, 0, 0, 0, 0, 0, 0, why.len() as u8], why.as_bytes()].concat(),
        "{}",
        String::from_utf8_lossy(&no)
    );
}

/// A screen without a password, of another maker's server.
fn bare_screen(port: u16) -> (Display, Running, Running) {
    let display = Display::virtual_screen("640x480x24");
    let panel = start(&mut display.program("stdbuf", &["-oL", "xev", "-geometry", "640x480+0+0"]));
    eventually("the panel is on the screen", || panel.said().contains("Expose event"));
    let settled = ["-localhost", "-forever", "-shared", "-nopw", "-quiet", "-noxdamage", "-rfbport", &port.to_string()];
    let server = start(&mut display.program("x11vnc", &settled));
    eventually("x11vnc listens", || TcpListener::bind(("127.0.0.1", port)).is_err());
    (display, panel, server)
}

#[test]
fn what_is_pressed_while_an_operator_has_stopped_input_reaches_no_screen() {
    let port = free_port();
    let (_screen, panel, _server) = bare_screen(port);
    let plant = plant_with_screen(port, "", &[Action::Observe, Action::Operate]);
    log_in(&plant, "lee");
    let (ssh, local) = forward(plant.tess(), port);
    let technicians = Display::virtual_screen("800x600x24");
    let _theirs = viewer(&technicians, local, &["-SecurityTypes", "None"]);
    eventually("what is pressed arrives", || {
        click_and_type(&technicians, "a");
        panel.said().contains("keysym 0x61, a")
    });
    let session = find(&json(&plant, "lee", &["sessions"]), "session").expect("it runs");
    holdpoint(&plant, "lee", &["freeze", &session]).ok();
    eventually("the refusal is read", || {
        click_and_type(&technicians, "b");
        ssh.said().contains("refused to type 1 key")
    });
    assert!(!panel.said().contains("keysym 0x62, b"), "{}", panel.said());
    holdpoint(&plant, "lee", &["thaw", &session]).ok();
    eventually("it goes on", || {
        click_and_type(&technicians, "c");
        panel.said().contains("keysym 0x63, c")
    });
    assert!(!panel.said().contains("keysym 0x62, b"), "what was stopped is not caught up on");
}

/// JavaScript that says whether the watched picture has about this colour there. Photographs are drawn by what loses a little.
fn shows(colour: u32, x: u16, y: u16) -> String {
    shown_on("#picture", colour, x, y)
}

/// The same of any canvas.
pub(super) fn shown_on(canvas: &str, colour: u32, x: u16, y: u16) -> String {
    let [_, red, green, blue] = colour.to_be_bytes();
    format!(
        "(() => {{ const picture = document.querySelector('{canvas}'); if (!picture || picture.hidden) return false; \
         const seen = picture.getContext('2d').getImageData({x}, {y}, 1, 1).data; \
         return [{red}, {green}, {blue}].every((part, n) => Math.abs(part - seen[n]) < 9); }})()"
    )
}

/// Of the same screen, at once and later: what is drawn, what is drawn anew, by two encodings, and how it ends.
#[test]
fn an_operator_sees_the_screen_as_it_stands_and_as_it_changes() {
    const RED: u32 = 0xc8_1e28;
    const BLUE: u32 = 0x14_3cdc;
    const GREEN: u32 = 0x0a_9632;
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let (screen, _panel) = screen(&password_in(folder.path()), port);
    let _red = screen.paint(RED, [0, 0, 640, 480]);
    let plant = looking_at(port);
    let Some(mut browser) = Browser::new(&plant) else { return };
    browser.has_a_passkey();
    browser.enrols("kim", &plant.codes["kim"]);
    browser.signs_in();
    let (_ssh, local) = forward(plant.tess(), port);
    let technicians = Display::virtual_screen("800x600x24");
    let _theirs = viewer(&technicians, local, &["-SecurityTypes", "None"]);

    browser.says("At work: 1");
    browser.click("hmi-3 / vnc");
    browser.click("Watch");
    browser.until(&shows(RED, 320, 240));
    browser.says("opened the screen, 640 by 480");
    let _blue = screen.paint(BLUE, [100, 100, 200, 150]);
    browser.until(&shows(BLUE, 200, 175));
    browser.until(&shows(RED, 320, 240));
    browser.look("watch-screen");
    // As on a telephone.
    browser.evaluate("document.querySelector('main').style.width = '320px'");
    let fits = "(({ width, height }) => width <= 320 && Math.abs(width / height - 640 / 480) < 0.05)";
    browser.until(&format!("{fits}(document.getElementById('picture').getBoundingClientRect())"));

    // Nothing is drawn any more, and who comes now sees all of it.
    browser.click("Watch no longer");
    browser.says("Watch");
    browser.click("Watch");
    browser.until(&shows(BLUE, 200, 175));
    browser.until(&shows(RED, 20, 20));
    log_in(&plant, "lee");
    let session = find(&json(&plant, "lee", &["sessions"]), "session").expect("it runs");
    let mut terminal = start_on_a_terminal(&plant.as_person("lee", &["watch", &session]));
    terminal.until("opened the screen, 640 by 480");
    terminal.until("The screen, 640 by 480, is to be watched on its page:");
    terminal.until(&format!("https://holdpoint.mill3.example:9443/sessions/{session}"));
    drop(terminal);

    // By another encoding, in eight colours of each kind, beside the first.
    let by_zrle =
        ["-SecurityTypes", "None", "-AutoSelect=0", "-PreferredEncoding=ZRLE", "-FullColor=0", "-LowColorLevel=2"];
    let others = Display::virtual_screen("800x600x24");
    let second = viewer(&others, local, &by_zrle);
    browser.says("This is the newest of 2 screens that are open.");
    let _green = screen.paint(GREEN, [300, 200, 100, 100]);
    browser.until("document.getElementById('picture').getContext('2d').getImageData(350, 250, 1, 1).data[1] > 120");

    // Either can be chosen, on the session's page and where it is watched, and who watches goes on watching.
    browser.open(&format!("/sessions/{session}"));
    browser.says("Screens that are open");
    browser.look("session-screens");
    browser.evaluate("document.querySelector('button[name=screen]').click()");
    browser.says("of 2 that are open.");
    browser.until(&shows(GREEN, 350, 250));
    let pressed = |which: &str| format!("document.querySelector('#screens button:{which}').ariaPressed === 'true'");
    browser.until(&pressed("nth-child(2)"));
    browser.look("watch-screen-chosen");
    // Of what is opened for a choice nothing stays open but the last.
    browser.evaluate(
        "window.opened = []; window.EventSource = class extends EventSource { constructor(path) { super(path); \
         window.opened.push(this); } }; true",
    );
    for which in ["last-child", "nth-child(2)", "last-child"] {
        browser.evaluate(&format!("document.querySelector('#screens button:{which}').click()"));
        browser.until(&pressed(which));
    }
    browser.until("window.opened.map((source) => source.readyState).join() === '2,2,1'");
    browser.until("document.getElementById('picture').getContext('2d').getImageData(350, 250, 1, 1).data[1] > 120");
    browser.until(&format!("!{}", shows(GREEN, 350, 250)));
    drop(second);
    browser.says("which you chose, is closed. This is the newest.");
    browser.until(&shows(GREEN, 350, 250));
    browser.look("watch-screen-closed");
    // The page opens the newest once the other's stream has ended.
    eventually("whoever watched watches on", || {
        json(&plant, "lee", &["sessions"])["sessions"][0]["watchers"].as_array().is_some_and(|there| there.len() == 1)
    });
    browser.click("The newest screen");
    browser.until("document.getElementById('pictured').hidden");
    browser.until("document.getElementById('screens').hidden");
    browser.look("watch-screen-green");
    let complaints = browser.complaints().to_string();
    assert!(!complaints.contains("Content Security Policy"), "{complaints}");

    holdpoint(&plant, "lee", &["cut", &session]).ok();
    browser.says("Over:");
    browser.until("document.getElementById('picture').classList.contains('past')");
    browser.look("watch-screen-over");
}

//! Targets that speak telnet, by stock `ssh` and Debian's `telnetd`: the gate has the terminal and logs in; what holds for a
//! shell by SSH holds for this one, and the password is nowhere but on the target's wire.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use policies::actions::Action;
use policies::time::Seconds;
use recordings::frame::Stream;
use recordings::notes::Note;
use rustix::net::SendFlags;
use rustix::process::Signal;
use tests::commands::find;
use tests::process::start_on_a_terminal;
use tests::telnetd::{self, PASSWORD, Telnetd, USER};
use tests::{Options, Plant, Running, eventually, json, log_in, run, start, text};

const CREDENTIAL: &str = "user = \"maint\"\ncredential = \"switch\"\n";

struct Stage {
    plant: Plant,
    switch: Telnetd,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn new(keys: &str) -> Self {
        Self::with(keys, "idle = \"4h\"", Seconds(3_600), Telnetd::start)
    }

    fn with(keys: &str, rule: &str, lasts: Seconds, machine: impl FnOnce(&Path) -> Telnetd) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let switch = machine(&folder.path().join("switch-3"));
        let plant = plant(switch.in_a_plant_file(keys), rule, lasts);
        Self { plant, switch, _folder: folder }
    }

    fn terminal(&self) -> Running {
        terminal(&self.plant)
    }

    fn session(&self) -> String {
        session(&self.plant)
    }

    fn as_lee(&self, arguments: &[&str]) {
        run(&mut self.plant.as_person("lee", arguments), b"").ok();
    }
}

fn plant(more: String, rule: &str, lasts: Seconds) -> Plant {
    let mut plant = Plant::enrolled(Options { rule: rule.into(), more, ..Options::default() });
    plant.log_in("tess");
    plant.decide(|office| office.set_secret("switch", format!("{PASSWORD}\n").as_bytes()));
    plant.grant("tess", "switch-3", &[Action::Shell], lasts);
    plant.serve();
    log_in(&plant, "lee");
    plant
}

fn terminal(plant: &Plant) -> Running {
    let tess = plant.tess();
    start_on_a_terminal(&tess.ssh(&["-tt", &tess.at("switch-3")]))
}

fn session(plant: &Plant) -> String {
    text(&json(plant, "lee", &["sessions"])["sessions"][0]["session"])
}

/// A plant whose `switch-3` does with each connection what is said here.
fn plant_of(keys: &str, machine: impl Fn(TcpStream) + Send + Sync + 'static) -> Plant {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, machine) = (listener.local_addr().unwrap(), Arc::new(machine));
    thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine(socket));
        }
    });
    plant(telnetd::in_a_plant_file(address, keys), "idle = \"4h\"", Seconds(3_600))
}

/// Reads until the other end closes.
fn sink(mut socket: TcpStream) {
    while socket.read(&mut [0; 1 << 10]).unwrap_or_default() > 0 {}
}

fn has_no_session(plant: &Plant) -> bool {
    json(plant, "lee", &["sessions"])["sessions"] == serde_json::json!([])
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Until the shell at the target answers.
fn until_in(terminal: &mut Running) {
    terminal.until("switch# ");
    terminal.type_in("echo I am $((6 * 7))\r");
    terminal.until("I am 42");
}

#[test]
fn the_gate_logs_in_and_a_shell_is_recorded_and_played_without_the_password() {
    let mut stage = Stage::new(CREDENTIAL);
    let live = stage.switch.path("live.pcapng");
    let eyes = start(stage.plant.as_person("lee", &["capture", "-o"]).arg(&live));
    eventually("it is read along", || live.metadata().is_ok_and(|metadata| metadata.len() > 0));
    let mut terminal = stage.terminal();
    until_in(&mut terminal);
    terminal.type_in("stty size; echo $TERM\r");
    terminal.until("24 80");
    terminal.resize(132, 50);
    terminal.type_in("until stty size | grep -q 132; do sleep 0.1; done; stty size\r");
    terminal.until("50 132");
    // Ctrl-C stops what runs there, and the target's urgent answer to it tears nothing.
    terminal.type_in("echo begun $((1 + 1)); sleep 600\r");
    terminal.until("begun 2");
    terminal.type_in("\x03");
    terminal.type_in("echo still $((40 + 3))\r");
    terminal.until("still 43");
    terminal.type_in("exit\r");
    let ended = terminal.ends().ok();
    assert!(!ended.text().contains(PASSWORD), "{}", ended.text());
    assert_eq!(stage.switch.asked(), format!("{USER}\n"));
    let seen = || fs::read(&live).unwrap();
    eventually("who reads along saw it", || holds(&seen(), b"still $((40 + 3))"));
    drop(eyes);
    assert!(!holds(&seen(), PASSWORD.as_bytes()), "who reads along sees no password");
    eventually("the target's place is free", || stage.switch.is_idle());
    stage.plant.stop();
    let evidence = stage.plant.evidence();
    evidence.both_say(0);
    let recording = evidence.recording();
    for moment in &recording.moments {
        assert!(!format!("{moment:?}").contains(PASSWORD), "{moment:?}");
    }
    for stream in [Stream::In, Stream::Out, Stream::GateIn, Stream::GateOut, Stream::OutErr, Stream::GateOutErr] {
        let bytes = recording.bytes(stream);
        assert!(!holds(&bytes, PASSWORD.as_bytes()), "{stream:?}");
        assert!(!bytes.contains(&0xff), "negotiation is no part of the terminal");
    }
    assert_eq!(recording.bytes(Stream::GateIn), b"maint\r", "what the gate sent is marked as its own");
    let notes = recording.notes();
    let kept_back: Vec<_> = notes.iter().filter(|note| matches!(note, Note::Redacted { .. })).collect();
    let length = PASSWORD.len() as u64 + 1;
    assert!(matches!(kept_back[..], [Note::Redacted { bytes, .. }] if *bytes == length), "{kept_back:?}");
    let noted = |words: &str| {
        notes
            .iter()
            .any(|note| matches!(note, Note::GateVerdict { words: told, .. } if told.to_string().contains(words)))
    };
    assert!(noted("telnet: the target learns the terminal's size"), "{notes:?}");
    assert!(notes.iter().any(|note| matches!(note, Note::Resize { size } if (size.columns, size.rows) == (132, 50))));
    let session = recording.recording.id().to_string();
    let played =
        run(&mut evidence.holdpoint(&["play", &session, "--key", "key", "--speed", "1000", "--input"]), b"").ok();
    assert!(played.out().contains("still 43") && !played.out().contains(PASSWORD), "{}", played.out());
    let found = run(&mut evidence.holdpoint(&["play", &session, "--key", "key", "--search", "50 132"]), b"").ok();
    assert!(!found.out().is_empty());
}

#[test]
fn a_jump_and_the_lobby_lead_there_too() {
    let stage = Stage::new(CREDENTIAL);
    let tess = stage.plant.tess();
    let jump = format!("-oProxyJump={}", tess.at(""));
    let mut terminal = start_on_a_terminal(&tess.ssh(&["-tt", &jump, "switch-3"]));
    until_in(&mut terminal);
    terminal.type_in("exit\r");
    terminal.ends().ok();
    let mut lobby = start_on_a_terminal(&tess.ssh(&["-tt", &tess.at("")]));
    lobby.until("> ");
    lobby.type_in("connect switch-3\r");
    until_in(&mut lobby);
    lobby.type_in("exit\r");
    lobby.ends();
}

#[test]
fn what_telnet_cannot_do_is_refused_with_what_to_do() {
    let mut stage = Stage::new(CREDENTIAL);
    let tess = stage.plant.tess();
    let at = tess.at("switch-3");
    let ssh = |arguments: &[&str]| run(&mut tess.ssh(arguments), b"exit\n");
    let commands = "switch-3 speaks telnet, which runs no single command. Connect without one, and type it there";
    ssh(&[&at, "uptime"]).refused(1, commands);
    ssh(&["-tt", &at, "uptime"]).refused(1, commands);
    ssh(&["-T", &at]).refused(1, "switch-3 speaks telnet, which is a terminal: use ssh -t");
    let files = "switch-3 speaks telnet, which copies no files";
    ssh(&["-s", &at, "sftp"]).refused(1, files);
    let config = tess.path("ssh_config").display().to_string();
    tess.write("note", b"x");
    let mut scp = tess.tool("scp");
    scp.args(["-F", &config]).arg(tess.path("note")).arg(format!("{at}:note"));
    run(&mut scp, b"").says_no(files);
    let port = stage.switch.port().to_string();
    for host in ["switch-3", "telnet.switch-3"] {
        ssh(&["-W", &format!("{host}:{port}"), &tess.at("")])
            .says_no("switch-3 speaks telnet there, which the gate does for you: ssh -J");
    }
    assert_eq!(stage.switch.asked(), "", "nobody logged in");
    stage.plant.stop();
    stage.plant.evidence().both_say(0);
}

#[test]
fn a_freeze_a_cut_and_idleness_hold_as_in_any_shell() {
    let mut stage = Stage::with(CREDENTIAL, "idle = \"15s\"\nidle_ending = \"end\"", Seconds(3_600), Telnetd::start);
    let mut terminal = stage.terminal();
    until_in(&mut terminal);
    let told = terminal.ends().text();
    assert!(told.contains("Nobody typed anything for 15s"), "{told}");
    eventually("the target's connection is gone", || stage.switch.is_idle());
    let mut terminal = stage.terminal();
    until_in(&mut terminal);
    let session = stage.session();
    let caution = "telnet is best effort";
    for shown in [&["sessions"][..], &["requests", "--all", "--json"]] {
        let shown = run(&mut stage.plant.as_person("lee", shown), b"").ok().out();
        assert!(shown.contains(caution), "{shown}");
    }
    let mut watching = start(&mut stage.plant.as_person("lee", &["watch", &session]));
    watching.until("I am 42");
    stage.as_lee(&["freeze", &session]);
    terminal.until("Your input is stopped by an operator");
    terminal.type_in("touch frozen\r");
    stage.as_lee(&["thaw", &session]);
    terminal.until("Your input goes on");
    terminal.type_in("touch thawed\r");
    eventually("what is typed afterwards arrives", || stage.switch.path("thawed").exists());
    assert!(!stage.switch.path("frozen").exists());
    stage.as_lee(&["cut", &session]);
    let told = terminal.ends().text();
    assert!(told.contains("Access was cut by an operator"), "{told}");
    eventually("the target's connection is gone", || stage.switch.is_idle());
    assert!(!watching.ends().text().contains(PASSWORD));
    stage.plant.stop();
    let evidence = stage.plant.evidence();
    evidence.both_say(0);
    let endings: Vec<_> = evidence.recordings().iter().map(|opened| opened.ending().map(str::to_owned)).collect();
    assert_eq!(endings, [Some("idle".to_owned()), Some("cut".to_owned())]);
}

#[test]
fn a_terminal_ends_at_its_deadline_though_its_target_talks_on() {
    let stage = Stage::with(CREDENTIAL, "idle = \"4h\"", Seconds(15), Telnetd::start);
    let mut terminal = stage.terminal();
    until_in(&mut terminal);
    terminal.type_in("yes\r");
    let told = terminal.ends().text();
    assert!(told.contains("Your time at switch-3 is over"));
    eventually("the target's connection is gone", || stage.switch.is_idle());
}

#[test]
fn a_machine_that_shows_the_password_has_it_blotted_out_and_one_that_asks_again_gets_nothing() {
    let asks = "printf 'Username: '; read -r user; printf 'Password: '; read -r secret; echo \"you said $secret\"; \
                [ -e let-in ] || { touch let-in; secret=no; }";
    let mut stage =
        Stage::with(CREDENTIAL, "idle = \"4h\"", Seconds(3_600), |folder| Telnetd::with_login(folder, asks));
    let live = stage.switch.path("live.pcapng");
    let eyes = start(stage.plant.as_person("lee", &["capture", "-o"]).arg(&live));
    let seen = || fs::read(&live).unwrap_or_default();
    eventually("it is read along", || !seen().is_empty());
    let mut terminal = stage.terminal();
    let told = terminal.until("switch-3 asks again, so it does not take what the gate logs in with");
    assert_eq!(told.matches("asks again").count(), 1, "{told}");
    terminal.type_in(format!("{USER}\r"));
    terminal.until("Password: ");
    terminal.type_in("nonsense\r");
    terminal.until("you said nonsense");
    let said = terminal.said();
    assert!(said.contains(&format!("you said {}", "*".repeat(PASSWORD.len()))) && !said.contains(PASSWORD), "{said}");
    stage.as_lee(&["cut", &stage.session()]);
    terminal.ends();
    eventually("who reads along saw its beginning", || holds(&seen(), b"Username: "));
    stage.plant.stop();
    drop(eyes);
    assert!(!holds(&seen(), PASSWORD.as_bytes()), "who reads along sees no echo of it either");
    let evidence = stage.plant.evidence();
    evidence.both_say(0);
    for moment in &evidence.recording().moments {
        assert!(!format!("{moment:?}").contains(PASSWORD), "{moment:?}");
    }
    assert!(
        !evidence.recording().bytes(Stream::Out).windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes())
    );
}

#[test]
fn whoever_types_before_the_gate_is_done_is_told_and_may_log_in_by_themselves() {
    let asks = "printf 'Who? '; read -r user; printf 'Password: '; read -r secret";
    let stage = Stage::with(CREDENTIAL, "idle = \"4h\"", Seconds(3_600), |folder| Telnetd::with_login(folder, asks));
    let mut terminal = stage.terminal();
    terminal.until("Who? ");
    terminal.type_in("somebody\r");
    terminal.until("the gate logs in, and what you type meanwhile is thrown away");
    terminal.type_in("\x03");
    terminal.until("You log in yourself;");
    terminal.type_in("other\r");
    terminal.until("Password: ");
    terminal.type_in("mine\r");
    terminal.until("Login incorrect");
    assert_eq!(stage.switch.asked(), "other\n", "the gate sent nothing");
}

#[test]
fn a_machine_that_is_down_is_told_at_once() {
    let mut stage = Stage::new(CREDENTIAL);
    stage.switch.stop();
    let told = stage.terminal().ends().text();
    assert!(told.contains("switch-3 cannot be reached: Connection refused"), "{told}");
    eventually("the session is over", || has_no_session(&stage.plant));
    let ended = json(&stage.plant, "lee", &["sessions", "--all"]);
    assert_eq!(ended["sessions"][0]["ended"]["ending"], "target-unreachable", "{ended}");
    stage.plant.stop();
    let evidence = stage.plant.evidence();
    evidence.both_say(0);
    assert_eq!(evidence.recording().ending(), Some("target-unreachable"));
}

/// Telnet's own bytes, RFC 854.
const IAC: u8 = 255;
const DO: u8 = 253;
const WILL: u8 = 251;
const WONT: u8 = 252;
const SB: u8 = 250;
const NOP: u8 = 241;
const DM: u8 = 242;
const BINARY: u8 = 0;
const ECHO: u8 = 1;

#[test]
fn bytes_that_are_no_text_pass_both_ways_as_they_are() {
    let every: Vec<u8> = (0..=u8::MAX).collect();
    let (shown, heard) = (every.clone(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let mut plant = {
        let heard = Arc::clone(&heard);
        plant_of("", move |mut socket| {
            let escaped = shown.iter().flat_map(|byte| [*byte].repeat(if *byte == IAC { 2 } else { 1 }));
            let wire = [IAC, DO, BINARY, IAC, WILL, BINARY].into_iter().chain(escaped).collect::<Vec<_>>();
            // Telnet's Synch, RFC 854: a command whose last byte is urgent.
            rustix::net::send(&socket, &[IAC, DM], SendFlags::OOB).unwrap();
            // Not one packet, so that commands and escaped bytes are torn.
            for piece in wire.chunks(7) {
                socket.write_all(piece).unwrap();
            }
            let mut byte = [0];
            while socket.read(&mut byte).unwrap_or_default() > 0 {
                heard.lock().unwrap().push(byte[0]);
            }
        })
    };
    let tess = plant.tess();
    let mut ssh = start(&mut tess.ssh(&["-tt", "-e", "none", &tess.at("switch-3")]));
    eventually("everything is shown", || ssh.out_bytes() >= every.len());
    ssh.type_in(b"\xff\r\0\xfe");
    let typed = [IAC, IAC, b'\r', 0, 0xfe];
    eventually("what was typed arrives", || heard.lock().unwrap().ends_with(&typed));
    run(&mut plant.as_person("lee", &["cut", &session(&plant)]), b"").ok();
    let ended = ssh.ends();
    assert_eq!(&ended.out[..every.len()], every);
    plant.stop();
    let evidence = plant.evidence();
    evidence.both_say(0);
    let recording = evidence.recording();
    assert_eq!(recording.bytes(Stream::Out), every);
    assert_eq!(recording.bytes(Stream::In), b"\xff\r\0\xfe");
}

/// Many machines take one connection at a time, and end one on which nobody says anything.
#[test]
fn nothing_is_dialled_before_there_is_a_terminal() {
    let accepted = Arc::new(AtomicUsize::new(0));
    let plant = {
        let accepted = Arc::clone(&accepted);
        plant_of("connections_max = 1\n", move |mut socket| {
            accepted.fetch_add(1, Ordering::SeqCst);
            socket.write_all(b"hello").unwrap();
            sink(socket);
        })
    };
    let tess = plant.tess();
    let at = tess.at("switch-3");
    for refused in [&["-T", &at][..], &[&at, "uptime"], &["-s", &at, "sftp"]] {
        run(&mut tess.ssh(refused), b"").says_no("switch-3 speaks telnet");
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 0);
    let mut terminal = terminal(&plant);
    terminal.until("hello");
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[test]
fn a_machine_that_is_gone_before_it_showed_anything_is_no_success() {
    for greets in [&b""[..], &[IAC, DO, 24]] {
        let plant = plant_of("", move |mut socket| {
            socket.write_all(greets).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
            sink(socket);
        });
        let ended = terminal(&plant).ends();
        assert_eq!(ended.code(), 255, "{}", ended.text());
        assert!(ended.text().contains("switch-3 ended the connection before it showed anything"), "{}", ended.text());
    }
}

#[test]
fn a_machine_that_shows_nothing_is_said_to_and_is_cut_at_once() {
    let plant = plant_of("", sink);
    let mut terminal = terminal(&plant);
    terminal.until("switch-3 is connected, and shows nothing yet. Some machines wait for Return");
    run(&mut plant.as_person("lee", &["cut", &session(&plant)]), b"").ok();
    assert!(terminal.ends().text().contains("Access was cut by an operator"));
}

/// A machine that knows nothing of telnet but its port.
#[test]
fn a_machine_that_negotiates_nothing_is_logged_into_and_gets_what_is_typed() {
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut plant = {
        let heard = Arc::clone(&heard);
        plant_of(CREDENTIAL, move |mut socket| {
            for (shown, answer) in [("login: ", USER), ("Password: ", PASSWORD), ("\r\n> ", "show all")] {
                socket.write_all(shown.as_bytes()).unwrap();
                let mut line = vec![0; answer.len() + 2];
                socket.read_exact(&mut line).unwrap();
                heard.lock().unwrap().push(line);
            }
            socket.write_all(b"all is well\r\n").unwrap();
        })
    };
    let mut terminal = terminal(&plant);
    terminal.until("> ");
    terminal.type_in("show all\r");
    terminal.until("all is well");
    let ended = terminal.ends().ok();
    assert!(!ended.text().contains(PASSWORD), "{}", ended.text());
    let lines = [USER, PASSWORD, "show all"].map(|line| [line.as_bytes(), b"\r\0"].concat());
    assert_eq!(*heard.lock().unwrap(), lines, "a return is one, and no command is among it");
    plant.stop();
    plant.evidence().both_say(0);
}

#[test]
fn where_an_escort_is_required_nothing_typed_arrives_while_nobody_watches() {
    let stage = Stage::with(CREDENTIAL, "idle = \"4h\"\nescort = \"required\"", Seconds(3_600), Telnetd::start);
    let mut terminal = stage.terminal();
    terminal.until("here an operator must watch, and nobody does.");
    terminal.until("switch# ");
    terminal.type_in("touch unwatched\r");
    let session = stage.session();
    let mut watching = start_on_a_terminal(&stage.plant.as_person("lee", &["watch", &session]));
    watching.until("switch#");
    watching.until("SPACE says that you are there");
    watching.type_in(" ");
    terminal.until("An operator watches. Your input goes on");
    terminal.type_in("touch watched\r");
    eventually("what is typed then arrives", || stage.switch.path("watched").exists());
    assert!(!stage.switch.path("unwatched").exists());
    drop(watching);
    terminal.until("here an operator must watch");
}

#[test]
fn more_time_moves_the_deadline_of_a_terminal() {
    let stage = Stage::with(CREDENTIAL, "idle = \"4h\"", Seconds(25), Telnetd::start);
    let begun = Instant::now();
    let mut terminal = stage.terminal();
    until_in(&mut terminal);
    let tess = stage.plant.tess();
    run(&mut tess.ssh(&[&tess.at(""), "extend", "10m", "--at", "switch-3", "a port flaps"]), b"").ok();
    let ask = find(&json(&stage.plant, "lee", &["requests", "--all"]), "ask").unwrap();
    run(&mut stage.plant.as_person("lee", &["approve", &ask, "--yes"]), b"").ok();
    terminal.until("The session now lasts until");
    assert!(begun.elapsed() < Duration::from_secs(25), "this machine is too slow to see anything here");
    terminal.type_in("sleep 26; echo still $((40 + 3))\r");
    terminal.until("still 43");
}

/// What the gate may keep of a machine that does not listen, and of a technician who does not.
const KEPT_MAX: u64 = 48 << 20;

#[test]
fn a_machine_that_floods_a_technician_who_does_not_read_is_held_and_is_cut_at_once() {
    let written = Arc::new(AtomicUsize::new(0));
    let mut plant = {
        let written = Arc::clone(&written);
        plant_of("", move |mut socket| {
            while socket.write_all(&[b'x'; 64 << 10]).is_ok() {
                written.fetch_add(64 << 10, Ordering::SeqCst);
            }
        })
    };
    let mut terminal = terminal(&plant);
    terminal.until("xxxx");
    let before = plant.memory();
    terminal.signal(Signal::STOP);
    let mut last = 0;
    eventually("the machine is held", || {
        thread::sleep(Duration::from_millis(500));
        let so_far = written.load(Ordering::SeqCst);
        std::mem::replace(&mut last, so_far) == so_far
    });
    let after = plant.memory();
    assert!(after < before + KEPT_MAX, "{} MiB before, {} MiB after", before >> 20, after >> 20);
    let asked = session(&plant);
    run(&mut plant.as_person("lee", &["cut", &asked]), b"").ok();
    eventually("the session is over", || has_no_session(&plant));
    terminal.signal(Signal::CONT);
    terminal.ends();
    plant.stop();
    plant.evidence().both_say(0);
}

/// It asks and takes back, or begins what it never ends, or sends commands that say nothing.
#[test]
fn a_machine_that_sends_commands_without_end_and_reads_nothing_costs_little_and_is_cut_at_once() {
    let toggles = vec![IAC, WILL, ECHO, IAC, WONT, ECHO, IAC, DO, 24];
    for (begins, goes_on) in [(vec![], toggles), (vec![IAC, SB, 24], vec![b'x']), (vec![], vec![IAC, NOP])] {
        let written = Arc::new(AtomicUsize::new(0));
        let mut plant = {
            let written = Arc::clone(&written);
            plant_of("", move |mut socket| {
                socket.write_all(b"hello").unwrap();
                socket.write_all(&begins).unwrap();
                let garbage = goes_on.repeat(8 << 10);
                while socket.write_all(&garbage).is_ok() {
                    written.fetch_add(garbage.len(), Ordering::SeqCst);
                }
            })
        };
        let mut terminal = terminal(&plant);
        terminal.until("hello");
        let before = plant.memory();
        eventually("much came", || written.load(Ordering::SeqCst) > 64 << 20);
        let after = plant.memory();
        assert!(after < before + KEPT_MAX, "{} MiB before, {} MiB after", before >> 20, after >> 20);
        run(&mut plant.as_person("lee", &["cut", &session(&plant)]), b"").ok();
        assert!(terminal.ends().text().contains("Access was cut by an operator"));
        plant.stop();
        plant.evidence().both_say(0);
    }
}

/// The place is free at once, though the technician reads nothing of what came by it, and the machine is stuck in saying more.
#[test]
fn a_connection_that_an_operator_ends_frees_its_place_though_nobody_reads() {
    let (written, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let plant = {
        let (written, ended) = (Arc::clone(&written), Arc::clone(&ended));
        plant_of("connections_max = 1\n", move |mut socket| {
            while socket.write_all(&[b'x'; 64 << 10]).is_ok() {
                written.fetch_add(64 << 10, Ordering::SeqCst);
            }
            ended.fetch_add(1, Ordering::SeqCst);
        })
    };
    let mut first = terminal(&plant);
    first.until("xxxx");
    first.signal(Signal::STOP);
    let mut last = 0;
    eventually("the machine is held", || {
        thread::sleep(Duration::from_millis(500));
        let so_far = written.load(Ordering::SeqCst);
        std::mem::replace(&mut last, so_far) == so_far
    });
    run(&mut plant.as_person("lee", &["disconnect", &session(&plant)]), b"").ok();
    eventually("the machine knows", || ended.load(Ordering::SeqCst) == 1);
    terminal(&plant).until("xxxx");
    first.signal(Signal::CONT);
    let told = first.ends();
    assert!(told.text().contains("This connection gave its place at the target up") && told.code() == 1);
}

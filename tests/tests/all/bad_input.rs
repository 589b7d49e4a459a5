//! What strangers and the careless send to the running program: packets that are none, names without end, and bytes that
//! act on a terminal. Each is answered or ended, nothing hangs, and the next technician is served.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::Duration;

use tests::{Ended, Options, Plant, eventually, holdpoint, json, log_in, python, run, text};

fn ready() -> Plant {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    plant
}

fn ssh(plant: &Plant, arguments: &[&str]) -> Ended {
    run(&mut plant.tess().ssh(arguments), b"")
}

/// A packet of RFC 4253, section 6, before there are keys.
fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 4 + (8 - (payload.len() + 9) % 8) % 8;
    let length = u32::try_from(payload.len() + padding + 1).unwrap();
    let head = [&length.to_be_bytes()[..], &[u8::try_from(padding).unwrap()]].concat();
    [&head[..], payload, &vec![0; padding]].concat()
}

/// A KEXINIT with these ten name lists, each given with the length that it claims.
fn kexinit(lists: &[(u32, &str)]) -> Vec<u8> {
    let mut payload = vec![20];
    payload.extend([7; 16]);
    for (length, names) in lists {
        payload.extend(length.to_be_bytes());
        payload.extend(names.as_bytes());
    }
    payload.extend([0; 5]);
    packet(&payload)
}

/// What strangers may say first, and what is wrong with it.
fn openings() -> Vec<(&'static str, Vec<u8>)> {
    let offered = ["curve25519-sha256", "ssh-ed25519", "aes256-ctr", "aes256-ctr", "hmac-sha2-256", "hmac-sha2-256"];
    let honest: Vec<(u32, &str)> =
        offered.into_iter().chain(["none", "none", "", ""]).map(|list| (list.len() as u32, list)).collect();
    let with = |at: usize, list: (u32, &'static str)| {
        let mut lists = honest.clone();
        lists[at] = list;
        kexinit(&lists)
    };
    let after = |packets: &[Vec<u8>]| [b"SSH-2.0-stranger\r\n", &packets.concat()[..]].concat();
    let mut openings = vec![
        ("nothing that is SSH", b"GET / HTTP/1.1\r\nHost: gate\r\n\r\n".to_vec()),
        ("another version", b"SSH-1.5-old\r\n".to_vec()),
        ("a version without end", [b"SSH-2.0-".to_vec(), vec![b'x'; 1 << 20]].concat()),
        ("a version that acts on a terminal", b"SSH-2.0-\x1b]0;owned\x07\r\n\x00\x00".to_vec()),
        ("a thousand lines before it", b"hello\r\n".repeat(1_000)),
        ("a packet of no length", after(&[vec![0; 64]])),
        ("a packet of four gibibytes", after(&[vec![0xff; 64]])),
        ("more padding than packet", after(&[vec![0, 0, 0, 12, 200, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]])),
        ("an empty packet", after(&[packet(&[])])),
        ("a message that is none", after(&[packet(&[255])])),
        ("half a key exchange", after(&[packet(&[20, 1, 2, 3])])),
        ("a list longer than its packet", after(&[with(0, (u32::MAX, "curve25519-sha256"))])),
        ("a list that is not text", after(&[with(0, (4, "\u{fffd}\0"))])),
        ("nothing in common", after(&[with(2, (4, "none"))])),
        ("a login before keys", after(&[kexinit(&honest), packet(b"\x32\0\0\0\x04tess\0\0\0\x0essh-connection")])),
        ("new keys before an exchange", after(&[kexinit(&honest), packet(&[21])])),
        ("an empty exchange", after(&[kexinit(&honest), packet(&[30, 0, 0, 0, 0])])),
        ("an exchange of zeros", after(&[kexinit(&honest), packet(&[&[30, 0, 0, 0, 32][..], &[0; 32]].concat())])),
        ("two openings", after(&[kexinit(&honest), kexinit(&honest)])),
    ];
    let whole = after(&[kexinit(&honest)]);
    openings.extend((0..whole.len()).step_by(40).map(|at| {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x81;
        ("one byte another", flipped)
    }));
    openings
}

#[test]
fn malformed_packets_of_strangers_end_their_connection_and_nothing_else() {
    let mut plant = ready();
    let before = plant.memory();
    let openings = openings();
    for (what, bytes) in &openings {
        let mut socket = TcpStream::connect(("127.0.0.1", plant.ssh_port())).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // The gate may hang up while it is being told.
        let _told = socket.write_all(bytes).and_then(|()| socket.shutdown(Shutdown::Write));
        let mut answer = Vec::new();
        let ended = socket.read_to_end(&mut answer);
        let hangs = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!hangs, "{what}: the gate waits for more");
        assert!(answer.starts_with(b"SSH-2.0-"), "{what}: {answer:?}");
    }
    println!("{} openings, {} KiB more", openings.len(), plant.memory().saturating_sub(before) >> 10);
    assert!(plant.memory().saturating_sub(before) < 16 << 20);
    assert_eq!(ssh(&plant, &[&plant.tess().at("hmi-2"), "echo served"]).ok().out(), "served\n");
    assert!(!plant.gate().said().contains(['\u{1b}', '\u{7}']), "{}", plant.gate().said());
}

/// Signs in, and sends one odd message for each number on a connection of its own.
const ODD: &str = r#"
import subprocess, sys, paramiko
from paramiko.message import Message
def connected(tries=10):
    transport = paramiko.ServiceRequestingTransport(("127.0.0.1", int(sys.argv[1])))
    transport.auth_timeout = 5
    transport.start_client(timeout=20)
    key = paramiko.Ed25519Key.from_private_key_file("key")
    key.load_certificate("key-cert.pub")
    try:
        transport.auth_publickey("tess+hmi-2", key)
    except paramiko.AuthenticationException:
        # It heard the banner before it was ready to.
        return connected(tries - 1) if tries > 1 else sys.exit("no login")
    return transport
def message(kind, *fields):
    m = Message()
    m.add_byte(bytes([kind]))
    for field in fields:
        m.add_int(field) if isinstance(field, int) else m.add_string(field) if isinstance(field, bytes) else m.add_bytes(field[0])
    return m
odd = [
    ("a request of half a size", lambda c: message(98, c, b"pty-req", [b"\x01"], b"xterm", [b"\0\0"])),
    ("a command longer than its packet", lambda c: message(98, c, b"exec", [b"\x01\xff\xff\xff\xff"], [b"ls"])),
    ("a name that is not text", lambda c: message(98, c, b"subsystem", [b"\x01"], b"\xff\xfe\x00sftp")),
    ("a variable of thirty thousand bytes", lambda c: message(98, c, b"env", [b"\0"], b"LANG", b"x" * 30000)),
    ("bytes for a channel that is not open", lambda c: message(94, 77, b"data")),
    ("a window of four gibibytes, twice", lambda c: message(93, c, 0xffffffff)),
    ("a channel closed that is not open", lambda c: message(97, 4711)),
    ("a message that is none", lambda c: message(200, b"x" * 1000)),
    ("half a channel", lambda c: message(90, b"session", 5)),
    ("a login after the login", lambda c: message(50, b"lee", b"ssh-connection", b"none")),
    ("a success of its own", lambda c: message(52)),
    ("half a key exchange", lambda c: message(20, [b"\x01\x02"])),
]
for what, make in odd:
    transport = connected()
    channel = transport.open_session(timeout=20)
    try:
        for _ in range(2):
            transport._send_user_message(make(channel.remote_chanid))
        channel.settimeout(20)
        channel.exec_command("echo on")
        print(what + ":", channel.makefile().read().decode().strip() or "nothing", flush=True)
    except Exception as ended:
        print(what + ": ended,", type(ended).__name__, str(ended)[:60], flush=True)
    transport.close()
    transport.join(20)
    assert not transport.is_alive(), what
print("all", len(odd))
"#;

#[test]
fn malformed_packets_of_a_technician_end_no_session_but_theirs() {
    let Some(python) = python() else { return };
    let mut plant = ready();
    let mut neighbour = tests::process::start_on_a_terminal(&plant.tess().ssh(&["-tt", &plant.tess().at("hmi-2")]));
    neighbour.type_in("echo I am $((40 + 2))\r");
    neighbour.until("I am 42");
    let mut paramiko = plant.tess().tool(python);
    let told = run(paramiko.args(["-c", ODD, &plant.ssh_port().to_string()]), b"").ok();
    println!("{}", told.out());
    assert!(!told.out().contains("TimeoutError"), "{}", told.out());
    neighbour.type_in("echo still $((40 + 3))\r");
    neighbour.until("still 43");
    assert_eq!(plant.stop().code(), 0);
    plant.evidence().verify().ok();
}

#[test]
fn names_without_end_are_refused_and_reach_nobody() {
    let plant = ready();
    let (tess, huge) = (plant.tess(), "x".repeat(60_000));
    // Of what is longer still, ssh itself cuts the end that would say so.
    for (length, words) in [(900, "Permission denied"), (60_000, "xxx")] {
        let name = &huge[..length];
        ssh(&plant, &["-l", name, tests::person::GATE, "true"]).says_no(words);
        ssh(&plant, &["-l", &format!("tess+{name}"), tests::person::GATE, "true"]).says_no(words);
    }
    ssh(&plant, &[&tess.at(""), &huge]).says_no("exec request failed");
    run(&mut plant.as_person("tess", &["login"]), format!("{}\n", tess.code()).as_bytes()).ok();
    let request = ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", &huge];
    run(&mut plant.as_person("tess", &request), b"").says_no("1000 are the most");
    let told = ssh(&plant, &[&plant.tess().at("hmi-2"), &format!("echo {} | wc -c", "y".repeat(20_000))]).ok();
    assert_eq!(told.out().trim(), "20001");
    assert_eq!(plant.hmi.connections(), 1);
}

/// Sets a window's title, moves up and clears, and turns the direction of writing.
const ACTS: &str = "a\u{1b}]0;owned\u{7}b\u{1b}[1A\u{1b}[2Jc\u{9b}31md\u{202e}e";

#[test]
fn bytes_that_act_on_a_terminal_come_out_of_no_command_and_no_log() {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    let tess = plant.tess();
    tess.write("up", b"content");
    fs::write(tess.path(ACTS), b"content").unwrap();
    let mut scp = tess.tool("scp");
    let folder = format!("{}:{}/", tess.at("hmi-2"), plant.hmi.path("").display());
    run(scp.args(["-q", "-F"]).arg(tess.path("ssh_config")).args([ACTS, &folder]), b"").ok();
    assert!(plant.hmi.path(ACTS).exists());
    ssh(&plant, &["-l", ACTS, tests::person::GATE, "true"]).says_no("invalid characters");
    let asked = ssh(&plant, &[&tess.at(""), &format!("request hmi-2 {ACTS}")]);
    let stop = plant.stop();
    assert_eq!(stop.code(), 0, "{}", stop.text());
    let evidence = plant.evidence();
    let session = evidence.recording().recording.id().to_string();
    let shown = [
        asked.text(),
        stop.text(),
        evidence.verify().ok().text(),
        run(&mut evidence.holdpoint(&["recordings"]), b"").ok().text(),
    ];
    for text in shown {
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{text:?}");
    }
    // Playing paints a screen, by sequences of its own.
    let played = run(&mut evidence.holdpoint(&["play", &session, "--key", "key", "--speed", "1000"]), b"").ok().text();
    assert!(!played.contains("\u{1b}]") && !played.contains(['\u{7}', '\u{9b}', '\u{202e}']), "{played:?}");
}

#[test]
fn a_work_order_that_acts_on_a_terminal_comes_out_of_no_command_page_log_or_notice() {
    let mut plant = Plant::enrolled(Options::default());
    let notices = plant.notices();
    plant.serve();
    ["lee", "tess"].iter().for_each(|name| log_in(&plant, name));
    let order = format!("WO-17{ACTS}");
    let lobby = ssh(&plant, &[&plant.tess().at(""), &format!("request hmi-2 --work-order {order} the pump trips")]);
    let waits = ["request", "hmi-2", "--actions", "shell", "--for", "1h", "--reason", "valve", "--work-order", &order];
    let asked = holdpoint(&plant, "tess", &waits).ok();
    let mut shown = vec![lobby.text(), asked.text()];
    for (who, command) in [("tess", "requests"), ("lee", "requests"), ("lee", "status")] {
        shown.push(holdpoint(&plant, who, &[command]).ok().text());
        shown.push(holdpoint(&plant, who, &[command, "--json"]).ok().text());
    }
    let requests = json(&plant, "lee", &["requests"]);
    let requests = requests["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 2, "both ways to ask");
    for request in requests {
        assert!(text(&request["work_order"]).starts_with("WO-17"), "{request}");
    }
    shown.push(holdpoint(&plant, "lee", &["approve", &text(&requests[0]["request"]), "--yes"]).ok().text());
    ssh(&plant, &[&plant.tess().at("hmi-2"), "true"]).ok();
    eventually("its end is journaled", || {
        json(&plant, "lee", &["sessions"])["sessions"].as_array().is_some_and(Vec::is_empty)
    });
    let session = text(&json(&plant, "lee", &["sessions", "--all"])["sessions"][0]["session"]);
    let (trust, pack) = (plant.installation().join("trust.toml"), plant.tess().path("pack.zip"));
    let make = ["evidence", &session, "--trust", trust.to_str().unwrap(), "-o", pack.to_str().unwrap()];
    shown.push(holdpoint(&plant, "lee", &make).ok().text());
    let texts = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\n\
                 for n in z.namelist():\n  if n.endswith(('html', 'json')): print(n, z.read(n).decode())";
    let packed = run(Command::new("python3").args(["-c", texts]).arg(&pack), b"").ok().text();
    assert!(packed.contains("WO-17"), "{packed}");
    shown.push(packed);
    shown.push(fs::read_to_string(&notices).unwrap());
    let stop = plant.stop();
    assert_eq!(stop.code(), 0, "{}", stop.text());
    let evidence = plant.evidence();
    shown.extend([stop.text(), evidence.verify().ok().text()]);
    for text in shown {
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{text:?}");
    }
}

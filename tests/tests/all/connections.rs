//! Sessions of TCP connections as an auditor reads them with the program: what was done, as lines, as tables and as packets.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use policies::actions::Action;
use policies::time::Seconds;
use rustix::process::Signal;
use serde_json::Value;
use tests::plant::program;
use tests::{Ended, Options, Plant, eventually, run, start};

use crate::support::Store;
use crate::support::connections::{ANSWER, READ, REFUSED, WRITE};

/// An auditor's machine: a copied data folder and a key.
struct Auditor {
    store: Store,
    session: String,
}

impl Auditor {
    fn of(store: Store) -> Self {
        fs::write(store.dir().join("auditor.key"), &store.secret).unwrap();
        let records = recordings::read::Store::open(store.dir()).unwrap();
        let session = records.list().recordings[0].id().to_string();
        Self { store, session }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.store.dir().join(name)
    }

    fn types(&self, command: &str, more: &[&str]) -> Ended {
        let mut typed = Command::new(program());
        typed.args([command, &self.session, "--data", ".", "--key", "auditor.key"]).args(more);
        run(typed.current_dir(self.store.dir()), b"")
    }
}

#[test]
fn what_was_done_on_connections_is_played_as_a_list() {
    let auditor = Auditor::of(crate::support::connections::store(true));
    let played = auditor.types("play", &[]).ok().out();
    let lines: Vec<&str> = played.lines().collect();
    assert_eq!(lines.len(), 8, "{played}");
    assert!(
        lines[1].contains("    1  passed   read 2 holding registers from 40101")
            && lines[1].contains("(2 times, until ")
    );
    assert!(
        lines[2].ends_with(
            "    1  REFUSED  to write 55 to holding register 40101 (address 100), unit 1: your grant holds observe"
        ),
        "{played}"
    );
    assert!(lines[6].contains("TLS encrypted inside: kept, nobody can read what was done"), "{played}");
    assert!(lines[7].ends_with("  [gate]   the session ended: left"), "{played}");

    let of_one = auditor.types("play", &["--channel", "2"]).ok().out();
    assert!(of_one.lines().count() == 3 && !of_one.contains("holding"), "{of_one}");
    let found = auditor.types("play", &["--search", "write 55"]).ok().out();
    assert!(found.lines().count() == 1 && found.contains("REFUSED"), "{found}");
    auditor.types("play", &["--search", "valve"]).refused(1, "\"valve\" stands in no line");
    let late = auditor.types("play", &["--from", "1h"]).ok().out();
    assert_eq!(late, "", "all of it was before");
    auditor.types("play", &["--speed", "2"]).refused(2, "no screen: what was done is listed");

    let json = auditor.types("play", &["--json"]).ok().out();
    let rows: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((rows.len(), &rows[2]["event"], &rows[2]["allowed"]), (8, &"operation".into(), &false.into()));
    assert_eq!((&rows[1]["times"], &rows[2]["operation"]["value"]), (&2.into(), &"55".into()));
    assert_eq!((&rows[6]["encrypted"], &rows[7]["event"]), (&"tls".into(), &"ended".into()));
}

#[test]
fn operations_and_packets_are_exported_and_nothing_half_stays() {
    let auditor = Auditor::of(crate::support::connections::store(true));
    let told = auditor.types("export", &["--as", "operations", "-o", "list.csv"]).ok().out();
    assert!(told.starts_with("list.csv: 4 operations"), "{told}");
    let table = fs::read_to_string(auditor.path("list.csv")).unwrap();
    assert!(
        table.starts_with("time,channel,result,") && table.contains("\"REFUSED\",\"1\",\"modbus\",\"operate\""),
        "{table}"
    );
    auditor.types("export", &["--as", "operations-json", "-o", "list.jsonl"]).ok();
    let lines = fs::read_to_string(auditor.path("list.jsonl")).unwrap();
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()) && lines.lines().count() == 4);

    let told = auditor.types("export", &["--as", "pcapng", "-o", "session.pcapng"]).ok().out();
    assert_eq!(
        told,
        "session.pcapng: 2 connections, 122 bytes of the technician's side; packets are made up around them\n"
    );
    let told = auditor.types("export", &["--as", "pcapng", "--side", "target", "-o", "target.pcapng"]).ok().out();
    assert!(told.starts_with("target.pcapng: 2 connections, 105 bytes of the target's side;"), "{told}");
    assert_eq!(fs::read(auditor.path("session.pcapng")).unwrap()[..4], [0x0a, 0x0d, 0x0d, 0x0a]);

    auditor.types("export", &["--as", "operations", "-o", "list.csv"]).refused(3, "list.csv");
    assert_eq!(fs::read_to_string(auditor.path("list.csv")).unwrap(), table, "nobody's file is replaced");
    auditor.types("export", &["-o", "no.cast"]).refused(1, "nothing a cast could show");
    auditor.types("export", &["--as", "operations", "--side", "target", "-o", "no.csv"]).refused(2, "--as pcapng");
    auditor.types("export", &["--as", "pcapng", "--input", "-o", "no.pcapng"]).refused(2, "--input is for a cast");
    assert!(["no.cast", "no.csv", "no.pcapng"].iter().all(|name| !auditor.path(name).exists()), "nothing half stays");

    let auditor = Auditor::of(crate::support::connections::store(false));
    let told = auditor.types("export", &["--as", "pcapng", "-o", "session.pcapng"]).ok().out();
    assert!(told.contains("The gate's own answers stand where they were recorded"), "{told}");
    auditor
        .types("export", &["--as", "pcapng", "--side", "target", "-o", "target.pcapng"])
        .refused(1, "what reached the target cannot be told byte by byte");
}

/// What the page of the reader's own says at an address below its own.
fn ask(url: &str, what: &str) -> String {
    let (host, secret) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).unwrap();
    let mut socket = TcpStream::connect(host).unwrap();
    write!(socket, "GET /{secret}{what} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn on_a_page_the_same_list_stands_beside_a_screen_that_is_empty() {
    let auditor = Auditor::of(crate::support::connections::store(true));
    let mut play = Command::new(program());
    play.args(["play", &auditor.session, "--data", ".", "--key", "auditor.key", "--web"])
        .current_dir(auditor.store.dir());
    let mut web = start(&mut play);
    let told = web.until("until Ctrl-C");
    let url = told.lines().find(|line| line.starts_with("http://127.0.0.1:")).unwrap();
    let marks = ask(url, "marks");
    for (kind, words) in [
        ("ran", "connection (tls) from 192.0.2.7:50111 opened to 10.20.2.7:502"),
        ("passed", "read 2 holding registers from 40101 (address 100), unit 1 (2 times)"),
        ("refused", "refused to write 55 to holding register 40101 (address 100), unit 1: your grant holds observe"),
        ("ended", "the session ended: left"),
    ] {
        let mark = format!("\"kind\":\"{kind}\",\"words\":\"{words}\"");
        assert!(marks.contains(&mark), "{mark}: {marks}");
    }
    let window = ask(url, "window?from=0");
    assert!(window.contains("\"channel\":null") && window.contains("\"screen\":\"\""), "{window}");
    web.signal(Signal::INT);
    assert_eq!(web.ends().code(), 0);
}

/// A controller that answers each read as it is told to; gives its port.
fn controller() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let mut request = [0; READ.len()];
            while socket.read_exact(&mut request).is_ok() {
                assert_eq!(request, READ, "nothing else reaches it");
                socket.write_all(ANSWER).unwrap();
            }
        }
    });
    port
}

#[test]
fn a_session_at_a_controller_is_recorded_listed_and_followed_as_packets() {
    let port = controller();
    let more = format!(
        "[targets.plc-7]\nzone = \"packaging\"\n[targets.plc-7.services.modbus]\nprotocol = \"modbus\"\n\
         address = \"127.0.0.1:{port}\"\n[[rules]]\nid = \"acme-plc\"\nvendors = [\"acme\"]\nroles = [\"maintenance\"]\n\
         targets = [\"plc-7\"]\nactions = [\"observe\"]\nduration_max = \"4h\"\n\
         approvals = [{{ from = \"shift-lead\", count = 1 }}]\nwork_order = \"optional\"\n"
    );
    let mut plant = Plant::ready(Options { more, ..Options::default() });
    plant.grant("tess", "plc-7", &[Action::Observe], Seconds(3_600));
    plant.serve();
    let there = format!("plc-7:{port}");
    // All at once: the answers to both reads come while the gate's own still waits for its turn between them.
    let asked = [READ, WRITE, READ].concat();
    let answered = [ANSWER, REFUSED, ANSWER].concat();
    let mut ssh = start(&mut plant.tess().ssh(&["-W", &there, &plant.tess().at("")]));
    ssh.type_in(&asked);
    eventually("all three are answered", || ssh.out_bytes() == answered.len());
    ssh.ends();
    assert_eq!(plant.stop().code(), 0);
    let evidence = plant.evidence();
    let session = evidence.recording().recording.id().to_string();

    let played = run(&mut evidence.holdpoint(&["play", &session, "--key", "key"]), b"").ok().out();
    assert!(played.contains(&format!("connection (direct-tcpip) opened to 127.0.0.1:{port}")), "{played}");
    assert!(played.contains("  passed   ") && played.contains("  REFUSED  to write "), "{played}");
    assert!(!played.contains("nobody looked into it"), "{played}");
    let exported = |side: &str| {
        let file = format!("{side}.pcapng");
        let export = ["export", &session, "--key", "key", "--as", "pcapng", "--side", side, "-o", &file];
        let told = run(&mut evidence.holdpoint(&export), b"").ok().out();
        assert!(told.ends_with("packets are made up around them\n"), "every place is known: {told}");
        followed(&evidence.path(&file))
    };
    let Some(technician) = exported("technician") else { return };
    assert_eq!(technician, [asked, answered]);
    assert_eq!(exported("target"), Some([[READ, READ].concat(), [ANSWER, ANSWER].concat()]));
}

/// What both ends of the first stream of a file sent, as tshark follows it; it finds nothing odd there.
fn followed(file: &Path) -> Option<[Vec<u8>; 2]> {
    let tshark = |arguments: &[&str]| {
        let mut tshark = Command::new("tshark");
        run(tshark.arg("-r").arg(file).args(arguments), b"").ok().out()
    };
    if !Path::new("/usr/bin/tshark").exists() {
        println!("SKIPPED: tshark is not installed (Debian: tshark)");
        return None;
    }
    let odd = "tcp.analysis.flags || tcp.checksum.status == 0 || ip.checksum.status == 0 || _ws.malformed";
    let checked = ["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-Y", odd];
    assert_eq!(tshark(&checked), "");
    let told = tshark(&["-q", "-z", "follow,tcp,raw,0"]);
    let mut sides = [Vec::new(), Vec::new()];
    let lines = told.lines().skip_while(|line| !line.starts_with("Node 1")).skip(1);
    for line in lines.take_while(|line| !line.starts_with('=')) {
        let bytes = data_encoding::HEXLOWER.decode(line.trim().as_bytes()).unwrap();
        sides[usize::from(line.starts_with('\t'))].extend(bytes);
    }
    Some(sides)
}

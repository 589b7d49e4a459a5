//! `holdpoint connect` behind a proxy that opens TLS, and what a stranger who speaks WebSocket by hand gets from the gate:
//! the same grants, gates, recordings and endings as everywhere.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use jiff::Timestamp;
use policies::actions::Action;
use policies::digest::Digest;
use policies::time::Seconds;
use recordings::frame::Stream;
use recordings::notes::Note;
use tests::connecting::{echoed, journal, on_the_port_of_its_origin, request_at};
use tests::peers::{free_port, machine, mbpoll, peer};
use tests::person::GATE;
use tests::{Connecting, Echo, Opening, Options, Plant, Running, eventually, holdpoint, log_in, run, start};

const HOUR: Seconds = Seconds(3_600);

/// Two controllers with one service each.
fn options(protocol: &str, port: u16) -> Options {
    let target = |name: &str, address: &str| {
        format!(
            "[targets.{name}]\nzone = \"packaging\"\n[targets.{name}.services.{protocol}]\nprotocol = \"{protocol}\"\n\
             address = \"{address}:{port}\"\nconnections_max = 8\n"
        )
    };
    let more = format!(
        "{}{}[[rules]]\nid = \"acme-plc\"\nvendors = [\"acme\"]\nroles = [\"maintenance\"]\ntargets = [\"plc-7\", \"plc-8\"]\n\
         actions = [\"observe\", \"operate\", \"tunnel\"]\nduration_max = \"4h\"\nconnections = 1\n\
         approvals = [{{ from = \"shift-lead\", count = 1 }}]\nwork_order = \"optional\"\n",
        target("plc-7", "127.0.0.1"),
        target("plc-8", "127.0.0.2")
    );
    Options { more, ..Options::default() }
}

/// A gate on one port before such a controller, with a grant for `tess`, who is signed in.
fn plant_at(protocol: &str, port: u16, action: Action, lasts: Seconds) -> Plant {
    let mut plant = Plant::ready(options(protocol, port));
    on_the_port_of_its_origin(&plant);
    plant.grant("tess", "plc-7", &[action], lasts);
    plant.serve();
    log_in(&plant, "tess");
    plant
}

/// `connect` through the proxy, as one who knows that it opens TLS.
fn connect(plant: &Plant, proxy: &Opening) -> (Connecting, SocketAddr) {
    let ca = proxy.ca().display().to_string();
    let arguments = proxy.through(&["plc-7", "--websocket", "--proxy-ca", &ca]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut connect = Connecting::start(plant, "tess", &arguments);
    let port = connect.port();
    (connect, port)
}

fn connected(at: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(at).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
    socket
}

#[test]
fn a_proxy_that_opens_tls_is_noticed_and_trusted_only_if_that_was_said() {
    let echo = Echo::listen();
    let plant = plant_at("tcp", echo.port, Action::Tunnel, HOUR);
    let proxy = Opening::before(&plant);
    let typed = |more: &[&str]| {
        let arguments = proxy.through(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        plant.as_person("tess", &[&["connect", "--json", "plc-7"], arguments.as_slice()].concat())
    };
    let connect = |more: &[&str]| run(&mut typed(more), b"");
    // Although the machine trusts it, as such laptops do.
    let trusted = |more: &[&str]| {
        let mut typed = typed(more);
        typed.env("SSL_CERT_FILE", proxy.ca());
        typed
    };
    let told = run(&mut trusted(&[]), b"").refused(1, "answered by somebody who is not the gate");
    assert!(told.err().contains("--websocket"), "{}", told.err());
    let nothing = plant.tess().path("nothing.pem");
    fs::write(&nothing, "nothing").expect("a file");
    connect(&["--websocket"]).refused(1, "--proxy-ca");
    connect(&["--websocket", "--proxy-ca", nothing.to_str().expect("a path")]).refused(2, "no certificate");
    connect(&["--proxy-ca", "x"]).refused(2, "--websocket");
    connect(&["--websocket", "--certificate", "x"]).refused(2, "cannot be used with");
    assert!(!proxy.read().contains("/api/"), "{}", proxy.read());
    // What the machine trusts is taken where nothing was said.
    let mut connect = Connecting(start(&mut trusted(&["--websocket"])));
    assert_eq!(echoed(connect.port(), b"by what is trusted"), b"by what is trusted");
    eventually("the proxy read what passed", || proxy.read().contains("/api/v1/tcp/plc-7/tcp"));
}

#[test]
fn operators_see_that_it_comes_so_and_a_plant_may_forbid_it() {
    let echo = Echo::listen();
    let plant = plant_at("tcp", echo.port, Action::Tunnel, HOUR);
    let mut connect = Connecting::start(&plant, "tess", &["plc-7", "--websocket"]);
    let at = connect.port();
    let mut socket = connected(at);
    socket.write_all(b"x").and_then(|()| socket.read_exact(&mut [0])).expect("it is carried");
    log_in(&plant, "lee");
    let shown = || holdpoint(&plant, "lee", &["sessions"]).ok().out();
    assert!(shown().contains("over a WebSocket"), "{}", shown());
    drop(socket);
    connect.until("closed");
    eventually("by TLS it is not shown", || {
        let mut by_tls = Connecting::start(&plant, "tess", &["plc-7"]);
        let mut socket = connected(by_tls.port());
        socket.write_all(b"x").and_then(|()| socket.read_exact(&mut [0])).expect("it is carried");
        shown().contains("plc-7/tcp") && !shown().contains("over a WebSocket")
    });
    let text = fs::read_to_string(plant.installation().join("plant.toml")).expect("a plant file");
    let forbidding = plant.installation().join("forbidding.toml");
    fs::write(&forbidding, text.replace("[plant]\n", "[plant]\nwebsockets = false\n")).expect("a file");
    log_in(&plant, "ada");
    for signer in ["ada", "lee"] {
        holdpoint(&plant, signer, &["adopt", forbidding.to_str().expect("a path"), "--yes"]).ok();
    }
    let met = echo.met();
    assert_eq!(echoed(at, b"no more"), b"");
    let refused = connect.until("not-carried");
    assert!(refused["words"].as_str().is_some_and(|words| words.contains("takes no connections within a WebSocket")));
    assert_eq!(echo.met(), met);
    assert!(journal(&plant).contains("no-websockets"));
    let mut by_tls = Connecting::start(&plant, "tess", &["plc-7"]);
    assert_eq!(echoed(by_tls.port(), b"by TLS"), b"by TLS");
}

#[test]
fn without_anything_in_between_a_websocket_is_carried_too() {
    let echo = Echo::listen();
    let plant = plant_at("tcp", echo.port, Action::Tunnel, HOUR);
    let mut connect = Connecting::start(&plant, "tess", &["plc-7", "--websocket"]);
    assert_eq!(echoed(connect.port(), b"straight"), b"straight");
}

#[test]
fn pymodbus_and_mbpoll_work_through_it_writes_are_refused_and_all_is_recorded() {
    let Some(controller) = peer("modbus_server.py") else { return };
    let (controller, port) = machine(controller);
    let mut plant = plant_at("modbus", port, Action::Observe, HOUR);
    let proxy = Opening::before(&plant);
    let (connect, at) = connect(&plant, &proxy);
    let mut client = peer("modbus_client.py").expect("Python is there");
    assert!(run(client.arg(at.port().to_string()), b"").ok().out().contains("as it should be"));
    assert!(mbpoll(at.port(), &["-t", "4", "-r", "100", "-c", "2", "127.0.0.1"]).ok().out().contains("[100]: \t7"));
    mbpoll(at.port(), &["-t", "4", "-r", "100", "127.0.0.1", "55", "56"]).says_no("Illegal function");
    let reached = controller.said();
    assert!(!reached.contains("seen 6") && !reached.contains("seen 16"), "{reached}");
    drop(connect);
    plant.stop();
    let evidence = plant.evidence();
    evidence.verify().ok();
    let recording = evidence.recording();
    let opened: Vec<_> = recording
        .notes()
        .into_iter()
        .filter_map(|note| match note {
            Note::ChannelOpen { kind, from, .. } => Some((kind.to_string(), from.is_some())),
            _ => None,
        })
        .collect();
    assert_eq!(opened, vec![("websocket".to_owned(), true); 3]);
    let is_told = |line: &str| {
        recording
            .notes()
            .iter()
            .any(|note| matches!(note, Note::GateVerdict { words, .. } if words.to_string() == line))
    };
    assert!(is_told("read holding registers 40101 to 40102 (addresses 100 to 101), unit 1"));
    assert!(is_told("refused to write 55, 56 to holding registers 40101 to 40102 (addresses 100 to 101), unit 1"));
}

#[test]
fn bulk_passes_whole_and_either_side_may_finish_first() {
    let echo = Echo::listen();
    let mut plant = plant_at("tcp", echo.port, Action::Tunnel, HOUR);
    let proxy = Opening::before(&plant);
    let (mut connect, at) = connect(&plant, &proxy);
    let much: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut socket = connected(at);
    let (mut half, sent) = (socket.try_clone().expect("a handle"), much.clone());
    let sending = std::thread::spawn(move || {
        half.write_all(&sent).expect("it is taken");
        half.shutdown(Shutdown::Write).expect("it is open");
    });
    let mut back = Vec::new();
    socket.read_to_end(&mut back).expect("all of it");
    sending.join().expect("it was sent");
    assert!(back == much, "{} bytes", back.len());
    assert_eq!(echo.next_end(), "FIN");
    assert_eq!(connect.until("closed")["bytes_up"], much.len());
    drop((socket, connect));
    plant.stop();
    let evidence = plant.evidence();
    evidence.verify().ok();
    let recording = evidence.recording();
    assert!(recording.bytes(Stream::In) == much && recording.bytes(Stream::Out) == much);
}

#[test]
fn a_cut_ends_it_at_once_though_nobody_reads_and_little_waits_in_between() {
    let echo = Echo::listen();
    let mut plant = plant_at("tcp", echo.port, Action::Tunnel, HOUR);
    let proxy = Opening::before(&plant);
    let (mut connect, at) = connect(&plant, &proxy);
    let mut socket = connected(at);
    socket.write_all(b"x").and_then(|()| socket.read_exact(&mut [0])).expect("it is carried");
    let before = plant.memory();
    // What comes back is not read, until nothing more is taken.
    socket.set_write_timeout(Some(Duration::from_secs(3))).expect("a time");
    let mut sent = 0_usize;
    while let Ok(written) = socket.write(&[7; 64 << 10]) {
        sent += written;
        assert!(sent < 512 << 20, "it takes everything");
    }
    let grown = plant.memory().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more for {sent} that wait");
    log_in(&plant, "lee");
    holdpoint(&plant, "lee", &["cut", "--technician", "tess"]).ok();
    echo.next_end();
    drop(socket);
    let over = connect.until("over");
    assert!(over["words"].as_str().is_some_and(|words| words.contains("cut")), "{over}");
    plant.stop();
    plant.evidence().verify().ok();
}

#[test]
fn connect_shows_why_the_gate_closes_it_in_full() {
    // Nothing listens there.
    let port = free_port();
    let plant = plant_at("tcp", port, Action::Tunnel, HOUR);
    let proxy = Opening::before(&plant);
    let (mut connect, at) = connect(&plant, &proxy);
    assert_eq!(echoed(at, b"anybody?"), b"");
    let closed = connect.until("closed");
    assert!(closed["words"].as_str().is_some_and(|words| words.contains("refused")), "{closed}");
}

#[test]
fn the_end_of_a_grant_closes_it_and_whoever_comes_after_is_told_why() {
    let echo = Echo::listen();
    let plant = plant_at("tcp", echo.port, Action::Tunnel, Seconds(10));
    let proxy = Opening::before(&plant);
    let (mut connect, at) = connect(&plant, &proxy);
    let mut socket = connected(at);
    socket.write_all(b"x").and_then(|()| socket.read_exact(&mut [0])).expect("it is carried");
    assert_eq!(socket.read(&mut [0]).unwrap_or(0), 0, "it is closed at the end");
    assert_eq!(echo.next_end(), "FIN");
    let over = connect.until("over");
    assert!(over["words"].as_str().is_some_and(|words| words.contains("the grant's time is over")), "{over}");
    connect.0.ends().ok();
}

/// Somebody who has a client certificate, and speaks with `openssl` alone.
struct ByHand<'a> {
    plant: &'a Plant,
    certificate: Vec<u8>,
    key: PathBuf,
}

impl<'a> ByHand<'a> {
    fn new(plant: &'a Plant) -> (Connecting, Self) {
        let file = plant.tess().path("client.pem");
        let mut connect = Connecting::start(plant, "tess", &["plc-7", "--certificate", file.to_str().expect("a path")]);
        connect.until("certificate");
        let der = run(Command::new("openssl").args(["x509", "-outform", "DER", "-in"]).arg(&file), b"").ok();
        (connect, Self { plant, certificate: der.out, key: file })
    }

    /// What the gate calls its present run.
    fn start(&self) -> String {
        let said = self.asks("/healthz", "").until("\r\n\r\n");
        let line = said.lines().find_map(|line| line.strip_prefix("holdpoint-start: "));
        line.unwrap_or_else(|| panic!("no start: {said}")).to_owned()
    }

    /// Token and proof, as the description of the API has them.
    fn shown(&self, path: &str, key: &PathBuf) -> String {
        let start = self.start();
        let (at, empty) = (Timestamp::now().to_string(), HEXLOWER.encode(&Digest::of_bytes(b"").0));
        let id = HEXLOWER.encode(&Digest::of_bytes(&self.certificate).0);
        let message =
            serde_json::to_vec(&("holdpoint/request/v2", "GET", path, empty, id, &at, &start)).expect("texts");
        let signed = run(Command::new("openssl").args(["dgst", "-sha256", "-sign"]).arg(key), &message).ok();
        let signature = BASE64.encode(BASE64.encode(&signed.out).as_bytes());
        let token = BASE64URL_NOPAD.encode(&self.certificate);
        format!("Authorization: Bearer certificate.{token}\r\nHoldpoint-Proof: {at} {start} {signature}\r\n")
    }

    /// What is answered to a request for a WebSocket.
    fn asks(&self, path: &str, headers: &str) -> Running {
        let mut openssl = Command::new("openssl");
        openssl.args([
            "s_client",
            "-quiet",
            "-verify_return_error",
            "-connect",
            &self.plant.faces.pages[0].to_string(),
        ]);
        openssl
            .args(["-servername", GATE, "-verify_hostname", GATE, "-CAfile"])
            .arg(self.plant.tess().path("../../ca.pem"));
        let mut line = start(&mut openssl);
        line.type_in(format!("GET {path} HTTP/1.1\r\nHost: {GATE}\r\n{headers}\r\n"));
        line
    }
}

const PATH: &str = "/api/v1/tcp/plc-7/tcp";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A message of a client's, masked with nothing (RFC 6455, 5.2).
fn masked(opcode: u8, text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("it is short");
    [&[0x80 | opcode, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

#[test]
fn a_stranger_by_hand_is_carried_and_learns_why_it_ends() {
    let echo = Echo::listen();
    let plant = plant_at("tcp", echo.port, Action::Tunnel, HOUR);
    let (_connect, by_hand) = ByHand::new(&plant);
    let mut line = by_hand.asks(PATH, &(by_hand.shown(PATH, &by_hand.key) + UPGRADE));
    let said = line.until("\"carried\"");
    // The accept key of the example in RFC 6455, 1.3.
    assert!(said.contains("101 Switching Protocols") && said.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{said}");
    line.type_in(masked(2, "by hand"));
    line.until("by hand");
    log_in(&plant, "lee");
    holdpoint(&plant, "lee", &["revoke", &request_at(&plant, "plc-7"), "--reason", "enough"]).ok();
    line.until("Your grant for plc-7 was taken back by an operator.");
    assert_eq!(echo.met(), 1);
}

#[test]
fn a_request_that_was_read_on_the_way_opens_nothing_after_a_restart_and_connect_goes_on() {
    let echo = Echo::listen();
    let mut plant = plant_at("tcp", echo.port, Action::Tunnel, HOUR);
    let proxy = Opening::before(&plant);
    let (mut connect, at) = connect(&plant, &proxy);
    let (first, by_hand) = ByHand::new(&plant);
    let (certificate, key) = (by_hand.certificate.clone(), by_hand.key.clone());
    let read = by_hand.shown(PATH, &key) + UPGRADE;
    by_hand.asks(PATH, &read).until("\"carried\"");
    eventually("the target has taken the connection", || echo.met() > 0);
    let met = echo.met();
    drop(first);
    plant.stop();
    plant.serve();
    let by_hand = ByHand { plant: &plant, certificate, key };
    let said = by_hand.asks(PATH, &read).until("\"refusal\"");
    assert!(said.contains("HTTP/1.1 401") && said.contains("other-start"), "{said}");
    assert_eq!(echo.met(), met);
    // Its certificate is from before, too, and shows itself anew.
    assert_eq!(echoed(at, b"once more"), b"once more");
    connect.until("connected");
}

#[test]
fn whoever_proves_nothing_or_too_much_is_refused_in_words_and_reaches_nothing() {
    let echo = Echo::listen();
    let plant = plant_at("tcp", echo.port, Action::Tunnel, HOUR);
    let (_connect, by_hand) = ByHand::new(&plant);
    let refused = |path: &str, headers: &str, status: &str, words: &str| {
        let said = by_hand.asks(path, headers).until("\"refusal\"");
        assert!(said.contains(&format!("HTTP/1.1 {status}")) && said.contains(words), "not {words}: {said}");
        assert!(said.contains("application/problem+json"), "{said}");
    };
    refused(PATH, UPGRADE, "401", "sign in first");
    let shown = by_hand.shown(PATH, &by_hand.key);
    let (token, _) = shown.split_once("\r\n").expect("two lines");
    refused(PATH, &format!("{token}\r\n{UPGRADE}"), "401", "Holdpoint-Proof");
    // Somebody else's key, and a certificate that the gate did not make.
    let thief = plant.tess().path("thief.pem");
    run(Command::new("openssl").args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"]).arg(&thief), b"")
        .ok();
    refused(PATH, &(by_hand.shown(PATH, &thief) + UPGRADE), "401", "not signed by the certificate's key");
    let mut made = Command::new("openssl");
    made.args(["req", "-x509", "-days", "1", "-subj", "/CN=x", "-outform", "DER", "-key"]).arg(&thief);
    let certificate = run(&mut made, b"").ok().out;
    let stranger = ByHand { plant: &plant, certificate, key: thief };
    refused(PATH, &(stranger.shown(PATH, &stranger.key) + UPGRADE), "401", "none that this gate made out");
    // One request proves itself once, and no other.
    let other = "/api/v1/tcp/plc-8/tcp";
    refused(other, &(shown.clone() + UPGRADE), "401", "not signed by the certificate's key");
    let mut once = by_hand.asks(PATH, &(shown.clone() + UPGRADE));
    once.until("101 Switching Protocols");
    refused(PATH, &(shown + UPGRADE), "401", "made before");
    // A page in a browser, and who speaks no WebSocket.
    let by_page = by_hand.shown(PATH, &by_hand.key) + UPGRADE + "Origin: https://gate.mill3.example\r\n";
    refused(PATH, &by_page, "403", "pages in a browser");
    refused(PATH, &by_hand.shown(PATH, &by_hand.key), "426", "WebSocket is spoken here");
    assert_eq!(echo.met(), 1, "the one that may");
    // Who proves who they are and may not is journaled.
    refused(other, &(by_hand.shown(other, &by_hand.key) + UPGRADE), "403", "no-grant");
    log_in(&plant, "lee");
    holdpoint(&plant, "lee", &["revoke", &request_at(&plant, "plc-7"), "--reason", "enough"]).ok();
    refused(PATH, &(by_hand.shown(PATH, &by_hand.key) + UPGRADE), "403", "grant-revoked");
    assert_eq!(echo.met(), 1);
    let journal = journal(&plant);
    for reason in ["no-grant", "grant-revoked"] {
        assert!(journal.contains(reason), "{reason} is not journaled:\n{journal}");
    }
}

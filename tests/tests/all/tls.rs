//! The TCP face and `holdpoint connect`: SSH, TLS and pages on one port, stock TLS clients with a client certificate, what is
//! refused and how, and local ports that stay open as long as the grant does.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use policies::actions::Action;
use policies::time::Seconds;
use rustix::process::Signal;
use serde_json::Value;
use tests::certificate::self_signed;
use tests::connecting::{echoed, journal, on_one_port, request_at};
use tests::person::GATE;
use tests::plant::program;
use tests::process::start_on_a_terminal;
use tests::scarce::Scarce;
use tests::{Connecting, Echo, Options, Plant, Running, eventually, holdpoint, json, log_in, run, start, text};

const HOUR: Seconds = Seconds(3_600);

fn options(port: u16) -> Options {
    options_with(port, 8)
}

fn options_with(port: u16, connections_max: u16) -> Options {
    let service = |target: &str, address: &str| {
        format!(
            "[targets.{target}]\nzone = \"packaging\"\n[targets.{target}.services.panel]\nprotocol = \"tcp\"\n\
             address = \"{address}:{port}\"\nconnections_max = {connections_max}\n"
        )
    };
    let more = format!(
        "{}{}[[rules]]\nid = \"acme-plc\"\nvendors = [\"acme\"]\nroles = [\"maintenance\"]\ntargets = [\"plc-7\", \"plc-8\"]\n\
         actions = [\"tunnel\"]\nduration_max = \"4h\"\nconnections = 1\n\
         approvals = [{{ from = \"shift-lead\", count = 1 }}]\nwork_order = \"optional\"\n",
        service("plc-7", "127.0.0.1"),
        service("plc-8", "127.0.0.2")
    );
    Options { more, technicians: vec![("tess", "acme"), ("tom", "acme")], ..Options::default() }
}

/// A controller behind a gate with one port, an hour's grant at it for `tess`, who is signed in.
fn plant_at(echo: &Echo) -> Plant {
    plant_for(echo, HOUR, on_one_port)
}

fn plant_for(echo: &Echo, lasts: Seconds, listening: impl FnOnce(&Plant)) -> Plant {
    let mut plant = Plant::ready(options(echo.port));
    listening(&plant);
    plant.grant("tess", "plc-7", &[Action::Tunnel], lasts);
    plant.serve();
    log_in(&plant, "tess");
    plant
}

#[test]
fn one_port_speaks_ssh_tls_and_pages_and_waits_for_whoever_waits_for_it() {
    let echo = Echo::listen();
    let plant = plant_at(&echo);
    let (tess, gate) = (plant.tess(), plant.faces.pages[0]);
    assert_eq!((plant.faces.ssh[0], plant.faces.pages.len()), (gate, 1));
    let there = format!("plc-7:{}", echo.port);
    let said = run(&mut tess.ssh(&["-W", &there, &tess.at("")]), b"by ssh\n").ok();
    assert_eq!(said.out(), "by ssh\n");
    // The commands of `log_in` were pages already; a stranger's are too.
    let ask = format!("GET /healthz HTTP/1.1\r\nHost: {GATE}\r\nConnection: close\r\n\r\n");
    let page = run(&mut openssl(&plant, GATE, None), ask.as_bytes());
    assert!(page.out().contains("200 OK"), "{}", page.text());
    // Who says nothing is spoken to, as RFC 4253 lets a client wait for the server's first line.
    let mut silent = TcpStream::connect(gate).expect("it listens");
    silent.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
    let mut banner = [0; 4];
    silent.read_exact(&mut banner).expect("a banner");
    assert_eq!(&banner, b"SSH-");
    let mut connect = Connecting::start(&plant, "tess", &["plc-7"]);
    assert_eq!(echoed(connect.port(), b"by connect"), b"by connect");
}

#[test]
fn browsers_are_shown_the_certificate_that_was_given_and_the_next_one_when_it_comes_and_our_commands_the_gates() {
    const NAME: &str = "holdpoint.mill3.example";
    let given = tempfile::tempdir().expect("a folder");
    let authority = given.path().join("cert.pem");
    self_signed(given.path(), "elsewhere.mill3.example");
    let mut plant = Plant::ready(Options::default());
    let table = format!("certificate = {{ chain = \"{0}/cert.pem\", key = \"{0}/key.pem\" }}", given.path().display());
    plant.edit_config(|text| text.replace("[faces.plant]", &format!("[faces.plant]\n{table}\n")));
    let check = ["check", "--config", "holdpoint.toml", "--plant", "plant.toml"];
    let installation = plant.installation();
    let checked = || run(Command::new(program()).args(check).current_dir(&installation), b"");
    let refused = checked();
    assert_eq!((refused.code(), refused.err().contains("is not for holdpoint.mill3.example")), (2, true));
    // A control room without pages is worse than one with a warning.
    plant.serve();
    log_in(&plant, "lee");
    let because = || json(&plant, "lee", &["status"])["because"].to_string();
    eventually("it is told that there is none", || because().contains("shows the gate's own: "));
    let own = installation.join("ca.pem");
    let page = |authority: &Path| {
        let ask = format!("GET /healthz HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
        run(&mut s_client(plant.faces.plant[0], NAME, authority), ask.as_bytes()).out().contains("200 OK")
    };
    assert!(page(&own) && !page(&authority));
    self_signed(given.path(), NAME);
    let said = checked().ok();
    assert!(said.out().contains(&format!("a certificate of CN={NAME} at the plant face, until ")), "{}", said.out());
    eventually("the given one is shown once it is right", || page(&authority));
    assert!(!page(&own));
    eventually("it is told that it ends soon", || because().contains("the certificate of the plant face ends at"));
    // Half of a new one is not shown, the whole is.
    let before = fs::read(&authority).expect("a certificate");
    fs::write(given.path().join("key.pem"), "").expect("a file");
    eventually("that it cannot be read is told", || because().contains("stays the one before"));
    assert!(page(&authority));
    self_signed(given.path(), NAME);
    assert_ne!(fs::read(&authority).expect("a certificate"), before);
    eventually("the new one is shown", || page(&authority));
}

#[test]
fn memory_that_runs_out_closes_the_vendor_face_and_neither_sessions_nor_the_plant_face() {
    const MIB: u64 = 1 << 20;
    let (Some(group), Some(python)) = (Scarce::new(256 * MIB), tests::python()) else { return };
    let echo = Echo::listen();
    let mut plant = plant_at(&echo);
    log_in(&plant, "lee");
    group.take(plant.gate().id());
    let mut connect = Connecting::start(&plant, "tess", &["plc-7"]);
    let mut held = TcpStream::connect(connect.port()).expect("a local port");
    let mut echoes = |words: &[u8]| {
        held.write_all(words).expect("it takes them");
        let mut back = vec![0; words.len()];
        held.read_exact(&mut back).is_ok_and(|()| back == words)
    };
    assert!(echoes(b"before"));
    let mut waiting = TcpStream::connect(plant.faces.ssh[0]).expect("it listens");
    waiting.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
    assert!(waiting.read(&mut [0; 256]).is_ok_and(|read| read > 0), "it is greeted, and says nothing");
    // Another program takes what the machine has; 46 MiB are left.
    let hog = start(
        Command::new(python)
            .args(["-c", "import sys; sys.stdin.readline(); held = b'x' * (210 << 20); sys.stdin.read()"]),
    );
    group.take(hog.id());
    let mut hog = hog;
    hog.type_in("\n");
    let greeted = || {
        let mut stranger = TcpStream::connect(plant.faces.ssh[0]).expect("it listens");
        stranger.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
        stranger.read(&mut [0; 4]).is_ok_and(|read| read > 0)
    };
    eventually("nobody is let in", || !greeted());
    // What it was still to read, and then the end, which it would have had to wait a minute for.
    let turned_out = std::iter::repeat_with(|| waiting.read(&mut [0; 4096])).find(|read| !matches!(read, Ok(1..)));
    let turned_out = turned_out.expect("it goes on without end");
    assert!(
        !turned_out.as_ref().is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)),
        "{turned_out:?}"
    );
    let alarms = || json(&plant, "lee", &["status"])["alarms"].to_string();
    eventually("it is an alarm", || alarms().contains("\"memory\""));
    assert!(echoes(b"during"));
    json(&plant, "lee", &["cut", "--zone", "packaging"]);
    drop(hog);
    eventually("the vendor face is open again", greeted);
    eventually("the alarm is over", || !alarms().contains("\"memory\""));
}

/// `openssl s_client` that trusts this authority alone.
fn s_client(at: SocketAddr, name: &str, authority: &Path) -> Command {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-quiet", "-verify_return_error", "-connect", &at.to_string(), "-CAfile"]).arg(authority);
    openssl.args(["-servername", name, "-verify_hostname", name]);
    openssl
}

/// The same at a name of the vendor face's, with the file of a certificate.
fn openssl(plant: &Plant, name: &str, certificate: Option<&Path>) -> Command {
    let mut openssl = s_client(plant.faces.pages[0], name, &plant.tess().path("../../ca.pem"));
    if let Some(file) = certificate {
        openssl.arg("-cert").arg(file);
    }
    openssl
}

/// `connect` that keeps a certificate in a file.
fn certified(plant: &Plant, who: &str) -> (Connecting, PathBuf) {
    certified_at(plant, who, "plc-7/panel")
}

fn certified_at(plant: &Plant, who: &str, place: &str) -> (Connecting, PathBuf) {
    let file = plant.person(who).path("client.pem");
    let mut connect = Connecting::start(plant, who, &[place, "--certificate", file.to_str().expect("a path")]);
    connect.until("certificate");
    (connect, file)
}

#[test]
fn connect_shows_what_an_operator_writes() {
    let echo = Echo::listen();
    let plant = plant_at(&echo);
    log_in(&plant, "lee");
    let mut connect = Connecting::start(&plant, "tess", &["plc-7"]);
    let mut socket = TcpStream::connect(connect.port()).expect("it listens");
    socket.write_all(b"here").and_then(|()| socket.read_exact(&mut [0; 4])).expect("an echo");
    let session = text(&json(&plant, "lee", &["sessions"])["sessions"][0]["session"]);
    let told = holdpoint(&plant, "lee", &["tell", &session, r"the crane \ drive D:\ moves"]).ok().out();
    assert!(told.contains("`holdpoint connect` shows it within a minute"), "{told}");
    // Each end of a connection is a reason to look how things stand.
    drop(socket);
    assert_eq!(connect.until("written")["words"], r"the crane \ drive D:\ moves");
}

#[test]
fn a_hundred_connections_at_once_are_all_carried() {
    for how in [&["plc-7"][..], &["plc-7", "--websocket"]] {
        let echo = Echo::listen();
        let mut plant = Plant::ready(options_with(echo.port, 100));
        on_one_port(&plant);
        plant.grant("tess", "plc-7", &[Action::Tunnel], HOUR);
        plant.serve();
        log_in(&plant, "tess");
        let mut connect = Connecting::start(&plant, "tess", how);
        let at = connect.port();
        let mut all: Vec<_> = (0..100).map(|_| TcpStream::connect(at).expect("it listens")).collect();
        for (number, socket) in all.iter_mut().enumerate() {
            socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a time");
            let said = format!("number {number:03}");
            let mut back = vec![0; said.len()];
            let went = socket.write_all(said.as_bytes()).and_then(|()| socket.read_exact(&mut back));
            assert!(went.is_ok() && back == said.as_bytes(), "{how:?} {number}: {went:?}\n{}", connect.0.said());
        }
        assert!(!connect.0.said().contains("not-carried"), "{}", connect.0.said());
    }
}

/// The service `panel` of a target is refused to this certificate by this alert, and nothing is said on the connection.
#[track_caller]
fn is_refused(plant: &Plant, target: &str, file: Option<&Path>, alert: &str) {
    let mut client = start(&mut openssl(plant, &format!("panel.{target}.{GATE}"), file));
    client.type_in("hello\n");
    let ended = client.ends_within(Duration::from_secs(30));
    assert!(ended.text().contains(alert) && !ended.out().contains("hello"), "not {alert}:\n{}", ended.text());
}

#[test]
fn stock_tls_clients_reach_a_service_with_the_certificate_that_connect_keeps() {
    let echo = Echo::listen();
    let plant = plant_at(&echo);
    let (_connect, file) = certified(&plant, "tess");
    let (gate, ca) = (plant.faces.pages[0], plant.tess().path("../../ca.pem"));
    for name in ["panel.plc-7", "plc-7"] {
        let mut openssl = start(&mut openssl(&plant, &format!("{name}.{GATE}"), Some(&file)));
        openssl.type_in("by openssl\n");
        openssl.until("by openssl");
    }
    let socat = format!(
        "OPENSSL:{gate},snihost=panel.plc-7.{GATE},commonname=panel.plc-7.{GATE},cert={},cafile={}",
        file.display(),
        ca.display()
    );
    let said = run(Command::new("socat").args(["-t5", "-", &socat]), b"by socat\n").ok();
    assert_eq!(said.out(), "by socat\n");
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let config = format!(
        "foreground = yes\npid =\n[panel]\nclient = yes\naccept = {free}\nconnect = {gate}\nsni = panel.plc-7.{GATE}\n\
         cert = {}\nCAfile = {}\nverifyChain = yes\ncheckHost = panel.plc-7.{GATE}\n",
        file.display(),
        ca.display()
    );
    plant.tess().write("stunnel.conf", config.as_bytes());
    let mut stunnel = start(Command::new("stunnel4").arg(plant.tess().path("stunnel.conf")));
    stunnel.until("Configuration successful");
    eventually("stunnel listens", || TcpStream::connect(free).is_ok());
    assert_eq!(echoed(free, b"by stunnel"), b"by stunnel");
}

#[test]
fn connections_to_one_service_share_a_session_which_is_recorded() {
    let echo = Echo::listen();
    let mut plant = plant_at(&echo);
    let mut connect = Connecting::start(&plant, "tess", &["plc-7"]);
    let port = connect.port();
    // The rule gives one connection, which is one session.
    let held: Vec<_> = (0..3)
        .map(|n| {
            let mut socket = TcpStream::connect(port).expect("it listens");
            let (said, mut back) = (format!("line {n}"), [0; 6]);
            socket.write_all(said.as_bytes()).expect("it is carried");
            socket.read_exact(&mut back).expect("it is carried");
            assert_eq!(said.as_bytes(), back);
            socket
        })
        .collect();
    log_in(&plant, "lee");
    let told = holdpoint(&plant, "lee", &["sessions", "--json"]).ok().out();
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let sessions = told["sessions"].as_array().expect("a list");
    assert_eq!(sessions.len(), 1, "{told}");
    assert_eq!((&sessions[0]["target"], &sessions[0]["service"]), (&"plc-7".into(), &"panel".into()));
    drop(held);
    assert!(connect.until("closed")["bytes_up"].as_u64() >= Some(6));
    eventually("the session ends when nobody uses it", || {
        let told = holdpoint(&plant, "lee", &["sessions", "--json", "--all"]).ok().out();
        let told: Value = serde_json::from_str(&told).expect("JSON");
        told["sessions"][0]["ended"]["ending"] == "left"
    });
    drop(connect);
    plant.stop();
    plant.evidence().verify().ok();
}

#[test]
fn what_is_not_granted_is_refused_in_tls_journaled_and_never_reaches_a_target() {
    let echo = Echo::listen();
    let plant = plant_at(&echo);
    let (_connect, file) = certified(&plant, "tess");
    let panel = format!("panel.plc-7.{GATE}");
    let refused = |name: &str, file: Option<&Path>, alert: &str| {
        let mut client = start(&mut openssl(&plant, name, file));
        client.type_in("hello\n");
        let said = client.ends_within(Duration::from_secs(30)).text();
        assert!(said.contains(alert), "{name}: not {alert}:\n{said}");
    };
    refused(&panel, None, "certificate required");
    refused(&format!("panel.plc-8.{GATE}"), Some(&file), "access denied");
    refused(&format!("nothing.plc-7.{GATE}"), Some(&file), "access denied");
    refused("panel.plc-7.elsewhere.example", Some(&file), "alert");
    // From another address than it was made out for.
    let mut elsewhere = openssl(&plant, &panel, Some(&file));
    let mut elsewhere = start(elsewhere.args(["-bind", "127.0.0.2:0"]));
    elsewhere.type_in("hello\n");
    let said = elsewhere.ends_within(Duration::from_secs(30)).text();
    assert!(said.contains("access denied"), "{said}");
    // Another plant's CA, and one that calls itself so.
    let other = plant.tess().path("other.pem");
    let make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=x -addext basicConstraints=critical,CA:FALSE -keyout k -out c && cat c k";
    fs::write(&other, run(Command::new("sh").current_dir(&plant.tess().home).args(["-c", make]), b"").ok().out)
        .expect("a file");
    refused(&panel, Some(&other), "unknown ca");
    log_in(&plant, "lee");
    holdpoint(&plant, "lee", &["revoke", &request_at(&plant, "plc-7"), "--reason", "enough"]).ok();
    refused(&panel, Some(&file), "access denied");
    assert_eq!(echo.met(), 0);
    for reason in ["no-grant", "grant-revoked"] {
        eventually(&format!("{reason} is journaled"), || journal(&plant).contains(reason));
    }
}

#[test]
fn a_certificate_serves_its_person_and_its_grant_alone_and_misuse_is_journaled() {
    let echo = Echo::listen();
    let mut plant = Plant::ready(options(echo.port));
    on_one_port(&plant);
    let own = [("tess", "plc-7"), ("tom", "plc-8")];
    let [at_plc_7, _] = own.map(|(who, target)| plant.grant(who, target, &[Action::Tunnel], HOUR));
    plant.serve();
    ["tess", "tom", "lee"].into_iter().for_each(|who| log_in(&plant, who));
    let (_tess, of_tess) = certified_at(&plant, "tess", "plc-7/panel");
    let (_tom, of_tom) = certified_at(&plant, "tom", "plc-8/panel");
    // Each at what the other was granted.
    is_refused(&plant, "plc-8", Some(&of_tess), "access denied");
    is_refused(&plant, "plc-7", Some(&of_tom), "access denied");
    // A grant that was taken back is not made good by another one for the same.
    holdpoint(&plant, "lee", &["revoke", &at_plc_7.to_string(), "--reason", "enough"]).ok();
    let asking = ["request", "plc-7", "--actions", "tunnel", "--for", "1h", "--reason", "the pump trips", "--json"];
    let asked = holdpoint(&plant, "tess", &asking).ok().out();
    let asked: Value = serde_json::from_str(asked.trim()).expect("JSON");
    holdpoint(&plant, "lee", &["approve", asked["request"].as_str().expect("an id"), "--yes"]).ok();
    is_refused(&plant, "plc-7", Some(&of_tess), "access denied");
    assert_eq!(echo.met(), 0);
    // Who is refused learns so in the handshake, and the journal a moment later.
    let is_journaled = |who: &str, reason: &str| {
        let refused = format!("{}\",\"reason\":\"{reason}\"", plant.person(who).id);
        eventually(&format!("{who} is journaled: {reason}"), || journal(&plant).contains(&refused));
    };
    ["tess", "tom"].into_iter().for_each(|who| is_journaled(who, "no-grant"));
    is_journaled("tess", "grant-revoked");
    // The new one serves with a certificate of its own.
    let (_again, anew) = certified_at(&plant, "tess", "plc-7/panel");
    let mut client = start(&mut openssl(&plant, &format!("panel.plc-7.{GATE}"), Some(&anew)));
    client.type_in("by the new one\n");
    client.until("by the new one");
}

#[test]
fn strangers_certificates_reach_nothing_grow_no_journal_and_are_told_in_the_log() {
    let echo = Echo::listen();
    let (mut plant, other) = (plant_at(&echo), plant_at(&echo));
    let (_connect, of_the_other) = certified(&other, "tess");
    let before = journal(&plant);
    is_refused(&plant, "plc-7", None, "certificate required");
    is_refused(&plant, "plc-7", Some(&of_the_other), "unknown ca");
    assert_eq!(echo.met(), 0);
    assert!(journal(&plant) == before, "a stranger grew the journal");
    plant.gate().until("a stranger failed");
}

#[test]
fn a_grant_taken_back_ends_connect_with_words() {
    let echo = Echo::listen();
    let plant = plant_at(&echo);
    let mut connect = Connecting::start(&plant, "tess", &["plc-7"]);
    let mut socket = TcpStream::connect(connect.port()).expect("it listens");
    socket.write_all(b"x").expect("it is carried");
    socket.read_exact(&mut [0]).expect("it is carried");
    log_in(&plant, "lee");
    holdpoint(&plant, "lee", &["revoke", &request_at(&plant, "plc-7"), "--reason", "enough"]).ok();
    assert!(socket.read(&mut [0]).unwrap_or(0) == 0, "it is closed");
    connect.until("over");
    connect.0.ends().refused(1, "taken back by an operator");
}

#[test]
fn connect_goes_on_while_the_gate_waits_to_restart_and_says_until_when() {
    let echo = Echo::listen();
    let mut plant = plant_for(&echo, HOUR, |plant| {
        on_one_port(plant);
        let text = fs::read_to_string(plant.config()).expect("a configuration");
        fs::write(plant.config(), format!("{text}[serve]\ndrain = \"1h\"\n")).expect("a file");
    });
    let mut connect = Connecting::start(&plant, "tess", &["plc-7"]);
    let port = connect.port();
    let mut held = TcpStream::connect(port).expect("a local port");
    let mut echoes = |words: &[u8]| {
        held.write_all(words).expect("it takes them");
        let mut back = vec![0; words.len()];
        held.read_exact(&mut back).is_ok_and(|()| back == words)
    };
    assert!(echoes(b"before"));
    plant.gate().signal(Signal::TERM);
    plant.gate().until("nobody is let in any more");
    // A further connection of who is at work; after it the grant is looked at.
    assert_eq!(echoed(port, b"meanwhile"), b"meanwhile");
    connect.until("restarts");
    assert!(echoes(b"after"));
    drop(held);
    eventually("the gate has stopped", || plant.gate().has_ended());
    assert_eq!(plant.stop().code(), 0);
}

#[test]
fn the_end_of_a_grant_ends_connect_as_it_should() {
    let echo = Echo::listen();
    let plant = plant_for(&echo, Seconds(10), on_one_port);
    let mut connect = Connecting::start(&plant, "tess", &["plc-7"]);
    let mut socket = TcpStream::connect(connect.port()).expect("it listens");
    socket.write_all(b"x").expect("it is carried");
    socket.read_exact(&mut [0]).expect("it is carried");
    assert_eq!(socket.read(&mut [0]).unwrap_or(0), 0, "it is closed at the end");
    let over = connect.until("over");
    assert!(over["words"].as_str().is_some_and(|words| words.contains("the grant's time is over")), "{over}");
    connect.0.ends().ok();
}

#[test]
fn each_kind_has_a_port_of_its_own_where_the_configuration_says_so() {
    let echo = Echo::listen();
    let apart = |more: &str| {
        let more = more.to_owned();
        move |plant: &Plant| plant.edit_config(|text| text.replacen("pages = ", &format!("{more}\npages = "), 1))
    };
    let plant = plant_for(&echo, HOUR, apart("tls = [\"127.0.0.1:0\"]"));
    assert_ne!(plant.faces.ssh[0], plant.faces.pages[0]);
    let mut connect = Connecting::start(&plant, "tess", &["plc-7"]);
    assert_eq!(echoed(connect.port(), b"apart"), b"apart");
    drop((connect, plant));
    let plant = plant_for(&echo, HOUR, apart("tls = [\"127.0.0.1:0\"]\ntls_port = 443"));
    let file = plant.tess().path("client.pem").display().to_string();
    let mut connect = Connecting::start(&plant, "tess", &["plc-7", "--certificate", &file]);
    assert_eq!(connect.until("certificate")["connect"], format!("{GATE}:443"));
    drop((connect, plant));
    let plant = plant_for(&echo, HOUR, |_| {});
    holdpoint(&plant, "tess", &["connect", "plc-7"]).refused(3, "this gate has no TCP face");
}

#[test]
fn a_person_without_a_grant_is_asked_on_their_terminal() {
    let echo = Echo::listen();
    let plant = plant_at(&echo);
    log_in(&plant, "lee");
    let mut connect = start_on_a_terminal(&plant.as_person("tom", &["connect", "plc-8"]));
    connect.until("Code for tom");
    connect.type_in(format!("{}\n", plant.person("tom").code()));
    for (question, answer) in
        [("To do what", ""), ("How long", "30m"), ("Why", "the pump trips"), ("Work order", "WO-4711")]
    {
        connect.until(question);
        connect.type_in(format!("{answer}\n"));
    }
    let said = connect.until(" waits for ");
    assert!(said.contains("Ctrl-C leaves it standing"), "{said}");
    holdpoint(&plant, "lee", &["approve", &request_at(&plant, "plc-8"), "--yes"]).ok();
    connect.until("plc-8/panel is open at 127.0.0.1:");
    println!("{}", connect.said());
}

#[test]
fn a_person_reads_what_is_open_until_when_and_how_much_went() {
    let echo = Echo::listen();
    let plant = plant_at(&echo);
    let mut connect = start_on_a_terminal(&plant.as_person("tess", &["connect", "plc-7/panel=127.0.0.2:0"]));
    let said = connect.until("for 1 hour from the first connection, and no later than ");
    let address =
        said.split("plc-7/panel is open at ").nth(1).expect("it says where").split(' ').next().expect("a word");
    assert_eq!(echoed(address.parse().expect("an address"), b"twelve bytes"), b"twelve bytes");
    connect.until("closed, 12 B sent, 12 B received");
    connect.until("0 connections, 12 B sent, 12 B received, until ");
    println!("{}", connect.said());
    connect.signal(rustix::process::Signal::INT);
    let end = connect.ends();
    assert_eq!(end.code(), 0, "{}", end.text());
}

#[test]
fn whoever_has_no_grant_asks_and_waits_and_is_carried_after_the_yes() {
    let echo = Echo::listen();
    let plant = plant_at(&echo);
    let asking = ["plc-8", "--for", "1h", "--reason", "the pump trips"];
    let mut connect = Connecting::start(&plant, "tess", &asking);
    let waiting = connect.until("waiting");
    assert!(waiting["needs"].as_str().is_some_and(|needs| needs.contains("shift-lead")), "{waiting}");
    log_in(&plant, "lee");
    let request = waiting["request"].as_str().expect("an id");
    holdpoint(&plant, "lee", &["approve", request, "--yes"]).ok();
    assert_eq!(echoed(connect.port(), b"granted"), b"granted");
    // Without a terminal nobody can be asked.
    log_in(&plant, "tom");
    holdpoint(&plant, "tom", &["connect", "plc-7"]).refused(2, "--for is missing");
    holdpoint(&plant, "lee", &["connect", "plc-7"]).refused(2, "only technicians connect");
}

/// A vendor's proxy that wants a name and a password, and connects to the gate alone.
fn tinyproxy(plant: &Plant) -> (Running, SocketAddr) {
    let at = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let config = format!(
        "Port {}\nListen 127.0.0.1\nTimeout 600\nMaxClients 20\nAllow 127.0.0.1\nBasicAuth tess s3cret\n\
         ConnectPort {}\nLogLevel Connect\n",
        at.port(),
        plant.faces.pages[0].port()
    );
    plant.tess().write("tinyproxy.conf", config.as_bytes());
    let proxy = start(Command::new("tinyproxy").arg("-d").arg("-c").arg(plant.tess().path("tinyproxy.conf")));
    eventually("the proxy listens", || TcpStream::connect(at).is_ok());
    (proxy, at)
}

#[test]
fn connect_goes_through_a_proxy_that_wants_a_password() {
    let echo = Echo::listen();
    let plant = plant_at(&echo);
    let tess = plant.tess();
    let (mut tinyproxy, proxy) = tinyproxy(&plant);
    tess.write("password", b"s3cret\n");
    tess.write("wrong", b"guess\n");
    let url = format!("http://tess@{proxy}");
    let through = |password: &str| {
        let file = tess.path(password).display().to_string();
        ["plc-7", "--proxy", &url, "--proxy-password", &file].map(str::to_owned)
    };
    let wrong = through("wrong");
    let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
    let told = holdpoint(&plant, "tess", &[&["connect"], wrong.as_slice()].concat());
    told.refused(3, "does not take this name and password");
    let right = through("password");
    let right: Vec<&str> = right.iter().map(String::as_str).collect();
    let mut connect = Connecting::start(&plant, "tess", &right);
    assert_eq!(echoed(connect.port(), b"by proxy"), b"by proxy");
    tinyproxy.until("CONNECT");
    drop(connect);
    let with_password = format!("http://tess:s3cret@{proxy}");
    holdpoint(&plant, "tess", &["connect", "plc-7", "--proxy", &with_password]).refused(2, "seen by everybody");
    let mut by_environment = plant.as_person("tess", &["connect", "--json", "plc-7"]);
    let mut connect = Connecting(start(by_environment.env("HTTPS_PROXY", &with_password)));
    assert_eq!(echoed(connect.port(), b"by environment"), b"by environment");
}

#[test]
fn a_certificate_that_has_expired_is_refused_as_such() {
    let libraries =
        fs::read_dir("/usr/lib").unwrap().flatten().map(|arch| arch.path().join("faketime/libfaketimeMT.so.1"));
    let Some(library) = libraries.into_iter().find(|library| library.exists()) else {
        return println!("SKIPPED: libfaketime (Debian: faketime) is not installed");
    };
    let echo = Echo::listen();
    let mut plant = plant_at(&echo);
    let (connect, file) = certified(&plant, "tess");
    drop(connect);
    plant.stop();
    let preload = format!("LD_PRELOAD={}", library.display());
    plant.serve_under(&["env", &preload, "FAKETIME=+20m", "FAKETIME_DONT_FAKE_MONOTONIC=1"]);
    let before = journal(&plant);
    is_refused(&plant, "plc-7", Some(&file), "certificate expired");
    assert_eq!(echo.met(), 0);
    assert!(journal(&plant) == before, "a stranger grew the journal");
    plant.gate().until("a stranger failed");
}

#[test]
fn a_gate_that_was_gone_is_reached_again_without_a_code_or_a_yes() {
    let echo = Echo::listen();
    let mut plant = plant_at(&echo);
    let gate = plant.faces.pages[0];
    let mut connect = Connecting::start(&plant, "tess", &["plc-7"]);
    let port = connect.port();
    assert_eq!(echoed(port, b"before"), b"before");
    plant.stop();
    assert_eq!(echoed(port, b"meanwhile"), b"");
    let why = connect.until("not-carried");
    assert!(why["words"].as_str().is_some_and(|words| words.contains("cannot be reached")), "{why}");
    connect.until("out-of-reach");
    plant.edit_config(|text| text.replacen("listen = [\"127.0.0.1:0\"]", &format!("listen = [\"{gate}\"]"), 1));
    plant.serve();
    assert_eq!(echoed(port, b"after"), b"after");
    connect.until("back-in-reach");
}

#[test]
fn ssh_passes_the_same_proxy_to_the_same_port() {
    let echo = Echo::listen();
    let plant = plant_at(&echo);
    let gate = plant.faces.ssh[0];
    let (_tinyproxy, proxy) = tinyproxy(&plant);
    let through =
        format!("socat - PROXY:127.0.0.1:127.0.0.1:{},proxyport={},proxyauth=tess:s3cret", gate.port(), proxy.port());
    let (tess, there) = (plant.tess(), format!("plc-7:{}", echo.port));
    let option = format!("ProxyCommand={through}");
    let said = run(&mut tess.ssh(&["-o", &option, "-W", &there, &tess.at("")]), b"by ssh\n").ok();
    assert_eq!(said.out(), "by ssh\n");
}

#[test]
fn plink_passes_the_same_proxy_by_puttys_own_setting_with_key_and_code() {
    let echo = Echo::listen();
    let mut plant = plant_at(&echo);
    let gate = plant.faces.ssh[0];
    let (mut tinyproxy, proxy) = tinyproxy(&plant);
    let tess = plant.tess();
    fs::create_dir_all(tess.path(".putty/sessions")).expect("a folder");
    let session = |name: &str, password: &str| {
        let text = format!(
            "Protocol=ssh\nHostName=127.0.0.1\nPortNumber={}\nPublicKeyFile={}\nProxyMethod=3\nProxyHost=127.0.0.1\n\
             ProxyPort={}\nProxyUsername=tess\nProxyPassword={password}\nProxyLocalhost=1\n",
            gate.port(),
            tess.putty_key().display(),
            proxy.port()
        );
        tess.write(&format!(".putty/sessions/{name}"), text.as_bytes());
    };
    session("wrong", "guess");
    session("right", "s3cret");
    let plink = |session: &str, before: &[&str], command: &str| {
        let mut plink = tess.tool("plink");
        plink.args(["-load", session, "-hostkey", &plant.fingerprint(), "-no-antispoof"]).args(before);
        plink.args(["-l", "tess+hmi-2", command]);
        plink
    };
    run(&mut plink("wrong", &["-batch"], "echo not here"), b"").says_no("401");
    let asked = tess.gives_code(start_on_a_terminal(&plink("right", &[], "echo by plink; exit 5"))).ends();
    assert!(asked.code() == 5 && asked.out().contains("by plink"), "{}", asked.text());
    tinyproxy.until(&format!("CONNECT 127.0.0.1:{}", gate.port()));
    plant.stop();
    plant.evidence().verify().ok();
}

#[test]
fn first_bytes_that_never_come_to_an_end_hold_nobody_up() {
    let echo = Echo::listen();
    let plant = plant_at(&echo);
    let gate = plant.faces.pages[0];
    // More than there are places for strangers: silent, dripping, and half a hello.
    let held: Vec<TcpStream> = (0..300)
        .map(|n| {
            let mut socket = TcpStream::connect(gate).expect("it listens");
            let said: &[u8] = match n % 3 {
                0 => b"",
                1 => b"\x16",
                _ => b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03",
            };
            socket.write_all(said).expect("it is taken");
            socket
        })
        .collect();
    let mut connect = Connecting::start(&plant, "tess", &["plc-7"]);
    assert_eq!(echoed(connect.port(), b"in spite of them"), b"in spite of them");
    // A hello that announces more than any has.
    let mut endless = TcpStream::connect(gate).expect("it listens");
    endless.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
    let (begin, mut sent) = (Instant::now(), 0_usize);
    while endless
        .write_all(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff")
        .and_then(|()| endless.write_all(&[0; 16_379]))
        .is_ok()
    {
        sent += 16_384;
        assert!(begin.elapsed() < Duration::from_secs(30) && sent < 64 << 20, "it takes everything");
    }
    // Half a hello is given up after ten seconds.
    let mut half = held.into_iter().rfind(|socket| socket.peer_addr().is_ok()).expect("one is left");
    half.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
    let end = half.read(&mut [0; 512]);
    let is_given_up = match &end {
        Ok(read) => *read < 512,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    };
    assert!(is_given_up && begin.elapsed() < Duration::from_secs(30), "{end:?}");
}

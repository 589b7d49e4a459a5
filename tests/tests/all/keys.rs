//! The gate's own keys are renewed while people work: whoever is there goes on, whoever was told in time notices nothing, and
//! whoever was not is refused, and reads what to do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, SystemTime};

use policies::actions::Action;
use policies::time::Seconds;
use rustix::process::Signal;
use serde_json::Value;
use tests::connecting::{echoed, on_one_port};
use tests::person::{CERTIFICATE, PLANT_FACE};
use tests::{Connecting, Echo, Ended, Options, Plant, Running, eventually, json, log_in, run, start, text};

const KEYS: [&str; 4] = ["ssh-ca", "tls-ca", "ssh-host", "token"];

/// `holdpoint keys` on the gate's machine.
fn keys(plant: &Plant, arguments: &[&str]) -> Ended {
    keys_typing(plant, arguments, "")
}

fn keys_typing(plant: &Plant, arguments: &[&str], typed: &str) -> Ended {
    run(plant.holdpoint(&["keys", "--config"]).arg(plant.config()).args(arguments), typed.as_bytes())
}

fn listed(plant: &Plant, key: &str) -> Value {
    let all: Value = serde_json::from_str(&keys(plant, &["--json"]).ok().out()).unwrap();
    all["keys"].as_array().unwrap().iter().find(|one| one["key"] == key).unwrap().clone()
}

/// Has the gate read its keys anew.
fn reload(plant: &mut Plant) {
    let read = |plant: &mut Plant| plant.gate().said().matches("the configuration was read again").count();
    let before = read(plant);
    plant.gate().signal(Signal::HUP);
    eventually("it reads them", || read(plant) > before);
}

/// A machine with a terminal, and a controller behind `connect`.
fn plant(echo: &Echo) -> Plant {
    let more = format!(
        "[targets.plc-7]\nzone = \"packaging\"\n[targets.plc-7.services.panel]\nprotocol = \"tcp\"\naddress = \"127.0.0.1:{}\"\n\
         connections_max = 8\n[[rules]]\nid = \"acme-plc\"\nvendors = [\"acme\"]\nroles = [\"maintenance\"]\ntargets = [\"plc-7\"]\n\
         actions = [\"tunnel\"]\nduration_max = \"4h\"\napprovals = [{{ from = \"shift-lead\", count = 1 }}]\nwork_order = \"optional\"\n",
        echo.port
    );
    let plant = Plant::ready(Options { more, ..Options::default() });
    plant.grant("tess", "plc-7", &[Action::Tunnel], Seconds(3_600));
    on_one_port(&plant);
    plant
}

/// A terminal and a connection, both open.
struct Work {
    ssh: Running,
    socket: TcpStream,
    _connect: Connecting,
    lines: usize,
}

impl Work {
    fn begin(plant: &Plant) -> Self {
        let ssh = start(&mut plant.tess().ssh(&["-tt", &plant.tess().at("hmi-2")]));
        let mut connect = Connecting::start(plant, "tess", &["plc-7"]);
        let socket = TcpStream::connect(connect.port()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut work = Self { ssh, socket, _connect: connect, lines: 0 };
        work.goes_on();
        work
    }

    #[track_caller]
    fn goes_on(&mut self) {
        self.lines += 1;
        self.ssh.type_in(format!("echo line $(({} + 100))\n", self.lines));
        self.ssh.until(&format!("line {}", self.lines + 100));
        self.socket.write_all(b"here").unwrap();
        let mut back = [0; 4];
        self.socket.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"here");
    }
}

fn ssh(plant: &Plant, more: &[&str]) -> Ended {
    run(&mut plant.tess().ssh(&[more, &[&plant.tess().at("hmi-2"), "echo worked"]].concat()), b"")
}

/// The host key that the gate shows.
fn shown(plant: &Plant) -> String {
    let mut scan = Command::new("ssh-keyscan");
    let scanned = run(scan.args(["-t", "ed25519", "-p", &plant.ssh_port().to_string(), "127.0.0.1"]), b"").ok();
    let printed = run(Command::new("ssh-keygen").args(["-l", "-f", "-"]), &scanned.out).ok().out();
    printed.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap().to_owned()
}

fn enrol(plant: &Plant, code: &str) -> Ended {
    let nia = plant.newcomer("nia");
    let (origin, address) = (format!("https://{PLANT_FACE}:9443"), plant.faces.plant[0].to_string());
    let mut enrol = nia.tool(tests::plant::program());
    run(enrol.args(["enrol", "--gate", &origin, "--address", &address, "--key", "key", "--json"]), code.as_bytes())
}

fn people_go_on_while_all_keys_are_renewed(mut plant: Plant) {
    plant.serve();
    log_in(&plant, "tess");
    log_in(&plant, "lee");
    log_in(&plant, "ada");
    let mut work = Work::begin(&plant);
    let early = text(&json(&plant, "ada", &["invite", "nia", "--auditor"])["code"]);
    let ca = plant.installation().join("ca.pem");
    let (before, host) = (fs::read(&ca).unwrap(), listed(&plant, "ssh-host")["now"]["fingerprint"].clone());
    assert_eq!(shown(&plant), host);
    for key in KEYS {
        keys(&plant, &["switch", key]).refused(1, "has no next key");
        keys(&plant, &["renew", key]).ok();
        keys(&plant, &["renew", key]).refused(1, "has a next key already");
    }
    keys(&plant, &["switch", "ssh-ca"]).refused(1, "was made less than an hour ago");
    reload(&mut plant);
    work.goes_on();
    assert_eq!(shown(&plant), host, "it is only announced");
    let renewed = json(&plant, "lee", &["status"])["keys"].clone();
    assert_eq!(renewed.as_array().map(Vec::len), Some(4), "{renewed}");
    assert!(text(&renewed[0]["text"]).contains("`holdpoint keys switch ssh-ca` once all have it"), "{renewed}");
    let lines = text(&listed(&plant, "ssh-ca")["announced"]);
    assert_eq!(lines.lines().count(), 2);
    // Each in its way: a file for those who trust the SSH CA, a sign-in for programs.
    plant.tess().write("known_hosts_new", format!("{lines}\n").as_bytes());
    fs::write(plant.hmi.path("../ca.pub"), lines.replace("@cert-authority * ", "") + "\n").unwrap();
    let mut lobby = start(&mut plant.tess().ssh(&["-tt", &plant.tess().at("")]));
    lobby.until("it is there as this from now on");
    drop(lobby);
    let mut connect = Connecting::start(&plant, "tess", &["plc-7"]);
    let port = connect.port();

    for key in KEYS {
        let said = keys(&plant, &["switch", key, "--now"]).ok().out();
        assert_eq!(said.contains("Not used yet: 1."), key == "tls-ca", "{said}");
    }
    reload(&mut plant);
    work.goes_on();
    let new_host = listed(&plant, "ssh-host");
    assert!(shown(&plant) == new_host["now"]["fingerprint"] && new_host["last"]["fingerprint"] == host);
    let known = format!("UserKnownHostsFile={}", plant.tess().path("known_hosts_new").display());
    ssh(&plant, &[]).says_no("Host key verification failed");
    assert!(ssh(&plant, &["-o", &known]).ok().out().contains("worked"), "the old certificate, too");
    eventually("the TLS face shows the new authority", || echoed(port, b"and more") == b"and more");
    json(&plant, "lee", &["status"]);
    let away = plant.person("lee").path("away.toml");
    fs::write(plant.person("lee").path("old-ca.pem"), &before).unwrap();
    let profile = String::from_utf8(plant.person("lee").read("profile.toml")).unwrap();
    let others = |line: &&str| !line.starts_with("ca = ");
    fs::write(&away, profile.lines().filter(others).collect::<Vec<_>>().join("\n") + "\nca = \"old-ca.pem\"\n")
        .unwrap();
    let mut status = plant.as_person("lee", &["status"]);
    run(status.env("HOLDPOINT_PROFILE", &away), b"").refused(1, "they give you its new certificate");
    enrol(&plant, &early).refused(1, "a code that was made before the gate's authority was renewed");
    let code = text(&json(&plant, "ada", &["reinvite", "nia"])["code"]);
    let enrolled: Value = serde_json::from_str(&enrol(&plant, &code).ok().out()).unwrap();
    assert_eq!(text(&enrolled["ca_pem"]), fs::read_to_string(&ca).unwrap());

    for key in KEYS {
        let said = keys(&plant, &["forget", key]).ok().out();
        assert_eq!(said.contains("TrustedUserCAKeys"), key == "ssh-ca", "{said}");
    }
    reload(&mut plant);
    work.goes_on();
    ssh(&plant, &["-o", "BatchMode=yes", "-o", &known]).says_no("Permission denied");
    run(&mut plant.as_person("lee", &["status"]), b"").refused(1, "sign in again");
    log_in(&plant, "lee");
    assert_eq!(json(&plant, "lee", &["status"])["keys"], serde_json::json!([]));
    fs::remove_file(plant.tess().path(CERTIFICATE)).unwrap();
    log_in(&plant, "tess");
    assert!(ssh(&plant, &["-o", &known]).ok().out().contains("worked"));
    work.goes_on();
    work.ssh.type_in("exit\n");
    work.ssh.ends().ok();
    drop(work.socket);
    assert_eq!(plant.stop().code(), 0);
    plant.evidence().verify().ok();
}

#[test]
fn people_go_on_while_all_keys_are_renewed_behind_a_vault_of_the_gates_own() {
    let echo = Echo::listen();
    people_go_on_while_all_keys_are_renewed(plant(&echo));
}

#[test]
fn people_go_on_while_all_keys_are_renewed_in_a_vault_that_is_a_service() {
    let echo = Echo::listen();
    let (plant, folder) = (plant(&echo), tempfile::tempdir().unwrap());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = format!("[keys]\nvault = {:?}", folder.path().join("socket").display());
    plant.edit_config(|text| text.replace("[keys]", &socket));
    let mut vault = start(plant.holdpoint(&["vault", "--config"]).arg(plant.config()));
    vault.until("the vault answers");
    people_go_on_while_all_keys_are_renewed(plant);
}

#[test]
fn an_authority_that_none_before_it_signed_is_taken_over_by_no_command() {
    let mut plant = Plant::ready(Options::default());
    // The same installation elsewhere, where another authority signs the next: files of both open in each other.
    let (here, there) = (plant.installation(), plant.installation().with_file_name("elsewhere"));
    run(Command::new("cp").arg("-a").args([&here, &there]), b"").ok();
    for what in [&["renew", "tls-ca"][..], &["switch", "tls-ca", "--now"], &["forget", "tls-ca"], &["renew", "tls-ca"]]
    {
        run(plant.holdpoint(&["keys", "--config"]).arg(there.join("holdpoint.toml")).args(what), b"").ok();
    }
    let file = here.join("keys/tls-ca-next.sealed");
    fs::copy(there.join("keys/tls-ca-next.sealed"), &file).unwrap();
    // Nor is it switched to by mistake, however long it has been there.
    let two_hours_ago = SystemTime::now() - Duration::from_secs(7_200);
    fs::File::options().write(true).open(&file).unwrap().set_modified(two_hours_ago).unwrap();
    let lies = || {
        let files = fs::read_dir(here.join("keys")).unwrap().map(|file| file.unwrap().path());
        files.chain([here.join("ca.pem")]).map(|file| (fs::read(&file).unwrap(), file)).collect::<BTreeSet<_>>()
    };
    let as_it_was = lies();
    keys(&plant, &["switch", "tls-ca"]).refused(1, "is not signed by the one of now");
    assert!(lies() == as_it_was, "nothing is changed");
    let (ca, next) = (plant.person("lee").path("../../ca.pem"), text(&listed(&plant, "tls-ca")["next"]["fingerprint"]));
    let before = fs::read(&ca).unwrap();
    plant.serve();
    let code = plant.person("lee").code();
    let said = run(&mut plant.as_person("lee", &["login"]), format!("{code}\n").as_bytes()).ok().text();
    assert!(
        said.contains(&format!("one more authority, {next}, which none that this profile trusts has signed")),
        "{said}"
    );
    assert_eq!(fs::read(&ca).unwrap(), before);
    json(&plant, "lee", &["status"]);
}

#[test]
fn keys_are_sealed_anew_while_the_gate_goes_on_with_what_it_opened() {
    let mut plant = Plant::ready(Options { later: vec!["kim"], ..Options::default() });
    plant.serve();
    keys(&plant, &["renew", "tls-ca"]).ok();
    keys(&plant, &["switch", "tls-ca", "--now"]).refused(1, "somebody of the first people has not enrolled");
    let before = keys(&plant, &["--json"]).ok().out();
    keys_typing(&plant, &["seal", "--to", "passphrase"], "six short words\nsix long words\n")
        .refused(2, "nothing was changed");
    assert_eq!(keys(&plant, &["--json"]).ok().out(), before);
    let (folder, left) = (plant.installation().join("keys"), plant.installation().join("keys.new"));
    let old = folder.with_file_name("old");
    run(Command::new("cp").arg("-a").args([&folder, &old]), b"").ok();
    let said = keys_typing(&plant, &["seal", "--to", "passphrase"], "six short words\nsix short words\n").ok().out();
    assert!(
        said.contains("seal = \"passphrase\"") && !plant.installation().join("keys/sealing.key").exists(),
        "{said}"
    );
    assert!(ssh(&plant, &[]).ok().out().contains("worked"));
    plant.gate().signal(Signal::HUP);
    plant.gate().until("does not open with what opened it when the program was started");
    plant.gate().until("the configuration was read again");
    assert!(ssh(&plant, &[]).ok().out().contains("worked"));
    plant.edit_config(|text| text.replace("seal = \"file\"", "seal = \"passphrase\""));
    assert_eq!(
        keys_typing(&plant, &["--json"], "six short words\n").ok().out(),
        before,
        "the same keys, of the same age"
    );
    keys_typing(&plant, &["--json"], "guessed\n").refused(3, "the passphrase does not open");
    // As if it had been killed after the old folder and the new one changed places.
    fs::rename(&old, &left).unwrap();
    let (config, file) = (plant.config(), plant.installation().join("plant.toml"));
    let check = ["check", "--config", config.to_str().unwrap(), "--plant", file.to_str().unwrap()];
    assert!(run(&mut plant.holdpoint(&check), b"").ok().out().contains("left by `holdpoint keys seal`"));
    keys_typing(&plant, &["seal", "--to", "file"], "six short words\n").ok();
    plant.edit_config(|text| text.replace("seal = \"passphrase\"", "seal = \"file\""));
    assert_eq!(keys(&plant, &["--json"]).ok().out(), before);
    assert!(!left.exists());
}

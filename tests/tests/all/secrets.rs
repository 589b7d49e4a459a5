//! Where secrets may be: sealed, and nowhere else. Not in a core, not within reach of another process, not in a log however
//! much it says, and not in the data folder as somebody typed or got them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use policies::time::Seconds;
use russh::keys::{HashAlg, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg};
use russh::{Channel, ChannelId};
use serde_json::Value;
use tests::plant::EVERYTHING;
use tests::{Options, Plant, eventually, holdpoint, json, log_in, run, start, text};

use crate::cards::control_room;

/// The system shows the memory of a process to others of the same account, and to whoever may trace or measure any. Without
/// those rights, which root has, all are alike.
fn without_tracing(command: &Command) -> Command {
    let mut bare = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        bare.args(["--bounding-set", "-sys_ptrace,-perfmon,-sys_admin"]);
    }
    bare.arg("--").arg(command.get_program()).args(command.get_args());
    bare
}

#[test]
fn the_program_leaves_no_core_and_shows_its_memory_to_nobody() {
    let plant = Plant::founded(Options::default());
    let mut gate = start(&mut without_tracing(&plant.serve_command()));
    gate.until("}\n");
    let limits = fs::read_to_string(format!("/proc/{}/limits", gate.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).collect::<Vec<_>>(), ["0", "0", "bytes"], "{core}");
    let environment = |process: u32| {
        let mut cat = Command::new("cat");
        run(&mut without_tracing(cat.arg(format!("/proc/{process}/environ"))), b"")
    };
    let mut other = Command::new("sleep");
    let other = start(&mut without_tracing(other.arg("600")));
    eventually("a program that hides nothing can be looked into", || !environment(other.id()).out.is_empty());
    environment(gate.id()).says_no("Permission denied");
}

/// A machine in the plant that takes one password, and says `ready` on a shell.
struct Machine {
    address: String,
    key: PrivateKey,
    _runtime: tokio::runtime::Runtime,
}

const MACHINES_PASSWORD: &str = "grip-lantern-machine-71";

impl Machine {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let key = certs::ssh_ca::fresh_key("hmi-4");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let config = Arc::new(server::Config { keys: vec![key.clone()], ..server::Config::default() });
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let config = Arc::clone(&config);
                tokio::spawn(async move {
                    if let Ok(running) = server::run_stream(config, socket, Panel).await {
                        running.await.ok();
                    }
                });
            }
        });
        Self { address, key, _runtime: runtime }
    }
}

struct Panel;

impl server::Handler for Panel {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        Ok(if (user, password) == ("maint", MACHINES_PASSWORD) { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        _: &[u8],
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(id)?;
        session.data(id, "ready\n".as_bytes())?;
        session.exit_status_request(id, 0)?;
        session.close(id)
    }
}

/// Everything that somebody may know and a log or a disk may not.
#[derive(Default)]
struct Known(Vec<(String, String)>);

impl Known {
    fn add(&mut self, what: &str, secret: impl Into<String>) {
        self.0.push((what.to_owned(), secret.into()));
    }

    /// A line of a private key, or one of its encoded halves.
    fn add_key(&mut self, what: &str, pem: &str) {
        let lines = pem.lines().filter(|line| !line.starts_with('-') && line.len() > 40);
        // The first begins alike in every key.
        lines.skip(1).for_each(|line| self.add(what, line));
    }

    /// What of it stands in a file, or in any below a folder, and where. Six digits are within many a longer number, so
    /// codes are looked for as whole ones.
    fn found_in(&self, place: &Path, scratch: &Path) -> Vec<String> {
        let (codes, others): (Vec<_>, Vec<_>) =
            self.0.iter().partition(|(_, secret)| secret.bytes().all(|byte| byte.is_ascii_digit()));
        let mut found = Vec::new();
        for (secrets, how) in [(codes, "-raFow"), (others, "-raFo")] {
            fs::write(scratch, secrets.iter().map(|(_, secret)| format!("{secret}\n")).collect::<String>()).unwrap();
            let grep = run(Command::new("grep").arg(how).arg("-f").arg(scratch).arg("--").arg(place), b"");
            assert!(grep.code() < 2, "{}", grep.text());
            for line in grep.out().lines() {
                let what = secrets.iter().find(|(_, secret)| line.ends_with(secret.as_str()));
                found.push(format!("{} in {line}", what.map_or("something", |(what, _)| what)));
            }
        }
        found
    }
}

/// The target `hmi-4`, which takes a password.
fn target_of(machine: &Machine) -> String {
    let host_key = machine.key.public_key().fingerprint(HashAlg::Sha256);
    format!(
        "[targets.hmi-4]\nzone = \"packaging\"\n[targets.hmi-4.services.ssh]\nprotocol = \"ssh\"\n\
         address = \"{}\"\nuser = \"maint\"\ncredential = \"hmi-4\"\nhost_key = \"{host_key}\"\n",
        machine.address
    )
}

/// A plant with a target that takes a password, and a gate that logs all it can.
fn talkative(machine: &Machine) -> Plant {
    let mut plant = Plant::enrolled(Options {
        more: target_of(machine),
        log: Some("trace,russh=trace,russh::server=trace,russh::client=trace,hyper=trace,rustls=trace,sled=trace"),
        ..Options::default()
    });
    plant.grant("tess", "hmi-4", &EVERYTHING, Seconds(3_600));
    plant.edit_config(|text| text.replace("[faces.vendor]", "[faces.vendor]\npasswords = true"));
    plant.serve();
    plant
}

#[test]
fn what_people_type_or_get_is_in_no_log_and_lies_nowhere_but_sealed() {
    let machine = Machine::start();
    let mut plant = talkative(&machine);
    let mut known = Known::default();
    for name in ["ada", "lee", "tess"] {
        known.add("somebody's second factor", String::from_utf8(plant.person(name).read("totp")).unwrap());
        known.add_key("somebody's key", &String::from_utf8(plant.person(name).read("key")).unwrap());
    }
    let code = plant.person("ada").code();
    run(&mut plant.as_person("ada", &["login"]), format!("{code}\n").as_bytes()).ok();
    known.add("a code", code);
    let token: Value = serde_json::from_slice(&plant.person("ada").read("token.json")).unwrap();
    known.add("a token", text(&token["token"]));

    let mut set = plant.as_person("ada", &["secret", "set", "hmi-4"]);
    run(&mut set, MACHINES_PASSWORD.as_bytes()).ok();
    known.add("a machine's password", MACHINES_PASSWORD);
    let spare = certs::ssh_ca::fresh_key("spare").to_openssh(Default::default()).unwrap();
    run(&mut plant.as_person("ada", &["secret", "set", "spare"]), spare.as_bytes()).ok();
    known.add_key("a machine's key", &spare);

    // Somebody enrols with `ssh`, sets a password, and signs in by it.
    let invited = text(&json(&plant, "ada", &["invite", "theo", "--technician", "acme/maintenance"])["code"]);
    plant.enrol_by_ssh("theo", &invited);
    let theo = plant.person("theo");
    let password = "orchid-basalt-ferry-19";
    let typed = format!("password\n{password}\n{password}\n");
    run(&mut theo.ssh(&[&theo.at("")]), typed.as_bytes()).ok();
    theo.write("password", password.as_bytes());
    let by_password = ["-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=keyboard-interactive"];
    let listed = run(&mut theo.ssh(&[&by_password[..], &[&theo.at(""), "list"]].concat()), b"").ok().out();
    assert!(listed.contains("hmi-4"), "{listed}");
    known.add("a one-use code", invited);
    known.add("a password", password);
    known.add("a second factor that ssh showed", String::from_utf8(theo.read("totp")).unwrap());
    for code in String::from_utf8(theo.read("recovery")).unwrap().lines() {
        known.add("a recovery code", code);
    }

    // Somebody else enrols with the program, at the wrong face first, which costs nothing.
    let invited = text(&json(&plant, "ada", &["invite", "aud", "--auditor"])["code"]);
    let aud = plant.newcomer("aud");
    let mut enrol = aud.tool(tests::plant::program());
    let (origin, address) = (format!("https://{}:9443", tests::person::PLANT_FACE), plant.faces.plant[0].to_string());
    enrol.args(["enrol", "--gate", &origin, "--address", &address, "--key", "key", "--json"]);
    let told = run(&mut enrol, format!("{invited}\n").as_bytes()).ok().out();
    let enrolled: Value = serde_json::from_str(&told).unwrap();
    known.add("a one-use code", invited);
    known.add("a second factor that the program showed", text(&enrolled["totp_secret"]));
    for code in enrolled["recovery_codes"].as_array().unwrap() {
        known.add("a recovery code", text(code));
    }

    // The machine's password is given to the machine, and what a technician types goes there too.
    let tess = plant.tess();
    let typed = "walrus-typed-in-a-command";
    assert_eq!(run(&mut tess.ssh(&[&tess.at("hmi-4"), typed]), b"").ok().out(), "ready\n");
    known.add("what somebody typed", typed);
    log_in(&plant, "lee");
    holdpoint(&plant, "lee", &["sessions", "--all"]).ok();

    let ended = plant.stop();
    let log = ended.err();
    assert!(log.contains(" TRACE ") || log.contains(" DEBUG "), "a log that says nothing proves nothing:\n{log}");
    let (scratch, said) = (plant.tess().path("looked-for"), plant.tess().path("log"));
    fs::write(&said, [ended.out, ended.err].concat()).unwrap();
    assert!(known.0.len() > 30 && !known.found_in(&plant.tess().path("totp"), &scratch).is_empty());
    let found = [said, plant.data()].map(|place| known.found_in(&place, &scratch)).concat();
    assert!(found.is_empty(), "{found:#?}");
}

/// `hmi-4`, whose secret may get old, and `panel`, whose may not.
fn ageing(machine: &Machine) -> Plant {
    let panel = "[targets.panel]\nzone = \"packaging\"\n[targets.panel.services.vnc]\nprotocol = \"vnc\"\n\
                 address = \"127.0.0.1:9\"\ncredential = \"screen\"\ncredential_age_max = \"3s\"\n";
    let plant = Plant::enrolled(Options {
        plant: "credential_age_max = \"90d\"".into(),
        more: target_of(machine) + panel,
        later: vec!["kim"],
        ..Options::default()
    });
    plant.grant("tess", "hmi-4", &EVERYTHING, Seconds(3_600));
    plant.log_in("tess");
    plant
}

fn secrets_in(status: &Value) -> Vec<(String, String)> {
    let secrets = status["secrets"].as_array().unwrap().iter();
    secrets.map(|one| (text(&one["secret"]), text(&one["need"]))).collect()
}

#[test]
fn a_secret_is_set_anew_in_time_or_the_board_is_red_and_reports_tell_who_had_it() {
    let machine = Machine::start();
    let mut plant = ageing(&machine);
    let notices = plant.notices();
    let check = |plant: &Plant| {
        let files = ["check", "--config", "mill-3/holdpoint.toml", "--plant", "mill-3/plant.toml"];
        run(&mut plant.holdpoint(&files), b"").ok().out()
    };
    let before = check(&plant);
    assert!(before.contains("the secret hmi-4 of hmi-4 (ssh) was set at an unknown time, or never"), "{before}");
    plant.serve();
    for who in ["ada", "lee"] {
        log_in(&plant, who);
    }
    let status = |plant: &Plant| json(plant, "lee", &["status"]);
    let overdue = ("screen".to_owned(), "overdue".to_owned());
    let unknown = ("hmi-4".to_owned(), "unknown".to_owned());
    eventually("nobody set it, and the board is red", || {
        let status = status(&plant);
        let is_alarm = status["alarms"].as_array().unwrap().iter().any(|alarm| alarm["alarm"] == "rotation");
        secrets_in(&status) == [unknown.clone(), overdue.clone()] && is_alarm && status["red"] == true
    });
    let words = "the secret screen of panel (vnc) was not set since";
    let said = holdpoint(&plant, "lee", &["status"]).ok().out();
    assert!(said.contains("RED") && said.contains(words) && said.contains("OVERDUE since"), "{said}");
    assert!(said.contains("Set it anew: `holdpoint secret set screen`"), "{said}");
    let told = || fs::read_to_string(&notices).unwrap_or_default();
    eventually("people are told of both, of the one that is overdue in red", || {
        let lines: Vec<Value> = serde_json::Deserializer::from_str(&told()).into_iter().flatten().collect();
        let tells = |kind: &str, red: bool, words: &str| {
            lines.iter().any(|one| one["kind"] == kind && one["red"] == red && text(&one["text"]).contains(words))
        };
        tells("gate", true, words) && tells("secret", false, "the secret hmi-4 of hmi-4 (ssh)")
    });
    if let Some(mut browser) = control_room(&plant) {
        browser.open("/");
        browser.says("Secrets to be set anew: 1");
        browser.says(words);
        browser.look("board-secrets");
    }

    run(&mut plant.as_person("ada", &["secret", "set", "hmi-4"]), MACHINES_PASSWORD.as_bytes()).ok();
    assert_eq!(secrets_in(&status(&plant)).len(), 1, "one was set");
    holdpoint(&plant, "ada", &["secret", "forget", "screen"]).ok();
    eventually("one that was forgotten opens nothing, and the board is red still", || {
        let status = status(&plant);
        let alarms = status["alarms"].as_array().unwrap().iter().filter(|alarm| alarm["alarm"] == "rotation");
        let texts: Vec<_> = alarms.map(|alarm| text(&alarm["text"])).collect();
        let is_told = matches!(&texts[..], [one] if one.contains("was forgotten") && one.contains("OVERDUE"));
        secrets_in(&status) == [overdue.clone()] && is_told && status["red"] == true
    });
    let after = check(&plant);
    assert!(
        !after.contains("secret hmi-4") && after.contains("the secret screen of panel (vnc) was forgotten"),
        "{after}"
    );
    let tess = plant.tess();
    assert_eq!(run(&mut tess.ssh(&[&tess.at("hmi-4"), "true"]), b"").ok().out(), "ready\n");
    let reported = holdpoint(&plant, "lee", &["report", "secrets", "--csv"]).ok().out();
    let row =
        |secret: &str| reported.lines().find(|line| line.starts_with(&format!("\"{secret}\","))).unwrap().to_owned();
    let hmi = row("hmi-4");
    assert!(hmi.contains("\"hmi-4 (ssh)\"") && hmi.contains("\"ada\"") && hmi.contains("\"right\""), "{reported}");
    assert!(hmi.contains("\"0 days\",\"90d\"") && hmi.contains("\"tess\""), "{reported}");
    assert!(row("screen").contains("\"OVERDUE: forgotten\""), "{reported}");
    let fed = holdpoint(&plant, "lee", &["feed"]).ok().out();
    let fed: Vec<Value> = fed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let fed = fed.iter().filter(|line| line["category"] == "secret");
    let fed: Vec<_> = fed.map(|line| (text(&line["type"]), text(&line["about"]["credential"]))).collect();
    let told = |kind: &str, secret: &str| (kind.to_owned(), secret.to_owned());
    assert_eq!(fed, [told("secret-set", "hmi-4"), told("secret-forgotten", "screen")]);

    let session = text(&json(&plant, "lee", &["sessions", "--all"])["sessions"][0]["session"]);
    plant.stop();
    let evidence = plant.evidence();
    evidence.both_say(0);
    let pack = ["evidence", "--data", "data", "--trust", "trust.toml", "-o", "pack/", &session];
    run(&mut evidence.holdpoint(&pack), b"").ok();
    let page = fs::read_to_string(evidence.path("pack").join("index.html")).unwrap();
    let (_, set) = page.split_once("Secret set last").expect("the sheet tells of it");
    assert!(set.chars().take(200).collect::<String>().contains(", by ada"), "{set:.300}");
}

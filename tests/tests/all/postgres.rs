//! Gates whose journal and directory are in PostgreSQL: moved there from files, one alone and two of one installation, by
//! real commands and real clients. What the adapters owe is tested in `approver`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use approver::testing::postgres::{PostgresServer, address};
use policies::time::Seconds;
use rustix::process::Signal;
use serde_json::Value;
use tests::evidence::Evidence;
use tests::person::{GATE, PLANT_FACE};
use tests::plant::{EVERYTHING, program};
use tests::process::start_on_a_terminal;
use tests::{
    Far, Harm, Network, Options, Plant, Running, eventually, holdpoint, json, log_in, recipient, run, start, text,
};

use super::backup::unpack;
use super::restore::restored;

/// A plant whose journal was moved into a database of a server here, and whose gate does not run yet.
fn moved(server: &PostgresServer) -> Plant {
    moved_to(&server.address(&server.empty()), Options::default(), |plant| ready(plant))
}

/// What `tess` needs to be let in without a code.
fn ready(plant: &Plant) {
    plant.grant("tess", "hmi-2", &EVERYTHING, Seconds(3_600));
    plant.log_in("tess");
}

pub(super) fn moved_to(database: &str, options: Options, before: impl FnOnce(&mut Plant)) -> Plant {
    moved_over(database, "", options, before)
}

/// The same, with more lines that say how the database is reached.
pub(super) fn moved_over(database: &str, how: &str, options: Options, before: impl FnOnce(&mut Plant)) -> Plant {
    let mut plant = Plant::enrolled(options);
    before(&mut plant);
    // Who made the tables by hand says nothing else of the database either.
    let journal = format!("[store]\njournal = {database:?}");
    plant.edit_config(|text| text.replace("[store]", &journal) + "\n[store.postgres]\n" + how);
    let migrate = || run(plant.holdpoint(&["migrate", "--config"]).arg(plant.config()), b"");
    migrate().refused(1, "standby = \"none\"");
    plant.edit_config(|text| text.replace("[store.postgres]", "[store.postgres]\nstandby = \"none\""));
    run(&mut plant.serve_command(), b"").says_no("holdpoint migrate");
    let told = migrate().ok().out();
    assert!(told.contains("Both were read back: the root is "), "{told}");
    plant
}

/// One more node of it, with a folder of its own and a copy of the keys.
pub(super) struct Second {
    pub(super) folder: PathBuf,
}

impl Second {
    pub(super) fn of(plant: &Plant, node: &str) -> Self {
        Self::with(plant, node, |text| text)
    }

    pub(super) fn with(plant: &Plant, node: &str, edit: impl FnOnce(String) -> String) -> Self {
        let folder = plant.installation().with_file_name(node);
        fs::create_dir(&folder).unwrap();
        run(Command::new("cp").arg("-a").arg(plant.installation().join("keys")).arg(&folder), b"").ok();
        let text = fs::read_to_string(plant.config()).unwrap();
        let own = format!("data = \"data\"\nnode = {node:?}");
        fs::write(folder.join("holdpoint.toml"), edit(text.replace("data = \"data\"", &own))).unwrap();
        Self { folder }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn serve_command(&self, plant: &Plant) -> Command {
        let mut serve = plant.holdpoint(&["serve", "--json", "--config"]);
        serve.arg(self.folder.join("holdpoint.toml"));
        serve
    }

    /// Starts it, and has `lee` go there from then on.
    fn serve(&self, plant: &Plant) -> (Running, Value) {
        let (gate, said) = serving(&mut self.serve_command(plant));
        let lee = plant.person("lee");
        let profile = String::from_utf8(lee.read("profile.toml")).unwrap();
        let there = plant.faces.plant[0].to_string();
        lee.write("profile.toml", profile.replace(&there, said["plant"][0].as_str().unwrap()).as_bytes());
        (gate, said)
    }
}

/// Starts a gate; gives what it says once it serves.
fn serving(command: &mut Command) -> (Running, Value) {
    let mut gate = start(command);
    let told = gate.until("}\n");
    let said = serde_json::from_str(told.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();
    (gate, said)
}

/// Where it listens for SSH.
fn ssh_port(said: &Value) -> String {
    said["ssh"][0].as_str().unwrap().rsplit(':').next().unwrap().to_owned()
}

/// A shell of `tess` at the plant's own node, which the node to which `lee` goes knows of.
fn works(plant: &Plant) -> Running {
    let mut shell = start_on_a_terminal(&plant.tess().ssh(&["-tt", &plant.tess().at("hmi-2")]));
    shell.type_in("echo I am $((40 + 2))\r");
    shell.until("I am 42");
    eventually("the session is known at the other node", || live_at(plant) == 1);
    shell
}

fn whole(plant: &Plant, data: &Path) -> String {
    Evidence::take(&plant.installation(), data, &program()).verify().ok().out()
}

fn both_whole(plant: &Plant, second: &Second) {
    trust(plant, &second.folder);
    for data in [plant.data(), second.data()] {
        println!("{}", whole(plant, &data));
    }
}

/// The auditor adds the line of the other node's recordings to what they trust.
pub(super) fn trust(plant: &Plant, other: &Path) {
    let (path, theirs) = (plant.installation().join("trust.toml"), other.join("trust.toml"));
    let (ours, theirs) = (fs::read_to_string(&path).unwrap(), fs::read_to_string(theirs).unwrap());
    let records = format!("/records/{}", other.file_name().unwrap().display());
    let key = theirs.split('"').find(|text| text.contains(&records)).unwrap();
    let both = ours.replacen("logs = [", &format!("logs = [\n    {key:?},"), 1);
    fs::write(path, both).unwrap();
}

#[test]
fn a_gate_on_postgres_does_the_whole_job_and_a_cut_at_one_node_ends_a_session_at_another() {
    let Some(server) = PostgresServer::shared() else { return };
    let mut plant = moved(&server);
    plant.serve();
    log_in(&plant, "lee");
    let at = plant.tess().at("hmi-2");
    assert_eq!(run(&mut plant.tess().ssh(&[&at, "echo it works"]), b"").ok().out(), "it works\n");
    let before = json(&plant, "lee", &["status"]);
    let checked = run(
        plant
            .holdpoint(&["check", "--config"])
            .arg(plant.config())
            .arg("--plant")
            .arg(plant.installation().join("plant.toml")),
        b"",
    );
    checked.refused(0, "no standby is demanded");

    let second = Second::of(&plant, "gate-2");
    let (gate, _) = second.serve(&plant);
    log_in(&plant, "lee");
    let there = json(&plant, "lee", &["status"]);
    assert_eq!((there["node"].as_str(), &there["deployment"]), (Some("gate-2"), &before["deployment"]));
    let mut shell = works(&plant);
    let session = text(&json(&plant, "lee", &["sessions"])["sessions"][0]["session"]);
    json(&plant, "lee", &["freeze", &session]);
    shell.until("Your input is stopped by an operator");
    json(&plant, "lee", &["thaw", &session]);
    shell.until("Your input goes on");
    let closed = json(&plant, "lee", &["disconnect", &session]);
    assert!(closed["connections"].is_null() && closed["journaled"] == true, "{closed}");
    let began = Instant::now();
    json(&plant, "lee", &["cut", "--technician", "tess"]);
    let ended = shell.ends();
    println!("cut at the other node, ended after {:?}, the command included", began.elapsed());
    assert!(ended.out().contains("Access was cut by an operator"), "{}", ended.out());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    run(&mut plant.tess().ssh(&[&at, "true"]), b"").says_no("cut by an operator");

    log_in(&plant, "ada");
    run(&mut plant.as_person("ada", &["nodes", "forget", "gate-2"]), b"").refused(1, "the node gate-2 may be up");
    gate.signal(Signal::TERM);
    assert_eq!(gate.ends().code(), 0);
    run(&mut plant.as_person("ada", &["nodes", "forget", "gate-2"]), b"").ok();
    let standing = || {
        let nodes = json(&plant, "ada", &["nodes"]);
        let nodes = nodes["nodes"].as_array().unwrap().clone();
        nodes.iter().map(|node| format!("{} {}", text(&node["node"]), text(&node["standing"]))).collect::<Vec<_>>()
    };
    assert_eq!(standing(), ["gate-1 up", "gate-2 forgotten"]);
    // It comes back as any.
    let mut gate = start(&mut second.serve_command(&plant));
    gate.until("}\n");
    eventually("it is up again", || standing() == ["gate-1 up", "gate-2 up"]);
    gate.signal(Signal::TERM);
    assert_eq!(gate.ends().code(), 0);
    assert_eq!(plant.stop().code(), 0);
    both_whole(&plant, &second);
    // Names are given once, and nobody goes on alone from a copy.
    fs::remove_dir_all(second.data()).unwrap();
    run(&mut second.serve_command(&plant), b"").says_no("a node gate-2 is known in the database already");
    plant.edit_config(|text| {
        let lines = text.lines().filter(|line| {
            !line.starts_with("journal =") && !line.contains("standby") && !line.contains("[store.postgres]")
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    run(&mut plant.serve_command(), b"").says_no("is a node's copy of a journal in PostgreSQL");
}

#[test]
fn what_a_node_carried_that_died_or_was_cut_off_is_presumed_ended_and_its_evidence_is_whole() {
    let Some(server) = PostgresServer::shared() else { return };
    // The way to the database is a link, which a test can take away from one node.
    let (ways, name) = (tempfile::tempdir().unwrap(), server.empty());
    let way = ways.path().join("way");
    std::os::unix::fs::symlink(server.folder(), &way).unwrap();
    let (by_the_way, straight) = (address(&way, "holdpoint", &name), server.address(&name));
    let rule = "idle = \"4h\"\nstaleness = \"2s\"\nstaleness_ending = \"keep\"".to_owned();
    let mut plant = moved_to(&by_the_way, Options { rule, ..Options::default() }, |plant| ready(plant));
    plant.serve();
    let second = Second::with(&plant, "gate-2", |text| text.replace(&by_the_way, &straight));
    let (gate, _) = second.serve(&plant);
    log_in(&plant, "lee");
    let at = plant.tess().at("hmi-2");
    // Cut off: it goes on as its rule says, recorded, and ends when the node hears what the others think.
    let mut shell = works(&plant);
    fs::remove_file(&way).unwrap();
    // Those of this database alone: others run at the server, too.
    let broken = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                  WHERE usename = 'holdpoint' AND datname = current_database()";
    server.sql(&name, broken);
    eventually("it is presumed ended", || live_at(&plant) == 0);
    shell.type_in("echo I am $((40 + 3))\r");
    shell.until("I am 43");
    run(&mut plant.tess().ssh(&[&at, "true"]), b"").says_no("The gate cannot look up now who you are");
    std::os::unix::fs::symlink(server.folder(), &way).unwrap();
    let ended = shell.ends();
    assert!(ended.out().contains("took your session for over. Connect again"), "{}", ended.out());

    // Killed: the same, and it is found as it was when the node comes back.
    let shell = works(&plant);
    plant.kill();
    shell.ends();
    eventually("it is presumed ended", || live_at(&plant) == 0);
    gate.signal(Signal::TERM);
    assert_eq!(gate.ends().code(), 0);
    let presumed =
        "SELECT count(*) FROM holdpoint.entries WHERE encode(bytes, 'escape') LIKE '%\"ending\":\"presumed\"%'";
    assert_eq!(server.sql(&name, presumed), "2");
    plant.serve();
    assert_eq!(plant.stop().code(), 0);
    both_whole(&plant, &second);
}

#[test]
fn a_node_whose_network_falls_silent_ends_its_sessions_in_time_and_is_one_of_them_again_when_it_carries() {
    let Some(network) = Network::new(2) else { return };
    let Some(server) = PostgresServer::start_in(network.name(), &network.addresses()) else { return };
    let name = server.empty();
    let [mine, theirs] = [0, 1].map(|cable| server.address_at(network.address(cable), &name));
    let how = format!("ca = {:?}\n", server.folder().join("server.pem"));
    let rule = "idle = \"4h\"\nstaleness = \"2s\"".to_owned();
    let mut plant = moved_over(&mine, &how, Options { rule, ..Options::default() }, |plant| ready(plant));
    plant.serve();
    let second = Second::with(&plant, "gate-2", |text| text.replace(&mine, &theirs));
    let (gate, said) = second.serve(&plant);
    log_in(&plant, "lee");
    let (at, there) = (plant.tess().at("hmi-2"), ssh_port(&said));
    let shell = works(&plant);
    network.harm(0, Harm::Silence);
    let began = Instant::now();
    // Its rule's two seconds, and what it takes to see that nobody answers.
    let ended = shell.ends_within(Duration::from_secs(20));
    assert!(ended.out().contains("cannot reach its journal"), "{}", ended.out());
    println!("it ended {:?} after the last packet", began.elapsed());
    run(&mut plant.tess().ssh(&[&at, "true"]), b"").says_no("The gate cannot look up now who you are");
    eventually("it is presumed ended", || live_at(&plant) == 0);
    run(&mut plant.tess().ssh(&["-p", &there, &at, "true"]), b"").ok();
    network.heal(0);
    eventually("it lets in again", || run(&mut plant.tess().ssh(&[&at, "true"]), b"").status.success());

    // Much is lost, and what must arrive does.
    [0, 1].iter().for_each(|cable| network.harm(*cable, Harm::Loss(10)));
    let shell = works(&plant);
    let session = text(&json(&plant, "lee", &["sessions"])["sessions"][0]["session"]);
    let began = Instant::now();
    json(&plant, "lee", &["cut", &session]);
    assert!(shell.ends().out().contains("Access was cut by an operator"));
    println!("a cut at the other node ended it after {:?}", began.elapsed());
    [0, 1].iter().for_each(|cable| network.heal(*cable));
    gate.signal(Signal::TERM);
    assert_eq!(gate.ends().code(), 0);
    assert_eq!(plant.stop().code(), 0);
    both_whole(&plant, &second);
}

#[test]
fn gates_whose_database_is_far_away_let_in_and_cut_as_others_do() {
    let Some(server) = PostgresServer::shared() else { return };
    // As between two continents.
    let (way, name) = (Far::new(server.folder(), Duration::from_millis(50)), server.empty());
    let (near, far) = (server.address(&name), address(&way.folder(), "holdpoint", &name));
    let mut plant = moved_to(&near, Options::default(), |plant| ready(plant));
    plant.edit_config(|text| text.replace(&near, &far));
    plant.serve();
    let second = Second::of(&plant, "gate-2");
    let (gate, _) = second.serve(&plant);
    log_in(&plant, "lee");
    let at = plant.tess().at("hmi-2");
    let began = Instant::now();
    run(&mut plant.tess().ssh(&[&at, "true"]), b"").ok();
    println!("somebody is let in, and done after {:?}", began.elapsed());
    let mut shell = start_on_a_terminal(&plant.tess().ssh(&["-tt", &at]));
    shell.type_in("echo I am $((40 + 2))\r");
    shell.until("I am 42");
    eventually("the session is known at the other node", || live_at(&plant) == 1);
    let began = Instant::now();
    holdpoint(&plant, "lee", &["cut", "--plant"]).ok();
    println!("the operator has their answer after {:?}", began.elapsed());
    assert!(shell.ends().out().contains("Access was cut by an operator"));
    println!("the session at the other node is over after {:?}", began.elapsed());
    gate.signal(Signal::TERM);
    assert_eq!(gate.ends().code(), 0);
    assert_eq!(plant.stop().code(), 0);
    // What is asked more than once over a connection costs one way there and back, and no second one to prepare it.
    let prepared = way.prepared();
    assert!(prepared.keys().any(|statement| statement.contains("UPDATE holdpoint.head")), "{prepared:?}");
    assert!(prepared.values().all(|times| *times == 1), "{prepared:?}");
}

#[test]
fn a_node_may_show_one_face_alone_and_its_sessions_are_ruled_from_the_others() {
    let Some(server) = PostgresServer::shared() else { return };
    let mut plant = moved(&server);
    plant.serve();
    let faces = |config: &str, vendor: &str, plant: &str| {
        let (before, rest) = config.split_once("[faces.vendor]").unwrap();
        let (_, behind) = rest.split_once("[store]").unwrap();
        format!(
            "{before}[faces.vendor]\norigin = \"https://{GATE}:8443\"\n{vendor}\n\
             [faces.plant]\norigin = \"https://{PLANT_FACE}:9443\"\n{plant}\n[store]{behind}"
        )
    };
    let outside = Second::with(&plant, "gate-2", |config| {
        faces(&config, "ssh = [\"127.0.0.1:0\"]\npages = [\"127.0.0.1:0\"]", "elsewhere = true")
    });
    let inside = Second::with(&plant, "gate-3", |config| {
        faces(&config, "elsewhere = true\nssh_port = 2222", "listen = [\"127.0.0.1:0\"]")
    });
    let (carries, said) = serving(&mut outside.serve_command(&plant));
    assert_eq!(said["plant"], serde_json::json!([]), "{said}");
    let port = ssh_port(&said);
    let (rules, _) = inside.serve(&plant);
    assert_eq!(
        run(&mut plant.tess().ssh(&["-p", &port, &plant.tess().at("hmi-2"), "echo it works"]), b"").ok().out(),
        "it works\n"
    );

    log_in(&plant, "lee");
    assert_eq!(json(&plant, "lee", &["status"])["node"], "gate-3");
    let mut shell = start_on_a_terminal(&plant.tess().ssh(&["-tt", "-p", &port, &plant.tess().at("hmi-2")]));
    shell.type_in("echo I am $((40 + 2))\r");
    shell.until("I am 42");
    eventually("the session is known at the other node", || live_at(&plant) == 1);
    let session = text(&json(&plant, "lee", &["sessions"])["sessions"][0]["session"]);
    json(&plant, "lee", &["freeze", &session]);
    shell.until("Your input is stopped by an operator");
    json(&plant, "lee", &["cut", &session]);
    assert!(shell.ends().out().contains("Access was cut by an operator"));
    for gate in [carries, rules] {
        gate.signal(Signal::TERM);
        assert_eq!(gate.ends().code(), 0);
    }
    assert_eq!(plant.stop().code(), 0);
}

#[test]
fn a_node_joins_a_journal_that_went_on_from_restores_and_its_folder_is_checked_as_any() {
    let Some(server) = PostgresServer::shared() else { return };
    let mut plant = moved_to(&server.address(&server.empty()), Options::default(), |plant| {
        plant.serve();
        ["ada", "lee"].iter().for_each(|who| log_in(plant, who));
        plant.stop();
        restored(plant, &[]);
        fs::remove_file(plant.installation().with_file_name("restore.json")).unwrap();
        ready(plant);
        restored(plant, &[]);
        ready(plant);
    });
    plant.serve();
    let second = Second::of(&plant, "gate-2");
    let (gate, said) = serving(&mut second.serve_command(&plant));
    let port = ssh_port(&said);
    let at = plant.tess().at("hmi-2");
    for more in [&["-p", &port][..], &[]] {
        let works = [more, &[&at, "echo it works"]].concat();
        assert_eq!(run(&mut plant.tess().ssh(&works), b"").ok().out(), "it works\n");
    }
    gate.signal(Signal::TERM);
    assert_eq!(gate.ends().code(), 0);
    assert_eq!(plant.stop().code(), 0);
    trust(&plant, &second.folder);
    for data in [plant.data(), second.data()] {
        let told = Evidence::take(&plant.installation(), &data, &program()).both_say(4);
        assert!(told.contains("RESTORED") && told.contains("1 sessions"), "{told}");
    }
    let names = |log: &str| fs::read_to_string(second.data().join(log).join("FORMAT")).unwrap().lines().count();
    assert_eq!((names("journal"), names("records")), (6, 4), "what it records never went by another name");
}

/// How many sessions run, as the plant face sees it that `lee` goes to.
fn live_at(plant: &Plant) -> usize {
    json(plant, "lee", &["sessions"])["sessions"].as_array().unwrap().len()
}

#[test]
fn while_the_database_stands_still_nobody_gets_in_and_what_runs_is_cut_all_the_same() {
    let Some(server) = PostgresServer::start() else { return };
    let server = Arc::new(server);
    let mut plant = moved(&server);
    plant.serve();
    log_in(&plant, "lee");
    let at = plant.tess().at("hmi-2");
    let mut shell = start_on_a_terminal(&plant.tess().ssh(&["-tt", &at]));
    shell.type_in("echo I am $((40 + 2))\r");
    shell.until("I am 42");
    server.pause();
    run(&mut plant.tess().ssh(&[&at, "true"]), b"").says_no("The gate cannot look up now who you are");
    let cut = holdpoint(&plant, "lee", &["cut", "--plant"]).ok();
    assert!(shell.ends().out().contains("Access was cut by an operator"));
    assert!(cut.out().contains("cut at every node"), "{}", cut.out());
    server.go_on();
    eventually("the cut is journaled", || {
        json(&plant, "lee", &["status"])["cuts"] == 1 && json(&plant, "lee", &["status"])["late"] == 0
    });
    log_in(&plant, "ada");
    let backup = plant.person("ada").path("backup.age");
    let (to, file) = (recipient(&plant), backup.display().to_string());
    run(&mut plant.as_person("ada", &["backup", "-o", &file, "--to", &to]), b"").ok();
    assert_eq!(plant.stop().code(), 0);
    whole(&plant, &plant.data());

    // The database is lost; the node's copy and a backup are there.
    let unpacked = plant.installation().join("unpacked");
    unpack(&plant, &backup, &unpacked);
    let empty = format!("journal = {:?}", server.address(&server.empty()));
    plant.edit_config(|text| {
        let lines = text.lines().map(|line| if line.starts_with("journal =") { &empty } else { line });
        lines.collect::<Vec<_>>().join("\n")
    });
    let migrate = |more: &[&str]| {
        let mut migrate = plant.holdpoint(&["migrate", "--config"]);
        run(migrate.arg(plant.config()).args(more), b"")
    };
    migrate(&[]).refused(1, "holdpoint migrate --directory directory.jsonl");
    let names = unpacked.join("directory.jsonl").display().to_string();
    migrate(&["--directory", &names]).ok();
    migrate(&[]).ok();
    whole(&plant, &plant.data());
    plant.serve();
    assert_eq!(plant.stop().code(), 0);
}

//! Several gates of one installation, and everything under them is killed, again and again, while people work: gates, the
//! database, the network between them, and by cuts the people's access. Whatever was acknowledged is there afterwards, and nobody had more than they were given.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use approver::testing::postgres::PostgresServer;
use jiff::{SignedDuration, Timestamp};
use policies::time::Seconds;
use recordings::frame::Stream;
use recordings::notes::Note;
use recordings::read::What;
use rustix::process::Signal;
use serde_json::Value;
use tests::evidence::{Evidence, Opened};
use tests::plant::{EVERYTHING, program};
use tests::{Harm, Network, Options, Person, Plant, Running, eventually, long_or, run, start};

use super::postgres::{Second, moved_over, trust};

/// One gate, which is killed and started again.
struct Gate {
    folder: PathBuf,
    data: PathBuf,
    runs: Option<Running>,
}

impl Gate {
    /// Starts it, as often as it takes while the database is away; gives where it listens for SSH.
    fn serve(&mut self, plant: &Plant) -> u16 {
        let began = Instant::now();
        loop {
            let mut serve = plant.holdpoint(&["serve", "--json", "--config"]);
            let mut gate = start(serve.arg(self.folder.join("holdpoint.toml")));
            let said = loop {
                let said = gate.said();
                match said.lines().find(|line| line.starts_with('{') && line.ends_with('}')) {
                    Some(line) => break serde_json::from_str::<Value>(line).ok(),
                    None if gate.has_ended() => break None,
                    None => thread::sleep(Duration::from_millis(20)),
                }
            };
            if let Some(said) = said {
                self.runs = Some(gate);
                let address: std::net::SocketAddr = said["ssh"][0].as_str().unwrap().parse().unwrap();
                return address.port();
            }
            assert!(began.elapsed() < Duration::from_secs(120), "{}", gate.ends().text());
        }
    }

    fn kill(&mut self) {
        let gate = self.runs.take().unwrap();
        gate.signal(Signal::KILL);
        gate.ends();
    }
}

/// What everybody who works knows.
struct Yard {
    /// The machine's folder.
    files: PathBuf,
    /// Where each gate listens, 0 while it is down.
    ports: Vec<AtomicU16>,
    is_over: AtomicBool,
}

/// Dropped, all is over, so that nobody works on behind a test that has failed.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// How many may work under one grant at a time.
const CONNECTIONS: usize = 30;
/// A cut ends what it is about within this.
const CUT_MAX: SignedDuration = SignedDuration::from_secs(1);

/// Sends lines to the machine through one gate after the other, each time into another file, until all is over or they are cut;
/// gives the files' names.
fn work(yard: &Yard, technician: &Person, worker: usize) -> Vec<String> {
    let mut names = Vec::new();
    for round in 0.. {
        let name = format!("w{worker}-{round}");
        let file = yard.files.join(&name).display().to_string();
        let port = yard.ports[(worker + round) % yard.ports.len()].load(Ordering::SeqCst);
        if yard.is_over.load(Ordering::SeqCst) {
            break;
        }
        if port == 0 {
            thread::sleep(Duration::from_millis(100));
            continue;
        }
        // Whose grant is over is asked for the next one, and has none to give.
        let mut ssh = technician.ssh(&[
            "-o",
            "BatchMode=yes",
            "-p",
            &port.to_string(),
            &technician.at("hmi-2"),
            &format!("cat > {file}"),
        ]);
        let mut client = start(&mut ssh);
        let mut input = client.take_input();
        for number in 0_u64.. {
            let line = format!("{name} {number}\n");
            if yard.is_over.load(Ordering::SeqCst) || client.has_ended() || input.write_all(line.as_bytes()).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(long_or(100, 10)));
        }
        drop(input);
        let ended = client.ends_within(Duration::from_secs(120));
        names.push(name);
        if ["cut by an operator", "Permission denied"].iter().any(|over| ended.text().contains(over)) {
            break;
        }
        if !ended.status.success() {
            thread::sleep(Duration::from_millis(200));
        }
    }
    names
}

/// What the test does next; by chance, or once each.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Gate(usize),
    Database,
    Network(usize, Harm),
    Cut,
}

/// Numbers that look like chance, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn blow(&mut self, gates: usize) -> Blow {
        match self.below(10) {
            0..4 => Blow::Gate(self.below(gates)),
            4..6 => Blow::Database,
            6..9 => Blow::Network(self.below(gates), [Harm::Silence, Harm::Loss(20)][self.below(2)]),
            _ => Blow::Cut,
        }
    }
}

#[test]
fn gates_and_the_database_are_killed_in_any_order_and_all_that_was_acknowledged_is_there() {
    let (gates, people, workers) = (long_or(3, 2), long_or(12, 3), long_or(300, 6));
    let network = Network::new(gates);
    let server = match &network {
        Some(network) => PostgresServer::start_in(network.name(), &network.addresses()),
        None => PostgresServer::start(),
    };
    let Some(mut server) = server else { return };
    let names: Vec<&'static str> = (0..people).map(|n| &*format!("tech{n}").leak()).collect();
    let rule = format!("idle = \"4h\"\nconnections = {CONNECTIONS}\nstaleness_ending = \"keep\"");
    let options = Options {
        rule,
        technicians: names.iter().map(|name| (*name, "acme")).collect(),
        sshd: "MaxStartups 1000".into(),
        ..Options::default()
    };
    let database = server.empty();
    // Each gate has a way of its own to it.
    let way = |gate: usize| match &network {
        Some(network) => server.address_at(network.address(gate), &database),
        None => server.address(&database),
    };
    let how = network.as_ref().map(|_| format!("ca = {:?}\n", server.folder().join("server.pem")));
    let plant = moved_over(&way(0), &how.unwrap_or_default(), options, |plant| {
        for name in &names {
            // Some of it is over in the middle of it all.
            let lasts = if *name == names[0] { long_or(240, 8) } else { 3_600 };
            plant.grant(name, "hmi-2", &EVERYTHING, Seconds(lasts));
            plant.log_in(name);
            plant.person(name).find_gate(1);
        }
    });
    let mut all = vec![Gate { folder: plant.installation(), data: plant.data(), runs: None }];
    for gate in 1..gates {
        let second = Second::with(&plant, &format!("gate-{}", gate + 1), |text| text.replace(&way(0), &way(gate)));
        all.push(Gate { data: second.data(), folder: second.folder, runs: None });
    }
    let yard = Yard {
        files: plant.hmi.path(""),
        ports: all.iter_mut().map(|gate| AtomicU16::new(gate.serve(&plant))).collect(),
        is_over: AtomicBool::new(false),
    };
    let seed = Timestamp::now().as_microsecond().unsigned_abs();
    println!("seed {seed}");
    let files: Vec<String> = thread::scope(|scope| {
        let yard = &yard;
        let working: Vec<_> = (0..workers)
            .map(|worker| {
                let technician = plant.person(names[worker % people]);
                scope.spawn(move || work(yard, technician, worker))
            })
            .collect();
        let over = Over(&yard.is_over);
        strike((&plant, &database), yard, &mut all, (&mut server, network.as_ref()), &names, Dice(seed));
        drop(over);
        working.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    eventually("the machine has taken in what was sent", || plant.hmi.is_idle());
    for gate in all.iter_mut().filter_map(|gate| gate.runs.take()) {
        gate.signal(Signal::TERM);
        let stopped = gate.ends_within(Duration::from_secs(60));
        assert_eq!(stopped.code(), 0, "{}", stopped.err());
    }
    all[1..].iter().for_each(|gate| trust(&plant, &gate.folder));
    let journal = journal(&server, &database);
    for gate in &all {
        let verified = Evidence::take(&plant.installation(), &gate.data, &program()).verify().ok();
        println!("{}: {}", gate.folder.display(), verified.out().lines().last().unwrap_or_default());
    }
    let recordings: Vec<Opened> = all
        .iter()
        .flat_map(|gate| Evidence::take(&plant.installation(), &gate.data, &program()).recordings())
        .collect();
    check_bytes(&plant, &files, &recordings);
    check_cuts(&journal, &recordings);
    check_grants(&journal);
}

/// Kills and cuts, and lets everybody work in between; at the end all gates and the database run, and reach each other.
fn strike(
    (plant, database): (&Plant, &str),
    yard: &Yard,
    all: &mut [Gate],
    (server, network): (&mut PostgresServer, Option<&Network>),
    names: &[&str],
    mut dice: Dice,
) {
    let mut to_cut = names[1..].iter().take(names.len() / 2);
    let until = Instant::now() + Duration::from_secs(long_or(600, 0));
    let silent = Blow::Network(1, Harm::Silence);
    let once_each = [Blow::Gate(0), Blow::Cut, Blow::Database, silent, Blow::Gate(1), Blow::Network(0, Harm::Loss(20))];
    let mut struck = [0; 4];
    for turn in 0.. {
        let blow = match once_each.get(turn) {
            Some(blow) => *blow,
            None if Instant::now() < until => dice.blow(all.len()),
            None => break,
        };
        thread::sleep(Duration::from_millis(1_000 + long_or(20, 5) * dice.below(100) as u64));
        println!("{:.3} {blow:?}", Timestamp::now());
        match blow {
            Blow::Gate(which) => {
                yard.ports[which].store(0, Ordering::SeqCst);
                all[which].kill();
                thread::sleep(Duration::from_millis(10 * dice.below(200) as u64));
                yard.ports[which].store(all[which].serve(plant), Ordering::SeqCst);
                struck[0] += 1;
            }
            Blow::Database => {
                server.kill();
                thread::sleep(Duration::from_millis(long_or(30, 5) * dice.below(100) as u64));
                server.start_again();
                struck[1] += 1;
            }
            Blow::Network(which, harm) => {
                let Some(network) = network else { continue };
                network.harm(which, harm);
                thread::sleep(Duration::from_millis(long_or(100, 25) * dice.below(100) as u64));
                network.heal(which);
                struck[2] += 1;
            }
            Blow::Cut => {
                let Some(name) = to_cut.next() else { continue };
                // A gate that cannot reach the journal does not hear of it.
                until_all_speak(server, database);
                let gate = &all[dice.below(all.len())];
                let mut cut = plant.holdpoint(&["cut", "--local", "--technician", &plant.person(name).id.to_string()]);
                run(cut.arg("--data").arg(&gate.data), b"").ok();
                struck[3] += 1;
            }
        }
    }
    let [gates, database, network, cuts] = struck;
    println!(
        "killed: {gates} times a gate, {database} times the database; the network harmed {network} times; {cuts} cuts"
    );
    // Everybody hears of everything that was decided.
    thread::sleep(Duration::from_secs(2));
}

/// Waits until each gate has said once more, in the database, that it lives.
fn until_all_speak(server: &PostgresServer, database: &str) {
    let said = || -> Vec<u64> {
        let said = server.sql(database, "SELECT said FROM holdpoint.nodes ORDER BY node");
        said.lines().map(|said| said.parse().unwrap()).collect()
    };
    let before = said();
    eventually("every gate reaches the journal", || said().iter().zip(&before).all(|(now, before)| now > before));
}

/// The journal's events, as the database has them.
fn journal(server: &PostgresServer, database: &str) -> Vec<Value> {
    let lines = server.sql(database, "SELECT convert_from(bytes, 'UTF8') FROM holdpoint.entries ORDER BY index");
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whatever reached the machine was recorded, in its order, in the one recording of that file.
fn check_bytes(plant: &Plant, files: &[String], recordings: &[Opened]) {
    let mut by_file: BTreeMap<String, &Opened> = BTreeMap::new();
    for opened in recordings {
        for note in opened.notes() {
            if let Note::Exec { command, .. } = note
                && let Some(name) = Path::new(&command.to_string()).file_name()
            {
                let again = by_file.insert(name.to_string_lossy().into_owned(), opened);
                assert!(again.is_none(), "two recordings of {name:?}");
            }
        }
    }
    let (mut arrived, mut bytes) = (0, 0);
    for name in files {
        let Ok(sent) = fs::read(plant.hmi.path(name)) else { continue };
        let recorded = by_file.get(name).unwrap_or_else(|| panic!("no recording of {name}"));
        let known = recorded.bytes(Stream::In);
        assert!(known.starts_with(&sent), "{name}: {} bytes arrived, {} are recorded", sent.len(), known.len());
        arrived += 1;
        bytes += sent.len();
    }
    println!("{arrived} sessions reached the machine, with {bytes} bytes, all of them recorded");
    assert!(arrived > long_or(300, 6));
}

/// Nothing of a technician passed later than that after they were cut.
fn check_cuts(journal: &[Value], recordings: &[Opened]) {
    let mut cuts = 0;
    for cut in journal.iter().filter(|event| event["event"] == "cut") {
        let at: Timestamp = cut["at"].as_str().unwrap().parse().unwrap();
        let is_theirs = |event: &&Value| event["event"] == "started" && event["technician"] == cut["of"];
        let theirs: BTreeMap<&str, &Value> = journal
            .iter()
            .filter(is_theirs)
            .filter_map(|event| Some((event["session"].as_str()?, &event["node"])))
            .collect();
        let mut last = SignedDuration::MIN;
        for opened in recordings {
            let session = opened.recording.opened.recording.to_string();
            let data = opened.moments.iter().rfind(|moment| matches!(moment.what, What::Data(Stream::In, _)));
            let (Some(node), Some(moment)) = (theirs.get(&*session), data) else { continue };
            let late = moment.wall.duration_since(at);
            if late >= CUT_MAX {
                println!("{session} at {node}: {late:#} after the cut of {at}");
            }
            last = last.max(late);
        }
        println!("cut {}: the last byte {last:#} after it, of {} sessions", cut["cut"], theirs.len());
        assert!(last < CUT_MAX);
        cuts += 1;
    }
    assert!(cuts > 0);
}

/// No grant had more sessions at a time than its rule allows, as the journal has it.
fn check_grants(journal: &[Value]) {
    let (mut of, mut live): (BTreeMap<&str, &str>, BTreeMap<&str, usize>) = (BTreeMap::new(), BTreeMap::new());
    let mut most = 0;
    for event in journal {
        let session = event["session"].as_str().unwrap_or_default();
        match event["event"].as_str() {
            Some("started") => {
                let grant = event["request"].as_str().unwrap();
                of.insert(session, grant);
                let count = live.entry(grant).or_default();
                *count += 1;
                most = most.max(*count);
            }
            Some("ended") => *live.get_mut(of[session]).unwrap() -= 1,
            _ => {}
        }
    }
    println!("at most {most} sessions under one grant at a time");
    assert!(most <= CONNECTIONS);
    assert!(live.values().all(|left| *left == 0), "{live:?}");
}

//! The control room on a bad day: a thousand requests wait and two hundred sessions are live. How long each page and each
//! answer of the API takes, what the program holds then, and how long after a cut the last byte reaches the machine.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use policies::actions::Action;
use policies::time::Seconds;
use proxy::client::{Client, Profile};
use serde_json::Value;
use tests::browser::Browser;
use tests::plant::EVERYTHING;
use tests::{Options, Plant, holdpoint, json, log_in, run, text};

use crate::{median, percentiles, sorted};

/// How much of everything.
pub(crate) struct Size {
    pub(crate) technicians: usize,
    pub(crate) sessions: usize,
    pub(crate) asked: usize,
}

/// As many as one technician may have waiting.
const ASKS_EACH: usize = 10;
/// A source may ask 20 times a second.
const BETWEEN: Duration = Duration::from_millis(60);

pub(crate) fn measure(size: &Size) {
    let names: Vec<&'static str> = (0..size.technicians).map(|at| &*format!("t{at:03}").leak()).collect();
    let everybody = names.iter().map(|name| (*name, "acme")).chain([("tess", "acme")]).collect();
    let rule = "idle = \"4h\"\nfactor_lasts = \"24h\"\nconnections = 1000".to_owned();
    let mut plant = Plant::enrolled(Options { rule, technicians: everybody, later: vec!["kim"], ..Options::default() });
    plant.grant("tess", "hmi-2", &EVERYTHING, Seconds(4 * 3_600));
    plant.log_in("tess");
    plant.decide(|office| {
        for name in names.iter().flat_map(|name| [name; ASKS_EACH]) {
            office.ask(plant.person(name), "hmi-2", &[Action::Shell], Seconds(3_600));
        }
    });
    plant.serve();
    log_in(&plant, "lee");
    let Some(mut browser) = Browser::new(&plant) else { return };
    browser.has_a_passkey();
    browser.enrols("kim", &plant.codes["kim"].clone());
    browser.signs_in();
    println!("\nboard: {} requests wait, {} sessions are live", names.len() * ASKS_EACH, size.sessions);
    let idle = plant.memory();
    let working = Working::start(&plant, size.sessions);
    println!(
        "  memory {} MiB, of which the sessions' {} MiB",
        plant.memory() >> 20,
        plant.memory().saturating_sub(idle) >> 20
    );
    pages(&plant, &mut browser, size.asked);
    answers(&plant, size.asked);
    drop(browser);
    println!("\ncut: {} sessions are typed into, a third of them with 200 KiB a second", size.sessions);
    let told = (0..20).map(|_| timed(|| drop(holdpoint(&plant, "lee", &["cuts"]))));
    println!("  the command by itself takes {:.0} ms", median(told));
    cuts(&mut plant, working, size.sessions);
}

/// What the browser waits for, from its request to the last byte of the answer.
fn pages(plant: &Plant, browser: &mut Browser, asked: usize) {
    let requests = json(plant, "lee", &["requests"]);
    let sessions = json(plant, "lee", &["sessions"]);
    let (request, session) = (text(&first(&requests)["request"]), text(&first(&sessions)["session"]));
    let paths =
        ["/".to_owned(), format!("/requests/{request}"), format!("/sessions/{session}"), "/cut?scope=plant".to_owned()];
    for path in paths.into_iter().chain(["/people", "/plant-files"].map(str::to_owned)) {
        let script = format!(
            "(async () => {{ const took = []; for (let i = 0; i < {asked}; i++) {{ const began = performance.now(); \
             const answer = await fetch('{path}'); const words = await answer.text(); if (!answer.ok) throw answer.status; \
             took.push([performance.now() - began, words.length]); \
             await new Promise(done => setTimeout(done, {})); }} return took; }})()",
            BETWEEN.as_millis()
        );
        let took = browser.evaluate(&script);
        let took = took.as_array().expect("a list");
        let bytes = took[0][1].as_u64().unwrap_or_default();
        let name = path.split(['/', '?']).nth(1).filter(|name| !name.is_empty()).unwrap_or("board");
        tell(&format!("page {name}"), bytes, || took.iter().filter_map(|one| one[0].as_f64()));
    }
}

fn first(list: &Value) -> &Value {
    let list = list.as_object().and_then(|list| list.values().find_map(Value::as_array)).expect("a list");
    list.first().expect("one at least")
}

/// What a client waits for that holds its connection and signs each request.
fn answers(plant: &Plant, asked: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let profile = Profile::load(&plant.person("lee").path("profile.toml")).expect("it was written");
    let mut client = Client::open(profile, |_| unreachable!("the key is not locked")).expect("who is signed in");
    for path in
        ["/api/v1/status", "/api/v1/requests", "/api/v1/sessions", "/api/v1/cuts", "/api/v1/people", "/api/v1/asks"]
    {
        let mut took = Vec::new();
        let mut bytes = 0;
        for _ in 0..asked {
            let began = Instant::now();
            let answer: BoxFuture<'_, _> = Box::pin(client.get::<Value>(path));
            let answer = runtime.block_on(answer).expect("an answer");
            took.push(began.elapsed().as_secs_f64() * 1000.0);
            bytes = answer.to_string().len() as u64;
            std::thread::sleep(BETWEEN);
        }
        tell(path, bytes, || took.iter().copied());
    }
}

fn tell<I: Iterator<Item = f64>>(what: &str, bytes: u64, took: impl Fn() -> I) {
    let took = sorted(took());
    let at = |share: usize| took[took.len() * share / 100];
    println!("  {what:<24} {:>5} KiB   p50 {:>6.1} ms   p95 {:>6.1} ms", bytes >> 10, at(50), at(95));
}

fn timed(act: impl FnOnce()) -> f64 {
    let began = Instant::now();
    act();
    began.elapsed().as_secs_f64() * 1000.0
}

/// Sessions that are typed into, each into a file of its own at the machine.
struct Working {
    clients: Vec<Child>,
    inputs: Vec<ChildStdin>,
    folder: PathBuf,
}

impl Working {
    fn start(plant: &Plant, count: usize) -> Self {
        let folder = plant.tess().path("typed");
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut working = Self { clients: Vec::new(), inputs: Vec::new(), folder };
        // A handful at a time, as the gate's limit for connections before login wants it.
        while working.clients.len() < count {
            let some = (working.clients.len()..count).take(10);
            let next: Vec<(PathBuf, Child)> = some.map(|at| working.client(plant, at)).collect();
            for (file, mut client) in next {
                tests::eventually("a session begins", || file.exists());
                let input = client.stdin.take().expect("piped");
                // Who does not read keeps nobody else from typing.
                rustix::io::ioctl_fionbio(&input, true).expect("a pipe");
                working.inputs.push(input);
                working.clients.push(client);
            }
        }
        working
    }

    fn client(&self, plant: &Plant, at: usize) -> (PathBuf, Child) {
        let file = self.folder.join(at.to_string());
        let (tess, typed) = (plant.tess(), format!("exec cat >> {}", file.display()));
        let mut ssh: Command = tess.ssh(&[&tess.at("hmi-2"), &typed]);
        let client = ssh.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        (file, client.expect("ssh runs"))
    }

    /// Types until told to stop.
    fn type_in(&mut self, stop: &AtomicBool) {
        let (line, block) = ([b'x'; 32], [b'x'; 4 << 10]);
        while !stop.load(Ordering::Relaxed) {
            for (at, input) in self.inputs.iter().enumerate() {
                let _ = rustix::io::write(input, if at % 3 == 0 { &block[..] } else { &line[..] });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// As the gate logs it of each session that was cut: when it last wrote to the target after that, in milliseconds.
fn last_writes(plant: &mut Plant) -> Vec<f64> {
    let said = plant.gate().said();
    let told = said.lines().filter(|line| line.contains("cut off:"));
    told.filter_map(|line| line.split("last_write=").nth(1)?.split(' ').next().map(milliseconds)).collect()
}

/// Of a duration as Rust shows it.
fn milliseconds(shown: &str) -> f64 {
    let (number, unit) = shown.split_at(shown.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(shown.len()));
    let scale = match unit {
        "s" => 1000.0,
        "ms" => 1.0,
        "µs" => 1e-3,
        _ => 1e-6,
    };
    number.parse::<f64>().expect("a number") * scale
}

/// Milliseconds after this moment, at which a file was written last.
fn written(file: &Path, since: SystemTime) -> f64 {
    let about = std::fs::metadata(file).expect("a file");
    let written = UNIX_EPOCH + Duration::new(about.mtime() as u64, about.mtime_nsec() as u32);
    written.duration_since(since).map_or(0.0, |late| late.as_secs_f64() * 1000.0)
}

fn cuts(plant: &mut Plant, first: Working, count: usize) {
    let mut first = Some(first);
    for level in ["session", "technician", "vendor", "zone", "plant"] {
        let mut working = first.take().unwrap_or_else(|| Working::start(plant, count));
        let sessions = json(plant, "lee", &["sessions"]);
        let one = text(&self::first(&sessions)["session"]);
        let scope: Vec<&str> = match level {
            "session" => vec![&one],
            "technician" => vec!["--technician", "tess"],
            "vendor" => vec!["--vendor", "acme"],
            "zone" => vec!["--zone", "packaging"],
            _ => vec!["--plant"],
        };
        let is_one = level == "session";
        let before = last_writes(plant).len();
        let stop = AtomicBool::new(false);
        let (cut, began, closed) = std::thread::scope(|threads| {
            let Working { clients, inputs, folder } = &mut working;
            let mut typing = Working { clients: Vec::new(), inputs: std::mem::take(inputs), folder: folder.clone() };
            let stop = &stop;
            threads.spawn(move || typing.type_in(stop));
            std::thread::sleep(Duration::from_secs(2));
            let began = (SystemTime::now(), Instant::now());
            let cut = text(&json(plant, "lee", &[&["cut"], &scope[..]].concat())["cut"]);
            let mut closed = Vec::new();
            let wanted = if is_one { 1 } else { clients.len() };
            while closed.len() < wanted {
                let ended = clients.extract_if(.., |client| client.try_wait().expect("a child").is_some());
                closed.extend(ended.map(|_| began.1.elapsed().as_secs_f64() * 1000.0));
                std::thread::sleep(Duration::from_millis(1));
            }
            stop.store(true, Ordering::Relaxed);
            (cut, began.0, sorted(closed.into_iter()))
        });
        // Of one session nobody knows which file was its.
        let files = std::fs::read_dir(&working.folder).expect("a folder").flatten();
        let last = sorted(files.map(|file| written(&file.path(), began)).filter(|_| !is_one));
        let longest = |of: &[f64]| of.last().map_or("-".to_owned(), |longest| format!("{longest:.0} ms"));
        println!(
            "  {level:<12} the last byte at a machine {:>7} after the command began, the last socket closed after {:>7}",
            longest(&last),
            longest(&closed)
        );
        let mut told = || last_writes(plant).split_off(before);
        tests::eventually("the gate has told of each", || told().len() >= if is_one { 1 } else { count });
        let (p50, p99) = percentiles(&told());
        println!(
            "  {:<12} the gate's last byte to a machine after it heard of it: p50 {p50:.2} ms, p99 {p99:.2} ms",
            ""
        );
        drop(working.clients.iter_mut().map(|client| client.kill()).collect::<Vec<_>>());
        drop(working.clients.into_iter().map(|mut client| client.wait()).collect::<Vec<_>>());
        run(&mut plant.as_person("lee", &["reopen", &cut, "--reason", "measured"]), b"").ok();
        if is_one {
            // A grant of which one session was cut stays shut: the next levels need another.
            plant.stop();
            plant.grant("tess", "hmi-2", &EVERYTHING, Seconds(4 * 3_600));
            plant.serve();
            log_in(plant, "lee");
        }
    }
}

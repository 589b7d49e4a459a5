//! `holdpoint witness` as a gate meets it: the real program, every status that the specification gives, and what it still
//! knows after it was killed.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;

use certs::log_key::Verifier;
use certs::witness_key::Cosigner;
use recordings::tlog::submission::{Answer, NotCosigned, read_answer};
use recordings::tlog::witness::{AddCheckpoint, REQUEST_BYTES_MAX};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tests::grown::GrownLog;
use tests::plant::program;
use tests::{Running, long_or, run, start};

const ORIGIN: &str = "mill3.example/journal";

/// A witness on a machine of its own.
struct Machine {
    dir: TempDir,
    logs: Vec<Verifier>,
}

/// A witness that runs there.
struct Serving {
    process: Running,
    address: String,
    key: Cosigner,
}

impl Machine {
    fn of(logs: &[&GrownLog]) -> Self {
        Self { dir: TempDir::new().unwrap(), logs: logs.iter().map(|log| log.verifier()).collect() }
    }

    fn dir(&self) -> PathBuf {
        self.dir.path().join("witness")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(program());
        command.args(["witness", "--listen", "127.0.0.1:0", "--json", "--dir"]).arg(self.dir());
        self.logs.iter().for_each(|log| {
            command.args(["--log", &log.to_string()]);
        });
        command
    }

    fn start(&self) -> Serving {
        let mut process = start(&mut self.command());
        let said = process.until("\"listen\"");
        let line = said.lines().find(|line| line.starts_with('{')).unwrap();
        let told: Value = serde_json::from_str(line).unwrap();
        let key = Cosigner::parse(told["key"].as_str().unwrap()).unwrap();
        Serving { process, address: told["listen"].as_str().unwrap().to_owned(), key }
    }

    /// The one file in which this witness remembers the one log that it was asked about.
    fn memory(&self) -> Option<PathBuf> {
        let files = fs::read_dir(self.dir().join("seen")).ok()?;
        files.map(|file| file.unwrap().path()).find(|path| path.extension().is_none())
    }
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
struct Answered {
    status: u16,
    kind: String,
    body: Vec<u8>,
}

/// One request; none where the other end went away before it had answered.
fn http(address: &str, method: &str, path: &str, body: &[u8]) -> Option<Answered> {
    let mut socket = TcpStream::connect(address).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut answer = Vec::new();
    // It may answer before it has read all of it, and hang up.
    socket.write_all(&[head.as_bytes(), body].concat()).ok();
    socket.read_to_end(&mut answer).ok();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).unwrap().to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default().to_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse::<usize>().ok()?;
    let body = answer[end + 4..].to_vec();
    (body.len() == length).then_some(Answered { status, kind, body })
}

impl Serving {
    fn post(&self, body: &str) -> Answered {
        http(&self.address, "POST", "/add-checkpoint", body.as_bytes()).unwrap()
    }

    fn ask(&self, asked: &AddCheckpoint, size: u64) -> Result<Answer, NotCosigned> {
        let answered = self.post(&asked.to_string());
        read_answer(asked, size, (answered.status, &answered.body), std::slice::from_ref(&self.key))
    }

    fn cosigns(&self, log: &mut GrownLog, old: u64, new: u64) {
        let answer = self.ask(&log.asks(old, new), new);
        assert!(matches!(answer, Ok(Answer::Cosigned(_))), "{old} to {new}: {answer:?}");
    }

    fn holds(&self, log: &mut GrownLog, size: u64) {
        let asked = log.asks(0, 1000);
        assert_eq!(self.ask(&asked, 1000), Ok(Answer::Holds(size)));
    }
}

#[test]
fn every_status_of_the_specification_is_answered_for_its_reason() {
    let (mut log, mut fork) = (GrownLog::new(ORIGIN, 1, "ours"), GrownLog::new(ORIGIN, 1, "forged"));
    let (mut stranger, mut thief) = (GrownLog::new("mill9.example", 1, "ours"), GrownLog::new(ORIGIN, 2, "ours"));
    let machine = Machine::of(&[&log]);
    let witness = machine.start();
    witness.cosigns(&mut log, 0, 5);
    witness.cosigns(&mut log, 5, 5);
    witness.cosigns(&mut log, 5, 300);
    let refused = |status: u16, asked: String| {
        let answered = witness.post(&asked);
        let is_held = status == 409;
        let kind = if is_held { "text/x.tlog.size" } else { "text/plain; charset=utf-8" };
        assert_eq!((answered.status, answered.kind.as_str()), (status, kind), "{asked}");
        assert!(!is_held || answered.body == b"300\n", "{answered:?}");
        assert!(!String::from_utf8_lossy(&answered.body).contains('—'));
    };
    refused(400, String::new());
    refused(400, "old 300\n\nno note\n".to_owned());
    refused(400, log.asks(300, 400).to_string().replacen("old 300", "old 0300", 1));
    refused(400, format!("old 301\n\n{}", log.grow(300)));
    refused(403, thief.asks(300, 400).to_string());
    refused(403, log.asks(300, 400).to_string().replacen("\n400\n", "\n401\n", 1));
    refused(404, stranger.asks(0, 5).to_string());
    refused(409, log.asks(0, 400).to_string());
    refused(409, log.asks(5, 400).to_string());
    refused(409, log.asks(5, 5).to_string());
    refused(409, fork.asks(300, 300).to_string());
    refused(422, fork.asks(300, 400).to_string());
    refused(422, format!("old 300\n\n{}", log.grow(400)));
    for (status, method, path) in [(405, "GET", "/add-checkpoint"), (404, "POST", "/"), (404, "GET", "/seen")] {
        assert_eq!(http(&witness.address, method, path, b"").unwrap().status, status, "{method} {path}");
    }
    let flood = vec![b'x'; REQUEST_BYTES_MAX + 1];
    assert!(http(&witness.address, "POST", "/add-checkpoint", &flood).is_none_or(|answered| answered.status == 413));
    witness.cosigns(&mut log, 300, 400);
}

#[test]
fn a_witness_that_cannot_remember_cosigns_nothing_until_it_is_started_again() {
    let mut log = GrownLog::new(ORIGIN, 1, "ours");
    let machine = Machine::of(&[&log]);
    let witness = machine.start();
    fs::write(machine.dir().join("seen"), b"in the way").unwrap();
    assert_eq!(witness.post(&log.asks(0, 5).to_string()).status, 500);
    fs::remove_file(machine.dir().join("seen")).unwrap();
    assert_eq!(witness.post(&log.asks(0, 5).to_string()).status, 500);
    drop(witness);
    machine.start().cosigns(&mut log, 0, 5);
}

#[test]
fn a_witness_that_was_started_again_has_its_key_and_refuses_what_was_set_back() {
    let (mut log, mut set_back) = (GrownLog::new(ORIGIN, 1, "ours"), GrownLog::new(ORIGIN, 1, "ours"));
    let machine = Machine::of(&[&log]);
    let witness = machine.start();
    witness.cosigns(&mut log, 0, 300);
    let key = witness.key.clone();
    witness.process.signal(Signal::TERM);
    witness.process.ends().ok();
    let witness = machine.start();
    assert_eq!(witness.key, key);
    assert_eq!(witness.ask(&set_back.asks(0, 200), 200), Err(NotCosigned::SetBack { held: 300, size: 200 }));
    witness.cosigns(&mut log, 300, 301);
}

#[test]
fn what_was_on_the_disk_when_it_was_killed_is_held_and_whatever_was_answered_was_on_the_disk() {
    let mut log = GrownLog::new(ORIGIN, 1, "ours");
    let machine = Machine::of(&[&log]);
    let mut held = 0;
    let rounds = long_or(300, 12);
    for round in 0..rounds {
        let witness = machine.start();
        let asked = log.asks(held, held + 1).to_string();
        let answered = std::thread::scope(|scope| {
            let asking = scope.spawn(|| http(&witness.address, "POST", "/add-checkpoint", asked.as_bytes()));
            // Half of the time it is killed as soon as the disk has it, so before or while it answers.
            let line = format!("\n{}\n", held + 1);
            let on_disk = || machine.memory().is_some_and(|path| fs::read_to_string(path).unwrap().contains(&line));
            while !asking.is_finished() && (round % 2 == 1 || !on_disk()) {
                std::hint::spin_loop();
            }
            let is_there = on_disk();
            witness.process.signal(Signal::KILL);
            let answered = asking.join().unwrap();
            assert!(is_there || answered.is_none(), "it answered {answered:?} before the disk had it");
            answered
        });
        drop(witness);
        assert!(answered.is_none_or(|answered| answered.status == 200));
        held += 1;
        machine.start().holds(&mut log_of_a_thousand(), held);
    }
}

fn log_of_a_thousand() -> GrownLog {
    GrownLog::new(ORIGIN, 1, "ours")
}

#[test]
fn of_many_checkpoints_at_once_that_grow_out_of_one_exactly_one_is_cosigned() {
    let mut log = GrownLog::new(ORIGIN, 1, "ours");
    let machine = Machine::of(&[&log]);
    let witness = machine.start();
    witness.cosigns(&mut log, 0, 5);
    let asked: Vec<(u64, String)> = (6..38).map(|new| (new, log.asks(5, new).to_string())).collect();
    let all_there = Barrier::new(asked.len());
    let answers: Vec<(u64, Answered)> = std::thread::scope(|scope| {
        let asking: Vec<_> = asked
            .iter()
            .map(|(new, body)| {
                let (address, all_there) = (&witness.address, &all_there);
                scope.spawn(move || {
                    all_there.wait();
                    (*new, http(address, "POST", "/add-checkpoint", body.as_bytes()).unwrap())
                })
            })
            .collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    let won: Vec<u64> = answers.iter().filter(|(_, answered)| answered.status == 200).map(|(new, _)| *new).collect();
    let [held] = won[..] else { panic!("cosigned were {won:?}") };
    for (new, answered) in answers.iter().filter(|(new, _)| *new != held) {
        assert_eq!((answered.status, &answered.body[..]), (409, format!("{held}\n").as_bytes()), "{new}");
    }
    witness.holds(&mut log, held);
}

fn ends(command: &mut Command, code: i32, words: &str) {
    run(command, b"").refused(code, words);
}

#[test]
fn its_folder_is_for_one_program_and_its_key_for_its_owner() {
    let log = GrownLog::new(ORIGIN, 1, "ours");
    let machine = Machine::of(&[&log]);
    let witness = machine.start();
    let key = machine.dir().join("witness.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o600);
    ends(&mut machine.command(), 3, "another witness has");
    let name = witness.key.name().to_owned();
    drop(witness);
    ends(machine.command().args(["--name", "other"]), 2, &format!("this witness is called {name}"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    ends(&mut machine.command(), 3, "may be used by others");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    ends(machine.command().args(["--log", "mill3"]), 2, "three parts");
    ends(machine.command().args(["--log", "mill3+00000000+AAAA"]), 2, "");
}

#[test]
fn a_witness_whose_memory_was_altered_does_not_start() {
    let mut log = GrownLog::new(ORIGIN, 1, "ours");
    let machine = Machine::of(&[&log]);
    machine.start().cosigns(&mut log, 0, 300);
    let path = machine.memory().unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    for altered in [whole.replacen("\n300\n", "\n200\n", 1), whole.replacen("witness 1", "witness 2", 1), String::new()]
    {
        fs::write(&path, altered).unwrap();
        ends(&mut machine.command(), 3, "vouch for a log that was set back");
    }
    fs::write(&path, whole).unwrap();
    machine.start().holds(&mut log, 300);
}

#[test]
fn a_name_given_at_the_first_start_stays_and_no_log_is_known_that_was_not_named() {
    let mut log = GrownLog::new(ORIGIN, 1, "ours");
    let machine = Machine { dir: TempDir::new().unwrap(), logs: Vec::new() };
    let mut process = start(machine.command().args(["--name", "witness.mill3.example"]));
    let said = process.until("\"listen\"");
    assert!(said.contains("witness.mill3.example+") && said.contains("knows no log yet"), "{said}");
    drop(process);
    let witness = machine.start();
    assert_eq!(witness.key.name(), "witness.mill3.example");
    assert_eq!(witness.post(&log.asks(0, 5).to_string()).status, 404);
    assert!(is_empty(&machine.dir().join("seen")));
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).map_or(true, |mut files| files.next().is_none())
}

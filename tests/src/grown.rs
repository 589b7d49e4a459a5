//! A transparency log that grows in a folder of its own, as a gate's logs do; and what others say about it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use certs::log_key::Verifier;
use recordings::disk::RealDisk;
use recordings::log::Signer as _;
use recordings::sim::SimSigner;
use recordings::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use recordings::tlog::edge::Edge;
use recordings::tlog::folder::{CHECKPOINT, Folder, View};
use recordings::tlog::publish::Publisher;
use recordings::tlog::submission::add_checkpoint;
use recordings::tlog::witness::AddCheckpoint;
use serde_json::Value;
use tempfile::TempDir;

/// A log with a history of its own.
pub struct GrownLog {
    dir: TempDir,
    origin: String,
    key: SimSigner,
    history: String,
    edge: Edge,
    publisher: Publisher,
    signed: BTreeMap<u64, SignedCheckpoint>,
}

impl GrownLog {
    /// A log of this name without entries. Logs of one name and key with different histories are forks of each other.
    pub fn new(origin: &str, seed: u8, history: &str) -> Self {
        let dir = TempDir::new().expect("a folder");
        let publisher = Publisher::new(Folder::new(Arc::new(RealDisk), dir.path()));
        let (key, history, edge) = (SimSigner::new(seed), history.to_owned(), Edge::default());
        let mut log = Self { dir, origin: origin.to_owned(), key, history, edge, publisher, signed: BTreeMap::new() };
        log.grow(0);
        log
    }

    /// The log at this size, which it grows to and publishes.
    pub fn grow(&mut self, size: u64) -> &SignedCheckpoint {
        let old = self.edge.size();
        assert!(self.signed.contains_key(&size) || old <= size, "a log does not shrink");
        let mut tiles: Vec<_> = (old..size)
            .flat_map(|n| self.edge.push(entry(&self.history, n).as_bytes()).expect("it is short enough"))
            .collect();
        tiles.extend(self.edge.partial(old));
        self.publisher.tiles(&tiles).expect("the disk takes it");
        if !self.signed.contains_key(&size) {
            let checkpoint = Checkpoint { origin: self.origin.clone(), size, root: self.edge.root() };
            let signed = checkpoint.sign(&self.key).expect("a name");
            self.publisher.checkpoint(CHECKPOINT, &signed).expect("the disk takes it");
            self.signed.insert(size, signed);
        }
        &self.signed[&size]
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its key.
    pub fn verifier(&self) -> Verifier {
        self.key.verifier(&self.origin).expect("a name")
    }

    /// The log as of a size that was published.
    pub fn view(&self, size: u64) -> View {
        let folder = Folder::new(Arc::new(RealDisk), self.dir.path());
        View::open(folder, self.signed[&size].checkpoint()).expect("nobody touched it")
    }

    /// What it asks of a witness that holds `old`; it grows to `new`.
    pub fn asks(&mut self, old: u64, new: u64) -> AddCheckpoint {
        let signed = self.grow(new).clone();
        add_checkpoint(&signed, old, &mut self.view(new)).expect("it has all its tiles")
    }
}

/// Entry `n` of a history: of any length, the empty one too.
pub fn entry(history: &str, n: u64) -> String {
    format!("{history} {n};").repeat((n % 7) as usize)
}

/// Go's packages for such logs, from which the specifications grew, behind `tests/tlog/main.go`.
pub struct SecondOpinion {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl SecondOpinion {
    /// The program that `tests/run` builds. Without it nothing is asked, and that is said.
    pub fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("HOLDPOINT_TLOG") else {
            println!("SKIPPED: HOLDPOINT_TLOG does not name the program built from tests/tlog");
            return None;
        };
        let piped = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = piped.expect("a program");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Some(Self { child, answers })
    }

    /// Asks one thing.
    pub fn ask(&mut self, question: &Value) -> Value {
        let input = self.child.stdin.as_mut().expect("piped");
        writeln!(input, "{question}").and_then(|()| input.flush()).expect("it listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Whether it believes this.
    pub fn believes(&mut self, question: &Value) -> bool {
        self.ask(question)["OK"].as_bool().expect("it says yes or no")
    }
}

impl Drop for SecondOpinion {
    fn drop(&mut self) {
        crate::process::kill_all(&mut self.child);
    }
}

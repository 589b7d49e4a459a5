//! A witness beside a plant: the real program, on a machine of its own.

use std::fs;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::evidence::Evidence;
use crate::plant::{Plant, program};
use crate::process::{Running, eventually, start};

/// A witness on a machine of its own, which knows both logs of a plant.
pub struct Witness {
    dir: tempfile::TempDir,
    logs: Vec<String>,
    running: Option<Running>,
    address: String,
    /// Its public key.
    pub key: String,
}

impl Witness {
    /// Started, for the logs in the plant's trust file.
    pub fn of(plant: &Plant) -> Self {
        let trust = fs::read_to_string(plant.installation().join("trust.toml")).expect("as the program writes it");
        let keys = trust.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","));
        let logs: Vec<String> = keys.filter(|key| key.starts_with("mill-3/")).map(str::to_owned).collect();
        assert_eq!(logs.len(), 2, "{trust}");
        let dir = tempfile::tempdir().expect("as the program writes it");
        let (address, key) = ("127.0.0.1:0".to_owned(), String::new());
        let mut witness = Self { dir, logs, running: None, address, key };
        witness.start();
        witness
    }

    /// Starts it where it was before.
    #[track_caller]
    pub fn start(&mut self) {
        let mut command = Command::new(program());
        command.args(["witness", "--json", "--name", "w1", "--listen", &self.address]);
        command.arg("--dir").arg(self.dir.path().join("w"));
        self.logs.iter().for_each(|log| {
            command.args(["--log", log]);
        });
        let mut running = start(&mut command);
        let said = running.until("\"listen\"");
        let told: Value =
            serde_json::from_str(said.lines().find(|line| line.starts_with('{')).expect("as the program writes it"))
                .expect("as the program writes it");
        (self.address, self.key) = (
            told["listen"].as_str().expect("as the program writes it").to_owned(),
            told["key"].as_str().expect("as the program writes it").to_owned(),
        );
        self.running = Some(running);
    }

    /// Tells it of more logs; it is started again.
    pub fn learn(&mut self, logs: &[String]) {
        self.kill();
        self.logs.extend_from_slice(logs);
        self.start();
    }

    /// What the gate's configuration says of it.
    pub fn configured(&self) -> String {
        format!("\n[[store.witnesses]]\nurl = \"http://{}/\"\nkey = \"{}\"\n", self.address, self.key)
    }

    /// Ends it without a word.
    pub fn kill(&mut self) {
        let running = self.running.take().expect("as the program writes it");
        running.signal(Signal::KILL);
        running.ends();
    }
}

/// The sizes of a log that are cosigned.
pub fn cosigned(plant: &Plant, log: &str) -> Vec<u64> {
    let kept = fs::read_dir(plant.data().join(log).join("checkpoints")).into_iter().flatten().flatten();
    let mut sizes: Vec<u64> =
        kept.filter_map(|file| file.file_name().to_str().expect("as the program writes it").parse().ok()).collect();
    sizes.sort_unstable();
    sizes
}

/// How many entries a log has published.
pub fn published(plant: &Plant, log: &str) -> u64 {
    let text = fs::read_to_string(plant.data().join(log).join("checkpoint")).unwrap_or_default();
    text.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
}

/// All that is published now is cosigned.
#[track_caller]
pub fn is_remembered(plant: &Plant) {
    eventually("both logs are cosigned", || {
        ["journal", "records"].iter().all(|log| {
            let size = published(plant, log);
            size > 0 && cosigned(plant, log).last().is_some_and(|last| *last >= size)
        })
    });
}

/// The auditor believes this witness.
pub fn trusts(evidence: &Evidence, witness: &Witness) {
    let path = evidence.path("trust.toml");
    let trust = fs::read_to_string(&path).expect("as the program writes it");
    fs::write(&path, format!("witnesses = [\"{}\"]\n{trust}", witness.key)).expect("as the program writes it");
}

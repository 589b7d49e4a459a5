//! A gate on ports of the system's choice with its first people, and the compiled program run as one of them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use approver::clock::Clock;
use approver::testing::{Panel, plant_of_panels};
use certs::keys::Seal;
use proxy::app::App;
use proxy::config::Config;
use proxy::founding::{Founded, Plan, found};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::machine::Machine;

/// Nothing here may take longer: whoever waits so long hangs.
pub(crate) const HANG: Duration = Duration::from_secs(60);

const CONFIG: &str = r#"
[faces.vendor]
origin = "https://gate.mill3.example:8443"
ssh = ["127.0.0.1:0"]
pages = ["127.0.0.1:0"]
[faces.plant]
origin = "https://holdpoint.mill3.example"
listen = ["127.0.0.1:0"]
[store]
reserve = "64 MiB"
recipients = [{recipients}]
[keys]
seal = "file"
"#;

/// A plant with one panel that is there.
pub(crate) fn plant(machine: &Machine, rule: &str) -> String {
    let (address, host_key) = (machine.address.to_string(), machine.fingerprint());
    let panel = Panel { name: "hmi-2", address: &address, user: "maint", credential: "hmi-maint", host_key: &host_key };
    plant_of_panels("Europe/Berlin", &[panel], rule)
}

/// The gate, and the codes of its first people.
pub(crate) struct House {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) app: App,
    pub(crate) founded: Founded,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// `rule` is added to the one rule.
    pub(crate) async fn with(rule: &str) -> Self {
        let (folder, machine) = (tempfile::tempdir().unwrap(), Machine::start().await);
        let plan = Plan {
            folder: folder.path().join("gate"),
            deployment: "mill-3".parse().unwrap(),
            plant: plant(&machine, rule),
            config: CONFIG.to_owned(),
            administrators: vec!["ada".into()],
            operators: vec!["lee".into(), "noor".into()],
            recipients: Vec::new(),
        };
        let founded = found(plan, &Seal::File, Clock::system()).await.unwrap();
        let app = start(folder.path()).await;
        Self { folder, app, founded }
    }

    /// The code that somebody was founded with.
    pub(crate) fn code(&self, name: &str) -> String {
        let invitation = self.founded.invitations.iter().find(|invitation| invitation.name == name).unwrap();
        invitation.code.reveal().to_string()
    }

    /// One of the first people, enrolled and signed in by command.
    pub(crate) async fn founder(&self, name: &str) -> Somebody {
        let mut founder = self.enrolled(name, Side::Plant, &self.code(name)).await;
        founder.login().await;
        founder
    }

    /// Somebody new, enrolled by command.
    pub(crate) async fn enrolled(&self, name: &str, side: Side, code: &str) -> Somebody {
        let mut somebody = Somebody::new(&self.folder.path().join(name));
        let args = ["enrol", "--json", "--gate", side.origin(), "--address", &self.address(side).to_string()];
        let ran = somebody.run_with(&args, &format!("{code}\n")).await.done();
        let told: Value = ran.json();
        let codes = told["recovery_codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned());
        somebody.codes = codes.collect();
        somebody.told = told;
        somebody
    }

    pub(crate) fn address(&self, side: Side) -> SocketAddr {
        match side {
            Side::Plant => self.app.addresses().plant[0],
            Side::Vendor => self.app.addresses().pages[0],
        }
    }

    /// Stops the gate; the rest stays.
    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.app.shutdown(Duration::from_secs(10)).await;
        self.folder
    }
}

/// The gate of a folder that was founded. A child of another test holds what was open here until it begins its own
/// program, so a lock that was given up a moment ago may still be held by one.
pub(crate) async fn start(folder: &Path) -> App {
    let config = Config::load(&folder.join("gate/holdpoint.toml")).unwrap();
    let free = async {
        loop {
            match App::start(config.clone(), &Seal::File, Clock::system()).await {
                Err(fault) if fault.to_string().contains("in use") => tokio::task::yield_now().await,
                started => return started.unwrap(),
            }
        }
    };
    tokio::time::timeout(HANG, free).await.expect("the folder stays in use")
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Plant,
    Vendor,
}

impl Side {
    pub(crate) const fn origin(self) -> &'static str {
        match self {
            Self::Plant => "https://holdpoint.mill3.example",
            Self::Vendor => "https://gate.mill3.example:8443",
        }
    }
}

/// A person at a machine of their own: a profile, and recovery codes to sign in with, since each works at once.
pub(crate) struct Somebody {
    pub(crate) folder: PathBuf,
    pub(crate) codes: VecDeque<String>,
    pub(crate) told: Value,
    pub(crate) agent: Option<PathBuf>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// It did what it was told.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self
    }

    /// It ended with this code, and said this on standard error.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, words: &str) -> Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(self.err.contains(words), "{words:?} is not in {:?}", self.err);
        self
    }

    #[track_caller]
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }
}

impl Somebody {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), codes: VecDeque::new(), told: Value::Null, agent: None }
    }

    pub(crate) fn profile(&self) -> PathBuf {
        self.folder.join("profile.toml")
    }

    /// The program, as this person runs it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdpoint"));
        command.args(args).env_clear().env("HOLDPOINT_PROFILE", self.profile()).env("TZ", "Pacific/Auckland");
        command.env("HOME", &self.folder);
        if let Some(agent) = &self.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "").await
    }

    /// With something on standard input.
    pub(crate) async fn run_with(&self, args: &[&str], input: &str) -> Ran {
        let mut child = self.command(args).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Who does not read what they are given has ended.
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
        let output = tokio::time::timeout(HANG, child.wait_with_output()).await.expect("it hangs").unwrap();
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Signs in with the next code.
    pub(crate) async fn login(&mut self) -> Value {
        let code = self.codes.pop_front().unwrap();
        self.run_with(&["login", "--json"], &format!("{code}\n")).await.done().json()
    }
}

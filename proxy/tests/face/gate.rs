//! The face on a port before a hall, and a technician's home with stock `ssh` in it.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use policies::actions::Action;
use policies::decide::Command as Decision;
use policies::events::Event;
use policies::ids::{RequestId, SessionId};
use policies::state::RequestStanding;
use proxy::lanes::Lanes;
use proxy::ssh::face::{FaceParts, SshFace};
use russh::keys::PrivateKey;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::hall::{self, Hall, eventually, next_code};

const GATE: &str = "gate.mill3.example";

/// Answers each prompt of `ssh` by its words; the code lies in a file.
const ASKPASS: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$1" >> "$here/prompts"
case "$1" in
  *"Code of"*) cat "$here/code" ;;
  *"One-use code"*) cat "$here/enrolment" ;;
  *"Password"*) cat "$here/password" ;;
  *"Reason"*) echo "the pump trips" ;;
  *) echo "" ;;
esac
"#;

/// A hall with the face on a port, and a technician's home.
pub(crate) struct Gate {
    pub(crate) hall: Hall,
    pub(crate) port: u16,
    pub(crate) home: TempDir,
}

impl Gate {
    pub(crate) async fn new() -> Self {
        Self::with_passwords(false).await
    }

    pub(crate) async fn with_passwords(passwords: bool) -> Self {
        let hall = Hall::new().await;
        // Clients compare the host certificate with their own clock.
        let behind = jiff::Timestamp::now().duration_since(hall.stage.desk.clock().wall());
        hall.stage.props.turn.wall(behind);
        let grants: Vec<RequestId> = hall.stage.desk.with_state(|state| state.cases.keys().copied().collect());
        for request in grants {
            revoke(&hall, request).await;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let keys = &hall.stage.props.keys;
        let face = SshFace::new(FaceParts {
            headroom: approver::memory::Headroom::always(),
            sessions: hall.sessions.clone(),
            desk: hall.stage.desk.clone(),
            people: hall.stage.people.clone(),
            host_key: keys.ssh_host_key(),
            ca: keys.ssh_ca(),
            gate: approver::gate::Gate { name: GATE.into(), port },
            passwords,
            pages: None,
            tracker: hall.tracker.clone(),
            lanes: Lanes::start(&hall.tracker).unwrap(),
            stop: hall.stop.clone(),
        });
        hall.tracker.spawn(async move { face.serve(listener).await });
        let gate = Self { home: tempfile::tempdir().unwrap(), hall, port };
        gate.write_home();
        gate
    }

    fn write_home(&self) {
        let at = self.home.path();
        write_key(&at.join("key"), &self.hall.stage.technician.key);
        std::fs::write(at.join("askpass"), ASKPASS).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(at.join("askpass"), executable).unwrap();
        let ca = self.hall.stage.props.keys.ssh_ca().known_hosts_lines();
        std::fs::write(at.join("known_hosts"), ca).unwrap();
        let (home, port) = (at.display(), self.port);
        let config = format!(
            "Host *\n  IdentityFile {home}/key\n  IdentitiesOnly yes\n  UserKnownHostsFile {home}/known_hosts\n  \
             GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n  NumberOfPasswordPrompts 3\n\
             Host gate lobby enrol\n  HostName 127.0.0.1\n  Port {port}\n  HostKeyAlias {GATE}\n\
             Host lobby\n  User tara\nHost gate\n  User tara+hmi-2\nHost enrol\n  User enrol\n\
             Host hmi-2 hmi-3\n  ProxyJump lobby\n"
        );
        std::fs::write(at.join("config"), config).unwrap();
    }

    /// `ssh`, with the app's next code at hand.
    pub(crate) async fn ssh(&self, arguments: &[&str]) -> Command {
        std::fs::write(self.home.path().join("code"), next_code(&self.hall).await).unwrap();
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.home.path().join("config")).args(arguments);
        ssh.env("SSH_ASKPASS", self.home.path().join("askpass")).env("SSH_ASKPASS_REQUIRE", "force");
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        ssh
    }

    /// Runs it to its end, with this input.
    pub(crate) async fn run(&self, arguments: &[&str], input: &str) -> Output {
        finish(self.ssh(arguments).await, input).await
    }

    pub(crate) async fn grant(&self) -> RequestId {
        self.hall.stage.grant("hmi-2", &[Action::Shell]).await
    }

    /// The session that began last.
    pub(crate) async fn newest_session(&self) -> SessionId {
        let entries = self.hall.stage.desk.entries(0).await.unwrap();
        let started = entries.iter().rev().find_map(|entry| match &entry.event {
            Event::Started { session, .. } => Some(*session),
            _ => None,
        });
        started.expect("a session")
    }

    /// The code that the app shows now.
    pub(crate) fn code(&self) -> String {
        std::fs::read_to_string(self.home.path().join("code")).unwrap()
    }

    /// How often `ssh` was asked for a code, by the gate or by the inner session of a jump.
    pub(crate) fn codes_asked(&self) -> usize {
        let prompts = std::fs::read_to_string(self.home.path().join("prompts")).unwrap_or_default();
        prompts.lines().filter(|prompt| prompt.contains("Code of")).count()
    }

    /// `ssh`'s configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.home.path().join("config")
    }

    /// An agent without keys.
    pub(crate) async fn agent(&self) -> Agent {
        let socket = self.home.path().join("agent");
        let mut agent = Command::new("ssh-agent");
        agent.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).kill_on_drop(true);
        let process = agent.spawn().unwrap();
        hall::eventually("the agent listens", || socket.exists()).await;
        Agent { socket, _process: process }
    }

    pub(crate) fn pending(&self) -> Option<RequestId> {
        self.hall.stage.desk.with_state(|state| {
            let mut cases = state.cases.values();
            cases.find(|case| case.standing == RequestStanding::Pending).map(|case| case.request.id)
        })
    }

    /// The shift lead says yes to the request that waits, once one does.
    pub(crate) async fn approve(&self) {
        let stage = &self.hall.stage;
        eventually("a request", || self.pending().is_some()).await;
        let verdict = stage.approval(&stage.lead, self.pending().expect("it waits for this yes"));
        stage.desk.act(Decision::Vote { verdict }).await.unwrap();
    }

    /// Time goes on by itself, for as long as the value lives.
    pub(crate) fn let_time_run(&self) -> tokio::task::JoinSet<()> {
        let turn = self.hall.stage.props.turn.clone();
        let mut running = tokio::task::JoinSet::new();
        running.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                turn.pass(Duration::from_millis(200));
            }
        });
        running
    }
}

pub(crate) async fn revoke(hall: &Hall, request: RequestId) {
    let reason = hall.stage.people.put_text("not yet").await.unwrap();
    hall.stage.desk.act(Decision::Revoke { request, reason, by: hall.stage.lead.person }).await.unwrap();
}

pub(crate) fn write_key(path: &Path, key: &PrivateKey) {
    std::fs::write(path, key.to_openssh(Default::default()).unwrap().as_bytes()).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

pub(crate) async fn finish(mut ssh: Command, input: &str) -> Output {
    let mut child = ssh.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    tokio::time::timeout(hall::HANG, child.wait_with_output()).await.expect("ssh hangs").unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn assert_ok(output: &Output, shown: &str) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.contains(shown), "{:?}\n{out}\n{err}", output.status);
}

pub(crate) fn assert_refused(output: &Output, words: &str) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(!output.status.success() && err.contains(words), "{:?}\n{out}\n{err}", output.status);
}

/// Runs while the value lives.
pub(crate) struct Agent {
    pub(crate) socket: PathBuf,
    _process: Child,
}

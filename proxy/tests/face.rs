//! The SSH face under stock `ssh`: over a Desk in memory on a clock that tests turn, sessions that record to a simulated
//! disk, and a target in this process. The program as a whole is tried elsewhere.

#[path = "session/hall.rs"]
#[allow(dead_code, reason = "the hall serves the sessions' own tests too")]
mod hall;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use approver::testing::{new_key, person};
use certs::totp::TotpSecret;
use hall::{Hall, eventually, next_code};
use policies::decide::Command as Decision;
use policies::ids::RequestId;
use policies::people::Kind;
use policies::requests::{Answer, Matter, VerdictStatement};
use policies::state::RequestStanding;
use policies::time::{Seconds, Window};
use proxy::ssh::face::{FaceParts, SshFace};
use russh::keys::PrivateKey;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

const GATE: &str = "gate.mill3.example";

/// Answers each prompt of `ssh` by its words; the code lies in a file.
const ASKPASS: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$1" >> "$here/prompts"
case "$1" in
  *"Code of"*) cat "$here/code" ;;
  *"One-use code"*) cat "$here/enrolment" ;;
  *"Reason"*) echo "the pump trips" ;;
  *) echo "" ;;
esac
"#;

/// A hall with the face on a port, and a technician's home.
struct Gate {
    hall: Hall,
    port: u16,
    home: TempDir,
}

impl Gate {
    async fn new() -> Self {
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
            sessions: hall.sessions.clone(),
            desk: hall.stage.desk.clone(),
            people: hall.stage.people.clone(),
            host_key: keys.ssh_host_key().clone(),
            ca: keys.ssh_ca(),
            gate: GATE.into(),
            tracker: hall.tracker.clone(),
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
        let ca = self.hall.stage.props.keys.ssh_ca().known_hosts_line();
        std::fs::write(at.join("known_hosts"), ca).unwrap();
        let (home, port) = (at.display(), self.port);
        let config = format!(
            "Host *\n  IdentityFile {home}/key\n  IdentitiesOnly yes\n  UserKnownHostsFile {home}/known_hosts\n  \
             GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n  NumberOfPasswordPrompts 3\n\
             Host gate lobby enrol\n  HostName 127.0.0.1\n  Port {port}\n  HostKeyAlias {GATE}\n\
             Host lobby\n  User tara\nHost gate\n  User tara+hmi-2\nHost enrol\n  User enrol\n\
             Host hmi-2\n  ProxyJump lobby\n"
        );
        std::fs::write(at.join("config"), config).unwrap();
    }

    /// `ssh`, with the app's next code at hand.
    async fn ssh(&self, arguments: &[&str]) -> Command {
        std::fs::write(self.home.path().join("code"), next_code(&self.hall).await).unwrap();
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.home.path().join("config")).args(arguments);
        ssh.env("SSH_ASKPASS", self.home.path().join("askpass")).env("SSH_ASKPASS_REQUIRE", "force");
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        ssh
    }

    /// Runs it to its end, with this input.
    async fn run(&self, arguments: &[&str], input: &str) -> Output {
        finish(self.ssh(arguments).await, input).await
    }

    async fn grant(&self) -> RequestId {
        self.hall.stage.grant("hmi-2", &[policies::actions::Action::Shell]).await
    }

    fn pending(&self) -> Option<RequestId> {
        self.hall.stage.desk.with_state(|state| {
            let mut cases = state.cases.values();
            cases.find(|case| case.standing == RequestStanding::Pending).map(|case| case.request.id)
        })
    }

    /// Time goes on by itself, for as long as the value lives.
    fn let_time_run(&self) -> tokio::task::JoinSet<()> {
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

async fn revoke(hall: &Hall, request: RequestId) {
    let reason = hall.stage.people.put_text("not yet").await.unwrap();
    hall.stage.desk.act(Decision::Revoke { request, reason, by: hall.stage.lead.person }).await.unwrap();
}

fn write_key(path: &Path, key: &PrivateKey) {
    std::fs::write(path, key.to_openssh(Default::default()).unwrap().as_bytes()).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

async fn finish(mut ssh: Command, input: &str) -> Output {
    let mut child = ssh.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    tokio::time::timeout(hall::HANG, child.wait_with_output()).await.expect("ssh hangs").unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn assert_ok(output: &Output, shown: &str) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.contains(shown), "{:?}\n{out}\n{err}", output.status);
}

fn assert_refused(output: &Output, words: &str) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(!output.status.success() && err.contains(words), "{:?}\n{out}\n{err}", output.status);
}

#[tokio::test]
async fn key_and_code_open_a_session_where_a_grant_is_open() {
    let gate = Gate::new().await;
    gate.grant().await;
    let output = gate.run(&["gate", "echo"], "hello").await;
    assert_ok(&output, "hello");
    assert!(text(&output.stderr).contains("Recorded."), "the banner is shown before");
    assert_eq!(gate.hall.target.seen.typed(), "hello");
}

#[tokio::test]
async fn without_a_grant_the_questions_come_and_the_yes_connects() {
    let gate = Gate::new().await;
    let ssh = gate.ssh(&["gate", "echo"]).await;
    let approve = async {
        eventually("a request", || gate.pending().is_some()).await;
        let verdict = gate.hall.stage.approval(&gate.hall.stage.lead, gate.pending().unwrap());
        gate.hall.stage.desk.act(Decision::Vote { verdict }).await.unwrap();
    };
    let (output, ()) = tokio::join!(finish(ssh, "hello"), approve);
    assert_ok(&output, "hello");
    assert!(text(&output.stderr).contains("waits for 1 of shift-lead"), "{}", text(&output.stderr));
    let prompts = std::fs::read_to_string(gate.home.path().join("prompts")).unwrap();
    assert!(prompts.contains("How long, at most 4h [1h]"), "{prompts}");
}

#[tokio::test]
async fn a_no_is_told_with_its_reason_and_the_target_sees_nobody() {
    let gate = Gate::new().await;
    let ssh = gate.ssh(&["gate", "echo"]).await;
    let deny = async {
        eventually("a request", || gate.pending().is_some()).await;
        let stage = &gate.hall.stage;
        let yes = stage.approval(&stage.lead, gate.pending().unwrap());
        let reason = stage.people.put_text("the line is running").await.unwrap();
        let statement = VerdictStatement { answer: Answer::No { reason }, ..yes.statement };
        assert!(matches!(statement.matter, Matter::Request(_)));
        let digest = statement.digest();
        let verdict = approver::testing::sign(&stage.lead, certs::sshsig::Namespace::Approval, statement, digest);
        stage.desk.act(Decision::Vote { verdict }).await.unwrap();
    };
    let (output, ()) = tokio::join!(finish(ssh, ""), deny);
    assert_refused(&output, "lee said no: the line is running");
    assert_eq!(gate.hall.target.seen.connections.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn wrong_name_and_wrong_code_look_alike() {
    let gate = Gate::new().await;
    gate.grant().await;
    let _running = gate.let_time_run();
    let mut wrong_code = gate.ssh(&["gate", "echo"]).await;
    wrong_code.env("LC_ALL", "C");
    std::fs::write(gate.home.path().join("code"), "000000").unwrap();
    let wrong_code = finish(wrong_code, "").await;
    let wrong_name = gate.ssh(&["-l", "nobody+hmi-2", "gate", "echo"]).await;
    let wrong_name = finish(wrong_name, "").await;
    let last = |output: &Output| text(&output.stderr).lines().last().unwrap_or_default().to_owned();
    assert_refused(&wrong_code, "That does not fit: the name or the code is wrong");
    let port = |line: String| line.replace(&gate.port.to_string(), "PORT");
    assert_eq!(port(last(&wrong_code)), port(last(&wrong_name)));
}

#[tokio::test]
async fn a_key_that_is_nobodys_is_refused() {
    let gate = Gate::new().await;
    write_key(&gate.home.path().join("key"), &new_key());
    assert_refused(&gate.run(&["gate", "echo"], "").await, "Permission denied (publickey)");
}

#[tokio::test]
async fn a_jump_is_served_by_the_gate_under_the_targets_name() {
    let gate = Gate::new().await;
    gate.grant().await;
    assert_ok(&gate.run(&["hmi-2", "echo"], "hello").await, "hello");
}

#[tokio::test]
async fn within_a_jump_the_questions_come_too() {
    let gate = Gate::new().await;
    let ssh = gate.ssh(&["hmi-2", "echo"]).await;
    let approve = async {
        eventually("a request", || gate.pending().is_some()).await;
        let verdict = gate.hall.stage.approval(&gate.hall.stage.lead, gate.pending().unwrap());
        gate.hall.stage.desk.act(Decision::Vote { verdict }).await.unwrap();
    };
    let (output, ()) = tokio::join!(finish(ssh, "hello"), approve);
    assert_ok(&output, "hello");
}

#[tokio::test]
async fn forwarding_elsewhere_is_refused_with_the_words_to_type() {
    let gate = Gate::new().await;
    for (to, words) in [
        ("127.0.0.1:22", "only a target's name is forwarded to: ssh -J tara@gate.mill3.example TARGET"),
        ("hmi-2:502", "TCP services are not carried yet"),
        ("hmi-9:22", "there is no target hmi-9"),
    ] {
        assert_refused(&gate.run(&["-W", to, "lobby"], "").await, words);
    }
}

#[tokio::test]
async fn the_lobby_lists_asks_and_connects() {
    let gate = Gate::new().await;
    assert_ok(&gate.run(&["lobby", "list"], "").await, "hmi-2 (ssh): you may ask for shell");
    let asked = gate.run(&["lobby", "request", "hmi-2", "--for", "2h", "the pump trips"], "").await;
    assert_ok(&asked, "waits for 1 of shift-lead");
    assert_refused(&gate.run(&["lobby", "dance"], "").await, "There is no such order.");
    let verdict = gate.hall.stage.approval(&gate.hall.stage.lead, gate.pending().unwrap());
    gate.hall.stage.desk.act(Decision::Vote { verdict }).await.unwrap();
    let output = gate.run(&["lobby"], "connect hmi-2\nhello\n").await;
    assert_ok(&output, "ready");
    assert_ok(&output, "hello");
}

#[tokio::test]
async fn a_complete_login_serves_further_connections_for_as_long_as_the_rule_says() {
    let gate = Gate::new().await;
    gate.grant().await;
    let batch = ["-o", "BatchMode=yes", "gate", "echo"];
    assert_refused(&gate.run(&batch, "").await, "Permission denied (keyboard-interactive)");
    assert_ok(&gate.run(&["gate", "echo"], "one").await, "one");
    assert_ok(&gate.run(&batch, "two").await, "two");
    gate.hall.pass(Duration::from_secs(601)).await;
    assert_refused(&gate.run(&batch, "").await, "Permission denied (keyboard-interactive)");
}

#[tokio::test]
async fn a_certificate_stands_for_both_factors_and_without_a_grant_the_disconnect_says_so() {
    let gate = Gate::new().await;
    let stage = &gate.hall.stage;
    let now = stage.desk.clock().wall();
    let valid = Window { from: now, until: Seconds(3600).after(now) };
    let source = [127, 0, 0, 1].into();
    let (key, principal) = (stage.technician.key.public_key(), stage.technician.person.to_string());
    let certificate = stage.props.keys.ssh_ca().user_certificate(key, &principal, source, valid, 1, "test").unwrap();
    // Named, so that `ssh` offers it before the bare key, which would be asked for a code.
    let file = gate.home.path().join("login.pub");
    std::fs::write(&file, certificate.to_openssh().unwrap()).unwrap();
    let certificate = format!("CertificateFile={}", file.display());
    let batch = ["-o", &certificate, "-o", "BatchMode=yes", "gate", "echo"];
    let refused = gate.run(&batch, "").await;
    assert_refused(&refused, "the grant for hmi-2 was taken back by an operator.");
    assert!(!text(&refused.stderr).contains("open failed"), "{}", text(&refused.stderr));
    gate.grant().await;
    assert_ok(&gate.run(&batch, "hello").await, "hello");
}

#[tokio::test]
async fn who_enrols_sees_the_second_factor_once_and_tries_it() {
    let gate = Gate::new().await;
    let kind = Kind::Technician { vendor: "acme".parse().unwrap(), role: "maintenance".parse().unwrap() };
    let stage = &gate.hall.stage;
    let invited = stage.people.invite(person("theo", kind, &[]), Seconds(3600), stage.admin.person).await.unwrap();
    std::fs::write(gate.home.path().join("enrolment"), invited.code.reveal().as_bytes()).unwrap();
    write_key(&gate.home.path().join("key"), &new_key());
    let mut child = gate.ssh(&["enrol"]).await.spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = Vec::new();
    while !text(&shown).contains("shows now: ") {
        let read = tokio::time::timeout(hall::HANG, stdout.read_buf(&mut shown)).await.unwrap().unwrap();
        assert!(read > 0, "{}", text(&shown));
    }
    let page = text(&shown);
    let secret = page.split("type it in: ").nth(1).unwrap().lines().next().unwrap();
    let code = TotpSecret::from_base32(secret).unwrap().code_at(stage.desk.clock().wall());
    stdin.write_all(format!("{}\n", code.as_str()).as_bytes()).await.unwrap();
    stdout.read_to_end(&mut shown).await.unwrap();
    let page = text(&shown);
    assert!(page.contains('\u{2588}') && page.contains("ten recovery codes"), "{page}");
    assert!(page.contains("It works. From now on: ssh theo@gate.mill3.example"), "{page}");
    assert!(child.wait().await.unwrap().success());
    let again = gate.ssh(&["-l", "theo", "lobby", "list"]).await;
    let code = TotpSecret::from_base32(secret).unwrap().code_at(stage.desk.clock().wall());
    std::fs::write(gate.home.path().join("code"), code.as_str()).unwrap();
    assert_ok(&finish(again, "").await, "hmi-2 (ssh)");
}

#[tokio::test]
async fn agent_and_remote_forwarding_are_refused() {
    let gate = Gate::new().await;
    gate.grant().await;
    let output = gate.run(&["-o", "ExitOnForwardFailure=yes", "-R", "5020:127.0.0.1:22", "gate", "echo"], "").await;
    assert_refused(&output, "remote port forwarding failed");
}

#[tokio::test]
async fn what_is_no_ssh_ends_and_others_are_still_served() {
    let gate = Gate::new().await;
    gate.grant().await;
    // Their address has become a slow one.
    let _running = gate.let_time_run();
    let mut idle = Vec::new();
    for n in 0..300_u32 {
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", gate.port)).await.unwrap();
        if n % 2 == 0 {
            socket.write_all(b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff").await.unwrap();
        }
        idle.push(socket);
    }
    assert_ok(&gate.run(&["gate", "echo"], "hello").await, "hello");
}

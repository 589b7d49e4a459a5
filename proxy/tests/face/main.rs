//! The SSH face under stock `ssh`: over a Desk in memory on a clock that tests turn, sessions that record to a simulated
//! disk, and a target in this process. The program as a whole is tried elsewhere.

mod algorithms;
mod gate;
mod grants;
mod halfway;
#[path = "../session/hall.rs"]
#[allow(dead_code, reason = "the hall serves the sessions' own tests too")]
mod hall;
mod jumps;
mod limits;
mod lobby;
mod passwords;
#[path = "../pictures/mod.rs"]
mod pictures;
mod refused;

use std::process::Output;

use approver::testing::{new_key, person};
use certs::totp::TotpSecret;
use policies::decide::Command as Decision;
use policies::people::Kind;
use policies::requests::{Answer, Matter, VerdictStatement};
use policies::time::{Seconds, Window};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use gate::{Gate, assert_ok, assert_refused, finish, text, write_key};
use hall::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_and_code_open_a_session_where_a_grant_is_open() {
    let gate = Gate::new().await;
    gate.grant().await;
    let output = gate.run(&["gate", "echo"], "hello").await;
    assert_ok(&output, "hello");
    assert!(text(&output.stderr).contains("Sessions are recorded."), "the banner is shown before");
    assert_eq!(gate.hall.target.seen.typed(), "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_grant_the_questions_come_and_the_yes_connects() {
    let gate = Gate::new().await;
    let ssh = gate.ssh(&["gate", "echo"]).await;
    let (output, ()) = tokio::join!(finish(ssh, "hello"), gate.approve());
    assert_ok(&output, "hello");
    assert!(text(&output.stderr).contains("waits for 1 of shift-lead"), "{}", text(&output.stderr));
    let prompts = std::fs::read_to_string(gate.home.path().join("prompts")).unwrap();
    assert!(prompts.contains("How long, at most 4h [1h]"), "{prompts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_nobodys_is_refused() {
    let gate = Gate::new().await;
    write_key(&gate.home.path().join("key"), &new_key());
    assert_refused(&gate.run(&["gate", "echo"], "").await, "Permission denied (publickey)");
}

/// The technician's certificate of `holdpoint login`, as an option of `ssh`: named, so that it is offered before the bare
/// key, which would be asked for a code.
fn certified(gate: &Gate) -> String {
    let stage = &gate.hall.stage;
    let now = stage.desk.clock().wall();
    let valid = Window { from: now, until: Seconds(3600).after(now) };
    let source = [127, 0, 0, 1].into();
    let (key, principal) = (stage.technician.key.public_key(), stage.technician.person.to_string());
    let certificate = stage.props.keys.ssh_ca().user_certificate(key, &principal, source, valid, 1, "test").unwrap();
    let file = gate.home.path().join("login.pub");
    std::fs::write(&file, certificate.to_openssh().unwrap()).unwrap();
    format!("CertificateFile={}", file.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_an_earlier_key_opens_neither_session_nor_lobby() {
    let gate = Gate::new().await;
    let stage = &gate.hall.stage;
    gate.grant().await;
    let certificate = certified(&gate);
    let batch = ["-o", &certificate, "-o", "BatchMode=yes"];
    // To a target, and by the bare name to the lobby.
    let doors = [&["gate", "echo"][..], &["-l", "tara", "gate", "list"]].map(|door| [&batch[..], door].concat());
    for door in &doors {
        assert!(gate.run(door, "").await.status.success(), "{door:?}");
    }
    let invited = stage.people.reinvite(stage.technician.person, Seconds(3600), stage.admin.person).await.unwrap();
    approver::testing::enrol(&stage.people, &invited.code).await;
    for door in &doors {
        assert_refused(&gate.run(door, "").await, "Permission denied");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_stands_for_both_factors_and_without_a_grant_the_disconnect_says_so() {
    let gate = Gate::new().await;
    let certificate = certified(&gate);
    let batch = ["-o", &certificate, "-o", "BatchMode=yes", "gate", "echo"];
    let refused = gate.run(&batch, "").await;
    assert_refused(&refused, "the grant for hmi-2 was taken back by an operator.");
    assert!(!text(&refused.stderr).contains("open failed"), "{}", text(&refused.stderr));
    gate.grant().await;
    assert_ok(&gate.run(&batch, "hello").await, "hello");
    assert_ok(&gate.run(&["-o", &certificate, "-o", "BatchMode=yes", "hmi-2", "echo"], "again").await, "again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_certificate_has_ended_is_asked_for_a_code_and_reads_why() {
    let gate = Gate::new().await;
    gate.grant().await;
    let stage = &gate.hall.stage;
    let until = stage.desk.clock().wall() - jiff::SignedDuration::from_mins(5);
    let valid = Window { from: until - jiff::SignedDuration::from_mins(30), until };
    let source = [127, 0, 0, 1].into();
    let (key, person) = (stage.technician.key.public_key(), stage.technician.person);
    let certificate = stage.props.keys.ssh_ca().user_certificate(key, &person.to_string(), source, valid, 1, "test");
    let file = gate.home.path().join("login.pub");
    std::fs::write(&file, certificate.unwrap().to_openssh().unwrap()).unwrap();
    let named = format!("CertificateFile={}", file.display());
    let unknown = gate.run(&["-o", &named, "gate", "echo"], "hello").await;
    assert_ok(&unknown, "hello");
    assert!(!text(&unknown.stderr).contains("certificate"), "{}", text(&unknown.stderr));
    stage.people.certificate_made(person, until);
    // The login before serves no more.
    gate.hall.pass(std::time::Duration::from_secs(11 * 60)).await;
    let ended = stage.desk.with_state(|state| state.clock(until));
    let told = gate.run(&["-o", &named, "gate", "echo"], "hello").await;
    assert_ok(&told, "hello");
    let words = format!("Asked for a code, because your certificate ended {ended}; `holdpoint login` gets another.");
    assert!(text(&told.stderr).contains(&words), "{}", text(&told.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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
    let url = TotpSecret::from_base32(secret).unwrap().otpauth_url("Mill 3", "theo");
    assert_eq!(pictures::read(&page, pictures::On::Screen), *url);
    assert!(page.contains("ten recovery codes"), "{page}");
    assert!(page.contains(&format!("It works. From now on: ssh -p {} theo@gate.mill3.example", gate.port)), "{page}");
    assert!(child.wait().await.unwrap().success());
    let again = gate.ssh(&["-l", "theo", "lobby", "list"]).await;
    let code = TotpSecret::from_base32(secret).unwrap().code_at(stage.desk.clock().wall());
    std::fs::write(gate.home.path().join("code"), code.as_str()).unwrap();
    assert_ok(&finish(again, "").await, "hmi-2 (ssh)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_works_at_the_plant_is_sent_to_the_program_and_keeps_their_code() {
    let gate = Gate::new().await;
    let stage = &gate.hall.stage;
    for (name, kind) in
        [("omar", Kind::Operator { vendor: None }), ("ana", Kind::Administrator), ("aud", Kind::Auditor)]
    {
        let invited = stage.people.invite(person(name, kind, &[]), Seconds(3600), stage.admin.person).await.unwrap();
        std::fs::write(gate.home.path().join("enrolment"), invited.code.reveal().as_bytes()).unwrap();
        write_key(&gate.home.path().join("key"), &new_key());
        assert_refused(&finish(gate.ssh(&["enrol"]).await, "").await, "holdpoint enrol --gate");
        assert!(stage.people.enrol(&invited.code, new_key().public_key()).await.is_ok(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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

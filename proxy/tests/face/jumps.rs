//! `ssh -J`: the inner session is the gate's own, under the target's name, and each lives and ends by itself.

use policies::events::{CutBy, Scope};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::gate::{Gate, assert_ok, assert_refused, finish, text};
use crate::hall::{self, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jump_is_served_by_the_gate_under_the_targets_name() {
    let gate = Gate::new().await;
    gate.grant().await;
    assert_ok(&gate.run(&["hmi-2", "echo"], "hello").await, "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_a_jump_the_questions_come_too() {
    let gate = Gate::new().await;
    let ssh = gate.ssh(&["hmi-2", "echo"]).await;
    let (output, ()) = tokio::join!(finish(ssh, "hello"), gate.approve());
    assert_ok(&output, "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwarding_elsewhere_is_refused_with_the_words_to_type() {
    let gate = Gate::new().await;
    let jump = format!("only a target's name is forwarded to: ssh -J tara@gate.mill3.example:{} TARGET", gate.port);
    for (to, words) in [
        ("127.0.0.1:22", jump.as_str()),
        ("hmi-2:502", "hmi-2 has nothing at port 502: nothing there is forwarded to"),
        ("hmi-9:22", "there is no target hmi-9"),
    ] {
        assert_refused(&gate.run(&["-W", to, "lobby"], "").await, words);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_of_one_jump_leaves_the_others_of_its_connection_alone() {
    let gate = Gate::new().await;
    gate.grant().await;
    let shared = gate.home.path().join("shared");
    let mut master = gate.ssh(&["-M", "-N", "-S", shared.to_str().unwrap(), "lobby"]).await.spawn().unwrap();
    eventually("the shared connection", || shared.exists()).await;
    let through = format!("ProxyCommand=ssh -F {} -S {} -W %h:22 lobby", gate.config().display(), shared.display());
    let (mut jumps, mut sessions) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let mut ssh = gate.ssh(&["-o", &through, "-o", "ProxyJump=none", "hmi-2", "echo"]).await;
        let mut child = ssh.spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(b"one").await.unwrap();
        let mut echoed = [0; 3];
        let reading = child.stdout.as_mut().unwrap().read_exact(&mut echoed);
        tokio::time::timeout(hall::HANG, reading).await.unwrap().unwrap();
        jumps.push(child);
        sessions.push(gate.newest_session().await);
    }
    let operator = CutBy::Operator(gate.hall.stage.lead.person);
    gate.hall.stage.desk.cut(operator, Scope::Session(sessions[0])).await.unwrap();
    let cut = tokio::time::timeout(hall::HANG, jumps.remove(0).wait_with_output()).await.unwrap().unwrap();
    assert!(text(&cut.stderr).contains("Access was cut by an operator"), "{}", text(&cut.stderr));
    assert!(master.try_wait().unwrap().is_none(), "the shared connection stays");
    let mut other = jumps.remove(0);
    other.stdin.take().unwrap().write_all(b"two").await.unwrap();
    let other = tokio::time::timeout(hall::HANG, other.wait_with_output()).await.unwrap().unwrap();
    assert_ok(&other, "two");
}

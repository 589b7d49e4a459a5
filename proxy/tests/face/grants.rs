//! Which grant a connection spends, and for how long a complete login stands in for the code: by every way to name a
//! target.

use std::time::Duration;

use policies::actions::Action;
use policies::ids::RequestId;

use crate::gate::{Gate, assert_ok, assert_refused, finish, revoke, text};

/// The grant that the newest session spends.
async fn spent(gate: &Gate) -> RequestId {
    let session = gate.newest_session().await;
    gate.hall.stage.desk.with_state(|state| state.sessions[&session].request)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_grants_the_one_is_spent_that_the_first_channel_needs() {
    let gate = Gate::new().await;
    let files = gate.hall.stage.grant("hmi-2", &[Action::FileGet]).await;
    let shell = gate.hall.stage.grant("hmi-2", &[Action::Shell, Action::FilePut]).await;
    assert_ok(&gate.run(&["gate", "echo"], "hello").await, "hello");
    assert_eq!(spent(&gate).await, shell);
    assert_ok(&gate.run(&["hmi-2", "echo"], "hello").await, "hello");
    assert_eq!(spent(&gate).await, shell);
    // The target is no file server; which grant was spent is what matters.
    gate.run(&["gate", "scp", "-f", "x"], "").await;
    assert_eq!(spent(&gate).await, files);
    let put = gate.run(&["gate", "scp", "-t", "x"], "").await;
    assert_eq!(spent(&gate).await, shell, "whoever has a shell may copy files: {}", text(&put.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complete_login_serves_a_jump_and_the_lobby_too_and_no_other_grant() {
    let gate = Gate::new().await;
    let first = gate.grant().await;
    let jump = ["hmi-2", "echo"];
    assert_ok(&gate.run(&jump, "one").await, "one");
    assert_eq!(gate.codes_asked(), 1);
    assert_ok(&gate.run(&jump, "two").await, "two");
    assert_ok(&gate.run(&["lobby"], "connect hmi-2\nthree\n").await, "three");
    assert_eq!(gate.codes_asked(), 1);
    revoke(&gate.hall, first).await;
    gate.grant().await;
    assert_ok(&gate.run(&jump, "four").await, "four");
    assert_eq!(gate.codes_asked(), 2);
    gate.hall.pass(Duration::from_secs(601)).await;
    assert_ok(&gate.run(&jump, "five").await, "five");
    assert_eq!(gate.codes_asked(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_a_recent_login_let_into_the_lobby_gives_the_code_for_any_other_grant() {
    let gate = Gate::new().await;
    gate.grant().await;
    assert_ok(&gate.run(&["hmi-2", "echo"], "one").await, "one");
    gate.hall.stage.grant("hmi-3", &[Action::Shell]).await;
    let batch = ["-o", "BatchMode=yes", "lobby"];
    assert_ok(&gate.run(&batch, "connect hmi-3\n").await, "You gave no code.");
    let _running = gate.let_time_run();
    assert_ok(&gate.run(&batch, "connect hmi-3\n000000\n").await, "the name or the code is wrong");
    let ssh = gate.ssh(&batch).await;
    let code = gate.code();
    let output = finish(ssh, &format!("connect hmi-3\n{code}\nhello\n")).await;
    assert_ok(&output, "hello");
    assert_ok(&gate.run(&["hmi-3", "echo"], "again").await, "again");
    assert_eq!(gate.codes_asked(), 1);
    let second = gate.hall.stage.grant("hmi-3", &[Action::FileGet]).await;
    assert_ok(&gate.run(&["hmi-3", "echo"], "which").await, "which");
    assert_eq!(gate.codes_asked(), 2, "of two grants a code opens either");
    assert_ne!(spent(&gate).await, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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

//! What is never carried: told to the technician in words, and nothing of it reaches the target. That it is recorded, is
//! tried in `flow`.

use std::sync::atomic::Ordering;

use crate::gate::{Gate, assert_ok, assert_refused, finish, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remote_forward_agent_and_x11_are_refused() {
    let gate = Gate::new().await;
    gate.grant().await;
    let agent = gate.agent().await;
    let x11_forwards = async |host, command| {
        let mut ssh = gate.ssh(&["-oLogLevel=INFO", "-Y", host, command]).await;
        ssh.env("DISPLAY", "127.0.0.1:99");
        !text(&finish(ssh, "hello").await.stderr).contains("X11 forwarding request failed on channel 0")
    };
    for (host, command) in [("gate", "echo"), ("hmi-2", "echo"), ("lobby", "list")] {
        assert!(!x11_forwards(host, command).await, "{host}: the client is told so by the protocol too");
        for (option, words) in [
            ("-oForwardAgent=yes", "holdpoint: your agent is not forwarded"),
            ("-Y", "holdpoint: X11 is not forwarded"),
            ("-R127.0.0.1:0:127.0.0.1:22", "holdpoint: -R is refused: nothing is forwarded back from here"),
        ] {
            let mut ssh = gate.ssh(&[option, host, command]).await;
            ssh.env("DISPLAY", "127.0.0.1:99").env("SSH_AUTH_SOCK", &agent.socket);
            let output = finish(ssh, "hello").await;
            let told = text(&output.stderr);
            assert!(told.contains(words), "{option} {host}: {told}");
            assert_ok(&output, if command == "echo" { "hello" } else { "hmi-2" });
        }
    }
    assert_eq!(gate.hall.target.seen.others.load(Ordering::SeqCst), 0, "nothing but sessions was asked of the target");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_insists_on_forwarding_back_is_told_that_it_failed() {
    let gate = Gate::new().await;
    gate.grant().await;
    let output = gate.run(&["-o", "ExitOnForwardFailure=yes", "-R", "5020:127.0.0.1:22", "gate", "echo"], "").await;
    assert_refused(&output, "remote port forwarding failed");
}

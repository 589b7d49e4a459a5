//! The lobby: orders by command, by plain lines and on a terminal.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::gate::{Gate, assert_ok, assert_refused, text};
use crate::hall;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lobby_lists_asks_and_connects() {
    let gate = Gate::new().await;
    assert_ok(&gate.run(&["lobby", "list"], "").await, "hmi-2 (ssh): you may ask for shell");
    let asked = gate.run(&["lobby", "request", "hmi-2", "--for", "2h", "the pump trips"], "").await;
    assert_ok(&asked, "waits for 1 of shift-lead");
    assert_refused(&gate.run(&["lobby", "dance"], "").await, "There is no such order.");
    gate.approve().await;
    let output = gate.run(&["lobby"], "connect hmi-2\nhello\n").await;
    assert_ok(&output, "ready");
    assert_ok(&output, "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_terminal_the_lobby_edits_lines_and_leads_into_a_session_and_its_end() {
    let gate = Gate::new().await;
    gate.grant().await;
    let mut child = gate.ssh(&["-tt", "lobby"]).await.spawn().unwrap();
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = Vec::new();
    for (awaited, typed) in [
        ("holdpoint> ", "lisX\x7ft\r"),
        ("holdpoint> ", "\x1b[A\x03"),
        ("holdpoint> ", "connect hmi-2\r"),
        ("ready", "hello\r"),
        ("hello", "\x04"),
    ] {
        let mut since = Vec::new();
        while !text(&since).contains(awaited) {
            let read = tokio::time::timeout(hall::HANG, screen.read_buf(&mut since)).await.unwrap().unwrap();
            assert!(read > 0, "{awaited:?} never came after {}", text(&shown));
        }
        shown.extend(since);
        keys.write_all(typed.as_bytes()).await.unwrap();
    }
    assert!(text(&shown).contains("hmi-2 (ssh)"), "{}", text(&shown));
    hall::eventually("all of it reached the target", || gate.hall.target.seen.typed() == "hello\r\x04").await;
    drop((keys, screen));
    tokio::time::timeout(Duration::from_secs(10), child.wait()).await.unwrap().unwrap();
    hall::eventually("the session ends with its one channel", || gate.hall.floor.count() == 0).await;
}

//! What one connection may do before and after it has signed in, and how long it may do nothing: each limit with the words
//! for whoever meets it.

use std::sync::Arc;
use std::time::Duration;

use approver::testing::new_key;
use jiff::{SignedDuration, Timestamp};
use policies::actions::Action;
use policies::events::Event;
use policies::ids::PersonId;
use russh::client::{self, Handle, KeyboardInteractiveAuthResponse as Asked};
use russh::keys::PrivateKeyWithHashAlg;

use crate::gate::{Gate, assert_ok, assert_refused, finish, text};
use crate::halfway::Halfway;
use crate::hall::{Anyone, HANG, eventually, next_code};

async fn connected(gate: &Gate) -> (Handle<Anyone>, Arc<std::sync::Mutex<Option<String>>>) {
    let anyone = Anyone::default();
    let told = Arc::clone(&anyone.disconnected);
    let connecting = client::connect(Arc::default(), ("127.0.0.1", gate.port), anyone);
    (tokio::time::timeout(HANG, connecting).await.unwrap().unwrap(), told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_three_codes_and_then_it_ends() {
    let gate = Gate::new().await;
    let _running = gate.let_time_run();
    let ssh = gate.ssh(&["-o", "NumberOfPasswordPrompts=9", "lobby", "list"]).await;
    std::fs::write(gate.home.path().join("code"), "000000").unwrap();
    assert_refused(&finish(ssh, "").await, "the name or the code is wrong");
    assert_eq!(gate.codes_asked(), 3);
}

/// Until when somebody was locked, each time it happened, as the journal has it.
async fn locks(gate: &Gate) -> Vec<(PersonId, Timestamp)> {
    let entries = gate.hall.stage.desk.entries(0).await.unwrap();
    let locks = entries.into_iter().filter_map(|entry| match entry.event {
        Event::Locked { person, until } => Some((person, until)),
        _ => None,
    });
    locks.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_codes_over_two_connections_lock_and_a_right_one_reads_the_same_until_the_lock_ends() {
    let gate = Gate::new().await;
    gate.grant().await;
    let _running = gate.let_time_run();
    let stage = &gate.hall.stage;
    let complaint = |asked: Result<Asked, russh::Error>| match asked {
        Ok(Asked::InfoRequest { instructions, .. }) => instructions,
        other => panic!("{other:?}"),
    };
    let mut words = Vec::new();
    let mut first = Halfway::bound_for(&gate, "tara+hmi-2").await;
    first.is_asked().await;
    words.push(complaint(first.answers("000000").await));
    words.push(complaint(first.answers("000000").await));
    drop(first.answers("000000").await);
    words.push(first.ends().await);
    let mut second = Halfway::bound_for(&gate, "tara+hmi-2").await;
    second.is_asked().await;
    words.push(complaint(second.answers("000000").await));
    assert_eq!(locks(&gate).await, [], "four are not yet five");
    words.push(complaint(second.answers("000000").await));
    let locked = locks(&gate).await;
    assert_eq!(locked.len(), 1);
    let (person, until) = locked[0];
    assert_eq!(person, stage.technician.person);
    assert!(until > stage.desk.clock().wall() && until <= stage.desk.clock().wall() + SignedDuration::from_mins(15));

    drop(second.answers(&next_code(&gate.hall).await).await);
    words.push(second.ends().await);
    let mut third = Halfway::bound_for(&gate, "tara+hmi-2").await;
    third.is_asked().await;
    words.push(complaint(third.answers(&next_code(&gate.hall).await).await));
    assert!(words[0].starts_with("That does not fit: the name or the code is wrong"), "{words:?}");
    assert!(words.iter().all(|said| *said == words[0]), "a lock is told to nobody: {words:?}");
    assert_refused(&gate.run(&["gate", "echo"], "").await, &words[0]);
    assert_eq!(locks(&gate).await.len(), 1, "codes that were not looked at do not prolong it");

    gate.hall.pass(Duration::from_secs(15 * 60)).await;
    assert_ok(&gate.run(&["gate", "echo"], "let in").await, "let in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_codes_within_jumps_lock_and_a_right_one_reads_the_same_until_the_lock_ends() {
    let gate = Gate::new().await;
    gate.grant().await;
    assert_ok(&gate.run(&["gate", "echo"], "one").await, "one");
    gate.hall.stage.grant("hmi-3", &[Action::Shell]).await;
    // In by the login of before, so that the code for the other target is asked for within the jump.
    let shared = gate.home.path().join("shared");
    let mut master = gate.ssh(&["-M", "-N", "-S", shared.to_str().unwrap(), "lobby"]).await;
    let mut master = master.spawn().unwrap();
    eventually("the shared connection", || shared.exists()).await;
    let through = format!("ProxyCommand=ssh -F {} -S {} -W %h:22 lobby", gate.config().display(), shared.display());
    let jump = ["-o", &through, "-o", "ProxyJump=none", "hmi-3", "echo"];
    let _running = gate.let_time_run();
    let jumps = async |code: Option<&str>| {
        let ssh = gate.ssh(&jump).await;
        if let Some(code) = code {
            std::fs::write(gate.home.path().join("code"), code).unwrap();
        }
        let asked_before = gate.codes_asked();
        let output = finish(ssh, "hello").await;
        assert_refused(&output, "That does not fit: the name or the code is wrong");
        assert_eq!(gate.codes_asked() - asked_before, 3, "a jump has three codes, and then it ends");
        text(&output.stderr)
    };
    let wrong = jumps(Some("000000")).await;
    assert_eq!(locks(&gate).await, [], "three are not yet five");
    assert_eq!(jumps(Some("000000")).await, wrong);
    assert_eq!(locks(&gate).await.len(), 1);
    assert_eq!(jumps(None).await, wrong, "a lock is told to nobody");
    assert!(master.try_wait().unwrap().is_none(), "the shared connection stays");
    assert_eq!(gate.hall.target.seen.typed(), "one");

    gate.hall.pass(Duration::from_secs(15 * 60)).await;
    assert_ok(&gate.run(&["hmi-3", "echo"], "let in").await, "let in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_twenty_keys_that_are_nobodys_and_then_it_ends_with_what_to_do() {
    let gate = Gate::new().await;
    let _running = gate.let_time_run();
    let (mut client, told) = connected(&gate).await;
    let mut tried = 0;
    while !client.is_closed() && tried < 40 {
        tried += 1;
        let key = PrivateKeyWithHashAlg::new(Arc::new(new_key()), None);
        if client.authenticate_publickey("tara", key).await.is_err() {
            break;
        }
    }
    eventually("it is told", || told.lock().unwrap().is_some()).await;
    assert!(told.lock().unwrap().as_ref().unwrap().starts_with("Too many keys."), "{told:?}");
    assert!((20..25).contains(&tried), "{tried}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_ten_channels_and_the_next_is_refused() {
    let gate = Gate::new().await;
    let mut tara = Halfway::tara(&gate).await;
    assert!(tara.gives_a_code(&gate).await);
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(tara.handle.channel_open_session().await.unwrap());
    }
    assert!(tara.handle.channel_open_session().await.is_err());
    open.pop().unwrap().close().await.unwrap();
    let mut again = tara.handle.channel_open_session().await;
    for _ in 0..100 {
        if again.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        again = tara.handle.channel_open_session().await;
    }
    assert!(again.is_ok(), "a closed one makes room");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_questions_stay_open_for_ten_minutes() {
    let gate = Gate::new().await;
    for (stays, span) in [(true, 9 * 60 + 50), (false, 10 * 60)] {
        let mut tara = Halfway::bound_for(&gate, "tara+hmi-2").await;
        let asked = tara.answers_with_a_code(&gate).await;
        assert!(
            matches!(&asked, Ok(Asked::InfoRequest { prompts, .. }) if prompts[0].prompt == "Reason: "),
            "{asked:?}"
        );
        gate.hall.pass(Duration::from_secs(span)).await;
        let next = async {
            // What is said at the end waits until the client has read it, or has not.
            tokio::time::sleep(Duration::from_millis(if stays { 0 } else { 1_000 })).await;
            tara.handle.authenticate_keyboard_interactive_respond(vec!["the pump trips".to_owned()]).await
        };
        let next = next.await;
        assert_eq!(matches!(next, Ok(Asked::InfoRequest { .. })), stays, "{next:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wait_for_a_yes_ends_after_an_hour_and_the_request_stands() {
    let gate = Gate::new().await;
    let ssh = gate.ssh(&["gate", "echo"]).await;
    let pass = async {
        eventually("a request", || gate.pending().is_some()).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        gate.hall.pass(Duration::from_secs(3_600)).await;
    };
    let (output, ()) = tokio::join!(finish(ssh, ""), pass);
    assert_refused(&output, "Nobody answered within an hour. Your request stands");
    assert!(gate.pending().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_nobody_uses_ends_and_one_in_use_does_not() {
    let gate = Gate::new().await;
    let (mut unused, mut used) = (Halfway::tara(&gate).await, Halfway::tara(&gate).await);
    assert!(unused.gives_a_code(&gate).await);
    gate.hall.pass(Duration::from_secs(30)).await;
    assert!(used.gives_a_code(&gate).await);
    let channel = used.handle.channel_open_session().await.unwrap();
    channel.request_shell(true).await.unwrap();
    gate.hall.pass(Duration::from_secs(14 * 60)).await;
    assert!(!unused.handle.is_closed());
    channel.data_bytes(&b"list\n"[..]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    gate.hall.pass(Duration::from_secs(2 * 60)).await;
    eventually("the unused one is told", || unused.told().is_some()).await;
    assert_eq!(unused.told().as_deref(), Some("Nobody used this connection for 15 minutes."));
    assert!(!used.handle.is_closed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_into_the_lobby_on_which_nothing_is_started_is_closed() {
    let gate = Gate::new().await;
    let mut tara = Halfway::tara(&gate).await;
    assert!(tara.gives_a_code(&gate).await);
    let mut channel = tara.handle.channel_open_session().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    gate.hall.pass(Duration::from_secs(15 * 60)).await;
    let ends = async { while channel.wait().await.is_some() {} };
    tokio::time::timeout(HANG, ends).await.expect("it stays");
}

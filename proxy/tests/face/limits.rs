//! What one connection may do before and after it has signed in, and how long it may do nothing: each limit with the words
//! for whoever meets it.

use std::sync::Arc;
use std::time::Duration;

use approver::testing::new_key;
use russh::client::{self, Handle, KeyboardInteractiveAuthResponse as Asked};
use russh::keys::PrivateKeyWithHashAlg;

use crate::gate::{Gate, assert_refused, finish};
use crate::halfway::Halfway;
use crate::hall::{Anyone, HANG, eventually};

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

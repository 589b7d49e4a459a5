//! Connections that have not signed in: how long each may stay, and how many there may be of strangers and of one person.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use approver::testing::new_key;
use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse as Asked};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg};

use crate::gate::{Gate, assert_ok};
use crate::hall::{Anyone, HANG, eventually};

/// A client that has proved a key and no code. It does not ask for the question yet, because russh's client hears nothing
/// while one is open.
pub(crate) struct Halfway {
    pub(crate) handle: Handle<Anyone>,
    told: Arc<Mutex<Option<String>>>,
    user: String,
}

impl Halfway {
    async fn new(gate: &Gate, user: &str, key: PrivateKey) -> Self {
        let anyone = Anyone::default();
        let told = Arc::clone(&anyone.disconnected);
        let connecting = client::connect(Arc::default(), ("127.0.0.1", gate.port), anyone);
        let mut handle = tokio::time::timeout(HANG, connecting).await.unwrap().unwrap();
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        let half = handle.authenticate_publickey(user, key).await.unwrap();
        assert!(matches!(half, AuthResult::Failure { partial_success: true, .. }), "{half:?}");
        Self { handle, told, user: user.to_owned() }
    }

    pub(crate) async fn tara(gate: &Gate) -> Self {
        Self::bound_for(gate, "tara").await
    }

    pub(crate) async fn bound_for(gate: &Gate, user: &str) -> Self {
        Self::new(gate, user, gate.hall.stage.technician.key.clone()).await
    }

    pub(crate) fn told(&self) -> Option<String> {
        self.told.lock().unwrap().clone()
    }

    pub(crate) async fn gives_a_code(&mut self, gate: &Gate) -> bool {
        matches!(self.answers_with_a_code(gate).await, Ok(Asked::Success))
    }

    pub(crate) async fn answers_with_a_code(&mut self, gate: &Gate) -> Result<Asked, russh::Error> {
        let stage = &gate.hall.stage;
        let code = stage.technician.totp.code_at(stage.desk.clock().wall()).to_string();
        self.is_asked().await;
        self.answers(&code).await
    }

    /// The question for the code comes.
    pub(crate) async fn is_asked(&mut self) {
        let asked = self.handle.authenticate_keyboard_interactive_start(&self.user, None).await;
        assert!(matches!(asked, Ok(Asked::InfoRequest { .. })), "{asked:?}");
    }

    pub(crate) async fn answers(&mut self, code: &str) -> Result<Asked, russh::Error> {
        self.handle.authenticate_keyboard_interactive_respond(vec![code.to_owned()]).await
    }

    /// The words with which it ends. Takes the round without a question that holds it until then.
    pub(crate) async fn ends(&mut self) -> String {
        drop(self.handle.authenticate_keyboard_interactive_respond(Vec::new()).await);
        eventually("it is told why", || self.told().is_some()).await;
        self.told().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_needs_the_next_code_may_stay_for_it_and_after_a_minute_is_told_to_go() {
    let gate = Gate::new().await;
    let (mut one, other) = (Halfway::tara(&gate).await, Halfway::tara(&gate).await);
    gate.hall.pass(Duration::from_secs(55)).await;
    assert!(one.gives_a_code(&gate).await);
    gate.hall.pass(Duration::from_secs(5)).await;
    eventually("the other is told", || other.told().is_some()).await;
    assert_eq!(other.told().as_deref(), Some("You did not sign in within 60 seconds."));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_persons_connections_that_wait_for_a_code_the_eldest_goes_and_reads_why() {
    let gate = Gate::new().await;
    let mut waiting = Vec::new();
    for _ in 0..21 {
        waiting.push(Halfway::tara(&gate).await);
    }
    eventually("the eldest is told", || waiting[0].told().is_some()).await;
    assert!(waiting[0].told().unwrap().starts_with("Too many connections of yours wait for a code"));
    assert!(waiting[1..].iter().all(|client| client.told().is_none()));
    assert!(waiting[20].gives_a_code(&gate).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_with_a_key_of_their_own_to_enrol_stays_a_stranger() {
    let gate = Gate::new().await;
    let mut waiting = Vec::new();
    for _ in 0..41 {
        waiting.push(Halfway::new(&gate, "enrol", new_key()).await);
    }
    eventually("the eldest is gone", || waiting[0].handle.is_closed()).await;
    assert!(waiting[1..].iter().all(|client| !client.handle.is_closed()));
    gate.grant().await;
    assert_ok(&gate.run(&["gate", "echo"], "hello").await, "hello");
}

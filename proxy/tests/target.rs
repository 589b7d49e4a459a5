//! The target leg against targets that are down, changed, old, mute or hostile: each is told by its own fault, and none
//! gets anything from the gate but what it was asked to carry.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not see to be such")]

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use approver::testing::Leased;
use certs::ssh_ca::fresh_key;
use policies::events::Ending;
use proxy::dial::DialFault;
use proxy::flow::{Event, Request};
use proxy::ssh::target::{TargetAuth, TargetFault, TargetPlan, TargetPool};
use russh::keys::{Algorithm, HashAlg, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Response, Session};
use russh::{Channel, ChannelId, MethodKind, MethodSet, Preferred, cipher, kex, mac};
use tokio::net::TcpListener;

/// What kind of target it is.
#[derive(Clone)]
struct House {
    key: PrivateKey,
    methods: Vec<MethodKind>,
    password: &'static str,
    questions: Vec<(&'static str, bool)>,
    preferred: Preferred,
    opens_channels: bool,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    log_ins: AtomicUsize,
    signatures: Mutex<Vec<Algorithm>>,
    answers: Mutex<Vec<String>>,
    opened: Mutex<Vec<bool>>,
}

impl House {
    fn new() -> Self {
        Self {
            key: fresh_key(""),
            methods: vec![MethodKind::Password],
            password: "secret",
            questions: Vec::new(),
            preferred: Preferred::DEFAULT,
            opens_channels: false,
            seen: Arc::default(),
        }
    }

    fn pin(&self) -> String {
        self.key.public_key().fingerprint(HashAlg::Sha256).to_string()
    }

    /// Opens for guests, and gives its address.
    async fn open(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let config = Arc::new(server::Config {
            keys: vec![self.key.clone()],
            methods: MethodSet::from(self.methods.as_slice()),
            auth_rejection_time: Duration::ZERO,
            auth_rejection_time_initial: Some(Duration::ZERO),
            preferred: self.preferred.clone(),
            ..server::Config::default()
        });
        let host = self.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (config, host) = (Arc::clone(&config), host.clone());
                tokio::spawn(async move {
                    if let Ok(session) = server::run_stream(config, socket, host).await {
                        session.await.ok();
                    }
                });
            }
        });
        address
    }
}

impl server::Handler for House {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, russh::Error> {
        Ok(Some("Authorized personnel only.\n".to_owned()))
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        let asked_for = self.methods.contains(&MethodKind::Password);
        if !asked_for || user != "maint" || password != self.password {
            return Ok(Auth::reject());
        }
        self.seen.log_ins.fetch_add(1, Ordering::SeqCst);
        Ok(Auth::Accept)
    }

    async fn auth_publickey(&mut self, user: &str, key: server::VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        assert_eq!(user, "maint");
        self.seen.signatures.lock().unwrap().push(key.algorithm.clone());
        Ok(Auth::Accept)
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        if let Some(response) = response {
            let answers = response.map(|answer| String::from_utf8(answer.to_vec()).unwrap()).collect::<Vec<_>>();
            self.seen.answers.lock().unwrap().extend(answers.clone());
            return Ok(if answers == [self.password] { Auth::Accept } else { Auth::reject() });
        }
        let prompts = self.questions.iter().map(|(text, echo)| (Cow::Borrowed(*text), *echo)).collect::<Vec<_>>();
        Ok(Auth::Partial { name: "".into(), instructions: "".into(), prompts: prompts.into() })
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        if self.opens_channels {
            let (handle, seen) = (session.handle(), Arc::clone(&self.seen));
            tokio::spawn(async move {
                let opened = [
                    handle.channel_open_session().await.is_ok(),
                    handle.channel_open_direct_tcpip("10.0.0.1", 22, "10.0.0.2", 22).await.is_ok(),
                    handle.channel_open_forwarded_tcpip("10.0.0.1", 22, "10.0.0.2", 22).await.is_ok(),
                    handle.channel_open_direct_streamlocal("/run/x").await.is_ok(),
                    handle.channel_open_forwarded_streamlocal("/run/x").await.is_ok(),
                    handle.channel_open_x11("10.0.0.1", 22).await.is_ok(),
                    handle.channel_open_agent().await.is_ok(),
                ];
                seen.opened.lock().unwrap().extend(opened);
            });
        }
        Ok(())
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        session.channel_success(channel)?;
        session.data(channel, "hello".as_bytes())?;
        session.exit_status_request(channel, 7)?;
        session.close(channel)
    }
}

fn plan(pin: String) -> TargetPlan {
    TargetPlan {
        user: "maint".to_owned(),
        auth: TargetAuth::Password("secret".to_owned().into()),
        host_key: pin,
        legacy: false,
        patience: Duration::from_secs(5),
    }
}

/// The connections under a lease that leads to `address`, for as long as that is kept.
async fn pool(address: &str, plan: TargetPlan) -> (TargetPool, Leased) {
    let leased = Leased::to(address).await;
    (TargetPool::new(&leased.lease, plan), leased)
}

async fn fault(address: &str, plan: TargetPlan) -> TargetFault {
    let (pool, _leased) = pool(address, plan).await;
    pool.take().await.unwrap_err()
}

#[tokio::test]
async fn a_changed_host_key_refuses_before_anything_secret_is_sent() {
    let house = House::new();
    let address = house.open().await;
    let other = House::new().pin();
    let fault = fault(&address, plan(other.clone())).await;
    let TargetFault::HostKey { changed, .. } = &fault else { panic!("{fault}") };
    assert_eq!((&changed.expected, &changed.got), (&other, &house.pin()));
    assert_eq!(house.seen.log_ins.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_credential_that_does_not_open_the_door_is_named_and_not_shown() {
    let mut house = House::new();
    house.password = "another";
    let fault = fault(&house.open().await, plan(house.pin())).await;
    assert_eq!(
        fault.to_string(),
        "hmi-2 does not let the gate in as maint; whoever administers the plant must renew the credential"
    );
    let plan = plan(house.pin());
    assert!(!format!("{plan:?}").contains("secret"));
}

#[tokio::test]
async fn a_target_that_knows_passwords_only_as_an_answer_gets_it_for_a_hidden_question_alone() {
    let mut house = House::new();
    house.methods = vec![MethodKind::KeyboardInteractive];
    house.questions = vec![("Password: ", false)];
    let (pool, _leased) = pool(&house.open().await, plan(house.pin())).await;
    pool.take().await.unwrap();
    assert_eq!(*house.seen.answers.lock().unwrap(), ["secret"]);

    for questions in [vec![("Your name: ", true)], vec![("Password: ", false), ("Code: ", false)]] {
        let mut house = House::new();
        house.methods = vec![MethodKind::KeyboardInteractive];
        house.questions = questions;
        assert!(matches!(fault(&house.open().await, plan(house.pin())).await, TargetFault::LogIn { .. }));
        assert!(house.seen.answers.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_rsa_key_signs_with_sha1_only_for_a_target_that_is_marked_as_old() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let mut keygen = std::process::Command::new("ssh-keygen");
    keygen.args(["-q", "-N", "", "-t", "rsa", "-b", "2048", "-f"]).arg(&file);
    assert!(keygen.status().unwrap().success());
    let key = Arc::new(russh::keys::load_secret_key(&file, None).unwrap());
    let rsa = |hash| Algorithm::Rsa { hash };
    let (old, new) = (rsa(None), rsa(Some(HashAlg::Sha256)));
    let newest = rsa(Some(HashAlg::Sha512));
    for (knows, legacy, signs) in [
        (vec![newest.clone(), new.clone(), old.clone()], false, &newest),
        (vec![newest.clone(), new.clone(), old.clone()], true, &newest),
        (vec![new.clone(), old.clone()], false, &new),
        (vec![old.clone()], false, &newest),
        (vec![old.clone()], true, &old),
    ] {
        let mut house = House::new();
        house.methods = vec![MethodKind::PublicKey];
        house.preferred = Preferred { key: [vec![Algorithm::Ed25519], knows].concat().into(), ..Preferred::DEFAULT };
        let plan = TargetPlan { auth: TargetAuth::Key(Arc::clone(&key)), legacy, ..plan(house.pin()) };
        let (pool, _leased) = pool(&house.open().await, plan).await;
        pool.take().await.unwrap();
        let signed = house.seen.signatures.lock().unwrap().clone();
        assert!(signed.iter().eq([signs]), "{signed:?} for {:?}, {legacy}", house.preferred.key);
    }
}

#[tokio::test]
async fn old_algorithms_are_for_the_target_that_is_marked_as_old() {
    let mut house = House::new();
    house.preferred = Preferred {
        kex: Cow::Borrowed(&[kex::DH_G14_SHA1]),
        cipher: Cow::Borrowed(&[cipher::AES_128_CBC]),
        mac: Cow::Borrowed(&[mac::HMAC_SHA1]),
        ..Preferred::DEFAULT
    };
    let address = house.open().await;
    let fault = fault(&address, plan(house.pin())).await;
    assert!(matches!(fault, TargetFault::Handshake { .. }), "{fault}");
    let (pool, _leased) = pool(&address, TargetPlan { legacy: true, ..plan(house.pin()) }).await;
    pool.take().await.unwrap();
}

#[tokio::test]
async fn a_target_that_answers_and_then_says_nothing_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let plan = TargetPlan { patience: Duration::from_millis(200), ..plan(House::new().pin()) };
    assert_eq!(fault(&address, plan).await.to_string(), "hmi-2 answered, but agreeing on keys took longer than 0.2 s");
}

#[tokio::test]
async fn a_target_that_is_no_ssh_server_is_said_to_be_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { drop(listener.accept().await) });
    let fault = fault(&address, plan(House::new().pin())).await;
    assert!(fault.to_string().starts_with("hmi-2 answered, but no SSH session came about: "), "{fault}");
}

#[tokio::test]
async fn a_target_opens_no_channel_of_any_kind_towards_the_gate() {
    let mut house = House::new();
    house.opens_channels = true;
    let (pool, _leased) = pool(&house.open().await, plan(house.pin())).await;
    let connection = pool.take().await.unwrap();
    let _channel = connection.open_channel().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), async {
        while house.seen.opened.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(*house.seen.opened.lock().unwrap(), [false; 7]);
}

#[tokio::test]
async fn one_connection_serves_channels_one_after_the_other_and_each_gets_only_its_own() {
    let house = House::new();
    let (pool, _leased) = pool(&house.open().await, plan(house.pin())).await;
    pool.warm().await.unwrap();
    for _ in 0..3 {
        let connection = pool.take().await.unwrap();
        let channel = connection.open_channel().await.unwrap();
        channel.write.request(Request::Shell).await.unwrap();
        let mut heard = Vec::new();
        loop {
            match channel.download.pop().await.unwrap() {
                Event::Data { bytes, .. } => heard.extend_from_slice(&bytes),
                Event::ExitStatus(status) => assert_eq!(status, 7),
                Event::Close => break,
                _ => {}
            }
        }
        assert_eq!(heard, b"hello");
        pool.give_back(connection);
    }
    assert_eq!(house.seen.log_ins.load(Ordering::SeqCst), 1);
    let (one, two) = (pool.take().await.unwrap(), pool.take().await.unwrap());
    assert_eq!(house.seen.log_ins.load(Ordering::SeqCst), 2, "two at the same time are two connections");
    drop((one, two));
    pool.close().await;
}

#[tokio::test]
async fn a_cut_ends_every_connection_and_no_new_one_comes_after_it() {
    let house = House::new();
    let (pool, _leased) = pool(&house.open().await, plan(house.pin())).await;
    let connection = pool.take().await.unwrap();
    let channel = connection.open_channel().await.unwrap();
    pool.legs().cut();
    tokio::time::timeout(Duration::from_secs(5), channel.download.finished()).await.unwrap().unwrap();
    assert!(channel.valve.is_cut());
    assert!(matches!(connection.open_channel().await.unwrap_err(), TargetFault::Cut { .. }));
    assert!(matches!(pool.take().await.unwrap_err(), TargetFault::Cut { .. }));
    pool.give_back(connection);
    assert!(matches!(pool.take().await.unwrap_err(), TargetFault::Cut { .. }));
}

#[tokio::test]
async fn a_cut_while_the_gate_logs_in_is_told_as_the_cut_and_not_as_the_targets_fault() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (pool, _leased) = pool(&silent.local_addr().unwrap().to_string(), plan(House::new().pin())).await;
    let cut = async {
        let reached = silent.accept().await.unwrap();
        pool.legs().cut();
        reached
    };
    let (warmed, _reached) = tokio::join!(pool.warm(), cut);
    assert!(matches!(warmed.unwrap_err(), TargetFault::Cut { .. }));
}

#[tokio::test]
async fn once_the_lease_is_given_back_no_connection_is_made_or_handed_out() {
    let house = House::new();
    let (pool, leased) = pool(&house.open().await, plan(house.pin())).await;
    pool.warm().await.unwrap();
    let Leased { lease, stage } = leased;
    stage.desk.end(Arc::into_inner(lease).unwrap(), Ending::Left, None).await;
    assert!(matches!(pool.take().await.unwrap_err(), TargetFault::Cut { .. }), "the idle one");
    assert!(matches!(pool.take().await.unwrap_err(), TargetFault::Cut { .. }), "a new one");
    assert_eq!(house.seen.log_ins.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_target_that_is_down_is_said_to_be() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let fault = fault(&free, plan(House::new().pin())).await;
    assert!(matches!(fault, TargetFault::Dial(DialFault::Unreachable { .. })), "{fault}");
}

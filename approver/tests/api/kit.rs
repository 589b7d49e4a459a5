//! A plant with both faces served over TLS on port 0, and a client that signs in and proves each request as the commands do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use approver::api::types::{Challenge, ProblemBody, SignedIn};
use approver::api::{ApiParts, Limits, once, plant_face, proof, serve, vendor_face};
use approver::memory::Headroom;
use approver::testing::{Actor, PLANT, Props, Stage, enrol, person};
use certs::proof::Face;
use certs::sshsig::{Namespace, login_message, sign_with};
use certs::tls::client_config;
use certs::token::request_message;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use policies::actions::Action;
use policies::digest::Digest;
use policies::events::Ending;
use policies::ids::SessionId;
use policies::people::Kind;
use policies::time::Seconds;
use recordings::disk::RealMachine;
use recordings::keys::Recipients;
use recordings::log::Log;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ssh_key::PrivateKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::sync::{CancellationToken, DropGuard};

const NAME: &str = "gate.mill3.example";

/// A stage with both faces open, and an auditor beside its people.
pub struct House {
    pub stage: Stage,
    pub auditor: Actor,
    pub plant: Door,
    pub vendor: Door,
    parts: ApiParts,
    ticks: AtomicI64,
    stop: CancellationToken,
    _stop: DropGuard,
}

/// One face as a client reaches it.
pub struct Door {
    pub address: SocketAddr,
    pub origin: String,
    /// What it calls this run of itself.
    pub start: String,
    tls: Arc<ClientConfig>,
}

/// Somebody who signed in.
pub struct Session {
    pub signed_in: SignedIn,
    pub key: PrivateKey,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub media: String,
    pub bytes: Bytes,
}

impl Answer {
    pub fn json<T: DeserializeOwned>(&self) -> T {
        assert!(self.status < 300, "{} {}", self.status, self.text());
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn refusal(&self) -> String {
        assert_eq!(self.media, "application/problem+json", "{} {}", self.status, self.text());
        let problem: ProblemBody = serde_json::from_slice(&self.bytes).unwrap();
        assert_eq!(problem.status, self.status);
        assert_eq!(problem.kind, format!("urn:holdpoint:{}", problem.refusal));
        problem.refusal
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl House {
    pub async fn new() -> Self {
        Self::on(Props::new(), |_| {}, limits()).await
    }

    pub async fn on(props: Props, change: impl Fn(&mut ApiParts), limits: Limits) -> Self {
        Self::with_plant(props, PLANT, change, limits).await
    }

    pub async fn with_plant(props: Props, plant: &str, change: impl Fn(&mut ApiParts), limits: Limits) -> Self {
        let stage = Stage::on(props, plant).await;
        let invited = stage.people.invite(person("audrey", Kind::Auditor, &[]), Seconds(600), stage.admin.person).await;
        let auditor = enrol(&stage.people, &invited.unwrap().code).await;
        let keys = &stage.props.keys;
        let mut parts = ApiParts {
            desk: stage.desk.clone(),
            people: stage.people.clone(),
            token_key: keys.token_key(),
            ssh_ca: keys.ssh_ca(),
            tls_ca: keys.tls_ca(),
            secrets: keys.secrets(),
            seal_word: keys.seal_word().to_owned(),
            vendor_origin: "https://gate.mill3.example".into(),
            plant_origin: "https://holdpoint.mill3.local".into(),
            gate: approver::gate::Gate { name: "gate.mill3.example".into(), port: 2222 },
            tcp_port: Some(8443),
            carrier: None,
            sittings: None,
            logs: vec![keys.log_key().verifier("mill-3/journal").unwrap()],
            recorder: None,
            witnesses: approver::witnesses::Witnesses::new(Vec::new(), Vec::new()).unwrap(),
            deposits: None,
            recipient_names: watch::channel([].into()).1,
            settings: watch::channel(Vec::new()).1,
            records_dir: None,
            files: None,
            feed: None,
            alarms: approver::alarms::Alarms::default(),
            certificates: approver::certificates::Certificates::default(),
            providers: approver::oidc::Providers::default(),
            traces: None,
        };
        change(&mut parts);
        let stop = CancellationToken::new();
        let plant = Door::open(Face::Plant, &parts, limits, &stop).await;
        let vendor = Door::open(Face::Vendor, &parts, limits, &stop).await;
        Self { stage, auditor, plant, vendor, parts, ticks: AtomicI64::new(0), _stop: stop.clone().drop_guard(), stop }
    }

    /// The same face as a program that was started anew has it, or another node.
    pub async fn another_run(&self, face: Face) -> Door {
        Door::open(face, &self.parts, limits(), &self.stop).await
    }

    pub fn door(&self, face: Face) -> &Door {
        if face == Face::Plant { &self.plant } else { &self.vendor }
    }

    /// By the client's clock, which never says the same twice.
    pub fn at(&self) -> Timestamp {
        let tick = self.ticks.fetch_add(1, Ordering::SeqCst);
        self.stage.desk.clock().wall() + SignedDuration::from_nanos(tick)
    }

    pub async fn challenge(&self, face: Face, name: &str) -> Challenge {
        self.send(face, "POST", "/api/v1/sign-in/challenge", None, Some(json!({ "name": name }))).await.json()
    }

    /// A body for signing in with the next code of the app: half a minute passes.
    pub async fn login(&self, face: Face, actor: &Actor) -> Value {
        self.stage.pass(Duration::from_secs(30));
        let challenge = self.challenge(face, &actor.name).await;
        let nonce: [u8; 32] = data_encoding::HEXLOWER.decode(challenge.nonce.as_bytes()).unwrap().try_into().unwrap();
        assert_eq!(challenge.origin, self.door(face).origin);
        let message = login_message(&self.door(face).origin, &nonce);
        json!({
            "name": actor.name,
            "nonce": challenge.nonce,
            "public_key": actor.key.public_key().to_openssh().unwrap(),
            "signature": sign_with(&actor.key, Namespace::Login, &message).unwrap(),
            "code": *actor.totp.code_at(self.stage.desk.clock().wall()),
        })
    }

    pub async fn sign_in(&self, face: Face, actor: &Actor) -> Session {
        let body = self.login(face, actor).await;
        let signed_in = self.send(face, "POST", "/api/v1/sign-in", None, Some(body)).await.json();
        Session { signed_in, key: actor.key.clone() }
    }

    /// A sensor or display that enrolled.
    pub async fn unattended(&self, name: &str, kind: Kind) -> Actor {
        let invited = self.stage.people.invite(person(name, kind, &[]), Seconds(600), self.stage.admin.person);
        enrol(&self.stage.people, &invited.await.unwrap().code).await
    }

    /// As sensors and displays do, and nobody else can.
    pub async fn sign_in_by_key_alone(&self, actor: &Actor) -> Session {
        let signed_in = self.try_key_alone(actor).await.json();
        Session { signed_in, key: actor.key.clone() }
    }

    pub async fn try_key_alone(&self, actor: &Actor) -> Answer {
        let mut body = self.login(Face::Plant, actor).await;
        body["code"] = "".into();
        self.send(Face::Plant, "POST", "/api/v1/sign-in", None, Some(body)).await
    }

    /// Of a request on the plant face.
    pub fn proof(&self, session: &Session, method: &str, path: &str, body: &[u8]) -> String {
        self.proof_on(Face::Plant, session, method, path, body)
    }

    fn proof_on(&self, face: Face, session: &Session, method: &str, path: &str, body: &[u8]) -> String {
        let (at, start) = (self.at(), &*self.door(face).start);
        let id = proof::token_id(&session.signed_in.token).unwrap();
        assert_eq!(id, session.signed_in.token_id);
        let message = request_message(method, path, Digest::of_bytes(body), &id, at, start);
        proof::value(at, start, &sign_with(&session.key, Namespace::Request, &message).unwrap())
    }

    pub async fn send(
        &self,
        face: Face,
        method: &str,
        path: &str,
        who: Option<&Session>,
        body: Option<Value>,
    ) -> Answer {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let proof = who.map(|who| self.proof_on(face, who, method, path, body.as_bytes()));
        let response = self.door(face).call(method, path, who.map(|who| &*who.signed_in.token), proof, body).await;
        answer(response).await
    }

    pub async fn get(&self, path: &str, who: &Session) -> Answer {
        self.send(self.face_of(who), "GET", path, Some(who), None).await
    }

    pub async fn post(&self, path: &str, who: &Session, body: Value) -> Answer {
        self.send(self.face_of(who), "POST", path, Some(who), Some(body)).await
    }

    /// The same, with an `Idempotency-Key`.
    pub async fn post_once(&self, path: &str, who: &Session, body: Value, key: &str) -> Answer {
        let (face, body) = (self.face_of(who), body.to_string());
        let proof = self.proof_on(face, who, "POST", path, body.as_bytes());
        let token = Some(&*who.signed_in.token);
        answer(self.door(face).call_with(&[(once::HEADER, key)], "POST", path, token, Some(proof), body).await).await
    }

    fn face_of(&self, who: &Session) -> Face {
        let person = who.signed_in.person;
        let is_technician = self.stage.desk.with_state(|state| {
            state.people.get(&person).is_some_and(|person| matches!(person.kind, Kind::Technician { .. }))
        });
        if is_technician { Face::Vendor } else { Face::Plant }
    }
}

/// Wide enough for a test that tries every door.
pub fn limits() -> Limits {
    Limits { burst: 100_000, ..Limits::default() }
}

impl Door {
    async fn open(face: Face, parts: &ApiParts, limits: Limits, stop: &CancellationToken) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = parts.tls_ca.server(&[NAME.to_owned()], None, Timestamp::now()).unwrap();
        let (_, config) = watch::channel(server.config);
        let (router, origin) = match face {
            Face::Plant => (plant_face(parts.clone()), parts.plant_origin.clone()),
            Face::Vendor => (vendor_face(parts.clone()), parts.vendor_origin.clone()),
        };
        tokio::spawn(serve(listener, config, router, (limits, Headroom::always()), stop.clone()));
        let tls = client_config(&parts.tls_ca.authorities_pem()).unwrap();
        let mut door = Self { address, origin, start: String::new(), tls };
        let answer = door.call("GET", "/healthz", None, None, "").await;
        door.start = answer.headers()[proof::START].to_str().unwrap().to_owned();
        door
    }

    /// What is answered to this until the connection is closed, for half a minute at most.
    pub async fn says(&self, request: &str) -> String {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let mut stream = TlsConnector::from(self.tls.clone()).connect(name, socket).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        drop(tokio::time::timeout(Duration::from_secs(30), reading).await.expect("it is closed"));
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// One request on a connection of its own.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        proof: Option<String>,
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        self.call_with(&[], method, path, token, proof, body).await
    }

    pub async fn call_with(
        &self,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        token: Option<&str>,
        proof: Option<String>,
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let stream = TlsConnector::from(self.tls.clone()).connect(name, socket).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", NAME);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(proof) = proof {
            request = request.header(proof::HEADER, proof);
        }
        let body: Bytes = body.into();
        if !body.is_empty() {
            let is_form = headers.iter().any(|(name, _)| *name == "content-type");
            request = if is_form { request } else { request.header("content-type", "application/json") };
        }
        sender.send_request(request.body(Full::new(body)).unwrap()).await.unwrap()
    }
}

pub async fn answer(response: Response<Incoming>) -> Answer {
    let status = response.status().as_u16();
    let media = response.headers().get("content-type").map(|media| media.to_str().unwrap().to_owned());
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    Answer { status, media: media.unwrap_or_default(), bytes }
}

/// A record log in a folder.
pub fn record_log(folder: &std::path::Path) -> Log {
    use recordings::disk::RealDisk;
    use recordings::log::{LogOptions, Purpose};
    let mut options = LogOptions::new(Purpose::Records, "mill-3/records/node-1", approver::testing::node());
    options.segment_bytes = 64 << 10;
    options.spares = 1;
    options.file_systems_allowed = ["overlayfs", "tmpfs", "btrfs", "zfs"].map(String::from).to_vec();
    let signer = Arc::new(recordings::sim::SimSigner::new(2));
    Log::open(Arc::new(RealDisk), Arc::new(RealMachine), folder, options, signer).unwrap().0
}

/// A session of the technician's at `hmi-2` that was recorded, and that they left.
pub async fn recorded(stage: &Stage, log: &Log) -> SessionId {
    stage.grant("hmi-2", &[Action::Shell]).await;
    let auditors = [(); 2].map(|()| age::x25519::Identity::generate().to_public().to_string());
    let recipients = Recipients::parse(auditors.iter().map(String::as_str)).unwrap();
    let lease = stage.admit("hmi-2").await.unwrap();
    let session = lease.session();
    let recorder = approver::recorder::Recorder::open(&lease, log, &recipients, &RealMachine, "1").await.unwrap();
    let sealed = recorder.seal(&Ending::Left, Vec::new()).await.unwrap();
    stage.desk.end(lease, Ending::Left, Some(sealed.digest)).await;
    session
}

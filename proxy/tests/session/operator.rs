//! An operator who cuts by the real HTTP API, served over TLS on a thread of its own as the program serves the plant face.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use approver::api::types::{Challenge, CutMade, SignedIn};
use approver::api::{ApiParts, Limits, plant_face, proof, serve};
use approver::memory::Headroom;
use approver::testing::Stage;
use certs::sshsig::{Namespace, login_message, sign_with};
use certs::tls::client_config;
use certs::token::request_message;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use policies::digest::Digest;
use russh::keys::PrivateKey;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::sync::{CancellationToken, DropGuard};

const NAME: &str = "holdpoint.mill3.example";
const ORIGIN: &str = "https://holdpoint.mill3.example";

/// The lead, signed in, with a connection open.
pub(crate) struct ControlRoom {
    connection: SendRequest<Full<Bytes>>,
    key: PrivateKey,
    signed_in: SignedIn,
    start: String,
    at: Timestamp,
    _stop: DropGuard,
}

struct Face {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl ControlRoom {
    pub(crate) async fn open(stage: &Stage) -> Self {
        let stop = CancellationToken::new();
        let face = Face::open(stage, stop.clone()).await;
        let lead = &stage.lead;
        // A code that was not used yet.
        stage.pass(Duration::from_secs(30));
        let wanted = json!({ "name": lead.name }).to_string();
        let mut connection = face.connect().await;
        let challenge: Challenge = post(&mut connection, "/api/v1/sign-in/challenge", &wanted, None).await;
        let nonce = data_encoding::HEXLOWER.decode(challenge.nonce.as_bytes()).unwrap().try_into().unwrap();
        let form = json!({
            "name": lead.name,
            "nonce": challenge.nonce,
            "public_key": lead.key.public_key().to_openssh().unwrap(),
            "signature": sign_with(&lead.key, Namespace::Login, &login_message(ORIGIN, &nonce)).unwrap(),
            "code": *lead.totp.code_at(stage.desk.clock().wall()),
        });
        let signed_in = post(&mut connection, "/api/v1/sign-in", &form.to_string(), None).await;
        let start = start_of(&mut connection).await;
        let at = stage.desk.clock().wall();
        Self { connection, key: lead.key.clone(), signed_in, start, at, _stop: stop.drop_guard() }
    }

    /// Cuts the whole plant, and says when that was asked for.
    pub(crate) async fn cut_the_plant(&mut self) -> (Instant, CutMade) {
        const PATH: &str = "/api/v1/cuts";
        let body = json!({ "scope": "plant" }).to_string();
        let digest = Digest::of_bytes(body.as_bytes());
        let message = request_message("POST", PATH, digest, &self.signed_in.token_id, self.at, &self.start);
        let proof = proof::value(self.at, &self.start, &sign_with(&self.key, Namespace::Request, &message).unwrap());
        let begun = Instant::now();
        (begun, post(&mut self.connection, PATH, &body, Some((&self.signed_in.token, proof))).await)
    }
}

impl Face {
    async fn open(stage: &Stage, stop: CancellationToken) -> Self {
        let keys = &stage.props.keys;
        let parts = ApiParts {
            desk: stage.desk.clone(),
            people: stage.people.clone(),
            token_key: keys.token_key(),
            ssh_ca: keys.ssh_ca(),
            tls_ca: keys.tls_ca(),
            secrets: keys.secrets(),
            seal_word: keys.seal_word().to_owned(),
            vendor_origin: "https://gate.mill3.example".into(),
            plant_origin: ORIGIN.into(),
            gate: approver::gate::Gate { name: "gate.mill3.example".into(), port: 2222 },
            tcp_port: None,
            carrier: None,
            sittings: None,
            logs: vec![keys.log_key().verifier("mill-3/journal").unwrap()],
            recorder: None,
            witnesses: approver::witnesses::Witnesses::new(Vec::new(), Vec::new()).unwrap(),
            deposits: None,
            recipient_names: tokio::sync::watch::channel([].into()).1,
            settings: tokio::sync::watch::channel(Vec::new()).1,
            records_dir: None,
            files: None,
            feed: None,
            alarms: approver::alarms::Alarms::default(),
            certificates: approver::certificates::Certificates::default(),
            providers: approver::oidc::Providers::default(),
            traces: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = parts.tls_ca.server(&[NAME.to_owned()], None, Timestamp::now()).unwrap();
        let tls = client_config(&parts.tls_ca.authorities_pem()).unwrap();
        let listener = listener.into_std().unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (_current, config) = watch::channel(server.config);
                let listener = TcpListener::from_std(listener).unwrap();
                serve(listener, config, plant_face(parts), (Limits::default(), Headroom::always()), stop)
                    .await
                    .unwrap();
            });
        });
        Self { address, tls }
    }

    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let stream = TlsConnector::from(self.tls.clone()).connect(name, socket).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

/// What the face calls this run of itself.
async fn start_of(connection: &mut SendRequest<Full<Bytes>>) -> String {
    connection.ready().await.unwrap();
    let request = Request::get("/healthz").header("host", NAME).body(Full::default()).unwrap();
    let response = connection.send_request(request).await.unwrap();
    let start = response.headers()[proof::START].to_str().unwrap().to_owned();
    response.into_body().collect().await.unwrap();
    start
}

async fn post<T: DeserializeOwned>(
    connection: &mut SendRequest<Full<Bytes>>,
    path: &str,
    body: &str,
    who: Option<(&String, String)>,
) -> T {
    let mut request = Request::post(path).header("host", NAME).header("content-type", "application/json");
    if let Some((token, proof)) = who {
        request = request.header("authorization", format!("Bearer {token}")).header(proof::HEADER, proof);
    }
    connection.ready().await.unwrap();
    let response = connection.send_request(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await;
    let bytes = response.unwrap().into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    serde_json::from_value(answer.clone()).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

//! HTTPS to one face: TLS 1.3 with the one CA that is trusted, HTTP/1.1, a connection per request, and a limit on every
//! wait. What is sent, and what an answer means, is known above.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use approver::api::{once, proof};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

use super::Fault;
use super::way::{Proxy, Way};
use crate::config::Origin;

/// Within a plant; a vendor's satellite link takes a second.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// The gate answers a refused sign-in after a second, and gives up on its own journal after a few.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// One face, as it is reached. Cheap to clone.
#[derive(Clone)]
pub(super) struct Wire {
    tls: Arc<ClientConfig>,
    origin: String,
    way: Way,
    port: u16,
    known_by: &'static str,
    next: &'static str,
    connections: TaskTracker,
    /// What the gate calls its present run, as far as its last answer said.
    start: Arc<Mutex<String>>,
    /// The certificate that the gate showed last.
    shown: Arc<Mutex<Option<CertificateDer<'static>>>>,
}

/// One request.
pub(super) struct Outgoing<'a> {
    pub(super) method: &'static str,
    /// With its query.
    pub(super) path: &'a str,
    /// Token, and proof for this very request.
    pub(super) credentials: Option<(&'a str, String)>,
    /// Names a write that may be sent twice.
    pub(super) once: Option<&'a str>,
    /// JSON, or nothing.
    pub(super) body: Vec<u8>,
    /// The connection is to become a WebSocket, with this key (RFC 6455, 4.1).
    pub(super) upgrade: Option<String>,
}

impl Wire {
    pub(super) fn new(
        tls: Arc<ClientConfig>,
        origin: &Origin,
        address: Option<SocketAddr>,
        known_by: &'static str,
    ) -> Self {
        let way = Way { host: origin.host().to_owned(), address: address.map(|address| address.ip()), proxy: None };
        let port = address.map_or(origin.port(), |address| address.port());
        Self {
            tls,
            origin: origin.to_string(),
            way,
            port,
            known_by,
            next: "Ask the plant",
            connections: TaskTracker::new(),
            start: Arc::new(Mutex::new(proof::UNKNOWN_START.to_owned())),
            shown: Arc::default(),
        }
    }

    pub(super) const fn way(&self) -> &Way {
        &self.way
    }

    pub(super) fn go_through(&mut self, proxy: Option<Proxy>) {
        self.way.proxy = proxy;
    }

    /// From now on by these settings.
    pub(super) fn trust(&mut self, tls: Arc<ClientConfig>) {
        self.tls = tls;
    }

    pub(super) const fn when_not_the_gate(&mut self, next: &'static str) {
        self.next = next;
    }

    /// Goes on with something until it ends by itself.
    pub(super) fn go_on(&self, with: impl Future<Output = ()> + Send + 'static) {
        self.connections.spawn(with);
    }

    /// What the gate calls its present run, which each proof is for.
    pub(super) fn start(&self) -> String {
        self.start.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The gate calls its present run so.
    pub(super) fn note_start(&self, start: &str) {
        start.clone_into(&mut self.start.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What the gate showed of itself when it was last reached.
    pub(super) fn shown(&self) -> Option<CertificateDer<'static>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note_shown(&self, stream: &TlsStream<TcpStream>) {
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    /// Sends a request; gives the head of its answer.
    pub(super) async fn send(&self, outgoing: Outgoing<'_>) -> Result<Response<Incoming>, Fault> {
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|cause| self.unreachable(in_full(&cause)))?;
        // Its end is told by the request or the body, whichever it cuts short.
        self.connections.spawn(async move { drop(connection.with_upgrades().await) });
        let request = self.request(outgoing)?;
        let answer = tokio::time::timeout(ANSWER_WAIT, sender.send_request(request)).await;
        let lost = |cause: String| Fault::Lost { origin: self.origin.clone(), cause };
        let answer = answer.map_err(|_| lost("no answer in half a minute".to_owned()))?;
        let answer = answer.map_err(|cause| lost(in_full(&cause)))?;
        if let Some(start) = answer.headers().get(proof::START).and_then(|start| start.to_str().ok()) {
            self.note_start(start);
        }
        Ok(answer)
    }

    fn request(&self, outgoing: Outgoing<'_>) -> Result<Request<Full<Bytes>>, Fault> {
        let Outgoing { method, path, credentials, once, body, upgrade } = outgoing;
        let host = self.origin.trim_start_matches("https://");
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
        if let Some((token, value)) = credentials {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}")).header(proof::HEADER, value);
        }
        if let Some(key) = once {
            request = request.header(once::HEADER, key);
        }
        if let Some(key) = upgrade {
            request = request
                .header(header::CONNECTION, "Upgrade")
                .header(header::UPGRADE, "websocket")
                .header(header::SEC_WEBSOCKET_VERSION, "13")
                .header(header::SEC_WEBSOCKET_KEY, key);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request.body(Full::new(body.into())).map_err(|cause| Fault::Odd(cause.to_string()))
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, Fault> {
        let connecting = async {
            let socket = self.way.open(self.port).await.map_err(|cause| self.unreachable(cause))?;
            let name = ServerName::try_from(self.way.host.clone()).map_err(|cause| self.unreachable(cause))?;
            TlsConnector::from(Arc::clone(&self.tls)).connect(name, socket).await.map_err(|cause| self.no_tls(&cause))
        };
        let connected = tokio::time::timeout(CONNECT_WAIT, connecting).await;
        let stream = connected.map_err(|_| self.unreachable("no answer in ten seconds"))??;
        self.note_shown(&stream);
        Ok(stream)
    }

    /// A certificate that is not to be trusted is told from a line that is down.
    fn no_tls(&self, cause: &io::Error) -> Fault {
        let tls = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::General(_)) => {
                let (origin, cause) = (self.origin.clone(), cause.to_string());
                Fault::NotTheGate { origin, known_by: self.known_by, cause, next: self.next }
            }
            _ => self.unreachable(cause),
        }
    }

    fn unreachable(&self, cause: impl fmt::Display) -> Fault {
        Fault::Unreachable { origin: self.origin.clone(), cause: cause.to_string() }
    }
}

/// A cause with what lies behind it: hyper's own words alone say little.
fn in_full(cause: &hyper::Error) -> String {
    cause.source().map_or_else(|| cause.to_string(), |source| format!("{cause}: {source}"))
}

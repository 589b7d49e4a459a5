//! The TCP face from the technician's side: a client certificate under one grant, renewed while it lasts, and connections
//! that show it, in a TLS handshake or, where something in between ends TLS, in the request for a WebSocket. Whose local connection is joined to which is the command's business.

use std::sync::Arc;
use std::time::Duration;

use approver::api::proof;
use approver::api::types::{ClientCertificate, ClientCertificateWanted, TcpServiceView};
use certs::tls_client::ClientKey;
use hyper::body::Incoming;
use hyper::{Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use policies::digest::Digest;
use policies::ids::{RequestId, SessionId, TargetName};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::way::Way;
use super::wire::{Outgoing, Wire};
use super::{Client, Fault, ThisStart, json, read_json, taken};
use crate::tls_face::FirstLine;
use crate::websocket::{self, Said};

/// How connections to a service are opened. Cheap to clone.
#[derive(Clone)]
pub struct TcpLine(Line);

#[derive(Clone)]
enum Line {
    /// At the TCP face, by a handshake that shows the certificate.
    Tls { way: Way, port: u16, server_name: String, tls: Arc<ClientConfig> },
    /// As a WebSocket, by a request that shows it.
    WebSocket { wire: Wire, path: String, certificate: String, key: Arc<ClientKey> },
}

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that the gate carries.
pub struct Carried {
    /// Bytes both ways.
    pub stream: Box<dyn Stream>,
    /// In which session.
    pub session: SessionId,
    /// Why the gate closes it.
    pub why: Why,
}

/// Why the gate closes a connection, where it says so beside the bytes: within a WebSocket.
pub struct Why(oneshot::Receiver<Option<String>>);

impl Why {
    /// What it said, once the stream was dropped; within two seconds.
    pub async fn said(self) -> Option<String> {
        self.0.await.ok().flatten()
    }
}

/// Why a connection was not carried.
#[derive(Debug, thiserror::Error)]
pub enum NotCarried {
    /// The gate's own words.
    #[error("{0}")]
    Refused(String),
    /// No gate, or none that is ours.
    #[error("the gate cannot be reached: {0}")]
    Unreachable(String),
}

/// From connecting to the gate's first line: a target is connected to in the meantime.
const CARRIED_WITHIN: Duration = Duration::from_secs(30);

impl Client {
    /// The first client certificate under a grant, by the sign-in.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn client_certificate(&mut self, grant: RequestId, key: &ClientKey) -> Result<ClientCertificate, Fault> {
        let wanted = ClientCertificateWanted { signing_request: key.signing_request()? };
        let made: ClientCertificate =
            self.post(&format!("/api/v1/requests/{grant}/client-certificate"), &wanted).await?;
        self.take_over(&made.ca_pem, &made.ca_succession_pem)?;
        Ok(made)
    }

    /// The next one by the one that lasts; nobody has to be signed in any longer.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn renewed(&mut self, certificate: &str, key: &ClientKey) -> Result<ClientCertificate, Fault> {
        let wanted = json(&ClientCertificateWanted { signing_request: key.signing_request()? });
        let answer = shown(&self.wire, certificate, key, ("POST", "/api/v1/client-certificate"), wanted, None).await?;
        let made: ClientCertificate = read_json(answer).await?;
        self.take_over(&made.ca_pem, &made.ca_succession_pem)?;
        Ok(made)
    }

    /// How a service of this target is reached with a certificate.
    ///
    /// # Errors
    /// The certificate is for another target or not for this key.
    pub fn tcp_line(
        &self,
        target: &TargetName,
        made: &ClientCertificate,
        service: &TcpServiceView,
        key: &Arc<ClientKey>,
    ) -> Result<TcpLine, Fault> {
        if made.grant.target != *target {
            return Err(Fault::Odd(format!("it certifies {}, not {target}", made.grant.target)));
        }
        if self.is_opened {
            let path = format!("/api/v1/tcp/{target}/{}", service.service);
            let (certificate, key) = (made.certificate.clone(), Arc::clone(key));
            return Ok(TcpLine(Line::WebSocket { wire: self.wire.clone(), path, certificate, key }));
        }
        let tls = key.config(&self.ca_pem, &made.certificate)?;
        let (way, port, server_name) = (self.wire.way().clone(), made.face.port, service.server_name.clone());
        Ok(TcpLine(Line::Tls { way, port, server_name, tls }))
    }
}

impl TcpLine {
    /// Opens a connection, and gives it once the gate carries it.
    ///
    /// # Errors
    /// The gate says no, or cannot be reached.
    pub async fn open(&self) -> Result<Carried, NotCarried> {
        let connecting = async {
            match &self.0 {
                Line::Tls { way, port, server_name, tls } => by_tls(way, *port, server_name, tls).await,
                Line::WebSocket { wire, path, certificate, key } => by_websocket(wire, path, certificate, key).await,
            }
        };
        timeout(CARRIED_WITHIN, connecting)
            .await
            .map_err(|_| NotCarried::Unreachable("no answer in half a minute".into()))?
    }
}

fn unreachable(cause: impl std::fmt::Display) -> NotCarried {
    NotCarried::Unreachable(cause.to_string())
}

fn not_understood(cause: impl std::fmt::Display) -> NotCarried {
    unreachable(format_args!("its answer cannot be understood ({cause})"))
}

async fn by_tls(way: &Way, port: u16, server_name: &str, tls: &Arc<ClientConfig>) -> Result<Carried, NotCarried> {
    let socket = way.open(port).await.map_err(unreachable)?;
    let name = ServerName::try_from(server_name.to_owned()).map_err(unreachable)?;
    let mut stream = TlsConnector::from(Arc::clone(tls)).connect(name, socket).await.map_err(unreachable)?;
    let line = first_line(&mut stream).await.map_err(unreachable)?;
    match serde_json::from_slice(&line) {
        Ok(FirstLine::Carried { session }) => {
            let (_, why) = oneshot::channel();
            Ok(Carried { stream: Box::new(stream), session, why: Why(why) })
        }
        Ok(FirstLine::Refused { words }) => Err(NotCarried::Refused(words)),
        Err(cause) => Err(not_understood(cause)),
    }
}

/// A request that shows a certificate, signed by its key, up to the head of its answer.
async fn shown(
    wire: &Wire,
    certificate: &str,
    key: &ClientKey,
    (method, path): (&'static str, &str),
    body: Vec<u8>,
    upgrade: Option<String>,
) -> Result<Response<Incoming>, Fault> {
    let mut start = ThisStart::of(wire);
    loop {
        let at = Timestamp::now();
        let shown = key.show(certificate, (method, path, Digest::of_bytes(&body)), at, &start.start)?;
        let credentials = Some((shown.token.as_str(), proof::value(at, &start.start, &shown.signature)));
        let (body, upgrade) = (body.clone(), upgrade.clone());
        let answer = wire.send(Outgoing { method, path, credentials, once: None, body, upgrade }).await?;
        let answered = match answer.status() {
            StatusCode::SWITCHING_PROTOCOLS => Ok(answer),
            _ => taken(answer).await,
        };
        if !start.was_another(&answered) {
            return answered;
        }
    }
}

async fn by_websocket(wire: &Wire, path: &str, certificate: &str, key: &ClientKey) -> Result<Carried, NotCarried> {
    let nonce = generate_key();
    let asked = shown(wire, certificate, key, ("GET", path), Vec::new(), Some(nonce.clone())).await;
    let answer = asked.map_err(|fault| match fault {
        Fault::Unreachable { cause, .. } | Fault::Lost { cause, .. } => unreachable(cause),
        Fault::Problem(problem) if problem.refusal == "websocket" => {
            NotCarried::Refused(format!("what opens TLS in between does not pass WebSocket on. {}", problem.detail))
        }
        Fault::Problem(problem) => NotCarried::Refused(problem.detail),
        other => unreachable(other),
    })?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(not_understood("it is no WebSocket"));
    }
    let accepted = answer.headers().get(header::SEC_WEBSOCKET_ACCEPT);
    if accepted.is_none_or(|accepted| accepted != derive_accept_key(nonce.as_bytes()).as_str()) {
        return Err(not_understood("it accepts another WebSocket"));
    }
    let upgraded = hyper::upgrade::on(answer).await.map_err(unreachable)?;
    let mut socket = websocket::open(TokioIo::new(upgraded), Role::Client).await;
    match websocket::heard(&mut socket).await.map_err(not_understood)? {
        Said::Carried { session } => {
            let (stream, carrying) = websocket::pipe(socket);
            let (tell, why) = oneshot::channel();
            wire.go_on(async { drop(tell.send(carrying.run(|| None).await)) });
            Ok(Carried { stream: Box::new(stream), session, why: Why(why) })
        }
        Said::Finished | Said::Closing { .. } => Err(not_understood("it ends before it begins")),
    }
}

impl std::fmt::Debug for TcpLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Line::Tls { server_name, .. } => write!(f, "TcpLine({server_name})"),
            Line::WebSocket { path, .. } => write!(f, "TcpLine({path})"),
        }
    }
}

/// Up to the end of the line, and not a byte further.
async fn first_line(stream: &mut TlsStream<TcpStream>) -> std::io::Result<Vec<u8>> {
    const LINE_BYTES_MAX: usize = 16 << 10;
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return Ok(line),
            _ if line.len() >= LINE_BYTES_MAX => return Err(std::io::Error::other("its first line does not end")),
            byte => line.push(byte),
        }
    }
}

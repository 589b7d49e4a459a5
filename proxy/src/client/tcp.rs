//! The TCP face from the technician's side: a client certificate under one grant, renewed while it lasts, and connections
//! that show it. Whose local connection is joined to which is the command's business.

use std::sync::Arc;
use std::time::Duration;

use approver::api::types::{ClientCertificate, ClientCertificateRenewal, ClientCertificateWanted};
use certs::tls_client::ClientKey;
use policies::ids::{RequestId, SessionId};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::way::Way;
use super::{Client, Fault};
use crate::tls_face::FirstLine;

/// A connection to the TCP face, and what it needs. Cheap to clone.
#[derive(Clone)]
pub struct TcpLine {
    way: Way,
    port: u16,
    server_name: String,
    tls: Arc<ClientConfig>,
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
        self.post(&format!("/api/v1/requests/{grant}/client-certificate"), &wanted).await
    }

    /// The next one by the one that lasts; nobody has to be signed in any longer.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn renewed(&self, certificate: &str, key: &ClientKey) -> Result<ClientCertificate, Fault> {
        let wanted =
            ClientCertificateRenewal { certificate: certificate.to_owned(), signing_request: key.signing_request()? };
        self.open_door("POST", "/api/v1/client-certificate", Some(&wanted)).await
    }

    /// How a service is reached with a certificate.
    ///
    /// # Errors
    /// The certificate is not for this key, or the CA cannot be read.
    pub fn tcp_line(&self, made: &ClientCertificate, server_name: &str, key: &ClientKey) -> Result<TcpLine, Fault> {
        let tls = key.config(&self.profile.read_ca()?, &made.certificate)?;
        Ok(TcpLine { way: self.wire.way().clone(), port: made.face.port, server_name: server_name.to_owned(), tls })
    }
}

impl TcpLine {
    /// Opens a connection, and gives it once the gate carries it.
    ///
    /// # Errors
    /// The gate says no, or cannot be reached.
    pub async fn open(&self) -> Result<(TlsStream<TcpStream>, SessionId), NotCarried> {
        timeout(CARRIED_WITHIN, self.connect())
            .await
            .map_err(|_| NotCarried::Unreachable("no answer in half a minute".into()))?
    }

    async fn connect(&self) -> Result<(TlsStream<TcpStream>, SessionId), NotCarried> {
        let unreachable = |cause: &dyn std::fmt::Display| NotCarried::Unreachable(cause.to_string());
        let socket = self.way.open(self.port).await.map_err(|cause| unreachable(&cause))?;
        let name = ServerName::try_from(self.server_name.clone()).map_err(|cause| unreachable(&cause))?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let mut stream = connector.connect(name, socket).await.map_err(|cause| unreachable(&cause))?;
        let line = first_line(&mut stream).await.map_err(|cause| unreachable(&cause))?;
        match serde_json::from_slice(&line) {
            Ok(FirstLine::Carried { session }) => Ok((stream, session)),
            Ok(FirstLine::Refused { words }) => Err(NotCarried::Refused(words)),
            Err(cause) => Err(unreachable(&format_args!("its answer cannot be understood ({cause})"))),
        }
    }
}

impl std::fmt::Debug for TcpLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TcpLine({})", self.server_name)
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

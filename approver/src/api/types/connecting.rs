//! Certificates that stand for a login: of SSH, and of the TCP face under a grant.

use std::net::IpAddr;

use jiff::Timestamp;
use policies::ids::ServiceName;
use policies::plant::Protocol;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{OwnRequest, SessionView, SignedIn};

/// A short-lived SSH certificate that stands for both factors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateAnswer {
    /// To be written beside the key as `…-cert.pub`.
    pub certificate: String,
    /// Void from then on.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// By which name the gate is reached by SSH.
    pub ssh_host: String,
    /// At which port.
    pub ssh_port: u16,
    /// The only address it is good from.
    #[schema(value_type = String)]
    pub source: IpAddr,
    /// The same login serves the API too: a code works once.
    pub signed_in: SignedIn,
    /// While the gate's SSH CA is renewed, the lines that `known_hosts` is to have.
    #[serde(default)]
    pub known_hosts: Option<String>,
}

/// Asks for a client certificate of the TCP face, under a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificateWanted {
    /// A certificate signing request (RFC 2986) in PEM, for a key on P-256 that was made where it is used. Nothing of it
    /// counts but the key.
    pub signing_request: String,
}

/// A client certificate of the TCP face, and what it opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClientCertificate {
    /// In PEM.
    pub certificate: String,
    /// The gate's CAs from now on: several while one is renewed.
    #[serde(default)]
    pub ca_pem: String,
    /// As in a sign-in.
    #[serde(default)]
    pub ca_succession_pem: String,
    /// Void from then on, for new connections: a quarter of an hour at most.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// The only address it is good from.
    #[schema(value_type = String)]
    pub source: IpAddr,
    /// Where it is shown.
    pub face: TcpFaceView,
    /// The one grant that it opens connections under, as it stands.
    pub grant: OwnRequest,
    /// Sessions under it, newest first, ten at most.
    pub sessions: Vec<SessionView>,
    /// When the gate restarts, where it lets nobody in before. What runs goes on until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub restarts: Option<Timestamp>,
}

/// The TCP face, as one grant sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TcpFaceView {
    /// By which name the gate is reached.
    pub host: String,
    /// At which port.
    pub port: u16,
    /// What is carried.
    pub services: Vec<TcpServiceView>,
}

/// A service that the TCP face carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TcpServiceView {
    /// Its name.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// What it speaks.
    #[schema(value_type = String)]
    pub protocol: Protocol,
    /// The name to ask for in TLS (RFC 6066, 3).
    pub server_name: String,
}

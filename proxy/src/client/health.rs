//! Whether a gate is well, asked by whatever looks after programs on the gate's own machine. Anybody may ask that, so nobody
//! signs in.

use std::net::SocketAddr;

use certs::tls::client_config;
use hyper::StatusCode;

use super::Fault;
use super::wire::{Outgoing, Wire};
use crate::config::Origin;

/// Whether the gate of this origin, which listens at this address and has this CA, can let new sessions in.
///
/// # Errors
/// Nobody answers, or somebody else does.
pub async fn is_healthy(origin: &Origin, address: SocketAddr, ca_pem: &str) -> Result<bool, Fault> {
    let wire = Wire::new(client_config(ca_pem)?, origin, Some(address), "configuration");
    let (method, path, body) = ("GET", "/healthz", Vec::new());
    let answer = wire.send(Outgoing { method, path, credentials: None, once: None, body, upgrade: None }).await?;
    match answer.status() {
        StatusCode::OK => Ok(true),
        StatusCode::SERVICE_UNAVAILABLE => Ok(false),
        other => Err(Fault::Odd(other.to_string())),
    }
}

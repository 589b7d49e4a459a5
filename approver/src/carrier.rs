//! A technician's connection to a service that comes as a request of the API: the port through which it reaches what carries
//! connections, in the crate above. Who comes was proved before; whether they may stay is asked there, of the Desk.

use std::net::SocketAddr;
use std::sync::Arc;

use certs::proof::Authenticated;
use futures::future::BoxFuture;
use hyper::upgrade::OnUpgrade;
use policies::ids::{ServiceName, TargetName};

use crate::desk::Rejected;

/// Somebody who asks to be carried.
pub struct Arrival {
    /// What they proved.
    pub who: Arc<Authenticated>,
    /// Where to.
    pub target: TargetName,
    /// Which service.
    pub service: ServiceName,
    /// From where.
    pub from: SocketAddr,
    /// Becomes their connection, once they were answered that they are carried.
    pub upgrade: OnUpgrade,
}

/// Why somebody is not carried.
#[derive(Debug, thiserror::Error)]
pub enum NotCarried {
    /// Refused, or not decided.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// There is no session, for this reason.
    #[error("{0}")]
    NoSession(String),
}

/// What carries connections to services.
pub trait Carrier: Send + Sync {
    /// Lets somebody into a session, and carries their connection once it is one. A refusal is journaled.
    fn carry(&self, arrival: Arrival) -> BoxFuture<'static, Result<(), NotCarried>>;
}

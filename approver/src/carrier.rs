//! A technician's connection to a service that comes as a request of the API: the port through which it reaches what carries
//! connections, in the crate above. Who comes was proved before; whether they may stay is asked there, of the Desk.

use std::net::SocketAddr;
use std::sync::Arc;

use certs::proof::Authenticated;
use futures::future::BoxFuture;
use hyper::upgrade::OnUpgrade;
use policies::ids::{RequestId, ServiceName, TargetName};

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

/// Somebody who opens a terminal on a page of ours.
pub struct Sitting {
    /// What they proved.
    pub who: Arc<Authenticated>,
    /// Under which grant.
    pub grant: RequestId,
    /// Where to.
    pub target: TargetName,
    /// Which service.
    pub service: ServiceName,
    /// From where.
    pub from: SocketAddr,
    /// Completes when they have signed out, or what they proved counts no more.
    pub signed_out: BoxFuture<'static, ()>,
}

/// What joins terminals on pages to targets.
pub trait Terminals: Send + Sync {
    /// Goes on with a connection that was answered as a WebSocket: opens a session and carries the terminal to its end, or says
    /// there why not, which a page can read of no other answer. Returns at once.
    fn open(&self, upgrade: OnUpgrade, sitting: Result<Sitting, String>);
}

//! A technician's connection to a service that comes as a request of the API: the port through which it reaches what carries
//! connections, in the crate above. Who comes was proved before; whether they may stay is asked there, of the Desk.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use certs::proof::Authenticated;
use futures::future::BoxFuture;
use hyper::upgrade::OnUpgrade;
use policies::ids::{PersonId, RequestId, ServiceName, TargetName};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

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

/// What of a target a page of ours shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pane {
    /// A shell on a terminal.
    Terminal,
    /// Its files.
    Files,
    /// Its screen, over VNC.
    Screen,
}

impl Pane {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Terminal, Self::Files, Self::Screen];

    /// As a form names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::Files => "files",
            Self::Screen => "screen",
        }
    }
}

/// Somebody before a page of ours that shows a target.
pub struct Sitting {
    /// What the page shows.
    pub pane: Pane,
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

/// What joins pages to targets.
pub trait Sittings: Send + Sync {
    /// Goes on with a connection that was answered as a WebSocket: opens a session and carries it to its end, or says
    /// there why not, which a page can read of no other answer. Returns at once.
    fn open(&self, upgrade: OnUpgrade, sitting: Result<Sitting, String>);

    /// The file that a page of this person's was given a ticket for. A ticket serves once.
    fn fetched(&self, ticket: &str, by: PersonId) -> Option<Fetched>;
}

/// A file on its way to a browser.
pub struct Fetched {
    /// What it is called.
    pub name: String,
    /// Its bytes, where that is known.
    pub size: Option<u64>,
    /// They come no faster than they are taken. An empty piece says that these were all of them, where
    /// nobody knows how many there are; without it they are not.
    pub body: mpsc::Receiver<io::Result<Bytes>>,
    /// Bytes that the browser's connection took, counted by whoever hands them on.
    pub taken: Arc<AtomicU64>,
    /// Nothing more comes: for the connection of a browser that takes nothing, which is never asked for the next piece.
    pub over: CancellationToken,
}

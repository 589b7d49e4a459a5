//! Sessions: one lease, one recording, one technician's connection, one target, many channels. Opening goes admit,
//! record, dial, carry; ending goes the other way. Who a technician is was settled before; what is carried within a
//! channel is in `ssh::channel`.
//!
//! Nobody makes a session by hand, or of another, so none is without a lease and a recording:
//! ```compile_fail
//! use proxy::session::Session;
//! fn elsewhere(target: policies::ids::TargetName, one: Session) -> Session {
//!     Session { target, ..one }
//! }
//! ```
//! ```
//! use proxy::session::{NotOpened, Session, Sessions, VendorLine, Who};
//! async fn opened(sessions: Sessions, who: Who, ask: approver::lease::Ask, line: VendorLine) -> Result<Session, NotOpened> {
//!     sessions.open(who, ask, line).await
//! }
//! ```

mod channels;
mod credential;
mod ending;
mod gallery;
mod judge;
mod opening;
mod running;
mod screens;
pub mod texts;
mod witness;

use std::fmt;
use std::sync::Arc;

use approver::desk::{Desk, Rejected};
use approver::lease::{Ask, Orders};
use approver::people::People;
use approver::recorder::RecorderFault;
use approver::spans;
use approver::vaulting::Teller;
use certs::proof::Authenticated;
use certs::secrets::Secrets;
use certs::ssh_ca::SshCa;
use policies::events::Ending;
use policies::ids::{SessionId, TargetName};
use recordings::disk::Machine;
use recordings::keys::Recipients;
use recordings::log::Log;
use russh::server::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::floor::{Floor, Live, Telling};
use crate::flow::{Moment, Valve};
use crate::ssh::{self, target::TargetFault};
use crate::tcp::{self, NoSlot};
use crate::uploads::Staging;
use approver::gate::Gate;
pub use credential::CredentialFault;
use texts::Place;
pub(crate) use witness::Seen;

/// What sessions are opened from.
pub struct SessionsParts {
    /// Who admits.
    pub desk: Desk,
    /// Who checks the code that opens a locked terminal.
    pub people: People,
    /// Where they show.
    pub floor: Floor,
    /// Where they are recorded.
    pub records: Arc<Log>,
    /// Who can open the recordings that begin from now on.
    pub recipients: watch::Receiver<Recipients>,
    /// Where the keys of recordings get their chance from.
    pub machine: Arc<dyn Machine>,
    /// Where uploads are kept while they are checked.
    pub staging: Staging,
    /// What opens targets' credentials.
    pub secrets: Secrets,
    /// Who tells it of sessions, where it is a vault.
    pub teller: Option<Teller>,
    /// What certifies the gate at targets.
    pub ca: SshCa,
    /// Who waits for their tasks.
    pub tracker: TaskTracker,
    /// The program stops.
    pub stop: CancellationToken,
}

/// Opens sessions. Cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<SessionsParts>);

/// Who asks for a session. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Who {
    /// The name they signed in by, for the sentences they read.
    pub login: String,
    /// What they proved. Without a key a locked terminal cannot be opened again, and idleness ends the session.
    pub proof: Arc<Authenticated>,
}

/// The technician's connection that a session belongs to.
#[derive(Clone)]
pub struct VendorLine {
    /// How they reach the gate, for the sentences they read.
    pub gate: Gate,
    /// What ends with the session.
    pub hold: Hold,
    /// Whether it is a page's, beside which they ask for more.
    pub is_page: bool,
    /// What its sessions belong to, for whoever looks for what was slow.
    pub place: spans::Place,
}

/// What of a technician's connection ends with a session.
#[derive(Clone)]
pub enum Hold {
    /// All of it.
    Connection {
        /// The SSH session they work in: of `-J` the inner one.
        session: Handle,
        /// The valve of the connection that is closed at the last: of `-J` the inner one's too.
        socket: Arc<Valve>,
    },
    /// The session's channels alone; others may go on, and the face says why these ended.
    Channels {
        /// Where lines for the technician go.
        told: mpsc::Sender<Telling>,
    },
}

/// What a technician opened and the face handed over.
pub enum VendorChannel {
    /// To a target that speaks SSH or telnet: a channel of type `session`, or a terminal on a page.
    Typed(ssh::channel::VendorEnd),
    /// A TCP connection, or a screen on a page, to any other.
    Tcp(tcp::VendorEnd),
}

/// Why there is no session. Each is a sentence for the technician.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// Refused, or not decided.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Nothing can be recorded, so the target saw nothing.
    #[error("{0}. Ask the control room")]
    Recorder(#[from] RecorderFault),
    /// What opens the account at the target is not to be had.
    #[error(transparent)]
    Credential(#[from] CredentialFault),
    /// The target.
    #[error("{0}. Ask the control room if it stays so")]
    Target(TargetFault),
    /// The target takes no further connection.
    #[error(transparent)]
    NoSlot(NoSlot),
    /// It was over before it began.
    #[error("{0}")]
    Over(String),
}

impl NotOpened {
    /// In one word, as a refusal's reason is.
    const fn why(&self) -> &'static str {
        match self {
            Self::Rejected(Rejected::Refusal(refusal)) => refusal.why(),
            Self::Rejected(_) => "fault",
            Self::Recorder(_) => "recorder",
            Self::Credential(_) => "credential",
            Self::Target(_) => "target",
            Self::NoSlot(_) => "no-slot",
            Self::Over(_) => "over",
        }
    }
}

impl From<TargetFault> for NotOpened {
    fn from(fault: TargetFault) -> Self {
        match fault {
            TargetFault::NoSlot(full) => Self::NoSlot(full),
            fault => Self::Target(fault),
        }
    }
}

/// A running session, in the hands of the face that the technician came by. When the last clone is dropped the
/// technician has left.
#[derive(Clone)]
pub struct Session {
    live: Arc<Live>,
    target: TargetName,
    place: Place,
    orders: Orders,
    /// Uploads are checked first.
    checked: bool,
    /// Boxed, because a queue has room for 32 from its beginning.
    channels: mpsc::Sender<Box<VendorChannel>>,
    ended: watch::Receiver<Option<Ending>>,
}

/// A channel that is not carried, because its session ends or has as many as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no further channel: the session ends, or has {CHANNELS_MAX} open already")]
pub struct NotCarried;

/// Simultaneous channels of one session, each a connection at the target: as many as OpenSSH's server admits.
pub const CHANNELS_MAX: usize = 10;

impl Sessions {
    /// Over these parts.
    pub fn new(parts: SessionsParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Opens a session: admits, begins the recording, connects to the target. Goes on to its end, whatever that is,
    /// even if nobody waits: what was admitted is recorded as ended too.
    ///
    /// # Errors
    /// A refusal or a fault, in words for the technician; then the target saw nothing, or no more than a login.
    pub async fn open(&self, who: Who, ask: Ask, line: VendorLine) -> Result<Session, NotOpened> {
        let (opened, outcome) = oneshot::channel();
        let parts = Arc::clone(&self.0);
        self.0.tracker.spawn(opening::run(parts, who, ask, line, opened));
        outcome.await.unwrap_or_else(|_| Err(NotOpened::Rejected(approver::desk::Fault::Stopping.into())))
    }
}

impl Session {
    /// Which.
    pub fn id(&self) -> SessionId {
        self.live.session
    }

    /// Where to.
    pub const fn target(&self) -> &TargetName {
        &self.target
    }

    /// Carries a channel until either side closes it or the session ends. Returns once it is the session's, which may have many
    /// to take at once.
    ///
    /// # Errors
    /// The session takes no more; the channel is to be refused.
    pub async fn channel(&self, channel: VendorChannel) -> Result<(), NotCarried> {
        tokio::select! {
            biased;
            () = self.live.legs.over() => Err(NotCarried),
            taken = self.channels.send(Box::new(channel)) => taken.map_err(|_| NotCarried),
        }
    }

    /// Whether a target has nothing of an upload before that came whole and was checked.
    pub const fn checks_uploads(&self) -> bool {
        self.checked
    }

    /// Why it ends, once that is so.
    pub fn over(&self) -> Option<Ending> {
        self.live.over.borrow().clone()
    }

    /// The same as a sentence for the technician.
    pub fn over_in_words(&self) -> Option<String> {
        self.over().map(|ending| self.place.over(&ending))
    }

    /// What the Desk says of it, as it changes.
    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Waits until nothing passes to its target or from it any more, which is before it is sealed. Whoever only waits does not keep it
    /// open.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let legs = Arc::clone(&self.live.legs);
        async move { legs.over().await }
    }

    /// When a byte last went into a socket of its target. Tells it when the session is over, too.
    pub fn written(&self) -> Arc<Moment> {
        Arc::clone(self.live.legs.written())
    }

    /// As [`Session::ended`], with the sentence for the technician.
    pub fn farewell(&self) -> impl Future<Output = String> + Send + use<> {
        let (ended, place) = (self.ended(), self.place.clone());
        async move { place.over(&ended.await) }
    }

    /// Waits until it has ended, sealed and journaled, and says why. Whoever only waits does not keep it open.
    pub fn ended(&self) -> impl Future<Output = Ending> + Send + use<> {
        let mut ended = self.ended.clone();
        async move {
            let ending = ended.wait_for(Option::is_some).await.ok().and_then(|ending| ending.clone());
            ending.unwrap_or(Ending::Crashed)
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({}, {})", self.live.session, self.target)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions({:?})", self.0.floor)
    }
}

/// What the documentation shows not to compile elsewhere compiles in here: so it is privacy that forbids it, and not a
/// field that is called otherwise by now.
#[cfg(test)]
mod from_inside {
    use super::*;

    const _: fn(TargetName, Session) -> Session = |target, one| Session { target, ..one };
}

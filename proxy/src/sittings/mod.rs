//! What pages of ours show of targets: each a WebSocket as the technician's end of a channel or a connection. Binary messages are its
//! bytes, text messages what page and gate say beside them. Who comes was proved before; what passes is carried as it is by SSH.

mod files;
mod outlet;
mod screen;
mod terminal;
mod ways;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use approver::carrier::{Fetched, Pane, Sitting, Sittings};
use approver::desk::Desk;
use approver::gate::Gate;
use approver::lease::Ask;
use approver::mint;
use approver::spans;
use futures::SinkExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use policies::actions::{Action, Actions};
use policies::events::Ending;
use policies::ids::{PersonId, SessionId, TargetName};
use serde::Serialize;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::files::judge::{Asked, wants};
use crate::floor::Telling;
use crate::lanes::Lanes;
use crate::session::{Hold, Session, Sessions, VendorLine, Who};
use crate::websocket::{self, Socket, UPGRADE_MAX, message};
pub(crate) use files::Fetches;
pub(crate) use outlet::{Outlet, ShellEnd};

/// What pages show targets from.
pub(crate) struct SittingParts {
    /// What opens sessions.
    pub(crate) sessions: Sessions,
    /// Who decides.
    pub(crate) desk: Desk,
    /// How technicians reach the gate.
    pub(crate) gate: Gate,
    /// Where connections run.
    pub(crate) lanes: Lanes,
    /// Files that wait for their browser.
    pub(crate) fetches: Arc<Fetches>,
}

/// Joins pages to targets.
pub(crate) struct BrowserSittings(Arc<SittingParts>);

/// What the gate says beside the bytes, as JSON, on every page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum ToPage {
    /// From now on the target is reached.
    Opened { session: SessionId },
    /// Whether what is typed passes, as it is granted now.
    Input { granted: bool },
    /// A line of the gate's; here no target can have written it.
    Told { words: String },
    /// Nothing follows: why, and what to do next.
    Over { words: String },
}

/// What a terminal or a screen on a page is recorded as.
pub(crate) const BROWSER: &str = "browser";
/// Lines of the gate's that wait to be sent.
const LINES_MAX: usize = 16;
/// A ping is answered by the browser itself, so whoever is gone is noticed as a lost SSH connection is.
const SILENT_MAX: Duration = Duration::from_secs(60);
/// For a session that is over to be sealed; for the last words to be taken behind what is under way on a slow line; and for the
/// connection's end.
const SEALED_WITHIN: Duration = Duration::from_secs(20);
const FAREWELL_MAX: Duration = Duration::from_secs(10);
const SHUT_MAX: Duration = Duration::from_secs(1);

impl BrowserSittings {
    pub(crate) fn new(parts: SittingParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Sittings for BrowserSittings {
    fn open(&self, upgrade: OnUpgrade, sitting: Result<Sitting, String>) {
        let parts = Arc::clone(&self.0);
        self.0.lanes.carry(move || async move {
            let Ok(Ok(upgraded)) = timeout(UPGRADE_MAX, upgrade).await else {
                tracing::debug!("a technician was gone before their page was joined to a target");
                return;
            };
            let mut socket = websocket::open(TokioIo::new(upgraded), Role::Server).await;
            let over = match sitting {
                Ok(sitting) => Box::pin(sit(&parts, sitting, &mut socket)).await,
                Err(words) => Some(words),
            };
            take_leave(socket, over).await;
        });
    }

    fn fetched(&self, ticket: &str, by: PersonId) -> Option<Fetched> {
        self.0.fetches.take(ticket, by)
    }
}

/// A page's session from its first moment to its last; gives the last words, where somebody is there to read them.
async fn sit(parts: &SittingParts, sitting: Sitting, socket: &mut Socket) -> Option<String> {
    let (told, tellings) = mpsc::channel(LINES_MAX);
    let (pane, beside) = (sitting.pane, Beside { tellings, from: sitting.from, signed_out: sitting.signed_out });
    let line = VendorLine {
        gate: parts.gate.clone(),
        hold: Hold::Channels { told },
        is_page: true,
        place: spans::Place::here(),
    };
    let session = mint::session(parts.desk.clock().wall());
    let (service, grant) = (Some(sitting.service), Some(sitting.grant));
    let ask = Ask { target: sitting.target, service, wants: wanted(pane), grant, session };
    let who = Who { login: sitting.who.person().to_string(), proof: sitting.who };
    let (person, target) = (who.proof.person(), ask.target.clone());
    let session = match parts.sessions.open(who, ask, line).await {
        Ok(session) => session,
        Err(not_opened) => {
            tracing::info!(%person, %target, "no session: {not_opened}");
            return Some(format!("{not_opened}."));
        }
    };
    if socket.send(message(&ToPage::Opened { session: session.id() })).await.is_err() {
        return None;
    }
    match pane {
        Pane::Terminal => terminal::carry(session, socket, beside).await,
        Pane::Files => files::carry(session, socket, beside, (Arc::clone(&parts.fetches), person)).await,
        Pane::Screen => screen::carry(session, socket, beside).await,
    }
}

/// What must be granted, one of it, for a page to show this.
fn wanted(pane: Pane) -> Actions {
    match pane {
        Pane::Terminal => wants(Asked::Shell),
        Pane::Files => wants(Asked::Subsystem("sftp")),
        Pane::Screen => [Action::Observe, Action::Tunnel].into(),
    }
}

/// What goes beside a page's bytes.
struct Beside {
    /// What the gate tells the technician.
    tellings: mpsc::Receiver<Telling>,
    /// From where they look.
    from: SocketAddr,
    /// Completes when they have signed out, or what they proved counts no more.
    signed_out: BoxFuture<'static, ()>,
}

/// What ends what a page shows.
enum End {
    /// The technician closed the page, or is gone.
    Left,
    /// It is closed: by the program at the target, or with the session.
    Closed,
    /// For this, which they are told.
    Because(&'static str),
}

const SIGNED_OUT: &str =
    "You are signed out, so this was closed. Sign in, and open it again on the page of your grant.";
const ODD: &str = "The page said what means nothing here. Load it again.";

/// Why it is closed, once the session has ended; where the technician left nothing more than a session that came to its own end, it is
/// said `in_words`.
async fn last_words(end: End, session: Session, in_words: impl FnOnce(&TargetName) -> String) -> Option<String> {
    let (ended, farewell) = (session.ended(), session.farewell());
    let target = session.target().clone();
    drop(session);
    match end {
        End::Left => None,
        End::Because(words) => Some(words.to_owned()),
        End::Closed => match timeout(SEALED_WITHIN, ended).await {
            Ok(Ending::Left) => Some(in_words(&target)),
            Ok(_) => Some(farewell.await),
            Err(_) => Some("The session is over.".to_owned()),
        },
    }
}

/// When something last came from the browser.
struct Heard(Mutex<Instant>);

impl Default for Heard {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Heard {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silent_for(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// Says the last words, and closes. Whoever still sends is read on, and learns that nothing follows before the connection is dropped:
/// bytes that nobody reads would take the last words along.
async fn take_leave(mut socket: Socket, words: Option<String>) {
    let leaving = async {
        if let Some(words) = words {
            socket.send(message(&ToPage::Over { words })).await?;
        }
        socket.close(None).await?;
        while socket.next().await.transpose()?.is_some() {}
        Ok(())
    };
    websocket::leave(FAREWELL_MAX, leaving).await;
    if !matches!(timeout(SHUT_MAX, socket.get_mut().shutdown()).await, Ok(Ok(()))) {
        tracing::debug!("a browser was gone before its page's connection was shut");
    }
}

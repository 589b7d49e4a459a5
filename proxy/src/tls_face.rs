//! The TCP face: TLS 1.3, a client certificate for one technician and one grant, and a server name that says where to. It
//! finds out who comes, tells who is refused why, and hands each connection to its session: all connections of one person
//! to one service under one grant share one, as the channels of one SSH connection do. What is carried is known in `tcp`.

mod within_websocket;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use approver::desk::{Desk, Rejected};
use approver::lease::Ask;
use approver::mint;
use approver::spans;
use certs::proof::{Authenticated, NotProven};
use certs::tls_client::{ClientFace, HeldCertificate, SPOKEN};
use policies::actions::Actions;
use policies::ids::{PersonId, RequestId, ServiceName, SessionId, TargetName};
use policies::refusals::Refusal;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::lanes::Lanes;
use crate::session::{Hold, Session, Sessions, VendorChannel, VendorLine, Who};
use crate::ssh::face::strangers::{Stranger, Strangers};
use crate::tcp::VendorEnd;
use crate::vendor_port::TcpPlace;
use approver::gate::Gate;

/// What the face is made of.
pub(crate) struct TlsFaceParts {
    /// What opens sessions.
    pub(crate) sessions: Sessions,
    /// Who decides.
    pub(crate) desk: Desk,
    /// What shakes hands.
    pub(crate) client_face: ClientFace,
    /// Those who have not proved who they are.
    pub(crate) strangers: Arc<Strangers>,
    /// How technicians reach the gate.
    pub(crate) gate: Gate,
    /// Who waits for tasks.
    pub(crate) tracker: TaskTracker,
    /// Where connections run.
    pub(crate) lanes: Lanes,
    /// The program stops.
    pub(crate) stop: CancellationToken,
}

/// The TCP face. Cheap to clone.
#[derive(Clone)]
pub(crate) struct TlsFace(Arc<Face>);

struct Face {
    parts: TlsFaceParts,
    rooms: Arc<Rooms>,
}

/// What one of our own clients, which offers [`SPOKEN`], is told in one line of JSON before the service's first byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FirstLine {
    /// What follows is the service's.
    Carried {
        /// In which session.
        session: SessionId,
    },
    /// Nothing follows.
    Refused {
        /// Why, and what to do next.
        words: String,
    },
}

impl TlsFace {
    pub(crate) fn new(parts: TlsFaceParts) -> Self {
        Self(Arc::new(Face { parts, rooms: Arc::default() }))
    }

    /// Takes a connection, of which the first message was read, to the lane that carries least. Until `until` its handshake
    /// has to be done.
    pub(crate) fn receive(
        &self,
        start: StartHandshake<TcpStream>,
        place: TcpPlace,
        source: IpAddr,
        stranger: Stranger,
        until: Instant,
    ) {
        let face = Arc::clone(&self.0);
        let StartHandshake { accepted, io, .. } = start;
        let socket = io.into_std();
        self.0.parts.lanes.carry(move || async move {
            match socket.and_then(crate::dial::take_over) {
                Ok(socket) => {
                    let start = StartHandshake::from_parts(accepted, socket);
                    let stop = face.parts.stop.clone();
                    let arrival = Arrival { face, place, source };
                    let welcoming = Box::pin(arrival.welcome(start, stranger, until));
                    stop.run_until_cancelled_owned(welcoming).await;
                }
                Err(error) => tracing::warn!(%error, "a connection could not be served"),
            }
        });
    }
}

/// Somebody who has asked for a place.
struct Arrival {
    face: Arc<Face>,
    place: TcpPlace,
    source: IpAddr,
}

/// What a handshake proved.
enum Proved {
    /// Somebody, and whether they are let in as far as can be seen before.
    Person(Arc<Authenticated>, Result<(), Refusal>),
    /// A certificate that is good for nobody here and now.
    Nobody(NotProven),
}

type Found = Arc<Mutex<Option<Proved>>>;

impl Arrival {
    async fn welcome(self, start: StartHandshake<TcpStream>, stranger: Stranger, until: Instant) {
        let found = Found::default();
        let is_spoken = start.client_hello().alpn().is_some_and(|mut offered| offered.any(|one| one == SPOKEN));
        let name = start.client_hello().server_name().unwrap_or_default().to_owned();
        let Some(config) = self.settings(&name, is_spoken, &found) else { return };
        let shaking = timeout_at(until, start.into_stream(config));
        let Some(shaken) = stranger.turned_out().run_until_cancelled(shaking).await else { return };
        let found = found.lock().unwrap_or_else(PoisonError::into_inner).take();
        let shaken = shaken.unwrap_or_else(|late| Err(late.into()));
        match (shaken, found) {
            (Ok(stream), Some(Proved::Person(who, Ok(())))) => {
                drop(stranger);
                self.enter(stream, who, is_spoken).await;
            }
            (shaken, Some(Proved::Person(who, Err(refusal)))) => {
                drop(stranger);
                self.turn_away(shaken.ok(), &who, refusal).await;
            }
            (_, Some(Proved::Nobody(why))) => self.failed("a client certificate that does not count", &why),
            (Err(error), _) => self.failed("no client certificate that counts", &error),
            // A handshake that is done has asked who came.
            (Ok(_), None) => tracing::error!(source = %self.source, "a connection proved nothing, and is closed"),
        }
    }

    /// Of a stock client the handshake itself says no (RFC 8446, 6.2: `access_denied`); one of ours is told in words after it.
    fn settings(&self, name: &str, is_spoken: bool, found: &Found) -> Option<Arc<rustls::ServerConfig>> {
        let (face, place, source, found) = (Arc::clone(&self.face), self.place.clone(), self.source, Arc::clone(found));
        let may_enter = move |held: HeldCertificate| {
            let proved = face.proved(held, &place, source);
            let is_let_in = match &proved {
                Proved::Person(_, refused) => refused.is_ok() || is_spoken,
                Proved::Nobody(_) => false,
            };
            *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(proved);
            is_let_in
        };
        let now = self.face.parts.desk.clock().wall();
        let made = self.face.parts.client_face.handshake(name, now, is_spoken, Box::new(may_enter));
        made.inspect_err(|fault| tracing::error!(%fault, "the TCP face has no certificate")).ok()
    }

    fn failed(&self, how: &'static str, why: &dyn fmt::Display) {
        self.face.parts.strangers.failed_because(self.source, how, why);
    }

    /// Whoever proved who they are and is refused: that is journaled, and no target learns of it.
    async fn turn_away(&self, stream: Option<TlsStream<TcpStream>>, who: &Authenticated, refusal: Refusal) {
        let words = format!("{refusal}.");
        self.face.parts.desk.turned_away(who, refusal, self.place.target.clone()).await;
        if let Some(mut stream) = stream {
            tell(&mut stream, &FirstLine::Refused { words }).await;
        }
    }

    async fn enter(self, mut stream: TlsStream<TcpStream>, who: Arc<Authenticated>, is_spoken: bool) {
        let Some(key) = self.face.key(&who, &self.place) else { return };
        let tenant = Rooms::move_in(&self.face, key);
        let session = match tenant.room.session(&self.face, &who, &self.place).await {
            Ok(session) => session,
            Err(words) => {
                if is_spoken {
                    tell(&mut stream, &FirstLine::Refused { words }).await;
                }
                return;
            }
        };
        if is_spoken {
            tell(&mut stream, &FirstLine::Carried { session: session.id() }).await;
        }
        // Whoever is gone by now learns nothing more, and neither does the record.
        let Ok(from) = stream.get_ref().0.peer_addr() else { return };
        let end = VendorEnd::stream(Housed { stream, _tenant: tenant }, from);
        if session.channel(VendorChannel::Tcp(end)).await.is_err() {
            tracing::debug!(session = %session.id(), "a session that ends takes no more connections");
        }
    }
}

/// A line for a client of ours; one that is gone needs none.
async fn tell(stream: &mut TlsStream<TcpStream>, line: &FirstLine) {
    let mut text = serde_json::to_vec(line).expect("a line has string keys");
    text.push(b'\n');
    let told = async {
        stream.write_all(&text).await?;
        stream.flush().await
    };
    if let Err(error) = told.await {
        tracing::debug!(%error, "a technician was gone before they were told");
    }
}

impl Face {
    fn proved(&self, held: HeldCertificate, place: &TcpPlace, source: IpAddr) -> Proved {
        match Authenticated::by_client_certificate(held, source, self.parts.desk.clock().wall()) {
            Ok(who) => {
                let is_let_in = self.would_let_in(&who, place);
                Proved::Person(Arc::new(who), is_let_in)
            }
            Err(why) => Proved::Nobody(why),
        }
    }

    /// Whether somebody is let in, as far as can be seen before.
    fn would_let_in(&self, who: &Authenticated, place: &TcpPlace) -> Result<(), Refusal> {
        match self.parts.desk.would_admit(who, &self.ask(who, place)) {
            // Further connections use the session that there is.
            Err(Rejected::Refusal(Refusal::TooManyConnections(_) | Refusal::Restarts(_)))
                if self.key(who, place).is_some_and(|key| self.rooms.has(&key)) =>
            {
                Ok(())
            }
            Err(Rejected::Refusal(refusal)) => Err(refusal),
            // A fault is told when the session is opened, and does not pass here either.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn ask(&self, who: &Authenticated, place: &TcpPlace) -> Ask {
        Ask {
            target: place.target.clone(),
            service: place.service.clone(),
            wants: Actions::new(),
            grant: who.grant(),
            session: mint::session(self.parts.desk.clock().wall()),
        }
    }

    /// Whose session a connection belongs to.
    fn key(&self, who: &Authenticated, place: &TcpPlace) -> Option<Key> {
        let service = place.service.clone().or_else(|| {
            self.parts.desk.with_state(|state| {
                let services = &state.plant.as_ref()?.targets.get(&place.target)?.services;
                services.keys().next().cloned()
            })
        })?;
        Some(Key {
            person: who.person(),
            source: who.source(),
            grant: who.grant()?,
            place: (place.target.clone(), service),
        })
    }

    async fn open(&self, who: &Arc<Authenticated>, place: &TcpPlace) -> Result<Session, String> {
        let name = self.parts.desk.directory().name_of(who.person()).await.ok().flatten();
        let login = name.unwrap_or_else(|| who.person().to_string());
        let (told, tellings) = mpsc::channel(1);
        // Nobody reads lines beside a service's bytes: `connect` asks for what stands.
        drop(tellings);
        let line = VendorLine {
            gate: self.parts.gate.clone(),
            hold: Hold::Channels { told },
            is_page: false,
            place: spans::Place::here(),
        };
        let asker = Who { login, proof: Arc::clone(who) };
        let opened = self.parts.sessions.open(asker, self.ask(who, place), line).await;
        opened.map_err(|not_opened| {
            tracing::info!(person = %who.person(), target = %place.target, "no session: {not_opened}");
            format!("{not_opened}.")
        })
    }
}

/// Whose connections share a session, which is recorded as coming from one address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    person: PersonId,
    source: IpAddr,
    grant: RequestId,
    place: (TargetName, ServiceName),
}

/// A session to be opened, or that was.
#[derive(Default)]
struct Room {
    session: OnceCell<Result<Session, String>>,
}

impl Room {
    /// The session. The first caller opens it; the others wait for that.
    async fn session(&self, face: &Face, who: &Arc<Authenticated>, place: &TcpPlace) -> Result<Session, String> {
        self.session.get_or_init(|| face.open(who, place)).await.clone()
    }

    /// Whether it is of no use any more: its session is over, or never began.
    fn is_over(&self) -> bool {
        self.session.get().is_some_and(|session| session.as_ref().map_or(true, |session| session.over().is_some()))
    }
}

/// The sessions of the face, with how many connections each has.
#[derive(Default)]
struct Rooms(Mutex<BTreeMap<Key, (Arc<Room>, usize)>>);

/// How long a session without connections waits for the next: engineering tools close one and open another.
const LINGERS: Duration = Duration::from_secs(5);

impl Rooms {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, (Arc<Room>, usize)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, key: &Key) -> bool {
        self.all().get(key).is_some_and(|(room, _)| !room.is_over())
    }

    /// A place in the room of this key; in a new one where there is none that is of use.
    fn move_in(face: &Arc<Face>, key: Key) -> Tenant {
        let mut all = face.rooms.all();
        let (room, tenants) = all.entry(key.clone()).or_default();
        if room.is_over() {
            (*room, *tenants) = (Arc::default(), 0);
        }
        *tenants += 1;
        Tenant { face: Arc::clone(face), key, room: Arc::clone(room) }
    }

    /// One connection fewer; whether it was the last.
    fn move_out(&self, key: &Key, room: &Arc<Room>) -> bool {
        let mut all = self.all();
        match all.get_mut(key).filter(|(there, _)| Arc::ptr_eq(there, room)) {
            Some((_, tenants)) => {
                *tenants -= 1;
                *tenants == 0
            }
            None => false,
        }
    }

    /// Gives a room up if nobody has moved in again; its session then ends, as one that the technician left.
    fn give_up(&self, key: &Key, room: &Arc<Room>) {
        let mut all = self.all();
        if all.get(key).is_some_and(|(there, tenants)| Arc::ptr_eq(there, room) && *tenants == 0) {
            all.remove(key);
        }
    }
}

/// A connection's place in its room. With the last one's going the session ends, after a while.
struct Tenant {
    face: Arc<Face>,
    key: Key,
    room: Arc<Room>,
}

impl Drop for Tenant {
    fn drop(&mut self) {
        let Self { face, key, room } = self;
        if !face.rooms.move_out(key, room) {
            return;
        }
        let (face, key, room) = (Arc::clone(face), key.clone(), Arc::clone(room));
        // A program that ends has no runtime left, and no sessions either.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let tracker = face.parts.tracker.clone();
        let lingering = async move {
            let clock = face.parts.desk.clock().clone();
            face.parts.stop.run_until_cancelled(clock.sleep(LINGERS)).await;
            face.rooms.give_up(&key, &room);
        };
        tracker.spawn_on(lingering, &runtime);
    }
}

/// A connection that keeps its place while it is there.
struct Housed<S> {
    stream: S,
    _tenant: Tenant,
}

impl<S: AsyncRead + Unpin> AsyncRead for Housed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Housed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

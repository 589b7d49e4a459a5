//! The SSH face: where technicians come in. It listens, finds out who comes and where to, asks for access where there
//! is no grant, and hands their channels to a session. What happens in a session is in `session`; what is allowed, in
//! `approver` and below.

mod asking;
mod connection;
mod console;
mod door;
mod enrolling;
mod form;
mod forward;
mod jump;
mod lobby;
mod login;
mod names;
mod orders;
mod questions;
mod recent;
mod room;
mod second;
pub(crate) mod strangers;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use approver::desk::Desk;
use approver::memory::Headroom;
use approver::people::{Enrolled, People};
use certs::enrolment::EnrolmentCode;
use certs::proof::VerifiedKey;
use certs::ssh_ca::SshCa;
use certs::ssh_host::SshHostKey;
use jiff::SignedDuration;
use policies::people::Kind;
use policies::time::Window;
use russh::keys::ssh_key::{Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey};
use russh::server::{self, Handle};
use russh::{Disconnect, MethodKind, MethodSet, Preferred, SshId, cipher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::flow::{GatedStream, Valve, WINDOW_BYTES};
use crate::lanes::Lanes;
use crate::session::{Sessions, Who};
use approver::gate::Gate;
use asking::Applicant;
use connection::{Connection, Stage};
use door::Door;
use enrolling::Newcomer;
use recent::RecentLogins;
use strangers::{Stranger, Strangers};

/// What the face is made of.
pub struct FaceParts {
    /// What opens sessions.
    pub sessions: Sessions,
    /// Who decides.
    pub desk: Desk,
    /// Who checks codes and enrols.
    pub people: People,
    /// The gate's one SSH host key.
    pub host_key: SshHostKey,
    /// What certifies that key under the gate's and the targets' names.
    pub ca: SshCa,
    /// How technicians reach the gate.
    pub gate: Gate,
    /// Whether a password and a code let in who has set a password, beside a key and a code.
    pub passwords: bool,
    /// Where its pages are, such as `https://gate.mill3.example`, where it serves any.
    pub pages: Option<String>,
    /// Who waits for the connections' tasks.
    pub tracker: TaskTracker,
    /// Where they run.
    pub lanes: Lanes,
    /// What is left for anybody.
    pub headroom: Headroom,
    /// The program stops.
    pub stop: CancellationToken,
}

/// The SSH face. Cheap to clone.
#[derive(Clone)]
pub struct SshFace(Arc<Face>);

struct Face {
    sessions: Sessions,
    desk: Desk,
    people: People,
    host_key: SshHostKey,
    ca: SshCa,
    gate: Gate,
    passwords: bool,
    /// Where its pages are, where it serves any.
    pages: Option<String>,
    tracker: TaskTracker,
    lanes: Lanes,
    headroom: Headroom,
    stop: CancellationToken,
    strangers: Arc<Strangers>,
    recent: RecentLogins,
    places: Arc<Semaphore>,
}

/// Connections at once, signed in or not. A session costs some 200 KiB, so that all of them fit a small machine.
const CONNECTIONS_MAX: usize = 4096;

impl SshFace {
    /// Over these parts.
    pub fn new(parts: FaceParts) -> Self {
        let FaceParts { sessions, desk, people, host_key, ca, gate, passwords, pages, tracker, lanes, headroom, stop } =
            parts;
        let (strangers, recent) =
            (Strangers::new(desk.clock().clone(), desk.counts().clone()), RecentLogins::new(desk.clock().clone()));
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self(Arc::new(Face {
            sessions,
            desk,
            people,
            host_key,
            ca,
            gate,
            passwords,
            pages,
            tracker,
            lanes,
            headroom,
            stop,
            strangers,
            recent,
            places,
        }))
    }

    /// Serves whoever connects, until the program stops. Each connection is a task of the tracker's.
    pub async fn serve(&self, listener: TcpListener) {
        /// For a system that has run out of something, such as file descriptors.
        const BREATH: Duration = Duration::from_millis(100);
        let face = &self.0;
        loop {
            let accepted = tokio::select! {
                accepted = face.headroom.accept(&listener) => accepted,
                () = face.stop.cancelled() => return,
            };
            match accepted {
                Ok((socket, peer)) => {
                    // Beyond the last place the socket is closed at once.
                    let Ok(place) = Arc::clone(&face.places).try_acquire_owned() else { continue };
                    face.carry(socket, peer, face.strangers.enter(peer.ip().to_canonical()), place);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }
}

impl SshFace {
    /// Serves a connection that somebody accepted and read nothing of; beyond the last place it is closed at once.
    pub(crate) fn receive(&self, socket: TcpStream, peer: SocketAddr, stranger: Stranger) {
        if let Ok(place) = Arc::clone(&self.0.places).try_acquire_owned() {
            self.0.carry(socket, peer, stranger, place);
        }
    }

    /// Those who have not signed in on this face, by whatever they come.
    pub(crate) fn strangers(&self) -> &Arc<Strangers> {
        &self.0.strangers
    }
}

impl fmt::Debug for SshFace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SshFace({})", self.0.gate.name)
    }
}

impl Face {
    /// Takes a connection to the lane that carries least.
    fn carry(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr, stranger: Stranger, place: OwnedSemaphorePermit) {
        let face = Arc::clone(self);
        let socket = socket.into_std();
        self.lanes.carry(move || async move {
            match socket.and_then(crate::dial::take_over) {
                Ok(socket) => welcome(face, socket, peer, stranger, place).await,
                Err(error) => tracing::warn!(%error, "a connection could not be served"),
            }
        });
    }
}

/// One connection from its first byte to its last.
async fn welcome(
    face: Arc<Face>,
    socket: TcpStream,
    peer: SocketAddr,
    stranger: Stranger,
    _place: OwnedSemaphorePermit,
) {
    // An IPv4 address that came in on an IPv6 socket is an IPv4 address.
    let source = peer.ip().to_canonical();
    let valve = Arc::new(Valve::default());
    stranger.speaks_ssh(Arc::clone(&valve));
    if let Err(error) = crate::dial::prepare(&socket) {
        tracing::debug!(%source, %error, "a connection was gone before it began");
        return;
    }
    if stranger.waits().await.is_none() {
        return;
    }
    let connection = Arc::new(Connection::of_stranger(source, Arc::clone(&valve), face.desk.clock().clone(), stranger));
    let door = Door::outer(Arc::clone(&face), Arc::clone(&connection));
    let methods = [MethodKind::PublicKey, MethodKind::KeyboardInteractive];
    let config =
        face.config(std::slice::from_ref(&face.gate.name), if face.passwords { &methods } else { &methods[..1] });
    let serving = async {
        let running = Box::pin(server::run_stream(config, GatedStream::vendor(socket, valve), door)).await?;
        connection.has_begun(running.handle());
        running.await
    };
    if let Err(error) = connection.attend(&face.stop, serving).await {
        ended(&face, &connection, &error);
    }
}

/// A connection that breaks is nobody's fault; one that sends what is no SSH counts against its address.
fn ended(face: &Face, connection: &Connection, error: &russh::Error) {
    use russh::Error::{Disconnect, HUP, IO};
    let source = connection.source;
    match error {
        IO(_) | HUP | Disconnect => tracing::debug!(%source, %error, "a connection ended"),
        _ if connection.stage() == Stage::SigningIn => {
            face.strangers.failed(source, "what came was not as SSH wants it");
        }
        _ => tracing::info!(%source, %error, "a connection ended"),
    }
}

/// Disconnects with words, if the client takes them.
async fn say_goodbye(session: &Handle, words: &str) {
    /// For a session whose loop is busy writing to a client that does not read.
    const TAKES_MAX: Duration = Duration::from_millis(300);
    let disconnect = session.disconnect(Disconnect::ByApplication, words.to_owned(), "en".to_owned());
    if !matches!(tokio::time::timeout(TAKES_MAX, disconnect).await, Ok(Ok(()))) {
        tracing::debug!("a technician left before they were told why");
    }
}

impl Face {
    fn applicant(&self, who: Who) -> Applicant {
        Applicant::new(self.desk.clone(), self.people.clone(), who)
    }

    /// The plant's banner, as a client shows it.
    fn banner(&self) -> Option<String> {
        let banner = self.desk.with_state(|state| state.plant.as_ref().map(|plant| plant.banner.clone()))?;
        let lines: Vec<&str> = banner.lines().collect();
        (!banner.is_empty()).then(|| lines.join("\r\n") + "\r\n")
    }

    /// Enrols a technician; nobody where the code is somebody's at the plant, which stays as good as it was. `Err` says
    /// why the code is not taken.
    async fn enrol(&self, code: &str, key: &PublicKey) -> Result<Option<Enrolled>, String> {
        let code = EnrolmentCode::parse(code).map_err(|bad| bad.to_string())?;
        let enrolled = async {
            match self.people.invited(&code).await?.kind {
                Kind::Technician { .. } => self.people.enrol(&code, key).await.map(Some),
                _ => Ok(None),
            }
        };
        enrolled.await.map_err(|not_done| not_done.to_string())
    }

    fn newcomer(&self, enrolled: Enrolled, key: VerifiedKey) -> Newcomer {
        let plant = self.desk.with_state(|state| state.plant.as_ref().map(|plant| plant.name.clone()));
        Newcomer {
            people: self.people.clone(),
            enrolled,
            key,
            plant: plant.unwrap_or_else(|| self.gate.name.clone()),
            gate: self.gate.clone(),
        }
    }

    /// The settings of one connection, under the names its client may know it by.
    ///
    /// russh's keepalive is off: it is sent during the questions too, where clients take it for an error, and its reply
    /// would hide a person's idleness. The socket's own keepalive notices a peer that vanished.
    fn config(&self, names: &[String], methods: &[MethodKind]) -> Arc<server::Config> {
        /// We count attempts ourselves; this is for what we do not see.
        const ATTEMPTS_MAX: usize = 64;
        /// For a key that is refused, or is half of what it takes: paramiko listens for the answer only some time after it
        /// has asked, and waits for ever for one that came sooner. A person who has a code to type notices nothing.
        const ANSWER_AFTER: Duration = Duration::from_millis(50);
        let key = self.host_key.private();
        Arc::new(server::Config {
            server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-Holdpoint")),
            methods: MethodSet::from(methods),
            auth_rejection_time: ANSWER_AFTER,
            auth_rejection_time_initial: Some(Duration::ZERO),
            certificates: self.host_certificate(key.public_key(), names).into_iter().collect(),
            keys: vec![key],
            window_size: WINDOW_BYTES,
            channel_buffer_size: 1,
            max_auth_attempts: ATTEMPTS_MAX,
            inactivity_timeout: None,
            keepalive_interval: None,
            preferred: Preferred {
                cipher: Cow::Borrowed(CIPHERS),
                key: Cow::Borrowed(KEYS),
                compression: Cow::Borrowed(&[russh::compression::NONE]),
                ..Preferred::DEFAULT
            },
            ..server::Config::default()
        })
    }

    /// Made for each connection, so that it never runs out; wide enough for clocks that are a day wrong, and no longer: a thief
    /// of the host key has it, too.
    fn host_certificate(&self, key: &PublicKey, names: &[String]) -> Option<Certificate> {
        let now = self.desk.clock().wall();
        let valid = Window { from: now - SignedDuration::from_hours(24), until: now + SignedDuration::from_hours(48) };
        let certificate = self.ca.host_certificate(key, names, valid);
        certificate.inspect_err(|why| tracing::error!(%why, "the gate has no host certificate")).ok()
    }
}

/// The technician's side is hardened: what is older is for targets alone.
const CIPHERS: &[cipher::Name] = &[cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305];

/// Signatures that are taken, by the keys that [`check_key`](certs::sshsig::check_key) takes: security keys count as one
/// factor, and no SHA-1.
const KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::SkEd25519,
    Algorithm::SkEcdsaSha2NistP256,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

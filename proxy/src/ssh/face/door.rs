//! What russh asks while a technician's connection lasts. Each callback hands on and returns: who it is, is settled in
//! `login`; what passes on a channel, in `flow` and above; and whatever is not named here is refused with words.

use std::sync::Arc;

use bytes::Bytes;
use policies::actions::Actions;
use russh::keys::ssh_key::{Algorithm, Certificate};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet, Pty, Sig};

use super::asking::{Applicant, Standing};
use super::connection::{LEAVING_MAX, Tenant};
use super::enrolling::{self, Newcomer};
use super::forward::{self, Forwards, Leads};
use super::jump;
use super::lobby::{self, Lobby};
use super::login::Login;
use super::names::Place;
use super::questions::{Interview, Next, Round};
use super::room::{Room, wanted};
use super::second::{CODES_MAX, Second, WRONG};
use super::{Connection, Face, Stage};
use crate::flow::{Queue, Reply, Request, VendorFlow, WindowSize};
use crate::session::{Hold, Session as CarriedBy, VendorChannel, VendorLine};
use crate::ssh::channel::VendorEnd;
use crate::tcp;
use approver::gate::Gate;

/// One SSH connection of a technician, the outer one or the inner one of `-J`.
pub(super) struct Door {
    face: Arc<Face>,
    connection: Arc<Connection>,
    flow: VendorFlow,
    way: Way,
    /// The session and its use of the connection, once a channel asked for it.
    room: Option<(Arc<Room>, Tenant)>,
    forwards: Forwards,
    /// What was refused outside every channel, for the next one to be told.
    refused: Option<&'static str>,
}

enum Way {
    Outer(Box<Login>),
    Inner(Box<Inner>),
}

/// The inner session of `-J`: who comes was proved outside, and where to is the name they jumped to.
pub(super) struct Inner {
    pub(super) applicant: Applicant,
    pub(super) place: Place,
    pub(super) interview: Option<Interview>,
    /// What their code is checked with, where it is asked for in here.
    pub(super) second: Option<Second>,
    pub(super) codes_refused: u32,
}

/// What one round of keyboard-interactive may answer at most, and each answer.
const ANSWERS_MAX: usize = 8;
const ANSWER_BYTES_MAX: usize = 2048;
/// Channels of one connection that are no session's: lobbies and jumps.
const CHANNELS_MAX: usize = 10;

impl Door {
    pub(super) fn outer(face: Arc<Face>, connection: Arc<Connection>) -> Self {
        let login = Login::new(Arc::clone(&face), Arc::clone(&connection));
        Self::new(face, connection, Way::Outer(Box::new(login)))
    }

    pub(super) fn inner(face: Arc<Face>, connection: Arc<Connection>, inner: Inner) -> Self {
        Self::new(face, connection, Way::Inner(Box::new(inner)))
    }

    fn new(face: Arc<Face>, connection: Arc<Connection>, way: Way) -> Self {
        let flow = VendorFlow::new(Arc::clone(&connection.valve));
        Self { face, connection, flow, way, room: None, forwards: Forwards::default(), refused: None }
    }

    /// The queue of a channel about to be accepted.
    fn open_channel(&mut self, id: ChannelId) -> Arc<Queue> {
        let upload = self.flow.open_channel(id);
        if let Some(why) = self.refused.take() {
            self.flow.refused(id, why);
        }
        upload
    }

    /// Clients show nothing of this but a failure, so the words wait for a channel.
    fn refuse_forwarding_back(&mut self, session: &mut Session) -> Result<bool, russh::Error> {
        const WHY: &str = "-R is refused: nothing is forwarded back from here";
        self.refused = Some(WHY);
        session.debug(true, WHY, "en")?;
        Ok(false)
    }

    /// Where every session channel of this connection leads; `None` in the lobby.
    fn place(&self) -> Option<Place> {
        match &self.way {
            Way::Outer(login) => login.place(),
            Way::Inner(inner) => Some(inner.place.clone()),
        }
    }

    fn applicant(&self) -> Option<Applicant> {
        match &self.way {
            Way::Outer(login) => login.applicant(),
            Way::Inner(inner) => Some(inner.applicant.clone()),
        }
    }

    fn second(&self) -> Option<Second> {
        match &self.way {
            Way::Outer(login) => login.second(),
            Way::Inner(_) => None,
        }
    }

    fn room(&mut self, applicant: &Applicant, place: Place, session: &Session) -> Arc<Room> {
        let hold = Hold::Connection { session: session.handle(), socket: Arc::clone(&self.connection.valve) };
        let line = VendorLine { gate: self.face.gate.clone(), hold, is_page: false, place: self.connection.place() };
        let (face, connection, applicant) = (&self.face, &self.connection, applicant.clone());
        let open = || (Arc::new(Room::new(face, applicant, place, line)), connection.move_in());
        Arc::clone(&self.room.get_or_insert_with(open).0)
    }

    fn request(&mut self, channel: ChannelId, request: Request, session: &mut Session) -> Result<(), russh::Error> {
        match self.flow.request(channel, request) {
            Reply::Success => session.channel_success(channel),
            Reply::Failure => session.channel_failure(channel),
        }
    }

    /// Who has just enrolled, on the one channel that shows them what is shown once.
    fn newcomer(&mut self) -> Option<Newcomer> {
        let Way::Outer(login) = &mut self.way else { return None };
        let (enrolled, key) = login.take_enrolled()?;
        Some(self.face.newcomer(enrolled, key))
    }
}

/// Into the session, which is opened if it is not yet.
async fn carry(room: Arc<Room>, connection: Arc<Connection>, channel: VendorEnd, reply: ChannelOpenHandle) {
    if room.has_choice() {
        reply.accept().await;
        let wants = wanted(channel.upload()).await;
        return match room.session(wants).await {
            Ok(session) => hand_over(&session, &connection, channel).await,
            Err(words) => connection.goodbye(&words).await,
        };
    }
    let session = match room.session(Actions::new()).await {
        Ok(session) => session,
        Err(words) => return part(&connection, &words, reply).await,
    };
    if session.over().is_some() {
        return part(&connection, "The session is over. Connect again.", reply).await;
    }
    reply.accept().await;
    hand_over(&session, &connection, channel).await;
}

async fn hand_over(session: &CarriedBy, connection: &Connection, channel: VendorEnd) {
    if let Err(not_carried) = session.channel(VendorChannel::Typed(channel)).await {
        connection.goodbye(&format!("{not_carried}.")).await;
    }
}

/// Disconnects with words. The channel is refused only after them, because its refusal would be shown in their place.
async fn part(connection: &Connection, words: &str, reply: ChannelOpenHandle) {
    connection.goodbye(words).await;
    tokio::time::sleep(LEAVING_MAX).await;
    drop(reply);
}

async fn refuse(reply: ChannelOpenHandle, words: impl Into<String>) {
    /// RFC 4254, 5.1: administratively prohibited.
    const PROHIBITED: u32 = 1;
    reply.reject(ChannelOpenFailure::Other { code: PROHIBITED, reason: words.into() }).await;
}

impl Inner {
    fn standing(&self) -> Standing {
        self.applicant.standing(&self.place)
    }

    /// What is read before questions, and in their stead where a client asks none.
    fn before_questions(&self, gate: &Gate) -> Option<String> {
        let target = &self.place.target;
        match self.standing() {
            Standing::Open(_) => None,
            Standing::Later(from) => {
                let from = self.applicant.shown(from);
                Some(format!("The grant for {target} begins {from}. Connect again then.\r\n"))
            }
            Standing::Pending(_) | Standing::Nothing => Some(format!(
                "No grant for {target} is open. Answer the questions, or ask before you connect: {lobby} request {target} \
                 REASON\r\n",
                lobby = gate.ssh(&self.applicant.who().login),
            )),
        }
    }

    /// Whether the code has to be given in here, because no recent login serves.
    fn wants_code(&mut self) -> bool {
        let Some(second) = &self.second else { return false };
        match second.serves(&self.applicant, &self.place) {
            Some(applicant) => {
                self.applicant = applicant;
                false
            }
            None => true,
        }
    }

    async fn keyboard(&mut self, connection: &Connection, answers: Option<Vec<String>>) -> Auth {
        if self.wants_code() {
            let Some(answers) = answers else { return self.code_prompt("").into() };
            let code = answers.first().map(String::as_str).unwrap_or_default();
            return match self.code(connection, code).await {
                Some(no) => no,
                None => self.interview(connection, None).await,
            };
        }
        self.interview(connection, answers).await
    }

    /// Takes the code; gives the no, if it is one.
    async fn code(&mut self, connection: &Connection, code: &str) -> Option<Auth> {
        let Some(second) = self.second.take() else { return Some(Auth::reject()) };
        let words = match second.check(self.applicant.clone(), code).await {
            Ok(applicant) => {
                self.applicant = applicant;
                return None;
            }
            Err(Some(fault)) => fault,
            Err(None) => {
                self.second = Some(second);
                self.codes_refused += 1;
                if self.codes_refused < CODES_MAX {
                    return Some(self.code_prompt(WRONG).into());
                }
                WRONG.to_owned()
            }
        };
        connection.goodbye(&words).await;
        Some(Round::default().into())
    }

    fn code_prompt(&self, complaint: &str) -> Round {
        self.second.as_ref().map(|second| second.face.code_prompt(complaint)).unwrap_or_default()
    }

    async fn interview(&mut self, connection: &Connection, answers: Option<Vec<String>>) -> Auth {
        let next = match (&mut self.interview, answers) {
            (Some(interview), Some(answers)) => tokio::select! {
                next = interview.answer(&answers) => next,
                () = connection.leaving() => Next::Ask(Round::default()),
            },
            _ => {
                let (interview, next) = Interview::begin(self.applicant.clone(), self.place.clone());
                self.interview = interview;
                next
            }
        };
        match next {
            Next::Connect => {
                connection.enter(Stage::Inside);
                Auth::Accept
            }
            Next::Refuse(words) => {
                connection.goodbye(&words).await;
                Round::default().into()
            }
            Next::Ask(round) => {
                let is_asking = self.interview.as_ref().is_some_and(Interview::is_asking);
                connection.enter(if is_asking { Stage::Asked } else { Stage::Waiting });
                round.into()
            }
        }
    }
}

impl Handler for Door {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, russh::Error> {
        Ok(match &self.way {
            Way::Outer(_) => self.face.banner(),
            Way::Inner(inner) => inner.before_questions(&self.face.gate),
        })
    }

    async fn auth_none(&mut self, _: &str) -> Result<Auth, russh::Error> {
        let Way::Inner(inner) = &mut self.way else {
            self.connection.was_answered();
            return Ok(Auth::reject());
        };
        if matches!(inner.standing(), Standing::Open(_)) && !inner.wants_code() {
            self.connection.enter(Stage::Inside);
            return Ok(Auth::Accept);
        }
        let methods = MethodSet::from(&[MethodKind::KeyboardInteractive][..]);
        Ok(Auth::Reject { proceed_with_methods: Some(methods), partial_success: false })
    }

    /// The same answer for every name and key, known or not; only SHA-1 is refused, which says nothing about either.
    async fn auth_publickey_offered(&mut self, _: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, russh::Error> {
        self.connection.has_asked();
        let is_sha1 = *offer.algorithm == Algorithm::Rsa { hash: None };
        let is_outer = matches!(self.way, Way::Outer(_));
        Ok(if is_sha1 || !is_outer { Auth::reject() } else { Auth::Accept })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        self.connection.has_asked();
        let Way::Outer(login) = &mut self.way else { return Ok(Auth::reject()) };
        let answer = login.key_signed(user, key.public_key).await;
        self.connection.was_answered();
        Ok(answer)
    }

    async fn auth_openssh_certificate(&mut self, user: &str, certificate: &Certificate) -> Result<Auth, russh::Error> {
        self.connection.has_asked();
        let Way::Outer(login) = &mut self.way else { return Ok(Auth::reject()) };
        let answer = login.certificate_signed(user, certificate).await;
        self.connection.was_answered();
        Ok(answer)
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        self.connection.has_asked();
        let read = |answer: Bytes| String::from_utf8_lossy(&answer[..answer.len().min(ANSWER_BYTES_MAX)]).into_owned();
        let answers = response.map(|response| response.take(ANSWERS_MAX).map(read).collect());
        match &mut self.way {
            Way::Outer(login) => Ok(login.keyboard(user, answers).await),
            Way::Inner(inner) => Ok(inner.keyboard(&self.connection, answers).await),
        }
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let connection = Arc::clone(&self.connection);
        if connection.is_leaving() {
            return Ok(());
        }
        if self.flow.channels() >= CHANNELS_MAX {
            refuse(reply, format!("no more than {CHANNELS_MAX} channels at once")).await;
            return Ok(());
        }
        let (id, handle) = (channel.id(), session.handle());
        // Everything inbound comes by the queue.
        let (_unread, channel) = channel.split();
        if let Some(newcomer) = self.newcomer() {
            let upload = self.open_channel(id);
            reply.accept().await;
            self.face.tracker.spawn(enrolling::serve(newcomer, channel, handle, upload));
            return Ok(());
        }
        let Some(applicant) = self.applicant() else {
            refuse(reply, "you enrolled; sign in with your new factors now").await;
            return Ok(());
        };
        let upload = self.open_channel(id);
        match self.place().filter(|place| applicant.forwarded_port(place).is_none()) {
            Some(place) => {
                let room = self.room(&applicant, place, session);
                let channel = VendorEnd::new(channel, handle, upload);
                self.face.tracker.spawn(carry(room, connection, channel, reply));
            }
            None => {
                reply.accept().await;
                let face = Arc::clone(&self.face);
                let second = self.second();
                let lobby = Lobby { face, connection, applicant, second, channel, session: handle, upload };
                self.face.tracker.spawn(lobby::serve(lobby));
            }
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let gate = &self.face.gate;
        let (Way::Outer(login), Some(applicant)) = (&self.way, self.applicant()) else {
            refuse(reply, "nothing is forwarded from within a session").await;
            return Ok(());
        };
        let named = login.place();
        match forward::destination(&applicant, gate, host, port) {
            Err(words) => {
                tracing::info!(person = %applicant.person(), port, "a forwarding was refused");
                refuse(reply, words).await;
            }
            Ok(_) if self.flow.channels() >= CHANNELS_MAX => {
                refuse(reply, format!("no more than {CHANNELS_MAX} channels at once")).await;
            }
            Ok(Leads::Service(place)) if named.as_ref().is_none_or(|named| named.target == place.target) => {
                let upload = self.open_channel(channel.id());
                let (_unread, write) = channel.split();
                let forward = self.forwards.to(&self.face, &self.connection, applicant, place);
                let (end, connection) = (tcp::VendorEnd::channel(write, upload, reply), Arc::clone(&self.connection));
                self.face.tracker.spawn(forward::serve(forward, connection, end));
            }
            Ok(Leads::Jump(place)) if named.is_none() => {
                let upload = self.flow.open_channel(channel.id());
                let (_unread, write) = channel.split();
                let second = self.second();
                let inner = Inner { applicant, place, interview: None, second, codes_refused: 0 };
                let (face, outer) = (Arc::clone(&self.face), Arc::clone(&self.connection));
                reply.accept().await;
                self.face.tracker.spawn(jump::serve(face, outer, inner, write, upload));
            }
            Ok(_) => {
                let login = &applicant.who().login;
                refuse(reply, format!("you named a target already; to jump: {}", gate.jump(login, &"TARGET"))).await;
            }
        }
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        refuse(reply, "sockets are not forwarded here").await;
        Ok(())
    }

    async fn channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        refuse(reply, "X11 is not forwarded here").await;
        Ok(())
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        refuse(reply, "nothing is forwarded back from here").await;
        Ok(())
    }

    async fn tcpip_forward(&mut self, _: &str, _: &mut u32, session: &mut Session) -> Result<bool, russh::Error> {
        self.refuse_forwarding_back(session)
    }

    async fn streamlocal_forward(&mut self, _: &str, session: &mut Session) -> Result<bool, russh::Error> {
        self.refuse_forwarding_back(session)
    }

    async fn agent_request(&mut self, channel: ChannelId, _: &mut Session) -> Result<bool, russh::Error> {
        self.flow.refused(channel, "your agent is not forwarded");
        Ok(false)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.flow.refused(channel, "X11 is not forwarded");
        session.channel_failure(channel)
    }

    fn adjust_window(&mut self, channel: ChannelId, _: u32) -> u32 {
        self.flow.adjust_window(channel)
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut Session) -> Result<(), russh::Error> {
        self.flow.data(channel, data);
        Ok(())
    }

    async fn extended_data(
        &mut self,
        channel: ChannelId,
        stream: u32,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.flow.extended_data(channel, stream, data);
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), russh::Error> {
        self.flow.eof(channel);
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), russh::Error> {
        self.flow.close(channel);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width_pixels: u32,
        height_pixels: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let size = WindowSize { columns, rows, width_pixels, height_pixels };
        self.request(channel, Request::Pty { term: term.to_owned(), size, modes: modes.to_vec() }, session)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.request(channel, Request::Env { name: name.to_owned(), value: value.to_owned() }, session)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        self.request(channel, Request::Shell, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.request(channel, Request::Exec(Bytes::copy_from_slice(command)), session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.request(channel, Request::Subsystem(name.to_owned()), session)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        width_pixels: u32,
        height_pixels: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let size = WindowSize { columns, rows, width_pixels, height_pixels };
        self.request(channel, Request::WindowChange(size), session)
    }

    async fn signal(&mut self, channel: ChannelId, signal: Sig, session: &mut Session) -> Result<(), russh::Error> {
        self.request(channel, Request::Signal(signal), session)
    }
}

//! The target leg: russh as a client, over a socket that `dial` opened. A connection carries one channel at a time,
//! because only its socket can be stopped, and a stopped socket would stop every other channel in it.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use approver::lease::Lease;
use approver::spans::{Span, Work};
use certs::host_keys::{self, HostKeyChanged};
use russh::client::{self, AuthResult, KeyboardInteractiveAuthResponse, Prompt};
use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::private::{KeypairData, RsaKeypair};
use russh::keys::ssh_key::{self, Signature};
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{
    AgentAuthError, Channel, ChannelId, Disconnect, MethodKind, Preferred, Sig, Signer, cipher, compression, kex, mac,
};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::channel::TargetWrite;
use crate::dial::{DialFault, dial};
use crate::flow::{Brake, Event, GatedStream, Queue, Valve, WINDOW_BYTES};
use crate::legs::{Legs, NoMoreLegs};
use crate::tcp::{NoSlot, NotReached};

/// How to log in at the target of a lease.
#[derive(Clone, Debug)]
pub struct TargetPlan {
    /// The account there.
    pub user: String,
    /// How the gate proves itself; never shown to the technician.
    pub auth: TargetAuth,
    /// The pinned host key, `SHA256:…`.
    pub host_key: String,
    /// Whether SHA-1 key exchange, RSA signatures over SHA-1, CBC and 3DES are admitted towards this one target.
    pub legacy: bool,
    /// How long each step may take: reaching it, agreeing on keys, logging in.
    pub patience: Duration,
}

/// A credential for a target. `Debug` shows only its kind.
#[derive(Clone)]
pub enum TargetAuth {
    /// A private key.
    Key(Arc<PrivateKey>),
    /// A private key and our own CA's certificate for it, made for each login, because it lives for minutes.
    Certificate(Certify),
    /// A password; also given to a target that asks for it by keyboard-interactive.
    Password(Zeroizing<String>),
}

/// Makes a fresh key and a certificate for it, or nothing where the clock allows none.
pub type Certify = Arc<dyn Fn() -> Option<(Arc<PrivateKey>, Certificate)> + Send + Sync>;

impl fmt::Debug for TargetAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key",
            Self::Certificate(_) => "Certificate",
            Self::Password(_) => "Password",
        })
    }
}

/// Why a target cannot be used, in words for the technician and the operator; no secret is in them.
#[derive(Debug, thiserror::Error)]
pub enum TargetFault {
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialFault),
    /// It is not the machine the plant file names, or it was set up anew.
    #[error("{target}: {changed}")]
    HostKey {
        /// The target's name.
        target: String,
        /// Both fingerprints.
        changed: HostKeyChanged,
    },
    /// A connection, but no SSH session.
    #[error("{target} answered, but no SSH session came about: {cause}")]
    Handshake {
        /// The target's name.
        target: String,
        /// What russh says.
        cause: russh::Error,
    },
    /// It was reached, and then said nothing more.
    #[error("{target} answered, but {step} took longer than {} s", patience.as_secs_f32())]
    Slow {
        /// The target's name.
        target: String,
        /// What was waited for.
        step: &'static str,
        /// How long.
        patience: Duration,
    },
    /// It does not take the credential that the plant has for it.
    #[error("{target} does not let the gate in as {user}; whoever administers the plant must renew the credential")]
    LogIn {
        /// The target's name.
        target: String,
        /// The account.
        user: String,
    },
    /// It is connected and refuses a session.
    #[error("{target} opens no session: {cause}")]
    Channel {
        /// The target's name.
        target: String,
        /// What russh says.
        cause: russh::Error,
    },
    /// It takes no further connection.
    #[error(transparent)]
    NoSlot(#[from] NoSlot),
    /// The connections to it were cut.
    #[error(transparent)]
    Cut(#[from] NoMoreLegs),
}

impl From<NotReached> for TargetFault {
    fn from(not_reached: NotReached) -> Self {
        match not_reached {
            NotReached::Dial(fault) => Self::Dial(fault),
            NotReached::NoSlot(full) => Self::NoSlot(full),
            NotReached::Over(cut) => Self::Cut(cut),
        }
    }
}

/// The connections of one vendor connection to one target: one for each channel that is open at the same time, kept for
/// the next channel when it closes. It makes none once the lease is given back.
#[derive(Debug)]
pub struct TargetPool {
    legs: Arc<Legs>,
    plan: TargetPlan,
    idle: Mutex<Vec<TargetConnection>>,
}

impl TargetPool {
    /// No connections yet.
    pub fn new(lease: &Arc<Lease>, plan: TargetPlan) -> Self {
        Self { legs: Arc::new(Legs::new(lease)), plan, idle: Mutex::default() }
    }

    /// What all of its connections stand on. Cut, they end now, and there will be no more.
    pub fn legs(&self) -> &Arc<Legs> {
        &self.legs
    }

    /// Connects ahead of the first channel, so that a target that is down is told at admission.
    pub async fn warm(&self) -> Result<(), TargetFault> {
        let connection = self.connect().await?;
        lock(&self.idle).push(connection);
        Ok(())
    }

    /// A connection for one channel: an idle one, or a new one.
    pub async fn take(&self) -> Result<TargetConnection, TargetFault> {
        while let Some(connection) = self.pop_idle() {
            self.legs.lease()?;
            if connection.is_alive() {
                return Ok(connection);
            }
        }
        self.connect().await
    }

    /// Keeps a connection whose channel is closed. One that ended is dropped.
    pub fn give_back(&self, connection: TargetConnection) {
        if connection.is_alive() && !self.legs.is_cut() {
            connection.seat.leave();
            lock(&self.idle).push(connection);
        }
    }

    /// Takes leave of the target on every idle connection, as a session that ends in peace does.
    pub async fn close(&self) {
        while let Some(connection) = self.pop_idle() {
            connection.close().await;
        }
    }

    fn pop_idle(&self) -> Option<TargetConnection> {
        lock(&self.idle).pop()
    }

    async fn connect(&self) -> Result<TargetConnection, TargetFault> {
        let (lease, valve) = self.legs.one_more()?;
        // Boxed: a channel's task would keep the room that connecting takes.
        let opened = Box::pin(TargetConnection::open(&lease, &self.plan, valve)).await;
        opened.map_err(|fault| match fault {
            changed @ TargetFault::HostKey { .. } => changed,
            // What it came to is the cut's doing.
            fault => self.legs.lease().err().map_or(fault, TargetFault::Cut),
        })
    }
}

/// One SSH connection to a target, logged in. Dropped, its socket is closed.
pub struct TargetConnection {
    name: String,
    handle: client::Handle<Guest>,
    seat: Arc<Seat>,
    valve: CutOnDrop,
}

impl fmt::Debug for TargetConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TargetConnection({})", self.name)
    }
}

/// A session channel at a target, or the telnet connection that stands for one.
#[derive(Debug)]
pub struct TargetChannel {
    /// Where requests and bytes go.
    pub write: TargetWrite,
    /// What comes back.
    pub download: Arc<Queue>,
    /// The connection's valve, which says whether it was cut.
    pub valve: Arc<Valve>,
    /// The target's name, for words to the technician.
    pub name: String,
}

impl TargetConnection {
    /// Opens the one channel that this connection carries now.
    pub async fn open_channel(&self) -> Result<TargetChannel, TargetFault> {
        let download = Queue::new(Brake::Socket, Arc::clone(&self.valve.0));
        self.seat.take(Arc::clone(&download));
        let channel = self.handle.channel_open_session().await.map_err(|cause| match self.valve.0.is_cut() {
            true => TargetFault::Cut(NoMoreLegs(self.name.clone())),
            false => TargetFault::Channel { target: self.name.clone(), cause },
        })?;
        let (_unread, write) = channel.split();
        let write = TargetWrite::Ssh(write);
        Ok(TargetChannel { write, download, valve: Arc::clone(&self.valve.0), name: self.name.clone() })
    }

    async fn close(self) {
        const LEAVE_TAKING_MAX: Duration = Duration::from_millis(300);
        let leave = async {
            self.handle.disconnect(Disconnect::ByApplication, "", "").await?;
            self.handle.await
        };
        match tokio::time::timeout(LEAVE_TAKING_MAX, leave).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(target = self.name, %error, "a target was gone before the gate left it"),
            Err(_) => tracing::debug!(target = self.name, "a target did not answer the gate's leave-taking"),
        }
    }

    fn is_alive(&self) -> bool {
        !self.valve.0.is_cut() && !self.handle.is_closed()
    }

    async fn open(lease: &Lease, plan: &TargetPlan, valve: Arc<Valve>) -> Result<Self, TargetFault> {
        let name = lease.target().to_string();
        let socket = dial(lease, plan.patience).await?;
        let login = Span::within(Work::TargetLogin);
        let logged_in = login.around(Box::pin(Self::agree_and_log_in(name, socket, plan, valve))).await;
        if logged_in.is_err() {
            login.failed("not logged in");
        }
        logged_in
    }

    async fn agree_and_log_in(
        name: String,
        socket: TcpStream,
        plan: &TargetPlan,
        valve: Arc<Valve>,
    ) -> Result<Self, TargetFault> {
        let valve = CutOnDrop(valve);
        let seat = Arc::new(Seat::default());
        let guest = Guest { pin: plan.host_key.clone(), seat: Arc::clone(&seat) };
        let stream = GatedStream::target(socket, Arc::clone(&valve.0))
            .map_err(|cause| DialFault::Unreachable { name: name.clone(), cause })?;
        let handshake = client::connect_stream(Arc::new(config(plan.legacy)), stream, guest);
        let mut handle =
            in_time(&name, plan.patience, "agreeing on keys", handshake).await?.map_err(|broken| match broken {
                Broken::HostKey(changed) => TargetFault::HostKey { target: name.clone(), changed },
                Broken::Ssh(cause) => TargetFault::Handshake { target: name.clone(), cause },
            })?;
        let accepted = in_time(&name, plan.patience, "logging in", log_in(&mut handle, plan))
            .await?
            .map_err(|cause| TargetFault::Handshake { target: name.clone(), cause })?;
        if !accepted {
            return Err(TargetFault::LogIn { target: name, user: plan.user.clone() });
        }
        Ok(Self { name, handle, seat, valve })
    }
}

async fn in_time<T>(
    target: &str,
    patience: Duration,
    step: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, TargetFault> {
    let slow = |_| TargetFault::Slow { target: target.to_owned(), step, patience };
    tokio::time::timeout(patience, work).await.map_err(slow)
}

async fn log_in(handle: &mut client::Handle<Guest>, plan: &TargetPlan) -> Result<bool, russh::Error> {
    match &plan.auth {
        TargetAuth::Key(key) => match key.key_data() {
            KeypairData::Rsa(pair) => log_in_by_rsa(handle, plan, key, pair).await,
            _ => {
                let key = PrivateKeyWithHashAlg::new(Arc::clone(key), None);
                Ok(handle.authenticate_publickey(&plan.user, key).await?.success())
            }
        },
        TargetAuth::Certificate(certify) => {
            let Some((key, certificate)) = certify() else { return Ok(false) };
            Ok(handle.authenticate_openssh_cert(&plan.user, key, certificate).await?.success())
        }
        TargetAuth::Password(password) => log_in_by_password(handle, &plan.user, password).await,
    }
}

/// With SHA-2; where the target is marked as old and says nothing of it, or does not take it, with SHA-1.
async fn log_in_by_rsa(
    handle: &mut client::Handle<Guest>,
    plan: &TargetPlan,
    key: &PrivateKey,
    pair: &RsaKeypair,
) -> Result<bool, russh::Error> {
    let hashes = match handle.best_supported_rsa_hash().await?.flatten() {
        said if !plan.legacy => vec![said.or(Some(HashAlg::Sha512))],
        Some(hash) => vec![Some(hash), None],
        None => vec![None],
    };
    for hash in hashes {
        let public = key.public_key().clone();
        let answer = handle.authenticate_publickey_with(&plan.user, public, hash, &mut RsaSigner(pair)).await;
        let answer = answer.map_err(|fault| match fault {
            AgentAuthError::Send(_) => russh::Error::SendError,
            AgentAuthError::Key(fault) => fault.into(),
        })?;
        if answer.success() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Signs in russh's place, which does so only together with a release of `rsa` that `ssh-key` has left behind.
struct RsaSigner<'a>(&'a RsaKeypair);

impl Signer for RsaSigner<'_> {
    type Error = AgentAuthError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, AgentAuthError> {
        let mut sign = || -> Result<(), ssh_key::Error> {
            let signature: Signature = (self.0, hash).try_sign(&to_sign)?;
            Ok(signature.encode_prefixed(&mut to_sign)?)
        };
        sign().map_err(russh::keys::Error::from)?;
        Ok(to_sign)
    }
}

/// Old targets know passwords only as an answer to a question.
async fn log_in_by_password(
    handle: &mut client::Handle<Guest>,
    user: &str,
    password: &str,
) -> Result<bool, russh::Error> {
    /// A first round with the question, and one or two without any, as PAM likes to ask.
    const ROUNDS: usize = 3;
    match handle.authenticate_password(user, password).await? {
        AuthResult::Success => return Ok(true),
        AuthResult::Failure { remaining_methods, .. } => {
            if !remaining_methods.contains(&MethodKind::KeyboardInteractive) {
                return Ok(false);
            }
        }
    }
    let mut answer = handle.authenticate_keyboard_interactive_start(user, None).await?;
    for _ in 0..ROUNDS {
        let KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } = answer else { break };
        let Some(replies) = replies(&prompts, password) else { return Ok(false) };
        answer = handle.authenticate_keyboard_interactive_respond(replies).await?;
    }
    Ok(matches!(answer, KeyboardInteractiveAuthResponse::Success))
}

/// The password for one hidden question; nothing for no question. A visible or second question asks for something
/// else, and the password must not be shown to it.
fn replies(prompts: &[Prompt], password: &str) -> Option<Vec<String>> {
    match prompts {
        [] => Some(Vec::new()),
        [prompt] if !prompt.echo => Some(vec![password.to_owned()]),
        _ => None,
    }
}

/// No keepalive and no inactivity limit of russh's: while the technician does not read, the target is not read either,
/// and would be taken for dead. TCP notices a dead one.
fn config(legacy: bool) -> client::Config {
    const PACKET_BYTES: u32 = 32 << 10;
    client::Config {
        window_size: WINDOW_BYTES,
        maximum_packet_size: PACKET_BYTES,
        channel_buffer_size: 1,
        preferred: preferred(legacy),
        inactivity_timeout: None,
        keepalive_interval: None,
        ..client::Config::default()
    }
}

/// The client's order wins, so the cipher that costs least comes first.
fn preferred(legacy: bool) -> Preferred {
    let mut kexes = Preferred::DEFAULT.kex.to_vec();
    let mut keys = Preferred::DEFAULT.key.to_vec();
    let mut ciphers = vec![
        cipher::AES_128_GCM,
        cipher::AES_256_GCM,
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_CTR,
        cipher::AES_192_CTR,
        cipher::AES_128_CTR,
    ];
    let mut macs = Preferred::DEFAULT.mac.to_vec();
    kexes.extend([kex::ECDH_SHA2_NISTP256, kex::ECDH_SHA2_NISTP384, kex::ECDH_SHA2_NISTP521]);
    if legacy {
        kexes.extend([kex::DH_G14_SHA1, kex::DH_GEX_SHA1, kex::DH_G1_SHA1]);
        ciphers.extend([cipher::AES_256_CBC, cipher::AES_192_CBC, cipher::AES_128_CBC, cipher::TRIPLE_DES_CBC]);
        macs.extend([mac::HMAC_SHA1_ETM, mac::HMAC_SHA1]);
    } else {
        keys.retain(|key| *key != Algorithm::Rsa { hash: None });
    }
    Preferred {
        kex: Cow::Owned(kexes),
        key: Cow::Owned(keys),
        cipher: Cow::Owned(ciphers),
        mac: Cow::Owned(macs),
        compression: Cow::Borrowed(&[compression::NONE]),
        ..Preferred::DEFAULT
    }
}

/// Closes the socket with the value that stands for the connection: russh's task ends only when its stream does.
struct CutOnDrop(Arc<Valve>);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.cut();
    }
}

/// The channel a connection carries now. What still comes for an earlier one is dropped.
#[derive(Default)]
struct Seat(Mutex<Occupied>);

#[derive(Default)]
struct Occupied {
    queue: Option<Arc<Queue>>,
    channel: Option<ChannelId>,
}

impl Seat {
    fn take(&self, queue: Arc<Queue>) {
        *lock(&self.0) = Occupied { queue: Some(queue), channel: None };
    }

    fn confirm(&self, channel: ChannelId) {
        lock(&self.0).channel = Some(channel);
    }

    fn leave(&self) {
        *lock(&self.0) = Occupied::default();
    }

    /// Leaves for good: the connection is gone.
    fn end(&self) {
        if let Some(queue) = lock(&self.0).queue.take() {
            queue.end();
        }
    }

    fn queue_of(&self, channel: ChannelId) -> Option<Arc<Queue>> {
        let occupied = lock(&self.0);
        occupied.queue.clone().filter(|_| occupied.channel == Some(channel))
    }

    fn data(&self, channel: ChannelId, stream: Option<u32>, data: &[u8]) {
        if let Some(queue) = self.queue_of(channel) {
            queue.push_data(stream, data);
        }
    }

    fn event(&self, channel: ChannelId, event: Event) {
        if let Some(queue) = self.queue_of(channel) {
            queue.push(event);
        }
    }
}

/// The gate as a guest at the target: it checks whose house this is, and lets the house open nothing.
struct Guest {
    pin: String,
    seat: Arc<Seat>,
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    HostKey(#[from] HostKeyChanged),
    #[error(transparent)]
    Ssh(#[from] russh::Error),
}

impl client::Handler for Guest {
    type Error = Broken;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Broken> {
        match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                host_keys::check(&self.pin, key)?;
                Ok(true)
            }
            // None was asked for: the pin is of a key.
            PublicKeyOrCertificate::Certificate(_) => Ok(false),
        }
    }

    async fn channel_open_confirmation(
        &mut self,
        channel: ChannelId,
        _max_packet_size: u32,
        _window_size: u32,
        _session: &mut client::Session,
    ) -> Result<(), Broken> {
        self.seat.confirm(channel);
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut client::Session) -> Result<(), Broken> {
        self.seat.data(channel, None, data);
        Ok(())
    }

    async fn extended_data(
        &mut self,
        channel: ChannelId,
        stream: u32,
        data: &[u8],
        _: &mut client::Session,
    ) -> Result<(), Broken> {
        self.seat.data(channel, Some(stream), data);
        Ok(())
    }

    async fn channel_success(&mut self, channel: ChannelId, _: &mut client::Session) -> Result<(), Broken> {
        self.seat.event(channel, Event::Success);
        Ok(())
    }

    async fn channel_failure(&mut self, channel: ChannelId, _: &mut client::Session) -> Result<(), Broken> {
        self.seat.event(channel, Event::Failure);
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut client::Session) -> Result<(), Broken> {
        self.seat.event(channel, Event::Eof);
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut client::Session) -> Result<(), Broken> {
        self.seat.event(channel, Event::Close);
        Ok(())
    }

    async fn exit_status(&mut self, channel: ChannelId, status: u32, _: &mut client::Session) -> Result<(), Broken> {
        self.seat.event(channel, Event::ExitStatus(status));
        Ok(())
    }

    async fn exit_signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        core_dumped: bool,
        message: &str,
        language: &str,
        _: &mut client::Session,
    ) -> Result<(), Broken> {
        let (message, language) = (message.to_owned(), language.to_owned());
        self.seat.event(channel, Event::ExitSignal { signal, core_dumped, message, language });
        Ok(())
    }

    // russh accepts what a server opens unless told otherwise. A dropped handle refuses.
    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<client::Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<client::Msg>,
        _: &str,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<client::Msg>,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<client::Msg>,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<client::Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<client::Msg>,
        _: &str,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<client::Msg>,
        _: &str,
        _: u32,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn disconnected(&mut self, _: client::DisconnectReason<Broken>) -> Result<(), Broken> {
        self.seat.end();
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.seat.end();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No change under these locks can stop halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

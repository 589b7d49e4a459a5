//! Everything around a session but the session: a Desk in memory on a clock that tests turn, a record log on a disk
//! that fails when told to, a target and a technician's client, all in this process.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use approver::desk::DeskParts;
use approver::journal::Journal;
use approver::journal::memory::MemoryJournal;
use approver::lease::Ask;
use approver::people::People;
use approver::testing::{Panel, Props, Stage, deployment, node, plant_of_panels};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use policies::actions::Action;
use policies::events::{Ending, Event};
use policies::ids::SessionId;
use proxy::floor::Floor;
use proxy::flow::{GatedStream, Moment, Reply, Request, Valve, VendorFlow, WINDOW_BYTES, WindowSize};
use proxy::session::{Hold, NotOpened, Session, Sessions, SessionsParts, VendorChannel, VendorLine, Who};
use proxy::ssh::channel::VendorEnd;
use proxy::uploads::{Bounds, Staging};
use recordings::disk::{Disk, DiskFile, RealMachine};
use recordings::keys::Recipients;
use recordings::log::{Log, LogOptions, Purpose};
use recordings::sim::{Fault, SimDisk, SimSigner};
use russh::keys::PrivateKey;
use russh::server::{self, Auth, ChannelOpenHandle, Msg};
use russh::{Channel, ChannelId, ChannelMsg, Pty, client};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Nothing here may take longer: whoever waits so long hangs.
pub(crate) const HANG: Duration = Duration::from_secs(30);

const RECIPIENTS: [&str; 2] = [
    "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
    "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg",
];

/// A plant with two panels, which are one machine; `rule` is added to its one rule.
fn plant(addresses: [SocketAddr; 2], pin: &str, rule: &str) -> String {
    let addresses = addresses.map(|address| address.to_string());
    let [first, second] = [("hmi-2", &addresses[0]), ("hmi-3", &addresses[1])].map(|(name, address)| Panel {
        name,
        address,
        user: "maint",
        credential: "hmi-maint",
        host_key: pin,
    });
    plant_of_panels("UTC", &[first, second], &format!("connections = 1000\n{rule}"))
}

/// What a test changes before anything begins.
pub(crate) struct Options<'a> {
    /// Keys for the one rule.
    pub(crate) rule: &'a str,
    /// Whether the pinned host key is the target's.
    pub(crate) right_pin: bool,
    /// Where decisions go.
    pub(crate) journal: Arc<dyn Journal>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { rule: "idle = \"4h\"", right_pin: true, journal: Arc::new(MemoryJournal::new()) }
    }
}

/// The whole of it.
pub(crate) struct Hall {
    pub(crate) stage: Stage,
    pub(crate) floor: Floor,
    pub(crate) sessions: Sessions,
    pub(crate) disk: SimDisk,
    pub(crate) slow: SlowDisk,
    pub(crate) target: Target,
    pub(crate) stop: CancellationToken,
    pub(crate) tracker: TaskTracker,
    who: Who,
}

impl Hall {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options<'_>) -> Self {
        let target = Target::start().await;
        let other = certs::ssh_ca::fresh_key("other");
        let key = if options.right_pin { &target.host_key } else { &other };
        let props = Props { journal: options.journal, ..Props::new() };
        let pin = key.public_key().fingerprint(russh::keys::HashAlg::Sha256).to_string();
        let mut stage = Stage::on(props, &plant(target.addresses, &pin, options.rule)).await;
        let floor = Floor::new(stage.props.clock.clone());
        // The stage's Desk has a floor for looking at; the one that serves has ours.
        stage.desk.close().await;
        let (alarms, heard) = tokio::sync::mpsc::channel(64);
        let parts = DeskParts {
            journal: stage.props.journal.clone(),
            directory: stage.props.directory.clone(),
            clock: stage.props.clock.clone(),
            node: node(),
            deployment: deployment(),
            floor: Arc::new(floor.clone()),
            alarms,
            cuts: stage.props.cuts(),
            records: None,
        };
        stage.desk = approver::desk::Desk::open(parts).await.unwrap();
        stage.alarms = heard;
        let keys = &stage.props.keys;
        stage.people = People::new(stage.desk.clone(), keys.secrets(), keys.tls_ca());
        let name = "hmi-maint".parse().unwrap();
        stage.desk.directory().set_credential(&name, PASSWORD.as_bytes(), &keys.secrets()).await.unwrap();
        let disk = SimDisk::new(7);
        let slow = SlowDisk { disk: disk.clone(), held: Arc::default() };
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let sessions = Sessions::new(SessionsParts {
            desk: stage.desk.clone(),
            people: stage.people.clone(),
            floor: floor.clone(),
            records: Arc::new(records(&slow)),
            recipients: tokio::sync::watch::channel(Recipients::parse(RECIPIENTS).unwrap()).1,
            machine: Arc::new(RealMachine),
            staging: Staging::open(stage.props.scratch.path(), Arc::new(|| Ok(true)), Bounds::default()).unwrap(),
            secrets: keys.secrets(),
            teller: None,
            ca: keys.ssh_ca(),
            tracker: tracker.clone(),
            stop: stop.clone(),
        });
        let watching = floor.clone();
        let until = stop.clone();
        tracker.spawn(async move { until.run_until_cancelled(watching.watch_recorders()).await });
        let who = who(&stage).await;
        stage.grant("hmi-2", &[Action::Shell, Action::FileGet, Action::FilePut]).await;
        Self { stage, floor, sessions, disk, slow, target, stop, tracker, who }
    }

    /// Connects the technician; the session is open when this returns.
    pub(crate) async fn connect(&self) -> Technician {
        self.try_connect().await.unwrap()
    }

    pub(crate) async fn try_connect(&self) -> Result<Technician, NotOpened> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (opened, session) = oneshot::channel();
        let ask = self.stage.wanted("hmi-2");
        let (sessions, who) = (self.sessions.clone(), self.who.clone());
        let (gone, valve) = (Arc::new(Mutex::new(None)), Arc::new(Valve::default()));
        let (closed, door) = (Arc::clone(&gone), Arc::clone(&valve));
        self.tracker.spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            welcome(socket, door, sessions, who, ask, opened).await;
            *closed.lock().unwrap() = Some(Instant::now());
        });
        let anyone = Anyone::default();
        let disconnected = Arc::clone(&anyone.disconnected);
        let connecting = client::connect(Arc::new(client_config()), address, anyone);
        let mut handle = tokio::time::timeout(HANG, connecting).await.unwrap().unwrap();
        assert!(handle.authenticate_none("tara").await.unwrap().success());
        let Opened { session, ended, written } = tokio::time::timeout(HANG, session).await.unwrap().unwrap()?;
        Ok(Technician { handle, session, ended, written, disconnected, valve, gone })
    }

    /// How the journal says that a session ended, and whether it has a seal.
    pub(crate) fn journaled(&self, session: SessionId) -> Option<(Ending, bool)> {
        self.stage.desk.with_state(|state| {
            let facts = state.sessions.get(&session)?;
            Some((facts.ended.clone()?.1, facts.seal.is_some()))
        })
    }

    /// The seconds of which the journal says that the technician was warned.
    pub(crate) async fn warnings(&self, of: SessionId) -> Vec<u32> {
        let entries = self.stage.desk.entries(0).await.unwrap();
        let warned = |event: &Event| match event {
            Event::Warned { session, left } if *session == of => Some(left.0),
            _ => None,
        };
        entries.iter().filter_map(|entry| warned(&entry.event)).collect()
    }

    /// Time passes, and whoever sleeps by the clock wakes.
    pub(crate) async fn pass(&self, span: Duration) {
        self.stage.pass(span);
        settle().await;
    }

    /// The next call of the recording's disk fails.
    pub(crate) fn fail_the_disk(&self) {
        self.disk.fail_call(self.disk.calls() + 1, Fault::Error(std::io::ErrorKind::Other));
    }
}

/// The code that the technician's app shows after another half minute.
pub(crate) async fn next_code(hall: &Hall) -> String {
    hall.pass(Duration::from_secs(30)).await;
    hall.stage.technician.totp.code_at(hall.stage.desk.clock().wall()).to_string()
}

async fn who(stage: &Stage) -> Who {
    let proof = stage.login(&stage.technician).await;
    Who { login: "tara".into(), proof: Arc::new(proof) }
}

fn records(disk: &SlowDisk) -> Log {
    let options = LogOptions {
        segment_bytes: 32 << 20,
        spares: 1,
        ..LogOptions::new(Purpose::Records, "mill-3/records/node-1", node())
    };
    let opened = Log::open(
        Arc::new(disk.clone()),
        Arc::new(RealMachine),
        Path::new("/records"),
        options,
        Arc::new(SimSigner::new(1)),
    );
    opened.unwrap().0
}

/// Waits until every task waits: no worker of the runtime has had anything to do for some looks. Not where something
/// flows or is timed all along.
pub(crate) async fn settle() {
    const LOOKS: usize = 10;
    const APART: Duration = Duration::from_millis(1);
    let metrics = tokio::runtime::Handle::current().metrics();
    // Odd while a worker is parked.
    let parks =
        || (0..metrics.num_workers()).map(|worker| metrics.worker_park_unpark_count(worker)).collect::<Vec<_>>();
    let (begun, mut before, mut still) = (Instant::now(), Vec::new(), 0);
    while still < LOOKS {
        assert!(begun.elapsed() < HANG, "it never settles");
        // This thread is none of the workers, and a timer of the runtime would wake one.
        std::thread::sleep(APART);
        let now = parks();
        still = if now == before && now.iter().all(|count| count % 2 == 1) { still + 1 } else { 0 };
        before = now;
    }
}

/// Waits for something that must come about.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < HANG, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

type Ended = Shared<BoxFuture<'static, Ending>>;

/// What the gate's end of a connection tells about the session it opened.
struct Opened {
    session: SessionId,
    ended: Ended,
    written: Arc<Moment>,
}

/// A technician's client, connected and in a session.
pub(crate) struct Technician {
    pub(crate) handle: client::Handle<Anyone>,
    pub(crate) session: SessionId,
    ended: Ended,
    written: Arc<Moment>,
    /// The text of the disconnect, once it came.
    disconnected: Arc<Mutex<Option<String>>>,
    valve: Arc<Valve>,
    gone: Arc<Mutex<Option<Instant>>>,
}

impl Technician {
    /// A shell on a terminal.
    pub(crate) async fn shell(&self) -> Shell {
        let channel = self.handle.channel_open_session().await.unwrap();
        channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
        channel.request_shell(true).await.unwrap();
        let mut shell = Shell::over(channel);
        shell.until("ready").await;
        shell
    }

    /// A command without a terminal.
    pub(crate) async fn run(&self, command: &str) -> Channel<client::Msg> {
        let channel = self.handle.channel_open_session().await.unwrap();
        channel.exec(true, command).await.unwrap();
        channel
    }

    /// Why the session ended, all done.
    pub(crate) async fn ended(&self) -> Ending {
        tokio::time::timeout(HANG, self.ended.clone()).await.expect("the session ends")
    }

    /// When the gate last put a byte into a socket of the target's, after this moment if it did; nought if not.
    pub(crate) fn written_after(&self, moment: Instant) -> Duration {
        self.written.at().map_or(Duration::ZERO, |at| at.saturating_duration_since(moment))
    }

    /// Whether the gate put bytes into a socket of the target's not long ago.
    pub(crate) fn is_at_work(&self) -> bool {
        self.written.silence() < Duration::from_millis(500)
    }

    /// The text that `ssh` shows when it is disconnected.
    pub(crate) async fn farewell(&self) -> String {
        eventually("a disconnect", || self.disconnected.lock().unwrap().is_some()).await;
        self.disconnected.lock().unwrap().clone().unwrap()
    }

    /// When the gate closed the technician's socket, or let nothing pass any more and left it for them to read the end.
    pub(crate) async fn socket_closed(&self) -> Instant {
        let closed = || self.valve.cut_at().or(*self.gone.lock().unwrap());
        eventually("the socket is closed", || closed().is_some()).await;
        closed().unwrap()
    }
}

/// A terminal at the target.
pub(crate) struct Shell {
    pub(crate) channel: Channel<client::Msg>,
    seen: String,
}

impl Shell {
    pub(crate) const fn over(channel: Channel<client::Msg>) -> Self {
        Self { channel, seen: String::new() }
    }

    pub(crate) async fn type_in(&self, text: &str) {
        self.channel.data(text.as_bytes()).await.unwrap();
    }

    /// Reads until the text was shown, and gives all that was shown up to it.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let message = tokio::time::timeout(HANG, self.channel.wait()).await;
            match message.unwrap_or_else(|_| panic!("{text:?} never came after {:?}", self.seen)) {
                Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                    self.seen.push_str(&String::from_utf8_lossy(&data));
                }
                Some(_) => {}
                None => panic!("closed before {text:?} came, after {:?}", self.seen),
            }
        }
    }
}

/// The client's side: takes any host key, remembers the disconnect.
#[derive(Default)]
pub(crate) struct Anyone {
    pub(crate) disconnected: Arc<Mutex<Option<String>>>,
}

fn client_config() -> client::Config {
    client::Config { channel_buffer_size: 8, ..client::Config::default() }
}

impl client::Handler for Anyone {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &russh::keys::PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }

    async fn disconnected(&mut self, reason: client::DisconnectReason<russh::Error>) -> Result<(), russh::Error> {
        let text = match reason {
            client::DisconnectReason::ReceivedDisconnect(info) => info.message,
            client::DisconnectReason::Error(error) => format!("error: {error}"),
        };
        *self.disconnected.lock().unwrap() = Some(text);
        Ok(())
    }
}

/// The gate's end of one technician's connection: anybody gets in, and the session is opened before the first channel.
async fn welcome(
    socket: TcpStream,
    valve: Arc<Valve>,
    sessions: Sessions,
    who: Who,
    ask: Ask,
    opened: oneshot::Sender<Result<Opened, NotOpened>>,
) {
    // The door alone holds the session: it is left when the connection is gone.
    let session = Arc::new(OnceLock::new());
    let door = Door { flow: VendorFlow::new(Arc::clone(&valve)), session: Arc::clone(&session) };
    let stream = GatedStream::vendor(socket, Arc::clone(&valve));
    let running =
        server::run_stream(Arc::new(server_config(certs::ssh_ca::fresh_key("gate"))), stream, door).await.unwrap();
    let gate = approver::gate::Gate { name: "gate.mill3.example".into(), port: 2222 };
    let line = VendorLine {
        gate,
        hold: Hold::Connection { session: running.handle(), socket: valve },
        is_page: false,
        place: Default::default(),
    };
    let opening = async move {
        let outcome = sessions.open(who, ask, line).await.map(|opened| {
            let (ended, written) = (opened.ended().boxed().shared(), opened.written());
            let told = Opened { session: opened.id(), ended, written };
            assert!(session.set(opened).is_ok());
            told
        });
        assert!(opened.send(outcome).is_ok());
    };
    let (ended, ()) = tokio::join!(running, opening);
    drop(ended);
}

fn server_config(key: PrivateKey) -> server::Config {
    server::Config {
        keys: vec![key],
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        window_size: WINDOW_BYTES,
        channel_buffer_size: 1,
        inactivity_timeout: None,
        ..server::Config::default()
    }
}

struct Door {
    flow: VendorFlow,
    session: Arc<OnceLock<Session>>,
}

impl Door {
    fn request(&mut self, id: ChannelId, request: Request, session: &mut server::Session) -> Result<(), russh::Error> {
        match self.flow.request(id, request) {
            Reply::Success => session.channel_success(id),
            Reply::Failure => session.channel_failure(id),
        }
    }
}

impl server::Handler for Door {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        let upload = self.flow.open_channel(channel.id());
        let opened = self.session.get().expect("the test waits for the session");
        let channel = VendorEnd::new(channel.split().1, session.handle(), upload);
        if opened.channel(VendorChannel::Typed(channel)).await.is_ok() {
            reply.accept().await;
        }
        Ok(())
    }

    fn adjust_window(&mut self, channel: ChannelId, _: u32) -> u32 {
        self.flow.adjust_window(channel)
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut server::Session) -> Result<(), russh::Error> {
        self.flow.data(channel, data);
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut server::Session) -> Result<(), russh::Error> {
        self.flow.eof(channel);
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut server::Session) -> Result<(), russh::Error> {
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
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        let size = WindowSize { columns, rows, width_pixels, height_pixels };
        self.request(channel, Request::Pty { term: term.to_owned(), size, modes: modes.to_vec() }, session)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        self.request(channel, Request::Env { name: name.to_owned(), value: value.to_owned() }, session)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut server::Session) -> Result<(), russh::Error> {
        self.request(channel, Request::Shell, session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        self.request(channel, Request::Subsystem(name.to_owned()), session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        self.request(channel, Request::Exec(Bytes::copy_from_slice(command)), session)
    }
}

const PASSWORD: &str = "correct horse";
/// The target breaks the connection on which this comes.
pub(crate) const DIE: &[u8] = b"die\r";

/// A machine in the plant: echoes what it gets, and does otherwise when asked to.
pub(crate) struct Target {
    addresses: [SocketAddr; 2],
    pub(crate) host_key: PrivateKey,
    pub(crate) seen: Arc<TargetSeen>,
}

/// What reached the target.
#[derive(Default)]
pub(crate) struct TargetSeen {
    pub(crate) connections: AtomicUsize,
    pub(crate) bytes: AtomicU64,
    /// How many connections brought it bytes of a channel.
    pub(crate) live: AtomicUsize,
    /// What was asked of it that no gate asks.
    pub(crate) others: AtomicUsize,
    typed: Mutex<String>,
}

impl TargetSeen {
    /// Everything typed so far.
    pub(crate) fn typed(&self) -> String {
        self.typed.lock().unwrap().clone()
    }
}

impl Target {
    async fn start() -> Self {
        let host_key = certs::ssh_ca::fresh_key("hmi-2");
        let (seen, config) = (Arc::<TargetSeen>::default(), Arc::new(server_config(host_key.clone())));
        let mut addresses = Vec::new();
        for _ in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            tokio::spawn(receive(listener, Arc::clone(&config), Arc::clone(&seen)));
        }
        Self { addresses: addresses.try_into().unwrap(), host_key, seen }
    }
}

async fn receive(listener: TcpListener, config: Arc<server::Config>, seen: Arc<TargetSeen>) {
    while let Ok((socket, _)) = listener.accept().await {
        seen.connections.fetch_add(1, Ordering::SeqCst);
        let machine =
            Machine { seen: Arc::clone(&seen), write: None, is_live: false, deaf: false, sink: false, full: false };
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            if let Ok(running) = server::run_stream(config, socket, machine).await {
                drop(running.await);
            }
        });
    }
}

struct Machine {
    seen: Arc<TargetSeen>,
    write: Option<Arc<russh::ChannelWriteHalf<Msg>>>,
    is_live: bool,
    deaf: bool,
    sink: bool,
    /// Its program reads nothing, and so its side grants no window any more.
    full: bool,
}

impl server::Handler for Machine {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        Ok(if (user, password) == ("maint", PASSWORD) { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), russh::Error> {
        self.write = Some(Arc::new(channel.split().1));
        reply.accept().await;
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], session: &mut server::Session) -> Result<(), russh::Error> {
        if !std::mem::replace(&mut self.is_live, true) {
            self.seen.live.fetch_add(1, Ordering::SeqCst);
        }
        if self.deaf {
            std::future::pending::<()>().await;
        }
        if data == DIE {
            return Err(russh::Error::Disconnect);
        }
        self.seen.bytes.fetch_add(data.len() as u64, Ordering::SeqCst);
        if self.sink {
            return Ok(());
        }
        self.seen.typed.lock().unwrap().push_str(&String::from_utf8_lossy(data));
        session.data(id, Bytes::copy_from_slice(data))?;
        Ok(())
    }

    fn adjust_window(&mut self, _: ChannelId, _: u32) -> u32 {
        // One is the target that russh never grants again for.
        if self.full { 1 } else { WINDOW_BYTES }
    }

    async fn agent_request(&mut self, _: ChannelId, _: &mut server::Session) -> Result<bool, russh::Error> {
        self.seen.others.fetch_add(1, Ordering::SeqCst);
        Ok(true)
    }

    async fn x11_request(
        &mut self,
        _: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        _: &mut server::Session,
    ) -> Result<(), russh::Error> {
        self.seen.others.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn tcpip_forward(&mut self, _: &str, _: &mut u32, _: &mut server::Session) -> Result<bool, russh::Error> {
        self.seen.others.fetch_add(1, Ordering::SeqCst);
        Ok(true)
    }

    async fn channel_eof(&mut self, id: ChannelId, session: &mut server::Session) -> Result<(), russh::Error> {
        session.exit_status_request(id, 0)?;
        session.close(id)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut server::Session) -> Result<(), russh::Error> {
        session.channel_success(id)?;
        session.data(id, Bytes::from_static(b"ready\r\n"))?;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(id)?;
        match command {
            b"deaf" => self.deaf = true,
            b"sink" => self.sink = true,
            b"full" => (self.sink, self.full) = (true, true),
            b"flood" => {
                let write = self.write.clone().unwrap();
                tokio::spawn(async move { while write.data_bytes(Bytes::from(vec![0; 32 << 10])).await.is_ok() {} });
            }
            _ => {}
        }
        Ok(())
    }
}

/// A disk whose syncs wait while it is held.
#[derive(Clone)]
pub(crate) struct SlowDisk {
    disk: SimDisk,
    held: Arc<AtomicBool>,
}

struct SlowFile {
    file: Box<dyn DiskFile>,
    held: Arc<AtomicBool>,
}

/// While it lives the disk's syncs wait; the record log's thread too, without which nothing of a test could be dropped.
pub(crate) struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl SlowDisk {
    /// Every sync waits from now on.
    pub(crate) fn hold(&self) -> Held {
        self.held.store(true, Ordering::SeqCst);
        Held(Arc::clone(&self.held))
    }

    fn slowed(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(SlowFile { file, held: Arc::clone(&self.held) })
    }
}

impl Disk for SlowDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(path).map(|file| self.slowed(file))
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create(path).map(|file| self.slowed(file))
    }
    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open_to_read(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        self.disk.lock(path)
    }
    fn unsuited(&self, dir: &Path) -> io::Result<Option<&'static str>> {
        self.disk.unsuited(dir)
    }
}

impl DiskFile for SlowFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }
    fn sync_data(&self) -> io::Result<()> {
        while self.held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.file.sync_data()
    }
}

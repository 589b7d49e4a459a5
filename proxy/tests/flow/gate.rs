//! A gate as small as can be, in a process of its own: any key opens it, every channel is carried, nothing is asked.
//! It shows what `flow`, `relay` and `ssh::channel` do by themselves; `plant` starts it and speaks to it by lines.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use approver::testing::Leased;
use bytes::Bytes;
use policies::actions::Action;
use policies::plant::FileCheck;
use proxy::files::judge::{self, Asked};
use proxy::flow::{ChannelStream, GatedStream, Reply, Request, Valve, VendorFlow, WINDOW_BYTES, WindowSize};
use proxy::ssh::channel::{Carried, Inspect, Inspected, Judge, Terms, VendorEnd, Verdict, carry};
use proxy::ssh::cut::cut;
use proxy::ssh::inspecting::Inspector;
use proxy::ssh::target::{TargetAuth, TargetPlan, TargetPool};
use proxy::uploads::{Bounds, Checks, Staging};
use russh::keys::PrivateKey;
use russh::server::{self, Auth, ChannelOpenHandle, Handle, Msg, Session};
use russh::{Channel, ChannelId, MethodKind, MethodSet, Pty, Sig};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::tape::Tape;

/// Runs the gate until its standard input ends. What it is told and tells is in `plant::Gate`.
pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let shared = Arc::new(Shared::from_environment().await);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        tell(&format!("port {}", listener.local_addr().unwrap().port()));
        let (orders, mut heard) = tokio::sync::mpsc::channel(8);
        std::thread::spawn(move || {
            for order in std::io::stdin().lock().lines() {
                orders.blocking_send(order.unwrap()).unwrap();
            }
        });
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (socket, _) = accepted.unwrap();
                    socket.set_nodelay(true).unwrap();
                    if let Some(bytes) = shared.socket_bytes {
                        set_socket_send_buffer_size(&socket, bytes).unwrap();
                        set_socket_recv_buffer_size(&socket, bytes).unwrap();
                    }
                    tokio::spawn(welcome(Arc::clone(&shared), socket));
                }
                order = heard.recv() => match order.as_deref() {
                    Some("cut") => shared.cut().await,
                    Some("freeze") => drop(shared.frozen.send(true)),
                    Some("thaw") => drop(shared.frozen.send(false)),
                    Some("hold") => drop(shared.recorder.held.send_replace(true)),
                    Some("release") => drop(shared.recorder.held.send_replace(false)),
                    Some("recorded") => tell(&format!("recorded {}", shared.recorder.told())),
                    _ => return,
                },
            }
        }
    });
}

fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n> {line}").unwrap();
    out.flush().unwrap();
}

struct Shared {
    leased: Leased,
    plan: TargetPlan,
    outer: Arc<server::Config>,
    inner: Arc<server::Config>,
    live: Mutex<Vec<Live>>,
    recorder: Tape,
    channels: AtomicU32,
    frozen: watch::Sender<bool>,
    socket_bytes: Option<usize>,
    checks: Option<Checks>,
}

struct Live {
    targets: Arc<TargetPool>,
    session: Handle,
    socket: Arc<Valve>,
}

impl Shared {
    async fn from_environment() -> Self {
        let var = |name: &str| std::env::var(name).unwrap();
        let key = russh::keys::load_secret_key(var("FLOW_KEY"), None).unwrap();
        let rekey_bytes = var("FLOW_REKEY").parse().unwrap();
        let host = certs::ssh_ca::fresh_key("");
        Self {
            leased: Leased::to(&var("FLOW_TARGET")).await,
            plan: TargetPlan {
                user: var("FLOW_USER"),
                auth: TargetAuth::Key(Arc::new(key)),
                host_key: var("FLOW_PIN"),
                legacy: false,
                patience: Duration::from_secs(10),
            },
            outer: Arc::new(config(&host, MethodKind::PublicKey, rekey_bytes)),
            inner: Arc::new(config(&host, MethodKind::None, rekey_bytes)),
            live: Mutex::default(),
            recorder: Tape::new(std::env::var_os("FLOW_RECORDS").as_deref().map(Path::new)).await,
            channels: AtomicU32::new(1),
            frozen: watch::Sender::new(false),
            socket_bytes: std::env::var("FLOW_SOCKET").ok().map(|bytes| bytes.parse().unwrap()),
            checks: std::env::var_os("FLOW_CHECKS").map(|state| checks(Path::new(&state))),
        }
    }

    fn pool(&self) -> TargetPool {
        TargetPool::new(&self.leased.lease, self.plan.clone())
    }

    async fn cut(&self) {
        let live = std::mem::take(&mut *self.live.lock().unwrap());
        let started = Instant::now();
        for one in live {
            cut(one.targets.legs(), &one.session, &one.socket, "cut by the shift lead").await;
        }
        tell(&format!("cut {}", started.elapsed().as_millis()));
    }
}

/// By a program that finds nothing.
fn checks(state: &Path) -> Checks {
    std::fs::create_dir(state).unwrap();
    let bounds = std::env::var("FLOW_BOUNDS").unwrap();
    let mut bounds = bounds.split(' ').map(|span| Duration::from_millis(span.parse().unwrap()));
    let [moves_within, reads_within, thaws_within] = [(); 3].map(|()| bounds.next().unwrap());
    let bounds = Bounds { moves_within, reads_within, thaws_within };
    let staging = Staging::open(state, Arc::new(|| Ok(true)), bounds).unwrap();
    let check = FileCheck { command: vec!["/bin/true".to_owned()], max: FileCheck::MAX };
    staging.checks(&check, &"hmi-2".parse().unwrap())
}

fn config(host: &PrivateKey, method: MethodKind, rekey_bytes: usize) -> server::Config {
    server::Config {
        keys: vec![host.clone()],
        methods: MethodSet::from(&[method][..]),
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        window_size: WINDOW_BYTES,
        channel_buffer_size: 1,
        limits: russh::Limits::new(rekey_bytes, rekey_bytes, Duration::from_secs(3600)),
        preferred: russh::Preferred {
            cipher: std::borrow::Cow::Borrowed(&[russh::cipher::AES_128_GCM, russh::cipher::AES_256_GCM]),
            ..russh::Preferred::DEFAULT
        },
        inactivity_timeout: None,
        ..server::Config::default()
    }
}

async fn welcome(shared: Arc<Shared>, socket: tokio::net::TcpStream) {
    let valve = Arc::new(Valve::default());
    let door = Door {
        flow: VendorFlow::new(Arc::clone(&valve)),
        socket: Arc::clone(&valve),
        targets: None,
        inner: false,
        shared: Arc::clone(&shared),
    };
    let stream = GatedStream::vendor(socket, Arc::clone(&valve));
    if let Ok(session) = server::run_stream(Arc::clone(&shared.outer), stream, door).await {
        drop(session.await);
    }
    shared.live.lock().unwrap().retain(|live| !Arc::ptr_eq(&live.socket, &valve));
}

struct Door {
    shared: Arc<Shared>,
    flow: VendorFlow,
    socket: Arc<Valve>,
    targets: Option<Arc<TargetPool>>,
    inner: bool,
}

impl Door {
    fn answer(session: &mut Session, channel: ChannelId, reply: Reply) -> Result<(), russh::Error> {
        match reply {
            Reply::Success => session.channel_success(channel),
            Reply::Failure => session.channel_failure(channel),
        }
    }

    fn request(&mut self, channel: ChannelId, request: Request, session: &mut Session) -> Result<(), russh::Error> {
        let reply = self.flow.request(channel, request);
        Self::answer(session, channel, reply)
    }
}

impl server::Handler for Door {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, russh::Error> {
        Ok(if self.inner { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, _: server::VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        if user.contains('+') {
            self.targets = Some(Arc::new(self.shared.pool()));
        }
        Ok(Auth::Accept)
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), russh::Error> {
        let Some(targets) = self.targets.clone() else { return Ok(()) };
        let warming = Arc::clone(&targets);
        tokio::spawn(async move { warming.warm().await });
        let socket = Arc::clone(&self.socket);
        self.shared.live.lock().unwrap().push(Live { targets, session: session.handle(), socket });
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let Some(targets) = self.targets.clone() else { return Ok(()) };
        let upload = self.flow.open_channel(channel.id());
        let vendor = VendorEnd::new(channel.split().1, session.handle(), upload);
        tokio::spawn(join(Arc::clone(&self.shared), targets, vendor, reply));
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let upload = self.flow.open_channel(channel.id());
        let (_, write) = channel.split();
        let valve = Arc::new(Valve::default());
        let door = Door {
            flow: VendorFlow::new(Arc::clone(&valve)),
            socket: Arc::clone(&self.socket),
            targets: Some(Arc::new(self.shared.pool())),
            inner: true,
            shared: Arc::clone(&self.shared),
        };
        let config = Arc::clone(&self.shared.inner);
        tokio::spawn(async move {
            reply.accept().await;
            let (stream, forwarding) = ChannelStream::new(upload, write, valve);
            let serving = async {
                if let Ok(session) = server::run_stream(config, stream, door).await {
                    drop(session.await);
                }
            };
            tokio::join!(serving, forwarding);
        });
        Ok(())
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

    async fn agent_request(&mut self, channel: ChannelId, _: &mut Session) -> Result<bool, russh::Error> {
        self.flow.refused(channel, "no agent here");
        Ok(false)
    }

    async fn signal(&mut self, channel: ChannelId, signal: Sig, session: &mut Session) -> Result<(), russh::Error> {
        self.request(channel, Request::Signal(signal), session)
    }
}

/// One channel from its opening to its end.
async fn join(shared: Arc<Shared>, targets: Arc<TargetPool>, vendor: VendorEnd, reply: ChannelOpenHandle) {
    let connection = match targets.take().await {
        Ok(connection) => connection,
        Err(fault) => return tell(&format!("fault {fault}")),
    };
    let target = match connection.open_channel().await {
        Ok(target) => target,
        Err(fault) => return tell(&format!("fault {fault}")),
    };
    reply.accept().await;
    let number = shared.channels.fetch_add(1, Ordering::Relaxed);
    let (judge, checks) = (Guard { checked: shared.checks.is_some() }, shared.checks.clone());
    let terms = Terms { recorder: &shared.recorder, number, judge: &judge, frozen: shared.frozen.subscribe(), checks };
    let carried = carry(vendor, target, terms).await;
    if carried.is_clean() {
        targets.give_back(connection);
    }
    report(&carried);
}

fn report(carried: &Carried) {
    let end = match &carried.end {
        Ok(end) => format!("{end:?}"),
        Err(fault) => format!("{fault:?}"),
    };
    let [up, down] = carried.accounts.map(|account| {
        assert_eq!(account.received, account.forwarded + account.refused + account.undelivered);
        format!("{} {} {} {}", account.received, account.forwarded, account.refused, account.made)
    });
    tell(&format!("channel {} | {up} | {down}", end.split(['(', '{']).next().unwrap().trim()));
}

/// Lets everything pass but what the tests ask it to refuse, replace or look into.
struct Guard {
    checked: bool,
}

impl Guard {
    /// What copies files, where uploads are checked.
    fn looks_into(&self, request: &Request) -> Option<Inspector> {
        let asked = match request {
            Request::Exec(line) => Asked::Exec { line, on_terminal: false },
            Request::Subsystem(name) => Asked::Subsystem(name),
            _ => return None,
        };
        let granted = [Action::Shell, Action::FileGet, Action::FilePut].into_iter().collect();
        match self.checked.then(|| judge::judge(&granted, "Ask.", true, asked)) {
            Some(judge::Verdict::Allow(Some(inspect))) => Some(Inspector::new(inspect)),
            _ => None,
        }
    }
}

impl Judge for Guard {
    fn judge(&self, request: &Request) -> Verdict {
        if let Some(inspector) = self.looks_into(request) {
            return Verdict::Allow { instead: None, inspect: Some(Box::new(inspector)) };
        }
        match request {
            Request::Exec(command) if command.starts_with(b"forbidden") => {
                Verdict::Refuse("not without shell in the grant".to_owned())
            }
            Request::Exec(command) if command.starts_with(b"replaced") => {
                Verdict::Allow { instead: Some(Request::Exec("echo instead".into())), inspect: None }
            }
            Request::Exec(command) if command.starts_with(b"cat #inspected") => {
                Verdict::Allow { instead: None, inspect: Some(Box::new(NoVowels)) }
            }
            _ => Verdict::allow(),
        }
    }

    fn waits(&self) -> String {
        "it waits".to_owned()
    }
}

/// Drops every chunk with a vowel on its way up and answers for the target.
struct NoVowels;

impl Inspect for NoVowels {
    fn upward(&mut self, chunk: Bytes) -> Inspected {
        if chunk.iter().any(|byte| b"aeiou".contains(byte)) {
            return Inspected { reply: vec!["no vowels\n".into()], refused: chunk.len(), ..Inspected::default() };
        }
        Inspected { forward: vec![chunk], ..Inspected::default() }
    }

    fn downward(&mut self, chunk: Bytes) -> Inspected {
        Inspected { forward: vec![chunk], ..Inspected::default() }
    }
}

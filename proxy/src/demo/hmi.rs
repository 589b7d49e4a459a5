//! A machine behind SSH: a server of its own on loopback with a pinned host key and one account, whose password only the
//! gate is told. What the machine does is in `panel`.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use approver::mint;
use russh::keys::{HashAlg, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session};
use russh::{Channel, ChannelId, ChannelMsg, MethodKind, MethodSet, Pty};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::keyboard::{Keyboard, Typed};
use super::panel::{PROMPT, Panel};
use super::panel_files::PanelFiles;

/// A machine's one account.
const USER: &str = "maint";

/// A running machine.
pub(super) struct Hmi {
    address: SocketAddr,
    pin: String,
    password: Arc<Zeroizing<String>>,
    connections: Arc<AtomicUsize>,
}

impl Hmi {
    /// Listens on a port of the system's choice, until `stop`.
    ///
    /// # Errors
    /// Nothing can be listened on.
    pub(super) async fn start(name: &str, tracker: &TaskTracker, stop: &CancellationToken) -> io::Result<Self> {
        let key = certs::ssh_ca::fresh_key(name);
        let password = Arc::new(Zeroizing::new(mint::nonce()));
        let pin = key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, connections) = (listener.local_addr()?, Arc::<AtomicUsize>::default());
        let house = House {
            config: Arc::new(config(key)),
            panel: Arc::new(Panel::new()),
            password: Arc::clone(&password),
            connections: Arc::clone(&connections),
            tracker: tracker.clone(),
            stop: stop.clone(),
        };
        let stop = stop.clone();
        tracker.spawn(async move { stop.run_until_cancelled_owned(house.serve(listener)).await });
        Ok(Self { address, pin, password, connections })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The fingerprint of its host key, for the plant file.
    pub(super) fn pin(&self) -> &str {
        &self.pin
    }

    /// What opens its account; for the gate alone.
    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// How often anybody reached it.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn config(key: PrivateKey) -> server::Config {
    server::Config {
        keys: vec![key],
        methods: MethodSet::from(&[MethodKind::Password][..]),
        auth_rejection_time: Duration::from_secs(1),
        auth_rejection_time_initial: Some(Duration::ZERO),
        ..server::Config::default()
    }
}

struct House {
    config: Arc<server::Config>,
    panel: Arc<Panel>,
    password: Arc<Zeroizing<String>>,
    connections: Arc<AtomicUsize>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl House {
    async fn serve(self, listener: TcpListener) {
        while let Ok((socket, _)) = listener.accept().await {
            self.connections.fetch_add(1, Ordering::SeqCst);
            let visit = Visit {
                panel: Arc::clone(&self.panel),
                password: Arc::clone(&self.password),
                tracker: self.tracker.clone(),
                channels: HashMap::new(),
            };
            let (config, stop) = (Arc::clone(&self.config), self.stop.clone());
            self.tracker.spawn(async move { stop.run_until_cancelled_owned(receive(config, socket, visit)).await });
        }
    }
}

async fn receive(config: Arc<server::Config>, socket: TcpStream, visit: Visit) {
    let ended = match server::run_stream(config, socket, visit).await {
        Ok(running) => running.await,
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the panel ended");
    }
}

/// One connection to the panel.
struct Visit {
    panel: Arc<Panel>,
    password: Arc<Zeroizing<String>>,
    tracker: TaskTracker,
    channels: HashMap<ChannelId, Waiting>,
}

/// A channel on which nothing was started yet.
struct Waiting {
    channel: Channel<Msg>,
    on_terminal: bool,
}

impl Visit {
    fn take(&mut self, id: ChannelId, session: &mut Session) -> Result<Option<Waiting>, russh::Error> {
        let waiting = self.channels.remove(&id);
        match waiting {
            Some(_) => session.channel_success(id)?,
            None => session.channel_failure(id)?,
        }
        Ok(waiting)
    }
}

impl server::Handler for Visit {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        let fits = user == USER && password == self.password.as_str();
        Ok(if fits { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.insert(channel.id(), Waiting { channel, on_terminal: false });
        reply.accept().await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        match self.channels.get_mut(&id) {
            Some(waiting) => {
                waiting.on_terminal = true;
                session.channel_success(id)
            }
            None => session.channel_failure(id),
        }
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        if let Some(waiting) = self.take(id, session)? {
            self.tracker.spawn(told(shell(waiting, Arc::clone(&self.panel))));
        }
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, line: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        if let Some(waiting) = self.take(id, session)? {
            let answer = self.panel.obey(&String::from_utf8_lossy(line));
            self.tracker.spawn(told(async move {
                waiting.say(&answer.text).await?;
                waiting.end(answer.status).await
            }));
        }
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if name != "sftp" {
            return session.channel_failure(id);
        }
        if let Some(waiting) = self.take(id, session)? {
            russh_sftp::server::run(waiting.channel.into_stream(), PanelFiles::new(Arc::clone(&self.panel))).await;
        }
        Ok(())
    }
}

async fn told(serving: impl Future<Output = Result<(), russh::Error>>) {
    if let Err(error) = serving.await {
        tracing::debug!(%error, "a channel of the panel ended");
    }
}

/// Lines and answers, until somebody leaves.
async fn shell(mut visitor: Waiting, panel: Arc<Panel>) -> Result<(), russh::Error> {
    let mut keyboard = Keyboard::default();
    visitor.say(&format!("{}{PROMPT}", panel.greeting())).await?;
    while let Some(message) = visitor.channel.wait().await {
        let data = match message {
            ChannelMsg::Data { data } => data,
            ChannelMsg::Eof => break,
            _ => continue,
        };
        for byte in data.iter() {
            match keyboard.take(*byte) {
                Typed::Nothing => {}
                Typed::Echo(text) if visitor.on_terminal => visitor.say(&text).await?,
                Typed::Echo(_) => {}
                Typed::Line(line) => {
                    let answer = panel.obey(&line);
                    let (begun, prompt) =
                        (if visitor.on_terminal { "\n" } else { "" }, if answer.leaves { "" } else { PROMPT });
                    visitor.say(&format!("{begun}{}{prompt}", answer.text)).await?;
                    if answer.leaves {
                        return visitor.end(0).await;
                    }
                }
                Typed::Left => return visitor.end(0).await,
            }
        }
    }
    visitor.end(0).await
}

impl Waiting {
    async fn say(&self, text: &str) -> Result<(), russh::Error> {
        let text = if self.on_terminal { text.replace('\n', "\r\n") } else { text.to_owned() };
        if text.is_empty() { Ok(()) } else { self.channel.data_bytes(text.into_bytes()).await }
    }

    async fn end(&self, status: u32) -> Result<(), russh::Error> {
        self.channel.exit_status(status).await?;
        self.channel.eof().await?;
        self.channel.close().await
    }
}

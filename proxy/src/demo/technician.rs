//! The technician's client in the story: russh's own, as any program of a vendor may use it. It pins the gate's host key
//! and shows what the gate says, no more.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use russh::client::{self, AuthResult, DisconnectReason, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, ChannelStream};
use russh_sftp::client::SftpSession;

/// One connection to the gate.
pub(super) struct Technician {
    handle: Handle<Ear>,
    heard: Arc<Mutex<Option<String>>>,
    user: String,
}

/// What the gate answers to a login.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Signed in.
    In,
    /// More is wanted: what it says, and what it asks.
    Asked(String, Vec<String>),
    /// No.
    Refused,
}

struct Ear {
    host_key: String,
    heard: Arc<Mutex<Option<String>>>,
}

impl client::Handler for Ear {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                key.fingerprint(HashAlg::Sha256).to_string() == self.host_key
            }
            PublicKeyOrCertificate::Certificate(_) => false,
        })
    }

    async fn disconnected(&mut self, reason: DisconnectReason<russh::Error>) -> Result<(), russh::Error> {
        let words = match reason {
            DisconnectReason::ReceivedDisconnect(info) => info.message,
            DisconnectReason::Error(error) => error.to_string(),
        };
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(words);
        Ok(())
    }
}

impl Technician {
    /// Connects, and proves the key. `Asked` is the gate's wish for a code.
    ///
    /// # Errors
    /// The gate is not there, or shows another host key.
    pub(super) async fn connect(
        gate: SocketAddr,
        host_key: &str,
        user: &str,
        key: Arc<PrivateKey>,
    ) -> Result<(Self, Reply), russh::Error> {
        let heard = Arc::<Mutex<Option<String>>>::default();
        let ear = Ear { host_key: host_key.to_owned(), heard: Arc::clone(&heard) };
        let mut handle = client::connect(Arc::new(client::Config::default()), gate, ear).await?;
        let proved = handle.authenticate_publickey(user, PrivateKeyWithHashAlg::new(key, None)).await?;
        let mut technician = Self { handle, heard, user: user.to_owned() };
        let reply = match proved {
            AuthResult::Success => Reply::In,
            AuthResult::Failure { partial_success: false, .. } => Reply::Refused,
            AuthResult::Failure { .. } => technician.begin().await?,
        };
        Ok((technician, reply))
    }

    async fn begin(&mut self) -> Result<Reply, russh::Error> {
        let user = self.user.clone();
        Ok(reply(self.handle.authenticate_keyboard_interactive_start(user, None).await?))
    }

    /// Answers what was asked.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn answer(&mut self, answers: &[&str]) -> Result<Reply, russh::Error> {
        let answers = answers.iter().map(|answer| (*answer).to_owned()).collect();
        Ok(reply(self.handle.authenticate_keyboard_interactive_respond(answers).await?))
    }

    /// Keeps the line until the answer comes.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn wait(&mut self) -> Result<Reply, russh::Error> {
        loop {
            match self.answer(&[]).await? {
                Reply::Asked(_, prompts) if prompts.is_empty() => {}
                reply => return Ok(reply),
            }
        }
    }

    /// A shell on a terminal.
    ///
    /// # Errors
    /// The gate refuses it.
    pub(super) async fn shell(&self) -> Result<Shell, russh::Error> {
        let channel = self.handle.channel_open_session().await?;
        channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await?;
        channel.request_shell(true).await?;
        Ok(Shell { channel, seen: String::new() })
    }

    /// Runs a command; gives what it wrote, and its exit status.
    ///
    /// # Errors
    /// The gate refuses it.
    pub(super) async fn run(&self, command: &str) -> Result<(String, Option<u32>), russh::Error> {
        let mut channel = self.handle.channel_open_session().await?;
        channel.exec(true, command).await?;
        let (mut text, mut status) = (String::new(), None);
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => {
                    text.push_str(&String::from_utf8_lossy(&data));
                }
                ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                _ => {}
            }
        }
        Ok((text, status))
    }

    /// File copies.
    ///
    /// # Errors
    /// The gate or the target refuses them.
    pub(super) async fn files(&self) -> Result<SftpSession, super::DemoFault> {
        let channel = self.handle.channel_open_session().await?;
        channel.request_subsystem(true, "sftp").await?;
        Ok(SftpSession::new(channel.into_stream()).await?)
    }

    /// A TCP connection to a target's service, as `ssh -L` makes one.
    ///
    /// # Errors
    /// The gate refuses it.
    pub(super) async fn forward(&self, target: &str, port: u16) -> Result<ChannelStream<client::Msg>, russh::Error> {
        let channel = self.handle.channel_open_direct_tcpip(target, port.into(), "127.0.0.1", 0).await?;
        Ok(channel.into_stream())
    }

    /// What the gate says when it closes the connection.
    pub(super) async fn farewell(self) -> String {
        // However it ends: what was heard last is the answer.
        drop(self.handle.await);
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }

    /// Hangs up.
    ///
    /// # Errors
    /// The connection is gone already.
    pub(super) async fn hang_up(self) -> Result<(), russh::Error> {
        self.handle.disconnect(russh::Disconnect::ByApplication, "", "en").await
    }
}

fn reply(response: KeyboardInteractiveAuthResponse) -> Reply {
    match response {
        KeyboardInteractiveAuthResponse::Success => Reply::In,
        KeyboardInteractiveAuthResponse::Failure { .. } => Reply::Refused,
        KeyboardInteractiveAuthResponse::InfoRequest { instructions, prompts, .. } => {
            Reply::Asked(instructions, prompts.into_iter().map(|prompt| prompt.prompt).collect())
        }
    }
}

/// A terminal at the target.
pub(super) struct Shell {
    channel: Channel<client::Msg>,
    seen: String,
}

impl Shell {
    /// Types a line.
    ///
    /// # Errors
    /// The channel is closed.
    pub(super) async fn types(&self, line: &str) -> Result<(), russh::Error> {
        self.channel.data_bytes(format!("{line}\r").into_bytes()).await
    }

    /// Everything up to and with `text`; `None` where the channel closed before.
    pub(super) async fn until(&mut self, text: &str) -> Option<String> {
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return Some(std::mem::replace(&mut self.seen, rest));
            }
            if !self.read().await {
                return None;
            }
        }
    }

    /// Everything until the channel closes.
    pub(super) async fn rest(&mut self) -> String {
        while self.read().await {}
        std::mem::take(&mut self.seen)
    }

    async fn read(&mut self) -> bool {
        match self.channel.wait().await {
            Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                self.seen.push_str(&String::from_utf8_lossy(&data));
                true
            }
            Some(_) => true,
            None => false,
        }
    }
}

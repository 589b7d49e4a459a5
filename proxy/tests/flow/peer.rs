//! A client made of russh, for what OpenSSH's does not do: signals, packets of one byte, a second program.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::client::{self, Handle, Msg};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, Sig};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

use crate::plant::{HANG, Plant};

/// A technician who is logged in.
pub(crate) struct Peer {
    runtime: Runtime,
    session: Handle<Trusting>,
}

struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// `window` is what it grants before it has read; `socket_bytes` what the kernel holds for it, each way.
async fn log_in(plant: &Plant, window: u32, socket_bytes: Option<u32>) -> Handle<Trusting> {
    let config = client::Config { nodelay: true, window_size: window, ..client::Config::default() };
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(bytes) = socket_bytes {
        socket.set_send_buffer_size(bytes).unwrap();
        socket.set_recv_buffer_size(bytes).unwrap();
    }
    let socket = socket.connect(([127, 0, 0, 1], plant.gate.port).into()).await.unwrap();
    let mut session = client::connect_stream(Arc::new(config), socket, Trusting).await.unwrap();
    let key = Arc::new(russh::keys::load_secret_key(plant.key(), None).unwrap());
    let key = PrivateKeyWithHashAlg::new(key, None);
    assert!(session.authenticate_publickey("tech+hmi-2", key).await.unwrap().success());
    session
}

/// What a channel gave until it closed.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    pub(crate) output: Vec<u8>,
    pub(crate) errors: Vec<u8>,
    pub(crate) status: Option<u32>,
    pub(crate) signal: Option<String>,
}

impl Peer {
    pub(crate) fn connect(plant: &Plant) -> Self {
        Self::with(plant, client::Config::default().window_size, None)
    }

    /// See [`log_in`].
    pub(crate) fn with(plant: &Plant, window: u32, socket_bytes: Option<u32>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let session = runtime.block_on(log_in(plant, window, socket_bytes));
        Self { runtime, session }
    }

    /// A channel in which `command` runs.
    pub(crate) fn run(&self, command: &str) -> Channel<Msg> {
        self.runtime.block_on(async {
            let channel = self.session.channel_open_session().await.unwrap();
            channel.exec(true, command).await.unwrap();
            channel
        })
    }

    /// A channel in which `command` runs after all this was sent: each with its extended data type, if any.
    pub(crate) fn run_after(&self, before: &[(Option<u32>, &'static [u8])], command: &str) -> Channel<Msg> {
        self.within(async {
            let channel = self.session.channel_open_session().await.unwrap();
            for (stream, bytes) in before {
                match stream {
                    None => channel.data_bytes(*bytes).await.unwrap(),
                    Some(stream) => channel.extended_data_bytes(*stream, *bytes).await.unwrap(),
                }
            }
            channel.exec(true, command).await.unwrap();
            channel
        })
    }

    /// Whether a second program is admitted to the channel.
    pub(crate) fn requests_again(&self, channel: &mut Channel<Msg>, command: &str) -> bool {
        self.within(async {
            assert!(matches!(channel.wait().await, Some(ChannelMsg::Success)), "the first program");
            channel.exec(true, command).await.unwrap();
            matches!(channel.wait().await, Some(ChannelMsg::Success))
        })
    }

    pub(crate) fn send(&self, channel: &mut Channel<Msg>, bytes: &'static [u8]) {
        self.within(channel.data_bytes(bytes)).unwrap();
    }

    pub(crate) fn signal(&self, channel: &Channel<Msg>, signal: Sig) {
        self.within(channel.signal(signal)).unwrap();
    }

    /// Sends packets of one byte for so long, and says how many.
    pub(crate) fn flood(&self, channel: &mut Channel<Msg>, duration: Duration) -> usize {
        let sent = Cell::new(0);
        let flood = async {
            loop {
                channel.data_bytes(Bytes::from_static(b"x")).await.unwrap();
                sent.set(sent.get() + 1);
            }
        };
        // It never ends by itself; where the window is used up, it waits.
        self.runtime.block_on(async { tokio::time::timeout(duration, flood).await }).unwrap_or(());
        sent.get()
    }

    /// Sends so many bytes and reads as many, at once.
    pub(crate) fn both_ways(&self, channel: Channel<Msg>, length: usize) {
        const PIECE: usize = 32 << 10;
        let (mut reader, writer) = channel.split();
        let writing = async {
            for _ in 0..length / PIECE {
                writer.data_bytes(Bytes::from_static(&[7; PIECE])).await.unwrap();
            }
        };
        let reading = async {
            let mut left = length;
            while left > 0 {
                if let ChannelMsg::Data { data } = reader.wait().await.expect("it goes on") {
                    left -= data.len();
                }
            }
        };
        self.within(async { tokio::join!(writing, reading) });
    }

    /// So many bytes of output.
    pub(crate) fn read(&self, channel: &mut Channel<Msg>, length: usize) -> Vec<u8> {
        self.within(async {
            let mut output = Vec::new();
            while output.len() < length {
                if let ChannelMsg::Data { data } = channel.wait().await.unwrap() {
                    output.extend_from_slice(&data);
                }
            }
            output
        })
    }

    /// Closes the program's input and waits for its end.
    pub(crate) fn finish(&self, mut channel: Channel<Msg>) -> Finished {
        self.within(async {
            channel.eof().await.unwrap();
            let mut finished = Finished::default();
            while let Some(message) = channel.wait().await {
                match message {
                    ChannelMsg::Data { data } => finished.output.extend_from_slice(&data),
                    ChannelMsg::ExtendedData { data, .. } => finished.errors.extend_from_slice(&data),
                    ChannelMsg::ExitStatus { exit_status } => finished.status = Some(exit_status),
                    ChannelMsg::ExitSignal { signal_name, .. } => finished.signal = Some(format!("{signal_name:?}")),
                    _ => {}
                }
            }
            finished
        })
    }

    fn within<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(HANG, work).await.expect("the gate hangs") })
    }
}

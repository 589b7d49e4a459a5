//! Local ports: each connection of a program on this machine joined to one of its own through the gate, dialled anew, so
//! that a line that broke keeps nobody out who comes after it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use policies::ids::SessionId;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::{Carried, NotCarried, TcpLine};

/// What went through a port so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) up: AtomicU64,
    pub(super) down: AtomicU64,
    pub(super) open: AtomicUsize,
}

/// What happened at a port.
#[derive(Debug)]
pub(super) enum Happened {
    /// A connection is carried.
    Opened { port: usize, session: SessionId },
    /// Nothing more comes from the gate, perhaps because the session is over; what the program still sends is carried.
    Finished,
    /// It is no more.
    Closed { port: usize, session: SessionId, up: u64, down: u64, why: Option<String> },
    /// The gate did not carry it.
    NotCarried { port: usize, why: NotCarried },
}

/// One local port.
pub(super) struct Port {
    /// Which of all.
    pub(super) number: usize,
    pub(super) listener: TcpListener,
    /// How the service is reached now.
    pub(super) line: watch::Receiver<TcpLine>,
    pub(super) counters: Arc<Counters>,
    /// Those of all ports that may still shake hands with the gate.
    pub(super) dialling: Arc<Semaphore>,
    pub(super) happened: mpsc::Sender<Happened>,
}

/// Handshakes with the gate at once, over all ports: fewer than it admits of strangers from one address, so that a program
/// that opens a hundred connections at once gets them all.
pub(super) const DIALLED_AT_ONCE: usize = 8;
/// A program that was not served by then has given up.
const TURN_WITHIN: Duration = Duration::from_secs(30);

/// Connections of one port at once: more than any target takes.
const CONNECTIONS_MAX: usize = 128;
const PIECE_BYTES: usize = 32 << 10;

impl Port {
    /// Serves whoever connects, until `stop`.
    pub(super) async fn serve(self, tracker: TaskTracker, stop: CancellationToken) {
        let port = Arc::new(self);
        while let Some(accepted) = stop.run_until_cancelled(port.listener.accept()).await {
            let Ok((socket, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            };
            if port.counters.open.load(Ordering::Relaxed) >= CONNECTIONS_MAX {
                continue;
            }
            let place = Place::take(&port.counters);
            let (port, stop) = (Arc::clone(&port), stop.clone());
            let carrying = async move {
                stop.run_until_cancelled_owned(port.carry(socket)).await;
                drop(place);
            };
            tracker.spawn(carrying);
        }
    }

    async fn carry(&self, socket: TcpStream) {
        let (port, line) = (self.number, self.line.borrow().clone());
        let Carried { stream, session, why } = match self.dial(&line).await {
            Ok(opened) => opened,
            Err(why) => return self.tell(Happened::NotCarried { port, why }).await,
        };
        self.tell(Happened::Opened { port, session }).await;
        let (up, down) = (AtomicU64::new(0), AtomicU64::new(0));
        let finished = async { self.tell(Happened::Finished).await };
        let joined = join(socket, stream, (&up, &self.counters.up), (&down, &self.counters.down), finished).await;
        if let Err(error) = joined {
            tracing::debug!(%error, "a connection broke");
        }
        let (up, down, why) = (up.into_inner(), down.into_inner(), why.said().await);
        self.tell(Happened::Closed { port, session, up, down, why }).await;
    }

    /// Opens a connection through the gate when its turn comes.
    async fn dial(&self, line: &TcpLine) -> Result<Carried, NotCarried> {
        let turn = timeout(TURN_WITHIN, self.dialling.acquire()).await;
        let turn = turn.map_err(|_| NotCarried::Unreachable("others that came before get no answer".into()))?;
        let opened = line.open().await;
        drop(turn);
        opened
    }

    async fn tell(&self, happened: Happened) {
        if self.happened.send(happened).await.is_err() {
            tracing::debug!("nobody listens any more");
        }
    }
}

/// A connection that counts as open.
struct Place(Arc<Counters>);

impl Place {
    fn take(counters: &Arc<Counters>) -> Self {
        counters.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counters))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

type Count<'a> = (&'a AtomicU64, &'a AtomicU64);

/// Joins two streams until both have ended, or one broke; `finished` when the gate's has.
async fn join<S: AsyncRead + AsyncWrite>(
    local: TcpStream,
    gate: S,
    up: Count<'_>,
    down: Count<'_>,
    finished: impl Future<Output = ()>,
) -> io::Result<()> {
    local.set_nodelay(true)?;
    let (local_read, local_write) = local.into_split();
    let (gate_read, gate_write) = tokio::io::split(gate);
    let from_gate = async {
        let pumped = pump(gate_read, local_write, down).await;
        finished.await;
        pumped
    };
    tokio::try_join!(pump(local_read, gate_write, up), from_gate).map(|_| ())
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    (own, all): Count<'_>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..read]).await?;
        to.flush().await?;
        own.fetch_add(read as u64, Ordering::Relaxed);
        all.fetch_add(read as u64, Ordering::Relaxed);
    }
}

/// Listens at an address.
///
/// # Errors
/// Somebody else does, or it is none of this machine's.
pub(super) async fn listen(at: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(at).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

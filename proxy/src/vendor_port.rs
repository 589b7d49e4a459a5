//! A port of the vendor face on which more than one thing is spoken: SSH, the TCP face and pages, told apart by their first
//! byte and, within TLS, by the name that is asked for. What is then spoken is known elsewhere. Until that is clear a
//! connection is a stranger's, and counts with those of the SSH face.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use approver::api::Pages;
use approver::memory::Headroom;
use policies::ids::{ServiceName, TargetName};
use rustls::ServerConfig;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ssh::face::SshFace;
use crate::ssh::face::strangers::Stranger;
use crate::tls_face::TlsFace;

/// What a port of the vendor face is made of.
pub(crate) struct PortParts {
    /// SSH.
    pub(crate) ssh: SshFace,
    /// The TCP face.
    pub(crate) tls: TlsFace,
    /// Pages, and what they are served with.
    pub(crate) pages: Pages,
    /// The certificates of the face's own name.
    pub(crate) pages_tls: watch::Receiver<Arc<ServerConfig>>,
    /// What is left for anybody.
    pub(crate) headroom: Headroom,
    /// The face's own name.
    pub(crate) host: String,
    /// Who waits for the connections' tasks.
    pub(crate) tracker: TaskTracker,
    /// The program stops.
    pub(crate) stop: CancellationToken,
}

/// What may be spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// SSH, TLS and pages.
    Everything,
    /// The TCP face alone.
    Tls,
}

/// Where connections of more than one kind come in. Cheap to clone.
#[derive(Clone)]
pub(crate) struct VendorPort(Arc<PortParts>, Arc<Semaphore>);

/// Whoever says nothing for so long waits for the other side to begin, as SSH clients may (RFC 4253, 4.2).
const SILENT: Duration = Duration::from_secs(1);
/// From the first byte to the end of the TLS handshake, as on the pages' own port.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// What a TLS connection begins with: a record of the handshake (RFC 8446, 5.1).
const HANDSHAKE_RECORD: u8 = 22;
/// Connections at once, as on a port of SSH alone.
const CONNECTIONS_MAX: usize = 4096;

impl VendorPort {
    pub(crate) fn new(parts: PortParts) -> Self {
        Self(Arc::new(parts), Arc::new(Semaphore::new(CONNECTIONS_MAX)))
    }

    /// Serves whoever connects, until the program stops. Each connection is a task of the tracker's.
    pub(crate) async fn serve(&self, listener: TcpListener, speaks: Speaks) {
        /// For a system that has run out of something, such as file descriptors.
        const BREATH: Duration = Duration::from_millis(100);
        let Self(parts, places) = self;
        loop {
            let accepted = tokio::select! {
                accepted = parts.headroom.accept(&listener) => accepted,
                () = parts.stop.cancelled() => return,
            };
            match accepted {
                Ok((socket, peer)) => {
                    // Beyond the last place the socket is closed at once.
                    let Ok(place) = Arc::clone(places).try_acquire_owned() else { continue };
                    let parts = Arc::clone(parts);
                    let stop = parts.stop.clone();
                    let stranger = parts.ssh.strangers().enter(peer.ip().to_canonical());
                    let meeting = async move {
                        parts.meet(socket, peer, stranger, speaks).await;
                        drop(place);
                    };
                    self.0.tracker.spawn(async move { stop.run_until_cancelled_owned(meeting).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }
}

/// What a connection turns out to be.
enum First {
    Ssh,
    Tls,
    Gone,
}

impl PortParts {
    /// Finds out what somebody speaks, and hands them on.
    async fn meet(&self, socket: TcpStream, peer: SocketAddr, stranger: Stranger, speaks: Speaks) {
        let turned_out = stranger.turned_out();
        let first = turned_out.run_until_cancelled(first_byte(&socket)).await.unwrap_or(First::Gone);
        match (first, speaks) {
            (First::Gone, _) => {}
            (First::Ssh, Speaks::Everything) => self.ssh.receive(socket, peer, stranger),
            (First::Ssh, Speaks::Tls) => {
                self.ssh.strangers().failed(peer.ip().to_canonical(), "what came was not TLS");
            }
            (First::Tls, _) => Box::pin(self.hear(socket, peer, stranger, speaks)).await,
        }
    }

    /// Reads the beginning of TLS, which says where they want to go.
    async fn hear(&self, socket: TcpStream, peer: SocketAddr, stranger: Stranger, speaks: Speaks) {
        let source = peer.ip().to_canonical();
        if let Err(error) = crate::dial::prepare(&socket) {
            tracing::debug!(%source, %error, "a connection was gone before it began");
            return;
        }
        if stranger.waits().await.is_none() {
            return;
        }
        let (turned_out, until) = (stranger.turned_out(), Instant::now() + HANDSHAKE_MAX);
        let hello = timeout_at(until, LazyConfigAcceptor::new(Acceptor::default(), socket));
        let start = match turned_out.run_until_cancelled(hello).await {
            Some(Ok(Ok(start))) => start,
            Some(Ok(Err(error))) => {
                tracing::debug!(%source, %error, "no TLS");
                return self.ssh.strangers().failed(source, "what came was not as TLS wants it");
            }
            Some(Err(_)) => return self.ssh.strangers().failed(source, "TLS did not begin in time"),
            None => return,
        };
        match Wanted::of(&start.client_hello(), &self.host, speaks) {
            Wanted::Pages => {
                let shaking = timeout_at(until, start.into_stream(self.pages_tls.borrow().clone()));
                match turned_out.run_until_cancelled(shaking).await {
                    Some(Ok(Ok(stream))) => {
                        drop(stranger);
                        self.pages.serve(stream, peer).await;
                    }
                    Some(Ok(Err(error))) => tracing::debug!(%source, %error, "no TLS"),
                    Some(Err(_)) | None => tracing::debug!(%source, "no TLS in time"),
                }
            }
            Wanted::Service(place) => self.tls.receive(start, place, source, stranger, until),
            Wanted::Nothing => {
                self.ssh.strangers().failed(source, "TLS was asked for a name that is none of this gate's");
                turned_out.run_until_cancelled(refuse(start, until)).await;
            }
        }
    }
}

/// Which kind of connection this is, by what it says first; nothing is taken from the socket.
async fn first_byte(socket: &TcpStream) -> First {
    let mut byte = [0];
    match timeout(SILENT, socket.peek(&mut byte)).await {
        Ok(Ok(1..)) if byte == [HANDSHAKE_RECORD] => First::Tls,
        Ok(Ok(1..)) | Err(_) => First::Ssh,
        Ok(Ok(0) | Err(_)) => First::Gone,
    }
}

/// Where a connection of the TCP face wants to go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TcpPlace {
    /// The target.
    pub(crate) target: TargetName,
    /// Which service; none where the target has one.
    pub(crate) service: Option<ServiceName>,
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Pages,
    Service(TcpPlace),
    Nothing,
}

impl Wanted {
    fn of(hello: &ClientHello<'_>, host: &str, speaks: Speaks) -> Self {
        Self::by_name(hello.server_name(), host, speaks)
    }

    /// `<service>.<target>.<host>`, or `<target>.<host>`. Whoever names nobody, as one who knows only the address, means
    /// the pages.
    fn by_name(name: Option<&str>, host: &str, speaks: Speaks) -> Self {
        let pages = if speaks == Speaks::Everything { Self::Pages } else { Self::Nothing };
        let Some(name) = name.map(str::to_ascii_lowercase) else { return pages };
        if name == host {
            return pages;
        }
        let labels = name.strip_suffix(host).and_then(|rest| rest.strip_suffix('.'));
        let labels: Vec<&str> = labels.map(|labels| labels.split('.').collect()).unwrap_or_default();
        let place = match labels.as_slice() {
            [target] => target.parse().ok().map(|target| TcpPlace { target, service: None }),
            [service, target] => match (service.parse().ok(), target.parse().ok()) {
                (Some(service), Some(target)) => Some(TcpPlace { target, service: Some(service) }),
                _ => None,
            },
            _ => None,
        };
        place.map_or(Self::Nothing, Self::Service)
    }
}

/// Ends a handshake with an alert, without showing who we are.
async fn refuse(start: StartHandshake<TcpStream>, until: Instant) {
    #[derive(Debug)]
    struct NoCertificate;
    impl ResolvesServerCert for NoCertificate {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            None
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider speaks TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(NoCertificate));
    drop(timeout_at(until, start.into_stream(Arc::new(config))).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_where_to_go_and_one_of_another_host_goes_nowhere() {
        let by_name = |name: &str, speaks| Wanted::by_name(Some(name), "gate.example", speaks);
        let place = |target: &str, service: Option<&str>| {
            Wanted::Service(TcpPlace {
                target: target.parse().unwrap(),
                service: service.map(|service| service.parse().unwrap()),
            })
        };
        let all = Speaks::Everything;
        assert_eq!(by_name("gate.example", all), Wanted::Pages);
        assert_eq!(by_name("GATE.example", all), Wanted::Pages);
        assert_eq!(Wanted::by_name(None, "gate.example", all), Wanted::Pages);
        assert_eq!(by_name("plc-7.gate.example", all), place("plc-7", None));
        assert_eq!(by_name("modbus.plc-7.Gate.Example", all), place("plc-7", Some("modbus")));
        for nothing in
            ["evil.example", "xgate.example", "a.b.c.gate.example", ".gate.example", "-.gate.example", "example"]
        {
            assert_eq!(by_name(nothing, all), Wanted::Nothing, "{nothing}");
        }
        assert_eq!(by_name("gate.example", Speaks::Tls), Wanted::Nothing);
        assert_eq!(Wanted::by_name(None, "gate.example", Speaks::Tls), Wanted::Nothing);
        assert_eq!(by_name("plc-7.gate.example", Speaks::Tls), place("plc-7", None));
    }

    #[tokio::test]
    async fn the_first_byte_tells_and_stays_where_it_is() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pair = async || {
            let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            (client.unwrap(), accepted.unwrap().0)
        };
        for (said, is_tls) in [(&b"SSH-2.0-x"[..], false), (b"\x16\x03\x01", true), (b"GET / ", false)] {
            let (mut client, mut socket) = pair().await;
            client.write_all(said).await.unwrap();
            assert_eq!(matches!(first_byte(&socket).await, First::Tls), is_tls);
            let mut read = vec![0; said.len()];
            socket.read_exact(&mut read).await.unwrap();
            assert_eq!(read, said);
        }
        let (client, socket) = pair().await;
        assert!(matches!(first_byte(&socket).await, First::Ssh), "who is silent waits to be spoken to");
        drop(client);
        assert!(matches!(first_byte(&socket).await, First::Gone));
    }
}

//! The listener of a face: TLS 1.3, HTTP/1.1, and limits on all that a stranger can hold or ask for; a witness is served
//! without TLS. What is served is the router's business.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::problem::Problem;
use super::staying::Hangup;
use super::{Peer, Source};
use crate::memory::Headroom;

/// What a face gives its callers at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once, in all. Beyond it new ones wait in the kernel.
    pub connections: usize,
    /// Connections at once from one source. Beyond it a new one is closed.
    pub connections_per_source: usize,
    /// How long a reader of a stream may take nothing of it, and a request's body may take to come.
    pub stalled_max: Duration,
    /// From accepting a connection to the end of its TLS handshake, and from there to the end of each request's head.
    pub head_wait: Duration,
    /// Requests a source may make at once.
    pub burst: u32,
    /// Requests a second a source may make in the long run.
    pub requests_per_second: u32,
}

impl Default for Limits {
    /// A control room is a handful of people, each with a few windows; one address may be the NAT of a whole vendor.
    fn default() -> Self {
        Self {
            connections: 512,
            connections_per_source: 64,
            stalled_max: Duration::from_secs(60),
            head_wait: Duration::from_secs(10),
            burst: 120,
            requests_per_second: 20,
        }
    }
}

/// How long running requests may take once the face stops.
const DRAIN: Duration = Duration::from_secs(5);
/// After a failed accept (no file descriptors left) a moment passes, so that the log does not fill.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Serves until `stop`, then waits for what runs, but not long. `tls` may change; new connections get what it is then.
/// While there is no headroom nobody is served.
///
/// # Errors
/// Never yet: what fails on the way concerns one connection, and is logged.
pub async fn serve(
    listener: TcpListener,
    tls: watch::Receiver<Arc<ServerConfig>>,
    router: Router,
    limits: (Limits, Headroom),
    stop: CancellationToken,
) -> io::Result<()> {
    serve_with(listener, Some(tls), router, limits, stop).await
}

/// The same without TLS, for what is signed in itself and secret to nobody.
///
/// # Errors
/// As [`serve`].
pub async fn serve_in_the_clear(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) -> io::Result<()> {
    serve_with(listener, None, router, (limits, Headroom::always()), stop).await
}

async fn serve_with(
    listener: TcpListener,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    router: Router,
    (limits, headroom): (Limits, Headroom),
    stop: CancellationToken,
) -> io::Result<()> {
    let (tracker, sources) = (TaskTracker::new(), Arc::new(Sources::new(limits)));
    let places = Arc::new(Semaphore::new(limits.connections));
    while let Some(place) = stop.run_until_cancelled(places.clone().acquire_owned()).await {
        let place = place.expect("this semaphore is never closed");
        let Some(accepted) = stop.run_until_cancelled(headroom.accept(&listener)).await else { break };
        match accepted {
            Ok((socket, from)) => {
                let Some(seat) = sources.sit(from.ip()) else { continue };
                let tls = tls.as_ref().map(|tls| tls.borrow().clone());
                let (router, headroom) = (router.clone(), headroom.clone());
                let guest = Guest { peer: from, router, limits, headroom, seat, _place: place };
                tracker.spawn(guest.serve(socket, tls, stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    tracker.close();
    if tokio::time::timeout(DRAIN, tracker.wait()).await.is_err() {
        tracing::warn!(left = tracker.len(), "requests still run, and the face stops without them");
    }
    Ok(())
}

/// A face without a listener of its own: what is served to connections that something else accepted and ended the TLS of,
/// within the same limits. Cheap to clone.
#[derive(Clone)]
pub struct Pages {
    router: Router,
    limits: Limits,
    headroom: Headroom,
    sources: Arc<Sources>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Pages {
    /// Until `stop`, from when on running requests get a moment more.
    pub fn new(router: Router, (limits, headroom): (Limits, Headroom), stop: CancellationToken) -> Self {
        let (sources, places) = (Arc::new(Sources::new(limits)), Arc::new(Semaphore::new(limits.connections)));
        Self { router, limits, headroom, sources, places, stop }
    }

    /// Serves one connection to its end, or until it is something else than pages; beyond the limits it is closed at once.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: SocketAddr) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let Some(seat) = self.sources.sit(peer.ip()) else { return };
        let (router, limits, headroom) = (self.router.clone(), self.limits, self.headroom.clone());
        Guest { peer, router, limits, headroom, seat, _place: place }.speak(stream, self.stop.clone()).await;
    }
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pages({:?})", self.limits)
    }
}

/// One connection.
struct Guest {
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    headroom: Headroom,
    seat: Seat,
    _place: OwnedSemaphorePermit,
}

impl Guest {
    async fn serve(self, socket: TcpStream, tls: Option<Arc<ServerConfig>>, stop: CancellationToken) {
        // A small answer shall not wait for the next one.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "no delay");
        }
        let Some(tls) = tls else { return self.speak(socket, stop).await };
        let handshake = tokio::time::timeout(self.limits.head_wait, TlsAcceptor::from(tls).accept(socket));
        match handshake.await {
            Ok(Ok(stream)) => self.speak(stream, stop).await,
            Ok(Err(error)) => tracing::debug!(peer = %self.peer, %error, "no TLS"),
            Err(_) => tracing::debug!(peer = %self.peer, "no TLS in time"),
        }
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, stop: CancellationToken) {
        let inner = TowerToHyperService::new(self.router);
        let (peer, source, seat) = (self.peer, Source(self.peer.ip().to_canonical()), self.seat);
        let (hangup, hung_up) = Hangup::new(self.limits.stalled_max);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let admitted = seat.may_ask();
            request.extensions_mut().insert(source);
            request.extensions_mut().insert(Peer(peer));
            request.extensions_mut().insert(hangup.clone());
            let inner = inner.clone();
            async move {
                if !admitted {
                    return Ok::<Response, Infallible>(Problem::too_many().into_response());
                }
                inner.call(request).await
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_wait)
            .max_headers(64)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = hung_up => return,
            () = self.headroom.gone() => return,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(DRAIN, connection).await {
                    Ok(served) => served,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "a connection ended early");
        }
    }
}

/// What each source holds and has asked for. Addresses of one IPv6 customer (a /64) are one source.
struct Sources {
    limits: Limits,
    seen: Mutex<HashMap<IpAddr, Seen>>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    connections: usize,
    tokens: f64,
    at: Instant,
}

/// Remembered at most; each takes some hundred bytes. Who holds no connection and has asked for nothing is forgotten
/// first; where all have, newcomers wait outside.
const SOURCES_MAX: usize = 16_384;

impl Sources {
    fn new(limits: Limits) -> Self {
        Self { limits, seen: Mutex::default() }
    }

    /// A place for one more connection of this source, given up when dropped.
    fn sit(self: &Arc<Self>, ip: IpAddr) -> Option<Seat> {
        let key = key_of(ip);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if seen.len() >= SOURCES_MAX && !seen.contains_key(&key) {
            seen.retain(|_, seen| seen.connections > 0 || self.refilled(seen, now) < f64::from(self.limits.burst));
            if seen.len() >= SOURCES_MAX {
                return None;
            }
        }
        let fresh = Seen { connections: 0, tokens: f64::from(self.limits.burst), at: now };
        let one = seen.entry(key).or_insert(fresh);
        if one.connections >= self.limits.connections_per_source {
            return None;
        }
        one.connections += 1;
        Some(Seat { sources: self.clone(), key })
    }

    fn refilled(&self, seen: &Seen, now: Instant) -> f64 {
        let gained = now.duration_since(seen.at).as_secs_f64() * f64::from(self.limits.requests_per_second);
        (seen.tokens + gained).min(f64::from(self.limits.burst))
    }

    fn take(&self, key: IpAddr) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let Some(one) = seen.get_mut(&key) else { return false };
        one.tokens = self.refilled(one, now);
        one.at = now;
        let may = one.tokens >= 1.0;
        if may {
            one.tokens -= 1.0;
        }
        may
    }

    fn leave(&self, key: IpAddr) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = seen.get_mut(&key) {
            one.connections -= 1;
        }
    }
}

fn key_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

/// Holds a connection's place.
struct Seat {
    sources: Arc<Sources>,
    key: IpAddr,
}

impl Seat {
    fn may_ask(&self) -> bool {
        self.sources.take(self.key)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.sources.leave(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_asks_too_often_waits_and_another_does_not() {
        let limits = Limits { burst: 2, requests_per_second: 1, ..Limits::default() };
        let sources = Arc::new(Sources::new(limits));
        let (one, other) = (sources.sit(ip("192.0.2.1")).unwrap(), sources.sit(ip("192.0.2.2")).unwrap());
        assert!(one.may_ask() && one.may_ask() && !one.may_ask());
        assert!(other.may_ask());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(one.may_ask() && !one.may_ask());
    }

    #[tokio::test]
    async fn a_source_has_so_many_connections_and_gets_each_back() {
        let sources = Arc::new(Sources::new(Limits { connections_per_source: 1, ..Limits::default() }));
        let seat = sources.sit(ip("2001:db8::1")).unwrap();
        assert!(sources.sit(ip("2001:db8::2")).is_none());
        assert!(sources.sit(ip("2001:db8:0:1::2")).is_some());
        drop(seat);
        assert!(sources.sit(ip("2001:db8::2")).is_some());
    }
}

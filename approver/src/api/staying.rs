//! Streams without an end of their own: whoever reads one stays as long as they may, and as long as they read. A
//! connection that takes nothing is never asked for its next piece, so what ends it stands beside it, not in it.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use futures::future::BoxFuture;
use futures::stream;
use policies::state::State as Plant;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Api;

/// Whoever may stay no longer has so long to read why.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

/// Ends a connection from beside; one for each connection.
#[derive(Clone)]
pub(super) struct Hangup {
    watches: mpsc::Sender<BoxFuture<'static, bool>>,
    stalled_max: Duration,
}

impl Hangup {
    /// With what completes when the connection is to be ended. Of a stream, nobody takes nothing for longer than `stalled_max`.
    pub(super) fn new(stalled_max: Duration) -> (Self, impl Future<Output = ()>) {
        // One request at a time has a connection, and what watched the last is done with it.
        let (watches, mut wanted): (mpsc::Sender<BoxFuture<'static, bool>>, _) = mpsc::channel(4);
        let hung_up = async move {
            while let Some(watch) = wanted.recv().await {
                if watch.await {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        (Self { watches, stalled_max }, hung_up)
    }

    /// How long this connection is waited for, in either direction.
    pub(super) const fn patience(&self) -> Duration {
        self.stalled_max
    }
}

impl<S: Sync> FromRequestParts<S> for Hangup {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let nobody_watches = || Self::new(Duration::MAX).0;
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(nobody_watches))
    }
}

/// What is read piece by piece, until it has no more.
pub(super) trait Reading: Send + 'static {
    /// The next piece.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// A body of what is read, for as long as `may_stay` says so of what stands. What is read has to see for itself that
/// they may no longer, and say so; this ends it for those who do not listen.
pub(super) fn body(
    api: &Api,
    hangup: &Hangup,
    may_stay: impl Fn(&Plant) -> bool + Send + Sync + 'static,
    reading: impl Reading,
) -> Body {
    let (given, seen) = watch::channel(None);
    let gone = CancellationToken::new();
    let watching = watching(api.clone(), may_stay, seen, hangup.stalled_max, gone.clone());
    if hangup.watches.try_send(Box::pin(watching)).is_err() {
        tracing::debug!("nobody looks whether a reader reads");
    }
    let reader = Reader { reading, given, _gone: gone.drop_guard() };
    Body::from_stream(stream::unfold(reader, |mut reader| async move {
        reader.given.send_replace(None);
        let piece = reader.reading.next().await?;
        reader.given.send_replace(Some(Instant::now()));
        Some((Ok::<_, Infallible>(piece), reader))
    }))
}

/// Hangs up once something is `over` of which a body tells, though nobody takes it; not where what is given back was dropped by then.
pub(super) fn hang_up_after(hangup: &Hangup, over: impl Future<Output = ()> + Send + 'static) -> DropGuard {
    let gone = CancellationToken::new();
    let left = gone.clone();
    let watching = async move {
        tokio::select! {
            () = left.cancelled() => return false,
            () = over => {}
        }
        tokio::select! {
            () = left.cancelled() => false,
            () = sleep(LAST_WORDS_MAX) => true,
        }
    };
    if hangup.watches.try_send(Box::pin(watching)).is_err() {
        tracing::debug!("nobody looks whether a reader reads");
    }
    gone.drop_guard()
}

struct Reader<R> {
    reading: R,
    /// Since when the last piece is on its way; none while the next is waited for.
    given: watch::Sender<Option<Instant>>,
    _gone: DropGuard,
}

/// Whether the connection is to be ended; it is not where the reader left by themselves.
async fn watching(
    api: Api,
    may_stay: impl Fn(&Plant) -> bool + Send + Sync,
    given: watch::Receiver<Option<Instant>>,
    stalled_max: Duration,
    gone: CancellationToken,
) -> bool {
    let put_out = async {
        loop {
            let size = api.desk().head().size;
            if !api.desk().with_state(&may_stay) {
                return sleep(LAST_WORDS_MAX).await;
            }
            api.desk().changed(size).await;
        }
    };
    let why = tokio::select! {
        () = gone.cancelled() => return false,
        () = put_out => "may stay no longer",
        () = stalled(given, stalled_max) => "takes nothing",
    };
    tracing::info!("a reader of a stream {why}, and is sent away");
    true
}

async fn stalled(mut given: watch::Receiver<Option<Instant>>, most: Duration) {
    loop {
        let since = *given.borrow_and_update();
        let end = since.and_then(|since| since.checked_add(most));
        tokio::select! {
            changed = given.changed() => if changed.is_err() { return std::future::pending().await },
            () = async { match end { Some(end) => sleep_until(end).await, None => std::future::pending().await } } => return,
        }
    }
}

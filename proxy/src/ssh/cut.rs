//! Ending a session now: the target first and without waiting, then the technician, who is told why.

use std::time::{Duration, Instant};

use russh::Disconnect;
use russh::server::Handle;

use crate::flow::Valve;
use crate::legs::Legs;

/// How long after the cut the technician's socket is closed at the latest. Who reads has taken the words by then; what is
/// left of the second that was promised is for a busy machine.
const SOCKET_OPEN_MAX: Duration = Duration::from_millis(400);

/// Cuts a session. When this is first polled, no byte reaches the target any more; within a second of the moment when
/// the targets were cut nothing passes between gate and technician any more, and the technician's socket is closed: at
/// once where their client closes it on reading `words`, later where it is still to read them.
///
/// `session` is the one the technician works in, the inner one of `-J`; `socket` is the valve of the connection they
/// came by, the outer one.
pub async fn cut(targets: &Legs, session: &Handle, socket: &Valve, words: &str) {
    targets.cut();
    // What is still on its way from the technician would only delay the words.
    socket.stop_listening();
    let close_at = targets.cut_at().unwrap_or_else(Instant::now) + SOCKET_OPEN_MAX;
    let disconnect = session.disconnect(Disconnect::ByApplication, words.to_owned(), "en".to_owned());
    let taken = async {
        disconnect.await?;
        socket.gone().await;
        Ok::<_, russh::Error>(())
    };
    match tokio::time::timeout_at(close_at.into(), taken).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => tracing::debug!("the session had ended before it was cut"),
        Err(_) => tracing::debug!("the client did not hang up, so it is cut"),
    }
    socket.cut();
}

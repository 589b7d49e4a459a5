//! Ending a session now: the target first and without waiting, then the technician, who is told why.

use std::time::Duration;

use russh::Disconnect;
use russh::server::Handle;

use super::target::TargetPool;
use crate::flow::Valve;

/// Cuts a session. When this is first polled, no byte reaches the target any more; within a second the technician's
/// socket is closed, at once where their client closes it on reading `words`.
///
/// `session` is the one the technician works in, the inner one of `-J`; `socket` is the valve of the connection they
/// came by, the outer one.
pub async fn cut(targets: &TargetPool, session: &Handle, socket: &Valve, words: &str) {
    /// For a session whose loop is busy writing to a client that does not read.
    const DISCONNECT_MAX: Duration = Duration::from_millis(300);
    /// For the words to arrive and the client to hang up.
    const HANG_UP_MAX: Duration = Duration::from_millis(500);
    targets.cut();
    let disconnect = session.disconnect(Disconnect::ByApplication, words.to_owned(), "en".to_owned());
    match tokio::time::timeout(DISCONNECT_MAX, disconnect).await {
        Ok(Ok(())) => {
            if tokio::time::timeout(HANG_UP_MAX, socket.gone()).await.is_err() {
                tracing::debug!("the client did not hang up, so it is cut");
            }
        }
        Ok(Err(_)) => tracing::debug!("the session had ended before it was cut"),
        Err(_) => tracing::debug!("the client takes nothing, so it is cut without words"),
    }
    socket.cut();
}

//! What a thread writes, as a connection takes it. Whoever takes nothing for long has gone, and holds up nobody.

use std::io::{self, Write};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Pieces that wait for the connection.
const PIECES_WAITING: usize = 4;
const PIECE_BYTES: usize = 256 << 10;
/// Who takes no piece for so long has gone.
pub(super) const STALLED: Duration = Duration::from_secs(600);

/// A body of what `write` writes, on a thread, until it is done or nobody took a piece for `patience`. Where it fails, the body
/// has no end: half of it is never taken for the whole. All that `write` holds is let go before that is said.
pub(super) fn body(
    what: &'static str,
    patience: Duration,
    write: impl FnOnce(Pieces) -> io::Result<()> + Send + 'static,
) -> Body {
    let (pieces, taken) = mpsc::channel(PIECES_WAITING);
    tokio::task::spawn_blocking(move || {
        let to = Pieces { to: pieces.clone(), patience, gathered: Vec::with_capacity(PIECE_BYTES) };
        if let Err(error) = write(to) {
            tracing::error!(%error, "{what} broke off");
            drop(pieces.blocking_send(Err(error)));
        }
    });
    Body::from_stream(stream::unfold(taken, |mut taken| async move { Some((taken.recv().await?, taken)) }))
}

/// Gathers what is written into pieces.
pub(super) struct Pieces {
    to: mpsc::Sender<io::Result<Bytes>>,
    patience: Duration,
    gathered: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE_BYTES {
            self.hand_over()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_over()
    }
}

impl Pieces {
    /// Hands the last piece over.
    pub(super) fn end(mut self) -> io::Result<()> {
        self.hand_over()
    }

    fn hand_over(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.gathered, Vec::with_capacity(PIECE_BYTES));
        if piece.is_empty() {
            return Ok(());
        }
        let taken = tokio::time::timeout(self.patience, self.to.send(Ok(piece.into())));
        match Handle::current().block_on(taken) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "nobody takes it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_takes_nothing_is_not_waited_for_and_who_takes_is() {
        let (to, mut taken) = mpsc::channel(1);
        let pieces = |patience| Pieces { to: to.clone(), patience, gathered: vec![7] };
        let mut first = pieces(Duration::from_secs(60));
        tokio::task::spawn_blocking(move || first.flush()).await.unwrap().unwrap();
        let mut second = pieces(Duration::from_millis(20));
        let stalled = tokio::task::spawn_blocking(move || second.flush()).await.unwrap().unwrap_err();
        assert_eq!(stalled.kind(), io::ErrorKind::TimedOut);
        let mut third = pieces(Duration::from_secs(60));
        let waits = tokio::task::spawn_blocking(move || third.flush());
        assert!(taken.recv().await.unwrap().is_ok());
        waits.await.unwrap().unwrap();
    }
}

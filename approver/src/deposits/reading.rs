//! What lies in the bucket alone, read through this gate: a recording's files as they were deposited, in pieces, by whoever
//! sends them on. They are ciphertext, and whoever opens them checks them.

use std::io::{self, Cursor, Read};
use std::sync::Arc;

use policies::ids::SessionId;
use recordings::keeping::Copied;
use tokio::runtime::Handle;

use super::{BrokenOff, Deposits, key};
use crate::blobs::{BlobFault, Blobs};

/// Asked for at once.
const PIECE: usize = 4 << 20;

/// A file in the bucket.
pub(crate) struct Remote {
    bucket: Arc<dyn Blobs>,
    key: String,
    version: String,
    /// How many bytes it has.
    pub(crate) bytes: u64,
    runtime: Handle,
}

impl Deposits {
    /// Whether the bucket answers.
    pub(crate) async fn can_be_had(&self) -> Result<(), BlobFault> {
        self.at.bucket.check().await
    }

    /// The files of a session that lie in the bucket, by their names in the session's folder: those that the record log names.
    /// The bucket is not asked.
    pub(crate) async fn files(&self, session: SessionId) -> Result<Vec<(String, Remote)>, BrokenOff> {
        let said = self.at.copies.of(session).await?;
        let remote = |copied: Copied| {
            let (bucket, runtime) = (Arc::clone(&self.at.bucket), Handle::current());
            let key = key(&self.at.node, session, &copied.name);
            (copied.name, Remote { bucket, key, version: copied.version, bytes: copied.bytes, runtime })
        };
        Ok(said.into_iter().map(remote).collect())
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({}, {} bytes)", self.key, self.bytes)
    }
}

impl Remote {
    /// Whether it is there, as long as the log says.
    pub(crate) async fn is_there(&self) -> Result<bool, BlobFault> {
        let looked = self.bucket.look(&self.key, &self.version).await?;
        Ok(looked.is_some_and(|kept| kept.bytes == self.bytes))
    }

    /// Its bytes, for a thread that may block.
    pub(crate) fn read(self) -> impl Read + Send {
        Reading { of: self, at: 0, piece: Cursor::default() }
    }
}

struct Reading {
    of: Remote,
    at: u64,
    piece: Cursor<Vec<u8>>,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.position() == self.piece.get_ref().len() as u64 && self.at < self.of.bytes {
            let Remote { bucket, key, version, runtime, .. } = &self.of;
            let piece = runtime.block_on(bucket.read(key, version, self.at, PIECE)).map_err(io::Error::other)?;
            self.at += piece.len() as u64;
            self.piece = Cursor::new(piece);
        }
        self.piece.read(buffer)
    }
}

//! A file that the page wants: read from the target no faster than the browser takes it.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use approver::carrier::Fetched;
use approver::mint;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use policies::digest::Digest;
use policies::ids::PersonId;
use russh_sftp::client::error::Error;
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Answer, Place, in_words};

/// From the page's form to its answer, over the slowest line.
const TICKET_LASTS: Duration = Duration::from_secs(60);
/// A download may be paused for so long.
const STALLED: Duration = Duration::from_secs(5 * 60);
/// What is asked for at once: every server gives so much (draft-ietf-secsh-filexfer-02, 3).
const PIECE_BYTES: u32 = 32 << 10;
/// Questions under way.
const READS_MAX: usize = 16;
/// Pieces that the browser has not taken.
const TAKEN_LATER_MAX: usize = 2;

const STOPPED: &str = "your browser stopped it";
const TAKES_NOTHING: &str = "your browser took nothing of it for minutes";

/// Files that wait for their browser, by the digest of their ticket.
#[derive(Default)]
pub(crate) struct Fetches(Mutex<HashMap<Digest, Waiting>>);

struct Waiting {
    person: PersonId,
    fetched: Fetched,
    begun: oneshot::Sender<()>,
}

impl Fetches {
    /// The file of a ticket, once, for whom it was opened; whoever else shows it spends it, too.
    pub(crate) fn take(&self, ticket: &str, person: PersonId) -> Option<Fetched> {
        let waiting = self.lock().remove(&Digest::of_bytes(ticket.as_bytes()))?;
        (waiting.person == person && waiting.begun.send(()).is_ok()).then_some(waiting.fetched)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A ticket, which is worth nothing once this is dropped.
struct Ticket {
    fetches: Arc<Fetches>,
    id: Digest,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.fetches.lock().remove(&self.id);
    }
}

impl Place {
    /// Opens a file, and gives it to the browser once that comes for it.
    pub(super) async fn fetch(&self, n: u32, path: String) -> Answer {
        let name = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("file").to_owned();
        let (handle, size) = match self.open(path).await {
            Ok(opened) => opened,
            Err(words) => return Answer::Failed { words },
        };
        let (to, body) = mpsc::channel(TAKEN_LATER_MAX);
        let secret = data_encoding::HEXLOWER.encode(&mint::random::<32>());
        let id = Digest::of_bytes(secret.as_bytes());
        let (begun, begins) = oneshot::channel();
        let taken = Arc::new(AtomicU64::new(0));
        let over = CancellationToken::new();
        let fetched = Fetched { name, size, body, taken: Arc::clone(&taken), over: over.clone() };
        let _over = over.drop_guard();
        self.fetches.lock().insert(id, Waiting { person: self.person, fetched, begun });
        let ticket = Ticket { fetches: Arc::clone(&self.fetches), id };
        let told = self.say(n, Answer::Fetchable { ticket: secret }).await;
        let began = told && matches!(timeout(TICKET_LASTS, begins).await, Ok(Ok(())));
        drop(ticket);
        let read = match began {
            true => self.read(&handle, size, &to).await,
            false => Err("your browser did not come for it".to_owned()),
        };
        let closed = self.sftp.close(handle).await;
        let taken = match read.and_then(|bytes| closed.map(|_| bytes).map_err(|fault| in_words(&fault))) {
            Ok(bytes) => taken_whole(&to, size, &taken, bytes).await,
            Err(words) => Err(words),
        };
        match taken {
            Ok(bytes) => Answer::Fetched { bytes },
            Err(words) => Answer::NotFetched { words },
        }
    }

    /// The handle, and how long the file is where it says so: those of a system's own making say nothing.
    async fn open(&self, path: String) -> Result<(String, Option<u64>), String> {
        let sftp = &self.sftp;
        let attributes = sftp.stat(path.as_str()).await.map_err(|fault| in_words(&fault))?.attrs;
        if attributes.is_dir() {
            return Err("it is a folder: its files can be fetched one by one".to_owned());
        }
        let opened = sftp.open(path, OpenFlags::READ, FileAttributes::empty()).await;
        let handle = opened.map_err(|fault| in_words(&fault))?.handle;
        let size = sftp.fstat(handle.as_str()).await.ok().and_then(|stat| stat.attrs.size);
        Ok((handle, size.filter(|size| *size > 0)))
    }

    /// So many bytes as the file had when it was opened; to its end, where it did not say how many.
    async fn read(&self, handle: &str, size: Option<u64>, to: &mpsc::Sender<io::Result<Bytes>>) -> Result<u64, String> {
        let (most, abreast) = size.map_or((u64::MAX, 1), |size| (size, READS_MAX));
        let (mut asked, mut bytes) = (0, 0);
        let mut reads = FuturesOrdered::new();
        while bytes < most {
            while reads.len() < abreast && asked < most {
                let (at, length) = (asked, PIECE_BYTES.min(u32::try_from(most - asked).unwrap_or(PIECE_BYTES)));
                asked += u64::from(length);
                reads.push_back(async move { (length, self.sftp.read(handle, at, length).await) });
            }
            let (length, read) = reads.next().await.expect("one is asked for while there is less than all");
            let piece = match read {
                Ok(piece) if !piece.data.is_empty() && piece.data.len() <= length as usize => piece.data,
                Ok(_) => return fails(to, "the machine answered with what means nothing here".to_owned()).await,
                Err(Error::Status(status)) if status.status_code == StatusCode::Eof && size.is_none() => break,
                Err(Error::Status(status)) if status.status_code == StatusCode::Eof => {
                    return fails(to, "it became shorter meanwhile".to_owned()).await;
                }
                Err(fault) => return fails(to, in_words(&fault)).await,
            };
            bytes += piece.len() as u64;
            if piece.len() < length as usize {
                // What was asked for behind it no longer follows.
                reads.clear();
                asked = bytes;
            }
            match timeout(STALLED, to.send(Ok(piece.into()))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(STOPPED.to_owned()),
                Err(_) => return fails(to, TAKES_NOTHING.to_owned()).await,
            }
        }
        Ok(bytes)
    }
}

/// Waits until the browser has what it was given, and knows that it is all.
async fn taken_whole(
    to: &mpsc::Sender<io::Result<Bytes>>,
    size: Option<u64>,
    taken: &AtomicU64,
    bytes: u64,
) -> Result<u64, String> {
    let leave = async {
        // Whoever knows how many there are asks for no word that these were all.
        if size.is_none() && to.send(Ok(Bytes::new())).await.is_err() {
            return false;
        }
        to.closed().await;
        taken.load(Ordering::Acquire) == bytes
    };
    match timeout(STALLED, leave).await {
        Ok(true) => Ok(bytes),
        Ok(false) => Err(STOPPED.to_owned()),
        Err(_) => Err(TAKES_NOTHING.to_owned()),
    }
}

/// The browser learns that this is not all, too.
async fn fails(to: &mpsc::Sender<io::Result<Bytes>>, words: String) -> Result<u64, String> {
    if timeout(TICKET_LASTS, to.send(Err(io::Error::other(words.clone())))).await.is_err() {
        tracing::debug!("a browser that takes nothing is not told that a file is not whole; its connection ends");
    }
    Err(words)
}

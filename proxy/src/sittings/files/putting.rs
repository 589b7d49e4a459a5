//! A file that comes from the page, and is written as it comes.

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use russh_sftp::client::error::Error;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use tokio::sync::mpsc;

use super::{Answer, Place, in_words};

/// What comes of a file.
#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Bytes),
    /// That was all.
    Done,
}

/// Pieces that wait. The page sends no more than half as many ahead of what was taken.
const PIECES_MAX: usize = 32;
/// Pieces that the target has not answered for.
const WRITES_MAX: usize = 16;

/// Where pieces go, and where they come. Dropping the first without [`Piece::Done`] says that no more of them come.
pub(super) fn pieces() -> (mpsc::Sender<Piece>, mpsc::Receiver<Piece>) {
    mpsc::channel(PIECES_MAX)
}

/// How far writing went.
struct Written {
    bytes: u64,
    end: Result<AsAsked, Error>,
}

enum AsAsked {
    Whole,
    Stopped,
}

impl Place {
    /// A file is written where it shall be, as `scp` and `sftp` do it: another in its place would lose its owner, mode and links. One
    /// that was not there before and does not become whole is removed. Where files are checked, one that was stopped is never
    /// closed: to close it is to say that it is whole.
    pub(super) async fn put(&self, n: u32, (path, replace): (String, bool), coming: mpsc::Receiver<Piece>) -> Answer {
        if !replace && self.sftp.lstat(path.as_str()).await.is_ok() {
            return Answer::Exists {};
        }
        let how = if replace { OpenFlags::TRUNCATE } else { OpenFlags::EXCLUDE };
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | how;
        let handle = match self.sftp.open(path.as_str(), flags, FileAttributes::empty()).await {
            Ok(opened) => opened.handle,
            Err(fault) => return Answer::Failed { words: in_words(&fault) },
        };
        if !self.say(n, Answer::Going {}).await {
            return Answer::Stopped { bytes: 0, gone: false };
        }
        let Written { bytes, end } = self.write(n, &handle, coming).await;
        if self.checked && matches!(end, Ok(AsAsked::Stopped)) {
            return Answer::Stopped { bytes, gone: true };
        }
        let closed = self.sftp.close(handle).await;
        let end = end.and_then(|end| closed.map(|_| end));
        if matches!(end, Ok(AsAsked::Whole)) {
            return Answer::Stored { bytes };
        }
        let gone = self.checked || !replace && self.sftp.remove(path).await.is_ok();
        match end {
            Ok(_) => Answer::Stopped { bytes, gone },
            Err(fault) => Answer::NotStored { bytes, words: in_words(&fault), gone },
        }
    }

    async fn write(&self, n: u32, handle: &str, mut coming: mpsc::Receiver<Piece>) -> Written {
        let mut writes = FuturesOrdered::new();
        let (mut offset, mut bytes, mut end) = (0, 0, None);
        loop {
            tokio::select! {
                biased;
                Some((length, written)) = writes.next() => {
                    if let Err(fault) = written {
                        return Written { bytes, end: Err(fault) };
                    }
                    bytes += length as u64;
                    if !self.say(n, Answer::Taken { bytes: length }).await {
                        end = Some(AsAsked::Stopped);
                    }
                }
                piece = coming.recv(), if end.is_none() && writes.len() < WRITES_MAX => match piece {
                    Some(Piece::Bytes(piece)) => {
                        let (length, at) = (piece.len(), offset);
                        offset += length as u64;
                        writes.push_back(async move { (length, self.sftp.write(handle, at, piece.into()).await) });
                    }
                    Some(Piece::Done) => end = Some(AsAsked::Whole),
                    None => end = Some(AsAsked::Stopped),
                },
                else => return Written { bytes, end: Ok(end.unwrap_or(AsAsked::Stopped)) },
            }
        }
    }
}

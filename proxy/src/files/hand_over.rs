//! Uploads that are checked before the target has any of them, as far as the protocols are alike: what is kept of them on
//! the gate, and how a file that passed is handed over. Pure: keeping, checking and sending are the business of
//! `ssh::channel` and `uploads`.

use bytes::Bytes;
use policies::digest::Digest;
use recordings::ledger::{FileEntry, RemotePath};

/// The longest file that is kept to be checked: what a checker reads in some minutes.
pub const UPLOAD_BYTES_MAX: u64 = 2 << 30;

/// An upload, by a number of its own on its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadKey(pub u32);

/// What is to be done with an upload on the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadStep {
    /// A file begins, empty.
    Begin(UploadKey),
    /// These bytes stand in it.
    Keep {
        /// In which.
        upload: UploadKey,
        /// From where.
        offset: u64,
        /// Which.
        bytes: Bytes,
    },
    /// It ends there, cut or filled with zeros.
    Resize {
        /// Which.
        upload: UploadKey,
        /// How long it is then.
        bytes: u64,
    },
    /// It is wanted no more.
    Discard(UploadKey),
    /// It is whole, and waits to be checked.
    Check(UploadKey),
}

/// What a hand-over needs next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// This goes to the target.
    Send(Bytes),
    /// This part of the file, to be given to [`HandOver::content`].
    Content {
        /// From where.
        offset: u64,
        /// How many bytes.
        bytes: usize,
    },
    /// Something from the target: ask again when it came.
    Wait,
    /// Nothing: it is over.
    Done(Concluded),
}

/// How an upload went, for the technician and the ledger.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Concluded {
    /// The protocol's answer.
    pub to_technician: Vec<Bytes>,
    /// For the technician's standard error, since most programs do not show the text of an answer.
    pub say: Vec<String>,
    /// For the recording.
    pub ledger: Vec<FileEntry>,
}

/// The checked uploads of one channel. One at a time is handed over; what the target answers meanwhile comes by
/// [`Inspect::downward`](super::Inspect::downward).
pub trait HandOver: Send {
    /// Where it is to go.
    fn path(&self, upload: UploadKey) -> RemotePath;

    /// It cannot be kept any further, and will be refused.
    fn spoil(&mut self, upload: UploadKey);

    /// It may not reach the target, of which the technician waits to hear.
    fn refuse(&mut self, upload: UploadKey, why: &str) -> Concluded;

    /// It passed, with so many bytes and this hash, and is handed over from now on.
    fn begin(&mut self, upload: UploadKey, bytes: u64, sha256: Digest);

    /// What the hand-over needs next.
    fn next(&mut self) -> Next;

    /// The part of the file that was asked for, as it goes to the target.
    fn content(&mut self, data: &[u8]) -> Bytes;
}

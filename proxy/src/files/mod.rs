//! Copying files over SSH, looked into: what SFTP and old-style scp do is judged request by request and listed file by
//! file. Pure: bytes of both directions in, bytes and entries of the ledger out. Recording, forwarding and asking for
//! more are the business of `relay` and `ssh::channel`.

mod content;
mod hand_over;
pub mod judge;
mod scp;
mod sftp;

use std::fmt;

use bytes::Bytes;
pub use hand_over::{Concluded, HandOver, Next, UPLOAD_BYTES_MAX, UploadKey, UploadStep};
use recordings::ledger::FileEntry;
pub(crate) use sftp::PACKET_BYTES_MAX;

/// Looks into one channel's main streams. Each direction's chunks are shown once, in order, after they were recorded
/// and before anything of them is forwarded; standard error is not shown.
pub trait Inspect: Send {
    /// Takes the next bytes from the technician.
    fn upward(&mut self, chunk: Bytes) -> Result<Inspected, Malformed>;

    /// Takes the next bytes from the target.
    fn downward(&mut self, chunk: Bytes) -> Result<Inspected, Malformed>;

    /// The channel has ended: what was under way is listed as unfinished. Bytes shown and neither forwarded nor
    /// refused so far are undelivered.
    fn finish(&mut self) -> Vec<FileEntry>;

    /// The uploads that are checked first.
    fn uploads(&mut self) -> &mut dyn HandOver;
}

/// What is to be done about a chunk. Every list is in order, and each of its pieces begins and ends between two messages
/// of the protocol, so whatever a piece is followed by, no message is torn. Replies are to be written before the next
/// chunk of the same direction is shown, so that unread ones hold back whoever causes them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// Goes on the way it was going.
    pub forward: Vec<Bytes>,
    /// Made by the gate, for the technician, after what is forwarded.
    pub to_technician: Vec<Bytes>,
    /// Made by the gate, for the target, after what is forwarded.
    pub to_target: Vec<Bytes>,
    /// Bytes of the chunk's direction that will not go on: refused, or replaced by what the gate made.
    pub refused: u64,
    /// For the technician's standard error, since most programs do not show the text of an answer; once for each
    /// action that is not granted.
    pub say: Vec<String>,
    /// Files done with, for the recording.
    pub ledger: Vec<FileEntry>,
    /// What is to be done with uploads that are checked first, in order, before anything made is sent.
    pub uploads: Vec<UploadStep>,
}

/// Which end of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The technician's program.
    Technician,
    /// The target's.
    Target,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Technician => "your program",
            Self::Target => "the target",
        })
    }
}

/// One end does not keep to the protocol, so that nobody could say what its bytes would do. Nothing of the chunk is
/// forwarded, and the channel must end; the text is fit to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{by} broke the file protocol: {breach}")]
pub struct Malformed {
    /// Who.
    pub by: End,
    /// How.
    pub breach: Breach,
}

/// How the file protocol was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// The length field of a packet.
    #[error("a packet of {0} bytes; there are none shorter than 5 or longer than {max}", max = PACKET_BYTES_MAX)]
    PacketLength(u32),
    /// Fields run over the end of their packet.
    #[error("a packet that ends in the middle of a field")]
    ShortPacket,
    /// A packet of a type that has no place there.
    #[error("a packet of type {0} where none is expected")]
    UnexpectedPacket(u8),
    /// Another version than 3.
    #[error("SFTP version {0}; only 3 can be looked into")]
    Version(u32),
    /// A request under the number of one that is not answered yet.
    #[error("the number of a request used again before its answer")]
    NumberInUse,
    /// An answer to nothing.
    #[error("an answer to a request that was not made")]
    UnaskedAnswer,
    /// A handle too long, or of a file that is open already.
    #[error("a handle that cannot be told from others")]
    BadHandle,
    /// More unanswered requests than are kept account of.
    #[error("too many requests without waiting for answers")]
    TooManyRequests,
    /// A line of scp that is too long or none of the protocol's.
    #[error("a line that is none of scp's")]
    BadLine,
    /// A file name with a directory in it, or of the directory itself.
    #[error("a file name that leads out of its directory")]
    BadName,
    /// Directories where only a file was announced.
    #[error("a directory in a copy that was not announced as recursive")]
    NotRecursive,
    /// Bytes sent ahead of the other end's answer, on which their meaning depends.
    #[error("bytes sent without waiting for the other end's answer")]
    DidNotWait,
}

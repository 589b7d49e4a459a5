//! What passes through a channel, in the order in which it came. Which of it may pass is decided in `ssh::channel`.

use bytes::Bytes;
use recordings::notes::Note;
use russh::{Pty, Sig};

/// One thing that a peer did on a channel.
#[derive(Clone, Debug)]
pub enum Event {
    /// Bytes; `stream` is the extended data type of RFC 4254, 5.2 (1 is standard error), `None` the main stream.
    Data {
        /// The extended data type, if any.
        stream: Option<u32>,
        /// Neighbouring packets of the same stream, merged.
        bytes: Bytes,
    },
    /// No more bytes will come; the other direction stays open.
    Eof,
    /// The channel is closed.
    Close,
    /// The technician's side asked for something.
    Request(Request),
    /// The technician's side asked for something that is never carried, and was refused: why, in words.
    Refused(&'static str),
    /// The target agreed to the request that asked for an answer.
    Success,
    /// The target refused the request that asked for an answer.
    Failure,
    /// The program on the target ended.
    ExitStatus(u32),
    /// The program on the target was killed.
    ExitSignal {
        /// Which signal killed it.
        signal: Sig,
        /// Whether it left a core file.
        core_dumped: bool,
        /// The target's words.
        message: String,
        /// The language of the words, RFC 3066.
        language: String,
    },
    /// The gate did, or is to do, something of its own towards the target.
    Own(Own),
}

/// What the gate does of its own where it speaks for the technician's terminal.
#[derive(Clone, Debug)]
pub enum Own {
    /// This is to be recorded.
    Note(Box<Note>),
    /// This line is to stand on the technician's terminal.
    Say(String),
    /// The target asked for an account's name: these bytes are to be sent.
    Answer(Bytes),
    /// The target asked for a secret, which is to be sent and not recorded.
    Secret,
}

impl Event {
    /// What the event occupies while it waits, so that a flood of empty requests is bounded like a flood of bytes.
    pub(crate) fn weight(&self) -> usize {
        const ENVELOPE: usize = 128;
        match self {
            Self::Data { bytes, .. } => bytes.len(),
            Self::Request(request) => ENVELOPE + request.weight(),
            Self::ExitSignal { message, language, .. } => ENVELOPE + message.len() + language.len(),
            Self::Refused(words) => ENVELOPE + words.len(),
            Self::Own(Own::Say(words)) => ENVELOPE + words.len(),
            Self::Own(Own::Answer(bytes)) => ENVELOPE + bytes.len(),
            Self::Own(Own::Note(_) | Own::Secret)
            | Self::Eof
            | Self::Close
            | Self::Success
            | Self::Failure
            | Self::ExitStatus(_) => ENVELOPE,
        }
    }
}

/// A channel request of RFC 4254, 6, that may be carried to the target. There are no others.
#[derive(Clone, Debug)]
pub enum Request {
    /// A terminal (6.2).
    Pty {
        /// The terminal's type, such as `xterm`.
        term: String,
        /// Its size.
        size: WindowSize,
        /// Its encoded modes.
        modes: Vec<(Pty, u32)>,
    },
    /// An environment variable (6.4).
    Env {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// The user's shell (6.5).
    Shell,
    /// One command (6.5), as bytes: nothing says that it is text.
    Exec(Bytes),
    /// A subsystem, such as `sftp` (6.5).
    Subsystem(String),
    /// The terminal was resized (6.7).
    WindowChange(WindowSize),
    /// A signal for the program (6.9).
    Signal(Sig),
}

/// The size of a terminal, RFC 4254, 6.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Characters in a line.
    pub columns: u32,
    /// Lines.
    pub rows: u32,
    /// Pixels across, or 0.
    pub width_pixels: u32,
    /// Pixels down, or 0.
    pub height_pixels: u32,
}

impl Request {
    /// Whether the request starts the channel's one program (RFC 4254, 6.5: only one of them can succeed).
    pub fn starts_program(&self) -> bool {
        matches!(self, Self::Shell | Self::Exec(_) | Self::Subsystem(_))
    }

    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Pty { term, modes, .. } => term.len() + modes.len() * size_of::<(Pty, u32)>(),
            Self::Env { name, value } => name.len() + value.len(),
            Self::Exec(command) => command.len(),
            Self::Subsystem(name) => name.len(),
            Self::Shell | Self::WindowChange(_) | Self::Signal(_) => 0,
        }
    }
}

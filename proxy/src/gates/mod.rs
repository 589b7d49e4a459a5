//! Protocol gates: what passes on a target's TCP service, read message by message. A gate is pure: it is given bytes and the
//! time, and says what goes on, what is answered in the target's stead, and what was done, in words. Whether a message may
//! pass is its [`Judge`]'s to say; recording, sending and closing are the caller's.
//!
//! A gate decides on whole messages of its protocol, however their bytes were cut, and hands on nothing of a message before it
//! is whole. What it hands on towards the technician are whole messages too, so that an answer of its own can be put between.

pub mod cip;
mod frames;
pub mod modbus;
mod reading;
pub mod s7;
mod told;
#[cfg(test)]
mod trial;
pub mod vnc;
mod waiting;

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use policies::actions::{Action, Actions};
use policies::plant::Protocol;
use recordings::operation::Operation;
use zeroize::Zeroizing;

/// A gate for one more connection of a protocol; none where nobody looks in, and of VNC, whose gate needs the target's password.
/// That of CIP decodes, whatever is wanted. The profile is what the plant says of a Modbus service.
pub fn of(protocol: Protocol, mode: Mode, profile: &modbus::Profile) -> Option<Box<dyn Gate>> {
    match protocol {
        Protocol::Modbus => Some(modbus::gate(mode, profile.clone())),
        Protocol::S7 => Some(s7::gate(mode)),
        Protocol::Cip => Some(cip::gate()),
        Protocol::Ssh | Protocol::Tcp | Protocol::Vnc | Protocol::Telnet => None,
    }
}

/// Reads one connection of a protocol, both directions. Made anew for each connection.
pub trait Gate: Send {
    /// The technician's program connected: what it is told before it says anything, where the protocol has it so.
    fn opened(&mut self, _now: Instant) -> Passed {
        Passed::default()
    }

    /// The next bytes from the technician.
    fn upward(&mut self, chunk: Bytes, judge: &dyn Judge, now: Instant) -> Passed;

    /// The next bytes from the target.
    fn downward(&mut self, chunk: Bytes, now: Instant) -> Passed;

    /// When the gate has to be asked again though nothing comes, because an answer of its own waits behind others.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// It is `now`, and nothing came.
    fn pass_time(&mut self, _now: Instant) -> Passed {
        Passed::default()
    }

    /// Whether it has given up reading: everything passes, and there are no requests that could be counted.
    fn is_blind(&self) -> bool {
        false
    }

    /// Whether a program is being transferred to the target, which must not be cut off in the middle.
    fn is_transferring(&self, _now: Instant) -> bool {
        false
    }

    /// The answer to a request that found no target, and why: to every one that waits for an answer, in order, in the
    /// protocol's own form. Nothing where the protocol has none, and the connection is to be closed.
    fn unreachable(&mut self, _why: &str, _now: Instant) -> Passed {
        Passed::default()
    }

    /// The target closed its side: what is answered in its stead to every request that still waits, in order, before the
    /// connection is closed. Whether those were carried out, nobody knows.
    fn hung_up(&mut self, _now: Instant) -> Passed {
        Passed::default()
    }

    /// The technician's side is over: what was not told yet, and what has to reach the target so that nothing stays as it
    /// should not stay, such as a button that is held down. The latter goes out only where the target may still be written to.
    fn closed(&mut self, _now: Instant) -> Passed {
        Passed::default()
    }
}

/// What a gate does about its judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Asks for every message; what may not pass, cannot be read or is not known is kept from the target.
    Enforce,
    /// Passes everything, asks nobody, and only tells. What cannot be read passes too, and that is said once.
    Decode,
}

impl Mode {
    /// Whether a message may pass.
    ///
    /// # Errors
    /// The judge's.
    fn may_pass(self, judge: &dyn Judge, need: Need) -> Result<(), String> {
        match self {
            Self::Enforce => judge.may_pass(need),
            Self::Decode => Ok(()),
        }
    }
}

/// What a message needs in order to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// All of these actions; never empty.
    All(&'static [Action]),
    /// Any action beyond `observe`.
    MoreThanObserve,
    /// The action `observe`, for what is no input: a picture goes on while input is stopped.
    Sight,
    /// Nobody knows what it does: nothing but `tunnel` lets it pass.
    Unknown,
}

impl Need {
    /// This action alone.
    pub const fn one(action: Action) -> Self {
        Self::All(match action {
            Action::Observe => &[Action::Observe],
            Action::Upload => &[Action::Upload],
            Action::Operate => &[Action::Operate],
            Action::Program => &[Action::Program],
            Action::Control => &[Action::Control],
            Action::Shell => &[Action::Shell],
            Action::FileGet => &[Action::FileGet],
            Action::FilePut => &[Action::FilePut],
            Action::Tunnel => &[Action::Tunnel],
        })
    }

    /// What it lacks where these are granted; none where it may pass.
    pub fn lacks(self, granted: &Actions) -> Option<Lack> {
        if granted.contains(&Action::Tunnel) {
            return None;
        }
        match self {
            Self::All(wanted) => wanted.iter().find(|action| !granted.contains(action)).copied().map(Lack::Action),
            Self::Sight if granted.contains(&Action::Observe) => None,
            Self::Sight => Some(Lack::Action(Action::Observe)),
            Self::MoreThanObserve if granted.iter().any(|action| *action != Action::Observe) => None,
            Self::MoreThanObserve => Some(Lack::Action(Action::Operate)),
            Self::Unknown => Some(Lack::Known),
        }
    }

    /// What it counts as in the record: the most harmful of what it needs.
    pub fn class(self) -> Option<Action> {
        match self {
            Self::All(actions) => actions.iter().copied().max(),
            Self::MoreThanObserve => Some(Action::Operate),
            Self::Sight => Some(Action::Observe),
            Self::Unknown => None,
        }
    }
}

/// Why a message may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// This is not granted.
    Action(Action),
    /// Nobody knows what it does.
    Known,
}

/// Decides about a message. Asked once for each, in the order in which they came.
pub trait Judge: Send + Sync {
    /// Whether it may pass.
    ///
    /// # Errors
    /// It may not: why, in words for the technician, with what to do next.
    fn may_pass(&self, need: Need) -> Result<(), String>;
}

/// What became of a chunk, and of what was held of earlier ones. Bytes that are in no `Piece::Passed` and not left
/// out are held.
#[derive(Debug, Default)]
pub struct Passed {
    /// Goes to the target, in this order.
    pub to_target: Vec<Piece>,
    /// Goes to the technician, in this order.
    pub to_technician: Vec<Piece>,
    /// That the target has to be there now though nothing goes to it, because it speaks first.
    pub wants_target: bool,
    /// What was said about a screen, for whoever follows it.
    pub screen: Vec<vnc::screen::Said>,
    /// What was done or refused, in order.
    pub verdicts: Vec<Verdict>,
    /// That the connection ends behind these pieces, and why.
    pub end: Option<End>,
}

/// Bytes on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The peer's, unchanged.
    Passed(Bytes),
    /// The gate's own.
    Made(Bytes),
    /// The gate's own, from which a secret could be worked out: the recording says only how many bytes they were.
    Hidden(Hidden),
    /// So many of the peer's, left out for good. They stand where they would have gone, so that the record can say which.
    LeftOut(usize),
}

impl Piece {
    /// How many of the peer's bytes this is about, passed or left out.
    pub fn of_theirs(&self) -> usize {
        match self {
            Self::Passed(bytes) => bytes.len(),
            Self::LeftOut(bytes) => *bytes,
            Self::Made(_) | Self::Hidden(_) => 0,
        }
    }

    /// What is sent.
    pub fn sent(&self) -> &[u8] {
        match self {
            Self::Passed(bytes) | Self::Made(bytes) => bytes,
            Self::Hidden(hidden) => &hidden.0,
            Self::LeftOut(_) => &[],
        }
    }
}

/// Bytes that nobody is to see. `Debug` shows none.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub(crate) Zeroizing<Vec<u8>>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// One operation, passed or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The line for a person, such as `wrote 55 to holding register 40101 (address 100), unit 1`; where it was refused,
    /// `refused to write …`.
    pub words: String,
    /// The record of it. The rule is not the gate's to know.
    pub operation: Operation,
    /// Whether a person did this, as far as can be told: what a program repeats by itself is polling and counts for nobody's
    /// presence.
    pub is_input: bool,
}

/// Why a gate ends a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// What came may not pass and cannot be answered in the protocol: closed in the protocol's order, with FIN.
    Refused(String),
    /// What came is not the protocol: nothing after it can be read.
    Malformed(String),
}

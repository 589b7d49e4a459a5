//! Whole encapsulation frames out of a stream, after *The CIP Networks Library*, volume 2, chapter 2, and the CIP messages
//! in them. All numbers are little-endian.

use bytes::Bytes;

use crate::gates::frames::Frames;
use crate::gates::reading::Messages;

/// Command, length, session, status, context, options.
const HEAD_BYTES: usize = 24;

/// What the length field may say.
const LENGTH_MAX: u16 = 65511;

/// A whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame(Bytes);

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Nop,
    ListServices,
    ListIdentity,
    ListInterfaces,
    RegisterSession,
    UnregisterSession,
    /// A message that is no part of a connection.
    SendRrData,
    /// A message of a connection.
    SendUnitData,
    IndicateStatus,
    Cancel,
}

impl Command {
    fn of(number: u16) -> Option<Self> {
        Some(match number {
            0x00 => Self::Nop,
            0x04 => Self::ListServices,
            0x63 => Self::ListIdentity,
            0x64 => Self::ListInterfaces,
            0x65 => Self::RegisterSession,
            0x66 => Self::UnregisterSession,
            0x6f => Self::SendRrData,
            0x70 => Self::SendUnitData,
            0x72 => Self::IndicateStatus,
            0x73 => Self::Cancel,
            _ => return None,
        })
    }
}

impl Frame {
    /// One frame, and nothing behind it.
    pub fn parse(bytes: &Bytes) -> Option<Self> {
        let mut rest = bytes.clone();
        let frame = Stream::default().next(&mut rest).ok().flatten()?;
        rest.is_empty().then_some(frame)
    }

    /// As it came.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    pub(super) fn command(&self) -> Command {
        Command::of(number(&self.0)).expect("a frame of another command is none")
    }

    pub(super) fn status(&self) -> u32 {
        u32::from_le_bytes([self.0[8], self.0[9], self.0[10], self.0[11]])
    }

    /// Chosen by the client and repeated in the answer.
    pub(super) fn context(&self) -> [u8; 8] {
        self.0[12..20].try_into().expect("eight of twenty-four bytes")
    }

    /// The CIP message, where it carries one.
    pub(super) fn message(&self) -> Option<Carried<'_>> {
        if !matches!(self.command(), Command::SendRrData | Command::SendUnitData) {
            return None;
        }
        // Interface, timeout, count; then type, length and data of each item.
        let (count, mut rest) =
            self.0.get(HEAD_BYTES + 6..)?.split_at_checked(2).map(|(count, rest)| (word(count), rest))?;
        for _ in 0..count {
            let (head, behind) = rest.split_at_checked(4)?;
            let (item, behind) = behind.split_at_checked(usize::from(word(&head[2..])))?;
            rest = behind;
            match word(head) {
                0xb2 => return Some(Carried { sequence: None, message: item }),
                0xb1 => {
                    let (sequence, message) = item.split_at_checked(2)?;
                    return Some(Carried { sequence: Some(word(sequence)), message });
                }
                _ => {}
            }
        }
        None
    }
}

/// A CIP message in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Carried<'a> {
    /// Its number on its connection.
    pub(super) sequence: Option<u16>,
    pub(super) message: &'a [u8],
}

/// The first two bytes of what has as many.
pub(super) fn word(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[0], bytes[1]])
}

/// One direction.
#[derive(Debug)]
pub(in crate::gates) struct Stream(Frames);

impl Default for Stream {
    fn default() -> Self {
        Self(Frames::new(measure, HEAD_BYTES))
    }
}

impl Messages for Stream {
    type Message = Frame;

    fn next(&mut self, chunk: &mut Bytes) -> Result<Option<Frame>, String> {
        Ok(self.0.next(chunk)?.map(Frame))
    }

    fn bytes(message: &Frame) -> Bytes {
        message.0.clone()
    }

    fn give_up(&mut self) -> Bytes {
        self.0.give_up()
    }
}

/// The command, as far as it is there.
fn number(head: &[u8]) -> u16 {
    let byte = |n: usize| head.get(n).copied().unwrap_or(0);
    u16::from_le_bytes([byte(0), byte(1)])
}

fn measure(head: &[u8]) -> Result<Option<usize>, String> {
    // The first byte says which: no command has an upper half.
    let command = number(head);
    if Command::of(command).is_none() {
        return Err(format!("there is no command {command:04x}"));
    }
    let Some(length) = head.get(2..4).map(word) else { return Ok(None) };
    if length > LENGTH_MAX {
        return Err(format!("its length field says more than {LENGTH_MAX} bytes"));
    }
    Ok((head.len() == HEAD_BYTES).then(|| HEAD_BYTES + usize::from(length)))
}

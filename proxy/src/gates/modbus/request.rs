//! What one request asks: its class, after `docs/GATES.md`, and the data it names. Pure, so that a dry run over a recording
//! says the same as the gate did.

use bytes::{BufMut, Bytes, BytesMut};
use policies::actions::Action;
pub use policies::plant::modbus::{Block, Code, Profile, Table};

use super::Frame;
use super::asks::{Asks, asks};
use crate::gates::Need;
use crate::gates::told::Told;

/// Successive addresses of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Which table.
    pub table: Table,
    /// The first address, zero-based.
    pub first: u16,
    /// How many.
    pub count: u16,
}

impl Span {
    /// One behind the last; beyond 65536 where it runs over the table's end.
    pub(super) fn end(self) -> u32 {
        u32::from(self.first) + u32::from(self.count)
    }

    fn touches(self, block: &Block) -> bool {
        self.table == block.table
            && self.count > 0
            && self.first <= *block.addresses.end()
            && self.end() > u32::from(*block.addresses.start())
    }
}

fn code_of(frame: &Frame) -> Code {
    let function = frame.function();
    let sub = match (function, frame.data()) {
        (8, [high, low, ..]) => Some(u16::from_be_bytes([*high, *low])),
        (43, [mei, ..]) => Some(u16::from(*mei)),
        _ => None,
    };
    Code { function, sub }
}

/// What a function counts as where the plant does not say otherwise.
fn need(code: Code) -> Need {
    match (code.function, code.sub) {
        (1..=4 | 7 | 11 | 12 | 17 | 24, _) | (8, Some(0 | 2 | 11..=18)) | (43, Some(14)) => Need::one(Action::Observe),
        (20, _) => Need::one(Action::Upload),
        (5 | 6 | 15 | 16 | 22 | 23, _) | (8, Some(3 | 10 | 20)) => Need::one(Action::Operate),
        (21 | 40 | 42 | 125 | 126, _) => Need::one(Action::Program),
        // UMAS: reading, programming, start and stop behind one code.
        (90, _) => Need::All(&[Action::Program, Action::Control]),
        (8, Some(1 | 4)) => Need::one(Action::Control),
        _ => Need::Unknown,
    }
}

/// A negative answer, after *MODBUS Application Protocol* 1.1b3, section 7. Never 04, which sends people to restart a
/// device, nor 05 or 06, which mean "ask again".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exception {
    /// It may not be done.
    IllegalFunction = 0x01,
    /// The data may not be reached, or does not exist.
    IllegalDataAddress = 0x02,
    /// The request's parts do not fit each other.
    IllegalDataValue = 0x03,
    /// The target could not be reached.
    PathUnavailable = 0x0a,
    /// The target did not answer.
    NoResponse = 0x0b,
}

/// One request, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it takes to pass.
    pub need: Need,
    /// Its code.
    pub code: Code,
    /// Why it is refused whatever was granted.
    pub fault: Option<Fault>,
    pub(in crate::gates) told: Told,
}

/// What no grant allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its parts do not fit each other, so that nobody can say what the target would do.
    #[error("its length or its counts do not fit its function")]
    Shape,
    /// It reaches beyond the last address, where a device might begin again at the first.
    #[error("it reaches beyond the last address, 65535")]
    BeyondTheEnd,
    /// The plant lets nobody reach these addresses.
    #[error("the plant lets nobody reach these addresses through the gate")]
    Blocked,
    /// It could reach addresses that nobody may, and does not say which it reaches in a way that can be read.
    #[error("which addresses it reaches cannot be read, and the plant lets nobody reach some of them through the gate")]
    Unseen,
}

impl Fault {
    /// How it is answered.
    pub fn exception(self) -> Exception {
        match self {
            Self::Shape => Exception::IllegalDataValue,
            Self::Unseen => Exception::IllegalFunction,
            Self::BeyondTheEnd | Self::Blocked => Exception::IllegalDataAddress,
        }
    }
}

impl Request {
    /// Whether it carries a program, file or firmware in pieces, which must not be cut off between two of them.
    pub(super) fn is_transfer(&self) -> bool {
        matches!(self.code.function, 21 | 90 | 125 | 126)
    }

    /// Whether it only reads.
    pub fn is_read(&self) -> bool {
        matches!(self.need.class(), Some(Action::Observe | Action::Upload))
    }
}

/// Reads a request.
pub fn classify(frame: &Frame, profile: &Profile) -> Request {
    let code = code_of(frame);
    let whole = Code { sub: None, ..code };
    let named = profile.functions.get(&code).or_else(|| profile.functions.get(&whole));
    let need = named.map_or_else(|| need(code), |action| Need::one(*action));
    let asks = asks(code, frame.data());
    let told = asks.told(code, frame.unit());
    Request { need, code, fault: fault(&asks, code, named.is_some(), profile), told }
}

fn fault(asks: &Asks, code: Code, is_named: bool, profile: &Profile) -> Option<Fault> {
    let spans = asks.spans();
    if *asks == Asks::Misshapen {
        Some(Fault::Shape)
    } else if spans.iter().any(|span| span.end() > 0x1_0000) {
        Some(Fault::BeyondTheEnd)
    } else {
        let blocked = |span: &Span| profile.blocked.iter().any(|block| span.touches(block));
        let could_reach = spans.is_empty() && !is_named && !reaches_no_table(code) && !profile.blocked.is_empty();
        match spans.iter().any(blocked) {
            true => Some(Fault::Blocked),
            false => could_reach.then_some(Fault::Unseen),
        }
    }
}

/// Of functions that name no addresses: whether none of the four tables is behind them.
fn reaches_no_table(code: Code) -> bool {
    matches!(code.function, 7 | 8 | 11 | 12 | 17 | 20 | 21 | 43)
}

/// The negative answer to a request.
pub fn refuse(frame: &Frame, exception: Exception) -> Bytes {
    negative(frame.transaction(), frame.unit(), frame.function(), exception)
}

pub(super) fn negative(transaction: u16, unit: u8, function: u8, exception: Exception) -> Bytes {
    let mut answer = BytesMut::with_capacity(9);
    answer.put_u16(transaction);
    answer.put_u16(0);
    answer.put_u16(3);
    answer.put_slice(&[unit, function | 0x80, exception as u8]);
    answer.freeze()
}

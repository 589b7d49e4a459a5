//! Modbus/TCP. One byte, the function code, decides about most requests; what may not pass is answered with an exception
//! on the same transaction, in its turn. Answers of the target pass unchanged where something was asked that they answer.
//!
//! What a target never answers stays unanswered: the technician's program has a patience of its own, and an answer made up
//! by a clock could be followed by the real one, which a program with transaction 0 would take for that to its next
//! question. Only a target that hung up ([`Gate::hung_up`]) or was never reached ([`Gate::unreachable`]) is spoken for.

mod asks;
mod frame;
mod request;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use bytes::Bytes;
use policies::plant::Protocol;

pub use frame::Frame;
pub use request::{Block, Code, Exception, Fault, Profile, Request, Span, Table, classify, refuse};

use super::reading::{Desk, Gone, Polled, Reading, Stop, Talk};
use super::told::{Kind, Told, Verb};
use super::waiting::{Asked, Place};
use super::{Gate, Mode, Piece};
use frame::Stream;
use request::negative;

/// How long after its last message a transfer is taken to be running.
const TRANSFER_LASTS: Duration = Duration::from_secs(10);

/// Reads one Modbus/TCP connection.
pub fn gate(mode: Mode, profile: Profile) -> Box<dyn Gate> {
    let registers = Registers { profile, polled: Polled::default(), transferred: None };
    Box::new(Reading::new(mode, registers, Stream::default(), Stream::default()))
}

/// What of the gate is Modbus's own.
#[derive(Debug)]
struct Registers {
    profile: Profile,
    polled: Polled,
    transferred: Option<Instant>,
}

/// Answers repeat a request's transaction and unit, and its function but for the highest bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    transaction: u16,
    unit: u8,
    function: u8,
}

impl Key {
    fn of(frame: &Frame) -> Self {
        Self { transaction: frame.transaction(), unit: frame.unit(), function: frame.function() | 0x80 }
    }
}

impl Talk for Registers {
    const PROTOCOL: Protocol = Protocol::Modbus;
    const NAME: &'static str = "Modbus/TCP";
    type Messages = Stream;
    type Key = Key;

    fn request(&mut self, frame: &Frame, desk: &mut Desk<'_, Key>) -> Result<(), Stop> {
        let request = classify(frame, &self.profile);
        let code = request.code.to_string();
        let kind = Kind { protocol: Protocol::Modbus, class: request.need.class(), code };
        let is_input = !request.is_read() || !self.polled.again(&frame.bytes()[2..]);
        let refusal = refusal(&request, desk);
        let why = refusal.as_ref().map(|(_, why)| why.clone());
        desk.passed.verdicts.push(request.told.verdict(kind.clone(), why, is_input));
        let place = match refusal {
            None => {
                if request.is_transfer() {
                    self.transferred = Some(desk.now);
                }
                desk.passed.to_target.push(Piece::Passed(frame.bytes().clone()));
                let answered = frame.unit() != 0 || request.is_read();
                let asked = Asked::new(Key::of(frame), kind, request.told, desk.now);
                Place::Asked(if answered { asked } else { asked.perhaps_unanswered(desk.now) })
            }
            // Answered for unit 0 too: there, silence means that it was done.
            Some((exception, _)) => {
                desk.passed.to_target.push(Piece::LeftOut(frame.bytes().len()));
                Place::Made(refuse(frame, exception))
            }
        };
        desk.waiting.add(place);
        Ok(())
    }

    fn answer(&mut self, frame: &Frame, desk: &mut Desk<'_, Key>) -> Result<(), Stop> {
        let answered = Key::of(frame);
        let Some(asked) = desk.waiting.answered_by(|key| *key == answered, desk.now) else {
            unasked(frame, desk);
            return Ok(());
        };
        if frame.function() & 0x80 != 0 {
            let exception = frame.data().first().copied().unwrap_or_default();
            let asked_to = asked.told.infinitive();
            let words = format!("the target answered {} when asked to {asked_to}", exception_name(exception));
            let code = format!("{}/{exception}", frame.function());
            desk.passed.verdicts.push(asked.told.outcome(Kind { code, ..asked.kind }, words, None));
        }
        desk.passed.to_technician.push(Piece::Passed(frame.bytes().clone()));
        Ok(())
    }

    fn is_transferring(&self, now: Instant) -> bool {
        self.transferred.is_some_and(|at| now.saturating_duration_since(at) < TRANSFER_LASTS)
    }

    fn in_its_stead(key: &Key, why: Gone) -> Option<Bytes> {
        let exception = match why {
            Gone::Unreachable => Exception::PathUnavailable,
            Gone::HungUp => Exception::NoResponse,
        };
        Some(negative(key.transaction, key.unit, key.function, exception))
    }
}

/// How a request is refused, and why.
fn refusal(request: &Request, desk: &Desk<'_, Key>) -> Option<(Exception, String)> {
    if let Err(why) = desk.mode.may_pass(desk.judge, request.need) {
        return Some((Exception::IllegalFunction, why));
    }
    let fault = request.fault.filter(|_| desk.mode == Mode::Enforce)?;
    Some((fault.exception(), fault.to_string()))
}

/// An answer to nothing, a second one or one of another function: passed on, it would be taken for the answer to something
/// else.
fn unasked(frame: &Frame, desk: &mut Desk<'_, Key>) {
    let (function, unit, transaction) = (frame.function(), frame.unit(), frame.transaction());
    let what = format!("an answer that nothing waits for: function {function}, transaction {transaction}, unit {unit}");
    let kind = Kind { protocol: Protocol::Modbus, class: None, code: function.to_string() };
    let told = Told { verb: Verb::SEND, rest: what, object: Some(format!("unit {unit}")), value: None };
    desk.unasked(kind, &told, frame.bytes());
}

/// After *MODBUS Application Protocol* 1.1b3, section 7.
fn exception_name(code: u8) -> String {
    let name = match code {
        1 => "illegal function",
        2 => "illegal data address",
        3 => "illegal data value",
        4 => "device failure",
        5 => "acknowledge",
        6 => "device busy",
        8 => "memory parity error",
        10 => "gateway path unavailable",
        11 => "no response behind the gateway",
        _ => "an unknown exception",
    };
    format!("{name} ({code:02x})")
}

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
mod waiting;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use policies::plant::Protocol;

pub use frame::{Frame, Malformed};
pub use request::{Block, Code, Exception, Fault, Profile, Request, Span, Table, classify, refuse};

use super::told::{Kind, Told, Verb, opaque};
use super::{End, Gate, Judge, Mode, Passed, Piece};
use frame::Frames;
use waiting::{Asked, Place, WAITING_MAX, Waiting};

/// How long after its last message a transfer is taken to be running.
const TRANSFER_LASTS: Duration = Duration::from_secs(10);

/// Reads one Modbus/TCP connection.
#[derive(Debug)]
pub struct Modbus {
    mode: Mode,
    profile: Profile,
    state: State,
    upward: Frames,
    downward: Frames,
    waiting: Waiting,
    polled: Polled,
    transferred: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// Nothing can be read any more, and everything passes.
    Opaque,
    /// Nothing passes any more.
    Ended,
}

impl Modbus {
    /// For one connection.
    pub fn new(mode: Mode, profile: Profile) -> Self {
        Self {
            mode,
            profile,
            state: State::Reading,
            upward: Frames::default(),
            downward: Frames::default(),
            waiting: Waiting::default(),
            polled: Polled::default(),
            transferred: None,
        }
    }

    fn request(&mut self, frame: &Frame, judge: &dyn Judge, now: Instant, passed: &mut Passed) {
        if self.mode == Mode::Decode {
            self.waiting.make_room();
        }
        if !self.waiting.has_room(now) {
            passed.refused += frame.bytes().len();
            let why =
                format!("more than {WAITING_MAX} requests without waiting for their answers; send fewer at a time");
            return self.end(End::Refused(why), passed);
        }
        let request = classify(frame, &self.profile);
        let kind = kind(&request);
        let is_input = !request.is_read() || !self.polled.again(frame);
        let refusal = self.refusal(&request, judge);
        let refused = refusal.as_ref().map(|(_, why)| why.clone());
        passed.verdicts.push(request.told.verdict(kind.clone(), refused, is_input));
        let place = match refusal {
            None => {
                if request.code.is_transfer() {
                    self.transferred = Some(now);
                }
                passed.to_target.push(Piece::Passed(frame.bytes().clone()));
                let answered = frame.unit() != 0 || request.is_read();
                Place::Asked(Asked::new(frame, kind, request.told, answered, now))
            }
            // Answered for unit 0 too: there, silence means that it was done.
            Some((exception, _)) => {
                passed.refused += frame.bytes().len();
                Place::Made(refuse(frame, exception))
            }
        };
        self.waiting.add(place);
    }

    fn refusal(&self, request: &Request, judge: &dyn Judge) -> Option<(Exception, String)> {
        if let Err(why) = self.mode.may_pass(judge, request.need) {
            return Some((Exception::IllegalFunction, why));
        }
        let fault = request.fault.filter(|_| self.mode == Mode::Enforce)?;
        Some((fault.exception(), fault.to_string()))
    }

    fn answer(&mut self, frame: &Frame, now: Instant, passed: &mut Passed) {
        let Some(asked) = self.waiting.answered_by(frame, now) else {
            return self.unasked(frame, passed);
        };
        if frame.function() & 0x80 != 0 {
            let exception = frame.data().first().copied().unwrap_or_default();
            let words =
                format!("the target answered {} when asked to {}", exception_name(exception), asked.told.infinitive());
            let code = format!("{}/{exception}", frame.function());
            passed.verdicts.push(asked.told.outcome(Kind { code, ..asked.kind }, words, None));
        }
        passed.to_technician.push(Piece::Passed(frame.bytes().clone()));
    }

    /// An answer to nothing, a second one or one of another function: passed on, it would be taken for the answer to
    /// something else.
    fn unasked(&self, frame: &Frame, passed: &mut Passed) {
        let (function, unit) = (frame.function(), frame.unit());
        let words = format!(
            "an answer that nothing waits for: function {function}, transaction {}, unit {unit}",
            frame.transaction()
        );
        let kind = Kind { protocol: Protocol::Modbus, class: None, code: function.to_string() };
        let told = Told { verb: Verb::SEND, rest: words, object: Some(format!("unit {unit}")), value: None };
        let (words, refused) = match self.mode {
            Mode::Enforce => {
                passed.refused += frame.bytes().len();
                (format!("kept back from the target {}", told.rest), Some("nothing waits for it".to_owned()))
            }
            Mode::Decode => {
                passed.to_technician.push(Piece::Passed(frame.bytes().clone()));
                (format!("the target sent {}", told.rest), None)
            }
        };
        passed.verdicts.push(told.outcome(kind, words, refused));
    }

    /// Nothing after this can be read.
    fn unreadable(&mut self, whose: &str, why: Malformed, upward: bool, rest: Bytes, passed: &mut Passed) {
        let why = format!("what {whose} sent is not Modbus/TCP: {why}");
        if self.mode == Mode::Enforce {
            let held = if upward { self.upward.give_up() } else { self.downward.give_up() };
            passed.refused += held.len() + rest.len();
            return self.end(End::Malformed(why), passed);
        }
        self.state = State::Opaque;
        self.waiting.give_up();
        passed.verdicts.push(opaque(Protocol::Modbus, &why));
        push(&mut passed.to_target, self.upward.give_up());
        push(&mut passed.to_technician, self.downward.give_up());
        push(if upward { &mut passed.to_target } else { &mut passed.to_technician }, rest);
    }

    fn end(&mut self, end: End, passed: &mut Passed) {
        self.state = State::Ended;
        self.waiting.give_up();
        passed.end = Some(end);
    }

    fn send_own(&mut self, now: Instant, passed: &mut Passed) {
        passed.to_technician.extend(self.waiting.in_turn(now).into_iter().map(Piece::Made));
    }

    /// Answers everything that waits in the target's stead.
    fn speak_for_target(&mut self, exception: Exception, what: impl Fn(&Told) -> (String, Option<String>)) -> Passed {
        let mut passed = Passed::default();
        for place in self.waiting.give_up() {
            let answer = match place {
                Place::Made(answer) => answer,
                Place::Asked(asked) => {
                    let (words, refused) = what(&asked.told);
                    let answer = asked.negative(exception);
                    passed.verdicts.push(asked.told.outcome(asked.kind, words, refused));
                    answer
                }
            };
            passed.to_technician.push(Piece::Made(answer));
        }
        passed
    }
}

impl Gate for Modbus {
    fn upward(&mut self, mut chunk: Bytes, judge: &dyn Judge, now: Instant) -> Passed {
        let mut passed = Passed::default();
        while self.state == State::Reading {
            match self.upward.next(&mut chunk) {
                Ok(Some(frame)) => self.request(&frame, judge, now, &mut passed),
                Ok(None) => break,
                Err(why) => {
                    let rest = std::mem::take(&mut chunk);
                    self.unreadable("the technician's program", why, true, rest, &mut passed);
                }
            }
        }
        match self.state {
            State::Reading => self.send_own(now, &mut passed),
            State::Opaque => push(&mut passed.to_target, chunk),
            State::Ended => passed.refused += chunk.len(),
        }
        passed
    }

    fn downward(&mut self, mut chunk: Bytes, now: Instant) -> Passed {
        let mut passed = Passed::default();
        while self.state == State::Reading {
            match self.downward.next(&mut chunk) {
                Ok(Some(frame)) => {
                    self.answer(&frame, now, &mut passed);
                    self.send_own(now, &mut passed);
                }
                Ok(None) => break,
                Err(why) => {
                    let rest = std::mem::take(&mut chunk);
                    self.unreadable("the target", why, false, rest, &mut passed);
                }
            }
        }
        match self.state {
            State::Reading => {}
            State::Opaque => push(&mut passed.to_technician, chunk),
            State::Ended => passed.refused += chunk.len(),
        }
        passed
    }

    fn due(&self) -> Option<Instant> {
        self.waiting.due()
    }

    fn pass_time(&mut self, now: Instant) -> Passed {
        let mut passed = Passed::default();
        self.send_own(now, &mut passed);
        passed
    }

    fn is_transferring(&self, now: Instant) -> bool {
        self.transferred.is_some_and(|at| now.saturating_duration_since(at) < TRANSFER_LASTS)
    }

    fn unreachable(&mut self, _now: Instant) -> Passed {
        self.speak_for_target(Exception::PathUnavailable, |told| {
            let words =
                format!("the target could not be reached, and nothing was done when asked to {}", told.infinitive());
            (words, Some("the target could not be reached".to_owned()))
        })
    }

    fn hung_up(&mut self, _now: Instant) -> Passed {
        self.speak_for_target(Exception::NoResponse, |told| {
            (
                format!("the target hung up and nobody knows whether it was done when asked to {}", told.infinitive()),
                None,
            )
        })
    }
}

fn kind(request: &Request) -> Kind {
    Kind { protocol: Protocol::Modbus, class: request.need.class(), code: request.code.to_string() }
}

fn push(pieces: &mut Vec<Piece>, bytes: Bytes) {
    if !bytes.is_empty() {
        pieces.push(Piece::Passed(bytes));
    }
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

/// Reads that this connection made lately: who sees one again sees a program polling.
#[derive(Debug, Default)]
struct Polled(VecDeque<Box<[u8]>>);

impl Polled {
    /// More than one screen of a panel polls.
    const SHAPES_MAX: usize = 256;

    /// Whether this was read before; from now on it was.
    fn again(&mut self, frame: &Frame) -> bool {
        let shape = &frame.bytes()[2..];
        let known = self.0.iter().position(|known| **known == *shape).and_then(|position| self.0.remove(position));
        let again = known.is_some();
        self.0.push_back(known.unwrap_or_else(|| shape.into()));
        if self.0.len() > Self::SHAPES_MAX {
            self.0.pop_front();
        }
        again
    }
}

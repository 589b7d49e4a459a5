//! VNC (RFB, RFC 6143): look, and touch only where that was granted. The gate ends the handshake on both sides, logs in to
//! the target with a password that the technician never sees, and reads every message of the technician's program from then
//! on. RFB has no answer that says no: what may not pass is swallowed, which neither side can notice. What the target says
//! is passed as it comes, because a picture cannot wait until it is whole; who watches sees it as [`screen`] reads it beside.

mod handshake;
mod input;
mod keys;
mod message;
mod password;
pub mod screen;
mod telling;
#[cfg(test)]
mod tests;

use std::time::Instant;

use bytes::Bytes;
use policies::actions::Action;
use policies::plant::Protocol;

pub use password::Password;

use super::frames::Frames;
use super::told::{Kind, Told, Verb};
use super::{End, Gate, Judge, Need, Passed, Piece, Verdict};
use handshake::{ClientInit, Failure, Handshake, left_out};
use input::{Goes, Input, KeyEvent};
use message::{Message, measure};
use screen::Said;
use telling::{Act, Telling};

/// Carries one VNC connection; with the password that opens the target, where one was set.
pub fn gate(password: Option<Password>) -> Box<dyn Gate> {
    Box::new(Vnc {
        phase: Phase::Handshake(Box::new(Handshake::new(password))),
        messages: Frames::new(measure, message::HEAD_BYTES),
        input: Input::default(),
        telling: Telling::default(),
    })
}

#[derive(Debug)]
struct Vnc {
    phase: Phase,
    messages: Frames,
    input: Input,
    telling: Telling,
}

#[derive(Debug)]
enum Phase {
    Handshake(Box<Handshake>),
    /// The screen is open; of its size so much is known.
    Open(Vec<u8>),
    /// Nothing passes any more.
    Ended,
}

/// Width and height, with which the target begins (7.3.2).
const SIZE_BYTES: usize = 4;

impl Vnc {
    /// Ends the connection, and says why where the protocol can.
    fn fail(&mut self, failure: Failure, passed: &mut Passed) {
        let (Failure::Refused(why) | Failure::Malformed(why)) = &failure;
        if let Phase::Handshake(handshake) = &self.phase {
            passed.to_technician.extend(handshake.said_no(why));
        }
        left_out(&mut passed.to_target, self.messages.give_up().len());
        passed.end = Some(match failure {
            Failure::Refused(why) => End::Refused(why),
            Failure::Malformed(why) => End::Malformed(why),
        });
        self.phase = Phase::Ended;
    }

    fn open(&mut self, asked: ClientInit, passed: &mut Passed) {
        if asked.alone {
            let what = "whoever else is on the screen, though it asked to be alone there";
            passed.verdicts.push(looked(Verb::new("join", "joined"), what, None));
        }
        self.phase = Phase::Open(Vec::with_capacity(SIZE_BYTES));
    }

    fn messages(&mut self, chunk: &mut Bytes, judge: &dyn Judge, now: Instant, passed: &mut Passed) {
        loop {
            match self.messages.next(chunk) {
                Ok(None) => return,
                Ok(Some(bytes)) => match message::shown(&bytes) {
                    Ok(()) => self.message(bytes, judge, now, passed),
                    Err(why) => {
                        left_out(&mut passed.to_target, bytes.len());
                        return self.fail(Failure::Refused(why), passed);
                    }
                },
                Err(why) => return self.fail(handshake::of_technician(&why), passed),
            }
        }
    }

    fn message(&mut self, bytes: Bytes, judge: &dyn Judge, now: Instant, passed: &mut Passed) {
        let operates = || judge.may_pass(Need::one(Action::Operate));
        let mut tell = |act, refused| self.telling.add(act, refused, now, &mut passed.verdicts);
        let goes = match Message::read(&bytes) {
            looks @ (Message::Looks | Message::Encodings) => match judge.may_pass(Need::Sight) {
                Ok(()) if looks == Message::Looks => {
                    passed.screen.extend(message::of_screen(&bytes));
                    Goes::Unchanged
                }
                Ok(()) => message::filtered(&bytes).map_or(Goes::Unchanged, Goes::As),
                Err(why) => {
                    tell(Act::Looked, Some(why));
                    Goes::Nowhere
                }
            },
            Message::Key { is_down, key, from } => {
                let event = KeyEvent { is_down, key, from };
                let act = self.input.keyed(event);
                let may = if self.input.lets_go(event) { Ok(()) } else { operates() };
                let may = may.and_then(|()| self.input.key(event));
                let goes = if may.is_ok() { Goes::Unchanged } else { Goes::Nowhere };
                act.into_iter().for_each(|act| tell(act, may.clone().err()));
                goes
            }
            Message::Pointer { buttons, at } => {
                let act = self.input.pointed(buttons, at);
                let may = operates();
                let goes = match &may {
                    Ok(()) => self.input.points(buttons, at),
                    Err(_) => self.input.may_not_point(buttons),
                };
                act.into_iter().for_each(|act| tell(act, may.clone().err()));
                goes
            }
            Message::CutExtended => {
                tell(Act::Cut(0), Some("only plain text passes to the clipboard".to_owned()));
                Goes::Nowhere
            }
            Message::Cut { characters } => decided(operates(), Act::Cut(characters), &mut tell),
            Message::Resize(size) => decided(operates(), Act::Resized(size), &mut tell),
            Message::Power(code) => decided(judge.may_pass(Need::one(Action::Control)), Act::Power(code), &mut tell),
        };
        match goes {
            Goes::Unchanged => passed.to_target.push(Piece::Passed(bytes)),
            Goes::As(instead) => {
                left_out(&mut passed.to_target, bytes.len());
                passed.to_target.push(Piece::Made(instead));
            }
            Goes::Nowhere => left_out(&mut passed.to_target, bytes.len()),
        }
    }
}

fn decided(may: Result<(), String>, act: Act, tell: &mut impl FnMut(Act, Option<String>)) -> Goes {
    let goes = if may.is_ok() { Goes::Unchanged } else { Goes::Nowhere };
    tell(act, may.err());
    goes
}

impl Gate for Vnc {
    fn opened(&mut self, now: Instant) -> Passed {
        let mut passed = Passed::default();
        if let Phase::Handshake(handshake) = &mut self.phase {
            handshake.open(now, &mut passed);
        }
        passed
    }

    fn upward(&mut self, mut chunk: Bytes, judge: &dyn Judge, now: Instant) -> Passed {
        let mut passed = Passed::default();
        if let Phase::Handshake(handshake) = &mut self.phase {
            match handshake.upward(&mut chunk, judge, now, &mut passed) {
                Ok(None) => {}
                Ok(Some(asked)) => self.open(asked, &mut passed),
                Err(failure) => self.fail(failure, &mut passed),
            }
        }
        if let Phase::Open(_) = self.phase {
            self.messages(&mut chunk, judge, now, &mut passed);
        }
        left_out(&mut passed.to_target, chunk.len());
        passed
    }

    fn downward(&mut self, mut chunk: Bytes, now: Instant) -> Passed {
        let mut passed = Passed::default();
        match &mut self.phase {
            Phase::Handshake(handshake) => {
                if let Err(failure) = handshake.downward(&mut chunk, now, &mut passed) {
                    self.fail(failure, &mut passed);
                }
                left_out(&mut passed.to_technician, chunk.len());
            }
            Phase::Open(size) => {
                passed.verdicts.extend(opened(size, &chunk));
                passed.screen.push(Said::Target { bytes: chunk.clone(), at: now });
                passed.to_technician.push(Piece::Passed(chunk));
            }
            Phase::Ended => left_out(&mut passed.to_technician, chunk.len()),
        }
        passed
    }

    fn due(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Handshake(handshake) => handshake.until(),
            Phase::Open(_) => self.telling.due(),
            Phase::Ended => None,
        }
    }

    fn pass_time(&mut self, now: Instant) -> Passed {
        let mut passed = Passed { verdicts: self.telling.pass_time(now), ..Passed::default() };
        if let Phase::Handshake(handshake) = &self.phase
            && handshake.until().is_some_and(|until| until <= now)
        {
            self.fail(handshake.late(), &mut passed);
        }
        passed
    }

    fn unreachable(&mut self, why: &str, _now: Instant) -> Passed {
        let mut passed = Passed::default();
        self.fail(Failure::Refused(why.to_owned()), &mut passed);
        passed
    }

    fn hung_up(&mut self, _now: Instant) -> Passed {
        let mut passed = Passed { verdicts: self.telling.rest(), ..Passed::default() };
        if let Phase::Handshake(_) = self.phase {
            self.fail(Failure::Refused("the target closed the connection".to_owned()), &mut passed);
        }
        passed
    }

    fn closed(&mut self, _now: Instant) -> Passed {
        Passed {
            to_target: self.input.let_go().into_iter().map(Piece::Made).collect(),
            verdicts: self.telling.rest(),
            ..Passed::default()
        }
    }
}

/// That the target opened its screen, once its size is known.
fn opened(size: &mut Vec<u8>, chunk: &[u8]) -> Option<Verdict> {
    if size.len() == SIZE_BYTES {
        return None;
    }
    size.extend(chunk.iter().take(SIZE_BYTES - size.len()));
    let [a, b, c, d] = size[..].try_into().ok()?;
    let size = format!("{} by {}", u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Some(looked(Verb::new("open", "opened"), &format!("the screen, {size}"), Some(size)))
}

fn looked(verb: Verb, what: &str, value: Option<String>) -> Verdict {
    let kind = Kind { protocol: Protocol::Vnc, class: Some(Action::Observe), code: "ClientInit".to_owned() };
    Told { verb, rest: what.to_owned(), object: None, value }.verdict(kind, None, true)
}

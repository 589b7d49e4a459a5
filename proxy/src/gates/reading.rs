//! What all gates do alike: take whole messages from both streams, hand each to the protocol's own part, and end or go blind
//! where one cannot be read.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use policies::plant::Protocol;

use super::told::{Kind, Told, opaque};
use super::waiting::{Place, WAITING_MAX, Waiting};
use super::{End, Gate, Judge, Mode, Passed, Piece};

/// Whole messages of one direction.
pub(super) trait Messages: fmt::Debug + Send {
    /// A message, in the bytes it came in.
    type Message;

    /// The next one. Where there is none yet, all of the chunk is held.
    ///
    /// # Errors
    /// Why what comes is none; what was taken of the chunk is held, and given up with the rest.
    fn next(&mut self, chunk: &mut Bytes) -> Result<Option<Self::Message>, String>;

    /// The message in the bytes it came in.
    fn bytes(message: &Self::Message) -> Bytes;

    /// What is held of a message that is not whole, given up.
    fn give_up(&mut self) -> Bytes;
}

/// One protocol's own part.
pub(super) trait Talk: fmt::Debug + Send {
    const PROTOCOL: Protocol;
    /// As it is called.
    const NAME: &'static str;
    type Messages: Messages;
    /// Which answers fit which request.
    type Key: fmt::Debug + Send;

    /// A message of the technician's program.
    fn request(&mut self, message: &MessageOf<Self>, desk: &mut Desk<'_, Self::Key>) -> Result<(), Stop>;

    /// A message of the target.
    fn answer(&mut self, message: &MessageOf<Self>, desk: &mut Desk<'_, Self::Key>) -> Result<(), Stop>;

    fn is_transferring(&self, _now: Instant) -> bool {
        false
    }

    /// What is answered in the target's stead; none where the protocol has nothing.
    fn in_its_stead(_key: &Self::Key, _why: Gone) -> Option<Bytes> {
        None
    }
}

type MessageOf<T> = <<T as Talk>::Messages as Messages>::Message;

/// What a message is handled with.
pub(super) struct Desk<'a, K> {
    pub(super) mode: Mode,
    pub(super) judge: &'a dyn Judge,
    pub(super) now: Instant,
    pub(super) waiting: &'a mut Waiting<K>,
    pub(super) passed: &'a mut Passed,
}

impl<K> Desk<'_, K> {
    /// A message of the target's that nothing waits for: kept back, or passed on where everything is; told in any case.
    pub(super) fn unasked(&mut self, kind: Kind, told: &Told, bytes: &Bytes) {
        let (words, refused) = match self.mode {
            Mode::Enforce => {
                self.passed.to_technician.push(Piece::LeftOut(bytes.len()));
                (format!("kept back from the target {}", told.rest), Some("nothing waits for it".to_owned()))
            }
            Mode::Decode => {
                self.passed.to_technician.push(Piece::Passed(bytes.clone()));
                (format!("the target sent {}", told.rest), None)
            }
        };
        self.passed.verdicts.push(told.outcome(kind, words, refused));
    }
}

/// Why reading stops. The message goes no further where the gate enforces, and passes where it decodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    /// It may not pass, and the protocol has no answer.
    Refused(String),
    /// It cannot be read.
    Unreadable(String),
}

/// What became of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    Unreachable,
    HungUp,
}

/// Reads one connection.
#[derive(Debug)]
pub(super) struct Reading<T: Talk> {
    mode: Mode,
    state: State,
    upward: T::Messages,
    downward: T::Messages,
    waiting: Waiting<T::Key>,
    talk: T,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// Nothing can be read any more, and everything passes.
    Blind,
    /// Nothing passes any more.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Technician,
    Target,
}

impl<T: Talk> Reading<T> {
    pub(super) fn new(mode: Mode, talk: T, upward: T::Messages, downward: T::Messages) -> Self {
        Self { mode, state: State::Reading, upward, downward, waiting: Waiting::default(), talk }
    }

    fn read(&mut self, from: From, mut chunk: Bytes, judge: &dyn Judge, now: Instant) -> Passed {
        let mut passed = Passed::default();
        while self.state == State::Reading {
            let messages = if from == From::Technician { &mut self.upward } else { &mut self.downward };
            match messages.next(&mut chunk) {
                Ok(None) => break,
                Ok(Some(message)) => {
                    if let Err(stop) = self.message(from, &message, judge, now, &mut passed) {
                        self.stop(from, stop, &T::Messages::bytes(&message), &mut passed);
                    }
                }
                Err(why) => self.stop(from, Stop::Unreadable(why), &Bytes::new(), &mut passed),
            }
        }
        match self.state {
            State::Reading => self.send_own(now, &mut passed),
            State::Blind => push(side(from, &mut passed), chunk),
            State::Ended => leave_out(side(from, &mut passed), chunk.len()),
        }
        passed
    }

    fn message(
        &mut self,
        from: From,
        message: &MessageOf<T>,
        judge: &dyn Judge,
        now: Instant,
        passed: &mut Passed,
    ) -> Result<(), Stop> {
        if from == From::Technician {
            self.make_room(now)?;
        }
        let mut desk = Desk { mode: self.mode, judge, now, waiting: &mut self.waiting, passed };
        match from {
            From::Technician => self.talk.request(message, &mut desk),
            From::Target => {
                self.talk.answer(message, &mut desk)?;
                self.send_own(now, passed);
                Ok(())
            }
        }
    }

    fn make_room(&mut self, now: Instant) -> Result<(), Stop> {
        match self.mode {
            Mode::Decode => self.waiting.make_room(),
            Mode::Enforce if self.waiting.has_room(now) => {}
            Mode::Enforce => {
                let why = "requests without waiting for their answers; send fewer at a time";
                return Err(Stop::Refused(format!("more than {WAITING_MAX} {why}")));
            }
        }
        Ok(())
    }

    fn stop(&mut self, from: From, stop: Stop, message: &Bytes, passed: &mut Passed) {
        let whose = if from == From::Technician { "the technician's program" } else { "the target" };
        let (end, why) = match stop {
            Stop::Refused(why) => (End::Refused(why.clone()), why),
            Stop::Unreadable(why) => {
                let why = format!("what {whose} sent is not {}: {why}", T::NAME);
                (End::Malformed(why.clone()), why)
            }
        };
        self.waiting.give_up();
        let held = match from {
            From::Technician => self.upward.give_up(),
            From::Target => self.downward.give_up(),
        };
        if self.mode == Mode::Enforce {
            self.state = State::Ended;
            leave_out(side(from, passed), message.len() + held.len());
            passed.end = Some(end);
            return;
        }
        self.state = State::Blind;
        passed.verdicts.push(opaque(T::PROTOCOL, &why));
        push(side(from, passed), message.clone());
        push(side(from, passed), held);
        push(&mut passed.to_target, self.upward.give_up());
        push(&mut passed.to_technician, self.downward.give_up());
    }

    fn send_own(&mut self, now: Instant, passed: &mut Passed) {
        passed.to_technician.extend(self.waiting.in_turn(now).into_iter().map(Piece::Made));
    }

    /// Answers everything that waits in the target's stead.
    fn speak_for_target(&mut self, why: Gone) -> Passed {
        let mut passed = Passed::default();
        for place in self.waiting.give_up() {
            let answer = match place {
                Place::Made(answer) => Some(answer),
                Place::Asked(asked) => {
                    let (words, refused) = gone(why, &asked.told);
                    passed.verdicts.push(asked.told.outcome(asked.kind, words, refused));
                    T::in_its_stead(&asked.key, why)
                }
            };
            passed.to_technician.extend(answer.map(Piece::Made));
        }
        passed
    }
}

impl<T: Talk> Gate for Reading<T> {
    fn upward(&mut self, chunk: Bytes, judge: &dyn Judge, now: Instant) -> Passed {
        self.read(From::Technician, chunk, judge, now)
    }

    fn downward(&mut self, chunk: Bytes, now: Instant) -> Passed {
        self.read(From::Target, chunk, &Nobody, now)
    }

    fn due(&self) -> Option<Instant> {
        self.waiting.due()
    }

    fn pass_time(&mut self, now: Instant) -> Passed {
        let mut passed = Passed::default();
        self.send_own(now, &mut passed);
        passed
    }

    fn is_blind(&self) -> bool {
        self.state == State::Blind
    }

    fn is_transferring(&self, now: Instant) -> bool {
        self.talk.is_transferring(now)
    }

    fn unreachable(&mut self, _why: &str, _now: Instant) -> Passed {
        self.speak_for_target(Gone::Unreachable)
    }

    fn hung_up(&mut self, _now: Instant) -> Passed {
        self.speak_for_target(Gone::HungUp)
    }
}

/// Nobody is asked about what a target says.
struct Nobody;

impl Judge for Nobody {
    fn may_pass(&self, _need: super::Need) -> Result<(), String> {
        Err("what a target says is not judged".to_owned())
    }
}

fn gone(why: Gone, told: &Told) -> (String, Option<String>) {
    let asked = told.infinitive();
    match why {
        Gone::Unreachable => (
            format!("the target could not be reached, and nothing was done when asked to {asked}"),
            Some("the target could not be reached".to_owned()),
        ),
        Gone::HungUp => {
            (format!("the target hung up and nobody knows whether it was done when asked to {asked}"), None)
        }
    }
}

fn side(from: From, passed: &mut Passed) -> &mut Vec<Piece> {
    match from {
        From::Technician => &mut passed.to_target,
        From::Target => &mut passed.to_technician,
    }
}

fn leave_out(pieces: &mut Vec<Piece>, bytes: usize) {
    if bytes > 0 {
        pieces.push(Piece::LeftOut(bytes));
    }
}

pub(super) fn push(pieces: &mut Vec<Piece>, bytes: Bytes) {
    if !bytes.is_empty() {
        pieces.push(Piece::Passed(bytes));
    }
}

/// Reads that this connection made lately: who sees one again sees a program polling.
#[derive(Debug, Default)]
pub(super) struct Polled(VecDeque<Box<[u8]>>);

impl Polled {
    /// More than one screen of a panel polls.
    const SHAPES_MAX: usize = 256;
    /// What is longer is no read that anybody repeats.
    const SHAPE_BYTES_MAX: usize = 512;

    /// Whether this was read before; from now on it was.
    pub(super) fn again(&mut self, shape: &[u8]) -> bool {
        if shape.len() > Self::SHAPE_BYTES_MAX {
            return false;
        }
        let known = self.0.iter().position(|known| **known == *shape).and_then(|position| self.0.remove(position));
        let again = known.is_some();
        self.0.push_back(known.unwrap_or_else(|| shape.into()));
        if self.0.len() > Self::SHAPES_MAX {
            self.0.pop_front();
        }
        again
    }
}

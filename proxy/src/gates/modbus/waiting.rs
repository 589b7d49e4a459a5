//! Requests whose answers the technician's program still waits for, in the order in which they came. An answer of the
//! gate's own is among them and goes out in its turn, so that a program that tells answers apart by their order alone,
//! with transaction 0 in each, takes none for another.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Frame;
use super::request::{Exception, negative};
use crate::gates::told::{Kind, Told};

/// How long an answer of the gate's own waits for those before it. Programs commonly give up after 1 to 10 seconds, and a
/// refusal that comes too late is asked for again.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many requests may wait: sixteen times what the implementation guide lets a server take at once (4.2).
pub(super) const WAITING_MAX: usize = 256;

/// A request that the target was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) transaction: u16,
    pub(super) unit: u8,
    pub(super) function: u8,
    pub(super) kind: Kind,
    pub(super) told: Told,
    /// Until when an answer of the gate's own waits for it.
    until: Instant,
}

impl Asked {
    /// `answered` is false for what a serial line's devices carry out without an answer.
    pub(super) fn new(frame: &Frame, kind: Kind, told: Told, answered: bool, now: Instant) -> Self {
        let until = if answered { now + PATIENCE } else { now };
        Self { transaction: frame.transaction(), unit: frame.unit(), function: frame.function(), kind, told, until }
    }

    fn is_answered_by(&self, answer: &Frame) -> bool {
        self.transaction == answer.transaction()
            && self.unit == answer.unit()
            && self.function | 0x80 == answer.function() | 0x80
    }

    pub(super) fn negative(&self, exception: Exception) -> Bytes {
        negative(self.transaction, self.unit, self.function, exception)
    }
}

#[derive(Debug)]
pub(super) enum Place {
    Asked(Asked),
    Made(Bytes),
}

/// The places.
#[derive(Debug, Default)]
pub(super) struct Waiting(VecDeque<Place>);

impl Waiting {
    /// Whether one more may wait. For it, a request that is late is forgotten.
    pub(super) fn has_room(&mut self, now: Instant) -> bool {
        let late = |place: &Place| matches!(place, Place::Asked(asked) if asked.until <= now);
        self.0.len() < WAITING_MAX
            || self.0.iter().position(late).and_then(|position| self.0.remove(position)).is_some()
    }

    /// Forgets the oldest, where no more may wait.
    pub(super) fn make_room(&mut self) {
        if self.0.len() >= WAITING_MAX {
            self.0.pop_front();
        }
    }

    /// At the end.
    pub(super) fn add(&mut self, place: Place) {
        self.0.push_back(place);
    }

    /// Takes the request that this answers: the first of those it fits, but one that is late only if no other is there.
    pub(super) fn answered_by(&mut self, answer: &Frame, now: Instant) -> Option<Asked> {
        let place_of = |in_time: bool| {
            let fits = |asked: &Asked| asked.is_answered_by(answer) && (!in_time || asked.until > now);
            self.0.iter().position(|place| matches!(place, Place::Asked(asked) if fits(asked)))
        };
        let position = place_of(true).or_else(|| place_of(false))?;
        for place in self.0.iter_mut().skip(position) {
            if let Place::Asked(asked) = place
                && asked.until > now
            {
                asked.until = now + PATIENCE;
            }
        }
        match self.0.remove(position) {
            Some(Place::Asked(asked)) => Some(asked),
            _ => None,
        }
    }

    /// Takes the gate's own answers whose turn it is.
    pub(super) fn in_turn(&mut self, now: Instant) -> Vec<Bytes> {
        let mut answers = Vec::new();
        let mut waits = false;
        self.0.retain(|place| match place {
            Place::Asked(asked) => {
                waits |= asked.until > now;
                true
            }
            Place::Made(answer) if !waits => {
                answers.push(answer.clone());
                false
            }
            Place::Made(_) => true,
        });
        answers
    }

    /// When the first of the gate's own answers goes out at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        let own = self.0.iter().position(|place| matches!(place, Place::Made(_)))?;
        self.0
            .iter()
            .take(own)
            .map(|place| if let Place::Asked(asked) = place { Some(asked.until) } else { None })
            .max()?
    }

    /// Everything that waits.
    pub(super) fn give_up(&mut self) -> VecDeque<Place> {
        std::mem::take(&mut self.0)
    }
}

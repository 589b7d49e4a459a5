//! Requests whose answers the technician's program still waits for, in the order in which they came. An answer of the
//! gate's own is among them and goes out in its turn, so that a program that tells answers apart by their order alone takes
//! none for another.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::told::{Kind, Told};

/// How long an answer of the gate's own waits for those before it. Programs commonly give up after 1 to 10 seconds, and a
/// refusal that comes too late is asked for again.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many requests may wait: sixteen times what Modbus's implementation guide lets a server take at once (4.2), and more
/// than any CPU agrees to.
pub(super) const WAITING_MAX: usize = 256;

/// A request that the target was given. The key says which answers fit it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked<K> {
    pub(super) key: K,
    pub(super) kind: Kind,
    pub(super) told: Told,
    /// Until when an answer of the gate's own waits for it.
    until: Instant,
}

impl<K> Asked<K> {
    pub(super) fn new(key: K, kind: Kind, told: Told, now: Instant) -> Self {
        Self { key, kind, told, until: now + PATIENCE }
    }

    /// It may be carried out without an answer, so that nothing waits for one.
    pub(super) fn perhaps_unanswered(self, now: Instant) -> Self {
        Self { until: now, ..self }
    }
}

#[derive(Debug)]
pub(super) enum Place<K> {
    Asked(Asked<K>),
    Made(Bytes),
}

/// The places.
#[derive(Debug)]
pub(super) struct Waiting<K>(VecDeque<Place<K>>);

impl<K> Default for Waiting<K> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K> Waiting<K> {
    /// Whether one more may wait. For it, a request that is late is forgotten.
    pub(super) fn has_room(&mut self, now: Instant) -> bool {
        let late = |place: &Place<K>| matches!(place, Place::Asked(asked) if asked.until <= now);
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
    pub(super) fn add(&mut self, place: Place<K>) {
        self.0.push_back(place);
    }

    /// Takes the request that this answers: the first of those it fits, but one that is late only if no other is there.
    pub(super) fn answered_by(&mut self, fits: impl Fn(&K) -> bool, now: Instant) -> Option<Asked<K>> {
        let place_of = |in_time: bool| {
            let waits = |asked: &Asked<K>| fits(&asked.key) && (!in_time || asked.until > now);
            self.0.iter().position(|place| matches!(place, Place::Asked(asked) if waits(asked)))
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
        let until = |place: &Place<K>| if let Place::Asked(asked) = place { Some(asked.until) } else { None };
        self.0.iter().take(own).filter_map(until).max()
    }

    /// Everything that waits.
    pub(super) fn give_up(&mut self) -> VecDeque<Place<K>> {
        std::mem::take(&mut self.0)
    }
}

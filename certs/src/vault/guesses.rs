//! How often codes may be tried: whoever speaks for the gate could else try all there are.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use policies::ids::PersonId;
use policies::time::Seconds;

/// Wrong codes of one person within [`REMEMBERED`]. The gate locks a person after five.
const WRONG_MAX: usize = 10;
const REMEMBERED: Seconds = Seconds(15 * 60);
/// More than a plant has people: above it somebody makes them up.
const PEOPLE_MAX: usize = 10_000;

/// When each person's last wrong codes came.
#[derive(Default)]
pub(super) struct Guesses(Mutex<BTreeMap<PersonId, Vec<Timestamp>>>);

impl Guesses {
    /// Whether a code of this person's may be compared, and what came of it by `compare`: a step, or none.
    pub(super) fn compare<F>(
        &self,
        person: PersonId,
        now: Timestamp,
        compare: impl FnOnce() -> Result<Option<u64>, F>,
    ) -> Result<Option<u64>, String>
    where
        F: std::fmt::Display,
    {
        let mut wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.retain(|_, times| {
            times.retain(|at| now < REMEMBERED.after(*at));
            !times.is_empty()
        });
        if wrong.len() >= PEOPLE_MAX || wrong.get(&person).is_some_and(|times| times.len() >= WRONG_MAX) {
            return Err("too many codes were wrong within a quarter of an hour".to_owned());
        }
        let step = compare().map_err(|fault| fault.to_string())?;
        // A right one makes none of them undone: whoever speaks for the gate could have a secret of their own sealed as this
        // person's, and knows its codes.
        if step.is_none() {
            wrong.entry(person).or_default().push(now);
        }
        Ok(step)
    }
}

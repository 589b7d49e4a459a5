//! Until when the newest SSH certificate of each technician lasts: russh passes over one that has ended without asking
//! anybody, so whoever comes with it is asked for a code, and can be told why only by whoever made it out. Kept in memory
//! alone; nothing is decided by it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use policies::ids::PersonId;

#[derive(Default)]
pub(super) struct Certificates(Mutex<BTreeMap<PersonId, Timestamp>>);

/// Whoever comes back later than a shift after knows that it has ended.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(12);

impl Certificates {
    pub(super) fn made(&self, person: PersonId, until: Timestamp) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.insert(person, until);
        newest.retain(|_, ended| until < *ended + REMEMBERED);
    }

    /// When the newest one ended, if it did of late.
    pub(super) fn ended(&self, person: PersonId, now: Timestamp) -> Option<Timestamp> {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.get(&person).copied().filter(|until| *until <= now && now < *until + REMEMBERED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_ended_of_late_is_known_and_a_newer_one_takes_its_place() {
        let at = |hours: i64| Timestamp::from_second(hours * 3_600).unwrap();
        let person = |number: u128| PersonId::new(number.into());
        let certificates = Certificates::default();
        certificates.made(person(1), at(10));
        assert_eq!(certificates.ended(person(1), at(9)), None);
        assert_eq!(certificates.ended(person(1), at(10)), Some(at(10)));
        assert_eq!(certificates.ended(person(1), at(22)), None);
        assert_eq!(certificates.ended(person(2), at(10)), None);
        certificates.made(person(1), at(12));
        assert_eq!(certificates.ended(person(1), at(11)), None);
        certificates.made(person(2), at(30));
        assert_eq!(certificates.0.lock().unwrap().len(), 1);
    }
}

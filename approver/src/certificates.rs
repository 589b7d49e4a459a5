//! The certificates that the plant gave its faces, as they stand: whoever serves them says so here, for the board and for
//! alarms. A face always has the gate's own certificate besides; browsers that know only the plant's authority refuse it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use policies::time::Seconds;

/// Long enough for an authority that people have to ask.
const ENDS_SOON: Seconds = Seconds(14 * 86_400);

/// Cheap to clone; all clones are one. Empty where no face has a certificate but the gate's.
#[derive(Debug, Clone, Default)]
pub struct Certificates(Arc<Mutex<BTreeMap<&'static str, Result<Standing, String>>>>);

/// How the certificate of a face stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// From when on it counts.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Why a newer one in its files is not shown.
    pub unread: Option<String>,
}

impl Certificates {
    /// The certificate of this face stands so now.
    pub fn tell(&self, face: &'static str, standing: Standing) {
        self.lock().insert(face, Ok(standing));
    }

    /// A certificate was given to this face and none of it can be shown; why.
    pub fn none(&self, face: &'static str, why: String) {
        self.lock().insert(face, Err(why));
    }

    /// What is wrong with them, by face; in words that stay the same while it lasts.
    pub fn troubles(&self, now: Timestamp) -> Vec<(&'static str, String)> {
        let held = self.lock();
        let trouble = |face: &str, standing: &Result<Standing, String>| match standing {
            Ok(standing) => standing.trouble(face, now),
            Err(why) => {
                Some(format!("the {face} face has no certificate of the plant's and shows the gate's own: {why}"))
            }
        };
        held.iter().filter_map(|(face, standing)| Some((*face, trouble(face, standing)?))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Result<Standing, String>>> {
        // No change under this lock can stop halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    fn trouble(&self, face: &str, now: Timestamp) -> Option<String> {
        let Self { from, until, unread } = self;
        let and_the_next =
            unread.as_ref().map(|unread| format!(". The next is not shown: {unread}")).unwrap_or_default();
        if now < *from {
            return Some(format!(
                "the certificate of the {face} face counts only from {from} on: browsers refuse it{and_the_next}"
            ));
        }
        if *until < now {
            return Some(format!(
                "the certificate of the {face} face ended at {until}: browsers refuse it{and_the_next}"
            ));
        }
        if unread.is_some() {
            return Some(format!("the certificate of the {face} face stays the one before{and_the_next}"));
        }
        let is_soon = ENDS_SOON.after(now) > *until;
        is_soon.then(|| format!("the certificate of the {face} face ends at {until}, and nobody gave the next"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_trouble_before_it_counts_when_its_end_comes_and_after_it() {
        let (from, until) = ("2026-11-01T00:00:00Z".parse().unwrap(), "2026-12-01T00:00:00Z".parse().unwrap());
        let certificates = Certificates::default();
        let said = |at: &str| certificates.troubles(at.parse().unwrap()).pop().map(|(_, text)| text);
        assert_eq!(said("2026-11-10T00:00:00Z"), None);
        certificates.tell("plant", Standing { from, until, unread: None });
        assert!(said("2026-10-31T23:59:59Z").unwrap().contains("only from"));
        assert_eq!(said("2026-11-10T00:00:00Z"), None);
        assert!(said("2026-11-17T00:00:01Z").unwrap().contains("nobody gave the next"));
        assert!(said("2026-12-01T00:00:01Z").unwrap().contains("ended at"));
        certificates.tell("plant", Standing { from, until, unread: Some("no key".to_owned()) });
        assert!(said("2026-11-10T00:00:00Z").unwrap().ends_with("stays the one before. The next is not shown: no key"));
        assert!(said("2026-12-01T00:00:01Z").unwrap().ends_with("refuse it. The next is not shown: no key"));
        certificates.none("plant", "no key".to_owned());
        assert!(said("2026-11-10T00:00:00Z").unwrap().ends_with("shows the gate's own: no key"));
    }
}

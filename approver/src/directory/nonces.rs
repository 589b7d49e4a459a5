//! Nonces that were seen, so that a signed request or login serves once. In memory, because each is for this run of the
//! program alone: what is signed names it, or carries a challenge that this run made. So nothing is lost with them.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Boot;

/// So many at once: ten minutes of thirty requests a second. A full one refuses, because forgetting would let a
/// request be played again.
const NONCES_MAX: usize = 16_384;
/// Longer nonces are refused, so that memory is bounded.
const NONCE_BYTES_MAX: usize = 128;

/// Remembers nonces for as long as what carries them is valid.
#[derive(Default)]
pub struct Nonces(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    nonces: HashSet<Box<[u8]>>,
    until: BTreeMap<Boot, Vec<Box<[u8]>>>,
}

impl Nonces {
    /// None seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether `nonce` is new; it is not afterwards, until `lasts` is over. Also `false` where no more can be
    /// remembered, or the nonce is longer than any of ours.
    pub fn spend(&self, nonce: &[u8], lasts: Duration, now: Boot) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.forget_until(now);
        if nonce.len() > NONCE_BYTES_MAX || seen.nonces.len() >= NONCES_MAX {
            return false;
        }
        let is_new = seen.nonces.insert(nonce.into());
        if is_new {
            seen.until.entry(now.after(lasts)).or_default().push(nonce.into());
        }
        is_new
    }
}

impl Seen {
    fn forget_until(&mut self, now: Boot) {
        while let Some(first) = self.until.first_entry().filter(|entry| *entry.key() <= now) {
            for nonce in first.remove() {
                self.nonces.remove(&nonce);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_nonce_serves_once_while_it_is_valid() {
        let (nonces, start) = (Nonces::new(), Boot::default());
        assert!(nonces.spend(b"a", MINUTE, start));
        assert!(!nonces.spend(b"a", MINUTE, start));
        assert!(nonces.spend(b"b", MINUTE, start));
        assert!(nonces.spend(b"a", MINUTE, start.after(MINUTE)));
    }

    #[test]
    fn a_full_memory_refuses_rather_than_forgets() {
        let (nonces, start) = (Nonces::new(), Boot::default());
        for n in 0..NONCES_MAX {
            assert!(nonces.spend(&n.to_be_bytes(), MINUTE, start));
        }
        assert!(!nonces.spend(b"one more", MINUTE, start));
        assert!(!nonces.spend(&[0; NONCE_BYTES_MAX + 1], MINUTE, start.after(MINUTE)));
        assert!(nonces.spend(b"one more", MINUTE, start.after(MINUTE)));
    }
}

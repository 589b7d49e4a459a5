//! The host key of the SSH face. A library signs with it itself, so it is the one key that is in the gate's own process.

use std::fmt;

use ssh_key::{HashAlg, PrivateKey, PublicKey};

use crate::keys::Seed;
use crate::ring::{Ring, Turning};
use crate::ssh_ca::key_from_seed;

/// The host key, as it is now (Ed25519). Cheap to clone; `Debug` shows its fingerprint.
#[derive(Clone)]
pub struct SshHostKey(Turning<Keys>);

struct Keys {
    private: PrivateKey,
    ring: Ring<PublicKey>,
}

impl SshHostKey {
    pub(crate) fn here(seeds: &Ring<Seed>) -> Self {
        let key = |seed: &Seed| key_from_seed(seed, "holdpoint");
        Self::new(key(&seeds.now.key), seeds.map(|seed| key(seed).public_key().clone()))
    }

    pub(crate) fn new(private: PrivateKey, ring: Ring<PublicKey>) -> Self {
        Self(Turning::new(Keys { private, ring }))
    }

    pub(crate) fn turn_to(&self, other: &Self) {
        self.0.turn_to(&other.0);
    }

    pub(crate) fn ring(&self) -> Ring<PublicKey> {
        self.0.now().ring.clone()
    }

    /// What a new connection is shown. What runs keeps the one that it began with.
    pub fn private(&self) -> PrivateKey {
        self.0.now().private.clone()
    }

    /// Its public half.
    pub fn public_key(&self) -> PublicKey {
        self.0.now().private.public_key().clone()
    }

    /// As `ssh-keygen -l` and clients show it.
    pub fn fingerprint(&self) -> String {
        self.public_key().fingerprint(HashAlg::Sha256).to_string()
    }

    /// Whether this is the gate's own, was, or will be.
    pub(crate) fn is_one(&self, key: &PublicKey) -> bool {
        self.0.now().ring.believed().any(|own| own.key_data() == key.key_data())
    }
}

impl fmt::Debug for SshHostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SshHostKey({})", self.fingerprint())
    }
}

//! Keys that are renewed while everything goes on. Of each there is one that signs; there may be the next, which everybody
//! is told of before it signs anything, and the last, which is believed until nobody needs it. How they lie on the disk is known to
//! [`crate::keys`].

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Which keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RingName {
    /// The SSH certificate authority.
    SshCa,
    /// The TLS certificate authority.
    TlsCa,
    /// The host key of the SSH face.
    SshHost,
    /// The key that signs tokens.
    Token,
}

/// Text that names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the keys that can be renewed are ssh-ca, tls-ca, ssh-host and token")]
pub struct NoRing;

impl RingName {
    /// Each, in the order in which people are told of them.
    pub const ALL: [Self; 4] = [Self::SshCa, Self::TlsCa, Self::SshHost, Self::Token];

    /// As it is typed, and as its files are called.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SshCa => "ssh-ca",
            Self::TlsCa => "tls-ca",
            Self::SshHost => "ssh-host",
            Self::Token => "token",
        }
    }
}

impl FromStr for RingName {
    type Err = NoRing;

    fn from_str(text: &str) -> Result<Self, NoRing> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or(NoRing)
    }
}

impl fmt::Display for RingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One key of a ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member<K> {
    /// The key, or what is known of it.
    pub key: K,
    /// Since when it has this place, as its file says.
    pub since: Timestamp,
}

/// A key, and what goes before and after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ring<K> {
    /// It signs.
    pub now: Member<K>,
    /// It is announced and believed, and signs nothing yet.
    pub next: Option<Member<K>>,
    /// It is believed still, and signs nothing any more.
    pub last: Option<Member<K>>,
}

impl<K> Ring<K> {
    /// With nothing beside this one.
    pub const fn alone(key: K, since: Timestamp) -> Self {
        Self { now: Member { key, since }, next: None, last: None }
    }

    /// Those that people and machines are told to believe: what signs, and what will.
    pub fn announced(&self) -> impl Iterator<Item = &K> {
        std::iter::once(&self.now).chain(&self.next).map(|member| &member.key)
    }

    /// Those whose signatures count here.
    pub fn believed(&self) -> impl Iterator<Item = &K> {
        self.announced().chain(self.last.iter().map(|member| &member.key))
    }

    /// Each, without since when.
    pub(crate) fn keys(self) -> [Option<K>; 3] {
        [Some(self.now), self.next, self.last].map(|member| member.map(|member| member.key))
    }

    /// The same of something else.
    ///
    /// # Errors
    /// The first that `of` gives.
    pub fn try_map<T, E>(&self, of: impl Fn(&K) -> Result<T, E>) -> Result<Ring<T>, E> {
        let one = |member: &Member<K>| Ok::<_, E>(Member { key: of(&member.key)?, since: member.since });
        Ok(Ring {
            now: one(&self.now)?,
            next: self.next.as_ref().map(one).transpose()?,
            last: self.last.as_ref().map(one).transpose()?,
        })
    }

    /// The same of something else.
    pub fn map<T>(&self, of: impl Fn(&K) -> T) -> Ring<T> {
        let one = |member: &Member<K>| Member { key: of(&member.key), since: member.since };
        Ring { now: one(&self.now), next: self.next.as_ref().map(one), last: self.last.as_ref().map(one) }
    }
}

/// What several hold, each as it is now: turned in one place, it is turned for all.
pub(crate) struct Turning<T>(Arc<RwLock<Arc<T>>>);

impl<T> Turning<T> {
    pub(crate) fn new(first: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(first))))
    }

    /// As it is. Whoever asks once has things that belong together.
    pub(crate) fn now(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on as the other is.
    pub(crate) fn turn_to(&self, other: &Self) {
        let new = other.now();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
    }
}

impl<T> Clone for Turning<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_reads_back_and_no_other_is_taken() {
        for name in RingName::ALL {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        for other in ["log", "secrets", "", "SSH-CA"] {
            assert_eq!(other.parse::<RingName>(), Err(NoRing));
        }
    }

    #[test]
    fn what_is_announced_is_believed_and_the_last_is_believed_alone() {
        let at = |key| Some(Member { key, since: Timestamp::UNIX_EPOCH });
        let ring = Ring { next: at(2), last: at(0), ..Ring::alone(1, Timestamp::UNIX_EPOCH) };
        assert_eq!(ring.announced().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(ring.believed().copied().collect::<Vec<_>>(), [1, 2, 0]);
    }

    #[test]
    fn what_is_turned_is_turned_for_whoever_holds_it() {
        let turning = Turning::new(1);
        let held = turning.clone();
        let before = held.now();
        turning.turn_to(&Turning::new(2));
        assert_eq!((*held.now(), *before), (2, 1));
    }
}

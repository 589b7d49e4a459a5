//! How it stands with what is brought to the bucket: for `status`, metrics and the alarm.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use policies::ids::{NodeId, SessionId};

use super::{BrokenOff, Copies};
use crate::blobs::{BlobFault, Blobs};

/// So many failures in a row are told: one alone is a cable that somebody pulls and puts back. What the bucket refuses is told
/// at once.
const FAILURES_TOLD: u32 = 3;

/// Recordings that wait to be deposited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// How many.
    pub sessions: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// When the first of them ended.
    pub oldest: Option<Timestamp>,
}

impl Waiting {
    pub(super) fn take(&mut self, ended: Timestamp, bytes: u64) {
        self.sessions += 1;
        self.bytes += bytes;
        self.oldest = Some(self.oldest.map_or(ended, |oldest| oldest.min(ended)));
    }
}

/// Why something is not deposited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// In words.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
}

impl Trouble {
    /// For an alarm: what is wrong, since when, and how much waits, which is told anew when it has become twice as much.
    pub fn in_words(&self, waiting: Waiting) -> String {
        let Waiting { sessions, bytes, oldest } = waiting;
        let at_least = |count: u64| count.checked_ilog2().map_or(0, |log| 1_u64 << log);
        let waits = oldest.map_or_else(String::new, |oldest| {
            let mebibytes = at_least(bytes >> 20).max(1);
            format!(
                ". {} recordings or more wait, {mebibytes} MiB or more, the first since {oldest:.0}",
                at_least(sessions)
            )
        });
        format!("{}{waits}", self.why)
    }
}

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Recordings deposited since the start.
    pub deposited: u64,
    /// What waits.
    pub waiting: Waiting,
    /// Why it does not end.
    pub trouble: Option<Trouble>,
    /// Recordings that were erased, and that the bucket's lock keeps for now: why, in words.
    pub locked: BTreeMap<SessionId, String>,
}

#[derive(Debug, Default)]
struct Held {
    standing: Standing,
    failures: u32,
    since: Option<Timestamp>,
    at: Option<SessionId>,
    /// Whether the last failure was that the bucket could not be had.
    is_out_of_reach: bool,
}

/// The same, as whoever looks sees it. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Deposits {
    held: Arc<Mutex<Held>>,
    pub(super) at: At,
}

/// Where they are.
#[derive(Clone)]
pub(super) struct At {
    pub(super) bucket: Arc<dyn Blobs>,
    pub(super) node: NodeId,
    pub(super) copies: Copies,
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "At({})", self.node)
    }
}

impl Deposits {
    /// This node's, in this bucket, as these leaves say.
    pub fn new(bucket: Arc<dyn Blobs>, node: NodeId, copies: Copies) -> Self {
        Self { held: Arc::default(), at: At { bucket, node, copies } }
    }

    /// How it stands now.
    pub fn standing(&self) -> Standing {
        self.lock().standing.clone()
    }

    pub(super) fn is_well(&self) {
        let mut held = self.lock();
        if held.standing.trouble.take().is_some() {
            tracing::info!("recordings go to the bucket again");
        }
        (held.failures, held.since, held.at) = (0, None, None);
    }

    pub(super) fn is_at(&self, session: SessionId) {
        self.lock().at = Some(session);
    }

    /// One more; what was out of reach is not any more.
    pub(super) fn deposited(&self) {
        let mut held = self.lock();
        held.standing.deposited += 1;
        held.at = None;
        if held.is_out_of_reach {
            (held.failures, held.since, held.standing.trouble) = (0, None, None);
        }
    }

    pub(super) fn waits(&self, waiting: Waiting) {
        self.lock().standing.waiting = waiting;
    }

    pub(super) fn is_broken_off(&self, why: &BrokenOff, now: Timestamp) {
        let mut held = self.lock();
        held.failures += 1;
        let since = *held.since.get_or_insert(now);
        held.is_out_of_reach = matches!(why, BrokenOff::Blob(BlobFault::Unreachable(_)));
        if held.is_out_of_reach && held.failures < FAILURES_TOLD {
            return;
        }
        if held.standing.trouble.is_none() {
            tracing::error!(%why, session = ?held.at, "recordings are not brought to the bucket; it is tried again");
        }
        held.standing.trouble = Some(Trouble { why: why.to_string(), since });
    }

    pub(super) fn waits_for_lock(&self, session: SessionId, why: &BlobFault) {
        let why = why.to_string();
        if self.lock().standing.locked.insert(session, why.clone()).is_none() {
            tracing::info!(%session, why, "a recording that was erased stays in the bucket until its lock is over");
        }
    }

    pub(super) fn is_gone(&self, session: SessionId) {
        self.lock().standing.locked.remove(&session);
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // No change under this lock can stop halfway.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

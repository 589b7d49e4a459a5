//! Heads of logs that somebody else remembers: the journal of a node's recordings, an auditor of the last check. A log must
//! have had each of them.

use std::fmt;

use certs::trust::Trust;
use jiff::Timestamp;
use policies::digest::Digest;
use policies::ids::{NodeId, RestoreId};

use super::witnessed::Moment;
use crate::read::RECORDS_DIR;
use crate::tlog::checkpoint::SignedCheckpoint;

/// A head of a log, as somebody else remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The log's name.
    pub origin: String,
    /// How many entries it had.
    pub size: u64,
    /// The root of the tree over them (RFC 6962).
    pub root: Digest,
    /// Who remembers it.
    pub by: By,
}

/// Who remembers a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The log itself: it published this.
    Published,
    /// The journal, for a node's recordings.
    Journal {
        /// The index of its entry.
        entry: u64,
    },
    /// A witness, by its cosignature.
    Witness {
        /// Its name.
        witness: String,
        /// When, by its clock.
        at: Timestamp,
    },
    /// A sheet of paper.
    Paper {
        /// When it was printed, if that was typed.
        at: Option<Timestamp>,
    },
    /// The auditor, from the last check.
    Auditor {
        /// When that was, by the auditor's clock.
        at: Timestamp,
    },
}

/// As it stands behind what the log once had.
impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Published => f.write_str("as its own checkpoint says"),
            Self::Journal { entry } => write!(f, "as the journal says in entry {entry}"),
            Self::Witness { witness, at } => write!(f, "as {witness} cosigned at {at:.0}"),
            Self::Paper { .. } => f.write_str("as the sheet of paper says"),
            Self::Auditor { at } => write!(f, "as you saw when you checked it on {at:.0}"),
        }
    }
}

impl By {
    /// What else it may mean that a log does not reach so far.
    pub(super) const fn or_else(&self) -> &'static str {
        match self {
            Self::Auditor { .. } => {
                ", or this copy is an older one (one that is meant to be is checked with --no-memory)"
            }
            _ => "",
        }
    }

    /// Since when somebody else remembers so much; none where it is the log or its gate itself.
    pub(super) fn moment(&self, size: u64) -> Option<Moment> {
        match self {
            Self::Auditor { at } => Some(Moment { size, at: *at, by: format!("by your check of {at:.0}") }),
            Self::Paper { at } => at.map(|at| Moment { size, at, by: format!("on paper that was printed at {at:.0}") }),
            Self::Published | Self::Journal { .. } | Self::Witness { .. } => None,
        }
    }

    /// Whether two are of one kind: of many, the one that says most is told.
    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// Of heads that a log does not reach, the furthest of each kind.
pub(super) fn furthest(mut heads: Vec<Remembered>) -> Vec<Remembered> {
    heads.sort_by_key(|head| std::cmp::Reverse(head.size));
    let mut told: Vec<Remembered> = Vec::new();
    for head in heads {
        if !told.iter().any(|known| known.by.is_like(&head.by)) {
            told.push(head);
        }
    }
    told
}

/// The name of a node's recordings since a restore, or since the beginning.
pub(super) fn records_name(trust: &Trust, node: &NodeId, restore: Option<RestoreId>) -> String {
    let base = format!("{}/{RECORDS_DIR}/{node}", trust.deployment);
    restore.map_or_else(|| base.clone(), |restore| format!("{base}/{restore}"))
}

/// The head of a node's recordings in an entry of the journal, if the key signed it that the auditor trusts for them, under
/// the name that they had then.
pub(super) fn journaled(
    trust: &Trust,
    node: &NodeId,
    restore: Option<RestoreId>,
    checkpoint: &str,
    entry: u64,
) -> Result<Remembered, String> {
    let origin = records_name(trust, node, restore);
    let key = trust.verifier_of(&origin);
    let key = key.ok_or_else(|| format!("your trust file has no key for the recordings of {node}"))?;
    let signed = SignedCheckpoint::open(checkpoint.as_bytes(), std::slice::from_ref(&key));
    let signed = signed.map_err(|why| format!("the head of the recordings of {node} is not theirs: {why}"))?;
    let head = signed.checkpoint();
    // A log of ours says no more, and in no other spelling.
    if checkpoint != signed.to_string() || signed.note().text() != head.to_string() {
        return Err(format!("the head of the recordings of {node} is not as their log writes it"));
    }
    Ok(Remembered { origin, size: head.size, root: Digest(head.root), by: By::Journal { entry } })
}

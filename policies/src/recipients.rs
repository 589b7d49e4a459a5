//! To whom recordings are encrypted: auditors, and whoever keeps a site key. The gate opens nothing, so it knows only what it
//! is told: which keys its nodes name, and that somebody tried one on a recording.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::events::Event;
use crate::ids::{NodeId, PersonId, Recipient, SessionId};
use crate::refusals::Refusal;
use crate::state::State;

/// A key that nobody has tried for so long may be lost, and nobody would know: a year.
pub const REHEARSED_WITHIN: SignedDuration = SignedDuration::from_hours(365 * 24);

/// One key to which recordings are, or were, encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientFacts {
    /// The nodes that encrypt to it now. Without any, only older recordings are.
    pub nodes: BTreeSet<NodeId>,
    /// Since when some node does, or when one began again.
    pub since: Timestamp,
    /// When somebody last said that it opens a recording.
    pub used: Option<Timestamp>,
}

impl RecipientFacts {
    /// Whether recordings are encrypted to it now, and for a year nobody has said that it opens one.
    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        let last = self.used.map_or(self.since, |used| used.max(self.since));
        !self.nodes.is_empty() && is_long_ago(last, now)
    }
}

/// Whether a key that was last tried, or became a recipient, at `last` should have been tried again by now.
pub fn is_long_ago(last: Timestamp, now: Timestamp) -> bool {
    now.duration_since(last) > REHEARSED_WITHIN
}

impl State {
    pub(crate) fn name_recipients(&mut self, node: &NodeId, named: &BTreeSet<Recipient>, at: Timestamp) {
        for (recipient, facts) in &mut self.recipients {
            if !named.contains(recipient) {
                facts.nodes.remove(node);
            }
        }
        for recipient in named {
            let new = || RecipientFacts { nodes: BTreeSet::new(), since: at, used: None };
            let facts = self.recipients.entry(recipient.clone()).or_insert_with(new);
            if facts.nodes.is_empty() {
                facts.since = at;
            }
            facts.nodes.insert(node.clone());
        }
    }

    /// Nothing is written where the node said the same before.
    pub(crate) fn decide_name_recipients(&self, node: &NodeId, named: &BTreeSet<Recipient>) -> Vec<Event> {
        let known = self.recipients.iter().filter(|(_, facts)| facts.nodes.contains(node));
        if known.map(|(recipient, _)| recipient).eq(named) {
            return Vec::new();
        }
        vec![Event::RecipientsNamed { node: node.clone(), recipients: named.clone() }]
    }

    /// Whoever may read says that a key opens a recording; of one that was erased since, it did.
    pub(crate) fn decide_rehearse(
        &self,
        recipient: &Recipient,
        session: SessionId,
        by: PersonId,
    ) -> Result<Vec<Event>, Refusal> {
        self.reader(by)?;
        self.recorded(session)?;
        if !self.recipients.contains_key(recipient) {
            return Err(Refusal::NoRecipient);
        }
        Ok(vec![Event::Rehearsed { recipient: recipient.clone(), session, by }])
    }
}

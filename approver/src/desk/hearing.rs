//! What is heard of the other nodes of an installation. Each says through the journal's store that it lives; one of which nothing
//! is heard has died or cannot reach that store, and what it carried is presumed ended.

use std::collections::BTreeMap;
use std::time::Duration;

use policies::ids::NodeId;

use super::{Desk, Inner, lock};
use crate::clock::Boot;
use crate::journal::Word;

/// How often a node says that it lives, and listens.
const SPEAK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks that count as one after the other: a late answer lies between them, an outage or a sleep does not.
const GAP_MAX: Duration = Duration::from_secs(10);

/// A node that was silent for less may only have been slow, however short a rule's staleness is.
pub(super) const SLOW_MAX: Duration = Duration::from_secs(6);

/// What each node said last, and for how long nothing since.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    looked: Option<Boot>,
    nodes: BTreeMap<NodeId, Heard>,
}

#[derive(Debug)]
struct Heard {
    said: u64,
    silent_for: Duration,
}

impl Hearing {
    /// Takes what was found at a look. Only time counts in which this node itself could hear: while the store did not answer
    /// or this machine slept, nothing is known of the others.
    fn take(&mut self, words: Vec<Word>, now: Boot) {
        let listened = self.looked.replace(now).map(|before| now.since(before)).filter(|gap| *gap <= GAP_MAX);
        let before = std::mem::take(&mut self.nodes);
        self.nodes.extend(words.into_iter().map(|Word { node, said }| {
            let same = before.get(&node).filter(|heard| heard.said == said);
            let silent_for = same.zip(listened).map_or(Duration::ZERO, |(heard, gap)| heard.silent_for + gap);
            (node, Heard { said, silent_for })
        }));
    }

    /// For how long nothing was heard of a node, where something could have been.
    pub(super) fn silence(&self, node: &NodeId) -> Option<Duration> {
        self.nodes.get(node).map(|heard| heard.silent_for)
    }
}

impl Inner {
    /// Says that this node lives, and listens to the others.
    pub(super) async fn speak_and_hear(&self) {
        loop {
            match self.journal.speak().await {
                Ok(words) => lock(&self.hearing).take(words, self.clock.boot()),
                Err(fault) => tracing::debug!(%fault, "saying that this node lives"),
            }
            self.clock.sleep(SPEAK_EVERY).await;
        }
    }
}

impl Desk {
    /// The other nodes that the journal has as running and of which nothing was heard for so long at least.
    pub fn silent_nodes(&self, at_least: Duration) -> Vec<NodeId> {
        let (fold, hearing) = (self.0.fold(), lock(&self.0.hearing));
        let others = fold.state.running_nodes().filter(|node| **node != self.0.node);
        others.filter(|node| hearing.silence(node).is_some_and(|silent| silent >= at_least)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Boot {
        Boot(Duration::from_secs(seconds))
    }

    fn words(said: u64) -> Vec<Word> {
        vec![Word { node: "other".parse().unwrap(), said }]
    }

    fn silence_after(looks: &[(u64, u64)]) -> Option<u64> {
        let mut hearing = Hearing::default();
        for (when, said) in looks {
            hearing.take(words(*said), at(*when));
        }
        hearing.silence(&"other".parse().unwrap()).map(|silent| silent.as_secs())
    }

    #[test]
    fn a_silence_counts_only_while_this_node_listens() {
        for (looks, silence) in [
            ([].as_slice(), None),
            (&[(100, 7)], Some(0)),
            (&[(100, 7), (102, 7), (104, 7)], Some(4)),
            (&[(100, 7), (102, 7), (104, 8)], Some(0)),
            // The store did not answer, or this machine slept.
            (&[(100, 7), (102, 7), (3_700, 7)], Some(0)),
            (&[(100, 7), (3_700, 7), (3_702, 7)], Some(2)),
            // A node that begins anew counts from the start.
            (&[(100, 7), (102, 1), (110, 1)], Some(8)),
        ] {
            assert_eq!(silence_after(looks), silence, "{looks:?}");
        }
    }

    #[test]
    fn of_a_node_that_nobody_knows_nothing_is_presumed() {
        let mut hearing = Hearing::default();
        hearing.take(words(1), at(1));
        hearing.take(Vec::new(), at(2));
        assert_eq!(hearing.silence(&"other".parse().unwrap()), None);
    }
}

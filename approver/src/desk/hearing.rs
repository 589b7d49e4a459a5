//! What is heard of the other nodes of an installation. Each says through the journal's store that it lives; one of which nothing
//! is heard has died or cannot reach that store, and what it carried is presumed ended.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use policies::events::Event;
use policies::ids::NodeId;
use policies::plant::Rule;
use policies::state::{SessionFacts, State};

use super::{Desk, Inner, lock};
use crate::clock::Boot;
use crate::journal::Word;

/// How often a node says that it lives, and listens.
const SPEAK_EVERY: Duration = Duration::from_secs(1);
/// No more than that counts from one look to the next: a machine may have slept in between.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// A node that was silent for less may only have been slow, however short a rule's staleness is.
const SLOW_MAX: Duration = Duration::from_secs(6);

/// From then on people are told of a silent node, and may say that it is gone: another one may be restarted, or its database fail
/// over, without that.
pub(crate) const SILENT: Duration = Duration::from_secs(30);

/// How long nothing may be heard of a node until a session that it carries is presumed ended.
pub(super) fn silence_max(state: &State, facts: &SessionFacts) -> Duration {
    let staleness = state.cases.get(&facts.request).map_or(Rule::STALENESS, |case| case.rule.staleness);
    (staleness.duration() * 2).max(SLOW_MAX)
}

/// So many failures one after the other are no accident.
const MUTE_AFTER: u32 = 10;

/// What each node said last, and for how long nothing since.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    looked: Option<Boot>,
    /// For how long something could have been heard.
    listened: Duration,
    nodes: BTreeMap<NodeId, Heard>,
}

#[derive(Debug)]
struct Heard {
    said: u64,
    silent_for: Duration,
    /// At how many looks it had said something new, since it was heard of first, or was taken for gone.
    spoke: u32,
}

/// Of one that was taken for gone, so much may be what it said before it ended; and one that reads the journal says there by then
/// that it is there again.
const SPEAKS_AFTER: u32 = 10;

impl Hearing {
    /// Takes what was found at a look. Only time counts in which this node itself could hear. Of a node that never spoke,
    /// because its program is older, silence says nothing.
    fn take(&mut self, words: Vec<Word>, now: Boot) {
        let listened = self.looked.replace(now).map_or(Duration::ZERO, |before| now.since(before).min(LOOK_MAX));
        self.listened += listened;
        let before = std::mem::take(&mut self.nodes);
        self.nodes.extend(words.into_iter().filter(|word| word.said > 0).map(|Word { node, said }| {
            let (silent_for, spoke) = match before.get(&node) {
                Some(heard) if heard.said == said => (heard.silent_for + listened, heard.spoke),
                Some(heard) => (Duration::ZERO, heard.spoke.saturating_add(1)),
                None => (Duration::ZERO, 0),
            };
            (node, Heard { said, silent_for, spoke })
        }));
    }

    /// What a node writes is heard of it, too. Of one that is taken for gone, nothing counts that came before.
    fn take_written(&mut self, event: &Event) {
        if let Some(heard) = event.written_by().and_then(|node| self.nodes.get_mut(node)) {
            (heard.silent_for, heard.spoke) = (Duration::ZERO, heard.spoke.saturating_add(1));
        }
        if let Event::NodesForgotten { nodes, .. } = event {
            self.nodes.iter_mut().filter(|(node, _)| nodes.contains(*node)).for_each(|(_, heard)| heard.spoke = 0);
        }
    }

    /// The store did not answer: of the others nothing is known until it does.
    fn forget(&mut self) {
        *self = Self::default();
    }

    /// For how long nothing was heard of a node, where something could have been.
    pub(super) fn silence(&self, node: &NodeId) -> Option<Duration> {
        self.nodes.get(node).map(|heard| heard.silent_for)
    }

    /// Whether a node goes on speaking.
    fn speaks(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(|heard| heard.spoke >= SPEAKS_AFTER && heard.silent_for < SILENT)
    }

    /// For how long something could have been heard.
    pub(super) const fn listened(&self) -> Duration {
        self.listened
    }

    /// For how long nothing was heard of a node, whether it ever spoke or not.
    pub(super) fn heard_nothing_for(&self, node: &NodeId) -> Duration {
        self.silence(node).unwrap_or(self.listened)
    }
}

impl Inner {
    /// Says that this node lives, and listens to the others.
    pub(super) async fn speak_and_hear(&self) {
        let mut unheard = 0_u32;
        loop {
            match self.journal.speak().await {
                Ok(words) => {
                    unheard = 0;
                    lock(&self.hearing).take(words, self.clock.boot());
                }
                Err(fault) => {
                    unheard += 1;
                    lock(&self.hearing).forget();
                    if unheard == MUTE_AFTER && lock(&self.health).down_since.is_none() {
                        tracing::error!(%fault, "the journal answers, and this node cannot say there that it lives");
                    }
                }
            }
            self.clock.sleep(SPEAK_EVERY).await;
        }
    }

    /// Hears what is written.
    pub(super) fn hear_written<'a>(&self, events: impl Iterator<Item = &'a Event>) {
        let mut hearing = lock(&self.hearing);
        events.for_each(|event| hearing.take_written(event));
    }
}

impl Desk {
    /// For how long nothing was heard of a node, which the journal has as running since this moment; nothing of this one.
    pub fn silence_of(&self, node: &NodeId, since: Timestamp) -> Option<Duration> {
        if *node == self.0.node {
            return None;
        }
        let silent = lock(&self.0.hearing).heard_nothing_for(node);
        // One that joined a moment ago has said so in the journal; where its clock is ahead of ours, that says nothing.
        let runs = Duration::try_from(self.0.clock.wall().duration_since(since));
        Some(runs.map_or(silent, |runs| silent.min(runs)))
    }

    /// The other nodes that the journal has as running and of which nothing was heard for so long at least.
    pub fn silent_nodes(&self, at_least: Duration) -> Vec<NodeId> {
        let (fold, hearing) = (self.0.fold(), lock(&self.0.hearing));
        let others = fold.state.running_nodes().filter(|node| **node != self.0.node);
        others.filter(|node| hearing.silence(node).is_some_and(|silent| silent >= at_least)).cloned().collect()
    }

    /// The other nodes that somebody said are gone for good, and that go on speaking without saying in the journal that they are
    /// there.
    pub fn forgotten_nodes_heard(&self) -> Vec<NodeId> {
        let (fold, hearing) = (self.0.fold(), lock(&self.0.hearing));
        let others = fold.state.nodes.keys().filter(|node| **node != self.0.node);
        let forgotten = others.filter(|node| fold.state.is_forgotten(node));
        forgotten.filter(|node| hearing.speaks(node)).cloned().collect()
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
            // This machine slept.
            (&[(100, 7), (102, 7), (3_700, 7)], Some(4)),
            // A node that begins anew counts from the start.
            (&[(100, 7), (102, 1), (104, 1)], Some(2)),
            // Of a program that says nothing.
            (&[(100, 0), (102, 0)], None),
        ] {
            assert_eq!(silence_after(looks), silence, "{looks:?}");
        }
    }

    #[test]
    fn a_node_that_was_taken_for_gone_speaks_once_it_says_more_than_may_be_left_of_it() {
        let mut hearing = Hearing::default();
        let other: NodeId = "other".parse().unwrap();
        let hears = |hearing: &mut Hearing, seconds: std::ops::RangeInclusive<u64>| {
            seconds.for_each(|second| hearing.take(words(second), at(second)));
        };
        hears(&mut hearing, 1..=20);
        assert!(hearing.speaks(&other));
        let by = policies::ids::PersonId::new(ulid::Ulid::nil());
        hearing.take_written(&Event::NodesForgotten { nodes: [other.clone()].into(), by });
        assert!(!hearing.speaks(&other), "it is gone");
        hears(&mut hearing, 21..=29);
        assert!(!hearing.speaks(&other), "it may be what it said before");
        hears(&mut hearing, 30..=30);
        assert!(hearing.speaks(&other));
        (31..=60).for_each(|second| hearing.take(words(30), at(second)));
        assert!(!hearing.speaks(&other), "it has fallen silent");
    }

    #[test]
    fn of_a_node_that_nobody_knows_nothing_is_presumed() {
        let mut hearing = Hearing::default();
        hearing.take(words(1), at(1));
        hearing.take(Vec::new(), at(2));
        assert_eq!(hearing.silence(&"other".parse().unwrap()), None);
        hearing.take(words(1), at(3));
        hearing.take(words(1), at(4));
        hearing.forget();
        hearing.take(words(1), at(5));
        assert_eq!(hearing.silence(&"other".parse().unwrap()), Some(Duration::ZERO), "the store had not answered");
    }
}

//! The nodes of an installation, as the journal knows them: what version each runs, and whether it is up. That one died is in no
//! entry: it is up until it starts anew, or until an administrator says that it is gone for good.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::events::Event;
use crate::ids::{NodeId, PersonId};
use crate::state::State;
use crate::vocabulary::Vocabulary;

/// Whether a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeStanding {
    /// It began to run, and did not say that it stops.
    Up,
    /// It said that it stops.
    Stopped,
    /// Somebody said that it is gone for good.
    Forgotten(PersonId),
}

impl NodeStanding {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Stopped => "stopped",
            Self::Forgotten(_) => "forgotten",
        }
    }
}

/// What the journal says of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// The version of the program that it ran last.
    pub version: String,
    /// What that reads.
    pub vocabulary: Vocabulary,
    /// Whether it runs.
    pub standing: NodeStanding,
    /// Since when.
    pub since: Timestamp,
    /// When it last was there again after somebody had said that it is gone for good.
    pub came_back: Option<Timestamp>,
}

impl NodeFacts {
    /// Whether it began to run, and nobody said that it ended.
    pub fn is_up(&self) -> bool {
        self.standing == NodeStanding::Up
    }
}

impl Event {
    /// The node that wrote it, where it is one that nodes write of themselves alone.
    pub const fn written_by(&self) -> Option<&NodeId> {
        match self {
            Self::Started { node, .. }
            | Self::NodeStarted { node, .. }
            | Self::NodeStopped { node }
            | Self::Checkpointed { node, .. }
            | Self::RecorderFailed { node }
            | Self::BackedUp { node, .. }
            | Self::RecipientsNamed { node, .. } => Some(node),
            _ => None,
        }
    }
}

impl State {
    /// The nodes that began to run and did not say that they stop.
    pub fn running_nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.iter().filter(|(_, facts)| facts.is_up()).map(|(node, _)| node)
    }

    /// What every node that is up reads; where none is, what this program does.
    pub fn vocabulary(&self) -> Vocabulary {
        let up = self.nodes.values().filter(|facts| facts.is_up());
        up.map(|facts| facts.vocabulary).min().unwrap_or(Vocabulary::THIS)
    }

    /// Whether somebody said of a node that it is gone, and it has not come back.
    pub fn is_forgotten(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(|facts| matches!(facts.standing, NodeStanding::Forgotten(_)))
    }

    /// A node that is up and does not read this, but for those that are gone.
    pub(crate) fn who_cannot_read(&self, needs: Vocabulary, gone: &BTreeSet<NodeId>) -> Option<&NodeId> {
        let mut up = self.nodes.iter().filter(|(_, facts)| facts.is_up());
        up.find(|(node, facts)| facts.vocabulary < needs && !gone.contains(*node)).map(|(node, _)| node)
    }

    /// `newest` is the time of the entry before.
    pub(crate) fn apply_node(&mut self, event: &Event, at: Timestamp, newest: Option<Timestamp>) {
        match event {
            Event::NodeStarted { node, version, vocabulary } => {
                self.begins_to_run(node, at, newest);
                let came_back = match self.is_forgotten(node) {
                    true => Some(at),
                    false => self.nodes.get(node).and_then(|facts| facts.came_back),
                };
                let (version, vocabulary, standing) = (version.clone(), *vocabulary, NodeStanding::Up);
                self.nodes.insert(node.clone(), NodeFacts { version, vocabulary, standing, since: at, came_back });
            }
            Event::NodeStopped { node } => self.runs_no_more(node, NodeStanding::Stopped, at),
            Event::NodesForgotten { nodes, by } => {
                let forgotten = NodeStanding::Forgotten(*by);
                for node in nodes {
                    match self.nodes.get(node).is_some_and(NodeFacts::is_up) {
                        true => self.runs_no_more(node, forgotten, at),
                        false => self.set_standing(node, forgotten, at),
                    }
                }
            }
            // Whoever said that it is gone was mistaken.
            Event::Started { node, .. } if self.is_forgotten(node) => {
                self.begins_to_run(node, at, newest);
                self.set_standing(node, NodeStanding::Up, at);
                if let Some(facts) = self.nodes.get_mut(node) {
                    facts.came_back = Some(at);
                }
            }
            _ => {}
        }
    }

    fn begins_to_run(&mut self, node: &NodeId, at: Timestamp, newest: Option<Timestamp>) {
        if !self.others_run(node) {
            self.standstills.ends(at, newest);
        }
    }

    fn runs_no_more(&mut self, node: &NodeId, standing: NodeStanding, at: Timestamp) {
        self.set_standing(node, standing, at);
        if !self.others_run(node) {
            self.standstills.begins(at);
        }
    }

    fn set_standing(&mut self, node: &NodeId, standing: NodeStanding, at: Timestamp) {
        if let Some(facts) = self.nodes.get_mut(node) {
            (facts.standing, facts.since) = (standing, at);
        }
    }

    fn others_run(&self, node: &NodeId) -> bool {
        self.running_nodes().any(|other| other != node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Seconds;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("near the epoch")
    }

    fn node(name: &str) -> NodeId {
        name.parse().expect("a name")
    }

    fn nobody_is_gone() -> BTreeSet<NodeId> {
        BTreeSet::new()
    }

    fn starts(state: &mut State, name: &str, vocabulary: u16) {
        let (version, vocabulary) = ("1".to_owned(), Vocabulary(vocabulary));
        state.apply(&Event::NodeStarted { node: node(name), version, vocabulary }, at(100));
    }

    #[test]
    fn what_one_node_cannot_read_is_not_written_while_it_is_up() {
        let mut state = State::default();
        assert_eq!(state.vocabulary(), Vocabulary::THIS, "a program that is alone writes what it reads");
        starts(&mut state, "new", 9);
        assert_eq!(state.who_cannot_read(Vocabulary(9), &nobody_is_gone()), None);
        starts(&mut state, "old", 7);
        for (needs, who) in [(7, None), (8, Some("old")), (9, Some("old")), (10, Some("new"))] {
            let found = state.who_cannot_read(Vocabulary(needs), &nobody_is_gone()).map(NodeId::as_str);
            assert_eq!(found, who, "{needs}");
        }
        assert_eq!(state.vocabulary(), Vocabulary(7));
        assert_eq!(state.who_cannot_read(Vocabulary(9), &[node("old")].into()), None);
        // It is upgraded, and so it is whatever it was when it comes back from a kill.
        starts(&mut state, "old", 9);
        assert_eq!(state.who_cannot_read(Vocabulary(9), &nobody_is_gone()), None);
        starts(&mut state, "old", 7);
        state.apply(&Event::NodeStopped { node: node("old") }, at(101));
        assert_eq!((state.vocabulary(), state.nodes.len()), (Vocabulary(9), 2));
    }
    #[test]
    fn while_one_node_runs_the_gate_does_not_stand_still() {
        let mut state = State::default();
        let mut does = |name: &str, starts: bool, second| {
            let (node, version, vocabulary) = (node(name), "1".to_owned(), Vocabulary::THIS);
            let event = match starts {
                true => Event::NodeStarted { node, version, vocabulary },
                false => Event::NodeStopped { node },
            };
            state.apply(&event, at(second));
        };
        does("a", true, 100);
        does("b", true, 110);
        does("a", false, 120);
        does("a", true, 150);
        does("b", false, 160);
        assert_eq!(state.standstills.later(at(100), Seconds(100)), at(200));
        let gone = Event::NodesForgotten { nodes: [node("a")].into(), by: PersonId::new(ulid::Ulid::nil()) };
        state.apply(&gone, at(170));
        does_again(&mut state, at(190));
        assert_eq!(state.standstills.later(at(100), Seconds(100)), at(220), "whoever is gone runs no more");
    }

    fn does_again(state: &mut State, at: Timestamp) {
        let (version, vocabulary) = ("1".to_owned(), Vocabulary::THIS);
        state.apply(&Event::NodeStarted { node: node("b"), version, vocabulary }, at);
    }
}

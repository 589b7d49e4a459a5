//! Nodes that are gone for good, and what older ones that are up can read.

use std::collections::BTreeSet;

use crate::events::{Ending, Event};
use crate::ids::{NodeId, PersonId};
use crate::refusals::Refusal;
use crate::state::State;

impl State {
    /// Whether each node that is up once these are written reads all of them.
    pub(super) fn check_all_can_read(&self, events: &[Event]) -> Result<(), Refusal> {
        let needs = events.iter().map(Event::vocabulary).max().unwrap_or_default();
        let gone = events.iter().find_map(|event| match event {
            Event::NodesForgotten { nodes, .. } => Some(nodes.clone()),
            _ => None,
        });
        match self.who_cannot_read(needs, &gone.unwrap_or_default()) {
            Some(node) => Err(Refusal::OlderNode(node.clone())),
            None => Ok(()),
        }
    }

    /// What a forgotten node carried is over, as far as anybody can know.
    pub(super) fn decide_forget_nodes(&self, nodes: &BTreeSet<NodeId>, by: PersonId) -> Result<Vec<Event>, Refusal> {
        self.administrator(by)?;
        if let Some(unknown) = nodes.iter().find(|node| !self.nodes.contains_key(*node)) {
            return Err(Refusal::NoSuchNode(unknown.clone()));
        }
        let nodes: BTreeSet<NodeId> = nodes.iter().filter(|node| !self.is_forgotten(node)).cloned().collect();
        if nodes.is_empty() {
            return Ok(Vec::new());
        }
        // First what every program reads, so that one of the forgotten that is older and runs all the same hears that it is over.
        let mut events: Vec<Event> = nodes.iter().flat_map(|node| self.ends_of(node, Ending::Presumed)).collect();
        events.push(Event::NodesForgotten { nodes, by });
        Ok(events)
    }

    /// The ends of all sessions that a node carries.
    pub(super) fn ends_of<'a>(&'a self, node: &'a NodeId, ending: Ending) -> impl Iterator<Item = Event> + 'a {
        let carried = self.live_sessions().filter(move |(_, facts)| facts.node == *node);
        carried.map(move |(session, _)| Event::Ended { session, ending: ending.clone(), seal: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Vocabulary;

    #[test]
    fn nothing_is_written_in_halves() {
        let node = |name: &str| -> NodeId { name.parse().expect("a name") };
        let (mut state, at) = (State::default(), jiff::Timestamp::UNIX_EPOCH);
        let (version, vocabulary) = ("1".to_owned(), Vocabulary::FIRST);
        state.apply(&Event::NodeStarted { node: node("old"), version, vocabulary }, at);
        let gone =
            |name: &str| Event::NodesForgotten { nodes: [node(name)].into(), by: PersonId::new(ulid::Ulid::nil()) };
        let old = Event::NodeStopped { node: node("new") };
        state.check_all_can_read(std::slice::from_ref(&old)).expect("it reads that");
        let refused = state.check_all_can_read(&[old.clone(), gone("other")]);
        assert_eq!(refused, Err(Refusal::OlderNode(node("old"))));
        state.check_all_can_read(&[old, gone("old")]).expect("it is gone with that");
    }
}

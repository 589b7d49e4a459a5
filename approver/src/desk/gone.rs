//! Nodes that are gone for good. That one died nobody can hear, only that it is silent: an administrator says so, and may be
//! mistaken.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use policies::decide::Command;
use policies::events::Event;
use policies::ids::{NodeId, PersonId};
use policies::refusals::Refusal;
use policies::state::State;
use policies::time::Seconds;
use policies::vocabulary::Vocabulary;

use super::fold::{Fold, Now};
use super::hearing::{SILENT, silence_max};
use super::turns::Place;
use super::{Desk, Inner, Rejected, lock};

impl Desk {
    /// Says of nodes that they are gone for good: what they carried is over, nothing waits for them, and what they could not read
    /// may be written. Their names stay theirs, and one that comes back is a node like any.
    ///
    /// # Errors
    /// As [`act`](Self::act); or one of them may be up.
    pub async fn forget_nodes(&self, nodes: BTreeSet<NodeId>, by: PersonId) -> Result<Vec<Event>, Rejected> {
        let inner = self.0.clone();
        self.to_its_end(Box::pin(async move { inner.forget_nodes(nodes, by).await })).await?
    }
}

impl Inner {
    async fn forget_nodes(&self, nodes: BTreeSet<NodeId>, by: PersonId) -> Result<Vec<Event>, Rejected> {
        let command = Command::ForgetNodes { nodes: nodes.clone(), by };
        let decide = |fold: &Fold, now: Now| {
            let events = fold.state.decide(&command, now.wall)?;
            nodes.iter().try_for_each(|node| self.check_silent(&fold.state, node, now))?;
            Ok((events, ()))
        };
        self.transact(Place::InLine, decide).await.map(|(events, ())| events)
    }

    /// Whether nothing was heard of a node for as long as it takes until all that it carries is presumed ended.
    fn check_silent(&self, state: &State, node: &NodeId, now: Now) -> Result<(), Refusal> {
        let Some(facts) = state.nodes.get(node).filter(|facts| facts.is_up()) else { return Ok(()) };
        let carried = || state.live_sessions().filter(|(_, facts)| facts.node == *node).map(|(_, facts)| facts);
        let wanted = carried().map(|facts| silence_max(state, facts)).fold(SILENT, Duration::max);
        let (heard, listened) = {
            let hearing = lock(&self.hearing);
            (hearing.silence(node), hearing.listened())
        };
        let silent = match heard {
            _ if *node == self.node => Duration::ZERO,
            Some(silent) => silent,
            // An older program may be one that never speaks.
            None if facts.vocabulary == Vocabulary::FIRST => Duration::ZERO,
            None => listened,
        };
        // What it wrote is heard as well: it may have come back a moment ago.
        let wrote = carried().map(|facts| facts.started).fold(facts.since, Timestamp::max);
        let since = Duration::try_from(now.wall.duration_since(wrote)).unwrap_or_default();
        let silent = silent.min(since);
        let seconds = |span: Duration| Seconds(u32::try_from(span.as_secs()).unwrap_or(u32::MAX));
        let (silent, wanted) = (seconds(silent), seconds(wanted));
        if silent >= wanted { Ok(()) } else { Err(Refusal::NodeNotSilent { node: node.clone(), silent, wanted }) }
    }

    /// Somebody took this node for gone while it was away: it says once more that it runs.
    pub(super) async fn come_back(&self) {
        let again = |state: &State| {
            let facts = state.nodes.get(&self.node).filter(|_| state.is_forgotten(&self.node))?;
            Some(Command::StartNode { node: self.node.clone(), version: facts.version.clone() })
        };
        if again(&self.fold().state).is_none() {
            return;
        }
        let decide = |fold: &Fold, now: Now| {
            let events = again(&fold.state).map(|command| fold.state.decide(&command, now.wall)).transpose()?;
            Ok((events.unwrap_or_default(), ()))
        };
        match self.transact(Place::InLine, decide).await {
            Ok(_) => tracing::warn!("this node was taken for gone for good, and is there again"),
            Err(rejected) => tracing::debug!(%rejected, "that this node is there again waits for the journal"),
        }
    }
}

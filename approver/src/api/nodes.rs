//! The nodes of the installation: which there are, and which are gone for good.

use axum::Json;
use axum::extract::State;
use policies::ids::NodeId;
use policies::nodes::{NodeFacts, NodeStanding};
use policies::vocabulary::Vocabulary;

use super::Api;
use super::guard::{Caller, Sent};
use super::problem::Problem;
use super::requests::done;
use super::types::{Done, NodeView, NodesGone, NodesView};

pub(super) async fn list(State(api): State<Api>) -> Json<NodesView> {
    let (found, written) = api.desk().with_state(|state| {
        let carried = |node: &NodeId| state.live_sessions().filter(|(_, session)| session.node == *node).count();
        let found = state.nodes.iter().map(|(node, facts)| (node.clone(), facts.clone(), carried(node)));
        (found.collect::<Vec<_>>(), state.vocabulary())
    });
    let mut nodes = Vec::new();
    for (node, facts, sessions) in found {
        nodes.push(api.node_view(node, facts, sessions).await);
    }
    Json(NodesView { nodes, reads: Vocabulary::THIS.0, written: written.min(Vocabulary::THIS).0 })
}

pub(super) async fn forget(
    State(api): State<Api>,
    caller: Caller,
    Sent(NodesGone { nodes }): Sent<NodesGone>,
) -> Result<Json<Done>, Problem> {
    Ok(done(&api.desk().forget_nodes(nodes, caller.person()).await?))
}

impl Api {
    async fn node_view(&self, node: NodeId, facts: NodeFacts, sessions: usize) -> NodeView {
        let silent = self.desk().silence_of(&node, facts.since).filter(|_| facts.is_up());
        let forgotten_by = match facts.standing {
            NodeStanding::Forgotten(by) => Some(self.named(by).await),
            NodeStanding::Up | NodeStanding::Stopped => None,
        };
        NodeView {
            here: node == *self.desk().node(),
            node,
            standing: facts.standing.as_str().to_owned(),
            since: facts.since,
            forgotten_by,
            silent_seconds: silent.map(|silent| silent.as_secs()),
            version: facts.version,
            reads: facts.vocabulary.0,
            sessions,
        }
    }
}

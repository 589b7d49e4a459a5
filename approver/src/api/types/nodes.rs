//! The nodes of an installation.

use std::collections::BTreeSet;

use jiff::Timestamp;
use policies::ids::NodeId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Named;

/// The nodes that the journal knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodesView {
    /// By name.
    pub nodes: Vec<NodeView>,
    /// What this node reads of the journal.
    pub reads: u16,
    /// What is written: what each node that is up reads. Where it is less than `reads`, what only newer nodes read is refused.
    pub written: u16,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Its name.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// It is the one that answers.
    pub here: bool,
    /// `up` (it began to run, and did not say that it stops), `stopped`, or `forgotten`.
    pub standing: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Who said that it is gone for good, where it is forgotten.
    pub forgotten_by: Option<Named>,
    /// Of another one that is up: for how long the one that answers has heard nothing of it. A node says each second that it lives.
    pub silent_seconds: Option<u64>,
    /// The version of the program that it ran last.
    pub version: String,
    /// What that reads of the journal: a number that grows from version to version.
    pub reads: u16,
    /// Live sessions that it carries.
    pub sessions: usize,
}

/// Nodes that are gone for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodesGone {
    /// Which.
    #[schema(value_type = Vec<String>)]
    pub nodes: BTreeSet<NodeId>,
}

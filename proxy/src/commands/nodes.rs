//! `holdpoint nodes`: which gates make up the installation, and which of them is gone for good.

use std::collections::BTreeSet;

use approver::api::types::{Done as Happened, NodeView, NodesGone, NodesView};
use policies::ids::NodeId;

use super::gate::{ProfileArg, at_gate};
use super::showing::{Clock, plain, span, table};
use super::{Done, print_json};

/// List the nodes of the installation: which are up, what each runs, reads and carries.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// For machines.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Say that nodes are gone for good, and of which nothing was heard for a while: their sessions are over, and nothing waits for
    /// them any more. Their names stay theirs; one that comes back all the same is a node like any.
    Forget {
        /// By name. Where several older ones are gone, name all: each alone is waited for.
        #[arg(value_name = "NODE", required = true)]
        nodes: Vec<NodeId>,
        /// For machines.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    match &args.what {
        Some(What::Forget { nodes, json }) => forget(nodes, *json, profile),
        None => list(args.json, profile),
    }
}

fn list(json: bool, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let found: NodesView = client.get("/api/v1/nodes").await?;
        if json {
            return print_json(&found);
        }
        let clock = Clock::of(client);
        let rows: Vec<_> = found.nodes.iter().map(|node| row(node, &clock)).collect();
        table(["NODE", "STANDING", "SINCE", "VERSION", "READS", "SESSIONS"], &rows);
        if found.written < found.reads {
            let older = found.nodes.iter().filter(|node| node.standing == "up" && node.reads < found.reads);
            let older: Vec<&str> = older.map(|node| node.node.as_str()).collect();
            say!();
            say!(
                "What is in the journal is written as {} reads it: what a newer version alone reads is refused until then. Upgrade it.",
                older.join(", ")
            );
        }
        Ok(())
    })
}

fn row(of: &NodeView, clock: &Clock) -> [String; 6] {
    let standing = match (&of.forgotten_by, of.silent_seconds) {
        (Some(by), _) => format!("forgotten by {}", plain(&by.name)),
        (None, Some(silent)) if silent >= SILENT_SECONDS => format!("up, silent for {}", span(silent)),
        (None, _) if of.here => format!("{}, here", plain(&of.standing)),
        (None, _) => plain(&of.standing),
    };
    let since = clock.moment(of.since).to_string();
    [of.node.to_string(), standing, since, plain(&of.version), of.reads.to_string(), of.sessions.to_string()]
}

/// What the journal calls the end of a session.
const ENDED: &str = "HP1402";
/// A node says each second that it lives.
const SILENT_SECONDS: u64 = 5;

fn forget(nodes: &[NodeId], json: bool, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let gone = NodesGone { nodes: nodes.iter().cloned().collect::<BTreeSet<_>>() };
        let done: Happened = client.post("/api/v1/nodes/forget", &gone).await?;
        if json {
            return print_json(&done);
        }
        let names = gone.nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(", ");
        let ended = done.events.iter().filter(|id| *id == ENDED).count();
        match ended {
            _ if done.events.is_empty() => say!("{names}: forgotten already."),
            0 => say!("{names}: forgotten. It carried no session."),
            ended => say!("{names}: forgotten. Sessions that ended with that: {ended}."),
        }
        Ok(())
    })
}

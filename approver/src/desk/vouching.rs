//! The journal vouches for this node's recordings: it keeps how far their log had come, as that log signed it. So one root of
//! the journal commits to both logs, and the recordings' can neither vanish nor shrink nor fork without contradicting it.

use std::time::Duration;

use policies::decide::Command;
use policies::events::Event;
use recordings::log::Log;

use super::{Inner, Rejected};

/// How often, while a session is open.
const VOUCH_EVERY: Duration = Duration::from_secs(60);

impl Inner {
    /// What is journaled together with these events: with the end of a session, and with the node's start and stop.
    pub(super) fn vouch_with(&self, events: &mut Vec<Event>) {
        let ends = |event: &Event| matches!(event, Event::Ended { .. } | Event::NodeStarted { .. });
        let place = match events.iter().position(|event| matches!(event, Event::NodeStopped { .. })) {
            Some(stop) => stop,
            None if events.iter().any(ends) => events.len(),
            None => return,
        };
        if let Some(checkpoint) = self.records.as_deref().and_then(signed) {
            events.insert(place, Event::Checkpointed { node: self.node.clone(), checkpoint });
        }
    }

    /// The same while sessions run.
    pub(super) async fn vouch(&self) {
        let Some(records) = self.records.as_deref() else { return };
        loop {
            self.clock.sleep(VOUCH_EVERY).await;
            if records.status().open == 0 {
                continue;
            }
            if let Err(rejected) = self.vouch_now().await {
                tracing::debug!(%rejected, "the recordings' head waits for the journal");
            }
        }
    }

    /// Journals the recordings' head by itself, where there are any and it can be signed.
    pub(super) async fn vouch_now(&self) -> Result<(), Rejected> {
        let Some(checkpoint) = self.records.as_deref().and_then(signed) else { return Ok(()) };
        self.act(Command::Checkpoint { node: self.node.clone(), checkpoint }).await.map(drop)
    }
}

/// The log's durable head as it signs it.
fn signed(records: &Log) -> Option<String> {
    let signed = records.checkpoint();
    signed
        .inspect_err(|cause| tracing::error!(%cause, "the recordings' head cannot be signed"))
        .ok()
        .map(|it| it.to_string())
}

//! How long each session may have lasted: until the deadline that it began with, longer by each extension, and by what its rule
//! lets it outlive that. Spans, not moments: the wall clock may be set while a session runs, and its frames follow a clock that is not.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use policies::events::Event;
use policies::ids::{RequestId, SessionId};
use policies::plant::DeadlineEnding;
use policies::state::State;

/// What passes between a deadline and its last byte, and between a session's entry in the journal and its recording.
const SLACK: SignedDuration = SignedDuration::from_secs(60);

#[derive(Default)]
pub(super) struct Windows(BTreeMap<SessionId, Window>);

struct Window {
    request: RequestId,
    span: SignedDuration,
}

impl Windows {
    /// What an event says of it, before it is applied.
    pub(super) fn take(&mut self, event: &Event, at: Timestamp, state: &State) {
        match event {
            Event::Started { session, request, deadline, .. } => {
                let outlives = state.cases.get(request).map_or(SignedDuration::ZERO, |case| {
                    let frozen = match case.rule.ending {
                        DeadlineEnding::Cut => 0,
                        DeadlineEnding::Freeze { max } => max.0,
                    };
                    SignedDuration::from_secs(i64::from(frozen) + i64::from(case.rule.hold_max.0))
                });
                let span = deadline.duration_since(at) + outlives + SLACK;
                self.0.insert(*session, Window { request: *request, span });
            }
            Event::Extended { request, deadline, .. } => {
                let Some(before) = state.cases.get(request).map(|case| case.deadline) else { return };
                let longer = deadline.duration_since(before).max(SignedDuration::ZERO);
                let of_it = self.0.values_mut().filter(|window| window.request == *request);
                of_it.for_each(|window| window.span += longer);
            }
            _ => {}
        }
    }

    /// By how much a session outlasted it, if it did.
    pub(super) fn exceeded(&self, session: SessionId, lasted: Duration) -> Option<SignedDuration> {
        let lasted = SignedDuration::try_from(lasted).ok()?;
        let over = lasted - self.0.get(&session)?.span;
        over.is_positive().then_some(over)
    }
}

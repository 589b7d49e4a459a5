//! When work that nobody accepts is frozen or ended. Shifts change by the clock on the wall; but once it is known when that will
//! be, it is measured on the clock that is never set, as deadlines are: a wall clock that is set ends nobody's work, and
//! gives nobody time. Whoever comes between that moment and the journal's word of it is judged by the same clock.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use policies::ids::{PersonId, RequestId};
use policies::state::{Case, RequestStanding, State};

use super::SLEW_MAX;
use super::fold::Now;
use crate::lease::Deadline;

/// When that is, of each request that stands.
#[derive(Debug, Default)]
pub(super) struct Handovers(BTreeMap<RequestId, Deadline>);

impl Handovers {
    /// Learns what is new, forgets what is over, and gives what is due: which request, and when that was to be. From a clock
    /// that is behind the journal nothing is learned.
    pub(super) fn look(&mut self, state: &State, now: Now) -> Vec<(RequestId, Timestamp)> {
        let waits = |case: &Case| !case.unaccepted && case.is_current(now.wall) && !case.has_lapsed(now.wall);
        let stand = state.open_cases().filter(|(_, case)| waits(case));
        let stand = stand.filter_map(|(id, case)| Some((id, state.next_handover(case)?.acts)));
        let known = std::mem::take(&mut self.0);
        let is_behind = state.newest.is_some_and(|newest| newest.duration_since(now.wall) > SLEW_MAX);
        let learned = stand.filter_map(|(id, wall)| {
            let known = known.get(&id).filter(|known| known.wall == wall).copied();
            let learn = || (!is_behind).then(|| Deadline { boot: now.boot_at(wall), wall });
            Some((id, known.or_else(learn)?))
        });
        self.0 = learned.collect();
        let due = self.0.iter().filter(|(_, acts)| acts.boot <= now.boot);
        due.map(|(id, acts)| (*id, acts.wall)).collect()
    }

    /// Which of somebody's are due: as it was learned, and by the clock on the wall where nothing was learned yet.
    pub(super) fn due_of(&self, technician: PersonId, state: &State, now: Now) -> BTreeSet<RequestId> {
        let is_due = |id: &RequestId, case: &Case| {
            let Some(acts) = state.next_handover(case).map(|handover| handover.acts) else { return false };
            match self.0.get(id).filter(|known| known.wall == acts) {
                Some(known) => known.boot <= now.boot,
                None => acts <= now.wall,
            }
        };
        let theirs = state.open_cases().filter(|(_, case)| case.request.technician == technician);
        let granted = theirs.filter(|(_, case)| case.standing == RequestStanding::Granted && !case.unaccepted);
        granted.filter(|(id, case)| is_due(id, case)).map(|(id, _)| id).collect()
    }
}

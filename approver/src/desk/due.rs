//! Who is to be told of requests that nobody answered. Only what is due is worked out here; telling, and remembering
//! who was told, is the notifier's.

use jiff::Timestamp;
use policies::ids::{GroupName, RequestId};
use policies::state::{Case, RequestStanding};

use super::Desk;

/// Somebody to be told of a waiting request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Of which request.
    pub request: RequestId,
    /// Which step of the rule's `tell`, from 0.
    pub step: usize,
    /// Whom.
    pub group: GroupName,
    /// Since when.
    pub at: Timestamp,
    /// The last step: the board turns red.
    pub red: bool,
}

impl Desk {
    /// Every step of every pending request that is due by `now`, oldest first.
    pub fn due(&self, now: Timestamp) -> Vec<Due> {
        let mut due: Vec<Due> = self.with_state(|state| {
            let pending = state.cases.values().filter(|case| is_pending(case, now));
            pending.flat_map(steps).filter(|due| due.at <= now).collect()
        });
        due.sort_by_key(|due| (due.at, due.request, due.step));
        due
    }

    /// When the next step becomes due after `now`, if nothing changes until then.
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.with_state(|state| {
            let pending = state.cases.values().filter(|case| is_pending(case, now));
            pending.flat_map(steps).map(|due| due.at).filter(|at| now < *at).min()
        })
    }
}

fn is_pending(case: &Case, now: Timestamp) -> bool {
    case.standing == RequestStanding::Pending && now < case.request.window.until
}

fn steps(case: &Case) -> impl Iterator<Item = Due> + '_ {
    let last = case.rule.tell.len().saturating_sub(1);
    case.rule.tell.iter().enumerate().map(move |(step, tell)| Due {
        request: case.request.id,
        step,
        group: tell.group.clone(),
        at: tell.after.after(case.submitted),
        red: step == last && step > 0,
    })
}

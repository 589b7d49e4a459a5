//! Who is to be told of requests, extensions and widenings that nobody answered. Only what is due is worked out here; telling,
//! and remembering who was told, is the notifier's.

use jiff::Timestamp;
use policies::ids::{AskId, GroupName, RequestId};
use policies::state::{Ask, Case, RequestStanding, State};

use super::Desk;

/// What waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waits {
    /// A request.
    Request(RequestId),
    /// An extension or widening, and of which grant.
    Ask(AskId, RequestId),
}

impl Waits {
    /// The request that it is, or is about.
    pub const fn request(self) -> RequestId {
        match self {
            Self::Request(request) | Self::Ask(_, request) => request,
        }
    }
}

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Request(request) => request.fmt(f),
            Self::Ask(ask, _) => ask.fmt(f),
        }
    }
}

/// Somebody to be told of what waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Of what.
    pub waits: Waits,
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
    /// Every step that is due by `now` of all that waits, oldest first.
    pub fn due(&self, now: Timestamp) -> Vec<Due> {
        let mut due: Vec<Due> = self.with_state(|state| steps(state, now).filter(|due| due.at <= now).collect());
        due.sort_by_key(|due| (due.at, due.waits, due.step));
        due
    }

    /// When the next step becomes due after `now`, if nothing changes until then.
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.with_state(|state| steps(state, now).map(|due| due.at).filter(|at| now < *at).min())
    }
}

fn steps(state: &State, now: Timestamp) -> impl Iterator<Item = Due> + '_ {
    let is_pending = move |case: &&Case| case.standing == RequestStanding::Pending && now < case.request.window.until;
    let cases = state.open_cases().map(|(_, case)| case).filter(is_pending);
    let asks = state.open_asks().filter_map(move |(id, ask)| Some((id, ask, grant_of(state, ask, now)?)));
    let requests = cases.flat_map(|case| steps_of(Waits::Request(case.request.id), case, case.submitted));
    requests.chain(asks.flat_map(|(id, ask, case)| steps_of(Waits::Ask(id, case.request.id), case, ask.at)))
}

/// The grant of an extension or widening: nobody answers one of what is over.
pub(crate) fn grant_of<'a>(state: &'a State, ask: &Ask, now: Timestamp) -> Option<&'a Case> {
    let case = state.cases.get(&ask.asked.request())?;
    (case.standing == RequestStanding::Granted && now < case.deadline).then_some(case)
}

fn steps_of(waits: Waits, case: &Case, since: Timestamp) -> impl Iterator<Item = Due> + '_ {
    let last = case.rule.tell.len().saturating_sub(1);
    case.rule.tell.iter().enumerate().map(move |(step, tell)| Due {
        waits,
        step,
        group: tell.group.clone(),
        at: tell.after.after(since),
        red: step == last && step > 0,
    })
}

//! What is not done with. State keeps everything that ever was; whoever looks each second for what waits, or decides who
//! comes in, looks at this alone.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::ids::{AskId, RequestId, SessionId};
use crate::state::{Ask, Case, RequestStanding, SessionFacts, State};

/// By the newest entry's time: what is over by the clock alone is still here until an entry is newer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Open {
    cases: BTreeSet<RequestId>,
    /// When their time is over, of those that the clock alone ends.
    ends: BTreeSet<(Timestamp, RequestId)>,
    asks: BTreeSet<AskId>,
    /// Sessions that are over and still want somebody.
    sessions: BTreeSet<SessionId>,
}

impl Case {
    /// Whether nothing becomes of it any more but what somebody begins: it waits for no answer, opens nothing, and nobody has
    /// to look at it.
    pub fn is_done_with(&self, now: Timestamp) -> bool {
        let is_unused = self.standing == RequestStanding::Granted && self.first_use.is_none();
        let waits = self.is_current(now) || is_unused || self.wants_review() || self.wants_close_out();
        !waits && !self.unaccepted && self.reviewed().is_none_or(|seen| seen.objection.is_none())
    }
}

impl SessionFacts {
    /// The same of a session that is over.
    pub fn is_done_with(&self) -> bool {
        !self.wants_review() && self.reviewed().is_none_or(|seen| seen.objection.is_none())
    }
}

impl State {
    /// Requests that wait, grants whose time is not over, and what is over and still wants to be looked at: in the order in
    /// which they were asked for.
    pub fn open_cases(&self) -> impl DoubleEndedIterator<Item = (RequestId, &Case)> {
        self.open.cases.iter().filter_map(|id| Some((*id, self.cases.get(id)?)))
    }

    /// Extensions and widenings that wait for an answer, of grants that are not done with: of others nobody is told any more.
    pub fn open_asks(&self) -> impl Iterator<Item = (AskId, &Ask)> {
        self.open.asks.iter().filter_map(|id| Some((*id, self.asks.get(id)?)))
    }

    /// Sessions that were drawn and not reviewed, or in which whoever reviewed them found something.
    pub fn sessions_to_look_at(&self) -> impl Iterator<Item = (SessionId, &SessionFacts)> {
        self.open.sessions.iter().filter_map(|id| Some((*id, self.sessions.get(id)?)))
    }

    /// Time passed.
    pub(crate) fn close_by(&mut self, at: Timestamp) {
        while let Some((_, case)) = self.open.ends.first().copied().filter(|(over, _)| *over <= at) {
            self.open.ends.pop_first();
            self.note_case(case);
        }
    }

    /// Something about it changed.
    pub(crate) fn note_case(&mut self, id: RequestId) {
        let (Some(case), Some(now)) = (self.cases.get(&id), self.newest) else { return };
        if case.is_done_with(now) {
            for ask in &case.asks {
                self.open.asks.remove(ask);
            }
            self.open.cases.remove(&id);
            return;
        }
        self.open.cases.insert(id);
        let waiting = case.asks.iter().filter(|ask| self.asks.get(ask).is_some_and(|ask| ask.open));
        self.open.asks.extend(waiting);
        if case.standing == RequestStanding::Granted && now < case.deadline {
            self.open.ends.insert((case.deadline, id));
        }
    }

    pub(crate) fn note_ask(&mut self, id: AskId) {
        if self.asks.get(&id).is_some_and(|ask| ask.open) {
            self.open.asks.insert(id);
        } else {
            self.open.asks.remove(&id);
        }
    }

    pub(crate) fn note_session(&mut self, id: SessionId) {
        if self.sessions.get(&id).is_some_and(|facts| !facts.is_done_with()) {
            self.open.sessions.insert(id);
        } else {
            self.open.sessions.remove(&id);
        }
    }
}

//! What comes after work: the account of what was done under a grant, which an operator signs off, and the review of sessions
//! that were drawn. What stands of both; who may sign is decided in `decide`.

use jiff::Timestamp;

use crate::events::Event;
use crate::ids::{PersonId, RequestId, SessionId};
use crate::refusals::Refusal;
use crate::requests::{Account, CloseOut, Work};
use crate::state::{Case, LookBack, RequestStanding, SessionFacts, State};
use crate::time::Seconds;

/// Somebody's account of what was done under a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accounted {
    /// What it says.
    pub account: Account,
    /// Whose it is: the technician's, or that of the operator who signed it off.
    pub by: PersonId,
    /// When it was journaled.
    pub at: Timestamp,
    /// So many sessions had begun by then.
    pub sessions: usize,
}

/// So often a technician says what they did under one grant.
pub const ACCOUNTS_MAX: usize = 16;

/// Nobody adds to what was done when it is over for so long: a week, in which they are back at their desk.
pub const ACCOUNTED_WITHIN: Seconds = Seconds(7 * 86_400);

/// A grant that an operator can sign off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToCloseOut {
    /// Until when its rule wants that, where it does, and work is over.
    pub due: Option<Timestamp>,
}

impl ToCloseOut {
    /// Whether its rule demands it, and it waits.
    pub const fn is_wanted(&self) -> bool {
        self.due.is_some()
    }

    /// Whether it waits for longer than its rule gives.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}

impl Case {
    /// What was at work under it; none, where nobody was.
    pub fn work(&self) -> Option<Work> {
        Some(Work { sessions: self.sessions.len(), last: *self.sessions.last()? })
    }

    /// What the technician says of all that was done: what they said before the newest session began is none of it.
    pub fn whole_account(&self) -> Option<Accounted> {
        self.account().filter(|account| account.sessions == self.sessions.len())
    }

    /// Whether the technician can still say what they did.
    ///
    /// # Errors
    /// Nobody was at work, it is closed out or over for too long, or they said it too often.
    pub fn check_accountable(&self, now: Timestamp) -> Result<(), Refusal> {
        self.check_worked()?;
        let over = self.last_end.map_or(self.deadline, |last| last.max(self.deadline));
        if ACCOUNTED_WITHIN.after(over) <= now {
            return Err(Refusal::AccountLate(ACCOUNTED_WITHIN));
        }
        let said = self.said_before.len() / Account::TEXTS + usize::from(self.account.is_some());
        if said < ACCOUNTS_MAX { Ok(()) } else { Err(Refusal::AccountsFull(ACCOUNTS_MAX)) }
    }

    pub(crate) fn check_worked(&self) -> Result<(), Refusal> {
        match (self.first_use, self.closed_out()) {
            (_, Some(_)) => Err(Refusal::ClosedOut),
            (None, None) => Err(Refusal::NothingDone),
            (Some(_), None) => Ok(()),
        }
    }

    /// Whether its rule demands that it is closed out, somebody was at work under it, and nobody did.
    pub fn wants_close_out(&self) -> bool {
        self.rule.close_out.is_some() && self.last_end.is_some() && self.closed_out.is_none()
    }

    /// When work under it was over: nobody comes back any more, or the technician said what they did.
    fn work_over(&self, now: Timestamp) -> Option<Timestamp> {
        let last = self.last_end?;
        let said = self.whole_account().map(|account| account.at);
        let over = [said, self.stopped].into_iter().flatten().fold(self.deadline, Timestamp::min);
        (over <= now).then_some(over.max(last))
    }
}

impl SessionFacts {
    /// Whether it was drawn, and nobody reviewed it.
    pub const fn wants_review(&self) -> bool {
        self.review_due.is_some() && self.reviewed.is_none()
    }

    /// Whether it waits for longer than its rule gives.
    pub fn is_review_overdue(&self, now: Timestamp) -> bool {
        self.wants_review() && self.review_due.is_some_and(|due| due <= now)
    }
}

impl State {
    /// How far the close-out of a grant is; `None`: nobody was at work under it, somebody is, or it is closed out.
    pub fn to_close_out(&self, case: &Case, now: Timestamp) -> Option<ToCloseOut> {
        if case.last_end.is_none() || case.closed_out.is_some() || self.live_under(case.request.id) > 0 {
            return None;
        }
        let due = case.rule.close_out.and_then(|within| Some(within.after(case.work_over(now)?)));
        Some(ToCloseOut { due })
    }

    /// What somebody who signs off this account of a grant signs now.
    ///
    /// # Errors
    /// Nobody was at work under it, somebody is, or it is closed out.
    pub fn close_out_of(&self, request: RequestId, account: Account) -> Result<CloseOut, Refusal> {
        let case = self.cases.get(&request).ok_or(Refusal::NoSuchRequest)?;
        case.check_worked()?;
        if self.live_under(request) > 0 {
            return Err(Refusal::StillAtWork);
        }
        Ok(CloseOut { request, account, work: case.work().ok_or(Refusal::NothingDone)? })
    }

    /// The grants whose rule demands that they are closed out, work is over, and nobody did, with when that is due.
    pub fn close_outs(&self, now: Timestamp) -> impl Iterator<Item = (RequestId, &Case, Timestamp)> {
        let demanded = self.open_cases().filter(|(_, case)| case.wants_close_out());
        demanded.filter_map(move |(id, case)| Some((id, case, self.to_close_out(case, now)?.due?)))
    }

    /// Everybody who said yes to a grant, or to more of it.
    pub fn approvers_of(&self, request: RequestId) -> impl Iterator<Item = PersonId> + '_ {
        let first = self.cases.get(&request).into_iter().flat_map(Case::approvers);
        let asks = self.asks_of(request).map(|(_, ask)| ask);
        let more = asks.flat_map(|ask| ask.votes.iter().filter(|vote| vote.yes).map(|vote| vote.operator));
        first.chain(more)
    }

    pub(crate) fn apply_closing(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::Accounted { request, account, by } => {
                self.with_case(*request, |case| {
                    let said = Accounted { account: *account, by: *by, at, sessions: case.sessions.len() };
                    let before = case.account.replace(Box::new(said));
                    case.said_before.extend(before.iter().flat_map(|before| before.account.texts()));
                });
            }
            Event::ClosedOut { close_out, verdict } => {
                let (by, sessions) = (verdict.statement.operator, close_out.work.sessions);
                let signed = Accounted { account: close_out.account, by, at, sessions };
                self.with_case(close_out.request, |case| {
                    case.closed_out = Some(Box::new(signed));
                    if case.standing == RequestStanding::Granted {
                        case.standing = RequestStanding::ClosedOut;
                    }
                });
            }
            Event::SessionReviewed { session, by, findings } => self.with_session(*session, |facts| {
                facts.reviewed = Some(Box::new(LookBack { by: *by, at, objection: *findings }));
            }),
            _ => {}
        }
    }

    /// A session is over: whether it is one of those that are reviewed.
    pub(crate) fn draw(&mut self, session: SessionId, at: Timestamp) {
        let Some((request, seal)) = self.sessions.get(&session).map(|facts| (facts.request, facts.seal)) else {
            return;
        };
        let sample = self.cases.get(&request).and_then(|case| case.rule.review);
        let due = sample.filter(|sample| sample.draws(session, seal)).map(|sample| sample.within.after(at));
        self.with_case(request, |case| case.last_end = Some(at));
        self.with_session(session, |facts| facts.review_due = due);
    }
}

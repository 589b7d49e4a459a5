//! Decisions about what comes after work: the technician's account, the close-out, and the review of a drawn session.

use jiff::Timestamp;

use crate::digest::Digest;
use crate::events::Event;
use crate::ids::{PersonId, RequestId, SessionId, VendorId};
use crate::people::Person;
use crate::refusals::Refusal;
use crate::requests::{Account, Answer, CloseOut, Matter, Signed, VerdictStatement};
use crate::state::State;

impl State {
    /// The technician whose grant it is says what they did, and says it anew, until it is closed out or over for long.
    pub(super) fn decide_account(
        &self,
        request: RequestId,
        account: Account,
        by: PersonId,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        self.technician(by, now)?;
        let own = self.cases.get(&request).filter(|case| case.asked.technician == by).ok_or(Refusal::NoSuchRequest)?;
        own.check_accountable(now)?;
        if own.whole_account().is_some_and(|said| said.account == account) {
            return Err(Refusal::AccountSame);
        }
        Ok(vec![Event::Accounted { request, account, by }])
    }

    /// Any operator of the plant's signs off what was done, once nobody is at work under it; that ends the grant.
    pub(super) fn decide_close_out(
        &self,
        close_out: &CloseOut,
        verdict: &Signed<VerdictStatement>,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let statement = &verdict.statement;
        let operator = self.answering(statement, now)?;
        self.check_key(operator, &verdict.key)?;
        let case = self.cases.get(&close_out.request).ok_or(Refusal::NoSuchRequest)?;
        let deployment = self.deployment.as_ref().ok_or(Refusal::OtherDeployment)?;
        let same = statement.matter == Matter::CloseOut(close_out.request)
            && statement.digest == close_out.digest(deployment)
            && matches!(&statement.answer, Answer::Yes { narrowing } if narrowing.is_empty());
        if !same {
            return Err(Refusal::OtherDigest);
        }
        if self.close_out_of(close_out.request, close_out.account)?.work != close_out.work {
            return Err(Refusal::OtherWork);
        }
        check_other(operator, [], self.vendor_of(case.asked.technician))?;
        Ok(vec![Event::ClosedOut { close_out: *close_out, verdict: verdict.clone() }])
    }

    /// The review of a session that was drawn, by somebody who did not approve it: with a no, they found something.
    pub(super) fn vote_on_session(
        &self,
        id: SessionId,
        statement: &VerdictStatement,
        operator: &Person,
        voted: Event,
    ) -> Result<Vec<Event>, Refusal> {
        let facts = self.sessions.get(&id).filter(|facts| facts.wants_review()).ok_or(Refusal::NotDrawn)?;
        if statement.digest != self.session_digest(id)? {
            return Err(Refusal::OtherDigest);
        }
        let findings = statement.answer.looked_back()?;
        check_other(operator, self.approvers_of(facts.request), self.vendor_of(facts.technician))?;
        Ok(vec![voted, Event::SessionReviewed { session: id, by: operator.id, findings }])
    }

    /// The digest that the review of a session is about: it names what sealed the recording.
    pub(super) fn session_digest(&self, id: SessionId) -> Result<Digest, Refusal> {
        let facts = self.sessions.get(&id).ok_or(Refusal::NotDrawn)?;
        Ok(Digest::of("session", &(&self.deployment, id, facts.seal)))
    }
}

/// Whoever looks back at something is none of those who brought it about, and does not work for whom it was for.
pub(super) fn check_other(
    operator: &Person,
    doers: impl IntoIterator<Item = PersonId>,
    vendor: Option<&VendorId>,
) -> Result<(), Refusal> {
    if doers.into_iter().any(|doer| doer == operator.id) {
        return Err(Refusal::OwnDeed);
    }
    if operator.kind.vendor().is_some() && operator.kind.vendor() == vendor {
        return Err(Refusal::OwnVendor);
    }
    Ok(())
}

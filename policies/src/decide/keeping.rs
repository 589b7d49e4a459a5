//! Decisions about recordings that exist: held, released, erased. A recording has a minimum before which nothing erases
//! it, may have a maximum at which it goes by itself, and stays while anybody holds it. Both spans are those of the rule
//! that was frozen into the session's request, so a new plant file shortens nothing.

use jiff::Timestamp;

use crate::digest::Salted;
use crate::events::{ErasedOn, Event};
use crate::ids::{PersonId, SessionId};
use crate::people::{Kind, Person};
use crate::plant::Rule;
use crate::refusals::Refusal;
use crate::requests::{EraseStatement, Signed};
use crate::state::{SessionFacts, State};
use crate::time::Seconds;

/// A clock that was set ahead must not erase what nobody can bring back. So the journal must have known for that long that
/// a maximum is over: a week with a wrong clock is noticed, because nobody's codes are right. Shorter where the maximum is.
const KNOWN_FOR: Seconds = Seconds(7 * 86_400);

impl State {
    pub(super) fn decide_hold(&self, session: SessionId, reason: Salted, by: PersonId) -> Result<Vec<Event>, Refusal> {
        self.auditor(by)?;
        let facts = self.recorded(session)?;
        self.check_not_erased(facts)?;
        if facts.holds.contains_key(&by) {
            return Ok(Vec::new());
        }
        Ok(vec![Event::Held { session, reason, by }])
    }

    /// Any auditor releases any hold, because whoever made it may have left; both stand in the journal.
    pub(super) fn decide_release(&self, session: SessionId, of: PersonId, by: PersonId) -> Result<Vec<Event>, Refusal> {
        self.auditor(by)?;
        match self.recorded(session)?.holds.contains_key(&of) {
            true => Ok(vec![Event::Released { session, of, by }]),
            false => Err(Refusal::NotHeld),
        }
    }

    /// An administrator and an operator sign, whose keys a stranger can trace to the first people; with the second
    /// signature it is erased.
    pub(super) fn decide_sign_erasure(
        &self,
        signed: &Signed<EraseStatement>,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let statement = &signed.statement;
        self.check_statement(&statement.deployment, statement.expires, statement.journal.size, now)?;
        let signer = self.active(statement.signer)?;
        self.check_key(signer, &signed.key)?;
        if !signer.is_active_administrator() && !signer.is_active_operator() {
            return Err(Refusal::WrongKind("administrators and operators"));
        }
        let session = statement.session;
        let facts = self.recorded(session)?;
        self.check_erasable(session, now)?;
        if signer.kind.vendor().is_some() && signer.kind.vendor() == self.vendor_of(facts.technician) {
            return Err(Refusal::OwnVendor);
        }
        if facts.erasers.contains(&signer.id) {
            return Err(Refusal::AlreadyVoted);
        }
        let signers = || facts.erasers.iter().chain([&signer.id]).filter_map(|id| self.people.get(id));
        let administrator = signers().find(|person| person.is_active_administrator()).map(|person| person.id);
        let operator = signers().find(|person| person.is_active_operator()).map(|person| person.id);
        let on =
            administrator.zip(operator).map(|(administrator, operator)| ErasedOn::People { administrator, operator });
        let erased = on.map(|on| Event::Erased { session, on });
        Ok([Event::ErasureSigned { signed: signed.clone() }].into_iter().chain(erased).collect())
    }

    /// What goes by itself now.
    pub(super) fn removals(&self, now: Timestamp) -> impl Iterator<Item = Event> {
        self.overdue.keys().filter(move |session| self.is_removable(**session, now)).filter_map(|session| {
            let rule = self.rule_of(*session)?.id.clone();
            Some(Event::Erased { session: *session, on: ErasedOn::Rule { rule } })
        })
    }

    /// Whether anything goes by itself at `now`.
    pub fn has_removals(&self, now: Timestamp) -> bool {
        self.removals(now).next().is_some()
    }

    /// Whether two people may erase a recording at `now`.
    ///
    /// # Errors
    /// Why not, and from when on.
    pub fn check_erasable(&self, session: SessionId, now: Timestamp) -> Result<(), Refusal> {
        let facts = self.recorded(session)?;
        self.check_not_erased(facts)?;
        let rule = self.rule_of(session).ok_or(Refusal::NoSuchRecording)?;
        let (least, name) = (rule.retention, rule.id.clone());
        let Some(until) = self.kept_until(session) else {
            return Err(Refusal::StillRecording { rule: name, least });
        };
        if now < until {
            return Err(Refusal::KeptUntil { rule: name, least, until: self.clock(until) });
        }
        if facts.holds.is_empty() { Ok(()) } else { Err(Refusal::Held(facts.holds.keys().copied().collect())) }
    }

    /// Whether a recording goes by itself at `now`.
    pub fn is_removable(&self, session: SessionId, now: Timestamp) -> bool {
        let most = self.rule_of(session).and_then(|rule| rule.retention_max);
        let known_long_enough = self.overdue.get(&session).zip(most).is_some_and(|(since, most)| {
            let known_for = KNOWN_FOR.min(Seconds(most.0 / 10));
            known_for.after(*since) <= now
        });
        known_long_enough && self.check_erasable(session, now).is_ok()
    }

    /// Until when a recording is kept at least; none while its session runs.
    pub fn kept_until(&self, session: SessionId) -> Option<Timestamp> {
        let (ended, _) = self.sessions.get(&session)?.ended.as_ref()?;
        Some(self.rule_of(session)?.retention.after(*ended))
    }

    /// When a recording goes by itself, if nobody holds it then; none while its session runs, or where its rule has no
    /// maximum.
    pub fn removed_by_itself(&self, session: SessionId) -> Option<Timestamp> {
        let (ended, _) = self.sessions.get(&session)?.ended.as_ref()?;
        Some(self.rule_of(session)?.retention_max?.after(*ended))
    }

    /// Texts in the directory that nobody needs any more once the recording of `session` is erased: those of its request, and
    /// what was said and signed afterwards, unless another session under it is kept or can still begin.
    pub fn texts_of_erased(&self, session: SessionId, now: Timestamp) -> Vec<Salted> {
        let Some(case) = self.sessions.get(&session).and_then(|facts| self.cases.get(&facts.request)) else {
            return Vec::new();
        };
        let request = case.asked.id;
        let sessions = || case.sessions.iter().filter_map(|id| self.sessions.get(id));
        if case.is_open(now) || sessions().any(|facts| facts.erased().is_none()) {
            return Vec::new();
        }
        let asks = self.asks_of(request).map(|(_, ask)| ask);
        let of_asks = asks.flat_map(|ask| [Some(ask.asked.reason()), ask.no().map(|no| no.reason)]);
        let looked_back = [case.reviewed()].into_iter().chain(sessions().map(|facts| facts.reviewed()));
        let found = looked_back.map(|seen| seen.and_then(|seen| seen.objection));
        let said = [case.account(), case.closed_out()].into_iter().flatten().flat_map(|said| said.account.texts());
        [Some(case.asked.reason), case.asked.work_order, case.no().map(|no| no.reason)]
            .into_iter()
            .chain(of_asks)
            .chain(found)
            .flatten()
            .chain(said)
            .chain(case.said_before.iter().copied())
            .collect()
    }

    /// A session, of which there is a recording: none is opened without.
    pub(crate) fn recorded(&self, session: SessionId) -> Result<&SessionFacts, Refusal> {
        self.sessions.get(&session).ok_or(Refusal::NoSuchRecording)
    }

    fn check_not_erased(&self, facts: &SessionFacts) -> Result<(), Refusal> {
        match facts.erased() {
            Some((at, _)) => Err(Refusal::Erased(self.clock(*at))),
            None => Ok(()),
        }
    }

    /// The rule that was frozen into a session's request.
    fn rule_of(&self, session: SessionId) -> Option<&Rule> {
        let facts = self.sessions.get(&session)?;
        self.cases.get(&facts.request).map(|case| &*case.rule)
    }

    fn auditor(&self, id: PersonId) -> Result<&Person, Refusal> {
        Some(self.active(id)?).filter(|person| person.kind == Kind::Auditor).ok_or(Refusal::WrongKind("auditors"))
    }
}

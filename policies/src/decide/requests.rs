//! Decisions about requests: asking, answering, extending, taking back.

use std::net::IpAddr;

use jiff::Timestamp;

use super::closing::check_other;
use crate::actions::Actions;
use crate::digest::{Digest, Salted};
use crate::events::{AskedFor, CutBy, Event, Scope};
use crate::ids::{AskId, CutId, PersonId, RequestId, ServiceName, TargetName, VendorId};
use crate::people::{Contract, Kind, Person};
use crate::plant::{Quorum, Rule, Weaker, WorkOrder};
use crate::refusals::Refusal;
use crate::requests::{Answer, Extension, Matter, Narrowing, Reopening, Request, Signed, VerdictStatement, Widening};
use crate::rules::{Asker, Question};
use crate::state::{Ask, Asked, Case, RequestStanding, State};
use crate::time::{Seconds, Window};

/// A request looks ahead at most this long, so that nobody collects yeses for next year.
const AHEAD_MAX: Seconds = Seconds(14 * 86_400);
/// One technician cannot flood the operators' list.
const PENDING_MAX: usize = 10;

/// What a technician asks, before it is known which rule it stands on.
#[derive(Debug, Clone)]
pub struct NewRequest {
    /// Which it will be.
    pub id: RequestId,
    /// Who asks.
    pub technician: PersonId,
    /// Where to.
    pub target: TargetName,
    /// Through which service; may be left out where the target has one.
    pub service: Option<ServiceName>,
    /// To do what.
    pub actions: Actions,
    /// When.
    pub window: Window,
    /// How long from the first connection.
    pub duration: Seconds,
    /// Why: the salted digest, and whether there was any text.
    pub reason: Option<Salted>,
    /// The work order: the salted digest, and its text, which rules may want in some shape.
    pub work_order: Option<(Salted, String)>,
    /// From where it is asked.
    pub source: Option<IpAddr>,
    /// As an emergency.
    pub emergency: bool,
}

impl NewRequest {
    /// What it asks for, as it stands in the journal where it is refused so.
    pub fn asked_for(&self, refusal: &Refusal) -> AskedFor {
        AskedFor {
            actions: self.actions.clone(),
            service: self.service.clone(),
            emergency: self.emergency,
            lacks: refusal.lacks(),
        }
    }
}

impl State {
    pub(super) fn decide_submit(&self, asked: &NewRequest, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        let (vendor, role) = self.technician(asked.technician, now)?;
        self.check_cuts(asked.technician, &asked.target)?;
        if self.cases.contains_key(&asked.id) {
            return Err(Refusal::Exists);
        }
        let pending = |case: &&Case| {
            case.asked.technician == asked.technician
                && case.standing == RequestStanding::Pending
                && now < case.request.window.until
        };
        let waiting = self.open_cases().map(|(_, case)| case).filter(pending).count();
        if waiting >= PENDING_MAX {
            return Err(Refusal::TooManyPending(waiting));
        }
        let plant = self.plant.as_ref().ok_or(Refusal::NoPlant)?;
        let question = Question {
            asker: Asker { vendor, role },
            target: &asked.target,
            service: asked.service.as_ref(),
            actions: &asked.actions,
            at: asked.window.from.max(now),
            source: asked.source,
            emergency: asked.emergency,
        };
        let rule = self.rule_for(plant, asked.technician, &question)?;
        self.check_attested(asked.technician, rule, now)?;
        // What a guest asks for ends with their visit, whatever their client thought.
        let guest = self.guest(asked.technician);
        let until = guest.map_or(asked.window.until, |guest| asked.window.until.min(guest.statement.until));
        let window = Window { until, ..asked.window };
        check_shape(asked, window, rule, now)?;
        let service = match &asked.service {
            Some(service) => service.clone(),
            None => only_service(plant, &asked.target)?,
        };
        let request = Request {
            id: asked.id,
            technician: asked.technician,
            target: asked.target.clone(),
            services: [service].into(),
            actions: asked.actions.clone(),
            window,
            duration: asked.duration,
            reason: asked.reason.ok_or(Refusal::ReasonWanted)?,
            work_order: asked.work_order.as_ref().map(|(salted, _)| *salted),
            rule: rule.digest(),
            emergency: asked.emergency,
        };
        Ok(vec![Event::Submitted { request, rule: Box::new(rule.clone()) }])
    }

    pub(super) fn decide_vote(
        &self,
        verdict: &Signed<VerdictStatement>,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let operator = self.answering(&verdict.statement, now)?;
        self.check_key(operator, &verdict.key)?;
        self.vote(&verdict.statement, operator, Event::Voted { verdict: verdict.clone() }, now)
    }

    /// An answer without a signature: where the request's own rule allows the way, from whoever is on duty. An emergency is
    /// given by one yes, and looking back at it or letting back in takes one: that one must be such as no gate can invent.
    pub(super) fn decide_vote_weaker(
        &self,
        statement: &VerdictStatement,
        way: Weaker,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let operator = self.answering(statement, now)?;
        let case = self.case_of(&statement.matter)?;
        if case.asked.emergency || matches!(statement.matter, Matter::Review(_)) {
            return Err(Refusal::SignatureWanted("an emergency"));
        }
        if !case.rule.weaker.contains(&way) {
            return Err(Refusal::WeakerNotAllowed { way, rule: case.rule.id.clone() });
        }
        if !operator.is_on_duty(now) {
            return Err(Refusal::DutyWanted("answers without a signature"));
        }
        self.vote(statement, operator, Event::VotedWeaker { statement: statement.clone(), way }, now)
    }

    /// Who answers, if what they answer is for here and now.
    pub(super) fn answering(&self, statement: &VerdictStatement, now: Timestamp) -> Result<&Person, Refusal> {
        self.check_statement(&statement.deployment, statement.expires, statement.journal.size, now)?;
        self.operator(statement.operator)
    }

    /// The request that an answer is about, or what was asked of its grant.
    pub fn case_of(&self, matter: &Matter) -> Result<&Case, Refusal> {
        let request = match matter {
            Matter::Request(id) | Matter::Review(id) => Some(*id),
            Matter::Extension(id) | Matter::Widening(id) => self.asks.get(id).map(|ask| ask.asked.request()),
            Matter::Reopening(_) => return Err(Refusal::SignatureWanted("letting back in")),
            Matter::Guest(_) => return Err(Refusal::SignatureWanted("looking back at a guest's visit")),
            Matter::CloseOut(_) => return Err(Refusal::SignatureWanted("closing out")),
            Matter::Session(_) => return Err(Refusal::SignatureWanted("the review of a session")),
        };
        request.and_then(|id| self.cases.get(&id)).ok_or(Refusal::NoSuchRequest)
    }

    fn vote(
        &self,
        statement: &VerdictStatement,
        operator: &Person,
        voted: Event,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        match &statement.matter {
            Matter::Request(id) => self.vote_on_request(*id, statement, operator, voted, now),
            Matter::Extension(id) | Matter::Widening(id) => self.vote_on_ask(*id, statement, operator, voted, now),
            Matter::Review(id) => self.vote_on_review(*id, statement, operator, voted),
            Matter::Guest(id) => self.vote_on_guest(*id, statement, operator, voted, now),
            Matter::Session(id) => self.vote_on_session(*id, statement, operator, voted),
            Matter::Reopening(_) | Matter::CloseOut(_) => Err(Refusal::NoSuchRequest),
        }
    }

    fn vote_on_request(
        &self,
        id: RequestId,
        statement: &VerdictStatement,
        operator: &Person,
        voted: Event,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let case = self.cases.get(&id).ok_or(Refusal::NoSuchRequest)?;
        if case.standing != RequestStanding::Pending {
            return Err(Refusal::NotPending(case.standing_in_words()));
        }
        if case.request.window.until <= now {
            return Err(Refusal::NotPending(RequestStanding::Lapsed.as_str()));
        }
        self.check_voter(operator, case, case.votes.iter().map(|vote| vote.operator), now)?;
        match &statement.answer {
            Answer::No { .. } => {
                self.check_digest(&case.request, &Narrowing::default(), statement.digest)?;
                Ok(vec![voted, Event::Denied { request: id, by: operator.id }])
            }
            Answer::Yes { narrowing } => {
                if !narrowing.narrows(&case.request) {
                    return Err(Refusal::Widens);
                }
                self.check_digest(&case.request, narrowing, statement.digest)?;
                let mut events = vec![voted];
                if self.is_approved(case, case.approvers(), operator, now) {
                    self.check_still_attested(case, now)?;
                    events.push(Event::Granted { request: id });
                }
                Ok(events)
            }
        }
    }

    fn check_digest(&self, request: &Request, narrowing: &Narrowing, signed: Digest) -> Result<(), Refusal> {
        let deployment = self.deployment.as_ref().ok_or(Refusal::OtherDeployment)?;
        if request.narrowed(narrowing).digest(deployment) == signed { Ok(()) } else { Err(Refusal::OtherDigest) }
    }

    /// Nobody decides about their vendor, nobody twice, and only who has a say. An operator is never a technician, so
    /// nobody decides about themselves.
    fn check_voter(
        &self,
        operator: &Person,
        case: &Case,
        voted: impl IntoIterator<Item = PersonId>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if operator.kind.vendor().is_some() && operator.kind.vendor() == self.vendor_of(case.asked.technician) {
            return Err(Refusal::OwnVendor);
        }
        if voted.into_iter().any(|voter| voter == operator.id) {
            return Err(Refusal::AlreadyVoted);
        }
        if case.asked.emergency {
            return if operator.is_on_duty(now) { Ok(()) } else { Err(Refusal::NotOnDuty) };
        }
        if case.rule.approvals.iter().any(|quorum| operator.is_member(&quorum.from)) {
            return Ok(());
        }
        Err(Refusal::NoSay(case.rule.approvers()))
    }

    /// With this operator's yes, all it takes have said yes. Groups are read anew, so a yes of somebody who left does
    /// not count. For an emergency one operator on duty suffices.
    fn is_approved(
        &self,
        case: &Case,
        before: impl Iterator<Item = PersonId>,
        operator: &Person,
        now: Timestamp,
    ) -> bool {
        if case.asked.emergency {
            return operator.is_on_duty(now);
        }
        let approvers: Vec<&Person> =
            before.chain(std::iter::once(operator.id)).filter_map(|id| self.people.get(&id)).collect();
        quorum_is_met(&case.rule.approvals, &approvers)
    }

    fn vote_on_ask(
        &self,
        id: AskId,
        statement: &VerdictStatement,
        operator: &Person,
        voted: Event,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let ask = self.asks.get(&id).filter(|ask| ask.open).ok_or(Refusal::NoSuchRequest)?;
        let matches_kind = matches!(
            (&ask.asked, &statement.matter),
            (Asked::Extension(_), Matter::Extension(_)) | (Asked::Widening(_), Matter::Widening(_))
        );
        if !matches_kind || self.ask_digest(ask) != statement.digest {
            return Err(Refusal::OtherDigest);
        }
        let request = ask.asked.request();
        let case = self.cases.get(&request).ok_or(Refusal::NoSuchRequest)?;
        if case.standing != RequestStanding::Granted {
            return Err(Refusal::NotPending(case.standing_in_words()));
        }
        self.check_voter(operator, case, ask.votes.iter().map(|vote| vote.operator), now)?;
        let mut events = vec![voted];
        match &statement.answer {
            Answer::No { .. } => events.push(Event::AskDenied { ask: id, request, by: operator.id }),
            Answer::Yes { narrowing } if !narrowing.is_empty() => return Err(Refusal::Widens),
            Answer::Yes { .. } => {
                let before = ask.votes.iter().filter(|vote| vote.yes).map(|vote| vote.operator);
                if self.is_approved(case, before, operator, now) {
                    events.push(self.answered(id, ask, case, now)?);
                }
            }
        }
        Ok(events)
    }

    fn answered(&self, id: AskId, ask: &Ask, case: &Case, now: Timestamp) -> Result<Event, Refusal> {
        let request = ask.asked.request();
        self.check_still_attested(case, now)?;
        match &ask.asked {
            Asked::Extension(extension) => {
                self.check_extension(case, extension.deadline, now)?;
                Ok(Event::Extended { ask: id, request, deadline: extension.deadline })
            }
            Asked::Widening(widening) => {
                // Whoever is not there yet is asked when they come.
                if self.live_under(request) > 0 {
                    let wider = case.actions(now).union(&widening.actions).copied().collect();
                    self.check_exclusive(case, &wider, now)?;
                }
                Ok(Event::Widened { ask: id, request, until: widening.lasts.after(now) })
            }
        }
    }

    /// The digest of what an answer is about, as it stands now: before anything is taken away by that answer.
    pub fn standing_digest(&self, matter: &Matter) -> Result<Digest, Refusal> {
        match matter {
            Matter::Extension(id) | Matter::Widening(id) => {
                self.asks.get(id).map(|ask| self.ask_digest(ask)).ok_or(Refusal::NoSuchRequest)
            }
            Matter::Guest(id) => self.guest_digest(*id),
            Matter::Session(id) => self.session_digest(*id),
            _ => {
                let deployment = self.deployment.as_ref().ok_or(Refusal::OtherDeployment)?;
                Ok(self.case_of(matter)?.request.digest(deployment))
            }
        }
    }

    /// The digest that verdicts about an extension or widening are about.
    pub fn ask_digest(&self, ask: &Ask) -> Digest {
        match &ask.asked {
            Asked::Extension(extension) => Digest::of("extension", &(&self.deployment, extension)),
            Asked::Widening(widening) => Digest::of("widening", &(&self.deployment, widening)),
        }
    }

    /// The digest that a verdict about a reopening is about.
    pub fn reopening_digest(&self, reopening: &Reopening) -> Digest {
        Digest::of("reopening", &(&self.deployment, reopening))
    }

    /// The look back at an emergency grant, by somebody else than whoever gave it: with a no, it should not have been.
    fn vote_on_review(
        &self,
        id: RequestId,
        statement: &VerdictStatement,
        operator: &Person,
        voted: Event,
    ) -> Result<Vec<Event>, Refusal> {
        let case = self.cases.get(&id).ok_or(Refusal::NoSuchRequest)?;
        if !case.wants_review() {
            return Err(Refusal::NotPending(case.standing_in_words()));
        }
        self.check_digest(&case.request, &Narrowing::default(), statement.digest)?;
        let objection = statement.answer.looked_back()?;
        check_other(operator, case.approvers(), self.vendor_of(case.asked.technician))?;
        Ok(vec![voted, Event::Reviewed { request: id, by: operator.id, objection }])
    }

    /// Whoever is on duty for longer than whoever stands for it now, and has a say in it, may stand for it instead.
    pub(super) fn decide_accept(&self, id: RequestId, by: PersonId, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        let operator = self.operator(by)?;
        let case = self.cases.get(&id).ok_or(Refusal::NoSuchRequest)?;
        if !case.is_current(now) || case.has_lapsed(now) {
            return Err(Refusal::NotPending(case.standing_in_words()));
        }
        self.check_voter(operator, case, [], now)?;
        let until = operator.on_duty_until.filter(|until| now < *until);
        let until = until.ok_or(Refusal::DutyWanted("accepts what the shift before left"))?;
        let plant = self.plant.as_ref().ok_or(Refusal::NoPlant)?;
        if self.covered_until(plant, case).is_none_or(|covered| until <= covered) {
            return Err(Refusal::NothingToAccept);
        }
        Ok(vec![Event::Accepted { request: id, by, until }])
    }

    /// Each once, and where nobody accepted it or came to stand for it since that was measured.
    pub(super) fn leave_unaccepted(&self, due: &[(RequestId, Timestamp)], now: Timestamp) -> Vec<Event> {
        let stands = |(id, acts): &(RequestId, Timestamp)| {
            let case = self.cases.get(id).filter(|case| !case.unaccepted)?;
            let is_current = case.is_current(now) && !case.has_lapsed(now);
            (is_current && self.next_handover(case)?.acts == *acts).then_some((*id, case.rule.unaccepted.then))
        };
        due.iter().filter_map(stands).map(|(request, then)| Event::NotAccepted { request, then }).collect()
    }

    pub(super) fn decide_withdraw(&self, id: RequestId, by: PersonId) -> Result<Vec<Event>, Refusal> {
        let case = self.cases.get(&id).filter(|case| case.asked.technician == by).ok_or(Refusal::NoSuchRequest)?;
        match case.standing {
            RequestStanding::Pending => Ok(vec![Event::Withdrawn { request: id }]),
            other => Err(Refusal::NotPending(other.as_str())),
        }
    }

    pub(super) fn decide_ask_extension(
        &self,
        ask: AskId,
        request: RequestId,
        more: Seconds,
        reason: Salted,
        by: PersonId,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let case = self.own_grant(request, by, now)?;
        let deadline = more.after(case.deadline);
        self.check_extension(case, deadline, now)?;
        Ok(vec![Event::ExtensionAsked { extension: Extension { id: ask, request, by: more, deadline, reason } }])
    }

    /// An extension stays inside the rule's `duration_max` and hours, the contract, and a guest's visit.
    fn check_extension(&self, case: &Case, deadline: Timestamp, now: Timestamp) -> Result<(), Refusal> {
        let first_use = case.first_use.unwrap_or(now);
        let too_far = |limit, what| {
            if deadline > limit { Err(Refusal::ExtensionTooFar(self.clock(limit), what)) } else { Ok(()) }
        };
        too_far(case.rule.duration_max.after(first_use), "the rule gives no more")?;
        if let Some(closes) = self.hours_close(&case.rule, now) {
            too_far(closes, "the rule's hours end")?;
        }
        if let Some(contract) = self.vendor_of(case.asked.technician).and_then(|vendor| self.contracts.get(vendor)) {
            too_far(contract.end, "the vendor's contract ends")?;
        }
        if let Some(guest) = self.guest(case.asked.technician) {
            too_far(guest.statement.until, "your time as a guest ends")?;
        }
        if deadline <= case.deadline { Err(Refusal::WindowOver) } else { Ok(()) }
    }

    pub(super) fn decide_ask_widening(
        &self,
        widening: &Widening,
        by: PersonId,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let rule = &self.own_grant(widening.request, by, now)?.rule;
        if widening.actions.is_empty() || !widening.actions.is_subset(&rule.actions) {
            let (asked, allowed) = (widening.actions.clone(), rule.actions.clone());
            return Err(Refusal::OutsideRule { asked, allowed, rule: rule.id.clone() });
        }
        if widening.lasts.0 == 0 || widening.lasts > rule.duration_max {
            return Err(Refusal::TooLong { asked: widening.lasts, most: rule.duration_max, rule: rule.id.clone() });
        }
        Ok(vec![Event::WideningAsked { widening: widening.clone() }])
    }

    fn own_grant(&self, request: RequestId, by: PersonId, now: Timestamp) -> Result<&Case, Refusal> {
        self.active(by)?;
        let case = self.cases.get(&request).filter(|case| case.asked.technician == by).ok_or(Refusal::NoSuchRequest)?;
        if case.standing != RequestStanding::Granted {
            return Err(Refusal::NotPending(case.standing_in_words()));
        }
        if case.deadline <= now {
            return Err(Refusal::GrantOver(case.request.target.clone(), self.clock(case.deadline)));
        }
        Ok(case)
    }

    pub(super) fn decide_revoke(
        &self,
        request: RequestId,
        reason: Salted,
        by: PersonId,
    ) -> Result<Vec<Event>, Refusal> {
        self.operator(by)?;
        let case = self.cases.get(&request).ok_or(Refusal::NoSuchRequest)?;
        match case.standing {
            RequestStanding::Granted => Ok(vec![Event::Revoked { request, by, reason }]),
            other => Err(Refusal::NotPending(other.as_str())),
        }
    }

    /// A cut that stands already is not refused: cutting twice is no mistake.
    pub(super) fn decide_cut(
        &self,
        cut: CutId,
        scope: &Scope,
        by: &CutBy,
        at: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        self.may_cut(by)?;
        if self.cuts.contains_key(&cut) {
            return Ok(Vec::new());
        }
        Ok(vec![Event::Cut { cut, scope: scope.clone(), by: by.clone(), at }])
    }

    pub(super) fn decide_reopen(
        &self,
        reopening: &Reopening,
        verdict: &Signed<VerdictStatement>,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let statement = &verdict.statement;
        self.check_statement(&statement.deployment, statement.expires, statement.journal.size, now)?;
        let operator = self.operator(statement.operator)?;
        self.check_key(operator, &verdict.key)?;
        let scope = &self.cuts.get(&reopening.cut).ok_or(Refusal::NoSuchCut)?.scope;
        let same = statement.matter == Matter::Reopening(reopening.cut)
            && statement.digest == self.reopening_digest(reopening)
            && matches!(&statement.answer, Answer::Yes { narrowing } if narrowing.is_empty());
        if !same {
            return Err(Refusal::OtherDigest);
        }
        if let Some(vendor) = self.vendor_in(scope)
            && operator.kind.vendor() == Some(vendor)
        {
            return Err(Refusal::OwnVendor);
        }
        Ok(vec![Event::Reopened { reopening: reopening.clone(), verdict: verdict.clone() }])
    }

    fn vendor_in<'a>(&'a self, scope: &'a Scope) -> Option<&'a crate::ids::VendorId> {
        match scope {
            Scope::Vendor(vendor) => Some(vendor),
            Scope::Technician(person) => self.vendor_of(*person),
            Scope::Session(session) => self.vendor_of(self.sessions.get(session)?.technician),
            Scope::Zone(_) | Scope::Plant => None,
        }
    }

    pub(super) fn decide_sweep(&self, now: Timestamp) -> Vec<Event> {
        self.open_cases()
            .filter(|(_, case)| case.has_lapsed(now))
            .map(|(request, _)| Event::Lapsed { request })
            .chain(self.guests_gone(now))
            .chain(self.removals(now))
            .collect()
    }

    /// When the opening of the rule's hours that holds at `now` ends.
    pub(super) fn hours_close(&self, rule: &Rule, now: Timestamp) -> Option<Timestamp> {
        let plant = self.plant.as_ref()?;
        rule.hours.as_ref()?.closes_after(now, &plant.timezone)
    }

    /// The vendor and role of an active technician whose vendor is in contract.
    pub(crate) fn technician(
        &self,
        id: PersonId,
        now: Timestamp,
    ) -> Result<(&crate::ids::VendorId, &crate::ids::RoleName), Refusal> {
        let person = self.active(id)?;
        let Kind::Technician { vendor, role } = &person.kind else { return Err(Refusal::WrongKind("technicians")) };
        if let Some(until) = person.locked_until.filter(|until| now < *until) {
            return Err(Refusal::LockedOut(self.clock(until)));
        }
        self.running_contract(vendor, now)?;
        self.check_visits(id, now)?;
        Ok((vendor, role))
    }

    /// The contract of a vendor that may send people.
    ///
    /// # Errors
    /// There is none, it ended, or the vendor is out.
    pub fn running_contract(&self, vendor: &VendorId, now: Timestamp) -> Result<&Contract, Refusal> {
        let contract = self.contracts.get(vendor).ok_or_else(|| Refusal::NoContract(vendor.clone()))?;
        if contract.disabled {
            return Err(Refusal::VendorDisabled(vendor.clone()));
        }
        if contract.end <= now {
            return Err(Refusal::ContractEnded(vendor.clone(), self.clock(contract.end)));
        }
        Ok(contract)
    }

    /// Whether the time of a guest runs; everybody else is none.
    ///
    /// # Errors
    /// It is over.
    pub fn check_visits(&self, person: PersonId, now: Timestamp) -> Result<(), Refusal> {
        match self.guest(person).filter(|guest| guest.is_over(now)) {
            Some(guest) => Err(Refusal::GuestOver(self.clock(guest.statement.until))),
            None => Ok(()),
        }
    }

    /// No cut that was not reopened keeps this technician from this target.
    pub(crate) fn check_cuts(&self, technician: PersonId, target: &TargetName) -> Result<(), Refusal> {
        let is_out = self.is_kept_out(technician, self.vendor_of(technician), target);
        if is_out { Err(Refusal::CutOff) } else { Ok(()) }
    }

    /// Whether a cut that was not reopened keeps somebody of this vendor from this target.
    pub(super) fn is_kept_out(&self, who: PersonId, of: Option<&VendorId>, target: &TargetName) -> bool {
        self.cuts.values().any(|cut| match &cut.scope {
            Scope::Session(_) => false,
            Scope::Technician(person) => who == *person,
            Scope::Vendor(vendor) => of == Some(vendor),
            Scope::Zone(zone) => self.zone_of(target) == Some(zone),
            Scope::Plant => true,
        })
    }
}

fn only_service(plant: &crate::plant::Plant, target: &TargetName) -> Result<ServiceName, Refusal> {
    let services = plant.targets.get(target).map(|target| &target.services);
    services
        .filter(|services| services.len() == 1)
        .and_then(|services| services.keys().next().cloned())
        .ok_or(Refusal::NoGrant(target.clone()))
}

fn check_shape(asked: &NewRequest, window: Window, rule: &Rule, now: Timestamp) -> Result<(), Refusal> {
    if window.until <= window.from || window.until <= now || asked.duration.0 == 0 {
        return Err(Refusal::WindowOver);
    }
    if AHEAD_MAX.after(now) < window.until {
        return Err(Refusal::WindowTooFar(AHEAD_MAX));
    }
    if asked.duration > rule.duration_max {
        let (most, rule) = (rule.duration_max, rule.id.clone());
        return Err(Refusal::TooLong { asked: asked.duration, most, rule });
    }
    match (&rule.work_order, &asked.work_order) {
        (WorkOrder::Required | WorkOrder::Matches(_), None) => Err(Refusal::WorkOrderWanted),
        (WorkOrder::Matches(shape), Some((_, text))) if !shape.matches(text) => {
            Err(Refusal::WorkOrderShape(rule.id.clone(), shape.as_str().to_owned()))
        }
        _ => Ok(()),
    }
}

/// Whether distinct people fill every place of every quorum. One person fills one place, whatever groups they are in.
pub fn quorum_is_met(quorums: &[Quorum], people: &[&Person]) -> bool {
    let places: Vec<&Quorum> =
        quorums.iter().flat_map(|quorum| std::iter::repeat_n(quorum, usize::from(quorum.count))).collect();
    let mut seat_of = vec![None; people.len()];
    (0..places.len()).all(|place| seat(place, &places, people, &mut seat_of, &mut vec![false; people.len()]))
}

/// One augmenting path of a bipartite matching: seats `place`, moving others where that helps.
fn seat(
    place: usize,
    places: &[&Quorum],
    people: &[&Person],
    seat_of: &mut [Option<usize>],
    tried: &mut [bool],
) -> bool {
    for (index, person) in people.iter().enumerate() {
        if tried[index] || !person.is_member(&places[place].from) {
            continue;
        }
        tried[index] = true;
        if seat_of[index].is_none_or(|other| seat(other, places, people, seat_of, tried)) {
            seat_of[index] = Some(place);
            return true;
        }
    }
    false
}

/// Whose yes it takes, in words: `1 of shift-lead and 2 of ot-security`.
pub(super) fn list_of(quorums: &[Quorum]) -> String {
    quorums.iter().map(Quorum::to_string).collect::<Vec<_>>().join(" and ")
}

/// Whose yes a pending request still waits for, in words.
pub fn waits_for(case: &Case) -> String {
    if case.asked.emergency { "any operator on duty".to_owned() } else { case.rule.approvers() }
}

impl State {
    pub(super) fn live_session(&self, session: crate::ids::SessionId) -> Result<&crate::state::SessionFacts, Refusal> {
        self.live.get(&session).and_then(|id| self.sessions.get(id)).ok_or(Refusal::NoSuchSession)
    }

    pub(super) fn is_session_cut(&self, request: RequestId) -> bool {
        self.cuts.values().any(|cut| match &cut.scope {
            Scope::Session(session) => self.sessions.get(session).is_some_and(|facts| facts.request == request),
            _ => false,
        })
    }

    /// The cuts that keep anybody out, for showing.
    pub fn standing_cuts(&self) -> impl Iterator<Item = (CutId, &Scope)> {
        self.cuts.iter().map(|(id, cut)| (*id, &cut.scope))
    }
}

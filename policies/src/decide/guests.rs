//! Decisions about guests: who may invite one, for what, and who ends a visit or looks back at it.

use jiff::Timestamp;

use super::closing::check_other;
use crate::digest::Digest;
use crate::events::Event;
use crate::guests::Guest;
use crate::ids::{GuestId, LinkId, PersonId, TargetName};
use crate::people::{Kind, Person, Standing};
use crate::plant::{Plant, Rule};
use crate::refusals::Refusal;
use crate::requests::{GuestStatement, Request, Signed, VerdictStatement};
use crate::rules::{Opening, Question, deciding_rule_among, first_opening_among};
use crate::state::State;
use crate::time::Seconds;

impl State {
    /// An operator on duty, under a rule that allows it, for one named person of a vendor that was called back. One guest
    /// at a time comes under each rule, so that nobody collects keys for later and everybody at the plant knows who it is.
    pub(super) fn decide_invite_guest(
        &self,
        invitation: &Signed<GuestStatement>,
        link: LinkId,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let statement = &invitation.statement;
        self.check_statement(&statement.deployment, statement.expires, statement.journal.size, now)?;
        let operator = self.operator(statement.operator)?;
        self.check_key(operator, &invitation.key)?;
        if !operator.is_on_duty(now) {
            return Err(Refusal::DutyWanted("invites a guest"));
        }
        if operator.kind.vendor() == Some(&statement.vendor) {
            return Err(Refusal::OwnVendor);
        }
        self.check_host(statement, now)?;
        let plant = self.plant.as_ref().ok_or(Refusal::NoPlant)?;
        let rule = plant.rules.iter().find(|rule| rule.digest() == statement.rule).ok_or(Refusal::OtherDigest)?;
        let most = rule.guest_limit().ok_or_else(|| Refusal::NoGuests(rule.id.clone()))?;
        check_reach(plant, rule, statement)?;
        self.check_visit(statement, rule, most, now)?;
        if let Some((_, guest)) = self.guest_under(&rule.id, now) {
            return Err(Refusal::GuestThere { rule: rule.id.clone(), until: self.clock(guest.statement.until) });
        }
        self.check_newcomer(statement)?;
        if self.links.contains_key(&link) || self.guests.contains_key(&statement.guest) {
            return Err(Refusal::Exists);
        }
        Ok(vec![Event::GuestInvited { invitation: invitation.clone(), rule: Box::new(rule.clone()), link }])
    }

    /// The vendor may send people, nobody keeps it out, and it was called back on the number that is registered now.
    fn check_host(&self, statement: &GuestStatement, now: Timestamp) -> Result<(), Refusal> {
        let contract = self.running_contract(&statement.vendor, now)?;
        if self.is_kept_out(statement.person, Some(&statement.vendor), &statement.target) {
            return Err(Refusal::CutOff);
        }
        match contract.telephone {
            None => Err(Refusal::NoTelephone(statement.vendor.clone())),
            Some(telephone) if telephone != statement.telephone => Err(Refusal::OtherDigest),
            Some(_) => Ok(()),
        }
    }

    /// A visit ends within what the rule gives, and no later than the contract.
    fn check_visit(
        &self,
        statement: &GuestStatement,
        rule: &Rule,
        most: Seconds,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if statement.until <= now {
            return Err(Refusal::WindowOver);
        }
        if statement.until > most.after(now) {
            let asked = u32::try_from(statement.until.duration_since(now).as_secs()).unwrap_or(u32::MAX);
            return Err(Refusal::TooLong { asked: Seconds(asked), most, rule: rule.id.clone() });
        }
        match self.contracts.get(&statement.vendor).filter(|contract| contract.end < statement.until) {
            Some(contract) => Err(Refusal::ExtensionTooFar(self.clock(contract.end), "the vendor's contract ends")),
            None => Ok(()),
        }
    }

    /// Nobody is made a guest who is somebody here, but for a guest of the same vendor whose visit is over.
    fn check_newcomer(&self, statement: &GuestStatement) -> Result<(), Refusal> {
        match self.people.get(&statement.person) {
            None => Ok(()),
            Some(known) if known.may_come_again(&statement.vendor) => Ok(()),
            Some(known) if known.standing == Standing::Disabled => Err(Refusal::NotActive(known.standing)),
            Some(_) => Err(Refusal::Exists),
        }
    }

    /// Any operator sends a guest away, and so does an administrator.
    pub(super) fn decide_end_guest(&self, guest: GuestId, by: PersonId, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        let ending = self.active(by)?;
        if !matches!(ending.kind, Kind::Operator { .. } | Kind::Administrator) {
            return Err(Refusal::WrongKind("operators and administrators"));
        }
        let visit = self.guests.get(&guest).ok_or(Refusal::NoSuchGuest)?;
        if visit.is_over(now) {
            return Err(Refusal::GuestGone(self.clock(visit.ended.map_or(visit.statement.until, |(at, _)| at))));
        }
        Ok(vec![Event::GuestEnded { guest, person: visit.statement.person, by: Some(by) }])
    }

    /// The look back, when the visit is over, by somebody else than whoever invited: with a no, it should not have been.
    pub(super) fn vote_on_guest(
        &self,
        id: GuestId,
        statement: &VerdictStatement,
        operator: &Person,
        voted: Event,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let guest = self.guests.get(&id).ok_or(Refusal::NoSuchGuest)?;
        if guest.reviewed.is_some() {
            return Err(Refusal::NotPending("looked back at already"));
        }
        if !guest.is_over(now) {
            return Err(Refusal::GuestStillThere(self.clock(guest.statement.until)));
        }
        if statement.digest != guest.statement.digest() {
            return Err(Refusal::OtherDigest);
        }
        let objection = statement.answer.looked_back()?;
        check_other(operator, [guest.statement.operator], Some(&guest.statement.vendor))?;
        Ok(vec![voted, Event::GuestReviewed { guest: id, by: operator.id, objection }])
    }

    /// The digest that the look back at a visit is about.
    pub(super) fn guest_digest(&self, id: GuestId) -> Result<Digest, Refusal> {
        self.guests.get(&id).map(|guest| guest.statement.digest()).ok_or(Refusal::NoSuchGuest)
    }

    /// The rule that decides for this person: of a guest the one they were invited under, at their target, or none.
    ///
    /// # Errors
    /// None allows it.
    pub fn rule_for<'p>(
        &self,
        plant: &'p Plant,
        person: PersonId,
        question: &Question<'_>,
    ) -> Result<&'p Rule, Refusal> {
        self.check_guest_asks(person, question.target, question.emergency)?;
        Ok(deciding_rule_among(plant, question, |rule| self.counts_for(person, rule))?)
    }

    /// When the first rule for this person opens that has nothing but its hours against it.
    pub(crate) fn opening_for(&self, plant: &Plant, person: PersonId, question: &Question<'_>) -> Option<Opening> {
        self.check_guest_asks(person, question.target, question.emergency).ok()?;
        first_opening_among(plant, question, |rule| self.counts_for(person, rule))
    }

    /// For a guest none counts but the one they were invited under.
    fn counts_for(&self, person: PersonId, rule: &Rule) -> bool {
        self.guest(person).is_none_or(|guest| guest.rule.id == rule.id && rule.guest_limit().is_some())
    }

    /// Whether a request may stand in a journal: of a guest, one for what they were invited for, under the one rule, within
    /// their visit.
    ///
    /// # Errors
    /// It is not.
    pub fn check_guest_request(&self, request: &Request, rule: &Rule) -> Result<(), Refusal> {
        self.check_guest_asks(request.technician, &request.target, request.emergency)?;
        match self.guest(request.technician) {
            Some(Guest { ended: Some((at, _)), .. }) => Err(Refusal::GuestOver(self.clock(*at))),
            Some(guest) if guest.rule.id != rule.id || rule.guest_limit().is_none() => {
                Err(Refusal::NoGuests(rule.id.clone()))
            }
            Some(guest) if guest.statement.until < request.window.until => {
                Err(Refusal::GuestOver(self.clock(guest.statement.until)))
            }
            _ => Ok(()),
        }
    }

    /// That a guest asks for what they were invited for, and for nothing else; everybody else is no guest.
    fn check_guest_asks(&self, person: PersonId, target: &TargetName, emergency: bool) -> Result<(), Refusal> {
        let Some(guest) = self.guest(person) else { return Ok(()) };
        if guest.statement.target != *target {
            return Err(Refusal::GuestElsewhere(guest.statement.target.clone()));
        }
        if emergency { Err(Refusal::GuestEmergency) } else { Ok(()) }
    }
}

fn check_reach(plant: &Plant, rule: &Rule, statement: &GuestStatement) -> Result<(), Refusal> {
    let target = plant.targets.get(&statement.target);
    let is_reached = target.is_some_and(|target| {
        let is_open = plant.zones.get(&target.zone).is_some_and(|zone| !zone.never);
        is_open && rule.reach.contains(&statement.target, &target.zone)
    });
    if is_reached && rule.vendors.contains(&statement.vendor) && rule.roles.contains(&statement.role) {
        return Ok(());
    }
    Err(Refusal::GuestOutsideRule {
        rule: rule.id.clone(),
        vendor: statement.vendor.clone(),
        target: statement.target.clone(),
    })
}

//! Guests: technicians whom an operator on duty invited for a night, for one target and under one rule. What stands of
//! their visits, from the invitation to the look back; who may invite one is decided in `decide`.

use std::sync::Arc;

use jiff::Timestamp;

use crate::events::Event;
use crate::ids::{GuestId, PersonId, RuleId, TargetName, VendorId};
use crate::people::{Kind, Person, Standing};
use crate::plant::Rule;
use crate::refusals::Refusal;
use crate::requests::GuestStatement;
use crate::state::{Case, Link, LookBack, RequestStanding, State};
use crate::time::Seconds;

/// A guest's visit.
#[derive(Debug, Clone)]
pub struct Guest {
    /// What the operator signed.
    pub statement: GuestStatement,
    /// The rule they may ask under, as it stood then.
    pub rule: Arc<Rule>,
    /// When they were invited.
    pub at: Timestamp,
    /// When it ended, and on whose word where not by itself.
    pub ended: Option<(Timestamp, Option<PersonId>)>,
    /// Who looked back at it.
    pub reviewed: Option<LookBack>,
}

impl Guest {
    /// Whether nothing of it counts any longer.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.ended.is_some() || self.statement.until <= now
    }

    /// Whether it is over, and nobody looked back at it.
    pub fn wants_review(&self, now: Timestamp) -> bool {
        self.reviewed.is_none() && self.is_over(now)
    }
}

/// Under which rule operators on duty may invite guests, and whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitable {
    /// Which.
    pub rule: RuleId,
    /// Of these vendors, whose contracts run.
    pub vendors: Vec<VendorId>,
    /// To one of these targets.
    pub targets: Vec<TargetName>,
    /// For so long at most.
    pub most: Seconds,
    /// Until when somebody is a guest under it already: then nobody else can be.
    pub taken_until: Option<Timestamp>,
}

impl State {
    /// The visit somebody is, or last was, a guest for.
    pub fn guest(&self, person: PersonId) -> Option<&Guest> {
        self.guests.get(&self.people.get(&person)?.guest?)
    }

    /// The visit that goes on under a rule of this name, if one does.
    pub fn guest_under(&self, rule: &RuleId, now: Timestamp) -> Option<(GuestId, &Guest)> {
        let goes_on = |guest: &&Guest| guest.rule.id == *rule && !guest.is_over(now);
        self.guests.iter().map(|(id, guest)| (*id, guest)).find(|(_, guest)| goes_on(guest))
    }

    /// The visit of a guest that a request was made on; everybody else's was made on none.
    pub fn visit_of(&self, case: &Case) -> Option<(GuestId, &Guest)> {
        let id = case.guest?;
        self.guests.get(&id).map(|guest| (id, guest))
    }

    /// For whom, where and under which rule a guest could be invited at `now`.
    pub fn invitable(&self, now: Timestamp) -> Vec<Invitable> {
        let Some(plant) = &self.plant else { return Vec::new() };
        let of_rule = |rule: &Rule| {
            let most = rule.guest_limit()?;
            let runs = |vendor: &&VendorId| {
                self.contracts.get(*vendor).is_some_and(|contract| !contract.disabled && now < contract.end)
            };
            let is_open = |zone| plant.zones.get(zone).is_some_and(|zone| !zone.never);
            let targets = plant
                .targets
                .iter()
                .filter(|(name, target)| rule.reach.contains(name, &target.zone) && is_open(&target.zone));
            Some(Invitable {
                rule: rule.id.clone(),
                vendors: rule.vendors.iter().filter(runs).cloned().collect(),
                targets: targets.map(|(name, _)| name.clone()).collect(),
                most,
                taken_until: self.guest_under(&rule.id, now).map(|(_, guest)| guest.statement.until),
            })
        };
        plant.rules.iter().filter_map(of_rule).collect()
    }

    /// The rule under which a guest of this vendor may be invited to this target: the first, where none is named.
    ///
    /// # Errors
    /// There is none.
    pub fn guest_rule(&self, vendor: &VendorId, target: &TargetName, named: Option<&RuleId>) -> Result<&Rule, Refusal> {
        let plant = self.plant.as_ref().ok_or(Refusal::NoPlant)?;
        if let Some(id) = named {
            let rule = plant.rules.iter().find(|rule| rule.id == *id && rule.guest_limit().is_some());
            return rule.ok_or_else(|| Refusal::NoGuests(id.clone()));
        }
        let reaches = |rule: &&Rule| {
            let zone = plant.targets.get(target).map(|known| &known.zone);
            let is_reached = zone.is_some_and(|zone| rule.reach.contains(target, zone));
            rule.guest_limit().is_some() && rule.vendors.contains(vendor) && is_reached
        };
        let none = || Refusal::NoGuestRule { vendor: vendor.clone(), target: target.clone() };
        plant.rules.iter().find(reaches).ok_or_else(none)
    }

    /// Visits that are over by the clock and not yet in the journal: once nothing of the guest runs any more, so that what
    /// the rule lets finish is let finish.
    pub fn guests_gone(&self, now: Timestamp) -> impl Iterator<Item = Event> + '_ {
        let is_at_work = |person| self.live_sessions().any(|(_, facts)| facts.technician == person);
        let gone = self.guests.iter().filter(move |(_, guest)| {
            guest.ended.is_none() && guest.statement.until <= now && !is_at_work(guest.statement.person)
        });
        gone.map(|(id, guest)| Event::GuestEnded { guest: *id, person: guest.statement.person, by: None })
    }

    pub(crate) fn apply_guest(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::GuestInvited { invitation, rule, link } => {
                let statement = invitation.statement.clone();
                let (person, id) = (statement.person, statement.guest);
                let kind = Kind::Technician { vendor: statement.vendor.clone(), role: statement.role.clone() };
                let invited = Person::invited(person, kind, [].into(), at).again(self.people.get(&person));
                let by = Some(statement.operator);
                self.people.insert(person, Person { guest: Some(id), invited_by: by, ..invited });
                self.links.insert(*link, Link { person, expires: statement.until, by });
                let rule = Arc::new((**rule).clone());
                self.guests.insert(id, Guest { statement, rule, at, ended: None, reviewed: None });
            }
            Event::GuestEnded { guest, person, by } => self.send_away(*guest, *person, at, *by),
            Event::GuestReviewed { guest, by, objection } => {
                if let Some(guest) = self.guests.get_mut(guest) {
                    guest.reviewed = Some(LookBack { by: *by, at, objection: *objection });
                }
            }
            _ => {}
        }
    }

    /// The visit is over, and nothing of the guest counts any longer.
    pub(crate) fn send_away(&mut self, guest: GuestId, person: PersonId, at: Timestamp, by: Option<PersonId>) {
        self.end_visit(guest, at, by);
        self.links.retain(|_, link| link.person != person);
        // What was given on one visit serves no other.
        let is_theirs = |case: &Case| case.asked.technician == person && case.is_current(at);
        let theirs: Vec<_> = self.open_cases().filter(|(_, case)| is_theirs(case)).map(|(id, _)| id).collect();
        theirs.into_iter().for_each(|case| self.stop(case, RequestStanding::Lapsed, at));
        if let Some(person) = self.people.get_mut(&person).filter(|one| one.standing != Standing::Disabled) {
            person.standing = Standing::Over;
        }
    }

    /// Whoever is put out is no guest any longer.
    pub(crate) fn end_visit(&mut self, guest: GuestId, at: Timestamp, by: Option<PersonId>) {
        if let Some(guest) = self.guests.get_mut(&guest) {
            guest.ended.get_or_insert((at, by));
        }
    }
}

//! Vendors' own people: their managers, whom the plant lets those invite, and what they attest. What stands of it; who may say
//! so is decided in `decide`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::events::Event;
use crate::ids::{PersonId, VendorId};
use crate::people::{Allowance, Attestation, Kind, Person, Standing};
use crate::plant::{Plant, Rule};
use crate::refusals::Refusal;
use crate::state::{Case, State};
use crate::time::Seconds;

/// Something of a vendor's that whoever answers for it at the plant should see to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// Its contract ends within so many days.
    ContractEnds {
        /// The first moment after it.
        end: Timestamp,
        /// 30, 7 or 1.
        days: u8,
    },
    /// It ended.
    ContractOver {
        /// The first moment after it.
        end: Timestamp,
    },
    /// Nothing was heard of a technician for as long as the plant file says, or ever since they enrolled.
    Dormant {
        /// Who.
        person: PersonId,
        /// Since when.
        since: Timestamp,
    },
    /// Somebody was invited, and the code is void without having been used.
    Unused {
        /// Who.
        person: PersonId,
        /// When they were invited.
        since: Timestamp,
    },
}

/// So many days before a contract ends its sponsor hears of it: to make another, to ask where it is, and to let people go.
const ENDS_IN_DAYS: [u8; 3] = [1, 7, 30];

/// So long the place of somebody whom a manager invited and who was put out before they enrolled is not free: or managers
/// could invite one after the other without end.
const PLACE_TAKEN: Seconds = Seconds(30 * 86_400);

impl Person {
    /// Whether this is a technician of that vendor.
    pub fn is_technician_of(&self, vendor: &VendorId) -> bool {
        matches!(&self.kind, Kind::Technician { vendor: theirs, .. } if theirs == vendor)
    }
}

impl State {
    /// Whether nothing was heard of somebody who counts for so long that one should ask whether they still need to.
    pub fn is_dormant(&self, person: &Person, now: Timestamp) -> bool {
        let after = self.plant.as_ref().map_or(Plant::DORMANT_AFTER, |plant| plant.dormant_after);
        person.standing == Standing::Active && after.after(person.last_seen) <= now
    }

    /// What whoever answers for a vendor should see to at `now`, by vendor; of one that is out, nothing.
    pub fn concerns(&self, now: Timestamp) -> BTreeMap<VendorId, Vec<Concern>> {
        let contracts = self.contracts.iter().filter(|(_, contract)| !contract.disabled);
        let mut found: BTreeMap<VendorId, Vec<Concern>> = contracts
            .map(|(vendor, contract)| (vendor.clone(), of_contract(contract.end, now).into_iter().collect()))
            .collect();
        let links = self.links.values().filter(|link| now < link.expires);
        let with_code: BTreeSet<PersonId> = links.map(|link| link.person).collect();
        for person in self.people.values().filter(|person| person.guest.is_none()) {
            let Kind::Technician { vendor, .. } = &person.kind else { continue };
            let Some(concerns) = found.get_mut(vendor) else { continue };
            if !matches!(concerns.first(), Some(Concern::ContractOver { .. })) {
                concerns.extend(self.concern_about(person, with_code.contains(&person.id), now));
            }
        }
        found
    }

    fn concern_about(&self, person: &Person, has_code: bool, now: Timestamp) -> Option<Concern> {
        let (id, since) = (person.id, person.last_seen);
        match person.standing {
            Standing::Active => self.is_dormant(person, now).then_some(Concern::Dormant { person: id, since }),
            Standing::Invited if !has_code => Some(Concern::Unused { person: id, since }),
            _ => None,
        }
    }

    /// The technicians of a vendor, whoever is out, too.
    pub fn technicians_of<'a>(&'a self, vendor: &'a VendorId) -> impl Iterator<Item = &'a Person> {
        self.people.values().filter(move |person| person.is_technician_of(vendor))
    }

    /// A vendor's managers who count.
    pub fn managers_of<'a>(&'a self, vendor: &'a VendorId) -> impl Iterator<Item = &'a Person> {
        self.technicians_of(vendor).filter(|person| person.is_manager && person.standing == Standing::Active)
    }

    /// Whether somebody came by an invitation of a manager of their company, who may be one no longer.
    pub fn is_invited_by_company(&self, person: &Person) -> bool {
        let inviter = person.invited_by.and_then(|by| self.people.get(&by));
        inviter.is_some_and(|inviter| matches!(inviter.kind, Kind::Technician { .. }))
    }

    /// How many technicians of a vendor came by invitations of its managers and are not out, or were put out without ever
    /// having enrolled and invited no longer than 30 days ago.
    pub fn invited_by_managers(&self, vendor: &VendorId, now: Timestamp) -> usize {
        // Nothing but the invitation was seen of whoever never enrolled.
        let takes_a_place = |person: &&Person| match person.standing {
            Standing::Disabled | Standing::Over => {
                person.enrolled_at.is_none() && now < PLACE_TAKEN.after(person.last_seen)
            }
            _ => true,
        };
        self.technicians_of(vendor).filter(takes_a_place).filter(|person| self.is_invited_by_company(person)).count()
    }

    /// What a manager attested of a technician, if it says something under this rule at `now`, and until when it does: no
    /// longer than the rule gives, and no longer than whoever said it is a manager.
    pub fn attestation(&self, technician: PersonId, rule: &Rule, now: Timestamp) -> Option<(Attestation, Timestamp)> {
        let attested = self.people.get(&technician)?.attested?;
        let until = rule.attested.map_or(attested.until, |within| attested.until.min(within.after(attested.at)));
        (now < until).then_some((attested, until))
    }

    /// Whether a technician is attested as a rule demands.
    ///
    /// # Errors
    /// They are not.
    pub fn check_attested(&self, technician: PersonId, rule: &Rule, now: Timestamp) -> Result<(), Refusal> {
        let Some(within) = rule.attested else { return Ok(()) };
        if self.attestation(technician, rule, now).is_some() {
            return Ok(());
        }
        let has_manager = self.vendor_of(technician).is_some_and(|vendor| self.managers_of(vendor).next().is_some());
        Err(Refusal::NotAttested { rule: rule.id.clone(), within, has_manager })
    }

    /// The same of whoever asked, for whoever answers.
    pub(crate) fn check_still_attested(&self, case: &Case, now: Timestamp) -> Result<(), Refusal> {
        let refused = |_| Refusal::TechnicianNotAttested(case.rule.id.clone());
        self.check_attested(case.asked.technician, &case.rule, now).map_err(refused)
    }

    pub(crate) fn apply_company(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::InvitationsAllowed { vendor, most, roles, .. } => {
                if let Some(contract) = self.contracts.get_mut(vendor) {
                    contract.allowance = Allowance { most: *most, roles: roles.clone() };
                }
            }
            Event::ManagerNamed { person, .. } => self.with_person(*person, |person| person.is_manager = true),
            Event::ManagerDismissed { person, .. } => self.dismiss(*person),
            Event::Attested { person, until, note, by } => {
                let attested = Attestation { by: *by, at, until: *until, note: *note };
                self.with_person(*person, |person| person.attested = Some(attested));
            }
            Event::AttestationWithdrawn { person, .. } => self.with_person(*person, |person| person.attested = None),
            _ => {}
        }
    }

    pub(crate) fn dismiss(&mut self, person: PersonId) {
        self.disown(person);
        self.with_person(person, |person| person.is_manager = false);
    }

    /// What a manager gave out and nobody used is void, and what they attested counts no longer.
    pub(crate) fn disown(&mut self, person: PersonId) {
        if !self.people.get(&person).is_some_and(|person| person.is_manager) {
            return;
        }
        self.links.retain(|_, link| link.by != Some(person));
        for technician in self.people.values_mut() {
            if technician.attested.is_some_and(|attested| attested.by == person) {
                technician.attested = None;
            }
        }
    }
}

fn of_contract(end: Timestamp, now: Timestamp) -> Option<Concern> {
    if end <= now {
        return Some(Concern::ContractOver { end });
    }
    let left = end.duration_since(now);
    let days = ENDS_IN_DAYS.into_iter().find(|days| left <= SignedDuration::from_hours(24 * i64::from(*days)));
    days.map(|days| Concern::ContractEnds { end, days })
}

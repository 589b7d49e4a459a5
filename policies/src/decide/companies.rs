//! Decisions about vendors' own people: who is a manager, and what a manager may do: invite within what the plant allowed, put
//! out, and attest, in their own company alone. Nobody learns here that anybody of another company exists.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::digest::Salted;
use crate::events::{Event, Scope};
use crate::ids::{PersonId, RoleName, VendorId};
use crate::people::{Contract, Kind, Person, Standing};
use crate::refusals::Refusal;
use crate::state::State;

impl State {
    pub(super) fn decide_allow_invitations(
        &self,
        vendor: &VendorId,
        most: u16,
        roles: &BTreeSet<RoleName>,
        by: PersonId,
    ) -> Result<Vec<Event>, Refusal> {
        self.administrator(by)?;
        let contract = self.contracts.get(vendor).ok_or_else(|| Refusal::NoContract(vendor.clone()))?;
        if most > 0 && roles.is_empty() {
            return Err(Refusal::RolesWanted);
        }
        if (contract.allowance.most, &contract.allowance.roles) == (most, roles) {
            return Ok(Vec::new());
        }
        Ok(vec![Event::InvitationsAllowed { vendor: vendor.clone(), most, roles: roles.clone(), by }])
    }

    /// Somebody who enrolled and stays: a guest comes for a night, and whoever is out manages nobody.
    pub(super) fn decide_name_manager(&self, person: PersonId, by: PersonId) -> Result<Vec<Event>, Refusal> {
        self.administrator(by)?;
        let known = self.person(person)?;
        if !matches!(known.kind, Kind::Technician { .. }) {
            return Err(Refusal::WrongKind("technicians"));
        }
        if known.guest.is_some() {
            return Err(Refusal::GuestManages);
        }
        match known.standing {
            Standing::Disabled | Standing::Over => Err(Refusal::PutOut),
            Standing::Invited | Standing::Enrolled => Err(Refusal::NotEnrolled),
            Standing::Active if known.is_manager => Ok(Vec::new()),
            Standing::Active => Ok(vec![Event::ManagerNamed { person, by }]),
        }
    }

    pub(super) fn decide_dismiss_manager(&self, person: PersonId, by: PersonId) -> Result<Vec<Event>, Refusal> {
        self.administrator(by)?;
        let is_manager = self.person(person)?.is_manager;
        Ok(is_manager.then_some(Event::ManagerDismissed { person, by }).into_iter().collect())
    }

    pub(super) fn decide_attest(
        &self,
        person: PersonId,
        until: Timestamp,
        note: Option<Salted>,
        by: PersonId,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let (vendor, contract) = self.acting_manager(by, now)?;
        match self.colleague(person, vendor)?.standing {
            Standing::Active => {}
            Standing::Invited | Standing::Enrolled => return Err(Refusal::NotEnrolled),
            Standing::Disabled | Standing::Over => return Err(Refusal::PutOut),
        }
        if until <= now {
            return Err(Refusal::WindowOver);
        }
        self.check_within_contract(contract, until)?;
        Ok(vec![Event::Attested { person, until, note, by }])
    }

    /// Any manager of the company takes back what one of them said.
    pub(super) fn decide_withdraw_attestation(
        &self,
        person: PersonId,
        by: PersonId,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let (vendor, _) = self.acting_manager(by, now)?;
        let is_attested = self.colleague(person, vendor)?.attested.is_some();
        Ok(is_attested.then_some(Event::AttestationWithdrawn { person, by }).into_iter().collect())
    }

    /// Whether somebody may invite a person of this kind by a code that lasts until then: an administrator whomever they
    /// will, and a manager technicians of their own company, within what the plant allowed.
    ///
    /// # Errors
    /// They may not.
    pub fn may_invite(&self, kind: &Kind, expires: Timestamp, by: PersonId, now: Timestamp) -> Result<(), Refusal> {
        if !self.is_technician(by) {
            return self.administrator(by).map(drop);
        }
        let (vendor, contract) = self.acting_manager(by, now)?;
        match kind {
            Kind::Technician { vendor: theirs, role } if theirs == vendor => {
                check_allowance(contract, role, self.invited_by_managers(vendor, now))?;
                self.check_within_contract(contract, expires)
            }
            _ => Err(Refusal::OtherCompany),
        }
    }

    /// Another code of a manager's is for whoever they or another of them invited and who never used one: from whoever
    /// counts already, nobody but the plant gives another person the place.
    pub(super) fn may_reinvite_colleague(
        &self,
        person: PersonId,
        expires: Timestamp,
        by: PersonId,
        now: Timestamp,
    ) -> Result<&Person, Refusal> {
        let (vendor, contract) = self.acting_manager(by, now)?;
        let known = self.colleague(person, vendor)?;
        match (&known.kind, known.standing) {
            (_, Standing::Disabled | Standing::Over) => Err(Refusal::PutOut),
            (Kind::Technician { role, .. }, Standing::Invited) if self.is_invited_by_company(known) => {
                check_allowance(contract, role, self.invited_by_managers(vendor, now).saturating_sub(1))?;
                self.check_within_contract(contract, expires)?;
                Ok(known)
            }
            _ => Err(Refusal::NotYourInvitation),
        }
    }

    /// Another manager, and themself, the plant alone puts out: so none of them is left alone by another.
    pub(super) fn may_disable_colleague(
        &self,
        person: PersonId,
        by: PersonId,
        now: Timestamp,
    ) -> Result<&Person, Refusal> {
        let (vendor, _) = self.acting_manager(by, now)?;
        let known = self.colleague(person, vendor)?;
        if known.is_manager { Err(Refusal::ManagerStays) } else { Ok(known) }
    }

    /// The company and contract of a manager who counts.
    ///
    /// # Errors
    /// They are none, or their company's contract is over.
    pub fn manager(&self, id: PersonId, now: Timestamp) -> Result<(&VendorId, &Contract), Refusal> {
        let (vendor, _) = self.technician(id, now)?;
        if !self.person(id)?.is_manager {
            return Err(Refusal::NotManager);
        }
        Ok((vendor, self.running_contract(vendor, now)?))
    }

    /// The same of a manager who does something to others, whom no cut may keep out: to see is left to them.
    fn acting_manager(&self, id: PersonId, now: Timestamp) -> Result<(&VendorId, &Contract), Refusal> {
        let (vendor, contract) = self.manager(id, now)?;
        let is_cut = self.cuts.values().any(|cut| match &cut.scope {
            Scope::Technician(person) => *person == id,
            Scope::Vendor(cut) => cut == vendor,
            Scope::Plant => true,
            Scope::Session(_) | Scope::Zone(_) => false,
        });
        if is_cut { Err(Refusal::CutOff) } else { Ok((vendor, contract)) }
    }

    /// Whether this is a technician, whoever else they may be.
    pub(super) fn is_technician(&self, id: PersonId) -> bool {
        self.people.get(&id).is_some_and(|person| matches!(person.kind, Kind::Technician { .. }))
    }

    /// Of another company nobody is anybody.
    fn colleague(&self, id: PersonId, vendor: &VendorId) -> Result<&Person, Refusal> {
        self.people.get(&id).filter(|person| person.is_technician_of(vendor)).ok_or(Refusal::UnknownPerson)
    }

    fn check_within_contract(&self, contract: &Contract, until: Timestamp) -> Result<(), Refusal> {
        match contract.end < until {
            true => Err(Refusal::ExtensionTooFar(self.clock(contract.end), "the vendor's contract ends")),
            false => Ok(()),
        }
    }
}

/// One more beside those who are there.
fn check_allowance(contract: &Contract, role: &RoleName, there: usize) -> Result<(), Refusal> {
    let allowance = &contract.allowance;
    if allowance.most == 0 {
        return Err(Refusal::NoInvitations);
    }
    if !allowance.roles.contains(role) {
        return Err(Refusal::RoleNotAllowed { role: role.clone(), roles: allowance.roles.clone() });
    }
    if there >= usize::from(allowance.most) {
        return Err(Refusal::InvitationsFull(allowance.most));
    }
    Ok(())
}

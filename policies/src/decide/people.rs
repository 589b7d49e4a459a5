//! Decisions about people: who founds, invites, enrols, vouches, and who is out.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::digest::{Digest, Salted};
use crate::events::{CutBy, Event, Founder, PackOf};
use crate::ids::{DeploymentId, GroupName, LinkId, PersonId, ProviderName, SessionId, TargetName, VendorId, ZoneName};
use crate::people::{KEYS_MAX, Kind, Person, SshKey, Standing};
use crate::refusals::Refusal;
use crate::requests::{CertifyStatement, Signed};
use crate::state::State;
use crate::time::{Seconds, Shifts};

impl State {
    pub(super) fn decide_found(
        &self,
        deployment: &DeploymentId,
        log_key: &str,
        founders: &[Founder],
        plant: &str,
    ) -> Result<Vec<Event>, Refusal> {
        if self.deployment.is_some() {
            return Err(Refusal::Exists);
        }
        let is_administrator = |founder: &&Founder| founder.kind == Kind::Administrator;
        let first = founders.iter().find(is_administrator).ok_or(Refusal::WrongKind("administrators"))?;
        let digest = Digest::of_bytes(plant.as_bytes());
        let mut events = vec![Event::Founded {
            deployment: deployment.clone(),
            log_key: log_key.to_owned(),
            founders: founders.to_vec(),
        }];
        events.extend(super::plant::proposal(plant, first.person)?);
        events.push(Event::PlantAdopted { plant: digest });
        Ok(events)
    }

    pub(super) fn decide_contract(
        &self,
        vendor: &VendorId,
        end: Timestamp,
        sponsor: PersonId,
        telephone: Option<Salted>,
        by: PersonId,
    ) -> Result<Vec<Event>, Refusal> {
        self.administrator(by)?;
        self.person(sponsor)?;
        let telephone = telephone.or_else(|| self.contracts.get(vendor)?.telephone);
        Ok(vec![Event::Contracted { vendor: vendor.clone(), end, sponsor, telephone, by }])
    }

    /// By somebody who may.
    pub(super) fn decide_invite(
        &self,
        person: PersonId,
        kind: &Kind,
        groups: &[GroupName],
        link: LinkId,
        expires: Timestamp,
        by: PersonId,
    ) -> Result<Vec<Event>, Refusal> {
        if let Some(vendor) = kind.vendor()
            && !self.contracts.contains_key(vendor)
        {
            return Err(Refusal::NoContract(vendor.clone()));
        }
        // Groups are the plant's to give.
        if self.is_technician(by) && !groups.is_empty() {
            return Err(Refusal::WrongKind("administrators"));
        }
        // A guest who is gone may become a technician of the same vendor: the same person, with their history. That is the
        // plant's to say, which knew the guest.
        let comes_again = |known: &Person| match kind {
            Kind::Technician { vendor, .. } => known.may_come_again(vendor) && !self.is_technician(by),
            _ => false,
        };
        let is_taken = self.people.get(&person).is_some_and(|known| !comes_again(known));
        if is_taken || self.links.contains_key(&link) {
            return Err(Refusal::Exists);
        }
        Ok(vec![Event::Invited {
            person,
            kind: kind.clone(),
            groups: groups.iter().cloned().collect(),
            link,
            expires,
            by,
        }])
    }

    /// Another code for somebody who lost the first, their phone or their key.
    pub(super) fn decide_reinvite(
        &self,
        person: PersonId,
        link: LinkId,
        expires: Timestamp,
        by: PersonId,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let known = if self.is_technician(by) {
            self.may_reinvite_colleague(person, expires, by, now)?
        } else {
            self.administrator(by)?;
            self.person(person)?
        };
        if known.standing == Standing::Disabled {
            return Err(Refusal::NotActive(known.standing));
        }
        if known.guest.is_some() {
            return Err(Refusal::GuestHasOneCode);
        }
        // Whoever enrols by that code counts at once; nobody gets it from somebody who is here already.
        if known.founder && known.founding_keys.is_empty() {
            return Err(Refusal::FirstCodeStands);
        }
        if self.links.contains_key(&link) {
            return Err(Refusal::Exists);
        }
        Ok(vec![Event::Reinvited { person, link, expires, by }])
    }

    /// One's own key may stay: perhaps only the phone was lost.
    pub(super) fn decide_enrol(&self, link: LinkId, key: &SshKey, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        let invited = self.links.get(&link).filter(|link| now < link.expires).ok_or(Refusal::LinkSpent)?;
        if self.is_anothers(key, invited.person) {
            return Err(Refusal::KeyTaken);
        }
        Ok(vec![Event::Enrolled { person: invited.person, link, keys: vec![key.clone()] }])
    }

    /// Beside those they have: what a technician works with in a browser is another key than that of their other tools. Whoever
    /// must be vouched for has one key, which is vouched for.
    pub(super) fn decide_add_key(&self, person: PersonId, key: &SshKey) -> Result<Vec<Event>, Refusal> {
        let known = self.active(person)?;
        if !matches!(known.kind, Kind::Technician { .. }) {
            return Err(Refusal::WrongKind("technicians"));
        }
        if known.keys.contains(key) || self.is_anothers(key, person) {
            return Err(Refusal::KeyTaken);
        }
        match known.keys.len() < KEYS_MAX {
            true => Ok(vec![Event::KeyAdded { person, key: key.clone() }]),
            false => Err(Refusal::KeysFull(KEYS_MAX)),
        }
    }

    /// Whether somebody beside this person has the key, or may still come back with it.
    fn is_anothers(&self, key: &SshKey, person: PersonId) -> bool {
        self.people.values().any(|other| other.id != person && other.claims(key))
    }

    /// A provider may call a person otherwise, or know them as another subject from now on; both are theirs to say, who has
    /// proved who they are here, and have not enrolled anew since. A subject is one person's: where the provider gives it to a
    /// second one, somebody is wrong, and nothing changes but that the journal knows.
    pub(super) fn decide_link_subject(
        &self,
        person: PersonId,
        provider: &ProviderName,
        subject: Digest,
        called: Option<Salted>,
        proved: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let known = self.active(person)?;
        if known.kind.is_unattended() {
            return Err(Refusal::WrongKind("people"));
        }
        if known.enrolled_at.is_some_and(|enrolled| proved < enrolled) {
            return Err(Refusal::EarlierKey);
        }
        let provider = provider.clone();
        if let Some(holder) = self.person_known_as(&provider, &subject).filter(|holder| holder.id != person) {
            return Ok(vec![Event::SubjectContested { person, provider, subject, holder: holder.id }]);
        }
        Ok(match (known.is_subject(&provider, &subject), called) {
            (true, None) => Vec::new(),
            (true, Some(called)) => vec![Event::SubjectRenamed { person, provider, subject, called }],
            (false, called) => vec![Event::SubjectLinked { person, provider, subject, called }],
        })
    }

    /// Of whoever is linked still: what was let go meanwhile is not linked again by a sign-in that had begun.
    pub(super) fn decide_rename_subject(
        &self,
        person: PersonId,
        provider: &ProviderName,
        subject: Digest,
        called: Salted,
    ) -> Result<Vec<Event>, Refusal> {
        match self.active(person)?.is_subject(provider, &subject) {
            true => Ok(vec![Event::SubjectRenamed { person, provider: provider.clone(), subject, called }]),
            false => Err(Refusal::SubjectGone),
        }
    }

    /// One's own, or an administrator somebody else's: of whoever is out, too, so that a provider may give the subject to another.
    pub(super) fn decide_unlink_subject(
        &self,
        person: PersonId,
        provider: &ProviderName,
        by: PersonId,
    ) -> Result<Vec<Event>, Refusal> {
        if person == by {
            self.active(by)?;
        } else {
            self.administrator(by)?;
        }
        let is_linked = self.person(person)?.subjects.contains_key(provider);
        let unlinked = Event::SubjectUnlinked { person, provider: provider.clone(), by };
        Ok(is_linked.then_some(unlinked).into_iter().collect())
    }

    /// A voucher counts when its signer counts; the person counts once an administrator and, for each group, a member
    /// of it has vouched. For an administrator, an operator stands in for the group.
    pub(super) fn decide_certify(
        &self,
        certificate: &Signed<CertifyStatement>,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let statement = &certificate.statement;
        self.check_statement(&statement.deployment, statement.expires, statement.journal.size, now)?;
        let signer = self.active(statement.signer)?;
        self.check_key(signer, &certificate.key)?;
        let person = self.person(statement.person)?;
        if person.standing != Standing::Enrolled || person.id == signer.id {
            return Err(Refusal::MayNotVouch("this person"));
        }
        if statement.keys != person.keys || statement.groups != person.groups || statement.kind != person.kind {
            return Err(Refusal::OtherDigest);
        }
        let may_vouch = match person.kind {
            Kind::Administrator => signer.is_active_administrator() || signer.is_active_operator(),
            _ => signer.is_active_administrator() || person.groups.iter().any(|group| signer.is_member(group)),
        };
        if !may_vouch {
            return Err(Refusal::MayNotVouch(signer.kind.as_str()));
        }
        let mut events = vec![Event::Certified { certificate: certificate.clone() }];
        let mut vouchers = self.vouchers.get(&person.id).cloned().unwrap_or_default();
        vouchers.insert(signer.id);
        if self.is_vouched_for(person, &vouchers) {
            events.push(Event::Activated { person: person.id });
        }
        Ok(events)
    }

    fn is_vouched_for(&self, person: &Person, vouchers: &BTreeSet<PersonId>) -> bool {
        let any = |test: &dyn Fn(&Person) -> bool| vouchers.iter().filter_map(|id| self.people.get(id)).any(test);
        let by_plant = match person.kind {
            Kind::Administrator => any(&Person::is_active_operator),
            _ => person.groups.iter().all(|group| any(&|voucher| voucher.is_member(group))),
        };
        by_plant && any(&Person::is_active_administrator)
    }

    pub(super) fn decide_disable(&self, person: PersonId, by: PersonId, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        let known = if self.is_technician(by) {
            self.may_disable_colleague(person, by, now)?
        } else {
            self.administrator(by)?;
            self.person(person)?
        };
        match known.standing {
            Standing::Disabled => Ok(Vec::new()),
            _ => Ok(vec![Event::Disabled { person, by }]),
        }
    }

    pub(super) fn decide_disable_vendor(&self, vendor: &VendorId, by: PersonId) -> Result<Vec<Event>, Refusal> {
        self.administrator(by)?;
        match self.contracts.get(vendor) {
            None => Err(Refusal::NoContract(vendor.clone())),
            Some(contract) if contract.disabled => Ok(Vec::new()),
            Some(_) => Ok(vec![Event::VendorDisabled { vendor: vendor.clone(), by }]),
        }
    }

    /// Nothing is written while the shift already runs for at least half of its length.
    pub(super) fn decide_on_duty(
        &self,
        person: PersonId,
        provider: Option<&ProviderName>,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let operator = self.operator(person)?;
        let plant = self.plant.as_ref().ok_or(Refusal::NoPlant)?;
        let (held, until) = (operator.on_duty_until, plant.shifts.duty(now, operator.on_duty_until, &plant.timezone));
        // Who signs in again and again is on duty for longer, and the journal need not know each time.
        let is_news = match &plant.shifts {
            Shifts::Each(length) => held.is_none_or(|held| held <= Seconds(length.0 / 2).after(now)),
            Shifts::At(_) => held.is_none_or(|held| held < until),
        };
        Ok(is_news.then(|| Event::OnDuty { person, until, provider: provider.cloned() }).into_iter().collect())
    }

    /// Operators and auditors may read what was recorded: it is ciphertext to the gate and an event for everybody.
    pub(super) fn decide_fetch(&self, session: SessionId, by: PersonId) -> Result<Vec<Event>, Refusal> {
        self.reader(by)?;
        if let Some((at, _)) = self.recorded(session)?.erased() {
            return Err(Refusal::Erased(self.clock(*at)));
        }
        Ok(vec![Event::Fetched { session, by }])
    }

    /// Whoever may read recordings reads along what is going into them, and so does a sensor, which may do nothing else.
    pub(super) fn decide_capture(
        &self,
        target: Option<&TargetName>,
        zone: Option<&ZoneName>,
        by: PersonId,
    ) -> Result<Vec<Event>, Refusal> {
        if self.active(by)?.kind != Kind::Sensor {
            self.reader(by)?;
        }
        Ok(vec![Event::CaptureBegun { target: target.cloned(), zone: zone.cloned(), by }])
    }

    /// Whoever may read makes packs. An empty span is refused, so that nobody takes a slip for a year without sessions.
    pub(super) fn decide_pack(&self, of: &PackOf, by: PersonId) -> Result<Vec<Event>, Refusal> {
        self.reader(by)?;
        if let PackOf::Session { session } = of {
            self.recorded(*session)?;
        }
        match of {
            PackOf::Vendor { vendor, .. } if !self.contracts.contains_key(vendor) => {
                Err(Refusal::NoContract(vendor.clone()))
            }
            PackOf::Vendor { from, until, .. } if until <= from => Err(Refusal::EmptySpan),
            _ => Ok(vec![Event::Packed { of: of.clone(), by }]),
        }
    }

    pub(crate) fn reader(&self, by: PersonId) -> Result<(), Refusal> {
        match self.active(by)?.kind {
            Kind::Auditor | Kind::Operator { .. } => Ok(()),
            _ => Err(Refusal::WrongKind("auditors and operators")),
        }
    }

    pub(super) fn person(&self, id: PersonId) -> Result<&Person, Refusal> {
        self.people.get(&id).ok_or(Refusal::UnknownPerson)
    }

    pub(super) fn active(&self, id: PersonId) -> Result<&Person, Refusal> {
        let person = self.person(id)?;
        match person.standing {
            Standing::Active => Ok(person),
            other => Err(Refusal::NotActive(other)),
        }
    }

    pub(super) fn administrator(&self, id: PersonId) -> Result<&Person, Refusal> {
        Some(self.active(id)?).filter(|p| p.is_active_administrator()).ok_or(Refusal::WrongKind("administrators"))
    }

    pub(super) fn operator(&self, id: PersonId) -> Result<&Person, Refusal> {
        Some(self.active(id)?).filter(|p| p.is_active_operator()).ok_or(Refusal::WrongKind("operators"))
    }

    /// Whether a cut counts on this word.
    ///
    /// # Errors
    /// No active operator or display.
    pub fn may_cut(&self, by: &CutBy) -> Result<(), Refusal> {
        match by {
            CutBy::Operator(person) => self.operator(*person).map(drop),
            CutBy::Display(display) if self.active(*display)?.kind == Kind::Display => Ok(()),
            CutBy::Display(_) => Err(Refusal::WrongKind("operators and displays")),
            CutBy::Local => Ok(()),
        }
    }

    pub(super) fn check_key(&self, signer: &Person, key: &SshKey) -> Result<(), Refusal> {
        if signer.keys.contains(key) { Ok(()) } else { Err(Refusal::NotYourKey) }
    }
}

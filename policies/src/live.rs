//! Which sessions go on, and what opens their targets: as little of the journal's fold as it takes to say so, for the process
//! that holds the secrets. It says no more than [`crate::state::State`] does, but that it knows of no contract's end and no `never`: whoever
//! runs into these ends the session, and else its deadline does. Of what is over it keeps plant files, which may be adopted once more, and
//! who is out.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::digest::Digest;
use crate::events::{Event, Scope};
use crate::ids::{CutId, PersonId, RequestId, ServiceName, SessionId, TargetName, VendorId, ZoneName};
use crate::people::Kind;
use crate::plant::{Plant, Then};
use crate::requests::Services;
use crate::state::{Injected, State};

/// What stands after a prefix of the journal.
#[derive(Debug, Default)]
pub struct Live {
    size: u64,
    /// Technicians, and for whom they work.
    vendors: BTreeMap<PersonId, VendorId>,
    out: BTreeSet<PersonId>,
    /// Guests whose visit is over.
    away: BTreeSet<PersonId>,
    vendors_out: BTreeSet<VendorId>,
    /// Requests that are not over. Nothing is granted to others.
    grants: BTreeMap<RequestId, Grant>,
    sessions: BTreeMap<SessionId, Session>,
    cuts: BTreeMap<CutId, Scope>,
    /// Of plant files that are being told.
    texts: BTreeMap<Digest, String>,
    /// Any of them may be adopted, and more than once.
    proposed: BTreeMap<Digest, String>,
    plant: Option<Plant>,
}

#[derive(Debug)]
struct Grant {
    technician: PersonId,
    target: TargetName,
    services: Services,
    granted: bool,
    /// Of its last session's beginning, or as it was extended since.
    deadline: Option<Timestamp>,
}

#[derive(Debug)]
struct Session {
    request: RequestId,
    /// By the plant file that was in force when it began.
    account: Option<Injected>,
    zone: Option<ZoneName>,
}

/// Why nothing opens for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotLive {
    /// It is over, or never began, or its grant is none or was taken back.
    #[error("the journal knows no such session that goes on")]
    Session,
    /// The time that was given is over.
    #[error("the session's time is over")]
    Time,
    /// Cut, or put out.
    #[error("the session, its technician, vendor, zone or the plant is cut or put out")]
    Cut,
}

impl State {
    /// The places in the journal of what somebody who begins to listen now has to hear to open for the same sessions as who heard
    /// all, from now on: of requests that are over, nothing.
    pub fn entries_that_open(&self) -> BTreeSet<u64> {
        let live = self.live_sessions().map(|(_, facts)| facts.request);
        let requests: BTreeSet<RequestId> = self.open_cases().map(|(id, _)| id).chain(live).collect();
        let sessions = requests.iter().filter_map(|id| self.cases.get(id)).flat_map(|case| &case.sessions);
        let of_sessions = sessions.flat_map(|session| self.entries_of_session(*session));
        let of_requests = requests.iter().flat_map(|request| self.entries_of_request(*request));
        self.lasting.iter().copied().chain(of_requests).chain(of_sessions).collect()
    }
}

/// Whether it says something of more than one request.
pub(crate) const fn lasts(event: &Event) -> bool {
    matches!(
        event,
        Event::Invited { .. }
            | Event::GuestInvited { .. }
            | Event::Enrolled { .. }
            | Event::Activated { .. }
            | Event::Disabled { .. }
            | Event::GuestEnded { .. }
            | Event::VendorDisabled { .. }
            | Event::Contracted { .. }
            | Event::PlantText { .. }
            | Event::PlantProposed { .. }
            | Event::PlantAdopted { .. }
            | Event::Cut { .. }
            | Event::Reopened { .. }
            | Event::Restored { .. }
    )
}

impl Live {
    /// How many entries were folded.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// What opens the target of a session that goes on at `now`; nothing where the plant file says no account.
    ///
    /// # Errors
    /// See [`NotLive`].
    pub fn opens(&self, session: SessionId, now: Timestamp) -> Result<Option<&Injected>, NotLive> {
        let live = self.sessions.get(&session).ok_or(NotLive::Session)?;
        let grant = self.grants.get(&live.request).filter(|grant| grant.granted).ok_or(NotLive::Session)?;
        if grant.deadline.is_none_or(|deadline| deadline <= now) {
            return Err(NotLive::Time);
        }
        let vendor = self.vendors.get(&grant.technician);
        let is_out = self.out.contains(&grant.technician)
            || self.away.contains(&grant.technician)
            || vendor.is_none_or(|vendor| self.vendors_out.contains(vendor))
            || self.cuts.values().any(|scope| self.is_within(scope, session, live, grant));
        if is_out { Err(NotLive::Cut) } else { Ok(live.account.as_ref()) }
    }

    fn is_within(&self, scope: &Scope, id: SessionId, session: &Session, grant: &Grant) -> bool {
        let zone = self.plant.as_ref().and_then(|plant| plant.targets.get(&grant.target)).map(|target| &target.zone);
        match scope {
            Scope::Session(cut) => *cut == id,
            Scope::Technician(person) => *person == grant.technician,
            Scope::Vendor(vendor) => self.vendors.get(&grant.technician) == Some(vendor),
            // A plant file of afterwards may have moved the target.
            Scope::Zone(cut) => zone == Some(cut) || session.zone.as_ref() == Some(cut),
            Scope::Plant => true,
        }
    }

    /// Up to there, entries say nothing to it: see [`State::entries_that_open`].
    pub fn pass(&mut self, until: u64) {
        self.size = self.size.max(until);
    }

    /// Takes in the next entry.
    pub fn apply(&mut self, event: &Event) {
        self.size += 1;
        match event {
            Event::Invited { person, kind: Kind::Technician { vendor, .. }, .. } => {
                // Who was a guest before comes back as who they were.
                if self.away.remove(person) || !self.vendors.contains_key(person) {
                    self.vendors.insert(*person, vendor.clone());
                }
            }
            Event::GuestInvited { invitation, .. } => {
                let guest = &invitation.statement;
                self.away.remove(&guest.person);
                self.vendors.insert(guest.person, guest.vendor.clone());
            }
            // Whether they may come at all is asked before a session begins.
            Event::Enrolled { person, .. } | Event::Activated { person } => drop(self.out.remove(person)),
            Event::Disabled { person, .. } => drop(self.out.insert(*person)),
            Event::GuestEnded { person, .. } => {
                self.away.insert(*person);
                self.over(|_, grant| grant.technician == *person);
            }
            Event::VendorDisabled { vendor, .. } => drop(self.vendors_out.insert(vendor.clone())),
            Event::Contracted { vendor, .. } => drop(self.vendors_out.remove(vendor)),
            Event::PlantText { plant, text, .. } => self.texts.entry(*plant).or_default().push_str(text),
            Event::PlantProposed { plant, .. } => {
                let text = self.texts.remove(plant).unwrap_or_default();
                self.proposed.insert(*plant, text);
            }
            Event::PlantAdopted { plant } => {
                self.plant = self.proposed.get(plant).and_then(|text| Plant::adopted(text).ok());
            }
            Event::Cut { cut, scope, .. } => drop(self.cuts.insert(*cut, scope.clone())),
            Event::Reopened { reopening, .. } => drop(self.cuts.remove(&reopening.cut)),
            Event::Restored { .. } => self.over(|_, _| true),
            _ => self.apply_grant(event),
        }
    }

    fn apply_grant(&mut self, event: &Event) {
        match event {
            Event::Submitted { request, .. } => {
                let (technician, target) = (request.technician, request.target.clone());
                let services = request.services.clone();
                let grant = Grant { technician, target, services, granted: false, deadline: None };
                self.grants.insert(request.id, grant);
            }
            Event::Granted { request } => self.with_grant(*request, |grant| grant.granted = true),
            Event::Extended { request, deadline, .. } => {
                self.with_grant(*request, |grant| grant.deadline = Some(*deadline));
            }
            Event::Denied { request, .. }
            | Event::Withdrawn { request }
            | Event::Lapsed { request }
            | Event::Revoked { request, .. }
            | Event::NotAccepted { request, then: Then::End } => self.over(|id, _| id == request),
            Event::ClosedOut { close_out, .. } => self.over(|id, _| *id == close_out.request),
            Event::Started { session, request, technician, target, service, deadline, .. } => {
                self.start(*session, (*request, *technician), (target, service), *deadline);
            }
            Event::Ended { session, .. } => drop(self.sessions.remove(session)),
            _ => {}
        }
    }

    /// Nothing opens under such grants any more.
    fn over(&mut self, is: impl Fn(&RequestId, &Grant) -> bool) {
        self.grants.retain(|id, grant| !is(id, grant));
        let grants = &self.grants;
        self.sessions.retain(|_, session| grants.contains_key(&session.request));
    }

    /// A session that is another's than its grant is none.
    fn start(
        &mut self,
        session: SessionId,
        (request, technician): (RequestId, PersonId),
        (target, service): (&TargetName, &ServiceName),
        deadline: Timestamp,
    ) {
        let at = self.plant.as_ref().and_then(|plant| plant.targets.get(target));
        let service_at = at.and_then(|target| target.services.get(service));
        let by = service_at.and_then(|service| service.credential.clone());
        let account = by.map(|by| Injected { user: service_at.and_then(|service| service.user.clone()), by });
        let zone = at.map(|target| target.zone.clone());
        let Some(grant) = self.grants.get_mut(&request) else { return };
        if grant.technician == technician && grant.target == *target && grant.services.contains(service) {
            grant.deadline = Some(deadline);
            self.sessions.insert(session, Session { request, account, zone });
        }
    }

    fn with_grant(&mut self, request: RequestId, change: impl FnOnce(&mut Grant)) {
        if let Some(grant) = self.grants.get_mut(&request) {
            change(grant);
        }
    }
}

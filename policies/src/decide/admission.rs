//! The decision that opens a connection: which grant it spends, and until when. Everything that was true when the
//! request was approved is asked again here.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::actions::{Action, Actions};
use crate::events::{Event, Factor};
use crate::ids::{NodeId, PersonId, RequestId, ServiceName, SessionId, TargetName};
use crate::plant::{Exclusive, Plant};
use crate::refusals::Refusal;
use crate::state::{Case, RequestStanding, SessionFacts, State};

/// A connection that wants to be opened.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Which session it will be.
    pub session: SessionId,
    /// Who was authenticated.
    pub technician: PersonId,
    /// By what.
    pub factors: Vec<Factor>,
    /// From where.
    pub source: IpAddr,
    /// Where to.
    pub target: TargetName,
    /// Through which service.
    pub service: ServiceName,
    /// One of these must be granted; empty where that is not known yet.
    pub wants: Actions,
    /// The grant that was named, if any.
    pub grant: Option<RequestId>,
    /// Grants of which the time to accept them after a shift change is over, by the clock that is never set, though that is not
    /// in the journal yet.
    pub overdue: BTreeSet<RequestId>,
    /// Through which node.
    pub node: NodeId,
}

impl State {
    pub(super) fn decide_admit(&self, wanted: &Admission, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        if self.newest.is_some_and(|newest| now < newest) {
            return Err(Refusal::ClockBehind);
        }
        if self.sessions.contains_key(&wanted.session) {
            return Err(Refusal::Exists);
        }
        self.technician(wanted.technician, now)?;
        self.check_cuts(wanted.technician, &wanted.target)?;
        self.check_zone(&wanted.target)?;
        let case = self.grant_for(wanted, now)?;
        self.check_grant(case, wanted, now)?;
        Ok(vec![Event::Started {
            session: wanted.session,
            request: case.request.id,
            technician: wanted.technician,
            target: wanted.target.clone(),
            service: wanted.service.clone(),
            actions: case.actions(now),
            source: wanted.source,
            factors: wanted.factors.clone(),
            node: wanted.node.clone(),
            deadline: self.deadline(case, now),
        }])
    }

    fn check_zone(&self, target: &TargetName) -> Result<(), Refusal> {
        let plant = self.plant.as_ref().ok_or(Refusal::NoPlant)?;
        let zone = self.zone_of(target).ok_or_else(|| Refusal::NoGrant(target.clone()))?;
        if plant.zones.get(zone).is_none_or(|zone| zone.never) {
            return Err(Refusal::ZoneNever(zone.clone()));
        }
        Ok(())
    }

    /// The grant that was named, else the narrowest that allows what is wanted: fewest actions, then the earliest end.
    fn grant_for(&self, wanted: &Admission, now: Timestamp) -> Result<&Case, Refusal> {
        let is_open = |case: &&Case| is_about(case, wanted) && case.is_open(now) && !is_unaccepted(case, wanted);
        let mut open: Vec<&Case> = self.open_cases().map(|(_, case)| case).filter(is_open).collect();
        open.sort_by_key(|case| (case.actions(now).len(), case.deadline, case.request.id));
        match open.iter().find(|case| allows(&case.actions(now), &wanted.wants)) {
            Some(case) => Ok(case),
            None => Err(match (open.first(), wanted.wants.first()) {
                (Some(case), Some(action)) => Refusal::ActionNotGranted { wanted: *action, granted: case.actions(now) },
                _ => self.why_no_grant(wanted, now),
            }),
        }
    }

    /// The newest request says most about why nothing is open.
    fn why_no_grant(&self, wanted: &Admission, now: Timestamp) -> Refusal {
        let target = wanted.target.clone();
        let newest =
            || self.asked_last.get(&(wanted.technician, wanted.target.clone(), wanted.service.clone())).copied();
        let case = wanted.grant.or_else(newest).and_then(|id| self.cases.get(&id));
        let Some(case) = case.filter(|case| is_about(case, wanted)) else {
            return Refusal::NoGrant(target);
        };
        match case.standing {
            RequestStanding::Pending if now < case.request.window.until => {
                Refusal::StillPending { id: case.request.id, target, waits_for: super::waits_for(case) }
            }
            RequestStanding::Granted if now < case.request.window.from => {
                Refusal::NotYet(target, self.clock(case.request.window.from))
            }
            RequestStanding::Granted if is_unaccepted(case, wanted) && case.is_open(now) => {
                Refusal::NotAccepted(target)
            }
            RequestStanding::Granted => Refusal::GrantOver(target, self.clock(case.deadline)),
            RequestStanding::Revoked => Refusal::GrantRevoked(target),
            RequestStanding::NotAccepted => Refusal::GrantNotAccepted(target),
            RequestStanding::Restored => Refusal::GrantRestored(target),
            RequestStanding::ClosedOut => Refusal::GrantClosedOut(target),
            _ => Refusal::NoGrant(target),
        }
    }

    fn check_grant(&self, case: &Case, wanted: &Admission, now: Timestamp) -> Result<(), Refusal> {
        let rule = &case.rule;
        if self.is_session_cut(case.request.id) {
            return Err(Refusal::CutOff);
        }
        let (vendor, role) = self.technician(wanted.technician, now)?;
        if !rule.vendors.contains(vendor) || !rule.roles.contains(role) {
            return Err(Refusal::RuleNoLongerFits(rule.id.clone()));
        }
        self.check_attested(wanted.technician, rule, now)?;
        let plant = self.plant.as_ref().ok_or(Refusal::NoPlant)?;
        check_meaning(plant, case, wanted, now)?;
        if let Some(hours) = &rule.hours
            && !hours.contains(now, &plant.timezone)
        {
            let opens = hours.next_opening(now, &plant.timezone);
            return Err(Refusal::OutsideHours(opens.map(|at| self.clock(at))));
        }
        if !rule.from.iter().any(|net| net.contains(&wanted.source)) {
            return Err(Refusal::WrongSource(rule.id.clone()));
        }
        if self.live_under(case.request.id) >= usize::from(rule.connections) {
            return Err(Refusal::TooManyConnections(rule.connections));
        }
        self.check_exclusive(case, &case.actions(now), now)
    }

    /// Where either rule is exclusive, two people do not do more than look at the same time: asked for these actions of
    /// whoever comes, and of whoever is there and is to do more from now on.
    pub(super) fn check_exclusive(&self, case: &Case, ours: &Actions, now: Timestamp) -> Result<(), Refusal> {
        let target = &case.request.target;
        if !is_more_than_looking(ours) {
            return Ok(());
        }
        let excludes = |exclusive: &Exclusive, facts: &SessionFacts| match exclusive {
            Exclusive::None => false,
            Exclusive::Target => facts.target == *target,
            Exclusive::Zone => self.zone_of(&facts.target) == self.zone_of(target),
        };
        let in_the_way = |facts: &SessionFacts| {
            let theirs = self.cases.get(&facts.request);
            facts.technician != case.request.technician
                && theirs.is_none_or(|theirs| {
                    is_more_than_looking(&theirs.actions(now))
                        && (excludes(&case.rule.exclusive, facts) || excludes(&theirs.rule.exclusive, facts))
                })
        };
        if self.live_sessions().any(|(_, facts)| in_the_way(facts)) {
            return Err(Refusal::HeldExclusively(target.clone(), case.rule.approvers()));
        }
        Ok(())
    }

    /// The clock of a grant starts at its first connection; the deadline is the earliest of its window's end (later where
    /// it was extended before), its duration's, the close of the rule's hours, the contract's end and a guest's. Later connections
    /// keep it.
    fn deadline(&self, case: &Case, now: Timestamp) -> Timestamp {
        if case.first_use.is_some() {
            return case.deadline;
        }
        let contract =
            self.vendor_of(case.asked.technician).and_then(|vendor| self.contracts.get(vendor)).map(|c| c.end);
        let visit = self.guest(case.asked.technician).map(|guest| guest.statement.until);
        let ends = [self.hours_close(&case.rule, now), contract, visit, Some(case.request.duration.after(now))];
        ends.into_iter().flatten().fold(case.deadline, Timestamp::min)
    }
}

/// A plant file that was adopted meanwhile may have another gate there, or none: then nothing holds to what was granted.
fn check_meaning(plant: &Plant, case: &Case, wanted: &Admission, now: Timestamp) -> Result<(), Refusal> {
    let service = plant.targets.get(&wanted.target).and_then(|target| target.services.get(&wanted.service));
    let known = service.ok_or_else(|| Refusal::NoGrant(wanted.target.clone()))?.actions();
    let granted = case.actions(now);
    match known.first().filter(|_| !known.iter().any(|action| granted.contains(action))) {
        Some(wanted) => Err(Refusal::ActionNotGranted { wanted: *wanted, granted }),
        None => Ok(()),
    }
}

fn is_about(case: &Case, wanted: &Admission) -> bool {
    case.request.technician == wanted.technician
        && case.request.target == wanted.target
        && case.request.services.contains(&wanted.service)
        && wanted.grant.is_none_or(|grant| grant == case.request.id)
}

fn is_unaccepted(case: &Case, wanted: &Admission) -> bool {
    case.unaccepted || wanted.overdue.contains(&case.request.id)
}

fn allows(granted: &Actions, wanted: &Actions) -> bool {
    wanted.is_empty() || !granted.is_disjoint(wanted)
}

fn is_more_than_looking(actions: &Actions) -> bool {
    actions.iter().any(|action| *action != Action::Observe)
}

//! What a technician may ask for: each service at which a rule lets them do something, now or as soon as its hours open.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::actions::{Action, Actions};
use crate::decide::quorum_is_met;
use crate::ids::{PersonId, ServiceName, TargetName};
use crate::people::Kind;
use crate::plant::{Plant, Protocol, Rule, Service, WorkOrder};
use crate::refusals::Refusal;
use crate::rules::{Asker, Lack, NotAllowed, Opening, Question, listed};
use crate::state::State;
use crate::time::Seconds;

/// What is offered where nothing is said.
const USUAL: Seconds = Seconds(3_600);

/// What may be asked for at one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Where.
    pub target: TargetName,
    /// Through what.
    pub service: ServiceName,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Each of these by itself; not always all of them together.
    pub actions: Actions,
    /// For how long at most, of the rule for what most come for.
    pub most: Seconds,
    /// Whether it wants a work order.
    pub work_order: WorkOrder,
    /// Who approves, such as `1 of shift-lead`.
    pub approvers: String,
    /// Whether enough of them are on duty now.
    pub is_staffed: bool,
    /// Which of the actions may be asked for as an emergency.
    pub emergency: Actions,
}

/// One service of somebody's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It may be asked for now.
    Now(Offer),
    /// Only its hours are against it.
    Later(Later),
}

/// What may be asked for at one service as soon as a rule's hours open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// Where.
    pub target: TargetName,
    /// Through what.
    pub service: ServiceName,
    /// What is spoken there.
    pub protocol: Protocol,
    /// What may be asked for then or thereafter.
    pub actions: Actions,
    /// When the first of it may; `None` only at the end of time.
    pub opens: Option<Opening>,
}

impl Offer {
    /// What is asked for where nothing else is said: a shell where there is one, since most come for that; and where a gate
    /// can tell looking from touching, to look.
    pub fn usual_actions(&self) -> Actions {
        let usual = [Action::Shell, Action::Observe].into_iter().find(|action| self.actions.contains(action));
        usual.map_or_else(|| self.actions.clone(), |action| Actions::from([action]))
    }

    /// For how long, where nothing else is said.
    pub fn usual_duration(&self) -> Seconds {
        self.most.min(USUAL)
    }
}

/// Somebody who asks, from somewhere, at a moment.
struct Asking<'s> {
    state: &'s State,
    plant: &'s Plant,
    person: PersonId,
    asker: Asker<'s>,
    source: IpAddr,
    now: Timestamp,
}

impl State {
    /// What a technician may ask for at one service of a target, or at its only one.
    ///
    /// # Errors
    /// Why nothing may.
    pub fn offer(
        &self,
        person: PersonId,
        source: IpAddr,
        target: &TargetName,
        service: Option<&ServiceName>,
        now: Timestamp,
    ) -> Result<Offer, Refusal> {
        let asking = Asking::new(self, person, source, now)?;
        let (service, facts) = asking.plant.service(target, service)?;
        asking.offer(target, service, facts)
    }

    /// The same offer, on the terms of the rule that decides about these actions.
    ///
    /// # Errors
    /// Why no rule allows them together.
    pub fn on_terms(
        &self,
        person: PersonId,
        source: IpAddr,
        offer: &Offer,
        actions: &Actions,
        now: Timestamp,
    ) -> Result<Offer, Refusal> {
        let asking = Asking::new(self, person, source, now)?;
        let rule = asking.rule(&offer.target, &offer.service, actions, false)?;
        Ok(Offer {
            most: rule.duration_max,
            work_order: rule.work_order.clone(),
            approvers: rule.approvers(),
            is_staffed: self.is_staffed(rule, now),
            ..offer.clone()
        })
    }

    /// Everything that a technician may ask for, target by target. What they may not is left out: that it is there is not their
    /// business.
    pub fn reach(&self, person: PersonId, source: IpAddr, now: Timestamp) -> Vec<Reach> {
        let Ok(asking) = Asking::new(self, person, source, now) else { return Vec::new() };
        let targets = asking.plant.targets.iter();
        let services = targets.flat_map(|(target, facts)| facts.services.iter().map(move |service| (target, service)));
        services.filter_map(|(target, (service, facts))| asking.reach(target, service, facts)).collect()
    }
}

impl State {
    /// Whether enough of those who approve under a rule are on duty.
    pub fn is_staffed(&self, rule: &Rule, now: Timestamp) -> bool {
        let on_duty: Vec<_> = self.people.values().filter(|person| person.is_on_duty(now)).collect();
        quorum_is_met(&rule.approvals, &on_duty)
    }
}

impl<'s> Asking<'s> {
    fn new(state: &'s State, person: PersonId, source: IpAddr, now: Timestamp) -> Result<Self, Refusal> {
        let plant = state.plant.as_deref().ok_or(Refusal::NoPlant)?;
        let asker = match &state.people.get(&person).ok_or(Refusal::UnknownPerson)?.kind {
            Kind::Technician { vendor, role } => Asker { vendor, role },
            _ => return Err(Refusal::WrongKind("technicians")),
        };
        Ok(Self { state, plant, person, asker, source, now })
    }

    fn rule(
        &self,
        target: &TargetName,
        service: &ServiceName,
        actions: &Actions,
        emergency: bool,
    ) -> Result<&'s Rule, Refusal> {
        let Self { asker, source, now, .. } = *self;
        let (service, source) = (Some(service), Some(source));
        let question = Question { asker, target, service, actions, at: now, source, emergency };
        self.state.rule_for(self.plant, self.person, &question)
    }

    fn offer(&self, target: &TargetName, service: &ServiceName, facts: &Service) -> Result<Offer, Refusal> {
        let alone = |action: Action, emergency| self.rule(target, service, &Actions::from([action]), emergency).ok();
        let known = facts.actions().iter().copied();
        let rules: Vec<(Action, &Rule)> =
            known.clone().filter_map(|action| Some((action, alone(action, false)?))).collect();
        let Some((_, rule)) = rules.iter().find(|(action, _)| *action == Action::Shell).or(rules.first()) else {
            let refused = self.rule(target, service, &known.collect(), false);
            return Err(refused.err().unwrap_or(Refusal::NoGrant(target.clone())));
        };
        Ok(Offer {
            target: target.clone(),
            service: service.clone(),
            protocol: facts.protocol,
            most: rule.duration_max,
            work_order: rule.work_order.clone(),
            approvers: rule.approvers(),
            is_staffed: self.state.is_staffed(rule, self.now),
            actions: rules.iter().map(|(action, _)| *action).collect(),
            emergency: known.filter(|action| alone(*action, true).is_some()).collect(),
        })
    }

    fn reach(&self, target: &TargetName, service: &ServiceName, facts: &Service) -> Option<Reach> {
        if let Ok(offer) = self.offer(target, service, facts) {
            return Some(Reach::Now(offer));
        }
        let later = facts.actions().iter().filter_map(|action| {
            let refused = self.rule(target, service, &Actions::from([*action]), false).err()?;
            only_hours(refused).map(|opens| (*action, opens))
        });
        let later: Vec<(Action, Option<Opening>)> = later.collect();
        let first = later.iter().filter_map(|(_, opens)| opens.clone()).min_by_key(|opens| opens.at);
        (!later.is_empty()).then(|| {
            let actions = later.into_iter().map(|(action, _)| action).collect();
            let (target, service) = (target.clone(), service.clone());
            Reach::Later(Later { target, service, protocol: facts.protocol, actions, opens: first })
        })
    }
}

/// As a line for the technician.
impl fmt::Display for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (target, service, actions) = (&self.target, &self.service, listed(&self.actions));
        match &self.opens {
            Some(opens) => write!(f, "{target} ({service}): you may ask for {actions} from {opens} on"),
            None => write!(f, "{target} ({service}): closed"),
        }
    }
}

/// When it opens, where nothing but the hour is against it.
fn only_hours(refused: Refusal) -> Option<Option<Opening>> {
    let Refusal::NotAllowed(NotAllowed::NoRule { nearest: Some(nearest) }) = refused else { return None };
    match <[Lack; 1]>::try_from(nearest.lacks) {
        Ok([Lack::Hours { opens }]) => Some(opens),
        _ => None,
    }
}

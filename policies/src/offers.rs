//! What a technician may ask for: each service at which a rule lets them do something, now or as soon as its hours open.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::actions::{Action, Actions};
use crate::decide::quorum_is_met;
use crate::ids::{PersonId, ServiceName, TargetName};
use crate::people::Kind;
use crate::plant::{Plant, Protocol, Rule, Service, Target, WorkOrder};
use crate::refusals::Refusal;
use crate::rules::{Asker, Opening, Question, listed};
use crate::state::{Case, State};
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
    /// Of the rule for what most come for.
    pub terms: Terms,
    /// Of each action by itself.
    pub each: Vec<(Action, Terms)>,
    /// Which of the actions may be asked for as an emergency.
    pub emergency: Actions,
    /// A cut keeps the technician out there until an operator reopens it.
    pub is_cut: bool,
}

/// What a rule demands and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// For how long at most.
    pub most: Seconds,
    /// Whether it wants a work order.
    pub work_order: WorkOrder,
    /// Who approves, such as `1 of shift-lead`.
    pub approvers: String,
    /// Whether enough of them are on duty now.
    pub is_staffed: bool,
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
    /// When the first of it may.
    pub opens: Opening,
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
        self.terms.most.min(USUAL)
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
        Ok(Offer { terms: asking.terms(rule), ..offer.clone() })
    }

    /// Everything that a technician may ask for at that moment, target by target, and what only hours are against. What they may not
    /// is left out: that it is there is not their business.
    pub fn reach(&self, person: PersonId, source: IpAddr, at: Timestamp) -> Vec<Reach> {
        let asking = self.technician(person, at).and_then(|_| Asking::new(self, person, source, at));
        let Ok(asking) = asking else { return Vec::new() };
        let targets = asking.plant.targets.iter().filter(|(name, target)| asking.is_reached(name, target));
        let services = targets.flat_map(|(target, facts)| facts.services.iter().map(move |service| (target, service)));
        services.flat_map(|(target, (service, facts))| asking.reach(target, service, facts)).collect()
    }

    /// Whether enough of those who approve under a rule are on duty.
    fn is_staffed(&self, rule: &Rule, now: Timestamp) -> bool {
        let on_duty: Vec<_> = self.people.values().filter(|person| person.is_on_duty(now)).collect();
        quorum_is_met(&rule.approvals, &on_duty)
    }

    /// Whether enough of those who answer a request are on duty: of an emergency, one.
    pub fn is_answered_now(&self, case: &Case, now: Timestamp) -> bool {
        match case.asked.emergency {
            true => self.people.values().any(|person| person.is_on_duty(now)),
            false => self.is_staffed(&case.rule, now),
        }
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

    /// Whether any rule leads them there, at whatever hour: most of a large plant is others'.
    fn is_reached(&self, name: &TargetName, target: &Target) -> bool {
        let Asker { vendor, role } = self.asker;
        let is_theirs = |rule: &Rule| rule.vendors.contains(vendor) && rule.roles.contains(role);
        self.plant.rules.iter().any(|rule| is_theirs(rule) && rule.reach.contains(name, &target.zone))
    }

    fn question<'q>(
        &'q self,
        target: &'q TargetName,
        service: &'q ServiceName,
        actions: &'q Actions,
        emergency: bool,
    ) -> Question<'q> {
        let Self { asker, source, now, .. } = *self;
        Question { asker, target, service: Some(service), actions, at: now, source: Some(source), emergency }
    }

    fn rule(
        &self,
        target: &TargetName,
        service: &ServiceName,
        actions: &Actions,
        emergency: bool,
    ) -> Result<&'s Rule, Refusal> {
        let question = self.question(target, service, actions, emergency);
        self.state.rule_for(self.plant, self.person, &question)
    }

    fn terms(&self, rule: &Rule) -> Terms {
        Terms {
            most: rule.duration_max,
            work_order: rule.work_order.clone(),
            approvers: rule.approvers(),
            is_staffed: self.state.is_staffed(rule, self.now),
        }
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
            terms: self.terms(rule),
            actions: rules.iter().map(|(action, _)| *action).collect(),
            each: rules.iter().map(|(action, rule)| (*action, self.terms(rule))).collect(),
            emergency: known.filter(|action| alone(*action, true).is_some()).collect(),
            is_cut: self.state.check_cuts(self.person, target).is_err(),
        })
    }

    /// What may be asked for there now, and what else later.
    fn reach(&self, target: &TargetName, service: &ServiceName, facts: &Service) -> impl Iterator<Item = Reach> {
        let offer = self.offer(target, service, facts).ok();
        let is_offered = |action: &Action| offer.as_ref().is_some_and(|offer| offer.actions.contains(action));
        let until = self.state.guest(self.person).map(|guest| guest.statement.until);
        let later = facts.actions().iter().filter(|action| !is_offered(action)).filter_map(|action| {
            let actions = Actions::from([*action]);
            let opens =
                self.state.opening_for(self.plant, self.person, &self.question(target, service, &actions, false))?;
            until.is_none_or(|until| opens.at < until).then_some((*action, opens))
        });
        let later: Vec<(Action, Opening)> = later.collect();
        let first = later.iter().map(|(_, opens)| opens).min_by_key(|opens| opens.at).cloned();
        let later = first.map(|opens| {
            let actions = later.iter().map(|(action, _)| *action).collect();
            let (target, service) = (target.clone(), service.clone());
            Reach::Later(Later { target, service, protocol: facts.protocol, actions, opens })
        });
        offer.map(Reach::Now).into_iter().chain(later)
    }
}

/// As a line for the technician.
impl fmt::Display for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, service, actions, opens, .. } = self;
        write!(f, "{target} ({service}): {} from {opens} on", listed(actions))
    }
}

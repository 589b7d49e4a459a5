//! Asking for access: what may be asked for, the request, and the wait for a yes. Words and decisions alone; by which
//! prompts a technician is asked is in `questions`, in `lobby` and in `orders`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use approver::desk::Desk;
use approver::mint;
use approver::people::{NotDone, People};
use certs::proof::Authenticated;
use jiff::Timestamp;
use policies::actions::Actions;
use policies::decide::{Command, NewRequest, waits_for};
use policies::digest::Salted;
use policies::ids::{PersonId, RequestId};
use policies::offers::{Later, Offer, Reach};
use policies::plant::Protocol;
use policies::refusals::Refusal;
use policies::requests::Matter;
use policies::state::{Ask, Case, No, RequestStanding, State};
use policies::time::{PlantTime, Seconds, Window};

use super::names::Place;
use crate::session::Who;

/// How long a request may wait for its yes, and a yes for its first connection, before it lapses: a shift.
const WAITS: Seconds = Seconds(8 * 3_600);

/// A technician who asks.
#[derive(Clone)]
pub(super) struct Applicant {
    desk: Desk,
    people: People,
    who: Who,
}

/// How things stand between a technician and a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// A grant is open.
    Open(RequestId),
    /// A request waits.
    Pending(RequestId),
    /// A grant begins later.
    Later(Timestamp),
    /// Nothing was asked, or what was is over.
    Nothing,
}

/// What a technician wants.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) place: Place,
    pub(super) actions: Actions,
    pub(super) duration: Seconds,
    pub(super) from: Option<Timestamp>,
    pub(super) reason: String,
    pub(super) work_order: Option<String>,
    pub(super) emergency: bool,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It became a grant.
    Granted,
    /// It did not, in words.
    Refused(String),
}

/// Texts are kept once they are asked for; until then any digest stands for them.
fn unkept() -> Salted {
    Salted::new(&[0; 32], "")
}

impl Applicant {
    pub(super) const fn new(desk: Desk, people: People, who: Who) -> Self {
        Self { desk, people, who }
    }

    pub(super) const fn desk(&self) -> &Desk {
        &self.desk
    }

    pub(super) const fn people(&self) -> &People {
        &self.people
    }

    pub(super) const fn who(&self) -> &Who {
        &self.who
    }

    pub(super) fn person(&self) -> PersonId {
        self.who.proof.person()
    }

    fn source(&self) -> IpAddr {
        self.who.proof.source()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.desk.clock().wall()
    }

    /// How things stand at a target.
    pub(super) fn standing(&self, place: &Place) -> Standing {
        self.desk.with_state(|state| standing(state, self.person(), place, self.now()))
    }

    /// What the open grants at a target allow, each by itself.
    pub(super) fn choices(&self, place: &Place) -> Vec<Actions> {
        let now = self.now();
        self.desk.with_state(|state| {
            open_grants(state, self.person(), Some(place), now).map(|case| case.actions(now)).collect()
        })
    }

    /// The same one, with another proof of who they are.
    pub(super) fn proved(self, proof: Authenticated) -> Self {
        Self { who: Who { proof: Arc::new(proof), ..self.who }, ..self }
    }

    /// What may be asked for there.
    ///
    /// # Errors
    /// Why nothing may.
    pub(super) fn offer(&self, place: &Place) -> Result<Offer, Refusal> {
        let (target, service) = (&place.target, place.service.as_ref());
        self.desk.with_state(|state| state.offer(self.person(), self.source(), target, service, self.now()))
    }

    /// When a key was added to theirs, while that is news, by the plant's clock.
    pub(super) fn key_news(&self) -> Option<String> {
        let added = self.desk.key_news(&self.who.proof)?;
        Some(self.desk.with_state(|state| state.clock(added).to_string()))
    }

    /// Everything that may be asked for, now and only at another hour, target by target.
    pub(super) fn reach(&self) -> (Vec<Offer>, Vec<Later>) {
        let reach = self.desk.with_state(|state| state.reach(self.person(), self.source(), self.now()));
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for reach in reach {
            match reach {
                Reach::Now(offer) => now.push(offer),
                Reach::Later(one) => later.push(one),
            }
        }
        (now, later)
    }

    /// The port of a service to which a program of the technician's own speaks, so that nothing can be typed to it.
    pub(super) fn forwarded_port(&self, place: &Place) -> Option<u16> {
        self.desk.with_state(|state| {
            let plant = state.plant.as_deref()?;
            let (_, facts) = plant.service(&place.target, place.service.as_ref()).ok()?;
            facts.protocol.is_forwarded().then_some(facts.address.port)
        })
    }

    /// The place with its service: the named one, else the only one that speaks SSH, else the only one that is a terminal, else
    /// the only one.
    pub(super) fn resolved(&self, place: Place) -> Place {
        let meant = self.desk.with_state(|state| {
            let services = &state.plant.as_deref()?.targets.get(&place.target)?.services;
            let only = |is_meant: fn(Protocol) -> bool| {
                let mut meant = services.iter().filter(|(_, service)| is_meant(service.protocol));
                meant.next().filter(|_| meant.next().is_none())
            };
            let found = only(|protocol| protocol == Protocol::Ssh).or_else(|| only(Protocol::is_typed_to));
            found.or_else(|| only(|_| true)).map(|(name, _)| name.clone())
        });
        Place { service: place.service.clone().or(meant), ..place }
    }

    /// The same offer, on the terms of the rule that decides about these actions. Nothing is journaled.
    ///
    /// # Errors
    /// Why no rule allows them together.
    pub(super) fn terms(&self, offer: &Offer, actions: &Actions) -> Result<Offer, Refusal> {
        self.desk.with_state(|state| state.on_terms(self.person(), self.source(), offer, actions, self.now()))
    }

    /// Journals that what they ask for is refused.
    pub(super) fn refused(&self, place: &Place, actions: Actions, emergency: bool, refusal: &Refusal) {
        let wish = Wish {
            place: place.clone(),
            actions,
            duration: Seconds::default(),
            from: None,
            reason: String::new(),
            work_order: None,
            emergency,
        };
        let asked = self.new_request(mint::request(self.now()), &wish, unkept(), None);
        self.desk.refused_request(asked, refusal.clone());
    }

    /// Whether this could be asked now. Nothing is journaled.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check(&self, wish: &Wish) -> Result<(), Refusal> {
        let now = self.now();
        let work_order = wish.work_order.as_ref().map(|_| unkept());
        let asked = self.new_request(mint::request(now), wish, unkept(), work_order);
        self.desk.with_state(|state| state.decide(&Command::Submit(asked), now)).map(|_| ())
    }

    /// Asks.
    ///
    /// # Errors
    /// As the Desk, and the texts must be fit.
    pub(super) async fn submit(&self, wish: &Wish) -> Result<RequestId, NotDone> {
        let work_order = match &wish.work_order {
            Some(text) => Some(self.people.put_text(text).await?),
            None => None,
        };
        let reason = self.people.put_text(&wish.reason).await?;
        let id = mint::request(self.now());
        self.desk.act(Command::Submit(self.new_request(id, wish, reason, work_order))).await?;
        Ok(id)
    }

    fn new_request(&self, id: RequestId, wish: &Wish, reason: Salted, work_order: Option<Salted>) -> NewRequest {
        let from = wish.from.unwrap_or_else(|| self.now());
        NewRequest {
            id,
            technician: self.person(),
            target: wish.place.target.clone(),
            service: wish.place.service.clone(),
            actions: wish.actions.clone(),
            window: Window { from, until: Seconds(WAITS.0.saturating_add(wish.duration.0)).after(from) },
            duration: wish.duration,
            reason: Some(reason),
            work_order: work_order.zip(wish.work_order.clone()),
            source: Some(self.source()),
            emergency: wish.emergency,
        }
    }

    /// What became of a request, once that is known; `None` after `patience`.
    pub(super) async fn outcome(&self, request: RequestId, patience: Duration) -> Option<Outcome> {
        let give_up = self.desk.clock().boot().after(patience);
        loop {
            let seen = self.desk.head().size;
            if let Some(outcome) = self.outcome_now(request).await {
                return Some(outcome);
            }
            tokio::select! {
                () = self.desk.changed(seen) => {}
                () = self.desk.clock().sleep_until(give_up) => return None,
            }
        }
    }

    async fn outcome_now(&self, request: RequestId) -> Option<Outcome> {
        let now = self.now();
        let standing = self.desk.with_state(|state| {
            let case = state.cases.get(&request)?;
            let is_over = case.standing == RequestStanding::Pending && case.request.window.until <= now;
            Some(if is_over { RequestStanding::Lapsed } else { case.standing })
        });
        match standing {
            Some(RequestStanding::Pending) => None,
            Some(RequestStanding::Granted) => Some(Outcome::Granted),
            Some(RequestStanding::Denied) => Some(Outcome::Refused(self.denial(request).await)),
            Some(other) => Some(Outcome::Refused(format!("Your request is {}.", other.as_str()))),
            None => Some(Outcome::Refused("There is no such request.".to_owned())),
        }
    }

    /// A no, with the reason that was given.
    pub(super) async fn denial(&self, request: RequestId) -> String {
        let Some(no) = self.desk.with_state(|state| state.cases.get(&request)?.no()) else {
            return "An operator said no.".to_owned();
        };
        self.no_in_words(no).await
    }

    /// What was asked of a grant besides and refused, each with the no.
    pub(super) async fn refused_asks(&self, request: RequestId) -> Vec<String> {
        let refused: Vec<_> = self.desk.with_state(|state| {
            let refused = state.refused_asks(request);
            refused.map(|(_, ask, no)| (state.asked_in_words(&ask.asked), no)).collect()
        });
        let mut told = Vec::new();
        for (asked, no) in refused {
            told.push(format!("{asked}: {}", self.no_in_words(no).await));
        }
        told
    }

    async fn no_in_words(&self, no: No) -> String {
        let operator = self.people.shown(no.by).await;
        // A reason that cannot be read changes nothing about the no.
        match self.people.text(no.reason).await.ok().flatten() {
            Some(reason) => format!("{operator} said no: {reason}"),
            None => format!("{operator} said no."),
        }
    }

    /// Who is asked, since when, and the words that an operator sees too.
    pub(super) fn waiting(&self, request: RequestId) -> String {
        self.desk.with_state(|state| match state.cases.get(&request) {
            Some(case) => {
                let (since, words) = (state.clock(case.submitted), self.words(case));
                let read_back = self.read_back(case).map(|code| format!(" {}", read_out(&code)));
                format!(
                    "Request {request} for {}: waits for {}, since {since}. To compare by telephone: {words}.{}",
                    case.request.target,
                    waits_for(case),
                    read_back.unwrap_or_default()
                )
            }
            None => format!("Request {request}."),
        })
    }

    /// Its digest as words.
    pub(super) fn words(&self, case: &Case) -> String {
        certs::words::of(&case.request.digest(self.desk.deployment()))
    }

    /// What to read out to an operator on the telephone, while it waits and where the rule lets them answer so.
    pub(super) fn read_back(&self, case: &Case) -> Option<String> {
        let is_pending = case.standing == RequestStanding::Pending && self.now() < case.request.window.until;
        let digest = case.request.digest(self.desk.deployment());
        is_pending.then(|| self.people.read_back(case, &Matter::Request(case.request.id), &digest)).flatten()
    }

    /// The same of what was asked of a grant.
    pub(super) fn read_back_of_ask(&self, state: &State, ask: &Ask) -> Option<String> {
        let case = state.cases.get(&ask.asked.request()).filter(|case| ask.open && case.is_open(self.now()))?;
        self.people.read_back(case, &ask.asked.matter(), &state.ask_digest(ask))
    }

    /// What approvals took away, if anything.
    pub(super) fn taken_away(&self, request: RequestId) -> Option<String> {
        let taken = self.desk.with_state(|state| state.cases.get(&request).map(|case| state.taken_away(case)));
        taken.filter(|taken| !taken.is_empty()).map(|taken| taken.join(", "))
    }

    /// A moment in the plant's time.
    pub(super) fn shown(&self, at: Timestamp) -> PlantTime {
        self.desk.with_state(|state| state.clock(at))
    }
}

/// How a technician is told what they may be asked for on the telephone.
pub(super) fn read_out(code: &str) -> String {
    format!("If an operator answers you by telephone, read out: {code}.")
}

/// The grants of a technician that are open now, at one place or anywhere.
pub(super) fn open_grants<'a>(
    state: &'a State,
    person: PersonId,
    place: Option<&Place>,
    now: Timestamp,
) -> impl Iterator<Item = &'a Case> {
    state.open_cases().map(|(_, case)| case).filter(move |case| {
        let is_there = place.map_or(case.request.technician == person, |place| is_about(case, person, place));
        is_there && case.is_open(now)
    })
}

fn is_about(case: &Case, person: PersonId, place: &Place) -> bool {
    case.request.technician == person
        && case.request.target == place.target
        && place.service.as_ref().is_none_or(|service| case.request.services.contains(service))
}

fn standing(state: &State, person: PersonId, place: &Place, now: Timestamp) -> Standing {
    let newest = |fits: &dyn Fn(&Case) -> bool| {
        let cases = state.open_cases().map(|(_, case)| case).filter(|case| is_about(case, person, place));
        cases.filter(|case| fits(case)).max_by_key(|case| case.submitted)
    };
    if let Some(case) = newest(&|case| case.is_open(now)) {
        return Standing::Open(case.request.id);
    }
    let is_pending = |case: &Case| case.standing == RequestStanding::Pending && now < case.request.window.until;
    if let Some(case) = newest(&is_pending) {
        return Standing::Pending(case.request.id);
    }
    let is_later = |case: &Case| case.standing == RequestStanding::Granted && now < case.request.window.from;
    newest(&is_later).map_or(Standing::Nothing, |case| Standing::Later(case.request.window.from))
}

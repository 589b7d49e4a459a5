//! What stands, as people are shown it: names for identifiers, words for actions, texts for digests. With the directory
//! gone, identifiers stand in for names and texts are left out; nothing else changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use certs::proof::Face;
use jiff::Timestamp;
use policies::actions::{Action, Actions};
use policies::decide::waits_for;
use policies::digest::Salted;
use policies::events::Event;
use policies::history::Outcome;
use policies::ids::{AskId, GuestId, PersonId, RequestId, SessionId};
use policies::people::{Attestation, Kind, Person, SshKey, Standing};
use policies::plant::{Escort, Plant, Protocol, Weaker};
use policies::requests::Matter;
use policies::state::{Ask, Asked, Case, Handover, LookBack, No, RequestStanding, SessionFacts, State, Vote};
use policies::time::{PlantTime, Seconds};
use ssh_key::{HashAlg, PublicKey};

use super::Api;
use super::types::{
    ActionView, AskCovered, AskView, Card, EndingView, ErasedView, EscortView, HandoverView, HoldView, KeptView,
    LiveView, LookBackView, Named, NoView, OwnAsk, OwnRequest, PersonView, ServiceView, SessionView, SubjectView,
    ToldView, VncOpen, VoteView,
};
use crate::floor::LiveSession;
use crate::lease::Order;

/// What an action means, for somebody who must decide on it at night.
pub(super) const fn in_words(action: Action) -> &'static str {
    match action {
        Action::Observe => "read values",
        Action::Upload => "read program and configuration out of the machine",
        Action::Operate => "write values and commands",
        Action::Program => "load logic, configuration or firmware into the machine",
        Action::Control => "start, stop, reset, force values, set the clock",
        Action::Shell => "type commands: whatever the account there may do",
        Action::FileGet => "copy files from the machine",
        Action::FilePut => "copy files to the machine",
        Action::Tunnel => "an open connection nobody looks into: anything may be done",
    }
}

pub(super) fn shown(actions: &Actions) -> Vec<ActionView> {
    actions.iter().map(|action| ActionView { action: *action, in_words: in_words(*action).to_owned() }).collect()
}

fn cautions(case: &Case, services: &[ServiceView]) -> Vec<String> {
    let actions = &case.request.actions;
    let files = actions.contains(&Action::FileGet) || actions.contains(&Action::FilePut);
    let mut cautions = Vec::new();
    if actions.contains(&Action::Shell) {
        let limit = if files { ", so the file actions beside it limit nothing" } else { ", copying files included" };
        cautions.push(format!("a shell can do whatever the account may{limit}"));
    }
    if actions.contains(&Action::Tunnel) {
        cautions.push("through the tunnel anything may be done; it is kept, and may not be readable".to_owned());
    }
    let protocols: BTreeSet<_> = services.iter().filter_map(|service| service.protocol).collect();
    cautions.extend(protocols.into_iter().filter_map(Protocol::caution).map(str::to_owned));
    match case.rule.escort {
        Escort::None => {}
        Escort::Watch => cautions.push("an operator is told to watch".to_owned()),
        Escort::Required => cautions.push(format!(
            "an operator must watch, and say every {} that they are there: input is frozen while nobody does",
            case.rule.escort_tap
        )),
    }
    if case.asked.emergency {
        cautions.push("an emergency: one yes suffices, and somebody else looks back at it afterwards".to_owned());
    }
    cautions
}

pub(super) const fn standing_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Invited => "invited",
        Standing::Enrolled => "enrolled",
        Standing::Active => "active",
        Standing::Disabled => "disabled",
        Standing::Over => "over",
    }
}

/// A case with what is around it, taken in one look at what stands.
pub(super) struct Around {
    pub(super) case: Case,
    kind: Option<Kind>,
    /// The visit of a guest that it was asked on.
    guest: Option<(GuestId, PersonId, PlantTime)>,
    plant: Option<std::sync::Arc<Plant>>,
    taken_away: Vec<String>,
    sessions: Vec<SessionId>,
    /// Each with its words.
    asks: Vec<(AskId, Ask, String)>,
}

impl Around {
    /// Everything about one request.
    pub(super) fn of(state: &State, id: RequestId) -> Option<Self> {
        let case = state.cases.get(&id)?.clone();
        let live = state.live_sessions().filter(|(_, facts)| facts.request == id);
        Some(Self {
            kind: state.people.get(&case.asked.technician).map(|person| person.kind.clone()),
            guest: state
                .visit_of(&case)
                .map(|(id, guest)| (id, guest.statement.operator, state.clock(guest.statement.until))),
            plant: state.plant.clone(),
            taken_away: state.taken_away(&case),
            sessions: live.map(|(session, _)| session).collect(),
            asks: state.asks_of(id).map(|(id, ask)| (id, ask.clone(), state.asked_in_words(&ask.asked))).collect(),
            case,
        })
    }

    fn services(&self) -> Vec<ServiceView> {
        let request = &self.case.request;
        let target = self.plant.as_ref().and_then(|plant| plant.targets.get(&request.target));
        let protocol = |service| target.and_then(|target| target.services.get(service)).map(|service| service.protocol);
        request
            .services
            .iter()
            .map(|service| ServiceView { service: service.clone(), protocol: protocol(service) })
            .collect()
    }
}

impl Api {
    pub(super) async fn named(&self, person: PersonId) -> Named {
        Named { person, name: self.people().shown(person).await }
    }

    pub(super) async fn named_all(&self, people: impl IntoIterator<Item = PersonId>) -> Vec<Named> {
        let mut named = Vec::new();
        for person in people {
            named.push(self.named(person).await);
        }
        named
    }

    /// The text behind a digest, where there is one and it is there.
    pub(super) async fn opened(&self, text: impl Into<Option<Salted>>) -> Option<String> {
        self.people().text(text.into()?).await.ok().flatten()
    }

    pub(super) async fn card(&self, around: &Around) -> Card {
        let case = &around.case;
        let request = &case.request;
        let digest = request.digest(self.desk().deployment());
        let (vendor, role) = match &around.kind {
            Some(Kind::Technician { vendor, role }) => (Some(vendor.clone()), Some(role.clone())),
            _ => (None, None),
        };
        let mut asks = Vec::new();
        for (id, ask, _) in around.asks.iter().filter(|(_, ask, _)| ask.open) {
            asks.push(self.ask_view(*id, ask, Some(case)).await);
        }
        let now = self.clock().wall();
        let handover = self.desk().with_state(|state| state.handover(case, now));
        Card {
            request: request.id,
            technician: self.named(request.technician).await,
            vendor,
            role,
            target: request.target.clone(),
            zone: around
                .plant
                .as_ref()
                .and_then(|plant| plant.targets.get(&request.target))
                .map(|target| target.zone.clone()),
            services: around.services(),
            actions: shown(&request.actions),
            cautions: self.of_guest(around).await.into_iter().chain(cautions(case, &around.services())).collect(),
            reason: self.opened(request.reason).await,
            work_order: self.opened(request.work_order).await,
            window: request.window.into(),
            duration_seconds: request.duration.0,
            taken_away: around.taken_away.clone(),
            rule: case.rule.id.clone(),
            needs: waits_for(case),
            weaker: weaker_ways(case),
            votes: self.votes(&case.votes).await,
            emergency: request.emergency,
            guest: around.guest.as_ref().map(|(guest, ..)| *guest),
            handover: handover.map(|handover| handover_view(case, &handover, now)),
            review_wanted: case.wants_review(),
            reviewed: self.look_back(case.reviewed()).await,
            attestation: match case.is_current(now) {
                true => Some(self.attestation_view(request.technician, &case.rule).await),
                false => None,
            },
            close_out: self.close_out_view(case),
            account: self.account_view(case, case.account()).await,
            closed_out: self.account_view(case, case.closed_out()).await,
            standing: case.standing_in_words().to_owned(),
            no: self.no(case).await,
            submitted: case.submitted,
            granted: case.granted,
            first_use: case.first_use,
            deadline: case.deadline,
            sessions: around.sessions.clone(),
            asks,
            digest,
            words: certs::words::of(&digest),
            covered: (**request).clone(),
        }
    }

    /// That whoever asks is a guest, and on whose word.
    async fn of_guest(&self, around: &Around) -> Option<String> {
        let (_, by, until) = around.guest.as_ref()?;
        let by = self.people().shown(*by).await;
        Some(format!(
            "a guest: {by} invited them for this target alone, until {until}, and nobody else knows them here"
        ))
    }

    async fn votes(&self, votes: &[Vote]) -> Vec<VoteView> {
        let mut shown = Vec::new();
        for vote in votes {
            let reason = self.opened(vote.reason).await;
            let operator = self.named(vote.operator).await;
            shown.push(VoteView { operator, yes: vote.yes, reason, at: vote.at, weaker: vote.weaker });
        }
        shown
    }

    async fn no(&self, case: &Case) -> Option<NoView> {
        match case.no() {
            Some(no) => Some(self.no_view(no).await),
            None => None,
        }
    }

    async fn no_view(&self, no: No) -> NoView {
        NoView { by: self.people().shown(no.by).await, reason: self.opened(no.reason).await }
    }

    pub(super) async fn look_back(&self, seen: Option<LookBack>) -> Option<LookBackView> {
        let LookBack { by, at, objection } = seen?;
        let (by, text) = (self.named(by).await, self.opened(objection).await);
        Some(LookBackView { by, at, objects: objection.is_some(), objection: text })
    }

    /// Tells the technician, in the sessions it is about, how an ask was answered. A new deadline tells itself.
    pub(super) async fn tell_answers(&self, events: &[Event]) {
        for event in events {
            if let Some((request, words)) = self.answer_in_words(event).await {
                let live = self.desk().with_state(|state| {
                    let live = state.live_sessions().filter(|(_, facts)| facts.request == request);
                    live.map(|(session, _)| session).collect::<Vec<_>>()
                });
                live.into_iter().for_each(|session| self.desk().floor().tell(session, &words));
            }
        }
    }

    async fn answer_in_words(&self, event: &Event) -> Option<(RequestId, String)> {
        let (ask, request) = match event {
            Event::AskDenied { ask, request, .. } | Event::Widened { ask, request, .. } => (ask, *request),
            _ => return None,
        };
        let (asked, no) = self.desk().with_state(|state| {
            let ask = state.asks.get(ask)?;
            Some((state.asked_in_words(&ask.asked), ask.no()))
        })?;
        let words = match no {
            None => format!("Granted: {asked}."),
            Some(no) => {
                let NoView { by, reason } = self.no_view(no).await;
                let reason = reason.unwrap_or_else(|| "(the text is not there)".to_owned());
                format!("{by} said no to this: {asked}. Why: {reason}")
            }
        };
        Some((request, words))
    }

    pub(super) async fn ask_view(&self, id: AskId, ask: &Ask, case: Option<&Case>) -> AskView {
        let (covered, in_words, reason) = match &ask.asked {
            Asked::Extension(extension) => (
                AskCovered::Extension(extension.clone()),
                self.desk().with_state(|state| state.asked_in_words(&ask.asked)),
                extension.reason,
            ),
            Asked::Widening(widening) => (
                AskCovered::Widening(widening.clone()),
                format!("for {} also: {}", widening.lasts, list(&widening.actions)),
                widening.reason,
            ),
        };
        let digest = covered.digest(self.desk().deployment());
        AskView {
            ask: id,
            request: ask.asked.request(),
            in_words,
            reason: self.opened(reason).await,
            at: ask.at,
            needs: case.map(waits_for).unwrap_or_default(),
            weaker: case.map(weaker_ways).unwrap_or_default(),
            votes: self.votes(&ask.votes).await,
            open: ask.open,
            digest,
            words: certs::words::of(&digest),
            covered,
        }
    }

    pub(super) async fn own_request(&self, around: &Around) -> OwnRequest {
        let case = &around.case;
        let request = &case.request;
        let digest = request.digest(self.desk().deployment());
        let is_pending = case.standing == RequestStanding::Pending && self.clock().wall() < request.window.until;
        let mut asks = Vec::new();
        for (id, ask, in_words) in &around.asks {
            asks.push(self.own_ask(*id, ask, in_words, case).await);
        }
        OwnRequest {
            request: request.id,
            target: request.target.clone(),
            services: around.services(),
            actions: shown(&case.actions(self.clock().wall())),
            window: request.window.into(),
            duration_seconds: request.duration.0,
            taken_away: around.taken_away.clone(),
            needs: waits_for(case),
            staffed: self.desk().with_state(|state| state.is_answered_now(case, self.clock().wall())),
            reason: self.opened(request.reason).await,
            standing: case.standing_in_words().to_owned(),
            no: self.no(case).await,
            account: self.account_view(case, case.account()).await,
            may_account: case.check_accountable(self.clock().wall()).is_ok(),
            close_out_wanted: case.rule.close_out.is_some() && case.closed_out().is_none(),
            submitted: case.submitted,
            first_use: case.first_use,
            deadline: case.deadline,
            sessions: around.sessions.clone(),
            asks,
            words: certs::words::of(&digest),
            read_back: is_pending
                .then(|| self.people().read_back(case, &Matter::Request(request.id), &digest))
                .flatten(),
        }
    }

    async fn own_ask(&self, id: AskId, ask: &Ask, in_words: &str, case: &Case) -> OwnAsk {
        let now = self.clock().wall();
        let outcome = self.desk().with_state(|state| state.outcome_of_ask(ask, now));
        let no = match ask.no() {
            Some(no) => Some(self.no_view(no).await),
            None => None,
        };
        let standing = match outcome {
            Outcome::Restored => RequestStanding::Restored.as_str(),
            other => other.as_str(),
        };
        let read_back = (outcome == Outcome::Pending).then(|| {
            let digest = self.desk().with_state(|state| state.ask_digest(ask));
            self.people().read_back(case, &ask.asked.matter(), &digest)
        });
        OwnAsk {
            ask: id,
            in_words: in_words.to_owned(),
            standing: standing.to_owned(),
            no,
            read_back: read_back.flatten(),
        }
    }

    pub(super) async fn session_view(
        &self,
        id: SessionId,
        facts: &SessionFacts,
        live: Option<&LiveSession>,
    ) -> SessionView {
        let (vendor, deadline, protocol, places) = self.desk().with_state(|state| {
            let case = state.cases.get(&facts.request);
            let target = state.plant.as_ref().and_then(|plant| plant.targets.get(&facts.target));
            let service = target.and_then(|target| target.services.get(&facts.service));
            let protocol = service.map(|service| service.protocol);
            let places = service.filter(|of| of.protocol != Protocol::Ssh).map(|service| service.connections_max);
            (state.vendor_of(facts.technician).cloned(), case.map(|case| case.deadline), protocol, places)
        });
        let order = self.desk().orders(id).map(|orders| orders.now());
        let idle = |live: &LiveSession| self.clock().boot().since(live.last_input).as_secs();
        let ended = facts.ended.as_ref().map(|(at, ending)| EndingView::of(*at, ending));
        SessionView {
            session: id,
            request: facts.request,
            technician: self.named(facts.technician).await,
            vendor,
            target: facts.target.clone(),
            service: facts.service.clone(),
            protocol,
            actions: facts.actions.clone(),
            source: facts.source,
            node: facts.node.clone(),
            started: facts.started,
            deadline: deadline.filter(|_| ended.is_none()),
            ended,
            frozen: facts.frozen,
            stopped: order.as_ref().and_then(|order| order.frozen).map(|frozen| frozen.word().to_owned()),
            watchers: self.named_all(facts.watchers.iter().copied()).await,
            escort: self.escort_view(facts, order.as_ref()).await,
            told: self.told_view(facts).await,
            live: live.map(|live| LiveView {
                bytes_up: live.bytes_up,
                bytes_down: live.bytes_down,
                age_seconds: live.age.as_secs(),
                idle_seconds: idle(live),
                transferring: live.transferring,
                within_websocket: live.within_websocket,
                in_browser: live.in_browser,
                connections: live.connections,
                connections_max: places,
                screens: live.screens.iter().copied().map(VncOpen::from).collect(),
            }),
            seal: facts.seal,
            review: self.drawn_view(facts).await,
            kept: Some(self.kept_view(id, facts).await),
        }
    }

    /// Of what runs elsewhere, as that node journaled it.
    async fn escort_view(&self, facts: &SessionFacts, order: Option<&Order>) -> Option<EscortView> {
        let rule = self.desk().with_state(|state| state.cases.get(&facts.request).map(|case| Arc::clone(&case.rule)));
        let rule = rule.filter(|rule| rule.escort == Escort::Required && facts.ended.is_none())?;
        let there: Vec<_> = match order {
            Some(order) => order.escorts.keys().copied().collect(),
            None => facts.escorts.iter().copied().collect(),
        };
        Some(EscortView { there: self.named_all(there).await, tap_seconds: rule.escort_tap.0 })
    }

    async fn told_view(&self, facts: &SessionFacts) -> Vec<ToldView> {
        let mut told = Vec::new();
        for (at, text) in &facts.told {
            told.push(ToldView { at: *at, text: self.opened(*text).await });
        }
        told
    }

    async fn kept_view(&self, id: SessionId, facts: &SessionFacts) -> KeptView {
        let (until, removed) = self.desk().with_state(|state| (state.kept_until(id), state.removed_by_itself(id)));
        let mut holds = Vec::new();
        for (by, hold) in &facts.holds {
            holds.push(HoldView { by: self.named(*by).await, reason: self.opened(hold.reason).await, at: hold.at });
        }
        KeptView {
            until,
            removed,
            holds,
            signers: self.named_all(facts.erasers.iter().copied()).await,
            erased: facts.erased().cloned().map(|(at, on)| ErasedView { at, on }),
        }
    }

    pub(super) async fn person_view(
        &self,
        person: &Person,
        vouchers: impl IntoIterator<Item = PersonId>,
    ) -> PersonView {
        let (inviter, code_until, attested) = self.of_company(person);
        let invited_by = match inviter {
            Some(inviter) => Some(self.named(inviter).await),
            None => None,
        };
        let attested = match attested {
            Some(attested) => Some(self.attested_view(person.id, &attested).await),
            None => None,
        };
        PersonView {
            person: person.id,
            name: self.people().shown(person.id).await,
            kind: person.kind.clone(),
            groups: person.groups.clone(),
            standing: standing_word(person.standing).to_owned(),
            guest: person.guest,
            keys: person.keys.iter().map(|key| key.0.clone()).collect(),
            fingerprints: fingerprints(&person.keys),
            key_added: person.key_added,
            subjects: self.subjects(person).await,
            founder: person.founder,
            vouchers: self.named_all(vouchers).await,
            locked_until: person.locked_until.filter(|until| self.clock().wall() < *until),
            on_duty_until: person.on_duty_until.filter(|until| self.clock().wall() < *until),
            last_seen: person.last_seen,
            dormant: self.desk().with_state(|state| state.is_dormant(person, self.clock().wall())),
            manager: person.is_manager,
            invited_by,
            code_until,
            attested,
        }
    }

    /// Who invited somebody, until when a code of theirs counts, and what a manager attests of them. Who of the plant invited
    /// them is shown to nobody on the vendor face.
    fn of_company(&self, person: &Person) -> (Option<PersonId>, Option<Timestamp>, Option<Attestation>) {
        let now = self.clock().wall();
        self.desk().with_state(|state| {
            let is_shown = self.face() == Face::Plant || state.is_invited_by_company(person);
            let code = state.links.values().find(|link| link.person == person.id && now < link.expires);
            let counts = |attested: &Attestation| {
                now < attested.until && state.people.get(&attested.by).is_some_and(|by| by.is_manager)
            };
            (person.invited_by.filter(|_| is_shown), code.map(|link| link.expires), person.attested.filter(counts))
        })
    }
}

impl Api {
    async fn subjects(&self, person: &Person) -> Vec<SubjectView> {
        let mut subjects = Vec::new();
        for (provider, subject) in &person.subjects {
            let called = self.opened(subject.called).await;
            subjects.push(SubjectView { provider: provider.clone(), called, since: subject.since });
        }
        subjects
    }
}

/// The SHA-256 fingerprints of keys, as `ssh-keygen -l` prints them.
pub(super) fn fingerprints(keys: &[SshKey]) -> Vec<String> {
    let keys = keys.iter().filter_map(|key| PublicKey::from_openssh(&key.0).ok());
    keys.map(|key| key.fingerprint(HashAlg::Sha256).to_string()).collect()
}

fn handover_view(case: &Case, handover: &Handover, now: Timestamp) -> HandoverView {
    HandoverView {
        since: handover.since,
        red: case.unaccepted || handover.red <= now,
        acts: handover.acts,
        then: handover.then,
        frozen: case.unaccepted,
    }
}

/// In which ways a request, or more of its grant, can be answered without a signature.
fn weaker_ways(case: &Case) -> BTreeSet<Weaker> {
    if case.asked.emergency { BTreeSet::new() } else { case.rule.weaker.clone() }
}

fn list(actions: &Actions) -> String {
    actions.iter().map(|action| in_words(*action)).collect::<Vec<_>>().join(", ")
}

/// A statement not journaled by then is void: long enough to read a card twice.
pub(super) const STATEMENT_LASTS: Seconds = Seconds(600);

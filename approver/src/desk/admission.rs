//! Admission: a place is taken first, so that a cut from then on finds it; what stands is read second, and `Started`
//! appended; the lease is given third. Only then may anything be sent to a target.

use std::sync::Arc;

use certs::proof::{Authenticated, Factors};
use jiff::Timestamp;
use policies::decide::{Admission, Command, NewRequest};
use policies::digest::Digest;
use policies::events::{AskedFor, Ending, Event, Factor, Scope};
use policies::ids::{PersonId, ProviderName, RequestId, ServiceName, SessionId, TargetName};
use policies::plant::{Plant, Service};
use policies::refusals::Refusal;
use policies::state::{Case, State};
use ssh_key::{Fingerprint, HashAlg, PublicKey};

use super::fold::{Fold, Now};
use super::seats::{self, Seat};
use super::turns::Place;
use super::{Desk, Fault, Inner, Rejected};
use crate::clock::Boot;
use crate::lease::{Ask, Destination, Lease, Terms};

/// Refused requests of one person, and as many refused connections, that are journaled within [`REFUSALS_WITHIN`]; the
/// others are logged alone, so that nobody grows the journal by knocking, or hides what they ask for behind it.
const REFUSALS_MAX: usize = 20;
const REFUSALS_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

/// The refusals of one person that were journaled of late: when, why, where, and whether it was a request.
pub(super) type Refused = Vec<(Boot, &'static str, TargetName, bool)>;

impl Desk {
    /// Lets somebody in whose factors were proved: finds the grant, appends `Started`, and gives the lease. Nothing is
    /// let in while the journal does not answer, or holds what this program does not know. A refusal is journaled. A
    /// proof that serves one grant spends that one, whatever was asked.
    ///
    /// # Errors
    /// A refusal, or a fault; then there is no session.
    pub async fn admit(&self, who: &Authenticated, ask: Ask) -> Result<Lease, Rejected> {
        let proved = Proved::of(who);
        let technician = proved.technician;
        let ask = Ask { grant: who.grant().or(ask.grant), ..ask };
        let inner = self.0.clone();
        let admitted = self.0.to_its_end(async move {
            let target = ask.target.clone();
            let admitted = inner.admit(&proved, ask).await;
            if let Err(Rejected::Refusal(refusal)) = &admitted {
                inner.report_refusal(technician, refusal, target, None).await;
            }
            admitted
        });
        admitted.await?
    }

    /// What [`admit`](Self::admit) would say at this moment. It promises nothing, and nothing is journaled or held.
    ///
    /// # Errors
    /// A refusal, or a fault.
    pub fn would_admit(&self, who: &Authenticated, ask: &Ask) -> Result<(), Rejected> {
        let ask = Ask { grant: who.grant().or(ask.grant), ..ask.clone() };
        let fold = self.0.fold();
        fold.check_known()?;
        self.0.decide_admission(&fold, self.0.now(&fold), &Proved::of(who), &ask).map(drop)
    }

    /// Journals that a face turned an authenticated person away, as [`admit`](Self::admit) does of its own refusals.
    pub async fn turned_away(&self, who: &Authenticated, refusal: Refusal, target: TargetName) {
        let (inner, technician) = (self.0.clone(), who.person());
        let reported = async move { inner.report_refusal(technician, &refusal, target, None).await };
        if self.0.to_its_end(reported).await.is_err() {
            tracing::warn!("the gate stops, and a refusal is not journaled");
        }
    }

    /// Journals that a face refused what an authenticated person asked for before it came to a command, as [`act`](Self::act) does of
    /// requests. Nobody waits for it.
    pub fn refused_request(&self, asked: NewRequest, refusal: Refusal) {
        let inner = self.0.clone();
        let report = async move { inner.report_refused_request(&asked, &refusal).await };
        self.0.tracker.spawn_on(report, &self.0.runtime);
    }

    /// Gives a lease back: the session is over. `seal` is the digest of its recording's seal, where there is one. A
    /// journal that does not answer gets the ending later; until then the session counts as one of its grant's.
    pub async fn end(&self, lease: Lease, ending: Ending, seal: Option<Digest>) {
        self.0.end_later(lease.session(), ending, seal);
        lease.seat.give_back();
        let inner = self.0.clone();
        if self.0.to_its_end(async move { inner.flush_late().await }).await.is_err() {
            tracing::warn!("the gate stops; the ending is journaled at the last");
        }
    }
}

/// What an [`Authenticated`] says, kept while the journal is written: a proof is nobody's to copy.
struct Proved {
    technician: PersonId,
    source: std::net::IpAddr,
    factors: Vec<Factor>,
    key: Option<Fingerprint>,
    subject: Option<(ProviderName, Digest)>,
    at: Timestamp,
}

impl Proved {
    fn of(who: &Authenticated) -> Self {
        Self {
            technician: who.person(),
            source: who.source(),
            factors: factors(who.factors()),
            key: who.key(),
            subject: who.subject().cloned(),
            at: who.at(),
        }
    }
}

impl Inner {
    async fn admit(self: &Arc<Self>, proved: &Proved, ask: Ask) -> Result<Lease, Rejected> {
        if self.stop.is_cancelled() {
            return Err(Fault::Stopping.into());
        }
        let seat = Seat::take(self, ask.session, proved.technician, ask.target.clone()).ok_or(Refusal::Exists)?;
        let (events, terms) =
            self.transact(Place::InLine, |fold, now| self.decide_admission(fold, now, proved, &ask)).await?;
        debug_assert_eq!(events.len(), 1, "an admission is one fact");
        let terms = Terms { journal: self.fold().head.size, ..terms };
        self.take_place(&terms);
        match seat.orders().now().over {
            None => Ok(Lease { seat, terms }),
            // Cut between the decision and here.
            Some(ending) => {
                self.end_later(terms.session, ending, None);
                seat.give_back();
                self.flush_late().await;
                Err(Refusal::CutOff.into())
            }
        }
    }

    fn decide_admission(
        &self,
        fold: &Fold,
        now: Now,
        proved: &Proved,
        ask: &Ask,
    ) -> Result<(Vec<Event>, Terms), Rejected> {
        let Proved { technician, source, ref factors, .. } = *proved;
        check_still_theirs(&fold.state, proved)?;
        let plant = fold.state.plant.as_ref().ok_or(Refusal::NoPlant)?;
        let (name, service) = service_of(plant, ask)?;
        let admission = Admission {
            session: ask.session,
            technician,
            factors: factors.clone(),
            source,
            target: ask.target.clone(),
            service: name.clone(),
            wants: ask.wants.clone(),
            grant: ask.grant,
            overdue: super::lock(&self.handovers).due_of(technician, &fold.state, now),
            node: self.node.clone(),
        };
        let events = fold.state.decide(&Command::Admit(admission), now.wall)?;
        let [Event::Started { request, deadline, .. }] = events.as_slice() else {
            return Err(Fault::OtherDoor("an admission that starts a session").into());
        };
        let case = fold.state.cases.get(request).ok_or(Refusal::NoSuchRequest)?;
        self.check_blocks(&fold.state, technician, &ask.target, *request)?;
        check_clock(fold, case, now)?;
        // Last, so that whoever it is told has nothing else against them: it passes by itself.
        if let Some(at) = *super::lock(&self.restarts) {
            return Err(Refusal::Restarts(fold.state.clock(at)).into());
        }
        let began = case.first_use.unwrap_or(now.wall);
        let terms = Terms {
            session: ask.session,
            grant: *request,
            grant_digest: case.request.digest(&self.deployment),
            asked_digest: case.asked.digest(&self.deployment),
            technician,
            target: ask.target.clone(),
            service: name.clone(),
            source,
            factors: factors.to_vec(),
            node: self.node.clone(),
            rule: case.rule.clone(),
            destination: Destination::from(service),
            plant: plant.digest(),
            banner: Digest::of_bytes(plant.banner.as_bytes()),
            granted_for: deadline.duration_since(began).try_into().unwrap_or_default(),
            journal: 0,
        };
        Ok((events, terms))
    }

    /// Cuts that act here and are not in the journal yet.
    fn check_blocks(
        &self,
        state: &State,
        technician: PersonId,
        target: &TargetName,
        request: RequestId,
    ) -> Result<(), Refusal> {
        let seats = self.seats();
        let keeps_out = |scope: &Scope| match scope {
            Scope::Session(session) => state.sessions.get(session).is_some_and(|facts| facts.request == request),
            wider => seats::is_within(state, wider, technician, target),
        };
        if seats.blocks.values().any(keeps_out) { Err(Refusal::CutOff) } else { Ok(()) }
    }

    fn take_place(&self, terms: &Terms) {
        if let Some(place) = self.seats().places.get_mut(&terms.session) {
            place.grant = Some(terms.grant);
        }
        self.settle();
        self.time_moved.notify_one();
    }

    /// What was asked for and refused is in the journal, so that it has all that was asked. That a request has the identifier of
    /// another says nothing of either.
    pub(super) async fn report_refused_request(&self, asked: &NewRequest, refusal: &Refusal) {
        if *refusal != Refusal::Exists {
            let asked_for = Some(asked.asked_for(refusal));
            self.report_refusal(asked.technician, refusal, asked.target.clone(), asked_for).await;
        }
    }

    /// A refusal of somebody authenticated is a fact, told once a minute for each reason and target.
    async fn report_refusal(&self, person: PersonId, refusal: &Refusal, target: TargetName, asked: Option<AskedFor>) {
        tracing::info!(%person, reason = refusal.why(), %target, "refused");
        if !self.is_news(person, refusal.why(), &target, asked.is_some()) {
            return;
        }
        let (reason, rule) = (refusal.why().to_owned(), refusal.rule().cloned());
        let command = Command::ReportRefusal { person, reason, target: Some(target), rule, asked };
        if let Err(rejected) = self.act(command).await {
            tracing::warn!(%rejected, "a refusal could not be journaled");
        }
    }

    fn is_news(&self, person: PersonId, reason: &'static str, target: &TargetName, is_request: bool) -> bool {
        let now = self.clock.boot();
        let mut refused = super::lock(&self.refused);
        refused.retain(|_, of_late| {
            of_late.retain(|(at, ..)| now.since(*at) < REFUSALS_WITHIN);
            !of_late.is_empty()
        });
        let of_late = refused.entry(person).or_default();
        let is_same = |(_, why, at, request): &(Boot, &str, TargetName, bool)| {
            (*why, at, *request) == (reason, target, is_request)
        };
        let alike = of_late.iter().filter(|(.., request)| *request == is_request).count();
        let is_news = alike < REFUSALS_MAX && !of_late.iter().any(is_same);
        if is_news {
            of_late.push((now, reason, target.clone(), is_request));
        }
        is_news
    }

    pub(super) fn end_later(&self, session: SessionId, ending: Ending, seal: Option<Digest>) {
        self.later(super::late::Late::End { session, ending, seal });
    }
}

/// The service that was named, or the only one there is.
fn service_of<'a>(plant: &'a Plant, ask: &Ask) -> Result<(&'a ServiceName, &'a Service), Refusal> {
    let no_grant = || Refusal::NoGrant(ask.target.clone());
    let services = &plant.targets.get(&ask.target).ok_or_else(no_grant)?.services;
    match &ask.service {
        Some(name) => services.get_key_value(name).ok_or_else(no_grant),
        None if services.len() == 1 => services.iter().next().ok_or_else(no_grant),
        None => Err(no_grant()),
    }
}

/// Whoever enrolled again lets nobody in by what an earlier key, or a login before, had proved.
fn check_still_theirs(state: &State, proved: &Proved) -> Result<(), Refusal> {
    let Some(person) = state.people.get(&proved.technician) else { return Err(Refusal::UnknownPerson) };
    let has_key = |proved| {
        let keys = person.keys.iter().filter_map(|key| PublicKey::from_openssh(&key.0).ok());
        keys.map(|key| key.fingerprint(HashAlg::Sha256)).any(|key| key == proved)
    };
    let is_of_now = person.enrolled_at.is_none_or(|enrolled_at| enrolled_at <= proved.at);
    let is_linked = proved.subject.as_ref().is_none_or(|(provider, subject)| person.is_subject(provider, subject));
    if is_of_now && is_linked && proved.key.is_none_or(has_key) { Ok(()) } else { Err(Refusal::EarlierKey) }
}

/// A grant whose time has run on the clock that is never set is over, whatever the wall clock says by now.
fn check_clock(fold: &Fold, case: &Case, now: Now) -> Result<(), Refusal> {
    let deadline = fold.grants.get(&case.request.id).and_then(|clock| clock.deadline);
    match deadline.filter(|deadline| deadline.boot <= now.boot) {
        Some(deadline) => Err(Refusal::GrantOver(case.request.target.clone(), fold.state.clock(deadline.wall))),
        None => Ok(()),
    }
}

fn factors(factors: Factors) -> Vec<Factor> {
    match factors {
        Factors::KeyAndTotp => vec![Factor::Key, Factor::Totp],
        Factors::KeyAndRecoveryCode => vec![Factor::Key, Factor::Recovery],
        Factors::PasswordAndTotp => vec![Factor::Password, Factor::Totp],
        Factors::PasswordAndRecoveryCode => vec![Factor::Password, Factor::Recovery],
        Factors::Certificate => vec![Factor::Certificate],
        Factors::KeyAndRecentLogin => vec![Factor::Key, Factor::RecentLogin],
        Factors::Passkey => vec![Factor::Passkey],
        Factors::OidcAndTotp => vec![Factor::Oidc, Factor::Totp],
        Factors::OidcAndRecoveryCode => vec![Factor::Oidc, Factor::Recovery],
        Factors::Oidc => vec![Factor::Oidc],
        Factors::UnattendedKey => vec![Factor::Key],
    }
}

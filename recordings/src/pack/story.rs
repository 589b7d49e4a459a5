//! What a copied data folder tells of the requests and sessions that a pack is about: the journal folded once to see which they
//! are, and once more for what was true when each thing happened. Nothing is judged here; `verify` does that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use policies::digest::{Digest, Salted};
use policies::events::{Ending, Event, PackOf};
use policies::guests::Guest;
use policies::history::{Item, What};
use policies::ids::{CredentialName, CutId, GroupName, GuestId, PersonId, RequestId, SessionId, VendorId};
use policies::people::{Attestation, Contract, Kind, SshKey};
use policies::plant::{Credential, Plant, Rule, Weaker};
use policies::requests::{Answer, Matter, Request, VerdictStatement};
use policies::state::{Case, Injected, SessionFacts, State};

use super::PackFault;
use crate::disk::RealDisk;
use crate::frame::Kind as FrameKind;
use crate::leaf::Entry;
use crate::read::JOURNAL_DIR;
use crate::scan::Scan;
use crate::segment::{SegmentState, segments};

/// Where and when something stands in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) entry: u64,
    pub(super) at: Timestamp,
}

/// All that a pack is about, as the journal has it.
#[derive(Debug)]
pub(super) struct Story {
    /// As it stands at the journal's end.
    pub(super) state: State,
    /// In the order in which they were asked.
    pub(super) requests: Vec<Asking>,
    /// In the order in which they began.
    pub(super) sessions: Vec<Visit>,
    /// Packs that were made of the whole vendor.
    pub(super) packs: Vec<(Noted, PersonId)>,
    /// What the gate refused the vendor's technicians in the span, by its entry; of a session there is no span.
    pub(super) refusals: Vec<(u64, Item)>,
}

/// A request, and what came of it.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    pub(super) id: RequestId,
    pub(super) submitted: Noted,
    /// Where and when it was asked.
    pub(super) plant: Option<Arc<Plant>>,
    pub(super) contract: Option<Contract>,
    pub(super) kind: Option<Kind>,
    /// The visit of a guest that it was asked on.
    pub(super) guest: Option<(GuestId, Guest)>,
    /// What a manager of their company attested of the technician then, and until when it says something under the rule.
    pub(super) attested: Option<(Attestation, Timestamp)>,
    pub(super) votes: Vec<VoteCast>,
    /// What else the journal has of it, in order.
    pub(super) turns: Vec<(Noted, Event)>,
    /// What the technician was refused, and when they were locked out, until its sessions were over.
    pub(super) refusals: Vec<(Noted, Event)>,
}

impl Asking {
    /// The yeses to the request.
    pub(super) fn approvals(&self) -> impl Iterator<Item = &VoteCast> {
        self.votes.iter().filter(|vote| {
            matches!((&vote.statement.matter, &vote.statement.answer), (Matter::Request(_), Answer::Yes { .. }))
        })
    }
}

/// An operator's answer.
#[derive(Debug, Clone)]
pub(super) struct VoteCast {
    pub(super) noted: Noted,
    pub(super) statement: VerdictStatement,
    pub(super) given: Given,
    /// The operator's, as they were then.
    pub(super) groups: BTreeSet<GroupName>,
    /// Whom the operator works for, where that is a vendor.
    pub(super) vendor: Option<VendorId>,
}

/// How an answer was given.
#[derive(Debug, Clone)]
pub(super) enum Given {
    /// Under a signature.
    Signed { key: SshKey, signature: String },
    /// Without one, in this way.
    Weaker(Weaker),
}

impl VoteCast {
    /// In which way, where it was given without a signature.
    pub(super) const fn weaker(&self) -> Option<Weaker> {
        match self.given {
            Given::Weaker(way) => Some(way),
            Given::Signed { .. } => None,
        }
    }
}

/// A session.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    pub(super) id: SessionId,
    pub(super) started: Noted,
    /// The event itself.
    pub(super) start: Event,
    pub(super) facts: SessionFacts,
    /// Who had set the secret last that opened the account, where one did and the journal says so.
    pub(super) secret: Option<(Noted, PersonId)>,
    pub(super) ended: Option<(Noted, Ending, Option<Digest>)>,
    /// Freezing, watching, fetching and packing, in order.
    pub(super) turns: Vec<(Noted, Event)>,
    /// Of its review, where it was drawn.
    pub(super) votes: Vec<VoteCast>,
    /// The cut that ended it, and what lets back in.
    pub(super) cut: Option<(Noted, Event)>,
    pub(super) reopened: Option<Noted>,
}

impl Visit {
    pub(super) fn end(&self) -> Option<Timestamp> {
        self.facts.ended.as_ref().map(|(at, _)| *at)
    }
}

/// Gives every event of a folder's journal, in order, to `take`.
fn events(folder: &Path, take: &mut dyn FnMut(Noted, Event)) -> Result<(), PackFault> {
    let dir = folder.join(JOURNAL_DIR);
    for file in segments(&RealDisk, &dir)? {
        let SegmentState::Used { head, end } = &file.state else { continue };
        let unreadable = |cause: String| PackFault::Journal { path: file.path.clone(), cause };
        let mut entries = head.tree.size();
        let mut scan = Scan::open(&file.path, 0, *end).map_err(|error| unreadable(error.to_string()))?;
        while let Ok(Some(frame)) = scan.next() {
            if frame.header.kind != FrameKind::Leaf {
                continue;
            }
            let entry = Entry::parse(entries, frame.body).map_err(|wrong| unreadable(wrong.to_string()))?;
            let event = Event::decode(&entry.bytes).map_err(|unknown| unreadable(unknown.to_string()))?;
            take(Noted { entry: entry.index, at: entry.at }, event);
            entries += 1;
        }
    }
    Ok(())
}

/// How many entries a log has; none where it cannot be read.
pub(super) fn entries(log: &Path) -> u64 {
    let files = segments(&RealDisk, log).unwrap_or_default();
    let newest = files.iter().rev().find_map(|file| match &file.state {
        SegmentState::Used { head, end } => Some((file, head, *end)),
        SegmentState::Torn | SegmentState::Spare => None,
    });
    let Some((file, head, end)) = newest else { return 0 };
    let mut entries = head.tree.size();
    if let Ok(mut scan) = Scan::open(&file.path, 0, end) {
        while let Ok(Some(frame)) = scan.next() {
            entries += u64::from(frame.header.kind == FrameKind::Leaf);
        }
    }
    entries
}

/// What the journal stands at.
pub(super) fn state(folder: &Path) -> Result<State, PackFault> {
    let mut state = State::default();
    events(folder, &mut |noted, event| state.apply(&event, noted.at))?;
    Ok(state)
}

/// The sessions and requests that a pack is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) sessions: BTreeSet<SessionId>,
    pub(super) requests: BTreeSet<RequestId>,
}

impl Chosen {
    pub(super) fn of(state: &State, of: &PackOf) -> Self {
        match of {
            PackOf::Session { session } => {
                let facts = state.sessions.get(session);
                let requests = facts.map(|facts| facts.request).into_iter().collect();
                Self { sessions: facts.map(|_| *session).into_iter().collect(), requests }
            }
            PackOf::Vendor { vendor, from, until } => Self::of_vendor(state, vendor, *from, *until),
        }
    }

    /// Sessions of which a moment lies inside, and requests that were made inside or have such a session.
    fn of_vendor(state: &State, vendor: &VendorId, from: Timestamp, until: Timestamp) -> Self {
        let theirs = |person: PersonId| state.vendor_of(person) == Some(vendor);
        let within = |facts: &SessionFacts| theirs(facts.technician) && facts.is_within(from, until);
        let chosen = state.sessions.iter().filter(|(_, facts)| within(facts));
        let (sessions, mut requests): (BTreeSet<_>, BTreeSet<_>) =
            chosen.map(|(id, facts)| (*id, facts.request)).unzip();
        let made = |case: &Case| theirs(case.request.technician) && (from..until).contains(&case.submitted);
        requests.extend(state.cases.iter().filter(|(_, case)| made(case)).map(|(id, _)| *id));
        Self { sessions, requests }
    }
}

impl Story {
    /// What a folder's journal tells of what a pack is about.
    pub(super) fn read(folder: &Path, of: &PackOf) -> Result<Self, PackFault> {
        let end = state(folder)?;
        let chosen = Chosen::of(&end, of);
        let mut teller = Teller::new(&end, &chosen, of);
        events(folder, &mut |noted, event| teller.take(noted, &event))?;
        let Teller { requests, mut sessions, packs, cuts, reopened, .. } = teller;
        for visit in sessions.values_mut() {
            let Some((_, Ending::Cut { cut }, _)) = &visit.ended else { continue };
            (visit.cut, visit.reopened) = (cuts.get(cut).cloned(), reopened.get(cut).copied());
        }
        let in_order = |mut all: Vec<Asking>| {
            all.sort_by_key(|asking| asking.submitted.entry);
            all
        };
        let mut visits: Vec<Visit> = sessions.into_values().collect();
        visits.sort_by_key(|visit| visit.started.entry);
        let refusals = refused(&end, of);
        let requests = in_order(requests.into_values().collect());
        Ok(Self { requests, sessions: visits, packs, refusals, state: end })
    }

    /// The request behind a session.
    pub(super) fn asking(&self, request: RequestId) -> Option<&Asking> {
        self.requests.iter().find(|asking| asking.id == request)
    }

    /// Every answer of an operator that a pack of this tells.
    pub(super) fn votes(&self) -> impl Iterator<Item = &VoteCast> {
        let of_requests = self.requests.iter().flat_map(|asking| &asking.votes);
        of_requests.chain(self.sessions.iter().flat_map(|visit| &visit.votes))
    }

    /// A request as it stands.
    pub(super) fn case(&self, request: RequestId) -> Option<&Case> {
        self.state.cases.get(&request)
    }

    /// Every salted digest that a pack of this tells.
    pub(super) fn texts(&self) -> BTreeSet<String> {
        let mut texts = Vec::new();
        for asking in &self.requests {
            if let Some(case) = self.case(asking.id) {
                texts.extend(texts_of(&case.asked));
            }
            texts
                .extend(asking.guest.iter().flat_map(|(_, guest)| [guest.statement.reason, guest.statement.telephone]));
            texts.extend(asking.attested.iter().filter_map(|(attested, _)| attested.note));
            texts.extend(asking.turns.iter().flat_map(|(_, event)| texts_in(event)));
        }
        texts.extend(self.votes().filter_map(|vote| reason_of(&vote.statement.answer)));
        texts.extend(self.sessions.iter().flat_map(|visit| &visit.turns).flat_map(|(_, event)| texts_in(event)));
        texts.into_iter().map(|text| text.0.to_string()).collect()
    }

    /// Everybody whom a pack of this names.
    pub(super) fn people(&self) -> BTreeSet<PersonId> {
        let mut people = BTreeSet::new();
        for asking in &self.requests {
            people.extend(self.case(asking.id).map(|case| case.request.technician));
            people.extend(asking.contract.as_ref().map(|contract| contract.sponsor));
            people.extend(asking.guest.as_ref().map(|(_, guest)| guest.statement.operator));
            people.extend(asking.attested.iter().map(|(attested, _)| attested.by));
            people.extend(asking.turns.iter().filter_map(|(_, event)| event.actor()));
            people.extend(asking.turns.iter().flat_map(|(_, event)| restorers(event)));
        }
        for visit in &self.sessions {
            people.insert(visit.facts.technician);
            people.extend(visit.secret.map(|(_, by)| by));
            people.extend(visit.turns.iter().chain(&visit.cut).filter_map(|(_, event)| event.actor()));
        }
        people.extend(self.votes().map(|vote| vote.statement.operator));
        people.extend(self.packs.iter().map(|(_, person)| *person));
        people.extend(self.refusals.iter().map(|(_, item)| item.person));
        people
    }
}

fn refused(state: &State, of: &PackOf) -> Vec<(u64, Item)> {
    let PackOf::Vendor { vendor, from, until } = of else { return Vec::new() };
    let is_one = |item: &Item| {
        matches!(item.what, What::Refusal { .. })
            && item.vendor.as_ref() == Some(vendor)
            && (*from..*until).contains(&item.at)
    };
    let items = state.history.items().iter().filter(|(_, item)| is_one(item));
    items.map(|(entry, item)| (*entry, item.clone())).collect()
}

/// Who signed a restore.
fn restorers(event: &Event) -> impl Iterator<Item = PersonId> {
    let signed = match event {
        Event::Restored { administrator, operator } => [administrator, operator].map(|one| Some(one.statement.signer)),
        _ => [None, None],
    };
    signed.into_iter().flatten()
}

/// What opened an account, where it was a secret.
pub(super) const fn secret_of(account: &Injected) -> Option<&CredentialName> {
    match &account.by {
        Credential::Sealed(name) => Some(name),
        Credential::Certificate => None,
    }
}

fn texts_of(request: &Request) -> impl Iterator<Item = Salted> {
    [Some(request.reason), request.work_order].into_iter().flatten()
}

pub(super) const fn reason_of(answer: &Answer) -> Option<Salted> {
    match answer {
        Answer::No { reason } => Some(*reason),
        Answer::Yes { .. } => None,
    }
}

fn texts_in(event: &Event) -> Vec<Salted> {
    match event {
        Event::Revoked { reason, .. } => vec![*reason],
        Event::ExtensionAsked { extension } => vec![extension.reason],
        Event::WideningAsked { widening } => vec![widening.reason],
        Event::Held { reason, .. } => vec![*reason],
        Event::Told { text, .. } => vec![*text],
        Event::Accounted { account, .. } => account.texts().to_vec(),
        Event::ClosedOut { close_out, .. } => close_out.account.texts().to_vec(),
        Event::SessionReviewed { findings, .. } => findings.iter().copied().collect(),
        _ => Vec::new(),
    }
}

/// Follows the journal a second time.
struct Teller<'a> {
    end: &'a State,
    chosen: &'a Chosen,
    of: &'a PackOf,
    now: State,
    requests: BTreeMap<RequestId, Asking>,
    sessions: BTreeMap<SessionId, Visit>,
    packs: Vec<(Noted, PersonId)>,
    cuts: BTreeMap<CutId, (Noted, Event)>,
    reopened: BTreeMap<CutId, Noted>,
    secrets: BTreeMap<CredentialName, (Noted, PersonId)>,
}

impl<'a> Teller<'a> {
    fn new(end: &'a State, chosen: &'a Chosen, of: &'a PackOf) -> Self {
        Self {
            end,
            chosen,
            of,
            now: State::default(),
            requests: BTreeMap::new(),
            sessions: BTreeMap::new(),
            packs: Vec::new(),
            cuts: BTreeMap::new(),
            reopened: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }

    fn take(&mut self, noted: Noted, event: &Event) {
        match event {
            Event::Submitted { request, rule } => self.submitted(noted, request, rule),
            Event::Voted { verdict } => {
                let given = Given::Signed { key: verdict.key.clone(), signature: verdict.signature.clone() };
                self.voted(noted, &verdict.statement, given);
            }
            Event::VotedWeaker { statement, way } => self.voted(noted, statement, Given::Weaker(*way)),
            Event::Started { session, .. } => self.started(noted, *session, event),
            Event::Ended { session, ending, seal } => {
                if let Some(visit) = self.sessions.get_mut(session) {
                    visit.ended = Some((noted, ending.clone(), *seal));
                }
            }
            Event::Frozen { session, .. }
            | Event::Thawed { session, .. }
            | Event::Watched { session, .. }
            | Event::WatchEnded { session, .. }
            | Event::Escorted { session, .. }
            | Event::EscortEnded { session, .. }
            | Event::Told { session, .. }
            | Event::SessionReviewed { session, .. }
            | Event::IdleLocked { session }
            | Event::IdleUnlocked { session }
            | Event::Warned { session, .. }
            | Event::Fetched { session, .. }
            | Event::Rehearsed { session, .. }
            | Event::Held { session, .. }
            | Event::Released { session, .. }
            | Event::Erased { session, .. } => self.turn(noted, *session, event),
            Event::ErasureSigned { signed } => self.turn(noted, signed.statement.session, event),
            Event::Packed { of: PackOf::Session { session }, .. } => self.turn(noted, *session, event),
            Event::BackedUp { node, .. } => {
                let of_it = self.sessions.values_mut().filter(|visit| visit.facts.node == *node);
                of_it.for_each(|visit| visit.turns.push((noted, event.clone())));
            }
            Event::Packed { of, by } if of == self.of => self.packs.push((noted, *by)),
            Event::Refused { person, .. } | Event::Locked { person, .. } => self.refused(noted, *person, event),
            Event::Cut { cut, .. } => drop(self.cuts.insert(*cut, (noted, event.clone()))),
            Event::Reopened { reopening, .. } => drop(self.reopened.insert(reopening.cut, noted)),
            Event::SecretSet { credential, by } => drop(self.secrets.insert(credential.clone(), (noted, *by))),
            Event::SecretForgotten { credential, .. } => drop(self.secrets.remove(credential)),
            Event::Restored { .. } => {
                let is_open = |id: &RequestId| self.now.cases.get(id).is_some_and(|case| case.is_current(noted.at));
                let ended = self.requests.iter_mut().filter(|(id, _)| is_open(id));
                ended.for_each(|(_, asking)| asking.turns.push((noted, event.clone())));
            }
            Event::GuestEnded { guest, .. } | Event::GuestReviewed { guest, .. } => {
                self.asked_on(*guest).for_each(|asking| asking.turns.push((noted, event.clone())));
            }
            event => self.request_turn(noted, event),
        }
        self.now.apply(event, noted.at);
    }

    fn submitted(&mut self, noted: Noted, request: &Request, rule: &Rule) {
        if !self.chosen.requests.contains(&request.id) {
            return;
        }
        let kind = self.now.people.get(&request.technician).map(|person| person.kind.clone());
        let contract = kind.as_ref().and_then(Kind::vendor).and_then(|vendor| self.now.contracts.get(vendor)).cloned();
        let plant = self.now.plant.clone();
        let visit = self.now.people.get(&request.technician).and_then(|person| person.guest);
        let guest = visit.and_then(|id| Some((id, self.now.guests.get(&id)?.clone())));
        let attested = self.now.attestation(request.technician, rule, noted.at);
        let (votes, turns, refusals) = (Vec::new(), Vec::new(), Vec::new());
        let (id, submitted) = (request.id, noted);
        let asking = Asking { id, submitted, plant, contract, kind, guest, attested, votes, turns, refusals };
        self.requests.insert(request.id, asking);
    }

    fn voted(&mut self, noted: Noted, statement: &VerdictStatement, given: Given) {
        let request = match statement.matter {
            Matter::Request(request) | Matter::Review(request) => Some(request),
            Matter::Extension(ask) | Matter::Widening(ask) => self.now.asks.get(&ask).map(|ask| ask.asked.request()),
            Matter::Reopening(_) | Matter::Guest(_) | Matter::CloseOut(_) | Matter::Session(_) => None,
        };
        let operator = self.now.people.get(&statement.operator);
        let groups = operator.map(|operator| operator.groups.clone()).unwrap_or_default();
        let vendor = operator.and_then(|operator| operator.kind.vendor()).cloned();
        let vote = VoteCast { noted, statement: statement.clone(), given, groups, vendor };
        match statement.matter {
            Matter::Guest(guest) => self.asked_on(guest).for_each(|asking| asking.votes.push(vote.clone())),
            Matter::Session(session) => {
                if let Some(visit) = self.sessions.get_mut(&session) {
                    visit.votes.push(vote.clone());
                }
            }
            _ => {}
        }
        if let Some(asking) = request.and_then(|request| self.requests.get_mut(&request)) {
            asking.votes.push(vote);
        }
    }

    /// What was asked on a guest's visit.
    fn asked_on(&mut self, guest: GuestId) -> impl Iterator<Item = &mut Asking> {
        let is_on_it = move |asking: &&mut Asking| asking.guest.as_ref().is_some_and(|(id, _)| *id == guest);
        self.requests.values_mut().filter(is_on_it)
    }

    fn started(&mut self, noted: Noted, session: SessionId, event: &Event) {
        if let Some(facts) = self.end.sessions.get(&session).filter(|_| self.chosen.sessions.contains(&session)) {
            let visit = Visit {
                id: session,
                started: noted,
                start: event.clone(),
                facts: facts.clone(),
                secret: facts.account.as_ref().and_then(|account| self.secrets.get(secret_of(account)?).copied()),
                ended: None,
                turns: Vec::new(),
                votes: Vec::new(),
                cut: None,
                reopened: None,
            };
            self.sessions.insert(session, visit);
        }
    }

    fn turn(&mut self, noted: Noted, session: SessionId, event: &Event) {
        if let Some(visit) = self.sessions.get_mut(&session) {
            visit.turns.push((noted, event.clone()));
        }
    }

    fn refused(&mut self, noted: Noted, person: PersonId, event: &Event) {
        for asking in self.requests.values_mut() {
            let case = self.end.cases.get(&asking.id);
            let is_theirs = case.is_some_and(|case| case.request.technician == person && noted.at <= case.deadline);
            if is_theirs {
                asking.refusals.push((noted, event.clone()));
            }
        }
    }

    fn request_turn(&mut self, noted: Noted, event: &Event) {
        let request = match event {
            Event::Granted { request }
            | Event::Denied { request, .. }
            | Event::Withdrawn { request }
            | Event::Lapsed { request }
            | Event::Revoked { request, .. }
            | Event::Reviewed { request, .. }
            | Event::Accounted { request, .. }
            | Event::Accepted { request, .. }
            | Event::NotAccepted { request, .. }
            | Event::Extended { request, .. }
            | Event::Widened { request, .. }
            | Event::AskDenied { request, .. } => *request,
            Event::ExtensionAsked { extension } => extension.request,
            Event::WideningAsked { widening } => widening.request,
            Event::ClosedOut { close_out, .. } => close_out.request,
            _ => return,
        };
        if let Some(asking) = self.requests.get_mut(&request) {
            asking.turns.push((noted, event.clone()));
        }
    }
}

//! What stands: the fold of the journal. [`State::apply`] takes facts as they are and never refuses; whether a fact may
//! come to be is settled before it is written, in [`decide`](crate::decide).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::actions::Actions;
use crate::answered::Answered;
use crate::closing::Accounted;
use crate::digest::{Digest, Salted};
use crate::events::{CutBy, Ending, ErasedOn, Event, Founder, Scope};
use crate::guests::Guest;
use crate::history::History;
use crate::ids::{
    AskId, CredentialName, CutId, DeploymentId, GroupName, GuestId, LinkId, NodeId, PersonId, ProviderName, Recipient,
    RequestId, ServiceName, SessionId, TargetName, VendorId, ZoneName,
};
use crate::kept::{self, Alike, Kept};
use crate::ledger::Ledger;
use crate::live;
use crate::nodes::NodeFacts;
use crate::open::Open;
use crate::people::{Contract, Person, SshKey, Standing, Subject};
use crate::plant::{Credential, Plant, Rule, Then, Weaker};
use crate::recipients::RecipientFacts;
use crate::requests::{Answer, Extension, Matter, Request, RestoreStatement, SeenHead, VerdictStatement, Widening};
use crate::rotation::SecretFacts;
use crate::standstills::Standstills;
use crate::time::PlantTime;

/// An invitation nobody used yet.
#[derive(Debug, Clone)]
pub struct Link {
    /// For whom.
    pub person: PersonId,
    /// Void from then on.
    pub expires: Timestamp,
    /// Who gave it out; nobody, where the installation began with it.
    pub by: Option<PersonId>,
}

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestStanding {
    /// Waits for operators.
    Pending,
    /// A grant.
    Granted,
    /// An operator said no.
    Denied,
    /// The technician took it back.
    Withdrawn,
    /// Nobody answered, or nobody used it.
    Lapsed,
    /// A grant that was taken back.
    Revoked,
    /// The shift changed, and nobody accepted it.
    NotAccepted,
    /// An operator signed off what was done under it.
    ClosedOut,
    /// It was open when the journal was restored from an earlier state; what became of it is not known.
    Restored,
}

impl RequestStanding {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed => "lapsed",
            Self::Revoked => "revoked",
            Self::NotAccepted => "ended: nobody accepted it at the shift change",
            Self::ClosedOut => "closed out",
            Self::Restored => "ended by a restore",
        }
    }
}

/// One operator's answer, as far as it matters afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// Whose.
    pub operator: PersonId,
    /// Yes.
    pub yes: bool,
    /// Why not, where it is a no.
    pub reason: Option<Salted>,
    /// When it was journaled.
    pub at: Timestamp,
    /// In which weaker way, where it is not signed.
    pub weaker: Option<Weaker>,
}

/// An operator's no: to a request, or by taking its grant back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct No {
    /// Whose.
    pub by: PersonId,
    /// Why.
    pub reason: Salted,
}

/// That somebody else looked back at what one operator alone brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookBack {
    /// Who.
    pub by: PersonId,
    /// When it was journaled.
    pub at: Timestamp,
    /// Why it should not have been, where they signed a no.
    pub objection: Option<Salted>,
}

/// A request, its votes, and the grant it may have become.
#[derive(Debug, Clone)]
pub struct Case {
    /// As it was asked.
    pub asked: Arc<Request>,
    /// As narrowed so far: what the next approval is for, and what a grant allows.
    pub request: Arc<Request>,
    /// The rule it stands on, frozen.
    pub rule: Arc<Rule>,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// The visit of a guest that it was asked on.
    pub guest: Option<GuestId>,
    /// How it stands.
    pub standing: RequestStanding,
    /// Who answered what.
    pub votes: Vec<Vote>,
    /// When it was granted.
    pub granted: Option<Timestamp>,
    /// The first connection: the clock runs from here.
    pub first_use: Option<Timestamp>,
    /// When the running grant ends; before the first connection, when its window does.
    pub deadline: Timestamp,
    /// Actions added for some time.
    pub widened: Vec<(Actions, Timestamp)>,
    reviewed: Option<Box<LookBack>>,
    /// The sessions under it, in the order in which they began.
    pub sessions: Vec<SessionId>,
    /// More time and more actions that were asked of it, in the order in which they were.
    pub asks: Vec<AskId>,
    /// When the last session under it ended.
    pub last_end: Option<Timestamp>,
    pub(crate) account: Option<Box<Accounted>>,
    /// The texts of what they said before that.
    pub said_before: Vec<Salted>,
    pub(crate) closed_out: Option<Box<Accounted>>,
    /// What whoever looks back has against it, as their signed answer says.
    objected: Option<Salted>,
    no: Option<Box<No>>,
    /// When something ended it before its time: a no, an operator's word, a restore.
    pub stopped: Option<Timestamp>,
    /// Until when somebody of the shift stands for it; `None`: it came before shifts changed at times of day.
    pub covered_until: Option<Timestamp>,
    /// Nobody accepted it in time: it is frozen until somebody does.
    pub unaccepted: bool,
    /// Its place in the journal.
    pub(crate) entry: u64,
}

/// Work that the shift before left, and that somebody of this one is to accept or to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handover {
    /// Since when nobody of the shift stands for it.
    pub since: Timestamp,
    /// From then on it is red.
    pub red: Timestamp,
    /// What its rule says happens then.
    pub acts: Timestamp,
    /// What that is.
    pub then: Then,
}

impl Case {
    /// Somebody who is on duty until then stands for it.
    fn cover(&mut self, until: Timestamp) {
        self.covered_until = self.covered_until.max(Some(until));
        self.unaccepted = false;
    }

    /// What the grant allows at `now`, widenings included.
    pub fn actions(&self, now: Timestamp) -> Actions {
        let widened = self.widened.iter().filter(|(_, until)| now < *until).flat_map(|(actions, _)| actions.iter());
        self.request.actions.iter().chain(widened).copied().collect()
    }

    /// Whether a connection may be open under it at `now`, as far as the clock is concerned.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.standing == RequestStanding::Granted && self.request.window.from <= now && now < self.deadline
    }

    /// Whether it waits for an answer, or was granted and its time is not over.
    pub fn is_current(&self, now: Timestamp) -> bool {
        match self.standing {
            RequestStanding::Pending => true,
            RequestStanding::Granted => now < self.deadline,
            _ => false,
        }
    }

    /// Whether nobody answered it, or nobody used it, while there was time.
    pub fn has_lapsed(&self, now: Timestamp) -> bool {
        let unused = self.standing == RequestStanding::Granted && self.first_use.is_none();
        (self.standing == RequestStanding::Pending || unused) && self.deadline <= now
    }

    /// How it stands, for people. A guest's visit takes the grant with it, used or not.
    pub const fn standing_in_words(&self) -> &'static str {
        match self.standing {
            RequestStanding::Lapsed if self.first_use.is_some() => "ended with the guest's visit",
            standing => standing.as_str(),
        }
    }

    /// Whether it was given as an emergency, and nobody looked back at it.
    pub fn wants_review(&self) -> bool {
        self.asked.emergency && self.granted.is_some() && self.reviewed.is_none()
    }

    /// Who looked back at an emergency grant.
    pub fn reviewed(&self) -> Option<LookBack> {
        self.reviewed.as_deref().copied()
    }

    /// What the technician says they did.
    pub fn account(&self) -> Option<Accounted> {
        self.account.as_deref().copied()
    }

    /// What an operator signed off.
    pub fn closed_out(&self) -> Option<Accounted> {
        self.closed_out.as_deref().copied()
    }

    /// Who ended it by a no, and why.
    pub fn no(&self) -> Option<No> {
        self.no.as_deref().copied()
    }

    /// A yes of each operator who gave one.
    pub fn approvers(&self) -> impl Iterator<Item = PersonId> + '_ {
        self.votes.iter().filter(|vote| vote.yes).map(|vote| vote.operator)
    }
}

/// More time or more actions, asked for.
#[derive(Debug, Clone)]
pub enum Asked {
    /// More time.
    Extension(Extension),
    /// More actions.
    Widening(Widening),
}

impl Asked {
    /// Of which grant.
    pub const fn request(&self) -> RequestId {
        match self {
            Self::Extension(extension) => extension.request,
            Self::Widening(widening) => widening.request,
        }
    }

    /// As answers name it.
    pub const fn matter(&self) -> Matter {
        match self {
            Self::Extension(extension) => Matter::Extension(extension.id),
            Self::Widening(widening) => Matter::Widening(widening.id),
        }
    }

    /// Why.
    pub const fn reason(&self) -> Salted {
        match self {
            Self::Extension(extension) => extension.reason,
            Self::Widening(widening) => widening.reason,
        }
    }
}

/// An extension or widening and its votes.
#[derive(Debug, Clone)]
pub struct Ask {
    /// What is asked.
    pub asked: Asked,
    /// When.
    pub at: Timestamp,
    /// Who answered what.
    pub votes: Vec<Vote>,
    /// Still waits.
    pub open: bool,
    /// All it takes said yes.
    pub granted: bool,
}

impl Ask {
    /// When all it takes had said yes: the last yes decided it.
    pub fn given(&self) -> Option<Timestamp> {
        self.votes.last().filter(|_| self.granted).map(|vote| vote.at)
    }

    /// The operator's no that ended it.
    pub fn no(&self) -> Option<No> {
        let last = self.votes.last().filter(|vote| !self.open && !vote.yes)?;
        Some(No { by: last.operator, reason: last.reason? })
    }
}

/// Why a recording must not be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub reason: Salted,
    /// Since when.
    pub at: Timestamp,
}

/// A session, live or over.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    /// Under which grant.
    pub request: RequestId,
    /// Whose.
    pub technician: PersonId,
    /// Where.
    pub target: TargetName,
    /// Through which service.
    pub service: ServiceName,
    /// The account there that the gate opened for it.
    pub account: Option<Injected>,
    /// What it may do.
    pub actions: Actions,
    /// From where.
    pub source: IpAddr,
    /// On which node.
    pub node: NodeId,
    /// Since when.
    pub started: Timestamp,
    /// How and when it ended.
    pub ended: Option<(Timestamp, Ending)>,
    /// Digest of its seal.
    pub seal: Option<Digest>,
    /// Frozen by an operator.
    pub frozen: bool,
    /// Who watches.
    pub watchers: BTreeSet<PersonId>,
    /// Who of them escorts it: said by a tap that they are there.
    pub escorts: BTreeSet<PersonId>,
    /// What operators wrote to the technician of late, oldest first, and when.
    pub told: Vec<(Timestamp, Salted)>,
    /// Who holds its recording, and why.
    pub holds: BTreeMap<PersonId, Hold>,
    /// Who signed, since the last hold, that its recording is erased.
    pub erasers: BTreeSet<PersonId>,
    /// Until when somebody is to review it, where it was drawn.
    pub review_due: Option<Timestamp>,
    /// The place of its beginning in the journal.
    pub(crate) entry: u64,
    pub(crate) reviewed: Option<Box<LookBack>>,
    erased: Option<Box<(Timestamp, ErasedOn)>>,
}

impl SessionFacts {
    /// Who reviewed it, and what they found.
    pub fn reviewed(&self) -> Option<LookBack> {
        self.reviewed.as_deref().copied()
    }

    /// When its recording was erased, and on whose word.
    pub fn erased(&self) -> Option<&(Timestamp, ErasedOn)> {
        self.erased.as_deref()
    }
}

/// An account on a target that the gate logs in to, by what nobody is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injected {
    /// Its name; none where what is spoken there knows none.
    pub user: Option<String>,
    /// What opens it.
    pub by: Credential,
}

/// So many lines of operators are at hand with a session: a technician whose program asks each minute misses none.
const TOLD_MAX: usize = 16;

/// A plant file that was proposed.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// Its text, whole.
    pub text: String,
    /// Who signed it.
    pub signers: BTreeSet<PersonId>,
}

/// A head of the journal that somebody's signature remembers: nothing before it can change unnoticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witnessed {
    /// Which.
    pub head: SeenHead,
    /// When the signature was journaled.
    pub at: Timestamp,
}

/// A cut that nobody reopened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingCut {
    /// Whom or what it keeps out.
    pub scope: Scope,
    /// On whose word.
    pub by: CutBy,
    /// When it was made, which may be before it was journaled.
    pub at: Timestamp,
}

/// What stands after a prefix of the journal.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The installation, once founded.
    pub deployment: Option<DeploymentId>,
    /// Everybody.
    pub people: BTreeMap<PersonId, Person>,
    /// Vendors' contracts.
    pub contracts: BTreeMap<VendorId, Contract>,
    /// Guests' visits, those that are over too.
    pub guests: BTreeMap<GuestId, Guest>,
    /// Invitations that were not used.
    pub links: BTreeMap<LinkId, Link>,
    /// Who vouched for whom, until it suffices.
    pub vouchers: BTreeMap<PersonId, BTreeSet<PersonId>>,
    /// Plant files that were proposed or adopted.
    pub proposals: BTreeMap<Digest, Proposal>,
    /// The plant file in force.
    pub plant: Option<Arc<Plant>>,
    /// Requests and grants.
    pub cases: Kept<RequestId, Case>,
    /// Extensions and widenings.
    pub asks: Kept<AskId, Ask>,
    /// Sessions, live and over.
    pub sessions: Kept<SessionId, SessionFacts>,
    /// The live ones.
    pub live: BTreeSet<SessionId>,
    /// Recordings whose rule's maximum is over, and the time of the first entry by which the journal knew.
    pub overdue: BTreeMap<SessionId, Timestamp>,
    /// How long requests waited for their yes.
    pub answered: Answered,
    /// What was asked, done and refused, and who was there.
    pub history: History,
    /// Cuts, plant files and failures that were.
    pub ledger: Ledger,
    /// Everybody to whom recordings were ever encrypted.
    pub recipients: BTreeMap<Recipient, RecipientFacts>,
    /// What the journal says of secrets that the gate keeps: who set or forgot each last.
    pub secrets: BTreeMap<CredentialName, SecretFacts>,
    /// Since when each of them that is set is in the journal, for certain.
    pub(crate) secrets_told_since: Option<Timestamp>,
    /// Nodes that ran since the last restore.
    pub nodes: BTreeMap<NodeId, NodeFacts>,
    /// Cuts that were not reopened.
    pub cuts: BTreeMap<CutId, StandingCut>,
    /// Restores, in order.
    pub restores: Vec<Restore>,
    /// Entries folded so far.
    pub size: u64,
    /// Time of the newest entry.
    pub newest: Option<Timestamp>,
    /// The longest prefix of the journal that somebody signed.
    pub witnessed: Option<Witnessed>,
    /// Since when shifts are as the plant file in force says.
    shifts_since: Option<Timestamp>,
    /// When nobody could accept anything.
    pub(crate) standstills: Standstills,
    texts: BTreeMap<Digest, Vec<String>>,
    /// Rules that are frozen into requests, by the digest that those name.
    frozen: BTreeMap<Digest, Arc<Rule>>,
    /// What was asked last, by who, where and through what.
    pub(crate) asked_last: BTreeMap<(PersonId, TargetName, ServiceName), RequestId>,
    /// Places in the journal of what says something of more than one request.
    pub(crate) lasting: Vec<u64>,
    alike: Alike,
    /// When the maximum of a recording is over.
    maxima: BTreeSet<(Timestamp, SessionId)>,
    pub(crate) open: Open,
}

/// A restore: from its entry on the logs have other names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// What both signed, as the administrator did.
    pub statement: RestoreStatement,
    /// The operator who signed it too.
    pub operator: PersonId,
    /// When it came into the journal.
    pub at: Timestamp,
}

impl State {
    /// Whether the plant takes WebSockets. Before its first plant file nothing forbids them.
    pub fn takes_websockets(&self) -> bool {
        self.plant.as_ref().is_none_or(|plant| plant.websockets)
    }

    /// The plant's zone; UTC before there is a plant file.
    pub fn timezone(&self) -> TimeZone {
        self.plant.as_ref().map_or(TimeZone::UTC, |plant| plant.timezone.clone())
    }

    /// A moment in the plant's time.
    pub fn clock(&self, at: Timestamp) -> PlantTime {
        PlantTime::new(at, self.timezone())
    }

    /// What approvals took away from what was asked, in words.
    pub fn taken_away(&self, case: &Case) -> Vec<String> {
        let (asked, stands) = (&case.asked, &case.request);
        let fewer: Vec<&str> = asked.actions.difference(&stands.actions).map(|action| action.as_str()).collect();
        [
            (stands.duration < asked.duration).then(|| format!("{} instead of {}", stands.duration, asked.duration)),
            (!fewer.is_empty()).then(|| format!("without {}", fewer.join(", "))),
            (stands.window.from > asked.window.from).then(|| format!("not before {}", self.clock(stands.window.from))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// What is asked of a standing grant, in words.
    pub fn asked_in_words(&self, asked: &Asked) -> String {
        match asked {
            Asked::Extension(more) => format!("{} more, until {}", more.by, self.clock(more.deadline)),
            Asked::Widening(also) => {
                let actions: Vec<&str> = also.actions.iter().map(|action| action.as_str()).collect();
                format!("for {} also {}", also.lasts, actions.join(", "))
            }
        }
    }

    /// What was asked of a grant and refused, oldest first.
    pub fn refused_asks(&self, request: RequestId) -> impl Iterator<Item = (AskId, &Ask, No)> {
        self.asks_of(request).filter_map(|(id, ask)| Some((id, ask, ask.no()?)))
    }

    /// More time and more actions that were asked of a grant, oldest first.
    pub fn asks_of(&self, request: RequestId) -> impl Iterator<Item = (AskId, &Ask)> {
        let ids = self.cases.get(&request).into_iter().flat_map(|case| &case.asks);
        ids.filter_map(|id| Some((*id, self.asks.get(id)?)))
    }

    /// The state after one more entry, written at `at`.
    pub fn apply(&mut self, event: &Event, at: Timestamp) {
        let entry = self.size;
        self.size += 1;
        let newest = self.newest;
        self.newest = newest.max(Some(at));
        self.close_by(at);
        while self.maxima.first().is_some_and(|(over, _)| *over <= at) {
            self.overdue.extend(self.maxima.pop_first().map(|(_, session)| (session, at)));
        }
        if let Some(head) = event.seen().filter(|seen| self.witnessed.is_none_or(|known| known.head.size < seen.size)) {
            self.witnessed = Some(Witnessed { head, at });
        }
        if let Some(actor) = event.actor() {
            self.with_person(actor, |person| person.last_seen = at);
        }
        match event {
            Event::Founded { deployment, founders, .. } => self.found(deployment, founders, at),
            Event::Contracted { .. }
            | Event::Invited { .. }
            | Event::Reinvited { .. }
            | Event::Enrolled { .. }
            | Event::KeyAdded { .. }
            | Event::Certified { .. }
            | Event::Activated { .. }
            | Event::Renamed { .. }
            | Event::Disabled { .. }
            | Event::VendorDisabled { .. }
            | Event::Locked { .. }
            | Event::PasswordSet { .. }
            | Event::SubjectLinked { .. }
            | Event::SubjectUnlinked { .. }
            | Event::SubjectRenamed { .. }
            | Event::SubjectContested { .. }
            | Event::OnDuty { .. } => self.apply_people(event, at),
            Event::InvitationsAllowed { .. }
            | Event::ManagerNamed { .. }
            | Event::ManagerDismissed { .. }
            | Event::Attested { .. }
            | Event::AttestationWithdrawn { .. } => self.apply_company(event, at),
            Event::Accounted { .. } | Event::ClosedOut { .. } | Event::SessionReviewed { .. } => {
                self.apply_closing(event, at);
            }
            Event::GuestInvited { .. } | Event::GuestEnded { .. } | Event::GuestReviewed { .. } => {
                self.apply_guest(event, at);
            }
            Event::PlantText { .. }
            | Event::PlantProposed { .. }
            | Event::PlantSigned { .. }
            | Event::PlantAdopted { .. } => self.apply_plant(event, at),
            Event::SecretSet { credential, by } => self.apply_secret(credential, *by, true, at),
            Event::SecretForgotten { credential, by } => self.apply_secret(credential, *by, false, at),
            Event::Submitted { .. }
            | Event::Voted { .. }
            | Event::VotedWeaker { .. }
            | Event::Granted { .. }
            | Event::Denied { .. }
            | Event::Withdrawn { .. }
            | Event::Lapsed { .. }
            | Event::Revoked { .. }
            | Event::Accepted { .. }
            | Event::NotAccepted { .. }
            | Event::Reviewed { .. } => self.apply_request(event, at),
            Event::ExtensionAsked { .. }
            | Event::Extended { .. }
            | Event::WideningAsked { .. }
            | Event::Widened { .. }
            | Event::AskDenied { .. } => self.apply_ask(event, at),
            Event::Started { .. } => {
                self.apply_node(event, at, newest);
                self.apply_session(event, at);
            }
            Event::Ended { .. }
            | Event::Frozen { .. }
            | Event::Thawed { .. }
            | Event::Watched { .. }
            | Event::WatchEnded { .. }
            | Event::Escorted { .. }
            | Event::EscortEnded { .. }
            | Event::Told { .. } => self.apply_session(event, at),
            Event::Held { .. } | Event::Released { .. } | Event::ErasureSigned { .. } | Event::Erased { .. } => {
                self.apply_keeping(event, at);
            }
            Event::Cut { cut, scope, by, at } => {
                self.cuts.insert(*cut, StandingCut { scope: scope.clone(), by: by.clone(), at: *at });
            }
            Event::Reopened { reopening, .. } => {
                self.cuts.remove(&reopening.cut);
            }
            Event::NodeStarted { .. } | Event::NodeStopped { .. } | Event::NodesForgotten { .. } => {
                self.apply_node(event, at, newest);
            }
            Event::RecipientsNamed { node, recipients } => self.name_recipients(node, recipients, at),
            Event::Rehearsed { recipient, .. } => {
                if let Some(facts) = self.recipients.get_mut(recipient) {
                    facts.used = Some(at);
                }
            }
            Event::Restored { administrator, operator } => {
                self.end_what_is_open(entry, at);
                self.nodes.clear();
                let (statement, operator) = (administrator.statement.clone(), operator.statement.signer);
                self.restores.push(Restore { statement, operator, at });
            }
            Event::Fetched { .. }
            | Event::Packed { .. }
            | Event::HostKeyMismatch { .. }
            | Event::TransferRunsOn { .. }
            | Event::IdleLocked { .. }
            | Event::IdleUnlocked { .. }
            | Event::Warned { .. }
            | Event::Disconnected { .. }
            | Event::CaptureBegun { .. }
            | Event::Refused { .. }
            | Event::Checkpointed { .. }
            | Event::RecorderFailed { .. }
            | Event::BackedUp { .. } => {}
        }
        self.lasting.extend(live::lasts(event).then_some(entry));
        self.remember(entry, event, at);
        self.ledger.take(event, at);
    }

    /// What was asked or given and not over: whether it was answered, used up or taken back since is lost.
    fn end_what_is_open(&mut self, entry: u64, at: Timestamp) {
        let open: Vec<_> = self.open_cases().filter(|(_, case)| case.is_current(at)).map(|(id, _)| id).collect();
        for case in open {
            self.stop(case, RequestStanding::Restored, at);
            self.ends_request(case, entry);
        }
        let asks: Vec<_> = self.asks.iter().filter(|(_, ask)| ask.open).map(|(id, _)| *id).collect();
        for ask in asks {
            self.close_ask(ask, false);
            self.ends_ask(ask, entry);
        }
        let visits: Vec<_> = self.guests.iter().filter(|(_, guest)| !guest.is_over(at)).collect();
        let visits: Vec<_> = visits.into_iter().map(|(id, guest)| (*id, guest.statement.person)).collect();
        visits.iter().for_each(|(guest, _)| self.ends_visit(*guest, entry));
        visits.into_iter().for_each(|(guest, person)| self.send_away(guest, person, at, None));
    }

    fn found(&mut self, deployment: &DeploymentId, founders: &[Founder], at: Timestamp) {
        self.deployment = Some(deployment.clone());
        for founder in founders {
            self.links.insert(founder.link, Link { person: founder.person, expires: Timestamp::MAX, by: None });
            let (kind, groups) = (founder.kind.clone(), founder.groups.clone());
            let first = Person { founder: true, ..Person::invited(founder.person, kind, groups, at) };
            self.people.insert(founder.person, first);
        }
    }

    fn apply_people(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::Contracted { vendor, end, sponsor, telephone, .. } => {
                // Whom its managers may invite is said apart.
                let allowance = self.contracts.get(vendor).map(|known| known.allowance.clone()).unwrap_or_default();
                let (end, sponsor, telephone) = (*end, *sponsor, *telephone);
                let contract = Contract { end, sponsor, disabled: false, telephone, allowance };
                self.contracts.insert(vendor.clone(), contract);
            }
            Event::Invited { person, kind, groups, link, expires, by } => {
                self.links.insert(*link, Link { person: *person, expires: *expires, by: Some(*by) });
                // Whoever was here as a guest comes back as who they were, and as a guest no longer.
                let known = self.people.get(person);
                if known.is_none_or(|known| known.standing == Standing::Over) {
                    let invited = Person::invited(*person, kind.clone(), groups.clone(), at).again(known);
                    self.people.insert(*person, Person { invited_by: Some(*by), ..invited });
                }
            }
            Event::Reinvited { person, link, expires, by } => {
                self.links.retain(|_, link| link.person != *person);
                self.links.insert(*link, Link { person: *person, expires: *expires, by: Some(*by) });
            }
            Event::Enrolled { person, link, keys } => {
                self.links.remove(link);
                self.vouchers.remove(person);
                self.with_person(*person, |person| person.enrol(keys, at));
                // Whoever had their key till now may have said it in their place.
                self.disown(*person);
            }
            Event::KeyAdded { person, key } => self.with_person(*person, |person| person.add_key(key, at)),
            Event::Certified { certificate } => {
                self.vouchers.entry(certificate.statement.person).or_default().insert(certificate.statement.signer);
            }
            Event::Activated { person } => {
                self.vouchers.remove(person);
                self.with_person(*person, |person| person.standing = Standing::Active);
            }
            Event::Disabled { person, by } => {
                self.with_person(*person, |person| person.standing = Standing::Disabled);
                if let Some(guest) = self.people.get(person).and_then(|person| person.guest) {
                    self.end_visit(guest, at, Some(*by));
                }
                self.links.retain(|_, link| link.person != *person);
                self.dismiss(*person);
            }
            Event::VendorDisabled { vendor, .. } => {
                if let Some(contract) = self.contracts.get_mut(vendor) {
                    contract.disabled = true;
                }
                // No code of its managers opens anything again by another contract.
                let theirs: BTreeSet<PersonId> = self.technicians_of(vendor).map(|person| person.id).collect();
                self.links.retain(|_, link| link.by.is_none_or(|by| !theirs.contains(&by)));
            }
            Event::Locked { person, until } => {
                self.with_person(*person, |person| person.locked_until = Some(*until));
            }
            Event::SubjectLinked { person, provider, subject, called } => {
                let known = Subject { id: *subject, called: *called, since: at };
                self.with_person(*person, |person| {
                    person.subjects.insert(provider.clone(), known);
                });
            }
            Event::SubjectUnlinked { person, provider, .. } => {
                self.with_person(*person, |person| {
                    person.subjects.remove(provider);
                });
            }
            Event::SubjectRenamed { person, provider, called, .. } => self.with_person(*person, |person| {
                if let Some(known) = person.subjects.get_mut(provider) {
                    known.called = Some(*called);
                }
            }),
            Event::OnDuty { person, until, .. } => {
                self.with_person(*person, |person| person.on_duty_until = Some(*until));
            }
            _ => {}
        }
    }

    pub(crate) fn with_person(&mut self, person: PersonId, change: impl FnOnce(&mut Person)) {
        if let Some(person) = self.people.get_mut(&person) {
            change(person);
        }
    }

    fn apply_plant(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::PlantText { plant, text, .. } => self.texts.entry(*plant).or_default().push(text.clone()),
            Event::PlantProposed { plant, .. } => {
                let text = self.texts.remove(plant).unwrap_or_default().concat();
                self.proposals.insert(*plant, Proposal { text, signers: BTreeSet::new() });
            }
            Event::PlantSigned { signed } => {
                if let Some(proposal) = self.proposals.get_mut(&signed.statement.plant) {
                    proposal.signers.insert(signed.statement.signer);
                }
            }
            Event::PlantAdopted { plant } => {
                let parsed = self.proposals.get(plant).and_then(|proposal| Plant::adopted(&proposal.text).ok());
                let shifts = |plant: &Plant| plant.shifts.clone();
                if parsed.as_ref().map(shifts) != self.plant.as_deref().map(shifts) {
                    self.shifts_since = Some(at);
                    // Where nobody takes over from anybody, nobody could accept it any more.
                    if parsed.as_ref().is_none_or(|plant| !plant.shifts.change()) {
                        let waiting: Vec<_> = self.open_cases().map(|(id, _)| id).collect();
                        waiting.into_iter().for_each(|case| self.with_case(case, |case| case.unaccepted = false));
                    }
                }
                if parsed.as_ref().is_some_and(Plant::demands_rotation) {
                    self.secrets_told_since.get_or_insert(at);
                }
                self.plant = parsed.map(Arc::new);
                // What was signed so far was to replace the file before.
                self.proposals.values_mut().for_each(|proposal| proposal.signers.clear());
            }
            _ => {}
        }
    }

    fn apply_request(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::Submitted { request, rule } => {
                let covered = self.plant.as_ref().and_then(|plant| plant.shifts.change_after(at, &plant.timezone));
                let guest = self.people.get(&request.technician).and_then(|person| person.guest);
                let rule = self.frozen(request.rule, rule);
                let asked = self.alike.request(request);
                for service in asked.services.iter() {
                    let way = (asked.technician, asked.target.clone(), service.clone());
                    let last = self.asked_last.entry(way).or_insert(asked.id);
                    *last = asked.id.max(*last);
                }
                let entry = self.size - 1;
                let case = Case { entry, covered_until: covered, guest, ..Case::submitted(asked, rule, at) };
                self.cases.insert(request.id, case);
                self.note_case(request.id);
            }
            Event::Voted { verdict } => self.apply_vote(&verdict.statement, None, at),
            Event::VotedWeaker { statement, way } => self.apply_vote(statement, Some(*way), at),
            Event::Granted { request } => {
                if let Some(case) = self.cases.get(request).filter(|case| case.granted.is_none()) {
                    self.answered.take(at.duration_since(case.submitted));
                }
                self.with_case(*request, |case| {
                    case.standing = RequestStanding::Granted;
                    case.granted = Some(at);
                });
            }
            Event::Denied { request, .. } => self.stop(*request, RequestStanding::Denied, at),
            Event::Withdrawn { request } => self.stop(*request, RequestStanding::Withdrawn, at),
            Event::Lapsed { request } => self.stop(*request, RequestStanding::Lapsed, at),
            Event::Revoked { request, by, reason } => {
                self.with_case(*request, |case| case.no = Some(Box::new(No { by: *by, reason: *reason })));
                self.stop(*request, RequestStanding::Revoked, at);
            }
            // Before objections had a place of their own, the signed answer beside it was the only one.
            Event::Reviewed { request, by, objection } => self.with_case(*request, |case| {
                let objection = objection.or(case.objected.take());
                case.reviewed = Some(Box::new(LookBack { by: *by, at, objection }));
            }),
            Event::Accepted { request, until, .. } => self.with_case(*request, |case| case.cover(*until)),
            Event::NotAccepted { request, then: Then::Freeze } => {
                self.with_case(*request, |case| case.unaccepted = true);
            }
            Event::NotAccepted { request, then: Then::End } => self.stop(*request, RequestStanding::NotAccepted, at),
            _ => {}
        }
    }

    fn apply_vote(&mut self, statement: &VerdictStatement, weaker: Option<Weaker>, at: Timestamp) {
        let reason = match &statement.answer {
            Answer::Yes { .. } => None,
            Answer::No { reason } => Some(*reason),
        };
        let vote = Vote { operator: statement.operator, yes: reason.is_none(), reason, at, weaker };
        self.cover_by(statement, vote.yes, at);
        match &statement.matter {
            Matter::Request(id) => self.with_case(*id, |case| {
                match &statement.answer {
                    Answer::Yes { narrowing } if narrowing.is_empty() => {}
                    Answer::Yes { narrowing } => case.request = Arc::new(case.request.narrowed(narrowing)),
                    Answer::No { reason } => case.no = Some(Box::new(No { by: vote.operator, reason: *reason })),
                }
                kept::push(&mut case.votes, vote);
            }),
            Matter::Extension(id) | Matter::Widening(id) => {
                if let Some(ask) = self.asks.get_mut(id) {
                    kept::push(&mut ask.votes, vote);
                }
            }
            Matter::Review(id) => self.with_case(*id, |case| case.objected = vote.reason),
            Matter::Reopening(_) | Matter::Guest(_) | Matter::CloseOut(_) | Matter::Session(_) => {}
        }
    }

    /// Who says yes while on duty stands for it from then on.
    fn cover_by(&mut self, statement: &VerdictStatement, yes: bool, at: Timestamp) {
        let operator = self.people.get(&statement.operator).filter(|operator| yes && operator.is_on_duty(at));
        let Some(until) = operator.and_then(|operator| operator.on_duty_until) else { return };
        let request = match &statement.matter {
            Matter::Request(id) => Some(*id),
            Matter::Extension(id) | Matter::Widening(id) => self.asks.get(id).map(|ask| ask.asked.request()),
            Matter::Reopening(_) | Matter::Review(_) | Matter::Guest(_) | Matter::CloseOut(_) | Matter::Session(_) => {
                None
            }
        };
        if let Some(request) = request {
            self.with_case(request, |case| case.cover(until));
        }
    }

    /// What the shift before left of this, if it waits at `now` for somebody of this shift to accept it.
    pub fn handover(&self, case: &Case, now: Timestamp) -> Option<Handover> {
        if !case.is_current(now) || case.has_lapsed(now) {
            return None;
        }
        self.next_handover(case).filter(|handover| handover.since <= now)
    }

    /// Whether the gate ever ran.
    pub fn has_run(&self) -> bool {
        self.standstills.has_run()
    }

    /// What becomes of this at the end of the shift in which somebody stands for it, if nobody accepts it before or after.
    pub fn next_handover(&self, case: &Case) -> Option<Handover> {
        let plant = self.plant.as_ref()?;
        let since = self.standstills.first_up(self.covered_until(plant, case)?);
        Some(Handover {
            since,
            red: self.standstills.later(since, plant.accept_within),
            acts: self.standstills.later(since, case.rule.unaccepted.after),
            then: case.rule.unaccepted.then,
        })
    }

    /// Until when somebody stands for it. `None` where nobody takes over from anybody.
    pub(crate) fn covered_until(&self, plant: &Plant, case: &Case) -> Option<Timestamp> {
        let first = || plant.shifts.change_after(self.shifts_since?, &plant.timezone);
        plant.shifts.change().then(|| case.covered_until.or_else(first))?
    }

    pub(crate) fn with_case(&mut self, request: RequestId, change: impl FnOnce(&mut Case)) {
        if let Some(case) = self.cases.get_mut(&request) {
            change(case);
            self.note_case(request);
        }
    }

    /// Before its time.
    pub(crate) fn stop(&mut self, request: RequestId, standing: RequestStanding, at: Timestamp) {
        self.with_case(request, |case| (case.standing, case.stopped) = (standing, Some(at)));
    }

    fn apply_ask(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::ExtensionAsked { extension } => {
                self.open_ask(extension.id, Asked::Extension(extension.clone()), at);
            }
            Event::WideningAsked { widening } => {
                self.open_ask(widening.id, Asked::Widening(widening.clone()), at);
            }
            Event::Extended { ask, request, deadline } => {
                self.close_ask(*ask, true);
                self.with_case(*request, |case| case.deadline = *deadline);
            }
            Event::Widened { ask, request, until } => {
                let added = self.asks.get(ask).and_then(|ask| match &ask.asked {
                    Asked::Widening(widening) => Some(widening.actions.clone()),
                    Asked::Extension(_) => None,
                });
                self.close_ask(*ask, true);
                self.with_case(*request, |case| case.widened.extend(added.map(|actions| (actions, *until))));
            }
            Event::AskDenied { ask, .. } => self.close_ask(*ask, false),
            _ => {}
        }
    }

    fn open_ask(&mut self, id: AskId, asked: Asked, at: Timestamp) {
        self.with_case(asked.request(), |case| kept::push(&mut case.asks, id));
        self.asks.insert(id, Ask { asked, at, votes: Vec::new(), open: true, granted: false });
        self.note_ask(id);
    }

    fn close_ask(&mut self, id: AskId, granted: bool) {
        if let Some(ask) = self.asks.get_mut(&id) {
            (ask.open, ask.granted) = (false, granted);
        }
        self.note_ask(id);
    }

    fn apply_session(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::Started {
                session, request, technician, target, service, actions, source, node, deadline, ..
            } => {
                self.with_case(*request, |case| {
                    case.first_use.get_or_insert(at);
                    case.deadline = *deadline;
                    kept::push(&mut case.sessions, *session);
                });
                self.live.insert(*session);
                let account = self.injected_at(target, service);
                let alike = &mut self.alike;
                let (target, service, node) = (alike.name(target), alike.name(service), alike.name(node));
                self.sessions.insert(
                    *session,
                    SessionFacts {
                        request: *request,
                        technician: *technician,
                        target,
                        service,
                        account,
                        actions: actions.clone(),
                        source: *source,
                        node,
                        started: at,
                        ended: None,
                        seal: None,
                        frozen: false,
                        watchers: BTreeSet::new(),
                        escorts: BTreeSet::new(),
                        told: Vec::new(),
                        holds: BTreeMap::new(),
                        erasers: BTreeSet::new(),
                        entry: self.size - 1,
                        review_due: None,
                        reviewed: None,
                        erased: None,
                    },
                );
            }
            Event::Ended { session, ending, seal } => {
                self.live.remove(session);
                if let Some(facts) = self.sessions.get(session).filter(|_| *ending == Ending::Idle) {
                    self.with_person(facts.technician, |person| person.left_alone = Some(at));
                }
                self.with_session(*session, |facts| {
                    facts.ended = Some((at, ending.clone()));
                    facts.seal = *seal;
                    facts.watchers.clear();
                    facts.escorts.clear();
                });
                self.maxima.extend(self.removed_by_itself(*session).map(|over| (over, *session)));
                self.draw(*session, at);
            }
            Event::Frozen { session, .. } => self.with_session(*session, |facts| facts.frozen = true),
            Event::Thawed { session, .. } => self.with_session(*session, |facts| facts.frozen = false),
            Event::Watched { session, by } => self.with_session(*session, |facts| {
                facts.watchers.insert(*by);
            }),
            Event::WatchEnded { session, by } => self.with_session(*session, |facts| {
                facts.watchers.remove(by);
                facts.escorts.remove(by);
            }),
            Event::Escorted { session, by } => self.with_session(*session, |facts| {
                facts.escorts.insert(*by);
            }),
            Event::Told { session, text, .. } => self.with_session(*session, |facts| {
                if facts.told.len() >= TOLD_MAX {
                    facts.told.remove(0);
                }
                facts.told.push((at, *text));
            }),
            Event::EscortEnded { session, by, .. } => self.with_session(*session, |facts| {
                facts.escorts.remove(by);
            }),
            _ => {}
        }
    }

    fn apply_keeping(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::Held { session, reason, by } => self.with_session(*session, |facts| {
                facts.holds.insert(*by, Hold { reason: *reason, at });
                // Whoever signed did not know of this.
                facts.erasers.clear();
            }),
            Event::Released { session, of, .. } => self.with_session(*session, |facts| {
                facts.holds.remove(of);
            }),
            Event::ErasureSigned { signed } => self.with_session(signed.statement.session, |facts| {
                facts.erasers.insert(signed.statement.signer);
            }),
            Event::Erased { session, on } => {
                self.overdue.remove(session);
                self.with_session(*session, |facts| facts.erased = Some(Box::new((at, on.clone()))));
            }
            _ => {}
        }
    }

    pub(crate) fn with_session(&mut self, session: SessionId, change: impl FnOnce(&mut SessionFacts)) {
        if let Some(facts) = self.sessions.get_mut(&session) {
            change(facts);
            self.note_session(session);
        }
    }

    /// The active person who holds this key.
    pub fn person_with_key(&self, key: &SshKey) -> Option<&Person> {
        self.people.values().find(|person| person.standing == Standing::Active && person.keys.contains(key))
    }

    /// Whom a provider knows as this subject; whoever is out, too: what was theirs is nobody else's by itself.
    pub fn person_known_as(&self, provider: &ProviderName, subject: &Digest) -> Option<&Person> {
        self.people.values().find(|person| person.is_subject(provider, subject))
    }

    /// The live sessions with what is known of them.
    pub fn live_sessions(&self) -> impl Iterator<Item = (SessionId, &SessionFacts)> {
        self.live.iter().filter_map(|id| Some((*id, self.sessions.get(id)?)))
    }

    /// The live sessions under one grant.
    pub fn live_under(&self, request: RequestId) -> usize {
        self.live_sessions().filter(|(_, facts)| facts.request == request).count()
    }

    /// The zone of a target, by the plant file in force.
    pub fn zone_of(&self, target: &TargetName) -> Option<&ZoneName> {
        self.plant.as_ref()?.targets.get(target).map(|target| &target.zone)
    }

    /// The account that opens for whoever comes to a service now, by the plant file in force.
    fn injected_at(&self, target: &TargetName, service: &ServiceName) -> Option<Injected> {
        let service = self.plant.as_ref()?.targets.get(target)?.services.get(service)?;
        Some(Injected { user: service.user.clone(), by: service.credential.clone()? })
    }

    /// Whether a session is within what a cut or block is about.
    pub fn is_within(&self, scope: &Scope, id: SessionId, facts: &SessionFacts) -> bool {
        match scope {
            Scope::Session(session) => *session == id,
            Scope::Technician(person) => *person == facts.technician,
            Scope::Vendor(vendor) => self.vendor_of(facts.technician) == Some(vendor),
            Scope::Zone(zone) => self.zone_of(&facts.target) == Some(zone),
            Scope::Plant => true,
        }
    }

    /// The vendor a person works for.
    pub fn vendor_of(&self, person: PersonId) -> Option<&VendorId> {
        self.people.get(&person)?.kind.vendor()
    }

    /// A rule as it is frozen into a request: held once, however many were made under it. A journal may name a wrong digest.
    fn frozen(&mut self, digest: Digest, rule: &Rule) -> Arc<Rule> {
        match self.frozen.get(&digest) {
            Some(known) if **known == *rule => Arc::clone(known),
            _ => {
                let rule = Arc::new(rule.clone());
                self.frozen.insert(digest, Arc::clone(&rule));
                rule
            }
        }
    }

    /// The active members of a group of operators.
    pub fn members<'a>(&'a self, group: &'a GroupName) -> impl Iterator<Item = &'a Person> {
        self.people.values().filter(move |person| person.is_member(group))
    }
}

impl Case {
    fn submitted(asked: Arc<Request>, rule: Arc<Rule>, at: Timestamp) -> Self {
        Self {
            deadline: asked.window.until,
            request: Arc::clone(&asked),
            asked,
            rule,
            entry: 0,
            submitted: at,
            guest: None,
            standing: RequestStanding::Pending,
            votes: Vec::new(),
            granted: None,
            first_use: None,
            widened: Vec::new(),
            reviewed: None,
            sessions: Vec::new(),
            asks: Vec::new(),
            last_end: None,
            account: None,
            said_before: Vec::new(),
            closed_out: None,
            objected: None,
            no: None,
            stopped: None,
            covered_until: None,
            unaccepted: false,
        }
    }
}

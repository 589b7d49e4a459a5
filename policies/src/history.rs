//! What was asked, done and refused, in the order in which it came: the whole population that an auditor begins with, and
//! who was there at any moment. Folded beside what stands; of the entries themselves only their places in the journal are
//! kept, so that whoever wants all that is known of one reads the parts of the journal that they lie in, and not the whole.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::events::{AskedFor, Ending, Event, PackOf, Scope};
use crate::ids::{AskId, CutId, GuestId, PersonId, RequestId, RuleId, SessionId, TargetName, VendorId, ZoneName};
use crate::kept::{self, Kept};
use crate::refusals;
use crate::requests::Matter;
use crate::rules::listed;
use crate::state::{Ask, Case, RequestStanding, SessionFacts, State};

/// All that was asked, done and refused.
#[derive(Debug, Clone, Default)]
pub struct History {
    items: Kept<u64, Item>,
    asks: BTreeMap<AskId, u64>,
    cuts: BTreeMap<CutId, Known>,
    visits: BTreeMap<GuestId, Known>,
    targets: BTreeSet<TargetName>,
    zones: BTreeSet<ZoneName>,
    packs: Vec<Packed>,
    duty: BTreeMap<PersonId, Vec<(Timestamp, Timestamp)>>,
}

/// Where something stands in the journal, and who had a hand in it.
#[derive(Debug, Clone, Default)]
struct Known {
    entries: Vec<u64>,
    /// Each once.
    hands: Vec<PersonId>,
}

impl Known {
    fn take(&mut self, entry: u64, event: &Event) {
        self.entries.push(entry);
        if let Some(hand) = event.actor().filter(|hand| !self.hands.contains(hand)) {
            kept::push(&mut self.hands, hand);
        }
    }
}

/// Something that was asked, done or refused.
#[derive(Debug, Clone)]
pub struct Item {
    /// Which.
    pub what: What,
    /// Whose.
    pub person: PersonId,
    /// Of which vendor they were then.
    pub vendor: Option<VendorId>,
    /// At which target, where one was named.
    pub target: Option<TargetName>,
    /// In which zone that was then, by the plant file in force.
    pub zone: Option<ZoneName>,
    /// When it came into the journal.
    pub at: Timestamp,
    known: Known,
}

/// What an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A request, and the grant that it may have become.
    Request(RequestId),
    /// More time or more actions, asked for.
    More(AskId),
    /// A session.
    Session(SessionId),
    /// Somebody who had proved who they are was refused.
    Refusal {
        /// The refusal's stable id.
        reason: String,
        /// By which rule, where one said so; where none allowed it, the nearest.
        rule: Option<RuleId>,
        /// What they asked for; none where it was a connection, or a sign-in.
        asked: Option<Box<AskedFor>>,
    },
}

/// An evidence pack about a vendor.
#[derive(Debug, Clone)]
struct Packed {
    entry: u64,
    vendor: VendorId,
    from: Timestamp,
    until: Timestamp,
}

/// What came of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Waits for operators.
    Pending,
    /// Given.
    Granted,
    /// An operator said no.
    Denied,
    /// The technician took it back.
    Withdrawn,
    /// Nobody answered, or nobody used it.
    Lapsed,
    /// A grant that was taken back.
    Revoked,
    /// An operator signed off what was done under it.
    ClosedOut,
    /// The shift changed, and nobody accepted it.
    NotAccepted,
    /// It was open at a restore.
    Restored,
    /// A session that runs.
    Live,
    /// A session that is over.
    Ended,
    /// Refused by the gate.
    Refused,
}

impl Outcome {
    /// Every one.
    pub const ALL: [Self; 12] = [
        Self::Pending,
        Self::Granted,
        Self::Denied,
        Self::Withdrawn,
        Self::Lapsed,
        Self::Revoked,
        Self::ClosedOut,
        Self::NotAccepted,
        Self::Restored,
        Self::Live,
        Self::Ended,
        Self::Refused,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed => "lapsed",
            Self::Revoked => "revoked",
            Self::ClosedOut => "closed-out",
            Self::NotAccepted => "not-accepted",
            Self::Restored => "restored",
            Self::Live => "live",
            Self::Ended => "ended",
            Self::Refused => "refused",
        }
    }

    /// Whether nothing was given: whoever asked went away with a no, with no answer, or by themselves.
    pub const fn is_nothing_given(self) -> bool {
        matches!(self, Self::Denied | Self::Withdrawn | Self::Lapsed | Self::Refused)
    }

    /// What came of a request. With the visit of a guest its grant is over, and whoever used it was given it.
    pub const fn of_request(case: &Case) -> Self {
        match case.standing {
            RequestStanding::Lapsed if case.first_use.is_some() => Self::Granted,
            RequestStanding::Pending => Self::Pending,
            RequestStanding::Granted => Self::Granted,
            RequestStanding::Denied => Self::Denied,
            RequestStanding::Withdrawn => Self::Withdrawn,
            RequestStanding::Lapsed => Self::Lapsed,
            RequestStanding::Revoked => Self::Revoked,
            RequestStanding::ClosedOut => Self::ClosedOut,
            RequestStanding::NotAccepted => Self::NotAccepted,
            RequestStanding::Restored => Self::Restored,
        }
    }
}

/// Of which kind items are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Sessions.
    Session,
    /// Requests.
    Request,
    /// Extensions and widenings.
    More,
    /// Refusals by the gate.
    Refusal,
    /// Whatever came to nothing: what was denied, withdrawn or lapsed, and refusals.
    NothingGiven,
}

impl Kind {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Session, Self::Request, Self::More, Self::Refusal, Self::NothingGiven];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Request => "request",
            Self::More => "more",
            Self::Refusal => "refusal",
            Self::NothingGiven => "nothing-given",
        }
    }
}

/// A refusal in words: what was asked for, if anything was, and why not.
pub fn refused_in_words(reason: &str, rule: Option<&RuleId>, asked: Option<&AskedFor>) -> String {
    let why = refusals::in_words(reason);
    let Some(AskedFor { actions, service, emergency, lacks }) = asked else { return format!("refused: {why}") };
    let what = if actions.is_empty() { "access".to_owned() } else { listed(actions) };
    let through = service.as_ref().map(|service| format!(" through {service}")).unwrap_or_default();
    let urgent = if *emergency { ", as an emergency" } else { "" };
    let lacks = listed(lacks.iter().map(|lack| lack.in_words()));
    let near = match (rule, lacks.is_empty()) {
        (Some(rule), true) => format!(": rule {rule}"),
        (Some(rule), false) => format!("; the nearest, {rule}, is {lacks}"),
        (None, true) => String::new(),
        (None, false) => format!("; all are {lacks}"),
    };
    format!("asked for {what}{through}{urgent}, and refused: {why}{near}")
}

impl What {
    /// Of which kind it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Request(_) => Kind::Request,
            Self::More(_) => Kind::More,
            Self::Session(_) => Kind::Session,
            Self::Refusal { .. } => Kind::Refusal,
        }
    }
}

/// Which items are wanted: those to which all of this applies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this kind.
    pub kind: Option<Kind>,
    /// Of which this came.
    pub outcome: Option<Outcome>,
    /// Sessions that ended so, by the journal's word for it.
    pub ending: Option<String>,
    /// Of this vendor.
    pub vendor: Option<VendorId>,
    /// This person's.
    pub person: Option<PersonId>,
    /// At this target.
    pub target: Option<TargetName>,
    /// In this zone.
    pub zone: Option<ZoneName>,
    /// In which this person had a hand; in a session also by its grant.
    pub operator: Option<PersonId>,
    /// Made from this moment on; of sessions also those that still ran then.
    pub from: Option<Timestamp>,
    /// Made before this moment.
    pub until: Option<Timestamp>,
}

/// What an event is about.
enum About {
    Request(RequestId),
    More(AskId),
    Session(SessionId),
    Visit(GuestId),
    Nothing,
}

impl About {
    const fn of(event: &Event) -> Self {
        match event {
            Event::Submitted { request, .. } => Self::Request(request.id),
            Event::Granted { request }
            | Event::Denied { request, .. }
            | Event::Withdrawn { request }
            | Event::Lapsed { request }
            | Event::Revoked { request, .. }
            | Event::Reviewed { request, .. }
            | Event::Accepted { request, .. }
            | Event::NotAccepted { request, .. }
            | Event::Accounted { request, .. } => Self::Request(*request),
            Event::ClosedOut { close_out, .. } => Self::Request(close_out.request),
            Event::Voted { verdict } => Self::of_answer(&verdict.statement.matter),
            Event::VotedWeaker { statement, .. } => Self::of_answer(&statement.matter),
            Event::ExtensionAsked { extension } => Self::More(extension.id),
            Event::WideningAsked { widening } => Self::More(widening.id),
            Event::Extended { ask, .. } | Event::Widened { ask, .. } | Event::AskDenied { ask, .. } => Self::More(*ask),
            Event::Started { session, .. }
            | Event::Ended { session, .. }
            | Event::Frozen { session, .. }
            | Event::Thawed { session, .. }
            | Event::Watched { session, .. }
            | Event::WatchEnded { session, .. }
            | Event::Escorted { session, .. }
            | Event::EscortEnded { session, .. }
            | Event::Told { session, .. }
            | Event::Fetched { session, .. }
            | Event::Packed { of: PackOf::Session { session }, .. }
            | Event::Rehearsed { session, .. }
            | Event::TransferRunsOn { session, .. }
            | Event::Disconnected { session, .. }
            | Event::Held { session, .. }
            | Event::Released { session, .. }
            | Event::Erased { session, .. }
            | Event::IdleLocked { session }
            | Event::IdleUnlocked { session }
            | Event::Warned { session, .. }
            | Event::SessionReviewed { session, .. }
            | Event::Cut { scope: Scope::Session(session), .. } => Self::Session(*session),
            Event::ErasureSigned { signed } => Self::Session(signed.statement.session),
            Event::GuestInvited { invitation, .. } => Self::Visit(invitation.statement.guest),
            Event::GuestEnded { guest, .. } | Event::GuestReviewed { guest, .. } => Self::Visit(*guest),
            Event::Founded { .. }
            | Event::Contracted { .. }
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
            | Event::InvitationsAllowed { .. }
            | Event::ManagerNamed { .. }
            | Event::ManagerDismissed { .. }
            | Event::Attested { .. }
            | Event::AttestationWithdrawn { .. }
            | Event::OnDuty { .. }
            | Event::PlantText { .. }
            | Event::PlantProposed { .. }
            | Event::PlantSigned { .. }
            | Event::PlantAdopted { .. }
            | Event::SecretSet { .. }
            | Event::SecretForgotten { .. }
            | Event::Packed { of: PackOf::Vendor { .. }, .. }
            | Event::CaptureBegun { .. }
            | Event::HostKeyMismatch { .. }
            | Event::Refused { .. }
            | Event::Cut { .. }
            | Event::Reopened { .. }
            | Event::NodeStarted { .. }
            | Event::NodeStopped { .. }
            | Event::NodesForgotten { .. }
            | Event::Checkpointed { .. }
            | Event::RecorderFailed { .. }
            | Event::BackedUp { .. }
            | Event::RecipientsNamed { .. }
            | Event::Restored { .. } => Self::Nothing,
        }
    }

    const fn of_answer(matter: &Matter) -> Self {
        match matter {
            Matter::Request(id) | Matter::Review(id) | Matter::CloseOut(id) => Self::Request(*id),
            Matter::Session(id) => Self::Session(*id),
            Matter::Extension(id) | Matter::Widening(id) => Self::More(*id),
            Matter::Guest(id) => Self::Visit(*id),
            Matter::Reopening(_) => Self::Nothing,
        }
    }
}

impl History {
    /// Everything, by the place of its first entry in the journal.
    pub const fn items(&self) -> &Kept<u64, Item> {
        &self.items
    }

    /// Every target that one of them was at, whether or not there is one of that name now.
    pub const fn targets(&self) -> &BTreeSet<TargetName> {
        &self.targets
    }

    /// The zones that those were in then.
    pub const fn zones(&self) -> &BTreeSet<ZoneName> {
        &self.zones
    }

    fn begin(&mut self, entry: u64, item: Item) {
        // Whoever was refused named what they liked.
        let is_real = item.zone.is_some() || !matches!(item.what, What::Refusal { .. });
        self.targets.extend(item.target.clone().filter(|_| is_real));
        self.zones.extend(item.zone.clone());
        if let What::More(id) = &item.what {
            self.asks.insert(*id, entry);
        }
        self.items.insert(entry, item);
    }

    fn entries_of(&self, first: Option<u64>) -> impl Iterator<Item = u64> + '_ {
        first.and_then(|first| self.items.get(&first)).into_iter().flat_map(|item| item.known.entries.iter().copied())
    }

    /// Somebody is on duty from `at` until then, whatever was said of it before.
    fn comes_on_duty(&mut self, person: PersonId, at: Timestamp, until: Timestamp) {
        let duty = self.duty.entry(person).or_default();
        match duty.last_mut() {
            Some((_, last)) if at <= *last => *last = until,
            _ => duty.push((at, until)),
        }
    }

    fn goes_off_duty(&mut self, person: PersonId, at: Timestamp) {
        if let Some((_, until)) = self.duty.get_mut(&person).and_then(|duty| duty.last_mut()) {
            *until = at.min(*until);
        }
    }

    /// Who was on duty at a moment, and until when they were, as it came to be.
    pub fn on_duty(&self, at: Timestamp) -> impl Iterator<Item = (PersonId, Timestamp)> + '_ {
        self.duty.iter().filter_map(move |(person, duty)| {
            let begun = duty.partition_point(|(from, _)| *from <= at);
            let (_, until) = *duty.get(begun.checked_sub(1)?)?;
            (at < until).then_some((*person, until))
        })
    }
}

impl State {
    /// Folds one more entry into what is known of the past.
    pub(crate) fn remember(&mut self, entry: u64, event: &Event, at: Timestamp) {
        if let Some(item) = self.begun_by(entry, event, at) {
            self.history.begin(entry, item);
        } else if let Some(known) = self.known_of(&About::of(event)) {
            known.take(entry, event);
        }
        let history = &mut self.history;
        match event {
            Event::Cut { cut, .. } => history.cuts.entry(*cut).or_default().take(entry, event),
            Event::Reopened { reopening, .. } => history.cuts.entry(reopening.cut).or_default().take(entry, event),
            Event::Packed { of: PackOf::Vendor { vendor, from, until }, .. } => {
                history.packs.push(Packed { entry, vendor: vendor.clone(), from: *from, until: *until });
            }
            Event::OnDuty { person, until, .. } => history.comes_on_duty(*person, at, *until),
            Event::Enrolled { person, .. } | Event::Disabled { person, .. } => history.goes_off_duty(*person, at),
            _ => {}
        }
    }

    /// A restore ended it, whose entry this is.
    pub(crate) fn ends_request(&mut self, id: RequestId, entry: u64) {
        self.known_of(&About::Request(id)).into_iter().for_each(|known| known.entries.push(entry));
    }

    /// The same of more time or more actions that were asked for.
    pub(crate) fn ends_ask(&mut self, id: AskId, entry: u64) {
        self.known_of(&About::More(id)).into_iter().for_each(|known| known.entries.push(entry));
    }

    /// The same of a guest's visit.
    pub(crate) fn ends_visit(&mut self, id: GuestId, entry: u64) {
        self.known_of(&About::Visit(id)).into_iter().for_each(|known| known.entries.push(entry));
    }

    fn known_of(&mut self, about: &About) -> Option<&mut Known> {
        let first = match about {
            About::Request(id) => self.cases.get(id)?.entry,
            About::More(id) => *self.history.asks.get(id)?,
            About::Session(id) => self.sessions.get(id)?.entry,
            About::Visit(id) => return Some(self.history.visits.entry(*id).or_default()),
            About::Nothing => return None,
        };
        self.history.items.get_mut(&first).map(|item| &mut item.known)
    }

    fn begun_by(&self, entry: u64, event: &Event, at: Timestamp) -> Option<Item> {
        let of_request = |id: &RequestId| self.cases.get(id).map(|case| (case.asked.technician, &case.asked.target));
        let (what, person, target) = match event {
            Event::Submitted { request, .. } => {
                (What::Request(request.id), request.technician, Some(request.target.clone()))
            }
            Event::ExtensionAsked { extension } => {
                let (person, target) = of_request(&extension.request)?;
                (What::More(extension.id), person, Some(target.clone()))
            }
            Event::WideningAsked { widening } => {
                let (person, target) = of_request(&widening.request)?;
                (What::More(widening.id), person, Some(target.clone()))
            }
            Event::Started { session, technician, target, .. } => {
                (What::Session(*session), *technician, Some(target.clone()))
            }
            Event::Refused { person, reason, target, rule, asked } => {
                let what =
                    What::Refusal { reason: reason.clone(), rule: rule.clone(), asked: asked.clone().map(Box::new) };
                (what, *person, target.clone())
            }
            _ => return None,
        };
        let zone = target.as_ref().and_then(|target| self.zone_of(target)).cloned();
        let (vendor, known) = (self.vendor_of(person).cloned(), Known { entries: vec![entry], hands: Vec::new() });
        Some(Item { what, person, vendor, target, zone, at, known })
    }

    /// What came of an item, as it stands at `now`.
    pub fn outcome(&self, item: &Item, now: Timestamp) -> Outcome {
        match &item.what {
            What::Request(id) => self.cases.get(id).map_or(Outcome::Pending, Outcome::of_request),
            What::More(id) => self.asks.get(id).map_or(Outcome::Pending, |ask| self.outcome_of_ask(ask, now)),
            What::Session(id) if self.live.contains(id) => Outcome::Live,
            What::Session(_) => Outcome::Ended,
            What::Refusal { .. } => Outcome::Refused,
        }
    }

    /// What came of an extension or widening, as it stands at `now`: nobody answers one whose grant is over.
    pub fn outcome_of_ask(&self, ask: &Ask, now: Timestamp) -> Outcome {
        let case = self.cases.get(&ask.asked.request());
        let stands = case.is_some_and(|case| case.standing == RequestStanding::Granted && now < case.deadline);
        let restored = case.is_some_and(|case| case.standing == RequestStanding::Restored);
        match (ask.granted, ask.no()) {
            (true, _) => Outcome::Granted,
            (false, Some(_)) => Outcome::Denied,
            (false, None) if ask.open && stands => Outcome::Pending,
            (false, None) if restored => Outcome::Restored,
            (false, None) => Outcome::Lapsed,
        }
    }

    /// How an item's session ended, if it is one that did.
    pub fn ending(&self, item: &Item) -> Option<&(Timestamp, Ending)> {
        match &item.what {
            What::Session(id) => self.sessions.get(id)?.ended.as_ref(),
            _ => None,
        }
    }

    /// Whether an item is among those that are wanted, as it stands at `now`.
    pub fn is_wanted(&self, item: &Item, filter: &Filter, now: Timestamp) -> bool {
        let Filter { kind, outcome, ending, vendor, person, target, zone, operator, from, until } = filter;
        kind.is_none_or(|kind| match kind {
            Kind::NothingGiven => self.outcome(item, now).is_nothing_given(),
            kind => item.what.kind() == kind,
        }) && outcome.is_none_or(|outcome| self.outcome(item, now) == outcome)
            && ending.as_ref().is_none_or(|word| self.ending(item).is_some_and(|(_, ending)| ending.word() == word))
            && (vendor.is_none() || item.vendor == *vendor)
            && person.is_none_or(|person| item.person == person)
            && (target.is_none() || item.target == *target)
            && (zone.is_none() || item.zone == *zone)
            && operator.is_none_or(|operator| self.had_a_hand(item, operator))
            && from.is_none_or(|from| from <= item.at || self.ran_at(item, from))
            && until.is_none_or(|until| item.at < until)
    }

    /// Who else had a hand in an item: in a session also whoever cut what it ended with, and let that back in; of what was
    /// done on a guest's visit also whoever invited, sent away and looked back.
    pub fn hands(&self, item: &Item) -> BTreeSet<PersonId> {
        let (cut, visit) = match &item.what {
            What::Session(id) => {
                (self.cut_of(*id), self.visit_around(self.sessions.get(id).map(|facts| facts.request)))
            }
            What::Request(id) => (None, self.visit_around(Some(*id))),
            What::More(_) | What::Refusal { .. } => (None, None),
        };
        let known = [Some(&item.known), cut, visit].into_iter().flatten();
        known.flat_map(|known| &known.hands).copied().filter(|hand| *hand != item.person).collect()
    }

    /// What is known of the cut that ended a session.
    fn cut_of(&self, session: SessionId) -> Option<&Known> {
        match &self.sessions.get(&session)?.ended {
            Some((_, Ending::Cut { cut })) => self.history.cuts.get(cut),
            _ => None,
        }
    }

    /// What is known of the guest's visit on which a request was made.
    fn visit_around(&self, request: Option<RequestId>) -> Option<&Known> {
        self.history.visits.get(&self.cases.get(&request?)?.guest?)
    }

    fn had_a_hand(&self, item: &Item, operator: PersonId) -> bool {
        let by_grant = || {
            let What::Session(id) = &item.what else { return false };
            let request = self.sessions.get(id).and_then(|facts| self.cases.get(&facts.request));
            let request = request.and_then(|case| self.history.items.get(&case.entry));
            request.is_some_and(|request| self.hands(request).contains(&operator))
        };
        let is_theirs = matches!(item.what, What::Refusal { .. }) && item.person == operator;
        is_theirs || self.hands(item).contains(&operator) || by_grant()
    }

    fn ran_at(&self, item: &Item, at: Timestamp) -> bool {
        let facts = match &item.what {
            What::Session(id) => self.sessions.get(id),
            _ => None,
        };
        facts.is_some_and(|facts| facts.ran_at(at))
    }

    /// The places in the journal of all that is known of a request: how it was asked and answered, what more was asked of
    /// its grant, and the guest's visit that it was made on. In order.
    pub fn entries_of_request(&self, request: RequestId) -> BTreeSet<u64> {
        let history = &self.history;
        let more = self.cases.get(&request).into_iter().flat_map(|case| &case.asks);
        let more = more.flat_map(|id| history.entries_of(history.asks.get(id).copied()));
        let visit = self.visit_around(Some(request)).into_iter().flat_map(|visit| &visit.entries);
        let first = self.cases.get(&request).map(|case| case.entry);
        history.entries_of(first).chain(more).chain(visit.copied()).collect()
    }

    /// The same of a session: what was done with it and with its recording, the cut that ended it, and the guest's visit.
    pub fn entries_of_session(&self, session: SessionId) -> BTreeSet<u64> {
        let history = &self.history;
        let facts = self.sessions.get(&session);
        let around = [self.cut_of(session), self.visit_around(facts.map(|facts| facts.request))];
        let vendor = self.item_of(session).and_then(|item| item.vendor.as_ref());
        let packs = history.packs.iter().filter(|pack| {
            Some(&pack.vendor) == vendor && facts.is_some_and(|facts| facts.is_within(pack.from, pack.until))
        });
        history
            .entries_of(facts.map(|facts| facts.entry))
            .chain(around.into_iter().flatten().flat_map(|known| known.entries.iter().copied()))
            .chain(packs.map(|pack| pack.entry))
            .collect()
    }

    /// A session among what was done.
    pub fn item_of(&self, session: SessionId) -> Option<&Item> {
        self.history.items.get(&self.sessions.get(&session)?.entry)
    }

    /// The sessions that ran at a moment, the oldest first.
    pub fn ran_then(&self, at: Timestamp) -> impl Iterator<Item = (SessionId, &SessionFacts)> {
        self.sessions.iter().filter(move |(_, facts)| facts.ran_at(at)).map(|(id, facts)| (*id, facts))
    }
}

impl SessionFacts {
    /// Whether it had begun and was not over at a moment.
    pub fn ran_at(&self, at: Timestamp) -> bool {
        self.started <= at && self.ended.as_ref().is_none_or(|(ended, _)| at < *ended)
    }

    /// Whether a moment of it lies in a span of time: from the first one until the one behind the last.
    pub fn is_within(&self, from: Timestamp, until: Timestamp) -> bool {
        self.started < until && self.ended.as_ref().is_none_or(|(ended, _)| from <= *ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_outcomes_are_spelt_as_they_are_asked_for() {
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}

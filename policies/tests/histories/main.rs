//! Generated histories against a small model. Steps are random, many of them wrong; what the domain lets through is
//! judged here by other means: the model keeps plain lists of what happened and asks each named invariant of them.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use policies::actions::{Action, Actions};
use policies::decide::{Admission, Command, NewRequest};
use policies::digest::{Digest, Salted};
use policies::events::{CutBy, Ending, Event, Factor, Founder, PackOf, Scope};
use policies::ids::*;
use policies::people::{Kind, SshKey};
use policies::plant::Weaker;
use policies::requests::*;
use policies::state::{Ask, SessionFacts, State};
use policies::time::{Seconds, Window};
use proptest::prelude::*;

mod closing;
mod companies;
mod guests;
mod keeping;
mod live;
mod named;
mod offers;
mod past;
mod reports;
mod rotation;
mod shifts;

const PLANT: &str = r#"
[plant]
name = "Model plant"
timezone = "Europe/Berlin"
banner = "Recorded."
changes = [{ from = "shift-lead", count = 1 }]

[zones.packaging]
[zones.boiler]

[targets.hmi-1]
zone = "packaging"
[targets.hmi-1.services.ssh]
protocol = "ssh"
address = "10.0.0.1:22"
user = "maint"
credential = "hmi"
host_key = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

[targets.hmi-2]
zone = "boiler"
[targets.hmi-2.services.ssh]
protocol = "ssh"
address = "10.0.0.2:22"
user = "maint"
credential = "hmi"
host_key = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

[[rules]]
id = "maintenance"
vendors = ["acme", "bolt"]
roles = ["maintenance"]
zones = ["packaging", "boiler"]
actions = ["shell", "file-get", "file-put"]
hours = "Mon-Fri 06:00-18:00"
from = ["192.0.2.0/24"]
duration_max = "4h"
connections = 2
approvals = [{ from = "shift-lead", count = 1 }, { from = "ot-security", count = 1 }]
work_order = "optional"
exclusive = "none"
weaker = ["totp"]
"#;

/// Monday 2026-06-01 06:00 in Berlin.
const MONDAY: &str = "2026-06-01T04:00:00Z";
const CONNECTIONS: usize = 2;

const ADMINISTRATOR: u128 = 1;
const LEADS: [u128; 2] = [10, 11];
const SECURITY: u128 = 12;
const ACME_LEAD: u128 = 13;
const OPERATORS: [u128; 4] = [10, 11, 12, 13];
const TECHNICIANS: [(u128, &str); 2] = [(20, "acme"), (21, "bolt")];

fn person(n: u128) -> PersonId {
    PersonId::new(ulid::Ulid::from(n))
}
fn key(n: u128) -> SshKey {
    SshKey(format!("ssh-ed25519 KEY{n}"))
}
fn label<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}
fn salted(text: &str) -> Salted {
    Salted::new(&[0; 32], text)
}
fn seconds_later(at: Timestamp, seconds: i64) -> Timestamp {
    at + SignedDuration::from_secs(seconds)
}

#[derive(Debug, Clone)]
enum Step {
    Wait { seconds: u32 },
    Submit { who: usize, target: u8, actions: u8, starts_in: i64, lasts: i64, duration: u32 },
    Vote { who: usize, which: usize, yes: bool, shorter: Option<u32>, fewer: Option<u8>, lie: bool, how: How },
    ComeOnDuty { who: usize },
    Approve { lead: usize, which: usize, shorter: Option<u32> },
    Withdraw { who: usize, which: usize },
    Connect { who: usize, target: u8, inside: bool, wants: u8, named: Option<usize> },
    End { which: usize },
    Extend { which: usize, more: u32 },
    Revoke { who: usize, which: usize },
    Cut { who: usize, scope: u8 },
    Reopen { who: usize, which: usize },
    Disable { who: usize },
    EndContract { vendor: usize },
    Sweep,
}

/// How an answer is given.
#[derive(Debug, Clone, Copy)]
enum How {
    Signed,
    OtherKey,
    Weaker(Weaker),
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        12 => Just(How::Signed),
        1 => Just(How::OtherKey),
        6 => Just(How::Weaker(Weaker::Totp)),
        1 => Just(How::Weaker(Weaker::Telephone)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u32..3_000).prop_map(|seconds| Step::Wait { seconds }),
        1 => (20_000_u32..90_000).prop_map(|seconds| Step::Wait { seconds }),
        5 => (0_usize..2, 0_u8..2, 1_u8..8, prop_oneof![3 => Just(0), 1 => -4_000_i64..4_000], prop_oneof![1_i64..40_000, 40_000_i64..90_000], 0_u32..16_000).prop_map(
            |(who, target, actions, starts_in, lasts, duration)| Step::Submit { who, target, actions, starts_in, lasts, duration }
        ),
        12 => (0_usize..5, 0_usize..6, prop::bool::weighted(0.93), prop::option::weighted(0.3, 0_u32..20_000),
              prop::option::weighted(0.3, 0_u8..8), prop::bool::weighted(0.05), how()).prop_map(
            |(who, which, yes, shorter, fewer, lie, how)| Step::Vote { who, which, yes, shorter, fewer, lie, how }
        ),
        6 => (0_usize..2, 0_usize..3, prop::option::weighted(0.2, 0_u32..20_000))
            .prop_map(|(lead, which, shorter)| Step::Approve { lead, which, shorter }),
        4 => (0_usize..4).prop_map(|who| Step::ComeOnDuty { who }),
        1 => (0_usize..2, 0_usize..6).prop_map(|(who, which)| Step::Withdraw { who, which }),
        10 => (0_usize..2, 0_u8..2, prop::bool::weighted(0.9), prop_oneof![2 => Just(0), 1 => 0_u8..8], prop::option::weighted(0.2, 0_usize..6)).prop_map(
            |(who, target, inside, wants, named)| Step::Connect { who, target, inside, wants, named }
        ),
        3 => (0_usize..6).prop_map(|which| Step::End { which }),
        3 => (0_usize..3, 1_u32..6_000).prop_map(|(which, more)| Step::Extend { which, more }),
        1 => (0_usize..4, 0_usize..6).prop_map(|(who, which)| Step::Revoke { who, which }),
        1 => (0_usize..4, 0_u8..6).prop_map(|(who, scope)| Step::Cut { who, scope }),
        1 => (0_usize..4, 0_usize..4).prop_map(|(who, which)| Step::Reopen { who, which }),
        1 => (0_usize..6).prop_map(|who| Step::Disable { who }),
        1 => (0_usize..4).prop_map(|vendor| Step::EndContract { vendor }),
        1 => Just(Step::Sweep),
    ];
    prop::collection::vec(step, 1..80)
}

/// The model: what happened, in plain lists.
#[derive(Clone)]
struct World {
    state: State,
    now: Timestamp,
    next: u128,
    happened: Vec<(Timestamp, Event)>,
    source: IpAddr,
}

impl World {
    fn founded() -> Self {
        Self::on(PLANT)
    }

    fn on(plant: &str) -> Self {
        let mut world = Self {
            state: State::default(),
            now: MONDAY.parse().unwrap(),
            next: 1_000,
            happened: Vec::new(),
            source: "192.0.2.7".parse().unwrap(),
        };
        let mut founders = vec![world.founder(ADMINISTRATOR, Kind::Administrator, &[])];
        for lead in LEADS {
            founders.push(world.founder(lead, Kind::Operator { vendor: None }, &["shift-lead"]));
        }
        founders.push(world.founder(SECURITY, Kind::Operator { vendor: None }, &["ot-security", "shift-lead"]));
        founders.push(world.founder(ACME_LEAD, Kind::Operator { vendor: Some(label("acme")) }, &["shift-lead"]));
        let links: Vec<(PersonId, LinkId)> = founders.iter().map(|f| (f.person, f.link)).collect();
        world.must(&Command::Found { deployment: label("model"), log_key: "k".into(), founders, plant: plant.into() });
        for (who, link) in links {
            world.must(&Command::Enrol { link, key: key(u128::from(who.ulid())) });
        }
        let by = person(ADMINISTRATOR);
        for (technician, vendor) in TECHNICIANS {
            let end = seconds_later(world.now, 3 * 86_400);
            world.must(&Command::Contract { vendor: label(vendor), end, sponsor: by, telephone: None, by });
            let link = LinkId::new(world.id());
            let kind = Kind::Technician { vendor: label(vendor), role: label("maintenance") };
            world.must(&Command::Invite { person: person(technician), kind, groups: vec![], link, expires: end, by });
            world.must(&Command::Enrol { link, key: key(technician) });
        }
        world
    }

    fn founder(&mut self, who: u128, kind: Kind, groups: &[&str]) -> Founder {
        let groups = groups.iter().map(|group| label(group)).collect();
        Founder { person: person(who), kind, groups, link: LinkId::new(self.id()) }
    }

    fn id(&mut self) -> ulid::Ulid {
        self.next += 1;
        ulid::Ulid::from(self.next)
    }

    fn must(&mut self, command: &Command) {
        assert!(self.act(command), "refused: {:?}", self.state.decide(command, self.now));
    }

    /// Decides, checks every invariant on what would be appended, and applies it.
    fn act(&mut self, command: &Command) -> bool {
        let Ok(events) = self.state.decide(command, self.now) else { return false };
        for event in events {
            assert_eq!(Event::decode(&event.encode()).unwrap(), event);
            self.check(&event);
            self.state.apply(&event, self.now);
            self.happened.push((self.now, event));
        }
        self.nothing_that_waits_is_overlooked_and_nothing_that_is_over_is_looked_at();
        true
    }

    /// What a walk over all that ever was finds, and no more.
    fn nothing_that_waits_is_overlooked_and_nothing_that_is_over_is_looked_at(&self) {
        let (state, newest) = (&self.state, self.state.newest.expect("something happened"));
        let open: BTreeSet<_> = state.open_cases().map(|(id, _)| id).collect();
        for (id, case) in &state.cases {
            let waits = case.is_current(self.now)
                || case.has_lapsed(self.now)
                || case.wants_review()
                || case.unaccepted
                || state.to_close_out(case, self.now).is_some_and(|to| to.is_wanted())
                || case.reviewed().is_some_and(|seen| seen.objection.is_some());
            assert!(!waits || open.contains(id), "{case:?}");
            assert_eq!(open.contains(id), !case.is_done_with(newest), "{case:?}");
        }
        let asks: BTreeSet<_> = state.open_asks().map(|(id, _)| id).collect();
        let waits = |ask: &Ask| ask.open && open.contains(&ask.asked.request());
        assert!(state.asks.iter().all(|(id, ask)| waits(ask) <= asks.contains(id) && asks.contains(id) <= ask.open));
        let granted = state.cases.values().filter(|case| case.granted.is_some()).count() as u64;
        assert_eq!(state.answered.counts().iter().sum::<u64>(), granted);
        let sessions: BTreeSet<_> = state.sessions_to_look_at().map(|(id, _)| id).collect();
        let waits = |facts: &SessionFacts| {
            facts.wants_review() || facts.reviewed().is_some_and(|seen| seen.objection.is_some())
        };
        assert!(state.sessions.iter().all(|(id, facts)| waits(facts) == sessions.contains(id)));
    }

    fn check(&self, event: &Event) {
        match event {
            Event::Voted { verdict } => {
                self.an_answer(&verdict.statement);
                self.only_their_own_key_signs(verdict);
            }
            Event::VotedWeaker { statement, way } => {
                self.an_answer(statement);
                self.nobody_answers_without_a_signature_but_as_the_rule_says_and_on_duty(statement.operator, *way);
            }
            Event::Granted { request } => {
                self.nothing_is_granted_without_all_it_takes(*request);
                self.nothing_is_widened_by_a_narrowing(*request);
                self.one_no_ends_it(*request);
            }
            Event::Extended { request, deadline, .. } => self.no_extension_past_the_rule(*request, *deadline),
            Event::Started { request, technician, target, source, deadline, session, .. } => {
                self.no_session_without_a_grant(*request, *technician, target);
                self.no_admission_outside_the_window(*request);
                self.no_admission_outside_the_hours();
                self.no_admission_from_another_source(*source);
                self.no_admission_outside_the_contract(*technician);
                self.no_admission_after_a_cut(*request, *technician, target);
                self.no_admission_over_the_connection_limit(*request, *session);
                self.no_deadline_past_what_was_approved(*request, *deadline);
            }
            _ => {}
        }
    }

    /// However it was given.
    fn an_answer(&self, statement: &VerdictStatement) {
        self.no_self_approval_and_none_of_ones_own_vendor(statement);
        self.no_double_vote(statement);
        self.no_verdict_on_another_digest(statement);
        self.only_operators_answer(statement.operator);
    }

    fn asked(&self, id: RequestId) -> &Request {
        self.find(|event| match event {
            Event::Submitted { request, .. } if request.id == id => Some(request),
            _ => None,
        })
        .expect("a request was submitted before anything else became of it")
    }

    fn find<'a, T>(&'a self, pick: impl Fn(&'a Event) -> Option<T>) -> Option<T> {
        self.happened.iter().find_map(|(_, event)| pick(event))
    }

    fn verdicts(&self, matter: &Matter) -> impl Iterator<Item = &VerdictStatement> {
        self.happened.iter().filter_map(move |(_, event)| match event {
            Event::Voted { verdict } if verdict.statement.matter == *matter => Some(&verdict.statement),
            Event::VotedWeaker { statement, .. } if statement.matter == *matter => Some(statement),
            _ => None,
        })
    }

    fn request_of(&self, matter: &Matter) -> RequestId {
        match matter {
            Matter::Request(id) | Matter::Review(id) => *id,
            Matter::Extension(ask) => self
                .find(|event| match event {
                    Event::ExtensionAsked { extension } if extension.id == *ask => Some(extension.request),
                    _ => None,
                })
                .unwrap(),
            Matter::Widening(ask) => self
                .find(|event| match event {
                    Event::WideningAsked { widening } if widening.id == *ask => Some(widening.request),
                    _ => None,
                })
                .unwrap(),
            Matter::Reopening(_) | Matter::Guest(_) | Matter::CloseOut(_) | Matter::Session(_) => {
                unreachable!("no verdict of a request")
            }
        }
    }

    fn vendor(who: PersonId) -> Option<&'static str> {
        let acme_lead = (ACME_LEAD, "acme");
        TECHNICIANS.iter().chain([&acme_lead]).find(|(n, _)| person(*n) == who).map(|(_, vendor)| *vendor)
    }

    fn no_self_approval_and_none_of_ones_own_vendor(&self, statement: &VerdictStatement) {
        let technician = self.asked(self.request_of(&statement.matter)).technician;
        assert_ne!(statement.operator, technician);
        assert_ne!(Self::vendor(statement.operator), Self::vendor(technician));
    }

    fn no_double_vote(&self, statement: &VerdictStatement) {
        let mut before = self.verdicts(&statement.matter);
        assert!(before.all(|earlier| earlier.operator != statement.operator));
    }

    fn no_verdict_on_another_digest(&self, statement: &VerdictStatement) {
        let Matter::Request(id) = statement.matter else { return };
        let mut request = self.asked(id).clone();
        let answers = self.verdicts(&statement.matter).map(|statement| &statement.answer);
        for answer in answers.chain([&statement.answer]) {
            if let Answer::Yes { narrowing } = answer {
                request = request.narrowed(narrowing);
            }
        }
        assert_eq!(statement.digest, request.digest(&label("model")));
    }

    fn only_operators_answer(&self, who: PersonId) {
        assert!(OPERATORS.iter().any(|n| person(*n) == who));
        assert!(!self.is_disabled(who));
    }

    fn only_their_own_key_signs(&self, verdict: &Signed<VerdictStatement>) {
        assert_eq!(verdict.key, key(u128::from(verdict.statement.operator.ulid())));
    }

    /// The rule names one way, and a shift is twelve hours.
    fn nobody_answers_without_a_signature_but_as_the_rule_says_and_on_duty(&self, who: PersonId, way: Weaker) {
        assert_eq!(way, Weaker::Totp);
        let came = self
            .happened
            .iter()
            .rev()
            .find_map(|(at, event)| matches!(event, Event::OnDuty { person, .. } if *person == who).then_some(*at));
        assert!(self.now < seconds_later(came.expect("came on duty"), 12 * 3_600));
    }

    fn is_disabled(&self, who: PersonId) -> bool {
        self.find(|event| matches!(event, Event::Disabled { person, .. } if *person == who).then_some(())).is_some()
    }

    /// One of shift-lead and, beside them, one of ot-security; the latter is in both groups but fills one place.
    fn nothing_is_granted_without_all_it_takes(&self, id: RequestId) {
        let yes: BTreeSet<PersonId> = self
            .verdicts(&Matter::Request(id))
            .filter(|statement| matches!(statement.answer, Answer::Yes { .. }))
            .map(|statement| statement.operator)
            .filter(|operator| !self.is_disabled(*operator))
            .collect();
        assert!(yes.contains(&person(SECURITY)), "ot-security said yes");
        assert!(yes.iter().any(|who| *who != person(SECURITY)), "somebody else of shift-lead said yes");
    }

    fn nothing_is_widened_by_a_narrowing(&self, id: RequestId) {
        let (asked, granted) = (self.asked(id), &self.state.cases[&id].request);
        assert!(granted.actions.is_subset(&asked.actions) && !granted.actions.is_empty());
        assert!(granted.duration <= asked.duration);
        assert!(asked.window.covers(&granted.window));
        assert_eq!((&granted.target, &granted.services), (&asked.target, &asked.services));
    }

    fn one_no_ends_it(&self, id: RequestId) {
        assert!(self.verdicts(&Matter::Request(id)).all(|statement| matches!(statement.answer, Answer::Yes { .. })));
        assert!(
            self.find(|event| matches!(event, Event::Withdrawn { request } if *request == id).then_some(())).is_none()
        );
    }

    fn no_extension_past_the_rule(&self, id: RequestId, deadline: Timestamp) {
        let first = self.first_use(id).unwrap_or(self.now);
        assert!(deadline <= seconds_later(first, 4 * 3_600));
        assert!(self.verdicts(&Matter::Request(id)).count() >= 2);
    }

    fn first_use(&self, id: RequestId) -> Option<Timestamp> {
        self.happened.iter().find_map(|(at, event)| match event {
            Event::Started { request, .. } if *request == id => Some(*at),
            _ => None,
        })
    }

    fn no_session_without_a_grant(&self, id: RequestId, technician: PersonId, target: &TargetName) {
        let asked = self.asked(id);
        assert_eq!((asked.technician, &asked.target), (technician, target));
        let is = |wanted: &Event| self.find(|event| (event == wanted).then_some(())).is_some();
        assert!(is(&Event::Granted { request: id }));
        assert!(!is(&Event::Lapsed { request: id }));
        let revoked =
            self.find(|event| matches!(event, Event::Revoked { request, .. } if *request == id).then_some(()));
        assert!(revoked.is_none());
        assert!(!self.is_disabled(technician));
    }

    fn no_admission_outside_the_window(&self, id: RequestId) {
        let window = self.state.cases[&id].request.window;
        assert!(window.from <= self.now);
        assert!(self.now < window.until || self.extended_to(id).is_some_and(|deadline| self.now < deadline));
    }

    fn extended_to(&self, id: RequestId) -> Option<Timestamp> {
        self.happened.iter().rev().find_map(|(_, event)| match event {
            Event::Extended { request, deadline, .. } if *request == id => Some(*deadline),
            _ => None,
        })
    }

    /// Berlin is at UTC+2 in June.
    fn no_admission_outside_the_hours(&self) {
        let hour = self.now.as_second().rem_euclid(86_400) / 3_600 + 2;
        let day = self.now.as_second().div_euclid(86_400) + 3;
        assert!((6..18).contains(&hour), "{}", self.now);
        assert!(day.rem_euclid(7) < 5, "{}", self.now);
    }

    fn no_admission_from_another_source(&self, source: IpAddr) {
        assert!(source.to_string().starts_with("192.0.2."));
    }

    fn no_admission_outside_the_contract(&self, technician: PersonId) {
        let vendor: VendorId = label(Self::vendor(technician).unwrap());
        let end = self.happened.iter().rev().find_map(|(_, event)| match event {
            Event::Contracted { vendor: of, end, .. } if *of == vendor => Some(*end),
            Event::VendorDisabled { vendor: of, .. } if *of == vendor => Some(Timestamp::MIN),
            _ => None,
        });
        assert!(self.now < end.unwrap());
    }

    fn no_admission_after_a_cut(&self, id: RequestId, technician: PersonId, target: &TargetName) {
        let mut standing: Vec<(CutId, &Scope)> = Vec::new();
        for (_, event) in &self.happened {
            match event {
                Event::Cut { cut, scope, .. } => standing.push((*cut, scope)),
                Event::Reopened { reopening, .. } => standing.retain(|(cut, _)| *cut != reopening.cut),
                _ => {}
            }
        }
        for (_, scope) in standing {
            let shut = match scope {
                Scope::Session(session) => self.state.sessions[session].request == id,
                Scope::Technician(who) => *who == technician,
                Scope::Vendor(vendor) => Self::vendor(technician) == Some(vendor.as_str()),
                Scope::Zone(zone) => (zone.as_str() == "packaging") == (target.as_str() == "hmi-1"),
                Scope::Plant => true,
            };
            assert!(!shut, "{scope:?}");
        }
    }

    fn no_admission_over_the_connection_limit(&self, id: RequestId, session: SessionId) {
        let mut open = BTreeSet::from([session]);
        for (_, event) in &self.happened {
            match event {
                Event::Started { session, request, .. } if *request == id => {
                    open.insert(*session);
                }
                Event::Ended { session, .. } => {
                    open.remove(session);
                }
                _ => {}
            }
        }
        assert!(open.len() <= CONNECTIONS);
    }

    fn no_deadline_past_what_was_approved(&self, id: RequestId, deadline: Timestamp) {
        let granted = &self.state.cases[&id].request;
        let clock_from = self.first_use(id).unwrap_or(self.now);
        let approved = granted.duration.after(clock_from).min(granted.window.until);
        assert!(deadline <= self.extended_to(id).unwrap_or(approved));
    }

    fn nth_request(&self, n: usize) -> Option<RequestId> {
        self.state.cases.keys().rev().nth(n).copied()
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Wait { seconds } => self.now = seconds_later(self.now, i64::from(*seconds)),
            Step::Submit { who, target, actions, starts_in, lasts, duration } => {
                let from = seconds_later(self.now, *starts_in);
                let request = NewRequest {
                    id: RequestId::new(self.id()),
                    technician: person(TECHNICIANS[*who].0),
                    target: target_name(*target),
                    service: None,
                    actions: some_actions(*actions),
                    window: Window { from, until: seconds_later(from, *lasts) },
                    duration: Seconds(*duration),
                    reason: Some(salted("why")),
                    work_order: None,
                    source: Some(self.source),
                    emergency: false,
                };
                self.act(&Command::Submit(request));
            }
            Step::Vote { who, which, yes, shorter, fewer, lie, how } => {
                self.vote(*who, *which, *yes, *shorter, *fewer, *lie, *how);
            }
            Step::ComeOnDuty { who } => {
                self.act(&Command::ComeOnDuty { person: person(OPERATORS[*who]), provider: None });
            }
            Step::Approve { lead, which, shorter } => {
                for voter in [2, *lead] {
                    self.vote(voter, *which, true, *shorter, None, false, How::Signed);
                }
            }
            Step::Withdraw { who, which } => {
                if let Some(request) = self.nth_request(*which) {
                    self.act(&Command::Withdraw { request, by: person(TECHNICIANS[*who].0) });
                }
            }
            Step::Connect { who, target, inside, wants, named } => {
                let source = if *inside { self.source } else { "198.51.100.1".parse().unwrap() };
                let admission = Admission {
                    session: SessionId::new(self.id()),
                    technician: person(TECHNICIANS[*who].0),
                    factors: vec![Factor::Key, Factor::Totp],
                    source,
                    target: target_name(*target),
                    service: label("ssh"),
                    wants: some_actions(*wants),
                    grant: named.and_then(|n| self.nth_request(n)),
                    overdue: BTreeSet::new(),
                    node: label("gate-1"),
                };
                self.act(&Command::Admit(admission));
            }
            Step::End { which } => {
                if let Some(session) = self.state.live.iter().nth(*which).copied() {
                    self.act(&Command::End { session, ending: Ending::Left, seal: None });
                }
            }
            Step::Extend { which, more } => self.extend(*which, *more),
            Step::Revoke { who, which } => {
                if let Some(request) = self.nth_request(*which) {
                    let by = person(OPERATORS[*who]);
                    self.act(&Command::Revoke { request, reason: salted("no"), by });
                }
            }
            Step::Cut { who, scope } => {
                let scope = match scope {
                    0 => Scope::Plant,
                    1 => Scope::Zone(label("packaging")),
                    2 => Scope::Vendor(label("bolt")),
                    3 => Scope::Technician(person(20)),
                    _ => match self.state.live.first() {
                        Some(session) => Scope::Session(*session),
                        None => return,
                    },
                };
                let by = CutBy::Operator(person(OPERATORS[*who]));
                let (cut, at) = (CutId::new(self.id()), self.now);
                self.act(&Command::Cut { cut, scope, by, at });
            }
            Step::Reopen { who, which } => self.reopen(*who, *which),
            Step::Disable { who } => {
                let all = [LEADS[0], LEADS[1], ACME_LEAD, 20, 21, LEADS[0]];
                self.act(&Command::Disable { person: person(all[*who]), by: person(ADMINISTRATOR) });
            }
            Step::EndContract { vendor } if *vendor >= 2 => {
                let vendor = label(TECHNICIANS[*vendor - 2].1);
                self.act(&Command::DisableVendor { vendor, by: person(ADMINISTRATOR) });
            }
            Step::EndContract { vendor } => {
                let (end, by) = (self.now, person(ADMINISTRATOR));
                self.act(&Command::Contract {
                    vendor: label(TECHNICIANS[*vendor].1),
                    end,
                    sponsor: by,
                    telephone: None,
                    by,
                });
            }
            Step::Sweep => {
                self.act(&Command::Sweep);
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one for each field of the step")]
    fn vote(
        &mut self,
        who: usize,
        which: usize,
        yes: bool,
        shorter: Option<u32>,
        fewer: Option<u8>,
        lie: bool,
        how: How,
    ) {
        let Some(id) = self.nth_request(which) else { return };
        let narrowing = Narrowing { duration: shorter.map(Seconds), actions: fewer.map(some_actions), from: None };
        let request = &self.state.cases[&id].request;
        let (answer, digest) = if yes {
            let digest = request.narrowed(&narrowing).digest(&label("model"));
            (Answer::Yes { narrowing }, digest)
        } else {
            (Answer::No { reason: salted("no") }, request.digest(&label("model")))
        };
        let digest = if lie { Digest::of_bytes(b"another") } else { digest };
        let voter = *OPERATORS.iter().chain([&TECHNICIANS[0].0]).nth(who).unwrap();
        match how {
            How::Signed => self.give(Matter::Request(id), digest, answer, voter, false),
            How::OtherKey => self.give(Matter::Request(id), digest, answer, voter, true),
            How::Weaker(way) => {
                let statement = self.sign(Matter::Request(id), digest, answer, voter, false).statement;
                self.act(&Command::VoteWeaker { statement, way })
            }
        };
    }

    fn give(&mut self, matter: Matter, digest: Digest, answer: Answer, voter: u128, other_key: bool) -> bool {
        let verdict = self.sign(matter, digest, answer, voter, other_key);
        self.act(&Command::Vote { verdict })
    }

    fn sign(
        &self,
        matter: Matter,
        digest: Digest,
        answer: Answer,
        voter: u128,
        other_key: bool,
    ) -> Signed<VerdictStatement> {
        let statement = VerdictStatement {
            deployment: label("model"),
            matter,
            digest,
            answer,
            operator: person(voter),
            nonce: self.next.to_string(),
            expires: seconds_later(self.now, 60),
            journal: SeenHead { size: self.state.size, root: Digest::of_bytes(b"") },
        };
        let key = key(if other_key { ADMINISTRATOR } else { voter });
        Signed { statement, key, signature: String::new() }
    }

    /// Asked for and answered at once by all it takes.
    fn extend(&mut self, which: usize, more: u32) {
        let Some(request) = self.nth_request(which) else { return };
        let by = self.state.cases[&request].request.technician;
        let ask = AskId::new(self.id());
        let reason = salted("more");
        if self.act(&Command::AskExtension { ask, request, more: Seconds(more), reason, by }) {
            for voter in [SECURITY, LEADS[0]] {
                let digest = self.state.ask_digest(&self.state.asks[&ask]);
                let yes = Answer::Yes { narrowing: Narrowing::default() };
                self.give(Matter::Extension(ask), digest, yes, voter, false);
            }
        }
    }

    fn reopen(&mut self, who: usize, which: usize) {
        let Some(cut) = self.state.cuts.keys().nth(which).copied() else { return };
        let reopening = Reopening { cut, reason: salted("checked") };
        let digest = self.state.reopening_digest(&reopening);
        let yes = Answer::Yes { narrowing: Narrowing::default() };
        let verdict = self.sign(Matter::Reopening(cut), digest, yes, OPERATORS[who], false);
        self.act(&Command::Reopen { reopening, verdict });
    }
}

fn target_name(n: u8) -> TargetName {
    label(if n == 0 { "hmi-1" } else { "hmi-2" })
}

fn some_actions(bits: u8) -> Actions {
    let all = [Action::Shell, Action::FileGet, Action::FilePut];
    all.into_iter().enumerate().filter(|(bit, _)| bits & 1 << bit != 0).map(|(_, action)| action).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var_os("HOLDPOINT_LONG").is_some_and(|v| !v.is_empty()) { 20_000 } else { 600 }, ..ProptestConfig::default() })]
    #[test]
    fn no_history_breaks_an_invariant(steps in steps()) {
        let mut world = World::founded();
        for step in &steps {
            world.take(step);
        }
    }
}

/// A generator that never gets anywhere would prove nothing.
#[test]
fn generated_histories_reach_sessions_extensions_and_refusals() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut started, mut extended, mut denied, mut reopened, mut weaker) = (0, 0, 0, 0, 0);
    for _ in 0..600 {
        let mut world = World::founded();
        for step in &steps().new_tree(&mut runner).unwrap().current() {
            world.take(step);
        }
        for (_, event) in &world.happened {
            match event {
                Event::Started { .. } => started += 1,
                Event::Extended { .. } => extended += 1,
                Event::Denied { .. } => denied += 1,
                Event::Reopened { .. } => reopened += 1,
                Event::VotedWeaker { .. } => weaker += 1,
                _ => {}
            }
        }
    }
    let reached = [started, extended, denied, reopened, weaker];
    assert!(started > 60 && extended > 15 && denied > 10 && reopened > 10 && weaker > 10, "{reached:?}");
}

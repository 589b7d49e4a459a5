//! Shift changes: generated histories against a model that knows, of each request, until when somebody stands for it, and
//! beside them what the domain says by name.

use std::collections::BTreeMap;

use policies::plant::Then;
use policies::refusals::Refusal;
use policies::state::{Case, RequestStanding};

use super::*;

/// Berlin in June is at UTC+2, so these are 04:00, 12:00 and 20:00 UTC.
const SHIFTS: &str = "shifts = [\"06:00\", \"14:00\", \"22:00\"]\n[zones.packaging]";
const EIGHT_HOURS: i64 = 8 * 3_600;
/// How long after a change the model's rule acts, where it says nothing.
const AFTER: i64 = 30 * 60;

fn plant(then: &str) -> String {
    let plant = PLANT.replacen("[zones.packaging]", SHIFTS, 1);
    plant.replacen("exclusive = \"none\"", &format!("exclusive = \"none\"\nunaccepted = \"{then}\""), 1)
}

/// The change after a moment, counted by hand.
fn next_change(at: Timestamp) -> Timestamp {
    let since_four = (at.as_second() - 4 * 3_600).rem_euclid(EIGHT_HOURS);
    Timestamp::from_second(at.as_second() - since_four + EIGHT_HOURS).unwrap()
}

#[derive(Debug, Clone)]
enum Turn {
    Wait { seconds: u32 },
    Ask { who: usize, signed: bool },
    ComeOnDuty { who: usize },
    Accept { who: usize, which: usize },
    Extend { which: usize },
    Connect { who: usize },
    Stop,
    Restart,
    Sweep,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        6 => (0_u32..2_400).prop_map(|seconds| Turn::Wait { seconds }),
        2 => (2_400_u32..12_000).prop_map(|seconds| Turn::Wait { seconds }),
        4 => (0_usize..2, prop::bool::weighted(0.9)).prop_map(|(who, signed)| Turn::Ask { who, signed }),
        6 => (0_usize..4).prop_map(|who| Turn::ComeOnDuty { who }),
        8 => (0_usize..4, 0_usize..3).prop_map(|(who, which)| Turn::Accept { who, which }),
        1 => (0_usize..3).prop_map(|which| Turn::Extend { which }),
        4 => (0_usize..2).prop_map(|who| Turn::Connect { who }),
        1 => Just(Turn::Stop),
        2 => Just(Turn::Restart),
        4 => Just(Turn::Sweep),
    ];
    prop::collection::vec(turn, 1..90)
}

/// What a Desk whose clock is never set finds unaccepted.
fn unaccepted(world: &World) -> Command {
    let acts = |id: &RequestId| world.state.next_handover(&world.state.cases[id]).expect("it is over").acts;
    Command::LeaveUnaccepted { due: overdue(world).into_iter().map(|id| (id, acts(&id))).collect() }
}

fn overdue(world: &World) -> BTreeSet<RequestId> {
    let is_due = |case: &Case| {
        let handover = world.state.handover(case, world.now).filter(|handover| handover.acts <= world.now);
        !case.unaccepted && handover.is_some()
    };
    let cases = world.state.cases.iter().filter(|(_, case)| is_due(case));
    cases.map(|(id, _)| *id).collect()
}

/// Who stands for what until when, and who is on duty until when.
struct Model {
    world: World,
    then: Then,
    covered: BTreeMap<RequestId, Timestamp>,
    duty: BTreeMap<PersonId, Timestamp>,
    unaccepted: BTreeSet<RequestId>,
    still: Vec<(Timestamp, Timestamp)>,
    stopped: Option<Timestamp>,
    seen: BTreeMap<&'static str, usize>,
}

impl Model {
    fn new(then: Then) -> Self {
        let word = if then == Then::End { "end" } else { "freeze" };
        let world = World::on(&plant(word));
        let (covered, duty, unaccepted, still, stopped, seen) = Default::default();
        Self { world, then, covered, duty, unaccepted, still, stopped, seen }
    }

    fn act(&mut self, command: &Command) {
        let Ok(events) = self.world.state.decide(command, self.world.now) else { return };
        for event in events {
            self.judge(&event);
            self.world.state.apply(&event, self.world.now);
        }
    }

    fn on_duty(&self, who: PersonId) -> Option<Timestamp> {
        self.duty.get(&who).copied().filter(|until| self.world.now < *until)
    }

    /// Whether the gate ran for the rule's time since somebody stood for it.
    fn is_late(&self, request: RequestId) -> bool {
        let since = self.covered[&request];
        let passed = |from: Timestamp, until: Timestamp| until.duration_since(from.max(since)).as_secs().max(0);
        let still: i64 = self.still.iter().map(|(from, until)| passed(*from, *until)).sum();
        passed(since, self.world.now) - still >= AFTER && since <= self.world.now
    }

    fn judge(&mut self, event: &Event) {
        let now = self.world.now;
        *self.seen.entry(event.id()).or_default() += 1;
        match event {
            Event::OnDuty { person, until, .. } => {
                let next = next_change(now);
                let early = self.on_duty(*person).is_none() && next <= seconds_later(now, 30 * 60);
                assert_eq!(*until, if early { next_change(next) } else { next });
                self.duty.insert(*person, *until);
            }
            Event::Submitted { request, .. } => {
                self.covered.insert(request.id, next_change(now));
            }
            Event::Voted { verdict } => {
                let request = self.world.request_of(&verdict.statement.matter);
                let yes = matches!(verdict.statement.answer, Answer::Yes { .. });
                if let Some(until) = self.on_duty(verdict.statement.operator).filter(|_| yes) {
                    self.cover(request, until);
                }
            }
            Event::Accepted { request, by, until } => {
                assert_eq!(Some(*until), self.on_duty(*by), "only who is on duty, for as long as they are");
                assert!(*until > self.covered[request], "only who stays longer than whoever stands for it");
                self.cover(*request, *until);
            }
            Event::NotAccepted { request, then } => {
                assert_eq!(*then, self.then);
                assert!(self.is_late(*request), "not before its time");
                assert!(self.unaccepted.insert(*request), "once");
            }
            Event::Started { request, .. } => {
                assert!(!self.unaccepted.contains(request), "no session begins that nobody accepted");
                assert!(!self.is_late(*request), "nor one of which that is not in the journal yet");
            }
            _ => {}
        }
    }

    fn cover(&mut self, request: RequestId, until: Timestamp) {
        let covered = self.covered.get_mut(&request).expect("it was asked");
        *covered = until.max(*covered);
        self.unaccepted.remove(&request);
    }

    fn take(&mut self, turn: &Turn) {
        let nth = |model: &Self, n: usize| model.world.nth_request(n);
        match turn {
            Turn::Wait { seconds } => self.world.now = seconds_later(self.world.now, i64::from(*seconds)),
            Turn::Ask { who, signed } => self.ask(*who, *signed),
            Turn::ComeOnDuty { who } => {
                self.act(&Command::ComeOnDuty { person: person(OPERATORS[*who]), provider: None });
            }
            Turn::Accept { who, which } => {
                if let Some(request) = nth(self, *which) {
                    self.act(&Command::Accept { request, by: person(OPERATORS[*who]) });
                }
            }
            Turn::Extend { which } => self.extend(*which),
            Turn::Connect { who } => {
                let overdue = overdue(&self.world);
                let admission = Admission { overdue, ..self.world.door(*who) };
                self.act(&Command::Admit(admission));
            }
            Turn::Stop => {
                self.act(&Command::StopNode { node: label("gate-1") });
                self.stopped = Some(self.world.now);
            }
            Turn::Restart => {
                let since = self.stopped.take().or(self.world.state.newest).unwrap_or(self.world.now);
                self.act(&Command::StartNode { node: label("gate-1"), version: "1".into() });
                self.still.push((since, self.world.now));
            }
            Turn::Sweep => {
                self.act(&Command::Sweep);
                self.act(&unaccepted(&self.world));
                self.nothing_stays_that_nobody_accepted();
            }
        }
    }

    fn ask(&mut self, who: usize, signed: bool) {
        let id = RequestId::new(self.world.id());
        let now = self.world.now;
        self.act(&Command::Submit(NewRequest {
            id,
            technician: person(TECHNICIANS[who].0),
            target: target_name(0),
            service: None,
            actions: [Action::Shell].into(),
            window: Window { from: now, until: seconds_later(now, 20 * 3_600) },
            duration: Seconds(4 * 3_600),
            reason: Some(salted("why")),
            work_order: None,
            source: Some(self.world.source),
            emergency: false,
        }));
        if signed && self.world.state.cases.contains_key(&id) {
            for voter in [SECURITY, LEADS[0]] {
                let digest = self.world.state.cases[&id].request.digest(&label("model"));
                let yes = Answer::Yes { narrowing: Narrowing::default() };
                let verdict = self.world.sign(Matter::Request(id), digest, yes, voter, false);
                self.happens(&Command::Vote { verdict });
            }
        }
    }

    fn extend(&mut self, which: usize) {
        let Some(request) = self.world.nth_request(which) else { return };
        let by = self.world.state.cases[&request].request.technician;
        let ask = AskId::new(self.world.id());
        self.happens(&Command::AskExtension { ask, request, more: Seconds(60), reason: salted("more"), by });
        if self.world.state.asks.contains_key(&ask) {
            let digest = self.world.state.ask_digest(&self.world.state.asks[&ask]);
            let yes = Answer::Yes { narrowing: Narrowing::default() };
            let verdict = self.world.sign(Matter::Extension(ask), digest, yes, LEADS[1], false);
            self.happens(&Command::Vote { verdict });
        }
    }

    /// The world looks up what was asked in what happened.
    fn happens(&mut self, command: &Command) {
        if let Ok(events) = self.world.state.decide(command, self.world.now) {
            for event in events {
                self.world.happened.push((self.world.now, event.clone()));
                self.judge(&event);
                self.world.state.apply(&event, self.world.now);
            }
        }
    }

    fn nothing_stays_that_nobody_accepted(&self) {
        let now = self.world.now;
        for (id, case) in &self.world.state.cases {
            if case.is_current(now) && !case.has_lapsed(now) && self.is_late(*id) {
                assert!(case.unaccepted && self.then == Then::Freeze, "{id} goes on, and nobody stands for it");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var_os("HOLDPOINT_LONG").is_some_and(|v| !v.is_empty()) { 20_000 } else { 400 }, ..ProptestConfig::default() })]
    #[test]
    fn nothing_goes_on_for_which_nobody_of_the_shift_stands(turns in turns(), end: bool) {
        let mut model = Model::new(if end { Then::End } else { Then::Freeze });
        for turn in &turns {
            model.take(turn);
        }
    }
}

/// A generator that never gets anywhere would prove nothing.
#[test]
fn generated_shifts_reach_acceptance_and_the_lack_of_it() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen: BTreeMap<&'static str, usize> = BTreeMap::new();
    for number in 0..300 {
        let mut model = Model::new(if number % 2 == 0 { Then::End } else { Then::Freeze });
        for turn in &turns().new_tree(&mut runner).unwrap().current() {
            model.take(turn);
        }
        model.seen.iter().for_each(|(id, count)| *seen.entry(id).or_default() += count);
    }
    for id in ["HP1315", "HP1316", "HP1401", "HP1110"] {
        assert!(seen.get(id).is_some_and(|count| *count > 20), "{id}: {seen:?}");
    }
}

/// Two o'clock on Monday, in Berlin.
fn two_o_clock() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

/// A grant for `hmi-1` that was given at one, by people on duty until two.
fn given_before_the_change(then: &str) -> (World, RequestId) {
    let mut world = World::on(&plant(then));
    world.now = seconds_later(two_o_clock(), -3_600);
    for who in [SECURITY, LEADS[0]] {
        world.must(&Command::ComeOnDuty { person: person(who), provider: None });
    }
    let id = world.granted_for_the_day();
    (world, id)
}

impl World {
    fn granted_for_the_day(&mut self) -> RequestId {
        let id = RequestId::new(self.id());
        let window = Window { from: self.now, until: seconds_later(self.now, 20 * 3_600) };
        let reason = Some(salted("why"));
        self.must(&Command::Submit(NewRequest {
            id,
            technician: person(TECHNICIANS[0].0),
            target: target_name(0),
            service: None,
            actions: [Action::Shell].into(),
            window,
            duration: Seconds(4 * 3_600),
            reason,
            work_order: None,
            source: Some(self.source),
            emergency: false,
        }));
        for voter in [SECURITY, LEADS[0]] {
            let digest = self.state.cases[&id].request.digest(&label("model"));
            let yes = Answer::Yes { narrowing: Narrowing::default() };
            assert!(self.give(Matter::Request(id), digest, yes, voter, false));
        }
        id
    }

    fn connects(&mut self) -> Result<Vec<Event>, Refusal> {
        let door = self.door(0);
        self.state.decide(&Command::Admit(door), self.now)
    }
}

#[test]
fn on_duty_ends_with_the_shift_and_what_it_left_waits_to_be_accepted() {
    let (mut world, id) = given_before_the_change("freeze");
    let case = |world: &World| world.state.cases[&id].clone();
    world.now = seconds_later(two_o_clock(), -1);
    assert_eq!(world.state.handover(&case(&world), world.now), None);
    let accept = |who| Command::Accept { request: id, by: person(who) };
    assert_eq!(world.refused(&accept(LEADS[0])), Refusal::NothingToAccept, "they go home at two");
    world.now = two_o_clock();
    assert!(!world.state.people[&person(LEADS[0])].is_on_duty(world.now));
    let left = world.state.handover(&case(&world), world.now).unwrap();
    assert_eq!((left.since, left.then), (two_o_clock(), Then::Freeze));
    let later = |seconds| seconds_later(two_o_clock(), seconds);
    assert_eq!((left.red, left.acts), (later(15 * 60), later(30 * 60)));
    let off_duty = Refusal::DutyWanted("accepts what the shift before left");
    assert_eq!(world.refused(&accept(LEADS[1])), off_duty);
    for who in [LEADS[1], ACME_LEAD] {
        world.must(&Command::ComeOnDuty { person: person(who), provider: None });
    }
    assert_eq!(world.refused(&accept(ACME_LEAD)), Refusal::OwnVendor);
    assert_eq!(world.refused(&accept(ADMINISTRATOR)), Refusal::WrongKind("operators"));
    world.must(&accept(LEADS[1]));
    assert_eq!(world.state.handover(&case(&world), world.now), None);
    assert_eq!(world.refused(&accept(LEADS[1])), Refusal::NothingToAccept);
    assert!(world.state.handover(&case(&world), later(EIGHT_HOURS)).is_some(), "and so at each change");
}

#[test]
fn who_comes_early_accepts_before_those_before_them_go_home() {
    let (mut world, id) = given_before_the_change("freeze");
    world.now = seconds_later(two_o_clock(), -20 * 60);
    world.must(&Command::ComeOnDuty { person: person(LEADS[1]), provider: None });
    world.must(&Command::Accept { request: id, by: person(LEADS[1]) });
    world.now = seconds_later(two_o_clock(), 3_600);
    let case = &world.state.cases[&id];
    assert_eq!(world.state.handover(case, world.now), None);
}

#[test]
fn what_nobody_accepts_is_frozen_until_somebody_does() {
    let (mut world, id) = given_before_the_change("freeze");
    let due = seconds_later(two_o_clock(), AFTER);
    world.now = seconds_later(due, -1);
    assert_eq!(world.state.decide(&unaccepted(&world), world.now), Ok(Vec::new()));
    assert!(world.connects().is_ok());
    world.now = due;
    let late = Admission { overdue: overdue(&world), ..world.door(0) };
    assert_eq!(world.refused(&Command::Admit(late)), Refusal::NotAccepted(target_name(0)));
    assert!(world.connects().is_ok(), "whoever asks says what is overdue");
    world.must(&unaccepted(&world));
    assert!(world.state.cases[&id].unaccepted);
    assert_eq!(world.connects(), Err(Refusal::NotAccepted(target_name(0))));
    assert_eq!(world.state.decide(&unaccepted(&world), world.now), Ok(Vec::new()), "said once");
    world.must(&Command::ComeOnDuty { person: person(LEADS[1]), provider: None });
    world.must(&Command::Accept { request: id, by: person(LEADS[1]) });
    assert!(world.connects().is_ok());
}

#[test]
fn what_nobody_accepts_ends_where_the_rule_says_so() {
    let (mut world, id) = given_before_the_change("end");
    world.now = seconds_later(two_o_clock(), AFTER);
    world.must(&unaccepted(&world));
    assert_eq!(world.state.cases[&id].standing, RequestStanding::NotAccepted);
    assert_eq!(world.connects(), Err(Refusal::GrantNotAccepted(target_name(0))));
    world.must(&Command::ComeOnDuty { person: person(LEADS[1]), provider: None });
    let accept = Command::Accept { request: id, by: person(LEADS[1]) };
    let over = "ended: nobody accepted it at the shift change";
    assert_eq!(world.refused(&accept), Refusal::NotPending(over), "it is too late");
}

#[test]
fn a_gate_that_stood_still_over_a_change_gives_time_to_accept() {
    let (mut world, id) = given_before_the_change("end");
    world.now = seconds_later(two_o_clock(), 3_600);
    world.must(&Command::StartNode { node: label("gate-1"), version: "1".into() });
    assert_eq!(world.state.decide(&unaccepted(&world), world.now), Ok(Vec::new()));
    let left = world.state.handover(&world.state.cases[&id], world.now).unwrap();
    assert_eq!((left.since, left.acts), (world.now, seconds_later(world.now, AFTER)));
}

#[test]
fn a_restart_in_the_middle_of_it_gives_back_the_time_that_it_took_and_no_more() {
    let (mut world, id) = given_before_the_change("end");
    world.now = seconds_later(two_o_clock(), 20 * 60);
    world.must(&Command::StopNode { node: label("gate-1") });
    world.now = seconds_later(world.now, 5 * 60);
    world.must(&Command::StartNode { node: label("gate-1"), version: "1".into() });
    let left = |world: &World| world.state.handover(&world.state.cases[&id], world.now).unwrap();
    assert_eq!((left(&world).since, left(&world).acts), (two_o_clock(), seconds_later(two_o_clock(), AFTER + 5 * 60)));
    for _ in 0..3 {
        world.now = seconds_later(world.now, 60);
        world.must(&Command::StartNode { node: label("gate-1"), version: "1".into() });
        world.must(&Command::ComeOnDuty { person: person(LEADS[1]), provider: None });
    }
    assert_eq!(
        left(&world).acts,
        seconds_later(two_o_clock(), AFTER + 5 * 60 + 3 * 60),
        "killed, and not known before"
    );
}

#[test]
fn what_somebody_accepts_while_it_is_written_down_that_nobody_did_stays() {
    let (mut world, id) = given_before_the_change("end");
    world.now = seconds_later(two_o_clock(), AFTER);
    let late = unaccepted(&world);
    world.must(&Command::ComeOnDuty { person: person(LEADS[1]), provider: None });
    world.must(&Command::Accept { request: id, by: person(LEADS[1]) });
    assert_eq!(world.state.decide(&late, world.now), Ok(Vec::new()));
}

#[test]
fn a_plant_whose_shifts_begin_with_each_sign_in_hands_nothing_over() {
    let mut world = World::founded();
    world.now = seconds_later(two_o_clock(), -3_600);
    for who in [SECURITY, LEADS[0]] {
        world.must(&Command::ComeOnDuty { person: person(who), provider: None });
    }
    let id = world.granted_for_the_day();
    world.now = seconds_later(two_o_clock(), 3 * 3_600);
    assert_eq!(world.state.handover(&world.state.cases[&id], world.now), None);
    let accept = Command::Accept { request: id, by: person(LEADS[0]) };
    assert_eq!(world.refused(&accept), Refusal::NothingToAccept);
}

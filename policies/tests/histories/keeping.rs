//! How long recordings are kept, in generated histories: sessions that ended, people who hold, release, sign and sign
//! wrongly, clocks that run and jump. The model keeps a plain list of what happened and asks each erasure of it.

use policies::events::ErasedOn;
use policies::refusals::Refusal;

use super::*;

const AUDITORS: [u128; 2] = [40, 41];
const LEAST: i64 = 3_600;
const MOST: i64 = 86_400;
/// A tenth of the maximum.
const KNOWN_FOR: i64 = MOST / 10;

fn plant() -> String {
    format!("{PLANT}retention = \"{LEAST}s\"\nretention_max = \"{MOST}s\"\n")
}

#[derive(Debug, Clone)]
enum Keeping {
    Wait { seconds: i64 },
    End { which: usize },
    Hold { who: usize, which: usize },
    Release { who: usize, of: usize, which: usize },
    Sign { who: usize, which: usize },
    Disable { who: usize },
    Sweep,
    Fetch { which: usize },
}

fn keepings() -> impl Strategy<Value = Vec<Keeping>> {
    let step = prop_oneof![
        4 => (0..LEAST).prop_map(|seconds| Keeping::Wait { seconds }),
        2 => (0..MOST).prop_map(|seconds| Keeping::Wait { seconds }),
        2 => (0_usize..3).prop_map(|which| Keeping::End { which }),
        2 => (0_usize..4, 0_usize..3).prop_map(|(who, which)| Keeping::Hold { who, which }),
        2 => (0_usize..4, 0_usize..2, 0_usize..3).prop_map(|(who, of, which)| Keeping::Release { who, of, which }),
        8 => (0_usize..8, 0_usize..3).prop_map(|(who, which)| Keeping::Sign { who, which }),
        1 => (0_usize..8).prop_map(|who| Keeping::Disable { who }),
        4 => Just(Keeping::Sweep),
        1 => (0_usize..3).prop_map(|which| Keeping::Fetch { which }),
    ];
    prop::collection::vec(step, 1..60)
}

/// Those who may hold, those who may sign, and those who may neither.
const PEOPLE: [u128; 8] = [ADMINISTRATOR, LEADS[0], SECURITY, ACME_LEAD, AUDITORS[0], AUDITORS[1], 20, 21];
const HOLDERS: [u128; 4] = [AUDITORS[0], AUDITORS[1], ADMINISTRATOR, LEADS[0]];

/// Three sessions of two technicians, live.
fn busy_plant() -> (World, Vec<SessionId>) {
    let mut world = World::on(&plant());
    for auditor in AUDITORS {
        world.enrolled(auditor, Kind::Auditor, &[]);
    }
    let mut sessions = Vec::new();
    for (who, doors) in [(0, 2), (1, 1)] {
        world.granted(who, &[Action::Shell]);
        for _ in 0..doors {
            let door = world.door(who);
            sessions.push(door.session);
            world.must(&Command::Admit(door));
        }
    }
    (world, sessions)
}

impl World {
    fn keep(&mut self, sessions: &[SessionId], step: &Keeping) -> bool {
        let command = match step {
            Keeping::Wait { seconds } => {
                self.now = seconds_later(self.now, *seconds);
                return true;
            }
            Keeping::End { which } => Command::End { session: sessions[*which], ending: Ending::Left, seal: None },
            Keeping::Hold { who, which } => {
                Command::Hold { session: sessions[*which], reason: salted("a claim"), by: person(HOLDERS[*who]) }
            }
            Keeping::Release { who, of, which } => {
                Command::Release { session: sessions[*which], of: person(AUDITORS[*of]), by: person(HOLDERS[*who]) }
            }
            Keeping::Sign { who, which } => self.erasure(PEOPLE[*who], sessions[*which]),
            Keeping::Disable { who } => Command::Disable { person: person(PEOPLE[*who]), by: person(ADMINISTRATOR) },
            Keeping::Sweep => Command::Sweep,
            Keeping::Fetch { which } => Command::Fetch { session: sessions[*which], by: person(AUDITORS[0]) },
        };
        let before = self.happened.len();
        let happened = self.act(&command);
        for index in before..self.happened.len() {
            self.check_kept(index);
        }
        happened
    }

    fn erasure(&self, signer: u128, session: SessionId) -> Command {
        let statement = EraseStatement {
            deployment: label("model"),
            session,
            signer: person(signer),
            nonce: self.next.to_string(),
            expires: seconds_later(self.now, 60),
            journal: SeenHead { size: self.state.size, root: Digest::of_bytes(b"") },
        };
        Command::SignErasure { signed: Signed { statement, key: key(signer), signature: String::new() } }
    }

    /// What must be so where something was held, released, signed, erased or read.
    fn check_kept(&self, index: usize) {
        let (now, event) = &self.happened[index];
        let before = &self.happened[..index];
        match event {
            Event::Erased { session, on } => {
                nothing_goes_before_its_minimum(before, *session, *now);
                nothing_held_goes(before, *session);
                nothing_goes_twice_or_is_read_afterwards(before, *session);
                match on {
                    ErasedOn::People { administrator, operator } => {
                        self.two_people_signed_since_the_last_hold(before, *session, *administrator, *operator);
                    }
                    ErasedOn::Rule { .. } => by_itself_only_after_the_known_maximum(before, *session, *now),
                }
            }
            Event::Fetched { session, .. } | Event::Held { session, .. } => {
                nothing_goes_twice_or_is_read_afterwards(before, *session);
            }
            _ => {}
        }
    }

    fn two_people_signed_since_the_last_hold(
        &self,
        before: &[(Timestamp, Event)],
        of: SessionId,
        administrator: PersonId,
        operator: PersonId,
    ) {
        let held = |(_, event): &(Timestamp, Event)| matches!(event, Event::Held { session, .. } if *session == of);
        let since = before.iter().rposition(held).map_or(0, |at| at + 1);
        let signed = |who: PersonId| {
            before[since..].iter().any(|(_, event)| {
                matches!(event, Event::ErasureSigned { signed }
                    if signed.statement.session == of && signed.statement.signer == who)
            })
        };
        assert!(signed(administrator) && signed(operator), "both signed since the last hold");
        assert_eq!(administrator, person(ADMINISTRATOR));
        assert!(OPERATORS.iter().any(|n| person(*n) == operator) && !self.is_disabled(operator));
        let technician = self.state.sessions[&of].technician;
        assert_ne!(Self::vendor(operator), Self::vendor(technician), "nobody erases for their own vendor");
    }
}

fn ended(before: &[(Timestamp, Event)], of: SessionId) -> Timestamp {
    let end = before.iter().find_map(|(at, event)| match event {
        Event::Ended { session, .. } if *session == of => Some(*at),
        _ => None,
    });
    end.expect("nothing goes while its session runs")
}

fn nothing_goes_before_its_minimum(before: &[(Timestamp, Event)], of: SessionId, now: Timestamp) {
    assert!(seconds_later(ended(before, of), LEAST) <= now);
}

fn nothing_held_goes(before: &[(Timestamp, Event)], of: SessionId) {
    let mut holds = BTreeSet::new();
    for (_, event) in before {
        match event {
            Event::Held { session, by, .. } if *session == of => {
                holds.insert(*by);
            }
            Event::Released { session, of: whose, by } if *session == of => {
                assert!(AUDITORS.iter().any(|auditor| person(*auditor) == *by));
                assert!(holds.remove(whose), "what was released was held");
            }
            _ => {}
        }
    }
    assert!(holds.is_empty());
}

fn nothing_goes_twice_or_is_read_afterwards(before: &[(Timestamp, Event)], of: SessionId) {
    let gone = |event: &Event| matches!(event, Event::Erased { session, .. } if *session == of);
    assert!(!before.iter().any(|(_, event)| gone(event)));
}

fn by_itself_only_after_the_known_maximum(before: &[(Timestamp, Event)], of: SessionId, now: Timestamp) {
    let over = seconds_later(ended(before, of), MOST);
    let known = before.iter().map(|(at, _)| *at).find(|at| over <= *at);
    assert!(known.is_some_and(|known| seconds_later(known, KNOWN_FOR) <= now), "the journal knew long enough");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var_os("HOLDPOINT_LONG").is_some_and(|v| !v.is_empty()) { 20_000 } else { 1_000 }, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_erased_early_held_or_on_one_word(steps in keepings()) {
        let (mut world, sessions) = busy_plant();
        for step in &steps {
            world.keep(&sessions, step);
        }
    }
}

/// A generator that never gets anywhere would prove nothing.
#[test]
fn generated_histories_erase_on_both_words_and_hold() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut by_people, mut by_rule, mut held) = (0, 0, 0);
    for _ in 0..600 {
        let (mut world, sessions) = busy_plant();
        for step in &keepings().new_tree(&mut runner).unwrap().current() {
            world.keep(&sessions, step);
        }
        for (_, event) in &world.happened {
            match event {
                Event::Erased { on: ErasedOn::People { .. }, .. } => by_people += 1,
                Event::Erased { on: ErasedOn::Rule { .. }, .. } => by_rule += 1,
                Event::Held { .. } => held += 1,
                _ => {}
            }
        }
    }
    assert!(by_people > 20 && by_rule > 40 && held > 100, "{by_people} {by_rule} {held}");
}

// Each no by name.

fn over() -> (World, SessionId) {
    let (mut world, sessions) = busy_plant();
    world.must(&Command::End { session: sessions[0], ending: Ending::Left, seal: None });
    (world, sessions[0])
}

#[test]
fn too_early_says_when_and_by_which_rule() {
    let (mut world, session) = over();
    let until = world.state.kept_until(session).unwrap();
    assert_eq!(until, seconds_later(world.now, LEAST));
    world.now = seconds_later(until, -1);
    let early =
        Refusal::KeptUntil { rule: label("maintenance"), least: Seconds(3_600), until: world.state.clock(until) };
    assert_eq!(world.refused(&world.erasure(ADMINISTRATOR, session)), early);
    world.now = until;
    let sign = world.erasure(ADMINISTRATOR, session);
    world.must(&sign);
    assert_eq!(world.refused(&world.erasure(ADMINISTRATOR, session)), Refusal::AlreadyVoted);
}

#[test]
fn what_is_held_says_by_whom_and_signatures_before_a_hold_count_no_longer() {
    let (mut world, session) = over();
    world.now = seconds_later(world.now, LEAST);
    let sign = world.erasure(ADMINISTRATOR, session);
    world.must(&sign);
    world.must(&Command::Hold { session, reason: salted("claim 12"), by: person(AUDITORS[1]) });
    assert_eq!(world.refused(&world.erasure(LEADS[0], session)), Refusal::Held(vec![person(AUDITORS[1])]));
    // Another auditor releases it: whoever held may have left.
    let release = |of: u128| Command::Release { session, of: person(of), by: person(AUDITORS[0]) };
    assert_eq!(world.refused(&release(AUDITORS[0])), Refusal::NotHeld);
    world.must(&release(AUDITORS[1]));
    let sign = world.erasure(LEADS[0], session);
    world.must(&sign);
    assert!(world.state.sessions[&session].erased().is_none(), "the administrator did not know of the hold");
    let sign = world.erasure(ADMINISTRATOR, session);
    world.must(&sign);
    let (at, _) = world.state.sessions[&session].erased().cloned().unwrap();
    let gone = Refusal::Erased(world.state.clock(at));
    assert_eq!(world.refused(&Command::Fetch { session, by: person(AUDITORS[0]) }), gone);
    assert_eq!(world.refused(&Command::Hold { session, reason: salted("late"), by: person(AUDITORS[0]) }), gone);
}

#[test]
fn only_auditors_hold_and_only_an_administrator_with_an_operator_erases() {
    let (mut world, session) = over();
    world.now = seconds_later(world.now, LEAST);
    let hold = |by: u128| Command::Hold { session, reason: salted("why"), by: person(by) };
    for by in [ADMINISTRATOR, LEADS[0], 20] {
        assert_eq!(world.refused(&hold(by)), Refusal::WrongKind("auditors"));
    }
    for by in [AUDITORS[0], 20] {
        let refusal = Refusal::WrongKind("administrators and operators");
        assert_eq!(world.refused(&world.erasure(by, session)), refusal);
    }
    assert_eq!(world.refused(&world.erasure(ACME_LEAD, session)), Refusal::OwnVendor);
    for operator in [LEADS[0], SECURITY] {
        let sign = world.erasure(operator, session);
        world.must(&sign);
    }
    assert!(world.state.sessions[&session].erased().is_none(), "two operators are no administrator");
}

#[test]
fn a_clock_that_jumps_ahead_erases_nothing_at_once() {
    let (mut world, session) = over();
    world.now = seconds_later(world.now, 10 * 365 * 86_400);
    assert!(!world.state.has_removals(world.now), "nothing in the journal knows of such a day");
    world.must(&Command::ComeOnDuty { person: person(LEADS[0]), provider: None });
    assert!(!world.state.has_removals(seconds_later(world.now, KNOWN_FOR - 1)));
    world.now = seconds_later(world.now, KNOWN_FOR);
    world.must(&Command::Sweep);
    assert!(world.state.sessions[&session].erased().is_some());
}

#[test]
fn texts_go_with_the_last_recording_of_a_request_that_is_over() {
    let (mut world, sessions) = busy_plant();
    let end = |session| Command::End { session, ending: Ending::Left, seal: None };
    world.must(&end(sessions[0]));
    world.must(&end(sessions[1]));
    let erase = |world: &mut World, session| {
        for signer in [ADMINISTRATOR, LEADS[0]] {
            let sign = world.erasure(signer, session);
            world.must(&sign);
        }
    };
    world.now = seconds_later(world.now, LEAST);
    erase(&mut world, sessions[0]);
    assert_eq!(world.state.texts_of_erased(sessions[0], world.now), [], "another recording of it is kept");
    erase(&mut world, sessions[1]);
    assert_eq!(world.state.texts_of_erased(sessions[1], world.now), [], "somebody may still connect with it");
    world.now = seconds_later(world.now, MOST);
    assert_eq!(world.state.texts_of_erased(sessions[1], world.now), [salted("why")]);
}

//! What the vault folds says of every session the same as the state does, at each entry and at the moments around it.

use policies::live::Live;

use super::*;

/// Whether the state has this session going on, under a grant that stands, and nobody cut or put out.
fn goes_on(state: &State, id: SessionId, now: Timestamp) -> bool {
    let Some(facts) = state.sessions.get(&id).filter(|facts| facts.ended.is_none()) else { return false };
    let case = &state.cases[&facts.request];
    let is_cut = state.cuts.values().any(|cut| state.is_within(&cut.scope, id, facts));
    let is_in = state.people[&facts.technician].standing == policies::people::Standing::Active;
    let vendor = state.vendor_of(facts.technician).expect("a technician works for somebody");
    let vendor_is_in = state.contracts.get(vendor).is_some_and(|contract| !contract.disabled);
    let stands = case.standing == policies::state::RequestStanding::Granted && now < case.deadline;
    stands && !is_cut && is_in && vendor_is_in
}

impl World {
    /// Whoever begins to listen after so many entries, and hears all that comes then, opens for the same sessions.
    pub(super) fn who_begins_to_listen_late_opens_for_the_same(&self, after: usize) {
        let (mut all, mut late, mut state) = (Live::default(), Live::default(), State::default());
        for (place, (at, event)) in self.happened.iter().enumerate() {
            if place == after {
                for told in state.entries_that_open() {
                    late.pass(told);
                    late.apply(&self.happened[usize::try_from(told).unwrap()].1);
                }
                late.pass(state.size);
            }
            all.apply(event);
            state.apply(event, *at);
            if place < after {
                continue;
            }
            late.apply(event);
            assert_eq!(late.size(), all.size());
            for (id, facts) in &state.sessions {
                let deadline = state.cases[&facts.request].deadline;
                for now in [*at, seconds_later(deadline, -1), deadline].into_iter().filter(|now| at <= now) {
                    assert_eq!(late.opens(*id, now).ok(), all.opens(*id, now).ok(), "{id} at {now} after {event:?}");
                }
            }
        }
    }

    /// Goes through its journal once more, with both folds side by side.
    pub(super) fn both_folds_say_the_same(&self) -> usize {
        let (mut live, mut state, mut opened) = (Live::default(), State::default(), 0);
        for (at, event) in &self.happened {
            live.apply(event);
            state.apply(event, *at);
            assert_eq!(live.size(), state.size);
            for (id, facts) in &state.sessions {
                let deadline = state.cases[&facts.request].deadline;
                for now in [*at, seconds_later(deadline, -1), deadline] {
                    let account = live.opens(*id, now);
                    assert_eq!(account.is_ok(), goes_on(&state, *id, now), "{id} at {now} after {event:?}");
                    if let Ok(account) = account {
                        assert_eq!(account, facts.account.as_ref());
                        opened += 1;
                    }
                }
            }
        }
        opened
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_vault_opens_for_the_sessions_that_go_on_and_for_no_others(steps in steps()) {
        let mut world = World::founded();
        for step in &steps {
            world.take(step);
        }
        world.both_folds_say_the_same();
        for part in 0..4 {
            world.who_begins_to_listen_late_opens_for_the_same(world.happened.len() * part / 4);
        }
    }
}

#[test]
fn what_is_over_is_not_told_to_who_begins_to_listen() {
    let mut world = World::founded();
    let told = world.state.entries_that_open().len();
    let request = world.granted(0, &[Action::Shell]);
    assert!(world.state.entries_that_open().len() > told, "a grant that stands");
    let by = person(LEADS[0]);
    world.must(&Command::Revoke { request, reason: salted("over"), by });
    assert_eq!(world.state.entries_that_open().len(), told);
}

/// A generator in which nothing ever opens would prove nothing.
#[test]
fn something_opens_in_generated_histories() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let opened: usize = (0..60)
        .map(|_| {
            let mut world = World::founded();
            steps().new_tree(&mut runner).unwrap().current().iter().for_each(|step| world.take(step));
            world.both_folds_say_the_same()
        })
        .sum();
    assert!(opened > 50, "{opened}");
}

#[test]
fn what_never_began_or_is_over_opens_nothing() {
    let none = Live::default();
    let id = SessionId::new(ulid::Ulid::from(7_u128));
    assert_eq!(none.opens(id, MONDAY.parse().unwrap()), Err(policies::live::NotLive::Session));
}

const GOLDEN: &str = include_str!("../golden/events-1.jsonl");
/// Before the deadline that the golden events say.
const AT_WORK: &str = "2026-11-22T12:00:00Z";

/// The first golden event of this name.
fn golden(name: &str) -> Event {
    let line = GOLDEN.lines().find(|line| line.contains(&format!("\"event\":\"{name}\""))).unwrap();
    Event::decode(line.as_bytes()).unwrap()
}

/// A session of the golden events that goes on, after its plant file was proposed so often.
fn at_work(proposed: usize) -> Live {
    let text = include_str!("../../examples/packaging-line.toml").to_owned();
    let (plant, by) = (Digest::of_bytes(text.as_bytes()), PersonId::new(ulid::Ulid::from(1_u128)));
    let proposal = [Event::PlantText { plant, part: 0, of: 1, text }, Event::PlantProposed { plant, by }];
    let proposals = std::iter::repeat_n(proposal, proposed).flatten();
    let begun = ["submitted", "granted", "started"].map(golden);
    let mut live = Live::default();
    let events = ["contracted", "invited"].map(golden).into_iter().chain(proposals);
    for event in events.chain([Event::PlantAdopted { plant }]).chain(begun) {
        live.apply(&event);
    }
    live
}

fn opens(live: &Live) -> bool {
    let Event::Started { session, .. } = golden("started") else { panic!("another event") };
    live.opens(session, AT_WORK.parse().unwrap()).is_ok_and(|account| account.is_some())
}

/// Histories have no guests, no restore, and few of the ways in which a grant ends.
#[test]
fn each_event_that_ends_a_session_closes_it_and_no_other_does() {
    const ENDING: [&str; 11] = [
        "closed-out",
        "cut",
        "denied",
        "disabled",
        "ended",
        "guest-ended",
        "lapsed",
        "restored",
        "revoked",
        "vendor-disabled",
        "withdrawn",
    ];
    assert!(opens(&at_work(1)));
    let told = GOLDEN.lines().map(|line| (line, serde_json::from_str::<serde_json::Value>(line).unwrap()));
    // A request is submitted once, and this one was.
    for (line, told) in told.filter(|(_, told)| told["event"] != "submitted") {
        let is_end = ENDING.contains(&told["event"].as_str().unwrap())
            || (told["event"] == "not-accepted" && told["then"] == "end");
        let mut live = at_work(1);
        live.apply(&Event::decode(line.as_bytes()).unwrap());
        assert_eq!(opens(&live), !is_end, "{line}");
    }
}

#[test]
fn a_plant_file_that_was_proposed_more_than_once_is_adopted_as_it_is() {
    assert!(opens(&at_work(2)));
}

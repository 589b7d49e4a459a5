//! The age of secrets, in generated histories: they are set and forgotten, files are adopted that demand an age or none, and time
//! passes. The model goes through a plain list of what happened.

use policies::refusals::Refusal;
use policies::reports::{Cell, Report};
use policies::rotation::Need;

use super::reports::reported;
use super::*;

const MAX: i64 = 100_000;
/// A quarter of it, which is shorter than a week.
const AHEAD: i64 = MAX / 4;

/// Each target has a secret of its own; the first lets it get as old as the plant says, the second half of that.
fn plant(demands: bool) -> String {
    let own = PLANT.replacen("credential = \"hmi\"", "credential = \"first\"", 1);
    if !demands {
        return own;
    }
    let half = format!("credential = \"hmi\"\ncredential_age_max = \"{}s\"", MAX / 2);
    let own = own.replacen("credential = \"hmi\"", &half, 1);
    own.replacen("changes =", &format!("credential_age_max = \"{MAX}s\"\nchanges ="), 1)
}

#[derive(Debug, Clone)]
enum Step {
    Wait { seconds: i64 },
    Set { which: usize },
    Forget { which: usize },
    Adopt { demands: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..MAX / 2).prop_map(|seconds| Step::Wait { seconds }),
        3 => (0_usize..2).prop_map(|which| Step::Set { which }),
        1 => (0_usize..2).prop_map(|which| Step::Forget { which }),
        2 => any::<bool>().prop_map(|demands| Step::Adopt { demands }),
    ];
    prop::collection::vec(step, 1..30)
}

const SECRETS: [(&str, i64); 2] = [("first", MAX), ("hmi", MAX / 2)];

/// What happened, as far as it matters.
struct Model {
    demands: bool,
    /// When each was set or forgotten last.
    last: [Option<(bool, Timestamp)>; 2],
    told_since: Option<Timestamp>,
}

impl Model {
    fn need(&self, which: usize, now: Timestamp) -> Need {
        let age = SECRETS[which].1;
        let due = |set: Timestamp| seconds_later(set, age);
        match (self.last[which], self.told_since) {
            (Some((false, _)), _) if !self.demands => Need::Forgotten,
            (Some((false, gone)), _) => Need::Overdue(gone),
            _ if !self.demands => Need::Nothing,
            (Some((true, set)), _) if due(set) <= now => Need::Overdue(due(set)),
            (Some((true, set)), _) if due(set) <= seconds_later(now, AHEAD * age / MAX) => Need::Soon(due(set)),
            (Some((true, _)), _) => Need::Nothing,
            (None, Some(since)) if due(since) <= now => Need::Overdue(due(since)),
            (None, _) => Need::Unknown,
        }
    }
}

fn adopt(world: &mut World, demands: bool) {
    let text = plant(demands);
    let plant = Digest::of_bytes(text.as_bytes());
    for event in [
        Event::PlantText { plant, part: 1, of: 1, text },
        Event::PlantProposed { plant, by: person(ADMINISTRATOR) },
        Event::PlantAdopted { plant },
    ] {
        world.state.apply(&event, world.now);
    }
}

proptest! {
    #[test]
    fn a_secret_is_to_be_set_as_the_file_in_force_and_what_happened_say(steps in steps()) {
        let mut world = World::on(&plant(false));
        let mut model = Model { demands: false, last: [None; 2], told_since: None };
        let by = person(ADMINISTRATOR);
        for step in steps {
            match step {
                Step::Wait { seconds } => world.now = seconds_later(world.now, seconds),
                Step::Set { which } => {
                    world.must(&Command::SetSecret { credential: label(SECRETS[which].0), by });
                    model.last[which] = Some((true, world.now));
                    model.told_since.get_or_insert(world.now);
                }
                Step::Forget { which } => {
                    world.must(&Command::ForgetSecret { credential: label(SECRETS[which].0), by });
                    model.last[which] = Some((false, world.now));
                    model.told_since.get_or_insert(world.now);
                }
                Step::Adopt { demands } => {
                    adopt(&mut world, demands);
                    model.demands = demands;
                    if demands {
                        model.told_since.get_or_insert(world.now);
                    }
                }
            }
            let plant = world.state.plant.clone().unwrap();
            let needs: Vec<_> = world.state.rotations(&plant).iter().map(|one| one.need(world.now)).collect();
            prop_assert_eq!(&needs, &[0, 1].map(|which| model.need(which, world.now)));
            let due: Vec<_> = world.state.rotations_due(world.now).iter().map(|(_, need)| *need).collect();
            prop_assert_eq!(due, needs.into_iter().filter(|need| need.is_any()).collect::<Vec<_>>());
        }
    }
}

#[test]
fn nobody_but_an_administrator_sets_a_secret() {
    let mut world = World::founded();
    for who in [LEADS[0], TECHNICIANS[0].0] {
        let command = Command::SetSecret { credential: label("hmi"), by: person(who) };
        assert_eq!(world.state.decide(&command, world.now), Err(Refusal::WrongKind("administrators")));
        let command = Command::ForgetSecret { credential: label("hmi"), by: person(who) };
        assert_eq!(world.state.decide(&command, world.now), Err(Refusal::WrongKind("administrators")));
    }
    world.must(&Command::SetSecret { credential: label("hmi"), by: person(ADMINISTRATOR) });
}

#[test]
fn the_least_age_that_a_service_demands_counts_and_words_tell_what_is_known() {
    let two = PLANT.replacen("credential = \"hmi\"", "credential = \"hmi\"\ncredential_age_max = \"7d\"", 1);
    let mut world = World::on(&two.replacen("changes =", "credential_age_max = \"30d\"\nchanges =", 1));
    let clock = |world: &World, at| world.state.clock(at).to_string();
    let said = |world: &World| {
        let due = world.state.rotations_due(world.now);
        due.iter().map(|(one, _)| one.in_words(world.now, |at| world.state.clock(at))).collect::<Vec<_>>()
    };
    let begun = clock(&world, world.now);
    let set_it = "Set it anew: `holdpoint secret set hmi`";
    let every = "and is to be set anew every 7d";
    let of = "the secret hmi of hmi-1 (ssh), hmi-2 (ssh)";
    assert_eq!(said(&world), [format!("{of} was set at an unknown time, or never, {every}. {set_it}")]);
    world.now = seconds_later(world.now, 7 * 86_400);
    let due = clock(&world, world.now);
    assert_eq!(
        said(&world),
        [format!("{of} was not set since {begun} at least, {every}: OVERDUE since {due}. {set_it}")]
    );
    world.must(&Command::SetSecret { credential: label("hmi"), by: person(ADMINISTRATOR) });
    assert_eq!(said(&world), [""; 0]);
    let set = clock(&world, world.now);
    world.now = seconds_later(world.now, 6 * 86_400);
    let due = clock(&world, seconds_later(world.now, 86_400));
    assert_eq!(said(&world), [format!("{of} was set {set}, {every}: it is due {due}. {set_it}")]);
    world.now = seconds_later(world.now, 2 * 86_400);
    assert_eq!(said(&world), [format!("{of} was set {set}, {every}: OVERDUE since {due}. {set_it}")]);
    world.must(&Command::ForgetSecret { credential: label("hmi"), by: person(ADMINISTRATOR) });
    let gone = clock(&world, world.now);
    assert_eq!(said(&world), [format!("{of} was forgotten {gone}, so it opens nothing, {every}: OVERDUE. {set_it}")]);
}

#[test]
fn a_report_tells_of_each_secret_who_set_it_and_who_used_it_since() {
    let mut world = World::on(&PLANT.replacen("changes =", "credential_age_max = \"7d\"\nchanges =", 1));
    let column = |world: &World, name| reported(world, Report::Secrets, name);
    let words = |words: &str| Cell::Words(words.into());
    let at_work = |world: &mut World, who: usize| {
        world.granted(who, &[Action::Shell]);
        let door = world.door(who);
        world.must(&Command::Admit(door.clone()));
        world.must(&Command::End { session: door.session, ending: Ending::Left, seal: None });
    };
    at_work(&mut world, 0);
    assert_eq!(column(&world, "standing"), [words("NOT KNOWN: set it anew")]);
    assert_eq!(column(&world, "last set"), [words("not known")]);
    assert_eq!(column(&world, "used since by"), [Cell::People(vec![person(TECHNICIANS[0].0)])]);
    world.now = seconds_later(world.now, 60);
    for secret in ["hmi", "alarms"] {
        world.must(&Command::SetSecret { credential: label(secret), by: person(ADMINISTRATOR) });
    }
    assert_eq!(column(&world, "secret"), [words("hmi"), words("alarms")]);
    assert_eq!(column(&world, "standing"), [words("right"), words("no target is opened by it")]);
    assert_eq!(column(&world, "used since by"), [Cell::None, Cell::None], "whoever used the one before");
    at_work(&mut world, 1);
    assert_eq!(column(&world, "used since by"), [Cell::People(vec![person(TECHNICIANS[1].0)]), Cell::None]);
    assert_eq!(column(&world, "by"), [ADMINISTRATOR, ADMINISTRATOR].map(|who| Cell::People(vec![person(who)])));
    world.now = seconds_later(world.now, 7 * 86_400);
    assert_eq!(column(&world, "standing"), [words("OVERDUE"), words("no target is opened by it")]);
    assert_eq!(column(&world, "age"), [words("7 days"), words("7 days")]);
}

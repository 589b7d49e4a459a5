//! What a technician may ask for: what the rules allow, when, on which terms, and nothing of what is others'.

use policies::offers::{Later, Offer, Reach};

use super::*;

/// Beside the rule of always: a short one for the night at one target, and a long one for looking at files; another vendor's target.
const MORE: &str = r#"
[targets.robot-1]
zone = "packaging"
[targets.robot-1.services.ssh]
protocol = "ssh"
address = "10.0.0.3:22"
user = "maint"
credential = "hmi"
host_key = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

[[rules]]
id = "night"
vendors = ["acme"]
roles = ["maintenance"]
targets = ["hmi-1"]
actions = ["shell"]
hours = "Mon-Sun 22:00-24:00"
duration_max = "1h"
approvals = [{ from = "shift-lead", count = 1 }]
emergency = true

[[rules]]
id = "files"
vendors = ["acme"]
roles = ["maintenance"]
targets = ["hmi-1"]
actions = ["file-get"]
hours = "Mon-Sun 18:00-24:00"
duration_max = "8h"
approvals = [{ from = "ot-security", count = 1 }]
work_order = "WO-[0-9]+"
emergency = true
"#;

const TARA: u128 = 20;

fn world() -> World {
    World::on(&(PLANT.replace("zones = [\"packaging\", \"boiler\"]", "targets = [\"hmi-1\", \"hmi-2\"]") + MORE))
}

fn reach(world: &World, who: u128, at: &str) -> (Vec<Offer>, Vec<Later>) {
    let (mut now, mut later) = (Vec::new(), Vec::new());
    for reach in world.state.reach(person(who), world.source, at.parse().unwrap()) {
        match reach {
            Reach::Now(offer) => now.push(offer),
            Reach::Later(one) => later.push(one),
        }
    }
    (now, later)
}

fn lines(later: &[Later]) -> Vec<String> {
    later.iter().map(ToString::to_string).collect()
}

#[test]
fn what_may_be_asked_for_follows_the_hours_and_each_action_has_its_own_terms() {
    let world = world();
    // By day the rule of always; nothing of it opens later.
    let (now, later) = reach(&world, TARA, "2026-06-01T08:00:00Z");
    assert_eq!(now.iter().map(|offer| offer.target.as_str()).collect::<Vec<_>>(), ["hmi-1", "hmi-2"]);
    assert_eq!(now[0].actions, [Action::Shell, Action::FileGet, Action::FilePut].into());
    assert_eq!((now[0].terms.most, now[0].usual_duration()), (Seconds(4 * 3_600), Seconds(3_600)));
    assert_eq!(now[0].terms.approvers, "1 of shift-lead and 1 of ot-security");
    assert!(later.is_empty() && now[0].emergency.is_empty(), "{later:?}");

    // In the evening files go, on terms of their own; of the rest the earliest opening counts, whichever rule stands first.
    let (now, later) = reach(&world, TARA, "2026-06-01T17:00:00Z");
    let [files] = &now[..] else { panic!("{now:?}") };
    assert_eq!((files.actions.clone(), files.terms.most), ([Action::FileGet].into(), Seconds(8 * 3_600)));
    assert_eq!((files.terms.work_order.to_string(), files.each.len()), ("WO-[0-9]+".to_owned(), 1));
    assert_eq!(
        lines(&later),
        [
            "hmi-1 (ssh): shell, file-put from Mon 22:00 CEST (2026-06-01) on",
            "hmi-2 (ssh): shell, file-get, file-put from Tue 06:00 CEST (2026-06-02) on",
        ]
    );
    let (now, _) = reach(&world, TARA, "2026-06-01T20:30:00Z");
    assert_eq!(now[0].actions, [Action::Shell, Action::FileGet].into());
    assert_eq!(now[0].terms.most, Seconds(3_600), "of the shell, which most come for");
    let each: Vec<_> = now[0].each.iter().map(|(action, terms)| (*action, terms.most.0 / 3_600)).collect();
    assert_eq!(each, [(Action::Shell, 1), (Action::FileGet, 8)]);
    assert_eq!(now[0].emergency, [Action::Shell, Action::FileGet].into());
}

#[test]
fn nobody_is_offered_what_is_others_and_a_cut_is_told() {
    let mut world = world();
    let day = "2026-06-01T08:00:00Z";
    let (now, _) = reach(&world, 21, day);
    assert!(now.iter().all(|offer| offer.target.as_str() != "robot-1"), "nobody's rule leads there");
    assert_eq!(reach(&world, ADMINISTRATOR, day), (Vec::new(), Vec::new()));
    let elsewhere = "198.51.100.1".parse().unwrap();
    assert!(world.state.reach(person(21), elsewhere, day.parse().unwrap()).is_empty(), "not from there");

    let (cut, by) = (CutId::new(world.id()), CutBy::Operator(person(LEADS[0])));
    let scope = Scope::Zone(label("boiler"));
    world.must(&Command::Cut { cut, scope, by, at: world.now });
    let (now, _) = reach(&world, TARA, day);
    assert_eq!(now.iter().map(|offer| offer.is_cut).collect::<Vec<_>>(), [false, true]);
    world.must(&Command::DisableVendor { vendor: label("acme"), by: person(ADMINISTRATOR) });
    assert_eq!(reach(&world, TARA, day), (Vec::new(), Vec::new()));
}

#[test]
fn enough_on_duty_are_as_many_as_approve_and_one_for_an_emergency() {
    let mut world = world();
    let staffed = |world: &World| {
        let now = world.now.to_string();
        reach(world, TARA, &now).0[0].terms.is_staffed
    };
    assert!(!staffed(&world));
    world.must(&Command::ComeOnDuty { person: person(LEADS[0]), provider: None });
    assert!(!staffed(&world), "one of two groups");
    world.must(&Command::ComeOnDuty { person: person(SECURITY), provider: None });
    assert!(staffed(&world));

    // At night, when the rule lets one operator answer an emergency.
    let mut world = self::world();
    world.now = "2026-06-01T20:30:00Z".parse().unwrap();
    let work_order = Some((salted("WO-1"), "WO-1".to_owned()));
    let wish =
        NewRequest { emergency: true, duration: Seconds(1_800), work_order, ..world.wish(0, &[Action::FileGet]) };
    let id = wish.id;
    world.must(&Command::Submit(wish));
    let answered = |world: &World| world.state.is_answered_now(&world.state.cases[&id], world.now);
    assert!(!answered(&world));
    world.must(&Command::ComeOnDuty { person: person(LEADS[0]), provider: None });
    assert!(answered(&world), "whoever is on duty, of whichever group");
}

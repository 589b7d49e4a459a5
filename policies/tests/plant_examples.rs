//! The example plants parse, and answer the questions a plant engineer would ask of them.

use jiff::civil::DateTime;
use policies::actions::Actions;
use policies::explain::explain;
use policies::ids::{RoleName, ServiceName, TargetName, VendorId};
use policies::plant::{DeadlineEnding, Plant, Protocol, Rule};
use policies::rules::{Asker, Lack, NotAllowed, Question, deciding_rule};

fn example(name: &str) -> Plant {
    let file = format!("{}/examples/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&file).expect("the example is there");
    Plant::parse(&text).unwrap_or_else(|mistakes| panic!("{}", mistakes.in_file(&file)))
}

/// Somebody with a question, in owned words.
struct Ask {
    vendor: VendorId,
    role: RoleName,
    target: TargetName,
    service: Option<ServiceName>,
    actions: Actions,
    local: DateTime,
    source: Option<&'static str>,
    emergency: bool,
}

/// `who` is `vendor/role`, `place` is `target` or `target/service`.
fn ask(who: &str, actions: &str, place: &str, local: &str) -> Ask {
    let (vendor, role) = who.split_once('/').expect("vendor/role");
    let (target, service) = place.split_once('/').map_or((place, None), |(target, service)| (target, Some(service)));
    Ask {
        vendor: vendor.parse().expect("a name"),
        role: role.parse().expect("a name"),
        target: target.parse().expect("a name"),
        service: service.map(|service| service.parse().expect("a name")),
        actions: actions.split(' ').map(|action| action.parse().expect("an action")).collect(),
        local: local.parse().expect("a civil time"),
        source: None,
        emergency: false,
    }
}

impl Ask {
    fn from(self, source: &'static str) -> Self {
        Self { source: Some(source), ..self }
    }

    fn in_emergency(self) -> Self {
        Self { emergency: true, ..self }
    }

    fn question(&self, plant: &Plant) -> Question<'_> {
        Question {
            asker: Asker { vendor: &self.vendor, role: &self.role },
            target: &self.target,
            service: self.service.as_ref(),
            actions: &self.actions,
            at: plant.timezone.to_timestamp(self.local).expect("a time that exists"),
            source: self.source.map(|source| source.parse().expect("an address")),
            emergency: self.emergency,
        }
    }

    fn of<'p>(&self, plant: &'p Plant) -> Result<&'p Rule, NotAllowed> {
        deciding_rule(plant, &self.question(plant))
    }

    fn decided_by(&self, plant: &Plant) -> String {
        self.of(plant).map(|rule| format!("{}, {}", rule.id, rule.approvers())).unwrap_or_else(|no| no.to_string())
    }

    fn lacks(&self, plant: &Plant) -> String {
        match self.of(plant) {
            Err(NotAllowed::NoRule { nearest: Some(nearest) }) => {
                let lacks: Vec<_> = nearest.lacks.iter().map(Lack::to_string).collect();
                format!("{}; {}", nearest.rule, lacks.join("; "))
            }
            other => panic!("decided otherwise: {other:?}"),
        }
    }
}

#[test]
fn a_technician_may_into_the_panel_on_a_weekday_and_on_saturday_learns_when_it_opens() {
    let mill = example("packaging-line");
    let weekday = ask("acme/maintenance", "shell", "hmi-2", "2026-11-23T08:00");
    assert_eq!(weekday.decided_by(&mill), "acme-packaging, 1 of shift-lead");
    let saturday = ask("acme/maintenance", "shell", "hmi-2", "2026-11-28T08:00");
    assert_eq!(saturday.lacks(&mill), "acme-packaging; hours: opens Mon 06:00 CET (2026-11-30)");
    assert_eq!(
        saturday.decided_by(&mill),
        "no rule allows this. The nearest is acme-packaging; hours: opens Mon 06:00 CET (2026-11-30)"
    );
}

#[test]
fn everything_that_is_lacking_is_told_at_once() {
    let mill = example("packaging-line");
    let asked =
        ask("acme/maintenance", "shell file-put", "hmi-2", "2026-11-23T05:59").from("198.51.100.9").in_emergency();
    assert_eq!(
        asked.lacks(&mill),
        "acme-packaging; actions: it does not allow file-put; hours: opens Mon 06:00 CET (2026-11-23); \
         source: 198.51.100.9 is not in 203.0.113.0/24, 2001:db8:ac3e::/48; emergency: it provides for none"
    );
}

#[test]
fn an_address_of_the_vendor_is_recognised_on_either_kind_of_socket() {
    let mill = example("packaging-line");
    for source in ["203.0.113.9", "::ffff:203.0.113.9", "2001:db8:ac3e::7"] {
        let asked = ask("acme/maintenance", "shell", "hmi-2", "2026-11-23T08:00").from(source);
        assert_eq!(asked.decided_by(&mill), "acme-packaging, 1 of shift-lead", "{source}");
    }
}

#[test]
fn the_first_of_several_rules_decides() {
    let mill = example("packaging-line");
    let by_day = ask("acme/controls-engineer", "shell file-put", "packer-station", "2026-11-23T08:00");
    assert_eq!(by_day.decided_by(&mill), "acme-controller, 1 of shift-lead and 1 of controls");
    let by_night = ask("acme/controls-engineer", "shell file-put", "packer-station", "2026-11-23T02:00");
    assert_eq!(by_night.decided_by(&mill), "acme-emergency, 1 of shift-lead and 1 of ot-security");
    let emergency_by_day =
        ask("acme/controls-engineer", "shell file-put", "packer-station", "2026-11-23T08:00").in_emergency();
    assert_eq!(emergency_by_day.of(&mill).expect("allowed").id.as_str(), "acme-emergency");
}

#[test]
fn never_wins_and_a_stranger_hears_of_no_rule() {
    let mill = example("packaging-line");
    let safety = ask("acme/controls-engineer", "shell", "safety-station", "2026-11-23T08:00");
    assert!(matches!(safety.of(&mill), Err(NotAllowed::Never { zone, .. }) if zone.as_str() == "safety"));
    let stranger = ask("stackwell/service", "shell", "hmi-2", "2026-11-28T08:00");
    assert_eq!(stranger.lacks(&mill), "stackwell-palletiser; target: it does not reach hmi-2");
    let unknown = ask("nobody/service", "shell", "hmi-2", "2026-11-28T08:00");
    assert_eq!(unknown.decided_by(&mill), "no rule allows this. Ask your sponsor at the plant");
}

#[test]
fn a_rule_for_another_vendor_is_further_away_than_any_of_ones_own() {
    let mill = example("packaging-line");
    let asked = ask("stackwell/maintenance", "shell", "hmi-2", "2026-11-23T08:00");
    assert_eq!(
        asked.lacks(&mill),
        "stackwell-palletiser; role: it is not for maintenance; target: it does not reach hmi-2; \
         hours: opens Sat 06:00 CET (2026-11-28)"
    );
}

#[test]
fn a_service_is_named_where_there_are_several() {
    let mill = example("packaging-line");
    let on = |place| ask("stackwell/service", "shell", place, "2026-11-28T08:00").decided_by(&mill);
    assert_eq!(on("palletiser"), "palletiser has several services. Name one of recipes, ssh");
    assert_eq!(on("palletiser/vnc"), "palletiser has no service vnc. It has recipes, ssh");
    assert_eq!(on("palletiser/ssh"), "stackwell-palletiser, 1 of shift-lead");
    assert_eq!(on("palletiser/recipes"), "stackwell-palletiser, 1 of shift-lead");
    let tunnel = ask("stackwell/service", "tunnel", "palletiser/ssh", "2026-11-28T08:00").decided_by(&mill);
    assert_eq!(tunnel, "palletiser speaks ssh, where there is no tunnel. Ask for shell, file-get, file-put");
    assert_eq!(on("hmi-9"), "there is no target hmi-9. Check the name, or ask your sponsor at the plant");
}

#[test]
fn asking_for_nothing_is_refused() {
    let mill = example("packaging-line");
    let mut asked = ask("acme/maintenance", "shell", "hmi-2", "2026-11-23T08:00");
    asked.actions.clear();
    assert_eq!(asked.of(&mill), Err(NotAllowed::NoActions));
}

#[test]
fn pumps_are_serviced_through_the_night_and_the_chlorinator_never() {
    let works = example("water-works");
    let night = |local| ask("northpump/field-service", "file-get", "pump-house-3", local);
    assert_eq!(night("2026-11-28T03:59").decided_by(&works), "northpump-night, 1 of operations");
    assert_eq!(night("2026-11-28T04:00").lacks(&works), "northpump-night; hours: opens Mon 22:00 EST (2026-11-30)");
    assert_eq!(night("2026-11-30T03:00").lacks(&works), "northpump-night; hours: opens Mon 22:00 EST (2026-11-30)");
    let chlorine = ask("aquasoft/engineer", "shell", "chlorinator", "2026-11-24T10:00").in_emergency();
    assert!(matches!(chlorine.of(&works), Err(NotAllowed::Never { .. })));
    let call_out = ask("northpump/field-service", "shell", "pump-house-3", "2026-11-29T12:00").in_emergency();
    assert_eq!(call_out.of(&works).expect("allowed").id.as_str(), "call-out");
}

#[test]
fn a_patch_needs_a_change_ticket_and_two_groups() {
    let works = example("water-works");
    let patch = ask("aquasoft/support", "file-put", "scada-1", "2026-11-24T10:00");
    assert_eq!(patch.decided_by(&works), "aquasoft-patch, 1 of operations and 1 of supervisors");
    let rule = patch.of(&works).expect("allowed");
    assert!(rule.work_order.accepts(Some("CHG-2026-0815")));
    assert!(!rule.work_order.accepts(Some("see CHG-2026-0815")));
    assert!(!rule.work_order.accepts(None));
}

#[test]
fn turbines_give_logs_at_any_time_and_a_shell_by_day() {
    let farm = example("wind-farm");
    let logs = ask("vindmark/monitoring", "file-get", "wtg-02", "2026-11-22T03:00");
    assert_eq!(logs.decided_by(&farm), "vindmark-logs, 1 of site-manager");
    let shell = |local| ask("vindmark/service", "shell", "wtg-02", local).from("198.51.100.17");
    assert_eq!(shell("2026-11-21T12:00").decided_by(&farm), "vindmark-service, 1 of site-manager");
    assert_eq!(shell("2026-11-22T12:00").lacks(&farm), "vindmark-service; hours: opens Mon 07:00 CET (2026-11-23)");
    let rule = shell("2026-11-21T12:00").of(&farm).expect("allowed").clone();
    assert_eq!(rule.ending, DeadlineEnding::Freeze { max: Rule::FREEZE_MAX });
}

#[test]
fn an_explanation_names_rule_approvers_and_closing_time() {
    let farm = example("wind-farm");
    let asked = ask("parkware/commissioning", "file-put", "park-controller/ssh", "2026-11-28T01:30");
    assert_eq!(
        explain(&farm, &asked.question(&farm)).to_string(),
        "parkware's commissioning may ask for file-put at park-controller (ssh), Sat 01:30 CET (2026-11-28) Europe/Copenhagen
rule: parkware-firmware
approval: 1 of site-manager and 1 of grid-desk
told: site-manager at once, grid-desk at once, owners after 30m
at most: 5h, extensions included; hours close Sat 06:00 CET (2026-11-28)
work order: required
escort: an operator is told
recording kept: 3y at least, never removed by itself"
    );
}

#[test]
fn an_explanation_names_the_nearest_rule_what_it_lacks_and_who_would_approve() {
    let mill = example("packaging-line");
    let asked = ask("acme/maintenance", "shell", "hmi-2", "2026-11-28T08:00");
    let explanation = explain(&mill, &asked.question(&mill));
    assert_eq!(
        explanation.to_string(),
        "acme's maintenance may not ask for shell at hmi-2 (ssh), Sat 08:00 CET (2026-11-28) Europe/Berlin
nearest rule: acme-packaging
  lacks hours: opens Mon 06:00 CET (2026-11-30)
approval would be: 1 of shift-lead"
    );
    let json = serde_json::to_value(&explanation).expect("plain data");
    assert_eq!(json["answer"]["may-not"]["reason"]["no-rule"]["nearest"]["rule"], "acme-packaging");
    assert_eq!(json["at"]["local"], "2026-11-28T08:00:00");
}

#[test]
fn an_explanation_tells_what_whoever_approves_should_know_of_the_protocol() {
    let mut mill = example("packaging-line");
    let asked = ask("acme/maintenance", "shell", "hmi-2", "2026-11-27T08:00");
    assert!(!explain(&mill, &asked.question(&mill)).to_string().contains("caution"));
    let services = &mut mill.targets.get_mut(&"hmi-2".parse().expect("a name")).expect("it is in the example").services;
    services.values_mut().for_each(|service| service.protocol = Protocol::Telnet);
    let told = explain(&mill, &asked.question(&mill)).to_string();
    assert!(told.contains("\ncaution: telnet is best effort: on the plant network everything is clear text"), "{told}");
}

#[test]
fn a_rule_survives_the_journal_and_keeps_its_digest() {
    for name in ["packaging-line", "water-works", "wind-farm"] {
        for rule in example(name).rules {
            let json = serde_json::to_string(&rule).expect("plain data");
            let again: Rule = serde_json::from_str(&json).expect("as written");
            assert_eq!((&again, again.digest()), (&rule, rule.digest()));
        }
    }
}

#[test]
fn a_rule_of_the_journal_that_says_more_than_is_known_or_asks_nobody_is_refused() {
    let rule = example("wind-farm").rules.remove(0);
    let mut json = serde_json::to_value(&rule).expect("plain data");
    json["only_by_daylight"] = true.into();
    assert!(serde_json::from_value::<Rule>(json.clone()).is_err());
    json.as_object_mut().expect("a rule").remove("only_by_daylight");
    assert!(serde_json::from_value::<Rule>(json.clone()).is_ok());
    json["approvals"] = serde_json::json!([]);
    assert!(serde_json::from_value::<Rule>(json).is_err());
}

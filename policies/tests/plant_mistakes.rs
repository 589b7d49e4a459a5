//! Every mistake is told at once, with its place and with what would be right.

use policies::plant::{Credential, Host, Plant, Protocol, Rule, WorkOrder};
use policies::time::{Seconds, Shifts};

/// As few lines as a plant needs. Cases below change one thing in it.
const SMALL: &str = r#"
[plant]
name = "Mill"
timezone = "Europe/Berlin"
banner = "Recorded."
changes = [{ from = "shift-lead", count = 1 }]
[zones.packaging]
[targets.hmi-2]
zone = "packaging"
[targets.hmi-2.services.ssh]
protocol = "ssh"
address = "10.20.2.11:22"
user = "maint"
credential = "hmi-maint"
host_key = "SHA256:yZIANsnlACGLq2WHSpDJgVXbMz7TSvUBKqKX872gM4s"
[targets.plc-7]
zone = "packaging"
[targets.plc-7.services.station]
protocol = "ssh"
address = "10.20.2.7:2222"
user = "engineer"
credential = "certificate"
host_key = "SHA256:s0kiwxFSppva2HiRDEmahW1BEC3NDcYGaA+SwOw5Mmg"
[[rules]]
id = "acme-packaging"
vendors = ["acme"]
roles = ["maintenance"]
zones = ["packaging"]
actions = ["shell"]
duration_max = "4h"
approvals = [{ from = "shift-lead", count = 1 }]
"#;

/// The report on a plant file, or nothing.
fn report(text: &str) -> String {
    Plant::parse(text).err().map(|mistakes| mistakes.to_string()).unwrap_or_default()
}

/// The report after one change, without the place.
fn after(old: &str, new: &str) -> String {
    assert_eq!(SMALL.matches(old).count(), 1, "{old:?} stands once");
    let lines = report(&SMALL.replace(old, new));
    let told = |line: &str| line.splitn(4, ':').nth(3).expect("a place before it").trim().to_owned();
    lines.lines().map(told).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_file_full_of_mistakes_gets_one_report_of_all_of_them() {
    let report = report(include_str!("plant/many-mistakes.toml"));
    assert_eq!(format!("{report}\n"), include_str!("plant/many-mistakes.txt"));
}

#[test]
fn the_small_plant_has_no_mistake_and_every_default() {
    let plant = Plant::parse(SMALL).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!((plant.shifts, plant.accept_within.0), (Shifts::Each(Seconds(12 * 3_600)), 900));
    assert!(plant.websockets);
    let rule = serde_json::to_value(&plant.rules[0]).expect("plain data");
    let defaults = serde_json::json!({
        "hours": null, "from": ["0.0.0.0/0", "::/0"], "connections": 10, "factor_lasts": 600, "weaker": [],
        "tell": [{ "after": 0, "group": "shift-lead" }], "work_order": "required", "exclusive": "target",
        "escort": "none", "idle": 900, "idle_ending": "lock", "ending": "cut", "hold_max": 600, "emergency": false,
        "staleness": 30, "staleness_ending": "end", "retention": 94_608_000,
    });
    for (key, value) in defaults.as_object().expect("a table") {
        assert_eq!(&rule[key], value, "{key}");
    }
}

#[test]
fn broken_toml_is_told_alone_and_where() {
    for (text, told) in [
        ("x", "plant.toml:1:2: not TOML: key with no value, expected `=`; correct this first; more may follow"),
        (
            "a = \"ä\"\n[plant]\nname = Mill\nbogus = 1",
            "plant.toml:3:8: not TOML: string values must be quoted, expected literal string; correct this first; more may follow",
        ),
    ] {
        assert_eq!(report(text), told);
    }
}

#[test]
fn a_name_given_twice_is_told_at_its_second_place() {
    let twice = SMALL.replace("[targets.plc-7]", "[targets.hmi-2]");
    assert_eq!(
        report(&twice).lines().next(),
        Some("plant.toml:16:10: this name stands here for the second time; leave one out, or join the two")
    );
}

#[test]
fn an_empty_file_is_told_how_to_begin() {
    assert_eq!(
        report(""),
        "plant.toml:1:1: plant: missing; begin with [plant], its name, timezone, banner and changes"
    );
}

#[test]
fn a_plant_without_rules_is_one_where_nobody_may_do_anything() {
    let (before, _) = SMALL.split_once("[[rules]]").expect("rules stand last");
    assert_eq!(report(before), "");
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    for (old, new, told) in [
        (
            "[[rules]]",
            "gate = \"enforce\"\n[[rules]]",
            "targets.plc-7.services.station.gate: changes nothing for ssh; leave it out",
        ),
        (
            "[[rules]]",
            "connections_max = 2\n[[rules]]",
            "targets.plc-7.services.station.connections_max: changes nothing for ssh; leave it out",
        ),
    ] {
        assert_eq!(after(old, new), told);
    }
    assert_eq!(after("user = \"maint\"", "legacy = false\nuser = \"maint\""), "");
}

/// What is known is read or refused by name: nothing of it is an unknown key, and nothing refused is passed over.
#[test]
fn every_key_is_read_or_refused_by_name() {
    assert_eq!(report(include_str!("plant/every-key.toml")), "");
}

#[test]
fn shifts_are_times_of_day_or_a_length_and_what_follows_a_change_stands_where_there_is_one() {
    let shifts = |line: &str| after("changes = [", &format!("{line}\nchanges = ["));
    assert_eq!(shifts("shifts = [\"06:00\", \"14:00\", \"22:00\"]\naccept_within = \"10m\""), "");
    for (line, told) in [
        ("shifts = [\"24:00\"]", "plant.shifts[1]: \"24:00\" is no time of day; write 00:00 to 23:59"),
        ("shifts = [\"06:00\", \"06:00\"]", "plant.shifts[2]: 06:00 stands here twice; leave one out"),
        (
            "shifts = [\"06:00\", \"06:30\"]",
            "plant.shifts: from 06:00 to 06:30 is less than 1h; write times that lie further apart",
        ),
        (
            "shifts = []",
            "plant.shifts: empty; write when shifts change, for example [\"06:00\", \"14:00\", \"22:00\"], or how long one is, for example \"12h\"",
        ),
        (
            "accept_within = \"10m\"",
            "plant.accept_within: changes nothing while shifts have no times of day; write for example shifts = [\"06:00\", \"14:00\", \"22:00\"] in [plant], or leave it out",
        ),
    ] {
        assert_eq!(shifts(line), told);
    }
    let rule = |keys: &str, line: &str| {
        let file = SMALL.replace("changes = [", &format!("{keys}\nchanges = ["));
        report(&file.replace("zones = [", &format!("{line}\nzones = [")))
    };
    let change = "shifts = [\"06:00\"]";
    assert_eq!(rule(change, "unaccepted = \"end\"\nunaccepted_after = \"15m\""), "");
    assert!(rule("", "unaccepted = \"end\"").contains("changes nothing while shifts have no times of day"));
    assert!(rule(change, "unaccepted_after = \"14m\"").contains("shorter than accept_within, 15m"));
}

#[test]
fn how_old_what_opens_an_account_may_get_is_said_where_it_ages() {
    let plant = |line: &str| after("changes = [", &format!("{line}\nchanges = ["));
    assert_eq!(plant("credential_age_max = \"90d\""), "");
    assert_eq!(
        plant("credential_age_max = \"0s\""),
        "plant.credential_age_max: 0 is out of range; write a duration from 1s to 10y"
    );
    let beside = |credential: &str| after(credential, &format!("{credential}\ncredential_age_max = \"30d\""));
    assert_eq!(beside("credential = \"hmi-maint\""), "");
    assert_eq!(
        beside("credential = \"certificate\""),
        "targets.plc-7.services.station.credential_age_max: changes nothing beside a certificate, which is made anew each time; name a secret as credential, or leave it out"
    );
    let screen = "[targets.plc-8]\nzone = \"packaging\"\n[targets.plc-8.services.vnc]\nprotocol = \"vnc\"\n\
                  address = \"10.20.2.8:5900\"\ncredential_age_max = \"30d\"\n[[rules]]";
    assert_eq!(
        after("[[rules]]", screen),
        "targets.plc-8.services.vnc.credential_age_max: changes nothing without credential; name a secret as credential, or leave it out"
    );
    let tunnel = screen.replace("vnc", "tcp");
    assert_eq!(
        after("[[rules]]", &tunnel),
        "targets.plc-8.services.tcp.credential_age_max: changes nothing for tcp; leave it out"
    );
}

#[test]
fn how_often_an_escort_says_that_they_are_there_stands_where_one_is_demanded() {
    let at = |told: &str| format!("rules[acme-packaging].escort_tap: {told}");
    let useless = at("changes nothing without escort = \"required\"; leave it out, or demand an escort");
    let rule = "duration_max = \"4h\"";
    let with = |more: &str| after(rule, &format!("{rule}\n{more}"));
    assert_eq!(with("escort_tap = \"2m\""), useless);
    assert_eq!(with("escort = \"watch\"\nescort_tap = \"2m\""), useless);
    assert_eq!(with("escort = \"required\"\nescort_tap = \"2m\""), "");
    assert_eq!(
        with("escort = \"required\"\nescort_tap = \"2h\""),
        at("2h is out of range; write a duration from 10s to 1h")
    );
}

#[test]
fn guests_come_under_rules_that_demand_an_escort_and_signatures_and_for_a_night_at_most() {
    let rule = "duration_max = \"4h\"";
    let with = |more: &str| after(rule, &format!("{rule}\n{more}"));
    let at = |told: &str| format!("rules[acme-packaging].guest_max: {told}");
    assert_eq!(with("escort = \"required\"\nguest_max = \"12h\""), "");
    let alone =
        at("a guest is never alone, and this rule demands no escort; write escort = \"required\", or leave it out");
    assert_eq!(with("guest_max = \"8h\""), alone);
    assert_eq!(with("escort = \"watch\"\nguest_max = \"8h\""), alone);
    assert_eq!(
        with("escort = \"required\"\nguest_max = \"8h\"\nweaker = [\"totp\"]"),
        at(
            "a guest is let in by signatures alone, and weaker lets operators answer without; leave weaker out of this rule, \
            or give guests one of their own"
        )
    );
    assert_eq!(
        with("escort = \"required\"\nguest_max = \"13h\""),
        at("13h is out of range; write a duration from 1s to 12h")
    );
}

#[test]
fn what_comes_after_work_is_demanded_before_it_is_given_a_time() {
    let rule = "duration_max = \"4h\"";
    let with = |more: &str| after(rule, &format!("{rule}\n{more}"));
    let at = |told: &str| format!("rules[acme-packaging].{told}");
    assert_eq!(with("close_out = \"required\"\nclose_out_within = \"1h\"\nreview_percent = 100"), "");
    assert_eq!(
        with("close_out_within = \"1h\""),
        at("close_out_within: changes nothing without close_out = \"required\"; leave it out, or demand a close-out")
    );
    assert_eq!(
        with("review_within = \"1h\""),
        at(
            "review_within: changes nothing without review_percent; leave it out, or write for example review_percent = 10"
        )
    );
    assert_eq!(
        with("review_percent = 10\nreview_within = \"2d\"\nretention = \"1d\""),
        at("review_percent: retention, 1d, is shorter than review_within, 2d: nothing may be left to review; keep \
            recordings for longer, or write a shorter review_within")
    );
    assert_eq!(with("review_percent = 10\nreview_within = \"2d\"\nretention = \"2d\""), "");
    assert_eq!(with("review_percent = 0"), at("review_percent: 0 is out of range; write a whole number from 1 to 100"));
}

#[test]
fn nobody_is_dormant_after_no_time_or_after_years() {
    let dormant = |line: &str| after("changes = [", &format!("{line}\nchanges = ["));
    assert_eq!(dormant("dormant_after = \"60d\""), "");
    assert_eq!(
        dormant("dormant_after = \"0s\""),
        "plant.dormant_after: 0 is out of range; write a duration from 1s to 2y"
    );
}

#[test]
fn an_attestation_may_be_a_year_old_at_most() {
    let rule = "duration_max = \"4h\"";
    let with = |more: &str| after(rule, &format!("{rule}\n{more}"));
    assert_eq!(with("attested = \"30d\""), "");
    assert_eq!(
        with("attested = \"367d\""),
        "rules[acme-packaging].attested: 1y2d is out of range; write a duration from 1s to 1y"
    );
    assert_eq!(
        with("attested = \"0s\""),
        "rules[acme-packaging].attested: 0 is out of range; write a duration from 1s to 1y"
    );
}

#[test]
fn a_file_check_stands_where_it_limits_something() {
    let with = |actions: &str, keys: &str| {
        let rule = SMALL.replace("actions = [\"shell\"]", &format!("actions = [{actions}]\n{keys}"));
        assert_ne!(rule, SMALL);
        let told = report(&rule);
        told.lines().map(|line| line.splitn(4, ':').nth(3).expect("a place").trim().to_owned()).collect::<Vec<_>>()
    };
    let check = "file_check = [\"/usr/bin/clamdscan\", \"--fdpass\", \"{file}\"]";
    assert!(with("\"file-put\"", check).is_empty());
    let at = |key: &str, told: &str| format!("rules[acme-packaging].{key}: {told}");
    for (actions, keys, told) in [
        (
            "\"file-put\", \"shell\"",
            check,
            at(
                "file_check",
                "limits nothing beside shell, which carries files that nobody looks at; leave shell out of this rule, or leave the check out",
            ),
        ),
        (
            "\"file-put\", \"tunnel\"",
            check,
            at(
                "file_check",
                "limits nothing beside tunnel, which carries files that nobody looks at; leave tunnel out of this rule, or leave the check out",
            ),
        ),
        ("\"file-get\"", check, at("file_check", "changes nothing without file-put; leave it out, or allow file-put")),
        (
            "\"file-put\"",
            "file_check = \"/usr/bin/clamdscan {file}\"",
            at("file_check", "a text is wrong here; write a list in square brackets"),
        ),
        (
            "\"file-put\"",
            "file_check = [\"clamdscan\"]",
            at(
                "file_check",
                "the program is not named by its absolute path; write for example \"/usr/bin/clamdscan\": no search path and no shell is used",
            ),
        ),
        (
            "\"file-put\"",
            "file_check_max = \"1m\"",
            at("file_check_max", "changes nothing without file_check; name a file_check, or leave it out"),
        ),
        (
            "\"file-put\"",
            &format!("{check}\nidle = \"1m\""),
            at(
                "file_check",
                "it may take 1m, and idle, 1m, would end the session first; shorten file_check_max, or lengthen idle",
            ),
        ),
    ] {
        assert_eq!(with(actions, keys), [told], "{actions} {keys}");
    }
}

#[test]
fn a_rule_that_reaches_nothing_is_a_mistake() {
    let no_target = after("[zones.packaging]", "[zones.packaging]\n[zones.empty]");
    assert_eq!(no_target, "");
    let empty_zone = SMALL
        .replace("[zones.packaging]", "[zones.packaging]\n[zones.empty]")
        .replace("zones = [\"packaging\"]", "zones = [\"empty\"]");
    assert!(report(&empty_zone).contains("rules[acme-packaging].zones: reaches nothing: no target stands there"));
}

#[test]
fn a_screen_is_opened_by_a_password_or_by_nothing() {
    let screen = |keys: &str| {
        let screen = format!(
            "[targets.plc-7]\nzone = \"packaging\"\n[targets.plc-7.services.vnc]\nprotocol = \"vnc\"\naddress = \"10.20.2.7:5900\"\n{keys}\n[targets.plc-8]"
        );
        let lines = report(
            &SMALL.replace("[targets.plc-7]", &screen).replace("plc-7.services.station", "plc-8.services.station"),
        );
        lines
            .lines()
            .map(|line| line.splitn(4, ':').nth(3).expect("a place").trim().to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    };
    for keys in ["", "credential = \"screen\"", "gate = \"enforce\"\nconnections_max = 2"] {
        assert_eq!(screen(keys), "", "{keys}");
    }
    for (keys, told) in [
        (
            "credential = \"certificate\"",
            "credential: no certificate opens vnc; name a password set with `holdpoint secret set`",
        ),
        (
            "gate = \"decode\"",
            "gate: the gate of vnc only enforces; leave it out: it ends the connection on both sides",
        ),
        ("user = \"maint\"", "user: changes nothing for vnc; leave it out"),
        ("legacy = false", "legacy: changes nothing for vnc; leave it out"),
    ] {
        assert_eq!(screen(keys), format!("targets.plc-7.services.vnc.{told}"));
    }
}

#[test]
fn what_a_plant_says_of_a_controller_is_read_to_the_last_word() {
    let controller = |protocol: &str, keys: &str| {
        let name = "targets.plc-7.services.control";
        let service = format!("[{name}]\nprotocol = \"{protocol}\"\naddress = \"10.20.2.7:502\"\n{keys}\n[[rules]]");
        let told = report(&SMALL.replacen("[[rules]]", &service, 1));
        let of = |line: &str| line.split_once(&format!("{name}.")).map_or(line.to_owned(), |(_, told)| told.to_owned());
        told.lines().map(of).collect::<Vec<_>>().join("\n")
    };
    for (protocol, keys) in [
        ("modbus", "requests_per_second = 1"),
        ("s7", "requests_per_second = 100000"),
        ("cip", "requests_per_second = 20"),
        ("modbus", "functions = { \"20\" = \"observe\", \"8/1\" = \"operate\", \"100\" = \"program\" }"),
        ("modbus", "gate = \"decode\"\nfunctions = { \"43/13\" = \"observe\" }"),
        (
            "modbus",
            "blocked = [\"holding-registers 100-199\", \"coils 0\", \"discrete-inputs 0-65535\", \"input-registers 7-7\"]",
        ),
    ] {
        assert_eq!(controller(protocol, keys), "", "{keys}");
    }
    let code =
        "not a function code; write 1 to 127, and for 8 and 43 what stands behind it if need be, for example \"8/1\"";
    let table = "not a table and its addresses; write coils, discrete-inputs, input-registers or holding-registers, and first \
                 and last address on the wire, for example \"holding-registers 100-199\"";
    let addresses = "not addresses from 0 to 65535, the smaller first; write for example \"holding-registers 100-199\" or \"coils 7\"";
    for (protocol, keys, told) in [
        (
            "modbus",
            "requests_per_second = 0",
            "requests_per_second: 0 is out of range; write a whole number from 1 to 100000",
        ),
        ("vnc", "requests_per_second = 5", "requests_per_second: changes nothing for vnc; leave it out"),
        ("tcp", "requests_per_second = 5", "requests_per_second: changes nothing for tcp; leave it out"),
        ("s7", "blocked = [\"coils 1\"]", "blocked: changes nothing for s7; leave it out"),
        ("cip", "functions = { \"6\" = \"observe\" }", "functions: changes nothing for cip; leave it out"),
        ("modbus", "functions = { \"134\" = \"observe\" }", &format!("functions.134: {code}")),
        ("modbus", "functions = { \"8/x\" = \"observe\" }", &format!("functions.\"8/x\": {code}")),
        (
            "modbus",
            "functions = { \"6/1\" = \"observe\" }",
            "functions.\"6/1\": function 6 has nothing behind a '/'; write \"6\"",
        ),
        (
            "modbus",
            "functions = { \"6\" = \"tunnel\" }",
            "functions.6: \"tunnel\" is not known here; write \"observe\" or \"upload\" or \"operate\" or \"program\" or \"control\"",
        ),
        (
            "modbus",
            "functions = [6]",
            "functions: a list is wrong here; write what functions count as, for example { \"20\" = \"observe\" }",
        ),
        (
            "modbus",
            "functions = { \"8\" = \"observe\", \"08\" = \"control\" }",
            "functions.8: stands here twice, in two ways of writing it; leave one out",
        ),
        ("modbus", "blocked = []", "blocked: empty; leave it out"),
        ("modbus", "blocked = [\"registers 1\"]", &format!("blocked[1]: {table}")),
        ("modbus", "blocked = [\"coils\"]", &format!("blocked[1]: {table}")),
        ("modbus", "blocked = [\"coils 9-8\"]", &format!("blocked[1]: {addresses}")),
        ("modbus", "blocked = [\"coils 65536\"]", &format!("blocked[1]: {addresses}")),
        (
            "modbus",
            "gate = \"decode\"\nblocked = [\"coils 1\"]",
            "blocked: changes nothing while the gate only decodes; let it enforce, or leave this out",
        ),
    ] {
        assert_eq!(controller(protocol, keys), told, "{keys}");
    }
}

#[test]
fn a_telnet_target_is_logged_in_at_with_what_the_file_names() {
    let telnet = |keys: &str| {
        let service = format!("protocol = \"telnet\"\naddress = \"10.20.2.3:23\"\n{keys}");
        let switch = format!(
            "[targets.switch-3]\nzone = \"packaging\"\n[targets.switch-3.services.telnet]\n{service}\n[[rules]]"
        );
        SMALL.replace("[[rules]]", &switch)
    };
    for keys in [
        "",
        "user = \"maint\"",
        "credential = \"line\"",
        "user = \"maint\"\ncredential = \"line\"\nconnections_max = 1",
        "user = \"maint\"\nlogin_prompt = \"[Uu]sername: *$\"",
        "credential = \"line\"\npassword_prompt = \"Secret>\"",
    ] {
        assert_eq!(report(&telnet(keys)), "", "{keys}");
    }
    let long = format!("credential = \"line\"\npassword_prompt = {:?}", "x".repeat(201));
    let named = "credential: no certificate opens telnet; name a password set with `holdpoint secret set`";
    for (keys, told) in [
        ("credential = \"certificate\"", named),
        ("legacy = true", "legacy: changes nothing for telnet; leave it out"),
        ("gate = \"enforce\"", "gate: changes nothing for telnet; leave it out"),
        ("login_prompt = \"login:\"", "login_prompt: changes nothing without user; write user, or leave it out"),
        (
            "user = \"maint\"\npassword_prompt = \"Password:\"",
            "password_prompt: changes nothing without credential; write credential, or leave it out",
        ),
        (
            "credential = \"line\"\npassword_prompt = \".*\"",
            "password_prompt: matches an empty line, so anything would be taken for the prompt; write the end of the prompt itself",
        ),
        (
            "user = \"maint\"\nlogin_prompt = \"log(in\"",
            "login_prompt: not a regular expression, found open group without closing ')'; correct it, or leave it out",
        ),
        (&long, "password_prompt: a regular expression of more than 200 characters; write the end of the prompt alone"),
    ] {
        let told = format!("targets.switch-3.services.telnet.{told}");
        assert!(report(&telnet(keys)).ends_with(&told), "{}", report(&telnet(keys)));
    }
    let elsewhere = after("user = \"maint\"", "login_prompt = \"login:\"\nuser = \"maint\"");
    assert_eq!(elsewhere, "targets.hmi-2.services.ssh.login_prompt: changes nothing for ssh; leave it out");
}

#[test]
fn a_machine_has_one_target() {
    assert_eq!(
        after("10.20.2.7:2222", "10.20.2.11:22"),
        "targets.plc-7.services.station.address: 10.20.2.11:22 is also an address of target hmi-2; give each machine one target, with several services if need be"
    );
    let two_accounts = SMALL.replace(
        "[targets.plc-7]",
        "[targets.hmi-2.services.admin]\nprotocol = \"ssh\"\naddress = \"10.20.2.11:22\"\nuser = \"admin\"\ncredential = \"certificate\"\nhost_key = \"SHA256:yZIANsnlACGLq2WHSpDJgVXbMz7TSvUBKqKX872gM4s\"\n[targets.plc-7]",
    );
    assert_eq!(report(&two_accounts), "");
}

#[test]
fn texts_are_bounded_and_plain() {
    assert_eq!(after("\"Mill\"", "\" \""), "plant.name: empty; write a text");
    assert_eq!(
        after("\"Mill\"", &format!("{:?}", "x".repeat(101))),
        "plant.name: too long; write at most 100 characters"
    );
    assert_eq!(after("\"Mill\"", &format!("{:?}", "ß".repeat(100))), "");
    assert_eq!(after("\"Mill\"", "\"a\\nb\""), "plant.name: holds the control character '\\n'; leave it out");
    assert_eq!(after("\"Recorded.\"", "\"a\\nb\""), "");
    assert_eq!(
        after("\"Recorded.\"", "\"\\u001b[2J\""),
        "plant.banner: holds the control character '\\u{1b}'; leave it out"
    );
    assert_eq!(
        after("\"Recorded.\"", &format!("{:?}", "x".repeat(4_001))),
        "plant.banner: too long; write at most 4000 characters"
    );
}

#[test]
fn a_file_with_windows_line_ends_is_the_same_plant() {
    let lines = SMALL.replace("\"Recorded.\"", "\"\"\"\nOne.\nTwo.\"\"\"");
    let (unix, windows) =
        (Plant::parse(&lines).expect("right"), Plant::parse(&lines.replace('\n', "\r\n")).expect("right"));
    assert_eq!((&windows.banner, &windows.rules), (&unix.banner, &unix.rules));
    assert_ne!(windows.digest(), unix.digest());
}

#[test]
fn a_place_is_that_of_the_value_even_behind_other_letters() {
    let text = SMALL
        .replace("\"shift-lead\", count = 1 }]\n[zones", "\"ö\", count = 1 }, { from = \"ü\", count = 1 }]\n[zones");
    let mistakes = Plant::parse(&text).expect_err("two mistakes");
    assert_eq!(mistakes.iter().map(|mistake| (mistake.line, mistake.column)).collect::<Vec<_>>(), [(6, 21), (6, 48)]);
}

#[test]
fn addresses_and_credentials_become_types() {
    let text = SMALL
        .replace("10.20.2.11:22", "[fd00::11]:2222")
        .replace("10.20.2.7:2222", "plc-7.mill.local:2222")
        .replace("\"hmi-maint\"", "\"certificate\"");
    let plant = Plant::parse(&text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let service =
        |target: &str| plant.targets[&target.parse().expect("a name")].services.values().next().expect("one").clone();
    let (hmi, plc) = (service("hmi-2"), service("plc-7"));
    assert_eq!((hmi.protocol, hmi.address.to_string().as_str()), (Protocol::Ssh, "[fd00::11]:2222"));
    assert_eq!(hmi.credential, Some(Credential::Certificate));
    assert_eq!((plc.address.host, plc.address.port), (Host::Name("plc-7.mill.local".to_owned()), 2222));
}

#[test]
fn an_address_is_that_of_one_machine_with_a_port() {
    for bad in [
        "",
        ":22",
        "a:",
        "a",
        "a:0",
        "a:65536",
        "a:+22",
        "0.0.0.0:22",
        "255.255.255.255:22",
        "224.0.0.1:22",
        "[::]:22",
        "10.20.2:22",
        "1.2.3.400:22",
        "a b:22",
        "a..b:22",
        "[10.0.0.1]:22",
        "::1:22",
    ] {
        assert!(after("10.20.2.7:2222", bad).starts_with("targets.plc-7.services.station.address: "), "{bad}");
    }
    for good in ["127.0.0.1:2222", "[::1]:22", "localhost:22", "plc-7:102", "a.b-c.d1:1", "10.20.2.7:65535"] {
        assert_eq!(after("10.20.2.7:2222", good), "", "{good}");
    }
}

#[test]
fn a_work_order_must_match_from_beginning_to_end() {
    let shaped = |pattern: &str| pattern.parse::<WorkOrder>();
    let either = shaped("WO-[0-9]+|permit [0-9]{4}").expect("a pattern");
    for (text, accepted) in [
        ("WO-1", true),
        ("permit 2026", true),
        ("xWO-1", false),
        ("WO-1\n", true),
        ("WO-1\nrm", false),
        ("permit 20261", false),
        (" ", false),
    ] {
        assert_eq!(either.accepts(Some(text)), accepted, "{text:?}");
    }
    for bad in ["", "Required", "none", "a)|(.*", "(?x) a # ", "[", "(a{1000}){1000}", &"a.".repeat(101)] {
        assert!(shaped(bad).is_err(), "{bad}");
    }
    assert!(shaped("(?s).*").expect("a pattern").accepts(Some("anything")));
}

#[test]
fn a_pattern_that_would_backtrack_for_ever_elsewhere_answers_at_once() {
    let pattern = "(a*)*(a*)*(a*)*b".parse::<WorkOrder>().expect("a pattern");
    let begun = std::time::Instant::now();
    assert!(!pattern.accepts(Some(&"a".repeat(2_000))));
    assert!(begun.elapsed().as_secs() < 5);
}

#[test]
fn a_day_is_the_longest_grant() {
    assert_eq!(after("\"4h\"", "\"24h\""), "");
    assert_eq!(
        after("\"4h\"", "\"24h1s\""),
        "rules[acme-packaging].duration_max: 1d1s is out of range; write a duration from 1s to 1d"
    );
    assert_eq!(Rule::DURATION_LIMIT, Seconds(86_400));
}

#[test]
fn a_fingerprint_is_43_characters_of_base64_that_carry_256_bits() {
    let right = "yZIANsnlACGLq2WHSpDJgVXbMz7TSvUBKqKX872gM4s";
    for bad in [
        right.to_owned(),
        format!("MD5:{right}"),
        format!("SHA256:{right}="),
        format!("SHA256:{}", &right[1..]),
        format!("SHA256:{}", right.replace("M4s", "M4t")),
        format!("SHA256:{}", right.replace("q2W", "q_W")),
    ] {
        let told = after(&format!("SHA256:{right}"), &bad);
        assert!(told.starts_with("targets.hmi-2.services.ssh.host_key: not a host key's fingerprint"), "{bad}: {told}");
    }
}

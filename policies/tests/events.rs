//! Events are for ever: what was written once must open for ever, and each kind is documented.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use policies::actions::Action;
use policies::digest::{Digest, Salted};
use policies::events::{AskedFor, CutBy, Ending, ErasedOn, EscortEnd, Event, Factor, Founder, PackOf, Scope};
use policies::ids::*;
use policies::people::{Kind, SshKey};
use policies::plant::{Escort, Plant, Rule, Then, Weaker};
use policies::requests::*;
use policies::rules::Lacking;
use policies::time::{Seconds, Window};
use policies::vocabulary::Vocabulary;

const GOLDEN: &str = include_str!("golden/events-1.jsonl");
const VOCABULARY: &str = include_str!("golden/vocabulary.txt");
const DOCUMENTED: &str = include_str!("../../docs/EVENTS.md");

const PLANT: &str = r#"
[plant]
name = "Mill 3"
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
credential = "certificate"
host_key = "SHA256:yZIANsnlACGLq2WHSpDJgVXbMz7TSvUBKqKX872gM4s"
[[rules]]
id = "acme-packaging"
vendors = ["acme"]
roles = ["maintenance"]
zones = ["packaging"]
actions = ["shell"]
hours = "Mon-Fri 06:00-18:00"
from = ["192.0.2.0/24"]
duration_max = "4h"
approvals = [{ from = "shift-lead", count = 1 }]
tell = [{ after = "0m", group = "shift-lead" }]
work_order = "WO-[0-9]+"
"#;

fn label<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn ulid(n: u128) -> ulid::Ulid {
    ulid::Ulid::from(n)
}

fn one_of_each() -> Vec<Event> {
    let recipient: Recipient = label("age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p");
    let (who, other) = (PersonId::new(ulid(1)), PersonId::new(ulid(2)));
    let (request, ask, session, cut) =
        (RequestId::new(ulid(3)), AskId::new(ulid(4)), SessionId::new(ulid(5)), CutId::new(ulid(6)));
    let link = LinkId::new(ulid(7));
    let at: Timestamp = label("2026-11-22T14:03:07.120114Z");
    let reason = Salted::new(&[9; 32], "pump 3 trips");
    let digest = Digest::of_bytes(b"x");
    let key = SshKey("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFIr".into());
    let head = SeenHead { size: 12, root: digest };
    let plant = Plant::parse(PLANT).unwrap();
    // Any action that is known may stand in a journal.
    let rule = Box::new(Rule { actions: [Action::Tunnel].into(), ..plant.rules[0].clone() });
    let signature = String::from("-----BEGIN SSH SIGNATURE-----");
    let verdict = |matter, answer| Signed {
        statement: VerdictStatement {
            deployment: label("mill-3"),
            matter,
            digest,
            answer,
            operator: who,
            nonce: "00112233445566778899aabbccddeeff".into(),
            expires: at,
            journal: head,
        },
        key: key.clone(),
        signature: signature.clone(),
    };
    let yes = Answer::Yes { narrowing: Narrowing { duration: Some(Seconds(1800)), actions: None, from: Some(at) } };
    let technician = Kind::Technician { vendor: label("acme"), role: label("maintenance") };
    let extension = Extension { id: ask, request, by: Seconds(900), deadline: at, reason };
    let widening = Widening { id: ask, request, actions: [Action::Operate].into(), lasts: Seconds(900), reason };
    let asked = Request {
        id: request,
        technician: other,
        target: label("hmi-2"),
        services: [label("ssh")].into(),
        actions: [Action::Shell, Action::FileGet].into(),
        window: Window { from: at, until: at },
        duration: Seconds(3600),
        reason,
        work_order: Some(reason),
        rule: rule.digest(),
        emergency: false,
    };
    let founder =
        Founder { person: who, kind: Kind::Operator { vendor: None }, groups: [label("shift-lead")].into(), link };
    let certify = CertifyStatement {
        deployment: label("mill-3"),
        person: other,
        kind: Kind::Operator { vendor: Some(label("acme")) },
        keys: vec![key.clone()],
        groups: [label("shift-lead")].into(),
        signer: who,
        nonce: "00".into(),
        expires: at,
        journal: head,
    };
    let guest = GuestId::new(ulid(9));
    let night = Box::new(Rule { escort: Escort::Required, guest_max: Some(Seconds(28_800)), ..*rule.clone() });
    let visit = GuestStatement {
        deployment: label("mill-3"),
        guest,
        person: other,
        name: reason,
        vendor: label("acme"),
        role: label("maintenance"),
        target: label("hmi-2"),
        rule: night.digest(),
        until: at,
        reason,
        telephone: reason,
        operator: who,
        nonce: "00".into(),
        expires: at,
        journal: head,
    };
    let plant_statement = PlantStatement {
        deployment: label("mill-3"),
        plant: digest,
        replaces: digest,
        signer: who,
        nonce: "00".into(),
        expires: at,
        journal: head,
    };
    let erase = EraseStatement {
        deployment: label("mill-3"),
        session,
        signer: who,
        nonce: "00".into(),
        expires: at,
        journal: head,
    };
    let restore = |signer| Signed {
        statement: RestoreStatement {
            deployment: label("mill-3"),
            restore: RestoreId::new(ulid(8)),
            journal: head,
            journal_lost: Lost { from: 12, until: 19 },
            node: label("gate-1"),
            records: head,
            records_lost: Lost { from: 11, until: 40 },
            signer,
            nonce: "00".into(),
            expires: at,
        },
        key: key.clone(),
        signature: signature.clone(),
    };
    let account = Account { done: reason, changed: reason, left: reason };
    let mut all = vec![
        Event::Founded { deployment: label("mill-3"), log_key: "k".into(), founders: vec![founder] },
        Event::Contracted { vendor: label("acme"), end: at, sponsor: who, telephone: None, by: who },
        Event::Contracted { vendor: label("acme"), end: at, sponsor: who, telephone: Some(reason), by: who },
        Event::GuestInvited {
            invitation: Signed { statement: visit, key: key.clone(), signature: signature.clone() },
            rule: night,
            link,
        },
        Event::GuestEnded { guest, person: other, by: None },
        Event::GuestEnded { guest, person: other, by: Some(who) },
        Event::Voted { verdict: verdict(Matter::Guest(guest), Answer::Yes { narrowing: Narrowing::default() }) },
        Event::GuestReviewed { guest, by: who, objection: None },
        Event::Voted { verdict: verdict(Matter::Guest(guest), Answer::No { reason }) },
        Event::GuestReviewed { guest, by: who, objection: Some(reason) },
        Event::Invited { person: other, kind: technician, groups: BTreeSet::new(), link, expires: at, by: who },
        Event::Reinvited { person: other, link, expires: at, by: who },
        Event::Enrolled { person: other, link, keys: vec![key.clone()] },
        Event::Certified { certificate: Signed { statement: certify, key: key.clone(), signature: signature.clone() } },
        Event::Activated { person: other },
        Event::Renamed { person: other, name: reason, by: who },
        Event::Disabled { person: other, by: who },
        Event::VendorDisabled { vendor: label("acme"), by: who },
        Event::Locked { person: other, until: at },
        Event::OnDuty { person: who, until: at, provider: None },
        Event::OnDuty { person: who, until: at, provider: Some(label("acme")) },
        Event::PasswordSet { person: other },
        Event::KeyAdded { person: other, key: key.clone() },
        Event::SubjectLinked { person: other, provider: label("acme"), subject: digest, called: None },
        Event::SubjectLinked { person: other, provider: label("acme"), subject: digest, called: Some(reason) },
        Event::SubjectUnlinked { person: other, provider: label("acme"), by: who },
        Event::SubjectRenamed { person: other, provider: label("acme"), subject: digest, called: reason },
        Event::SubjectContested { person: other, provider: label("acme"), subject: digest, holder: who },
        Event::InvitationsAllowed { vendor: label("acme"), most: 5, roles: [label("maintenance")].into(), by: who },
        Event::ManagerNamed { person: other, by: who },
        Event::ManagerDismissed { person: other, by: who },
        Event::Attested { person: other, until: at, note: None, by: who },
        Event::Attested { person: other, until: at, note: Some(reason), by: who },
        Event::AttestationWithdrawn { person: other, by: who },
        Event::PlantText { plant: digest, part: 0, of: 1, text: "[plant]\n".into() },
        Event::PlantProposed { plant: digest, by: who },
        Event::PlantSigned {
            signed: Signed { statement: plant_statement, key: key.clone(), signature: signature.clone() },
        },
        Event::PlantAdopted { plant: digest },
        Event::SecretSet { credential: label("hmi-maint"), by: who },
        Event::SecretForgotten { credential: label("hmi-maint"), by: who },
        Event::Submitted { request: asked, rule },
        Event::Voted { verdict: verdict(Matter::Request(request), yes.clone()) },
        Event::Voted { verdict: verdict(Matter::Extension(ask), Answer::No { reason }) },
        Event::Voted { verdict: verdict(Matter::Review(request), Answer::Yes { narrowing: Narrowing::default() }) },
        Event::VotedWeaker {
            statement: verdict(Matter::Request(request), yes.clone()).statement,
            way: Weaker::Totp,
        },
        Event::VotedWeaker {
            statement: verdict(Matter::Extension(ask), Answer::No { reason }).statement,
            way: Weaker::Telephone,
        },
        Event::Granted { request },
        Event::Denied { request, by: who },
        Event::Withdrawn { request },
        Event::Lapsed { request },
        Event::ExtensionAsked { extension },
        Event::Extended { ask, request, deadline: at },
        Event::WideningAsked { widening },
        Event::Widened { ask, request, until: at },
        Event::AskDenied { ask, request, by: who },
        Event::Revoked { request, by: who, reason },
        Event::Reviewed { request, by: who, objection: None },
        Event::Voted { verdict: verdict(Matter::Review(request), Answer::No { reason }) },
        Event::Reviewed { request, by: who, objection: Some(reason) },
        Event::Accepted { request, by: who, until: at },
        Event::NotAccepted { request, then: Then::Freeze },
        Event::NotAccepted { request, then: Then::End },
        Event::Started {
            session,
            request,
            technician: other,
            target: label("hmi-2"),
            service: label("ssh"),
            actions: [Action::Shell].into(),
            source: label("192.0.2.7"),
            factors: vec![Factor::Key, Factor::Totp],
            node: label("gate-1"),
            deadline: at,
        },
        Event::Frozen { session, by: who },
        Event::Thawed { session, by: who },
        Event::Watched { session, by: who },
        Event::WatchEnded { session, by: who },
        Event::Escorted { session, by: who },
        Event::EscortEnded { session, by: who, why: EscortEnd::Lapsed },
        Event::EscortEnded { session, by: who, why: EscortEnd::Left },
        Event::Told { session, text: reason, by: who },
        Event::Accounted { request, account, by: other },
        Event::ClosedOut {
            close_out: CloseOut { request, account, work: Work { sessions: 2, last: session } },
            verdict: verdict(Matter::CloseOut(request), Answer::Yes { narrowing: Narrowing::default() }),
        },
        Event::Voted { verdict: verdict(Matter::Session(session), Answer::Yes { narrowing: Narrowing::default() }) },
        Event::SessionReviewed { session, by: who, findings: None },
        Event::Voted { verdict: verdict(Matter::Session(session), Answer::No { reason }) },
        Event::SessionReviewed { session, by: who, findings: Some(reason) },
        Event::Fetched { session, by: who },
        Event::Packed { of: PackOf::Session { session }, by: who },
        Event::Packed { of: PackOf::Vendor { vendor: label("acme"), from: at, until: at }, by: who },
        Event::Rehearsed { recipient: recipient.clone(), session, by: who },
        Event::HostKeyMismatch {
            target: label("hmi-2"),
            service: label("ssh"),
            expected: "SHA256:a".into(),
            got: "SHA256:b".into(),
        },
        Event::TransferRunsOn { session, until: at },
        Event::IdleLocked { session },
        Event::IdleUnlocked { session },
        Event::Warned { session, left: Seconds(300) },
        Event::Disconnected { session, by: who },
        Event::CaptureBegun { target: None, zone: Some(label("packaging")), by: who },
        Event::CaptureBegun { target: Some(label("plc-7")), zone: None, by: who },
        Event::Refused { person: other, reason: "no-grant".into(), target: Some(label("hmi-2")), rule: None, asked: None },
        Event::Refused {
            person: other,
            reason: "no-rule".into(),
            target: Some(label("hmi-2")),
            rule: Some(label("acme-packaging")),
            asked: Some(AskedFor {
                actions: [Action::Shell].into(),
                service: Some(label("ssh")),
                emergency: true,
                lacks: [Lacking::Hours, Lacking::Emergency].into(),
            }),
        },
        Event::Held { session, reason, by: who },
        Event::Released { session, of: who, by: other },
        Event::ErasureSigned { signed: Signed { statement: erase, key: key.clone(), signature: signature.clone() } },
        Event::Erased { session, on: ErasedOn::People { administrator: who, operator: other } },
        Event::Erased { session, on: ErasedOn::Rule { rule: label("acme-packaging") } },
        Event::Reopened { reopening: Reopening { cut, reason }, verdict: verdict(Matter::Reopening(cut), yes) },
        Event::NodeStarted { node: label("gate-1"), version: "0.1.0".into(), vocabulary: Vocabulary::FIRST },
        Event::NodeStarted { node: label("gate-1"), version: "0.3.0".into(), vocabulary: Vocabulary(2) },
        Event::NodeStopped { node: label("gate-1") },
        Event::Checkpointed {
            node: label("gate-1"),
            checkpoint: "mill-3/records/gate-1\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— mill-3/records/gate-1 c2ln\n".into(),
        },
        Event::RecorderFailed { node: label("gate-1") },
        Event::BackedUp { node: label("gate-1"), by: who },
        Event::RecipientsNamed { node: label("gate-1"), recipients: [recipient].into() },
        Event::Restored { administrator: Box::new(restore(who)), operator: Box::new(restore(other)) },
        Event::NodesForgotten { nodes: [label("gate-2")].into(), by: who },
    ];
    let endings = [
        Ending::Left,
        Ending::TargetClosed,
        Ending::TargetUnreachable,
        Ending::HostKeyChanged,
        Ending::Expired,
        Ending::Revoked,
        Ending::Cut { cut },
        Ending::Idle,
        Ending::EscortLost,
        Ending::NotAccepted,
        Ending::RecorderFailed,
        Ending::Stale,
        Ending::Overrun,
        Ending::Shutdown,
        Ending::Crashed,
        Ending::Presumed,
    ];
    all.extend([Kind::Sensor, Kind::Display].map(|kind| Event::Invited {
        person: other,
        kind,
        groups: BTreeSet::new(),
        link,
        expires: at,
        by: who,
    }));
    all.extend(endings.map(|ending| Event::Ended { session, ending, seal: Some(digest) }));
    let scopes = [
        Scope::Session(session),
        Scope::Technician(other),
        Scope::Vendor(label("acme")),
        Scope::Zone(label("packaging")),
        Scope::Plant,
    ];
    all.extend(scopes.map(|scope| Event::Cut { cut, scope, by: CutBy::Operator(who), at }));
    all.extend([CutBy::Local, CutBy::Display(other)].map(|by| Event::Cut { cut, scope: Scope::Plant, by, at }));
    all
}

#[test]
fn what_was_written_opens_for_ever() {
    for line in GOLDEN.lines() {
        let event = Event::decode(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(String::from_utf8(event.encode()).unwrap(), line);
        assert_eq!(serde_json::from_str::<Event>(line).unwrap(), event, "by its tag it is the same");
    }
}

#[derive(serde::Deserialize)]
struct Version {
    v: u64,
}

#[test]
fn what_comes_most_is_read_the_same_in_both_ways_however_odd_it_is() {
    let begins = [
        ("submitted", r#"{"v":1,"id":"HP1301","event":"submitted","#),
        ("voted", r#"{"v":1,"id":"HP1302","event":"voted","#),
    ];
    for (kind, begins) in begins {
        let is_of = |line: &&str| line.contains(&format!(r#""event":"{kind}""#));
        let (mut tried, mut read) = (0, 0);
        for line in GOLDEN.lines().filter(is_of) {
            assert!(line.starts_with(begins), "{line}");
            let (head, rest) = (&line[..begins.len()], &line[begins.len()..]);
            let first = rest.split(':').next().unwrap();
            let odd = [
                line.to_owned(),
                format!(r#"{head}"more":1,{rest}"#),
                format!(r#"{head}"more":1e999,{rest}"#),
                format!(r#"{head}"v":1,{rest}"#),
                format!(r#"{head}{first}:1,{rest}"#),
                format!("{line}x"),
                format!("{head}{}", &rest[..rest.len() - 1]),
                format!("{head}}}"),
                format!(r#"{{"event":"{kind}","v":1,{rest}"#),
            ];
            for odd in odd {
                let version = serde_json::from_str::<Version>(&odd).ok().filter(|version| version.v == 1);
                let by_tag = version.and_then(|_| serde_json::from_str::<Event>(&odd).ok());
                assert_eq!(Event::decode(odd.as_bytes()).ok(), by_tag, "{odd}");
                tried += 1;
                read += usize::from(by_tag.is_some());
            }
        }
        assert!(read > 0 && read < tried, "{kind}");
    }
}

/// On a change of what is written, the golden file of this version grows by what `HOLDPOINT_GOLDEN=1` prints.
#[test]
fn every_kind_is_among_the_golden_ones() {
    let golden: BTreeSet<&str> = GOLDEN.lines().collect();
    let mut missing = Vec::new();
    for event in one_of_each() {
        let line = String::from_utf8(event.encode()).unwrap();
        if !golden.contains(line.as_str()) {
            missing.push(line);
        }
    }
    if std::env::var_os("HOLDPOINT_GOLDEN").is_some() {
        println!("{}", missing.join("\n"));
    }
    assert!(missing.is_empty(), "{} events are written in no golden way", missing.len());
}

#[test]
fn every_kind_is_documented_and_nothing_else_is() {
    let written: BTreeSet<String> = one_of_each().iter().map(|event| event.id().to_owned()).collect();
    let (journal, _) = DOCUMENTED.split_once("\n## The feed\n").unwrap();
    let documented: BTreeSet<String> =
        journal.lines().filter_map(|line| line.strip_prefix("| HP")).map(|rest| format!("HP{}", &rest[..4])).collect();
    assert_eq!(written, documented);
}

#[test]
fn an_event_of_tomorrow_is_not_skipped() {
    for line in [
        r#"{"v":2,"id":"HP1303","event":"granted","request":"r_00000000000000000000000003"}"#,
        r#"{"v":1,"id":"HP9999","event":"blessed"}"#,
        "{}",
        "",
        "\u{0}",
    ] {
        assert!(Event::decode(line.as_bytes()).is_err(), "{line}");
    }
}

#[test]
fn an_ending_has_the_word_that_events_use() {
    let mut words = BTreeSet::new();
    for line in GOLDEN.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Ok(Event::Ended { ending, .. }) = Event::decode(line.as_bytes()) {
            assert_eq!(value["ending"], ending.word());
            words.insert(ending.word());
        }
    }
    assert_eq!(words, Ending::WORDS.into_iter().collect());
}

/// Fields whose values are words of a fixed list: a new word is one more that an older program does not know.
const OF_WORDS: [&str; 17] = [
    "ending",
    "scope",
    "kind",
    "on",
    "why",
    "pack",
    "way",
    "then",
    "about",
    "answer",
    "actions",
    "factors",
    "lacks",
    "escort",
    "staleness_ending",
    "idle_ending",
    "exclusive",
];

/// Each field that stands in an event, and each word of a fixed list.
fn facts(line: &str) -> BTreeSet<String> {
    let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
    let kind = value["event"].as_str().unwrap().to_owned();
    value.as_object_mut().unwrap().retain(|name, _| !["v", "id", "event"].contains(&name.as_str()));
    let mut facts = BTreeSet::from([kind.clone()]);
    add_facts(&kind, &value, &mut facts);
    facts
}

fn add_facts(path: &str, value: &serde_json::Value, facts: &mut BTreeSet<String>) {
    let is_of_words = OF_WORDS.contains(&path.rsplit(['.', ' ']).next().unwrap());
    match value {
        serde_json::Value::Object(fields) => {
            for (name, inside) in fields {
                let path = format!("{path}{}{name}", if path.contains(' ') { '.' } else { ' ' });
                facts.insert(path.clone());
                add_facts(&path, inside, facts);
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|inside| add_facts(path, inside, facts)),
        serde_json::Value::String(word) if is_of_words => drop(facts.insert(format!("{path}={word}"))),
        _ => {}
    }
}

/// The vocabulary that has each fact first; none of what an older program passes over and loses nothing by.
fn known_facts() -> BTreeMap<&'static str, Option<u16>> {
    let known = VOCABULARY.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (number, fact) = line.split_once(' ').unwrap();
        (fact, (number != "-").then(|| number.parse().unwrap()))
    });
    known.collect()
}

/// A field or word that is written now and stands in no vocabulary yet is printed: it belongs to a new one, which
/// `Vocabulary::THIS` and `Event::vocabulary` then say, or is one that older programs may pass over.
#[test]
fn whatever_is_written_stands_in_a_vocabulary() {
    let known = known_facts();
    let written: BTreeSet<String> = GOLDEN.lines().flat_map(facts).collect();
    let missing: Vec<&str> = written.iter().map(String::as_str).filter(|fact| !known.contains_key(fact)).collect();
    assert!(missing.is_empty(), "in no vocabulary:\n{}", missing.join("\n"));
    let gone: Vec<_> = known.keys().filter(|fact| !written.contains(**fact)).collect();
    assert!(gone.is_empty(), "nobody writes {gone:?}");
    assert_eq!(known.values().flatten().max(), Some(&Vocabulary::THIS.0));
}

#[test]
fn an_event_needs_the_vocabulary_that_has_all_of_it() {
    let known = known_facts();
    for line in GOLDEN.lines() {
        let needs = facts(line).iter().filter_map(|fact| known[fact.as_str()]).max();
        assert_eq!(needs, Some(Event::decode(line.as_bytes()).unwrap().vocabulary().0), "{line}");
    }
}

/// What a newer node says of itself must not stop an older one.
#[test]
fn a_node_of_any_vocabulary_is_understood() {
    let line = r#"{"v":1,"id":"HP1601","event":"node-started","node":"gate-1","version":"9.0.0","vocabulary":900}"#;
    let Event::NodeStarted { vocabulary, .. } = Event::decode(line.as_bytes()).unwrap() else { panic!("{line}") };
    assert_eq!(vocabulary, Vocabulary(900));
}

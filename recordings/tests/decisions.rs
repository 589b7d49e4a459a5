//! What stands in a journal must follow from what people signed, whoever wrote it: a gate that was broken into has the
//! log's key, and still cannot invent an approval.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

mod support;

use policies::decide::Command;
use policies::events::{Ending, Event, Founder};
use policies::ids::RequestId;
use policies::people::Kind;
use policies::plant::{Rule, Then, Weaker};
use policies::requests::SeenHead;
use recordings::frame::Stream;
use recordings::leaf::{Account, Direction};
use recordings::session::Seal;
use recordings::sim::SimSigner;
use recordings::tlog::checkpoint::Checkpoint;
use recordings::tlog::note::Note;
use recordings::verify::{Checks, Finding, FindingKind, Report, verify};

use support::{ADMINISTRATOR, LEAD, SECOND, Store, TECHNICIAN, label, person, public};

fn check(store: &mut Store) -> Report {
    store.close();
    verify(
        &Checks { folder: store.dir(), trust: &support::trust(), keys: None, remembered: &[], out_of_a_bucket: false },
        &mut |_| {},
    )
}

/// What is told first, which is that a decision is not allowed.
fn not_allowed(mut store: Store) -> String {
    let report = check(&mut store);
    let first = report.failures().next().unwrap_or_else(|| panic!("{report}"));
    assert_eq!(first.kind, FindingKind::NotAllowed, "{report}");
    first.words.clone()
}

#[test]
fn a_grant_that_nobody_approved_is_found() {
    let mut store = Store::granted().0;
    let request = store.submit();
    store.smuggle(Event::Granted { request });
    assert!(not_allowed(store).contains("no signed statement"));
}

#[test]
fn an_approval_signed_by_another_key_is_found() {
    let mut store = Store::granted().0;
    let request = store.submit();
    let verdict = store.verdict(request, SECOND, ADMINISTRATOR);
    store.act(Command::Vote { verdict });
    assert!(not_allowed(store).contains("by another key"));
}

#[test]
fn an_approval_by_somebody_who_may_not_is_found() {
    let mut store = Store::granted().0;
    let request = store.submit();
    let verdict = store.verdict(request, ADMINISTRATOR, ADMINISTRATOR);
    store.smuggle(Event::Voted { verdict });
    assert!(not_allowed(store).contains("decided again, it is refused"));
}

#[test]
fn an_approval_that_saw_another_journal_is_found() {
    let mut store = Store::granted().0;
    let request = store.submit();
    let mut verdict = store.verdict(request, LEAD, LEAD);
    verdict.statement.journal = SeenHead { size: 3, ..verdict.statement.journal };
    let digest = verdict.statement.digest();
    verdict.signature = support::sign(LEAD, certs::sshsig::Namespace::Approval, digest);
    store.act(Command::Vote { verdict });
    assert!(not_allowed(store).contains("saw another journal"));
}

#[test]
fn an_operator_whom_nobody_vouched_for_is_found() {
    let mut store = Store::granted().0;
    store.smuggle(Event::Activated { person: person(TECHNICIAN) });
    assert!(not_allowed(store).contains("no signed statement"));
}

#[test]
fn a_founder_with_a_key_the_auditor_does_not_know_is_found() {
    let mut store = Store::empty(16 << 10);
    let founder = |n, kind: Kind, groups: &[&str]| Founder {
        person: person(n),
        kind,
        groups: groups.iter().map(|group| label(group)).collect(),
        link: policies::ids::LinkId::new(ulid::Ulid::from(u128::from(n))),
    };
    let founders = vec![
        founder(ADMINISTRATOR, Kind::Administrator, &[]),
        founder(LEAD, Kind::Operator { vendor: None }, &["shift-lead"]),
    ];
    let link = founders[1].link;
    let log_key = support::trust().logs[0].0.to_string();
    let plant = support::PLANT.to_owned();
    store.act(Command::Found { deployment: label("mill-3"), log_key, founders, plant });
    store.act(Command::Enrol { link, key: public(77) });
    assert!(not_allowed(store).contains("not in your trust file"));
}

#[test]
fn a_founder_the_auditor_does_not_know_is_found() {
    let mut store = Store::empty(16 << 10);
    let founders = vec![Founder {
        person: person(99),
        kind: Kind::Administrator,
        groups: [].into(),
        link: policies::ids::LinkId::new(ulid::Ulid::from(99_u128)),
    }];
    let log_key = support::trust().logs[0].0.to_string();
    let plant = support::PLANT.to_owned();
    store.act(Command::Found { deployment: label("mill-3"), log_key, founders, plant });
    assert!(not_allowed(store).contains("founded the installation"));
}

#[test]
fn a_session_without_a_grant_is_found() {
    let (mut store, grant) = Store::granted();
    let session = store.begin(grant);
    store.end(session);
    let request = store.submit();
    let id = policies::ids::SessionId::new(ulid::Ulid::from(5_000_u128));
    let started = Event::Started {
        session: id,
        request,
        technician: person(TECHNICIAN),
        target: label("hmi-1"),
        service: label("ssh"),
        actions: [policies::actions::Action::Shell].into(),
        source: "192.0.2.7".parse().unwrap(),
        factors: vec![policies::events::Factor::Key],
        node: label("node-1"),
        deadline: store.expires(),
    };
    store.smuggle(started);
    let recording = store.record(id, request);
    store.end(recording);
    assert!(not_allowed(store).contains("decided again"));
}

#[test]
fn a_request_on_a_rule_that_was_never_in_force_is_found() {
    let mut store = Store::granted().0;
    let case = store.state.cases.values().next().unwrap();
    let mut rule = (*case.rule).clone();
    rule.id = label("made-up");
    let mut request = (*case.asked).clone();
    request.id = policies::ids::RequestId::new(ulid::Ulid::from(6_000_u128));
    request.rule = rule.digest();
    store.smuggle(Event::Submitted { request, rule: Box::new(rule) });
    assert!(not_allowed(store).contains("not in force"));
}

#[test]
fn a_plant_file_that_nobody_signed_is_found() {
    let mut store = Store::granted().0;
    let text = support::PLANT.replace("connections = 100", "connections = 99");
    let plant = policies::digest::Digest::of_bytes(text.as_bytes());
    store.act(Command::ProposePlant { text, by: person(ADMINISTRATOR) });
    store.smuggle(Event::PlantAdopted { plant });
    assert!(not_allowed(store).contains("no signed statement"));
}

#[test]
fn a_plant_file_signed_by_those_who_may_is_right() {
    let mut store = Store::granted().0;
    let text = support::PLANT.replace("connections = 100", "connections = 99");
    let plant = policies::digest::Digest::of_bytes(text.as_bytes());
    store.act(Command::ProposePlant { text, by: person(ADMINISTRATOR) });
    for signer in [ADMINISTRATOR, SECOND] {
        let signed = store.plant_signature(plant, signer);
        store.act(Command::SignPlant { signed });
    }
    let report = check(&mut store);
    assert!(report.is_whole(), "{report}");
}

#[test]
fn an_approval_without_the_grant_that_follows_is_found() {
    let mut store = Store::granted().0;
    let request = store.submit();
    let verdict = store.verdict(request, LEAD, LEAD);
    store.smuggle(Event::Voted { verdict });
    store.act(Command::Withdraw { request, by: person(TECHNICIAN) });
    assert!(not_allowed(store).contains("should follow here"));
}

#[test]
fn a_recording_that_says_it_is_of_another_grant_is_found() {
    let (mut store, grant) = Store::granted();
    let other = store.submit();
    let session = store.begin(grant);
    let id = session.id;
    drop(session);
    store.close();
    std::fs::remove_dir_all(store.dir().join("records")).unwrap();
    store.open();
    let session = store.record(id, other);
    store.end(session);
    let report = check(&mut store);
    let kinds: Vec<_> = report.failures().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::Disagree], "{report}");
}

#[test]
fn a_head_of_recordings_counts_by_their_own_key_alone() {
    let head = |signer: u8, origin: &str, more: &str| {
        let checkpoint = Checkpoint { origin: origin.to_owned(), size: 1, root: [7; 32] };
        let text = Note::sign(&format!("{checkpoint}{more}"), origin, &SimSigner::new(signer)).unwrap().to_string();
        Event::Checkpointed { node: label("node-1"), checkpoint: text }
    };
    for (event, said) in [
        (head(10, "mill-3/records/node-1", ""), "is not theirs: the note is not signed"),
        (head(9, "mill-3/journal", ""), "is not theirs: "),
        (head(9, "mill-3/records/node-1", "more\n"), "is not as their log writes it"),
        (
            Event::Checkpointed { node: label("node-9"), checkpoint: String::new() },
            "has no key for the recordings of node-9",
        ),
    ] {
        let mut store = Store::granted().0;
        store.smuggle(event);
        let words = not_allowed(store);
        assert!(words.contains(said), "{words}");
    }
    let mut store = Store::granted().0;
    store.smuggle(head(9, "mill-3/records/node-1", ""));
    let report = check(&mut store);
    assert!(
        report.failures().any(|finding| finding.words.contains("once had other entries up to 1, as the journal says")),
        "{report}"
    );
}

/// A session of two hours, in which something passes so many seconds after its beginning: what is wrong.
fn outlasts((mut store, grant): (Store, RequestId), seconds: u64, extended_by: Option<i64>) -> Option<FindingKind> {
    let mut session = store.begin(grant);
    session.data(1, Stream::In, b"early");
    if let Some(by) = extended_by {
        extend(&mut store, grant, by);
    }
    store.machine.advance(seconds * 1_000_000_000);
    session.data(1, Stream::Out, b"late");
    store.end(session);
    let report = check(&mut store);
    let own = |finding: &&Finding| !finding.words.contains("HP1308");
    let found = report.failures().filter(own).map(|finding| finding.kind).next();
    assert_eq!(
        report.failures().any(|finding| finding.words.contains("after its time was over")),
        found.is_some(),
        "{report}"
    );
    found
}

/// What makes an extension right is judged elsewhere.
fn extend(store: &mut Store, grant: RequestId, by: i64) {
    let deadline = store.state.cases[&grant].deadline + jiff::SignedDuration::from_secs(by);
    let ask = store.ask_id();
    store.smuggle(Event::Extended { ask, request: grant, deadline });
}

#[test]
fn bytes_that_passed_after_a_sessions_time_are_found() {
    const WRONG: Option<FindingKind> = Some(FindingKind::NotAllowed);
    let over = i64::from(Rule::HOLD_MAX.0) + 7_200 + 120;
    let over = u64::try_from(over).unwrap();
    assert_eq!(outlasts(Store::granted(), 7_100, None), None);
    assert_eq!(outlasts(Store::granted(), over - 120, None), None, "a transfer may be let finish");
    assert_eq!(outlasts(Store::granted(), over, None), WRONG);
    assert_eq!(outlasts(Store::granted(), over, Some(1_800)), None);
    assert_eq!(outlasts(Store::granted(), over + 1_800, Some(1_800)), WRONG);
    // Where a rule freezes instead of cutting, the end comes later; where nothing may be let finish, at once.
    let freezes = || Store::granted_by("ending = \"freeze\"\nfreeze_max = \"1h\"");
    assert_eq!(outlasts(freezes(), over + 3_000, None), None);
    assert_eq!(outlasts(freezes(), over + 3_600, None), WRONG);
    assert_eq!(outlasts(Store::granted_by("hold_max = \"0\""), 7_200 + 120, None), WRONG);
}

#[test]
fn more_time_counts_for_sessions_of_the_grant_that_it_was_given_to_alone() {
    let over = u64::from(Rule::HOLD_MAX.0) + 7_200 + 120;
    let (mut store, grant) = Store::granted();
    let other = store.submit();
    store.approve(other, LEAD);
    let mut session = store.begin(grant);
    extend(&mut store, other, 1_800);
    store.machine.advance(over * 1_000_000_000);
    session.data(1, Stream::Out, b"late");
    store.end(session);
    let report = check(&mut store);
    assert!(report.failures().any(|finding| finding.words.contains("after its time was over")), "{report}");
}

/// A session whose seal has the account that `edit` leaves: what is told of it.
fn sealed_with(edit: fn(&mut Vec<Account>)) -> Vec<String> {
    let (mut store, grant) = Store::granted();
    let mut session = store.begin(grant);
    session.data(1, Stream::In, b"typed").data(1, Stream::Out, b"shown");
    let account = |direction, bytes| Account {
        direction,
        channel: 1,
        received: bytes,
        forwarded: bytes,
        refused: 0,
        undelivered: 0,
        made: 0,
    };
    let mut accounts = vec![account(Direction::In, 5), account(Direction::Out, 5)];
    edit(&mut accounts);
    let (id, seal) = (session.id, Seal { ending: "left".to_owned(), accounts });
    let seal = Some(support::block_on(session.writer.seal(seal)).unwrap().digest);
    store.act(Command::End { session: id, ending: Ending::Left, seal });
    let report = check(&mut store);
    report.failures().map(|finding| finding.words.clone()).collect()
}

#[test]
fn a_seal_whose_bytes_do_not_add_up_is_found() {
    const LOST: &str = "not every byte that was received is forwarded, refused or undelivered";
    assert_eq!(sealed_with(|_| {}), Vec::<String>::new());
    for edit in [
        (|accounts| accounts[0].forwarded -= 1) as fn(&mut Vec<Account>),
        |accounts| accounts[1].refused += 1,
        |accounts| accounts[1].received += 1,
        |accounts| accounts[0].made += 1,
        |accounts| accounts.truncate(1),
        |accounts| accounts.push(Account { channel: 9, ..accounts[0] }),
    ] {
        let told = sealed_with(edit);
        assert!(told.iter().any(|words| words == LOST), "{told:?}");
    }
}

#[test]
fn an_answer_without_a_signature_counts_where_the_rule_and_the_duty_say_so_and_is_counted_apart() {
    let mut store = Store::lenient();
    let request = store.submit();
    let answer =
        |store: &Store, way| Event::VotedWeaker { statement: store.verdict(request, LEAD, LEAD).statement, way };
    store.act(Command::ComeOnDuty { person: person(LEAD), provider: None });
    let Event::VotedWeaker { statement, way } = answer(&store, Weaker::Totp) else { unreachable!("made so") };
    store.act(Command::VoteWeaker { statement, way });
    let report = check(&mut store);
    assert!(report.is_whole(), "{report}");
    assert_eq!(report.decisions.weaker, 1);
    assert!(report.to_string().contains("1 answer without a signature, as its rule allows: the gate's word alone"));
}

#[test]
fn an_answer_without_a_signature_that_the_rule_does_not_allow_is_found() {
    for (way, on_duty, said) in [
        (Weaker::Telephone, true, "lets nobody answer by telephone"),
        (Weaker::Totp, false, "only an operator on duty"),
    ] {
        let mut store = Store::lenient();
        let request = store.submit();
        if on_duty {
            store.act(Command::ComeOnDuty { person: person(LEAD), provider: None });
        }
        let statement = store.verdict(request, LEAD, LEAD).statement;
        store.smuggle(Event::VotedWeaker { statement, way });
        store.smuggle(Event::Granted { request });
        assert!(not_allowed(store).contains(said), "{said}");
    }
    let mut store = Store::lenient();
    let request = store.submit();
    store.act(Command::ComeOnDuty { person: person(LEAD), provider: None });
    let mut statement = store.verdict(request, LEAD, LEAD).statement;
    statement.journal = SeenHead { size: 3, ..statement.journal };
    store.act(Command::VoteWeaker { statement, way: Weaker::Totp });
    assert!(not_allowed(store).contains("saw another journal"));
}

#[test]
fn what_a_shift_change_is_said_to_have_ended_must_have_been_due() {
    let (mut store, grant) = Store::granted();
    store.smuggle(Event::NotAccepted { request: grant, then: Then::End });
    assert!(not_allowed(store).contains("nobody had to accept it"));
    let (mut store, grant) = Store::granted();
    let until = store.now() + jiff::SignedDuration::from_hours(8);
    store.smuggle(Event::Accepted { request: grant, by: person(LEAD), until });
    assert!(not_allowed(store).contains("decided again, it is refused"));
}

#[test]
fn a_guest_is_found_whom_nobody_invited_as_the_rule_and_the_duty_say() {
    let link = || policies::ids::LinkId::new(ulid::Ulid::from(71_u128));
    let mut store = Store::for_guests();
    let invitation = store.invitation(LEAD, LEAD, 4);
    store.act(Command::InviteGuest { invitation, link: link() });
    let report = check(&mut store);
    assert!(report.is_whole(), "{report}");

    for (by, signed_by, hours, said) in [
        (SECOND, SECOND, 4, "only an operator on duty invites a guest"),
        (LEAD, SECOND, 4, "by another key"),
        (LEAD, LEAD, 9, "longer than rule"),
    ] {
        let mut store = Store::for_guests();
        let rule = Box::new(store.state.plant.as_ref().unwrap().rules[0].clone());
        let invitation = store.invitation(by, signed_by, hours);
        store.smuggle(Event::GuestInvited { invitation, rule, link: link() });
        assert!(not_allowed(store).contains(said), "{said}");
    }
    let mut store = Store::for_guests();
    let mut rule = Box::new(store.state.plant.as_ref().unwrap().rules[0].clone());
    rule.guest_max = Some(policies::time::Seconds(43_200));
    let mut invitation = store.invitation(LEAD, LEAD, 9);
    invitation.statement.rule = rule.digest();
    invitation.signature = support::sign(LEAD, certs::sshsig::Namespace::Guest, invitation.statement.digest());
    store.smuggle(Event::GuestInvited { invitation, rule, link: link() });
    assert!(not_allowed(store).contains("it changed meanwhile"), "a rule that nobody adopted");
}

#[test]
fn what_is_said_to_have_become_of_a_guest_must_have_come_about() {
    let visit = || {
        let mut store = Store::for_guests();
        let (invitation, link) = (store.invitation(LEAD, LEAD, 4), ulid::Ulid::from(71_u128));
        let (guest, who) = (invitation.statement.guest, invitation.statement.person);
        store.act(Command::InviteGuest { invitation, link: policies::ids::LinkId::new(link) });
        (store, guest, who)
    };
    let (mut store, guest, person) = visit();
    store.smuggle(Event::GuestEnded { guest, person, by: None });
    assert!(not_allowed(store).contains("the guest's time was not up"));
    let (mut store, guest, person) = visit();
    store.smuggle(Event::GuestEnded { guest, person, by: Some(support::person(TECHNICIAN)) });
    assert!(not_allowed(store).contains("only operators and administrators"));
    let (mut store, guest, _) = visit();
    store.smuggle(Event::GuestReviewed { guest, by: support::person(SECOND), objection: None });
    assert!(not_allowed(store).contains("no signed statement"));

    let (mut store, _, person) = visit();
    let request = store.submit();
    let case = &store.state.cases[&request];
    let (mut asked, rule) = ((*case.asked).clone(), Box::new((*case.rule).clone()));
    (asked.id, asked.technician) = (policies::ids::RequestId::new(ulid::Ulid::from(72_u128)), person);
    store.smuggle(Event::Submitted { request: asked, rule });
    assert!(not_allowed(store).contains("a guest asked for what they were not invited for"));
}

#[test]
fn a_key_that_was_slipped_to_an_operator_is_found_and_a_technicians_is_theirs() {
    let mut store = Store::granted().0;
    store.act(Command::AddKey { person: person(TECHNICIAN), key: public(77) });
    let report = check(&mut store);
    assert!(report.is_whole(), "{report}");
    let mut store = Store::granted().0;
    store.smuggle(Event::KeyAdded { person: person(LEAD), key: public(77) });
    assert!(not_allowed(store).contains("only technicians may do this"));
    let mut store = Store::granted().0;
    store.smuggle(Event::KeyAdded { person: person(TECHNICIAN), key: public(LEAD) });
    assert!(not_allowed(store).contains("decided again, it is refused"), "somebody else's");
}

//! The Desk against its promises: what gets in, what ends, and what happens when the journal is slow, contested or gone.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use approver::desk::{Alarm, Fault, Kept, Rejected, Unsigned};
use approver::journal::memory::MemoryJournal;
use approver::journal::{AppendError, Entry, Head, Journal, ReadError, Word};
use approver::lease::{Ask, Frozen, Lease};
use approver::people::People;
use approver::recorder::Recorder;
use approver::testing::{
    Actor, Faulty, PLANT, Props, Rival, SecurityKey, Stage, Trouble, deployment, enrol, new_key, node, person,
    put_up_elsewhere, refusal, sign,
};
use approver::{floor::Floor, mint};
use certs::proof::{Authenticated, RecentLogin, VerifiedKey};
use certs::sshsig::Namespace;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use policies::actions::{Action, Actions};
use policies::decide::Command;
use policies::digest::{Digest, Salted};
use policies::events::{AskedFor, CutBy, Ending, EscortEnd, Event, Factor, Scope};
use policies::ids::{NodeId, RequestId, SessionId};
use policies::people::{Kind, SshKey};
use policies::refusals::Refusal;
use policies::requests::{
    Account, Answer, CertifyStatement, Matter, Narrowing, PlantStatement, Reopening, VerdictStatement, Widening,
};
use policies::state::RequestStanding;
use policies::time::Seconds;
use policies::vocabulary::Vocabulary;
use recordings::disk::RealMachine;
use recordings::keys::Recipients;
use recordings::log::{Log, LogOptions, Purpose, Signer as _};
use recordings::sim::{SimDisk, SimSigner};
use recordings::tlog::checkpoint::SignedCheckpoint;

const AUDITORS: [&str; 2] = [
    "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
    "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg",
];
const MINUTE: Duration = Duration::from_secs(60);

fn reason() -> Salted {
    Salted::new(&[1; 32], "because")
}

/// A stage whose journal fails when told to.
async fn faulty_stage() -> (Stage, Arc<Faulty<dyn Journal>>) {
    let journal = Arc::new(Faulty::new(Arc::new(MemoryJournal::new()) as Arc<dyn Journal>));
    let props = Props { journal: journal.clone(), ..Props::new() };
    (Stage::on(props, PLANT).await, journal)
}

async fn rival_stage() -> (Stage, Arc<Rival>) {
    let rival = Arc::new(Rival::new(Arc::new(MemoryJournal::new()), Box::new(|_| Vec::new())));
    let props = Props { journal: rival.clone(), ..Props::new() };
    (Stage::on(props, PLANT).await, rival)
}

/// A lease for `press-4` or another target that takes a shell.
async fn let_in(stage: &Stage, target: &str) -> Lease {
    stage.grant(target, &[Action::Shell]).await;
    stage.admit(target).await.unwrap()
}

/// Lets the Desk's tasks do what is due.
async fn settle() {
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn events(stage: &Stage) -> Vec<Event> {
    stage.desk.entries(0).await.unwrap().into_iter().map(|entry| entry.event).collect()
}

// Admission

#[tokio::test]
async fn nobody_gets_in_without_a_grant_and_the_refusal_is_journaled_once_a_minute() {
    let stage = Stage::new().await;
    for _ in 0..3 {
        assert!(matches!(refusal(stage.admit("hmi-2").await), Refusal::NoGrant(_)));
    }
    let refused = |event: &&Event| matches!(event, Event::Refused { reason, .. } if reason == "no-grant");
    // Half a minute passes with each login.
    assert_eq!(events(&stage).await.iter().filter(refused).count(), 2);
    assert_eq!(stage.desk.status().leases, 0);
}

#[tokio::test]
async fn one_person_cannot_grow_the_journal_by_knocking_at_many_doors() {
    let stage = Stage::new().await;
    let who = stage.login(&stage.technician).await;
    for n in 0..60 {
        let ask = Ask { target: format!("door-{n}").parse().unwrap(), ..stage.wanted("hmi-2") };
        assert!(stage.desk.admit(&who, ask).await.is_err());
    }
    let refused = events(&stage).await.iter().filter(|event| matches!(event, Event::Refused { .. })).count();
    assert_eq!(refused, 20);
}

#[tokio::test]
async fn what_no_rule_allows_is_journaled_as_it_is_asked_once_a_minute_and_not_without_end() {
    let stage = Stage::new().await;
    let refused = async || {
        let mut events = events(&stage).await;
        events.retain(|event| matches!(event, Event::Refused { .. }));
        events
    };
    for _ in 0..3 {
        assert!(stage.ask("hmi-2", &[Action::Shell, Action::Tunnel]).await.is_err());
        assert!(stage.ask("safety-plc", &[Action::Shell]).await.is_err());
    }
    let told: Vec<_> = refused().await;
    let shell = AskedFor { actions: [Action::Shell].into(), ..AskedFor::default() };
    let tunnel = AskedFor { actions: [Action::Shell, Action::Tunnel].into(), ..AskedFor::default() };
    let by_technician = |reason: &str, target: &str, asked| Event::Refused {
        person: stage.technician.person,
        reason: reason.into(),
        target: Some(target.parse().unwrap()),
        rule: None,
        asked: Some(asked),
    };
    assert_eq!(
        told,
        [by_technician("not-spoken", "hmi-2", tunnel), by_technician("zone-never", "safety-plc", shell.clone())]
    );
    stage.pass(MINUTE);
    assert!(stage.ask("safety-plc", &[Action::Shell]).await.is_err());
    assert_eq!(refused().await[2..], [by_technician("zone-never", "safety-plc", shell)]);
    // Doors that they knock at count by themselves.
    let who = stage.login(&stage.technician).await;
    for n in 0..60 {
        let target = format!("door-{n}");
        assert!(stage.ask(&target, &[Action::Shell]).await.is_err());
        let ask = Ask { target: target.parse().unwrap(), ..stage.wanted("hmi-2") };
        assert!(stage.desk.admit(&who, ask).await.is_err());
    }
    assert_eq!(refused().await.len(), 2 + 20 + 20, "of the last minute");
}

#[tokio::test]
async fn a_lease_says_what_was_agreed() {
    let stage = Stage::new().await;
    let grant = stage.grant("hmi-2", &[Action::Shell, Action::FileGet]).await;
    let lease = stage.admit("hmi-2").await.unwrap();
    assert_eq!((lease.grant(), lease.technician()), (grant, stage.technician.person));
    assert_eq!((lease.target().as_str(), lease.service().as_str()), ("hmi-2", "ssh"));
    assert_eq!(lease.destination().address.to_string(), "10.20.2.11:22");
    assert_eq!(lease.destination().user.as_deref(), Some("maint"));
    assert_eq!(lease.banner(), Digest::of_bytes(b"Recorded."));
    assert_eq!(lease.factors(), [Factor::Key, Factor::Totp]);
    let order = lease.orders().now();
    assert_eq!(order.actions, Actions::from([Action::Shell, Action::FileGet]));
    assert_eq!((order.over, order.frozen), (None, None));
    let clock = stage.desk.clock();
    assert_eq!(order.deadline.boot.since(clock.boot()), 60 * MINUTE);
    assert_eq!(order.deadline.wall, clock.wall() + SignedDuration::from_hours(1));
    let started = events(&stage).await.pop().unwrap();
    assert!(matches!(started, Event::Started { session, .. } if session == lease.session()));
    stage.desk.end(lease, Ending::Left, None).await;
    let ended = events(&stage).await.pop().unwrap();
    assert!(matches!(ended, Event::Ended { ending: Ending::Left, .. }));
}

#[tokio::test]
async fn warnings_come_at_15_5_and_1_minutes_but_none_before_half_of_the_time() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let left: Vec<_> = lease.warnings().iter().map(|warning| warning.left / 60).collect();
    assert_eq!(left, [15, 5, 1].map(Duration::from_secs));
    let last = lease.warnings()[2];
    assert_eq!(lease.orders().now().deadline.boot.since(last.at), MINUTE);
    // An hour was granted; of a grant of eight minutes only the last warning is not longer than half.
    let id = stage.ask("plc-7", &[Action::Shell]).await.unwrap();
    let mut verdict = stage.approval(&stage.lead, id);
    let narrowing = policies::requests::Narrowing { duration: Some(Seconds(480)), ..Default::default() };
    verdict.statement.digest =
        stage.desk.with_state(|state| state.cases[&id].request.narrowed(&narrowing).digest(&deployment()));
    verdict.statement.answer = policies::requests::Answer::Yes { narrowing };
    let digest = verdict.statement.digest();
    let verdict = sign(&stage.lead, Namespace::Approval, verdict.statement, digest);
    stage.desk.act(Command::Vote { verdict }).await.unwrap();
    let who = stage.login(&stage.technician).await;
    let short = stage.desk.admit(&who, Ask { grant: Some(id), ..stage.wanted("plc-7") }).await.unwrap();
    let left: Vec<_> = short.warnings().iter().map(|warning| warning.left / 60).collect();
    assert_eq!(left, [1].map(Duration::from_secs));
}

#[tokio::test]
async fn one_grant_one_connection_under_race() {
    let (stage, rival) = rival_stage().await;
    let grant = stage.grant("press-4", &[Action::Shell]).await;
    // Whenever we are about to start, another node starts a session under the same grant first.
    rival.set(Box::new(|ours| {
        let start = |event: &Event| match event.clone() {
            Event::Started { request, technician, target, service, actions, source, factors, deadline, .. } => {
                let (session, node) = (mint::session(Timestamp::UNIX_EPOCH), "node-2".parse().unwrap());
                Some(Event::Started {
                    session,
                    request,
                    technician,
                    target,
                    service,
                    actions,
                    source,
                    factors,
                    node,
                    deadline,
                })
            }
            _ => None,
        };
        ours.iter().filter_map(start).collect()
    }));
    assert_eq!(refusal(stage.admit("press-4").await), Refusal::TooManyConnections(1));
    assert_eq!(stage.desk.with_state(|state| state.live_under(grant)), 1);
    let started = |event: &&Event| matches!(event, Event::Started { .. });
    assert_eq!(events(&stage).await.iter().filter(started).count(), 1);
}

#[tokio::test]
async fn many_at_once_get_no_more_connections_than_the_grant_allows() {
    let stage = Stage::new().await;
    stage.grant("press-4", &[Action::Shell]).await;
    let who = stage.login(&stage.technician).await;
    let asks = (0..8).map(|_| stage.desk.admit(&who, stage.wanted("press-4")));
    let admitted = futures::future::join_all(asks).await;
    assert_eq!(admitted.iter().filter(|admitted| admitted.is_ok()).count(), 1);
}

#[tokio::test]
async fn against_a_rival_that_always_gets_in_first_nothing_of_ours_is_written() {
    let (stage, rival) = rival_stage().await;
    stage.grant("plc-7", &[Action::Shell]).await;
    let person = stage.technician.person;
    let knock = move |_: &[Event]| {
        vec![Event::Refused { person, reason: "busy".into(), target: None, rule: None, asked: None }]
    };
    rival.set(Box::new(knock));
    assert_eq!(stage.admit("plc-7").await.map(|_| ()), Err(Fault::Busy.into()));
    assert!(!events(&stage).await.iter().any(|event| matches!(event, Event::Started { .. })));
    rival.set(Box::new(|_| Vec::new()));
    assert!(stage.admit("plc-7").await.is_ok());
}

#[tokio::test]
async fn a_journal_that_takes_appends_after_any_head_is_found_out_at_once() {
    let rival = Arc::new(Rival::new(Arc::new(Careless(MemoryJournal::new())), Box::new(|_| Vec::new())));
    let props = Props { journal: rival.clone(), ..Props::new() };
    let stage = Stage::on(props, PLANT).await;
    stage.grant("plc-7", &[Action::Shell]).await;
    let person = stage.technician.person;
    let knock = move |_: &[Event]| {
        vec![Event::Refused { person, reason: "busy".into(), target: None, rule: None, asked: None }]
    };
    rival.set(Box::new(knock));
    for _ in 0..2 {
        assert!(matches!(stage.admit("plc-7").await, Err(Rejected::Fault(Fault::UnknownEvent(_)))));
    }
}

#[tokio::test]
async fn an_event_nobody_here_knows_admits_nobody_and_stops_no_cut() {
    let journal = Arc::new(MemoryJournal::new());
    let props = Props { journal: journal.clone(), ..Props::new() };
    let mut stage = Stage::on(props, PLANT).await;
    let lease = let_in(&stage, "plc-7").await;
    let unknown = br#"{"v":2,"id":"HP1999","event":"teleported"}"#.to_vec();
    let size = journal.append_bytes(vec![unknown], stage.desk.clock().wall()).size;
    assert!(matches!(stage.admit("plc-7").await, Err(Rejected::Fault(Fault::UnknownEvent(_)))));
    assert!(matches!(stage.ask("plc-7", &[Action::Shell]).await, Err(Rejected::Fault(Fault::UnknownEvent(_)))));
    assert!(matches!(stage.alarms.try_recv(), Ok(Alarm::UnknownEvent(_))));
    assert_eq!(journal.head().await.unwrap().size, size, "nothing is written behind what is not understood");
    let done = stage.desk.cut(CutBy::Operator(stage.lead.person), Scope::Plant).await.unwrap();
    assert_eq!((done.sessions.as_slice(), done.kept), ([lease.session()].as_slice(), Kept::OnDisk));
    // A program that starts on such a journal opens, and admits nobody either.
    let (restarted, _) = stage.props.desk().await.unwrap();
    assert!(restarted.status().unknown_event.is_some());
    let who = stage.login(&stage.technician).await;
    assert!(restarted.admit(&who, stage.wanted("plc-7")).await.is_err());
}

#[tokio::test]
async fn behind_an_event_that_nobody_here_knows_sessions_grow_stale() {
    let journal = Arc::new(MemoryJournal::new());
    let stage = Stage::on(Props { journal: journal.clone(), ..Props::new() }, PLANT).await;
    let lease = let_in(&stage, "plc-7").await;
    journal.append_bytes(vec![br#"{"v":2,"id":"HP1999","event":"teleported"}"#.to_vec()], stage.desk.clock().wall());
    assert!(matches!(stage.admit("plc-7").await, Err(Rejected::Fault(Fault::UnknownEvent(_)))));
    assert_eq!(lease.orders().now().over, None);
    stage.pass(Duration::from_secs(31));
    assert_eq!(lease.orders().over().await, Ending::Stale, "a cut behind it would not be heard");
}

// The journal in trouble

#[tokio::test]
async fn an_append_that_was_written_and_not_answered_is_recognised() {
    let (stage, journal) = faulty_stage().await;
    stage.grant("plc-7", &[Action::Shell]).await;
    journal.set_for(Trouble::FailsAfter, 1);
    let lease = stage.admit("plc-7").await.unwrap();
    let started = |event: &&Event| matches!(event, Event::Started { session, .. } if *session == lease.session());
    assert_eq!(events(&stage).await.iter().filter(started).count(), 1);
    assert_eq!(stage.desk.head(), journal.head().await.unwrap());
}

#[tokio::test]
async fn an_append_that_failed_is_a_fault_and_the_next_one_works() {
    let (mut stage, journal) = faulty_stage().await;
    stage.grant("plc-7", &[Action::Shell]).await;
    journal.set_for(Trouble::FailsBefore, 1);
    assert!(matches!(stage.admit("plc-7").await, Err(Rejected::Fault(Fault::Journal(_)))));
    assert!(matches!(stage.alarms.try_recv(), Ok(Alarm::JournalDown(_))));
    assert!(stage.admit("plc-7").await.is_ok());
    assert_eq!(stage.desk.status().leases, 0, "the lease was dropped");
}

#[tokio::test]
async fn nobody_is_admitted_while_the_journal_is_gone() {
    let (stage, journal) = faulty_stage().await;
    stage.grant("plc-7", &[Action::Shell]).await;
    journal.set(Trouble::Gone);
    assert!(matches!(stage.admit("plc-7").await, Err(Rejected::Fault(Fault::Journal(_)))));
}

#[tokio::test]
async fn a_decision_goes_on_to_its_end_when_nobody_waits_for_it() {
    let (gate, journal) = Gate::new();
    let props = Props { journal, ..Props::new() };
    let stage = Stage::on(props, PLANT).await;
    let id = stage.ask("plc-7", &[Action::Shell]).await.unwrap();
    gate.close();
    let vote = stage.desk.act(Command::Vote { verdict: stage.approval(&stage.lead, id) });
    assert!(tokio::time::timeout(Duration::from_millis(20), vote).await.is_err());
    gate.open();
    settle().await;
    assert!(stage.desk.with_state(|state| state.cases[&id].granted.is_some()));
}

// Endings

#[tokio::test]
async fn a_lease_that_is_dropped_is_journaled_as_crashed() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let session = lease.session();
    drop(lease);
    settle().await;
    let ended = events(&stage).await.pop().unwrap();
    assert_eq!(ended, Event::Ended { session, ending: Ending::Crashed, seal: None });
}

#[tokio::test]
async fn an_ending_waits_for_the_journal_and_counts_until_then() {
    let (stage, journal) = faulty_stage().await;
    let lease = let_in(&stage, "press-4").await;
    let session = lease.session();
    journal.set(Trouble::Gone);
    let seal = Digest::of_bytes(b"seal");
    stage.desk.end(lease, Ending::Left, Some(seal)).await;
    assert_eq!(stage.desk.status().late, 1);
    let who = stage.login(&stage.technician).await;
    settle().await;
    journal.set(Trouble::None);
    let second = stage.desk.admit(&who, stage.wanted("press-4")).await;
    assert_eq!(refusal(second), Refusal::TooManyConnections(1));
    stage.pass(MINUTE);
    settle().await;
    assert_eq!(stage.desk.status().late, 0);
    let ended = Event::Ended { session, ending: Ending::Left, seal: Some(seal) };
    assert!(events(&stage).await.contains(&ended));
    assert!(stage.admit("press-4").await.is_ok());
}

#[tokio::test]
async fn a_lease_ends_at_its_deadline_and_not_before() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let mut orders = lease.orders();
    stage.pass(59 * MINUTE);
    settle().await;
    assert_eq!(orders.now().over, None);
    stage.pass(MINUTE);
    assert_eq!(orders.over().await, Ending::Expired);
}

#[tokio::test]
async fn where_the_rule_says_so_input_freezes_at_the_deadline_and_the_end_comes_later() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "press-4").await;
    let mut orders = lease.orders();
    stage.pass(60 * MINUTE);
    assert_eq!(orders.changed().await.frozen, Some(Frozen::TimeIsUp));
    assert_eq!(orders.now().over, None);
    assert_eq!(*stage.props.floor.frozen.lock().unwrap(), [(lease.session(), true)]);
    stage.pass(10 * MINUTE);
    assert_eq!(orders.over().await, Ending::Expired);
}

#[tokio::test]
async fn a_program_transfer_is_let_finish_and_then_the_session_ends() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let mut orders = lease.orders();
    lease.transferring(true);
    stage.pass(60 * MINUTE);
    let finishing = orders.changed().await.finishing.expect("its time is over");
    assert_eq!(finishing.boot, orders.now().deadline.boot.after(10 * MINUTE));
    assert_eq!(finishing.wall, orders.now().deadline.wall + SignedDuration::from_mins(10));
    stage.pass(5 * MINUTE);
    settle().await;
    assert_eq!(orders.now().over, None);
    lease.transferring(false);
    assert_eq!(orders.over().await, Ending::Expired);
}

#[tokio::test]
async fn no_transfer_outlives_the_longest_hold_nor_an_operators_cut() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    lease.transferring(true);
    stage.pass(70 * MINUTE);
    assert_eq!(lease.orders().over().await, Ending::Expired);
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    lease.transferring(true);
    stage.desk.cut(CutBy::Operator(stage.lead.person), Scope::Plant).await.unwrap();
    assert!(matches!(lease.orders().now().over, Some(Ending::Cut { .. })));
}

#[tokio::test]
async fn a_wall_clock_set_back_extends_nothing() {
    let stage = Stage::new().await;
    let grant = stage.grant("plc-7", &[Action::Shell]).await;
    let lease = stage.admit("plc-7").await.unwrap();
    let mut orders = lease.orders();
    stage.pass(30 * MINUTE);
    // Something is journaled, so that the clock can be set back behind it or not.
    stage.ask("plc-7", &[Action::Shell]).await.unwrap();
    stage.props.turn.wall(SignedDuration::from_mins(-20));
    assert_eq!(refusal(stage.admit("plc-7").await), Refusal::ClockBehind);
    assert!(stage.desk.with_state(|state| state.cases[&grant].deadline) > stage.desk.clock().wall());
    stage.props.turn.boot(30 * MINUTE);
    assert_eq!(orders.over().await, Ending::Expired);
}

#[tokio::test]
async fn a_wall_clock_that_jumps_forward_ends_no_session_lets_nobody_in_and_nobody_either_once_it_is_set_right() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let mut orders = lease.orders();
    let who = stage.login(&stage.technician).await;
    stage.props.turn.wall(SignedDuration::from_hours(3));
    settle().await;
    assert_eq!(orders.now().over, None, "it has its time by a clock that nobody sets");
    assert!(matches!(refusal(stage.admit("plc-7").await), Refusal::GrantOver(..)));
    // That refusal is in the journal, three hours ahead.
    stage.props.turn.wall(SignedDuration::from_hours(-3));
    assert_eq!(refusal(stage.desk.admit(&who, stage.wanted("plc-7")).await), Refusal::ClockBehind);
    settle().await;
    assert_eq!(orders.now().over, None);
    stage.desk.cut(CutBy::Operator(stage.lead.person), Scope::Plant).await.unwrap();
    assert!(matches!(orders.over().await, Ending::Cut { .. }));
}

#[tokio::test]
async fn a_wall_clock_set_back_opens_no_second_connection_under_a_grant_that_is_over() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let deadline = lease.orders().now().deadline.wall;
    stage.desk.end(lease, Ending::Left, None).await;
    // The wall clock was held back while an hour went by; by it, the grant has half an hour left.
    stage.props.turn.boot(61 * MINUTE);
    stage.props.turn.wall(SignedDuration::from_mins(30));
    let refused = refusal(stage.admit("plc-7").await);
    assert_eq!(
        refused,
        Refusal::GrantOver("plc-7".parse().unwrap(), stage.desk.with_state(|state| state.clock(deadline)))
    );
}

#[tokio::test]
async fn a_clock_that_is_slewed_a_little_keeps_nobody_out() {
    let stage = Stage::new().await;
    let who = stage.login(&stage.technician).await;
    stage.grant("plc-7", &[Action::Shell]).await;
    stage.props.turn.wall(SignedDuration::from_millis(-200));
    assert!(stage.desk.admit(&who, stage.wanted("plc-7")).await.is_ok());
}

#[tokio::test]
async fn an_extension_moves_the_deadline_of_the_running_session_by_what_was_given_and_no_more() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let before = lease.orders().now().deadline;
    stage.pass(50 * MINUTE);
    // Whoever sets the wall clock back meanwhile gains nothing by it.
    stage.props.turn.wall(SignedDuration::from_mins(-5));
    let (ask, by) = (mint::ask(stage.desk.clock().wall()), stage.technician.person);
    let wanted = Command::AskExtension { ask, request: lease.grant(), more: Seconds(1_800), reason: reason(), by };
    stage.desk.act(wanted).await.unwrap();
    let verdict = stage.approval_of_ask(&stage.lead, ask, true);
    stage.desk.act(Command::Vote { verdict }).await.unwrap();
    let after = lease.orders().now().deadline;
    assert_eq!(after.boot.since(before.boot), 30 * MINUTE);
    stage.pass(20 * MINUTE);
    settle().await;
    assert_eq!(lease.orders().now().over, None);
}

#[tokio::test]
async fn a_widening_adds_an_action_for_its_time() {
    let stage = Stage::new().await;
    stage.grant("hmi-2", &[Action::Shell]).await;
    let lease = stage.admit("hmi-2").await.unwrap();
    let (ask, by) = (mint::ask(stage.desk.clock().wall()), stage.technician.person);
    let (actions, lasts) = (Actions::from([Action::FilePut]), Seconds(600));
    let widening = Widening { id: ask, request: lease.grant(), actions, lasts, reason: reason() };
    let wanted = Command::AskWidening { widening, by };
    stage.desk.act(wanted).await.unwrap();
    let verdict = stage.approval_of_ask(&stage.lead, ask, false);
    stage.desk.act(Command::Vote { verdict }).await.unwrap();
    let mut orders = lease.orders();
    assert_eq!(orders.now().actions, Actions::from([Action::Shell, Action::FilePut]));
    // The wall clock is set back; the ten minutes are over all the same.
    stage.props.turn.wall(SignedDuration::from_mins(-30));
    stage.props.turn.boot(10 * MINUTE);
    loop {
        if orders.changed().await.actions == Actions::from([Action::Shell]) {
            break;
        }
    }
}

#[tokio::test]
async fn what_is_taken_back_ends_at_once() {
    type Ends = fn(&Stage, RequestId) -> Command;
    let ends: [(&str, Ends); 3] = [
        ("a grant", |stage, request| Command::Revoke { request, reason: reason(), by: stage.lead.person }),
        ("a person", |stage, _| Command::Disable { person: stage.technician.person, by: stage.admin.person }),
        ("a vendor", |stage, _| Command::DisableVendor { vendor: "acme".parse().unwrap(), by: stage.admin.person }),
    ];
    for (what, command) in ends {
        let stage = Stage::new().await;
        let lease = let_in(&stage, "plc-7").await;
        stage.desk.act(command(&stage, lease.grant())).await.unwrap();
        assert_eq!(lease.orders().now().over, Some(Ending::Revoked), "{what}");
    }
}

#[tokio::test]
async fn what_an_earlier_key_began_ends_when_its_holder_enrols_again() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    stage.pass(Duration::from_secs(60));
    let (tess, day) = (stage.technician.person, Seconds(86_400));
    let invited = stage.people.reinvite(tess, day, stage.admin.person).await.unwrap();
    assert_eq!(lease.orders().now().over, None, "a code that nobody used changes nothing");
    let before = stage.login(&stage.technician).await;
    enrol(&stage.people, &invited.code).await;
    assert_eq!(lease.orders().now().over, Some(Ending::Revoked));
    let admitted = stage.desk.admit(&before, stage.wanted("plc-7")).await;
    assert_eq!(refusal(admitted), Refusal::EarlierKey, "what was proved before lets nobody in");
}

#[tokio::test]
async fn a_password_given_before_its_holder_enrolled_again_lets_nobody_in() {
    let stage = Stage::new().await;
    stage.grant("plc-7", &[Action::Shell]).await;
    let (tess, password) = (stage.technician.person, || zeroize::Zeroizing::new("correct horse battery".to_owned()));
    stage.people.set_password(tess, password()).await.unwrap();
    stage.pass(Duration::from_secs(30));
    let code = stage.technician.totp.code_at(stage.desk.clock().wall());
    let source = approver::testing::source();
    let before = stage.people.check_password(Some(tess), password(), &code, source).await.unwrap();
    stage.pass(Duration::from_secs(1));
    let invited = stage.people.reinvite(tess, Seconds(86_400), stage.admin.person).await.unwrap();
    enrol(&stage.people, &invited.code).await;
    assert_eq!(refusal(stage.desk.admit(&before, stage.wanted("plc-7")).await), Refusal::EarlierKey);
}

#[tokio::test]
async fn a_login_that_serves_one_grant_spends_that_one() {
    let stage = Stage::new().await;
    let wide = stage.grant("hmi-2", &[Action::Shell, Action::FileGet]).await;
    let narrow = stage.grant("hmi-2", &[Action::Shell]).await;
    let login = RecentLogin::of(&stage.login(&stage.technician).await, wide).unwrap();
    let key = VerifiedKey::after_ssh_userauth_signature(stage.technician.person, stage.technician.key.public_key());
    let (source, now) = (approver::testing::source(), stage.desk.clock().wall());
    let again = Authenticated::by_recent_login(&login, key, source, wide, Seconds(600), now).unwrap();
    for asked in [None, Some(narrow)] {
        let lease = stage.desk.admit(&again, Ask { grant: asked, ..stage.wanted("hmi-2") }).await.unwrap();
        assert_eq!(lease.grant(), wide);
    }
}

#[tokio::test]
async fn a_contract_that_is_shortened_ends_the_session_at_its_end() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let end = stage.desk.clock().wall() + SignedDuration::from_mins(10);
    let contract = Command::Contract {
        vendor: "acme".parse().unwrap(),
        end,
        sponsor: stage.lead.person,
        telephone: None,
        by: stage.admin.person,
    };
    stage.desk.act(contract).await.unwrap();
    assert_eq!(lease.orders().now().deadline.wall, end);
    stage.pass(10 * MINUTE);
    assert_eq!(lease.orders().over().await, Ending::Expired);
}

#[tokio::test]
async fn sessions_end_when_the_journal_stays_away_longer_than_the_rule_allows() {
    let (stage, journal) = faulty_stage().await;
    let lease = let_in(&stage, "plc-7").await;
    let mut orders = lease.orders();
    journal.set(Trouble::Gone);
    stage.pass(Duration::from_secs(5));
    settle().await;
    assert!(stage.desk.status().journal_down_for.is_some());
    assert_eq!(orders.now().over, None);
    stage.pass(Duration::from_secs(31));
    assert_eq!(orders.over().await, Ending::Stale);
}

#[tokio::test]
async fn where_the_rule_keeps_sessions_a_journal_that_stays_away_ends_none_and_lets_nobody_in() {
    let journal = Arc::new(Faulty::new(Arc::new(MemoryJournal::new()) as Arc<dyn Journal>));
    // One rule lets go after five minutes, the other never.
    let keeps = PLANT.replacen("duration_max = \"2h\"", "duration_max = \"2h\"\nstaleness = \"5m\"", 1);
    let keeps = keeps
        .replace("duration_max = \"4h\"", "duration_max = \"4h\"\nstaleness = \"20s\"\nstaleness_ending = \"keep\"");
    let stage = Stage::on(Props { journal: journal.clone(), ..Props::new() }, &keeps).await;
    let lease = let_in(&stage, "plc-7").await;
    let ends = let_in(&stage, "press-4").await;
    journal.set(Trouble::Gone);
    stage.pass(Duration::from_secs(5));
    settle().await;
    stage.pass(4 * MINUTE);
    settle().await;
    assert_eq!(ends.orders().now().over, None);
    stage.pass(MINUTE);
    assert_eq!(ends.orders().over().await, Ending::Stale);
    assert_eq!(lease.orders().now().over, None);
    assert!(matches!(stage.admit("plc-7").await, Err(Rejected::Fault(Fault::Journal(_)))));
    // Its own deadline still ends it.
    stage.pass(60 * MINUTE);
    assert_eq!(lease.orders().over().await, Ending::Expired);
}

#[tokio::test]
async fn a_machine_that_slept_does_not_take_its_journal_for_gone() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    stage.pass(20 * MINUTE);
    settle().await;
    assert_eq!(lease.orders().now().over, None);
}

/// One more session under the grant that was used last, begun at this node without a lease of anybody's here.
async fn starts_at(stage: &Stage, node: NodeId) -> SessionId {
    let Some(Event::Started { request, technician, target, service, actions, source, factors, deadline, .. }) =
        events(stage).await.pop()
    else {
        panic!("no start")
    };
    let session = mint::session(Timestamp::UNIX_EPOCH);
    let started =
        Event::Started { session, request, technician, target, service, actions, source, factors, node, deadline };
    stage.props.journal.append(stage.desk.head(), &[started], stage.desk.clock().wall()).await.unwrap();
    settle().await;
    session
}

/// Another node says that it runs, and what it reads.
async fn begins_to_run(stage: &Stage, node: &NodeId, vocabulary: Vocabulary) {
    let up = Event::NodeStarted { node: node.clone(), version: "1.0".into(), vocabulary };
    stage.props.journal.append(stage.desk.head(), &[up], stage.desk.clock().wall()).await.unwrap();
    settle().await;
}

#[tokio::test]
async fn a_node_is_forgotten_once_nothing_was_heard_of_it_for_as_long_as_what_it_carries_waits() {
    const LOOK: Duration = Duration::from_secs(2);
    let (spoken, journal) = Gate::new();
    let stage = Stage::on(Props { journal, ..Props::new() }, PLANT).await;
    stage.desk.start_node("1.0").await.unwrap();
    let other: NodeId = "node-2".parse().unwrap();
    begins_to_run(&stage, &other, Vocabulary::THIS).await;
    let _lease = let_in(&stage, "plc-7").await;
    let session = starts_at(&stage, other.clone()).await;
    let forget = |node: &NodeId, by: &Actor| stage.desk.forget_nodes([node.clone()].into(), by.person);
    let waits = async |node: &NodeId| match refusal(forget(node, &stage.admin).await) {
        Refusal::NodeNotSilent { silent, wanted, .. } => (silent.0, wanted.0),
        other => panic!("{other:?}"),
    };
    let passes = async |looks: usize| {
        for _ in 0..looks {
            stage.pass(LOOK);
            settle().await;
        }
    };
    for _ in 0..10 {
        spoken.said.fetch_add(1, Ordering::SeqCst);
        passes(1).await;
    }
    assert_eq!(waits(&other).await, (0, 60), "it says that it lives");
    assert_eq!(refusal(forget(&other, &stage.lead).await), Refusal::WrongKind("administrators"));
    passes(28).await;
    assert_eq!(waits(&other).await, (56, 60), "its session is not over yet");
    passes(5).await;
    let gone = Event::NodesForgotten { nodes: [other.clone()].into(), by: stage.admin.person };
    assert_eq!(forget(&other, &stage.admin).await, Ok(vec![gone]));
    assert!(stage.desk.silent_nodes(Duration::ZERO).is_empty(), "nobody waits for it");
    assert_eq!(stage.desk.with_state(|state| state.sessions[&session].ended.clone().unwrap().1), Ending::Presumed);
    assert_eq!(waits(&node()).await, (0, 60), "nobody forgets the node that answers");
    // It runs all the same, and is too old to hear that it is gone.
    assert!(stage.desk.forgotten_nodes_heard().is_empty());
    for _ in 0..10 {
        spoken.said.fetch_add(1, Ordering::SeqCst);
        passes(1).await;
    }
    assert_eq!(stage.desk.forgotten_nodes_heard(), [other]);
    // A node that never spoke in this store, since the store is a new one.
    let lost: NodeId = "node-3".parse().unwrap();
    begins_to_run(&stage, &lost, Vocabulary::THIS).await;
    assert_eq!(waits(&lost).await, (0, 30), "it has only begun");
    let now = stage.desk.clock().wall();
    assert_eq!(stage.desk.silence_of(&lost, now), Some(Duration::ZERO), "nor is it shown as silent");
    let of_a_clock_ahead = stage.desk.silence_of(&lost, Seconds(3_600).after(now));
    assert!(of_a_clock_ahead.is_some_and(|silent| silent > LOOK), "{of_a_clock_ahead:?}");
    passes(15).await;
    forget(&lost, &stage.admin).await.unwrap();
    // Of an older program nobody knows whether it speaks.
    let old: NodeId = "node-4".parse().unwrap();
    begins_to_run(&stage, &old, Vocabulary::FIRST).await;
    passes(60).await;
    assert_eq!(waits(&old).await, (0, 30));
}

#[tokio::test]
async fn a_node_that_was_taken_for_gone_says_again_that_it_runs() {
    let stage = Stage::new().await;
    stage.desk.start_node("1.0").await.unwrap();
    let lease = let_in(&stage, "plc-7").await;
    let session = lease.session();
    let gone = Event::NodesForgotten { nodes: [node()].into(), by: stage.admin.person };
    let ended = Event::Ended { session, ending: Ending::Presumed, seal: None };
    stage.props.journal.append(stage.desk.head(), &[gone, ended], stage.desk.clock().wall()).await.unwrap();
    settle().await;
    assert_eq!(lease.orders().over().await, Ending::Presumed);
    stage.pass(Duration::from_secs(6));
    settle().await;
    let began = Event::NodeStarted { node: node(), version: "1.0".into(), vocabulary: Vocabulary::THIS };
    assert_eq!(events(&stage).await.into_iter().filter(|event| *event == began).count(), 2);
    assert!(stage.desk.with_state(|state| state.running_nodes().eq([&node()])));
}

#[tokio::test]
async fn what_a_node_that_is_up_cannot_read_waits_until_it_is_upgraded_or_gone() {
    let stage = Stage::new().await;
    stage.desk.start_node("1.0").await.unwrap();
    stage.grant("press-4", &[Action::Shell]).await;
    let lease = let_in(&stage, "plc-7").await;
    let session = lease.session();
    let other: NodeId = "node-2".parse().unwrap();
    // One that reads nothing of today, so that all of today is of the future.
    begins_to_run(&stage, &other, Vocabulary(0)).await;
    let before = events(&stage).await.len();
    let older = || Refusal::OlderNode(other.clone());
    assert_eq!(refusal(stage.ask("plc-7", &[Action::Shell]).await), older());
    assert_eq!(refusal(stage.admit("press-4").await), older());
    // What happened all the same waits, and what the gate does by itself.
    assert_eq!(stage.desk.freeze(session, stage.lead.person).await, Ok(false));
    stage.desk.cut(CutBy::Operator(stage.lead.person), Scope::Session(session)).await.unwrap();
    let ending = lease.orders().over().await;
    assert!(matches!(ending, Ending::Cut { .. }));
    stage.desk.end(lease, ending, None).await;
    for _ in 0..3 {
        stage.pass(10 * MINUTE);
        settle().await;
    }
    assert_eq!(events(&stage).await.len(), before, "nothing, and nothing in halves");
    assert!(stage.desk.status().late >= 2 && stage.desk.status().lost == 0);
    begins_to_run(&stage, &other, Vocabulary::THIS).await;
    stage.pass(6 * Duration::from_secs(1));
    settle().await;
    assert_eq!(stage.desk.status().late, 0);
    let (frozen, over) = (
        Event::Frozen { session, by: stage.lead.person },
        |event: &&Event| matches!(event, Event::Ended { session: ended, .. } if *ended == session),
    );
    let written = events(&stage).await;
    assert!(written.contains(&frozen) && written.iter().filter(over).count() == 1);
}

#[tokio::test]
async fn what_a_silent_node_carried_is_presumed_ended_once_it_was_silent_for_twice_the_staleness() {
    const LOOK: Duration = Duration::from_secs(2);
    let (spoken, journal) = Gate::new();
    let stage = Stage::on(Props { journal, ..Props::new() }, PLANT).await;
    let other: NodeId = "node-2".parse().unwrap();
    begins_to_run(&stage, &other, Vocabulary::THIS).await;
    let lease = let_in(&stage, "plc-7").await;
    let session = starts_at(&stage, other.clone()).await;
    let is_live = || stage.desk.with_state(|state| state.live.contains(&session));
    let passes = async |span: Duration| {
        stage.pass(span);
        settle().await;
    };
    for _ in 0..10 {
        spoken.said.fetch_add(1, Ordering::SeqCst);
        passes(LOOK).await;
        assert!(is_live() && stage.desk.silent_nodes(LOOK * 2).is_empty());
    }
    // This machine slept, or the database did not answer: nothing is known of the other.
    passes(20 * MINUTE).await;
    for _ in 0..28 {
        passes(LOOK).await;
        assert!(is_live());
    }
    assert_eq!(stage.desk.silent_nodes(LOOK * 27), [other]);
    for _ in 0..5 {
        passes(LOOK).await;
    }
    let ended = Event::Ended { session, ending: Ending::Presumed, seal: None };
    assert_eq!(events(&stage).await.into_iter().filter(|event| *event == ended).count(), 1);
    assert_eq!(lease.orders().now().over, None, "of this node nothing is presumed");
}

#[tokio::test]
async fn what_a_node_writes_is_heard_of_it_as_what_it_says() {
    const LOOK: Duration = Duration::from_secs(2);
    let (spoken, journal) = Gate::new();
    spoken.said.store(1, Ordering::SeqCst);
    let stage = Stage::on(Props { journal, ..Props::new() }, PLANT).await;
    let other: NodeId = "node-2".parse().unwrap();
    begins_to_run(&stage, &other, Vocabulary::THIS).await;
    let _lease = let_in(&stage, "plc-7").await;
    let session = starts_at(&stage, other.clone()).await;
    let is_live = || stage.desk.with_state(|state| state.live.contains(&session));
    let passes = async || {
        stage.pass(LOOK);
        settle().await;
    };
    for _ in 0..32 {
        let wrote = Event::Checkpointed { node: other.clone(), checkpoint: String::new() };
        stage.props.journal.append(stage.desk.head(), &[wrote], stage.desk.clock().wall()).await.unwrap();
        passes().await;
        assert!(is_live() && stage.desk.silent_nodes(LOOK * 2).is_empty());
    }
    for _ in 0..28 {
        passes().await;
        assert!(is_live());
    }
    for _ in 0..5 {
        passes().await;
    }
    assert!(!is_live(), "it has fallen silent");
}

#[tokio::test]
async fn a_start_that_nobody_here_holds_is_presumed_ended() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    starts_at(&stage, node()).await;
    stage.pass(2 * MINUTE);
    settle().await;
    let live = stage.desk.with_state(|state| state.live.clone());
    assert_eq!(live.into_iter().collect::<Vec<_>>(), [lease.session()]);
}

#[tokio::test]
async fn a_node_that_starts_anew_runs_none_of_its_old_sessions() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let (restarted, _) = stage.props.desk().await.unwrap();
    restarted.start_node("1.0").await.unwrap();
    let ended = restarted.with_state(|state| state.sessions[&lease.session()].ended.clone());
    assert_eq!(ended.map(|(_, ending)| ending), Some(Ending::Crashed));
}

#[tokio::test]
async fn nothing_is_decided_by_the_time_before_a_run_is_in_the_journal() {
    let stage = Stage::new().await;
    stage.desk.start_node("1.0").await.unwrap();
    let request = stage.ask("plc-7", &[Action::Shell]).await.unwrap();
    stage.desk.stop_node().await;
    stage.pass(9 * 60 * MINUTE);
    let (never_began, _) = stage.props.desk().await.unwrap();
    settle().await;
    never_began.stop_node().await;
    let (restarted, _) = stage.props.desk().await.unwrap();
    settle().await;
    let told = events(&stage).await;
    assert!(!told.contains(&Event::Lapsed { request }), "nobody could answer it while the gate stood still");
    assert_eq!(told.iter().filter(|event| matches!(event, Event::NodeStopped { .. })).count(), 1, "who began stops");
    restarted.start_node("1.1").await.unwrap();
    settle().await;
    assert!(events(&stage).await.contains(&Event::Lapsed { request }));
}

#[tokio::test]
async fn what_nobody_answered_or_used_lapses() {
    let stage = Stage::new().await;
    let (pending, unused) =
        (stage.ask("plc-7", &[Action::Shell]).await.unwrap(), stage.grant("hmi-2", &[Action::Shell]).await);
    stage.pass(9 * 60 * MINUTE);
    settle().await;
    let events = events(&stage).await;
    for request in [pending, unused] {
        assert!(events.contains(&Event::Lapsed { request }));
    }
}

// Cuts

#[tokio::test]
async fn a_cut_ends_what_is_in_scope_and_keeps_it_out_until_reopened() {
    let scopes: [fn(&Stage, &Lease) -> Scope; 5] = [
        |_, lease| Scope::Session(lease.session()),
        |stage, _| Scope::Technician(stage.technician.person),
        |_, _| Scope::Vendor("acme".parse().unwrap()),
        |_, _| Scope::Zone("packaging".parse().unwrap()),
        |_, _| Scope::Plant,
    ];
    for scope in scopes {
        let stage = Stage::new().await;
        let lease = let_in(&stage, "plc-7").await;
        let scope = scope(&stage, &lease);
        let done = stage.desk.cut(CutBy::Operator(stage.lead.person), scope.clone()).await.unwrap();
        assert_eq!((done.sessions.as_slice(), done.kept), ([lease.session()].as_slice(), Kept::Journaled), "{scope:?}");
        let ending = Ending::Cut { cut: done.cut };
        assert_eq!(lease.orders().now().over, Some(ending.clone()), "{scope:?}");
        assert!(stage.props.floor.cut.lock().unwrap().contains(&(lease.session(), ending.clone())), "{scope:?}");
        stage.desk.end(lease, ending, None).await;
        assert_eq!(refusal(stage.admit("plc-7").await), Refusal::CutOff, "{scope:?}");
        let reopening = Reopening { cut: done.cut, reason: reason() };
        let verdict = stage.approval_of_reopening(&stage.other_lead, &reopening);
        stage.desk.reopen(reopening, verdict).await.unwrap();
        assert!(stage.admit("plc-7").await.is_ok(), "{scope:?}");
    }
}

#[tokio::test]
async fn a_cut_of_something_else_ends_nothing_here() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let elsewhere = [
        Scope::Session(mint::session(Timestamp::UNIX_EPOCH)),
        Scope::Technician(stage.lead.person),
        Scope::Vendor("other".parse().unwrap()),
        Scope::Zone("robots".parse().unwrap()),
    ];
    for scope in elsewhere {
        let done = stage.desk.cut(CutBy::Operator(stage.lead.person), scope).await.unwrap();
        assert!(done.sessions.is_empty());
    }
    assert_eq!(lease.orders().now().over, None);
    assert!(stage.admit("plc-7").await.is_ok());
}

#[tokio::test]
async fn only_operators_cut() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    for by in [stage.technician.person, stage.admin.person] {
        let refused = stage.desk.cut(CutBy::Operator(by), Scope::Plant).await;
        assert_eq!(refused, Err(Refusal::WrongKind("operators")));
    }
    assert_eq!(lease.orders().now().over, None);
}

#[tokio::test]
async fn a_cut_works_and_survives_a_restart_with_the_journal_gone() {
    for trouble in [Trouble::Gone, Trouble::FailsBefore] {
        let (mut stage, journal) = faulty_stage().await;
        let lease = let_in(&stage, "plc-7").await;
        journal.set(trouble);
        let done = stage.desk.cut(CutBy::Operator(stage.lead.person), Scope::Vendor("acme".parse().unwrap())).await;
        let done = done.unwrap();
        assert_eq!((done.sessions.as_slice(), done.kept), ([lease.session()].as_slice(), Kept::OnDisk));
        let ending = Ending::Cut { cut: done.cut };
        assert_eq!(lease.orders().now().over, Some(ending.clone()));
        let mut heard = Vec::new();
        while let Ok(alarm) = stage.alarms.try_recv() {
            heard.push(alarm);
        }
        assert!(heard.contains(&Alarm::CutNotJournaled { cut: done.cut, on_disk: true }));
        stage.desk.end(lease, ending, None).await;
        stage.desk.close().await;

        // The journal is back, without ever having heard of the cut: it stands, from the first moment.
        journal.set(Trouble::None);
        let (restarted, _) = stage.props.desk().await.unwrap();
        let who = stage.login(&stage.technician).await;
        let started = async || {
            let entries = restarted.entries(0).await.unwrap();
            entries.iter().filter(|entry| matches!(entry.event, Event::Started { .. })).count()
        };
        let before = started().await;
        assert_eq!(refusal(restarted.admit(&who, stage.wanted("plc-7")).await), Refusal::CutOff);
        assert_eq!(started().await, before, "not even for a moment");
        settle().await;
        assert!(restarted.with_state(|state| state.cuts.contains_key(&done.cut)), "{trouble:?}: journaled at last");
        assert!(restarted.status().unjournaled_cuts.is_empty());

        // Reopened, it stays so, although the line in the file is still there.
        let reopening = Reopening { cut: done.cut, reason: reason() };
        let stage = Stage { desk: restarted, ..stage };
        let verdict = stage.approval_of_reopening(&stage.lead, &reopening);
        stage.desk.reopen(reopening, verdict).await.unwrap();
        let (again, _) = stage.props.desk().await.unwrap();
        let who = stage.login(&stage.technician).await;
        assert!(again.admit(&who, stage.wanted("plc-7")).await.is_ok());
    }
}

#[tokio::test]
async fn a_cut_that_the_journal_did_not_take_is_journaled_when_it_answers_again() {
    let (stage, journal) = faulty_stage().await;
    journal.set(Trouble::FailsBefore);
    let cut = stage.desk.cut(CutBy::Operator(stage.lead.person), Scope::Plant).await.unwrap().cut;
    assert_eq!(stage.desk.status().unjournaled_cuts, [(cut, Scope::Plant)]);
    journal.set(Trouble::None);
    stage.pass(Duration::from_secs(10));
    settle().await;
    assert!(stage.desk.with_state(|state| state.cuts.contains_key(&cut)));
    assert!(stage.desk.status().unjournaled_cuts.is_empty());
}

#[tokio::test]
async fn a_cut_whose_answer_was_lost_and_that_was_reopened_meanwhile_does_not_cut_again() {
    let (stage, journal) = faulty_stage().await;
    stage.grant("plc-7", &[Action::Shell]).await;
    journal.set(Trouble::FailsBefore);
    let done = stage.desk.cut(CutBy::Operator(stage.lead.person), Scope::Plant).await.unwrap();
    assert_eq!((done.kept, stage.desk.status().late), (Kept::OnDisk, 1));
    // It had arrived, and another node reopened it, before this one reads of either.
    let [kept] = &stage.props.cuts().read().unwrap()[..] else { panic!("it is on the disk") };
    let arrived = Event::Cut { cut: kept.cut, scope: kept.scope.clone(), by: kept.by.clone(), at: kept.at };
    let reopening = Reopening { cut: done.cut, reason: reason() };
    let verdict = stage.approval_of_reopening(&stage.other_lead, &reopening);
    let both = [arrived, Event::Reopened { reopening, verdict }];
    journal.inner.append(stage.desk.head(), &both, stage.desk.clock().wall()).await.unwrap();
    journal.set(Trouble::None);
    stage.pass(Duration::from_secs(10));
    settle().await;
    let status = stage.desk.status();
    assert_eq!((status.late, status.unjournaled_cuts), (0, Vec::new()));
    assert_eq!(events(&stage).await.iter().filter(|event| matches!(event, Event::Cut { .. })).count(), 1);
    assert!(stage.admit("plc-7").await.is_ok());
}

#[tokio::test]
async fn a_cut_whose_line_is_removed_before_the_journal_has_it_stands_and_is_journaled() {
    let (stage, journal) = faulty_stage().await;
    let path = stage.props.scratch.path().join("cuts");
    journal.set(Trouble::FailsBefore);
    let cut = async || {
        let done = stage.desk.cut(CutBy::Operator(stage.lead.person), Scope::Plant).await.unwrap();
        assert_eq!(done.kept, Kept::OnDisk);
        done.cut
    };
    let first = cut().await;
    std::fs::remove_file(&path).unwrap();
    settle().await;
    let standing = || stage.desk.status().unjournaled_cuts;
    assert_eq!(standing(), [(first, Scope::Plant)]);
    // The next one makes the file anew.
    let second = cut().await;
    let kept = stage.props.cuts().read().unwrap();
    assert_eq!(kept.iter().map(|kept| kept.cut).collect::<Vec<_>>(), [second]);
    std::fs::remove_file(&path).unwrap();
    journal.set(Trouble::None);
    stage.pass(Duration::from_secs(10));
    settle().await;
    for cut in [first, second] {
        assert!(stage.desk.with_state(|state| state.cuts.contains_key(&cut)));
    }
    assert!(standing().is_empty());
}

#[tokio::test]
async fn a_cut_in_a_file_that_was_made_anew_and_is_as_long_acts_too() {
    let stage = Stage::new().await;
    let path = stage.props.scratch.path().join("cuts");
    let at = stage.desk.clock().wall();
    let write = || {
        let cut = mint::cut(at);
        stage.props.cuts().add(&approver::cuts::KeptCut { cut, scope: Scope::Plant, by: CutBy::Local, at }).unwrap();
        cut
    };
    let acts = async |cut| {
        let acts = async || {
            while !stage.desk.with_state(|state| state.cuts.contains_key(&cut)) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), acts()).await.expect("it acts");
    };
    let first = write();
    let length = std::fs::metadata(&path).unwrap().len();
    acts(first).await;
    std::fs::remove_file(&path).unwrap();
    let second = write();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), length);
    acts(second).await;
}

#[tokio::test]
async fn a_cut_stands_though_whoever_made_it_is_out_before_it_is_journaled() {
    let (stage, journal) = faulty_stage().await;
    journal.set(Trouble::FailsBefore);
    let cut = stage.desk.cut(CutBy::Operator(stage.lead.person), Scope::Plant).await.unwrap().cut;
    stage.desk.close().await;
    journal.set(Trouble::None);
    let out = Event::Disabled { person: stage.lead.person, by: stage.admin.person };
    let (head, at) = (journal.head().await.unwrap(), stage.desk.clock().wall());
    journal.append(head, &[out], at).await.unwrap();
    let (restarted, _) = stage.props.desk().await.unwrap();
    settle().await;
    assert!(restarted.with_state(|state| state.cuts.contains_key(&cut)));
    let cuts = restarted.entries(0).await.unwrap().into_iter().filter_map(|entry| match entry.event {
        Event::Cut { by, .. } => Some(by),
        _ => None,
    });
    assert_eq!(cuts.collect::<Vec<_>>(), [CutBy::Local]);
}

#[tokio::test]
async fn what_others_appended_acts_while_the_journal_is_asked_how_far_it_goes() {
    let copied = Arc::new(Copied { inner: MemoryJournal::new(), answers: tokio::sync::watch::Sender::new(true) });
    let stage = Stage::on(Props { journal: copied.clone(), ..Props::new() }, PLANT).await;
    let lease = let_in(&stage, "plc-7").await;
    copied.answers.send_replace(false);
    let another = |event: Event| {
        let (copied, at) = (&copied, stage.desk.clock().wall());
        async move { copied.inner.append(copied.inner.head().await.unwrap(), &[event], at).await.unwrap() }
    };
    another(Event::NodeStopped { node: "node-2".parse().unwrap() }).await;
    settle().await;
    // It asks by now, and is not answered.
    let (cut, at) = (mint::cut(Timestamp::UNIX_EPOCH), stage.desk.clock().wall());
    another(Event::Cut { cut, scope: Scope::Plant, by: CutBy::Operator(stage.lead.person), at }).await;
    settle().await;
    assert_eq!(lease.orders().over().now_or_never(), Some(Ending::Cut { cut }));
    copied.answers.send_replace(true);
    settle().await;
    assert_eq!(stage.desk.head(), copied.inner.head().await.unwrap());
}

#[tokio::test]
async fn a_cut_reaches_a_session_that_is_over_and_does_not_end() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    stage.pass(60 * MINUTE);
    assert_eq!(lease.orders().over().await, Ending::Expired);
    let done = stage.desk.cut(CutBy::Operator(stage.lead.person), Scope::Plant).await.unwrap();
    let stopped = (lease.session(), Ending::Cut { cut: done.cut });
    assert!(stage.props.floor.cut.lock().unwrap().contains(&stopped));
}

#[tokio::test]
async fn a_session_whose_end_another_program_journaled_is_over_here() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let ended = Event::Ended { session: lease.session(), ending: Ending::Presumed, seal: None };
    stage.props.journal.append(stage.desk.head(), &[ended], stage.desk.clock().wall()).await.unwrap();
    assert_eq!(lease.orders().over().await, Ending::Presumed);
}

#[test]
fn a_half_written_line_in_the_file_of_cuts_hides_none_after_it_and_an_endless_file_is_not_read() {
    let props = Props::new();
    let (cut, at) = (mint::cut(Timestamp::UNIX_EPOCH), Timestamp::UNIX_EPOCH);
    let kept = approver::cuts::KeptCut { cut, scope: Scope::Zone("robots".parse().unwrap()), by: CutBy::Local, at };
    let path = props.scratch.path().join("cuts");
    std::fs::write(&path, br#"{"v":1,"cut":"c_01"#).unwrap();
    props.cuts().add(&kept).unwrap();
    let read = props.cuts().read().unwrap();
    assert_eq!(read.iter().map(|kept| kept.scope.clone()).collect::<Vec<_>>(), [Scope::Plant, kept.scope]);
    std::fs::File::options().write(true).open(&path).unwrap().set_len((16 << 20) + 1).unwrap();
    assert!(props.cuts().read().is_err());
}

#[tokio::test]
async fn a_cut_acts_while_the_journal_hangs() {
    let (stage, journal) = faulty_stage().await;
    let lease = let_in(&stage, "plc-7").await;
    journal.set(Trouble::Hangs);
    let cutting = tokio::spawn({
        let (desk, by) = (stage.desk.clone(), CutBy::Operator(stage.lead.person));
        async move { desk.cut(by, Scope::Plant).await }
    });
    let mut orders = lease.orders();
    let over = tokio::time::timeout(Duration::from_millis(500), orders.over()).await.unwrap();
    assert!(matches!(over, Ending::Cut { .. }));
    assert_eq!(cutting.await.unwrap().unwrap().kept, Kept::OnDisk);
}

#[tokio::test]
async fn a_cut_that_comes_while_somebody_is_being_admitted_keeps_them_out() {
    let (gate, journal) = Gate::new();
    let props = Props { journal, ..Props::new() };
    let stage = Stage::on(props, PLANT).await;
    stage.grant("plc-7", &[Action::Shell]).await;
    let who = stage.login(&stage.technician).await;
    gate.close();
    let ask = stage.wanted("plc-7");
    let session = ask.session;
    let admitting = stage.desk.admit(&who, ask);
    let cutting = async {
        settle().await;
        let cut = stage.desk.cut(CutBy::Operator(stage.lead.person), Scope::Plant);
        let mut cut = std::pin::pin!(cut);
        // It has acted as soon as it waits for the journal.
        assert!(futures::poll!(cut.as_mut()).is_pending());
        gate.open();
        cut.await.unwrap()
    };
    let (admitted, cut) = tokio::join!(admitting, cutting);
    assert_eq!(refusal(admitted), Refusal::CutOff);
    settle().await;
    let ended = Event::Ended { session, ending: Ending::Cut { cut: cut.cut }, seal: None };
    assert!(events(&stage).await.contains(&ended));
}

#[tokio::test]
async fn what_takes_access_away_is_journaled_before_all_decisions_that_wait_in_line() {
    let (gate, journal) = Gate::new();
    let stage = Stage::on(Props { journal, ..Props::new() }, PLANT).await;
    let lease = let_in(&stage, "plc-7").await;
    let (session, by) = (lease.session(), stage.lead.person);
    let freeze = async { stage.desk.freeze(session, by).await.map(|_| ()).unwrap() };
    let disconnect = async { stage.desk.disconnect(session, by).await.map(|_| ()).unwrap() };
    let cut = async { stage.desk.cut(CutBy::Operator(by), Scope::Session(session)).await.map(|_| ()).unwrap() };
    for mut takes_away in [freeze.boxed(), disconnect.boxed(), cut.boxed()] {
        let before = events(&stage).await.len();
        gate.close();
        let line = futures::future::join_all((0..4).map(|_| stage.desk.act(Command::Thaw { session, by })));
        let comes_last = async {
            settle().await;
            assert!(futures::poll!(&mut takes_away).is_pending());
            settle().await;
            gate.open();
            takes_away.await;
        };
        let (thawed, ()) = tokio::join!(line, comes_last);
        assert!(thawed.iter().all(Result::is_ok));
        let written = events(&stage).await.split_off(before);
        // Whose turn it was is not interrupted.
        let place = written.iter().position(|event| !matches!(event, Event::Thawed { .. }));
        assert_eq!((place, written.len()), (Some(1), 5), "{written:?}");
    }
}

#[tokio::test]
async fn a_cut_by_another_node_ends_sessions_here() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let (cut, at) = (mint::cut(Timestamp::UNIX_EPOCH), stage.desk.clock().wall());
    let event = Event::Cut { cut, scope: Scope::Plant, by: CutBy::Operator(stage.lead.person), at };
    stage.props.journal.append(stage.desk.head(), &[event], at).await.unwrap();
    assert_eq!(lease.orders().over().await, Ending::Cut { cut });
    assert_eq!(*stage.props.floor.cut.lock().unwrap(), [(lease.session(), Ending::Cut { cut })]);
}

#[tokio::test]
async fn a_cut_written_down_by_another_program_on_the_machine_acts_within_a_second() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let (cut, at) = (mint::cut(Timestamp::UNIX_EPOCH), stage.desk.clock().wall());
    stage.props.cuts().add(&approver::cuts::KeptCut { cut, scope: Scope::Plant, by: CutBy::Local, at }).unwrap();
    let mut orders = lease.orders();
    let over = tokio::time::timeout(Duration::from_secs(1), orders.over()).await.unwrap();
    assert_eq!(over, Ending::Cut { cut });
    settle().await;
    assert!(stage.desk.with_state(|state| state.cuts.contains_key(&cut)));
}

#[tokio::test]
async fn a_line_of_the_file_of_cuts_that_was_altered_cuts_the_plant_until_reopened() {
    let stage = Stage::new().await;
    stage.grant("plc-7", &[Action::Shell]).await;
    let (cut, at) = (mint::cut(Timestamp::UNIX_EPOCH), stage.desk.clock().wall());
    let narrow = approver::cuts::KeptCut { cut, scope: Scope::Zone("robots".parse().unwrap()), by: CutBy::Local, at };
    stage.props.cuts().add(&narrow).unwrap();
    let path = stage.props.scratch.path().join("cuts");
    let altered = std::fs::read_to_string(&path).unwrap().replace("robots", "safety");
    std::fs::write(&path, altered).unwrap();
    let (restarted, _) = stage.props.desk().await.unwrap();
    settle().await;
    let who = stage.login(&stage.technician).await;
    assert_eq!(refusal(restarted.admit(&who, stage.wanted("plc-7")).await), Refusal::CutOff);
    let cuts: Vec<_> = restarted.with_state(|state| state.standing_cuts().map(|(cut, _)| cut).collect());
    let stage = Stage { desk: restarted, ..stage };
    for cut in cuts {
        let reopening = Reopening { cut, reason: reason() };
        let verdict = stage.approval_of_reopening(&stage.lead, &reopening);
        stage.desk.reopen(reopening, verdict).await.unwrap();
    }
    let (again, _) = stage.props.desk().await.unwrap();
    let who = stage.login(&stage.technician).await;
    assert!(again.admit(&who, stage.wanted("plc-7")).await.is_ok());
}

// Freezing and watching

#[tokio::test]
async fn a_freeze_acts_before_it_is_journaled_and_a_thaw_after() {
    let (stage, journal) = faulty_stage().await;
    let lease = let_in(&stage, "plc-7").await;
    let (session, by) = (lease.session(), stage.lead.person);
    journal.set(Trouble::FailsBefore);
    assert_eq!(stage.desk.freeze(session, by).await, Ok(false));
    assert_eq!(lease.orders().now().frozen, Some(Frozen::ByOperator));
    assert_eq!(*stage.props.floor.frozen.lock().unwrap(), [(session, true)]);
    assert!(stage.desk.thaw(session, by).await.is_err());
    assert!(lease.orders().now().frozen.is_some());
    journal.set(Trouble::None);
    assert_eq!(stage.desk.freeze(session, by).await, Ok(true));
    stage.desk.thaw(session, by).await.unwrap();
    assert_eq!(lease.orders().now().frozen, None);
    let froze = events(&stage).await.into_iter().filter(|event| *event == Event::Frozen { session, by });
    assert_eq!(froze.count(), 2, "the first, too, once the journal took it");
    let refused = stage.desk.freeze(session, stage.technician.person).await;
    assert_eq!(refused, Err(Refusal::WrongKind("operators").into()));
}

#[tokio::test]
async fn what_an_operator_does_at_another_node_to_a_session_of_this_one_is_done() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let (session, by) = (lease.session(), stage.lead.person);
    let elsewhere = async |event: Event| {
        stage.props.journal.append(stage.desk.head(), &[event], stage.desk.clock().wall()).await.unwrap();
        settle().await;
    };
    elsewhere(Event::Frozen { session, by }).await;
    assert_eq!(lease.orders().now().frozen, Some(Frozen::ByOperator));
    elsewhere(Event::Thawed { session, by }).await;
    assert_eq!(lease.orders().now().frozen, None);
    assert_eq!(stage.desk.freeze(session, by).await, Ok(true));
    elsewhere(Event::Thawed { session, by }).await;
    assert_eq!(lease.orders().now().frozen, None, "stopped here, and let go on there");
    elsewhere(Event::Disconnected { session, by }).await;
    assert_eq!(*stage.props.floor.disconnected.lock().unwrap(), [session]);
    assert_eq!(stage.desk.disconnect(session, by).await, Ok((Some(1), true)));
    elsewhere(Event::Disconnected { session, by }).await;
    assert_eq!(*stage.props.floor.disconnected.lock().unwrap(), [session; 3], "once for each");
}

#[tokio::test]
async fn what_was_disconnected_here_is_not_once_more_when_the_journal_is_read_back() {
    let (stage, journal) = faulty_stage().await;
    let lease = let_in(&stage, "plc-7").await;
    journal.set_for(Trouble::FailsAfter, 1);
    assert_eq!(stage.desk.disconnect(lease.session(), stage.lead.person).await, Ok((Some(1), true)));
    settle().await;
    assert_eq!(*stage.props.floor.disconnected.lock().unwrap(), [lease.session()]);
}

#[tokio::test]
async fn what_another_node_let_go_on_stays_stopped_where_it_was_stopped_since() {
    let (stage, journal) = faulty_stage().await;
    let lease = let_in(&stage, "plc-7").await;
    let (session, by) = (lease.session(), stage.lead.person);
    assert_eq!(stage.desk.freeze(session, by).await, Ok(true));
    let (head, at) = (stage.desk.head(), stage.desk.clock().wall());
    journal.set(Trouble::Gone);
    assert_eq!(stage.desk.freeze(session, by).await, Ok(false));
    // Said elsewhere before that, and read here after it.
    journal.set(Trouble::None);
    stage.props.journal.append(head, &[Event::Thawed { session, by }], at).await.unwrap();
    settle().await;
    assert_eq!(lease.orders().now().frozen, Some(Frozen::ByOperator));
}

#[tokio::test]
async fn a_session_of_another_node_is_stopped_and_its_connections_are_closed_by_way_of_the_journal() {
    let (stage, journal) = faulty_stage().await;
    let _lease = let_in(&stage, "plc-7").await;
    let session = starts_at(&stage, "node-2".parse().unwrap()).await;
    let by = stage.lead.person;
    assert_eq!(stage.desk.freeze(session, by).await, Ok(true));
    assert_eq!(stage.desk.disconnect(session, by).await, Ok((None, true)));
    stage.desk.thaw(session, by).await.unwrap();
    let [.., frozen, disconnected, thawed] = &events(&stage).await[..] else { panic!("three and more") };
    assert_eq!(
        [frozen, disconnected, thawed],
        [&Event::Frozen { session, by }, &Event::Disconnected { session, by }, &Event::Thawed { session, by }]
    );
    assert!(stage.props.floor.disconnected.lock().unwrap().is_empty());
    // What cannot reach that node has not happened.
    journal.set(Trouble::FailsBefore);
    assert!(stage.desk.freeze(session, by).await.is_err() && stage.desk.disconnect(session, by).await.is_err());
}

/// Who began and ended to escort, as the journal has it.
async fn of_escorts(stage: &Stage) -> Vec<Event> {
    settle().await;
    let is_one = |event: &Event| matches!(event, Event::Escorted { .. } | Event::EscortEnded { .. });
    events(stage).await.into_iter().filter(is_one).collect()
}

const TAP: Duration = Duration::from_secs(300);

#[tokio::test]
async fn where_an_escort_is_required_input_waits_until_somebody_who_watches_says_that_they_are_there() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "robot-1").await;
    let (session, by) = (lease.session(), stage.lead.person);
    let frozen = || lease.orders().now().frozen;
    assert_eq!(frozen(), Some(Frozen::NobodyWatches));
    assert_eq!(stage.desk.escort(session, by).await, Err(Refusal::NotWatching.into()));
    let one = stage.desk.watch(session, by).await.unwrap();
    assert_eq!(frozen(), Some(Frozen::NobodyWatches), "an open window proves nobody");
    let until = stage.desk.escort(session, by).await.unwrap();
    assert_eq!(until, stage.desk.clock().boot().after(TAP));
    assert_eq!((frozen(), lease.orders().now().escorts), (None, [(by, until)].into()));
    let other = stage.desk.watch(session, by).await.unwrap();
    drop(one);
    assert_eq!(frozen(), Some(Frozen::NobodyWatches), "nobody knows at which window it was said");
    stage.desk.escort(session, by).await.unwrap();
    assert_eq!(frozen(), None);
    drop(other);
    assert_eq!(frozen(), Some(Frozen::NobodyWatches));
    let begun = Event::Escorted { session, by };
    let ended = Event::EscortEnded { session, by, why: EscortEnd::Left };
    assert_eq!(of_escorts(&stage).await, [begun.clone(), ended.clone(), begun, ended]);
    let watched = |event: &&Event| matches!(event, Event::Watched { .. } | Event::WatchEnded { .. });
    assert_eq!(events(&stage).await.iter().filter(watched).count(), 2);
    let again = stage.desk.watch(session, by).await.unwrap();
    assert_eq!(frozen(), Some(Frozen::NobodyWatches), "who comes back says it again");
    drop(again);
    let technician = stage.technician.person;
    for refused in [
        stage.desk.watch(session, technician).await.map(|_| ()),
        stage.desk.escort(session, technician).await.map(|_| ()),
    ] {
        assert!(matches!(refused, Err(Rejected::Refusal(Refusal::WrongKind(_)))), "{refused:?}");
    }
}

#[tokio::test]
async fn an_escort_who_gives_no_word_lapses_and_the_next_word_lets_input_go_on() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "robot-1").await;
    let (session, by) = (lease.session(), stage.lead.person);
    let mut orders = lease.orders();
    let _watching = stage.desk.watch(session, by).await.unwrap();
    stage.desk.escort(session, by).await.unwrap();
    for _ in 0..10 {
        stage.pass(TAP - Duration::from_secs(1));
        stage.desk.escort(session, by).await.unwrap();
    }
    assert_eq!(orders.now().frozen, None);
    let begun = Event::Escorted { session, by };
    assert_eq!(of_escorts(&stage).await, std::slice::from_ref(&begun), "a word that comes in time is no entry");
    orders.now();
    stage.pass(TAP - Duration::from_secs(1));
    settle().await;
    assert_eq!(orders.now().frozen, None);
    stage.pass(Duration::from_secs(1));
    while orders.now().frozen.is_none() {
        orders.changed().await;
    }
    assert_eq!(orders.now().frozen, Some(Frozen::NobodyWatches));
    let lapsed = Event::EscortEnded { session, by, why: EscortEnd::Lapsed };
    assert_eq!(of_escorts(&stage).await, [begun.clone(), lapsed.clone()]);
    stage.desk.escort(session, by).await.unwrap();
    assert_eq!(orders.now().frozen, None);
    assert_eq!(of_escorts(&stage).await, [begun.clone(), lapsed, begun]);
}

#[tokio::test]
async fn an_escort_is_handed_over_without_a_moment_in_which_input_waits() {
    let stage = Stage::new().await;
    let second = another_lead(&stage, "ann", None).await;
    let lease = let_in(&stage, "robot-1").await;
    let session = lease.session();
    let first = stage.desk.watch(session, stage.lead.person).await.unwrap();
    stage.desk.escort(session, stage.lead.person).await.unwrap();
    let freezes = stage.props.floor.frozen.lock().unwrap().len();
    let _next = stage.desk.watch(session, second.person).await.unwrap();
    stage.desk.escort(session, second.person).await.unwrap();
    drop(first);
    settle().await;
    assert_eq!(lease.orders().now().frozen, None);
    assert_eq!(stage.props.floor.frozen.lock().unwrap().len(), freezes, "input was never stopped in between");
    assert_eq!(lease.orders().now().escorts.into_keys().collect::<Vec<_>>(), [second.person]);
    stage.desk.act(Command::Disable { person: second.person, by: stage.admin.person }).await.unwrap();
    assert_eq!(lease.orders().now().frozen, Some(Frozen::NobodyWatches), "who is put out is nobody's escort");
}

#[tokio::test]
async fn where_no_escort_is_demanded_nobody_is_one() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let _watching = stage.desk.watch(lease.session(), stage.lead.person).await.unwrap();
    let refused = stage.desk.escort(lease.session(), stage.lead.person).await;
    assert_eq!(refused, Err(Refusal::NoEscortWanted.into()));
}

#[tokio::test]
async fn an_operator_sees_without_the_journal_and_no_escorts_duty_is_met_by_it() {
    let (stage, journal) = faulty_stage().await;
    let lease = let_in(&stage, "robot-1").await;
    let (session, by) = (lease.session(), stage.lead.person);
    journal.set(Trouble::FailsBefore);
    let watching = stage.desk.watch(session, by).await.unwrap();
    assert_eq!(watching.watch.screen, "screen");
    for somebody in [stage.technician.person, stage.admin.person] {
        let refused = stage.desk.watch(session, somebody).await;
        assert!(matches!(refused, Err(Rejected::Refusal(Refusal::WrongKind(_)))), "{refused:?}");
    }
    assert!(matches!(stage.desk.escort(session, by).await, Err(Rejected::Fault(_))));
    assert_eq!(lease.orders().now().frozen, Some(Frozen::NobodyWatches));
    journal.set(Trouble::None);
    stage.desk.escort(session, by).await.unwrap();
    assert_eq!(lease.orders().now().frozen, None);
    journal.set(Trouble::FailsBefore);
    stage.pass(TAP / 2);
    stage.desk.escort(session, by).await.unwrap();
    drop(watching);
    assert_eq!(lease.orders().now().frozen, Some(Frozen::NobodyWatches), "taking away waits for no journal");
    journal.set(Trouble::None);
    let _again = stage.desk.watch(session, by).await.unwrap();
    stage.desk.escort(session, by).await.unwrap();
    let (begun, ended) = (Event::Escorted { session, by }, Event::EscortEnded { session, by, why: EscortEnd::Left });
    assert_eq!(of_escorts(&stage).await, [begun.clone(), ended, begun], "each in its order");
    assert_eq!(lease.orders().now().frozen, None);
}

// What is signed

/// A stage on which the packaging line takes two shift leads.
async fn stage_for_two() -> Stage {
    let two = PLANT.replacen(
        r#"approvals = [{ from = "shift-lead", count = 1 }]"#,
        r#"approvals = [{ from = "shift-lead", count = 2 }]"#,
        1,
    );
    Stage::on(Props::new(), &two).await
}

/// An operator in the group of the shift leads, for whom it was vouched.
async fn another_lead(stage: &Stage, name: &str, vendor: Option<&str>) -> Actor {
    let kind = Kind::Operator { vendor: vendor.map(|vendor| vendor.parse().unwrap()) };
    let invited = stage.people.invite(person(name, kind, &["shift-lead"]), Seconds(86_400), stage.admin.person).await;
    let actor = enrol(&stage.people, &invited.unwrap().code).await;
    for signer in [&stage.admin, &stage.lead] {
        let certificate = stage.certificate(signer, actor.person);
        stage.desk.act(Command::Certify { certificate }).await.unwrap();
    }
    actor
}

#[tokio::test]
async fn nobody_approves_their_own() {
    let stage = stage_for_two().await;
    let of_acme = another_lead(&stage, "alma", Some("acme")).await;
    let leaver = another_lead(&stage, "vera", None).await;
    let id = stage.ask("plc-7", &[Action::Shell]).await.unwrap();
    let vote = |verdict| stage.desk.act(Command::Vote { verdict });
    assert_eq!(refusal(vote(stage.approval(&stage.technician, id)).await), Refusal::WrongKind("operators"));
    assert_eq!(refusal(vote(stage.approval(&of_acme, id)).await), Refusal::OwnVendor);
    vote(stage.approval(&leaver, id)).await.unwrap();
    // The first of the two is put out, so the second yes is one of one.
    stage.desk.act(Command::Disable { person: leaver.person, by: stage.admin.person }).await.unwrap();
    vote(stage.approval(&stage.lead, id)).await.unwrap();
    let standing = || stage.desk.with_state(|state| state.cases[&id].standing);
    assert_eq!(standing(), RequestStanding::Pending, "the last vote re-reads who counts");
    vote(stage.approval(&stage.other_lead, id)).await.unwrap();
    assert_eq!(standing(), RequestStanding::Granted);
}

#[tokio::test]
async fn one_vote_each_and_one_no_ends_it() {
    let stage = stage_for_two().await;
    let id = stage.ask("plc-7", &[Action::Shell]).await.unwrap();
    let vote = |verdict| stage.desk.act(Command::Vote { verdict });
    // A double click, and two windows: the second has a nonce of its own.
    let (one, other) = (stage.approval(&stage.lead, id), stage.approval(&stage.lead, id));
    let (first, second, third) = tokio::join!(vote(one.clone()), vote(one), vote(other));
    assert_eq!([first.is_ok(), second.is_ok(), third.is_ok()].iter().filter(|taken| **taken).count(), 1);
    assert_eq!(refusal(vote(stage.approval(&stage.lead, id)).await), Refusal::AlreadyVoted);
    let mut no = stage.approval(&stage.other_lead, id).statement;
    no.answer = Answer::No { reason: reason() };
    let digest = no.digest();
    vote(sign(&stage.other_lead, Namespace::Approval, no, digest)).await.unwrap();
    assert_eq!(stage.desk.with_state(|state| state.cases[&id].standing), RequestStanding::Denied);
    let late = another_lead(&stage, "vera", None).await;
    assert!(vote(stage.approval(&late, id)).await.is_err(), "a no is not outvoted");
    assert!(stage.admit("plc-7").await.is_err());
}

#[tokio::test]
async fn approval_of_another_digest_is_refused() {
    let stage = stage_for_two().await;
    let id = stage.ask("plc-7", &[Action::Shell]).await.unwrap();
    let vote = |verdict| stage.desk.act(Command::Vote { verdict });
    let before_narrowing = stage.approval(&stage.other_lead, id);
    let narrowing = Narrowing { duration: Some(Seconds(600)), ..Narrowing::default() };
    let mut narrowed = stage.approval(&stage.lead, id).statement;
    let request = stage.desk.with_state(|state| state.cases[&id].request.clone());
    narrowed.digest = request.narrowed(&narrowing).digest(&deployment());
    narrowed.answer = Answer::Yes { narrowing };
    let digest = narrowed.digest();
    vote(sign(&stage.lead, Namespace::Approval, narrowed, digest)).await.unwrap();
    assert_eq!(refusal(vote(before_narrowing).await), Refusal::OtherDigest);
    // The digest as it stands beside a narrowing that would change it: what was signed is not what would count.
    let mut shorter = stage.approval(&stage.other_lead, id).statement;
    shorter.answer = Answer::Yes { narrowing: Narrowing { duration: Some(Seconds(300)), ..Narrowing::default() } };
    let digest = shorter.digest();
    assert_eq!(
        refusal(vote(sign(&stage.other_lead, Namespace::Approval, shorter, digest)).await),
        Refusal::OtherDigest
    );
    vote(stage.approval(&stage.other_lead, id)).await.unwrap();
    assert_eq!(stage.desk.with_state(|state| state.cases[&id].request.duration), Seconds(600));
}

#[tokio::test]
async fn each_thing_that_makes_a_signature_another_ones_is_refused() {
    let stage = Stage::new().await;
    let id = stage.ask("plc-7", &[Action::Shell]).await.unwrap();
    let good = stage.approval(&stage.lead, id);
    let vote = |verdict| stage.desk.act(Command::Vote { verdict });
    let statement = || good.statement.clone();

    let digest = statement().digest();
    let for_login = sign(&stage.lead, Namespace::Login, statement(), digest);
    assert!(matches!(vote(for_login).await, Err(Rejected::Unsigned(Unsigned::Signature(_)))));

    let mut altered = good.clone();
    altered.statement.nonce = mint::nonce();
    assert!(matches!(vote(altered).await, Err(Rejected::Unsigned(Unsigned::Signature(_)))));

    let mut forked = statement();
    forked.journal.root = Digest::of_bytes(b"another journal");
    let digest = forked.digest();
    let forked = sign(&stage.lead, Namespace::Approval, forked, digest);
    assert_eq!(refusal(vote(forked).await), Refusal::OtherJournal);

    let mut ahead = statement();
    ahead.journal.size += 1;
    let digest = ahead.digest();
    assert_eq!(refusal(vote(sign(&stage.lead, Namespace::Approval, ahead, digest)).await), Refusal::OtherJournal);

    let stranger = Actor {
        person: stage.lead.person,
        name: String::new(),
        key: new_key(),
        totp: certs::totp::TotpSecret::generate(),
    };
    let digest = statement().digest();
    let by_stranger = sign(&stranger, Namespace::Approval, statement(), digest);
    assert_eq!(refusal(vote(by_stranger).await), Refusal::NotYourKey);

    let mut no_key = good.clone();
    no_key.key = SshKey("ssh-ed25519 nonsense".into());
    assert_eq!(vote(no_key).await, Err(Unsigned::NoKey.into()));

    assert!(vote(good.clone()).await.is_ok());
    assert!(vote(good.clone()).await.is_err(), "nobody votes twice");
}

#[tokio::test]
async fn a_close_out_that_nobody_signed_so_is_refused() {
    let stage = Stage::new().await;
    let lease = let_in(&stage, "plc-7").await;
    let request = lease.grant();
    stage.desk.end(lease, Ending::Left, None).await;
    let account = Account { done: reason(), changed: reason(), left: reason() };
    let close_out = stage.desk.with_state(|state| state.close_out_of(request, account)).unwrap();
    let good = stage.verdict(&stage.lead, Matter::CloseOut(request), close_out.digest(&deployment()));
    let act = |verdict| stage.desk.act(Command::CloseOut { close_out, verdict });

    let mut forged = good.clone();
    forged.signature = "x".into();
    assert!(matches!(act(forged).await, Err(Rejected::Unsigned(Unsigned::Signature(_)))));

    let mut altered = good.clone();
    altered.statement.nonce = mint::nonce();
    assert!(matches!(act(altered).await, Err(Rejected::Unsigned(Unsigned::Signature(_)))));

    let mut forked = good.statement.clone();
    forked.journal.root = Digest::of_bytes(b"another journal");
    let digest = forked.digest();
    let forked = sign(&stage.lead, Namespace::Approval, forked, digest);
    assert_eq!(refusal(act(forked).await), Refusal::OtherJournal);

    act(good).await.unwrap();
    assert_eq!(stage.desk.with_state(|state| state.cases[&request].standing), RequestStanding::ClosedOut);
}

#[tokio::test]
async fn what_a_security_key_signed_that_nobody_touched_counts_for_nothing() {
    let stage = Stage::new().await;
    let (vera, kind) = (SecurityKey::new(), Kind::Operator { vendor: None });
    let invited = stage.people.invite(person("vera", kind, &["shift-lead"]), Seconds(86_400), stage.admin.person).await;
    let person = stage.people.enrol(&invited.unwrap().code, &vera.public()).await.unwrap().person;
    for signer in [&stage.admin, &stage.lead] {
        let certificate = stage.certificate(signer, person);
        stage.desk.act(Command::Certify { certificate }).await.unwrap();
    }
    let not_touched = || Err(Rejected::Unsigned(Unsigned::NotTouched));

    let id = stage.ask("plc-7", &[Action::Shell]).await.unwrap();
    let approval = |is_touched| {
        let statement = VerdictStatement { operator: person, ..stage.approval(&stage.lead, id).statement };
        let digest = statement.digest();
        Command::Vote { verdict: vera.sign(is_touched, Namespace::Approval, statement, digest) }
    };
    assert_eq!(stage.desk.act(approval(false)).await, not_touched());
    assert_eq!(stage.desk.with_state(|state| state.cases[&id].standing), RequestStanding::Pending);
    stage.desk.act(approval(true)).await.unwrap();
    assert_eq!(stage.desk.with_state(|state| state.cases[&id].standing), RequestStanding::Granted);

    let cut = stage.desk.cut(CutBy::Operator(person), Scope::Plant).await.unwrap().cut;
    let reopening = Reopening { cut, reason: reason() };
    let statement = stage.approval_of_reopening(&stage.lead, &reopening).statement;
    let statement = VerdictStatement { operator: person, ..statement };
    let digest = statement.digest();
    let reopened = vera.sign(false, Namespace::Approval, statement, digest);
    assert_eq!(stage.desk.reopen(reopening, reopened).await.map(drop), not_touched().map(drop));

    let text = format!("{PLANT}# changed\n");
    let plant = Digest::of_bytes(text.as_bytes());
    stage.desk.act(Command::ProposePlant { text, by: stage.admin.person }).await.unwrap();
    let statement = PlantStatement { signer: person, ..stage.plant_signature(&stage.lead, plant).statement };
    let digest = statement.digest();
    let signed = vera.sign(false, Namespace::Plant, statement, digest);
    assert_eq!(stage.desk.act(Command::SignPlant { signed }).await, not_touched());

    let statement =
        CertifyStatement { signer: person, ..stage.certificate(&stage.lead, stage.other_lead.person).statement };
    let digest = statement.digest();
    let certificate = vera.sign(false, Namespace::Certify, statement, digest);
    assert_eq!(stage.desk.act(Command::Certify { certificate }).await, not_touched());
}

#[tokio::test]
async fn a_statement_signed_over_an_earlier_head_counts_and_after_a_restart_too() {
    let stage = Stage::new().await;
    let id = stage.ask("plc-7", &[Action::Shell]).await.unwrap();
    let verdict = stage.approval(&stage.lead, id);
    stage.ask("hmi-2", &[Action::Shell]).await.unwrap();
    let (restarted, _) = stage.props.desk().await.unwrap();
    assert!(restarted.act(Command::Vote { verdict }).await.is_ok());
}

#[tokio::test]
async fn a_plant_file_and_a_persons_key_take_the_signatures_they_need() {
    let stage = Stage::new().await;
    let text = format!("{PLANT}# changed\n");
    stage.desk.act(Command::ProposePlant { text: text.clone(), by: stage.admin.person }).await.unwrap();
    let digest = Digest::of_bytes(text.as_bytes());
    let in_force = || stage.desk.with_state(|state| state.plant.as_ref().unwrap().digest());
    for (signer, adopts) in [(&stage.admin, false), (&stage.lead, true)] {
        let signed = stage.plant_signature(signer, digest);
        let mut forged = signed.clone();
        forged.statement.nonce = mint::nonce();
        assert!(matches!(stage.desk.act(Command::SignPlant { signed: forged }).await, Err(Rejected::Unsigned(_))));
        stage.desk.act(Command::SignPlant { signed }).await.unwrap();
        assert_eq!(in_force() == digest, adopts);
    }
    let kind = Kind::Operator { vendor: None };
    let invited = stage.people.invite(person("vera", kind, &["shift-lead"]), Seconds(86_400), stage.admin.person).await;
    let vera = enrol(&stage.people, &invited.unwrap().code).await;
    let mut forged = stage.certificate(&stage.admin, vera.person);
    forged.statement.nonce = mint::nonce();
    assert!(matches!(stage.desk.act(Command::Certify { certificate: forged }).await, Err(Rejected::Unsigned(_))));
}

#[tokio::test]
async fn a_signature_under_a_plant_file_counts_only_while_the_file_it_replaces_is_in_force() {
    let stage = Stage::new().await;
    let texts = ["# first\n", "# second\n"].map(|line| format!("{PLANT}{line}"));
    let [first, second] = texts.each_ref().map(|text| Digest::of_bytes(text.as_bytes()));
    for text in texts {
        stage.desk.act(Command::ProposePlant { text, by: stage.admin.person }).await.unwrap();
    }
    let early = stage.plant_signature(&stage.admin, second);
    let late = stage.plant_signature(&stage.lead, second);
    stage.desk.act(Command::SignPlant { signed: early }).await.unwrap();
    for signer in [&stage.admin, &stage.lead] {
        let signed = stage.plant_signature(signer, first);
        stage.desk.act(Command::SignPlant { signed }).await.unwrap();
    }
    let in_force = || stage.desk.with_state(|state| state.plant.as_ref().unwrap().digest());
    assert_eq!(in_force(), first);
    assert_eq!(refusal(stage.desk.act(Command::SignPlant { signed: late }).await), Refusal::OtherDigest);
    for (signer, adopts) in [(&stage.lead, false), (&stage.admin, true)] {
        let signed = stage.plant_signature(signer, second);
        stage.desk.act(Command::SignPlant { signed }).await.unwrap();
        assert_eq!(in_force() == second, adopts, "the first signature was for the file before");
    }
}

/// A restart with a newer program than the one that put this file up and, perhaps, adopted it.
async fn restarted_after(stage: &mut Stage, text: &str, adopted: bool) -> Digest {
    let (journal, events) = (&stage.props.journal, put_up_elsewhere(text, stage.admin.person, adopted));
    journal.append(stage.desk.head(), &events, stage.desk.clock().wall()).await.unwrap();
    stage.desk.close().await;
    (stage.desk, stage.alarms) = stage.props.desk().await.unwrap();
    let keys = &stage.props.keys;
    stage.people = People::new(stage.desk.clone(), keys.secrets(), keys.tls_ca());
    Digest::of_bytes(text.as_bytes())
}

/// What an earlier program took, the one after it refused by name, and this one takes again.
fn with_telnet() -> String {
    let telnet = "[targets.plc-7.services.old]\nprotocol = \"telnet\"\naddress = \"10.20.2.7:23\"\n[[rules]]";
    PLANT.replacen("[[rules]]", telnet, 1)
}

#[tokio::test]
async fn a_plant_file_that_an_earlier_program_adopted_stays_in_force() {
    let mut stage = Stage::new().await;
    let adopted = restarted_after(&mut stage, &with_telnet(), true).await;
    let in_force = |stage: &Stage| stage.desk.with_state(|state| state.plant.as_ref().map(|plant| plant.digest()));
    assert_eq!(in_force(&stage), Some(adopted));
    let_in(&stage, "press-4").await;
    // Only one that was put up then and is wrong today is not adopted any more, and one that is right is.
    let wrong = with_telnet().replace("10.20.2.7:23\"", "10.20.2.7:23\"\ncredential = \"certificate\"");
    let proposed = restarted_after(&mut stage, &wrong, false).await;
    let signed = stage.plant_signature(&stage.admin, proposed);
    assert_eq!(refusal(stage.desk.act(Command::SignPlant { signed }).await), Refusal::PlantFileWrong(1));
    let text = format!("{PLANT}# without it\n");
    let digest = Digest::of_bytes(text.as_bytes());
    stage.desk.act(Command::ProposePlant { text, by: stage.admin.person }).await.unwrap();
    for signer in [&stage.admin, &stage.lead] {
        let signed = stage.plant_signature(signer, digest);
        stage.desk.act(Command::SignPlant { signed }).await.unwrap();
    }
    assert_eq!(in_force(&stage), Some(digest));
}

#[tokio::test]
async fn under_a_plant_file_that_nobody_reads_nobody_is_let_in_and_that_is_said() {
    let mut stage = Stage::new().await;
    stage.grant("plc-7", &[Action::Shell]).await;
    restarted_after(&mut stage, "[plant]\nname = \"of tomorrow\"", true).await;
    let refused = refusal(stage.admit("plc-7").await);
    assert_eq!(refused, Refusal::NoPlant);
    assert!(refused.to_string().contains("this version of Holdpoint cannot read the plant file in force"));
    assert_eq!(refusal(stage.ask("plc-7", &[Action::Shell]).await), Refusal::NoPlant);
    stage.desk.cut(CutBy::Operator(stage.lead.person), Scope::Plant).await.unwrap();
}

// Around it

#[tokio::test]
async fn who_is_to_be_told_of_a_waiting_request_and_when_the_board_turns_red() {
    let stage = Stage::new().await;
    let id = stage.ask("plc-7", &[Action::Shell]).await.unwrap();
    let now = stage.desk.clock().wall();
    let due = |at| stage.desk.due(at).iter().map(|due| (due.group.to_string(), due.red)).collect::<Vec<_>>();
    assert_eq!(due(now), [("shift-lead".to_owned(), false)]);
    let later = now + SignedDuration::from_mins(10);
    assert_eq!(stage.desk.next_due(now), Some(later));
    assert_eq!(due(later), [("shift-lead".to_owned(), false), ("ot-security".to_owned(), true)]);
    let verdict = stage.approval(&stage.lead, id);
    stage.desk.act(Command::Vote { verdict }).await.unwrap();
    assert!(due(later).is_empty());
    // Where nobody else is told later, the board does not turn red at once.
    stage.ask("press-4", &[Action::Shell]).await.unwrap();
    assert_eq!(due(stage.desk.clock().wall()), [("shift-lead".to_owned(), false)]);
}

#[tokio::test]
async fn a_desk_that_is_closed_has_no_task_left_and_admits_nobody() {
    let stage = Stage::new().await;
    stage.grant("plc-7", &[Action::Shell]).await;
    let who = stage.login(&stage.technician).await;
    tokio::time::timeout(Duration::from_secs(2), stage.desk.close()).await.unwrap();
    let refused = stage.desk.admit(&who, stage.wanted("plc-7")).await;
    assert_eq!(refused.map(|_| ()), Err(Fault::Stopping.into()));
}

#[tokio::test]
async fn the_journal_of_another_installation_is_refused() {
    let stage = Stage::new().await;
    let (alarms, _heard) = tokio::sync::mpsc::channel(1);
    let parts = approver::desk::DeskParts {
        journal: stage.props.journal.clone(),
        directory: stage.props.directory.clone(),
        clock: stage.props.clock.clone(),
        node: node(),
        deployment: "mill-4".parse().unwrap(),
        floor: Arc::new(approver::floor::EmptyFloor) as Arc<dyn Floor>,
        alarms,
        cuts: stage.props.cuts(),
        records: None,
    };
    let opened = approver::desk::Desk::open(parts).await;
    assert!(matches!(opened, Err(approver::desk::DeskFault::OtherDeployment { .. })));
}

#[tokio::test]
async fn commands_with_a_door_of_their_own_do_not_pass_by_another() {
    let stage = Stage::new().await;
    let end = Command::End { session: mint::session(Timestamp::UNIX_EPOCH), ending: Ending::Left, seal: None };
    assert!(matches!(stage.desk.act(end).await, Err(Rejected::Fault(Fault::OtherDoor(_)))));
}

/// A journal whose appends wait while a gate is closed, and in which another node says that it lives.
struct Gate {
    inner: MemoryJournal,
    open: tokio::sync::watch::Sender<bool>,
    said: AtomicU64,
}

impl Gate {
    fn new() -> (Arc<Self>, Arc<dyn Journal>) {
        let open = tokio::sync::watch::Sender::new(true);
        let gate = Arc::new(Self { inner: MemoryJournal::new(), open, said: AtomicU64::new(0) });
        (gate.clone(), gate)
    }

    fn open(&self) {
        self.open.send_replace(true);
    }

    fn close(&self) {
        self.open.send_replace(false);
    }
}

impl Journal for Gate {
    fn append<'a>(
        &'a self,
        after: Head,
        events: &'a [Event],
        at: Timestamp,
    ) -> BoxFuture<'a, Result<Head, AppendError>> {
        let mut open = self.open.subscribe();
        async move {
            open.wait_for(|open| *open).await.unwrap();
            self.inner.append(after, events, at).await
        }
        .boxed()
    }

    fn read(&self, after: u64) -> BoxFuture<'_, Result<Vec<Entry>, ReadError>> {
        self.inner.read(after)
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, ReadError>> {
        self.inner.head()
    }

    fn changed(&self, size: u64) -> BoxFuture<'_, ()> {
        self.inner.changed(size)
    }

    fn speak(&self) -> BoxFuture<'_, Result<Vec<Word>, ReadError>> {
        let word = Word { node: "node-2".parse().unwrap(), said: self.said.load(Ordering::SeqCst) };
        async move { Ok(vec![word]) }.boxed()
    }
}

/// A journal that may not answer how far it goes, with a copy of it at hand.
struct Copied {
    inner: MemoryJournal,
    answers: tokio::sync::watch::Sender<bool>,
}

impl Copied {
    async fn answered<T>(&self, asked: impl Future<Output = T>) -> T {
        self.answers.subscribe().wait_for(|answers| *answers).await.unwrap();
        asked.await
    }
}

impl Journal for Copied {
    fn append<'a>(
        &'a self,
        after: Head,
        events: &'a [Event],
        at: Timestamp,
    ) -> BoxFuture<'a, Result<Head, AppendError>> {
        self.answered(self.inner.append(after, events, at)).boxed()
    }

    fn read(&self, after: u64) -> BoxFuture<'_, Result<Vec<Entry>, ReadError>> {
        self.answered(self.inner.read(after)).boxed()
    }

    fn read_next(&self, after: u64) -> BoxFuture<'_, Result<Vec<Entry>, ReadError>> {
        self.inner.read(after)
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, ReadError>> {
        self.answered(self.inner.head()).boxed()
    }

    fn changed(&self, size: u64) -> BoxFuture<'_, ()> {
        self.inner.changed(size)
    }
}

/// A journal without compare-and-swap.
struct Careless(MemoryJournal);

impl Journal for Careless {
    fn append<'a>(&'a self, _: Head, events: &'a [Event], at: Timestamp) -> BoxFuture<'a, Result<Head, AppendError>> {
        async move { self.0.append(self.0.head().await.unwrap(), events, at).await }.boxed()
    }

    fn read(&self, after: u64) -> BoxFuture<'_, Result<Vec<Entry>, ReadError>> {
        self.0.read(after)
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, ReadError>> {
        self.0.head()
    }

    fn changed(&self, size: u64) -> BoxFuture<'_, ()> {
        self.0.changed(size)
    }
}

/// The node's recordings, in memory.
fn records() -> Arc<Log> {
    let options = LogOptions {
        segment_bytes: 1 << 20,
        spares: 0,
        ..LogOptions::new(Purpose::Records, "mill-3/records/node-1", node())
    };
    let (disk, signer) = (Arc::new(SimDisk::new(1)), Arc::new(SimSigner::new(1)));
    Arc::new(Log::open(disk, Arc::new(RealMachine), "/records".as_ref(), options, signer).unwrap().0)
}

/// Every head of the recordings in the journal so far, and which event stands before each.
async fn vouched(stage: &Stage) -> Vec<(u64, &'static str)> {
    let verifier = [SimSigner::new(1).verifier("mill-3/records/node-1").unwrap()];
    let entries = stage.desk.entries(0).await.unwrap();
    let pairs = entries.iter().zip(entries.iter().skip(1)).filter_map(|(before, entry)| match &entry.event {
        Event::Checkpointed { node: by, checkpoint } => {
            assert_eq!(*by, node());
            let signed = SignedCheckpoint::open(checkpoint.as_bytes(), &verifier).unwrap();
            Some((signed.checkpoint().size, before.event.id()))
        }
        _ => None,
    });
    pairs.collect()
}

#[tokio::test]
async fn the_journal_vouches_for_recordings_at_start_each_minute_with_a_session_with_each_end_and_at_stop() {
    let records = records();
    let stage = Stage::on(Props { records: Some(Arc::clone(&records)), ..Props::new() }, PLANT).await;
    stage.desk.start_node("1.0").await.unwrap();
    assert_eq!(vouched(&stage).await, [(2, "HP1601")], "that it started, and the signed head");
    stage.pass(2 * MINUTE);
    settle().await;
    assert_eq!(vouched(&stage).await.len(), 1, "nothing is open");
    let lease = let_in(&stage, "plc-7").await;
    let recipients = Recipients::parse(AUDITORS).unwrap();
    let recorder = Recorder::open(&lease, &records, &recipients, &RealMachine, "1.0").await.unwrap();
    let before = stage.desk.head().size;
    stage.pass(MINUTE);
    stage.desk.changed(before).await;
    let [_, (size, "HP1401")] = vouched(&stage).await[..] else { panic!("{:?}", vouched(&stage).await) };
    assert!(size > 2, "{size}");
    let seal = recorder.seal(&Ending::Left, Vec::new()).await.unwrap();
    let sealed = records.head().size;
    stage.desk.end(lease, Ending::Left, Some(seal.digest)).await;
    let [_, _, (size, "HP1402")] = vouched(&stage).await[..] else { panic!("{:?}", vouched(&stage).await) };
    assert!(size >= sealed, "{size} of {sealed}");
    // Others took a session for ended that went on here.
    let lease = stage.admit("plc-7").await.unwrap();
    let ended = Event::Ended { session: lease.session(), ending: Ending::Presumed, seal: None };
    stage.props.journal.append(stage.desk.head(), &[ended], stage.desk.clock().wall()).await.unwrap();
    assert_eq!(lease.orders().over().await, Ending::Presumed);
    let recorder = Recorder::open(&lease, &records, &recipients, &RealMachine, "1.0").await.unwrap();
    let seal = recorder.seal(&Ending::Presumed, Vec::new()).await.unwrap();
    let sealed = records.head().size;
    stage.desk.end(lease, Ending::Presumed, Some(seal.digest)).await;
    assert_eq!(vouched(&stage).await.last(), Some(&(sealed, "HP1402")));
    records.stop();
    assert!(records.head().size > sealed, "that it stopped is an entry, too");
    stage.desk.stop_node().await;
    assert_eq!(vouched(&stage).await.last().unwrap().0, records.head().size);
    assert!(matches!(stage.desk.entries(0).await.unwrap().last().unwrap().event, Event::NodeStopped { .. }));
}

// Shift changes

/// A stage whose shifts change at each full hour, and the moment of the next.
async fn hourly(then: &str) -> (Stage, Duration) {
    let hours: Vec<String> = (0..24).map(|hour| format!("\"{hour:02}:00\"")).collect();
    let shifts = format!("shifts = [{}]\naccept_within = \"5m\"\n[zones.packaging]", hours.join(", "));
    let rule = format!("unaccepted = \"{then}\"\nunaccepted_after = \"10m\"\nexclusive = \"none\"");
    let plant = PLANT.replacen("[zones.packaging]", &shifts, 1).replacen("exclusive = \"none\"", &rule, 1);
    let stage = Stage::on(Props::new(), &plant).await;
    let now = stage.desk.clock().wall();
    let change = stage.desk.with_state(|state| {
        let plant = state.plant.as_ref().unwrap();
        plant.shifts.change_after(now, &plant.timezone).unwrap()
    });
    (stage, change.duration_since(now).unsigned_abs())
}

#[tokio::test]
async fn input_waits_for_whoever_accepts_what_the_shift_before_left() {
    let (stage, to_the_change) = hourly("freeze").await;
    stage.grant("plc-7", &[Action::Shell]).await;
    stage.pass(to_the_change.saturating_sub(MINUTE));
    let request = stage.desk.with_state(|state| *state.cases.keys().next().unwrap());
    let lease = stage.admit("plc-7").await.unwrap();
    let mut orders = lease.orders();
    stage.pass(10 * MINUTE);
    settle().await;
    assert_eq!(orders.now().frozen, None, "not before its time");
    stage.pass(MINUTE + CLERK);
    assert_eq!(orders.changed().await.frozen, Some(Frozen::NotAccepted));
    assert_eq!(orders.now().over, None);
    stage.desk.act(Command::ComeOnDuty { person: stage.lead.person, provider: None }).await.unwrap();
    stage.desk.act(Command::Accept { request, by: stage.lead.person }).await.unwrap();
    assert_eq!(orders.changed().await.frozen, None);
}

#[tokio::test]
async fn what_nobody_accepts_ends_but_no_transfer_is_cut_in_the_middle() {
    let (stage, to_the_change) = hourly("end").await;
    stage.grant("plc-7", &[Action::Shell]).await;
    stage.pass(to_the_change.saturating_sub(MINUTE));
    let lease = stage.admit("plc-7").await.unwrap();
    let mut orders = lease.orders();
    lease.transferring(true);
    stage.pass(11 * MINUTE + CLERK);
    assert!(orders.changed().await.finishing.is_some());
    assert_eq!(orders.now().over, None);
    lease.transferring(false);
    assert_eq!(orders.over().await, Ending::NotAccepted);
}

#[tokio::test]
async fn a_clock_that_is_set_neither_ends_what_waits_to_be_accepted_nor_gives_it_time() {
    let (stage, to_the_change) = hourly("end").await;
    stage.grant("plc-7", &[Action::Shell]).await;
    stage.pass(to_the_change.saturating_sub(MINUTE));
    let lease = stage.admit("plc-7").await.unwrap();
    let mut orders = lease.orders();
    stage.pass(CLERK);
    settle().await;
    // Forward, over the change and the time to accept.
    stage.props.turn.wall(SignedDuration::from_mins(20));
    stage.pass(CLERK);
    settle().await;
    assert_eq!(orders.now().over, None, "the change is a minute off");
    stage.props.turn.wall(SignedDuration::from_mins(-25));
    stage.pass(9 * MINUTE);
    settle().await;
    assert_eq!(orders.now().over, None, "not before its time");
    stage.pass(2 * MINUTE);
    assert_eq!(orders.over().await, Ending::NotAccepted, "though the wall clock says that it is earlier");
}

#[tokio::test]
async fn who_comes_is_let_in_by_the_clock_that_is_never_set_and_told_what_became_of_the_grant() {
    let (stage, to_the_change) = hourly("freeze").await;
    stage.grant("plc-7", &[Action::Shell]).await;
    stage.pass(to_the_change.saturating_sub(2 * MINUTE));
    let (who, ask) = (stage.login(&stage.technician).await, stage.wanted("plc-7"));
    stage.pass(CLERK);
    settle().await;
    // Forward, over the change and the time to accept.
    stage.props.turn.wall(SignedDuration::from_mins(20));
    assert_eq!(stage.desk.would_admit(&who, &ask), Ok(()), "the change is a minute off");
    stage.pass(12 * MINUTE);
    let not_accepted = Refusal::NotAccepted("plc-7".parse().unwrap());
    assert_eq!(refusal(stage.desk.would_admit(&who, &ask)), not_accepted, "before it is in the journal");
    stage.pass(CLERK);
    settle().await;
    assert_eq!(refusal(stage.desk.would_admit(&who, &ask)), not_accepted);
}

/// The Desk looks for what is due as often.
const CLERK: Duration = Duration::from_secs(6);

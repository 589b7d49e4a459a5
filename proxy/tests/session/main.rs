//! Sessions from their opening to their seal: a Desk in memory, a target and a client in one process, and a clock that is
//! turned. Bulk, other clients and other targets are tried in `flow` and end to end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod hall;
mod operator;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use approver::floor::Floor as _;
use approver::journal::Journal;
use approver::journal::memory::MemoryJournal;
use approver::mint;
use approver::testing::{Faulty, Trouble};
use jiff::SignedDuration;
use policies::decide::Command;
use policies::events::{CutBy, Ending, Event, Scope};
use policies::time::Seconds;

use hall::{Hall, Options, Shell, eventually, next_code, settle};
use operator::ControlRoom;

const MINUTE: Duration = Duration::from_secs(60);

fn is_cut(ending: &Ending) -> bool {
    matches!(ending, Ending::Cut { .. })
}

/// Types a line and reads its echo.
async fn echo(shell: &mut Shell, text: &str) {
    shell.type_in(text).await;
    shell.until(text).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_as_left_when_its_technician_goes() {
    let hall = Hall::new().await;
    let technician = hall.connect().await;
    let mut shell = technician.shell().await;
    echo(&mut shell, "status\r").await;
    assert_eq!(hall.floor.count(), 1);
    let session = technician.session;
    drop(shell);
    technician.handle.disconnect(russh::Disconnect::ByApplication, "", "").await.unwrap();
    assert_eq!(technician.ended().await, Ending::Left);
    assert_eq!(hall.journaled(session), Some((Ending::Left, true)));
    assert_eq!(hall.floor.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_session_ends_at_its_deadline() {
    let hall = Hall::new().await;
    let technician = hall.connect().await;
    let mut shell = technician.shell().await;
    hall.pass(45 * MINUTE).await;
    let warned = shell.until("REASON").await;
    assert!(
        warned.contains("15 minutes left, until") && warned.contains("ssh -p 2222 tara@gate.mill3.example extend"),
        "{warned}"
    );
    hall.pass(10 * MINUTE).await;
    shell.until("5 minutes left").await;
    hall.pass(4 * MINUTE).await;
    shell.until("1 minute left").await;
    hall.pass(MINUTE).await;
    let farewell = technician.farewell().await;
    assert_eq!(farewell, "Your time at hmi-2 is over. To go on, ask for a new grant.");
    assert_eq!(technician.ended().await, Ending::Expired);
    shell.until(&farewell).await;
    assert_eq!(hall.journaled(technician.session), Some((Ending::Expired, true)));
    assert_eq!(hall.warnings(technician.session).await, [900, 300, 60]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_set_back_extends_nothing() {
    let hall = Hall::new().await;
    let technician = hall.connect().await;
    let _shell = technician.shell().await;
    hall.stage.props.turn.wall(SignedDuration::from_hours(-3));
    settle().await;
    assert!(!hall.floor.list().is_empty());
    hall.stage.props.turn.boot(61 * MINUTE);
    assert_eq!(technician.ended().await, Ending::Expired);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extension_moves_the_running_deadline() {
    let hall = Hall::new().await;
    let technician = hall.connect().await;
    let mut shell = technician.shell().await;
    hall.pass(50 * MINUTE).await;
    let request = hall.stage.desk.with_state(|state| state.sessions[&technician.session].request);
    let (ask, by) = (mint::ask(hall.stage.desk.clock().wall()), hall.stage.technician.person);
    let reason = hall.stage.people.put_text("one more pump").await.unwrap();
    let wanted = Command::AskExtension { ask, request, more: Seconds(1_800), reason, by };
    hall.stage.desk.act(wanted).await.unwrap();
    let verdict = hall.stage.approval_of_ask(&hall.stage.lead, ask, true);
    hall.stage.desk.act(Command::Vote { verdict }).await.unwrap();
    shell.until("The session now lasts until").await;
    hall.pass(15 * MINUTE).await;
    echo(&mut shell, "still here\r").await;
    hall.pass(10 * MINUTE).await;
    shell.until("15 minutes left").await;
    hall.pass(16 * MINUTE).await;
    assert_eq!(technician.ended().await, Ending::Expired);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_freezes_stops_input_first_and_ends_later() {
    let rule = "idle = \"4h\"\nending = \"freeze\"\nfreeze_max = \"10m\"";
    let hall = Hall::with(Options { rule, ..Options::default() }).await;
    let technician = hall.connect().await;
    let mut shell = technician.shell().await;
    hall.pass(61 * MINUTE).await;
    shell.until("Your time is up. Your input is stopped").await;
    shell.type_in("too late\r").await;
    settle().await;
    assert_eq!(hall.target.seen.typed(), "");
    hall.pass(10 * MINUTE).await;
    assert_eq!(technician.ended().await, Ending::Expired);
    assert_eq!(hall.target.seen.typed(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_terminal_is_locked_until_a_code_is_typed() {
    let hall = Hall::with(Options { rule: "idle = \"5m\"", ..Options::default() }).await;
    let technician = hall.connect().await;
    let mut shell = technician.shell().await;
    hall.pass(4 * MINUTE).await;
    echo(&mut shell, "awake\r").await;
    hall.pass(4 * MINUTE).await;
    hall.pass(MINUTE + Duration::from_secs(1)).await;
    shell.until("Locked: nobody typed anything for 5m. Type your code to go on.").await;
    shell.type_in("rm -rf /\r").await;
    shell.until("Still locked:").await;
    let code = next_code(&hall).await;
    shell.type_in(&format!("{code}\r")).await;
    shell.until("Unlocked.").await;
    assert_eq!(hall.target.seen.typed(), "awake\r");
    echo(&mut shell, "at work again\r").await;
    hall.pass(5 * MINUTE + Duration::from_secs(1)).await;
    shell.until("Locked").await;
    shell.type_in(&format!("{code}\r")).await;
    shell.until("Still locked:").await;
    hall.pass(5 * MINUTE + Duration::from_secs(1)).await;
    assert_eq!(technician.ended().await, Ending::Idle);
    assert_eq!(technician.farewell().await, "Nobody typed anything for 5m. Connect again if your grant still stands.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idleness_ends_a_session_where_nobody_could_type_a_code_or_the_rule_says_so() {
    for (rule, on_terminal) in [("idle = \"5m\"", false), ("idle = \"5m\"\nidle_ending = \"end\"", true)] {
        let hall = Hall::with(Options { rule, ..Options::default() }).await;
        let technician = hall.connect().await;
        let _shell = if on_terminal { Some(technician.shell().await) } else { None };
        hall.pass(5 * MINUTE + Duration::from_secs(1)).await;
        assert_eq!(technician.ended().await, Ending::Idle, "{rule}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_throws_input_away_and_a_thaw_lets_it_go_on() {
    let hall = Hall::new().await;
    let technician = hall.connect().await;
    let mut shell = technician.shell().await;
    hall.stage.desk.freeze(technician.session, hall.stage.lead.person).await.unwrap();
    shell.until("Your input is stopped by an operator.").await;
    shell.type_in("unheard\r").await;
    settle().await;
    let second = technician.shell().await;
    second.type_in("unheard too\r").await;
    let mut command = Shell::over(technician.run("echo").await);
    command.until("This waits: an operator has stopped your input. It begins when they let it.").await;
    settle().await;
    assert_eq!(hall.target.seen.typed(), "");
    hall.stage.desk.thaw(technician.session, hall.stage.lead.person).await.unwrap();
    shell.until("Your input goes on.").await;
    echo(&mut shell, "heard\r").await;
    assert_eq!(hall.target.seen.typed(), "heard\r");
    echo(&mut command, "begun").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_can_give_no_input_because_of_an_operator_is_not_idle() {
    let rule = "idle = \"5m\"\nidle_ending = \"end\"";
    let hall = Hall::with(Options { rule, ..Options::default() }).await;
    let technician = hall.connect().await;
    let mut shell = technician.shell().await;
    hall.stage.desk.freeze(technician.session, hall.stage.lead.person).await.unwrap();
    shell.until("Your input is stopped by an operator.").await;
    for _ in 0..3 {
        hall.pass(5 * MINUTE + Duration::from_secs(1)).await;
        settle().await;
    }
    hall.stage.desk.thaw(technician.session, hall.stage.lead.person).await.unwrap();
    shell.until("Your input goes on.").await;
    hall.pass(4 * MINUTE).await;
    echo(&mut shell, "still here\r").await;
    hall.pass(5 * MINUTE + Duration::from_secs(1)).await;
    assert_eq!(technician.ended().await, Ending::Idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_an_escort_is_required_input_waits_until_somebody_says_that_they_are_there() {
    let rule = "idle = \"4h\"\nescort = \"required\"";
    let hall = Hall::with(Options { rule, ..Options::default() }).await;
    let technician = hall.connect().await;
    let channel = technician.handle.channel_open_session().await.unwrap();
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    channel.request_shell(true).await.unwrap();
    let mut shell = Shell::over(channel);
    shell.until("here an operator must watch, and nobody does.").await;
    shell.type_in("unheard\r").await;
    settle().await;
    let lead = hall.stage.lead.person;
    let mut watching = hall.stage.desk.watch(technician.session, lead).await.unwrap();
    hall.stage.desk.escort(technician.session, lead).await.unwrap();
    shell.until("An operator watches. Your input goes on.").await;
    echo(&mut shell, "heard\r").await;
    let screen = String::from_utf8(watching.watch.screen.to_vec()).unwrap();
    assert!(screen.contains("ready"), "{screen:?}");
    let mut seen = String::new();
    while !seen.contains("heard") {
        let frame = tokio::time::timeout(hall::HANG, watching.watch.frames.next()).await.unwrap().unwrap();
        if let approver::floor::WatchFrame::Output(bytes) = frame {
            seen.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    let second = hall.stage.desk.watch(technician.session, lead).await.unwrap();
    drop(watching);
    shell.until("here an operator must watch").await;
    hall.stage.desk.escort(technician.session, lead).await.unwrap();
    shell.until("An operator watches. Your input goes on.").await;
    echo(&mut shell, "still heard\r").await;
    drop(second);
    shell.until("here an operator must watch").await;
    shell.type_in("unheard again\r").await;
    settle().await;
    assert_eq!(hall.target.seen.typed(), "heard\rstill heard\r");
    assert_eq!(hall.floor.count(), 1, "it stands still, and goes on with the next who watches");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_works_on_a_stuck_session() {
    let hall = Hall::new().await;
    // One reads nothing of a flood, one sends to a target that reads nothing, one types.
    let (deaf_client, deaf_target, typing) = (hall.connect().await, hall.connect().await, hall.connect().await);
    let _unread = deaf_client.run("flood").await;
    let upload = deaf_target.run("deaf").await;
    let sending = tokio::spawn(async move { while upload.data(&[7_u8; 32 << 10][..]).await.is_ok() {} });
    let mut shell = typing.shell().await;
    echo(&mut shell, "before\r").await;
    eventually("the deaf target takes nothing any more", || !deaf_target.is_at_work()).await;
    let begun = Instant::now();
    let done = hall.stage.desk.cut(CutBy::Operator(hall.stage.lead.person), Scope::Plant).await.unwrap();
    assert_eq!(done.sessions.len(), 3);
    for technician in [&deaf_client, &deaf_target, &typing] {
        let closed = technician.socket_closed().await.duration_since(begun);
        println!("socket closed after {closed:?}");
        assert!(closed < Duration::from_secs(1), "{closed:?}");
        assert!(is_cut(&technician.ended().await));
        assert!(is_cut(&hall.journaled(technician.session).unwrap().0));
    }
    for technician in [&deaf_client, &deaf_target, &typing] {
        let last = technician.written_after(begun);
        println!("last byte written to the target after {last:?}");
        assert!(last < Duration::from_millis(50), "{last:?}");
    }
    let farewell = typing.farewell().await;
    assert!(farewell.starts_with("Access was cut by an operator"), "{farewell}");
    shell.until(&farewell).await;
    sending.abort();
    assert!(hall.try_connect().await.is_err(), "a cut keeps out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_recording_stops_the_session_stops_and_nothing_more_passes() {
    let hall = Hall::new().await;
    let technician = hall.connect().await;
    let mut shell = technician.shell().await;
    echo(&mut shell, "recorded\r").await;
    hall.fail_the_disk();
    shell.type_in("unrecorded\r").await;
    assert_eq!(technician.ended().await, Ending::RecorderFailed);
    assert_eq!(hall.target.seen.typed(), "recorded\r");
    let farewell = technician.farewell().await;
    assert!(farewell.starts_with("The recording stopped, so the session did"), "{farewell}");
    assert_eq!(hall.journaled(technician.session), Some((Ending::RecorderFailed, false)));
    let refused = hall.try_connect().await.map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("cannot be recorded"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorder_that_cannot_start_means_no_session() {
    let hall = Hall::new().await;
    hall.fail_the_disk();
    let refused = hall.try_connect().await.map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("cannot be recorded"), "{refused}");
    assert_eq!(hall.target.seen.connections.load(Ordering::SeqCst), 0);
    assert!(hall.stage.desk.with_state(|state| state.live.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_host_key_is_refused_and_is_an_event() {
    let hall = Hall::with(Options { right_pin: false, ..Options::default() }).await;
    let refused = hall.try_connect().await.map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("hmi-2"), "{refused}");
    let entries = hall.stage.desk.entries(0).await.unwrap();
    assert!(entries.iter().any(|entry| matches!(entry.event, Event::HostKeyMismatch { .. })));
    let endings =
        entries.iter().filter(|entry| matches!(entry.event, Event::Ended { ending: Ending::HostKeyChanged, .. }));
    assert_eq!(endings.count(), 1);
    assert_eq!(hall.target.seen.typed(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_order_seals_everything() {
    let hall = Hall::new().await;
    let technicians = [hall.connect().await, hall.connect().await, hall.connect().await];
    let _flood = technicians[0].run("flood").await;
    let _shell = technicians[1].shell().await;
    hall.stop.cancel();
    for technician in &technicians {
        assert_eq!(technician.ended().await, Ending::Shutdown);
        assert_eq!(hall.journaled(technician.session), Some((Ending::Shutdown, true)));
    }
    assert!(technicians[1].farewell().await.starts_with("The gate is being stopped."));
    hall.tracker.close();
    tokio::time::timeout(hall::HANG, hall.tracker.wait()).await.expect("every task ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_granted_is_refused_with_how_to_ask() {
    let hall = Hall::new().await;
    let technician = hall.connect().await;
    let channel = technician.handle.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "netconf").await.unwrap();
    let mut shell = Shell::over(channel);
    shell.until("of subsystems only sftp is carried here").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_taken_back_ends_its_session() {
    let hall = Hall::new().await;
    let technician = hall.connect().await;
    let mut shell = technician.shell().await;
    let request = hall.stage.desk.with_state(|state| state.sessions[&technician.session].request);
    let reason = hall.stage.people.put_text("shift is over").await.unwrap();
    let by = hall.stage.lead.person;
    hall.stage.desk.act(Command::Revoke { request, reason, by }).await.unwrap();
    let farewell = technician.farewell().await;
    assert_eq!(farewell, "Your grant for hmi-2 was taken back by an operator. Ask the control room.");
    shell.until(&farewell).await;
    assert_eq!(technician.ended().await, Ending::Revoked);
    assert_eq!(hall.journaled(technician.session), Some((Ending::Revoked, true)));
}

/// The technician's connection is theirs to close: a further channel would find the target again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_breaks_the_connection_is_named_and_stands_in_the_journal() {
    let hall = Hall::new().await;
    let technician = hall.connect().await;
    let mut shell = technician.shell().await;
    shell.channel.data(hall::DIE).await.unwrap();
    shell.until("holdpoint: the connection to hmi-2 broke\r\n").await;
    let mut status = None;
    while let Some(message) = tokio::time::timeout(hall::HANG, shell.channel.wait()).await.unwrap() {
        if let russh::ChannelMsg::ExitStatus { exit_status } = message {
            status = Some(exit_status);
        }
    }
    assert_eq!(status, Some(255), "as ssh itself ends where a connection breaks");
    let mut again = technician.shell().await;
    echo(&mut again, "back\r").await;
    drop((shell, again));
    technician.handle.disconnect(russh::Disconnect::ByApplication, "", "").await.unwrap();
    assert_eq!(technician.ended().await, Ending::TargetClosed);
    assert_eq!(hall.journaled(technician.session), Some((Ending::TargetClosed, true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_more_than_the_gate_keeps_reads_it_and_is_ended() {
    let hall = Hall::new().await;
    let technician = hall.connect().await;
    let mut shell = technician.shell().await;
    let (mut unread, deaf) = technician.run("deaf").await.split();
    tokio::spawn(async move { while unread.wait().await.is_some() {} });
    let bulk = async { while deaf.data(&[7_u8; 32 << 10][..]).await.is_ok() {} };
    tokio::select! {
        () = bulk => panic!("the deaf target reads"),
        () = eventually("the deaf target takes nothing any more", || !technician.is_at_work()) => {}
    }
    // No window holds requests back.
    let flood = async { while deaf.set_env(false, "LC_ALL", "x".repeat(30 << 10)).await.is_ok() {} };
    let told = async {
        let farewell = technician.farewell().await;
        assert!(farewell.starts_with("More came at once than was asked for"), "{farewell}");
        shell.until(&farewell).await;
    };
    tokio::join!(flood, told);
    assert_eq!(technician.ended().await, Ending::Overrun);
    assert_eq!(hall.journaled(technician.session), Some((Ending::Overrun, true)));
}

/// A channel that waits for minutes behind its target slows down the others' uploads, and alone is ended for it. Those
/// minutes are the machine's, so that only `HOLDPOINT_LONG` has them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_stands_for_minutes_while_others_wait_is_ended_alone_and_told_why() {
    if std::env::var_os("HOLDPOINT_LONG").is_none() {
        return;
    }
    let hall = Hall::new().await;
    let technician = hall.connect().await;
    let mut shell = technician.shell().await;
    let (mut told, full) = technician.run("full").await.split();
    let bulk = tokio::spawn(async move { while full.data(&[7_u8; 32 << 10][..]).await.is_ok() {} });
    let (mut words, mut status) = (String::new(), None);
    let reading = async {
        while let Some(message) = told.wait().await {
            match message {
                russh::ChannelMsg::ExtendedData { data, .. } => words.push_str(&String::from_utf8_lossy(&data)),
                russh::ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                _ => {}
            }
        }
    };
    tokio::time::timeout(6 * MINUTE, reading).await.expect("the channel is closed");
    let why = "the target has taken nothing for 5 minutes, and other channels wait behind this one";
    assert_eq!((words, status), (format!("holdpoint: {why}\r\n"), Some(255)));
    bulk.abort();
    echo(&mut shell, "goes on\r").await;
    assert_eq!(hall.journaled(technician.session), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorder_that_does_not_answer_for_ten_seconds_has_stopped_whatever_it_says_later() {
    let hall = Hall::new().await;
    let (technician, other) = (hall.connect().await, hall.connect().await);
    let mut shell = technician.shell().await;
    echo(&mut shell, "recorded\r").await;
    let held = hall.slow.hold();
    let begun = Instant::now();
    shell.type_in("unrecorded\r").await;
    let _never_begins = other.run("echo").await;
    for technician in [&technician, &other] {
        let farewell = technician.farewell().await;
        let after = begun.elapsed();
        assert!(farewell.starts_with("The recording stopped, so the session did"), "{farewell}");
        // The recorder's own clock is the machine's.
        assert!(after > Duration::from_millis(9_900) && after < Duration::from_secs(15), "{after:?}");
    }
    shell.until(&technician.farewell().await).await;
    drop(held);
    for technician in [&technician, &other] {
        assert_eq!(technician.ended().await, Ending::RecorderFailed);
        assert_eq!(hall.journaled(technician.session), Some((Ending::RecorderFailed, true)));
    }
    assert_eq!(hall.target.seen.typed(), "recorded\r");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_recorder_stops_the_reading_and_says_so() {
    let hall = Hall::new().await;
    let technician = hall.connect().await;
    let mut shell = technician.shell().await;
    let held = hall.slow.hold();
    shell.type_in("waits for the disk\r").await;
    // The recorder's own clock is the machine's; only looking at it goes by the turned one.
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    hall.pass(Duration::from_millis(500)).await;
    assert_eq!(hall.target.seen.typed(), "");
    drop(held);
    shell.until("The recording is slow, so your input waits for it.").await;
    shell.until("waits for the disk").await;
    hall.pass(Duration::from_millis(500)).await;
    shell.until("The recording caught up. Your input goes on.").await;
    echo(&mut shell, "in time\r").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_does_not_answer_ends_sessions_after_the_staleness_limit() {
    let journal = Arc::new(Faulty::new(Arc::new(MemoryJournal::new()) as Arc<dyn Journal>));
    let rule = "idle = \"4h\"\nstaleness = \"30s\"";
    let hall = Hall::with(Options { rule, journal: Arc::clone(&journal) as _, ..Options::default() }).await;
    let technician = hall.connect().await;
    let mut shell = technician.shell().await;
    journal.set(Trouble::Gone);
    let begun = Instant::now();
    while hall.floor.count() > 0 {
        hall.pass(Duration::from_secs(5)).await;
        assert!(begun.elapsed() < hall::HANG, "the session goes on");
    }
    let farewell = technician.farewell().await;
    assert!(farewell.starts_with("The gate cannot reach its journal"), "{farewell}");
    shell.until(&farewell).await;
    assert!(hall.journaled(technician.session).is_none());
    journal.set(Trouble::None);
    eventually("journaled late", || {
        hall.stage.pass(Duration::from_secs(1));
        hall.journaled(technician.session) == Some((Ending::Stale, true))
    })
    .await;
}

/// The last byte that the gate wrote to each target, from the moment when the operator asked for the cut: a third of the
/// sessions send bulk, of a third the target reads nothing, and of a third the client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_of_many_sessions_is_as_fast_as_of_one() {
    let sessions = if std::env::var_os("HOLDPOINT_LONG").is_some() { 200 } else { 60 };
    let hall = Hall::new().await;
    let (mut technicians, mut unread, mut uploads) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..sessions {
        let technician = hall.connect().await;
        let command = ["sink", "deaf", "flood"][number % 3];
        let channel = technician.run(command).await;
        channel.data(&b"begin"[..]).await.unwrap();
        match command {
            "flood" => unread.push(channel),
            _ => uploads.push(channel),
        }
        technicians.push(technician);
    }
    let seen = &hall.target.seen;
    eventually("bytes of every session are at its target", || seen.live.load(Ordering::SeqCst) == sessions).await;
    let mut control_room = ControlRoom::open(&hall.stage).await;
    let mut sending = tokio::task::JoinSet::new();
    for channel in uploads {
        sending.spawn(async move { while channel.data(&[7_u8; 32 << 10][..]).await.is_ok() {} });
    }
    let flowing = || technicians.iter().filter(|technician| technician.is_at_work()).count();
    eventually("bulk flows, and nothing goes to deaf targets any more", || (1..=sessions / 3).contains(&flowing()))
        .await;
    println!("{sessions} sessions: bulk goes to the targets of {}", flowing());
    let (begun, made) = control_room.cut_the_plant().await;
    assert_eq!(made.sessions.len(), sessions);
    let mut closed = Vec::new();
    for technician in &technicians {
        closed.push(technician.socket_closed().await.duration_since(begun));
        assert!(is_cut(&technician.ended().await));
    }
    let mut written: Vec<_> = technicians.iter().map(|technician| technician.written_after(begun)).collect();
    println!("{sessions} sessions: last byte written to a target after {}", spread(&mut written));
    println!("{sessions} sessions: technicians' sockets closed after {}", spread(&mut closed));
    sending.shutdown().await;
    for technician in technicians.iter().step_by(3) {
        let farewell = technician.farewell().await;
        assert!(farewell.starts_with("Access was cut by an operator"), "{farewell}");
    }
    assert!(written[(sessions - 1) * 99 / 100] < Duration::from_millis(50), "p99 of the last byte written");
    assert!(closed[sessions - 1] < Duration::from_secs(1), "the last socket");
}

/// Sorts, and says the middle, the ninety-ninth of a hundred and the longest.
fn spread(spans: &mut [Duration]) -> String {
    spans.sort_unstable();
    let at = |percent: usize| spans[(spans.len() - 1) * percent / 100];
    format!("{:?} (p50), {:?} (p99), {:?} (longest)", at(50), at(99), at(100))
}

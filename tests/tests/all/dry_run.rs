//! What a rule would have refused, read out of recordings with the program: of sessions that nobody looked into, and of such
//! in which a gate refused already.

use std::fs;
use std::process::Command;

use policies::actions::Action;
use recordings::frame::Stream;
use recordings::leaf::Direction;
use recordings::notes::{Note, Splice};
use serde_json::Value;
use tests::plant::program;
use tests::{Ended, run};

use crate::support::connections::{ANSWER, READ, REFUSED, WRITE, opened};
use crate::support::{Lack, PLANT, Session, Store};

const MODBUS: &str = r#"protocol = "modbus""#;
const S7: &str = "protocol = \"s7\"\ngate = \"enforce\"";
const STANDING_ORDERS: &str = r#""shell", "file-get", "file-put", "observe", "tunnel""#;

/// A plant file whose one rule gives these at the controller, which speaks this.
fn plant(protocol: &str, actions: &str) -> String {
    assert!(PLANT.contains(STANDING_ORDERS) && PLANT.contains(MODBUS), "another rule, or controller, stands there");
    PLANT.replace(STANDING_ORDERS, actions).replace(MODBUS, protocol)
}

/// A session with one connection, sealed.
fn store(work: impl FnOnce(&mut Session)) -> Store {
    let (mut store, grant) = Store::granted_to("modbus", Action::Observe);
    let mut session = store.begin_at("modbus", Action::Observe, grant);
    session.note(1, &opened("10.20.2.7:502", None));
    work(&mut session);
    session.note(1, &Note::ChannelClose);
    store.end(session);
    store.close();
    store
}

fn dry_run(store: &Store, plant: &str, more: &[&str]) -> Ended {
    dry_run_with(&store.secret, store, plant, more)
}

fn dry_run_with(key: &str, store: &Store, plant: &str, more: &[&str]) -> Ended {
    fs::write(store.dir().join("auditor.key"), key).unwrap();
    fs::write(store.dir().join("plant.toml"), plant).unwrap();
    let mut typed = Command::new(program());
    typed.args(["dry-run", "--rule", "plant.toml", "--data", ".", "--key", "auditor.key"]).args(more);
    run(typed.current_dir(store.dir()), b"")
}

/// Bytes of the technician's that a gate kept back and answered itself.
fn refused(session: &mut Session, at: u64, message: &[u8]) {
    let splice = Splice { from_target: false, at, left_out: message.len() as u64, made: 0 };
    let verdict = Note::GateVerdict {
        allowed: false,
        words: "refused".into(),
        operation: None,
        spliced: vec![splice],
        checked: None,
    };
    session.data(1, Stream::In, message).data(1, Stream::GateOut, REFUSED).note(1, &verdict);
    session.lacks(Direction::In, 1, Lack::Refused, message.len() as u64);
}

#[test]
fn of_a_tunnel_it_says_what_would_have_been_refused_and_stays_in_step_with_the_answers() {
    let store = store(|session| {
        session.data(1, Stream::In, READ).data(1, Stream::Out, ANSWER);
        // Two messages in a segment, and their answers.
        session.data(1, Stream::In, &[WRITE, WRITE].concat()).data(1, Stream::Out, &[WRITE, WRITE].concat());
        session.data(1, Stream::In, &READ[..5]).data(1, Stream::In, &READ[5..]).data(1, Stream::Out, ANSWER);
    });
    let told = dry_run(&store, &plant(MODBUS, "\"observe\""), &[]);
    assert_eq!(told.code(), 1, "{}", told.out());
    let told = told.out();
    assert!(told.contains("  would pass:   observe 2\n  would refuse: operate 2\n"), "{told}");
    let row =
        "REFUSED  wrote 55 to holding register 40101 (address 100), unit 1: the rule does not give operate  (2 times, ";
    assert!(told.lines().count() == 7 && told.contains(row), "{told}");
    assert!(told.ends_with("\nSomething would have been refused in 1 of 1 session\n"), "{told}");

    let told = dry_run(&store, &plant(MODBUS, "\"observe\", \"operate\""), &[]).ok().out();
    assert!(told.contains("  would pass:   observe 2, operate 2\n  nothing would have been refused\n"), "{told}");
    assert!(told.ends_with("\nNothing would have been refused in 1 session\n"), "{told}");
    let told = dry_run(&store, &plant(MODBUS, "\"tunnel\""), &[]).ok().out();
    assert!(told.contains("tunnel lets everything pass"), "{told}");
}

#[test]
fn of_a_session_in_which_a_gate_refused_it_stays_in_step_with_what_never_reached_the_target() {
    // More than a gate lets wait for their answers, and one that no grant helps: two registers from 65535 on.
    const REFUSALS: u64 = 300;
    let beyond: &[u8] = &[0, 3, 0, 0, 0, 6, 1, 3, 0xff, 0xff, 0, 2];
    let store = store(|session| {
        session.data(1, Stream::In, READ).data(1, Stream::Out, ANSWER);
        let (first, each) = (READ.len() as u64, WRITE.len() as u64);
        (0..REFUSALS).for_each(|n| refused(session, first + n * each, WRITE));
        refused(session, first + REFUSALS * each, beyond);
        session.data(1, Stream::In, READ).data(1, Stream::Out, ANSWER);
    });
    let told = dry_run(&store, &plant(MODBUS, "\"observe\", \"operate\""), &["--json"]);
    assert_eq!(told.code(), 1, "{}", told.out());
    let found: Value = serde_json::from_str(&told.out()).unwrap();
    assert_eq!(found["passed"], serde_json::json!({ "observe": 2, "operate": REFUSALS }), "{found}");
    assert_eq!(found["refused"], serde_json::json!({ "observe": 1 }), "{found}");
    let told = dry_run(&store, &plant(MODBUS, "\"observe\""), &[]).out();
    let row = "asked to write 55 to holding register 40101 (address 100), unit 1, which did not reach the target then either: \
               the rule does not give operate  (300 times, ";
    assert!(told.contains(row), "{told}");
}

#[test]
fn of_a_controller_that_is_decoded_it_says_what_would_break_if_the_gate_enforced() {
    let stop: &[u8] = &[
        3, 0, 0, 0x21, 2, 0xf0, 0x80, 0x32, 1, 0, 0, 0, 7, 0, 0x10, 0, 0, 0x29, 0, 0, 0, 0, 0, 9, b'P', b'_', b'P',
        b'R', b'O', b'G', b'R', b'A', b'M',
    ];
    let stopped: &[u8] = &[3, 0, 0, 0x14, 2, 0xf0, 0x80, 0x32, 3, 0, 0, 0, 7, 0, 1, 0, 0, 0, 0, 0x29];
    let connect: &[u8] = &[3, 0, 0, 0x16, 0x11, 0xe0, 0, 0, 0, 1, 0, 0xc0, 1, 0xa, 0xc1, 2, 1, 0, 0xc2, 2, 1, 1];
    let mut confirm = connect.to_vec();
    confirm[5] = 0xd0;
    let store = store(|session| {
        session.data(1, Stream::In, connect).data(1, Stream::Out, &confirm);
        session.data(1, Stream::In, stop).data(1, Stream::Out, stopped);
        // S7comm-plus.
        session.data(1, Stream::In, &[3, 0, 0, 11, 2, 0xf0, 0x80, 0x72, 1, 0, 0]);
    });
    let told = dry_run(&store, &plant(S7, "\"observe\""), &[]);
    assert_eq!(told.code(), 1, "{}", told.out());
    let told = told.out();
    assert!(told.contains("  would refuse: connections 1, control 1\n"), "{told}");
    assert!(
        told.contains("the rule does not give control") && told.contains("CLOSED   closed the connection: S7comm-plus")
    );
    assert!(!told.contains("only decodes"), "{told}");
    let decodes = plant(r#"protocol = "s7""#, "\"observe\", \"shell\"");
    assert!(
        dry_run(&store, &decodes, &[]).out().contains("only decodes and refuses nothing; with gate = \"enforce\":")
    );
    let cip = plant(r#"protocol = "cip""#, "\"tunnel\"");
    dry_run(&store, &cip, &[]).refused(3, "there was nothing to judge");
}

#[test]
fn nothing_is_said_of_what_could_not_be_read_or_judged() {
    let store = store(|session| {
        session.data(1, Stream::In, READ).data(1, Stream::Out, ANSWER);
    });
    let observe = plant(MODBUS, "\"observe\"");
    let second = observe.split_once("[[rules]]").unwrap().1.replace("\"maintenance\"\nvendors", "\"night\"\nvendors");
    let two = format!("{observe}\n[[rules]]{second}");
    dry_run(&store, &two, &[])
        .refused(2, "several rules in plant.toml give something at plc-7/modbus: maintenance, night");
    assert!(dry_run(&store, &two, &["--rule-id", "night"]).ok().out().contains("rule night, which gives observe"));
    dry_run(&store, &two, &["--rule-id", "day"]).refused(2, "plant.toml has no rule day. It has maintenance, night");
    dry_run(&store, &observe, &["s_01jd0c4000000000000000000z"])
        .refused(2, "no recording s_01jd0c4000000000000000000z");
    let elsewhere = observe.replace("plc-7", "plc-8");
    let told = dry_run(&store, &elsewhere, &[]);
    assert!(told.out().contains("not looked at: plant.toml has no target plc-7"), "{}", told.out());
    told.refused(3, "there was nothing to judge");
    let stranger = dry_run_with(&Store::founded().secret, &store, &observe, &[]);
    assert!(stranger.out().contains("COULD NOT BE READ: ") && stranger.out().ends_with("; 1 could not be read\n"));
    stranger.refused(3, "not all could be read");
}

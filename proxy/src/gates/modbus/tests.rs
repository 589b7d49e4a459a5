//! The bytes of the specifications, the traps, and generated conversations.

use std::collections::BTreeMap;
use std::time::Duration;

use policies::actions::Action;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::gates::reading::Messages as _;
use crate::gates::trial::{Granted, Trial, cuts, hex};
use crate::gates::{End, Judge, Need, Passed};

const ALL_AT_ONCE: &[usize] = &[usize::MAX];
const FRAME_BYTES_MAX: usize = 260;

fn enforcing() -> Trial {
    Trial::new(gate(Mode::Enforce, Profile::default()), FRAME_BYTES_MAX)
}

fn frame(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(pdu.len() + 1).unwrap();
    [&transaction.to_be_bytes()[..], &[0, 0], &length.to_be_bytes(), &[unit], pdu].concat()
}

fn asked(pdu: &str) -> Request {
    classify(&Frame::parse(&frame(1, 1, &hex(pdu)).into()).unwrap(), &Profile::default())
}

/// What is said of a request that passes.
fn said(pdu: &str) -> String {
    asked(pdu).told.past()
}

#[test]
fn refusals_are_those_of_the_specification() {
    for (request, refusal) in [
        ("00 01 00 00 00 06 01 06 00 64 00 37", "00 01 00 00 00 03 01 86 01"),
        ("00 02 00 00 00 0b 01 10 00 64 00 02 04 00 37 00 38", "00 02 00 00 00 03 01 90 01"),
        ("00 04 00 00 00 06 01 08 00 01 00 00", "00 04 00 00 00 03 01 88 01"),
        ("00 05 00 00 00 04 01 5a 00 02", "00 05 00 00 00 03 01 da 01"),
    ] {
        for cuts in [&[1][..], ALL_AT_ONCE] {
            let mut trial = enforcing();
            trial.up(&Granted::these(&[Action::Observe, Action::Program]), &hex(request), cuts);
            assert_eq!(trial.to_technician, hex(refusal), "{request}");
            assert!(trial.to_target.is_empty() && trial.end.is_none(), "{request}");
        }
    }
}

#[test]
fn blocked_addresses_are_answered_as_if_they_were_not_there() {
    let block = Block { table: Table::HoldingRegisters, addresses: 100..=109 };
    let profile = Profile { blocked: vec![block], ..Profile::default() };
    let everything = Granted::numbered(31);
    for (pdu, is_blocked) in [
        ("03 00 64 00 01", true),
        ("03 00 5f 00 05", false),
        ("03 00 5f 00 06", true),
        ("03 00 6d 00 01", true),
        ("03 00 6e 00 01", false),
        ("04 00 64 00 01", false),
        ("06 00 64 00 37", true),
        ("10 00 63 00 02 04 00 37 00 38", true),
        ("16 00 64 00 f2 00 25", true),
        ("17 00 00 00 01 00 64 00 01 02 00 37", true),
        ("17 00 64 00 01 00 00 00 01 02 00 37", true),
        ("18 00 50 ", true),
    ] {
        let mut trial = Trial::new(gate(Mode::Enforce, profile.clone()), FRAME_BYTES_MAX);
        let pdu = hex(pdu);
        trial.up(&everything, &frame(6, 1, &pdu), ALL_AT_ONCE);
        let refusal = frame(6, 1, &[pdu[0] | 0x80, 2]);
        assert_eq!(trial.to_technician, if is_blocked { refusal } else { vec![] }, "{pdu:02x?}");
        assert_eq!(trial.to_target.is_empty(), is_blocked, "{pdu:02x?}");
    }
}

#[test]
fn what_runs_over_the_last_address_does_not_begin_again_at_the_first() {
    let mut trial = enforcing();
    trial.up(&Granted::numbered(31), &frame(0, 1, &hex("10 ff ff 00 02 04 00 01 00 02")), ALL_AT_ONCE);
    assert_eq!(trial.to_technician, frame(0, 1, &[0x90, 2]));
    trial.up(&Granted::numbered(31), &frame(0, 1, &hex("10 ff ff 00 01 02 00 01")), ALL_AT_ONCE);
    assert_eq!(
        trial.lines(),
        [
            "refused to write 1, 2 to holding registers 465536 to 465537 (addresses 65535 to 65536), unit 1",
            "wrote 1 to holding register 465536 (address 65535), unit 1"
        ]
    );
}

#[test]
fn people_read_the_names_of_the_book() {
    for (pdu, line) in [
        ("01 00 00 00 01", "read coil 00001 (address 0), unit 1"),
        ("02 00 00 00 08", "read discrete inputs 10001 to 10008 (addresses 0 to 7), unit 1"),
        ("03 00 64 00 01", "read holding register 40101 (address 100), unit 1"),
        ("03 27 0e 00 02", "read holding registers 49999 to 410000 (addresses 9998 to 9999), unit 1"),
        ("04 00 00 00 7d", "read input registers 30001 to 30125 (addresses 0 to 124), unit 1"),
        ("05 00 0a ff 00", "wrote on to coil 00011 (address 10), unit 1"),
        ("05 00 0a 00 00", "wrote off to coil 00011 (address 10), unit 1"),
        ("05 00 0a 12 34", "wrote 0x1234 to coil 00011 (address 10), unit 1"),
        ("06 00 64 00 37", "wrote 55 to holding register 40101 (address 100), unit 1"),
        ("06 00 64 ff fe", "wrote 65534 to holding register 40101 (address 100), unit 1"),
        (
            "0f 00 00 00 0a 02 cd 01",
            "wrote on, off, on, on, off, off, on, on and 2 more to coils 00001 to 00010 (addresses 0 to 9), unit 1",
        ),
        (
            "10 00 64 00 02 04 00 37 00 38",
            "wrote 55, 56 to holding registers 40101 to 40102 (addresses 100 to 101), unit 1",
        ),
        ("14 07 06 00 04 00 01 00 02", "read records 1 to 2 of file 4, unit 1"),
        ("15 09 06 00 04 00 07 00 01 06 af", "wrote record 7 of file 4, unit 1"),
        ("16 00 04 00 f2 00 25", "masked holding register 40005 (address 4), unit 1 with AND 0x00f2, OR 0x0025"),
        (
            "17 00 03 00 02 00 0e 00 01 02 00 ff",
            "wrote 255 to holding register 40015 (address 14), unit 1, and read holding registers 40004 to 40005 (addresses 3 to 4)",
        ),
        ("18 04 de", "read the queue at holding register 41247 (address 1246), unit 1"),
        ("08 00 00 a5 37", "asked for an echo, unit 1"),
        ("08 00 01 00 00", "restarted communications, unit 1"),
        ("08 00 04 00 00", "forced listen-only mode, unit 1"),
        ("08 00 63 00 00", "used unknown function 8/99, unit 1"),
        ("2b 0e 01 00", "read the basic device identification, unit 1"),
        ("2b 0e 04 01", "read ProductCode of the device identification, unit 1"),
        ("2b 0d 00", "used unknown function 43/13, unit 1"),
        ("5a 00 02", "used UMAS (Unity, Control Expert) with 2 bytes, unit 1"),
        ("64", "used unknown function 100, unit 1"),
        ("10 00 64 00 02 04 00 37", "sent a request of function 16 whose parts do not fit each other, unit 1"),
    ] {
        assert_eq!(said(pdu), line, "{pdu}");
    }
}

#[test]
fn a_request_whose_parts_do_not_fit_is_refused_whatever_was_granted() {
    for pdu in [
        "01 00 00 00 00",
        "01 00 00 07 d1",
        "03 00 64 00 7e",
        "03 00 64 00",
        "03 00 64 00 01 00",
        "05 00 0a ff",
        "06 00 64 00 37 00",
        "0f 00 00 00 0a 01 cd",
        "0f 00 00 00 0a 02 cd",
        "10 00 64 00 02 04 00 37",
        "10 00 64 00 03 04 00 37 00 38",
        "10 00 64 00 02 02 00 37 00 38",
        "10",
        "11 00",
        "14 07 06 00 04 00 01 00",
        "14 07 05 00 04 00 01 00 02",
        "14 00",
        "15 09 06 00 04 00 07 00 02 06 af",
        "17 00 03 00 02 00 0e 00 01 02 00",
        "18 04",
        "2b 0e 01",
        "2b 0e 05 00",
    ] {
        let mut trial = enforcing();
        let pdu = hex(pdu);
        trial.up(&Granted::numbered(31), &frame(9, 3, &pdu), ALL_AT_ONCE);
        assert_eq!(trial.to_technician, frame(9, 3, &[pdu[0] | 0x80, 3]), "{pdu:02x?}");
        assert!(trial.to_target.is_empty(), "{pdu:02x?}");
    }
}

/// The table of the gate's document, written a second time: what a whole request of this code needs; none where nothing
/// but `tunnel` lets it pass.
fn needs(function: u8, sub: Option<u8>) -> Option<Vec<Action>> {
    let observe = [1, 2, 3, 4, 7, 11, 12, 17, 24];
    let operate = [5, 6, 15, 16, 22, 23];
    let program = [21, 40, 42, 125, 126];
    Some(match (function, sub) {
        (8, Some(0 | 2 | 11 | 12 | 13 | 14 | 15 | 16 | 17 | 18)) | (43, Some(14)) => vec![Action::Observe],
        (8, Some(3 | 10 | 20)) => vec![Action::Operate],
        (8, Some(1 | 4)) => vec![Action::Control],
        (8 | 43, _) => return None,
        (20, _) => vec![Action::Upload],
        (90, _) => vec![Action::Program, Action::Control],
        _ if observe.contains(&function) => vec![Action::Observe],
        _ if operate.contains(&function) => vec![Action::Operate],
        _ if program.contains(&function) => vec![Action::Program],
        _ => return None,
    })
}

/// A whole request of this function.
fn whole(function: u8, sub: u8) -> Vec<u8> {
    let data = match function {
        1..=4 => hex("00 10 00 02"),
        5 => hex("00 10 ff 00"),
        6 => hex("00 10 00 07"),
        8 => vec![0, sub, 0, 0],
        15 => hex("00 10 00 03 01 05"),
        16 => hex("00 10 00 01 02 00 07"),
        20 => hex("07 06 00 04 00 01 00 02"),
        21 => hex("09 06 00 04 00 07 00 01 06 af"),
        22 => hex("00 04 00 f2 00 25"),
        23 => hex("00 03 00 02 00 0e 00 01 02 00 ff"),
        24 => hex("04 de"),
        43 => vec![sub, 1, 0],
        7 | 11 | 12 | 17 => vec![],
        _ => hex("00 02"),
    };
    [vec![function], data].concat()
}

#[test]
fn every_function_passes_with_what_it_needs_and_with_nothing_less() {
    for function in 0..=255_u8 {
        let subs = if matches!(function, 8 | 43) { 0..=255_u8 } else { 0..=0 };
        for sub in subs {
            let request = frame(7, 1, &whole(function, sub));
            let needs = needs(function, matches!(function, 8 | 43).then_some(sub));
            for set in 0..32 {
                let granted = Granted::numbered(set);
                let may = needs.as_ref().is_some_and(|needs| needs.iter().all(|action| granted.0.contains(action)));
                let mut trial = enforcing();
                trial.up(&granted, &request, ALL_AT_ONCE);
                let refusal = frame(7, 1, &[function | 0x80, 1]);
                let expected = if may { (request.clone(), vec![]) } else { (vec![], refusal) };
                assert_eq!((trial.to_target, trial.to_technician), expected, "{function}/{sub} with {granted:?}");
                assert_eq!((trial.end, trial.verdicts.len()), (None, 1));
            }
        }
    }
}

#[test]
fn a_plant_says_by_name_what_counts_as_what() {
    let code = |function, sub| Code { function, sub };
    let overrides = BTreeMap::from([
        (code(20, None), Action::Observe),
        (code(8, None), Action::Control),
        (code(8, Some(2)), Action::Observe),
        (code(100, None), Action::Operate),
    ]);
    let profile = Profile { functions: overrides, ..Profile::default() };
    for (function, sub, needed) in [
        (20, 0, Action::Observe),
        (8, 0, Action::Control),
        (8, 2, Action::Observe),
        (8, 99, Action::Control),
        (100, 0, Action::Operate),
    ] {
        let request = Frame::parse(&frame(1, 1, &whole(function, sub)).into()).unwrap();
        assert_eq!(classify(&request, &profile).need, Need::one(needed), "{function}/{sub}");
    }
}

#[test]
fn a_refused_write_between_two_reads_in_one_segment_is_answered_in_its_turn() {
    let observe = Granted::these(&[Action::Observe]);
    let reads = [frame(0, 1, &whole(3, 0)), frame(0, 1, &whole(4, 0))];
    let all = [&reads[0][..], &frame(0, 1, &whole(6, 0)), &reads[1]].concat();
    let answers = [frame(0, 1, &hex("03 04 00 01 00 02")), frame(0, 1, &hex("04 04 00 03 00 04"))];
    let refusal = frame(0, 1, &[0x86, 1]);
    let mut trial = enforcing();
    trial.up(&observe, &all, ALL_AT_ONCE);
    assert_eq!(trial.to_target, reads.concat());
    assert!(trial.to_technician.is_empty(), "nothing goes out before its turn");
    trial.down(&answers.concat(), ALL_AT_ONCE);
    assert_eq!(trial.to_technician, [&answers[0][..], &refusal, &answers[1]].concat());
}

#[test]
fn a_refusal_waits_no_longer_than_the_target_is_silent() {
    let observe = Granted::these(&[Action::Observe]);
    let mut trial = enforcing();
    trial.up(
        &observe,
        &[frame(1, 1, &whole(3, 0)), frame(2, 1, &whole(4, 0)), frame(3, 1, &whole(6, 0))].concat(),
        ALL_AT_ONCE,
    );
    trial.wait(Duration::from_millis(4_999));
    trial.down(&frame(1, 1, &hex("03 04 00 01 00 02")), ALL_AT_ONCE);
    let before = trial.to_technician.len();
    trial.wait(Duration::from_millis(4_999));
    assert_eq!(trial.to_technician.len(), before, "the target goes on answering, if slowly");
    trial.wait(Duration::from_millis(1));
    assert_eq!(trial.to_technician[before..], frame(3, 1, &[0x86, 1]));
    assert_eq!(trial.gate.due(), None);
    let late = frame(2, 1, &hex("04 04 00 03 00 04"));
    trial.down(&late, ALL_AT_ONCE);
    assert!(trial.to_technician.ends_with(&late), "an answer that comes late is an answer");
    trial.up(&observe, &frame(4, 1, &whole(6, 0)), ALL_AT_ONCE);
    assert!(trial.to_technician.ends_with(&frame(4, 1, &[0x86, 1])), "what was answered is waited for no more");
}

#[test]
fn nothing_that_was_not_asked_for_reaches_the_technician() {
    let observe = Granted::these(&[Action::Observe]);
    let answer = frame(5, 1, &hex("03 04 00 01 00 02"));
    let mut trial = enforcing();
    trial.down(&answer, ALL_AT_ONCE);
    trial.up(&observe, &frame(5, 1, &whole(3, 0)), ALL_AT_ONCE);
    trial.down(&frame(5, 1, &hex("04 04 00 01 00 02")), ALL_AT_ONCE);
    trial.down(&frame(6, 1, &hex("03 04 00 01 00 02")), ALL_AT_ONCE);
    trial.down(&frame(5, 2, &hex("03 04 00 01 00 02")), ALL_AT_ONCE);
    assert!(trial.to_technician.is_empty());
    trial.down(&[&answer[..], &answer].concat(), ALL_AT_ONCE);
    assert_eq!(trial.to_technician, answer);
    assert_eq!(
        trial.lines(),
        [
            "kept back from the target an answer that nothing waits for: function 3, transaction 5, unit 1",
            "read holding registers 40017 to 40018 (addresses 16 to 17), unit 1",
            "kept back from the target an answer that nothing waits for: function 4, transaction 5, unit 1",
            "kept back from the target an answer that nothing waits for: function 3, transaction 6, unit 1",
            "kept back from the target an answer that nothing waits for: function 3, transaction 5, unit 2",
            "kept back from the target an answer that nothing waits for: function 3, transaction 5, unit 1",
        ]
    );
}

#[test]
fn a_no_of_the_target_is_told() {
    let mut trial = enforcing();
    trial.up(&Granted::these(&[Action::Operate]), &frame(5, 1, &whole(6, 0)), ALL_AT_ONCE);
    trial.down(&frame(5, 1, &[0x86, 2]), ALL_AT_ONCE);
    assert_eq!(
        trial.lines()[1],
        "the target answered illegal data address (02) when asked to write 7 to holding register 40017 (address 16), unit 1"
    );
    assert_eq!(trial.verdicts[1].operation.code.to_string(), "134/2");
    assert_eq!(trial.verdicts[1].operation.refused, None);
    assert_eq!(trial.to_technician, frame(5, 1, &[0x86, 2]));
}

#[test]
fn a_broadcast_is_not_waited_for_and_a_refused_one_is_not_met_with_silence() {
    let operate = Granted::these(&[Action::Operate]);
    let mut trial = enforcing();
    trial.up(&operate, &frame(1, 0, &whole(6, 0)), ALL_AT_ONCE);
    trial.up(&operate, &frame(2, 1, &whole(3, 0)), ALL_AT_ONCE);
    assert_eq!(trial.to_technician, frame(2, 1, &[0x83, 1]), "nothing stood before it");
    let answer = frame(1, 0, &whole(6, 0));
    trial.down(&answer, ALL_AT_ONCE);
    assert!(trial.to_technician.ends_with(&answer), "a device without a serial line does answer");
    trial.up(&Granted::nothing(), &frame(3, 0, &whole(6, 0)), ALL_AT_ONCE);
    assert!(trial.to_technician.ends_with(&frame(3, 0, &[0x86, 1])));
}

#[test]
fn a_target_that_is_not_there_or_hangs_up_is_spoken_for() {
    let judge = Granted::these(&[Action::Operate]);
    let requests = [frame(1, 1, &whole(6, 0)), frame(2, 1, &whole(3, 0)), frame(3, 1, &whole(16, 0))].concat();
    for (code, gives_up) in [
        (0x0a, (|gate, now| gate.unreachable("no route", now)) as fn(&mut dyn Gate, Instant) -> Passed),
        (0x0b, |gate, now| gate.hung_up(now)),
    ] {
        let mut trial = enforcing();
        trial.up(&judge, &requests, ALL_AT_ONCE);
        let now = trial.now;
        let passed = gives_up(trial.gate.as_mut(), now);
        trial.take(passed);
        let answers = [frame(1, 1, &[0x86, code]), frame(2, 1, &[0x83, 1]), frame(3, 1, &[0x90, code])];
        assert_eq!(trial.to_technician, answers.concat());
        assert_eq!(trial.gate.due(), None);
    }
}

#[test]
fn polling_is_no_input_and_a_write_always_is() {
    let everything = Granted::numbered(31);
    let mut trial = enforcing();
    for (transaction, function) in [(1, 3), (2, 4), (3, 3), (4, 6), (5, 6), (6, 4), (7, 20), (8, 20)] {
        trial.up(&everything, &frame(transaction, 1, &whole(function, 0)), ALL_AT_ONCE);
        trial.down(&frame(transaction, 1, &[function, 0]), ALL_AT_ONCE);
    }
    let input: Vec<bool> = trial.verdicts.iter().map(|verdict| verdict.is_input).collect();
    assert_eq!(input, [true, true, false, true, true, false, true, false]);
}

#[test]
fn what_polls_more_than_is_remembered_is_taken_for_a_person() {
    let mut trial = enforcing();
    for round in 0..2_u16 {
        for address in 0..257_u16 {
            let [high, low] = address.to_be_bytes();
            trial.up(&Granted::numbered(1), &frame(round, 1, &[3, high, low, 0, 1]), ALL_AT_ONCE);
            trial.down(&frame(round, 1, &[3, 2, 0, 0]), ALL_AT_ONCE);
        }
    }
    assert!(trial.verdicts.iter().all(|verdict| verdict.is_input));
}

#[test]
fn a_transfer_runs_until_ten_seconds_after_its_last_message_that_passed() {
    let granted = Granted::these(&[Action::Program, Action::Control]);
    for function in 0..=255 {
        let mut trial = enforcing();
        trial.up(&Granted::nothing(), &frame(1, 1, &whole(function, 0)), ALL_AT_ONCE);
        assert!(!trial.gate.is_transferring(trial.now), "{function} did not pass");
        trial.up(&granted, &frame(1, 1, &whole(function, 0)), ALL_AT_ONCE);
        assert_eq!(trial.gate.is_transferring(trial.now), [21, 90, 125, 126].contains(&function), "{function}");
        trial.wait(Duration::from_millis(9_999));
        assert_eq!(trial.gate.is_transferring(trial.now), [21, 90, 125, 126].contains(&function), "{function}");
        trial.wait(Duration::from_millis(1));
        assert!(!trial.gate.is_transferring(trial.now), "{function}");
    }
}

#[test]
fn whoever_never_waits_for_answers_is_stopped_and_told() {
    let mut trial = enforcing();
    let request = frame(0, 1, &whole(3, 0));
    trial.up(&Granted::numbered(1), &request.repeat(256), ALL_AT_ONCE);
    assert_eq!((trial.to_target.len(), &trial.end), (256 * request.len(), &None));
    trial.wait(Duration::from_secs(5));
    trial.up(&Granted::numbered(1), &request.repeat(256), ALL_AT_ONCE);
    assert_eq!((trial.to_target.len(), &trial.end), (512 * request.len(), &None), "what is late is forgotten");
    trial.up(&Granted::numbered(1), &request.repeat(2), ALL_AT_ONCE);
    assert!(matches!(&trial.end, Some(End::Refused(why)) if why.contains("256 requests")), "{:?}", trial.end);
    assert_eq!((trial.to_target.len(), trial.held_of_program()), (512 * request.len(), 0));
}

#[test]
fn what_is_not_modbus_ends_the_connection_or_is_said_once() {
    let good = frame(1, 1, &whole(3, 0));
    let bad = hex("00 01 00 00 01 00 01 03 00 00");
    for upward in [true, false] {
        let mut trial = enforcing();
        let say = |trial: &mut Trial, bytes: &[u8]| {
            if upward { trial.up(&Granted::numbered(1), bytes, ALL_AT_ONCE) } else { trial.down(bytes, ALL_AT_ONCE) }
        };
        trial.up(&Granted::numbered(1), &good, ALL_AT_ONCE);
        say(&mut trial, &bad);
        assert!(matches!(&trial.end, Some(End::Malformed(why)) if why.contains("length field")), "{:?}", trial.end);
        say(&mut trial, &good);
        assert_eq!((trial.to_target, trial.to_technician.len()), (good.clone(), 0));

        let mut trial = Trial::new(gate(Mode::Decode, Profile::default()), FRAME_BYTES_MAX);
        trial.up(&Granted::nothing(), &good, ALL_AT_ONCE);
        trial.down(&good[..3], ALL_AT_ONCE);
        say(&mut trial, &bad);
        say(&mut trial, &bad);
        let of_target = [&good[..3], &bad, &bad].concat();
        let expected =
            if upward { ([&good[..], &bad, &bad].concat(), good[..3].to_vec()) } else { (good.clone(), of_target) };
        assert_eq!((&trial.to_target, &trial.to_technician), (&expected.0, &expected.1));
        assert_eq!((trial.verdicts.len(), &trial.end), (2, &None), "{:?}", trial.lines());
        assert!(trial.lines()[1].starts_with("what follows on this connection passes and cannot be read"));
    }
}

/// Who was granted `tunnel`.
struct Tunnelled;

impl Judge for Tunnelled {
    fn may_pass(&self, _need: Need) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn where_addresses_are_blocked_nothing_passes_that_could_reach_them_unseen() {
    let blocked = vec![Block { table: Table::HoldingRegisters, addresses: 100..=109 }];
    let own = BTreeMap::from([(Code { function: 100, sub: None }, Action::Program)]);
    for (blocked, functions, pdu, passes) in [
        (&blocked, BTreeMap::new(), "5a 00 02", false),
        (&blocked, BTreeMap::new(), "64 07 07", false),
        (&blocked, own, "64 07 07", true),
        (&blocked, BTreeMap::new(), "11", true),
        (&vec![], BTreeMap::new(), "5a 00 02", true),
    ] {
        let profile = Profile { functions, blocked: blocked.clone() };
        let mut trial = Trial::new(gate(Mode::Enforce, profile), FRAME_BYTES_MAX);
        trial.up(&Tunnelled, &frame(1, 1, &hex(pdu)), ALL_AT_ONCE);
        assert_eq!(!trial.to_target.is_empty(), passes, "{pdu}");
        assert_eq!(trial.to_technician.get(8).copied(), (!passes).then_some(1), "{pdu}");
    }
}

#[test]
fn decoding_passes_everything_and_tells_it() {
    let profile =
        Profile { blocked: vec![Block { table: Table::HoldingRegisters, addresses: 0..=65535 }], ..Profile::default() };
    let mut trial = Trial::new(gate(Mode::Decode, profile), FRAME_BYTES_MAX);
    let requests: Vec<u8> =
        (0..=255_u8).flat_map(|function| frame(u16::from(function), 1, &whole(function, 0))).collect();
    let odd = frame(0, 1, &hex("10 00 64 00 02 04 00 37"));
    trial.up(&Granted::nothing(), &[&requests[..], &odd].concat(), &[1]);
    assert_eq!(trial.to_target, [&requests[..], &odd].concat());
    let stray = frame(9, 9, &[9]);
    trial.down(&stray, &[1]);
    assert_eq!(trial.to_technician, stray);
    assert_eq!(trial.verdicts.len(), 258);
    assert!(trial.verdicts.iter().all(|verdict| verdict.operation.refused.is_none()));
}

#[derive(Debug, Clone)]
enum Step {
    /// Requests in one batch.
    Ask(Vec<Asking>, Vec<usize>),
    /// The target answers the request with this place among those that wait, well or with an exception.
    Answer(Index, bool, Vec<usize>),
    /// It says what nothing waits for.
    Stray(Vec<usize>),
    Wait(u64),
}

#[derive(Debug, Clone)]
struct Asking {
    transaction: u16,
    unit: u8,
    function: u8,
    sub: u8,
    /// Without its last byte.
    is_cut_short: bool,
}

impl Asking {
    fn pdu(&self) -> Vec<u8> {
        let mut pdu = whole(self.function, self.sub);
        if self.is_cut_short && pdu.len() > 1 {
            pdu.pop();
        }
        pdu
    }

    /// Whether the model lets it pass.
    fn may_pass(&self, granted: &Granted) -> bool {
        let sub = matches!(self.function, 8 | 43).then_some(self.sub);
        let opaque = [8, 40, 42, 90, 125, 126].contains(&self.function);
        let is_whole = !self.is_cut_short || opaque || self.pdu().len() == whole(self.function, self.sub).len();
        is_whole && needs(self.function, sub).is_some_and(|needs| needs.iter().all(|action| granted.0.contains(action)))
    }

    fn frame(&self) -> Vec<u8> {
        frame(self.transaction, self.unit, &self.pdu())
    }
}

fn asking() -> impl Strategy<Value = Asking> {
    let common = prop::sample::select(vec![1, 3, 4, 5, 6, 8, 15, 16, 20, 21, 23, 43, 90]);
    let function = prop_oneof![3 => common, 1 => any::<u8>()];
    (0..3_u16, 0..3_u8, function, 0..22_u8, prop::bool::weighted(0.1)).prop_map(
        |(transaction, unit, function, sub, is_cut_short)| Asking { transaction, unit, function, sub, is_cut_short },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (prop::collection::vec(asking(), 1..6), cuts()).prop_map(|(asked, cuts)| Step::Ask(asked, cuts)),
        4 => (any::<Index>(), any::<bool>(), cuts()).prop_map(|(which, well, cuts)| Step::Answer(which, well, cuts)),
        1 => cuts().prop_map(Step::Stray),
        1 => (0..7_000_u64).prop_map(Step::Wait),
    ]
}

/// What the test knows: what the target was given and has not answered, and what the technician has to have got.
#[derive(Default)]
struct Model {
    unanswered: Vec<Asking>,
    to_target: Vec<u8>,
    asked: Vec<(u16, u8, u8)>,
    in_order: bool,
}

impl Model {
    fn ask(&mut self, asking: &Asking, granted: &Granted) {
        self.asked.push((asking.transaction, asking.unit, asking.function | 0x80));
        if asking.may_pass(granted) {
            self.to_target.extend(asking.frame());
            self.unanswered.push(asking.clone());
        }
    }

    fn answer(&mut self, which: usize, well: bool) -> Vec<u8> {
        self.in_order &= which == 0;
        let asked = self.unanswered.remove(which);
        let pdu = if well { vec![asked.function, 0, 0] } else { vec![asked.function | 0x80, 2] };
        frame(asked.transaction, asked.unit, &pdu)
    }

    fn nothing_of_a_refused_request_reaches_the_target(&self, trial: &Trial) {
        assert_eq!(trial.to_target, self.to_target);
    }

    fn each_request_got_exactly_one_answer(&self, trial: &Trial) {
        let mut got = answers(&trial.to_technician);
        if self.in_order {
            assert_eq!(got, self.asked, "in their order");
        }
        let mut asked = self.asked.clone();
        got.sort_unstable();
        asked.sort_unstable();
        assert_eq!(got, asked);
    }
}

/// Whose answers these are.
fn answers(bytes: &[u8]) -> Vec<(u16, u8, u8)> {
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut frames = Stream::default();
    let mut answers = Vec::new();
    while let Some(answer) = frames.next(&mut rest).unwrap() {
        answers.push((answer.transaction(), answer.unit(), answer.function() | 0x80));
    }
    answers
}

proptest! {
    #[test]
    fn whatever_is_said_the_target_gets_what_may_pass_and_the_technician_one_answer_to_each(
        set in 0..32_usize,
        steps in prop::collection::vec(step(), 1..20),
    ) {
        let granted = Granted::numbered(set);
        let mut trial = enforcing();
        let mut model = Model { in_order: true, ..Model::default() };
        for step in steps {
            match step {
                Step::Ask(asked, cuts) => {
                    asked.iter().for_each(|asking| model.ask(asking, &granted));
                    let bytes: Vec<u8> = asked.iter().flat_map(Asking::frame).collect();
                    trial.up(&granted, &bytes, &cuts);
                }
                Step::Answer(which, well, cuts) if !model.unanswered.is_empty() => {
                    let answer = model.answer(which.index(model.unanswered.len()), well);
                    trial.down(&answer, &cuts);
                }
                Step::Answer(..) => {}
                Step::Stray(cuts) => trial.down(&frame(77, 1, &[3, 0]), &cuts),
                // Who waits long enough may be answered out of order, and a broadcast is never waited for.
                Step::Wait(millis) => {
                    model.in_order = false;
                    trial.wait(Duration::from_millis(millis));
                }
            }
            model.nothing_of_a_refused_request_reaches_the_target(&trial);
        }
        model.in_order &= model.asked.iter().all(|(_, unit, _)| *unit != 0);
        while !model.unanswered.is_empty() {
            let answer = model.answer(0, true);
            trial.down(&answer, ALL_AT_ONCE);
        }
        model.each_request_got_exactly_one_answer(&trial);
        prop_assert_eq!((trial.held_of_program(), &trial.end), (0, &None));
    }

    #[test]
    fn any_bytes_are_read_or_refused_and_all_accounted_for(
        mode in prop::sample::select(vec![Mode::Enforce, Mode::Decode]),
        said in prop::collection::vec((any::<bool>(), prop::collection::vec(prop_oneof![Just(0), Just(6), any::<u8>()], 0..300)), 1..6),
        cuts in cuts(),
    ) {
        let mut trial = Trial::new(gate(mode, Profile::default()), FRAME_BYTES_MAX);
        for (upward, bytes) in &said {
            if *upward { trial.up(&Granted::numbered(31), bytes, &cuts) } else { trial.down(bytes, &cuts) }
        }
        if mode == Mode::Decode {
            let all: Vec<u8> = said.iter().filter(|(upward, _)| *upward).flat_map(|(_, bytes)| bytes.clone()).collect();
            prop_assert!(all.starts_with(&trial.to_target) && trial.end.is_none());
        }
    }
}

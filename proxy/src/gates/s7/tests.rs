//! The bytes of the specifications, the traps, real conversations, and generated ones.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::gates::trial::{Granted, Trial, cuts, hex};
use crate::gates::{End, Need};

const ALL_AT_ONCE: &[usize] = &[usize::MAX];
/// A message of several packets, and a packet behind it.
const HELD_BYTES_MAX: usize = packets::CUT_BYTES_MAX + packets::PACKET_BYTES_MAX;

const CONNECT: &str = "0300001611e00000000100c0010ac1020100c2020101";
const CONFIRM: &str = "0300001611d00001000100c0010ac1020100c2020101";

fn packet(eot: bool, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len() + 7).unwrap().to_be_bytes();
    [&[3, 0][..], &length, &[2, 0xf0, if eot { 0x80 } else { 0 }], data].concat()
}

fn pdu(kind: u8, reference: u16, head: &[u8], parameters: &[u8], data: &[u8]) -> Vec<u8> {
    let length = |part: &[u8]| u16::try_from(part.len()).unwrap().to_be_bytes();
    let lengths = [length(parameters), length(data)].concat();
    [&[0x32, kind, 0, 0][..], &reference.to_be_bytes(), &lengths, head, parameters, data].concat()
}

fn job(reference: u16, parameters: &[u8], data: &[u8]) -> Vec<u8> {
    packet(true, &pdu(1, reference, &[], parameters, data))
}

fn answer(reference: u16, error: [u8; 2], parameters: &[u8], data: &[u8]) -> Vec<u8> {
    packet(true, &pdu(3, reference, &error, parameters, data))
}

fn userdata(reference: u16, direction_and_group: u8, subfunction: u8, data: &[u8]) -> Vec<u8> {
    packet(true, &pdu(7, reference, &[], &[0, 1, 0x12, 4, 0x11, direction_and_group, subfunction, 0x77], data))
}

fn service(reference: u16, argument: &[u8], name: &[u8]) -> Vec<u8> {
    let argument_bytes = u16::try_from(argument.len()).unwrap().to_be_bytes();
    let name_bytes = u8::try_from(name.len()).unwrap();
    let head = [0x28, 0, 0, 0, 0, 0, 0, 0xfd];
    job(reference, &[&head[..], &argument_bytes, argument, &[name_bytes], name].concat(), &[])
}

fn fresh(mode: Mode) -> Trial {
    Trial::new(gate(mode), HELD_BYTES_MAX)
}

/// Connected, with nothing of that in what the test looks at.
fn connected(mode: Mode) -> Trial {
    let mut trial = fresh(mode);
    trial.up(&Granted::these(&[Action::Observe]), &hex(CONNECT), ALL_AT_ONCE);
    trial.down(&hex(CONFIRM), ALL_AT_ONCE);
    assert_eq!((&trial.to_target, &trial.to_technician), (&hex(CONNECT), &hex(CONFIRM)));
    trial.to_target.clear();
    trial.to_technician.clear();
    trial.verdicts.clear();
    trial
}

/// What is said of a request that passes, and how one without any grant is answered.
fn said(request: &[u8]) -> (String, Need, Vec<u8>) {
    let message = Message::parse(&request.to_vec().into()).unwrap();
    let Ok(Classified::Request(request)) = classify(&message) else { panic!("{message:?}") };
    (request.told.past(), request.need, refuse(&message).unwrap().to_vec())
}

#[test]
fn refusals_are_those_of_the_specification() {
    for (request, refusal) in [
        (
            "0300002402f080320100000200000e00050501120a100200010001840000000004000837",
            "03000016 02f080 3203 0000 0200 0002 0001 0000 0501 03",
        ),
        (
            "0300002102f0803201000008000010000029000000000009505f50524f4752414d",
            "03000014 02f080 3203 0000 0800 0001 0000 8703 29",
        ),
        (
            "0300002502f0803201000009000014000028000000000000fd000009505f50524f4752414d",
            "03000014 02f080 3203 0000 0900 0001 0000 8703 28",
        ),
        (
            "0300002302f080320100001000001200001d00000000000000095f3041303030303141",
            "03000014 02f080 3203 0000 1000 0001 0000 8703 1d",
        ),
        (
            "0300002102f080320700000500000800080001120411440100ff09000404240000",
            "03000021 02f080 3207 0000 0500 000c 0004 000112081284010000 00d241 0a000000",
        ),
        (
            "0300001f02f080320100000000000e00000401120a10020004000184000000",
            "03000019 02f080 3203 0000 0000 0002 0004 0000 0401 03000000",
        ),
    ] {
        for cuts in [&[1][..], ALL_AT_ONCE] {
            let mut trial = connected(Mode::Enforce);
            trial.up(&Granted::nothing(), &hex(request), cuts);
            let refusal = hex(refusal);
            assert_eq!(trial.to_technician, refusal, "{request}");
            assert!(trial.to_target.is_empty() && trial.end.is_none(), "{request}");
        }
    }
}

#[test]
fn each_of_ten_items_of_a_write_is_refused() {
    let item = hex("120a 10 02 0001 0001 84 000000");
    let parameters = [vec![0x05, 10], item.repeat(10)].concat();
    let data = hex("00 04 0008 37 00").repeat(10);
    let (line, need, refusal) = said(&job(0x0102, &parameters, &data[..data.len() - 1]));
    assert_eq!(need, Need::one(Action::Operate));
    assert_eq!(refusal, hex("0300001f 02f080 3203 0000 0102 0002 000a 0000 050a 03030303030303030303"));
    assert!(line.starts_with("wrote 1 byte to DB1.DBB0: 55; ") && line.ends_with("; and 6 more"), "{line}");
}

#[test]
fn people_read_what_is_done() {
    let read = |item: &str| job(1, &[vec![4, 1], hex(item)].concat(), &[]);
    let write = |item: &str, data: &str| job(1, &[vec![5, 1], hex(item)].concat(), &hex(data));
    for (request, line) in [
        (read("120a 10 02 0004 0001 84 000000"), "read 4 bytes from DB1.DBB0"),
        (read("120a 10 01 0001 0007 84 00001b"), "read 1 bit from DB7.DBX3.3"),
        (read("120a 10 04 0002 0000 83 000050"), "read 2 words from MW10"),
        (read("120a 10 01 0001 0000 81 00000a"), "read 1 bit from I1.2"),
        (read("120a 10 1c 0001 0000 1c 000005"), "read 1 counter from C5"),
        (read("120e b2 ff 0000 0000 00000000 20000000"), "read a value from an address of kind b2"),
        (write("120a 10 02 0001 0001 84 000000", "00 04 0008 37"), "wrote 1 byte to DB1.DBB0: 55"),
        (write("120a 10 01 0001 0000 82 000000", "00 03 0001 01"), "wrote 1 bit to Q0.0: on"),
        (write("120a 10 05 0001 0001 84 000010", "00 04 0010 ffff"), "wrote 1 int to DB1.DBW2: -1"),
        (write("120a 10 08 0001 0001 84 000020", "00 07 0004 3fc00000"), "wrote 1 real to DB1.DBD4: 1.5"),
        (service(1, b"", b"P_PROGRAM"), "started the CPU (PI service P_PROGRAM)"),
        (service(1, b"C ", b"P_PROGRAM"), "started the CPU cold (PI service P_PROGRAM)"),
        (service(1, b"\x01\x000A00001P", b"_INSE"), "activated DB1 (PI service _INSE)"),
        (service(1, b"\x02\x00080000100800002B", b"_DELE"), "deleted OB1, OB2 (PI service _DELE)"),
        (service(1, b"EP", b"_MODU"), "copied RAM to ROM (PI service _MODU)"),
        (service(1, b"", b"_N_LOGIN_"), "used unknown PI service _N_LOGIN_"),
        (
            job(1, &hex("1a 00 0100 00000000 09 5f30413030303031 50 0d 31303030313936303030313030"), &[]),
            "requested the download of DB1",
        ),
        (job(1, &hex("1d 00 0000 00000000 09 5f3041303030303141"), &[]), "started the upload of DB1"),
        (job(1, &hex("f0 00 0001 0001 01e0"), &[]), "agreed on messages of at most 480 bytes"),
        (job(1, &hex("29 00 0000 0000 09 50 5f50524f4752414d"), &[]), "stopped the CPU"),
        (job(1, &hex("44"), &[]), "used unknown function 44"),
        (
            userdata(1, 0x44, 0x01, &hex("ff 09 0004 0011 0000")),
            "read status list 0011 (module identification), index 0000",
        ),
        (userdata(1, 0x45, 0x01, &hex("ff 09 0008 26 30 10 17 20 36 55 43")), "sent a password (masked)"),
        (userdata(1, 0x47, 0x02, &hex("ff 09 000a 00 20 26 11 28 15 14 13 00 06")), "set the clock"),
        (userdata(1, 0x41, 0x0c, &hex("0a 00 0000")), "reset the memory"),
        (userdata(1, 0x4b, 0x01, &hex("0a 00 0000")), "sent unknown userdata b/01"),
        (hex(CONNECT), "connected as programming device, to rack 0, slot 1"),
    ] {
        assert_eq!(said(&request).0, line, "{request:02x?}");
    }
}

/// The table of the gate's document, written a second time: what a job of this function needs.
fn job_needs(function: u8) -> Option<Action> {
    match function {
        0xf0 | 0x04 => Some(Action::Observe),
        0x05 => Some(Action::Operate),
        0x1d..=0x1f => Some(Action::Upload),
        0x1a..=0x1c => Some(Action::Program),
        0x29 => Some(Action::Control),
        _ => None,
    }
}

/// The same of userdata that asks.
fn userdata_needs(group: u8, subfunction: u8) -> Need {
    let one = |sets: &[(&[u8], Action)]| {
        let set = sets.iter().find(|(subfunctions, _)| subfunctions.contains(&subfunction));
        set.map_or(Need::Unknown, |(_, action)| Need::one(*action))
    };
    match group {
        0 => Need::one(Action::Control),
        1 => one(&[
            (&[1, 2, 3, 4, 5, 6, 0x10, 0x11, 0x13], Action::Observe),
            (&[8, 0x0d, 0x0e, 0x0f, 0x12, 0x16], Action::Operate),
            (&[7, 9, 0x0a, 0x0b, 0x0c], Action::Control),
        ]),
        2 => one(&[(&[1, 4, 5, 7, 8], Action::Observe)]),
        3 => one(&[(&[1, 2, 3], Action::Observe)]),
        4 => one(&[(&[1, 2, 0x0d], Action::Observe), (&[6, 7, 0x0e], Action::Operate)]),
        5 if subfunction == 1 => Need::MoreThanObserve,
        6 => Need::one(Action::Operate),
        7 => one(&[(&[1, 3], Action::Observe), (&[2, 4], Action::Control)]),
        0xf => Need::one(Action::Program),
        _ => Need::Unknown,
    }
}

#[test]
fn every_function_and_subfunction_needs_what_the_table_says() {
    for function in 0..=255_u8 {
        let parameters = match function {
            0x04 | 0x05 => [vec![function, 1], hex("120a 10 02 0001 0001 84 000000")].concat(),
            _ => vec![function],
        };
        let need = if function == 0x28 { None } else { job_needs(function) };
        let expected = need.map_or(Need::Unknown, Need::one);
        assert_eq!(said(&job(1, &parameters, &[])).1, expected, "{function:02x}");
    }
    for group in 0..16_u8 {
        for subfunction in 0..=255_u8 {
            let expected = userdata_needs(group, subfunction);
            assert_eq!(said(&userdata(1, 0x40 | group, subfunction, &[])).1, expected, "{group:x}/{subfunction:02x}");
            let told = if matches!(group, 0 | 6) { expected } else { Need::Unknown };
            assert_eq!(said(&userdata(1, group, subfunction, &[])).1, told, "told {group:x}/{subfunction:02x}");
            for direction in (1..16).filter(|direction| *direction != 4) {
                let odd = userdata(1, direction << 4 | group, subfunction, &[]);
                assert_eq!(said(&odd).1, Need::Unknown, "{direction:x}{group:x}/{subfunction:02x}");
            }
        }
    }
    let services: [(&[u8], Option<Action>); 9] = [
        (b"P_PROGRAM", Some(Action::Control)),
        (b"_INSE", Some(Action::Program)),
        (b"_INS2", Some(Action::Program)),
        (b"_DELE", Some(Action::Program)),
        (b"_MODU", Some(Action::Program)),
        (b"_GARB", Some(Action::Program)),
        (b"_N_LOGIN_", None),
        (b"_INSE\0", None),
        (b"", None),
    ];
    for (name, action) in services {
        assert_eq!(said(&service(1, b"", name)).1, action.map_or(Need::Unknown, Need::one), "{name:?}");
    }
}

#[test]
fn what_is_granted_passes_and_nothing_else() {
    let requests = [
        service(1, b"", b"P_PROGRAM"),
        service(1, b"", b"_INSE"),
        job(1, &[&[5, 1][..], &hex("120a 10 02 0001 0001 84 000000")].concat(), &hex("00 04 0008 37")),
        job(1, &hex("1d 00 0000 00000000 09 5f3041303030303141"), &[]),
        userdata(1, 0x45, 0x01, &hex("ff 09 0008 26 30 10 17 20 36 55 43")),
        userdata(1, 0x44, 0x01, &hex("ff 09 0004 0011 0000")),
        job(1, &[0x29], &[]),
        job(1, &[0x77], &[]),
    ];
    for request in requests {
        let need = said(&request).1;
        for set in 0..32 {
            let granted = Granted::numbered(set);
            let may = match need {
                Need::All(actions) => actions.iter().all(|action| granted.0.contains(action)),
                Need::Sight => false,
                Need::MoreThanObserve => set & !1 != 0,
                Need::Unknown => false,
            };
            let mut trial = connected(Mode::Enforce);
            trial.up(&granted, &request, ALL_AT_ONCE);
            assert_eq!(trial.to_target == request, may, "{request:02x?} with {granted:?}");
            assert_eq!(trial.to_technician.is_empty(), may, "{request:02x?} with {granted:?}");
        }
    }
}

#[test]
fn a_write_cut_behind_its_function_is_a_write() {
    let whole = pdu(1, 9, &[], &[&[5, 1][..], &hex("120a 10 02 0001 0001 84 000000")].concat(), &hex("00 04 0008 37"));
    for cut in 0..=whole.len() {
        let (first, second) = whole.split_at(cut);
        let packets = [packet(false, first), packet(false, b""), packet(true, second)].concat();
        let mut trial = connected(Mode::Enforce);
        trial.up(&Granted::these(&[Action::Observe]), &packets, ALL_AT_ONCE);
        assert!(trial.to_target.is_empty(), "cut at {cut}");
        assert_eq!(trial.to_technician, answer(9, [0, 0], &[5, 1], &[3]), "cut at {cut}");
        trial.up(&Granted::these(&[Action::Operate]), &packets, &[1]);
        assert_eq!(trial.to_target, packets, "as it came");
    }
}

#[test]
fn two_messages_in_one_segment_are_two_and_two_pdus_in_one_message_are_none() {
    let (read, stop) =
        (job(1, &[&[4, 1][..], &hex("120a 10 02 0004 0001 84 000000")].concat(), &[]), job(2, &[0x29], &[]));
    let mut trial = connected(Mode::Enforce);
    trial.up(&Granted::these(&[Action::Observe]), &[&read[..], &stop].concat(), ALL_AT_ONCE);
    assert_eq!(trial.to_target, read);
    let read_answer = answer(1, [0, 0], &[4, 1], &hex("ff 04 0020 00000000"));
    trial.down(&read_answer, ALL_AT_ONCE);
    assert_eq!(trial.to_technician, [&read_answer[..], &answer(2, [0x87, 3], &[0x29], &[])].concat());

    let mut trial = connected(Mode::Enforce);
    trial.up(&Granted::numbered(31), &packet(true, &[&read[7..], &stop[7..]].concat()), ALL_AT_ONCE);
    assert!(matches!(trial.end, Some(End::Malformed(_))) && trial.to_target.is_empty());
}

#[test]
fn what_lies_about_its_length_goes_no_further() {
    let beyond = |at: usize, value: u8| {
        let mut request = job(1, &[0x29], &[]);
        request[at] = value;
        request
    };
    // Version, reserved, packet, COTP, parameters, data.
    for (at, value) in
        [(0, 2), (1, 1), (3, 6), (2, 0x30), (4, 3), (5, 0x70), (5, 0x20), (13, 1), (14, 2), (15, 1), (8, 9)]
    {
        let mut trial = connected(Mode::Enforce);
        trial.up(&Granted::numbered(31), &beyond(at, value), &[1]);
        assert!(matches!(trial.end, Some(End::Malformed(_))), "{at}");
        assert!(trial.to_target.is_empty() && trial.held_of_program() == 0, "{at}");
    }
    let long = packet(false, &vec![0; 4000]);
    let mut trial = connected(Mode::Enforce);
    trial.up(&Granted::numbered(31), &long.repeat(3), ALL_AT_ONCE);
    assert!(matches!(trial.end, Some(End::Malformed(_))));
    let mut trial = connected(Mode::Enforce);
    trial.up(&Granted::numbered(31), &packet(false, b"").repeat(3000), ALL_AT_ONCE);
    assert!(matches!(trial.end, Some(End::Malformed(_))), "packets without data are not collected for ever");
}

#[test]
fn a_service_whose_name_is_longer_than_its_message_is_unknown() {
    let mut request = service(1, b"", b"P_PROGRAM");
    let length_at = request.len() - 10;
    assert_eq!(request[length_at], 9);
    for length in [0, 8, 10, 255] {
        request[length_at] = length;
        assert_eq!(said(&request).1, Need::Unknown, "{length}");
    }
}

#[test]
fn items_that_do_not_fill_their_job_are_refused_whatever_was_granted() {
    let item = "120a 10 02 0001 0001 84 000000";
    let refused_items = |count: usize| answer(1, [0, 0], &[5, u8::try_from(count).unwrap()], &vec![3; count]);
    for (items, refusal) in [
        (format!("05 02 {item}"), refused_items(2)),
        (format!("05 01 {item} 00"), refused_items(1)),
        (format!("05 01 {item} {item}"), refused_items(1)),
        ("05 01 12ff 10 02 0001 0001 84 000000".to_owned(), refused_items(1)),
        ("05 01 130a 10 02 0001 0001 84 000000".to_owned(), refused_items(1)),
        ("05 00".to_owned(), answer(1, [0x87, 3], &[5], &[])),
        ("05".to_owned(), answer(1, [0x87, 3], &[5], &[])),
        ("04 00".to_owned(), answer(1, [0x87, 3], &[4], &[])),
    ] {
        let mut trial = connected(Mode::Enforce);
        trial.up(&Granted::numbered(31), &job(1, &hex(&items), &[]), ALL_AT_ONCE);
        assert_eq!((trial.to_target.len(), &trial.to_technician), (0, &refusal), "{items}");
    }
}

#[test]
fn s7comm_plus_is_closed_at_its_first_byte_and_passes_where_the_gate_decodes() {
    let plus = packet(true, &hex("72 01 00 05 31 00 00 04 ca"));
    let read = job(1, &[0xf0, 0, 0, 1, 0, 1, 1, 0xe0], &[]);
    for before in [Vec::new(), read] {
        let mut trial = connected(Mode::Enforce);
        trial.up(&Granted::numbered(31), &[&before[..], &plus].concat(), ALL_AT_ONCE);
        assert_eq!(trial.to_target, before);
        assert!(matches!(&trial.end, Some(End::Refused(why)) if why.contains("tunnel")), "{:?}", trial.end);

        let mut trial = connected(Mode::Decode);
        let anything = b"whatever follows";
        trial.up(&Granted::nothing(), &[&before[..], &plus, anything].concat(), ALL_AT_ONCE);
        trial.down(anything, ALL_AT_ONCE);
        assert_eq!(trial.to_target, [&before[..], &plus, anything].concat());
        assert_eq!(trial.to_technician, anything);
        assert!(trial.end.is_none() && trial.lines().last().unwrap().contains("S7comm-plus"));
    }
    let mut trial = connected(Mode::Enforce);
    trial.up(&Granted::numbered(31), &packet(true, &hex("61 30")), ALL_AT_ONCE);
    assert!(matches!(&trial.end, Some(End::Refused(why)) if why.contains("another protocol")));
}

#[test]
fn a_connection_that_may_not_be_is_answered_and_closed() {
    let mut trial = fresh(Mode::Enforce);
    trial.up(&Granted::nothing(), &hex(CONNECT), &[1]);
    assert_eq!(trial.to_technician, hex("0300000b 06 80 0001 0000 00"));
    assert!(matches!(trial.end, Some(End::Refused(_))) && trial.to_target.is_empty());

    let mut trial = fresh(Mode::Enforce);
    trial.up(&Granted::numbered(31), &job(1, &[0x29], &[]), ALL_AT_ONCE);
    assert!(matches!(trial.end, Some(End::Malformed(_))), "nothing goes before the connection request");

    let mut trial = fresh(Mode::Enforce);
    trial.up(&Granted::numbered(31), &hex(CONNECT), ALL_AT_ONCE);
    let now = trial.now;
    let passed = trial.gate.unreachable("no route", now);
    trial.take(passed);
    assert_eq!(trial.to_technician, hex("0300000b 06 80 0001 0000 02"));
}

/// A download of one block, as a target and a program speak it: who says what.
fn download() -> Vec<(bool, Vec<u8>)> {
    let block = hex("00 0000 00000000 09 5f3041303030303150");
    let about = |function: u8| [&[function][..], &block].concat();
    vec![
        (true, job(1, &about(0x1a), &[])),
        (false, answer(1, [0, 0], &[0x1a], &[])),
        (false, job(0x100, &about(0x1b), &[])),
        (true, answer(0x100, [0, 0], &[0x1b, 1], &hex("0004 00fb 01020304"))),
        (false, job(0x101, &about(0x1b), &[])),
        (true, answer(0x101, [0, 0], &[0x1b, 0], &hex("0004 00fb 01020304"))),
        (false, job(0x102, &about(0x1c), &[])),
        (true, answer(0x102, [0, 0], &[0x1c], &[])),
        (true, service(2, b"\x01\x000A00001P", b"_INSE")),
        (false, answer(2, [0, 0], &[0x28], &[])),
    ]
}

#[test]
fn a_download_runs_from_its_first_answer_until_what_was_downloaded_is_activated() {
    for mode in [Mode::Enforce, Mode::Decode] {
        let mut trial = connected(mode);
        let granted = Granted::these(&[Action::Observe, Action::Program]);
        let steps = download();
        for (n, (upward, bytes)) in steps.iter().enumerate() {
            assert_eq!(trial.gate.is_transferring(trial.now), (2..steps.len()).contains(&n), "before {n}");
            if *upward {
                trial.up(&granted, bytes, &[1]);
            } else {
                trial.down(bytes, &[1]);
            }
            if n + 1 < steps.len() {
                trial.wait(Duration::from_secs(29));
            }
        }
        assert!(!trial.gate.is_transferring(trial.now), "activated");
        let of =
            |side: bool| steps.iter().filter(move |(upward, _)| *upward == side).flat_map(|(_, bytes)| bytes.clone());
        assert_eq!((trial.to_target.clone(), trial.to_technician.clone()), (of(true).collect(), of(false).collect()));
        assert_eq!(trial.lines(), ["requested the download of DB1", "activated DB1 (PI service _INSE)"]);
    }
}

#[test]
fn a_download_that_is_silent_for_thirty_seconds_or_was_refused_runs_no_more() {
    let granted = Granted::these(&[Action::Program]);
    let mut trial = connected(Mode::Enforce);
    for (upward, bytes) in &download()[..3] {
        if *upward { trial.up(&granted, bytes, ALL_AT_ONCE) } else { trial.down(bytes, ALL_AT_ONCE) }
    }
    trial.wait(Duration::from_millis(29_999));
    assert!(trial.gate.is_transferring(trial.now));
    trial.wait(Duration::from_millis(1));
    assert!(!trial.gate.is_transferring(trial.now));

    let mut trial = connected(Mode::Enforce);
    trial.up(&granted, &download()[0].1, ALL_AT_ONCE);
    trial.down(&packet(true, &pdu(2, 1, &[0xd2, 0x41], &[], &[])), ALL_AT_ONCE);
    assert!(!trial.gate.is_transferring(trial.now));
    assert_eq!(
        trial.lines()[1],
        "the target answered not permitted in the current protection level (d2 41) when asked to request the download of DB1"
    );
}

#[test]
fn program_data_passes_only_where_a_download_was_let_begin_and_the_target_asked() {
    let steps = download();
    let data = &steps[3].1;
    let everything = Granted::numbered(31);
    let mut trial = connected(Mode::Enforce);
    trial.up(&everything, data, ALL_AT_ONCE);
    trial.down(&steps[2].1, ALL_AT_ONCE);
    trial.up(&everything, data, ALL_AT_ONCE);
    assert!(trial.to_target.is_empty(), "no download began");
    assert!(trial.to_technician == steps[2].1 && trial.end.is_none());
    for (upward, bytes) in &steps[..4] {
        if *upward { trial.up(&everything, bytes, ALL_AT_ONCE) } else { trial.down(bytes, ALL_AT_ONCE) }
    }
    assert!(trial.to_target.ends_with(data));
    let before = trial.to_target.len();
    trial.up(&everything, data, ALL_AT_ONCE);
    assert_eq!(trial.to_target.len(), before, "asked once, answered once");
}

#[test]
fn answers_nobody_waits_for_are_kept_back_and_what_a_target_tells_unasked_passes() {
    let mut trial = connected(Mode::Enforce);
    let stop = job(1, &[0x29], &[]);
    trial.up(&Granted::these(&[Action::Control]), &stop, ALL_AT_ONCE);
    trial.down(&answer(2, [0, 0], &[0x29], &[]), ALL_AT_ONCE);
    trial.down(&answer(1, [0, 0], &[0x28], &[]), ALL_AT_ONCE);
    assert!(trial.to_technician.is_empty());
    let right = answer(1, [0, 0], &[0x29], &[]);
    trial.down(&right.repeat(2), ALL_AT_ONCE);
    assert_eq!(trial.to_technician, right);
    assert_eq!(
        trial.lines()[3],
        "kept back from the target an answer of function 29 that nothing waits for, reference 1"
    );
    let pushed = userdata(0, 0x00, 0x02, &hex("ff 09 0000"));
    trial.down(&pushed, ALL_AT_ONCE);
    assert!(trial.to_technician.ends_with(&pushed));
}

#[test]
fn a_no_of_the_target_is_told() {
    let write = job(1, &[&[5, 1][..], &hex("120a 10 02 0001 0001 84 000000")].concat(), &hex("00 04 0008 37"));
    let mut trial = connected(Mode::Enforce);
    trial.up(&Granted::these(&[Action::Operate]), &write, ALL_AT_ONCE);
    trial.down(&answer(1, [0, 0], &[5, 1], &[0x0a]), ALL_AT_ONCE);
    assert_eq!(
        trial.lines()[1],
        "the target answered object does not exist (0a) when asked to write 1 byte to DB1.DBB0: 55"
    );
    trial.up(&Granted::these(&[Action::Observe]), &userdata(2, 0x44, 0x01, &hex("ff 09 0004 0011 0000")), ALL_AT_ONCE);
    let no = hex("03000021 02f080 3207 0000 0002 000c 0004 000112081284010000 00d401 0a000000");
    trial.down(&no, ALL_AT_ONCE);
    let line = trial.lines().pop().unwrap();
    assert!(line.starts_with("the target answered an error (d4 01) when asked to read status list 0011"), "{line}");
}

#[test]
fn polling_is_no_input_and_a_write_always_is() {
    let item = hex("120a 10 02 0001 0001 84 000000");
    let read = |reference| job(reference, &[&[4, 1][..], &item].concat(), &[]);
    let write = |reference| job(reference, &[&[5, 1][..], &item].concat(), &hex("00 04 0008 37"));
    let mut trial = connected(Mode::Enforce);
    for request in [read(1), read(2), write(3), write(4), read(5)] {
        trial.up(&Granted::numbered(31), &request, ALL_AT_ONCE);
    }
    let input: Vec<bool> = trial.verdicts.iter().map(|verdict| verdict.is_input).collect();
    assert_eq!(input, [true, false, true, true, false]);
}

#[test]
fn the_password_is_in_no_line_and_no_record() {
    let mut trial = connected(Mode::Enforce);
    let password = b"S3CR3T!!";
    trial.up(
        &Granted::numbered(31),
        &userdata(1, 0x45, 0x01, &[&hex("ff 09 0008")[..], password].concat()),
        ALL_AT_ONCE,
    );
    let told = format!("{:?}", trial.verdicts);
    assert!(told.contains("masked") && !told.contains("S3CR3T"), "{told}");
}

#[derive(Debug, Clone)]
enum Step {
    /// Requests, each cut into packets of at most so many bytes.
    Ask(Vec<(usize, usize)>, Vec<usize>),
    Answer(Index, bool, Vec<usize>),
    Wait(u64),
}

/// What is asked for in generated conversations, and the action it takes; none for what nobody may.
fn kinds(reference: u16, kind: usize) -> (Vec<u8>, Option<Action>) {
    let item = hex("120a 10 02 0001 0001 84 000000");
    let whole = match kind {
        0 => (job(reference, &[&[4, 1][..], &item].concat(), &[]), Some(Action::Observe)),
        1 => (job(reference, &[&[5, 1][..], &item].concat(), &hex("00 04 0008 37")), Some(Action::Operate)),
        2 => (job(reference, &[0x29], &[]), Some(Action::Control)),
        3 => (service(reference, b"", b"_GARB"), Some(Action::Program)),
        4 => (userdata(reference, 0x44, 0x01, &hex("ff 09 0004 0011 0000")), Some(Action::Observe)),
        5 => (userdata(reference, 0x47, 0x02, &hex("ff 09 0000")), Some(Action::Control)),
        6 => (job(reference, &hex("1d 00 0000 00000000 09 5f3041303030303141"), &[]), Some(Action::Upload)),
        7 => (userdata(reference, 0x49, 0x01, &[]), None),
        8 => (job(reference, &[&[5, 3][..], &item].concat(), &[]), None),
        _ => (job(reference, &[0x99], &[]), None),
    };
    assert!(whole.0.len() < 128);
    whole
}

fn cut(message: &[u8], at_most: usize) -> Vec<u8> {
    let data: Vec<&[u8]> = message[7..].chunks(at_most).collect();
    data.iter().enumerate().flat_map(|(n, part)| packet(n + 1 == data.len(), part)).collect()
}

fn step() -> impl Strategy<Value = Step> {
    let asked = prop::collection::vec((0..10_usize, prop_oneof![1..6_usize, Just(200)]), 1..5);
    prop_oneof![
        4 => (asked, cuts()).prop_map(|(asked, cuts)| Step::Ask(asked, cuts)),
        4 => (any::<Index>(), any::<bool>(), cuts()).prop_map(|(which, well, cuts)| Step::Answer(which, well, cuts)),
        1 => (0..7_000_u64).prop_map(Step::Wait),
    ]
}

/// What the test knows: what the target was given and has not answered, and whose answers the technician has to have got.
#[derive(Default)]
struct Model {
    reference: u16,
    unanswered: Vec<(u16, usize)>,
    to_target: Vec<u8>,
    in_order: bool,
}

impl Model {
    fn ask(&mut self, (kind, at_most): (usize, usize), granted: &Granted) -> Vec<u8> {
        self.reference += 1;
        let (request, needs) = kinds(self.reference, kind);
        let packets = cut(&request, at_most);
        if needs.is_some_and(|action| granted.0.contains(&action)) {
            self.unanswered.push((self.reference, kind));
            self.to_target.extend(&packets);
        }
        packets
    }

    fn answer(&mut self, which: usize, well: bool) -> Vec<u8> {
        self.in_order &= which == 0;
        let (reference, kind) = self.unanswered.remove(which);
        let asked = kinds(reference, kind).0;
        if asked[8] == 7 {
            let [direction_and_group, subfunction] = [asked[22], asked[23]];
            let parameters = [0, 1, 0x12, 8, 0x12, direction_and_group ^ 0xc0, subfunction, 0, 0, 0, 0, 0];
            return packet(true, &pdu(7, reference, &[], &parameters, &hex("ff 09 0000")));
        }
        if well {
            answer(reference, [0, 0], &[asked[17]], &[])
        } else {
            packet(true, &pdu(2, reference, &[0x85, 0], &[], &[]))
        }
    }

    fn nothing_of_a_refused_request_reaches_the_target(&self, trial: &Trial) {
        assert_eq!(trial.to_target, self.to_target);
    }

    fn each_request_got_exactly_one_answer(&self, trial: &Trial) {
        let mut got = references(&trial.to_technician);
        if !self.in_order {
            got.sort_unstable();
        }
        assert_eq!(got, (1..=self.reference).collect::<Vec<_>>());
    }
}

fn references(bytes: &[u8]) -> Vec<u16> {
    use crate::gates::reading::Messages as _;
    let (mut rest, mut stream, mut references) = (Bytes::copy_from_slice(bytes), Stream::default(), Vec::new());
    while let Some(message) = stream.next(&mut rest).unwrap() {
        let Tpdu::Data(data) = &message.tpdu else { panic!("{message:?}") };
        references.push(Pdu::parse(data).unwrap().reference);
    }
    references
}

proptest! {
    #[test]
    fn whatever_is_said_the_target_gets_what_may_pass_and_the_technician_one_answer_to_each(
        set in 0..32_usize,
        steps in prop::collection::vec(step(), 1..20),
    ) {
        let granted = Granted::numbered(set);
        let mut trial = connected(Mode::Enforce);
        let mut model = Model { in_order: true, ..Model::default() };
        for step in steps {
            match step {
                Step::Ask(asked, cuts) => {
                    let bytes: Vec<u8> = asked.into_iter().flat_map(|asking| model.ask(asking, &granted)).collect();
                    trial.up(&granted, &bytes, &cuts);
                }
                Step::Answer(which, well, cuts) if !model.unanswered.is_empty() => {
                    let answer = model.answer(which.index(model.unanswered.len()), well);
                    trial.down(&answer, &cuts);
                }
                Step::Answer(..) => {}
                Step::Wait(millis) => {
                    model.in_order = false;
                    trial.wait(Duration::from_millis(millis));
                }
            }
            model.nothing_of_a_refused_request_reaches_the_target(&trial);
        }
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
        said in prop::collection::vec((any::<bool>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)), 1..6),
        cuts in cuts(),
    ) {
        let mut trial = connected(mode);
        let mut all = Vec::new();
        for (upward, framed, bytes) in &said {
            let bytes = if *framed { packet(true, &[&[0x32][..], bytes].concat()) } else { bytes.clone() };
            if *upward {
                all.extend(&bytes);
                trial.up(&Granted::numbered(31), &bytes, &cuts);
            } else {
                trial.down(&bytes, &cuts);
            }
        }
        if mode == Mode::Decode {
            prop_assert!(all.starts_with(&trial.to_target) && trial.end.is_none());
        }
    }
}

//! Real conversations, wrappings, and generated ones.

use proptest::prelude::*;

use super::*;
use crate::gates::trial::{Granted, Trial, cuts, hex};

const ALL_AT_ONCE: &[usize] = &[usize::MAX];
const FRAME_BYTES_MAX: usize = 65535;

fn frame(command: u16, context: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_le_bytes();
    let context = [&[context][..], &[0; 7]].concat();
    [&command.to_le_bytes()[..], &length, &[1, 0, 0, 0], &[0; 4], &context, &[0; 4], data].concat()
}

/// A message that is no part of a connection.
fn unconnected(context: u8, message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap().to_le_bytes();
    frame(0x6f, context, &[&hex("00000000 0800 0200 0000 0000 b200")[..], &length, message].concat())
}

fn connected(sequence: u16, message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len() + 2).unwrap().to_le_bytes();
    let items = [&hex("00000000 0000 0200 a100 0400 11223344 b100")[..], &length, &sequence.to_le_bytes()].concat();
    frame(0x70, 0, &[&items[..], message].concat())
}

fn tag(service: u8, name: &[u8], data: &[u8]) -> Vec<u8> {
    let mut path = [&[0x91, u8::try_from(name.len()).unwrap()][..], name].concat();
    path.resize(path.len().next_multiple_of(2), 0);
    [&[service, u8::try_from(path.len() / 2).unwrap()][..], &path, data].concat()
}

fn several(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut offset = 2 + 2 * messages.len();
    let mut body = u16::try_from(messages.len()).unwrap().to_le_bytes().to_vec();
    for message in messages {
        body.extend(u16::try_from(offset).unwrap().to_le_bytes());
        offset += message.len();
    }
    [&hex("0a 02 20 02 24 01")[..], &body, &messages.concat()].concat()
}

fn sent_on(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap().to_le_bytes();
    [&hex("52 02 20 06 24 01 05 9d")[..], &length, message, &hex("01 00 01 00")].concat()
}

fn said(message: &[u8]) -> Vec<(String, Option<Action>)> {
    classify(message).into_iter().map(|request| (request.told.past(), request.class)).collect()
}

fn fresh() -> Trial {
    Trial::new(gate(), FRAME_BYTES_MAX)
}

#[test]
fn people_read_tags_values_and_objects() {
    let (observe, operate) = (Some(Action::Observe), Some(Action::Operate));
    for (message, line, class) in [
        (tag(0x4c, b"SCADA", &hex("0400")), "read 4 elements of SCADA", observe),
        (tag(0x4d, b"SCADA", &hex("c300 0200 0700 f8ff")), "wrote 7, -8 to SCADA (INT)", operate),
        (tag(0x4d, b"TEMP", &hex("ca00 0100 0000c03f")), "wrote 1.5 to TEMP (REAL)", operate),
        (tag(0x4d, b"RUN", &hex("c100 0100 01")), "wrote on to RUN (BOOL)", operate),
        (tag(0x53, b"BIG", &hex("c400 0a00 04000000 01000000")), "wrote 1 to BIG (DINT)", operate),
        (tag(0x4d, b"UDT", &hex("a002 1234 0100 00000000")), "wrote 13330 elements to UDT", operate),
        (tag(0x4e, b"BITS", &hex("0400 00000000 ffffffff")), "masked bits of BITS", operate),
        (hex("4c 06 91 03 54 41 47 00 28 05 91 01 4d 00 0100"), "read 1 element of TAG[5].M", observe),
        (hex("01 02 20 01 24 01"), "read attributes of Identity 1", observe),
        (hex("0e 03 20 01 24 01 30 07"), "read attribute 7 of Identity 1", observe),
        (hex("10 03 20 f5 24 01 30 05 0a 00"), "wrote 0a, 00 to attribute 5 of TCP/IP Interface 1", operate),
        (hex("05 02 20 01 24 01"), "reset Identity 1", Some(Action::Control)),
        (hex("08 02 20 37 24 00"), "created an instance of File 0", Some(Action::Program)),
        (hex("07 02 20 64 24 01"), "stopped class 64 1", Some(Action::Control)),
        (hex("4b 02 20 67 24 01 07 01 02"), "sent a PCCC command of 3 bytes, which is not read", operate),
        (hex("4e 02 20 06 24 01"), "closed a connection", observe),
        (hex("52 02 20 64 24 01"), "used unknown service 52 of class 64 1", None),
        (hex("4c 02 20 01 24 01 0100"), "used unknown service 4c of Identity 1", None),
        (hex("4c 09 20 01"), "sent a message whose path does not fit it", None),
        (hex("4c"), "sent a message whose path does not fit it", None),
    ] {
        assert_eq!(said(&message), [(line.to_owned(), class)], "{message:02x?}");
    }
}

#[test]
fn the_same_service_is_another_thing_on_another_class() {
    let open = |transport: u8| {
        let mut data = vec![0; 40];
        data[34] = transport;
        [hex("54 02 20 06 24 01"), data].concat()
    };
    assert_eq!(said(&open(0xa3)), [("opened a connection for messages".to_owned(), Some(Action::Observe))]);
    assert_eq!(said(&open(0x01)), [("opened a connection for I/O".to_owned(), Some(Action::Operate))]);
    assert_eq!(said(&hex("54 02 20 01 24 01"))[0].1, None);
    assert_eq!(said(&tag(0x52, b"A", &hex("0100 00000000")))[0].1, Some(Action::Observe));
    assert_eq!(said(&hex("4e 02 20 06 24 01"))[0].1, Some(Action::Observe));
    assert_eq!(said(&tag(0x4e, b"A", &[]))[0].1, Some(Action::Operate));
}

#[test]
fn each_of_several_is_told_and_wrapping_has_an_end() {
    let (read, write) = (tag(0x4c, b"A", &hex("0100")), tag(0x4d, b"B", &hex("c200 0100 05")));
    let both = several(&[read.clone(), write.clone()]);
    let lines = ["read 1 element of A", "wrote 5 to B (SINT)"];
    for message in [both.clone(), sent_on(&both), sent_on(&sent_on(&both)), several(&[sent_on(&read), sent_on(&write)])]
    {
        let told: Vec<String> = said(&message).into_iter().map(|(line, _)| line).collect();
        assert_eq!(told, lines, "{message:02x?}");
    }
    let deep = (0..4).fold(write, |message, _| sent_on(&message));
    assert_eq!(said(&deep), [("sent a message wrapped more than 4 times".to_owned(), None)]);
    assert_eq!(said(&several(&vec![read; 500])).len(), 32);
    let mut lying = both;
    lying[6] = 0xff;
    assert_eq!(said(&lying), [("sent a message with others in it that do not fit it".to_owned(), None)]);
}

#[test]
fn everything_passes_cut_anyhow_and_the_targets_no_is_told() {
    let read = tag(0x4c, b"A", &hex("0100"));
    let asked = [
        frame(0x65, 1, &hex("01000000")),
        unconnected(2, &several(&[read.clone(), read.clone()])),
        connected(9, &read),
    ];
    let answers = [
        frame(0x65, 1, &hex("01000000")),
        unconnected(2, &hex("8a 00 1e 00 0200 0600 0c00 cc 00 00 00 c2 00 cc 00 05 00")),
        connected(9, &hex("cc 00 0f 00")),
    ];
    for cuts in [&[1][..], ALL_AT_ONCE] {
        let mut trial = fresh();
        trial.up(&Granted::nothing(), &asked.concat(), cuts);
        trial.down(&answers.concat(), cuts);
        assert_eq!((trial.to_target.clone(), trial.to_technician.clone()), (asked.concat(), answers.concat()));
        assert_eq!(
            trial.lines(),
            [
                "opened a session",
                "read 1 element of A",
                "read 1 element of A",
                "read 1 element of A",
                "the target answered path destination unknown (05) when asked to read 1 element of A",
                "the target answered privilege violation (0f) when asked to read 1 element of A",
            ]
        );
    }
}

#[test]
fn what_is_no_ethernet_ip_passes_from_its_first_byte() {
    for other in [&b"\x16\x03\x01"[..], b"GET / HTTP/1.1\r\n", &hex("6f00 f0ff")] {
        let mut trial = fresh();
        let before = frame(0x63, 0, &[]);
        trial.up(&Granted::nothing(), &[&before[..], other].concat(), &[1]);
        assert_eq!(trial.to_target, [&before[..], other].concat());
        assert_eq!(trial.verdicts.len(), 2, "{:?}", trial.lines());
        assert!(trial.lines()[1].starts_with("what follows on this connection passes and cannot be read"));
    }
}

#[test]
fn polling_is_no_input_and_a_write_always_is() {
    let mut trial = fresh();
    let (read, write) = (tag(0x4c, b"A", &hex("0100")), tag(0x4d, b"B", &hex("c200 0100 05")));
    for (sequence, message) in [(1, &read), (2, &read), (3, &write), (4, &write)] {
        trial.up(&Granted::nothing(), &connected(sequence, message), ALL_AT_ONCE);
    }
    let input: Vec<bool> = trial.verdicts.iter().map(|verdict| verdict.is_input).collect();
    assert_eq!(input, [true, false, true, true]);
}

#[test]
fn every_common_service_counts_as_what_the_table_says() {
    for service in 0..=0x4a_u8 {
        let action = match service {
            0x01 | 0x03 | 0x0e | 0x11 | 0x18 => Some(Action::Observe),
            0x02 | 0x04 | 0x0d | 0x10 | 0x19 | 0x1a | 0x1b => Some(Action::Operate),
            0x08 | 0x09 | 0x15 | 0x16 => Some(Action::Program),
            0x05..=0x07 => Some(Action::Control),
            _ => None,
        };
        assert_eq!(said(&[&[service][..], &hex("02 20 64 24 01")].concat())[0].1, action, "{service:02x}");
    }
}

proptest! {
    #[test]
    fn whatever_is_said_all_of_it_passes_in_order_and_each_service_is_told_once(
        said in prop::collection::vec((any::<bool>(), 0..8_usize, any::<u8>()), 1..20),
        cuts in cuts(),
    ) {
        let mut trial = fresh();
        let (mut up, mut down, mut services) = (Vec::new(), Vec::new(), 0);
        for (upward, kind, context) in said {
            let read = tag(0x4c, b"A", &hex("0100"));
            let (message, count) = match kind {
                0 => (frame(0x00, context, b"nothing"), 0),
                1 => (frame(0x65, context, &hex("01000000")), 1),
                2 => (unconnected(context, &read), 1),
                3 => (connected(u16::from(context), &sent_on(&read)), 1),
                4 => (unconnected(context, &several(&vec![read; usize::from(context % 8)])), usize::from(context % 8)),
                5 => (frame(0x6f, context, &hex("00")), 1),
                6 => (unconnected(context, &[context]), 1),
                _ => (frame(0x66, context, &[]), 1),
            };
            if upward {
                services += count;
                up.extend(&message);
                trial.up(&Granted::nothing(), &message, &cuts);
            } else {
                down.extend(&message);
                trial.down(&message, &cuts);
            }
        }
        let asked = trial.lines().iter().filter(|line| !line.starts_with("the target answered")).count();
        prop_assert_eq!((&trial.to_target, &trial.to_technician, asked), (&up, &down, services));
    }

    #[test]
    fn any_bytes_pass_unchanged(
        said in prop::collection::vec((any::<bool>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)), 1..6),
        cuts in cuts(),
    ) {
        let mut trial = fresh();
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for (upward, framed, bytes) in said {
            let bytes = if framed { unconnected(1, &bytes) } else { bytes };
            if upward {
                up.extend(&bytes);
                trial.up(&Granted::nothing(), &bytes, &cuts);
            } else {
                down.extend(&bytes);
                trial.down(&bytes, &cuts);
            }
        }
        prop_assert!(up.starts_with(&trial.to_target) && down.starts_with(&trial.to_technician) && trial.end.is_none());
    }
}

//! Handshakes of all versions, the bytes of the specification, the traps, and generated conversations.

use std::cell::Cell;
use std::time::Duration;

use policies::actions::Action;
use proptest::prelude::*;

use super::*;
use crate::gates::Verdict;
use crate::gates::trial::{Granted, Trial, cuts, hex};
use message::CUT_BYTES_MAX;

const ALL_AT_ONCE: &[usize] = &[usize::MAX];
const ONE_BY_ONE: &[usize] = &[1];
const HELD_MAX: usize = 4 + 4 * 65_535;

const CHALLENGE: &str = "00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f";
/// `hunter2` with the challenge above, as OpenSSL computes it.
const ANSWER: &str = "ae 2f fb 6b 2f dd 58 fb 77 56 79 77 d8 d5 ec e4";

fn observe() -> Granted {
    Granted::these(&[Action::Observe])
}

fn operate() -> Granted {
    Granted::these(&[Action::Observe, Action::Operate])
}

fn trial(password: Option<&str>) -> Trial {
    let mut trial = Trial::new(gate(password.map(Password::new)), HELD_MAX);
    let opened = trial.gate.opened(trial.now);
    trial.take(opened);
    trial
}

/// Behind the handshake, with nothing said yet.
fn open() -> Trial {
    let mut trial = trial(None);
    trial.up(&observe(), b"RFB 003.008\n", ALL_AT_ONCE);
    trial.down(b"RFB 003.008\n\x01\x01\0\0\0\0", ALL_AT_ONCE);
    trial.up(&observe(), &[1, 1], ALL_AT_ONCE);
    trial.to_target.clear();
    trial.to_technician.clear();
    trial
}

fn reason(why: &str) -> Vec<u8> {
    [&u32::try_from(why.len()).unwrap().to_be_bytes()[..], why.as_bytes()].concat()
}

#[test]
fn the_answer_to_a_challenge_is_that_of_other_peoples_des() {
    let challenge = hex(CHALLENGE).try_into().unwrap();
    let answer = |password: &str| Password::new(password).answer(&challenge);
    assert_eq!(answer("hunter2").0.to_vec(), hex(ANSWER));
    assert_eq!(answer("password-that-is-long").0.to_vec(), hex("b8 66 92 41 25 c8 ee bb 9d eb c1 db 61 c5 38 e2"));
    assert_eq!(answer("password"), answer("password-that-is-long"));
    assert_eq!(format!("{:?} {:?}", Password::new("hunter2"), answer("hunter2")), "Password 16 bytes");
}

#[test]
fn each_version_meets_each_and_the_technician_is_asked_for_nothing() {
    for ours in [3, 7, 8] {
        for theirs in [3, 7, 8] {
            for password in [None, Some("hunter2")] {
                for cuts in [ONE_BY_ONE, ALL_AT_ONCE] {
                    handshake(ours, theirs, password, cuts);
                }
            }
        }
    }
}

fn handshake(technicians: u8, targets: u8, password: Option<&str>, cuts: &[usize]) {
    let version = |minor: u8| format!("RFB 003.00{minor}\n").into_bytes();
    let mut trial = trial(password);
    assert_eq!(trial.to_technician, version(8));
    trial.up(&observe(), &version(technicians), cuts);
    assert!(trial.to_target.is_empty(), "the target speaks first");
    trial.down(&version(targets), cuts);
    assert_eq!(trial.to_target, version(targets));
    let mut said = version(targets);
    let kind = if password.is_some() { 2 } else { 1 };
    if targets == 3 {
        trial.down(&[0, 0, 0, kind], cuts);
    } else {
        trial.down(&[3, 16, kind, 19], cuts);
        said.push(kind);
    }
    if password.is_some() {
        trial.down(&hex(CHALLENGE), cuts);
        said.extend(hex(ANSWER));
    }
    if password.is_some() || targets == 8 {
        trial.down(&[0; 4], cuts);
    }
    assert_eq!(trial.to_target, said, "{technicians} {targets} {password:?}");
    let mut told = version(8);
    if technicians == 3 {
        told.extend([0, 0, 0, 1]);
        trial.up(&observe(), &[0], cuts);
    } else {
        told.extend([1, 1]);
        trial.up(&observe(), &[1, 0], cuts);
    }
    if technicians == 8 {
        told.extend([0; 4]);
    }
    said.push(1);
    assert_eq!((&trial.to_technician, &trial.to_target), (&told, &said), "{technicians} {targets} {password:?}");
    assert!(trial.end.is_none() && trial.gate.due().is_none());
    let screen = hex("05 00 03 20 20 18 00 01 00 ff 00 ff 00 ff 10 08 00 00 00 00 00 00 00 03 68 6d 69");
    trial.down(&screen, cuts);
    told.extend(screen);
    assert_eq!(trial.to_technician, told);
    assert_eq!(
        trial.lines(),
        ["joined whoever else is on the screen, though it asked to be alone there", "opened the screen, 1280 by 800"]
    );
}

#[test]
fn what_could_give_the_password_away_is_no_piece_that_is_recorded() {
    let mut gate = gate(Some(Password::new("hunter2")));
    let now = Instant::now();
    gate.opened(now);
    gate.upward(Bytes::from_static(b"RFB 003.008\n"), &observe(), now);
    let asked = [b"RFB 003.008\n\x01\x02".to_vec(), hex(CHALLENGE)].concat();
    let passed = gate.downward(asked.into(), now);
    assert!(matches!(passed.to_target.last(), Some(Piece::Hidden(hidden)) if hidden.0.to_vec() == hex(ANSWER)));
    let shown = format!("{passed:?}");
    assert!(!shown.contains("hunter2") && shown.contains("Hidden(16 bytes)"), "{shown}");
}

#[test]
fn a_password_goes_before_nothing_and_nothing_before_what_the_gate_cannot_do() {
    for (password, types, chosen) in
        [(Some("x"), &[1, 2, 16][..], 2), (None, &[2, 1], 1), (Some("x"), &[19, 1], 1), (Some("x"), &[16, 2], 2)]
    {
        let mut trial = trial(password);
        trial.up(&observe(), b"RFB 003.008\n", ALL_AT_ONCE);
        trial.down(b"RFB 003.008\n", ALL_AT_ONCE);
        trial.down(&[&[types.len() as u8], types].concat(), ALL_AT_ONCE);
        assert_eq!(trial.to_target.last(), Some(&chosen), "{types:?}");
    }
}

#[test]
fn whoever_gets_no_connection_reads_why_in_the_viewer() {
    let cannot = "which the gate cannot do. Its VNC password (type 2) has to be switched on. Ask the control room";
    for (password, said, why) in [
        (
            Some("x"),
            &b"RFB 003.008\n\x02\x10\x13"[..],
            format!("the target lets nobody in but by Tight (16), VeNCrypt (19), {cannot}"),
        ),
        (
            Some("x"),
            b"RFB 003.003\n\0\0\0\x05",
            format!("the target lets nobody in but by a RealVNC login (5), {cannot}"),
        ),
        (
            None,
            b"RFB 003.007\n\x01\x02",
            "the target wants a password, and the plant's file names no credential for it. Ask the control room".into(),
        ),
        (
            None,
            b"RFB 003.003\n\0\0\0\x02",
            "the target wants a password, and the plant's file names no credential for it. Ask the control room".into(),
        ),
        (None, b"RFB 003.008\n\0\0\0\0\x04busy", "the target turned the gate away: busy".into()),
        (None, b"RFB 003.003\n\0\0\0\0\0\0\0\x04\x1b[2J", "the target turned the gate away: \\x1b[2J".into()),
        (
            Some("x"),
            b"RFB 003.008\n\x01\x020123456789abcdef\0\0\0\x01\0\0\0\x02no",
            "the target did not let the gate in with the password that was set for it. Ask the control room: no".into(),
        ),
        (
            Some("x"),
            b"RFB 003.007\n\x01\x020123456789abcdef\0\0\0\x02",
            "the target did not let the gate in with the password that was set for it. Ask the control room".into(),
        ),
        (
            None,
            b"HTTP/1.1 400",
            "what the target sent is not RFB: it began with no version of RFB that is known here".into(),
        ),
        (
            None,
            b"RFB 002.002\n",
            "what the target sent is not RFB: it began with no version of RFB that is known here".into(),
        ),
        (
            None,
            b"RFB 003.008\n\x01\x01\0\0\0\0x",
            "what the target sent is not RFB: it spoke before it was asked".into(),
        ),
    ] {
        for (version, head) in [(3, &[0; 4][..]), (7, &[0]), (8, &[0])] {
            for cuts in [ONE_BY_ONE, ALL_AT_ONCE] {
                let mut trial = trial(password);
                trial.up(&observe(), format!("RFB 003.00{version}\n").as_bytes(), cuts);
                trial.down(said, cuts);
                let (End::Refused(ended) | End::Malformed(ended)) = trial.end.clone().unwrap();
                assert_eq!(ended, why);
                if !why.contains("before it was asked") {
                    let no = [b"RFB 003.008\n", head, &reason(&why)].concat();
                    assert_eq!(trial.to_technician, no, "{version} {why}");
                }
            }
        }
    }
}

#[test]
fn a_reason_of_four_gibibytes_is_not_waited_for() {
    let mut trial = trial(None);
    trial.up(&observe(), b"RFB 003.008\n", ALL_AT_ONCE);
    trial.down(b"RFB 003.008\n\0\xff\xff\xff\xff", ONE_BY_ONE);
    assert!(trial.end.is_none());
    trial.down(&[b'x'; 2_000], &[100]);
    assert!(trial.to_technician.len() < 700, "{}", trial.to_technician.len());
    assert!(trial.end.is_some());
}

#[test]
fn who_may_not_look_reads_it_before_the_target_is_asked_for() {
    let mut gate = gate(None);
    let now = Instant::now();
    gate.opened(now);
    let passed = gate.upward(Bytes::from_static(b"RFB 003.007\n"), &Granted::these(&[Action::Control]), now);
    assert!(!passed.wants_target && passed.end == Some(End::Refused("ask for it".into())));
    assert_eq!(passed.to_technician, [Piece::Made([&[0][..], &reason("ask for it")].concat().into())]);
}

#[test]
fn nonsense_and_haste_of_the_technicians_program_end_it() {
    for said in [
        &b"GET / HTTP/1"[..],
        b"RFB 003.00a\n",
        b"RFB 004.001\n",
        b"RFB 003.002\n",
        b"RFB 003 008\n",
        b"rfb 003.008\n",
        b"RFB 003.008\n\x01",
    ] {
        for cuts in [ONE_BY_ONE, ALL_AT_ONCE] {
            let mut trial = trial(None);
            trial.up(&observe(), said, cuts);
            assert!(matches!(trial.end, Some(End::Malformed(_))), "{said:?}");
            assert!(trial.to_target.is_empty());
        }
    }
}

#[test]
fn an_unoffered_type_is_refused() {
    let mut trial = trial(None);
    trial.up(&observe(), b"RFB 003.008\n", ALL_AT_ONCE);
    trial.down(b"RFB 003.008\n\x01\x01\0\0\0\0", ALL_AT_ONCE);
    trial.up(&observe(), &[2, 1], ALL_AT_ONCE);
    let no = [&b"RFB 003.008\n\x01\x01\0\0\0\x01"[..], &reason("security type 2 was not offered")].concat();
    assert_eq!(trial.to_technician, no);
    assert_eq!(trial.to_target, b"RFB 003.008\n\x01", "nobody opens the screen");
}

#[test]
fn a_handshake_has_its_time() {
    let mut waits = trial(None);
    waits.wait(Duration::from_secs(29));
    assert!(waits.end.is_none());
    waits.wait(Duration::from_secs(2));
    assert_eq!(waits.end, Some(End::Refused("the program said nothing for 30 s".into())));
    let mut waits = trial(None);
    waits.up(&observe(), b"RFB 003.008\n", ALL_AT_ONCE);
    waits.wait(Duration::from_secs(31));
    assert_eq!(waits.end, Some(End::Refused("the target said nothing for 30 s".into())));
    let mut gone = trial(None);
    gone.up(&observe(), b"RFB 003.008\n", ALL_AT_ONCE);
    let passed = gone.gate.unreachable("hmi-2 cannot be reached", gone.now);
    gone.take(passed);
    assert!(gone.to_technician.ends_with(&reason("hmi-2 cannot be reached")));
}

#[test]
fn what_is_no_look_is_swallowed_and_the_rest_goes_on() {
    let looks = [
        "00 00 00 00 20 18 00 01 00 ff 00 ff 00 ff 10 08 00 00 00 00",
        "03 01 00 00 00 00 05 00 03 20",
        "02 00 00 02 00 00 00 10 ff ff ff 11",
        "96 01 00 00 00 00 05 00 03 20",
        "f8 00 00 00 80 00 00 01 03 61 62 63",
    ];
    let touches = [
        ("04 01 00 00 00 00 ff 0d", "refused to press Enter"),
        ("05 01 00 64 00 c8", "refused to click at 100,200"),
        ("06 00 00 00 00 00 00 03 61 62 63", "refused to send 3 characters of text to the clipboard"),
        ("fa 00 01 02", "refused to ask the machine to shut down"),
        (
            "fb 00 05 00 03 20 01 00 00 00 00 07 00 00 00 00 05 00 03 20 00 00 00 00",
            "refused to change the screen's size to 1280 by 800",
        ),
        ("ff 00 00 01 00 00 ff 1b 00 00 00 01", "refused to press Escape"),
    ];
    let said: Vec<u8> =
        looks.iter().zip(touches).flat_map(|(look, (touch, _))| [hex(look), hex(touch)].concat()).collect();
    let said = [said, hex(touches[5].0)].concat();
    for cuts in [ONE_BY_ONE, ALL_AT_ONCE] {
        let mut trial = open();
        trial.up(&observe(), &said, cuts);
        trial.wait(Duration::from_secs(20));
        assert_eq!(trial.to_target, looks.map(hex).concat());
        assert_eq!(trial.lines(), touches.map(|(_, line)| line));
        let why = |verdict: &Verdict| verdict.operation.refused.as_ref().map(ToString::to_string);
        assert!(trial.verdicts.iter().all(|verdict| why(verdict).as_deref() == Some("ask for it")));
    }
    let mut trial = open();
    trial.up(&operate(), &said, ONE_BY_ONE);
    let power = hex(touches[3].0);
    let at = said.windows(power.len()).position(|window| window == power).unwrap();
    let without = [&said[..at], &said[at + power.len()..]].concat();
    assert_eq!(trial.to_target, without, "everything but what takes `control`");
    let mut trial = open();
    trial.up(&Granted::numbered(31), &said, ONE_BY_ONE);
    assert_eq!(trial.to_target, said);
}

#[test]
fn what_nobody_can_measure_ends_the_connection_before_anything_of_it_passes() {
    let unknown = (7..=21).chain([1, 127, 249]).chain(252..=254).map(|kind| vec![kind]);
    let long = ["06 00 00 00 7f ff ff ff", "06 00 00 00 00 04 00 01", "06 00 00 00 80 00 00 00", "ff 01 00 00"];
    let fence = hex("f8 00 00 00 00 00 00 00 41");
    for said in unknown.chain(long.map(hex)).chain([fence]) {
        for cuts in [ONE_BY_ONE, ALL_AT_ONCE] {
            let mut trial = open();
            trial.up(&Granted::numbered(31), &[said.clone(), vec![0; 20]].concat(), cuts);
            assert!(trial.to_target.is_empty(), "{said:02x?}");
            let Some(End::Malformed(why)) = &trial.end else { panic!("{said:02x?}") };
            assert!(why.starts_with("what the technician's program sent is not RFB: "), "{why}");
            assert_eq!(trial.held_of_program(), 0);
        }
    }
}

#[test]
fn the_extended_clipboard_is_swallowed_whoever_may_what() {
    for length in ["ff ff ff fc", "ff ff ff ff"] {
        let rest = if length.ends_with('c') { "00 00 00 01" } else { "00" };
        let mut trial = open();
        trial.up(&Granted::numbered(31), &hex(&format!("06 00 00 00 {length} {rest}")), ONE_BY_ONE);
        assert!(trial.to_target.is_empty() && trial.end.is_none(), "0xFFFFFFFF is -1: one byte");
        assert_eq!(trial.lines(), ["refused to send 0 characters of text to the clipboard"]);
    }
}

#[test]
fn a_target_is_asked_for_no_encoding_that_invites_what_nobody_can_measure() {
    let encodings = |list: &[i32]| {
        let count = u16::try_from(list.len()).unwrap().to_be_bytes();
        let list = list.iter().flat_map(|encoding| encoding.to_be_bytes());
        [2, 0].into_iter().chain(count).chain(list).collect::<Vec<u8>>()
    };
    let mut trial = open();
    // QEMU, gii, xvp, the extended clipboard, buttons beyond eight, whatever else.
    let bad = [-257, -258, -259, -305, -309, 0xc0a1_e5ce_u32 as i32, -316, -306, -65_530, 99];
    trial.up(&observe(), &encodings(&[&[7, 16][..], &bad, &[-223, -308, 7]].concat()), ONE_BY_ONE);
    assert_eq!(trial.to_target, encodings(&[7, 16, -223, -308]));
    let mut trial = open();
    let many: Vec<i32> = (-65_535..0).collect();
    trial.up(&observe(), &encodings(&many), &[4_000]);
    assert!(trial.to_target.len() < 1_000, "{}", trial.to_target.len());
    assert!(trial.end.is_none());
    let mut trial = open();
    trial.up(&observe(), &encodings(&[]), ONE_BY_ONE);
    assert_eq!(trial.to_target, encodings(&[]));
}

fn key(is_down: bool, symbol: u32) -> Vec<u8> {
    [&[4, u8::from(is_down), 0, 0][..], &symbol.to_be_bytes()].concat()
}

fn pointer(buttons: u8, x: u16, y: u16) -> Vec<u8> {
    [&[5, buttons][..], &x.to_be_bytes(), &y.to_be_bytes()].concat()
}

fn strokes(symbols: &[u32]) -> Vec<u8> {
    symbols.iter().flat_map(|symbol| [key(true, *symbol), key(false, *symbol)].concat()).collect()
}

#[test]
fn people_read_what_was_done_and_never_what_was_typed() {
    let mut trial = open();
    let all = Granted::numbered(31);
    for said in [
        strokes(&[0x73, 0x65, 0x63, 0x72, 0x65, 0x74, 0x0100_20ac, 0xffb1, 0xfe50]),
        strokes(&[0xff0d, 0xff0d, 0xffbe, 0xffc9]),
        [key(true, 0xffe3), key(true, 0xffe9), strokes(&[0xffff]), key(false, 0xffe9), key(false, 0xffe3)].concat(),
        strokes(&[0xff1b]),
        [pointer(0, 5, 5), pointer(0, 6, 6), pointer(1, 100, 200), pointer(0, 100, 200)].concat(),
        [pointer(4, 100, 200), pointer(4, 110, 210), pointer(0, 120, 220)].concat(),
        [pointer(16, 120, 220), pointer(0, 120, 220), pointer(16, 120, 220), pointer(0, 120, 220)].concat(),
        [pointer(0, 7, 7), pointer(0, 8, 8)].concat(),
        hex("06 00 00 00 00 00 00 01 61 fa 00 01 03 fa 00 01 09"),
        [pointer(0, 9, 9), pointer(0, 10, 10)].concat(),
    ] {
        trial.up(&all, &said, ONE_BY_ONE);
    }
    trial.wait(Duration::from_secs(20));
    assert_eq!(
        trial.lines(),
        [
            "typed 9 keys",
            "pressed Enter 2 times",
            "pressed F1",
            "pressed F12",
            "typed 2 keys",
            "pressed Ctrl+Alt+Delete",
            "pressed Escape",
            "clicked at 100,200",
            "clicked with the right button at 100,200",
            "dragged to 120,220",
            "scrolled down 2 times",
            "moved the pointer",
            "sent 1 character of text to the clipboard",
            "asked the machine to reboot",
            "asked the machine for xvp operation 9",
            "moved the pointer",
        ]
    );
    assert!(trial.verdicts.iter().all(|verdict| verdict.is_input));
}

#[test]
fn a_burst_is_told_when_it_is_over_and_a_long_one_in_between() {
    let mut trial = open();
    for _ in 0..25 {
        trial.up(&operate(), &strokes(&[0x61]), ALL_AT_ONCE);
        trial.wait(Duration::from_millis(500));
    }
    assert_eq!(trial.lines(), ["typed 20 keys"], "ten seconds are told");
    trial.wait(Duration::from_secs(1));
    assert_eq!(trial.lines(), ["typed 20 keys", "typed 5 keys"]);
    trial.up(&operate(), &key(true, 0x61), ALL_AT_ONCE);
    let closed = trial.gate.closed(trial.now);
    assert_eq!(closed.verdicts.len(), 1, "nothing is left untold");
}

#[test]
fn a_flood_fills_no_record_and_is_counted() {
    let mut trial = open();
    let clicks: Vec<u8> =
        (0..5_000).flat_map(|x| [pointer(1, x, 1), pointer(0, x, 1), hex("fa 00 01 02")].concat()).collect();
    trial.up(&operate(), &clicks, &[4_096]);
    trial.wait(Duration::from_secs(30));
    assert!(trial.verdicts.len() < 70, "{}", trial.verdicts.len());
    let counted: usize = trial
        .lines()
        .into_iter()
        .map(|line| line.split(' ').find_map(|word| word.parse::<usize>().ok()).unwrap_or(1))
        .sum();
    assert_eq!(counted, 10_000, "{:?}", trial.lines());
}

#[test]
fn what_is_held_down_is_let_go_though_input_is_stopped_by_then() {
    let mut trial = open();
    trial.up(&operate(), &[key(true, 0xffe3), pointer(1, 100, 200)].concat(), ALL_AT_ONCE);
    trial.to_target.clear();
    trial.up(&observe(), &[pointer(1, 150, 250), pointer(3, 150, 250), key(true, 0x61)].concat(), ALL_AT_ONCE);
    assert!(trial.to_target.is_empty());
    trial.up(&observe(), &pointer(2, 160, 260), ALL_AT_ONCE);
    assert_eq!(trial.to_target, pointer(0, 100, 200), "let go where it was pressed");
    trial.up(&observe(), &[key(false, 0x61), key(false, 0xffe3)].concat(), ALL_AT_ONCE);
    assert_eq!(trial.to_target, [pointer(0, 100, 200), key(false, 0xffe3)].concat());
    trial.to_target.clear();
    trial.up(&operate(), &pointer(2, 170, 270), ALL_AT_ONCE);
    assert_eq!(trial.to_target, pointer(0, 170, 270), "what was pressed while it was refused never arrives");
    trial.to_target.clear();
    trial.up(&operate(), &[pointer(0, 170, 270), pointer(2, 170, 270), key(true, 0x62)].concat(), ALL_AT_ONCE);
    trial.to_target.clear();
    let closed = trial.gate.closed(trial.now);
    assert_eq!(closed.to_target, [Piece::Made(key(false, 0x62).into()), Piece::Made(pointer(0, 170, 270).into())]);
}

#[test]
fn more_keys_than_fingers_are_not_held() {
    let mut trial = open();
    let presses: Vec<u8> = (0..100).flat_map(|symbol| key(true, 0x61 + symbol)).collect();
    trial.up(&operate(), &presses, ALL_AT_ONCE);
    assert_eq!(trial.to_target.len(), 64 * 8);
}

#[test]
fn a_picture_passes_in_the_pieces_it_came_in() {
    let mut trial = open();
    for piece in [&[0; 3][..], &[0xff; 70_000], &[7]] {
        let passed = trial.gate.downward(Bytes::copy_from_slice(piece), trial.now);
        assert_eq!(passed.to_technician, [Piece::Passed(Bytes::copy_from_slice(piece))]);
    }
}

/// A SetPixelFormat whose pixels can be followed; whatever else stands in it is any.
fn form() -> impl Strategy<Value = Vec<u8>> {
    let bits = prop::sample::select(vec![8_u8, 16, 32]);
    (bits, prop::array::uniform3(1..=u16::MAX), 1..=u8::MAX, any::<[u8; 11]>()).prop_map(|(bits, max, is_true, any)| {
        let max = max.map(u16::to_be_bytes).concat();
        let shifts = [any[5] % bits, any[6] % bits, any[7] % bits];
        [&[0, any[0], any[1], any[2], bits, any[3], any[4], is_true][..], &max, &shifts, &any[8..]].concat()
    })
}

#[test]
fn pixels_that_nobody_here_can_follow_are_refused_before_the_target_hears_of_them() {
    let form = |bits: u8, is_true: u8, max: u8, shift: u8| {
        let form = [bits, 24, 0, is_true, 0, max, 0, max, 0, max, shift, 0, 0, 0, 0, 0];
        [&[0, 0, 0, 0][..], &form].concat()
    };
    for said in [form(24, 1, 255, 0), form(16, 0, 31, 0), form(32, 1, 0, 0), form(32, 1, 255, 32)] {
        for cuts in [ONE_BY_ONE, ALL_AT_ONCE] {
            let mut trial = open();
            trial.up(&Granted::numbered(31), &[said.clone(), pointer(1, 1, 1)].concat(), cuts);
            assert!(trial.to_target.is_empty(), "{said:02x?}");
            let Some(End::Refused(why)) = &trial.end else { panic!("{said:02x?}") };
            assert!(why.contains("cannot be shown to those who watch: set the viewer to"), "{why}");
        }
    }
    let mut trial = open();
    trial.up(&observe(), &form(32, 1, 255, 16), ONE_BY_ONE);
    assert_eq!((trial.to_target.len(), trial.end), (20, None));
}

/// What somebody may say, and whether it takes more than looking.
fn said() -> impl Strategy<Value = (Vec<u8>, Option<Action>)> {
    let look = prop_oneof![
        form(),
        prop::collection::vec(any::<u8>(), 9).prop_map(|rest| [&[3][..], &rest].concat()),
        prop::collection::vec(any::<u8>(), 9).prop_map(|rest| [&[150][..], &rest].concat()),
        prop::collection::vec(any::<u8>(), 0..64).prop_map(|rest| [
            &[248, 0, 0, 0, 0, 0, 0, 0, rest.len() as u8][..],
            &rest
        ]
        .concat()),
    ];
    let touch = prop_oneof![
        (any::<bool>(), any::<u32>()).prop_map(|(is_down, symbol)| key(is_down, symbol)),
        (any::<u8>(), any::<u16>(), any::<u16>()).prop_map(|(buttons, x, y)| pointer(buttons, x, y)),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|text| [
            &[6, 0, 0, 0, 0, 0][..],
            &(text.len() as u16).to_be_bytes(),
            &text
        ]
        .concat()),
        (0..3_u8).prop_flat_map(|screens| {
            prop::collection::vec(any::<u8>(), usize::from(screens) * 16)
                .prop_map(move |rest| [&[251, 0, 1, 2, 3, 4, screens, 0][..], &rest].concat())
        }),
    ];
    prop_oneof![
        look.prop_map(|bytes| (bytes, None)),
        touch.prop_map(|bytes| (bytes, Some(Action::Operate))),
        any::<u8>().prop_map(|code| (vec![250, 0, 1, code], Some(Action::Control))),
    ]
}

proptest! {
    /// However it is cut: what takes more than was granted is not there, and everything else is, in order.
    #[test]
    fn what_reaches_the_target_is_what_was_granted(
        said in prop::collection::vec(said(), 0..60), cuts in cuts(), grant in 0..32_usize
    ) {
        let granted = Granted::numbered(grant | 1);
        let mut trial = open();
        let all: Vec<u8> = said.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        trial.up(&granted, &all, &cuts);
        let passes = |needs: &Option<Action>| needs.is_none_or(|action| granted.0.contains(&action));
        let expected: Vec<u8> = said.iter().filter(|(_, needs)| passes(needs)).flat_map(|(bytes, _)| bytes.clone()).collect();
        prop_assert_eq!(&trial.to_target, &expected);
        prop_assert_eq!(trial.held_of_program(), 0);
        prop_assert!(trial.end.is_none());
    }

    /// Whatever comes, from whom, and whenever time passes: no panic, no byte from nowhere, nothing but looks at the target.
    #[test]
    fn nothing_but_looks_reaches_a_target_that_may_only_be_looked_at(
        pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(prop_oneof![0..7_u8, any::<u8>()], 0..40)), 0..40)
    ) {
        let mut trial = open();
        for (upward, bytes) in pieces {
            if trial.end.is_some() { break }
            if upward { trial.up(&observe(), &bytes, ALL_AT_ONCE) } else { trial.down(&bytes, ALL_AT_ONCE) }
            trial.wait(Duration::from_millis(700));
        }
        let mut frames = Frames::new(measure, message::HEAD_BYTES);
        let mut reached = Bytes::from(trial.to_target.clone());
        while let Some(message) = frames.next(&mut reached).unwrap() {
            prop_assert!([0, 2, 3, 150, 248].contains(&message[0]), "{message:02x?}");
        }
        prop_assert!(frames.give_up().is_empty(), "whole messages");
    }

    /// Whenever input is stopped and let go again: nothing is pressed at the target that was not pressed while it might be,
    /// and nothing stays pressed that was let go.
    #[test]
    fn buttons_and_keys_at_the_target_follow_the_hand(
        steps in prop::collection::vec((any::<bool>(), prop_oneof![
            (0..8_u8).prop_map(|buttons| pointer(buttons, 1, 1)),
            (any::<bool>(), 0x61..0x64_u32).prop_map(|(is_down, symbol)| key(is_down, symbol)),
        ]), 0..80)
    ) {
        let mut trial = open();
        let (mut hand, mut keys) = (0_u8, std::collections::BTreeSet::new());
        let (mut may_buttons, mut may_keys) = (0_u8, std::collections::BTreeSet::new());
        let at = Cell::new(0);
        let (mut buttons, mut held) = (0_u8, std::collections::BTreeSet::new());
        for (may, event) in steps {
            if event[0] == 5 {
                may_buttons &= event[1];
                if may { may_buttons |= event[1] & !hand }
                hand = event[1];
            } else if event[1] == 1 {
                keys.insert(event[7]);
                if may { may_keys.insert(event[7]); }
            } else {
                keys.remove(&event[7]);
                may_keys.remove(&event[7]);
            }
            trial.up(if may { &OPERATE } else { &LOOK } as &dyn Judge, &event, ALL_AT_ONCE);
            let mut rest = &trial.to_target[at.get()..];
            while let Some(kind) = rest.first() {
                let length = if *kind == 5 { buttons = rest[1]; 6 } else {
                    if rest[1] == 1 { held.insert(rest[7]); } else { held.remove(&rest[7]); }
                    8
                };
                rest = &rest[length..];
            }
            at.set(trial.to_target.len());
            prop_assert_eq!(buttons, may_buttons);
            prop_assert_eq!(&held, &may_keys);
        }
    }
}

struct Only(bool);

const OPERATE: Only = Only(true);
const LOOK: Only = Only(false);

impl Judge for Only {
    fn may_pass(&self, need: Need) -> Result<(), String> {
        if self.0 || need == Need::Sight { Ok(()) } else { Err("input is stopped".into()) }
    }
}

#[test]
fn a_long_text_is_held_whole_and_no_longer_one_is() {
    let text = |length: u32| [&hex("06 00 00 00")[..], &length.to_be_bytes(), &vec![b'x'; length as usize]].concat();
    let mut trial = open();
    trial.up(&operate(), &text(CUT_BYTES_MAX), &[10_000]);
    assert_eq!(trial.lines(), ["sent 262144 characters of text to the clipboard"]);
    let mut trial = open();
    trial.up(&operate(), &text(CUT_BYTES_MAX + 1), &[10_000]);
    assert!(matches!(trial.end, Some(End::Malformed(_))) && trial.to_target.is_empty());
}

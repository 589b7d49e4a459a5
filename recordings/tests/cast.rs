//! Casts, read by somebody else's parser.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use asciicast_rs::{Asciicast, V2, V3};
use bytes::Bytes;
use jiff::Timestamp;
use policies::digest::Digest;
use policies::ids::SessionId;
use proptest::prelude::*;
use recordings::cast::{CastFault, CastOptions, CastVersion, write_cast};
use recordings::frame::Stream;
use recordings::leaf::{Opened, Position, Sealed};
use recordings::notes::{Note, Size};
use recordings::read::{Moment, Place, ReadFault, Recording, What};

fn recording() -> Recording {
    let place = Place { segment: 0, offset: 0 };
    Recording {
        number: 1,
        opened: Opened {
            recording: SessionId::new(ulid::Ulid::from(1_u128)),
            epoch: 0,
            key_file: Digest([0; 32]),
            commitment: [0; 32],
            nanos: 0,
            wall: Timestamp::constant(1_900_000_000, 0),
            metadata: Vec::new(),
        },
        sealed: None,
        sealed_at: None,
        frames: 0,
        opened_nanos: 0,
        last_nanos: 0,
        begins: place,
        ends: place,
        blocks: Vec::new(),
        keeping: recordings::keeping::Keeping::default(),
    }
}

fn moment(nanos: u64, channel: u32, what: What) -> Moment {
    Moment { at: Duration::from_nanos(nanos), wall: Timestamp::UNIX_EPOCH, sequence: 0, channel, what }
}

fn note(nanos: u64, note: Note) -> Moment {
    moment(nanos, 1, What::Note(note))
}

fn data(nanos: u64, stream: Stream, bytes: &[u8]) -> Moment {
    moment(nanos, 1, What::Data(stream, Bytes::copy_from_slice(bytes)))
}

fn shell(rest: Vec<Moment>) -> Vec<Moment> {
    let terminal = Note::Terminal { term: "xterm".into(), size: Size { columns: 100, rows: 30 } };
    [vec![note(0, terminal), note(0, Note::Shell)], rest].concat()
}

fn cast(moments: Vec<Moment>, options: &CastOptions) -> Vec<u8> {
    let mut out = Vec::new();
    let moments = moments.into_iter().map(Ok::<_, ReadFault>);
    write_cast(&mut out, &recording(), moments, options).unwrap();
    out
}

fn v3(moments: Vec<Moment>) -> Asciicast<V3> {
    Asciicast::<V3>::from_slice(&cast(moments, &CastOptions::default())).unwrap()
}

fn output(cast: &Asciicast<V3>) -> String {
    cast.events.iter().filter_map(|event| event.as_output()).collect()
}

#[test]
fn a_cast_is_written_this_way() {
    let moments = shell(vec![
        data(250_000_000, Stream::Out, "grün \u{1b}[1m\"\\".as_bytes()),
        note(1_500_000_000, Note::Resize { size: Size { columns: 120, rows: 40 } }),
        data(1_500_000_999, Stream::In, b"secret"),
        data(61_000_000_001, Stream::OutErr, b"x"),
        note(61_000_000_002, Note::ExitStatus { status: 3 }),
        data(62_000_000_000, Stream::GateOut, b"[holdpoint] over\r\n"),
        moment(62_000_000_000, 0, sealed("cut")),
    ]);
    let written = String::from_utf8(cast(moments.clone(), &CastOptions::default())).unwrap();
    assert_eq!(written, include_str!("golden/shell.v3.cast"));
    let options = CastOptions { version: CastVersion::V2, input: true, ..CastOptions::default() };
    let written = String::from_utf8(cast(moments, &options)).unwrap();
    assert_eq!(written, include_str!("golden/shell.v2.cast"));
}

#[test]
fn another_parser_reads_the_same() {
    let cast = v3(shell(vec![
        data(1_000_000_000, Stream::Out, b"one"),
        note(2_000_000_000, Note::Resize { size: Size { columns: 120, rows: 40 } }),
        note(3_000_000_000, Note::ExitStatus { status: 3 }),
    ]));
    assert_eq!((cast.header.term.cols, cast.header.term.rows), (100, 30));
    assert_eq!(cast.header.timestamp, Some(1_900_000_000));
    assert_eq!(output(&cast), "one");
    assert!(cast.events[1].as_resize().is_some());
    assert!(cast.events.last().unwrap().as_exit().is_some());
    let times: Vec<f64> = cast.absolute_times().map(|(at, _)| at).collect();
    assert_eq!(times, [1.0, 2.0, 3.0]);
}

fn sealed(ending: &str) -> What {
    What::Sealed(Box::new(Sealed {
        recording: recording().id(),
        session: 1,
        ending: ending.to_owned(),
        frames: 0,
        digest: [0; 32],
        ledger: None,
        accounts: None,
        chain: Position { segment: 0, offset: 0, link: [0; 32] },
        signature: [0; 64],
    }))
}

#[test]
fn what_the_gate_did_and_why_it_ended_are_markers() {
    let stopped = Note::Freeze { frozen: true, reason: "by an operator".into() };
    let cast = v3(shell(vec![
        data(1_000_000_000, Stream::Out, b"one"),
        moment(2_000_000_000, 0, What::Note(stopped)),
        note(3_000_000_000, Note::ExitStatus { status: 3 }),
        moment(4_000_000_000, 0, sealed("cut")),
    ]));
    let markers: Vec<_> = cast.absolute_times().filter_map(|(at, event)| Some((at, event.as_marker()?))).collect();
    assert_eq!(markers, [(2.0, "gate: input stopped: by an operator"), (4.0, "gate: the session ended: cut")]);
    assert!(cast.events.last().unwrap().as_exit().is_some());
}

/// What `tests/player/screen.mjs` prints.
#[derive(Debug, serde::Deserialize)]
struct Screen {
    duration: f64,
    lines: Vec<String>,
}

#[test]
fn asciinema_player_shows_the_screen_as_it_stood() {
    let Some(modules) = std::env::var_os("HOLDPOINT_NODE") else {
        return println!("SKIPPED: asciinema-player is not installed; tests/run installs it");
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for version in ["v2", "v3"] {
        let player = Command::new("node")
            .arg(here.join("../tests/player/screen.mjs"))
            .arg(&modules)
            .arg(here.join(format!("tests/golden/shell.{version}.cast")))
            .output()
            .unwrap();
        assert!(player.status.success(), "{version}: {}", String::from_utf8_lossy(&player.stderr));
        let screen: Screen = serde_json::from_slice(&player.stdout).unwrap();
        assert_eq!((screen.lines[0].as_str(), screen.duration), (r#"grün "\x[holdpoint] over"#, 62.0), "{version}");
        assert_eq!(screen.lines.len(), 40, "{version}: the terminal was resized");
    }
}

#[test]
fn eight_hours_do_not_drift() {
    // Every 70 ms and a third of a microsecond: nothing that six digits can say.
    let step = 70_000_333;
    let ends = 8 * 3_600 * 1_000_000_000_u64;
    let moments = shell((1..=ends / step).map(|n| data(n * step, Stream::Out, b".")).collect());
    let count = moments.len() as u64 - 2;
    let text = String::from_utf8(cast(moments, &CastOptions::default())).unwrap();
    let micros = |line: &str| {
        let (seconds, rest) = line[1..].split_once('.').unwrap();
        seconds.parse::<u64>().unwrap() * 1_000_000 + rest[..6].parse::<u64>().unwrap()
    };
    let total: u64 = text.lines().skip(1).map(micros).sum();
    assert_eq!(total, count * step / 1_000);
}

#[test]
fn a_command_without_a_terminal_is_shown_too() {
    let cast = v3(vec![
        note(0, Note::Exec { command: "uptime; \u{1b}]0;x\u{7}".into(), copies_files: false }),
        data(1, Stream::Out, b"one\ntwo\n"),
    ]);
    assert_eq!(cast.header.command.as_deref(), Some("uptime; \\x1b]0;x\\x07"));
    assert_eq!((cast.header.term.cols, cast.header.term.rows), (80, 24));
    assert_eq!(output(&cast), "one\r\ntwo\r\n");
}

#[test]
fn a_copy_of_files_makes_no_cast() {
    let moments = vec![Ok(note(0, Note::Subsystem { name: "sftp".into() })), Ok(data(1, Stream::Out, b"..."))];
    let made = write_cast(&mut Vec::new(), &recording(), moments, &CastOptions::default());
    assert!(matches!(made, Err(CastFault::NoTerminal)));
}

#[test]
fn one_channel_is_shown() {
    let other = |what| moment(5, 2, what);
    let moments = [
        shell(vec![data(1, Stream::Out, b"here")]),
        vec![other(What::Note(Note::Shell)), other(What::Data(Stream::Out, Bytes::from_static(b"there")))],
    ]
    .concat();
    assert_eq!(output(&v3(moments.clone())), "here");
    let options = CastOptions { channel: Some(2), ..CastOptions::default() };
    assert_eq!(output(&Asciicast::<V3>::from_slice(&cast(moments, &options)).unwrap()), "there");
}

/// Several programs in one session, one after the other and side by side: a header each would be no cast.
#[test]
fn one_file_has_one_header() {
    let moments: Vec<_> = (1..=4)
        .flat_map(|channel| {
            let ran = shell(vec![data(u64::from(channel), Stream::Out, b"x")]);
            ran.into_iter().map(move |what| Moment { channel, ..what })
        })
        .collect();
    for version in [CastVersion::V2, CastVersion::V3] {
        for channel in [None, Some(3)] {
            let options = CastOptions { version, channel, ..CastOptions::default() };
            let written = String::from_utf8(cast(moments.clone(), &options)).unwrap();
            let headers = written.lines().filter(|line| line.starts_with('{')).count();
            assert_eq!((headers, written.starts_with('{')), (1, true), "{written}");
        }
    }
}

#[test]
fn what_is_typed_stays_out_unless_asked_for_and_passwords_are_masked() {
    let moments = shell(vec![
        data(1, Stream::Out, b"Password: "),
        data(2, Stream::In, b"hunter2\r"),
        data(3, Stream::Out, b"\r\n$ "),
        data(4, Stream::In, b"ls\r"),
    ]);
    assert!(v3(moments.clone()).events.iter().all(|event| event.as_input().is_none()));
    let options = CastOptions { input: true, ..CastOptions::default() };
    let with_input = Asciicast::<V3>::from_slice(&cast(moments, &options)).unwrap();
    let typed: String = with_input.events.iter().filter_map(|event| event.as_input()).collect();
    assert_eq!(typed, "•••••••\rls\r");
}

proptest! {
    #[test]
    fn bytes_that_are_no_text_make_a_cast_all_the_same(
        pieces in prop::collection::vec((0_u64..5_000_000_000, prop::collection::vec(any::<u8>(), 0..40)), 0..20),
        version in prop::sample::select(vec![CastVersion::V2, CastVersion::V3]),
    ) {
        let all: Vec<u8> = pieces.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let moments = shell(pieces.iter().map(|(at, bytes)| data(*at, Stream::Out, bytes)).collect());
        let written = cast(moments, &CastOptions { version, ..CastOptions::default() });
        let shown: String = match version {
            CastVersion::V3 => output(&Asciicast::<V3>::from_slice(&written).unwrap()),
            CastVersion::V2 => {
                let cast = Asciicast::<V2>::from_slice(&written).unwrap();
                cast.events.iter().filter_map(|event| event.as_output()).collect()
            }
        };
        prop_assert_eq!(shown, String::from_utf8_lossy(&all));
    }
}

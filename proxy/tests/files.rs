//! SFTP and scp looked into, with packets made by hand and a small server in memory: what is refused, what is listed,
//! and that neither depends on how the bytes are cut. Real programs are in `files_real.rs`.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

mod files_kit;

use std::collections::BTreeSet;

use bytes::Bytes;
use files_kit::{Answer, Ask, CREATE, EXCLUSIVE, Inspecting, READ, Server, TRUNCATE, WRITE, entry, init, version};
use policies::actions::Action;
use policies::digest::Digest;
use proptest::prelude::*;
use proxy::files::{Breach, End};
use recordings::ledger::{Extent, FileEntry, Operation, Outcome, Verdict};

const BOTH: [Action; 2] = [Action::FileGet, Action::FilePut];

fn allowed(operation: Operation, path: &str, outcome: Outcome) -> FileEntry {
    entry(operation, path, Verdict::Allowed, outcome)
}

fn refused(operation: Operation, path: &str) -> FileEntry {
    entry(operation, path, Verdict::Refused, Outcome::NotBegun)
}

fn with_content(entry: FileEntry, from: u64, content: &[u8], whole: bool) -> FileEntry {
    let until = from + content.len() as u64;
    let extents = vec![Extent { from, until, sha256: Some(Digest::of_bytes(content)) }];
    FileEntry { bytes: content.len() as u64, extents, whole, ..entry }
}

#[test]
fn a_file_written_from_its_beginning_is_whole() {
    let mut sftp = Inspecting::greeted(&BOTH);
    sftp.up(&Ask::Open("x", WRITE | CREATE | TRUNCATE).packet(1));
    sftp.down(&Answer::Handle("h").packet(1));
    sftp.up(&Ask::Write("h", 0, b"abc").packet(2));
    sftp.up(&Ask::Write("h", 3, b"def").packet(3));
    sftp.down(&[Answer::OK.packet(2), Answer::OK.packet(3)].concat());
    sftp.up(&Ask::Close("h").packet(4));
    assert_eq!(
        sftp.down(&Answer::OK.packet(4)).ledger,
        [with_content(allowed(Operation::Put, "x", Outcome::Done), 0, b"abcdef", true)]
    );
}

#[test]
fn answers_out_of_order_are_hashed_in_order() {
    let mut sftp = Inspecting::greeted(&BOTH);
    sftp.open(1, "x", READ, "h");
    for (id, offset) in [(2, 0), (3, 4), (4, 8), (5, 12)] {
        sftp.up(&Ask::Read("h", offset, 4).packet(id));
    }
    sftp.down(&Answer::Data(b"89ab").packet(4));
    sftp.down(&Answer::Status(1).packet(5));
    sftp.down(&Answer::Data(b"0123").packet(2));
    sftp.down(&Answer::Data(b"4567").packet(3));
    let entry = allowed(Operation::Get, "x", Outcome::Done);
    assert_eq!(sftp.close(6, "h"), [with_content(entry, 0, b"0123456789ab", true)]);
}

#[test]
fn rename_partial_and_append_are_listed() {
    let mut sftp = Inspecting::greeted(&BOTH);
    sftp.open(1, "x", WRITE, "h");
    sftp.up(&Ask::Write("h", 6, b"tail").packet(2));
    sftp.down(&Answer::OK.packet(2));
    let partial = with_content(allowed(Operation::Put, "x", Outcome::Done), 6, b"tail", false);
    assert_eq!(sftp.close(3, "h"), [partial]);

    sftp.open(4, "log", WRITE | files_kit::APPEND, "h");
    for (id, data) in [(5, b"one"), (6, b"two")] {
        sftp.up(&Ask::Write("h", 0, data).packet(id));
        sftp.down(&Answer::OK.packet(id));
    }
    let appended = with_content(allowed(Operation::Append, "log", Outcome::Done), 0, b"onetwo", false);
    assert_eq!(sftp.close(7, "h"), [appended]);

    sftp.open(8, "y", READ, "h");
    sftp.up(&Ask::Read("h", 100, 4).packet(9));
    sftp.down(&Answer::Data(b"rest").packet(9));
    let resumed = with_content(allowed(Operation::Get, "y", Outcome::Done), 100, b"rest", false);
    assert_eq!(sftp.close(10, "h"), [resumed]);

    sftp.up(&Ask::Rename("x", "z").packet(11));
    let renamed = FileEntry { to: Some(files_kit::path("z")), ..allowed(Operation::Rename, "x", Outcome::Done) };
    assert_eq!(sftp.down(&Answer::OK.packet(11)).ledger, [renamed]);
}

#[test]
fn of_two_handles_on_one_file_neither_is_whole() {
    let mut sftp = Inspecting::greeted(&BOTH);
    sftp.open(1, "/d/x", WRITE | CREATE | TRUNCATE, "a");
    sftp.open(2, "/d/./x", WRITE, "b");
    for (id, handle, offset, data) in [(3, "a", 0, b"AA"), (4, "b", 2, b"BB")] {
        sftp.up(&Ask::Write(handle, offset, data).packet(id));
        sftp.down(&Answer::OK.packet(id));
    }
    let first = with_content(allowed(Operation::Put, "/d/x", Outcome::Done), 0, b"AA", false);
    assert_eq!(sftp.close(5, "a"), [first]);
    let second = with_content(allowed(Operation::Put, "/d/./x", Outcome::Done), 2, b"BB", false);
    assert_eq!(sftp.close(6, "b"), [second]);
}

#[test]
fn two_readers_of_one_file_are_both_whole() {
    let mut sftp = Inspecting::greeted(&BOTH);
    sftp.open(1, "x", READ, "a");
    sftp.open(2, "x", READ, "b");
    for handle in ["a", "b"] {
        sftp.up(&Ask::Read(handle, 0, 100).packet(3));
        sftp.down(&Answer::Data(b"all").packet(3));
        let whole = with_content(allowed(Operation::Get, "x", Outcome::Done), 0, b"all", true);
        assert_eq!(sftp.close(4, handle), [whole]);
    }
}

#[test]
fn a_write_that_failed_is_not_listed_as_content() {
    let mut sftp = Inspecting::greeted(&BOTH);
    sftp.open(1, "x", WRITE | CREATE | TRUNCATE, "h");
    sftp.up(&Ask::Write("h", 0, b"abc").packet(2));
    sftp.up(&Ask::Write("h", 3, b"def").packet(3));
    sftp.down(&Answer::OK.packet(2));
    sftp.down(&Answer::Status(4).packet(3));
    let extents = vec![Extent { from: 0, until: 3, sha256: None }];
    let listed = FileEntry { bytes: 3, extents, ..allowed(Operation::Put, "x", Outcome::Failed(4)) };
    assert_eq!(sftp.close(4, "h"), [listed]);
}

#[test]
fn what_is_not_closed_is_unfinished() {
    let mut sftp = Inspecting::greeted(&BOTH);
    sftp.open(1, "x", WRITE | CREATE | TRUNCATE, "h");
    sftp.up(&Ask::Write("h", 0, b"abc").packet(2));
    sftp.down(&Answer::OK.packet(2));
    sftp.up(&Ask::Remove("y").packet(3));
    sftp.up(&Ask::Open("z", READ).packet(4));
    sftp.up(&Ask::Write("h", 3, b"de").packet(5));
    // What the target did not answer for passed too, and may have arrived.
    let put = with_content(allowed(Operation::Put, "x", Outcome::Unfinished), 0, b"abcde", false);
    let put = FileEntry { unanswered: 2, ..put };
    assert_eq!(
        sftp.inspector.finish(),
        [allowed(Operation::Remove, "y", Outcome::Unfinished), allowed(Operation::Get, "z", Outcome::Unfinished), put]
    );
    assert_eq!(sftp.inspector.finish(), []);
}

#[test]
fn what_is_not_granted_never_reaches_the_target() {
    let put_only = [
        (Ask::Open("x", READ), Operation::Get),
        (Ask::Open("x", 0), Operation::Get),
        (Ask::Open("x", CREATE), Operation::Get),
        (Ask::Open("x", READ | WRITE), Operation::Get),
    ];
    let get_only = [
        (Ask::Open("x", WRITE), Operation::Put),
        (Ask::Open("x", READ | TRUNCATE), Operation::Put),
        (Ask::Open("x", READ | 0x40), Operation::Put),
        (Ask::Open("x", WRITE | files_kit::APPEND), Operation::Append),
        (Ask::Remove("x"), Operation::Remove),
        (Ask::Path(14, "x"), Operation::MakeDirectory),
        (Ask::Path(15, "x"), Operation::RemoveDirectory),
        (Ask::Path(9, "x"), Operation::SetAttributes),
    ];
    for (action, asks, wanted) in
        [(Action::FilePut, &put_only[..], "file-get"), (Action::FileGet, &get_only[..], "file-put")]
    {
        for (ask, operation) in asks {
            let mut sftp = Inspecting::greeted(&[action]);
            let packet = ask.packet(7);
            let inspected = sftp.up(&packet);
            assert_eq!(inspected.forward, Vec::<Bytes>::new(), "{ask:?}");
            assert_eq!(inspected.refused, packet.len() as u64);
            assert_eq!(inspected.ledger, [refused(*operation, "x")]);
            let words = format!("holdpoint: {wanted} is not granted here. {}", files_kit::ASK);
            assert_eq!(inspected.to_technician, [files_kit::status(7, 3, &words)]);
            assert_eq!(inspected.say, [words]);
        }
    }
}

#[test]
fn reading_through_a_handle_opened_for_writing_needs_file_get() {
    let mut sftp = Inspecting::greeted(&[Action::FilePut]);
    sftp.open(1, "x", WRITE | CREATE, "h");
    for id in [2, 3] {
        let inspected = sftp.up(&Ask::Read("h", 0, 100).packet(id));
        assert_eq!(inspected.forward, Vec::<Bytes>::new());
        assert_eq!(inspected.ledger.len(), usize::from(id == 2));
    }
}

#[test]
fn refusals_wait_for_earlier_answers_and_stand_between_packets() {
    let mut sftp = Inspecting::greeted(&[Action::FileGet]);
    sftp.up(&Ask::Path(17, "a").packet(1));
    let inspected = sftp.up(&[Ask::Remove("x").packet(2), Ask::Path(17, "b").packet(3)].concat());
    assert_eq!(inspected.forward, [Ask::Path(17, "b").packet(3)]);
    assert_eq!(inspected.to_technician, Vec::<Bytes>::new());
    let answer = Answer::Status(2).packet(1);
    let (begun, rest) = answer.split_at(9);
    assert_eq!(sftp.down(begun), files_kit::nothing());
    let inspected = sftp.down(rest);
    assert_eq!(inspected.forward.concat(), answer);
    assert_eq!(inspected.to_technician.len(), 1);
    assert_eq!(sftp.down(&Answer::Status(2).packet(3)).to_technician, Vec::<Bytes>::new());
}

#[test]
fn extensions_that_nobody_could_judge_are_neither_offered_nor_carried() {
    let mut sftp = Inspecting::new(&BOTH);
    assert_eq!(sftp.up(&init(3)).forward, [init(3)]);
    let offer = version(3, &["posix-rename@openssh.com", "1", "check-file", "md5", "limits@openssh.com", "1"]);
    let inspected = sftp.down(&offer);
    assert_eq!(inspected.forward, Vec::<Bytes>::new());
    assert_eq!(inspected.to_technician, [version(3, &["posix-rename@openssh.com", "1", "limits@openssh.com", "1"])]);
    assert_eq!(inspected.refused, offer.len() as u64);
    let inspected = sftp.up(&Ask::Extended("check-file", "x").packet(1));
    assert_eq!((inspected.forward.len(), inspected.to_technician.len()), (0, 1));
    assert_eq!(inspected.to_technician[0][9..13], [0, 0, 0, 8]);
    assert_eq!(sftp.up(&Ask::Extended("limits@openssh.com", "").packet(2)).forward.len(), 1);
}

#[test]
fn an_offer_of_a_newer_version_is_made_one_of_version_3() {
    let mut sftp = Inspecting::new(&BOTH);
    let inspected = sftp.up(&init(6));
    assert_eq!((inspected.forward.len(), inspected.refused), (0, 9));
    assert_eq!(inspected.to_target, [init(3)]);
    assert_eq!(sftp.fails_down(&version(6, &[])), (End::Target, Breach::Version(6)));
}

#[test]
fn handles_that_are_closed_or_unknown_are_answered_here() {
    let mut sftp = Inspecting::greeted(&BOTH);
    sftp.open(1, "x", READ, "h");
    sftp.up(&Ask::Close("h").packet(2));
    for ask in [Ask::Read("h", 0, 1), Ask::Read("other", 0, 1), Ask::Close("h"), Ask::Write("h", 0, b"x")] {
        assert_eq!(sftp.up(&ask.packet(3)).forward, Vec::<Bytes>::new(), "{ask:?}");
    }
    assert_eq!(sftp.down(&Answer::OK.packet(2)).to_technician.len(), 4);
}

#[test]
fn a_handle_may_be_given_out_again_once_closing_was_asked_for() {
    let mut sftp = Inspecting::greeted(&BOTH);
    sftp.open(1, "x", READ, "h");
    sftp.up(&[Ask::Close("h").packet(2), Ask::Open("y", READ).packet(3)].concat());
    assert_eq!(sftp.down(&Answer::Handle("h").packet(3)).ledger, []);
    assert_eq!(sftp.down(&Answer::OK.packet(2)).ledger, [allowed(Operation::Get, "x", Outcome::Done)]);
    assert_eq!(sftp.close(4, "h"), [allowed(Operation::Get, "y", Outcome::Done)]);
}

#[test]
fn hostile_packets_end_the_channel() {
    let breach_of = |packets: &[&[u8]]| {
        let mut sftp = Inspecting::greeted(&BOTH);
        let (last, first) = packets.split_last().unwrap();
        first.iter().for_each(|packet| drop(sftp.up(packet)));
        sftp.fails_up(last)
    };
    let technician = |breach| (End::Technician, breach);
    let stat = |id| Ask::Path(17, "x").packet(id);
    assert_eq!(breach_of(&[&[0xff; 4]]), technician(Breach::PacketLength(u32::MAX)));
    assert_eq!(breach_of(&[&[0, 0, 0, 0]]), technician(Breach::PacketLength(0)));
    assert_eq!(breach_of(&[&[0, 4, 4, 1]]), technician(Breach::PacketLength(0x40401)));
    assert_eq!(breach_of(&[&init(3)]), technician(Breach::UnexpectedPacket(1)));
    assert_eq!(breach_of(&[&[0, 0, 0, 5, 99, 0, 0, 0, 1]]), technician(Breach::UnexpectedPacket(99)));
    assert_eq!(breach_of(&[&[0, 0, 0, 9, 17, 0, 0, 0, 1, 0, 0, 0, 1]]), technician(Breach::ShortPacket));
    assert_eq!(breach_of(&[&[0, 0, 0, 9, 17, 0, 0, 0, 1, 255, 255, 255, 255]]), technician(Breach::ShortPacket));
    assert_eq!(breach_of(&[&stat(1), &stat(1)]), technician(Breach::NumberInUse));
    assert_eq!(Inspecting::new(&BOTH).fails_up(&stat(1)), technician(Breach::UnexpectedPacket(17)));
    assert_eq!(Inspecting::new(&BOTH).fails_up(&init(2)), technician(Breach::Version(2)));
}

#[test]
fn hostile_answers_end_the_channel() {
    let breach_of = |ask: &Ask<'_>, answer: &[u8]| {
        let mut sftp = Inspecting::greeted(&BOTH);
        sftp.open(8, "x", READ, "h");
        sftp.up(&ask.packet(9));
        sftp.fails_down(answer)
    };
    let target = |breach| (End::Target, breach);
    let (open, read) = (Ask::Open("y", READ), Ask::Read("h", 0, 9));
    assert_eq!(breach_of(&open, &Answer::Handle("h").packet(9)), target(Breach::BadHandle));
    assert_eq!(breach_of(&open, &Answer::Handle(&"h".repeat(257)).packet(9)), target(Breach::BadHandle));
    assert_eq!(breach_of(&open, &Answer::OK.packet(9)), target(Breach::UnexpectedPacket(101)));
    assert_eq!(breach_of(&open, &Answer::Data(b"x").packet(9)), target(Breach::UnexpectedPacket(103)));
    assert_eq!(breach_of(&read, &Answer::Handle("i").packet(9)), target(Breach::UnexpectedPacket(102)));
    assert_eq!(breach_of(&read, &Answer::OK.packet(10)), target(Breach::UnaskedAnswer));
    assert_eq!(breach_of(&read, &version(3, &[])), target(Breach::UnaskedAnswer));
    assert_eq!(breach_of(&read, &[0, 0, 0, 9, 103, 0, 0, 0, 9, 0, 0, 0, 1]), target(Breach::ShortPacket));
    assert_eq!(Inspecting::new(&BOTH).fails_down(&version(3, &[])), target(Breach::UnexpectedPacket(2)));
}

#[test]
fn more_open_files_than_can_be_kept_account_of_are_refused() {
    let mut sftp = Inspecting::greeted(&BOTH);
    (0..1024).for_each(|id| sftp.open(id, "x", READ, &id.to_string()));
    let inspected = sftp.up(&Ask::Open("y", READ).packet(2000));
    assert_eq!((inspected.forward.len(), inspected.to_technician.len()), (0, 1));
    assert_eq!(inspected.ledger, [refused(Operation::Get, "y")]);
    sftp.close(2001, "7");
    assert_eq!(sftp.up(&Ask::Open("y", READ).packet(2002)).forward.len(), 1);
}

#[test]
fn requests_without_answers_end_somewhere() {
    let mut sftp = Inspecting::greeted(&BOTH);
    let names = (0..).map(|id| (id, sftp.inspector.upward(Ask::Path(17, &"n".repeat(4096)).packet(id).into())));
    let (id, _) = names.into_iter().find(|(_, inspected)| inspected.is_err()).unwrap();
    assert_eq!(id, (1 << 20) / 4096);

    let mut sftp = Inspecting::greeted(&BOTH);
    sftp.open(100_000, "x", READ, "h");
    let reads: Vec<u8> = (0..80_000).flat_map(|id| Ask::Read("h", 0, 9).packet(id)).collect();
    assert_eq!(sftp.up(&reads).refused, 0);
    let reads: Vec<u8> = (100_000..140_000).flat_map(|id| Ask::Read("h", 0, 9).packet(id)).collect();
    assert_eq!(sftp.fails_up(&reads), (End::Technician, Breach::TooManyRequests));
}

#[test]
fn paths_that_servers_read_differently_are_refused() {
    let mut sftp = Inspecting::greeted(&BOTH);
    for path in ["a\0b", &"n".repeat(4097)] {
        let inspected = sftp.up(&Ask::Open(path, READ).packet(1));
        assert_eq!((inspected.forward.len(), inspected.ledger.len()), (0, 1));
    }
}

/// One run of an inspector between a program and the server in memory, cut at these places.
fn converse(granted: &[Action], turns: &[Vec<Ask<'static>>], mut cuts: impl FnMut() -> usize) -> Told {
    let mut told = Told::default();
    let mut sftp = Inspecting::greeted(granted);
    let mut server = Server::default();
    let mut id = 0;
    for turn in turns {
        let asked: Vec<u8> = turn
            .iter()
            .flat_map(|ask| {
                id += 1;
                ask.packet(id)
            })
            .collect();
        let answers = pour(&asked, &mut cuts, |chunk| {
            let inspected = sftp.up(chunk);
            told.refused += inspected.refused;
            told.note(inspected.ledger, &server);
            told.made.extend(inspected.to_technician.concat());
            let forwarded = inspected.forward.concat();
            told.forwarded.extend_from_slice(&forwarded);
            server.take(&forwarded)
        });
        pour(&answers, &mut cuts, |chunk| {
            let inspected = sftp.down(chunk);
            told.note(inspected.ledger, &server);
            told.made.extend(inspected.to_technician.concat());
            told.answered.extend(inspected.forward.concat());
            Vec::new()
        });
    }
    let ledger = sftp.inspector.finish();
    told.note(ledger, &server);
    told
}

fn pour(bytes: &[u8], cuts: &mut impl FnMut() -> usize, mut into: impl FnMut(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (mut rest, mut out) = (bytes, Vec::new());
    while !rest.is_empty() {
        let (chunk, more) = rest.split_at(cuts().clamp(1, rest.len()));
        out.extend(into(chunk));
        rest = more;
    }
    out
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    forwarded: Vec<u8>,
    answered: Vec<u8>,
    made: Vec<u8>,
    refused: u64,
    ledger: Vec<FileEntry>,
    untrue: Vec<FileEntry>,
}

impl Told {
    /// Keeps entries, and those apart that say a file is whole which is another at the target.
    fn note(&mut self, entries: Vec<FileEntry>, server: &Server) {
        for entry in entries {
            let at_close = server.closed_with(entry.path.bytes());
            let untrue = entry.sha256().is_some_and(|sha256| !at_close.contains(&sha256));
            self.untrue.extend(untrue.then(|| entry.clone()));
            self.ledger.push(entry);
        }
    }
}

fn asks() -> impl Strategy<Value = Vec<Vec<Ask<'static>>>> {
    let name = || prop::sample::select(vec!["a", "b", "./a"]);
    let handle = || prop::sample::select(vec!["0", "1", "2"]);
    let flags = prop::sample::select(vec![
        READ,
        READ,
        WRITE,
        WRITE | CREATE | TRUNCATE,
        WRITE | CREATE | TRUNCATE,
        WRITE | CREATE | EXCLUSIVE,
        READ | WRITE | CREATE,
        WRITE | CREATE | files_kit::APPEND,
        WRITE | CREATE | TRUNCATE | files_kit::APPEND,
    ]);
    let data = prop::sample::select(vec![&b"abc"[..], b"x", b"", b"0123456789"]);
    let ask = prop_oneof![
        4 => (name(), flags).prop_map(|(name, flags)| Ask::Open(name, flags)),
        3 => handle().prop_map(Ask::Close),
        4 => (handle(), 0_u64..20, 0_u32..12).prop_map(|(handle, offset, wanted)| Ask::Read(handle, offset, wanted)),
        2 => (handle(), 10_u32..40).prop_map(|(handle, wanted)| Ask::Read(handle, 0, wanted)),
        4 => (handle(), 0_u64..20, data.clone()).prop_map(|(handle, offset, data)| Ask::Write(handle, offset, data)),
        3 => (handle(), data).prop_map(|(handle, data)| Ask::Write(handle, 0, data)),
        1 => (handle(), 0_u64..20).prop_map(|(handle, size)| Ask::Resize(handle, size)),
        1 => (name(), 0_u64..20).prop_map(|(name, size)| Ask::ResizePath(name, size)),
        1 => name().prop_map(|name| Ask::Path(17, name)),
        1 => name().prop_map(Ask::Remove),
        2 => (name(), name()).prop_map(|(from, to)| Ask::Rename(from, to)),
        1 => Just(Ask::Extended("unknown", "x")),
    ];
    prop::collection::vec(prop::collection::vec(ask, 1..5), 1..25)
}

#[test]
fn a_size_set_in_the_middle_of_appending_does_not_make_it_whole() {
    let open = Ask::Open("a", WRITE | CREATE | files_kit::APPEND);
    let write = Ask::Write("0", 0, b"abc");
    let turns = [vec![open], vec![write], vec![Ask::Resize("0", 6), write], vec![Ask::Close("0")]];
    let told = converse(&BOTH, &turns, || usize::MAX);
    assert_eq!(told.untrue, []);
    assert!(told.ledger.iter().any(|entry| entry.bytes == 6 && !entry.whole));
}

#[test]
fn a_file_changed_after_it_was_read_or_measured_is_not_whole() {
    let (rw, put) = (READ | WRITE | CREATE, WRITE | CREATE | TRUNCATE);
    let one_by_one = |asks: &[Ask<'static>]| asks.iter().map(|ask| vec![*ask]).collect::<Vec<_>>();
    let measured = |change: &[Ask<'static>]| {
        let begun = [Ask::Open("a", put), Ask::Write("0", 0, b"abc"), Ask::Close("0"), Ask::Path(17, "a")];
        let read = [Ask::Open("a", READ), Ask::Read("0", 0, 3), Ask::Close("0")];
        one_by_one(&[&begun, change, &read].concat())
    };
    let by_itself = one_by_one(&[
        Ask::Open("a", rw),
        Ask::Write("0", 0, b"abc"),
        Ask::Read("0", 0, 9),
        Ask::Write("0", 0, b"x"),
        Ask::Close("0"),
    ]);
    let replaced = [Ask::Open("b", put), Ask::Write("0", 0, b"0123456789"), Ask::Close("0"), Ask::Path(17, "a")];
    let renamed = one_by_one(&[
        Ask::Open("a", put),
        Ask::Write("0", 0, b"abc"),
        Ask::Close("0"),
        Ask::Open("a", READ),
        Ask::Read("0", 0, 9),
        Ask::Rename("a", "b"),
        Ask::Open("b", WRITE),
        Ask::Write("1", 0, b"x"),
        Ask::Close("1"),
        Ask::Close("0"),
    ]);
    for turns in [
        by_itself,
        renamed,
        measured(&[Ask::ResizePath("a", 9)]),
        measured(&[Ask::Open("a", WRITE), Ask::Path(17, "a"), Ask::Write("0", 3, b"x"), Ask::Close("0")]),
        measured(&[&replaced[..], &[Ask::Rename("b", "a")]].concat()),
    ] {
        let told = converse(&BOTH, &turns, || usize::MAX);
        let read = told.ledger.iter().find(|entry| entry.operation == Operation::Get).unwrap();
        assert_eq!((read.bytes, read.whole), (3, false), "{turns:?}");
    }
    let unchanged = converse(&BOTH, &measured(&[]), || usize::MAX);
    assert!(unchanged.ledger.iter().any(|entry| entry.operation == Operation::Get && entry.whole));
}

#[test]
fn a_file_that_grows_is_whole_where_it_ends() {
    let mut sftp = Inspecting::greeted(&BOTH);
    sftp.open(1, "log", READ, "h");
    for (offset, answer) in
        [(0, Answer::Data(b"abc")), (3, Answer::Status(1)), (3, Answer::Data(b"def")), (6, Answer::Status(1))]
    {
        sftp.up(&Ask::Read("h", offset, 3).packet(2));
        sftp.down(&answer.packet(2));
    }
    let entry = allowed(Operation::Get, "log", Outcome::Done);
    assert_eq!(sftp.close(3, "h"), [with_content(entry, 0, b"abcdef", true)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("HOLDPOINT_LONG").is_some() { 20_000 } else { 400 }))]

    #[test]
    fn cutting_the_bytes_changes_neither_verdicts_nor_ledger(
        turns in asks(),
        granted in prop::sample::subsequence(BOTH.to_vec(), 1..=2),
        cuts in prop::collection::vec(1_usize..90, 1..50),
    ) {
        let at_once = converse(&granted, &turns, || usize::MAX);
        let byte_by_byte = converse(&granted, &turns, || 1);
        let mut cuts = cuts.into_iter().cycle();
        let anyhow = converse(&granted, &turns, || cuts.next().unwrap_or(1));
        prop_assert_eq!(&at_once, &byte_by_byte);
        prop_assert_eq!(&at_once, &anyhow);
    }

    #[test]
    fn what_is_listed_as_whole_is_the_file_at_the_target(turns in asks()) {
        let told = converse(&BOTH, &turns, || usize::MAX);
        prop_assert_eq!(told.untrue, []);
    }

    #[test]
    fn nothing_that_needs_another_action_is_forwarded(turns in asks(), get: bool) {
        let granted = if get { Action::FileGet } else { Action::FilePut };
        let told = converse(&[granted], &turns, || usize::MAX);
        let kinds: BTreeSet<u8> = files_kit::kinds_of(&told.forwarded).into_iter().collect();
        let others: &[u8] = if get { &[6, 9, 10, 13, 14, 15, 18, 20] } else { &[5] };
        prop_assert!(others.iter().all(|kind| !kinds.contains(kind)));
        let operations = told.ledger.iter().filter(|entry| entry.verdict == Verdict::Allowed).map(|entry| entry.operation);
        let forbidden: &[Operation] = if get { &[Operation::Put, Operation::Append] } else { &[Operation::Get] };
        prop_assert!(operations.into_iter().all(|operation| !forbidden.contains(&operation)));
    }

    #[test]
    fn no_bytes_make_the_inspector_panic(
        chunks in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..60)), 0..30),
        turns in asks(),
        flips in prop::collection::vec((0_usize..4000, any::<u8>()), 0..20),
    ) {
        let mut sftp = Inspecting::greeted(&BOTH);
        for (upward, chunk) in chunks {
            let chunk = Bytes::from(chunk);
            let _ = if upward { sftp.inspector.upward(chunk) } else { sftp.inspector.downward(chunk) };
        }
        let mut stream: Vec<u8> = turns.concat().iter().zip(0..).flat_map(|(ask, id)| ask.packet(id)).collect();
        for (place, byte) in flips {
            let place = place % stream.len();
            stream[place] = byte;
        }
        let mut sftp = Inspecting::greeted(&BOTH);
        let _ = sftp.inspector.upward(stream.clone().into());
        let _ = sftp.inspector.downward(stream.into());
        sftp.inspector.finish();
    }
}

//! Recordings read back from files alone, whole or hostile.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

mod support;

use std::path::Path;
use std::time::Duration;

use certs::auditor::BadAuditorKeys;
use jiff::Timestamp;
use policies::decide::Command;
use policies::ids::Recipient;
use policies::recipients::REHEARSED_WITHIN;
use proptest::prelude::*;
use recordings::cast::{CastOptions, write_cast};
use recordings::disk::RealDisk;
use recordings::frame::Stream;
use recordings::notes::{Note, Size};
use recordings::play::{PlayOptions, Player, Shown, search};
use recordings::read::{AuditorKeys, KeysFault, Moment, ReadFault, Store as Records, What};
use recordings::rehearse::{Rehearsal, Why, rehearse};
use recordings::screen::Screen;
use recordings::segment::{SegmentFile, SegmentState, segments};
use recordings::verify::{Checks, FindingKind, verify};
use tempfile::TempDir;

use support::Store;

/// Two sessions at once, over several segments.
fn store() -> Store {
    let (mut store, grant) = Store::granted();
    let (mut one, mut two) = (store.begin(grant), store.begin(grant));
    let size = Size { columns: 40, rows: 10 };
    one.note(1, &Note::Terminal { term: "xterm".into(), size }).note(1, &Note::Shell);
    for n in 0..40_u8 {
        one.data(1, Stream::Out, format!("line {n}\r\n").as_bytes()).wait(1_000_000_000);
        two.data(3, Stream::In, &[n; 1_000]);
    }
    one.note(1, &Note::ExitStatus { status: 0 });
    store.end(one);
    store.end(two);
    store.close();
    store
}

fn moments(folder: &Path, keys: &AuditorKeys, index: usize) -> Vec<Result<Moment, ReadFault>> {
    let records = Records::open(folder).unwrap();
    let listing = records.list();
    let recording = &listing.recordings[index];
    let key = keys.open(records.dir(), &recording.opened).unwrap();
    records.moments(recording, key).collect()
}

#[test]
fn what_was_recorded_is_read_in_order_and_apart_from_others() {
    let store = store();
    let records = Records::open(store.dir()).unwrap();
    assert_eq!(records.format().origin, "mill-3/records/node-1");
    let listing = records.list();
    assert!(listing.damage.is_empty());
    let [one, two] = listing.recordings.as_slice() else { panic!("two recordings") };
    assert!(one.begins.segment < one.ends.segment, "the recording should span segments");
    let read: Vec<Moment> = moments(store.dir(), &store.keys, 0).into_iter().map(Result::unwrap).collect();
    assert_eq!((read[0].what.clone(), read.len() as u64), (What::Opened, one.frames + 1));
    assert!(matches!(read.last().unwrap().what, What::Sealed(_)));
    assert!(read.windows(2).all(|pair| pair[0].at <= pair[1].at && pair[0].sequence + 1 == pair[1].sequence));
    assert_eq!(one.duration(), read[read.len() - 2].at);
    assert!(one.duration() > Duration::from_secs(40) && read.last().unwrap().wall > one.opened.wall);
    let text: Vec<u8> = read
        .iter()
        .filter_map(|moment| match &moment.what {
            What::Data(Stream::Out, bytes) => Some(bytes.to_vec()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(text, (0..40).map(|n| format!("line {n}\r\n")).collect::<String>().into_bytes());
    let other = moments(store.dir(), &store.keys, 1).into_iter().map(Result::unwrap);
    let bytes: usize = other.map(|moment| if let What::Data(_, bytes) = moment.what { bytes.len() } else { 0 }).sum();
    assert_eq!((bytes, two.sealed.as_ref().unwrap().ending.as_str()), (40_000, "left"));
}

#[test]
fn a_session_that_still_runs_is_read_as_far_as_it_is() {
    let (mut store, grant) = Store::granted();
    let mut session = store.begin(grant);
    session.data(1, Stream::Out, b"so far");
    let copy = store.copy();
    let read = moments(copy.path(), &store.keys, 0);
    assert_eq!(read.len(), 2);
    assert!(read.into_iter().all(|moment| moment.is_ok()));
}

#[test]
fn a_batch_that_a_crash_tore_is_no_damage_and_changed_bytes_are() {
    let (mut store, grant) = Store::granted();
    let mut session = store.begin(grant);
    for _ in 0..20 {
        session.data(1, Stream::Out, b"acknowledged");
    }
    let damage_where = |change: &dyn Fn(&mut Vec<u8>, usize)| {
        let copy = store.copy();
        let records = Records::open(copy.path()).unwrap();
        let segments = segments(&RealDisk, records.dir()).unwrap();
        let is_used = |file: &&SegmentFile| matches!(file.state, SegmentState::Used { .. });
        let last = &segments.iter().rfind(is_used).unwrap().path;
        let mut bytes = std::fs::read(last).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        change(&mut bytes, end);
        std::fs::write(last, &bytes).unwrap();
        let listing = Records::open(copy.path()).unwrap().list();
        assert_eq!(listing.recordings.len(), 1);
        listing.damage.len()
    };
    for torn in 1..40 {
        assert_eq!(damage_where(&|bytes, end| bytes[end - torn..=end].fill(0)), 0, "{torn} bytes torn");
    }
    assert_eq!(damage_where(&|bytes, end| bytes[end - 1_000] ^= 1), 1);
}

#[test]
fn replay_cast_and_search_read_the_same_recording() {
    let store = store();
    let replay = || moments(store.dir(), &store.keys, 0).into_iter();
    let options = PlayOptions { from: Duration::from_secs(20), ..PlayOptions::default() };
    let mut player = Player::new(replay(), options);
    let first = player.next().unwrap().unwrap();
    assert!(first.write.contains("line 18"), "{first:?}");
    let hits: Vec<u64> = search(replay(), "line 27", None).map(|hit| hit.unwrap().at.as_secs()).collect();
    // A second passed while the other session was let in.
    assert_eq!(hits, [28]);
    let records = Records::open(store.dir()).unwrap();
    let mut out = Vec::new();
    let recording = &records.list().recordings[0];
    let made = write_cast(&mut out, recording, replay(), &CastOptions::default()).unwrap();
    // Forty lines, how the session ended, and the exit status.
    assert_eq!((made.channel, made.events), (1, 42));
}

const SIZE: Size = Size { columns: 40, rows: 6 };
const SECOND: u64 = 1_000_000_000;

/// A shell that draws for five minutes, beside it a command without a terminal, and later another shell; how they stand is
/// noted each half minute. On the first one a password is asked for in between.
fn long_store(noted: bool) -> Store {
    let (mut store, grant) = Store::granted();
    let mut session = store.begin(grant);
    let (mut one, mut late) = (Screen::new(SIZE), Screen::new(SIZE));
    session.note(1, &Note::Terminal { term: "xterm".into(), size: SIZE }).note(1, &Note::Shell);
    session.note(2, &Note::Exec { command: "tail -f log".into(), copies_files: false });
    for second in 0..300_u32 {
        if noted && second % 30 == 29 {
            let screens: &[_] = if second > 100 { &[(1, &one), (3, &late)] } else { &[(1, &one)] };
            session.screens(screens);
        }
        if second == 40 {
            session.note(4, &Note::Terminal { term: "xterm".into(), size: SIZE }).note(4, &Note::Shell);
            session.data(4, Stream::Out, b"short").note(4, &Note::ChannelClose);
        }
        if second == 100 {
            session.note(3, &Note::Terminal { term: "xterm".into(), size: SIZE }).note(3, &Note::Shell);
        }
        let drawn = match second {
            238.. => String::new(),
            237 => "\r\nPassword: ".to_owned(),
            _ => format!("\x1b[{};3H\x1b[3{}mvalue {second}\x1b[K", second % 7 + 1, second % 8),
        };
        one.feed(drawn.as_bytes());
        session.data(1, Stream::Out, drawn.as_bytes());
        session.data(2, Stream::OutErr, format!("log {second}\n").as_bytes());
        if second > 100 {
            late.feed(b"late ");
            session.data(3, Stream::Out, b"late ");
        }
        session.wait(SECOND);
    }
    session.data(1, Stream::In, b"s3cret\r");
    store.end(session);
    store.close();
    store
}

/// A replay from `from` on: what stands there at first, all steps, and whether it began at a screen that the gate noted.
fn replayed(store: &Store, from: u64, channel: Option<u32>, seeks: bool) -> (Vec<String>, Vec<Duration>, String, bool) {
    let records = Records::open(store.dir()).unwrap();
    let recording = &records.list().recordings[0];
    let keys = store.keys.open(records.dir(), &recording.opened).unwrap();
    let from = Duration::from_secs(from);
    let mut moments = if seeks {
        records.seek(recording, keys, from, channel).unwrap().peekable()
    } else {
        records.moments(recording, keys).peekable()
    };
    let stood = matches!(moments.peek().unwrap().as_ref().unwrap().what, What::Standing(_));
    let options = PlayOptions { from, channel, shown: Shown::Both, ..PlayOptions::default() };
    let mut player = Player::new(moments, options);
    let mut steps = vec![player.next().unwrap().unwrap()];
    let lines = player.lines();
    steps.extend(player.map(Result::unwrap));
    let last = steps.last().unwrap().write.clone();
    (lines, steps.iter().map(|step| step.at).collect(), last, stood)
}

#[test]
fn a_replay_that_seeks_shows_what_one_from_the_beginning_shows() {
    let store = long_store(true);
    let closed = replayed(&store, 250, Some(4), true);
    assert_eq!((closed.0[0].as_str(), closed.3), ("short", false));
    for (channel, from) in [(None, 0), (None, 20), (None, 61), (None, 150), (None, 299), (None, 9_999)]
        .into_iter()
        .chain([(Some(1), 200), (Some(3), 95), (Some(3), 121), (Some(3), 250), (Some(9), 200)])
    {
        let (lines, steps, last, stood) = replayed(&store, from, channel, true);
        let (all_lines, all_steps, all_last, _) = replayed(&store, from, channel, false);
        assert_eq!((lines, steps, last), (all_lines, all_steps, all_last), "{channel:?} from {from}");
        assert_eq!(stood, from > 60, "{channel:?} from {from}");
    }
}

#[test]
fn a_command_without_a_terminal_is_sought_too() {
    let store = long_store(true);
    let (lines, steps, _, stood) = replayed(&store, 200, Some(2), true);
    let (all_lines, all_steps, ..) = replayed(&store, 200, Some(2), false);
    assert_eq!((lines, steps, stood), (all_lines, all_steps, true));
}

#[test]
fn without_keyframes_a_replay_begins_at_the_beginning() {
    let store = long_store(false);
    assert_eq!(replayed(&store, 290, None, true), replayed(&store, 290, None, false));
}

#[test]
fn a_password_that_was_asked_for_before_the_place_is_masked_there() {
    let store = long_store(true);
    let (_, _, last, stood) = replayed(&store, 290, None, true);
    assert!(stood && last.contains("••••••") && !last.contains("s3cret"), "{last:?}");
}

/// Keyframes are the gate's word: wrong ones, which it alone can make, are in no replay from the beginning, in no search, and
/// in no export, and the store is whole, because they are no part of what was recorded.
#[test]
fn a_wrong_keyframe_reaches_nothing_but_a_replay_that_begins_at_it() {
    let (mut store, grant) = Store::granted();
    let mut session = store.begin(grant);
    session.note(1, &Note::Terminal { term: "xterm".into(), size: SIZE }).note(1, &Note::Shell);
    let mut wrong = Screen::new(SIZE);
    wrong.feed(b"forged");
    for n in 0..40_u32 {
        session.screens(&[(1, &wrong)]).data(1, Stream::Out, format!("true {n}\r\n").as_bytes()).wait(SECOND);
    }
    store.end(session);
    store.close();
    let trust = support::trust();
    let checks =
        Checks { folder: store.dir(), trust: &trust, keys: Some(&store.keys), remembered: &[], out_of_a_bucket: false };
    let report = verify(&checks, &mut |_| {});
    assert!(report.is_whole(), "{report}");
    let all = || moments(store.dir(), &store.keys, 0).into_iter();
    assert!(all().all(|moment| !matches!(moment.unwrap().what, What::Standing(_))));
    assert_eq!(search(all(), "forged", None).count(), 0);
    assert_eq!(replayed(&store, 30, None, false).0[4], "true 29");
    assert_eq!(replayed(&store, 30, None, true).0[0], "forgedtrue 29");
}

#[test]
fn screens_that_are_too_large_and_those_of_an_idle_session_are_not_kept() {
    let (mut store, grant) = Store::granted();
    let mut session = store.begin(grant);
    let mut screen = Screen::new(Size { columns: 1_000, rows: 1_000 });
    screen.feed("\x1b[31mx\x1b[32my".repeat(100_000).as_bytes());
    session.screens(&[(1, &screen)]).data(1, Stream::Out, b"a").wait(6 * SECOND);
    session.screens(&[(1, &Screen::new(SIZE))]).wait(6 * SECOND).screens(&[(1, &Screen::new(SIZE))]);
    store.end(session);
    store.close();
    let records = Records::open(store.dir()).unwrap();
    let blocks = &records.list().recordings[0].blocks;
    assert_eq!((blocks.len(), blocks[0].frames), (1, 1));
    assert!(blocks[0].length < 1_000, "{blocks:?}");
}

#[test]
fn only_the_right_keys_open_a_recording() {
    let store = store();
    let records = Records::open(store.dir()).unwrap();
    let opened = &records.list().recordings[0].opened;
    let others = Store::empty(16 << 10).keys;
    assert!(matches!(others.open(records.dir(), opened), Err(KeysFault::NotForYou { .. })));
    let mut other_root = opened.clone();
    other_root.commitment = [0; 32];
    assert!(matches!(store.keys.open(records.dir(), &other_root), Err(KeysFault::OtherRoot(_))));
    assert!(matches!(AuditorKeys::parse("# nothing\n"), Err(KeysFault::Keys(BadAuditorKeys::NoKey))));
    assert!(matches!(
        AuditorKeys::parse("\n\nAGE-SECRET-KEY-1WRONG\n"),
        Err(KeysFault::Keys(BadAuditorKeys::NotAKey(3)))
    ));
    assert_eq!(format!("{:?}", store.keys), "AuditorKeys(1)");
}

/// What a rehearsal with these keys, which are one, says of a folder.
fn rehearsed(folder: &Path, keys: &AuditorKeys) -> Rehearsal {
    let [(recipient, key)] = <[_; 1]>::try_from(keys.apart().collect::<Vec<_>>()).unwrap();
    rehearse(&Records::open(folder).unwrap(), (recipient, &key), |_| true)
}

#[test]
fn a_rehearsal_opens_the_oldest_and_the_newest_wholly_and_says_why_not_the_others() {
    let (mut store, grant) = Store::granted();
    let (first, later) = (store.recipients.clone(), Store::empty(16 << 10));
    let mut made = Vec::new();
    for recipients in [&first, &first, &first, &later.recipients] {
        store.recipients = recipients.clone();
        let mut session = store.begin(grant);
        session.data(1, Stream::Out, b"what was shown");
        made.push(session.id);
        store.end(session);
    }
    store.close();
    let old = rehearsed(store.dir(), &store.keys);
    let opened: Vec<_> = old.opened.iter().map(|tried| (tried.session, tried.frames, tried.bytes)).collect();
    assert_eq!((old.opens, opened), (3, vec![(made[0], 2, 14), (made[2], 2, 14)]));
    let closed: Vec<_> = old.closed.iter().map(|closed| (closed.why, closed.count, closed.first)).collect();
    assert_eq!(closed, [(Why::MadeAfter, 1, made[3])]);
    assert!(old.closed[0].opened_by == later.recipients.names() && old.is_good());
    let new = rehearsed(store.dir(), &later.keys);
    assert_eq!((new.opened.len(), new.closed[0].why, new.closed[0].count), (1, Why::MadeBefore, 3));
    let stranger = rehearsed(store.dir(), &Store::empty(16 << 10).keys);
    assert_eq!((stranger.is_good(), stranger.closed[0].why), (false, Why::NeverNamed));

    // Of what it should open, nothing may be wrong: each byte of the key file and of the blocks is read.
    for (name, at) in [("keys.0.age", 100), ("0000.blk", 60)] {
        let copy = store.copy();
        let ulid = made[0].to_string().trim_start_matches("s_").to_ascii_lowercase();
        let path = copy.path().join("records/sessions").join(ulid).join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let told = rehearsed(copy.path(), &store.keys);
        assert_eq!((told.is_good(), told.broken[0].session), (false, made[0]), "{name}: {told:?}");
    }
}

#[test]
fn a_recording_that_says_it_is_for_somebody_and_is_not_is_found_and_one_for_others_is_no_fault() {
    let (mut store, grant) = Store::granted();
    let (mine, others) = (store.recipients.clone(), Store::empty(16 << 10));
    let session = store.begin(grant);
    store.end(session);
    store.recipients = others.recipients.clone();
    let session = store.begin(grant);
    let elsewhere = session.id;
    store.end(session);
    store.close();
    let trust = support::trust();
    let told = |store: &Store| {
        verify(
            &Checks {
                folder: store.dir(),
                trust: &trust,
                keys: Some(&store.keys),
                remembered: &[],
                out_of_a_bucket: false,
            },
            &mut |_| {},
        )
    };
    let report = told(&store);
    assert!(report.is_whole() && report.not_opened == 1, "{report}");
    assert!(report.to_string().contains("1 recording was not opened: it is encrypted to others"), "{report}");
    let note = report.findings.iter().find(|finding| finding.session == Some(elsewhere)).unwrap();
    assert!(others.recipients.names().iter().all(|one| note.words.contains(one.as_str())), "{report}");

    store.open();
    let id = store.admit(grant);
    let lies = store.record_for(id, grant, &mine.names());
    store.end(lies);
    store.close();
    let report = told(&store);
    let finding = report.failures().next().unwrap();
    assert_eq!((finding.kind, finding.session), (FindingKind::Altered, Some(id)), "{report}");
    let rehearsal = rehearsed(store.dir(), &store.keys);
    assert_eq!((rehearsal.is_good(), rehearsal.broken[0].session), (false, id));
}

#[test]
fn whose_key_nobody_tried_for_a_year_is_noted_and_breaks_nothing() {
    let (mut store, grant) = Store::granted();
    let node = support::label("node-1");
    store.act(Command::NameRecipients { node, recipients: store.recipients.names() });
    let session = store.begin(grant);
    let (named, of) = (store.now(), session.id);
    store.end(session);
    let all: Vec<_> = store.recipients.names().into_iter().collect();
    store.act(Command::Rehearse { recipient: all[0].clone(), session: of, by: support::person(support::LEAD) });
    let told = store.now();
    store.close();
    let trust = support::trust();
    let noted = |remembered: &[(usize, Timestamp)], now: Timestamp| {
        let checks = Checks { folder: store.dir(), trust: &trust, keys: None, remembered: &[], out_of_a_bucket: false };
        let mut report = verify(&checks, &mut |_| {});
        let remembered = remembered.iter().map(|(which, at)| (all[*which].clone(), *at)).collect();
        report.note_forgotten(&remembered, now);
        assert!(report.is_whole(), "{report}");
        let is_noted = |recipient: &&Recipient| {
            report.findings.iter().any(|finding| finding.words.contains(&format!("the key of {recipient} since ")))
        };
        all.iter().filter(is_noted).cloned().collect::<Vec<_>>()
    };
    let year = REHEARSED_WITHIN;
    assert_eq!(noted(&[], told + year), all[1..]);
    assert_eq!(noted(&[(1, told)], told + year), []);
    assert_eq!(noted(&[(1, told)], told + year + year), all);
    assert_eq!(noted(&[], named), []);
}

#[test]
fn a_folder_that_holds_no_recordings_says_so() {
    let folder = TempDir::new().unwrap();
    assert!(matches!(Records::open(folder.path()), Err(ReadFault::NotAStore(_))));
    std::fs::write(folder.path().join("FORMAT"), "holdpoint log 9\na\nb\nc\n").unwrap();
    assert!(matches!(Records::open(folder.path()), Err(ReadFault::Format(_))));
}

#[test]
fn noise_in_place_of_a_store_is_told_and_ends() {
    let folder = TempDir::new().unwrap();
    let trust = support::trust();
    let checks = Checks { folder: folder.path(), trust: &trust, keys: None, remembered: &[], out_of_a_bucket: false };
    assert!(!verify(&checks, &mut |_| {}).is_whole());
    for log in ["journal", "records"] {
        std::fs::create_dir_all(folder.path().join(log).join("segments")).unwrap();
        // Beginnings of frames without end, each of the longest length there is.
        let noise: Vec<u8> = [b"HPf0".as_slice(), &[0, 0, 0, 0, 0, 0, 4, 0]].concat().repeat(60_000);
        std::fs::write(folder.path().join(log).join("segments/00000000.seg"), noise).unwrap();
    }
    let report = verify(&checks, &mut |_| {});
    assert!(!report.is_whole() && report.sessions.is_empty());
}

/// `cargo test --release -p recordings --test reading -- --ignored --nocapture`
#[test]
#[ignore = "a probe of speed, for a release build"]
fn how_fast_a_store_is_checked_and_read() {
    let (mut store, grant) = Store::granted();
    store.close();
    store.segment_bytes = 64 << 20;
    store.open();
    let mut session = store.begin(grant);
    for n in 0..4_096_u32 {
        session.data(1, Stream::Out, &n.to_le_bytes().repeat(16 << 10));
    }
    store.end(session);
    store.close();
    let trust = support::trust();
    let megabytes = 256.0;
    for keys in [None, Some(&store.keys)] {
        let begun = std::time::Instant::now();
        let report = verify(
            &Checks { folder: store.dir(), trust: &trust, keys, remembered: &[], out_of_a_bucket: false },
            &mut |_| {},
        );
        assert!(report.is_whole(), "{report}");
        let with = if keys.is_some() { "with" } else { "without" };
        println!("checked {with} a key: {:.0} MB/s", megabytes / begun.elapsed().as_secs_f64());
    }
    let begun = std::time::Instant::now();
    let records = Records::open(store.dir()).unwrap();
    let listing = records.list();
    println!("listed: {:.0} MB/s", megabytes / begun.elapsed().as_secs_f64());
    let recording = &listing.recordings[0];
    let key = store.keys.open(records.dir(), &recording.opened).unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(records.moments(recording, key).count() as u64, recording.frames + 1);
    println!("read: {:.0} MB/s", megabytes / begun.elapsed().as_secs_f64());
}

/// A shell of eight hours: a gigabyte of output, most of it in one hour, and the screen noted as the gate notes it.
fn eight_hours() -> Store {
    let (mut store, grant) = Store::granted();
    store.close();
    store.segment_bytes = 64 << 20;
    store.open();
    let mut session = store.begin(grant);
    let size = Size { columns: 120, rows: 40 };
    let mut screen = Screen::new(size);
    session.note(1, &Note::Terminal { term: "xterm".into(), size }).note(1, &Note::Shell);
    let noise: Vec<u32> = (1..200_u32).map(|n| n.wrapping_mul(2_654_435_761)).collect();
    let mut since = 0;
    for second in 0..8 * 3_600_usize {
        let bytes = if (3_600..7_200).contains(&second) { 270 << 10 } else { 200 };
        let value = noise[second % noise.len()];
        let line = format!("\x1b[3{}m{second:>6} pump {value:08x} bar {:>9}\x1b[0m\r\n", second % 8, value % 9_999);
        for piece in line.repeat(bytes / line.len()).as_bytes().chunks(64 << 10) {
            if since >= 1 << 20 || (piece.len() < 1_000 && second % 30 == 0) {
                session.screens(&[(1, &screen)]);
                since = 0;
            }
            since += piece.len();
            let last = piece.len().saturating_sub(8 << 10);
            screen.feed(&piece[last..]);
            session.data(1, Stream::Out, piece);
        }
        session.wait(SECOND);
    }
    store.end(session);
    store.close();
    store
}

/// `cargo test --release -p recordings --test reading -- --ignored --nocapture how_fast_a_place`
#[test]
#[ignore = "a probe of speed, for a release build"]
fn how_fast_a_place_in_a_long_recording_is_found() {
    let store = eight_hours();
    let begun = std::time::Instant::now();
    let records = Records::open(store.dir()).unwrap();
    let listing = records.list();
    println!("listed in {:?}", begun.elapsed());
    let recording = &listing.recordings[0];
    let bytes: u64 = recording.blocks.iter().map(|block| block.bytes_out).sum();
    println!("{:.2} GB in {:?} and {} blocks", bytes as f64 / 1e9, recording.duration(), recording.blocks.len());
    let mut times = Vec::new();
    for n in 0..400_u64 {
        let from = Duration::from_millis(n.wrapping_mul(2_654_435_761) % (8 * 3_600_000));
        // As from the command line: no key is derived yet.
        let keys = store.keys.open(records.dir(), &recording.opened).unwrap();
        let begun = std::time::Instant::now();
        let moments = records.seek(recording, keys, from, None).unwrap();
        let mut player = Player::new(moments, PlayOptions { from, ..PlayOptions::default() });
        player.next().unwrap().unwrap();
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    println!("a place is shown after p50 {:?}, p99 {:?}, max {:?}", at(0.5), at(0.99), at(1.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is done to a store, reading it ends, without a panic.
    #[test]
    fn no_bytes_make_a_reader_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..40)), 1..6),
    ) {
        thread_local!(static STORE: Store = store());
        STORE.with(|store| {
            let copy = store.copy();
            for (file, at, bytes) in &edits {
                let files = support::files(copy.path());
                let path = file.get(&files);
                let mut content = std::fs::read(path).unwrap();
                let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 40).min(content.len());
                if used > 0 {
                    let from = at.index(used);
                    let until = (from + bytes.len()).min(content.len());
                    content.splice(from..until, bytes.iter().copied());
                    std::fs::write(path, content).unwrap();
                }
            }
            let trust = support::trust();
            let report = verify(&Checks { folder: copy.path(), trust: &trust, keys: Some(&store.keys), remembered: &[], out_of_a_bucket: false }, &mut |_| {});
            let _ = report.to_string();
            if let Ok(records) = Records::open(copy.path()) {
                for recording in records.list().recordings {
                    if let Ok(key) = store.keys.open(records.dir(), &recording.opened) {
                        let _ = records.moments(&recording, key).count();
                    }
                }
            }
        });
    }
}

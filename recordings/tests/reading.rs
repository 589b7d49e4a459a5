//! Recordings read back from files alone, whole or hostile.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

mod support;

use std::path::Path;
use std::time::Duration;

use certs::auditor::BadAuditorKeys;
use proptest::prelude::*;
use recordings::cast::{CastOptions, write_cast};
use recordings::frame::Stream;
use recordings::notes::{Note, Size};
use recordings::play::{PlayOptions, Player, search};
use recordings::read::{AuditorKeys, KeysFault, Moment, ReadFault, Store as Records, What};
use recordings::verify::{Checks, verify};
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

#[test]
fn only_the_right_keys_open_a_recording() {
    let store = store();
    let records = Records::open(store.dir()).unwrap();
    let opened = &records.list().recordings[0].opened;
    let others = Store::empty(16 << 10).keys;
    assert!(matches!(others.open(records.dir(), opened), Err(KeysFault::NotForYou(_))));
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
    let checks = Checks { folder: folder.path(), trust: &trust, keys: None, remembered: &[] };
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
        let report = verify(&Checks { folder: store.dir(), trust: &trust, keys, remembered: &[] }, &mut |_| {});
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
            let report = verify(&Checks { folder: copy.path(), trust: &trust, keys: Some(&store.keys), remembered: &[] }, &mut |_| {});
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

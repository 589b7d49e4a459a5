//! The tamper matrix: every change to a small store is found, and a store that nobody touched is never accused.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use policies::digest::Digest;
use policies::ids::SessionId;
use recordings::frame::{Kind, RawFrame, Stream, frames};
use recordings::ledger::{Extent, FileEntry, Operation, Outcome, RemotePath, Verdict};
use recordings::notes::{Note, Size};
use recordings::part::{PART, Part};
use recordings::read::AuditorKeys;
use recordings::segment::file_name;
use recordings::verify::{By, Checks, FindingKind, Remembered, Report, SessionVerdict, Span, Verdict as Ends, verify};

use support::{Store, files};

const SIZE: Size = Size { columns: 80, rows: 24 };

/// A store of a few segments, with three sessions: a shell, a command, a file copy.
fn store() -> Store {
    let (mut store, grant) = Store::granted();
    let mut shell = store.begin(grant);
    shell
        .note(1, &Note::ChannelOpen { kind: "session".into(), to: None, from: None })
        .note(1, &Note::Terminal { term: "xterm".into(), size: SIZE })
        .note(1, &Note::Shell)
        .data(1, Stream::Out, b"$ ")
        .data(1, Stream::In, b"systemctl restart hmi\r")
        .data(1, Stream::GateOut, b"[holdpoint] 15 minutes left\r\n");
    let mut copy = store.begin(grant);
    copy.note(1, &Note::Subsystem { name: "sftp".into() });
    for piece in 0..5_u8 {
        copy.data(1, Stream::In, &[piece; 3_000]);
        shell.data(1, Stream::Out, &[b'.'; 500]);
    }
    let content = Digest::of_bytes(&[7; 100]);
    let put = FileEntry {
        bytes: 100,
        extents: vec![Extent { from: 0, until: 100, sha256: Some(content) }],
        whole: true,
        ..FileEntry::new(Operation::Put, RemotePath::new(b"/tmp/recipe"), Verdict::Allowed, Outcome::Done)
    };
    copy.note(1, &Note::FileEntry(Box::new(put)));
    store.end(copy);
    store.end(shell);
    let mut command = store.begin(grant);
    command
        .note(1, &Note::Exec { command: "uptime".into(), copies_files: false })
        .data(1, Stream::Out, b"up 3 days\n")
        .data(1, Stream::OutErr, b"warning\n")
        .note(1, &Note::ExitStatus { status: 0 });
    store.end(command);
    store.act(policies::decide::Command::StopNode { node: support::label("node-1") });
    store.close();
    store
}

/// A store whose first segments are retired: of the sessions in them there are blocks and leaves. One of them goes on in the
/// segments that are there.
fn store_with_retired_segments() -> Store {
    let (mut store, grant) = Store::granted();
    let mut first = store.begin(grant);
    for piece in 0..5_u8 {
        first.data(1, Stream::In, &[piece; 3_000]).data(1, Stream::Out, b"ok\n");
    }
    let mut long = store.begin(grant);
    long.note(1, &Note::Exec { command: "tail -f log".into(), copies_files: false }).data(
        1,
        Stream::Out,
        &[b'a'; 3_000],
    );
    store.end(first);
    while store.dir().join("records/segments").join(file_name(1)).exists() {
        let mut short = store.begin(grant);
        short.data(2, Stream::Out, &[b'b'; 3_000]);
        store.end(short);
        store.wait_for_checkpoint();
    }
    long.data(1, Stream::Out, b"the end\n");
    store.end(long);
    store.act(policies::decide::Command::StopNode { node: support::label("node-1") });
    store.close();
    store
}

#[test]
fn a_first_segment_of_which_a_crash_left_the_head_alone_may_retire_too() {
    let (mut store, grant) = Store::granted();
    store.close();
    // Of the very first batch one sector reached the disk, and nothing was published.
    let records = store.dir().join("records");
    let first = records.join("segments").join(file_name(0));
    let mut bytes = std::fs::read(&first).unwrap();
    let end = frames(&bytes).next().unwrap().unwrap().end();
    bytes[usize::try_from(end).unwrap()..].fill(0);
    std::fs::write(&first, bytes).unwrap();
    std::fs::remove_file(records.join("checkpoint")).unwrap();
    std::fs::remove_dir_all(records.join("tile")).unwrap();
    store.open();
    while first.exists() {
        let mut short = store.begin(grant);
        short.data(2, Stream::Out, &[b'b'; 3_000]);
        store.end(short);
        store.wait_for_checkpoint();
    }
    store.act(policies::decide::Command::StopNode { node: support::label("node-1") });
    store.close();
    for keys in [None, Some(&store.keys)] {
        let report = check(store.dir(), keys);
        assert!(report.is_whole(), "{report}");
    }
    store.open();
    store.close();
    assert!(check(store.dir(), None).is_whole());
}

#[test]
fn retired_segments_are_missed_by_nobody_and_sessions_in_them_are_as_good_as_others() {
    let store = store_with_retired_segments();
    for keys in [None, Some(&store.keys)] {
        let report = check(store.dir(), keys);
        assert!(report.is_whole(), "{report}");
        assert!(report.sessions.iter().all(|session| session.verdict == SessionVerdict::Ok), "{report}");
        assert!(
            report.sessions.iter().any(|session| (session.bytes_in, session.bytes_out) == (15_000, 15)),
            "{report}"
        );
        assert!(report.sessions.iter().any(|session| (session.bytes_in, session.bytes_out) == (0, 3_008)), "{report}");
    }
}

#[test]
fn what_is_left_of_retired_segments_cannot_be_changed() {
    let mut store = store_with_retired_segments();
    flip(&store, if std::env::var("HOLDPOINT_LONG").is_ok() { 101 } else { 20_011 });
    let copy = store.copy();
    let segments = files(&copy.path().join("records/segments"));
    std::fs::remove_file(&segments[0]).unwrap();
    assert!(kinds(&check(copy.path(), None)).contains(&FindingKind::Missing), "one that was not retired is missed");
    store.open();
    store.close();
    let report = check(store.dir(), Some(&store.keys));
    assert!(report.is_whole(), "{report}");
}

/// Where a segment's frames end, as a leaf about its retirement says it.
fn end_of(segment: &Path, number: u64) -> Vec<u8> {
    let bytes = std::fs::read(segment).unwrap();
    let last = frames(&bytes).map_while(Result::ok).last().unwrap();
    [&[7][..], &number.to_le_bytes(), &last.end().to_le_bytes(), &last.link].concat()
}

/// By whoever has the log's key: everything is signed anew, and the leaf alone is a lie.
#[test]
fn a_leaf_that_names_another_end_than_a_segment_has_is_found_though_the_key_signed_it() {
    let store = store();
    let elsewhere = "a segment is said to be retired that ended elsewhere";
    let first = store.dir().join("records/segments").join(file_name(0));
    let right = end_of(&first, 0);
    let changed = |at: usize| {
        let mut leaf = right.clone();
        leaf[at] ^= 1;
        leaf
    };
    // The offset, the link; and the same segment a second time.
    for (leaves, is_found) in [
        (vec![right.clone()], false),
        (vec![changed(9)], true),
        (vec![changed(17)], true),
        (vec![right.clone(), right.clone()], true),
    ] {
        let copy = store.copy();
        let forged = support::open_as_journal(copy.path(), &store);
        for leaf in leaves {
            support::block_on(forged.append(forged.head(), vec![leaf], store.now())).unwrap();
        }
        drop(forged);
        let report = check(copy.path(), None);
        let told = report.failures().filter(|finding| finding.words == elsewhere).count();
        assert_eq!(told, usize::from(is_found), "{report}");
    }
}

#[test]
fn a_run_that_starts_in_another_one_or_ends_twice_is_found() {
    let (mut store, grant) = Store::granted();
    let session = store.begin(grant);
    store.end(session);
    store.close();
    let started = || [&[1][..], &[7; 16], &5_u32.to_le_bytes(), b"0.1.0"].concat();
    let stopped = || vec![2];
    for (leaves, words) in [
        (vec![started(), stopped()], None),
        (vec![started(), stopped(), stopped()], Some("a run ends that had ended")),
        (vec![started(), started(), stopped()], Some("a run starts in another one")),
    ] {
        let copy = store.copy();
        let forged = support::open_as_journal(copy.path(), &store);
        for leaf in leaves {
            support::block_on(forged.append(forged.head(), vec![leaf], store.now())).unwrap();
        }
        drop(forged);
        let report = check(copy.path(), None);
        let told: Vec<&str> =
            report.failures().map(|finding| &*finding.words).filter(|told| told.starts_with("a run ")).collect();
        assert_eq!(told, words.into_iter().collect::<Vec<_>>(), "{report}");
    }
}

#[test]
fn a_lost_checkpoint_is_made_again_though_segments_are_retired_and_lost_tiles_are_not() {
    let mut store = store_with_retired_segments();
    let checkpoint = store.dir().join("records/checkpoint");
    std::fs::remove_file(&checkpoint).unwrap();
    assert!(kinds(&check(store.dir(), None)).contains(&FindingKind::Missing));
    store.open();
    store.close();
    let report = check(store.dir(), Some(&store.keys));
    assert!(report.is_whole(), "{report}");
    std::fs::remove_file(&checkpoint).unwrap();
    std::fs::remove_dir_all(store.dir().join("records/tile")).unwrap();
    let fault = store.try_open_records().err().unwrap();
    assert!(fault.to_string().contains("lies in its tiles alone"), "{fault}");
    assert!(!checkpoint.exists(), "nothing was changed");
}

fn check(folder: &Path, keys: Option<&AuditorKeys>) -> Report {
    let trust = support::trust();
    let mut last = 0;
    verify(&Checks { folder, trust: &trust, keys, remembered: &[], out_of_a_bucket: false }, &mut |progress| {
        assert!(progress.read_bytes >= last && progress.read_bytes <= progress.total_bytes);
        last = progress.read_bytes;
    })
}

fn kinds(report: &Report) -> Vec<FindingKind> {
    report.failures().map(|finding| finding.kind).collect()
}

/// Bytes that are evidence: all but locks.
fn evidence(folder: &Path) -> Vec<PathBuf> {
    files(folder).into_iter().filter(|file| !file.ends_with("LOCK")).collect()
}

#[test]
fn an_untouched_store_is_never_accused() {
    let store = store();
    for keys in [None, Some(&store.keys)] {
        let report = check(store.dir(), keys);
        assert!(report.is_whole(), "{report}");
        assert_eq!(report.sessions.len(), 3);
        assert!(report.sessions.iter().all(|session| session.verdict == SessionVerdict::Ok), "{report}");
        assert!(report.decisions.signatures >= 3 && report.decisions.grants == 1, "{report}");
        assert!(report.to_string().contains("\nWHOLE: nothing was altered, dropped or reordered. Unwitnessed since "));
    }
    let with_key = check(store.dir(), Some(&store.keys));
    assert_eq!(with_key.sessions.iter().filter_map(|session| session.files).sum::<u64>(), 1);
    let segments = files(&store.dir().join("records/segments")).len();
    assert!(segments >= 3, "the sessions should span segments, and there are {segments}");
}

#[test]
fn a_store_that_was_stopped_and_started_again_is_whole() {
    let mut store = store();
    store.open();
    store.close();
    let report = check(store.dir(), None);
    assert!(report.is_whole(), "{report}");
}

/// A store of a few frames, so that each of its bits can be tried.
fn small_store() -> Store {
    let (mut store, grant) = Store::granted();
    let mut session = store.begin(grant);
    session.note(1, &Note::Exec { command: "id".into(), copies_files: false }).data(1, Stream::Out, b"uid=0\n");
    store.end(session);
    store.act(policies::decide::Command::StopNode { node: support::label("node-1") });
    store.close();
    store
}

/// Flips every `step`th bit that is used, and some of the zeros behind, each in turn.
fn flip(store: &Store, step: usize) {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let flips: usize = std::thread::scope(|scope| {
        let flips = (0..threads).map(|first| (store.copy(), first * step));
        let flips: Vec<_> =
            flips.map(|(copy, from)| scope.spawn(move || flip_bits(copy.path(), from, step * threads))).collect();
        flips.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    println!("{flips} bits flipped, each found");
}

fn flip_bits(folder: &Path, from: usize, step: usize) -> usize {
    let mut flips = 0;
    for file in evidence(folder) {
        let good = std::fs::read(&file).unwrap();
        let mut bad = good.clone();
        let used = good.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for bit in (from..used * 8).step_by(step).chain((used * 8..good.len() * 8).step_by(50_021)) {
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&file, &bad).unwrap();
            let report = check(folder, None);
            let name = file.strip_prefix(folder).unwrap();
            assert!(!report.is_whole(), "bit {bit} of {} was flipped, and nothing was found", name.display());
            // The file that was changed is named, and the object in it that has the byte.
            let byte = (bit / 8) as u64;
            let has_it = |place: &Span| {
                place.file == name && place.from <= byte && place.until.is_none_or(|until| byte <= until)
            };
            let mut places = report.failures().filter_map(|finding| finding.place.as_ref());
            assert!(places.any(has_it), "bit {bit} of {}: {report}", name.display());
            bad[bit / 8] = good[bit / 8];
            flips += 1;
        }
        std::fs::write(&file, &good).unwrap();
    }
    assert!(check(folder, None).is_whole());
    flips
}

#[test]
fn every_flipped_bit_is_found() {
    let long = std::env::var_os("HOLDPOINT_LONG").is_some();
    flip(&store(), if long { 101 } else { 1_009 });
    flip(&small_store(), if long { 1 } else { 499 });
}

/// Where each frame of a segment begins and ends.
fn extents(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    frames(bytes).map(|frame| frame.unwrap()).map(|frame| frame.offset as usize..frame.end() as usize).collect()
}

/// Calls with each segment that has frames, and restores it.
fn each_segment(copy: &Path, mut change: impl FnMut(&[u8], &mut dyn FnMut(&[u8], String))) {
    for log in ["journal", "records"] {
        for file in files(&copy.join(log).join("segments")) {
            let good = std::fs::read(&file).unwrap();
            change(&good, &mut |bad: &[u8], what: String| {
                std::fs::write(&file, bad).unwrap();
                let report = check(copy, None);
                assert!(!report.is_whole(), "{what} in {}, and nothing was found", file.display());
            });
            std::fs::write(&file, &good).unwrap();
        }
    }
    assert!(check(copy, None).is_whole());
}

#[test]
fn every_frame_that_is_dropped_doubled_swapped_or_blanked_is_found() {
    let store = store();
    let copy = store.copy();
    let step = if std::env::var_os("HOLDPOINT_LONG").is_some() { 1 } else { 5 };
    each_segment(copy.path(), |good, try_it| {
        let extents = extents(good);
        for (index, frame) in extents.iter().enumerate().step_by(step) {
            let fill = |mut bad: Vec<u8>| {
                bad.resize(good.len(), 0);
                bad
            };
            let (before, this, after) = (&good[..frame.start], &good[frame.clone()], &good[frame.end..]);
            try_it(&fill([before, after].concat()), format!("frame {index} dropped"));
            try_it(&fill([before, this, this, after].concat())[..good.len()], format!("frame {index} doubled"));
            let blank = [before, &vec![0; this.len()], after].concat();
            try_it(&blank, format!("frame {index} blanked"));
            if let Some(next) = extents.get(index + 1) {
                let swapped = [before, &good[next.clone()], this, &good[next.end..]].concat();
                try_it(&swapped, format!("frames {index} and {} swapped", index + 1));
            }
        }
    });
}

#[test]
fn every_cut_tail_is_found() {
    let store = store();
    let copy = store.copy();
    each_segment(copy.path(), |good, try_it| {
        for frame in extents(good).iter().rev().step_by(3) {
            let mut zeroed = good.to_vec();
            zeroed[frame.start..].fill(0);
            try_it(&zeroed, format!("everything from byte {} blanked", frame.start));
            try_it(&good[..frame.start], format!("cut at byte {}", frame.start));
            try_it(&good[..frame.start + 50], format!("cut at byte {}", frame.start + 50));
        }
    });
}

#[test]
fn files_that_are_removed_added_or_exchanged_are_found() {
    let store = store();
    for file in evidence(store.dir()) {
        let copy = store.copy();
        let name = file.strip_prefix(store.dir()).unwrap();
        let is_spare = std::fs::read(&file).unwrap().iter().all(|byte| *byte == 0);
        std::fs::remove_file(copy.path().join(name)).unwrap();
        // Spares are no evidence: they may be missing, but hold nothing. Earlier forms of a tile are said by the last one.
        let may_go = is_spare || is_earlier_tile(&file);
        assert_eq!(check(copy.path(), None).is_whole(), may_go, "{} removed", name.display());
    }
    for stray in ["stray", "records/stray", "records/segments/stray", "records/sessions/stray", "journal/sessions"] {
        let copy = store.copy();
        std::fs::write(copy.path().join(stray), b"x").unwrap();
        assert_eq!(kinds(&check(copy.path(), None)), [FindingKind::Stray], "{stray}");
    }
    let keys: Vec<PathBuf> =
        evidence(store.dir()).into_iter().filter(|file| file.to_string_lossy().contains("keys.")).collect();
    let copy = store.copy();
    let in_copy = |file: &Path| copy.path().join(file.strip_prefix(store.dir()).unwrap());
    std::fs::copy(&keys[0], in_copy(&keys[1])).unwrap();
    let report = check(copy.path(), Some(&store.keys));
    assert_eq!(kinds(&report), [FindingKind::Altered], "{report}");
    let altered = report.sessions.iter().filter(|session| session.verdict == SessionVerdict::Altered).count();
    assert_eq!(altered, 1, "only the session whose keys were exchanged is accused: {report}");
}

#[test]
fn only_the_session_that_was_touched_is_accused() {
    let store = store();
    let copy = store.copy();
    let file = copy.path().join("records/segments/00000000.seg");
    let mut bytes = std::fs::read(&file).unwrap();
    let first = frames(&bytes).map(Result::unwrap).find(|frame| frame.header.stream == Stream::In).unwrap();
    let (at, number) = (first.offset as usize + 90, first.header.session);
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let report = check(copy.path(), Some(&store.keys));
    let altered: Vec<_> = report.sessions.iter().filter(|session| session.verdict != SessionVerdict::Ok).collect();
    assert_eq!(altered.len(), 1, "session {number} alone was touched: {report}");
    let place = report.failures().next().unwrap().place.clone().unwrap();
    assert_eq!(place.file, Path::new("records/segments/00000000.seg"));
    assert!((place.from..place.until.unwrap()).contains(&(at as u64)), "{report}");
}

#[test]
fn a_log_that_was_set_back_is_found_by_a_remembered_head() {
    let mut store = store();
    let early = store.copy();
    store.open();
    let grant = *store.state.cases.keys().next().unwrap();
    let session = store.begin(grant);
    store.end(session);
    store.close();
    let trust = support::trust();
    let now = verify(
        &Checks { folder: store.dir(), trust: &trust, keys: None, remembered: &[], out_of_a_bucket: false },
        &mut |_| {},
    );
    let heads: Vec<Remembered> = now
        .logs
        .iter()
        .map(|log| Remembered {
            origin: log.origin.clone(),
            size: log.entries,
            root: log.root.unwrap(),
            by: By::Auditor { at: jiff::Timestamp::UNIX_EPOCH },
        })
        .collect();
    let against = |folder: &Path, remembered: &[Remembered]| {
        kinds(&verify(&Checks { folder, trust: &trust, keys: None, remembered, out_of_a_bucket: false }, &mut |_| {}))
    };
    assert_eq!(against(store.dir(), &heads), []);
    assert_eq!(against(early.path(), &heads), [FindingKind::Missing, FindingKind::Missing]);
    let witness = By::Witness { witness: "w1".to_owned(), at: jiff::Timestamp::UNIX_EPOCH };
    for by in [heads[0].by.clone(), By::Paper { at: None }, witness, By::Published, By::Journal { entry: 7 }] {
        let other = |head: &Remembered| Remembered { root: Digest([1; 32]), by: by.clone(), ..head.clone() };
        let forked: Vec<Remembered> = heads.iter().map(other).collect();
        assert_eq!(against(store.dir(), &forked), [FindingKind::Altered, FindingKind::Altered], "{by:?}");
    }
    // A record log from before, beside the journal of now: the journal misses the session.
    let mixed = store.copy();
    std::fs::remove_dir_all(mixed.path().join("records")).unwrap();
    support::copy_tree(&early.path().join("records"), &mixed.path().join("records"));
    assert_eq!(against(mixed.path(), &[]), [FindingKind::Missing]);
    let mixed = store.copy();
    std::fs::remove_dir_all(mixed.path().join("journal")).unwrap();
    support::copy_tree(&early.path().join("journal"), &mixed.path().join("journal"));
    assert_eq!(against(mixed.path(), &[]), [FindingKind::Disagree]);
}

#[test]
fn a_log_signed_with_another_key_is_not_believed() {
    let store = store();
    let mut trust = support::trust();
    let other = recordings::sim::SimSigner::new(10);
    for log in &mut trust.logs {
        let origin = log.0.name().to_owned();
        log.0 = recordings::log::Signer::verifier(&other, &origin).unwrap();
    }
    let report = verify(
        &Checks { folder: store.dir(), trust: &trust, keys: None, remembered: &[], out_of_a_bucket: false },
        &mut |_| {},
    );
    for log in ["journal", "records"] {
        let of_heads = report.failures().filter(|finding| finding.words.starts_with("a head is not signed"));
        let files = of_heads.filter_map(|finding| finding.place.as_ref()).map(|place| &place.file);
        assert!(files.filter(|file| file.starts_with(log)).count() > 2, "{report}");
    }
    let not_ok = report.sessions.iter().filter(|session| session.verdict == SessionVerdict::Altered).count();
    assert_eq!(not_ok, 3, "{report}");
}

#[test]
fn keys_of_another_auditor_open_nothing_and_that_is_not_fine() {
    let store = store();
    let report = check(store.dir(), Some(&Store::empty(16 << 10).keys));
    assert_eq!((kinds(&report), report.not_opened), (vec![FindingKind::NotChecked], 3), "{report}");
}

#[test]
fn a_folder_copied_while_the_gate_ran_is_open_and_not_called_whole() {
    let (mut store, grant) = Store::granted();
    let mut session = store.begin(grant);
    session.data(1, Stream::Out, b"working");
    let copy = store.copy();
    let report = check(copy.path(), Some(&store.keys));
    assert_eq!((report.verdict(), report.is_whole(), kinds(&report)), (Ends::Open, false, Vec::new()), "{report}");
    assert_eq!(report.sessions[0].verdict, SessionVerdict::Open);
    assert!(report.to_string().contains("OPEN: nothing was altered, dropped or reordered up to "), "{report}");
    // The gate starts again on the copy: the session was cut off by a crash, and that is all.
    let folder = std::mem::replace(&mut store.folder, copy);
    drop(session);
    store.close();
    drop(folder);
    store.open();
    store.close();
    let report = check(store.dir(), Some(&store.keys));
    assert_eq!(report.sessions[0].verdict, SessionVerdict::CutOff, "{report}");
    assert!(report.is_whole(), "{report}");
}

/// Three sessions of several segments each, one after the other, and the one in the middle fetched alone.
fn part_of_three() -> (Store, [SessionId; 3]) {
    let (mut store, grant) = Store::granted();
    let sessions = [1_u8, 2, 3].map(|number| {
        let mut session = store.begin(grant);
        (0..12).for_each(|_| _ = session.data(1, Stream::Out, &[number; 3_000]));
        let id = session.id;
        store.end(session);
        id
    });
    store.act(policies::decide::Command::StopNode { node: support::label("node-1") });
    store.close();
    for other in [sessions[0], sessions[2]] {
        std::fs::remove_dir_all(recordings::segment::session_dir(&store.dir().join("records"), other)).unwrap();
    }
    Part { sessions: BTreeSet::from([sessions[1]]) }.write(store.dir()).unwrap();
    (store, sessions)
}

#[test]
fn a_part_is_whole_as_far_as_it_goes_and_only_where_it_says_that_it_is_one() {
    let (store, [first, held, _]) = part_of_three();
    for keys in [None, Some(&store.keys)] {
        let report = check(store.dir(), keys);
        assert_eq!((report.verdict(), report.is_whole()), (Ends::Part, false), "{report}");
        let checked: Vec<_> = report.sessions.iter().map(|session| (session.session, session.verdict)).collect();
        assert_eq!(checked, [(held, SessionVerdict::Ok)], "{report}");
        assert!(report.to_string().contains("WHOLE AS FAR AS IT GOES: 1 session of 3 and the journal"), "{report}");
    }
    Part { sessions: BTreeSet::from([first, held]) }.write(store.dir()).unwrap();
    assert_eq!(check(store.dir(), None).verdict(), Ends::NotWhole, "a session that it names is not there");
    std::fs::write(store.dir().join(PART), "nonsense").unwrap();
    assert_eq!(check(store.dir(), None).verdict(), Ends::NotWhole, "what it says is not understood");
    std::fs::remove_file(store.dir().join(PART)).unwrap();
    assert_eq!(check(store.dir(), None).verdict(), Ends::NotWhole, "it claims to be all");
}

#[test]
fn a_part_needs_its_own_blocks_and_of_segments_the_last() {
    let (store, [_, held, _]) = part_of_three();
    let segments = recordings::segment::segments_dir(&store.dir().join("records"));
    let is_used = |file: &PathBuf| frames(&std::fs::read(file).unwrap()).next().is_some_and(|first| first.is_ok());
    let used: Vec<PathBuf> = files(&segments).into_iter().filter(is_used).collect();
    let (last, others) = used.split_last().unwrap();
    assert!(others.len() >= 6, "{}", others.len());
    let name = |file: &Path| file.strip_prefix(store.dir()).unwrap().to_owned();
    for other in others {
        let mut bytes = std::fs::read(other).unwrap();
        let middle = bytes.len() / 3;
        bytes[middle] ^= 1;
        let copy = store.copy();
        std::fs::write(copy.path().join(name(other)), bytes).unwrap();
        assert_eq!(check(copy.path(), None).verdict(), Ends::NotWhole, "{} altered", other.display());
    }
    let copy = store.copy();
    for other in others {
        std::fs::remove_file(copy.path().join(name(other))).unwrap();
        for keys in [None, Some(&store.keys)] {
            let report = check(copy.path(), keys);
            assert_eq!(report.verdict(), Ends::Part, "{} removed: {report}", other.display());
            let checked: Vec<_> = report.sessions.iter().map(|session| (session.session, session.verdict)).collect();
            assert_eq!(checked, [(held, SessionVerdict::Ok)], "{report}");
        }
    }
    std::fs::remove_file(block_files(copy.path())[0].clone()).unwrap();
    assert_eq!(check(copy.path(), None).verdict(), Ends::NotWhole);
    let copy = store.copy();
    std::fs::remove_file(copy.path().join(name(last))).unwrap();
    assert_eq!(check(copy.path(), None).verdict(), Ends::NotWhole, "nobody knows how the log went on");
}

/// Takes away a log's frames from the last of these on, as somebody does who has the disk: zeros stay.
fn cut_from_last(folder: &Path, log: &str, is_wanted: impl Fn(&RawFrame<'_>) -> bool) {
    let files = files(&folder.join(log).join("segments"));
    let cut = files.iter().rev().find_map(|file| {
        let bytes = std::fs::read(file).unwrap();
        let wanted = frames(&bytes).map_while(Result::ok).filter(|frame| is_wanted(frame)).last();
        let from = usize::try_from(wanted?.offset).unwrap();
        Some((
            file,
            bytes[..from].iter().copied().chain(std::iter::repeat_n(0, bytes.len() - from)).collect::<Vec<_>>(),
        ))
    });
    let (file, bytes) = cut.unwrap();
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_copy_of_a_running_gate_hides_no_end_that_the_journal_knows() {
    let (mut store, grant) = Store::granted();
    let mut session = store.begin(grant);
    session.data(1, Stream::Out, b"working");
    store.end(session);
    let report = check(store.dir(), None);
    assert_eq!(report.verdict(), Ends::Open, "{report}");
    let copy = store.copy();
    cut_from_last(copy.path(), "records", |frame| frame.header.kind == Kind::Leaf && frame.header.session != 0);
    let report = check(copy.path(), None);
    assert_eq!(report.verdict(), Ends::NotWhole, "{report}");
    assert!(kinds(&report).contains(&FindingKind::NotSealed), "{report}");
    store.close();
}

#[test]
fn a_checkpoint_that_was_being_written_is_told_and_accuses_nobody() {
    let store = store();
    std::fs::write(store.dir().join("records/checkpoint.tmp"), b"mill").unwrap();
    let report = check(store.dir(), None);
    assert!(report.is_whole(), "{report}");
    assert!(report.findings.iter().any(|finding| finding.words == "a checkpoint was being written"), "{report}");
    std::fs::remove_file(store.dir().join("records/checkpoint")).unwrap();
    assert_eq!(kinds(&check(store.dir(), None)), [FindingKind::Missing]);
}

#[test]
fn a_log_that_goes_on_beside_one_that_was_stopped_was_cut_off() {
    for log in ["journal", "records"] {
        let store = store();
        cut_from_last(store.dir(), log, support::is_head);
        let report = check(store.dir(), None);
        assert_eq!(report.verdict(), Ends::NotWhole, "{report}");
        assert!(kinds(&report).contains(&FindingKind::CutOff), "{report}");
    }
}

#[test]
fn a_wall_clock_that_is_set_while_a_gate_runs_cuts_nothing_off_and_hides_no_cut() {
    for seconds in [-7_200, 7_200] {
        let (mut store, mut session) = Store::with_its_clock_set(seconds);
        let early = store.copy();
        let report = check(early.path(), Some(&store.keys));
        assert_eq!(report.verdict(), Ends::Open, "{seconds}: {report}");
        // The journal of then, beside recordings that go on by hours which the wall clock does not have.
        store.machine.set_wall(-7_200 - seconds);
        session.goes_on(7_200);
        let late = store.copy();
        std::fs::remove_dir_all(late.path().join("journal")).unwrap();
        support::copy_tree(&early.path().join("journal"), &late.path().join("journal"));
        let report = check(late.path(), None);
        assert!(kinds(&report).contains(&FindingKind::CutOff), "{seconds}: {report}");
        store.end(session);
    }
}

/// What the journal said of the recordings before the machine's last boot says nothing of where they end since.
#[test]
fn a_journal_of_the_next_boot_beside_recordings_of_the_one_before_is_judged_by_the_wall_clock() {
    for (stops, later) in [(false, 0), (false, 86_400), (true, 0), (true, 86_400)] {
        let (mut store, _session) = Store::with_its_clock_set(0);
        let copy = store.copy();
        if stops {
            drop(store.journal.take());
            std::fs::remove_dir_all(copy.path().join("journal")).unwrap();
            support::copy_tree(&store.dir().join("journal"), &copy.path().join("journal"));
        }
        let _journal = support::next_boot(copy.path(), &store, later);
        let report = check(copy.path(), None);
        assert_eq!(kinds(&report).contains(&FindingKind::CutOff), later > 0, "{stops} {later}: {report}");
    }
}

/// What somebody does who has the disk and not the key: checksums and links made right again, from the first frame to
/// the last.
fn relink(bytes: &mut [u8], extents: &[std::ops::Range<usize>]) {
    use sha2::Digest as _;
    let mut link: Option<[u8; 32]> = None;
    for frame in extents {
        let frame = &mut bytes[frame.clone()];
        if let Some(link) = link {
            frame[16..48].copy_from_slice(&link);
        }
        let checksum = crc32c::crc32c(&frame[8..]);
        frame[4..8].copy_from_slice(&checksum.to_le_bytes());
        let encrypted = frame[50] & 0x80 != 0;
        let bound = if encrypted { &frame[frame.len() - 16..] } else { &frame[84..] };
        let hash = sha2::Sha256::new().chain_update([0]).chain_update(&frame[..84]).chain_update(bound);
        link = Some(hash.finalize().into());
    }
}

/// Whether a partial tile lies beside a fuller one.
fn is_earlier_tile(file: &Path) -> bool {
    let width = |file: &Path| file.file_name().and_then(|name| name.to_str()?.parse::<u16>().ok());
    let folder = file.parent().filter(|folder| folder.extension().is_some_and(|kind| kind == "p"));
    folder.is_some_and(|folder| files(folder).iter().any(|other| width(other) > width(file)))
}

fn block_files(folder: &Path) -> Vec<PathBuf> {
    evidence(folder).into_iter().filter(|file| file.extension().is_some_and(|kind| kind == "blk")).collect()
}

#[test]
fn blocks_that_are_cut_exchanged_added_to_or_taken_away_are_found_and_named() {
    let store = store();
    let blocks = block_files(store.dir());
    assert_eq!(blocks.len(), 3, "each session has blocks");
    let good = std::fs::read(&blocks[0]).unwrap();
    let other = std::fs::read(&blocks[1]).unwrap();
    let longer = [&good[..], &good[..]].concat();
    for (bad, kind) in [
        (&good[..good.len() - 1], FindingKind::Altered),
        (&other[..], FindingKind::Altered),
        (&longer[..], FindingKind::Altered),
        (&[], FindingKind::Altered),
    ] {
        std::fs::write(&blocks[0], bad).unwrap();
        let report = check(store.dir(), None);
        let name = blocks[0].strip_prefix(store.dir()).unwrap();
        let found = report.failures().find(|finding| finding.place.as_ref().is_some_and(|place| place.file == name));
        assert_eq!(found.map(|finding| finding.kind), Some(kind), "{report}");
    }
    std::fs::write(&blocks[0], &good).unwrap();
    let beside = blocks[0].with_file_name("0001.blk");
    std::fs::write(&beside, &good).unwrap();
    assert_eq!(kinds(&check(store.dir(), None)), [FindingKind::Altered], "a file that no leaf names");
    std::fs::remove_file(&beside).unwrap();
    std::fs::remove_file(&blocks[0]).unwrap();
    assert_eq!(kinds(&check(store.dir(), None)), [FindingKind::Missing]);
    std::fs::write(&blocks[0], &good).unwrap();
    assert!(check(store.dir(), Some(&store.keys)).is_whole());
}

#[test]
fn making_checksums_and_links_right_again_does_not_help() {
    let store = store();
    let copy = store.copy();
    for log in ["journal", "records"] {
        let file = copy.path().join(log).join("segments/00000000.seg");
        let good = std::fs::read(&file).unwrap();
        let extents = extents(&good);
        let whole: Vec<_> = frames(&good).map(Result::unwrap).collect();
        let last_head = whole.iter().rposition(support::is_head).unwrap();
        for (index, frame) in extents.iter().enumerate().skip(1).step_by(3) {
            // The sequence, the time, a byte of the text and the tag; the text alone is seen with a key only.
            for (at, keys) in [
                (frame.start + 60, None),
                (frame.start + 68, None),
                (frame.start + 84, Some(&store.keys)),
                (frame.end - 1, None),
            ] {
                let mut bad = good.clone();
                bad[at] ^= 1;
                relink(&mut bad, &extents);
                std::fs::write(&file, &bad).unwrap();
                let report = check(copy.path(), keys);
                let what = format!("frame {index}, byte {} of {log}: {report}", at - frame.start);
                let places = report.failures().filter(|finding| finding.session.is_none());
                let words = if index < last_head { "a signed head does not say" } else { "head does not say" };
                let by_a_head = places.filter(|finding| finding.words.contains(words)).count() > 0;
                assert!(by_a_head || at == frame.start + 84, "{what}");
                assert!(
                    !report.failures().any(|finding| finding.words.contains("does not follow the one before it")),
                    "{what}"
                );
                let accused = report.sessions.iter().any(|session| session.verdict == SessionVerdict::Altered);
                assert!(accused || whole[index].header.session == 0, "{what}");
            }
        }
        std::fs::write(&file, &good).unwrap();
    }
    let mut same = std::fs::read(copy.path().join("records/segments/00000000.seg")).unwrap();
    let (before, extents) = (same.clone(), extents(&same));
    relink(&mut same, &extents);
    assert_eq!(same, before, "the test makes links as the gate does");
}

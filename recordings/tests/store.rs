//! The running log, through its own doors, on a real disk: who is let in, who is told what, what is in the files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use age::secrecy::ExposeSecret as _;
use bytes::Bytes;
use common::{ORIGIN, auditors, block_on, open, opening, options, recipients};
use jiff::{SignedDuration, Timestamp};
use policies::digest::Digest;
use policies::ids::SessionId;
use recordings::disk::{Disk as _, RealDisk, RealMachine, read};
use recordings::fault::{AppendFault, OpenFault, StoreFault};
use recordings::frame::{Fact, Kind, RawFrame, Stream, frames, open_payload};
use recordings::keeping::Copied;
use recordings::keys::{Root, SessionKeys};
use recordings::leaf::{Account, Anchor, Direction, Leaf, OTHER_CHANNELS, Statement, signed_bytes};
use recordings::log::{Before, Head, Log, LogOptions, Purpose, RoomState, Signer as _};
use recordings::read::{AuditorKeys, Store, What};
use recordings::segment::{SegmentState, segments, session_dir};
use recordings::session::{IN_FLIGHT_BYTES_MAX, Seal};
use recordings::sim::{Fault, SimDisk, SimSigner};

fn seal(accounts: Vec<Account>) -> Seal {
    Seal { ending: "expired".to_owned(), accounts }
}

#[test]
fn of_two_appends_after_one_head_one_wins_and_the_other_is_told_the_head() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), options(Purpose::Journal)).unwrap();
    let now = Timestamp::now();
    let append = |text: &str| log.append(Head::empty(), vec![text.as_bytes().to_vec()], now);
    let (first, second) = (append("first"), append("second"));
    let head = block_on(first).unwrap();
    assert_eq!(block_on(second), Err(AppendFault::Conflict { head: Box::new(head) }));
    assert_eq!((log.head(), head.size), (head, 1));
    assert_eq!(log.entries(0).unwrap()[0].bytes, b"first");
}

#[test]
fn a_log_is_of_the_second_format_from_when_it_may_say_where_copies_lie_and_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    let first_line = || std::fs::read_to_string(dir.path().join("FORMAT")).unwrap().lines().next().unwrap().to_owned();
    let plain = || options(Purpose::Records);
    let saying = || LogOptions { says_copied: true, ..plain() };
    drop(open(dir.path(), plain()).unwrap());
    assert_eq!(first_line(), "holdpoint log 1");
    let (log, _) = open(dir.path(), saying()).unwrap();
    assert_eq!(first_line(), "holdpoint log 2");
    let recording = SessionId::new(ulid::Ulid::from(7_u128));
    assert!(block_on(log.is_settled(recording)).unwrap());
    let copied = Copied {
        recording,
        name: "keys.0.age".to_owned(),
        bytes: 3,
        sha256: Digest([7; 32]),
        version: "v1".to_owned(),
        until: Timestamp::from_second(2_000_000_000).unwrap(),
    };
    let leaf = block_on(log.copied(copied.clone())).unwrap();
    assert_eq!(Leaf::parse(&log.entries(leaf).unwrap()[0].bytes), Ok(Leaf::Copied(copied)));
    drop(log);
    drop(open(dir.path(), plain()).unwrap());
    assert_eq!(first_line(), "holdpoint log 2");
}

#[test]
fn of_many_rivals_exactly_one_wins_each_round() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), options(Purpose::Journal)).unwrap();
    for round in 1..=20 {
        let after = log.head();
        let won = std::thread::scope(|scope| {
            let rival = |n: u8| {
                let append = log.append(after, vec![vec![n; 10], vec![n; 20]], Timestamp::now());
                scope.spawn(move || u64::from(block_on(append).is_ok()))
            };
            let rivals: Vec<_> = (0..8).map(rival).collect();
            rivals.into_iter().map(|rival| rival.join().unwrap()).sum::<u64>()
        });
        assert_eq!((won, log.head().size), (1, 2 * round));
    }
}

#[test]
fn an_entry_is_never_earlier_than_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), options(Purpose::Journal)).unwrap();
    let now = Timestamp::now();
    let head = block_on(log.append(Head::empty(), vec![b"a".to_vec()], now)).unwrap();
    let head = block_on(log.append(head, vec![b"b".to_vec()], now - SignedDuration::from_secs(3_600))).unwrap();
    block_on(log.append(head, vec![b"c".to_vec()], now + SignedDuration::from_secs(1))).unwrap();
    let times: Vec<_> =
        log.entries(0).unwrap().iter().map(|entry| entry.at - now).map(|span| span.get_seconds()).collect();
    assert_eq!(times, [0, 0, 1]);
}

#[test]
fn entries_are_read_from_any_index_across_segments_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let small = || LogOptions { segment_bytes: 16 << 10, ..options(Purpose::Journal) };
    let (mut log, recovery) = open(dir.path(), small()).unwrap();
    assert_eq!(recovery.before, Before::Fresh);
    let mut followed = Vec::new();
    for round in 0..3_u8 {
        for n in 0..20 {
            block_on(log.append(log.head(), vec![vec![round, n]; 3], Timestamp::now())).unwrap();
            if n % 3 != round {
                followed.extend(log.entries(followed.len() as u64).unwrap());
            }
        }
        let head = log.head();
        drop(log);
        let (again, recovery) = open(dir.path(), small()).unwrap();
        assert_eq!((recovery.before, again.head()), (Before::Stopped, head));
        log = again;
    }
    assert!(log.status().segment >= 2);
    followed.extend(log.entries(followed.len() as u64).unwrap());
    let all = log.entries(0).unwrap();
    assert_eq!(followed, all);
    assert_eq!(all.len() as u64, log.head().size);
    assert_eq!(all.last().map(|entry| entry.hash), Some(log.head().last));
    for from in [0, 1, 59, 100, 179, 180, 500] {
        assert_eq!(log.entries(from).unwrap(), all[all.len().min(from as usize)..]);
    }
    let log = {
        drop(log);
        open(dir.path(), small()).unwrap().0
    };
    for from in [0, 1, 59, 100, 180] {
        let (mut read, mut pieces) = (Vec::new(), 0);
        loop {
            let piece = log.next_entries(from + read.len() as u64).unwrap();
            assert!(piece.len() < all.len(), "no more than one segment's");
            if piece.is_empty() {
                break;
            }
            (pieces, read) = (pieces + 1, [read, piece].concat());
        }
        assert_eq!(read, log.entries(from).unwrap());
        assert!(pieces >= 2 || from > 1, "{pieces} from {from}");
    }
}

/// A tile of hashes of hashes changes with each 256 entries alone, and belongs to every checkpoint until then.
#[test]
fn a_tile_that_stays_the_same_through_many_checkpoints_stays_published() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), options(Purpose::Journal)).unwrap();
    let published = || {
        let note = std::fs::read_to_string(dir.path().join("checkpoint")).unwrap_or_default();
        note.lines().nth(1).and_then(|size| size.parse::<u64>().ok()).unwrap_or_default()
    };
    for (entries, size) in [(257, 257), (1, 258), (1, 259), (1, 260)] {
        block_on(log.append(log.head(), vec![b"entry".to_vec(); entries], Timestamp::now())).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while published() < size {
            assert!(std::time::Instant::now() < deadline, "nothing was published");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert!(dir.path().join("tile/1/000.p/1").exists());
}

#[test]
fn what_is_too_long_is_refused_and_nothing_of_it_appended() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), options(Purpose::Journal)).unwrap();
    let append = |entries| block_on(log.append(Head::empty(), entries, Timestamp::now()));
    for entries in [vec![vec![0; 70_000]], vec![vec![0; 60_000]; 10]] {
        assert!(matches!(append(entries), Err(AppendFault::Unavailable(StoreFault::TooLong(_)))));
    }
    assert_eq!(log.head(), Head::empty());
}

#[test]
fn a_second_program_on_the_same_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), options(Purpose::Journal)).unwrap();
    let refused = open(dir.path(), options(Purpose::Journal)).err().unwrap();
    assert!(matches!(&refused, OpenFault::InUse(path) if path == dir.path()), "{refused}");
    drop(first);
    open(dir.path(), options(Purpose::Journal)).unwrap();
}

#[test]
fn a_lock_that_its_holder_is_just_giving_up_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), options(Purpose::Journal)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(200));
            drop(log);
        });
        open(dir.path(), options(Purpose::Journal)).unwrap();
    });
}

#[test]
fn a_folder_of_another_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), options(Purpose::Journal)).unwrap());
    let other = LogOptions { origin: "mill4/journal".to_owned(), ..options(Purpose::Journal) };
    let refused = open(dir.path(), other).err().unwrap();
    assert!(matches!(&refused, OpenFault::OtherLog { found, .. } if found == ORIGIN), "{refused}");
    std::fs::remove_file(dir.path().join("FORMAT")).unwrap();
    assert!(open(dir.path(), options(Purpose::Journal)).is_err());
}

#[test]
fn what_was_submitted_is_in_the_files_for_who_has_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let auditors = auditors();
    let (log, _) = open(dir.path(), options(Purpose::Records)).unwrap();
    let writer = block_on(log.open_session(opening(7, &recipients(&auditors)))).unwrap();
    let (input, output) = (writer.line(Stream::In, 3), writer.line(Stream::Out, 3));
    let exec = writer.note(Fact::Exec, 3, Bytes::from_static(b"ls"));
    let typed = input.submit(Bytes::from_static(b"secret\n")).unwrap();
    let shown = output.submit(Bytes::from(vec![b'x'; 300_000])).unwrap();
    block_on(exec).unwrap();
    block_on(input.durable(typed)).unwrap();
    block_on(output.durable(shown)).unwrap();
    assert_eq!((input.waiting_for(), output.waiting_for()), (None, None));
    assert!(writer.durable_through() >= 4);
    let account = Account {
        direction: Direction::In,
        channel: 3,
        received: 7,
        forwarded: 7,
        refused: 0,
        undelivered: 0,
        made: 0,
    };
    let sealed = block_on(writer.seal(seal(vec![account]))).unwrap();
    let recorded: Vec<_> = sealed.accounts.iter().map(|row| (row.account.direction, row.recorded)).collect();
    assert_eq!(recorded, [(Direction::In, 7), (Direction::Out, 300_000)]);
    assert!(matches!(input.submit(Bytes::from_static(b"late")), Err(StoreFault::Sealed)));
    drop(log);

    let key_file = session_dir(dir.path(), opening(7, &recipients(&auditors)).recording).join("keys.0.age");
    let root = Root::from_bytes(&age::decrypt(&auditors[1], &std::fs::read(&key_file).unwrap()).unwrap()).unwrap();
    let commitment = root.commitment();
    let (mut plain, mut leaves, mut keys) = (Vec::new(), Vec::new(), SessionKeys::new(root));
    let bytes = read(&RealDisk, &dir.path().join("segments/00000000.seg")).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"secret"));
    for frame in frames(&bytes) {
        let frame = frame.unwrap();
        match frame.header.kind {
            Kind::Leaf => {
                let entry = recordings::leaf::Entry::parse(0, frame.body).unwrap();
                leaves.extend(Some(Leaf::parse(&entry.bytes).unwrap()).filter(|leaf| !matches!(leaf, Leaf::Anchor(_))));
            }
            Kind::Data | Kind::Fact(_) => {
                let bytes = open_payload(keys.frame_key(frame.header.block), &frame).unwrap();
                plain.push((frame.header.kind, frame.header.stream, bytes));
            }
            _ => {}
        }
    }
    assert_eq!(plain[0], (Kind::Fact(Fact::Exec), Stream::None, b"ls".to_vec()));
    assert_eq!(plain[1], (Kind::Data, Stream::In, b"secret\n".to_vec()));
    assert_eq!(plain[2..].iter().map(|(_, _, bytes)| bytes.len()).sum::<usize>(), 300_000);
    let [Leaf::Started(_), Leaf::Opened(opened), middle @ .., Leaf::Stopped] = &leaves[..] else {
        panic!("{leaves:?}");
    };
    assert_eq!(opened.commitment, commitment);
    assert_eq!(opened.key_file, Digest::of_bytes(&std::fs::read(&key_file).unwrap()));
    let seals = middle.iter().filter_map(|leaf| if let Leaf::Sealed(sealed) = leaf { Some(sealed) } else { None });
    let seals: Vec<_> = seals.map(|sealed| (sealed.session, sealed.frames, sealed.ending.as_str())).collect();
    assert_eq!(seals, [(2, 6, "expired")]);
    let blocks = middle.iter().filter_map(|leaf| if let Leaf::Block(block) = leaf { Some(block) } else { None });
    let blocks: Vec<_> = blocks.map(|block| (block.number, block.first, block.end(), block.bytes_out)).collect();
    assert_eq!(blocks, [(0, 1, 5, 262_144), (1, 5, 6, 37_856)], "a block is closed at a quarter mebibyte");
}

#[test]
fn the_stock_age_opens_a_key_file() {
    let dir = tempfile::tempdir().unwrap();
    let auditors = auditors();
    let file = opening(1, &recipients(&auditors)).key_file;
    let identity = dir.path().join("identity");
    std::fs::write(&identity, auditors[0].to_string().expose_secret()).unwrap();
    let (log, _) = open(&dir.path().join("log"), options(Purpose::Records)).unwrap();
    let recording = opening(1, &recipients(&auditors)).recording;
    let opening = recordings::session::Opening { recording, metadata: Vec::new(), key_file: file };
    let _writer = block_on(log.open_session(opening)).unwrap();
    let path = session_dir(&dir.path().join("log"), recording).join("keys.0.age");
    let Ok(output) = std::process::Command::new("age").arg("-d").arg("-i").arg(&identity).arg(&path).output() else {
        eprintln!("SKIPPED: there is no `age` program here");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(Root::from_bytes(&output.stdout).is_ok());
}

#[test]
fn every_head_is_signed_over_what_is_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let signer = SimSigner::new(1);
    let verifier = signer.verifier(ORIGIN).unwrap();
    let (log, _) = open(dir.path(), options(Purpose::Journal)).unwrap();
    let head = block_on(log.append(Head::empty(), vec![b"a".to_vec()], Timestamp::now())).unwrap();
    drop(log);
    let bytes = read(&RealDisk, &dir.path().join("segments/00000000.seg")).unwrap();
    let (mut anchors, mut link, mut roots) = (Vec::new(), [0; 32], Vec::new());
    for frame in frames(&bytes).map(Result::unwrap) {
        if frame.header.kind == Kind::Anchor {
            let anchor = Anchor::parse(frame.body).unwrap();
            let signed = signed_bytes(Statement::Anchor, ORIGIN, &anchor.body());
            verifier.verify(&signed, &anchor.signature).unwrap();
            assert_eq!((anchor.chain.offset, anchor.chain.link), (frame.offset, link));
            roots.push(anchor.root);
            anchors.push((anchor.size, anchor.due_seconds));
        }
        link = frame.link;
    }
    assert_eq!(anchors, [(0, 60), (1, 60), (1, 0)]);
    assert_eq!(roots[1], head.root);
}

#[test]
fn a_session_open_has_a_signed_head_each_second() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), options(Purpose::Records)).unwrap();
    let _writer = block_on(log.open_session(opening(1, &recipients(&auditors())))).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let path = dir.path().join("segments/00000000.seg");
    loop {
        let bytes = read(&RealDisk, &path).unwrap();
        let is_anchor = |frame: &RawFrame<'_>| {
            let entry = recordings::leaf::Entry::parse(0, frame.body).ok();
            matches!(entry.and_then(|entry| Leaf::parse(&entry.bytes).ok()), Some(Leaf::Anchor(_)))
        };
        let anchors = frames(&bytes).flatten().filter(is_anchor).count();
        if anchors >= 3 {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{anchors} anchors in 20 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn below_the_reserve_nobody_is_let_in_and_who_is_in_goes_on() {
    let disk = SimDisk::new(1);
    let open = || {
        let options = LogOptions { reserve_bytes: 2 << 20, low_water_bytes: 4 << 20, ..options(Purpose::Records) };
        let (disk, signer) = (Arc::new(disk.clone()), Arc::new(SimSigner::new(1)));
        Log::open(disk, Arc::new(RealMachine), "/data".as_ref(), options, signer).unwrap().0
    };
    let (log, recipients) = (open(), recipients(&auditors()));
    let writer = block_on(log.open_session(opening(1, &recipients))).unwrap();
    disk.set_free(3 << 20);
    assert_eq!(log.room().unwrap().state, RoomState::Low);
    disk.set_free(1 << 20);
    assert_eq!(log.room().unwrap().state, RoomState::None);
    let refused = block_on(log.open_session(opening(2, &recipients))).err().unwrap();
    assert!(matches!(refused, StoreFault::NoRoom { reserve: 2_097_152, .. }), "{refused}");
    let line = writer.line(Stream::In, 0);
    let position = line.submit(Bytes::from_static(b"still")).unwrap();
    block_on(line.durable(position)).unwrap();
}

#[test]
fn a_session_that_floods_is_stopped_before_it_takes_the_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), LogOptions { segment_bytes: 64 << 20, ..options(Purpose::Records) }).unwrap();
    let writer = block_on(log.open_session(opening(1, &recipients(&auditors())))).unwrap();
    let line = writer.line(Stream::In, 0);
    let too_much = Bytes::from(vec![0; IN_FLIGHT_BYTES_MAX as usize]);
    assert_eq!(line.submit(too_much), Err(StoreFault::TooMuchInFlight(IN_FLIGHT_BYTES_MAX)));
    let position = line.submit(Bytes::from_static(b"less")).unwrap();
    block_on(line.durable(position)).unwrap();
}

#[test]
fn a_recording_is_opened_once() {
    let dir = tempfile::tempdir().unwrap();
    let (log, recipients) = (open(dir.path(), options(Purpose::Records)).unwrap().0, recipients(&auditors()));
    let first = block_on(log.open_session(opening(1, &recipients))).unwrap();
    let again = block_on(log.open_session(opening(1, &recipients))).err().unwrap();
    assert!(matches!(again, StoreFault::Exists(_)), "{again}");
    block_on(first.seal(seal(Vec::new()))).unwrap();
    assert_eq!(log.status().open, 0);
}

#[test]
fn a_log_does_only_what_it_is_for() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(&dir.path().join("journal"), options(Purpose::Journal)).unwrap();
    let refused = block_on(journal.open_session(opening(1, &recipients(&auditors())))).err();
    assert_eq!(refused, Some(StoreFault::NotARecordLog));
    let (records, _) = open(&dir.path().join("records"), options(Purpose::Records)).unwrap();
    let refused = block_on(records.append(records.head(), vec![b"x".to_vec()], Timestamp::now()));
    assert_eq!(refused, Err(AppendFault::Unavailable(StoreFault::NotAJournal)));
}

#[test]
fn channels_beyond_the_five_hundredth_account_are_summed_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), options(Purpose::Records)).unwrap();
    let writer = block_on(log.open_session(opening(1, &recipients(&auditors())))).unwrap();
    let account = |channel| Account {
        direction: Direction::Out,
        channel,
        received: 2,
        forwarded: 1,
        refused: 1,
        undelivered: 0,
        made: 0,
    };
    let sealed = block_on(writer.seal(seal((0..2_000).map(account).collect()))).unwrap();
    assert_eq!(sealed.accounts.len(), 501);
    assert_eq!(sealed.accounts.iter().map(|row| row.account.received).sum::<u64>(), 4_000);
    assert_eq!(sealed.accounts.last().map(|row| row.account.channel), Some(OTHER_CHANNELS));
}

#[test]
fn what_a_full_disk_kept_out_of_the_recording_is_in_no_account_and_last_words_find_room() {
    let disk = SimDisk::new(1);
    let options = LogOptions { spares: 0, ..options(Purpose::Records) };
    let signer = Arc::new(SimSigner::new(1));
    let (log, _) = Log::open(Arc::new(disk.clone()), Arc::new(RealMachine), "/data".as_ref(), options, signer).unwrap();
    let writer = block_on(log.open_session(opening(1, &recipients(&auditors())))).unwrap();
    let line = writer.line(Stream::In, 1);
    disk.set_free(1 << 20);
    let (mut received, mut durable) = (0, 0);
    while let Ok(position) = line.submit(Bytes::from_static(&[7; 1 << 10])) {
        received = position;
        if block_on(line.durable(position)).is_err() {
            break;
        }
        durable = position;
    }
    assert!(0 < durable && durable < received, "{durable} of {received}");
    let note = |fact| block_on(writer.note(fact, 1, Bytes::from_static(&[b' '; 4 << 10])));
    assert!(matches!(note(Fact::Exec), Err(StoreFault::NoRoom { .. })));
    for last_word in [Fact::FileEntry, Fact::Notice, Fact::ChannelClose] {
        note(last_word).unwrap();
    }
    let account = Account {
        direction: Direction::In,
        channel: 1,
        received,
        forwarded: durable,
        refused: 0,
        undelivered: received - durable,
        made: 0,
    };
    let sealed = block_on(writer.seal(seal(vec![account]))).unwrap();
    let row = sealed.accounts[0];
    assert_eq!((row.recorded, row.account.received, row.account.undelivered), (durable, durable, 0));
}

#[test]
fn a_stop_lets_nobody_wait() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), options(Purpose::Records)).unwrap();
    let writer = block_on(log.open_session(opening(1, &recipients(&auditors())))).unwrap();
    let poisoned = writer.poisoned();
    drop(log);
    assert_eq!(block_on(poisoned), StoreFault::Sealed);
    assert_eq!(block_on(writer.note(Fact::Shell, 0, Bytes::new())), Err(StoreFault::Sealed));
    let (_, recovery) = open(dir.path(), options(Purpose::Records)).unwrap();
    assert_eq!((recovery.before, recovery.crashed.len()), (Before::Stopped, 0));
}

#[test]
fn a_failed_key_file_ends_everything() {
    let disk = SimDisk::new(1);
    let options = LogOptions { spares: 0, ..options(Purpose::Records) };
    let signer = Arc::new(SimSigner::new(1));
    let (log, _) = Log::open(Arc::new(disk.clone()), Arc::new(RealMachine), "/data".as_ref(), options, signer).unwrap();
    let recipients = recipients(&auditors());
    let writer = block_on(log.open_session(opening(1, &recipients))).unwrap();
    // The spare that the first opening made lies ready: what is called next is for the key file.
    disk.fail_call(disk.calls() + 2, Fault::Error(std::io::ErrorKind::Other));
    let refused = block_on(log.open_session(opening(2, &recipients))).err().unwrap();
    assert!(matches!(refused, StoreFault::Poisoned(_)), "{refused}");
    assert!(matches!(block_on(writer.poisoned()), StoreFault::Poisoned(_)));
}

#[test]
fn spares_lie_ready_and_hold_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), options(Purpose::Journal)).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while log.status().spares < 2 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    let states: Vec<_> = segments(&RealDisk, dir.path()).unwrap().into_iter().map(|file| file.state).collect();
    assert!(matches!(states[..], [SegmentState::Used { .. }, SegmentState::Spare, SegmentState::Spare]), "{states:?}");
    assert!(RealDisk.free_bytes(dir.path()).unwrap() > 0);
    // Written, and not only as long as if they were.
    for file in segments(&RealDisk, dir.path()).unwrap() {
        let told = std::fs::metadata(&file.path).unwrap();
        assert!(told.blocks() * 512 >= told.len(), "{}: {} of {}", file.number, told.blocks() * 512, told.len());
    }
}

#[test]
fn a_note_nobody_waits_for_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (log, recipients) = (open(dir.path(), options(Purpose::Records)).unwrap().0, recipients(&auditors()));
    let careless = block_on(log.open_session(opening(1, &recipients))).unwrap();
    drop(careless.note(Fact::Shell, 0, Bytes::new()));
    drop(log.open_session(opening(2, &recipients)));
    let writer = block_on(log.open_session(opening(3, &recipients))).unwrap();
    let line = writer.line(Stream::Out, 0);
    let position = line.submit(Bytes::from_static(b"x")).unwrap();
    block_on(line.durable(position)).unwrap();
    block_on(writer.seal(seal(Vec::new()))).unwrap();
    assert_eq!(log.status().open, 1, "a session whose opening nobody waited for is abandoned");
}

#[test]
fn a_copys_blocks_hold_what_passed_block_after_block() {
    let (dir, auditors) = (tempfile::tempdir().unwrap(), auditors());
    let (log, _) = open(dir.path(), options(Purpose::Records)).unwrap();
    let writer = block_on(log.open_session(opening(7, &recipients(&auditors)))).unwrap();
    let line = writer.line(Stream::In, 3);
    // No two of these pieces are alike, and no two blocks.
    let pieces: Vec<Bytes> =
        (0..80_u32).map(|n| (0..25_000).flat_map(|i| (n * 25_000 + i).to_le_bytes()).collect()).collect();
    for piece in &pieces {
        let position = line.submit(piece.clone()).unwrap();
        block_on(line.durable(position)).unwrap();
    }
    block_on(writer.seal(seal(Vec::new()))).unwrap();
    drop(log);
    let store = Store::open(dir.path()).unwrap();
    let recording = store.list().recordings.remove(0);
    assert!(recording.blocks.len() > 25 && recording.blocks.last().unwrap().end() == recording.frames);
    let keys = AuditorKeys::parse(auditors[0].to_string().expose_secret()).unwrap();
    let mut played = Vec::new();
    for moment in store.moments(&recording, keys.open(store.dir(), &recording.opened).unwrap()) {
        if let What::Data(_, bytes) = moment.unwrap().what {
            played.extend_from_slice(&bytes);
        }
    }
    assert!(played == pieces.concat(), "{} bytes of {}", played.len(), pieces.concat().len());
}

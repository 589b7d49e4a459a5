//! The depositor over real logs and a bucket that can be broken, a round at a time.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use policies::actions::Action;
use policies::decide::Command;
use policies::events::Ending;
use policies::people::Kind;
use policies::time::Seconds;
use recordings::disk::RealDisk;
use recordings::frame::Stream;
use recordings::keys::Recipients;
use recordings::leaf::Leaf;
use recordings::log::{LogOptions, Purpose};
use recordings::sim::{SimMachine, SimSigner};
use tokio::task::JoinHandle;

use super::following::UNHEARD_MAX;
use super::*;
use crate::journal::files::FilesJournal;
use crate::recorder::Recorder;
use crate::testing::bucket::{self, FakeBucket, Trouble};
use crate::testing::{PLANT, Props, Stage, enrol, node, person};

/// A gate that records, and time that goes on for its logs.
struct Bench {
    stage: Arc<Stage>,
    records: Arc<Log>,
    journal: Arc<Log>,
    machine: SimMachine,
    recipients: Recipients,
    ticking: JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.ticking.abort();
    }
}

impl Bench {
    async fn new() -> Self {
        let (mut props, machine) = (Props::new(), SimMachine::new(1));
        let log = |purpose, name: &str, origin: &str| {
            let options = LogOptions {
                segment_bytes: 64 << 10,
                spares: 1,
                says_copied: purpose == Purpose::Records,
                file_systems_allowed: ["overlayfs", "tmpfs", "btrfs", "zfs"].map(String::from).to_vec(),
                ..LogOptions::new(purpose, origin, node())
            };
            let (dir, machine) = (props.scratch.path().join(name), Arc::new(machine.clone()));
            let opened = Log::open(Arc::new(RealDisk), machine, &dir, options, Arc::new(SimSigner::new(2)));
            Arc::new(opened.expect("a new log").0)
        };
        let journal = log(Purpose::Journal, "journal", "mill-3/journal");
        let records = log(Purpose::Records, RECORDS_DIR, "mill-3/records/node-1");
        props.journal = Arc::new(FilesJournal::new(Arc::clone(&journal)));
        let stage = Arc::new(Stage::on(props, PLANT).await);
        let (ticked, logs) = (Arc::clone(&stage), machine.clone());
        let ticking = tokio::spawn(async move {
            loop {
                ticked.props.turn.boot(LOOK_EVERY / 10);
                logs.advance(1_000_000_000);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let auditors = [(); 2].map(|()| age::x25519::Identity::generate().to_public().to_string());
        let recipients = Recipients::parse(auditors.iter().map(String::as_str)).expect("keys");
        Self { stage, records, journal, machine, recipients, ticking }
    }

    fn data(&self) -> &Path {
        self.stage.props.scratch.path()
    }

    /// What a start makes: all that is known is in the stores.
    fn start(&self, fake: &FakeBucket, place: &str, keep_local: Duration) -> Depositor {
        let desk = self.stage.desk.clone();
        let at = fake.at("holdpoint");
        let (bucket_name, bucket): (_, Arc<dyn Blobs>) = (at.name(), Arc::new(fake.open("holdpoint")));
        let directory = Arc::clone(&self.stage.props.directory);
        let copies = Copies::new(directory, self.data().join(RECORDS_DIR), place.to_owned());
        Depositor {
            desk,
            records: Arc::clone(&self.records),
            logs: [
                PublishedLog::journal(Arc::clone(&self.journal), self.data()),
                PublishedLog::records(Arc::clone(&self.records), self.data()),
            ],
            data: self.data().to_owned(),
            bucket: Arc::clone(&bucket),
            bucket_name,
            keep_local,
            copying: Copying::default(),
            place: place.to_owned(),
            copies: copies.clone(),
            standing: Deposits::new(bucket, node(), copies),
            progress: Progress::default(),
        }
    }

    /// A session that was recorded and ended.
    async fn session(&self) -> SessionId {
        self.stage.grant("hmi-2", &[Action::Shell]).await;
        let lease = self.stage.admit("hmi-2").await.expect("granted");
        let session = lease.session();
        let recorder = Recorder::open(&lease, &self.records, &self.recipients, &self.machine, "1.0").await;
        let recorder = recorder.expect("room");
        recorder.writer().line(Stream::Out, 0).submit(bytes::Bytes::from_static(b"a line")).expect("room");
        let sealed = recorder.seal(&Ending::Left, Vec::new()).await.expect("sealed");
        self.stage.desk.end(lease, Ending::Left, Some(sealed.digest)).await;
        while !self.records.is_settled(session).await.expect("it records") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        session
    }

    fn files(&self, session: SessionId) -> BTreeMap<String, Vec<u8>> {
        let dir = session_dir(&self.data().join(RECORDS_DIR), session);
        let files = crate::api::plain_files(&dir).expect("a folder");
        files.into_iter().map(|(name, path)| (name, std::fs::read(path).expect("a file"))).collect()
    }

    /// How often a leaf says of a recording that a copy of a file lies in the bucket.
    fn leaves(&self, session: SessionId) -> usize {
        let entries = self.records.entries(0).expect("nothing is retired");
        let copied = entries.iter().filter_map(|entry| match Leaf::parse(&entry.bytes) {
            Ok(Leaf::Copied(copied)) => Some(copied),
            _ => None,
        });
        copied.filter(|copied| copied.recording == session).count()
    }
}

impl Depositor {
    /// Rounds until one that left nothing over, where none fails.
    async fn rounds(&mut self) -> Result<(), BrokenOff> {
        loop {
            self.progress.tidied = None;
            self.round(self.desk.head().size).await?;
            if !self.progress.is_soon && self.progress.followed.iter().all(|followed| followed.left().next().is_none())
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The files of a session as they are read from the bucket.
    async fn remote(&self, session: SessionId) -> BTreeMap<String, Vec<u8>> {
        let files = self.standing.files(session).await.expect("known");
        let read = move || {
            let all = |(name, remote): (String, Remote)| {
                let mut bytes = Vec::new();
                remote.read().read_to_end(&mut bytes).map(|_| (name, bytes))
            };
            files.into_iter().map(all).collect::<io::Result<_>>()
        };
        tokio::task::spawn_blocking(read).await.expect("no panic").expect("read")
    }
}

/// What keys of its files hold.
fn part(session: SessionId) -> String {
    session.ulid().to_string().to_ascii_lowercase()
}

const MONTH: Duration = Duration::from_secs(30 * 86_400);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_breaks_off_each_file_lies_there_once_and_one_leaf_says_so() {
    let (bench, fake) = (Bench::new().await, FakeBucket::start(bucket::Kind::default()).await);
    let session = bench.session().await;
    let files = bench.files(session);
    assert!(files.len() >= 2, "{:?}", files.keys());
    // The answer to each of the first puts is lost, and the program dies each time.
    for _ in 0..files.len() + 2 {
        fake.fail_next(&Method::PUT, Trouble::LosesAnswer);
        bench.start(&fake, "node-1", MONTH).round(u64::MAX).await.expect_err("broken off");
    }
    let mut depositor = bench.start(&fake, "node-1", MONTH);
    depositor.round(u64::MAX).await.expect("brought");
    for (name, bytes) in &files {
        let key = format!("holdpoint/{}", key(&node(), session, name));
        assert_eq!(fake.keys()[&key], 1, "{key}");
        assert_eq!(fake.object(&key).map(|(bytes, ..)| bytes).as_ref(), Some(bytes));
    }
    assert_eq!(bench.leaves(session), files.len());
    // Carried out again after a start that knows nothing of it.
    let name = depositor.cursor(Reader::Depositing);
    bench.stage.props.directory.set_cursor(&name, 0).await.expect("memory");
    bench.start(&fake, "node-1", MONTH).round(u64::MAX).await.expect("nothing to do");
    assert_eq!(bench.leaves(session), files.len(), "no leaf stands twice");
    assert_eq!(bench.files(session), files, "a month they stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_put_under_a_recordings_keys_is_neither_relied_on_nor_in_the_way() {
    let (bench, fake) = (Bench::new().await, FakeBucket::start(bucket::Kind::default()).await);
    let session = bench.session().await;
    let files = bench.files(session);
    let junk = |bytes: &[u8]| bytes.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>();
    let key = |name: &str| format!("holdpoint/{}", key(&node(), session, name));
    for (name, bytes) in &files {
        fake.put(&key(name), &junk(bytes));
        fake.hide(&key(name));
    }
    fake.put(&key("/etc/x"), b"a path");
    fake.put(&key("../../x"), b"another");
    let mut depositor = bench.start(&fake, "node-1", Duration::ZERO);
    depositor.rounds().await.expect("brought, and removed here");
    assert_eq!(bench.files(session), BTreeMap::new());
    for (name, bytes) in &files {
        fake.put(&key(name), &junk(bytes));
    }
    assert_eq!(depositor.remote(session).await, files, "what was recorded, and no other name");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_whose_version_is_not_there_locked_and_what_is_not_is_locked_again() {
    let (bench, fake) = (Bench::new().await, FakeBucket::start(bucket::Kind::default()).await);
    let session = bench.session().await;
    let files = bench.files(session);
    bench.start(&fake, "node-1", MONTH).rounds().await.expect("brought");
    // Somebody could unlock and hide them, and put the same length in their place.
    fake.unlock_all();
    let mut depositor = bench.start(&fake, "node-1", Duration::ZERO);
    let name = depositor.cursor(Reader::Removing);
    bench.stage.props.directory.set_cursor(&name, 0).await.expect("memory");
    depositor.follow(Reader::Removing, u64::MAX).await.expect("it waits");
    assert_eq!(bench.files(session), files);
    depositor.rounds().await.expect("locked by now");
    assert_eq!(bench.files(session), BTreeMap::new());
    for name in files.keys() {
        let (_, until, _) = fake.object(&format!("holdpoint/{}", key(&node(), session, name))).expect("there");
        assert!(until > Some(Timestamp::now()), "{until:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_keeps_neither_logs_nor_what_makes_room_from_their_turn() {
    let (bench, fake) = (Bench::new().await, FakeBucket::start(bucket::Kind::default()).await);
    let (first, last) = (bench.session().await, bench.session().await);
    let mut depositor = bench.start(&fake, "node-1", Duration::ZERO);
    let turn = bench.stage.props.turn.clone();
    fake.meanwhile(part(first), move || turn.boot(Duration::from_secs(3_600)));
    depositor.round(u64::MAX).await.expect("one of them");
    assert_eq!((bench.leaves(first) > 0, bench.leaves(last)), (true, 0), "a pass ends");
    assert!(depositor.progress.is_soon, "and goes on");
    assert!(fake.keys().contains_key("holdpoint/node-1/records/newest.tar"), "{:?}", fake.keys());
    depositor.rounds().await.expect("all of it");
    assert!(bench.files(first).is_empty() && bench.files(last).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_answers_but_never_to_one_recording_is_not_taken_for_one_that_is_gone() {
    let (bench, fake) = (Bench::new().await, FakeBucket::start(bucket::Kind::default()).await);
    let (poison, other) = (bench.session().await, bench.session().await);
    fake.is_busy_at(Some(part(poison)));
    let mut depositor = bench.start(&fake, "node-1", MONTH);
    for _ in 1..UNHEARD_MAX {
        depositor.round(u64::MAX).await.expect_err("it may be gone");
        assert_eq!(bench.leaves(other), 0);
    }
    let fault = depositor.round(u64::MAX).await.expect_err("it is not");
    assert!(matches!(&fault, BrokenOff::Unheard(session, _) if *session == poison), "{fault}");
    assert!(bench.leaves(other) > 0);
    fake.is_busy_at(None);
    depositor.rounds().await.expect("all of it");
    assert!(bench.leaves(poison) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_here_is_held_there_before_it_leaves() {
    let (bench, fake) = (Bench::new().await, FakeBucket::start(bucket::Kind::default()).await);
    let session = bench.session().await;
    let files = bench.files(session);
    bench.start(&fake, "node-1", MONTH).rounds().await.expect("brought");
    let people = &bench.stage.people;
    let invited = people.invite(person("audrey", Kind::Auditor, &[]), Seconds(600), bench.stage.admin.person).await;
    let by = enrol(people, &invited.expect("may").code).await.person;
    let reason = people.put_text("a claim").await.expect("memory");
    bench.stage.desk.act(Command::Hold { session, reason, by }).await.expect("may");
    let mut depositor = bench.start(&fake, "node-1", Duration::ZERO);
    depositor.follow(Reader::Removing, u64::MAX).await.expect("it waits");
    assert_eq!(bench.files(session), files, "nobody held it there");
    depositor.rounds().await.expect("held by now");
    assert!(bench.files(session).is_empty());
    for name in files.keys() {
        assert!(fake.object(&format!("holdpoint/{}", key(&node(), session, name))).is_some_and(|(_, _, held)| held));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_recording_that_cannot_be_deposited_holds_up_no_other_and_is_not_forgotten() {
    let (bench, fake) = (Bench::new().await, FakeBucket::start(bucket::Kind::default()).await);
    let (poison, other) = (bench.session().await, bench.session().await);
    fake.refuse(&[part(poison)]);
    let mut depositor = bench.start(&fake, "node-1", Duration::ZERO);
    let fault = depositor.round(u64::MAX).await.expect_err("one is refused");
    assert!(matches!(&fault, BrokenOff::Blob(BlobFault::Refused { .. })), "{fault}");
    assert_eq!((bench.leaves(poison), bench.leaves(other) > 0), (0, true));
    assert_eq!(bench.files(other), BTreeMap::new(), "what is deposited leaves, whatever else waits");
    assert!(fake.keys().contains_key("holdpoint/node-1/records/newest.tar"), "{:?}", fake.keys());
    assert_eq!(depositor.standing.standing().waiting.sessions, 1);
    // A start finds it again.
    fake.refuse(&[]);
    bench.start(&fake, "node-1", Duration::ZERO).rounds().await.expect("all of it");
    assert!(bench.leaves(poison) > 0 && bench.files(poison).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_that_are_refused_as_make_it_give_up_for_now_hold_up_no_other() {
    let (bench, fake) = (Bench::new().await, FakeBucket::start(bucket::Kind::default()).await);
    let mut poison = Vec::new();
    for _ in 0..4 {
        poison.push(bench.session().await);
    }
    fake.refuse(&poison.iter().map(|session| part(*session)).collect::<Vec<_>>());
    let other = bench.session().await;
    let mut depositor = bench.start(&fake, "node-1", MONTH);
    for _ in 0..2 {
        depositor.round(u64::MAX).await.expect_err("four are refused");
    }
    assert!(bench.leaves(other) > 0, "what is behind them has its turn");
    // And so has each of them.
    fake.refuse(&poison[..3].iter().map(|session| part(*session)).collect::<Vec<_>>());
    for _ in 0..2 {
        depositor.round(u64::MAX).await.expect_err("three are refused");
    }
    assert!(bench.leaves(poison[3]) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_no_file_has_hides_none_behind_it() {
    let (bench, fake) = (Bench::new().await, FakeBucket::start(bucket::Kind::default()).await);
    let session = bench.session().await;
    // As where a file could not be made, and the next one could.
    let dir = session_dir(&bench.data().join(RECORDS_DIR), session);
    std::fs::write(dir.join("0007.blk"), b"a block that was not kept to its end").expect("room");
    let files = bench.files(session);
    let mut depositor = bench.start(&fake, "node-1", Duration::ZERO);
    depositor.rounds().await.expect("brought, and removed here");
    assert_eq!((bench.files(session), depositor.remote(session).await), (BTreeMap::new(), files));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_does_not_come_into_blocks_is_waited_for_a_while_and_is_trouble_then_beside_the_others() {
    let (bench, fake) = (Bench::new().await, FakeBucket::start(bucket::Kind::default()).await);
    bench.stage.grant("hmi-2", &[Action::Shell]).await;
    let lease = bench.stage.admit("hmi-2").await.expect("granted");
    let recorder = Recorder::open(&lease, &bench.records, &bench.recipients, &bench.machine, "1.0").await;
    let recorder = recorder.expect("room");
    // As where no seal finds room: the journal has its end, the log has none.
    bench.stage.desk.end(lease, Ending::Left, None).await;
    let other = bench.session().await;
    let mut depositor = bench.start(&fake, "node-1", MONTH);
    depositor.round(u64::MAX).await.expect("it may come yet");
    assert!(depositor.progress.is_soon && bench.leaves(other) == 0, "in the order in which they ended");
    bench.stage.pass(Duration::from_secs(11 * 60));
    let fault = depositor.round(u64::MAX).await.expect_err("it should have come");
    assert!(bench.leaves(other) > 0);
    assert!(matches!(&fault, BrokenOff::Unsettled(..)) && fault.to_string().contains("room on the disk"), "{fault}");
    recorder.seal(&Ending::Left, Vec::new()).await.expect("sealed");
    depositor.rounds().await.expect("all of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_bucket_gets_all_that_is_here_and_leaves_say_where_it_lies_now() {
    let (bench, old, new) = (
        Bench::new().await,
        FakeBucket::start(bucket::Kind::default()).await,
        FakeBucket::start(bucket::Kind::default()).await,
    );
    let session = bench.session().await;
    let files = bench.files(session);
    bench.start(&old, "node-1", MONTH).rounds().await.expect("brought");
    bench.start(&new, "node-1", Duration::ZERO).rounds().await.expect("brought anew, and removed here");
    assert_eq!(bench.leaves(session), 2 * files.len());
    assert!(bench.files(session).is_empty());
    assert_eq!(bench.start(&new, "node-1", MONTH).remote(session).await, files);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_what_lies_in_the_bucket_alone_is_read_on_and_what_is_there_is_not_brought_again() {
    let (bench, fake) = (Bench::new().await, FakeBucket::start(bucket::Kind::default()).await);
    let (gone, here) = (bench.session().await, bench.session().await);
    let files = bench.files(gone);
    let in_a_folder = |bench: &Bench, session| session_dir(&bench.data().join(RECORDS_DIR), session);
    bench.start(&fake, "node-1", MONTH).rounds().await.expect("brought");
    std::fs::remove_dir_all(in_a_folder(&bench, gone)).expect("removed");
    let before = fake.keys();
    let place = "node-1.e_01jzzzzzzzzzzzzzzzzzzzzzzz";
    let mut depositor = bench.start(&fake, place, MONTH);
    depositor.rounds().await.expect("goes on");
    assert_eq!(depositor.remote(gone).await, files);
    assert_eq!(bench.leaves(here), bench.files(here).len());
    let is_new = |key: &&String| !before.contains_key(*key);
    let (keys, place) = (fake.keys(), format!("holdpoint/{place}/"));
    assert!(keys.keys().filter(is_new).all(|key| key.starts_with(&place)), "{keys:?}");
    assert!(keys.contains_key(&format!("{place}journal/newest.tar")));
    // And what is decided about it then, is done.
    let of_it = || fake.keys().into_keys().filter(|key| key.contains(&part(gone))).count();
    assert_eq!((depositor.erase(gone).await.expect("asked"), of_it()), (Done::NotYet, files.len()), "it is locked");
    fake.unlock_all();
    assert_eq!((depositor.erase(gone).await.expect("asked"), of_it()), (Done::All, 0));
    assert!(depositor.copies.of(gone).await.expect("known").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_grows_leaves_one_key_for_what_changes_whatever_the_bucket_locks_by_itself() {
    let kind = bucket::Kind { locks_by_itself: true, ..bucket::Kind::default() };
    let (bench, fake) = (Bench::new().await, FakeBucket::start(kind).await);
    let mut depositor = bench.start(&fake, "node-1", MONTH);
    for _ in 0..3 {
        bench.session().await;
        depositor.rounds().await.expect("brought");
    }
    let of_logs: BTreeMap<String, usize> =
        fake.keys().into_iter().filter(|(key, _)| !key.contains("/sessions/")).collect();
    let newest = |log: &str| format!("holdpoint/node-1/{log}/newest.tar");
    assert!(of_logs[&newest("journal")] >= 3 && of_logs[&newest("records")] >= 3, "{of_logs:?}");
    let locked = of_logs.keys().filter(|key| key.contains("/locked/")).count();
    assert_eq!((of_logs.len(), locked), (4, 2), "one of a day is locked: {of_logs:?}");
    for (key, is_locked) in [(newest("journal"), true), (newest("records"), true)] {
        assert_eq!(fake.object(&key).map(|(_, until, _)| until.is_some()), Some(is_locked));
    }
}

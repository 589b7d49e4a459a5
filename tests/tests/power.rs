//! Power cuts, on file systems in images: what was acknowledged before the cut is there after it, in logs, in the directory of
//! people, and in a whole gate's data folder. Writers that do not sync must lose something, or this rig sees nothing.
//!
//! `HOLDPOINT_LONG=1` cuts the power 200 times on each file system. `tests/lazyfs` runs the writers on LazyFS.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use approver::directory::sled::SledDirectory;
use approver::directory::{Change, Directory as _, Key};
use bytes::Bytes;
use certs::auditor::NewAuditorKey;
use jiff::Timestamp;
use policies::ids::SessionId;
use recordings::disk::{Disk, DiskFile, RealDisk, RealMachine};
use recordings::frame::Stream;
use recordings::keys::Recipients;
use recordings::log::{Log, LogOptions, Purpose};
use recordings::read::{AuditorKeys, Store, What};
use recordings::session::Opening;
use recordings::sim::SimSigner;
use rustix::process::Signal;
use tests::power::{FileSystem, Image};
use tests::{Options, Plant, Running, eventually, long_or, run, start};

const FOLDER: &str = "HOLDPOINT_TEST_FOLDER";
const WRITES: &str = "HOLDPOINT_TEST_WRITES";
const SESSIONS: u64 = 3;

/// Not a test: the program whose power is cut. It prints `<what> <how much>` after each acknowledgement.
#[test]
#[ignore = "the process that other tests here run and stop"]
fn writer_process() {
    let (Ok(folder), Ok(writes)) = (std::env::var(FOLDER), std::env::var(WRITES)) else { return };
    let folder = Path::new(&folder);
    match writes.as_str() {
        "records" => records(folder, Arc::new(RealDisk)),
        "records-unsynced" => records(folder, Arc::new(Unsynced)),
        "journal" => journal(folder),
        "directory" => directory(folder),
        _ => sled_alone(folder),
    }
}

/// Waits on this thread.
fn wait<T>(future: impl Future<Output = T>) -> T {
    thread_local!(static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
    RUNTIME.with(|runtime| runtime.block_on(future))
}

fn say(what: &str, much: u64) {
    use io::Write as _;
    let mut out = io::stdout().lock();
    out.write_all(format!("{what} {much}\n").as_bytes()).and_then(|()| out.flush()).unwrap_or_default();
}

fn open(folder: &Path, purpose: Purpose, disk: Arc<dyn Disk>) -> Log {
    let mut options = LogOptions::new(purpose, "mill-3/records/gate-1", "gate-1".parse().unwrap());
    options.segment_bytes = 256 << 10;
    options.file_systems_allowed = vec!["fuse".to_owned()];
    Log::open(disk, Arc::new(RealMachine), &folder.join("log"), options, Arc::new(SimSigner::new(1))).unwrap().0
}

/// What is written into recordings: the same bytes in each, so that any beginning can be told.
fn content() -> impl Iterator<Item = u8> {
    (0_usize..).flat_map(|round| vec![round as u8; 1 + round * 37 % 3_000])
}

fn records(folder: &Path, disk: Arc<dyn Disk>) {
    let keys = fs::read_to_string(folder.join("recipients")).unwrap();
    let recipients = Recipients::parse(keys.lines()).unwrap();
    let log = open(folder, Purpose::Records, disk);
    let first = log.head().size * 100 + 1;
    std::thread::scope(|scope| {
        for number in first..first + SESSIONS {
            let (log, recipients) = (&log, &recipients);
            scope.spawn(move || {
                let opening = Opening {
                    recording: SessionId::new(ulid::Ulid::from(u128::from(number))),
                    metadata: b"{}".to_vec(),
                    key_file: recipients.new_key_file(&RealMachine),
                };
                let writer = wait(log.open_session(opening)).unwrap();
                let line = writer.line(Stream::In, 0);
                for round in 0_usize.. {
                    let bytes = Bytes::from(vec![round as u8; 1 + round * 37 % 3_000]);
                    let position = line.submit(bytes).unwrap();
                    wait(line.durable(position)).unwrap();
                    say(&number.to_string(), position);
                }
            });
        }
    });
}

fn journal(folder: &Path) {
    let log = open(folder, Purpose::Journal, Arc::new(RealDisk));
    for round in 0_usize.. {
        let entries = (0..=round % 3).map(|_| vec![round as u8; 20 + round % 200]).collect();
        let head = wait(log.append(log.head(), entries, Timestamp::now())).unwrap();
        say("entries", head.size);
    }
}

fn directory(folder: &Path) {
    let directory = SledDirectory::open(&folder.join("state")).unwrap();
    for number in 0.. {
        let change = Change::set(Key::Cursor(number.to_string()), vec![7; 100]);
        assert!(wait(directory.swap(vec![change])).unwrap());
        say("key", number);
    }
}

/// What sled says is durable, without what `SledDirectory` adds.
fn sled_alone(folder: &Path) {
    let db = sled::Config::new().path(folder.join("state")).flush_every_ms(None).open().unwrap();
    for number in 0_u64.. {
        db.insert(number.to_string(), vec![7; 100]).unwrap();
        db.flush().unwrap();
        say("key", number);
    }
}

/// The system's file system, of which no sync is asked.
struct Unsynced;

struct UnsyncedFile(Box<dyn DiskFile>);

impl Disk for Unsynced {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(UnsyncedFile(RealDisk.open(path)?)))
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(UnsyncedFile(RealDisk.create(path)?)))
    }
    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.open_to_read(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        RealDisk.lock(path)
    }
    fn unsuited(&self, dir: &Path) -> io::Result<Option<&'static str>> {
        RealDisk.unsuited(dir)
    }
}

impl DiskFile for UnsyncedFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.0.allocate(bytes)
    }
}

/// Two auditors, of whom one reads here.
struct Auditors {
    recipients: String,
    keys: AuditorKeys,
}

impl Auditors {
    fn new() -> Self {
        let [one, two] = [(); 2].map(|()| NewAuditorKey::generate(Timestamp::now()));
        let recipients = format!("{}\n{}\n", one.recipient, two.recipient);
        Self { recipients, keys: AuditorKeys::parse(&one.file).unwrap() }
    }
}

/// What a writer said, of each thing the most.
type Said = BTreeMap<String, u64>;

fn heard(said: &str) -> Said {
    let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let words = whole.lines().filter_map(|line| line.split_once(' '));
    words.filter_map(|(what, much)| Some((what.to_owned(), much.parse().ok()?))).collect()
}

/// Lets a writer write, and leaves it standing still once it has acknowledged enough.
fn write_and_stop(folder: &Path, writes: &str, enough: usize, auditors: &Auditors) -> Running {
    fs::write(folder.join("recipients"), &auditors.recipients).unwrap();
    let mut writer = Command::new(std::env::current_exe().unwrap());
    writer.args(["--ignored", "--exact", "writer_process", "--nocapture", "--test-threads=1"]);
    let mut writer = start(writer.env(FOLDER, folder).env(WRITES, writes));
    eventually("the writer has acknowledged enough", || {
        assert!(!writer.has_ended(), "{}", writer.said());
        writer.said().lines().count() > enough
    });
    writer.signal(Signal::STOP);
    let state = format!("/proc/{}/stat", writer.id());
    // Nobody of it waits for the disk any more.
    eventually("it stands still", || fs::read_to_string(&state).is_ok_and(|stat| stat.contains(") T ")));
    writer
}

/// What was acknowledged and is not there, in words.
fn lost(folder: &Path, writes: &str, said: &Said, auditors: &Auditors) -> Vec<String> {
    match writes {
        "records" | "records-unsynced" => lost_of_records(folder, said, auditors),
        "journal" => {
            let log = open(folder, Purpose::Journal, Arc::new(RealDisk));
            let (acknowledged, found) = (said.get("entries").copied().unwrap_or(0), log.head().size);
            (found < acknowledged).then(|| format!("{acknowledged} entries, found {found}")).into_iter().collect()
        }
        _ => {
            let Ok(db) = sled::Config::new().path(folder.join("state")).open() else { return vec!["all".to_owned()] };
            let last = said.get("key").copied().unwrap_or(0);
            let key = |number: &u64| match writes {
                "directory" => {
                    db.scan_prefix([]).keys().flatten().any(|key| key.ends_with(number.to_string().as_bytes()))
                }
                _ => db.contains_key(number.to_string()).unwrap(),
            };
            (0..=last).filter(|number| !key(number)).map(|number| format!("key {number}")).collect()
        }
    }
}

fn lost_of_records(folder: &Path, said: &Said, auditors: &Auditors) -> Vec<String> {
    let Ok(store) = Store::open(&folder.join("log")) else { return vec!["all".to_owned()] };
    let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for recording in store.list().recordings {
        let number = u128::from(recording.id().ulid()).to_string();
        let Ok(key) = auditors.keys.open(store.dir(), &recording.opened) else { continue };
        let data = store.moments(&recording, key).map_while(Result::ok).filter_map(|moment| match moment.what {
            What::Data(_, data) => Some(data),
            _ => None,
        });
        found.insert(number, data.flatten().collect());
    }
    let mut lost = Vec::new();
    for (number, position) in said.iter().filter(|(what, _)| what.parse::<u64>().is_ok()) {
        let bytes = found.remove(number).unwrap_or_default();
        if (bytes.len() as u64) < *position {
            lost.push(format!("session {number}: {} bytes of {position}", bytes.len()));
        }
        if !bytes.iter().copied().eq(content().take(bytes.len())) {
            lost.push(format!("session {number} is not what was written"));
        }
    }
    lost
}

/// Cuts the power so many times; gives in how many rounds something was lost.
fn rounds(kind: FileSystem, writes: &str, rounds: usize) -> Option<usize> {
    let auditors = Auditors::new();
    let (mut acknowledged, mut bad) = (0, 0);
    for round in 0..rounds {
        let image = Image::new(kind)?;
        let writer = write_and_stop(&image.path(), writes, 20 + round * 13 % 150, &auditors);
        let after = image.after_a_power_cut();
        // What it said before it stood still. Nothing of it runs again.
        let said = heard(&writer.said());
        drop(writer);
        acknowledged += said.values().sum::<u64>();
        let lost = lost(&after.path(), writes, &said, &auditors);
        if !lost.is_empty() {
            bad += 1;
            println!("{kind:?}, {writes}, round {round}: lost {} of {said:?}: {}", lost.len(), lost[0]);
        }
        if matches!(writes, "records" | "journal") {
            // The log goes on from there, without repair.
            let purpose = if writes == "journal" { Purpose::Journal } else { Purpose::Records };
            drop(open(&after.path(), purpose, Arc::new(RealDisk)));
        }
        if writes == "directory" {
            drop(SledDirectory::open(&after.path().join("state")).unwrap());
        }
    }
    println!("{kind:?}, {writes}: {rounds} rounds, {acknowledged} acknowledged, {bad} rounds with losses");
    Some(bad)
}

#[track_caller]
fn nothing_is_lost(kind: FileSystem) {
    for writes in ["records", "journal", "directory"] {
        if let Some(bad) = rounds(kind, writes, long_or(200, 3)) {
            assert_eq!(bad, 0, "{writes}");
        }
    }
}

#[test]
fn a_power_cut_on_ext4_takes_nothing_that_was_acknowledged() {
    nothing_is_lost(FileSystem::Ext4);
}

#[test]
fn a_power_cut_on_xfs_takes_nothing_that_was_acknowledged() {
    nothing_is_lost(FileSystem::Xfs);
}

/// The control: this rig is not blind.
#[test]
fn a_power_cut_takes_what_nobody_synced() {
    for kind in [FileSystem::Ext4, FileSystem::Xfs] {
        for writes in ["records-unsynced", "sled-alone"] {
            if let Some(bad) = rounds(kind, writes, long_or(20, 2)) {
                assert!(bad > 0, "{kind:?}, {writes}: nothing was lost, so this rig sees nothing");
            }
        }
    }
}

/// The whole program: what reached the technician, or the machine, is in the recordings that the cut left.
#[test]
fn a_gate_whose_power_is_cut_has_recorded_all_that_passed() {
    for round in 0..long_or(40, 2) {
        let kind = if round % 2 == 0 { FileSystem::Ext4 } else { FileSystem::Xfs };
        let Some(image) = Image::new(kind) else { return };
        let data = image.path().join("data");
        let mut plant = Plant::ready(Options { data: Some(data), ..Options::default() });
        // What this fixture copied there is no gate's to sync.
        run(Command::new("sync").arg("-f").arg(image.path()), b"").ok();
        plant.serve();
        let work = start(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "seq 1000000 9999999"]));
        eventually("much has passed", || work.out_bytes() > 20_000 + round * 7_919 % 60_000);
        plant.gate().signal(Signal::STOP);
        let state = format!("/proc/{}/stat", plant.gate().id());
        eventually("the gate stands still", || fs::read_to_string(&state).is_ok_and(|stat| stat.contains(") T ")));
        let passed = heard_numbers(&settled(&work));
        let after = image.after_a_power_cut();
        plant.kill();
        drop(work);
        // The machine comes up with what the disk has: the gate serves on, and seals what was cut off.
        fs::remove_dir_all(image.path().join("data")).unwrap();
        run(Command::new("cp").arg("-a").arg(after.path().join("data")).arg(image.path().join("data")), b"").ok();
        plant.serve();
        run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "echo again"]), b"").ok();
        assert_eq!(plant.stop().code(), 0);
        let evidence = plant.evidence();
        evidence.verify().ok();
        let recorded = evidence.recordings();
        let recorded = heard_numbers(&String::from_utf8_lossy(&recorded[0].bytes(Stream::Out)));
        assert!(
            !passed.is_empty() && passed.is_subset(&recorded),
            "{} passed, {} recorded",
            passed.len(),
            recorded.len()
        );
        println!("{kind:?}: {} lines passed, {} recorded", passed.len(), recorded.len());
    }
}

/// All that a technician was shown once nothing more comes: the gate stands still.
fn settled(work: &Running) -> String {
    let mut bytes = 0;
    eventually("nothing more comes", || {
        let before = std::mem::replace(&mut bytes, work.out_bytes());
        std::thread::sleep(Duration::from_millis(200));
        before == work.out_bytes()
    });
    work.said()
}

/// Whole lines of seven digits.
fn heard_numbers(text: &str) -> BTreeSet<u32> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let numbers = whole.lines().map(str::trim).filter(|line| line.len() == 7);
    numbers.filter_map(|line| line.parse().ok()).collect()
}

/// For `tests/lazyfs`: the same writers on LazyFS, which drops what was not synced when it is told to.
#[test]
#[ignore = "tests/lazyfs mounts what it needs"]
fn lazyfs_takes_nothing_that_was_acknowledged() {
    let variable = |name: &str| {
        PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run tests/lazyfs")))
    };
    let (mounted, orders) = (variable("HOLDPOINT_LAZYFS"), variable("HOLDPOINT_LAZYFS_FIFO"));
    let auditors = Auditors::new();
    let cut = |round: usize, writes: &str| {
        let folder = mounted.join(format!("{writes}-{round}"));
        fs::create_dir(&folder).unwrap();
        let writer = write_and_stop(&folder, writes, 20 + round * 13 % 150, &auditors);
        fs::write(&orders, "lazyfs::clear-cache\n").unwrap();
        let said = heard(&writer.said());
        drop(writer);
        let lost = lost(&folder, writes, &said, &auditors);
        println!("{writes}, round {round}: {said:?}, lost {}", lost.len());
        lost.len()
    };
    for round in 0..long_or(100, 10) {
        for writes in ["records", "journal", "directory"] {
            assert_eq!(cut(round, writes), 0, "{writes}");
        }
    }
    assert!(cut(0, "sled-alone") > 0, "nothing was lost, so this rig sees nothing");
}

/// What a writer asked of the system, as `strace` saw it.
#[derive(Default)]
struct Order {
    /// Files that were written to since the last acknowledgement, and of those, the ones of which a sync began and was done.
    written: BTreeSet<String>,
    synced: BTreeSet<String>,
    /// Of each thread, the file whose sync it waits for, where it was written to before.
    waits: BTreeMap<String, String>,
    acknowledged: usize,
    unsynced: usize,
}

impl Order {
    /// One line of `strace -f -y`: thread, call, file descriptor and its file.
    fn take(&mut self, line: &str) {
        let Some((thread, call)) = line.split_once(' ').map(|(thread, call)| (thread, call.trim_start())) else {
            return;
        };
        let file = call.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(file, _)| file);
        if call.starts_with("write(1<") && (call.contains("\"key ") || call.contains("\"entries ")) {
            self.acknowledged += 1;
            self.unsynced += usize::from(self.synced.is_empty());
            self.written.clear();
            self.synced.clear();
        } else if call.starts_with("pwrite") && (file.ends_with(".seg") || file.ends_with("/db")) {
            self.written.insert(file.to_owned());
        } else if call.starts_with("fdatasync(") || call.starts_with("fsync(") {
            if self.written.contains(file) {
                self.waits.insert(thread.to_owned(), file.to_owned());
            }
            self.done(thread, call);
        } else if call.starts_with("<... fdatasync resumed") || call.starts_with("<... fsync resumed") {
            self.done(thread, call);
        }
    }

    fn done(&mut self, thread: &str, call: &str) {
        if call.ends_with("= 0") {
            self.synced.extend(self.waits.remove(thread));
        }
    }
}

/// Whoever looks at the calls sees it too, on every system: between write and acknowledgement stands a sync of the same file.
#[test]
fn each_acknowledgement_comes_after_a_sync_of_what_was_written() {
    let auditors = Auditors::new();
    let program = std::env::current_exe().unwrap();
    for (writes, is_safe) in [("journal", true), ("directory", true), ("sled-alone", false)] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("recipients"), &auditors.recipients).unwrap();
        let calls = folder.path().join("calls");
        let mut strace = Command::new("strace");
        if strace.arg("-V").output().is_err() {
            return println!("SKIPPED: strace is not installed");
        }
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-qq", "-e", "trace=pwrite64,pwritev,write,fsync,fdatasync", "-o"]).arg(&calls);
        strace.arg(&program).args(["--ignored", "--exact", "writer_process", "--nocapture", "--test-threads=1"]);
        let mut writer = start(strace.env(FOLDER, folder.path()).env(WRITES, writes));
        eventually("it has acknowledged enough", || {
            assert!(!writer.has_ended(), "{}", writer.said());
            writer.said().lines().count() > long_or(2_000, 100)
        });
        drop(writer);
        let mut order = Order::default();
        fs::read_to_string(&calls).unwrap().lines().for_each(|line| order.take(line));
        println!("{writes}: {} acknowledged, {} before a sync", order.acknowledged, order.unsynced);
        assert!(order.acknowledged >= 90, "{writes}: the calls are not understood");
        assert_eq!(order.unsynced == 0, is_safe, "{writes}: {} of {}", order.unsynced, order.acknowledged);
    }
}

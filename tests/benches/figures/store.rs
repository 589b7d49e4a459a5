//! What the store costs by itself, without any session over a network: the log is this program's own, on the disk that
//! holds the target folder.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::executor::block_on;
use policies::ids::SessionId;
use recordings::disk::{RealDisk, RealMachine};
use recordings::frame::Stream;
use recordings::keys::Recipients;
use recordings::log::{Log, LogOptions, Purpose, Recovery};
use recordings::session::{Line, Opening, Seal, SessionWriter};
use recordings::sim::SimSigner;

use crate::{MIB, median, percentiles};

/// Two auditors, whose keys nobody has.
const AUDITORS: [&str; 2] = [
    "age1agv76m8h85fmynwayn4hvt8a4sw22vf4pej2npwa0ap22r4z7pyqlgkwl2",
    "age1eu5xg7vdwxh87p7n6y2te83h8tg50k4q0ds4cs4mcj05j7zplfas65sg4j",
];
/// One read of a copy.
const CHUNK_BYTES: usize = 128 << 10;
/// What a relay has under way in one direction.
const UNDER_WAY: usize = 32;

/// How much of everything.
pub(crate) struct Size {
    pub(crate) seconds: u64,
    pub(crate) idle: u64,
}

/// A record log in a folder of its own.
fn open(dir: &Path) -> (Log, Recovery) {
    let options = LogOptions::new(Purpose::Records, "mill3/records/gate-1", "gate-1".parse().expect("a name"));
    let signer = Arc::new(SimSigner::new(1));
    Log::open(Arc::new(RealDisk), Arc::new(RealMachine), dir, options, signer).expect("a folder")
}

fn ready(dir: &Path) -> Log {
    let (log, _) = open(dir);
    tests::eventually("two segments lie ready", || log.status().spares >= 2);
    log
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

fn session(log: &Log, number: u64) -> SessionWriter {
    let recipients = Recipients::parse(AUDITORS).expect("two recipients");
    let recording = SessionId::new(u128::from(number).into());
    let key_file = recipients.new_key_file(&RealMachine);
    block_on(log.open_session(Opening { recording, metadata: b"{}".to_vec(), key_file })).expect("room")
}

fn sealed(writer: SessionWriter) {
    block_on(writer.seal(Seal { ending: "left".to_owned(), accounts: Vec::new() })).expect("a seal");
}

/// Seconds of CPU of this program's threads, by name.
fn processor() -> BTreeMap<String, f64> {
    let mut used = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").expect("Linux").flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let (name, rest) =
            stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(") ")).expect("a line of proc(5)");
        let fields: Vec<f64> =
            rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse().ok()).collect();
        *used.entry(name.to_owned()).or_insert(0.0) += fields.iter().sum::<f64>() / 100.0;
    }
    used
}

/// `cargo bench … -- acknowledge --not-raised` is this program again, where the system does not let a thread be raised.
pub(crate) fn acknowledge(size: &Size, once_more: bool) {
    println!("\nacknowledgement: sessions that type ten keys a second, {} s", size.seconds);
    type_for(size, &[1, 100, 500]);
    if once_more {
        let this = std::env::current_exe().expect("a program");
        let mut lowered = Command::new("setpriv");
        lowered
            .args(["--bounding-set=-sys_nice", "--inh-caps=-sys_nice"])
            .arg(this)
            .args(["acknowledge", "--not-raised"]);
        let lowered = lowered.stderr(Stdio::inherit()).status();
        assert!(lowered.expect("setpriv").success());
    }
}

fn type_for(size: &Size, sessions: &[u64]) {
    for sessions in sessions {
        let folder = folder();
        let log = ready(folder.path());
        let writers: Vec<SessionWriter> = (1..=*sessions).map(|number| session(&log, number)).collect();
        let keys = size.seconds * 10;
        let waits: Vec<f64> = std::thread::scope(|scope| {
            let type_in = |(number, writer): (usize, &SessionWriter)| {
                let line = writer.line(Stream::In, 0);
                let first = Instant::now() + Duration::from_micros(number as u64 * 100_000 / sessions);
                scope.spawn(move || {
                    (0..keys).map(|key| press(&line, first + Duration::from_millis(100 * key))).collect()
                })
            };
            let threads: Vec<_> = writers.iter().enumerate().map(type_in).collect();
            threads.into_iter().flat_map(|thread| -> Vec<f64> { thread.join().expect("it types") }).collect()
        });
        let (p50, p99) = percentiles(&waits);
        println!("  {sessions:>3} sessions, writer {:?}: p50 {p50:.2} ms, p99 {p99:.2} ms", log.status().priority);
        writers.into_iter().for_each(sealed);
    }
}

/// Milliseconds until a key is durable.
fn press(line: &Line, at: Instant) -> f64 {
    std::thread::sleep(at.saturating_duration_since(Instant::now()));
    let began = Instant::now();
    let position = line.submit(Bytes::from_static(b"k")).expect("the log runs");
    block_on(line.durable(position)).expect("the log runs");
    began.elapsed().as_secs_f64() * 1000.0
}

/// What a copy carries.
fn contents() -> [(&'static str, Vec<Bytes>); 2] {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let random = (0..64).map(|_| (0..CHUNK_BYTES / 8).flat_map(|_| noise().to_le_bytes()).collect()).collect();
    let mut line = || {
        format!("{:>6} pump-{} pressure {:.2} bar, valve open\r\n", noise() % 99_999, noise() % 12, 4.2).into_bytes()
    };
    let text = (0..64).map(|_| {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK_BYTES {
            chunk.extend(line());
        }
        Bytes::from(chunk)
    });
    [("text", text.collect()), ("random", random)]
}

/// Sends as much as is acknowledged for so long; gives the bytes.
fn copy(writer: &SessionWriter, chunks: &[Bytes], seconds: u64) -> u64 {
    let line = writer.line(Stream::Out, 0);
    let (until, mut under_way) = (Instant::now() + Duration::from_secs(seconds), VecDeque::new());
    for chunk in chunks.iter().cycle() {
        under_way.push_back(line.submit(chunk.clone()).expect("the log runs"));
        if under_way.len() == UNDER_WAY {
            let first = under_way.pop_front().expect("it is not empty");
            block_on(line.durable(first)).expect("the log runs");
        }
        if Instant::now() > until {
            break;
        }
    }
    let last = under_way.pop_back().expect("something was sent");
    block_on(line.durable(last)).expect("the log runs");
    last
}

pub(crate) fn bulk(size: &Size) {
    println!("\nbulk into the store, {} s each, zero-filling and sealing beside it", size.seconds);
    for (content, chunks) in contents() {
        for copies in [1, 4] {
            let folder = folder();
            let log = ready(folder.path());
            let writers: Vec<SessionWriter> = (1..=copies).map(|number| session(&log, number)).collect();
            let (before, began) = (processor(), Instant::now());
            let bytes: u64 = std::thread::scope(|scope| {
                let chunks = &chunks;
                let start = |writer| scope.spawn(move || copy(writer, chunks, size.seconds));
                let threads: Vec<_> = writers.iter().map(start).collect();
                threads.into_iter().map(|thread| thread.join().expect("it copies")).sum()
            });
            let took = began.elapsed().as_secs_f64();
            writers.into_iter().for_each(sealed);
            let sealed = began.elapsed().as_secs_f64();
            let used = processor();
            let each = |name: &str| (used[name] - before[name]) * 1024.0 * MIB as f64 / bytes as f64;
            let [writer, sealer, spares, press] = ["log-writer", "sealer", "spares", "press"].map(each);
            println!(
                "  {copies} x {content:<7} {:>4.0} MB/s acknowledged, {:.0} sealed; CPU s/GiB: writer {writer:.2}, \
                 sealer {sealer:.2} ({:.0} MB/s a core), zero-filling {spares:.2}, press {press:.2}",
                bytes as f64 / took / 1e6,
                bytes as f64 / sealed / 1e6,
                1024.0 * MIB as f64 / sealer / 1e6,
            );
        }
    }
}

/// How long a log takes to open after its program was killed in the middle of a copy.
pub(crate) fn recovery(size: &Size) {
    println!("\nrecovery after a kill in the middle of a copy");
    let took: Vec<f64> = (0..5)
        .map(|_| {
            let folder = folder();
            let this = std::env::current_exe().expect("a program");
            let mut writes =
                Command::new(this).arg("--write").arg(folder.path()).stdout(Stdio::null()).spawn().expect("it starts");
            std::thread::sleep(Duration::from_secs(size.seconds));
            writes.kill().expect("it runs");
            writes.wait().expect("it ran");
            let began = Instant::now();
            let (log, recovery) = open(folder.path());
            let took = began.elapsed().as_secs_f64();
            drop(log);
            println!("  {took:.2} s, {:?}", recovery.before);
            took
        })
        .collect();
    println!("  median {:.2} s", median(took.into_iter()));
}

/// Copies into a log until it is killed.
pub(crate) fn write(dir: &Path) {
    let log = ready(dir);
    let [_, (_, chunks)] = contents();
    copy(&session(&log, 1), &chunks, u64::MAX >> 32);
}

/// What the recorder keeps in memory of a session in which nothing moves.
pub(crate) fn idle(size: &Size) {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a process has memory");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number")
    };
    println!("\nmemory of the recorder: {} sessions that typed once", size.idle);
    let folder = folder();
    let log = ready(folder.path());
    let open = |numbers: std::ops::Range<u64>| -> Vec<(SessionWriter, Line)> {
        let one = |number| {
            let writer = session(&log, number);
            let line = writer.line(Stream::In, 0);
            press(&line, Instant::now());
            (writer, line)
        };
        numbers.map(one).collect()
    };
    let _first = open(1..20);
    let before = resident();
    let sessions = open(20..20 + size.idle);
    let each = || (resident() as f64 - before as f64) / size.idle as f64;
    println!("  {:.1} KiB a session with its block open", each());
    std::thread::sleep(Duration::from_secs(8));
    println!("  {:.1} KiB a session after that", each());
    drop(sessions);
}

//! How fast the log acknowledges: a probe to compare builds and machines with, not a promise. It asserts nothing.
//!
//! `cargo test --release -p recordings --test speed -- --ignored --nocapture`

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{auditors, block_on, open, opening, options, recipients};
use recordings::frame::Stream;
use recordings::log::{Log, LogOptions, Purpose};

const PERIOD: Duration = Duration::from_secs(5);

fn start(dir: &Path) -> Log {
    let (log, _) = open(dir, LogOptions { segment_bytes: 64 << 20, ..options(Purpose::Records) }).unwrap();
    while log.status().spares < 2 {
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("writer thread: {:?}", log.status().priority);
    log
}

/// Sessions that each send one keystroke's worth and wait for it, over and over.
fn closed_loop(log: &Log, sessions: u64, first: u64) {
    let recipients = recipients(&auditors());
    let writers: Vec<_> =
        (first..first + sessions).map(|n| block_on(log.open_session(opening(n, &recipients))).unwrap()).collect();
    let until = Instant::now() + PERIOD;
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let one = |writer| {
            let line = recordings::session::SessionWriter::line(writer, Stream::In, 0);
            scope.spawn(move || {
                let mut times = Vec::new();
                while Instant::now() < until {
                    let began = Instant::now();
                    let position = line.submit(Bytes::from_static(&[7; 64])).unwrap();
                    block_on(line.durable(position)).unwrap();
                    times.push(began.elapsed());
                }
                times
            })
        };
        let threads: Vec<_> = writers.iter().map(one).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    let rate = times.len() as f64 / PERIOD.as_secs_f64();
    println!("{sessions} sessions: {rate:.0} acks/s, p50 {:?}, p99 {:?}, p99.9 {:?}", at(0.5), at(0.99), at(0.999));
}

/// Sessions that copy, each with 4 MiB under way.
fn bulk(log: &Log, sessions: u64, first: u64) {
    let recipients = recipients(&auditors());
    let writers: Vec<_> =
        (first..first + sessions).map(|n| block_on(log.open_session(opening(n, &recipients))).unwrap()).collect();
    let until = Instant::now() + PERIOD;
    let bytes: u64 = std::thread::scope(|scope| {
        let one = |writer| {
            let line = recordings::session::SessionWriter::line(writer, Stream::Out, 0);
            scope.spawn(move || {
                let (chunk, mut under_way) = (Bytes::from(vec![7; 128 << 10]), VecDeque::new());
                while Instant::now() < until {
                    under_way.push_back(line.submit(chunk.clone()).unwrap());
                    if under_way.len() == 32 {
                        block_on(line.durable(under_way.pop_front().unwrap())).unwrap();
                    }
                }
                let last = under_way.pop_back().unwrap();
                block_on(line.durable(last)).unwrap();
                last
            })
        };
        let threads: Vec<_> = writers.iter().map(one).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let rate = bytes as f64 / PERIOD.as_secs_f64() / 1e6;
    println!("{sessions} copies: {rate:.0} MB/s, rolls and zero-filling included; segment {}", log.status().segment);
}

#[test]
#[ignore = "a probe that takes half a minute and asserts nothing"]
fn acknowledgements_and_bulk() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let log = start(dir.path());
    closed_loop(&log, 1, 1);
    closed_loop(&log, 100, 1_000);
    bulk(&log, 1, 2_000);
    bulk(&log, 4, 3_000);
}

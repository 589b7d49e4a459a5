//! Every parser of outside bytes takes every input of the corpus, and inputs that differ from one a little.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tests::fuzz::TARGETS;
use tests::long_or;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn every_parser_takes_every_input_of_its_corpus() {
    for target in TARGETS {
        for bytes in corpus(target.name) {
            (target.run)(&bytes);
            for end in [0, bytes.len() / 2, bytes.len().saturating_sub(1)] {
                (target.run)(&bytes[..end]);
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Change {
    Put(u8),
    Flip(u8),
    Drop(usize),
    Twice(usize),
}

fn change() -> impl Strategy<Value = (prop::sample::Index, Change)> {
    let odd = prop::sample::select(vec![0, 1, 0x7f, 0x80, 0xff, b'\n', b'"', 0x1b]);
    let change = prop_oneof![
        prop_oneof![odd, any::<u8>()].prop_map(Change::Put),
        (0..8_u8).prop_map(|bit| Change::Flip(1 << bit)),
        (1..9_usize).prop_map(Change::Drop),
        (1..40_usize).prop_map(Change::Twice),
    ];
    (any::<prop::sample::Index>(), change)
}

fn changed(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, Change)]) -> Vec<u8> {
    for (at, change) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        let end = |length: usize| bytes.len().min(at + length);
        match change {
            Change::Put(byte) => bytes[at] = *byte,
            Change::Flip(bit) => bytes[at] ^= bit,
            Change::Drop(length) => drop(bytes.drain(at..end(*length))),
            Change::Twice(length) => {
                let again = bytes[at..end(*length)].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

#[test]
fn every_parser_takes_what_differs_a_little() {
    let cases = long_or(400_000, 4_000);
    for target in TARGETS {
        let inputs = (prop::sample::select(corpus(target.name)), prop::collection::vec(change(), 1..6));
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
        let tried = runner.run(&inputs, |(bytes, changes)| {
            (target.run)(&changed(bytes, &changes));
            Ok(())
        });
        tried.unwrap_or_else(|broken| panic!("{}: {broken}", target.name));
    }
}

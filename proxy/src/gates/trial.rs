//! A gate between a program and a target that a test plays, and what is true of every gate whatever they say.

use std::time::{Duration, Instant};

use bytes::Bytes;
use policies::actions::{Action, Actions};
use proptest::prelude::*;

use super::{End, Gate, Judge, Need, Passed, Piece, Verdict};

pub(super) const GATED: [Action; 5] =
    [Action::Observe, Action::Upload, Action::Operate, Action::Program, Action::Control];

/// Lets pass what was granted.
#[derive(Debug, Clone)]
pub(super) struct Granted(pub(super) Actions);

impl Granted {
    pub(super) fn nothing() -> Self {
        Self(Actions::new())
    }

    pub(super) fn these(actions: &[Action]) -> Self {
        Self(actions.iter().copied().collect())
    }

    /// The set with this number, of the 32 there are.
    pub(super) fn numbered(number: usize) -> Self {
        Self(GATED.into_iter().enumerate().filter(|(n, _)| number >> n & 1 == 1).map(|(_, action)| action).collect())
    }
}

impl Judge for Granted {
    fn may_pass(&self, need: Need) -> Result<(), String> {
        let may = match need {
            Need::All(actions) => {
                assert!(!actions.is_empty());
                actions.iter().all(|action| self.0.contains(action))
            }
            Need::Sight => self.0.contains(&Action::Observe),
            Need::MoreThanObserve => self.0.iter().any(|action| *action > Action::Observe),
            Need::Unknown => false,
        };
        if may { Ok(()) } else { Err("ask for it".to_owned()) }
    }
}

/// One connection.
pub(super) struct Trial {
    pub(super) gate: Box<dyn Gate>,
    pub(super) now: Instant,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) end: Option<End>,
    pub(super) to_target: Vec<u8>,
    pub(super) to_technician: Vec<u8>,
    /// How many bytes of each direction a gate may hold that is not told to end.
    held_max: usize,
    upward: Account,
    downward: Account,
}

#[derive(Debug, Default)]
struct Account {
    received: usize,
    forwarded: usize,
    refused: usize,
}

impl Account {
    fn count(&mut self, piece: &Piece) {
        match piece {
            Piece::Passed(bytes) => self.forwarded += bytes.len(),
            Piece::LeftOut(bytes) => self.refused += bytes,
            Piece::Made(_) | Piece::Hidden(_) => {}
        }
    }
}

impl Trial {
    pub(super) fn new(gate: Box<dyn Gate>, held_max: usize) -> Self {
        Self {
            gate,
            now: Instant::now(),
            verdicts: Vec::new(),
            end: None,
            to_target: Vec::new(),
            to_technician: Vec::new(),
            held_max,
            upward: Account::default(),
            downward: Account::default(),
        }
    }

    /// The program says this, cut into pieces of these lengths, again and again.
    pub(super) fn up(&mut self, judge: &dyn Judge, bytes: &[u8], cuts: &[usize]) {
        for piece in pieces(bytes, cuts) {
            self.upward.received += piece.len();
            let passed = self.gate.upward(piece, judge, self.now);
            let ends = passed.end.is_some();
            self.take(passed);
            assert!(!ends || self.held_of_program() == 0, "who ends holds nothing of what ended it");
        }
    }

    /// The target says this.
    pub(super) fn down(&mut self, bytes: &[u8], cuts: &[usize]) {
        for piece in pieces(bytes, cuts) {
            self.downward.received += piece.len();
            let passed = self.gate.downward(piece, self.now);
            let ends = passed.end.is_some();
            self.take(passed);
            assert!(!ends || self.held_of_target() == 0, "who ends holds nothing of what ended it");
        }
    }

    /// Time passes, and the gate is asked whenever it wants to be.
    pub(super) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.gate.due().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            let passed = self.gate.pass_time(self.now);
            self.take(passed);
            assert!(self.gate.due().is_none_or(|next| next > self.now), "a gate that was asked waits for later");
        }
        self.now = until;
    }

    pub(super) fn take(&mut self, passed: Passed) {
        let harmless = |verdict: &Verdict| !verdict.words.contains(char::is_control);
        assert!(passed.verdicts.iter().all(harmless), "{:?}", passed.verdicts);
        let mut sent = passed.to_target.iter().chain(&passed.to_technician).map(Piece::sent);
        assert!(self.end.is_none() || sent.all(<[u8]>::is_empty), "the end is one");
        for piece in passed.to_target {
            self.to_target.extend_from_slice(piece.sent());
            self.upward.count(&piece);
        }
        for piece in passed.to_technician {
            self.to_technician.extend_from_slice(piece.sent());
            self.downward.count(&piece);
        }
        self.verdicts.extend(passed.verdicts);
        self.end = self.end.take().or(passed.end);
        self.every_byte_is_accounted_for();
    }

    fn every_byte_is_accounted_for(&self) {
        for account in [&self.upward, &self.downward] {
            let gone = account.forwarded + account.refused;
            assert!(gone <= account.received, "bytes from nowhere: {account:?}");
            assert!(account.received - gone <= self.held_max, "too much is held: {account:?}");
        }
    }

    /// How many of the program's bytes wait for more.
    pub(super) fn held_of_program(&self) -> usize {
        self.upward.received - self.upward.forwarded - self.upward.refused
    }

    fn held_of_target(&self) -> usize {
        self.downward.received - self.downward.forwarded - self.downward.refused
    }

    pub(super) fn lines(&self) -> Vec<&str> {
        self.verdicts.iter().map(|verdict| verdict.words.as_str()).collect()
    }
}

fn pieces(bytes: &[u8], cuts: &[usize]) -> Vec<Bytes> {
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut pieces = Vec::new();
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        pieces.push(rest.split_to((*cut).clamp(1, rest.len())));
    }
    pieces
}

/// One byte at a time, all at once, or anyhow.
pub(super) fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![1]), Just(vec![usize::MAX]), prop::collection::vec(1..40_usize, 1..6)]
}

/// Bytes as written in a specification.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).unwrap()
}

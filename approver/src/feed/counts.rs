//! What is counted for the feed and is told there once a minute, in sums: strangers' failures by source, so that nobody
//! outside can make anything grow, and operations by session and action. Counting waits for nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use policies::actions::Action;
use policies::ids::{ServiceName, SessionId, TargetName};
use policies::plant::Protocol;

use super::event::Told;
use crate::clock::{Boot, Clock};

/// The counters. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Counts(Arc<Inner>);

struct Inner {
    clock: Clock,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    /// Under no source, whoever came when there were too many.
    strangers: BTreeMap<Option<IpAddr>, Failures>,
    operations: BTreeMap<Operations, Sums>,
    totals: Totals,
}

/// What was counted since the program started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    /// Failures of strangers.
    pub strangers: u64,
    /// Operations that passed, and that were refused.
    pub operations: [u64; 2],
    /// Refusals of people who had signed in, by the stable id of the reason.
    pub refused: BTreeMap<String, u64>,
}

/// Operations that are summed up together. Where they would be too many, those of a session are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operations {
    /// In which session.
    pub session: SessionId,
    /// On which target.
    pub target: TargetName,
    /// On which service of it.
    pub service: ServiceName,
    /// In which protocol.
    pub protocol: Protocol,
    /// Of which action; none where the gate does not know the message.
    pub action: Option<Action>,
}

struct Failures {
    since: Boot,
    at: Timestamp,
    times: u64,
    how: &'static str,
}

struct Sums {
    since: Boot,
    at: Timestamp,
    passed: u64,
    refused: u64,
}

/// So long is counted before it is told.
const MINUTE: Duration = Duration::from_secs(60);
/// Sources told apart at once: some 80 KiB of the feed a minute, so that a night of it pushes nothing out of the spool.
const SOURCES_MAX: usize = 256;
/// Kinds of operations summed up apart at once: a few for each of some hundred sessions.
const OPERATIONS_MAX: usize = 4_096;

impl Counts {
    /// Nothing yet.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner { clock, counted: Mutex::default() }))
    }

    /// Somebody at this source, who had not signed in, failed. Addresses of one IPv6 customer (a /64) are one source.
    pub fn stranger_failed(&self, source: IpAddr, how: &'static str) {
        let (since, at) = (self.0.clock.boot(), self.0.clock.wall());
        let mut counted = self.counted();
        counted.totals.strangers += 1;
        let source = Some(customer(source));
        let has_room = counted.strangers.len() < SOURCES_MAX || counted.strangers.contains_key(&source);
        let source = if has_room { source } else { None };
        counted.strangers.entry(source).or_insert(Failures { since, at, times: 0, how }).times += 1;
    }

    /// Operations passed, or were refused. Beyond what is summed up at once they are in the recording alone.
    pub fn operated(&self, of: &Operations, times: u64, is_refused: bool) {
        let (since, at) = (self.0.clock.boot(), self.0.clock.wall());
        let mut counted = self.counted();
        counted.totals.operations[usize::from(is_refused)] += times;
        if counted.operations.len() >= OPERATIONS_MAX && !counted.operations.contains_key(of) {
            return;
        }
        let sums = counted.operations.entry(of.clone()).or_insert(Sums { since, at, passed: 0, refused: 0 });
        *(if is_refused { &mut sums.refused } else { &mut sums.passed }) += times;
    }

    /// Somebody who had signed in was refused; the reasons are those of `Refusal::id`, so they are few.
    pub(super) fn refused(&self, reason: &str) {
        *self.counted().totals.refused.entry(reason.to_owned()).or_default() += 1;
    }

    /// What was counted since the program started.
    pub fn totals(&self) -> Totals {
        self.counted().totals.clone()
    }

    /// What was counted for a minute, or, at the end, at all.
    pub(super) fn take(&self, is_end: bool) -> Vec<Told> {
        let now = self.0.clock.boot();
        let is_due = |since: Boot| is_end || now.since(since) >= MINUTE;
        let mut counted = self.counted();
        let Counted { strangers, operations, .. } = &mut *counted;
        let strangers = strangers.extract_if(.., |_, failures| is_due(failures.since)).map(|(source, failures)| {
            let source = source.map(|source| source.to_string());
            Told::strangers(failures.at, source.as_deref(), failures.times, failures.how)
        });
        let mut told: Vec<Told> = strangers.collect();
        let operations = operations.extract_if(.., |_, sums| is_due(sums.since));
        told.extend(operations.map(|(of, sums)| Told::operations(sums.at, &of, sums.passed, sums.refused)));
        told
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        // No change under this lock can stop halfway.
        self.0.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counts")
    }
}

fn customer(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_strangers_do_a_source_is_one_event_a_minute_and_all_sources_are_so_many() {
        let (clock, turn) = Clock::turned();
        let counts = Counts::new(clock);
        for number in 0..1_000_u32 {
            counts.stranger_failed(IpAddr::from(number.to_be_bytes()), "a wrong code");
            counts.stranger_failed([192, 0, 2, 1].into(), "a wrong code");
        }
        assert_eq!(counts.take(false), []);
        turn.pass(MINUTE);
        let told = counts.take(false);
        assert_eq!(told.len(), SOURCES_MAX + 1);
        let text = |told: &Told| String::from_utf8(told.line("m/n", &super::super::Cursor::new("a", 1))).unwrap();
        let all: Vec<String> = told.iter().map(text).collect();
        assert!(all.iter().any(|line| line.contains(r#""source":"192.0.2.1","times":1000"#)), "{all:?}");
        assert!(all[0].contains(r#""about":{"how":"a wrong code","times":745}"#), "{}", all[0]);
        assert_eq!(counts.take(true), []);
    }
}

//! A recorded connection, read once more by a fresh gate that enforces. The gate lives through what happened then: what reached
//! the target passes, whatever the rule says, because its answer follows in the recording; what did not is refused again,
//! because none follows. What the rule says is noted beside it, message by message.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use policies::actions::{Action, Actions};
use policies::plant::{Protocol, Service};

use crate::gates::{self, End, Gate, Judge, Lack, Mode, Need, Passed, Verdict};

/// Reads one connection.
pub(super) struct Hindsight<'a> {
    service: &'a Service,
    gate: Box<dyn Gate>,
    rule: Rule<'a>,
    /// What of the technician's bytes did not reach the target: from where, and how many; in order.
    left_out: Vec<(u64, u64)>,
    /// How many of the technician's bytes were read.
    at: u64,
    /// Those of the message that is not whole.
    message: Vec<u8>,
    /// The first whole one.
    first: Option<Bytes>,
    has_ended: bool,
}

/// One thing that the gate judged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) of: Of,
    /// The action it counts as; none where the gate does not know it.
    pub(super) class: Option<Action>,
    /// What was done.
    pub(super) words: String,
    /// Why it would have been refused.
    pub(super) refused: Option<String>,
}

/// What was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Of {
    /// A message of the technician's.
    Request,
    /// A message of the target's, which would have been kept back.
    Answer,
    /// The connection, which would have been closed.
    Connection,
}

impl<'a> Hindsight<'a> {
    /// For one connection, where a gate can enforce the protocol.
    pub(super) fn new(service: &'a Service, granted: &'a Actions, left_out: Vec<(u64, u64)>) -> Option<Self> {
        Some(Self {
            service,
            gate: gate(service)?,
            rule: Rule { granted, asked: Mutex::default() },
            left_out,
            at: 0,
            message: Vec::new(),
            first: None,
            has_ended: false,
        })
    }

    /// The next bytes of the technician's. One by one, so that no two messages are judged at once.
    pub(super) fn upward(&mut self, bytes: &Bytes, now: Instant) -> Vec<Seen> {
        let mut seen = Vec::new();
        for index in 0..bytes.len() {
            if self.has_ended {
                break;
            }
            let byte = bytes.slice(index..=index);
            self.message.extend_from_slice(&byte);
            let reached = !self.is_left_out();
            *self.rule.asked() = Asked { reached, lacks: None };
            let passed = self.gate.upward(byte, &self.rule, now);
            self.at += 1;
            seen.extend(self.sort(passed, reached, now));
        }
        seen
    }

    /// The next bytes of the target's.
    pub(super) fn downward(&mut self, bytes: &Bytes, now: Instant) -> Vec<Seen> {
        if self.has_ended {
            return Vec::new();
        }
        let passed = self.gate.downward(bytes.clone(), now);
        let kept_back = |verdict: Verdict| {
            let refused = verdict.operation.refused.as_ref()?.to_string();
            Some(Seen { of: Of::Answer, class: None, words: verdict.words, refused: Some(refused) })
        };
        let mut seen: Vec<Seen> = passed.verdicts.into_iter().filter_map(kept_back).collect();
        seen.extend(self.ended(passed.end));
        seen
    }

    fn is_left_out(&self) -> bool {
        let behind = self.left_out.partition_point(|(from, _)| *from <= self.at);
        self.left_out[..behind].last().is_some_and(|(from, bytes)| self.at - from < *bytes)
    }

    fn sort(&mut self, passed: Passed, reached: bool, now: Instant) -> Vec<Seen> {
        let Passed { to_target, verdicts, end, .. } = passed;
        if to_target.is_empty() && verdicts.is_empty() && end.is_none() {
            return Vec::new();
        }
        let message = Bytes::from(std::mem::take(&mut self.message));
        let asked = self.rule.asked().lacks;
        let Some(lacks) = asked else {
            let refused = |verdict: Verdict| {
                let refused = verdict.operation.refused.as_ref()?.to_string();
                Some(request(verdict, reached, Some(refused)))
            };
            let mut seen: Vec<Seen> = verdicts.into_iter().filter_map(refused).collect();
            seen.extend(self.ended(end));
            return seen;
        };
        // Where the gate ends it, that is how it refuses this message.
        self.has_ended = end.is_some();
        let own = |verdict: &Verdict| verdict.operation.refused.as_ref().map(ToString::to_string);
        let judged = verdicts.into_iter().map(|verdict| {
            let refused = match lacks {
                Some(lack) => Some(in_words(lack)),
                None if reached => own(&verdict),
                None => self.refused_by_itself(&message, now),
            };
            request(verdict, reached, refused)
        });
        let seen = judged.collect();
        self.first.get_or_insert(message);
        seen
    }

    /// Why the gate refuses a message, whatever is granted: of one that it had to refuse here to stay in step.
    fn refused_by_itself(&self, message: &Bytes, now: Instant) -> Option<String> {
        let mut fresh = gate(self.service)?;
        if let Some(first) = &self.first {
            fresh.upward(first.clone(), &Everything, now);
        }
        let passed = fresh.upward(message.clone(), &Everything, now);
        passed.verdicts.iter().find_map(|verdict| verdict.operation.refused.as_ref()).map(ToString::to_string)
    }

    fn ended(&mut self, end: Option<End>) -> Option<Seen> {
        let (End::Refused(why) | End::Malformed(why)) = end?;
        self.has_ended = true;
        let words = "closed the connection".to_owned();
        Some(Seen { of: Of::Connection, class: None, words, refused: Some(why) })
    }
}

fn gate(service: &Service) -> Option<Box<dyn Gate>> {
    // Nothing makes that of CIP enforce.
    gates::of(service.protocol, Mode::Enforce, &service.modbus).filter(|_| service.protocol != Protocol::Cip)
}

fn request(verdict: Verdict, reached: bool, refused: Option<String>) -> Seen {
    let words = match verdict.words.strip_prefix("refused to ") {
        Some(asked) if !reached => format!("asked to {asked}, which did not reach the target then either"),
        Some(asked) => format!("asked to {asked}"),
        None => verdict.words,
    };
    Seen { of: Of::Request, class: verdict.operation.class, words, refused }
}

fn in_words(lack: Lack) -> String {
    match lack {
        Lack::Action(action) => format!("the rule does not give {action}"),
        Lack::Known => "the gate does not know this message; only tunnel would let it pass".to_owned(),
    }
}

/// The rule as a judge: it lets pass what passed then, and notes what it would have said.
struct Rule<'a> {
    granted: &'a Actions,
    asked: Mutex<Asked>,
}

/// What is known of the message under judgement: whether it reached the target then, and, once the gate asked, what it lacks.
#[derive(Default)]
struct Asked {
    reached: bool,
    lacks: Option<Option<Lack>>,
}

impl Rule<'_> {
    fn asked(&self) -> MutexGuard<'_, Asked> {
        // No change under this lock can stop halfway.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Judge for Rule<'_> {
    fn may_pass(&self, need: Need) -> Result<(), String> {
        let mut asked = self.asked();
        asked.lacks = Some(need.lacks(self.granted));
        if asked.reached { Ok(()) } else { Err("it did not pass then".to_owned()) }
    }
}

struct Everything;

impl Judge for Everything {
    fn may_pass(&self, _need: Need) -> Result<(), String> {
        Ok(())
    }
}

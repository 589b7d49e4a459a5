//! What an auditor's key opens of a session, in words: commands, files, connections, operations, and what the gate said and
//! did. What stood on a screen is for `play` to show.

use jiff::Timestamp;
use policies::actions::Action;
use policies::ids::RuleId;
use policies::plant::Protocol;
use serde::{Deserialize, Serialize};

use crate::ledger::{FileEntry, Outcome, Verdict};
use crate::notes::Note;
use crate::operation::Operation;
use crate::read::{AuditorKeys, Moment, Recording, Store, What};
use crate::timeline::{Done, Row, Timeline};
use crate::words::Words;

/// A session, opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inside {
    /// Commands, shells and subsystems that were asked for.
    pub commands: Vec<Said>,
    /// Files that passed, or were refused.
    pub files: Vec<Copied>,
    /// TCP connections that were carried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<Carried>,
    /// Operations that a protocol gate read; what repeats is told once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operated>,
    /// What the gate told the technician, did and refused.
    pub gate: Vec<Said>,
    /// Of each of these, how many were too many to list.
    pub more: u64,
    /// Whether it was read to its seal.
    pub to_its_end: bool,
    /// Why it could not be read on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// Something at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// When, by the gate's clock.
    pub at: Timestamp,
    /// On which channel; 0 for the session.
    pub channel: u32,
    /// What, harmless.
    pub words: String,
}

/// A file of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copied {
    /// When, by the gate's clock.
    pub at: Timestamp,
    /// What was done.
    pub operation: String,
    /// To which file; harmless.
    pub path: String,
    /// And to where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How much passed, at most.
    pub bytes: u64,
    /// Of the whole file, where all of it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Whether the grant allowed it.
    pub allowed: bool,
    /// How it went, in words.
    pub outcome: String,
}

impl Copied {
    /// An entry of the ledger, made at this time.
    pub fn of(at: Timestamp, entry: &FileEntry) -> Self {
        Self {
            at,
            operation: entry.operation.as_str().to_owned(),
            path: entry.path.to_string(),
            to: entry.to.as_ref().map(ToString::to_string),
            bytes: entry.bytes,
            sha256: entry.sha256().map(|digest| digest.to_string()),
            allowed: entry.verdict == Verdict::Allowed,
            outcome: match entry.outcome {
                Outcome::Done => "done".to_owned(),
                Outcome::Failed(status) => format!("the target said no (status {status})"),
                Outcome::Unfinished => "unfinished".to_owned(),
                Outcome::NotBegun => "refused by the gate".to_owned(),
            },
        }
    }
}

/// A TCP connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carried {
    /// When it was opened, by the gate's clock.
    pub at: Timestamp,
    /// When it was closed, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Its channel.
    pub channel: u32,
    /// How it came; harmless.
    pub kind: String,
    /// Where to; harmless.
    pub to: String,
    /// Bytes that came from the technician.
    pub from_technician: u64,
    /// Bytes that came from the target.
    pub from_target: u64,
    /// Of what passed, what nobody can tell; harmless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<String>,
}

/// An operation, or several alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operated {
    /// When, by the gate's clock.
    pub at: Timestamp,
    /// The last time, where there were several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How often.
    pub times: u64,
    /// On which channel.
    pub channel: u32,
    /// Whether it passed.
    pub allowed: bool,
    /// The line for a person; harmless.
    pub words: String,
    /// In which protocol.
    pub protocol: Protocol,
    /// What it counts as; none where the gate does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Action>,
    /// The protocol's own name for it; harmless.
    pub code: String,
    /// What it was about; harmless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// What was written; harmless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Under which rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleId>,
    /// Why it was refused; harmless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Of each list.
const LISTED_MAX: usize = 5_000;

impl Inside {
    /// What these keys open of a recording; where they open nothing, why.
    pub(super) fn read(store: &Store, recording: &Recording, keys: &AuditorKeys) -> Self {
        let mut inside = Self::default();
        let opened = keys.open(store.dir(), &recording.opened);
        match opened {
            Err(fault) => inside.fault = Some(why(&fault.to_string(), store)),
            Ok(keys) => {
                let (mut timeline, mut last) = (Timeline::default(), None);
                for moment in store.moments(recording, keys) {
                    match moment {
                        Ok(moment) => {
                            inside.take(&moment);
                            timeline.take(&moment).into_iter().for_each(|row| inside.take_row(row));
                            last = Some(moment);
                        }
                        Err(fault) => inside.fault = Some(why(&fault.to_string(), store)),
                    }
                }
                timeline.finish(last.as_ref()).into_iter().for_each(|row| inside.take_row(row));
            }
        }
        inside
    }

    fn take(&mut self, moment: &Moment) {
        self.to_its_end |= matches!(moment.what, What::Sealed(_));
        match &moment.what {
            What::Note(Note::FileEntry(entry)) => self.take_file(moment, entry),
            What::Note(note) => {
                if let Some(words) = command(note) {
                    let said = Said { at: moment.wall, channel: moment.channel, words };
                    self.more += keep(&mut self.commands, said);
                }
            }
            _ => {}
        }
    }

    /// Connections, operations, and what the gate said and did; commands and files are told with more than their line.
    fn take_row(&mut self, row: Row) {
        let Row { at, until, channel, what, .. } = row;
        match what {
            Done::Opened { kind, to, .. } => {
                let (kind, to) = (kind.to_string(), to.to_string());
                let (from_technician, from_target, until, open) = (0, 0, None, None);
                let carried = Carried { at, until, channel, kind, to, from_technician, from_target, open };
                self.more += keep(&mut self.connections, carried);
            }
            Done::Closed { closed, passed } => {
                let known = self.connections.iter_mut().rev().find(|known| known.channel == channel);
                if let Some(known) = known {
                    known.until = closed.then_some(at);
                    (known.from_technician, known.from_target) = (passed.from_technician, passed.from_target);
                    known.open = passed.leaves_open();
                }
            }
            Done::Operation { allowed, times, words, operation } => {
                let Operation { protocol, class, code, object, value, rule, refused, .. } = *operation;
                let text = |words: Option<Words>| words.map(|words| words.to_string());
                let (object, value, refused) = (text(object), text(value), text(refused));
                let (words, code) = (words.to_string(), code.to_string());
                let operated = Operated {
                    at,
                    until,
                    times,
                    channel,
                    allowed,
                    words,
                    protocol,
                    class,
                    code,
                    object,
                    value,
                    rule,
                    refused,
                };
                self.more += keep(&mut self.operations, operated);
            }
            Done::Gate { words } | Done::Ended { words } => {
                self.more += keep(&mut self.gate, Said { at, channel, words });
            }
            Done::Ran { .. } | Done::File { .. } => {}
        }
    }

    fn take_file(&mut self, moment: &Moment, entry: &FileEntry) {
        self.more += keep(&mut self.files, Copied::of(moment.wall, entry));
    }
}

/// Gives how many were too many.
fn keep<T>(list: &mut Vec<T>, item: T) -> u64 {
    let has_room = list.len() < LISTED_MAX;
    if has_room {
        list.push(item);
    }
    u64::from(!has_room)
}

/// The same words wherever the folder lies.
fn why(fault: &str, store: &Store) -> String {
    fault.replace(&format!("{}/", store.dir().display()), "")
}

fn command(note: &Note) -> Option<String> {
    match note {
        Note::Shell => Some("a shell".to_owned()),
        Note::Exec { command, copies_files: false } => Some(format!("the command {command}")),
        Note::Exec { command, copies_files: true } => Some(format!("a copy of files, {command}")),
        Note::Subsystem { name } => Some(format!("the subsystem {name}")),
        Note::ExitStatus { status } => Some(format!("a program ended with status {status}")),
        Note::ExitSignal { name, .. } => Some(format!("a program was ended by the signal {name}")),
        _ => None,
    }
}

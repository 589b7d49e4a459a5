//! What an auditor's key opens of a session, in words: commands, files, and what the gate said and did. What stood on a
//! screen is for `play` to show.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ledger::{FileEntry, Outcome, Verdict};
use crate::notes::Note;
use crate::read::{AuditorKeys, Moment, Recording, Store, What};
use crate::remarks;

/// A session, opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inside {
    /// Commands, shells and subsystems that were asked for, and connections opened through it.
    pub commands: Vec<Said>,
    /// Files that passed, or were refused.
    pub files: Vec<Copied>,
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
                for moment in store.moments(recording, keys) {
                    match moment {
                        Ok(moment) => inside.take(&moment),
                        Err(fault) => inside.fault = Some(why(&fault.to_string(), store)),
                    }
                }
            }
        }
        inside
    }

    fn take(&mut self, moment: &Moment) {
        self.to_its_end |= matches!(moment.what, What::Sealed(_));
        let words = match &moment.what {
            What::Note(Note::FileEntry(entry)) => return self.take_file(moment, entry),
            What::Note(note) => command(note),
            _ => None,
        };
        let said = |words| Said { at: moment.wall, channel: moment.channel, words };
        if let Some(words) = words {
            self.more += keep(&mut self.commands, said(words));
        } else if let Some(words) = remarks::of(moment).or_else(|| remarks::said(moment)) {
            self.more += keep(&mut self.gate, said(words));
        }
    }

    fn take_file(&mut self, moment: &Moment, entry: &FileEntry) {
        let copied = Copied {
            at: moment.wall,
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
        };
        self.more += keep(&mut self.files, copied);
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
        Note::ChannelOpen { kind, to: Some(to) } => Some(format!("a connection ({kind}) to {to}")),
        Note::ExitStatus { status } => Some(format!("a program ended with status {status}")),
        Note::ExitSignal { name, .. } => Some(format!("a program was ended by the signal {name}")),
        _ => None,
    }
}

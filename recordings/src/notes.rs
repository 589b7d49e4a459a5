//! What the facts of a session say: the bytes of each kind of fact frame, as the session writes and an auditor reads
//! them. They are JSON and encrypted like everything of a session. Who may do what is decided elsewhere.

use policies::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::frame::Fact;
use crate::ledger::{FileEntry, RemotePath};
use crate::operation::Operation;
use crate::words::Words;

/// Something that happened on a channel, or in the session (channel 0).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "note")]
pub enum Note {
    /// A channel was opened.
    ChannelOpen {
        /// Its type, such as `session` or `direct-tcpip`.
        kind: Words,
        /// Where it leads, where it does not lead to the target's SSH service.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Words>,
        /// The technician's address and port, where the connection is one of its own and not inside another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Words>,
    },
    /// A channel was closed.
    ChannelClose,
    /// One side has no more to send.
    Eof {
        /// Whether that side is the target; else the technician.
        from_target: bool,
    },
    /// A terminal was asked for.
    Terminal {
        /// Its type, such as `xterm-256color`.
        term: Words,
        /// Its size.
        #[serde(flatten)]
        size: Size,
    },
    /// A variable was set.
    Environment {
        /// Its name.
        name: Words,
        /// What it was set to.
        value: Words,
    },
    /// A shell was asked for.
    Shell,
    /// A command line.
    Exec {
        /// As it came.
        command: Words,
        /// The gate took it for a copy of files, and looked into it: what passes is a protocol, and its files are listed.
        #[serde(default, skip_serializing_if = "crate::ledger::is_false")]
        copies_files: bool,
    },
    /// A subsystem, such as `sftp`.
    Subsystem {
        /// Which.
        name: Words,
    },
    /// The terminal's new size.
    Resize {
        /// That.
        #[serde(flatten)]
        size: Size,
    },
    /// A signal to the target's program.
    Signal {
        /// Its name without `SIG`.
        name: Words,
    },
    /// A program ended.
    ExitStatus {
        /// With this status.
        status: u32,
    },
    /// A program was ended by a signal.
    ExitSignal {
        /// Its name without `SIG`.
        name: Words,
        /// Whether the target kept a core file.
        core_dumped: bool,
        /// The target's words.
        message: Words,
    },
    /// What a gate or the gate itself said to a request: its reading of it, and the answer.
    GateVerdict {
        /// Whether it passed.
        allowed: bool,
        /// The request and the answer, in words.
        words: Words,
        /// The same as a record, where a protocol gate read it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operation: Option<Box<Operation>>,
        /// Where what was handed on differs from what came, since the verdict before: what was left out, and where the
        /// gate's own bytes stand.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        spliced: Vec<Splice>,
        /// The uploaded file it is about, where the rule's file check looked at one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checked: Option<Box<Checked>>,
    },
    /// Bytes that were not kept.
    Redacted {
        /// How many.
        bytes: u64,
        /// Why.
        reason: Words,
    },
    /// Input was frozen or let go again.
    Freeze {
        /// Which of the two.
        frozen: bool,
        /// Why.
        reason: Words,
    },
    /// Who watches, or watches no longer.
    Watch {
        /// An operator, by their id.
        operator: Words,
        /// Which of the two.
        watching: bool,
    },
    /// An operator's cut.
    Cut {
        /// The cut, by its id, and on whose word.
        words: Words,
    },
    /// A text shown to the technician outside every channel: the banner, the reason of the end.
    Notice {
        /// The text.
        text: String,
    },
    /// One file of the ledger. Its bytes are [`FileEntry::encode`]'s.
    #[serde(skip)]
    FileEntry(Box<FileEntry>),
}

/// A place in one direction of a channel where what was handed on is not what came. All else was handed on as it came and in
/// that order, but what was under way when it ended. With the splices of a direction, its bytes as the receiver had them can
/// be made again from what was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Splice {
    /// Which direction: from the target to the technician; else from the technician to the target.
    pub from_target: bool,
    /// Behind so many bytes of what came from that side.
    pub at: u64,
    /// How many of the bytes that came next were left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// How many bytes of the gate's own stand in their place: the next of those it made in this direction.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub made: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A file on its way to the target that the rule's file check looked at, whole, before the target had any of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Where it is to go, as the technician named it.
    pub path: RemotePath,
    /// How long it is.
    pub bytes: u64,
    /// SHA-256 over all of it.
    pub sha256: Digest,
    /// What became of the check.
    pub outcome: CheckOutcome,
    /// What the program said, or why there was no verdict of it.
    pub said: Words,
}

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckOutcome {
    /// The program ended with 0.
    Passed,
    /// The program ended otherwise.
    Refused,
    /// The program could not be run, or did not end in time: as good as refused.
    NotRun,
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Characters in a line.
    pub columns: u32,
    /// Lines.
    pub rows: u32,
}

/// Bytes that are not what a frame of this fact holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not what a frame of the fact {0:?} holds")]
pub struct NotANote(pub Fact);

impl Note {
    /// The kind of frame it stands in.
    pub const fn fact(&self) -> Fact {
        match self {
            Self::ChannelOpen { .. } => Fact::ChannelOpen,
            Self::ChannelClose => Fact::ChannelClose,
            Self::Eof { .. } => Fact::Eof,
            Self::Terminal { .. } => Fact::Terminal,
            Self::Environment { .. } => Fact::Environment,
            Self::Shell => Fact::Shell,
            Self::Exec { .. } => Fact::Exec,
            Self::Subsystem { .. } => Fact::Subsystem,
            Self::Resize { .. } => Fact::Resize,
            Self::Signal { .. } => Fact::Signal,
            Self::ExitStatus { .. } => Fact::ExitStatus,
            Self::ExitSignal { .. } => Fact::ExitSignal,
            Self::GateVerdict { .. } => Fact::GateVerdict,
            Self::Redacted { .. } => Fact::Redacted,
            Self::Freeze { .. } => Fact::Freeze,
            Self::Watch { .. } => Fact::Watch,
            Self::Cut { .. } => Fact::Cut,
            Self::Notice { .. } => Fact::Notice,
            Self::FileEntry(_) => Fact::FileEntry,
        }
    }

    /// The bytes of its frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::FileEntry(entry) => entry.encode(),
            note => serde_json::to_vec(note).expect("a note has string keys and whole numbers"),
        }
    }

    /// The note in the bytes of a frame of this fact.
    pub fn decode(fact: Fact, bytes: &[u8]) -> Result<Self, NotANote> {
        let note = match fact {
            Fact::FileEntry => FileEntry::decode(bytes).map(|entry| Self::FileEntry(Box::new(entry))).ok(),
            _ => serde_json::from_slice::<Self>(bytes).ok(),
        };
        note.filter(|note| note.fact() == fact).ok_or(NotANote(fact))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn notes_are_written_this_way_for_ever() {
        let exec = |copies_files| Note::Exec { command: Words::new(*b"ls \xff"), copies_files };
        let written = |note: Note| {
            let bytes = note.encode();
            assert_eq!(Note::decode(note.fact(), &bytes), Ok(note));
            String::from_utf8(bytes).unwrap()
        };
        let size = Size { columns: 80, rows: 24 };
        assert_eq!(written(Note::Shell), r#"{"note":"shell"}"#);
        assert_eq!(
            written(Note::Terminal { term: "xterm".into(), size }),
            r#"{"note":"terminal","term":"xterm","columns":80,"rows":24}"#
        );
        assert_eq!(written(exec(false)), r#"{"note":"exec","command":"ls \\xff"}"#);
        assert_eq!(written(exec(true)), r#"{"note":"exec","command":"ls \\xff","copies_files":true}"#);
        assert_eq!(written(Note::ExitStatus { status: 255 }), r#"{"note":"exit-status","status":255}"#);
        let open = |to: Option<&str>, from: Option<&str>| Note::ChannelOpen {
            kind: "tls".into(),
            to: to.map(Words::from),
            from: from.map(Words::from),
        };
        assert_eq!(written(open(None, None)), r#"{"note":"channel-open","kind":"tls"}"#);
        assert_eq!(
            written(open(Some("10.20.2.7:502"), Some("[fd00::7]:40001"))),
            r#"{"note":"channel-open","kind":"tls","to":"10.20.2.7:502","from":"[fd00::7]:40001"}"#
        );
        let operation = Operation {
            protocol: policies::plant::Protocol::Modbus,
            class: Some(policies::actions::Action::Operate),
            code: "6".into(),
            object: Some("holding register 40101 (address 100), unit 1".into()),
            value: Some("55".into()),
            rule: Some("acme".parse().unwrap()),
            refused: Some("not granted".into()),
            times: 3,
        };
        let left_out = Splice { from_target: false, at: 24, left_out: 12, made: 0 };
        let answered = Splice { from_target: true, at: 0, left_out: 0, made: 9 };
        let (words, operation) = ("refused to write 55".into(), Some(Box::new(operation)));
        assert_eq!(
            written(Note::GateVerdict {
                allowed: false,
                words,
                operation,
                spliced: vec![left_out, answered],
                checked: None
            }),
            concat!(
                r#"{"note":"gate-verdict","allowed":false,"words":"refused to write 55","operation":{"protocol":"modbus","#,
                r#""class":"operate","code":"6","object":"holding register 40101 (address 100), unit 1","value":"55","#,
                r#""rule":"acme","refused":"not granted","times":3},"#,
                r#""spliced":[{"from_target":false,"at":24,"left_out":12},{"from_target":true,"at":0,"made":9}]}"#
            )
        );
    }

    #[test]
    fn what_a_check_said_is_written_this_way_for_ever() {
        let checked = Checked {
            path: RemotePath::new(b"/opt/recipe"),
            bytes: 7,
            sha256: Digest::of_bytes(b"content"),
            outcome: CheckOutcome::NotRun,
            said: "it did not end".into(),
        };
        let (operation, spliced, checked) = (None, Vec::new(), Some(Box::new(checked)));
        let note = Note::GateVerdict { allowed: false, words: "put".into(), operation, spliced, checked };
        let sha256 = Digest::of_bytes(b"content");
        let written = format!(
            r#"{{"note":"gate-verdict","allowed":false,"words":"put","checked":{{"path":{{"name":"/opt/recipe"}},"bytes":7,"sha256":"{sha256}","outcome":"not-run","said":"it did not end"}}}}"#
        );
        assert_eq!(String::from_utf8(note.encode()).unwrap(), written);
        assert_eq!(Note::decode(Fact::GateVerdict, written.as_bytes()), Ok(note));
    }

    /// A note of a newer program, as this one and every one before it reads it.
    #[test]
    fn a_member_that_nobody_knows_is_passed_over() {
        let newer = br#"{"note":"gate-verdict","allowed":true,"words":"read","later":[1]}"#;
        let known = Note::GateVerdict {
            allowed: true,
            words: "read".into(),
            operation: None,
            spliced: Vec::new(),
            checked: None,
        };
        assert_eq!(Note::decode(Fact::GateVerdict, newer), Ok(known));
    }

    #[test]
    fn a_note_in_a_frame_of_another_fact_is_none() {
        let bytes = Note::Shell.encode();
        assert_eq!(Note::decode(Fact::ChannelClose, &bytes), Err(NotANote(Fact::ChannelClose)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, fact in prop::sample::select(Fact::ALL.to_vec())) {
            let _ = Note::decode(fact, &bytes);
        }
    }
}

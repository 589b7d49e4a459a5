//! What was done in a session as lines, one for each thing: operations that a protocol gate read, connections with their
//! bytes, and what the gate said and did. What repeats is told once, with how often and until when: a panel that polls reads
//! the same all day. All of it comes from the recording alone; the bytes of each connection are the evidence.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use policies::actions::Action;
use serde::{Deserialize, Serialize};

use crate::frame::Stream;
use crate::notes::Note;
use crate::operation::Operation;
use crate::read::{Moment, What};
use crate::remarks::{self, Ran};
use crate::words::Words;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Since the session was opened.
    #[serde(skip)]
    pub after: Duration,
    /// By the gate's wall clock.
    pub at: Timestamp,
    /// The last time, of what is told once for several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The same since the session was opened; as `after` where it happened once.
    #[serde(skip)]
    pub last_after: Duration,
    /// On which channel; 0 for the session.
    pub channel: u32,
    /// What.
    #[serde(flatten)]
    pub what: Done,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Done {
    /// A connection was opened.
    Opened {
        /// How it came, such as `direct-tcpip`.
        kind: Words,
        /// Where to.
        to: Words,
        /// The technician's end, where it is recorded.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<Words>,
    },
    /// A connection was closed, or stood open to the recording's end.
    Closed {
        /// Whether it was closed.
        closed: bool,
        /// What passed on it.
        #[serde(flatten)]
        passed: Passed,
    },
    /// Something was asked of the target, and passed or was refused.
    Operation {
        /// Whether it passed.
        allowed: bool,
        /// How often it stands for.
        times: u64,
        /// The line for a person.
        words: Words,
        /// The record of it.
        operation: Box<Operation>,
    },
    /// A shell, a command or a subsystem began.
    Ran {
        /// Which.
        words: String,
    },
    /// A file passed, or was refused.
    File {
        /// Which, and how it went; harmless.
        words: String,
    },
    /// The gate said or did something.
    Gate {
        /// What; harmless.
        words: String,
    },
    /// The session ended.
    Ended {
        /// Why; harmless.
        words: String,
    },
}

/// What passed on a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Passed {
    /// Bytes that came from the technician.
    pub from_technician: u64,
    /// Bytes that came from the target.
    pub from_target: u64,
    /// Bytes that the gate itself sent to either.
    pub from_gate: u64,
    /// Operations that were read in it.
    pub operations: u64,
    /// What is inside, where nobody can read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<Encryption>,
}

/// Encryption that the two ends made out between themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// TLS.
    Tls,
    /// SSH.
    Ssh,
    /// RDP, whose two ends agreed on TLS or what is built on it.
    Rdp,
}

impl Encryption {
    /// What a direction that begins so is: a TLS record of a handshake (RFC 8446, 5.1), SSH's banner (RFC 4253, 4.2), or RDP's
    /// answer with a protocol other than its own old encryption ([MS-RDPBCGR], 2.2.1.2).
    fn of(first: &[u8]) -> Option<Self> {
        match first {
            [0x16, 3, 0..=4, _, _, 1 | 2, ..] => Some(Self::Tls),
            [b'S', b'S', b'H', b'-', ..] => Some(Self::Ssh),
            [3, 0, _, _, _, 0xd0, _, _, _, _, _, 2, _, 8, 0, 1..=8, ..] => Some(Self::Rdp),
            _ => None,
        }
    }
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "TLS",
            Self::Ssh => "SSH",
            Self::Rdp => "RDP",
        })
    }
}

/// What stands of a connection that nobody can look into.
pub const ENCRYPTED_INSIDE: &str = "encrypted inside: kept, nobody can read what was done";
/// What stands of one that nobody looked into.
pub const NOBODY_LOOKED: &str = "nobody looked into it: kept, anything may have been done";

impl Passed {
    /// What this leaves open, if anything passed that no operation tells of.
    pub fn leaves_open(&self) -> Option<String> {
        match self.encrypted {
            Some(encryption) => Some(format!("{encryption} {ENCRYPTED_INSIDE}")),
            None if self.operations == 0 && self.from_technician + self.from_target > 0 => {
                Some(NOBODY_LOOKED.to_owned())
            }
            None => None,
        }
    }
}

impl Done {
    /// Whether it was refused.
    pub const fn is_refused(&self) -> bool {
        matches!(self, Self::Operation { allowed: false, .. })
    }
}

/// Harmless to a terminal. How often and until when, its row says.
impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { kind, to, from: None } => write!(f, "connection ({kind}) opened to {to}"),
            Self::Opened { kind, to, from: Some(from) } => write!(f, "connection ({kind}) from {from} opened to {to}"),
            Self::Closed { closed, passed } => {
                let Passed { from_technician, from_target, from_gate, .. } = passed;
                f.write_str(if *closed { "connection closed" } else { "connection open to the end" })?;
                write!(f, ": {from_technician} bytes from the technician, {from_target} from the target")?;
                if *from_gate > 0 {
                    write!(f, ", {from_gate} of the gate's own")?;
                }
                passed.leaves_open().map_or(Ok(()), |open| write!(f, "; {open}"))
            }
            Self::Operation { words, operation, .. } => f.write_str(&in_words(words, operation)),
            Self::Ran { words } => write!(f, "began {words}"),
            Self::File { words } | Self::Gate { words } | Self::Ended { words } => f.write_str(words),
        }
    }
}

/// An operation's line, and why it was refused.
pub fn in_words(words: &Words, operation: &Operation) -> String {
    match &operation.refused {
        Some(why) => format!("{words}: {why}"),
        None => words.to_string(),
    }
}

/// Whether a session is one of TCP connections, once a moment shows that: of such a one a list is all that can be replayed.
pub fn is_of_connections(moment: &Moment) -> Option<bool> {
    match &moment.what {
        What::Note(Note::ChannelOpen { to, .. }) => Some(to.is_some()),
        What::Note(Note::Shell | Note::Exec { .. } | Note::Subsystem { .. }) | What::Data(..) => Some(false),
        _ => None,
    }
}

/// Different lines that are held back while the same ones may come again.
const POLLED_MAX: usize = 64;
/// Connections that are followed at a time; a session has ten.
const OPEN_MAX: usize = 10_000;
/// So many bytes tell what begins.
const FIRST_BYTES: usize = 16;

/// Makes lines of moments, in order.
#[derive(Debug, Default)]
pub struct Timeline {
    open: BTreeMap<u32, Open>,
    /// Operations that the next ones may repeat.
    pending: Vec<Row>,
    ready: Vec<Row>,
}

#[derive(Debug, Default)]
struct Open {
    passed: Passed,
    first: [Vec<u8>; 2],
}

impl Timeline {
    /// Takes in the next moment, and gives the lines that are whole by then.
    pub fn take(&mut self, moment: &Moment) -> Vec<Row> {
        if let Some(ran) = Ran::of(moment) {
            self.tell(moment, Done::Ran { words: ran.to_string() });
        }
        match &moment.what {
            What::Data(stream, bytes) => self.count(moment.channel, *stream, bytes),
            What::Note(Note::GateVerdict { allowed, words, operation: Some(operation), .. }) => {
                if let Some(open) = self.open.get_mut(&moment.channel) {
                    open.passed.operations += operation.times;
                }
                let (words, operation, times) = (words.clone(), operation.clone(), operation.times);
                self.operation(row(moment, Done::Operation { allowed: *allowed, times, words, operation }));
            }
            What::Note(Note::ChannelOpen { kind, to: Some(to), from }) => {
                if self.open.len() < OPEN_MAX {
                    self.open.insert(moment.channel, Open::default());
                }
                let (kind, to, from) = (kind.clone(), to.clone(), from.clone());
                self.tell(moment, Done::Opened { kind, to, from });
            }
            What::Note(Note::ChannelClose) => {
                if let Some(Open { passed, .. }) = self.open.remove(&moment.channel) {
                    self.tell(moment, Done::Closed { closed: true, passed });
                }
            }
            _ => {}
        }
        if let Some(words) = remarks::of(moment).or_else(|| remarks::said(moment)) {
            match &moment.what {
                What::Sealed(_) => {
                    self.leave(moment);
                    self.tell(moment, Done::Ended { words });
                }
                What::Note(Note::GateVerdict { operation: Some(_), .. }) => {}
                // Of a connection it says how that went.
                What::Note(Note::GateVerdict { words, .. }) if self.open.contains_key(&moment.channel) => {
                    self.tell(moment, Done::Gate { words: words.to_string() });
                }
                What::Note(Note::FileEntry(_)) => self.tell(moment, Done::File { words }),
                _ => self.tell(moment, Done::Gate { words }),
            }
        }
        std::mem::take(&mut self.ready)
    }

    /// The lines that are left when a recording is over; `last` is its last moment.
    pub fn finish(mut self, last: Option<&Moment>) -> Vec<Row> {
        if let Some(last) = last {
            self.leave(last);
        }
        self.flush();
        self.ready
    }

    fn leave(&mut self, moment: &Moment) {
        for (channel, Open { passed, .. }) in std::mem::take(&mut self.open) {
            let what = Done::Closed { closed: false, passed };
            self.flush();
            self.ready.push(Row { channel, ..row(moment, what) });
        }
    }

    fn tell(&mut self, moment: &Moment, what: Done) {
        self.flush();
        self.ready.push(row(moment, what));
    }

    fn flush(&mut self) {
        self.ready.append(&mut self.pending);
    }

    /// Reading that passed is told once for as long as nothing else comes between; anything else only where the very same
    /// follows it.
    fn operation(&mut self, new: Row) {
        let is_reading = is_reading(&new);
        let alike = self.pending.iter_mut().find(|known| is_alike(known, &new));
        match alike {
            Some(known) => join(known, &new),
            None => {
                let belongs =
                    is_reading && self.pending.iter().all(self::is_reading) && self.pending.len() < POLLED_MAX;
                if !belongs {
                    self.flush();
                }
                self.pending.push(new);
            }
        }
    }

    fn count(&mut self, channel: u32, stream: Stream, bytes: &Bytes) {
        let Some(Open { passed, first }) = self.open.get_mut(&channel) else { return };
        let (sum, first) = match stream {
            Stream::In => (&mut passed.from_technician, Some(&mut first[0])),
            Stream::Out | Stream::OutErr => (&mut passed.from_target, Some(&mut first[1])),
            Stream::GateIn | Stream::GateOut | Stream::GateOutErr => (&mut passed.from_gate, None),
            Stream::None => return,
        };
        *sum += bytes.len() as u64;
        if let Some(first) = first.filter(|first| first.len() < FIRST_BYTES) {
            first.extend(bytes.iter().take(FIRST_BYTES - first.len()));
            passed.encrypted = passed.encrypted.or_else(|| Encryption::of(first));
        }
    }
}

fn row(moment: &Moment, what: Done) -> Row {
    Row { after: moment.at, at: moment.wall, until: None, last_after: moment.at, channel: moment.channel, what }
}

fn is_reading(row: &Row) -> bool {
    matches!(&row.what, Done::Operation { allowed: true, operation, .. } if operation.class == Some(Action::Observe))
}

fn is_alike(one: &Row, other: &Row) -> bool {
    let (
        Done::Operation { allowed, words, operation, .. },
        Done::Operation { allowed: too, words: same, operation: of, .. },
    ) = (&one.what, &other.what)
    else {
        return false;
    };
    let apart = |operation: &Operation| Operation { times: 1, ..operation.clone() };
    one.channel == other.channel && allowed == too && words == same && apart(operation) == apart(of)
}

fn join(row: &mut Row, new: &Row) {
    let (Done::Operation { times, .. }, Done::Operation { times: more, .. }) = (&mut row.what, &new.what) else {
        return;
    };
    *times += more;
    (row.until, row.last_after) = (Some(new.at), new.after);
}

#[cfg(test)]
mod tests {
    use policies::plant::Protocol;

    use super::*;

    fn moment(seconds: u64, channel: u32, what: What) -> Moment {
        let wall = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(seconds.cast_signed());
        Moment { at: Duration::from_secs(seconds), wall, sequence: 0, channel, what }
    }

    fn did(seconds: u64, channel: u32, allowed: bool, class: Action, words: &str) -> Moment {
        let operation = Operation {
            protocol: Protocol::Modbus,
            class: Some(class),
            code: "3".into(),
            object: None,
            value: None,
            rule: None,
            refused: (!allowed).then(|| "not granted".into()),
            times: 1,
        };
        let (words, operation) = (words.into(), Some(Box::new(operation)));
        moment(
            seconds,
            channel,
            What::Note(Note::GateVerdict { allowed, words, operation, spliced: Vec::new(), checked: None }),
        )
    }

    fn read(seconds: u64, channel: u32, words: &str) -> Moment {
        did(seconds, channel, true, Action::Observe, words)
    }

    fn data(channel: u32, stream: Stream, bytes: &'static [u8]) -> Moment {
        moment(0, channel, What::Data(stream, Bytes::from_static(bytes)))
    }

    fn verdict(seconds: u64, channel: u32, words: &str) -> Moment {
        let (allowed, words) = (false, words.into());
        moment(
            seconds,
            channel,
            What::Note(Note::GateVerdict { allowed, words, operation: None, spliced: Vec::new(), checked: None }),
        )
    }

    fn open(seconds: u64, channel: u32) -> Moment {
        let (kind, to, from) = ("direct-tcpip".into(), Some("10.20.2.7:502".into()), None);
        moment(seconds, channel, What::Note(Note::ChannelOpen { kind, to, from }))
    }

    fn told(moments: &[Moment]) -> Vec<String> {
        let mut timeline = Timeline::default();
        let mut rows: Vec<Row> = moments.iter().flat_map(|moment| timeline.take(moment)).collect();
        rows.extend(timeline.finish(moments.last()));
        let line = |row: Row| {
            let times = match &row.what {
                Done::Operation { times, .. } => format!("{times}× "),
                _ => String::new(),
            };
            let until = row.until.map(|until| format!("-{}", until.as_second())).unwrap_or_default();
            format!("{}{until} {} {times}{}", row.at.as_second(), row.channel, row.what)
        };
        rows.into_iter().map(line).collect()
    }

    #[test]
    fn polling_is_told_once_and_what_comes_between_keeps_its_place() {
        let rows = told(&[
            read(1, 1, "read a"),
            read(2, 1, "read b"),
            read(3, 2, "read a"),
            read(4, 1, "read a"),
            read(5, 1, "read b"),
            did(6, 1, true, Action::Operate, "wrote 55"),
            did(7, 1, true, Action::Operate, "wrote 55"),
            did(8, 1, true, Action::Operate, "wrote 56"),
            did(8, 1, true, Action::Operate, "wrote 55"),
            did(9, 1, false, Action::Control, "refused to stop"),
            read(10, 1, "read a"),
            did(11, 1, false, Action::Control, "refused to stop"),
        ]);
        assert_eq!(
            rows,
            [
                "1-4 1 2× read a",
                "2-5 1 2× read b",
                "3 2 1× read a",
                "6-7 1 2× wrote 55",
                "8 1 1× wrote 56",
                "8 1 1× wrote 55",
                "9 1 1× refused to stop: not granted",
                "10 1 1× read a",
                "11 1 1× refused to stop: not granted",
            ]
        );
    }

    #[test]
    fn what_is_too_much_to_hold_back_is_told_in_order() {
        let many: Vec<Moment> = (0..200).map(|n| read(n, 1, &format!("read {n}"))).collect();
        let rows = told(&many);
        assert_eq!(rows.len(), 200);
        let mut timeline = Timeline::default();
        let early: usize = many.iter().map(|moment| timeline.take(moment).len()).sum();
        assert!(early >= 200 - POLLED_MAX, "no more than that many wait, and {early} were told");
        assert!(rows.iter().zip(0..).all(|(row, n)| row == &format!("{n} 1 1× read {n}")), "{rows:?}");
    }

    #[test]
    fn a_connection_is_told_with_its_bytes_and_what_nobody_could_read() {
        let tls: &[u8] = &[0x16, 3, 1, 0, 200, 1, 0, 0];
        let rows = told(&[
            open(1, 1),
            data(1, Stream::In, &tls[..3]),
            data(1, Stream::In, &tls[3..]),
            data(1, Stream::Out, b"12345"),
            moment(2, 1, What::Note(Note::ChannelClose)),
            open(3, 2),
            data(2, Stream::In, b"\x03\0\0\x13"),
            data(2, Stream::GateOut, b"no"),
            open(4, 3),
            data(3, Stream::Out, b"SSH-2.0-x\r\n"),
            verdict(4, 3, "not connected: nobody listens there"),
            moment(5, 0, What::Note(Note::Freeze { frozen: true, reason: "lee".into() })),
            read(6, 2, "read a"),
        ]);
        assert_eq!(
            rows,
            [
                "1 1 connection (direct-tcpip) opened to 10.20.2.7:502",
                "2 1 connection closed: 8 bytes from the technician, 5 from the target; TLS encrypted inside: kept, nobody can \
                 read what was done",
                "3 2 connection (direct-tcpip) opened to 10.20.2.7:502",
                "4 3 connection (direct-tcpip) opened to 10.20.2.7:502",
                "4 3 not connected: nobody listens there",
                "5 0 input stopped: lee",
                "6 2 1× read a",
                "6 2 connection open to the end: 4 bytes from the technician, 0 from the target, 2 of the gate's own",
                "6 3 connection open to the end: 0 bytes from the technician, 11 from the target; SSH encrypted inside: kept, \
                 nobody can read what was done",
            ]
        );
        let rdp = b"\x03\0\0\x13\x0e\xd0\0\0\x12\x34\0\x02\0\x08\0\x01\0\0\0";
        let screen = told(&[open(1, 1), data(1, Stream::Out, rdp), moment(2, 1, What::Note(Note::ChannelClose))]);
        assert!(screen[1].contains("RDP encrypted inside"), "{screen:?}");
        let s7 = b"\x03\0\0\x16\x11\xd0\0\x01\0\x01\0\xc0\x01\x0a\xc1\x02\x01\0\xc2\x02\x01\x02";
        let controller = told(&[open(1, 1), data(1, Stream::Out, s7), moment(2, 1, What::Note(Note::ChannelClose))]);
        assert!(!controller[1].contains("encrypted"), "{controller:?}");
        let looked = told(&[open(1, 1), data(1, Stream::In, b"x"), moment(2, 1, What::Note(Note::ChannelClose))]);
        assert!(looked[1].ends_with("; nobody looked into it: kept, anything may have been done"), "{looked:?}");
    }
}

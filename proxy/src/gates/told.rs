//! How gates say what a message asks: one phrase, from which the line of what was done, refused or answered is made.

use policies::actions::Action;
use policies::plant::Protocol;
use recordings::operation::Operation;
use recordings::words::Words;

use super::Verdict;

/// How many values of a write a line names.
const VALUES_MAX: usize = 8;

/// What is done to an object, in the two forms that lines need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verb {
    infinitive: &'static str,
    past: &'static str,
}

impl Verb {
    pub(super) const READ: Self = Self { infinitive: "read", past: "read" };
    pub(super) const WRITE: Self = Self { infinitive: "write", past: "wrote" };
    pub(super) const USE: Self = Self { infinitive: "use", past: "used" };
    pub(super) const SEND: Self = Self { infinitive: "send", past: "sent" };

    pub(super) const fn new(infinitive: &'static str, past: &'static str) -> Self {
        Self { infinitive, past }
    }
}

/// What a message asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) verb: Verb,
    /// What follows the verb in a line.
    pub(super) rest: String,
    pub(super) object: Option<String>,
    pub(super) value: Option<String>,
}

impl Told {
    /// Done to an object, and nothing else is to be said.
    pub(super) fn of(verb: Verb, object: String) -> Self {
        Self { verb, rest: object.clone(), object: Some(object), value: None }
    }

    /// A value that goes into an object.
    pub(super) fn write(value: String, object: String) -> Self {
        Self { verb: Verb::WRITE, rest: format!("{value} to {object}"), object: Some(object), value: Some(value) }
    }

    /// `write 55 to …`.
    pub(super) fn infinitive(&self) -> String {
        format!("{} {}", self.verb.infinitive, self.rest)
    }

    /// `wrote 55 to …`.
    pub(super) fn past(&self) -> String {
        format!("{} {}", self.verb.past, self.rest)
    }

    /// It passed, or was refused for this reason.
    pub(super) fn verdict(&self, of: Kind, refused: Option<String>, is_input: bool) -> Verdict {
        let words = match refused {
            None => self.past(),
            Some(_) => format!("refused to {}", self.infinitive()),
        };
        Verdict { words, operation: self.operation(of, refused), is_input }
    }

    /// Something else that became of it, in words of its own.
    pub(super) fn outcome(&self, of: Kind, words: String, refused: Option<String>) -> Verdict {
        Verdict { words, operation: self.operation(of, refused), is_input: false }
    }

    fn operation(&self, of: Kind, refused: Option<String>) -> Operation {
        Operation {
            protocol: of.protocol,
            class: of.class,
            code: Words::new(of.code),
            object: self.object.as_deref().map(Words::from),
            value: self.value.as_deref().map(Words::from),
            rule: None,
            refused: refused.map(Words::new),
            times: 1,
        }
    }
}

/// What kind of operation a record is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) protocol: Protocol,
    pub(super) class: Option<Action>,
    pub(super) code: String,
}

/// That nothing on this connection can be read any more.
pub(super) fn opaque(protocol: Protocol, why: &str) -> Verdict {
    let told = Told { verb: Verb::SEND, rest: String::new(), object: None, value: None };
    let words = format!("what follows on this connection passes and cannot be read: {why}");
    told.outcome(Kind { protocol, class: None, code: "unreadable".to_owned() }, words, None)
}

/// The first of many values, and how many more.
pub(super) fn first_of(values: impl ExactSizeIterator<Item = String>) -> String {
    let more = values.len().saturating_sub(VALUES_MAX);
    let shown: Vec<String> = values.take(VALUES_MAX).collect();
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// A name from the wire: what is no printable ASCII stands as a question mark. The bytes themselves are in the recording.
pub(super) fn plain(name: &[u8]) -> String {
    let plain = |byte: &u8| if matches!(byte, b' '..=b'~') && *byte != b'\\' { char::from(*byte) } else { '?' };
    name.iter().map(plain).collect()
}

/// `1 byte`, `2 bytes`.
pub(super) fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

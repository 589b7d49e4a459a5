//! What a program reads of the journal, as a number. Nodes of one installation may be of different versions for a while, and each
//! stops at the first event that it does not know; so nothing is written that one of those that are up could not read.

use serde::{Deserialize, Serialize};

use crate::events::Event;

/// All that a program reads: kinds of events, their fields, and the words in them. A number, so that an older program reads what a
/// newer one says of itself. The keys of a plant file are no part of it: a node that does not know one has no plant file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Vocabulary(pub u16);

impl Vocabulary {
    /// Of programs that do not say which.
    pub const FIRST: Self = Self(1);
    /// Of this program. It is raised, and [`Event::vocabulary`] says so, with whatever a program of the number before would not
    /// know or would take for something else; `policies/tests/golden/vocabulary.txt` lists what each number has.
    pub const THIS: Self = Self(2);

    /// Whether it is the one of which nothing is said.
    pub(crate) fn is_first(&self) -> bool {
        *self == Self::FIRST
    }
}

impl Default for Vocabulary {
    fn default() -> Self {
        Self::FIRST
    }
}

impl Event {
    /// The first that reads it.
    pub const fn vocabulary(&self) -> Vocabulary {
        match self {
            Self::NodesForgotten { .. } => Vocabulary(2),
            _ => Vocabulary::FIRST,
        }
    }
}

//! Segments whose time is over: every frame in them lies in a block, and every entry, those of the blocks too, under a
//! published checkpoint. Then a leaf says so, and when that is under a checkpoint as well, the file goes.

use std::collections::{BTreeMap, VecDeque};

use crate::leaf::{Position, Retired};
use crate::segment::OpenSession;
use crate::state::State;

/// Segments that ended and are not retired, the oldest first.
#[derive(Default)]
pub(crate) struct Retiring(VecDeque<Ended>);

struct Ended {
    end: Position,
    /// Of each session with frames that may lie in it alone: the sequence up to which blocks must hold them.
    wanted: BTreeMap<u64, u64>,
    /// How many entries the log had when blocks held all of it.
    covered: Option<u64>,
}

impl Retiring {
    /// A segment ended there, and these sessions were open or not wholly in blocks.
    pub(crate) fn push<'a>(&mut self, end: Position, open: impl IntoIterator<Item = &'a OpenSession>) {
        let wanted = open.into_iter().map(|open| (open.session, open.sequence)).collect();
        self.0.push_back(Ended { end, wanted, covered: None });
    }

    /// The oldest, if it may be retired now that so many entries are under a checkpoint; the same again until the state says
    /// that it is.
    pub(crate) fn next(&mut self, state: &State, checkpointed: u64) -> Option<Retired> {
        while self.0.pop_front_if(|oldest| oldest.end.segment < state.first).is_some() {}
        let oldest = self.0.front_mut()?;
        let lies_there_alone = |session, sequence| state.open.get(&session).is_some_and(|open| open.covered < sequence);
        oldest.wanted.retain(|session, sequence| lies_there_alone(*session, *sequence));
        if !oldest.wanted.is_empty() {
            return None;
        }
        let covered = *oldest.covered.get_or_insert(state.tree.size());
        (checkpointed >= covered).then_some(Retired { end: oldest.end })
    }
}

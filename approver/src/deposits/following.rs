//! How a reader follows the journal: in order, with a cursor in the directory, and past what cannot be done yet. What is left
//! over is remembered here and tried again; the cursor stands before the first of it, so a restart finds all of it again.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use policies::events::Event;
use policies::ids::SessionId;

use super::{BrokenOff, Depositor};
use crate::blobs::BlobFault;
use crate::journal::Entry;

/// So much is remembered as left over; what comes behind it waits in the journal.
const LEFT_MAX: usize = 10_000;
/// A pass ends after so long, so that logs are brought, room is made and what waits is counted although much is left.
const PASS_MAX: Duration = Duration::from_secs(60);
/// A recording at which the bucket said nothing so often, one time after the other, is at fault itself where the bucket answers
/// otherwise.
pub(super) const UNHEARD_MAX: u32 = 3;
/// After so many that the bucket refuses, one after the other, it is taken to refuse them all for now.
const REFUSED_MAX: usize = 3;

/// The readers of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Depositing,
    Removing,
    Erasing,
}

impl Reader {
    pub(super) const ALL: [Self; 3] = [Self::Depositing, Self::Removing, Self::Erasing];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Depositing => "deposits",
            Self::Removing => "deposits-removed",
            Self::Erasing => "deposits-erased",
        }
    }
}

/// What an entry of the journal says of a recording of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Ended,
    KeptOtherwise,
    Erased,
}

/// The same, and of which.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matter {
    /// Which entry.
    pub(super) index: u64,
    pub(super) what: What,
    pub(super) session: SessionId,
    pub(super) at: Timestamp,
}

/// What became of a matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// Nothing is left to do.
    All,
    /// Something is, later.
    NotYet,
    /// Something is, later, and of all that comes after it, too.
    NorAfter,
}

/// How far a reader came.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// The next entry; none where the directory knows.
    next: Option<u64>,
    /// The cursor as the directory has it.
    cursor: u64,
    /// What is left over, by its entry.
    left: BTreeMap<u64, Matter>,
    /// Which of that is first in turn: those that are refused each time keep no others from theirs.
    turn: u64,
}

impl Followed {
    /// Entries from here on were not read yet.
    pub(super) const fn next(&self) -> Option<u64> {
        self.next
    }

    pub(super) fn left(&self) -> impl Iterator<Item = &Matter> {
        self.left.values()
    }

    fn left_in_turn(&self) -> Vec<(u64, Matter)> {
        let (before, on) = (self.left.range(..self.turn), self.left.range(self.turn..));
        on.chain(before).map(|(index, matter)| (*index, *matter)).collect()
    }
}

/// One pass: what went wrong with single recordings, of which the first is told in the end.
#[derive(Default)]
struct Pass {
    first: Option<BrokenOff>,
    refused: usize,
}

impl Pass {
    const fn is_refused(&self) -> bool {
        self.refused >= REFUSED_MAX
    }

    /// What went wrong where that is no single recording's.
    fn take(&mut self, done: Result<Done, BrokenOff>, matter: Matter, is_new: bool) -> Result<Done, BrokenOff> {
        let fault = match done {
            Ok(done) => {
                self.refused = 0;
                return Ok(done);
            }
            Err(fault) => fault,
        };
        let is_refused = matches!(fault, BrokenOff::Blob(BlobFault::Refused { .. } | BlobFault::Here(_)));
        self.refused += usize::from(is_refused);
        let is_ones = match fault {
            BrokenOff::Blob(BlobFault::Differs { .. })
            | BrokenOff::Files(..)
            | BrokenOff::Copy(_)
            | BrokenOff::Unheard(..)
            | BrokenOff::Unsettled(..) => true,
            _ => is_refused,
        };
        if !is_ones {
            return Err(fault);
        }
        if is_new {
            tracing::warn!(session = %matter.session, %fault, "a recording is stepped over, and tried again later");
        }
        self.first.get_or_insert(fault);
        Ok(Done::NotYet)
    }
}

impl Depositor {
    /// Lets a reader go on: first with what it left over, then up to an entry at most.
    pub(super) async fn follow(&mut self, reader: Reader, until: u64) -> Result<(), BrokenOff> {
        let mut followed = std::mem::take(&mut self.progress.followed[reader as usize]);
        let done = self.go_on(reader, &mut followed, until).await;
        self.progress.followed[reader as usize] = followed;
        done
    }

    /// Does what is left to do about a matter. Where the bucket answers, and never when it comes to this recording, that is told
    /// apart from a bucket that cannot be had.
    async fn attempt(&mut self, reader: Reader, matter: Matter) -> Result<Done, BrokenOff> {
        let done = self.carry_out(reader, matter).await;
        let Err(BrokenOff::Blob(BlobFault::Unreachable(why))) = done else {
            self.progress.unheard = self.progress.unheard.filter(|(of, at, _)| (*of, *at) != (reader, matter.session));
            return done;
        };
        let before = self.progress.unheard.filter(|(of, at, _)| (*of, *at) == (reader, matter.session));
        let times = before.map_or(0, |(.., times)| times) + 1;
        self.progress.unheard = Some((reader, matter.session, times));
        if times >= UNHEARD_MAX && self.bucket.check().await.is_ok() {
            return Err(BrokenOff::Unheard(matter.session, why));
        }
        Err(BlobFault::Unreachable(why).into())
    }

    async fn go_on(&mut self, reader: Reader, followed: &mut Followed, until: u64) -> Result<(), BrokenOff> {
        let name = self.cursor(reader);
        let clock = self.desk.clock().clone();
        let began = clock.boot();
        let is_over = || clock.boot().since(began) >= PASS_MAX;
        let mut next = match followed.next {
            Some(next) => next,
            None => {
                followed.cursor = self.desk.directory().cursor(&name).await?;
                followed.cursor
            }
        };
        followed.next = Some(next);
        let mut pass = Pass::default();
        for (index, matter) in followed.left_in_turn() {
            let done = self.attempt(reader, matter).await;
            let done = pass.take(done, matter, false);
            if !matches!(done, Ok(Done::NorAfter)) {
                followed.turn = index + 1;
            }
            match done? {
                Done::All => drop(followed.left.remove(&index)),
                Done::NotYet => {}
                Done::NorAfter => break,
            }
            self.remember(&name, followed).await?;
            if pass.is_refused() || is_over() {
                break;
            }
        }
        pass.refused = 0;
        'reading: while next < until && followed.left.len() < LEFT_MAX && !is_over() {
            let entries = self.desk.entries(next).await?;
            if entries.is_empty() {
                break;
            }
            for entry in entries.into_iter().take_while(|entry| entry.index < until) {
                if let Some(matter) = self.matter(&entry) {
                    let done = self.attempt(reader, matter).await;
                    match pass.take(done, matter, true)? {
                        Done::All => {}
                        Done::NotYet => drop(followed.left.insert(entry.index, matter)),
                        Done::NorAfter => break 'reading,
                    }
                    followed.next = Some(entry.index + 1);
                    self.remember(&name, followed).await?;
                }
                next = entry.index + 1;
                followed.next = Some(next);
                if followed.left.len() >= LEFT_MAX || pass.is_refused() || is_over() {
                    break 'reading;
                }
            }
        }
        self.remember(&name, followed).await?;
        self.progress.is_soon |= is_over();
        pass.first.map_or(Ok(()), Err)
    }

    async fn remember(&self, name: &str, followed: &mut Followed) -> Result<(), BrokenOff> {
        let first_left = followed.left.keys().next().copied();
        let Some(cursor) = first_left.or(followed.next).filter(|cursor| *cursor != followed.cursor) else {
            return Ok(());
        };
        self.desk.directory().set_cursor(name, cursor).await?;
        followed.cursor = cursor;
        Ok(())
    }

    /// Of another bucket or place nothing is known by the same name.
    pub(super) fn cursor(&self, reader: Reader) -> String {
        format!("{}/{}", reader.as_str(), self.cursors())
    }

    /// What the entry says of a recording of this node, where it says something.
    pub(super) fn matter(&self, entry: &Entry) -> Option<Matter> {
        let (what, session) = match &entry.event {
            Event::Ended { session, .. } => (What::Ended, *session),
            Event::Held { session, .. } | Event::Released { session, .. } => (What::KeptOtherwise, *session),
            Event::Erased { session, .. } => (What::Erased, *session),
            _ => return None,
        };
        let is_ours = self.desk.with_state(|state| {
            let facts = state.sessions.get(&session);
            facts.is_some_and(|facts| facts.node == *self.desk.node())
        });
        is_ours.then_some(Matter { index: entry.index, what, session, at: entry.at })
    }
}

//! What was read of the journal: the state, its head, the roots a signer may have seen, and when each running grant
//! ends on the clock that is never set.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use policies::digest::Digest;
use policies::events::Event;
use policies::ids::{CutId, RequestId};
use policies::plant::Then;
use policies::requests::SeenHead;
use policies::state::{RequestStanding, State};
use recordings::tree::Tree;

use super::Fault;
use crate::clock::Boot;
use crate::journal::{Entry, Head, Journal, ReadError};
use crate::lease::Deadline;

/// Heads a statement may name. Statements live for minutes; who signed over an older head looks again.
const ROOTS_KEPT: usize = 16_384;

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) wall: Timestamp,
    pub(super) boot: Boot,
}

impl Now {
    /// When `wall` will be on the other clock, if nobody sets anything.
    pub(super) fn boot_at(&self, wall: Timestamp) -> Boot {
        self.boot.moved(wall.duration_since(self.wall))
    }
}

/// The deadlines of one grant, fixed on the boot clock when they became known, so that setting the wall clock back
/// extends nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct GrantClock {
    /// None before the first connection.
    pub(super) deadline: Option<Deadline>,
    pub(super) widened: Vec<Deadline>,
    /// When it became known that nobody accepted it, where its rule ends it then.
    pub(super) not_accepted: Option<Boot>,
}

/// The journal, folded.
pub(super) struct Fold {
    pub(super) state: State,
    pub(super) head: Head,
    pub(super) grants: BTreeMap<RequestId, GrantClock>,
    /// Every cut that ever was in the journal, reopened ones too.
    pub(super) cuts: BTreeSet<CutId>,
    /// Why folding stopped.
    pub(super) unknown: Option<String>,
    roots: VecDeque<SeenHead>,
    tree: Tree,
}

impl Fold {
    fn empty() -> Self {
        let mut fold = Self {
            state: State::default(),
            head: Head::empty(),
            grants: BTreeMap::new(),
            cuts: BTreeSet::new(),
            unknown: None,
            roots: VecDeque::new(),
            tree: Tree::default(),
        };
        fold.remember_root();
        fold
    }

    /// Folds all of a journal, up to the first event that is not known.
    pub(super) async fn read_all(journal: &dyn Journal, now: Now) -> Result<Self, ReadError> {
        let (mut fold, mut tries) = (Self::empty(), super::TRIES);
        let mut read = journal.read_next(0).await;
        while tries > 0 {
            match read {
                Ok(entries) => {
                    let head = journal.head().await?;
                    let next = entries.last().map_or(fold.state.size, |last| last.index + 1);
                    // What comes next is read while this is folded.
                    let fold_these = async { fold.take_others(&entries, head, now) };
                    let (more, is_all) = futures::join!(journal.read_next(next), fold_these);
                    if is_all {
                        fold.check_root()?;
                        fold.forget_what_is_over();
                        return Ok(fold);
                    }
                    if entries.is_empty() {
                        tries -= 1;
                    }
                    read = more;
                }
                Err(unknown @ ReadError::Unknown { .. }) => {
                    tracing::error!(%unknown, "nobody is admitted until this program was upgraded");
                    fold.unknown = Some(unknown.to_string());
                    return Ok(fold);
                }
                Err(unavailable) => return Err(unavailable),
            }
        }
        Err(ReadError::Unavailable("it has another length each time it is read".into()))
    }

    /// Of all entries of a journal that nobody writes to.
    pub(super) fn of(entries: &[Entry], head: Head, now: Now) -> Result<Self, ReadError> {
        let mut fold = Self::empty();
        match fold.take_others(entries, head, now) {
            true => fold.check_root().map(|()| fold),
            false => Err(ReadError::Unavailable("it has another length than its entries say".into())),
        }
    }

    /// What was read makes up the head, or is not what the journal signed.
    fn check_root(&self) -> Result<(), ReadError> {
        match self.tree.size() == self.head.size && self.tree.root() != self.head.root {
            true => {
                Err(ReadError::Unavailable("its entries do not make up its head: `holdpoint verify` says which".into()))
            }
            false => Ok(()),
        }
    }

    /// Nothing is decided on a state that stopped before an unknown event.
    pub(super) fn check_known(&self) -> Result<(), Fault> {
        self.unknown.clone().map_or(Ok(()), |unknown| Err(Fault::UnknownEvent(unknown)))
    }

    /// Our own events, just appended.
    pub(super) fn take_own(&mut self, events: &[Event], at: Timestamp, head: Head, now: Now) {
        for event in events {
            self.apply(event, at, now);
        }
        if head.size != self.state.size {
            tracing::error!("the journal took an append after another head than it was given: nobody is admitted");
            self.unknown = Some(format!("entry {} was not written by this program", self.state.size));
        }
        // Of several entries only the last one's hash is known here; then the tree is left behind and heads tell the roots.
        if events.len() == 1 && self.tree.size() + 1 == head.size {
            self.tree.push(head.last);
        }
        self.head = head;
        self.remember_root();
    }

    /// Entries read from the journal, and its head after reading. Whether that is all there is.
    pub(super) fn take_others(&mut self, entries: &[Entry], head: Head, now: Now) -> bool {
        self.take(entries, head.size, now);
        let is_all = head.size == self.state.size;
        if is_all {
            self.head = head;
            self.remember_root();
        }
        is_all
    }

    /// Entries read from the journal, which may have more; what a statement signed now names stays what the journal last said where the
    /// tree of all entries is not at hand.
    pub(super) fn take_some(&mut self, entries: &[Entry], now: Now) {
        if let Some(last) = entries.last() {
            self.take(entries, last.index + 1, now);
        }
    }

    /// Of a journal of this size at least.
    fn take(&mut self, entries: &[Entry], size: u64, now: Now) {
        let folded = self.state.size;
        for entry in entries.iter().filter(|entry| entry.index >= folded) {
            self.apply(&entry.event, entry.at, now);
            if self.tree.size() != entry.index {
                continue;
            }
            self.tree.push(entry.leaf);
            // Most roots of a long journal are too old to be named.
            if size.saturating_sub(entry.index) <= ROOTS_KEPT as u64 {
                self.head = self.head_at(entry.leaf);
                self.remember_root();
            }
        }
        if let Some(last) = entries.last().filter(|last| self.tree.size() == last.index + 1) {
            self.head = self.head_at(last.leaf);
        }
    }

    fn head_at(&self, last: [u8; 32]) -> Head {
        Head { size: self.tree.size(), last, root: self.tree.root() }
    }

    /// A grant that was over before the journal's newest entry needs no clock: nobody is let in before that time
    /// ([`Refusal::ClockBehind`](policies::refusals::Refusal::ClockBehind)).
    fn forget_what_is_over(&mut self) {
        let Self { grants, state, .. } = self;
        grants.retain(|id, _| {
            let case = state.cases.get(id).filter(|case| case.standing == RequestStanding::Granted);
            case.zip(state.newest).is_some_and(|(case, newest)| newest.duration_since(case.deadline) <= super::SLEW_MAX)
        });
    }

    fn remember_root(&mut self) {
        let seen = SeenHead { size: self.head.size, root: Digest(self.head.root) };
        if self.roots.back() != Some(&seen) {
            self.roots.push_back(seen);
        }
        if self.roots.len() > ROOTS_KEPT {
            self.roots.pop_front();
        }
    }

    /// Whether the journal had exactly this root at this size.
    pub(super) fn had(&self, seen: &SeenHead) -> bool {
        self.roots.binary_search_by_key(&seen.size, |known| known.size).is_ok_and(|at| self.roots[at] == *seen)
    }

    fn apply(&mut self, event: &Event, at: Timestamp, now: Now) {
        self.state.apply(event, at);
        match event {
            Event::Started { request, deadline, .. } => {
                let clock = self.grants.entry(*request).or_default();
                clock.deadline.get_or_insert(Deadline { boot: now.boot_at(*deadline), wall: *deadline });
            }
            Event::Extended { request, deadline, .. } => {
                let running = self.grants.get_mut(request).and_then(|clock| clock.deadline.as_mut());
                if let Some(running) = running {
                    let by = deadline.duration_since(running.wall);
                    *running = Deadline { boot: running.boot.moved(by), wall: *deadline };
                }
            }
            Event::Widened { request, until, .. } => {
                let clock = self.grants.entry(*request).or_default();
                clock.widened.push(Deadline { boot: now.boot_at(*until), wall: *until });
            }
            Event::NotAccepted { request, then: Then::End } => {
                self.grants.entry(*request).or_default().not_accepted = Some(now.boot);
            }
            Event::Cut { cut, .. } => {
                self.cuts.insert(*cut);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::memory::MemoryJournal;

    #[tokio::test]
    async fn what_a_statement_names_is_a_head_that_was_however_much_was_read() {
        let (at, journal) = (Timestamp::UNIX_EPOCH, MemoryJournal::new());
        let now = Now { wall: at, boot: crate::clock::Clock::turned().0.boot() };
        let event = Event::NodeStopped { node: crate::testing::node() };
        let append = async |after: Head| journal.append(after, std::slice::from_ref(&event), at).await.unwrap();
        let mut fold = Fold::read_all(&journal, now).await.unwrap();
        let names_one_that_was =
            |fold: &Fold| fold.had(&SeenHead { size: fold.head.size, root: Digest(fold.head.root) });
        // Of several at once the tree of all entries is not at hand any more.
        let ours = [event.clone(), event.clone()];
        let head = journal.append(fold.head, &ours, at).await.unwrap();
        fold.take_own(&ours, at, head, now);
        let head = append(head).await;
        fold.take_some(&journal.read(2).await.unwrap(), now);
        assert_eq!(fold.state.size, 3);
        assert!(names_one_that_was(&fold), "{:?}", fold.head);
        // More came while it was read.
        let (read, head) = (journal.read(2).await.unwrap(), append(head).await);
        assert!(!fold.take_others(&read, head, now));
        assert!(names_one_that_was(&fold), "{:?}", fold.head);
        assert!(fold.take_others(&journal.read(3).await.unwrap(), head, now));
        assert!(fold.head == head && names_one_that_was(&fold));
    }
}

//! Facts that happened whether or not the journal takes them: endings, cuts, freezes, ends of watching and escorting. They wait here, in order,
//! until it does. What a node that is up could not read waits for that node, and of the rest only what has to come behind it.

use std::collections::{BTreeSet, VecDeque};

use policies::decide::Command;
use policies::digest::Digest;
use policies::events::{CutBy, Ending, EscortEnd, Scope};
use policies::ids::{CutId, PersonId, SessionId};
use policies::refusals::Refusal;

use super::cutting::cut_command;
use super::{Alarm, Inner, Rejected, lock};
use crate::cuts::KeptCut;

/// So many may wait: each session ends once, and far fewer run at a time.
const LATE_MAX: usize = 8192;

/// A fact that waits to be journaled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Late {
    End { session: SessionId, ending: Ending, seal: Option<Digest> },
    Cut(KeptCut),
    Freeze { session: SessionId, by: PersonId },
    Disconnect { session: SessionId, by: PersonId },
    EndWatch { session: SessionId, by: PersonId },
    EndEscort { session: SessionId, by: PersonId, why: EscortEnd },
}

impl Late {
    fn command(&self) -> Command {
        match self {
            Self::End { session, ending, seal } => {
                Command::End { session: *session, ending: ending.clone(), seal: *seal }
            }
            Self::Cut(kept) => cut_command(kept, kept.by.clone()),
            Self::Freeze { session, by } => Command::Freeze { session: *session, by: *by },
            Self::Disconnect { session, by } => Command::Disconnect { session: *session, by: *by },
            Self::EndWatch { session, by } => Command::EndWatch { session: *session, by: *by },
            Self::EndEscort { session, by, why } => Command::EndEscort { session: *session, by: *by, why: *why },
        }
    }

    /// Whose order it keeps: once a session's end is in the journal, nothing else of it is taken.
    fn session(&self) -> Option<SessionId> {
        match self {
            Self::Cut(KeptCut { scope: Scope::Session(session), .. })
            | Self::End { session, .. }
            | Self::Freeze { session, .. }
            | Self::Disconnect { session, .. }
            | Self::EndWatch { session, .. }
            | Self::EndEscort { session, .. } => Some(*session),
            Self::Cut(_) => None,
        }
    }

    /// The cut that it is, or that ended it: a cut comes before what it ended.
    fn cut(&self) -> Option<CutId> {
        match self {
            Self::Cut(KeptCut { cut, .. }) | Self::End { ending: Ending::Cut { cut }, .. } => Some(*cut),
            _ => None,
        }
    }
}

#[derive(Default)]
pub(super) struct Spool {
    waiting: VecDeque<Late>,
    pub(super) lost: u64,
}

impl Spool {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a session's end is among what waits.
    pub(super) fn ends(&self, id: SessionId) -> bool {
        self.waiting.iter().any(|late| matches!(late, Late::End { session, .. } if *session == id))
    }
}

/// One way through all that waits, past what has to go on waiting.
#[derive(Default)]
struct Pass {
    /// How many it has passed.
    passed: usize,
    sessions: BTreeSet<SessionId>,
    cuts: BTreeSet<CutId>,
}

impl Pass {
    /// The next that has to come behind none of those which it has passed.
    fn next(&mut self, spool: &Spool) -> Option<Late> {
        loop {
            let late = spool.waiting.get(self.passed)?;
            let follows = late.session().is_some_and(|session| self.sessions.contains(&session))
                || late.cut().is_some_and(|cut| self.cuts.contains(&cut));
            if !follows {
                return Some(late.clone());
            }
            self.pass(late);
        }
    }

    /// The next one goes on waiting.
    fn pass(&mut self, late: &Late) {
        self.passed += 1;
        self.sessions.extend(late.session());
        self.cuts.extend(late.cut());
    }

    /// The next one waits no more.
    fn take_out(&self, spool: &mut Spool) {
        drop(spool.waiting.remove(self.passed));
    }
}

impl Inner {
    /// Puts a fact in line for the journal.
    pub(super) fn later(&self, late: Late) {
        let mut spool = lock(&self.spool);
        if spool.waiting.len() < LATE_MAX {
            spool.waiting.push_back(late);
        } else {
            spool.lost += 1;
            tracing::error!(?late, "a fact could not be journaled and is forgotten: too many wait already");
            if let Late::End { session, .. } = late {
                self.alarm(Alarm::EndingLost(session));
            }
        }
        self.late_came.notify_one();
    }

    /// Journals what waits, in order, as far as the journal answers.
    pub(super) async fn flush_late(&self) {
        let _one = self.flushing.lock().await;
        let mut pass = Pass::default();
        loop {
            let Some(late) = pass.next(&lock(&self.spool)) else { return };
            match self.journal_late(&late).await {
                Ok(()) => pass.take_out(&mut lock(&self.spool)),
                Err(Rejected::Fault(fault)) => {
                    tracing::debug!(%fault, "facts wait for the journal");
                    return;
                }
                Err(rejected) => {
                    tracing::debug!(%rejected, "a fact waits");
                    pass.pass(&late);
                }
            }
        }
    }

    async fn journal_late(&self, late: &Late) -> Result<(), Rejected> {
        match (self.act(late.command()).await, late) {
            (Err(waits @ (Rejected::Fault(_) | Rejected::Refusal(Refusal::OlderNode(_)))), _) => Err(waits),
            // Who cut may be out by now; the cut stands all the same.
            (Err(_), Late::Cut(kept)) => self.act(cut_command(kept, CutBy::Local)).await.map(|_| ()),
            // Others took it for ended meanwhile, and the journal vouches for what this node sealed all the same.
            (Err(_), Late::End { seal: Some(_), .. }) => self.vouch_now().await,
            (Err(rejected), late) => {
                tracing::debug!(?late, %rejected, "a late fact is one already");
                Ok(())
            }
            (Ok(_), Late::Freeze { session, .. }) => {
                self.leave_to_the_journal(*session);
                Ok(())
            }
            (Ok(_), Late::Disconnect { session, .. }) => {
                self.has_journaled_closing(*session);
                Ok(())
            }
            (Ok(_), _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use ulid::Ulid;

    use super::*;

    fn session(of: u128) -> SessionId {
        SessionId::new(Ulid(of))
    }

    fn freeze(of: u128) -> Late {
        Late::Freeze { session: session(of), by: PersonId::new(Ulid(9)) }
    }

    fn ends(of: u128, ending: Ending) -> Late {
        Late::End { session: session(of), ending, seal: None }
    }

    fn cuts(of: u128, scope: Scope) -> Late {
        Late::Cut(KeptCut { cut: CutId::new(Ulid(of)), scope, by: CutBy::Local, at: Timestamp::UNIX_EPOCH })
    }

    fn by_cut(of: u128) -> Ending {
        Ending::Cut { cut: CutId::new(Ulid(of)) }
    }

    /// What is journaled, by its place, where those at these places cannot be read by some node yet; and what waits then.
    fn journaled(waiting: &[Late], unreadable: &[usize]) -> (Vec<usize>, usize) {
        let place = |late: &Late| waiting.iter().position(|known| known == late).unwrap();
        let mut spool = Spool { waiting: waiting.to_vec().into(), lost: 0 };
        let (mut pass, mut journaled) = (Pass::default(), Vec::new());
        while let Some(late) = pass.next(&spool) {
            let place = place(&late);
            if unreadable.contains(&place) {
                pass.pass(&late);
            } else {
                journaled.push(place);
                pass.take_out(&mut spool);
            }
        }
        (journaled, spool.len())
    }

    #[test]
    fn what_an_older_node_cannot_read_holds_what_follows_of_its_session_and_nothing_else() {
        let waiting = [
            freeze(1),
            freeze(2),
            ends(1, Ending::Left),
            ends(2, Ending::Left),
            cuts(7, Scope::Plant),
            ends(3, by_cut(7)),
            cuts(8, Scope::Session(session(4))),
            ends(4, by_cut(8)),
        ];
        for (unreadable, written) in [
            (&[][..], &[0, 1, 2, 3, 4, 5, 6, 7][..]),
            (&[0], &[1, 3, 4, 5, 6, 7]),
            (&[2], &[0, 1, 3, 4, 5, 6, 7]),
            // What a cut ended waits for the cut.
            (&[4], &[0, 1, 2, 3, 6, 7]),
            (&[0, 6], &[1, 3, 4, 5]),
            (&[0, 1, 2, 3, 4, 5, 6, 7], &[]),
        ] {
            let (found, left) = journaled(&waiting, unreadable);
            assert_eq!((&found[..], left), (written, 8 - written.len()), "{unreadable:?}");
        }
    }

    #[test]
    fn what_follows_of_something_that_follows_waits_too() {
        // Its end waits for the cut, and so what is said of the session behind it.
        let waiting = [cuts(7, Scope::Plant), ends(3, by_cut(7)), freeze(3), freeze(4)];
        assert_eq!(journaled(&waiting, &[0]), (vec![3], 3));
    }
}

//! Facts that happened whether or not the journal takes them: endings, cuts, freezes, ends of watching and escorting. They wait here, in order,
//! until it does.

use std::collections::VecDeque;

use policies::decide::Command;
use policies::digest::Digest;
use policies::events::{CutBy, Ending, EscortEnd};
use policies::ids::{PersonId, SessionId};
use policies::refusals::Refusal;

use super::cutting::cut_command;
use super::{Alarm, Inner, Rejected, lock};
use crate::cuts::KeptCut;

/// So many may wait: each session ends once, and far fewer run at a time.
const LATE_MAX: usize = 8192;

/// A fact that waits to be journaled.
#[derive(Debug, Clone)]
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

    /// Journals what waits, in order, up to the first that the journal does not take.
    pub(super) async fn flush_late(&self) {
        let _one = self.flushing.lock().await;
        loop {
            let Some(late) = lock(&self.spool).waiting.front().cloned() else { return };
            if let Err(fault) = self.journal_late(&late).await {
                tracing::debug!(%fault, "facts wait for the journal");
                return;
            }
            lock(&self.spool).waiting.pop_front();
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

//! What an operator does to what runs: cut, freeze, watch, escort. Taking away acts first, here and now, and is recorded when it
//! can be; giving back is recorded first.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use policies::decide::Command;
use policies::events::{CutBy, Ending, EscortEnd, Event, Scope};
use policies::ids::{CutId, PersonId, SessionId};
use policies::plant::Escort;
use policies::refusals::Refusal;
use policies::requests::{Reopening, Signed, VerdictStatement};

use super::late::Late;
use super::seats::is_within;
use super::{Alarm, Desk, Inner, Rejected};
use crate::attendance::Gone;
use crate::clock::Boot;
use crate::cuts::KeptCut;
use crate::floor::Watch;
use crate::journal::Entry;
use crate::lease::Orders;
use crate::mint;

/// A journal that has not taken a cut by then counts as not answering, and the cut goes to the disk beside it.
const JOURNAL_WAIT: Duration = Duration::from_secs(2);

/// What a cut did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutDone {
    /// Which; it stands until it is reopened.
    pub cut: CutId,
    /// The sessions it ended here.
    pub sessions: Vec<SessionId>,
    /// How lasting it is.
    pub kept: Kept,
}

/// How lasting a cut is. It acts in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// In the journal.
    Journaled,
    /// In `data/cuts`, until the journal takes it.
    OnDisk,
    /// In this program's memory alone: neither journal nor disk took it.
    InMemory,
}

impl Desk {
    /// Ends what is in `scope`, at once, and keeps it out until reopened. When this first waits for anything, every
    /// session in scope has its ending and the floor has stopped it.
    ///
    /// # Errors
    /// Only where `by` is neither operator nor display; then nothing was cut.
    pub async fn cut(&self, by: CutBy, scope: Scope) -> Result<CutDone, Refusal> {
        let (kept, sessions) = self.0.cut_now(by, scope)?;
        let cut = kept.cut;
        let inner = self.0.clone();
        let kept = self.0.to_its_end(async move { inner.keep_cut(kept).await }).await.unwrap_or(Kept::InMemory);
        Ok(CutDone { cut, sessions, kept })
    }

    /// Lets back in what a cut keeps out. Recorded first.
    ///
    /// # Errors
    /// As [`act`](Self::act).
    pub async fn reopen(&self, reopening: Reopening, verdict: Signed<VerdictStatement>) -> Result<(), Rejected> {
        self.act(Command::Reopen { reopening, verdict }).await.map(|_| ())
    }

    /// Stops a session's input at once. Whether that could be journaled: where it runs at another node, that node stops it
    /// when it reads so in the journal.
    ///
    /// # Errors
    /// No operator, or no such session; or it runs at another node and the journal does not answer. Then nothing was stopped.
    pub async fn freeze(&self, session: SessionId, by: PersonId) -> Result<bool, Rejected> {
        Inner::operator(&self.0.fold(), by)?;
        let is_here = self.0.seats().places.get_mut(&session).map(|place| place.held = true).is_some();
        self.0.settle();
        match self.act(Command::Freeze { session, by }).await {
            Ok(_) => {
                self.0.leave_to_the_journal(session);
                Ok(true)
            }
            Err(rejected) if !is_here => Err(rejected),
            Err(rejected) => {
                tracing::warn!(%session, %rejected, "a freeze acts, and is not in the journal yet");
                self.0.later(Late::Freeze { session, by });
                Ok(false)
            }
        }
    }

    /// Closes a session's connections to its target, at once, and journals it afterwards. How many there were, and whether the
    /// journal took it. Where the session runs at another node, that node closes them when it reads so in the journal, and how
    /// many there are is not known here.
    ///
    /// # Errors
    /// As for [`freeze`](Self::freeze).
    pub async fn disconnect(&self, session: SessionId, by: PersonId) -> Result<(Option<usize>, bool), Rejected> {
        Inner::operator(&self.0.fold(), by)?;
        let is_here = self.0.seats().places.get_mut(&session).map(|place| place.closing += 1).is_some();
        let closed = is_here.then(|| self.0.floor.disconnect(session));
        match self.act(Command::Disconnect { session, by }).await {
            Ok(_) => {
                self.0.has_journaled_closing(session);
                Ok((closed, true))
            }
            Err(rejected) if !is_here => Err(rejected),
            Err(rejected) => {
                tracing::warn!(%session, %rejected, "connections were closed, and that is not in the journal yet");
                self.0.later(Late::Disconnect { session, by });
                Ok((closed, false))
            }
        }
    }

    /// Lets a session's input go on. Recorded first.
    ///
    /// # Errors
    /// As [`act`](Self::act).
    pub async fn thaw(&self, session: SessionId, by: PersonId) -> Result<(), Rejected> {
        // A freeze that waits for the journal comes before what takes it back.
        self.0.flush_late().await;
        self.act(Command::Thaw { session, by }).await?;
        self.0.leave_to_the_journal(session);
        self.0.settle();
        Ok(())
    }

    /// Watches a session. That somebody watches is recorded first; where the journal does not answer, an operator
    /// sees all the same. No escort's duty is met by it: see [`escort`](Self::escort).
    ///
    /// # Errors
    /// No operator, or no such live session here.
    pub async fn watch(&self, session: SessionId, by: PersonId) -> Result<Watching, Rejected> {
        Inner::operator(&self.0.fold(), by)?;
        let watch = self.0.floor.watch(session).ok_or(Refusal::NoSuchSession)?;
        let is_first = self.0.seats().attendance.entry(session).or_default().come(by);
        let presence = Presence { desk: self.0.clone(), session, by };
        if is_first {
            match self.act(Command::Watch { session, by }).await {
                Ok(_) => {}
                Err(Rejected::Fault(fault)) => tracing::warn!(%session, %fault, "watching could not be journaled"),
                Err(refused) => return Err(refused),
            }
        }
        self.0.settle();
        Ok(Watching { watch, _presence: presence })
    }

    /// An operator who watches says that they are there. That counts for the rule's `escort_tap` from now, as long as they
    /// watch; the first word is recorded before it counts, later ones are not. Until when it counts.
    ///
    /// # Errors
    /// They do not watch here, the rule demands no escort, or the journal did not take that they escort: then they do not.
    pub async fn escort(&self, session: SessionId, by: PersonId) -> Result<Boot, Rejected> {
        let inner = self.0.clone();
        self.0.to_its_end(async move { inner.escort(session, by).await }).await?
    }

    /// What is said about a lease that was given here, as it changes; none where there is none.
    pub fn orders(&self, session: SessionId) -> Option<Orders> {
        let seats = self.0.seats();
        let orders = seats.places.get(&session)?.orders.subscribe();
        Some(Orders::new(orders))
    }
}

/// Somebody watches; leaving is dropping it.
pub struct Watching {
    /// What they see.
    pub watch: Watch,
    _presence: Presence,
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watching")
    }
}

struct Presence {
    desk: Arc<Inner>,
    session: SessionId,
    by: PersonId,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let (session, by) = (self.session, self.by);
        let gone = {
            let mut seats = self.desk.seats();
            let gone = seats.attendance.get_mut(&session).map_or(Gone::NotYet, |here| here.go(by));
            seats.attendance.retain(|_, here| !here.is_empty());
            gone
        };
        if gone == Gone::NotYet {
            return;
        }
        self.desk.settle();
        if matches!(gone, Gone::Escort | Gone::Escorting) {
            self.desk.later(Late::EndEscort { session, by, why: EscortEnd::Left });
        }
        if matches!(gone, Gone::Escort | Gone::Watcher) {
            self.desk.later(Late::EndWatch { session, by });
        }
    }
}

impl Inner {
    /// What operators did at other nodes to connections of this one's sessions. A freeze needs nothing: orders follow from what
    /// stands.
    pub(super) fn do_as_others_said(&self, entries: &[Entry]) {
        for entry in entries {
            let Event::Disconnected { session, .. } = entry.event else { continue };
            let is_theirs = self.seats().places.contains_key(&session) && !self.has_journaled_closing(session);
            if is_theirs {
                self.floor.disconnect(session);
            }
        }
    }

    /// From now on the journal alone says whether its input is stopped, so that whoever lets it go on, here or elsewhere, does.
    pub(super) fn leave_to_the_journal(&self, session: SessionId) {
        if let Some(place) = self.seats().places.get_mut(&session) {
            place.held = false;
        }
    }

    /// Connections were closed here, and now the journal says so; `false` where none were.
    pub(super) fn has_journaled_closing(&self, session: SessionId) -> bool {
        let mut seats = self.seats();
        let Some(place) = seats.places.get_mut(&session).filter(|place| place.closing > 0) else { return false };
        place.closing -= 1;
        true
    }

    async fn escort(&self, session: SessionId, by: PersonId) -> Result<Boot, Rejected> {
        let counts = self.escort_counts(session, by)?;
        let now = self.clock.boot();
        self.settle();
        if !self.stays(session, by, now, counts) {
            // What ended before is recorded before, or it would end this one.
            self.flush_late().await;
            self.act(Command::Escort { session, by }).await?;
            let begun = self.seats().attendance.get_mut(&session).map(|here| here.begin(by, now, counts));
            if begun != Some(Ok(())) {
                self.later(Late::EndEscort { session, by, why: EscortEnd::Left });
                return Err(Refusal::NotWatching.into());
            }
        }
        self.settle();
        self.time_moved.notify_one();
        Ok(now.after(counts))
    }

    /// How long an operator's word that they are there counts, where it may be given at all.
    fn escort_counts(&self, session: SessionId, by: PersonId) -> Result<Duration, Refusal> {
        let fold = self.fold();
        Self::operator(&fold, by)?;
        let facts = fold.state.sessions.get(&session).filter(|facts| facts.ended.is_none());
        let case = facts.and_then(|facts| fold.state.cases.get(&facts.request)).ok_or(Refusal::NoSuchSession)?;
        if case.rule.escort != Escort::Required {
            return Err(Refusal::NoEscortWanted);
        }
        let seats = self.seats();
        let watches = seats.attendance.get(&session).is_some_and(|here| here.is_watched_by(by));
        if watches { Ok(case.rule.escort_tap.duration()) } else { Err(Refusal::NotWatching) }
    }

    /// Whether somebody who escorts, as the journal knows, says so again in time.
    fn stays(&self, session: SessionId, by: PersonId, now: Boot, counts: Duration) -> bool {
        let is_journaled = {
            let fold = self.fold();
            fold.state.sessions.get(&session).is_some_and(|facts| facts.escorts.contains(&by))
        };
        is_journaled && self.seats().attendance.get_mut(&session).is_some_and(|here| here.stay(by, now, counts))
    }

    /// All of a cut that matters: in memory, on this thread, without waiting for anything.
    fn cut_now(&self, by: CutBy, scope: Scope) -> Result<(KeptCut, Vec<SessionId>), Refusal> {
        self.fold().state.may_cut(&by)?;
        let at = self.clock.wall();
        let kept = KeptCut { cut: mint::cut(at), scope, by, at };
        let sessions = self.block(&kept);
        Ok((kept, sessions))
    }

    /// Blocks a cut's scope and ends every session in it, those too that are ending already and may be stuck in it.
    pub(super) fn block(&self, kept: &KeptCut) -> Vec<SessionId> {
        let sessions: Vec<SessionId> = {
            let fold = self.fold();
            let mut seats = self.seats();
            seats.blocks.insert(kept.cut, kept.scope.clone());
            let places = seats.places.iter().filter(|(session, place)| match &kept.scope {
                Scope::Session(other) => other == *session,
                wider => is_within(&fold.state, wider, place.technician, &place.target),
            });
            places.map(|(session, _)| *session).collect()
        };
        self.settle();
        let ending = Ending::Cut { cut: kept.cut };
        self.floor.cut(&sessions, &ending);
        tracing::warn!(cut = %kept.cut, sessions = sessions.len(), "cut");
        sessions
    }

    /// Journals a cut, else puts it on the disk and tries the journal again later.
    async fn keep_cut(&self, kept: KeptCut) -> Kept {
        let journaled = tokio::time::timeout(JOURNAL_WAIT, self.act(cut_command(&kept, kept.by.clone()))).await;
        let cause = match journaled {
            Ok(Ok(_)) => return Kept::Journaled,
            Ok(Err(rejected)) => format!("{rejected:?}"),
            Err(_) => "no answer in time".to_owned(),
        };
        let (file, cut) = (self.cuts.clone(), kept.clone());
        let added = tokio::task::spawn_blocking(move || file.add(&cut)).await.map_err(std::io::Error::other);
        let added = added.and_then(|added| added);
        tracing::error!(cut = %kept.cut, cause, on_disk = added.is_ok(), "a cut acts, and could not be journaled");
        self.alarm(Alarm::CutNotJournaled { cut: kept.cut, on_disk: added.is_ok() });
        self.later(Late::Cut(kept));
        if added.is_ok() { Kept::OnDisk } else { Kept::InMemory }
    }

    /// Cuts found in `data/cuts` that the journal does not have: they block from here on, and are journaled when it can be, before what
    /// they end.
    pub(super) fn take_kept_cuts(&self, mut kept: Vec<KeptCut>) -> Vec<KeptCut> {
        kept.retain(|kept| {
            let is_known = self.fold().cuts.contains(&kept.cut) || self.seats().blocks.contains_key(&kept.cut);
            if !is_known {
                self.later(Late::Cut(kept.clone()));
                self.block(kept);
            }
            !is_known
        });
        kept
    }

    /// Tries to journal one of them before all else that is late: other nodes read of it there.
    pub(super) async fn journal_kept_cut(&self, kept: KeptCut) {
        if let Err(rejected) = self.act(cut_command(&kept, kept.by.clone())).await {
            tracing::debug!(cut = %kept.cut, %rejected, "a cut waits for the journal");
        }
    }
}

pub(super) fn cut_command(kept: &KeptCut, by: CutBy) -> Command {
    Command::Cut { cut: kept.cut, scope: kept.scope.clone(), by, at: kept.at }
}

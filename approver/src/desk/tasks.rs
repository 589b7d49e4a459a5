//! What the Desk does by itself: it follows the journal, keeps time for the leases, journals what is late, and looks for
//! cuts made at the machine. Each is one loop, in the Desk's tracker, and ends with it.

use std::sync::Arc;
use std::time::Duration;

use policies::decide::Command;
use policies::events::Ending;
use policies::ids::SessionId;

use super::hearing::silence_max;
use super::turns::Place;
use super::{Inner, Rejected, lock};

/// How often the journal is asked whether it is there. Well under the shortest staleness a rule may sensibly have.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A journal that has not answered by then does not.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How often what is late is tried again, and lapses are looked for.
const CLERK_EVERY: Duration = Duration::from_secs(5);
/// How often the file of cuts is looked at: `cut --local` acts within this.
const CUTS_EVERY: Duration = Duration::from_millis(250);

impl Inner {
    pub(super) fn start_tasks(self: &Arc<Self>) {
        let [follower, timekeeper, clerk, bookkeeper, lookout, voucher, speaker] = [(); 7].map(|()| self.clone());
        self.run(async move { follower.follow().await });
        self.run(async move { timekeeper.keep_time().await });
        self.run(async move { clerk.journal_what_is_late().await });
        self.run(async move { bookkeeper.keep_books().await });
        self.run(async move { lookout.look_for_cuts().await });
        self.run(async move { voucher.vouch().await });
        self.run(async move { speaker.speak_and_hear().await });
        let clock = self.clock.clone();
        self.run(async move { clock.watch_for_suspend().await });
    }

    fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move { stop.run_until_cancelled(task).await });
    }

    /// Reads what others append, and knows whether the journal answers.
    async fn follow(&self) {
        loop {
            let size = self.fold().head.size;
            tokio::select! {
                () = self.journal.changed(size) => {}
                () = self.clock.sleep(LOOK_EVERY) => {}
            }
            if self.fold().unknown.is_some() {
                // Only another program can read on from here.
                self.clock.sleep(LOOK_EVERY).await;
                continue;
            }
            let looked = tokio::time::timeout(ANSWER_WAIT, async {
                let _turn = self.turns.take(Place::Next).await;
                self.catch_up().await
            });
            match looked.await {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => {
                    tracing::debug!(%fault, "following the journal");
                    self.clock.sleep(LOOK_EVERY).await;
                }
                Err(_) => self.is_down("no answer in time"),
            }
        }
    }

    /// Changes orders when their time comes.
    async fn keep_time(&self) {
        loop {
            match self.settle() {
                Some(next) => tokio::select! {
                    () = self.clock.sleep_until(next) => {}
                    () = self.time_moved.notified() => {}
                },
                None => self.time_moved.notified().await,
            }
        }
    }

    /// Journals what is late: at once, whatever else is to be journaled, for a cut may be among it.
    async fn journal_what_is_late(&self) {
        if self.is_up.subscribe().wait_for(|is_up| *is_up).await.is_err() {
            return;
        }
        loop {
            self.flush_late().await;
            tokio::select! {
                () = self.clock.sleep(CLERK_EVERY) => {}
                () = self.late_came.notified() => {}
            }
        }
    }

    /// Journals what is lapsed, to be removed or presumed.
    async fn keep_books(&self) {
        if self.is_up.subscribe().wait_for(|is_up| *is_up).await.is_err() {
            return;
        }
        loop {
            self.sweep().await;
            self.come_back().await;
            self.presume_ended().await;
            self.clock.sleep(CLERK_EVERY).await;
        }
    }

    async fn sweep(&self) {
        let now = self.clock.wall();
        let is_over = {
            let fold = self.fold();
            let is_gone = fold.state.guests_gone(now).next().is_some();
            fold.state.open_cases().any(|(_, case)| case.has_lapsed(now)) || is_gone || fold.state.has_removals(now)
        };
        if is_over && let Err(rejected) = self.act(Command::Sweep).await {
            tracing::debug!(%rejected, "lapses and removals wait for the journal");
        }
        self.hand_over().await;
    }

    /// What nobody accepted in time, after a shift change.
    async fn hand_over(&self) {
        let due = {
            let fold = self.fold();
            lock(&self.handovers).look(&fold.state, self.now(&fold))
        };
        if !due.is_empty()
            && let Err(rejected) = self.act(Command::LeaveUnaccepted { due }).await
        {
            tracing::debug!(%rejected, "what nobody accepted waits for the journal");
        }
    }

    /// A session of this node whose start was journaled, and of which nobody here has heard for twice the staleness:
    /// its append was answered too late, so nothing was ever sent. And those of a node of which nothing was heard for as long.
    async fn presume_ended(&self) {
        for (session, ending) in self.unheard_of() {
            let command = Command::End { session, ending, seal: None };
            match self.act(command).await {
                Ok(_) => tracing::warn!(%session, "a session of which nothing is heard is presumed ended"),
                Err(Rejected::Fault(_)) => return,
                Err(rejected) => tracing::debug!(%session, %rejected, "presumed ended"),
            }
        }
    }

    fn unheard_of(&self) -> Vec<(SessionId, Ending)> {
        let now = self.clock.wall();
        let fold = self.fold();
        let (seats, spool, hearing) = (self.seats(), lock(&self.spool), lock(&self.hearing));
        let unheard = fold.state.live_sessions().filter_map(|(session, facts)| {
            let silence_max = silence_max(&fold.state, facts);
            // A node that is there again may begin a session before it is heard.
            if now.duration_since(facts.started).unsigned_abs() < silence_max {
                return None;
            }
            if facts.node == self.node {
                let is_held = seats.places.contains_key(&session) || spool.ends(session);
                (!is_held).then_some((session, Ending::Crashed))
            } else {
                let is_known = fold.state.nodes.contains_key(&facts.node);
                // One that was there before a restore runs no more, and never speaks.
                let silence =
                    if is_known { hearing.silence(&facts.node)? } else { hearing.heard_nothing_for(&facts.node) };
                (silence >= silence_max).then_some((session, Ending::Presumed))
            }
        });
        unheard.collect()
    }

    /// Takes up cuts that another program on this machine wrote down, and those of this one that the disk took late.
    async fn look_for_cuts(self: &Arc<Self>) {
        let mut seen = None;
        loop {
            let file = self.cuts.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let stamp = file.stamp()?;
                std::io::Result::Ok((stamp, if stamp == seen { Vec::new() } else { file.read()? }))
            });
            match looked.await.map_err(std::io::Error::other).and_then(|looked| looked) {
                Ok((stamp, kept)) => {
                    for kept in self.take_kept_cuts(kept) {
                        let inner = self.clone();
                        self.run(async move { inner.journal_kept_cut(kept).await });
                    }
                    seen = stamp;
                }
                Err(error) => tracing::error!(%error, "the file of cuts cannot be read"),
            }
            tokio::time::sleep(CUTS_EVERY).await;
        }
    }
}

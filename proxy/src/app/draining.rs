//! Waiting, before a stop, for those who are at work: nobody new is let in, each is told until when they may go on, and who has
//! not left by then is ended by the stop itself.

use std::collections::BTreeSet;
use std::time::Duration;

use approver::floor::Floor as _;
use jiff::SignedDuration;

use super::App;
use crate::session::texts;

/// Often enough that a stop is no slower than the last who leaves.
const LOOKED_AT: Duration = Duration::from_millis(200);

impl App {
    /// Waits until nobody is at work here any more, so long at most. May be dropped, and then nobody is let in all the same.
    pub async fn drain(&self, limit: Duration) {
        if limit.is_zero() {
            return;
        }
        let at = self.desk.clock().wall() + SignedDuration::try_from(limit).unwrap_or(SignedDuration::MAX);
        self.desk.restarts_at(at);
        tracing::info!(sessions = self.floor.count(), %at, "nobody is let in any more; waiting for those who are at work");
        if tokio::time::timeout(limit, self.all_have_left(at)).await.is_err() {
            tracing::info!(sessions = self.floor.count(), "the time is over: whoever is still at work is ended");
        }
    }

    /// Who was just being let in when that ended is told, too.
    async fn all_have_left(&self, at: jiff::Timestamp) {
        let text = self.desk.with_state(|state| texts::restarts(&state.clock(at)));
        let mut told = BTreeSet::new();
        loop {
            let live = self.floor.list();
            // Whoever was let in, but has not begun yet, has a lease.
            if live.is_empty() && self.desk.status().leases == 0 {
                return;
            }
            for one in live.iter().filter(|one| told.insert(one.session)) {
                // What was shown is in the recording; here nobody waits for it.
                drop(self.floor.write_to(one.session, &text));
            }
            self.desk.clock().sleep(LOOKED_AT).await;
        }
    }
}

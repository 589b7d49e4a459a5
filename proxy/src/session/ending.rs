//! How a session ends, whatever the reason: the target first, then the technician, who reads why, then the recording,
//! then the journal. The lease is given back at the very last.

use policies::digest::Digest;
use policies::events::Ending;
use recordings::notes::Note;

use super::Hold;
use super::channels::Closed;
use super::running::{CHANNELS_END_MAX, Running};
use crate::legs::Legs;
use crate::ssh::cut::cut;
use std::sync::Arc;
use std::time::Duration;

/// For the last lines to be taken by a client that reads.
const LAST_LINES_MAX: Duration = Duration::from_millis(100);
/// For a client to show what it took: OpenSSH shows nothing of what it reads together with a disconnect.
const SHOWN_WITHIN: Duration = Duration::from_millis(150);

impl Running {
    /// The sentence for an ending.
    pub(super) fn over(&self, ending: &Ending) -> String {
        self.place.over(ending)
    }

    /// Ends it: nothing reaches the target once this is polled, unless both sides went in peace. Gives the ending that
    /// counts, in a word.
    pub(super) async fn end(mut self, ending: Ending) -> &'static str {
        let ending = self.settle(ending);
        let word = ending.word();
        let words = self.over(&ending);
        let (legs, hold) = (Arc::clone(&self.presence.live.legs), self.line.hold.clone());
        if matches!(ending, Ending::Left | Ending::TargetClosed) {
            self.channels.leave_target().await;
        } else {
            self.channels.stop_target(matches!(ending, Ending::Cut { .. }));
            if let Ending::Cut { cut } = &ending {
                self.record(&Note::Cut { words: cut.to_string().as_str().into() });
            }
            self.record(&Note::Notice { text: words.clone() });
            match tokio::time::timeout(LAST_LINES_MAX, self.channels.last_line(&words)).await {
                Ok(true) => tokio::time::sleep(SHOWN_WITHIN).await,
                Ok(false) => {}
                Err(_) => tracing::debug!("a technician who reads nothing misses the last line"),
            }
            let_go(&legs, &hold, &words).await;
            self.report_cut();
        }
        self.let_channels_end().await;
        self.seal(ending).await;
        word
    }

    /// Tells the log how the promise was kept that is made about cuts.
    fn report_cut(&self) {
        const LAST_WRITE_MAX: Duration = Duration::from_millis(50);
        let legs = &self.presence.live.legs;
        let Some(cut_at) = legs.cut_at() else { return };
        let last_write = legs.written().at().map_or(Duration::ZERO, |at| at.saturating_duration_since(cut_at));
        let (session, closed) = (self.lease.session(), cut_at.elapsed());
        tracing::info!(%session, ?last_write, ?closed, "cut off: since then the last write to the target, and the technician's end");
        if last_write > LAST_WRITE_MAX {
            tracing::error!(%session, ?last_write, "bytes went to a target too long after the cut");
        }
    }

    /// Ends what never came to carrying anything: the technician is told by the face.
    pub(super) async fn undone(self, ending: Ending) {
        self.presence.live.legs.cut();
        let ending = self.settle(ending);
        self.seal(ending).await;
    }

    /// The first reason stays, here and for everybody who asks; what a severed connection looks like is the doing of whoever severed it.
    fn settle(&self, ending: Ending) -> Ending {
        let ending = match ending {
            Ending::Left | Ending::TargetClosed | Ending::TargetUnreachable | Ending::Overrun => {
                self.lease_is_over().unwrap_or(ending)
            }
            first => first,
        };
        let mut settled = ending.clone();
        self.presence.live.over.send_if_modified(|over| {
            settled = over.get_or_insert(ending).clone();
            true
        });
        settled
    }

    async fn let_channels_end(&mut self) {
        let all = async {
            while self.channels.count() > 0 {
                let Closed { accounts, .. } = self.channels.closed().await;
                self.accounts.extend(accounts);
            }
        };
        if tokio::time::timeout(CHANNELS_END_MAX, all).await.is_err() {
            tracing::error!(session = %self.lease.session(), "a channel did not end and is abandoned");
            self.channels.abandon().await;
        }
    }

    async fn seal(self, ending: Ending) {
        let Self { parts, lease, witness, presence, inbox, accounts, channels, notes, .. } = self;
        // Both hold the recorder too.
        drop((channels, notes));
        let session = lease.session();
        witness.seen().gallery().over(&ending);
        let sealed = match Arc::try_unwrap(witness) {
            Ok(witness) => witness.into_recorder().seal(&ending, accounts).await,
            Err(_) => {
                unreachable!("every channel has ended or was stopped, and only they and this task hold the recorder")
            }
        };
        let seal = match sealed {
            Ok(sealed) => Some(sealed.digest),
            Err(fault) => {
                tracing::error!(%session, %fault, "a recording could not be sealed; the next start seals it as crashed");
                None::<Digest>
            }
        };
        let lease = Arc::into_inner(lease).unwrap_or_else(|| {
            unreachable!("whoever connects to the target is a channel or this task, and every channel has ended")
        });
        parts.desk.end(lease, ending.clone(), seal).await;
        drop(presence);
        tracing::info!(%session, ending = ending.word(), "session ended");
        inbox.ended.send_replace(Some(ending));
    }
}

/// Ends what of the technician's connection ends with the session.
async fn let_go(legs: &Legs, hold: &Hold, words: &str) {
    /// For what the kernel still holds for a target that is hung up on, and for its answer.
    const HUNG_UP_WITHIN: Duration = Duration::from_millis(300);
    match hold {
        Hold::Connection { session, socket } => cut(legs, session, socket, words).await,
        Hold::Channels { .. } => {
            tokio::time::sleep(HUNG_UP_WITHIN).await;
            legs.cut();
        }
    }
}

//! The configuration and the keys, read anew while the program runs: what can change without ending a session changes, all of it or
//! nothing; of the rest of the configuration it is said by name that it waits for a restart.

use std::collections::BTreeSet;
use std::sync::Arc;

use certs::keys::KeyFault;
use certs::ring::RingName;

use super::telling::CannotTell;
use super::{App, telling};
use crate::config::Config;
use crate::settings::is_under;
use approver::desk::Rejected;
use approver::feed::receivers::Receiver;

/// The keys whose new values count at once.
const TAKEN: [&str; 4] = ["feed.file", "feed.syslog", "serve.drain", "store.recipients"];

/// Why nothing of a new configuration counts.
#[derive(Debug, thiserror::Error)]
pub enum NotReloaded {
    /// A receiver of the feed that could never be reached.
    #[error(transparent)]
    Telling(#[from] CannotTell),
    /// To whom recordings are encrypted could not be journaled.
    #[error("store.recipients: {0}")]
    Recipients(#[from] Rejected),
}

/// What became of a new configuration, by keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// These count from now on.
    pub taken: BTreeSet<String>,
    /// These count once the program was restarted.
    pub waiting: BTreeSet<String>,
}

impl App {
    /// Goes on under a new configuration, as far as that ends no session.
    ///
    /// # Errors
    /// What is wrong with it; then the one before counts.
    pub async fn reload(&mut self, new: Config) -> Result<Reloaded, NotReloaded> {
        let changed = self.config.settings.changed_in(&new.settings).into_iter();
        let (taken, waiting): (BTreeSet<String>, BTreeSet<String>) =
            changed.map(str::to_owned).partition(|key| is_under(key, &TAKEN));
        let changes = |of: &[&str]| taken.iter().any(|key| is_under(key, of));
        let receivers = telling::receivers(&new.feed, self.config.plant.origin.host())?;
        if changes(&["store.recipients"]) {
            // Before anything is encrypted to them, it is in the journal that it will be.
            self.desk.name_recipients(new.store.recipients().names()).await?;
            self.shared.recipients.send_replace(new.store.recipients());
            self.shared.recipient_names.send_replace(new.store.recipient_names());
        }
        self.replace_receivers(receivers).await;
        self.config.drain = new.drain;
        self.config.settings = self.config.settings.with(&new.settings, &TAKEN);
        self.shared.settings.send_replace(self.config.settings.shown(&waiting));
        Ok(Reloaded { taken, waiting })
    }

    /// Reads the gate's keys anew, and goes on with them: connections that begin from now on are shown the new ones, and none ends.
    /// Gives the names of those that changed. The disk may hang: the app can be used, and stopped, meanwhile.
    ///
    /// # Errors
    /// They cannot be read; then those before count.
    pub fn reload_keys(&self) -> impl Future<Output = Result<Vec<RingName>, KeyFault>> + Send + use<> {
        let (keys, turned) = (Arc::clone(&self.keys), self.shared.turned.clone());
        async move {
            let read = tokio::task::spawn_blocking(move || keys.reload());
            let changed = read.await.expect("reading keys does not panic")?;
            if changed.contains(&RingName::TlsCa) {
                turned.send_replace(());
            }
            Ok(changed)
        }
    }

    /// Whatever changed: what lies in the file behind a `ca` may be another.
    async fn replace_receivers(&mut self, receivers: Vec<Receiver>) {
        let (tracker, stop) = &self.last.receivers;
        stop.cancel();
        tracker.close();
        // No two bring it to one receiver.
        tracker.wait().await;
        self.feed.forget_other_receivers(&receivers.iter().map(|receiver| receiver.name.as_str()).collect());
        self.bring_feed_to(receivers);
    }
}

//! Complete logins, remembered for as long as a rule's `factor_lasts`: a further connection of the same key, from the
//! same address, under the same grant needs no code then. Kept in memory alone: after a restart everybody gives a code.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use approver::clock::{Boot, Clock};
use certs::proof::{Authenticated, RecentLogin, VerifiedKey};
use policies::ids::RequestId;
use policies::plant::Rule;
use policies::time::Seconds;
use russh::keys::ssh_key::Fingerprint;

/// The logins of one face.
pub(super) struct RecentLogins {
    clock: Clock,
    logins: Mutex<BTreeMap<(RequestId, Fingerprint, IpAddr), Recent>>,
}

struct Recent {
    login: RecentLogin,
    /// The wall clock may be set back; this one is not.
    at: Boot,
}

/// More than are ever in use; beyond it the oldest grants' are forgotten.
const RECENT_MAX: usize = 4096;

impl RecentLogins {
    pub(super) const fn new(clock: Clock) -> Self {
        Self { clock, logins: Mutex::new(BTreeMap::new()) }
    }

    /// Remembers a login under a grant, if it was a complete one.
    pub(super) fn remember(&self, login: &Authenticated, grant: RequestId) {
        let (Some(recent), Some(key)) = (RecentLogin::of(login, grant), login.key()) else { return };
        let since_then = self.clock.wall().duration_since(login.at());
        let at = self.clock.boot().moved(-since_then.max(jiff::SignedDuration::ZERO));
        let mut logins = self.logins();
        logins.insert((grant, key, login.source()), Recent { login: recent, at });
        let longest = Rule::DURATION_LIMIT.duration();
        let now = self.clock.boot();
        logins.retain(|_, recent| now.since(recent.at) < longest);
        while logins.len() > RECENT_MAX {
            logins.pop_first();
        }
    }

    /// The proof of whoever holds `key`, if a login of theirs still serves.
    pub(super) fn recall(
        &self,
        key: VerifiedKey,
        source: IpAddr,
        grant: RequestId,
        lasts: Seconds,
    ) -> Option<Authenticated> {
        let logins = self.logins();
        let recent = logins.get(&(grant, key.key(), source.to_canonical()))?;
        if self.clock.boot().since(recent.at) >= lasts.duration() {
            return None;
        }
        Authenticated::by_recent_login(&recent.login, key, source, grant, lasts, self.clock.wall()).ok()
    }

    fn logins(&self) -> MutexGuard<'_, BTreeMap<(RequestId, Fingerprint, IpAddr), Recent>> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use approver::mint;
    use approver::testing::{Stage, source};
    use jiff::SignedDuration;

    use super::*;

    const LASTS: Seconds = Seconds(600);

    async fn remembered() -> (Stage, RecentLogins, RequestId) {
        let stage = Stage::new().await;
        let login = stage.login(&stage.technician).await;
        let logins = RecentLogins::new(stage.desk.clock().clone());
        let grant = mint::request(stage.desk.clock().wall());
        logins.remember(&login, grant);
        (stage, logins, grant)
    }

    fn key(stage: &Stage) -> VerifiedKey {
        VerifiedKey::after_ssh_userauth_signature(stage.technician.person, stage.technician.key.public_key())
    }

    #[tokio::test]
    async fn a_complete_login_serves_the_same_key_source_and_grant_for_so_long() {
        let (stage, logins, grant) = remembered().await;
        let elsewhere = [192, 0, 2, 99].into();
        let other = mint::request(stage.desk.clock().wall());
        let strange = approver::testing::new_key();
        let strange = VerifiedKey::after_ssh_userauth_signature(stage.technician.person, strange.public_key());
        assert!(logins.recall(key(&stage), source(), grant, LASTS).is_some_and(|proof| !proof.is_complete_login()));
        assert!(logins.recall(key(&stage), elsewhere, grant, LASTS).is_none());
        assert!(logins.recall(key(&stage), source(), other, LASTS).is_none());
        assert!(logins.recall(strange, source(), grant, LASTS).is_none());
        assert!(logins.recall(key(&stage), source(), grant, Seconds(0)).is_none());
        stage.pass(Duration::from_secs(600));
        assert!(logins.recall(key(&stage), source(), grant, LASTS).is_none());
    }

    #[tokio::test]
    async fn a_clock_set_back_prolongs_nothing() {
        let (stage, logins, grant) = remembered().await;
        stage.pass(Duration::from_secs(300));
        stage.props.turn.wall(SignedDuration::from_secs(-290));
        stage.props.turn.boot(Duration::from_secs(300));
        assert!(logins.recall(key(&stage), source(), grant, LASTS).is_none());
    }

    #[tokio::test]
    async fn what_a_recent_login_let_in_is_not_remembered_itself() {
        let (stage, logins, grant) = remembered().await;
        let again = logins.recall(key(&stage), source(), grant, LASTS).unwrap();
        let fresh = RecentLogins::new(stage.desk.clock().clone());
        fresh.remember(&again, grant);
        assert!(fresh.recall(key(&stage), source(), grant, LASTS).is_none());
    }
}

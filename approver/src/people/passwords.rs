//! Passwords, for technicians whose client knows no keys: set by whoever is signed in, and checked only together with a
//! code. Whether a face takes passwords at all, is its own setting.

use std::time::Duration;

use certs::password::{StoredPassword, VerifiedPassword};
use certs::proof::{Authenticated, Face};
use policies::decide::Command;
use policies::ids::PersonId;
use tokio::sync::{Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use super::{CodeNotTaken, NotDone, People};
use crate::desk::{Fault, Rejected};
use crate::directory::{Change, Key, json};
use crate::mint;

/// Passwords hashed at once in the whole program. Each takes 19 MiB and some tens of milliseconds of a core, and strangers
/// can ask for it.
static HASHING: Semaphore = Semaphore::const_new(2);
/// Whoever waits longer is told that the gate is busy.
const WAITS_MAX: Duration = Duration::from_secs(1);

impl People {
    /// Sets a technician's password. It counts together with a code alone, and a new enrolment deletes it.
    ///
    /// # Errors
    /// The password is unfit, they are no active technician, or nothing can be journaled or kept.
    pub async fn set_password(&self, person: PersonId, password: Zeroizing<String>) -> Result<(), NotDone> {
        let stored = hashing(move || StoredPassword::new(&password)).await.map_err(Rejected::from)??;
        // Recorded first: what opens something must not be there without a trace.
        self.desk.act(Command::SetPassword { person }).await?;
        self.directory().swap(vec![Change::set(Key::Password(person), json(&stored))]).await?;
        Ok(())
    }

    /// Checks password and code of a technician, who may be nobody. The code is looked at, spent and counted only behind
    /// a right password, so nobody is locked by strangers; and whatever is wrong takes the same work.
    ///
    /// # Errors
    /// One of them is wrong, without saying which; or the directory does not answer, or the gate is busy.
    pub async fn check_password(
        &self,
        person: Option<PersonId>,
        password: Zeroizing<String>,
        code: &str,
        source: std::net::IpAddr,
    ) -> Result<Authenticated, CodeNotTaken> {
        let verified = self.verify(person, password).await?;
        let spent = self.check_code_of(verified.person(), code, Face::Vendor).await?;
        let now = self.desk.clock().wall();
        Authenticated::by_password_and_code(verified, spent, Face::Vendor, source, now)
            .map_err(|_| CodeNotTaken::Password)
    }

    async fn verify(
        &self,
        person: Option<PersonId>,
        password: Zeroizing<String>,
    ) -> Result<VerifiedPassword, CodeNotTaken> {
        let stored = match person {
            Some(person) => self.directory().password(person).await?,
            None => None,
        };
        let person = person.unwrap_or_else(|| mint::person(self.desk.clock().wall()));
        let verified =
            hashing(move || stored.unwrap_or_else(StoredPassword::nobodys).verify(person, &password)).await?;
        verified.map_err(|_| CodeNotTaken::Password)
    }
}

/// Off the threads that serve others, and not too many at once: the place is given back when the work is done, even if
/// nobody waits for it any more.
async fn hashing<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let place: SemaphorePermit<'static> = match tokio::time::timeout(WAITS_MAX, HASHING.acquire()).await {
        Ok(Ok(place)) => place,
        Ok(Err(_)) | Err(_) => return Err(Fault::Busy),
    };
    let working = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(place);
        done
    });
    working.await.map_err(|_| Fault::Busy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::WRONG_CODES_MAX;
    use crate::testing::{Stage, source};

    const RIGHT: &str = "correct horse battery";

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    async fn stage() -> Stage {
        let stage = Stage::new().await;
        stage.people.set_password(stage.technician.person, secret(RIGHT)).await.unwrap();
        stage
    }

    fn code(stage: &Stage) -> String {
        stage.pass(Duration::from_secs(30));
        stage.technician.totp.code_at(stage.desk.clock().wall()).to_string()
    }

    #[tokio::test]
    async fn a_password_counts_with_a_code_of_the_same_person_and_neither_alone() {
        let stage = stage().await;
        let (tara, code) = (Some(stage.technician.person), code(&stage));
        let check = |person, password: &str, code: &str| {
            let (people, password, code) = (stage.people.clone(), secret(password), code.to_owned());
            async move { people.check_password(person, password, &code, source()).await }
        };
        assert!(matches!(check(tara, "wrong horse battery", &code).await, Err(CodeNotTaken::Password)));
        assert!(matches!(check(None, RIGHT, &code).await, Err(CodeNotTaken::Password)));
        assert!(matches!(check(Some(stage.lead.person), RIGHT, &code).await, Err(CodeNotTaken::Password)));
        assert!(matches!(check(tara, RIGHT, "000000").await, Err(CodeNotTaken::Code(_))));
        let proof = check(tara, RIGHT, &code).await.unwrap();
        assert_eq!((proof.person(), proof.key(), proof.is_complete_login()), (stage.technician.person, None, true));
        assert!(check(tara, RIGHT, &code).await.is_err(), "a code works once");
    }

    #[tokio::test]
    async fn wrong_codes_behind_the_right_password_lock_and_wrong_passwords_lock_nobody() {
        let stage = stage().await;
        let tara = Some(stage.technician.person);
        let locked = || stage.desk.with_state(|state| state.people[&stage.technician.person].locked_until.is_some());
        for _ in 0..=WRONG_CODES_MAX {
            let wrong = stage.people.check_password(tara, secret("wrong horse battery"), "000000", source()).await;
            assert!(matches!(wrong, Err(CodeNotTaken::Password)));
        }
        assert!(!locked());
        for _ in 0..WRONG_CODES_MAX {
            stage.people.check_password(tara, secret(RIGHT), "000000", source()).await.unwrap_err();
        }
        assert!(locked());
    }

    #[tokio::test]
    async fn a_password_is_set_by_active_technicians_alone_is_an_event_and_is_kept_hashed() {
        let stage = stage().await;
        let refused = stage.people.set_password(stage.lead.person, secret(RIGHT)).await;
        assert!(matches!(refused, Err(NotDone::Rejected(_))), "{refused:?}");
        let refused = stage.people.set_password(stage.technician.person, secret("short")).await;
        assert!(matches!(refused, Err(NotDone::Password(_))), "{refused:?}");
        let entries = stage.desk.entries(0).await.unwrap();
        let is_set = |event: &policies::events::Event| matches!(event, policies::events::Event::PasswordSet { .. });
        assert_eq!(entries.iter().filter(|entry| is_set(&entry.event)).count(), 1);
        let kept = stage.desk.directory().get(&Key::Password(stage.technician.person)).await.unwrap().unwrap();
        assert!(!String::from_utf8(kept).unwrap().contains("horse"));
    }
}

//! A passkey beside the key that a technician has: what they work with in a browser is not what their other tools sign with.

use std::time::Duration;

use certs::enrolment::EnrolmentCode;
use certs::passkey::NewPasskey;
use jiff::Timestamp;
use policies::decide::Command;
use policies::ids::{LinkId, PersonId};
use policies::people::{Kind, Standing};
use policies::refusals::Refusal;

use super::{EnrolledPasskey, Invitation, NotDone, People, key_text};
use crate::desk::{Fault, Rejected};
use crate::directory::{Change, Expected, Key, Link, json};
use crate::mint;

/// To walk from one window to the other.
const OFFER_LASTS: Duration = Duration::from_secs(15 * 60);

impl People {
    /// A code with which a technician makes a passkey in a browser. Whoever calls this has seen a complete login of theirs. A
    /// newer code voids the one before.
    ///
    /// # Errors
    /// They are no technician who counts.
    pub async fn offer_passkey(&self, person: PersonId) -> Result<Invitation, NotDone> {
        let now = self.desk.clock().wall();
        self.desk.with_state(|state| match state.people.get(&person) {
            None => Err(Refusal::UnknownPerson),
            Some(known) if known.standing != Standing::Active => Err(Refusal::NotActive(known.standing)),
            Some(known) if !matches!(known.kind, Kind::Technician { .. }) => Err(Refusal::WrongKind("technicians")),
            Some(_) => Ok(()),
        })?;
        let code = self.fresh_code(mint::link(now));
        let kept = Link { beside: Some(now), ..Link::invites(person, code.hash()) };
        let held = self.directory().get(&Key::Offered(person)).await?;
        let before = held.clone().and_then(|held| String::from_utf8(held).ok()?.parse::<LinkId>().ok());
        let newest = Change {
            key: Key::Offered(person),
            expected: Expected::as_read(held),
            value: Some(code.link().to_string().into_bytes()),
        };
        let mut changes = vec![Change::set(Key::Link(code.link()), json(&kept)), newest];
        changes.extend(before.map(|link| Change::delete(Key::Link(link))));
        if !self.directory().swap(changes).await? {
            return Err(Rejected::from(Fault::Busy).into());
        }
        Ok(Invitation { person, name: self.shown(person).await, code, expires: now + OFFER_LASTS })
    }

    /// Whether what was given then still serves: not for long, and not beyond a new enrolment or a restore.
    pub(super) fn is_offered(&self, person: PersonId, given: Timestamp) -> bool {
        let now = self.desk.clock().wall();
        let is_fresh = given <= now && now < given + OFFER_LASTS;
        is_fresh
            && self.desk.with_state(|state| {
                let enrolled = state.people.get(&person).and_then(|known| known.enrolled_at);
                let restored = state.restores.last().map(|restore| restore.at);
                [enrolled, restored].into_iter().flatten().all(|since| since <= given)
            })
    }

    pub(super) async fn add_passkey(
        &self,
        code: &EnrolmentCode,
        person: PersonId,
        passkey: &NewPasskey,
    ) -> Result<EnrolledPasskey, NotDone> {
        let add = Command::AddKey { person, key: key_text(passkey.key()) };
        let now = self.desk.clock().wall();
        self.desk.with_state(|state| state.decide(&add, now).map(drop))?;
        let key = Key::Link(code.link());
        let Some(held) = self.directory().get(&key).await? else { return Err(Refusal::LinkSpent.into()) };
        let spent = Change { key, expected: Expected::as_read(Some(held)), value: None };
        if !self.directory().swap(vec![spent, Change::delete(Key::Offered(person))]).await? {
            return Err(Refusal::LinkSpent.into());
        }
        self.desk.act(add).await?;
        Ok(EnrolledPasskey { name: self.shown(person).await, app: None, standing: Standing::Active })
    }
}

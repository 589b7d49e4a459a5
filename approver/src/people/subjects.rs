//! Whom identity providers know, and as whom they are known here. That a provider vouches for somebody was proved before;
//! who they are here is proved by what they enrolled with.

use certs::enrolment::EnrolmentCode;
use certs::oidc::IdToken;
use certs::proof::Face;
use certs::totp::SpentCode;
use jiff::Timestamp;
use policies::decide::Command;
use policies::digest::Digest;
use policies::events::Event;
use policies::ids::PersonId;
use policies::people::{Kind, Standing};
use policies::refusals::Refusal;

use super::{CodeNotTaken, NotDone, People};
use crate::desk::Rejected;
use crate::directory::{Change, CleanText, DirectoryFault, Expected, Key, clean_text};

impl People {
    /// Who is known here as the subject of this token.
    ///
    /// # Errors
    /// Whoever holds the gate's keys does not answer.
    pub fn known_as(&self, token: &IdToken) -> Result<Option<PersonId>, DirectoryFault> {
        let subject = self.subject(token)?;
        Ok(self.desk.with_state(|state| state.person_known_as(token.provider(), &subject).map(|person| person.id)))
    }

    fn subject(&self, token: &IdToken) -> Result<Digest, DirectoryFault> {
        token.subject(&self.secrets).map_err(|fault| DirectoryFault::Unavailable(fault.to_string()))
    }

    /// Whether the provider calls the person otherwise than when it was last linked or looked at: it renamed them, or gave their
    /// account to somebody else, and which of both nobody can tell by its word. One that says no name any more says it otherwise.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn is_called_otherwise(&self, person: PersonId, token: &IdToken) -> Result<bool, DirectoryFault> {
        let known = self.desk.with_state(|state| {
            let known = state.people.get(&person).and_then(|person| person.subjects.get(token.provider()));
            known.and_then(|known| known.called)
        });
        match (known, called(token)) {
            (None, now) => Ok(now.is_some()),
            (Some(_), None) => Ok(true),
            (Some(known), Some(now)) => Ok(self.directory().text(known).await?.as_deref() != Some(now.as_str())),
        }
    }

    /// Links the subject of a token to whoever proved by what they enrolled with, at `proved`, that they are this person; where it
    /// is theirs already, what the provider calls them is kept anew. `title` is the provider's for people.
    ///
    /// # Errors
    /// The subject is somebody else's here, which is journaled; they do not count, or enrolled anew since; or nothing can be kept.
    pub async fn link_subject(
        &self,
        (person, proved): (PersonId, Timestamp),
        token: &IdToken,
        title: &str,
    ) -> Result<(), NotDone> {
        let is_anothers = self.known_as(token)?.is_some_and(|known| known != person);
        let is_news = !is_anothers && self.is_called_otherwise(person, token).await?;
        let called = match called(token).filter(|_| is_news) {
            Some(called) => Some(self.directory().put_text(&called).await?),
            None => None,
        };
        let (provider, subject) = (token.provider().clone(), self.subject(token)?);
        let events = self.desk.act(Command::LinkSubject { person, provider, subject, called, proved }).await?;
        match events.iter().any(|event| matches!(event, Event::SubjectContested { .. })) {
            true => Err(Refusal::SubjectTaken(title.to_owned()).into()),
            false => Ok(()),
        }
    }

    /// Keeps what the provider calls somebody now whom it knows as this subject, and who proved here that they are it still. Where
    /// it says no name, the one that is known stays, and is asked about again.
    ///
    /// # Errors
    /// They are known as that subject no longer; they do not count; or nothing can be kept.
    pub async fn rename_subject(&self, person: PersonId, token: &IdToken) -> Result<(), NotDone> {
        let Some(called) = called(token) else { return Ok(()) };
        let called = self.directory().put_text(&called).await?;
        let (provider, subject) = (token.provider().clone(), self.subject(token)?);
        Ok(self.desk.act(Command::RenameSubject { person, provider, subject, called }).await.map(drop)?)
    }

    /// Links the subject of a token to the technician who got this code in the lobby, after a complete login there. The code is
    /// used up by it.
    ///
    /// # Errors
    /// The code was used, has expired, never was, or is an invitation's, with which one enrols first; and as
    /// [`link_subject`](Self::link_subject).
    pub async fn link_subject_by_code(
        &self,
        code: &EnrolmentCode,
        token: &IdToken,
        title: &str,
    ) -> Result<PersonId, NotDone> {
        let proved = self.desk.clock().wall();
        let person = self.lobby_code_of(code).await?;
        let key = Key::Link(code.link());
        let Some(held) = self.directory().get(&key).await? else { return Err(Refusal::LinkSpent.into()) };
        let spent = Change { key, expected: Expected::as_read(Some(held)), value: None };
        if !self.directory().swap(vec![spent, Change::delete(Key::Offered(person))]).await? {
            return Err(Refusal::LinkSpent.into());
        }
        self.link_subject((person, proved), token, title).await?;
        Ok(person)
    }

    /// Which technician got this code in the lobby.
    ///
    /// # Errors
    /// It opens nothing there, or any more.
    pub async fn lobby_code_of(&self, code: &EnrolmentCode) -> Result<PersonId, NotDone> {
        let invited = self.invited(code).await?;
        let counts = self.desk.with_state(|state| {
            state.people.get(&invited.person).is_some_and(|person| person.standing == Standing::Active)
        });
        match (invited.has_key && counts, invited.kind) {
            (true, Kind::Technician { .. }) => Ok(invited.person),
            _ => Err(Refusal::LinkSpent.into()),
        }
    }

    /// Checks a code of the gate's own beside the word of a provider. Wrong ones count and lock as behind a key.
    ///
    /// # Errors
    /// Nobody is known as the token's subject; and as [`check_code`](Self::check_code).
    pub async fn check_code_beside(&self, token: &IdToken, code: &str, face: Face) -> Result<SpentCode, CodeNotTaken> {
        let person = self.known_as(token)?.ok_or(Refusal::UnknownPerson)?;
        self.check_code_of(person, code, face).await
    }

    /// Whether somebody has a code of the gate's own to give beside a provider's word.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn has_codes(&self, person: PersonId) -> Result<bool, DirectoryFault> {
        Ok(self.has_app(person).await? || !self.directory().recovery_codes(person).await?.is_empty())
    }

    /// Journals that somebody whom a provider vouches for was not let in.
    ///
    /// # Errors
    /// It cannot be journaled.
    pub async fn not_let_in(&self, person: PersonId, reason: &'static str) -> Result<(), Rejected> {
        let reason = reason.to_owned();
        let report = Command::ReportRefusal { person, reason, target: None, rule: None, asked: None };
        self.desk.act(report).await.map(drop)
    }
}

/// What the provider calls somebody, as it would be kept.
fn called(token: &IdToken) -> Option<CleanText> {
    token.called().and_then(|called| clean_text(called).ok())
}

//! Answering without a signature: what stands in for it is checked here, and counted where it is wrong.

use certs::proof::Face;
use certs::read_back::{NotHeard, ReadBack};
use certs::totp::SpentCode;
use policies::decide::Command;
use policies::digest::Digest;
use policies::events::Event;
use policies::ids::PersonId;
use policies::plant::Weaker;
use policies::refusals::Refusal;
use policies::requests::{Matter, VerdictStatement};
use policies::state::{Case, State};

use super::{CodeNotTaken, People, is_totp};
use crate::desk::{Rejected, WeakerProof};
use crate::directory::DirectoryFault;

/// An answer that is not signed, as it was sent.
#[derive(Debug)]
pub struct WeakerAnswer<'a> {
    /// What is answered, in the operator's name.
    pub statement: VerdictStatement,
    /// How.
    pub way: Weaker,
    /// The operator's own code.
    pub code: &'a str,
    /// What the technician read out; for the telephone alone.
    pub read_back: Option<&'a str>,
}

/// Why an answer without a signature does not count.
#[derive(Debug, thiserror::Error)]
pub enum NotAnswered {
    /// The Desk's no, or its fault.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The operator's code.
    #[error(transparent)]
    Code(#[from] CodeNotTaken),
    /// What the technician read out.
    #[error(transparent)]
    NotHeard(#[from] NotHeard),
}

impl From<Refusal> for NotAnswered {
    fn from(refusal: Refusal) -> Self {
        Self::Rejected(refusal.into())
    }
}

impl People {
    /// Whether somebody has an authenticator app. Who enrolled a passkey before apps were shown with one has none.
    ///
    /// # Errors
    /// The directory does not answer.
    pub async fn has_app(&self, person: PersonId) -> Result<bool, DirectoryFault> {
        Ok(self.directory().totp(person, &self.secrets).await?.is_some())
    }

    /// What the technician reads out for the telephone, while this waits and its rule allows that: for them alone.
    pub fn read_back(&self, case: &Case, matter: &Matter, digest: &Digest) -> Option<String> {
        let allowed = case.rule.weaker.contains(&Weaker::Telephone) && !case.asked.emergency;
        let asked = matches!(matter, Matter::Request(_) | Matter::Extension(_) | Matter::Widening(_));
        let read_back = (allowed && asked).then(|| ReadBack::of(&self.secrets, digest))?;
        let told = |fault: &_| tracing::error!(%fault, "no code can be told for the telephone");
        read_back.inspect_err(told).ok().map(|code| code.shown())
    }

    /// Takes an answer without a signature. Whatever would refuse it anyway refuses it before a code is spent; then what the
    /// technician read out, which counts against the operator where it is wrong as wrong codes do; then the operator's own
    /// code, whose use is durable before the answer is.
    ///
    /// # Errors
    /// It is refused, one of the codes is wrong, or something does not answer.
    pub async fn answer_weaker(&self, answer: WeakerAnswer<'_>) -> Result<Vec<Event>, NotAnswered> {
        let WeakerAnswer { statement, way, code, read_back } = answer;
        let (operator, now) = (statement.operator, self.desk.clock().wall());
        self.may_sign_in(operator, Face::Plant, now)?;
        let wish = Command::VoteWeaker { statement: statement.clone(), way };
        self.desk.with_state(|state: &State| state.decide(&wish, now).map(drop))?;
        if !self.has_app(operator).await.map_err(Rejected::from)? {
            return Err(Refusal::NoApp.into());
        }
        if !is_totp(code) {
            return Err(Refusal::NotYourCode.into());
        }
        let proof = match way {
            Weaker::Totp => WeakerProof::Totp(self.spent(operator, code).await?),
            Weaker::Telephone => {
                let standing = self.desk.with_state(|state| state.standing_digest(&statement.matter))?;
                let expected = ReadBack::of(&self.secrets, &standing);
                let expected = expected.map_err(|fault| DirectoryFault::Unavailable(fault.to_string()));
                match expected.map_err(Rejected::from)?.heard(read_back.unwrap_or_default()) {
                    Ok(heard) => WeakerProof::Telephone(self.spent(operator, code).await?, heard),
                    Err(wrong) => {
                        self.count_wrong(operator, now).await?;
                        return Err(wrong.into());
                    }
                }
            }
        };
        Ok(self.desk.vote_weaker(statement, proof).await?)
    }

    async fn spent(&self, operator: PersonId, code: &str) -> Result<SpentCode, CodeNotTaken> {
        self.check_code_of(operator, code, Face::Plant).await
    }
}

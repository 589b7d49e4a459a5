//! Answers without a signature, where the rule allows them. What stands in for the signature is handed in as values that
//! were proved: a code that is spent, and for the telephone that the technician's code was heard.

use certs::read_back::Heard;
use certs::totp::{CodeKind, SpentCode};
use policies::decide::Command;
use policies::events::Event;
use policies::plant::Weaker;
use policies::refusals::Refusal;
use policies::requests::VerdictStatement;

use super::turns::Place;
use super::{Desk, Rejected};

/// By what an operator answers without a signature. One answer uses it up.
#[derive(Debug)]
pub enum WeakerProof {
    /// The operator's own code, spent.
    Totp(SpentCode),
    /// The same, and what the technician read out.
    Telephone(SpentCode, Heard),
}

impl WeakerProof {
    /// Which way this is.
    pub const fn way(&self) -> Weaker {
        match self {
            Self::Totp(_) => Weaker::Totp,
            Self::Telephone(..) => Weaker::Telephone,
        }
    }

    const fn code(&self) -> &SpentCode {
        match self {
            Self::Totp(code) | Self::Telephone(code, _) => code,
        }
    }

    const fn heard(&self) -> Option<&Heard> {
        match self {
            Self::Totp(_) => None,
            Self::Telephone(_, heard) => Some(heard),
        }
    }
}

impl Desk {
    /// Takes an answer that is not signed, by whoever spent a code of an authenticator app of their own for it. Where the
    /// technician's code was heard, it must be that of what stands at this moment.
    ///
    /// # Errors
    /// As [`act`](Self::act); also where the code is somebody else's or a recovery code.
    pub async fn vote_weaker(&self, statement: VerdictStatement, proof: WeakerProof) -> Result<Vec<Event>, Rejected> {
        if proof.code().person() != statement.operator || proof.code().kind() != CodeKind::Totp {
            return Err(Refusal::NotYourCode.into());
        }
        let inner = self.0.clone();
        let voted = self.0.to_its_end(async move {
            let (matter, head) = (statement.matter.clone(), statement.journal);
            let command = Command::VoteWeaker { statement, way: proof.way() };
            let decide = |fold: &super::Fold, now: super::Now| {
                if !fold.had(&head) {
                    return Err(Refusal::OtherJournal.into());
                }
                if let Some(heard) = proof.heard()
                    && fold.state.standing_digest(&matter)? != heard.of()
                {
                    return Err(Refusal::OtherDigest.into());
                }
                Ok((fold.state.decide(&command, now.wall)?, ()))
            };
            inner.transact(Place::InLine, decide).await.map(|(events, ())| events)
        });
        voted.await?
    }
}

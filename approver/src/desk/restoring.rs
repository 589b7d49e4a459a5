//! A restore: decided while no gate runs, on a journal at rest, by the same rules and with the same checks of signatures as
//! everything else; and appended as what was decided, so that a crash in between changes nothing about it.

use std::time::Duration;

use jiff::Timestamp;
use policies::decide::Command;
use policies::requests::{RestoreStatement, Signed};
use policies::state::State;
use policies::version::V1;
use serde::{Deserialize, Serialize};

use super::fold::{Fold, Now};
use super::{Fault, Rejected, signatures};
use crate::clock::Boot;
use crate::journal::{AppendError, Entry, Head, Journal, ReadError};

/// A restore that two people signed who may; only [`decide`] makes one, and the file that it was kept in gives it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    v: V1,
    /// When it was decided.
    at: Timestamp,
    administrator: Signed<RestoreStatement>,
    operator: Signed<RestoreStatement>,
}

/// What stands by a journal at rest.
///
/// # Errors
/// Its entries do not make up its head.
pub fn state_of(entries: &[Entry], head: Head) -> Result<State, ReadError> {
    Ok(Fold::of(entries, head, at_rest(Timestamp::UNIX_EPOCH))?.state)
}

/// Decides on a journal at rest.
///
/// # Errors
/// A signature does not hold, or a refusal.
pub fn decide(
    (entries, head): (&[Entry], Head),
    administrator: &Signed<RestoreStatement>,
    operator: &Signed<RestoreStatement>,
    at: Timestamp,
) -> Result<Decided, Rejected> {
    let fold = Fold::of(entries, head, at_rest(at)).map_err(|fault| Fault::AtRest(fault.to_string()))?;
    if fold.state.newest.is_some_and(|newest| at < newest) {
        return Err(policies::refusals::Refusal::ClockBehind.into());
    }
    let decided = Decided { v: V1, at, administrator: administrator.clone(), operator: operator.clone() };
    decided.check(&fold)?;
    Ok(decided)
}

/// No lease goes by a fold that is looked at once.
const fn at_rest(wall: Timestamp) -> Now {
    Now { wall, boot: Boot(Duration::ZERO) }
}

impl Decided {
    /// What both signed.
    pub const fn statement(&self) -> &RestoreStatement {
        &self.administrator.statement
    }

    fn check(&self, fold: &Fold) -> Result<Vec<policies::events::Event>, Rejected> {
        let command = Command::Restore {
            administrator: Box::new(self.administrator.clone()),
            operator: Box::new(self.operator.clone()),
        };
        signatures::check(&command, fold)?;
        Ok(fold.state.decide(&command, self.at)?)
    }

    /// Appends it, unless that was done before.
    ///
    /// # Errors
    /// The journal is not the one that it was decided on, or does not take it.
    pub async fn append(&self, journal: &dyn Journal) -> Result<(), Rejected> {
        let unavailable = |fault: ReadError| Fault::AtRest(fault.to_string());
        let fold = Fold::read_all(journal, at_rest(self.at)).await.map_err(unavailable)?;
        fold.check_known()?;
        let restore = self.statement().restore;
        if fold.state.restores.iter().any(|known| known.statement.restore == restore) {
            return Ok(());
        }
        let events = self.check(&fold)?;
        match journal.append(fold.head, &events, self.at).await {
            Ok(_) => Ok(()),
            Err(AppendError::Unavailable(why)) => Err(Fault::AtRest(why).into()),
            Err(conflict @ AppendError::Conflict(_)) => Err(Fault::AtRest(conflict.to_string()).into()),
        }
    }
}

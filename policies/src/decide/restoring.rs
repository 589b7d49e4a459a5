//! That the logs go on from an earlier state: an administrator and an operator say so together, over what stays and what is
//! lost. Whatever was decided afterwards is not known any more, so nothing that was open stays open.

use jiff::Timestamp;

use crate::events::Event;
use crate::ids::PersonId;
use crate::people::Person;
use crate::refusals::Refusal;
use crate::requests::{Lost, RestoreStatement, SeenHead, Signed};
use crate::state::State;

impl State {
    /// Both sign the same, about the journal as it stands: nothing may have come after what they looked at.
    pub(super) fn decide_restore(
        &self,
        administrator: &Signed<RestoreStatement>,
        operator: &Signed<RestoreStatement>,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let statement = &administrator.statement;
        self.check_signs_restore(administrator, now)?;
        self.check_signs_restore(operator, now)?;
        if !statement.agrees_with(&operator.statement) {
            return Err(Refusal::OtherDigest);
        }
        if !self.may_restore(statement.signer)?.is_active_administrator() {
            return Err(Refusal::WrongKind("an administrator together with an operator"));
        }
        if !self.may_restore(operator.statement.signer)?.is_active_operator() {
            return Err(Refusal::WrongKind("an administrator together with an operator"));
        }
        let restored =
            Event::Restored { administrator: Box::new(administrator.clone()), operator: Box::new(operator.clone()) };
        Ok(vec![restored])
    }

    /// Whether one signature for a restore counts; the other one is another matter.
    ///
    /// # Errors
    /// Why not.
    pub fn check_signs_restore(&self, signed: &Signed<RestoreStatement>, now: Timestamp) -> Result<(), Refusal> {
        let statement = &signed.statement;
        self.check_statement(&statement.deployment, statement.expires, statement.journal.size, now)?;
        let signer = self.may_restore(statement.signer)?;
        self.check_key(signer, &signed.key)?;
        if statement.journal.size != self.size {
            return Err(Refusal::OtherJournal);
        }
        let is_of = |lost: Lost, stays: SeenHead| lost.from <= stays.size && lost.from <= lost.until;
        let is_right =
            is_of(statement.journal_lost, statement.journal) && is_of(statement.records_lost, statement.records);
        let is_new = self.restores.iter().all(|restore| restore.statement.restore != statement.restore);
        if is_right && is_new { Ok(()) } else { Err(Refusal::OtherDigest) }
    }

    /// Somebody who may be one of the two: of the plant, not of a vendor.
    ///
    /// # Errors
    /// Why not.
    pub fn may_restore(&self, person: PersonId) -> Result<&Person, Refusal> {
        let person = self.active(person)?;
        let decides = person.is_active_administrator() || person.is_active_operator();
        match decides && person.kind.vendor().is_none() {
            true => Ok(person),
            false => Err(Refusal::WrongKind("administrators and operators of the plant")),
        }
    }
}

//! What stands in the journal and in nothing that stands: cuts that were let back in, plant files that were in force, recorders that
//! failed. Folded for whoever reports on it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::digest::{Digest, Salted};
use crate::events::{CutBy, Event, Scope};
use crate::ids::{CutId, NodeId, PersonId};

/// All of it, in the order in which it came.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    cuts: BTreeMap<CutId, CutMade>,
    failures: Vec<Failure>,
    adoptions: Vec<Adoption>,
    proposed: BTreeMap<Digest, Proposed>,
}

/// A cut, and how it was let back in.
#[derive(Debug, Clone)]
pub struct CutMade {
    /// Whom or what it kept out.
    pub scope: Scope,
    /// On whose word.
    pub by: CutBy,
    /// When it was made, which may be before it was journaled.
    pub at: Timestamp,
    /// Let back in.
    pub reopened: Option<LetIn>,
}

/// That a cut was let back in.
#[derive(Debug, Clone, Copy)]
pub struct LetIn {
    /// On whose word.
    pub by: PersonId,
    /// When it was journaled.
    pub at: Timestamp,
    /// Why.
    pub reason: Salted,
}

/// A recorder that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// When it was journaled.
    pub at: Timestamp,
    /// Whose.
    pub node: NodeId,
}

/// A plant file that came into force.
#[derive(Debug, Clone)]
pub struct Adoption {
    /// Which.
    pub plant: Digest,
    /// When.
    pub at: Timestamp,
    /// Who proposed it, and when.
    pub proposed: Option<(PersonId, Timestamp)>,
    /// Who signed it.
    pub signers: Vec<PersonId>,
}

#[derive(Debug, Clone)]
struct Proposed {
    by: PersonId,
    at: Timestamp,
    signers: Vec<PersonId>,
}

impl Ledger {
    /// Every cut that was ever made.
    pub fn cuts(&self) -> impl Iterator<Item = (CutId, &CutMade)> {
        self.cuts.iter().map(|(id, made)| (*id, made))
    }

    /// Every failure of a recorder.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// Every plant file that came into force, the oldest first; one that came back stands there again.
    pub fn adoptions(&self) -> &[Adoption] {
        &self.adoptions
    }

    pub(crate) fn take(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::Cut { cut, scope, by, at } => {
                self.cuts.insert(*cut, CutMade { scope: scope.clone(), by: by.clone(), at: *at, reopened: None });
            }
            Event::Reopened { reopening, verdict } => {
                if let Some(made) = self.cuts.get_mut(&reopening.cut) {
                    made.reopened = Some(LetIn { by: verdict.statement.operator, at, reason: reopening.reason });
                }
            }
            Event::RecorderFailed { node } => self.failures.push(Failure { at, node: node.clone() }),
            Event::PlantProposed { plant, by } => {
                self.proposed.insert(*plant, Proposed { by: *by, at, signers: Vec::new() });
            }
            Event::PlantSigned { signed } => {
                if let Some(proposed) = self.proposed.get_mut(&signed.statement.plant) {
                    proposed.signers.push(signed.statement.signer);
                }
            }
            Event::PlantAdopted { plant } => {
                let known = self.proposed.get(plant);
                self.adoptions.push(Adoption {
                    plant: *plant,
                    at,
                    proposed: known.map(|known| (known.by, known.at)),
                    signers: known.map(|known| known.signers.clone()).unwrap_or_default(),
                });
                // What was signed so far was to replace the file before.
                self.proposed.values_mut().for_each(|proposed| proposed.signers.clear());
            }
            _ => {}
        }
    }
}

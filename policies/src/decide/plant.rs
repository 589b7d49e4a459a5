//! Decisions about the plant file: proposed whole, signed by an administrator and by the `changes` of the file in
//! force, then adopted. The file itself lies in the journal, so that it is evidence.

use jiff::Timestamp;

use crate::digest::Digest;
use crate::events::Event;
use crate::ids::PersonId;
use crate::people::Person;
use crate::plant::Plant;
use crate::refusals::Refusal;
use crate::requests::{PlantStatement, Signed};
use crate::state::State;

/// An entry of the journal is at most 65,535 bytes (C2SP tlog-tiles); escaping may double a text.
const PART_BYTES_MAX: usize = 24 * 1024;

/// The events that put a plant file up for signing.
pub(super) fn proposal(text: &str, by: PersonId) -> Result<Vec<Event>, Refusal> {
    let plant = readable(text)?.digest();
    let parts = parts(text);
    let of = u16::try_from(parts.len()).map_err(|_| Refusal::PlantFileWrong(1))?;
    let mut events: Vec<Event> =
        (0..).zip(parts).map(|(part, text)| Event::PlantText { plant, part, of, text: text.to_owned() }).collect();
    events.push(Event::PlantProposed { plant, by });
    Ok(events)
}

fn readable(text: &str) -> Result<Plant, Refusal> {
    Plant::parse(text).map_err(|mistakes| Refusal::PlantFileWrong(mistakes.count()))
}

fn parts(mut text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while !text.is_empty() {
        let (part, rest) = text.split_at(text.floor_char_boundary(PART_BYTES_MAX));
        parts.push(part);
        text = rest;
    }
    parts
}

impl State {
    pub(super) fn decide_propose(&self, text: &str, by: PersonId) -> Result<Vec<Event>, Refusal> {
        self.administrator(by)?;
        let digest = Digest::of_bytes(text.as_bytes());
        if self.plant.as_ref().is_some_and(|plant| plant.digest() == digest) {
            return Err(Refusal::PlantInForce);
        }
        proposal(text, by)
    }

    pub(super) fn decide_sign_plant(
        &self,
        signed: &Signed<PlantStatement>,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let statement = &signed.statement;
        self.check_statement(&statement.deployment, statement.expires, statement.journal.size, now)?;
        let signer = self.active(statement.signer)?;
        self.check_key(signer, &signed.key)?;
        let in_force = self.plant.as_ref().ok_or(Refusal::NoPlant)?;
        if statement.replaces != in_force.digest() {
            return Err(Refusal::OtherDigest);
        }
        let proposal = self.proposals.get(&statement.plant).ok_or(Refusal::NoSuchPlantFile)?;
        // Whoever put it up may have run an earlier program.
        readable(&proposal.text)?;
        if proposal.signers.contains(&signer.id) {
            return Err(Refusal::AlreadyVoted);
        }
        let has_say = |person: &Person| in_force.changes.iter().any(|quorum| person.is_member(&quorum.from));
        if !signer.is_active_administrator() && !has_say(signer) {
            return Err(Refusal::NoSay(super::requests::list_of(&in_force.changes)));
        }
        let mut events = vec![Event::PlantSigned { signed: signed.clone() }];
        let signers: Vec<&Person> =
            proposal.signers.iter().chain(std::iter::once(&signer.id)).filter_map(|id| self.people.get(id)).collect();
        let by_administrator = signers.iter().any(|person| person.is_active_administrator());
        if by_administrator && super::quorum_is_met(&in_force.changes, &signers) {
            events.push(Event::PlantAdopted { plant: statement.plant });
        }
        Ok(events)
    }
}

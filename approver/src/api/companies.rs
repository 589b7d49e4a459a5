//! Vendors' own people: what a manager sees and does on the vendor face, in their own company alone; and what the plant says
//! of managers. Who may is decided in `policies`.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use policies::companies::Concern;
use policies::decide::Command;
use policies::ids::{PersonId, VendorId};
use policies::people::{Attestation, Person};
use policies::plant::Rule;
use policies::state::State as Plant;

use super::Api;
use super::guard::{Asked, At, Caller, Sent};
use super::problem::Problem;
use super::requests::{done, page};
use super::types::{
    Attest, AttestationView, AttestedView, CompanyView, ConcernView, Done, InvitationsView, PeopleView, PersonView,
    Wanted,
};

/// Whom a vendor's managers may invite, and how many are here.
pub(super) fn invitations(state: &Plant, vendor: &VendorId, now: Timestamp) -> InvitationsView {
    let allowance = state.contracts.get(vendor).map(|contract| contract.allowance.clone()).unwrap_or_default();
    InvitationsView { most: allowance.most, roles: allowance.roles, here: state.invited_by_managers(vendor, now) }
}

pub(super) async fn company(State(api): State<Api>, caller: Caller) -> Result<Json<CompanyView>, Problem> {
    let now = api.clock().wall();
    let view = api.desk().with_state(|state| {
        let (vendor, contract) = state.manager(caller.person(), now)?;
        let invitations = invitations(state, vendor, now);
        Ok::<_, policies::refusals::Refusal>(CompanyView { vendor: vendor.clone(), end: contract.end, invitations })
    });
    Ok(Json(view?))
}

pub(super) async fn colleagues(
    State(api): State<Api>,
    caller: Caller,
    Asked(wanted): Asked<Wanted<PersonId>>,
) -> Result<Json<PeopleView>, Problem> {
    let now = api.clock().wall();
    let found = api.desk().with_state(|state| {
        let (vendor, _) = state.manager(caller.person(), now)?;
        let (people, next) =
            page(|older| state.people.range(older), &wanted, |person: &Person| person.is_technician_of(vendor));
        let people: Vec<Person> = people.into_iter().map(|(_, person)| person.clone()).collect();
        Ok::<_, policies::refusals::Refusal>((people, next))
    });
    let (found, next) = found?;
    let mut people = Vec::new();
    for person in &found {
        people.push(api.colleague(person).await);
    }
    Ok(Json(PeopleView { people, next }))
}

impl Api {
    /// Somebody as a manager of their company sees them: without keys and accounts, which are theirs.
    async fn colleague(&self, person: &Person) -> PersonView {
        let mut view = self.person_view(person, []).await;
        (view.keys, view.fingerprints, view.subjects) = Default::default();
        view
    }

    pub(super) async fn attested_view(&self, whose: PersonId, attested: &Attestation) -> AttestedView {
        AttestedView {
            by: self.named(attested.by).await,
            by_themself: attested.by == whose,
            at: attested.at,
            until: attested.until,
            note: self.opened(attested.note).await,
        }
    }

    /// What a rule demands of a technician's company, and what there is of it now.
    pub(super) async fn attestation_view(&self, whose: PersonId, rule: &Rule) -> AttestationView {
        let now = self.clock().wall();
        let attested = self.desk().with_state(|state| state.attestation(whose, rule, now));
        let attested = match attested {
            Some((attested, until)) => Some(self.attested_view(whose, &Attestation { until, ..attested }).await),
            None => None,
        };
        AttestationView { within_seconds: rule.attested.map(|within| within.0), attested }
    }

    pub(super) async fn concern_view(&self, concern: Concern) -> ConcernView {
        let (word, person, at) = match concern {
            Concern::ContractEnds { end, .. } => ("contract-ends", None, end),
            Concern::ContractOver { end } => ("contract-over", None, end),
            Concern::Dormant { person, since } => ("dormant", Some(person), since),
            Concern::Unused { person, since } => ("unused-invitation", Some(person), since),
        };
        let person = match person {
            Some(person) => Some(self.named(person).await),
            None => None,
        };
        ConcernView { concern: word.to_owned(), person, at }
    }

    /// By name whom somebody asks who is not attested, so that they know whom.
    pub(super) async fn managers_of(&self, technician: PersonId) -> Vec<String> {
        let managers = self.desk().with_state(|state| {
            let vendor = state.vendor_of(technician)?;
            Some(state.managers_of(vendor).map(|manager| manager.id).collect::<Vec<_>>())
        });
        let named = self.named_all(managers.unwrap_or_default()).await;
        named.into_iter().map(|manager| manager.name).collect()
    }
}

pub(super) async fn attest(
    State(api): State<Api>,
    caller: Caller,
    At(person): At<PersonId>,
    Sent(Attest { until, note }): Sent<Attest>,
) -> Result<Json<Done>, Problem> {
    Ok(done(&api.people().attest(person, until, note.as_deref(), caller.person()).await?))
}

pub(super) async fn take_back(
    State(api): State<Api>,
    caller: Caller,
    At(person): At<PersonId>,
) -> Result<Json<Done>, Problem> {
    Ok(done(&api.desk().act(Command::WithdrawAttestation { person, by: caller.person() }).await?))
}

pub(super) async fn name_manager(
    State(api): State<Api>,
    caller: Caller,
    At(person): At<PersonId>,
) -> Result<Json<Done>, Problem> {
    Ok(done(&api.desk().act(Command::NameManager { person, by: caller.person() }).await?))
}

pub(super) async fn dismiss_manager(
    State(api): State<Api>,
    caller: Caller,
    At(person): At<PersonId>,
) -> Result<Json<Done>, Problem> {
    Ok(done(&api.desk().act(Command::DismissManager { person, by: caller.person() }).await?))
}

//! People and vendors: who there is, inviting, vouching, putting out.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use policies::companies::Concern;
use policies::decide::Command;
use policies::ids::{PersonId, ProviderName, VendorId};
use policies::people::{Allowance, Contract as Contracted, Person, Standing};
use policies::refusals::Refusal;
use policies::requests::CertifyStatement;
use policies::state::State as Plant;
use policies::time::Seconds;

use super::Api;
use super::cards::{STATEMENT_LASTS, fingerprints};
use super::companies::invitations;
use super::guard::{Asked, At, Caller, Sent};
use super::problem::Problem;
use super::requests::{done, page};
use super::types::{
    CertificateGiven, CertifyTemplate, Contract, Done, InvitationsAllowed, InvitationsView, Invite, Invited,
    PeopleView, PersonView, Reinvite, Rename, VendorView, VendorsView, Wanted,
};
use crate::mint;
use crate::people::{Invitation, NewContract, NewPerson};

/// How long an enrolment code is good where nothing is said, and at most.
const INVITATION_LASTS: Seconds = Seconds(3 * 86_400);
const INVITATION_LASTS_MAX: Seconds = Seconds(30 * 86_400);

impl Api {
    /// A person, and who has vouched for them so far.
    fn person(&self, id: PersonId) -> Result<(Person, BTreeSet<PersonId>), Problem> {
        let found = self.desk().with_state(|state| {
            let vouchers = state.vouchers.get(&id).cloned().unwrap_or_default();
            state.people.get(&id).map(|person| (person.clone(), vouchers))
        });
        Ok(found.ok_or(Refusal::UnknownPerson)?)
    }
}

pub(super) async fn me(State(api): State<Api>, caller: Caller) -> Result<Json<PersonView>, Problem> {
    let (person, _) = api.person(caller.person())?;
    Ok(Json(api.person_view(&person, []).await))
}

pub(super) async fn one(State(api): State<Api>, At(id): At<PersonId>) -> Result<Json<PersonView>, Problem> {
    let (person, vouchers) = api.person(id)?;
    Ok(Json(api.person_view(&person, vouchers).await))
}

pub(super) async fn list(State(api): State<Api>, Asked(wanted): Asked<Wanted<PersonId>>) -> Json<PeopleView> {
    let (found, next) = api.desk().with_state(|state| {
        let vouchers = |id| state.vouchers.get(id).cloned().unwrap_or_default();
        let (people, next) = page(|older| state.people.range(older), &wanted, |_| true);
        (people.into_iter().map(|(id, person)| (person.clone(), vouchers(id))).collect::<Vec<_>>(), next)
    });
    let mut people = Vec::new();
    for (person, vouchers) in found {
        people.push(api.person_view(&person, vouchers).await);
    }
    Json(PeopleView { people, next })
}

pub(super) async fn invite(
    State(api): State<Api>,
    caller: Caller,
    Sent(asked): Sent<Invite>,
) -> Result<Json<Invited>, Problem> {
    let lasts = lasts(asked.lasts_seconds);
    let new = NewPerson { name: asked.name, kind: asked.kind, groups: asked.groups };
    let invitation = api.people().invite(new, lasts, caller.person()).await?;
    Ok(api.shown_once(invitation))
}

pub(super) async fn reinvite(
    State(api): State<Api>,
    caller: Caller,
    At(id): At<PersonId>,
    Sent(asked): Sent<Reinvite>,
) -> Result<Json<Invited>, Problem> {
    Ok(api.shown_once(api.people().reinvite(id, lasts(asked.lasts_seconds), caller.person()).await?))
}

fn lasts(seconds: Option<u32>) -> Seconds {
    seconds.map_or(INVITATION_LASTS, Seconds).min(INVITATION_LASTS_MAX)
}

impl Api {
    pub(super) fn shown_once(&self, invitation: Invitation) -> Json<Invited> {
        Json(Invited {
            person: invitation.person,
            code: invitation.code.reveal().to_string(),
            ssh_host: self.parts().gate.name.clone(),
            ssh_port: self.parts().gate.port,
            expires: invitation.expires,
            name: invitation.name,
        })
    }
}

pub(super) async fn statement(
    State(api): State<Api>,
    caller: Caller,
    At(id): At<PersonId>,
) -> Result<Json<CertifyTemplate>, Problem> {
    let (person, _) = api.person(id)?;
    if person.standing != Standing::Enrolled {
        return Err(Refusal::MayNotVouch("this person").into());
    }
    let statement = CertifyStatement {
        deployment: api.desk().deployment().clone(),
        person: id,
        kind: person.kind.clone(),
        keys: person.keys.clone(),
        groups: person.groups.clone(),
        signer: caller.person(),
        nonce: mint::nonce(),
        expires: STATEMENT_LASTS.after(api.clock().wall()),
        journal: api.seen(),
    };
    Ok(Json(CertifyTemplate {
        statement,
        name: api.people().shown(id).await,
        fingerprints: fingerprints(&person.keys),
    }))
}

pub(super) async fn certify(
    State(api): State<Api>,
    caller: Caller,
    At(id): At<PersonId>,
    Sent(CertificateGiven(certificate)): Sent<CertificateGiven>,
) -> Result<Json<Done>, Problem> {
    if certificate.statement.signer != caller.person() {
        return Err(Problem::not_you());
    }
    if certificate.statement.person != id {
        return Err(Problem::malformed("path and body name different people"));
    }
    Ok(done(&api.desk().act(Command::Certify { certificate }).await?))
}

pub(super) async fn unlink_own(
    State(api): State<Api>,
    caller: Caller,
    At(provider): At<ProviderName>,
) -> Result<Json<Done>, Problem> {
    let (person, by) = (caller.person(), caller.person());
    Ok(done(&api.desk().act(Command::UnlinkSubject { person, provider, by }).await?))
}

pub(super) async fn unlink(
    State(api): State<Api>,
    caller: Caller,
    At((person, provider)): At<(PersonId, ProviderName)>,
) -> Result<Json<Done>, Problem> {
    Ok(done(&api.desk().act(Command::UnlinkSubject { person, provider, by: caller.person() }).await?))
}

pub(super) async fn rename(
    State(api): State<Api>,
    caller: Caller,
    At(id): At<PersonId>,
    Sent(Rename { name }): Sent<Rename>,
) -> Result<StatusCode, Problem> {
    api.people().rename(id, &name, caller.person()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn disable(
    State(api): State<Api>,
    caller: Caller,
    At(id): At<PersonId>,
) -> Result<StatusCode, Problem> {
    api.people().disable(id, caller.person()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn vendors(State(api): State<Api>) -> Json<VendorsView> {
    let now = api.clock().wall();
    let found: Vec<Company> = api.desk().with_state(|state| {
        let mut concerns = state.concerns(now);
        let company = |(vendor, contract): (&VendorId, &Contracted)| {
            let concerns = concerns.remove(vendor).unwrap_or_default();
            Company::of(state, vendor, contract, concerns, now)
        };
        state.contracts.iter().map(company).collect()
    });
    let mut vendors = Vec::new();
    for Company { vendor, contract, technicians, managers, invitations, concerns: found } in found {
        let managers = api.named_all(managers).await;
        let mut concerns = Vec::new();
        for concern in found {
            concerns.push(api.concern_view(concern).await);
        }
        let sponsor = api.named(contract.sponsor).await;
        let telephone = api.opened(contract.telephone).await;
        let (end, disabled) = (contract.end, contract.disabled);
        vendors.push(VendorView {
            vendor,
            end,
            sponsor,
            disabled,
            technicians,
            telephone,
            managers,
            invitations,
            concerns,
        });
    }
    Json(VendorsView { vendors })
}

/// A vendor, taken in one look at what stands.
struct Company {
    vendor: VendorId,
    contract: Contracted,
    technicians: usize,
    managers: Vec<PersonId>,
    invitations: InvitationsView,
    concerns: Vec<Concern>,
}

impl Company {
    fn of(state: &Plant, vendor: &VendorId, contract: &Contracted, concerns: Vec<Concern>, now: Timestamp) -> Self {
        let is_active = |person: &&Person| person.standing == Standing::Active;
        Self {
            vendor: vendor.clone(),
            contract: contract.clone(),
            technicians: state.technicians_of(vendor).filter(is_active).count(),
            managers: state.managers_of(vendor).map(|manager| manager.id).collect(),
            invitations: invitations(state, vendor, now),
            concerns,
        }
    }
}

pub(super) async fn contract(
    State(api): State<Api>,
    caller: Caller,
    At(vendor): At<VendorId>,
    Sent(Contract { end, sponsor, telephone, invitations }): Sent<Contract>,
) -> Result<Json<Done>, Problem> {
    let allowance = invitations.map(|InvitationsAllowed { most, roles }| Allowance { most, roles });
    let new = NewContract { vendor, end, sponsor, telephone, allowance };
    Ok(done(&api.people().contract(new, caller.person()).await?))
}

pub(super) async fn disable_vendor(
    State(api): State<Api>,
    caller: Caller,
    At(vendor): At<VendorId>,
) -> Result<StatusCode, Problem> {
    api.people().disable_vendor(vendor, caller.person()).await?;
    Ok(StatusCode::NO_CONTENT)
}

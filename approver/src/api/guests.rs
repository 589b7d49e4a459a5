//! Guests of vendors: whom operators on duty may invite, inviting them, sending them away, and looking back.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use policies::decide::Command;
use policies::guests::{Guest, Invitable};
use policies::ids::{GuestId, RequestId, SessionId, VendorId};
use policies::people::Standing;
use policies::refusals::Refusal;
use policies::requests::Matter;
use policies::state::State as Plant;
use policies::time::Seconds;

use super::Api;
use super::cards::{STATEMENT_LASTS, standing_word};
use super::guard::{Asked, At, Caller, Sent};
use super::problem::Problem;
use super::requests::{done, page};
use super::types::{
    Done, GuestGiven, GuestTemplate, GuestView, GuestWanted, GuestsView, HostView, InvitableRules, InvitableView,
    Invited, VerdictTemplate, Wanted,
};
use crate::people::NewGuest;

/// A visit with what came of it, taken in one look at what stands.
struct Visit {
    id: GuestId,
    guest: Guest,
    standing: Standing,
    requests: Vec<RequestId>,
    sessions: Vec<SessionId>,
}

impl Visit {
    /// These visits, in this order. All are gathered in one pass: the Desk waits meanwhile, however many there are.
    fn of(state: &Plant, wanted: &[GuestId]) -> Vec<Self> {
        let visits = wanted.iter().filter_map(|id| Some((*id, Self::alone(state, *id)?)));
        let mut visits: BTreeMap<GuestId, Self> = visits.collect();
        for (request, case) in &state.cases {
            if let Some(visit) = case.guest.and_then(|id| visits.get_mut(&id)) {
                visit.requests.push(*request);
                visit.sessions.extend(&case.sessions);
            }
        }
        visits.values_mut().for_each(|visit| visit.sessions.sort_unstable());
        wanted.iter().filter_map(|id| visits.remove(id)).collect()
    }

    fn alone(state: &Plant, id: GuestId) -> Option<Self> {
        let guest = state.guests.get(&id)?.clone();
        let is_its_own = state.people.get(&guest.statement.person).filter(|person| person.guest == Some(id));
        let standing = is_its_own.map_or(Standing::Over, |person| person.standing);
        Some(Self { id, guest, standing, requests: Vec::new(), sessions: Vec::new() })
    }
}

impl Api {
    fn visit(&self, id: GuestId) -> Result<Visit, Problem> {
        let found = self.desk().with_state(|state| Visit::of(state, &[id]).pop());
        Ok(found.ok_or(Refusal::NoSuchGuest)?)
    }

    async fn guest_view(&self, visit: Visit) -> GuestView {
        let Visit { id, guest, standing, requests, sessions } = visit;
        let now = self.clock().wall();
        let (statement, digest) = (&guest.statement, guest.statement.digest());
        let ended_by = self.named_all(guest.ended.and_then(|(_, by)| by)).await.pop();
        GuestView {
            guest: id,
            person: self.named(statement.person).await,
            standing: standing_word(standing).to_owned(),
            vendor: statement.vendor.clone(),
            role: statement.role.clone(),
            target: statement.target.clone(),
            rule: guest.rule.id.clone(),
            by: self.named(statement.operator).await,
            at: guest.at,
            until: statement.until,
            ended: guest.ended.map(|(at, _)| at),
            ended_by,
            over: guest.is_over(now),
            reason: self.opened(statement.reason).await,
            telephone: self.opened(statement.telephone).await,
            reviewed: self.look_back(guest.reviewed).await,
            review_wanted: guest.wants_review(now),
            requests,
            sessions,
            covered: statement.clone(),
            digest,
            words: certs::words::of(&digest),
        }
    }

    async fn host(&self, vendor: &VendorId) -> HostView {
        let number = self.desk().with_state(|state| state.contracts.get(vendor)?.telephone);
        HostView { vendor: vendor.clone(), telephone: self.opened(number).await }
    }
}

pub(super) async fn list(State(api): State<Api>, Asked(wanted): Asked<Wanted<GuestId>>) -> Json<GuestsView> {
    let now = api.clock().wall();
    let (visits, next) = api.desk().with_state(|state| {
        let matters = |guest: &Guest| wanted.all || !guest.is_over(now) || guest.wants_review(now);
        let (found, next) = page(|older| state.guests.range(older), &wanted, matters);
        let found: Vec<GuestId> = found.into_iter().map(|(id, _)| *id).collect();
        (Visit::of(state, &found), next)
    });
    let mut guests = Vec::new();
    for visit in visits {
        guests.push(api.guest_view(visit).await);
    }
    Json(GuestsView { guests, next })
}

pub(super) async fn one(State(api): State<Api>, At(id): At<GuestId>) -> Result<Json<GuestView>, Problem> {
    Ok(Json(api.guest_view(api.visit(id)?).await))
}

pub(super) async fn rules(State(api): State<Api>) -> Json<InvitableRules> {
    let invitable = api.desk().with_state(|state| state.invitable(api.clock().wall()));
    let mut rules = Vec::new();
    for Invitable { rule, vendors, targets, most, taken_until } in invitable {
        let mut hosts = Vec::new();
        for vendor in &vendors {
            hosts.push(api.host(vendor).await);
        }
        rules.push(InvitableView { rule, vendors: hosts, targets, most_seconds: most.0, taken_until });
    }
    Json(InvitableRules { rules })
}

pub(super) async fn statement(
    State(api): State<Api>,
    caller: Caller,
    Sent(wanted): Sent<GuestWanted>,
) -> Result<Json<GuestTemplate>, Problem> {
    let GuestWanted { name, vendor, target, rule, lasts_seconds, reason } = wanted;
    if reason.trim().is_empty() {
        return Err(Refusal::ReasonWanted.into());
    }
    let new = NewGuest { name, vendor, target, rule, lasts: Seconds(lasts_seconds), reason };
    let expires = STATEMENT_LASTS.after(api.clock().wall());
    let (statement, rule) = api.people().guest_statement(new, caller.person(), api.seen(), expires).await?;
    Ok(Json(GuestTemplate {
        rule,
        name: api.kept_text(statement.name).await?,
        reason: api.kept_text(statement.reason).await?,
        telephone: api.kept_text(statement.telephone).await?,
        statement,
    }))
}

pub(super) async fn invite(
    State(api): State<Api>,
    caller: Caller,
    Sent(GuestGiven(invitation)): Sent<GuestGiven>,
) -> Result<Json<Invited>, Problem> {
    if invitation.statement.operator != caller.person() {
        return Err(Problem::not_you());
    }
    Ok(api.shown_once(api.people().invite_guest(invitation).await?))
}

pub(super) async fn end(State(api): State<Api>, caller: Caller, At(guest): At<GuestId>) -> Result<Json<Done>, Problem> {
    Ok(done(&api.desk().act(Command::EndGuest { guest, by: caller.person() }).await?))
}

pub(super) async fn review(
    State(api): State<Api>,
    caller: Caller,
    At(id): At<GuestId>,
) -> Result<Json<VerdictTemplate>, Problem> {
    let digest = api.visit(id)?.guest.statement.digest();
    Ok(Json(api.template(&caller, Matter::Guest(id), digest)))
}

//! What technicians do on the vendor face: ask, ask for more, take back, and see what is theirs. Nothing here shows that
//! anybody else's request or session exists.

use axum::Json;
use axum::extract::State;
use policies::decide::{Command, NewRequest};
use policies::digest::Salted;
use policies::ids::{PersonId, RequestId, SessionId};
use policies::offers::{Later, Reach, Terms};
use policies::refusals::Refusal;
use policies::requests::Widening;
use policies::state::{Case, SessionFacts};
use policies::time::{Seconds, Window};

use super::cards::{Around, shown};
use super::guard::{Asked, At, Caller, Sent};
use super::problem::Problem;
use super::requests::{done, matters, page};
use super::types::{
    AskAccess, AskMade, AskMoreActions, AskMoreTime, Done, OfferView, OwnRequest, OwnRequestsView, ReachView,
    ReachWanted, ReachesView, RequestMade, SessionView, SessionsView, TermsView, Wanted,
};
use super::{Api, Source};
use crate::desk::Rejected;
use crate::mint;

/// How long a grant may wait for its first use where nothing is said: a shift.
const WAITS: Seconds = Seconds(8 * 3_600);

pub(super) async fn ask(
    State(api): State<Api>,
    caller: Caller,
    Source(source): Source,
    Sent(asked): Sent<AskAccess>,
) -> Result<Json<RequestMade>, Problem> {
    let now = api.clock().wall();
    let duration = Seconds(asked.duration_seconds);
    let from = asked.from.unwrap_or(now);
    let until = asked.until.unwrap_or_else(|| duration.max(WAITS).after(from));
    let reason = api.kept(Some(&asked.reason)).await?;
    let work_order = api.kept(asked.work_order.as_deref()).await?;
    let id = mint::request(now);
    let submit = Command::Submit(NewRequest {
        id,
        technician: caller.person(),
        target: asked.target,
        service: asked.service,
        actions: asked.actions,
        window: Window { from, until },
        duration,
        reason,
        work_order: work_order.zip(asked.work_order),
        source: Some(source),
        emergency: asked.emergency,
    });
    if let Err(rejected) = api.desk().act(submit).await {
        let texts: Vec<Salted> = reason.into_iter().chain(work_order).collect();
        api.forget_texts(&texts).await;
        return Err(api.with_managers(rejected, caller.person()).await);
    }
    Ok(Json(RequestMade { request: id }))
}

pub(super) async fn reach(
    State(api): State<Api>,
    caller: Caller,
    Source(source): Source,
    Asked(ReachWanted { at }): Asked<ReachWanted>,
) -> Json<ReachesView> {
    let at = at.unwrap_or_else(|| api.clock().wall());
    let reach = api.desk().with_state(|state| state.reach(caller.person(), source, at));
    Json(ReachesView { reach: reach.into_iter().map(reach_view).collect() })
}

fn reach_view(reach: Reach) -> ReachView {
    match reach {
        Reach::Now(offer) => ReachView {
            actions: shown(&offer.actions),
            opens: None,
            offer: Some(OfferView {
                usual_actions: offer.usual_actions(),
                usual_seconds: offer.usual_duration().0,
                terms: offer.each.into_iter().map(|(_, terms)| terms_view(terms)).collect(),
                emergency: offer.emergency,
                cut_off: offer.is_cut,
            }),
            target: offer.target,
            service: offer.service,
            protocol: offer.protocol,
        },
        Reach::Later(Later { target, service, protocol, actions, opens }) => {
            ReachView { target, service, protocol, actions: shown(&actions), opens: Some(opens.at), offer: None }
        }
    }
}

fn terms_view(Terms { most, work_order, approvers, is_staffed }: Terms) -> TermsView {
    TermsView { most_seconds: most.0, work_order: work_order.to_string(), needs: approvers, staffed: is_staffed }
}

impl Api {
    /// A no, with the names of those who could attest whoever asks, where that is what is wanted.
    async fn with_managers(&self, rejected: Rejected, technician: PersonId) -> Problem {
        let is_wanted = matches!(&rejected, Rejected::Refusal(Refusal::NotAttested { has_manager: true, .. }));
        let problem = Problem::from(rejected);
        if is_wanted { problem.and(&self.managers_of(technician).await.join(", ")) } else { problem }
    }

    /// A text, kept; none where there is nothing in it.
    pub(super) async fn kept(&self, text: Option<&str>) -> Result<Option<Salted>, Problem> {
        match text.filter(|text| !text.trim().is_empty()) {
            Some(text) => Ok(Some(self.people().put_text(text).await?)),
            None => Ok(None),
        }
    }

    pub(super) fn own(&self, by: PersonId, id: RequestId) -> Result<Around, Problem> {
        let around = self.desk().with_state(|state| Around::of(state, id));
        Ok(around.filter(|around| around.case.asked.technician == by).ok_or(Refusal::NoSuchRequest)?)
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(wanted): Asked<Wanted<RequestId>>,
) -> Json<OwnRequestsView> {
    let now = api.clock().wall();
    let (around, next) = api.desk().with_state(|state| {
        let is_own =
            |case: &Case| case.asked.technician == caller.person() && (wanted.all || matters(state, case, now));
        let (cases, next) = page(|older| state.cases.range(older), &wanted, is_own);
        (cases.iter().filter_map(|(id, _)| Around::of(state, **id)).collect::<Vec<_>>(), next)
    });
    let mut requests = Vec::new();
    for around in &around {
        requests.push(api.own_request(around).await);
    }
    Json(OwnRequestsView { requests, next })
}

pub(super) async fn one(
    State(api): State<Api>,
    caller: Caller,
    At(id): At<RequestId>,
) -> Result<Json<OwnRequest>, Problem> {
    Ok(Json(api.own_request(&api.own(caller.person(), id)?).await))
}

pub(super) async fn withdraw(
    State(api): State<Api>,
    caller: Caller,
    At(request): At<RequestId>,
) -> Result<Json<Done>, Problem> {
    Ok(done(&api.desk().act(Command::Withdraw { request, by: caller.person() }).await?))
}

pub(super) async fn more_time(
    State(api): State<Api>,
    caller: Caller,
    At(request): At<RequestId>,
    Sent(asked): Sent<AskMoreTime>,
) -> Result<Json<AskMade>, Problem> {
    api.own(caller.person(), request)?;
    let reason = api.kept(Some(&asked.reason)).await?.ok_or(Refusal::ReasonWanted)?;
    let ask = mint::ask(api.clock().wall());
    let more = Seconds(asked.by_seconds);
    let command = Command::AskExtension { ask, request, more, reason, by: caller.person() };
    if let Err(rejected) = api.desk().act(command).await {
        api.forget_texts(&[reason]).await;
        return Err(rejected.into());
    }
    Ok(Json(AskMade { ask }))
}

pub(super) async fn more_actions(
    State(api): State<Api>,
    caller: Caller,
    At(request): At<RequestId>,
    Sent(asked): Sent<AskMoreActions>,
) -> Result<Json<AskMade>, Problem> {
    api.own(caller.person(), request)?;
    let reason = api.kept(Some(&asked.reason)).await?.ok_or(Refusal::ReasonWanted)?;
    let id = mint::ask(api.clock().wall());
    let widening = Widening { id, request, actions: asked.actions, lasts: Seconds(asked.lasts_seconds), reason };
    if let Err(rejected) = api.desk().act(Command::AskWidening { widening, by: caller.person() }).await {
        api.forget_texts(&[reason]).await;
        return Err(rejected.into());
    }
    Ok(Json(AskMade { ask: id }))
}

/// Without the names of who watches.
pub(super) async fn sessions(
    State(api): State<Api>,
    caller: Caller,
    Asked(wanted): Asked<Wanted<SessionId>>,
) -> Json<SessionsView> {
    let (own, next) = api.desk().with_state(|state| {
        let is_own =
            |facts: &SessionFacts| facts.technician == caller.person() && (wanted.all || facts.ended.is_none());
        let (own, next) = page(|older| state.sessions.range(older), &wanted, is_own);
        (own.into_iter().map(|(id, facts)| (*id, facts.clone())).collect::<Vec<_>>(), next)
    });
    Json(SessionsView { sessions: api.own_sessions(&own).await, next })
}

impl Api {
    /// Sessions as their technician sees them.
    pub(super) async fn own_sessions(&self, own: &[(SessionId, SessionFacts)]) -> Vec<SessionView> {
        let mut sessions = Vec::new();
        for (id, facts) in own {
            let mut view = self.session_view(*id, facts, None).await;
            view.watchers.clear();
            view.escort = None;
            view.kept = None;
            view.review = None;
            sessions.push(view);
        }
        sessions
    }
}

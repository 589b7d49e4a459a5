//! Cutting, and letting back in. A cut needs nothing but the word of an operator, or a display's; reopening needs their signature.

use axum::Json;
use axum::extract::State;
use policies::events::CutBy;
use policies::ids::CutId;
use policies::requests::{Matter, Reopening};
use policies::state::StandingCut;

use super::Api;
use super::guard::{Asked, At, Caller, Sent};
use super::problem::Problem;
use super::types::{Cut, CutMade, CutView, CutsView, Done, Reopen, ReopenFor, VerdictTemplate};
use crate::desk::Kept;

pub(super) async fn cut(
    State(api): State<Api>,
    caller: Caller,
    Sent(Cut { scope }): Sent<Cut>,
) -> Result<Json<CutMade>, Problem> {
    let done = api.desk().cut(caller.cuts_as(), scope).await?;
    let kept = match done.kept {
        Kept::Journaled => "journal",
        Kept::OnDisk => "disk",
        Kept::InMemory => "memory",
    };
    Ok(Json(CutMade { cut: done.cut, sessions: done.sessions, kept: kept.to_owned() }))
}

pub(super) async fn list(State(api): State<Api>) -> Json<CutsView> {
    // In this order: what is journaled meanwhile is in both.
    let unjournaled = api.desk().status().unjournaled_cuts;
    let journaled = api.desk().with_state(|state| state.cuts.clone());
    let mut cuts = Vec::new();
    for (cut, scope) in unjournaled {
        if !journaled.contains_key(&cut) {
            cuts.push(CutView { cut, scope, journaled: false, by: None, at: None });
        }
    }
    for (cut, StandingCut { scope, by, at }) in journaled {
        cuts.push(CutView { cut, scope, journaled: true, by: Some(api.cutter(&by).await), at: Some(at) });
    }
    cuts.sort_by_key(|view| view.cut);
    Json(CutsView { cuts })
}

impl Api {
    async fn cutter(&self, by: &CutBy) -> String {
        match by {
            CutBy::Operator(person) => self.people().shown(*person).await,
            CutBy::Display(display) => format!("somebody at the display {}", self.people().shown(*display).await),
            CutBy::Local => "somebody at the gate's own machine".to_owned(),
        }
    }
}

pub(super) async fn statement(
    State(api): State<Api>,
    caller: Caller,
    At(cut): At<CutId>,
    Asked(ReopenFor { reason }): Asked<ReopenFor>,
) -> Json<VerdictTemplate> {
    let digest = api.desk().with_state(|state| state.reopening_digest(&Reopening { cut, reason }));
    Json(api.template(&caller, Matter::Reopening(cut), digest))
}

pub(super) async fn reopen(
    State(api): State<Api>,
    caller: Caller,
    At(cut): At<CutId>,
    Sent(Reopen { reopening, verdict }): Sent<Reopen>,
) -> Result<Json<Done>, Problem> {
    if verdict.statement.operator != caller.person() {
        return Err(Problem::not_you());
    }
    if reopening.cut != cut {
        return Err(Problem::malformed("path and body name different cuts"));
    }
    api.desk().reopen(reopening, verdict).await?;
    Ok(Json(Done { events: vec!["HP1502".to_owned()] }))
}

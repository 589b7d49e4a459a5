//! How long recordings are kept: held, released, erased. What is destroyed, and in which order, is in `crate::eraser`.

use axum::Json;
use axum::extract::State;
use policies::decide::Command;
use policies::ids::SessionId;
use policies::refusals::Refusal;
use policies::requests::EraseStatement;

use super::Api;
use super::cards::STATEMENT_LASTS;
use super::guard::{At, Caller, Sent};
use super::problem::Problem;
use super::requests::done;
use super::types::{Because, Done, EraseSignature, EraseTemplate, Release};
use crate::desk::Rejected;
use crate::mint;

pub(super) async fn hold(
    State(api): State<Api>,
    caller: Caller,
    At(session): At<SessionId>,
    Sent(Because { reason }): Sent<Because>,
) -> Result<Json<Done>, Problem> {
    let reason = api.people().put_text(&reason).await?;
    let held = api.desk().act(Command::Hold { session, reason, by: caller.person() }).await;
    if held.as_ref().map_or(true, Vec::is_empty) {
        api.forget_texts(&[reason]).await;
    }
    Ok(done(&held?))
}

pub(super) async fn release(
    State(api): State<Api>,
    caller: Caller,
    At(session): At<SessionId>,
    Sent(Release { of }): Sent<Release>,
) -> Result<Json<Done>, Problem> {
    let by = caller.person();
    Ok(done(&api.desk().act(Command::Release { session, of: of.unwrap_or(by), by }).await?))
}

/// Nothing is put up for signing that would be refused.
pub(super) async fn statement(
    State(api): State<Api>,
    caller: Caller,
    At(session): At<SessionId>,
) -> Result<Json<EraseTemplate>, Problem> {
    let now = api.clock().wall();
    if let Err(refusal) = api.desk().with_state(|state| state.check_erasable(session, now)) {
        return Err(api.named_refusal(refusal).await);
    }
    let statement = EraseStatement {
        deployment: api.desk().deployment().clone(),
        session,
        signer: caller.person(),
        nonce: mint::nonce(),
        expires: STATEMENT_LASTS.after(now),
        journal: api.seen(),
    };
    Ok(Json(EraseTemplate { statement }))
}

pub(super) async fn sign(
    State(api): State<Api>,
    caller: Caller,
    At(session): At<SessionId>,
    Sent(EraseSignature(signed)): Sent<EraseSignature>,
) -> Result<Json<Done>, Problem> {
    if signed.statement.signer != caller.person() {
        return Err(Problem::not_you());
    }
    if signed.statement.session != session {
        return Err(Problem::malformed("path and body name different sessions"));
    }
    match api.desk().act(Command::SignErasure { signed }).await {
        Ok(events) => Ok(done(&events)),
        Err(Rejected::Refusal(refusal)) => Err(api.named_refusal(refusal).await),
        Err(rejected) => Err(rejected.into()),
    }
}

impl Api {
    /// Whoever holds it is told by name: that is whom to ask.
    async fn named_refusal(&self, refusal: Refusal) -> Problem {
        let mut problem = Problem::from(refusal.clone());
        if let Refusal::Held(by) = &refusal {
            for person in by {
                let name = self.named(*person).await.name;
                problem = problem.naming(&person.to_string(), &name);
            }
        }
        problem
    }
}

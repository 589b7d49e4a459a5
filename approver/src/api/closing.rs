//! What comes after work: technicians say what they did, operators sign it off, and somebody else reviews the sessions that were
//! drawn.

use axum::Json;
use axum::extract::State;
use policies::closing::Accounted;
use policies::decide::Command;
use policies::ids::{RequestId, SessionId};
use policies::refusals::Refusal;
use policies::requests::{Account, Matter};
use policies::state::{Case, SessionFacts};

use super::Api;
use super::guard::{Asked, At, Caller, Sent};
use super::problem::Problem;
use super::requests::done;
use super::types::{
    AccountGiven, AccountView, CloseOutFor, CloseOutGiven, CloseOutView, Done, DrawnView, VerdictTemplate,
};

pub(super) async fn account(
    State(api): State<Api>,
    caller: Caller,
    At(request): At<RequestId>,
    Sent(AccountGiven { done: what, changed, left }): Sent<AccountGiven>,
) -> Result<Json<Done>, Problem> {
    api.own(caller.person(), request)?;
    let now = api.clock().wall();
    api.desk().with_state(|state| state.cases.get(&request).map_or(Ok(()), |case| case.check_accountable(now)))?;
    if api.is_said(request, [&what, &changed, &left]).await {
        return Err(Refusal::AccountSame.into());
    }
    let mut texts = Vec::new();
    for text in [what, changed, left] {
        match api.kept(Some(&text)).await {
            Ok(Some(kept)) => texts.push(kept),
            wrong => {
                api.forget_texts(&texts).await;
                return Err(wrong.err().unwrap_or_else(|| Refusal::AccountWanted.into()));
            }
        }
    }
    let &[done_text, changed, left] = &texts[..] else { unreachable!("three were kept") };
    let account = Account { done: done_text, changed, left };
    let said = api.desk().act(Command::Account { request, account, by: caller.person() }).await;
    if said.is_err() {
        api.forget_texts(&texts).await;
    }
    Ok(done(&said?))
}

pub(super) async fn statement(
    State(api): State<Api>,
    caller: Caller,
    At(request): At<RequestId>,
    Asked(texts): Asked<CloseOutFor>,
) -> Result<Json<VerdictTemplate>, Problem> {
    let close_out = api.desk().with_state(|state| state.close_out_of(request, texts.into()))?;
    Ok(Json(api.template(&caller, Matter::CloseOut(request), close_out.digest(api.desk().deployment()))))
}

pub(super) async fn close_out(
    State(api): State<Api>,
    caller: Caller,
    At(request): At<RequestId>,
    Sent(CloseOutGiven { close_out, verdict }): Sent<CloseOutGiven>,
) -> Result<Json<Done>, Problem> {
    if verdict.statement.operator != caller.person() {
        return Err(Problem::not_you());
    }
    if close_out.request != request {
        return Err(Problem::malformed("path and body name different grants"));
    }
    Ok(done(&api.desk().act(Command::CloseOut { close_out, verdict }).await?))
}

pub(super) async fn review(
    State(api): State<Api>,
    caller: Caller,
    At(id): At<SessionId>,
) -> Result<Json<VerdictTemplate>, Problem> {
    let matter = Matter::Session(id);
    let digest = api.desk().with_state(|state| state.standing_digest(&matter))?;
    Ok(Json(api.template(&caller, matter, digest)))
}

impl Api {
    /// Whether the technician said just this already of all that was done: texts are salted, so their digests do not tell.
    async fn is_said(&self, request: RequestId, texts: [&str; Account::TEXTS]) -> bool {
        let said = self.desk().with_state(|state| state.cases.get(&request).and_then(Case::whole_account));
        let Some(said) = said else { return false };
        for (kept, text) in said.account.texts().into_iter().zip(texts) {
            if self.opened(kept).await.as_deref() != Some(text) {
                return false;
            }
        }
        true
    }

    pub(super) async fn account_view(&self, case: &Case, accounted: Option<Accounted>) -> Option<AccountView> {
        let Accounted { account: Account { done, changed, left }, by, at, sessions } = accounted?;
        Some(AccountView {
            by: self.named(by).await,
            at,
            done: self.opened(done).await,
            changed: self.opened(changed).await,
            left: self.opened(left).await,
            earlier: sessions < case.sessions.len(),
        })
    }

    pub(super) fn close_out_view(&self, case: &Case) -> Option<CloseOutView> {
        let now = self.clock().wall();
        let stands = self.desk().with_state(|state| state.to_close_out(case, now))?;
        Some(CloseOutView { due: stands.due, overdue: stands.is_overdue(now), work: case.work()? })
    }

    pub(super) async fn drawn_view(&self, facts: &SessionFacts) -> Option<DrawnView> {
        let due = facts.review_due?;
        let overdue = facts.is_review_overdue(self.clock().wall());
        Some(DrawnView { due, overdue, reviewed: self.look_back(facts.reviewed()).await })
    }
}

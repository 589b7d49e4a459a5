//! What operators do with requests: look at the card, get a statement to sign, give the signed verdict. The approver is
//! who signed in: a statement in another's name is refused before it reaches the Desk.

use std::collections::BTreeMap;
use std::ops::Bound;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use policies::decide::Command;
use policies::digest::{Digest, Salted};
use policies::events::Event;
use policies::ids::{AskId, RequestId};
use policies::refusals::Refusal;
use policies::requests::{Answer, Matter, Narrowing, SeenHead, VerdictStatement};
use policies::state::{Ask, Case, RequestStanding, State as Plant};
use zeroize::Zeroizing;

use super::Api;
use super::cards::{Around, STATEMENT_LASTS};
use super::guard::{Asked, At, Caller, Login, Sent};
use super::problem::Problem;
use super::types::{
    AsksView, Because, Card, CardsView, Done, KeepText, KeptText, LISTED_MAX, VerdictGiven, VerdictTemplate, Wanted,
    WeakerVerdictGiven,
};
use crate::desk::grant_of;
use crate::mint;
use crate::people::WeakerAnswer;

pub(super) async fn list(State(api): State<Api>, Asked(wanted): Asked<Wanted<RequestId>>) -> Json<CardsView> {
    let now = api.clock().wall();
    let (around, next) = api.desk().with_state(|state| {
        let open: BTreeMap<RequestId, &Case> = if wanted.all { BTreeMap::new() } else { state.open_cases().collect() };
        let (cases, next) = match wanted.all {
            true => ids(page(|older| state.cases.range(older), &wanted, |_| true)),
            false => ids(page(|older| open.range(older), &wanted, |case| matters(state, case, now))),
        };
        (cases.into_iter().filter_map(|id| Around::of(state, id)).collect::<Vec<_>>(), next)
    });
    let mut requests = Vec::new();
    for around in &around {
        requests.push(api.card(around).await);
    }
    Json(CardsView { requests, next })
}

fn ids<T>((found, next): (Vec<(&RequestId, &T)>, Option<RequestId>)) -> (Vec<RequestId>, Option<RequestId>) {
    (found.into_iter().map(|(id, _)| *id).collect(), next)
}

/// Newest first, as far as they fit what is wanted; and where the next page begins, if there is one.
pub(super) fn page<'a, I: Ord + Copy + 'a, T: 'a, Older: DoubleEndedIterator<Item = (&'a I, &'a T)>>(
    all: impl FnOnce((Bound<I>, Bound<I>)) -> Older,
    wanted: &Wanted<I>,
    fits: impl Fn(&T) -> bool,
) -> (Vec<(&'a I, &'a T)>, Option<I>) {
    let end = wanted.before.map_or(Bound::Unbounded, Bound::Excluded);
    let limit = wanted.limit.unwrap_or(LISTED_MAX).clamp(1, LISTED_MAX);
    let older = all((Bound::Unbounded, end)).rev().filter(|(_, one)| fits(one));
    let mut found: Vec<_> = older.take(limit + 1).collect();
    let is_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| is_more).map(|(id, _)| **id);
    (found, next)
}

/// Waits, stands, was given as an emergency that nobody looked back at, or is to be closed out.
pub(super) fn matters(state: &Plant, case: &Case, now: jiff::Timestamp) -> bool {
    let stands = match case.standing {
        RequestStanding::Pending => now < case.request.window.until,
        RequestStanding::Granted => now < case.deadline || case.wants_review(),
        RequestStanding::ClosedOut => case.wants_review(),
        _ => false,
    };
    stands || state.to_close_out(case, now).is_some_and(|one| one.is_wanted())
}

pub(super) async fn one(State(api): State<Api>, At(id): At<RequestId>) -> Result<Json<Card>, Problem> {
    let around = api.desk().with_state(|state| Around::of(state, id)).ok_or(Refusal::NoSuchRequest)?;
    Ok(Json(api.card(&around).await))
}

pub(super) async fn statement(
    State(api): State<Api>,
    caller: Caller,
    At(id): At<RequestId>,
) -> Result<Json<VerdictTemplate>, Problem> {
    let digest = api.request_digest(id)?;
    Ok(Json(api.template(&caller, Matter::Request(id), digest)))
}

pub(super) async fn review(
    State(api): State<Api>,
    caller: Caller,
    At(id): At<RequestId>,
) -> Result<Json<VerdictTemplate>, Problem> {
    let digest = api.request_digest(id)?;
    Ok(Json(api.template(&caller, Matter::Review(id), digest)))
}

pub(super) async fn ask_statement(
    State(api): State<Api>,
    caller: Caller,
    At(id): At<AskId>,
) -> Result<Json<VerdictTemplate>, Problem> {
    let ask = api.desk().with_state(|state| state.asks.get(&id).map(|ask| (ask.asked.clone(), state.ask_digest(ask))));
    let (asked, digest) = ask.ok_or(Refusal::NoSuchRequest)?;
    Ok(Json(api.template(&caller, asked.matter(), digest)))
}

impl Api {
    fn request_digest(&self, id: RequestId) -> Result<Digest, Problem> {
        let deployment = self.desk().deployment();
        let digest = self.desk().with_state(|state| state.cases.get(&id).map(|case| case.request.digest(deployment)));
        Ok(digest.ok_or(Refusal::NoSuchRequest)?)
    }

    /// A yes of the caller's to whatever has this digest, over the journal as it is now.
    pub(super) fn template(&self, caller: &Caller, matter: Matter, digest: Digest) -> VerdictTemplate {
        let statement = VerdictStatement {
            deployment: self.desk().deployment().clone(),
            matter,
            digest,
            answer: Answer::Yes { narrowing: Narrowing::default() },
            operator: caller.person(),
            nonce: mint::nonce(),
            expires: STATEMENT_LASTS.after(self.clock().wall()),
            journal: self.seen(),
        };
        VerdictTemplate { statement, words: certs::words::of(&digest) }
    }

    /// The journal as a signer sees it now.
    pub(super) fn seen(&self) -> SeenHead {
        let head = self.desk().head();
        SeenHead { size: head.size, root: Digest(head.root) }
    }
}

pub(super) async fn vote(
    State(api): State<Api>,
    caller: Caller,
    Sent(VerdictGiven(verdict)): Sent<VerdictGiven>,
) -> Result<Json<Done>, Problem> {
    if verdict.statement.operator != caller.person() {
        return Err(Problem::not_you());
    }
    let events = api.desk().act(Command::Vote { verdict }).await?;
    api.tell_answers(&events).await;
    Ok(done(&events))
}

/// A verdict in the caller's name that is not signed: by a code, where the rule allows that.
pub(super) async fn vote_weaker(
    State(api): State<Api>,
    caller: Caller,
    login: Login,
    Sent(WeakerVerdictGiven { statement, way, code, read_back }): Sent<WeakerVerdictGiven>,
) -> Result<Json<Done>, Problem> {
    if statement.operator != caller.person() {
        return Err(Problem::not_you());
    }
    check_counts_without_signature(&login)?;
    let (code, read_back) = (Zeroizing::new(code), read_back.map(Zeroizing::new));
    let read_back = read_back.as_ref().map(|typed| typed.as_str());
    let answer = WeakerAnswer { statement, way, code: &code, read_back };
    let events = api.people().answer_weaker(answer).await?;
    api.tell_answers(&events).await;
    Ok(done(&events))
}

/// A provider's word beside a code would be half of an approval.
fn check_counts_without_signature(login: &Login) -> Result<(), Problem> {
    match login.who.subject() {
        None => Ok(()),
        Some((provider, _)) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "signed-in-by-provider",
            format!(
                "you are signed in by the word of {provider}, which counts towards no approval: sign this with your passkey, or \
                 sign in with it and answer by your code then"
            ),
        )),
    }
}

pub(super) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    At(request): At<RequestId>,
    Sent(Because { reason }): Sent<Because>,
) -> Result<Json<Done>, Problem> {
    let reason = api.people().put_text(&reason).await?;
    let revoked = api.desk().act(Command::Revoke { request, reason, by: caller.person() }).await;
    if revoked.is_err() {
        api.forget_texts(&[reason]).await;
    }
    Ok(done(&revoked?))
}

pub(super) async fn asks(State(api): State<Api>, Asked(wanted): Asked<Wanted<AskId>>) -> Json<AsksView> {
    let now = api.clock().wall();
    let (asks, next) = api.desk().with_state(|state| {
        let is_open = |ask: &Ask| ask.open && grant_of(state, ask, now).is_some();
        let (asks, next) = page(|older| state.asks.range(older), &wanted, |ask| wanted.all || is_open(ask));
        let case = |ask: &Ask| state.cases.get(&ask.asked.request()).cloned();
        (asks.into_iter().map(|(id, ask)| (*id, ask.clone(), case(ask))).collect::<Vec<_>>(), next)
    });
    let mut views = Vec::new();
    for (id, ask, case) in &asks {
        views.push(api.ask_view(*id, ask, case.as_ref()).await);
    }
    Json(AsksView { asks: views, next })
}

pub(super) async fn keep_text(
    State(api): State<Api>,
    Sent(KeepText { text }): Sent<KeepText>,
) -> Result<Json<KeptText>, Problem> {
    let digest = api.people().put_text(&text).await?;
    api.kept_text(digest).await.map(Json)
}

pub(super) async fn text(State(api): State<Api>, At(digest): At<Salted>) -> Result<Json<KeptText>, Problem> {
    api.kept_text(digest).await.map(Json)
}

impl Api {
    pub(super) async fn kept_text(&self, digest: Salted) -> Result<KeptText, Problem> {
        let kept = self.desk().directory().salt_and_text(digest).await?;
        let (salt, text) = kept.ok_or_else(|| Problem::not_found("no text has this digest, or it was erased"))?;
        Ok(KeptText { digest, salt: data_encoding::HEXLOWER.encode(&salt), text })
    }

    /// Texts of something that was refused stay nowhere.
    pub(super) async fn forget_texts(&self, texts: &[Salted]) {
        for text in texts {
            if let Err(fault) = self.desk().directory().erase_text(*text).await {
                tracing::warn!(%fault, "the text of something refused stays in the directory");
            }
        }
    }
}

/// The ids of what came of it.
pub(super) fn done(events: &[Event]) -> Json<Done> {
    Json(Done { events: events.iter().map(|event| event.id().to_owned()).collect() })
}

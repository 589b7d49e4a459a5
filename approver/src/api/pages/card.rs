//! The card: all that somebody must know who says yes or no to a request, to more of it, or to letting people back in.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use policies::events::Scope;
use policies::ids::{AskId, CutId, RequestId, SessionId, TargetName, ZoneName};
use policies::state::SessionFacts;

use super::super::types::{
    ActionView, AskView, AsksView, Because, Card, CardsView, CloseOutView, CutView, CutsView, Done, ServiceView,
    SessionView, SessionsView, VoteView,
};
use super::inside::{Inside, Said};
use super::signing::json;
use super::{Fields, Pages, Posted, Top, board, words};
use crate::desk::is_within;

#[derive(Template)]
#[template(path = "request.html")]
struct Request {
    top: Top,
    facts: Facts,
    sign_at: String,
    minutes: u32,
    actions: Vec<Choice>,
    around: Around,
    asks: Vec<Asked>,
    weaker: String,
    handover: String,
    is_late: bool,
    can_vote: bool,
    can_revoke: bool,
    can_review: bool,
    can_close_out: bool,
    /// What was at work, in words, and as it is sent back.
    work: (String, String),
    /// Until when its rule wants it to be closed out; it does not, or work is not over, where it is empty.
    close_out_due: String,
    is_overdue: bool,
    /// What the technician says, or what was signed off; nothing, where nobody is named.
    account: words::Account,
    is_closed_out: bool,
    /// Sessions that run under it.
    live: usize,
}

/// What whoever answers should know of beside what is asked.
struct Around {
    last: Option<Last>,
    nearby: Vec<String>,
    /// Sessions under the same grant: those that run first.
    sessions: Vec<Under>,
}

/// A session under the grant.
struct Under {
    link: String,
    in_words: String,
    is_live: bool,
}

/// What is asked, by whom, and why.
struct Facts {
    id: String,
    who: String,
    vendor: String,
    role: String,
    target: String,
    zone: String,
    services: String,
    cautions: Vec<String>,
    reason: String,
    work_order: String,
    window: String,
    duration: String,
    rule: String,
    needs: String,
    standing: String,
    age: String,
    taken_back: String,
    votes: Vec<String>,
    taken_away: Vec<String>,
    is_emergency: bool,
    /// Since when it runs, and until when; nothing, where it does not.
    runs: String,
    /// What a manager of their company attests of the technician; nothing of what is over.
    attestation: String,
    /// Who looked back at an emergency grant, and what they say.
    looked_back: String,
    is_objection: bool,
    /// The page of the visit that it was asked on; none, where nobody is a guest.
    guest: String,
    words: String,
    digest: String,
}

struct Choice {
    name: &'static str,
    in_words: String,
}

fn choice(action: &ActionView) -> Choice {
    Choice { name: action.action.as_str(), in_words: action.in_words.clone() }
}

/// This vendor's last session there.
struct Last {
    link: String,
    in_words: String,
}

struct Asked {
    link: String,
    in_words: String,
}

pub(super) async fn request(State(pages): State<Pages>, inside: Inside, Path(id): Path<String>) -> Response {
    pages.shown(&inside, of_request(&pages, &inside, &id).await).await
}

/// A path of the API for what a page's own path names.
pub(super) fn id_of<T: std::str::FromStr>(text: &str) -> Result<T, Said> {
    text.parse().map_err(|_| Said::new(StatusCode::NOT_FOUND, "Not there", "there is no such page"))
}

async fn of_request(pages: &Pages, inside: &Inside, id: &str) -> Result<Request, Said> {
    let id: RequestId = id_of(id)?;
    let card: Card = inside.get(&format!("/api/v1/requests/{id}")).await?;
    let (now, zone) = pages.clock();
    let is_pending = card.standing == "pending";
    Ok(Request {
        top: pages.top(Some(inside)).await,
        sign_at: format!("/requests/{id}/sign"),
        minutes: card.duration_seconds / 60,
        actions: card.actions.iter().map(choice).collect(),
        around: around(pages, inside, &card).await?,
        asks: card
            .asks
            .iter()
            .map(|ask| Asked { link: format!("/asks/{}", ask.ask), in_words: ask.in_words.clone() })
            .collect(),
        weaker: words::weaker_ways(&card.weaker),
        handover: card.handover.as_ref().map(|left| words::handover(left, now, &zone)).unwrap_or_default(),
        is_late: card.handover.as_ref().is_some_and(|left| left.red),
        can_vote: is_pending,
        can_revoke: card.standing == "granted" && now < card.deadline,
        can_review: card.review_wanted,
        can_close_out: card.close_out.is_some(),
        work: card.close_out.as_ref().map(|one| (words::work(&one.work), json(&one.work))).unwrap_or_default(),
        close_out_due: card.close_out.as_ref().map(|one| close_out_due(one, now, &zone)).unwrap_or_default(),
        is_overdue: card.close_out.as_ref().is_some_and(|one| one.overdue),
        is_closed_out: card.closed_out.is_some(),
        account: card
            .closed_out
            .as_ref()
            .or(card.account.as_ref())
            .map(|account| words::Account::of(account, now, &zone))
            .unwrap_or_default(),
        live: card.sessions.len(),
        facts: facts(&card, now, &zone),
    })
}

/// Until when a grant is to be closed out; nothing, where that is not wanted.
pub(super) fn close_out_due(one: &CloseOutView, now: Timestamp, zone: &TimeZone) -> String {
    one.due.map(|due| words::due(due, one.overdue, now, zone)).unwrap_or_default()
}

fn facts(card: &Card, now: Timestamp, zone: &TimeZone) -> Facts {
    let moment = |at| words::moment(at, now, zone);
    let text = |text: &Option<String>| words::plain(text.as_deref().unwrap_or_default());
    // A no to the request stands among the answers.
    let taken_back = card.no.as_ref().filter(|_| card.standing == "revoked");
    let taken_back = taken_back.map(|no| format!("taken back by {}: {}", words::plain(&no.by), text(&no.reason)));
    Facts {
        id: card.request.to_string(),
        who: words::plain(&card.technician.name),
        vendor: card.vendor.as_ref().map(ToString::to_string).unwrap_or_default(),
        role: card.role.as_ref().map(ToString::to_string).unwrap_or_default(),
        target: card.target.to_string(),
        zone: card.zone.as_ref().map(ToString::to_string).unwrap_or_default(),
        services: card.services.iter().map(service).collect::<Vec<_>>().join(", "),
        cautions: card.cautions.clone(),
        reason: text(&card.reason),
        work_order: text(&card.work_order),
        window: format!("{} to {}", moment(card.window.from), moment(card.window.until)),
        duration: words::duration(card.duration_seconds),
        rule: card.rule.to_string(),
        needs: card.needs.clone(),
        standing: card.standing.clone(),
        age: words::between(card.submitted, now),
        taken_back: taken_back.unwrap_or_default(),
        votes: votes(&card.votes, now, zone),
        taken_away: card.taken_away.clone(),
        is_emergency: card.emergency,
        runs: runs(card, now, zone),
        is_objection: card.reviewed.as_ref().is_some_and(|seen| seen.objects),
        attestation: card.attestation.as_ref().map(|one| words::attestation(one, now, zone)).unwrap_or_default(),
        looked_back: card.reviewed.as_ref().map(|seen| words::looked_back(seen, now, zone)).unwrap_or_default(),
        guest: card.guest.map(|guest| format!("/guests/{guest}")).unwrap_or_default(),
        words: card.words.clone(),
        digest: card.digest.to_string(),
    }
}

/// How far a grant is.
fn runs(card: &Card, now: Timestamp, zone: &TimeZone) -> String {
    let moment = |at| words::moment(at, now, zone);
    let is_over = card.standing != "granted" || card.deadline <= now;
    match (is_over, card.first_use) {
        (true, _) => String::new(),
        (false, None) => format!("not begun yet, may begin until {}", moment(card.deadline)),
        (false, Some(since)) => {
            let left = words::between(now, card.deadline);
            format!("since {}, ends {} (in {left})", moment(since), moment(card.deadline))
        }
    }
}

fn service(view: &ServiceView) -> String {
    match view.protocol {
        Some(protocol) => format!("{} ({protocol})", view.service),
        None => view.service.to_string(),
    }
}

fn votes(votes: &[VoteView], now: Timestamp, zone: &TimeZone) -> Vec<String> {
    let line = |vote: &VoteView| {
        let answer = if vote.yes { "yes" } else { "no" };
        let reason = vote.reason.as_deref().map(|reason| format!(": {}", words::plain(reason))).unwrap_or_default();
        let mark = vote.weaker.map(|way| format!(" ({})", way.mark())).unwrap_or_default();
        let at = words::moment(vote.at, now, zone);
        format!("{} said {answer} at {at}{mark}{reason}", words::plain(&vote.operator.name))
    };
    votes.iter().map(line).collect()
}

async fn around(pages: &Pages, inside: &Inside, card: &Card) -> Result<Around, Said> {
    let SessionsView { sessions, .. } = inside.list("/api/v1/sessions").await?;
    let CardsView { requests, .. } = inside.list("/api/v1/requests").await?;
    let nearby = nearby(pages, card, &sessions, &requests);
    Ok(Around { last: last(pages, inside, card).await?, nearby, sessions: under(pages, card) })
}

/// What ran or runs under the grant that this is about.
fn under(pages: &Pages, card: &Card) -> Vec<Under> {
    let (now, zone) = pages.clock();
    let one = |id: &SessionId, facts: &SessionFacts| {
        let since = words::moment(facts.started, now, &zone);
        let in_words = match &facts.ended {
            None => format!("at work since {since}"),
            Some((at, ending)) => format!("{since} to {}: {}", words::moment(*at, now, &zone), ending.in_words()),
        };
        Under { link: format!("/sessions/{id}"), in_words, is_live: facts.ended.is_none() }
    };
    let mut found: Vec<_> = pages.api.desk().with_state(|state| {
        let its = state.cases.get(&card.request).into_iter().flat_map(|case| &case.sessions);
        its.filter_map(|id| Some(one(id, state.sessions.get(id)?))).collect()
    });
    found.sort_by_key(|one| !one.is_live);
    found
}

async fn last(pages: &Pages, inside: &Inside, card: &Card) -> Result<Option<Last>, Said> {
    let newest = pages.api.desk().with_state(|state| {
        let is_theirs = |facts: &SessionFacts| {
            let is_other = facts.request != card.request;
            is_other && facts.target == card.target && state.vendor_of(facts.technician) == card.vendor.as_ref()
        };
        state.sessions.iter().rev().find(|(_, facts)| facts.ended.is_some() && is_theirs(facts)).map(|(id, _)| *id)
    });
    let Some(id) = newest else { return Ok(None) };
    let session: SessionView = inside.get(&format!("/api/v1/sessions/{id}")).await?;
    let (now, zone) = pages.clock();
    Ok(session.ended.as_ref().map(|ended| Last {
        link: format!("/sessions/{}", session.session),
        in_words: format!(
            "{}, by {}, for {} ({}); it ended: {}",
            words::moment(session.started, now, &zone),
            words::plain(&session.technician.name),
            words::between(session.started, ended.at),
            board::listed(&session.actions),
            ended.in_words,
        ),
    }))
}

/// Who else is at work, or may be soon, at this target or in its zone.
fn nearby(pages: &Pages, card: &Card, sessions: &[SessionView], requests: &[Card]) -> Vec<String> {
    let zone = |target: &TargetName| -> Option<ZoneName> {
        pages.api.desk().with_state(|state| state.zone_of(target).cloned())
    };
    let (now, time_zone) = pages.clock();
    let is_near = |target: &TargetName| *target == card.target || zone(target) == card.zone;
    let is_other = |one: &SessionView| one.request != card.request && one.ended.is_none();
    let live = sessions.iter().filter(|one| is_other(one) && is_near(&one.target));
    let live = live.map(|one| {
        format!("{} is at work at {} ({})", words::plain(&one.technician.name), one.target, board::listed(&one.actions))
    });
    let granted = requests.iter().filter(|one| {
        let may_begin = one.standing == "granted" && now < one.deadline && one.sessions.is_empty();
        one.request != card.request && may_begin && is_near(&one.target)
    });
    let granted = granted.map(|one| {
        let until = words::moment(one.deadline, now, &time_zone);
        format!("{} may begin at {} until {until}", words::plain(&one.technician.name), one.target)
    });
    live.chain(granted).collect()
}

pub(super) async fn revoke(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    pages.then(&inside, take_back(&inside, &id, &fields).await).await
}

/// What the shift before left.
pub(super) async fn accept(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    pages.then(&sent.inside, take_over(&sent.inside, &id).await).await
}

async fn take_over(inside: &Inside, id: &str) -> Result<String, Said> {
    let id: RequestId = id_of(id)?;
    let _: Done = inside.post(&format!("/api/v1/requests/{id}/accept"), &serde_json::json!({})).await?;
    Ok(format!("/requests/{id}"))
}

async fn take_back(inside: &Inside, id: &str, fields: &Fields) -> Result<String, Said> {
    let id: RequestId = id_of(id)?;
    let because = Because { reason: fields.get("reason").to_owned() };
    let _: Done = inside.post(&format!("/api/v1/requests/{id}/revoke"), &because).await?;
    Ok(format!("/requests/{id}"))
}

#[derive(Template)]
#[template(path = "ask.html")]
struct AskPage {
    top: Top,
    sign_at: String,
    in_words: String,
    reason: String,
    age: String,
    needs: String,
    votes: Vec<String>,
    weaker: String,
    is_open: bool,
    words: String,
    digest: String,
    facts: Facts,
    actions: Vec<Choice>,
    around: Around,
}

pub(super) async fn ask(State(pages): State<Pages>, inside: Inside, Path(id): Path<String>) -> Response {
    pages.shown(&inside, of_ask(&pages, &inside, &id).await).await
}

/// What was asked of a grant, whether it waits or is answered.
pub(super) async fn find_ask(inside: &Inside, id: &str) -> Result<AskView, Said> {
    let id: AskId = id_of(id)?;
    let AsksView { asks, .. } = inside.list("/api/v1/asks?all=true").await?;
    let found = asks.into_iter().find(|ask| ask.ask == id);
    found.ok_or_else(|| Said::new(StatusCode::NOT_FOUND, "Not there", "nothing asked has this name"))
}

async fn of_ask(pages: &Pages, inside: &Inside, id: &str) -> Result<AskPage, Said> {
    let ask = find_ask(inside, id).await?;
    let card: Card = inside.get(&format!("/api/v1/requests/{}", ask.request)).await?;
    let (now, zone) = pages.clock();
    Ok(AskPage {
        top: pages.top(Some(inside)).await,
        sign_at: format!("/asks/{}/sign", ask.ask),
        in_words: ask.in_words,
        age: words::between(ask.at, now),
        reason: words::plain(ask.reason.as_deref().unwrap_or_default()),
        needs: ask.needs,
        votes: votes(&ask.votes, now, &zone),
        weaker: words::weaker_ways(&ask.weaker),
        is_open: ask.open,
        words: ask.words,
        digest: ask.digest.to_string(),
        facts: facts(&card, now, &zone),
        actions: card.actions.iter().map(choice).collect(),
        around: around(pages, inside, &card).await?,
    })
}

#[derive(Template)]
#[template(path = "cut.html")]
struct CutPage {
    top: Top,
    id: String,
    what: String,
    /// On whose word, and when; nothing, where it is not in the journal yet.
    by: String,
    is_journaled: bool,
    /// Whose grants it keeps shut, whatever else may keep them out.
    come_back: Vec<String>,
}

pub(super) async fn cut(State(pages): State<Pages>, inside: Inside, Path(id): Path<String>) -> Response {
    pages.shown(&inside, of_cut(&pages, &inside, &id).await).await
}

/// A cut that stands.
pub(super) async fn find_cut(inside: &Inside, id: &str) -> Result<CutView, Said> {
    let id: CutId = id_of(id)?;
    let CutsView { cuts } = inside.get("/api/v1/cuts").await?;
    let found = cuts.into_iter().find(|cut| cut.cut == id);
    found.ok_or_else(|| Said::new(StatusCode::NOT_FOUND, "Not there", "no cut of this name stands any more"))
}

async fn of_cut(pages: &Pages, inside: &Inside, id: &str) -> Result<CutPage, Said> {
    let cut = find_cut(inside, id).await?;
    let CardsView { requests, .. } = inside.list("/api/v1/requests").await?;
    let (now, zone) = pages.clock();
    Ok(CutPage {
        by: cut_by(&cut, now, &zone),
        come_back: come_back(pages, &cut.scope, &requests),
        top: pages.top(Some(inside)).await,
        id: cut.cut.to_string(),
        what: board::scope(pages, &cut.scope).await,
        is_journaled: cut.journaled,
    })
}

/// On whose word a cut was made, and when.
pub(super) fn cut_by(cut: &CutView, now: Timestamp, zone: &TimeZone) -> String {
    let at = cut.at.map(|at| format!(" at {}", words::moment(at, now, zone))).unwrap_or_default();
    cut.by.as_ref().map(|by| format!("by {}{at}", words::plain(by))).unwrap_or_default()
}

/// Whose grants a cut keeps shut, which nothing else but their own end does.
fn come_back(pages: &Pages, scope: &Scope, requests: &[Card]) -> Vec<String> {
    let (now, zone) = pages.clock();
    let is_in = |card: &&Card| {
        let is_granted = card.standing == "granted" && now < card.deadline;
        is_granted && pages.api.desk().with_state(|state| is_shut(state, scope, card))
    };
    let line = |card: &Card| {
        let until = words::moment(card.deadline, now, &zone);
        format!("{} at {}, until {until}", words::plain(&card.technician.name), card.target)
    };
    requests.iter().filter(is_in).map(line).collect()
}

fn is_shut(state: &policies::state::State, scope: &Scope, card: &Card) -> bool {
    match scope {
        Scope::Session(session) => state.sessions.get(session).is_some_and(|facts| facts.request == card.request),
        wider => is_within(state, wider, card.technician.person, &card.target),
    }
}

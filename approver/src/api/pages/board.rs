//! The board: what waits for an answer, who is at work, what is cut, and what is wrong. It is read across a room.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use policies::actions::Actions;
use policies::events::Scope;

use super::super::types::{AskView, AsksView, Card, CardsView, CutView, CutsView, SessionView, SessionsView, Status};
use super::inside::{Inside, Said};
use super::{Pages, Top, words};

#[derive(Template)]
#[template(path = "board.html")]
struct Board {
    top: Top,
    now: String,
    because: Vec<String>,
    pending: Vec<Waiting>,
    granted: Vec<Waiting>,
    live: Vec<AtWork>,
    cuts: Vec<Standing>,
}

/// A request, or more time or actions for one.
struct Waiting {
    link: String,
    who: String,
    vendor: String,
    target: String,
    what: String,
    why: String,
    age: String,
    needs: String,
    is_emergency: bool,
}

pub(super) struct AtWork {
    pub(super) link: String,
    pub(super) who: String,
    pub(super) vendor: String,
    pub(super) target: String,
    pub(super) what: String,
    pub(super) left: String,
    pub(super) up: String,
    pub(super) down: String,
    pub(super) watchers: String,
    pub(super) is_frozen: bool,
    pub(super) is_transferring: bool,
}

struct Standing {
    link: String,
    what: String,
    is_journaled: bool,
}

pub(super) async fn show(State(pages): State<Pages>, inside: Inside) -> Response {
    pages.shown(&inside, gather(&pages, &inside).await).await
}

async fn gather(pages: &Pages, inside: &Inside) -> Result<Board, Said> {
    let CardsView { requests } = inside.get("/api/v1/requests").await?;
    let AsksView { asks } = inside.get("/api/v1/asks").await?;
    let SessionsView { sessions } = inside.get("/api/v1/sessions").await?;
    let CutsView { cuts } = inside.get("/api/v1/cuts").await?;
    let status: Status = inside.get("/api/v1/status").await?;
    let (now, zone) = (status.now, pages.api.desk().with_state(|state| state.timezone()));
    let (mut pending, granted): (Vec<_>, Vec<_>) = requests.iter().partition(|card| card.standing == "pending");
    pending.reverse();
    let mut waiting: Vec<_> = pending.into_iter().map(|card| of_request(card, now)).collect();
    waiting.extend(asks.iter().rev().filter(|ask| ask.open).map(|ask| of_ask(ask, &requests, now)));
    let unused = |card: &&&Card| card.sessions.is_empty() || card.review_wanted;
    let mut standing = Vec::new();
    for cut in &cuts {
        standing.push(of_cut(pages, cut).await);
    }
    Ok(Board {
        top: pages.top(Some(inside)).await,
        now: words::moment(now, now, &zone),
        because: status.because,
        pending: waiting,
        granted: granted.iter().filter(unused).map(|card| of_grant(card, now, &zone)).collect(),
        live: sessions.iter().map(|session| at_work(session, now)).collect(),
        cuts: standing,
    })
}

fn of_request(card: &Card, now: Timestamp) -> Waiting {
    Waiting {
        link: format!("/requests/{}", card.request),
        who: words::plain(&card.technician.name),
        vendor: card.vendor.as_ref().map(ToString::to_string).unwrap_or_default(),
        target: card.target.to_string(),
        what: card.actions.iter().map(|action| action.action.as_str()).collect::<Vec<_>>().join(", "),
        why: words::plain(card.reason.as_deref().unwrap_or_default()),
        age: words::between(card.submitted, now),
        needs: card.needs.clone(),
        is_emergency: card.emergency,
    }
}

fn of_grant(card: &Card, now: Timestamp, zone: &TimeZone) -> Waiting {
    let age = match card.review_wanted {
        true => "to be looked back at".to_owned(),
        false => format!("until {}", words::moment(card.deadline, now, zone)),
    };
    Waiting { age, needs: String::new(), ..of_request(card, now) }
}

fn of_ask(ask: &AskView, requests: &[Card], now: Timestamp) -> Waiting {
    let of = requests.iter().find(|card| card.request == ask.request);
    Waiting {
        link: format!("/asks/{}", ask.ask),
        who: of.map(|card| words::plain(&card.technician.name)).unwrap_or_default(),
        vendor: of.and_then(|card| card.vendor.as_ref().map(ToString::to_string)).unwrap_or_default(),
        target: of.map(|card| card.target.to_string()).unwrap_or_default(),
        what: ask.in_words.clone(),
        why: words::plain(ask.reason.as_deref().unwrap_or_default()),
        age: words::between(ask.at, now),
        needs: ask.needs.clone(),
        is_emergency: false,
    }
}

pub(super) fn listed(actions: &Actions) -> String {
    actions.iter().map(|action| action.as_str()).collect::<Vec<_>>().join(", ")
}

pub(super) fn at_work(session: &SessionView, now: Timestamp) -> AtWork {
    let live = session.live.as_ref();
    AtWork {
        link: format!("/sessions/{}", session.session),
        who: words::plain(&session.technician.name),
        vendor: session.vendor.as_ref().map(ToString::to_string).unwrap_or_default(),
        target: format!("{} / {}", session.target, session.service),
        what: listed(&session.actions),
        left: session.deadline.map(|deadline| words::between(now, deadline)).unwrap_or_default(),
        up: live.map(|live| words::amount(live.bytes_up)).unwrap_or_default(),
        down: live.map(|live| words::amount(live.bytes_down)).unwrap_or_default(),
        watchers: session.watchers.iter().map(|who| words::plain(&who.name)).collect::<Vec<_>>().join(", "),
        is_frozen: session.frozen,
        is_transferring: live.is_some_and(|live| live.transferring),
    }
}

async fn of_cut(pages: &Pages, cut: &CutView) -> Standing {
    Standing { link: format!("/cuts/{}", cut.cut), what: scope(pages, &cut.scope).await, is_journaled: cut.journaled }
}

/// Whom or what a cut keeps out.
pub(super) async fn scope(pages: &Pages, scope: &Scope) -> String {
    match scope {
        Scope::Session(session) => {
            let facts = pages.api.desk().with_state(|state| state.sessions.get(session).cloned());
            let Some(facts) = facts else { return format!("session {session}") };
            let who = pages.api.people().shown(facts.technician).await;
            format!("session of {} at {} / {}", words::plain(&who), facts.target, facts.service)
        }
        Scope::Technician(person) => format!("technician {}", words::plain(&pages.api.people().shown(*person).await)),
        Scope::Vendor(vendor) => format!("vendor {vendor}"),
        Scope::Zone(zone) => format!("zone {zone}"),
        Scope::Plant => "the whole plant".to_owned(),
    }
}

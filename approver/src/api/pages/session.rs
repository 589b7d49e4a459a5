//! One session: what it is, what stops it, and the way to the red button, which says first what it ends and keeps out.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use policies::events::Scope;
use policies::ids::SessionId;
use serde::Deserialize;
use serde_json::json;

use super::super::types::{
    Acted, Card, Cut, CutMade, Disconnected, Escorting, SessionView, SessionsView, Tell, ToldAnswer,
};
use super::card::id_of;
use super::inside::{Inside, Said};
use super::{Fields, Pages, Posted, Top, board, words};

#[derive(Template)]
#[template(path = "session.html")]
struct Session {
    top: Top,
    id: String,
    request: String,
    technician: String,
    vendor_id: String,
    zone: String,
    source: String,
    started: String,
    ended: String,
    at_work: board::AtWork,
    idle: String,
    /// How often an escort says that they are there; empty where the rule demands none.
    tap: String,
    /// Its screens over VNC, where there are several: the number of each, and what it is.
    screens: Vec<(u32, String)>,
    /// What operators wrote to the technician, and when.
    told: Vec<(String, String)>,
    handover: String,
    is_late: bool,
    /// Until when it is to be reviewed, where it was drawn and nobody did.
    review_due: String,
    is_overdue: bool,
    /// Who reviewed it, and what they found.
    reviewed: String,
    has_findings: bool,
    /// How long its recording is kept, once it is over.
    kept: String,
    is_erased: bool,
}

pub(super) async fn show(State(pages): State<Pages>, inside: Inside, Path(id): Path<String>) -> Response {
    pages.shown(&inside, of_session(&pages, &inside, &id).await).await
}

async fn of_session(pages: &Pages, inside: &Inside, id: &str) -> Result<Session, Said> {
    let id: SessionId = id_of(id)?;
    let session: SessionView = inside.get(&format!("/api/v1/sessions/{id}")).await?;
    let card: Option<Card> = inside.get(&format!("/api/v1/requests/{}", session.request)).await.ok();
    let now = pages.api.clock().wall();
    let (time_zone, zone) =
        pages.api.desk().with_state(|state| (state.timezone(), state.zone_of(&session.target).cloned()));
    let ended = session.ended.as_ref();
    let seen = session.review.as_ref().and_then(|drawn| drawn.reviewed.as_ref());
    let handover = card.as_ref().and_then(|card| card.handover.as_ref());
    Ok(Session {
        top: pages.top(Some(inside)).await,
        id: id.to_string(),
        request: session.request.to_string(),
        technician: session.technician.person.to_string(),
        vendor_id: session.vendor.as_ref().map(ToString::to_string).unwrap_or_default(),
        zone: zone.map(|zone| zone.to_string()).unwrap_or_default(),
        source: session.source.to_string(),
        started: words::moment(session.started, now, &time_zone),
        ended: ended
            .map(|ended| format!("{}: {}", words::moment(ended.at, now, &time_zone), ended.in_words))
            .unwrap_or_default(),
        handover: handover.map(|left| words::handover(left, now, &time_zone)).unwrap_or_default(),
        is_late: handover.is_some_and(|left| left.red),
        review_due: session
            .review
            .as_ref()
            .filter(|drawn| drawn.reviewed.is_none())
            .map(|drawn| words::due(drawn.due, drawn.overdue, now, &time_zone))
            .unwrap_or_default(),
        is_overdue: session.review.as_ref().is_some_and(|drawn| drawn.overdue),
        has_findings: seen.is_some_and(|seen| seen.objects),
        reviewed: seen.map(|seen| words::reviewed(seen, now, &time_zone)).unwrap_or_default(),
        kept: session.kept.as_ref().map(|kept| words::kept(kept, &time_zone)).unwrap_or_default(),
        is_erased: session.kept.as_ref().is_some_and(|kept| kept.erased.is_some()),
        at_work: board::at_work(&session, card.as_ref(), now),
        screens: session.live.as_ref().map(|live| words::screens(&live.screens)).unwrap_or_default(),
        idle: session
            .live
            .map(|live| words::length(i64::try_from(live.idle_seconds).unwrap_or(i64::MAX)))
            .unwrap_or_default(),
        tap: session.escort.map(|escort| words::duration(escort.tap_seconds)).unwrap_or_default(),
        told: session
            .told
            .iter()
            .map(|told| {
                let text = told.text.as_deref().unwrap_or("(the text is not there)");
                (words::moment(told.at, now, &time_zone), words::plain(text))
            })
            .collect(),
    })
}

#[derive(Template)]
#[template(path = "watch.html")]
struct Watch {
    top: Top,
    id: String,
    at_work: board::AtWork,
    tap: String,
    /// The number of the screen over VNC that was chosen; empty where the newest is wanted.
    screen: String,
}

pub(super) async fn watch(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    pages.shown(&inside, to_watch(&pages, &inside, &id, &fields).await).await
}

async fn to_watch(pages: &Pages, inside: &Inside, id: &str, fields: &Fields) -> Result<Watch, Said> {
    let chosen = fields.get("screen");
    let screen = if chosen.is_empty() { None } else { Some(chosen.parse::<u32>()) };
    let screen = screen.transpose().map_err(|_| Said::mistake("this is the number of no screen"))?;
    let Session { top, id, at_work, tap, .. } = of_session(pages, inside, id).await?;
    Ok(Watch { top, id, at_work, tap, screen: screen.map(|screen| screen.to_string()).unwrap_or_default() })
}

/// Freezes, thaws, disconnects, or says that whoever watches is there.
pub(super) async fn act(
    State(pages): State<Pages>,
    Path((id, act)): Path<(String, String)>,
    Posted { inside, fields }: Posted,
) -> Response {
    pages.then(&inside, do_it(&inside, &id, &act, &fields).await).await
}

async fn do_it(inside: &Inside, id: &str, act: &str, fields: &Fields) -> Result<String, Said> {
    let id: SessionId = id_of(id)?;
    let path = format!("/api/v1/sessions/{id}/{act}");
    match act {
        "freeze" | "thaw" => inside.post(&path, &json!({})).await.map(|_: Acted| ())?,
        "escort" => inside.post(&path, &json!({})).await.map(|_: Escorting| ())?,
        "disconnect" => inside.post(&path, &json!({})).await.map(|_: Disconnected| ())?,
        _ => return Err(Said::not_there()),
    }
    Ok(if fields.get("back") == "board" { "/".to_owned() } else { format!("/sessions/{id}") })
}

#[derive(Template)]
#[template(path = "told.html")]
struct Told {
    top: Top,
    id: String,
    in_words: String,
}

/// Writes a line to the technician, and says whether it could be shown.
pub(super) async fn tell(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    pages.shown(&inside, to_technician(&pages, &inside, &id, &fields).await).await
}

async fn to_technician(pages: &Pages, inside: &Inside, id: &str, fields: &Fields) -> Result<Told, Said> {
    let id: SessionId = id_of(id)?;
    let tell = Tell { text: fields.get("text").to_owned() };
    let told: ToldAnswer = inside.post(&format!("/api/v1/sessions/{id}/tell"), &tell).await?;
    Ok(Told { top: pages.top(Some(inside)).await, id: id.to_string(), in_words: told.in_words })
}

/// What a cut is to be about, as its page's address says.
#[derive(Debug, Deserialize)]
pub(super) struct About {
    #[serde(default)]
    scope: String,
    #[serde(default)]
    of: String,
}

impl About {
    fn scope(&self) -> Result<Scope, Said> {
        let value = match self.scope.as_str() {
            "plant" => json!({"scope": "plant"}),
            scope => json!({"scope": scope, "of": self.of}),
        };
        let cut: Result<Cut, _> = serde_json::from_value(value);
        cut.map(|cut| cut.scope).map_err(|_| Said::mistake("this names nothing that can be cut"))
    }
}

#[derive(Template)]
#[template(path = "before-cut.html")]
struct BeforeCut {
    top: Top,
    what: String,
    scope: String,
    of: String,
    ends: Vec<String>,
    back: String,
}

pub(super) async fn before_cut(State(pages): State<Pages>, inside: Inside, Query(about): Query<About>) -> Response {
    pages.shown(&inside, of_cut(&pages, &inside, about).await).await
}

async fn of_cut(pages: &Pages, inside: &Inside, about: About) -> Result<BeforeCut, Said> {
    let scope = about.scope()?;
    let SessionsView { sessions, .. } = inside.get("/api/v1/sessions").await?;
    let within = |session: &&SessionView| {
        pages.api.desk().with_state(|state| {
            let facts = state.sessions.get(&session.session);
            facts.is_some_and(|facts| state.is_within(&scope, session.session, facts))
        })
    };
    let now = pages.api.clock().wall();
    let ends = sessions.iter().filter(within).map(|session| {
        let at_work = board::at_work(session, None, now);
        let loading =
            if at_work.is_transferring { ", IN THE MIDDLE OF A TRANSFER INTO OR OUT OF THE MACHINE" } else { "" };
        format!("{} at {} ({}){loading}", at_work.who, at_work.target, at_work.what)
    });
    Ok(BeforeCut {
        top: pages.top(Some(inside)).await,
        what: board::scope(pages, &scope).await,
        ends: ends.collect(),
        back: if matches!(scope, Scope::Session(_)) { format!("/sessions/{}", about.of) } else { "/".to_owned() },
        scope: about.scope,
        of: about.of,
    })
}

#[derive(Template)]
#[template(path = "cut-made.html")]
struct Made {
    top: Top,
    what: String,
    ended: usize,
    kept: String,
    link: String,
}

pub(super) async fn cut(State(pages): State<Pages>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    pages.shown(&inside, make_cut(&pages, &inside, &fields).await).await
}

async fn make_cut(pages: &Pages, inside: &Inside, fields: &Fields) -> Result<Made, Said> {
    let about = About { scope: fields.get("scope").to_owned(), of: fields.get("of").to_owned() };
    let scope = about.scope()?;
    let made: CutMade = inside.post("/api/v1/cuts", &Cut { scope: scope.clone() }).await?;
    Ok(Made {
        top: pages.top(Some(inside)).await,
        what: board::scope(pages, &scope).await,
        ended: made.sessions.len(),
        kept: made.kept,
        link: format!("/cuts/{}", made.cut),
    })
}

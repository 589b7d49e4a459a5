//! Sessions as operators and auditors see them, watching one live, and stopping its input.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use data_encoding::BASE64;
use policies::ids::{PersonId, SessionId};
use policies::refusals::Refusal;
use policies::state::{SessionFacts, State as Plant};
use tokio::time::Instant;

use super::Api;
use super::guard::{Asked, At, Caller};
use super::problem::Problem;
use super::requests::page;
use super::staying::{self, Hangup, Reading};
use super::types::{Acted, Disconnected, SessionView, SessionsView, Wanted, WatchLine};
use crate::desk::Watching;
use crate::floor::WatchFrame;

/// So long nothing is sent before a line says that the connection stands.
const STILL_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn list(State(api): State<Api>, Asked(wanted): Asked<Wanted<SessionId>>) -> Json<SessionsView> {
    Json(api.sessions_where(wanted).await)
}

/// Every session has a recording: none is opened without.
pub(super) async fn recordings(State(api): State<Api>, Asked(wanted): Asked<Wanted<SessionId>>) -> Json<SessionsView> {
    Json(api.sessions_where(Wanted { all: true, ..wanted }).await)
}

impl Api {
    async fn sessions_where(&self, wanted: Wanted<SessionId>) -> SessionsView {
        let live = self.desk().floor().list();
        let (found, next) = self.desk().with_state(|state| {
            let (found, next) = page(&state.sessions, &wanted, |facts| wanted.all || facts.ended.is_none());
            (found.into_iter().map(|(id, facts)| (*id, facts.clone())).collect::<Vec<_>>(), next)
        });
        let mut sessions = Vec::new();
        for (id, facts) in &found {
            let live = live.iter().find(|live| live.session == *id);
            sessions.push(self.session_view(*id, facts, live).await);
        }
        SessionsView { sessions, next }
    }

    pub(super) fn facts(&self, id: SessionId) -> Result<SessionFacts, Problem> {
        Ok(self.desk().with_state(|state| state.sessions.get(&id).cloned()).ok_or(Refusal::NoSuchSession)?)
    }
}

pub(super) async fn one(State(api): State<Api>, At(id): At<SessionId>) -> Result<Json<SessionView>, Problem> {
    let facts = api.facts(id)?;
    let live = api.desk().floor().list().into_iter().find(|live| live.session == id);
    Ok(Json(api.session_view(id, &facts, live.as_ref()).await))
}

pub(super) async fn freeze(
    State(api): State<Api>,
    caller: Caller,
    At(session): At<SessionId>,
) -> Result<Json<Acted>, Problem> {
    Ok(Json(Acted { journaled: api.desk().freeze(session, caller.person()).await? }))
}

pub(super) async fn thaw(
    State(api): State<Api>,
    caller: Caller,
    At(session): At<SessionId>,
) -> Result<Json<Acted>, Problem> {
    api.desk().thaw(session, caller.person()).await?;
    Ok(Json(Acted { journaled: true }))
}

pub(super) async fn disconnect(
    State(api): State<Api>,
    caller: Caller,
    At(session): At<SessionId>,
) -> Result<Json<Disconnected>, Problem> {
    let (connections, journaled) = api.desk().disconnect(session, caller.person()).await?;
    Ok(Json(Disconnected { connections, journaled }))
}

/// Lines as they come. The seat is given up when the connection is, and when the operator no longer counts.
pub(super) async fn watch(
    State(api): State<Api>,
    caller: Caller,
    hangup: Hangup,
    At(session): At<SessionId>,
) -> Result<Response, Problem> {
    let watching = api.desk().watch(session, caller.person()).await?;
    let screen = line(&WatchLine::Screen { data: BASE64.encode(&watching.watch.screen) });
    let person = caller.person();
    let seat = Seat { api: api.clone(), person, watching, first: Some(screen), over: false };
    let lines = staying::body(&api, &hangup, move |state| may_watch(state, person), seat);
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, lines).into_response())
}

fn may_watch(state: &Plant, person: PersonId) -> bool {
    state.people.get(&person).is_some_and(|person| person.is_active_operator())
}

struct Seat {
    api: Api,
    person: PersonId,
    watching: Watching,
    first: Option<Bytes>,
    over: bool,
}

impl Reading for Seat {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.over {
            return None;
        }
        let still_at = Instant::now() + STILL_EVERY;
        let frame = loop {
            let size = self.api.desk().head().size;
            if !self.api.desk().with_state(|state| may_watch(state, self.person)) {
                self.over = true;
                return Some(line(&WatchLine::Over { in_words: "you may watch no longer".to_owned() }));
            }
            let frame = tokio::time::timeout_at(still_at, self.watching.watch.frames.next());
            tokio::select! {
                frame = frame => break frame,
                () = self.api.desk().changed(size) => {}
            }
        };
        Some(line(&match frame {
            Err(_) => WatchLine::Still,
            Ok(Some(WatchFrame::Output(data))) => WatchLine::Output { data: BASE64.encode(&data) },
            Ok(Some(WatchFrame::Resize { columns, rows })) => WatchLine::Resize { columns, rows },
            Ok(Some(WatchFrame::Skipped { frames, screen })) => {
                WatchLine::Skipped { frames, data: BASE64.encode(&screen) }
            }
            Ok(Some(WatchFrame::Over(ending))) => {
                self.over = true;
                WatchLine::Over { in_words: ending.in_words().to_owned() }
            }
            Ok(None) => {
                self.over = true;
                WatchLine::Over { in_words: "the session is over".to_owned() }
            }
        }))
    }
}

pub(super) fn line<T: serde::Serialize>(value: &T) -> Bytes {
    let mut line = serde_json::to_vec(value).expect("lines have string keys and finite numbers");
    line.push(b'\n');
    line.into()
}

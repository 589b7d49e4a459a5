//! A session's screen on its page, as server-sent events: each is the whole screen as text, so that nothing in it can do
//! anything to the browser, and whoever is slow sees what stands and not what was. Of a screen over VNC they are the parts of its
//! picture that changed.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Path, Query, State as Of};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use jiff::tz::TimeZone;
use policies::ids::SessionId;
use policies::people::Person;
use policies::state::State;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::super::staying::{self, Reading};
use super::super::types::{HappenedLine, WatchLine};
use super::card::id_of;
use super::inside::Inside;
use super::{Pages, words, wrong};
use crate::watching::{Lines, NotALine, Took, Watched};

/// Between two screens.
const BEAT: Duration = Duration::from_millis(150);
/// So often it is asked whether whoever watches still may; twice as often something is sent in any case.
const STILL_EVERY: Duration = Duration::from_secs(5);

/// Which screen over VNC is wanted; the newest, where nothing is said.
#[derive(Debug, Deserialize)]
pub(super) struct Chosen {
    screen: Option<u32>,
}

/// That somebody watches is a fact, and may let a technician's input go on: so only the page itself asks for it (Fetch
/// Metadata), which only a form of ours leads to.
pub(super) async fn screen(
    Of(pages): Of<Pages>,
    headers: HeaderMap,
    inside: Inside,
    Path(id): Path<String>,
    Query(Chosen { screen }): Query<Chosen>,
) -> Response {
    if headers.get("sec-fetch-site").is_none_or(|site| site != "same-origin") {
        return wrong(StatusCode::FORBIDDEN, "Refused", "a session is watched from its own page");
    }
    let id: SessionId = match id_of(&id) {
        Ok(id) => id,
        Err(said) => return pages.refused(&inside, &said).await,
    };
    let chosen = screen.map(|screen| format!("&screen={screen}")).unwrap_or_default();
    let path = format!("/api/v1/sessions/{id}/watch?pictures=true{chosen}");
    let watching = inside.through(Method::GET, &path, Body::empty()).await;
    if !watching.status().is_success() {
        return watching;
    }
    let (api, hangup, person) = (pages.api.clone(), inside.hangup().clone(), inside.person());
    let time_zone = api.desk().with_state(State::timezone);
    let may_watch = move |state: &State| state.people.get(&person).is_some_and(Person::is_active_operator);
    let seat = Seat {
        pages,
        inside,
        checked: Instant::now(),
        is_last: false,
        pieces: watching.into_body().into_data_stream(),
        lines: Lines::default(),
        watched: Watched::default(),
        is_new: false,
        has_happened: false,
        beat: Instant::now(),
        time_zone,
        stands: None,
        pictures: VecDeque::new(),
        over: None,
    };
    let body = staying::body(&api, &hangup, may_watch, seat);
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

struct Seat {
    pages: Pages,
    inside: Inside,
    /// When it was last asked whether whoever watches is still signed in.
    checked: Instant,
    is_last: bool,
    pieces: BodyDataStream,
    lines: Lines,
    watched: Watched,
    is_new: bool,
    has_happened: bool,
    /// Before this moment no screen is told again.
    beat: Instant,
    time_zone: TimeZone,
    /// How it stands, where that was not told yet.
    stands: Option<Bytes>,
    /// Which screen over VNC it is, and its parts, in order.
    pictures: VecDeque<Bytes>,
    over: Option<String>,
}

impl Reading for Seat {
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_last {
            return None;
        }
        if self.checked.elapsed() >= STILL_EVERY {
            self.checked = Instant::now();
            if !self.pages.is_still_signed_in(&self.inside).await {
                self.over = Some("you are signed out".to_owned());
            }
        }
        let event = self.event().await;
        self.is_last = self.over.is_some();
        Some(event)
    }
}

impl Seat {
    /// The screen, not sooner than a beat after the one before; or that all is still; or why it is over.
    async fn event(&mut self) -> Bytes {
        let still = Instant::now() + STILL_EVERY / 2;
        loop {
            if let Some(over) = &self.over {
                let (lines, has_terminal) = (self.watched.screen().lines(), self.watched.has_terminal());
                return event("over", &json!({ "in_words": over, "lines": lines, "has_terminal": has_terminal }));
            }
            let is_new = self.is_new || self.has_happened;
            let until = if is_new { self.beat } else { still };
            if let Some(stands) = self.stands.take() {
                return stands;
            }
            // Pictures that come without end hide neither what is typed nor what is done.
            if is_new && self.beat <= Instant::now() {
                return self.shown();
            }
            if let Some(picture) = self.pictures.pop_front() {
                return picture;
            }
            match timeout_at(until, self.pieces.next()).await {
                Err(_) if is_new => return self.shown(),
                Err(_) => return event("still", &json!({})),
                Ok(Some(Ok(piece))) => {
                    if let Err(fault) = self.take(&piece) {
                        self.over = Some(fault.to_string());
                    }
                }
                Ok(Some(Err(_)) | None) => self.over = Some("the gate broke the connection off".to_owned()),
            }
        }
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), NotALine> {
        self.lines.push(piece)?;
        while let Some(line) = self.lines.next_line()? {
            match &line {
                WatchLine::Standing { stopped, escort } => {
                    self.stands = Some(event("standing", &json!({ "stopped": stopped, "escort": escort })));
                }
                WatchLine::Vnc { screen } => self.pictures.push_back(event("vnc", &json!({ "screen": screen }))),
                WatchLine::Picture { x, y, data, skipped } => {
                    let picture = json!({ "x": x, "y": y, "data": data, "skipped": skipped });
                    self.pictures.push_back(event("picture", &picture));
                }
                _ => {}
            }
            match self.watched.take(&line)? {
                Took::Nothing | Took::Vnc => {}
                Took::Drew => self.is_new = true,
                Took::Happened => self.has_happened = true,
                Took::Over(in_words) => self.over = Some(in_words),
            }
        }
        Ok(())
    }

    /// The screen, if it looks otherwise, and all that was done of late, if that is more.
    fn shown(&mut self) -> Bytes {
        self.beat = Instant::now() + BEAT;
        let (screen, has_terminal) = (self.watched.screen(), self.watched.has_terminal());
        let drawn = std::mem::take(&mut self.is_new)
            .then(|| event("screen", &json!({ "lines": screen.lines(), "has_terminal": has_terminal })));
        let happened =
            std::mem::take(&mut self.has_happened).then(|| event("happened", &json!({ "lines": self.happened() })));
        drawn.into_iter().chain(happened).flatten().collect()
    }

    fn happened(&self) -> Vec<serde_json::Value> {
        let at = |line: &HappenedLine| line.at.to_zoned(self.time_zone.clone()).strftime("%H:%M:%S").to_string();
        let shown = |line: &HappenedLine| json!({ "at": at(line), "words": words::plain(&line.words), "refused": line.refused });
        self.watched.happened().iter().map(shown).collect()
    }
}

fn event(name: &str, data: &serde_json::Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

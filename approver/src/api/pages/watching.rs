//! A session's screen on its page, as server-sent events: each is the whole screen as text, so that nothing in it can do
//! anything to the browser, and whoever is slow sees what stands and not what was.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Path, State};
use axum::http::{Method, header};
use axum::response::{IntoResponse as _, Response};
use futures::{StreamExt as _, stream};
use policies::ids::SessionId;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::Pages;
use super::card::id_of;
use super::inside::Inside;
use crate::watching::{Lines, NotALine, Took, Watched};

/// Between two screens.
const BEAT: Duration = Duration::from_millis(150);
/// Then something is sent in any case, so that a page that is gone gives up its seat.
const STILL_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn screen(State(pages): State<Pages>, inside: Inside, Path(id): Path<String>) -> Response {
    let id: SessionId = match id_of(&id) {
        Ok(id) => id,
        Err(said) => return pages.refused(&inside, &said).await,
    };
    let watching = inside.through(Method::GET, &format!("/api/v1/sessions/{id}/watch"), Body::empty()).await;
    if !watching.status().is_success() {
        return watching;
    }
    let seat = Seat {
        pieces: watching.into_body().into_data_stream(),
        lines: Lines::default(),
        watched: Watched::default(),
        is_new: false,
        over: None,
    };
    let events = stream::unfold(Some(seat), |seat| async {
        let mut seat = seat?;
        let event = seat.next().await;
        let rest = seat.over.is_none().then_some(seat);
        Some((Ok::<_, Infallible>(event), rest))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

struct Seat {
    pieces: BodyDataStream,
    lines: Lines,
    watched: Watched,
    is_new: bool,
    over: Option<String>,
}

impl Seat {
    /// The screen, not sooner than a beat after the one before; or that all is still; or why it is over.
    async fn next(&mut self) -> Bytes {
        let (beat, still) = (Instant::now() + BEAT, Instant::now() + STILL_EVERY);
        loop {
            let until = if self.is_new { beat } else { still };
            match timeout_at(until, self.pieces.next()).await {
                Err(_) if self.is_new => return self.shown(),
                Err(_) => return Bytes::from_static(b": still\n\n"),
                Ok(Some(Ok(piece))) => {
                    if let Err(fault) = self.take(&piece) {
                        self.over = Some(fault.to_string());
                    }
                }
                Ok(Some(Err(_)) | None) => self.over = Some("the gate broke the connection off".to_owned()),
            }
            if let Some(over) = &self.over {
                return event("over", &json!({ "in_words": over, "lines": self.watched.screen().lines() }));
            }
        }
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), NotALine> {
        self.lines.push(piece)?;
        while let Some(line) = self.lines.next_line()? {
            match self.watched.take(&line)? {
                Took::Nothing => {}
                Took::Drew => self.is_new = true,
                Took::Over(in_words) => self.over = Some(in_words),
            }
        }
        Ok(())
    }

    fn shown(&mut self) -> Bytes {
        self.is_new = false;
        event("screen", &json!({ "lines": self.watched.screen().lines() }))
    }
}

fn event(name: &str, data: &serde_json::Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

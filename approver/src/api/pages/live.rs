//! Server-sent events (HTML Living Standard, 9.2): a beat that tells a page whether what it shows has changed, and that
//! the gate is there. A page that hears nothing for five seconds says so.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use certs::proof::Face;

use super::super::staying::{self, Reading};
use super::Pages;
use super::inside::Inside;

/// Less than half of what a page waits for.
const BEAT: Duration = Duration::from_secs(2);

struct Listener {
    pages: Pages,
    inside: Inside,
    first: bool,
}

pub(super) async fn events(State(pages): State<Pages>, inside: Inside) -> Response {
    let (api, hangup) = (pages.api.clone(), inside.hangup().clone());
    let body = staying::body(&api, &hangup, |_| true, Listener { pages, inside, first: true });
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

impl Reading for Listener {
    /// The journal's size and the sessions live, which are the plant's business alone; nothing more once nobody is signed in.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::take(&mut self.first) {
            tokio::time::sleep(BEAT).await;
        }
        if !self.pages.is_still_signed_in(&self.inside).await {
            return None;
        }
        let desk = self.pages.api.desk();
        let what = match self.pages.api.face() {
            Face::Plant => format!("{}-{}", desk.head().size, desk.floor().list().len()),
            Face::Vendor => "own".to_owned(),
        };
        Some(Bytes::from(format!("event: beat\ndata: {what}\n\n")))
    }
}

//! Server-sent events (HTML Living Standard, 9.2): a beat that tells a page whether what it shows has changed, and that
//! the gate is there. A page that hears nothing for five seconds says so.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::stream;

use super::super::types::PersonView;
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
    let listener = Listener { pages, inside, first: true };
    let beats = stream::unfold(listener, |mut listener| async move {
        let beat = listener.next().await?;
        Some((Ok::<_, Infallible>(beat), listener))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(beats)).into_response()
}

impl Listener {
    /// The journal's size and the sessions live; nothing more once nobody is signed in.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::take(&mut self.first) {
            tokio::time::sleep(BEAT).await;
        }
        let logins = &self.pages.api.0.logins;
        if !logins.is_held(self.inside.login(), self.pages.api.clock().boot()) {
            return None;
        }
        let me: Result<PersonView, _> = self.inside.get("/api/v1/me").await;
        if me.is_err_and(|said| said.status == StatusCode::UNAUTHORIZED) {
            logins.forget(self.inside.login());
            return None;
        }
        let desk = self.pages.api.desk();
        let (size, live) = (desk.head().size, desk.floor().list().len());
        Some(Bytes::from(format!("event: beat\ndata: {size}-{live}\n\n")))
    }
}

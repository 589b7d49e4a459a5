//! The feed for whoever pulls it, from a cursor on: lines as they come.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use policies::people::{Kind, Standing};

use super::Api;
use super::guard::{Asked, Caller};
use super::problem::Problem;
use super::types::FeedWanted;
use crate::feed::{Cursor, Reading};

/// So long nothing is sent before an empty line says that the connection stands; who may read no longer is sent away by then.
const STILL_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn feed(
    State(api): State<Api>,
    caller: Caller,
    Asked(FeedWanted { from, follow }): Asked<FeedWanted>,
) -> Result<Response, Problem> {
    let feed = api.parts().feed.clone();
    let feed = feed.ok_or_else(|| Problem::unavailable("this node keeps no feed: ask the one that does"))?;
    let from = from.map(|text| text.parse::<Cursor>()).transpose();
    let from = from.map_err(|bad| Problem::malformed(bad.to_string()))?;
    let pulling = Pulling { reading: feed.read(from), api, caller, follow };
    let lines = stream::unfold(pulling, |mut pulling| async move {
        let lines = pulling.next().await?;
        Some((Ok::<_, Infallible>(lines), pulling))
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(lines)).into_response())
}

struct Pulling {
    reading: Reading,
    api: Api,
    caller: Caller,
    follow: bool,
}

impl Pulling {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.may_stay() {
                return None;
            }
            match self.reading.try_next("whoever pulls").await {
                Ok(Some(batch)) => return Some(batch.text.into()),
                Ok(None) if !self.follow => return None,
                Ok(None) => {
                    if tokio::time::timeout(STILL_EVERY, self.reading.more()).await.is_err() {
                        return Some(Bytes::from_static(b"\n"));
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the feed's spool cannot be read");
                    return None;
                }
            }
        }
    }

    fn may_stay(&self) -> bool {
        let person = self.caller.person();
        self.api.desk().with_state(|state| {
            state.people.get(&person).is_some_and(|person| {
                let reads = matches!(person.kind, Kind::Operator { .. } | Kind::Auditor);
                reads && person.standing == Standing::Active
            })
        })
    }
}

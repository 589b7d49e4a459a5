//! The feed for whoever pulls it, from a cursor on: lines as they come.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State as Of;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use policies::ids::PersonId;
use policies::people::{Kind, Standing};
use policies::state::State;

use super::Api;
use super::guard::{Asked, Caller};
use super::problem::Problem;
use super::staying::{self, Hangup};
use super::types::FeedWanted;
use crate::feed::{Cursor, Reading};

/// So long nothing is sent before an empty line says that the connection stands; who may read no longer is sent away by then.
const STILL_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn feed(
    Of(api): Of<Api>,
    caller: Caller,
    hangup: Hangup,
    Asked(FeedWanted { from, follow }): Asked<FeedWanted>,
) -> Result<Response, Problem> {
    let feed = api.parts().feed.clone();
    let feed = feed.ok_or_else(|| Problem::unavailable("this node keeps no feed: ask the one that does"))?;
    let from = from.map(|text| text.parse::<Cursor>()).transpose();
    let from = from.map_err(|bad| Problem::malformed(bad.to_string()))?;
    let person = caller.person();
    feed.has_told(api.desk().head().size).await;
    let pulling = Pulling { reading: feed.read(from), api: api.clone(), person, follow };
    let body = staying::body(&api, &hangup, move |state| may_read(state, person), pulling);
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

struct Pulling {
    reading: Reading,
    api: Api,
    person: PersonId,
    follow: bool,
}

impl staying::Reading for Pulling {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.api.desk().with_state(|state| may_read(state, self.person)) {
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
}

fn may_read(state: &State, person: PersonId) -> bool {
    state.people.get(&person).is_some_and(|person| {
        let reads = matches!(person.kind, Kind::Operator { .. } | Kind::Auditor);
        reads && person.standing == Standing::Active
    })
}

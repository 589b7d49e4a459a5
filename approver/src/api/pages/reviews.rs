//! The review list: what one operator alone brought about at night and which sessions were drawn, oldest first, and where
//! somebody else signs that they looked back at it.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::types::{ReviewId, ReviewView, ReviewsView};
use super::inside::{Inside, Said};
use super::{Pages, Top, words};

#[derive(Template)]
#[template(path = "reviews.html")]
struct Reviews {
    top: Top,
    waiting: Vec<Row>,
    done: Vec<Row>,
}

struct Row {
    link: String,
    who: String,
    vendor: String,
    target: String,
    what: String,
    given_by: String,
    at: String,
    /// From when on it can be looked back at; now, where it is empty.
    not_before: String,
    /// Who did, and what they say; nobody, where it is empty.
    looked_back: String,
    is_objection: bool,
    /// Until when; at once, where it is empty.
    due: String,
    is_red: bool,
}

pub(super) async fn list(State(pages): State<Pages>, inside: Inside) -> Response {
    pages.shown(&inside, gather(&pages, &inside).await).await
}

async fn gather(pages: &Pages, inside: &Inside) -> Result<Reviews, Said> {
    let waiting: ReviewsView = inside.list("/api/v1/reviews").await?;
    let newest: ReviewsView = inside.get("/api/v1/reviews?all=true").await?;
    let (now, zone) = pages.clock();
    let done = newest.reviews.iter().filter(|review| review.reviewed.is_some()).take(DONE);
    Ok(Reviews {
        top: pages.top(Some(inside)).await,
        waiting: waiting.reviews.iter().rev().map(|review| row(review, now, &zone)).collect(),
        done: done.map(|review| row(review, now, &zone)).collect(),
    })
}

/// So many of those that somebody looked back at are shown beside what waits.
const DONE: usize = 20;

fn row(review: &ReviewView, now: Timestamp, zone: &TimeZone) -> Row {
    let seen = review.reviewed.as_ref();
    let given_by = review.given_by.iter().map(|who| words::plain(&who.name)).collect::<Vec<_>>().join(", ");
    Row {
        link: match review.review {
            ReviewId::Emergency(request) => format!("/requests/{request}"),
            ReviewId::Guest(guest) => format!("/guests/{guest}"),
            ReviewId::Session(session) => format!("/sessions/{session}"),
        },
        who: words::plain(&review.technician.name),
        vendor: review.vendor.as_ref().map(ToString::to_string).unwrap_or_default(),
        target: review.target.to_string(),
        what: review.in_words.clone(),
        given_by,
        at: words::moment(review.at, now, zone),
        looked_back: seen
            .map(|seen| match review.review {
                ReviewId::Session(_) => words::reviewed(seen, now, zone),
                _ => words::looked_back(seen, now, zone),
            })
            .unwrap_or_default(),
        due: review.due.map(|due| words::due(due, due <= now, now, zone)).unwrap_or_default(),
        // An emergency and a guest are red at once; a session that was drawn when it is too late.
        is_red: review.not_before.is_none() && review.due.is_none_or(|due| due <= now),
        is_objection: seen.is_some_and(|seen| seen.objects),
        not_before: review.not_before.map(|at| words::moment(at, now, zone)).unwrap_or_default(),
    }
}

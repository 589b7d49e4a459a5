//! The review list: emergency grants and guests' visits, which one operator alone brought about, and which somebody else
//! must look back at.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use policies::guests::Guest;
use policies::ids::{PersonId, TargetName};
use policies::state::{Case, LookBack, State as Plant};

use super::Api;
use super::guard::Asked;
use super::requests::page;
use super::types::{ReviewId, ReviewView, ReviewsView, Wanted};

/// One of them, as it stands.
struct Review {
    who: PersonId,
    target: TargetName,
    in_words: String,
    given_by: Vec<PersonId>,
    at: Timestamp,
    reviewed: Option<LookBack>,
    not_before: Option<Timestamp>,
}

impl Review {
    fn of_case(case: &Case) -> Option<Self> {
        let actions: Vec<&str> = case.request.actions.iter().map(|action| action.as_str()).collect();
        Some(Self {
            who: case.asked.technician,
            target: case.request.target.clone(),
            in_words: format!("emergency grant: {} for {}", actions.join(", "), case.request.duration),
            given_by: case.approvers().collect(),
            at: case.granted.filter(|_| case.asked.emergency)?,
            reviewed: case.reviewed,
            not_before: None,
        })
    }

    fn of_guest(state: &Plant, guest: &Guest, now: Timestamp) -> Self {
        let until = guest.ended.map_or(guest.statement.until, |(at, _)| at);
        Self {
            who: guest.statement.person,
            target: guest.statement.target.clone(),
            in_words: format!("guest until {}, under rule {}", state.clock(until), guest.rule.id),
            given_by: vec![guest.statement.operator],
            at: guest.at,
            reviewed: guest.reviewed,
            not_before: (!guest.is_over(now)).then_some(until),
        }
    }
}

/// All of them, in the order in which they came up.
fn all(state: &Plant, now: Timestamp) -> BTreeMap<ReviewId, Review> {
    let cases = state.cases.iter();
    let cases = cases.filter_map(|(id, case)| Some((ReviewId::Emergency(*id), Review::of_case(case)?)));
    let guests = state.guests.iter().map(|(id, guest)| (ReviewId::Guest(*id), Review::of_guest(state, guest, now)));
    cases.chain(guests).collect()
}

/// How many of them somebody can look back at now, and nobody did.
pub(super) fn waiting(state: &Plant, now: Timestamp) -> usize {
    let emergencies = state.cases.values().filter(|case| case.wants_review()).count();
    emergencies + state.guests.values().filter(|guest| guest.wants_review(now)).count()
}

pub(super) async fn list(State(api): State<Api>, Asked(wanted): Asked<Wanted<ReviewId>>) -> Json<ReviewsView> {
    let now = api.clock().wall();
    let (found, next) = api.desk().with_state(|state| {
        let all = all(state, now);
        let (found, next) = page(&all, &wanted, |review| wanted.all || review.reviewed.is_none());
        let vendor = |review: &Review| state.vendor_of(review.who).cloned();
        let found: Vec<_> = found.into_iter().map(|(id, _)| *id).collect();
        let mut all = all;
        let taken = found.into_iter().filter_map(|id| all.remove(&id).map(|review| (id, vendor(&review), review)));
        (taken.collect::<Vec<_>>(), next)
    });
    let mut reviews = Vec::new();
    for (review, vendor, one) in found {
        reviews.push(ReviewView {
            review,
            technician: api.named(one.who).await,
            vendor,
            target: one.target,
            in_words: one.in_words,
            given_by: api.named_all(one.given_by).await,
            at: one.at,
            reviewed: api.look_back(one.reviewed).await,
            not_before: one.not_before,
        });
    }
    Json(ReviewsView { reviews, next })
}

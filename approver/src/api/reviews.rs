//! The review list: emergency grants and guests' visits, which one operator alone brought about, and sessions that were drawn.
//! Somebody else must look back at each.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use policies::guests::Guest;
use policies::ids::{PersonId, TargetName};
use policies::state::{Case, LookBack, SessionFacts, State as Plant};

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
    due: Option<Timestamp>,
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
            reviewed: case.reviewed(),
            not_before: None,
            due: None,
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
            due: None,
        }
    }

    fn of_session(state: &Plant, facts: &SessionFacts) -> Option<Self> {
        let actions: Vec<&str> = facts.actions.iter().map(|action| action.as_str()).collect();
        let (ended, ending) = facts.ended.as_ref()?;
        Some(Self {
            who: facts.technician,
            target: facts.target.clone(),
            in_words: format!(
                "session drawn for review: {}, until {} ({})",
                actions.join(", "),
                state.clock(*ended),
                ending.in_words()
            ),
            given_by: BTreeSet::from_iter(state.approvers_of(facts.request)).into_iter().collect(),
            at: facts.started,
            reviewed: facts.reviewed(),
            not_before: None,
            due: Some(facts.review_due?),
        })
    }

    fn of(state: &Plant, id: ReviewId, now: Timestamp) -> Option<Self> {
        match id {
            ReviewId::Emergency(id) => Self::of_case(state.cases.get(&id)?),
            ReviewId::Guest(id) => Some(Self::of_guest(state, state.guests.get(&id)?, now)),
            ReviewId::Session(id) => Self::of_session(state, state.sessions.get(&id)?),
        }
    }
}

/// All of them, in the order in which they came up.
fn all(state: &Plant) -> BTreeMap<ReviewId, ()> {
    let cases = state.cases.iter().filter(|(_, case)| case.asked.emergency && case.granted.is_some());
    let cases = cases.map(|(id, _)| ReviewId::Emergency(*id));
    let guests = state.guests.keys().copied().map(ReviewId::Guest);
    let sessions = state.sessions.iter().filter(|(_, facts)| facts.review_due.is_some());
    let sessions = sessions.map(|(id, _)| ReviewId::Session(*id));
    cases.chain(guests).chain(sessions).map(|id| (id, ())).collect()
}

/// Those that nobody looked back at.
fn unreviewed(state: &Plant) -> BTreeMap<ReviewId, ()> {
    let cases = state.open_cases().filter(|(_, case)| case.wants_review()).map(|(id, _)| ReviewId::Emergency(id));
    let guests = state.guests.iter().filter(|(_, guest)| guest.reviewed.is_none()).map(|(id, _)| ReviewId::Guest(*id));
    let sessions = state.sessions_to_look_at().filter(|(_, facts)| facts.wants_review());
    let sessions = sessions.map(|(id, _)| ReviewId::Session(id));
    cases.chain(guests).chain(sessions).map(|id| (id, ())).collect()
}

/// How many of them somebody can look back at now, and nobody did.
pub(super) fn waiting(state: &Plant, now: Timestamp) -> usize {
    let drawn = state.sessions_to_look_at().filter(|(_, facts)| facts.wants_review()).count();
    emergencies_and_guests(state, now) + drawn
}

/// Those of them that are looked back at as soon as can be.
pub(super) fn emergencies_and_guests(state: &Plant, now: Timestamp) -> usize {
    let emergencies = state.open_cases().filter(|(_, case)| case.wants_review()).count();
    emergencies + state.guests.values().filter(|guest| guest.wants_review(now)).count()
}

/// How many sessions were not reviewed in time, and how many grants not closed out.
pub(super) fn overdue(state: &Plant, now: Timestamp) -> (usize, usize) {
    let sessions = state.sessions_to_look_at().filter(|(_, facts)| facts.is_review_overdue(now)).count();
    (sessions, state.close_outs(now).filter(|(.., due)| *due <= now).count())
}

pub(super) async fn list(State(api): State<Api>, Asked(wanted): Asked<Wanted<ReviewId>>) -> Json<ReviewsView> {
    let now = api.clock().wall();
    let (found, next) = api.desk().with_state(|state| {
        let all = if wanted.all { all(state) } else { unreviewed(state) };
        let (found, next) = page(|older| all.range(older), &wanted, |()| true);
        let shown = found.into_iter().filter_map(|(id, ())| Some((*id, Review::of(state, *id, now)?)));
        let of_vendor = |(id, review): (ReviewId, Review)| (id, state.vendor_of(review.who).cloned(), review);
        (shown.map(of_vendor).collect::<Vec<_>>(), next)
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
            due: one.due,
        });
    }
    Json(ReviewsView { reviews, next })
}

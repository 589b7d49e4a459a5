//! The past as auditors go through it: the whole population first, then all that the journal knows of one of them, and who
//! was there at a moment. Which items there are and what is wanted of them is settled in `policies::history`; here are
//! names for identifiers and the texts behind digests, as far as they were not erased.

use std::collections::BTreeSet;
use std::ops::Bound;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use policies::events::Ending;
use policies::history::{Filter, Item, Outcome, What, refused_in_words};
use policies::ids::{PersonId, RequestId, SessionId, VendorId, ZoneName};
use policies::refusals::Refusal;
use policies::state::{SessionFacts, State as Plant};

use super::Api;
use super::guard::{Asked, At};
use super::problem::Problem;
use super::types::{
    Behind, EndingView, EntriesView, HistoryItem, HistoryView, HistoryWanted, LISTED_MAX, PresenceView, PresenceWanted,
    PresentSession, RequestEntries,
};
use crate::journal::Entry;

pub(super) async fn list(
    State(api): State<Api>,
    Asked(wanted): Asked<HistoryWanted>,
) -> Result<Json<HistoryView>, Problem> {
    if let Some(word) = wanted.ending.as_deref().filter(|word| !Ending::WORDS.contains(word)) {
        let words = Ending::WORDS.join(", ");
        return Err(Problem::malformed(format!("no session ends by the word {word:?}. There are {words}")));
    }
    let room = wanted.limit.unwrap_or(LISTED_MAX).clamp(1, LISTED_MAX);
    let (before, filter) = (wanted.before, filter(wanted));
    let mut found = api.found(&filter, before, room + 1).await;
    let is_more = found.len() > room;
    found.truncate(room);
    let next = found.last().filter(|_| is_more).map(|known| known.entry);
    let mut items = Vec::new();
    for known in found {
        items.push(api.history_item(known).await);
    }
    Ok(Json(HistoryView { items, next }))
}

fn filter(wanted: HistoryWanted) -> Filter {
    let HistoryWanted { kind, outcome, ending, vendor, person, target, zone, operator, from, until, .. } = wanted;
    Filter { kind, outcome, ending, vendor, person, target, zone, operator, from, until }
}

/// So many are looked at before somebody else has a look at what stands.
const LOOKED_AT_ONCE: usize = 5_000;

/// An item with what is around it, taken in one look at what stands.
struct Known {
    entry: u64,
    item: Item,
    outcome: Outcome,
    ended: Option<EndingView>,
    request: Option<RequestId>,
    in_words: String,
    emergency: bool,
    rule: Option<policies::ids::RuleId>,
    approvers: BTreeSet<PersonId>,
    hands: BTreeSet<PersonId>,
}

impl Known {
    fn of(state: &Plant, entry: u64, item: &Item, now: Timestamp) -> Self {
        let (session, ask) = match &item.what {
            What::Session(id) => (state.sessions.get(id), None),
            What::More(id) => (None, state.asks.get(id)),
            What::Request(_) | What::Refusal { .. } => (None, None),
        };
        let request = match &item.what {
            What::Request(id) => Some(*id),
            What::Refusal { .. } => None,
            _ => session.map(|facts| facts.request).or_else(|| ask.map(|ask| ask.asked.request())),
        };
        let case = request.and_then(|request| state.cases.get(&request));
        let list = |actions: &policies::actions::Actions| {
            actions.iter().map(|action| action.as_str()).collect::<Vec<_>>().join(", ")
        };
        let in_words = match (&item.what, session, ask, case) {
            (What::Refusal { reason, rule, asked }, ..) => refused_in_words(reason, rule.as_ref(), asked.as_deref()),
            (_, Some(facts), ..) => {
                format!("{} through {}, from {}", list(&facts.actions), facts.service, facts.source)
            }
            (_, _, Some(ask), _) => state.asked_in_words(&ask.asked),
            (.., Some(case)) => format!("{} for {}", list(&case.asked.actions), case.asked.duration),
            _ => String::new(),
        };
        let votes = ask.map(|ask| &ask.votes).or_else(|| case.map(|case| &case.votes));
        Self {
            entry,
            item: item.clone(),
            outcome: state.outcome(item, now),
            hands: state.hands(item),
            ended: state.ending(item).map(|(at, ending)| EndingView::of(*at, ending)),
            request,
            in_words,
            emergency: case.is_some_and(|case| case.asked.emergency),
            rule: match &item.what {
                What::Refusal { rule, .. } => rule.clone(),
                _ => case.map(|case| case.rule.id.clone()),
            },
            approvers: votes.into_iter().flatten().filter(|vote| vote.yes).map(|vote| vote.operator).collect(),
        }
    }
}

impl Api {
    /// The newest of those before that place, as many as there is room for.
    async fn found(&self, filter: &Filter, before: Option<u64>, room: usize) -> Vec<Known> {
        let (now, mut found, mut end) = (self.clock().wall(), Vec::new(), before);
        loop {
            let looked_at = self.desk().with_state(|state| {
                let older = (Bound::Unbounded, end.map_or(Bound::Unbounded, Bound::Excluded));
                let mut looked_at = None;
                for (entry, item) in state.history.items().range(older).rev().take(LOOKED_AT_ONCE) {
                    looked_at = Some(*entry);
                    if state.is_wanted(item, filter, now) {
                        found.push(Known::of(state, *entry, item, now));
                    }
                    if found.len() == room {
                        break;
                    }
                }
                looked_at
            });
            if looked_at.is_none() || found.len() == room {
                return found;
            }
            end = looked_at;
            tokio::task::yield_now().await;
        }
    }

    async fn history_item(&self, known: Known) -> HistoryItem {
        let Known { entry, item, outcome, ended, request, in_words, emergency, rule, approvers, hands } = known;
        let others: Vec<_> = hands.difference(&approvers).copied().collect();
        let (ask, session) = match item.what {
            What::More(id) => (Some(id), None),
            What::Session(id) => (None, Some(id)),
            What::Request(_) | What::Refusal { .. } => (None, None),
        };
        HistoryItem {
            entry,
            kind: item.what.kind(),
            outcome,
            at: item.at,
            ended,
            request,
            ask,
            session,
            person: self.named(item.person).await,
            vendor: item.vendor,
            target: item.target,
            zone: item.zone,
            in_words,
            emergency,
            rule,
            approvers: self.named_all(approvers).await,
            others: self.named_all(others).await,
        }
    }

    /// These of the journal's entries, a page of them, with what was behind the page.
    async fn known(&self, places: BTreeSet<u64>, behind: Behind) -> Result<EntriesView, Problem> {
        let later = places.into_iter().filter(|place| behind.after.is_none_or(|after| after < *place));
        let mut wanted: Vec<u64> = later.take(LISTED_MAX + 1).collect();
        let is_more = wanted.len() > LISTED_MAX;
        wanted.truncate(LISTED_MAX);
        let mut entries = Vec::new();
        for entry in self.read(&wanted).await? {
            entries.push(self.entry_view(&entry).await);
        }
        Ok(EntriesView { entries, next: wanted.last().copied().filter(|_| is_more) })
    }

    /// The entries at these places, in order. The journal is read in the pieces that it gives, and of those only that have one; no
    /// other entry is decoded.
    async fn read(&self, places: &[u64]) -> Result<Vec<Entry>, Problem> {
        let (mut found, mut left) = (Vec::new(), places);
        while !left.is_empty() {
            let piece = self.desk().entries_at(left).await.map_err(|error| {
                tracing::error!(%error, "the journal cannot be read");
                Problem::unavailable("the journal cannot be read now")
            })?;
            let Some(last) = piece.last().map(|entry| entry.index) else {
                return Err(Problem::unavailable("the journal gives less than was read of it before"));
            };
            found.extend(piece);
            left = &left[left.partition_point(|place| *place <= last)..];
        }
        Ok(found)
    }
}

/// A session with what is around it.
struct Ran {
    session: SessionId,
    facts: SessionFacts,
    approvers: BTreeSet<PersonId>,
    vendor: Option<VendorId>,
    zone: Option<ZoneName>,
}

impl Ran {
    fn of(state: &Plant, session: SessionId, facts: &SessionFacts) -> Self {
        let item = state.item_of(session);
        let case = state.cases.get(&facts.request);
        Self {
            session,
            facts: facts.clone(),
            approvers: case.into_iter().flat_map(|case| case.approvers()).collect(),
            vendor: item.and_then(|item| item.vendor.clone()),
            zone: item.and_then(|item| item.zone.clone()),
        }
    }
}

impl Api {
    /// The sessions that ran at a moment, the oldest first.
    async fn ran_then(&self, at: Timestamp) -> Vec<Ran> {
        let (mut found, mut behind) = (Vec::new(), None);
        loop {
            let looked_at = self.desk().with_state(|state| {
                let newer = (behind.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
                let mut looked_at = None;
                for (session, facts) in state.sessions.range(newer).take(LOOKED_AT_ONCE) {
                    looked_at = Some(*session);
                    found.extend(facts.ran_at(at).then(|| Ran::of(state, *session, facts)));
                }
                looked_at
            });
            if looked_at.is_none() {
                return found;
            }
            behind = looked_at;
            tokio::task::yield_now().await;
        }
    }
}

pub(super) async fn of_request(
    State(api): State<Api>,
    At(id): At<RequestId>,
    Asked(behind): Asked<Behind>,
) -> Result<Json<RequestEntries>, Problem> {
    let found = api.desk().with_state(|state| {
        let case = state.cases.get(&id)?;
        let rule = std::sync::Arc::clone(&case.rule);
        Some((rule, Outcome::of_request(case), case.sessions.clone(), state.entries_of_request(id)))
    });
    let (rule, outcome, sessions, places) = found.ok_or(Refusal::NoSuchRequest)?;
    let rule = serde_json::to_value(&*rule).expect("a rule has string keys and finite numbers");
    Ok(Json(RequestEntries { known: api.known(places, behind).await?, outcome, rule, sessions }))
}

pub(super) async fn of_session(
    State(api): State<Api>,
    At(id): At<SessionId>,
    Asked(behind): Asked<Behind>,
) -> Result<Json<EntriesView>, Problem> {
    let places = api.desk().with_state(|state| state.entries_of_session(id));
    if places.is_empty() {
        return Err(Refusal::NoSuchSession.into());
    }
    api.known(places, behind).await.map(Json)
}

pub(super) async fn presence(
    State(api): State<Api>,
    Asked(PresenceWanted { at }): Asked<PresenceWanted>,
) -> Result<Json<PresenceView>, Problem> {
    let now = api.clock().wall();
    let at = at.unwrap_or(now);
    if now < at {
        let why = "that moment has not come yet. Ask for one that has";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not-yet", why));
    }
    let then = api.ran_then(at).await;
    let duty = api.desk().with_state(|state| state.history.on_duty(at).map(|(person, _)| person).collect::<Vec<_>>());
    let mut sessions = Vec::new();
    for Ran { session, facts, approvers, vendor, zone } in then {
        sessions.push(PresentSession {
            session,
            request: facts.request,
            technician: api.named(facts.technician).await,
            vendor,
            target: facts.target,
            zone,
            service: facts.service,
            actions: facts.actions,
            started: facts.started,
            ended: facts.ended.as_ref().map(|(at, ending)| EndingView::of(*at, ending)),
            approvers: api.named_all(approvers).await,
        });
    }
    Ok(Json(PresenceView { at, sessions, on_duty: api.named_all(duty).await }))
}

//! The board: what waits for an answer, who is at work, what is cut, and what is wrong. It is read across a room.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use policies::actions::Actions;
use policies::events::Scope;
use policies::ids::PersonId;
use policies::plant::Weaker;
use policies::rotation::Need;

use super::super::types::{
    AlarmSeen, AlarmView, AlarmsQuiet, AlarmsSeen, AnswerTimes, AskView, AsksView, Card, CardsView, CutView, CutsView,
    LiveView, Named, SessionView, SessionsView, Status, VendorView, VendorsView, VoteView,
};
use super::card::close_out_due;
use super::inside::{Inside, Said};
use super::{Pages, Posted, Top, words};

#[derive(Template)]
#[template(path = "board.html")]
struct Board {
    top: Top,
    now: String,
    alarms: Vec<Alarm>,
    /// How many of them nobody saw yet: they sound.
    sounding: usize,
    left: Vec<Left>,
    pending: Vec<Waiting>,
    /// How long a yes takes here.
    answered: String,
    granted: Vec<Waiting>,
    /// Grants under which work is over, and what was done is to be signed off.
    to_close_out: Vec<Waiting>,
    live: Vec<AtWork>,
    cuts: Vec<Standing>,
    /// Secrets that are to be set anew, and not overdue: those are alarms.
    secrets: Vec<String>,
    /// Of vendors that whoever looks answers for: what they should see to.
    answers_for: Vec<AnswersFor>,
    recent: Vec<Past>,
}

/// A vendor that somebody answers for.
struct AnswersFor {
    vendor: String,
    concerns: Vec<String>,
}

struct Alarm {
    text: String,
    /// Where what it is about stands; nowhere, where it is empty.
    link: String,
    since: String,
    /// Who saw it; nobody, where it is empty.
    seen: String,
    /// What names it, in a form.
    named: String,
}

/// Something that is over.
struct Past {
    link: String,
    who: String,
    vendor: String,
    target: String,
    how: String,
}

/// A request, or more time or actions for one.
struct Waiting {
    link: String,
    who: String,
    vendor: String,
    target: String,
    what: String,
    why: String,
    age: String,
    needs: String,
    /// Of yeses that nobody signed.
    weaker: String,
    is_emergency: bool,
    is_guest: bool,
    is_red: bool,
}

/// What the shift before left.
struct Left {
    of: Waiting,
    in_words: String,
    is_late: bool,
}

pub(super) struct AtWork {
    pub(super) link: String,
    pub(super) who: String,
    pub(super) vendor: String,
    pub(super) target: String,
    pub(super) what: String,
    pub(super) left: String,
    pub(super) up: String,
    pub(super) down: String,
    pub(super) watchers: String,
    pub(super) weaker: String,
    pub(super) is_guest: bool,
    pub(super) is_emergency: bool,
    /// Such as `2 of 4 places`; of a service by TCP alone.
    pub(super) places: String,
    /// Who is there, where the rule demands an escort.
    pub(super) escorts: String,
    /// Input waits, because an escort is demanded and nobody is there.
    pub(super) wants_escort: bool,
    /// An operator froze it.
    pub(super) is_frozen: bool,
    /// The shift changed, and nobody has accepted it yet.
    pub(super) is_left: bool,
    pub(super) is_transferring: bool,
}

struct Standing {
    link: String,
    what: String,
    is_journaled: bool,
}

pub(super) async fn show(State(pages): State<Pages>, inside: Inside) -> Response {
    pages.shown(&inside, gather(&pages, &inside).await).await
}

async fn gather(pages: &Pages, inside: &Inside) -> Result<Board, Said> {
    let CardsView { requests, .. } = inside.list("/api/v1/requests").await?;
    let AsksView { asks, .. } = inside.list("/api/v1/asks").await?;
    let SessionsView { sessions, .. } = inside.list("/api/v1/sessions").await?;
    let CutsView { cuts } = inside.get("/api/v1/cuts").await?;
    let status: Status = inside.get("/api/v1/status").await?;
    let (now, zone) = (status.now, pages.api.desk().with_state(|state| state.timezone()));
    let (mut pending, granted): (Vec<_>, Vec<_>) =
        requests.iter().filter(|card| !is_to_close_out(card)).partition(|card| card.standing == "pending");
    let granted = granted.into_iter().filter(|card| STANDS.contains(&card.standing.as_str())).collect::<Vec<_>>();
    pending.reverse();
    let mut waiting: Vec<_> = pending.into_iter().map(|card| of_request(card, now)).collect();
    waiting.extend(asks.iter().rev().filter(|ask| ask.open).map(|ask| of_ask(ask, &requests, now)));
    for one in &mut waiting {
        let is_ignored =
            |alarm: &AlarmView| alarm.alarm == UNANSWERED && one.link.ends_with(alarm.of.as_deref().unwrap_or("none"));
        one.is_red = one.is_emergency || status.alarms.iter().any(is_ignored);
    }
    let unused = |card: &&&Card| card.sessions.is_empty() || card.review_wanted;
    let of = |request| requests.iter().find(|card| card.request == request);
    let mut standing = Vec::new();
    for cut in &cuts {
        standing.push(of_cut(pages, cut).await);
    }
    Ok(Board {
        top: pages.top(Some(inside)).await,
        now: words::moment(now, now, &zone),
        alarms: of_alarms(pages, &status.alarms, now, &zone).await,
        sounding: status.alarms.iter().filter(|alarm| alarm.seen_by.is_none()).count(),
        left: requests.iter().rev().filter_map(|card| of_left(card, now, &zone)).collect(),
        pending: waiting,
        answered: status.answered.map(answer_times).unwrap_or_default(),
        to_close_out: requests.iter().rev().filter_map(|card| of_close_out(card, now, &zone)).collect(),
        granted: granted.iter().filter(unused).map(|card| of_grant(card, now, &zone)).collect(),
        live: sessions.iter().map(|session| at_work(session, of(session.request), now)).collect(),
        cuts: standing,
        secrets: status
            .secrets
            .iter()
            .filter(|one| one.need != Need::OVERDUE)
            .map(|one| words::plain(&one.text))
            .collect(),
        answers_for: answers_for(pages, inside, now, &zone).await?,
        recent: recent(inside, now, &zone).await?,
    })
}

/// A display answers for nobody.
async fn answers_for(pages: &Pages, inside: &Inside, now: Timestamp, zone: &TimeZone) -> Result<Vec<AnswersFor>, Said> {
    let own = inside.person();
    let is_sponsor = |state: &policies::state::State| state.contracts.values().any(|contract| contract.sponsor == own);
    if !pages.api.desk().with_state(is_sponsor) {
        return Ok(Vec::new());
    }
    let VendorsView { vendors } = inside.get("/api/v1/vendors").await?;
    let theirs = vendors.iter().filter(|one| one.sponsor.person == own && !one.concerns.is_empty());
    let row = |one: &VendorView| AnswersFor {
        vendor: one.vendor.to_string(),
        concerns: one.concerns.iter().map(|concern| words::concern(concern, now, zone)).collect(),
    };
    Ok(theirs.map(row).collect())
}

/// How a grant stands that may be used, or whose emergency is to be looked back at. What else waits to be closed out stands there.
const STANDS: [&str; 2] = ["granted", "closed out"];

/// The kind of the alarm about a request that nobody answers.
const UNANSWERED: &str = "unanswered";

async fn of_alarms(pages: &Pages, alarms: &[AlarmView], now: Timestamp, zone: &TimeZone) -> Vec<Alarm> {
    let mut shown = Vec::new();
    for AlarmView { alarm, of, text, since, seen_by, .. } in alarms {
        let named = AlarmSeen { alarm: alarm.clone(), of: of.clone(), since: *since };
        let (text, link) = match of {
            Some(of) => told_of(pages, of, text).await,
            None => (text.clone(), String::new()),
        };
        shown.push(Alarm {
            text: words::plain(&text),
            link,
            since: words::moment(*since, now, zone),
            seen: match seen_by {
                Some(person) => words::plain(&pages.api.people().shown(*person).await),
                None => String::new(),
            },
            named: serde_json::to_string(&named).expect("it has string keys"),
        });
    }
    // What sounds stands first.
    shown.sort_by_key(|alarm| !alarm.seen.is_empty());
    shown
}

/// What an alarm is of, by name in its text instead of by an identifier, and where that stands.
async fn told_of(pages: &Pages, of: &str, text: &str) -> (String, String) {
    let (person, place) = pages.api.desk().with_state(|state| {
        let case = of.parse().ok().and_then(|id| state.cases.get(&id)).map(|case| case.asked.technician);
        let visit = of.parse().ok().and_then(|id| state.guests.get(&id)).map(|visit| visit.statement.person);
        let session = of.parse().ok().and_then(|id| state.sessions.get(&id)).map(|facts| facts.technician);
        let found = [(case, "requests"), (visit, "guests"), (session, "sessions")];
        found.into_iter().find_map(|(person, place)| Some((person?, place))).unzip()
    });
    let cut = of.parse().ok().and_then(|id| pages.api.desk().with_state(|state| state.cuts.get(&id).cloned()));
    let people = pages.api.people();
    let (who, place) = match (person, place, cut, of.parse::<PersonId>()) {
        (Some(person), Some(place), ..) => (format!("of {}", people.shown(person).await), place),
        (_, _, Some(cut), _) => (format!("of {}", scope(pages, &cut.scope).await), "cuts"),
        (.., Ok(person)) => (people.shown(person).await, "people"),
        _ => return (text.to_owned(), String::new()),
    };
    (text.replace(of, &who), format!("/{place}/{of}"))
}

/// Somebody saw the alarms that stand on the page.
pub(super) async fn seen(State(pages): State<Pages>, Posted { inside, fields }: Posted) -> Response {
    let alarms = fields.all("alarm").filter_map(|named| serde_json::from_str(named).ok()).collect();
    let quiet: Result<AlarmsQuiet, Said> = inside.post("/api/v1/alarms/acknowledge", &AlarmsSeen { alarms }).await;
    pages.then(&inside, quiet.map(|_| "/".to_owned())).await
}

fn answer_times(AnswerTimes { requests, p50_seconds, p95_seconds }: AnswerTimes) -> String {
    let [half, most] =
        [p50_seconds, p95_seconds].map(|seconds| words::length(i64::try_from(seconds).unwrap_or(i64::MAX)));
    format!(
        "A yes took {half} at most half of the time, and {most} at most in 95 of 100, of {requests} in the last 30 days."
    )
}

/// So many lines of what is over.
const RECENT: usize = 8;

/// The last sessions that ended and requests that came to nothing, newest first.
async fn recent(inside: &Inside, now: Timestamp, zone: &TimeZone) -> Result<Vec<Past>, Said> {
    let SessionsView { sessions, .. } = inside.get("/api/v1/sessions?all=true&limit=50").await?;
    let CardsView { requests, .. } = inside.get("/api/v1/requests?all=true&limit=20").await?;
    let ended = sessions.iter().filter_map(|session| {
        let ended = session.ended.as_ref()?;
        let AtWork { link, who, vendor, target, .. } = at_work(session, None, now);
        Some((ended.at, Past { link, who, vendor, target, how: ended.in_words.clone() }))
    });
    let came_to_nothing = requests.iter().filter(|card| NOTHING.contains(&card.standing.as_str())).map(|card| {
        let Waiting { link, who, vendor, target, .. } = of_request(card, now);
        (card.submitted, Past { link, who, vendor, target, how: format!("asked, and {}", card.standing) })
    });
    let mut all: Vec<_> = ended.chain(came_to_nothing).collect();
    all.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let newest = all.into_iter().take(RECENT);
    Ok(newest
        .map(|(at, past)| Past { how: format!("{}: {}", words::moment(at, now, zone), past.how), ..past })
        .collect())
}

/// How a request may stand that nobody got anything from.
const NOTHING: [&str; 3] = ["denied", "withdrawn", "lapsed"];

fn of_request(card: &Card, now: Timestamp) -> Waiting {
    Waiting {
        link: format!("/requests/{}", card.request),
        who: words::plain(&card.technician.name),
        vendor: card.vendor.as_ref().map(ToString::to_string).unwrap_or_default(),
        target: card.target.to_string(),
        what: card.actions.iter().map(|action| action.action.as_str()).collect::<Vec<_>>().join(", "),
        why: words::plain(card.reason.as_deref().unwrap_or_default()),
        age: words::between(card.submitted, now),
        needs: card.needs.clone(),
        weaker: marks(&card.votes),
        is_emergency: card.emergency,
        is_guest: card.guest.is_some(),
        is_red: card.emergency,
    }
}

fn of_grant(card: &Card, now: Timestamp, zone: &TimeZone) -> Waiting {
    let age = match card.review_wanted {
        true => "to be looked back at".to_owned(),
        false => format!("until {}", words::moment(card.deadline, now, zone)),
    };
    Waiting { age, needs: String::new(), ..of_request(card, now) }
}

fn is_to_close_out(card: &Card) -> bool {
    card.close_out.as_ref().is_some_and(|one| one.due.is_some()) && !card.review_wanted
}

fn of_close_out(card: &Card, now: Timestamp, zone: &TimeZone) -> Option<Waiting> {
    let one = card.close_out.as_ref().filter(|one| one.due.is_some())?;
    let needs = card.account.as_ref().map(|account| format!("{} said what was done", words::plain(&account.by.name)));
    Some(Waiting {
        age: close_out_due(one, now, zone),
        needs: needs.unwrap_or_default(),
        is_red: one.overdue,
        ..of_request(card, now)
    })
}

fn of_left(card: &Card, now: Timestamp, zone: &TimeZone) -> Option<Left> {
    let left = card.handover.as_ref()?;
    let in_words = words::handover(left, now, zone);
    Some(Left { of: of_request(card, now), in_words, is_late: left.red })
}

fn of_ask(ask: &AskView, requests: &[Card], now: Timestamp) -> Waiting {
    let of = requests.iter().find(|card| card.request == ask.request);
    Waiting {
        link: format!("/asks/{}", ask.ask),
        who: of.map(|card| words::plain(&card.technician.name)).unwrap_or_default(),
        vendor: of.and_then(|card| card.vendor.as_ref().map(ToString::to_string)).unwrap_or_default(),
        target: of.map(|card| card.target.to_string()).unwrap_or_default(),
        what: ask.in_words.clone(),
        why: words::plain(ask.reason.as_deref().unwrap_or_default()),
        age: words::between(ask.at, now),
        needs: ask.needs.clone(),
        weaker: marks(&ask.votes),
        is_emergency: false,
        is_guest: of.is_some_and(|card| card.guest.is_some()),
        is_red: false,
    }
}

pub(super) fn listed(actions: &Actions) -> String {
    actions.iter().map(|action| action.as_str()).collect::<Vec<_>>().join(", ")
}

/// How yeses are marked that nobody signed, each way once.
fn marks(votes: &[VoteView]) -> String {
    let ways: BTreeSet<_> = votes.iter().filter(|vote| vote.yes).filter_map(|vote| vote.weaker).collect();
    ways.into_iter().map(Weaker::mark).collect::<Vec<_>>().join(", ")
}

pub(super) fn at_work(session: &SessionView, of: Option<&Card>, now: Timestamp) -> AtWork {
    let live = session.live.as_ref();
    AtWork {
        link: format!("/sessions/{}", session.session),
        who: words::plain(&session.technician.name),
        vendor: session.vendor.as_ref().map(ToString::to_string).unwrap_or_default(),
        target: format!("{} / {}", session.target, session.service),
        what: listed(&session.actions),
        left: session.deadline.map(|deadline| words::between(now, deadline)).unwrap_or_default(),
        up: live.map(|live| words::amount(live.bytes_up)).unwrap_or_default(),
        down: live.map(|live| words::amount(live.bytes_down)).unwrap_or_default(),
        watchers: names(&session.watchers),
        escorts: session.escort.as_ref().map(|escort| names(&escort.there)).unwrap_or_default(),
        wants_escort: session.ended.is_none() && session.escort.as_ref().is_some_and(|escort| escort.there.is_empty()),
        places: live.and_then(places).unwrap_or_default(),
        weaker: of.map(|card| marks(&card.votes)).unwrap_or_default(),
        is_guest: of.is_some_and(|card| card.guest.is_some()),
        is_emergency: of.is_some_and(|card| card.emergency),
        is_frozen: session.frozen,
        is_left: session.ended.is_none() && of.is_some_and(|card| card.handover.is_some()),
        is_transferring: live.is_some_and(|live| live.transferring),
    }
}

fn places(live: &LiveView) -> Option<String> {
    let most = live.connections_max?;
    Some(format!("{} of {most} places", live.connections))
}

fn names(people: &[Named]) -> String {
    people.iter().map(|who| words::plain(&who.name)).collect::<Vec<_>>().join(", ")
}

async fn of_cut(pages: &Pages, cut: &CutView) -> Standing {
    Standing { link: format!("/cuts/{}", cut.cut), what: scope(pages, &cut.scope).await, is_journaled: cut.journaled }
}

/// Whom or what a cut keeps out.
pub(super) async fn scope(pages: &Pages, scope: &Scope) -> String {
    match scope {
        Scope::Session(session) => {
            let facts = pages.api.desk().with_state(|state| state.sessions.get(session).cloned());
            let Some(facts) = facts else { return format!("session {session}") };
            let who = pages.api.people().shown(facts.technician).await;
            format!("session of {} at {} / {}", words::plain(&who), facts.target, facts.service)
        }
        Scope::Technician(person) => format!("technician {}", words::plain(&pages.api.people().shown(*person).await)),
        Scope::Vendor(vendor) => format!("vendor {vendor}"),
        Scope::Zone(zone) => format!("zone {zone}"),
        Scope::Plant => "the whole plant".to_owned(),
    }
}

//! A technician's own page: what is open, what was asked for and by whom it is answered, and what may be asked for, now or later;
//! and their sessions.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::types::{ActionView, OwnRequest, OwnRequestsView, ReachView, ReachesView, SessionView, SessionsView};
use super::inside::{Inside, Said};
use super::{Pages, Top, words};

#[derive(Template)]
#[template(path = "mine.html")]
struct Mine {
    top: Top,
    now: String,
    /// When a key was added to theirs, while that is news.
    key_added: String,
    live: Vec<Session>,
    asked: Vec<Asked>,
    over: Vec<Asked>,
    reach: Vec<Service>,
    later: Vec<Service>,
}

/// What was asked for.
struct Asked {
    link: String,
    target: String,
    what: String,
    standing: String,
    more: String,
    is_waiting: bool,
}

/// What may be asked for.
struct Service {
    target: String,
    service: String,
    protocol: String,
    what: Vec<String>,
    link: String,
    opens: String,
    is_cut: bool,
}

/// Requests that one sees on one's own page, whatever became of them.
const LATELY: usize = 20;
/// Sessions on the page of those.
const SESSIONS_SHOWN: usize = 100;

struct Session {
    link: String,
    target: String,
    service: String,
    since: String,
    left: String,
    stopped: &'static str,
    ended: String,
}

pub(super) async fn show(State(pages): State<Pages>, inside: Inside) -> Response {
    pages.shown(&inside, gather(&pages, &inside).await).await
}

async fn gather(pages: &Pages, inside: &Inside) -> Result<Mine, Said> {
    let ReachesView { reach } = inside.get("/api/v1/reach").await?;
    let OwnRequestsView { requests, .. } = inside.list("/api/v1/requests").await?;
    let newest = format!("/api/v1/requests?all=true&limit={LATELY}");
    let OwnRequestsView { requests: newest, .. } = inside.get(&newest).await?;
    let SessionsView { sessions, .. } = inside.list("/api/v1/sessions").await?;
    let (now, zone) = pages.clock();
    let key_added = pages.api.desk().key_news(inside.who());
    let asked = requests.iter().filter(|request| !is_over(request, now));
    let over = newest.iter().filter(|request| is_over(request, now));
    let (reach, later): (Vec<_>, Vec<_>) = reach.iter().partition(|reach| reach.offer.is_some());
    Ok(Mine {
        top: pages.top(Some(inside)).await,
        now: words::moment(now, now, &zone),
        key_added: key_added.map(|added| words::moment(added, now, &zone)).unwrap_or_default(),
        live: sessions.iter().map(|session| of_session(session, now, &zone)).collect(),
        asked: asked.map(|request| of_request(request, now, &zone)).collect(),
        over: over.map(|request| of_request(request, now, &zone)).collect(),
        reach: reach.into_iter().map(|reach| of_service(reach, now, &zone)).collect(),
        later: later.into_iter().map(|reach| of_service(reach, now, &zone)).collect(),
    })
}

pub(super) fn is_over(request: &OwnRequest, now: Timestamp) -> bool {
    !matches!(request.standing.as_str(), "pending" | "granted") || request.deadline <= now
}

fn of_request(request: &OwnRequest, now: Timestamp, zone: &TimeZone) -> Asked {
    Asked {
        link: format!("/requests/{}", request.request),
        target: request.target.to_string(),
        what: named(&request.actions),
        standing: standing(request, now, zone),
        more: request.taken_away.join(", "),
        is_waiting: request.standing == "pending" && !is_over(request, now),
    }
}

/// How a request stands, in a line.
pub(super) fn standing(request: &OwnRequest, now: Timestamp, zone: &TimeZone) -> String {
    let until = words::moment(request.deadline, now, zone);
    match (request.standing.as_str(), is_over(request, now)) {
        ("pending", false) => {
            format!("waits for {}, asked {} ago", request.needs, words::between(request.submitted, now))
        }
        ("granted", false) if now < request.window.from => {
            format!("granted, from {} on", words::moment(request.window.from, now, zone))
        }
        ("granted", false) if request.first_use.is_none() => {
            let most = words::duration(request.duration_seconds);
            format!("granted: at most {most} from your first connection, and not beyond {until}")
        }
        ("granted", false) => format!("granted until {until}, {} left", words::between(now, request.deadline)),
        ("pending" | "granted", true) => format!("over since {until}"),
        (other, _) => other.to_owned(),
    }
}

fn named(actions: &[ActionView]) -> String {
    actions.iter().map(|action| action.action.as_str()).collect::<Vec<_>>().join(", ")
}

fn of_service(reach: &ReachView, now: Timestamp, zone: &TimeZone) -> Service {
    let (target, service) = (&reach.target, &reach.service);
    let at = reach.opens.map(|opens| format!("&at={opens}")).unwrap_or_default();
    Service {
        target: target.to_string(),
        service: service.to_string(),
        protocol: reach.protocol.to_string(),
        what: choices(reach).map(|(_, in_words)| in_words).collect(),
        link: format!("/ask?target={target}&service={service}{at}"),
        opens: reach.opens.map(|opens| words::moment(opens, now, zone)).unwrap_or_default(),
        is_cut: reach.offer.as_ref().is_some_and(|offer| offer.cut_off),
    }
}

/// Each action in words, with who answers where that is known.
pub(super) fn choices(reach: &ReachView) -> impl Iterator<Item = (&ActionView, String)> {
    let terms = reach.offer.iter().flat_map(|offer| &offer.terms).map(Some).chain(std::iter::repeat(None));
    reach.actions.iter().zip(terms).map(|(action, terms)| {
        let what = format!("{}: {}", action.action.as_str(), action.in_words);
        let Some(terms) = terms else { return (action, what) };
        let (most, needs) = (words::duration(terms.most_seconds), answered_by(&terms.needs, terms.staffed));
        (action, format!("{what}; at most {most}, answered by {needs}"))
    })
}

/// Whose answer it takes, and whether they are there to give it.
pub(super) fn answered_by(needs: &str, is_staffed: bool) -> String {
    let absent = if is_staffed {
        ""
    } else {
        ". Not enough of them are on duty now: they are told, and an answer may take long"
    };
    format!("{needs}{absent}")
}

fn of_session(session: &SessionView, now: Timestamp, zone: &TimeZone) -> Session {
    let ended =
        session.ended.as_ref().map(|ended| format!("{}, {}", words::moment(ended.at, now, zone), ended.in_words));
    Session {
        link: format!("/requests/{}", session.request),
        target: session.target.to_string(),
        service: session.service.to_string(),
        since: words::moment(session.started, now, zone),
        left: session.deadline.map(|deadline| words::between(now, deadline)).unwrap_or_default(),
        stopped: stopped(session.stopped.as_deref()),
        ended: ended.unwrap_or_default(),
    }
}

fn stopped(why: Option<&str>) -> &'static str {
    match why {
        None => "",
        Some("by-operator") => "paused by an operator",
        Some("nobody-watches") => "input waits until somebody watches",
        Some("not-accepted") => "the shift changed: input waits until somebody accepts the work",
        Some("time-is-up") => "the time is up",
        Some(_) => "input waits",
    }
}

#[derive(Template)]
#[template(path = "own-sessions.html")]
struct Sessions {
    top: Top,
    live: Vec<Session>,
    over: Vec<Session>,
}

pub(super) async fn sessions(State(pages): State<Pages>, inside: Inside) -> Response {
    pages.shown(&inside, gather_sessions(&pages, &inside).await).await
}

async fn gather_sessions(pages: &Pages, inside: &Inside) -> Result<Sessions, Said> {
    let SessionsView { sessions, .. } =
        inside.get(&format!("/api/v1/sessions?all=true&limit={SESSIONS_SHOWN}")).await?;
    let (now, zone) = pages.clock();
    let (over, live): (Vec<_>, Vec<_>) = sessions.iter().partition(|session| session.ended.is_some());
    Ok(Sessions {
        top: pages.top(Some(inside)).await,
        live: live.into_iter().map(|session| of_session(session, now, &zone)).collect(),
        over: over.into_iter().map(|session| of_session(session, now, &zone)).collect(),
    })
}

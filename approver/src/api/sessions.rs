//! Sessions as operators and auditors see them, watching and escorting one live, stopping its input, and a line to its
//! technician.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use data_encoding::BASE64;
use futures::FutureExt as _;
use policies::decide::Command;
use policies::ids::{PersonId, SessionId};
use policies::plant::{Escort, Rule};
use policies::refusals::Refusal;
use policies::state::{SessionFacts, State as Plant};
use tokio::time::Instant;

use super::Api;
use super::guard::{Asked, At, Caller, Sent};
use super::looking::Eyes;
use super::problem::Problem;
use super::requests::page;
use super::staying::{self, Hangup, Reading};
use super::types::{
    Acted, Disconnected, EscortLine, Escorting, HappenedLine, SessionView, SessionsView, Tell, ToldAnswer, Wanted,
    WatchLine, WatchWanted,
};
use crate::clock::Boot;
use crate::desk::Watching;
use crate::directory::clean_text;
use crate::floor::{Happened, Shown, WantedScreen, WatchFrame};
use crate::lease::{Frozen, Orders};
use crate::people::NotDone;

/// Who takes a piece after so long misses some of what is drawn meanwhile.
const SLOW: Duration = Duration::from_secs(2);
/// So long nothing is sent before a line says that the connection stands.
const STILL_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(wanted): Asked<Wanted<SessionId>>,
) -> Json<SessionsView> {
    let SessionsView { sessions, next } = api.sessions_where(wanted).await;
    Json(SessionsView { sessions: sessions.into_iter().map(|view| for_eyes_of(&caller, view)).collect(), next })
}

/// What operators write to technicians is not for everybody who passes a screen.
fn for_eyes_of(caller: &Caller, view: SessionView) -> SessionView {
    if caller.is_display() { SessionView { told: Vec::new(), ..view } } else { view }
}

/// Every session has a recording: none is opened without.
pub(super) async fn recordings(State(api): State<Api>, Asked(wanted): Asked<Wanted<SessionId>>) -> Json<SessionsView> {
    Json(api.sessions_where(Wanted { all: true, ..wanted }).await)
}

impl Api {
    async fn sessions_where(&self, wanted: Wanted<SessionId>) -> SessionsView {
        let live = self.desk().floor().list();
        let (found, next) = self.desk().with_state(|state| {
            let (found, next) =
                page(|older| state.sessions.range(older), &wanted, |facts| wanted.all || facts.ended.is_none());
            (found.into_iter().map(|(id, facts)| (*id, facts.clone())).collect::<Vec<_>>(), next)
        });
        let mut sessions = Vec::new();
        for (id, facts) in &found {
            let live = live.iter().find(|live| live.session == *id);
            sessions.push(self.session_view(*id, facts, live).await);
        }
        SessionsView { sessions, next }
    }

    fn rule_of(&self, id: SessionId) -> Option<Arc<Rule>> {
        self.desk().with_state(|state| {
            let facts = state.sessions.get(&id)?;
            state.cases.get(&facts.request).map(|case| Arc::clone(&case.rule))
        })
    }

    pub(super) fn facts(&self, id: SessionId) -> Result<SessionFacts, Problem> {
        Ok(self.desk().with_state(|state| state.sessions.get(&id).cloned()).ok_or(Refusal::NoSuchSession)?)
    }
}

pub(super) async fn one(
    State(api): State<Api>,
    caller: Caller,
    At(id): At<SessionId>,
) -> Result<Json<SessionView>, Problem> {
    let facts = api.facts(id)?;
    let live = api.desk().floor().list().into_iter().find(|live| live.session == id);
    Ok(Json(for_eyes_of(&caller, api.session_view(id, &facts, live.as_ref()).await)))
}

pub(super) async fn freeze(
    State(api): State<Api>,
    caller: Caller,
    At(session): At<SessionId>,
) -> Result<Json<Acted>, Problem> {
    Ok(Json(Acted { journaled: api.desk().freeze(session, caller.person()).await? }))
}

pub(super) async fn thaw(
    State(api): State<Api>,
    caller: Caller,
    At(session): At<SessionId>,
) -> Result<Json<Acted>, Problem> {
    api.desk().thaw(session, caller.person()).await?;
    Ok(Json(Acted { journaled: true }))
}

pub(super) async fn disconnect(
    State(api): State<Api>,
    caller: Caller,
    At(session): At<SessionId>,
) -> Result<Json<Disconnected>, Problem> {
    let (connections, journaled) = api.desk().disconnect(session, caller.person()).await?;
    Ok(Json(Disconnected { connections, journaled }))
}

pub(super) async fn escort(
    State(api): State<Api>,
    caller: Caller,
    At(session): At<SessionId>,
) -> Result<Json<Escorting>, Problem> {
    let now = api.clock().boot();
    let until = api.desk().escort(session, caller.person()).await?;
    Ok(Json(Escorting { tap_seconds: until.since(now).as_secs() }))
}

/// A line on a terminal: more is a letter.
const LINE_CHARS_MAX: usize = 400;
/// A session takes a line at once. One that does not is busy ending.
const SHOWN_WITHIN: Duration = Duration::from_secs(3);

/// Recorded first. Whether it could be shown is told as it is: a technician may have no terminal open.
pub(super) async fn tell(
    State(api): State<Api>,
    caller: Caller,
    At(session): At<SessionId>,
    Sent(Tell { text }): Sent<Tell>,
) -> Result<Json<ToldAnswer>, Problem> {
    let clean = clean_text(&text).map_err(NotDone::from)?;
    let characters = clean.as_str().chars().count();
    if characters > LINE_CHARS_MAX {
        let why = format!(
            "a line to a technician has {LINE_CHARS_MAX} characters at most, and this has {characters}. Send it in parts"
        );
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "line-too-long", why));
    }
    if api.desk().orders(session).is_none() {
        return Err(Refusal::NoSuchSession.into());
    }
    let by = caller.person();
    let text = api.people().put_text(clean.as_str()).await?;
    if let Err(rejected) = api.desk().act(Command::Tell { session, text, by }).await {
        api.forget_texts(&[text]).await;
        return Err(rejected.into());
    }
    let line = format!("{} writes: {}", api.people().shown(by).await, clean.as_str());
    let shown = match api.desk().floor().write_to(session, &line) {
        Some(answer) => tokio::time::timeout(SHOWN_WITHIN, answer).await.ok().and_then(Result::ok),
        None => None,
    };
    Ok(Json(told(shown.unwrap_or(Shown::Nowhere))))
}

fn told(shown: Shown) -> ToldAnswer {
    let (word, in_words) = match shown {
        Shown::OnTerminals(1) => ("on-terminals", "Shown on the technician's terminal.".to_owned()),
        Shown::OnTerminals(count) => ("on-terminals", format!("Shown on {count} terminals of the technician.")),
        Shown::OnPage => ("on-page", "Shown on the page on which the technician works.".to_owned()),
        Shown::InLobby => ("in-lobby", "Shown in the lobby that the technician has open beside it.".to_owned()),
        Shown::Nowhere => (
            "nowhere",
            "NOT SHOWN: the technician has no terminal of this session open, or reads nothing there. It is kept with the \
             session: `holdpoint connect` shows it within a minute, and `holdpoint sessions` on the vendor face."
                .to_owned(),
        ),
    };
    ToldAnswer { shown: word.to_owned(), in_words }
}

/// Lines as they come. The seat is given up when the connection is, and when the operator no longer counts.
pub(super) async fn watch(
    State(api): State<Api>,
    caller: Caller,
    hangup: Hangup,
    At(session): At<SessionId>,
    Asked(WatchWanted { pictures, screen }): Asked<WatchWanted>,
) -> Result<Response, Problem> {
    let watching = api.desk().watch(session, caller.person()).await?;
    let mut due = VecDeque::from([line(&WatchLine::Screen { data: BASE64.encode(&watching.watch.screen) })]);
    if !watching.watch.happened.is_empty() {
        due.push_back(line(&happened(true, &watching.watch.happened)));
    }
    let person = caller.person();
    let (rule, orders) = (api.rule_of(session), api.desk().orders(session));
    let wanted = screen.map_or(WantedScreen::Newest, WantedScreen::Of);
    let eyes = Eyes::new(Arc::clone(&watching.watch.screens), wanted, pictures);
    let (seen, has_seen, stands, over, given) = (VecDeque::new(), false, None, false, None);
    let seat =
        Seat { api: api.clone(), person, rule, watching, eyes, orders, stands, due, seen, has_seen, over, given };
    let lines = staying::body(&api, &hangup, move |state| may_watch(state, person), seat);
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, lines).into_response())
}

fn may_watch(state: &Plant, person: PersonId) -> bool {
    state.people.get(&person).is_some_and(|person| person.is_active_operator())
}

struct Seat {
    api: Api,
    person: PersonId,
    /// Frozen into the session's request.
    rule: Option<Arc<Rule>>,
    watching: Watching,
    eyes: Eyes,
    orders: Option<Orders>,
    /// What was told last of how it stands.
    stands: Option<Stands>,
    /// What is to be told next.
    due: VecDeque<Bytes>,
    /// Of a screen over VNC, what a look found, in order.
    seen: VecDeque<Bytes>,
    /// The last piece was of those: now it is the turn of what happens, so that neither hides the other.
    has_seen: bool,
    over: bool,
    /// When the last piece was given: the next is asked for when that has been taken.
    given: Option<Instant>,
}

/// How a watched session stands for one of its watchers.
#[derive(Debug, PartialEq, Eq)]
struct Stands {
    stopped: Option<Frozen>,
    escorts: BTreeSet<PersonId>,
    /// Until when one's own word counts.
    own: Option<Boot>,
}

impl Seat {
    /// How it stands, if that is news.
    async fn news(&mut self) -> Option<Bytes> {
        let order = self.orders.as_ref()?.now();
        let own = order.escorts.get(&self.person).copied();
        let stands = Stands { stopped: order.frozen, escorts: order.escorts.into_keys().collect(), own };
        if self.stands.as_ref() == Some(&stands) {
            return None;
        }
        let escort = self.escort(&stands).await;
        let stopped = stands.stopped.map(|frozen| frozen.word().to_owned());
        self.stands = Some(stands);
        Some(line(&WatchLine::Standing { stopped, escort }))
    }

    async fn escort(&self, stands: &Stands) -> Option<EscortLine> {
        let rule = self.rule.as_ref().filter(|rule| rule.escort == Escort::Required)?;
        let mut there = Vec::new();
        for who in &stands.escorts {
            there.push(self.api.people().shown(*who).await);
        }
        Some(EscortLine {
            there,
            yours_seconds: stands.own.map(|until| until.since(self.api.clock().boot()).as_secs()),
            tap_seconds: rule.escort_tap.0.into(),
            warn_seconds: rule.escort_warning().0.into(),
        })
    }
}

fn happened(anew: bool, happened: &[Happened]) -> WatchLine {
    let line = |one: &Happened| HappenedLine { at: one.at, words: one.words.clone(), refused: one.refused };
    WatchLine::Happened { anew, lines: happened.iter().map(line).collect() }
}

/// Waits for the next order, where there are any.
async fn changed(orders: &mut Option<Orders>) {
    match orders {
        Some(orders) => drop(orders.changed().await),
        None => std::future::pending().await,
    }
}

impl Reading for Seat {
    async fn next(&mut self) -> Option<Bytes> {
        if self.given.is_some_and(|given| given.elapsed() >= SLOW) {
            self.eyes.were_held_up();
        }
        let piece = self.piece().await;
        self.given = Some(Instant::now());
        piece
    }
}

impl Seat {
    async fn piece(&mut self) -> Option<Bytes> {
        if self.over && self.due.is_empty() {
            return None;
        }
        let still_at = Instant::now() + STILL_EVERY;
        let frame = loop {
            if let Some(due) = self.due.pop_front() {
                return Some(due);
            }
            let is_over = self.watching.watch.over.is_cancelled();
            if is_over {
                // Who takes pictures slowly is told that now, and not behind what looks otherwise long since.
                self.seen.clear();
            }
            let size = self.api.desk().head().size;
            if !self.api.desk().with_state(|state| may_watch(state, self.person)) {
                self.over = true;
                return Some(line(&WatchLine::Over { in_words: "you may watch no longer".to_owned() }));
            }
            if let Some(news) = self.news().await {
                return Some(news);
            }
            if std::mem::take(&mut self.has_seen)
                && let Some(frame) = self.watching.watch.frames.next().now_or_never()
            {
                break Ok(frame);
            }
            if let Some(seen) = self.seen.pop_front() {
                self.has_seen = true;
                return Some(seen);
            }
            let frame = tokio::time::timeout_at(still_at, self.watching.watch.frames.next());
            tokio::select! {
                frame = frame => break frame,
                () = self.api.desk().changed(size) => {}
                () = changed(&mut self.orders) => {}
                () = self.eyes.due(), if !is_over => self.seen.extend(self.eyes.look().await.iter().map(line)),
            }
        };
        Some(line(&match frame {
            Err(_) => WatchLine::Still,
            Ok(Some(WatchFrame::Output(data))) => WatchLine::Output { data: BASE64.encode(&data) },
            Ok(Some(WatchFrame::Resize { columns, rows })) => WatchLine::Resize { columns, rows },
            Ok(Some(WatchFrame::Skipped { frames, screen, happened: lines })) => {
                self.due.extend(lines.map(|lines| line(&happened(true, &lines))));
                WatchLine::Skipped { frames, data: BASE64.encode(&screen) }
            }
            Ok(Some(WatchFrame::Happened(one))) => happened(false, &[one]),
            Ok(Some(WatchFrame::Over(ending))) => {
                self.over = true;
                WatchLine::Over { in_words: ending.in_words().to_owned() }
            }
            Ok(None) => {
                self.over = true;
                WatchLine::Over { in_words: "the session is over".to_owned() }
            }
        }))
    }
}

pub(super) fn line<T: serde::Serialize>(value: &T) -> Bytes {
    let mut line = serde_json::to_vec(value).expect("lines have string keys and finite numbers");
    line.push(b'\n');
    line.into()
}

//! The live sessions of this node: how decisions, made in the crate below, reach them. Cutting acts here and at once, on
//! the target legs themselves; telling people and sealing are each session's own work.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use approver::capture::{Capture, Captures, Wanted};
use approver::clock::{Boot, Clock};
use approver::floor::{Floor as Port, LiveSession, Shown, Watch};
use policies::events::Ending;
use policies::ids::SessionId;
use tokio::sync::{mpsc, oneshot, watch};

use crate::legs::Legs;
use crate::session::Seen;
use crate::tcp::{Paces, Slots};

/// What runs here now. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Floor {
    clock: Clock,
    slots: Slots,
    paces: Paces,
    captures: Captures,
    sessions: Arc<Mutex<HashMap<SessionId, Arc<Live>>>>,
}

impl Floor {
    /// Nothing runs yet.
    pub fn new(clock: Clock) -> Self {
        let captures = Captures::new(clock.clone());
        Self { clock, slots: Slots::default(), paces: Paces::default(), captures, sessions: Arc::default() }
    }

    /// The sockets that targets take.
    pub(crate) const fn slots(&self) -> &Slots {
        &self.slots
    }

    /// How fast requests go to targets.
    pub(crate) const fn paces(&self) -> &Paces {
        &self.paces
    }

    /// Who reads along what passes to targets.
    pub(crate) const fn captures(&self) -> &Captures {
        &self.captures
    }

    /// Shows a session to those who decide. It leaves when the presence is dropped.
    pub(crate) fn enter(&self, live: Live) -> Presence {
        let live = Arc::new(live);
        self.sessions().insert(live.session, Arc::clone(&live));
        Presence { floor: self.clone(), live }
    }

    /// How many sessions run.
    pub fn count(&self) -> usize {
        self.sessions().len()
    }

    /// Looks at every recording now and then, and wakes the sessions whose recorder fell behind or caught up. To run
    /// for as long as the program does.
    pub async fn watch_recorders(&self) {
        loop {
            self.clock.sleep(RECORDERS_LOOKED_AT).await;
            for live in self.all() {
                let behind = live.seen.recorder_behind().is_some_and(|behind| behind > BEHIND_MAX);
                live.slow.send_if_modified(|slow| std::mem::replace(slow, behind) != behind);
            }
        }
    }

    fn all(&self) -> Vec<Arc<Live>> {
        self.sessions().values().map(Arc::clone).collect()
    }

    fn get(&self, session: SessionId) -> Option<Arc<Live>> {
        self.sessions().get(&session).map(Arc::clone)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Live>>> {
        // Nothing under this lock can panic halfway through a change.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Often enough to notice two seconds in time, seldom enough to cost nothing.
const RECORDERS_LOOKED_AT: Duration = Duration::from_millis(500);
/// A recorder this far behind is slow, and the technician is told.
const BEHIND_MAX: Duration = Duration::from_secs(2);

impl fmt::Debug for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Floor({} sessions)", self.count())
    }
}

impl Port for Floor {
    fn list(&self) -> Vec<LiveSession> {
        let (now, held) = (self.clock.boot(), self.slots.held());
        let connections = |live: &Live| held.get(&live.session).copied().unwrap_or_default();
        self.all().iter().map(|live| live.shown(now, connections(live))).collect()
    }

    fn cut(&self, sessions: &[SessionId], ending: &Ending) {
        let floor = self.sessions();
        for live in sessions.iter().filter_map(|session| floor.get(session)) {
            live.end(ending);
        }
    }

    fn freeze(&self, session: SessionId, frozen: bool) {
        if let Some(live) = self.get(session) {
            live.frozen.set(StoppedBy::Order, frozen);
        }
    }

    fn disconnect(&self, session: SessionId) -> usize {
        self.slots.release(session)
    }

    fn tell(&self, session: SessionId, text: &str) {
        let told = self.get(session).map(|live| live.told.try_send(Telling::of(text)));
        if matches!(told, Some(Err(_))) {
            tracing::warn!(%session, "a technician is told too much at once: a line of it is lost");
        }
    }

    fn write_to(&self, session: SessionId, text: &str) -> Option<oneshot::Receiver<Shown>> {
        let live = self.get(session)?;
        let (telling, shown) = Telling::asking(text);
        if live.told.try_send(telling).is_err() {
            tracing::warn!(%session, "a technician is told too much at once: a line of an operator is lost");
        }
        Some(shown)
    }

    fn watch(&self, session: SessionId) -> Option<Watch> {
        self.get(session).map(|live| live.seen.gallery().watch())
    }

    fn capture(&self, wanted: Wanted) -> Option<Capture> {
        self.captures.read(wanted)
    }
}

/// A session as others reach it.
pub(crate) struct Live {
    pub(crate) session: SessionId,
    pub(crate) since: Boot,
    pub(crate) seen: Arc<Seen>,
    pub(crate) legs: Arc<Legs>,
    /// Why it ends, once that is so; the first reason stays.
    pub(crate) over: watch::Sender<Option<Ending>>,
    /// Whether its input is stopped.
    pub(crate) frozen: Stopped,
    /// Whether its recorder is slow.
    pub(crate) slow: watch::Sender<bool>,
    /// Lines for the technician. Bounded: they are sentences, and a session reads them at once.
    pub(crate) told: mpsc::Sender<Telling>,
}

/// A line for a technician, in which may stand what somebody else wrote.
#[derive(Debug)]
pub struct Telling {
    /// The line.
    pub text: String,
    /// An operator wrote it, and wants to know whether it is read. Dropped, it was not.
    pub wanted: Option<oneshot::Sender<Shown>>,
}

impl Telling {
    /// The gate's own.
    pub(crate) fn of(text: impl Into<String>) -> Self {
        Self { text: text.into(), wanted: None }
    }

    /// An operator's.
    fn asking(text: &str) -> (Self, oneshot::Receiver<Shown>) {
        let (wanted, shown) = oneshot::channel();
        (Self { text: text.to_owned(), wanted: Some(wanted) }, shown)
    }

    /// Says where it is shown, to whoever wants to know.
    pub(crate) fn shown(wanted: Option<oneshot::Sender<Shown>>, shown: Shown) {
        if wanted.is_some_and(|wanted| wanted.send(shown).is_err()) {
            tracing::debug!("nobody waits any more to hear where a line was shown");
        }
    }
}

impl Live {
    /// No byte goes to the target after this returns. The rest is the session's to do.
    pub(crate) fn end(&self, ending: &Ending) {
        self.legs.cut();
        self.over.send_if_modified(|over| {
            let is_first = over.is_none();
            over.get_or_insert_with(|| ending.clone());
            is_first
        });
    }

    fn shown(&self, now: Boot, connections: usize) -> LiveSession {
        let (bytes_up, bytes_down) = self.seen.bytes_passed();
        LiveSession {
            session: self.session,
            bytes_up,
            bytes_down,
            age: now.since(self.since),
            last_input: self.seen.last_input(),
            transferring: self.seen.is_transferring(),
            within_websocket: self.seen.is_within_websocket(),
            in_browser: self.seen.is_in_browser(),
            locked: self.seen.is_locked(),
            watchers: self.seen.gallery().spectators(),
            connections,
            screens: self.seen.gallery().screens().open(),
        }
    }
}

/// Whether a session's input is stopped, for any of two reasons.
#[derive(Default)]
pub(crate) struct Stopped {
    reasons: Mutex<u8>,
    input: watch::Sender<bool>,
}

/// Why input is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoppedBy {
    /// The Desk says so.
    Order = 1,
    /// Nobody gave any for too long.
    Idleness = 2,
}

impl Stopped {
    /// Stops input for this reason, or no longer for it.
    pub(crate) fn set(&self, reason: StoppedBy, stopped: bool) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = reason as u8;
        *reasons = if stopped { *reasons | reason } else { *reasons & !reason };
        let is_stopped = *reasons != 0;
        self.input.send_if_modified(|input| std::mem::replace(input, is_stopped) != is_stopped);
    }

    /// For a channel, that obeys it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<bool> {
        self.input.subscribe()
    }
}

/// A session's place on the floor.
pub(crate) struct Presence {
    floor: Floor,
    pub(crate) live: Arc<Live>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut floor = self.floor.sessions();
        // A session is there once; but what is not ours is never taken away.
        if floor.get(&self.live.session).is_some_and(|live| Arc::ptr_eq(live, &self.live)) {
            floor.remove(&self.live.session);
        }
    }
}

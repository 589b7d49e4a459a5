//! One technician's connection, outer or inner: how far it has come, how long it may stay so, and how it is told to go.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use approver::clock::{Boot, Clock};
use approver::spans::{Key, Moment, Place, Span, Work};
use policies::ids::PersonId;
use russh::server::Handle;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::say_goodbye;
use super::strangers::Stranger;
use crate::flow::Valve;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Key and code are not both proved.
    SigningIn,
    /// The gate's questions are open.
    Asked,
    /// A request waits for its yes.
    Waiting,
    /// In the lobby or in a session, which have limits of their own.
    Inside,
    /// Told to go.
    Leaving,
}

/// Until key and code are proved, as OpenSSH's `LoginGraceTime` counts. A code lasts 30 s and works once, so whoever just
/// used one waits up to 30 s for the next and has the rest to type it. Who may stay so long is bounded in `strangers`.
const SIGNING_IN_MAX: Duration = Duration::from_secs(60);
/// A reason is thought of and typed in less.
const ASKED_MAX: Duration = Duration::from_secs(10 * 60);
/// The request stands for longer; only the wait ends.
const WAITING_MAX: Duration = Duration::from_secs(3600);
/// A connection signed in on which nothing is open: it holds a place that others may need. What is in use has limits of its
/// own.
const UNUSED_MAX: Duration = Duration::from_secs(15 * 60);
/// For the last words to be read by a client that reads.
pub(super) const LEAVING_MAX: Duration = Duration::from_millis(500);
/// What paramiko's usual transport does with each new key and factor.
const SECOND_SERVICE: &str = "Your client asked a second time for the service ssh-userauth, which is not answered. With \
                              paramiko use transport_factory=paramiko.ServiceRequestingTransport, or a certificate of \
                              `holdpoint login`.";
/// For the eldest of too many that wait for one person's codes.
const TOO_MANY_HALFWAY: &str = "Too many connections of yours wait for a code, so the eldest was ended: this one. Connect \
                                again when the others have theirs.";
/// For sessions to say their own goodbye when the program stops.
const STOPPING_MAX: Duration = Duration::from_secs(3);

/// Lines told that wait to be read.
const TOLD_MAX: usize = 16;

/// What the tasks around one connection share.
pub(super) struct Connection {
    pub(super) source: IpAddr,
    pub(super) valve: Arc<Valve>,
    clock: Clock,
    stage: watch::Sender<(Stage, Boot)>,
    session: OnceLock<Handle>,
    stranger: Mutex<Option<Stranger>>,
    arrived: Moment,
    /// The login, from the first known key or name on; and where that belongs, for all that comes of it.
    login: Mutex<Option<Span>>,
    place: OnceLock<Place>,
    /// How many use it, and since when it has been so.
    tenants: watch::Sender<(usize, Boot)>,
    /// What had been read when the client was answered and its next request was waited for.
    answered_at: AtomicU64,
    /// Lines for whoever reads in the lobby.
    told: broadcast::Sender<String>,
}

/// While nothing is waited for: no connection reads so much.
const NOT_WAITING: u64 = u64::MAX;

/// Whoever uses a connection that others may use too: a lobby, a session, or an inner connection of `-J`.
pub(super) struct Tenant(Arc<Connection>);

impl Connection {
    /// A stranger's.
    pub(super) fn of_stranger(source: IpAddr, valve: Arc<Valve>, clock: Clock, stranger: Stranger) -> Self {
        Self::new(source, valve, clock, Some(stranger))
    }

    /// One inside another.
    pub(super) fn within(outer: &Self, valve: Arc<Valve>) -> Self {
        Self { place: OnceLock::from(outer.place()), ..Self::new(outer.source, valve, outer.clock.clone(), None) }
    }

    fn new(source: IpAddr, valve: Arc<Valve>, clock: Clock, stranger: Option<Stranger>) -> Self {
        let stage = watch::Sender::new((Stage::SigningIn, clock.boot()));
        let (session, stranger, tenants) =
            (OnceLock::new(), Mutex::new(stranger), watch::Sender::new((0, clock.boot())));
        let answered_at = AtomicU64::new(NOT_WAITING);
        let told = broadcast::Sender::new(TOLD_MAX);
        let (arrived, login, place) = (Moment::now(), Mutex::default(), OnceLock::new());
        Self { source, valve, clock, stage, session, stranger, arrived, login, place, tenants, answered_at, told }
    }

    /// One more uses it.
    pub(super) fn move_in(self: &Arc<Self>) -> Tenant {
        self.count_tenants(|count| count + 1);
        Tenant(Arc::clone(self))
    }

    /// Tells a line to whoever reads in a lobby of this connection; whether somebody does.
    pub(super) fn tell(&self, words: &str) -> bool {
        let is_read = self.told.send(words.to_owned()).is_ok();
        if !is_read {
            tracing::debug!("nobody reads what a session says");
        }
        is_read
    }

    /// The lines that are told from now on.
    pub(super) fn told(&self) -> broadcast::Receiver<String> {
        self.told.subscribe()
    }

    /// Whether one alone uses it.
    pub(super) fn has_one_tenant(&self) -> bool {
        self.tenants.borrow().0 == 1
    }

    /// Whether nobody uses it.
    pub(super) fn is_empty(&self) -> bool {
        self.tenants.borrow().0 == 0
    }

    fn count_tenants(&self, change: impl FnOnce(usize) -> usize) {
        let now = self.clock.boot();
        self.tenants.send_modify(|(count, since)| (*count, *since) = (change(*count), now));
    }

    /// Completes when nobody has used it for so long.
    async fn unused(&self, entered: Boot, longest: Duration) {
        let mut tenants = self.tenants.subscribe();
        loop {
            let (count, since) = *tenants.borrow_and_update();
            tokio::select! {
                changed = tenants.changed() => debug_assert!(changed.is_ok(), "this connection holds the sender"),
                () = self.clock.sleep_until(since.max(entered).after(longest)), if count == 0 => return,
            }
        }
    }

    /// The SSH session runs from now on.
    pub(super) fn has_begun(&self, session: Handle) {
        let is_first = self.session.set(session).is_ok();
        debug_assert!(is_first, "a connection has one session");
    }

    /// The SSH session, once it runs.
    pub(super) fn session(&self) -> Option<&Handle> {
        self.session.get()
    }

    /// Whoever proved a person's key is turned out for no stranger.
    pub(super) fn proved_a_key_of(&self, person: PersonId) {
        if let Some(stranger) = &*self.stranger() {
            stranger.is_known(person);
        }
    }

    /// Somebody's key was shown here, or their name with a password: from now on the login is timed, since they came. Strangers leave
    /// nothing.
    pub(super) fn login(&self) -> &Place {
        self.place.get_or_init(|| {
            let login = Span::since(self.arrived, Work::Login);
            let place = login.place();
            *self.timed_login() = Some(login);
            place
        })
    }

    /// Who signs in.
    pub(super) fn is_of(&self, person: PersonId) {
        if let Some(login) = &*self.timed_login() {
            login.set(Key::Person, &person);
        }
    }

    /// What comes of the login is a part of it, for whoever looks for what was slow.
    pub(super) fn place(&self) -> Place {
        self.place.get().cloned().unwrap_or_default()
    }

    fn timed_login(&self) -> MutexGuard<'_, Option<Span>> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stranger(&self) -> MutexGuard<'_, Option<Stranger>> {
        self.stranger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client asked for something that is known here.
    pub(super) fn has_asked(&self) {
        self.answered_at.store(NOT_WAITING, Ordering::SeqCst);
    }

    /// The client was answered, and has to ask for the next thing by itself, without anybody's help.
    pub(super) fn was_answered(&self) {
        self.answered_at.store(self.valve.read_bytes(), Ordering::SeqCst);
    }

    /// Comes to another stage. Nobody comes back from leaving.
    pub(super) fn enter(&self, stage: Stage) {
        if stage != Stage::SigningIn {
            drop(self.stranger().take());
            let login = self.timed_login().take();
            if let Some(login) = login.filter(|_| stage == Stage::Leaving) {
                login.failed("not signed in");
            }
        }
        let now = self.clock.boot();
        self.stage.send_if_modified(|(before, since)| {
            let changes = *before != stage && *before != Stage::Leaving;
            if changes {
                (*before, *since) = (stage, now);
            }
            changes
        });
    }

    /// How far it has come.
    pub(super) fn stage(&self) -> Stage {
        self.stage.borrow().0
    }

    /// Whether it was told to go.
    pub(super) fn is_leaving(&self) -> bool {
        self.stage() == Stage::Leaving
    }

    /// Completes when it is told to go: whatever else is awaited then is in vain.
    pub(super) async fn leaving(&self) {
        let told = self.stage.subscribe().wait_for(|(stage, _)| *stage == Stage::Leaving).await.is_ok();
        debug_assert!(told, "this connection holds the sender");
    }

    /// Tells the technician why it ends, and ends it soon after, whether they read it or not.
    pub(super) async fn goodbye(&self, words: &str) {
        if self.is_leaving() {
            return;
        }
        self.enter(Stage::Leaving);
        if let Some(session) = self.session.get() {
            say_goodbye(session, words).await;
        }
    }

    /// Lets it run, for as long as its stage may last.
    pub(super) async fn attend<T>(&self, stop: &CancellationToken, serving: impl Future<Output = T>) -> T {
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            outcome = &mut serving => return outcome,
            words = self.overdue(stop) => self.goodbye(words).await,
        }
        tokio::select! {
            outcome = &mut serving => return outcome,
            () = tokio::time::sleep(LEAVING_MAX) => self.valve.cut(),
        }
        serving.await
    }

    /// Completes when it has to go, with the words for it; none where they were said.
    async fn overdue(&self, stop: &CancellationToken) -> &'static str {
        let mut stages = self.stage.subscribe();
        let turned_out = self.stranger().as_ref().map(Stranger::turned_out).unwrap_or_default();
        loop {
            let (stage, since) = *stages.borrow_and_update();
            let due = self.stays(stage, since);
            tokio::select! {
                biased;
                // First, because a stage that is over has no say, however late this task gets to know it.
                changed = stages.changed() => debug_assert!(changed.is_ok(), "this connection holds the sender"),
                () = self.unanswered(), if stage == Stage::SigningIn => return SECOND_SERVICE,
                () = turned_out.cancelled(), if stage == Stage::SigningIn => return TOO_MANY_HALFWAY,
                words = due => return words,
                () = stop.cancelled() => {
                    if stage == Stage::Inside {
                        tokio::time::sleep(STOPPING_MAX).await;
                    }
                    return "The gate is being stopped. Connect again when it is back.";
                }
            }
        }
    }

    /// Completes when the client sent what it gets no answer to. russh answers the service request with which signing in
    /// begins, and passes over a second one without a word, so that its sender would wait in vain.
    async fn unanswered(&self) {
        const LOOKS_EVERY: Duration = Duration::from_secs(1);
        let mut was_unanswered = false;
        loop {
            self.clock.sleep(LOOKS_EVERY).await;
            let is_unanswered = self.valve.read_bytes() > self.answered_at.load(Ordering::SeqCst);
            if was_unanswered && is_unanswered {
                return;
            }
            was_unanswered = is_unanswered;
        }
    }

    async fn stays(&self, stage: Stage, since: Boot) -> &'static str {
        let (longest, words) = match stage {
            Stage::Inside => {
                self.unused(since, UNUSED_MAX).await;
                return "Nobody used this connection for 15 minutes.";
            }
            Stage::Leaving => return "",
            Stage::SigningIn => (SIGNING_IN_MAX, "You did not sign in within 60 seconds."),
            Stage::Asked => (ASKED_MAX, "The questions were open for 10 minutes. Connect again to answer them."),
            Stage::Waiting => {
                (WAITING_MAX, "Nobody answered within an hour. Your request stands: your next connection picks it up.")
            }
        };
        self.clock.sleep_until(since.after(longest)).await;
        words
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        self.0.count_tenants(|count| count - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use approver::testing::{Stage as Scene, source};
    use futures::{FutureExt, poll};

    use super::*;

    #[tokio::test]
    async fn a_stage_that_is_over_has_no_say_however_late_it_is_noticed() {
        for _ in 0..32 {
            let scene = Scene::new().await;
            let connection = Connection::new(source(), Arc::default(), scene.desk.clock().clone(), None);
            let stop = CancellationToken::new();
            let mut overdue = pin!(connection.overdue(&stop));
            assert!(poll!(&mut overdue).is_pending());
            connection.enter(Stage::Asked);
            scene.pass(ASKED_MAX - Duration::from_secs(10));
            assert_eq!(overdue.as_mut().now_or_never(), None);
            scene.pass(Duration::from_secs(10));
            assert!(overdue.await.starts_with("The questions were open for 10 minutes."));
        }
    }
}

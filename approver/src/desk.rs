//! The Desk: the one place where something becomes so. A use case is *decide* (pure, in `policies`), *append*
//! (compare-and-swap on the journal's head), *apply* (pure). Admitting, cutting and giving back are beside it, because
//! they have an order of their own: admitting is open only after it is recorded, a cut acts before it is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use certs::proof::Authenticated;
use certs::sshsig::{BadSignature, KeyRefused};
use jiff::Timestamp;
use policies::decide::Command;
use policies::events::{Event, Scope};
use policies::ids::{CutId, DeploymentId, NodeId, Recipient, SessionId};
use policies::people::Person;
use policies::refusals::Refusal;
use policies::state::State;
use recordings::log::Log;
use ssh_key::{HashAlg, PublicKey};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Boot, Clock};
use crate::cuts::CutsFile;
use crate::directory::{Directory, DirectoryFault};
use crate::feed::counts::Counts;
use crate::floor::Floor;
use crate::journal::{AppendError, Entry, Head, Journal, ReadError};
use crate::spans::{self, Key, Span, Work};

mod admission;
mod cutting;
mod due;
mod fold;
mod gone;
mod handovers;
mod hearing;
mod late;
pub mod restoring;
mod seats;
mod secrets;
mod signatures;
mod tasks;
mod turns;
mod vouching;
mod weaker;

pub use cutting::{CutDone, Kept, Watching};
pub(crate) use due::grant_of;
pub use due::{Due, Waits};
pub(crate) use hearing::SILENT;
pub(crate) use seats::{Seat, is_within};
pub use weaker::WeakerProof;

use admission::Refused;
use fold::{Fold, Now};
use handovers::Handovers;
use hearing::Hearing;
use late::Spool;
use seats::Seats;
use turns::{Place, Turns};

/// An append that lost its race this often is given up. Each loss is somebody else's success, so a node that works
/// alone never gets here.
const TRIES: usize = 32;
/// Clocks of one machine are slewed by less; a clock behind by more was set.
const SLEW_MAX: jiff::SignedDuration = jiff::SignedDuration::from_secs(2);

/// What a Desk is made of.
pub struct DeskParts {
    /// Where decisions are kept.
    pub journal: Arc<dyn Journal>,
    /// Where people's names, texts and counters are kept.
    pub directory: Arc<dyn Directory>,
    /// The time.
    pub clock: Clock,
    /// This node.
    pub node: NodeId,
    /// This installation.
    pub deployment: DeploymentId,
    /// The live sessions.
    pub floor: Arc<dyn Floor>,
    /// Told what nobody may mute. Bounded; what does not fit is logged alone.
    pub alarms: mpsc::Sender<Alarm>,
    /// Where cuts go that cannot be journaled.
    pub cuts: CutsFile,
    /// This node's recordings, for which the journal vouches; none where it keeps none.
    pub records: Option<Arc<Log>>,
}

/// Something people must hear of although it is not in the journal, or not yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// A cut acts, but could not be journaled.
    CutNotJournaled {
        /// Which.
        cut: CutId,
        /// Whether it survives a restart: it is on the disk.
        on_disk: bool,
    },
    /// The end of a session could not be journaled and was forgotten.
    EndingLost(SessionId),
    /// The journal does not answer. Nobody is admitted; cuts work.
    JournalDown(String),
    /// The journal answers again.
    JournalUp,
    /// The journal holds an event this program does not know. Nobody is admitted until the program was upgraded.
    UnknownEvent(String),
    /// A witness cannot be asked, or answers nothing that counts. Nothing stops.
    WitnessLost {
        /// Its name.
        witness: String,
        /// Why.
        why: String,
    },
    /// A witness has seen more of a log than there is, or another one: this gate was set back, or runs twice.
    WitnessRefuses {
        /// Its name.
        witness: String,
        /// Why.
        why: String,
    },
    /// A witness cosigns again.
    WitnessBack {
        /// Its name.
        witness: String,
    },
    /// The disk for recordings has less room than is reserved. Nobody is admitted; running sessions go on for now.
    StoreFillsUp,
    /// An alarm stands, in words.
    Raised(String),
    /// An alarm is over; what it said.
    Cleared(String),
}

/// Why a Desk does not open.
#[derive(Debug, thiserror::Error)]
pub enum DeskFault {
    /// The journal cannot be read at all.
    #[error(transparent)]
    Journal(#[from] ReadError),
    /// The file of cuts cannot be read, so it is not known who is kept out.
    #[error("the file of cuts cannot be read, so it is not known who is to be kept out: {0}")]
    Cuts(std::io::Error),
    /// The journal belongs to another installation.
    #[error("the journal is that of {found}, and this program is set up as {expected}")]
    OtherDeployment {
        /// As configured.
        expected: DeploymentId,
        /// As journaled.
        found: DeploymentId,
    },
}

/// The Desk could not decide: nothing was refused, and nothing happened. Its words are for whoever asked and name nothing of
/// where the gate keeps what it keeps; the cause is in the value, for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The journal does not answer, so nobody new gets in. Whether the last append happened is not known.
    #[error("the gate cannot reach its journal, so it decides nothing now. Tell the plant; cuts still work")]
    Journal(String),
    /// A journal in which no gate runs cannot be gone on from.
    #[error("the journal: {0}")]
    AtRest(String),
    /// The journal holds an event this program does not know.
    #[error("the gate's journal was written by a newer version, so it decides nothing until it is upgraded ({0})")]
    UnknownEvent(String),
    /// Others were faster, again and again.
    #[error("the gate is too busy to decide this now. Try again")]
    Busy,
    /// The directory does not answer.
    #[error("the gate's directory does not answer, so this cannot be done now. Cuts still work")]
    Directory(#[from] DirectoryFault),
    /// A secret is in the journal as set, and the directory did not take it: the one before may be in force still.
    #[error("it is in the journal that it was set, and it was not kept: set it once more")]
    SecretNotKept(DirectoryFault),
    /// A secret is in the journal as forgotten, and the directory may have it still.
    #[error("it is in the journal that it was forgotten, and it was not: forget it once more")]
    SecretNotForgotten(DirectoryFault),
    /// The Desk is being closed.
    #[error("the gate is stopping")]
    Stopping,
    /// This is done by a method of its own.
    #[error("this is not done by a command: use {0}")]
    OtherDoor(&'static str),
}

/// Why nothing came of a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// A no, with its reason.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// A statement in it is not signed as it must be.
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
    /// It could not be decided.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Why a signed statement does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// The key's text is no key.
    #[error("the key beside the signature is no SSH public key")]
    NoKey,
    /// The key is of a kind that is not taken.
    #[error(transparent)]
    Key(#[from] KeyRefused),
    /// The signature.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// A security key that nobody touched.
    #[error("the security key must be touched for this")]
    NotTouched,
}

impl From<DirectoryFault> for Rejected {
    fn from(fault: DirectoryFault) -> Self {
        Self::Fault(fault.into())
    }
}

/// How the Desk is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeskStatus {
    /// The journal, as far as it was folded.
    pub head: Head,
    /// Since how long the journal does not answer.
    pub journal_down_for: Option<Duration>,
    /// The event this program does not know.
    pub unknown_event: Option<String>,
    /// Facts that wait to be journaled: endings, cuts, ends of watching.
    pub late: usize,
    /// Facts that had to be forgotten.
    pub lost: u64,
    /// Cuts that stand, but are not in the journal yet.
    pub unjournaled_cuts: Vec<(CutId, Scope)>,
    /// Leases out.
    pub leases: usize,
    /// When this node restarts, where it lets nobody in before.
    pub restarts: Option<jiff::Timestamp>,
}

/// The Desk. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Desk(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    journal: Arc<dyn Journal>,
    directory: Arc<dyn Directory>,
    clock: Clock,
    counts: Counts,
    node: NodeId,
    deployment: DeploymentId,
    floor: Arc<dyn Floor>,
    alarms: mpsc::Sender<Alarm>,
    cuts: CutsFile,
    records: Option<Arc<Log>>,
    fold: RwLock<Fold>,
    /// Appends take turns; who has one may also read what others appended.
    turns: Turns,
    /// An append was begun whose outcome was not folded.
    behind: AtomicBool,
    seats: Mutex<Seats>,
    spool: Mutex<Spool>,
    /// One flush of the spool at a time.
    flushing: tokio::sync::Mutex<()>,
    /// One secret at a time is set or forgotten, so that the directory has them as the journal says.
    secrets: tokio::sync::Mutex<()>,
    health: Mutex<Health>,
    handovers: Mutex<Handovers>,
    hearing: Mutex<Hearing>,
    refused: Mutex<BTreeMap<policies::ids::PersonId, Refused>>,
    /// When this node restarts, once it lets nobody in any more.
    restarts: Mutex<Option<jiff::Timestamp>>,
    size: watch::Sender<u64>,
    time_moved: Notify,
    late_came: Notify,
    tracker: TaskTracker,
    /// Where the Desk was opened: its callers' own may end before what they began here.
    runtime: Handle,
    stop: CancellationToken,
    /// Whether this run is in the journal: before, nothing is decided by the time alone, since nobody could do anything while
    /// the gate stood still, and when that ended is not known yet.
    is_up: watch::Sender<bool>,
}

/// When the journal last answered, since when it does not, and when and why it last did not.
struct Health {
    answered: Boot,
    down_since: Option<Boot>,
    failed: Option<(Boot, String)>,
}

impl Desk {
    /// Runs something to its end in a task of the Desk's, so that a caller who gives up leaves nothing half done.
    pub(crate) async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Fault> {
        self.0.to_its_end(work).await
    }

    /// Reads the cuts that were not journaled, folds the journal, and starts the Desk's tasks. Where the journal holds
    /// an event this program does not know, the Desk opens and admits nobody.
    ///
    /// # Errors
    /// The journal or the file of cuts cannot be read, or the journal is another installation's.
    pub async fn open(parts: DeskParts) -> Result<Self, DeskFault> {
        let cuts = parts.cuts.clone();
        let kept = tokio::task::spawn_blocking(move || cuts.read()).await.map_err(std::io::Error::other);
        let kept = kept.and_then(|read| read).map_err(DeskFault::Cuts)?;
        let now = Now { wall: parts.clock.wall(), boot: parts.clock.boot() };
        let fold = Fold::read_all(&*parts.journal, now).await?;
        if let Some(found) = fold.state.deployment.clone().filter(|found| *found != parts.deployment) {
            return Err(DeskFault::OtherDeployment { expected: parts.deployment, found });
        }
        let desk = Self(Arc::new(Inner::new(parts, fold)));
        desk.0.take_kept_cuts(kept);
        desk.0.start_tasks();
        Ok(desk)
    }

    /// Looks at what stands. The closure must be short: appends wait for it.
    pub fn with_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.0.fold().state)
    }

    /// When a key was added to theirs, for as long as that is news: whoever signed in by it knows, and nobody else may.
    pub fn key_news(&self, who: &Authenticated) -> Option<Timestamp> {
        self.with_state(|state| {
            let known = state.people.get(&who.person())?;
            let added = known.keys.last().and_then(|key| PublicKey::from_openssh(&key.0).ok());
            let is_it = added.is_some_and(|key| who.key() == Some(key.fingerprint(HashAlg::Sha256)));
            known.key_news(self.clock().wall()).filter(|_| !is_it)
        })
    }

    /// The journal, as far as it was folded: what a statement signed now names.
    pub fn head(&self) -> Head {
        self.0.fold().head
    }

    /// The clock everything here goes by.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The directory beside the journal.
    pub fn directory(&self) -> &dyn Directory {
        &*self.0.directory
    }

    /// What is counted for the feed, and is in no journal.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// The live sessions.
    pub fn floor(&self) -> &dyn Floor {
        &*self.0.floor
    }

    /// This node.
    pub fn node(&self) -> &NodeId {
        &self.0.node
    }

    /// This installation.
    pub fn deployment(&self) -> &DeploymentId {
        &self.0.deployment
    }

    /// Decides, appends and applies: the events that came of it, none where nothing was left to do. Signatures in the
    /// command are checked first, and again with every attempt. Goes on to its end even if nobody waits for it. That a request was
    /// refused is journaled.
    ///
    /// # Errors
    /// A refusal, a statement not signed as it must be, or a fault.
    pub async fn act(&self, command: Command) -> Result<Vec<Event>, Rejected> {
        match &command {
            Command::Admit(_) => return Err(Fault::OtherDoor("Desk::admit").into()),
            Command::End { .. } => return Err(Fault::OtherDoor("Desk::end").into()),
            Command::Cut { .. } => return Err(Fault::OtherDoor("Desk::cut").into()),
            Command::VoteWeaker { .. } => return Err(Fault::OtherDoor("Desk::vote_weaker").into()),
            Command::ForgetNodes { .. } => return Err(Fault::OtherDoor("Desk::forget_nodes").into()),
            _ => {}
        }
        let inner = self.0.clone();
        let asked = if let Command::Submit(asked) = &command { Some(asked.clone()) } else { None };
        let act = async move {
            let acted = inner.act(command).await;
            if let (Some(asked), Err(Rejected::Refusal(refusal))) = (asked, &acted) {
                inner.report_refused_request(&asked, refusal).await;
            }
            acted
        };
        // Whoever acts holds no more of it than a place.
        self.0.to_its_end(Box::pin(act)).await?
    }

    /// Whether a command would be taken as things stand now, its signatures among them. Nothing comes of asking.
    ///
    /// # Errors
    /// As [`act`](Self::act).
    pub fn would_take(&self, command: &Command) -> Result<(), Rejected> {
        let now = self.clock().wall();
        let fold = self.0.fold();
        signatures::check(command, &fold)?;
        fold.state.decide(command, now)?;
        Ok(())
    }

    /// The next entries of the journal from index `after` on, for readers with a cursor of their own: as many as may be held at
    /// once, and none where there are none yet.
    ///
    /// # Errors
    /// The journal cannot be read, or the first entry is one this program does not know.
    pub async fn entries(&self, after: u64) -> Result<Vec<Entry>, ReadError> {
        self.0.journal.read_next(after).await
    }

    /// Those of the journal's entries at these places, which are in order: as many as may be held at once.
    ///
    /// # Errors
    /// The journal cannot be read, or the first entry is one this program does not know.
    pub(crate) async fn entries_at(&self, places: &[u64]) -> Result<Vec<Entry>, ReadError> {
        self.0.journal.read_at(places).await
    }

    /// Waits until more than `size` entries were folded. May be dropped and called again.
    pub async fn changed(&self, size: u64) {
        let grown = self.0.size.subscribe().wait_for(|now| *now > size).await.is_ok();
        debug_assert!(grown, "the Desk holds the sender");
    }

    /// How the Desk is doing.
    pub fn status(&self) -> DeskStatus {
        let inner = &self.0;
        let fold = inner.fold();
        let (seats, spool, health) = (inner.seats(), lock(&inner.spool), lock(&inner.health));
        DeskStatus {
            head: fold.head,
            journal_down_for: health.down_since.map(|since| inner.clock.boot().since(since)),
            unknown_event: fold.unknown.clone(),
            late: spool.len(),
            lost: spool.lost,
            unjournaled_cuts: seats.blocks.iter().map(|(cut, scope)| (*cut, scope.clone())).collect(),
            leases: seats.places.len(),
            restarts: *lock(&inner.restarts),
        }
    }

    /// Lets nobody in any more here, because this node restarts at that time. What runs goes on, and everything else is decided
    /// as before.
    pub fn restarts_at(&self, at: jiff::Timestamp) {
        *lock(&self.0.restarts) = Some(at);
    }

    /// Says that this node serves from now on. Sessions it left open when it stopped without order are over.
    ///
    /// # Errors
    /// As [`act`](Self::act).
    pub async fn start_node(&self, version: &str) -> Result<(), Rejected> {
        let command = Command::StartNode { node: self.0.node.clone(), version: version.to_owned() };
        self.act(command).await?;
        self.0.is_up.send_replace(true);
        Ok(())
    }

    /// Says to whom this node encrypts recordings from now on, where it said otherwise before.
    ///
    /// # Errors
    /// As [`act`](Self::act).
    pub async fn name_recipients(&self, recipients: BTreeSet<Recipient>) -> Result<(), Rejected> {
        let command = Command::NameRecipients { node: self.0.node.clone(), recipients };
        self.act(command).await.map(|_| ())
    }

    /// Ends the Desk's tasks and waits for them; what is late is tried once more. Sessions must have been given back before.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tracker.close();
        if tokio::time::timeout(LAST_WAIT, self.0.tracker.wait()).await.is_err() {
            tracing::error!("the gate stops while its journal is still asked: it does not answer");
        }
        let late = tokio::time::timeout(LAST_FLUSH, self.0.flush_late()).await;
        let left = lock(&self.0.spool).len();
        if late.is_err() || left > 0 {
            tracing::error!(left, "the gate stops with facts that could not be journaled");
        }
    }

    /// Says that this node stops in order, where it said that it runs, then [`close`](Self::close)s. Its recordings should have been
    /// [stopped](Log::stop) before, so that the journal vouches for all of them.
    pub async fn stop_node(&self) {
        let is_up = *self.0.is_up.borrow();
        if is_up && let Err(rejected) = self.act(Command::StopNode { node: self.0.node.clone() }).await {
            tracing::warn!(%rejected, "the gate's stop could not be journaled");
        }
        self.close().await;
    }
}

/// How long a stop waits for what is under way.
const LAST_WAIT: Duration = Duration::from_secs(15);
/// How long a stop waits for a journal that does not answer.
const LAST_FLUSH: Duration = Duration::from_secs(5);

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Desk({})", self.0.node)
    }
}

impl Inner {
    fn new(parts: DeskParts, fold: Fold) -> Self {
        let health = Health { answered: parts.clock.boot(), down_since: None, failed: None };
        let is_up = watch::Sender::new(!fold.state.has_run());
        Self {
            size: watch::Sender::new(fold.head.size),
            journal: parts.journal,
            directory: parts.directory,
            counts: Counts::new(parts.clock.clone()),
            clock: parts.clock,
            node: parts.node,
            deployment: parts.deployment,
            floor: parts.floor,
            alarms: parts.alarms,
            cuts: parts.cuts,
            records: parts.records,
            fold: RwLock::new(fold),
            turns: Turns::default(),
            behind: AtomicBool::new(false),
            seats: Mutex::default(),
            spool: Mutex::default(),
            flushing: tokio::sync::Mutex::new(()),
            secrets: tokio::sync::Mutex::new(()),
            health: Mutex::new(health),
            handovers: Mutex::default(),
            hearing: Mutex::default(),
            refused: Mutex::default(),
            restarts: Mutex::default(),
            time_moved: Notify::new(),
            late_came: Notify::new(),
            tracker: TaskTracker::new(),
            runtime: Handle::current(),
            stop: CancellationToken::new(),
            is_up,
        }
    }

    fn fold(&self) -> RwLockReadGuard<'_, Fold> {
        self.fold.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        lock(&self.seats)
    }

    /// Runs something to its end in a task of the Desk's, so that a caller who gives up leaves nothing half done.
    async fn to_its_end<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, Fault> {
        self.tracker.spawn_on(spans::along(work), &self.runtime).await.map_err(|_| Fault::Stopping)
    }

    async fn act(&self, command: Command) -> Result<Vec<Event>, Rejected> {
        let decide = |fold: &Fold, now: Now| {
            // Its answer may have been lost, and it may have been reopened since: it does not cut again.
            if matches!(&command, Command::Cut { cut, .. } if fold.cuts.contains(cut)) {
                return Ok((Vec::new(), ()));
            }
            signatures::check(&command, fold)?;
            Ok((fold.state.decide(&command, now.wall)?, ()))
        };
        let place = match command {
            Command::Cut { .. } | Command::Freeze { .. } | Command::Disconnect { .. } => Place::Next,
            _ => Place::InLine,
        };
        self.transact(place, decide).await.map(|(events, ())| events)
    }

    /// Decide, append, apply; again from the start where somebody else was faster.
    async fn transact<T>(
        &self,
        place: Place,
        decide: impl FnMut(&Fold, Now) -> Result<(Vec<Event>, T), Rejected>,
    ) -> Result<(Vec<Event>, T), Rejected> {
        let decision = Span::within(Work::Decision);
        decision.around(self.transact_in_turn(place, decide)).await
    }

    async fn transact_in_turn<T>(
        &self,
        place: Place,
        mut decide: impl FnMut(&Fold, Now) -> Result<(Vec<Event>, T), Rejected>,
    ) -> Result<(Vec<Event>, T), Rejected> {
        let asked = self.clock.boot();
        let _turn = self.turns.take(place).await;
        self.check_not_down_since(asked)?;
        for _ in 0..TRIES {
            if self.behind.load(Ordering::Acquire) {
                self.catch_up().await?;
            }
            let (head, at, events, value) = {
                let fold = self.fold();
                fold.check_known()?;
                let now = self.now(&fold);
                let (mut events, value) = decide(&fold, now)?;
                if events.is_empty() {
                    return Ok((events, value));
                }
                self.vouch_with(&mut events);
                (fold.head, fold.state.newest.map_or(now.wall, |newest| newest.max(now.wall)), events, value)
            };
            self.behind.store(true, Ordering::Release);
            match self.append(head, &events, at).await {
                Ok(new) => {
                    self.take_own(&events, at, new);
                    self.fold().check_known()?;
                    return Ok((events, value));
                }
                Err(AppendError::Conflict(_)) => {}
                Err(AppendError::Unavailable(cause)) => {
                    if self.was_written(head, &events).await {
                        self.catch_up().await?;
                        return Ok((events, value));
                    }
                    self.is_down(&cause);
                    return Err(Fault::Journal(cause).into());
                }
            }
        }
        Err(Fault::Busy.into())
    }

    async fn append(&self, after: Head, events: &[Event], at: Timestamp) -> Result<Head, AppendError> {
        let append = Span::begin(Work::Append);
        append.set(Key::Entries, events.len());
        let appended = append.around(self.journal.append(after, events, at)).await;
        match &appended {
            Ok(_) => {}
            Err(AppendError::Conflict(_)) => append.failed("conflict"),
            Err(AppendError::Unavailable(_)) => append.failed("unavailable"),
        }
        appended
    }

    /// Whoever waited while the journal did not answer somebody else does not ask it again, or each would wait for all before.
    fn check_not_down_since(&self, asked: Boot) -> Result<(), Fault> {
        match &lock(&self.health).failed {
            Some((failed, cause)) if *failed > asked => Err(Fault::Journal(cause.clone())),
            _ => Ok(()),
        }
    }

    /// Time for a decision. A clock that is slewed may stand a little behind the newest entry; that is no setting back.
    fn now(&self, fold: &Fold) -> Now {
        let wall = self.clock.wall();
        let newest = fold.state.newest.filter(|newest| newest.duration_since(wall) <= SLEW_MAX);
        Now { wall: newest.map_or(wall, |newest| newest.max(wall)), boot: self.clock.boot() }
    }

    fn take_own(&self, events: &[Event], at: jiff::Timestamp, head: Head) {
        let now = Now { wall: self.clock.wall(), boot: self.clock.boot() };
        self.fold.write().unwrap_or_else(PoisonError::into_inner).take_own(events, at, head, now);
        self.hear_written(events.iter());
        self.behind.store(false, Ordering::Release);
        self.has_answered();
        self.has_changed();
    }

    /// Reads what others appended, and acts meanwhile on what of it is here: no cut waits for the journal's answer. To be called with
    /// the turn held.
    async fn catch_up(&self) -> Result<(), Fault> {
        let mut asking = pin!(self.ask_how_far());
        loop {
            self.take_what_came().await?;
            let size = self.fold().state.size;
            tokio::select! {
                biased;
                asked = &mut asking => return asked,
                () = self.journal.changed(size) => {}
            }
        }
    }

    /// Acts on what others appended as far as it is here.
    async fn take_what_came(&self) -> Result<(), Fault> {
        let size = self.fold().state.size;
        let entries = self.journal.read_next(size).await.map_err(|error| self.cannot_read(error))?;
        if !entries.is_empty() {
            self.take(&entries, |fold, now| fold.take_some(&entries, now));
            self.has_changed();
        }
        Ok(())
    }

    /// Acts on what others appended, and on its being all.
    async fn ask_how_far(&self) -> Result<(), Fault> {
        for _ in 0..TRIES {
            let size = self.fold().state.size;
            let entries = self.journal.read(size).await.map_err(|error| self.cannot_read(error))?;
            let head = self.journal.head().await.map_err(|error| self.cannot_read(error))?;
            if self.take(&entries, |fold, now| fold.take_others(&entries, head, now)) {
                self.behind.store(false, Ordering::Release);
                self.has_answered();
                self.has_changed();
                return Ok(());
            }
        }
        Err(Fault::Busy)
    }

    /// Folds entries, of which some may be folded already, and does as the others say.
    fn take<T>(&self, entries: &[Entry], take: impl FnOnce(&mut Fold, Now) -> T) -> T {
        let now = Now { wall: self.clock.wall(), boot: self.clock.boot() };
        let (folded, taken) = {
            let mut fold = self.fold.write().unwrap_or_else(PoisonError::into_inner);
            (fold.state.size, take(&mut fold, now))
        };
        let news = &entries[entries.partition_point(|entry| entry.index < folded)..];
        self.hear_written(news.iter().map(|entry| &entry.event));
        self.do_as_others_said(news);
        taken
    }

    fn cannot_read(&self, error: ReadError) -> Fault {
        match error {
            ReadError::Unknown { .. } => {
                let unknown = error.to_string();
                tracing::error!(%unknown, "nobody is admitted until this program was upgraded");
                self.fold.write().unwrap_or_else(PoisonError::into_inner).unknown = Some(unknown.clone());
                self.alarm(Alarm::UnknownEvent(unknown.clone()));
                // What comes behind it, such as a cut, is not heard here any more.
                self.goes_stale(self.clock.boot());
                Fault::UnknownEvent(unknown)
            }
            ReadError::Unavailable(cause) => {
                self.is_down(&cause);
                Fault::Journal(cause)
            }
        }
    }

    /// After an append of unknown outcome: whether our events are what follows the head it was decided on.
    async fn was_written(&self, after: Head, events: &[Event]) -> bool {
        match self.journal.read(after.size).await {
            Ok(entries) => {
                entries.len() >= events.len()
                    && entries.iter().map(|entry| &entry.event).zip(events).all(|(a, b)| a == b)
            }
            Err(_) => false,
        }
    }

    /// What stands has changed: orders, sleepers and readers follow.
    fn has_changed(&self) {
        self.size.send_replace(self.fold().head.size);
        self.settle();
        self.time_moved.notify_one();
    }

    fn has_answered(&self) {
        let mut health = lock(&self.health);
        health.answered = self.clock.boot();
        health.failed = None;
        if health.down_since.take().is_some() {
            tracing::info!("the journal answers again");
            self.alarm(Alarm::JournalUp);
            self.late_came.notify_one();
        }
    }

    fn is_down(&self, cause: &str) {
        let mut health = lock(&self.health);
        let is_new = health.failed.as_ref().is_none_or(|(_, known)| known != cause);
        health.failed = Some((self.clock.boot(), cause.to_owned()));
        if is_new {
            tracing::error!(cause, "the journal does not answer: nobody is admitted, cuts work");
        }
        let answered = health.answered;
        drop(health);
        if self.goes_stale(answered) {
            self.alarm(Alarm::JournalDown(cause.to_owned()));
        }
    }

    /// From then on the staleness of the rules counts; whether it did not yet.
    fn goes_stale(&self, since: Boot) -> bool {
        let mut health = lock(&self.health);
        let is_new = health.down_since.is_none();
        if is_new {
            health.down_since = Some(since);
            self.time_moved.notify_one();
        }
        is_new
    }

    fn alarm(&self, alarm: Alarm) {
        if let Err(lost) = self.alarms.try_send(alarm) {
            tracing::error!(alarm = ?lost.into_inner(), "an alarm reaches nobody");
        }
    }

    fn operator(fold: &Fold, by: policies::ids::PersonId) -> Result<(), Refusal> {
        let person = fold.state.people.get(&by).ok_or(Refusal::UnknownPerson)?;
        if Person::is_active_operator(person) { Ok(()) } else { Err(Refusal::WrongKind("operators")) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

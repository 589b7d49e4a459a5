//! The program put together: keys, stores, the Desk, the faces. `main` and tests build the same one. What each part does
//! is in its own place; here is only in which order they begin and end, and what may change in between.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use approver::alarms::{Alarms, Lookout};
use approver::api::types::SettingView;
use approver::certificates::Certificates;
use approver::clock::Clock;
use approver::deposits::Copies;
use approver::desk::{Alarm, Desk, DeskFault, DeskParts, Rejected};
use approver::eraser::Eraser;
use approver::feed::receivers::Receiver;
use approver::feed::{Feed, FeedParts, Writer};
use approver::memory::{self, Headroom};
use approver::notify::{Notices, Notifier};
use approver::people::People;
use approver::traces::{self, Traces};
use approver::vaulting::{self, Teller, Untold};
use approver::witnesses::Witnesses;
use certs::keys::{KeyFault, KeyStore, Seal};
use certs::tls::TlsFault;
use policies::decide::Command;
use policies::ids::Recipient;
use recordings::disk::RealMachine;
use recordings::keys::Recipients;
use recordings::log::{Log, RoomState};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, JournalAt};
use crate::floor::Floor;
use crate::founding;
use crate::session::{Sessions, SessionsParts};
use crate::trusting;
use crate::uploads::{Bounds, Staging};

pub(crate) mod asking;
pub(crate) mod depositing;
mod draining;
mod faces;
pub(crate) mod given;
pub(crate) mod looking_back;
pub mod reloading;
pub mod stores;
pub(crate) mod telling;

use asking::CannotAsk;
use depositing::{CannotDeposit, Depositing};
use faces::Listeners;
use looking_back::SetBack;
use stores::{Identity, RecordsKept, StoreFault, Stores};
use telling::CannotTell;

/// Alarms that wait to be told.
const ALARMS_MAX: usize = 64;
/// How long a stop waits for the last of the feed to be written.
const LAST_OF_THE_FEED: Duration = Duration::from_secs(5);
/// How often the recordings' disk is looked at.
const STORE_LOOKED_AT: Duration = Duration::from_secs(5);

/// The running program.
pub struct App {
    config: Config,
    shared: Shared,
    addresses: Addresses,
    desk: Desk,
    people: People,
    floor: Floor,
    sessions: Sessions,
    stores: Stores,
    witnesses: Witnesses,
    depositing: Option<Depositing>,
    feed: Feed,
    traces: Option<Traces>,
    alarms: Alarms,
    certificates: Certificates,
    headroom: Headroom,
    tracker: TaskTracker,
    stop: CancellationToken,
    keys: Arc<KeyStore>,
    /// How the keys, and this process, are guarded, in words for `status`.
    guarded: String,
    /// Cancelled once whoever holds the keys is gone.
    keys_lost: CancellationToken,
    /// Who tells outside what the gate does, and goes on until the last of it was decided.
    last: Last,
}

/// What ends after everything else.
#[derive(Default)]
struct Last {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// Those who are brought the feed: they end when others are named.
    receivers: (TaskTracker, CancellationToken),
}

/// What of the configuration others look at each time anew.
struct Shared {
    recipients: watch::Sender<Recipients>,
    recipient_names: watch::Sender<BTreeMap<Recipient, String>>,
    settings: watch::Sender<Vec<SettingView>>,
    /// Told when the gate's own keys were read anew.
    turned: watch::Sender<()>,
}

impl Shared {
    fn of(config: &Config) -> Self {
        Self {
            recipients: watch::Sender::new(config.store.recipients()),
            recipient_names: watch::Sender::new(config.store.recipient_names()),
            settings: watch::Sender::new(config.settings.shown(&BTreeSet::new())),
            turned: watch::Sender::new(()),
        }
    }
}

/// Where it listens, in the order of the configuration; with the port that the system chose where that said 0.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Addresses {
    /// The vendor face, SSH; a port that speaks everything stands in each of its three lists.
    pub ssh: Vec<SocketAddr>,
    /// The vendor face, the TCP face's TLS.
    pub tls: Vec<SocketAddr>,
    /// The vendor face, HTTPS.
    pub pages: Vec<SocketAddr>,
    /// The plant face, HTTPS.
    pub plant: Vec<SocketAddr>,
}

/// Why the program does not start: every reason that could be found.
#[derive(Debug)]
pub struct StartFault(pub Vec<Reason>);

/// One reason.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The gate's keys.
    #[error("keys: {0}")]
    Keys(#[from] KeyFault),
    /// The data folder.
    #[error("store: {0}")]
    Store(#[from] StoreFault),
    /// The Desk.
    #[error("journal: {0}")]
    Desk(#[from] DeskFault),
    /// The journal holds no installation yet.
    #[error("journal: nothing was founded in it. Run `holdpoint init`")]
    NotFounded,
    /// That this node serves could not be journaled.
    #[error("journal: {0}")]
    Journal(#[from] Rejected),
    /// A certificate for a face.
    #[error("TLS: {0}")]
    Tls(#[from] TlsFault),
    /// A way to tell people that could never work.
    #[error(transparent)]
    Telling(#[from] CannotTell),
    /// A witness that could never be asked.
    #[error(transparent)]
    Witness(#[from] CannotAsk),
    /// A bucket that recordings could never be relied on to.
    #[error(transparent)]
    Bucket(#[from] CannotDeposit),
    /// Somebody remembers more of a log, or another one.
    #[error("store: {0}")]
    SetBack(#[from] SetBack),
    /// An address that cannot be listened on.
    #[error("{face}: cannot listen on {address}: {cause}")]
    Listen {
        /// Which key of the configuration.
        face: &'static str,
        /// Which address.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// The feed's spool.
    #[error("feed: {path}: {cause}", path = .path.display())]
    Feed {
        /// Its folder.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Whoever holds the keys cannot be told what the journal says.
    #[error("keys: {0}")]
    Untold(#[from] Untold),
    /// A part of the program died while starting.
    #[error("{0}")]
    Died(String),
}

impl<R: Into<Reason>> From<R> for StartFault {
    fn from(reason: R) -> Self {
        Self(vec![reason.into()])
    }
}

impl fmt::Display for StartFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the gate does not start:")?;
        self.0.iter().try_for_each(|reason| write!(f, "\n  {reason}"))
    }
}

impl std::error::Error for StartFault {}

impl App {
    /// Starts everything: keys, stores, the Desk with the cuts that stand, and only then the listeners. `seal` opens the
    /// keys.
    ///
    /// # Errors
    /// Every reason that could be found; then nothing runs and nothing listens.
    pub async fn start(config: Config, seal: &Seal, clock: Clock) -> Result<Self, StartFault> {
        let keys = KeyStore::open(&config.keys, seal);
        Box::pin(Self::start_with(config, keys, "The keys are in the gate's own process".to_owned(), clock)).await
    }

    /// The same with keys that were opened elsewhere, and how they are guarded, in words.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(
        config: Config,
        keys: Result<KeyStore, KeyFault>,
        guarded: String,
        clock: Clock,
    ) -> Result<Self, StartFault> {
        let keys = keys.map(Arc::new);
        if let (Ok(keys), JournalAt::Files) = (&keys, &config.store.journal) {
            stores::finish_restore(&config.store.data, &keys.log_key()).await?;
        }
        // A node's name is given once, so what can be wrong here is looked at before one is asked for.
        let receivers = telling::receivers(&config.feed, config.plant.origin.host())?;
        let asked = asking::ways(&config.store.witnesses)?;
        let bucket = depositing::open(&config.store.recordings)?;
        let collector = telling::collector(config.traces.as_ref())?;
        let identity = match &keys {
            Ok(_) => Box::pin(Identity::read_or_join(&config.store)).await,
            Err(_) => Identity::read(&config.store.data),
        };
        let (keys, identity) = match (keys, identity) {
            (Ok(keys), Ok(identity)) => (keys, identity),
            (keys, identity) => {
                let reasons = [keys.err().map(Reason::from), identity.err().map(Reason::from)];
                return Err(StartFault(reasons.into_iter().flatten().collect()));
            }
        };
        stores::check_mark(&config.store.data)?;
        if let JournalAt::Postgres { database, .. } = &config.store.journal {
            Box::pin(stores::catch_up(&config.store.data, &identity, &keys.log_key(), database)).await?;
        }
        let witnesses = asking::witnesses(asked, &identity, &config.store.data, &keys.log_key())?;
        let looked = looking_back::check(&config.store.data, &identity, &keys.log_key(), &witnesses).await;
        looked.map_err(StartFault)?;
        let begun = Box::pin(depositing::begin(&config.store.recordings, bucket, &identity)).await?;
        let stores = open_stores(&config, identity, &keys).await?;
        let depositing = begun.map(|begun| begun.on(&stores, &config.store.data));
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let floor = Floor::new(clock.clone());
        let (alarms, alarmed) = mpsc::channel(ALARMS_MAX);
        let desk = Desk::open(DeskParts {
            journal: Arc::clone(&stores.journal),
            directory: Arc::clone(&stores.directory),
            clock: clock.clone(),
            node: stores.identity.node.clone(),
            deployment: stores.identity.deployment.clone(),
            floor: Arc::new(floor.clone()),
            alarms: alarms.clone(),
            cuts: stores.cuts.clone(),
            records: Some(Arc::clone(&stores.records)),
        })
        .await?;
        if desk.with_state(|state| state.deployment.is_none()) {
            desk.close().await;
            return Err(Reason::NotFounded.into());
        }
        let begun = collector.and_then(|collector| traces::begin(collector, desk.deployment(), desk.node()));
        let (traces, bringer) = begun.unzip();
        let people = People::new(desk.clone(), keys.secrets(), keys.tls_ca());
        let shared = Shared::of(&config);
        let teller = keys.vault().map(|line| Teller::new(desk.clone(), line.clone()));
        let sessions = Sessions::new(SessionsParts {
            desk: desk.clone(),
            people: people.clone(),
            floor: floor.clone(),
            records: Arc::clone(&stores.records),
            recipients: shared.recipients.subscribe(),
            machine: Arc::new(RealMachine),
            staging: staging(&config.store.data, &stores.records)?,
            secrets: keys.secrets(),
            teller: teller.clone(),
            ca: keys.ssh_ca(),
            tracker: tracker.clone(),
            stop: stop.clone(),
        });
        let ways = telling::ways(&config.notify, config.plant.origin.host(), &desk, &keys.secrets())?;
        let (feed, writer) = open_feed(&config, &stores, &desk).await?;
        let (headroom, looking_at_memory) = memory::watch();
        let (addresses, alarms_standing, last) = (Addresses::default(), Alarms::default(), Last::default());
        let mut app = Self {
            config,
            shared,
            addresses,
            desk,
            people,
            floor,
            sessions,
            stores,
            witnesses,
            depositing,
            feed,
            traces,
            alarms: alarms_standing,
            certificates: Certificates::default(),
            headroom,
            tracker,
            stop,
            keys,
            guarded,
            keys_lost: CancellationToken::new(),
            last,
        };
        match app.begin(teller.as_ref()).await {
            Ok(()) => {
                app.tell(ways, alarmed);
                app.last.tracker.spawn(writer.run(app.desk.clone(), app.last.stop.clone()));
                app.bring_feed_to(receivers);
                if let Some(bringer) = bringer {
                    app.last.tracker.spawn(bringer.run(app.last.stop.clone()));
                }
                app.keep(looking_at_memory);
                if let Some(teller) = teller {
                    app.keep(vaulting::keep(teller, app.keys_lost.clone()));
                }
                app.keep(app.lookout(&alarms).run());
                app.keep(app.eraser().run());
                app.bring_to_bucket();
                app.ask_witnesses(&alarms);
                app.keep(watch_store(app.desk.clone(), Arc::clone(&app.stores.records), alarms));
                Ok(app)
            }
            Err(fault) => {
                app.shutdown(Duration::ZERO).await;
                Err(fault)
            }
        }
    }

    /// Binds every address before anything is served on any, and serves.
    async fn begin(&mut self, teller: Option<&Teller>) -> Result<(), StartFault> {
        let (vendor, plant) = (&self.config.vendor, &self.config.plant);
        let mut reasons = Vec::new();
        let shared = bind("faces.vendor.listen", &vendor.listen, &mut reasons).await;
        let ssh = bind("faces.vendor.ssh", &vendor.ssh, &mut reasons).await;
        let tls = bind("faces.vendor.tls", &vendor.tls, &mut reasons).await;
        let pages = bind("faces.vendor.pages", &vendor.pages, &mut reasons).await;
        let plant = bind("faces.plant.listen", &plant.listen, &mut reasons).await;
        if !reasons.is_empty() {
            return Err(StartFault(reasons));
        }
        let with_shared = |own: &[TcpListener]| [bound(own), bound(&shared)].concat();
        let (on_ssh, on_tls, on_pages) = (with_shared(&ssh), with_shared(&tls), with_shared(&pages));
        self.addresses = Addresses { ssh: on_ssh, tls: on_tls, pages: on_pages, plant: bound(&plant) };
        let listeners = Listeners { shared, ssh, tls, pages, plant };
        self.desk.start_node(env!("CARGO_PKG_VERSION")).await?;
        self.desk.name_recipients(self.config.store.recipients().names()).await?;
        // A long journal keeps nobody waiting who has connected.
        if let Some(teller) = teller {
            teller.tell().await?;
        }
        for crashed in &self.stores.recovery.crashed {
            tracing::warn!(session = %crashed.recording, frames = crashed.frames, "sealed as crashed");
        }
        self.keep(self.keep_trust());
        let floor = self.floor.clone();
        self.keep(async move { floor.watch_recorders().await });
        self.serve_faces(&self.keys, listeners)?;
        tracing::info!(addresses = ?self.addresses, "serving");
        Ok(())
    }

    /// What the auditor is to keep is written beside the configuration, until all of the first people have enrolled.
    fn keep_trust(&self) -> impl Future<Output = ()> + Send + 'static {
        let verifiers = trusting::verifiers(&self.stores.identity.first(), &self.keys.log_key());
        trusting::keep_current(self.desk.clone(), verifiers, self.config.keys.with_file_name(founding::TRUST))
    }

    /// Whoever carries out what was decided about recordings.
    fn eraser(&self) -> Eraser {
        let (desk, records) = (self.desk.clone(), Arc::clone(&self.stores.records));
        let dir = stores::records_dir(&self.config.store.data);
        let (data, copying) = (self.config.store.data.clone(), self.stores.copying.clone());
        let copies = match &self.depositing {
            Some(depositing) => depositing.copies.clone(),
            None => Copies::new(Arc::clone(&self.stores.directory), dir.clone(), self.stores.identity.place()),
        };
        Eraser { desk, records, dir, data, copying, copies }
    }

    /// Brings recordings to the bucket, where there is one.
    fn bring_to_bucket(&self) {
        if let Some(depositing) = &self.depositing {
            self.keep(depositing.depositor(&self.desk, &self.stores, &self.config.store.data).run());
        }
    }

    /// Tells people by these ways; the log is told in any case.
    fn tell(&self, ways: Vec<Arc<dyn Notifier>>, alarms: mpsc::Receiver<Alarm>) {
        let (desk, people, origin) = (self.desk.clone(), self.people.clone(), self.config.plant.origin.to_string());
        let folder = Some(self.config.store.data.join("state/notices"));
        Notices { desk, alarms, people, origin, feed: Some(self.feed.clone()), folder }.start(
            ways,
            &self.tracker,
            &self.stop,
        );
    }

    /// Brings the feed to these, until the program stops or others are named.
    fn bring_feed_to(&mut self, receivers: Vec<Receiver>) {
        self.last.receivers = (TaskTracker::new(), self.last.stop.child_token());
        let (tracker, stop) = &self.last.receivers;
        for receiver in receivers {
            let (feed, clock, stop) = (self.feed.clone(), self.desk.clock().clone(), stop.clone());
            let bringing = async move { stop.run_until_cancelled(receiver.run(feed, clock)).await };
            self.last.tracker.spawn(tracker.track_future(bringing));
        }
    }

    /// Whoever looks what stands.
    fn lookout(&self, told: &mpsc::Sender<Alarm>) -> Lookout {
        Lookout {
            alarms: self.alarms.clone(),
            desk: self.desk.clone(),
            records: Arc::clone(&self.stores.records),
            witnesses: self.witnesses.clone(),
            deposits: self.depositing.as_ref().map(|depositing| depositing.standing.clone()),
            certificates: self.certificates.clone(),
            headroom: self.headroom.clone(),
            feed: self.feed.clone(),
            told: told.clone(),
            path: stores::feed_dir(&self.config.store.data).join("alarms.json"),
        }
    }

    /// Asks each witness by itself, so that none waits for another.
    fn ask_witnesses(&self, alarms: &mpsc::Sender<Alarm>) {
        for place in 0..self.witnesses.count() {
            let (desk, records) = (self.desk.clone(), Arc::clone(&self.stores.records));
            self.keep(self.witnesses.clone().ask(place, desk, records, alarms.clone()));
        }
    }

    /// Runs something for as long as the program does.
    fn keep(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move { stop.run_until_cancelled_owned(work).await });
    }

    /// Completes once whoever holds the keys is gone: then nothing can be signed or opened any more.
    pub async fn keys_lost(&self) {
        self.keys_lost.cancelled().await;
    }

    /// Where it listens.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What it was started with.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Where decisions are made.
    pub const fn desk(&self) -> &Desk {
        &self.desk
    }

    /// What is done around people.
    pub const fn people(&self) -> &People {
        &self.people
    }

    /// What runs.
    pub const fn floor(&self) -> &Floor {
        &self.floor
    }

    /// Opens sessions.
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Stops in order: nobody new gets in, every session ends with its reason and is sealed, the journal says that this
    /// node stopped, the logs are closed. What has not ended by `limit` is left behind; the next start says so.
    pub async fn shutdown(self, limit: Duration) {
        let Self { desk, people, floor, sessions, stores, tracker, stop, last, .. } = self;
        stop.cancel();
        tracker.close();
        if tokio::time::timeout(limit, tracker.wait()).await.is_err() {
            tracing::error!(sessions = floor.count(), "not everything ended in time");
        }
        let records = Arc::clone(&stores.records);
        if tokio::task::spawn_blocking(move || records.stop()).await.is_err() {
            tracing::error!("the recordings were not closed in order");
        }
        desk.stop_node().await;
        last.stop.cancel();
        last.tracker.close();
        if tokio::time::timeout(LAST_OF_THE_FEED, last.tracker.wait()).await.is_err() {
            tracing::error!(
                "the feed was not written to its end in time; what the journal has of it is told after the next start"
            );
        }
        drop((desk, people, floor, sessions));
        Box::pin(stores.disconnect()).await;
        if tokio::task::spawn_blocking(move || stores.close()).await.is_err() {
            tracing::error!("the stores did not close in order");
        }
        tracing::info!("stopped");
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "App({:?})", self.addresses)
    }
}

async fn open_stores(config: &Config, identity: Identity, keys: &KeyStore) -> Result<Stores, StartFault> {
    let (data, kept, key) = (config.store.data.clone(), RecordsKept::of(&config.store), keys.log_key());
    if let JournalAt::Postgres { database, .. } = &config.store.journal {
        let opened = Box::pin(Stores::open_beside(&data, identity, &key, kept, database)).await;
        return opened.map_err(|faults| StartFault(faults.into_iter().map(Reason::from).collect()));
    }
    let opened = tokio::task::spawn_blocking(move || Stores::open(&data, identity, &key, kept)).await;
    match opened {
        Ok(Ok(stores)) => Ok(stores),
        Ok(Err(faults)) => Err(StartFault(faults.into_iter().map(Reason::from).collect())),
        Err(panic) => Err(Reason::Died(panic.to_string()).into()),
    }
}

async fn open_feed(config: &Config, stores: &Stores, desk: &Desk) -> Result<(Feed, Writer), StartFault> {
    let dir = stores::feed_dir(&config.store.data);
    let restored = desk.with_state(|state| state.restores.last().map(|restore| restore.statement.journal.size));
    let identity = &stores.identity;
    let parts = FeedParts {
        dir: dir.clone(),
        source: format!("{}/{}", identity.deployment, identity.node),
        journal: identity.journal_origin(),
        restored: restored.unwrap_or(0),
        bytes_max: config.feed.spool_bytes,
    };
    let opened = tokio::task::spawn_blocking(move || open_or_begin_anew(parts)).await.map_err(io::Error::other);
    opened.and_then(|opened| opened).map_err(|cause| Reason::Feed { path: dir, cause }.into())
}

/// A spool that cannot be read is set aside, with the cursors, and keeps no gate from starting: the journal is told once more.
fn open_or_begin_anew(parts: FeedParts) -> io::Result<(Feed, Writer)> {
    let cause = match Feed::open(parts.clone()) {
        Ok(opened) => return Ok(opened),
        Err(cause) => cause,
    };
    let aside = parts.dir.with_extension(format!("set-aside-{}", jiff::Timestamp::now().as_second()));
    tracing::error!(%cause, aside = %aside.display(), "the feed's spool cannot be read: it is set aside, and a new one begun");
    std::fs::rename(&parts.dir, aside)?;
    Feed::open(parts)
}

/// Uploads that are checked first take no room that recordings could come to need: below twice the reserve none is kept.
fn staging(data: &Path, records: &Arc<Log>) -> Result<Staging, StoreFault> {
    let records = Arc::clone(records);
    let room = move || records.room().map(|room| room.state == RoomState::Plenty);
    let state = stores::directory_dir(data);
    Staging::open(&state, Arc::new(room), Bounds::default())
        .map_err(|cause| StoreFault::Unreadable { path: Staging::folder(&state), cause })
}

async fn bind(face: &'static str, addresses: &[SocketAddr], reasons: &mut Vec<Reason>) -> Vec<TcpListener> {
    let mut listeners = Vec::new();
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            Err(cause) => reasons.push(Reason::Listen { face, address: *address, cause }),
        }
    }
    listeners
}

fn bound(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().map(|listener| listener.local_addr().expect("a bound listener has an address")).collect()
}

/// Looks at the recordings' disk: little room is an alarm long before a session must end, and a store that failed is
/// journaled once.
async fn watch_store(desk: Desk, records: Arc<Log>, alarms: mpsc::Sender<Alarm>) {
    let (mut was_low, mut reported) = (false, false);
    loop {
        let log = Arc::clone(&records);
        let looked = tokio::task::spawn_blocking(move || (log.room(), log.status().fault)).await;
        let Ok((room, fault)) = looked else { return };
        let low = room.is_ok_and(|room| room.state != RoomState::Plenty);
        if low && !was_low && alarms.try_send(Alarm::StoreFillsUp).is_err() {
            tracing::error!("the disk for recordings is filling up, and the alarm reaches nobody");
        }
        was_low = low;
        if let Some(fault) = fault.filter(|_| !reported) {
            tracing::error!(%fault, "the recorder failed: its sessions end, and nobody is let in");
            reported = desk.act(Command::ReportRecorder { node: desk.node().clone() }).await.is_ok();
        }
        desk.clock().sleep(STORE_LOOKED_AT).await;
    }
}

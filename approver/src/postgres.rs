//! The database that keeps the journal and the directory of an installation, for one node or several: where it is, how it
//! is reached, and when it is fit to be relied on. What lies in its tables is known to the adapters of the two ports,
//! `journal::postgres` and `directory::postgres`. Every question to it has an end in time, and an answer that did not
//! come means nothing: whoever asked reads again.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use policies::digest::Digest;
use policies::ids::NodeId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::Severity;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Connection, Error, NoTls, Row, Socket, Statement};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::private_file::{self, PrivateFault};

mod schema;
mod tls;

pub use schema::{VERSION, schema};

/// Connections at once, beside the one that listens: the Desk appends one after another, and the directory is asked for a
/// few rows at each sign-in.
const CONNECTIONS_MAX: usize = 4;
/// A server that does not take a connection by then is none, and the next one is asked.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// An answer that did not come by then does not come. Below what the Desk waits for the journal.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// What was sent and is not acknowledged by then went to a machine that is gone (RFC 5482).
const VANISHED_AFTER: Duration = Duration::from_secs(25);
/// How long a node waits for a connection of its own that died and still has its name.
const NAME_MAX: Duration = Duration::from_secs(5);
/// How often it looks.
const NAME_EVERY: Duration = Duration::from_millis(100);
/// How long a connection that nobody has any more may take leave. One that owes an answer would wait for it, and hold what it holds
/// at the server.
const LEAVE_MAX: Duration = Duration::from_secs(1);
/// How long the end of a program waits for its connections.
const LAST_MAX: Duration = Duration::from_secs(2);
/// Nobody has a longer password.
const PASSWORD_BYTES_MAX: u64 = 4_096;

/// Where the database is: what `postgres://…` says, which names no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    config: tokio_postgres::Config,
    is_here: bool,
}

/// Text that names no database as it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadServer {
    /// Not such an address.
    #[error("this is no address of a database ({0})")]
    Shape(String),
    /// A configuration is read by many, and copied.
    #[error("a password stands in it")]
    Password,
    /// Whether there is TLS is not a choice.
    #[error("it says something of TLS")]
    Tls,
    /// Nothing says where, or as whom, or which.
    #[error("it names no {0}")]
    Incomplete(&'static str),
}

impl BadServer {
    /// What to write instead.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Shape(_) | Self::Incomplete(_) => {
                "write for example \"postgres://holdpoint@db.mill3.example/holdpoint\", or \"postgres://holdpoint@%2Frun%2Fpostgresql/holdpoint\" for a socket on this machine"
            }
            Self::Password => {
                "take it out, write it alone into a file that only the gate's user can read (mode 0600), and name that file as `password_file` under [store.postgres]"
            }
            Self::Tls => {
                "leave it out: TLS is demanded of every server that is not this machine itself; `ca` under [store.postgres] says who vouches for it"
            }
        }
    }
}

impl FromStr for Server {
    type Err = BadServer;
    fn from_str(text: &str) -> Result<Self, BadServer> {
        let config = tokio_postgres::Config::from_str(text).map_err(|error| BadServer::Shape(in_words(&error)))?;
        if config.get_password().is_some() {
            return Err(BadServer::Password);
        }
        if text.contains("sslmode") || text.contains("sslnegotiation") || text.contains("channel_binding") {
            return Err(BadServer::Tls);
        }
        for (is_missing, what) in [
            (config.get_hosts().is_empty(), "host"),
            (config.get_user().is_none(), "user"),
            (config.get_dbname().is_none(), "database"),
        ] {
            if is_missing {
                return Err(BadServer::Incomplete(what));
            }
        }
        let is_here = config.get_hosts().iter().all(is_this_machine) && config.get_hostaddrs().iter().all(is_loopback);
        Ok(Self { config, is_here })
    }
}

fn is_loopback(address: &IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|address| is_loopback(&address)),
    }
}

impl Server {
    /// Each host of it as a server of its own, in the order in which they are named.
    fn one_by_one(&self) -> Vec<tokio_postgres::Config> {
        let whole = &self.config;
        let (hosts, addresses, ports) = (whole.get_hosts(), whole.get_hostaddrs(), whole.get_ports());
        let one = |place: usize| {
            let mut one = tokio_postgres::Config::new();
            match &hosts[place] {
                Host::Tcp(name) => one.host(name),
                Host::Unix(path) => one.host_path(path),
            };
            if let Some(address) = addresses.get(place) {
                one.hostaddr(*address);
            }
            if let Some(port) = ports.get(place).or(ports.first()) {
                one.port(*port);
            }
            if let Some(options) = whole.get_options() {
                one.options(options);
            }
            one.user(whole.get_user().unwrap_or_default()).dbname(whole.get_dbname().unwrap_or_default());
            one.target_session_attrs(whole.get_target_session_attrs());
            one
        };
        (0..hosts.len()).map(one).collect()
    }

    /// Whether it is this machine itself, towards which nothing is encrypted unless a CA is named.
    pub const fn is_here(&self) -> bool {
        self.is_here
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at ", self.config.get_dbname().unwrap_or_default())?;
        for (place, host) in self.config.get_hosts().iter().enumerate() {
            f.write_str(if place == 0 { "" } else { ", " })?;
            match host {
                Host::Tcp(name) => f.write_str(name)?,
                Host::Unix(path) => write!(f, "{}", path.display())?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({self})")
    }
}

/// What must be true of a commit before it is answered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standby {
    /// It lies on a second server, too.
    Synchronous,
    /// It lies on the one server, and goes with it.
    None,
}

/// A database, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseAt {
    /// Where it is.
    pub server: Server,
    /// The file with the password and nothing else, where one is asked for. Read with each connection.
    pub password_file: Option<PathBuf>,
    /// The file of the CAs that may vouch for the server, in PEM; otherwise the system's.
    pub ca: Option<PathBuf>,
    /// What is demanded of it.
    pub standby: Standby,
}

/// Why the database did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseFault {
    /// It cannot be reached, or broke off. What was asked may have been done.
    #[error("the database {server} cannot be reached: {cause}")]
    Unreachable {
        /// Which.
        server: String,
        /// Why.
        cause: String,
    },
    /// It answers, and says no.
    #[error("the database {server} refuses: {cause}")]
    Refused {
        /// Which.
        server: String,
        /// In its words.
        cause: String,
    },
    /// No answer in time. What was asked may be done yet.
    #[error("the database {0} does not answer")]
    Silent(String),
    /// What is committed there may be lost, or nothing can be.
    #[error("the database {server} is not to be relied on: {why}")]
    Unfit {
        /// Which.
        server: String,
        /// And what to do.
        why: String,
    },
    /// What signs the gate in there.
    #[error("{path}: {why}", path = .path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No CA could vouch for it.
    #[error("no CA could vouch for the database: {0}")]
    Ca(String),
    /// It is of a later version of this program.
    #[error(
        "the database {server} was set up by a newer version of this program (its tables are of version {found}, and this one knows {VERSION}): upgrade this node"
    )]
    Newer {
        /// Which.
        server: String,
        /// Its version.
        found: i32,
    },
    /// Two would write recordings under one name.
    #[error(
        "a gate runs as the node {0} already. Where that is another machine, stop it, or give one of the two a name that no node had (`node` under [store]); where its machine died, the database notices within half a minute: try again"
    )]
    Twice(NodeId),
    /// The program ends.
    #[error("the gate is stopping")]
    Stopping,
}

/// The database. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    at: DatabaseAt,
    idle: Mutex<Vec<Connected>>,
    places: Semaphore,
    /// Somebody said that the journal went on.
    told: Arc<Notify>,
    /// How many warnings came: an append that was warned of may lie on one server alone.
    warned: Arc<AtomicU64>,
    /// The host that answered last, by its place: it is asked first.
    answers: AtomicUsize,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Database {
    /// This one. Nothing is asked of it yet.
    pub fn new(at: DatabaseAt) -> Self {
        Self(Arc::new(Inner {
            at,
            idle: Mutex::default(),
            places: Semaphore::new(CONNECTIONS_MAX),
            told: Arc::new(Notify::new()),
            warned: Arc::default(),
            answers: AtomicUsize::new(0),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// As it is called where people read it.
    pub fn name(&self) -> String {
        self.0.at.server.to_string()
    }

    /// A connection of one's own until it is [done](Held::done) with, or dropped: then it is closed, and whatever was
    /// asked over it stays unanswered.
    pub(crate) async fn client(&self) -> Result<Held<'_>, DatabaseFault> {
        let place = tokio::time::timeout(ANSWER_MAX, self.0.places.acquire());
        let place = place.await.map_err(|_| DatabaseFault::Silent(self.name()))?;
        let place = place.map_err(|_| DatabaseFault::Stopping)?;
        let idle = loop {
            match lock(&self.0.idle).pop() {
                Some(client) if client.is_closed() => {}
                other => break other,
            }
        };
        let client = match idle {
            Some(client) => client,
            None => self.connect().await?,
        };
        Ok(Held { client, database: self, _place: place })
    }

    /// A connection on which this program is told when the journal goes on; it is told, and has this node's name to itself,
    /// as long as it lives. What it writes waits for no standby: no decision may go over it.
    pub(crate) async fn listen(&self, node: &NodeId) -> Result<Connected, DatabaseFault> {
        let client = self.connect().await?;
        self.within(client.batch_execute("SET synchronous_commit = local")).await?;
        let began = tokio::time::Instant::now();
        while !self.has_name(&client, node).await? {
            if began.elapsed() > NAME_MAX {
                return Err(DatabaseFault::Twice(node.clone()));
            }
            tokio::time::sleep(NAME_EVERY).await;
        }
        self.within(client.batch_execute("LISTEN holdpoint_journal")).await?;
        Ok(client)
    }

    async fn has_name(&self, client: &Connected, node: &NodeId) -> Result<bool, DatabaseFault> {
        let lock = name_lock(node);
        Ok(self.within(client.query_one("SELECT pg_try_advisory_lock($1)", &[&lock])).await?.get(0))
    }

    /// How many warnings the server has sent.
    pub(crate) fn warnings(&self) -> u64 {
        self.0.warned.load(Ordering::Acquire)
    }

    /// Why an append was not taken although it followed: the server is not what it was when the connection was made.
    pub(crate) async fn look_again(&self) -> Result<(), DatabaseFault> {
        let held = self.client().await?;
        self.look_at(&held).await?;
        held.done();
        Ok(())
    }

    /// Whether an append must lie on a second server.
    pub(crate) fn wants_standby(&self) -> bool {
        self.0.at.standby == Standby::Synchronous
    }

    /// Completes when this program was told so.
    pub(crate) async fn told(&self) {
        self.0.told.notified().await;
    }

    /// Runs something until it ends, or the database is [closed](Self::close).
    pub(crate) fn keep(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.0.stop.clone();
        self.0.tracker.spawn(async move { stop.run_until_cancelled_owned(work).await });
    }

    /// An answer, if it comes in time.
    pub(crate) async fn within<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, DatabaseFault> {
        match tokio::time::timeout(ANSWER_MAX, asked).await {
            Ok(answered) => answered.map_err(|error| self.fault(&error)),
            Err(_) => Err(DatabaseFault::Silent(self.name())),
        }
    }

    fn fault(&self, error: &Error) -> DatabaseFault {
        let (server, cause) = (self.name(), in_words(error));
        match error.as_db_error() {
            Some(_) => DatabaseFault::Refused { server, cause },
            None => DatabaseFault::Unreachable { server, cause },
        }
    }

    async fn connect(&self) -> Result<Connected, DatabaseFault> {
        let hosts = self.0.at.server.one_by_one();
        let first = self.0.answers.load(Ordering::Relaxed);
        let mut said = None;
        for place in (first..hosts.len()).chain(0..first.min(hosts.len())) {
            match self.connect_to(hosts[place].clone()).await {
                Ok(client) => {
                    self.0.answers.store(place, Ordering::Relaxed);
                    return Ok(client);
                }
                // What is to be changed is said rather than that another is a standby, or is dead.
                Err(_) if matches!(said, Some(DatabaseFault::Unfit { .. })) => {}
                Err(fault) => said = Some(fault),
            }
        }
        Err(said.unwrap_or_else(|| DatabaseFault::Silent(self.name())))
    }

    /// To one host, in a time of its own.
    async fn connect_to(&self, host: tokio_postgres::Config) -> Result<Connected, DatabaseFault> {
        let connecting = tokio::time::timeout(CONNECT_MAX, self.begin(host));
        let (client, open) = connecting.await.map_err(|_| DatabaseFault::Silent(self.name()))??;
        let connected = Connected { client, ready: Mutex::default(), _open: open };
        self.look_at(&connected).await?;
        Ok(connected)
    }

    async fn begin(&self, mut config: tokio_postgres::Config) -> Result<(Client, DropGuard), DatabaseFault> {
        let at = &self.0.at;
        config.application_name("holdpoint").connect_timeout(CONNECT_MAX).keepalives_idle(Duration::from_secs(10));
        // A machine that vanished is noticed whether or not something was on its way to it: keepalive alone looks only where nothing is.
        config.keepalives_interval(Duration::from_secs(5)).keepalives_retries(3).tcp_user_timeout(VANISHED_AFTER);
        if let Some(path) = &at.password_file {
            config.password(password(path)?.as_slice());
        }
        if at.server.is_here && at.ca.is_none() {
            let (client, connection) =
                config.ssl_mode(SslMode::Disable).connect(NoTls).await.map_err(|error| self.fault(&error))?;
            return Ok((client, self.drive(connection)));
        }
        let tls = tls::Tls::new(at.ca.as_deref()).map_err(DatabaseFault::Ca)?;
        let (client, connection) =
            config.ssl_mode(SslMode::Require).connect(tls).await.map_err(|error| self.fault(&error))?;
        Ok((client, self.drive(connection)))
    }

    /// The connection is open as long as what this gives is held.
    fn drive<S>(&self, mut connection: Connection<Socket, S>) -> DropGuard
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (told, warned) = (Arc::clone(&self.0.told), Arc::clone(&self.0.warned));
        let open = CancellationToken::new();
        let left = open.clone();
        let driving = async move {
            let mut messages = stream::poll_fn(|context| connection.poll_message(context));
            while let Some(message) = messages.next().await {
                match message {
                    Ok(AsyncMessage::Notification(_)) => told.notify_one(),
                    Ok(AsyncMessage::Notice(notice)) if notice.parsed_severity() == Some(Severity::Warning) => {
                        warned.fetch_add(1, Ordering::AcqRel);
                        tracing::warn!(said = notice.message(), "the database warns");
                    }
                    Ok(_) => {}
                    Err(error) => return tracing::debug!(error = in_words(&error), "a connection to the database"),
                }
            }
        };
        self.keep(async move {
            let abandoned = left.cancelled().then(|()| tokio::time::sleep(LEAVE_MAX));
            tokio::select! {
                () = driving => {}
                () = abandoned => {}
            }
        });
        open.drop_guard()
    }

    /// Bounds what the server itself does for us, has it let go of a machine that died within half a minute, sees to it that who comes
    /// second is told so, and looks whether it is to be relied on: with every connection, since another server may stand behind the name by now.
    async fn look_at(&self, client: &Connected) -> Result<(), DatabaseFault> {
        let bounds = format!(
            "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SET tcp_user_timeout = {vanished}; \
             SET default_transaction_isolation = 'read committed'; SET statement_timeout = {millis}; SET idle_in_transaction_session_timeout = {millis}; SET lock_timeout = {millis}",
            vanished = VANISHED_AFTER.as_millis(),
            millis = ANSWER_MAX.as_millis()
        );
        self.within(client.batch_execute(&bounds)).await?;
        let row = self
            .within(client.query_one(
                "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', current_setting('fsync'), \
                 current_setting('synchronous_commit'), current_setting('synchronous_standby_names')",
                &[],
            ))
            .await?;
        let (is_standby, is_read_only): (bool, bool) = (row.get(0), row.get(1));
        let [fsync, commit, standbys]: [String; 3] = [row.get(2), row.get(3), row.get(4)];
        let settings = Settings { is_standby, is_read_only, fsync, commit, standbys };
        match settings.unfit(self.0.at.standby) {
            Some(why) => Err(DatabaseFault::Unfit { server: self.name(), why }),
            None => Ok(()),
        }
    }

    /// The installation and its nodes: whose journal is in it. None where there is none yet.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn origin(&self) -> Result<Option<String>, DatabaseFault> {
        let held = self.client().await?;
        let row = self.within(held.query_opt("SELECT origin FROM holdpoint.head", &[])).await?;
        held.done();
        Ok(row.map(|row| row.get(0)))
    }

    /// Gives this name to whoever makes this claim, who may ask again. `false` where it was given to another.
    ///
    /// # Errors
    /// It does not answer, and may have given it.
    pub async fn name_node(&self, node: &NodeId, claim: &str) -> Result<bool, DatabaseFault> {
        let held = self.client().await?;
        let insert = "INSERT INTO holdpoint.nodes (node, claim) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        self.within(held.execute(insert, &[&node.as_str(), &claim])).await?;
        let asked = "SELECT claim IS NOT DISTINCT FROM $2 FROM holdpoint.nodes WHERE node = $1";
        let row = self.within(held.query_one(asked, &[&node.as_str(), &claim])).await?;
        held.done();
        Ok(row.get(0))
    }

    /// Ends everything that was begun here, and lets go of every connection.
    pub async fn close(&self) {
        self.0.places.close();
        self.0.stop.cancel();
        lock(&self.0.idle).clear();
        self.0.tracker.close();
        if tokio::time::timeout(LAST_MAX, self.0.tracker.wait()).await.is_err() {
            tracing::warn!("connections to the database did not end in time");
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({})", self.name())
    }
}

/// A connection, and what the server keeps ready for it.
pub(crate) struct Connected {
    client: Client,
    ready: Mutex<HashMap<&'static str, Statement>>,
    _open: DropGuard,
}

impl Connected {
    /// A statement that the server keeps ready from the first time on: to have it made ready each time would cost a way there and
    /// back, and the server its reading.
    pub(crate) async fn ready(&self, sql: &'static str) -> Result<Statement, Error> {
        if let Some(statement) = lock(&self.ready).get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        lock(&self.ready).insert(sql, statement.clone());
        Ok(statement)
    }

    /// All rows of the answer.
    pub(crate) async fn query(&self, sql: &'static str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        self.client.query(&self.ready(sql).await?, values).await
    }

    /// The one row, or none; an error where there are more.
    pub(crate) async fn query_opt(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        self.client.query_opt(&self.ready(sql).await?, values).await
    }

    /// The one row; an error where there is none, or more.
    pub(crate) async fn query_one(&self, sql: &'static str, values: &[&(dyn ToSql + Sync)]) -> Result<Row, Error> {
        self.client.query_one(&self.ready(sql).await?, values).await
    }

    /// How many rows it was about.
    pub(crate) async fn execute(&self, sql: &'static str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        self.client.execute(&self.ready(sql).await?, values).await
    }
}

impl std::ops::Deref for Connected {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl std::ops::DerefMut for Connected {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// A connection that somebody has for themselves.
pub(crate) struct Held<'a> {
    client: Connected,
    database: &'a Database,
    _place: SemaphorePermit<'a>,
}

impl Held<'_> {
    /// Everything asked over it was answered: others may have it.
    pub(crate) fn done(self) {
        if !self.database.0.stop.is_cancelled() {
            lock(&self.database.0.idle).push(self.client);
        }
    }
}

impl std::ops::Deref for Held<'_> {
    type Target = Connected;
    fn deref(&self) -> &Connected {
        &self.client
    }
}

impl std::ops::DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Connected {
        &mut self.client
    }
}

/// What a server says of itself.
struct Settings {
    is_standby: bool,
    is_read_only: bool,
    fsync: String,
    commit: String,
    standbys: String,
}

impl Settings {
    /// Why it is not to be relied on, and what to do.
    fn unfit(&self, standby: Standby) -> Option<String> {
        if self.is_standby {
            return Some(
                "it is a standby, which takes no writes: name the server that does, or promote this one".into(),
            );
        }
        if self.is_read_only {
            return Some("it is read-only (`default_transaction_read_only`)".into());
        }
        if self.fsync != "on" {
            return Some("`fsync` is off there, so a power cut loses what it answered for: switch it on".into());
        }
        let commit = &self.commit;
        if commit == "off" {
            return Some(format!(
                "`synchronous_commit` is {commit:?} there, so a crash loses what it answered for: set it to \"on\""
            ));
        }
        if standby == Standby::None {
            return None;
        }
        if commit == "local" {
            return Some(format!(
                "`synchronous_commit` is {commit:?} there, so it does not wait for its standby: set it to \"on\""
            ));
        }
        self.standbys.trim().is_empty().then(|| {
            "it has no synchronous standby (`synchronous_standby_names` is empty), so decisions that were signed go with \
             this one server. Set one up, or say standby = \"none\" under [store.postgres]"
                .into()
        })
    }
}

/// The number of the advisory lock of whoever runs as this node.
fn name_lock(node: &NodeId) -> i64 {
    let Digest(hash) = Digest::of_bytes(format!("holdpoint/node/{node}").as_bytes());
    i64::from_be_bytes(*hash.first_chunk().expect("a hash is longer"))
}

fn password(path: &Path) -> Result<Zeroizing<Vec<u8>>, DatabaseFault> {
    let fault = |why: String| DatabaseFault::Password { path: path.to_owned(), why };
    let mut bytes = private_file::read(path, PASSWORD_BYTES_MAX).map_err(|PrivateFault { why, .. }| fault(why))?;
    while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        bytes.pop();
    }
    if bytes.is_empty() { Err(fault("it is empty".into())) } else { Ok(bytes) }
}

/// What went wrong, with what the server said, which names no values.
fn in_words(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} ({})", said.message(), said.code().code());
    }
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(commit: &str, standbys: &str) -> Settings {
        let (fsync, commit, standbys) = ("on".to_owned(), commit.to_owned(), standbys.to_owned());
        Settings { is_standby: false, is_read_only: false, fsync, commit, standbys }
    }

    #[test]
    fn a_server_that_could_lose_what_it_answered_for_is_not_relied_on() {
        assert_eq!(settings("on", "ANY 1 (a, b)").unfit(Standby::Synchronous), None);
        assert_eq!(settings("remote_apply", "*").unfit(Standby::Synchronous), None);
        assert_eq!(settings("on", "").unfit(Standby::None), None);
        assert_eq!(settings("local", "").unfit(Standby::None), None);
        for (settings, standby, said) in [
            (settings("on", " "), Standby::Synchronous, "standby = \"none\""),
            (settings("local", "a"), Standby::Synchronous, "does not wait"),
            (settings("off", "a"), Standby::Synchronous, "a crash loses"),
            (settings("off", ""), Standby::None, "a crash loses"),
            (Settings { fsync: "off".into(), ..settings("on", "a") }, Standby::None, "a power cut loses"),
            (Settings { is_standby: true, ..settings("on", "a") }, Standby::None, "promote"),
            (Settings { is_read_only: true, ..settings("on", "a") }, Standby::None, "read-only"),
        ] {
            let why = settings.unfit(standby).expect(said);
            assert!(why.contains(said), "{why}");
        }
    }

    #[test]
    fn an_address_names_a_server_and_never_a_password() {
        let read = |text: &str| text.parse::<Server>();
        let far = read("postgres://holdpoint@db.mill3.example:5433/holdpoint").expect("right");
        assert_eq!((far.to_string().as_str(), far.is_here()), ("holdpoint at db.mill3.example", false));
        for here in ["postgres://h@127.0.0.1/h", "postgres://h@localhost/h", "postgres://h@%2Frun%2Fpostgresql/h"] {
            assert!(read(here).expect("right").is_here(), "{here}");
        }
        assert!(!read("postgres://h@localhost,db.example/h").expect("right").is_here());
        for (bad, said) in [
            ("postgres://h:secret@db/h", "password"),
            ("postgres://h@db/h?password=secret", "password"),
            ("postgres://h@db/h?sslmode=disable", "TLS"),
            ("postgres://db/h", "no user"),
            ("postgres://h@db", "no database"),
            ("postgres:///h", "no host"),
            ("postgres://h@db/h?colour=red", "no address"),
        ] {
            let refused = read(bad).expect_err(bad);
            assert!(refused.to_string().contains(said), "{bad}: {refused}");
            assert!(!refused.to_string().contains("secret") && !refused.remedy().is_empty());
        }
    }

    #[test]
    fn a_password_is_a_line_and_no_others_can_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("password");
        std::fs::write(&path, "hunter2\n").expect("a file");
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("ours");
        mode(0o640);
        assert!(password(&path).expect_err("open to a group").to_string().contains("chmod 600"));
        mode(0o600);
        assert_eq!(password(&path).expect("ours alone").as_slice(), b"hunter2");
        std::fs::write(&path, "\n").expect("a file");
        assert!(password(&path).is_err());
    }
}

//! What the program keeps: two logs and the directory in one data folder, and which installation they belong to. Where
//! journal and directory are in a database, the folder has a copy of the journal, and the directory is not in it. The one
//! place where adapters are chosen; everything above knows only the ports.

use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use approver::cuts::CutsFile;
use approver::desk::restoring::Decided;
use approver::directory::postgres::PostgresDirectory;
use approver::directory::sled::{CannotOpen, SledDirectory};
use approver::directory::{Directory, DirectoryFault, Dumped};
use approver::eraser::Copying;
use approver::journal::Journal;
use approver::journal::files::FilesJournal;
use approver::journal::postgres::{CopyFault, PostgresJournal, copy_until};
use approver::postgres::{Database, DatabaseAt, DatabaseFault};
use certs::log_key::LogKey;
use policies::ids::{BadName, DeploymentId, NodeId, RestoreId};
use recordings::FORMAT;
use recordings::disk::{RealDisk, RealMachine, is_locked, once_free};
use recordings::fault::OpenFault;
use recordings::log::{Log, LogOptions, Purpose, Recovery};
use recordings::read::{Format, OUT_OF_A_BACKUP, RESTORING, RESTORING_DRAFT};
use recordings::restoring::Resting;

use crate::config::{JournalAt, RecordingsAt, Store};

/// Which installation a data folder belongs to, and which node of it writes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The installation.
    pub deployment: DeploymentId,
    /// The node.
    pub node: NodeId,
    /// The restore since which the journal has the name that it has.
    pub restore: Option<RestoreId>,
    /// The same of this node's recordings: none of a node that joined afterwards.
    pub records_restore: Option<RestoreId>,
}

/// A data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// Nothing was ever founded there.
    #[error("{path} holds no installation: run `holdpoint init` first, or correct `data` under [store]", path = .0.display())]
    NotFounded(PathBuf),
    /// What says whose it is cannot be read.
    #[error("{path}: {cause}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// What says whose it is says nothing that makes sense.
    #[error("{path} does not name an installation and its node ({cause}): put back the backup of the whole folder", path = .path.display())]
    NoIdentity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A log.
    #[error("the {what}: {fault}")]
    Log {
        /// Which of the two.
        what: &'static str,
        /// Why.
        fault: OpenFault,
    },
    /// The directory.
    #[error(transparent)]
    Directory(#[from] CannotOpen),
    /// The directory is not there, and people are known: nothing else holds their names and second factors.
    #[error(
        "{path} is gone, and with it everybody's name and second factor. Put the folder back, or make it again from a backup with the gate stopped: `age -d -i KEY BACKUP | tar --zstd -x directory.jsonl`, then `holdpoint rebuild --directory directory.jsonl`. Until then `holdpoint cut --local` keeps people out", path = .0.display()
    )]
    NoDirectory(PathBuf),
    /// A copy that says so of itself.
    #[error(
        "{path}: this data folder came out of a backup, and what the gate did after that is not in it. An administrator and an operator go on from it together: `holdpoint restore`", path = .0.display()
    )]
    OutOfABackup(PathBuf),
    /// A restore that was decided, and cannot be carried out.
    #[error("{path}: the restore that was decided cannot be carried out: {cause}", path = .path.display())]
    NotRestored {
        /// The file that says what was decided.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The journal went on elsewhere, and would be forked here.
    #[error(
        "{path}: this data folder is a node's copy of a journal in PostgreSQL, and goes on there: write journal = \"postgres://…\" under [store] again", path = .0.display()
    )]
    InDatabase(PathBuf),
    /// Only known of a folder that is one's own.
    #[error(
        "this cannot be done where journal and directory are in PostgreSQL ({0}): where the database is there and this folder alone is lost, start with an empty data folder and a name that no node had (`node` under [store]). Where the database is lost, `holdpoint migrate --directory directory.jsonl` brings a node's copy into an empty one; where all is lost, to go on from a backup's folder, write journal = \"files\" under [store] of it without node and [store.postgres], do this, and `holdpoint migrate` then (docs/administrator.md, \"The database lost entries\")"
    )]
    OnlyFiles(String),
    /// The database, or the copy of it.
    #[error("journal: {0}")]
    Copy(#[from] CopyFault),
    /// The database.
    #[error("journal: {0}")]
    Database(#[from] DatabaseFault),
    /// The directory, where it is to be copied.
    #[error(transparent)]
    NotDumped(#[from] DirectoryFault),
    /// The folder is of another node.
    #[error("{path} is that of the node {found}, and [store] says node = \"{wanted}\": correct one of the two", path = .path.display())]
    OtherNode {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Whose it is said to be.
        wanted: NodeId,
    },
    /// A node without a name cannot join.
    #[error(
        "{path} holds nothing yet. If this is to be one more node of the installation in the database, give it a name that no node had (`node` under [store]); else correct `data`", path = .0.display()
    )]
    NoNode(PathBuf),
    /// Its recordings would be a second log of the name.
    #[error(
        "a node {0} is known in the database already, and {path} holds nothing of it. Put its folder back; where that is lost, write a name that no node had (`node` under [store])", path = .1.display()
    )]
    NodeTaken(NodeId, PathBuf),
    /// The copy alone does not know anybody.
    #[error(
        "the database {0} holds no journal, and this folder is a node's copy without anybody's name and second factor. Take those out of the newest backup, `age -d -i KEY BACKUP | tar --zstd -x directory.jsonl`, and bring both there: `holdpoint migrate --directory directory.jsonl`"
    )]
    NoNames(String),
    /// What is there is newer than a backup.
    #[error("{path} is the directory of this folder, and newer than any backup: run this without --directory", path = .0.display())]
    HasNames(PathBuf),
}

/// In the directory's folder of a data folder whose journal and directory are in a database.
const IN_DATABASE: &str = "POSTGRES";
/// Where the directory goes that a folder had before.
const BEFORE_DATABASE: &str = "before-postgres";

/// What a folder claims the name of its node with until its journal says whose it is.
const CLAIM: &str = "joining";

const JOURNAL: &str = "journal";
const RECORDS: &str = "records";
const DIRECTORY: &str = "state";
const CUTS: &str = "cuts";

/// The folder of the journal's log in a data folder.
pub fn journal_dir(data: &Path) -> PathBuf {
    data.join(JOURNAL)
}

/// The folder of the recordings' log in a data folder.
pub fn records_dir(data: &Path) -> PathBuf {
    data.join(RECORDS)
}

/// The folder of the feed's spool in a data folder: a copy of what is in the journal, for others, and no evidence.
pub fn feed_dir(data: &Path) -> PathBuf {
    data.join(DIRECTORY).join("feed")
}

/// The file of cuts in a data folder.
pub fn cuts_path(data: &Path) -> PathBuf {
    data.join(CUTS)
}

/// Whether a gate runs on this data folder. Looks for a moment only, so the answer may be old when it is read.
///
/// # Errors
/// The folder's lock cannot be looked at.
pub fn is_in_use(data: &Path) -> io::Result<bool> {
    is_locked(&journal_dir(data).join("LOCK"))
}

impl Identity {
    /// As the journal in this data folder says.
    ///
    /// # Errors
    /// There is no journal yet, or its first lines cannot be made out.
    pub fn read(data: &Path) -> Result<Self, StoreFault> {
        let path = journal_dir(data).join(FORMAT);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let identity = Self::parse(&text).map_err(|cause| StoreFault::NoIdentity { path, cause })?;
                let records_restore = match Format::read(&records_dir(data)) {
                    Ok(records) => records.restored.last().map(|last| last.restore),
                    Err(_) => identity.restore,
                };
                Ok(Self { records_restore, ..identity })
            }
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                let was_founded = records_dir(data).exists() || directory_dir(data).exists();
                Err(match was_founded {
                    true => StoreFault::NoIdentity { path, cause: "it is missing".to_owned() },
                    false => StoreFault::NotFounded(data.to_owned()),
                })
            }
            Err(cause) => Err(StoreFault::Unreadable { path, cause }),
        }
    }

    /// The same, or that of a node that joins: of a folder in which nothing is, beside a database that knows the installation.
    ///
    /// # Errors
    /// As [`read`](Self::read), or the node cannot join.
    pub async fn read_or_join(store: &Store) -> Result<Self, StoreFault> {
        let found = match (Self::read(&store.data), &store.journal) {
            (Err(StoreFault::NotFounded(_)), JournalAt::Postgres { database, node }) => {
                return Self::join(store, database, node.as_ref()).await;
            }
            // It was broken off: what lies there may be the journal as it was before a restore.
            (Ok(found), JournalAt::Postgres { database, node })
                if is_joining(&store.data) && node.as_ref() == Some(&found.node) =>
            {
                return Self::join(store, database, node.as_ref()).await;
            }
            (found, _) => found?,
        };
        match &store.journal {
            JournalAt::Postgres { node: Some(wanted), .. } if *wanted != found.node => {
                Err(StoreFault::OtherNode { path: store.data.clone(), found: found.node, wanted: wanted.clone() })
            }
            _ => Ok(found),
        }
    }

    async fn join(store: &Store, at: &DatabaseAt, node: Option<&NodeId>) -> Result<Self, StoreFault> {
        let path = &store.data;
        let node = node.ok_or_else(|| StoreFault::NoNode(path.clone()))?;
        let database = Database::new(at.clone());
        database.set_up().await?;
        let origin = database.origin().await?.ok_or_else(|| CopyFault::Empty(database.name()))?;
        let format = format!("\n{origin}\n{node}\n");
        let identity = Self::parse(&format)
            .map_err(|cause| StoreFault::NoIdentity { path: PathBuf::from(database.name()), cause })?;
        let claim = claim(path).map_err(|cause| StoreFault::Unreadable { path: path.clone(), cause })?;
        if !database.name_node(node, &claim).await? {
            return Err(StoreFault::NodeTaken(node.clone(), path.clone()));
        }
        database.close().await;
        Ok(identity)
    }

    /// The second line is the log's origin, `<deployment>/journal` and, behind that, the last restore; the third the node.
    fn parse(format: &str) -> Result<Self, String> {
        let mut lines = format.lines().skip(1);
        let origin = lines.next().ok_or("no origin")?;
        let (deployment, rest) = origin.split_once("/journal").ok_or("no origin")?;
        let node = lines.next().ok_or("no node")?;
        let in_words = |bad: BadName| bad.to_string();
        let restore = match rest.strip_prefix('/') {
            Some(restore) => Some(restore.parse().map_err(in_words)?),
            None if rest.is_empty() => None,
            None => return Err("no origin".to_owned()),
        };
        let (deployment, node) = (deployment.parse().map_err(in_words)?, node.parse().map_err(in_words)?);
        Ok(Self { deployment, node, restore, records_restore: None })
    }

    /// The journal's name among all logs.
    pub fn journal_origin(&self) -> String {
        restored(format!("{}/journal", self.deployment), self.restore)
    }

    /// The name of this node's recordings among all logs.
    pub fn records_origin(&self) -> String {
        restored(format!("{}/records/{}", self.deployment, self.node), self.records_restore)
    }

    /// Where in a bucket everything of this node goes: a log that was set back goes on beside what it was.
    pub fn place(&self) -> String {
        match self.records_restore {
            Some(restore) => format!("{}.{restore}", self.node),
            None => self.node.to_string(),
        }
    }

    /// The same before any restore: the names under which auditors trust the logs.
    #[must_use]
    pub fn first(&self) -> Self {
        Self { restore: None, records_restore: None, ..self.clone() }
    }
}

fn restored(name: String, restore: Option<RestoreId>) -> String {
    match restore {
        Some(restore) => format!("{name}/{restore}"),
        None => name,
    }
}

/// How recordings are kept in a data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordsKept {
    /// Bytes of the disk below which no session is let in.
    pub reserve_bytes: u64,
    /// Whether copies of them lie elsewhere, and the log says so.
    pub says_copied: bool,
}

impl RecordsKept {
    /// As the configuration says.
    pub fn of(store: &Store) -> Self {
        let says_copied = matches!(store.recordings, RecordingsAt::Bucket { .. });
        Self { reserve_bytes: store.reserve_bytes, says_copied }
    }
}

/// An open data folder. Nobody else has it open.
pub struct Stores {
    /// Whose it is.
    pub identity: Identity,
    /// Decisions.
    pub journal: Arc<dyn Journal>,
    /// Recordings.
    pub records: Arc<Log>,
    /// Names, texts, counters.
    pub directory: Arc<dyn Directory>,
    /// Cuts that could not be journaled.
    pub cuts: CutsFile,
    /// What opening the recordings found.
    pub recovery: Recovery,
    /// Keeps what is erased and what is copied apart.
    pub copying: Copying,
    journal_log: Arc<Log>,
    database: Option<Database>,
}

impl Stores {
    /// Opens the folder, or makes it. Blocks; where another program has the folder, for a second.
    ///
    /// # Errors
    /// Everything that is in the way; where another program has the folder, only that.
    pub fn open(data: &Path, identity: Identity, key: &LogKey, kept: RecordsKept) -> Result<Self, Vec<StoreFault>> {
        check_mark(data).and_then(|()| check_files(data)).map_err(|marked| vec![marked])?;
        let journal_log = open_log(&journal_dir(data), "journal", journal_options(&identity), key);
        if let Err(in_use @ StoreFault::Log { fault: OpenFault::InUse(_), .. }) = journal_log {
            return Err(vec![in_use]);
        }
        let records = open_log(&records_dir(data), "recordings", records_options(&identity, kept), key);
        let is_new = journal_log.as_ref().is_ok_and(|(_, recovery)| recovery.entries == 0);
        let directory = open_directory(&data.join(DIRECTORY), is_new || journal_log.is_err());
        match (journal_log, records, directory) {
            (Ok((journal_log, _)), Ok((records, recovery)), Ok(directory)) => {
                let cuts = CutsFile::new(cuts_path(data), identity.deployment.clone(), key.clone());
                let journal = Arc::new(FilesJournal::new(Arc::clone(&journal_log)));
                let (directory, copying) = (Arc::new(directory), Copying::default());
                Ok(Self { identity, journal, records, directory, cuts, recovery, copying, journal_log, database: None })
            }
            (journal, records, directory) => {
                Err([journal.err(), records.err(), directory.err()].into_iter().flatten().collect())
            }
        }
    }

    /// Opens the folder of a node whose journal and directory are in a database, once its copy has all that is there.
    ///
    /// # Errors
    /// Everything that is in the way.
    pub async fn open_beside(
        data: &Path,
        identity: Identity,
        key: &LogKey,
        kept: RecordsKept,
        at: &DatabaseAt,
    ) -> Result<Self, Vec<StoreFault>> {
        check_mark(data).map_err(|marked| vec![marked])?;
        let (folder, whose, signer) = (data.to_owned(), identity.clone(), key.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let journal = open_log(&journal_dir(&folder), "journal", journal_options(&whose), &signer);
            if let Err(in_use @ StoreFault::Log { fault: OpenFault::InUse(_), .. }) = journal {
                return Err(vec![in_use]);
            }
            let records = open_log(&records_dir(&folder), "recordings", records_options(&whose, kept), &signer);
            let marked = mark_in_database(&folder).and_then(|()| {
                let dir = folder.join(DIRECTORY);
                set_directory_aside(&dir).map_err(|cause| StoreFault::Unreadable { path: dir, cause })
            });
            match (journal, records, marked) {
                (Ok((journal, _)), Ok((records, recovery)), Ok(_)) => {
                    give_claim_up(&folder);
                    Ok((journal, records, recovery))
                }
                (journal, records, marked) => {
                    Err([journal.err(), records.err(), marked.err()].into_iter().flatten().collect())
                }
            }
        });
        let (journal_log, records, recovery) = opened.await.map_err(|panic| vec![died(data, panic)])??;
        let (database, origin) = (Database::new(at.clone()), identity.journal_origin());
        let journal = PostgresJournal::open(database.clone(), Arc::clone(&journal_log), &origin, &identity.node).await;
        let journal = journal.map_err(|fault| vec![fault.into()])?;
        Ok(Self {
            cuts: CutsFile::new(cuts_path(data), identity.deployment.clone(), key.clone()),
            identity,
            journal: Arc::new(journal),
            records,
            directory: Arc::new(PostgresDirectory::new(database.clone())),
            recovery,
            copying: Copying::default(),
            journal_log,
            database: Some(database),
        })
    }

    /// Lets go of the database, where there is one; nothing is appended or looked up after that.
    pub async fn disconnect(&self) {
        if let Some(database) = &self.database {
            database.close().await;
        }
    }

    /// The journal's log, for whoever copies its files.
    pub fn journal_log(&self) -> Arc<Log> {
        Arc::clone(&self.journal_log)
    }

    /// Closes both logs, whoever else still looks at them: what waits is written, the heads are signed. Blocks.
    pub fn close(self) {
        self.records.stop();
        self.journal_log.stop();
    }
}

/// Brings the copy in a data folder as far as the database has come, and looks whether the two go together, before anything
/// else is read of it.
///
/// # Errors
/// They do not, the database does not answer, or another program has the folder.
pub async fn catch_up(data: &Path, identity: &Identity, key: &LogKey, at: &DatabaseAt) -> Result<(), StoreFault> {
    let database = Database::new(at.clone());
    database.set_up().await?;
    if is_joining(data) && identity.restore.is_some() {
        copy_through_restores(data, identity, key, &database).await?;
    }
    let log = open_journal(data, identity, key).await?;
    let origin = identity.journal_origin();
    let caught_up = PostgresJournal::open(database.clone(), Arc::clone(&log), &origin, &identity.node).await;
    let caught_up = caught_up.map(drop);
    database.close().await;
    close_journal(data, log).await?;
    Ok(caught_up?)
}

/// Gives a new node's copy the names that the journal had, one after the other, each with the entries that it had then: so it signs
/// what there was of each, as every node did that was there. What was broken off is gone on with.
async fn copy_through_restores(
    data: &Path,
    identity: &Identity,
    key: &LogKey,
    database: &Database,
) -> Result<(), StoreFault> {
    let dir = journal_dir(data);
    let has = Format::read(&dir).map(|format| format.restored).unwrap_or_default();
    let mut named = Identity { restore: None, ..identity.clone() };
    for (entry, restore) in database.restores().await? {
        if !has.iter().any(|at| at.restore == restore) {
            let log = open_journal(data, &named, key).await?;
            let copied = copy_until(database, Arc::clone(&log), &identity.node, entry).await;
            close_journal(data, log).await?;
            copied?;
            let (dir, options, key) = (dir.clone(), journal_options(&named), key.clone());
            let renamed = tokio::task::spawn_blocking(move || {
                let log = Resting::take(Arc::new(RealDisk), &dir, &options, &key)?;
                // What has more is no copy of that journal: it keeps its name, and is not opened under another.
                if log.head().size == entry { log.rename(restore, &key) } else { Ok(()) }
            });
            let renamed = renamed.await.map_err(|panic| died(data, panic))?;
            renamed.map_err(|fault| StoreFault::Log { what: "journal", fault })?;
        }
        named.restore = Some(restore);
    }
    Ok(())
}

/// What was brought into a database.
#[derive(Debug)]
pub struct Migrated {
    /// Entries of the journal.
    pub entries: u64,
    /// The root of their tree.
    pub root: [u8; 32],
    /// Entries of the directory.
    pub known: usize,
    /// Where the directory lies now that was in the folder.
    pub before: PathBuf,
}

/// Brings the journal and the directory of a data folder, in which no gate runs, into an empty database: all or nothing.
/// From then on the folder is this node's copy. What was broken off before is gone on with. Where the folder is a copy whose
/// database was lost, the names come out of a backup.
///
/// # Errors
/// There is another journal in the database, it does not answer, or the folder is not what a gate leaves behind.
pub async fn migrate(
    data: &Path,
    key: &LogKey,
    at: &DatabaseAt,
    backup: Option<Dumped>,
) -> Result<Migrated, StoreFault> {
    finish_restore(data, key).await?;
    check_mark(data)?;
    let identity = Identity::read(data)?;
    let log = open_journal(data, &identity, key).await?;
    let database = Database::new(at.clone());
    let brought = bring(data, &identity, &log, &database, backup).await;
    database.close().await;
    close_journal(data, log).await?;
    let (entries, root, known) = brought?;
    mark_in_database(data)?;
    let before = set_directory_aside(&data.join(DIRECTORY))
        .map_err(|cause| StoreFault::Unreadable { path: data.to_owned(), cause })?;
    Ok(Migrated { entries, root, known, before })
}

/// The folder is marked before the database has its journal, so that it never goes on alone after that.
async fn bring(
    data: &Path,
    identity: &Identity,
    log: &Arc<Log>,
    database: &Database,
    backup: Option<Dumped>,
) -> Result<(u64, [u8; 32], usize), StoreFault> {
    database.set_up().await?;
    let (origin, was_marked) = (identity.journal_origin(), check_files(data).is_err());
    let is_new = database.origin().await?.is_none();
    // What the database took from a marked folder may have gone on there.
    let ours = if is_new || !was_marked { Some(names(data, was_marked, database, backup).await?) } else { None };
    if let Some(ours) = ours.as_ref().filter(|_| is_new) {
        mark_in_database(data)?;
        database.found(&origin, &identity.node, log, ours).await?;
    }
    // What is read back must be what is here, root and all.
    let before = log.head();
    drop(PostgresJournal::open(database.clone(), Arc::clone(log), &origin, &identity.node).await?);
    let known = PostgresDirectory::new(database.clone()).dump().await?;
    let head = log.head();
    if ours.is_some_and(|ours| ours != known || head != before) {
        return Err(CopyFault::Damaged(database.name()).into());
    }
    Ok((head.size, head.root, known.len()))
}

/// The directory that is to go into a database: the folder's own, or one out of a backup where the folder is a copy.
async fn names(
    data: &Path,
    was_marked: bool,
    database: &Database,
    backup: Option<Dumped>,
) -> Result<Dumped, StoreFault> {
    let dir = data.join(DIRECTORY);
    let has_own = dir.join("db").exists();
    match backup {
        Some(_) if has_own => Err(StoreFault::HasNames(dir)),
        Some(backup) => Ok(backup),
        None if was_marked && !has_own => Err(StoreFault::NoNames(database.name())),
        None => Ok(open_directory(&dir, false)?.dump().await?),
    }
}

/// A data folder that is there and its claim, on the disk, before anybody is asked for a name; made once.
fn claim(data: &Path) -> io::Result<String> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data)?;
    let path = data.join(CLAIM);
    match std::fs::read_to_string(&path) {
        Ok(claim) if !claim.is_empty() => return Ok(claim),
        Err(other) if other.kind() != io::ErrorKind::NotFound => return Err(other),
        _ => {}
    }
    let claim = approver::mint::nonce();
    let mut file = std::fs::File::create(&path)?;
    file.write_all(claim.as_bytes())?;
    file.sync_all()?;
    std::fs::File::open(data)?.sync_all()?;
    Ok(claim)
}

/// Whether a node began to join with this folder, and has not all of the journal yet.
fn is_joining(data: &Path) -> bool {
    data.join(CLAIM).exists()
}

/// The journal in the folder says whose it is from now on.
fn give_claim_up(data: &Path) {
    if let Err(why) = std::fs::remove_file(data.join(CLAIM))
        && why.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%why, "what the name was claimed with stays");
    }
}

/// Where a folder is a node's copy, nothing is appended to it alone.
fn check_files(data: &Path) -> Result<(), StoreFault> {
    let mark = data.join(DIRECTORY).join(IN_DATABASE);
    if mark.exists() { Err(StoreFault::InDatabase(mark)) } else { Ok(()) }
}

/// Where journal and directory are in files alone, whatever is written there.
///
/// # Errors
/// They are not.
pub fn check_only_files(store: &Store) -> Result<(), StoreFault> {
    match &store.journal {
        JournalAt::Files => check_files(&store.data),
        JournalAt::Postgres { database, .. } => Err(StoreFault::OnlyFiles(database.server.to_string())),
    }
}

fn mark_in_database(data: &Path) -> Result<(), StoreFault> {
    let dir = data.join(DIRECTORY);
    let path = dir.join(IN_DATABASE);
    let mark = || {
        std::fs::create_dir_all(&dir)?;
        let mut file = std::fs::File::create(&path)?;
        file.write_all(b"Journal and directory of this node are in PostgreSQL; data/journal is its copy.\n")?;
        file.sync_all()?;
        std::fs::File::open(&dir)?.sync_all()
    };
    mark().map_err(|cause| StoreFault::Unreadable { path: path.clone(), cause })
}

/// It is not used any more, and who erases a name does not find it there. Where it is aside, that is all.
fn set_directory_aside(dir: &Path) -> io::Result<PathBuf> {
    let aside = dir.join(BEFORE_DATABASE);
    if !dir.join("db").exists() {
        return Ok(aside);
    }
    std::fs::create_dir_all(&aside)?;
    for entry in std::fs::read_dir(dir)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        let is_of_sled =
            ["conf", "blobs"].iter().any(|known| name == *known) || name.to_string_lossy().starts_with("snap.");
        if is_of_sled {
            std::fs::rename(&path, aside.join(name))?;
        }
    }
    // Last, since it says whether this is done.
    std::fs::rename(dir.join("db"), aside.join("db"))?;
    std::fs::File::open(dir)?.sync_all()?;
    Ok(aside)
}

/// The directory of a data folder at rest, such as a copy: opened in a copy of its own, so that nothing in the folder
/// changes. None where the folder has none, or a database has it.
///
/// # Errors
/// It cannot be copied, or does not open.
pub fn directory_at_rest(data: &Path) -> Result<Option<DirectoryAtRest>, StoreFault> {
    let state = data.join(DIRECTORY);
    if !state.is_dir() || check_files(data).is_err() {
        return Ok(None);
    }
    let failed = |cause| StoreFault::Unreadable { path: state.clone(), cause };
    let copy = tempfile::tempdir().map_err(failed)?;
    for entry in std::fs::read_dir(&state).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // What sled keeps beside its files are blobs too long for any value of ours.
        if entry.file_type().map_err(failed)?.is_file() {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).map_err(failed)?;
        }
    }
    let directory: Arc<dyn Directory> = Arc::new(SledDirectory::open(copy.path())?);
    Ok(Some(DirectoryAtRest { directory, _copy: copy }))
}

/// See [`directory_at_rest`].
pub struct DirectoryAtRest {
    /// Names and texts.
    pub directory: Arc<dyn Directory>,
    _copy: tempfile::TempDir,
}

impl fmt::Debug for DirectoryAtRest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectoryAtRest")
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stores({:?})", self.identity)
    }
}

/// A data folder out of a backup is gone on from by a restore alone.
///
/// # Errors
/// It says so of itself.
pub fn check_mark(data: &Path) -> Result<(), StoreFault> {
    let mark = data.join(OUT_OF_A_BACKUP);
    if mark.exists() { Err(StoreFault::OutOfABackup(mark)) } else { Ok(()) }
}

/// Both logs of a data folder in which no gate runs, the journal first.
///
/// # Errors
/// Another program has them, or they are not what a log leaves behind.
pub fn at_rest(data: &Path, identity: &Identity, key: &LogKey) -> Result<[Resting; 2], StoreFault> {
    let logs = [
        (journal_dir(data), "journal", journal_options(identity)),
        (records_dir(data), "recordings", records_options(identity, RecordsKept::default())),
    ];
    let take = |(dir, what, options): (PathBuf, _, LogOptions)| {
        let taken = once_free(|| match Resting::take(Arc::new(RealDisk), &dir, &options, key) {
            Err(OpenFault::InUse(_)) => Ok(None),
            taken => taken.map(Some),
        });
        let fault = |fault| StoreFault::Log { what, fault };
        taken.map_err(fault)?.ok_or_else(|| fault(OpenFault::InUse(dir.clone())))
    };
    let [journal, records] = logs;
    Ok([take(journal)?, take(records)?])
}

/// Keeps what was decided, durably: from here on the restore is carried out, whatever happens.
///
/// # Errors
/// The file system says no.
pub fn keep_decided(data: &Path, decided: &Decided) -> io::Result<()> {
    let (path, draft) = (data.join(RESTORING), data.join(RESTORING_DRAFT));
    let mut file = std::fs::File::create(&draft)?;
    file.write_all(&serde_json::to_vec(decided).map_err(io::Error::other)?)?;
    file.sync_all()?;
    std::fs::rename(&draft, &path)?;
    std::fs::File::open(data)?.sync_all()
}

/// Carries out the restore that was decided here, if one was. Each step may be done again: the file that says what was
/// decided goes last. Only of journals in files.
///
/// # Errors
/// It cannot be carried out now; the file stays.
pub async fn finish_restore(data: &Path, key: &LogKey) -> Result<(), StoreFault> {
    let path = data.join(RESTORING);
    let failed = |cause: &dyn fmt::Display| StoreFault::NotRestored { path: path.clone(), cause: cause.to_string() };
    let bytes = match std::fs::read(&path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(|cause| failed(&cause))?,
    };
    let decided: Decided = serde_json::from_slice(&bytes).map_err(|cause| failed(&cause))?;
    let statement = decided.statement();
    let logs = [
        (journal_dir(data), Purpose::Journal, statement.journal),
        (records_dir(data), Purpose::Records, statement.records),
    ];
    for (dir, purpose, kept) in logs {
        let format = Format::read(&dir).map_err(|cause| failed(&cause))?;
        if format.restored.last().is_some_and(|last| last.restore == statement.restore) {
            continue;
        }
        let options = LogOptions::new(purpose, format.origin, format.node);
        let resting = Resting::take(Arc::new(RealDisk), &dir, &options, key).map_err(|cause| failed(&cause))?;
        let head = resting.head();
        if (head.size, head.root) != (kept.size, kept.root.0) {
            return Err(failed(&format_args!("{} is not as it was when it was decided", dir.display())));
        }
        resting.rename(statement.restore, key).map_err(|cause| failed(&cause))?;
    }
    let identity = Identity::read(data)?;
    let (journal, _) = open_log(&journal_dir(data), "journal", journal_options(&identity), key)?;
    let records = open_log(&records_dir(data), "recordings", records_options(&identity, RecordsKept::default()), key);
    let appended = match &records {
        Ok(_) => decided.append(&FilesJournal::new(Arc::clone(&journal))).await.map_err(|cause| failed(&cause)),
        Err(_) => Ok(()),
    };
    journal.stop();
    let (records, _) = records?;
    records.stop();
    appended?;
    for mark in [data.join(OUT_OF_A_BACKUP), path.clone()] {
        match std::fs::remove_file(&mark) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(|cause| failed(&cause))?,
        }
    }
    std::fs::File::open(data).and_then(|folder| folder.sync_all()).map_err(|cause| failed(&cause))
}

fn journal_options(identity: &Identity) -> LogOptions {
    LogOptions::new(Purpose::Journal, identity.journal_origin(), identity.node.clone())
}

/// The alarm comes when there is still as much again as new sessions are refused for.
fn records_options(identity: &Identity, RecordsKept { reserve_bytes, says_copied }: RecordsKept) -> LogOptions {
    let options = LogOptions::new(Purpose::Records, identity.records_origin(), identity.node.clone());
    LogOptions { reserve_bytes, low_water_bytes: reserve_bytes.saturating_mul(2), says_copied, ..options }
}

/// A directory of people in a folder of its own, made if it is not there: to be filled before it takes its place.
pub fn draft_directory(dir: &Path) -> Result<Arc<dyn Directory>, StoreFault> {
    Ok(Arc::new(SledDirectory::open(dir)?))
}

/// Made where there is none only for an installation that begins: an empty one would lock everybody out without a word.
fn open_directory(dir: &Path, may_make: bool) -> Result<SledDirectory, StoreFault> {
    if !may_make && !dir.join("db").exists() {
        return Err(StoreFault::NoDirectory(dir.to_owned()));
    }
    Ok(SledDirectory::open(dir)?)
}

/// The folder of the directory in a data folder.
pub fn directory_dir(data: &Path) -> PathBuf {
    data.join(DIRECTORY)
}

/// The journal's log of a data folder in which no gate runs.
async fn open_journal(data: &Path, identity: &Identity, key: &LogKey) -> Result<Arc<Log>, StoreFault> {
    let (dir, options, key) = (journal_dir(data), journal_options(identity), key.clone());
    let opened = tokio::task::spawn_blocking(move || open_log(&dir, "journal", options, &key)).await;
    opened.map_err(|panic| died(data, panic))?.map(|(log, _)| log)
}

/// Lets go of it, once what waits is written.
async fn close_journal(data: &Path, log: Arc<Log>) -> Result<(), StoreFault> {
    let closing = tokio::task::spawn_blocking(move || {
        log.stop();
        drop(log);
    });
    closing.await.map_err(|panic| died(data, panic))
}

fn died(data: &Path, panic: tokio::task::JoinError) -> StoreFault {
    StoreFault::Unreadable { path: data.to_owned(), cause: io::Error::other(panic) }
}

fn open_log(
    dir: &Path,
    what: &'static str,
    options: LogOptions,
    key: &LogKey,
) -> Result<(Arc<Log>, Recovery), StoreFault> {
    let opened = Log::open(Arc::new(RealDisk), Arc::new(RealMachine), dir, options, Arc::new(key.clone()));
    let (log, recovery) = opened.map_err(|fault| StoreFault::Log { what, fault })?;
    Ok((Arc::new(log), recovery))
}

#[cfg(test)]
mod tests {
    use recordings::fault::StoreFault::Stopped;

    use super::*;

    fn identity() -> Identity {
        let (deployment, node) = ("mill-3".parse().expect("a name"), "one".parse().expect("a name"));
        Identity { deployment, node, restore: None, records_restore: None }
    }

    #[test]
    fn a_folder_says_whose_it_is_and_is_open_once() {
        let data = tempfile::tempdir().expect("a folder");
        let nothing = Identity::read(data.path()).expect_err("nothing there");
        assert!(nothing.to_string().contains("holdpoint init"), "{nothing}");
        let keys = tempfile::tempdir().expect("a folder");
        let keys = certs::keys::KeyStore::create(&keys.path().join("keys"), &certs::keys::Seal::File).expect("keys");
        let open = || Stores::open(data.path(), identity(), &keys.log_key(), RecordsKept::default());
        let stores = open().expect("a new folder");
        assert_eq!(Identity::read(data.path()).expect("founded"), identity());
        let twice = open().expect_err("in use");
        assert!(matches!(&twice[..], [StoreFault::Log { fault: OpenFault::InUse(_), .. }]), "{twice:?}");
        stores.close();
        open().expect("free again").close();
        let stores = open().expect("free again");
        // A request that is on its way out still reads.
        let reader = stores.journal_log();
        stores.close();
        assert!(matches!(reader.status().fault, Some(Stopped)), "{:?}", reader.status());
        drop(reader);
        let other = Identity { deployment: "mill-4".parse().expect("a name"), ..identity() };
        assert!(Stores::open(data.path(), other, &keys.log_key(), RecordsKept::default()).is_err());
    }

    #[test]
    fn a_format_that_names_nobody_is_told_from_one_that_is_missing() {
        for bad in ["", "holdpoint log 0\nmill-3/records/one\none\n", "holdpoint log 0\nMill 3/journal\none\n"] {
            assert!(Identity::parse(bad).is_err(), "{bad:?}");
        }
    }
}

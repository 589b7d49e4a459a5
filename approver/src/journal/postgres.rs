//! The journal in PostgreSQL, for one node or several of one installation. The database is the one place where it is
//! settled who appended first: one statement moves the row of the head from exactly what an append was decided on, and
//! puts the entries, or does neither. Each node keeps a copy of all entries in a log of its own, byte for byte with the
//! same times, hashes and roots, so that whatever reads a data folder reads any node's. An entry gets into a copy only
//! once it is committed.
//!
//! Whoever reads the journal to decide is given the copy only after the database was asked how far it goes; who follows
//! at leisure reads the copy alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, try_join};
use jiff::Timestamp;
use policies::events::Event;
use policies::ids::{NodeId, RestoreId};
use recordings::fault::{AppendFault, StoreFault};
use recordings::leaf::{self, ENTRY_BYTES_MAX, ENTRY_OVERHEAD_BYTES};
use recordings::log::{End, Log, Timed};
use recordings::tree::Tree;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::files::FilesJournal;
use super::{AppendError, Entry, Head, Journal, ReadError, Word};
use crate::postgres::{Connected, Database, DatabaseFault};

/// How long what others append may go unnoticed where a notification is lost.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Entries that are fetched at once: sixteen mebibytes at the very most.
const ENTRIES_AT_ONCE: i64 = 256;

/// Entries that are looked through in one answer.
const ENTRIES_LOOKED_THROUGH: usize = 1 << 16;

/// Moves the head from where an append was decided, and puts what is appended: one statement, so that nobody is left
/// waiting for the second half of it. Only where the server waits for its standby now, whatever it did when the connection
/// was made.
const APPEND: &str = "\
WITH moved AS (
    UPDATE holdpoint.head SET size = $3, last = $4, at_nanoseconds = $5, edge = $6 WHERE size = $1 AND last = $2
    AND current_setting('synchronous_commit') <> 'off' AND (NOT $11::boolean
        OR (current_setting('synchronous_commit') <> 'local' AND btrim(current_setting('synchronous_standby_names')) <> ''))
    RETURNING 1
), put AS (
    INSERT INTO holdpoint.entries (index, at_nanoseconds, bytes, leaf)
    SELECT fresh.* FROM unnest($7::bigint[], $8::bigint[], $9::bytea[], $10::bytea[]) AS fresh, moved RETURNING 1
)
SELECT pg_notify('holdpoint_journal', '') FROM moved";

/// Puts entries where there are none.
const PUT: &str = "\
INSERT INTO holdpoint.entries (index, at_nanoseconds, bytes, leaf)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[])";

const HEAD: &str = "SELECT size, last, edge FROM holdpoint.head";
const SETTLED_HEAD: &str = "SELECT size, last, edge FROM holdpoint.head FOR SHARE";

/// Why the journal in a database and this node's copy of it do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyFault {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseFault),
    /// The copy takes no more.
    #[error("this node's copy of the journal: {0}")]
    Copy(String),
    /// Nothing is kept there yet.
    #[error(
        "the database {0} holds no journal: bring one there with `holdpoint migrate`, or correct `journal` under [store]"
    )]
    Empty(String),
    /// Another installation's, or before or after a restore.
    #[error("the database {database} holds the journal {found}, and this data folder is a copy of {expected}")]
    Other {
        /// Which database.
        database: String,
        /// What it holds.
        found: String,
        /// What this is a copy of.
        expected: String,
    },
    /// Entries that were acknowledged are gone there.
    #[error(
        "the database {database} has {has} entries of the journal, and this node's copy {copy}: entry {has} and what follows are gone there. A standby that was behind was promoted, or a backup put back. Nothing was changed. Bring back the server that has them; where there is none, go on from the copy of whichever node has most (docs/administrator.md, \"The database lost entries\")"
    )]
    Behind {
        /// Which database.
        database: String,
        /// Entries there.
        has: u64,
        /// Entries here.
        copy: u64,
    },
    /// The two tell different stories.
    #[error(
        "entry {index} of the journal in the database {database} is another than in this node's copy: the journal was forked or changed. Nothing was changed here. Keep both as evidence (docs/administrator.md, \"The database lost entries\")"
    )]
    Parted {
        /// Which database.
        database: String,
        /// The first entry that differs.
        index: u64,
    },
    /// The wait for the standby may have been broken off.
    #[error("the database {0} took an append and warned: whether it lies on the standby is asked again")]
    Warned(String),
    /// A row that no version of this program writes.
    #[error("what the database {0} says of the journal makes no sense")]
    Damaged(String),
}

impl From<CopyFault> for ReadError {
    fn from(fault: CopyFault) -> Self {
        Self::Unavailable(fault.to_string())
    }
}

/// Decisions in PostgreSQL, and a copy of them in a [`Log`] of the purpose `Journal`.
pub struct PostgresJournal {
    shared: Arc<Shared>,
    _following: DropGuard,
}

struct Shared {
    database: Database,
    node: NodeId,
    /// The connection that listens and speaks, for which no decision waits; none while the database is away.
    speaking: Mutex<Option<Arc<Connected>>>,
    copy: FilesJournal,
    /// Who holds it may bring the copy further.
    copying: tokio::sync::Mutex<()>,
    /// An append was sent whose answer did not come: it may be under way yet.
    unclear: AtomicBool,
}

impl PostgresJournal {
    /// As this node, over this database and this log, which nothing else appends to, once the log has all that the database
    /// has; from then on it follows.
    ///
    /// # Errors
    /// The database does not answer, has the journal of others, or less than the log, or something else; or a gate runs as
    /// this node.
    pub async fn open(database: Database, log: Arc<Log>, origin: &str, node: &NodeId) -> Result<Self, CopyFault> {
        let shared = Arc::new(Shared::new(database, log, node));
        shared.check_origin(origin).await?;
        let listening = shared.listen().await?;
        shared.catch_up().await?;
        let stop = CancellationToken::new();
        let (follower, stopped) = (Arc::clone(&shared), stop.clone());
        shared.database.keep(async move {
            stopped.run_until_cancelled(follower.follow(listening)).await;
        });
        Ok(Self { shared, _following: stop.drop_guard() })
    }
}

/// What the row of the head says.
struct HeadRow {
    size: u64,
    last: [u8; 32],
    tree: Tree,
}

/// Brings the first so many entries of a journal into a new node's log.
///
/// # Errors
/// The database does not answer, or has something else than the log.
pub async fn copy_until(database: &Database, log: Arc<Log>, node: &NodeId, size: u64) -> Result<(), CopyFault> {
    let shared = Shared::new(database.clone(), log, node);
    let held = database.client().await?;
    loop {
        let end = shared.log().end();
        if end.tree.size() >= size {
            break;
        }
        shared.copy_page(&held, end, size).await?;
    }
    held.done();
    Ok(())
}

impl Shared {
    fn new(database: Database, log: Arc<Log>, node: &NodeId) -> Self {
        Self {
            database,
            node: node.clone(),
            speaking: Mutex::default(),
            copy: FilesJournal::new(log),
            copying: tokio::sync::Mutex::new(()),
            unclear: AtomicBool::new(false),
        }
    }

    fn log(&self) -> &Arc<Log> {
        self.copy.log()
    }

    async fn check_origin(&self, expected: &str) -> Result<(), CopyFault> {
        let database = self.database.name();
        match self.database.origin().await? {
            None => Err(CopyFault::Empty(database)),
            Some(found) if found != expected => {
                Err(CopyFault::Other { database, found, expected: expected.to_owned() })
            }
            Some(_) => Ok(()),
        }
    }

    /// Has this node's name to itself, and a row for it: a database that was founded again knows its founder alone.
    async fn listen(&self) -> Result<Arc<Connected>, DatabaseFault> {
        let listening = Arc::new(self.database.listen(&self.node).await?);
        let known = "INSERT INTO holdpoint.nodes (node) VALUES ($1) ON CONFLICT DO NOTHING";
        self.database.within(listening.execute(known, &[&self.node.as_str()])).await?;
        *self.speaking.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&listening));
        Ok(listening)
    }

    /// Copies what others appended, when it is told or once in a while.
    async fn follow(&self, listening: Arc<Connected>) {
        let (mut listening, mut said) = (Ok(listening), None);
        loop {
            let followed = match &listening {
                Ok(listening) => self.follow_with(listening).await,
                Err(fault) => Err(CopyFault::from(DatabaseFault::clone(fault))),
            };
            if let Err(fault) = followed
                && said.as_ref() != Some(&fault)
            {
                tracing::error!(%fault, "this node's copy of the journal does not follow");
                said = Some(fault);
            }
            tokio::time::sleep(LOOK_EVERY).await;
            if !listening.as_ref().is_ok_and(|listening| self.is_spoken_over(listening)) {
                // As long as it is held, it holds the node's name.
                drop(listening);
                listening = self.listen().await;
            }
        }
    }

    /// Whether a connection is open, and answered when this node last spoke.
    fn is_spoken_over(&self, listening: &Arc<Connected>) -> bool {
        let speaking = self.speaking.lock().unwrap_or_else(PoisonError::into_inner);
        !listening.is_closed() && speaking.as_ref().is_some_and(|speaking| Arc::ptr_eq(speaking, listening))
    }

    async fn follow_with(&self, listening: &Arc<Connected>) -> Result<(), CopyFault> {
        while self.is_spoken_over(listening) {
            self.catch_up().await?;
            tokio::select! {
                () = self.database.told() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        Ok(())
    }

    /// Brings the copy as far as the database has come.
    async fn catch_up(&self) -> Result<(), CopyFault> {
        let _one = self.copying.lock().await;
        self.copy_rest().await
    }

    /// To be called with `copying` held.
    async fn copy_rest(&self) -> Result<(), CopyFault> {
        let held = self.database.client().await?;
        let head = self.head_row(&held).await?;
        loop {
            let end = self.log().end();
            let here = end.tree.size();
            if here > head.size {
                return Err(self.parted(&held, head.size, here).await);
            }
            if here == head.size {
                if (end.last, &end.tree) != (head.last, &head.tree) {
                    return Err(self.parted(&held, here, here).await);
                }
                break;
            }
            self.copy_page(&held, end, head.size).await?;
        }
        held.done();
        Ok(())
    }

    /// An append whose answer did not come, and which the server is at, holds the row until its standby has it, so the row is
    /// waited for; and to lock it is itself a commit that waits for the standby. One that is still on its way is not waited
    /// for: should it arrive, it moves the head, and whoever decided on the old one is told so.
    async fn head_row(&self, client: &Connected) -> Result<HeadRow, CopyFault> {
        let is_unclear = self.unclear.load(Ordering::Acquire);
        let asked = if is_unclear { SETTLED_HEAD } else { HEAD };
        let row = self.database.within(client.query_opt(asked, &[])).await?;
        let row = row.ok_or_else(|| CopyFault::Empty(self.database.name()))?;
        if is_unclear {
            self.unclear.store(false, Ordering::Release);
        }
        parse_head(&row).ok_or_else(|| CopyFault::Damaged(self.database.name()))
    }

    /// The next of so many entries behind this end of the copy, each of which must hash to what the database says. Those that
    /// came since it was asked how many there are wait for the next time.
    async fn copy_page(&self, client: &Connected, mut end: End, size: u64) -> Result<(), CopyFault> {
        let (head, from) = (end.head(), end.tree.size());
        let asked = "SELECT index, at_nanoseconds, bytes, leaf FROM holdpoint.entries \
                     WHERE index >= $1 AND index < $2 ORDER BY index LIMIT $3";
        let damaged = || CopyFault::Damaged(self.database.name());
        let first = i64::try_from(from).map_err(|_| damaged())?;
        let behind = i64::try_from(size).map_err(|_| damaged())?;
        let rows = self.database.within(client.query(asked, &[&first, &behind, &ENTRIES_AT_ONCE])).await?;
        let mut entries = Vec::with_capacity(rows.len());
        for row in &rows {
            let (index, timed, leaf) = parse_entry(row).ok_or_else(damaged)?;
            let entry = end.push(&timed);
            if entry.index != index || entry.hash != leaf {
                return Err(self.parted(client, index, from).await);
            }
            entries.push(entry);
        }
        if entries.is_empty() {
            return Err(damaged());
        }
        self.take(head, entries).await
    }

    /// Puts committed entries behind the copy's head.
    async fn take(&self, mut head: Head, entries: Vec<leaf::Entry>) -> Result<(), CopyFault> {
        let mut left: Vec<Timed> =
            entries.into_iter().map(|entry| Timed { at: entry.at, bytes: entry.bytes }).collect();
        while !left.is_empty() {
            // Of an entry that alone is too long the log says so.
            let rest = left.split_off(self.log().takes_at_once(&left).clamp(1, left.len()));
            let appended = self.log().append_timed(head, std::mem::replace(&mut left, rest)).await;
            head = appended.map_err(|fault| CopyFault::Copy(fault.to_string()))?;
        }
        self.copy.has_grown();
        Ok(())
    }

    /// Where the two part, when the database has fewer entries or others. `has` and `copy` are how many each has at least.
    async fn parted(&self, client: &Connected, has: u64, copy: u64) -> CopyFault {
        let database = self.database.name();
        match self.first_other(client, has.min(copy)).await {
            Ok(Some(index)) => CopyFault::Parted { database, index },
            Ok(None) if has < copy => CopyFault::Behind { database, has, copy },
            Ok(None) => CopyFault::Parted { database, index: has },
            Err(fault) => fault,
        }
    }

    /// The first of so many entries that is another there than here: each hash covers those before it.
    async fn first_other(&self, client: &Connected, among: u64) -> Result<Option<u64>, CopyFault> {
        let (mut low, mut high) = (0, among);
        while low < high {
            let middle = low + (high - low) / 2;
            let log = Arc::clone(self.log());
            let ours = tokio::task::spawn_blocking(move || log.next_entries(middle)).await;
            let ours = ours.map_err(|panic| CopyFault::Copy(panic.to_string()))?;
            let ours = ours.map_err(|fault| CopyFault::Copy(fault.to_string()))?;
            let asked = "SELECT leaf FROM holdpoint.entries WHERE index = $1";
            let at = i64::try_from(middle).map_err(|_| CopyFault::Damaged(self.database.name()))?;
            let theirs = self.database.within(client.query_opt(asked, &[&at])).await?;
            let theirs = theirs.map(|row| row.get::<_, Vec<u8>>(0));
            let is_equal = ours.first().zip(theirs).is_some_and(|(ours, theirs)| ours.hash[..] == theirs[..]);
            (low, high) = if is_equal { (middle + 1, high) } else { (low, middle) };
        }
        Ok((low < among).then_some(low))
    }

    /// A node whose copy takes nothing more decides nothing either, and is silent.
    async fn speak(&self) -> Result<Vec<Word>, CopyFault> {
        if let Some(fault) = self.log().status().fault {
            return Err(CopyFault::Copy(fault.to_string()));
        }
        let speaking = self.speaking.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let speaking = speaking.ok_or_else(|| DatabaseFault::Silent(self.database.name()))?;
        let (say, node) = ("UPDATE holdpoint.nodes SET said = said + 1 WHERE node = $1", self.node.as_str());
        let values: [&(dyn ToSql + Sync); 1] = [&node];
        let (said, heard) =
            (speaking.execute(say, &values), speaking.query("SELECT node, said FROM holdpoint.nodes", &[]));
        let spoken = self.database.within(try_join(said, heard)).await;
        if matches!(spoken, Err(DatabaseFault::Silent(_) | DatabaseFault::Unreachable { .. })) {
            // Another server may answer where this one fell silent.
            self.speaking.lock().unwrap_or_else(PoisonError::into_inner).take_if(|now| Arc::ptr_eq(now, &speaking));
        }
        let (_, rows) = spoken?;
        let words = rows.iter().map(|row| {
            let (node, said): (String, i64) = (row.get(0), row.get(1));
            Some(Word { node: node.parse().ok()?, said: u64::try_from(said).ok()? })
        });
        words.collect::<Option<_>>().ok_or_else(|| CopyFault::Damaged(self.database.name()))
    }

    async fn append(&self, after: Head, events: &[Event], at: Timestamp) -> Result<Head, AppendError> {
        let _one = self.copying.lock().await;
        let mut end = self.log().end();
        if end.head() != after {
            return Err(AppendError::Conflict(end.head()));
        }
        // What the copy would not take must not be committed.
        if let Some(fault) = self.log().status().fault {
            return Err(AppendError::Unavailable(fault.to_string()));
        }
        let entries: Vec<_> = events.iter().map(|event| end.push(&Timed { at, bytes: event.encode() })).collect();
        let longest = entries.iter().map(|entry| entry.bytes.len()).max().unwrap_or(0);
        if longest > ENTRY_BYTES_MAX - ENTRY_OVERHEAD_BYTES {
            return Err(AppendError::Unavailable(AppendFault::from(StoreFault::TooLong(longest)).to_string()));
        }
        let unavailable = |fault: CopyFault| AppendError::Unavailable(fault.to_string());
        if self.commit(after, &entries, &end).await.map_err(unavailable)? {
            self.take(after, entries).await.map_err(unavailable)?;
            return Ok(end.head());
        }
        self.copy_rest().await.map_err(unavailable)?;
        match self.log().head() {
            now if now == after => {
                self.database.look_again().await.map_err(|fault| unavailable(fault.into()))?;
                Err(unavailable(CopyFault::Damaged(self.database.name())))
            }
            now => Err(AppendError::Conflict(now)),
        }
    }

    /// Whether they were the first after that head. On an error they may have been.
    async fn commit(&self, after: Head, entries: &[leaf::Entry], end: &End) -> Result<bool, CopyFault> {
        let damaged = || CopyFault::Damaged(self.database.name());
        let whole = |number: u64| i64::try_from(number).map_err(|_| damaged());
        let nanoseconds = |at: Timestamp| i64::try_from(at.as_nanosecond()).map_err(|_| damaged());
        let (before, size) = (whole(after.size)?, whole(end.tree.size())?);
        let (at, edge) = (nanoseconds(end.at)?, end.tree.edge().concat());
        let indices = entries.iter().map(|entry| whole(entry.index)).collect::<Result<Vec<_>, _>>()?;
        let times = entries.iter().map(|entry| nanoseconds(entry.at)).collect::<Result<Vec<_>, _>>()?;
        let bytes: Vec<&[u8]> = entries.iter().map(|entry| entry.bytes.as_slice()).collect();
        let leaves: Vec<&[u8]> = entries.iter().map(|entry| entry.hash.as_slice()).collect();
        let wants_standby = self.database.wants_standby();
        let values: [&(dyn ToSql + Sync); 11] = [
            &before,
            &after.last.as_slice(),
            &size,
            &end.last.as_slice(),
            &at,
            &edge,
            &indices,
            &times,
            &bytes,
            &leaves,
            &wants_standby,
        ];
        let held = self.database.client().await?;
        self.unclear.store(true, Ordering::Release);
        let warnings = self.database.warnings();
        let moved = self.database.within(held.query_opt(APPEND, &values)).await?;
        if self.database.warnings() != warnings {
            return Err(CopyFault::Warned(self.database.name()));
        }
        self.unclear.store(false, Ordering::Release);
        held.done();
        Ok(moved.is_some())
    }
}

fn parse_head(row: &Row) -> Option<HeadRow> {
    let size = u64::try_from(row.get::<_, i64>(0)).ok()?;
    let (last, edge): (Vec<u8>, Vec<u8>) = (row.get(1), row.get(2));
    let (edge, rest) = edge.as_chunks::<32>();
    let tree = Tree::from_edge(size, edge.to_vec()).filter(|_| rest.is_empty())?;
    Some(HeadRow { size, last: last.try_into().ok()?, tree })
}

fn parse_entry(row: &Row) -> Option<(u64, Timed, [u8; 32])> {
    let index = u64::try_from(row.get::<_, i64>(0)).ok()?;
    let at = Timestamp::from_nanosecond(row.get::<_, i64>(1).into()).ok()?;
    Some((index, Timed { at, bytes: row.get(2) }, row.get::<_, Vec<u8>>(3).try_into().ok()?))
}

impl Journal for PostgresJournal {
    fn append<'a>(
        &'a self,
        after: Head,
        events: &'a [Event],
        at: Timestamp,
    ) -> BoxFuture<'a, Result<Head, AppendError>> {
        self.shared.append(after, events, at).boxed()
    }

    fn read(&self, after: u64) -> BoxFuture<'_, Result<Vec<Entry>, ReadError>> {
        async move {
            self.shared.catch_up().await?;
            self.shared.copy.read(after).await
        }
        .boxed()
    }

    fn read_next(&self, after: u64) -> BoxFuture<'_, Result<Vec<Entry>, ReadError>> {
        self.shared.copy.read_next(after)
    }

    fn read_at<'a>(&'a self, places: &'a [u64]) -> BoxFuture<'a, Result<Vec<Entry>, ReadError>> {
        self.shared.copy.read_at(places)
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, ReadError>> {
        async move {
            self.shared.catch_up().await?;
            self.shared.copy.head().await
        }
        .boxed()
    }

    fn changed(&self, size: u64) -> BoxFuture<'_, ()> {
        self.shared.copy.changed(size)
    }

    fn speak(&self) -> BoxFuture<'_, Result<Vec<Word>, ReadError>> {
        async move { Ok(self.shared.speak().await?) }.boxed()
    }
}

impl Database {
    /// The restores that its journal went on from, and the entry of each: so many there were before it.
    ///
    /// # Errors
    /// It does not answer, or a restore is none that this program knows.
    pub async fn restores(&self) -> Result<Vec<(u64, RestoreId)>, CopyFault> {
        let damaged = || CopyFault::Damaged(self.name());
        let held = self.client().await?;
        let size: i64 = self.within(held.query_one("SELECT size FROM holdpoint.head", &[])).await?.get(0);
        // No entry of another kind holds these bytes: in a text quotes are escaped.
        let asked = "SELECT index, bytes FROM holdpoint.entries WHERE index >= $1 AND index < $2 \
                     AND position($3::bytea IN bytes) > 0 ORDER BY index";
        let mut restores = Vec::new();
        for from in (0..size).step_by(ENTRIES_LOOKED_THROUGH) {
            let until = from.saturating_add_unsigned(ENTRIES_LOOKED_THROUGH as u64);
            let rows = self.within(held.query(asked, &[&from, &until, &br#""event":"restored""#.as_slice()])).await?;
            for row in rows {
                let index = u64::try_from(row.get::<_, i64>(0)).map_err(|_| damaged())?;
                if let Event::Restored { administrator, .. } =
                    Event::decode(row.get::<_, &[u8]>(1)).map_err(|_| damaged())?
                {
                    restores.push((index, administrator.statement.restore));
                }
            }
        }
        held.done();
        Ok(restores)
    }

    /// Makes it hold what this log holds, where it holds nothing yet: the journal under its name, and the directory. All of
    /// it or nothing.
    ///
    /// # Errors
    /// It has a journal, does not answer, or the log cannot be read.
    pub async fn found(
        &self,
        origin: &str,
        node: &policies::ids::NodeId,
        log: &Arc<Log>,
        directory: &crate::directory::Dumped,
    ) -> Result<Head, CopyFault> {
        let damaged = || CopyFault::Damaged(self.name());
        let mut held = self.client().await?;
        let put = self.within(held.ready(PUT)).await?;
        let put_name = self.within(held.ready("INSERT INTO holdpoint.directory (key, value) VALUES ($1, $2)")).await?;
        let transaction = self.within(held.transaction()).await?;
        let mut end = End { last: [0; 32], at: Timestamp::UNIX_EPOCH, tree: Tree::default() };
        loop {
            let (from, reader) = (end.tree.size(), Arc::clone(log));
            let read = tokio::task::spawn_blocking(move || reader.next_entries(from)).await;
            let read = read.map_err(|panic| CopyFault::Copy(panic.to_string()))?;
            let read = read.map_err(|fault| CopyFault::Copy(fault.to_string()))?;
            if read.is_empty() {
                break;
            }
            for page in read.chunks(ENTRIES_AT_ONCE.unsigned_abs() as usize) {
                let (mut indices, mut times, mut bytes, mut leaves) = (vec![], vec![], vec![], vec![]);
                for entry in page {
                    let copied = end.push(&Timed { at: entry.at, bytes: entry.bytes.clone() });
                    if (copied.index, copied.hash) != (entry.index, entry.hash) {
                        return Err(CopyFault::Copy(format!("entry {} does not follow the one before", entry.index)));
                    }
                    indices.push(i64::try_from(entry.index).map_err(|_| damaged())?);
                    times.push(i64::try_from(entry.at.as_nanosecond()).map_err(|_| damaged())?);
                    bytes.push(entry.bytes.as_slice());
                    leaves.push(entry.hash.as_slice());
                }
                self.within(transaction.execute(&put, &[&indices, &times, &bytes, &leaves])).await?;
            }
        }
        let (size, at) = (end.tree.size(), end.at.as_nanosecond());
        let (size, at) = (i64::try_from(size).map_err(|_| damaged())?, i64::try_from(at).map_err(|_| damaged())?);
        let head = "INSERT INTO holdpoint.head (origin, size, last, at_nanoseconds, edge) VALUES ($1, $2, $3, $4, $5)";
        let (last, edge) = (end.last.as_slice(), end.tree.edge().concat());
        self.within(transaction.execute(head, &[&origin, &size, &last, &at, &edge])).await?;
        self.within(transaction.execute("INSERT INTO holdpoint.nodes (node) VALUES ($1)", &[&node.as_str()])).await?;
        for (key, value) in directory {
            self.within(transaction.execute(&put_name, &[key, value])).await?;
        }
        self.within(transaction.commit()).await?;
        held.done();
        Ok(end.head())
    }
}

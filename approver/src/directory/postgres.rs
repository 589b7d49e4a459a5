//! The directory in PostgreSQL, beside the journal: one table of keys and values. Whoever swaps holds one lock of the
//! database until its commit, so of two who expect the same one finds it changed.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use futures::future::{BoxFuture, try_join_all, try_join3};
use tokio_postgres::{Client, IsolationLevel, Row};

use super::{Change, Directory, DirectoryFault, Dumped, Key, Listed, Table, check_lengths};
use crate::postgres::{Database, DatabaseFault};

/// The advisory lock of whoever swaps ("holdpswa"). Swaps are a few for each sign-in.
const SWAPPING: i64 = 0x686f_6c64_7073_7761;

/// Small state in a table.
#[derive(Debug)]
pub struct PostgresDirectory {
    database: Database,
}

impl PostgresDirectory {
    /// In this database.
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    async fn change(&self, changes: &[Change]) -> Result<bool, DirectoryFault> {
        check_lengths(changes)?;
        let database = &self.database;
        let held = database.client().await?;
        let ready = [held.ready(ALONE), held.ready(GET), held.ready(SET), held.ready(DELETE)];
        let [alone, get, set, delete] =
            database.within(try_join_all(ready)).await?.try_into().expect("as many as were asked for");
        // What is asked at once is done in its order, by one way there and back: nothing is read before nobody else swaps.
        let client: &Client = &held;
        let keys: Vec<Vec<u8>> = changes.iter().map(|change| change.key.encode()).collect();
        let begun = client.batch_execute("BEGIN");
        let alone = async { client.execute(&alone, &[&SWAPPING]).await };
        let found = async { client.query(&get, &[&keys]).await };
        let (_, _, found) = database.within(try_join3(begun, alone, found)).await?;
        let found: BTreeMap<&[u8], &[u8]> = found.iter().map(|row| (row.get(0), row.get(1))).collect();
        let is_met = |(change, key): (&Change, &Vec<u8>)| change.expected.is_met(found.get(key.as_slice()).copied());
        if !changes.iter().zip(&keys).all(is_met) {
            database.within(client.batch_execute("ROLLBACK")).await?;
            held.done();
            return Ok(false);
        }
        // Of two changes of one key the later counts.
        let after: BTreeMap<&[u8], Option<&[u8]>> =
            keys.iter().zip(changes).map(|(key, change)| (key.as_slice(), change.value.as_deref())).collect();
        let (kept, values): (Vec<&[u8]>, Vec<&[u8]>) =
            after.iter().filter_map(|(key, value)| Some((*key, (*value)?))).unzip();
        let gone: Vec<&[u8]> = after.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| *key).collect();
        let setting = async { client.execute(&set, &[&kept, &values]).await };
        let deleting = async { client.execute(&delete, &[&gone]).await };
        // Behind a change that the server refuses this commits nothing, and the refusal is told.
        database.within(try_join3(setting, deleting, client.batch_execute("COMMIT"))).await?;
        held.done();
        Ok(true)
    }

    /// All at one moment, in pages each of which has its own time to come.
    async fn rows(&self, prefix: &[u8]) -> Result<Vec<Row>, DirectoryFault> {
        let database = &self.database;
        let mut held = database.client().await?;
        let list = database.within(held.ready(LIST)).await?;
        let reading = held.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        let transaction = database.within(reading.start()).await?;
        let (mut rows, mut behind): (Vec<Row>, Vec<u8>) = (Vec::new(), Vec::new());
        loop {
            let page = database.within(transaction.query(&list, &[&prefix, &behind, &ROWS_AT_ONCE])).await?;
            let Some(last) = page.last() else { break };
            behind = last.get(0);
            rows.extend(page);
        }
        database.within(transaction.commit()).await?;
        held.done();
        Ok(rows)
    }
}

const ALONE: &str = "SELECT pg_advisory_xact_lock($1)";
const GET: &str = "SELECT key, value FROM holdpoint.directory WHERE key = ANY($1::bytea[])";
const SET: &str = "INSERT INTO holdpoint.directory (key, value) SELECT * FROM unnest($1::bytea[], $2::bytea[]) \
     ON CONFLICT (key) DO UPDATE SET value = excluded.value";
const DELETE: &str = "DELETE FROM holdpoint.directory WHERE key = ANY($1::bytea[])";
const LIST: &str = "SELECT key, value FROM holdpoint.directory \
     WHERE key >= $1::bytea AND key > $2::bytea AND substring(key FOR length($1)) = $1 ORDER BY key LIMIT $3";
/// Rows that are fetched at once; the longest value has 64 KiB.
const ROWS_AT_ONCE: i64 = 512;

impl From<DatabaseFault> for DirectoryFault {
    fn from(fault: DatabaseFault) -> Self {
        Self::Unavailable(fault.to_string())
    }
}

impl Directory for PostgresDirectory {
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Vec<u8>>, DirectoryFault>> {
        async move {
            let held = self.database.client().await?;
            let row = self.database.within(held.query_opt(GET, &[&vec![key.encode()]])).await?;
            held.done();
            Ok(row.map(|row| row.get(1)))
        }
        .boxed()
    }

    fn swap(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<bool, DirectoryFault>> {
        async move { self.change(&changes).await }.boxed()
    }

    fn dump(&self) -> BoxFuture<'_, Result<Dumped, DirectoryFault>> {
        async move { Ok(self.rows(b"").await?.iter().map(|row| (row.get(0), row.get(1))).collect()) }.boxed()
    }

    fn list(&self, table: Table) -> BoxFuture<'_, Result<Listed, DirectoryFault>> {
        let prefix = table.prefix();
        let listed = |row: &Row| {
            let key: Vec<u8> = row.get(0);
            (String::from_utf8_lossy(&key[prefix.len()..]).into_owned(), row.get(1))
        };
        async move { Ok(self.rows(prefix.as_bytes()).await?.iter().map(listed).collect()) }.boxed()
    }
}

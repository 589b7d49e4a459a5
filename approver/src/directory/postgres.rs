//! The directory in PostgreSQL, beside the journal: one table of keys and values. Whoever swaps holds one lock of the
//! database until its commit, so of two who expect the same one finds it changed.

use futures::FutureExt as _;
use futures::future::{BoxFuture, try_join, try_join_all, try_join3};
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
        let begun = client.batch_execute("BEGIN");
        let alone = async { client.execute(&alone, &[&SWAPPING]).await };
        let values = try_join_all(changes.iter().map(async |change| {
            let row = client.query_opt(&get, &[&change.key.encode()]).await?;
            Ok(row.map(|row| row.get::<_, Vec<u8>>(0)))
        }));
        let (_, _, values) = database.within(try_join3(begun, alone, values)).await?;
        if !changes.iter().zip(&values).all(|(change, value)| change.expected.is_met(value.as_deref())) {
            database.within(client.batch_execute("ROLLBACK")).await?;
            held.done();
            return Ok(false);
        }
        let changing = try_join_all(changes.iter().map(async |change| match (&change.key.encode(), &change.value) {
            (key, Some(value)) => client.execute(&set, &[key, value]).await,
            (key, None) => client.execute(&delete, &[key]).await,
        }));
        // Behind a change that the server refuses this commits nothing, and the refusal is told.
        database.within(try_join(changing, client.batch_execute("COMMIT"))).await?;
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
const GET: &str = "SELECT value FROM holdpoint.directory WHERE key = $1";
const SET: &str =
    "INSERT INTO holdpoint.directory (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = $2";
const DELETE: &str = "DELETE FROM holdpoint.directory WHERE key = $1";
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
            let row = self.database.within(held.query_opt(GET, &[&key.encode()])).await?;
            held.done();
            Ok(row.map(|row| row.get(0)))
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

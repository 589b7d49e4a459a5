//! The tables: made where there are none, and refused where a newer version made them. One node does it at a time.

use super::{Database, DatabaseFault};

/// The version of the tables that this program knows.
pub const VERSION: i32 = 1;
/// What makes them, for an owner who does not let the gate make tables.
pub const SCHEMA: &str = include_str!("schema-1.sql");
/// Whoever sets up tables here holds this advisory lock meanwhile. Any number that is ours alone ("holdpoin").
const SETTING_UP: i64 = 0x686f_6c64_706f_696e;

impl Database {
    /// Sees to it that the tables are there, and of this version.
    ///
    /// # Errors
    /// They are of a later one, cannot be made, or it does not answer.
    pub async fn set_up(&self) -> Result<(), DatabaseFault> {
        let mut held = self.client().await?;
        let transaction = self.within(held.transaction()).await?;
        self.within(transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&SETTING_UP])).await?;
        let there = "SELECT to_regclass('holdpoint.version') IS NOT NULL";
        let is_there: bool = self.within(transaction.query_one(there, &[])).await.map_err(with_remedy)?.get(0);
        if !is_there {
            self.within(transaction.batch_execute(SCHEMA)).await.map_err(with_remedy)?;
        }
        let found: i32 = self.within(transaction.query_one("SELECT version FROM holdpoint.version", &[])).await?.get(0);
        self.within(transaction.commit()).await?;
        held.done();
        match found {
            VERSION => Ok(()),
            found => Err(DatabaseFault::Newer { server: self.name(), found }),
        }
    }
}

/// What the server answers to who may not do something, in its errors' own numbers.
const NOT_ALLOWED: &str = "(42501)";

fn with_remedy(fault: DatabaseFault) -> DatabaseFault {
    match fault {
        DatabaseFault::Refused { server, cause } if cause.contains(NOT_ALLOWED) => DatabaseFault::Refused {
            server,
            cause: format!(
                "{cause}. Let the database's owner make the tables: `holdpoint migrate --schema`, and what docs/administrator.md grants"
            ),
        },
        other => other,
    }
}

//! The tables: made where there are none, brought to this program's version where they are older, and left alone where they are
//! newer. One node does it at a time. Older programs run on meanwhile, so a step adds and takes nothing away; from which version of them
//! on a program may be started on the tables they say themselves.

use super::{Database, DatabaseFault};

/// What makes the tables of each version out of those before; of the first, out of nothing.
const STEPS: [&str; 2] = [include_str!("schema-1.sql"), include_str!("schema-2.sql")];
/// The version of the tables that this program knows.
pub const VERSION: i32 = 2;
/// Whoever sets up tables here holds this advisory lock meanwhile. Any number that is ours alone ("holdpoin").
const SETTING_UP: i64 = 0x686f_6c64_706f_696e;

/// What makes this program's tables out of those of the version `from`, 0 where there are none, for an owner who does not let the
/// gate make tables; in one transaction.
pub fn schema(from: usize) -> String {
    let steps = STEPS.get(from..).unwrap_or_default().concat();
    if steps.is_empty() { steps } else { format!("BEGIN;\n\n{steps}\nCOMMIT;\n") }
}

impl Database {
    /// Sees to it that the tables are there, and that this program may use them.
    ///
    /// # Errors
    /// They are of a later version which it may not use, cannot be made, or the database does not answer.
    pub async fn set_up(&self) -> Result<(), DatabaseFault> {
        let mut held = self.client().await?;
        let transaction = self.within(held.transaction()).await?;
        self.within(transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&SETTING_UP])).await?;
        let there = "SELECT to_regclass('holdpoint.version') IS NOT NULL";
        let asked = self.within(transaction.query_one(there, &[])).await;
        let is_there: bool = asked.map_err(|fault| with_remedy(fault, 0))?.get(0);
        let found = if is_there { self.found_version(&transaction).await? } else { 0 };
        for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(usize::MAX)) {
            self.within(transaction.batch_execute(step)).await.map_err(|fault| with_remedy(fault, found))?;
        }
        if found > VERSION {
            let asked = "SELECT usable_from FROM holdpoint.version";
            let usable_from: i32 = self.within(transaction.query_one(asked, &[])).await?.get(0);
            if usable_from > VERSION {
                return Err(DatabaseFault::Newer { server: self.name(), found });
            }
        }
        self.within(transaction.commit()).await?;
        held.done();
        Ok(())
    }

    async fn found_version(&self, client: &tokio_postgres::Transaction<'_>) -> Result<i32, DatabaseFault> {
        Ok(self.within(client.query_one("SELECT version FROM holdpoint.version", &[])).await?.get(0))
    }
}

/// What the server answers to who may not do something, in its errors' own numbers.
const NOT_ALLOWED: &str = "(42501)";

fn with_remedy(fault: DatabaseFault, found: i32) -> DatabaseFault {
    match fault {
        DatabaseFault::Refused { server, cause } if cause.contains(NOT_ALLOWED) => {
            let from = if found == 0 { String::new() } else { format!(" --from {found}") };
            let words = format!(
                "{cause}. Let the database's owner make the tables: `holdpoint migrate --schema{from}`, and what docs/administrator.md grants"
            );
            DatabaseFault::Refused { server, cause: words }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_breaks_no_program_that_runs() {
        for step in &STEPS[1..] {
            let words =
                step.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join(" ").to_uppercase();
            for statement in words.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
                let adds_column = statement.starts_with("ALTER TABLE") && statement.contains(" ADD COLUMN ");
                let is_alone = !statement.contains(',') && !statement.contains(" DROP ");
                let adds =
                    adds_column && is_alone && (!statement.contains("NOT NULL") || statement.contains("DEFAULT"));
                let is_version = statement.starts_with("UPDATE HOLDPOINT.VERSION SET");
                let makes = ["CREATE TABLE ", "CREATE INDEX "].iter().any(|begins| statement.starts_with(begins));
                assert!(adds || is_version || makes, "{statement}");
            }
        }
    }
}

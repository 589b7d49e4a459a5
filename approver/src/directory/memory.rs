//! The directory in memory: for tests, and for commands that keep nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};

use super::{Change, Directory, DirectoryFault, Dumped, Key, Listed, Table, check_lengths};

/// Forgets everything when dropped.
#[derive(Default)]
pub struct MemoryDirectory(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl MemoryDirectory {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn swap_now(&self, changes: Vec<Change>) -> Result<bool, DirectoryFault> {
        check_lengths(&changes)?;
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let met = |change: &Change| change.expected.is_met(values.get(&change.key.encode()).map(Vec::as_slice));
        if !changes.iter().all(met) {
            return Ok(false);
        }
        for change in changes {
            match change.value {
                Some(value) => values.insert(change.key.encode(), value),
                None => values.remove(&change.key.encode()),
            };
        }
        Ok(true)
    }
}

impl Directory for MemoryDirectory {
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Vec<u8>>, DirectoryFault>> {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ready(Ok(values.get(&key.encode()).cloned())).boxed()
    }

    fn swap(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<bool, DirectoryFault>> {
        ready(self.swap_now(changes)).boxed()
    }

    fn dump(&self) -> BoxFuture<'_, Result<Dumped, DirectoryFault>> {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ready(Ok(values.iter().map(|(key, value)| (key.clone(), value.clone())).collect())).boxed()
    }

    fn list(&self, table: Table) -> BoxFuture<'_, Result<Listed, DirectoryFault>> {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = values.iter().filter_map(|(key, value)| {
            let rest = key.strip_prefix(table.prefix().as_bytes())?;
            Some((String::from_utf8_lossy(rest).into_owned(), value.clone()))
        });
        ready(Ok(found.collect())).boxed()
    }
}

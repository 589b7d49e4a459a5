//! The vault hears what is in the journal, so that it knows by itself which sessions go on; and whether it is there at all is
//! looked at each second.

use std::sync::Arc;
use std::time::Duration;

use certs::vault::{Line, VaultFault};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use crate::desk::Desk;
use crate::journal::{Entry, ReadError};

/// Of entries in one message, which has a bound, and while it is heard nothing else is signed.
const BYTES_AT_ONCE: usize = 256 << 10;
/// How long a gate may go on without noticing that its vault is gone.
const LOOKED_AT: Duration = Duration::from_secs(1);

/// Why the vault could not be told.
#[derive(Debug, thiserror::Error)]
pub enum Untold {
    /// It does not answer, or does not understand.
    #[error(transparent)]
    Vault(#[from] VaultFault),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] ReadError),
}

/// Tells the vault at the other end of one line what the journal says. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Teller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    desk: Desk,
    line: Line,
    /// How many entries it heard. Whoever holds this tells; all others wait, and find that it knows.
    heard: Arc<Mutex<u64>>,
}

impl Teller {
    /// Over a line that nobody told anything.
    pub fn new(desk: Desk, line: Line) -> Self {
        Self(Arc::new(Inner { desk, line, heard: Arc::default() }))
    }

    /// Tells it all that the journal has and it does not know yet.
    ///
    /// # Errors
    /// See [`Untold`].
    pub async fn tell(&self) -> Result<(), Untold> {
        let mut heard = Arc::clone(&self.0.heard).lock_owned().await;
        if *heard == 0 {
            heard = self.brief(heard).await?;
        }
        loop {
            let entries = self.0.desk.entries(*heard).await?;
            if entries.is_empty() {
                return Ok(());
            }
            for part in parts(&entries) {
                let (line, part) = (self.0.line.clone(), part.into_iter().map(|(_, event)| event).collect::<Vec<_>>());
                // What was heard is counted, also where whoever waits for it is gone meanwhile.
                heard = away(move || {
                    line.tell(*heard, &part)?;
                    *heard += part.len() as u64;
                    Ok(heard)
                })
                .await?;
            }
        }
    }

    /// Tells it what is not over of all that the journal has by now, which of a long journal is little.
    async fn brief(&self, mut heard: OwnedMutexGuard<u64>) -> Result<OwnedMutexGuard<u64>, Untold> {
        let (places, size) = self.0.desk.with_state(|state| (state.entries_that_open(), state.size));
        let places: Vec<u64> = places.into_iter().collect();
        let mut left = places.as_slice();
        while !left.is_empty() {
            let entries = self.0.desk.entries_at(left).await?;
            let Some(last) = entries.last().map(|entry| entry.index) else {
                return Err(ReadError::Unavailable("it gives less than was read of it before".into()).into());
            };
            for part in parts(&entries) {
                let line = self.0.line.clone();
                away(move || line.brief(&part, 0)).await?;
            }
            left = &left[left.partition_point(|place| *place <= last)..];
        }
        let line = self.0.line.clone();
        away(move || {
            line.brief(&[], size)?;
            *heard = size;
            Ok(heard)
        })
        .await
        .map_err(Untold::from)
    }

    /// Tells it, once it is there.
    async fn look(&self) -> Result<(), Untold> {
        let line = self.0.line.clone();
        away(move || line.ping()).await?;
        self.tell().await
    }
}

/// Not on a thread that carries sessions.
async fn away<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, VaultFault> + Send + 'static,
) -> Result<T, VaultFault> {
    let asked = tokio::task::spawn_blocking(ask).await;
    asked.unwrap_or_else(|died| Err(VaultFault::Gone(died.to_string())))
}

/// Each with as many entries as go into one message, and one at least.
fn parts(entries: &[Entry]) -> Vec<Vec<(u64, Vec<u8>)>> {
    let (mut parts, mut bytes) = (Vec::<Vec<_>>::new(), 0);
    for entry in entries {
        let event = entry.event.encode();
        bytes += event.len();
        match parts.last_mut() {
            Some(part) if bytes <= BYTES_AT_ONCE => part.push((entry.index, event)),
            _ => {
                bytes = event.len();
                parts.push(vec![(entry.index, event)]);
            }
        }
    }
    parts
}

/// Keeps the vault told, and cancels `lost` once it is gone. What is missing in between is told when somebody needs it.
pub async fn keep(teller: Teller, lost: CancellationToken) {
    let mut said = None;
    loop {
        match teller.look().await {
            Ok(()) => said = None,
            Err(Untold::Vault(fault @ VaultFault::Gone(_))) => {
                tracing::error!(%fault, "nothing can be signed or opened any more: the gate stops");
                lost.cancel();
                return;
            }
            Err(untold) => {
                let words = untold.to_string();
                if said.as_ref() != Some(&words) {
                    tracing::error!(%untold, "the process that holds the keys was not told what the journal says");
                    said = Some(words);
                }
            }
        }
        teller.0.desk.clock().sleep(LOOKED_AT).await;
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use policies::digest::Digest;
    use policies::events::Event;

    use super::*;

    #[test]
    fn a_stretch_of_long_entries_is_told_in_parts_that_a_message_holds() {
        let plant = Digest::of_bytes(b"");
        let event = |part| Event::PlantText { plant, part, of: 20, text: "x".repeat(60_000) };
        let entry =
            |part: u16| Entry { index: part.into(), at: Timestamp::UNIX_EPOCH, event: event(part), leaf: [0; 32] };
        let entries: Vec<_> = (0..20).map(entry).collect();
        let parts = parts(&entries);
        assert!(parts.iter().all(|part| part.iter().map(|(_, event)| event.len()).sum::<usize>() <= BYTES_AT_ONCE));
        let told: Vec<_> = parts.into_iter().flatten().map(|(_, event)| Event::decode(&event).unwrap()).collect();
        assert!(told.iter().eq(entries.iter().map(|entry| &entry.event)));
        let one =
            Entry { event: Event::PlantText { plant, part: 0, of: 1, text: "x".repeat(BYTES_AT_ONCE) }, ..entry(0) };
        assert_eq!(super::parts(&[one]).len(), 1, "whatever is longer goes alone");
    }
}

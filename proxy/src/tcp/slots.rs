//! The sockets that a target's service takes at once. A controller has few, and the plant's own programs use most of them, so
//! the gate opens no more than the plant file allows, and one session at a time writes, where a gate can tell.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use policies::ids::{ServiceName, SessionId, TargetName};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Claim;
use crate::flow::Moment;

/// All slots of this node. Cheap to clone.
#[derive(Clone, Default)]
pub struct Slots(Arc<Shared>);

#[derive(Default)]
struct Shared {
    services: Mutex<HashMap<(TargetName, ServiceName), Service>>,
    freed: Notify,
}

/// What is held of one service.
#[derive(Default)]
struct Service {
    held: Vec<Arc<Held>>,
    /// Who writes, by how many of its connections.
    writer: Option<(SessionId, usize)>,
}

/// One connection's hold on a slot.
struct Held {
    claim: Claim,
    input: Moment,
    released: CancellationToken,
}

/// A slot, held until it is dropped.
pub(crate) struct Slot {
    shared: Arc<Shared>,
    held: Arc<Held>,
}

/// There is no slot free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{target} takes {max} connection{} at once, and {} in use{}", if *max == 1 { "" } else { "s" }, if *max == 1 { "it is" } else { "all are" }, hint(*own))]
pub struct NoSlot {
    target: TargetName,
    max: usize,
    own: usize,
}

fn hint(own: usize) -> String {
    match own {
        0 => ", by others. Try again later, or ask the control room".to_owned(),
        1 => "; one is yours. Close it, or ask the control room to release it".to_owned(),
        own => format!("; {own} are yours. Close one, or ask the control room to release one"),
    }
}

/// A connection of the technician's own that has been silent for so long gives way to a new one under the same grant: whoever
/// pulled a cable comes back before the gate can know that the old connection is dead.
const SILENT_MIN: Duration = Duration::from_secs(5);
/// For a connection that ends just now: tools close one and open the next at once.
const ENDS_WITHIN: Duration = Duration::from_millis(500);
/// For a connection that gives way to be closed.
const GIVES_WAY_WITHIN: Duration = Duration::from_secs(3);

impl Slots {
    /// Takes one of `max` slots. A connection under the same grant that has long been silent gives way.
    pub(super) async fn take(&self, claim: &Claim, max: usize) -> Result<Slot, NoSlot> {
        let now = tokio::time::Instant::now();
        loop {
            let mut freed = std::pin::pin!(self.0.freed.notified());
            freed.as_mut().enable();
            let (no_slot, gives_way) = match self.try_take(claim, max) {
                Ok(slot) => return Ok(slot),
                Err(full) => full,
            };
            let patience = if gives_way.is_some() { GIVES_WAY_WITHIN } else { ENDS_WITHIN };
            if let Some(gives_way) = gives_way {
                gives_way.cancel();
            }
            if tokio::time::timeout_at(now + patience, freed).await.is_err() {
                return Err(no_slot);
            }
        }
    }

    /// A slot, or who could give way.
    fn try_take(&self, claim: &Claim, max: usize) -> Result<Slot, (NoSlot, Option<CancellationToken>)> {
        let mut services = self.0.services();
        let service = services.entry(claim.place.clone()).or_default();
        if service.held.len() < max {
            let held =
                Arc::new(Held { claim: claim.clone(), input: Moment::default(), released: CancellationToken::new() });
            service.held.push(Arc::clone(&held));
            return Ok(Slot { shared: Arc::clone(&self.0), held });
        }
        let own = || service.held.iter().filter(|held| held.claim.grant == claim.grant);
        let silent = own().filter(|held| held.input.silence() >= SILENT_MIN || held.released.is_cancelled());
        let gives_way = silent.max_by_key(|held| held.input.silence()).map(|held| held.released.clone());
        Err((NoSlot { target: claim.place.0.clone(), max, own: own().count() }, gives_way))
    }

    /// The right to write, not taken yet, for one connection.
    pub(super) fn pen(&self, claim: &Claim) -> Pen {
        Pen { shared: Arc::clone(&self.0), claim: claim.clone(), held: AtomicBool::new(false) }
    }

    /// How many each session holds.
    pub fn held(&self) -> HashMap<SessionId, usize> {
        let mut counts = HashMap::new();
        for held in self.0.services().values().flat_map(|service| &service.held) {
            *counts.entry(held.claim.session).or_default() += 1;
        }
        counts
    }

    /// Lets go of every slot that a session holds; its connections close, and the session goes on. How many there were.
    pub fn release(&self, session: SessionId) -> usize {
        let services = self.0.services();
        let held = services.values().flat_map(|service| &service.held).filter(|held| held.claim.session == session);
        held.map(|held| held.released.cancel()).count()
    }
}

impl Slot {
    /// The technician sent something.
    pub(crate) fn note_input(&self) {
        self.held.input.note();
    }

    /// Gives it up ahead of its drop: the connection is over, though not all that came by it has been read.
    pub(crate) fn give_up(&self) {
        let mut services = self.shared.services();
        if let Some(service) = services.get_mut(&self.held.claim.place) {
            service.held.retain(|held| !Arc::ptr_eq(held, &self.held));
            if service.is_free() {
                services.remove(&self.held.claim.place);
            }
        }
        drop(services);
        self.shared.freed.notify_waiters();
    }

    /// Completes when the slot is to be given up: for a newer connection of the same technician, or on an operator's word.
    pub(crate) async fn released(&self) {
        self.held.released.cancelled().await;
    }
}

/// The right to write at a service, which one session has at a time: the first that wants it, until its last connection that
/// wrote is closed.
pub(crate) struct Pen {
    shared: Arc<Shared>,
    claim: Claim,
    held: AtomicBool,
}

impl Pen {
    /// Takes it, unless another session has it.
    pub(super) fn take(&self) -> bool {
        if self.held.load(Ordering::Relaxed) {
            return true;
        }
        let mut services = self.shared.services();
        let service = services.entry(self.claim.place.clone()).or_default();
        let (session, connections) = service.writer.get_or_insert((self.claim.session, 0));
        let is_ours = *session == self.claim.session;
        if is_ours {
            *connections += 1;
            self.held.store(true, Ordering::Relaxed);
        }
        is_ours
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        if !self.held.load(Ordering::Relaxed) {
            return;
        }
        let mut services = self.shared.services();
        if let Some(service) = services.get_mut(&self.claim.place) {
            service.writer = service.writer.filter(|(_, connections)| *connections > 1).map(|(s, n)| (s, n - 1));
            if service.is_free() {
                services.remove(&self.claim.place);
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Service {
    fn is_free(&self) -> bool {
        self.held.is_empty() && self.writer.is_none()
    }
}

impl Shared {
    fn services(&self) -> MutexGuard<'_, HashMap<(TargetName, ServiceName), Service>> {
        // No change under this lock can stop halfway.
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(session: usize) -> Claim {
        Claim {
            place: ("plc-7".parse().unwrap(), "modbus".parse().unwrap()),
            session: format!("s_{session:026}").parse().unwrap(),
            grant: format!("r_{session:026}").parse().unwrap(),
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Take(usize),
        Leave(usize),
        Write(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..3usize).prop_map(Step::Take),
            (0..9usize).prop_map(Step::Leave),
            (0..9usize).prop_map(Step::Write)
        ]
    }

    proptest! {
        /// Against a list of who is connected: never more than `max`, never two sessions that write, and nothing is held by
        /// nobody.
        #[test]
        fn as_many_connect_as_may_and_one_session_writes(max in 1..4usize, steps in prop::collection::vec(step(), 0..60)) {
            let slots = Slots::default();
            let mut connected: Vec<(usize, Slot, Pen, bool)> = Vec::new();
            for step in steps {
                match step {
                    Step::Take(session) => {
                        let taken = slots.try_take(&claim(session), max);
                        prop_assert_eq!(taken.is_ok(), connected.len() < max);
                        if let Ok(slot) = taken {
                            connected.push((session, slot, slots.pen(&claim(session)), false));
                        }
                    }
                    Step::Leave(which) if which < connected.len() => drop(connected.remove(which)),
                    Step::Write(which) if which < connected.len() => {
                        let session = connected[which].0;
                        let others = connected.iter().any(|(other, _, _, writes)| *writes && *other != session);
                        let may = connected[which].2.take();
                        prop_assert_eq!(may, !others);
                        connected[which].3 |= may;
                    }
                    Step::Leave(_) | Step::Write(_) => {}
                }
            }
            connected.clear();
            prop_assert!(slots.0.services().is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_full_says_whose_the_connections_are() {
        let slots = Slots::default();
        let _first = slots.take(&claim(1), 1).await.unwrap();
        let own = slots.take(&claim(1), 1).await.err().unwrap().to_string();
        assert_eq!(
            own,
            "plc-7 takes 1 connection at once, and it is in use; one is yours. Close it, or ask the control room to release it"
        );
        let others = slots.take(&claim(2), 1).await.err().unwrap().to_string();
        assert!(others.ends_with("in use, by others. Try again later, or ask the control room"), "{others}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_ends_just_now_is_waited_for() {
        let slots = Slots::default();
        let first = slots.take(&claim(1), 1).await.unwrap();
        let ending = async {
            tokio::time::sleep(ENDS_WITHIN / 2).await;
            drop(first);
        };
        let next = claim(2);
        let (second, ()) = tokio::join!(slots.take(&next, 1), ending);
        assert!(second.is_ok());
    }

    #[tokio::test]
    async fn an_operator_frees_the_places_of_one_session() {
        let slots = Slots::default();
        let (first, second) = (slots.take(&claim(1), 2).await.unwrap(), slots.take(&claim(2), 2).await.unwrap());
        assert_eq!(slots.release(claim(1).session), 1);
        first.released().await;
        assert!(!second.held.released.is_cancelled());
    }
}

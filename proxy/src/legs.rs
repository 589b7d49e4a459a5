//! The connections of one session towards its target, whatever is spoken over them: what all of them stand on, and how
//! they are ended together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

use approver::lease::Lease;
use policies::ids::TargetName;
use tokio_util::sync::CancellationToken;

use crate::flow::{Moment, Valve};

/// A session's legs: none is made once its lease is given back, or once they were cut.
#[derive(Debug)]
pub struct Legs {
    lease: Weak<Lease>,
    target: TargetName,
    valves: Mutex<Vec<Weak<Valve>>>,
    written: Arc<Moment>,
    ended_at: OnceLock<Instant>,
    over: CancellationToken,
    has_reached: AtomicBool,
    has_missed: AtomicBool,
}

/// There is no leg any more: the lease was given back, or the legs were cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the connection to {0} was cut")]
pub struct NoMoreLegs(pub String);

impl Legs {
    /// None yet.
    pub fn new(lease: &Arc<Lease>) -> Self {
        Self {
            lease: Arc::downgrade(lease),
            target: lease.target().clone(),
            valves: Mutex::default(),
            written: Arc::default(),
            ended_at: OnceLock::new(),
            over: CancellationToken::new(),
            has_reached: AtomicBool::new(false),
            has_missed: AtomicBool::new(false),
        }
    }

    /// The valve of one more leg, and the lease by which it is dialled.
    ///
    /// # Errors
    /// There are to be no more.
    pub fn one_more(&self) -> Result<(Arc<Lease>, Arc<Valve>), NoMoreLegs> {
        let valve = Arc::new(Valve::noting(Arc::clone(&self.written)));
        {
            let mut valves = self.valves();
            valves.retain(|valve| valve.strong_count() > 0);
            valves.push(Arc::downgrade(&valve));
        }
        // The flag is read after the valve is listed, and set before the list is read: no connection slips through.
        Ok((self.lease()?, valve))
    }

    /// What every leg stands on: not given back, and not cut.
    ///
    /// # Errors
    /// There are to be no more.
    pub fn lease(&self) -> Result<Arc<Lease>, NoMoreLegs> {
        let lease = self.lease.upgrade().filter(|_| !self.is_cut());
        lease.ok_or_else(|| NoMoreLegs(self.target.to_string()))
    }

    /// Remembers what dialling for one came to, and gives it back.
    ///
    /// # Errors
    /// As the outcome.
    pub fn dialled<T, E>(&self, outcome: Result<T, E>) -> Result<T, E> {
        let noted = if outcome.is_ok() { &self.has_reached } else { &self.has_missed };
        noted.store(true, Ordering::Release);
        outcome
    }

    /// Whether the target was dialled, and never reached.
    pub fn reached_nobody(&self) -> bool {
        self.has_missed.load(Ordering::Acquire) && !self.has_reached.load(Ordering::Acquire)
    }

    /// Where they lead.
    pub fn target(&self) -> &TargetName {
        &self.target
    }

    /// Ends every leg now, without a word to the target, and lets no more be made: after this returns no byte is written to
    /// it, and what the kernel still holds is thrown away.
    pub fn cut(&self) {
        self.end(Valve::cut);
    }

    /// Ends every leg in TCP's order, and lets no more be made: after this returns no byte is taken for it, what the kernel
    /// holds goes out, and the target reads its end. A controller frees its place by that at once.
    pub fn hang_up(&self) {
        self.end(Valve::hang_up);
    }

    fn end(&self, how: fn(&Valve)) {
        self.ended_at.get_or_init(Instant::now);
        self.valves().iter().filter_map(Weak::upgrade).for_each(|valve| how(&valve));
        self.over.cancel();
    }

    /// Whether they were ended.
    pub fn is_cut(&self) -> bool {
        self.cut_at().is_some()
    }

    /// When they were ended first.
    pub fn cut_at(&self) -> Option<Instant> {
        self.ended_at.get().copied()
    }

    /// Completes when they were ended.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }

    /// When a byte last went into a socket of these legs.
    pub fn written(&self) -> &Arc<Moment> {
        &self.written
    }

    fn valves(&self) -> MutexGuard<'_, Vec<Weak<Valve>>> {
        // No change under this lock can stop halfway.
        self.valves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

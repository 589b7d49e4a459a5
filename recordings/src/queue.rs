//! The line before the log's writer: everyone pushes, it alone takes. Bounded, because each session bounds what it has
//! in it, sessions are counted, and appends are awaited one by one.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use policies::ids::SessionId;

use crate::block::Keyframe;
use crate::disk::Machine;
use crate::fault::{AppendFault, StoreFault};
use crate::frame::Fact;
use crate::leaf::Leaf;
use crate::log::{Head, Timed};
use crate::session::{LineShared, Opening, Seal, SealedSession, SessionShared, SessionWriter, lock};

/// Something for the writer to do.
pub(crate) enum Work {
    Data {
        session: Arc<SessionShared>,
        line: Arc<LineShared>,
        bytes: Bytes,
        cost: u64,
        position: u64,
    },
    Fact {
        session: Arc<SessionShared>,
        fact: Fact,
        channel: u32,
        bytes: Bytes,
        cost: u64,
        reply: Reply<()>,
    },
    /// Screens for the block that the session's next frame begins.
    Keyframes {
        session: Arc<SessionShared>,
        keyframes: Vec<Keyframe>,
        cost: u64,
    },
    Open {
        opening: Opening,
        reply: Reply<SessionWriter>,
    },
    Seal {
        session: u64,
        seal: Seal,
        reply: Reply<SealedSession>,
    },
    Abandon {
        session: u64,
    },
    Append {
        after: Head,
        entries: Vec<Timed>,
        reply: oneshot::Sender<Result<Head, AppendFault>>,
    },
    /// A leaf about a recording that exists.
    Keeping {
        recording: SessionId,
        leaf: Leaf,
        reply: Reply<u64>,
    },
    /// Whether no frame of a recording is in segments alone.
    Settled {
        recording: SessionId,
        reply: Reply<bool>,
    },
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreFault>>;

impl Work {
    /// Tells whoever waits for it that it will not be done.
    pub(crate) fn refuse(self, fault: &StoreFault) {
        match self {
            Self::Data { session, .. } => session.fail(fault),
            Self::Fact { session, reply, .. } => {
                session.fail(fault);
                answer(reply, Err(fault.clone()));
            }
            Self::Open { reply, .. } => answer(reply, Err(fault.clone())),
            Self::Seal { reply, .. } => answer(reply, Err(fault.clone())),
            Self::Abandon { .. } | Self::Keyframes { .. } => {}
            Self::Append { reply, .. } => answer(reply, Err(fault.clone().into())),
            Self::Keeping { reply, .. } => answer(reply, Err(fault.clone())),
            Self::Settled { reply, .. } => answer(reply, Err(fault.clone())),
        }
    }
}

/// Gives an answer to whoever still waits for it.
pub(crate) fn answer<T>(reply: oneshot::Sender<T>, answer: T) {
    drop(reply.send(answer));
}

/// Work and when it was pushed.
pub(crate) struct Stamped {
    pub(crate) nanos: u64,
    pub(crate) work: Work,
}

pub(crate) struct Queue {
    machine: Arc<dyn Machine>,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    works: VecDeque<Stamped>,
    stopping: bool,
    closed: Option<StoreFault>,
    /// Somebody beside the line has something for the writer.
    nudged: bool,
}

/// What the writer is to do next.
pub(crate) enum Next {
    Work,
    Stop,
    /// Somebody else closed the line.
    Fail(StoreFault),
}

impl Queue {
    pub(crate) fn new(machine: Arc<dyn Machine>) -> Self {
        Self { machine, waiting: Mutex::default(), changed: Condvar::new() }
    }

    pub(crate) fn now(&self) -> u64 {
        self.machine.monotonic_nanos()
    }

    /// Puts work last in line. Its time is taken there, so that times and order agree.
    pub(crate) fn push(&self, work: Work) -> Result<(), StoreFault> {
        let mut waiting = lock(&self.waiting);
        if let Some(fault) = &waiting.closed {
            return Err(fault.clone());
        }
        if waiting.stopping {
            return Err(StoreFault::Stopped);
        }
        waiting.works.push_back(Stamped { nanos: self.machine.monotonic_nanos(), work });
        // Whoever is woken while this is held only waits again.
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// As `push`, for whom nobody waits any more: a closed log has sealed or lost the session already.
    pub(crate) fn push_last(&self, work: Work) {
        drop(self.push(work));
    }

    /// Wakes the writer, who is to look beside the line.
    pub(crate) fn nudge(&self) {
        lock(&self.waiting).nudged = true;
        self.changed.notify_one();
    }

    /// No more is taken; what is in line is still done.
    pub(crate) fn stop(&self) {
        lock(&self.waiting).stopping = true;
        self.changed.notify_one();
    }

    /// No more is taken, and what is in line is refused.
    pub(crate) fn close(&self, fault: &StoreFault) {
        let mut waiting = lock(&self.waiting);
        waiting.closed.get_or_insert_with(|| fault.clone());
        let refused = std::mem::take(&mut waiting.works);
        drop(waiting);
        self.changed.notify_all();
        refused.into_iter().for_each(|stamped| stamped.work.refuse(fault));
    }

    /// Waits until no more is taken and the writer is through.
    pub(crate) fn wait_closed(&self) {
        let is_open = |waiting: &mut Waiting| waiting.closed.is_none();
        drop(self.changed.wait_while(lock(&self.waiting), is_open).unwrap_or_else(PoisonError::into_inner));
    }

    /// Why no more is taken.
    pub(crate) fn fault(&self) -> Option<StoreFault> {
        lock(&self.waiting).closed.clone()
    }

    /// How much is in line.
    pub(crate) fn len(&self) -> usize {
        lock(&self.waiting).works.len()
    }

    /// Everything in line.
    pub(crate) fn take(&self) -> VecDeque<Stamped> {
        std::mem::take(&mut lock(&self.waiting).works)
    }

    /// Waits until there is work, the line is stopped and empty, or the time is over.
    pub(crate) fn wait(&self, at_most: Duration) -> Next {
        let idle = |waiting: &mut Waiting| {
            waiting.works.is_empty() && !waiting.stopping && !waiting.nudged && waiting.closed.is_none()
        };
        let (mut waiting, _) =
            self.changed.wait_timeout_while(lock(&self.waiting), at_most, idle).unwrap_or_else(PoisonError::into_inner);
        waiting.nudged = false;
        match &waiting.closed {
            Some(fault) => Next::Fail(fault.clone()),
            None if waiting.stopping && waiting.works.is_empty() => Next::Stop,
            None => Next::Work,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealMachine;

    #[test]
    fn a_closed_line_says_why() {
        let queue = Queue::new(Arc::new(RealMachine));
        queue.close(&StoreFault::Stopped);
        assert_eq!(queue.push(Work::Abandon { session: 1 }), Err(StoreFault::Stopped));
    }
}

//! Lanes: one thread for each core, and all tasks of a connection on one of them. Its legs, its relay and its session hand
//! bytes to each other without waking another core, which is what a key and its echo would wait for, and a copy pays for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::task::TaskTracker;

/// Threads that carry connections until the tracker's last task has ended. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lanes {
    lanes: Arc<[Lane]>,
    tracker: TaskTracker,
}

#[derive(Debug)]
struct Lane {
    runtime: Handle,
    carried: Arc<AtomicUsize>,
}

impl Lanes {
    /// Starts a lane for each core.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(tracker: &TaskTracker) -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let lanes = (0..count).map(|number| Lane::start(number, tracker.clone())).collect::<io::Result<_>>()?;
        Ok(Self { lanes, tracker: tracker.clone() })
    }

    /// Runs what `begin` makes on the lane that carries least, as a task of the tracker's. `begin` runs there too, so that
    /// its sockets are that lane's.
    pub fn carry<F>(&self, begin: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let carried = |lane: &&Lane| lane.carried.load(Ordering::Relaxed);
        let lane = self.lanes.iter().min_by_key(carried).expect("there is a core, and so a lane");
        let place = Place::take(&lane.carried);
        let work = self.tracker.track_future(async move {
            let _place = place;
            begin().await;
        });
        drop(lane.runtime.spawn(work));
    }
}

impl Lane {
    fn start(number: usize, tracker: TaskTracker) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let lane = Self { runtime: runtime.handle().clone(), carried: Arc::default() };
        let run = move || runtime.block_on(tracker.wait());
        thread::Builder::new().name(format!("lane-{number}")).spawn(run)?;
        Ok(lane)
    }
}

/// A connection's place on a lane.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(carried: &Arc<AtomicUsize>) -> Self {
        carried.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(carried))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn connections_are_spread_over_the_lanes_and_the_last_one_ends_them() {
        let tracker = TaskTracker::new();
        let lanes = Lanes::start(&tracker).unwrap();
        let (hold, held) = tokio::sync::watch::channel(());
        let (tell, told) = mpsc::channel();
        for _ in 0..lanes.lanes.len() * 2 {
            let (mut held, tell) = (held.clone(), tell.clone());
            lanes.carry(move || async move {
                tell.send(thread::current().name().map(str::to_owned)).unwrap();
                let _ended = held.changed().await;
            });
        }
        let mut names: Vec<_> = told.iter().take(lanes.lanes.len() * 2).collect();
        names.sort();
        let expected: Vec<_> = (0..lanes.lanes.len()).flat_map(|lane| [lane, lane]).collect();
        assert_eq!(names, expected.iter().map(|lane| Some(format!("lane-{lane}"))).collect::<Vec<_>>());
        drop(hold);
        tracker.close();
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            tokio::time::timeout(Duration::from_secs(30), tracker.wait()).await.expect("all have ended");
        });
        assert!(lanes.lanes.iter().all(|lane| lane.carried.load(Ordering::Relaxed) == 0));
    }
}

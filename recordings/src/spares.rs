//! Zero-filled segments that lie ready, made by a thread beside the writer. Filling competes with the writer for the
//! disk, so it happens before a segment is needed. While none lies ready, as at the start and when a copy outruns the
//! filling, space is allocated and not filled: as quick for who waits, with a longer tail.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::disk::{Disk, DiskFile};
use crate::fault::Cause;
use crate::segment::file_name;
use crate::session::lock;

/// A segment's number and its file, zero throughout and durable under its name.
pub(crate) type Spare = (u64, Box<dyn DiskFile>);

/// Why there is no spare.
#[derive(Debug, Clone)]
pub(crate) enum SpareFault {
    /// The disk or a quota is full. Nothing that was written is in doubt.
    Full,
    /// The disk failed.
    Failed(Cause),
}

/// Makes spares, one after the other.
pub(crate) struct Maker {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) next: u64,
    pub(crate) bytes: u64,
}

impl Maker {
    /// Fills a file under another name, so that no segment is ever seen half filled; only allocates what is left of it
    /// as soon as it is wanted.
    fn make(&mut self, wanted: impl Fn() -> bool) -> Result<Spare, SpareFault> {
        let path = self.dir.join(file_name(self.next));
        let unfinished = path.with_extension("tmp");
        let made = self.fill(&unfinished, &path, wanted);
        match made {
            Ok(file) => {
                self.next += 1;
                Ok((self.next - 1, file))
            }
            Err(error) => {
                // What is left of it goes at the next start, if not now.
                drop(self.disk.remove(&unfinished));
                Err(match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SpareFault::Full,
                    _ => SpareFault::Failed(Cause::new("fill", &path, &error)),
                })
            }
        }
    }

    fn fill(&self, unfinished: &Path, path: &Path, wanted: impl Fn() -> bool) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.create(unfinished)?;
        let filled = fill_zeros(&*file, 0, self.bytes, wanted)?;
        if filled < self.bytes {
            match file.allocate(self.bytes) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    fill_zeros(&*file, filled, self.bytes, || false)?;
                }
                allocated => allocated?,
            }
        }
        file.sync_data()?;
        self.disk.rename(unfinished, path)?;
        self.disk.sync_dir(&self.dir)?;
        Ok(file)
    }
}

/// Really written, so that a later sync has no metadata to write. Gives how far it came before it was to stop.
fn fill_zeros(file: &dyn DiskFile, from: u64, to: u64, stop: impl Fn() -> bool) -> io::Result<u64> {
    let mut filled = from;
    while filled < to && !stop() {
        let part = (to - filled).min(PART_BYTES);
        file.write_zeros_at(part, filled)?;
        filled += part;
    }
    Ok(filled)
}

/// Large enough that calls cost nothing beside the writing, small enough to stop between two.
const PART_BYTES: u64 = 1 << 20;

/// The spares that lie ready, and who makes more.
pub(crate) struct Spares {
    shelf: Arc<Shelf>,
    thread: Option<JoinHandle<()>>,
}

struct Shelf {
    stock: Mutex<Stock>,
    changed: Condvar,
}

struct Stock {
    ready: VecDeque<Spare>,
    fault: Option<SpareFault>,
    maker: Option<Maker>,
    stopping: bool,
}

impl Spares {
    /// Keeps `count` spares ready, by a thread of its own. With 0 there is no thread, and each is made when it is
    /// asked for.
    pub(crate) fn new(maker: Maker, ready: VecDeque<Spare>, count: usize) -> io::Result<Self> {
        let stock = Stock { ready, fault: None, maker: None, stopping: false };
        let shelf = Arc::new(Shelf { stock: Mutex::new(stock), changed: Condvar::new() });
        if count == 0 {
            lock(&shelf.stock).maker = Some(maker);
            return Ok(Self { shelf, thread: None });
        }
        let theirs = Arc::clone(&shelf);
        let thread = std::thread::Builder::new().name("spares".into()).spawn(move || theirs.keep(count, maker))?;
        Ok(Self { shelf, thread: Some(thread) })
    }

    /// Takes a spare; waits while one is being made. A fault is told once: the next call tries again.
    pub(crate) fn take(&self) -> Result<Spare, SpareFault> {
        self.shelf.wait_ready().map(|mut stock| {
            let spare = stock.ready.pop_front().expect("wait_ready() returns when one is there");
            self.shelf.changed.notify_all();
            spare
        })
    }

    /// A handle for admission: whether a spare lies ready.
    pub(crate) fn watch(&self) -> SparesWatch {
        SparesWatch(Arc::clone(&self.shelf))
    }
}

/// See [`Spares::watch`].
#[derive(Clone)]
pub(crate) struct SparesWatch(Arc<Shelf>);

impl SparesWatch {
    /// Waits until one spare lies ready, or says why there is none.
    pub(crate) fn wait_ready(&self) -> Result<(), SpareFault> {
        self.0.wait_ready().map(drop)
    }

    /// How many lie ready.
    pub(crate) fn ready(&self) -> usize {
        lock(&self.0.stock).ready.len()
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        lock(&self.shelf.stock).stopping = true;
        self.shelf.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shelf {
    fn wait_ready(&self) -> Result<std::sync::MutexGuard<'_, Stock>, SpareFault> {
        let mut stock = lock(&self.stock);
        loop {
            if !stock.ready.is_empty() {
                return Ok(stock);
            }
            if let Some(fault) = stock.fault.take() {
                self.changed.notify_all();
                return Err(fault);
            }
            if stock.stopping {
                return Err(SpareFault::Full);
            }
            if let Some(maker) = &mut stock.maker {
                let spare = maker.make(|| true)?;
                stock.ready.push_back(spare);
                continue;
            }
            stock = self.changed.wait(stock).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn keep(&self, count: usize, mut maker: Maker) {
        loop {
            let enough = |stock: &mut Stock| !stock.stopping && (stock.ready.len() >= count || stock.fault.is_some());
            let stock = self.changed.wait_while(lock(&self.stock), enough).unwrap_or_else(PoisonError::into_inner);
            if stock.stopping {
                return;
            }
            drop(stock);
            let made = maker.make(|| lock(&self.stock).ready.is_empty());
            let mut stock = lock(&self.stock);
            match made {
                Ok(spare) => stock.ready.push_back(spare),
                Err(fault) => stock.fault = Some(fault),
            }
            drop(stock);
            self.changed.notify_all();
        }
    }
}

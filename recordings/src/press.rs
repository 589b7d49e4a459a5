//! Publishes a log beside its writer: tiles and bundles, then the checkpoint over them, as C2SP lays a log out, so that any
//! web server can hand it on and an auditor can check it with somebody else's program. All of it can be made again from the
//! segments; what it adds is the log's memory of itself: a log that is smaller than its checkpoint was set back.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::disk::Disk;
use crate::entries::{EntryReader, Snapshot};
use crate::fault::{Cause, OpenFault, StoreFault};
use crate::log::{Published, RetiredBelow, Signer};
use crate::queue::Queue;
use crate::recover::Found;
use crate::segment;
use crate::session::lock;
use crate::tlog::checkpoint::{BadCheckpoint, Checkpoint, SignedCheckpoint};
use crate::tlog::edge::Edge;
use crate::tlog::folder::{CHECKPOINT, Flaw, Folder, View};
use crate::tlog::publish::Publisher;
use crate::tlog::tile::Tile;
use crate::tree::leaf_hash;

/// A log that goes on is published so often.
const EVERY: Duration = Duration::from_secs(10);
/// However often it is asked for, there is a pause: each time takes some syncs of the same disk.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes a log's tiles and checkpoints.
pub(crate) struct Printer {
    publisher: Publisher,
    edge: Edge,
    origin: String,
    signer: Arc<dyn Signer>,
    folder: Folder,
    /// The partial tiles of the last checkpoint but one: whoever copies a running log may still read those of the last.
    stale: Vec<Tile>,
    partial: Vec<Tile>,
    /// Segments before this one were removed.
    first: u64,
    disk: Arc<dyn Disk>,
    dir: std::path::PathBuf,
}

impl Printer {
    /// Goes on where the run before stopped. A checkpoint that the log's segments do not bear out refuses; tiles that are
    /// damaged or missing are made again.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        origin: &str,
        signer: Arc<dyn Signer>,
        reader: &EntryReader,
        found: &Found,
    ) -> Result<Self, OpenFault> {
        let folder = Folder::new(Arc::clone(disk), dir);
        let mut printer = Self {
            publisher: Publisher::new(folder.clone()),
            edge: Edge::default(),
            origin: origin.to_owned(),
            signer,
            folder,
            stale: Vec::new(),
            partial: Vec::new(),
            first: 0,
            disk: Arc::clone(disk),
            dir: dir.to_owned(),
        };
        match printer.last_checkpoint()? {
            Some(checkpoint) => printer.take_up(&checkpoint, reader, found)?,
            None => printer.edge = printer.edge_before(found)?,
        }
        Ok(printer)
    }

    fn last_checkpoint(&self) -> Result<Option<Checkpoint>, OpenFault> {
        let path = self.dir.join(CHECKPOINT);
        let bytes = match crate::disk::read(&*self.disk, &path) {
            Ok(bytes) => bytes,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenFault::Io(Cause::new("read", &path, &error))),
        };
        let verifiers = [self.signer.verifier(&self.origin)?];
        let signed = SignedCheckpoint::open(&bytes, &verifiers);
        let refuse = |why: BadCheckpoint| OpenFault::Checkpoint { path: path.clone(), why: why.to_string() };
        let checkpoint = signed.map_err(refuse)?.checkpoint().clone();
        let ours = checkpoint.origin == self.origin;
        if ours { Ok(Some(checkpoint)) } else { Err(refuse(BadCheckpoint::OtherLog { origin: checkpoint.origin })) }
    }

    /// The edge at the last checkpoint, which must be one this log had.
    fn take_up(&mut self, checkpoint: &Checkpoint, reader: &EntryReader, found: &Found) -> Result<(), OpenFault> {
        let path = self.dir.join(CHECKPOINT);
        let size = found.state.tree.size();
        if checkpoint.size > size {
            return Err(OpenFault::SetBack { path, published: checkpoint.size, found: size });
        }
        let Some(last) = checkpoint.size.checked_sub(1) else { return Ok(()) };
        let snapshot = Snapshot::new(size, found.state.end.offset, found.extents.clone());
        let forked = || OpenFault::Forked { path: path.clone(), size: checkpoint.size };
        match View::open(self.folder.clone(), checkpoint).and_then(|mut view| Ok((view.entry(last)?, view.edge()?))) {
            Ok((entry, edge)) => {
                // An entry names the one before by its hash, so that one tells of all.
                let entries = reader.read(last, &snapshot)?;
                let same = entries.first().is_some_and(|first| first.index == last && first.hash == leaf_hash(&entry));
                self.edge = edge;
                if same { Ok(()) } else { Err(forked()) }
            }
            Err(fault) => {
                tracing::warn!(%fault, "tiles of the log in {} are made again", self.dir.display());
                self.edge = self.edge_before(found)?;
                let mut edge = self.edge.clone();
                for entry in reader.read(edge.size(), &snapshot)?.iter().take_while(|entry| entry.index <= last) {
                    drop(edge.push(&entry.leaf()));
                }
                if edge.root() == checkpoint.root { Ok(()) } else { Err(forked()) }
            }
        }
    }

    /// The edge before the first segment that there is. What was in those before it is in tiles alone.
    fn edge_before(&self, found: &Found) -> Result<Edge, OpenFault> {
        let before = found.tree_before();
        let (size, root) = (before.size(), before.root());
        if size == 0 {
            return Ok(Edge::default());
        }
        let checkpoint = Checkpoint { origin: self.origin.clone(), size, root };
        let edge = View::open(self.folder.clone(), &checkpoint).and_then(|mut view| view.edge());
        edge.map_err(|fault| match fault.flaw {
            Flaw::Unreadable(why) => OpenFault::Io(Cause::told("read", &self.dir.join(&fault.path), &why)),
            _ => OpenFault::TilesLost { dir: self.dir.clone(), fault: fault.to_string() },
        })
    }

    /// Publishes what is durable, and removes the segments of which a checkpoint says that they are retired.
    pub(crate) fn print(&mut self, reader: &EntryReader, published: &Mutex<Published>) -> io::Result<()> {
        let RetiredBelow { first, size } = lock(published).retired;
        self.publish(reader, published)?;
        lock(published).checkpointed = self.edge.size();
        if first > self.first && self.edge.size() >= size {
            self.remove_segments(first)?;
            lock(published).extents.retain(|extent| extent.segment >= first);
        }
        Ok(())
    }

    /// In order, so that a crash between leaves no gap.
    fn remove_segments(&mut self, first: u64) -> io::Result<()> {
        let dir = segment::segments_dir(&self.dir);
        let mut numbers: Vec<u64> = self.disk.list(&dir)?.iter().filter_map(|name| segment::number_of(name)).collect();
        numbers.sort_unstable();
        for number in numbers.into_iter().take_while(|number| *number < first) {
            self.disk.remove(&dir.join(segment::file_name(number)))?;
            self.disk.sync_dir(&dir)?;
        }
        self.first = first;
        Ok(())
    }

    /// Tiles are durable before the checkpoint is.
    fn publish(&mut self, reader: &EntryReader, published: &Mutex<Published>) -> io::Result<()> {
        let since = self.edge.size();
        let entries = reader.follow(since, published).map_err(io::Error::other)?;
        if entries.is_empty() {
            return Ok(());
        }
        let mut edge = self.edge.clone();
        let mut tiles = Vec::new();
        for entry in &entries {
            tiles.extend(edge.push(&entry.leaf()).map_err(io::Error::other)?);
        }
        let full: Vec<Tile> = tiles.iter().map(|(tile, _)| *tile).collect();
        let partial = edge.partial(since);
        let now_partial: Vec<Tile> = partial.iter().map(|(tile, _)| *tile).collect();
        tiles.extend(partial);
        self.publisher.tiles(&tiles)?;
        let checkpoint = Checkpoint { origin: self.origin.clone(), size: edge.size(), root: edge.root() };
        let signed = checkpoint.sign(&*self.signer).map_err(io::Error::other)?;
        self.publisher.checkpoint(CHECKPOINT, &signed)?;
        self.edge = edge;
        full.iter().try_for_each(|tile| self.publisher.remove_partials(tile))?;
        let before = std::mem::replace(&mut self.partial, now_partial);
        let stale = std::mem::replace(&mut self.stale, before);
        // One of a higher level stays the same through many checkpoints, and belongs to each of them.
        let is_current = |tile: &&Tile| Tile::in_log(tile.kind(), tile.index(), self.edge.size()) == Some(**tile);
        stale.iter().filter(|tile| !is_current(tile)).try_for_each(|tile| self.remove(tile))
    }

    fn remove(&self, tile: &Tile) -> io::Result<()> {
        match self.disk.remove(&self.dir.join(tile.to_string())) {
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// A printer on a thread of its own, which publishes once more when it is stopped or dropped.
pub(crate) struct Press {
    bell: Bell,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Rings when there is something that should not wait to be published.
#[derive(Clone, Default)]
pub(crate) struct Bell(Arc<(Mutex<Wanted>, Condvar)>);

#[derive(Default)]
struct Wanted {
    soon: bool,
    stopping: bool,
}

impl Bell {
    pub(crate) fn ring(&self) {
        lock(&self.0.0).soon = true;
        self.0.1.notify_all();
    }

    fn stop(&self) {
        lock(&self.0.0).stopping = true;
        self.0.1.notify_all();
    }

    /// Waits so long at most, or until it is over, or rung if that counts; whether it is over.
    fn wait(&self, at_most: Duration, may_be_rung: bool) -> bool {
        let waits = |wanted: &mut Wanted| !(wanted.stopping || may_be_rung && wanted.soon);
        let waited = self.0.1.wait_timeout_while(lock(&self.0.0), at_most, waits);
        let (mut wanted, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if may_be_rung {
            wanted.soon = false;
        }
        wanted.stopping
    }
}

/// What a printer reads from, and whom it tells of a disk that fails.
type Parts = (Arc<EntryReader>, Arc<Mutex<Published>>, Arc<Queue>);

impl Press {
    pub(crate) fn start(mut printer: Printer, (reader, published, queue): Parts) -> io::Result<Self> {
        let bell = Bell::default();
        let rung = bell.clone();
        let run = move || {
            let mut is_over = false;
            while !is_over {
                is_over = rung.wait(EVERY, true);
                match printer.print(&reader, &published) {
                    Ok(()) => {}
                    Err(full) if crate::fault::is_full(&full) => {
                        tracing::warn!(cause = %full, "a log could not be published now");
                    }
                    Err(error) => {
                        queue.close(&StoreFault::Poisoned(Cause::new("publish", &printer.dir, &error)));
                        return;
                    }
                }
                is_over = is_over || rung.wait(PAUSE, false);
            }
            if let Err(error) = printer.print(&reader, &published) {
                tracing::warn!(cause = %error, "a log could not be published at its end");
            }
        };
        let thread = std::thread::Builder::new().name("press".to_owned()).spawn(run)?;
        Ok(Self { bell, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Publishes once more and no more. Blocks until that is done.
    pub(crate) fn stop(&self) {
        self.bell.stop();
        if let Some(thread) = lock(&self.thread).take() {
            drop(thread.join());
        }
    }
}

impl Drop for Press {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Instant;

    use super::*;
    use crate::disk::Machine as _;
    use crate::log::{Log, LogOptions, Purpose};
    use crate::sim::{SimDisk, SimMachine, SimSigner};

    #[test]
    fn a_full_disk_keeps_nothing_from_being_appended_and_is_published_when_there_is_room() {
        let (disk, machine) = (SimDisk::new(1), SimMachine::new(1));
        let (at, signer) = (Path::new("/data/journal"), Arc::new(SimSigner::new(1)));
        let options = LogOptions::new(Purpose::Journal, "mill-3/journal", "gate-1".parse().unwrap());
        let options = LogOptions { segment_bytes: 16 << 10, spares: 0, ..options };
        let (log, _) = Log::open(Arc::new(disk.clone()), Arc::new(machine.clone()), at, options, signer).unwrap();
        let append = || {
            let mut appended = pin!(log.append(log.head(), vec![b"entry".to_vec()], machine.wall()));
            loop {
                if let Poll::Ready(head) = appended.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    break head.unwrap();
                }
                std::thread::yield_now();
            }
        };
        // The segment has room, and no file can be made beside it.
        disk.set_free(0);
        append();
        let deadline = Instant::now() + Duration::from_secs(60);
        while disk.refused_writes() == 0 {
            assert!(Instant::now() < deadline, "nothing is published: {:?}", log.status().fault);
            std::thread::yield_now();
        }
        append();
        assert_eq!(log.published_entries(), 0);
        disk.set_free(1 << 20);
        log.stop();
        assert_eq!(log.published_entries(), 2);
    }
}

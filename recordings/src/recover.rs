//! Opening a folder: its lock and format, then what the run before left in the last segment. A torn tail was never
//! acknowledged and is normal; a hole before something that was, is damage, and refuses. Nothing is truncated, and
//! nothing is written but the last batch again, as it was. Comparing the head with what others remember of it
//! comes with checkpoints.

use std::collections::VecDeque;
use std::path::Path;

use certs::log_key::BadVerifier;

use crate::disk::{self, Disk};
use crate::fault::{Cause, OpenFault};
use crate::frame::{self, Flaw, Kind, RawFrame};
use crate::leaf::{Anchor, Entry, Leaf, Position};
use crate::log::{Before, CrashedSession, Extent, LogOptions, Purpose, Recovery, Signer};
use crate::read::{Format, Number};
use crate::segment::{
    self, OpenSession, SegmentFile, SegmentHead, SegmentState, SegmentsFault, damaged, lost, sworn_beyond,
};
use crate::state::State;
use crate::tree::Tree;

/// Makes the folder where there is none, takes its lock, and checks that it is this log's.
pub(crate) fn claim(
    disk: &dyn Disk,
    dir: &Path,
    options: &LogOptions,
    signer: &dyn Signer,
) -> Result<Box<dyn Send + Sync>, OpenFault> {
    let io = |doing, path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| OpenFault::Io(Cause::new(doing, &path, &error))
    };
    let segments = segment::segments_dir(dir);
    disk.create_dir(&segments).map_err(io("create", &segments))?;
    let lock = disk.lock(&dir.join("LOCK")).map_err(io("lock", dir))?;
    let lock = lock.ok_or_else(|| OpenFault::InUse(dir.to_owned()))?;
    if let Some(kind) = disk.unsuited(&segments).map_err(io("look at the file system of", dir))?
        && !options.file_systems_allowed.iter().any(|allowed| allowed == kind)
    {
        return Err(OpenFault::Unsuited { path: dir.to_owned(), kind });
    }
    check_format(disk, dir, options, signer)?;
    for made in [&segments, dir].into_iter().chain(dir.parent()) {
        disk.sync_dir(made).map_err(io("sync", made))?;
    }
    Ok(lock)
}

/// The file that says what log this is; a reader that does not know its first line goes no further.
pub const FORMAT: &str = "FORMAT";

fn format_text(options: &LogOptions, signer: &dyn Signer) -> Result<String, BadVerifier> {
    let LogOptions { origin, node, .. } = options;
    let number = if options.says_copied { Number::Two } else { Number::One };
    Ok(format!("{}\n{origin}\n{node}\n{}\n", number.line(), signer.verifier(origin)?))
}

fn check_format(disk: &dyn Disk, dir: &Path, options: &LogOptions, signer: &dyn Signer) -> Result<(), OpenFault> {
    let path = dir.join(FORMAT);
    let io = |doing| {
        let path = path.clone();
        move |error: std::io::Error| OpenFault::Io(Cause::new(doing, &path, &error))
    };
    let expected = format_text(options, signer)?;
    let unfinished = dir.join("FORMAT.tmp");
    let write = |text: &str| -> Result<(), OpenFault> {
        if disk.list(dir).map_err(io("list"))?.iter().any(|name| name == "FORMAT.tmp") {
            disk.remove(&unfinished).map_err(io("remove what is left of"))?;
        }
        let file = disk.create(&unfinished).map_err(io("create"))?;
        file.write_at(text.as_bytes(), 0).and_then(|()| file.sync_data()).map_err(io("write"))?;
        disk.rename(&unfinished, &path).map_err(io("name"))
    };
    match disk::read(disk, &path) {
        Ok(found) => match is_this(&found, &expected) {
            Some(format) if options.says_copied && format.number == Number::One => {
                write(&Format { number: Number::Two, ..format }.to_string())
            }
            Some(_) => Ok(()),
            None => Err(other_log(path.clone(), &expected, &String::from_utf8_lossy(&found))),
        },
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {
            if !segment::segments(disk, dir)?.is_empty() {
                return Err(SegmentsFault::Missing(path.clone()).into());
            }
            write(&expected)
        }
        Err(error) => Err(io("read")(error)),
    }
}

/// What the log says of itself, if it is this one. One that was restored says so behind that; of which format it is, is another
/// question.
fn is_this(found: &[u8], expected: &str) -> Option<Format> {
    let format = Format::parse(found)?;
    let plain = |format: Format| Format { restored: Vec::new(), number: Number::Two, ..format };
    (plain(format.clone()) == plain(Format::parse(expected.as_bytes())?)).then_some(format)
}

/// The first line that differs.
fn other_log(path: std::path::PathBuf, expected: &str, found: &str) -> OpenFault {
    let mut lines = expected.lines().zip(found.lines().chain(std::iter::repeat("")));
    let (expected, found) = lines.find(|(expected, found)| expected != found).unwrap_or(("nothing more", found));
    OpenFault::OtherLog { path, expected: expected.to_owned(), found: found.chars().take(200).collect() }
}

/// What the run before left.
pub(crate) struct Found {
    pub(crate) state: State,
    pub(crate) before: Before,
    /// Every used segment.
    pub(crate) extents: Vec<Extent>,
    /// The entries before each of them, as its head says.
    pub(crate) trees: Vec<Tree>,
    /// Every used segment's end and the sessions that were open there, but for the last one's.
    pub(crate) ended: VecDeque<(Position, Vec<OpenSession>)>,
    /// Numbers of the segments that lie ready.
    pub(crate) spares: VecDeque<u64>,
    /// The number of the next segment to make.
    pub(crate) next: u64,
}

impl Found {
    /// The entries before the first segment that there is.
    pub(crate) fn tree_before(&self) -> Tree {
        self.trees.first().cloned().unwrap_or_default()
    }

    pub(crate) fn recovery(&self) -> Recovery {
        let crashed = self.state.live().map(|open| CrashedSession {
            recording: open.recording,
            session: open.session,
            frames: open.sequence,
        });
        Recovery { entries: self.state.tree.size(), before: self.before.clone(), crashed: crashed.collect() }
    }
}

/// Reads heads and the last segment's frames.
pub(crate) fn recover(disk: &dyn Disk, dir: &Path, purpose: Purpose) -> Result<Found, SegmentsFault> {
    remove_unfinished(disk, dir)?;
    let files = segment::segments(disk, dir)?;
    let spares = files.iter().filter(|file| file.state == SegmentState::Spare).map(|file| file.number).collect();
    let next = files.last().map_or(0, |last| last.number + 1);
    let used = || files.iter().filter_map(SegmentFile::used);
    let mut extents: Vec<Extent> =
        used().map(|(file, head, end)| Extent { segment: file.number, first_entry: head.tree.size(), end }).collect();
    let (state, before) = match used().next_back() {
        None => (State::empty(purpose), Before::Fresh),
        Some((file, head, _)) => read_tail(disk, file, head, purpose)?,
    };
    if let (Before::Crashed { offset, .. }, Some(last)) = (&before, extents.last_mut()) {
        last.end = Some(*offset);
    }
    if let Some(first) = files.first().filter(|first| first.number > state.first) {
        return Err(SegmentsFault::Missing(first.path.with_file_name(segment::file_name(state.first))));
    }
    let trees = used().map(|(_, head, _)| head.tree.clone()).collect();
    let ended = used().skip(1).map(|(_, head, _)| (head.after, head.open.clone())).collect();
    Ok(Found { state, before, extents, trees, ended, spares, next })
}

/// Segments that were being filled.
fn remove_unfinished(disk: &dyn Disk, dir: &Path) -> Result<(), SegmentsFault> {
    let segments = segment::segments_dir(dir);
    let io = |error| SegmentsFault::Io { path: segments.clone(), error };
    for name in disk.list(&segments).map_err(io)?.iter().filter(|name| name.ends_with(".tmp")) {
        disk.remove(&segments.join(name)).map_err(io)?;
    }
    disk.sync_dir(&segments).map_err(io)
}

fn read_tail(
    disk: &dyn Disk,
    file: &SegmentFile,
    head: &SegmentHead,
    purpose: Purpose,
) -> Result<(State, Before), SegmentsFault> {
    let bytes = segment::read(disk, &file.path)?;
    let tail = fold(&file.path, &bytes, head, purpose)?;
    make_durable(disk, &file.path, &bytes, &tail)?;
    let before = if tail.stopped && !tail.torn {
        Before::Stopped
    } else {
        Before::Crashed { segment: file.path.clone(), offset: tail.state.end.offset, torn: tail.torn }
    };
    Ok((tail.state, before))
}

/// A segment's frames, folded.
struct Tail {
    state: State,
    /// Where the last batch begins.
    batch: u64,
    /// Whether bytes lie behind the last frame that counts.
    torn: bool,
    /// Whether the last frame is an anchor after which none is due.
    stopped: bool,
}

fn fold(path: &Path, bytes: &[u8], head: &SegmentHead, purpose: Purpose) -> Result<Tail, SegmentsFault> {
    let first = frame::frame_at(bytes, 0).map_err(|flaw| damaged(path, 0, flaw.to_string()))?;
    let state = State::before(head, first.header.sequence, purpose);
    let mut tail = Tail { state, batch: 0, torn: false, stopped: false };
    let mut before_group: Option<State> = None;
    for frame in frame::frames(bytes) {
        match frame {
            Ok(frame) => {
                before_group = frame.header.continues.then(|| before_group.unwrap_or_else(|| tail.state.clone()));
                tail.apply(&frame).map_err(|why| damaged(path, frame.offset, why))?;
            }
            // Whole, with its checksum right: no crash leaves that in a file that is written once.
            Err(fault) if matches!(fault.flaw, Flaw::Chain | Flaw::Header) => {
                return Err(damaged(path, fault.offset, fault.flaw.to_string()));
            }
            Err(fault) => {
                if let Some(sworn) = usize::try_from(fault.offset).ok().and_then(|stop| sworn_beyond(bytes, stop)) {
                    return Err(damaged(path, fault.offset, lost(fault.flaw, sworn)));
                }
                tail.torn = true;
            }
        }
    }
    if let Some(state) = before_group {
        tail.state = state;
        tail.torn = true;
    }
    Ok(tail)
}

impl Tail {
    fn apply(&mut self, frame: &RawFrame<'_>) -> Result<(), String> {
        self.state.apply(frame)?;
        self.batch = u64::from(frame.header.batch);
        self.stopped = self.anchor_of(frame)?.is_some_and(|anchor| anchor.due_seconds == 0);
        Ok(())
    }

    /// The signed head that a frame holds: in a journal a frame of its own, in a record log a leaf.
    fn anchor_of(&self, frame: &RawFrame<'_>) -> Result<Option<Anchor>, String> {
        match frame.header.kind {
            Kind::Anchor => Ok(Some(Anchor::parse(frame.body)?)),
            Kind::Leaf if !self.state.is_a_journal => match Leaf::parse(&Entry::parse(0, frame.body)?.bytes)? {
                Leaf::Anchor(anchor) => Ok(Some(anchor)),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }
}

/// After a failed write the kernel may show from memory what the disk never got, and call it synced. So the last
/// batch, the only one that can be in doubt, is written once more, as it was.
fn make_durable(disk: &dyn Disk, path: &Path, bytes: &[u8], tail: &Tail) -> Result<(), SegmentsFault> {
    let (from, to) = (tail.batch as usize, tail.state.end.offset as usize);
    disk.open(path)
        .and_then(|file| {
            file.write_at(bytes.get(from..to).unwrap_or_default(), tail.batch)?;
            file.sync_data()
        })
        .map_err(|error| SegmentsFault::Io { path: path.to_owned(), error })
}

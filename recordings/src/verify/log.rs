//! One log, walked frame by frame: checksums, chain, batches, segments' heads, entries, the tree and the signed heads
//! over all of it. After damage it looks on behind it, so that what is untouched is not accused; the first thing wrong
//! is found first. What entries and session frames say goes to a [`Reader`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use certs::log_key::Verifier;
use jiff::Timestamp;
use policies::digest::Digest;

use super::heads::furthest;
use super::report::{Finding, FindingKind, Head, LogReport};
use super::{Context, Remembered};
use crate::disk::{Disk as _, RealDisk};
use crate::frame::{Flaw, FrameFault, Header, Kind, RawFrame};
use crate::leaf::{Anchor, Entry, Leaf, Position, Recovered, Retired, Statement, signed_bytes};
use crate::read::Number;
use crate::scan::{Scan, ScanFault};
use crate::segment::{self, OpenSession, SegmentHead};
use crate::state::NODE;
use crate::tlog::folder::View;
use crate::tlog::tile::{self, Tile};
use crate::tree::Tree;

/// What reads along.
pub(super) trait Reader {
    /// The next entry of the log. One that stands in a session is a frame of it, too.
    fn entry(&mut self, at: &At<'_>, entry: &Entry, context: &mut Context<'_>);
    /// The next frame of a session that is no entry.
    fn session_frame(&mut self, at: &At<'_>, frame: &RawFrame<'_>, context: &mut Context<'_>);
    /// The sessions that a segment's head says are open.
    fn heads_sessions(&mut self, at: &At<'_>, open: &[OpenSession], context: &mut Context<'_>);
    /// How many sessions are open.
    fn open_sessions(&self) -> usize;
    /// Entries are missing here.
    fn entries_lost(&mut self);
    /// The run before ended here without a word.
    fn crashed(&mut self);
}

/// Where the walk is.
pub(super) struct At<'a> {
    pub(super) place: &'a Place<'a>,
    /// All before this frame.
    pub(super) position: Position,
    /// What of all before this is known.
    pub(super) known: Before,
    /// The tree with this entry in it; none behind a gap.
    pub(super) tree: Option<&'a Tree>,
    /// The log's name at this entry.
    pub(super) origin: &'a str,
    /// Its key, where the auditor trusts one.
    pub(super) verifier: Option<&'a Verifier>,
}

/// A log's name, and from which entry on it has it: since its beginning, or since a restore.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) from: u64,
    pub(super) origin: String,
    /// Its key, where the auditor trusts one.
    pub(super) verifier: Option<Verifier>,
}

/// The name that a log has at an entry.
pub(super) fn name_at(names: &[Name], entry: u64) -> &Name {
    names.iter().rev().find(|name| name.from <= entry).unwrap_or(&names[0])
}

/// What of a log somebody remembers under the name it had before a restore, and what is not in it any more.
#[derive(Debug, Clone)]
pub(super) struct LostHead {
    /// Which of the log's names the head is of.
    pub(super) name: usize,
    pub(super) head: Remembered,
    /// What is wrong, if no restore says that so much is lost.
    pub(super) finding: Finding,
}

impl At<'_> {
    /// Something wrong here.
    pub(super) fn wrong(&self, kind: FindingKind, words: impl Into<String>) -> Finding {
        self.place.wrong(kind, words)
    }

    /// The frame's header; none of an entry whose segment is not here, and that was read from what the log published.
    pub(super) fn header(&self) -> Option<&Header> {
        self.place.header.as_ref()
    }
}

/// How much of what stands before a frame was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Every frame.
    Frames,
    /// Every entry.
    Entries,
    /// Not all.
    Gap,
}

/// A frame, or an entry in a bundle.
pub(super) struct Place<'a> {
    /// Below the folder that is checked.
    file: &'a Path,
    from: u64,
    until: Option<u64>,
    header: Option<Header>,
}

impl<'a> Place<'a> {
    const fn of_frame(file: &'a Path, frame: &RawFrame<'_>) -> Self {
        Self { file, from: frame.offset, until: Some(frame.end()), header: Some(frame.header) }
    }

    /// As of an entry in a bundle.
    #[cfg(test)]
    pub(super) const fn of_entry(file: &'a Path) -> Self {
        Self { file, from: 0, until: None, header: None }
    }

    fn wrong(&self, kind: FindingKind, words: impl Into<String>) -> Finding {
        let finding = Finding::new(kind, words).at(self.file, self.from);
        match self.until {
            Some(until) => finding.until(until),
            None => finding,
        }
    }

    fn altered(&self, words: impl Into<String>) -> Finding {
        self.wrong(FindingKind::Altered, words)
    }
}

/// A log's folder and what is known of it beforehand.
pub(super) struct Log<'a> {
    pub(super) dir: &'a Path,
    /// The same, below the folder that is checked.
    pub(super) relative: &'a Path,
    /// Its names, the first one first; at least one.
    pub(super) names: &'a [Name],
    /// Whether it may hold sessions, or is a journal.
    pub(super) has_sessions: bool,
    /// Of which format it says that it is.
    pub(super) number: Number,
    pub(super) remembered: Vec<Remembered>,
}

impl Log<'_> {
    fn name(&self) -> &Name {
        self.names.last().expect("a log has a name")
    }

    /// Up to which size a log of this name was the one that is here; none of its last name.
    fn until(&self, name: usize) -> Option<u64> {
        self.names.get(name + 1).map(|next| next.from)
    }

    fn name_of(&self, head: &Remembered) -> Option<usize> {
        self.names.iter().position(|name| name.origin == head.origin)
    }
}

/// How a log ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// In order.
    Stopped,
    /// As a gate leaves it that goes on: the last head is signed and promises another, and what follows it came before
    /// that was due.
    Open(OpenEnd),
    /// Otherwise; that is told.
    Cut,
}

/// Where and when a log goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenEnd {
    pub(super) file: PathBuf,
    pub(super) offset: u64,
    /// Its last signed head, by the wall clock.
    pub(super) signed: Timestamp,
    /// And by the one that counts from the machine's boot.
    pub(super) nanos: u64,
    /// How long after that the next one was due.
    pub(super) due_seconds: u16,
    /// How many entries the log had when the run began in which it ends: after its last crash or stop.
    pub(super) run_from: u64,
}

/// Walks a log from its first segment to its last. Entries of segments that are not here are read from what it published.
pub(super) fn walk(
    log: &Log<'_>,
    bundles: Option<View>,
    reader: &mut dyn Reader,
    context: &mut Context<'_>,
) -> (LogReport, End, Vec<LostHead>) {
    // A bucket has no segments: all that is there of a log is what it published.
    let files = if context.bucket { Vec::new() } else { files(log, context) };
    let mut walk = Walk::new(log, bundles, reader);
    if context.bucket {
        let size = walk.bundles.as_ref().map_or(0, View::size);
        walk.read_bundles_to(size, context);
        walk.known = Before::Entries;
    }
    for index in 0..files.len() {
        walk.file(&files, index, context);
    }
    walk.check_retired(&files, context);
    walk.finish(context)
}

/// A segment's file, by its first frame.
struct File {
    number: u64,
    path: PathBuf,
    relative: PathBuf,
    content: Content,
    /// Where the next used segment says that frames end.
    end: Option<u64>,
    /// Whether that next segment says that a torn batch lies behind.
    torn_behind: bool,
    /// Whether segments before it are not here, as in a part they need not be, and as they are retired.
    behind_gap: bool,
}

enum Content {
    Used(Box<SegmentHead>, Option<Recovered>),
    /// Only zeros.
    Spare,
    /// The first frame is not whole, and no later one swears that it was: what a crash leaves of a segment's beginning.
    Torn,
    /// The first frame is not whole, and others are.
    Damaged(Flaw),
}

/// The segments in order, gaps and strays told.
fn files(log: &Log<'_>, context: &mut Context<'_>) -> Vec<File> {
    let dir = segment::segments_dir(log.dir);
    let relative = log.relative.join("segments");
    let names = match RealDisk.list(&dir) {
        Ok(names) => names,
        Err(error) => {
            context.find(Finding::new(FindingKind::NotChecked, format!("cannot be read: {error}")).at(relative, 0));
            return Vec::new();
        }
    };
    let mut files = Vec::new();
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    for name in names.iter().filter(|name| number_of(name).is_none()) {
        stray(&dir, &relative, name, context);
    }
    let mut expected = 0;
    for number in numbers {
        let may_be_retired = files.is_empty();
        let behind_gap = log.has_sessions && (context.part.is_some() || may_be_retired) && expected < number;
        while expected < number && !behind_gap {
            let missing = relative.join(segment::file_name(expected));
            context.find(Finding::new(FindingKind::Missing, "a segment is missing").at(missing, 0));
            expected = if number - expected > MISSING_TOLD_MAX { number } else { expected + 1 };
        }
        expected = number + 1;
        let name = segment::file_name(number);
        files.push(File { behind_gap, ..file(number, dir.join(&name), relative.join(&name), context) });
    }
    if files.is_empty() {
        context.find(Finding::new(FindingKind::Missing, "the log has no segment").at(relative, 0));
    }
    put_ends(&mut files);
    files
}

/// Missing segments that are named one by one.
const MISSING_TOLD_MAX: u64 = 20;

fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".seg")?.parse().ok()?;
    (segment::file_name(number) == name).then_some(number)
}

/// A file that was being filled when the gate stopped holds zeros; nothing else may lie there.
fn stray(dir: &Path, relative: &Path, name: &str, context: &mut Context<'_>) {
    let path = dir.join(name);
    let unfinished = name.strip_suffix("tmp").is_some_and(|stem| number_of(&format!("{stem}seg")).is_some());
    let nonzero = Scan::open(&path, 0, None).and_then(|mut scan| scan.nonzero_from(0));
    let finding = match nonzero {
        Ok(None) if unfinished => {
            Finding::new(FindingKind::Note, "a segment was being made ready").at(relative.join(name), 0)
        }
        Ok(Some(from)) if unfinished => {
            Finding::new(FindingKind::Altered, "an unfinished segment is not zero throughout")
                .at(relative.join(name), from)
        }
        _ => Finding::new(FindingKind::Stray, "no gate puts this there").at(relative.join(name), 0),
    };
    context.find(finding);
}

fn file(number: u64, path: PathBuf, relative: PathBuf, context: &mut Context<'_>) -> File {
    let content = content(number, &path, &relative, context).unwrap_or_else(|error| {
        context.find(Finding::new(FindingKind::NotChecked, format!("cannot be read: {error}")).at(&relative, 0));
        Content::Torn
    });
    File { number, path, relative, content, end: None, torn_behind: false, behind_gap: false }
}

fn content(number: u64, path: &Path, relative: &Path, context: &mut Context<'_>) -> std::io::Result<Content> {
    let mut scan = Scan::open(path, 0, None)?;
    let flaw = match scan.next() {
        Ok(None) => return Ok(Content::Spare),
        Ok(Some(frame)) => match parse_head(number, &frame) {
            Ok(head) => {
                let second = scan.next().ok().flatten().filter(|frame| frame.header.kind == Kind::Recovered);
                let recovered = second.and_then(|frame| Recovered::parse(frame.body).ok());
                return Ok(Content::Used(Box::new(head), recovered));
            }
            Err(why) => {
                context.find(Finding::new(FindingKind::Altered, why).at(relative, 0));
                return Ok(Content::Damaged(Flaw::Header));
            }
        },
        Err(ScanFault::Io(error)) => return Err(error),
        Err(ScanFault::Flaw(fault)) => fault.flaw,
    };
    Ok(if scan.swears_beyond(0)? { Content::Damaged(flaw) } else { Content::Torn })
}

fn parse_head(number: u64, frame: &RawFrame<'_>) -> Result<SegmentHead, String> {
    if frame.header.kind != Kind::SegmentHead || frame.header.session != NODE {
        return Err("the first frame is not a segment's head".to_owned());
    }
    let head = SegmentHead::parse(frame.body)?;
    if head.number != number || head.after.link != frame.header.previous {
        return Err("the head is that of another segment".to_owned());
    }
    Ok(head)
}

fn put_ends(files: &mut [File]) {
    let mut next: Option<(Position, bool)> = None;
    for file in files.iter_mut().rev() {
        if let Content::Used(head, recovered) = &file.content {
            if let Some((after, torn)) = next.filter(|(after, _)| after.segment == head.number) {
                (file.end, file.torn_behind) = (Some(after.offset), torn);
            }
            next = Some((head.after, recovered.as_ref().is_some_and(|recovered| recovered.torn)));
        }
    }
}

/// What the log is before the next frame.
struct Walk<'a> {
    log: &'a Log<'a>,
    reader: &'a mut dyn Reader,
    remembered: Vec<Remembered>,
    bundles: Option<View>,
    position: Position,
    /// None behind lost entries.
    tree: Option<Tree>,
    last: [u8; 32],
    at: Timestamp,
    /// None behind a gap.
    node_sequence: Option<u64>,
    /// None behind a gap.
    batch: Option<u32>,
    /// What is known of all before.
    known: Before,
    /// Where segments end, as the heads behind them say.
    ends: BTreeMap<u64, Position>,
    /// The last segment that a leaf says is retired.
    retired: Option<Position>,
    /// How many entries there were at the last crash or stop.
    run_from: u64,
    /// Whether a group's end is still to come.
    in_group: bool,
    signed: Option<Signed>,
    frames: u64,
    entries: u64,
    /// Damage found in this file.
    damages: u32,
    last_file: PathBuf,
    /// Heads of earlier names that are not in this log.
    lost: Vec<LostHead>,
    /// The monotonic clock of the last frame.
    nanos: u64,
    /// Whether something was damaged or torn anywhere.
    is_hurt: bool,
    /// The newest signed head's size and root.
    head: Option<(u64, [u8; 32])>,
    /// The newest of those behind which another batch began: no power cut takes it back.
    settled: Option<(u64, [u8; 32])>,
}

/// The last head that was signed.
struct Signed {
    /// The place behind its frame.
    end: (u64, u64),
    wall: Timestamp,
    nanos: u64,
    due_seconds: u16,
}

/// Damage in one file that is told piece by piece. Looking on behind each piece takes time, and noise has many.
const DAMAGES_MAX: u32 = 100;

/// A head may be this much later than it was due before an auditor is told: a disk may be that slow.
pub(super) const LATE_SECONDS: u64 = 30;
const LATE_NANOS: u64 = LATE_SECONDS * 1_000_000_000;

impl<'a> Walk<'a> {
    fn new(log: &'a Log<'a>, bundles: Option<View>, reader: &'a mut dyn Reader) -> Self {
        Self {
            log,
            reader,
            remembered: log.remembered.iter().filter(|head| is_within(log, head)).cloned().collect(),
            bundles,
            position: Position { segment: 0, offset: 0, link: [0; 32] },
            tree: Some(Tree::default()),
            last: [0; 32],
            at: Timestamp::UNIX_EPOCH,
            node_sequence: Some(0),
            batch: None,
            known: Before::Frames,
            ends: BTreeMap::new(),
            retired: None,
            run_from: 0,
            in_group: false,
            signed: None,
            frames: 0,
            entries: 0,
            damages: 0,
            last_file: log.relative.to_owned(),
            lost: Vec::new(),
            nanos: 0,
            is_hurt: false,
            head: None,
            settled: None,
        }
    }

    fn file(&mut self, files: &[File], index: usize, context: &mut Context<'_>) {
        let file = &files[index];
        self.damages = 0;
        if file.behind_gap {
            self.pass_over();
            let next = files[index..].iter().find_map(|file| match &file.content {
                Content::Used(head, _) => Some(head),
                _ => None,
            });
            next.into_iter().for_each(|head| self.read_bundles(head, context));
        }
        match &file.content {
            Content::Spare => self.spare(files, index, context),
            Content::Torn => {
                let words = "a segment was begun when the gate crashed; nothing in it was acknowledged";
                context.find(Finding::new(self.kind_of_tear(files, index), words).at(&file.relative, 0));
            }
            Content::Damaged(flaw) => {
                context.find(Finding::new(FindingKind::Altered, flaw.to_string()).at(&file.relative, 0));
                self.lose();
                self.frames_of(file, Some(1), context);
            }
            Content::Used(..) => self.frames_of(file, None, context),
        }
        context.has_read(std::fs::metadata(&file.path).map_or(0, |metadata| metadata.len()));
    }

    /// A spare is zero throughout, and no used segment follows it.
    fn spare(&mut self, files: &[File], index: usize, context: &mut Context<'_>) {
        let is_used = |file: &File| matches!(file.content, Content::Used(..) | Content::Damaged(_));
        if files[index..].iter().any(is_used) {
            let words = "a segment is empty, and one behind it is not";
            context.find(Finding::new(FindingKind::Missing, words).at(&files[index].relative, 0));
            self.lose();
        }
    }

    /// A torn beginning is what a crash leaves only where the log went on without it.
    fn kind_of_tear(&self, files: &[File], index: usize) -> FindingKind {
        let next = files[index + 1..].iter().find_map(|file| match &file.content {
            Content::Used(head, _) => Some(head.after.segment),
            _ => None,
        });
        match next {
            Some(after) if after == self.position.segment => FindingKind::Note,
            Some(_) => FindingKind::Altered,
            None => FindingKind::CutOff,
        }
    }

    fn frames_of(&mut self, file: &File, mut seek: Option<u64>, context: &mut Context<'_>) {
        self.last_file.clone_from(&file.relative);
        if let Err(error) = self.read_frames(file, &mut seek, context) {
            let words = format!("cannot be read: {error}");
            context.find(Finding::new(FindingKind::NotChecked, words).at(&file.relative, self.position.offset));
            self.lose();
        }
    }

    fn read_frames(&mut self, file: &File, seek: &mut Option<u64>, context: &mut Context<'_>) -> std::io::Result<()> {
        let mut scan = Scan::open(&file.path, 0, file.end)?;
        loop {
            if let Some(from) = seek.take()
                && scan.seek_frame(from)?.is_none()
            {
                return Ok(());
            }
            match scan.next() {
                Ok(Some(frame)) => self.frame(file, &frame, context),
                Ok(None) => return self.end_of_file(&mut scan, file, context),
                Err(ScanFault::Flaw(fault)) => {
                    *seek = self.damage(&mut scan, file, fault, context)?;
                    if seek.is_none() {
                        return Ok(());
                    }
                }
                Err(ScanFault::Io(error)) => return Err(error),
            }
        }
    }

    /// Tells damage, or a torn tail; from where to look on behind it, if at all.
    fn damage(
        &mut self,
        scan: &mut Scan,
        file: &File,
        fault: FrameFault,
        context: &mut Context<'_>,
    ) -> std::io::Result<Option<u64>> {
        let FrameFault { offset, flaw } = fault;
        self.lose();
        self.damages += 1;
        if self.damages > DAMAGES_MAX {
            let words = "too much of this file is damaged; the rest of it was not looked at";
            context.find(Finding::new(FindingKind::NotChecked, words).at(&file.relative, offset));
            return Ok(None);
        }
        if scan.is_torn_at(fault)? {
            let words =
                "the log ends in a batch that is not whole, and the gate did not start again: a crash, or cut off";
            context.find(Finding::new(FindingKind::CutOff, words).at(&file.relative, offset));
            return Ok(None);
        }
        let from = if flaw == Flaw::Chain { offset } else { offset + 1 };
        let finding = Finding::new(FindingKind::Altered, flaw.to_string()).at(&file.relative, offset);
        let next = scan.seek_frame(from)?.filter(|next| *next > offset);
        context.find(match next {
            Some(next) => finding.until(next),
            None => finding,
        });
        Ok(Some(from))
    }

    /// Behind the last frame all is zero, but where a batch was torn and the next segment says so.
    fn end_of_file(&mut self, scan: &mut Scan, file: &File, context: &mut Context<'_>) -> std::io::Result<()> {
        let Some(end) = file.end else { return Ok(()) };
        if scan.length() < end {
            let words = "the file ends before its last frame does";
            context.find(Finding::new(FindingKind::Missing, words).at(&file.relative, scan.length()));
            self.lose();
            return Ok(());
        }
        let (kind, words) = match file.torn_behind {
            true => (FindingKind::Note, "bytes of a batch that was torn in a crash, and never acknowledged"),
            false => (FindingKind::Altered, "there are bytes behind the last frame"),
        };
        if let Some(from) = scan.nonzero_from(end)? {
            context.find(Finding::new(kind, words).at(&file.relative, from));
        }
        Ok(())
    }

    /// Reads the entries before a segment from what the log published.
    fn read_bundles(&mut self, head: &SegmentHead, context: &mut Context<'_>) {
        let until = head.tree.size();
        self.read_bundles_to(until, context);
        if self.bundles.is_some() && self.tree.as_ref().is_some_and(|tree| tree.size() == until) {
            (self.known, self.position) = (Before::Entries, head.after);
        }
    }

    fn read_bundles_to(&mut self, until: u64, context: &mut Context<'_>) {
        let (Some(mut bundles), Some(from)) = (self.bundles.take(), self.tree.as_ref().map(Tree::size)) else { return };
        let size = bundles.size();
        // What is wrong with a bundle is told where all that the log published is checked.
        for (leaf, index) in bundles.entries(from..until).map_while(Result::ok).zip(from..) {
            let bundle = Tile::in_log(tile::Kind::Entries, index / u64::from(tile::WIDTH), size);
            let file = self.log.relative.join(bundle.map_or_else(String::new, |bundle| bundle.to_string()));
            self.entry(&Place { file: &file, from: 0, until: None, header: None }, &leaf, context);
        }
        self.bundles = Some(bundles);
    }

    /// Segments before the first one that is here must have been retired.
    fn check_retired(&self, files: &[File], context: &mut Context<'_>) {
        let Some(first) = files.first().filter(|first| first.behind_gap && context.part.is_none()) else { return };
        let retired = self.retired.map_or(0, |end| end.segment + 1);
        if retired < first.number {
            let missing = self.log.relative.join("segments").join(segment::file_name(retired));
            let words = "a segment is missing, and the log does not say that it was retired";
            context.find(Finding::new(FindingKind::Missing, words).at(missing, 0));
        }
    }

    /// What was between here and the next frame is not known.
    fn lose(&mut self) {
        self.is_hurt = true;
        self.pass_over();
    }

    /// What is between here and the next frame is not here, and need not be.
    fn pass_over(&mut self) {
        self.known = Before::Gap;
        self.node_sequence = None;
        self.batch = None;
        self.in_group = false;
    }

    fn frame(&mut self, file: &File, frame: &RawFrame<'_>, context: &mut Context<'_>) {
        self.frames += 1;
        self.nanos = frame.header.nanos;
        if u64::from(frame.header.batch) == frame.offset {
            self.settled = self.head;
        }
        if frame.header.kind == Kind::SegmentHead {
            self.head(file, frame, context);
        } else if self.known != Before::Frames {
            self.position = Position { offset: frame.offset, link: frame.header.previous, ..self.position };
        }
        self.check_header(file, frame, context);
        match frame.header.kind {
            Kind::SegmentHead => {}
            Kind::Leaf => self.entry(&Place::of_frame(&file.relative, frame), frame.body, context),
            Kind::Anchor => self.anchor_frame(&Place::of_frame(&file.relative, frame), frame, context),
            Kind::Recovered => self.recovered(file, frame, context),
            Kind::Data | Kind::Fact(_) => {
                let place = Place::of_frame(&file.relative, frame);
                let at = at(self.log.name(), &place, self.position, self.known, None);
                self.reader.session_frame(&at, frame, context);
            }
        }
        self.position.offset = frame.end();
        self.position.link = frame.link;
    }

    fn check_header(&mut self, file: &File, frame: &RawFrame<'_>, context: &mut Context<'_>) {
        let header = &frame.header;
        let mut wrong = |words: &str| context.find(wrong(file, frame, words));
        let is_nodes = header.session == NODE;
        if !self.batch_is_right(frame) {
            wrong("a frame says that it was written with others than those before it");
        }
        if is_nodes && !self.node_sequence_is_right(frame) {
            wrong("a frame of the node is missing before this one");
        }
        if (is_nodes || !self.log.has_sessions) && header.kind.is_encrypted() {
            wrong("a frame of a session stands where none can be");
        }
        if !is_nodes && matches!(header.kind, Kind::Anchor | Kind::Recovered | Kind::SegmentHead) {
            wrong("a frame of the node stands in a session");
        }
        let groups = header.kind == Kind::Leaf && !self.log.has_sessions;
        let misplaced = header.kind == Kind::Anchor && self.log.has_sessions;
        if misplaced || !header.kind.is_encrypted() && header.channel != 0 || header.continues && !groups {
            wrong("a frame's header says what no gate writes");
        }
        if self.in_group && header.kind != Kind::Leaf {
            wrong("a group of entries has no end");
        }
        self.in_group = header.continues;
    }

    /// A batch begins where it says that it begins, and goes on from there.
    fn batch_is_right(&mut self, frame: &RawFrame<'_>) -> bool {
        let batch = frame.header.batch;
        let begins = u64::from(batch) == frame.offset;
        let goes_on = self.batch.is_none_or(|current| current == batch) && u64::from(batch) <= frame.offset;
        self.batch = Some(batch);
        begins || goes_on
    }

    fn node_sequence_is_right(&mut self, frame: &RawFrame<'_>) -> bool {
        let expected = self.node_sequence;
        self.node_sequence = Some(frame.header.sequence.saturating_add(1));
        expected.is_none_or(|expected| expected == frame.header.sequence)
    }

    /// A segment's head says what the log was. Behind a gap it is where knowing begins again.
    fn head(&mut self, file: &File, frame: &RawFrame<'_>, context: &mut Context<'_>) {
        let Content::Used(head, _) = &file.content else { return };
        if frame.offset != 0 {
            return context.find(wrong(file, frame, "a segment's head stands inside a segment"));
        }
        let known = self.tree.as_ref() == Some(&head.tree) && self.last == head.last && self.at == head.at;
        if self.known != Before::Gap && !(known && head.after == self.position) {
            context.find(wrong(file, frame, "a segment's head does not say what stands before it"));
        }
        if !known {
            self.reader.entries_lost();
            (self.tree, self.last, self.at) = (Some(head.tree.clone()), head.last, head.at);
        }
        self.position = Position { segment: head.number, offset: 0, link: head.after.link };
        self.batch = None;
        self.ends.insert(head.after.segment, head.after);
        let place = Place::of_frame(&file.relative, frame);
        let known = if known { self.known } else { Before::Gap };
        let at = at(self.log.name(), &place, self.position, known, None);
        self.reader.heads_sessions(&at, &head.open, context);
        self.known = Before::Frames;
    }

    fn entry(&mut self, place: &Place<'_>, leaf: &[u8], context: &mut Context<'_>) {
        let index = self.tree.as_ref().map_or(self.entries, Tree::size);
        let entry = match Entry::parse(index, leaf) {
            Ok(entry) => entry,
            Err(malformed) => return context.find(place.altered(malformed.to_string())),
        };
        if entry.previous != self.last {
            if self.known == Before::Frames {
                context.find(place.altered("an entry does not follow the one before"));
            }
            self.reader.entries_lost();
            self.tree = None;
        } else if entry.at < self.at {
            context.find(place.altered("an entry is earlier than the one before"));
        }
        if self.log.has_sessions {
            self.leaf(place, &entry, context);
        }
        if let Some(tree) = &mut self.tree {
            tree.push(entry.hash);
        }
        (self.last, self.at) = (entry.hash, entry.at);
        self.entries = index + 1;
        self.check_remembered(place, context);
        let name = name_at(self.log.names, index);
        let at = at(name, place, self.position, self.known, self.tree.as_ref());
        self.reader.entry(&at, &entry, context);
    }

    /// What leaves say of the log itself.
    fn leaf(&mut self, place: &Place<'_>, entry: &Entry, context: &mut Context<'_>) {
        match Leaf::parse(&entry.bytes) {
            Ok(Leaf::Anchor(anchor)) => self.anchor(place, &anchor, context),
            Ok(Leaf::Retired(retired)) => self.retired(place, &retired, context),
            Ok(Leaf::Copied(_)) if self.log.number < Number::Two => {
                context.find(place.altered("a leaf stands here that this log's format does not have"));
            }
            Ok(Leaf::Started(_)) if place.header.is_none() => {
                // The mark of a crash went with its segment.
                if self.signed.as_ref().is_some_and(|signed| signed.due_seconds > 0) {
                    let words = format!("the gate stopped without order before {}", entry.at);
                    context.find(place.wrong(FindingKind::Note, words));
                }
                self.signed = None;
            }
            _ => {}
        }
    }

    /// Heads that others remember must be heads that this log had. Of a log that was rewritten the first is told.
    fn check_remembered(&mut self, place: &Place<'_>, context: &mut Context<'_>) {
        let Some(tree) = &self.tree else { return };
        let (size, root, log) = (tree.size(), tree.root(), self.log);
        let (mut forked, lost) = (None, &mut self.lost);
        self.remembered.retain(|head| {
            if head.size != size {
                return true;
            }
            if head.root.0 != root {
                let by = &head.by;
                let words =
                    format!("the log once had other entries up to {size}, {by}: it was rewritten, or ran twice");
                let finding = place.altered(words);
                match log.name_of(head).filter(|name| log.until(*name).is_some()) {
                    Some(name) => lost.push(LostHead { name, head: head.clone(), finding }),
                    None => drop(forked.get_or_insert(finding)),
                }
            }
            false
        });
        if let Some(finding) = forked {
            context.find(finding);
            self.remembered.clear();
        }
    }

    fn retired(&mut self, place: &Place<'_>, retired: &Retired, context: &mut Context<'_>) {
        let end = retired.end;
        let next = self.retired.is_none_or(|before| before.segment < end.segment);
        let here = self.ends.get(&end.segment).is_none_or(|there| *there == end);
        if !next || !here {
            context.find(place.altered("a segment is said to be retired that ended elsewhere"));
        }
        self.retired = Some(end);
    }

    fn anchor_frame(&mut self, place: &Place<'_>, frame: &RawFrame<'_>, context: &mut Context<'_>) {
        match Anchor::parse(frame.body) {
            Ok(anchor) => self.anchor(place, &anchor, context),
            Err(malformed) => context.find(place.altered(malformed.to_string())),
        }
    }

    fn anchor(&mut self, place: &Place<'_>, anchor: &Anchor, context: &mut Context<'_>) {
        if !self.is_signed(anchor) {
            context.find(place.wrong(FindingKind::NotSigned, "a head is not signed by the key that you trust"));
        }
        let tree_is = |tree: &Tree| tree.size() == anchor.size && tree.root() == anchor.root;
        let sessions_are = self.known == Before::Gap || anchor.open as usize == self.reader.open_sessions();
        let chain_is = place.header.is_none() || anchor.chain == self.position;
        if !chain_is || !self.tree.as_ref().is_none_or(tree_is) || !sessions_are {
            context.find(place.altered("a signed head does not say what stands before it"));
        }
        self.check_due(place, anchor, context);
        self.head = self.tree.as_ref().filter(|tree| tree_is(tree)).map(|tree| (tree.size(), tree.root()));
        let end = (self.position.segment, place.until.unwrap_or(0));
        if anchor.due_seconds == 0 {
            self.run_from = anchor.size;
        }
        self.signed = Some(Signed { end, wall: anchor.wall, nanos: anchor.nanos, due_seconds: anchor.due_seconds });
    }

    fn is_signed(&self, anchor: &Anchor) -> bool {
        // At a restore the last head of the old name and the first of the new one may be over the same.
        let mut names = self.log.names.iter().enumerate().filter(|(number, name)| {
            name.from <= anchor.size && self.log.until(*number).is_none_or(|until| anchor.size <= until)
        });
        names.any(|(_, name)| {
            let signed = signed_bytes(Statement::Anchor, &name.origin, &anchor.body());
            name.verifier.as_ref().is_none_or(|verifier| verifier.verify(&signed, &anchor.signature).is_ok())
        })
    }

    /// Within one run of one machine, a head says when the next one is due. After a stop, a crash or a new boot the
    /// clock begins anew.
    fn check_due(&self, place: &Place<'_>, anchor: &Anchor, context: &mut Context<'_>) {
        let Some(before) = self.signed.as_ref().filter(|before| before.due_seconds > 0) else { return };
        let due = before.nanos.saturating_add(u64::from(before.due_seconds) * 1_000_000_000);
        let late = anchor.nanos.saturating_sub(due);
        if late > LATE_NANOS {
            let words =
                format!("no head was signed for {} seconds more than it should have been", late / 1_000_000_000);
            context.find(place.wrong(FindingKind::Note, words));
        }
    }

    fn recovered(&mut self, file: &File, frame: &RawFrame<'_>, context: &mut Context<'_>) {
        let Content::Used(head, _) = &file.content else { return };
        match Recovered::parse(frame.body) {
            Ok(recovered) if recovered.good == head.after && frame.header.batch == 0 => {
                let words = format!("the gate stopped without order before {}", recovered.wall);
                context.find(Finding { kind: FindingKind::Note, ..wrong(file, frame, &words) });
                self.signed = None;
                self.run_from = self.tree.as_ref().map_or(self.entries, Tree::size);
                self.reader.crashed();
            }
            Ok(_) => context.find(wrong(file, frame, "the mark of a crash stands where none was")),
            Err(malformed) => context.find(wrong(file, frame, &malformed.to_string())),
        }
    }

    fn finish(mut self, context: &mut Context<'_>) -> (LogReport, End, Vec<LostHead>) {
        let end = self.end();
        if end == End::Cut && self.frames > 0 {
            let words =
                "the last frames of the log are not signed, and no gate that goes on leaves it so: it was cut off";
            context.find(Finding::new(FindingKind::CutOff, words).at(&self.last_file, self.position.offset));
        }
        // What was passed over was compared with nothing; what goes further than this log was rolled back in a part too.
        let passed = if context.part.is_some() || self.is_hurt { self.entries } else { 0 };
        let mut beyond = std::mem::take(&mut self.remembered);
        beyond.retain(|head| head.size > passed);
        let rolled_back = |head: &Remembered, now: u64| {
            let Remembered { size, by, .. } = head;
            let or_else = by.or_else();
            let words =
                format!("the log once had {size} entries, {by}, and has {now} now: it was rolled back{or_else}");
            Finding::new(FindingKind::Missing, words).at(self.log.relative, 0)
        };
        for head in furthest(beyond) {
            context.find(rolled_back(&head, self.entries));
        }
        // Heads of an earlier name that go further than the log did when it was given another one.
        for head in &self.log.remembered {
            let name = self.log.name_of(head);
            let until = name.and_then(|name| Some((name, self.log.until(name)?)));
            if let Some((name, until)) = until.filter(|(_, until)| head.size > *until) {
                self.lost.push(LostHead { name, head: head.clone(), finding: rolled_back(head, until) });
            }
        }
        let lost = std::mem::take(&mut self.lost);
        let report = LogReport {
            origin: self.log.name().origin.clone(),
            entries: self.entries,
            frames: self.frames,
            root: self.tree.as_ref().map(|tree| Digest(tree.root())),
            signed_at: self.signed.map(|signed| signed.wall),
            settled: self.settled.map(|(size, root)| Head { size, root: Digest(root) }),
        };
        (report, end, lost)
    }

    fn end(&self) -> End {
        let Some(signed) = &self.signed else { return End::Cut };
        let is_last = signed.end == (self.position.segment, self.position.offset);
        let due = signed.nanos.saturating_add(u64::from(signed.due_seconds) * 1_000_000_000);
        match signed.due_seconds {
            0 if is_last => End::Stopped,
            0 => End::Cut,
            // Whoever takes signed heads away must take what came after the next one too.
            _ if self.is_hurt || self.nanos > due.saturating_add(LATE_NANOS) => End::Cut,
            due_seconds => End::Open(OpenEnd {
                file: self.last_file.clone(),
                offset: self.position.offset,
                signed: signed.wall,
                nanos: signed.nanos,
                due_seconds,
                run_from: self.run_from,
            }),
        }
    }
}

fn at<'b>(name: &'b Name, place: &'b Place<'b>, position: Position, known: Before, tree: Option<&'b Tree>) -> At<'b> {
    At { place, position, known, tree, origin: &name.origin, verifier: name.verifier.as_ref() }
}

/// Whether a head must be one of the log that is here. One of an earlier name may go further than that did at the restore.
fn is_within(log: &Log<'_>, head: &Remembered) -> bool {
    log.name_of(head).and_then(|name| log.until(name)).is_none_or(|until| head.size <= until)
}

fn wrong(file: &File, frame: &RawFrame<'_>, words: &str) -> Finding {
    Finding::new(FindingKind::Altered, words).at(&file.relative, frame.offset).until(frame.end())
}

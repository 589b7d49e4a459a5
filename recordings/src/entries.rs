//! A running log's durable entries: the newest as they were written, older ones read back from segments. Readers come while
//! the writer writes, so each reads up to a snapshot of what is durable, and never what is not.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::disk::Disk;
use crate::frame::{self, Kind};
use crate::leaf::Entry;
use crate::log::{Extent, Published};
use crate::segment::{self, SegmentsFault};
use crate::session::lock;

/// What is durable at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    size: u64,
    extents: Vec<Extent>,
}

impl Snapshot {
    pub(crate) fn of(published: &Published) -> Self {
        Self::new(published.head.size, published.offset, published.extents.clone())
    }

    /// So many entries in these segments, of which the last ends at `offset`.
    pub(crate) fn new(size: u64, offset: u64, mut extents: Vec<Extent>) -> Self {
        if let Some(last) = extents.last_mut() {
            last.end = Some(offset);
        }
        Self { size, extents }
    }

    /// What of it each segment holds, and the first entry there: the newest segment first.
    fn by_segment(&self) -> impl Iterator<Item = (u64, Self)> {
        (0..self.extents.len()).rev().map(move |place| {
            let (extent, next) = (&self.extents[place], self.extents.get(place + 1));
            let size = next.map_or(self.size, |next| next.first_entry);
            (extent.first_entry, Self { size, extents: vec![*extent] })
        })
    }
}

/// The newest durable entries, which whoever follows a log need not read back.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// How many entries the log has.
    size: u64,
}

/// Some thousand leaves: more than come between two checkpoints, but for the longest appends.
const RECENT_BYTES_MAX: usize = 1 << 20;

impl Recent {
    /// None yet, in a log of this size.
    pub(crate) fn new(size: u64) -> Self {
        Self { size, ..Self::default() }
    }

    pub(crate) fn extend(&mut self, entries: impl Iterator<Item = Entry>) {
        for entry in entries {
            self.size = entry.index + 1;
            self.bytes += entry.bytes.len();
            self.entries.push_back(entry);
        }
        while self.bytes > RECENT_BYTES_MAX
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.bytes.len();
        }
    }

    /// The entries from an index on, if that is not too long ago.
    fn read(&self, from: u64) -> Option<Vec<Entry>> {
        let first = self.size - self.entries.len() as u64;
        let skipped = usize::try_from(from.checked_sub(first)?).ok()?;
        Some(self.entries.iter().skip(skipped).cloned().collect())
    }
}

/// Where in the files an entry begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    entry: u64,
    segment: u64,
    offset: u64,
}

impl Place {
    fn beginning(extent: &Extent) -> Self {
        Self { entry: extent.first_entry, segment: extent.segment, offset: 0 }
    }
}

/// The newest entries, or up to where all that is durable can be read.
fn recent_or_all(from: u64, published: &Mutex<Published>) -> Result<Vec<Entry>, Snapshot> {
    let published = lock(published);
    published.recent.read(from).ok_or_else(|| Snapshot::of(&published))
}

/// As many as there are readers that follow a log, and some.
const PLACES_MAX: usize = 16;

/// Reads a log's entries.
pub(crate) struct EntryReader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Where readers ended, the latest first.
    places: Mutex<VecDeque<Place>>,
}

impl EntryReader {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self { disk, dir: dir.to_owned(), places: Mutex::default() }
    }

    /// What is durable from an index on.
    pub(crate) fn follow(&self, from: u64, published: &Mutex<Published>) -> Result<Vec<Entry>, SegmentsFault> {
        match recent_or_all(from, published) {
            Ok(entries) => Ok(entries),
            Err(snapshot) => self.read(from, &snapshot),
        }
    }

    /// The same, up to the end of a segment.
    pub(crate) fn follow_on(&self, from: u64, published: &Mutex<Published>) -> Result<Vec<Entry>, SegmentsFault> {
        match recent_or_all(from, published) {
            Ok(entries) => Ok(entries),
            Err(mut snapshot) => {
                let is_after = |extent: &Extent| extent.first_entry > from;
                if let Some(next) = snapshot.extents.iter().position(is_after).filter(|next| *next > 0) {
                    snapshot.size = snapshot.extents[next].first_entry;
                    snapshot.extents.truncate(next);
                }
                self.read(from, &snapshot)
            }
        }
    }

    /// The entries from an index on in the segments, each checked against the one before. Whoever follows the log reads on
    /// from where the last one ended.
    pub(crate) fn read(&self, from: u64, snapshot: &Snapshot) -> Result<Vec<Entry>, SegmentsFault> {
        let mut entries = Vec::new();
        let Some(last) = snapshot.extents.last().filter(|_| from < snapshot.size) else { return Ok(entries) };
        let end = last.end.map(|offset| Place { entry: snapshot.size, segment: last.segment, offset });
        let first = self.place_before(from, &snapshot.extents)?;
        for extent in snapshot.extents.iter().filter(|extent| extent.segment >= first.segment) {
            let place = if extent.segment == first.segment { first } else { Place::beginning(extent) };
            self.read_entries(place, extent.end, &mut entries)?;
        }
        end.into_iter().for_each(|end| self.remember(end));
        entries.retain(|entry| entry.index >= from);
        Ok(entries)
    }

    /// All entries in the segments, those of one at a time, the newest first: each checked against the one before, up to the last,
    /// which has this hash.
    pub(crate) fn read_back(
        &self,
        snapshot: &Snapshot,
        mut last: [u8; 32],
    ) -> impl Iterator<Item = Result<Vec<Entry>, SegmentsFault>> {
        snapshot.by_segment().map(move |(first, segment)| {
            let entries = self.read(first, &segment)?;
            if entries.last().is_some_and(|newest| newest.hash != last) {
                let extent = segment.extents[0];
                let path = segment::segments_dir(&self.dir).join(segment::file_name(extent.segment));
                let end = extent.end.unwrap_or_default();
                return Err(segment::damaged(&path, end, "the entry behind it does not follow its last one"));
            }
            last = entries.first().map_or(last, |oldest| oldest.previous);
            Ok(entries)
        })
    }

    /// The nearest known place at which an entry not after `from` begins.
    fn place_before(&self, from: u64, extents: &[Extent]) -> Result<Place, SegmentsFault> {
        let places = lock(&self.places);
        let is_there = |place: &&Place| place.segment >= extents[0].segment;
        let known = extents.iter().map(Place::beginning).chain(places.iter().filter(is_there).copied());
        let nearest = known.filter(|place| place.entry <= from).max_by_key(|place| (place.entry, place.segment));
        let before = || extents[0].segment.saturating_sub(1);
        nearest
            .ok_or_else(|| SegmentsFault::Missing(segment::segments_dir(&self.dir).join(segment::file_name(before()))))
    }

    fn remember(&self, place: Place) {
        let mut places = lock(&self.places);
        if !places.contains(&place) {
            places.truncate(PLACES_MAX - 1);
            places.push_front(place);
        }
    }

    fn read_entries(&self, place: Place, end: Option<u64>, entries: &mut Vec<Entry>) -> Result<(), SegmentsFault> {
        let path = segment::segments_dir(&self.dir).join(segment::file_name(place.segment));
        let bytes = segment::read_part(&*self.disk, &path, place.offset, end)?;
        let mut index = place.entry;
        for frame in frame::frames(&bytes) {
            let frame =
                frame.map_err(|fault| segment::damaged(&path, place.offset + fault.offset, fault.flaw.to_string()))?;
            if frame.header.kind != Kind::Leaf {
                continue;
            }
            let offset = place.offset + frame.offset;
            let entry =
                Entry::parse(index, frame.body).map_err(|malformed| segment::damaged(&path, offset, malformed))?;
            if entries.last().is_some_and(|before| before.hash != entry.previous) {
                return Err(segment::damaged(&path, offset, "the entry does not follow the one before"));
            }
            entries.push(entry);
            index += 1;
        }
        Ok(())
    }
}

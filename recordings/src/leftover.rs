//! What a run that did not end cleanly leaves in segments alone: frames of sessions that are in no block. Their keys are
//! gone, and are not needed: the frames are kept as they lie.

use std::collections::BTreeMap;
use std::path::Path;

use policies::ids::SessionId;

use crate::block::{self, Block};
use crate::disk::Disk;
use crate::frame::{self, FrameFault, RawFrame, TAG_BYTES};
use crate::sealer::DataBytes;
use crate::segment::{self, SegmentFile, SegmentHead, SegmentsFault};
use crate::state::State;

/// A block is closed when it has so many bytes of frames.
const BLOCK_BYTES: usize = 1 << 20;

/// A block made of frames that lay in segments alone.
pub(crate) struct Leftover {
    pub(crate) recording: SessionId,
    pub(crate) block: Block,
    pub(crate) bytes: DataBytes,
}

/// The blocks that are missing, of each session in order. Holds what was in no block, which is what the writer of the run
/// before had in its memory, and one segment.
///
/// # Errors
/// A segment cannot be read, or is not as the run before wrote it.
pub(crate) fn blocks(disk: &dyn Disk, log: &Path, state: &State) -> Result<Vec<Leftover>, SegmentsFault> {
    let mut piles: BTreeMap<u64, Pile> = BTreeMap::new();
    for open in state.open.values().filter(|open| !open.is_covered()) {
        let pile = Pile { recording: open.recording, next: open.covered, until: open.sequence, block: open.blocks };
        piles.insert(open.session, pile);
    }
    let mut blocks = Vec::new();
    if piles.is_empty() {
        return Ok(blocks);
    }
    let files = segment::segments(disk, log)?;
    let mut used = files.iter().filter_map(SegmentFile::used).peekable();
    while let Some((file, _, end)) = used.next() {
        // Reading is what a start waits for, and most of what lies there is in blocks.
        if used.peek().is_some_and(|(_, next, _)| !piles.iter().any(|pile| begins_before(next, pile))) {
            continue;
        }
        let bytes = segment::read_part(disk, &file.path, 0, end)?;
        let whole = whole_frames(&file.path, &bytes, end)?;
        for (session, pile) in &mut piles {
            let wanted = |frame: &&RawFrame<'_>| frame.header.session == *session && frame.header.kind.is_encrypted();
            let frames: Vec<RawFrame<'_>> =
                whole.iter().filter(wanted).filter(|frame| pile.wants(frame)).copied().collect();
            if let Some(offset) = pile.gap_before(&frames) {
                return Err(segment::damaged(&file.path, offset, "frames of a session are missing before this one"));
            }
            pile.take(*session, &frames, &mut blocks);
        }
    }
    Ok(blocks)
}

/// A segment's frames, up to where the next one says that they end. The last segment may end in a torn batch; recovery has
/// looked at it.
fn whole_frames<'a>(path: &Path, bytes: &'a [u8], end: Option<u64>) -> Result<Vec<RawFrame<'a>>, SegmentsFault> {
    let frames = frame::frames(bytes);
    let Some(end) = end else { return Ok(frames.map_while(Result::ok).collect()) };
    let whole = frames.collect::<Result<Vec<RawFrame<'a>>, FrameFault>>();
    let whole = whole.map_err(|fault| segment::damaged(path, fault.offset, fault.flaw.to_string()))?;
    let reached = whole.last().map_or(0, RawFrame::end);
    if reached < end {
        return Err(segment::damaged(path, reached, "its frames end too early"));
    }
    Ok(whole)
}

/// Whether the next frame that a pile wants lies before this segment. A session that its head does not name was opened later.
fn begins_before(segment: &SegmentHead, (session, pile): (&u64, &Pile)) -> bool {
    segment.open.iter().any(|open| open.session == *session && open.sequence > pile.next)
}

struct Pile {
    recording: SessionId,
    next: u64,
    until: u64,
    block: u32,
}

impl Pile {
    const fn wants(&self, frame: &RawFrame<'_>) -> bool {
        frame.header.sequence >= self.next && frame.header.sequence < self.until
    }

    /// Where the first of these frames begins that is not the one that is next.
    fn gap_before(&self, frames: &[RawFrame<'_>]) -> Option<u64> {
        let mut numbered = (self.next..).zip(frames);
        numbered.find(|(next, frame)| frame.header.sequence != *next).map(|(_, frame)| frame.offset)
    }

    fn take(&mut self, session: u64, frames: &[RawFrame<'_>], blocks: &mut Vec<Leftover>) {
        let mut rest = frames;
        while !rest.is_empty() {
            let mut length = 0;
            let fits = rest.iter().take_while(|frame| {
                let fits = length == 0 || length + frame.bytes().len() <= BLOCK_BYTES;
                length += frame.bytes().len();
                fits
            });
            let (some, after) = rest.split_at(fits.count());
            let Some(block) = block::of_frames(session, self.block, some) else { return };
            self.next = block.header.end();
            self.block += 1;
            blocks.push(Leftover { recording: self.recording, block, bytes: data_bytes(some) });
            rest = after;
        }
    }
}

fn data_bytes(frames: &[RawFrame<'_>]) -> DataBytes {
    let mut bytes = DataBytes::default();
    for frame in frames {
        let length = frame.body.len().saturating_sub(TAG_BYTES) as u64;
        bytes.count(frame.header.stream, length);
    }
    bytes
}

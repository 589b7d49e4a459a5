//! A segment's frames read through a window of bounded size, whatever the file's length, each checked and chained to
//! the one before. What the frames mean, and what a fault means, is for the reader above.

use std::io;
use std::path::Path;

use crate::disk::{Disk, DiskFile, RealDisk};
use crate::frame::{self, BODY_BYTES_MAX, Flaw, FrameFault, HEADER_BYTES, RawFrame};

/// The longest frame there is.
const FRAME_BYTES_MAX: usize = HEADER_BYTES + BODY_BYTES_MAX;
/// What is read at once: a few of the longest frames, so that little is read twice.
const WINDOW_BYTES: usize = 4 * FRAME_BYTES_MAX;
/// How often a file may be summed over while a frame is looked for behind damage. A file made of beginnings of frames
/// would else keep a reader busy for days.
const SEARCH_EFFORT: u64 = 32;

/// Why there is no next frame.
#[derive(Debug)]
pub(crate) enum ScanFault {
    Io(io::Error),
    Flaw(FrameFault),
}

impl From<io::Error> for ScanFault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// An open segment and a place in it.
pub(crate) struct Scan {
    file: Box<dyn DiskFile>,
    length: u64,
    /// Frames end here.
    end: u64,
    /// Whether the end was given, or is where the file ends.
    end_is_known: bool,
    window: Vec<u8>,
    /// Offset of the window in the file.
    base: u64,
    at: u64,
    previous: Option<[u8; 32]>,
}

impl Scan {
    /// Begins at `from`. Where it is known at which offset the frames end, no frame may reach beyond.
    pub(crate) fn open(path: &Path, from: u64, end: Option<u64>) -> io::Result<Self> {
        let file = RealDisk.open_to_read(path)?;
        let length = file.len()?;
        Ok(Self {
            file,
            length,
            end: end.unwrap_or(length).min(length),
            end_is_known: end.is_some(),
            window: Vec::new(),
            base: 0,
            at: from,
            previous: None,
        })
    }

    /// Bytes of the file.
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// Where the next frame begins.
    pub(crate) const fn at(&self) -> u64 {
        self.at
    }

    /// The next frame, or `None` at the end: where it was said to be, or where nothing but zeros follows.
    pub(crate) fn next(&mut self) -> Result<Option<RawFrame<'_>>, ScanFault> {
        if self.at >= self.end {
            return Ok(None);
        }
        self.fill(FRAME_BYTES_MAX)?;
        let (at, previous) = (self.at, self.previous);
        if !self.end_is_known && self.window[self.offset()..].first() == Some(&0) && self.nonzero_from(at)?.is_none() {
            self.at = self.end;
            return Ok(None);
        }
        self.fill(FRAME_BYTES_MAX)?;
        let found = frame::frame_at(&self.window[(at - self.base) as usize..], 0);
        let follows = |frame: &RawFrame<'_>| previous.is_none_or(|previous| previous == frame.header.previous);
        let fault = |flaw| ScanFault::Flaw(FrameFault { offset: at, flaw });
        let mut frame = match found {
            Ok(frame) if follows(&frame) => frame,
            Ok(_) => return Err(fault(Flaw::Chain)),
            Err(flaw) => return Err(fault(flaw)),
        };
        frame.offset = at;
        self.previous = Some(frame.link);
        self.at = frame.end();
        Ok(Some(frame))
    }

    /// Goes to the next whole frame at or after `from`, whatever it follows; `None` where there is none, or where
    /// looking would take too long.
    pub(crate) fn seek_frame(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut effort = self.length.saturating_mul(SEARCH_EFFORT);
        self.previous = None;
        self.at = from;
        while self.at < self.end && effort > 0 {
            self.fill(FRAME_BYTES_MAX)?;
            let window = &self.window[self.offset()..];
            match frame::frame_at(window, 0) {
                Ok(_) => return Ok(Some(self.at)),
                Err(Flaw::Checksum) => effort = effort.saturating_sub(window.len().min(FRAME_BYTES_MAX) as u64),
                Err(_) => {}
            }
            let begins = |offset: &usize| frame::frame_at(window, *offset) != Err(Flaw::NoFrame);
            self.at += (1..window.len()).find(begins).unwrap_or(window.len()) as u64;
        }
        self.at = self.end;
        Ok(None)
    }

    /// Whether a flaw is what a crash leaves of a log's last batch: bytes that are no whole frame, and no later frame swears
    /// that what stood there was durable. A log whose frames are known to end elsewhere was mended by a later start.
    pub(crate) fn is_torn_at(&mut self, FrameFault { offset, flaw }: FrameFault) -> io::Result<bool> {
        let is_whole = matches!(flaw, Flaw::Chain | Flaw::Header);
        Ok(!self.end_is_known && !is_whole && !self.swears_beyond(offset)?)
    }

    /// Whether an intact frame lies behind `stop` whose batch began behind it: it swears that what stood at `stop` was durable.
    pub(crate) fn swears_beyond(&mut self, stop: u64) -> io::Result<bool> {
        let mut from = stop;
        while let Some(at) = self.seek_frame(from)? {
            match self.next() {
                Ok(Some(frame)) if u64::from(frame.header.batch) > stop => return Ok(true),
                Ok(Some(frame)) => from = frame.end(),
                Ok(None) => return Ok(false),
                Err(_) => from = at + 1,
            }
        }
        Ok(false)
    }

    /// The offset of the first byte at or after `from` that is not zero, to the end of the file.
    pub(crate) fn nonzero_from(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        let mut part = vec![0; WINDOW_BYTES];
        while at < self.length {
            let read = self.file.read_at(&mut part, at)?;
            if read == 0 {
                break;
            }
            if !frame::is_zero(&part[..read]) {
                let first = part[..read].iter().position(|byte| *byte != 0).unwrap_or(0);
                return Ok(Some(at + first as u64));
            }
            at += read as u64;
        }
        Ok(None)
    }

    fn offset(&self) -> usize {
        (self.at - self.base) as usize
    }

    /// Sees to it that so many bytes from here on are in the window, or all up to the end.
    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        let wanted = self.at.saturating_add(bytes as u64).min(self.end);
        if self.base <= self.at && wanted <= self.base + self.window.len() as u64 && self.at < self.end {
            return Ok(());
        }
        let length = (self.end - self.at).min(WINDOW_BYTES as u64) as usize;
        self.window.resize(length, 0);
        let read = self.file.read_at(&mut self.window, self.at)?;
        self.window.truncate(read);
        self.base = self.at;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read"));
        }
        Ok(())
    }
}

//! What the target says as numbers, out of pieces as they come, with what the technician's program asked for in between; and
//! the bound on the work that a target may cause.

use std::time::{Duration, Instant};

use bytes::Bytes;

/// One thing that was said about a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// By the target.
    Target {
        /// As they came.
        bytes: Bytes,
        /// When.
        at: Instant,
    },
    /// By the technician's program: another form of pixels (7.5.1, its last sixteen bytes).
    Format([u8; 16]),
    /// By the technician's program: updates are to come no longer but when they are asked for.
    NoMoreUpdates,
}

impl Said {
    /// What it costs to hold.
    pub fn weight(&self) -> usize {
        const BESIDE_BYTES: usize = 64;
        match self {
            Self::Target { bytes, .. } => BESIDE_BYTES + bytes.len(),
            Self::Format(_) | Self::NoMoreUpdates => BESIDE_BYTES,
        }
    }
}

/// Gives what was said, in order.
pub trait Source {
    /// What comes next; nothing once that is all. May block.
    fn next(&mut self) -> Option<Said>;
}

/// Why a screen is followed no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    Over,
    Lost(String),
}

pub(super) fn lost<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Lost(why.into()))
}

/// Bytes in order, of the target itself or of what it compressed.
pub(super) trait Octets {
    fn exact(&mut self, into: &mut [u8]) -> Result<(), Stop>;

    fn u8(&mut self) -> Result<u8, Stop> {
        let mut byte = [0];
        self.exact(&mut byte)?;
        Ok(byte[0])
    }
}

/// What was decompressed before.
impl Octets for &[u8] {
    fn exact(&mut self, into: &mut [u8]) -> Result<(), Stop> {
        let Some((now, rest)) = self.split_at_checked(into.len()) else {
            return lost("what the target compressed ends before its picture does");
        };
        into.copy_from_slice(now);
        *self = rest;
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Reader<S> {
    source: S,
    piece: Bytes,
    read: usize,
    /// What pixels look like from the next message on.
    format: Option<[u8; 16]>,
    /// Updates in the form before may come until the target says that they have ended.
    updates_end: bool,
    work: Work,
}

/// How many pixels may still be drawn. A target can name millions of them in twenty bytes, again and again.
#[derive(Debug)]
struct Work {
    left: u64,
    at: Option<Instant>,
}

impl Work {
    /// 3840 by 2160, 48 times a second: more than any panel draws, and less than a core can.
    const PER_SECOND: u64 = 400_000_000;
    /// What servers send at once after a pause.
    const AT_ONCE: u64 = 1_000_000_000;

    fn goes_on(&mut self, now: Instant) {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let more = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX).saturating_mul(Self::PER_SECOND / 1_000_000);
        self.left = self.left.saturating_add(more).min(Self::AT_ONCE);
        self.at = Some(now);
    }
}

impl<S: Source> Reader<S> {
    pub(super) const fn new(source: S) -> Self {
        let work = Work { left: Work::AT_ONCE, at: None };
        Self { source, piece: Bytes::new(), read: 0, format: None, updates_end: false, work }
    }

    /// What is at hand of what the target said, and at least one byte of it.
    #[inline]
    pub(super) fn at_hand(&mut self) -> Result<&[u8], Stop> {
        while self.read == self.piece.len() {
            match self.source.next().ok_or(Stop::Over)? {
                Said::Target { bytes, at } => {
                    self.work.goes_on(at);
                    (self.piece, self.read) = (bytes, 0);
                }
                Said::Format(format) => self.format = Some(format),
                Said::NoMoreUpdates => self.updates_end = true,
            }
        }
        Ok(&self.piece[self.read..])
    }

    /// So much of what is at hand was read.
    #[inline]
    pub(super) const fn advance(&mut self, bytes: usize) {
        self.read += bytes;
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut array = [0; N];
        self.exact(&mut array)?;
        Ok(array)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Stop> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Stop> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn skip(&mut self, mut bytes: u64) -> Result<(), Stop> {
        while bytes > 0 {
            let there = self.at_hand()?.len();
            let skipped = usize::try_from(bytes).unwrap_or(usize::MAX).min(there);
            self.advance(skipped);
            bytes -= skipped as u64;
        }
        Ok(())
    }

    /// So many pixels are drawn now.
    pub(super) fn work(&mut self, pixels: u64) -> Result<(), Stop> {
        match self.work.left.checked_sub(pixels) {
            Some(left) => {
                self.work.left = left;
                Ok(())
            }
            None => lost("the target draws more than any screen shows"),
        }
    }

    /// The form of pixels that holds from this message on, if it is another one.
    pub(super) const fn next_format(&mut self) -> Option<[u8; 16]> {
        if self.updates_end { None } else { self.format.take() }
    }

    /// The target said that no more updates come unasked.
    pub(super) const fn updates_ended(&mut self) {
        self.updates_end = false;
    }
}

impl<S: Source> Octets for Reader<S> {
    fn exact(&mut self, mut into: &mut [u8]) -> Result<(), Stop> {
        while !into.is_empty() {
            let there = self.at_hand()?;
            let taken = there.len().min(into.len());
            let (now, rest) = into.split_at_mut(taken);
            now.copy_from_slice(&there[..taken]);
            self.advance(taken);
            into = rest;
        }
        Ok(())
    }
}

//! Streams of zlib (RFC 1950) that go on from one rectangle to the next, and the encoding that is nothing else.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use super::Brush;
use super::canvas::Area;
use super::format::Packed;
use super::plain;
use super::reader::{Octets, Reader, Source, Stop, lost};

/// One of a connection's streams. Made when it is first used.
#[derive(Default)]
pub(super) struct Inflater(Option<Box<Open>>);

struct Open {
    stream: Decompress,
    out: [u8; OUT_BYTES],
}

/// What is decompressed at once.
const OUT_BYTES: usize = 16 << 10;

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Inflater(open)" } else { "Inflater" })
    }
}

impl Inflater {
    /// It begins anew with the next rectangle.
    pub(super) fn reset(&mut self) {
        self.0 = None;
    }

    /// Reads so many compressed bytes.
    pub(super) fn inflate<'a, S: Source>(&'a mut self, reader: &'a mut Reader<S>, bytes: u32) -> Inflating<'a, S> {
        let open = self.0.get_or_insert_with(|| Box::new(Open { stream: Decompress::new(true), out: [0; OUT_BYTES] }));
        Inflating { reader, open, left: bytes as usize, read: 0, filled: 0 }
    }
}

/// What one rectangle has of a stream.
pub(super) struct Inflating<'a, S> {
    reader: &'a mut Reader<S>,
    open: &'a mut Open,
    /// Compressed bytes that are still to be read.
    left: usize,
    read: usize,
    filled: usize,
}

impl<S: Source> Inflating<'_, S> {
    /// Reads all of it, at most so many bytes.
    pub(super) fn all(&mut self, bytes_max: usize) -> Result<Vec<u8>, Stop> {
        let mut bytes = Vec::new();
        loop {
            bytes.extend_from_slice(&self.open.out[self.read..self.filled]);
            if bytes.len() > bytes_max {
                return lost("the target compressed more than its picture takes");
            }
            let is_all = self.left == 0 && self.filled < OUT_BYTES;
            self.read = self.filled;
            if is_all {
                return Ok(bytes);
            }
            match self.more() {
                // It had filled what there was room for, to the byte.
                Err(_) if self.left == 0 => return Ok(bytes),
                more => more?,
            }
        }
    }

    /// Reads the rest of it. It draws nothing, but what follows in the stream refers to it.
    pub(super) fn finish(mut self) -> Result<(), Stop> {
        while self.left > 0 {
            self.more()?;
        }
        Ok(())
    }

    /// Decompresses more. Nothing may come of it where input is left.
    fn more(&mut self) -> Result<(), Stop> {
        const NOTHING: &[u8] = &[];
        let there = if self.left == 0 { NOTHING } else { self.reader.at_hand()? };
        let input = &there[..there.len().min(self.left)];
        let (had, gave) = (self.open.stream.total_in(), self.open.stream.total_out());
        let status = self.open.stream.decompress(input, &mut self.open.out, FlushDecompress::None);
        let taken = (self.open.stream.total_in() - had) as usize;
        (self.read, self.filled) = (0, (self.open.stream.total_out() - gave) as usize);
        let stands_still = taken == 0 && self.filled == 0;
        match status {
            Ok(Status::Ok | Status::BufError) if !stands_still => {}
            Ok(Status::StreamEnd) if !stands_still => {}
            Ok(_) if self.left == 0 => return lost("what the target compressed ends before its picture does"),
            _ => return lost("what the target compressed cannot be decompressed"),
        }
        self.left -= taken;
        self.reader.advance(taken);
        self.reader.work(self.filled as u64 / 4)
    }
}

impl<S: Source> Octets for Inflating<'_, S> {
    fn exact(&mut self, mut into: &mut [u8]) -> Result<(), Stop> {
        while !into.is_empty() {
            if self.read == self.filled {
                self.more()?;
            }
            let there = &self.open.out[self.read..self.filled];
            let taken = there.len().min(into.len());
            let (now, rest) = into.split_at_mut(taken);
            now.copy_from_slice(&there[..taken]);
            self.read += taken;
            into = rest;
        }
        Ok(())
    }
}

pub(super) fn rectangle<S: Source>(
    reader: &mut Reader<S>,
    brush: &Brush,
    area: Area,
    stream: &mut Inflater,
) -> Result<(), Stop> {
    inflated(reader, area, stream, |inflating| plain::pixels(inflating, brush, Packed::Whole, area))
}

/// Draws what follows, compressed, behind its length; all of it is read.
pub(super) fn inflated<S: Source, T>(
    reader: &mut Reader<S>,
    area: Area,
    stream: &mut Inflater,
    draw: impl FnOnce(&mut Inflating<'_, S>) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let length = reader.u32()?;
    reader.work(area.work())?;
    let mut inflating = stream.inflate(reader, length);
    let drawn = draw(&mut inflating)?;
    inflating.finish()?;
    Ok(drawn)
}

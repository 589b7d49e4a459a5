//! The picture that a target draws, followed from what it says behind the handshake (RFC 6143, 7.3.2 and 7.6, and the
//! community's document of extensions). Nothing here does I/O or waits by itself: a [`Source`] gives what came, in order. A
//! target that says what cannot be followed, or asks for more work than any screen needs, loses its picture and nothing else.

mod canvas;
mod format;
mod plain;
mod reader;
#[cfg(test)]
mod tests;
mod tight;
mod zlib;
mod zrle;

use std::sync::Arc;

pub use canvas::{Canvas, Cut, Glance, Piece};
pub use reader::{Said, Source};

use canvas::Area;
use format::Format;
use reader::{Octets as _, Reader, Stop, lost};
use zlib::Inflater;

/// Follows one connection's screen.
#[derive(Debug)]
pub struct Decoder<S> {
    reader: Reader<S>,
    brush: Brush,
    zlib: Inflater,
    zrle: Inflater,
    tight: [Inflater; 4],
}

/// What rectangles are drawn with, and where.
#[derive(Debug)]
struct Brush {
    canvas: Arc<Canvas>,
    format: Format,
}

/// How following a screen ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Nothing comes any more.
    Over,
    /// It cannot be followed any further; why, in words.
    Lost(String),
}

/// A picture that can be followed has rectangles of these forms and no others; so a target is asked for no others.
pub(super) const fn understands(encoding: i32) -> bool {
    use encodings::*;
    // Of those that are no rectangles, these only say how to make others: how much JPEG and zlib may lose or cost.
    const JPEG_QUALITY: std::ops::RangeInclusive<i32> = -32..=-23;
    const COMPRESSION: std::ops::RangeInclusive<i32> = -256..=-247;
    const JPEG_FINE_QUALITY: std::ops::RangeInclusive<i32> = -512..=-412;
    const JPEG_COLOURS: std::ops::RangeInclusive<i32> = -768..=-763;
    const fn within(range: &std::ops::RangeInclusive<i32>, encoding: i32) -> bool {
        *range.start() <= encoding && encoding <= *range.end()
    }
    matches!(
        encoding,
        RAW | COPY_RECT
            | RRE
            | CORRE
            | HEXTILE
            | ZLIB
            | TIGHT
            | ZRLE
            | DESKTOP_SIZE
            | LAST_RECT
            | POINTER_POS
            | CURSOR
            | X_CURSOR
            | KEYBOARD_LIGHTS
            | DESKTOP_NAME
            | EXTENDED_DESKTOP_SIZE
            | FENCE
            | CONTINUOUS_UPDATES
            | VMWARE_CURSOR
            | VMWARE_LIGHTS
    ) || within(&JPEG_QUALITY, encoding)
        || within(&COMPRESSION, encoding)
        || within(&JPEG_FINE_QUALITY, encoding)
        || within(&JPEG_COLOURS, encoding)
}

/// Whether pixels of this form (PIXEL_FORMAT, RFC 6143, 7.4) can be followed.
///
/// # Errors
/// They cannot; in words.
pub(super) fn follows(format: &[u8; 16]) -> Result<(), String> {
    Format::read(format).map(drop)
}

/// As the registry of RFC 6143, 8.4, and the community's document number them.
mod encodings {
    pub(super) const RAW: i32 = 0;
    pub(super) const COPY_RECT: i32 = 1;
    pub(super) const RRE: i32 = 2;
    pub(super) const CORRE: i32 = 4;
    pub(super) const HEXTILE: i32 = 5;
    pub(super) const ZLIB: i32 = 6;
    pub(super) const TIGHT: i32 = 7;
    pub(super) const ZRLE: i32 = 16;
    pub(super) const DESKTOP_SIZE: i32 = -223;
    pub(super) const LAST_RECT: i32 = -224;
    pub(super) const POINTER_POS: i32 = -232;
    pub(super) const CURSOR: i32 = -239;
    pub(super) const X_CURSOR: i32 = -240;
    pub(super) const KEYBOARD_LIGHTS: i32 = -261;
    pub(super) const DESKTOP_NAME: i32 = -307;
    pub(super) const EXTENDED_DESKTOP_SIZE: i32 = -308;
    /// Invites 248 in both directions.
    pub(super) const FENCE: i32 = -312;
    /// Invites 150 in both directions.
    pub(super) const CONTINUOUS_UPDATES: i32 = -313;
    pub(super) const VMWARE_CURSOR: i32 = 0x574d_5664;
    pub(super) const VMWARE_LIGHTS: i32 = 0x574d_5668;
}

/// How a rectangle begins (7.6.1). What its numbers mean is its encoding's to say.
#[derive(Debug, Clone, Copy)]
struct Head {
    x: u16,
    y: u16,
    width: u16,
    height: u16,
    encoding: i32,
}

impl<S: Source> Decoder<S> {
    /// Draws on a canvas what the source gives, from ServerInit on.
    pub fn new(source: S, canvas: Arc<Canvas>) -> Self {
        Self {
            reader: Reader::new(source),
            brush: Brush { canvas, format: Format::default() },
            zlib: Inflater::default(),
            zrle: Inflater::default(),
            tight: Default::default(),
        }
    }

    /// Follows it to its end.
    pub fn run(mut self) -> Ended {
        match self.follow() {
            Err(Stop::Over) | Ok(()) => Ended::Over,
            Err(Stop::Lost(why)) => Ended::Lost(why),
        }
    }

    fn follow(&mut self) -> Result<(), Stop> {
        let (width, height) = (self.reader.u16()?, self.reader.u16()?);
        self.brush.format = Format::read(&self.reader.array()?).map_err(Stop::Lost)?;
        let name_bytes = self.reader.u32()?;
        self.reader.skip(name_bytes.into())?;
        self.brush.canvas.resize(width, height).map_err(Stop::Lost)?;
        loop {
            let kind = self.reader.u8()?;
            self.take_up_format()?;
            self.message(kind)?;
        }
    }

    /// Whoever asks for another form of pixels has no update to come, or has one that comes now, still in the old form.
    fn take_up_format(&mut self) -> Result<(), Stop> {
        let Some(format) = self.reader.next_format() else { return Ok(()) };
        self.brush.format = Format::read(&format).map_err(Stop::Lost)?;
        Ok(())
    }

    fn message(&mut self, kind: u8) -> Result<(), Stop> {
        match kind {
            0 => self.update(),
            1 => self.colours(),
            // A bell.
            2 => Ok(()),
            // Text, negative in the extended form.
            3 => {
                self.reader.skip(3)?;
                let length = (self.reader.u32()? as i32).unsigned_abs();
                self.reader.skip(length.into())
            }
            150 => {
                self.reader.updates_ended();
                Ok(())
            }
            // A fence.
            248 => {
                self.reader.skip(3 + 4)?;
                let length = self.reader.u8()?;
                self.reader.skip(length.into())
            }
            // xvp: what became of it.
            250 => self.reader.skip(3),
            kind => lost(format!("the target sent message {kind}, whose length nobody knows")),
        }
    }

    fn colours(&mut self) -> Result<(), Stop> {
        self.reader.skip(1)?;
        let (first, count) = (self.reader.u16()?, self.reader.u16()?);
        for number in (0..count).map(|number| usize::from(first) + usize::from(number)) {
            let [red, _, green, _, blue, _] = self.reader.array()?;
            self.brush.format.set_colour(number, u32::from_be_bytes([0, red, green, blue]));
        }
        if self.brush.format.is_mapped() {
            let work = self.brush.canvas.area();
            self.reader.work(work)?;
            self.brush.canvas.recolour(self.brush.format.map());
        }
        Ok(())
    }

    fn update(&mut self) -> Result<(), Stop> {
        /// Says that LastRect tells the end.
        const UNTIL_LAST: u16 = u16::MAX;
        self.reader.skip(1)?;
        let count = self.reader.u16()?;
        let mut left = count;
        while left > 0 {
            let head = self.head()?;
            if head.encoding == encodings::LAST_RECT {
                break;
            }
            self.rectangle(head)?;
            self.brush.canvas.commit();
            if count != UNTIL_LAST {
                left -= 1;
            }
        }
        Ok(())
    }

    fn head(&mut self) -> Result<Head, Stop> {
        let reader = &mut self.reader;
        Ok(Head {
            x: reader.u16()?,
            y: reader.u16()?,
            width: reader.u16()?,
            height: reader.u16()?,
            encoding: reader.u32()? as i32,
        })
    }

    fn rectangle(&mut self, head: Head) -> Result<(), Stop> {
        use encodings::*;
        let Self { reader, brush, zlib, zrle, tight } = self;
        if !matches!(head.encoding, RAW | COPY_RECT | RRE | CORRE | HEXTILE | ZLIB | TIGHT | ZRLE) {
            return self.beside_the_picture(head);
        }
        let area = brush.canvas.within(head)?;
        match head.encoding {
            COPY_RECT => plain::copy(reader, brush, area),
            RRE => plain::rre(reader, brush, area),
            CORRE => plain::corre(reader, brush, area),
            HEXTILE => plain::hextile(reader, brush, area),
            ZLIB => zlib::rectangle(reader, brush, area, zlib),
            TIGHT => tight::rectangle(reader, brush, area, tight),
            ZRLE => zrle::rectangle(reader, brush, area, zrle),
            _ => plain::raw(reader, brush, area),
        }
    }

    /// What stands among rectangles and draws nothing.
    fn beside_the_picture(&mut self, head: Head) -> Result<(), Stop> {
        use encodings::*;
        let pixels = u64::from(head.width) * u64::from(head.height);
        let mask_bytes = u64::from(head.width).div_ceil(8) * u64::from(head.height);
        let pixel_bytes = self.brush.format.pixel_bytes() as u64;
        let reader = &mut self.reader;
        match head.encoding {
            DESKTOP_SIZE => {
                self.brush.canvas.resize(head.width, head.height).map_err(Stop::Lost)?;
                reader.work(pixels)
            }
            EXTENDED_DESKTOP_SIZE => {
                let screens = reader.u8()?;
                reader.skip(3 + 16 * u64::from(screens))?;
                // This technician asked for it, and was refused.
                if head.x == 1 && head.y != 0 {
                    return Ok(());
                }
                self.brush.canvas.resize(head.width, head.height).map_err(Stop::Lost)?;
                reader.work(pixels)
            }
            POINTER_POS => Ok(()),
            CURSOR => reader.skip(pixels * pixel_bytes + mask_bytes),
            X_CURSOR if pixels == 0 => Ok(()),
            X_CURSOR => reader.skip(6 + 2 * mask_bytes),
            VMWARE_CURSOR => {
                let [kind, _] = reader.array()?;
                match kind {
                    0 => reader.skip(2 * pixels * pixel_bytes),
                    1 => reader.skip(pixels * 4),
                    kind => lost(format!("the target sent a pointer of form {kind}, whose length nobody knows")),
                }
            }
            KEYBOARD_LIGHTS => reader.skip(1),
            VMWARE_LIGHTS => reader.skip(4),
            DESKTOP_NAME => {
                let length = reader.u32()?;
                reader.skip(length.into())
            }
            encoding => lost(format!("the target drew by encoding {encoding}, for which it was not asked")),
        }
    }
}

impl Brush {
    /// Draws what was decoded, row by row.
    fn draw(&self, area: Area, pixels: &[u32]) {
        self.canvas.draw(area, pixels);
    }

    fn fill(&self, area: Area, pixel: u32) {
        self.canvas.fill(area, pixel);
    }
}

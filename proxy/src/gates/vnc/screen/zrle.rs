//! ZRLE (7.7.6): tiles of few colours or of runs, in one stream of zlib.

use std::sync::Arc;

use super::canvas::{Area, Canvas};
use super::format::Packed;
use super::plain::{pixel, pixels};
use super::reader::{Octets, Reader, Source, Stop, lost};
use super::zlib::{Inflater, inflated};
use super::{Brush, Head, encodings};

const TILE: usize = 64;

/// A larger rectangle is not looked at to find out how a target packs pixels.
const LOOKED_AT_PIXELS_MAX: usize = 2 << 20;

pub(super) fn rectangle<S: Source>(
    reader: &mut Reader<S>,
    brush: &mut Brush,
    area: Area,
    stream: &mut Inflater,
) -> Result<(), Stop> {
    match brush.format.contested() {
        Some(short) if (1..=LOOKED_AT_PIXELS_MAX).contains(&(area.width * area.height)) => {
            // A run takes six bytes of most pixels, and a palette some hundred of each tile.
            let bytes_max = 6 * area.width * area.height + 1_024 * area.tiles(TILE).count();
            let bytes = inflated(reader, area, stream, |inflating| inflating.all(bytes_max))?;
            brush.format.is_seen(seen(&bytes, brush, area, short)?);
            tiles(&mut &bytes[..], brush, area)
        }
        _ => inflated(reader, area, stream, |inflating| tiles(inflating, brush, area)),
    }
}

fn tiles(from: &mut impl Octets, brush: &Brush, area: Area) -> Result<(), Stop> {
    let mut drawn = vec![0; TILE * TILE];
    for tile in area.tiles(TILE) {
        self::tile(from, brush, tile, &mut drawn[..tile.width * tile.height])?;
    }
    Ok(())
}

/// In which of two ways pixels are packed in a rectangle: only in one of them it is over with its last pixel. Drawn to find that
/// out on a canvas that nobody sees.
fn seen(bytes: &[u8], brush: &Brush, area: Area, short: Packed) -> Result<Packed, Stop> {
    let side = |length: usize| u16::try_from(length).expect("it came as a u16");
    for packed in [Packed::Whole, short] {
        let canvas = Arc::new(Canvas::new(Arc::default()));
        let (width, height) = (side(area.width), side(area.height));
        canvas.resize(width, height).map_err(Stop::Lost)?;
        let area = canvas.within(Head { x: 0, y: 0, width, height, encoding: encodings::ZRLE })?;
        let mut trial = Brush { canvas, format: brush.format.clone() };
        trial.format.is_seen(packed);
        let mut rest = bytes;
        if tiles(&mut rest, &trial, area).is_ok() && rest.is_empty() {
            return Ok(packed);
        }
    }
    lost("the target packed pixels in a way that nobody knows")
}

fn tile(from: &mut impl Octets, brush: &Brush, tile: Area, drawn: &mut [u32]) -> Result<(), Stop> {
    let packed = brush.format.compact();
    let mut palette = [0; 128];
    match from.u8()? {
        0 => return pixels(from, brush, packed, tile),
        1 => drawn.fill(pixel(from, brush, packed)?),
        count @ 2..=16 => {
            let palette = &mut palette[..count.into()];
            read_palette(from, brush, packed, palette)?;
            packed_indexes(from, palette, tile.width, drawn)?;
        }
        128 => runs(from, drawn, |from| {
            let colour = pixel(from, brush, packed)?;
            Ok((colour, run_length(from)?))
        })?,
        count @ 130.. => {
            let palette = &mut palette[..usize::from(count - 128)];
            read_palette(from, brush, packed, palette)?;
            runs(from, drawn, |from| {
                let index = from.u8()?;
                let length = if index & 0x80 != 0 { run_length(from)? } else { 1 };
                Ok((colour_of(palette, index & 0x7f)?, length))
            })?;
        }
        kind => return lost(format!("the target sent a tile of form {kind}, which nobody knows")),
    }
    brush.draw(tile, drawn);
    Ok(())
}

fn read_palette(from: &mut impl Octets, brush: &Brush, packed: Packed, palette: &mut [u32]) -> Result<(), Stop> {
    for colour in palette {
        *colour = pixel(from, brush, packed)?;
    }
    Ok(())
}

pub(super) fn colour_of(palette: &[u32], index: u8) -> Result<u32, Stop> {
    match palette.get(usize::from(index)) {
        Some(colour) => Ok(*colour),
        None => lost("the target named a colour that its palette has not"),
    }
}

fn packed_indexes(from: &mut impl Octets, palette: &[u32], width: usize, drawn: &mut [u32]) -> Result<(), Stop> {
    let bits = match palette.len() {
        ..=2 => 1,
        3..=4 => 2,
        _ => 4,
    };
    let each = 8 / bits;
    for row in drawn.chunks_exact_mut(width) {
        for pixels in row.chunks_mut(each) {
            let byte = from.u8()?;
            for (n, pixel) in pixels.iter_mut().enumerate() {
                *pixel = colour_of(palette, byte >> (8 - bits * (n + 1)) & ((1 << bits) - 1))?;
            }
        }
    }
    Ok(())
}

fn runs<O: Octets>(
    from: &mut O,
    drawn: &mut [u32],
    mut next: impl FnMut(&mut O) -> Result<(u32, usize), Stop>,
) -> Result<(), Stop> {
    let mut rest = drawn;
    while !rest.is_empty() {
        let (colour, length) = next(from)?;
        let Some((now, after)) = rest.split_at_mut_checked(length) else {
            return lost("the target drew a run that is longer than its tile");
        };
        now.fill(colour);
        rest = after;
    }
    Ok(())
}

/// One more than the sum of bytes up to the first that is not 255.
fn run_length(from: &mut impl Octets) -> Result<usize, Stop> {
    let mut length = 1;
    loop {
        let byte = from.u8()?;
        length += usize::from(byte);
        if byte < 255 {
            return Ok(length);
        }
        if length > TILE * TILE {
            return lost("the target drew a run that is longer than its tile");
        }
    }
}

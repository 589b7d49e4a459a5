//! The encodings that compress by form alone (7.7.1 to 7.7.4, and CoRRE of the community's document).

use super::Brush;
use super::canvas::Area;
use super::format::Packed;
use super::reader::{Octets, Reader, Source, Stop};

/// The side of Hextile's tiles.
const TILE: usize = 16;

pub(super) fn raw<S: Source>(reader: &mut Reader<S>, brush: &Brush, area: Area) -> Result<(), Stop> {
    reader.work(area.work())?;
    pixels(reader, brush, Packed::Whole, area)
}

/// One pixel after the other, row by row.
pub(super) fn pixels(from: &mut impl Octets, brush: &Brush, packed: Packed, area: Area) -> Result<(), Stop> {
    let mut bytes = vec![0; area.width * brush.format.bytes_of(packed)];
    let mut row = vec![0; area.width];
    for number in 0..area.height {
        from.exact(&mut bytes)?;
        brush.format.pixels(packed, &bytes, &mut row);
        brush.draw(area.row(number), &row);
    }
    Ok(())
}

/// The next pixel.
pub(super) fn pixel(from: &mut impl Octets, brush: &Brush, packed: Packed) -> Result<u32, Stop> {
    let mut bytes = [0; 4];
    let bytes = &mut bytes[..brush.format.bytes_of(packed)];
    from.exact(bytes)?;
    Ok(brush.format.pixel(packed, bytes))
}

pub(super) fn copy<S: Source>(reader: &mut Reader<S>, brush: &Brush, area: Area) -> Result<(), Stop> {
    let (x, y) = (reader.u16()?, reader.u16()?);
    reader.work(area.work())?;
    let head = |length: usize| u16::try_from(length).expect("it came as a u16");
    let encoding = super::encodings::COPY_RECT;
    let from = super::Head { x, y, width: head(area.width), height: head(area.height), encoding };
    let from = brush.canvas.within(from)?;
    brush.canvas.copy(from, area);
    Ok(())
}

pub(super) fn rre<S: Source>(reader: &mut Reader<S>, brush: &Brush, area: Area) -> Result<(), Stop> {
    rises(reader, brush, area, |reader| {
        Ok([reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?].map(usize::from))
    })
}

pub(super) fn corre<S: Source>(reader: &mut Reader<S>, brush: &Brush, area: Area) -> Result<(), Stop> {
    rises(reader, brush, area, |reader| Ok(reader.array::<4>()?.map(usize::from)))
}

/// Rectangles of one colour each, upon one.
fn rises<S: Source>(
    reader: &mut Reader<S>,
    brush: &Brush,
    area: Area,
    place: impl Fn(&mut Reader<S>) -> Result<[usize; 4], Stop>,
) -> Result<(), Stop> {
    let count = reader.u32()?;
    reader.work(area.work())?;
    brush.fill(area, pixel(reader, brush, Packed::Whole)?);
    for _ in 0..count {
        let colour = pixel(reader, brush, Packed::Whole)?;
        let [x, y, width, height] = place(reader)?;
        let part = area.part(x, y, width, height)?;
        reader.work(part.work())?;
        brush.fill(part, colour);
    }
    Ok(())
}

pub(super) fn hextile<S: Source>(reader: &mut Reader<S>, brush: &Brush, area: Area) -> Result<(), Stop> {
    const RAW: u8 = 1;
    const BACKGROUND: u8 = 2;
    const FOREGROUND: u8 = 4;
    const PARTS: u8 = 8;
    const COLOURED: u8 = 16;
    reader.work(area.work())?;
    let (mut background, mut foreground) = (0, 0);
    let mut drawn = [0; TILE * TILE];
    for tile in area.tiles(TILE) {
        let kind = reader.u8()?;
        if kind & RAW != 0 {
            pixels(reader, brush, Packed::Whole, tile)?;
            continue;
        }
        if kind & BACKGROUND != 0 {
            background = pixel(reader, brush, Packed::Whole)?;
        }
        if kind & FOREGROUND != 0 {
            foreground = pixel(reader, brush, Packed::Whole)?;
        }
        let drawn = &mut drawn[..tile.width * tile.height];
        drawn.fill(background);
        let parts = if kind & PARTS != 0 { reader.u8()? } else { 0 };
        for _ in 0..parts {
            let colour = if kind & COLOURED != 0 { pixel(reader, brush, Packed::Whole)? } else { foreground };
            let [place, size] = reader.array()?.map(|byte: u8| (usize::from(byte >> 4), usize::from(byte & 15)));
            let part = tile.part(place.0, place.1, size.0 + 1, size.1 + 1)?;
            reader.work(part.work())?;
            for row in 0..part.height {
                drawn[(place.1 + row) * tile.width + place.0..][..part.width].fill(colour);
            }
        }
        brush.draw(tile, drawn);
    }
    Ok(())
}

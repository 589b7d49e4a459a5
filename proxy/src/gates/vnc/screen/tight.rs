//! Tight (the community's document): one colour, JPEG, or pixels behind a filter in one of four streams of zlib.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::Brush;
use super::canvas::Area;
use super::format::Packed;
use super::plain::{pixel, pixels};
use super::reader::{Octets, Reader, Source, Stop, lost};
use super::zlib::Inflater;
use super::zrle::colour_of;

/// What is shorter is not compressed.
const COMPRESSED_BYTES_MIN: usize = 12;
/// A picture that is drawn in more passes would cost more each time and show no more. libjpeg's own has one.
const JPEG_PASSES_MAX: usize = 16;
/// Servers send Tight in rectangles of at most so many pixels in width; what is larger would take much memory at once.
const JPEG_SIDE_MAX: usize = 2048;

pub(super) fn rectangle<S: Source>(
    reader: &mut Reader<S>,
    brush: &Brush,
    area: Area,
    streams: &mut [Inflater; 4],
) -> Result<(), Stop> {
    let control = reader.u8()?;
    let reset = streams.iter_mut().enumerate().filter(|(n, _)| control >> n & 1 == 1);
    reset.for_each(|(_, stream)| stream.reset());
    reader.work(area.work())?;
    match control >> 4 {
        kind @ 0..8 => {
            const HAS_FILTER: u8 = 4;
            let stream = &mut streams[usize::from(kind & 3)];
            let filter = if kind & HAS_FILTER != 0 { reader.u8()? } else { 0 };
            filtered(reader, brush, area, stream, filter)
        }
        8 => {
            let colour = pixel(reader, brush, brush.format.tight())?;
            brush.fill(area, colour);
            Ok(())
        }
        9 => jpeg(reader, brush, area),
        kind => lost(format!("the target compressed by form {kind} of Tight, for which it was not asked")),
    }
}

/// What the filters make of bytes.
enum Filter {
    Copied,
    Palette(Vec<u32>),
    Gradient,
}

impl Filter {
    fn row_bytes(&self, brush: &Brush, width: usize) -> usize {
        match self {
            Self::Copied | Self::Gradient => width * brush.format.bytes_of(brush.format.tight()),
            Self::Palette(palette) if palette.len() <= 2 => width.div_ceil(8),
            Self::Palette(_) => width,
        }
    }

    fn draw(&self, from: &mut impl Octets, brush: &Brush, area: Area) -> Result<(), Stop> {
        match self {
            Self::Copied => pixels(from, brush, brush.format.tight(), area),
            Self::Palette(palette) => by_palette(from, brush, area, palette),
            Self::Gradient => by_gradient(from, brush, area),
        }
    }
}

fn filtered<S: Source>(
    reader: &mut Reader<S>,
    brush: &Brush,
    area: Area,
    stream: &mut Inflater,
    filter: u8,
) -> Result<(), Stop> {
    let filter = match filter {
        0 => Filter::Copied,
        1 => {
            let count = usize::from(reader.u8()?) + 1;
            let mut palette = Vec::with_capacity(count);
            for _ in 0..count {
                palette.push(pixel(reader, brush, brush.format.tight())?);
            }
            Filter::Palette(palette)
        }
        2 => Filter::Gradient,
        filter => return lost(format!("the target filtered by form {filter} of Tight, which nobody knows")),
    };
    if filter.row_bytes(brush, area.width) * area.height < COMPRESSED_BYTES_MIN {
        return filter.draw(reader, brush, area);
    }
    let length = compact_length(reader)?;
    let mut inflating = stream.inflate(reader, length);
    filter.draw(&mut inflating, brush, area)?;
    inflating.finish()
}

/// Up to 22 bits, seven of them in each of the first two bytes.
fn compact_length<S: Source>(reader: &mut Reader<S>) -> Result<u32, Stop> {
    let mut length = 0;
    for shift in [0, 7] {
        let byte = u32::from(reader.u8()?);
        length |= (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Ok(length | u32::from(reader.u8()?) << 14)
}

fn by_palette(from: &mut impl Octets, brush: &Brush, area: Area, palette: &[u32]) -> Result<(), Stop> {
    let is_packed = palette.len() <= 2;
    let mut bytes = vec![0; if is_packed { area.width.div_ceil(8) } else { area.width }];
    let mut row = vec![0; area.width];
    for number in 0..area.height {
        from.exact(&mut bytes)?;
        for (n, pixel) in row.iter_mut().enumerate() {
            let index = if is_packed { bytes[n / 8] >> (7 - n % 8) & 1 } else { bytes[n] };
            *pixel = colour_of(palette, index)?;
        }
        brush.draw(area.row(number), &row);
    }
    Ok(())
}

/// Each component is the difference to what those to the left, above, and left above let expect.
fn by_gradient(from: &mut impl Octets, brush: &Brush, area: Area) -> Result<(), Stop> {
    let (format, packed) = (&brush.format, brush.format.tight());
    let maxima = format.maxima().map(i64::from);
    let each = format.bytes_of(packed);
    let mut bytes = vec![0; area.width * each];
    let (mut above, mut row) = (vec![[0_i64; 3]; area.width], vec![0; area.width]);
    for number in 0..area.height {
        from.exact(&mut bytes)?;
        let (mut left, mut left_above) = ([0_i64; 3], [0_i64; 3]);
        for (n, bytes) in bytes.chunks_exact(each).enumerate() {
            let Some(parts) = format.parts(packed, bytes) else {
                return lost("the target filtered colours of a map by their gradient");
            };
            let own: [i64; 3] = std::array::from_fn(|c| {
                let expected = (left[c] + above[n][c] - left_above[c]).clamp(0, maxima[c]);
                (expected + i64::from(parts[c])) & maxima[c]
            });
            left_above = std::mem::replace(&mut above[n], own);
            left = own;
            row[n] = format.of_parts(own.map(|part| u32::try_from(part).expect("it is masked")));
        }
        brush.draw(area.row(number), &row);
    }
    Ok(())
}

fn jpeg<S: Source>(reader: &mut Reader<S>, brush: &Brush, area: Area) -> Result<(), Stop> {
    const PASS_BEGINS: &[u8] = &[0xff, 0xda];
    let length = compact_length(reader)?;
    if area.width > JPEG_SIDE_MAX || area.height > JPEG_SIDE_MAX {
        return lost("the target sent a JPEG that is larger than any server makes");
    }
    let mut bytes = vec![0; length as usize];
    reader.exact(&mut bytes)?;
    if bytes.windows(2).filter(|marker| *marker == PASS_BEGINS).count() > JPEG_PASSES_MAX {
        return lost("the target sent a JPEG of too many passes");
    }
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes.as_slice()), options);
    let unreadable = |_| Stop::Lost("the target sent a JPEG that cannot be read".to_owned());
    decoder.decode_headers().map_err(unreadable)?;
    if decoder.dimensions() != Some((area.width, area.height)) {
        return lost("the target sent a JPEG of another size than it said");
    }
    let rgb = decoder.decode().map_err(unreadable)?;
    let mut row = vec![0; area.width];
    for (number, bytes) in rgb.chunks_exact(3 * area.width).take(area.height).enumerate() {
        brush.format.pixels(Packed::Rgb, bytes, &mut row);
        brush.draw(area.row(number), &row);
    }
    Ok(())
}

//! What a pixel looks like in what the target says (7.4), and the colour that it is: `0x00RRGGBB`. A colour out of a map keeps
//! its number in the highest byte, so that it changes with the map.

/// A form of pixels.
#[derive(Debug, Clone)]
pub(super) struct Format {
    bytes: usize,
    is_big_endian: bool,
    depth: u8,
    colours: Colours,
    map: Box<[u32; 256]>,
    /// How this target packs pixels for ZRLE, once that was seen.
    seen: Option<Packed>,
}

#[derive(Debug, Clone, Copy)]
enum Colours {
    /// Red, green and blue within the pixel.
    True([Component; 3]),
    Mapped,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Component {
    shift: u8,
    max: u16,
}

impl Component {
    const fn of(self, raw: u32) -> u32 {
        (raw >> self.shift) & self.max as u32
    }

    /// Of 255.
    #[inline]
    const fn scaled(self, value: u32) -> u32 {
        if self.max == 255 { value } else { (value * 255 + self.max as u32 / 2) / self.max as u32 }
    }
}

/// What compressing encodings make of a pixel of four bytes whose highest or lowest says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packed {
    /// As it is.
    Whole,
    /// Without its highest byte.
    WithoutHighest,
    /// Without its lowest byte.
    WithoutLowest,
    /// Red, green, blue.
    Rgb,
}

impl Default for Format {
    fn default() -> Self {
        let component = |shift| Component { shift, max: 255 };
        let colours = Colours::True([component(16), component(8), component(0)]);
        Self { bytes: 4, is_big_endian: false, depth: 24, colours, map: Box::new([0; 256]), seen: None }
    }
}

impl Format {
    /// Reads a PIXEL_FORMAT.
    ///
    /// # Errors
    /// It has pixels that cannot be shown.
    pub(super) fn read(bytes: &[u8; 16]) -> Result<Self, String> {
        let [bits, depth, is_big_endian, is_true_colour, ..] = *bytes;
        let bytes_each = match bits {
            8 | 16 | 32 => usize::from(bits / 8),
            bits => return Err(format!("pixels of {bits} bits cannot be shown")),
        };
        let component = |n: usize| {
            let component =
                Component { max: u16::from_be_bytes([bytes[4 + 2 * n], bytes[5 + 2 * n]]), shift: bytes[10 + n] };
            let fits = component.max > 0 && component.shift < bits;
            if fits { Ok(component) } else { Err("pixels that have colours of no bits cannot be shown") }
        };
        let colours = match (is_true_colour, bits) {
            (0, 8) => Colours::Mapped,
            (0, bits) => return Err(format!("a map of colours for pixels of {bits} bits cannot be shown")),
            _ => Colours::True([component(0)?, component(1)?, component(2)?]),
        };
        let is_big_endian = is_big_endian != 0;
        Ok(Self { bytes: bytes_each, is_big_endian, depth, colours, map: Box::new([0; 256]), seen: None })
    }

    pub(super) const fn pixel_bytes(&self) -> usize {
        self.bytes
    }

    pub(super) const fn is_mapped(&self) -> bool {
        matches!(self.colours, Colours::Mapped)
    }

    pub(super) const fn map(&self) -> &[u32; 256] {
        &self.map
    }

    /// Sets a colour of the map; those that no pixel can name are left out.
    pub(super) fn set_colour(&mut self, number: usize, colour: u32) {
        if let Some(known) = self.map.get_mut(number) {
            *known = colour;
        }
    }

    /// As ZRLE packs pixels (7.7.5): all of them, where more than 24 bits count.
    pub(super) fn compact(&self) -> Packed {
        if self.depth > 24 { self.seen.unwrap_or(Packed::Whole) } else { self.shortest() }
    }

    /// As many servers pack pixels of which more than 24 bits are said to count, although the colours take no more; none where
    /// that is no question, or was answered.
    pub(super) fn contested(&self) -> Option<Packed> {
        let is_asked = self.depth > 24 && self.seen.is_none();
        is_asked.then(|| self.shortest()).filter(|short| *short != Packed::Whole)
    }

    /// This target packs them so.
    pub(super) const fn is_seen(&mut self, packed: Packed) {
        self.seen = Some(packed);
    }

    /// In three bytes, where the colours fit into those.
    fn shortest(&self) -> Packed {
        let Colours::True(components) = self.colours else { return Packed::Whole };
        if self.bytes != 4 {
            return Packed::Whole;
        }
        let used = components.iter().fold(0_u64, |used, one| used | u64::from(one.max) << one.shift);
        match used {
            0..=0xff_ffff => Packed::WithoutHighest,
            used if used & 0xff == 0 => Packed::WithoutLowest,
            _ => Packed::Whole,
        }
    }

    /// As Tight packs pixels.
    pub(super) fn tight(&self) -> Packed {
        match self.colours {
            Colours::True(components) if components.iter().all(|one| one.max == 255) => {
                if self.bytes == 4 && self.depth == 24 { Packed::Rgb } else { Packed::Whole }
            }
            _ => Packed::Whole,
        }
    }

    /// How many bytes such a pixel has.
    pub(super) const fn bytes_of(&self, packed: Packed) -> usize {
        match packed {
            Packed::Whole => self.bytes,
            Packed::WithoutHighest | Packed::WithoutLowest | Packed::Rgb => 3,
        }
    }

    /// Reads a pixel of as many bytes as it has.
    #[inline]
    pub(super) fn pixel(&self, packed: Packed, bytes: &[u8]) -> u32 {
        if packed == Packed::Rgb {
            return u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        }
        let raw = if self.is_big_endian {
            bytes.iter().fold(0, |raw, byte| raw << 8 | u32::from(*byte))
        } else {
            bytes.iter().rev().fold(0, |raw, byte| raw << 8 | u32::from(*byte))
        };
        self.colour(if packed == Packed::WithoutLowest { raw << 8 } else { raw })
    }

    /// Reads as many pixels as there is room for.
    pub(super) fn pixels(&self, packed: Packed, bytes: &[u8], into: &mut [u32]) {
        for (pixel, bytes) in into.iter_mut().zip(bytes.chunks_exact(self.bytes_of(packed))) {
            *pixel = self.pixel(packed, bytes);
        }
    }

    /// The components of a pixel as they stand in it, for whoever works with those; none where it has none.
    pub(super) fn parts(&self, packed: Packed, bytes: &[u8]) -> Option<[u32; 3]> {
        let Colours::True(components) = self.colours else { return None };
        if packed == Packed::Rgb {
            return Some([bytes[0].into(), bytes[1].into(), bytes[2].into()]);
        }
        let raw = if self.is_big_endian {
            bytes.iter().fold(0, |raw, byte| raw << 8 | u32::from(*byte))
        } else {
            bytes.iter().rev().fold(0, |raw, byte| raw << 8 | u32::from(*byte))
        };
        Some(components.map(|component| component.of(raw)))
    }

    /// The largest values of the components.
    pub(super) const fn maxima(&self) -> [u32; 3] {
        match self.colours {
            Colours::True([red, green, blue]) => [red.max as u32, green.max as u32, blue.max as u32],
            Colours::Mapped => [0; 3],
        }
    }

    /// The colour of components as [`Format::parts`] gives them.
    pub(super) fn of_parts(&self, parts: [u32; 3]) -> u32 {
        let Colours::True(components) = self.colours else { return 0 };
        let [red, green, blue] = [0, 1, 2].map(|n| components[n].scaled(parts[n]));
        red << 16 | green << 8 | blue
    }

    #[inline]
    fn colour(&self, raw: u32) -> u32 {
        match self.colours {
            Colours::True([red, green, blue]) => {
                red.scaled(red.of(raw)) << 16 | green.scaled(green.of(raw)) << 8 | blue.scaled(blue.of(raw))
            }
            Colours::Mapped => self.map[raw as usize & 0xff] | raw << 24,
        }
    }
}

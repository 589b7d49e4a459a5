//! What the technician's program says once the screen is open (RFC 6143, 7.5, and the community's document of extensions):
//! how long each message is, what it means, and which encodings a target may be asked for.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::keys::Key;
use super::screen::{self, Said};

/// For the longest that says at its ninth byte how long it is.
pub(super) const HEAD_BYTES: usize = 9;
/// A text for the clipboard may be as long as TigerVNC's own limit.
pub(super) const CUT_BYTES_MAX: u32 = 256 << 10;

/// One whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// How pixels are to come, which part of the screen, and when: nothing but looking.
    Looks,
    Encodings,
    Key {
        is_down: bool,
        key: Key,
        from: Keyboard,
    },
    Pointer {
        buttons: u8,
        at: Point,
    },
    /// Text for the clipboard, of so many characters.
    Cut {
        characters: usize,
    },
    /// The same in the extended form, which can carry more than text and is not invited here.
    CutExtended,
    /// xvp: shut down, reboot, reset.
    Power(u8),
    Resize(Point),
}

/// A place on the screen, or its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Point {
    pub(super) x: u16,
    pub(super) y: u16,
}

/// Where a key event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyboard {
    /// KeyEvent, which names the symbol.
    Symbols,
    /// QEMU's, which names the key itself too.
    Codes(u32),
}

/// How long the message is that begins so.
pub(super) fn measure(head: &[u8]) -> Result<Option<usize>, String> {
    let Some(kind) = head.first() else { return Ok(None) };
    let byte = |n: usize| head.get(n).copied().map(usize::from);
    Ok(match kind {
        0 => Some(20),
        2 => byte(2).zip(byte(3)).map(|(high, low)| 4 + 4 * (high << 8 | low)),
        3 | 150 => Some(10),
        4 => Some(8),
        5 => Some(6),
        6 => match head.get(4..8) {
            Some(length) => match cut_length(length) {
                length @ 0..=CUT_BYTES_MAX => Some(8 + length as usize),
                length => return Err(format!("a text of {length} bytes for the clipboard")),
            },
            None => None,
        },
        248 => match byte(8) {
            Some(length @ 0..=64) => Some(9 + length),
            Some(_) => return Err("a fence of more than 64 bytes".to_owned()),
            None => None,
        },
        250 => Some(4),
        251 => byte(6).map(|screens| 8 + 16 * screens),
        255 => match byte(1) {
            Some(0) => Some(12),
            Some(sub) => return Err(format!("message 255/{sub}, whose length nobody knows")),
            None => None,
        },
        kind => return Err(format!("message {kind}, whose length nobody knows")),
    })
}

/// Negative in the extended form.
fn cut_length(bytes: &[u8]) -> u32 {
    (number(bytes) as i32).unsigned_abs()
}

/// Big-endian.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

impl Message {
    /// Reads a message that [`measure`] measured.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let short = |n: usize| u16::from_be_bytes([bytes[n], bytes[n + 1]]);
        let point = |n| Point { x: short(n), y: short(n + 2) };
        match bytes[0] {
            2 => Self::Encodings,
            4 => Self::Key { is_down: bytes[1] != 0, key: Key(number(&bytes[4..8])), from: Keyboard::Symbols },
            5 => Self::Pointer { buttons: bytes[1], at: point(2) },
            6 if bytes[4] & 0x80 != 0 => Self::CutExtended,
            6 => Self::Cut { characters: bytes.len() - 8 },
            250 => Self::Power(bytes[3]),
            251 => Self::Resize(point(2)),
            255 => Self::Key {
                is_down: short(2) != 0,
                key: Key(number(&bytes[4..8])),
                from: Keyboard::Codes(number(&bytes[8..12])),
            },
            _ => Self::Looks,
        }
    }
}

/// Whether those who watch can go on seeing what is drawn after it.
///
/// # Errors
/// It asks for pixels that nobody here can follow. A technician's program would read the old form as the new one if that were
/// kept from the target, so the connection ends.
pub(super) fn shown(bytes: &[u8]) -> Result<(), String> {
    match of_screen(bytes) {
        Some(Said::Format(format)) => screen::follows(&format)
            .map_err(|why| format!("{why} to those who watch: set the viewer to another number of colours")),
        _ => Ok(()),
    }
}

/// What follows from it for the picture.
pub(super) fn of_screen(bytes: &[u8]) -> Option<Said> {
    match bytes {
        [0, _, _, _, format @ ..] => format.try_into().ok().map(Said::Format),
        [150, 0, ..] => Some(Said::NoMoreUpdates),
        _ => None,
    }
}

/// A SetEncodings without what nobody here can follow, or would change what a pointer event means; nothing where all of it may
/// stand. Each of the rest at most once.
pub(super) fn filtered(bytes: &[u8]) -> Option<Bytes> {
    let mut kept: Vec<i32> = Vec::new();
    let asked = bytes[4..].chunks_exact(4).map(|encoding| number(encoding) as i32);
    for encoding in asked.filter(|encoding| screen::understands(*encoding)) {
        if !kept.contains(&encoding) {
            kept.push(encoding);
        }
    }
    if kept.len() * 4 + 4 == bytes.len() {
        return None;
    }
    let mut message = BytesMut::with_capacity(4 + 4 * kept.len());
    message.put_slice(&[2, 0]);
    message.put_u16(u16::try_from(kept.len()).expect("fewer encodings are understood than a u16 counts"));
    kept.into_iter().for_each(|encoding| message.put_i32(encoding));
    Some(message.freeze())
}

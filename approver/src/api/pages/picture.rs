//! A text as a picture that a telephone scans, within the page itself: nothing is fetched for it.

use std::fmt::Write as _;

use qrcode::{Color, EcLevel, QrCode};
use zeroize::Zeroizing;

/// Four modules on each side (ISO/IEC 18004, 6.3.8).
const MARGIN: usize = 4;

/// Nothing where the text is too long for one. A screen is not torn, so the least redundancy does.
pub(super) fn of(text: &str) -> Zeroizing<String> {
    let Ok(code) = QrCode::with_error_correction_level(text, EcLevel::L) else { return Zeroizing::default() };
    let (width, side) = (code.width(), code.width() + 2 * MARGIN);
    let mut path = Zeroizing::new(String::new());
    for (at, _) in code.to_colors().iter().enumerate().filter(|(_, color)| **color == Color::Dark) {
        let (x, y) = (at % width + MARGIN, at / width + MARGIN);
        write!(path, "M{x} {y}h1v1h-1z").expect("text takes text");
    }
    Zeroizing::new(format!(
        "<svg role=\"img\" aria-label=\"The same as a picture to scan\" viewBox=\"0 0 {side} {side}\"><path d=\"{}\"/></svg>",
        *path
    ))
}

//! A second factor as a picture to scan, drawn with characters: at enrolment by SSH and by command.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// A picture's lines on a terminal of 24, each two modules high.
const LINES_MAX: usize = 24;
/// Four modules on either side (ISO/IEC 18004, 6.3.8).
const MARGINS: usize = 8;

/// Half blocks, so that it fits 80 columns and 24 lines; with the least redundancy, since a screen is not torn.
pub fn picture(url: &str) -> String {
    match QrCode::with_error_correction_level(url, EcLevel::L) {
        Ok(code) => {
            // Cameras like a margin; where there is no room for one, a dark terminal around it still lets most read it.
            let has_room = code.width() + MARGINS <= 2 * LINES_MAX;
            let mut picture = code.render::<Dense1x2>();
            picture.quiet_zone(has_room).dark_color(Dense1x2::Light).light_color(Dense1x2::Dark);
            picture.build() + "\n"
        }
        Err(too_long) => {
            tracing::debug!(%too_long, "a second factor has no picture");
            "(The names are too long for a picture.)\n".to_owned()
        }
    }
}

/// The same for paper: ink where the code is dark, a margin, and redundancy for a fold or a stain.
pub fn printed(text: &str) -> String {
    match QrCode::with_error_correction_level(text, EcLevel::M) {
        Ok(code) => code.render::<Dense1x2>().quiet_zone(true).build() + "\n",
        Err(too_long) => {
            tracing::debug!(%too_long, "a sheet has no picture");
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_fits_a_page() {
        let row = "  1  8KQ1 2345 6789 ABCD\n";
        let rows = format!(
            "printed 2026-11-28T04:55:01Z\njournal 4100000 entries\n{0}records gate-1 1700000 entries\n{0}",
            row.repeat(4)
        );
        let picture = printed(&rows);
        assert!(picture.lines().all(|line| line.chars().count() <= 80), "{picture}");
        assert!((20..45).contains(&picture.lines().count()), "{picture}");
    }

    #[test]
    fn the_picture_fits_a_terminal() {
        let totp = certs::totp::TotpSecret::generate();
        let picture = picture(&totp.otpauth_url("Mill 3", "tess"));
        assert!(picture.lines().count() <= 24, "{} lines", picture.lines().count());
        assert!(picture.lines().all(|line| line.chars().count() <= 80));
    }
}

//! Small files that are replaced whole, and text in them that is not believed when a disk has changed it: behind it stands a
//! digest of it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use policies::digest::Digest;

/// Gives a file this content, on the disk, or leaves it as it was; nobody else may read it. Blocks.
pub(crate) fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = file.with_extension("draft");
    let mut writing = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    writing.write_all(bytes)?;
    writing.sync_data()?;
    fs::rename(&draft, file)
}

/// The text with its digest behind it.
pub(crate) fn sealed(text: &str) -> String {
    format!("{text}\n{}\n", Digest::of_bytes(text.as_bytes()))
}

/// The text, if it is as it was written.
pub(crate) fn opened(file: &str) -> Option<&str> {
    let (text, digest) = file.trim_end().rsplit_once('\n')?;
    (digest == Digest::of_bytes(text.as_bytes()).to_string()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bit_of_it_can_turn_unnoticed() {
        let whole = sealed("3f9a01bc-1207");
        assert_eq!(opened(&whole), Some("3f9a01bc-1207"));
        for place in 0..whole.len() - 1 {
            for bit in 0..8 {
                let mut bytes = whole.clone().into_bytes();
                bytes[place] ^= 1 << bit;
                // What is no text any more is not read at all.
                let Ok(read) = String::from_utf8(bytes) else { continue };
                assert!(opened(&read).is_none_or(|text| text == "3f9a01bc-1207"), "{read:?}");
            }
        }
        assert_eq!(opened("3f9a01bc-1207\n"), None);
    }
}

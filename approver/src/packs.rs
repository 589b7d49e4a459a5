//! Folders in which evidence packs are made. They lie in the data folder, beside what is kept, and none of it is kept: with its
//! pack a folder goes, and what a crash left goes before anything else is made or erased.

use std::fs;
use std::io;
use std::path::Path;

use tempfile::TempDir;

/// In the data folder; they lie beside other things there.
const BESIDE: &str = "state";
const PREFIX: &str = "pack-";

/// A new one, which is gone when this is dropped.
pub(crate) fn folder(data: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(PREFIX).tempdir_in(data.join(BESIDE))
}

/// Removes those that were left. Nobody makes a pack meanwhile.
pub(crate) fn sweep(data: &Path) -> io::Result<()> {
    let found = match fs::read_dir(data.join(BESIDE)) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    for left in found {
        let left = left?;
        if left.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            fs::remove_dir_all(left.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_left_of_a_pack_goes_and_nothing_else_does() {
        let data = tempfile::tempdir().unwrap();
        sweep(data.path()).unwrap();
        let kept = data.path().join(BESIDE).join("notices");
        fs::create_dir_all(&kept).unwrap();
        let left = folder(data.path()).unwrap().keep();
        fs::write(left.join("pack.zip"), b"names in the clear").unwrap();
        sweep(data.path()).unwrap();
        assert!(!left.exists() && kept.exists());
        let made = folder(data.path()).unwrap();
        let path = made.path().to_owned();
        drop(made);
        assert!(!path.exists());
    }
}

//! A file with a secret that somebody put there for the gate: read whole, and only where nobody but its owner can read it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use zeroize::Zeroizing;

/// Why such a file is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}", path = .path.display())]
pub struct PrivateFault {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

/// Its bytes.
///
/// # Errors
/// It cannot be read, others can read it, too, or it is longer than this.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, PrivateFault> {
    read_in(path, bytes_max, std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).as_deref())
}

/// The same, where this is the folder in which systemd puts such files.
fn read_in(path: &Path, bytes_max: u64, credentials: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, PrivateFault> {
    let fault = |why: String| PrivateFault { path: path.to_owned(), why };
    let about = std::fs::metadata(path).map_err(|error| fault(error.to_string()))?;
    if about.mode() & 0o077 != 0 && !is_credential(path, credentials) {
        return Err(fault("others than its owner can read it: `chmod 600` it, and put another secret into it".into()));
    }
    if about.len() > bytes_max {
        return Err(fault(format!("it has more than {bytes_max} bytes, so this is another file")));
    }
    std::fs::read(path).map(Zeroizing::new).map_err(|error| fault(error.to_string()))
}

/// What systemd puts in its folder for the gate is readable to a group, and the folder to nobody else.
fn is_credential(path: &Path, credentials: Option<&Path>) -> bool {
    let stays = !path.components().any(|part| part == Component::ParentDir);
    stays && credentials.is_some_and(|folder| folder.is_absolute() && path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_that_others_can_read_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join("password"), folder.path().join("other"));
        std::fs::write(&path, "hunter2\n").expect("a file");
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("ours");
        mode(0o640);
        assert!(read(&path, 99).expect_err("open to a group").to_string().contains("chmod 600"));
        mode(0o440);
        assert!(read_in(&path, 99, Some(folder.path())).is_ok(), "as systemd makes them");
        assert!(read_in(&path, 99, Some(&other)).is_err());
        assert!(read_in(&folder.path().join("other/../password"), 99, Some(&other)).is_err());
        mode(0o600);
        assert_eq!(read(&path, 99).expect("ours alone").as_slice(), b"hunter2\n");
        assert!(read(&path, 3).is_err());
    }
}

//! The folder of a demo: a temporary one that goes when the demo does, or one that was named and stays. In it lies what
//! in a plant lies apart: the gate, each person's own things, and what the auditor took away.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::DemoFault;

/// The folder.
pub(super) struct Home {
    path: PathBuf,
    /// Removed when dropped.
    temporary: Option<TempDir>,
}

impl Home {
    /// `dir`, which must not exist or be empty; else a temporary one.
    ///
    /// # Errors
    /// It is not empty, or cannot be made.
    pub(super) fn make(dir: Option<&Path>) -> Result<Self, DemoFault> {
        let Some(dir) = dir else {
            let made = tempfile::Builder::new().prefix("holdpoint-demo-").tempdir();
            let temporary = made.map_err(DemoFault::at(&std::env::temp_dir()))?;
            let path = temporary.path().canonicalize().map_err(DemoFault::at(temporary.path()))?;
            return Ok(Self { path, temporary: Some(temporary) });
        };
        make_folder(dir).map_err(DemoFault::at(dir))?;
        let path = dir.canonicalize().map_err(DemoFault::at(dir))?;
        let is_empty = fs::read_dir(&path).map_err(DemoFault::at(dir))?.next().is_none();
        if is_empty { Ok(Self { path, temporary: None }) } else { Err(DemoFault::NotEmpty(dir.to_owned())) }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it stays.
    pub(super) const fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    /// The installation.
    pub(super) fn gate(&self) -> PathBuf {
        self.path.join("gate")
    }

    /// What the auditor has.
    pub(super) fn auditor(&self) -> PathBuf {
        self.path.join("auditor")
    }

    /// One person's own things.
    pub(super) fn person(&self, name: &str) -> PathBuf {
        person(&self.path, name)
    }

    /// Makes this very program callable by a short name.
    ///
    /// # Errors
    /// It does not know where it lies, or cannot be linked to.
    pub(super) fn link_program(&self) -> io::Result<()> {
        symlink(std::env::current_exe()?, self.path.join("holdpoint"))
    }

    /// Removes it where it is temporary.
    ///
    /// # Errors
    /// Something in it cannot be removed.
    pub(super) fn leave(self) -> Result<(), DemoFault> {
        match self.temporary {
            Some(temporary) => temporary.close().map_err(DemoFault::at(&self.path)),
            None => Ok(()),
        }
    }
}

/// Where one person's things lie in a demo's folder.
pub(super) fn person(demo: &Path, name: &str) -> PathBuf {
    demo.join("people").join(name)
}

/// Makes a folder that only its owner opens, and those above it.
///
/// # Errors
/// As the system says.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).recursive(true).create(path)
}

/// Writes a file that only its owner reads.
///
/// # Errors
/// As the system says.
pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

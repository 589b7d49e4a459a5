//! A disk that a test may fill without harm to others: a file system in memory, of a size of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::run;

/// A small disk of its own, gone with the value.
pub struct Disk(tempfile::TempDir);

impl Disk {
    /// Of this size, as `mount` reads it. `None`, and said, where nobody may mount anything.
    pub fn of(size: &str) -> Option<Self> {
        let disk = Self(tempfile::tempdir().expect("a folder"));
        let options = format!("size={size},mode=700");
        let mut mount = Command::new("mount");
        let mounted = run(mount.args(["-t", "tmpfs", "-o", &options, "none"]).arg(disk.path()), b"");
        if !mounted.status.success() {
            println!("SKIPPED: nothing can be mounted here");
            return None;
        }
        Some(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills what is left of it, by a file that can be removed again.
    pub fn fill(&self) -> PathBuf {
        let file = self.path().join("filler");
        run(Command::new("dd").args(["if=/dev/zero", "bs=1M"]).arg(format!("of={}", file.display())), b"");
        file
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(self.path()), b"");
    }
}

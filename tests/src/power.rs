//! What a power cut leaves: a file system of its own in an image, and a copy of that image, taken while whoever writes stands
//! still. The kernel's page cache of the file system is not in it; what was synced is. A drive's own cache is beyond this.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::run;

/// Room for the segments that a gate fills with zeros. XFS takes none below 300 MiB.
const IMAGE_BYTES: u64 = 640 << 20;

/// The file systems that are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4, as Debian makes it.
    Ext4,
    /// XFS, as Debian makes it.
    Xfs,
}

impl FileSystem {
    const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// A file system in an image, mounted; gone with the value.
pub struct Image {
    folder: tempfile::TempDir,
    kind: FileSystem,
}

impl Image {
    /// A new one. `None`, and said, where nobody may mount one.
    pub fn new(kind: FileSystem) -> Option<Self> {
        let image = Self::empty(kind);
        let file = std::fs::File::create(image.file()).expect("a file");
        file.set_len(IMAGE_BYTES).expect("a file of holes");
        let mkfs = format!("mkfs.{}", kind.name());
        if Command::new(&mkfs).arg("-V").output().is_err() {
            println!("SKIPPED: {mkfs} is not installed (Debian: e2fsprogs, xfsprogs)");
            return None;
        }
        run(Command::new(&mkfs).arg("-q").arg(image.file()), b"").ok();
        if !image.mount() {
            println!("SKIPPED: nothing can be mounted here from a file (mount -o loop)");
            return None;
        }
        Some(image)
    }

    fn empty(kind: FileSystem) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("mounted")).expect("a folder");
        Self { folder, kind }
    }

    /// What is on the disk at this moment, as a machine finds it that lost its power.
    ///
    /// # Panics
    /// The copy does not mount: the file system itself did not survive.
    pub fn after_a_power_cut(&self) -> Self {
        let copy = Self::empty(self.kind);
        run(Command::new("cp").arg("--sparse=always").arg(self.file()).arg(copy.file()), b"").ok();
        assert!(copy.mount(), "the copied {} does not mount", self.kind.name());
        copy
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    fn mount(&self) -> bool {
        // A copy has the same identity as the mounted original, which XFS does not take by itself.
        let options = if self.kind == FileSystem::Xfs { "loop,nouuid" } else { "loop" };
        let mut mount = Command::new("mount");
        run(mount.args(["-o", options]).arg(self.file()).arg(self.path()), b"").status.success()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        unmount(&self.path());
    }
}

fn unmount(path: &Path) {
    run(Command::new("umount").arg("-l").arg(path), b"");
}

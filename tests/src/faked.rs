//! A clock that is set while the program runs under it: by libfaketime, which leaves alone the clocks that nobody can set.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

/// The clock of whatever is started with [`Faked::around`].
pub struct Faked {
    library: PathBuf,
    folder: TempDir,
}

impl Faked {
    /// One that goes right. None, and said, where the library is not installed.
    pub fn new() -> Option<Self> {
        let architectures = fs::read_dir("/usr/lib").expect("a folder").flatten();
        let mut libraries = architectures.map(|one| one.path().join("faketime/libfaketimeMT.so.1"));
        let Some(library) = libraries.find(|library| library.exists()) else {
            println!("SKIPPED: libfaketime (Debian: faketime) is not installed");
            return None;
        };
        let faked = Self { library, folder: tempfile::tempdir().expect("a folder") };
        faked.set_ahead(0);
        Some(faked)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// Sets it so many seconds ahead of the machine's. At once: who reads it meanwhile reads the old time or the new one.
    pub fn set_ahead(&self, seconds: u32) {
        let draft = self.folder.path().join("draft");
        fs::write(&draft, format!("+{seconds}s\n")).expect("a file");
        fs::rename(&draft, self.file()).expect("a file");
    }

    /// What stands before a command that is to go by it.
    pub fn around(&self) -> Vec<String> {
        vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", self.library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.file().display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ]
    }
}

//! Little memory: a control group that holds the gate and whoever takes the rest.

use std::fs;
use std::path::{Path, PathBuf};

/// Gone when dropped, as soon as nobody is in it any more.
#[derive(Debug)]
pub struct Scarce(PathBuf);

impl Scarce {
    /// A group that may hold so many bytes. Without the right to make one nothing is tested, and that is said.
    pub fn new(bytes: u64) -> Option<Self> {
        let name = format!("holdpoint-test-{}", std::process::id());
        let versions = [("memory", "memory.limit_in_bytes"), ("", "memory.max")];
        let made = versions.into_iter().find_map(|(version, limit)| {
            let folder = Path::new("/sys/fs/cgroup").join(version).join(&name);
            fs::create_dir(&folder).ok()?;
            let group = Self(folder);
            fs::write(group.0.join(limit), bytes.to_string()).ok().map(|()| group)
        });
        if made.is_none() {
            println!("SKIPPED: the system lets nobody make a control group of memory");
        }
        made
    }

    /// Puts a process in; what it held before counts elsewhere.
    pub fn take(&self, process: u32) {
        fs::write(self.0.join("cgroup.procs"), process.to_string()).expect("a process in a group");
    }
}

impl Drop for Scarce {
    fn drop(&mut self) {
        // A process that was just killed stays for a moment.
        for _ in 0..500 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

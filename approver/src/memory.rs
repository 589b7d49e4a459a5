//! Memory that is kept for the plant face. What strangers and technicians do on the vendor face is bounded piece by piece; the
//! sum may still be more than a small machine has, and other programs take of it, too. So the memory that is left is looked at
//! all the time, and when it falls below what is reserved, the vendor face accepts no connection and closes those of pages, of
//! the API, and of whoever has proved no key yet, until there is room again. Sessions go on, and so does who gives their code.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the plant face, cuts and sessions that run need in their worst minute, with some to spare.
pub const RESERVED_BYTES: u64 = 64 << 20;
/// The vendor face opens again when so much is left: some more, so that it does not open and close by turns.
const ENOUGH_BYTES: u64 = RESERVED_BYTES + (16 << 20);
/// How often is looked; a vendor face that is flooded takes some ten megabytes meanwhile.
const LOOKED_AT: Duration = Duration::from_millis(100);

/// Whether there is memory for more than what is reserved. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Headroom(watch::Receiver<bool>);

impl Headroom {
    /// Of a face that nothing is taken from: there is always some.
    pub fn always() -> Self {
        Self(watch::channel(true).1)
    }

    /// Whether somebody may be let in.
    pub fn is_there(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when there is none left.
    pub async fn gone(&self) {
        let mut seen = self.0.clone();
        if seen.wait_for(|is_there| !is_there).await.is_err() {
            // Nobody looks any more, so that it is never gone.
            std::future::pending::<()>().await;
        }
    }

    /// Does this again and again while there is none, so that who came in at the very moment is met, too. Never returns.
    pub async fn while_gone(self, mut act: impl FnMut()) {
        loop {
            self.gone().await;
            while !self.is_there() {
                act();
                tokio::time::sleep(LOOKED_AT).await;
            }
        }
    }

    /// The next connection, with whoever comes while there is none closed at once.
    ///
    /// # Errors
    /// What the listener says.
    pub async fn accept(&self, listener: &TcpListener) -> std::io::Result<(TcpStream, std::net::SocketAddr)> {
        loop {
            let accepted = listener.accept().await?;
            if self.is_there() {
                return Ok(accepted);
            }
        }
    }
}

/// That there is none left, and what to do.
pub fn gone_in_words() -> String {
    let enough = ENOUGH_BYTES >> 20;
    format!(
        "memory runs out: what is left is kept for the plant face, and the vendor face lets nobody in until {enough} MiB are \
         free. Stop other programs, or raise the service's limit"
    )
}

/// Looks at it, for as long as the result is kept running; a machine that does not say what is left has enough.
pub fn watch() -> (Headroom, impl Future<Output = ()> + Send) {
    let (says, headroom) = watch::channel(true);
    let looking = async move {
        loop {
            let Ok(left) = tokio::task::spawn_blocking(|| Places::here().left()).await else { return };
            says.send_if_modified(|is_there| {
                let is_now = is_enough(left, *is_there);
                std::mem::replace(is_there, is_now) != is_now
            });
            tokio::time::sleep(LOOKED_AT).await;
        }
    };
    (Headroom(headroom), looking)
}

/// Whether what is left is more than what is reserved; some more, where it was not.
fn is_enough(left: Option<u64>, was_there: bool) -> bool {
    left.is_none_or(|left| left >= if was_there { RESERVED_BYTES } else { ENOUGH_BYTES })
}

/// Where it stands how much there is: of the machine, and of each control group that this process is in.
struct Places(Vec<Group>);

struct Group {
    folder: PathBuf,
    names: &'static Names,
}

/// Of the two versions of control groups (cgroups(7)).
struct Names {
    limit: &'static str,
    used: &'static str,
    /// Before the names in `memory.stat`, of what counts in groups below, too.
    total: &'static str,
}

const V1: Names = Names { limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes", total: "total_" };
const V2: Names = Names { limit: "memory.max", used: "memory.current", total: "" };

impl Places {
    /// Where this process is now.
    fn here() -> Self {
        Self::of(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default(), Path::new("/sys/fs/cgroup"))
    }

    /// As `/proc/self/cgroup` says, below where control groups are mounted. In a container its own root is there.
    fn of(cgroups: &str, mounted: &Path) -> Self {
        let mut groups = Vec::new();
        for line in cgroups.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let (root, names) = match controllers {
                "" => (mounted.to_owned(), &V2),
                _ if controllers.split(',').any(|one| one == "memory") => (mounted.join("memory"), &V1),
                _ => continue,
            };
            let path = Path::new(path.trim_start_matches('/'));
            groups.extend(path.ancestors().map(|below| Group { folder: root.join(below), names }));
        }
        Self(groups)
    }

    /// The least that any of them leaves.
    fn left(&self) -> Option<u64> {
        let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_machine(&text));
        self.0.iter().filter_map(Group::left).chain(machine).min()
    }
}

impl Group {
    /// `None` where there is no such group, or it has no limit.
    fn left(&self) -> Option<u64> {
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        let (limit, used) = (number(self.names.limit)?, number(self.names.used)?);
        let back = read("memory.stat").map_or(0, |stat| given_back(&stat, self.names.total));
        Some(limit.saturating_sub(used.saturating_sub(back)))
    }
}

/// What the kernel takes back at once: pages of files that are not on their way to the disk, and what it knows of files.
fn given_back(stat: &str, total: &str) -> u64 {
    let of = |name: &str| {
        let values = stat.lines().filter_map(|line| line.split_once(' '));
        let found = values.into_iter().find(|(key, _)| key.strip_prefix(total) == Some(name));
        found.and_then(|(_, value)| value.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let cached = of("inactive_file") + of("active_file") + of("slab_reclaimable");
    let on_their_way = [of("dirty"), of("writeback"), of("file_dirty"), of("file_writeback")].into_iter().sum::<u64>();
    cached.saturating_sub(on_their_way)
}

/// `MemAvailable` (proc(5)).
fn of_machine(meminfo: &str) -> Option<u64> {
    let kibibytes = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    kibibytes.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_opened_stays_open_with_less_than_what_it_opens_with() {
        let between = Some(RESERVED_BYTES + 1);
        let said = |left| [is_enough(left, true), is_enough(left, false)];
        assert_eq!(said(Some(RESERVED_BYTES - 1)), [false, false]);
        assert_eq!(said(between), [true, false], "it does not open and close by turns");
        assert_eq!(said(Some(ENOUGH_BYTES)), [true, true]);
        assert_eq!(said(None), [true, true], "a machine that does not say has enough");
    }

    #[test]
    fn the_machine_says_what_is_available() {
        assert_eq!(of_machine("MemTotal:  2048 kB\nMemAvailable:     1024 kB\n"), Some(1 << 20));
        assert_eq!(of_machine("MemTotal: 2048 kB\n"), None);
    }

    #[test]
    fn a_group_and_each_above_it_may_leave_the_least_and_files_that_are_clean_count_as_free() {
        let mounted = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = mounted.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let left = |cgroups: &str| Places::of(cgroups, mounted.path()).0.iter().filter_map(Group::left).min();
        assert_eq!(left("0::/system.slice/holdpoint.service\n"), None);
        write("system.slice/holdpoint.service/memory.max", "1000\n");
        write("system.slice/holdpoint.service/memory.current", "900\n");
        assert_eq!(left("0::/system.slice/holdpoint.service\n"), Some(100));
        let stat =
            "anon 1\ninactive_file 200\nactive_file 100\nslab_reclaimable 100\nfile_dirty 40\nfile_writeback 10\n";
        write("system.slice/holdpoint.service/memory.stat", stat);
        assert_eq!(left("0::/system.slice/holdpoint.service\n"), Some(450));
        write("system.slice/memory.max", "max\n");
        write("system.slice/memory.current", "5000\n");
        assert_eq!(left("0::/system.slice/holdpoint.service\n"), Some(450));
        write("system.slice/memory.max", "5050\n");
        assert_eq!(left("0::/system.slice/holdpoint.service\n"), Some(50));
        write("memory/a/memory.limit_in_bytes", "800");
        write("memory/a/memory.usage_in_bytes", "790");
        write("memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file 5\ntotal_active_file 0\n");
        assert_eq!(left("5:cpu,memory:/a\n3:cpuset:/\n"), Some(15));
    }

    #[tokio::test]
    async fn whoever_waits_for_the_end_of_it_hears_of_it_once_it_is_gone() {
        let (says, headroom) = watch::channel(true);
        let headroom = Headroom(headroom);
        let waiting = tokio::spawn({
            let headroom = headroom.clone();
            async move { headroom.gone().await }
        });
        assert!(headroom.is_there() && !waiting.is_finished());
        says.send(false).unwrap();
        waiting.await.unwrap();
        assert!(!headroom.is_there());
    }
}

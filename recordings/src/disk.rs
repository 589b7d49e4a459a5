//! The seam between the store and the machine: files, directories, clocks and chance, so that tests can cut the power,
//! fail any call and turn the clock. What a log does with them is elsewhere; `sim` is the machine that tests break.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// A file system, as far as an append-only store needs one. Every call may block; none may be repeated after it failed.
pub trait Disk: Send + Sync {
    /// Opens a file that exists, for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Makes a file that must not exist yet. Its name is durable only after `sync_dir`.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file for reading only.
    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Makes a directory with those above it; one that exists is no error.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, sorted; of a directory that does not exist, none.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Bytes this program may still write on the file system of `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
    /// Takes a lock that lasts as long as the returned value, or `None` where another holds it and keeps it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;
    /// The kind of file system under `dir`, where it is one on which overwriting a zero-filled file promises nothing.
    fn unsuited(&self, dir: &Path) -> io::Result<Option<&'static str>>;
}

/// An open file. All of it or an error: no call does half and says so.
pub trait DiskFile: Send + Sync {
    /// Writes all bytes at an offset.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Writes so many zeros at an offset, past the system's caches where it lets one.
    fn write_zeros_at(&self, bytes: u64, offset: u64) -> io::Result<()> {
        pieces(bytes, offset).try_for_each(|(zeros, offset)| self.write_at(zeros, offset))
    }
    /// Reads up to the buffer's length at an offset; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it holds nothing.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Makes what was written, and the length, durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes the file so long, with room on the disk for all of it; what was not written reads as zeros.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
}

/// A MiB of zeros, as aligned as a disk may ask for.
#[repr(align(4096))]
struct Zeros([u8; 1 << 20]);

static ZEROS: Zeros = Zeros([0; 1 << 20]);

/// So many zeros from an offset on, in pieces, each with where it belongs.
fn pieces(bytes: u64, offset: u64) -> impl Iterator<Item = (&'static [u8], u64)> {
    let piece = ZEROS.0.len() as u64;
    (0..bytes.div_ceil(piece)).map(move |at| {
        let part = (bytes - at * piece).min(piece) as usize;
        (&ZEROS.0[..part], offset + at * piece)
    })
}

/// The whole content of a file.
pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open_to_read(path)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Clocks and chance, and which boot the monotonic clock counts from.
pub trait Machine: Send + Sync {
    /// Nanoseconds on a clock that never goes back and counts suspend (`CLOCK_BOOTTIME`).
    fn monotonic_nanos(&self) -> u64;
    /// The wall clock, which may be wrong and may be set.
    fn wall(&self) -> Timestamp;
    /// Fills the buffer with bytes nobody can guess.
    fn fill_random(&self, buffer: &mut [u8]);
    /// Names this boot of the machine; zeros where the system does not say.
    fn boot_id(&self) -> [u8; 16];
}

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

/// The operating system's clocks and random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealMachine;

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(OpenOptions::new().read(true).write(true).create_new(true).open(path)?)))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(File::open(path)?)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(dir) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let file = once_free(|| try_lock(path))?;
        Ok(file.map(|file| Box::new(file) as Box<dyn Send + Sync>))
    }

    fn unsuited(&self, dir: &Path) -> io::Result<Option<&'static str>> {
        let found = rustix::fs::statfs(dir)?.f_type;
        Ok(UNSUITED.iter().find(|(magic, _)| *magic == found as u32).map(|(_, name)| *name))
    }
}

/// `None` where another holds the lock, now.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether another program holds a lock, at this moment.
///
/// # Errors
/// The file cannot be opened.
pub fn is_locked(path: &Path) -> io::Result<bool> {
    Ok(try_lock(path)?.is_none())
}

/// Takes what others may hold, such as a lock; `None` where they hold it for longer than a moment. A killed program keeps
/// its locks until the system has taken it apart, and so do a child that it was just starting and a library's threads
/// that are still ending. Blocks, for one second at most.
///
/// # Errors
/// As `take`, of which `None` says that others hold it.
pub fn once_free<T, E>(mut take: impl FnMut() -> Result<Option<T>, E>) -> Result<Option<T>, E> {
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match take()? {
            None if Instant::now() < until => std::thread::sleep(LOCK_LOOKED_AT),
            taken => return Ok(taken),
        }
    }
}

/// A program that was killed is gone within milliseconds, on a busy machine some hundred; somebody who starts a second
/// one by mistake is to hear of it soon.
const LOCK_WAIT: Duration = Duration::from_secs(1);
const LOCK_LOOKED_AT: Duration = Duration::from_millis(10);

/// Copy-on-write file systems may meet "disk full" on overwriting; over a network, who has synced what is unknown.
/// Magic numbers from Linux' `magic.h` and, for ZFS, OpenZFS.
const UNSUITED: [(u32, &str); 8] = [
    (0x9123_683e, "btrfs"),
    (0x2fc1_2fc1, "zfs"),
    (0xca45_1a4e, "bcachefs"),
    (0x6969, "nfs"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "fuse"),
];

struct RealFile(File);

impl DiskFile for RealFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn write_zeros_at(&self, bytes: u64, offset: u64) -> io::Result<()> {
        pieces(bytes, offset).try_for_each(|(zeros, offset)| {
            match past_caches(&self.0, |file| file.write_all_at(zeros, offset))? {
                // There is no such thing on this file system, or it aligns otherwise.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.write_at(zeros, offset),
                written => written,
            }
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, bytes)?)
    }
}

/// Writes past the caches: what nobody reads soon costs no copying then, and leaves no great flush to the next sync. The
/// outer error says that the file is left as it must not be written to.
fn past_caches(file: &File, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<io::Result<()>> {
    let flags = fcntl_getfl(file)?;
    if let Err(error) = fcntl_setfl(file, flags | OFlags::DIRECT) {
        return Ok(Err(error.into()));
    }
    let written = write(file);
    fcntl_setfl(file, flags)?;
    Ok(written)
}

impl Machine for RealMachine {
    fn monotonic_nanos(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        aws_lc_rs::rand::fill(buffer).expect("the system's random source has no failure mode once it is seeded");
    }

    fn boot_id(&self) -> [u8; 16] {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        data_encoding::HEXLOWER.decode(digits.as_bytes()).ok().and_then(|id| id.try_into().ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_lie_where_they_belong_whatever_the_alignment_and_other_writes_are_as_before() {
        let folder = tempfile::tempdir().unwrap();
        for (at, (bytes, offset)) in [(3 << 20, 0), (1 << 20, 4096), (5, 3), ((1 << 20) + 7, 8192)].iter().enumerate() {
            let path = folder.path().join(at.to_string());
            let file = RealDisk.create(&path).unwrap();
            file.write_at(&[7; 4 << 20], 0).unwrap();
            file.write_zeros_at(*bytes, *offset).unwrap();
            file.write_at(b"odd", 1).unwrap();
            let mut wanted = vec![7; 4 << 20];
            wanted[*offset as usize..(offset + bytes) as usize].fill(0);
            wanted[1..4].copy_from_slice(b"odd");
            assert!(read(&RealDisk, &path).unwrap() == wanted, "{bytes} from {offset}");
        }
    }
}

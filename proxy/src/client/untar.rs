//! Files out of the stream that the gate packs them into (POSIX ustar, plain files alone), written as they come. Whatever
//! is no plain file with a plain name below the folder is refused: the stream comes from a server.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};

/// A stream that cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum NotUnpacked {
    /// The disk.
    #[error("{path}: {cause}", path = .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Not what the gate packs.
    #[error("an archive of the gate cannot be read: {0}")]
    Wrong(&'static str),
    /// It ends too early.
    #[error("the gate broke off in the middle of an archive. Its log says why; fetch again")]
    BrokenOff,
}

const BLOCK: usize = 512;

/// Unpacks one stream into a folder.
#[derive(Debug)]
pub struct Unpacker {
    folder: PathBuf,
    /// Names that are taken.
    takes: fn(&str) -> bool,
    header: Vec<u8>,
    current: Option<Current>,
    empty_blocks: usize,
    files: usize,
}

#[derive(Debug)]
struct Current {
    file: File,
    path: PathBuf,
    left: u64,
    padding: usize,
}

impl Unpacker {
    /// Into `folder`, which exists.
    pub fn new(folder: &Path) -> Self {
        Self::of(folder, |_| true)
    }

    /// The same, of files alone whose names are `taken`; others make the archive a wrong one.
    pub fn of(folder: &Path, takes: fn(&str) -> bool) -> Self {
        Self { folder: folder.to_owned(), takes, header: Vec::new(), current: None, empty_blocks: 0, files: 0 }
    }

    /// Takes in what came.
    ///
    /// # Errors
    /// It is no archive of ours, or the disk does not take it.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), NotUnpacked> {
        while !bytes.is_empty() {
            bytes = match &mut self.current {
                Some(current) => {
                    let rest = current.take(bytes)?;
                    if current.left == 0 && current.padding == 0 {
                        self.current = None;
                    }
                    rest
                }
                None => self.take_header(bytes)?,
            };
        }
        Ok(())
    }

    /// How many files there were.
    ///
    /// # Errors
    /// The archive did not end as archives do.
    pub fn finish(self) -> Result<usize, NotUnpacked> {
        let is_whole = self.empty_blocks >= 2 && self.current.is_none() && self.header.is_empty();
        is_whole.then_some(self.files).ok_or(NotUnpacked::BrokenOff)
    }

    fn take_header<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], NotUnpacked> {
        let (part, rest) = bytes.split_at(bytes.len().min(BLOCK - self.header.len()));
        self.header.extend_from_slice(part);
        if self.header.len() == BLOCK {
            let header = std::mem::take(&mut self.header);
            if header.iter().all(|byte| *byte == 0) {
                self.empty_blocks += 1;
            } else {
                self.begin(&header)?;
            }
        }
        Ok(rest)
    }

    fn begin(&mut self, header: &[u8]) -> Result<(), NotUnpacked> {
        if self.empty_blocks > 0 || &header[257..262] != b"ustar" || !matches!(header[156], b'0' | 0) {
            return Err(NotUnpacked::Wrong("something else than plain files is in it"));
        }
        let sum: u64 =
            header.iter().enumerate().map(|(at, b)| u64::from(if (148..156).contains(&at) { b' ' } else { *b })).sum();
        if octal(&header[148..156]) != Some(sum) {
            return Err(NotUnpacked::Wrong("a checksum does not fit"));
        }
        let size = octal(&header[124..136]).ok_or(NotUnpacked::Wrong("a size is none"))?;
        let name = header[..100].split(|byte| *byte == 0).next().unwrap_or_default();
        let path = self.place(name)?;
        let failed = |cause| NotUnpacked::File { path: path.clone(), cause };
        fs::create_dir_all(path.parent().unwrap_or(&self.folder)).map_err(failed)?;
        let file = File::create(&path).map_err(failed)?;
        self.files += 1;
        let padding = usize::try_from(size % BLOCK as u64).map_or(0, |over| (BLOCK - over) % BLOCK);
        self.current = (size > 0).then_some(Current { file, path, left: size, padding });
        Ok(())
    }

    fn place(&self, name: &[u8]) -> Result<PathBuf, NotUnpacked> {
        let name = std::str::from_utf8(name).map_err(|_| NotUnpacked::Wrong("a name is no text"))?;
        let is_plain =
            !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if !is_plain {
            return Err(NotUnpacked::Wrong("a name leads out of the folder"));
        }
        if !(self.takes)(name) {
            return Err(NotUnpacked::Wrong("a file is in it that does not belong there"));
        }
        Ok(self.folder.join(name))
    }
}

impl Current {
    fn take<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], NotUnpacked> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX);
        let (data, rest) = bytes.split_at(bytes.len().min(wanted));
        self.file.write_all(data).map_err(|cause| NotUnpacked::File { path: self.path.clone(), cause })?;
        self.left -= data.len() as u64;
        if self.left > 0 {
            return Ok(rest);
        }
        let skipped = rest.len().min(self.padding);
        self.padding -= skipped;
        Ok(&rest[skipped..])
    }
}

fn octal(field: &[u8]) -> Option<u64> {
    let digits: String = field.iter().take_while(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect();
    u64::from_str_radix(&digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the system's own `tar` packs.
    fn packed(folder: &Path, names: &[&str]) -> Vec<u8> {
        let tar = std::process::Command::new("tar")
            .args(["--format=ustar", "-cf", "-", "-C"])
            .arg(folder)
            .args(names)
            .output()
            .unwrap();
        assert!(tar.status.success());
        tar.stdout
    }

    #[test]
    fn what_was_packed_is_unpacked_in_whatever_pieces_it_comes() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("records")).unwrap();
        for (name, bytes) in [("records/a", vec![1; 513]), ("records/b", vec![]), ("c", vec![2; 1024])] {
            fs::write(from.path().join(name), bytes).unwrap();
        }
        let archive = packed(from.path(), &["records/a", "records/b", "c"]);
        for size in [1, 7, 512, 100_000] {
            let mut unpacker = Unpacker::new(to.path());
            archive.chunks(size).for_each(|piece| unpacker.feed(piece).unwrap());
            assert_eq!(unpacker.finish().unwrap(), 3);
            assert_eq!(fs::read(to.path().join("records/a")).unwrap(), vec![1; 513]);
            assert_eq!(fs::read(to.path().join("c")).unwrap(), vec![2; 1024]);
        }
        let mut cut_short = Unpacker::new(to.path());
        cut_short.feed(&archive[..600]).unwrap();
        assert!(matches!(cut_short.finish(), Err(NotUnpacked::BrokenOff)));
    }

    #[test]
    fn nothing_is_written_outside_the_folder() {
        let to = tempfile::tempdir().unwrap();
        let unpacker = Unpacker::new(to.path());
        for name in ["/etc/x", "../x", "a/../../x", "", "./a"] {
            assert!(unpacker.place(name.as_bytes()).is_err(), "{name}");
        }
        assert!(unpacker.place(b"records/00000001.log").is_ok());
        let mut link = vec![0; BLOCK];
        link[..1].copy_from_slice(b"x");
        link[156] = b'2';
        link[257..262].copy_from_slice(b"ustar");
        assert!(Unpacker::new(to.path()).feed(&link).is_err());
    }

    #[test]
    fn a_file_that_does_not_belong_there_makes_the_archive_a_wrong_one() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("checkpoint"), "a").unwrap();
        fs::write(from.path().join("PART"), "b").unwrap();
        let mut unpacker = Unpacker::of(to.path(), |name| name == "checkpoint");
        unpacker.feed(&packed(from.path(), &["checkpoint"])[..1024]).unwrap();
        let other = unpacker.feed(&packed(from.path(), &["PART"]));
        assert!(matches!(other, Err(NotUnpacked::Wrong(why)) if why.contains("belong")), "{other:?}");
        assert!(!to.path().join("PART").exists());
    }
}

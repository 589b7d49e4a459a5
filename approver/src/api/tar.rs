//! Files as one stream in the form every system unpacks (POSIX ustar, IEEE 1003.1, `pax`): read in pieces as the
//! connection takes them, so that a recording of any length needs no memory. Only plain files with short names.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use axum::body::{Body, Bytes};
use futures::stream;

use crate::deposits::Remote;

/// One file to send.
#[derive(Debug)]
pub(super) struct Member {
    /// Its name in the archive; at most a hundred bytes.
    pub(super) name: String,
    pub(super) content: Content,
}

/// What a file holds.
#[derive(Debug)]
pub(super) enum Content {
    /// What lies there when its turn comes.
    Path(PathBuf),
    /// The same, though it be removed meanwhile; with an offset, zeros from there on.
    Open(File, Option<u64>),
    /// This.
    Bytes(Vec<u8>),
    /// What lies in the bucket.
    Remote(Remote),
}

type Bytewise = Box<dyn io::Read + Send>;

impl Content {
    /// How many bytes it has, and these.
    pub(super) fn open(self) -> io::Result<(u64, Bytewise)> {
        let (file, until) = match self {
            Self::Path(path) => (File::open(path)?, None),
            Self::Open(file, until) => (file, until),
            Self::Bytes(bytes) => return Ok((bytes.len() as u64, Box::new(io::Cursor::new(bytes)))),
            Self::Remote(remote) => return Ok((remote.bytes, Box::new(remote.read()))),
        };
        let length = file.metadata()?.len();
        Ok(match until.filter(|until| *until < length) {
            Some(until) => (length, Box::new(file.take(until).chain(io::repeat(0)))),
            None => (length, Box::new(file)),
        })
    }
}

const BLOCK: usize = 512;
/// Read at once: large enough for a disk, small enough for a hundred readers.
const PIECE_BYTES: usize = 256 * 1024;
/// An octal field of eleven digits holds no more.
const FILE_BYTES_MAX: u64 = 0o777_7777_7777;

/// The archive. A file that cannot be read breaks the stream off: half an archive is never taken for a whole one, which
/// ends with two empty blocks.
pub(super) fn body(members: Vec<Member>) -> Body {
    let packer = Packer { left: members.into_iter(), current: None, over: false };
    Body::from_stream(stream::unfold(Some(packer), |packer| async move {
        let mut packer = packer?;
        let (piece, packer) = tokio::task::spawn_blocking(move || (packer.next(), packer)).await.ok()?;
        match piece {
            Ok(Some(piece)) => Some((Ok(piece), Some(packer))),
            Ok(None) => None,
            Err(error) => {
                tracing::error!(%error, "a file could not be sent whole");
                Some((Err(error), None))
            }
        }
    }))
}

struct Packer {
    left: std::vec::IntoIter<Member>,
    current: Option<(Bytewise, u64)>,
    over: bool,
}

impl Packer {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some((file, left)) = &mut self.current {
            let piece = read_piece(file, left)?;
            if *left == 0 {
                self.current = None;
            }
            return Ok(Some(piece));
        }
        match self.left.next() {
            Some(member) => self.begin(member).map(Some),
            None if self.over => Ok(None),
            None => {
                self.over = true;
                Ok(Some(Bytes::from_static(&[0; 2 * BLOCK])))
            }
        }
    }

    fn begin(&mut self, member: Member) -> io::Result<Bytes> {
        let (length, bytes) = member.content.open()?;
        let header = header(&member.name, length)?;
        self.current = (length > 0).then_some((bytes, length));
        Ok(header.into())
    }
}

/// The next piece, padded where the file ends. A file that is shorter than it was is an error.
fn read_piece(bytes: &mut impl io::Read, left: &mut u64) -> io::Result<Bytes> {
    let wanted = usize::try_from(*left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
    let mut piece = vec![0; wanted];
    bytes.read_exact(&mut piece)?;
    *left -= wanted as u64;
    if *left == 0 {
        piece.resize(wanted.next_multiple_of(BLOCK), 0);
    }
    Ok(piece.into())
}

fn header(name: &str, bytes: u64) -> io::Result<Vec<u8>> {
    if name.len() > 100 || bytes > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("{name} does not fit an archive")));
    }
    let mut block = [0_u8; BLOCK];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{bytes:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block.to_vec())
}

/// Writes one file of exactly `length` bytes to an archive.
pub(crate) fn append(to: &mut impl io::Write, name: &str, length: u64, bytes: impl io::Read) -> io::Result<()> {
    to.write_all(&header(name, length)?)?;
    if io::copy(&mut bytes.take(length), to)? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let padding = length.next_multiple_of(BLOCK as u64) - length;
    io::copy(&mut io::repeat(0).take(padding), to).map(drop)
}

/// Ends an archive.
pub(crate) fn end(to: &mut impl io::Write) -> io::Result<()> {
    to.write_all(&[0; 2 * BLOCK])
}

/// The plain files in a folder, by name; none where there is no such folder.
pub(crate) fn plain_files(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match std::fs::read_dir(folder) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        match entry.file_name().into_string() {
            Ok(name) if entry.file_type()?.is_file() && !name.ends_with(".tmp") => found.push((name, entry.path())),
            _ => {}
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn tar_unpacks_what_was_packed() {
        let folder = tempfile::tempdir().unwrap();
        let contents = [
            ("a", vec![]),
            ("b", vec![7; 512]),
            ("c", vec![8; PIECE_BYTES + 3]),
            ("d", vec![9; 3]),
            ("e", vec![5; 1_500]),
        ];
        let mut members = Vec::new();
        for (name, bytes) in &contents {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let content = match *name {
                "c" => Content::Open(File::open(&path).unwrap(), None),
                "e" => Content::Open(File::open(&path).unwrap(), Some(700)),
                "d" => Content::Bytes(bytes.clone()),
                _ => Content::Path(path.clone()),
            };
            if *name == "c" {
                std::fs::remove_file(path).unwrap();
            }
            members.push(Member { name: format!("records/{name}"), content });
        }
        let archive = body(members).collect().await.unwrap().to_bytes();
        assert_eq!(archive.len() % BLOCK, 0);
        let packed = folder.path().join("packed.tar");
        std::fs::write(&packed, &archive).unwrap();
        let status = std::process::Command::new("tar").arg("-xf").arg(&packed).arg("-C").arg(folder.path()).status();
        assert!(status.unwrap().success());
        for (name, mut bytes) in contents {
            if name == "e" {
                bytes[700..].fill(0);
            }
            assert_eq!(std::fs::read(folder.path().join("records").join(name)).unwrap(), bytes);
        }
    }

    #[tokio::test]
    async fn a_file_that_is_gone_breaks_the_archive_off() {
        let gone = Member { name: "gone".into(), content: Content::Path("/nonexistent/file".into()) };
        assert!(body(vec![gone]).collect().await.is_err());
    }
}

//! The zip file (PKWARE APPNOTE 6.3) that a pack is sent as: the one form of it that is written here, which every system
//! unpacks, and of which the reader accepts nothing else. Names in order and none twice, each file right behind the one
//! before, local and central headers alike, sizes known before anything is unpacked: so whatever program opens it shows
//! the files that were checked. An archive that somebody packed again is unpacked by them and checked as a folder.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::bufread::DeflateDecoder;
use flate2::write::DeflateEncoder;
use jiff::civil::DateTime;

/// Why an archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveFault {
    /// The disk.
    #[error("{path}: {cause}", path = .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// It does not fit the plain form of zip files.
    #[error("a pack of more than {} GiB or {FILES_MAX} files is too large for a zip file: make a folder of it with -o NAME/", ARCHIVE_BYTES_MAX >> 30)]
    TooLarge,
    /// No archive of ours.
    #[error("not a pack that Holdpoint wrote: {0}. If somebody packed it again, unpack it and verify the folder")]
    Malformed(String),
    /// It would grow beyond measure.
    #[error("{0}: it is not unpacked, because no evidence grows like that")]
    Bomb(String),
}

impl ArchiveFault {
    fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |cause| Self::Io { path: path.to_owned(), cause }
    }

    fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }
}

/// Plain zip files count offsets in 32 bits.
const ARCHIVE_BYTES_MAX: u64 = 4 << 30;
/// And files in 16.
const FILES_MAX: usize = 65_000;
/// A log's segment is at most this long, and nothing in a pack is longer.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// What an archive may grow to on the disk: so much, and so many times its own length.
const GROWN_BYTES: u64 = 1 << 30;
const GROWN_TIMES: u64 = 20;
/// And with the zeros of segments, which shrink to nothing and take no room.
const GROWN_WITH_ZEROS: u64 = 64 << 30;
const NAME_BYTES_MAX: usize = 120;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const LOCAL_BYTES: u64 = 30;
const CENTRAL_BYTES: usize = 46;
const END_BYTES: u64 = 22;
/// Needs version 2.0; deflated.
const VERSION: u16 = 20;
const DEFLATED: u16 = 8;
/// Made on a system with modes: else some programs unpack files that nobody may read.
const MADE_BY: u16 = 3 << 8 | VERSION;
const PLAIN_FILE: u32 = 0o100_644 << 16;
const PIECE_BYTES: usize = 64 << 10;

/// A file in an archive, as both of its headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    name: String,
    crc: u32,
    packed: u32,
    bytes: u32,
    offset: u32,
}

/// When an archive was made, as its headers say, to two seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    time: u16,
    date: u16,
}

impl Stamp {
    fn of(at: DateTime) -> Self {
        let part = |value: i8, shift: u16| u16::try_from(value).unwrap_or(0) << shift;
        let years = u16::try_from(at.year().saturating_sub(1980)).unwrap_or(0).min(127);
        Self {
            time: part(at.hour(), 11) | part(at.minute(), 5) | part(at.second() / 2, 0),
            date: years << 9 | part(at.month(), 5) | part(at.day(), 0),
        }
    }
}

impl Member {
    fn local(&self, stamp: Stamp) -> Vec<u8> {
        let mut bytes = LOCAL.to_le_bytes().to_vec();
        self.put_common(&mut bytes, stamp);
        bytes.extend(self.name.as_bytes());
        bytes
    }

    fn central(&self, stamp: Stamp) -> Vec<u8> {
        let mut bytes = CENTRAL.to_le_bytes().to_vec();
        bytes.extend(MADE_BY.to_le_bytes());
        self.put_common(&mut bytes, stamp);
        // No comment; the first disk; no hint of what is in it.
        bytes.extend([0; 6]);
        bytes.extend(PLAIN_FILE.to_le_bytes());
        bytes.extend(self.offset.to_le_bytes());
        bytes.extend(self.name.as_bytes());
        bytes
    }

    fn put_common(&self, bytes: &mut Vec<u8>, stamp: Stamp) {
        for field in [VERSION, 0, DEFLATED, stamp.time, stamp.date] {
            bytes.extend(field.to_le_bytes());
        }
        for field in [self.crc, self.packed, self.bytes] {
            bytes.extend(field.to_le_bytes());
        }
        let name = u16::try_from(self.name.len()).expect("names are short");
        bytes.extend(name.to_le_bytes());
        bytes.extend([0; 2]);
    }

    /// Where its bytes begin.
    fn begins(&self) -> u64 {
        u64::from(self.offset) + LOCAL_BYTES + self.name.len() as u64
    }

    /// Where they end.
    fn ends(&self) -> u64 {
        self.begins() + u64::from(self.packed)
    }
}

fn end_record(members: usize, offset: u64, length: u64) -> Option<Vec<u8>> {
    let (members, offset, length) =
        (u16::try_from(members).ok()?, u32::try_from(offset).ok()?, u32::try_from(length).ok()?);
    let mut bytes = END.to_le_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend([members.to_le_bytes(), members.to_le_bytes()].concat());
    bytes.extend([length.to_le_bytes(), offset.to_le_bytes()].concat());
    bytes.extend([0; 2]);
    Some(bytes)
}

/// Whether a name is plain on every system: below the folder, without a letter that any of them takes for another.
pub(super) fn is_plain_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_part = |part: &str| !part.is_empty() && !part.ends_with('.') && part.chars().all(is_plain);
    name.len() <= NAME_BYTES_MAX && name.split('/').all(is_part)
}

/// Packs these files of a folder, in order of their names. On the disk before this returns.
pub(super) fn write(folder: &Path, names: &[String], at: DateTime, archive: &Path) -> Result<(), ArchiveFault> {
    let failed = ArchiveFault::io(archive);
    let mut out = BufWriter::new(File::create_new(archive).map_err(&failed)?);
    let stamp = Stamp::of(at);
    let mut members = Vec::new();
    let mut offset = 0;
    for name in names {
        let member = write_member(&mut out, folder, name, stamp, offset, archive)?;
        offset = member.ends();
        members.push(member);
    }
    let central: Vec<u8> = members.iter().flat_map(|member| member.central(stamp)).collect();
    let end = end_record(members.len(), offset, central.len() as u64).filter(|_| members.len() <= FILES_MAX);
    let end = end.ok_or(ArchiveFault::TooLarge)?;
    out.write_all(&central).and_then(|()| out.write_all(&end)).map_err(&failed)?;
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)
}

/// What a header says of a file's length packed and as it is, if it may be so long and the archive goes so far.
fn fits(offset: u32, packed: u64, bytes: u64) -> Option<(u32, u32)> {
    let is_short = bytes <= FILE_BYTES_MAX && u64::from(offset) + packed <= ARCHIVE_BYTES_MAX;
    Some((u32::try_from(packed).ok()?, u32::try_from(bytes).ok()?)).filter(|_| is_short)
}

fn write_member(
    out: &mut BufWriter<File>,
    folder: &Path,
    name: &str,
    stamp: Stamp,
    offset: u64,
    archive: &Path,
) -> Result<Member, ArchiveFault> {
    let failed = ArchiveFault::io(archive);
    let offset = u32::try_from(offset).map_err(|_| ArchiveFault::TooLarge)?;
    let mut member = Member { name: name.to_owned(), crc: 0, packed: 0, bytes: 0, offset };
    out.write_all(&member.local(stamp)).map_err(&failed)?;
    let path = folder.join(name);
    let mut file = File::open(&path).map_err(ArchiveFault::io(&path))?;
    let mut encoder = DeflateEncoder::new(&mut *out, Compression::fast());
    let (mut hasher, mut piece, mut bytes) = (crc32fast::Hasher::new(), vec![0; PIECE_BYTES], 0_u64);
    loop {
        let read = file.read(&mut piece).map_err(ArchiveFault::io(&path))?;
        if read == 0 {
            break;
        }
        hasher.update(&piece[..read]);
        encoder.write_all(&piece[..read]).map_err(&failed)?;
        bytes += read as u64;
    }
    encoder.try_finish().map_err(&failed)?;
    let packed = encoder.total_out();
    drop(encoder);
    let (packed, bytes) = fits(offset, packed, bytes).ok_or(ArchiveFault::TooLarge)?;
    (member.crc, member.packed, member.bytes) = (hasher.finalize(), packed, bytes);
    let ends = out.stream_position().map_err(&failed)?;
    let patch = |out: &mut BufWriter<File>| {
        out.seek(SeekFrom::Start(u64::from(offset)))?;
        out.write_all(&member.local(stamp))?;
        out.seek(SeekFrom::Start(ends)).map(|_| ())
    };
    patch(out).map_err(&failed)?;
    Ok(member)
}

/// Unpacks an archive into a folder that is empty. Nothing is written before all of its directory was read and found
/// right.
///
/// # Errors
/// It is none of ours, it would grow beyond measure, or the disk says no.
pub fn unpack(archive: &Path, folder: &Path) -> Result<(), ArchiveFault> {
    let failed = ArchiveFault::io(archive);
    let file = File::open(archive).map_err(&failed)?;
    let length = file.metadata().map_err(&failed)?.len();
    unpack_from(file, length, folder).map_err(|wrong| wrong.with(archive))
}

/// The same, of an archive's bytes.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_bytes(archive: &[u8], folder: &Path) -> Result<(), ArchiveFault> {
    let unpacked = unpack_from(Cursor::new(archive), archive.len() as u64, folder);
    unpacked.map_err(|wrong| wrong.with(Path::new("the archive")))
}

fn unpack_from<R: Read + Seek>(archive: R, length: u64, folder: &Path) -> Result<(), Wrong> {
    unpack_within(archive, length, folder, GROWN_BYTES + GROWN_TIMES.saturating_mul(length))
}

/// With room for so many bytes that are not zeros.
fn unpack_within<R: Read + Seek>(archive: R, length: u64, folder: &Path, mut room: u64) -> Result<(), Wrong> {
    let mut reader = BufReader::new(archive);
    let (members, stamp) = read_directory(&mut reader, length)?;
    members.iter().try_for_each(|member| unpack_member(&mut reader, member, stamp, folder, &mut room))
}

/// A fault whose file is not known yet.
enum Wrong {
    Archive(io::Error),
    Fault(ArchiveFault),
}

impl Wrong {
    fn with(self, archive: &Path) -> ArchiveFault {
        match self {
            Self::Archive(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {
                ArchiveFault::malformed("it ends too early")
            }
            Self::Archive(cause) => ArchiveFault::Io { path: archive.to_owned(), cause },
            Self::Fault(fault) => fault,
        }
    }

    fn malformed(what: impl Into<String>) -> Self {
        Self::Fault(ArchiveFault::malformed(what))
    }
}

impl From<io::Error> for Wrong {
    fn from(cause: io::Error) -> Self {
        Self::Archive(cause)
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// The members and when they were packed, with every header but the local ones checked.
fn read_directory<R: Read + Seek>(reader: &mut R, length: u64) -> Result<(Vec<Member>, Stamp), Wrong> {
    let mut end = [0; END_BYTES as usize];
    let begins = length.checked_sub(END_BYTES).ok_or_else(|| Wrong::malformed("it is too short"))?;
    reader.seek(SeekFrom::Start(begins))?;
    reader.read_exact(&mut end)?;
    let (count, size, offset) = (number(&end[8..10]) as usize, number(&end[12..16]), number(&end[16..20]));
    let is_ours = end_record(count, offset.into(), size.into()).is_some_and(|ours| ours == end);
    if !is_ours || u64::from(offset) + u64::from(size) != begins {
        return Err(Wrong::malformed("it does not end as one"));
    }
    if count > FILES_MAX || u64::from(size) > (count * (CENTRAL_BYTES + NAME_BYTES_MAX)) as u64 {
        return Err(Wrong::malformed("its directory is larger than any of ours"));
    }
    let mut directory = vec![0; size as usize];
    reader.seek(SeekFrom::Start(offset.into()))?;
    reader.read_exact(&mut directory)?;
    let (members, stamp) = read_members(&directory, count)?;
    check_places(&members, offset.into())?;
    check_growth(&members, length)?;
    Ok((members, stamp))
}

fn read_members(mut directory: &[u8], count: usize) -> Result<(Vec<Member>, Stamp), Wrong> {
    let mut stamps = None;
    let mut members = Vec::new();
    for _ in 0..count {
        let (head, rest) = directory
            .split_at_checked(CENTRAL_BYTES)
            .ok_or_else(|| Wrong::malformed("its directory ends too early"))?;
        let (name, rest) = rest
            .split_at_checked(number(&head[28..30]) as usize)
            .ok_or_else(|| Wrong::malformed("its directory ends too early"))?;
        let name = std::str::from_utf8(name).ok().filter(|name| is_plain_name(name));
        let name = name.ok_or_else(|| Wrong::malformed("a name in it is none of ours, or leads out of the folder"))?;
        let stamp = Stamp { time: number(&head[12..14]) as u16, date: number(&head[14..16]) as u16 };
        let member = Member {
            name: name.to_owned(),
            crc: number(&head[16..20]),
            packed: number(&head[20..24]),
            bytes: number(&head[24..28]),
            offset: number(&head[42..46]),
        };
        let stamp = *stamps.get_or_insert(stamp);
        if member.central(stamp) != [head, name.as_bytes()].concat() {
            return Err(Wrong::malformed(format!("what its directory says of {name} is more than we write")));
        }
        members.push(member);
        directory = rest;
    }
    let stamp = stamps.filter(|_| directory.is_empty());
    stamp.map(|stamp| (members, stamp)).ok_or_else(|| Wrong::malformed("its directory holds something else"))
}

/// Names ascend, so that none is twice; bytes follow each other, so that none is hidden between.
fn check_places(members: &[Member], directory: u64) -> Result<(), Wrong> {
    let mut offset = 0;
    for (index, member) in members.iter().enumerate() {
        if index > 0 && members[index - 1].name >= member.name {
            return Err(Wrong::malformed(format!("{} is in it twice, or out of order", member.name)));
        }
        if u64::from(member.offset) != offset {
            return Err(Wrong::malformed(format!("bytes lie before {} that belong to no file", member.name)));
        }
        offset = member.ends();
    }
    if offset == directory { Ok(()) } else { Err(Wrong::malformed("bytes lie in it that belong to no file")) }
}

fn check_growth(members: &[Member], length: u64) -> Result<(), Wrong> {
    let bomb = |words: String| Err(Wrong::Fault(ArchiveFault::Bomb(words)));
    if let Some(member) = members.iter().find(|member| u64::from(member.bytes) > FILE_BYTES_MAX) {
        return bomb(format!("{} would have {} bytes", member.name, member.bytes));
    }
    let grown: u64 = members.iter().map(|member| u64::from(member.bytes)).sum();
    if grown > GROWN_WITH_ZEROS {
        return bomb(format!("{length} bytes would become {grown}"));
    }
    Ok(())
}

fn unpack_member<R: Read + Seek>(
    reader: &mut BufReader<R>,
    member: &Member,
    stamp: Stamp,
    folder: &Path,
    room: &mut u64,
) -> Result<(), Wrong> {
    let expected = member.local(stamp);
    let mut local = vec![0; expected.len()];
    reader.seek(SeekFrom::Start(member.offset.into()))?;
    reader.read_exact(&mut local)?;
    if local != expected {
        return Err(Wrong::malformed(format!(
            "it says of {} one thing in its directory and another before it",
            member.name
        )));
    }
    let path = folder.join(&member.name);
    let failed = |cause| Wrong::Fault(ArchiveFault::Io { path: path.clone(), cause });
    std::fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(failed)?;
    let mut file = File::create_new(&path).map_err(failed)?;
    let mut decoder = DeflateDecoder::new(reader.by_ref().take(member.packed.into()));
    let (mut hasher, mut piece, mut left) = (crc32fast::Hasher::new(), vec![0; PIECE_BYTES], u64::from(member.bytes));
    let damaged = || Wrong::malformed(format!("{} in it is damaged", member.name));
    loop {
        let read = decoder.read(&mut piece).map_err(|_| damaged())?;
        if read == 0 {
            break;
        }
        left = left.checked_sub(read as u64).ok_or_else(damaged)?;
        hasher.update(&piece[..read]);
        let written = put(&mut file, &piece[..read]).map_err(failed)?;
        let bomb = || ArchiveFault::Bomb(format!("it grows beyond {GROWN_TIMES} times its length"));
        *room = room.checked_sub(written).ok_or_else(|| Wrong::Fault(bomb()))?;
    }
    if left != 0 || decoder.total_in() != u64::from(member.packed) || hasher.finalize() != member.crc {
        return Err(damaged());
    }
    file.set_len(member.bytes.into()).map_err(failed)
}

/// Zeros take no room on the disk. Gives how many bytes do.
fn put(file: &mut File, piece: &[u8]) -> io::Result<u64> {
    if piece.iter().all(|byte| *byte == 0) {
        file.seek_relative(i64::try_from(piece.len()).expect("a piece is small")).map(|()| 0)
    } else {
        file.write_all(piece).map(|()| piece.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    const STAMP: Stamp = Stamp { time: 0, date: 33 };

    /// Any archive at all, in the form that we write.
    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut bytes, mut central) = (Vec::new(), Vec::new());
        for (name, content) in files {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(content).unwrap();
            let packed = encoder.finish().unwrap();
            let member = Member {
                name: (*name).to_owned(),
                crc: crc32fast::hash(content),
                packed: packed.len() as u32,
                bytes: content.len() as u32,
                offset: bytes.len() as u32,
            };
            bytes.extend(member.local(STAMP));
            bytes.extend(packed);
            central.extend(member.central(STAMP));
        }
        let end = end_record(files.len(), bytes.len() as u64, central.len() as u64).unwrap();
        [bytes, central, end].concat()
    }

    fn unpacked(archive: &[u8]) -> Result<tempfile::TempDir, ArchiveFault> {
        let folder = tempfile::tempdir().unwrap();
        let unpacked = unpack_bytes(archive, &folder.path().join("in"));
        let outside = fs::read_dir(folder.path()).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() != "in");
        assert_eq!(outside.count(), 0, "something was written outside the folder");
        unpacked.map(|()| folder)
    }

    fn refused(archive: &[u8], words: &str) {
        let refused = unpacked(archive).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }

    #[test]
    fn what_is_packed_is_unpacked_and_other_programs_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let contents = [("a/b.txt", vec![b'x'; 70_000]), ("a/zeros", vec![0; 3 << 20]), ("empty", Vec::new())];
        for (name, bytes) in &contents {
            fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let packed = folder.path().join("pack.zip");
        let names = contents.each_ref().map(|(name, _)| (*name).to_owned());
        write(folder.path(), &names, jiff::civil::date(2026, 11, 28).at(4, 5, 6, 0), &packed).unwrap();
        let to = tempfile::tempdir().unwrap();
        unpack(&packed, to.path()).unwrap();
        for (name, bytes) in &contents {
            assert!(fs::read(to.path().join(name)).unwrap() == *bytes, "{name}");
        }
        let python = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; print(*(f'{i.filename} {i.file_size} {i.date_time}' for i in z.infolist()), sep=chr(10))";
        let read = std::process::Command::new("python3").args(["-c", python]).arg(&packed).output().unwrap();
        let at = "(2026, 11, 28, 4, 5, 6)";
        assert_eq!(
            String::from_utf8(read.stdout).unwrap(),
            format!("a/b.txt 70000 {at}\na/zeros 3145728 {at}\nempty 0 {at}\n")
        );
        assert!(write(folder.path(), &names, jiff::civil::date(2026, 11, 28).at(0, 0, 0, 0), &packed).is_err());
    }

    #[test]
    fn names_that_lead_out_or_look_like_others_are_refused() {
        unpacked(&archive(&[("a", b"1"), ("b/c", b"2")])).unwrap();
        for name in ["/etc/x", "../x", "a/../../x", "", "./a", "a//b", "a\\b", "c:x", "a\0b", "a/", "\u{e9}", "x."] {
            refused(&archive(&[(name, b"1")]), "a name in it is none of ours");
        }
        refused(&archive(&[(&"n".repeat(121), b"1")]), "its directory is larger");
        refused(&archive(&[("a", b"1"), ("a", b"2")]), "a is in it twice");
        refused(&archive(&[("b", b"1"), ("a", b"2")]), "a is in it twice, or out of order");
        let nested = unpacked(&archive(&[("a", b"1"), ("a/b", b"2")])).map(|_| ());
        assert!(matches!(nested, Err(ArchiveFault::Io { .. })), "a file cannot be a folder");
    }

    #[test]
    fn nothing_is_written_whose_length_or_place_its_headers_cannot_say() {
        let (far, most) = (u32::MAX, u32::try_from(FILE_BYTES_MAX).unwrap());
        assert_eq!(fits(0, 5, FILE_BYTES_MAX), Some((5, most)));
        assert_eq!(fits(0, 5, FILE_BYTES_MAX + 1), None);
        assert_eq!(fits(far, 1, 7), Some((1, 7)));
        assert_eq!(fits(far, 2, 7), None);
    }

    #[test]
    fn what_would_grow_beyond_measure_is_refused_before_it_is_unpacked() {
        let claims_of = |content: &[u8], bytes: u32, count: usize| {
            let names: Vec<String> = (0..count).map(|n| format!("{n:04}")).collect();
            let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), content)).collect();
            let mut archive = archive(&files);
            // In each header of the directory and before each file.
            let all = archive.len();
            for at in 0..all - 4 {
                let field = match &archive[at..at + 4] {
                    b"PK\x03\x04" => 22,
                    b"PK\x01\x02" => 24,
                    _ => continue,
                };
                archive[at + field..at + field + 4].copy_from_slice(&bytes.to_le_bytes());
            }
            archive
        };
        let claims = |bytes: u32, count: usize| claims_of(b"", bytes, count);
        refused(&claims_of(b"more than is said", 4, 1), "is damaged");
        refused(&claims(u32::MAX, 1), "would have 4294967295 bytes");
        refused(&claims(1 << 30, 65), "bytes would become 69793218560");
        refused(&claims(7, 1), "is damaged");
        let grows = archive(&[("a", &[b'x'; 1 << 20])]);
        let folder = tempfile::tempdir().unwrap();
        let within = |room: u64| {
            unpack_within(Cursor::new(&grows), grows.len() as u64, &folder.path().join(room.to_string()), room)
        };
        assert!(within(1 << 20).is_ok());
        assert!(matches!(within((1 << 20) - 1), Err(Wrong::Fault(ArchiveFault::Bomb(_)))));
        let zeros = archive(&[("a", &[0; 1 << 20])]);
        assert!(unpack_within(Cursor::new(&zeros), zeros.len() as u64, &folder.path().join("zeros"), 0).is_ok());
    }

    #[test]
    fn every_byte_of_its_headers_counts() {
        let whole = archive(&[("a", b"some text"), ("b/c", &[7; 500])]);
        let mut harmless = 0;
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            if let Ok(folder) = unpacked(&changed) {
                harmless += 1;
                let read = |name: &str| fs::read(folder.path().join("in").join(name)).unwrap();
                assert!(read("a") == b"some text" && read("b/c") == [7; 500], "byte {at}");
            }
        }
        // Bits that pad the end of what is packed, and nothing else.
        assert!(harmless <= 2, "{harmless}");
        for end in 0..whole.len() {
            assert!(unpacked(&whole[..end]).is_err());
        }
        for (before, behind) in [(&b"x"[..], &b""[..]), (b"", b"x")] {
            assert!(unpacked(&[before, &whole, behind].concat()).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, at: prop::sample::Index, cut: prop::sample::Index) {
            prop_assert!(unpacked(&bytes).is_err());
            let mut whole = archive(&[("a", b"some text"), ("b/c", &[7; 500])]);
            let at = at.index(whole.len());
            let cut = cut.index(whole.len() - at + 1);
            whole.splice(at..at + cut, bytes);
            let _ = unpacked(&whole);
        }
    }
}

//! What tests of file inspection share: SFTP packets made by hand, an inspector to show them to, and a server that
//! keeps its files in memory.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::collections::BTreeMap;

use bytes::Bytes;
use policies::actions::Action;
use policies::digest::Digest;
use proxy::files::judge::{Asked, Verdict, judge};
use proxy::files::{Breach, End, Inspect, Inspected};
use recordings::ledger::{self, FileEntry, Operation, Outcome, RemotePath};

pub(crate) const ASK: &str = "Ask for it.";

pub(crate) const READ: u32 = 1;
pub(crate) const WRITE: u32 = 2;
pub(crate) const APPEND: u32 = 4;
pub(crate) const CREATE: u32 = 8;
pub(crate) const TRUNCATE: u32 = 16;
pub(crate) const EXCLUSIVE: u32 = 32;

/// A request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ask<'a> {
    Open(&'a str, u32),
    Close(&'a str),
    Read(&'a str, u64, u32),
    Write(&'a str, u64, &'a [u8]),
    Remove(&'a str),
    Rename(&'a str, &'a str),
    Resize(&'a str, u64),
    ResizePath(&'a str, u64),
    /// Any request of one path, by its type.
    Path(u8, &'a str),
    Extended(&'a str, &'a str),
}

impl Ask<'_> {
    pub(crate) fn packet(&self, id: u32) -> Vec<u8> {
        let sized = |size: u64| [&1_u32.to_be_bytes()[..], &size.to_be_bytes()].concat();
        let (kind, fields) = match *self {
            Self::Open(path, flags) => (3, [text(path), flags.to_be_bytes().to_vec(), vec![0; 4]].concat()),
            Self::Close(handle) => (4, text(handle)),
            Self::Read(handle, offset, wanted) => {
                (5, [text(handle), offset.to_be_bytes().to_vec(), wanted.to_be_bytes().to_vec()].concat())
            }
            Self::Write(handle, offset, data) => {
                (6, [text(handle), offset.to_be_bytes().to_vec(), text(data)].concat())
            }
            Self::Remove(path) => (13, text(path)),
            Self::Rename(from, to) => (18, [text(from), text(to)].concat()),
            Self::Resize(handle, size) => (10, [text(handle), sized(size)].concat()),
            Self::ResizePath(path, size) => (9, [text(path), sized(size)].concat()),
            Self::Path(kind, path) => (kind, text(path)),
            Self::Extended(name, argument) => (200, [text(name), text(argument)].concat()),
        };
        packet(kind, id, &fields)
    }
}

/// An answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer<'a> {
    Status(u32),
    Handle(&'a str),
    Data(&'a [u8]),
    Size(u64),
}

impl Answer<'_> {
    pub(crate) const OK: Self = Self::Status(0);

    pub(crate) fn packet(&self, id: u32) -> Vec<u8> {
        match *self {
            Self::Status(code) => status(id, code, ""),
            Self::Handle(handle) => packet(102, id, &text(handle)),
            Self::Data(data) => packet(103, id, &text(data)),
            Self::Size(size) => packet(105, id, &[&1_u32.to_be_bytes()[..], &size.to_be_bytes()].concat()),
        }
    }
}

pub(crate) fn init(version: u32) -> Vec<u8> {
    packet(1, version, &[])
}

pub(crate) fn version(version: u32, extensions: &[&str]) -> Vec<u8> {
    packet(2, version, &extensions.iter().flat_map(text).collect::<Vec<u8>>())
}

pub(crate) fn status(id: u32, code: u32, words: &str) -> Vec<u8> {
    packet(101, id, &[code.to_be_bytes().to_vec(), text(words), text("en")].concat())
}

fn packet(kind: u8, id: u32, fields: &[u8]) -> Vec<u8> {
    let length = u32::try_from(5 + fields.len()).unwrap();
    [&length.to_be_bytes()[..], &[kind], &id.to_be_bytes(), fields].concat()
}

fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat()
}

/// The types of the packets in a stream.
pub(crate) fn kinds_of(stream: &[u8]) -> Vec<u8> {
    packets(stream).iter().map(|packet| packet[0]).collect()
}

/// The packets in a stream, from their types on.
fn packets(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk() {
        let (packet, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        packets.push(packet);
        stream = rest;
    }
    packets
}

pub(crate) fn path(path: &str) -> RemotePath {
    RemotePath::new(path.as_bytes())
}

pub(crate) fn entry(operation: Operation, name: &str, verdict: ledger::Verdict, outcome: Outcome) -> FileEntry {
    FileEntry::new(operation, path(name), verdict, outcome)
}

pub(crate) fn nothing() -> Inspected {
    Inspected::default()
}

/// The inspector of a channel for which this was asked.
pub(crate) fn inspector(granted: &[Action], asked: Asked<'_>) -> Box<dyn Inspect> {
    judged(granted, false, asked)
}

/// The same, where uploads are `checked` first.
pub(crate) fn judged(granted: &[Action], checked: bool, asked: Asked<'_>) -> Box<dyn Inspect> {
    match judge(&granted.iter().copied().collect(), ASK, checked, asked) {
        Verdict::Allow(Some(inspector)) => inspector,
        other => panic!("{asked:?}: {other:?}"),
    }
}

/// An inspector and the two ends it is between.
pub(crate) struct Inspecting {
    pub(crate) inspector: Box<dyn Inspect>,
}

impl Inspecting {
    pub(crate) fn new(granted: &[Action]) -> Self {
        Self { inspector: inspector(granted, Asked::Subsystem("sftp")) }
    }

    /// Both ends have agreed on version 3.
    pub(crate) fn greeted(granted: &[Action]) -> Self {
        let mut sftp = Self::new(granted);
        sftp.up(&init(3));
        sftp.down(&version(3, &[]));
        sftp
    }

    pub(crate) fn up(&mut self, chunk: &[u8]) -> Inspected {
        self.inspector.upward(Bytes::copy_from_slice(chunk)).unwrap()
    }

    pub(crate) fn down(&mut self, chunk: &[u8]) -> Inspected {
        self.inspector.downward(Bytes::copy_from_slice(chunk)).unwrap()
    }

    pub(crate) fn fails_up(&mut self, chunk: &[u8]) -> (End, Breach) {
        let malformed = self.inspector.upward(Bytes::copy_from_slice(chunk)).unwrap_err();
        (malformed.by, malformed.breach)
    }

    pub(crate) fn fails_down(&mut self, chunk: &[u8]) -> (End, Breach) {
        let malformed = self.inspector.downward(Bytes::copy_from_slice(chunk)).unwrap_err();
        (malformed.by, malformed.breach)
    }

    pub(crate) fn open(&mut self, id: u32, path: &str, flags: u32, handle: &str) {
        assert_eq!(self.up(&Ask::Open(path, flags).packet(id)).refused, 0);
        self.down(&Answer::Handle(handle).packet(id));
    }

    pub(crate) fn close(&mut self, id: u32, handle: &str) -> Vec<FileEntry> {
        assert_eq!(self.up(&Ask::Close(handle).packet(id)).refused, 0);
        self.down(&Answer::OK.packet(id)).ledger
    }
}

/// Files in memory, served as OpenSSH serves them: in order, with the lowest free number as handle.
#[derive(Default)]
pub(crate) struct Server {
    unread: Vec<u8>,
    contents: Vec<Vec<u8>>,
    names: BTreeMap<Vec<u8>, usize>,
    open: BTreeMap<u32, Open>,
    closed: Vec<(Vec<u8>, Digest)>,
    /// What its files hold in all at most.
    pub(crate) room: Option<usize>,
    /// What it says when it is asked to put a file on its disk.
    pub(crate) syncs: u32,
}

struct Open {
    path: Vec<u8>,
    content: usize,
    flags: u32,
}

impl Server {
    /// Takes bytes and gives back the answers to the requests that are whole.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.unread.extend_from_slice(bytes);
        let mut answers = Vec::new();
        while let Some(length) = self.unread.first_chunk().map(|length| 4 + u32::from_be_bytes(*length) as usize) {
            assert!(length <= self.unread.len(), "a request was torn");
            let packet: Vec<u8> = self.unread.drain(..length).collect();
            answers.extend(self.serve(packet[4], Reader(&packet[5..])));
        }
        answers
    }

    /// What files opened under this path were when they were closed.
    pub(crate) fn closed_with(&self, path: &[u8]) -> Vec<Digest> {
        self.closed.iter().filter(|(closed, _)| closed == path).map(|(_, digest)| *digest).collect()
    }

    /// What its files hold, and held when they lost their names.
    pub(crate) fn contents(&self) -> &[Vec<u8>] {
        &self.contents
    }

    /// A file that is there from the beginning.
    pub(crate) fn has(&mut self, name: &str, content: &[u8]) {
        self.names.insert(name.into(), self.contents.len());
        self.contents.push(content.to_vec());
    }

    fn serve(&mut self, kind: u8, mut fields: Reader<'_>) -> Vec<u8> {
        let id = fields.u32();
        match kind {
            3 => {
                let (path, flags) = (fields.text().to_vec(), fields.u32());
                return self
                    .open(path, flags)
                    .map_or(Answer::Status(2).packet(id), |handle| Answer::Handle(&handle.to_string()).packet(id));
            }
            5 => {
                let Some(open) = self.handle(&mut fields) else { return Answer::Status(4).packet(id) };
                let (offset, wanted) = (usize::try_from(fields.u64()).unwrap(), fields.u32() as usize);
                let content = self.contents[open.content].get(offset..).unwrap_or_default();
                return match &content[..wanted.min(content.len())] {
                    _ if open.flags & READ == 0 => Answer::Status(3).packet(id),
                    [] => Answer::Status(1).packet(id),
                    data => Answer::Data(data).packet(id),
                };
            }
            17 => {
                let size = self.names.get(&plain(fields.text())).map(|content| self.contents[*content].len());
                return size.map_or(Answer::Status(2), |size| Answer::Size(size as u64)).packet(id);
            }
            _ => {}
        }
        let done = match kind {
            4 => self.close(&mut fields),
            6 => self.write(&mut fields),
            9 => self.names.get(&plain(fields.text())).copied().map(|content| self.resize(content, &mut fields)),
            10 => self.handle(&mut fields).map(|open| open.content).map(|content| self.resize(content, &mut fields)),
            13 => self.names.remove(&plain(fields.text())).map(drop),
            18 => self.rename(&mut fields),
            200 => return Answer::Status(self.syncs).packet(id),
            other => panic!("request {other}"),
        };
        done.map_or(Answer::Status(4), |()| Answer::OK).packet(id)
    }

    fn open(&mut self, path: Vec<u8>, flags: u32) -> Option<u32> {
        let name = plain(&path);
        let known = self.names.get(&name).copied();
        let content = match known {
            Some(_) if flags & EXCLUSIVE != 0 => return None,
            Some(content) => content,
            None if flags & CREATE == 0 => return None,
            None => {
                self.contents.push(Vec::new());
                self.names.insert(name, self.contents.len() - 1);
                self.contents.len() - 1
            }
        };
        if flags & TRUNCATE != 0 {
            self.contents[content].clear();
        }
        let handle = (0..).find(|handle| !self.open.contains_key(handle))?;
        self.open.insert(handle, Open { path, content, flags });
        Some(handle)
    }

    fn handle(&self, fields: &mut Reader<'_>) -> Option<&Open> {
        self.open.get(&std::str::from_utf8(fields.text()).ok()?.parse().ok()?)
    }

    fn close(&mut self, fields: &mut Reader<'_>) -> Option<()> {
        let open = self.open.remove(&std::str::from_utf8(fields.text()).ok()?.parse().ok()?)?;
        self.closed.push((open.path, Digest::of_bytes(&self.contents[open.content])));
        Some(())
    }

    fn write(&mut self, fields: &mut Reader<'_>) -> Option<()> {
        let open = self.handle(fields)?;
        let (flags, content) = (open.flags, open.content);
        let content = &mut self.contents[content];
        let offset = usize::try_from(fields.u64()).ok()?;
        let offset = if flags & APPEND != 0 { content.len() } else { offset };
        let data = fields.text();
        if flags & WRITE == 0 {
            return None;
        }
        if self.room.is_some_and(|room| offset + data.len() > room) {
            return None;
        }
        if !data.is_empty() {
            content.resize(content.len().max(offset + data.len()), 0);
            content[offset..offset + data.len()].copy_from_slice(data);
        }
        Some(())
    }

    fn resize(&mut self, content: usize, fields: &mut Reader<'_>) {
        let _flags = fields.u32();
        self.contents[content].resize(usize::try_from(fields.u64()).unwrap(), 0);
    }

    fn rename(&mut self, fields: &mut Reader<'_>) -> Option<()> {
        let (from, to) = (plain(fields.text()), plain(fields.text()));
        let content = self.names.remove(&from)?;
        self.names.insert(to, content);
        Some(())
    }
}

fn plain(path: &[u8]) -> Vec<u8> {
    path.strip_prefix(b"./").unwrap_or(path).to_vec()
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn u32(&mut self) -> u32 {
        let (value, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        u32::from_be_bytes(*value)
    }

    fn u64(&mut self) -> u64 {
        u64::from(self.u32()) << 32 | u64::from(self.u32())
    }

    fn text(&mut self) -> &'a [u8] {
        let length = self.u32() as usize;
        let (value, rest) = self.0.split_at(length);
        self.0 = rest;
        value
    }
}

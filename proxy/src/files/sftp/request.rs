//! What a technician's program asks for in one SFTP request, and what must be granted for it. Whether it is granted,
//! and what comes of it, is not known here.

use recordings::ledger::{FileEntry, Operation, Outcome, RemotePath, Verdict};

use super::super::Breach;
use super::wire::{Fields, kind, open};

/// One request, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request<'a> {
    /// OPEN, with its flags and attributes.
    Open { path: &'a [u8], flags: u32, attributes: &'a [u8] },
    /// OPENDIR.
    OpenDirectory { path: &'a [u8] },
    /// CLOSE.
    Close { handle: &'a [u8] },
    /// READ.
    Read { handle: &'a [u8], offset: u64, wanted: u32 },
    /// WRITE.
    Write { handle: &'a [u8], offset: u64, data: &'a [u8] },
    /// STAT: the size of a file becomes known.
    Stat { path: &'a [u8] },
    /// FSTAT.
    FileStat { handle: &'a [u8] },
    /// SETSTAT, lsetstat; the new size, if there is one.
    SetAttributes { named: Named<'a>, size: Option<u64> },
    /// FSETSTAT, and the size among its attributes.
    SetFileAttributes { handle: &'a [u8], attributes: &'a [u8], size: Option<u64> },
    /// Something changes at the target, by path.
    Change(Named<'a>),
    /// copy-data, from one open file to another.
    Copy { from: &'a [u8], to: &'a [u8] },
    /// fsync.
    Sync { handle: &'a [u8] },
    /// Names or attributes are looked up by path, or something about the target in general.
    Look { path: &'a [u8], answer: u8 },
    /// The same, by handle: READDIR, fstatvfs.
    LookInto { handle: &'a [u8], answer: u8 },
    /// An extension that the gate does not know.
    Unknown,
}

/// What is done to which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named<'a> {
    pub(super) operation: Operation,
    pub(super) path: &'a [u8],
    pub(super) to: Option<&'a [u8]>,
}

impl Named<'_> {
    /// The entry for it while the target has not answered.
    pub(super) fn under_way(&self) -> Box<FileEntry> {
        Box::new(self.entry(Verdict::Allowed, Outcome::Unfinished))
    }

    /// The entry for it when the gate answers.
    pub(super) fn refused(&self) -> FileEntry {
        self.entry(Verdict::Refused, Outcome::NotBegun)
    }

    fn entry(&self, verdict: Verdict, outcome: Outcome) -> FileEntry {
        let entry = FileEntry::new(self.operation, RemotePath::new(self.path), verdict, outcome);
        FileEntry { to: self.to.map(RemotePath::new), ..entry }
    }
}

/// What must be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) get: bool,
    pub(super) put: bool,
}

impl<'a> Request<'a> {
    /// Reads the fields behind the number of a request.
    pub(super) fn parse(packet_kind: u8, mut fields: Fields<'a>) -> Result<Self, Breach> {
        let fields = &mut fields;
        let change = |operation, path, to| Self::Change(Named { operation, path, to });
        Ok(match packet_kind {
            kind::OPEN => Self::Open { path: fields.string()?, flags: fields.u32()?, attributes: fields.rest() },
            kind::CLOSE => Self::Close { handle: fields.string()? },
            kind::READ => Self::Read { handle: fields.string()?, offset: fields.u64()?, wanted: fields.u32()? },
            kind::WRITE => Self::Write { handle: fields.string()?, offset: fields.u64()?, data: fields.string()? },
            kind::LSTAT => Self::Look { path: fields.string()?, answer: kind::ATTRS },
            kind::FSTAT => Self::FileStat { handle: fields.string()? },
            kind::SETSTAT => Self::SetAttributes { named: attributes(fields.string()?), size: fields.size()? },
            kind::FSETSTAT => {
                let handle = fields.string()?;
                Self::SetFileAttributes { handle, attributes: fields.rest(), size: fields.size()? }
            }
            kind::OPENDIR => Self::OpenDirectory { path: fields.string()? },
            kind::READDIR => Self::LookInto { handle: fields.string()?, answer: kind::NAME },
            kind::REMOVE => change(Operation::Remove, fields.string()?, None),
            kind::MKDIR => change(Operation::MakeDirectory, fields.string()?, None),
            kind::RMDIR => change(Operation::RemoveDirectory, fields.string()?, None),
            kind::REALPATH => Self::Look { path: fields.string()?, answer: kind::NAME },
            kind::STAT => Self::Stat { path: fields.string()? },
            kind::RENAME => change(Operation::Rename, fields.string()?, Some(fields.string()?)),
            kind::READLINK => Self::Look { path: fields.string()?, answer: kind::NAME },
            // OpenSSH sends what the link points to first, against the draft, and everybody has followed it.
            kind::SYMLINK => change(Operation::SymbolicLink, fields.string()?, Some(fields.string()?)),
            kind::EXTENDED => Self::parse_extension(fields)?,
            other => return Err(Breach::UnexpectedPacket(other)),
        })
    }

    fn parse_extension(fields: &mut Fields<'a>) -> Result<Self, Breach> {
        let change = |operation, path, to| Self::Change(Named { operation, path, to: Some(to) });
        let look = |path, answer| Self::Look { path, answer };
        let Some(extension) = Extension::named(fields.string()?) else { return Ok(Self::Unknown) };
        Ok(match extension {
            Extension::Rename => change(Operation::Rename, fields.string()?, fields.string()?),
            Extension::HardLink => change(Operation::HardLink, fields.string()?, fields.string()?),
            Extension::SetLinkAttributes => {
                Self::SetAttributes { named: attributes(fields.string()?), size: fields.size()? }
            }
            Extension::Sync => Self::Sync { handle: fields.string()? },
            Extension::CopyData => {
                let from = fields.string()?;
                let _offset_and_length = (fields.u64()?, fields.u64()?);
                Self::Copy { from, to: fields.string()? }
            }
            Extension::Space => look(fields.string()?, kind::EXTENDED_REPLY),
            Extension::FileSpace => Self::LookInto { handle: fields.string()?, answer: kind::EXTENDED_REPLY },
            Extension::Limits | Extension::UserNames => look(b"", kind::EXTENDED_REPLY),
            Extension::ExpandPath | Extension::Home => look(fields.string()?, kind::NAME),
        })
    }

    /// What must be granted for it; whoever may copy files at all may look around.
    pub(super) fn needs(&self) -> Needs {
        match self {
            // Servers open for reading unless the flags say WRITE alone.
            Self::Open { flags, .. } => {
                let reads = flags & open::READ != 0 || flags & open::WRITE == 0;
                Needs { get: reads, put: flags & !open::READ != 0 }
            }
            Self::Read { .. } => Needs { get: true, put: false },
            Self::Copy { .. } => Needs { get: true, put: true },
            Self::Write { .. }
            | Self::SetAttributes { .. }
            | Self::SetFileAttributes { .. }
            | Self::Change(_)
            | Self::Sync { .. } => Needs { get: false, put: true },
            Self::OpenDirectory { .. }
            | Self::Close { .. }
            | Self::Stat { .. }
            | Self::FileStat { .. }
            | Self::Look { .. }
            | Self::LookInto { .. }
            | Self::Unknown => Needs { get: false, put: false },
        }
    }

    /// The paths in it.
    pub(super) fn paths(&self) -> impl Iterator<Item = &'a [u8]> {
        let (first, second) = match *self {
            Self::Open { path, .. } | Self::OpenDirectory { path } | Self::Stat { path } | Self::Look { path, .. } => {
                (Some(path), None)
            }
            Self::SetAttributes { named, .. } | Self::Change(named) => (Some(named.path), named.to),
            _ => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// What it does to the file it names.
    pub(super) fn on_path(&self) -> Option<Named<'a>> {
        let named = |operation, path| Named { operation, path, to: None };
        Some(match *self {
            Self::Open { path, flags, .. } => named(opening(flags), path),
            Self::OpenDirectory { path } => named(Operation::List, path),
            Self::SetAttributes { named, .. } | Self::Change(named) => named,
            _ => return None,
        })
    }

    /// What it does to the content of an open file, and which.
    pub(super) fn on_handle(&self) -> Option<(Operation, &'a [u8])> {
        Some(match *self {
            Self::Read { handle, .. } => (Operation::Get, handle),
            Self::Write { handle, .. } => (Operation::Put, handle),
            Self::SetFileAttributes { handle, .. } => (Operation::SetAttributes, handle),
            Self::Copy { from, .. } => (Operation::Copy, from),
            _ => return None,
        })
    }
}

fn attributes(path: &[u8]) -> Named<'_> {
    Named { operation: Operation::SetAttributes, path, to: None }
}

/// What a file that is opened with these flags is opened for, above all.
pub(super) fn opening(flags: u32) -> Operation {
    match flags {
        _ if flags & !open::READ == 0 => Operation::Get,
        _ if flags & open::APPEND != 0 => Operation::Append,
        _ => Operation::Put,
    }
}

/// The extensions that the gate knows: OpenSSH's PROTOCOL, section 4, and two of draft-ietf-secsh-filexfer-extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    Rename,
    HardLink,
    SetLinkAttributes,
    Sync,
    CopyData,
    Space,
    FileSpace,
    Limits,
    UserNames,
    ExpandPath,
    Home,
}

impl Extension {
    /// The extension with this name, if it is known.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"posix-rename@openssh.com" => Self::Rename,
            b"hardlink@openssh.com" => Self::HardLink,
            b"lsetstat@openssh.com" => Self::SetLinkAttributes,
            b"fsync@openssh.com" => Self::Sync,
            b"copy-data" => Self::CopyData,
            b"statvfs@openssh.com" => Self::Space,
            b"fstatvfs@openssh.com" => Self::FileSpace,
            b"limits@openssh.com" => Self::Limits,
            b"users-groups-by-id@openssh.com" => Self::UserNames,
            b"expand-path@openssh.com" => Self::ExpandPath,
            b"home-directory" => Self::Home,
            _ => return None,
        })
    }
}

//! SFTP version 3, looked into. Every request is judged by itself; what is not granted is answered here and never
//! reaches the target, and what is done is listed by handle. Only whole packets are let through, so an answer of the
//! gate's own never stands in the middle of one of the target's. Versions other than 3 are not spoken: an offer of more
//! is made one of 3, and extensions that nobody here could judge are left out of the target's offer.

mod answers;
mod names;
mod open_file;
mod request;
mod unanswered;
mod upload;
mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use policies::actions::Action;
use recordings::ledger::{FileEntry, Operation, Outcome, PATH_BYTES_MAX};

use super::content::Budget;
use super::{Breach, End, HandOver, Inspect, Inspected, Malformed};
use open_file::{OpenFile, Purpose};
use request::{Named, Request};
use unanswered::{Answer, Opening, Own, Sent, Unanswered};
use upload::{Uncheckable, Uploads};
pub(crate) use wire::PACKET_BYTES_MAX;
use wire::{Fields, Packets, first_packet, kind, status};

/// Files and directories open at once: as many as one process of OpenSSH's server commonly may have.
const OPEN_MAX: usize = 1024;

/// What a channel for SFTP may be used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Allowed {
    /// Content may go to the technician.
    pub(super) get: bool,
    /// Content may go to the target, and files there may be changed.
    pub(super) put: bool,
    /// Each upload is checked before the target has any of it.
    pub(super) checked: bool,
    /// What to do about the rest: a sentence for the technician.
    pub(super) ask: String,
}

/// Looks into one SFTP channel.
#[derive(Debug)]
pub(super) struct Sftp {
    allowed: Allowed,
    greeting: Greeting,
    upward: Packets,
    downward: Packets,
    unanswered: Unanswered,
    handles: HashMap<Box<[u8]>, FileKey>,
    files: BTreeMap<FileKey, OpenFile>,
    opened: FileKey,
    sizes: VecDeque<(Box<[u8]>, u64)>,
    /// Links were made, so that a name no longer says which file is meant.
    linked: bool,
    budget: Budget,
    told: BTreeSet<Action>,
    uploads: Uploads,
}

/// Numbers open files, since a handle may be given out again while its last user waits for answers.
type FileKey = u32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    Awaited,
    Offered,
    Agreed,
}

/// Why the gate answers a request itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    NotGranted(Action),
    UnknownExtension,
    NoSuchHandle,
    TooManyOpen,
    BadPath,
    Uncheckable(Uncheckable),
}

impl Sftp {
    pub(super) fn new(allowed: Allowed) -> Self {
        Self {
            allowed,
            greeting: Greeting::Awaited,
            upward: Packets::default(),
            downward: Packets::default(),
            unanswered: Unanswered::default(),
            handles: HashMap::new(),
            files: BTreeMap::new(),
            opened: 0,
            sizes: VecDeque::new(),
            linked: false,
            budget: Budget::default(),
            told: BTreeSet::new(),
            uploads: Uploads::default(),
        }
    }
}

impl Inspect for Sftp {
    fn upward(&mut self, chunk: Bytes) -> Result<Inspected, Malformed> {
        let by_technician = |breach| Malformed { by: End::Technician, breach };
        let mut inspected = Inspected::default();
        for stretch in self.upward.take(chunk).map_err(by_technician)? {
            let packet = |packet: &[u8], out: &mut Inspected| self.packet_upward(packet, out);
            sift(&stretch, &mut inspected, packet).map_err(by_technician)?;
        }
        Ok(inspected)
    }

    fn downward(&mut self, chunk: Bytes) -> Result<Inspected, Malformed> {
        let by_target = |breach| Malformed { by: End::Target, breach };
        let mut inspected = Inspected::default();
        for stretch in self.downward.take(chunk).map_err(by_target)? {
            let packet = |packet: &[u8], out: &mut Inspected| self.packet_downward(packet, out);
            sift(&stretch, &mut inspected, packet).map_err(by_target)?;
        }
        Ok(inspected)
    }

    fn finish(&mut self) -> Vec<FileEntry> {
        let mut entries = Vec::new();
        for sent in self.unanswered.take_all() {
            match sent {
                Sent::Open(opening) => entries.push(opening.into_entry(Outcome::Unfinished)),
                Sent::Change(entry) | Sent::SetAttributes { entry, .. } => entries.push(*entry),
                Sent::SetFileAttributes { file, .. } => {
                    entries.extend(self.attributes_entry(file, Outcome::Unfinished));
                }
                Sent::Write { file, bytes, .. } => {
                    self.files.get_mut(&file).into_iter().for_each(|file| file.note_unanswered(bytes));
                }
                Sent::Close(_)
                | Sent::Read { .. }
                | Sent::Stat(_)
                | Sent::FileStat(_)
                | Sent::Look { .. }
                | Sent::Handing(_) => {}
            }
        }
        entries.extend(self.uploads.unfinished());
        self.handles.clear();
        for file in std::mem::take(&mut self.files).into_values() {
            entries.extend(file.into_entries(&mut self.budget));
        }
        entries
    }

    fn uploads(&mut self) -> &mut dyn HandOver {
        self
    }
}

/// Shows each packet of a stretch; those that go on do so in as few pieces as can be.
fn sift(
    stretch: &Bytes,
    out: &mut Inspected,
    mut goes_on: impl FnMut(&[u8], &mut Inspected) -> Result<bool, Breach>,
) -> Result<(), Breach> {
    let (mut from, mut until) = (0, 0);
    while let Some((packet, _)) = first_packet(&stretch[until..]) {
        let next = until + packet.len();
        if !goes_on(packet, out)? {
            out.refused += packet.len() as u64;
            out.forward.extend((from < until).then(|| stretch.slice(from..until)));
            from = next;
        }
        until = next;
    }
    out.forward.extend((from < until).then(|| stretch.slice(from..until)));
    Ok(())
}

/// Requests.
impl Sftp {
    /// Whether the packet goes on to the target.
    fn packet_upward(&mut self, packet: &[u8], out: &mut Inspected) -> Result<bool, Breach> {
        let (packet_kind, mut fields) = Fields::of_packet(packet)?;
        match (self.greeting, packet_kind) {
            (Greeting::Awaited, kind::INIT) => self.init(packet, fields, out),
            (Greeting::Agreed, kind::INIT) | (Greeting::Awaited | Greeting::Offered, _) => {
                Err(Breach::UnexpectedPacket(packet_kind))
            }
            (Greeting::Agreed, _) => {
                let id = fields.u32()?;
                let request = Request::parse(packet_kind, fields)?;
                self.request(id, &request, out)
            }
        }
    }

    fn init(&mut self, packet: &[u8], mut fields: Fields<'_>, out: &mut Inspected) -> Result<bool, Breach> {
        let version = fields.u32()?;
        if version < 3 {
            return Err(Breach::Version(version));
        }
        self.greeting = Greeting::Offered;
        let ours = wire::init();
        let same = packet == ours;
        out.to_target.extend((!same).then_some(ours));
        Ok(same)
    }

    fn request(&mut self, id: u32, request: &Request<'_>, out: &mut Inspected) -> Result<bool, Breach> {
        self.unanswered.check_room(id)?;
        if self.on_upload(id, request, out) {
            self.answer_own(out);
            return Ok(false);
        }
        match self.judge(request) {
            Ok(sent) => self.unanswered.note_sent(id, sent),
            Err(refusal) => {
                self.refuse(id, request, refusal, out);
                self.answer_own(out);
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn refuse(&mut self, id: u32, request: &Request<'_>, refusal: Refusal, out: &mut Inspected) {
        out.ledger.extend(self.refused_entry(request, refusal));
        out.say.extend(self.words_said_once(refusal));
        self.unanswered.note_own(Own { id, answer: Answer::Refused(refusal) });
    }

    /// Answers the requests whose answer is the gate's and whose turn has come.
    fn answer_own(&mut self, out: &mut Inspected) {
        while let Some(Own { id, answer }) = self.unanswered.next_own() {
            out.to_technician.push(match answer {
                Answer::Refused(refusal) => wire::status_reply(id, refusal.code(), &refusal.words(&self.allowed.ask)),
                Answer::Done => wire::status_reply(id, status::OK, ""),
                Answer::Opened(upload) => wire::handle_reply(id, &upload::handle(upload)),
                Answer::Size(bytes) => wire::size_reply(id, bytes),
            });
        }
    }

    /// What is to be kept of a request that may go on.
    fn judge(&mut self, request: &Request<'_>) -> Result<Sent, Refusal> {
        let needs = request.needs();
        if needs.put && !self.allowed.put {
            return Err(Refusal::NotGranted(Action::FilePut));
        }
        if needs.get && !self.allowed.get {
            return Err(Refusal::NotGranted(Action::FileGet));
        }
        if request.paths().any(|path| path.len() > PATH_BYTES_MAX || path.contains(&0)) {
            return Err(Refusal::BadPath);
        }
        if self.allowed.checked
            && let Some(why) = upload::goes_around(request)
        {
            return Err(Refusal::Uncheckable(why));
        }
        Ok(match *request {
            Request::Open { path, flags, .. } => self.open(path, Purpose::File { flags })?,
            Request::OpenDirectory { path } => self.open(path, Purpose::Directory)?,
            Request::Close { handle } => Sent::Close(self.handles.remove(handle).ok_or(Refusal::NoSuchHandle)?),
            Request::Read { handle, offset, wanted } => {
                self.known_file(handle)?;
                Sent::Read { file: self.asked_of(handle)?, offset, wanted }
            }
            Request::Write { handle, offset, data } => self.write(handle, offset, data)?,
            Request::Stat { path } => Sent::Stat(path.into()),
            Request::FileStat { handle } => Sent::FileStat(self.asked_of(handle)?),
            Request::SetAttributes { named, size } => {
                Sent::SetAttributes { entry: named.under_way(), resizes: size.is_some() }
            }
            Request::SetFileAttributes { handle, size, .. } => {
                let file = self.asked_of(handle)?;
                let ends = |size| self.files.get(&file).is_some_and(|open| open.ends_writing_at(size));
                Sent::SetFileAttributes { file, ends_writing: size.map(ends) }
            }
            Request::Change(named) => Sent::Change(named.under_way()),
            Request::Copy { from, to } => self.copy(from, to)?,
            Request::Sync { handle } => self.known(handle).map(|_| Sent::Look { answer: kind::STATUS })?,
            Request::LookInto { handle, answer } => self.known(handle).map(|_| Sent::Look { answer })?,
            Request::Look { answer, .. } => Sent::Look { answer },
            Request::Unknown => return Err(Refusal::UnknownExtension),
        })
    }

    fn open(&mut self, path: &[u8], purpose: Purpose) -> Result<Sent, Refusal> {
        if self.files.len() + self.unanswered.openings() >= OPEN_MAX {
            return Err(Refusal::TooManyOpen);
        }
        let disturbed = self.disturb_others(path, purpose);
        Ok(Sent::Open(Box::new(Opening { path: path.into(), purpose, disturbed })))
    }

    fn write(&mut self, handle: &[u8], offset: u64, data: &[u8]) -> Result<Sent, Refusal> {
        self.known_file(handle)?;
        let file = self.asked_of(handle)?;
        let open = self.files.get_mut(&file).ok_or(Refusal::NoSuchHandle)?;
        let offset = open.write(offset, data, &mut self.budget);
        let bytes = u32::try_from(data.len()).expect("a packet is shorter than 4 GiB");
        Ok(Sent::Write { file, offset, bytes })
    }

    fn copy(&mut self, from: &[u8], to: &[u8]) -> Result<Sent, Refusal> {
        let (from, to) = (self.known_file(from)?.path.clone(), self.known_file(to)?.path.clone());
        self.disturb_all(&to);
        let named = Named { operation: Operation::Copy, path: &from, to: Some(&to) };
        Ok(Sent::Change(named.under_way()))
    }

    fn known(&self, handle: &[u8]) -> Result<FileKey, Refusal> {
        self.handles.get(handle).copied().ok_or(Refusal::NoSuchHandle)
    }

    fn known_file(&self, handle: &[u8]) -> Result<&OpenFile, Refusal> {
        let open = self.known(handle).map(|file| self.files.get(&file))?;
        open.filter(|open| open.purpose != Purpose::Directory).ok_or(Refusal::NoSuchHandle)
    }

    /// The open file with this handle, of which something is about to be asked.
    fn asked_of(&mut self, handle: &[u8]) -> Result<FileKey, Refusal> {
        let file = self.known(handle)?;
        let open = self.files.get_mut(&file).ok_or(Refusal::NoSuchHandle)?;
        open.unanswered += 1;
        Ok(file)
    }

    /// Two handles on one file, one of which writes: what passed through either need not be the file. Tells whether
    /// there is such another handle.
    fn disturb_others(&mut self, path: &[u8], purpose: Purpose) -> bool {
        let mut found = false;
        for open in self.called(path) {
            if purpose.writes() || open.purpose.writes() {
                open.disturb();
                found = true;
            }
        }
        found
    }

    fn disturb_all(&mut self, path: &[u8]) {
        self.called(path).for_each(OpenFile::disturb);
    }

    /// The open files that may be meant by this name: all of them once links were made.
    fn called(&mut self, path: &[u8]) -> impl Iterator<Item = &mut OpenFile> {
        let linked = self.linked;
        self.files.values_mut().filter(move |open| linked || open.is_called(path))
    }

    /// What the ledger says of a refused request: each by name, and of those on an open file the first of each kind.
    fn refused_entry(&mut self, request: &Request<'_>, refusal: Refusal) -> Option<FileEntry> {
        if let Some(named) = request.on_path() {
            let operation = match refusal {
                Refusal::NotGranted(Action::FileGet) => Operation::Get,
                _ => named.operation,
            };
            return Some(Named { operation, ..named }.refused());
        }
        let (operation, handle) = request.on_handle()?;
        let file = self.known(handle).ok()?;
        let open = self.files.get_mut(&file)?;
        let first = open.is_first_refusal(operation);
        first.then(|| Named { operation, path: &open.path, to: None }.refused())
    }

    fn words_said_once(&mut self, refusal: Refusal) -> Option<String> {
        match refusal {
            Refusal::NotGranted(action) => self.told.insert(action).then(|| refusal.words(&self.allowed.ask)),
            Refusal::Uncheckable(why) => self.uploads.is_first(why).then(|| refusal.words(&self.allowed.ask)),
            _ => None,
        }
    }
}

impl Refusal {
    fn code(self) -> u32 {
        match self {
            Self::NotGranted(_) => status::PERMISSION_DENIED,
            Self::UnknownExtension => status::OP_UNSUPPORTED,
            Self::Uncheckable(_) => status::PERMISSION_DENIED,
            Self::NoSuchHandle | Self::TooManyOpen | Self::BadPath => status::FAILURE,
        }
    }

    fn words(self, ask: &str) -> String {
        match self {
            Self::NotGranted(action) => format!("holdpoint: {action} is not granted here. {ask}"),
            Self::UnknownExtension => {
                "holdpoint: this extension cannot be checked here, so it is not carried".to_owned()
            }
            Self::Uncheckable(why) => format!("holdpoint: {why}"),
            Self::NoSuchHandle => "holdpoint: no file is open under this handle".to_owned(),
            Self::TooManyOpen => format!("holdpoint: {OPEN_MAX} files are open; close some first"),
            Self::BadPath => {
                format!("holdpoint: a path has at most {PATH_BYTES_MAX} bytes, none of them zero; use another name")
            }
        }
    }
}

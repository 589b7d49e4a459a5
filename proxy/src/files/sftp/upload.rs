//! Uploads by SFTP that are checked before the target has any of them. The gate plays the target: it opens, takes what is
//! written, and answers; with CLOSE the file is whole, is checked, and only then opened at the target, written and closed,
//! all by the gate. So what the target gets is what was checked, from the first byte to the last, and whatever would make a
//! file there in another way is refused.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use bytes::Bytes;
use policies::digest::Digest;
use recordings::ledger::{Extent, FileEntry, Operation, Outcome, RemotePath, Verdict};
use recordings::words::Words;

use super::super::{Breach, Concluded, HandOver, Inspected, Next, UPLOAD_BYTES_MAX, UploadKey, UploadStep};
use super::open_file::Purpose;
use super::request::Request;
use super::unanswered::{Answer, Own, Sent};
use super::wire::{self, Fields, kind, open, status};
use super::{Refusal, Sftp};

/// Uploads of one channel on the gate at once: clients open one or a few.
const UPLOADS_MAX: usize = 32;
/// What a WRITE of the gate's holds: all servers take so much.
const WRITE_BYTES: usize = 32 << 10;
/// WRITEs of the gate's without an answer: what OpenSSH has under way, too.
const WRITES_MAX: u32 = 64;
/// Attributes of one request: four numbers, and extensions that nobody uses.
const ATTRIBUTES_BYTES_MAX: usize = 1 << 10;
/// Requests for attributes on one upload; clients send one or two.
const LATER_MAX: usize = 16;
/// Separate stretches of a file that are kept account of.
const STRETCHES_MAX: usize = 4096;
const HANDLE: &[u8] = b"holdpoint-upload-";

/// What can be done to a file that a check of whole files would not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Uncheckable {
    Append,
    ReadAndWrite,
    Part,
    Resize,
    Copy,
    Read,
    TooLong,
    TooMany,
    Attributes,
    NotKept,
}

impl fmt::Display for Uncheckable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Append => "files are checked whole here, so nothing is added to one at the target; copy all of it",
            Self::ReadAndWrite => "files are checked whole here, so one is either read or written; copy all of it",
            Self::Part => "files are checked whole here, and this would change a part of one; copy all of it",
            Self::Resize => "files are checked whole here, so none is cut or lengthened at the target; copy all of it",
            Self::Copy => "files are checked whole here, so none is put together at the target; copy all of it from yours",
            Self::Read => "this file is being checked, so nothing can be read from it yet",
            Self::TooLong => {
                const { assert!(UPLOAD_BYTES_MAX == 2 << 30) };
                "files are checked here, and one of more than 2 GiB cannot be; copy it in parts that are files of their own"
            }
            Self::TooMany => "too many uploads at once where files are checked; close some first",
            Self::Attributes => "attributes that cannot be kept until the file is checked",
            Self::NotKept => "the gate could not keep this file to have it checked; tell the plant",
        })
    }
}

/// The handle under which the technician's program knows an upload.
pub(super) fn handle(upload: UploadKey) -> Vec<u8> {
    [HANDLE, format!("{:08x}", upload.0).as_bytes()].concat()
}

/// Why a request that would go to the target goes around the check.
pub(super) fn goes_around(request: &Request<'_>) -> Option<Uncheckable> {
    match *request {
        Request::Open { flags, .. } if flags & open::APPEND != 0 => Some(Uncheckable::Append),
        Request::Open { flags, .. } if flags & !open::READ != 0 => Some(Uncheckable::ReadAndWrite),
        Request::Write { .. } => Some(Uncheckable::Part),
        Request::SetAttributes { size: Some(_), .. } | Request::SetFileAttributes { size: Some(_), .. } => {
            Some(Uncheckable::Resize)
        }
        Request::Copy { .. } => Some(Uncheckable::Copy),
        _ => None,
    }
}

/// The uploads of one channel.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    all: BTreeMap<UploadKey, Upload>,
    begun: u32,
    handing: Option<Under>,
    told: BTreeSet<Uncheckable>,
}

/// A file of which the target has nothing.
#[derive(Debug)]
struct Upload {
    path: Box<[u8]>,
    flags: u32,
    /// Those of its OPEN.
    attributes: Option<Vec<u8>>,
    /// How long it is by now.
    bytes: u64,
    written: Stretches,
    /// How long a request made it last, if nothing was written beyond since.
    sized: Option<u64>,
    later: VecDeque<Later>,
    spoiled: Option<Uncheckable>,
    /// The number of the CLOSE that waits for an answer; no more is taken then.
    closing: Option<u32>,
}

/// What is asked on a file and done once its content is there.
#[derive(Debug)]
enum Later {
    Attributes(Vec<u8>),
    Sync,
}

/// Which parts of a file were written: stretches from … until, neither overlapping nor touching.
#[derive(Debug, Default)]
struct Stretches(BTreeMap<u64, u64>);

impl Stretches {
    fn add(&mut self, mut from: u64, mut until: u64) {
        while let Some((&start, &end)) = self.0.range(..=until).next_back().filter(|(_, end)| **end >= from) {
            self.0.remove(&start);
            (from, until) = (from.min(start), until.max(end));
        }
        self.0.insert(from, until);
    }

    fn cut(&mut self, bytes: u64) {
        self.0.split_off(&bytes);
        if let Some((_, end)) = self.0.iter_mut().next_back() {
            *end = (*end).min(bytes);
        }
    }

    /// Whether there is nothing but what was written, up to here.
    fn are_all_of(&self, bytes: u64) -> bool {
        bytes == 0 || (self.0.len() == 1 && self.0.get(&0) == Some(&bytes))
    }
}

impl Upload {
    /// Whether the file at the target is this one and nothing else, once it is closed: made new or emptied by its OPEN, or
    /// written from its beginning and made to end where that ended, as some programs do.
    fn is_whole(&self) -> bool {
        let made_new = open::CREATE | open::EXCLUSIVE;
        let fresh = self.flags & open::TRUNCATE != 0 || self.flags & made_new == made_new;
        fresh || (self.sized == Some(self.bytes) && self.written.are_all_of(self.bytes))
    }

    fn entry(&self, verdict: Verdict, outcome: Outcome) -> FileEntry {
        FileEntry::new(Operation::Put, RemotePath::new(&self.path), verdict, outcome)
    }
}

/// The upload that is being handed over.
#[derive(Debug)]
struct Under {
    key: UploadKey,
    bytes: u64,
    sha256: Digest,
    phase: Phase,
    handle: Box<[u8]>,
    sent: u64,
    written: u64,
    unanswered: u32,
    failure: Option<Failure>,
    /// All of it is there, and the target did not put it on its disk when it was asked to.
    unsynced: Option<Failure>,
    concluded: Concluded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opens,
    Writes,
    Sets,
    /// What was written is taken back, since it is not all of it.
    Empties,
    Closes,
    Over,
}

/// What the target said no to.
#[derive(Debug, Clone)]
struct Failure {
    code: u32,
    words: Vec<u8>,
}

/// A request of the gate's own, as far as its answer needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handing {
    Open,
    Write { bytes: u32 },
    Set,
    Sync,
    Empty,
    Close,
}

impl Uploads {
    /// Whether this is said for the first time.
    pub(super) fn is_first(&mut self, why: Uncheckable) -> bool {
        self.told.insert(why)
    }

    /// What is still under way, as the channel ends.
    pub(super) fn unfinished(&mut self) -> Vec<FileEntry> {
        let handing = self.handing.take();
        let entry = |(key, upload): (UploadKey, Upload)| {
            let entry = upload.entry(Verdict::Allowed, Outcome::Unfinished);
            match handing.as_ref().filter(|under| under.key == key) {
                Some(under) => FileEntry { bytes: under.sent, unanswered: under.sent - under.written, ..entry },
                None => entry,
            }
        };
        std::mem::take(&mut self.all).into_iter().map(entry).collect()
    }

    fn named(&self, handle: &[u8]) -> Option<UploadKey> {
        let digits = std::str::from_utf8(handle.strip_prefix(HANDLE)?).ok()?;
        let key = UploadKey(u32::from_str_radix(digits, 16).ok()?);
        let open = self.all.get(&key)?.closing.is_none();
        (open && self::handle(key) == handle).then_some(key)
    }
}

/// What is asked on uploads.
impl Sftp {
    /// Whether the request is on an upload that is checked, and is done with: then it never goes to the target.
    pub(super) fn on_upload(&mut self, id: u32, request: &Request<'_>, out: &mut Inspected) -> bool {
        if !self.allowed.checked || !self.allowed.put {
            return false;
        }
        if let Request::Open { path, flags, attributes } = *request {
            return self.open_upload(id, path, flags, attributes, request, out);
        }
        let handle = match *request {
            Request::Close { handle }
            | Request::Read { handle, .. }
            | Request::Write { handle, .. }
            | Request::FileStat { handle }
            | Request::SetFileAttributes { handle, .. }
            | Request::Sync { handle }
            | Request::LookInto { handle, .. } => handle,
            _ => return false,
        };
        let Some(key) = self.uploads.named(handle) else { return false };
        if let Request::Close { .. } = request {
            self.close_upload(id, key, out);
            return true;
        }
        let answer = match self.asked_on_upload(key, request, out) {
            Ok(answer) => answer,
            Err(why) => {
                if why != Uncheckable::Read
                    && let Some(upload) = self.uploads.all.get_mut(&key)
                {
                    upload.spoiled.get_or_insert(why);
                }
                Answer::Refused(Refusal::Uncheckable(why))
            }
        };
        self.unanswered.note_own(Own { id, answer });
        true
    }

    /// What only this gate can say no to is said at once; what the target has to say to it comes with its CLOSE.
    fn open_upload(
        &mut self,
        id: u32,
        path: &[u8],
        flags: u32,
        attributes: &[u8],
        request: &Request<'_>,
        out: &mut Inspected,
    ) -> bool {
        let writes_alone = flags & open::WRITE != 0 && flags & (open::READ | open::APPEND) == 0;
        let bad_path = path.len() > recordings::ledger::PATH_BYTES_MAX || path.contains(&0);
        if !writes_alone || bad_path {
            return false;
        }
        let refusal = if self.uploads.all.len() >= UPLOADS_MAX {
            Some(Uncheckable::TooMany)
        } else {
            (attributes.len() > ATTRIBUTES_BYTES_MAX).then_some(Uncheckable::Attributes)
        };
        if let Some(why) = refusal {
            self.refuse(id, request, Refusal::Uncheckable(why), out);
            return true;
        }
        let key = UploadKey(self.uploads.begun);
        self.uploads.begun += 1;
        let upload = Upload {
            path: path.into(),
            flags: flags & open::KNOWN,
            attributes: wire::without_size(attributes),
            bytes: 0,
            written: Stretches::default(),
            sized: None,
            later: VecDeque::new(),
            spoiled: None,
            closing: None,
        };
        self.uploads.all.insert(key, upload);
        out.uploads.push(UploadStep::Begin(key));
        self.unanswered.note_own(Own { id, answer: Answer::Opened(key) });
        true
    }

    fn asked_on_upload(
        &mut self,
        key: UploadKey,
        request: &Request<'_>,
        out: &mut Inspected,
    ) -> Result<Answer, Uncheckable> {
        let upload = self.uploads.all.get_mut(&key).expect("named by a handle of an upload that is there");
        match *request {
            Request::Write { .. } | Request::SetFileAttributes { .. } if let Some(why) = upload.spoiled => Err(why),
            Request::Write { offset, data, .. } => {
                let until = offset.saturating_add(data.len() as u64);
                if until > UPLOAD_BYTES_MAX || upload.written.0.len() >= STRETCHES_MAX {
                    out.uploads.push(UploadStep::Discard(key));
                    return Err(Uncheckable::TooLong);
                }
                if !data.is_empty() {
                    upload.written.add(offset, until);
                    upload.sized = upload.sized.filter(|bytes| *bytes >= until);
                    upload.bytes = upload.bytes.max(until);
                    let bytes = Bytes::copy_from_slice(data);
                    out.uploads.push(UploadStep::Keep { upload: key, offset, bytes });
                }
                Ok(Answer::Done)
            }
            Request::SetFileAttributes { attributes, size, .. } => {
                if attributes.len() > ATTRIBUTES_BYTES_MAX || upload.later.len() >= LATER_MAX {
                    return Err(Uncheckable::Attributes);
                }
                if let Some(bytes) = size {
                    if bytes > UPLOAD_BYTES_MAX {
                        out.uploads.push(UploadStep::Discard(key));
                        return Err(Uncheckable::TooLong);
                    }
                    upload.written.cut(bytes);
                    (upload.bytes, upload.sized) = (bytes, Some(bytes));
                    out.uploads.push(UploadStep::Resize { upload: key, bytes });
                }
                upload.later.extend(wire::without_size(attributes).map(Later::Attributes));
                Ok(Answer::Done)
            }
            Request::Sync { .. } => {
                if upload.later.len() < LATER_MAX {
                    upload.later.push_back(Later::Sync);
                }
                Ok(Answer::Done)
            }
            Request::FileStat { .. } => Ok(Answer::Size(upload.bytes)),
            _ => Err(Uncheckable::Read),
        }
    }

    fn close_upload(&mut self, id: u32, key: UploadKey, out: &mut Inspected) {
        let upload = self.uploads.all.get_mut(&key).expect("named by a handle of an upload that is there");
        upload.closing = Some(id);
        self.unanswered.note_promised(id);
        match upload.spoiled.or_else(|| (!upload.is_whole()).then_some(Uncheckable::Part)) {
            Some(why) => {
                out.uploads.push(UploadStep::Discard(key));
                let Concluded { to_technician, say, ledger } = HandOver::refuse(self, key, &why.to_string());
                out.to_technician.extend(to_technician);
                out.say.extend(say);
                out.ledger.extend(ledger);
            }
            None => out.uploads.push(UploadStep::Check(key)),
        }
    }
}

impl HandOver for Sftp {
    fn path(&self, upload: UploadKey) -> RemotePath {
        RemotePath::new(self.uploads.all.get(&upload).map_or(&[], |upload| &upload.path))
    }

    fn spoil(&mut self, upload: UploadKey) {
        if let Some(upload) = self.uploads.all.get_mut(&upload) {
            upload.spoiled.get_or_insert(Uncheckable::NotKept);
        }
    }

    fn refuse(&mut self, upload: UploadKey, why: &str) -> Concluded {
        let Some(upload) = self.uploads.all.remove(&upload) else { return Concluded::default() };
        let mut concluded = Concluded {
            say: vec![not_passed_on(&upload.path, why)],
            ledger: vec![upload.entry(Verdict::Refused, Outcome::NotBegun)],
            ..Concluded::default()
        };
        if let Some(id) = upload.closing {
            self.unanswered.note_kept(id);
            let words = format!("holdpoint: not passed on: {why}");
            concluded.to_technician.push(wire::status_reply(id, status::PERMISSION_DENIED, &words));
        }
        concluded
    }

    fn begin(&mut self, key: UploadKey, bytes: u64, sha256: Digest) {
        let Some(path) = self.uploads.all.get(&key).map(|upload| upload.path.clone()) else { return };
        // Who reads it meanwhile sees it change.
        self.disturb_others(&path, Purpose::File { flags: open::WRITE });
        self.uploads.handing = Some(Under {
            key,
            bytes,
            sha256,
            phase: Phase::Opens,
            handle: Box::default(),
            sent: 0,
            written: 0,
            unanswered: 0,
            failure: None,
            unsynced: None,
            concluded: Concluded::default(),
        });
    }

    fn next(&mut self) -> Next {
        let id = self.unanswered.own_id();
        let Some(under) = &mut self.uploads.handing else { return Next::Done(Concluded::default()) };
        let Some(upload) = self.uploads.all.get_mut(&under.key) else { return Next::Done(Concluded::default()) };
        if under.unanswered > 0 && (under.phase != Phase::Writes || under.is_written_out()) {
            return Next::Wait;
        }
        if under.phase == Phase::Writes && under.is_written_out() {
            under.phase = if under.failure.is_some() { Phase::Empties } else { Phase::Sets };
        }
        let (handing, request) = match under.phase {
            Phase::Opens => {
                let flags = upload.flags | open::TRUNCATE;
                (Handing::Open, wire::open_request(id, &upload.path, flags, upload.attributes.as_deref()))
            }
            Phase::Writes if under.unanswered >= WRITES_MAX => return Next::Wait,
            Phase::Writes => {
                let left = usize::try_from(under.bytes - under.sent).unwrap_or(usize::MAX);
                return Next::Content { offset: under.sent, bytes: left.min(WRITE_BYTES) };
            }
            Phase::Sets => match upload.later.pop_front() {
                Some(Later::Attributes(attributes)) => {
                    (Handing::Set, wire::attributes_request(id, &under.handle, &attributes))
                }
                Some(Later::Sync) => (Handing::Sync, wire::sync_request(id, &under.handle)),
                None => {
                    under.phase = Phase::Closes;
                    (Handing::Close, wire::close_request(id, &under.handle))
                }
            },
            Phase::Empties => (Handing::Empty, wire::attributes_request(id, &under.handle, &wire::size_alone(0))),
            Phase::Closes => (Handing::Close, wire::close_request(id, &under.handle)),
            Phase::Over => return Next::Done(self.handed_over()),
        };
        self.note_asked(id, handing);
        Next::Send(request)
    }

    fn content(&mut self, data: &[u8]) -> Bytes {
        let Some(under) = &mut self.uploads.handing else { return Bytes::new() };
        let id = self.unanswered.own_id();
        let request = wire::write_request(id, &under.handle, under.sent, data);
        under.sent += data.len() as u64;
        let bytes = u32::try_from(data.len()).expect("no more is asked for than a WRITE holds");
        self.note_asked(id, Handing::Write { bytes });
        request
    }
}

/// Handing over.
impl Sftp {
    fn note_asked(&mut self, id: u32, handing: Handing) {
        self.unanswered.note_sent(id, Sent::Handing(handing));
        if let Some(under) = &mut self.uploads.handing {
            under.unanswered += 1;
        }
    }

    /// The target answered a request of the gate's own.
    pub(super) fn handed(&mut self, handing: Handing, answer: u8, mut fields: Fields<'_>) -> Result<(), Breach> {
        let Some(under) = &mut self.uploads.handing else { return Ok(()) };
        under.unanswered -= 1;
        let failure = match answer {
            kind::STATUS => {
                let (code, words) = (fields.u32()?, fields.string().unwrap_or_default());
                (code != status::OK).then(|| Failure { code, words: words[..words.len().min(512)].to_vec() })
            }
            _ => None,
        };
        let path = RemotePath::new(self.uploads.all.get(&under.key).map_or(&[], |upload| &upload.path));
        match (handing, failure) {
            (Handing::Open, None) if answer == kind::HANDLE => {
                let handle = fields.string()?;
                if handle.len() > super::answers::HANDLE_BYTES_MAX || self.handles.contains_key(handle) {
                    return Err(Breach::BadHandle);
                }
                (under.handle, under.phase) = (handle.into(), Phase::Writes);
            }
            (Handing::Open, None) => return Err(Breach::UnexpectedPacket(answer)),
            (Handing::Open | Handing::Close, Some(failure)) => {
                under.failure.get_or_insert(failure);
                under.phase = Phase::Over;
            }
            (Handing::Write { bytes }, None) => under.written += u64::from(bytes),
            (Handing::Write { .. }, Some(failure)) => {
                under.failure.get_or_insert(failure);
            }
            (Handing::Sync, Some(failure)) => {
                let words = Words::new(failure.words.clone());
                under.concluded.say.push(format!("holdpoint: {path} is at the target, {UNSYNCED}: {words}"));
                under.unsynced.get_or_insert(failure);
            }
            (Handing::Set, failure) => {
                let outcome = failure.as_ref().map_or(Outcome::Done, |failure| Outcome::Failed(failure.code));
                let entry = FileEntry::new(Operation::SetAttributes, path.clone(), Verdict::Allowed, outcome);
                under.concluded.ledger.push(entry);
                if failure.is_some() {
                    let said = format!("holdpoint: {path} is at the target, which said no to its mode or times");
                    under.concluded.say.push(said);
                }
            }
            (Handing::Empty, failure) => {
                if failure.is_some() {
                    let said = format!("holdpoint: a part of {path} is at the target, and could not be taken back");
                    under.concluded.say.push(said);
                } else {
                    under.written = 0;
                }
                under.phase = Phase::Closes;
            }
            (Handing::Close, None) => under.phase = Phase::Over,
            (Handing::Sync, None) => {}
        }
        Ok(())
    }

    fn handed_over(&mut self) -> Concluded {
        let Some(under) = self.uploads.handing.take() else { return Concluded::default() };
        let Some(upload) = self.uploads.all.remove(&under.key) else { return under.concluded };
        let mut concluded = under.concluded;
        let entry = upload.entry(Verdict::Allowed, Outcome::Done);
        let is_there = under.failure.is_none();
        let (code, words, entry) = match under.failure {
            None => {
                let extent = Extent { from: 0, until: under.bytes, sha256: Some(under.sha256) };
                let entry = FileEntry { bytes: under.bytes, extents: vec![extent], whole: true, ..entry };
                // What a target has no way to do is no failure of the file's.
                match under.unsynced.filter(|failure| failure.code != status::OP_UNSUPPORTED) {
                    None => (status::OK, String::new(), entry),
                    Some(Failure { code, words }) => {
                        (code, format!("holdpoint: at the target, {UNSYNCED}: {}", Words::new(words)), entry)
                    }
                }
            }
            Some(Failure { code, words }) => {
                let words = Words::new(words).to_string();
                (code, words, FileEntry { bytes: under.written, outcome: Outcome::Failed(code), ..entry })
            }
        };
        concluded.ledger.insert(0, entry);
        if let Some(id) = upload.closing {
            self.unanswered.note_kept(id);
            concluded.to_technician.push(wire::status_reply(id, code, &words));
        }
        if !is_there {
            concluded
                .say
                .push(not_passed_on(&upload.path, &format!("the check passed it, and the target said no: {words}")));
        }
        self.sizes.clear();
        concluded
    }
}

impl Under {
    /// All of it was sent, or no more will be.
    fn is_written_out(&self) -> bool {
        self.sent == self.bytes || self.failure.is_some()
    }
}

/// Behind what is at the target.
const UNSYNCED: &str = "which did not put it on its disk when it was asked to";

fn not_passed_on(path: &[u8], why: &str) -> String {
    format!("holdpoint: {} was not passed on: {why}", RemotePath::new(path))
}

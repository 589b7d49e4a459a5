//! Evidence packs: one file with all that a stranger needs to see and to check what happened in one session, or in all
//! of a vendor's in a span of time. The journal is in it whole, because who counts and what was signed can be followed
//! from its beginning only; recordings are in it as they lie, and stay closed without an auditor's key; texts that
//! people typed, with their salts; and pages, made from all that. Checking a pack makes everything again that was made.

mod archive;
mod check;
mod clauses;
mod evidence;
mod inside;
mod manifest;
mod page;
mod proofs;
mod sheet;
mod story;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use certs::sshsig::Namespace;
use certs::trust::Trust;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use policies::digest::{Digest, Salted};
use policies::events::PackOf;
use policies::ids::{PersonId, SessionId};
use policies::state::State;

pub use self::archive::{ArchiveFault, unpack, unpack_bytes};
pub use self::check::{check, is_pack};
pub use self::evidence::Evidence;
pub use self::inside::Copied;
pub use self::manifest::{Made, Manifest, Source};
pub use self::texts::Texts;

use self::evidence::{InsideFrom, Sources};
use self::manifest::FileDigest;
use self::page::pages;
use self::proofs::proofs;
use self::sheet::Opening;
use self::story::{Chosen, Given, Story};
use crate::part::Part;
use crate::read::{AuditorKeys, JOURNAL_DIR, RECORDS_DIR, Store};
use crate::segment::{SegmentsFault, segments_dir};
use crate::verify::{Checks, Progress, Report, verify};

/// The folder in a pack that is a data folder with some sessions.
pub const DATA: &str = "data";
const MANIFEST: &str = "manifest.json";
const INDEX: &str = "index.html";
const EVIDENCE: &str = "evidence.json";
const TEXTS: &str = "texts.json";
const TRUST: &str = "trust.toml";
/// Files that this program wrote into the pack as text are not longer.
const TEXT_BYTES_MAX: u64 = 256 << 20;

/// Why a pack cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PackFault {
    /// The disk.
    #[error("{path}: {cause}", path = .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The journal's segments are no log.
    #[error(transparent)]
    Segments(#[from] SegmentsFault),
    /// The journal cannot be read.
    #[error("{path} cannot be read: {cause}. `holdpoint verify` says what is wrong", path = .path.display())]
    Journal {
        /// Which segment.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The journal knows nothing of what is wanted.
    #[error("the journal knows no session {0}")]
    NoSuchSession(SessionId),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveFault),
}

impl PackFault {
    fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |cause| Self::Io { path: path.to_owned(), cause }
    }
}

fn session_page(session: SessionId) -> String {
    format!("sessions/{session}.html")
}

/// What must be at hand to make a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Sessions whose recordings go in; those that were erased are told of, and not among them.
    pub sessions: BTreeSet<SessionId>,
    /// Salted digests of the texts that it tells.
    pub texts: Vec<Salted>,
    /// People whom it names.
    pub people: BTreeSet<PersonId>,
}

/// What a pack about this takes, by the journal of a data folder.
///
/// # Errors
/// The journal cannot be read, or knows nothing of it.
pub fn wanted(data: &Path, of: &PackOf) -> Result<Wanted, PackFault> {
    let story = Story::read(data, of)?;
    if let PackOf::Session { session } = of
        && story.sessions.is_empty()
    {
        return Err(PackFault::NoSuchSession(*session));
    }
    let sessions = chosen(&story, of);
    let texts = story.texts().iter().filter_map(|text| text.parse::<Digest>().ok()).map(Salted).collect();
    Ok(Wanted { sessions, texts, people: story.people() })
}

/// The plant's time zone and a vendor's sessions need the journal alone: what it stands at.
///
/// # Errors
/// The journal cannot be read.
pub fn timezone(data: &Path) -> Result<TimeZone, PackFault> {
    Ok(story::state(data)?.timezone())
}

/// What the journal of a data folder stands at, read as it lies: nothing of it is judged, as `verify` does.
///
/// # Errors
/// It cannot be read, or has an event that this program does not know.
pub fn state_of(folder: &Path) -> Result<State, PackFault> {
    story::state(folder)
}

/// Copies what a pack takes of a data folder: both logs, and of recordings those of these sessions. The journal first.
///
/// # Errors
/// The disk.
pub fn stage(data: &Path, sessions: &BTreeSet<SessionId>, into: &Path) -> Result<(), PackFault> {
    let kept: BTreeSet<PathBuf> =
        sessions.iter().map(|session| crate::segment::session_dir(Path::new(RECORDS_DIR), *session)).collect();
    let recordings = Path::new(RECORDS_DIR).join("sessions");
    for log in [JOURNAL_DIR, RECORDS_DIR] {
        let wanted = |name: &Path| name.parent() != Some(&recordings) || kept.contains(name);
        for name in files_below(data, Path::new(log), &wanted).map_err(PackFault::io(data))? {
            copy(&data.join(&name), &into.join(&name))?;
        }
    }
    let cuts = data.join("cuts");
    if cuts.is_file() {
        copy(&cuts, &into.join("cuts"))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), PackFault> {
    let parent = to.parent().unwrap_or(to);
    std::fs::create_dir_all(parent).map_err(PackFault::io(parent))?;
    std::fs::copy(from, to).map(|_| ()).map_err(PackFault::io(from))
}

/// The names of all plain files below a folder, in order; of no folder or file that is not `wanted`. Locks and files
/// that were being written are no evidence.
fn files_below(folder: &Path, below: &Path, wanted: &dyn Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut entries: Vec<_> = std::fs::read_dir(folder.join(below))?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = below.join(entry.file_name());
        let is_evidence = name.extension().is_none_or(|ending| ending != "tmp") && entry.file_name() != "LOCK";
        if !is_evidence || !wanted(&name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            files.extend(files_below(folder, &name, wanted)?);
        } else {
            files.push(name);
        }
    }
    Ok(files)
}

/// By what and of what a pack is made.
#[derive(Debug, Clone, Copy)]
pub struct Making<'a> {
    /// What it is about.
    pub of: &'a PackOf,
    /// What whoever makes it trusts.
    pub trust: &'a Trust,
    /// An auditor's keys: what they open stands in the pages then.
    pub keys: Option<&'a AuditorKeys>,
    /// Names and texts, as far as they are at hand.
    pub texts: &'a Texts,
    /// Now.
    pub at: Timestamp,
    /// Where the data folder came from.
    pub from: Source,
    /// The program's version.
    pub program: &'a str,
}

/// Makes a pack of the data folder in `folder`, which is `data` there, and gives what the check of it said. Spare segments
/// in it are removed.
///
/// # Errors
/// The journal cannot be read, or the disk says no.
pub fn make(folder: &Path, making: &Making<'_>, progress: &mut dyn FnMut(Progress)) -> Result<Report, PackFault> {
    let data = folder.join(DATA);
    for log in [JOURNAL_DIR, RECORDS_DIR] {
        drop_spares(&segments_dir(&data.join(log)))?;
    }
    let story = Story::read(&data, making.of)?;
    Part { sessions: chosen(&story, making.of) }.write(&data).map_err(PackFault::io(&data))?;
    let checks =
        Checks { folder: &data, trust: making.trust, keys: making.keys, remembered: &[], out_of_a_bucket: false };
    let report = verify(&checks, progress);
    let inside = making.keys.map_or(InsideFrom::Nothing, InsideFrom::Keys);
    let sources = Sources { data: &data, texts: making.texts, report: &report, inside };
    let evidence = Evidence::make(&sources, &story)?;
    let made =
        Made { at: making.at, program: making.program.to_owned(), from: making.from, opened: making.keys.is_some() };
    let mut files = derived(&data, &story, &evidence, making.of, &made);
    files.insert(TEXTS.to_owned(), making.texts.encode());
    files.insert(TRUST.to_owned(), making.trust.to_string().into_bytes());
    for (name, bytes) in &files {
        write(&folder.join(name), bytes)?;
    }
    let manifest = Manifest { pack: 1, of: making.of.clone(), made, files: digests(folder)? };
    write(&folder.join(MANIFEST), &manifest.encode())?;
    Ok(report)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), PackFault> {
    let parent = path.parent().unwrap_or(path);
    std::fs::create_dir_all(parent).map_err(PackFault::io(parent))?;
    std::fs::write(path, bytes).map_err(PackFault::io(path))
}

/// Writes the one file. It must not exist yet.
///
/// # Errors
/// The disk, or a pack that is too large.
pub fn seal(folder: &Path, at: Timestamp, archive: &Path) -> Result<(), PackFault> {
    let names = files_below(folder, Path::new(""), &|_| true).map_err(PackFault::io(folder))?;
    let mut names: Vec<String> = names.iter().map(|name| name_of(name)).collect();
    names.sort();
    Ok(archive::write(folder, &names, at.to_zoned(TimeZone::UTC).datetime(), archive)?)
}

/// Bytes of a pack, be it the one file or a folder.
///
/// # Errors
/// The disk.
pub fn bytes(pack: &Path) -> Result<u64, PackFault> {
    let length = |path: &Path| path.metadata().map(|metadata| metadata.len()).map_err(PackFault::io(path));
    if !pack.is_dir() {
        return length(pack);
    }
    let names = files_below(pack, Path::new(""), &|_| true).map_err(PackFault::io(pack))?;
    names.iter().map(|name| length(&pack.join(name))).sum()
}

/// As archives and manifests write it.
fn name_of(path: &Path) -> String {
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

fn digests(folder: &Path) -> Result<BTreeMap<String, FileDigest>, PackFault> {
    let names = files_below(folder, Path::new(""), &|_| true).map_err(PackFault::io(folder))?;
    let digest = |name: PathBuf| {
        let path = folder.join(&name);
        FileDigest::of(&path).map(|digest| (name_of(&name), digest)).map_err(PackFault::io(&path))
    };
    names.into_iter().filter(|name| name != Path::new(MANIFEST)).map(digest).collect()
}

/// Segments that lie ready are zero throughout and behind all others: nothing is in them.
fn drop_spares(segments: &Path) -> Result<(), PackFault> {
    let failed = PackFault::io(segments);
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(segments) {
        Ok(entries) => {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(&failed)?
        }
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    paths.sort();
    while let Some(last) = paths.pop() {
        if !is_zero(&last).map_err(PackFault::io(&last))? {
            break;
        }
        std::fs::remove_file(&last).map_err(PackFault::io(&last))?;
    }
    Ok(())
}

fn is_zero(path: &Path) -> io::Result<bool> {
    use std::io::Read as _;
    let mut file = std::fs::File::open(path)?;
    let mut piece = vec![0; 256 << 10];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 || piece[..read].iter().any(|byte| *byte != 0) {
            return Ok(read == 0);
        }
    }
}

/// What a pack has beside its data, its texts and the copy of what its maker trusted: all of it follows from those.
fn derived(data: &Path, story: &Story, evidence: &Evidence, of: &PackOf, made: &Made) -> BTreeMap<String, Vec<u8>> {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    files.insert(EVIDENCE.to_owned(), evidence.encode());
    files.extend(pages(evidence, of, made).into_iter().map(|(name, page)| (name, page.into_bytes())));
    files.extend(plants(data, story));
    files.extend(approvals(story));
    files.extend(proofs(data, story));
    for (name, text) in DOCUMENTS {
        files.insert((*name).to_owned(), text.as_bytes().to_vec());
    }
    files
}

/// What a stranger needs to check the bytes without this program: what they mean, and a verifier of somebody else's.
const DOCUMENTS: &[(&str, &str)] = &[
    ("docs/EVENTS.md", include_str!("../../../docs/EVENTS.md")),
    ("docs/FORMAT.md", include_str!("../../../docs/FORMAT.md")),
    ("verify.py", include_str!("../../second-opinion/verify.py")),
];

/// The plant files that were in force, as the journal keeps them.
fn plants(data: &Path, story: &Story) -> BTreeMap<String, Vec<u8>> {
    let asked = story.requests.iter().filter_map(|asking| asking.plant.as_ref().map(|plant| plant.digest()));
    let recordings = Store::open(data).map(|store| store.list().recordings).unwrap_or_default();
    let ids: BTreeSet<SessionId> = story.sessions.iter().map(|visit| visit.id).collect();
    let of_them = recordings.iter().filter(|recording| ids.contains(&recording.id()));
    let entered = of_them.filter_map(|recording| Opening::of(recording).map(|opening| opening.plant()));
    let digests: BTreeSet<Digest> = asked.chain(entered).collect();
    let text = |digest| story.state.proposals.get(&digest).map(|proposal| proposal.text.clone().into_bytes());
    digests.into_iter().filter_map(|digest| Some((format!("plants/{digest}.toml"), text(digest)?))).collect()
}

/// The operators' signatures, as `ssh-keygen -Y verify` takes them. What is signed is the SHA-256 of the statement.
fn approvals(story: &Story) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut signers = BTreeSet::new();
    for vote in story.votes() {
        let Given::Signed { key, signature } = &vote.given else { continue };
        let (entry, statement) = (vote.noted.entry, &vote.statement);
        files.insert(format!("approvals/{entry}.statement"), statement.covered());
        files.insert(format!("approvals/{entry}.signed"), statement.digest().0.to_vec());
        files.insert(format!("approvals/{entry}.sig"), signature.clone().into_bytes());
        let namespace = Namespace::Approval.as_str();
        signers.insert(format!("{} namespaces=\"{namespace}\" {}\n", statement.operator, key.0));
    }
    if !signers.is_empty() {
        let lines: String = signers.into_iter().collect();
        files.insert("approvals/allowed_signers".to_owned(), lines.into_bytes());
    }
    files
}

/// The sessions whose recordings belong in a pack about this: of what was erased there is none.
fn chosen(story: &Story, of: &PackOf) -> BTreeSet<SessionId> {
    sessions(&story.state, of)
}

/// The sessions whose recordings go into a pack, by what stands.
pub fn sessions(state: &State, of: &PackOf) -> BTreeSet<SessionId> {
    let is_kept = |session: &SessionId| state.sessions.get(session).is_none_or(|facts| facts.erased().is_none());
    Chosen::of(state, of).sessions.into_iter().filter(is_kept).collect()
}

//! A bucket in place of a data folder, for commands that read: what they need is fetched into a folder that goes with them. What there
//! is to fetch, the logs say: the newest of each names its tiles, and leaves of the record log name the files of recordings
//! with version, length and SHA-256. So no name that somebody put there becomes a path, and what is hidden is found. No
//! gate is asked, and nothing is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use approver::blobs::s3::{BucketAt, BucketUrl};
use approver::blobs::{Blobs, Listed};
use approver::deposits::{LOCKED, NEWEST};
use approver::post::Url;
use indicatif::HumanBytes;
use policies::ids::{NodeId, RestoreId, SessionId};
use recordings::disk::RealDisk;
use recordings::keeping::Copied;
use recordings::part::Part;
use recordings::read::{Format, JOURNAL_DIR, RECORDS_DIR, Store, before_dir, is_published_file};
use recordings::segment::session_dir;
use recordings::tlog::folder::{Folder, View};
use recordings::tlog::tile::{BUNDLE_BYTES_MAX, Tile, root_in, tiles_between};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::Failure;
use crate::app::depositing;
use crate::client::Unpacker;
use crate::saying;

/// How a bucket is reached that is named instead of a folder.
#[derive(Debug, clap::Args)]
pub(super) struct BucketArgs {
    /// With s3://BUCKET/PREFIX instead of a folder: the file with the key to the bucket, as Amazon's tools write it.
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// Where the service is asked; otherwise Amazon's of the region.
    #[arg(long, value_name = "URL", requires = "credentials")]
    endpoint: Option<Url>,
    /// The bucket's region.
    #[arg(long, value_name = "REGION", requires = "credentials", default_value = "us-east-1")]
    region: String,
    /// Whether the bucket stands in the address's path; if left out, where --endpoint is given.
    #[arg(long, value_name = "BOOL", requires = "credentials")]
    path_style: Option<bool>,
    /// The CAs that may vouch for the service, in PEM; otherwise the system's.
    #[arg(long, value_name = "FILE", requires = "credentials")]
    ca: Option<PathBuf>,
}

/// A folder, or what was fetched in its place.
pub(super) struct Local {
    path: PathBuf,
    /// Goes with this.
    fetched: Option<TempDir>,
}

impl Local {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn is_out_of_a_bucket(&self) -> bool {
        self.fetched.is_some()
    }
}

/// Asked for at once.
const PIECE: usize = 8 << 20;
/// Four kinds of partial tiles, of which one has entries, and what is small.
const ARCHIVE_BYTES_MAX: u64 = BUNDLE_BYTES_MAX + (4 << 20);
/// Of several versions of what changes, whosever they are, so many are looked at.
const VERSIONS_MAX: usize = 16;

impl BucketArgs {
    /// The folder itself, or what lies in the bucket that is named in its place: all of it, or both logs and one session.
    pub(super) fn local(&self, named: &Path, session: Option<SessionId>) -> Result<Local, Failure> {
        let Some(text) = named.to_str().filter(|text| text.starts_with("s3://")) else {
            return Ok(Local { path: named.to_owned(), fetched: None });
        };
        let url: BucketUrl = text.parse().map_err(Failure::usage)?;
        let words = "name the file with the key to the bucket: --credentials FILE";
        let credentials = self.credentials.clone().ok_or_else(|| Failure::usage(words))?;
        if self.endpoint.as_ref().is_some_and(|url| !url.is_https() && !url.is_this_machine()) {
            return Err(Failure::usage(
                "--endpoint: the key to the bucket would go in the clear to another machine: write an https:// address",
            ));
        }
        let (endpoint, region, ca) = (self.endpoint.clone(), self.region.clone(), self.ca.clone());
        let path_style = self.path_style.unwrap_or(endpoint.is_some());
        let at = BucketAt { url, endpoint, region, path_style, ca, credentials };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
        let folder = tempfile::tempdir().map_err(Failure::failed)?;
        runtime.block_on(fetch(at, session, folder.path()))?;
        Ok(Local { path: folder.path().to_owned(), fetched: Some(folder) })
    }
}

async fn fetch(at: BucketAt, session: Option<SessionId>, into: &Path) -> Result<(), Failure> {
    let url = at.url.clone();
    let (bucket, named) = reach(at).await?;
    let of = named.as_ref().map(|place| place.node.to_string()).unwrap_or_default();
    let mut listed = by_key(bucket.list(&of).await.map_err(Failure::failed)?);
    let place = place(&url, &listed, named)?;
    let is_ours = |key: &str| key.strip_prefix(place.node.as_str()).is_some_and(|rest| rest.starts_with(['/', '.']));
    listed.retain(|key, _| is_ours(key));
    let mut fetching = Fetching { bucket, listed, into, objects: 0, bytes: 0 };
    for log in [JOURNAL_DIR, RECORDS_DIR] {
        fetching.log(&place, log).await?;
    }
    fetching.recordings(&place.node, session).await?;
    if let Some(session) = session {
        Part { sessions: [session].into() }.write(into).map_err(Failure::failed)?;
    }
    let Fetching { objects, bytes, .. } = fetching;
    saying::aside(format_args!("{objects} objects, {}, fetched from {url}", HumanBytes(bytes)));
    let is_hidden = |versions: &&Vec<Listed>| versions.iter().any(|one| one.is_latest && one.bytes.is_none());
    let hidden = fetching.listed.values().filter(is_hidden).count();
    if hidden > 0 {
        saying::aside(format_args!(
            "{hidden} of the objects there are hidden by delete markers: somebody deleted them, as far as the bucket let them. \
             They were found by their versions"
        ));
    }
    Ok(())
}

/// Whose logs: those of a node, as it is since a restore.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    node: NodeId,
    restore: Option<RestoreId>,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let (node, restore) = match text.split_once('.') {
            Some((node, restore)) => (node, Some(restore.parse::<RestoreId>().ok()?)),
            None => (text, None),
        };
        let place = Self { node: node.parse().ok()?, restore };
        (place.to_string() == text).then_some(place)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.restore {
            Some(restore) => write!(f, "{}.{restore}", self.node),
            None => write!(f, "{}", self.node),
        }
    }
}

/// The bucket at the address of an installation, and the place in it, where that is what was named.
async fn reach(at: BucketAt) -> Result<(Arc<dyn Blobs>, Option<Place>), Failure> {
    let bucket = depositing::reach(at.clone()).map_err(Failure::usage)?;
    let (above, last) = at.url.prefix.rsplit_once('/').unwrap_or(("", &at.url.prefix));
    let Some(place) = Place::parse(last) else { return Ok((bucket, None)) };
    let mut there = bucket.list(&format!("{RECORDS_DIR}/{NEWEST}")).await.map_err(Failure::failed)?;
    there.extend(bucket.list(&format!("{RECORDS_DIR}/{LOCKED}/")).await.map_err(Failure::failed)?);
    if there.is_empty() {
        return Ok((bucket, None));
    }
    let url = BucketUrl { bucket: at.url.bucket.clone(), prefix: above.to_owned() };
    let bucket = depositing::reach(BucketAt { url, ..at }).map_err(Failure::usage)?;
    Ok((bucket, Some(place)))
}

/// The versions of each key, the newest first.
type Versions = BTreeMap<String, Vec<Listed>>;

fn by_key(listed: Vec<Listed>) -> Versions {
    let mut versions = Versions::new();
    for one in listed {
        versions.entry(one.key.clone()).or_default().push(one);
    }
    versions
}

/// The place that was named, or that of the one node there is, since its last restore.
fn place(url: &BucketUrl, listed: &Versions, named: Option<Place>) -> Result<Place, Failure> {
    let place_of = |key: &String| {
        let (place, rest) = key.split_once(&format!("/{RECORDS_DIR}/"))?;
        let is_a_log = rest == NEWEST || rest.split_once('/').is_some_and(|(folder, _)| folder == LOCKED);
        Place::parse(place).filter(|_| is_a_log)
    };
    let there = listed.keys().filter_map(place_of);
    let places: BTreeSet<Place> = named.map_or_else(|| there.collect(), |named| [named].into());
    let (Some(first), Some(last)) = (places.first(), places.last()) else {
        return Err(Failure::refused(format_args!("{url}: no gate brought anything there")));
    };
    if first.node != last.node {
        return Err(Failure::usage(format_args!(
            "{url}: several nodes brought theirs there. Name one, for example {}",
            url.below(first.node.as_str())
        )));
    }
    Ok(last.clone())
}

/// What is being fetched.
struct Fetching<'f> {
    bucket: Arc<dyn Blobs>,
    listed: Versions,
    into: &'f Path,
    objects: usize,
    bytes: u64,
}

impl Fetching<'_> {
    /// What a log published: its newest archive, and the tiles that this is over.
    async fn log(&mut self, place: &Place, log: &str) -> Result<(), Failure> {
        let dir = self.into.join(log);
        let size = self.newest(&format!("{place}/{log}"), &dir).await?;
        self.tiles(&format!("{place}/{log}"), &dir, size).await?;
        let restored = Format::read(&dir).map(|format| format.restored).unwrap_or_default();
        for at in restored {
            let key = format!("{place}/{log}/{}.tar", before_dir(at.restore));
            for one in self.versions(&key, |bytes| bytes <= ARCHIVE_BYTES_MAX).into_iter().take(VERSIONS_MAX) {
                if self.archive(&one, &dir).await?.is_some() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Unpacks the newest archive that is one; how many entries it is over.
    async fn newest(&mut self, of: &str, dir: &Path) -> Result<u64, Failure> {
        let fits = |bytes| bytes <= ARCHIVE_BYTES_MAX;
        let mut candidates = self.versions(&format!("{of}/{NEWEST}"), fits);
        candidates.truncate(VERSIONS_MAX);
        let size = |key: &str| key.strip_prefix(&format!("{of}/{LOCKED}/"))?.strip_suffix(".tar")?.parse::<u64>().ok();
        let mut locked: Vec<(u64, String)> =
            self.listed.keys().filter_map(|key| Some((size(key)?, key.clone()))).collect();
        locked.sort();
        for (_, key) in locked.iter().rev().take(VERSIONS_MAX) {
            candidates.extend(self.versions(key, fits).into_iter().take(VERSIONS_MAX));
        }
        let longest = locked.last().map_or(0, |(size, _)| *size);
        let mut shorter: Option<(u64, Listed)> = None;
        for one in candidates {
            match self.archive(&one, dir).await? {
                Some(size) if size >= longest => return Ok(size),
                // By its name something that is locked is longer: this one was put in place of a later one, or that is no archive.
                Some(size) if shorter.as_ref().is_none_or(|(known, _)| size > *known) => shorter = Some((size, one)),
                _ => {}
            }
            fs::remove_dir_all(dir).map_err(Failure::failed)?;
        }
        if let Some((_, one)) = shorter
            && let Some(size) = self.archive(&one, dir).await?
        {
            return Ok(size);
        }
        Err(Failure::refused(format_args!("{of}: nothing there is what a log published")))
    }

    /// Unpacks an archive of files that a log publishes: how many entries the checkpoint in that folder is over. None where it is no
    /// such archive.
    async fn archive(&mut self, one: &Listed, dir: &Path) -> Result<Option<u64>, Failure> {
        fs::create_dir_all(dir).map_err(Failure::failed)?;
        let mut unpacker = Unpacker::of(dir, is_published_file);
        let whole = one.bytes.unwrap_or(0);
        let mut at = 0;
        while at < whole {
            let piece = self.piece(one, at, whole).await?;
            at += piece.len() as u64;
            if unpacker.feed(&piece).is_err() {
                return Ok(None);
            }
        }
        let is_whole = unpacker.finish().is_ok() && Format::read(dir).is_ok();
        (self.objects, self.bytes) = (self.objects + 1, self.bytes + whole);
        let folder = Folder::new(Arc::new(RealDisk), dir);
        Ok(folder.checkpoint().ok().flatten().filter(|_| is_whole).map(|checkpoint| checkpoint.size))
    }

    /// The full tiles of a log of this size; of several versions the one that fits what lies above it. Where none does, a check names
    /// the tile.
    async fn tiles(&mut self, of: &str, dir: &Path, size: u64) -> Result<(), Failure> {
        let folder = Folder::new(Arc::new(RealDisk), dir);
        let checkpoint = folder.checkpoint().ok().flatten();
        let mut view = checkpoint.and_then(|checkpoint| View::open(folder, &checkpoint).ok());
        let mut tiles: Vec<Tile> = tiles_between(0, size).filter(Tile::is_full).collect();
        // Those above say what those below are.
        tiles.reverse();
        for tile in tiles {
            let expected = view.as_mut().and_then(|view| view.root_of(tile).ok());
            // Whoever puts others under its name does so later.
            for one in self.versions(&format!("{of}/{tile}"), |bytes| bytes <= BUNDLE_BYTES_MAX).into_iter().rev() {
                let bytes = self.whole(&one).await?;
                let to = dir.join(tile.to_string());
                let failed = |cause: io::Error| Failure::failed(format_args!("{}: {cause}", to.display()));
                to.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
                fs::write(&to, &bytes).map_err(failed)?;
                if expected.is_none() || root_in(tile.kind(), &bytes) == expected {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The recordings' files, as the record log says where they lie.
    async fn recordings(&mut self, node: &NodeId, wanted: Option<SessionId>) -> Result<(), Failure> {
        // Of a log that cannot be read a check says why.
        let Ok(store) = Store::open(self.into) else { return Ok(()) };
        for recording in store.list().recordings {
            if wanted.is_some_and(|wanted| wanted != recording.id()) || recording.keeping.erased.is_some() {
                continue;
            }
            for copied in recording.keeping.copied.values() {
                self.copy(node, copied).await?;
            }
        }
        Ok(())
    }

    /// One file: the version that the log names, or another one with these bytes, as where a bucket was copied.
    async fn copy(&mut self, node: &NodeId, copied: &Copied) -> Result<(), Failure> {
        let dir = session_dir(Path::new(RECORDS_DIR), copied.recording);
        let key = format!("{node}/{}/{}", dir.display(), copied.name);
        let mut versions = self.versions(&key, |bytes| bytes == copied.bytes);
        versions.sort_by_key(|one| one.version != copied.version);
        for one in versions {
            if self.download(&one, &self.into.join(&dir).join(&copied.name), copied.sha256.0).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The versions of a key that can be what is looked for, the newest first.
    fn versions(&self, key: &str, fits: impl Fn(u64) -> bool) -> Vec<Listed> {
        let all = self.listed.get(key).into_iter().flatten();
        all.filter(|one| one.bytes.is_some_and(&fits)).cloned().collect()
    }

    async fn whole(&mut self, one: &Listed) -> Result<Vec<u8>, Failure> {
        let (whole, mut bytes) = (one.bytes.unwrap_or(0), Vec::new());
        while (bytes.len() as u64) < whole {
            bytes.extend(self.piece(one, bytes.len() as u64, whole).await?);
        }
        (self.objects, self.bytes) = (self.objects + 1, self.bytes + whole);
        Ok(bytes)
    }

    /// Whether it has this SHA-256; else nothing is left of it.
    async fn download(&mut self, one: &Listed, to: &Path, wanted: [u8; 32]) -> Result<bool, Failure> {
        let failed = |cause: io::Error| Failure::failed(format_args!("{}: {cause}", to.display()));
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let (mut file, mut at, whole) = (File::create(to).map_err(failed)?, 0, one.bytes.unwrap_or(0));
        let mut hash = Sha256::new();
        while at < whole {
            let piece = self.piece(one, at, whole).await?;
            hash.update(&piece);
            file.write_all(&piece).map_err(failed)?;
            at += piece.len() as u64;
        }
        if wanted != <[u8; 32]>::from(hash.finalize()) {
            fs::remove_file(to).map_err(failed)?;
            return Ok(false);
        }
        (self.objects, self.bytes) = (self.objects + 1, self.bytes + whole);
        Ok(true)
    }

    async fn piece(&self, one: &Listed, at: u64, whole: u64) -> Result<Vec<u8>, Failure> {
        let wanted = usize::try_from(whole - at).unwrap_or(PIECE).min(PIECE);
        let piece = self.bucket.read(&one.key, &one.version, at, wanted).await.map_err(Failure::failed)?;
        if piece.is_empty() {
            return Err(Failure::failed(format_args!("{} ends before its length there", one.key)));
        }
        Ok(piece)
    }
}

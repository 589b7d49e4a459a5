//! A machine for tests of this crate and of those above: a disk in memory that knows what was synced and what was not,
//! fails any call on demand, and can lose its power; and clocks that stand still until they are turned.
//!
//! A power cut keeps what was synced and, of the rest, any of its 512-byte sectors, in no order; of creations and
//! renames that no `sync_dir` followed, any. A failed sync keeps some of it and forgets that there was more, as kernels do.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use certs::log_key::{BadVerifier, Verifier};
use jiff::{SignedDuration, Timestamp};

use crate::disk::{Disk, DiskFile, Machine};
use crate::log::Signer;
use crate::session::lock;

/// What a disk writes all of or nothing of.
const SECTOR: usize = 512;

/// A disk in memory. Clones are handles to the same disk.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: Vec<Content>,
    /// Names as programs see them, and as they are after a power cut.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names that are not durable yet, by directory.
    renamed: Vec<(PathBuf, Rename)>,
    dirs: BTreeSet<PathBuf>,
    locked: BTreeSet<PathBuf>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    off: bool,
    room_bytes: Option<u64>,
    /// Writes for which there was no room.
    refused: u64,
    failed_syncs: BTreeSet<usize>,
    resynced: bool,
    chance: u64,
}

#[derive(Default, Clone)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone)]
enum Rename {
    Create(PathBuf, usize),
    Move(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails and does nothing. A sync forgets some of what it should have kept.
    Error(io::ErrorKind),
    /// A write does part of its work, then fails; another call fails.
    Short,
    /// The power goes: this call and all after it fail.
    PowerCut,
}

impl SimDisk {
    /// An empty disk. `seed` decides what a power cut keeps.
    pub fn new(seed: u64) -> Self {
        let disk = Self::default();
        disk.state().chance = seed.wrapping_mul(2).wrapping_add(1);
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// How many calls there were that a fault can hit.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Makes the call with this number, counted from the disk's first, go wrong.
    pub fn fail_call(&self, call: u64, fault: Fault) {
        self.state().fault = Some((call, fault));
    }

    /// Lets the disk hold so many bytes, all files together.
    pub fn set_room(&self, bytes: u64) {
        self.state().room_bytes = Some(bytes);
    }

    /// Lets the disk grow by so many bytes, whatever it holds now.
    pub fn set_free(&self, bytes: u64) {
        let mut state = self.state();
        state.room_bytes = Some(state.used_bytes() + bytes);
    }

    /// How many writes there was no room for.
    pub fn refused_writes(&self) -> u64 {
        self.state().refused
    }

    /// Whether a file was written to or synced again after a sync or write of it failed.
    pub fn was_touched_after_failure(&self) -> bool {
        self.state().resynced
    }

    /// Cuts the power, and gives the disk as the next start finds it.
    pub fn power_cut(&self) -> Self {
        let mut state = self.state();
        state.off = true;
        let mut after = State { chance: state.chance ^ state.calls.rotate_left(32) | 1, ..State::default() };
        let keep_in_256 = [0, 64, 128, 192, 255][after.pick(5)];
        after.files = state.files.iter().map(|file| after.after_cut(file, keep_in_256)).collect();
        after.durable_names = state.durable_names.clone();
        after.dirs = state.dirs.clone();
        for (_, rename) in &state.renamed {
            if after.pick(256) < keep_in_256 {
                rename.apply(&mut after.durable_names);
            }
        }
        after.names = after.durable_names.clone();
        Self(Arc::new(Mutex::new(after)))
    }

    /// The disk as the next start finds it when only the program died: everything is seen, nothing more is durable.
    pub fn killed(&self) -> Self {
        let mut state = self.state();
        state.off = true;
        let after = State {
            files: state.files.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            renamed: state.renamed.clone(),
            dirs: state.dirs.clone(),
            chance: state.chance,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(after)))
    }

    /// A file's bytes, as programs see them.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|file| state.files[*file].seen.clone())
    }

    /// Changes a file behind everybody's back, durably.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.names[path];
        change(&mut state.files[file].seen);
        let seen = state.files[file].seen.clone();
        state.files[file].durable = seen;
    }

    /// All files, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }
}

impl State {
    /// A number below `below`, by SplitMix64.
    fn pick(&mut self, below: usize) -> usize {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below as u64) as usize
    }

    fn after_cut(&mut self, file: &Content, keep_in_256: usize) -> Content {
        let mut durable = file.durable.clone();
        for (offset, bytes) in &file.unsynced {
            self.keep_sectors(&mut durable, *offset, bytes, keep_in_256);
        }
        Content { seen: durable.clone(), durable, unsynced: Vec::new() }
    }

    fn keep_sectors(&mut self, durable: &mut Vec<u8>, offset: usize, bytes: &[u8], keep_in_256: usize) {
        let mut at = 0;
        while at < bytes.len() {
            let part = (SECTOR - (offset + at) % SECTOR).min(bytes.len() - at);
            if self.pick(256) < keep_in_256 {
                put(durable, offset + at, &bytes[at..at + part]);
            }
            at += part;
        }
    }

    /// Counts a call, and says what goes wrong with it.
    fn call(&mut self) -> io::Result<Option<Fault>> {
        if self.off {
            return Err(io::Error::other("the power is off"));
        }
        self.calls += 1;
        let fault = self.fault.filter(|(call, _)| *call == self.calls).map(|(_, fault)| fault);
        if fault == Some(Fault::PowerCut) {
            self.off = true;
            return Err(io::Error::other("the power was cut"));
        }
        Ok(fault)
    }

    /// A call that does nothing if it fails.
    fn simple_call(&mut self) -> io::Result<()> {
        match self.call()? {
            None => Ok(()),
            Some(Fault::Error(kind)) => Err(kind.into()),
            Some(Fault::Short | Fault::PowerCut) => Err(io::ErrorKind::Other.into()),
        }
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&mut self, path: &Path, rename: Rename) {
        rename.apply(&mut self.names);
        self.renamed.push((path.parent().unwrap_or(Path::new("")).to_owned(), rename));
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().map(|file| self.files[*file].seen.len() as u64).sum()
    }
}

impl Rename {
    /// What cannot be any more, because a change before it was lost, is lost with it.
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Move(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.simple_call()?;
        let file = state.file(path)?;
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.simple_call()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.files.len();
        state.files.push(Content::default());
        state.rename(path, Rename::Create(path.to_owned(), file));
        Ok(Box::new(SimFile { disk: self.clone(), file }))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.simple_call()?;
        state.dirs.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.simple_call()?;
        let (synced, rest) = std::mem::take(&mut state.renamed).into_iter().partition(|(dir, _)| dir == path);
        state.renamed = rest;
        let synced: Vec<(PathBuf, Rename)> = synced;
        synced.iter().for_each(|(_, rename)| rename.apply(&mut state.durable_names));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.simple_call()?;
        let file = state.file(from)?;
        state.rename(to, Rename::Move(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.simple_call()?;
        state.file(path)?;
        state.rename(path, Rename::Remove(path.to_owned()));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.simple_call()?;
        let inside = state.names.keys().chain(&state.dirs).filter(|path| path.parent() == Some(dir));
        let names: BTreeSet<String> =
            inside.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
        Ok(names.into_iter().collect())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let state = self.state();
        Ok(state.room_bytes.map_or(u64::MAX, |room| room.saturating_sub(state.used_bytes())))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let free = self.state().locked.insert(path.to_owned());
        Ok(free.then(|| Box::new(SimLock(self.clone(), path.to_owned())) as Box<dyn Send + Sync>))
    }

    fn unsuited(&self, _: &Path) -> io::Result<Option<&'static str>> {
        Ok(None)
    }
}

struct SimLock(SimDisk, PathBuf);

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.state().locked.remove(&self.1);
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let fault = state.call();
        if matches!(fault, Ok(None)) && state.failed_syncs.contains(&self.file) {
            state.resynced = true;
        }
        let offset = offset as usize;
        let growth = (offset + bytes.len()).saturating_sub(state.files[self.file].seen.len()) as u64;
        let full = state.room_bytes.is_some_and(|room| state.used_bytes() + growth > room);
        let written = match &fault {
            Ok(None) if full => 0,
            Ok(None) => bytes.len(),
            Ok(Some(Fault::Error(_))) => 0,
            Ok(Some(_)) => bytes.len() / 2,
            // A write that the power cut into may have reached the disk.
            Err(_) => bytes.len(),
        };
        let file = &mut state.files[self.file];
        put(&mut file.seen, offset, &bytes[..written]);
        file.unsynced.push((offset, bytes[..written].to_vec()));
        let failed = match fault? {
            None if full => {
                state.refused += 1;
                Err(io::ErrorKind::StorageFull.into())
            }
            None => return Ok(()),
            Some(Fault::Error(kind)) => Err(kind.into()),
            Some(_) => Err(io::ErrorKind::WriteZero.into()),
        };
        state.failed_syncs.insert(self.file);
        failed
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.simple_call()?;
        let seen = &state.files[self.file].seen;
        let from = (offset as usize).min(seen.len());
        let read = buffer.len().min(seen.len() - from);
        buffer[..read].copy_from_slice(&seen[from..from + read]);
        Ok(read)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].seen.len() as u64)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let missing = bytes.saturating_sub(self.len()?);
        self.write_at(&vec![0; missing as usize], bytes - missing)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let synced = state.simple_call();
        if state.off {
            return synced;
        }
        if state.failed_syncs.contains(&self.file) {
            state.resynced = true;
        }
        let mut file = std::mem::take(&mut state.files[self.file]);
        let unsynced = std::mem::take(&mut file.unsynced);
        for (offset, bytes) in unsynced {
            match &synced {
                Ok(()) => put(&mut file.durable, offset, &bytes),
                Err(_) => state.keep_sectors(&mut file.durable, offset, &bytes, 128),
            }
        }
        state.files[self.file] = file;
        if synced.is_err() {
            state.failed_syncs.insert(self.file);
        }
        synced
    }
}

/// Clocks that stand until they are turned. Clones are handles to the same machine.
#[derive(Clone)]
pub struct SimMachine(Arc<Clocks>);

struct Clocks {
    nanos: AtomicU64,
    /// How far the wall clock was set.
    set_seconds: AtomicI64,
    chance: AtomicU64,
}

impl SimMachine {
    /// A machine whose chance begins with `seed`.
    pub fn new(seed: u64) -> Self {
        let (nanos, set_seconds) = (AtomicU64::new(0), AtomicI64::new(0));
        Self(Arc::new(Clocks { nanos, set_seconds, chance: AtomicU64::new(seed) }))
    }

    /// Sets the wall clock by so many seconds, forward or back.
    pub fn set_wall(&self, by_seconds: i64) {
        self.0.set_seconds.fetch_add(by_seconds, Ordering::AcqRel);
    }

    /// Turns both clocks on.
    pub fn advance(&self, nanos: u64) {
        self.0.nanos.fetch_add(nanos, Ordering::AcqRel);
    }
}

impl Machine for SimMachine {
    fn monotonic_nanos(&self) -> u64 {
        self.0.nanos.load(Ordering::Acquire)
    }

    fn wall(&self) -> Timestamp {
        let set = SignedDuration::from_secs(self.0.set_seconds.load(Ordering::Acquire));
        let since = set + SignedDuration::from_nanos(self.monotonic_nanos().cast_signed());
        Timestamp::constant(1_900_000_000, 0).checked_add(since).unwrap_or(Timestamp::MAX)
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let next = self.0.chance.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::AcqRel);
            chunk.copy_from_slice(&next.to_le_bytes()[..chunk.len()]);
        }
    }

    fn boot_id(&self) -> [u8; 16] {
        [7; 16]
    }
}

/// A log's key for tests: Ed25519 from a fixed seed.
pub struct SimSigner(aws_lc_rs::signature::Ed25519KeyPair);

impl SimSigner {
    /// The key of this seed.
    pub fn new(seed: u8) -> Self {
        let pair = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&[seed; 32]);
        Self(pair.expect("any 32 bytes are an Ed25519 seed"))
    }

    /// The public key.
    pub fn public_key(&self) -> [u8; 32] {
        use aws_lc_rs::signature::KeyPair as _;
        self.0.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes")
    }
}

impl Signer for SimSigner {
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], certs::vault::VaultFault> {
        Ok(self.0.sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes"))
    }

    fn verifier(&self, origin: &str) -> Result<Verifier, BadVerifier> {
        use sha2::{Digest as _, Sha256};
        let key = [[1].as_slice(), &self.public_key()].concat();
        let id = Sha256::new().chain_update(origin).chain_update([b'\n']).chain_update(&key).finalize();
        let (id, key) = (data_encoding::HEXLOWER.encode(&id[..4]), data_encoding::BASE64.encode(&key));
        Verifier::parse(&format!("{origin}+{id}+{key}"))
    }
}

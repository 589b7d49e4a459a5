//! The folder of keys as files, and how it is changed while a gate goes on with what it opened. A change is a list of steps,
//! each of which is done whole or not at all, in such an order that the folder opens after each, and says the same of whatever was
//! believed before and after.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use zeroize::Zeroizing;

use super::{
    KeyFault, LOG, SECRETS, SUFFIX, Seal, Seed, at, label, make_sealing_key, parent, private_dir, read_private,
    read_sealing_key, seed, sync_dir,
};
use crate::chance;
use crate::ring::{Member, Ring, RingName};
use crate::secrets::Secrets;
use crate::tls::{Pair, TlsCa};

/// The folder, and what opens its files.
#[derive(Clone)]
pub struct KeyFolder {
    dir: PathBuf,
    sealed_by: Secrets,
}

/// Why a key is not renewed, in words for whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum NotRenewed {
    /// There is a next one.
    #[error(
        "{0} has a next key already: `holdpoint keys switch {0}` once everybody has it, or `holdpoint keys forget {0} --next`"
    )]
    HasNext(RingName),
    /// There is none to switch to.
    #[error(
        "{0} has no next key: `holdpoint keys renew {0}` makes one, which has to be known everywhere before it signs"
    )]
    NoNext(RingName),
    /// The one before is believed still.
    #[error("{0} has a last key still, which would be forgotten: do so first, with `holdpoint keys forget {0}`")]
    HasLast(RingName),
    /// There is none to forget.
    #[error("{0} has no last key")]
    NoLast(RingName),
    /// The keys cannot be had.
    #[error(transparent)]
    Keys(#[from] KeyFault),
}

/// Where in a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Now,
    Next,
    Last,
}

impl Place {
    /// By which name the file goes, and what is in it is sealed: so none can be put in another's place.
    fn file(self, name: RingName) -> String {
        match self {
            Self::Now => name.to_string(),
            Self::Next => format!("{name}-next"),
            Self::Last => format!("{name}-last"),
        }
    }
}

/// What is done to one file.
enum Step {
    /// It has this in it, whatever was there before.
    Put { file: String, key: Zeroizing<Vec<u8>> },
    /// It is not there.
    Remove { file: String },
}

/// Those that can be renewed.
pub(super) struct Rings {
    pub(super) ssh_host: Ring<Seed>,
    pub(super) ssh_ca: Ring<Seed>,
    pub(super) tls_ca: Ring<Pair>,
    pub(super) token: Ring<Seed>,
}

/// Earlier versions kept the certificate of the TLS CA in a file of its own.
const TLS_CA_CERTIFICATE: &str = "tls-ca-certificate";

impl KeyFolder {
    pub(super) fn new(dir: PathBuf, sealing_key: &[u8; 32]) -> Self {
        Self { dir, sealed_by: Secrets::with_key(sealing_key) }
    }

    /// Opens it.
    ///
    /// # Errors
    /// Others may read it, or the seal is another.
    pub fn open(dir: &Path, seal: &Seal) -> Result<Self, KeyFault> {
        private_dir(dir)?;
        Ok(Self::new(dir.to_owned(), &*read_sealing_key(dir, seal)?))
    }

    /// Changes are made one after the other, by whomever: held until it is dropped.
    fn alone(&self) -> Result<fs::File, KeyFault> {
        let around = fs::File::open(parent(&self.dir)).map_err(at(&self.dir))?;
        flock(&around, FlockOperation::LockExclusive).map_err(|error| at(&self.dir)(error.into()))?;
        Ok(around)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes all keys.
    pub(super) fn fill(&self) -> Result<(), KeyFault> {
        for name in [LOG, SECRETS] {
            self.put(name, &*chance::secret::<32>())?;
        }
        RingName::ALL.into_iter().try_for_each(|name| self.put(name.as_str(), &fresh(name)))
    }

    pub(super) fn rings(&self) -> Result<Rings, KeyFault> {
        let seeds = |name: RingName| self.ring(name)?.try_map(|key| seed(key, &self.path(name.as_str())));
        let pair = |key: &Zeroizing<Vec<u8>>| pair(key).ok_or_else(|| self.damaged(RingName::TlsCa.as_str()));
        Ok(Rings {
            ssh_host: seeds(RingName::SshHost)?,
            ssh_ca: seeds(RingName::SshCa)?,
            tls_ca: self.ring(RingName::TlsCa)?.try_map(pair)?,
            token: seeds(RingName::Token)?,
        })
    }

    pub(super) fn seed(&self, file: &str) -> Result<Seed, KeyFault> {
        seed(&self.bytes(file)?, &self.path(file))
    }

    pub(super) fn damaged(&self, file: &str) -> KeyFault {
        KeyFault::Damaged { path: self.path(file) }
    }

    /// Makes the next key: it is announced and believed from the next reload on, and signs nothing yet.
    ///
    /// # Errors
    /// There is one, or the disk's.
    pub fn renew(&self, name: RingName) -> Result<(), NotRenewed> {
        let _alone = self.alone()?;
        Ok(self.carry_out(self.renewing(name)?)?)
    }

    /// Has the next key sign from the next reload on; the one that did is believed still.
    ///
    /// # Errors
    /// There is none, or the last one is believed still; or the disk's.
    pub fn switch(&self, name: RingName) -> Result<(), NotRenewed> {
        let _alone = self.alone()?;
        self.tidy(name)?;
        Ok(self.carry_out(self.switching(name)?)?)
    }

    /// Forgets the last key: from the next reload on nothing counts that it signed.
    ///
    /// # Errors
    /// There is none, or the disk's.
    pub fn forget(&self, name: RingName) -> Result<(), NotRenewed> {
        let _alone = self.alone()?;
        self.tidy(name)?;
        self.ring(name)?.last.ok_or(NotRenewed::NoLast(name))?;
        Ok(self.carry_out(vec![Step::Remove { file: Place::Last.file(name) }])?)
    }

    /// Forgets the next key, which never signed anything.
    ///
    /// # Errors
    /// There is none, or the disk's.
    pub fn forget_next(&self, name: RingName) -> Result<(), NotRenewed> {
        let _alone = self.alone()?;
        self.tidy(name)?;
        self.ring(name)?.next.ok_or(NotRenewed::NoNext(name))?;
        Ok(self.carry_out(vec![Step::Remove { file: Place::Next.file(name) }])?)
    }

    fn renewing(&self, name: RingName) -> Result<Vec<Step>, NotRenewed> {
        let Ring { now, next, .. } = self.ring(name)?;
        if next.is_some() {
            return Err(NotRenewed::HasNext(name));
        }
        let key = if name == RingName::TlsCa { self.tls_ca_after(&now.key)? } else { fresh(name) };
        Ok(vec![Step::Put { file: Place::Next.file(name), key }])
    }

    fn tls_ca_after(&self, former: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
        let next = pair(former).and_then(|former| TlsCa::make_after(&former).ok());
        next.map(|next| joined(&next)).ok_or_else(|| self.damaged(RingName::TlsCa.as_str()))
    }

    /// What is done twice, after a step that a crash came behind, is done once.
    fn switching(&self, name: RingName) -> Result<Vec<Step>, NotRenewed> {
        let Ring { now, next, last } = self.ring(name)?;
        let next = next.ok_or(NotRenewed::NoNext(name))?;
        if last.is_some() {
            return Err(NotRenewed::HasLast(name));
        }
        let put = |place: Place, member: Member<_>| Step::Put { file: place.file(name), key: member.key };
        let mut steps =
            vec![put(Place::Last, now), put(Place::Now, next), Step::Remove { file: Place::Next.file(name) }];
        if name == RingName::TlsCa {
            steps.push(Step::Remove { file: TLS_CA_CERTIFICATE.to_owned() });
        }
        Ok(steps)
    }

    fn carry_out(&self, steps: impl IntoIterator<Item = Step>) -> Result<(), KeyFault> {
        for step in steps {
            match step {
                Step::Put { file, key } => self.put(&file, &key)?,
                Step::Remove { file } => remove(&self.path(&file))?,
            }
            sync_dir(&self.dir)?;
        }
        Ok(())
    }

    /// Seals all keys anew, under another sealing key, which is kept in this way. The folder is the old one or the new one, at each
    /// moment. A gate that runs goes on with what it has opened, and reads none of it anew.
    ///
    /// Gives what went wrong once it was the new one: the old one may lie beside it still (see [`left_by_seal`]), and after a loss of
    /// power be the one that counts.
    ///
    /// # Errors
    /// The disk's; then the folder is as it was.
    pub fn seal(&self, to: &Seal) -> Result<Option<KeyFault>, KeyFault> {
        // Of a link, what it leads to is exchanged.
        let dir = self.dir.canonicalize().map_err(at(&self.dir))?;
        let _alone = self.alone()?;
        let draft = left_by_seal(&dir);
        remove_folder(&draft)?;
        if let Err(fault) = self.sealed_into(&draft, to).and_then(|()| exchange(&draft, &dir)) {
            return remove_folder(&draft).and(Err(fault));
        }
        // Which of the two is the new one is on the disk before one of them goes.
        Ok(sync_dir(parent(&dir)).and_then(|()| remove_folder(&draft)).err())
    }

    fn sealed_into(&self, draft: &Path, to: &Seal) -> Result<(), KeyFault> {
        fs::DirBuilder::new().mode(0o700).create(draft).map_err(at(draft))?;
        let new = Self::new(draft.to_owned(), &*make_sealing_key(draft, to)?);
        for file in [LOG, SECRETS] {
            new.put_since(file, &self.bytes(file)?, self.since(file)?)?;
        }
        for name in RingName::ALL {
            let Ring { now, next, last } = self.ring(name)?;
            let beside =
                [(Place::Next, next), (Place::Last, last)].into_iter().filter_map(|(at, one)| Some((at, one?)));
            for (place, Member { key, since }) in [(Place::Now, now)].into_iter().chain(beside) {
                new.put_since(&place.file(name), &key, since)?;
            }
        }
        give_all_to_owner_of(&self.dir, draft)?;
        sync_dir(draft)
    }

    /// Takes away what a crash left in the middle of a switch.
    fn tidy(&self, name: RingName) -> Result<(), KeyFault> {
        let Ring { next, last, .. } = self.ring(name)?;
        for (place, is_there) in [(Place::Next, next.is_some()), (Place::Last, last.is_some())] {
            if !is_there {
                remove(&self.path(&place.file(name)))?;
            }
        }
        Ok(())
    }

    /// One that is the same as the one that signs is what a crash left in the middle of a switch, and none.
    fn ring(&self, name: RingName) -> Result<Ring<Zeroizing<Vec<u8>>>, KeyFault> {
        let now = self.member(&Place::Now.file(name))?;
        let beside = |place: Place| {
            let file = place.file(name);
            let is_there = self.path(&file).try_exists().map_err(at(&self.path(&file)))?;
            let member = is_there.then(|| self.member(&file)).transpose()?;
            Ok::<_, KeyFault>(member.filter(|member| member.key != now.key))
        };
        Ok(Ring { next: beside(Place::Next)?, last: beside(Place::Last)?, now })
    }

    fn member(&self, file: &str) -> Result<Member<Zeroizing<Vec<u8>>>, KeyFault> {
        let mut key = self.bytes(file)?;
        if file == RingName::TlsCa.as_str() && first_of(&key) == Some(key.len()) {
            key = joined(&Pair { key, certificate: self.bytes(TLS_CA_CERTIFICATE)?.to_vec(), succession: None });
        }
        Ok(Member { key, since: self.since(file)? })
    }

    fn since(&self, file: &str) -> Result<Timestamp, KeyFault> {
        let path = self.path(file);
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).map_err(at(&path))?;
        Ok(Timestamp::try_from(modified).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    fn bytes(&self, file: &str) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
        let sealed = read_private(&self.path(file))?;
        self.sealed_by.open_labelled(&label(file), &sealed).map_err(|_| self.damaged(file))
    }

    fn put_since(&self, file: &str, key: &[u8], since: Timestamp) -> Result<(), KeyFault> {
        self.put(file, key)?;
        let path = self.path(file);
        let opened = OpenOptions::new().write(true).open(&path);
        opened.and_then(|file| file.set_modified(SystemTime::from(since))).map_err(at(&path))
    }

    fn put(&self, file: &str, key: &[u8]) -> Result<(), KeyFault> {
        let sealed = self.sealed_by.seal_labelled(&label(file), key)?;
        put(&self.path(file), &sealed, 0o600)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file).with_extension(SUFFIX)
    }
}

impl std::fmt::Debug for KeyFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyFolder({})", self.dir.display())
    }
}

/// Which keys of this folder have a next one or a last one, and since when, as far as the names and times of files tell: nothing is
/// opened.
pub fn beside(dir: &Path) -> BTreeMap<RingName, (Option<Timestamp>, Option<Timestamp>)> {
    let since = |place: Place, name| {
        let modified = fs::metadata(dir.join(place.file(name)).with_extension(SUFFIX)).ok()?.modified().ok()?;
        Timestamp::try_from(modified).ok()
    };
    let found = RingName::ALL.map(|name| (name, (since(Place::Next, name), since(Place::Last, name))));
    found.into_iter().filter(|(_, (next, last))| next.is_some() || last.is_some()).collect()
}

/// What a new key is made of.
fn fresh(name: RingName) -> Zeroizing<Vec<u8>> {
    match name {
        RingName::TlsCa => joined(&TlsCa::make()),
        RingName::SshCa | RingName::SshHost | RingName::Token => Zeroizing::new(chance::secret::<32>().to_vec()),
    }
}

/// All of it is DER, which says how long it is.
fn joined(Pair { key, certificate, succession }: &Pair) -> Zeroizing<Vec<u8>> {
    let parts = [key.as_slice(), certificate, succession.as_deref().unwrap_or_default()];
    // Room for all of it at once: a vector that grows leaves copies behind that nobody wipes.
    let mut all = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| all.extend_from_slice(part));
    all
}

fn pair(all: &[u8]) -> Option<Pair> {
    let (key, rest) = all.split_at_checked(first_of(all)?)?;
    let (certificate, succession) = rest.split_at_checked(first_of(rest)?)?;
    let succession = (!succession.is_empty()).then(|| succession.to_vec());
    Some(Pair { key: Zeroizing::new(key.to_vec()), certificate: certificate.to_vec(), succession })
}

/// Of how many bytes the first element of DER is (X.690, 8.1.3): a sequence of less than 64 KiB.
fn first_of(der: &[u8]) -> Option<usize> {
    match der {
        [0x30, length @ 0..=0x7f, ..] => Some(2 + usize::from(*length)),
        [0x30, 0x81, length, ..] => Some(3 + usize::from(*length)),
        [0x30, 0x82, high, low, ..] => Some(4 + usize::from(u16::from_be_bytes([*high, *low]))),
        _ => None,
    }
}

/// Puts a file there for whoever owns the folder, with this mode: written beside, synced, and renamed.
///
/// # Errors
/// The disk's; then what was there is there.
pub fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyFault> {
    let draft = path.with_extension("new");
    remove(&draft)?;
    let write = || -> io::Result<()> {
        let owner = fs::metadata(parent(path))?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        give_to(&file, &owner)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(at(&draft))?;
    fs::rename(&draft, path).map_err(at(path))
}

/// Where sealing anew keeps the folder that it makes, and for a moment the one from before, with whatever opens that. It is there
/// only after a crash.
pub fn left_by_seal(dir: &Path) -> PathBuf {
    dir.with_extension("new")
}

/// Takes a file away, whether it was there or not.
///
/// # Errors
/// The disk's.
pub fn remove(path: &Path) -> Result<(), KeyFault> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn exchange(one: &Path, other: &Path) -> Result<(), KeyFault> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).map_err(|error| at(other)(error.into()))
}

fn remove_folder(path: &Path) -> Result<(), KeyFault> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// Root may change the keys of another account, which is to read them afterwards.
fn give_to(file: &fs::File, owner: &fs::Metadata) -> io::Result<()> {
    let made = file.metadata()?;
    if (made.uid(), made.gid()) == (owner.uid(), owner.gid()) {
        return Ok(());
    }
    fchown(file, Some(owner.uid()), Some(owner.gid()))
}

fn give_all_to_owner_of(dir: &Path, draft: &Path) -> Result<(), KeyFault> {
    let owner = fs::metadata(dir).map_err(at(dir))?;
    let entries = fs::read_dir(draft).and_then(|entries| entries.collect::<io::Result<Vec<_>>>()).map_err(at(draft))?;
    for path in entries.into_iter().map(|entry| entry.path()).chain([draft.to_owned()]) {
        fs::File::open(&path).and_then(|file| give_to(&file, &owner)).map_err(at(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyStore;

    struct Home {
        _folder: tempfile::TempDir,
        dir: PathBuf,
    }

    impl Home {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path().join("keys");
            KeyStore::create(&dir, &Seal::File).unwrap();
            Self { _folder: folder, dir }
        }

        /// As earlier versions made it: the certificate of the TLS CA in a file of its own.
        fn of_an_earlier_version() -> Self {
            let home = Self::new();
            let folder = home.folder();
            let Pair { key, certificate, .. } = pair(&folder.bytes("tls-ca").unwrap()).unwrap();
            folder.put("tls-ca", &key).unwrap();
            folder.put(TLS_CA_CERTIFICATE, &certificate).unwrap();
            home
        }

        fn folder(&self) -> KeyFolder {
            KeyFolder::open(&self.dir, &Seal::File).unwrap()
        }

        fn store(&self) -> KeyStore {
            KeyStore::open(&self.dir, &Seal::File).unwrap()
        }

        /// The fingerprints of a ring: what signs, the next, the last.
        fn ring(&self, name: RingName) -> [Option<String>; 3] {
            let (_, ring) = self.store().rings().into_iter().find(|(ring, _)| *ring == name).unwrap();
            [Some(ring.now.key), ring.next.map(|next| next.key), ring.last.map(|last| last.key)]
        }

        fn copy(&self) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path().join("keys");
            fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
            for entry in fs::read_dir(&self.dir).unwrap() {
                let path = entry.unwrap().path();
                fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
            }
            Self { _folder: folder, dir }
        }
    }

    #[test]
    fn a_key_is_renewed_switched_to_and_forgotten_and_each_says_what_comes_first() {
        for name in RingName::ALL {
            let home = Home::new();
            let folder = home.folder();
            let [first, ..] = home.ring(name);
            assert!(matches!(folder.switch(name), Err(NotRenewed::NoNext(_))));
            assert!(matches!(folder.forget(name), Err(NotRenewed::NoLast(_))));
            folder.renew(name).unwrap();
            let [now, second, last] = home.ring(name);
            assert!(now == first && second.is_some() && second != first && last.is_none(), "{name}");
            assert!(matches!(folder.renew(name), Err(NotRenewed::HasNext(_))));
            folder.switch(name).unwrap();
            assert_eq!(home.ring(name), [second.clone(), None, first.clone()], "{name}");
            folder.renew(name).unwrap();
            assert!(matches!(folder.switch(name), Err(NotRenewed::HasLast(_))));
            folder.forget_next(name).unwrap();
            assert!(matches!(folder.forget_next(name), Err(NotRenewed::NoNext(_))));
            folder.forget(name).unwrap();
            assert_eq!(home.ring(name), [second, None, None], "{name}");
        }
    }

    #[test]
    fn after_each_step_of_a_switch_the_folder_opens_with_both_keys_and_the_switch_can_be_done_again() {
        let homes = RingName::ALL.map(|name| (name, Home::new()));
        for (name, home) in homes.into_iter().chain([(RingName::TlsCa, Home::of_an_earlier_version())]) {
            home.folder().renew(name).unwrap();
            let [first, second, _] = home.ring(name);
            let count = home.folder().switching(name).unwrap().len();
            for done in 0..=count {
                let crashed = home.copy();
                let folder = crashed.folder();
                folder.carry_out(folder.switching(name).unwrap().into_iter().take(done)).unwrap();
                let [now, next, last] = crashed.ring(name);
                let known: Vec<_> = [&now, &next, &last].into_iter().flatten().collect();
                assert!(known.contains(&first.as_ref().unwrap()) && known.contains(&second.as_ref().unwrap()));
                assert_eq!(known.len(), 2, "{name} after {done} steps: {known:?}");
                match folder.switch(name) {
                    Ok(()) => assert!(done < 2),
                    Err(NotRenewed::NoNext(_)) => assert!(done >= 2),
                    Err(other) => panic!("{name} after {done} steps: {other}"),
                }
                assert_eq!(crashed.ring(name), [second.clone(), None, first.clone()], "{name} after {done} steps");
                assert!(!folder.path(&Place::Next.file(name)).exists(), "nothing is left of the crash");
                folder.forget(name).unwrap();
                folder.renew(name).unwrap();
                folder.switch(name).unwrap();
                assert!(!folder.path(TLS_CA_CERTIFICATE).exists(), "nor of an earlier version");
            }
        }
    }

    #[test]
    fn what_a_crash_left_half_written_does_not_stand_in_the_way() {
        let home = Home::new();
        fs::write(home.dir.join("ssh-ca-next.new"), b"half").unwrap();
        home.folder().renew(RingName::SshCa).unwrap();
        assert!(!home.dir.join("ssh-ca-next.new").exists());
        fs::create_dir(home.dir.with_extension("new")).unwrap();
        fs::write(home.dir.with_extension("new").join("log.sealed"), b"half").unwrap();
        home.folder().seal(&Seal::File).unwrap();
        assert!(!home.dir.with_extension("new").exists());
    }

    #[test]
    fn no_file_of_a_ring_stands_in_for_one_of_another_or_for_another_place_in_it() {
        let home = Home::new();
        home.folder().renew(RingName::SshCa).unwrap();
        for other in ["token-next", "ssh-ca-last", "ssh-host"] {
            let copy = home.copy();
            fs::copy(copy.dir.join("ssh-ca-next.sealed"), copy.dir.join(other).with_extension(SUFFIX)).unwrap();
            let fault = KeyStore::open(&copy.dir, &Seal::File).unwrap_err();
            assert!(
                matches!(fault, KeyFault::Damaged { path } if path.ends_with(format!("{other}.sealed"))),
                "{other}"
            );
        }
    }

    #[test]
    fn a_folder_of_an_earlier_version_opens_and_can_be_switched() {
        let home = Home::of_an_earlier_version();
        let folder = home.folder();
        let [first, ..] = home.ring(RingName::TlsCa);
        folder.renew(RingName::TlsCa).unwrap();
        folder.switch(RingName::TlsCa).unwrap();
        assert_eq!(home.ring(RingName::TlsCa)[2], first);
        assert!(!home.dir.join("tls-ca-certificate.sealed").exists());
    }

    #[test]
    fn keys_that_are_read_anew_are_turned_for_whoever_holds_them_and_a_fault_turns_none() {
        let home = Home::new();
        let (folder, store) = (home.folder(), home.store());
        let (ssh_ca, tls_ca, host) = (store.ssh_ca(), store.tls_ca(), store.ssh_host_key());
        let before = (ssh_ca.public_key(), tls_ca.fingerprint(), host.fingerprint());
        assert!(store.reload().unwrap().is_empty());
        for name in RingName::ALL {
            folder.renew(name).unwrap();
        }
        assert_eq!(store.reload().unwrap(), RingName::ALL);
        assert_eq!((ssh_ca.public_key(), tls_ca.fingerprint(), host.fingerprint()), before);
        assert_eq!((ssh_ca.believed().len(), tls_ca.authorities_pem().matches("BEGIN").count()), (2, 2));
        for name in [RingName::SshCa, RingName::TlsCa, RingName::SshHost] {
            folder.switch(name).unwrap();
        }
        let token = home.dir.join("token.sealed");
        let whole = fs::read(&token).unwrap();
        fs::write(&token, b"torn").unwrap();
        assert!(matches!(store.reload(), Err(KeyFault::SealedAnew { path }) if path == token));
        assert_eq!((ssh_ca.public_key(), tls_ca.fingerprint(), host.fingerprint()), before);
        fs::write(&token, whole).unwrap();
        store.reload().unwrap();
        assert!(ssh_ca.public_key() != before.0 && tls_ca.fingerprint() != before.1 && host.fingerprint() != before.2);
    }

    #[test]
    fn keys_that_are_sealed_anew_are_the_same_and_open_by_the_new_seal_alone() {
        let home = Home::new();
        home.folder().renew(RingName::TlsCa).unwrap();
        let (running, rings) = (home.store(), home.store().rings());
        let log = running.log_key().verifier("log").unwrap().to_string();
        let seal = Seal::Passphrase(Zeroizing::new("six short words".into()));
        home.folder().seal(&seal).unwrap();
        assert!(matches!(KeyStore::open(&home.dir, &Seal::File), Err(KeyFault::OtherSeal { .. })));
        let opened = KeyStore::open(&home.dir, &seal).unwrap();
        assert_eq!(opened.rings(), rings, "with the times of their files");
        assert_eq!(opened.log_key().verifier("log").unwrap().to_string(), log);
        assert!(opened.secrets().open_labelled("x", &running.secrets().seal_labelled("x", b"ok").unwrap()).is_ok());
        assert!(!home.dir.join("sealing.key").exists());
        assert!(matches!(running.reload(), Err(KeyFault::SealedAnew { .. })));
        let credential = home.dir.with_file_name("credential");
        fs::write(&credential, [7; 40]).unwrap();
        KeyFolder::open(&home.dir, &seal).unwrap().seal(&Seal::SystemdCredential(credential.clone())).unwrap();
        assert_eq!(KeyStore::open(&home.dir, &Seal::SystemdCredential(credential)).unwrap().rings(), rings);
    }

    #[test]
    fn a_seal_that_was_killed_after_the_exchange_is_finished_by_the_next_and_no_key_is_lost() {
        let seal = Seal::Passphrase(Zeroizing::new("six short words".into()));
        for removed in [None, Some("log.sealed")] {
            let home = Home::new();
            home.folder().renew(RingName::TlsCa).unwrap();
            let (rings, old) = (home.store().rings(), left_by_seal(&home.dir));
            home.folder().sealed_into(&old, &seal).and_then(|()| exchange(&old, &home.dir)).unwrap();
            assert_eq!(KeyStore::open(&home.dir, &seal).unwrap().rings(), rings);
            assert_eq!(KeyStore::open(&old, &Seal::File).unwrap().rings(), rings, "nothing of the old one is gone yet");
            removed.iter().for_each(|file| fs::remove_file(old.join(file)).unwrap());
            assert!(matches!(KeyFolder::open(&home.dir, &Seal::File), Err(KeyFault::OtherSeal { .. })));
            let folder = KeyFolder::open(&home.dir, &seal).unwrap();
            folder.forget_next(RingName::TlsCa).unwrap();
            folder.seal(&seal).unwrap();
            let [_, (_, tls_ca), ..] = KeyStore::open(&home.dir, &seal).unwrap().rings();
            let [_, (_, before), ..] = rings;
            assert_eq!((tls_ca.now, tls_ca.next), (before.now, None), "what was done since counts");
            assert!(!old.exists());
        }
    }

    #[test]
    fn what_lies_beside_is_told_without_opening_anything() {
        let home = Home::new();
        assert!(beside(&home.dir).is_empty());
        home.folder().renew(RingName::SshHost).unwrap();
        let found = beside(&home.dir);
        assert!(matches!(found.get(&RingName::SshHost), Some((Some(_), None))) && found.len() == 1, "{found:?}");
    }
}

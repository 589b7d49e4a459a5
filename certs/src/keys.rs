//! The gate's own private keys at rest: one folder, each key sealed under one sealing key, and three ways to keep that
//! one. A [`KeyStore`] is the handle by which everything else uses them, whether they are here or in the vault's process
//! ([`crate::vault`]). Nothing else of the program reads a private key; targets' credentials are in [`crate::secrets`], and the keys
//! that open recordings are never here, for no key of the gate opens one. The folder is changed in [`folder`] alone.

pub mod folder;

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use age::secrecy::SecretString;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use policies::digest::Digest;
use rustls::pki_types::CertificateDer;
use ssh_key::{HashAlg, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::chance;
use crate::given::{FaceKey, GivenFault, chain_in_file};
use crate::log_key::{BadVerifier, LogKey};
use crate::ring::{Ring, RingName};
use crate::secrets::Secrets;
use crate::ssh_ca::SshCa;
use crate::ssh_host::SshHostKey;
use crate::tls::{CaFingerprint, TlsCa};
use crate::tls_key::KeyInVault;
use crate::token::TokenKey;
use crate::vault::wire::{Ask, Bytes, Public};
use crate::vault::{Line, VaultFault};
use folder::{KeyFolder, Rings};

/// What a key is made of.
pub(crate) type Seed = Zeroizing<[u8; 32]>;

/// How the sealing key, which opens all others, is kept.
pub enum Seal {
    /// In the folder itself, protected by file modes alone.
    File,
    /// In the folder, in an age file (scrypt) that a passphrase opens; the stock `age` opens it too. The program asks
    /// for the passphrase at each start.
    Passphrase(Zeroizing<String>),
    /// Not in the folder: made from the file at this path, which systemd puts into `$CREDENTIALS_DIRECTORY` (at least
    /// 32 random bytes, in any form).
    SystemdCredential(PathBuf),
}

impl Seal {
    /// What somebody who carries the disk away gets, in words for `check` and `status`.
    pub const fn word(&self) -> &'static str {
        let [(_, file), (_, passphrase), (_, credential)] = Self::WORDS;
        match self {
            Self::File => file,
            Self::Passphrase(_) => passphrase,
            Self::SystemdCredential(_) => credential,
        }
    }

    /// Each kind, and what is said of it.
    const WORDS: [(&'static str, &'static str); 3] = [
        (
            "file",
            "file: a thief of the disk gets every key of the gate, and with them the targets' credentials and \
             everybody's TOTP secret. Recordings stay closed: no key of the gate opens one",
        ),
        (
            "passphrase",
            "passphrase: a thief of the disk gets no key unless they guess the passphrase. \
             Recordings stay closed: no key of the gate opens one",
        ),
        (
            "systemd-credential",
            "systemd-credential: a thief of the disk gets no key unless the credential lies there too in the clear; \
             bound to the TPM (systemd-creds encrypt --with-key=tpm2), it does not. \
             Recordings stay closed: no key of the gate opens one",
        ),
    ];
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("File"),
            Self::Passphrase(_) => f.write_str("Passphrase(..)"),
            Self::SystemdCredential(path) => f.debug_tuple("SystemdCredential").field(path).finish(),
        }
    }
}

/// Why keys cannot be had. No variant holds anything of a key, a passphrase or a file's contents.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// There are keys already.
    #[error(
        "{path} is there already. A second set of keys would make worthless every certificate and every signature of \
         the first: use the one there is, or choose another folder"
    )]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// Others can read it.
    #[error("{path} may be used by others (mode {mode:04o}): run `chmod {wanted:o} {path}`", path = .path.display())]
    Mode {
        /// The file or folder.
        path: PathBuf,
        /// What it has.
        mode: u32,
        /// What it should have.
        wanted: u32,
    },
    /// The folder was sealed in another way.
    #[error("{path} is sealed otherwise: set `[keys] seal` to {found:?}, as it was made")]
    OtherSeal {
        /// The folder.
        path: PathBuf,
        /// The word for the seal that is there.
        found: &'static str,
    },
    /// The passphrase of the key store, or of a private key file, is not the right one.
    #[error("the passphrase does not open {path}")]
    WrongPassphrase {
        /// What it should open.
        path: PathBuf,
    },
    /// A private key file is locked.
    #[error("{path} is locked by a passphrase")]
    PassphraseNeeded {
        /// The file.
        path: PathBuf,
    },
    /// A key file does not open with the sealing key.
    #[error(
        "{path} does not open: it was altered, comes from another key store, or the credential is another one. Put back the backup of the whole folder"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A key file does not open with what opened it before.
    #[error(
        "{path} does not open with what opened it when the program was started. After `holdpoint keys seal`, restart it; else the \
         file was altered, or comes from another key store: put back the backup of the whole folder"
    )]
    SealedAnew {
        /// The file.
        path: PathBuf,
    },
    /// The systemd credential is not usable.
    #[error(
        "{path} holds {bytes} bytes, and a sealing key needs at least 32 random ones: make it with \
         `head -c 32 /dev/urandom | base64 | systemd-creds encrypt --name=holdpoint - holdpoint.cred`"
    )]
    WeakCredential {
        /// The credential's file.
        path: PathBuf,
        /// How much it holds.
        bytes: usize,
    },
    /// A witness's key file holds none.
    #[error(
        "{path} holds no key of a witness: it was altered or cut off. Put its backup back; with another key this would \
             be another witness"
    )]
    NoWitnessKey {
        /// The file.
        path: PathBuf,
    },
    /// What a witness cannot be called.
    #[error("a witness cannot be called that: {0}")]
    WitnessName(#[from] BadVerifier),
    /// A private key file is of another kind.
    #[error(
        "{path} is no private key of OpenSSH. An older PEM file becomes one by `ssh-keygen -p -f` and its name; PuTTYgen exports one"
    )]
    NotOpenSsh {
        /// The file.
        path: PathBuf,
    },
    /// A certificate file cannot be read.
    #[error("{path} holds no SSH certificate: {cause}")]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        cause: String,
    },
    /// A private key that cannot sign here.
    #[error("this key cannot sign here: {cause}. A key in a security key signs by its agent")]
    CannotSign {
        /// What the library says.
        cause: String,
    },
    /// They lie in a vault.
    #[error(transparent)]
    Vault(#[from] VaultFault),
    /// The disk.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Every private key of the gate, opened: held in this process, or by a vault that is asked for each use. `Debug` shows none
/// of them.
pub struct KeyStore {
    seal_word: &'static str,
    place: Place,
    ssh_host: SshHostKey,
    ssh_ca: SshCa,
    tls_ca: TlsCa,
    log: LogKey,
    token: TokenKey,
    secrets: Secrets,
    /// Held while they are read anew: what was read first is not turned to last.
    reloading: Mutex<()>,
}

/// Where the keys are.
enum Place {
    Here(KeyFolder),
    InVault(Line),
}

/// The sealing key itself, where the seal is `File`.
const SEALING_KEY: &str = "sealing.key";
/// The sealing key in an age file, where the seal is `Passphrase`.
const SEALING_AGE: &str = "sealing.age";
/// age's scrypt work factor (log2 of N): about a second on a small gate. Fixed, so that a busy machine does not choose less; tests of this module
/// do not wait for it.
const WORK_FACTOR: u8 = if cfg!(test) { 10 } else { 18 };
/// What signs log heads; it is the logs' identity, and has no successor.
const LOG: &str = "log";
/// What seals credentials and TOTP secrets; as long as those are kept, it is.
const SECRETS: &str = "secrets";
const SUFFIX: &str = "sealed";
/// A key file is under a kilobyte; more is none of ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl KeyStore {
    /// Makes all keys in a new folder. The folder appears whole or not at all: it is written beside, synced, and renamed.
    pub fn create(dir: &Path, seal: &Seal) -> Result<Self, KeyFault> {
        if dir.exists() {
            return Err(KeyFault::Exists { path: dir.to_owned() });
        }
        let draft = dir.with_extension("new");
        if draft.exists() {
            fs::remove_dir_all(&draft).map_err(at(&draft))?;
        }
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&draft).map_err(at(&draft))?;
        let folder = KeyFolder::new(draft.clone(), &*make_sealing_key(&draft, seal)?);
        folder.fill()?;
        sync_dir(&draft)?;
        fs::rename(&draft, dir).map_err(at(dir))?;
        sync_dir(parent(dir))?;
        Self::open(dir, seal)
    }

    /// Opens the folder. Refuses it where others may read the folder or a file in it, and says what to do.
    pub fn open(dir: &Path, seal: &Seal) -> Result<Self, KeyFault> {
        Self::of_folder(KeyFolder::open(dir, seal)?, seal.word())
    }

    fn of_folder(folder: KeyFolder, seal_word: &'static str) -> Result<Self, KeyFault> {
        let Rings { ssh_host, ssh_ca, tls_ca, token } = folder.rings()?;
        Ok(Self {
            seal_word,
            ssh_host: SshHostKey::here(&ssh_host),
            ssh_ca: SshCa::here(&ssh_ca),
            tls_ca: TlsCa::here(&tls_ca).map_err(|_| folder.damaged(RingName::TlsCa.as_str()))?,
            log: LogKey::from_seed(&*folder.seed(LOG)?),
            token: TokenKey::here(&token),
            secrets: Secrets::with_key(&*folder.seed(SECRETS)?),
            place: Place::Here(folder),
            reloading: Mutex::default(),
        })
    }

    /// The keys that lie behind this line: each use asks the vault, and but for the SSH host key nothing secret comes over.
    ///
    /// # Errors
    /// It does not answer, is another version's, or could not open them.
    pub fn in_vault(line: &Line) -> Result<Self, KeyFault> {
        line.ping()?;
        Self::of_public(line, line.public()?)
    }

    fn of_public(line: &Line, public: Public) -> Result<Self, KeyFault> {
        let Public { seal, ssh_host, ssh_hosts, ssh_ca, tls_ca, tls_ca_succession, log, token } = public;
        let odd = |what: &str| VaultFault::Gone(format!("it has no {what}"));
        let read = |key: &String| PublicKey::from_openssh(key).map_err(|_| odd("SSH key"));
        let bytes = |key: &Bytes| <[u8; 32]>::try_from(key.0.as_slice()).map_err(|_| odd("key of logs or tokens"));
        let seal_word = Seal::WORDS.iter().find(|(kind, _)| *kind == seal).ok_or_else(|| odd("seal"))?.1;
        let private = PrivateKey::from_openssh(&*ssh_host.0).map_err(|_| odd("host key"))?;
        let certificate = |der: &Bytes| CertificateDer::from(der.0.to_vec());
        let (certificates, succession) = (tls_ca.map(certificate), tls_ca_succession.iter().map(certificate).collect());
        Ok(Self {
            seal_word,
            place: Place::InVault(line.clone()),
            ssh_host: SshHostKey::new(private, ssh_hosts.try_map(read)?),
            ssh_ca: SshCa::in_vault(line.clone(), ssh_ca.try_map(read)?),
            tls_ca: TlsCa::in_vault(line.clone(), certificates, succession).map_err(|_| odd("TLS CA"))?,
            log: LogKey::in_vault(line.clone(), bytes(&log)?),
            token: TokenKey::in_vault(line.clone(), token.try_map(bytes)?),
            secrets: Secrets::in_vault(line.clone()),
            reloading: Mutex::default(),
        })
    }

    /// What whoever asks a vault for these keys is told of them.
    pub(crate) fn public(&self) -> Public {
        let text = |key: &PublicKey| key.to_openssh().expect("an Ed25519 key has a text form");
        let private = self.ssh_host.private();
        let host = private.to_openssh(ssh_key::LineEnding::LF).expect("an Ed25519 key has a text form");
        let kind = Seal::WORDS.iter().find(|(_, word)| *word == self.seal_word).expect("each word is among them").0;
        Public {
            seal: kind.to_owned(),
            ssh_host: host.as_bytes().into(),
            ssh_hosts: self.ssh_host.ring().map(text),
            ssh_ca: self.ssh_ca.ring().map(text),
            tls_ca: self.tls_ca.ring().map(|certificate| Bytes::from(certificate.as_ref())),
            tls_ca_succession: self.tls_ca.succession().iter().map(|step| Bytes::from(step.as_ref())).collect(),
            log: self.log.public().as_slice().into(),
            token: self.token.ring().map(|key| Bytes::from(key.as_slice())),
        }
    }

    /// Reads those that can be renewed anew, from the folder, or has the vault do so; whoever holds a handle of one has it as it is
    /// then. Gives which have changed. With what opens the folder it was opened before, so nobody is asked for a passphrase.
    ///
    /// # Errors
    /// One cannot be read, or does not open; then all is as before. Or no answer came from the vault, which may have turned to others.
    pub fn reload(&self) -> Result<Vec<RingName>, KeyFault> {
        let _alone = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let new = match &self.place {
            Place::Here(folder) => Self::of_folder(folder.clone(), self.seal_word).map_err(|fault| match fault {
                KeyFault::Damaged { path } => KeyFault::SealedAnew { path },
                other => other,
            })?,
            Place::InVault(line) => Self::of_public(line, line.reload()?)?,
        };
        let keys = |store: &Self| store.rings().map(|(name, ring)| (name, ring.keys()));
        let (before, after) = (keys(self), keys(&new));
        self.ssh_host.turn_to(&new.ssh_host);
        self.ssh_ca.turn_to(&new.ssh_ca);
        self.tls_ca.turn_to(&new.tls_ca);
        self.token.turn_to(&new.token);
        let changed = after.into_iter().zip(before).filter(|(after, before)| after != before);
        Ok(changed.map(|((name, _), _)| name).collect())
    }

    /// Those that can be renewed, each by the fingerprints of its keys.
    pub fn rings(&self) -> [(RingName, Ring<String>); 4] {
        let ssh = |key: &PublicKey| key.fingerprint(HashAlg::Sha256).to_string();
        RingName::ALL.map(|name| {
            let ring = match name {
                RingName::SshCa => self.ssh_ca.ring().map(ssh),
                RingName::TlsCa => self.tls_ca.ring().map(|certificate| CaFingerprint::of(certificate).to_string()),
                RingName::SshHost => self.ssh_host.ring().map(ssh),
                RingName::Token => self.token.ring().map(|key| format!("SHA256:{}", Digest::of_bytes(key))),
            };
            (name, ring)
        })
    }

    /// The line to the vault that holds them, where one does.
    pub const fn vault(&self) -> Option<&Line> {
        match &self.place {
            Place::Here(_) => None,
            Place::InVault(line) => Some(line),
        }
    }

    /// What a backup takes of this installation beside its data, by name: these files around the keys, as far as they are
    /// there, and the keys as they lie sealed. What opens those is not among it.
    ///
    /// # Errors
    /// The disk's, or the vault's.
    pub fn for_backup(&self, beside: &[PathBuf]) -> io::Result<Vec<(String, Vec<u8>)>> {
        match &self.place {
            Place::Here(folder) => for_backup(folder.dir(), beside),
            Place::InVault(line) => {
                let files = line.files().map_err(io::Error::other)?;
                Ok(files.into_iter().map(|(name, bytes)| (name, bytes.0.to_vec())).collect())
            }
        }
    }

    /// The private key that the plant gave a face, in this file.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn face_key(&self, path: &Path) -> Result<FaceKey, GivenFault> {
        match &self.place {
            Place::Here(_) => FaceKey::in_file(path),
            Place::InVault(line) => {
                let no_answer = |fault: &dyn fmt::Display| GivenFault::NoAnswer(fault.to_string());
                let told = line.key(&Ask::HandshakeKeyIn(path.to_string_lossy().into_owned()));
                let key = KeyInVault::new(line.clone(), told.map_err(|fault| no_answer(&fault))?);
                Ok(FaceKey(Arc::new(key.map_err(|fault| no_answer(&fault))?)))
            }
        }
    }

    /// The certificates, in PEM, that the plant gave a face in this file: read by whoever reads the key, so that what is put in
    /// their place is read alike.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn face_chain(&self, path: &Path) -> Result<Vec<u8>, GivenFault> {
        match &self.place {
            Place::Here(_) => chain_in_file(path),
            Place::InVault(line) => {
                let told = line.bytes(&Ask::ChainIn(path.to_string_lossy().into_owned()));
                told.map(|pem| pem.to_vec()).map_err(|fault| GivenFault::NoAnswer(fault.to_string()))
            }
        }
    }

    /// What a thief of the disk gets, in words.
    pub const fn seal_word(&self) -> &'static str {
        self.seal_word
    }

    /// The host key of the SSH face.
    pub fn ssh_host_key(&self) -> SshHostKey {
        self.ssh_host.clone()
    }

    /// The SSH certificate authority.
    pub fn ssh_ca(&self) -> SshCa {
        self.ssh_ca.clone()
    }

    /// The TLS certificate authority.
    pub fn tls_ca(&self) -> TlsCa {
        self.tls_ca.clone()
    }

    /// The key that signs log heads.
    pub fn log_key(&self) -> LogKey {
        self.log.clone()
    }

    /// The key that signs API tokens.
    pub fn token_key(&self) -> TokenKey {
        self.token.clone()
    }

    /// What seals credentials and TOTP secrets.
    pub fn secrets(&self) -> Secrets {
        self.secrets.clone()
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyStore(..)")
    }
}

/// In it the sealing key lies in an age file that a passphrase opens, so a backup has it.
fn is_for_backup(name: &str) -> bool {
    !name.starts_with("sealing.") || name == SEALING_AGE
}

fn for_backup(dir: &Path, beside: &[PathBuf]) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for path in beside {
        // Put there by somebody who cannot read where it leads.
        if path.canonicalize().is_ok_and(|real| dir.canonicalize().is_ok_and(|keys| real.starts_with(keys))) {
            return Err(io::Error::other(format!("{} leads to the keys: it is no file for a backup", path.display())));
        }
        match fs::read(path) {
            Ok(bytes) => files.push((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), bytes)),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let mut names = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.retain(|name| is_for_backup(name) && dir.join(name).is_file());
    names.sort();
    for name in names {
        let bytes = fs::read(dir.join(&name))?;
        files.push((format!("keys/{name}"), bytes));
    }
    Ok(files)
}

fn make_sealing_key(dir: &Path, seal: &Seal) -> Result<Zeroizing<[u8; 32]>, KeyFault> {
    let key = chance::secret();
    match seal {
        Seal::File => write_private(&dir.join(SEALING_KEY), &*key)?,
        Seal::Passphrase(passphrase) => {
            let path = dir.join(SEALING_AGE);
            let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase.as_str()));
            recipient.set_work_factor(WORK_FACTOR);
            let sealed = age::encrypt(&recipient, &*key).map_err(|cause| at(&path)(io::Error::other(cause)))?;
            write_private(&path, &sealed)?;
        }
        Seal::SystemdCredential(path) => return credential_key(path),
    }
    Ok(key)
}

/// Bound into each sealed file, so that one key put in another's place does not open.
fn label(name: &str) -> String {
    format!("key/{name}")
}

fn read_sealing_key(dir: &Path, seal: &Seal) -> Result<Zeroizing<[u8; 32]>, KeyFault> {
    let (key, age) = (dir.join(SEALING_KEY), dir.join(SEALING_AGE));
    let found = match (key.exists(), age.exists()) {
        (true, _) => "file",
        (_, true) => "passphrase",
        _ => "systemd-credential",
    };
    match (seal, found) {
        (Seal::File, "file") => seed(&read_private(&key)?, &key),
        (Seal::Passphrase(passphrase), "passphrase") => {
            let identity = age::scrypt::Identity::new(SecretString::from(passphrase.as_str()));
            let plain = age::decrypt(&identity, &read_private(&age)?)
                .map_err(|_| KeyFault::WrongPassphrase { path: age.clone() })?;
            seed(&Zeroizing::new(plain), &age)
        }
        (Seal::SystemdCredential(path), "systemd-credential") => credential_key(path),
        _ => Err(KeyFault::OtherSeal { path: dir.to_owned(), found }),
    }
}

/// HKDF (RFC 5869) makes 32 even bytes of whatever form the credential has. systemd gives it mode 0400 in a folder of
/// its own, so its mode is not judged here.
fn credential_key(path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyFault> {
    let secret = read(path, |_| Ok(()))?;
    if secret.len() < 32 {
        return Err(KeyFault::WeakCredential { path: path.to_owned(), bytes: secret.len() });
    }
    let mut key = Zeroizing::new([0; 32]);
    Salt::new(HKDF_SHA256, b"holdpoint/sealing-key/v1")
        .extract(&secret)
        .expand(&[], HKDF_SHA256)
        .and_then(|material| material.fill(&mut *key))
        .expect("HKDF-SHA256 gives 32 bytes");
    Ok(key)
}

fn seed(bytes: &[u8], path: &Path) -> Result<Seed, KeyFault> {
    bytes.try_into().map(Zeroizing::new).map_err(|_| KeyFault::Damaged { path: path.to_owned() })
}

/// Reads a file that nobody but its owner may use.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    read(path, |metadata| only_owner(path, metadata, 0o600))
}

/// The mode is asked of the open file, so nobody can exchange it between question and reading.
fn read(path: &Path, allowed: impl Fn(&fs::Metadata) -> Result<(), KeyFault>) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    let file = File::open(path).map_err(at(path))?;
    let metadata = file.metadata().map_err(at(path))?;
    allowed(&metadata)?;
    // Room for all of it at once: a vector that grows leaves copies behind that nobody wipes.
    let room = usize::try_from(metadata.len().min(FILE_BYTES_MAX)).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(at(path))?;
    Ok(bytes)
}

/// The folder that this one lies in.
fn parent(dir: &Path) -> &Path {
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn private_dir(dir: &Path) -> Result<(), KeyFault> {
    only_owner(dir, &fs::metadata(dir).map_err(at(dir))?, 0o700)
}

fn only_owner(path: &Path, metadata: &fs::Metadata, wanted: u32) -> Result<(), KeyFault> {
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyFault::Mode { path: path.to_owned(), mode, wanted }) }
}

pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), KeyFault> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(at(path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at(path))
}

pub(crate) fn sync_dir(dir: &Path) -> Result<(), KeyFault> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}

pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> KeyFault {
    let path = path.to_owned();
    move |source| KeyFault::Io { path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn made(seal: &Seal) -> (tempfile::TempDir, PathBuf, KeyStore) {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("keys");
        let store = KeyStore::create(&dir, seal).unwrap();
        (home, dir, store)
    }

    fn fingerprints(store: &KeyStore) -> [String; 5] {
        [
            store.ssh_host_key().fingerprint(),
            store.ssh_ca().known_hosts_lines(),
            store.tls_ca().fingerprint().to_string(),
            store.log_key().verifier("log").unwrap().to_string(),
            String::from_utf8_lossy(
                &store.secrets().open_labelled("x", &store.secrets().seal_labelled("x", b"ok").unwrap()).unwrap(),
            )
            .into_owned(),
        ]
    }

    fn credential(home: &Path, bytes: &[u8]) -> Seal {
        let path = home.join("credential");
        fs::write(&path, bytes).unwrap();
        Seal::SystemdCredential(path)
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_same_keys_come_back_under_each_seal() {
        let home = tempfile::tempdir().unwrap();
        let seals =
            [Seal::File, Seal::Passphrase(Zeroizing::new("six short words".into())), credential(home.path(), &[9; 40])];
        for seal in seals {
            let (_home, dir, store) = made(&seal);
            assert_eq!(fingerprints(&KeyStore::open(&dir, &seal).unwrap()), fingerprints(&store), "{seal:?}");
        }
    }

    #[test]
    fn two_stores_share_no_key() {
        let (_a_home, _, a) = made(&Seal::File);
        let (_b_home, _, b) = made(&Seal::File);
        for (a, b) in fingerprints(&a).iter().zip(&fingerprints(&b)).take(4) {
            assert_ne!(a, b);
        }
        assert!(b.secrets().open_labelled("x", &a.secrets().seal_labelled("x", b"ok").unwrap()).is_err());
    }

    #[test]
    fn keys_are_never_made_over_others() {
        let (_home, dir, _) = made(&Seal::File);
        assert!(matches!(KeyStore::create(&dir, &Seal::File), Err(KeyFault::Exists { .. })));
    }

    #[test]
    fn what_a_crash_left_half_made_does_not_stand_in_the_way() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("keys");
        fs::create_dir(dir.with_extension("new")).unwrap();
        fs::write(dir.with_extension("new").join("log.sealed"), b"half").unwrap();
        assert!(KeyStore::create(&dir, &Seal::File).is_ok());
    }

    #[test]
    fn a_folder_or_file_others_may_use_is_refused_with_the_remedy() {
        let (_home, dir, _) = made(&Seal::File);
        for (path, mode, good) in [
            (dir.clone(), 0o750, 0o700),
            (dir.join("sealing.key"), 0o640, 0o600),
            (dir.join("log.sealed"), 0o604, 0o600),
        ] {
            chmod(&path, mode);
            let text = KeyStore::open(&dir, &Seal::File).unwrap_err().to_string();
            assert!(text.contains(&format!("chmod {good:o} {}", path.display())), "{text}");
            chmod(&path, good);
        }
        assert!(KeyStore::open(&dir, &Seal::File).is_ok());
    }

    #[test]
    fn everything_made_is_for_the_owner_alone() {
        let (_home, dir, _) = made(&Seal::File);
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        for entry in fs::read_dir(&dir).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn one_key_in_anothers_place_or_with_a_changed_bit_does_not_open() {
        let (_home, dir, _) = made(&Seal::File);
        fs::copy(dir.join("token.sealed"), dir.join("log.sealed")).unwrap();
        assert!(
            matches!(KeyStore::open(&dir, &Seal::File), Err(KeyFault::Damaged { path }) if path.ends_with("log.sealed"))
        );
        let (_home, dir, _) = made(&Seal::File);
        let mut bytes = fs::read(dir.join("tls-ca.sealed")).unwrap();
        bytes[100] ^= 1;
        fs::write(dir.join("tls-ca.sealed"), bytes).unwrap();
        assert!(matches!(KeyStore::open(&dir, &Seal::File), Err(KeyFault::Damaged { .. })));
    }

    #[test]
    fn the_wrong_seal_passphrase_or_credential_is_said_to_be_so() {
        let passphrase = |text: &str| Seal::Passphrase(Zeroizing::new(text.to_owned()));
        let (home, dir, _) = made(&passphrase("right"));
        assert!(matches!(KeyStore::open(&dir, &passphrase("wrong")), Err(KeyFault::WrongPassphrase { .. })));
        assert!(matches!(KeyStore::open(&dir, &Seal::File), Err(KeyFault::OtherSeal { found: "passphrase", .. })));
        let short = credential(home.path(), &[1; 31]);
        let dir = home.path().join("other");
        assert!(matches!(KeyStore::create(&dir, &short), Err(KeyFault::WeakCredential { bytes: 31, .. })));
        KeyStore::create(&dir, &credential(home.path(), &[1; 32])).unwrap();
        let other = credential(home.path(), &[2; 32]);
        assert!(matches!(KeyStore::open(&dir, &other), Err(KeyFault::Damaged { .. })));
    }

    #[test]
    fn neither_debug_nor_a_fault_shows_a_secret() {
        let seal = Seal::Passphrase(Zeroizing::new("open sesame".into()));
        let (_home, dir, store) = made(&seal);
        let fault = KeyStore::open(&dir, &Seal::Passphrase(Zeroizing::new("sesame".into()))).unwrap_err();
        let shown = format!("{seal:?} {store:?} {fault:?} {fault} {:?} {:?}", store.tls_ca(), store.token_key());
        assert!(
            !shown.contains("sesame") && shown.contains("KeyStore(..)") && shown.contains("TokenKey(..)"),
            "{shown}"
        );
    }

    #[test]
    fn what_a_thief_gets_is_said_for_each_seal() {
        let (_home, _, store) = made(&Seal::File);
        assert!(store.seal_word().contains("every key of the gate"));
    }
}

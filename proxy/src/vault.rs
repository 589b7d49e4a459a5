//! The process that holds the gate's private keys and opens targets' secrets, and how the gate comes by it: started as a
//! child over a pair of sockets, or reached at the socket of a service under another account. What it answers is `certs`'.

mod handing;
pub(crate) mod unguarded;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use certs::given::{FaceKey, GivenFault, chain_in_file};
use certs::keys::{KeyFault, KeyStore};
use certs::vault::Line;
use certs::vault::answering::{Allowed, Vault};
use certs::vault::wire::Answer;
use jiff::Timestamp;
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{CertificateFiles, Config, VaultAt};
use crate::secret::{SealFault, open_seal};
use crate::serve::LogForm;
use crate::service_manager::ServiceManager;
use crate::{browsers, confine, founding, serve};

/// A vault that was not heard for so long hangs, and what is not signed by then is signed by nobody. Meanwhile whatever asks
/// stands still, threads that carry sessions among them.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same for what waits for a disk, which nobody else waits for.
const PATIENCE_WITH_DISKS: Duration = Duration::from_secs(300);
/// A service may start a moment after the gate.
const BEGINS_WITHIN: Duration = Duration::from_secs(10);
const TRIED_EVERY: Duration = Duration::from_millis(50);
/// A gate has three, one of which may be opened anew while what was asked before waits for a disk, and a command on the machine another.
const CONNECTIONS_MAX: usize = 16;
/// Whoever connects says who they are by the system's word, and the group alone may try.
const SOCKET_MODE: u32 = 0o660;

/// The gate's vault, reached. A child ends with it.
pub(crate) struct Reached {
    line: Line,
    keys: Option<Result<KeyStore, KeyFault>>,
    child: Option<Child>,
    whose: String,
}

impl Reached {
    /// The keys behind it, once.
    pub(crate) fn keys(&mut self) -> Result<KeyStore, KeyFault> {
        self.keys.take().expect("asked for once")
    }

    /// To ask it for the configuration.
    pub(crate) const fn line(&self) -> &Line {
        &self.line
    }

    /// In which process the keys are, in words for `status`.
    pub(crate) fn whose(&self) -> &str {
        &self.whose
    }
}

impl Drop for Reached {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Starts the vault or connects to it, as the configuration at `path` says, and waits until its keys are open.
///
/// # Errors
/// It cannot be started or reached. That its keys do not open is told with them.
pub(crate) fn reach(config: &Config, path: &Path, form: LogForm) -> io::Result<Reached> {
    let (signing, door, child, whose) = match &config.vault {
        VaultAt::Child => {
            let (door, child) = start_child(path, form)?;
            let (door, whose) = (Door::Child(door), "a process of their own, under the gate's account".to_owned());
            (door.connect()?, door, Some(child), whose)
        }
        VaultAt::Socket(socket) => {
            let first = connect(socket, BEGINS_WITHIN)?;
            let whose = match socket_peercred(&first)?.uid {
                uid if uid == geteuid() => "under the gate's account".to_owned(),
                uid => format!("under another account (uid {})", uid.as_raw()),
            };
            // It connects nobody before its keys are open, so one that says nothing now hangs.
            be_patient(&first, BEGINS_WITHIN)?;
            (first, Door::Socket(socket.clone()), None, format!("a service of their own, {whose}"))
        }
    };
    let (handshakes, files) = (door.connect()?, door.connect()?);
    be_patient(&handshakes, PATIENCE)?;
    be_patient(&files, PATIENCE_WITH_DISKS)?;
    let patience = signing.try_clone()?;
    let line = Line::apart([signing, handshakes, files], move |why| door.connect_anew(why));
    let line = line.timed(approver::spans::ask_vault);
    // Somebody may be typing a passphrase into a child: until the keys are open there is no haste.
    let keys = KeyStore::in_vault(&line);
    be_patient(&patience, PATIENCE)?;
    Ok(Reached { line, keys: Some(keys), child, whose: format!("The keys are in {whose}") })
}

/// Where the gate opens connections to its vault, as long as both live.
enum Door {
    /// To a child, which answers what it is handed over here.
    Child(UnixStream),
    /// To a service.
    Socket(PathBuf),
}

impl Door {
    fn connect(&self) -> io::Result<UnixStream> {
        match self {
            Self::Child(door) => {
                let (ours, theirs) = UnixStream::pair()?;
                handing::hand_over(door, &theirs)?;
                Ok(ours)
            }
            Self::Socket(socket) => connect(socket, Duration::ZERO),
        }
    }

    /// In place of the one for what waits for a disk.
    fn connect_anew(&self, why: &str) -> io::Result<UnixStream> {
        tracing::warn!(why, "the connection to the vault for what waits for a disk broke: another is opened");
        let stream = self.connect()?;
        be_patient(&stream, PATIENCE_WITH_DISKS)?;
        Ok(stream)
    }
}

/// The keys for a command on the machine itself: from the folder where this account may read it, else by the vault that runs.
///
/// # Errors
/// In words: neither can be had.
pub(crate) fn at_rest(config: &Config) -> Result<KeyStore, String> {
    let seal = || open_seal(config.seal).map_err(|fault| fault.to_string());
    let VaultAt::Socket(socket) = &config.vault else {
        return KeyStore::open(&config.keys, &seal()?).map_err(|fault| fault.to_string());
    };
    match connect(socket, Duration::ZERO) {
        Ok(stream) => {
            be_patient(&stream, BEGINS_WITHIN).map_err(|error| error.to_string())?;
            KeyStore::in_vault(&Line::new(stream)).map_err(|fault| fault.to_string())
        }
        Err(error) => KeyStore::open(&config.keys, &seal()?)
            .map_err(|fault| format!("no vault answers at {}: {error}. And: {fault}", socket.display())),
    }
}

/// What the plant gave a face, for a command on the machine: from its files, or by the vault that runs where they are for
/// that one alone.
pub(crate) fn face_files(
    config: &Config,
    files: &CertificateFiles,
) -> (Result<Vec<u8>, GivenFault>, Result<FaceKey, GivenFault>) {
    let is_closed = std::fs::File::open(&files.key).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    let there = match &config.vault {
        VaultAt::Socket(socket) if is_closed => connect(socket, Duration::ZERO).ok(),
        _ => None,
    };
    let there = there.filter(|stream| be_patient(stream, BEGINS_WITHIN).is_ok());
    match there.and_then(|stream| KeyStore::in_vault(&Line::new(stream)).ok()) {
        Some(keys) => (keys.face_chain(&files.chain), keys.face_key(&files.key)),
        None => (chain_in_file(&files.chain), FaceKey::in_file(&files.key)),
    }
}

fn be_patient(stream: &UnixStream, so_long: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(so_long))?;
    stream.set_write_timeout(Some(so_long))
}

fn connect(socket: &Path, within: Duration) -> io::Result<UnixStream> {
    let began = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(_) if began.elapsed() < within => std::thread::sleep(TRIED_EVERY),
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", socket.display()))),
        }
    }
}

/// Its standard output is a socket, so that nothing of the gate's is left open in it, by which its connections are handed over;
/// a passphrase is typed into its standard input, and what it logs stands with what the gate logs.
fn start_child(config: &Path, form: LogForm) -> io::Result<(UnixStream, Child)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("holdpoint").args(["vault", "--child", "--config"]).arg(config);
    if form == LogForm::Json {
        command.arg("--log-json");
    }
    let child = command.stdout(Stdio::from(OwnedFd::from(theirs))).spawn()?;
    be_patient(&ours, PATIENCE)?;
    Ok((ours, child))
}

/// What the vault is told of the configuration.
fn allowed(config: &Config, path: &Path) -> Allowed {
    let notify = &config.notify;
    let webhook = notify.webhook.as_ref().and_then(|at| at.credential.clone());
    let mail = notify.mail.as_ref().and_then(|at| at.login.as_ref().map(|(_, credential)| credential.clone()));
    let oidc = config.oidc.iter().filter_map(|at| at.credential.clone());
    Allowed {
        own: webhook.into_iter().chain(mail).chain(oidc).collect::<BTreeSet<_>>(),
        face_keys: face_keys(config).collect(),
        face_chains: face_chains(config).collect(),
        configuration: path.to_owned(),
        beside: beside(config),
    }
}

/// The private keys that the plant gave faces.
pub(crate) fn face_keys(config: &Config) -> impl Iterator<Item = PathBuf> + '_ {
    given(config).map(|files| files.key.clone())
}

/// The certificates that go with them.
pub(crate) fn face_chains(config: &Config) -> impl Iterator<Item = PathBuf> + '_ {
    given(config).map(|files| files.chain.clone())
}

fn given(config: &Config) -> impl Iterator<Item = &CertificateFiles> {
    [&config.vendor.certificate, &config.plant.certificate].into_iter().flatten()
}

/// The files around the keys that a backup takes.
pub(crate) fn beside(config: &Config) -> Vec<PathBuf> {
    let names = [founding::CONFIG, founding::PLANT, founding::TRUST, browsers::CA, browsers::CA_NEXT, browsers::STEPS];
    names.into_iter().map(|name| config.keys.with_file_name(name)).collect()
}

/// Why the vault ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultEnds {
    #[error("keys: {0}")]
    Keys(#[from] KeyFault),
    #[error(transparent)]
    Seal(#[from] SealFault),
    #[error("{0}")]
    Socket(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn socket_fault(path: &Path) -> impl Fn(&dyn Display) -> VaultEnds + '_ {
    move |why| VaultEnds::Socket(format!("{}: {why}", path.display()))
}

fn opened(config: &Config, path: &Path) -> Result<Arc<Vault>, VaultEnds> {
    let seal = open_seal(config.seal)?;
    let keys = KeyStore::open(&config.keys, &seal)?;
    Ok(Arc::new(Vault::new(keys, allowed(config, path))))
}

/// Answers the gate that started this process, until it ends. That keys do not open is said to it, who says it to people.
pub(crate) fn serve_parent(config: &Config, path: &Path) -> Result<(), VaultEnds> {
    let door = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    serve::harden();
    confine::lock_memory();
    leave_stopping_to_the_gate()?;
    let vault = match opened(config, path) {
        Ok(vault) => vault,
        Err(ends @ VaultEnds::Seal(_)) => return refuse_first(&door, &Answer::Sealed(ends.to_string())),
        Err(ends) => return refuse_first(&door, &Answer::Refused(ends.to_string())),
    };
    confine::vault(config, path);
    let open = Arc::default();
    while let Some(stream) = handing::taken(&door)? {
        answer_apart(stream, &vault, &open).unwrap_or_else(|why| refused(&why));
    }
    Ok(())
}

fn refuse_first(door: &UnixStream, answer: &Answer) -> Result<(), VaultEnds> {
    match handing::taken(door)? {
        Some(mut stream) => Ok(Vault::refuse_all(&mut stream, answer)?),
        None => Ok(()),
    }
}

fn refused(why: &str) {
    tracing::warn!(why, "a connection to the vault was refused");
}

/// Ctrl-C on a terminal reaches both processes, and the gate has sessions to seal first. Once heard, a signal ends nothing
/// by itself any more.
fn leave_stopping_to_the_gate() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            drop(signal(kind)?);
        }
        Ok(())
    })
}

/// Serves at the configured socket until it is told to stop.
pub(crate) fn serve_socket(config: &Config, path: &Path, socket: &Path) -> Result<(), VaultEnds> {
    serve::harden();
    confine::lock_memory();
    let fault = socket_fault(socket);
    // What a vault that was killed left; another that runs would be answered by nobody.
    let is_left = std::fs::symlink_metadata(socket).is_ok_and(|left| left.file_type().is_socket());
    if is_left && UnixStream::connect(socket).is_ok() {
        return Err(fault(&"a vault runs there already"));
    }
    if is_left {
        std::fs::remove_file(socket).map_err(|error| fault(&error))?;
    }
    let gate = std::fs::metadata(&config.store.data).map(|data| data.uid());
    let gate = gate.map_err(|error| fault(&format_args!("{}: {error}", config.store.data.display())))?;
    let guard = Guard { gate, read: read_by_name(config, path) };
    guard.check().map_err(|why| fault(&why))?;
    let vault = opened(config, path)?;
    let listener = UnixListener::bind(socket).map_err(|error| fault(&error))?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(|error| fault(&error))?;
    confine::vault(config, path);
    ServiceManager::from_environment().serves();
    tracing::info!("the vault answers");
    let open = Arc::default();
    loop {
        match listener.accept() {
            Ok((stream, _)) => answer(stream, &vault, &guard, &open).unwrap_or_else(|why| refused(&why)),
            // Too many files are open, or whoever came is gone: those who are answered are answered on.
            Err(error) => {
                tracing::warn!(%error, "nobody can connect to the vault");
                std::thread::sleep(TRIED_EVERY);
            }
        }
    }
}

/// What the vault reads by its name: whoever may put something else there has it read what they like. Files for a backup
/// lie in the folder of the keys' folder, and one of them the gate may write (`trust.toml`).
fn read_by_name(config: &Config, path: &Path) -> Vec<PathBuf> {
    let own = [path.to_owned(), config.keys.clone()].into_iter();
    own.chain(face_keys(config)).chain(face_chains(config)).collect()
}

/// Keeps a vault from serving a gate that could turn it into its own reader.
struct Guard {
    /// The gate's account.
    gate: u32,
    read: Vec<PathBuf>,
}

impl Guard {
    /// Under the gate's own account there is nothing to keep.
    fn check(&self) -> Result<(), String> {
        let own = geteuid().as_raw();
        if [0, own].contains(&self.gate) {
            return Ok(());
        }
        let of_others = self.read.iter().find_map(|path| unguarded::on_the_way_to(path, [0, own]).transpose());
        match of_others.transpose().map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(path) => Err(format!(
                "{} can be changed by another account, and what it is or leads to is read by the vault: give it to root, and take \
                 the right to write from all others (docs/administrator.md, \"Keys under another account\")",
                path.display()
            )),
        }
    }
}

/// A connection that is answered; one fewer when it is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn taken(open: &Arc<AtomicUsize>) -> Option<Self> {
        let before = open.fetch_add(1, Ordering::SeqCst);
        let place = Self(Arc::clone(open));
        (before < CONNECTIONS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Only the gate, whose the data folder is, this account and root are answered: whoever it is, by the system's word.
fn answer(stream: UnixStream, vault: &Arc<Vault>, guard: &Guard, open: &Arc<AtomicUsize>) -> Result<(), String> {
    let peer = socket_peercred(&stream).map_err(|error| error.to_string())?.uid;
    if ![0, guard.gate, geteuid().as_raw()].contains(&peer.as_raw()) {
        return Err(format!("uid {} is not the gate's", peer.as_raw()));
    }
    // A folder may have changed hands since the start: a unit's StateDirectory does so when the gate is started.
    guard.check()?;
    answer_apart(stream, vault, open)
}

/// In a thread of its own, until whoever is at the other end ends.
fn answer_apart(mut stream: UnixStream, vault: &Arc<Vault>, open: &Arc<AtomicUsize>) -> Result<(), String> {
    let (place, vault) = (Place::taken(open).ok_or("too many connections")?, Arc::clone(vault));
    let answering = move || {
        let _place = place;
        if let Err(why) = vault.serve(&mut stream, Timestamp::now) {
            tracing::warn!(%why, "a connection to the vault broke");
        }
    };
    let started = std::thread::Builder::new().name("answering".into()).spawn(answering);
    started.map(drop).map_err(|error| error.to_string())
}

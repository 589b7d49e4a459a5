//! What the gate and its vault take from themselves, once each has what it needs: files by Landlock, system calls by seccomp,
//! memory kept from the disk. What the kernel does not have is said once and keeps nothing from starting. Both hold for the
//! thread that asks and for what it starts later, so they come before any other thread; and for every program that the gate
//! starts: checks of files, commands that tell people.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use certs::keys::folder::left_by_seal;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus,
};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::config::{Config, ReceiverWay};
use crate::{founding, secret, vault};

/// The newest that is asked for; an older kernel does what it can, from the second on: the first lets nobody move a file from one
/// folder to another (Linux 5.13 to 5.18).
const NEWEST: ABI = ABI::V5;

type Rights = BitFlags<AccessFs>;

/// What a path may be used for.
type Opening = (PathBuf, Rights);

fn reading() -> Rights {
    AccessFs::ReadFile | AccessFs::ReadDir
}

fn using() -> Rights {
    reading() | AccessFs::Execute
}

fn everything() -> Rights {
    AccessFs::from_all(NEWEST)
}

/// Where files are put in place of others while the gate runs, and it goes on by the new ones: `resolv.conf`, `hosts`. What
/// comes into a folder on the way to what is hidden is closed, so a key of a face hides nothing here.
const SHARED: &str = "/etc";

/// What is wrong with where the configuration puts things, so that nothing could be hidden.
///
/// # Errors
/// In words.
pub(crate) fn check(config: &Config) -> Result<(), String> {
    let (data, real) = (&config.store.data, |path: &Path| path.canonicalize().ok());
    let mut secret = own(config).into_iter().chain(vault::face_keys(config));
    match secret.find(|path| within(real(path), real(data))) {
        None => Ok(()),
        Some(path) => Err(format!(
            "store.data: {} lies in the data folder {}, which the gate reads and writes whole: give the data a folder of its own",
            path.display(),
            data.display()
        )),
    }
}

fn within(path: Option<PathBuf>, folder: Option<PathBuf>) -> bool {
    path.zip(folder).is_some_and(|(path, folder)| path.starts_with(folder))
}

/// Takes from this process all that a gate never needs; gives it in words for `status`.
pub(crate) fn gate(config: &Config) -> String {
    let hidden = Hidden::of(config);
    let files = match restricted(&openings_of_gate(config, &hidden.paths), false) {
        Ok(()) => {
            let but = if hidden.shown.is_empty() { "" } else { ", but not from the keys of faces below /etc" };
            format!("Landlock keeps the gate from them{but}, and from writing anywhere but where it must")
        }
        Err(why) => {
            tracing::warn!(%why, "the kernel keeps no files from the gate (Landlock)");
            "This kernel has no Landlock, which would keep files from the gate".to_owned()
        }
    };
    hidden.warn();
    let calls = match filtered(denied(&NEVER)) {
        Ok(()) => "seccomp keeps it from what it never asks the kernel for",
        Err(why) => {
            tracing::warn!(%why, "the kernel denies the gate no system call (seccomp)");
            "no seccomp keeps it from any system call"
        }
    };
    format!("{files}; {calls}")
}

/// Takes from this process all that a vault never needs.
pub(crate) fn vault(config: &Config, path: &Path) {
    if let Err(why) = restricted(&openings_of_vault(config, path), true) {
        tracing::warn!(%why, "the kernel keeps no files from the vault (Landlock)");
    }
    let mut rules = denied(&NEVER);
    rules.extend(denied(&[libc::SYS_execve, libc::SYS_execveat]));
    if let Err(why) = no_network().and_then(|(call, rule)| {
        rules.insert(call, rule);
        filtered(rules)
    }) {
        tracing::warn!(%why, "the kernel denies the vault no system call (seccomp)");
    }
}

/// Keeps what this process will ever hold in memory off the disk, where the limit lets all of it be locked: below a limit, some
/// later piece of memory could not be had at all.
pub(crate) fn lock_memory() {
    let limit = getrlimit(Resource::Memlock);
    let raised = setrlimit(Resource::Memlock, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let unlimited = limit.maximum.is_none() && raised.is_ok();
    let locked = unlimited && mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).is_ok();
    if !locked {
        tracing::info!("secrets are not locked in memory, for want of LimitMEMLOCK=infinity: a swap must be encrypted");
    }
}

/// What no gate may read of its own installation.
fn own(config: &Config) -> Vec<PathBuf> {
    // What the auditors should have taken away long ago is none of the gate's either.
    let sealing = std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(secret::CREDENTIAL));
    let own = [config.keys.clone(), left_by_seal(&config.keys), config.keys.with_file_name("auditors")];
    own.into_iter().chain(sealing).collect()
}

/// What is kept from the gate, as far as it is there.
struct Hidden {
    paths: Vec<PathBuf>,
    /// Keys of faces that cannot be hidden where they lie.
    shown: Vec<PathBuf>,
}

impl Hidden {
    fn of(config: &Config) -> Self {
        let real = |paths: Vec<PathBuf>| paths.into_iter().filter_map(|path| path.canonicalize().ok()).collect();
        Self::among(real(own(config)), real(vault::face_keys(config).collect()))
    }

    fn among(mut paths: Vec<PathBuf>, face_keys: Vec<PathBuf>) -> Self {
        let (shown, faces) = face_keys.into_iter().partition::<Vec<_>, _>(|key| key.starts_with(SHARED));
        paths.extend(faces);
        Self { paths, shown }
    }

    fn warn(&self) {
        for key in &self.shown {
            let key = key.display();
            tracing::warn!(%key, "a face's key below /etc is not hidden from the gate: give it a folder elsewhere, or to the vault's account");
        }
        if self.paths.iter().any(|path| path.starts_with(SHARED)) {
            tracing::warn!(
                "the keys lie below /etc: names are looked up no longer once resolv.conf is put in place of another. Move \
                 the installation to /var/lib"
            );
        }
    }
}

/// All but what the vault alone may read. Rules hold for what lies below a path, and none takes anything out: so every
/// neighbour on the way there is named by itself. What comes into those folders later is closed until the next start.
fn openings_of_gate(config: &Config, hidden: &[PathBuf]) -> Vec<Opening> {
    let installation = config.keys.parent().unwrap_or(Path::new("/"));
    let data = made(&config.store.data);
    let feeds = config.feed.receivers.iter().filter_map(|receiver| match &receiver.at {
        ReceiverWay::File(path) => Some(path.clone()),
        ReceiverWay::Syslog { .. } => None,
    });
    // In such a folder no file can be made any more: so it is made now.
    let files: Vec<PathBuf> =
        feeds.chain([installation.join(founding::TRUST)]).filter_map(|path| touched(&path)).collect();
    let folders = files.iter().filter(|file| !file.starts_with(installation)).filter_map(|file| file.parent());
    let shared = [Path::new("/dev"), Path::new("/proc"), Path::new("/tmp"), Path::new("/var/tmp")];
    let temporary = std::env::temp_dir();
    let writable = folders.chain(shared).chain([temporary.as_path()]).map(Path::to_owned);
    let writable: Vec<PathBuf> = writable.chain(of_unit()).collect();
    let installation = installation.canonicalize().unwrap_or_else(|_| installation.to_owned());
    let walk = Walk { hidden, writable: &writable, data: &data, installation: &installation };
    let mut openings = walk.below(Path::new("/"), false);
    let whole = writable.iter().chain(&files).map(|path| (path.clone(), everything()));
    openings.extend(whole.chain([(data.clone(), everything() & !BitFlags::from(AccessFs::Execute))]));
    // Whoever names a file in the keys' folder for a feed, or a folder around it, opens nothing of it.
    openings.retain(|(path, _)| !hidden.iter().any(|hidden| hidden.starts_with(path) || path.starts_with(hidden)));
    openings
}

/// What systemd made for this service (`LogsDirectory=` and its kin): feeds that are named while the gate runs lie there, and what
/// the programs keep that it starts.
fn of_unit() -> impl Iterator<Item = PathBuf> {
    let named = ["LOGS_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY", "RUNTIME_DIRECTORY"];
    let listed = named.into_iter().filter_map(std::env::var_os);
    listed.flat_map(|several| std::env::split_paths(&several).collect::<Vec<_>>())
}

/// The folder, which is there afterwards; whatever is wrong with it is said by whoever wants to use it.
fn made(folder: &Path) -> PathBuf {
    use std::os::unix::fs::DirBuilderExt as _;
    drop(std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder));
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
}

fn touched(file: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().create(true).append(true).mode(0o640).open(file).ok()?;
    file.canonicalize().ok()
}

struct Walk<'a> {
    hidden: &'a [PathBuf],
    writable: &'a [PathBuf],
    data: &'a Path,
    installation: &'a Path,
}

impl Walk<'_> {
    /// What lies in this folder and hides nothing, whole; of what hides something, what lies in it.
    fn below(&self, folder: &Path, is_writable: bool) -> Vec<Opening> {
        let listed = std::fs::read_dir(folder).into_iter().flatten().flatten();
        // What a link leads to is open or not in its own place.
        let entries = listed.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()));
        let openings = entries.map(|entry| entry.path()).flat_map(|path| {
            let is_writable = is_writable || self.writable.contains(&path);
            if self.hidden.contains(&path) || path == self.data {
                Vec::new()
            } else if self.hidden.iter().any(|hidden| hidden.starts_with(&path)) {
                self.below(&path, is_writable && path != self.installation)
            } else {
                vec![(path, if is_writable { everything() } else { using() })]
            }
        });
        openings.collect()
    }
}

/// The installation's folder, where files may be put in place of others, and what else it was told to read.
fn openings_of_vault(config: &Config, path: &Path) -> Vec<Opening> {
    let given: Vec<PathBuf> = vault::face_keys(config).chain(vault::face_chains(config)).collect();
    let real = given.iter().filter_map(|file| file.canonicalize().ok());
    let folders: Vec<PathBuf> =
        given.iter().cloned().chain(real).filter_map(|file| file.parent().map(Path::to_owned)).collect();
    let own = [config.keys.parent(), path.parent()].into_iter().flatten().map(Path::to_owned);
    let system = ["/usr/share/zoneinfo", "/dev/null", "/dev/urandom"].map(PathBuf::from);
    own.chain(folders).chain(system).map(|path| (path, reading())).collect()
}

fn restricted(openings: &[Opening], no_network: bool) -> Result<(), String> {
    let said = |error: landlock::RulesetError| error.to_string();
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let ruleset = ruleset.handle_access(AccessFs::Refer).map_err(said)?.set_compatibility(CompatLevel::BestEffort);
    let mut ruleset = ruleset.handle_access(everything()).map_err(said)?;
    if no_network {
        ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST)).map_err(said)?;
    }
    let mut created = ruleset.create().map_err(said)?;
    for (path, rights) in openings {
        let Ok(opened) = PathFd::new(path) else { continue };
        let rights = if path.is_dir() { *rights } else { *rights & AccessFs::from_file(NEWEST) };
        created = created.add_rule(PathBeneath::new(opened, rights)).map_err(said)?;
    }
    match created.restrict_self().map_err(said)?.ruleset {
        RulesetStatus::NotEnforced => Err("it has none".to_owned()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

/// Reading other processes' memory, changing what is mounted or who sees it, loading into the kernel, its keyrings, and doors
/// that many ways into it have come by.
const NEVER: [libc::c_long; 35] = [
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn denied(calls: &[libc::c_long]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

/// No socket but a Unix one.
fn no_network() -> Result<(i64, Vec<SeccompRule>), String> {
    let unix = u64::from(libc::AF_UNIX.unsigned_abs());
    let other = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, unix);
    let rule = other.and_then(|other| SeccompRule::new(vec![other])).map_err(|error| error.to_string())?;
    Ok((libc::SYS_socket, vec![rule]))
}

/// What makes a child live in a namespace of its own (`clone(2)`).
const NEW_NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// No child in a new namespace.
fn no_namespace() -> Result<(i64, Vec<SeccompRule>), String> {
    let rules = NEW_NAMESPACES.into_iter().map(|flag| {
        let flag = u64::from(flag.unsigned_abs());
        let has = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)?;
        SeccompRule::new(vec![has])
    });
    let rules = rules.collect::<Result<_, seccompiler::BackendError>>().map_err(|error| error.to_string())?;
    Ok((libc::SYS_clone, rules))
}

/// These calls get EPERM, in this process and in what it starts. No filter sees what `clone3` is asked for, since that stands
/// in memory: it gets ENOSYS, and the C library goes on by `clone`.
fn filtered(mut rules: Rules) -> Result<(), String> {
    let (clone, namespaces) = no_namespace()?;
    rules.insert(clone, namespaces);
    answered(denied(&[libc::SYS_clone3]), libc::ENOSYS)?;
    answered(rules, libc::EPERM)
}

fn answered(rules: Rules, with: libc::c_int) -> Result<(), String> {
    let here = std::env::consts::ARCH.try_into().map_err(|error: seccompiler::BackendError| error.to_string())?;
    let answer = SeccompAction::Errno(with.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, here);
    let program = filter.and_then(BpfProgram::try_from).map_err(|error| error.to_string())?;
    seccompiler::apply_filter(&program).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_face_s_key_is_hidden_but_where_the_system_keeps_what_it_replaces() {
        let paths = |of: &[&str]| of.iter().map(PathBuf::from).collect::<Vec<_>>();
        let hidden = Hidden::among(
            paths(&["/var/lib/holdpoint/gate/keys"]),
            paths(&["/etc/letsencrypt/archive/a/privkey1.pem", "/srv/tls/face.key"]),
        );
        assert_eq!(hidden.paths, paths(&["/var/lib/holdpoint/gate/keys", "/srv/tls/face.key"]));
        assert_eq!(hidden.shown, paths(&["/etc/letsencrypt/archive/a/privkey1.pem"]));
        let own = Hidden::among(paths(&["/etc/holdpoint/keys"]), Vec::new());
        assert_eq!((own.paths.len(), own.shown.len()), (1, 0), "the gate's own are hidden wherever they lie");
    }
}

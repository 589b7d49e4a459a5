//! The process that holds the keys: nothing of them is in the gate; it gives secrets for sessions that go on and for no others,
//! to the gate and to nobody else; and without it there is no gate.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use certs::keys::KeyStore;
use certs::secrets::CannotOpen;
use certs::ssh_ca::{CannotCertify, fresh_key};
use certs::vault::{Line, Purpose, VaultFault};
use jiff::{SignedDuration, Timestamp};
use policies::actions::Action;
use policies::ids::{CredentialName, SessionId};
use policies::time::{Seconds, Window};
use rustix::net::Shutdown;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, Signal};
use tests::plant::program;
use tests::process::{pid, vault_of};
use tests::{Options, Plant, Running, json, run, start, text};

/// Those of these secrets that are anywhere in what a process can write to.
fn in_memory(process: u32, secrets: &[(&'static str, Vec<u8>)]) -> BTreeSet<&'static str> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let mut memory = fs::File::open(format!("/proc/{process}/mem")).unwrap();
    let places = maps.lines().filter(|line| line.contains(" rw")).map(|line| {
        let (from, rest) = line.split_once('-').unwrap();
        let until = rest.split_once(' ').unwrap().0;
        (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(until, 16).unwrap())
    });
    let found = places.flat_map(|(from, until)| {
        let mut bytes = vec![0; usize::try_from(until - from).unwrap()];
        memory.seek(SeekFrom::Start(from)).unwrap();
        // What is not there yet reads as an error, and holds nothing.
        let mut read = 0;
        while read < bytes.len() {
            match memory.read(&mut bytes[read..]) {
                Ok(0) | Err(_) => break,
                Ok(more) => read += more,
            }
        }
        let has = move |secret: &[u8]| memchr::memmem::find(&bytes[..read], secret).is_some();
        secrets.iter().filter(move |(_, secret)| has(secret)).map(|(name, _)| *name)
    });
    found.collect()
}

/// A key as it lies sealed, opened by what lies beside it.
fn seed(keys: &Path, name: &str) -> Vec<u8> {
    let sealing = RandomizedNonceKey::new(&AES_256_GCM, &fs::read(keys.join("sealing.key")).unwrap()).unwrap();
    let sealed = fs::read(keys.join(format!("{name}.sealed"))).unwrap();
    let mut body = sealed[16..].to_vec();
    let nonce = Nonce::from(<&[u8; 12]>::try_from(&sealed[4..16]).unwrap());
    let label = format!("key/{name}");
    sealing.open_in_place(nonce, Aad::from(label.as_bytes()), &mut body).unwrap().to_vec()
}

#[test]
fn no_key_is_in_the_process_that_meets_strangers() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root looks into the memory of a program that hides it");
        return;
    }
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    let out = run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "echo worked"]), b"").ok().out();
    assert!(out.contains("worked"), "{out}");
    let keys = plant.installation().join("keys");
    let gate = plant.gate().id();
    let vault = vault_of(gate).unwrap();
    let held = ["ssh-ca", "log", "token"];
    // The private number alone (RFC 5958, RFC 5915).
    let tls_ca = seed(&keys, "tls-ca")[36..68].to_vec();
    let spent = [("tls-ca", tls_ca), ("secrets", seed(&keys, "secrets"))];
    let sealing = ("sealing.key", fs::read(keys.join("sealing.key")).unwrap());
    let secrets: Vec<_> =
        held.map(|name| (name, seed(&keys, name))).into_iter().chain(spent).chain([sealing]).collect();
    assert_eq!(in_memory(gate, &secrets), BTreeSet::new());
    let found = in_memory(vault, &secrets);
    assert!(found.is_superset(&held.into()), "this test finds nothing: {found:?}");
    let status = fs::read_to_string(format!("/proc/{vault}/status")).unwrap();
    assert!(status.lines().any(|line| line == "Seccomp:\t2"), "{status}");
}

#[test]
fn without_its_vault_the_gate_stops_and_what_ran_is_sealed_by_the_next() {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    let mut ssh = start(&mut plant.tess().ssh(&["-tt", &plant.tess().at("hmi-2")]));
    ssh.type_in("echo here $((40 + 2))\n");
    ssh.until("here 42");
    let vault = vault_of(plant.gate().id()).unwrap();
    rustix::process::kill_process(pid(vault), Signal::KILL).unwrap();
    ssh.ends();
    let ended = plant.ends();
    assert_eq!(ended.code(), 3, "{}", ended.text());
    assert!(ended.err().contains("the process that holds the gate's keys is gone"), "{}", ended.err());
    plant.serve();
    plant.gate().until("sealed as crashed");
    assert_eq!(plant.stop().code(), 0);
}

#[test]
fn a_gate_whose_vault_hangs_stops_within_seconds() {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    let vault = vault_of(plant.gate().id()).unwrap();
    let began = Instant::now();
    rustix::process::kill_process(pid(vault), Signal::STOP).unwrap();
    let ended = plant.ends();
    assert_eq!(ended.code(), 3, "{}", ended.text());
    assert!(ended.err().contains("the process that holds the gate's keys is gone"), "{}", ended.err());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn ctrl_c_on_a_terminal_seals_what_runs_before_the_vault_goes() {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    let mut ssh = start(&mut plant.tess().ssh(&["-tt", &plant.tess().at("hmi-2")]));
    ssh.type_in("echo here $((40 + 2))\n");
    ssh.until("here 42");
    rustix::process::kill_process_group(pid(plant.gate().id()), Signal::INT).unwrap();
    assert_eq!(plant.ends().code(), 0);
    ssh.ends();
    plant.serve();
    let ended = plant.stop();
    assert!(ended.code() == 0 && !ended.err().contains("sealed as crashed"), "{}", ended.text());
}

/// A plant whose vault is to be a service of its own, at this socket. Nothing runs yet.
fn apart() -> (Plant, tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = folder.path().join("socket");
    let plant = Plant::ready(Options::default());
    let line = format!("[keys]\nvault = {:?}", socket.display());
    plant.edit_config(|text| text.replace("[keys]", &line));
    (plant, folder, socket)
}

fn serving(plant: &Plant) -> Running {
    let mut vault = start(plant.holdpoint(&["vault", "--config"]).arg(plant.config()));
    vault.until("the vault answers");
    vault
}

#[test]
fn a_gate_does_not_start_on_a_vault_that_hangs_and_says_what_to_do() {
    let (mut plant, _folder, _socket) = apart();
    let vault = serving(&plant);
    rustix::process::kill_process(pid(vault.id()), Signal::STOP).unwrap();
    let began = Instant::now();
    let ended = run(plant.holdpoint(&["serve", "--config"]).arg(plant.config()), b"");
    assert_eq!(ended.code(), 3, "{}", ended.text());
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(
        ended.err().contains("it hangs (where it is a service of its own: systemctl restart holdpoint-vault)"),
        "{}",
        ended.err()
    );
    rustix::process::kill_process(pid(vault.id()), Signal::CONT).unwrap();
    plant.serve();
}

/// A message of the vault's or the gate's, as it goes over.
fn message(from: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut bytes = vec![0; 4 + u32::from_be_bytes(length) as usize];
    bytes[..4].copy_from_slice(&length);
    from.read_exact(&mut bytes[4..])?;
    Ok(bytes)
}

/// The gate's own line to the vault, on which somebody else asks as well: whoever owns the gate does so.
struct Owned {
    vault: Arc<Mutex<UnixStream>>,
    answer: VecDeque<u8>,
}

impl Owned {
    /// Lies between a gate that connects here and the vault there.
    fn between(here: &Path, there: &Path) -> Self {
        let vault = Arc::new(Mutex::new(UnixStream::connect(there).unwrap()));
        let (listener, line) = (UnixListener::bind(here).unwrap(), Arc::clone(&vault));
        std::thread::spawn(move || {
            for gate in listener.incoming() {
                let (mut gate, line) = (gate.unwrap(), Arc::clone(&line));
                std::thread::spawn(move || {
                    while let Ok(ask) = message(&mut gate) {
                        let mut vault = line.lock().unwrap();
                        let answer = vault.write_all(&ask).and_then(|()| message(&mut vault));
                        if answer.and_then(|answer| gate.write_all(&answer)).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { vault, answer: VecDeque::new() }
    }
}

impl Write for Owned {
    fn write(&mut self, ask: &[u8]) -> io::Result<usize> {
        let mut vault = self.vault.lock().unwrap();
        vault.write_all(ask)?;
        self.answer.extend(message(&mut vault)?);
        Ok(ask.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Read for Owned {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.answer.read(into)
    }
}

/// Lies between a gate that connects here and the vault there, and loses the first answer to this question, with the connection:
/// the vault has done what it was asked.
fn loses_an_answer(here: &Path, there: PathBuf, to: &'static str) {
    let (listener, lost) = (UnixListener::bind(here).unwrap(), Arc::new(AtomicBool::new(false)));
    std::thread::spawn(move || {
        for gate in listener.incoming() {
            let (mut gate, mut vault) = (gate.unwrap(), UnixStream::connect(&there).unwrap());
            let lost = Arc::clone(&lost);
            std::thread::spawn(move || {
                while let Ok(ask) = message(&mut gate) {
                    let answer = vault.write_all(&ask).and_then(|()| message(&mut vault));
                    let loses = &ask[4..] == to.as_bytes() && !lost.swap(true, Ordering::SeqCst);
                    if loses || answer.and_then(|answer| gate.write_all(&answer)).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// Renews a key twice, each time with a reload: of which the first loses the connection for what waits for a disk.
fn two_keys_are_read_anew_over_one_connection_more(plant: &mut Plant) {
    for (times, key) in [(1, "ssh-ca"), (2, "token")] {
        run(plant.holdpoint(&["keys", "renew", key, "--config"]).arg(plant.config()), b"").ok();
        plant.gate().signal(Signal::HUP);
        let read = |said: &str, what: &str| said.matches(&format!("the {what} read again")).count();
        tests::eventually("it reads them", || read(&plant.gate().said(), "configuration was") == times);
        let said = plant.gate().said();
        assert!(read(&said, "keys were") == times && said.contains(&format!("{key}\\")), "{said}");
        assert_eq!(said.matches("what waits for a disk broke: another is opened").count(), 1, "{said}");
    }
    assert!(run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "echo still"]), b"").ok().out().contains("still"));
}

#[test]
fn keys_are_read_anew_by_a_service_whose_answer_was_lost() {
    let (mut plant, folder, socket) = apart();
    let _vault = serving(&plant);
    let between = folder.path().join("between");
    plant.edit_config(|text| text.replace(socket.to_str().unwrap(), between.to_str().unwrap()));
    loses_an_answer(&between, socket, "\"reload\"");
    plant.serve();
    two_keys_are_read_anew_over_one_connection_more(&mut plant);
}

/// Those of a process's open files that are Unix sockets, as they were opened.
fn unix_sockets(process: u32) -> Vec<i32> {
    let listed = fs::read_to_string("/proc/net/unix").unwrap();
    let inodes: BTreeSet<&str> = listed.lines().filter_map(|line| line.split_whitespace().nth(6)).collect();
    let files = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let sockets = files.map(|entry| entry.unwrap().path()).filter(|path| {
        let leads_to = fs::read_link(path).unwrap_or_default().to_string_lossy().into_owned();
        leads_to.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')).is_some_and(|id| inodes.contains(id))
    });
    let mut numbers: Vec<_> =
        sockets.map(|path| path.file_name().unwrap().to_str().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn keys_are_read_anew_by_a_vault_of_the_gates_own_to_which_a_connection_broke() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root reaches into another program's sockets");
        return;
    }
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    let gate = plant.gate().id();
    // By the first the others were handed over: for signing, for handshakes, for what waits for a disk.
    let files = unix_sockets(gate)[3];
    let process = rustix::process::pidfd_open(pid(gate), PidfdFlags::empty()).unwrap();
    let socket = rustix::process::pidfd_getfd(process, files, PidfdGetfdFlags::empty()).unwrap();
    rustix::net::shutdown(socket, Shutdown::Both).unwrap();
    two_keys_are_read_anew_over_one_connection_more(&mut plant);
}

#[test]
fn a_secret_is_opened_for_a_session_that_goes_on_and_for_no_other() {
    let (mut plant, folder, socket) = apart();
    let _vault = serving(&plant);
    let between = folder.path().join("between");
    let owned = Owned::between(&between, &socket);
    plant.edit_config(|text| text.replace(socket.to_str().unwrap(), between.to_str().unwrap()));
    plant.serve();
    let line = Line::new(owned);
    let keys = KeyStore::in_vault(&line).unwrap();
    let (secrets, ca) = (keys.secrets(), keys.ssh_ca());
    let name: CredentialName = "hmi-4".parse().unwrap();
    let sealed = secrets.seal(&name, b"grip-lantern").unwrap();
    let key = fresh_key("thief");
    let certified = |session: SessionId, user: &str| {
        let now = Timestamp::now();
        let valid = Window { from: now, until: now + SignedDuration::from_mins(5) };
        ca.target_certificate(key.public_key(), user, valid, session).map(drop)
    };
    let refused =
        |result: Result<(), CannotCertify>| matches!(result, Err(CannotCertify::Vault(VaultFault::Refused(_))));
    let never: SessionId = "s_01arz3ndektsv4rrffq69g5fav".parse().unwrap();
    let user = tests::target::account();
    assert!(refused(certified(never, &user)));
    assert!(matches!(secrets.open(&name, &sealed, Purpose::Gate), Err(CannotOpen::Vault(VaultFault::Refused(_)))));

    let mut ssh = start(&mut plant.tess().ssh(&["-tt", &plant.tess().at("hmi-2")]));
    ssh.type_in("echo here $((40 + 2))\n");
    ssh.until("here 42");
    tests::log_in(&plant, "lee");
    let live = json(&plant, "lee", &["sessions"]);
    let session: SessionId = text(&live["sessions"][0]["session"]).parse().unwrap();
    certified(session, &user).unwrap();
    // What the gate told counts for its own line.
    let other = KeyStore::in_vault(&Line::new(UnixStream::connect(&socket).unwrap())).unwrap();
    let valid = Window { from: Timestamp::now(), until: Timestamp::now() + SignedDuration::from_mins(5) };
    assert!(refused(other.ssh_ca().target_certificate(key.public_key(), &user, valid, session).map(drop)));
    assert!(refused(certified(session, "root-of-another")), "an account that the plant file does not name");
    let opened = secrets.open(&name, &sealed, Purpose::Session(session));
    assert!(matches!(opened, Err(CannotOpen::Vault(VaultFault::Refused(_)))), "another target's secret");
    // A person's certificate is no way around it.
    let now = Timestamp::now();
    let valid = Window { from: now, until: now + SignedDuration::from_mins(5) };
    let as_person = ca.user_certificate(key.public_key(), &user, [127, 0, 0, 1].into(), valid, 1, "x").map(drop);
    assert!(refused(as_person));
    let later = Window { from: now + SignedDuration::from_hours(24), until: now + SignedDuration::from_hours(25) };
    assert!(refused(ca.target_certificate(key.public_key(), &user, later, session).map(drop)));

    let mut cut = plant.as_person("lee", &["cut", &session.to_string()]);
    run(&mut cut, b"").ok();
    ssh.ends();
    tests::eventually("a session that was cut opens nothing", || refused(certified(session, &user)));
}

#[test]
fn only_the_gate_is_answered_and_garbage_ends_a_connection_and_nothing_else() {
    let (mut plant, _folder, socket) = apart();
    let mut vault = serving(&plant);
    plant.serve();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let mut garbage = UnixStream::connect(&socket).unwrap();
    garbage.write_all(&[0xff; 64]).unwrap();
    let mut answered = Vec::new();
    garbage.read_to_end(&mut answered).unwrap_or_default();
    assert!(answered.is_empty());
    vault.until("a connection to the vault broke");
    if rustix::process::geteuid().is_root() {
        // The mode alone would keep others out; here it is the system's word on who asks.
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
        let script = "import socket,sys,struct\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                      try:\n s.sendall(struct.pack('>I',6)+b'\"ping\"')\n print(repr(s.recv(99)))\n\
                      except (BrokenPipeError,ConnectionResetError):\n print(repr(b''))";
        let ask = |account: &[&str]| {
            let mut python = Command::new("setpriv");
            python.args(account).args(["/usr/bin/python3", "-c", script]).arg(&socket);
            run(&mut python, b"").ok().out()
        };
        assert!(ask(&["--"]).contains("here"), "root is answered");
        assert_eq!(ask(&["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).trim(), "b''");
        vault.until("is not the gate's");
    }
    assert!(run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "echo still"]), b"").ok().out().contains("still"));
}

#[test]
fn keys_that_lie_in_the_data_folder_are_refused_by_check_and_by_the_gate() {
    let plant = Plant::founded(Options::default());
    plant.edit_config(|text| text.replace("data = \"data\"", "data = \".\""));
    let (config, file) = (plant.config(), plant.installation().join("plant.toml"));
    let check = ["check", "--config", config.to_str().unwrap(), "--plant", file.to_str().unwrap()];
    for mut command in [plant.holdpoint(&check), plant.serve_command()] {
        run(&mut command, b"").refused(2, "lies in the data folder");
    }
}

/// `clone` with CLONE_NEWUSER, which `unshare` has no part in: its number on this machine, and EPERM is 1.
const NEW_NAMESPACE: &str = "import ctypes,os,platform
call={\"x86_64\":56,\"aarch64\":220}[platform.machine()]
c=ctypes.CDLL(None,use_errno=True)
child=c.syscall(call,0x10000000|17,0,0,0,0)
if child==0: os._exit(0)
print(\"clone:\",child,ctypes.get_errno())";

const VAULT: u32 = 64_002;
const GATE: u32 = 64_001;

/// Runs something as this account, of the gate's group.
fn as_account(uid: u32) -> Vec<String> {
    let uid = format!("--reuid={uid}");
    ["setpriv", &uid, &format!("--regid={GATE}"), "--clear-groups", "--"].map(str::to_owned).to_vec()
}

fn command_as(uid: u32, program: &Path, arguments: &[&str]) -> Command {
    let around = as_account(uid);
    let mut command = Command::new(&around[0]);
    command.args(&around[1..]).arg(program).args(arguments);
    command
}

/// Gives a file or folder, and all in it, to an account of the gate's group.
fn give(path: &Path, uid: u32) {
    let to = format!("{uid}:{GATE}");
    run(Command::new("chown").args(["-R", &to]).arg(path), b"").ok();
}

#[test]
fn a_vault_under_another_account_serves_where_the_gate_can_change_nothing_that_it_reads() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root gives files to another account");
        return;
    }
    if !run(&mut command_as(VAULT, Path::new("test"), &["-x", program().to_str().unwrap()]), b"").status.success() {
        println!("SKIPPED: other accounts do not reach the program");
        return;
    }
    let (mut plant, folder, socket) = apart();
    let here = plant.installation();
    fs::set_permissions(here.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&here, fs::Permissions::from_mode(0o750)).unwrap();
    give(&here, GATE);
    give(&here.join("keys"), VAULT);
    give(folder.path(), VAULT);
    let config = plant.config();
    let vault = || command_as(VAULT, &program(), &["vault", "--config", config.to_str().unwrap()]);
    run(&mut vault(), b"").refused(3, "can be changed by another account");
    for path in [here.clone(), config.clone(), here.join("plant.toml")] {
        chown(&path, Some(0), Some(GATE)).unwrap();
    }
    let mut vault = start(&mut vault());
    vault.until("the vault answers");
    let around = as_account(GATE);
    plant.serve_under(&around.iter().map(String::as_str).collect::<Vec<_>>());
    let out = run(&mut plant.tess().ssh(&[&plant.tess().at("hmi-2"), "echo worked"]), b"").ok().out();
    assert!(out.contains("worked"), "{out}");
    tests::log_in(&plant, "lee");
    let status = tests::holdpoint(&plant, "lee", &["status"]).ok().out();
    assert!(
        status.split_whitespace().collect::<Vec<_>>().join(" ").contains("under another account (uid 64002)"),
        "{status}"
    );
    // What root makes there is the vault's.
    let keys = |what: &[&str]| run(plant.holdpoint(&["keys", "--config"]).arg(&config).args(what), b"").ok();
    keys(&["renew", "ssh-ca"]);
    keys(&["renew", "tls-ca"]);
    keys(&["seal", "--to", "file"]);
    let key = here.join("keys/sealing.key");
    for path in [here.join("keys"), key.clone(), here.join("keys/ssh-ca-next.sealed"), here.join("keys/log.sealed")] {
        assert_eq!(fs::metadata(&path).unwrap().uid(), VAULT, "{}", path.display());
    }
    run(&mut command_as(GATE, Path::new("cat"), &[key.to_str().unwrap()]), b"").says_no("Permission denied");
    // A folder that changes hands later: a unit's StateDirectory gives it to the gate.
    chown(&here, Some(GATE), Some(GATE)).unwrap();
    run(plant.holdpoint(&["keys", "renew", "token", "--config"]).arg(&config), b"")
        .refused(1, "root does not write there");
    assert!(Line::new(UnixStream::connect(&socket).unwrap()).ping().is_err());
    vault.until("can be changed by another account");
}

#[test]
fn what_the_gate_starts_reads_no_key_and_writes_no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let checker = folder.path().join("checker");
    let technicians = vec![("tess", "acme"), ("theo", "stackwell")];
    let rule = format!(
        "[[rules]]\nid = \"checked\"\nvendors = [\"stackwell\"]\nroles = [\"maintenance\"]\nzones = [\"packaging\"]\n\
         actions = [\"file-put\"]\nduration_max = \"4h\"\napprovals = [{{ from = \"shift-lead\", count = 1 }}]\n\
         work_order = \"optional\"\nexclusive = \"none\"\nfile_check = [{:?}, \"{{file}}\"]",
        checker.to_str().unwrap()
    );
    let mut plant = Plant::enrolled(Options { technicians, more: rule, ..Options::default() });
    let here = plant.installation();
    let said = folder.path().join("said");
    fs::write(
        &checker,
        format!(
            "#!/bin/sh\nexec >{said} 2>&1\ncat {here}/keys/sealing.key\ncat {here}/keys/ssh-ca.sealed\nls {here}/keys\n\
             echo '# changed' >> {here}/holdpoint.toml\ntouch {here}/new\ncat {here}/holdpoint.toml\n\
             unshare --mount true\n/usr/bin/python3 -c '{NEW_NAMESPACE}'\nexit 0\n",
            said = said.display(),
            here = here.display()
        ),
    )
    .unwrap();
    fs::set_permissions(&checker, fs::Permissions::from_mode(0o755)).unwrap();
    plant.grant("theo", "hmi-2", &[Action::FilePut], Seconds(3_600));
    plant.log_in("theo");
    plant.serve();
    let theo = plant.person("theo");
    theo.write("recipe", b"fine");
    let mut scp = theo.tool("scp");
    scp.arg("-F").arg(theo.path("ssh_config")).arg("-O").arg(theo.path("recipe"));
    run(scp.arg(format!("{}:{}", theo.at("hmi-2"), plant.hmi.path("recipe").display())), b"").ok();
    let said = fs::read_to_string(&said).unwrap();
    assert_eq!(said.matches("Permission denied").count(), 5, "{said}");
    assert!(said.contains("[faces.vendor]") && !said.contains("# changed"), "the configuration is read: {said}");
    assert!(said.contains("Operation not permitted") && said.contains("clone: -1 1"), "{said}");
    assert_eq!(plant.stop().code(), 0);
}

#[test]
fn a_configuration_put_in_place_of_another_is_read_again() {
    let mut plant = Plant::ready(Options::default());
    plant.serve();
    let text = fs::read_to_string(plant.config()).unwrap();
    let new = plant.config().with_extension("edited");
    fs::write(&new, text + "[serve]\ndrain = \"31s\"\n").unwrap();
    fs::rename(&new, plant.config()).unwrap();
    plant.gate().signal(Signal::HUP);
    plant.gate().until("the configuration was read again");
    tests::log_in(&plant, "lee");
    let said = tests::holdpoint(&plant, "lee", &["status", "--settings"]).ok().out();
    assert!(said.contains("31s") && said.contains("keys.vault"), "{said}");
    let status = tests::holdpoint(&plant, "lee", &["status"]).ok().out();
    let status = status.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(status.contains("a process of their own") && status.contains("Landlock keeps the gate"), "{status}");
}

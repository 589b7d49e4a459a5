//! The machines behind the gate: real SSH servers on loopback, with no more rights than the tests have.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::process::{descendants, eventually, kill_all, pid, run};
use rustix::process::{Signal, kill_process};

/// An SSH server.
pub struct Target {
    server: Child,
    folder: PathBuf,
    port: u16,
}

impl Target {
    /// OpenSSH. It lets in whom the authority in `ca.pub` of its folder certifies; that may be written later.
    pub fn openssh(folder: &Path) -> Self {
        Self::openssh_with(folder, "")
    }

    /// The same, with more lines of configuration.
    pub fn openssh_with(folder: &Path, more: &str) -> Self {
        Self::sshd(folder, "ed25519", more)
    }

    /// OpenSSH as a machine of twenty years ago: an RSA host key that signs with SHA-1, and no algorithm but these. It lets in
    /// the key `login.pub`, which is made here with `login`, by SHA-1 too.
    pub fn old_openssh(folder: &Path, kex: &str, cipher: &str) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let login = folder.join("login");
        run(Command::new("ssh-keygen").args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"]).arg(&login), b"").ok();
        fs::copy(folder.join("login.pub"), folder.join("authorized")).expect("a file");
        let only = format!(
            "KexAlgorithms {kex}\nCiphers {cipher}\nMACs hmac-sha1\nHostKeyAlgorithms ssh-rsa\nPubkeyAcceptedAlgorithms ssh-rsa"
        );
        Self::sshd(folder, "rsa", &only)
    }

    fn sshd(folder: &Path, host_key: &str, more: &str) -> Self {
        fs::create_dir_all(folder.join("files")).expect("a folder");
        // Where sshd drops its privileges, if it has any.
        fs::create_dir_all("/run/sshd").ok();
        run(Command::new("ssh-keygen").args(["-q", "-t", host_key, "-N", "", "-f"]).arg(folder.join("host")), b"").ok();
        let at = folder.display();
        start(folder, |port| {
            let config = format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nPidFile {at}/pid\n\
                 TrustedUserCAKeys {at}/ca.pub\nAuthorizedKeysFile {at}/authorized\nUsePAM no\nStrictModes no\n\
                 PermitRootLogin yes\nMaxSessions 100\nMaxStartups 500\nUseDNS no\nAcceptEnv LANG LC_*\n\
                 SetEnv HOME={at}/files HISTFILE=/dev/null\nLogLevel VERBOSE\nSubsystem sftp internal-sftp\n{more}\n"
            );
            fs::write(folder.join("sshd_config"), config).expect("a file");
            let mut server = Command::new("/usr/sbin/sshd");
            server.args(["-D", "-e", "-f"]).arg(folder.join("sshd_config"));
            server
        })
    }

    /// Dropbear, which knows no certificates: it lets in the key `login.pub`, which is made here with `login`. It looks for
    /// keys in the account's home alone, so it gets one of its own in a mount namespace; `None` where the system allows
    /// no such thing.
    pub fn dropbear(folder: &Path) -> Option<Self> {
        let home = folder.join("files");
        fs::create_dir_all(home.join(".ssh")).expect("a folder");
        let key = |name: &str| folder.join(name);
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key("login")), b"").ok();
        fs::copy(key("login.pub"), home.join(".ssh/authorized_keys")).expect("a file");
        run(Command::new("dropbearkey").args(["-t", "ed25519", "-f"]).arg(key("host")), b"").ok();
        let shown = run(Command::new("dropbearkey").args(["-y", "-f"]).arg(key("host")), b"").ok().out();
        let public = shown.lines().find(|line| line.starts_with("ssh-")).expect("a public key");
        fs::write(key("host.pub"), public).expect("a file");
        let own = std::env::home_dir().expect("an account has a home");
        let in_namespace = |script: &str| {
            let mut unshare = Command::new("unshare");
            unshare.args(["--mount", "sh", "-c"]);
            unshare.arg(format!("mount --bind {} {} && {script}", home.display(), own.display()));
            unshare
        };
        if !run(&mut in_namespace("true"), b"").status.success() {
            println!("SKIPPED: the system lets nobody have a home of their own (unshare --mount)");
            return None;
        }
        Some(start(folder, |port| {
            let at = folder.display();
            in_namespace(&format!("exec dropbear -F -E -m -r {at}/host -p 127.0.0.1:{port} -P {at}/pid"))
        }))
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its host key's fingerprint, as a plant file pins it.
    pub fn pin(&self) -> String {
        fingerprint(&self.folder.join("host.pub"))
    }

    /// A plant file's lines for it under this name, in the zone of the others, let in with this secret.
    pub fn with_secret(&self, name: &str, credential: &str) -> String {
        let (address, user, pin) = (self.address(), account(), self.pin());
        format!(
            "[targets.{name}]\nzone = \"packaging\"\n[targets.{name}.services.ssh]\nprotocol = \"ssh\"\n\
             address = \"{address}\"\nuser = \"{user}\"\ncredential = \"{credential}\"\nhost_key = \"{pin}\""
        )
    }

    /// A path in its folder of files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join("files").join(name)
    }

    /// What is in one of its files.
    #[track_caller]
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name} at the target: {error}"))
    }

    /// Puts a file there.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("a file");
    }

    /// Lets in whoever has this key, without the gate.
    pub fn admit(&self, public_key: &[u8]) {
        fs::write(self.folder.join("authorized"), public_key).expect("a file");
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// How many connections it has seen, but for the one that looked whether it listens.
    pub fn connections(&self) -> usize {
        self.log().lines().filter(|line| line.contains("Connection from")).count() - 1
    }

    /// Whether it serves nobody.
    pub fn is_idle(&self) -> bool {
        descendants(self.server.id()).is_empty()
    }

    /// Kills every process that serves a connection.
    pub fn kill(&self) {
        signal_all(&descendants(self.server.id()), Signal::KILL);
    }

    /// Stops every process that serves a connection, until the value is dropped.
    pub fn stop(&self) -> Stopped {
        let processes = descendants(self.server.id());
        assert!(!processes.is_empty(), "nothing to stop");
        signal_all(&processes, Signal::STOP);
        Stopped(processes)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        kill_all(&mut self.server);
    }
}

/// Processes that are stopped while this value lives.
pub struct Stopped(Vec<u32>);

impl Drop for Stopped {
    fn drop(&mut self) {
        signal_all(&self.0, Signal::CONT);
    }
}

fn signal_all(processes: &[u32], signal: Signal) {
    for process in processes {
        // It may have ended meanwhile.
        kill_process(pid(*process), signal).ok();
    }
}

/// Starts a server on a port that was free a moment ago; if somebody else took it meanwhile, on another.
fn start(folder: &Path, command: impl Fn(u16) -> Command) -> Target {
    for _ in 0..10 {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr()).expect("a port").port();
        let log = fs::File::create(folder.join("log")).expect("a file");
        let also = log.try_clone().expect("a descriptor");
        let mut command = command(port);
        let spawned = command.stdin(Stdio::null()).stdout(also).stderr(log).spawn();
        let mut server = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs it"));
        let mut listens = false;
        eventually("the server listens, or ended", || {
            listens = TcpStream::connect(("127.0.0.1", port)).is_ok();
            listens || matches!(server.try_wait(), Ok(Some(_)))
        });
        if listens && matches!(server.try_wait(), Ok(None)) {
            return Target { server, folder: folder.to_owned(), port };
        }
    }
    panic!("no server: {}", fs::read_to_string(folder.join("log")).unwrap_or_default());
}

/// A public key's fingerprint.
pub fn fingerprint(public: &Path) -> String {
    let shown = run(Command::new("ssh-keygen").arg("-lf").arg(public), b"").ok().out();
    shown.split(' ').nth(1).expect("a fingerprint").to_owned()
}

/// The account that the tests run as, and so the only one its servers let in.
pub fn account() -> String {
    run(Command::new("id").arg("-un"), b"").ok().out().trim().to_owned()
}

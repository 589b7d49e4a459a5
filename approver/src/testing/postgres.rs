//! A PostgreSQL server of a test's own, with a folder of its own, on a Unix socket, and elsewhere where it is said. It ends with the value.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::Scratch;
use crate::mint;
use crate::postgres::{Database, DatabaseAt, Standby};

/// A running server.
pub struct PostgresServer {
    process: Child,
    command: Command,
    folder: Scratch,
    port: u16,
}

/// The user who owns everything but what `superuser` makes.
const USER: &str = "holdpoint";
const SUPERUSER: &str = "superuser";
/// Nothing here takes as long.
const HANG: Duration = Duration::from_secs(30);

impl PostgresServer {
    /// One that others who run at the same time may have, too; none where PostgreSQL is not installed.
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<PostgresServer>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return Some(running);
        }
        let started = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&started);
        Some(started)
    }

    /// One for this test alone; none where PostgreSQL is not installed, which is said.
    pub fn start() -> Option<Self> {
        Self::start_as(5432, |_| vec!["listen_addresses=".to_owned()])
    }

    /// The same with settings of its own, told of the folder that it has.
    pub fn start_as(port: u16, settings: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
        Self::start_on(&[], port, settings)
    }

    /// One in a network namespace of this name, which these addresses there reach by TLS alone, with the certificate `server.pem` in
    /// its folder.
    pub fn start_in(namespace: &str, addresses: &[IpAddr]) -> Option<Self> {
        let addresses: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
        let names: Vec<_> = addresses.iter().map(|address| format!("IP:{address}")).collect();
        Self::start_on(&["ip", "netns", "exec", namespace], 5432, |folder| {
            let access = folder.join("access");
            let hosts = addresses.iter().map(|address| format!("hostssl all all {address}/30 trust\n"));
            std::fs::write(&access, hosts.fold("local all all trust\n".to_owned(), |all, one| all + &one))
                .expect("a file");
            let mut settings = encrypted(folder, &names.join(","));
            settings.extend([
                format!("hba_file={}", access.display()),
                format!("listen_addresses={}", addresses.join(",")),
            ]);
            settings
        })
    }

    fn start_on(before: &[&str], port: u16, settings: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
        let Some(programs) = programs() else {
            println!("SKIPPED: PostgreSQL (Debian: postgresql) is not installed");
            return None;
        };
        let folder = Scratch::new();
        belongs_to_it(folder.path());
        let data = folder.path().join("data");
        done(
            as_its_user(&programs.join("initdb")).args(["-A", "trust", "-U", SUPERUSER, "--no-sync", "-D"]).arg(&data),
        );
        let server = Self::run(&programs, before, folder, port, settings);
        server.sql("postgres", &format!("CREATE ROLE {USER} LOGIN"));
        Some(server)
    }

    /// One that follows this one, and for which this one waits with each commit from now on.
    pub fn standby(&self) -> Self {
        let (programs, folder) = (programs().expect("this one runs"), Scratch::new());
        belongs_to_it(folder.path());
        let mut copy = as_its_user(&programs.join("pg_basebackup"));
        copy.args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-U", SUPERUSER, "-D"])
            .arg(folder.path().join("data"));
        done(copy.arg("-h").arg(self.folder()).arg("-p").arg(self.port.to_string()));
        let standby = Self::run(&programs, &[], folder, self.port, |_| vec!["listen_addresses=".to_owned()]);
        self.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.sql("postgres", "SELECT pg_reload_conf()");
        let began = Instant::now();
        while self.sql("postgres", "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") != "1" {
            assert!(began.elapsed() < HANG, "nothing follows");
            std::thread::sleep(Duration::from_millis(20));
        }
        standby
    }

    /// A standby takes the place of the one it followed, and waits for no other.
    pub fn promote(&self) {
        self.sql("postgres", "SELECT pg_promote()");
    }

    /// Ends at once, as with the machine.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn run(
        programs: &Path,
        before: &[&str],
        folder: Scratch,
        port: u16,
        settings: impl FnOnce(&Path) -> Vec<String>,
    ) -> Self {
        let data = folder.path().join("data");
        let mut server = as_its_user_after(before, &programs.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(folder.path());
        server.arg("-p").arg(port.to_string());
        let small = ["max_connections=40", "shared_buffers=16MB", "autovacuum=off"].map(str::to_owned);
        for setting in settings(folder.path()).into_iter().chain(small) {
            server.arg("-c").arg(setting);
        }
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = server.spawn().expect("it is installed");
        let server = Self { process, command: server, folder, port };
        server.wait_for_it();
        server
    }

    fn wait_for_it(&self) {
        let began = Instant::now();
        while !self.psql("postgres", "SELECT 1").status.success() {
            assert!(began.elapsed() < HANG, "the server does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts what was [killed](Self::kill).
    pub fn start_again(&mut self) {
        self.process.wait().expect("it was killed");
        self.process = self.command.spawn().expect("it is installed");
        self.wait_for_it();
    }

    /// The folder with its socket.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A new and empty database, by its name.
    pub fn empty(&self) -> String {
        let name = format!("d{}", mint::nonce());
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {USER}"));
        name
    }

    /// The address of a database of this name.
    pub fn address(&self, name: &str) -> String {
        address(self.folder(), USER, name)
    }

    /// The same by one of the addresses where it [was started](Self::start_in).
    pub fn address_at(&self, at: IpAddr, name: &str) -> String {
        format!("postgres://{USER}@{at}:{}/{name}", self.port)
    }

    /// Does something as the superuser of the server, and gives what was printed.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let ended = self.psql(database, sql);
        assert!(ended.status.success(), "{sql}: {}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8_lossy(&ended.stdout).trim().to_owned()
    }

    /// Tries to do something as the user of the program; what the server says, where it does not let them.
    ///
    /// # Errors
    /// It does not.
    pub fn as_user(&self, database: &str, sql: &str) -> Result<(), String> {
        let ended = self.psql_as(USER, database, sql);
        if ended.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ended.stderr).into_owned()) }
    }

    fn psql(&self, database: &str, sql: &str) -> std::process::Output {
        self.psql_as(SUPERUSER, database, sql)
    }

    fn psql_as(&self, user: &str, database: &str, sql: &str) -> std::process::Output {
        let mut psql = Command::new(programs().expect("it was there before").join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", database, "-c", sql, "-p"]);
        psql.arg(self.port.to_string()).arg("-h");
        psql.arg(self.folder())
            .env("PGOPTIONS", "-c default_transaction_read_only=off")
            .output()
            .expect("it is installed with the server")
    }

    /// It stands still: connections stay, and nothing answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// To it and all its processes, each of which leads a session of its own.
    fn signal(&self, signal: Signal) {
        let main = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{main}/task/{main}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        for process in [Pid::from_child(&self.process)].into_iter().chain(children) {
            if let Err(gone) = kill_process(process, signal) {
                tracing::debug!(%gone, "a process of the server");
            }
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.go_on();
        kill_process(Pid::from_child(&self.process), Signal::QUIT).expect("it is ours, and not waited for");
        self.process.wait().expect("it is ours");
    }
}

/// The database at this address, of which no standby is demanded.
pub fn database(address: &str) -> Database {
    let server = address.parse().expect("an address of a test's");
    Database::new(DatabaseAt { server, password_file: None, ca: None, standby: Standby::None })
}

/// A database by the folder of the socket.
pub fn address(folder: &Path, user: &str, name: &str) -> String {
    format!("postgres://{user}@{}/{name}", folder.display().to_string().replace('/', "%2F"))
}

fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let programs = versions.flatten().map(|version| version.path().join("bin"));
    programs.filter(|programs| programs.join("initdb").exists()).max()
}

/// It refuses to be run by root.
fn as_its_user(program: &Path) -> Command {
    as_its_user_after(&[], program)
}

/// The same, started by what comes before.
fn as_its_user_after(before: &[&str], program: &Path) -> Command {
    let user: &[&str] =
        if geteuid().is_root() { &["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] } else { &[] };
    let mut words = before.iter().chain(user).map(OsStr::new).chain([program.as_os_str()]);
    let mut command = Command::new(words.next().expect("the program at least"));
    command.args(words);
    command
}

/// Settings of a server in this folder that takes TLS, by a certificate of these names that vouches for itself.
pub fn encrypted(folder: &Path, names: &str) -> Vec<String> {
    let (certificate, key) = certificate(folder, names);
    belongs_to_it(&key);
    let files = [("ssl_cert_file", &certificate), ("ssl_key_file", &key)];
    let files = files.map(|(name, path)| format!("{name}={}", path.display()));
    std::iter::once("ssl=on".to_owned()).chain(files).collect()
}

/// A certificate of these names that vouches for itself, as `server.pem`, and its key.
pub fn certificate(folder: &Path, names: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=a server", "-addext", &format!("subjectAltName={names}")]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-out"]).arg(&certificate).arg("-keyout").arg(&key);
    done(&mut openssl);
    (certificate, key)
}

/// Makes a file or folder its own.
pub fn belongs_to_it(path: &Path) {
    if geteuid().is_root() {
        done(Command::new("chown").arg("postgres:").arg(path));
    }
}

fn done(command: &mut Command) {
    let ended = command.output().expect("it is installed");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

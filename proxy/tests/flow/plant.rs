//! A plant of real parts on loopback: an OpenSSH server as the target, the small gate of `gate` in its own process, and
//! OpenSSH clients, each stopped when its value is dropped.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Nothing here may take longer: whoever waits so long hangs.
pub(crate) const HANG: Duration = Duration::from_secs(120);

/// Sizes and counts of `SSH.md`'s table, or enough to see the mechanism work.
pub(crate) fn long_or(long: usize, short: usize) -> usize {
    if std::env::var_os("HOLDPOINT_LONG").is_some() { long } else { short }
}

/// How a technician names the target.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// `ssh tech+hmi-2@gate`.
    User,
    /// `ssh -J tech@gate hmi-2`.
    Jump,
}

/// What is special about a plant.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    /// Every leg renews its keys after so many bytes.
    pub(crate) rekey_bytes: usize,
    /// The gate records to a real record log.
    pub(crate) durable: bool,
    /// What the kernel holds for the gate's sockets towards technicians, each way, where it is not the system's choice.
    pub(crate) socket_bytes: Option<usize>,
    /// Uploads are checked, by a program that finds nothing; and for how long a hand-over waits, in milliseconds, for a target
    /// that stands still and for a technician who does not read.
    pub(crate) checks: Option<[u64; 3]>,
}

impl Default for Options {
    fn default() -> Self {
        Self { rekey_bytes: 1 << 30, durable: false, socket_bytes: None, checks: None }
    }
}

/// The target and the gate.
pub(crate) struct Plant {
    folder: tempfile::TempDir,
    sshd: Child,
    pub(crate) gate: Gate,
    // Two cores carry one plant; a second beside it would be measured too. Held last, so that all else has ended.
    _alone: MutexGuard<'static, ()>,
}

impl Plant {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        for key in ["host", "gate", "tech"] {
            succeed(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at.join(key)));
        }
        let target = free_port();
        let sshd = start_sshd(at, target, options.rekey_bytes);
        let gate = Gate::start(at, target, options);
        write_client_config(at, target, gate.port, options.rekey_bytes);
        Self { folder, sshd, gate, _alone: alone }
    }

    /// `ssh` through the gate, to run `command`.
    pub(crate) fn ssh(&self, form: Form, command: &str) -> Command {
        let mut ssh = self.ssh_with(form, &[]);
        ssh.arg(command);
        ssh
    }

    /// `ssh` through the gate with these options, and no command yet.
    pub(crate) fn ssh_with(&self, form: Form, options: &[&str]) -> Command {
        self.ssh_to(host(form), options)
    }

    /// `ssh` straight to the target.
    pub(crate) fn direct(&self, command: &str) -> Command {
        let mut ssh = self.ssh_to("direct", &[]);
        ssh.arg(command);
        ssh
    }

    /// The technician's key.
    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("tech")
    }

    /// What `rsync -e` and `scp -S` need to go through the gate.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops every process that serves a connection at the target, until the value is dropped.
    pub(crate) fn stop_target(&self) -> Stopped {
        stop(children_of(self.sshd.id()))
    }

    /// `ssh` to a host of the client's configuration.
    pub(crate) fn ssh_to(&self, host: &str, options: &[&str]) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.config()).args(options).arg(host);
        ssh
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        for child in children_of(self.sshd.id()) {
            kill(child, Signal::CONT);
            kill(child, Signal::KILL);
        }
        end(&mut self.sshd);
    }
}

pub(crate) fn host(form: Form) -> &'static str {
    match form {
        Form::User => "user-form",
        Form::Jump => "hmi-2",
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start_sshd(at: &Path, port: u16, rekey_bytes: usize) -> Child {
    // Where sshd drops its privileges, if it has any.
    drop(fs::create_dir_all("/run/sshd"));
    fs::copy(at.join("gate.pub"), at.join("authorized")).unwrap();
    let tech = fs::read_to_string(at.join("tech.pub")).unwrap();
    fs::OpenOptions::new().append(true).open(at.join("authorized")).unwrap().write_all(tech.as_bytes()).unwrap();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nPidFile {at}/pid\nAuthorizedKeysFile {at}/authorized\n\
         UsePAM no\nStrictModes no\nPermitRootLogin yes\nMaxSessions 100\nMaxStartups 200\nUseDNS no\n\
         AcceptEnv *\nRekeyLimit {rekey_bytes}\nSubsystem sftp internal-sftp\n",
        at = at.display()
    );
    fs::write(at.join("sshd_config"), config).unwrap();
    let log = fs::File::create(at.join("sshd.log")).unwrap();
    let sshd = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f"])
        .arg(at.join("sshd_config"))
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("openssh-server is installed");
    eventually("sshd listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    sshd
}

fn write_client_config(at: &Path, target: u16, gate: u16, rekey_bytes: usize) {
    let config = format!(
        "Host *\nIdentityFile {at}/tech\nIdentitiesOnly yes\nBatchMode yes\nStrictHostKeyChecking no\n\
         UserKnownHostsFile /dev/null\nLogLevel ERROR\nCiphers aes128-gcm@openssh.com\nHostName 127.0.0.1\n\
         ControlPath {at}/%n.mux\nControlMaster no\nRekeyLimit {rekey_bytes}\n\
         Host direct\nPort {target}\n\
         Host user-form\nPort {gate}\nUser tech+hmi-2\n\
         Host gate\nPort {gate}\nUser tech\n\
         Host hmi-2\nUser tech\nProxyJump gate\n",
        at = at.display()
    );
    fs::write(at.join("config"), config).unwrap();
}

/// The gate's process.
pub(crate) struct Gate {
    process: Child,
    orders: ChildStdin,
    heard: Mutex<Receiver<String>>,
    unread: Mutex<Vec<String>>,
    pub(crate) port: u16,
}

impl Gate {
    fn start(at: &Path, target: u16, options: Options) -> Self {
        let pin = output(Command::new("ssh-keygen").arg("-lf").arg(at.join("host.pub")));
        let user = output(Command::new("id").arg("-un"));
        let mut gate = Command::new(std::env::current_exe().unwrap());
        if options.durable {
            gate.env("FLOW_RECORDS", at.join("records"));
        }
        if let Some(bytes) = options.socket_bytes {
            gate.env("FLOW_SOCKET", bytes.to_string());
        }
        if let Some([moves, reads, thaws]) = options.checks {
            gate.env("FLOW_CHECKS", at.join("state")).env("FLOW_BOUNDS", format!("{moves} {reads} {thaws}"));
        }
        let mut process = gate
            .args(["--exact", "the_gate", "--ignored", "--nocapture", "--test-threads=1"])
            .env("FLOW_TARGET", format!("127.0.0.1:{target}"))
            .env("FLOW_USER", user.trim())
            .env("FLOW_KEY", at.join("gate"))
            .env("FLOW_PIN", pin.split(' ').nth(1).unwrap())
            .env("FLOW_REKEY", options.rekey_bytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (tell, heard) = channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(word) = line.strip_prefix("> ")
                    && tell.send(word.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        let mut gate = Self { process, orders, heard: Mutex::new(heard), unread: Mutex::default(), port: 0 };
        gate.port = gate.hear("port").parse().unwrap();
        gate
    }

    /// Tells the gate `cut`, `freeze`, `thaw`, `hold` or `release` entries of the file ledger, or `recorded`.
    pub(crate) fn order(&mut self, word: &str) {
        writeln!(self.orders, "{word}").unwrap();
    }

    /// What the gate says next under this word.
    pub(crate) fn hear(&self, word: &str) -> String {
        let (heard, mut unread) = (self.heard.lock().unwrap(), self.unread.lock().unwrap());
        let deadline = Instant::now() + HANG;
        loop {
            if let Some(at) = unread.iter().position(|line| line.starts_with(word)) {
                return unread.remove(at)[word.len()..].trim().to_owned();
            }
            let line = heard.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            unread.push(line.unwrap_or_else(|_| panic!("the gate never said {word}")));
        }
    }

    /// The next channel that ended.
    pub(crate) fn hear_channel(&self) -> ChannelEnd {
        let line = self.hear("channel");
        let mut parts = line.split(" | ");
        let end = parts.next().unwrap().to_owned();
        let mut account = || {
            let numbers: Vec<u64> = parts.next().unwrap().split(' ').map(|number| number.parse().unwrap()).collect();
            Account { received: numbers[0], forwarded: numbers[1], refused: numbers[2], made: numbers[3] }
        };
        ChannelEnd { end, up: account(), down: account() }
    }

    /// Waits until the gate has moved what can be moved, and does no more than it does all along for who stalls.
    pub(crate) fn until_still(&self) {
        const LOOK: Duration = Duration::from_millis(300);
        const MOVES_WITHIN: Duration = Duration::from_secs(3);
        /// Two ticks of the clock that processor time is counted in.
        const STILL: Duration = Duration::from_millis(20);
        let (begun, mut before) = (Instant::now(), self.processor_time());
        let mut has_moved = false;
        eventually("the gate is still", || {
            thread::sleep(LOOK);
            let now = self.processor_time();
            let used = now - std::mem::replace(&mut before, now);
            has_moved |= used > STILL || begun.elapsed() > MOVES_WITHIN;
            has_moved && used <= STILL
        });
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// What it has grown by above `idle` bytes, which is to be less than `limit`. What it freed the system has back a
    /// second later.
    #[track_caller]
    pub(crate) fn grown(&self, idle: u64, limit: u64) -> u64 {
        let mut grown = u64::MAX;
        for _ in 0..30 {
            grown = self.memory().saturating_sub(idle);
            if grown < limit {
                return grown;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("grew by {} MiB", grown >> 20);
    }

    /// Technicians' connections that the gate holds open.
    pub(crate) fn connections(&self) -> usize {
        const ESTABLISHED: &str = "01";
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let port = format!(":{:04X}", self.port);
        let held = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        held.filter(|fields| fields[1].ends_with(&port) && fields[3] == ESTABLISHED).count()
    }

    /// Processor time used so far.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// What the gate says about a channel when it ended.
#[derive(Debug)]
pub(crate) struct ChannelEnd {
    pub(crate) end: String,
    pub(crate) up: Account,
    pub(crate) down: Account,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) received: u64,
    pub(crate) forwarded: u64,
    pub(crate) refused: u64,
    pub(crate) made: u64,
}

/// Processes that are stopped while this value lives.
pub(crate) struct Stopped(Vec<u32>);

pub(crate) fn stop(processes: Vec<u32>) -> Stopped {
    assert!(!processes.is_empty(), "nothing to stop");
    for process in &processes {
        kill(*process, Signal::STOP);
    }
    Stopped(processes)
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for process in &self.0 {
            kill(*process, Signal::CONT);
        }
    }
}

fn kill(process: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    // It may have ended meanwhile.
    kill_process(pid, signal).ok();
}

fn children_of(parent: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let children: Vec<u32> = listed.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    let sshds = children
        .into_iter()
        .filter(|child| fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name.trim() == "sshd"));
    sshds.flat_map(|child| children_of(child).into_iter().chain([child])).collect()
}

/// A client, killed when dropped.
pub(crate) struct Client(pub(crate) Child);

impl Client {
    /// With all three streams piped.
    pub(crate) fn start(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(piped.spawn().unwrap())
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + HANG;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the client hangs");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it says on standard error until it ends.
    pub(crate) fn words(&mut self) -> String {
        let mut words = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        words
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

fn end(process: &mut Child) {
    drop(process.kill());
    drop(process.wait());
}

/// Bytes that do not compress and differ everywhere, the same each time.
pub(crate) struct Noise {
    state: u64,
    left: usize,
}

impl Noise {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { state: 0x9E37_79B9_7F4A_7C15, left: bytes }
    }
}

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(self.left) & !7;
        for eight in buffer[..length].chunks_exact_mut(8) {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            eight.copy_from_slice(&self.state.to_le_bytes());
        }
        self.left -= length;
        Ok(length)
    }
}

/// What the two ends of a client do while noise goes up and comes down.
#[derive(Clone, Copy, Default)]
pub(crate) struct Habits<'a> {
    /// The writer stops there, for so long.
    pub(crate) writer_pauses: Option<(usize, Duration)>,
    /// The reader stops there: it says so, and goes on when it is told to.
    pub(crate) reader_pauses: Option<(usize, &'a Barrier)>,
    /// Bytes a second the reader reads.
    pub(crate) reader_rate: Option<usize>,
}

const PIECE: usize = 64 << 10;

/// Sends noise through a client that echoes it, and compares.
pub(crate) fn echo_noise(command: &mut Command, bytes: usize, habits: Habits<'_>) {
    let mut client = Client::start(command);
    let writer = send_noise(&mut client, bytes, habits.writer_pauses);
    let mut reader = client.0.stdout.take().unwrap();
    let mut expected = Noise::new(bytes);
    let (mut got, mut want, mut seen) = (vec![0; PIECE], vec![0; PIECE], 0);
    let started = Instant::now();
    while seen < bytes {
        let length = PIECE.min(bytes - seen);
        reader.read_exact(&mut got[..length]).unwrap_or_else(|error| panic!("only {seen} of {bytes} came: {error}"));
        expected.read_exact(&mut want[..length]).unwrap();
        assert!(got[..length] == want[..length], "altered at {seen}");
        let before = seen;
        seen += length;
        if let Some((at, pause)) = habits.reader_pauses
            && (before..seen).contains(&at)
        {
            pause.wait();
            pause.wait();
        }
        if let Some(rate) = habits.reader_rate {
            thread::sleep(Duration::from_secs_f64(seen as f64 / rate as f64).saturating_sub(started.elapsed()));
        }
    }
    writer.join().unwrap();
    assert_eq!(reader.read(&mut got).unwrap(), 0, "more came than was sent");
    assert!(client.wait().success());
}

/// Sends noise into a client's standard input from a thread, and closes it.
pub(crate) fn send_noise(
    client: &mut Client,
    bytes: usize,
    pauses: Option<(usize, Duration)>,
) -> thread::JoinHandle<()> {
    let mut input = client.0.stdin.take().unwrap();
    thread::spawn(move || {
        let (mut noise, mut piece, mut sent) = (Noise::new(bytes), vec![0; PIECE], 0);
        while sent < bytes {
            let length = PIECE.min(bytes - sent);
            noise.read_exact(&mut piece[..length]).unwrap();
            if input.write_all(&piece[..length]).is_err() {
                return;
            }
            if let Some((at, pause)) = pauses
                && (sent..sent + length).contains(&at)
            {
                thread::sleep(pause);
            }
            sent += length;
        }
    })
}

/// Waits for something that must come.
pub(crate) fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG;
    while !happened() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a program to its end and gives what it prints.
pub(crate) fn output(command: &mut Command) -> String {
    let ran = command.stdin(Stdio::null()).output().unwrap();
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// Runs a program to its end.
pub(crate) fn succeed(command: &mut Command) {
    output(command);
}

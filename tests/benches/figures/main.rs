//! What Holdpoint costs, beside what people use without it, in one run: `tests/measure`. Every way goes to the same
//! OpenSSH server, by the same stock client, with the same cipher and key exchange, recorded durably; rounds are
//! interleaved and medians shown. Nothing is asserted here: a figure is compared with the last one by a person.

mod board;
mod browser;
mod crowd;
mod journal;
mod past;
mod store;
mod tcp;

use std::io::{Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use policies::time::Seconds;
use tests::plant::EVERYTHING;
use tests::{Options, Plant, Target, run};

/// As the program has it, because the recorder's memory is measured here.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const MIB: usize = 1 << 20;

/// How much of everything.
struct Size {
    rounds: usize,
    bulk: usize,
    keys: usize,
    beside: usize,
    set_ups: usize,
    shells: usize,
    lines: usize,
}

/// For the figures of `docs/BENCHMARKS.md`.
const WHOLE: Size = Size { rounds: 5, bulk: 1024 * MIB, keys: 1000, beside: 100, set_ups: 15, shells: 500, lines: 12 };
/// To see that it runs.
const QUICK: Size = Size { rounds: 1, bulk: 32 * MIB, keys: 50, beside: 5, set_ups: 2, shells: 10, lines: 1 };

/// One way to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    JumpHost,
    Holdpoint,
    HoldpointJump,
}

impl Way {
    const ALL: [Self; 4] = [Self::Direct, Self::JumpHost, Self::Holdpoint, Self::HoldpointJump];

    const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::JumpHost => "OpenSSH -J",
            Self::Holdpoint => "Holdpoint tess+hmi-2@",
            Self::HoldpointJump => "Holdpoint -J",
        }
    }

    /// As the configuration below names it.
    const fn host(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::JumpHost => "through",
            Self::Holdpoint => "tess+hmi-2@gate.mill3.example",
            Self::HoldpointJump => "hmi-2",
        }
    }
}

/// A part that needs a plant.
type Measure = fn(&mut Bench, &Size);

/// A part that has a plant of its own.
type MeasureTcp = fn(&tcp::Size);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if is("--write") {
        return store::write(arguments.last().expect("a folder").as_ref());
    }
    let quick = is("--quick");
    let size = if quick { QUICK } else { WHOLE };
    let wanted = |part: &str| {
        let named: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
        named.is_empty() || named.iter().any(|name| name.as_str() == part)
    };
    let store = if quick { store::Size { seconds: 1, idle: 20 } } else { store::Size { seconds: 10, idle: 500 } };
    if wanted("acknowledge") {
        store::acknowledge(&store, !is("--not-raised"));
    }
    if wanted("journal") {
        journal::measure(Duration::from_secs(store.seconds));
    }
    if wanted("store") {
        // First, while the process holds nothing that it may give back meanwhile.
        store::idle(&store);
        store::bulk(&store);
        store::recovery(&store);
    }
    let tcp = match quick {
        true => tcp::Size { rounds: 1, bulk: 32 * MIB, connections: 10, polls: 20, controllers: 2 },
        false => tcp::Size { rounds: 5, bulk: 1024 * MIB, connections: 100, polls: 100, controllers: 5 },
    };
    let of_tcp: [(&str, MeasureTcp); 3] = [("tcp-bulk", tcp::bulk), ("modbus", tcp::polling), ("many", tcp::idle)];
    of_tcp.into_iter().filter(|(part, _)| wanted(part)).for_each(|(_, measure)| measure(&tcp));
    if wanted("board") {
        board::measure(&match quick {
            true => board::Size { technicians: 5, sessions: 10, asked: 5 },
            false => board::Size { technicians: 100, sessions: 200, asked: 100 },
        });
    }
    if wanted("browser") {
        browser::measure(&match quick {
            true => browser::Size { keys: 50, terminals: 10 },
            false => browser::Size { keys: 1000, terminals: 200 },
        });
    }
    if wanted("crowd") {
        crowd::measure(if quick { &[4, 10] } else { &[50, 200, 500, 1000, 2000] });
    }
    if wanted("past") {
        past::measure(if quick { &[100] } else { &[10_000, 100_000, 170_000] }, if quick { 5 } else { 200 });
    }
    let of_sessions: [(&str, Measure); 6] = [
        ("set-up", Bench::set_up),
        ("echo", Bench::echo),
        ("memory", Bench::memory),
        ("bulk", Bench::bulk),
        ("shell", Bench::shell),
        ("verify", Bench::verify),
    ];
    let of_sessions: Vec<_> = of_sessions.into_iter().filter(|(part, _)| wanted(part)).collect();
    if !of_sessions.is_empty() {
        let mut bench = Bench::new();
        of_sessions.into_iter().for_each(|(_, measure)| measure(&mut bench, &size));
    }
}

struct Bench {
    plant: Plant,
    config: PathBuf,
    _jump: Target,
}

impl Bench {
    fn new() -> Self {
        let rule = "idle = \"4h\"\nfactor_lasts = \"24h\"\nconnections = 1000".to_owned();
        let mut plant = Plant::enrolled(Options { rule, ..Options::default() });
        plant.grant("tess", "hmi-2", &EVERYTHING, Seconds(4 * 3_600));
        plant.serve();
        let jump = Target::openssh(&plant.tess().path("jump"));
        let tess = plant.tess();
        let key = tess.read("key.pub");
        plant.hmi.admit(&key);
        jump.admit(&key);
        let login = tess.tool(tests::plant::program()).args(["login"]).stdin(Stdio::piped()).spawn();
        let mut login = login.expect("the program");
        let code = tess.code();
        writeln!(login.stdin.take().expect("piped"), "{code}").expect("it reads");
        assert!(login.wait().expect("it ran").success());
        let config = tess.path("measured");
        let (direct, jump_host) = (plant.hmi.address(), jump.address());
        let (jump_port, direct_port) = (port(&jump_host), port(&direct));
        let account = tests::target::account();
        let (home, gate) = (config.parent().expect("a folder").display(), tests::person::GATE);
        let text = format!(
            "Host *\n  Ciphers aes128-gcm@openssh.com\n  KexAlgorithms curve25519-sha256\n  LogLevel ERROR\n\
             Host direct through\n  HostName 127.0.0.1\n  Port {direct_port}\n  User {account}\n\
             Host jump\n  HostName 127.0.0.1\n  Port {jump_port}\n  User {account}\n\
             Host through\n  ProxyJump jump\n\
             Host direct through jump\n  IdentityFile {home}/key\n  IdentitiesOnly yes\n  \
             StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n\
             Host hmi-2\n  ProxyJump tess@{gate}\n\
             Host *\n  CertificateFile {home}/key-cert.pub\n\
             Include {home}/ssh_config\n"
        );
        std::fs::write(&config, text).expect("a file");
        Self { plant, config, _jump: jump }
    }

    fn ssh(&self, way: Way, options: &[&str], command: &str) -> Command {
        let mut ssh = self.plant.tess().tool("ssh");
        ssh.arg("-F").arg(&self.config).args(options).arg(way.host()).arg(command);
        ssh
    }

    /// From nothing to the first byte of a command's output, whole path.
    fn set_up(&mut self, size: &Size) {
        println!("\nset-up: `ssh … true`, {} interleaved rounds", size.set_ups);
        let rounds: Vec<Vec<f64>> = (0..size.set_ups)
            .map(|_| {
                let once = |way| {
                    let began = Instant::now();
                    run(&mut self.ssh(way, &[], "true"), b"").ok();
                    began.elapsed().as_secs_f64() * 1000.0
                };
                Way::ALL.into_iter().map(once).collect()
            })
            .collect();
        for (at, way) in Way::ALL.into_iter().enumerate() {
            let took = median(rounds.iter().map(|round| round[at]));
            let ratio = median(rounds.iter().map(|round| round[at] / round[0]));
            println!("  {:<24} {took:>7.1} ms   {ratio:.2} x direct", way.name());
        }
    }

    /// A key there and its echo back; input and output both durable before they pass.
    fn echo(&mut self, size: &Size) {
        for beside in [0, size.beside] {
            println!("\necho: {} keys on a terminal, beside {beside} sessions that type too", size.keys);
            let mut others = self.open(Way::Holdpoint, beside / 2);
            others.append(&mut self.open(Way::HoldpointJump, beside - beside / 2));
            let mut typists: Vec<Typist> =
                Way::ALL.map(|way| Typist::start(self.ssh(way, &["-tt"], Typist::COMMAND))).into();
            typists.iter_mut().for_each(Typist::ready);
            let mut waits = vec![Vec::new(); typists.len()];
            for number in 0..size.keys {
                for (typist, waits) in typists.iter_mut().zip(&mut waits) {
                    if let Some(other) = (number * 7).checked_rem(beside).and_then(|at| others.get_mut(at)) {
                        other.press();
                    }
                    waits.push(typist.echo().as_secs_f64() * 1000.0);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            let disk = percentiles(&self.syncs(size.keys));
            println!("  {:<24} p50 {:>6.2} ms           p99 {:>6.2} ms", "the disk's sync alone", disk.0, disk.1);
            let direct = percentiles(&waits[0]);
            for (way, waits) in Way::ALL.iter().zip(&waits) {
                let (p50, p99) = percentiles(waits);
                println!(
                    "  {:<24} p50 {p50:>6.2} ms ({:+.2})   p99 {p99:>6.2} ms ({:+.2})",
                    way.name(),
                    p50 - direct.0,
                    p99 - direct.1
                );
            }
        }
    }

    /// What the disk takes for a frame's write and sync; a key and its echo wait for two. At an ordinary thread's
    /// priority, while nothing else is measured.
    fn syncs(&self, count: usize) -> Vec<f64> {
        let path = self.config.with_file_name("synced");
        std::fs::write(&path, vec![0; MIB]).expect("a file");
        let file = std::fs::File::options().write(true).open(&path).expect("a file");
        file.sync_all().expect("a disk");
        let once = |number: usize| {
            std::thread::sleep(Duration::from_millis(5));
            let began = Instant::now();
            file.write_all_at(&[b'f'; 97], (number * 97 % (MIB - 97)) as u64).expect("a disk");
            file.sync_data().expect("a disk");
            began.elapsed().as_secs_f64() * 1000.0
        };
        let waits = (0..count).map(once).collect();
        std::fs::remove_file(&path).expect("a file");
        waits
    }

    /// Resident memory of the program per idle recorded shell, and what is left of it afterwards.
    fn memory(&mut self, size: &Size) {
        println!("\nmemory: {} idle shells", size.shells);
        for way in [Way::Holdpoint, Way::HoldpointJump] {
            // What one round leaves behind would hide what the next one takes.
            self.plant.stop();
            self.plant.serve();
            let alone = sockets(self.plant.gate().id());
            drop(self.open(way, 20));
            self.settle(alone);
            let before = self.plant.memory();
            let shells = self.open(way, size.shells);
            let idle = self.processor();
            std::thread::sleep(Duration::from_secs(10));
            let busy = self.processor() - idle;
            let grown = self.plant.memory().saturating_sub(before);
            drop(shells);
            self.settle(alone);
            let kept = self.plant.memory().saturating_sub(before);
            println!(
                "  {:<24} {:>4} KiB a shell   {:>6} KiB kept after close   idle: {:.1} ms of CPU a second",
                way.name(),
                grown / size.shells as u64 / 1024,
                kept / 1024,
                busy * 100.0
            );
        }
    }

    fn open(&self, way: Way, count: usize) -> Vec<Typist> {
        let mut all = Vec::new();
        // A handful at a time, as the gate's limit for connections before login wants it.
        while all.len() < count {
            let some = (count - all.len()).min(10);
            let mut next: Vec<_> = (0..some).map(|_| Typist::start(self.ssh(way, &["-tt"], Typist::COMMAND))).collect();
            next.iter_mut().for_each(Typist::ready);
            all.append(&mut next);
        }
        all
    }

    /// Waits until no session is left: the program has no more sockets than `alone`, but for one or two in passing.
    fn settle(&mut self, alone: usize) {
        let gate = self.plant.gate().id();
        tests::eventually("sessions end", || sockets(gate) <= alone + 2);
        std::thread::sleep(Duration::from_secs(2));
    }

    /// Seconds of CPU that the program has used.
    fn processor(&mut self) -> f64 {
        processor_of(self.plant.gate().id())
    }

    fn bulk(&mut self, size: &Size) {
        for up in [false, true] {
            let direction = if up { "to the target" } else { "from the target" };
            println!("\nbulk: {} MiB {direction}, {} interleaved rounds", size.bulk / MIB, size.rounds);
            let rounds: Vec<Vec<(f64, f64)>> =
                (0..size.rounds).map(|_| Way::ALL.map(|way| self.copy(way, up, size.bulk)).into()).collect();
            for (at, way) in Way::ALL.into_iter().enumerate() {
                let rate = median(rounds.iter().map(|round| size.bulk as f64 / MIB as f64 / round[at].0));
                let ratio = median(rounds.iter().map(|round| round[0].0 / round[at].0));
                let jump = median(rounds.iter().map(|round| round[1].0 / round[at].0));
                let cost = median(rounds.iter().map(|round| round[at].1 * 1024.0 * MIB as f64 / size.bulk as f64));
                println!(
                    "  {:<24} {rate:>6.0} MiB/s   {ratio:.2} x direct   {jump:.2} x OpenSSH -J   gate {cost:.2} CPU s/GiB",
                    way.name()
                );
            }
        }
    }

    /// What a minute of ordinary work takes on the disk once it is sealed.
    fn shell(&mut self, size: &Size) {
        let before = self.recorded();
        let mut shell = tests::process::start_on_a_terminal(&self.ssh(Way::Holdpoint, &["-tt"], "PS1='$ ' exec sh"));
        let began = Instant::now();
        for (at, line) in Self::WORK.iter().cycle().take(size.lines).enumerate() {
            for key in line.chars().chain(['\r']) {
                shell.type_in(key.to_string());
                std::thread::sleep(Duration::from_millis(120));
            }
            let due = Duration::from_secs(5) * (at as u32 + 1);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        let (took, shown) = (began.elapsed(), shell.out_bytes());
        shell.type_in("exit\r");
        drop(shell.ends());
        let [kept, leaves] = self.recorded();
        println!(
            "\nan ordinary shell of {:.0} s, {} lines, {shown} bytes shown: {:.1} KB of blocks and keys, {:.1} KB of leaves",
            took.as_secs_f64(),
            size.lines,
            (kept - before[0]) as f64 / 1e3,
            (leaves - before[1]) as f64 / 1e3
        );
    }

    /// What somebody types who looks for a fault.
    const WORK: [&str; 6] = [
        "ls -l /etc | head -40",
        "cat /proc/meminfo",
        "df -h",
        "grep -i error /var/log/dpkg.log",
        "ps aux | tail -30",
        "echo done",
    ];

    /// Bytes of the sessions' files, and of the entries of the record log.
    fn recorded(&mut self) -> [u64; 2] {
        self.plant.stop();
        let records = self.plant.data().join("records");
        let bytes = [records.join("sessions"), records.join("tile/entries")].map(|folder| bytes_in(&folder));
        self.plant.serve();
        bytes
    }

    /// How fast an auditor's machine checks a data folder.
    fn verify(&mut self, size: &Size) {
        for source in ["/dev/urandom", "/dev/zero"] {
            run(&mut self.ssh(Way::Holdpoint, &[], &format!("head -c {} {source}", size.bulk)), b"").ok();
        }
        self.plant.stop();
        let evidence = self.plant.evidence();
        let bytes = 2.0 * size.bulk as f64 / 1e6;
        println!("\nverify: {bytes:.0} MB passed, half of it noise, half zeros");
        for (with, arguments) in [("a", &["--key", "key"][..]), ("no", &[])] {
            let began = Instant::now();
            let mut verify = evidence.holdpoint(&["verify", "data", "--trust", "trust.toml"]);
            let said = run(verify.args(arguments), b"");
            let took = began.elapsed().as_secs_f64();
            println!("  with {with} key: {:.0} MB/s ({took:.1} s, exit code {})", bytes / took, said.code());
        }
        self.plant.serve();
    }

    /// Seconds it took, and seconds of the program's CPU.
    fn copy(&mut self, way: Way, up: bool, bytes: usize) -> (f64, f64) {
        let before = self.processor();
        let began = Instant::now();
        if up {
            let mut head = Command::new("head");
            let mut zeros =
                head.args(["-c", &bytes.to_string(), "/dev/zero"]).stdout(Stdio::piped()).spawn().expect("head");
            let mut ssh = self.ssh(way, &[], "cat >/dev/null");
            assert!(ssh.stdin(zeros.stdout.take().expect("piped")).status().expect("ssh").success());
            zeros.wait().expect("head ends");
        } else {
            let mut ssh = self.ssh(way, &[], &format!("head -c {bytes} /dev/zero"));
            assert!(ssh.stdin(Stdio::null()).stdout(Stdio::null()).status().expect("ssh").success());
        }
        let took = began.elapsed().as_secs_f64();
        (took, self.processor() - before)
    }
}

/// Somebody at a terminal whose keys come back.
struct Typist {
    child: Child,
    keys: ChildStdin,
    shown: ChildStdout,
    unread: usize,
}

impl Typist {
    const COMMAND: &str = "stty raw -echo; echo ready; exec cat";

    fn start(mut ssh: Command) -> Self {
        let piped = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = piped.spawn().expect("ssh");
        let (keys, shown) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Self { child, keys, shown, unread: 0 }
    }

    fn ready(&mut self) {
        let mut said = Vec::new();
        while !said.ends_with(b"ready\n") {
            let mut byte = [0];
            self.shown.read_exact(&mut byte).expect("the session stands");
            said.push(byte[0]);
        }
    }

    fn press(&mut self) {
        self.keys.write_all(b"k").expect("the session stands");
        self.unread += 1;
    }

    fn echo(&mut self) -> Duration {
        let began = Instant::now();
        self.press();
        let mut shown = vec![0; std::mem::take(&mut self.unread)];
        self.shown.read_exact(&mut shown).expect("the session stands");
        began.elapsed()
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Seconds of CPU that a process has used.
fn processor_of(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("a line").split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    // utime and stime of proc(5), counted after the name, in hundredths.
    (ticks(11) + ticks(12)) / 100.0
}

/// Bytes of all files below a folder.
fn bytes_in(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(bytes).sum()
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().expect("an address has a port")
}

/// Open sockets of a process.
fn sockets(process: u32) -> usize {
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).expect("it runs");
    let is_socket = |file: &std::fs::DirEntry| {
        std::fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
    };
    open.flatten().filter(is_socket).count()
}

fn sorted(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let numbers = sorted(numbers);
    numbers[numbers.len() / 2]
}

fn percentiles(numbers: &[f64]) -> (f64, f64) {
    let numbers = sorted(numbers.iter().copied());
    (numbers[numbers.len() / 2], numbers[numbers.len() * 99 / 100])
}

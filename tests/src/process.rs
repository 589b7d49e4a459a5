//! Programs as a test runs them: what each says is kept, nobody waits for one without an end, and when its value is
//! dropped it is killed together with everything it started.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Nothing here may take longer: whoever waits so long hangs.
pub const HANG: Duration = Duration::from_secs(60);

/// A program that ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it wrote to standard output, or to its terminal.
    pub out: Vec<u8>,
    /// What it wrote to standard error.
    pub err: Vec<u8>,
}

impl Ended {
    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.err).into_owned()
    }

    /// Both.
    pub fn text(&self) -> String {
        format!("{}\n{}", self.out(), self.err())
    }

    /// The end of both, for somebody who looks why a test failed.
    fn shown(&self) -> String {
        format!("{}\n{}", tail(&self.out), tail(&self.err))
    }

    /// The exit code; beyond 128 the signal that ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// It did what it was asked to.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "{:?}\n{}", self.status, self.shown());
        self
    }

    /// It ended with this code, and these words were read.
    #[track_caller]
    pub fn refused(self, code: i32, words: &str) -> Self {
        assert!(
            self.code() == code && self.text().contains(words),
            "not {words:?}: {:?}\n{}",
            self.status,
            self.shown()
        );
        self
    }

    /// It did not do what it was asked to, and these words were read.
    #[track_caller]
    pub fn says_no(self, words: &str) -> Self {
        assert!(
            !self.status.success() && self.text().contains(words),
            "not {words:?}: {:?}\n{}",
            self.status,
            self.shown()
        );
        self
    }
}

/// The last bytes as text; a flood helps nobody.
pub fn tail(bytes: &[u8]) -> String {
    const SHOWN: usize = 4_000;
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(SHOWN)..]).replace('\0', "")
}

/// Runs a program to its end, with this input.
#[track_caller]
pub fn run(command: &mut Command, input: &[u8]) -> Ended {
    let mut running = start(command);
    running.type_in(input);
    running.ends()
}

/// What somebody has said so far.
#[derive(Default)]
struct Heard {
    said: Mutex<Said>,
    more: Condvar,
}

#[derive(Default)]
struct Said {
    bytes: Vec<u8>,
    is_over: bool,
}

impl Heard {
    fn listen(mut from: impl Read + Send + 'static) -> Arc<Self> {
        let heard = Arc::new(Self::default());
        let here = Arc::clone(&heard);
        thread::spawn(move || {
            let mut piece = vec![0; 64 << 10];
            loop {
                // A terminal whose program is gone gives EIO.
                let read = from.read(&mut piece).unwrap_or(0);
                let mut said = here.said.lock().expect("nobody panics with it");
                said.bytes.extend_from_slice(&piece[..read]);
                said.is_over = read == 0;
                here.more.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        heard
    }

    fn nothing() -> Arc<Self> {
        let heard = Arc::new(Self::default());
        heard.said.lock().expect("nobody panics with it").is_over = true;
        heard
    }

    fn so_far(&self) -> Vec<u8> {
        self.said.lock().expect("nobody panics with it").bytes.clone()
    }

    /// All of it, once there will be no more.
    fn whole(&self, until: Instant) -> Vec<u8> {
        let left = until.saturating_duration_since(Instant::now());
        let said = self.said.lock().expect("nobody panics with it");
        let (said, _) = self.more.wait_timeout_while(said, left, |said| !said.is_over).expect("nobody panics with it");
        said.bytes.clone()
    }
}

/// A program that runs.
pub struct Running {
    child: Child,
    input: Option<Box<dyn Write + Send>>,
    out: Arc<Heard>,
    err: Arc<Heard>,
    screen: Option<rustix::fd::OwnedFd>,
}

/// Starts a program with all three streams piped.
#[track_caller]
pub fn start(command: &mut Command) -> Running {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = piped.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let out = Heard::listen(child.stdout.take().expect("piped"));
    let err = Heard::listen(child.stderr.take().expect("piped"));
    let input = child.stdin.take().map(|input| Box::new(input) as Box<dyn Write + Send>);
    Running { child, input, out, err, screen: None }
}

/// Starts a program on a terminal of its own, of 80 columns and 24 rows. Both of its outputs are one.
#[track_caller]
pub fn start_on_a_terminal(command: &Command) -> Running {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&screen).and_then(|()| unlockpt(&screen)).expect("a terminal");
    let name = ptsname(&screen, Vec::new()).expect("a terminal has a name").into_string().expect("in ASCII");
    tcsetwinsize(&screen, size(80, 24)).expect("a terminal has a size");
    let open = || fs::OpenOptions::new().read(true).write(true).open(&name).expect("a terminal");
    let mut on_terminal = Command::new("setsid");
    on_terminal.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => on_terminal.env(key, value),
            None => on_terminal.env_remove(key),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        on_terminal.current_dir(folder);
    }
    let child = on_terminal.stdin(open()).stdout(open()).stderr(open()).spawn().expect("setsid, of util-linux");
    let input = fs::File::from(screen.try_clone().expect("a descriptor"));
    let output = fs::File::from(screen.try_clone().expect("a descriptor"));
    let (out, err) = (Heard::listen(output), Heard::nothing());
    Running { child, input: Some(Box::new(input)), out, err, screen: Some(screen) }
}

const fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Running {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives it input, and goes on.
    pub fn type_in(&mut self, input: impl AsRef<[u8]>) {
        let to = self.input.as_mut().expect("its input is open");
        // Whoever has ended takes none; what became of it is seen at its end.
        if to.write_all(input.as_ref()).and_then(|()| to.flush()).is_err() {
            self.input = None;
        }
    }

    /// Tells it that there is no more input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Its input, to be written to from elsewhere.
    pub fn take_input(&mut self) -> Box<dyn Write + Send> {
        self.input.take().expect("its input is open")
    }

    /// Its terminal has another size from now on.
    pub fn resize(&self, columns: u16, rows: u16) {
        tcsetwinsize(self.screen.as_ref().expect("it has a terminal"), size(columns, rows)).expect("a terminal");
    }

    /// What it has said so far, on both; where one ends within a line, the other begins a new one.
    pub fn said(&self) -> String {
        let [mut out, err] =
            [self.out.so_far(), self.err.so_far()].map(|said| String::from_utf8_lossy(&said).into_owned());
        if !out.is_empty() && !out.ends_with('\n') && !err.is_empty() {
            out.push('\n');
        }
        out + &err
    }

    /// How much it has written to standard output so far.
    pub fn out_bytes(&self) -> usize {
        self.out.said.lock().expect("nobody panics with it").bytes.len()
    }

    /// Waits until it has said this; gives all it said.
    #[track_caller]
    pub fn until(&mut self, words: &str) -> String {
        let deadline = Instant::now() + HANG;
        loop {
            let is_over = self.has_ended();
            if is_over {
                // Its last words may still be on their way; something it started may hold its outputs open.
                let soon = Instant::now() + Duration::from_secs(2);
                for heard in [&self.out, &self.err] {
                    drop(heard.whole(soon));
                }
            }
            let said = self.said();
            if said.contains(words) {
                return said;
            }
            assert!(!is_over, "it ended before it said {words:?}:\n{}", tail(said.as_bytes()));
            assert!(Instant::now() < deadline, "it never said {words:?}:\n{}", tail(said.as_bytes()));
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // It may have ended meanwhile.
        kill_process(pid(self.child.id()), signal).ok();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Closes its input and waits for its end.
    #[track_caller]
    pub fn ends(self) -> Ended {
        self.ends_within(HANG)
    }

    /// The same, within another time.
    #[track_caller]
    pub fn ends_within(mut self, span: Duration) -> Ended {
        if self.screen.is_none() {
            self.input = None;
        }
        let deadline = Instant::now() + span;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end; it said:\n{}", tail(self.said().as_bytes()));
            thread::sleep(Duration::from_millis(5));
        };
        // Something it started may hold its outputs open.
        let soon = Instant::now() + Duration::from_secs(2);
        Ended { status, out: self.out.whole(soon), err: self.err.whole(soon) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        kill_all(&mut self.child);
        if thread::panicking() {
            println!("a program that ran then said:\n{}", tail(self.said().as_bytes()));
        }
    }
}

/// Kills a child and whatever it started, and waits for the child.
pub fn kill_all(child: &mut Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    for process in descendants(child.id()).into_iter().chain([child.id()]) {
        for signal in [Signal::CONT, Signal::KILL] {
            kill_process(pid(process), signal).ok();
        }
    }
    child.wait().ok();
}

/// Everything that this process started and that still runs, youngest last.
pub fn descendants(parent: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let listed: Vec<String> = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok()).collect();
    let children = listed.iter().flat_map(|line| line.split_whitespace()).filter_map(|id| id.parse().ok());
    children.flat_map(|child: u32| [child].into_iter().chain(descendants(child))).collect()
}

/// The process that holds a gate's keys, which the gate started.
pub fn vault_of(gate: u32) -> Option<u32> {
    descendants(gate).into_iter().find(|process| is_vault(*process))
}

/// What a gate started beside it: checks of files, commands that tell people, and what those started.
pub fn started_by(gate: u32) -> Vec<u32> {
    descendants(gate).into_iter().filter(|process| !is_vault(*process)).collect()
}

fn is_vault(process: u32) -> bool {
    fs::read(format!("/proc/{process}/cmdline"))
        .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == b"--child"))
}

/// A process's identifier as the system takes it.
pub fn pid(process: u32) -> Pid {
    Pid::from_raw(process.try_into().expect("a process")).expect("not 0")
}

/// Waits for something that must come about.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

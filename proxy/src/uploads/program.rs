//! One run of the program that looks at a file: with nothing of the gate's but the file, for so long at most, and with what it
//! started: all that is in its process group, and all that has the mark of the run in its environment, which a program that
//! goes into a session of its own takes with it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::num::NonZeroI32;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use policies::plant::FileCheck;
use recordings::notes::CheckOutcome;
use recordings::words::Words;
use rustix::io::retry_on_intr;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, pidfd_send_signal, waitid,
};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;

use super::{CheckVerdict, aside};

/// Of what a program says, so much is looked at.
const OUTPUT_BYTES_MAX: usize = 4 << 10;
/// And so much is kept.
const SAID_BYTES_MAX: usize = 300;

/// Runs it over the file at `path`. Dropped, it is killed with all that it started.
pub(super) async fn run(check: &FileCheck, path: &Path) -> CheckVerdict {
    match tokio::time::timeout(check.max.duration(), attend(check, path)).await {
        Ok(Ok((status, said))) => verdict(status, &said, path),
        Ok(Err(error)) => not_run(&format!("it could not be run: {error}")),
        Err(_) => not_run(&format!("it did not end within {}", check.max)),
    }
}

async fn attend(check: &FileCheck, path: &Path) -> io::Result<(ExitStatus, [Vec<u8>; 2])> {
    let mark = Mark::new();
    let mut group = Group { child: start(check, path, &mark)?, mark };
    let (mut stdout, mut stderr) = (group.child.stdout.take(), group.child.stderr.take());
    let leader = group.leader().ok_or(io::ErrorKind::NotFound)?;
    // With the program, whatever it left behind is ended, which may hold its output open. It is waited for only then, so that
    // until then its number is nobody else's and may be signalled.
    let ended = async {
        aside(move || ended(leader)).await?;
        group.kill();
        let mark = group.mark.clone();
        aside(move || {
            mark.kill_bearers();
            Ok(())
        })
        .await
    };
    let ((), said, complained) = tokio::try_join!(ended, beginning(stdout.as_mut()), beginning(stderr.as_mut()))?;
    Ok((group.child.wait().await?, [said, complained]))
}

fn start(check: &FileCheck, path: &Path, mark: &Mark) -> io::Result<Child> {
    let file = path.to_str().ok_or_else(|| io::Error::other("the data folder's name is not UTF-8"))?;
    let mut words = check.command.iter().map(|word| word.replace(FileCheck::FILE, file));
    let program = words.next().ok_or(io::ErrorKind::NotFound)?;
    let child = Command::new(program)
        .args(words)
        .env_clear()
        .env(Mark::NAME, &mark.0)
        .current_dir("/")
        .stdin(File::open(path)?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    offer_first(&child);
    Ok(child)
}

/// Where memory runs out, the kernel ends the check and what it starts, not the gate (proc(5), `oom_score_adj`).
fn offer_first(child: &Child) {
    let Some(process) = child.id() else { return };
    if let Err(error) = fs::write(format!("/proc/{process}/oom_score_adj"), "500") {
        tracing::debug!(%error, "a file check is not the first to go when memory runs out");
    }
}

/// A program that runs, and what it started; killed when dropped before it was waited for.
struct Group {
    child: Child,
    mark: Mark,
}

impl Group {
    /// None once it was waited for.
    fn leader(&self) -> Option<Pid> {
        self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
    }

    fn kill(&self) {
        if let Some(Err(error)) = self.leader().map(|leader| kill_process_group(leader, Signal::KILL)) {
            tracing::debug!(%error, "a file check was gone before it was killed");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.leader().is_none() {
            return;
        }
        self.kill();
        let bearers = Bearers(self.mark.clone());
        // Without a runtime, and where that ends before it comes to it, they are killed here, as they are dropped.
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn_blocking(move || drop(bearers)));
        }
    }
}

/// Whoever has the mark; killed when dropped, which takes some time.
struct Bearers(Mark);

impl Drop for Bearers {
    fn drop(&mut self) {
        self.0.kill_bearers();
    }
}

/// What all that one run starts has in its environment, wherever it goes; what was killed has none any more.
#[derive(Clone)]
struct Mark(String);

impl Mark {
    const NAME: &'static str = "HOLDPOINT_FILE_CHECK";

    fn new() -> Self {
        Self(approver::mint::nonce())
    }

    /// Kills whoever has it, and whom they started meanwhile: what is killed starts nothing more. Waits between looks.
    fn kill_bearers(&self) {
        /// Whoever starts others faster than they are found is not waited for.
        const LOOKS_MAX: usize = 16;
        /// Without a find, in a row: one look misses who just becomes another program, or was started behind it.
        const EMPTY_LOOKS: usize = 2;
        const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
        let (mut killed, mut empty) = (BTreeSet::new(), 0);
        for _ in 0..LOOKS_MAX {
            if self.kill_found(&mut killed) {
                empty = 0;
                continue;
            }
            empty += 1;
            if empty == EMPTY_LOOKS {
                return;
            }
            thread::sleep(BETWEEN_LOOKS);
        }
        tracing::warn!("what a file check started may run on: it starts more than can be found");
    }

    /// Kills all that one look finds; whether any of them was not killed before.
    fn kill_found(&self, killed: &mut BTreeSet<NonZeroI32>) -> bool {
        let listed = fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Pid::from_raw);
        let new = processes.filter(|process| self.kill(*process) && killed.insert(process.as_raw_nonzero()));
        new.count() > 0
    }

    /// Kills a process that has it; whether it had. Its number may be another's by then, so it is held while one looks.
    fn kill(&self, process: Pid) -> bool {
        if !self.is_on(process) {
            return false;
        }
        let killed = pidfd_open(process, PidfdFlags::empty())
            .and_then(|held| if self.is_on(process) { pidfd_send_signal(held, Signal::KILL) } else { Ok(()) });
        if let Err(error) = killed {
            tracing::debug!(%error, "what a file check started was gone before it was killed");
        }
        true
    }

    /// As far as the gate may see.
    fn is_on(&self, process: Pid) -> bool {
        let mark = format!("{}={}", Self::NAME, self.0);
        let environment = fs::read(format!("/proc/{}/environ", process.as_raw_nonzero())).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    }
}

/// Waits until it has ended, and leaves it as it is.
fn ended(leader: Pid) -> io::Result<()> {
    retry_on_intr(|| waitid(WaitId::Pid(leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT))?;
    Ok(())
}

/// The first bytes; all others are read too, so that whoever writes them is not held up.
async fn beginning(pipe: Option<&mut (impl AsyncRead + Unpin)>) -> io::Result<Vec<u8>> {
    let (mut kept, mut piece) = (Vec::new(), [0; 1024]);
    let Some(pipe) = pipe else { return Ok(kept) };
    loop {
        match pipe.read(&mut piece).await? {
            0 => return Ok(kept),
            read => kept.extend_from_slice(&piece[..read.min(OUTPUT_BYTES_MAX - kept.len())]),
        }
    }
}

fn verdict(status: ExitStatus, said: &[Vec<u8>; 2], path: &Path) -> CheckVerdict {
    let line = said.iter().find_map(|output| first_line(output, path));
    let outcome = match (status.code(), status.signal()) {
        (Some(0), _) => CheckOutcome::Passed,
        (None, Some(signal)) => return not_run(&format!("it was ended by signal {signal}")),
        _ => CheckOutcome::Refused,
    };
    let said =
        line.unwrap_or_else(|| Words::new(format!("nothing; it ended with {}", status.code().unwrap_or_default())));
    CheckVerdict { outcome, said }
}

/// The first line with something in it; where the file lay on the gate is nobody's business.
fn first_line(output: &[u8], path: &Path) -> Option<Words> {
    let text = String::from_utf8_lossy(output).replace(&*path.to_string_lossy(), "file");
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(Words::from(&line[..line.floor_char_boundary(SAID_BYTES_MAX)]))
}

pub(super) fn not_run(why: &str) -> CheckVerdict {
    tracing::error!(why, "a file check had no verdict, so its upload was refused");
    CheckVerdict { outcome: CheckOutcome::NotRun, said: Words::from(why) }
}

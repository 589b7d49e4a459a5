//! The demo as it is typed: the compiled program plays its story, shows its screen, ends when told to, and leaves
//! nothing behind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longer than the demo may take.
const HANG: Duration = Duration::from_secs(60);

/// A machine's folders, new and empty.
struct Machine {
    temporary: TempDir,
    home: TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { temporary: tempfile::tempdir().unwrap(), home: tempfile::tempdir().unwrap() }
    }

    fn demo(&self, arguments: &[&str]) -> Command {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_holdpoint"));
        demo.arg("demo").args(arguments).env("TMPDIR", self.temporary.path()).env("HOME", self.home.path());
        demo.env_remove("XDG_CONFIG_HOME").env_remove("HOLDPOINT_PROFILE");
        demo.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        demo
    }

    fn left_behind(&self) -> Vec<PathBuf> {
        let both = [self.temporary.path(), self.home.path()];
        both.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path()).collect()
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn tell(demo: &Child, signal: Signal) {
    kill_process(Pid::from_child(demo), signal).unwrap();
}

/// Reads the screen, up to its last line.
fn screen(out: &mut BufReader<ChildStdout>) -> Vec<String> {
    let mut lines = Vec::new();
    while !lines.last().is_some_and(|line: &String| line.starts_with("Ctrl-C here ends it")) {
        let mut line = String::new();
        assert!(out.read_line(&mut line).unwrap() > 0, "the demo ended after {lines:?}");
        lines.push(line.trim_end().to_owned());
    }
    lines
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < HANG, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_story_goes_as_it_is_told_and_leaves_nothing_behind() {
    let machine = Machine::new();
    let begun = Instant::now();
    let output = machine.demo(&["--auto"]).output().unwrap();
    let told = words(&output);
    assert!(output.status.success(), "{told}");
    assert!(begun.elapsed() < HANG, "{told}");
    for step in ["REFUSED", "ASKED", "APPROVED", "WORKED", "REFUSED A FILE", "EXTENDED", "CUT", "REPLAYED", "VERIFIED"]
    {
        assert!(told.contains(&format!(". {step}: ")), "{step} is missing in:\n{told}");
    }
    assert!(told.contains(". FOUND: ") && told.contains("Every step was as told"), "{told}");
    assert!(
        told.bytes().all(|byte| byte == b'\n' || !byte.is_ascii_control()),
        "nothing acts on the terminal: {told:?}"
    );
    assert_eq!(machine.left_behind(), Vec::<PathBuf>::new());
}

#[test]
fn a_step_that_does_not_end_as_told_makes_it_fail_and_is_named() {
    let machine = Machine::new();
    let demo = machine.temporary.path().join("demo");
    let running = machine.demo(&["--auto", "--dir", demo.to_str().unwrap()]).spawn().unwrap();
    eventually("the demo's folder is furnished", || demo.join("ssh_config").exists());
    // The auditor lost the key and has that of another plant.
    let other = certs::auditor::NewAuditorKey::generate(jiff::Timestamp::now());
    fs::write(demo.join("auditor/auditor-1.key"), other.file.as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    let told = words(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("step 8, replayed: expected to see what tess did"), "{told}");
    assert!(demo.join("gate/data").exists(), "--dir keeps everything");
}

#[test]
fn a_story_that_is_told_to_stop_leaves_nothing_behind() {
    let machine = Machine::new();
    let mut demo = machine.demo(&["--auto"]).spawn().unwrap();
    let mut out = BufReader::new(demo.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(". APPROVED: ") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "the story ended before");
    }
    tell(&demo, Signal::TERM);
    assert_eq!(demo.wait().unwrap().code(), Some(3));
    assert_eq!(machine.left_behind(), Vec::<PathBuf>::new());
}

#[test]
fn the_screen_fits_a_terminal_and_both_signals_remove_everything() {
    for signal in [Signal::INT, Signal::TERM] {
        let machine = Machine::new();
        let mut demo = machine.demo(&[]).spawn().unwrap();
        let mut out = BufReader::new(demo.stdout.take().unwrap());
        let lines = screen(&mut out);
        assert!(lines.len() <= 23 && lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        let folder = machine.left_behind();
        let [folder] = folder.as_slice() else { panic!("{folder:?}") };
        assert!(lines.iter().any(|line| line.ends_with(&format!("cd {}", folder.display()))), "{lines:#?}");
        tell(&demo, signal);
        assert!(demo.wait().unwrap().success());
        assert_eq!(machine.left_behind(), Vec::<PathBuf>::new(), "{signal:?}");
    }
}

#[test]
fn a_named_folder_stays_and_its_phones_give_each_code_once() {
    let machine = Machine::new();
    let folder = machine.home.path().join("demo");
    let at = folder.to_str().unwrap();
    let mut demo = machine.demo(&["--dir", at]).spawn().unwrap();
    screen(&mut BufReader::new(demo.stdout.take().unwrap()));
    let code = || words(&machine.demo(&["code", "tess", "--dir", at]).output().unwrap());
    let (one, two) = (code(), code());
    let is_code = |text: &str| text.trim_end().len() == 6 && text.trim_end().bytes().all(|byte| byte.is_ascii_digit());
    assert!(is_code(&one) && is_code(&two) && one != two, "{one:?} {two:?}");
    tell(&demo, Signal::TERM);
    assert!(demo.wait().unwrap().success());
    for kept in ["gate/holdpoint.toml", "gate/data", "people/lee/profile.toml", "auditor/trust.toml", "ssh_config"] {
        assert!(folder.join(kept).exists(), "{kept}");
    }
    assert!(!folder.join("gate/auditors/auditor-1.key").exists(), "the auditors' keys left the gate");
    let again = machine.demo(&["--dir", at]).output().unwrap();
    assert_eq!(again.status.code(), Some(2), "{}", words(&again));
    assert_refused(&machine, "nobody", at);
    assert_refused(&machine, "../gate", at);
    assert_refused(&machine, "tess", Path::new(at).join("gate").to_str().unwrap());
}

fn assert_refused(machine: &Machine, name: &str, folder: &str) {
    let output = machine.demo(&["code", name, "--dir", folder]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
    assert!(words(&output).contains("there is no demo with somebody called"), "{}", words(&output));
}

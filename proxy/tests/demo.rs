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

    fn start(&self, arguments: &[&str]) -> Running {
        Running(self.demo(arguments).spawn().unwrap())
    }

    fn left_behind(&self) -> Vec<PathBuf> {
        let both = [self.temporary.path(), self.home.path()];
        both.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path()).collect()
    }
}

/// A demo that does not outlive its test.
struct Running(Child);

impl Running {
    fn told(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn code(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }

    fn out(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.0.stdout.take().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a test that passed, nothing is left to be killed.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
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
    for step in [
        "REFUSED",
        "ASKED",
        "APPROVED",
        "WORKED",
        "REFUSED A FILE",
        "LOOKED",
        "TOUCHED",
        "EXTENDED",
        "CUT",
        "REPLAYED",
        "VERIFIED",
    ] {
        assert!(told.contains(&format!(". {step}: ")), "{step} is missing in:\n{told}");
    }
    assert!(told.contains(". FOUND: ") && told.contains("Every step was as told"), "{told}");
    assert!(
        told.bytes().all(|byte| byte == b'\n' || !byte.is_ascii_control()),
        "nothing acts on the terminal: {told:?}"
    );
    assert_eq!(machine.left_behind(), Vec::<PathBuf>::new());
}

/// What is written in place of a file's text.
type Lie<'a> = &'a dyn Fn(String) -> String;

#[test]
fn a_step_that_does_not_end_as_told_makes_it_fail_and_is_named() {
    // The auditor lost the key and has that of another plant; trusts somebody else; the operator signs with another key.
    let other = certs::auditor::NewAuditorKey::generate(jiff::Timestamp::now());
    let key = |_: String| String::from_utf8(other.file.as_bytes().to_vec()).unwrap();
    let trust = |text: String| text.replace("SHA256:", "SHA256:A");
    let stranger = |_: String| certs::ssh_ca::fresh_key("lee").to_openssh(ssh_key::LineEnding::LF).unwrap().to_string();
    let lies: [(&str, Lie<'_>, &str); 3] = [
        ("people/lee/id_ed25519", &stranger, "step 3, approved: expected `holdpoint "),
        ("auditor/auditor-1.key", &key, "step 10, replayed: expected to see what tess did"),
        ("auditor/trust.toml", &trust, "step 11, verified: expected all of it to be whole"),
    ];
    for (file, lie, failing) in lies {
        let machine = Machine::new();
        let demo = machine.temporary.path().join("demo");
        let running = machine.demo(&["--auto", "--dir", demo.to_str().unwrap()]).spawn().unwrap();
        eventually("the demo's folder is furnished", || demo.join("ssh_config").exists());
        let path = demo.join(file);
        fs::write(&path, lie(fs::read_to_string(&path).unwrap())).unwrap();
        let output = running.wait_with_output().unwrap();
        let told = words(&output);
        assert_eq!(output.status.code(), Some(1), "{file}: {told}");
        assert!(told.contains(failing), "{file}: {told}");
        assert!(demo.join("gate/data").exists(), "--dir keeps everything");
    }
}

#[test]
fn a_story_that_is_told_to_stop_leaves_nothing_behind() {
    let machine = Machine::new();
    let mut demo = machine.start(&["--auto"]);
    let mut out = demo.out();
    let mut line = String::new();
    while !line.contains(". APPROVED: ") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "the story ended before");
    }
    demo.told(Signal::TERM);
    assert_eq!(demo.code(), Some(3));
    assert_eq!(machine.left_behind(), Vec::<PathBuf>::new());
}

#[test]
fn the_screen_fits_a_terminal_and_both_signals_remove_everything() {
    for signal in [Signal::INT, Signal::TERM] {
        let machine = Machine::new();
        let mut demo = machine.start(&[]);
        let mut out = demo.out();
        let lines = screen(&mut out);
        assert!(lines.len() <= 23 && lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        let folder = machine.left_behind();
        let [folder] = folder.as_slice() else { panic!("{folder:?}") };
        assert!(lines.iter().any(|line| line.ends_with(&format!("cd {}", folder.display()))), "{lines:#?}");
        demo.told(signal);
        assert_eq!(demo.code(), Some(0));
        assert_eq!(machine.left_behind(), Vec::<PathBuf>::new(), "{signal:?}");
    }
}

/// Answers each prompt of `ssh` by its words.
const ASKPASS: &str = r#"#!/bin/sh
case "$1" in
  *"Code of"*) exec ./holdpoint demo code tess ;;
  *"Reason"*) echo "the glue is cold" ;;
  *"How long"*) echo 3m ;;
  *) echo "" ;;
esac
"#;

/// Types a line of the screen into a shell in the demo's folder.
fn types(machine: &Machine, folder: &Path, line: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(folder).env("HOME", machine.home.path()).env("LC_ALL", "C");
    shell.env("HOLDPOINT_PROFILE", "people/lee/profile.toml");
    shell.env("SSH_ASKPASS", folder.join("askpass")).env("SSH_ASKPASS_REQUIRE", "force");
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

/// The first identifier of a kind.
fn id(text: &str, prefix: &str) -> Option<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.into_iter().find(|word| word.starts_with(prefix) && word.len() == 28).map(str::to_owned)
}

#[test]
fn what_stands_on_the_screen_works_with_stock_ssh() {
    let machine = Machine::new();
    let mut demo = machine.start(&[]);
    let shown = screen(&mut demo.out()).join("\n");
    let folder = machine.left_behind().remove(0);
    fs::write(folder.join("askpass"), ASKPASS).unwrap();
    fs::set_permissions(folder.join("askpass"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let lee = |line: &str, more: &str| {
        let stands = line.split(' ').map(|word| if id(word, "r_").is_some() { "REQUEST" } else { word });
        let stands = stands.map(|word| if id(word, "s_").is_some() { "SESSION" } else { word }).collect::<Vec<_>>();
        assert!(shown.contains(&stands.join(" ")), "{stands:?} is not on the screen");
        let output = types(&machine, &folder, &format!("{line} {more}")).output().unwrap();
        assert!(output.status.success(), "{line}: {}", words(&output));
        words(&output)
    };
    assert!(shown.contains("ssh -F ssh_config hmi-2 "), "{shown}");
    let mut tess = types(&machine, &folder, "ssh -F ssh_config hmi-2").stdin(Stdio::piped()).spawn().unwrap();
    types(&machine, &folder, "./holdpoint demo code lee | ./holdpoint login").output().unwrap();
    let mut request = None;
    eventually("a request", || {
        request = id(&lee("./holdpoint requests", ""), "r_");
        request.is_some()
    });
    lee(&format!("./holdpoint approve {}", request.unwrap()), "--yes");
    let mut session = None;
    eventually("a session", || {
        session = id(&lee("./holdpoint sessions", ""), "s_");
        session.is_some()
    });
    let session = session.unwrap();
    let mut panel = BufReader::new(tess.stdout.take().unwrap());
    let mut greeting = String::new();
    panel.read_line(&mut greeting).unwrap();
    assert!(greeting.contains("operator panel hmi-2"), "{greeting}");
    lee(&format!("./holdpoint cut {session}"), "");
    let left = words(&tess.wait_with_output().unwrap());
    assert!(left.contains("Access was cut by an operator"), "{left}");
    assert!(lee("./holdpoint recordings --data gate/data", "").contains(&session));
    let play = format!("./holdpoint play {session} --data gate/data --key auditor/auditor-1.key");
    assert!(lee(&play, "--speed 100").contains("operator panel hmi-2"));
    demo.told(Signal::TERM);
    assert_eq!(demo.code(), Some(0));
    assert_eq!(machine.left_behind(), Vec::<PathBuf>::new());
}

#[test]
fn a_named_folder_stays_and_its_phones_give_each_code_once() {
    let machine = Machine::new();
    let folder = machine.home.path().join("demo");
    let at = folder.to_str().unwrap();
    let mut demo = machine.start(&["--dir", at]);
    screen(&mut demo.out());
    let code = || words(&machine.demo(&["code", "tess", "--dir", at]).output().unwrap());
    let (one, two) = (code(), code());
    let is_code = |text: &str| text.trim_end().len() == 6 && text.trim_end().bytes().all(|byte| byte.is_ascii_digit());
    assert!(is_code(&one) && is_code(&two) && one != two, "{one:?} {two:?}");
    demo.told(Signal::TERM);
    assert_eq!(demo.code(), Some(0));
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

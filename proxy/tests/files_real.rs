//! OpenSSH's `sftp`, `scp` in both protocols and `sftp-server`, and paramiko, with inspection in between: they work as
//! without it, and the ledger says what they did. `examples/files_between.rs` stands where `ssh` would.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use policies::digest::Digest;
use recordings::ledger::{FileEntry, Operation, Outcome, Verdict};
use tempfile::TempDir;

const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";

/// A folder that is at once the technician's and the target's, and what was listed.
struct Plant {
    folder: TempDir,
}

impl Plant {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of bytes that do not repeat.
    fn file(&self, name: &str, bytes: usize) -> Vec<u8> {
        let content: Vec<u8> = (0..bytes as u64)
            .scan(bytes as u64, |state, _| {
                *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                Some((*state >> 56) as u8)
            })
            .collect();
        fs::write(self.path(name), &content).unwrap();
        content
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn run(&self, program: &str, granted: &str, arguments: &[&str]) -> Output {
        Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .env("FILES_GRANTED", granted)
            .env("FILES_LEDGER", self.path("ledger"))
            .env("SFTP_SERVER", SFTP_SERVER)
            .output()
            .unwrap()
    }

    fn sftp(&self, granted: &str, batch: &str) -> Output {
        fs::write(self.path("batch"), batch).unwrap();
        self.run("sftp", granted, &["-S", &between(), "-b", "batch", "target"])
    }

    fn scp(&self, granted: &str, arguments: &[&str]) -> Output {
        self.run("scp", granted, &[&["-S", &between()], arguments].concat())
    }

    /// What was listed since the last time.
    fn listed(&self) -> Vec<FileEntry> {
        let ledger = fs::read(self.path("ledger")).unwrap_or_default();
        fs::write(self.path("ledger"), b"").unwrap();
        ledger
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| FileEntry::decode(line.trim_ascii()).unwrap())
            .collect()
    }
}

fn between() -> String {
    let tests = std::env::current_exe().unwrap();
    let between = tests.ancestors().nth(2).unwrap().join("examples/files_between");
    assert!(between.exists(), "first: cargo build -p proxy --example files_between");
    between.to_str().unwrap().to_owned()
}

/// Whether there is anything to test with.
fn is_there(program: &str) -> bool {
    let there = Path::new(SFTP_SERVER).exists() && Command::new(program).arg("-V").output().is_ok();
    if !there {
        eprintln!("SKIPPED: {program} or {SFTP_SERVER} is not installed");
    }
    there
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// What of an entry matters most, to compare.
fn short(entry: &FileEntry) -> (Operation, String, Verdict, Outcome) {
    let name = entry.path.to_string();
    let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    (entry.operation, last, entry.verdict, entry.outcome)
}

fn done(operation: Operation, name: &str) -> (Operation, String, Verdict, Outcome) {
    (operation, name.to_owned(), Verdict::Allowed, Outcome::Done)
}

fn refused(operation: Operation, name: &str) -> (Operation, String, Verdict, Outcome) {
    (operation, name.to_owned(), Verdict::Refused, Outcome::NotBegun)
}

fn whole(content: &[u8]) -> Option<Digest> {
    Some(Digest::of_bytes(content))
}

#[test]
fn sftp_works_and_every_file_is_listed() {
    if !is_there("sftp") {
        return;
    }
    let plant = Plant::new();
    let content = plant.file("here", 5_000_001);
    plant.file("empty", 0);
    let output = plant.sftp(
        "file-get,file-put",
        "put here there\nget there back\nput empty there0\nget there0 back0\nmkdir d\nrename there d/moved\n\
         ln -s moved d/link\nln there0 hard\nchmod 600 d/moved\ndf d\nls -l d\nrm d/link\nrm hard\nput here d/x\n\
         rm d/x\nmkdir e\nrmdir e\n",
    );
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!((plant.read("back"), plant.read("d/moved")), (content.clone(), content.clone()));
    assert_eq!(fs::metadata(plant.path("d/moved")).unwrap().permissions().mode() & 0o777, 0o600);
    let listed = plant.listed();
    let wanted = [
        done(Operation::Put, "there"),
        done(Operation::Get, "there"),
        done(Operation::Put, "there0"),
        done(Operation::Get, "there0"),
        done(Operation::MakeDirectory, "d"),
        done(Operation::Rename, "there"),
        done(Operation::SymbolicLink, "moved"),
        done(Operation::HardLink, "there0"),
        done(Operation::SetAttributes, "moved"),
        done(Operation::List, "d"),
        done(Operation::Remove, "link"),
        done(Operation::Remove, "hard"),
        done(Operation::Put, "x"),
        done(Operation::Remove, "x"),
        done(Operation::MakeDirectory, "e"),
        done(Operation::RemoveDirectory, "e"),
    ];
    let attributes_of_uploads =
        |entry: &&FileEntry| entry.operation != Operation::SetAttributes || short(entry).1 == "moved";
    assert_eq!(listed.iter().filter(attributes_of_uploads).map(short).collect::<Vec<_>>(), wanted);
    for entry in listed.iter().filter(|entry| matches!(entry.operation, Operation::Put | Operation::Get)) {
        let expected = if short(entry).1 == "there0" { whole(b"") } else { whole(&content) };
        assert_eq!(entry.sha256(), expected, "{entry:?}");
    }
    let renamed = listed.iter().find(|entry| entry.operation == Operation::Rename).unwrap();
    assert!(renamed.to.as_ref().unwrap().to_string().ends_with("/d/moved"));
}

#[test]
fn a_copy_taken_up_again_is_listed_as_the_part_it_was() {
    if !is_there("sftp") {
        return;
    }
    let plant = Plant::new();
    let content = plant.file("here", 3_000_000);
    for half in ["there", "back"] {
        fs::write(plant.path(half), &content[..1_234_567]).unwrap();
    }
    let output = plant.sftp("file-get,file-put", "reput here there\nreget here back\n");
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!((plant.read("there"), plant.read("back")), (content.clone(), content.clone()));
    let listed = plant.listed();
    let copies: Vec<_> = listed.iter().filter(|entry| entry.bytes > 0).collect();
    assert_eq!(copies.len(), 2, "{listed:?}");
    for entry in copies {
        assert!(matches!(entry.operation, Operation::Put | Operation::Append | Operation::Get));
        assert!(!entry.whole, "{entry:?}");
        let [extent] = entry.extents[..] else { panic!("{entry:?}") };
        assert_eq!((extent.from, extent.until), (1_234_567, 3_000_000));
        assert_eq!(extent.sha256, whole(&content[1_234_567..]));
    }
}

#[test]
fn without_file_put_sftp_changes_nothing_and_goes_on() {
    if !is_there("sftp") {
        return;
    }
    let plant = Plant::new();
    let content = plant.file("there", 100_000);
    let output = plant.sftp(
        "file-get",
        "-put there new\n-rm there\n-mkdir m\n-rename there gone\n-ln -s there link\n-chmod 600 there\nget there back\n",
    );
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(plant.read("back"), content);
    assert!(["new", "m", "gone", "link"].iter().all(|name| !plant.path(name).exists()));
    assert!(told(&output).contains("holdpoint: file-put is not granted here. Ask for it."), "{}", told(&output));
    let listed = plant.listed();
    assert_eq!(
        listed.iter().map(short).collect::<Vec<_>>(),
        [
            refused(Operation::Put, "new"),
            refused(Operation::Remove, "there"),
            refused(Operation::MakeDirectory, "m"),
            refused(Operation::Rename, "there"),
            refused(Operation::SymbolicLink, "there"),
            refused(Operation::SetAttributes, "there"),
            done(Operation::Get, "there"),
        ]
    );
    assert_eq!(listed[6].sha256(), whole(&content));
}

#[test]
fn without_file_get_sftp_reads_nothing() {
    if !is_there("sftp") {
        return;
    }
    let plant = Plant::new();
    let content = plant.file("there", 100_000);
    let output = plant.sftp("file-put", "-get there back\nput there new\nls\n");
    assert!(output.status.success(), "{}", told(&output));
    assert!(!plant.path("back").exists() || plant.read("back").is_empty());
    assert_eq!(plant.read("new"), content);
    let listed = plant.listed();
    assert_eq!(short(&listed[0]), refused(Operation::Get, "there"));
    assert_eq!((short(&listed[1]), listed[1].sha256()), (done(Operation::Put, "new"), whole(&content)));
}

#[test]
fn scp_works_in_both_protocols_and_every_file_is_listed() {
    if !is_there("sftp") {
        return;
    }
    for protocol in ["-O", "-p"] {
        let plant = Plant::new();
        let content = plant.file("here", 2_000_003);
        fs::create_dir(plant.path("tree")).unwrap();
        fs::create_dir(plant.path("tree/sub")).unwrap();
        let leaf = plant.file("tree/sub/a leaf", 70_000);
        for (granted, arguments, name, content) in [
            ("file-put", &["here", "target:there"][..], "there", &content),
            ("file-get", &["target:there", "back"], "there", &content),
            ("file-put", &["-r", "tree", "target:copy"], "a leaf", &leaf),
            ("file-get", &["-r", "target:copy", "again"], "a leaf", &leaf),
        ] {
            let output = plant.scp(granted, &[&[protocol], arguments].concat());
            assert!(output.status.success(), "{protocol} {arguments:?} {}", told(&output));
            let listed = plant.listed();
            let copied = listed.iter().find(|entry| entry.bytes > 0).unwrap();
            let names = [&copied.path, copied.to.as_ref().unwrap_or(&copied.path)].map(ToString::to_string);
            assert!(names.iter().any(|path| path.ends_with(name)), "{copied:?}");
            assert_eq!(copied.sha256(), whole(content), "{protocol} {arguments:?} {copied:?}");
        }
        assert_eq!((plant.read("back"), plant.read("again/sub/a leaf")), (content, leaf));
    }
}

#[test]
fn scp_in_the_direction_that_is_not_granted_copies_nothing() {
    if !is_there("sftp") {
        return;
    }
    for protocol in ["-O", "-p"] {
        let plant = Plant::new();
        plant.file("here", 1000);
        for (granted, wanted, arguments) in
            [("file-get", "file-put", ["here", "target:there"]), ("file-put", "file-get", ["target:here", "back"])]
        {
            let output = plant.scp(granted, &[&[protocol], &arguments[..]].concat());
            assert!(!output.status.success());
            let words = format!("{wanted} is not granted here. Ask for it.");
            assert!(told(&output).contains(&words), "{}", told(&output));
        }
        assert!(!plant.path("there").exists());
        assert!(!plant.path("back").exists() || plant.read("back").is_empty());
    }
}

/// A Python with paramiko: `HOLDPOINT_PYTHON`, or the one in the path.
fn paramiko() -> Option<String> {
    let python = std::env::var("HOLDPOINT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let there =
        Command::new(&python).args(["-c", "import paramiko"]).output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("SKIPPED: {python} has no paramiko");
    }
    there.then_some(python).filter(|_| is_there("sftp"))
}

#[test]
fn paramiko_works_and_every_file_is_listed() {
    let Some(python) = paramiko() else { return };
    let plant = Plant::new();
    // Asked for all at once, this is 1,000 READs.
    let content = plant.file("here", 32_768_000);
    fs::write(plant.path("script"), PARAMIKO).unwrap();
    let output = plant.run(&python, "file-get,file-put", &["script", &between()]);
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!((plant.read("there"), plant.read("back")), (content.clone(), content.clone()));
    let listed = plant.listed();
    let of = |operation, name: &str| {
        let matching = |entry: &&FileEntry| entry.operation == operation && short(entry).1 == name;
        listed.iter().filter(matching).cloned().collect::<Vec<_>>()
    };
    assert_eq!(of(Operation::Put, "there")[0].sha256(), whole(&content));
    // Of what it has not asked for yet when it wants to read it, paramiko asks twice.
    let got = &of(Operation::Get, "there")[0];
    assert!(got.sha256() == whole(&content) || got.bytes > content.len() as u64, "{got:?}");
    assert_eq!(of(Operation::Put, "log")[0].sha256(), whole(b"one"));
    let appended = &of(Operation::Append, "log")[0];
    assert_eq!((appended.bytes, appended.whole, appended.extents[0].from), (3, false, 3));
    assert_eq!(appended.extents[0].sha256, whole(b"two"));
    let both = of(Operation::Put, "shared");
    assert_eq!(both.iter().map(|entry| (entry.bytes, entry.whole)).collect::<Vec<_>>(), [(4, false), (4, false)]);
    assert_eq!(of(Operation::Put, "tiny")[0].sha256(), whole(&b"x".repeat(6000)));
    assert_eq!(of(Operation::Rename, "shared").len(), 1);
    assert_eq!(plant.read("renamed"), b"AAAABBBB");
}

const PARAMIKO: &str = r#"
import os, select, socket, subprocess, sys
import paramiko
ours, theirs = socket.socketpair()
child = subprocess.Popen([sys.argv[1], "-s", "sftp"], stdin=theirs, stdout=theirs)
theirs.close()
class Channel(socket.socket):
    def get_name(self): return "files"
    def recv_ready(self): return bool(select.select([self], [], [], 0)[0])
ours = Channel(fileno=ours.detach())
sftp = paramiko.SFTPClient(ours)
here = os.getcwd()
sftp.put("here", f"{here}/there")
sftp.get(f"{here}/there", "back")
with sftp.open(f"{here}/log", "w") as log: log.write("one")
with sftp.open(f"{here}/log", "a") as log: log.write("two")
one = sftp.open(f"{here}/shared", "w")
two = sftp.open(f"{here}/shared", "r+")
two.seek(4)
one.write("AAAA"); two.write("BBBB")
one.close(); two.close()
with sftp.open(f"{here}/tiny", "w") as tiny:
    tiny.set_pipelined(True)
    for n in range(6000): tiny.write("x")
sftp.posix_rename(f"{here}/shared", f"{here}/renamed")
sftp.close()
ours.close()
child.wait()
assert open("log").read() == "onetwo"
"#;

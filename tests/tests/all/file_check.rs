//! Uploads that are checked: a file reaches the machine only once a program of the plant's choice has looked at all of it,
//! and nothing of it does before, or in another way. With stock clients, and with ClamAV itself.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use policies::actions::Action;
use policies::digest::Digest;
use policies::time::Seconds;
use recordings::frame::Stream;
use recordings::ledger::{FileEntry, Operation, Outcome, Verdict};
use recordings::notes::{CheckOutcome, Checked, Note};
use recordings::read::What;
use rustix::fs::OFlags;
use rustix::process::Signal;
use tests::commands::find;
use tests::evidence::Opened;
use tests::process::{eventually, started_by};
use tests::{Ended, Options, Person, Plant, Running, holdpoint, json, log_in, python, run, start};

const HOUR: Seconds = Seconds(3_600);
/// What our checkers and our ClamAV take for harmful.
const HARMFUL: &[u8] = b"HOLDPOINT-TEST-SIGNATURE";

/// A plant where `theo`'s uploads are checked, and `tess`'s are not.
struct CheckedPlant {
    plant: Plant,
    folder: tempfile::TempDir,
}

impl CheckedPlant {
    /// By a shell script of ours, which finds the file's path in `$1`.
    fn by(script: &str) -> Self {
        Self::lasting(script, HOUR)
    }

    /// The same, under a grant that lasts so long.
    fn lasting(script: &str, lasts: Seconds) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checker");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self::under(folder, &rule(&[path.to_str().unwrap(), "{file}"], "10s"), lasts)
    }

    fn with(folder: tempfile::TempDir, command: &[&str], max: &str) -> Self {
        Self::under(folder, &rule(command, max), HOUR)
    }

    fn under(folder: tempfile::TempDir, rule: &str, lasts: Seconds) -> Self {
        let mut plant =
            Plant::enrolled(Options { technicians: technicians(), more: rule.to_owned(), ..Options::default() });
        plant.grant("theo", "hmi-2", &[Action::FileGet, Action::FilePut], lasts);
        plant.log_in("theo");
        plant.serve();
        Self { plant, folder }
    }

    fn theo(&self) -> &Person {
        self.plant.person("theo")
    }

    fn scp(&self, protocol: &str, more: &[&str], from: &str, to: &str) -> Ended {
        run(&mut self.scp_command(protocol, more, from, to), b"")
    }

    fn scp_command(&self, protocol: &str, more: &[&str], from: &str, to: &str) -> Command {
        let theo = self.theo();
        let mut scp = theo.tool("scp");
        scp.arg("-F").arg(theo.path("ssh_config")).arg(protocol).args(more).arg(from);
        scp.arg(format!("{}:{to}", theo.at("hmi-2")));
        scp
    }

    fn sftp(&self, batch: &str) -> Ended {
        run(&mut self.sftp_command(), batch.as_bytes())
    }

    fn sftp_command(&self) -> Command {
        let theo = self.theo();
        let mut sftp = theo.tool("sftp");
        sftp.arg("-F").arg(theo.path("ssh_config")).args(["-b", "-", &theo.at("hmi-2")]);
        sftp
    }

    fn there(&self, name: &str) -> String {
        self.plant.hmi.path(name).display().to_string()
    }

    /// The names in the machine's folder, but for those that a shell leaves.
    fn at_target(&self) -> Vec<String> {
        let listed = fs::read_dir(self.plant.hmi.path("")).unwrap();
        let mut names: Vec<_> = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn kept(&self) -> usize {
        fs::read_dir(self.plant.data().join("state/uploads")).unwrap().count()
    }

    /// Stops the gate; nothing is left of any upload, both verifiers find the store whole, and this is in it.
    fn evidence(self) -> Vec<Opened> {
        self.evidence_and_replay().0
    }

    /// The same, and what `play` says of it.
    fn evidence_and_replay(mut self) -> (Vec<Opened>, String) {
        eventually("nothing is kept of uploads that are over", || self.kept() == 0);
        self.plant.stop();
        let evidence = self.plant.evidence();
        evidence.both_say(0);
        let recordings = evidence.recordings();
        let play = |opened: &Opened| {
            let session = opened.recording.opened.recording.to_string();
            run(&mut evidence.holdpoint(&["play", &session, "--key", "key"]), b"").ok().out()
        };
        let played = recordings.iter().map(play).collect();
        (recordings, played)
    }
}

fn technicians() -> Vec<(&'static str, &'static str)> {
    vec![("tess", "acme"), ("theo", "stackwell")]
}

fn rule(command: &[&str], max: &str) -> String {
    format!(
        "[[rules]]\nid = \"checked\"\nvendors = [\"stackwell\"]\nroles = [\"maintenance\"]\nzones = [\"packaging\"]\n\
         actions = [\"file-get\", \"file-put\"]\nduration_max = \"4h\"\napprovals = [{{ from = \"shift-lead\", count = 1 }}]\n\
         work_order = \"optional\"\nexclusive = \"none\"\nfile_check = {command:?}\nfile_check_max = \"{max}\""
    )
}

/// Looks for the harmful bytes, anywhere.
const GREP: &str = "if grep -q HOLDPOINT-TEST-SIGNATURE \"$1\"; then echo \"$1: harmful\"; exit 1; fi; echo fine";

fn noise() -> Vec<u8> {
    (0..300_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn harmful() -> Vec<u8> {
    [&noise(), HARMFUL, b"\n"].concat()
}

fn checks(recordings: &[Opened]) -> Vec<Checked> {
    let notes = recordings.iter().flat_map(|opened| &opened.moments);
    notes
        .filter_map(|moment| match &moment.what {
            What::Note(Note::GateVerdict { checked: Some(checked), allowed, .. }) => {
                assert_eq!(*allowed, checked.outcome == CheckOutcome::Passed);
                Some((**checked).clone())
            }
            _ => None,
        })
        .collect()
}

fn files(recordings: &[Opened]) -> Vec<FileEntry> {
    let notes = recordings.iter().flat_map(|opened| &opened.moments);
    notes
        .filter_map(|moment| match &moment.what {
            What::Note(Note::FileEntry(entry)) => Some((**entry).clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn what_passes_arrives_whole_and_what_does_not_leaves_the_machine_as_it_was() {
    let gate = CheckedPlant::by(GREP);
    gate.theo().write("clean", &noise());
    gate.theo().write("harmful", &harmful());
    gate.theo().write("empty", b"");
    gate.plant.hmi.write("old", b"as it was, and longer than nothing");
    let (clean, old) = (gate.there("clean"), gate.there("old"));
    for protocol in ["-O", "-s"] {
        gate.scp(protocol, &["-p"], "clean", &clean).ok();
        assert!(gate.plant.hmi.read("clean") == noise(), "{protocol}");
        gate.scp(protocol, &[], "empty", &gate.there("empty")).ok();
        assert_eq!(gate.plant.hmi.read("empty"), b"");
        let told = gate.scp(protocol, &[], "harmful", &gate.there("new"));
        assert!(told.code() != 0 && told.text().contains("file: harmful"), "{protocol}: {}", told.text());
        let told = gate.scp(protocol, &[], "harmful", &old);
        assert!(told.code() != 0 && told.text().contains("file: harmful"), "{protocol}: {}", told.text());
        assert_eq!(gate.plant.hmi.read("old"), b"as it was, and longer than nothing");
        // What is longer than the new content does not stay behind it.
        gate.plant.hmi.write("long", &[b'x'; 2_000_000]);
        gate.scp(protocol, &[], "clean", &gate.there("long")).ok();
        assert!(gate.plant.hmi.read("long") == noise(), "{protocol}");
        assert_eq!(gate.at_target(), ["clean", "empty", "long", "old"]);
        for name in ["clean", "empty", "long"] {
            fs::remove_file(gate.plant.hmi.path(name)).unwrap();
        }
    }
    let ended = gate.sftp(&format!("put -p clean {clean}\nput harmful {old}\n"));
    assert!(ended.code() != 0 && ended.text().contains("the file check refused it: file: harmful"), "{}", ended.text());
    assert!(gate.plant.hmi.read("clean") == noise());
    let times = |path: &Path| {
        fs::metadata(path).unwrap().modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    };
    assert_eq!(times(&gate.plant.hmi.path("clean")), times(&gate.theo().path("clean")));
    assert_eq!(gate.plant.hmi.read("old"), b"as it was, and longer than nothing");
    // What is got is not checked.
    gate.sftp(&format!("get {clean} back\n")).ok();
    assert!(gate.theo().read("back") == noise());

    let recordings = gate.evidence();
    let checks = checks(&recordings);
    let of = |outcome| checks.iter().filter(move |checked| checked.outcome == outcome);
    assert_eq!((of(CheckOutcome::Passed).count(), of(CheckOutcome::Refused).count()), (7, 5));
    for checked in of(CheckOutcome::Refused) {
        assert_eq!((checked.bytes, checked.sha256), (harmful().len() as u64, Digest::of_bytes(&harmful())));
        assert_eq!(checked.said.to_string(), "file: harmful");
    }
    let entries = files(&recordings);
    let put = |entry: &&FileEntry| entry.operation == Operation::Put;
    let done: Vec<_> = entries.iter().filter(put).filter(|entry| entry.outcome == Outcome::Done).collect();
    assert_eq!(done.len(), 7);
    assert!(done.iter().all(|entry| entry.whole
        && [noise(), Vec::new()].iter().any(|content| entry.sha256() == Some(Digest::of_bytes(content)))));
    let refused: Vec<_> = entries.iter().filter(put).filter(|entry| entry.verdict == Verdict::Refused).collect();
    assert!(refused.len() == 5 && refused.iter().all(|entry| entry.outcome == Outcome::NotBegun && entry.bytes == 0));
    // Every byte that the technician sent is recorded as it came.
    assert!(
        recordings.iter().any(|opened| opened.bytes(Stream::In).windows(HARMFUL.len()).any(|bytes| bytes == HARMFUL))
    );
}

#[test]
fn folders_are_checked_file_by_file() {
    let gate = CheckedPlant::by(GREP);
    fs::create_dir_all(gate.theo().path("tree/below")).unwrap();
    for (name, content) in [("tree/a", noise()), ("tree/below/bad", harmful()), ("tree/below/z", b"z".to_vec())] {
        gate.theo().write(name, &content);
    }
    for protocol in ["-O", "-s"] {
        let told = gate.scp(protocol, &["-r", "-p"], "tree", &gate.there("copied"));
        assert!(told.code() != 0 && told.text().contains("harmful"), "{protocol}: {}", told.text());
        let there = gate.plant.hmi.path("copied");
        assert!(fs::read(there.join("a")).unwrap() == noise() && fs::read(there.join("below/z")).unwrap() == b"z");
        assert!(!there.join("below/bad").exists(), "{protocol}");
        fs::remove_dir_all(there).unwrap();
    }
    let told = gate.sftp(&format!("-put -r tree {}\n", gate.there("copied")));
    let there = gate.plant.hmi.path("copied");
    assert!(fs::read(there.join("a")).unwrap() == noise() && !there.join("below/bad").exists(), "{}", told.text());
    gate.evidence();
}

/// Signs in. paramiko misses an answer that comes before it waits for one, and is then asked again.
const SIGNED_IN: &str = r#"
import sys, subprocess, paramiko
def signed_in(port, tries=10):
    transport = paramiko.ServiceRequestingTransport(("127.0.0.1", port))
    transport.auth_timeout = 5
    transport.start_client(timeout=20)
    try:
        transport.auth_publickey("theo+hmi-2", paramiko.Ed25519Key.from_private_key_file("key"))
        if not transport.is_authenticated():
            answer = lambda title, instructions, fields: [subprocess.check_output("./code", text=True).strip() for _ in fields]
            transport.auth_interactive("theo+hmi-2", answer)
        return transport
    except paramiko.AuthenticationException:
        transport.close()
        if tries == 1: raise
        return signed_in(port, tries - 1)
"#;

/// One SFTP request after another, as no stock client makes them; prints what became of each.
const WAYS: &str = r#"
from paramiko.sftp import *
from paramiko import SFTPAttributes
port, there, harmful = int(sys.argv[1]), sys.argv[2], open(sys.argv[3], "rb").read()
transport = signed_in(port)
sftp = paramiko.SFTPClient.from_transport(transport)
def attempt(name, way):
    try:
        way()
        print(name, "passed")
    except (OSError, EOFError) as error:
        print(name, "refused:", str(error).replace("\n", " "))
def at(name): return there + "/" + name
def put(name, content):
    h = handle(name, W | C | T); write(h, 0, content); sftp._request(CMD_CLOSE, h)
def handle(name, flags): return sftp._request(CMD_OPEN, at(name), flags, SFTPAttributes())[1].get_binary()
def write(handle, offset, data): sftp._request(CMD_WRITE, handle, paramiko.sftp_client.int64(offset), data)
W, R, A, C, T, X = 2, 1, 4, 8, 16, 32
half = len(harmful) // 2
attempt("clean", lambda: put("clean", b"clean"))
attempt("whole", lambda: put("whole", harmful))
attempt("append", lambda: sftp.open(at("clean"), "ab"))
attempt("read and write", lambda: sftp.open(at("clean"), "r+b"))
attempt("write and read", lambda: sftp.open(at("clean"), "w+b"))
def part():
    h = handle("clean", W); write(h, 5, harmful); sftp._request(CMD_CLOSE, h)
attempt("past the end", part)
def first():
    h = handle("clean", W | C); write(h, 0, harmful[:9]); sftp._request(CMD_CLOSE, h)
attempt("the beginning", first)
def disordered():
    h = handle("disordered", W | C | T)
    write(h, half, harmful[half:]); write(h, 0, b"x" * half); write(h, 0, harmful[:half])
    sftp._request(CMD_CLOSE, h)
attempt("out of order", disordered)
def two():
    one, other = handle("two", W | C | T), handle("two", W | C)
    write(one, 0, harmful[:half]); write(other, half, harmful[half:])
    sftp._request(CMD_CLOSE, one); sftp._request(CMD_CLOSE, other)
attempt("two handles", two)
def cut_open():
    h = handle("cut", W | C | T)
    write(h, 0, harmful + b"more"); a = SFTPAttributes(); a.st_size = len(harmful)
    sftp._request(CMD_FSETSTAT, h, a); sftp._request(CMD_CLOSE, h)
attempt("cut while open", cut_open)
attempt("cut", lambda: sftp.truncate(at("clean"), 2))
def cut_read():
    h = handle("clean", R); a = SFTPAttributes(); a.st_size = 1
    sftp._request(CMD_FSETSTAT, h, a)
attempt("cut through a handle to read", cut_read)
def write_read():
    h = handle("clean", R); write(h, 0, harmful)
attempt("write through a handle to read", write_read)
def create_read(): handle("made", R | C)
attempt("create to read", create_read)
def copied():
    one, other = handle("clean", R), handle("copied", W | C | T)
    sftp._request(CMD_EXTENDED, "copy-data", one, paramiko.sftp_client.int64(0), paramiko.sftp_client.int64(0), other, paramiko.sftp_client.int64(5))
    sftp._request(CMD_CLOSE, other)
attempt("copy at the machine", copied)
def linked():
    sftp._request(CMD_EXTENDED, "hardlink@openssh.com", at("clean"), at("linked")); put("linked", harmful)
attempt("through a hard link", linked)
def symbolic():
    sftp.symlink(at("clean"), at("symbolic")); put("symbolic", harmful)
attempt("through a symbolic link", symbolic)
def renamed(): sftp.posix_rename(at("clean"), at("renamed")); sftp.posix_rename(at("renamed"), at("clean"))
attempt("rename", renamed)
def unfinished():
    global open_handle
    open_handle = handle("unfinished", W | C | T); write(open_handle, 0, b"clean so far")
attempt("never closed", unfinished)
def stat():
    h = handle("stat", W | C | T); write(h, 0, b"12345")
    assert SFTPAttributes._from_msg(sftp._request(CMD_FSTAT, h)[1]).st_size == 5
    sftp._request(CMD_CLOSE, h)
    assert sftp.stat(at("stat")).st_size == 5
attempt("size", stat)
attempt("into nowhere", lambda: put("nowhere/file", b"clean"))
def new():
    h = handle("clean", W | C | X); write(h, 0, b"other"); sftp._request(CMD_CLOSE, h)
attempt("only if new", new)
attempt("clean again", lambda: put("clean", b"again"))
"#;

#[test]
fn no_way_leads_around_the_check() {
    let Some(python) = python() else { return };
    let gate = CheckedPlant::by(GREP);
    gate.theo().write("harmful", HARMFUL);
    let mut client = gate.theo().tool(&python);
    let port = gate.plant.ssh_port().to_string();
    client.args(["-c", &format!("{SIGNED_IN}{WAYS}"), &port, &gate.there(""), "harmful"]);
    let told = run(&mut client, b"").ok().out();
    println!("{told}");
    let passed: Vec<_> = told.lines().filter_map(|line| line.strip_suffix(" passed")).collect();
    assert_eq!(passed, ["clean", "rename", "never closed", "size", "clean again"], "{told}");
    for (way, why) in [
        ("whole", "the file check refused it: file: harmful"),
        ("append", "nothing is added to one at the target"),
        ("read and write", "either read or written"),
        ("write and read", "either read or written"),
        ("past the end", "would change a part of one"),
        ("the beginning", "would change a part of one"),
        ("out of order", "the file check refused it: file: harmful"),
        ("two handles", "would change a part of one"),
        ("cut while open", "the file check refused it: file: harmful"),
        ("cut", "none is cut or lengthened at the target"),
        ("cut through a handle to read", "none is cut or lengthened at the target"),
        ("write through a handle to read", "would change a part of one"),
        ("create to read", "either read or written"),
        ("copy at the machine", "none is put together at the target"),
        ("through a hard link", "the file check refused it: file: harmful"),
        ("through a symbolic link", "the file check refused it: file: harmful"),
        ("into nowhere", "No such file"),
        ("only if new", "Failure"),
    ] {
        let line = told.lines().find(|line| line.starts_with(&format!("{way} refused:")));
        assert!(line.is_some_and(|line| line.contains(why)), "{way}: {line:?}");
    }
    assert_eq!(gate.at_target(), ["clean", "linked", "stat", "symbolic", "two"]);
    assert!(gate.plant.hmi.read("clean") == b"again" && gate.plant.hmi.read("stat") == b"12345");
    let half = HARMFUL.len() / 2;
    assert!(gate.plant.hmi.read("two") == HARMFUL[..half], "the other half was refused");
    for ended in [
        gate.sftp(&format!("put -a harmful {}\n", gate.there("stat"))),
        gate.sftp(&format!("reput harmful {}\n", gate.there("stat"))),
    ] {
        assert!(ended.code() != 0, "{}", ended.text());
    }
    assert_eq!(gate.plant.hmi.read("stat"), b"12345");
    gate.evidence();
}

#[test]
fn without_a_verdict_nothing_passes() {
    for (script, max, why) in [
        ("sleep 60 & sleep 60", "1s", "did not end within 1s"),
        ("kill -SEGV $$", "10s", "ended by signal 11"),
        ("exit 3", "10s", "nothing; it ended with 3"),
        ("echo more >> \"$1\"", "10s", "the file changed while it was checked"),
        ("", "10s", "could not be run"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checker");
        if !script.is_empty() {
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut gate = CheckedPlant::with(folder, &[path.to_str().unwrap(), "{file}"], max);
        gate.theo().write("clean", b"clean");
        for protocol in ["-O", "-s"] {
            let told = gate.scp(protocol, &[], "clean", &gate.there("clean"));
            assert!(told.code() != 0 && told.text().contains("was not passed on"), "{why}: {}", told.text());
        }
        assert!(gate.at_target().is_empty(), "{why}");
        assert!(started_by(gate.plant.gate().id()).is_empty(), "the checker is gone, and what it started");
        let said = gate.plant.gate().said();
        assert_eq!(
            said.matches("a file check had no verdict").count(),
            if script == "exit 3" { 0 } else { 2 },
            "{said}"
        );
        let checks = checks(&gate.evidence());
        assert!(checks.len() == 2 && checks.iter().all(|checked| checked.said.to_string().contains(why)), "{checks:?}");
        let outcome = if script == "exit 3" { CheckOutcome::Refused } else { CheckOutcome::NotRun };
        assert!(checks.iter().all(|checked| checked.outcome == outcome));
    }
}

/// What holds its output open, what closed it, and what went into a session of its own are ended with it; what it found holds.
#[test]
fn what_a_checker_leaves_behind_is_ended_with_it() {
    let gate = CheckedPlant::by(
        "sleep 600 & echo $! >> \"$0.left\"\nsleep 600 > /dev/null 2>&1 < /dev/null & echo $! >> \"$0.left\"\n\
         setsid sh -c 'echo $$ >> \"$1.left\"; sleep 600' sh \"$0\" > /dev/null 2>&1 < /dev/null &\n\
         until [ \"$(wc -l < \"$0.left\")\" = 3 ]; do sleep 0.05; done\necho fine",
    );
    gate.theo().write("clean", &noise());
    gate.scp("-s", &[], "clean", &gate.there("clean")).ok();
    let left = fs::read_to_string(gate.folder.path().join("checker.left")).unwrap();
    assert_eq!(left.lines().count(), 3);
    for process in left.lines() {
        // Ended, and at most not yet waited for by whoever inherited it.
        let state = || fs::read_to_string(format!("/proc/{process}/stat")).ok();
        eventually("it has ended", || state().is_none_or(|stat| stat.contains(") Z ")));
    }
    let checks = checks(&gate.evidence());
    assert_eq!((checks[0].outcome, checks[0].said.to_string()), (CheckOutcome::Passed, "fine".to_owned()));
}

/// Says what it finds of its surroundings: the environment, what its descriptors are, the file's mode, its own process group. It ends
/// once it would be the first to go if memory ran out.
const LOOKS_AROUND: &str = r#"[ "$(cat)" = "$(cat "$1")" ] || exit 9
echo $(env | grep -v ^PWD= | grep -v ^SHLVL= | grep -v ^_= | grep -v ^HOLDPOINT_FILE_CHECK=
  for fd in /proc/$$/fd/*; do readlink $fd; done | grep -c 'socket:\|anon_inode:\|/records/\|/journal/\|/state/'
  stat -c %a "$1"; ps -o pgid= $$ | tr -d ' ' | grep -cx $$)
until [ "$(cat /proc/$$/oom_score_adj)" = 500 ]; do sleep 0.01; done
exit 1"#;

#[test]
fn a_checker_gets_the_file_and_nothing_of_the_gate() {
    let gate = CheckedPlant::by(LOOKS_AROUND);
    gate.theo().write("clean", b"clean");
    gate.scp("-s", &[], "clean", &gate.there("clean")).says_no("the file check refused it");
    let checks = checks(&gate.evidence());
    // The one is the file, on standard input.
    assert_eq!(checks[0].said.to_string(), "1 600 1");
}

/// Waits until the checker was started, which says so in a file, then does something, and nothing is left anywhere.
fn while_it_is_checked(end: impl FnOnce(&mut CheckedPlant, Running) -> Option<Ended>) -> Option<Ended> {
    let mut gate = CheckedPlant::by("touch \"$0.begun\"; sleep 60");
    let begun = gate.folder.path().join("checker.begun");
    gate.theo().write("clean", &noise());
    gate.theo().write("batch", format!("put clean {}\n", gate.there("clean")).as_bytes());
    let mut sftp = gate.theo().tool("sftp");
    sftp.arg("-F").arg(gate.theo().path("ssh_config")).args(["-b", "batch", &gate.theo().at("hmi-2")]);
    let sftp = start(&mut sftp);
    eventually("the checker begins", || begun.exists());
    assert_eq!(gate.kept(), 1);
    let ended = end(&mut gate, sftp);
    assert!(gate.at_target().is_empty());
    ended
}

fn nothing_is_left(gate: &mut CheckedPlant) {
    eventually("nothing is kept, and nothing runs", || {
        gate.kept() == 0 && started_by(gate.plant.gate().id()).is_empty()
    });
}

#[test]
fn who_leaves_during_the_check_leaves_nothing() {
    while_it_is_checked(|gate, sftp| {
        sftp.signal(Signal::KILL);
        nothing_is_left(gate);
        None
    });
}

#[test]
fn a_machine_that_is_lost_during_the_check_ends_it() {
    while_it_is_checked(|gate, sftp| {
        gate.plant.hmi.kill();
        let ended = sftp.ends();
        assert!(ended.code() != 0, "{}", ended.text());
        nothing_is_left(gate);
        None
    });
}

#[test]
fn what_a_crash_left_is_removed_at_the_next_start() {
    while_it_is_checked(|gate, _sftp| {
        gate.plant.kill();
        assert_eq!(gate.kept(), 1);
        gate.plant.serve();
        assert_eq!(gate.kept(), 0);
        None
    });
}

#[test]
fn where_recordings_need_the_room_nothing_is_kept_to_be_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checker");
    fs::write(&path, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    // More than is free, and less than that by half: sessions begin, and the alarm is raised.
    let free = rustix::fs::statvfs(folder.path()).map(|room| room.f_bavail * room.f_frsize).unwrap();
    let reserve = format!("{} MiB", (free >> 20) * 3 / 4);
    let more = rule(&[path.to_str().unwrap(), "{file}"], "10s");
    let mut plant = Plant::enrolled(Options { technicians: technicians(), more, reserve, ..Options::default() });
    plant.grant("theo", "hmi-2", &[Action::FileGet, Action::FilePut], HOUR);
    plant.log_in("theo");
    plant.serve();
    let gate = CheckedPlant { plant, folder };
    gate.theo().write("clean", &noise());
    for protocol in ["-O", "-s"] {
        let told = gate.scp(protocol, &[], "clean", &gate.there("clean"));
        let why = if protocol == "-O" { "no room to keep it" } else { "could not keep this file" };
        assert!(told.code() != 0 && told.text().contains(why), "{}", told.text());
    }
    assert!(gate.at_target().is_empty());
    gate.evidence();
}

/// A file at the machine whose content comes out only as it is read here: until then a hand-over cannot end.
fn narrow(gate: &CheckedPlant, name: &str) -> PathBuf {
    let path = gate.plant.hmi.path(name);
    run(Command::new("mkfifo").arg(&path), b"").ok();
    path
}

/// What comes out of it, from its first byte on: with that the hand-over has begun.
fn first_byte(path: &Path, client: &mut Running) -> fs::File {
    let opened = fs::OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let mut file = opened.unwrap();
    eventually("the first byte arrives", || {
        assert!(!client.has_ended(), "{}", client.said());
        matches!(file.read(&mut [0]), Ok(1))
    });
    rustix::fs::fcntl_setfl(&file, OFlags::empty()).unwrap();
    file
}

fn rest(mut file: fs::File) -> Vec<u8> {
    let mut rest = vec![noise_of_bulk()[0]];
    file.read_to_end(&mut rest).unwrap();
    rest
}

/// More than waits anywhere between the gate and the machine.
fn noise_of_bulk() -> Vec<u8> {
    noise().repeat(10)
}

/// Whether nobody is connected to the gate.
fn is_left(gate: &CheckedPlant) -> bool {
    let port = format!(":{:04X} ", gate.plant.ssh_port());
    let lines = fs::read_to_string("/proc/net/tcp").unwrap();
    // Established, or the peer's end has not been seen yet.
    !lines.lines().any(|line| line.contains(&port) && [" 01 ", " 08 "].iter().any(|state| line.contains(state)))
}

/// Uploads `bulk` as old-style scp does, and then does something else than to wait for what becomes of it.
const LEAVES: &str = r#"
port, there, how = int(sys.argv[1]), sys.argv[2], sys.argv[3]
transport = signed_in(port)
channel = transport.open_session()
channel.exec_command("scp -t " + there)
assert channel.recv(1) == b"\0"
with open("bulk", "rb") as file: content = file.read()
channel.sendall(b"C0644 %d narrow\n" % len(content))
assert channel.recv(1) == b"\0"
channel.sendall(content + b"\0")
if how == "ends its input":
    channel.shutdown_write()
sys.stdin.readline()
if how == "breaks the protocol":
    channel.sendall(b"Welcome\n")
if how == "closes the channel":
    channel.close()
if how == "ends its input":
    assert channel.recv(1) == b"\0"
sys.stdin.readline()
"#;

/// Nobody decides by leaving how much of a file that passed the machine has.
#[test]
fn a_file_that_is_being_handed_over_arrives_whole_whatever_the_technician_does() {
    let Some(python) = python() else { return };
    let gate = CheckedPlant::by(GREP);
    gate.theo().write("bulk", &noise_of_bulk());
    for how in ["is killed", "closes the channel", "breaks the protocol", "ends its input"] {
        let narrow = narrow(&gate, "narrow");
        let mut client = gate.theo().tool(&python);
        let script = format!("{SIGNED_IN}{LEAVES}");
        client.args(["-c", &script, &gate.plant.ssh_port().to_string(), &narrow.display().to_string(), how]);
        let mut client = start(&mut client);
        let file = first_byte(&narrow, &mut client);
        if how == "is killed" {
            client.signal(Signal::KILL);
            eventually("the gate knows that they left", || is_left(&gate));
        } else {
            client.type_in("\n");
        }
        assert!(rest(file) == noise_of_bulk(), "{how}");
        if how != "is killed" {
            client.type_in("\n");
            let ended = client.ends();
            assert!(how == "breaks the protocol" || ended.code() == 0, "{how}: {}", ended.text());
        }
        fs::remove_file(narrow).unwrap();
    }
    let entries = files(&gate.evidence());
    assert!(
        entries.len() == 4 && entries.iter().all(|entry| entry.sha256() == Some(Digest::of_bytes(&noise_of_bulk()))),
        "{entries:?}"
    );
}

/// The technician reads why, and the ledger says what may be there.
#[test]
fn a_cut_and_the_end_of_the_time_end_a_file_in_its_middle() {
    for cut in [true, false] {
        let gate = CheckedPlant::lasting(GREP, if cut { HOUR } else { Seconds(20) });
        log_in(&gate.plant, "lee");
        gate.theo().write("bulk", &noise_of_bulk());
        let narrow = narrow(&gate, "narrow");
        let mut scp = start(&mut gate.scp_command("-O", &[], "bulk", &gate.there("narrow")));
        let file = first_byte(&narrow, &mut scp);
        let why = if cut {
            let session = find(&json(&gate.plant, "lee", &["sessions"]), "session").unwrap();
            holdpoint(&gate.plant, "lee", &["cut", &session]).ok();
            "Access was cut by an operator"
        } else {
            "Your time at hmi-2 is over"
        };
        let ended = scp.ends();
        assert!(ended.code() != 0 && ended.text().contains(why), "{}", ended.text());
        let arrived = rest(file).len() as u64;
        let entries = files(&gate.evidence());
        let [entry] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!((entry.outcome, entry.whole), (Outcome::Unfinished, false));
        assert!(entry.bytes - entry.unanswered <= arrived && arrived <= entry.bytes, "{arrived} arrived: {entry:?}");
    }
}

#[test]
fn one_machine_gets_one_file_after_the_other() {
    let gate = CheckedPlant::by(GREP);
    gate.theo().write("bulk", &noise_of_bulk());
    gate.theo().write("clean", b"clean");
    let narrow = narrow(&gate, "narrow");
    let scp = |from: &str, to: &str| start(&mut gate.scp_command("-O", &[], from, &gate.there(to)));
    let mut first = scp("bulk", "narrow");
    let file = first_byte(&narrow, &mut first);
    let second = scp("clean", "clean");
    eventually("the second file is kept, and checked", || gate.kept() == 2);
    // As long as this takes, the second could have arrived.
    gate.sftp("ls\n").ok();
    assert!(!gate.plant.hmi.path("clean").exists());
    assert!(rest(file) == noise_of_bulk());
    first.ends().ok();
    second.ends().ok();
    assert_eq!(gate.plant.hmi.read("clean"), b"clean");
    gate.evidence();
}

/// The checker says that it began, and ends when it is told to.
const WAITS: &str = "touch \"$0.begun\"; until [ -e \"$0.go\" ]; do sleep 0.05; done";

#[test]
fn stopped_input_stops_what_was_checked_too_and_a_cut_ends_it() {
    for cut in [false, true] {
        let mut gate = CheckedPlant::by(WAITS);
        log_in(&gate.plant, "lee");
        gate.theo().write("clean", &noise());
        let scp = start(&mut gate.scp_command("-s", &[], "clean", &gate.there("clean")));
        let at = |name: &str| gate.folder.path().join(name);
        eventually("the checker begins", || at("checker.begun").exists());
        let session = find(&json(&gate.plant, "lee", &["sessions"]), "session").unwrap();
        if cut {
            holdpoint(&gate.plant, "lee", &["cut", &session]).ok();
            assert!(scp.ends().code() != 0);
            eventually("nothing is kept, and nothing runs", || gate.kept() == 0);
            assert!(gate.at_target().is_empty());
            let gate_id = gate.plant.gate().id();
            eventually("nothing runs", || started_by(gate_id).is_empty());
        } else {
            holdpoint(&gate.plant, "lee", &["freeze", &session]).ok();
            fs::write(at("checker.go"), b"").unwrap();
            let gate_id = gate.plant.gate().id();
            eventually("the checker ends", || started_by(gate_id).is_empty());
            // As long as this takes, the file could have arrived.
            json(&gate.plant, "lee", &["sessions"]);
            assert!(gate.at_target().is_empty());
            holdpoint(&gate.plant, "lee", &["thaw", &session]).ok();
            scp.ends().ok();
            assert!(gate.plant.hmi.read("clean") == noise());
        }
        gate.evidence();
    }
}

/// ClamAV as Debian has it, with a signature of our own instead of its database.
fn clamav(folder: &Path) -> Option<(Running, PathBuf)> {
    if !Path::new("/usr/sbin/clamd").exists() || !Path::new("/usr/bin/clamdscan").exists() {
        println!("SKIPPED: ClamAV is not installed (clamav-daemon, clamdscan)");
        return None;
    }
    let signatures = folder.join("signatures");
    fs::create_dir(&signatures).unwrap();
    let hex: String = HARMFUL.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(signatures.join("own.ndb"), format!("Holdpoint.Test:0:*:{hex}\n")).unwrap();
    let config = folder.join("clamd.conf");
    let (socket, at) = (folder.join("clamd.socket"), signatures.display());
    let text = format!(
        "DatabaseDirectory {at}\nLocalSocket {}\nForeground yes\nAlertExceedsMax yes\nMaxFileSize 100M\nMaxScanSize 100M\n",
        socket.display()
    );
    fs::write(&config, text).unwrap();
    let mut clamd = Command::new("/usr/sbin/clamd");
    let clamd = start(clamd.arg("--config-file").arg(&config));
    eventually("clamd listens", || socket.exists());
    Some((clamd, config))
}

#[test]
fn clamav_keeps_out_what_it_knows() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_clamd, config)) = clamav(folder.path()) else { return };
    let version = run(Command::new("/usr/sbin/clamd").arg("--version"), b"").out();
    println!("{}", version.trim());
    let config = format!("--config-file={}", config.display());
    let command = ["/usr/bin/clamdscan", &config, "--fdpass", "--no-summary", "{file}"];
    let gate = CheckedPlant::with(folder, &command, "30s");
    gate.theo().write("clean", &noise());
    gate.theo().write("harmful", &harmful());
    for protocol in ["-O", "-s"] {
        gate.scp(protocol, &[], "clean", &gate.there("clean")).ok();
        let told = gate.scp(protocol, &[], "harmful", &gate.there("harmful"));
        assert!(told.code() != 0 && told.text().contains("file: Holdpoint.Test.UNOFFICIAL FOUND"), "{}", told.text());
    }
    let (clean, bad) = (gate.there("clean"), gate.there("harmful"));
    let told = gate.sftp(&format!("put harmful {bad}\n"));
    assert!(told.code() != 0 && told.text().contains("Holdpoint.Test.UNOFFICIAL FOUND"), "{}", told.text());
    assert!(gate.at_target() == ["clean"] && gate.plant.hmi.read("clean") == noise());
    let (recordings, played) = gate.evidence_and_replay();
    for line in [
        format!(
            "put {}, {} bytes, SHA-256 {}: the file check passed it: file: OK",
            clean,
            noise().len(),
            Digest::of_bytes(&noise())
        ),
        format!(
            "refused put {}, {} bytes, SHA-256 {}: the file check refused it: file: Holdpoint.Test.UNOFFICIAL FOUND",
            bad,
            harmful().len(),
            Digest::of_bytes(&harmful())
        ),
    ] {
        assert!(played.contains(&line), "{line}\n{played}");
    }
    println!("{played}");
    let checks = checks(&recordings);
    let said: Vec<_> = checks.iter().map(|checked| checked.said.to_string()).collect();
    let (ok, found) = ("file: OK", "file: Holdpoint.Test.UNOFFICIAL FOUND");
    assert_eq!(said, [ok, found, ok, found, found]);
}

/// What the gate may hold of files that are checked, however large they are.
const HELD_MAX: u64 = 48 << 20;

/// Kept on the disk, read for the checker and for its hash, and read again to be handed over: never in memory.
#[test]
fn a_large_file_is_checked_in_bounded_memory() {
    let mebibytes: u64 = if std::env::var_os("HOLDPOINT_LONG").is_some() { 1024 } else { 192 };
    let mut gate = CheckedPlant::by("sleep 1; cat \"$1\" > /dev/null");
    let large = fs::File::create(gate.theo().path("large")).unwrap();
    large.set_len(mebibytes << 20).unwrap();
    gate.theo().write("small", b"small");
    gate.scp("-s", &[], "small", &gate.there("small")).ok();
    for protocol in ["-s", "-O"] {
        let before = gate.plant.memory();
        let mut scp = start(&mut gate.scp_command(protocol, &[], "large", &gate.there("large")));
        let mut most = 0;
        while !scp.has_ended() {
            most = most.max(gate.plant.memory());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        scp.ends().ok();
        println!("{protocol}: {mebibytes} MiB, {} MiB before, {} MiB at most", before >> 20, most >> 20);
        assert!(most < before + HELD_MAX, "{protocol}: {} MiB before, {} MiB at most", before >> 20, most >> 20);
        assert_eq!(fs::metadata(gate.plant.hmi.path("large")).unwrap().len(), mebibytes << 20);
        fs::remove_file(gate.plant.hmi.path("large")).unwrap();
    }
}

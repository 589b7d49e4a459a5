//! Real writer processes that die: by `kill -9`, by a full file system, by a sync that libfiu makes fail. Each tells on
//! its output what was acknowledged; afterwards all of it must be there. A kill says nothing about power, since the
//! page cache survives it: the crash simulator does.
//!
//! `HOLDPOINT_LONG=1` kills 1,000 times instead of 20.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use common::{block_on, open, opening, options, recipients};
use recordings::fault::StoreFault;
use recordings::frame::Stream;
use recordings::keys::Recipients;
use recordings::log::{LogOptions, Purpose};
use recordings::read::{AuditorKeys, Store, What};

const FOLDER: &str = "HOLDPOINT_TEST_FOLDER";
const SESSIONS: u64 = 4;

/// Not a test: the program that is killed. It prints `<session> <bytes acknowledged>` after each acknowledgement, and
/// `refused <session>` when its store fails.
#[test]
#[ignore = "the process that other tests here run and kill"]
fn writer_process() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let identities = std::fs::read_to_string(folder.join("recipients")).unwrap();
    let recipients = Recipients::parse(identities.lines()).unwrap();
    let small = LogOptions { segment_bytes: 256 << 10, ..options(Purpose::Records) };
    let (log, recovery) = open(&folder.join("log"), small).unwrap();
    let first = recovery.entries * 100 + 1;
    std::thread::scope(|scope| {
        for number in first..first + SESSIONS {
            let (log, recipients) = (&log, &recipients);
            scope.spawn(move || write_until_refused(log, recipients, number));
        }
    });
    say("over");
}

fn write_until_refused(log: &recordings::log::Log, recipients: &Recipients, number: u64) {
    let Ok(writer) = block_on(log.open_session(opening(number, recipients))) else {
        return say(&format!("refused {number}"));
    };
    let line = writer.line(Stream::In, 0);
    for round in 0_usize.. {
        let bytes = Bytes::from(vec![round as u8; 1 + round * 37 % 3_000]);
        let durable = line.submit(bytes).and_then(|position| block_on(line.durable(position)).map(|()| position));
        match durable {
            Ok(position) => say(&format!("{number} {position}")),
            Err(fault) => {
                assert!(matches!(fault, StoreFault::Poisoned(_) | StoreFault::NoRoom { .. } | StoreFault::Sealed));
                return say(&format!("refused {number}"));
            }
        }
    }
}

/// One write to the pipe for one line: what is read was said.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).unwrap_or_default();
}

struct Rig {
    folder: tempfile::TempDir,
    auditors: [age::x25519::Identity; 2],
}

impl Rig {
    fn new() -> Self {
        let (folder, auditors) = (tempfile::tempdir().unwrap(), common::auditors());
        let rig = Self { folder, auditors };
        rig.write_recipients(rig.folder.path());
        rig
    }

    fn write_recipients(&self, folder: &Path) {
        let texts: Vec<String> = self.auditors.iter().map(|auditor| auditor.to_public().to_string()).collect();
        std::fs::write(folder.join("recipients"), texts.join("\n")).unwrap();
    }

    fn run(&self, mut command: Command) -> Child {
        command
            .args(["--ignored", "--exact", "writer_process", "--nocapture", "--test-threads=1"])
            .env(FOLDER, self.folder.path())
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Every byte acknowledged is in the files, and what is there is what was written.
    fn check(&self, log: &Path, acknowledged: &BTreeMap<u64, u64>) {
        let found = self.bytes_by_session(log);
        for (number, position) in acknowledged {
            let bytes = found.get(number).map_or(0, |bytes| bytes.len() as u64);
            assert!(bytes >= *position, "session {number}: {bytes} bytes of {position} acknowledged");
        }
        for bytes in found.values() {
            let written = (0_usize..).flat_map(|round| vec![round as u8; 1 + round * 37 % 3_000]);
            assert!(bytes.iter().copied().eq(written.take(bytes.len())));
        }
    }

    fn bytes_by_session(&self, log: &Path) -> BTreeMap<u64, Vec<u8>> {
        let store = Store::open(log).unwrap();
        let listing = store.list();
        assert!(listing.damage.is_empty(), "{:?}", listing.damage);
        let mut bytes = BTreeMap::new();
        for recording in listing.recordings {
            let number = u64::try_from(u128::from(recording.id().ulid())).unwrap();
            let secret = age::secrecy::ExposeSecret::expose_secret(&self.auditors[0].to_string()).to_owned();
            let keys = AuditorKeys::parse(&secret).unwrap().open(store.dir(), &recording.opened).unwrap();
            for moment in store.moments(&recording, keys) {
                if let What::Data(_, data) = moment.unwrap().what {
                    bytes.entry(number).or_insert_with(Vec::new).extend_from_slice(&data);
                }
            }
        }
        bytes
    }
}

fn this_program() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

/// What a child said, line by line, until `enough` of it or until it ended.
fn listen(child: &mut Child, enough: usize) -> Said {
    let mut said = Said::default();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.by_ref().map_while(Result::ok) {
        said.hear(&line);
        if said.acks >= enough {
            child.kill().unwrap();
            break;
        }
    }
    lines.map_while(Result::ok).for_each(|line| said.hear(&line));
    said.status = child.wait().unwrap().code();
    said
}

#[derive(Default)]
struct Said {
    acknowledged: BTreeMap<u64, u64>,
    acks: usize,
    refused: u64,
    after_refusal: u64,
    status: Option<i32>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("refused", _)) => self.refused += 1,
            Some((number, position)) => {
                let (Ok(number), Ok(position)) = (number.parse(), position.parse()) else { return };
                self.acks += 1;
                self.after_refusal += u64::from(self.refused == SESSIONS);
                self.acknowledged.insert(number, position);
            }
            None => {}
        }
    }
}

#[test]
fn a_writer_killed_again_and_again_loses_nothing_it_acknowledged() {
    let rounds = if std::env::var("HOLDPOINT_LONG").is_ok() { 1_000 } else { 20 };
    let rig = Rig::new();
    let log = rig.folder.path().join("log");
    let mut acknowledged = BTreeMap::new();
    for round in 0..rounds {
        let mut child = rig.run(this_program());
        let said = listen(&mut child, 20 + round * 13 % 200);
        assert!(said.acks > 0, "round {round}: the writer did not open");
        acknowledged.extend(said.acknowledged);
        if round % 20 == 19 {
            rig.check(&log, &acknowledged);
            // A store of its own for the next twenty: what is checked is read whole each time.
            std::fs::remove_dir_all(&log).unwrap();
            acknowledged.clear();
        }
    }
}

#[test]
fn on_a_full_file_system_sessions_are_refused_and_the_log_goes_on_when_there_is_room() {
    let rig = Rig::new();
    let script = r#"mount -t tmpfs -o size=6m tmpfs "$1" && cp "$2"/recipients "$1" && export HOLDPOINT_TEST_FOLDER="$1" && shift 2
        "$@"; status=$?
        cp -r "$HOLDPOINT_TEST_FOLDER/log" "$OUT"; exit $status"#;
    let mount = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script, "sh"]).arg(mount.path()).arg(rig.folder.path());
    command.arg(std::env::current_exe().unwrap()).env("OUT", rig.folder.path());
    let mut child = rig.run(command);
    let said = listen(&mut child, usize::MAX);
    if said.acks == 0 {
        eprintln!("SKIPPED: `unshare -rm` and a tmpfs are not allowed here");
        return;
    }
    assert_eq!((said.refused, said.after_refusal, said.status), (SESSIONS, 0, Some(0)));
    let log = rig.folder.path().join("log");
    rig.check(&log, &said.acknowledged);
    // The copy lies where there is room: it opens without repair, and lets sessions in.
    let small = LogOptions { segment_bytes: 256 << 10, ..options(Purpose::Records) };
    let (again, recovery) = open(&log, small).unwrap();
    assert!(recovery.crashed.is_empty(), "a full disk is no crash: {recovery:?}");
    block_on(again.open_session(opening(1 << 40, &recipients(&rig.auditors)))).unwrap();
}

#[test]
fn a_sync_that_fails_in_a_real_process_refuses_every_session_and_loses_nothing() {
    let rig = Rig::new();
    let mut command = Command::new("fiu-run");
    command.args(["-x", "-c", "enable_random name=posix/io/sync/fdatasync,probability=0.02,failinfo=5"]);
    command.arg(std::env::current_exe().unwrap());
    if Command::new("fiu-run").arg("-h").output().is_err() {
        eprintln!("SKIPPED: libfiu (Debian: fiu-utils) is not installed");
        return;
    }
    let mut child = rig.run(command);
    let said = listen(&mut child, 100_000);
    if said.acks > 0 {
        assert_eq!((said.refused, said.after_refusal), (SESSIONS, 0));
        rig.check(&rig.folder.path().join("log"), &said.acknowledged);
    }
    let small = LogOptions { segment_bytes: 256 << 10, ..options(Purpose::Records) };
    if rig.folder.path().join("log/segments").exists() {
        drop(open(&rig.folder.path().join("log"), small).unwrap());
    }
}

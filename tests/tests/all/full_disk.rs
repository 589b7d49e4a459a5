//! A disk that fills up while files are copied: whoever copies reads why it stopped, nothing passed that is not recorded,
//! and the ledger says what of each file passed.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use policies::digest::Digest;
use recordings::ledger::{FileEntry, Operation, Outcome, Verdict};
use recordings::notes::Note;
use tests::evidence::Opened;
use tests::process::start_on_a_terminal;
use tests::{Disk, Options, Plant, Running, eventually, run, start};

/// Each moves as much as this machine can.
static ALONE: Mutex<()> = Mutex::new(());

const WORDS: &str = "The recording stopped, so the session did";
/// More than any of the disks holds, even packed.
const MUCH: &str = "head -c 900M /dev/urandom | base64\r";

/// One file on its way.
struct Copy {
    name: &'static str,
    operation: Operation,
    arrives: PathBuf,
    client: Running,
}

impl Copy {
    /// By `scp`, in the protocol that this option names.
    fn start(plant: &Plant, name: &'static str, protocol: &str, operation: Operation) -> Self {
        let tess = plant.tess();
        let there = plant.hmi.path(name);
        let remote = format!("{}:{}", tess.at("hmi-2"), there.display());
        let mut scp = tess.tool("scp");
        scp.args([protocol, "-F"]).arg(tess.path("ssh_config"));
        let arrives = match operation {
            Operation::Put => {
                scp.args(["content", &remote]);
                there
            }
            _ => {
                fs::hard_link(plant.hmi.path("content"), there).unwrap();
                scp.args([&remote, name]);
                tess.path(name)
            }
        };
        Self { name, operation, arrives, client: start(&mut scp) }
    }
}

/// What the ledger says of a file, and the recording in which it does.
fn entry_of<'a>(recordings: &'a [Opened], name: &str) -> (&'a Opened, &'a FileEntry) {
    let mut found = recordings.iter().flat_map(|opened| {
        opened.notes().into_iter().filter_map(move |note| match note {
            Note::FileEntry(entry) if entry.path.to_string().ends_with(name) => Some((opened, &**entry)),
            _ => None,
        })
    });
    let one = found.next().unwrap_or_else(|| panic!("{name} is in no ledger"));
    assert!(found.next().is_none(), "{name} is listed twice");
    one
}

#[test]
fn a_disk_that_fills_up_in_the_middle_of_copies_leaves_an_account_of_what_passed() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(disk) = Disk::of("420m") else { return };
    let mut plant = Plant::ready(Options { data: Some(disk.path().join("data")), ..Options::default() });
    let notices = plant.notices();
    let content: Vec<u8> = (0..50_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    plant.tess().write("content", &content);
    plant.hmi.write("content", &content);
    plant.serve();
    let mut shell = start_on_a_terminal(&plant.tess().ssh(&["-tt", &plant.tess().at("hmi-2")]));
    shell.type_in("echo I am $((40 + 2))\r");
    shell.until("I am 42");
    let copies = [
        ("scp-up", "-O", Operation::Put),
        ("scp-down", "-O", Operation::Get),
        ("sftp-up", "-s", Operation::Put),
        ("sftp-down", "-s", Operation::Get),
    ];
    let copies = copies.map(|(name, protocol, operation)| Copy::start(&plant, name, protocol, operation));
    eventually("everything flows", || {
        copies.iter().all(|copy| fs::metadata(&copy.arrives).is_ok_and(|file| file.len() > 0))
    });
    let filler = disk.fill();
    let arrived = copies.map(|mut copy| {
        eventually("the copy has ended", || copy.client.has_ended());
        let Copy { name, operation, arrives, client } = copy;
        client.ends_within(Duration::from_secs(1)).says_no(WORDS);
        (name, operation, arrives)
    });
    // A few bytes find room in what was set aside, and in segments that went meanwhile; whoever needs more is told too.
    shell.type_in(MUCH);
    let told = shell.ends();
    assert!(told.out().contains(WORDS), "{}", told.out());
    eventually("people are told", || {
        fs::read_to_string(&notices).is_ok_and(|told| told.contains("disk for recordings is filling up"))
    });
    eventually("the machine is done", || plant.hmi.is_idle());
    plant.stop();
    fs::remove_file(filler).unwrap();
    plant.serve();
    assert_eq!(plant.stop().code(), 0);
    let evidence = plant.evidence();
    evidence.verify().ok();
    let recordings = evidence.recordings();
    for (name, operation, arrives) in arrived {
        let (opened, entry) = entry_of(&recordings, name);
        let arrived = fs::read(arrives).unwrap();
        println!("{name}: {} of {} bytes arrived; {entry:?}, {:?}", arrived.len(), content.len(), opened.ending());
        assert!(content.starts_with(&arrived) && arrived.len() < content.len(), "{name}");
        assert_eq!((entry.operation, entry.verdict, entry.outcome), (operation, Verdict::Allowed, Outcome::Unfinished));
        // Between what the target answered for and what was on its way to it; of a download, what the target sent.
        let unanswered = match name {
            "scp-up" => entry.bytes..=entry.bytes,
            "sftp-up" => 0..=entry.bytes,
            _ => 0..=0,
        };
        assert!(unanswered.contains(&entry.unanswered) && !entry.whole, "{name}: {entry:?}");
        let at_least = if operation == Operation::Put { entry.bytes - entry.unanswered } else { 0 };
        assert!((at_least..=entry.bytes).contains(&(arrived.len() as u64)), "{name}: {entry:?}");
        let [extent] = &entry.extents[..] else { panic!("{name}: {entry:?}") };
        assert_eq!((extent.from, extent.until), (0, entry.bytes), "{name}");
        let passed = &content[..usize::try_from(extent.until).unwrap()];
        assert_eq!(opened.ending(), Some("recorder-failed"), "{name}");
        let told = |note: &&Note| matches!(note, Note::Notice { text } if text.contains(WORDS));
        assert_eq!(opened.notes().into_iter().filter(told).count(), 1, "{name}");
        assert_eq!(extent.sha256, Some(Digest::of_bytes(passed)), "{name}: {entry:?}");
        let session = opened.recording.id().to_string();
        let played = run(&mut evidence.holdpoint(&["play", &session, "--key", "key"]), b"").ok().out();
        let words = match (operation, entry.unanswered) {
            (Operation::Put, 0) => "unfinished, ",
            (Operation::Put, _) => "unfinished, at least ",
            _ => "unfinished, at most ",
        };
        assert!(played.lines().any(|line| line.contains(name) && line.contains(words)), "{played}");
    }
}

#[test]
fn a_disk_that_was_full_takes_sessions_again_without_a_restart() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(disk) = Disk::of("420m") else { return };
    let mut plant = Plant::ready(Options { data: Some(disk.path().join("data")), ..Options::default() });
    plant.serve();
    let at = plant.tess().at("hmi-2");
    let mut shell = start_on_a_terminal(&plant.tess().ssh(&["-tt", &at]));
    shell.type_in("echo I am $((40 + 2))\r");
    shell.until("I am 42");
    let filler = disk.fill();
    // More than the segments that lie ready.
    shell.type_in(MUCH);
    assert!(shell.ends().out().contains(WORDS));
    // What was tried once and found no room is tried again.
    for _ in 0..3 {
        plant.gate().until("a log could not be published now");
    }
    let refused = run(&mut plant.tess().ssh(&[&at, "true"]), b"");
    assert!(!refused.status.success(), "{}", refused.text());
    fs::remove_file(filler).unwrap();
    eventually("somebody is let in again", || run(&mut plant.tess().ssh(&[&at, "true"]), b"").status.success());
    assert_eq!(plant.stop().code(), 0);
    plant.evidence().both_say(0);
}

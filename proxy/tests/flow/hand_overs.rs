//! Files that were checked and are being handed over: what ends it in the middle, and what does not. The target's file is a pipe
//! that is read only here, so that a hand-over is in its middle for as long as a test wants it to be.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use recordings::ledger::{FileEntry, Operation, Outcome};
use rustix::fs::OFlags;

use crate::peer::Peer;
use crate::plant::*;

const MIB: usize = 1 << 20;
/// Longer than any test waits.
const NEVER: u64 = 600_000;

/// A plant in whose middle a file stands.
struct Narrow {
    plant: Plant,
    client: Client,
    content: Vec<u8>,
    pipe: fs::File,
}

impl Narrow {
    /// By old-style scp, up to the first byte at the target.
    fn begin(checks: [u64; 3]) -> Self {
        let plant = Plant::with(Options { checks: Some(checks), ..Options::default() });
        let (here, there) = (plant.folder().join("here"), plant.folder().join("there"));
        let mut content = Vec::new();
        // More than waits anywhere between the gate and the pipe.
        Noise::new(12 * MIB).read_to_end(&mut content).unwrap();
        fs::write(&here, &content).unwrap();
        succeed(Command::new("mkfifo").arg(&there));
        let mut scp = Command::new("scp");
        scp.arg("-F").arg(plant.config()).args(["-q", "-O"]).arg(&here).arg(format!("user-form:{}", there.display()));
        let client = Client::start(&mut scp);
        let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
        let mut pipe = fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(&there).unwrap();
        eventually("the first byte arrives", || matches!(pipe.read(&mut [0]), Ok(1)));
        rustix::fs::fcntl_setfl(&pipe, OFlags::empty()).unwrap();
        Self { plant, client, content, pipe }
    }

    /// All that arrives, read so much at a time and so fast.
    fn arrives(&mut self, pause: Duration) -> Vec<u8> {
        let (mut arrived, mut piece) = (vec![self.content[0]], vec![0; 96 << 10]);
        loop {
            match self.pipe.read(&mut piece).unwrap() {
                0 => return arrived,
                read => arrived.extend_from_slice(&piece[..read]),
            }
            thread::sleep(pause);
        }
    }
}

/// What the recording lists.
fn listed(plant: &mut Plant) -> Vec<FileEntry> {
    plant.gate.order("recorded");
    let told = plant.gate.hear("recorded");
    let entries = told.split(' ').filter(|word| word.starts_with(r#"{"v":1,"operation""#));
    entries.map(|entry| FileEntry::decode(entry.as_bytes()).unwrap()).collect()
}

fn assert_torn(plant: &mut Plant, arrived: usize) {
    let entries = listed(plant);
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((entry.operation, entry.outcome, entry.whole), (Operation::Put, Outcome::Unfinished, false));
    let known = entry.bytes - entry.unanswered;
    assert!(known <= arrived as u64 && arrived as u64 <= entry.bytes, "{arrived} arrived: {entry:?}");
}

#[test]
fn a_target_that_stands_still_in_the_middle_of_a_file_is_given_up_and_that_is_told() {
    let mut narrow = Narrow::begin([1_000, NEVER, NEVER]);
    let words = narrow.client.words();
    assert!(
        words.contains("hmi-2 has taken nothing more of") && words.contains("a part of it may be there"),
        "{words}"
    );
    assert!(!narrow.client.wait().success());
    assert_eq!(narrow.plant.gate.hear_channel().end, "TargetStuck");
    let arrived = narrow.arrives(Duration::ZERO).len();
    assert_torn(&mut narrow.plant, arrived);
}

/// It says nothing for longer than a target may that stands still, but takes what it gets.
#[test]
fn a_slow_target_gets_all_of_a_file_whose_technician_has_left() {
    let mut narrow = Narrow::begin([2_000, NEVER, NEVER]);
    narrow.client.0.kill().unwrap();
    let content = std::mem::take(&mut narrow.content);
    narrow.content = content[..1].to_vec();
    assert!(narrow.arrives(Duration::from_millis(40)) == content, "it is torn");
    narrow.plant.gate.hear_channel();
    let [entry] = &listed(&mut narrow.plant)[..] else { panic!("one file") };
    assert_eq!((entry.outcome, entry.bytes, entry.whole), (Outcome::Done, content.len() as u64, true));
}

#[test]
fn stopped_input_stands_in_the_middle_of_a_file_for_as_long_as_it_may() {
    let mut narrow = Narrow::begin([1_000, NEVER, NEVER]);
    narrow.plant.gate.order("freeze");
    thread::sleep(Duration::from_millis(2_500));
    narrow.plant.gate.order("thaw");
    let content = std::mem::take(&mut narrow.content);
    narrow.content = content[..1].to_vec();
    assert!(narrow.arrives(Duration::ZERO) == content, "it is torn");
    assert!(narrow.client.wait().success());
    assert_eq!(listed(&mut narrow.plant)[0].outcome, Outcome::Done);
}

#[test]
fn input_that_stays_stopped_in_the_middle_of_a_file_holds_up_nobody_else_for_ever() {
    let mut narrow = Narrow::begin([NEVER, NEVER, 1_000]);
    narrow.plant.gate.order("freeze");
    let words = narrow.client.words();
    assert!(words.contains("input was stopped for 1 s in the middle of"), "{words}");
    assert!(words.contains("others may wait for hmi-2, so the gate gave up; a part of it may be there"), "{words}");
    assert!(!narrow.client.wait().success());
    assert_eq!(narrow.plant.gate.hear_channel().end, "FrozenTooLong");
    let arrived = narrow.arrives(Duration::ZERO).len();
    assert_torn(&mut narrow.plant, arrived);
}

#[test]
fn a_cut_in_the_middle_of_a_file_says_what_may_be_there() {
    let mut narrow = Narrow::begin([NEVER, NEVER, NEVER]);
    narrow.plant.gate.order("cut");
    narrow.plant.gate.hear("cut");
    assert!(!narrow.client.wait().success());
    assert_eq!(narrow.plant.gate.hear_channel().end, "Cut");
    let arrived = narrow.arrives(Duration::ZERO).len();
    assert_torn(&mut narrow.plant, arrived);
}

/// A request of SFTP, version 3.
fn request(kind: u8, id: u32, fields: &[&[u8]]) -> Vec<u8> {
    let fields = fields.concat();
    let length = u32::try_from(5 + fields.len()).unwrap();
    [&length.to_be_bytes()[..], &[kind], &id.to_be_bytes(), &fields].concat()
}

fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat()
}

/// Nobody decides by not reading how much of a file the target has, or for how long other files wait for it.
#[test]
fn a_technician_who_reads_nothing_is_taken_for_gone_and_the_file_arrives_whole() {
    let mut plant = Plant::with(Options { checks: Some([60_000, 500, NEVER]), ..Options::default() });
    let path = |name: &str| -> PathBuf { plant.folder().join(name) };
    fs::write(path("big"), vec![7; 16 * MIB]).unwrap();
    let mut ssh = plant.ssh_with(Form::User, &["-s"]);
    let mut client = Client::start(ssh.arg("sftp"));
    let mut input = client.0.stdin.take().unwrap();
    let mut output = client.0.stdout.take().unwrap();
    let mut answer = || {
        let mut length = [0; 4];
        output.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        output.read_exact(&mut answer).unwrap();
        answer
    };
    let name = |name: &str| text(path(name).to_str().unwrap());
    let (read, write) = (1_u32.to_be_bytes(), 26_u32.to_be_bytes());
    input.write_all(&request(1, 3, &[])).unwrap();
    answer();
    input.write_all(&request(3, 1, &[&name("big"), &read, &[0; 4]])).unwrap();
    let big = answer()[5..].to_vec();
    input.write_all(&request(3, 2, &[&name("there"), &write, &[0; 4]])).unwrap();
    let there = answer()[5..].to_vec();
    input.write_all(&request(6, 3, &[&there, &0_u64.to_be_bytes(), &text("all of it")])).unwrap();
    for piece in 0..500_u32 {
        let offset = u64::from(piece) * (32 << 10);
        input
            .write_all(&request(5, 10 + piece, &[&big, &offset.to_be_bytes(), &(32_u32 << 10).to_be_bytes()]))
            .unwrap();
    }
    input.write_all(&request(4, 4, &[&there])).unwrap();
    eventually("the file arrives", || fs::read(path("there")).is_ok_and(|content| content == b"all of it"));
    assert_eq!(plant.gate.hear_channel().end, "Left");
    let entries = listed(&mut plant);
    let put = entries.iter().find(|entry| entry.operation == Operation::Put).unwrap();
    assert_eq!((put.outcome, put.bytes, put.whole), (Outcome::Done, 9, true), "{entries:?}");
}

#[test]
fn whoever_reads_that_a_file_is_there_finds_it_in_the_ledger() {
    let mut plant = Plant::with(Options { checks: Some([NEVER, NEVER, NEVER]), ..Options::default() });
    let there = plant.folder().join("there");
    plant.gate.order("hold");
    let mut client = Client::start(&mut plant.ssh(Form::User, &format!("scp -t {}", there.display())));
    let mut input = client.0.stdin.take().unwrap();
    let output = fs::File::from(std::os::fd::OwnedFd::from(client.0.stdout.take().unwrap()));
    let answer = || {
        let mut answer = [1];
        (&output).read_exact(&mut answer).map(|()| answer[0])
    };
    assert_eq!(answer().unwrap(), 0);
    input.write_all(b"C0644 9 there\n").unwrap();
    assert_eq!(answer().unwrap(), 0);
    input.write_all(b"all of it\0").unwrap();
    eventually("the file arrives", || fs::read(&there).is_ok_and(|content| content == b"all of it"));
    plant.gate.until_still();
    rustix::fs::fcntl_setfl(&output, OFlags::NONBLOCK).unwrap();
    assert!(answer().is_err(), "it is told before it is recorded");
    rustix::fs::fcntl_setfl(&output, OFlags::empty()).unwrap();
    plant.gate.order("release");
    assert_eq!(answer().unwrap(), 0);
}

/// By a signal a technician could end the program that takes the file, in its middle.
#[test]
fn no_signal_reaches_a_program_that_takes_checked_files() {
    let mut plant = Plant::with(Options { checks: Some([NEVER, NEVER, NEVER]), ..Options::default() });
    let peer = Peer::connect(&plant);
    let mut channel = peer.run("scp -t /tmp");
    assert_eq!(peer.read(&mut channel, 1), b"\0");
    peer.signal(&channel, russh::Sig::TERM);
    let errors = String::from_utf8(peer.finish(channel).errors).unwrap();
    assert!(errors.contains("signal TERM was not passed on: files are checked here"), "{errors}");
    plant.gate.order("recorded");
    let recorded = plant.gate.hear("recorded");
    assert!(recorded.contains(r#"{"note":"signal","name":"TERM"}"#), "{recorded}");
    // A program that copies nothing gets it, as everywhere.
    let channel = peer.run("cat");
    peer.signal(&channel, russh::Sig::TERM);
    assert_eq!(peer.finish(channel).errors, b"");
}

/// Its first piece broke the protocol; that is what is told, whatever came behind it.
#[test]
fn what_broke_the_protocol_before_the_program_began_is_told() {
    let plant = Plant::with(Options { checks: Some([NEVER, NEVER, NEVER]), ..Options::default() });
    let peer = Peer::connect(&plant);
    let before: [(Option<u32>, &[u8]); 3] = [(None, b"Welcome\n"), (Some(7), b"beside"), (None, b"more\n")];
    let finished = peer.finish(peer.run_after(&before, "scp -t /tmp"));
    let errors = String::from_utf8(finished.errors).unwrap();
    assert!(errors.contains("your program broke"), "{errors}");
    assert_eq!(finished.status, Some(1));
}

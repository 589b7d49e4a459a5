//! Uploads that are checked before the target has any of them: whatever a technician's program asks for, and in whatever
//! order, the target holds nothing but what was there and what the check passed.

mod files_kit;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use files_kit::{Answer, Ask, CREATE, EXCLUSIVE, Inspecting, READ, Server, TRUNCATE, WRITE, init, judged, version};
use policies::actions::Action;
use policies::digest::Digest;
use proptest::prelude::*;
use proxy::files::judge::Asked;
use proxy::files::{Concluded, Inspect, Inspected, Next, UPLOAD_BYTES_MAX, UploadKey, UploadStep};
use recordings::ledger::{FileEntry, Operation, Outcome, Verdict};

const BOTH: [Action; 2] = [Action::FileGet, Action::FilePut];

/// A checked SFTP channel, the gate's disk, and a server; what holds a `!` does not pass.
struct Checking {
    sftp: Inspecting,
    server: Server,
    kept: BTreeMap<UploadKey, Vec<u8>>,
    /// What the target may hold.
    passed: BTreeSet<Vec<u8>>,
    told: Vec<u8>,
    ledger: Vec<FileEntry>,
    said: Vec<String>,
}

impl Checking {
    fn new() -> Self {
        let inspector = judged(&BOTH, true, Asked::Subsystem("sftp"));
        let mut sftp = Inspecting { inspector };
        sftp.up(&init(3));
        sftp.down(&version(3, &[]));
        let mut server = Server::default();
        server.has("old", b"old content");
        let passed = [b"old content".to_vec()].into();
        Self { sftp, server, kept: BTreeMap::new(), passed, told: Vec::new(), ledger: Vec::new(), said: Vec::new() }
    }

    /// Shows a request, and does everything that follows from it. Gives back what the technician is told.
    fn ask(&mut self, id: u32, ask: &Ask<'_>) -> Vec<u8> {
        self.told.clear();
        let inspected = self.sftp.up(&ask.packet(id));
        self.upward(inspected);
        std::mem::take(&mut self.told)
    }

    fn upward(&mut self, inspected: Inspected) {
        for step in inspected.uploads {
            self.step(step);
        }
        self.told.extend(inspected.to_technician.concat());
        self.ledger.extend(inspected.ledger);
        self.said.extend(inspected.say);
        for bytes in inspected.forward.iter().chain(&inspected.to_target) {
            let answers = self.server.take(bytes);
            self.downward(&answers);
        }
    }

    fn downward(&mut self, answers: &[u8]) {
        let inspected = self.sftp.down(answers);
        self.told.extend(inspected.forward.concat());
        self.told.extend(inspected.to_technician.concat());
        self.ledger.extend(inspected.ledger);
    }

    fn step(&mut self, step: UploadStep) {
        match step {
            UploadStep::Begin(upload) => assert!(self.kept.insert(upload, Vec::new()).is_none()),
            UploadStep::Keep { upload, offset, bytes } => {
                let (kept, from) = (self.kept.get_mut(&upload).unwrap(), usize::try_from(offset).unwrap());
                kept.resize(kept.len().max(from + bytes.len()), 0);
                kept[from..from + bytes.len()].copy_from_slice(&bytes);
            }
            UploadStep::Resize { upload, bytes } => {
                self.kept.get_mut(&upload).unwrap().resize(usize::try_from(bytes).unwrap(), 0);
            }
            UploadStep::Discard(upload) => drop(self.kept.remove(&upload)),
            UploadStep::Check(upload) => {
                let content = self.kept.remove(&upload).unwrap();
                let uploads = self.sftp.inspector.uploads();
                let concluded = if content.contains(&b'!') {
                    uploads.refuse(upload, "harmful")
                } else {
                    self.passed.insert(content.clone());
                    uploads.begin(upload, content.len() as u64, Digest::of_bytes(&content));
                    self.hand_over(&content)
                };
                self.told.extend(concluded.to_technician.concat());
                self.ledger.extend(concluded.ledger);
                self.said.extend(concluded.say);
            }
        }
    }

    fn hand_over(&mut self, content: &[u8]) -> Concluded {
        loop {
            let bytes = match self.sftp.inspector.uploads().next() {
                Next::Send(bytes) => bytes,
                Next::Content { offset, bytes } => {
                    let from = usize::try_from(offset).unwrap();
                    self.sftp.inspector.uploads().content(&content[from..from + bytes])
                }
                Next::Wait => panic!("everything was answered"),
                Next::Done(concluded) => return concluded,
            };
            let answers = self.server.take(&bytes);
            let inspected = self.sftp.down(&answers);
            assert_eq!(inspected.forward, [] as [Bytes; 0], "these answers are the gate's");
            assert_eq!(inspected.refused, answers.len() as u64);
        }
    }

    fn strange(&self) -> Vec<&[u8]> {
        self.server.contents().iter().map(Vec::as_slice).filter(|content| !self.passed.contains(*content)).collect()
    }
}

/// The handle in an answer.
fn handle(answer: &[u8]) -> String {
    assert_eq!(answer[4], 102, "{answer:?}");
    String::from_utf8(answer[13..].to_vec()).unwrap()
}

fn put(path: &str, verdict: Verdict, outcome: Outcome) -> FileEntry {
    files_kit::entry(Operation::Put, path, verdict, outcome)
}

#[test]
fn the_target_hears_of_a_file_once_it_passed_and_the_technician_once_it_is_there() {
    let mut checking = Checking::new();
    let to = handle(&checking.ask(1, &Ask::Open("new", WRITE | CREATE | TRUNCATE)));
    assert_eq!(checking.ask(2, &Ask::Write(&to, 3, b"def")), Answer::OK.packet(2));
    assert_eq!(checking.ask(3, &Ask::Write(&to, 0, b"abc")), Answer::OK.packet(3));
    assert_eq!(checking.ask(4, &Ask::Path(8, &to)), Answer::Size(6).packet(4));
    assert_eq!(checking.server.contents().len(), 1, "nothing is there yet");
    assert_eq!(checking.ask(5, &Ask::Close(&to)), Answer::OK.packet(5));
    assert_eq!(checking.server.closed_with(b"new"), [Digest::of_bytes(b"abcdef")]);
    let [entry] = &checking.ledger[..] else { panic!("{:?}", checking.ledger) };
    assert_eq!((entry.bytes, entry.whole, entry.sha256()), (6, true, Some(Digest::of_bytes(b"abcdef"))));
    assert_eq!(FileEntry::decode(&entry.encode()).as_ref(), Ok(entry));
}

#[test]
fn what_does_not_pass_is_refused_with_its_close() {
    let mut checking = Checking::new();
    let to = handle(&checking.ask(1, &Ask::Open("old", WRITE | TRUNCATE)));
    checking.ask(2, &Ask::Write(&to, 0, b"harm!"));
    let told = checking.ask(3, &Ask::Close(&to));
    assert_eq!(told, files_kit::status(3, 3, "holdpoint: not passed on: harmful"));
    assert_eq!(checking.said, ["holdpoint: old was not passed on: harmful"]);
    assert_eq!(checking.ledger, [put("old", Verdict::Refused, Outcome::NotBegun)]);
    assert_eq!(checking.server.contents(), [b"old content"]);
}

#[test]
fn what_a_full_target_took_of_a_file_is_taken_back() {
    let mut checking = Checking::new();
    checking.server.room = Some(40_000);
    let to = handle(&checking.ask(1, &Ask::Open("old", WRITE | CREATE | TRUNCATE)));
    for offset in 0..4 {
        checking.ask(2, &Ask::Write(&to, offset * 30_000, &[b'x'; 30_000]));
    }
    let told = checking.ask(3, &Ask::Close(&to));
    assert_eq!(told, files_kit::status(3, 4, ""));
    assert_eq!(checking.server.contents(), [b""]);
    assert_eq!(checking.ledger, [put("old", Verdict::Allowed, Outcome::Failed(4))]);
}

/// All of it is there then, whatever became of it on the target's disk; that a target cannot say is no failure.
#[test]
fn what_a_target_does_not_put_on_its_disk_is_said_to_be_there() {
    for (says, told_code) in [(0, 0), (8, 0), (4, 4)] {
        let mut checking = Checking::new();
        checking.server.syncs = says;
        let to = handle(&checking.ask(1, &Ask::Open("new", WRITE | CREATE | TRUNCATE)));
        checking.ask(2, &Ask::Write(&to, 0, b"abc"));
        assert_eq!(checking.ask(3, &Ask::Extended("fsync@openssh.com", &to)), Answer::OK.packet(3));
        let told = checking.ask(4, &Ask::Close(&to));
        assert_eq!(u32::from_be_bytes(told[9..13].try_into().unwrap()), told_code, "{told:?}");
        assert!(told_code == 0 || String::from_utf8_lossy(&told).contains("holdpoint: at the target"), "{told:?}");
        let said = checking.said.concat();
        assert!((says == 0) == said.is_empty() && !said.contains("not passed on"), "{said}");
        assert!(says == 0 || said.starts_with("holdpoint: new is at the target, which did not put it on its disk"));
        let [entry] = &checking.ledger[..] else { panic!("{:?}", checking.ledger) };
        let sha256 = Some(Digest::of_bytes(b"abc"));
        assert_eq!((entry.outcome, entry.bytes, entry.whole, entry.sha256()), (Outcome::Done, 3, true, sha256));
        assert_eq!(checking.server.closed_with(b"new"), [Digest::of_bytes(b"abc")]);
    }
}

#[test]
fn more_than_can_be_checked_is_refused_at_once_and_forgotten() {
    let mut checking = Checking::new();
    let to = handle(&checking.ask(1, &Ask::Open("new", WRITE | CREATE | TRUNCATE)));
    for (id, ask) in [(2, Ask::Write(&to, UPLOAD_BYTES_MAX, b"x")), (3, Ask::Write(&to, 0, b"x")), (4, Ask::Close(&to))]
    {
        let told = checking.ask(id, &ask);
        assert!(told[4] == 101 && told[12] == 3 && String::from_utf8_lossy(&told).contains("2 GiB"), "{told:?}");
        assert!(checking.kept.is_empty());
    }
    let open = |checking: &mut Checking, id| checking.ask(id, &Ask::Open("new", WRITE | CREATE | TRUNCATE))[4];
    assert!((10..42).all(|id| open(&mut checking, id) == 102));
    assert_eq!(open(&mut checking, 42), 101, "a disk is not filled by opening files");
}

/// Some programs write over a file and cut it in the end; that is whole. What leaves anything of the old file is not.
#[test]
fn only_what_is_all_of_a_file_is_one() {
    for (offset, size, whole) in
        [(0, Some(5), true), (0, None, false), (5, Some(10), false), (0, Some(11), false), (0, Some(3), true)]
    {
        let mut checking = Checking::new();
        let to = handle(&checking.ask(1, &Ask::Open("old", WRITE | CREATE)));
        checking.ask(2, &Ask::Write(&to, offset, b"fresh"));
        size.into_iter().for_each(|size| drop(checking.ask(3, &Ask::Resize(&to, size))));
        let told = checking.ask(4, &Ask::Close(&to));
        let until = size.unwrap_or_default().min(5) as usize;
        let wanted = if whole { &b"fresh"[..until] } else { b"old content" };
        assert_eq!((told[12] == 0, &checking.server.contents()[0][..]), (whole, wanted), "{offset} {size:?}");
    }
}

/// The number of a CLOSE whose file is being checked is in use, and its handle is not.
#[test]
fn nothing_changes_a_file_that_is_being_checked() {
    let mut sftp = Checking::new().sftp;
    let to = handle(&sftp.up(&Ask::Open("new", WRITE | CREATE | TRUNCATE).packet(1)).to_technician.concat());
    assert_eq!(sftp.up(&Ask::Close(&to).packet(2)).uploads, [UploadStep::Check(UploadKey(0))]);
    for (id, ask) in [(3, Ask::Write(&to, 0, b"x")), (4, Ask::Resize(&to, 9)), (5, Ask::Close(&to))] {
        let inspected = sftp.up(&ask.packet(id));
        assert!(inspected.uploads.is_empty() && inspected.forward.is_empty(), "{ask:?}");
    }
    sftp.fails_up(&Ask::Close(&to).packet(2));
    assert_eq!(sftp.inspector.finish(), [put("new", Verdict::Allowed, Outcome::Unfinished)]);
}

#[derive(Debug, Clone)]
enum Turn {
    Open(&'static str, u32),
    Close(usize),
    Write(usize, u64, Vec<u8>),
    Read(usize),
    Resize(usize, u64),
    ResizePath(&'static str, u64),
    Rename(&'static str, &'static str),
    Remove(&'static str),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let path = || prop::sample::select(vec!["old", "a", "./a", "b"]);
    let which = 0..4_usize;
    let flags = prop_oneof![
        Just(WRITE | CREATE | TRUNCATE),
        Just(WRITE | CREATE),
        Just(WRITE),
        Just(READ),
        Just(WRITE | CREATE | EXCLUSIVE),
        0..64_u32
    ];
    let data = prop::collection::vec(prop::sample::select(b"ab!".to_vec()), 0..5);
    let turn = prop_oneof![
        4 => (path(), flags).prop_map(|(path, flags)| Turn::Open(path, flags)),
        4 => which.clone().prop_map(Turn::Close),
        6 => (which.clone(), 0..8_u64, data).prop_map(|(which, offset, data)| Turn::Write(which, offset, data)),
        1 => which.clone().prop_map(Turn::Read),
        2 => (which, 0..12_u64).prop_map(|(which, size)| Turn::Resize(which, size)),
        1 => (path(), 0..12_u64).prop_map(|(path, size)| Turn::ResizePath(path, size)),
        1 => (path(), path()).prop_map(|(from, to)| Turn::Rename(from, to)),
        1 => path().prop_map(Turn::Remove),
    ];
    prop::collection::vec(turn, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("HOLDPOINT_LONG").is_some() { 20_000 } else { 1_000 }))]

    #[test]
    fn the_target_holds_nothing_that_did_not_pass(turns in turns()) {
        let mut checking = Checking::new();
        let mut handles = vec!["0".to_owned(), "1".to_owned(), "holdpoint-upload-00000000".to_owned()];
        for (id, turn) in (1_u32..).zip(&turns) {
            let which = |which: &usize| handles[handles.len() - 1 - which % handles.len()].clone();
            let told = match turn {
                Turn::Open(path, flags) => checking.ask(id, &Ask::Open(path, *flags)),
                Turn::Close(of) => checking.ask(id, &Ask::Close(&which(of))),
                Turn::Write(of, offset, data) => checking.ask(id, &Ask::Write(&which(of), *offset, data)),
                Turn::Read(of) => checking.ask(id, &Ask::Read(&which(of), 0, 9)),
                Turn::Resize(of, size) => checking.ask(id, &Ask::Resize(&which(of), *size)),
                Turn::ResizePath(path, size) => checking.ask(id, &Ask::ResizePath(path, *size)),
                Turn::Rename(from, to) => checking.ask(id, &Ask::Rename(from, to)),
                Turn::Remove(path) => checking.ask(id, &Ask::Remove(path)),
            };
            prop_assert_eq!(u32::from_be_bytes(told[5..9].try_into().unwrap()), id, "each is answered, and at once");
            if told[4] == 102 {
                handles.push(handle(&told));
            }
            prop_assert_eq!(checking.strange(), [] as [&[u8]; 0], "{:?}", turn);
        }
        let ends = checking.sftp.inspector.finish();
        for entry in checking.ledger.iter().chain(&ends) {
            let decoded = FileEntry::decode(&entry.encode());
            prop_assert_eq!(decoded.as_ref(), Ok(entry));
        }
    }
}

/// What an old-style scp says to both ends.
fn scp(line: &str, content: &[u8], passes: bool, answers: &[&[u8]]) -> (Vec<u8>, Vec<u8>, Vec<FileEntry>) {
    let mut inspector: Box<dyn Inspect> =
        judged(&BOTH, true, Asked::Exec { line: line.as_bytes(), on_terminal: false });
    let (mut to_target, mut told, mut ledger) = (Vec::new(), Vec::new(), Vec::new());
    let mut answers = answers.iter();
    assert_eq!(inspector.downward(Bytes::from_static(b"\0")).unwrap().forward.concat(), b"\0");
    let record = format!("C0644 {} new\n", content.len());
    for sent in [record.as_bytes(), content, b"\0"].into_iter().filter(|sent| !sent.is_empty()) {
        let inspected = inspector.upward(Bytes::copy_from_slice(sent)).unwrap();
        assert!(inspected.forward.is_empty() && inspected.refused == sent.len() as u64);
        told.extend(inspected.to_technician.concat());
        for step in inspected.uploads {
            let UploadStep::Check(upload) = step else { continue };
            let uploads = inspector.uploads();
            let concluded = if passes {
                uploads.begin(upload, content.len() as u64, Digest::of_bytes(content));
                loop {
                    let uploads = inspector.uploads();
                    match uploads.next() {
                        Next::Send(bytes) => to_target.extend(bytes),
                        Next::Content { offset, bytes } => {
                            let from = usize::try_from(offset).unwrap();
                            to_target.extend(uploads.content(&content[from..from + bytes]));
                        }
                        Next::Wait => {
                            let answer = Bytes::copy_from_slice(answers.next().unwrap());
                            assert!(inspector.downward(answer).unwrap().forward.is_empty());
                        }
                        Next::Done(concluded) => break concluded,
                    }
                }
            } else {
                uploads.refuse(upload, "harmful")
            };
            told.extend(concluded.to_technician.concat());
            ledger.extend(concluded.ledger);
        }
    }
    assert_eq!(answers.next(), None);
    (to_target, told, ledger)
}

#[test]
fn by_scp_the_target_hears_of_a_file_once_it_passed() {
    let (to_target, told, ledger) = scp("scp -d -t x", b"abc", true, &[b"\0", b"\0"]);
    assert_eq!((&to_target[..], &told[..]), (&b"C0644 3 new\nabc\0"[..], &b"\0\0"[..]));
    assert_eq!((ledger[0].path.to_string(), ledger[0].sha256()), ("x/new".into(), Some(Digest::of_bytes(b"abc"))));
    let (to_target, told, _) = scp("scp -d -t x", b"", true, &[b"\0", b"\0"]);
    assert_eq!((&to_target[..], &told[..]), (&b"C0644 0 new\n\0"[..], &b"\0\0"[..]));
    let (to_target, told, ledger) = scp("scp -d -t x", b"abc", false, &[]);
    assert_eq!(told, b"\0\x01scp: holdpoint: x/new was not passed on: harmful\n");
    assert!(to_target.is_empty() && ledger == [put("x/new", Verdict::Refused, Outcome::NotBegun)]);
}

#[test]
fn by_scp_what_a_target_has_not_all_of_is_taken_back() {
    let full: &[u8] = b"\x01scp: x/new: No space left on device\n";
    let (to_target, told, ledger) = scp("scp -d -t x", b"abc", true, &[b"\0", full, b"\0", b"\0"]);
    assert_eq!(to_target, b"C0644 3 new\nabc\0C0644 0 new\n\0");
    assert_eq!(told, [b"\0", full].concat());
    assert_eq!(ledger, [put("x/new", Verdict::Allowed, Outcome::Failed(4))]);
    let denied: &[u8] = b"\x01scp: x/new: Permission denied\n";
    let (to_target, told, _) = scp("scp -d -t x", b"abc", true, &[denied]);
    assert_eq!((&to_target[..], &told[..]), (&b"C0644 3 new\n"[..], &[b"\0", denied].concat()[..]));
}

//! Parsers of bytes that strangers send or could have changed, each as one function of bytes that must not panic and keeps
//! what it promises. `tests/tests/all/fuzz.rs` replays the corpus in `tests/fuzz` and small changes of it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use certs::enrolment::EnrolmentCode;
use certs::keys::{KeyStore, Seal};
use certs::log_key::Verifier;
use certs::sshsig;
use certs::totp::TotpSecret;
use certs::trust::Trust;
use certs::vault::answering::{Allowed, Vault};
use certs::witness_key::Cosigner;
use jiff::Timestamp;
use policies::actions::Action;
use policies::digest::Digest;
use policies::events::Event;
use policies::plant::Plant;
use proxy::client::Unpacker;
use proxy::commands::carried;
use proxy::config::Config;
use proxy::files::judge::{Asked, Verdict, judge};
use proxy::files::{Inspect, Inspected, Next, UploadStep};
use proxy::flow::WindowSize;
use proxy::gates::vnc::screen::{Canvas, Decoder, Glance, Said, Source};
use proxy::gates::{Gate, Judge, Mode, Need, Passed, Piece, cip, modbus, s7, vnc};
use proxy::telnet::{Codec, Decoded};
use recordings::block::{BlockHeader, raw_frames};
use recordings::frame::{Fact, Kind, RawFrame, frames};
use recordings::leaf::{Anchor, Entry, Leaf, Recovered};
use recordings::ledger::FileEntry;
use recordings::notes::Note as RecordedNote;
use recordings::pack::{Evidence, Manifest, Texts, unpack_bytes};
use recordings::part::{PART, Part};
use recordings::read::Format;
use recordings::segment::SegmentHead;
use recordings::tlog::checkpoint::Checkpoint;
use recordings::tlog::note::Note;
use recordings::tlog::submission::{Answer, read_answer};
use recordings::tlog::tile::{Tile, parse_bundle};
use recordings::tlog::tlog_proof::TlogProof;
use recordings::tlog::witness::{AddCheckpoint, PROOF_LINES_MAX};

/// A vault with keys of its own, as whoever reaches its socket finds it.
static VAULT: LazyLock<Vault> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = KeyStore::create(&folder.path().join("keys"), &Seal::File).expect("keys");
    Vault::new(keys, Allowed::default())
});

struct Asking<'a>(&'a [u8]);

impl Read for Asking<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Asking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whatever is asked, it is answered or the connection ends.
fn vault(bytes: &[u8]) {
    VAULT.serve(&mut Asking(bytes), || Timestamp::UNIX_EPOCH).ok();
}

/// A parser to be tried.
pub struct Target {
    /// Its name, and that of its folder in `tests/fuzz/corpus`.
    pub name: &'static str,
    /// Tries it once; panics where a promise is broken.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "add-checkpoint", run: add_checkpoint },
    Target { name: "archive", run: archive },
    Target { name: "block", run: block },
    Target { name: "bundle", run: bundle },
    Target { name: "checkpoint", run: checkpoint },
    Target { name: "cip", run: cip },
    Target { name: "configuration", run: configuration },
    Target { name: "directory", run: directory },
    Target { name: "enrolment-code", run: enrolment_code },
    Target { name: "event", run: event },
    Target { name: "fact", run: fact },
    Target { name: "file-entry", run: file_entry },
    Target { name: "folder-files", run: folder_files },
    Target { name: "modbus", run: modbus },
    Target { name: "note", run: note },
    Target { name: "pack", run: pack },
    Target { name: "pack-files", run: pack_files },
    Target { name: "paper", run: paper },
    Target { name: "plant-file", run: plant_file },
    Target { name: "restore-paper", run: restore_paper },
    Target { name: "s7", run: s7 },
    Target { name: "scp", run: scp },
    Target { name: "screen", run: screen },
    Target { name: "seen", run: seen },
    Target { name: "segment", run: segment },
    Target { name: "sftp", run: sftp },
    Target { name: "signature", run: signature },
    Target { name: "telnet", run: telnet },
    Target { name: "tile", run: tile },
    Target { name: "tlog-proof", run: tlog_proof },
    Target { name: "trust", run: trust },
    Target { name: "vault", run: vault },
    Target { name: "vnc", run: vnc },
    Target { name: "witness-answer", run: witness_answer },
];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn plant_file(bytes: &[u8]) {
    match Plant::parse(&text(bytes)) {
        Ok(plant) => assert!(plant.targets.values().all(|target| plant.zones.contains_key(&target.zone))),
        Err(mistakes) => {
            assert!(mistakes.count() > 0);
            assert!(mistakes.iter().all(|mistake| !mistake.to_string().contains(char::is_control)));
        }
    }
}

fn configuration(bytes: &[u8]) {
    match Config::parse(&text(bytes), Path::new("/etc/holdpoint")) {
        Ok(config) => assert!(config.store.recipients.len() >= 2 && !config.plant.listen.is_empty()),
        Err(mistakes) => assert!(mistakes.iter().all(|mistake| !mistake.to_string().contains(char::is_control))),
    }
}

fn enrolment_code(bytes: &[u8]) {
    if let Ok(code) = EnrolmentCode::parse(&text(bytes)) {
        let again = EnrolmentCode::parse(&code.reveal()).expect("a code reads back");
        assert_eq!(again.hash(), code.hash());
    }
    if let Some(secret) = TotpSecret::from_base32(&text(bytes)) {
        TotpSecret::from_base32(&secret.base32()).expect("a secret reads back");
    }
}

fn event(bytes: &[u8]) {
    if let Ok(event) = Event::decode(bytes) {
        let again = Event::decode(&event.encode()).expect("an event reads back");
        assert_eq!(again, event);
    }
}

fn file_entry(bytes: &[u8]) {
    if let Ok(entry) = FileEntry::decode(bytes) {
        assert_eq!(FileEntry::decode(&entry.encode()).as_ref(), Ok(&entry));
    }
}

/// What a gate sends of files.
fn archive(bytes: &[u8]) {
    let around = tempfile::tempdir().expect("a folder");
    let folder = around.path().join("in");
    std::fs::create_dir(&folder).expect("a folder");
    let mut unpacker = Unpacker::new(&folder);
    // Whether it is one does not matter here.
    bytes.chunks(100).try_for_each(|piece| unpacker.feed(piece)).ok();
    unpacker.finish().ok();
    let beside = std::fs::read_dir(around.path()).expect("a folder").filter_map(Result::ok);
    assert!(beside.map(|entry| entry.file_name()).all(|name| name == "in"), "nothing is written outside");
}

fn block(bytes: &[u8]) {
    if let Ok(header) = BlockHeader::parse(bytes) {
        assert!(header.frames > 0 && header.first_nanos <= header.last_nanos, "{header:?}");
    }
    if let Ok(frames) = raw_frames(bytes) {
        assert!(frames.iter().all(|frame| frame.end() <= bytes.len() as u64), "frames lie inside");
    }
}

/// The first byte says which.
fn fact(bytes: &[u8]) {
    const FACTS: [Fact; 19] = [
        Fact::ChannelOpen,
        Fact::ChannelClose,
        Fact::Eof,
        Fact::Terminal,
        Fact::Environment,
        Fact::Shell,
        Fact::Exec,
        Fact::Subsystem,
        Fact::Resize,
        Fact::Signal,
        Fact::ExitStatus,
        Fact::ExitSignal,
        Fact::FileEntry,
        Fact::GateVerdict,
        Fact::Redacted,
        Fact::Freeze,
        Fact::Watch,
        Fact::Cut,
        Fact::Notice,
    ];
    let Some((which, bytes)) = bytes.split_first() else { return };
    let fact = FACTS[usize::from(*which) % FACTS.len()];
    if let Ok(note) = RecordedNote::decode(fact, bytes) {
        assert_eq!(RecordedNote::decode(fact, &note.encode()).as_ref(), Ok(&note));
    }
}

/// `FORMAT` and `PART`.
fn folder_files(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    for name in [recordings::FORMAT, PART] {
        std::fs::write(folder.path().join(name), bytes).expect("a file");
    }
    if let Ok(format) = Format::read(folder.path()) {
        assert_eq!(format.to_string().as_bytes(), bytes, "FORMAT has one spelling");
    }
    if let Ok(Some(part)) = Part::read(folder.path()) {
        part.write(folder.path()).expect("a file");
        assert_eq!(Part::read(folder.path()).ok().flatten().as_ref(), Some(&part));
    }
}

/// What a target sends. Bytes in pieces give what they give at once, answers are commands alone, and there is an end to them.
fn telnet(bytes: &[u8]) {
    let size = WindowSize { columns: 132, rows: 255, ..WindowSize::default() };
    let codec = || Codec::new("xterm", size);
    let (mut at_once, mut in_pieces) = (codec(), codec());
    let whole = at_once.decode(bytes);
    let mut gathered = Decoded::default();
    for piece in bytes.chunks(3) {
        let Decoded { data, answers, agreed } = in_pieces.decode(piece);
        gathered.data.extend(data);
        gathered.answers.extend(answers);
        gathered.agreed.extend(agreed);
    }
    assert_eq!(gathered, whole);
    assert!(whole.data.len() <= bytes.len() && whole.answers.len() <= 64 * Codec::ANSWERS_MAX as usize);
    assert!(codec().decode(&whole.answers).data.is_empty(), "an answer is no text");
}

/// What somebody types of a sheet of paper.
fn paper(bytes: &[u8]) {
    let log = "mill-3/journal+49c700f7+Aa0RKAHgCc55oR3b2U++QjjGdDOoO+T3vZf1N8qO6GXI";
    let logs: Vec<Verifier> = Verifier::parse(log).into_iter().collect();
    match recordings::paper::parse(&text(bytes), &logs) {
        Ok(heads) => assert!(heads.iter().all(|head| logs.iter().any(|log| log.name() == head.origin))),
        Err(mistyped) => assert!(!mistyped.to_string().contains(char::is_control), "{mistyped}"),
    }
}

/// `directory.jsonl` out of a backup.
fn directory(bytes: &[u8]) {
    match carried::directory(&text(bytes)) {
        Ok(entries) => assert!(!entries.is_empty()),
        Err(wrong) => assert!(!wrong.contains(char::is_control), "{wrong}"),
    }
}

/// What two people sign where their keys are, whoever it came from.
fn restore_paper(bytes: &[u8]) {
    match carried::restore_paper(&text(bytes)) {
        Ok((written, shown)) => {
            let again = carried::restore_paper(&written).expect("what is written reads back");
            assert_eq!(again, (written, shown.clone()));
            assert!(!shown.iter().any(|line| line.contains(char::is_control)), "{shown:?}");
        }
        Err(wrong) => assert!(!wrong.contains(char::is_control), "{wrong}"),
    }
}

/// What an auditor's `verify` remembers.
fn seen(bytes: &[u8]) {
    match carried::seen(&text(bytes)) {
        Ok(written) => assert_eq!(carried::seen(&written).as_ref(), Ok(&written)),
        Err(wrong) => assert!(!wrong.contains(char::is_control), "{wrong}"),
    }
}

fn pack(bytes: &[u8]) {
    let around = tempfile::tempdir().expect("a folder");
    // Whether it is one does not matter here.
    unpack_bytes(bytes, &around.path().join("in")).ok();
    let beside = std::fs::read_dir(around.path()).expect("a folder").filter_map(Result::ok);
    assert!(beside.map(|entry| entry.file_name()).all(|name| name == "in"), "nothing is written outside");
}

/// What lies in a pack as JSON.
fn pack_files(bytes: &[u8]) {
    if let Some(manifest) = Manifest::parse(bytes) {
        assert_eq!(manifest.encode(), bytes, "a manifest has one spelling");
    }
    if let Some(texts) = Texts::parse(bytes) {
        assert_eq!(texts.encode(), bytes, "texts have one spelling");
    }
    if let Some(evidence) = Evidence::parse(bytes) {
        assert_eq!(evidence.encode(), bytes, "evidence has one spelling");
    }
}

fn trust(bytes: &[u8]) {
    // Whether it is one does not matter here.
    Trust::parse(&text(bytes)).ok();
    Verifier::parse(&text(bytes)).ok();
    Cosigner::parse(&text(bytes)).ok();
}

fn note(bytes: &[u8]) {
    if let Ok(note) = Note::parse(bytes) {
        assert_eq!(note.to_string().as_bytes(), bytes, "a note has one spelling");
        assert!(note.verify(&[]).is_err(), "nobody is trusted");
    }
}

fn checkpoint(bytes: &[u8]) {
    if let Ok(checkpoint) = Checkpoint::parse(&text(bytes)) {
        assert!(text(bytes).starts_with(&checkpoint.to_string()), "a checkpoint has one spelling");
    }
}

fn add_checkpoint(bytes: &[u8]) {
    if let Ok(asked) = AddCheckpoint::parse(bytes) {
        assert_eq!(asked.to_string().as_bytes(), bytes, "a request has one spelling");
        assert!(asked.proof.len() <= PROOF_LINES_MAX);
    }
}

fn tlog_proof(bytes: &[u8]) {
    if let Ok(proof) = TlogProof::parse(bytes) {
        assert_eq!(proof.to_string().as_bytes(), bytes, "a proof file has one spelling");
        assert!(proof.verify(&[0; 32], &[]).is_err(), "nobody is trusted");
    }
}

fn tile(bytes: &[u8]) {
    if let Some(tile) = Tile::parse(&text(bytes)) {
        assert_eq!(tile.to_string(), text(bytes), "a tile has one path");
    }
}

/// The first byte says how many entries there are.
fn bundle(bytes: &[u8]) {
    let Some((width, bundle)) = bytes.split_first() else { return };
    if let Ok(entries) = parse_bundle(bundle, u16::from(*width)) {
        let length: usize = entries.iter().map(|(_, entry)| 2 + entry.len()).sum();
        assert_eq!((entries.len(), length), (usize::from(*width), bundle.len()), "every byte belongs to an entry");
    }
}

/// The first line is the status, the rest the body.
fn witness_answer(bytes: &[u8]) {
    let (status, body) = split(bytes, b'\n');
    let status = text(status).parse().unwrap_or(200);
    let asked = AddCheckpoint::parse(ASKED.as_bytes()).expect("a request");
    match read_answer(&asked, 7, (status, body), &[]) {
        Ok(Answer::Cosigned(_)) => panic!("nobody is known"),
        Ok(Answer::Holds(size)) => assert!(size <= 7 && size != asked.old),
        Err(refused) => assert!(!refused.to_string().contains(char::is_control)),
    }
}

const ASKED: &str = "old 0\n\nmill3\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— mill3 eHh4eHh4eHg=\n";

fn signature(bytes: &[u8]) {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJzRkP9p1vkkVeZ3yT8lpvl9uKDjCkI3ZeAGAbmh8VqE";
    let key = ssh_key::PublicKey::from_openssh(key).expect("a key");
    let verified = sshsig::verify(&key, sshsig::Namespace::Approval, b"nobody signed this", &text(bytes));
    assert!(verified.is_err(), "nobody has this key");
}

fn segment(bytes: &[u8]) {
    let mut end = 0;
    for frame in frames(bytes).map_while(Result::ok) {
        assert!((end..bytes.len() as u64).contains(&frame.offset), "frames follow each other inside the file");
        end = frame.offset + frame.body.len() as u64;
        clear_text(&frame);
    }
}

fn clear_text(frame: &RawFrame<'_>) {
    // Whether it is one does not matter here.
    match frame.header.kind {
        Kind::SegmentHead => drop(SegmentHead::parse(frame.body)),
        Kind::Leaf => {
            if let Ok(entry) = Entry::parse(0, frame.body) {
                Leaf::parse(&entry.bytes).ok();
            }
        }
        Kind::Anchor => drop(Anchor::parse(frame.body)),
        Kind::Recovered => drop(Recovered::parse(frame.body)),
        Kind::Data | Kind::Fact(_) => {}
    }
}

/// The first line is the command, the rest what both sides say.
fn scp(bytes: &[u8]) {
    let (line, rest) = split(bytes, b'\n');
    converse(Asked::Exec { line, on_terminal: false }, rest);
}

fn sftp(bytes: &[u8]) {
    converse(Asked::Subsystem("sftp"), bytes);
}

fn modbus(bytes: &[u8]) {
    for mode in [Mode::Enforce, Mode::Decode] {
        pass_through(mode, modbus::gate(mode, modbus::Profile::default()).as_mut(), bytes);
    }
}

fn cip(bytes: &[u8]) {
    pass_through(Mode::Decode, cip::gate().as_mut(), bytes);
}

fn s7(bytes: &[u8]) {
    for mode in [Mode::Enforce, Mode::Decode] {
        pass_through(mode, s7::gate(mode).as_mut(), bytes);
    }
}

/// Behind a handshake, which the corpus holds too: looks reach the target, and nothing else.
fn vnc(bytes: &[u8]) {
    let mut gate = vnc::gate(Some(vnc::Password::new("hunter2")));
    let mut now = Instant::now();
    let mut all = vec![gate.opened(now)];
    for (upward, piece) in pieces(bytes) {
        now += Duration::from_millis(300);
        all.push(if upward { gate.upward(piece, &Observing, now) } else { gate.downward(piece, now) });
        if gate.due().is_some_and(|due| due <= now) {
            all.push(gate.pass_time(now));
        }
    }
    all.extend([gate.hung_up(now), gate.closed(now)]);
    let verdicts = || all.iter().flat_map(|passed| &passed.verdicts);
    assert!(verdicts().all(|verdict| !verdict.words.contains(char::is_control)), "{all:?}");
    let sides = all.iter().flat_map(|passed| passed.to_target.iter().chain(&passed.to_technician));
    let out: usize = sides.map(Piece::of_theirs).sum();
    let received: usize = pieces(bytes).map(|(_, piece)| piece.len()).sum();
    assert!(out <= received, "bytes from nowhere");
    let looks = |piece: &Piece| !matches!(piece, Piece::Passed(bytes) if ![0, 2, 3, 150, 248].contains(&bytes[0]));
    assert!(all.iter().flat_map(|passed| &passed.to_target).all(looks), "{all:?}");
}

/// What a target says behind the handshake, and in between the technician's program, which may ask for another form of pixels:
/// what is drawn is within the screen.
fn screen(bytes: &[u8]) {
    struct Script(VecDeque<Said>);
    impl Source for Script {
        fn next(&mut self) -> Option<Said> {
            self.0.pop_front()
        }
    }
    let at = Instant::now();
    let said = pieces(bytes).map(|(upward, piece)| match (upward, piece.as_ref().try_into()) {
        (true, Ok(format)) => Said::Format(format),
        (true, Err(_)) => Said::NoMoreUpdates,
        (false, _) => Said::Target { bytes: piece, at },
    });
    let canvas = Arc::new(Canvas::new(Arc::default()));
    let ended = Decoder::new(Script(said.collect()), Arc::clone(&canvas)).run();
    assert!(!format!("{ended:?}").contains(char::is_control));
    let cut = canvas.look(Glance::default());
    for piece in &cut.pieces {
        assert!(piece.x + piece.width <= cut.width && piece.y + piece.height <= cut.height);
        assert_eq!(piece.rgb.len(), 3 * usize::from(piece.width) * usize::from(piece.height));
    }
}

/// Lets data be read, and nothing else.
struct Observing;

impl Judge for Observing {
    fn may_pass(&self, need: Need) -> Result<(), String> {
        if matches!(need.class(), Some(Action::Observe)) { Ok(()) } else { Err("ask for it".to_owned()) }
    }
}

fn pass_through(mode: Mode, gate: &mut dyn Gate, said: &[u8]) {
    let now = Instant::now();
    let mut out = 0;
    for (upward, piece) in pieces(said) {
        let passed = if upward { gate.upward(piece, &Observing, now) } else { gate.downward(piece, now) };
        out += sound(mode, &passed);
    }
    out += sound(mode, &gate.pass_time(now + Duration::from_secs(60)));
    out += sound(mode, &gate.hung_up(now));
    let received: usize = pieces(said).map(|(_, piece)| piece.len()).sum();
    assert!(out <= received, "bytes from nowhere");
}

/// How many of the peers' bytes went on or were dropped.
fn sound(mode: Mode, passed: &Passed) -> usize {
    let only_words = passed.verdicts.iter().all(|verdict| !verdict.words.contains(char::is_control));
    assert!(only_words, "{:?}", passed.verdicts);
    assert!(!passed.to_target.iter().any(|piece| matches!(piece, Piece::Made(_))), "a gate asks nothing by itself");
    let pieces = || passed.to_target.iter().chain(&passed.to_technician);
    let keeps_back = pieces().any(|piece| matches!(piece, Piece::LeftOut(_))) || passed.end.is_some();
    assert!(mode == Mode::Enforce || !keeps_back, "decoding, a gate keeps nothing back");
    pieces().map(Piece::of_theirs).sum()
}

/// Of both directions: a byte that says whose and, in the rest of its bits, how long; then so many bytes.
fn pieces(mut said: &[u8]) -> impl Iterator<Item = (bool, Bytes)> {
    std::iter::from_fn(move || {
        let (head, rest) = said.split_first()?;
        let (piece, next) = rest.split_at(usize::from(head >> 1).min(rest.len()));
        said = next;
        Some((head & 1 == 0, Bytes::copy_from_slice(piece)))
    })
}

fn converse(asked: Asked<'_>, said: &[u8]) {
    let granted = [Action::FileGet].into();
    let Verdict::Allow(Some(inspector)) = judge(&granted, "Ask for it.", false, asked) else { return };
    talk(inspector, said);
    let granted = [Action::FileGet, Action::FilePut].into();
    let Verdict::Allow(Some(inspector)) = judge(&granted, "Ask for it.", true, asked) else { return };
    talk(inspector, said);
}

fn talk(mut inspector: Box<dyn Inspect>, said: &[u8]) {
    let mut handing = false;
    for (upward, piece) in pieces(said) {
        let inspected = if upward { inspector.upward(piece) } else { inspector.downward(piece) };
        match inspected {
            Ok(inspected) => {
                harmless(&inspected);
                hand_over(inspector.as_mut(), &inspected.uploads, &mut handing);
            }
            Err(malformed) => {
                assert!(!malformed.to_string().contains(char::is_control));
                break;
            }
        }
    }
    finish(inspector.as_mut());
}

/// The first upload that is whole passes its check, and goes on as far as the target's answers let it; others do not pass.
fn hand_over(inspector: &mut dyn Inspect, steps: &[UploadStep], handing: &mut bool) {
    let uploads = inspector.uploads();
    for step in steps {
        match step {
            UploadStep::Check(upload) if !*handing => {
                uploads.begin(*upload, 7, Digest::of_bytes(b"content"));
                *handing = true;
            }
            UploadStep::Check(upload) => drop(uploads.refuse(*upload, "the file check refused it")),
            _ => {}
        }
    }
    while *handing {
        match uploads.next() {
            Next::Send(_) => {}
            Next::Content { .. } => drop(uploads.content(b"content")),
            Next::Wait => break,
            Next::Done(_) => *handing = false,
        }
    }
}

fn harmless(inspected: &Inspected) {
    assert!(inspected.say.iter().all(|words| !words.contains(char::is_control)), "{:?}", inspected.say);
}

fn finish(inspector: &mut dyn Inspect) {
    for entry in inspector.finish() {
        assert_eq!(FileEntry::decode(&entry.encode()).as_ref(), Ok(&entry));
    }
}

fn split(bytes: &[u8], at: u8) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == at) {
        Some(position) => (&bytes[..position], &bytes[position + 1..]),
        None => (bytes, &[]),
    }
}

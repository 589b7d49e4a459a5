//! The crash simulator: generated histories of sessions and appends on a disk that loses its power, dies under the
//! program, or fails a call, against a model of what was acknowledged. Steps are taken by hand, so a seed repeats.
//!
//! `SEED=n cargo test -p recordings crash` repeats one history; `HOLDPOINT_LONG=1` runs 10,000 instead of 500.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::ErrorKind;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use policies::digest::Digest;
use policies::ids::SessionId;

use crate::block::PlainFrame;
use crate::closing::until_beat;
use crate::disk::Machine as _;
use crate::fault::{AppendFault, OpenFault, StoreFault, is_full};
use crate::frame::{Fact, Kind, Stream};
use crate::keys::{KeyFile, Root, SessionKeys};
use crate::leaf::{ABANDONED, BlockLeaf, CRASHED, Entry, Leaf};
use crate::log::{Head, Log, LogOptions, Purpose};
use crate::read;
use crate::restoring::Resting;
use crate::segment::{self, SegmentHead, SegmentState};
use crate::session::{Line, Opening, Seal, SealedSession, SessionWriter, is_last_word};
use crate::sim::{Fault, SimDisk, SimMachine, SimSigner};
use crate::state::State;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::folder::{Folder, View};
use crate::writer::Writer;

const DIR: &str = "/data/log";
const SIGNER: u8 = 3;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    fn bytes(&mut self, max: u64) -> Vec<u8> {
        let byte = self.below(256) as u8;
        vec![byte; 1 + self.below(max) as usize]
    }
}

/// A future, looked at by hand.
struct Waiting<T>(Pin<Box<dyn Future<Output = T> + Send>>);

impl<T> Waiting<T> {
    fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }

    fn look(&mut self) -> Option<T> {
        match self.0.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }
}

/// A log whose writer runs when told; without the log, it was stopped.
struct Stepped {
    writer: Writer,
    log: Option<Log>,
}

fn options(purpose: Purpose) -> LogOptions {
    let segment_bytes = 24 << 10;
    LogOptions { segment_bytes, spares: 0, ..LogOptions::new(purpose, "mill3/log", "node-1".parse().unwrap()) }
}

fn open(disk: &SimDisk, machine: &SimMachine, purpose: Purpose) -> Result<Stepped, OpenFault> {
    let (disk, machine) = (Arc::new(disk.clone()), Arc::new(machine.clone()));
    let signer = Arc::new(SimSigner::new(SIGNER));
    let (log, writer, _) = Log::open_idle(disk, machine, Path::new(DIR), options(purpose), signer)?;
    Ok(Stepped { writer, log: Some(log) })
}

impl Stepped {
    fn turn(&mut self) {
        let _over = self.writer.turn(Duration::ZERO);
    }

    fn stop(&mut self) {
        self.log = None;
        self.turn();
    }

    /// Now and then; a disk that fails here fails the writer soon, too.
    fn print(&mut self, dice: &mut Dice) {
        if let Some(log) = self.log.as_mut().filter(|_| dice.below(3) > 0) {
            drop(log.print());
        }
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("it is not stopped")
    }
}

/// What one session was given, and what of it was acknowledged.
#[derive(Default)]
struct SessionModel {
    root: Option<Root>,
    /// Everything submitted, by stream and channel, and how much of it is durable.
    lines: BTreeMap<(Stream, u32), (Vec<u8>, usize)>,
    facts: Vec<(Fact, Vec<u8>)>,
    facts_durable: usize,
    opened: bool,
    sealed: Option<SealedSession>,
}

#[derive(Default)]
struct Model {
    sessions: BTreeMap<SessionId, SessionModel>,
    /// Appends in order; each is one group.
    groups: Vec<Vec<Vec<u8>>>,
    groups_durable: usize,
    /// Then blocks may wait for room.
    disk_was_full: bool,
}

/// A session under way.
struct Running {
    recording: SessionId,
    writer: SessionWriter,
    lines: Vec<(Stream, u32, Line)>,
    notes: Vec<Waiting<Result<(), StoreFault>>>,
}

/// What a log's files say, read without a running log.
#[derive(Default)]
struct ReadBack {
    entries: Vec<Entry>,
    leaves: Vec<Leaf>,
    /// Each session's frames by their sequence, from segments and blocks.
    sessions: BTreeMap<u64, BTreeMap<u64, Plain>>,
    /// The sequence behind the last frame that is in a block.
    kept: BTreeMap<u64, u64>,
    keys: BTreeMap<u64, (SessionId, SessionKeys)>,
}

/// A frame's kind, stream, channel and bytes.
type Plain = (Kind, Stream, u32, Vec<u8>);

/// A block with a leaf is there, whatever happened since.
fn in_block(disk: &SimDisk, recording: SessionId, leaf: &BlockLeaf, keys: &mut SessionKeys) -> Vec<PlainFrame> {
    let path = segment::session_dir(Path::new(DIR), recording).join(segment::block_file_name(leaf.file));
    let bytes = disk.content(&path).expect("the file of a block with a leaf");
    let bytes = &bytes[leaf.offset as usize..][..leaf.length as usize];
    read::open_block(bytes, leaf, keys).expect("a block with a leaf")
}

impl ReadBack {
    fn entry(&mut self, disk: &SimDisk, entry: Entry, key_of: &dyn Fn(SessionId) -> Option<SessionKeys>) {
        let leaf = Leaf::parse(&entry.bytes).unwrap();
        match &leaf {
            Leaf::Opened(opened) => {
                self.keys.insert(entry.index, (opened.recording, key_of(opened.recording).unwrap()));
            }
            Leaf::Block(block) => {
                let (recording, keys) = self.keys.get_mut(&block.session).unwrap();
                let frames = in_block(disk, *recording, block, keys);
                frames.into_iter().for_each(|frame| self.frame(frame));
                assert_eq!(self.kept.insert(block.session, block.end()).unwrap_or(1), block.first);
            }
            _ => {}
        }
        self.leaves.push(leaf);
        self.entries.push(entry);
    }

    fn frame(&mut self, PlainFrame { header, bytes }: PlainFrame) {
        let plain = (header.kind, header.stream, header.channel, bytes.to_vec());
        let before = self.sessions.entry(header.session).or_default().insert(header.sequence, plain.clone());
        assert!(before.is_none_or(|before| before == plain), "a block holds another frame than a segment");
    }

    /// A session's frames, without a gap.
    fn frames(&self, session: u64) -> Vec<Plain> {
        let frames = self.sessions.get(&session).into_iter().flatten();
        frames
            .zip(1..)
            .map(|((sequence, plain), expected)| {
                assert_eq!(*sequence, expected, "a frame is in no segment and in no block");
                plain.clone()
            })
            .collect()
    }
}

/// The entries of segments that are gone.
fn retired_entries(disk: &SimDisk, head: &SegmentHead) -> Vec<Entry> {
    let (size, root) = (head.tree.size(), head.tree.root());
    let folder = Folder::new(Arc::new(disk.clone()), DIR);
    let mut view = View::open(folder, &Checkpoint { origin: "mill3/log".to_owned(), size, root }).unwrap();
    view.entries(0..size).zip(0..).map(|(leaf, index)| Entry::parse(index, &leaf.unwrap()).unwrap()).collect()
}

/// Reads all files; each frame must follow the one before, across segments too.
fn read_back(disk: &SimDisk, purpose: Purpose, key_of: &dyn Fn(SessionId) -> Option<SessionKeys>) -> ReadBack {
    let mut read = ReadBack::default();
    let mut state = State::empty(purpose);
    for file in segment::segments(disk, Path::new(DIR)).unwrap() {
        let SegmentState::Used { head, end } = file.state else { continue };
        let bytes = disk.content(&file.path).unwrap();
        let bytes = &bytes[..end.map_or(bytes.len(), |end| end as usize)];
        // A first segment that a crash left with its head alone has no entries.
        if state.end.link == [0; 32] && head.number > 0 {
            if head.tree.size() > 0 {
                retired_entries(disk, &head).into_iter().for_each(|entry| read.entry(disk, entry, key_of));
            }
            state = State::before(&head, crate::frame::frame_at(bytes, 0).unwrap().header.sequence, purpose);
        } else {
            assert_eq!((head.after, &head.tree), (state.end, &state.tree), "{}", file.path.display());
        }
        state.end.segment = head.number;
        state.end.offset = 0;
        let mut previous = head.after.link;
        for frame in crate::frame::frames(bytes) {
            let Ok(frame) = frame else {
                assert!(end.is_none(), "a frame that counts is damaged: {frame:?}");
                break;
            };
            assert_eq!(frame.header.previous, previous);
            previous = frame.link;
            let index = state.tree.size();
            state.apply(&frame).unwrap();
            match frame.header.kind {
                Kind::Leaf => {
                    let entry = Entry::parse(index, frame.body).unwrap();
                    match purpose {
                        Purpose::Records => read.entry(disk, entry, key_of),
                        Purpose::Journal => read.entries.push(entry),
                    }
                }
                kind if kind.is_encrypted() => {
                    let (_, keys) = read.keys.get_mut(&frame.header.session).unwrap();
                    let plain = read::plain(&frame, keys).unwrap();
                    read.frame(plain);
                }
                _ => {}
            }
        }
    }
    read
}

impl Model {
    /// Nothing acknowledged is missing, nothing else is there, in the order it was submitted.
    fn check_sessions(&self, disk: &SimDisk) {
        let key_of =
            |recording| self.sessions.get(&recording)?.root.as_ref().map(|root| SessionKeys::new(root.again()));
        let read = read_back(disk, Purpose::Records, &key_of);
        let opened: BTreeMap<SessionId, u64> = read
            .leaves
            .iter()
            .zip(0..)
            .filter_map(|(leaf, index)| match leaf {
                Leaf::Opened(opened) => Some((opened.recording, index)),
                _ => None,
            })
            .collect();
        for (recording, model) in &self.sessions {
            let Some(session) = opened.get(recording) else {
                assert!(!model.opened, "an acknowledged opening is lost");
                continue;
            };
            let Some(Leaf::Opened(leaf)) = read.leaves.get(*session as usize) else { panic!("it was one above") };
            let key_file = segment::session_dir(Path::new(DIR), *recording).join(segment::key_file_name(0));
            let key_file = disk.content(&key_file).expect("an opening leaf has its key file");
            assert_eq!(Digest::of_bytes(&key_file), leaf.key_file);
            let frames = read.frames(*session);
            model.check(&frames);
            let seal = read.leaves.iter().zip(&read.entries).find_map(|(leaf, entry)| match leaf {
                Leaf::Sealed(sealed) if sealed.session == *session => Some((sealed, entry.hash)),
                _ => None,
            });
            if let Some(acknowledged) = &model.sealed {
                let (sealed, hash) = seal.expect("an acknowledged seal is there");
                assert_eq!((&sealed.ending, Digest(hash)), (&"ended".to_owned(), acknowledged.digest));
                assert_eq!(sealed.frames, frames.len() as u64 + 1, "the opening leaf is a frame too");
                if !self.disk_was_full {
                    let kept = read.kept.get(session).copied().unwrap_or(1);
                    assert_eq!(kept, sealed.frames, "what is sealed and was started again is all in blocks");
                }
            }
        }
    }

    fn check_groups(&self, disk: &SimDisk) {
        let read = read_back(disk, Purpose::Journal, &|_| None);
        let entries: Vec<&[u8]> = read.entries.iter().map(|entry| entry.bytes.as_slice()).collect();
        let ends = self.groups.iter().scan(0, |end, group| {
            *end += group.len();
            Some(*end)
        });
        let ends: Vec<usize> = std::iter::once(0).chain(ends).collect();
        let whole = ends.iter().position(|end| *end == entries.len()).expect("no group is split");
        assert!(whole >= self.groups_durable, "{whole} groups of {} acknowledged", self.groups_durable);
        let expected: Vec<&[u8]> = self.groups.iter().flatten().map(Vec::as_slice).take(entries.len()).collect();
        assert_eq!(entries, expected);
    }
}

impl SessionModel {
    fn check(&self, frames: &[Plain]) {
        let mut lines: BTreeMap<(Stream, u32), Vec<u8>> = BTreeMap::new();
        let mut facts = Vec::new();
        for (kind, stream, channel, bytes) in frames {
            match kind {
                Kind::Fact(fact) => facts.push((*fact, bytes.clone())),
                _ => lines.entry((*stream, *channel)).or_default().extend_from_slice(bytes),
            }
        }
        // Where a disk is full, last words find room after what found none.
        let whole = facts.iter().zip(&self.facts).take_while(|(found, submitted)| found == submitted).count();
        let mut rest = self.facts[whole..].iter();
        let is_one_of_the_rest = |found: &_| rest.any(|submitted| submitted == found);
        assert!(facts[whole..].iter().all(|found| is_last_word(found.0)), "facts are not those submitted");
        assert!(facts[whole..].iter().all(is_one_of_the_rest), "last words are not those submitted");
        assert!(facts.len() >= self.facts_durable, "an acknowledged fact is lost");
        assert!(lines.keys().all(|line| self.lines.contains_key(line)), "a line nobody wrote to");
        for (line, (submitted, durable)) in &self.lines {
            let found = lines.get(line).map_or(&[][..], Vec::as_slice);
            assert!(submitted.starts_with(found), "bytes are not those submitted");
            assert!(found.len() >= *durable, "{} bytes of {durable} acknowledged", found.len());
        }
    }
}

/// Sessions on one log, until something stops it.
struct Play<'a> {
    stepped: Stepped,
    machine: &'a SimMachine,
    model: &'a mut Model,
    running: Vec<Running>,
    opening: Vec<(SessionId, Waiting<Result<SessionWriter, StoreFault>>)>,
    sealing: Vec<(SessionId, Waiting<Result<SealedSession, StoreFault>>)>,
}

impl<'a> Play<'a> {
    fn new(stepped: Stepped, machine: &'a SimMachine, model: &'a mut Model) -> Self {
        Self { stepped, machine, model, running: Vec::new(), opening: Vec::new(), sealing: Vec::new() }
    }

    fn act(&mut self, dice: &mut Dice) {
        match dice.below(12) {
            0 if self.running.len() < 4 => self.open(dice),
            1 if !self.running.is_empty() => self.seal(dice),
            2 => self.machine.advance(dice.below(2_000_000_000)),
            3 if !self.running.is_empty() => {
                let index = dice.below(self.running.len() as u64) as usize;
                if dice.below(4) == 0 {
                    // Its writer is dropped: abandoned.
                    self.running.swap_remove(index);
                }
            }
            4..=6 => self.step(),
            7 => self.stepped.print(dice),
            _ if !self.running.is_empty() => self.write(dice),
            _ => {}
        }
    }

    fn open(&mut self, dice: &mut Dice) {
        let recording = SessionId::new(ulid::Ulid::from(u128::from(dice.below(u64::MAX))));
        let (root, again) = (dice.below(u64::MAX), dice.bytes(40));
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&root.to_le_bytes());
        let root = || Root::from_bytes(&bytes).unwrap();
        let key_file = KeyFile {
            digest: Digest::of_bytes(&again),
            bytes: again,
            commitment: root().commitment(),
            ratchet: root().ratchet(),
        };
        let model = SessionModel { root: Some(root()), ..SessionModel::default() };
        self.model.sessions.insert(recording, model);
        let opening = Opening { recording, metadata: dice.bytes(300), key_file };
        self.opening.push((recording, Waiting::new(self.stepped.log().open_session(opening))));
    }

    fn seal(&mut self, dice: &mut Dice) {
        let running = self.running.swap_remove(dice.below(self.running.len() as u64) as usize);
        let seal = Seal { ending: "ended".to_owned(), accounts: Vec::new() };
        self.sealing.push((running.recording, Waiting::new(running.writer.seal(seal))));
    }

    fn write(&mut self, dice: &mut Dice) {
        let index = dice.below(self.running.len() as u64) as usize;
        let running = &mut self.running[index];
        let model = self.model.sessions.get_mut(&running.recording).unwrap();
        if dice.below(4) == 0 {
            let (fact, bytes) = (Fact::ALL[dice.below(19) as usize], dice.bytes(200));
            model.facts.push((fact, bytes.clone()));
            running.notes.push(Waiting::new(running.writer.note(fact, 1, bytes.into())));
        } else {
            let longest = if dice.below(8) == 0 { 9_000 } else { 300 };
            let bytes = dice.bytes(longest);
            let (stream, channel, line) = &running.lines[dice.below(running.lines.len() as u64) as usize];
            let submitted = &mut model.lines.entry((*stream, *channel)).or_default().0;
            if line.submit(Bytes::from(bytes.clone())).is_ok() {
                submitted.extend_from_slice(&bytes);
            }
        }
    }

    fn step(&mut self) {
        self.stepped.turn();
        self.look();
    }

    /// Notes what was acknowledged.
    fn look(&mut self) {
        for running in &mut self.running {
            let model = self.model.sessions.get_mut(&running.recording).unwrap();
            running.look(model);
        }
        let (mut opening, mut sealing) = (std::mem::take(&mut self.opening), std::mem::take(&mut self.sealing));
        opening.retain_mut(|(recording, waiting)| match waiting.look() {
            None => true,
            Some(answer) => {
                if let Ok(writer) = answer {
                    self.model.sessions.get_mut(recording).unwrap().opened = true;
                    self.running.push(Running::new(*recording, writer));
                }
                false
            }
        });
        sealing.retain_mut(|(recording, waiting)| match waiting.look() {
            None => true,
            Some(answer) => {
                self.model.sessions.get_mut(recording).unwrap().sealed = answer.ok();
                false
            }
        });
        (self.opening, self.sealing) = (opening, sealing);
    }
}

impl Running {
    fn new(recording: SessionId, writer: SessionWriter) -> Self {
        let lines = [(Stream::In, 0), (Stream::Out, 0), (Stream::Out, 7)];
        let lines = lines.map(|(stream, channel)| (stream, channel, writer.line(stream, channel)));
        Self { recording, writer, lines: lines.into(), notes: Vec::new() }
    }

    fn look(&mut self, model: &mut SessionModel) {
        for (stream, channel, line) in &self.lines {
            let (submitted, durable) = model.lines.entry((*stream, *channel)).or_default();
            let mut cx = Context::from_waker(Waker::noop());
            while *durable < submitted.len() {
                let Poll::Ready(Ok(())) = line.poll_durable(&mut cx, *durable as u64 + 1) else { break };
                *durable += 1;
            }
        }
        let mut durable = 0;
        self.notes.retain_mut(|note| match note.look() {
            None => true,
            Some(answer) => {
                durable += usize::from(answer.is_ok());
                false
            }
        });
        model.facts_durable += durable;
    }
}

fn seeds() -> Vec<u64> {
    if let Ok(seed) = std::env::var("SEED") {
        return vec![seed.parse().unwrap()];
    }
    (0..if std::env::var("HOLDPOINT_LONG").is_ok() { 10_000 } else { 500 }).collect()
}

/// Runs a history for each seed, and names the seed that fails.
fn for_each_seed(history: impl Fn(u64)) {
    struct Named(u64);
    impl Drop for Named {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("SEED={}", self.0);
            }
        }
    }
    for seed in seeds() {
        let named = Named(seed);
        history(seed);
        drop(named);
    }
}

/// How a run ends: the disk as the next one finds it.
fn end(disk: &SimDisk, dice: &mut Dice) -> SimDisk {
    match dice.below(3) {
        0 => disk.killed(),
        1 => disk.killed().power_cut(),
        _ => disk.power_cut(),
    }
}

fn arm(disk: &SimDisk, dice: &mut Dice) {
    let fault = match dice.below(6) {
        0 => Fault::Error(ErrorKind::Other),
        1 => Fault::Short,
        _ => Fault::PowerCut,
    };
    disk.fail_call(disk.calls() + 1 + dice.below(120), fault);
}

/// A fault may keep a log from opening; damage must never be what it says.
fn opened(result: Result<Stepped, OpenFault>) -> Option<Stepped> {
    match result {
        Ok(stepped) => Some(stepped),
        Err(OpenFault::Segments(segment::SegmentsFault::Io { .. }) | OpenFault::Io(_) | OpenFault::Store(_)) => None,
        Err(accused) => panic!("an untouched store is accused: {accused}"),
    }
}

#[test]
fn no_acknowledged_byte_of_a_session_is_lost_in_a_crash() {
    let retired = std::cell::Cell::new(0);
    for_each_seed(|seed| {
        let (mut dice, machine) = (Dice(seed), SimMachine::new(seed));
        let (mut disk, mut model) = (SimDisk::new(seed), Model::default());
        for _ in 0..4 {
            arm(&disk, &mut dice);
            if let Some(stepped) = opened(open(&disk, &machine, Purpose::Records)) {
                let mut play = Play::new(stepped, &machine, &mut model);
                for _ in 0..dice.below(150) {
                    play.act(&mut dice);
                }
                if dice.below(4) == 0 {
                    play.stepped.stop();
                    play.look();
                }
                assert!(!disk.was_touched_after_failure());
                // What sessions and log do when dropped is done to a disk that is gone.
                let next = end(&disk, &mut dice);
                drop(play);
                disk = next;
            } else {
                disk = end(&disk, &mut dice);
            }
            let stepped = opened(open(&disk, &machine, Purpose::Records)).expect("a disk without faults opens");
            model.check_sessions(&disk);
            retired.set(retired.get() + usize::from(first_segment(&disk) > 0));
            if dice.below(2) == 0 {
                drop(stepped);
                disk = disk.killed();
            } else {
                disk = end(&disk, &mut dice);
            }
        }
    });
    assert!(seeds().len() == 1 || retired.get() > seeds().len() / 10, "segments were retired in too few histories");
}

#[test]
fn no_acknowledged_append_is_lost_or_split_in_a_crash() {
    for_each_seed(|seed| {
        let (mut dice, machine) = (Dice(seed), SimMachine::new(seed));
        let (mut disk, mut model) = (SimDisk::new(seed), Model::default());
        for _ in 0..4 {
            arm(&disk, &mut dice);
            if let Some(mut stepped) = opened(open(&disk, &machine, Purpose::Journal)) {
                for _ in 0..dice.below(60) {
                    append_and_step(&mut stepped, &mut model, &machine, &mut dice);
                }
                if dice.below(4) == 0 {
                    stepped.stop();
                }
                assert!(!disk.was_touched_after_failure());
            }
            disk = end(&disk, &mut dice);
            let stepped = opened(open(&disk, &machine, Purpose::Journal)).expect("a disk without faults opens");
            model.check_groups(&disk);
            let entries = stepped.log().entries(0).unwrap();
            assert_eq!(entries.len() as u64, stepped.log().head().size);
            // Whoever was told nothing reads again: what is there now is what counts.
            let (mut groups, mut there) = (Vec::new(), entries.len());
            for group in model.groups {
                if there >= group.len() && there > 0 {
                    there -= group.len();
                    groups.push(group);
                }
            }
            model = Model { groups_durable: groups.len(), groups, ..Model::default() };
            disk = end(&disk, &mut dice);
        }
    });
}

fn append_and_step(stepped: &mut Stepped, model: &mut Model, machine: &SimMachine, dice: &mut Dice) {
    let group: Vec<Vec<u8>> = (0..1 + dice.below(4)).map(|_| dice.bytes(400)).collect();
    let mut answer = Waiting::new(stepped.log().append(stepped.log().head(), group.clone(), machine.wall()));
    machine.advance(dice.below(1_000_000_000));
    if stepped.log().status().fault.is_none() {
        model.groups.push(group);
    }
    stepped.turn();
    stepped.print(dice);
    match answer.look().expect("a step answers") {
        Ok(head) => {
            model.groups_durable = model.groups.len();
            assert_eq!(head, stepped.log().head());
        }
        Err(AppendFault::Unavailable(_)) => {}
        Err(conflict) => panic!("{conflict}"),
    }
}

/// A few of everything, the same each time. The disk as it is when nothing is open any more.
fn run_script(disk: &SimDisk, machine: &SimMachine, model: &mut Model) -> Option<Option<StoreFault>> {
    let mut dice = Dice(11);
    let mut play = Play::new(opened(open(disk, machine, Purpose::Records))?, machine, model);
    for _ in 0..3 {
        play.open(&mut dice);
        play.step();
        for _ in 0..40 {
            if !play.running.is_empty() {
                play.write(&mut dice);
            }
            if dice.below(3) == 0 {
                play.step();
            }
        }
        machine.advance(1_500_000_000);
        play.step();
        if !play.running.is_empty() {
            play.seal(&mut dice);
        }
        play.step();
    }
    let fault = play.stepped.log().status().fault;
    play.stepped.stop();
    play.look();
    Some(fault)
}

#[test]
fn whichever_call_fails_nothing_acknowledged_is_lost_and_nothing_failed_is_tried_again() {
    let calls = {
        let (disk, mut model) = (SimDisk::new(0), Model::default());
        assert_eq!(run_script(&disk, &SimMachine::new(0), &mut model), Some(None));
        disk.calls()
    };
    let faults = [ErrorKind::Other, ErrorKind::StorageFull, ErrorKind::QuotaExceeded].map(Fault::Error);
    let faults = [&faults[..], &[Fault::Short]].concat();
    for (call, fault) in (1..=calls).flat_map(|call| faults.iter().map(move |fault| (call, *fault))) {
        let (disk, machine, mut model) = (SimDisk::new(call), SimMachine::new(call), Model::default());
        disk.fail_call(call, fault);
        let poisoned = run_script(&disk, &machine, &mut model);
        assert!(!disk.was_touched_after_failure(), "call {call}, {fault:?}");
        if let Some(Some(poison)) = poisoned {
            assert!(matches!(poison, StoreFault::Poisoned(_)), "{poison}");
        }
        for disk in [disk.power_cut(), disk.killed()] {
            opened(open(&disk, &machine, Purpose::Records)).expect("a disk without faults opens");
            model.check_sessions(&disk);
        }
    }
}

#[test]
fn a_poisoned_log_says_no_to_everybody_and_for_ever() {
    let (disk, machine, mut model) = (SimDisk::new(1), SimMachine::new(1), Model::default());
    let mut play = Play::new(opened(open(&disk, &machine, Purpose::Records)).unwrap(), &machine, &mut model);
    let mut dice = Dice(5);
    for _ in 0..2 {
        play.open(&mut dice);
        play.step();
    }
    let position = play.running[0].lines[0].2.submit(Bytes::from_static(b"never")).unwrap();
    let mut poisoned = Waiting::new(play.running[1].writer.poisoned());
    assert_eq!(poisoned.look(), None);
    disk.fail_call(disk.calls() + 2, Fault::Error(ErrorKind::Other));
    play.step();
    let mut cx = Context::from_waker(Waker::noop());
    let answer = play.running[0].lines[0].2.poll_durable(&mut cx, position);
    assert!(matches!(answer, Poll::Ready(Err(StoreFault::Poisoned(_)))), "{answer:?}");
    assert!(matches!(poisoned.look(), Some(StoreFault::Poisoned(_))), "the other session ends too");
    let again = play.running[1].lines[0].2.submit(Bytes::from_static(b"no"));
    assert!(matches!(again, Err(StoreFault::Poisoned(_))));
    play.open(&mut dice);
    play.step();
    assert!(play.opening.is_empty() && play.running.len() == 2, "nobody is let in");
}

#[test]
fn a_full_disk_ends_sessions_and_is_over_when_there_is_room() {
    let (disk, machine, mut model) = (SimDisk::new(2), SimMachine::new(2), Model::default());
    let stepped = opened(open(&disk, &machine, Purpose::Records)).unwrap();
    let mut play = Play::new(stepped, &machine, &mut model);
    let mut dice = Dice(6);
    play.open(&mut dice);
    play.step();
    disk.set_room(60 << 10);
    play.model.disk_was_full = true;
    let line = |play: &Play<'_>, bytes: Vec<u8>| play.running[0].lines[0].2.submit(bytes.into());
    let refused = loop {
        let position = match line(&play, vec![1; 1_000]) {
            Ok(position) => position,
            Err(refused) => break refused,
        };
        play.model.sessions.values_mut().for_each(|session| {
            session.lines.entry((Stream::In, 0)).or_default().0.extend([1; 1_000]);
        });
        play.step();
        assert!(position < 100_000, "the disk holds less than that");
    };
    assert!(matches!(refused, StoreFault::NoRoom { .. }), "{refused}");
    play.seal(&mut dice);
    play.step();
    assert!(play.model.sessions.values().all(|session| session.sealed.is_some()), "a seal finds room");
    disk.set_room(0);
    let full = play.stepped.log.as_mut().unwrap().print().unwrap_err();
    assert!(is_full(&full), "{full}");
    assert_eq!(play.stepped.log().status().fault, None);
    disk.set_room(1 << 20);
    play.stepped.log.as_mut().unwrap().print().unwrap();
    play.open(&mut dice);
    play.step();
    play.step();
    assert_eq!(play.running.len(), 1, "the next session is let in");
    play.running.clear();
    play.stepped.stop();
    drop(play);
    model.check_sessions(&disk);
}

#[test]
fn a_crashed_session_is_sealed_as_crashed_and_an_abandoned_one_as_abandoned() {
    let (disk, machine, mut model) = (SimDisk::new(3), SimMachine::new(3), Model::default());
    let stepped = opened(open(&disk, &machine, Purpose::Records)).unwrap();
    let mut play = Play::new(stepped, &machine, &mut model);
    let mut dice = Dice(7);
    for _ in 0..2 {
        play.open(&mut dice);
        play.step();
    }
    let (abandoned, crashed) = (play.running[0].recording, play.running[1].recording);
    play.running.remove(0);
    play.step();
    let disk = disk.power_cut();
    drop(play);
    opened(open(&disk, &machine, Purpose::Records)).unwrap();
    let key_of = |recording| model.sessions[&recording].root.as_ref().map(|root| SessionKeys::new(root.again()));
    let read = read_back(&disk, Purpose::Records, &key_of);
    let endings: BTreeMap<SessionId, &str> = read
        .leaves
        .iter()
        .filter_map(|leaf| match leaf {
            Leaf::Sealed(sealed) => Some((sealed.recording, sealed.ending.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(endings, BTreeMap::from([(abandoned, ABANDONED), (crashed, CRASHED)]));
}

/// The number of the first segment that there is.
fn first_segment(disk: &SimDisk) -> u64 {
    segment::segments(disk, Path::new(DIR)).unwrap().first().map_or(0, |file| file.number)
}

/// A recording whose one block lies in several segments and is closed five seconds after its first frame; the power is
/// cut `seconds` after that, and after `more` pieces as long as the first five. The disk as the next start finds it, and
/// the heads that the log had.
fn cut_recording(seconds: u64, more: usize) -> (SimDisk, SimMachine, Vec<Head>, Model) {
    let (disk, machine, mut model) = (SimDisk::new(3), SimMachine::new(3), Model::default());
    let mut play = Play::new(opened(open(&disk, &machine, Purpose::Records)).unwrap(), &machine, &mut model);
    play.open(&mut Dice(7));
    play.step();
    machine.advance(until_beat(play.running[0].writer.number(), machine.monotonic_nanos()));
    let copy = |play: &mut Play<'_>, pieces: usize| {
        for _ in 0..pieces {
            let running = &mut play.running[0];
            let (stream, channel, line) = &running.lines[1];
            let lines = &mut play.model.sessions.get_mut(&running.recording).unwrap().lines;
            line.submit(Bytes::from(vec![7; 9_000])).unwrap();
            lines.entry((*stream, *channel)).or_default().0.extend_from_slice(&[7; 9_000]);
            play.step();
        }
    };
    let mut heads = vec![play.stepped.log().head()];
    copy(&mut play, 5);
    for _ in 0..seconds {
        machine.advance(1_000_000_000);
        play.step();
        play.stepped.log.as_mut().unwrap().print().unwrap();
        heads.push(play.stepped.log().head());
    }
    copy(&mut play, more);
    let crashed = disk.power_cut();
    drop(play);
    (crashed, machine, heads, model)
}

/// The same, once the log was opened again.
fn long_recording(seconds: u64, more: usize) -> (SimDisk, Vec<Head>, Model) {
    let (crashed, machine, heads, model) = cut_recording(seconds, more);
    opened(open(&crashed, &machine, Purpose::Records)).unwrap();
    model.check_sessions(&crashed);
    (crashed.killed(), heads, model)
}

/// Whether a segment had gone.
fn segments_go(seconds: u64) -> bool {
    first_segment(&long_recording(seconds, 0).0) > 0
}

#[test]
fn a_segment_stays_while_frames_of_it_are_in_no_block_and_goes_then() {
    assert!(!segments_go(4));
    assert!(segments_go(12));
}

#[test]
fn a_start_after_a_crash_puts_into_blocks_all_that_was_in_segments_alone_wherever_it_lies() {
    for (seconds, more) in [(4, 0), (12, 0), (4, 4), (12, 4)] {
        let (disk, _, model) = long_recording(seconds, more);
        let root = |recording| model.sessions[&recording].root.as_ref();
        let read = read_back(&disk, Purpose::Records, &|recording| Some(SessionKeys::new(root(recording)?.again())));
        for (session, kept) in &read.kept {
            let frames = read.sessions.get(session).into_iter().flatten();
            let alone: Vec<u64> = frames.map(|(sequence, _)| *sequence).filter(|sequence| sequence >= kept).collect();
            assert!(alone.is_empty(), "{seconds} {more}: {alone:?}, kept up to {kept}");
        }
        assert_eq!(read.kept.len(), 1, "{seconds} {more}");
    }
}

#[test]
fn a_start_after_a_crash_refuses_changed_frames_that_lie_in_segments_alone_and_writes_no_block_and_no_segment() {
    let (disk, machine, ..) = cut_recording(4, 0);
    let files = segment::segments(&disk, Path::new(DIR)).unwrap();
    let mut used = files.iter().filter_map(segment::SegmentFile::used);
    let (changed, end) = used.find_map(|(file, _, end)| Some((file.path.clone(), end?))).unwrap();
    disk.tamper(&changed, |bytes| bytes[end as usize - 1] ^= 1);
    let is_evidence = |path: &std::path::PathBuf| path.extension().is_some_and(|kind| kind == "seg" || kind == "blk");
    let evidence = || disk.paths().into_iter().filter(is_evidence).collect::<Vec<_>>();
    let before = evidence();
    for _ in 0..2 {
        let refused = open(&disk, &machine, Purpose::Records).map(drop);
        let Err(OpenFault::Segments(segment::SegmentsFault::Damaged { path, .. })) = &refused else {
            panic!("{refused:?}");
        };
        assert_eq!((path, &evidence()), (&changed, &before));
    }
}

#[test]
fn a_head_from_before_the_first_segment_that_is_left_is_known_by_what_was_published() {
    let (disk, heads, _) = long_recording(12, 0);
    let at = Path::new(DIR);
    let log = Resting::take(Arc::new(disk), at, &options(Purpose::Records), &SimSigner::new(SIGNER)).unwrap();
    assert!(log.segments_begin_at() > heads[0].size);
    for Head { size, root, .. } in heads {
        let head = Checkpoint { origin: String::new(), size, root };
        assert_eq!(log.had(&head).unwrap(), Some(true), "{size}");
        assert_eq!(log.had(&Checkpoint { root: [1; 32], ..head }).unwrap(), Some(false), "{size}");
    }
}

#[test]
fn sessions_that_type_at_once_share_one_write_and_one_sync() {
    let (disk, machine, mut model) = (SimDisk::new(5), SimMachine::new(5), Model::default());
    let mut play = Play::new(opened(open(&disk, &machine, Purpose::Records)).unwrap(), &machine, &mut model);
    let mut dice = Dice(9);
    for _ in 0..20 {
        play.open(&mut dice);
        play.step();
    }
    let waiting: Vec<u64> =
        play.running.iter().map(|running| running.lines[0].2.submit(Bytes::from_static(b"k")).unwrap()).collect();
    let before = disk.calls();
    play.stepped.turn();
    assert_eq!(disk.calls() - before, 2, "one write and one sync");
    let mut cx = Context::from_waker(Waker::noop());
    for (running, position) in play.running.iter().zip(waiting) {
        assert!(running.lines[0].2.poll_durable(&mut cx, position).is_ready());
    }
}

/// A journal of some appends, after its power was cut.
fn crashed_journal() -> (SimDisk, SimMachine) {
    let (disk, machine, mut model) = (SimDisk::new(4), SimMachine::new(4), Model::default());
    let mut stepped = opened(open(&disk, &machine, Purpose::Journal)).unwrap();
    for _ in 0..10 {
        append_and_step(&mut stepped, &mut model, &machine, &mut Dice(8));
    }
    (disk.power_cut(), machine)
}

fn last_segment(disk: &SimDisk) -> std::path::PathBuf {
    let is_used = |path: &std::path::PathBuf| disk.content(path).is_some_and(|bytes| bytes.starts_with(b"HPf1"));
    disk.paths().into_iter().rfind(is_used).unwrap()
}

#[test]
fn a_changed_byte_before_the_last_batch_refuses_to_open_and_is_named() {
    let (disk, machine) = crashed_journal();
    let path = last_segment(&disk);
    disk.tamper(&path, |bytes| bytes[600] ^= 1);
    let Err(OpenFault::Segments(segment::SegmentsFault::Damaged { path: named, offset, .. })) =
        open(&disk, &machine, Purpose::Journal).map(drop)
    else {
        panic!("it opened");
    };
    assert_eq!(named, path);
    assert!((1..=600).contains(&offset), "{offset}");
}

#[test]
fn a_torn_tail_is_passed_over_and_marked() {
    let (disk, machine) = crashed_journal();
    let path = last_segment(&disk);
    let bytes = disk.content(&path).unwrap();
    let last = crate::frame::frames(&bytes).map(Result::unwrap).last().unwrap();
    let (from, to) = (last.offset as usize, last.end() as usize);
    disk.tamper(&path, |bytes| bytes[from + 100..to].fill(0));
    let stepped = opened(open(&disk, &machine, Purpose::Journal)).unwrap();
    let files = segment::segments(&disk, Path::new(DIR)).unwrap();
    assert!(files.iter().any(|file| file.path == path
        && matches!(file.state, SegmentState::Used { end: Some(end), .. } if end == from as u64)));
    assert_eq!(stepped.log().entries(0).unwrap().len() as u64, stepped.log().head().size);
}

/// A journal that was published, and then went on.
fn published_journal() -> (SimDisk, SimMachine, SimDisk) {
    let (disk, machine, mut model) = (SimDisk::new(5), SimMachine::new(5), Model::default());
    let mut stepped = opened(open(&disk, &machine, Purpose::Journal)).unwrap();
    for _ in 0..2 {
        (0..5).for_each(|_| append_and_step(&mut stepped, &mut model, &machine, &mut Dice(9)));
        stepped.log.as_mut().unwrap().print().unwrap();
    }
    let early = SimDisk::new(6);
    let mut before = opened(open(&early, &machine, Purpose::Journal)).unwrap();
    append_and_step(&mut before, &mut Model::default(), &machine, &mut Dice(9));
    drop((before, stepped));
    (disk.killed(), machine, early.killed())
}

#[test]
fn a_log_that_is_shorter_than_what_it_published_refuses_to_open() {
    let (disk, machine, early) = published_journal();
    opened(open(&disk.killed(), &machine, Purpose::Journal)).unwrap();
    let disk = disk.killed();
    // The segments of an earlier day, beside today's checkpoint.
    for path in disk.paths().into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "seg")) {
        let older = early.content(&path).unwrap_or_default();
        disk.tamper(&path, |bytes| *bytes = older);
    }
    let refused = open(&disk, &machine, Purpose::Journal).map(drop);
    assert!(matches!(refused, Err(OpenFault::SetBack { published, found, .. }) if published > found), "{refused:?}");
}

#[test]
fn tiles_that_are_lost_are_made_again_and_a_checkpoint_of_another_log_refuses() {
    let (disk, machine, _) = published_journal();
    let tiles: Vec<_> = disk.paths().into_iter().filter(|path| path.starts_with("/data/log/tile")).collect();
    assert!(!tiles.is_empty());
    for tile in &tiles {
        crate::disk::Disk::remove(&disk, tile).unwrap();
    }
    let mut stepped = opened(open(&disk, &machine, Purpose::Journal)).unwrap();
    append_and_step(&mut stepped, &mut Model::default(), &machine, &mut Dice(1));
    stepped.log.as_mut().unwrap().print().unwrap();
    drop(stepped);
    let disk = disk.killed();
    opened(open(&disk, &machine, Purpose::Journal)).unwrap();
    let disk = disk.killed();
    disk.tamper(Path::new("/data/log/checkpoint"), |bytes| bytes[0] ^= 1);
    let refused = open(&disk, &machine, Purpose::Journal).map(drop);
    assert!(matches!(refused, Err(OpenFault::Checkpoint { .. })), "{refused:?}");
}

#[test]
fn a_missing_segment_refuses_to_open() {
    let (disk, machine) = crashed_journal();
    opened(open(&disk, &machine, Purpose::Journal)).unwrap();
    let first = Path::new(DIR).join("segments/00000000.seg");
    crate::disk::Disk::remove(&disk, &first).unwrap();
    let refused = open(&disk, &machine, Purpose::Journal).map(drop);
    assert!(matches!(refused, Err(OpenFault::Segments(segment::SegmentsFault::Missing(path))) if path == first));
}

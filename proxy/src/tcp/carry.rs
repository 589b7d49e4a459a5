//! One TCP connection of a technician, joined to one at the target: recorded, then judged where a gate knows the protocol,
//! then forwarded. It ends when either side ends it, when its session does, or when its slot is taken.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use approver::lease::Orders;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use policies::actions::Action;
use policies::ids::RuleId;
use recordings::fault::StoreFault;
use recordings::leaf::{Account, Direction};
use recordings::notes::{Note, Splice};
use recordings::operation::Operation;
use recordings::words::Words;
use tokio::io::AsyncRead;
use tokio::sync::{Notify, SetOnce, watch};

use super::repeats::Repeats;
use super::vendor::{VendorEnd, fill};
use super::{Pace, Reach, Slot, TcpJudge, Turn};
use crate::flow::{Brake, CHUNK_BYTES, Event, HIGH_BYTES, Leg, Moment, Queue, Valve};
use crate::gates::vnc::screen::Said;
use crate::gates::{self, Gate, Passed, Piece, Verdict};
use crate::relay::{Made, Recorded, Recorder, RecordingFault, Tally, Tap, noted};

/// Under what a connection is carried: not without a recording.
pub(crate) struct Terms<'a, R> {
    /// The session's recording.
    pub(crate) recorder: &'a R,
    /// The connection's number in the recording; used once in a session.
    pub(crate) number: u32,
    /// How the target is reached.
    pub(crate) reach: &'a Reach,
    /// Who looks into it; none where nobody can.
    pub(crate) gated: Option<Gated>,
    /// True while input is frozen.
    pub(crate) frozen: watch::Receiver<bool>,
    /// What holds now.
    pub(crate) orders: Orders,
    /// Who is told what passes, beside the recording.
    pub(crate) attending: &'a dyn Attending,
}

/// Who attends to what a gate reads, beside the recording.
pub(crate) trait Attending: Sync {
    /// A person did something.
    fn touch(&self);
    /// A line for the technician, such as what was refused and why.
    fn tell(&self, line: String);
    /// Operations passed or were refused.
    fn operated(&self, operation: &Operation);
    /// This was said about the screen of a connection.
    fn shown(&self, connection: u32, said: Said);
    /// A program transfer to the target began by this connection, or ended.
    fn transferring(&self, transferring: bool);
}

/// A gate with its judge, and the rule that is named in its records.
pub(crate) struct Gated {
    pub(crate) gate: Box<dyn Gate>,
    pub(crate) judge: TcpJudge,
    pub(crate) rule: RuleId,
}

/// How a connection ended, and where its bytes went.
#[derive(Debug)]
pub(crate) struct Carried {
    /// How.
    pub(crate) end: Result<End, RecordingFault>,
    /// From the technician and from the target.
    pub(crate) accounts: [Account; 2],
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The technician closed it, or left.
    Left,
    /// The target closed it.
    TargetClosed,
    /// The target was not reached, or takes no more connections.
    NotReached(String),
    /// What was sent may not pass, and is no message that could be answered.
    Refused(String),
    /// It gave its slot up.
    Released,
    /// The session is over.
    Cut,
}

/// One side may say that it has no more to send and still listen, for so long without a byte from the other.
const HALF_OPEN_MAX: Duration = Duration::from_secs(60);
/// A target that was not reached is not dialled again for a while, however often it is asked for.
const NOT_AGAIN_WITHIN: Duration = Duration::from_secs(5);
/// For a target to answer our end with its own.
const FAREWELL_MAX: Duration = Duration::from_millis(200);

/// Carries a connection to its end.
pub(crate) async fn carry<R: Recorder>(mut vendor: VendorEnd, terms: Terms<'_, R>) -> Carried {
    let (up, down) = (Arc::new(Tally::default()), Arc::new(Tally::default()));
    let (recorder, number) = (terms.recorder, terms.number);
    let is_gated = terms.gated.is_some();
    let end = match joined_at_once(&mut vendor, recorder, number, terms.reach, is_gated).await {
        Err(end) => end,
        Ok(joined) => {
            vendor.accept().await;
            let read = vendor.read.take();
            let carriage = Carriage::new(vendor, terms, joined, &up, &down);
            let end = carriage.run(read).await;
            carriage.leave(&end).await;
            end
        }
    };
    if matches!(end, Err(RecordingFault::Late)) {
        recorder.does_not_answer();
    }
    Carried { end, accounts: [up.account(Direction::In, number), down.account(Direction::Out, number)] }
}

/// Where nobody looks in, the technician's program is told at once whether there is a target; a gate answers for one that
/// is not there, and dials when the first message passes.
async fn joined_at_once<R: Recorder>(
    vendor: &mut VendorEnd,
    recorder: &R,
    number: u32,
    reach: &Reach,
    is_gated: bool,
) -> Result<Option<(Slot, Leg)>, Result<End, RecordingFault>> {
    let from = vendor.from.map(|from| from.to_string().as_str().into());
    let opened = Note::ChannelOpen { kind: vendor.kind().into(), to: Some(reach.to.as_str().into()), from };
    noted(recorder.note(number, &opened)).await.map_err(Err)?;
    if is_gated {
        return Ok(None);
    }
    let why = tokio::select! {
        biased;
        () = reach.legs.over() => "the session is over".to_owned(),
        joined = reach.connect() => match joined {
            Ok(joined) => return Ok(Some(joined)),
            Err(why) => why.to_string(),
        },
    };
    for note in [not_reached(&why), Note::ChannelClose] {
        noted(recorder.note(number, &note)).await.map_err(Err)?;
    }
    vendor.refuse(&why).await;
    Err(Ok(End::NotReached(why)))
}

fn not_reached(why: &str) -> Note {
    Note::GateVerdict {
        allowed: false,
        words: Words::new(format!("not connected: {why}")),
        operation: None,
        spliced: Vec::new(),
        checked: None,
    }
}

struct Carriage<'a, R: Recorder> {
    vendor: VendorEnd,
    download: Arc<Queue>,
    joined: SetOnce<(Slot, Leg)>,
    not_reached: Mutex<Option<(Instant, String)>>,
    gate: Option<Looking>,
    gate_moved: Notify,
    told_to_wait: AtomicBool,
    reach: &'a Reach,
    frozen: watch::Receiver<bool>,
    orders: Orders,
    attending: &'a dyn Attending,
    recorder: &'a R,
    number: u32,
    notes: Mutex<FuturesUnordered<BoxFuture<'a, Result<(), StoreFault>>>>,
    noting: Notify,
    to_target: Made<R::Line>,
    to_technician: Made<R::Line>,
    up: Arc<Tally>,
    down: Arc<Tally>,
    /// Which side had no more to send first.
    half: SetOnce<End>,
    moved: Moment,
}

/// A gate at work.
struct Looking {
    gate: Mutex<Box<dyn Gate>>,
    judge: TcpJudge,
    rule: RuleId,
    repeats: Mutex<Repeats>,
    course: Mutex<Course>,
}

/// How far each direction has come, and where what was handed on differs from what came since that was last told.
#[derive(Default)]
struct Course {
    up: u64,
    down: u64,
    spliced: Vec<Splice>,
}

/// Told at the latest when there are so many: a gate may keep out for days what is nobody's act and gets no line.
const SPLICES_MAX: usize = 256;

impl Course {
    /// Goes on by a piece. Gives what is to be told now.
    fn take(&mut self, from_target: bool, piece: &Piece) -> Option<Vec<Splice>> {
        let at = if from_target { &mut self.down } else { &mut self.up };
        let splice = Splice { from_target, at: *at, left_out: 0, made: 0 };
        *at += piece.of_theirs() as u64;
        match piece {
            // What is hidden is recorded as bytes that were not kept.
            Piece::Passed(_) | Piece::Hidden(_) => {}
            Piece::LeftOut(bytes) => {
                let goes_on = |last: &&mut Splice| {
                    (last.from_target, last.made, last.at + last.left_out) == (from_target, 0, splice.at)
                };
                match self.spliced.last_mut().filter(goes_on) {
                    Some(last) => last.left_out += *bytes as u64,
                    None => self.spliced.push(Splice { left_out: *bytes as u64, ..splice }),
                }
            }
            Piece::Made(bytes) => self.spliced.push(Splice { made: bytes.len() as u64, ..splice }),
        }
        (self.spliced.len() >= SPLICES_MAX).then(|| std::mem::take(&mut self.spliced))
    }
}

type Read = Option<Pin<Box<dyn AsyncRead + Send + Sync>>>;

impl<'a, R: Recorder> Carriage<'a, R> {
    fn new(
        vendor: VendorEnd,
        terms: Terms<'a, R>,
        joined: Option<(Slot, Leg)>,
        up: &Arc<Tally>,
        down: &Arc<Tally>,
    ) -> Self {
        let Terms { recorder, number, reach, gated, frozen, orders, attending } = terms;
        let looking = |Gated { gate, judge, rule }| Looking {
            gate: gate.into(),
            judge,
            rule,
            repeats: Mutex::default(),
            course: Mutex::default(),
        };
        Self {
            vendor,
            download: Queue::new(Brake::Writer, Arc::new(Valve::default())),
            joined: joined.map_or_else(SetOnce::new, |joined| SetOnce::new_with(Some(joined))),
            not_reached: Mutex::default(),
            gate: gated.map(looking),
            gate_moved: Notify::new(),
            told_to_wait: AtomicBool::new(false),
            reach,
            frozen,
            orders,
            attending,
            recorder,
            number,
            notes: Mutex::default(),
            noting: Notify::new(),
            to_target: Made::new(recorder, Direction::In, number, Arc::clone(up)),
            to_technician: Made::new(recorder, Direction::Out, number, Arc::clone(down)),
            up: Arc::clone(up),
            down: Arc::clone(down),
            half: SetOnce::new(),
            moved: Moment::default(),
        }
    }

    async fn run(&self, mut read: Read) -> Result<End, RecordingFault> {
        let reading_technician = async {
            if let Some(read) = &mut read {
                fill(read, &self.vendor.upload).await;
            }
            pending::<End>().await
        };
        tokio::select! {
            biased;
            () = self.reach.legs.over() => Ok(End::Cut),
            () = self.released() => Ok(End::Released),
            () = self.tunnel_ends() => Ok(End::Refused(NO_TUNNEL.to_owned())),
            () = self.left_behind() => Ok(End::Refused(TIME_IS_UP.to_owned())),
            fault = self.unrecorded() => Err(fault),
            end = self.download() => end,
            end = self.upload() => end,
            end = self.pass_time() => end,
            end = self.watch_vendor() => Ok(end),
            end = self.half_open() => Ok(end),
            end = self.read_target() => Ok(end),
            end = reading_technician => Ok(end),
        }
    }

    /// From the technician, until they close.
    async fn upload(&self) -> Result<End, RecordingFault> {
        if let Some(looking) = &self.gate {
            let passed = lock(&looking.gate).opened(Instant::now());
            if let Some(end) = self.act(passed).await? {
                return Ok(end);
            }
        }
        let queue = Arc::clone(&self.vendor.upload);
        let mut tap = Tap::new(self.recorder, Direction::In, self.number, queue, nothing_made(), Arc::clone(&self.up));
        while let Some(Recorded { event, .. }) = tap.next().await? {
            let weight = event.weight();
            let end = match event {
                Event::Data { bytes, .. } => self.sent(bytes).await?,
                Event::Eof => self.technician_has_finished(),
                Event::Close => break,
                _ => None,
            };
            if let Some(end) = end {
                return Ok(end);
            }
            tap.settle(false, weight);
        }
        Ok(End::Left)
    }

    async fn sent(&self, bytes: Bytes) -> Result<Option<End>, RecordingFault> {
        if self.vendor.is_dismissed() {
            return Ok(Some(End::Left));
        }
        if let Some((slot, _)) = self.joined.get() {
            slot.note_input();
        }
        match &self.gate {
            Some(looking) => match &self.reach.pace {
                Some(pace) => self.in_turn(looking, pace, bytes).await,
                None => {
                    let passed = self.read_by(looking, bytes).await;
                    self.act(passed).await
                }
            },
            None => {
                self.thaw().await;
                self.write_to_target(&bytes).await;
                Ok(None)
            }
        }
    }

    async fn read_by(&self, looking: &Looking, bytes: Bytes) -> Passed {
        if !self.reach.enforces() && !looking.judge.transfer_is_let_finish() {
            self.thaw().await;
        }
        lock(&looking.gate).upward(bytes, &looking.judge, Instant::now())
    }

    /// In pieces that end hardly more than one message each, so that every message is judged when its turn has come.
    async fn in_turn(&self, looking: &Looking, pace: &Pace, bytes: Bytes) -> Result<Option<End>, RecordingFault> {
        const PIECE_BYTES: usize = 8;
        let (came, mut rest, mut held) = (Instant::now(), bytes, None);
        while !rest.is_empty() {
            if lock(&looking.gate).is_blind() {
                let passed = self.read_by(looking, rest).await;
                return self.act(passed).await;
            }
            let turn = match held.take() {
                Some(turn) => turn,
                None => self.next_turn(pace, came).await,
            };
            let piece = rest.split_to(rest.len().min(PIECE_BYTES));
            let passed = self.read_by(looking, piece).await;
            match passed.to_target.iter().filter(|piece| matches!(piece, Piece::Passed(_))).count() {
                0 => held = Some(turn),
                requests => turn.used(requests),
            }
            if let Some(end) = self.act(passed).await? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// The turn of what came then, once it has come. Who waits long is told so, once.
    async fn next_turn<'p>(&self, pace: &'p Pace, came: Instant) -> Turn<'p> {
        const LONG: Duration = Duration::from_secs(1);
        let (turn, wait) = pace.turn();
        if came.elapsed() + wait >= LONG && !self.told_to_wait.swap(true, Ordering::Relaxed) {
            let (target, _) = &self.reach.claim.place;
            self.attending
                .tell(format!("{target} takes {} requests a second: yours wait their turn", pace.per_second()));
        }
        tokio::time::sleep(wait).await;
        turn
    }

    /// Waits while input is frozen, so that nothing inside is torn.
    async fn thaw(&self) {
        let mut frozen = self.frozen.clone();
        if !*frozen.borrow() {
            return;
        }
        self.vendor.upload.freeze(true);
        let thawed = frozen.wait_for(|frozen| !frozen).await.is_ok();
        self.vendor.upload.freeze(false);
        if !thawed {
            // Whoever froze it is gone and can let nothing go.
            pending::<()>().await;
        }
    }

    fn technician_has_finished(&self) -> Option<End> {
        self.note(&Note::Eof { from_target: false });
        let Some((_, leg)) = self.joined.get() else { return Some(End::Left) };
        leg.finish();
        // The target had finished before.
        self.half.set(End::Left).is_err().then_some(End::TargetClosed)
    }

    /// From the target, until it closes.
    async fn download(&self) -> Result<End, RecordingFault> {
        let queue = Arc::clone(&self.download);
        let mut tap =
            Tap::new(self.recorder, Direction::Out, self.number, queue, nothing_made(), Arc::clone(&self.down));
        while let Some(Recorded { event, .. }) = tap.next().await? {
            let weight = event.weight();
            let end = match event {
                Event::Data { bytes, .. } => self.answered(bytes).await?,
                Event::Eof => self.target_has_finished().await?,
                _ => None,
            };
            if let Some(end) = end {
                return Ok(end);
            }
            tap.settle(false, weight);
        }
        self.answer_what_waits().await?;
        Ok(End::TargetClosed)
    }

    /// The target answers no more: the gate does, for every request that still waits.
    async fn answer_what_waits(&self) -> Result<(), RecordingFault> {
        let Some(looking) = &self.gate else { return Ok(()) };
        let passed = lock(&looking.gate).hung_up(Instant::now());
        self.act(passed).await.map(drop)
    }

    async fn answered(&self, bytes: Bytes) -> Result<Option<End>, RecordingFault> {
        let passed = match &self.gate {
            Some(looking) => lock(&looking.gate).downward(bytes, Instant::now()),
            None => Passed { to_technician: vec![Piece::Passed(bytes)], ..Passed::default() },
        };
        self.act(passed).await
    }

    /// A gated connection has nothing to say to a target that answers no more; any other may still send.
    async fn target_has_finished(&self) -> Result<Option<End>, RecordingFault> {
        self.note(&Note::Eof { from_target: true });
        self.answer_what_waits().await?;
        if self.gate.is_some() || self.half.set(End::TargetClosed).is_err() {
            return Ok(Some(End::TargetClosed));
        }
        let finished = self.vendor.write.lock().await.finish().await;
        Ok(finished.is_err().then_some(End::Left))
    }

    /// Does what a gate says: what goes to the technician first, so that no later answer overtakes it.
    async fn act(&self, mut passed: Passed) -> Result<Option<End>, RecordingFault> {
        // Before anything waits, so that it is in the order in which the gate read it.
        passed.screen.drain(..).for_each(|said| self.attending.shown(self.number, said));
        let unreached = self.leave_out_what_reaches_nobody(&mut passed).await;
        passed.to_target.iter().for_each(|piece| self.note_course(false, piece));
        passed.verdicts.into_iter().for_each(|verdict| self.tell(verdict));
        self.to_technician(passed.to_technician).await?;
        for piece in passed.to_target {
            match piece {
                Piece::Passed(bytes) => self.write_to_target(&bytes).await,
                Piece::LeftOut(bytes) => self.up.note_refused(bytes),
                own @ (Piece::Made(_) | Piece::Hidden(_)) => {
                    self.record_own(&self.to_target, &own).await?;
                    let (_, leg) = self.joined.wait().await;
                    self.lives(write_own(leg, &own).await).await;
                }
            }
        }
        self.look_for_a_transfer();
        self.gate_moved.notify_one();
        match (passed.end, unreached) {
            (Some(gates::End::Refused(why) | gates::End::Malformed(why)), _) => Ok(Some(End::Refused(why))),
            (None, Some(why)) => self.answer_for_the_target(why).await,
            (None, None) => Ok(None),
        }
    }

    /// Connects, where something is to be sent. Where the target is not reached, nothing is, and why is said.
    async fn leave_out_what_reaches_nobody(&self, passed: &mut Passed) -> Option<String> {
        let to_target = &mut passed.to_target;
        if !passed.wants_target && to_target.iter().all(|piece| piece.sent().is_empty()) {
            return None;
        }
        let why = self.join().await.err()?;
        to_target.retain(|piece| piece.of_theirs() > 0);
        to_target.iter_mut().for_each(|piece| *piece = Piece::LeftOut(piece.of_theirs()));
        Some(why)
    }

    /// Where what is handed on differs from what came.
    fn note_course(&self, from_target: bool, piece: &Piece) {
        let Some(looking) = &self.gate else { return };
        let told = lock(&looking.course).take(from_target, piece);
        told.into_iter().for_each(|spliced| self.note(&in_its_stead(spliced)));
    }

    async fn to_technician(&self, pieces: Vec<Piece>) -> Result<(), RecordingFault> {
        if pieces.is_empty() {
            return Ok(());
        }
        let mut write = self.vendor.write.lock().await;
        for piece in pieces {
            self.note_course(true, &piece);
            self.record_own(&self.to_technician, &piece).await?;
            let (bytes, passes) = match piece {
                Piece::Passed(bytes) => (bytes, true),
                Piece::Made(bytes) => (bytes, false),
                Piece::Hidden(hidden) => (Bytes::copy_from_slice(&hidden.0), false),
                Piece::LeftOut(bytes) => {
                    self.down.note_refused(bytes);
                    continue;
                }
            };
            let length = bytes.len();
            if write.write(bytes).await.is_err() {
                // Their queue then ends, and with it the connection.
                pending::<()>().await;
            }
            self.moved.note();
            if passes {
                self.down.note_forwarded(length);
            }
        }
        Ok(())
    }

    /// Records what the gate made itself; it may be sent when this returns.
    async fn record_own(&self, line: &Made<R::Line>, piece: &Piece) -> Result<(), RecordingFault> {
        match piece {
            Piece::Passed(_) | Piece::LeftOut(_) => Ok(()),
            Piece::Made(bytes) => line.record(bytes).await,
            Piece::Hidden(hidden) => {
                let reason = "the gate logged in, and a secret could be worked out from them".into();
                let note = Note::Redacted { bytes: hidden.0.len() as u64, reason };
                noted(self.recorder.note(self.number, &note)).await
            }
        }
    }

    /// The target was not reached: the gate says so in its protocol, or the connection ends.
    async fn answer_for_the_target(&self, why: String) -> Result<Option<End>, RecordingFault> {
        let Some(looking) = &self.gate else { return Ok(Some(End::NotReached(why))) };
        let answers = lock(&looking.gate).unreachable(&why, Instant::now());
        let is_over = answers.to_technician.is_empty() || answers.end.is_some();
        answers.verdicts.into_iter().for_each(|verdict| self.tell(verdict));
        self.to_technician(answers.to_technician).await?;
        Ok(is_over.then_some(End::NotReached(why)))
    }

    /// The connection to the target, made when it is wanted first.
    async fn join(&self) -> Result<&(Slot, Leg), String> {
        if let Some(joined) = self.joined.get() {
            return Ok(joined);
        }
        if let Some((at, why)) = &*lock(&self.not_reached)
            && at.elapsed() < NOT_AGAIN_WITHIN
        {
            return Err(why.clone());
        }
        match self.reach.connect().await {
            Ok(joined) => {
                let is_first = self.joined.set(joined).is_ok();
                debug_assert!(is_first, "one direction at a time finds no connection");
                Ok(self.joined.get().expect("it was set just now"))
            }
            Err(why) => {
                let why = why.to_string();
                self.note(&not_reached(&why));
                *lock(&self.not_reached) = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    async fn write_to_target(&self, bytes: &[u8]) {
        let (_, leg) = self.joined.wait().await;
        self.lives(leg.write(bytes).await).await;
        self.moved.note();
        self.up.note_forwarded(bytes.len());
    }

    /// What cannot be written finds no connection any more. Whoever reads from it learns that, and ends it.
    async fn lives(&self, written: io::Result<()>) {
        if written.is_err() {
            pending::<()>().await;
        }
    }

    /// Reads from the target as far as the technician takes it.
    async fn read_target(&self) -> End {
        let (_, leg) = self.joined.wait().await;
        let mut room = BytesMut::new();
        loop {
            self.download.room_below(HIGH_BYTES).await;
            room.clear();
            room.reserve(CHUNK_BYTES / 2);
            match leg.read(&mut room).await {
                Ok(0) => {
                    self.download.push(Event::Eof);
                    return pending().await;
                }
                Ok(_) => self.download.push_data(None, &room),
                Err(error) => {
                    tracing::debug!(%error, "a connection to a target broke");
                    self.download.end();
                    return pending().await;
                }
            }
        }
    }

    /// Tells when a program transfer begins and ends.
    fn look_for_a_transfer(&self) {
        let Some(looking) = &self.gate else { return };
        let transferring = lock(&looking.gate).is_transferring(Instant::now());
        if looking.judge.transferring.swap(transferring, Ordering::Relaxed) != transferring {
            self.attending.transferring(transferring);
        }
    }

    /// Asks the gate when it wanted to be asked, and now and then whether a transfer goes on.
    async fn pass_time(&self) -> Result<End, RecordingFault> {
        const LOOKS_EVERY: Duration = Duration::from_millis(500);
        let Some(looking) = &self.gate else { return pending().await };
        loop {
            self.look_for_a_transfer();
            let looks = looking.judge.transferring.load(Ordering::Relaxed).then(|| Instant::now() + LOOKS_EVERY);
            let asked = lock(&looking.gate).due();
            let due = asked.into_iter().chain(looks).min();
            let moved = self.gate_moved.notified();
            match due {
                None => moved.await,
                Some(due) => tokio::select! {
                    () = moved => {}
                    () = tokio::time::sleep_until(due.into()) => {
                        let passed = lock(&looking.gate).pass_time(Instant::now());
                        if let Some(end) = self.act(passed).await? {
                            return Ok(end);
                        }
                    }
                },
            }
        }
    }

    /// Ends a connection whose technician has left while the target does not take the rest, or who sends too much.
    async fn watch_vendor(&self) -> End {
        const LAST_BYTES_MAX: Duration = Duration::from_secs(10);
        match self.vendor.upload.finished().await {
            Ok(()) => {
                tokio::time::sleep(LAST_BYTES_MAX).await;
                End::Left
            }
            Err(fault) => End::Refused(fault.to_string()),
        }
    }

    /// Ends a connection one side of which has finished, when the other has nothing to say for long.
    async fn half_open(&self) -> End {
        let end = self.half.wait().await;
        loop {
            let left = HALF_OPEN_MAX.saturating_sub(self.moved.silence());
            if left.is_zero() {
                return end.clone();
            }
            tokio::time::sleep(left).await;
        }
    }

    /// Where everything passes, it does only while that is granted: a widening may end.
    async fn tunnel_ends(&self) {
        if self.reach.enforces() {
            return pending().await;
        }
        let mut orders = self.orders.clone();
        while orders.look(|order| order.actions.contains(&Action::Tunnel)) {
            orders.changed().await;
        }
    }

    async fn left_behind(&self) {
        match &self.gate {
            Some(looking) => looking.judge.is_left_behind().await,
            None => pending().await,
        }
    }

    async fn released(&self) {
        let (slot, _) = self.joined.wait().await;
        slot.released().await;
    }

    /// Tells what a gate read: to the recording, and that somebody is there.
    fn tell(&self, verdict: Verdict) {
        let Some(looking) = &self.gate else { return };
        if verdict.is_input {
            self.attending.touch();
        }
        let told = lock(&looking.repeats).told(verdict, Instant::now());
        for verdict in told {
            if let Some(why) = verdict.operation.refused.as_ref().filter(|_| verdict.operation.times == 1) {
                self.attending.tell(format!("{}: {why}", verdict.words));
            }
            self.attending.operated(&verdict.operation);
            self.note(&looking.noted(verdict));
        }
    }

    /// Records a fact. It is in line when this returns; that it became durable is watched in `unrecorded`.
    fn note(&self, note: &Note) {
        let noting = self.recorder.note(self.number, note);
        lock(&self.notes).push(Box::pin(noting));
        self.noting.notify_one();
    }

    /// Completes when a fact could not be recorded.
    async fn unrecorded(&self) -> RecordingFault {
        loop {
            if lock(&self.notes).is_empty() {
                self.noting.notified().await;
                continue;
            }
            let next = poll_fn(|cx| match lock(&self.notes).poll_next_unpin(cx) {
                Poll::Ready(Some(noted)) => Poll::Ready(noted),
                _ => Poll::Pending,
            });
            tokio::select! {
                noted = noted(next) => if let Err(fault) = noted { return fault },
                () = self.noting.notified() => {}
            }
        }
    }

    /// Takes leave of both sides and says so in the recording.
    async fn leave(self, end: &Result<End, RecordingFault>) {
        const CLOSING_MAX: Duration = Duration::from_secs(1);
        self.vendor.upload.end();
        self.download.end();
        if end.is_ok() {
            self.let_go().await;
        }
        match end {
            Ok(End::NotReached(why) | End::Refused(why)) => self.vendor.say_last(why),
            Ok(End::Released) => self.vendor.say_last(RELEASED),
            _ => {}
        }
        let closing = async { self.vendor.write.lock().await.close().await };
        let (closed, ()) = tokio::join!(tokio::time::timeout(CLOSING_MAX, closing), self.leave_target());
        if closed.is_err() {
            tracing::debug!(connection = self.number, "a technician takes nothing, not even a close");
        }
        if let Some(looking) = &self.gate {
            if looking.judge.transferring.load(Ordering::Relaxed) {
                self.attending.transferring(false);
            }
            let rest = lock(&looking.repeats).rest(Instant::now());
            for verdict in rest {
                self.attending.operated(&verdict.operation);
                self.note(&looking.noted(verdict));
            }
            let spliced = std::mem::take(&mut lock(&looking.course).spliced);
            if !spliced.is_empty() {
                self.note(&in_its_stead(spliced));
            }
        }
        match end {
            Ok(End::NotReached(why) | End::Refused(why)) => {
                let words = Words::new(format!("closed: {why}"));
                self.note(&Note::GateVerdict {
                    allowed: false,
                    words,
                    operation: None,
                    spliced: Vec::new(),
                    checked: None,
                });
            }
            Ok(End::Released) => self.note(&Note::Notice { text: RELEASED.to_owned() }),
            _ => {}
        }
        self.note(&Note::ChannelClose);
        let mut notes = std::mem::take(&mut *lock(&self.notes));
        let all = async {
            while let Some(noted) = notes.next().await {
                noted?;
            }
            Ok::<_, StoreFault>(())
        };
        // What is in line goes the way of what came before it; a recorder that does not answer gets no more.
        let noted = if end.is_ok() { noted(all).await } else { Ok(()) };
        if let Err(fault) = noted {
            tracing::debug!(connection = self.number, %fault, "the end of a connection could not be recorded");
        }
    }

    /// Does the last that the gate wants, as far as the target may still be written to.
    async fn let_go(&self) {
        const LAST_BYTES_MAX: Duration = Duration::from_secs(1);
        let Some(looking) = &self.gate else { return };
        let closed = lock(&looking.gate).closed(Instant::now());
        closed.verdicts.into_iter().for_each(|verdict| self.tell(verdict));
        let Some((_, leg)) = self.joined.get().filter(|(_, leg)| !leg.is_cut()) else { return };
        let letting_go = async {
            for own in closed.to_target {
                self.note_course(false, &own);
                if self.record_own(&self.to_target, &own).await.is_err() || write_own(leg, &own).await.is_err() {
                    break;
                }
            }
        };
        if tokio::time::timeout(LAST_BYTES_MAX, letting_go).await.is_err() {
            tracing::debug!(connection = self.number, "a target does not take the end of what is held down");
        }
    }

    /// A controller that reads our end answers with its own, and its place is free again.
    async fn leave_target(&self) {
        let Some((_, leg)) = self.joined.get().filter(|(_, leg)| !leg.is_cut()) else { return };
        leg.finish();
        let mut rest = BytesMut::new();
        let reading = async {
            while leg.read(&mut rest).await.is_ok_and(|read| read > 0) {
                rest.clear();
            }
        };
        if tokio::time::timeout(FAREWELL_MAX, reading).await.is_err() {
            tracing::debug!(connection = self.number, "a target did not answer the gate's end");
        }
    }
}

const NO_TUNNEL: &str = "here everything passes, and `tunnel` is not granted any more. Ask for it anew";
const TIME_IS_UP: &str = "the time is up, and only a program transfer that runs is let finish";
const RELEASED: &str = "This connection gave its place at the target up.";

impl Looking {
    fn noted(&self, verdict: Verdict) -> Note {
        let Verdict { words, mut operation, .. } = verdict;
        operation.rule = Some(self.rule.clone());
        let allowed = operation.refused.is_none();
        Note::GateVerdict {
            allowed,
            words: Words::new(words),
            operation: Some(Box::new(operation)),
            spliced: std::mem::take(&mut lock(&self.course).spliced),
            checked: None,
        }
    }
}

/// Where the gate differed, without an act of anybody's that it would stand beside.
fn in_its_stead(spliced: Vec<Splice>) -> Note {
    let words = "the gate spoke in the target's stead".into();
    Note::GateVerdict { allowed: true, words, operation: None, spliced, checked: None }
}

/// What the gate makes goes its own way here: see [`Made`].
fn nothing_made() -> Arc<Queue> {
    Queue::new(Brake::Writer, Arc::new(Valve::default()))
}

/// What the gate sends by itself. Who reads along is to learn no secret that the recording does not tell.
async fn write_own(leg: &Leg, own: &Piece) -> io::Result<()> {
    match own {
        Piece::Hidden(secret) => leg.write_hidden(&secret.0).await,
        own => leg.write(own.sent()).await,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No change under these locks can stop halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_gate_differs_is_told_before_it_is_much_and_nothing_of_it_is_lost() {
        let (mut course, mut told, mut most) = (Course::default(), Vec::new(), 0);
        for at in 0..10_000_u64 {
            // Something passes, and something is kept out: as a pointer that moves over a screen that is only looked at.
            for piece in [Piece::Passed(Bytes::from_static(b"ok")), Piece::LeftOut(6)] {
                told.extend(course.take(false, &piece).into_iter().flatten());
            }
            most = most.max(course.spliced.len());
            told.extend(course.take(true, &Piece::Made(Bytes::from_static(b"no"))).into_iter().flatten());
            assert_eq!((course.up, course.down), (8 * (at + 1), 0));
        }
        assert!(most <= SPLICES_MAX, "{most} wait");
        told.extend(std::mem::take(&mut course.spliced));
        assert_eq!(told.len(), 20_000);
        for (at, splices) in (0..).zip(told.chunks(2)) {
            let left_out = Splice { from_target: false, at: 8 * at + 2, left_out: 6, made: 0 };
            assert_eq!(splices, [left_out, Splice { from_target: true, at: 0, left_out: 0, made: 2 }]);
        }
    }
}

//! One channel of a technician joined to one at a target: what is carried, in which order it ends, and where its bytes
//! went. Recording comes first, in `relay`; who may have the channel at all was decided before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::try_join_all;
use recordings::fault::StoreFault;
use recordings::leaf::{Account, Direction};
use recordings::ledger::FileEntry;
use recordings::notes::{Note, Size};
use recordings::words::Words;
use russh::{ChannelWriteHalf, Sig, client};
use tokio::sync::watch;

use super::target::TargetChannel;
use super::uploading::OnChannel;
pub use super::vendor_end::VendorEnd;
use crate::files::{HandOver, UploadStep};
use crate::flow::{Brake, Event, HIGH_BYTES, Own, Queue, QueueFault, Request, Valve, WindowSize};
use crate::relay::{Recorded, Recorder, RecordingFault, Tally, Tap, noted};
use crate::telnet::{self, Typed};
use crate::uploads::Checks;

/// Extended data of type 1, RFC 4254, 5.2.
pub(super) const STDERR: Option<u32> = Some(1);
/// What a program that may not run ends with: refused.
const REFUSED: u32 = 1;
/// What `ssh` itself ends with when the connection fails.
pub(crate) const BROKEN: u32 = 255;
/// How long what was said or sent last may take to be taken.
const LAST_BYTES_MAX: Duration = Duration::from_secs(10);
/// RFC 4254, 5.2, knows standard error alone, which programs write and do not read; servers ignore it.
const BESIDE: &str = "what your client sends beside the program's input is thrown away";

/// Decides about a channel's requests. Asked once for each, before it is recorded as passed and forwarded.
pub trait Judge: Send + Sync {
    /// Whether the request may pass.
    fn judge(&self, request: &Request) -> Verdict;

    /// What the technician is told when a program has to wait, because input is stopped.
    fn waits(&self) -> String;
}

/// What a judge says.
pub enum Verdict {
    /// It may pass.
    Allow {
        /// What to forward in its stead.
        instead: Option<Request>,
        /// Who looks at every byte of the channel from now on.
        inspect: Option<Box<dyn Inspect>>,
    },
    /// It may not, and why: shown to the technician.
    Refuse(String),
}

impl Verdict {
    /// It may pass as it is, and nobody looks at the bytes.
    pub fn allow() -> Self {
        Self::Allow { instead: None, inspect: None }
    }
}

/// Looks at the main stream of a channel, such as SFTP, after it was recorded and before it is forwarded. Chunks come
/// in order, cut anywhere.
pub trait Inspect: Send {
    /// From the technician.
    fn upward(&mut self, chunk: Bytes) -> Inspected;
    /// From the target.
    fn downward(&mut self, chunk: Bytes) -> Inspected;
    /// The channel has ended: what is still to be listed.
    fn finish(&mut self) -> Vec<FileEntry> {
        Vec::new()
    }
    /// The uploads that are checked before the target has any of them, if there are any.
    fn uploads(&mut self) -> Option<&mut dyn HandOver> {
        None
    }
}

/// What becomes of a chunk, and of what was held of earlier ones. Bytes in neither `forward` nor `refused` are held.
#[derive(Debug, Default)]
pub struct Inspected {
    /// Goes on, in order: bytes of this chunk or held ones, unchanged.
    pub forward: Vec<Bytes>,
    /// Made by the gate: goes back to where the chunk came from, between two of that direction's `forward`s.
    pub reply: Vec<Bytes>,
    /// Made by the gate: goes on the way the chunk was going, after `forward`.
    pub onward: Vec<Bytes>,
    /// How many bytes were dropped for good.
    pub refused: usize,
    /// For the technician's standard error.
    pub say: Vec<String>,
    /// Files done with, to be recorded.
    pub ledger: Vec<FileEntry>,
    /// What is to be done with uploads that are checked first, in order.
    pub uploads: Vec<UploadStep>,
    /// Why the channel must end, in words for the technician.
    pub broken: Option<String>,
}

/// Where a channel's bytes and requests go at the target: by what is spoken there.
#[derive(Debug)]
pub enum TargetWrite {
    /// A channel of an SSH connection.
    Ssh(ChannelWriteHalf<client::Msg>),
    /// A telnet connection, on which the gate itself has the terminal.
    Telnet(Box<telnet::Line>),
}

impl TargetWrite {
    /// What the target does, told by whoever attends to it; for ever. Of SSH the connection's own task tells it.
    async fn attend(&self, download: &Queue) {
        match self {
            Self::Ssh(_) => std::future::pending().await,
            Self::Telnet(line) => line.attend(download).await,
        }
    }

    async fn data(&self, bytes: Bytes) -> Result<(), russh::Error> {
        match self {
            Self::Ssh(write) => write.data_bytes(bytes).await,
            Self::Telnet(line) => {
                line.send(&bytes).await;
                Ok(())
            }
        }
    }

    /// Telnet has no end of input alone: a connection half closed is taken for closed.
    async fn eof(&self) -> Result<(), russh::Error> {
        match self {
            Self::Ssh(write) => write.eof().await,
            Self::Telnet(_) => Ok(()),
        }
    }

    /// Asks for what was asked of the gate.
    ///
    /// # Errors
    /// There is no connection any more.
    pub async fn request(&self, request: Request) -> Result<(), russh::Error> {
        match self {
            Self::Ssh(write) => send_request(write, request).await,
            Self::Telnet(line) => {
                line.request(request).await;
                Ok(())
            }
        }
    }

    async fn close(&self) -> Result<(), russh::Error> {
        match self {
            Self::Ssh(write) => write.close().await,
            Self::Telnet(line) => {
                line.close();
                Ok(())
            }
        }
    }

    /// What becomes of what was typed.
    fn typed(&self, bytes: &[u8]) -> Typed {
        match self {
            Self::Ssh(_) => Typed::Passes,
            Self::Telnet(line) => line.typed(bytes),
        }
    }
}

/// The gate's own words on a channel: recorded as made by the gate, and in order with the target's output.
#[derive(Clone, Debug)]
pub struct Voice(Arc<Queue>);

impl Voice {
    pub(super) fn on(made: &Arc<Queue>) -> Self {
        Self(Arc::clone(made))
    }

    /// Says it on standard error. False if the technician has not read much of what was said before: then it is lost.
    pub fn say(&self, words: &str) -> bool {
        const UNREAD_BYTES_MAX: usize = 64 << 10;
        let heard = self.0.held_bytes() + words.len() <= UNREAD_BYTES_MAX;
        if heard {
            self.0.push_data(STDERR, words.as_bytes());
        }
        heard
    }
}

/// Under what a channel is carried: not without a recording.
/// ```
/// use proxy::ssh::channel::{Judge, Terms};
/// use recordings::session::SessionWriter;
/// async fn recorded(recorder: &SessionWriter, judge: &dyn Judge, frozen: tokio::sync::watch::Receiver<bool>) {
///     let _ = Terms { recorder, number: 1, judge, frozen, checks: None };
/// }
/// ```
/// ```compile_fail
/// use proxy::ssh::channel::{Judge, Terms};
/// async fn unrecorded(judge: &dyn Judge, frozen: tokio::sync::watch::Receiver<bool>) {
///     let _ = Terms { number: 1, judge, frozen, checks: None };
/// }
/// ```
pub struct Terms<'a, R> {
    /// The session's recording.
    pub recorder: &'a R,
    /// The channel's number in the recording; used once in a session.
    pub number: u32,
    /// Who decides about requests.
    pub judge: &'a dyn Judge,
    /// True while input is frozen.
    pub frozen: watch::Receiver<bool>,
    /// What checks uploads before the target has any of them, where the rule says so.
    pub checks: Option<Checks>,
}

/// How a channel ended and where its bytes went.
#[derive(Debug)]
pub struct Carried {
    /// How.
    pub end: Result<End, CarryFault>,
    /// From the technician and from the target.
    pub accounts: [Account; 2],
}

impl Carried {
    /// Whether the connection to the target can carry another channel: nothing of this one is left in it.
    pub fn is_clean(&self) -> bool {
        match self.end {
            Ok(End::Told) => true,
            Ok(End::Left) => self.accounts[0].undelivered == 0,
            Ok(End::Cut) | Err(_) => false,
        }
    }
}

/// A channel's end that is nobody's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The target closed it, or the gate did after refusing what was asked: the technician was told everything.
    Told,
    /// The technician closed it, or left.
    Left,
    /// The connection to the target was cut, and whoever cut it says why.
    Cut,
}

/// Why a channel could not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarryFault {
    /// Nothing can be recorded, so nothing may pass: the session ends.
    #[error(transparent)]
    Recording(#[from] RecordingFault),
    /// The technician's side takes more than it may, and the session ends; or it stalled behind the target, and was told.
    #[error(transparent)]
    Vendor(#[from] QueueFault),
    /// The target's side sent more than can be kept: the session ends.
    #[error("from the target: {0}")]
    Target(QueueFault),
    /// The connection to the target broke. The technician was told.
    #[error("the connection to the target broke")]
    TargetLost,
    /// The target stopped in the middle of a file that the gate handed over. The technician was told.
    #[error("the target stopped taking a file")]
    TargetStuck,
    /// The technician's input stayed stopped in the middle of a file that the gate handed over, for which others may have waited. The
    /// technician was told.
    #[error("input was stopped in the middle of a file for too long")]
    FrozenTooLong,
}

impl From<StoreFault> for CarryFault {
    fn from(fault: StoreFault) -> Self {
        Self::Recording(fault.into())
    }
}

/// Carries a channel to its end: pty, environment, shell, exec, subsystem, window changes, signals, bytes, EOF, exit
/// status and signal, close. Whatever changes the target's state is durable before it is sent.
///
/// Dropping the future ends the channel without a word; the accounts are then lost, so a cut closes the target leg
/// instead, and this returns at once.
pub async fn carry<R: Recorder>(vendor: VendorEnd, target: TargetChannel, terms: Terms<'_, R>) -> Carried {
    let (up, down) = (Arc::new(Tally::default()), Arc::new(Tally::default()));
    let number = terms.number;
    let carriage = Carriage {
        to_target: Queue::new(Brake::Writer, Arc::new(Valve::default())),
        inspect: Mutex::new(None),
        up: Arc::clone(&up),
        down: Arc::clone(&down),
        vendor,
        target,
        uploads: OnChannel::new(terms.checks.as_ref().map(Checks::bounds).unwrap_or_default()),
        terms,
    };
    let end = carriage.run().await;
    let is_recorded = !matches!(end, Err(CarryFault::Recording(_)));
    if matches!(end, Err(CarryFault::Recording(RecordingFault::Late))) {
        carriage.terms.recorder.does_not_answer();
    }
    if !is_recorded || matches!(end, Ok(End::Cut)) {
        carriage.await_words().await;
    }
    carriage.leave(is_recorded).await;
    Carried { end, accounts: [up.account(Direction::In, number), down.account(Direction::Out, number)] }
}

pub(super) struct Carriage<'a, R> {
    pub(super) vendor: VendorEnd,
    pub(super) target: TargetChannel,
    pub(super) terms: Terms<'a, R>,
    pub(super) to_target: Arc<Queue>,
    pub(super) inspect: Mutex<Option<Box<dyn Inspect>>>,
    up: Arc<Tally>,
    down: Arc<Tally>,
    pub(super) uploads: OnChannel,
}

impl<R: Recorder> Carriage<'_, R> {
    async fn run(&self) -> Result<End, CarryFault> {
        if let Some(opened) = self.vendor.opened() {
            self.note(&opened).await?;
        }
        tokio::select! {
            biased;
            end = self.watch_vendor() => end,
            end = self.watch_target() => end,
            end = self.download() => end,
            end = self.upload() => end,
            end = self.attend() => end,
            end = self.check_uploads() => end,
        }
    }

    /// Ends a channel whose technician sends too much, whose target takes nothing while others wait, or whose technician has
    /// left while the target does not take the rest. A file that was checked and is being handed over is let finish, so that
    /// nobody decides by leaving how much of it the target has.
    async fn watch_vendor(&self) -> Result<End, CarryFault> {
        let finished = tokio::select! {
            biased;
            finished = self.vendor.upload.finished() => finished,
            () = self.uploads.left() => Ok(()),
        };
        match finished {
            Ok(()) => self.uploads.leave(),
            Err(_) => self.uploads.begin_no_more(),
        }
        self.uploads.handed_over().await;
        match finished {
            Ok(()) if self.uploads.is_torn() => {}
            Ok(()) => tokio::time::sleep(LAST_BYTES_MAX).await,
            Err(QueueFault::Stalled) => {
                self.last_words(&QueueFault::Stalled.to_string()).await;
                return Err(QueueFault::Stalled.into());
            }
            Err(overflow) => return Err(overflow.into()),
        }
        Ok(End::Left)
    }

    /// Says why the channel ends, and waits a while for it to be read.
    pub(super) async fn last_words(&self, words: &str) {
        self.say(words);
        self.vendor.made.push(Event::ExitStatus(BROKEN));
        let read = self.vendor.made.room_below(1);
        if !self.uploads.has_left() && tokio::time::timeout(LAST_BYTES_MAX, read).await.is_err() {
            tracing::debug!(channel = self.terms.number, "a technician does not read why a channel ends");
        }
    }

    /// Ends a channel whose target sends too much or was cut, even while its output waits for the technician.
    async fn watch_target(&self) -> Result<End, CarryFault> {
        self.target.download.finished().await.map_err(CarryFault::Target)?;
        self.target.valve.until_cut().await;
        Ok(End::Cut)
    }

    async fn attend(&self) -> Result<End, CarryFault> {
        self.target.write.attend(&self.target.download).await;
        std::future::pending().await
    }

    /// From the technician to the target, until the technician closes the channel.
    async fn upload(&self) -> Result<End, CarryFault> {
        let queue = Arc::clone(&self.vendor.upload);
        let made = Arc::clone(&self.to_target);
        let mut tap =
            Tap::new(self.terms.recorder, Direction::In, self.terms.number, queue, made, Arc::clone(&self.up))
                .frozen_by(self.terms.frozen.clone());
        let mut frozen = self.terms.frozen.clone();
        let (mut has_terminal, mut has_program, mut told_beside) = (false, false, false);
        // A target grants no window before something runs that could read it, so what comes earlier is kept until then:
        // a write of it would wait for the window, and the request that starts the program behind it. Counted in the
        // queue until it is sent.
        let mut early = Vec::new();
        let (mut eof_waits, mut left, mut broken) = (false, false, None);
        loop {
            let next = async { if left { tap.next_made().await.map(Some) } else { tap.next().await } };
            let next = tokio::select! {
                biased;
                next = next => next?,
                () = self.uploads.handed_over(), if left => break,
                () = self.uploads.all_done(), if eof_waits && !left => {
                    eof_waits = false;
                    self.eof_upward().await?;
                    continue;
                }
            };
            let Some(Recorded { event, made, frozen: was_frozen }) = next else {
                left = true;
                continue;
            };
            let weight = event.weight();
            // What the gate makes is never thrown away: of a file it waits, of a login it passes.
            let waits = made && matches!(self.target.write, TargetWrite::Ssh(_));
            let frozen = self.thaw(&mut frozen, &event, has_terminal && !waits).await || (has_terminal && was_frozen);
            match event {
                Event::Data { bytes, .. } if made => {
                    self.to_target(self.target.write.data(bytes)).await;
                    self.uploads.note_move();
                }
                Event::Data { bytes, .. } if frozen => self.up.note_refused(bytes.len()),
                Event::Data { stream: Some(_), bytes } => {
                    self.up.note_refused(bytes.len());
                    if !std::mem::replace(&mut told_beside, true) {
                        self.refused(BESIDE).await?;
                    }
                }
                Event::Data { .. } | Event::Eof if !has_program => {
                    early.push((event, weight));
                    continue;
                }
                Event::Data { bytes, .. } => broken = broken.or(self.typed(bytes).await?),
                Event::Own(Own::Secret) => self.send_secret().await?,
                Event::Request(request) => {
                    has_terminal |= !has_program && matches!(request, Request::Pty { .. });
                    has_program |= self.request(request, frozen).await?;
                    for (event, weight) in early.drain(..).filter(|_| has_program) {
                        broken = broken.or(self.early(event).await?);
                        tap.settle(false, weight);
                    }
                }
                Event::Refused(why) => self.refused(why).await?,
                // Behind it the target would take nothing of a file that is to be handed over.
                Event::Eof if self.uploads.are_waiting() => eof_waits = true,
                Event::Eof => self.eof_upward().await?,
                Event::Close => left = true,
                _ => {}
            }
            left |= broken.is_some();
            tap.settle(made, weight);
        }
        if let Some(words) = broken {
            self.uploads.begin_no_more();
            self.refuse(&words, true, REFUSED);
            // The technician is told by the other direction, which then ends the channel.
            std::future::pending::<()>().await;
        }
        Ok(End::Left)
    }

    /// What came before the program that it is for.
    async fn early(&self, event: Event) -> Result<Option<String>, CarryFault> {
        match event {
            Event::Data { bytes, .. } => self.typed(bytes).await,
            _ => self.eof_upward().await.map(|()| None),
        }
    }

    async fn eof_upward(&self) -> Result<(), CarryFault> {
        self.note(&Note::Eof { from_target: false }).await?;
        self.to_target(self.target.write.eof()).await;
        Ok(())
    }

    /// What was typed, or what a program of the technician's sent, unless the gate is busy logging in there.
    async fn typed(&self, bytes: Bytes) -> Result<Option<String>, CarryFault> {
        if self.vendor.is_dismissed() {
            self.up.note_refused(bytes.len());
            return Ok(None);
        }
        let typed = self.target.write.typed(&bytes);
        if typed == Typed::Passes {
            return self.inspect_upward(bytes).await;
        }
        self.up.note_refused(bytes.len());
        if let Some(line) = typed.told() {
            self.vendor.made.push_data(STDERR, line.as_bytes());
        }
        Ok(None)
    }

    /// Sends the secret of the account there, which no recording keeps; only that it was sent.
    async fn send_secret(&self) -> Result<(), CarryFault> {
        let TargetWrite::Telnet(line) = &self.target.write else { return Ok(()) };
        let Some(secret) = line.take_secret() else { return Ok(()) };
        let reason = Words::from("the gate logged in, and they are the secret that it sent");
        self.note(&Note::Redacted { bytes: secret.len() as u64, reason }).await?;
        line.send_hidden(&secret).await;
        Ok(())
    }

    /// What the gate does of its own at the target.
    async fn own(&self, own: Own) -> Result<(), CarryFault> {
        match own {
            Own::Note(note) => self.note(&note).await?,
            Own::Say(line) => self.vendor.made.push_data(STDERR, line.as_bytes()),
            Own::Answer(bytes) => self.to_target.push_data(None, &bytes),
            Own::Secret => self.to_target.push(Event::Own(Own::Secret)),
        }
        Ok(())
    }

    /// What is never carried, told and recorded.
    async fn refused(&self, why: &'static str) -> Result<(), CarryFault> {
        self.note(&Note::GateVerdict {
            allowed: false,
            words: why.into(),
            operation: None,
            spliced: Vec::new(),
            checked: None,
        })
        .await?;
        self.say(why);
        Ok(())
    }

    /// Waits while the channel is frozen, so that no protocol inside is torn; but on a terminal returns true instead,
    /// and what was typed is to be thrown away. Asking for a terminal waits for nothing: on it the person reads why
    /// nothing goes on.
    async fn thaw(&self, frozen: &mut watch::Receiver<bool>, event: &Event, has_terminal: bool) -> bool {
        let prepares = match event {
            Event::Request(request) => !request.starts_program(),
            event => matches!(event, Event::Refused(_)),
        };
        if !*frozen.borrow() || has_terminal || prepares {
            return *frozen.borrow();
        }
        if matches!(event, Event::Request(_)) {
            self.say(&self.terms.judge.waits());
        }
        self.vendor.upload.freeze(true);
        let thawed = frozen.wait_for(|frozen| !frozen).await.is_ok();
        self.vendor.upload.freeze(false);
        if !thawed {
            // Whoever froze it is gone and can let nothing go.
            std::future::pending::<()>().await;
        }
        false
    }

    /// Why the channel must end, if it must.
    async fn inspect_upward(&self, chunk: Bytes) -> Result<Option<String>, CarryFault> {
        let inspected = match &mut *lock(&self.inspect) {
            Some(inspect) => inspect.upward(chunk),
            None => Inspected { forward: vec![chunk], ..Inspected::default() },
        };
        self.up.note_refused(inspected.refused);
        for step in inspected.uploads {
            self.upload_step(step).await;
        }
        reply(&self.vendor.made, inspected.reply).await;
        for bytes in inspected.forward {
            let length = bytes.len();
            self.to_target(self.target.write.data(bytes)).await;
            self.up.note_forwarded(length);
        }
        reply(&self.to_target, inspected.onward).await;
        self.conclude(inspected.say, inspected.ledger).await?;
        Ok(inspected.broken)
    }

    /// Says and lists what an inspector made out.
    pub(super) async fn conclude(&self, say: Vec<String>, ledger: Vec<FileEntry>) -> Result<(), CarryFault> {
        for words in say {
            self.vendor.made.push_data(STDERR, format!("{words}\r\n").as_bytes());
        }
        // All of them are in line by the first look, so that none is lost where a cut ends the channel now.
        let notes: Vec<_> = ledger.into_iter().map(|entry| Note::FileEntry(Box::new(entry))).collect();
        try_join_all(notes.iter().map(|note| self.note(note))).await?;
        Ok(())
    }

    /// What cannot be sent finds no connection any more. The other direction learns the reason and ends the channel.
    async fn to_target(&self, sending: impl Future<Output = Result<(), russh::Error>>) {
        if sending.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Forwards what may pass. Whether a program begins by it.
    async fn request(&self, request: Request, frozen: bool) -> Result<bool, CarryFault> {
        if let Some(why) = self.not_now(&request, frozen) {
            self.note(&note_of(&request, false)).await?;
            self.verdict(&request, false, why).await?;
            let told = format!("{} was not passed on: {why}", in_words(&request));
            self.refuse(&told, request.starts_program(), REFUSED);
            return Ok(false);
        }
        let verdict = self.terms.judge.judge(&request);
        let is_looked_into = matches!(verdict, Verdict::Allow { inspect: Some(_), .. });
        self.note(&note_of(&request, is_looked_into)).await?;
        let request = match verdict {
            Verdict::Allow { instead, inspect } => {
                if inspect.is_some() {
                    *lock(&self.inspect) = inspect;
                }
                if let Some(instead) = instead {
                    self.verdict(&instead, true, "was sent instead").await?;
                    instead
                } else {
                    request
                }
            }
            Verdict::Refuse(reason) => {
                self.verdict(&request, false, &reason).await?;
                self.refuse(&reason, request.starts_program(), REFUSED);
                return Ok(false);
            }
        };
        let begins = request.starts_program();
        self.to_target(self.target.write.request(request)).await;
        Ok(begins)
    }

    /// Why a request that may pass at another time may not now.
    fn not_now(&self, request: &Request, frozen: bool) -> Option<&'static str> {
        const FROZEN: &str = "input is stopped";
        const CHECKED: &str = "files are checked here, and a program that is ended between would leave a part of one";
        let copies_checked_files = || self.terms.checks.is_some() && lock(&self.inspect).is_some();
        match request {
            Request::Signal(_) | Request::Exec(_) | Request::Subsystem(_) if frozen => Some(FROZEN),
            Request::Signal(_) if copies_checked_files() => Some(CHECKED),
            _ => None,
        }
    }

    /// Tells the technician. A program that may not run is played by the gate, with words and a status of its own,
    /// because clients show neither reason nor text of a refused request.
    pub(super) fn refuse(&self, reason: &str, instead_of_program: bool, status: u32) {
        self.say(reason);
        if instead_of_program {
            self.vendor.made.push(Event::Eof);
            self.vendor.made.push(Event::ExitStatus(status));
            self.vendor.made.push(Event::Close);
        }
    }

    fn say(&self, words: &str) {
        self.vendor.made.push_data(STDERR, format!("holdpoint: {words}\r\n").as_bytes());
    }

    /// From the target to the technician, until the target closes the channel, or the gate in its stead.
    async fn download(&self) -> Result<End, CarryFault> {
        let queue = Arc::clone(&self.target.download);
        let made = Arc::clone(&self.vendor.made);
        let mut tap =
            Tap::new(self.terms.recorder, Direction::Out, self.terms.number, queue, made, Arc::clone(&self.down));
        let mut eof = HeldEof::default();
        let mut lost = false;
        loop {
            let next = match eof.wait(tap.next()).await {
                Some(next) => next?,
                None => {
                    self.to_vendor(self.vendor.write.eof()).await;
                    continue;
                }
            };
            let Some(Recorded { event, made, .. }) = next else {
                if lost {
                    return Err(CarryFault::TargetLost);
                }
                if self.target.valve.is_cut() {
                    return Ok(End::Cut);
                }
                lost = true;
                self.refuse(&format!("the connection to {} broke", self.target.name), true, BROKEN);
                continue;
            };
            let weight = event.weight();
            match event {
                Event::Data { stream, bytes } if made => drop(self.send_made(stream, bytes).await),
                Event::Data { stream: Some(stream), bytes } => {
                    let length = bytes.len();
                    if self.send(Some(stream), bytes).await {
                        self.down.note_forwarded(length);
                    }
                }
                Event::Data { stream: None, bytes } => self.inspect_downward(bytes).await?,
                Event::Failure => {
                    let reason = format!("{} does not run what was asked for", self.target.name);
                    self.refuse(&reason, true, BROKEN);
                }
                Event::Eof => {
                    self.note(&Note::Eof { from_target: !made }).await?;
                    eof.hold();
                }
                Event::ExitStatus(status) => {
                    self.note(&Note::ExitStatus { status }).await?;
                    // Telnet knows no status: one that is not 0 is the gate's, which has said why.
                    let made = made || (status != 0 && matches!(self.target.write, TargetWrite::Telnet(_)));
                    self.to_vendor(self.vendor.write.exit_status(status, made)).await;
                }
                Event::ExitSignal { signal, core_dumped, message, language } => {
                    self.exit_signal(signal, core_dumped, message, language).await?;
                }
                Event::Close => {
                    if eof.release() {
                        self.to_vendor(self.vendor.write.eof()).await;
                    }
                    return if lost { Err(CarryFault::TargetLost) } else { Ok(End::Told) };
                }
                Event::Own(own) => self.own(own).await?,
                Event::Request(_) | Event::Refused(_) | Event::Success => {}
            }
            tap.settle(made, weight);
        }
    }

    async fn inspect_downward(&self, chunk: Bytes) -> Result<(), CarryFault> {
        let inspected = match &mut *lock(&self.inspect) {
            Some(inspect) => inspect.downward(chunk),
            None => Inspected { forward: vec![chunk], ..Inspected::default() },
        };
        self.down.note_refused(inspected.refused);
        self.uploads.note_move();
        reply(&self.to_target, inspected.reply).await;
        for bytes in inspected.forward {
            let length = bytes.len();
            if self.send(None, bytes).await {
                self.down.note_forwarded(length);
            }
        }
        reply(&self.vendor.made, inspected.onward).await;
        self.conclude(inspected.say, inspected.ledger).await?;
        if let Some(words) = inspected.broken {
            self.refuse(&words, true, REFUSED);
        }
        Ok(())
    }

    /// Whether it went out.
    async fn send(&self, stream: Option<u32>, bytes: Bytes) -> bool {
        self.to_vendor(self.vendor.write.data(stream, bytes)).await
    }

    async fn send_made(&self, stream: Option<u32>, bytes: Bytes) -> bool {
        self.to_vendor(self.vendor.write.made(stream, bytes)).await
    }

    async fn exit_signal(
        &self,
        signal: Sig,
        core_dumped: bool,
        message: String,
        language: String,
    ) -> Result<(), CarryFault> {
        let name = signal_name(&signal);
        self.note(&Note::ExitSignal { name, core_dumped, message: Words::from(message.as_str()) }).await?;
        self.to_vendor(self.vendor.write.exit_signal(signal, core_dumped, message, language)).await;
        Ok(())
    }

    /// What cannot be sent finds nobody. The technician's queue then ends, and with it the channel; but while a file is handed
    /// over, the target is listened to. Whether it was sent.
    async fn to_vendor(&self, sending: impl Future<Output = Result<(), russh::Error>>) -> bool {
        let sent = !self.uploads.is_torn()
            && tokio::select! {
                biased;
                sent = sending => sent.is_ok(),
                () = self.uploads.nobody_reads() => false,
            };
        if !sent && !self.uploads.is_handing_over() {
            std::future::pending::<()>().await;
        }
        sent
    }

    async fn verdict(&self, request: &Request, allowed: bool, reason: &str) -> Result<(), CarryFault> {
        let words = Words::new(format!("{}: {reason}", in_words(request)));
        self.note(&Note::GateVerdict { allowed, words, operation: None, spliced: Vec::new(), checked: None }).await
    }

    pub(super) async fn note(&self, note: &Note) -> Result<(), CarryFault> {
        Ok(noted(self.terms.recorder.note(self.terms.number, note)).await?)
    }

    /// Leaves the technician's channel open for whoever cut the target or ends the session to say why, because a client
    /// whose channel is closed leaves and reads nothing more.
    async fn await_words(&self) {
        const WORDS_MAX: Duration = Duration::from_millis(500);
        if tokio::time::timeout(WORDS_MAX, self.vendor.upload.finished()).await.is_err() {
            tracing::debug!(channel = self.terms.number, "a channel was cut, and its session goes on");
        }
    }

    /// Closes both channels, lets go of both brakes and says so in the recording. russh does not tell about the close
    /// of a channel that it closed first, so the queues end here.
    async fn leave(&self, mut is_recorded: bool) {
        const SENDING_MAX: Duration = Duration::from_secs(1);
        self.vendor.upload.end();
        self.target.download.end();
        let closing = async {
            let (vendor, target) = tokio::join!(self.vendor.write.close(), self.target.write.close());
            if vendor.is_err() || target.is_err() {
                tracing::debug!(channel = self.terms.number, "one side was gone before its channel was closed");
            }
        };
        if tokio::time::timeout(SENDING_MAX, closing).await.is_err() {
            tracing::debug!(channel = self.terms.number, "one side takes nothing, not even a close");
        }
        let unfinished = lock(&self.inspect).take().map(|mut inspect| inspect.finish()).unwrap_or_default();
        let entries = unfinished.into_iter().map(|entry| Note::FileEntry(Box::new(entry)));
        for note in entries.chain([Note::ChannelClose]) {
            // In line by the first look at it, which is all that a recorder gets that does not answer.
            let noting = self.note(&note);
            let noted = if is_recorded { noting.await } else { noting.now_or_never().unwrap_or(Ok(())) };
            if let Err(fault) = noted {
                is_recorded = false;
                tracing::debug!(channel = self.terms.number, %fault, "the end of a channel could not be recorded");
            }
        }
    }
}

/// Hands bytes made by the gate to the other direction, which records and sends them.
pub(super) async fn reply(queue: &Queue, replies: Vec<Bytes>) {
    for bytes in replies {
        queue.room_below(HIGH_BYTES).await;
        queue.push_data(None, &bytes);
    }
}

/// Only the request that starts the program asks for an answer, so that a refusal is known to be its.
async fn send_request(target: &ChannelWriteHalf<client::Msg>, request: Request) -> Result<(), russh::Error> {
    match request {
        Request::Pty { term, size, modes } => {
            let WindowSize { columns, rows, width_pixels, height_pixels } = size;
            target.request_pty(false, &term, columns, rows, width_pixels, height_pixels, &modes).await
        }
        Request::Env { name, value } => target.set_env(false, name, value).await,
        Request::Shell => target.request_shell(true).await,
        Request::Exec(command) => target.exec(true, command.to_vec()).await,
        Request::Subsystem(name) => target.request_subsystem(true, name).await,
        Request::WindowChange(size) => {
            target.window_change(size.columns, size.rows, size.width_pixels, size.height_pixels).await
        }
        Request::Signal(signal) => target.signal(signal).await,
    }
}

fn note_of(request: &Request, copies_files: bool) -> Note {
    match request {
        Request::Pty { term, size, .. } => Note::Terminal { term: term.as_str().into(), size: size_of_note(*size) },
        Request::Env { name, value } => Note::Environment { name: name.as_str().into(), value: value.as_str().into() },
        Request::Shell => Note::Shell,
        Request::Exec(command) => Note::Exec { command: Words::new(command.to_vec()), copies_files },
        Request::Subsystem(name) => Note::Subsystem { name: name.as_str().into() },
        Request::WindowChange(size) => Note::Resize { size: size_of_note(*size) },
        Request::Signal(signal) => Note::Signal { name: signal_name(signal) },
    }
}

fn size_of_note(size: WindowSize) -> Size {
    Size { columns: size.columns, rows: size.rows }
}

pub(super) fn signal_name(signal: &Sig) -> Words {
    match signal {
        Sig::Custom(name) => name.as_str().into(),
        known => Words::new(format!("{known:?}")),
    }
}

fn in_words(request: &Request) -> String {
    match request {
        Request::Pty { term, .. } => format!("terminal {}", Words::from(term.as_str())),
        Request::Env { name, value } => format!("{}={}", Words::from(name.as_str()), Words::from(value.as_str())),
        Request::Shell => "shell".to_owned(),
        Request::Exec(command) => format!("command {}", Words::new(command.to_vec())),
        Request::Subsystem(name) => format!("subsystem {}", Words::from(name.as_str())),
        Request::WindowChange(size) => format!("terminal size {} by {}", size.columns, size.rows),
        Request::Signal(signal) => format!("signal {}", signal_name(signal)),
    }
}

/// The target's EOF, kept back for the exit status: an OpenSSH client that sees EOF first answers with a close, russh
/// then forgets the channel, and the status is lost.
#[derive(Default)]
struct HeldEof {
    held: bool,
}

impl HeldEof {
    /// How long a program that closed its output may still run before its reader is told.
    const HOLD: Duration = Duration::from_millis(200);

    fn hold(&mut self) {
        self.held = true;
    }

    fn release(&mut self) -> bool {
        std::mem::take(&mut self.held)
    }

    /// What `next` gives; `None` if an EOF has been held long enough and is to be sent first.
    async fn wait<T>(&mut self, next: impl Future<Output = T>) -> Option<T> {
        if !self.held {
            return Some(next.await);
        }
        let waited = tokio::time::timeout(Self::HOLD, next).await.ok();
        self.held = waited.is_some();
        waited
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

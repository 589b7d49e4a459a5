//! A session's recorder as its channels meet it: the real one, and around it what the session must know of what passes.
//! When a person last typed, how much came, what spectators see, and the code that is typed on a locked terminal. It
//! changes nothing and holds nothing up.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use approver::clock::{Boot, Clock};
use approver::floor::Happened;
use approver::recorder::Recorder;
use bytes::Bytes;
use recordings::fault::StoreFault;
use recordings::frame::Stream;
use recordings::notes::Note;
use recordings::remarks;
use recordings::session::Keyframes;
use recordings::timeline::in_words;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use zeroize::{Zeroize as _, Zeroizing};

use super::gallery::Gallery;
use crate::relay;

/// The recorder of a session's channels.
pub(crate) struct Witness {
    recorder: Recorder,
    seen: Arc<Seen>,
    order: Arc<Order>,
    late: CancellationToken,
}

impl Witness {
    /// Around `recorder`; what it sees is in `seen`.
    pub(crate) fn new(recorder: Recorder, seen: Arc<Seen>) -> Self {
        let order = Arc::new(Order::new(recorder.writer().keyframes(), &seen.clock));
        Self { recorder, seen, order, late: CancellationToken::new() }
    }

    /// The recorder itself, to be sealed.
    pub(crate) fn into_recorder(self) -> Recorder {
        self.recorder
    }

    /// What was seen.
    pub(crate) const fn seen(&self) -> &Arc<Seen> {
        &self.seen
    }

    /// Completes when nothing can be recorded any more, or a channel has waited too long for it. One task may wait for it.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let (poisoned, late) = (self.recorder.writer().poisoned(), self.late.clone());
        async move {
            tokio::select! {
                _ = poisoned => {}
                () = late.cancelled() => {}
            }
        }
    }

    /// Records a fact. It is in line when this returns, and durable when the future completes.
    pub(crate) fn record(
        &self,
        channel: u32,
        note: &Note,
    ) -> impl Future<Output = Result<(), StoreFault>> + Send + use<> {
        self.order.next(&self.seen, 0, || {
            self.seen.note(channel, note);
            self.recorder.writer().note(note.fact(), channel, Bytes::from(note.encode()))
        })
    }
}

impl relay::Recorder for Witness {
    type Line = Line;

    fn line(&self, stream: Stream, channel: u32) -> Line {
        let line = Arc::new(self.recorder.writer().line(stream, channel));
        let mut lines = lock(&self.seen.lines);
        lines.retain(|known| known.strong_count() > 0);
        lines.push(Arc::downgrade(&line));
        drop(lines);
        Line { line, stream, channel, seen: Arc::clone(&self.seen), order: Arc::clone(&self.order) }
    }

    fn note(&self, channel: u32, note: &Note) -> impl Future<Output = Result<(), StoreFault>> + Send + use<> {
        self.record(channel, note)
    }

    fn does_not_answer(&self) {
        self.late.cancel();
    }
}

/// A line of the recording, witnessed.
pub(crate) struct Line {
    line: Arc<recordings::session::Line>,
    stream: Stream,
    channel: u32,
    seen: Arc<Seen>,
    order: Arc<Order>,
}

impl relay::Line for Line {
    fn submit(&self, bytes: Bytes) -> Result<u64, StoreFault> {
        self.order.next(&self.seen, bytes.len(), || {
            let position = self.line.submit(bytes.clone())?;
            self.seen.bytes(self.stream, self.channel, &bytes);
            Ok(position)
        })
    }

    fn poll_durable(&self, cx: &mut Context<'_>, position: u64) -> Poll<Result<(), StoreFault>> {
        self.line.poll_durable(cx, position)
    }
}

/// The one order in which things are submitted and seen, so that between two of them the screens are what everything
/// submitted before has drawn. From time to time they go into the recording.
struct Order {
    keyframes: Keyframes,
    since: Mutex<Since>,
}

/// What passed since the screens went into the recording.
struct Since {
    at: Boot,
    bytes: u64,
}

impl Order {
    /// A reader who wants to begin somewhere reads this much before it, in time or bytes, or less.
    const EVERY: Duration = Duration::from_secs(30);
    const EVERY_BYTES: u64 = 1 << 20;

    fn new(keyframes: Keyframes, clock: &Clock) -> Self {
        Self { keyframes, since: Mutex::new(Since { at: clock.boot(), bytes: 0 }) }
    }

    /// Submits something of so many bytes, and before it the screens if they are due. Where nothing passes, nothing is due.
    fn next<T>(&self, seen: &Seen, bytes: usize, submit: impl FnOnce() -> T) -> T {
        let mut since = lock(&self.since);
        let now = seen.clock.boot();
        if since.bytes >= Self::EVERY_BYTES || now.since(since.at) >= Self::EVERY {
            self.keyframes.submit(seen.gallery.keyframes());
            *since = Since { at: now, bytes: 0 };
        }
        since.bytes += bytes as u64;
        submit()
    }
}

/// One of those that are counted, as long as it is there.
pub(crate) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn among(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What was seen of a session so far.
pub(crate) struct Seen {
    clock: Clock,
    input_at: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    gallery: Arc<Gallery>,
    lines: Mutex<Vec<Weak<recordings::session::Line>>>,
    /// A gate says what a person did; bytes alone say nothing of it.
    has_gate: bool,
    transfers: AtomicUsize,
    websockets: AtomicUsize,
    browsers: AtomicUsize,
    locked: AtomicBool,
    typed: Mutex<CodeReader>,
    codes: mpsc::Sender<Zeroizing<String>>,
}

impl Seen {
    /// Nothing yet, and where the codes arrive that are typed on locked terminals: one at a time.
    pub(crate) fn new(clock: Clock, has_gate: bool) -> (Self, mpsc::Receiver<Zeroizing<String>>) {
        let (codes, typed) = mpsc::channel(1);
        let seen = Self {
            input_at: AtomicU64::new(0),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            gallery: Arc::default(),
            lines: Mutex::default(),
            has_gate,
            transfers: AtomicUsize::new(0),
            websockets: AtomicUsize::new(0),
            browsers: AtomicUsize::new(0),
            locked: AtomicBool::new(false),
            typed: Mutex::default(),
            codes,
            clock,
        };
        seen.touch();
        (seen, typed)
    }

    /// What spectators see.
    pub(crate) const fn gallery(&self) -> &Arc<Gallery> {
        &self.gallery
    }

    /// When a person last gave input.
    pub(crate) fn last_input(&self) -> Boot {
        Boot(Duration::from_nanos(self.input_at.load(Ordering::Relaxed)))
    }

    /// Counts as input.
    pub(crate) fn touch(&self) {
        let now = u64::try_from(self.clock.boot().0.as_nanos()).unwrap_or(u64::MAX);
        self.input_at.store(now, Ordering::Relaxed);
    }

    /// One more program transfer runs, or one fewer. How many do.
    pub(crate) fn transfers(&self, one_more: bool) -> usize {
        match one_more {
            true => self.transfers.fetch_add(1, Ordering::SeqCst) + 1,
            false => self.transfers.fetch_sub(1, Ordering::SeqCst) - 1,
        }
    }

    /// Whether a program is being transferred to the target.
    pub(crate) fn is_transferring(&self) -> bool {
        self.transfers.load(Ordering::SeqCst) > 0
    }

    /// One more connection comes within a WebSocket, until this is dropped.
    pub(crate) fn within_websocket(&self) -> Counted<'_> {
        Counted::among(&self.websockets)
    }

    /// One more terminal or screen is on a page, until this is dropped.
    pub(crate) fn in_browser(&self) -> Counted<'_> {
        Counted::among(&self.browsers)
    }

    /// Whether one is.
    pub(crate) fn is_in_browser(&self) -> bool {
        self.browsers.load(Ordering::Relaxed) > 0
    }

    /// Whether a connection comes within a WebSocket.
    pub(crate) fn is_within_websocket(&self) -> bool {
        self.websockets.load(Ordering::Relaxed) > 0
    }

    /// Bytes from the technician and from the target.
    pub(crate) fn bytes_passed(&self) -> (u64, u64) {
        (self.up.load(Ordering::Relaxed), self.down.load(Ordering::Relaxed))
    }

    /// How long the oldest bytes wait that are not durable yet.
    pub(crate) fn recorder_behind(&self) -> Option<Duration> {
        lock(&self.lines).iter().filter_map(Weak::upgrade).filter_map(|line| line.waiting_for()).max()
    }

    /// Whether what is typed on a terminal is a code.
    pub(crate) fn is_locked(&self) -> bool {
        self.locked.load(Ordering::SeqCst)
    }

    /// From now on what is typed on a terminal is a code, or no longer.
    pub(crate) fn lock(&self, locked: bool) {
        lock(&self.typed).line.zeroize();
        self.locked.store(locked, Ordering::SeqCst);
    }

    fn bytes(&self, stream: Stream, channel: u32, bytes: &Bytes) {
        let length = bytes.len() as u64;
        match stream {
            Stream::In => {
                self.up.fetch_add(length, Ordering::Relaxed);
                self.input(channel, bytes);
            }
            Stream::Out | Stream::OutErr => {
                self.down.fetch_add(length, Ordering::Relaxed);
                self.gallery.output(channel, bytes);
            }
            Stream::GateOut | Stream::GateOutErr => self.gallery.output(channel, bytes),
            // A file that is handed over: a person waits for it. Where a gate reads, it knows better.
            Stream::GateIn if !self.has_gate => self.touch(),
            Stream::None | Stream::GateIn => {}
        }
    }

    fn input(&self, channel: u32, bytes: &[u8]) {
        if self.has_gate {
            return;
        }
        self.gallery.typed(channel);
        if !self.is_locked() {
            return self.touch();
        }
        if !self.gallery.has_terminal(channel) {
            return;
        }
        if let Some(code) = lock(&self.typed).read(bytes) {
            // One is being checked already: this one was typed too early and is typed again.
            drop(self.codes.try_send(code));
        }
    }

    fn note(&self, channel: u32, note: &Note) {
        let gallery = &self.gallery;
        match note {
            Note::Terminal { size, .. } | Note::Resize { size } => gallery.resize(channel, *size),
            Note::ChannelClose => gallery.close(channel),
            Note::Exec { copies_files: true, .. } | Note::Subsystem { .. } => gallery.copies_files(channel),
            _ => {}
        }
        let is_told = !matches!(note, Note::Shell) || !gallery.has_terminal(channel);
        if let Some(words) = passing(channel, note).filter(|_| is_told) {
            let refused = matches!(note, Note::GateVerdict { allowed: false, .. });
            gallery.happened(Happened { at: self.clock.wall(), words, refused });
        }
    }
}

/// What spectators are told of a fact, in harmless words: what `play` lists of it.
fn passing(channel: u32, note: &Note) -> Option<String> {
    match note {
        Note::ChannelOpen { kind, to: Some(to), .. } => Some(format!("connection {channel} ({kind}) opened to {to}")),
        Note::Exec { command, .. } => Some(format!("runs {command}")),
        Note::Subsystem { name } => Some(format!("opens {name}")),
        Note::Shell => Some("opens a shell without a terminal".to_owned()),
        Note::GateVerdict { words, operation: Some(operation), .. } => Some(in_words(words, operation)),
        // Who watches is told beside.
        Note::Watch { .. } => None,
        note => remarks::of_note(note),
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seen")
    }
}

/// Puts together a code from what is typed on a terminal that echoes nothing.
#[derive(Default)]
struct CodeReader {
    line: Zeroizing<Vec<u8>>,
}

impl CodeReader {
    /// Longer than any code; what is typed beyond it makes the code wrong.
    const CODE_BYTES_MAX: usize = 64;

    fn read(&mut self, bytes: &[u8]) -> Option<Zeroizing<String>> {
        const BACKSPACE: u8 = 8;
        const DELETE: u8 = 127;
        const LINE_KILL: u8 = 21;
        const INTERRUPT: u8 = 3;
        let mut code = None;
        for byte in bytes {
            match *byte {
                b'\r' | b'\n' if self.line.is_empty() => {}
                b'\r' | b'\n' => code = Some(self.finish()),
                BACKSPACE | DELETE => drop(self.line.pop()),
                LINE_KILL | INTERRUPT => self.line.zeroize(),
                _ if self.line.len() > Self::CODE_BYTES_MAX => {}
                byte => self.line.push(byte),
            }
        }
        code
    }

    fn finish(&mut self) -> Zeroizing<String> {
        let code = Zeroizing::new(String::from_utf8_lossy(&self.line).into_owned());
        self.line.zeroize();
        code
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No change under these locks can stop halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use recordings::notes::Size;

    fn seen() -> (Seen, mpsc::Receiver<Zeroizing<String>>, approver::clock::Turn) {
        let (clock, turn) = Clock::turned();
        let (seen, codes) = Seen::new(clock, false);
        (seen, codes, turn)
    }

    fn typed(seen: &Seen, channel: u32, text: &str) {
        seen.bytes(Stream::In, channel, &Bytes::copy_from_slice(text.as_bytes()));
    }

    #[test]
    fn what_the_technician_sends_or_has_handed_over_counts_as_input_and_nothing_else() {
        let (seen, _codes, turn) = seen();
        let begun = seen.last_input();
        turn.pass(Duration::from_secs(60));
        for stream in [Stream::Out, Stream::OutErr, Stream::GateOut, Stream::GateOutErr] {
            seen.bytes(stream, 1, &Bytes::from_static(b"12345"));
        }
        assert_eq!((seen.last_input(), seen.bytes_passed()), (begun, (0, 10)));
        typed(&seen, 1, "ls\n");
        assert_eq!((seen.last_input().since(begun), seen.bytes_passed()), (Duration::from_secs(60), (3, 10)));
        turn.pass(Duration::from_secs(60));
        seen.bytes(Stream::GateIn, 1, &Bytes::from_static(b"of a file"));
        assert_eq!(seen.last_input().since(begun), Duration::from_secs(120));
    }

    #[test]
    fn on_a_locked_terminal_what_is_typed_is_a_code_and_no_input() {
        let (seen, mut codes, turn) = seen();
        let begun = seen.last_input();
        seen.gallery().resize(1, Size { columns: 80, rows: 24 });
        typed(&seen, 1, "123456\r");
        assert!(codes.try_recv().is_err());
        seen.lock(true);
        turn.pass(Duration::from_secs(60));
        typed(&seen, 2, "999999\r");
        typed(&seen, 1, "\r12x");
        typed(&seen, 1, "\u{8}3 4\u{15}6543\u{7f}321\r\n");
        assert_eq!(codes.try_recv().map(|code| code.to_string()), Ok("654321".to_owned()));
        assert!(codes.try_recv().is_err());
        assert_eq!(seen.last_input(), begun);
        typed(&seen, 1, "77");
        seen.lock(false);
        seen.lock(true);
        typed(&seen, 1, "8\r");
        assert_eq!(codes.try_recv().map(|code| code.to_string()), Ok("8".to_owned()));
    }

    #[test]
    fn a_flood_on_a_locked_terminal_costs_nothing() {
        let (seen, mut codes, _turn) = seen();
        seen.gallery().resize(1, Size { columns: 80, rows: 24 });
        seen.lock(true);
        typed(&seen, 1, &"9".repeat(1 << 20));
        assert!(lock(&seen.typed).line.capacity() < 1 << 10);
        typed(&seen, 1, "\r");
        assert_eq!(codes.try_recv().expect("a line").len(), CodeReader::CODE_BYTES_MAX + 1);
    }
}

//! What goes to a page, for whoever writes to it, and how much of it the browser has.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use policies::ids::TargetName;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{LINES_MAX, ToPage};
use crate::session::texts;
use crate::websocket::PIECE_BYTES;

/// Pieces on their way.
pub(super) const OUTGOING_MAX: usize = 4;

/// A terminal or a screen on a page, for whoever writes to it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outlet(Arc<ToBrowser>);

struct ToBrowser {
    pieces: mpsc::Sender<Bytes>,
    lines: mpsc::Sender<Line>,
    draws: bool,
    credit: Credit,
    /// Nothing is shown any more. Told beside what is shown, so that no line is too slow for it.
    closed: CancellationToken,
    /// What was typed and waits goes nowhere.
    dismissed: AtomicBool,
    last: Mutex<Last>,
}

/// What the gate says, past all that is shown.
pub(super) enum Line {
    /// On the terminal.
    Drawn(Bytes),
    /// Beside it.
    Beside(ToPage),
}

/// For the last words.
#[derive(Default)]
struct Last {
    /// What the gate told on this channel last.
    told: Option<String>,
    /// Why the gate closed what was carried here.
    why: Option<String>,
    end: Option<ShellEnd>,
}

/// How what was to run in a terminal ended.
#[derive(Debug, Clone)]
pub(crate) enum ShellEnd {
    /// With this status.
    Status(u32),
    /// By this signal.
    Signal(String),
    /// The gate ended it, or let none begin, and told why.
    ByGate,
}

/// What comes out of an [`Outlet`].
pub(crate) struct Outgoing {
    pub(super) pieces: mpsc::Receiver<Bytes>,
    pub(super) lines: mpsc::Receiver<Line>,
    pub(super) closed: CancellationToken,
}

impl Outlet {
    /// What the browser says to have drawn is told here.
    pub(super) fn credit(&self) -> &Credit {
        &self.0.credit
    }

    /// For what draws what it is sent; the browser may have so many bytes that it has not drawn.
    pub(crate) fn new(undrawn_max: usize) -> (Self, Outgoing) {
        Self::of(undrawn_max, true)
    }

    /// For what draws nothing, and is only told; so many bytes may be on their way to it.
    pub(super) fn undrawn(bytes_max: usize) -> (Self, Outgoing) {
        Self::of(bytes_max, false)
    }

    fn of(undrawn_max: usize, draws: bool) -> (Self, Outgoing) {
        let ((pieces, shown), (lines, said)) = (mpsc::channel(OUTGOING_MAX), mpsc::channel(LINES_MAX));
        let closed = CancellationToken::new();
        let outgoing = Outgoing { pieces: shown, lines: said, closed: closed.clone() };
        let (credit, dismissed, last) = (Credit::new(undrawn_max), AtomicBool::new(false), Mutex::default());
        (Self(Arc::new(ToBrowser { pieces, lines, draws, credit, closed, dismissed, last })), outgoing)
    }

    /// Shows bytes, once the browser has drawn enough of what came before.
    pub(crate) async fn shown(&self, mut bytes: Bytes) -> Result<(), russh::Error> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
            self.room().await;
            self.0.credit.owe(piece.len());
            self.0.pieces.send(piece).await.map_err(|_| russh::Error::SendError)?;
        }
        Ok(())
    }

    /// Waits until enough of what was shown is drawn, or nobody is there to draw it. For the one task that shows.
    async fn room(&self) {
        while self.0.credit.is_spent() {
            tokio::select! {
                () = self.0.credit.news.notified() => {}
                () = self.0.pieces.closed() => return,
            }
        }
    }

    /// Shows a line now, whatever waits.
    pub(crate) async fn said(&self, line: Bytes) -> Result<(), russh::Error> {
        self.0.credit.owe(line.len());
        self.line(Line::Drawn(line)).await
    }

    /// Says lines of the gate's beside the terminal, where no target can have written them.
    pub(crate) async fn told(&self, lines: &[u8]) -> Result<(), russh::Error> {
        for words in texts::words_of(&String::from_utf8_lossy(lines)) {
            self.last().told = Some(words.to_owned());
            self.beside(ToPage::Told { words: words.to_owned() }).await?;
        }
        Ok(())
    }

    /// What does not belong to the stream itself: a terminal draws it as all the rest.
    pub(crate) async fn aside(&self, bytes: Bytes) -> Result<(), russh::Error> {
        match self.0.draws {
            true => self.shown(bytes).await,
            false => self.told(&bytes).await,
        }
    }

    /// What the gate made of that: told beside a terminal, too.
    pub(crate) async fn aside_by_gate(&self, bytes: Bytes) -> Result<(), russh::Error> {
        if self.0.draws {
            self.told(&bytes).await?;
        }
        self.aside(bytes).await
    }

    /// What the gate said as it ended the channel, or let none begin.
    pub(super) fn refused(&self) -> Option<String> {
        let last = self.last();
        last.told.clone().filter(|_| matches!(last.end, Some(ShellEnd::ByGate)))
    }

    /// Says something beside what is shown.
    pub(super) async fn beside(&self, said: ToPage) -> Result<(), russh::Error> {
        self.line(Line::Beside(said)).await
    }

    async fn line(&self, line: Line) -> Result<(), russh::Error> {
        self.0.lines.send(line).await.map_err(|_| russh::Error::SendError)
    }

    /// How what was to run here ended, for the last words.
    pub(crate) fn note_end(&self, end: ShellEnd) {
        self.last().end.get_or_insert(end);
    }

    /// Why the gate closes what was carried here, for the last words.
    pub(crate) fn note_why(&self, words: &str) {
        self.last().why.get_or_insert_with(|| words.to_owned());
    }

    /// Why the gate closed it, where it did.
    pub(super) fn why(&self) -> Option<String> {
        self.last().why.clone()
    }

    pub(super) fn end_in_words(&self, target: &TargetName) -> String {
        let last = self.last();
        match (&last.end, &last.told) {
            (Some(ShellEnd::Status(0)), _) => format!("The shell at {target} ended, and your session with it."),
            (Some(ShellEnd::Status(status)), _) => {
                format!("The shell at {target} ended with status {status}, and your session with it.")
            }
            (Some(ShellEnd::Signal(signal)), _) => {
                format!("The shell at {target} was ended by signal {signal}, and your session with it.")
            }
            (Some(ShellEnd::ByGate), Some(told)) => {
                format!("{}. Your session ended with it.", told.trim_end_matches('.'))
            }
            (Some(ShellEnd::ByGate) | None, _) => {
                format!("The terminal of {target} was closed, and your session with it.")
            }
        }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was typed and has not gone to the target yet is thrown away.
    pub(super) fn dismiss(&self) {
        self.0.dismissed.store(true, Ordering::Release);
    }

    /// Whether that is so.
    pub(crate) fn is_dismissed(&self) -> bool {
        self.0.dismissed.load(Ordering::Acquire)
    }

    /// Closes the terminal behind what was shown. Waits for nobody.
    pub(crate) fn close(&self) {
        self.0.closed.cancel();
    }
}

/// How much the browser has that it has not said to have drawn.
pub(super) struct Credit {
    most: usize,
    undrawn: AtomicUsize,
    news: Notify,
}

impl Credit {
    fn new(most: usize) -> Self {
        Self { most, undrawn: AtomicUsize::new(0), news: Notify::new() }
    }

    fn is_spent(&self) -> bool {
        self.undrawn.load(Ordering::Acquire) >= self.most
    }

    fn owe(&self, bytes: usize) {
        self.undrawn.fetch_add(bytes, Ordering::AcqRel);
    }

    /// The page's word is taken for no more than it was given.
    pub(super) fn give(&self, bytes: usize) {
        let less = |undrawn: usize| Some(undrawn.saturating_sub(bytes));
        self.undrawn.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).expect("it always gives a value");
        self.news.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const UNDRAWN_BYTES_MAX: usize = 256 << 10;

    async fn taken(outgoing: &mut Outgoing) -> usize {
        let mut taken = 0;
        while let Ok(Some(bytes)) = timeout(Duration::from_secs(1), outgoing.pieces.recv()).await {
            taken += bytes.len();
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_drawn_holds_what_follows_but_no_line_of_the_gate() {
        let (outlet, mut outgoing) = Outlet::new(UNDRAWN_BYTES_MAX);
        let target = outlet.clone();
        let printing = tokio::spawn(async move { target.shown(vec![b'y'; 1 << 20].into()).await });
        assert_eq!(taken(&mut outgoing).await, UNDRAWN_BYTES_MAX);
        outlet.said(Bytes::from_static(b"cut")).await.unwrap();
        assert!(matches!(outgoing.lines.recv().await.unwrap(), Line::Drawn(line) if line == "cut"));
        // A page that says to have drawn more than there was gets no more than the others.
        outlet.0.credit.give(usize::MAX);
        assert_eq!(taken(&mut outgoing).await, UNDRAWN_BYTES_MAX);
        // Whoever waits for a page that is gone is told.
        drop(outgoing);
        assert!(printing.await.unwrap().is_err());
    }

    #[test]
    fn whoever_reads_why_a_terminal_is_closed_reads_how_its_shell_ended() {
        let said = |end| {
            let (outlet, _outgoing) = Outlet::new(UNDRAWN_BYTES_MAX);
            outlet.note_end(end);
            outlet.end_in_words(&"hmi-2".parse().unwrap())
        };
        assert_eq!(said(ShellEnd::Status(0)), "The shell at hmi-2 ended, and your session with it.");
        assert_eq!(said(ShellEnd::Status(3)), "The shell at hmi-2 ended with status 3, and your session with it.");
        let signal = said(ShellEnd::Signal("KILL".into()));
        assert_eq!(signal, "The shell at hmi-2 was ended by signal KILL, and your session with it.");
    }
}

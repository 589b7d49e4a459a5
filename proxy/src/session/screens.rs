//! The screens of a session over VNC, as spectators see them. What is said about one passes here on its way and is drawn by a
//! thread beside, which nothing waits for: one that falls too far behind loses its picture, and the connection goes on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use approver::floor::{self, Look, OpenScreen, ScreenFacts, ScreenPiece, SeenScreen, WantedScreen};
use bytes::Bytes;
use tokio::sync::watch;

use crate::gates::vnc::screen::{Canvas, Cut, Decoder, Ended, Glance, Piece, Said, Source};

/// So much may wait to be drawn: what a server sends in some tenths of a second over a fast network.
const WAITING_BYTES_MAX: usize = 8 << 20;

/// The screens that are open now.
#[derive(Debug, Default)]
pub(crate) struct Screens {
    open: Mutex<BTreeMap<u32, Screen>>,
    changed: Arc<watch::Sender<()>>,
}

/// A connection's screen. Its thread does no more when this is dropped.
#[derive(Debug)]
struct Screen {
    canvas: Arc<Canvas>,
    waiting: Arc<Waiting>,
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.waiting.end();
    }
}

impl Screens {
    /// This was said about a connection's screen. The first word opens it, within a runtime.
    pub(crate) fn said(&self, connection: u32, said: Said) {
        let mut open = lock(&self.open);
        let screen = open.entry(connection).or_insert_with(|| Screen::open(connection, Arc::clone(&self.changed)));
        screen.waiting.push(said);
    }

    /// A connection is over.
    pub(crate) fn close(&self, connection: u32) {
        let was_open = lock(&self.open).remove(&connection).is_some();
        if was_open {
            self.changed.send_replace(());
        }
    }

    /// No connection is left, whether or not each said so.
    pub(crate) fn close_all(&self) {
        lock(&self.open).clear();
        self.changed.send_replace(());
    }

    /// Those that are open, the oldest first.
    pub(crate) fn open(&self) -> Vec<OpenScreen> {
        lock(&self.open).iter().map(|(connection, screen)| open_screen(*connection, &screen.canvas)).collect()
    }

    /// The one that is wanted, or the newest connection's on which something was drawn, so that one that asks for no picture
    /// hides none; and those that are open.
    fn find(&self, wanted: WantedScreen) -> Option<(u32, Arc<Canvas>, Vec<OpenScreen>)> {
        let open = lock(&self.open);
        let chosen = match wanted {
            WantedScreen::Of(connection) => open.get_key_value(&connection),
            WantedScreen::Newest => None,
        };
        let drawn = || open.iter().rev().find(|(_, screen)| screen.canvas.is_drawn());
        let (connection, screen) = chosen.or_else(drawn).or_else(|| open.last_key_value())?;
        let (connection, canvas) = (*connection, Arc::clone(&screen.canvas));
        drop(open);
        Some((connection, canvas, self.open()))
    }
}

fn open_screen(connection: u32, canvas: &Canvas) -> OpenScreen {
    let (width, height, _) = canvas.standing();
    OpenScreen { connection, width, height }
}

impl floor::Screens for Screens {
    fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn shown(&self, wanted: WantedScreen) -> Option<ScreenFacts> {
        let (connection, canvas, open) = self.find(wanted)?;
        let (width, height, lost) = canvas.standing();
        Some(ScreenFacts { connection, open, width, height, lost })
    }

    fn look(&self, wanted: WantedScreen, seen: SeenScreen) -> Look {
        let Some((connection, canvas, open)) = self.find(wanted) else {
            return Look { seen: SeenScreen::default(), screen: None, pieces: Vec::new(), is_more: false };
        };
        let SeenScreen { connection: before, sizes, stamp, begun, row } = seen;
        let glance = if before == connection { Glance { sizes, stamp, begun, row } } else { Glance::default() };
        let Cut { glance: Glance { sizes, stamp, begun, row }, width, height, lost, pieces, is_more } =
            canvas.look(glance);
        Look {
            seen: SeenScreen { connection, sizes, stamp, begun, row },
            is_more,
            screen: Some(ScreenFacts { connection, open, width, height, lost }),
            pieces: pieces.iter().map(|piece| ScreenPiece { x: piece.x, y: piece.y, png: png(piece) }).collect(),
        }
    }
}

/// Lossless, and made fast rather than small: what changes on a panel is flat.
fn png(piece: &Piece) -> Bytes {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, piece.width.into(), piece.height.into());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&piece.rgb));
    written.expect("memory takes all, and a piece has the pixels that it says");
    bytes.into()
}

impl Screen {
    fn open(connection: u32, changed: Arc<watch::Sender<()>>) -> Self {
        let canvas = Arc::new(Canvas::new(changed));
        let waiting = Arc::new(Waiting::default());
        let drawing = Drawing { connection, canvas: Arc::clone(&canvas), waiting: Arc::clone(&waiting) };
        let span = tracing::Span::current();
        // Of the lane's own threads for what takes long: it waits for them at its end.
        drop(tokio::task::spawn_blocking(move || span.in_scope(|| drawing.run())));
        Self { canvas, waiting }
    }
}

/// Draws one connection's screen.
struct Drawing {
    connection: u32,
    canvas: Arc<Canvas>,
    waiting: Arc<Waiting>,
}

impl Drawing {
    fn run(&self) {
        let ended = Decoder::new(Arc::clone(&self.waiting), Arc::clone(&self.canvas)).run();
        let has_overflown = self.waiting.has_overflown();
        // Nothing more is kept for it from here on.
        self.waiting.end();
        match (ended, has_overflown) {
            (_, true) => lose(self.connection, &self.canvas, "more came than the gate could draw"),
            (Ended::Lost(why), _) => lose(self.connection, &self.canvas, &why),
            (Ended::Over, _) => {}
        }
    }
}

impl Drop for Drawing {
    fn drop(&mut self) {
        if thread::panicking() {
            lose(self.connection, &self.canvas, "the gate failed to read it");
        }
        self.waiting.end();
    }
}

fn lose(connection: u32, canvas: &Canvas, why: &str) {
    tracing::warn!(connection, why, "the picture of a screen was lost to those who watch; the session goes on");
    canvas.lose(why);
}

/// What waits to be drawn.
#[derive(Debug, Default)]
struct Waiting {
    line: Mutex<Line>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Line {
    said: VecDeque<Said>,
    bytes: usize,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Ended,
    Overflown,
}

impl Waiting {
    fn push(&self, said: Said) {
        let mut line = lock(&self.line);
        if line.state != State::Open {
            return;
        }
        line.bytes += said.weight();
        line.said.push_back(said);
        if line.bytes > WAITING_BYTES_MAX {
            *line = Line { state: State::Overflown, ..Line::default() };
        }
        drop(line);
        self.more.notify_one();
    }

    /// Nobody draws any more, or nothing is there to be drawn.
    fn end(&self) {
        let mut line = lock(&self.line);
        if line.state == State::Open {
            *line = Line { state: State::Ended, ..Line::default() };
        }
        drop(line);
        self.more.notify_one();
    }

    fn has_overflown(&self) -> bool {
        lock(&self.line).state == State::Overflown
    }
}

impl Source for Arc<Waiting> {
    fn next(&mut self) -> Option<Said> {
        let mut line = lock(&self.line);
        loop {
            if let Some(said) = line.said.pop_front() {
                line.bytes -= said.weight();
                return Some(said);
            }
            if line.state != State::Open {
                return None;
            }
            line = self.more.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No change under these locks can stop halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use approver::floor::Screens as _;

    use super::*;

    fn target(bytes: &[u8]) -> Said {
        Said::Target { bytes: Bytes::copy_from_slice(bytes), at: Instant::now() }
    }

    /// A screen of two pixels in one colour, as a target draws it.
    fn hello(colour: [u8; 3]) -> Said {
        let [red, green, blue] = colour;
        let begins = [0, 2, 0, 1, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        let drawn = [0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 1, 0, 0, 0, 7, 0x80, red, green, blue];
        target(&[&begins[..], &drawn].concat())
    }

    /// What is shown once that is so.
    async fn once(screens: &Screens, is: impl Fn(&Look) -> bool) -> Look {
        let mut changed = screens.changed();
        loop {
            let look = screens.look(WantedScreen::Newest, SeenScreen::default());
            if is(&look) {
                return look;
            }
            changed.changed().await.expect("the screens are there");
        }
    }

    fn pixels(piece: &ScreenPiece) -> Vec<u8> {
        let mut reader = png::Decoder::new(std::io::Cursor::new(&piece.png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        pixels
    }

    #[tokio::test]
    async fn the_newest_screen_is_shown_and_the_one_before_when_it_closes() {
        let screens = Screens::default();
        assert_eq!(screens.shown(WantedScreen::Newest), None);
        screens.said(3, hello([1, 2, 3]));
        let first = once(&screens, |look| !look.pieces.is_empty()).await;
        assert_eq!(pixels(&first.pieces[0]), [1, 2, 3, 1, 2, 3]);
        let open = |connection| OpenScreen { connection, width: 2, height: 1 };
        let facts = ScreenFacts { connection: 3, open: vec![open(3)], width: 2, height: 1, lost: None };
        assert_eq!((first.screen, screens.shown(WantedScreen::Newest)), (Some(facts.clone()), Some(facts)));
        screens.said(5, hello([7, 8, 9]));
        let second = once(&screens, |look| look.seen.connection == 5 && !look.pieces.is_empty()).await;
        assert_eq!(pixels(&second.pieces[0]), [7, 8, 9, 7, 8, 9]);
        assert_eq!(second.screen.map(|facts| facts.open), Some(vec![open(3), open(5)]));
        let chosen = |seen| screens.look(WantedScreen::Of(3), seen);
        let older = chosen(second.seen);
        assert_eq!(
            (older.seen.connection, pixels(&older.pieces[0])),
            (3, vec![1, 2, 3, 1, 2, 3]),
            "who wants it sees it"
        );
        assert_eq!(chosen(older.seen).pieces, []);
        assert_eq!(
            screens.look(WantedScreen::Of(4), SeenScreen::default()).seen.connection,
            5,
            "nobody's is the newest"
        );
        screens.close(5);
        let again = screens.look(WantedScreen::Newest, second.seen);
        assert_eq!((again.seen.connection, pixels(&again.pieces[0])), (3, vec![1, 2, 3, 1, 2, 3]), "the whole of it");
        assert_eq!(screens.look(WantedScreen::Newest, again.seen).pieces, []);
        screens.close(3);
        assert_eq!(screens.look(WantedScreen::Newest, again.seen).screen, None);
    }

    #[tokio::test]
    async fn a_picture_that_cannot_be_followed_is_lost_and_says_why() {
        let screens = Screens::default();
        let lost = async |connection| {
            let is_lost = |look: &Look| {
                let of = look.screen.as_ref().filter(|facts| facts.connection == connection);
                of.is_some_and(|facts| facts.lost.is_some())
            };
            let look = once(&screens, is_lost).await;
            assert_eq!((look.seen.connection, look.pieces.len()), (connection, 0));
            look.screen.and_then(|facts| facts.lost).unwrap_or_default()
        };
        screens.said(1, hello([1, 2, 3]));
        screens.said(1, target(&[77]));
        assert_eq!(lost(1).await, "the target sent message 77, whose length nobody knows");
        // Nothing is kept for it any more.
        screens.said(1, target(&[0; 1000]));
        assert_eq!(lock(&lock(&screens.open)[&1].waiting.line).bytes, 0);
        screens.said(2, target(&vec![0; WAITING_BYTES_MAX]));
        assert_eq!(lost(2).await, "more came than the gate could draw");
    }
}

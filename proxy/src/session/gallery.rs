//! What spectators of a session see: its terminals, as they stand and as they change, and what is done outside them; screens
//! are beside, in [`Screens`]. It taps the relay and never the store. Who may watch is the Desk's to say; how a view is made harmless is the viewer's.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use approver::floor::{Happened, Joined, Watch, WatchFrame, WatchFrames};
use bytes::Bytes;
use policies::events::Ending;
use recordings::block::Keyframe;
use recordings::notes::Size;
use recordings::screen::DEFAULT_SIZE;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::screens::Screens;

/// The number of no terminal: channels are counted from 1.
const NONE: u32 = 0;
/// So much of what was done is told to whoever joins: a screen full, and some more.
const HAPPENED_MAX: usize = 100;
/// Of one: a command may have many thousand characters, and the recording has them all.
const HAPPENED_CHARS_MAX: usize = 500;
/// Frames a spectator may be behind before it gets a fresh screen instead: some seconds of typing, and with the largest
/// chunks no more than 4 MiB.
const BEHIND_MAX: usize = 32;

/// The terminals of one session.
#[derive(Default)]
pub(crate) struct Gallery {
    stage: Mutex<Stage>,
    screens: Arc<Screens>,
    over: CancellationToken,
    seats: AtomicUsize,
}

#[derive(Default)]
struct Stage {
    terminals: BTreeMap<u32, Screen>,
    /// The terminal a person last typed on, or the newest.
    shown: u32,
    /// What was done of late outside the terminals.
    happened: VecDeque<Happened>,
    /// There while somebody watches.
    spectators: Option<broadcast::Sender<WatchFrame>>,
    /// How the session ended. Who joins after that is told so, and nothing else.
    over: Option<Ending>,
}

impl Gallery {
    /// A terminal was asked for on a channel, or has another size.
    pub(crate) fn resize(&self, channel: u32, size: Size) {
        let mut stage = self.stage();
        match stage.terminals.get_mut(&channel) {
            Some(screen) => screen.resize(size),
            None => {
                stage.terminals.insert(channel, Screen::new(size));
                stage.shown = channel;
            }
        }
        if stage.shown == channel {
            stage.show_anew();
        }
    }

    /// A person typed on a channel.
    pub(crate) fn typed(&self, channel: u32) {
        let mut stage = self.stage();
        if stage.shown != channel && stage.terminals.contains_key(&channel) {
            stage.shown = channel;
            stage.show_anew();
        }
    }

    /// Output went to a channel; nothing if it has no terminal.
    pub(crate) fn output(&self, channel: u32, bytes: &Bytes) {
        let mut stage = self.stage();
        let Some(screen) = stage.terminals.get_mut(&channel) else { return };
        screen.feed(bytes);
        if stage.shown == channel {
            stage.send(|| WatchFrame::Output(bytes.clone()));
        }
    }

    /// Something was done outside the terminals.
    pub(crate) fn happened(&self, mut happened: Happened) {
        if let Some((end, _)) = happened.words.char_indices().nth(HAPPENED_CHARS_MAX) {
            happened.words.truncate(end);
            happened.words.push('…');
        }
        let mut stage = self.stage();
        if stage.happened.len() >= HAPPENED_MAX {
            stage.happened.pop_front();
        }
        stage.happened.push_back(happened.clone());
        stage.send(|| WatchFrame::Happened(happened));
    }

    /// The screens over VNC.
    pub(crate) fn screens(&self) -> &Screens {
        &self.screens
    }

    /// A channel is closed.
    pub(crate) fn close(&self, channel: u32) {
        self.screens.close(channel);
        let mut stage = self.stage();
        stage.terminals.remove(&channel);
        if stage.shown == channel {
            stage.shown = stage.terminals.last_key_value().map_or(NONE, |(newest, _)| *newest);
            stage.show_anew();
        }
    }

    /// Whether a channel has a terminal.
    pub(crate) fn has_terminal(&self, channel: u32) -> bool {
        self.stage().terminals.contains_key(&channel)
    }

    /// What draws each of the technician's terminals as it stands.
    pub(crate) fn keyframes(&self) -> Vec<Keyframe> {
        let mut stage = self.stage();
        let terminals = stage.terminals.iter_mut().filter(|(_, screen)| screen.is_drawn_on);
        terminals.map(|(channel, screen)| screen.keyframe(*channel)).collect()
    }

    /// What passes on a channel from now on is a protocol, and draws nothing.
    pub(crate) fn copies_files(&self, channel: u32) {
        self.stage().terminals.get_mut(&channel).into_iter().for_each(|screen| screen.is_drawn_on = false);
    }

    /// The session is over.
    pub(crate) fn over(&self, ending: &Ending) {
        self.screens.close_all();
        self.over.cancel();
        let mut stage = self.stage();
        stage.send(|| WatchFrame::Over(ending.clone()));
        stage.over = Some(ending.clone());
    }

    /// How many watch.
    pub(crate) fn spectators(&self) -> usize {
        self.seats.load(Ordering::Relaxed)
    }

    /// Joins as a spectator.
    pub(crate) fn watch(self: &Arc<Self>) -> Watch {
        let gallery = Arc::clone(self);
        let seat = Box::new(Seat::take(Arc::clone(self)));
        let (screen, happened, frames) = WatchFrames::join(Box::new(move || gallery.stage().join()));
        Watch { screen, happened, frames, screens: Arc::clone(&self.screens) as _, over: self.over.clone(), seat }
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        // Nothing under this lock can panic halfway through a change.
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Gallery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gallery({} watch)", self.spectators())
    }
}

impl Stage {
    fn join(&mut self) -> Joined {
        let frames = match (&self.over, &self.spectators) {
            (Some(ending), _) => Self::only(WatchFrame::Over(ending.clone())),
            (None, Some(spectators)) => spectators.subscribe(),
            (None, None) => {
                let (spectators, receiver) = broadcast::channel(BEHIND_MAX);
                self.spectators = Some(spectators);
                receiver
            }
        };
        Joined { screen: self.screen(), happened: self.happened.iter().cloned().collect(), frames }
    }

    fn only(frame: WatchFrame) -> broadcast::Receiver<WatchFrame> {
        let (last, receiver) = broadcast::channel(1);
        last.send(frame).expect("the receiver is there");
        receiver
    }

    /// Another terminal, or another size: the spectators' own must follow before anything is drawn on it.
    fn show_anew(&mut self) {
        if self.spectators.is_none() {
            return;
        }
        if let Some(Size { columns, rows }) = self.terminals.get(&self.shown).map(|screen| screen.size) {
            let small = |length: u32| u16::try_from(length).unwrap_or(u16::MAX);
            self.send(|| WatchFrame::Resize { columns: small(columns), rows: small(rows) });
        }
        let screen = self.screen();
        self.send(|| WatchFrame::Skipped { frames: 0, screen, happened: None });
    }

    fn screen(&mut self) -> Bytes {
        self.terminals.get_mut(&self.shown).map(Screen::draw).unwrap_or_default()
    }

    fn send(&mut self, frame: impl FnOnce() -> WatchFrame) {
        let Some(spectators) = &self.spectators else { return };
        // Nobody left: what they needed goes.
        if spectators.send(frame()).is_err() {
            self.spectators = None;
        }
    }
}

struct Seat(Arc<Gallery>);

impl Seat {
    fn take(gallery: Arc<Gallery>) -> Self {
        gallery.seats.fetch_add(1, Ordering::Relaxed);
        Self(gallery)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.seats.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A terminal's screen, kept small: what draws it as it stood, and what came since. A whole screen of cells would be
/// more than all else of an idle session.
struct Screen {
    size: Size,
    drawn: String,
    since: Vec<u8>,
    is_drawn_on: bool,
}

impl Screen {
    /// What came is worked in when it is more than this: half a millisecond's work.
    const SINCE_BYTES_MAX: usize = 16 << 10;
    /// Larger ones exist nowhere, and would only cost memory.
    const MAX: Size = Size { columns: 500, rows: 200 };

    fn new(size: Size) -> Self {
        Self { size: Self::bounded(size), drawn: String::new(), since: Vec::new(), is_drawn_on: true }
    }

    /// Clients that do not know their size say 0.
    fn bounded(size: Size) -> Size {
        let side = |length: u32, usual: u32, max: u32| if length == 0 { usual } else { length.min(max) };
        Size {
            columns: side(size.columns, DEFAULT_SIZE.columns, Self::MAX.columns),
            rows: side(size.rows, DEFAULT_SIZE.rows, Self::MAX.rows),
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.since.extend_from_slice(bytes);
        if self.since.len() > Self::SINCE_BYTES_MAX {
            self.work_in(self.size);
        }
    }

    fn resize(&mut self, size: Size) {
        self.work_in(Self::bounded(size));
    }

    /// The size first, since what follows is right on a terminal of that size alone; then whatever was shown goes.
    fn draw(&mut self) -> Bytes {
        self.work_in(self.size);
        let Size { columns, rows } = self.size;
        Bytes::from(format!("\x1b[8;{rows};{columns}t\x1bc{}", self.drawn))
    }

    fn keyframe(&mut self, channel: u32) -> Keyframe {
        if !self.since.is_empty() {
            self.work_in(self.size);
        }
        let side = |length: u32| u16::try_from(length).expect("a bounded size is small");
        let draws = [self.drawn.as_bytes(), &self.since].concat().into();
        Keyframe { channel, columns: side(self.size.columns), rows: side(self.size.rows), draws }
    }

    fn work_in(&mut self, size: Size) {
        let (columns, rows) = (self.size.columns as usize, self.size.rows as usize);
        let mut terminal = avt::Terminal::new(columns, rows).expect("a bounded size is not zero");
        terminal.feed(self.drawn.as_str());
        let whole = whole_characters(&self.since);
        terminal.feed(&*String::from_utf8_lossy(&self.since[..whole]));
        self.since = self.since.split_off(whole);
        if size != self.size {
            terminal.resize(size.columns as usize, size.rows as usize);
            self.size = size;
        }
        self.drawn = terminal.dump();
    }
}

/// Up to where no character is cut off at the end. What is no UTF-8 at all is whole.
fn whole_characters(bytes: &[u8]) -> usize {
    let begins = bytes.iter().rev().take(4).position(|byte| byte & 0b1100_0000 != 0b1000_0000);
    let Some(start) = begins.map(|back| bytes.len() - 1 - back) else { return bytes.len() };
    match std::str::from_utf8(&bytes[start..]) {
        Err(error) if error.error_len().is_none() => start,
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use approver::watching::drawn_for;

    const SMALL: Size = Size { columns: 20, rows: 3 };

    fn seen(watch: &[u8]) -> Vec<String> {
        let size = drawn_for(watch).unwrap_or(SMALL);
        let mut terminal = avt::Terminal::new(size.columns as usize, size.rows as usize).expect("not zero");
        terminal.feed(std::str::from_utf8(watch).expect("drawn by us"));
        terminal.screen().text().into_iter().map(|line| line.trim_end().to_owned()).collect()
    }

    fn output(gallery: &Gallery, channel: u32, text: &str) {
        gallery.output(channel, &Bytes::copy_from_slice(text.as_bytes()));
    }

    #[tokio::test]
    async fn a_late_spectator_sees_the_screen_as_it_stands() {
        let gallery = Arc::new(Gallery::default());
        gallery.resize(1, SMALL);
        for n in 0..2_000 {
            output(&gallery, 1, &format!("line {n}\r\n\x1b[3"));
            output(&gallery, 1, "1m");
        }
        output(&gallery, 1, "gr\u{fc}n");
        let mut watch = gallery.watch();
        assert_eq!(seen(&watch.screen), ["line 1998", "line 1999", "grün"]);
        output(&gallery, 1, "!");
        assert_eq!(watch.frames.next().await, Some(WatchFrame::Output(Bytes::from_static(b"!"))));
    }

    #[test]
    fn a_character_torn_in_two_is_shown_whole() {
        let gallery = Arc::new(Gallery::default());
        gallery.resize(1, SMALL);
        for half in "€".as_bytes().chunks(2) {
            gallery.output(1, &Bytes::copy_from_slice(half));
            assert_eq!(drawn_for(&gallery.watch().screen), Some(SMALL));
        }
        assert_eq!(seen(&gallery.watch().screen)[0], "€");
        gallery.output(1, &Bytes::from_static(b"\xff\xfe-"));
        assert_eq!(seen(&gallery.watch().screen)[0], "€\u{fffd}\u{fffd}-");
    }

    #[tokio::test]
    async fn spectators_follow_the_terminal_on_which_a_person_types() {
        let gallery = Arc::new(Gallery::default());
        gallery.resize(1, SMALL);
        output(&gallery, 1, "first");
        gallery.resize(2, SMALL);
        let mut watch = gallery.watch();
        assert_eq!(seen(&watch.screen)[0], "");
        output(&gallery, 1, " unseen");
        gallery.typed(1);
        assert_eq!(watch.frames.next().await, Some(WatchFrame::Resize { columns: 20, rows: 3 }));
        let Some(WatchFrame::Skipped { frames: 0, screen, happened: None }) = watch.frames.next().await else {
            panic!("a fresh screen")
        };
        assert_eq!(seen(&screen)[0], "first unseen");
        gallery.close(1);
        assert!(matches!(watch.frames.next().await, Some(WatchFrame::Resize { .. })));
    }

    #[tokio::test]
    async fn a_slow_watcher_gets_a_fresh_screen() {
        let gallery = Arc::new(Gallery::default());
        gallery.resize(1, SMALL);
        let mut watch = gallery.watch();
        for _ in 0..100 {
            output(&gallery, 1, "x");
        }
        let Some(WatchFrame::Skipped { frames, screen, .. }) = watch.frames.next().await else { panic!("skipped") };
        assert_eq!(frames, 100 - BEHIND_MAX as u64);
        assert_eq!(seen(&screen).join(""), "x".repeat(60));
    }

    #[tokio::test]
    async fn who_joins_or_falls_behind_when_it_is_over_is_told_so() {
        let gallery = Arc::new(Gallery::default());
        gallery.resize(1, SMALL);
        let mut slow = gallery.watch();
        for _ in 0..2 * BEHIND_MAX {
            output(&gallery, 1, "x");
        }
        gallery.over(&Ending::Expired);
        let mut late = gallery.watch();
        assert_eq!(late.frames.next().await, Some(WatchFrame::Over(Ending::Expired)));
        assert!(matches!(slow.frames.next().await, Some(WatchFrame::Skipped { .. })));
        assert_eq!(slow.frames.next().await, Some(WatchFrame::Over(Ending::Expired)));
    }

    fn happened(words: &str) -> Happened {
        Happened { at: jiff::Timestamp::UNIX_EPOCH, words: words.to_owned(), refused: false }
    }

    #[tokio::test]
    async fn what_is_done_outside_terminals_is_told_in_words_and_who_is_late_or_slow_has_the_newest() {
        let gallery = Arc::new(Gallery::default());
        gallery.happened(happened("runs uptime"));
        let mut watch = gallery.watch();
        assert_eq!((watch.screen.len(), &watch.happened[..]), (0, &[happened("runs uptime")][..]));
        gallery.happened(happened("runs date"));
        assert_eq!(watch.frames.next().await, Some(WatchFrame::Happened(happened("runs date"))));
        let all: Vec<_> = (0..2 * HAPPENED_MAX).map(|n| happened(&n.to_string())).collect();
        all.iter().cloned().for_each(|one| gallery.happened(one));
        let Some(WatchFrame::Skipped { happened: Some(newest), .. }) = watch.frames.next().await else {
            panic!("skipped")
        };
        assert_eq!(newest, all[HAPPENED_MAX..]);
    }

    #[test]
    fn keyframes_are_the_technicians_terminals_to_the_last_byte() {
        let gallery = Arc::new(Gallery::default());
        gallery.happened(happened("runs uptime"));
        assert_eq!(gallery.keyframes(), []);
        for channel in 1..=3 {
            gallery.resize(channel, SMALL);
        }
        gallery.copies_files(2);
        gallery.close(3);
        let (before, after) = "one\r\n\u{1b}[31mzwölf €".as_bytes().split_at(9);
        gallery.output(1, &Bytes::copy_from_slice(before));
        for cut in 0..=after.len() {
            let gallery = Arc::new(Gallery::default());
            gallery.resize(1, SMALL);
            gallery.output(1, &[before, &after[..cut]].concat().into());
            let [keyframe] = &gallery.keyframes()[..] else { panic!("one") };
            let mut screen = recordings::screen::Screen::new(SMALL);
            screen.feed(&keyframe.draws);
            screen.feed(&after[cut..]);
            let mut whole = recordings::screen::Screen::new(SMALL);
            whole.feed(&[before, after].concat());
            assert_eq!(screen.dump(), whole.dump(), "cut at {cut}");
        }
        let channels = |gallery: &Gallery| gallery.keyframes().iter().map(|screen| screen.channel).collect::<Vec<_>>();
        assert_eq!(channels(&gallery), [1]);
    }

    #[test]
    fn leaving_is_dropping_the_seat() {
        let gallery = Arc::new(Gallery::default());
        let (one, two) = (gallery.watch(), gallery.watch());
        assert_eq!(gallery.spectators(), 2);
        drop(one);
        assert_eq!(gallery.spectators(), 1);
        drop(two);
        output(&gallery, 1, "nobody");
        gallery.happened(happened("nobody"));
        assert!(gallery.stage().spectators.is_none());
    }

    #[test]
    fn an_idle_terminal_is_kept_small_whatever_its_size_was_said_to_be() {
        let mut screen = Screen::new(Size { columns: u32::MAX, rows: u32::MAX });
        assert_eq!(screen.size, Screen::MAX);
        assert_eq!(Screen::new(Size { columns: 0, rows: 0 }).size, DEFAULT_SIZE);
        screen.resize(Size { columns: 80, rows: 24 });
        for _ in 0..1_000 {
            screen.feed(b"\x1b[32mtess@hmi-2\x1b[0m:~$ ls -l /var/log/holdpoint-simulation.log\r\n");
        }
        assert!(screen.drawn.capacity() + screen.since.capacity() < 48 << 10);
    }

    proptest::proptest! {
        #[test]
        fn no_output_makes_it_panic(chunks: Vec<Vec<u8>>, columns: u32, rows: u32) {
            let gallery = Arc::new(Gallery::default());
            gallery.resize(1, Size { columns: columns % 90, rows: rows % 30 });
            for chunk in chunks {
                gallery.output(1, &Bytes::from(chunk));
                gallery.watch();
            }
        }
    }
}

//! A part of a replay in one piece, for a page that shows it: the screen as it stood, then what was drawn, typed and done.
//! As in [`crate::play`], nothing is passed on as it was recorded, and typed passwords are masked.

use std::time::Duration;

use crate::notes::Size;
use crate::play::{Effect, Stage, View};
use crate::read::{Moment, ReadFault, What};
use crate::remarks;
use crate::screen::{DEFAULT_SIZE, Painter};
use crate::words::Words;

/// Events in one window: some minutes of a person's work.
const EVENTS_MAX: usize = 1_500;
/// What they may write, together.
const TEXT_BYTES_MAX: usize = 2 << 20;
/// Of what a command without a terminal wrote before, so many lines.
const LINES_BEFORE_MAX: usize = 24;

/// A part of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Where it begins, since the session was opened.
    pub from: Duration,
    /// Where the next one begins; there is none behind the last.
    pub next: Option<Duration>,
    /// The time of the keyframe that it was begun at, if it was.
    pub keyframe: Option<Duration>,
    /// The channel that is shown, once something on it can be.
    pub channel: Option<u32>,
    /// The size of the terminal when it begins.
    pub size: Size,
    /// What draws the terminal as it stood then.
    pub screen: String,
    /// What came after it, in order.
    pub events: Vec<Event>,
}

/// Something in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Since the session was opened.
    pub at: Duration,
    /// What.
    pub shown: Shown,
}

/// What a page shows of a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// To be written on the terminal.
    Drawn(String),
    /// The terminal's size from now on; it is empty then.
    Size(Size),
    /// What the technician typed or sent.
    Typed(String),
    /// What the gate did.
    Gate(String),
}

/// The window that begins at `from`, of what [`Store::seek`](crate::read::Store::seek) gave for it and for this channel.
pub fn window<I: Iterator<Item = Result<Moment, ReadFault>>>(
    moments: &mut I,
    from: Duration,
    channel: Option<u32>,
) -> Result<Window, ReadFault> {
    let mut view = Viewer { stage: Stage::new(channel), painter: Painter::new(None), size: None, lines: String::new() };
    let (mut keyframe, mut events, mut bytes) = (None, Vec::new(), 0);
    let mut begun: Option<(Size, String)> = None;
    let mut last = from;
    let mut next = None;
    for moment in moments.by_ref() {
        let moment = moment?;
        if matches!(moment.what, What::Standing(_)) {
            keyframe = Some(moment.at);
        }
        if moment.at > last && (events.len() >= EVENTS_MAX || bytes >= TEXT_BYTES_MAX) {
            next = Some(last);
            break;
        }
        if moment.at <= from {
            view.take(&moment);
            continue;
        }
        begun.get_or_insert_with(|| view.begin());
        last = moment.at;
        for shown in view.shows(&moment) {
            bytes += shown.len();
            events.push(Event { at: moment.at, shown });
        }
    }
    let (size, screen) = begun.unwrap_or_else(|| view.begin());
    let channel = view.stage.shown_channel();
    Ok(Window { from, next, keyframe, channel, size, screen, events })
}

struct Viewer {
    stage: Stage,
    painter: Painter,
    size: Option<Size>,
    /// Lines of a command without a terminal that were not shown yet.
    lines: String,
}

impl Viewer {
    fn take(&mut self, moment: &Moment) -> Effect {
        let effect = self.stage.take(moment, |_| {});
        if let Effect::Lines(text) = &effect {
            self.lines.push_str(text);
            let kept = self.lines.rmatch_indices('\n').nth(LINES_BEFORE_MAX).map_or(0, |(at, _)| at + 1);
            self.lines.drain(..kept);
        }
        effect
    }

    fn begin(&mut self) -> (Size, String) {
        let (size, screen) = match self.stage.view() {
            Some(View::Screen(screen)) => (screen.size(), self.painter.paint(screen)),
            _ => (DEFAULT_SIZE, self.lines.replace('\n', "\r\n")),
        };
        self.size = Some(size);
        (size, screen)
    }

    fn shows(&mut self, moment: &Moment) -> Vec<Shown> {
        let mut shows = Vec::new();
        match self.take(moment) {
            Effect::Screen => {
                let Some(View::Screen(screen)) = self.stage.view() else { return shows };
                if self.size.replace(screen.size()) != Some(screen.size()) {
                    shows.push(Shown::Size(screen.size()));
                }
                shows.push(Shown::Drawn(self.painter.paint(screen)));
            }
            Effect::Lines(text) => shows.push(Shown::Drawn(text.replace('\n', "\r\n"))),
            Effect::Typed(text) => shows.push(Shown::Typed(Words::new(text).to_string())),
            Effect::None => {}
        }
        shows.extend(remarks::of(moment).or_else(|| remarks::said(moment)).map(Shown::Gate));
        shows.retain(|shown| shown.len() > 0);
        shows
    }
}

impl Shown {
    fn len(&self) -> usize {
        match self {
            Self::Drawn(text) | Self::Typed(text) | Self::Gate(text) => text.len(),
            Self::Size(_) => 1,
        }
    }
}

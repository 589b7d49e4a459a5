//! What a person does at a screen comes in many small messages. Here they become lines that somebody can read: typing is
//! counted in bursts, the pointer's way is not told but where it clicks, and who sends more than a person could gets it
//! counted, so that nobody fills the record.

use std::time::{Duration, Instant};

use policies::actions::Action;
use policies::plant::Protocol;

use super::message::Point;
use crate::gates::Verdict;
use crate::gates::told::{Kind, Told, Verb, counted};

/// A burst is over after so long without more of its kind.
const QUIET: Duration = Duration::from_secs(1);
/// And is told after this long, though it goes on.
const BURST_MAX: Duration = Duration::from_secs(10);
/// So many lines at once, and one more for each beat.
const LINES_MAX: u32 = 50;
const LINE_EVERY: Duration = Duration::from_millis(100);

/// What one message did, or would have done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// A key that writes, or changes what another means.
    Typed,
    /// Any other, with those held beside it.
    Pressed(String),
    Moved(Point),
    Clicked(Button, Point),
    /// Moved with a button held.
    Dragged(Point),
    Scrolled(&'static str),
    /// Text for the clipboard, of so many characters.
    Cut(usize),
    Power(u8),
    Resized(Point),
    /// Asked for a picture.
    Looked,
    /// More than can be told one by one.
    Many,
}

/// A button of the pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Button {
    Left,
    Middle,
    Right,
    Other,
}

/// The lines of one connection.
#[derive(Debug, Default)]
pub(super) struct Telling {
    passed: Option<Burst>,
    refused: Option<Burst>,
    lines: Lines,
}

/// Alike acts, one after the other.
#[derive(Debug)]
struct Burst {
    act: Act,
    refused: Option<String>,
    times: usize,
    since: Instant,
    last: Instant,
    is_input: bool,
}

/// How many lines may be told now.
#[derive(Debug, Default)]
struct Lines {
    spent: u32,
    at: Option<Instant>,
}

impl Telling {
    /// One more act, which passed or was refused for this reason.
    pub(super) fn add(&mut self, act: Act, refused: Option<String>, now: Instant, told: &mut Vec<Verdict>) {
        let is_refused = refused.is_some();
        let (own, other) = match is_refused {
            true => (&mut self.refused, &mut self.passed),
            false => (&mut self.passed, &mut self.refused),
        };
        if other.is_some() && self.lines.take(now) {
            told.extend(other.take().map(|burst| burst.told()));
        }
        let next = Burst::new(act, refused, now);
        match own {
            Some(burst) if burst.goes_on_with(&next) => burst.join(next),
            Some(burst) if !self.lines.take(now) => burst.join(Burst { act: Act::Many, ..next }),
            _ => {
                told.extend(own.take().map(|burst| burst.told()));
                *own = Some(next);
            }
        }
        if own.as_ref().is_some_and(|burst| burst.act.stands_alone()) && self.lines.take(now) {
            told.extend(own.take().map(|burst| burst.told()));
        }
    }

    /// When a burst is to be told.
    pub(super) fn due(&self) -> Option<Instant> {
        [&self.passed, &self.refused].into_iter().flatten().map(Burst::due).min()
    }

    /// Tells the bursts that are due.
    pub(super) fn pass_time(&mut self, now: Instant) -> Vec<Verdict> {
        let slots = [&mut self.passed, &mut self.refused].into_iter();
        slots.filter_map(|slot| slot.take_if(|burst| burst.due() <= now)).map(|burst| burst.told()).collect()
    }

    /// Tells all of them.
    pub(super) fn rest(&mut self) -> Vec<Verdict> {
        [self.passed.take(), self.refused.take()].into_iter().flatten().map(|burst| burst.told()).collect()
    }
}

impl Burst {
    fn new(act: Act, refused: Option<String>, now: Instant) -> Self {
        let is_input = act != Act::Looked;
        Self { act, refused, times: 1, since: now, last: now, is_input }
    }

    /// Where the pointer went says less than what it did there, so its way is not told then.
    fn goes_on_with(&self, next: &Self) -> bool {
        self.refused == next.refused
            && match (&self.act, &next.act) {
                (Act::Many, _) => true,
                (Act::Moved(_), Act::Clicked(..) | Act::Dragged(_) | Act::Scrolled(_) | Act::Moved(_))
                | (Act::Dragged(_), Act::Dragged(_)) => true,
                (Act::Clicked(..) | Act::Cut(_) | Act::Power(_) | Act::Resized(_), _) => false,
                (own, next) => own == next,
            }
    }

    fn join(&mut self, next: Self) {
        self.times = match (&self.act, &next.act) {
            (Act::Many, _) | (_, Act::Many) => self.times + 1,
            (Act::Moved(_) | Act::Dragged(_), _) => 1,
            _ => self.times + 1,
        };
        if self.act != Act::Many {
            self.act = next.act;
        }
        self.refused = next.refused;
        self.last = next.last;
        self.is_input |= next.is_input;
    }

    fn due(&self) -> Instant {
        (self.last + QUIET).min(self.since + BURST_MAX)
    }

    fn told(self) -> Verdict {
        let (told, code) = self.act.told(self.times);
        let class = if matches!(self.act, Act::Power(_)) { Action::Control } else { Action::Operate };
        let class = if self.act == Act::Looked { Action::Observe } else { class };
        let kind = Kind { protocol: Protocol::Vnc, class: Some(class), code: code.to_owned() };
        told.verdict(kind, self.refused, self.is_input)
    }
}

impl Act {
    /// Whether it is told at once.
    const fn stands_alone(&self) -> bool {
        matches!(self, Self::Clicked(..) | Self::Cut(_) | Self::Power(_) | Self::Resized(_))
    }

    /// In words, and the message's number and name.
    fn told(&self, times: usize) -> (Told, &'static str) {
        let again = || if times > 1 { format!(" {times} times") } else { String::new() };
        let of = |verb, rest: String| Told { verb, rest, object: None, value: None };
        match self {
            Self::Typed => {
                let keys = counted(times, "key");
                (of(Verb::new("type", "typed"), keys), "4 KeyEvent")
            }
            Self::Pressed(name) => {
                let rest = format!("{name}{}", again());
                (Told { object: Some(name.clone()), ..of(Verb::new("press", "pressed"), rest) }, "4 KeyEvent")
            }
            Self::Moved(at) => (at.told(of(Verb::new("move", "moved"), "the pointer".to_owned())), "5 PointerEvent"),
            Self::Clicked(button, at) => {
                let with = match button {
                    Button::Left => "",
                    Button::Middle => "with the middle button ",
                    Button::Right => "with the right button ",
                    Button::Other => "with another button ",
                };
                let rest = format!("{with}at {},{}", at.x, at.y);
                (at.told(of(Verb::new("click", "clicked"), rest)), "5 PointerEvent")
            }
            Self::Dragged(at) => {
                let rest = format!("to {},{}", at.x, at.y);
                (at.told(of(Verb::new("drag", "dragged"), rest)), "5 PointerEvent")
            }
            Self::Scrolled(way) => (of(Verb::new("scroll", "scrolled"), format!("{way}{}", again())), "5 PointerEvent"),
            Self::Cut(characters) => {
                let rest = format!("{} of text to the clipboard", counted(*characters, "character"));
                (Told { object: Some("clipboard".to_owned()), ..of(Verb::SEND, rest) }, "6 ClientCutText")
            }
            Self::Power(code) => {
                let rest = match code {
                    2 => "the machine to shut down".to_owned(),
                    3 => "the machine to reboot".to_owned(),
                    4 => "the machine to reset".to_owned(),
                    code => format!("the machine for xvp operation {code}"),
                };
                (Told { object: Some("power".to_owned()), ..of(Verb::new("ask", "asked"), rest) }, "250 xvp")
            }
            Self::Resized(size) => {
                let size = format!("{} by {}", size.x, size.y);
                let told = of(Verb::new("change", "changed"), format!("the screen's size to {size}"));
                (Told { object: Some("size".to_owned()), value: Some(size), ..told }, "251 SetDesktopSize")
            }
            Self::Looked => (of(Verb::new("show", "showed"), "the screen".to_owned()), "3 FramebufferUpdateRequest"),
            Self::Many => (of(Verb::SEND, format!("{times} messages faster than they can be told")), "many"),
        }
    }
}

impl Point {
    fn told(self, told: Told) -> Told {
        Told { object: Some(format!("{},{}", self.x, self.y)), ..told }
    }
}

impl Lines {
    fn take(&mut self, now: Instant) -> bool {
        let at = *self.at.get_or_insert(now);
        let beats = now.saturating_duration_since(at).as_millis() / LINE_EVERY.as_millis();
        let beats = u32::try_from(beats).unwrap_or(u32::MAX);
        self.spent = self.spent.saturating_sub(beats);
        if beats > 0 {
            self.at = Some(now);
        }
        let may = self.spent < LINES_MAX;
        self.spent += u32::from(may);
        may
    }
}

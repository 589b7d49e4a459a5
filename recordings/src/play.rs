//! Replaying a recording to a terminal: how long to wait, what to write, and where a text stood on the screen. Pure:
//! the caller waits and writes. What is written was painted by [`crate::screen`], never passed on as it was recorded;
//! of a command without a terminal, which has no screen, it is lines of text.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::block::Keyframe;
use crate::frame::Stream;
use crate::notes::{Note, Size};
use crate::plain::Plain;
use crate::read::{Moment, ReadFault, Standing, What};
use crate::screen::{Painter, Screen, Utf8, put};
use crate::secrets::Mask;
use crate::words::Words;

/// How fast to replay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed(f64);

/// A speed nobody can watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a speed is a number from 0.01 to 1000; 1 is as it was")]
pub struct BadSpeed;

impl Speed {
    /// As it was.
    pub const AS_IT_WAS: Self = Self(1.0);

    /// So many times as fast.
    pub fn new(times: f64) -> Result<Self, BadSpeed> {
        if (0.01..=1_000.0).contains(&times) { Ok(Self(times)) } else { Err(BadSpeed) }
    }

    fn wait(self, recorded: Duration) -> Duration {
        recorded.div_f64(self.0)
    }
}

/// What is shown of a channel. Of a command without a terminal, its lines and what was sent to it, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shown {
    /// The screen.
    #[default]
    Output,
    /// What was typed, on one line.
    Input,
    /// The screen, and below it what was typed.
    Both,
}

/// How to replay.
#[derive(Debug, Clone)]
pub struct PlayOptions {
    /// How fast.
    pub speed: Speed,
    /// Longer pauses are cut to this, before the speed counts.
    pub idle_max: Option<Duration>,
    /// Where to begin; the screen is rebuilt as it stood then.
    pub from: Duration,
    /// What to show.
    pub shown: Shown,
    /// Which channel; otherwise the first on which a shell or a command ran.
    pub channel: Option<u32>,
    /// The size of the terminal that is written to, if it has one.
    pub window: Option<Size>,
}

impl Default for PlayOptions {
    fn default() -> Self {
        Self {
            speed: Speed::AS_IT_WAS,
            idle_max: None,
            from: Duration::ZERO,
            shown: Shown::Output,
            channel: None,
            window: None,
        }
    }
}

/// One step of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How long to wait before it.
    pub wait: Duration,
    /// Since the session was opened.
    pub at: Duration,
    /// What to write then.
    pub write: String,
}

/// Follows one channel of a recording.
pub(crate) struct Stage {
    channel: Option<u32>,
    /// The terminals of channels on which no program began yet.
    terminals: BTreeMap<u32, Size>,
    view: Option<View>,
    output: [Utf8; 4],
    input: Utf8,
    mask: Mask,
}

/// How a channel's output is shown.
pub(crate) enum View {
    /// As it stood on the technician's terminal.
    Screen(Box<Screen>),
    /// Line by line: there was no terminal.
    Lines(Plain),
}

/// What a moment did.
pub(crate) enum Effect {
    None,
    Screen,
    Lines(String),
    Typed(String),
}

impl Stage {
    pub(crate) fn new(channel: Option<u32>) -> Self {
        Self {
            channel,
            terminals: BTreeMap::new(),
            view: None,
            output: Default::default(),
            input: Utf8::default(),
            mask: Mask::default(),
        }
    }

    /// Takes in a moment; each line is told of just before the cursor leaves it.
    pub(crate) fn take(&mut self, moment: &Moment, left: impl FnMut(&dyn Fn() -> String)) -> Effect {
        if let What::Standing(standing) = &moment.what {
            return self.stand(standing);
        }
        if self.channel.is_some_and(|channel| channel != moment.channel) {
            return Effect::None;
        }
        match &moment.what {
            What::Note(note) => self.note(moment.channel, note),
            What::Data(Stream::In, bytes) if self.view.is_some() => {
                let mut text = String::new();
                self.input.push(bytes, &mut text);
                Effect::Typed(self.mask.typed(&text))
            }
            What::Data(stream, bytes) => self.output(*stream, bytes, left),
            _ => Effect::None,
        }
    }

    /// Takes in how the channels stood where a reader began.
    fn stand(&mut self, standing: &Standing) -> Effect {
        let size = |screen: &Keyframe| Size { columns: screen.columns.into(), rows: screen.rows.into() };
        self.channel = self.channel.or(standing.channel);
        let screen = standing.screens.iter().find(|screen| Some(screen.channel) == self.channel);
        match (screen, standing.channel) {
            (Some(keyframe), _) => {
                let mut screen = Box::new(Screen::new(size(keyframe)));
                let mut text = String::new();
                self.output[0].push(&keyframe.draws, &mut text);
                screen.feed(text.as_bytes());
                self.mask = Mask::at(&screen.cursor_lines());
                self.view = Some(View::Screen(screen));
                Effect::Screen
            }
            (None, Some(_)) => {
                self.mask = Mask::unknown();
                self.view = Some(View::Lines(Plain::default()));
                Effect::None
            }
            (None, None) => {
                self.terminals.extend(standing.screens.iter().map(|screen| (screen.channel, size(screen))));
                Effect::None
            }
        }
    }

    /// Nothing before a program began that can be shown: until then it may be files that pass.
    fn output(&mut self, stream: Stream, bytes: &[u8], mut left: impl FnMut(&dyn Fn() -> String)) -> Effect {
        let outputs = [Stream::Out, Stream::OutErr, Stream::GateOut, Stream::GateOutErr];
        let index = outputs.iter().position(|output| *output == stream);
        let (Some(index), Some(view)) = (index, &mut self.view) else { return Effect::None };
        let mut text = String::new();
        self.output[index].push(bytes, &mut text);
        self.mask.shown(&text);
        match view {
            View::Screen(screen) => {
                screen.feed_lines(text.as_bytes(), left);
                Effect::Screen
            }
            View::Lines(lines) => Effect::Lines(lines.feed(&text, |line| left(&|| line.to_owned()))),
        }
    }

    fn note(&mut self, channel: u32, note: &Note) -> Effect {
        match (note, &mut self.view) {
            (Note::Terminal { size, .. }, None) => drop(self.terminals.insert(channel, *size)),
            (Note::Resize { size }, None) => {
                self.terminals.entry(channel).and_modify(|terminal| *terminal = *size);
            }
            (Note::ChannelClose, None) => drop(self.terminals.remove(&channel)),
            (Note::Shell | Note::Exec { copies_files: false, .. }, _) => {
                self.channel = Some(channel);
                let terminal = self.terminals.remove(&channel);
                self.view =
                    Some(terminal.map_or_else(
                        || View::Lines(Plain::default()),
                        |size| View::Screen(Box::new(Screen::new(size))),
                    ));
                return if terminal.is_some() { Effect::Screen } else { Effect::None };
            }
            (Note::Resize { size }, Some(View::Screen(screen))) => {
                screen.resize(*size);
                return Effect::Screen;
            }
            _ => {}
        }
        Effect::None
    }

    /// The channel that is shown, once that is known and something on it can be.
    pub(crate) fn shown_channel(&self) -> Option<u32> {
        self.channel.filter(|_| self.view.is_some())
    }

    /// What is shown of it.
    pub(crate) const fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// The lines that stand there now.
    fn standing(&self) -> Vec<String> {
        match &self.view {
            Some(View::Screen(screen)) => screen.lines(),
            Some(View::Lines(lines)) => vec![lines.line().to_owned()],
            None => Vec::new(),
        }
    }
}

/// A replay: steps from the chosen moment to the end. To go back, make another.
pub struct Player<I> {
    moments: I,
    options: PlayOptions,
    stage: Stage,
    painter: Painter,
    typed: String,
    /// Lines of a command without a terminal that were not written yet.
    unwritten: String,
    /// The moment of the step before.
    last: Duration,
    /// The first moment after the beginning of the replay, while the screen as it stood is drawn.
    pending: Option<Moment>,
    begun: bool,
}

/// Characters of what was typed that are kept in sight.
const TYPED_CHARS_MAX: usize = 60;
/// Of what a command without a terminal wrote before a replay begins, so many lines: what a screen would show.
const LINES_BEFORE_MAX: usize = 24;

impl<I: Iterator<Item = Result<Moment, ReadFault>>> Player<I> {
    /// Replays moments: those from the first one of the recording, or what [`Store::seek`](crate::read::Store::seek) gives
    /// for the beginning that the options say.
    pub fn new(moments: I, options: PlayOptions) -> Self {
        let (stage, painter) = (Stage::new(options.channel), Painter::new(options.window));
        let last = options.from;
        let (typed, unwritten) = (String::new(), String::new());
        Self { moments, options, stage, painter, typed, unwritten, last, pending: None, begun: false }
    }

    /// What stands there: the screen, or the last line where there is none.
    pub fn lines(&self) -> Vec<String> {
        self.stage.standing()
    }

    /// The channel that is replayed, once that is known and something on it can be.
    pub fn channel(&self) -> Option<u32> {
        self.stage.shown_channel()
    }

    /// What to write when the replay is over or given up: the terminal as it usually is.
    pub fn leave(&self) -> String {
        match &self.stage.view {
            Some(View::Lines(lines)) => lines.leave().to_owned(),
            _ => self.painter.leave(),
        }
    }

    fn step(&mut self) -> Result<Option<Step>, ReadFault> {
        while let Some(moment) = self.pending.take().map(Ok).or_else(|| self.moments.next()) {
            let moment = moment?;
            if moment.at > self.options.from && !self.begun {
                self.pending = Some(moment);
                return Ok(Some(self.begin()));
            }
            if self.take(&moment) && self.begun {
                return Ok(Some(Step { write: self.paint(), ..self.timed(moment.at) }));
            }
        }
        Ok((!self.begun).then(|| self.begin()))
    }

    /// The screen as it stood where the replay begins.
    fn begin(&mut self) -> Step {
        self.begun = true;
        Step { wait: Duration::ZERO, at: self.options.from, write: self.paint() }
    }

    fn timed(&mut self, at: Duration) -> Step {
        let pause = at.saturating_sub(self.last);
        let pause = self.options.idle_max.map_or(pause, |most| pause.min(most));
        self.last = self.last.max(at);
        Step { wait: self.options.speed.wait(pause), at, write: String::new() }
    }

    /// Whether the moment changed what is shown.
    fn take(&mut self, moment: &Moment) -> bool {
        let effect = self.stage.take(moment, |_| {});
        match (effect, self.options.shown) {
            (Effect::Screen, Shown::Output | Shown::Both) => true,
            (Effect::Lines(text), Shown::Output | Shown::Both) => self.write(&text),
            (Effect::Typed(text), Shown::Input | Shown::Both) => self.typed(&Words::new(text).to_string()),
            _ => false,
        }
    }

    fn typed(&mut self, text: &str) -> bool {
        if let Some(View::Lines(lines)) = &mut self.stage.view {
            let line = lines.aside(&format!("[sent] {text}"));
            return self.write(&line);
        }
        self.typed.push_str(text);
        let keep = self.typed.chars().rev().take(TYPED_CHARS_MAX).map(char::len_utf8).sum::<usize>();
        self.typed.drain(..self.typed.len() - keep);
        true
    }

    fn write(&mut self, text: &str) -> bool {
        self.unwritten.push_str(text);
        if !self.begun {
            let kept = self.unwritten.rmatch_indices('\n').nth(LINES_BEFORE_MAX).map_or(0, |(at, _)| at + 1);
            self.unwritten.drain(..kept);
        }
        !text.is_empty()
    }

    fn paint(&mut self) -> String {
        let screen = match &self.stage.view {
            Some(View::Lines(_)) => return std::mem::take(&mut self.unwritten),
            Some(View::Screen(screen)) => screen,
            None => return String::new(),
        };
        match self.options.shown {
            Shown::Output => self.painter.paint(screen),
            Shown::Input => format!("\r\x1b[0m{}\x1b[K", self.typed),
            Shown::Both => {
                let screen = self.painter.paint(screen);
                let row = self.painter.row_below();
                let mut out = String::new();
                put(&mut out, format_args!("\x1b7\x1b[{row};1H\x1b[0;7m typed: {} \x1b[0m\x1b[K\x1b8", self.typed));
                screen + &out
            }
        }
    }
}

impl<I: Iterator<Item = Result<Moment, ReadFault>>> Iterator for Player<I> {
    type Item = Result<Step, ReadFault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// A line in which a searched text stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Since the session was opened.
    pub at: Duration,
    /// On which channel.
    pub channel: u32,
    /// The line as it stood on the screen or was written, with nothing in it that a terminal would obey.
    pub line: String,
}

/// Finds a text in what stood on the screen, also where it was drawn piece by piece; each line once for as long as it
/// stands. Capital letters count only if the text has some.
pub fn search<I: Iterator<Item = Result<Moment, ReadFault>>>(
    moments: I,
    text: &str,
    channel: Option<u32>,
) -> Search<I> {
    let exact = text.chars().any(char::is_uppercase);
    Search {
        moments,
        text: text.to_owned(),
        exact,
        stage: Stage::new(channel),
        standing: BTreeSet::new(),
        found: Vec::new().into_iter(),
    }
}

/// See [`search`].
pub struct Search<I> {
    moments: I,
    text: String,
    exact: bool,
    stage: Stage,
    /// Lines that were found and still stand there.
    standing: BTreeSet<String>,
    found: std::vec::IntoIter<Hit>,
}

impl<I: Iterator<Item = Result<Moment, ReadFault>>> Iterator for Search<I> {
    type Item = Result<Hit, ReadFault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(hit) = self.found.next() {
                return Some(Ok(hit));
            }
            match self.moments.next()? {
                Ok(moment) => self.found = self.look(&moment).into_iter(),
                Err(fault) => return Some(Err(fault)),
            }
        }
    }
}

impl<I> Search<I> {
    fn look(&mut self, moment: &Moment) -> Vec<Hit> {
        let (text, exact) = (&self.text, self.exact);
        let matches = |line: &str| if exact { line.contains(text) } else { line.to_lowercase().contains(text) };
        let mut lines = Vec::new();
        let effect = self.stage.take(moment, |line| lines.extend(Some(line()).filter(|line| matches(line))));
        if !matches!(effect, Effect::Screen | Effect::Lines(_)) {
            return Vec::new();
        }
        let now: BTreeSet<String> = self.stage.standing().into_iter().filter(|line| matches(line)).collect();
        let mut known = std::mem::replace(&mut self.standing, now.clone());
        lines.extend(now);
        lines.retain(|line| known.insert(line.clone()));
        lines.into_iter().map(|line| Hit { at: moment.at, channel: moment.channel, line }).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;

    use super::*;

    const SIZE: Size = Size { columns: 30, rows: 5 };

    fn moment(seconds: u64, what: What) -> Result<Moment, ReadFault> {
        let at = Duration::from_secs(seconds);
        Ok(Moment { at, wall: Timestamp::UNIX_EPOCH, sequence: 0, channel: 1, what })
    }

    fn out(seconds: u64, text: &'static str) -> Result<Moment, ReadFault> {
        moment(seconds, What::Data(Stream::Out, Bytes::from_static(text.as_bytes())))
    }

    fn typed(seconds: u64, text: &'static str) -> Result<Moment, ReadFault> {
        moment(seconds, What::Data(Stream::In, Bytes::from_static(text.as_bytes())))
    }

    fn terminal(rest: Vec<Result<Moment, ReadFault>>) -> impl Iterator<Item = Result<Moment, ReadFault>> {
        let begin = [
            moment(0, What::Note(Note::Terminal { term: "xterm".into(), size: SIZE })),
            moment(0, What::Note(Note::Shell)),
        ];
        begin.into_iter().chain(rest)
    }

    fn waits(options: PlayOptions) -> Vec<u128> {
        let moments = terminal(vec![out(10, "a"), out(12, "b"), out(3_612, "c")]);
        Player::new(moments, options).map(|step| step.unwrap().wait.as_millis()).collect()
    }

    #[test]
    fn waits_are_as_recorded_or_faster_or_cut_short() {
        let with = |speed, idle_max, from| {
            waits(PlayOptions { speed: Speed::new(speed).unwrap(), idle_max, from, ..PlayOptions::default() })
        };
        assert_eq!(with(1.0, None, Duration::ZERO), [0, 10_000, 2_000, 3_600_000]);
        assert_eq!(with(4.0, Some(Duration::from_secs(4)), Duration::ZERO), [0, 1_000, 500, 1_000]);
        assert_eq!(with(1.0, None, Duration::from_secs(11)), [0, 1_000, 3_600_000]);
        assert_eq!(with(1.0, None, Duration::from_secs(9_999)), [0]);
        assert!(Speed::new(0.0).is_err() && Speed::new(f64::NAN).is_err() && Speed::new(-1.0).is_err());
    }

    #[test]
    fn seeking_rebuilds_the_screen_as_it_stood() {
        let moments = terminal(vec![out(1, "before\x1b[2;3Hthere"), out(60, "after")]);
        let options = PlayOptions { from: Duration::from_secs(30), ..PlayOptions::default() };
        let mut player = Player::new(moments, options);
        let first = player.next().unwrap().unwrap();
        assert!(first.write.contains("before") && first.write.contains("  there"), "{first:?}");
        assert_eq!(first.wait, Duration::ZERO);
        assert_eq!(player.lines()[1], "  there");
        assert_eq!(player.next().unwrap().unwrap().wait, Duration::from_secs(30));
        assert_eq!(player.lines()[1], "  thereafter");
    }

    #[test]
    fn a_typed_password_is_masked_in_every_view() {
        for shown in [Shown::Input, Shown::Both] {
            let moments =
                terminal(vec![out(1, "Password: "), typed(2, "s3cret\r"), out(3, "\r\n$ "), typed(4, "ls\r")]);
            let options = PlayOptions { shown, ..PlayOptions::default() };
            let written: String = Player::new(moments, options).map(|step| step.unwrap().write).collect();
            assert!(!written.contains("s3cret") && written.contains("••••••\\x0dls"), "{written:?}");
        }
    }

    #[test]
    fn a_searched_text_is_found_with_its_time_and_once() {
        let moments = terminal(vec![
            out(1, "pump 7 sta"),
            out(2, "rted"),
            out(3, "\r\n1\r\n2\r\n3\r\n4\r\n5\r\n6"),
            out(9, "\x1b[2J\x1b[HPUMP 7\x1b[1;1Hpump 7 started"),
        ]);
        let hits: Vec<Hit> = search(moments, "pump 7 started", None).map(Result::unwrap).collect();
        let times: Vec<u64> = hits.iter().map(|hit| hit.at.as_secs()).collect();
        assert_eq!((times.as_slice(), hits[0].line.as_str()), (&[2, 9][..], "pump 7 started"));
    }

    #[test]
    fn a_text_that_only_flew_past_is_found_too() {
        let long = "line\r\n".repeat(500) + "needle in it\r\n" + &"line\r\n".repeat(500);
        let moments = terminal(vec![moment(5, What::Data(Stream::Out, Bytes::from(long)))]);
        assert_eq!(search(moments, "needle", None).count(), 1);
    }

    fn exec(command: &str, copies_files: bool) -> Result<Moment, ReadFault> {
        moment(0, What::Note(Note::Exec { command: command.into(), copies_files }))
    }

    fn on(channel: u32, moment: Result<Moment, ReadFault>) -> Result<Moment, ReadFault> {
        moment.map(|moment| Moment { channel, ..moment })
    }

    fn played(moments: Vec<Result<Moment, ReadFault>>, options: PlayOptions) -> (String, Option<u32>) {
        let mut player = Player::new(moments.into_iter(), options);
        let written: String = player.by_ref().map(|step| step.unwrap().write).collect();
        (written + &player.leave(), player.channel())
    }

    #[test]
    fn files_that_were_copied_are_no_screen_whatever_channel_is_asked_for() {
        let copy = || vec![exec("scp -t x", true), typed(1, "C0644 2 x\nhi"), out(1, "\0\0\u{1b}[2Jhi")];
        for channel in [None, Some(1)] {
            let options = PlayOptions { channel, shown: Shown::Both, ..PlayOptions::default() };
            assert_eq!(played(copy(), options), (String::new(), None));
        }
        assert_eq!(search(copy().into_iter(), "hi", Some(1)).count(), 0);
        // What ran beside them is found.
        let beside = copy().into_iter().chain([on(2, exec("uptime", false)), on(2, out(2, "up 3 days\n"))]).collect();
        assert_eq!(played(beside, PlayOptions::default()), ("up 3 days\n".to_owned(), Some(2)));
    }

    #[test]
    fn a_command_without_a_terminal_is_lines_and_no_screen() {
        let ran = || {
            let long = "x".repeat(200) + " needle\r\nno end";
            let rest = moment(3, What::Data(Stream::OutErr, Bytes::from(long)));
            vec![exec("tail log", false), out(1, "\u{1b}[2J one\n"), typed(2, "sent\n"), rest]
        };
        let written = format!("\\x1b[2J one\n{} needle\nno end\n", "x".repeat(200));
        assert_eq!(played(ran(), PlayOptions::default()).0, written);
        let both = PlayOptions { shown: Shown::Both, ..PlayOptions::default() };
        assert!(played(ran(), both).0.contains("one\n[sent] sent\\x0a\nxxx"));
        let hit = search(ran().into_iter(), "needle", None).next().unwrap().unwrap();
        assert_eq!((hit.at, hit.line.len()), (Duration::from_secs(3), 207));
        let many = (0..100).map(|n| moment(1, What::Data(Stream::Out, Bytes::from(format!("line {n}\n")))));
        let late = PlayOptions { from: Duration::from_secs(5), ..PlayOptions::default() };
        let (before, _) = played([exec("seq", false)].into_iter().chain(many).collect(), late);
        assert!(before.starts_with("line 76\n") && before.ends_with("line 99\n"), "{before}");
    }

    #[test]
    fn a_terminal_is_its_own_channels() {
        let size =
            |columns| moment(0, What::Note(Note::Terminal { term: "xterm".into(), size: Size { columns, ..SIZE } }));
        let shells = vec![size(30), on(2, size(99)), moment(1, What::Note(Note::Shell)), out(2, "\u{1b}[1;30Hx")];
        let (written, channel) = played(shells, PlayOptions::default());
        assert!(written.contains("\u{1b}[1;30H") && channel == Some(1), "{written:?}");
    }

    #[test]
    fn another_channels_bytes_are_not_shown() {
        let mut other = out(2, "elsewhere").unwrap();
        other.channel = 2;
        let written: String = Player::new(terminal(vec![Ok(other), out(3, "here")]), PlayOptions::default())
            .map(|step| step.unwrap().write)
            .collect();
        assert!(written.contains("here") && !written.contains("elsewhere"));
    }
}

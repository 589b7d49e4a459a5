//! A watched session on the side of whoever watches: the lines that the API tells, and the screen that they draw.

use std::collections::VecDeque;

use data_encoding::BASE64;
use recordings::notes::Size;
use recordings::screen::{DEFAULT_SIZE, Screen};

use crate::api::types::{HappenedLine, VncScreen, WatchLine};

/// What the API sent is not as [`WatchLine`] says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a watched session cannot be read: {0}")]
pub struct NotALine(String);

impl NotALine {
    fn of(cause: impl std::fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

/// Lines of JSON out of pieces as they come.
#[derive(Debug, Default)]
pub struct Lines(Vec<u8>);

/// A fresh screen of the largest terminal, in base64, is less.
const LINE_BYTES_MAX: usize = 4 << 20;

impl Lines {
    /// One more piece.
    ///
    /// # Errors
    /// A line does not end.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), NotALine> {
        self.0.extend_from_slice(piece);
        let unfinished = self.0.iter().rev().take_while(|byte| **byte != b'\n').count();
        if unfinished > LINE_BYTES_MAX { Err(NotALine::of("a line does not end")) } else { Ok(()) }
    }

    /// The next whole line, if it is there.
    ///
    /// # Errors
    /// It is none of those that are known.
    pub fn next_line(&mut self) -> Result<Option<WatchLine>, NotALine> {
        let Some(end) = self.0.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line: Vec<u8> = self.0.drain(..=end).collect();
        serde_json::from_slice(&line).map(Some).map_err(NotALine::of)
    }
}

/// What a line did to a [`Watched`] screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Took {
    /// Nothing that shows.
    Nothing,
    /// It looks otherwise now.
    Drew,
    /// Something was done outside the terminals.
    Happened,
    /// Another screen over VNC is shown, or none, or it stands otherwise.
    Vnc,
    /// The session is over, or this person may watch no longer; why, in words.
    Over(String),
}

/// The screen of a watched session, and what was done beside it.
pub struct Watched {
    screen: Screen,
    has_terminal: bool,
    happened: VecDeque<HappenedLine>,
    vnc: Option<VncScreen>,
}

/// So many lines of what was done are at hand.
const HAPPENED_MAX: usize = 200;

impl Default for Watched {
    fn default() -> Self {
        Self { screen: Screen::new(DEFAULT_SIZE), has_terminal: false, happened: VecDeque::new(), vnc: None }
    }
}

impl Watched {
    /// Works a line in.
    ///
    /// # Errors
    /// Its bytes are not in base64.
    pub fn take(&mut self, line: &WatchLine) -> Result<Took, NotALine> {
        let decoded = |data: &str| BASE64.decode(data.as_bytes()).map_err(NotALine::of);
        match line {
            WatchLine::Screen { data } | WatchLine::Skipped { data, .. } => {
                let bytes = decoded(data)?;
                let size = drawn_for(&bytes).unwrap_or_else(|| self.screen.size());
                self.screen = Screen::new(size);
                self.screen.feed(&bytes);
                self.has_terminal = !bytes.is_empty();
            }
            WatchLine::Output { data } => self.screen.feed(&decoded(data)?),
            WatchLine::Resize { columns, rows } => {
                self.screen.resize(Size { columns: (*columns).into(), rows: (*rows).into() });
            }
            WatchLine::Happened { anew, lines } => {
                if *anew {
                    self.happened.clear();
                }
                self.happened.extend(lines.iter().cloned());
                let beyond = self.happened.len().saturating_sub(HAPPENED_MAX);
                self.happened.drain(..beyond);
                return Ok(Took::Happened);
            }
            WatchLine::Vnc { screen } => {
                self.vnc.clone_from(screen);
                return Ok(Took::Vnc);
            }
            // Drawn by whoever asked for pictures.
            WatchLine::Picture { .. } | WatchLine::Still | WatchLine::Standing { .. } => return Ok(Took::Nothing),
            WatchLine::Over { in_words } => return Ok(Took::Over(in_words.clone())),
        }
        Ok(Took::Drew)
    }

    /// As it stands.
    pub const fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Whether there is a terminal at all: else the screen is empty.
    pub const fn has_terminal(&self) -> bool {
        self.has_terminal
    }

    /// The screen over VNC that is shown to those who see pictures.
    pub const fn vnc(&self) -> Option<&VncScreen> {
        self.vnc.as_ref()
    }

    /// What was done of late outside the terminals, oldest first.
    pub const fn happened(&self) -> &VecDeque<HappenedLine> {
        &self.happened
    }
}

/// The size of the terminal that a spectator's first screen, or a fresh one, is drawn for: it begins with XTWINOPS 8.
pub fn drawn_for(screen: &[u8]) -> Option<Size> {
    let digits = screen.strip_prefix(b"\x1b[8;")?.split(|byte| *byte == b't').next()?;
    let (rows, columns) = std::str::from_utf8(digits).ok()?.split_once(';')?;
    Some(Size { columns: columns.parse().ok()?, rows: rows.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> WatchLine {
        WatchLine::Skipped { frames: 0, data: BASE64.encode(bytes) }
    }

    #[test]
    fn who_joins_late_has_the_size_and_the_screen() {
        let mut watched = Watched::default();
        assert_eq!(watched.take(&line(b"\x1b[8;3;20t\x1bcfirst\r\nsecond")), Ok(Took::Drew));
        assert_eq!(watched.screen().size(), Size { columns: 20, rows: 3 });
        assert_eq!(watched.screen().lines(), ["first", "second", ""]);
        watched.take(&WatchLine::Output { data: BASE64.encode(b"\x1b]52;c;eA==\x07 more") }).unwrap();
        assert_eq!(watched.screen().lines()[1], "second more");
        watched.take(&WatchLine::Resize { columns: 30, rows: 2 }).unwrap();
        assert_eq!(watched.screen().size(), Size { columns: 30, rows: 2 });
        let over = watched.take(&WatchLine::Over { in_words: "an operator cut it".into() });
        assert_eq!(over, Ok(Took::Over("an operator cut it".into())));
        assert!(watched.take(&WatchLine::Output { data: "!".into() }).is_err());
    }

    #[test]
    fn what_was_done_is_kept_up_to_a_bound_and_begun_anew_where_some_was_missed() {
        let happened = |words: String| HappenedLine { at: jiff::Timestamp::UNIX_EPOCH, words, refused: false };
        let told = |anew, words: &str| WatchLine::Happened { anew, lines: vec![happened(words.to_owned())] };
        let mut watched = Watched::default();
        assert!(!watched.has_terminal());
        for n in 0..=HAPPENED_MAX {
            assert_eq!(watched.take(&told(false, &n.to_string())), Ok(Took::Happened));
        }
        assert_eq!((watched.happened().len(), watched.happened()[0].words.as_str()), (HAPPENED_MAX, "1"));
        watched.take(&told(true, "all there is")).unwrap();
        assert_eq!(watched.happened().len(), 1);
        watched.take(&line(b"a screen")).unwrap();
        assert!(watched.has_terminal());
    }

    #[test]
    fn lines_come_whole_however_they_were_cut() {
        let mut lines = Lines::default();
        for piece in ["{\"what\":\"sti", "ll\"}\n{\"what\":\"still\"}\n", "{"] {
            lines.push(piece.as_bytes()).unwrap();
        }
        assert_eq!(lines.next_line(), Ok(Some(WatchLine::Still)));
        assert_eq!(lines.next_line(), Ok(Some(WatchLine::Still)));
        assert_eq!(lines.next_line(), Ok(None));
        lines.push(b"}\n").unwrap();
        assert!(lines.next_line().is_err());
        assert!(lines.push(&vec![b'x'; LINE_BYTES_MAX + 1]).is_err());
    }
}

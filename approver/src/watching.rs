//! A watched session on the side of whoever watches: the lines that the API tells, and the screen that they draw.

use data_encoding::BASE64;
use recordings::notes::Size;
use recordings::screen::{DEFAULT_SIZE, Screen};

use crate::api::types::WatchLine;

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
    /// The session is over, or this person may watch no longer; why, in words.
    Over(String),
}

/// The screen of a watched session.
pub struct Watched(Screen);

impl Default for Watched {
    fn default() -> Self {
        Self(Screen::new(DEFAULT_SIZE))
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
                let size = drawn_for(&bytes).unwrap_or_else(|| self.0.size());
                self.0 = Screen::new(size);
                self.0.feed(&bytes);
            }
            WatchLine::Output { data } => self.0.feed(&decoded(data)?),
            WatchLine::Resize { columns, rows } => {
                self.0.resize(Size { columns: (*columns).into(), rows: (*rows).into() });
            }
            WatchLine::Still => return Ok(Took::Nothing),
            WatchLine::Over { in_words } => return Ok(Took::Over(in_words.clone())),
        }
        Ok(Took::Drew)
    }

    /// As it stands.
    pub const fn screen(&self) -> &Screen {
        &self.0
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

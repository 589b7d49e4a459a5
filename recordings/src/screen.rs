//! What stood on a technician's screen, rebuilt from the bytes that went there, and painted anew for somebody who
//! watches or replays. Nothing of the recorded bytes is passed on: a virtual terminal takes them in, and what is
//! painted is cursor positions, colours and printable characters of our own spelling. So no title, clipboard, device
//! query or other sequence of a stranger reaches the terminal of an auditor.

use std::fmt::Write as _;

use avt::parser::Function;
use avt::{Cell, Color, Parser, Pen, Terminal};

use crate::notes::Size;
use crate::words::is_plain;

/// No terminal is larger; a program may ask for one that would take the machine's memory.
const SIDE_MAX: usize = 1_000;

/// A question that asks for something is not longer.
const CURSOR_ROWS_MAX: usize = 8;

/// The size where none was said (VT100).
pub const DEFAULT_SIZE: Size = Size { columns: 80, rows: 24 };

/// A terminal's screen, without what scrolled off it.
pub struct Screen {
    terminal: Terminal,
    parser: Parser,
    text: Utf8,
}

impl Screen {
    /// An empty screen.
    pub fn new(size: Size) -> Self {
        let (columns, rows) = sides(size);
        let terminal = Terminal::new(columns, rows).expect("sides() gives at least 1");
        Self { terminal, parser: Parser::new(), text: Utf8::default() }
    }

    /// Takes in output. Bytes that are not UTF-8 become U+FFFD; a character may be split over calls.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.feed_lines(bytes, |_| {});
    }

    /// Takes in output, and tells of each line just before the cursor leaves it for another; to read it is work.
    pub(crate) fn feed_lines(&mut self, bytes: &[u8], mut left: impl FnMut(&dyn Fn() -> String)) {
        let mut text = String::new();
        self.text.push(bytes, &mut text);
        for c in text.chars() {
            let Some(function) = self.parser.feed(c).and_then(|function| self.harmless(function)) else { continue };
            if !stays_in_line(&function) {
                left(&|| self.cursor_line());
            }
            self.terminal.execute(function);
        }
    }

    /// The function, unless it would do more than draw: resizing is for the technician's terminal to say. Counts are
    /// cut to what a screen can show, or a few bytes would keep the machine busy for long.
    fn harmless(&self, function: Function) -> Option<Function> {
        let (columns, rows) = self.terminal.size();
        let lines = |count: u16| count.min(rows as u16);
        Some(match function {
            Function::Xtwinops(_) | Function::Osc(_) => return None,
            Function::Print(c) => Function::Print(shown(c)),
            Function::Rep(count) => Function::Rep(count.min((columns * rows).min(usize::from(u16::MAX)) as u16)),
            Function::Su(count) => Function::Su(lines(count)),
            Function::Sd(count) => Function::Sd(lines(count)),
            Function::Il(count) => Function::Il(lines(count)),
            Function::Dl(count) => Function::Dl(lines(count)),
            other => other,
        })
    }

    /// The terminal was resized.
    pub fn resize(&mut self, size: Size) {
        let (columns, rows) = sides(size);
        self.terminal.resize(columns, rows);
    }

    /// Its size.
    pub fn size(&self) -> Size {
        let (columns, rows) = self.terminal.size();
        Size { columns: columns as u32, rows: rows as u32 }
    }

    /// The lines on it, from the top, without trailing blanks.
    pub fn lines(&self) -> Vec<String> {
        self.terminal.screen().visible_lines().map(|line| line.text().trim_end().to_owned()).collect()
    }

    /// All that it takes to draw this screen on an empty terminal.
    pub fn dump(&self) -> String {
        Painter::new(None).paint(self)
    }

    /// What stands up to the cursor, in its line and in the rows before that the line may have begun in: those that are full,
    /// but for a blank at which it was broken.
    pub(crate) fn cursor_lines(&self) -> String {
        let (screen, cursor) = (self.terminal.screen(), self.terminal.cursor());
        let row = |row: usize| screen.line(row).map(avt::Line::text).unwrap_or_default();
        let mut shown: String = row(cursor.row).chars().take(cursor.col).collect();
        for above in (0..cursor.row).rev().map(row).take_while(|above| !above.ends_with("  ")).take(CURSOR_ROWS_MAX) {
            shown.insert_str(0, &above);
        }
        shown
    }

    fn cursor_line(&self) -> String {
        let line = self.terminal.screen().line(self.terminal.cursor().row);
        line.map_or_else(String::new, |line| line.text().trim_end().to_owned())
    }
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Screen({:?})", self.size())
    }
}

/// Columns and rows that can be drawn. Clients that do not know their size say 0.
fn sides(size: Size) -> (usize, usize) {
    let side = |characters: u32, usual: u32| match characters {
        0 => usual as usize,
        characters => (characters as usize).min(SIDE_MAX),
    };
    (side(size.columns, DEFAULT_SIZE.columns), side(size.rows, DEFAULT_SIZE.rows))
}

/// The size that is drawn where a terminal says that it has this one.
pub(crate) fn drawn(size: Size) -> Size {
    let (columns, rows) = sides(size);
    Size { columns: columns as u32, rows: rows as u32 }
}

/// A character that shows itself and nothing else.
fn shown(c: char) -> char {
    match c {
        c if is_plain(c) => c,
        c if c.is_whitespace() => ' ',
        _ => char::REPLACEMENT_CHARACTER,
    }
}

fn stays_in_line(function: &Function) -> bool {
    use Function::{Bs, Cha, Cht, Cr, Cub, Cuf, Dch, Ech, El, Ht, Ich, Print, Rep, Sgr};
    matches!(
        function,
        Print(_)
            | Rep(_)
            | Sgr(_)
            | Cr
            | Bs
            | Ht
            | Cha(_)
            | Cht(_)
            | Cub(_)
            | Cuf(_)
            | Dch(_)
            | Ech(_)
            | Ich(_)
            | El(_)
    )
}

/// Puts bytes that come in pieces together to text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Utf8 {
    /// The beginning of a character whose end did not come yet: three bytes at most.
    carried: Vec<u8>,
}

impl Utf8 {
    /// Adds what is whole to `text`, each invalid sequence as U+FFFD, and carries what may still become whole.
    pub(crate) fn push(&mut self, bytes: &[u8], text: &mut String) {
        let joined;
        let mut rest = bytes;
        if !self.carried.is_empty() {
            joined = [self.carried.as_slice(), bytes].concat();
            self.carried.clear();
            rest = &joined;
        }
        while !rest.is_empty() {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    return;
                }
                Err(error) => {
                    let (valid, invalid) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(length) = error.error_len() else {
                        self.carried = invalid.to_vec();
                        return;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &invalid[length..];
                }
            }
        }
    }

    /// Nothing more comes: what was carried never becomes whole.
    pub(crate) fn finish(&mut self, text: &mut String) {
        if !self.carried.is_empty() {
            self.carried.clear();
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Draws screens on one terminal, each time only what changed.
#[derive(Debug, Clone)]
pub struct Painter {
    window: Option<Size>,
    drawn: Vec<String>,
    size: Option<Size>,
    first_row: usize,
}

impl Painter {
    /// A painter for a terminal on which nothing of it stands yet. Of a screen larger than `window`, the part round
    /// the cursor is drawn.
    pub const fn new(window: Option<Size>) -> Self {
        Self { window, drawn: Vec::new(), size: None, first_row: 0 }
    }

    /// What to write to make the terminal show this screen; nothing where it does already.
    pub fn paint(&mut self, screen: &Screen) -> String {
        let mut out = String::new();
        let size = screen.size();
        let (columns, rows) = sides(self.window.unwrap_or(size));
        let cursor = screen.terminal.cursor();
        if self.size != Some(size) {
            out.push_str("\x1b[0m\x1b[H\x1b[2J");
            *self = Self { size: Some(size), ..Self::new(self.window) };
        }
        self.first_row = self.first_row.clamp((cursor.row + 1).saturating_sub(rows), cursor.row);
        let view = screen.terminal.screen();
        for (row, line) in view.visible_lines().skip(self.first_row).take(rows).enumerate() {
            let drawn = row_text(line.cells(), columns);
            if self.drawn.get(row) != Some(&drawn) {
                put(&mut out, format_args!("\x1b[{};1H{drawn}\x1b[0m\x1b[K", row + 1));
                self.drawn.resize(self.drawn.len().max(row + 1), String::new());
                self.drawn[row] = drawn;
            }
        }
        let (row, column) = (cursor.row - self.first_row + 1, (cursor.col + 1).min(columns));
        let shown = if cursor.visible { 'h' } else { 'l' };
        put(&mut out, format_args!("\x1b[{row};{column}H\x1b[?25{shown}"));
        out
    }

    /// The row below the last one that [`paint`](Self::paint) draws on, from 1.
    pub(crate) fn row_below(&self) -> usize {
        let rows = |size: Size| sides(size).1;
        self.size.map_or(0, rows).min(self.window.map_or(usize::MAX, rows)) + 1
    }

    /// What to write at the end: colours and cursor as they usually are, below what was drawn; nothing if nothing was.
    pub fn leave(&self) -> String {
        if self.size.is_none() {
            return String::new();
        }
        format!("\x1b[0m\x1b[?25h\x1b[{};1H\r\n", self.row_below())
    }
}

/// Writing to a string does not fail.
pub(crate) fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes everything");
}

/// A row's characters and colours, as many as fit, without the blanks at its end.
fn row_text(cells: &[Cell], columns: usize) -> String {
    let blank = |cell: &Cell| cell.char() == ' ' && cell.pen().is_default();
    let filled = cells.iter().rposition(|cell| !blank(cell)).map_or(0, |last| last + 1);
    let mut out = String::new();
    let mut pen = Pen::default();
    let mut width = 0;
    for cell in &cells[..filled] {
        let cell_width = usize::from(cell.width());
        if width + cell_width > columns {
            break;
        }
        width += cell_width;
        if cell_width == 0 {
            continue;
        }
        if *cell.pen() != pen {
            pen = *cell.pen();
            put_pen(&mut out, &pen);
        }
        out.push(shown(cell.char()));
    }
    out
}

/// Select graphic rendition (ECMA-48, 8.3.117) from nothing.
fn put_pen(out: &mut String, pen: &Pen) {
    out.push_str("\x1b[0");
    let marks = [
        (pen.is_bold(), 1),
        (pen.is_faint(), 2),
        (pen.is_italic(), 3),
        (pen.is_underline(), 4),
        (pen.is_blink(), 5),
        (pen.is_inverse(), 7),
        (pen.is_strikethrough(), 9),
    ];
    for (_, code) in marks.into_iter().filter(|(is_set, _)| *is_set) {
        put(out, format_args!(";{code}"));
    }
    for (color, base) in [(pen.foreground(), 38), (pen.background(), 48)] {
        match color {
            None => {}
            Some(Color::Indexed(index)) => put(out, format_args!(";{base};5;{index}")),
            Some(Color::RGB(rgb)) => put(out, format_args!(";{base};2;{};{};{}", rgb.r, rgb.g, rgb.b)),
        }
    }
    out.push('m');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: Size = Size { columns: 20, rows: 4 };

    /// All that is painted is text and these: cursor position, erasing, colours, showing the cursor.
    fn is_safe(painted: &str) -> bool {
        let mut rest = painted;
        while let Some(at) = rest.find(|c: char| c.is_control() && c != '\r' && c != '\n') {
            let Some(sequence) = rest[at..].strip_prefix("\x1b[") else { return false };
            let Some(end) = sequence.find(|c: char| !c.is_ascii_digit() && c != ';' && c != '?') else { return false };
            if !"HJKmhl".contains(&sequence[end..=end]) {
                return false;
            }
            if sequence.starts_with('?') && !sequence.starts_with("?25") {
                return false;
            }
            rest = &sequence[end + 1..];
        }
        rest.chars().all(|c| is_plain(c) || c == '\r' || c == '\n' || c == char::REPLACEMENT_CHARACTER)
    }

    fn painted(bytes: &[u8]) -> String {
        let mut screen = Screen::new(SMALL);
        screen.feed(bytes);
        screen.dump()
    }

    #[test]
    fn escape_sequences_do_not_reach_the_auditor() {
        let attacks: [&[u8]; 14] = [
            b"\x1b]0;owned\x07after",
            b"\x1b]52;c;bWFsd2FyZQ==\x07after",
            b"\x1b]8;;http://evil.example\x1b\\after\x1b]8;;\x1b\\",
            b"\x1bP$q\"p\x1b\\after",
            b"\x1b_Gf=100;AAAA\x1b\\after",
            b"\x1b[?2004hafter",
            b"\x1b[c\x1b[6n\x1b[5n\x1b[>q\x1b[21tafter",
            b"\x1b[?1000h\x1b[?1006hafter",
            b"\xc2\x9d0;owned\x07after\xc2\x9b6n",
            b"\x1b#8\x1bcafter",
            b"\x1b[8;9999;9999tafter",
            b"\x1b]1337;File=:AAAA\x07after",
            b"\x1bZ\x05\x1b[0qafter\x07",
            "\u{202e}\u{2066}after\u{e0041}".as_bytes(),
        ];
        for attack in attacks {
            let painted = painted(attack);
            assert!(is_safe(&painted), "{painted:?}");
            assert!(painted.contains("after"), "{painted:?}");
        }
        assert!(!is_safe("\x1b]0;x\x07") && !is_safe("\x1b[6n") && !is_safe("\x1b[?2004h") && !is_safe("\x07"));
    }

    #[test]
    fn a_screen_painted_anew_is_the_same_screen() {
        let mut screen = Screen::new(SMALL);
        screen.feed("\x1b[1;31mAlarm\x1b[0m 3\r\nPumpe läuft 世界\x1b[3;5H\x1b[48;2;1;2;3mx\x1b[?25l".as_bytes());
        let mut again = Terminal::new(20, 4).unwrap();
        again.feed(screen.dump().as_str());
        let cells = |terminal: &Terminal| {
            terminal.screen().visible_lines().map(|line| line.cells().to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(cells(&again), cells(&screen.terminal));
        assert_eq!(again.cursor(), screen.terminal.cursor());
    }

    #[test]
    fn a_question_that_goes_over_several_rows_is_read_whole() {
        let mut screen = Screen::new(SMALL);
        screen.feed(b"before\r\n[sudo] password for maintenance@hmi-2: \x1b7\x1b[4;1Hfoot\x1b8");
        assert_eq!(screen.cursor_lines(), "[sudo] password for maintenance@hmi-2: ");
    }

    #[test]
    fn only_what_changed_is_painted() {
        let mut screen = Screen::new(SMALL);
        let mut painter = Painter::new(None);
        screen.feed(b"one\r\ntwo");
        painter.paint(&screen);
        screen.feed(b" three");
        let second = painter.paint(&screen);
        assert!(second.contains("two three") && !second.contains("one"), "{second:?}");
    }

    #[test]
    fn a_screen_larger_than_the_window_shows_where_the_cursor_is() {
        let mut screen = Screen::new(Size { columns: 40, rows: 10 });
        screen.feed(b"top\x1b[10;1H0123456789012345678901234567890");
        let painted = Painter::new(Some(Size { columns: 10, rows: 3 })).paint(&screen);
        assert!(painted.contains("\x1b[3;1H0123456789\x1b[0m") && !painted.contains("top"), "{painted:?}");
    }

    #[test]
    fn a_few_bytes_cannot_keep_the_machine_busy() {
        let mut screen = Screen::new(Size { columns: u32::MAX, rows: 0 });
        assert_eq!(screen.size(), Size { columns: 1_000, rows: 24 });
        screen.feed(&b"x\x1b[65535b\x1b[65535S\x1b[65535L".repeat(200));
    }

    proptest! {
        #[test]
        fn no_bytes_paint_anything_but_text(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let painted = painted(&bytes);
            prop_assert!(is_safe(&painted), "{:?}", painted);
        }

        #[test]
        fn text_does_not_depend_on_where_it_was_split(text: String, noise: Vec<u8>, cut in 0_usize..200) {
            let bytes = [text.as_bytes(), &noise].concat();
            let cut = cut.min(bytes.len());
            let (mut pieces, mut carry) = (String::new(), Utf8::default());
            carry.push(&bytes[..cut], &mut pieces);
            carry.push(&bytes[cut..], &mut pieces);
            carry.finish(&mut pieces);
            prop_assert_eq!(pieces, String::from_utf8_lossy(&bytes));
        }
    }
}

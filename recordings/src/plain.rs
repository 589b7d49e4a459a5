//! The output of a command that has no terminal, for an auditor: lines of text and no screen, because nothing ever drew
//! on one. What would act on a terminal is spelled out instead of obeyed, so that a command cannot hide its output in a
//! sequence that a screen would swallow.

use crate::screen::put;
use crate::words::is_plain;

/// Characters of a line that are searched together. Longer lines are files, and would take the memory.
const LINE_CHARS_MAX: usize = 4_096;
/// A piece shorter than this is always shown: whoever writes a few odd bytes means them to be read.
const PIECE_CHARS_MIN: usize = 512;

/// Follows the output of one command.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    line: String,
    line_chars: usize,
    return_waits: bool,
    /// What was written last did not end its line.
    open: bool,
}

impl Plain {
    /// Takes in output; gives what to write for it. Each line is shown to `left` when it ends.
    pub(crate) fn feed(&mut self, text: &str, mut left: impl FnMut(&str)) -> String {
        let (mut out, mut odd, mut chars) = (String::new(), 0_usize, 0_usize);
        for c in text.chars() {
            chars += 1;
            if std::mem::take(&mut self.return_waits) && c != '\n' {
                self.put(&mut out, "\\x0d");
            }
            match c {
                '\r' => self.return_waits = true,
                '\n' => {
                    left(&self.line);
                    self.end_line();
                    out.push('\n');
                }
                '\t' => self.put(&mut out, "\t"),
                c if is_plain(c) => {
                    odd += usize::from(c == char::REPLACEMENT_CHARACTER);
                    self.put(&mut out, c.encode_utf8(&mut [0; 4]));
                }
                c => {
                    odd += 1;
                    self.put(&mut out, &spelled(c));
                }
            }
            if self.line_chars >= LINE_CHARS_MAX {
                left(&self.line);
                self.end_line();
            }
        }
        if chars >= PIECE_CHARS_MIN && odd * 4 > chars {
            out = format!("{}[{} bytes that are no text]\n", if self.open { "\n" } else { "" }, text.len());
        }
        self.open = !out.is_empty() && !out.ends_with('\n') || (out.is_empty() && self.open);
        out
    }

    /// A line of the view's own, apart from the command's.
    pub(crate) fn aside(&mut self, words: &str) -> String {
        format!("{}{words}\n", if std::mem::take(&mut self.open) { "\n" } else { "" })
    }

    /// The line as far as it came.
    pub(crate) fn line(&self) -> &str {
        &self.line
    }

    /// What ends the last line, if it is not at its end.
    pub(crate) const fn leave(&self) -> &'static str {
        if self.open { "\n" } else { "" }
    }

    fn put(&mut self, out: &mut String, text: &str) {
        out.push_str(text);
        self.line.push_str(text);
        self.line_chars += text.chars().count();
    }

    fn end_line(&mut self) {
        self.line.clear();
        self.line_chars = 0;
    }
}

/// A character as `\xNN` for each of its bytes.
fn spelled(c: char) -> String {
    let mut out = String::new();
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        put(&mut out, format_args!("\\x{byte:02x}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        Plain::default().feed(text, |_| {})
    }

    #[test]
    fn a_command_without_a_terminal_is_shown_as_lines_and_hides_nothing() {
        assert_eq!(shown("one\ttab\r\ntwo C:\\x\n"), "one\ttab\ntwo C:\\x\n");
        let hides = "a\u{1b}]0;never ended\nrm -rf /\r10%\u{202e}\u{9b}6n";
        assert_eq!(shown(hides), "a\\x1b]0;never ended\nrm -rf /\\x0d10%\\xe2\\x80\\xae\\xc2\\x9b6n");
    }

    #[test]
    fn a_piece_of_a_file_is_counted_and_not_spelled() {
        let piece = "\u{0}\u{fffd}\u{1}x".repeat(1_000);
        let mut plain = Plain::default();
        assert_eq!(plain.feed("$ cat", |_| {}), "$ cat");
        assert_eq!(plain.feed(&piece, |_| {}), format!("\n[{} bytes that are no text]\n", piece.len()));
        assert_eq!((plain.aside("note"), plain.leave()), ("note\n".to_owned(), ""));
        assert!(plain.line.chars().count() < LINE_CHARS_MAX + 4, "a line without end takes no memory");
    }

    proptest! {
        #[test]
        fn nothing_written_acts_on_a_terminal(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let written = shown(&String::from_utf8_lossy(&bytes));
            prop_assert!(written.chars().all(|c| is_plain(c) || c == '\n' || c == '\t'), "{:?}", written);
        }
    }
}

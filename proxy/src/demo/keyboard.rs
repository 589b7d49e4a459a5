//! What a person types, byte by byte, made into lines: with echo, backspace, Ctrl-C and Ctrl-D. Sequences that arrow
//! keys and the like send are passed over; the panel has no history.

/// One visitor's keyboard.
#[derive(Debug, Default)]
pub(super) struct Keyboard {
    line: Vec<u8>,
    last: u8,
    sequence: Sequence,
}

/// How far into an escape sequence (ECMA-48, 5.4) the last byte was.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Sequence {
    #[default]
    None,
    Begun,
    Inside,
}

/// What a byte came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Typed {
    /// Nothing to be seen.
    Nothing,
    /// To be shown on a terminal.
    Echo(String),
    /// A whole line, without its end.
    Line(String),
    /// Ctrl-D on an empty line.
    Left,
}

/// No command of the panel is longer.
const LINE_BYTES_MAX: usize = 200;

impl Keyboard {
    /// Takes one byte.
    pub(super) fn take(&mut self, byte: u8) -> Typed {
        let before = std::mem::replace(&mut self.last, byte);
        if self.sequence != Sequence::None {
            self.sequence = match (self.sequence, byte) {
                (Sequence::Begun, b'[' | b'O') => Sequence::Inside,
                (Sequence::Inside, 0x20..=0x3f) => Sequence::Inside,
                _ => Sequence::None,
            };
            return Typed::Nothing;
        }
        match byte {
            b'\n' if before == b'\r' => Typed::Nothing,
            b'\r' | b'\n' => Typed::Line(String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned()),
            0x03 => {
                self.line.clear();
                Typed::Line(String::new())
            }
            0x04 if self.line.is_empty() => Typed::Left,
            0x08 | 0x7f if self.line.pop().is_some() => Typed::Echo("\u{8} \u{8}".to_owned()),
            0x1b => {
                self.sequence = Sequence::Begun;
                Typed::Nothing
            }
            b' '..=b'~' if self.line.len() < LINE_BYTES_MAX => {
                self.line.push(byte);
                Typed::Echo(char::from(byte).to_string())
            }
            _ => Typed::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(typed: &[u8]) -> Vec<String> {
        let mut keyboard = Keyboard::default();
        let lines = typed.iter().filter_map(|byte| match keyboard.take(*byte) {
            Typed::Line(line) => Some(line),
            _ => None,
        });
        lines.collect()
    }

    #[test]
    fn a_line_is_what_was_left_when_enter_was_typed() {
        assert_eq!(lines(b"stst\x7f\x7fatus\r"), ["status"]);
        assert_eq!(lines(b"one\r\ntwo\n"), ["one", "two"]);
        assert_eq!(lines(b"wrong\x03right\r"), ["", "right"]);
    }

    #[test]
    fn arrow_keys_and_control_characters_are_not_in_the_line() {
        assert_eq!(lines(b"a\x1b[Ab\x1b[1;5Cc\x1bOPd\x07\xff\r"), ["abcd"]);
    }

    #[test]
    fn control_d_leaves_only_an_empty_line() {
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.take(b'x'), Typed::Echo("x".into()));
        assert_eq!(keyboard.take(4), Typed::Nothing);
        assert_eq!((keyboard.take(0x7f), keyboard.take(4)), (Typed::Echo("\u{8} \u{8}".into()), Typed::Left));
    }
}

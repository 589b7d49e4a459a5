//! Bytes that a stranger chose, as text that can be shown: command lines, names, file paths. What they mean is known
//! where they came from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Any bytes. As text, printable characters stand as they are and every other byte, the backslash too, as `\xNN`:
/// nothing is lost, nothing hides, and nothing can do anything to a terminal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Words(Vec<u8>);

/// Text that [`Words`] are not written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a backslash that does not stand for a byte, or a character that should be written as one")]
pub struct NotWords;

impl Words {
    /// These bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, as they came.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.0))
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Words({self})")
    }
}

impl From<&str> for Words {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<Words> for String {
    fn from(words: Words) -> Self {
        words.to_string()
    }
}

impl TryFrom<String> for Words {
    type Error = NotWords;
    fn try_from(text: String) -> Result<Self, NotWords> {
        let bytes = unescaped(&text).filter(|bytes| escaped(bytes) == text);
        bytes.map(Self).ok_or(NotWords)
    }
}

/// Printable characters as they are, every other byte, and the backslash, as `\xNN`.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_plain(c) && c != '\\' {
                text.push(c);
            } else {
                escape(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

fn escape(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("\\x{byte:02x}"));
    }
}

/// Whether a character shows itself, moves nothing and hides nothing: no control, no blank but the space, no mark of
/// direction or width (UAX #9, UTS #39), nothing of private use.
pub fn is_plain(c: char) -> bool {
    let hidden = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
        | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}');
    !c.is_control() && (c == ' ' || !c.is_whitespace()) && !hidden
}

/// The bytes that [`escaped`] wrote this way; also of spellings it does not write.
pub(crate) fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let digits = escape.strip_prefix('x')?.get(..2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &escape[3..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_would_move_or_hide_is_spelled_out() {
        let shown = Words::from("a\\b\u{1b}[2J\u{202e}\u{200b}é\u{7f}").to_string();
        assert_eq!(shown, r"a\x5cb\x1b[2J\xe2\x80\xae\xe2\x80\x8bé\x7f");
    }

    proptest! {
        #[test]
        fn any_bytes_have_one_spelling(bytes: Vec<u8>, text: String) {
            let words = Words::new(bytes);
            prop_assert!(words.to_string().chars().all(is_plain));
            prop_assert_eq!(Words::try_from(words.to_string()), Ok(words));
            if let Ok(words) = Words::try_from(text.clone()) {
                prop_assert_eq!(words.to_string(), text);
            }
        }
    }
}

//! Typed passwords, masked in views; the raw bytes keep them. A view cannot know what a target takes for a secret, so
//! it goes by what stands before the cursor: where the last line of output ends like a question for a secret, what is
//! typed up to the next Enter is masked, and stays so in a second line typed before anything more is shown. That an
//! echo follows is not known when a key is pressed, and what is echoed the output shows anyway. A program that asks in
//! other words, or in none, is not recognised: a view with input is to be handled like one with passwords in it.

use avt::Parser;
use avt::parser::Function;

/// What a masked key shows.
const MASKED: char = '•';

/// Ends of questions for a secret, in lower case: the word, then at most some words more, then a colon or `>`.
const WORDS: [&str; 20] = [
    "password",
    "passphrase",
    "passcode",
    "passwort",
    "kennwort",
    "mot de passe",
    "contraseña",
    "contrasena",
    "senha",
    "wachtwoord",
    "heslo",
    "hasło",
    "lösenord",
    "пароль",
    "密码",
    "パスワード",
    "secret",
    "verification code",
    "one-time",
    " pin",
];

/// A line is judged by its end.
const LINE_CHARS_MAX: usize = 160;
/// It is cut to that where it has more bytes than this; not at each character, since that would be most of the work.
const LINE_BYTES_MAX: usize = 16 * LINE_CHARS_MAX;
/// Characters between the word and the end of the question, as in `password for maint@hmi-2:`.
const AFTER_WORD_MAX: usize = 80;

/// Follows what is shown, and masks what is typed where that asks for a secret.
#[derive(Debug, Default)]
pub struct Mask {
    parser: Parser,
    line: String,
    secret: bool,
    /// What stands before the cursor is not known: it may ask for a secret.
    unknown: bool,
}

impl Mask {
    /// Where this stands on the screen up to the cursor.
    pub(crate) fn at(shown: &str) -> Self {
        Self { line: tail(shown), ..Self::default() }
    }

    /// Where nothing is known of what was shown: until something is, all that is typed is masked.
    pub(crate) fn unknown() -> Self {
        Self { unknown: true, ..Self::default() }
    }

    /// Takes in output.
    pub fn shown(&mut self, text: &str) {
        self.unknown &= text.is_empty();
        for function in text.chars().filter_map(|c| self.parser.feed(c)) {
            match function {
                Function::Print(c) => self.line.push(c),
                Function::Sgr(_) | Function::Decset(_) | Function::Decrst(_) | Function::El(_) => {}
                Function::Bs => drop(self.line.pop()),
                Function::Cuf(_) | Function::Ht => self.line.push(' '),
                _ => self.line.clear(),
            }
            if self.line.len() > LINE_BYTES_MAX {
                self.line = tail(&self.line);
            }
        }
    }

    /// What to show of something typed: itself, or a mark for each masked character. Enter and other controls stay.
    pub fn typed(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            self.secret |= self.unknown || asks_for_secret(&self.line);
            if matches!(c, '\r' | '\n') {
                self.secret = false;
                out.push(c);
            } else {
                out.push(if self.secret { MASKED } else { c });
            }
        }
        out
    }
}

fn tail(line: &str) -> String {
    let skip = line.chars().count().saturating_sub(LINE_CHARS_MAX);
    line.chars().skip(skip).collect()
}

fn asks_for_secret(line: &str) -> bool {
    let line = format!(" {}", tail(line).to_lowercase());
    let Some(question) = line.trim_end().strip_suffix([':', '>', '?', '：']) else { return false };
    let after = |word: &&str| question.rfind(*word).map(|at| question[at + word.len()..].chars().count());
    WORDS.iter().filter_map(after).any(|after| after <= AFTER_WORD_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_for_a_secret_are_known_by_their_end() {
        for asks in [
            "Password:",
            "[sudo] password for maint: ",
            "Enter passphrase for key '/root/.ssh/id_ed25519': ",
            "maint@hmi-2's password: ",
            "Passwort: ",
            "PIN: ",
            "Verification code: ",
            "New password> ",
        ] {
            assert!(asks_for_secret(asks), "{asks}");
        }
        for other in ["maint@hmi-2:~$ ", "Login: ", "cat password.txt", "password changed.", "spin: ", ""] {
            assert!(!asks_for_secret(other), "{other}");
        }
    }

    #[test]
    fn a_password_is_masked_up_to_enter_and_the_next_command_is_not() {
        let mut mask = Mask::default();
        mask.shown("$ ");
        assert_eq!(mask.typed("su\r"), "su\r");
        mask.shown("su\r\n\x1b[1mPass\x1b[0mword: ");
        assert_eq!(mask.typed("s3c"), "•••");
        assert_eq!(mask.typed("ret\r"), "•••\r");
        mask.shown("\r\n# ");
        assert_eq!(mask.typed("ls\r"), "ls\r");
    }

    #[test]
    fn where_nothing_is_known_of_the_question_what_is_typed_is_masked() {
        let mut mask = Mask::unknown();
        assert_eq!(mask.typed("one\rtwo\r"), "•••\r•••\r");
        mask.shown("$ ");
        assert_eq!(mask.typed("ls\r"), "ls\r");
        assert_eq!(Mask::at("[sudo] password for maint:").typed("x\r"), "•\r");
    }

    #[test]
    fn what_is_typed_ahead_at_a_question_is_masked_too() {
        let mut mask = Mask::default();
        mask.shown("Password: ");
        assert_eq!(mask.typed("wrong\rright\r"), "•••••\r•••••\r");
    }
}

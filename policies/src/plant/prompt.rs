//! What a telnet target shows when it wants an account's name or password. When the gate looks for it, and what it answers,
//! is not here.

use std::str::FromStr;
use std::sync::LazyLock;

use regex_lite::Regex;

use super::rule::compiled;

/// What a telnet target shows when it wants a name, and when it wants a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompts {
    /// When it wants a name.
    pub login: Prompt,
    /// When it wants a password.
    pub password: Prompt,
}

impl Prompts {
    /// `login_prompt` where the file says nothing. Not "Last login: ", which many show to those who are in.
    pub const LOGIN: &str = r"(?i)(^|[^t] )(login|user ?name|user): *$";
    /// `password_prompt` where the file says nothing.
    pub const PASSWORD: &str = r"(?i)password: *$";
}

impl Default for Prompts {
    fn default() -> Self {
        static COMPILED: LazyLock<Prompts> = LazyLock::new(|| {
            let prompt = |text: &str| text.parse().expect("a default is a pattern");
            Prompts { login: prompt(Prompts::LOGIN), password: prompt(Prompts::PASSWORD) }
        });
        COMPILED.clone()
    }
}

/// A regular expression that some part of a line of output must match, in the syntax of `regex-lite`. Matching takes time in
/// proportion to pattern times line, whatever the pattern: there is no backtracking.
#[derive(Debug, Clone)]
pub struct Prompt {
    text: String,
    anywhere: Regex,
}

/// Text that is no prompt's pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPrompt {
    /// Longer than prompts need.
    #[error("a regular expression of more than {PROMPT_MAX} characters: write the end of the prompt alone")]
    TooLong,
    /// It matches where nothing stands, so it says of nothing that it is a prompt, and a password would be sent to anything.
    #[error("matches an empty line, so anything would be taken for the prompt: write the end of the prompt itself")]
    Anything,
    /// Not a regular expression, or one of excessive size.
    #[error("not a regular expression, {0}: correct it, or leave it out")]
    Syntax(String),
}

const PROMPT_MAX: usize = 200;

impl Prompt {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a line, as far as it was shown, is the prompt.
    pub fn is_shown_by(&self, line: &str) -> bool {
        self.anywhere.is_match(line)
    }
}

impl FromStr for Prompt {
    type Err = BadPrompt;
    fn from_str(text: &str) -> Result<Self, BadPrompt> {
        if text.chars().count() > PROMPT_MAX {
            return Err(BadPrompt::TooLong);
        }
        let anywhere = compiled(text).map_err(BadPrompt::Syntax)?;
        if anywhere.is_match("") {
            return Err(BadPrompt::Anything);
        }
        Ok(Self { text: text.to_owned(), anywhere })
    }
}

impl PartialEq for Prompt {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Prompt {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_targets_ask_is_known_without_a_pattern_and_a_greeting_is_not_taken_for_it() {
        let Prompts { login, password } = Prompts::default();
        for line in
            ["login: ", "debian12 login:", "Username: ", "User Name:", "switch-3 login: ", "user:", "Press-4 User: "]
        {
            assert!(login.is_shown_by(line), "{line}");
            assert!(!password.is_shown_by(line), "{line}");
        }
        for line in ["Password:", "password: ", "Enter PASSWORD:", "maint's password: "] {
            assert!(password.is_shown_by(line), "{line}");
        }
        for line in ["", "Last login: ", "Last login: Mon Nov 23 14:00:00", "login: maint", "$ ", "Password: x"] {
            assert!(!login.is_shown_by(line) && !password.is_shown_by(line), "{line}");
        }
    }
}

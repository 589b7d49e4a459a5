//! The telling of the story: steps, what people type and what they see, and the check of each. A command that somebody
//! types is run as they would: this same program, as a process of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use zeroize::Zeroizing;

use super::DemoFault;
use super::home::{self, Home};
use super::phone::{Phone, Shown};
use super::technician::Reply;

/// Nothing that is waited for in the story takes so long, on any machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Where the story is told.
pub(super) struct Stage {
    folder: PathBuf,
    begun: Instant,
    step: usize,
    name: &'static str,
}

/// How a command ended.
pub(super) struct Ran {
    /// Its exit code; -1 where it was killed.
    pub(super) status: i32,
    /// What it wrote, harmless to a terminal.
    pub(super) text: String,
}

impl Stage {
    pub(super) fn new(home: &Home) -> Self {
        Self { folder: home.path().to_owned(), begun: Instant::now(), step: 0, name: "" }
    }

    /// The demo's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Begins a step, in a line or two.
    pub(super) fn step(&mut self, name: &'static str, words: &str) {
        (self.step, self.name) = (self.step + 1, name);
        let (first, rest) = words.split_once('\n').unwrap_or((words, ""));
        say!("\n{:>2}. {}: {first}", self.step, name.to_uppercase());
        rest.lines().for_each(|line| say!("    {line}"));
    }

    /// What somebody sees; of a long text how it begins and how it ends.
    pub(super) fn seen(&self, who: &str, text: &str) {
        const BEGINNING: usize = 5;
        const END: usize = 2;
        let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let left_out = lines.len().saturating_sub(BEGINNING + END);
        let (beginning, rest) = if left_out > 1 { lines.split_at(BEGINNING) } else { (lines.as_slice(), &[][..]) };
        beginning.iter().for_each(|line| say!("      {who} | {line}"));
        if !rest.is_empty() {
            say!("      {who} | ... {left_out} more lines ...");
        }
        rest.iter().skip(left_out).for_each(|line| say!("      {who} | {line}"));
    }

    /// What comes of it.
    pub(super) fn so(&self, words: &str) {
        say!("    -> {words}");
    }

    /// Goes on only if it is as it was told.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn expect(&self, holds: bool, expected: &str, saw: &str) -> Result<(), DemoFault> {
        if holds { Ok(()) } else { Err(self.unlike(expected, saw)) }
    }

    /// That it is not as it was told.
    pub(super) fn unlike(&self, expected: &str, saw: &str) -> DemoFault {
        DemoFault::Step { step: self.step, name: self.name, expected: expected.to_owned(), saw: saw.to_owned() }
    }

    /// Goes on only if the gate asks something: what it says, and its questions.
    ///
    /// # Errors
    /// It lets in, or refuses.
    pub(super) fn questions(&self, reply: Reply, expected: &str) -> Result<(String, Vec<String>), DemoFault> {
        match reply {
            Reply::Asked(words, prompts) => Ok((words, prompts)),
            other => Err(self.unlike(expected, &format!("{other:?}"))),
        }
    }

    /// Goes on only if it comes about in time.
    ///
    /// # Errors
    /// It does not.
    pub(super) async fn in_time<T>(&self, what: &str, awaited: impl Future<Output = T>) -> Result<T, DemoFault> {
        let late = |_| self.unlike(what, "nothing, for half a minute");
        tokio::time::timeout(PATIENCE, awaited).await.map_err(late)
    }

    /// A code of somebody's app, to be given at once.
    ///
    /// # Errors
    /// They have none.
    pub(super) async fn code(&self, name: &str) -> Result<Zeroizing<String>, DemoFault> {
        const GIVEN_WITHIN: Duration = Duration::from_secs(5);
        let phone = Phone::open(&home::person(&self.folder, name))?;
        loop {
            match phone.show(jiff::Timestamp::now(), GIVEN_WITHIN)? {
                Shown::Code(code) => return Ok(code),
                Shown::Wait(span) => tokio::time::sleep(span).await,
            }
        }
    }

    /// Somebody types a command, and it must succeed.
    ///
    /// # Errors
    /// It does not.
    pub(super) async fn types(&self, who: &str, arguments: &[&str], input: &str) -> Result<String, DemoFault> {
        let ran = self.run(who, arguments, input).await?;
        self.seen(who, &ran.text);
        self.expect(ran.status == 0, &format!("`holdpoint {}` to succeed", typed(arguments)), &ran.text)?;
        Ok(ran.text)
    }

    /// Somebody types a command.
    ///
    /// # Errors
    /// It cannot be run, or hangs.
    pub(super) async fn run(&self, who: &str, arguments: &[&str], input: &str) -> Result<Ran, DemoFault> {
        say!("    {who}$ holdpoint {}", typed(arguments));
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).current_dir(&self.folder).kill_on_drop(true);
        command.env("HOLDPOINT_PROFILE", home::person(&self.folder, who).join("profile.toml")).env("TZ", "UTC");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = async {
            let mut child = command.spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(input.as_bytes()).await?;
            }
            child.wait_with_output().await
        };
        let output = self.in_time("a command to end", running).await??;
        let text = [output.stdout, output.stderr].concat();
        let text = plain(&String::from_utf8_lossy(&text));
        Ok(Ran { status: output.status.code().unwrap_or(-1), text })
    }

    /// Says how it ended.
    pub(super) fn end(&self) {
        say!("\nEvery step was as told, in {} seconds.", self.begun.elapsed().as_secs());
    }
}

/// Arguments as they are typed into a shell.
fn typed(arguments: &[&str]) -> String {
    let quoted = |word: &&str| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() };
    arguments.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Text without what acts on a terminal.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                // Control sequences end with a letter (ECMA-48, 5.4); shorter ones are one character long.
                if chars.next_if_eq(&'[').is_some() {
                    while chars.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
                } else {
                    chars.next();
                }
            }
            '\n' => plain.push('\n'),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_on_a_terminal_is_left_of_a_text() {
        let text = "\u{1b}[2J\u{1b}[1;1Hhmi-2> \u{1b}]0;owned\u{7}set\r\n\u{9b}31mred\u{1b}7";
        let plain = plain(text);
        assert!(plain.starts_with("hmi-2> ") && plain.contains("set\n"), "{plain:?}");
        assert!(plain.chars().all(|c| c == '\n' || !c.is_control()), "{plain:?}");
        assert_eq!(super::plain("\u{1b}"), "");
        assert_eq!(super::plain("\u{1b}[31"), "");
    }

    #[test]
    fn a_command_is_shown_as_it_can_be_typed() {
        assert_eq!(typed(&["play", "s_1", "--search", "set to 165"]), "play s_1 --search 'set to 165'");
    }
}

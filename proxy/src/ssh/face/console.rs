//! A channel on which the gate itself speaks: reads lines, prints lines, ends with a status. With a terminal it echoes
//! and edits, because the technician's own terminal is raw then; without one it reads plain lines.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use russh::ChannelWriteHalf;
use russh::server::{Handle, Msg};
use zeroize::Zeroizing;

use crate::flow::{Event, Queue, Request};
use crate::ssh::channel::VendorEnd;

/// The channel.
pub(super) struct Console {
    channel: ChannelWriteHalf<Msg>,
    session: Handle,
    upload: Arc<Queue>,
    terminal: Option<Request>,
    environment: Vec<Request>,
    typed: VecDeque<u8>,
    /// Nothing more will be typed.
    at_end: bool,
    editor: Editor,
}

/// What a technician started on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    /// A shell.
    Shell,
    /// A command.
    Exec(Bytes),
    /// A subsystem.
    Subsystem,
}

/// What was typed instead of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Break {
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, the end of the input, or the channel closed.
    Left,
}

/// Typed before anybody reads it. A terminal keeps 4 KiB of a line (termios(3)); beyond this it is no person who types.
const TYPED_AHEAD_MAX: usize = 64 << 10;
/// The environment is of no use here, but is handed on when a session takes the channel over.
const ENVIRONMENT_MAX: usize = 32;

impl Console {
    /// Waits until something is started on the channel. `None` if it closes before.
    pub(super) async fn begin(
        channel: ChannelWriteHalf<Msg>,
        session: Handle,
        upload: Arc<Queue>,
    ) -> Option<(Self, Start)> {
        let (terminal, environment, typed) = (None, Vec::new(), VecDeque::new());
        let (at_end, editor) = (false, Editor::default());
        let mut console = Self { channel, session, upload, terminal, environment, typed, at_end, editor };
        loop {
            match console.event().await? {
                Event::Request(Request::Shell) => return Some((console, Start::Shell)),
                Event::Request(Request::Exec(line)) => return Some((console, Start::Exec(line))),
                Event::Request(Request::Subsystem(_)) => return Some((console, Start::Subsystem)),
                Event::Close => return None,
                _ => {}
            }
        }
    }

    /// Whether there is a terminal.
    pub(super) const fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Prints text. Control characters in it go, whoever they came from; only line ends stay.
    pub(super) async fn say(&self, text: &str) {
        let end = if self.has_terminal() { "\r\n" } else { "\n" };
        let plain: String = text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
        self.send(plain.replace('\n', end).into()).await;
    }

    /// Prints words about what went wrong on standard error.
    pub(super) async fn complain(&self, text: &str) {
        let end = if self.has_terminal() { "\r\n" } else { "\n" };
        let plain: String = text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
        let bytes = Bytes::from(format!("{}{end}", plain.replace('\n', end)));
        if self.channel.extended_data_bytes(1, bytes).await.is_err() {
            tracing::debug!("a technician left before they were told");
        }
    }

    async fn send(&self, bytes: Bytes) {
        if self.channel.data_bytes(bytes).await.is_err() {
            tracing::debug!("a technician left before they were told");
        }
    }

    /// Asks for a line.
    pub(super) async fn ask(&mut self, prompt: &str) -> Result<Zeroizing<String>, Break> {
        self.read_line(prompt, true).await
    }

    /// Asks for a line that is not shown as it is typed.
    pub(super) async fn ask_hidden(&mut self, prompt: &str) -> Result<Zeroizing<String>, Break> {
        self.read_line(prompt, false).await
    }

    async fn read_line(&mut self, prompt: &str, echoes: bool) -> Result<Zeroizing<String>, Break> {
        self.say(prompt).await;
        loop {
            while let Some(byte) = self.typed.pop_front() {
                let has_terminal = self.has_terminal();
                match self.editor.take(byte, has_terminal) {
                    Taken::Nothing => {}
                    Taken::Echo(echo) if has_terminal && echoes => self.send(echo).await,
                    Taken::Echo(_) => {}
                    Taken::Line(line) => {
                        if has_terminal {
                            self.send(Bytes::from_static(b"\r\n")).await;
                        }
                        return Ok(line);
                    }
                    Taken::Break(why) => {
                        self.say("\n").await;
                        return Err(why);
                    }
                }
            }
            if self.at_end {
                return if self.editor.is_empty() { Err(Break::Left) } else { Ok(self.editor.finish()) };
            }
            if let None | Some(Event::Close) = self.event().await {
                return Err(Break::Left);
            }
        }
    }

    /// Waits for Ctrl-C, Ctrl-D or the end of the channel, while something else is awaited. May be dropped and called
    /// again. What is typed meanwhile is thrown away.
    pub(super) async fn interrupted(&mut self) -> Break {
        loop {
            for byte in self.typed.drain(..) {
                match byte {
                    CTRL_C => return Break::Interrupted,
                    CTRL_D => return Break::Left,
                    _ => {}
                }
            }
            match self.event().await {
                None | Some(Event::Close) => return Break::Left,
                // A command whose input is empty still wants its answer.
                _ => {}
            }
        }
    }

    /// Ends the channel, with the status a program would end with.
    pub(super) async fn end(self, status: u32) {
        let ending = async {
            self.channel.exit_status(status).await?;
            self.channel.eof().await?;
            self.channel.close().await
        };
        let ended: Result<(), russh::Error> = ending.await;
        if ended.is_err() {
            tracing::debug!("a technician left before the end");
        }
        self.upload.end();
    }

    /// Hands the channel over to a session, as if its shell had just been asked for.
    pub(super) fn into_channel(mut self) -> VendorEnd {
        let requests = self.terminal.take().into_iter().chain(self.environment.drain(..)).chain([Request::Shell]);
        let mut before: Vec<Event> = requests.map(Event::Request).collect();
        if !self.typed.is_empty() {
            before.push(Event::Data { stream: None, bytes: Vec::from(self.typed).into() });
        }
        before.extend(self.at_end.then_some(Event::Eof));
        self.upload.put_first(before);
        VendorEnd::new(self.channel, self.session, self.upload)
    }

    /// The next thing that happens on the channel, with what it changes here already done.
    async fn event(&mut self) -> Option<Event> {
        let event = self.upload.pop().await?;
        self.upload.forwarded(event.weight());
        match &event {
            Event::Data { stream: None, bytes } => {
                let room = TYPED_AHEAD_MAX.saturating_sub(self.typed.len());
                self.typed.extend(bytes.iter().take(room));
            }
            Event::Eof => self.at_end = true,
            Event::Request(request @ Request::Pty { .. }) => self.terminal = Some(request.clone()),
            Event::Request(Request::WindowChange(now)) => {
                if let Some(Request::Pty { size, .. }) = &mut self.terminal {
                    *size = *now;
                }
            }
            Event::Refused(why) => self.complain(&format!("holdpoint: {why}")).await,
            Event::Request(request @ Request::Env { .. }) if self.environment.len() < ENVIRONMENT_MAX => {
                self.environment.push(request.clone());
            }
            _ => {}
        }
        Some(event)
    }
}

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const CTRL_U: u8 = 0x15;
const ESCAPE: u8 = 0x1b;
const BACKSPACE: [u8; 2] = [0x08, 0x7f];

/// A line as it is typed. What was typed is wiped with it, since it may be a code.
#[derive(Default)]
struct Editor {
    line: Zeroizing<Vec<u8>>,
    after_return: bool,
    escape: Escape,
}

/// Where in an escape sequence, such as an arrow key's, a byte lies (ECMA-48, 5.4). All of it is swallowed.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    Outside,
    Begun,
    Inside,
}

enum Taken {
    Nothing,
    Echo(Bytes),
    Line(Zeroizing<String>),
    Break(Break),
}

impl Editor {
    /// Longer than any reason; a paste of a novel is cut off.
    const LINE_BYTES_MAX: usize = 2048;

    fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    fn take(&mut self, byte: u8, on_terminal: bool) -> Taken {
        let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
        if byte == b'\n' && after_return {
            return Taken::Nothing;
        }
        if self.escape != Escape::Outside || byte == ESCAPE {
            self.swallow(byte);
            return Taken::Nothing;
        }
        match byte {
            b'\r' | b'\n' => Taken::Line(self.finish()),
            _ if !on_terminal => self.add(byte),
            CTRL_C => {
                self.line.clear();
                Taken::Break(Break::Interrupted)
            }
            CTRL_D if self.line.is_empty() => Taken::Break(Break::Left),
            CTRL_U => self.erase(usize::MAX),
            byte if BACKSPACE.contains(&byte) => self.erase(1),
            byte => self.add(byte),
        }
    }

    fn swallow(&mut self, byte: u8) {
        self.escape = match (self.escape, byte) {
            (_, ESCAPE) => Escape::Begun,
            (Escape::Begun, b'[' | b'O') => Escape::Inside,
            (Escape::Inside, 0x20..=0x3f) => Escape::Inside,
            _ => Escape::Outside,
        };
    }

    fn add(&mut self, byte: u8) -> Taken {
        if byte.is_ascii_control() || self.line.len() >= Self::LINE_BYTES_MAX {
            return Taken::Nothing;
        }
        self.line.push(byte);
        Taken::Echo(Bytes::copy_from_slice(&[byte]))
    }

    /// Takes back so many characters, not bytes.
    fn erase(&mut self, characters: usize) -> Taken {
        let mut echo = Vec::new();
        for _ in 0..characters {
            let Some(last) = self.line.iter().rposition(|byte| !is_continuation(*byte)) else { break };
            self.line.truncate(last);
            echo.extend_from_slice(b"\x08 \x08");
        }
        Taken::Echo(echo.into())
    }

    fn finish(&mut self) -> Zeroizing<String> {
        let bytes = std::mem::take(&mut self.line);
        Zeroizing::new(String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).collect())
    }
}

/// A byte inside a UTF-8 character (RFC 3629, 3).
const fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines typed, and what was echoed.
    fn typed(bytes: &[u8], on_terminal: bool) -> (Vec<String>, Vec<u8>) {
        let (mut editor, mut lines, mut echoed) = (Editor::default(), Vec::new(), Vec::new());
        for byte in bytes {
            match editor.take(*byte, on_terminal) {
                Taken::Nothing => {}
                Taken::Echo(echo) => echoed.extend_from_slice(&echo),
                Taken::Line(line) => lines.push(line.to_string()),
                Taken::Break(why) => lines.push(format!("{why:?}")),
            }
        }
        (lines, echoed)
    }

    #[test]
    fn a_line_is_edited_by_characters() {
        assert_eq!(typed("liwt\x7f\x7f\x7fist\r".as_bytes(), true).0, ["list"]);
        assert_eq!(typed("Pumpe läu\x08\x08\x08ok\r".as_bytes(), true).0, ["Pumpe ok"]);
        assert_eq!(typed(b"all wrong\x15list\r", true).0, ["list"]);
        assert_eq!(typed("ä\x7f".as_bytes(), true).1, "ä\x08 \x08".as_bytes());
    }

    #[test]
    fn whatever_ends_a_line_ends_one() {
        for text in ["a\rb\r", "a\nb\n", "a\r\nb\r\n"] {
            assert_eq!(typed(text.as_bytes(), true).0, ["a", "b"], "{text:?}");
        }
    }

    #[test]
    fn keys_that_move_and_control_characters_leave_no_trace() {
        let (lines, echoed) = typed(b"li\x1b[A\x1b[1;5Cs\x1bOPt\x07\x00\r", true);
        assert_eq!((lines[0].as_str(), echoed.as_slice()), ("list", &b"list"[..]));
    }

    #[test]
    fn breaking_off_is_no_line() {
        assert_eq!(typed(b"lis\x03list\r\x04", true).0, ["Interrupted", "list", "Left"]);
        assert_eq!(typed(b"lis\x04t\r", true).0, ["list"]);
    }

    #[test]
    fn a_line_without_end_is_cut_off() {
        let (lines, _) = typed(&[vec![b'a'; 10_000], vec![b'\r']].concat(), false);
        assert_eq!(lines[0].len(), Editor::LINE_BYTES_MAX);
    }

    proptest::proptest! {
        #[test]
        fn nothing_typed_makes_the_editor_panic_or_keep_a_control_character(bytes: Vec<u8>, on_terminal: bool) {
            let (lines, echoed) = typed(&bytes, on_terminal);
            proptest::prop_assert!(!lines.concat().chars().any(char::is_control));
            proptest::prop_assert!(echoed.iter().all(|byte| !byte.is_ascii_control() || *byte == 8));
        }
    }
}

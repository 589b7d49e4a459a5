//! A recording's terminal as an asciicast, version 3 or 2 (<https://docs.asciinema.org/manual/asciicast/v3/>): a
//! picture of it, for players. The raw bytes stay the evidence, since a cast holds only text. Casts keep escape
//! sequences as they came: a player draws them inside its own window.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use crate::frame::Stream;
use crate::notes::{Note, Size};
use crate::read::{Moment, ReadFault, Recording, What};
use crate::remarks;
use crate::screen::{DEFAULT_SIZE, Utf8, drawn};
use crate::secrets::Mask;

/// Which asciicast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CastVersion {
    /// Times count from the event before; the exit status is kept.
    #[default]
    V3,
    /// Times count from the beginning.
    V2,
}

/// What goes into a cast.
#[derive(Debug, Clone, Default)]
pub struct CastOptions {
    /// Which asciicast.
    pub version: CastVersion,
    /// Whether what was typed goes into it too. Typed passwords are masked as far as they can be told; see
    /// [`crate::secrets`].
    pub input: bool,
    /// Which channel; otherwise the first on which a shell or a command ran.
    pub channel: Option<u32>,
    /// What stands above it in a player.
    pub title: Option<String>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cast {
    /// The channel that was shown.
    pub channel: u32,
    /// Events written.
    pub events: u64,
}

/// Why there is no cast, or only its beginning.
#[derive(Debug, thiserror::Error)]
pub enum CastFault {
    /// The recording cannot be read on.
    #[error(transparent)]
    Read(#[from] ReadFault),
    /// The cast cannot be written.
    #[error("cannot write the cast: {0}")]
    Write(#[from] io::Error),
    /// Nothing ran that a cast could show.
    #[error(
        "no shell and no command ran here, so there is nothing a cast could show; `play` lists the files that passed and what was \
         done on TCP connections"
    )]
    NoTerminal,
}

/// Writes a recording's moments as a cast.
pub fn write_cast(
    out: &mut dyn Write,
    recording: &Recording,
    moments: impl IntoIterator<Item = Result<Moment, ReadFault>>,
    options: &CastOptions,
) -> Result<Cast, CastFault> {
    let mut writer = Writer { out, recording, options, stage: Stage::Before(Program::default()) };
    for moment in moments {
        writer.take(&moment?)?;
    }
    writer.finish()
}

/// The channel of what belongs to none.
const SESSION: u32 = 0;

struct Writer<'a> {
    out: &'a mut dyn Write,
    recording: &'a Recording,
    options: &'a CastOptions,
    stage: Stage,
}

/// What is known of the channel before its header can be written.
#[derive(Default)]
struct Program {
    terminal: Option<Size>,
    term: Option<String>,
    command: Option<String>,
}

enum Stage {
    /// No shell, and no command yet; of which channel the rest is, is not known where it was not asked for.
    Before(Program),
    Running(Box<Running>),
}

struct Running {
    channel: u32,
    has_terminal: bool,
    texts: [(Stream, Utf8); 5],
    mask: Mask,
    /// The last event's time in whole microseconds since the beginning: intervals between such times add up exactly,
    /// however many there are.
    last_micros: u128,
    last_at: Duration,
    exit: Option<u32>,
    events: u64,
}

impl Writer<'_> {
    fn take(&mut self, moment: &Moment) -> Result<(), CastFault> {
        match &mut self.stage {
            Stage::Before(program) => {
                if self.options.channel.is_some_and(|channel| channel != moment.channel) {
                    return Ok(());
                }
                match &moment.what {
                    What::Note(Note::ChannelOpen { .. }) => *program = Program::default(),
                    What::Note(Note::Terminal { term, size }) => {
                        program.terminal = Some(*size);
                        program.term = Some(term.to_string());
                    }
                    What::Note(Note::Exec { command, copies_files: false }) => {
                        program.command = Some(command.to_string());
                        self.begin(moment)?;
                    }
                    What::Note(Note::Shell) => self.begin(moment)?,
                    _ => {}
                }
                Ok(())
            }
            Stage::Running(running) if running.channel == moment.channel => self.show(moment),
            Stage::Running(_) if moment.channel == SESSION => self.mark(moment),
            Stage::Running(_) => Ok(()),
        }
    }

    fn begin(&mut self, moment: &Moment) -> Result<(), CastFault> {
        let Stage::Before(program) = &mut self.stage else { return Ok(()) };
        let program = std::mem::take(program);
        self.header(&program)?;
        let streams = [Stream::Out, Stream::OutErr, Stream::GateOut, Stream::GateOutErr, Stream::In];
        self.stage = Stage::Running(Box::new(Running {
            channel: moment.channel,
            has_terminal: program.terminal.is_some(),
            texts: streams.map(|stream| (stream, Utf8::default())),
            mask: Mask::default(),
            last_micros: 0,
            last_at: moment.at,
            exit: None,
            events: 0,
        }));
        Ok(())
    }

    fn header(&mut self, program: &Program) -> Result<(), CastFault> {
        let Size { columns, rows } = drawn(program.terminal.unwrap_or(DEFAULT_SIZE));
        let timestamp = self.recording.opened.wall.as_second();
        let (command, title) = (program.command.as_deref(), self.options.title.as_deref());
        let env = program.term.as_deref().map(|term| Env { term });
        match self.options.version {
            CastVersion::V3 => {
                let term = Term { cols: columns, rows, kind: program.term.as_deref() };
                self.line(&HeaderV3 { version: 3, term, timestamp, command, title })
            }
            CastVersion::V2 => {
                self.line(&HeaderV2 { version: 2, width: columns, height: rows, timestamp, command, title, env })
            }
        }
    }

    fn show(&mut self, moment: &Moment) -> Result<(), CastFault> {
        let Stage::Running(running) = &mut self.stage else { return Ok(()) };
        running.last_at = running.last_at.max(moment.at);
        match &moment.what {
            What::Data(stream, bytes) => {
                let input = matches!(stream, Stream::In);
                let mut text = running.text(*stream, bytes);
                if input {
                    text = running.mask.typed(&text);
                } else if !matches!(stream, Stream::GateIn) {
                    running.mask.shown(&text);
                    if !running.has_terminal {
                        text = text.replace('\n', "\r\n");
                    }
                }
                match stream {
                    Stream::In if self.options.input => self.event(moment.at, "i", &text),
                    Stream::In | Stream::GateIn | Stream::None => Ok(()),
                    Stream::Out | Stream::OutErr | Stream::GateOut | Stream::GateOutErr => {
                        self.event(moment.at, "o", &text)
                    }
                }
            }
            What::Note(Note::Resize { size }) => {
                let Size { columns, rows } = drawn(*size);
                self.event(moment.at, "r", &format!("{columns}x{rows}"))
            }
            What::Note(Note::ExitStatus { status }) => {
                running.exit = Some(*status);
                Ok(())
            }
            What::Note(Note::ExitSignal { name, .. }) => self.event(moment.at, "m", &format!("ended by signal {name}")),
            _ => self.mark(moment),
        }
    }

    /// What the gate did stands beside the terminal, as a marker.
    fn mark(&mut self, moment: &Moment) -> Result<(), CastFault> {
        match remarks::of(moment) {
            Some(words) => self.event(moment.at, "m", &format!("gate: {words}")),
            None => Ok(()),
        }
    }

    fn event(&mut self, at: Duration, code: &str, data: &str) -> Result<(), CastFault> {
        let Stage::Running(running) = &mut self.stage else { return Ok(()) };
        if data.is_empty() {
            return Ok(());
        }
        let micros = at.as_micros().max(running.last_micros);
        let time = match self.options.version {
            CastVersion::V3 => micros - running.last_micros,
            CastVersion::V2 => micros,
        };
        running.last_micros = micros;
        running.events += 1;
        let data = serde_json::to_string(data).expect("a text is JSON");
        writeln!(self.out, "[{}.{:06}, \"{code}\", {data}]", time / 1_000_000, time % 1_000_000)?;
        Ok(())
    }

    fn finish(mut self) -> Result<Cast, CastFault> {
        let Stage::Running(running) = &mut self.stage else { return Err(CastFault::NoTerminal) };
        let (channel, at, exit) = (running.channel, running.last_at, running.exit);
        let mut rest = String::new();
        for (_, text) in running.texts.iter_mut().filter(|(stream, _)| *stream != Stream::In) {
            text.finish(&mut rest);
        }
        self.event(at, "o", &rest)?;
        if let (Some(status), CastVersion::V3) = (exit, self.options.version) {
            self.event(at, "x", &status.to_string())?;
        }
        self.out.flush()?;
        match self.stage {
            Stage::Running(running) => Ok(Cast { channel, events: running.events }),
            Stage::Before(_) => Err(CastFault::NoTerminal),
        }
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), CastFault> {
        let line = serde_json::to_string(value).expect("a header has string keys and whole numbers");
        writeln!(self.out, "{line}")?;
        Ok(())
    }
}

impl Running {
    fn text(&mut self, stream: Stream, bytes: &[u8]) -> String {
        let mut text = String::new();
        if let Some((_, carry)) = self.texts.iter_mut().find(|(known, _)| *known == stream) {
            carry.push(bytes, &mut text);
        }
        text
    }
}

#[derive(Serialize)]
struct HeaderV3<'a> {
    version: u8,
    term: Term<'a>,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
}

#[derive(Serialize)]
struct Term<'a> {
    cols: u32,
    rows: u32,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
}

#[derive(Serialize)]
struct HeaderV2<'a> {
    version: u8,
    width: u32,
    height: u32,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<Env<'a>>,
}

#[derive(Serialize)]
struct Env<'a> {
    #[serde(rename = "TERM")]
    term: &'a str,
}

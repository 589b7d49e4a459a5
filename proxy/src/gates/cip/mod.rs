//! EtherNet/IP with CIP, decoded and nothing else: how Studio 5000 and a Logix controller take a refusal was never tried, and a
//! tool that loses its session in the middle of an edit does harm. So there is no mode to choose here, and only `tunnel` can
//! be granted; what passes is told in words, each service by itself.

mod frame;
mod request;
#[cfg(test)]
mod tests;
mod values;

use policies::actions::Action;
use policies::plant::Protocol;

pub use frame::Frame;
pub use request::{Request, classify};

use super::reading::{Desk, Polled, Reading, Stop, Talk};
use super::told::{Kind, Told, Verb};
use super::waiting::{Asked, Place};
use super::{Gate, Mode, Piece, Verdict};
use frame::{Command, Stream};

/// Reads one EtherNet/IP connection, and lets everything pass.
pub fn gate() -> Box<dyn Gate> {
    Box::new(Reading::new(Mode::Decode, Objects::default(), Stream::default(), Stream::default()))
}

/// What of the gate is CIP's own.
#[derive(Debug, Default)]
struct Objects {
    polled: Polled,
}

/// An answer repeats a frame's context, or on a connection the message's number.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    number: Number,
    services: Vec<(Kind, Told)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Context([u8; 8]),
    Sequence(u16),
}

impl Number {
    fn of(frame: &Frame) -> Self {
        let sequence = frame.message().and_then(|carried| carried.sequence);
        sequence.map_or_else(|| Self::Context(frame.context()), Self::Sequence)
    }
}

impl Talk for Objects {
    const PROTOCOL: Protocol = Protocol::Cip;
    const NAME: &'static str = "EtherNet/IP";
    type Messages = Stream;
    type Key = Key;

    fn request(&mut self, frame: &Frame, desk: &mut Desk<'_, Key>) -> Result<(), Stop> {
        desk.passed.to_target.push(Piece::Passed(frame.bytes().clone()));
        let requests = requests(frame);
        let is_read = requests.iter().all(|request| request.class == Some(Action::Observe));
        let is_input = !is_read || !self.polled.again(shape(frame));
        let services: Vec<(Kind, Told)> = requests.into_iter().map(service).collect();
        let verdict = |(kind, told): &(Kind, Told)| told.verdict(kind.clone(), None, is_input);
        desk.passed.verdicts.extend(services.iter().map(verdict));
        if let Some((kind, told)) = services.first().cloned() {
            let key = Key { number: Number::of(frame), services };
            desk.waiting.add(Place::Asked(Asked::new(key, kind, told, desk.now)));
        }
        Ok(())
    }

    fn answer(&mut self, frame: &Frame, desk: &mut Desk<'_, Key>) -> Result<(), Stop> {
        desk.passed.to_technician.push(Piece::Passed(frame.bytes().clone()));
        let number = Number::of(frame);
        if let Some(asked) = desk.waiting.answered_by(|key| key.number == number, desk.now) {
            desk.passed.verdicts.extend(told_no(frame, &asked.key.services));
        }
        Ok(())
    }
}

fn service(request: Request) -> (Kind, Told) {
    (Kind { protocol: Protocol::Cip, class: request.class, code: request.code }, request.told)
}

/// What a frame asks.
fn requests(frame: &Frame) -> Vec<Request> {
    let one = |verb, object: &str| {
        let told = Told::of(verb, object.to_owned());
        vec![Request { class: Some(Action::Observe), code: format!("{:?}", frame.command()), told }]
    };
    match frame.command() {
        Command::Nop | Command::IndicateStatus | Command::Cancel => Vec::new(),
        Command::ListServices => one(Verb::READ, "the list of services"),
        Command::ListIdentity => one(Verb::READ, "who the target is"),
        Command::ListInterfaces => one(Verb::READ, "the list of interfaces"),
        Command::RegisterSession => one(Verb::new("open", "opened"), "a session"),
        Command::UnregisterSession => one(Verb::new("close", "closed"), "the session"),
        Command::SendRrData | Command::SendUnitData => match frame.message() {
            Some(carried) => classify(carried.message),
            None => {
                let told = Told::of(Verb::SEND, "a frame whose items do not fit it".to_owned());
                vec![Request { class: None, code: format!("{:?}", frame.command()), told }]
            }
        },
    }
}

/// What does not change when a program polls.
fn shape(frame: &Frame) -> &[u8] {
    frame.message().map_or(&frame.bytes()[..2], |carried| carried.message)
}

/// The target's no to each service, where it said no.
fn told_no(frame: &Frame, services: &[(Kind, Told)]) -> Vec<Verdict> {
    let answered = |(kind, told): &(Kind, Told), no: String| {
        told.outcome(kind.clone(), format!("the target answered {no} when asked to {}", told.infinitive()), None)
    };
    if frame.status() != 0 {
        let no = format!("encapsulation status {:02x}", frame.status());
        return services.iter().map(|service| answered(service, no.clone())).collect();
    }
    let Some(carried) = frame.message() else { return Vec::new() };
    let statuses = statuses(carried.message);
    let each = services.iter().zip(&statuses).filter(|(_, status)| **status != 0);
    each.map(|(service, status)| answered(service, status_name(*status))).collect()
}

/// The status of each service in an answer: service, 0, status, size of more; then, of several in one, their answers.
fn statuses(answer: &[u8]) -> Vec<u8> {
    let [service, _, status, more, data @ ..] = answer else { return Vec::new() };
    let inside = data.get(2 * usize::from(*more)..).filter(|_| *service == 0x8a).and_then(request::several);
    match inside {
        Some(answers) => answers.iter().map(|answer| answer.get(2).copied().unwrap_or_default()).collect(),
        None => vec![*status],
    }
}

fn status_name(status: u8) -> String {
    let name = match status {
        0x01 => "connection failure",
        0x02 => "resource unavailable",
        0x03 => "invalid parameter value",
        0x04 => "path segment error",
        0x05 => "path destination unknown",
        0x06 => "partial transfer",
        0x08 => "service not supported",
        0x09 => "invalid attribute value",
        0x0c => "object state conflict",
        0x0e => "attribute not settable",
        0x0f => "privilege violation",
        0x10 => "device state conflict",
        0x13 => "not enough data",
        0x14 => "attribute not supported",
        0x15 => "too much data",
        0x16 => "object does not exist",
        0x1e => "an error in one of several services",
        0xff => "general error",
        _ => "an error",
    };
    format!("{name} ({status:02x})")
}

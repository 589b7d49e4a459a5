//! S7comm over ISO on TCP: what STEP 7 and panels speak with S7-300 and S7-400, and what S7-1200 and S7-1500 still answer.
//! Each job and each userdata request is judged when all packets of its message are there. S7comm-plus on the same port can
//! neither be read nor answered, and is closed.
//!
//! In a download the roles turn round: after the technician's program asked for it the target asks for the data. So the
//! program's answers pass only where the target asked, and only after a download was let begin.

mod items;
mod packets;
mod pdu;
mod request;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use policies::actions::Action;
use policies::plant::Protocol;

pub use packets::Message;
pub use request::{Classified, Request, classify, refuse};

use super::reading::{Desk, Gone, Polled, Reading, Stop, Talk};
use super::told::{self, Told, Verb};
use super::waiting::{Asked, Place};
use super::{Gate, Mode, Piece};
use packets::{Stream, Tpdu};
use pdu::{Kind, Pdu, Reason, disconnect};
use request::source;

/// How long a download may be silent and is still taken to be running.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How many of the target's own jobs may wait: more than any CPU has under way.
const TARGET_JOBS_MAX: usize = 16;

/// Reads one S7 connection.
pub fn gate(mode: Mode) -> Box<dyn Gate> {
    Box::new(Reading::new(mode, Blocks::default(), Stream::default(), Stream::default()))
}

/// What of the gate is S7's own.
#[derive(Debug, Default)]
struct Blocks {
    has_begun: bool,
    polled: Polled,
    /// References and functions of what the target asked and the program did not answer.
    asked_by_target: VecDeque<(u16, Option<u8>)>,
    download: Option<Download>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Download {
    last: Instant,
    /// The last block is over, and what was downloaded is not yet activated.
    is_over: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    /// With the reference that the asker gave itself.
    Connect(u16),
    Job {
        reference: u16,
        function: Option<u8>,
        activates: bool,
    },
    Userdata(u16),
}

const REQUEST_DOWNLOAD: u8 = 0x1a;
const DOWNLOAD_BLOCK: u8 = 0x1b;
const DOWNLOAD_ENDED: u8 = 0x1c;

impl Talk for Blocks {
    const PROTOCOL: Protocol = Protocol::S7;
    const NAME: &'static str = "S7comm";
    type Messages = Stream;
    type Key = Key;

    fn request(&mut self, message: &Message, desk: &mut Desk<'_, Key>) -> Result<(), Stop> {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        if matches!(message.tpdu, Tpdu::Connect(_)) != is_first {
            return Err(Stop::Unreadable("a connection does not begin with its request, or begins twice".to_owned()));
        }
        match classify(message).map_err(Stop::Unreadable)? {
            Classified::Request(request) => self.judge(message, request, desk),
            Classified::Answer => {
                self.answer_to_target(message, desk);
                Ok(())
            }
            Classified::Goodbye => {
                desk.passed.to_target.push(Piece::Passed(message.bytes().clone()));
                Ok(())
            }
            Classified::Plus => Err(Stop::Refused(
                "S7comm-plus, which S7-1200 and S7-1500 speak with TIA Portal, cannot be read; ask for the action tunnel"
                    .to_owned(),
            )),
            Classified::Foreign => Err(Stop::Refused(
                "neither S7comm nor S7comm-plus, but another protocol on this port; ask for the action tunnel".to_owned(),
            )),
        }
    }

    fn answer(&mut self, message: &Message, desk: &mut Desk<'_, Key>) -> Result<(), Stop> {
        match &message.tpdu {
            Tpdu::Connect(_) => return Err(Stop::Unreadable("a target does not ask to connect".to_owned())),
            Tpdu::Confirm => {
                desk.waiting.answered_by(|key| matches!(key, Key::Connect(_)), desk.now);
            }
            Tpdu::Disconnect | Tpdu::Error => {}
            Tpdu::Data(data) if data.first() == Some(&0x32) => {
                let pdu = Pdu::parse(data).map_err(Stop::Unreadable)?;
                match pdu.kind {
                    Kind::Ack(..) if !self.acknowledged(&pdu, desk) => {
                        unasked(message, &pdu, desk);
                        return Ok(());
                    }
                    Kind::Ack(..) => {}
                    Kind::Job => self.asked(&pdu, desk.now),
                    Kind::Userdata => userdata(&pdu, desk),
                }
            }
            Tpdu::Data(_) => return Err(Stop::Unreadable("a message that is no S7comm".to_owned())),
        }
        desk.passed.to_technician.push(Piece::Passed(message.bytes().clone()));
        Ok(())
    }

    fn is_transferring(&self, now: Instant) -> bool {
        self.download.is_some_and(|download| now.saturating_duration_since(download.last) < SILENCE_MAX)
    }

    fn in_its_stead(key: &Key, why: Gone) -> Option<Bytes> {
        match (key, why) {
            (Key::Connect(source), Gone::Unreachable) => Some(disconnect(*source, Reason::NotAttached)),
            _ => None,
        }
    }
}

impl Blocks {
    fn judge(&mut self, message: &Message, request: Request, desk: &mut Desk<'_, Key>) -> Result<(), Stop> {
        let class = request.need.class();
        let is_read = matches!(class, Some(Action::Observe | Action::Upload));
        let is_input = !is_read || !self.polled.again(&shape(message));
        let refused = match desk.mode.may_pass(desk.judge, request.need) {
            Err(why) => Some(why),
            Ok(()) if request.is_misshapen && desk.mode == Mode::Enforce => Some("its items do not fit it".to_owned()),
            Ok(()) => None,
        };
        let kind = told::Kind { protocol: Protocol::S7, class, code: request.code };
        desk.passed.verdicts.push(request.told.verdict(kind.clone(), refused.clone(), is_input));
        let Some(why) = refused else {
            desk.passed.to_target.push(Piece::Passed(message.bytes().clone()));
            if let Some(key) = key(message, &kind.code) {
                if let (Some(download), Key::Job { activates: true, .. }) = (&mut self.download, &key) {
                    download.last = desk.now;
                }
                desk.waiting.add(Place::Asked(Asked::new(key, kind, request.told, desk.now)));
            }
            return Ok(());
        };
        let answer = refuse(message);
        if matches!(message.tpdu, Tpdu::Connect(_)) {
            desk.passed.to_technician.extend(answer.map(Piece::Made));
            return Err(Stop::Refused(why));
        }
        desk.passed.to_target.push(Piece::LeftOut(message.bytes().len()));
        if let Some(answer) = answer {
            desk.waiting.add(Place::Made(answer));
        }
        Ok(())
    }

    /// The program answers what the target asked in a download.
    fn answer_to_target(&mut self, message: &Message, desk: &mut Desk<'_, Key>) {
        let Tpdu::Data(data) = &message.tpdu else { return };
        let Ok(pdu) = Pdu::parse(data) else { return };
        let fits = |asked: &(u16, Option<u8>)| {
            asked.0 == pdu.reference && (pdu.function().is_none() || asked.1 == pdu.function())
        };
        let position = self.asked_by_target.iter().position(fits);
        let function = position.and_then(|position| self.asked_by_target.remove(position)).and_then(|asked| asked.1);
        let may = desk.mode == Mode::Decode || (function.is_some() && self.download.is_some());
        if may {
            self.transferred(function, desk.now);
            desk.passed.to_target.push(Piece::Passed(message.bytes().clone()));
            return;
        }
        desk.passed.to_target.push(Piece::LeftOut(message.bytes().len()));
        let told = Told::of(Verb::SEND, "an answer to nothing that the target asked in a download".to_owned());
        let kind = told::Kind { protocol: Protocol::S7, class: None, code: "03".to_owned() };
        desk.passed.verdicts.push(told.verdict(kind, Some("the target did not ask for it".to_owned()), false));
    }

    fn transferred(&mut self, function: Option<u8>, now: Instant) {
        if let Some(download) = &mut self.download {
            download.last = now;
            download.is_over = function == Some(DOWNLOAD_ENDED);
        }
    }

    /// The target asks something of the program.
    fn asked(&mut self, pdu: &Pdu, now: Instant) {
        if self.asked_by_target.len() >= TARGET_JOBS_MAX {
            self.asked_by_target.pop_front();
        }
        self.asked_by_target.push_back((pdu.reference, pdu.function()));
        if let (Some(download), Some(DOWNLOAD_BLOCK | DOWNLOAD_ENDED)) = (&mut self.download, pdu.function()) {
            download.last = now;
        }
    }

    /// The target answers a job; false where nothing waits for that.
    fn acknowledged(&mut self, pdu: &Pdu, desk: &mut Desk<'_, Key>) -> bool {
        let answer = pdu.function();
        let fits = |key: &Key| match key {
            Key::Job { reference, function, .. } => {
                *reference == pdu.reference && (answer.is_none() || *function == answer)
            }
            _ => false,
        };
        let Some(asked) = desk.waiting.answered_by(fits, desk.now) else { return false };
        let Kind::Ack(class, code) = pdu.kind else { return false };
        let is_yes = (class, code) == (0, 0);
        match asked.key {
            Key::Job { function: Some(REQUEST_DOWNLOAD), .. } if is_yes => {
                self.download = Some(Download { last: desk.now, is_over: false });
            }
            Key::Job { activates: true, .. } if self.download.is_some_and(|download| download.is_over) => {
                self.download = None;
            }
            _ => {}
        }
        if let Some(no) = no(pdu, class, code) {
            let words = format!("the target answered {no} when asked to {}", asked.told.infinitive());
            desk.passed.verdicts.push(asked.told.outcome(asked.kind, words, None));
        }
        true
    }
}

fn userdata(pdu: &Pdu, desk: &mut Desk<'_, Key>) {
    let Some(asked) = desk.waiting.answered_by(|key| *key == Key::Userdata(pdu.reference), desk.now) else { return };
    if let Some((class, code)) = pdu.userdata_error() {
        let words =
            format!("the target answered {} when asked to {}", error_name(class, code), asked.told.infinitive());
        desk.passed.verdicts.push(asked.told.outcome(asked.kind, words, None));
    }
}

/// An answer to no job, or a second one.
fn unasked(message: &Message, pdu: &Pdu, desk: &mut Desk<'_, Key>) {
    let function = pdu.function().map_or_else(String::new, |function| format!(" of function {function:02x}"));
    let what = format!("an answer{function} that nothing waits for, reference {}", pdu.reference);
    let told = Told { verb: Verb::SEND, rest: what, object: None, value: None };
    let kind = told::Kind { protocol: Protocol::S7, class: None, code: "03".to_owned() };
    desk.unasked(kind, &told, message.bytes());
}

/// What an answer has to fit.
fn key(message: &Message, code: &str) -> Option<Key> {
    let data = match &message.tpdu {
        Tpdu::Connect(rest) => return Some(Key::Connect(source(rest))),
        Tpdu::Data(data) => data,
        _ => return None,
    };
    let pdu = Pdu::parse(data).ok()?;
    match (pdu.kind, pdu.userdata()) {
        (Kind::Job, _) => {
            let activates = matches!(code, "28 _INSE" | "28 _INS2");
            Some(Key::Job { reference: pdu.reference, function: pdu.function(), activates })
        }
        (Kind::Userdata, Some(userdata)) if userdata.direction == 4 => Some(Key::Userdata(pdu.reference)),
        _ => None,
    }
}

/// A message but for its reference, which a program counts up.
fn shape(message: &Message) -> Vec<u8> {
    match &message.tpdu {
        Tpdu::Data(data) if data.len() > 6 => [&data[..4], &data[6..]].concat(),
        _ => message.bytes().to_vec(),
    }
}

/// Why the target did not do it, or not all of it.
fn no(pdu: &Pdu, class: u8, code: u8) -> Option<String> {
    if (class, code) != (0, 0) {
        return Some(error_name(class, code));
    }
    let items = match pdu.function() {
        Some(0x05) => &pdu.data[..],
        Some(0x04) => pdu.data.get(..1).unwrap_or_default(),
        _ => return None,
    };
    items.iter().find(|code| **code != 0xff).map(|code| item_name(*code))
}

fn error_name(class: u8, code: u8) -> String {
    let name = match (class, code) {
        (0x87, 0x03) => "access to the object refused",
        (0xd2, 0x41) => "not permitted in the current protection level",
        (0x81, _) => "an application error",
        (0x82, _) => "an error in the object",
        (0x83, _) => "no resources",
        (0x84, _) => "an error in the service",
        (0x85, _) => "an error in what was supplied",
        (0x87, _) => "an access error",
        _ => "an error",
    };
    format!("{name} ({class:02x} {code:02x})")
}

fn item_name(code: u8) -> String {
    let name = match code {
        0x01 => "hardware error",
        0x03 => "access not allowed",
        0x05 => "invalid address",
        0x06 => "data type not supported",
        0x07 => "data type inconsistent",
        0x0a => "object does not exist",
        _ => "an error",
    };
    format!("{name} ({code:02x})")
}

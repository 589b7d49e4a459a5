//! A session of two TCP connections, as a relay records one: Modbus through a gate, and a tunnel.

use policies::actions::Action;
use policies::plant::Protocol;
use recordings::frame::Stream;
use recordings::leaf::Direction;
use recordings::notes::{Note, Splice};
use recordings::operation::Operation;

use super::{Lack, Session, Store, label};

/// Reads two registers from 100 on.
pub const READ: &[u8] = &[0, 1, 0, 0, 0, 6, 1, 3, 0, 100, 0, 2];
pub const ANSWER: &[u8] = &[0, 1, 0, 0, 0, 7, 1, 3, 4, 0, 55, 0, 56];
/// Writes 55 to register 100, and what the gate says to it.
pub const WRITE: &[u8] = &[0, 2, 0, 0, 0, 6, 1, 6, 0, 100, 0, 55];
pub const REFUSED: &[u8] = &[0, 2, 0, 0, 0, 3, 1, 0x86, 1];
pub const TLS: &[u8] = &[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3, 7, 7];

fn operation(class: Action, code: &str, value: Option<&str>, refused: Option<&str>) -> Option<Box<Operation>> {
    Some(Box::new(Operation {
        protocol: Protocol::Modbus,
        class: Some(class),
        code: code.into(),
        object: Some("holding register 40101 (address 100), unit 1".into()),
        value: value.map(Into::into),
        rule: Some(label("maintenance")),
        refused: refused.map(Into::into),
        times: 1,
    }))
}

pub fn read() -> Note {
    let words = "read 2 holding registers from 40101 (address 100), unit 1".into();
    Note::GateVerdict {
        allowed: true,
        words,
        operation: operation(Action::Observe, "3", None, None),
        spliced: Vec::new(),
        checked: None,
    }
}

fn refused(spliced: Vec<Splice>) -> Note {
    let words = "refused to write 55 to holding register 40101 (address 100), unit 1".into();
    let operation = operation(Action::Operate, "6", Some("55"), Some("your grant holds observe"));
    Note::GateVerdict { allowed: false, words, operation, spliced, checked: None }
}

pub fn opened(to: &str, from: Option<&str>) -> Note {
    Note::ChannelOpen { kind: "tls".into(), to: Some(to.into()), from: from.map(Into::into) }
}

/// A read, and a write that is refused while the answer to the next read is half here; then what found no taker.
pub fn worked(session: &mut Session, channel: u32, knows_places: bool) {
    let half = 8;
    session.note(channel, &opened("10.20.2.7:502", Some("192.0.2.7:50111")));
    session.data(channel, Stream::In, READ).note(channel, &read()).data(channel, Stream::Out, ANSWER);
    // Two requests and a half of one in a segment: the gate answers the second between the answers to the first and third.
    session.data(channel, Stream::In, &[READ, WRITE, &READ[..half]].concat());
    let answered = [ANSWER, &ANSWER[..half]].concat();
    session.note(channel, &read()).data(channel, Stream::Out, &answered).data(channel, Stream::GateOut, REFUSED);
    let (read_bytes, answer_bytes) = (READ.len() as u64, ANSWER.len() as u64);
    let left_out = Splice { from_target: false, at: 2 * read_bytes, left_out: WRITE.len() as u64, made: 0 };
    let made = Splice { from_target: true, at: 2 * answer_bytes, left_out: 0, made: REFUSED.len() as u64 };
    session.note(channel, &refused(if knows_places { vec![left_out, made] } else { Vec::new() }));
    session.data(channel, Stream::In, &READ[half..]).note(channel, &read()).data(channel, Stream::Out, &ANSWER[half..]);
    session.data(channel, Stream::Out, b"late");
    session.note(channel, &Note::Eof { from_target: true }).note(channel, &Note::ChannelClose);
    session.lacks(Direction::In, channel, Lack::Refused, WRITE.len() as u64);
    session.lacks(Direction::Out, channel, Lack::Undelivered, 4);
}

pub fn tunnelled(session: &mut Session, channel: u32) {
    session.note(channel, &opened("[fd00::7]:443", None)).data(channel, Stream::In, TLS).data(
        channel,
        Stream::Out,
        TLS,
    );
    session.note(channel, &Note::ChannelClose);
}

/// A sealed session of both.
pub fn store(knows_places: bool) -> Store {
    let (mut store, grant) = Store::granted_to("modbus", Action::Observe);
    let mut session = store.begin_at("modbus", Action::Observe, grant);
    worked(&mut session, 1, knows_places);
    tunnelled(&mut session, 2);
    store.end(session);
    store.close();
    store
}

//! The PDUs inside messages: read, and made where the gate answers itself.

use bytes::{BufMut, Bytes, BytesMut};

/// Remote operating service control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Job,
    /// An answer without data, or the class and code of an error.
    Ack(u8, u8),
    Userdata,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pdu {
    pub(super) kind: Kind,
    pub(super) reference: u16,
    pub(super) parameters: Bytes,
    pub(super) data: Bytes,
}

impl Pdu {
    /// Reads one that fills its message.
    pub(super) fn parse(message: &Bytes) -> Result<Self, String> {
        let word = |n: usize| message.get(n..n + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        let (Some(reference), Some(parameters), Some(data)) = (word(4), word(6), word(8)) else {
            return Err("a PDU without its head".to_owned());
        };
        let (kind, head) = match (message[1], message.get(10..12)) {
            (1, _) => (Kind::Job, 10),
            (2 | 3, Some(error)) => (Kind::Ack(error[0], error[1]), 12),
            (7, _) => (Kind::Userdata, 10),
            (other, _) => return Err(format!("a PDU of kind {other:02x}")),
        };
        let parameters_end = head + usize::from(parameters);
        if parameters_end + usize::from(data) != message.len() {
            return Err("a PDU that is not as long as it says".to_owned());
        }
        let (parameters, data) = (message.slice(head..parameters_end), message.slice(parameters_end..));
        Ok(Self { kind, reference, parameters, data })
    }

    /// Of a job and its answer.
    pub(super) fn function(&self) -> Option<u8> {
        self.parameters.first().copied()
    }

    /// Of userdata.
    pub(super) fn userdata(&self) -> Option<Userdata> {
        // 00 01 12, length, method, direction and group, sub-function, sequence
        let [0, 1, 0x12, _, _, direction_and_group, subfunction, sequence, ..] = self.parameters[..] else {
            return None;
        };
        let (direction, group) = (direction_and_group >> 4, direction_and_group & 0x0f);
        Some(Userdata { direction, group, subfunction, sequence })
    }

    /// What userdata answers with: its own error code.
    pub(super) fn userdata_error(&self) -> Option<(u8, u8)> {
        self.parameters.get(10..12).map(|error| (error[0], error[1])).filter(|error| *error != (0, 0))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Userdata {
    /// 4 asks, 8 answers, 0 tells unasked.
    pub(super) direction: u8,
    pub(super) group: u8,
    pub(super) subfunction: u8,
    pub(super) sequence: u8,
}

/// The no to a request: for each item of a read or write, else to the whole job, or in userdata's own form.
pub(super) fn refusal(asked: &Pdu) -> Bytes {
    match (asked.kind, asked.function(), asked.parameters.get(1)) {
        (Kind::Userdata, ..) => refused_userdata(asked),
        (_, Some(0x05), Some(items @ 1..)) => {
            job(asked.reference, (0, 0), &[0x05, *items], &vec![0x03; usize::from(*items)])
        }
        (_, Some(0x04), Some(items @ 1..)) => {
            job(asked.reference, (0, 0), &[0x04, *items], &[0x03, 0, 0, 0].repeat(usize::from(*items)))
        }
        (_, Some(function), _) => job(asked.reference, (0x87, 0x03), &[function], &[]),
        (_, None, _) => job(asked.reference, (0x87, 0x03), &[], &[]),
    }
}

fn refused_userdata(asked: &Pdu) -> Bytes {
    let nothing = Userdata { direction: 4, group: 0, subfunction: 0, sequence: 0 };
    let Userdata { group, subfunction, sequence, .. } = asked.userdata().unwrap_or(nothing);
    let parameters = [0, 1, 0x12, 8, 0x12, 0x80 | group, subfunction, sequence, 0, 0, 0xd2, 0x41];
    message(&[0x07], asked.reference, (12, 4), &[&parameters[..], &[0x0a, 0, 0, 0]].concat())
}

fn job(reference: u16, error: (u8, u8), parameters: &[u8], data: &[u8]) -> Bytes {
    let lengths = (length(parameters), length(data));
    message(&[0x03], reference, lengths, &[&[error.0, error.1][..], parameters, data].concat())
}

fn length(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).expect("an answer is short")
}

fn message(kind: &[u8; 1], reference: u16, (parameters, data): (u16, u16), rest: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(17 + rest.len());
    message.put_slice(&[0x03, 0]);
    message.put_u16(length(rest) + 17);
    message.put_slice(&[0x02, 0xf0, 0x80, 0x32, kind[0], 0, 0]);
    message.put_u16(reference);
    message.put_u16(parameters);
    message.put_u16(data);
    message.put_slice(rest);
    message.freeze()
}

/// The no to a connection request, for the reference that its asker gave itself.
pub(super) fn disconnect(source: u16, reason: Reason) -> Bytes {
    let [high, low] = source.to_be_bytes();
    Bytes::copy_from_slice(&[0x03, 0, 0, 0x0b, 0x06, 0x80, high, low, 0, 0, reason as u8])
}

/// ISO 8073, 13.5.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    NotSpecified = 0,
    NotAttached = 2,
}

//! Whole messages out of a stream of TPKT packets (RFC 1006) with the TPDUs of ISO 8073 class 0 in them. A message may be cut
//! into several data TPDUs, of which the last says so; it is whole only then.

use bytes::{Bytes, BytesMut};

use crate::gates::frames::Frames;
use crate::gates::reading::Messages;

/// Version, reserved, length of the whole packet.
const HEAD_BYTES: usize = 4;

/// ISO 8073's longest TPDU, which is more than any CPU agrees to (960).
pub(super) const MESSAGE_BYTES_MAX: usize = 8192;

/// A head and a data TPDU without data.
const PACKET_BYTES_MIN: usize = 7;
pub(super) const PACKET_BYTES_MAX: usize = HEAD_BYTES + MESSAGE_BYTES_MAX;

/// With the heads of the packets it came in.
pub(super) const CUT_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    bytes: Bytes,
    pub(super) tpdu: Tpdu,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tpdu {
    /// CR, with what follows its type.
    Connect(Bytes),
    /// CC.
    Confirm,
    /// DR.
    Disconnect,
    /// ER.
    Error,
    /// All data up to the end of the message.
    Data(Bytes),
}

impl Message {
    /// One message, and nothing behind it.
    pub fn parse(bytes: &Bytes) -> Option<Self> {
        let mut rest = bytes.clone();
        let message = Stream::default().next(&mut rest).ok().flatten()?;
        rest.is_empty().then_some(message)
    }

    /// As it came, in one packet or several.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// One direction.
#[derive(Debug)]
pub(in crate::gates) struct Stream {
    packets: Frames,
    /// The packets of a message that is not whole.
    cut: BytesMut,
    data: BytesMut,
}

impl Default for Stream {
    fn default() -> Self {
        Self { packets: Frames::new(measure, HEAD_BYTES), cut: BytesMut::new(), data: BytesMut::new() }
    }
}

impl Messages for Stream {
    type Message = Message;

    fn next(&mut self, chunk: &mut Bytes) -> Result<Option<Message>, String> {
        while let Some(packet) = self.packets.next(chunk)? {
            let whole = self.packet(&packet);
            match whole {
                Ok(Some(tpdu)) if self.cut.is_empty() => return Ok(Some(Message { bytes: packet, tpdu })),
                Ok(whole) => {
                    self.cut.extend_from_slice(&packet);
                    if let Some(tpdu) = whole {
                        return Ok(Some(Message { bytes: self.cut.split().freeze(), tpdu }));
                    }
                }
                Err(why) => {
                    self.cut.extend_from_slice(&packet);
                    return Err(why);
                }
            }
        }
        Ok(None)
    }

    fn bytes(message: &Message) -> Bytes {
        message.bytes.clone()
    }

    fn give_up(&mut self) -> Bytes {
        self.data.clear();
        self.cut.extend_from_slice(&self.packets.give_up());
        self.cut.split().freeze()
    }
}

impl Stream {
    fn packet(&mut self, packet: &Bytes) -> Result<Option<Tpdu>, String> {
        let (length, kind) = (usize::from(packet[4]), packet[5]);
        if kind == 0xf0 {
            return self.data(packet, length);
        }
        if !self.cut.is_empty() {
            return Err("something else in the middle of a message".to_owned());
        }
        if HEAD_BYTES + 1 + length != packet.len() {
            return Err("a TPDU that is not as long as its packet".to_owned());
        }
        let rest = packet.slice(HEAD_BYTES + 2..);
        match kind {
            0xe0 if rest.len() >= 5 => Ok(Some(Tpdu::Connect(rest))),
            0xd0 if rest.len() >= 5 => Ok(Some(Tpdu::Confirm)),
            0x80 if rest.len() >= 5 => Ok(Some(Tpdu::Disconnect)),
            0x70 => Ok(Some(Tpdu::Error)),
            other => Err(format!("a TPDU of type {other:02x}")),
        }
    }

    fn data(&mut self, packet: &Bytes, length: usize) -> Result<Option<Tpdu>, String> {
        if length != 2 {
            return Err("a data TPDU of another class than 0".to_owned());
        }
        let data = packet.slice(PACKET_BYTES_MIN..);
        let too_long =
            self.data.len() + data.len() > MESSAGE_BYTES_MAX || self.cut.len() + packet.len() > CUT_BYTES_MAX;
        if too_long {
            return Err(format!("a message of more than {MESSAGE_BYTES_MAX} bytes"));
        }
        let is_last = packet[6] & 0x80 != 0;
        if is_last && self.cut.is_empty() {
            return Ok(Some(Tpdu::Data(data)));
        }
        self.data.extend_from_slice(&data);
        Ok(is_last.then(|| Tpdu::Data(self.data.split().freeze())))
    }
}

fn measure(head: &[u8]) -> Result<Option<usize>, String> {
    let byte = |n: usize| head.get(n).copied();
    if byte(0).unwrap_or(3) != 3 || byte(1).unwrap_or(0) != 0 {
        return Err("no TPKT packet begins so".to_owned());
    }
    let Some(high) = byte(2) else { return Ok(None) };
    // Without its lower byte, the length is at least this.
    let low = byte(3);
    let length = usize::from(u16::from_be_bytes([high, low.unwrap_or(0)]));
    if length > PACKET_BYTES_MAX || (low.is_some() && length < PACKET_BYTES_MIN) {
        return Err(format!("a packet of less than {PACKET_BYTES_MIN} or more than {PACKET_BYTES_MAX} bytes"));
    }
    Ok(low.map(|_| length))
}

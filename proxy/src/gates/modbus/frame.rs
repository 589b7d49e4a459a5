//! Whole Modbus/TCP frames out of a stream, after *MODBUS Messaging on TCP/IP Implementation Guide* 1.0b, 3.1.

use bytes::Bytes;

use crate::gates::frames::Frames;
use crate::gates::reading::Messages;

/// Transaction, protocol and length.
const HEAD_BYTES: usize = 6;

/// What the length field may say: a unit and a function, up to a unit and the longest PDU.
const LENGTHS: std::ops::RangeInclusive<u16> = 2..=254;

/// A whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame(Bytes);

impl Frame {
    /// One frame, and nothing behind it.
    pub fn parse(bytes: &Bytes) -> Option<Self> {
        let mut rest = bytes.clone();
        let frame = Stream::default().next(&mut rest).ok().flatten()?;
        rest.is_empty().then_some(frame)
    }

    /// As it came.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Chosen by the client; many always choose 0.
    pub fn transaction(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    /// Which device, where several stand behind the target.
    pub fn unit(&self) -> u8 {
        self.0[HEAD_BYTES]
    }

    /// The function code.
    pub fn function(&self) -> u8 {
        self.0[HEAD_BYTES + 1]
    }

    /// What follows the function code.
    pub fn data(&self) -> &[u8] {
        &self.0[HEAD_BYTES + 2..]
    }
}

/// One direction.
#[derive(Debug)]
pub(in crate::gates) struct Stream(Frames);

impl Default for Stream {
    fn default() -> Self {
        Self(Frames::new(measure, HEAD_BYTES))
    }
}

impl Messages for Stream {
    type Message = Frame;

    fn next(&mut self, chunk: &mut Bytes) -> Result<Option<Frame>, String> {
        Ok(self.0.next(chunk)?.map(Frame))
    }

    fn bytes(message: &Frame) -> Bytes {
        message.0.clone()
    }

    fn give_up(&mut self) -> Bytes {
        self.0.give_up()
    }
}

fn measure(head: &[u8]) -> Result<Option<usize>, String> {
    let byte = |n: usize| head.get(n).copied();
    if byte(2).unwrap_or(0) != 0 || byte(3).unwrap_or(0) != 0 {
        return Err("its protocol field is not 0".to_owned());
    }
    let Some(high) = byte(4) else { return Ok(None) };
    // Without its lower byte, the length is at least this.
    let low = byte(5);
    let length = u16::from_be_bytes([high, low.unwrap_or(0)]);
    if length > *LENGTHS.end() || (low.is_some() && length < *LENGTHS.start()) {
        return Err(format!(
            "its length field says less than {} or more than {} bytes",
            LENGTHS.start(),
            LENGTHS.end()
        ));
    }
    Ok(low.map(|_| HEAD_BYTES + usize::from(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_lies_is_found_out_before_anything_is_held() {
        for (head, why) in [
            (&[0, 1, 0, 1][..], "protocol"),
            (&[0, 1, 1], "protocol"),
            (&[0, 1, 0, 0, 0, 0], "length"),
            (&[0, 1, 0, 0, 0, 1], "length"),
            (&[0, 1, 0, 0, 0, 255], "length"),
            (&[0, 1, 0, 0, 1], "length"),
        ] {
            let mut stream = Stream::default();
            let found = |said: Result<Option<Frame>, String>| said.is_err_and(|said| said.contains(why));
            assert!(found(stream.next(&mut Bytes::copy_from_slice(head))), "{head:?}");
            assert!(stream.give_up().is_empty());
            let (last, first) = head.split_last().unwrap();
            assert_eq!(stream.next(&mut Bytes::copy_from_slice(first)), Ok(None), "{head:?}");
            assert!(found(stream.next(&mut Bytes::copy_from_slice(&[*last]))), "{head:?}");
        }
    }
}

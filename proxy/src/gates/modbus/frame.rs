//! Whole Modbus/TCP frames out of a stream, after *MODBUS Messaging on TCP/IP Implementation Guide* 1.0b, 3.1.

use bytes::{Buf, Bytes, BytesMut};

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
        let frame = Frames::default().next(&mut rest).ok().flatten()?;
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

/// Why bytes are no Modbus/TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The field that says Modbus.
    #[error("its protocol field is not 0")]
    Protocol,
    /// Longer or shorter than any frame.
    #[error("its length field says less than 2 or more than 254 bytes")]
    Length,
}

/// One direction's stream; holds less than a frame.
#[derive(Debug, Default)]
pub(super) struct Frames {
    held: BytesMut,
}

impl Frames {
    /// The next whole frame. Where there is none yet, all of the chunk is held.
    ///
    /// # Errors
    /// At the first byte that no frame can have there; nothing of the chunk was taken then.
    pub(super) fn next(&mut self, chunk: &mut Bytes) -> Result<Option<Frame>, Malformed> {
        let Some(frame_bytes) = self.frame_bytes(chunk)? else {
            self.held.extend_from_slice(chunk);
            chunk.clear();
            return Ok(None);
        };
        let missing = frame_bytes - self.held.len();
        if chunk.len() < missing {
            self.held.extend_from_slice(chunk);
            chunk.clear();
            return Ok(None);
        }
        if self.held.is_empty() {
            return Ok(Some(Frame(chunk.split_to(frame_bytes))));
        }
        self.held.extend_from_slice(&chunk[..missing]);
        chunk.advance(missing);
        Ok(Some(Frame(self.held.split().freeze())))
    }

    /// What is held of a frame that is not whole, given up.
    pub(super) fn give_up(&mut self) -> Bytes {
        self.held.split().freeze()
    }

    /// How long the frame is that begins in what is held, where enough of its head is there.
    fn frame_bytes(&self, chunk: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut head = [0; HEAD_BYTES];
        let mut known = 0;
        for (place, byte) in head.iter_mut().zip(self.held.iter().chain(chunk)) {
            *place = *byte;
            known += 1;
        }
        // Bytes that are not there yet are 0, as both bytes of the protocol and the first of the length have to be.
        if head[2] != 0 || head[3] != 0 {
            return Err(Malformed::Protocol);
        }
        let length = u16::from_be_bytes([head[4], head[5]]);
        if length > *LENGTHS.end() || (known == HEAD_BYTES && length < *LENGTHS.start()) {
            return Err(Malformed::Length);
        }
        Ok((known == HEAD_BYTES).then(|| HEAD_BYTES + usize::from(length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_lies_is_found_out_before_anything_is_held() {
        for (head, why) in [
            (&[0, 1, 0, 1][..], Malformed::Protocol),
            (&[0, 1, 1], Malformed::Protocol),
            (&[0, 1, 0, 0, 0, 0], Malformed::Length),
            (&[0, 1, 0, 0, 0, 1], Malformed::Length),
            (&[0, 1, 0, 0, 0, 255], Malformed::Length),
            (&[0, 1, 0, 0, 1], Malformed::Length),
        ] {
            let mut frames = Frames::default();
            assert_eq!(frames.next(&mut Bytes::copy_from_slice(head)), Err(why), "{head:?}");
            assert!(frames.give_up().is_empty());
            let (last, first) = head.split_last().unwrap();
            assert_eq!(frames.next(&mut Bytes::copy_from_slice(first)), Ok(None), "{head:?}");
            assert_eq!(frames.next(&mut Bytes::copy_from_slice(&[*last])), Err(why), "{head:?}");
        }
    }
}

//! Whole frames out of a stream of a protocol whose frames say at their beginning how long they are.

use bytes::{Buf, Bytes, BytesMut};

/// How long the frame is that begins so, as soon as enough of it is there; or, at the first byte that no frame can have
/// there, why this is none.
pub(super) type Measure = fn(&[u8]) -> Result<Option<usize>, String>;

/// One direction's stream; holds less than a frame.
#[derive(Debug)]
pub(super) struct Frames {
    held: BytesMut,
    measure: Measure,
    head_bytes: usize,
}

impl Frames {
    /// `measure` knows a frame's length from its first `head_bytes` bytes, at most [`HEAD_BYTES_MAX`].
    pub(super) fn new(measure: Measure, head_bytes: usize) -> Self {
        assert!(head_bytes <= HEAD_BYTES_MAX);
        Self { held: BytesMut::new(), measure, head_bytes }
    }

    /// The next whole frame. Where there is none yet, all of the chunk is held.
    ///
    /// # Errors
    /// Why what comes is no frame; nothing of the chunk was taken then.
    pub(super) fn next(&mut self, chunk: &mut Bytes) -> Result<Option<Bytes>, String> {
        let frame_bytes = self.frame_bytes(chunk)?.unwrap_or(usize::MAX);
        let missing = frame_bytes - self.held.len();
        if chunk.len() < missing {
            self.held.extend_from_slice(chunk);
            chunk.clear();
            return Ok(None);
        }
        if self.held.is_empty() {
            return Ok(Some(chunk.split_to(frame_bytes)));
        }
        self.held.extend_from_slice(&chunk[..missing]);
        chunk.advance(missing);
        Ok(Some(self.held.split().freeze()))
    }

    /// What is held of a frame that is not whole, given up.
    pub(super) fn give_up(&mut self) -> Bytes {
        self.held.split().freeze()
    }

    fn frame_bytes(&self, chunk: &[u8]) -> Result<Option<usize>, String> {
        let mut head = [0; HEAD_BYTES_MAX];
        let mut known = 0;
        for (place, byte) in head.iter_mut().zip(self.held.iter().chain(chunk)).take(self.head_bytes) {
            *place = *byte;
            known += 1;
        }
        (self.measure)(&head[..known])
    }
}

/// The longest head of the protocols here: EtherNet/IP's.
const HEAD_BYTES_MAX: usize = 24;

//! What `files` makes out of a file copy, as a channel needs it: which way each thing goes, and what becomes of bytes that broke
//! the protocol.

use bytes::Bytes;
use recordings::ledger::FileEntry;

use super::channel::{Inspect, Inspected};
use crate::files::{self, End, HandOver};

/// What looks into a file copy, as a channel asks it. Once an end broke the protocol nothing passes any more; where it was
/// the technician, what the target says is still understood, since a file may be on its way to it.
pub struct Inspector {
    inspect: Box<dyn files::Inspect>,
    broken: Option<End>,
}

impl Inspector {
    /// Nothing was looked into yet.
    pub fn new(inspect: Box<dyn files::Inspect>) -> Self {
        Self { inspect, broken: None }
    }

    fn dropped(bytes: usize) -> Inspected {
        Inspected { refused: bytes, ..Inspected::default() }
    }

    fn broke(&mut self, malformed: files::Malformed, bytes: usize) -> Inspected {
        let told = self.broken.replace(malformed.by).is_some();
        Inspected { broken: (!told).then(|| malformed.to_string()), ..Self::dropped(bytes) }
    }
}

impl Inspect for Inspector {
    fn upward(&mut self, chunk: Bytes) -> Inspected {
        let length = chunk.len();
        if self.broken.is_some() {
            return Self::dropped(length);
        }
        match self.inspect.upward(chunk) {
            Ok(inspected) => {
                let files::Inspected { forward, to_technician, to_target, refused, say, ledger, uploads } = inspected;
                let refused = usize::try_from(refused).unwrap_or(usize::MAX);
                let (reply, onward) = (to_technician, to_target);
                Inspected { forward, reply, onward, refused, say, ledger, uploads, broken: None }
            }
            Err(malformed) => self.broke(malformed, length),
        }
    }

    fn downward(&mut self, chunk: Bytes) -> Inspected {
        let length = chunk.len();
        if self.broken == Some(End::Target) {
            return Self::dropped(length);
        }
        match self.inspect.downward(chunk) {
            Ok(inspected) if self.broken.is_some() => Inspected { ledger: inspected.ledger, ..Self::dropped(length) },
            Ok(inspected) => {
                let files::Inspected { forward, to_technician, to_target, refused, say, ledger, uploads } = inspected;
                let refused = usize::try_from(refused).unwrap_or(usize::MAX);
                let (reply, onward) = (to_target, to_technician);
                Inspected { forward, reply, onward, refused, say, ledger, uploads, broken: None }
            }
            Err(malformed) => self.broke(malformed, length),
        }
    }

    fn finish(&mut self) -> Vec<FileEntry> {
        self.inspect.finish()
    }

    fn uploads(&mut self) -> Option<&mut dyn HandOver> {
        Some(self.inspect.uploads())
    }
}

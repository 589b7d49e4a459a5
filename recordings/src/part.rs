//! What a folder holds that was fetched in part: some sessions' recordings, and the journal. The file that says so is
//! written by whoever fetches, is signed by nobody, and can only lower what a check of the folder claims.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use policies::ids::SessionId;

use crate::read::read_bounded;

/// The file in a folder that names the sessions it holds. A folder without one claims to hold all there are.
pub const PART: &str = "PART";

const FIRST_LINE: &str = "holdpoint part 1";

/// A line is 31 bytes.
const PART_BYTES_MAX: u64 = 16 << 20;

/// The sessions that a folder holds, where it does not hold them all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub sessions: BTreeSet<SessionId>,
}

impl Part {
    /// What the folder says of itself; none where it claims to hold everything.
    ///
    /// # Errors
    /// The file cannot be read, or is none of these.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        let bytes = match read_bounded(&folder.join(PART), PART_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let part = std::str::from_utf8(&bytes).ok().and_then(Self::parse);
        part.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it names no sessions"))
    }

    /// Writes it down in a folder, on the disk before this returns.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let unfinished = folder.join("PART.tmp");
        std::fs::write(&unfinished, self.encode())?;
        std::fs::File::open(&unfinished)?.sync_all()?;
        std::fs::rename(unfinished, folder.join(PART))?;
        std::fs::File::open(folder)?.sync_all()
    }

    /// What stands in the file.
    pub fn encode(&self) -> String {
        let lines = self.sessions.iter().map(|session| format!("{session}\n")).collect::<String>();
        format!("{FIRST_LINE}\n{lines}")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return None;
        }
        let sessions = lines.map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { sessions })
    }
}

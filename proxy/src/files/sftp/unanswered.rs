//! Requests without an answer: those that the target was sent, and those that the gate answers but whose answer waits
//! for its turn, so that answers come in the order of their requests as far as the target keeps it. All of it is
//! bounded. What an answer means is not known here.

use std::collections::{BTreeSet, HashMap, VecDeque};

use recordings::ledger::{FileEntry, Outcome, RemotePath, Verdict};

use super::super::UploadKey;
use super::open_file::Purpose;
use super::request::opening;
use super::upload::Handing;
use super::wire::kind;
use super::{Breach, FileKey, Refusal};
use recordings::ledger::Operation;

/// How many there may be. Paramiko asks for a whole file at once, and what fits between the gate and an OpenSSH server
/// that has fallen behind (a window of 2 MiB and some buffers) is 80,000 READs of 29 bytes. What is kept of one is 40
/// bytes, so this many are 5 MiB.
const UNANSWERED_MAX: usize = 112 << 10;

/// How long the names in them may be in all.
const NAME_BYTES_MAX: usize = 1 << 20;

/// The requests without an answer.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    sent: HashMap<u32, (u64, Sent)>,
    turns: BTreeSet<u64>,
    waiting: VecDeque<(u64, Own)>,
    /// Requests that the gate answers later than in their turn.
    promised: BTreeSet<u32>,
    next_turn: u64,
    next_id: u32,
    name_bytes: usize,
    openings: usize,
}

/// A request that the target was sent, as far as its answer needs it.
#[derive(Debug)]
pub(super) enum Sent {
    /// OPEN, OPENDIR.
    Open(Box<Opening>),
    /// CLOSE.
    Close(FileKey),
    /// READ.
    Read { file: FileKey, offset: u64, wanted: u32 },
    /// WRITE.
    Write { file: FileKey, offset: u64, bytes: u32 },
    /// STAT.
    Stat(Box<[u8]>),
    /// FSTAT.
    FileStat(FileKey),
    /// FSETSTAT, and if it sets the size, whether to where writing has ended.
    SetFileAttributes { file: FileKey, ends_writing: Option<bool> },
    /// SETSTAT.
    SetAttributes { entry: Box<FileEntry>, resizes: bool },
    /// What changes names; listed like this when it is done.
    Change(Box<FileEntry>),
    /// Anything else, and the type of packet that answers it.
    Look { answer: u8 },
    /// The gate's own, to hand an upload over.
    Handing(Handing),
}

/// A file about to be open.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) path: Box<[u8]>,
    pub(super) purpose: Purpose,
    /// Whoever else has it open can change it, or is seen changed by this.
    pub(super) disturbed: bool,
}

/// A request that the gate answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) id: u32,
    pub(super) answer: Answer,
}

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Refused(Refusal),
    /// It is done.
    Done,
    /// The upload is open.
    Opened(UploadKey),
    /// The upload is so long by now.
    Size(u64),
}

impl Unanswered {
    /// Whether one more request can be kept, under this number.
    pub(super) fn check_room(&self, id: u32) -> Result<(), Breach> {
        if self.sent.contains_key(&id) || self.promised.contains(&id) {
            return Err(Breach::NumberInUse);
        }
        let room = self.sent.len() + self.waiting.len() < UNANSWERED_MAX && self.name_bytes < NAME_BYTES_MAX;
        room.then_some(()).ok_or(Breach::TooManyRequests)
    }

    /// How many files are about to be open.
    pub(super) fn openings(&self) -> usize {
        self.openings
    }

    /// The target is sent this.
    pub(super) fn note_sent(&mut self, id: u32, sent: Sent) {
        self.name_bytes += sent.name_bytes();
        self.openings += usize::from(matches!(sent, Sent::Open(_)));
        self.turns.insert(self.next_turn);
        self.sent.insert(id, (self.next_turn, sent));
        self.next_turn += 1;
    }

    /// The gate answers this, when its turn has come.
    pub(super) fn note_own(&mut self, own: Own) {
        self.waiting.push_back((self.next_turn, own));
        self.next_turn += 1;
    }

    /// The gate answers this when it knows how.
    pub(super) fn note_promised(&mut self, id: u32) {
        self.promised.insert(id);
    }

    /// It did.
    pub(super) fn note_kept(&mut self, id: u32) {
        self.promised.remove(&id);
    }

    /// A number for a request of the gate's own: from the top, where clients, which count up, do not come.
    pub(super) fn own_id(&mut self) -> u32 {
        loop {
            self.next_id = self.next_id.wrapping_sub(1);
            if !self.sent.contains_key(&self.next_id) && !self.promised.contains(&self.next_id) {
                return self.next_id;
            }
        }
    }

    /// What it was that the target answers under this number.
    pub(super) fn answered(&mut self, id: u32) -> Option<Sent> {
        let (turn, sent) = self.sent.remove(&id)?;
        self.turns.remove(&turn);
        self.name_bytes -= sent.name_bytes();
        self.openings -= usize::from(matches!(sent, Sent::Open(_)));
        Some(sent)
    }

    /// The next answer of the gate's before which nothing is unanswered.
    pub(super) fn next_own(&mut self) -> Option<Own> {
        let (turn, _) = self.waiting.front()?;
        let its_turn = self.turns.first().is_none_or(|first| first > turn);
        its_turn.then(|| self.waiting.pop_front()).flatten().map(|(_, own)| own)
    }

    /// All that the target was sent and will not answer, in order.
    pub(super) fn take_all(&mut self) -> Vec<Sent> {
        let mut sent: Vec<_> = std::mem::take(self).sent.into_values().collect();
        sent.sort_unstable_by_key(|(turn, _)| *turn);
        sent.into_iter().map(|(_, sent)| sent).collect()
    }
}

impl Sent {
    /// Whether a packet of this type can be its answer.
    pub(super) fn can_be_answered_by(&self, answer: u8) -> bool {
        let positive = match self {
            Self::Open(_) | Self::Handing(Handing::Open) => kind::HANDLE,
            Self::Read { .. } => kind::DATA,
            Self::Stat(_) | Self::FileStat(_) => kind::ATTRS,
            Self::Look { answer } => *answer,
            _ => kind::STATUS,
        };
        answer == positive || answer == kind::STATUS
    }

    fn name_bytes(&self) -> usize {
        let path = |path: &RemotePath| path.bytes().len();
        match self {
            Self::Open(opening) => opening.path.len(),
            Self::Stat(path) => path.len(),
            Self::Change(entry) | Self::SetAttributes { entry, .. } => {
                path(&entry.path) + entry.to.as_ref().map_or(0, path)
            }
            _ => 0,
        }
    }
}

impl Opening {
    /// What the ledger says of it when no file came to be open.
    pub(super) fn into_entry(self, outcome: Outcome) -> FileEntry {
        let operation = match self.purpose {
            Purpose::File { flags } => opening(flags),
            Purpose::Directory => Operation::List,
        };
        FileEntry::new(operation, RemotePath::new(&self.path), Verdict::Allowed, outcome)
    }
}

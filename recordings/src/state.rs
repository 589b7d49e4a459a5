//! What a log is after its last frame: the chain, the tree, the sessions open. The writer carries it on frame by
//! frame, recovery folds it from a segment's frames; both by the same rules.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::frame::{Kind, RawFrame};
use crate::leaf::{BlockLeaf, Entry, Leaf, Position, Retired, fold_mark};
use crate::log::{End, Head, Purpose};
use crate::segment::{OpenSession, SegmentHead};
use crate::tree::Tree;

/// The node's own frames are those of session 0.
pub(crate) const NODE: u64 = 0;

#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) is_a_journal: bool,
    /// Where the next frame goes, and what it follows.
    pub(crate) end: Position,
    pub(crate) node_sequence: u64,
    pub(crate) tree: Tree,
    pub(crate) last: [u8; 32],
    pub(crate) at: Timestamp,
    /// The first segment that is not retired.
    pub(crate) first: u64,
    /// Sessions that are open, or not wholly in blocks yet.
    pub(crate) open: BTreeMap<u64, OpenSession>,
}

impl State {
    /// A log without a segment.
    pub(crate) fn empty(purpose: Purpose) -> Self {
        Self {
            is_a_journal: purpose == Purpose::Journal,
            end: Position { segment: 0, offset: 0, link: [0; 32] },
            node_sequence: 0,
            tree: Tree::default(),
            last: [0; 32],
            at: Timestamp::UNIX_EPOCH,
            first: 0,
            open: BTreeMap::new(),
        }
    }

    /// What the log was before a segment's first frame, as that frame says.
    pub(crate) fn before(head: &SegmentHead, node_sequence: u64, purpose: Purpose) -> Self {
        Self {
            is_a_journal: purpose == Purpose::Journal,
            end: Position { segment: head.number, offset: 0, link: head.after.link },
            node_sequence,
            tree: head.tree.clone(),
            last: head.last,
            at: head.at,
            first: head.first,
            open: head.open.iter().map(|session| (session.session, *session)).collect(),
        }
    }

    pub(crate) fn head(&self) -> Head {
        Head { size: self.tree.size(), last: self.last, root: self.tree.root() }
    }

    pub(crate) fn entries_end(&self) -> End {
        End { last: self.last, at: self.at, tree: self.tree.clone() }
    }

    /// The sequence of a session's next frame; `None` if no such session is open.
    pub(crate) fn sequence(&self, session: u64) -> Option<u64> {
        match session {
            NODE => Some(self.node_sequence),
            session => self.open.get(&session).filter(|open| !open.sealed).map(|open| open.sequence),
        }
    }

    /// The sessions that are open.
    pub(crate) fn live(&self) -> impl Iterator<Item = &OpenSession> {
        self.open.values().filter(|open| !open.sealed)
    }

    /// One more frame of a session that is open, or of the node. Of what is encrypted its mark is given too.
    pub(crate) fn advance(&mut self, session: u64, bytes: u64, link: [u8; 32], mark: Option<[u8; 32]>) {
        self.end.offset += bytes;
        self.end.link = link;
        if session == NODE {
            self.node_sequence += 1;
        } else if let Some(open) = self.open.get_mut(&session) {
            open.sequence += 1;
            open.digest = mark.map_or(open.digest, |mark| fold_mark(&open.digest, &mark));
        }
    }

    /// A session's last frame was its seal.
    pub(crate) fn seal(&mut self, session: u64) {
        if let Some(open) = self.open.get_mut(&session) {
            open.sealed = true;
            // The seal is a frame, and in no block.
            open.sequence -= 1;
        }
        self.forget_covered(session);
    }

    /// A block's leaf is in the log; or why no log has it there.
    pub(crate) fn cover(&mut self, block: &BlockLeaf, hash: [u8; 32]) -> Result<(), String> {
        let open = self.open.get_mut(&block.session).filter(|open| {
            (open.covered, open.blocks, open.leaf) == (block.first, block.number, block.previous)
                && block.end() <= open.sequence
        });
        let open = open.ok_or_else(|| format!("session {} has no block {} there", block.session, block.number))?;
        (open.covered, open.blocks, open.leaf) = (block.end(), block.number + 1, hash);
        self.forget_covered(block.session);
        Ok(())
    }

    /// A segment may go, and with it all before; or why no log says so there.
    pub(crate) fn retire(&mut self, retired: &Retired) -> Result<(), String> {
        let segment = retired.end.segment;
        if !(self.first..self.end.segment).contains(&segment) {
            return Err(format!("segment {segment} cannot be retired there"));
        }
        self.first = segment + 1;
        Ok(())
    }

    fn forget_covered(&mut self, session: u64) {
        if self.open.get(&session).is_some_and(|open| open.sealed && open.is_covered()) {
            self.open.remove(&session);
        }
    }

    /// One more entry.
    pub(crate) fn push(&mut self, entry: &Entry) {
        self.tree.push(entry.hash);
        self.last = entry.hash;
        self.at = entry.at;
    }

    /// One more frame, read back; or why no log has it there.
    pub(crate) fn apply(&mut self, frame: &RawFrame<'_>) -> Result<(), String> {
        let session = frame.header.session;
        let sealed = match frame.header.kind {
            Kind::Leaf => self.apply_leaf(frame)?,
            Kind::SegmentHead if frame.offset != 0 => return Err("a segment head stands inside".to_owned()),
            Kind::SegmentHead | Kind::Anchor | Kind::Recovered if session != NODE => {
                return Err("a frame of the node stands in a session".to_owned());
            }
            _ => false,
        };
        if self.sequence(session) != Some(frame.header.sequence) {
            return Err(format!("session {session} has no frame {} there", frame.header.sequence));
        }
        let mark = frame.header.kind.is_encrypted().then(|| frame.mark());
        self.advance(session, frame.end() - frame.offset, frame.link, mark);
        if sealed {
            self.seal(session);
        }
        Ok(())
    }

    fn apply_node_leaf(&mut self, entry: &Entry) -> Result<(), String> {
        match Leaf::parse(&entry.bytes) {
            Ok(Leaf::Block(block)) => self.cover(&block, entry.hash),
            Ok(Leaf::Retired(retired)) => self.retire(&retired),
            _ => Ok(()),
        }
    }

    /// Whether the leaf seals its session.
    fn apply_leaf(&mut self, frame: &RawFrame<'_>) -> Result<bool, String> {
        let (index, session) = (self.tree.size(), frame.header.session);
        let entry = Entry::parse(index, frame.body)?;
        if entry.previous != self.last {
            return Err("an entry does not follow the one before".to_owned());
        }
        self.push(&entry);
        if session == NODE {
            // A journal's entries are its caller's, and may look like anything.
            if !self.is_a_journal {
                self.apply_node_leaf(&entry)?;
            }
            return Ok(false);
        }
        match Leaf::parse(&entry.bytes)? {
            Leaf::Opened(opened) if session == index => {
                self.open.insert(session, OpenSession::opened(session, opened.recording, entry.hash));
                Ok(false)
            }
            Leaf::Sealed(sealed) if sealed.session == session => Ok(true),
            _ => Err(format!("a leaf stands in session {session} and is not about it")),
        }
    }
}

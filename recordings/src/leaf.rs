//! What stands in the clear: an entry of a log, the leaves of a record log, the signed head and the mark of a
//! recovery; each in exactly one spelling. Leaves about keeping and erasing come with those.
//!
//! An [`Anchor`] is a leaf of a record log, and a frame of its own in a journal, whose entries are its caller's alone.

use std::collections::BTreeSet;

use jiff::Timestamp;
use policies::digest::Digest;
use policies::ids::{Recipient, SessionId};
use serde::Deserialize;
use ulid::Ulid;

use crate::codec::{Fields, Malformed, Put as _};
use crate::keeping::{Copied, Decided, Erased};
use crate::tree::leaf_hash;

/// Bytes an entry may have (C2SP tlog-tiles: a bundle gives each a length of 16 bits).
pub const ENTRY_BYTES_MAX: usize = 65_535;
/// Bytes of an entry that are not the caller's.
pub const ENTRY_OVERHEAD_BYTES: usize = 1 + 32 + 12;

const ENTRY_VERSION: u8 = 1;

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log, from 0.
    pub index: u64,
    /// When it was appended, by the wall clock; never before its predecessor's time.
    pub at: Timestamp,
    /// What was appended, as it was given.
    pub bytes: Vec<u8>,
    /// Its hash as a leaf of the tree (RFC 6962).
    pub hash: [u8; 32],
    /// The hash of the entry before; zeros for the first.
    pub previous: [u8; 32],
}

impl Entry {
    /// Reads an entry from a leaf frame's bytes.
    pub fn parse(index: u64, leaf: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(leaf, "log entry");
        if fields.u8()? != ENTRY_VERSION {
            return Err(Malformed("log entry of this version"));
        }
        let (previous, at) = (fields.array()?, fields.timestamp()?);
        Ok(Self { index, at, bytes: fields.rest().to_vec(), hash: leaf_hash(leaf), previous })
    }

    /// The bytes it was read from: what the tree is over.
    pub fn leaf(&self) -> Vec<u8> {
        Self::encode(&self.previous, self.at, &self.bytes)
    }

    pub(crate) fn encode(previous: &[u8; 32], at: Timestamp, bytes: &[u8]) -> Vec<u8> {
        let mut leaf = Vec::with_capacity(ENTRY_OVERHEAD_BYTES + bytes.len());
        leaf.put_u8(ENTRY_VERSION);
        leaf.put(previous);
        leaf.put_timestamp(at);
        leaf.put(bytes);
        leaf
    }
}

/// What an entry of a record log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// The program began to write this log. The first entry of a record log is one.
    Started(Started),
    /// The program ended cleanly; nothing was open.
    Stopped,
    /// A session began. Its number is this entry's index.
    Opened(Opened),
    /// A session ended; nothing follows in it but leaves of its last blocks.
    Sealed(Sealed),
    /// Frames of a session lie in a block, too.
    Block(BlockLeaf),
    /// The log's signed head before this entry.
    Anchor(Anchor),
    /// A segment may go: what it holds lies in blocks, and its entries under a checkpoint.
    Retired(Retired),
    /// Nothing erases a recording until it is released.
    Held(Decided),
    /// A hold is over.
    Released(Decided),
    /// A recording's files go, once this is published.
    Erased(Erased),
    /// A locked copy of one of a recording's files lies elsewhere. Since `holdpoint log 2`.
    Copied(Copied),
}

/// See [`Leaf::Retired`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// Where the segment's frames end; all segments before it are retired already.
    pub end: Position,
}

/// See [`Leaf::Block`]: what binds a block's bytes to the tree, so that they may go and the proof stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockLeaf {
    /// Index of the session's opening leaf.
    pub session: u64,
    /// Counts the session's blocks, from 0.
    pub number: u32,
    /// The sequence of the block's first frame; the one behind the last frame of the block before.
    pub first: u64,
    /// How many frames are in it.
    pub frames: u32,
    /// The monotonic clock at its first frame.
    pub first_nanos: u64,
    /// And at the last.
    pub last_nanos: u64,
    /// Bytes of its data frames from the technician to the target, those made by the gate included.
    pub bytes_in: u64,
    /// And the other way.
    pub bytes_out: u64,
    /// Which of the session's block files holds it, from 0.
    pub file: u32,
    /// Where in it.
    pub offset: u64,
    /// Bytes of it, header included.
    pub length: u64,
    /// SHA-256 of these.
    pub sha256: [u8; 32],
    /// The hash of the session's leaf before: of its opening or of its last block.
    pub previous: [u8; 32],
}

/// See [`Leaf::Started`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Which boot the monotonic clock counts from.
    pub boot_id: [u8; 16],
    /// The program's version.
    pub program: String,
}

/// See [`Leaf::Opened`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The session and its recording.
    pub recording: SessionId,
    /// Which of the session's keys; one more after each restart a session lives through.
    pub epoch: u32,
    /// SHA-256 of `sessions/<ulid>/keys.<epoch>.age`.
    pub key_file: Digest,
    /// What the root in that file must derive to; see [`crate::keys::Root::commitment`].
    pub commitment: [u8; 32],
    /// The monotonic clock.
    pub nanos: u64,
    /// The wall clock, as it was.
    pub wall: Timestamp,
    /// Who, where, by which grant: canonical JSON, the caller's.
    pub metadata: Vec<u8>,
}

impl Opened {
    /// Whom its key file is for, as the metadata says; nobody, where that says nothing.
    pub fn recipients(&self) -> BTreeSet<Recipient> {
        #[derive(Deserialize)]
        struct Said {
            recipients: BTreeSet<Recipient>,
        }
        serde_json::from_slice(&self.metadata).map(|Said { recipients }| recipients).unwrap_or_default()
    }
}

/// See [`Leaf::Sealed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The session and its recording.
    pub recording: SessionId,
    /// Index of its opening leaf.
    pub session: u64,
    /// Why it ended, in a word.
    pub ending: String,
    /// How many frames it has, this leaf's not counted.
    pub frames: u64,
    /// Over the marks of those that are encrypted, in order; see [`fold_mark`].
    pub digest: [u8; 32],
    /// SHA-256 of the file ledger; none where nobody was left to say.
    pub ledger: Option<Digest>,
    /// Where its bytes went; none where nobody was left to say.
    pub accounts: Option<Vec<SealedAccount>>,
    /// The frames before this one, of all sessions, which the signature covers too.
    pub chain: Position,
    /// By the log's key over [`signed_bytes`].
    pub signature: [u8; 64],
}

/// The ending of a session that was open when the program or the machine died.
pub const CRASHED: &str = "crashed";
/// The ending of a session that its owner let go of without sealing it.
pub const ABANDONED: &str = "abandoned";

/// One direction of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Direction {
    /// From the technician to the target.
    In = 1,
    /// From the target to the technician.
    Out = 2,
}

/// Where the bytes of one direction of one channel went: received = forwarded + refused + undelivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Which way.
    pub direction: Direction,
    /// Which channel; [`OTHER_CHANNELS`] for the sum of all that have no account of their own.
    pub channel: u32,
    /// Bytes that came in from one side.
    pub received: u64,
    /// Of these, bytes given to the other side.
    pub forwarded: u64,
    /// Of these, bytes a rule or gate held back.
    pub refused: u64,
    /// Of these, bytes that found no taker before the end.
    pub undelivered: u64,
    /// Bytes the gate itself made and sent this way.
    pub made: u64,
}

/// An account as sealed: what the relay says, beside what the store counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedAccount {
    /// What the relay says.
    pub account: Account,
    /// Bytes recorded of this direction and channel; equals `received`.
    pub recorded: u64,
    /// Bytes recorded as made by the gate; equals `made`.
    pub recorded_made: u64,
}

/// The channel of the account that sums all channels beyond the first [`ACCOUNTS_MAX`] accounts.
pub const OTHER_CHANNELS: u32 = u32::MAX;
/// Accounts a seal lists one by one: what fits in an entry, with room to spare.
pub const ACCOUNTS_MAX: usize = 500;

/// A place in the chain: all frames up to here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The segment's number.
    pub segment: u64,
    /// The offset in it of the first frame not meant.
    pub offset: u64,
    /// The link of the last frame meant.
    pub link: [u8; 32],
}

/// The log's signed head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// All frames before this one.
    pub chain: Position,
    /// How many entries the log has.
    pub size: u64,
    /// The root of their tree.
    pub root: [u8; 32],
    /// The monotonic clock.
    pub nanos: u64,
    /// The wall clock.
    pub wall: Timestamp,
    /// How many sessions are open.
    pub open: u32,
    /// How many seconds until the next anchor is due; 0: the program stopped, none is.
    pub due_seconds: u16,
    /// By the log's key over [`signed_bytes`].
    pub signature: [u8; 64],
}

/// The mark that a run did not end cleanly, first after the head of the segment that recovery began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The last frames that were whole; a reader stops there.
    pub good: Position,
    /// Whether bytes of a batch that was never acknowledged lie behind them.
    pub torn: bool,
    /// Which boot the monotonic clock counts from, from here.
    pub boot_id: [u8; 16],
    /// The wall clock.
    pub wall: Timestamp,
}

/// A session's digest after one more encrypted frame: SHA-256(0x02 ‖ digest so far ‖ the frame's mark). It starts as
/// zeros. A frame's mark is SHA-256(0x03 ‖ bytes 48..84 of its header ‖ its tag): what it is, not where it lies, so that
/// whoever has the key makes it again from a sealed block.
pub fn fold_mark(digest: &[u8; 32], mark: &[u8; 32]) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    Sha256::new().chain_update([2]).chain_update(digest).chain_update(mark).finalize().into()
}

/// What the log's key signs: the kind of statement, the log's origin, and the encoded statement without its signature.
pub fn signed_bytes(statement: Statement, origin: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("holdpoint/{}/v1\n{origin}\n", statement.word()).into_bytes();
    bytes.put(body);
    bytes
}

/// What a log's key may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// An [`Anchor`].
    Anchor,
    /// A [`Sealed`].
    Seal,
}

impl Statement {
    const fn word(self) -> &'static str {
        match self {
            Self::Anchor => "anchor",
            Self::Seal => "seal",
        }
    }
}

const STARTED: u8 = 1;
const STOPPED: u8 = 2;
const OPENED: u8 = 3;
const SEALED: u8 = 4;
const BLOCK: u8 = 5;
const ANCHOR: u8 = 6;
const RETIRED: u8 = 7;
const HELD: u8 = 8;
const RELEASED: u8 = 9;
const ERASED: u8 = 10;
const COPIED: u8 = 11;

impl Leaf {
    /// Reads what an entry of a record log says, from [`Entry::bytes`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(bytes, "leaf of a record log");
        let leaf = match fields.u8()? {
            STARTED => Self::Started(Started { boot_id: fields.array()?, program: fields.text()? }),
            STOPPED => Self::Stopped,
            OPENED => Self::Opened(Opened::parse(&mut fields)?),
            SEALED => Self::Sealed(Sealed::parse(&mut fields)?),
            BLOCK => Self::Block(BlockLeaf::parse(&mut fields)?),
            ANCHOR => Self::Anchor(Anchor::take(&mut fields)?),
            RETIRED => Self::Retired(Retired { end: Position::parse(&mut fields)? }),
            HELD => Self::Held(Decided::parse(&mut fields)?),
            RELEASED => Self::Released(Decided::parse(&mut fields)?),
            ERASED => Self::Erased(Erased::parse(&mut fields)?),
            COPIED => Self::Copied(Copied::parse(&mut fields)?),
            _ => return Err(Malformed("leaf of this version")),
        };
        fields.end().map(|()| leaf)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Started(started) => {
                bytes.put_u8(STARTED);
                bytes.put(&started.boot_id);
                bytes.put_long(started.program.as_bytes());
            }
            Self::Stopped => bytes.put_u8(STOPPED),
            Self::Opened(opened) => {
                bytes.put_u8(OPENED);
                opened.put(&mut bytes);
            }
            Self::Sealed(sealed) => {
                bytes.put_u8(SEALED);
                bytes.put(&sealed.body());
                bytes.put(&sealed.signature);
            }
            Self::Block(block) => {
                bytes.put_u8(BLOCK);
                block.put(&mut bytes);
            }
            Self::Anchor(anchor) => {
                bytes.put_u8(ANCHOR);
                bytes.put(&anchor.encode());
            }
            Self::Retired(retired) => {
                bytes.put_u8(RETIRED);
                retired.end.put(&mut bytes);
            }
            Self::Held(decided) => {
                bytes.put_u8(HELD);
                decided.put(&mut bytes);
            }
            Self::Released(decided) => {
                bytes.put_u8(RELEASED);
                decided.put(&mut bytes);
            }
            Self::Erased(erased) => {
                bytes.put_u8(ERASED);
                erased.put(&mut bytes);
            }
            Self::Copied(copied) => {
                bytes.put_u8(COPIED);
                copied.put(&mut bytes);
            }
        }
        bytes
    }
}

impl Opened {
    fn parse(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            recording: recording(fields)?,
            epoch: fields.u32()?,
            key_file: Digest(fields.array()?),
            commitment: fields.array()?,
            nanos: fields.u64()?,
            wall: fields.timestamp()?,
            metadata: fields.long()?.to_vec(),
        })
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        put_recording(bytes, self.recording);
        bytes.put_u32(self.epoch);
        bytes.put(&self.key_file.0);
        bytes.put(&self.commitment);
        bytes.put_u64(self.nanos);
        bytes.put_timestamp(self.wall);
        bytes.put_long(&self.metadata);
    }
}

impl BlockLeaf {
    fn parse(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            session: fields.u64()?,
            number: fields.u32()?,
            first: fields.u64()?,
            frames: fields.u32()?,
            first_nanos: fields.u64()?,
            last_nanos: fields.u64()?,
            bytes_in: fields.u64()?,
            bytes_out: fields.u64()?,
            file: fields.u32()?,
            offset: fields.u64()?,
            length: fields.u64()?,
            sha256: fields.array()?,
            previous: fields.array()?,
        })
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.put_u64(self.session);
        bytes.put_u32(self.number);
        bytes.put_u64(self.first);
        bytes.put_u32(self.frames);
        for number in [self.first_nanos, self.last_nanos, self.bytes_in, self.bytes_out] {
            bytes.put_u64(number);
        }
        bytes.put_u32(self.file);
        bytes.put_u64(self.offset);
        bytes.put_u64(self.length);
        bytes.put(&self.sha256);
        bytes.put(&self.previous);
    }

    /// The sequence behind its last frame.
    pub const fn end(&self) -> u64 {
        self.first.saturating_add(self.frames as u64)
    }
}

impl Sealed {
    /// What [`signed_bytes`] takes.
    pub fn body(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_recording(&mut bytes, self.recording);
        bytes.put_u64(self.session);
        bytes.put_long(self.ending.as_bytes());
        bytes.put_u64(self.frames);
        bytes.put(&self.digest);
        bytes.put_u8(u8::from(self.ledger.is_some()));
        if let Some(ledger) = &self.ledger {
            bytes.put(&ledger.0);
        }
        bytes.put_u8(u8::from(self.accounts.is_some()));
        if let Some(accounts) = &self.accounts {
            bytes
                .put_u32(u32::try_from(accounts.len()).expect("a seal has at most ACCOUNTS_MAX accounts and two sums"));
            accounts.iter().for_each(|account| account.put(&mut bytes));
        }
        self.chain.put(&mut bytes);
        bytes
    }

    fn parse(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            recording: recording(fields)?,
            session: fields.u64()?,
            ending: fields.text()?,
            frames: fields.u64()?,
            digest: fields.array()?,
            ledger: if is_there(fields)? { Some(Digest(fields.array()?)) } else { None },
            accounts: if is_there(fields)? { Some(SealedAccount::parse_all(fields)?) } else { None },
            chain: Position::parse(fields)?,
            signature: fields.array()?,
        })
    }
}

pub(crate) fn is_there(fields: &mut Fields<'_>) -> Result<bool, Malformed> {
    match fields.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed("flag")),
    }
}

impl SealedAccount {
    fn put(&self, bytes: &mut Vec<u8>) {
        let account = &self.account;
        bytes.put_u8(account.direction as u8);
        bytes.put_u32(account.channel);
        for count in [
            account.received,
            account.forwarded,
            account.refused,
            account.undelivered,
            account.made,
            self.recorded,
            self.recorded_made,
        ] {
            bytes.put_u64(count);
        }
    }

    fn parse_all(fields: &mut Fields<'_>) -> Result<Vec<Self>, Malformed> {
        (0..fields.u32()?).map(|_| Self::parse(fields)).collect()
    }

    fn parse(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let direction = match fields.u8()? {
            1 => Direction::In,
            2 => Direction::Out,
            _ => return Err(Malformed("direction")),
        };
        let account = Account {
            direction,
            channel: fields.u32()?,
            received: fields.u64()?,
            forwarded: fields.u64()?,
            refused: fields.u64()?,
            undelivered: fields.u64()?,
            made: fields.u64()?,
        };
        Ok(Self { account, recorded: fields.u64()?, recorded_made: fields.u64()? })
    }
}

impl Position {
    pub(crate) fn put(&self, bytes: &mut Vec<u8>) {
        bytes.put_u64(self.segment);
        bytes.put_u64(self.offset);
        bytes.put(&self.link);
    }

    pub(crate) fn parse(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self { segment: fields.u64()?, offset: fields.u64()?, link: fields.array()? })
    }
}

impl Anchor {
    /// What [`signed_bytes`] takes.
    pub fn body(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.chain.put(&mut bytes);
        bytes.put_u64(self.size);
        bytes.put(&self.root);
        bytes.put_u64(self.nanos);
        bytes.put_timestamp(self.wall);
        bytes.put_u32(self.open);
        bytes.put_u16(self.due_seconds);
        bytes
    }

    /// Reads an anchor frame's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(bytes, "anchor");
        let anchor = Self::take(&mut fields)?;
        fields.end().map(|()| anchor)
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            chain: Position::parse(fields)?,
            size: fields.u64()?,
            root: fields.array()?,
            nanos: fields.u64()?,
            wall: fields.timestamp()?,
            open: fields.u32()?,
            due_seconds: fields.u16()?,
            signature: fields.array()?,
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.body();
        bytes.put(&self.signature);
        bytes
    }
}

impl Recovered {
    /// Reads a recovery's frame.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(bytes, "mark of a recovery");
        let good = Position::parse(&mut fields)?;
        let torn = is_there(&mut fields)?;
        let recovered = Self { good, torn, boot_id: fields.array()?, wall: fields.timestamp()? };
        fields.end().map(|()| recovered)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.good.put(&mut bytes);
        bytes.put_u8(u8::from(self.torn));
        bytes.put(&self.boot_id);
        bytes.put_timestamp(self.wall);
        bytes
    }
}

pub(crate) fn put_recording(bytes: &mut Vec<u8>, recording: SessionId) {
    bytes.put(&u128::from(recording.ulid()).to_be_bytes());
}

pub(crate) fn recording(fields: &mut Fields<'_>) -> Result<SessionId, Malformed> {
    Ok(SessionId::new(Ulid::from(u128::from_be_bytes(fields.array()?))))
}

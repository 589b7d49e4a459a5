//! The frame: one read from one side, or one fact, checked and chained. Its 84 bytes of header, how it is written
//! and sealed, and the reading of a segment's bytes back into frames, without a running log and without keys.
//!
//! ```text
//!  0 u32 magic        4 u32 crc32c of bytes 8..end       8 u32 length of what follows the header
//! 12 u32 batch       16 [32] previous: the link of the frame before
//! 48 u8 version, u8 kind, u8 stream (0x80: encrypted), u8 flags (1: the group goes on in the next frame)
//! 52 u64 session     60 u64 sequence, gapless per session      68 u64 nanoseconds, monotonic
//! 76 u32 channel     80 u32 block      84 ciphertext and tag, or bytes in the clear
//! ```
//! Numbers are little endian. The *link* of an encrypted frame is SHA-256(0x00 ‖ header ‖ tag), which binds the
//! ciphertext for whoever has no key; that of a frame in the clear is SHA-256(0x00 ‖ header ‖ bytes).
//! Encrypted bytes are AES-256-GCM with the frame key of their block, the sequence as nonce and bytes 48..84, the frame's
//! *identity*, as additional data. What stands before it says where the frame lies in a segment; it is not carried into
//! sealed blocks, and whoever has the key can make the tag again from what is.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};

use crate::leaf::Direction;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 84;
/// Bytes of an encrypted frame's tag.
pub const TAG_BYTES: usize = 16;
/// What a frame may hold behind its header; a longer one is damage. Room for the head of a segment with as many
/// sessions open as a log admits.
pub const BODY_BYTES_MAX: usize = 512 << 10;
/// The version of the format.
pub const VERSION: u8 = 1;

const MAGIC: [u8; 4] = *b"HPf1";
/// Where a header's identity begins; it ends with the header.
const IDENTITY: usize = 48;
const ENCRYPTED: u8 = 0x80;
const CONTINUES: u8 = 1;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The first frame of a segment; see [`crate::segment::SegmentHead`]. In the clear.
    SegmentHead,
    /// An entry of the log; see [`crate::leaf`]. In the clear.
    Leaf,
    /// The log's signed head; see [`crate::leaf::Anchor`]. In the clear.
    Anchor,
    /// What recovery found; see [`crate::leaf::Recovered`]. In the clear.
    Recovered,
    /// Bytes of one stream of one channel. Encrypted.
    Data,
    /// Something that happened in a session. Encrypted.
    Fact(Fact),
}

/// Something that happened in a session, and what its bytes mean; they are the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Fact {
    /// A channel was opened.
    ChannelOpen = 32,
    /// A channel was closed.
    ChannelClose,
    /// One side has no more to send.
    Eof,
    /// A terminal was asked for: its type, size and modes.
    Terminal,
    /// A variable was set.
    Environment,
    /// A shell was asked for.
    Shell,
    /// A command line.
    Exec,
    /// A subsystem.
    Subsystem,
    /// The terminal's new size.
    Resize,
    /// A signal to the target.
    Signal,
    /// A program's exit status.
    ExitStatus,
    /// The signal that ended a program.
    ExitSignal,
    /// One file of the file ledger.
    FileEntry,
    /// What a gate said to a request.
    GateVerdict,
    /// Bytes that were not kept: their length and the reason.
    Redacted,
    /// Input was frozen or let go again.
    Freeze,
    /// Who watches, or watches no longer.
    Watch,
    /// An operator's cut.
    Cut,
    /// A text shown to the technician: banner, warning, reason of the end.
    Notice,
}

impl Fact {
    /// Every fact there is.
    pub const ALL: [Self; 19] = [
        Self::ChannelOpen,
        Self::ChannelClose,
        Self::Eof,
        Self::Terminal,
        Self::Environment,
        Self::Shell,
        Self::Exec,
        Self::Subsystem,
        Self::Resize,
        Self::Signal,
        Self::ExitStatus,
        Self::ExitSignal,
        Self::FileEntry,
        Self::GateVerdict,
        Self::Redacted,
        Self::Freeze,
        Self::Watch,
        Self::Cut,
        Self::Notice,
    ];
}

impl Kind {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::SegmentHead => 1,
            Self::Leaf => 2,
            Self::Anchor => 3,
            Self::Recovered => 4,
            Self::Data => 16,
            Self::Fact(fact) => fact as u8,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::SegmentHead),
            2 => Some(Self::Leaf),
            3 => Some(Self::Anchor),
            4 => Some(Self::Recovered),
            16 => Some(Self::Data),
            _ => Fact::ALL.into_iter().find(|fact| *fact as u8 == code).map(Self::Fact),
        }
    }

    /// Whether frames of this kind are encrypted.
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Data | Self::Fact(_))
    }
}

/// Which way bytes went, and who made them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Stream {
    /// None: a fact, a leaf.
    None = 0,
    /// From the technician towards the target.
    In = 1,
    /// From the target's standard output towards the technician.
    Out = 2,
    /// From the target's standard error towards the technician.
    OutErr = 3,
    /// Made by the gate, towards the target.
    GateIn = 4,
    /// Made by the gate, towards the technician.
    GateOut = 5,
    /// Made by the gate, towards the technician's standard error.
    GateOutErr = 6,
}

impl Stream {
    /// Every stream that carries bytes.
    pub const ALL: [Self; 6] = [Self::In, Self::Out, Self::OutErr, Self::GateIn, Self::GateOut, Self::GateOutErr];

    /// Whether the gate made these bytes.
    pub const fn is_of_the_gate(self) -> bool {
        matches!(self, Self::GateIn | Self::GateOut | Self::GateOutErr)
    }

    /// Which way these bytes went; none where it carries none.
    pub const fn direction(self) -> Option<Direction> {
        match self {
            Self::None => None,
            Self::In | Self::GateIn => Some(Direction::In),
            Self::Out | Self::OutErr | Self::GateOut | Self::GateOutErr => Some(Direction::Out),
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::None].into_iter().chain(Self::ALL).find(|stream| *stream as u8 == code)
    }
}

/// A header's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// Which way its bytes went.
    pub stream: Stream,
    /// Whether the next frame lives or dies with this one.
    pub continues: bool,
    /// Index of the session's opening leaf; 0 is the node itself.
    pub session: u64,
    /// Counts the session's frames, from 0, without a gap.
    pub sequence: u64,
    /// Nanoseconds on the machine's monotonic clock, which counts from boot.
    pub nanos: u64,
    /// Offset in this segment at which the batch began that wrote this frame. All before it was durable by then.
    pub batch: u32,
    /// The channel; 0 for what belongs to none.
    pub channel: u32,
    /// Which of the session's blocks it goes into, and so which key it is encrypted with; 0 for what is in the clear.
    pub block: u32,
    /// The link of the frame before, which for a segment's first frame is in an earlier segment.
    pub previous: [u8; 32],
}

/// The key of a session's frames; not `Clone`, and gone from memory when dropped.
pub struct FrameKey(LessSafeKey);

impl FrameKey {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("AES-256 keys are 32 bytes")))
    }
}

impl std::fmt::Debug for FrameKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameKey")
    }
}

/// Appends a frame in the clear to `buffer` and gives its link.
pub(crate) fn put_clear(buffer: &mut Vec<u8>, header: &Header, body: &[u8]) -> [u8; 32] {
    let at = put_header(buffer, header, body.len());
    buffer.extend_from_slice(body);
    put_checksum(&mut buffer[at..]);
    link(&buffer[at..at + HEADER_BYTES], body)
}

/// An encrypted frame as it was put: its link in the chain, and its mark in its session.
pub(crate) struct Put {
    pub(crate) link: [u8; 32],
    pub(crate) mark: [u8; 32],
}

/// Encrypts `plain` into a frame at the end of `buffer`.
pub(crate) fn put_sealed(buffer: &mut Vec<u8>, header: &Header, plain: &[u8], key: &FrameKey) -> Put {
    let at = put_header(buffer, header, plain.len() + TAG_BYTES);
    buffer.extend_from_slice(plain);
    let (head, body) = buffer[at..].split_at_mut(HEADER_BYTES);
    let tag = key.seal(header.sequence, &head[IDENTITY..], body);
    let mark = mark(&head[IDENTITY..], &tag);
    buffer.extend_from_slice(&tag);
    put_checksum(&mut buffer[at..]);
    Put { link: link(&buffer[at..at + HEADER_BYTES], &tag), mark }
}

/// What binds a frame to its session wherever it lies: SHA-256(0x03 ‖ identity ‖ tag).
fn mark(identity: &[u8], tag: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([3]).chain_update(identity).chain_update(tag).finalize().into()
}

/// The mark of a frame that was taken out of a sealed block, made again with its key.
pub(crate) fn mark_again(header: &Header, plain: &[u8], key: &FrameKey) -> [u8; 32] {
    let identity = identity(header);
    let tag = key.seal(header.sequence, &identity, &mut plain.to_vec());
    mark(&identity, &tag)
}

impl FrameKey {
    fn seal(&self, sequence: u64, additional: &[u8], body: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce(sequence), Aad::from(additional), body)
            .expect("a frame is shorter than what AES-GCM takes");
        tag.as_ref().try_into().expect("a tag of AES-GCM has 16 bytes")
    }
}

fn put_header(buffer: &mut Vec<u8>, header: &Header, length: usize) -> usize {
    debug_assert!(length <= BODY_BYTES_MAX);
    let at = buffer.len();
    buffer.extend_from_slice(&MAGIC);
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&(length as u32).to_le_bytes());
    buffer.extend_from_slice(&header.batch.to_le_bytes());
    buffer.extend_from_slice(&header.previous);
    buffer.extend_from_slice(&identity(header));
    at
}

fn identity(header: &Header) -> [u8; HEADER_BYTES - IDENTITY] {
    let encrypted = if header.kind.is_encrypted() { ENCRYPTED } else { 0 };
    let mut bytes = [0; HEADER_BYTES - IDENTITY];
    bytes[..4].copy_from_slice(&[
        VERSION,
        header.kind.code(),
        header.stream as u8 | encrypted,
        u8::from(header.continues),
    ]);
    for (field, at) in [header.session, header.sequence, header.nanos].into_iter().zip([4, 12, 20]) {
        bytes[at..at + 8].copy_from_slice(&field.to_le_bytes());
    }
    bytes[28..32].copy_from_slice(&header.channel.to_le_bytes());
    bytes[32..].copy_from_slice(&header.block.to_le_bytes());
    bytes
}

fn nonce(sequence: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&sequence.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn put_checksum(frame: &mut [u8]) {
    let checksum = crc32c::crc32c(&frame[8..]);
    frame[4..8].copy_from_slice(&checksum.to_le_bytes());
}

fn link(header: &[u8], bound: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([0]).chain_update(header).chain_update(bound).finalize().into()
}

/// A frame as it lies in a segment, its checksum found right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawFrame<'a> {
    /// Where it begins in the segment.
    pub offset: u64,
    /// Its header's fields.
    pub header: Header,
    /// Its hash in the chain, which the next frame names.
    pub link: [u8; 32],
    /// What follows the header: ciphertext and tag, or bytes in the clear.
    pub body: &'a [u8],
    bytes: &'a [u8],
}

impl RawFrame<'_> {
    /// Where the next frame begins.
    pub const fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// The frame as it lies there.
    pub(crate) const fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// What binds an encrypted frame to its session; see [`crate::leaf::fold_mark`].
    pub(crate) fn mark(&self) -> [u8; 32] {
        mark(&self.bytes[IDENTITY..HEADER_BYTES], &self.body[self.body.len().saturating_sub(TAG_BYTES)..])
    }
}

/// Why bytes are not the next frame of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// What stands there does not begin as a frame does.
    #[error("no frame begins there")]
    NoFrame,
    /// The file or the extent ends inside the frame, or its length is more than a frame may have.
    #[error("a frame's length points beyond what may be")]
    Length,
    /// The checksum is wrong: torn, or changed.
    #[error("a frame's checksum is wrong")]
    Checksum,
    /// The checksum is right and a field is not one this version writes.
    #[error("a frame's header says what no frame of this version says")]
    Header,
    /// The frame is whole and does not follow the one before it.
    #[error("a frame does not follow the one before it")]
    Chain,
}

/// The first thing wrong in a segment, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{flaw}, at byte {offset}")]
pub struct FrameFault {
    /// Where, from the beginning of the segment.
    pub offset: u64,
    /// What.
    pub flaw: Flaw,
}

/// The frames of a segment's bytes, in order, each checked and chained to the one before. Ends at the end of `bytes` or
/// where nothing but zeros follows; after a fault it ends too. The first frame's `previous` is not checked: what it
/// should be stands in another segment.
pub fn frames(bytes: &[u8]) -> Frames<'_> {
    Frames { bytes, offset: 0, previous: None, over: false }
}

/// See [`frames`].
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    offset: usize,
    previous: Option<[u8; 32]>,
    over: bool,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<RawFrame<'a>, FrameFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over || is_zero(&self.bytes[self.offset..]) {
            return None;
        }
        let frame = frame_at(self.bytes, self.offset)
            .and_then(|frame| self.chained(frame))
            .map_err(|flaw| FrameFault { offset: self.offset as u64, flaw });
        match &frame {
            Ok(frame) => {
                self.previous = Some(frame.link);
                self.offset += frame.bytes.len();
            }
            Err(_) => self.over = true,
        }
        Some(frame)
    }
}

impl<'a> Frames<'a> {
    fn chained(&self, frame: RawFrame<'a>) -> Result<RawFrame<'a>, Flaw> {
        let follows = self.previous.is_none_or(|previous| previous == frame.header.previous);
        follows.then_some(frame).ok_or(Flaw::Chain)
    }
}

/// Whether there are only zeros. A frame begins with other bytes, so this looks no further than it must.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<16>();
    chunks.iter().all(|chunk| *chunk == [0; 16]) && rest.iter().all(|byte| *byte == 0)
}

/// The frame that begins at `offset`, whole and with the right checksum, whatever stands before it.
pub(crate) fn frame_at(bytes: &[u8], offset: usize) -> Result<RawFrame<'_>, Flaw> {
    let rest = bytes.get(offset..).ok_or(Flaw::NoFrame)?;
    if !rest.starts_with(&MAGIC) {
        return Err(Flaw::NoFrame);
    }
    let head: &[u8; HEADER_BYTES] = rest.first_chunk().ok_or(Flaw::Length)?;
    let length = u32_at(head, 8) as usize;
    let bytes = rest.get(..HEADER_BYTES + length).filter(|_| length <= BODY_BYTES_MAX).ok_or(Flaw::Length)?;
    if crc32c::crc32c(&bytes[8..]) != u32_at(head, 4) {
        return Err(Flaw::Checksum);
    }
    let header = parse_header(head, length).ok_or(Flaw::Header)?;
    let body = &bytes[HEADER_BYTES..];
    let bound = if header.kind.is_encrypted() { &body[length - TAG_BYTES..] } else { body };
    Ok(RawFrame { offset: offset as u64, header, link: link(head, bound), body, bytes })
}

fn parse_header(head: &[u8; HEADER_BYTES], length: usize) -> Option<Header> {
    let [version, kind, stream, flags] = [head[48], head[49], head[50], head[51]];
    let kind = Kind::from_code(kind)?;
    let encrypted = stream & ENCRYPTED != 0;
    let stream = Stream::from_code(stream & !ENCRYPTED)?;
    let sound = version == VERSION
        && flags & !CONTINUES == 0
        && encrypted == kind.is_encrypted()
        && (stream != Stream::None) == (kind == Kind::Data)
        && (!encrypted || length >= TAG_BYTES);
    sound.then(|| Header {
        kind,
        stream,
        continues: flags & CONTINUES != 0,
        session: u64_at(head, 52),
        sequence: u64_at(head, 60),
        nanos: u64_at(head, 68),
        batch: u32_at(head, 12),
        channel: u32_at(head, 76),
        block: u32_at(head, 80),
        previous: head[16..48].try_into().expect("a header has 32 bytes after the 16th"),
    })
}

fn u32_at(head: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(head[at..at + 4].try_into().expect("a header's fields lie inside it"))
}

fn u64_at(head: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(head[at..at + 8].try_into().expect("a header's fields lie inside it"))
}

/// A frame whose ciphertext this key did not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the frame was not made with this key, or was changed")]
pub struct NotOpened;

/// What an encrypted frame holds; of a frame in the clear, its bytes.
pub fn open_payload(key: &FrameKey, frame: &RawFrame<'_>) -> Result<Vec<u8>, NotOpened> {
    let mut bytes = frame.body.to_vec();
    if frame.header.kind.is_encrypted() {
        let additional = Aad::from(&frame.bytes[IDENTITY..HEADER_BYTES]);
        let plain = key.0.open_in_place(nonce(frame.header.sequence), additional, &mut bytes).map_err(|_| NotOpened)?;
        let length = plain.len();
        bytes.truncate(length);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(kind: Kind, stream: Stream) -> Header {
        let (session, sequence, nanos, previous) = (7, 8, 9, [5; 32]);
        Header { kind, stream, continues: false, session, sequence, nanos, batch: 11, channel: 12, block: 13, previous }
    }

    fn two_frames(key: &FrameKey) -> Vec<u8> {
        let mut bytes = Vec::new();
        let previous = put_sealed(&mut bytes, &header(Kind::Data, Stream::Out), b"typed", key).link;
        let leaf = Header { previous, continues: true, ..header(Kind::Leaf, Stream::None) };
        put_clear(&mut bytes, &leaf, b"entry");
        bytes
    }

    #[test]
    fn frames_read_back_as_written() {
        let key = FrameKey::new(&[1; 32]);
        let mut bytes = two_frames(&key);
        bytes.resize(bytes.len() + 100, 0);
        let read: Vec<_> = frames(&bytes).map(Result::unwrap).collect();
        assert_eq!(read.iter().map(|frame| frame.header.kind).collect::<Vec<_>>(), [Kind::Data, Kind::Leaf]);
        assert_eq!(read[0].header, header(Kind::Data, Stream::Out));
        assert_eq!((read[1].header.previous, read[1].header.continues), (read[0].link, true));
        assert_eq!(open_payload(&key, &read[0]).as_deref(), Ok(b"typed".as_slice()));
        assert_eq!(open_payload(&key, &read[1]).as_deref(), Ok(b"entry".as_slice()));
        assert_eq!(open_payload(&FrameKey::new(&[2; 32]), &read[0]), Err(NotOpened));
    }

    #[test]
    fn the_nonce_is_the_sequence_in_96_bits() {
        let mut bytes = Vec::new();
        let sequence = 0x0102_0304_0506_0708;
        let header = Header { sequence, ..header(Kind::Data, Stream::In) };
        put_sealed(&mut bytes, &header, b"typed", &FrameKey::new(&[1; 32]));
        let (head, body) = bytes.split_at_mut(HEADER_BYTES);
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[1; 32]).unwrap());
        let nonce = Nonce::assume_unique_for_key([8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0]);
        assert_eq!(key.open_in_place(nonce, Aad::from(&head[48..]), body).as_deref(), Ok(b"typed".as_slice()));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let whole = two_frames(&FrameKey::new(&[1; 32]));
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(frames(&bytes).any(|frame| frame.is_err()), "bit {bit}");
        }
    }

    #[test]
    fn a_changed_header_with_a_right_checksum_breaks_the_chain_or_the_seal() {
        let key = FrameKey::new(&[1; 32]);
        for byte in (12..48).chain(52..HEADER_BYTES) {
            let mut bytes = two_frames(&key);
            let length = frame_at(&bytes, 0).unwrap().end() as usize;
            bytes[byte] ^= 1;
            put_checksum(&mut bytes[..length]);
            let opened = open_payload(&key, &frame_at(&bytes, 0).unwrap());
            assert_eq!(opened.is_err(), byte >= IDENTITY, "byte {byte}");
            assert_eq!(frames(&bytes).nth(1).map(|frame| frame.map(|_| ())).unwrap().unwrap_err().flaw, Flaw::Chain);
        }
    }

    #[test]
    fn the_mark_of_a_frame_is_made_again_from_its_plain_bytes() {
        let key = FrameKey::new(&[1; 32]);
        let mut bytes = Vec::new();
        let put = put_sealed(&mut bytes, &header(Kind::Data, Stream::Out), b"typed", &key);
        let read = frame_at(&bytes, 0).unwrap();
        assert_eq!((read.link, read.mark()), (put.link, put.mark));
        let elsewhere = Header { batch: 0, previous: [0; 32], ..read.header };
        assert_eq!(mark_again(&elsewhere, b"typed", &key), put.mark);
        for other in [Header { nanos: 1, ..read.header }, Header { channel: 1, ..read.header }] {
            assert_ne!(mark_again(&other, b"typed", &key), put.mark);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), sound in any::<bool>()) {
            if sound && bytes.len() > HEADER_BYTES {
                let length = (bytes.len() - HEADER_BYTES) as u32;
                bytes[..4].copy_from_slice(&MAGIC);
                bytes[8..12].copy_from_slice(&length.to_le_bytes());
                put_checksum(&mut bytes);
            }
            let read = frames(&bytes).count();
            prop_assert!(read <= 1 + bytes.len() / HEADER_BYTES);
        }
    }
}

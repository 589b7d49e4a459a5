//! The block: some frames of one session, taken out of the segments to be kept. Sealed, it is one ciphertext with a key
//! of its own, compressed; after a crash the gate has no keys, and keeps the frames as they lay in the segments.
//!
//! ```text
//!  0 u32 magic    4 u8 version, u8 form (1: sealed, 2: frames), u8 codec (0: as it is, 1: zstd), u8 zero
//!  8 u64 session     16 u32 number     20 u32 length of what follows the header
//! 24 u64 first sequence     32 u32 count of frames     36 u32 length of the plain content; 0 where there is none
//! 40 u64 nanoseconds of the first frame     48 u64 of the last     56 ciphertext and tag, or frames
//! ```
//! Sealed content is encrypted with AES-256-GCM under the block's key, which encrypts nothing else, with a nonce of zeros
//! and the header as additional data. Numbers are little endian; those of the content are LEB128, shortest form.
//!
//! ```text
//! content   = count of keyframes, keyframes, frames
//! keyframe  = channel, columns, rows, length, what draws that channel's screen as it was before the first frame
//! frame     = u8 kind, u8 stream, channel, nanoseconds since the frame before (the first: 0), length, bytes
//! ```

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::codec::{Fields, Malformed};
use crate::frame::{self, BODY_BYTES_MAX, HEADER_BYTES, Header, Kind, RawFrame, Stream, TAG_BYTES};

/// Bytes of a block's header.
pub const BLOCK_HEADER_BYTES: usize = 56;
/// What a block may hold behind its header, in either form, and as plain content. One is closed at a quarter mebibyte; the
/// last frame and the keyframes come on top.
pub const BLOCK_BYTES_MAX: usize = 4 << 20;

/// What the keyframes of a block may take. Screens that are larger have none, and a reader begins further back.
pub const KEYFRAMES_BYTES_MAX: usize = 1 << 20;

const MAGIC: [u8; 4] = *b"HPb1";
const VERSION: u8 = 1;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// How a block holds its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Form {
    /// As one ciphertext.
    Sealed = 1,
    /// As they lay in the segments.
    Frames = 2,
}

/// A block's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    /// How it holds its frames.
    pub form: Form,
    /// Index of the session's opening leaf.
    pub session: u64,
    /// Counts the session's blocks, from 0. A sealed block's key is the one of this number.
    pub number: u32,
    /// The sequence of its first frame.
    pub first: u64,
    /// How many frames there are.
    pub frames: u32,
    /// The monotonic clock at the first frame.
    pub first_nanos: u64,
    /// And at the last.
    pub last_nanos: u64,
    codec: u8,
    plain_bytes: u32,
    body_bytes: u32,
}

impl BlockHeader {
    /// Reads the header that begins `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        const WHAT: Malformed = Malformed("block of this version");
        let mut fields = Fields::new(bytes, "block");
        if fields.array()? != MAGIC || fields.u8()? != VERSION {
            return Err(WHAT);
        }
        let form = match fields.u8()? {
            1 => Form::Sealed,
            2 => Form::Frames,
            _ => return Err(WHAT),
        };
        let (codec, zero) = (fields.u8()?, fields.u8()?);
        let (session, number, body_bytes) = (fields.u64()?, fields.u32()?, fields.u32()?);
        let (first, frames, plain_bytes) = (fields.u64()?, fields.u32()?, fields.u32()?);
        let (first_nanos, last_nanos) = (fields.u64()?, fields.u64()?);
        let sound = zero == 0
            && frames > 0
            && first_nanos <= last_nanos
            && first.checked_add(u64::from(frames)).is_some()
            && body_bytes as usize <= BLOCK_BYTES_MAX
            && plain_bytes as usize <= BLOCK_BYTES_MAX
            && match form {
                Form::Sealed => codec <= ZSTD && body_bytes as usize >= TAG_BYTES,
                Form::Frames => codec == PLAIN && plain_bytes == 0,
            };
        let header =
            Self { form, session, number, first, frames, first_nanos, last_nanos, codec, plain_bytes, body_bytes };
        if sound { Ok(header) } else { Err(WHAT) }
    }

    fn encode(&self) -> [u8; BLOCK_HEADER_BYTES] {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&[VERSION, self.form as u8, self.codec, 0]);
        bytes[8..16].copy_from_slice(&self.session.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.number.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.frames.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.plain_bytes.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_nanos.to_le_bytes());
        bytes[48..].copy_from_slice(&self.last_nanos.to_le_bytes());
        bytes
    }

    /// Bytes of the whole block.
    pub const fn length(&self) -> u64 {
        (BLOCK_HEADER_BYTES + self.body_bytes as usize) as u64
    }

    /// The sequence behind its last frame.
    pub const fn end(&self) -> u64 {
        self.first + self.frames as u64
    }
}

/// The key of one sealed block. Not `Clone`, and gone from memory when dropped.
pub struct BlockKey(LessSafeKey);

impl BlockKey {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("AES-256 keys are 32 bytes")))
    }
}

impl std::fmt::Debug for BlockKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlockKey")
    }
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Frames on their way into a block.
#[derive(Debug)]
pub(crate) struct Gathered {
    session: u64,
    number: u32,
    first: u64,
    frames: u32,
    first_nanos: u64,
    last_nanos: u64,
    /// As it is sealed, where there are no keyframes: a zero counts them.
    content: Vec<u8>,
}

impl Gathered {
    /// A block that begins with the session's frame `first`, gathered in this buffer.
    pub(crate) fn new(session: u64, number: u32, first: u64, nanos: u64, buffer: Vec<u8>) -> Self {
        let mut content = buffer;
        content.clear();
        content.push(0);
        Self { session, number, first, frames: 0, first_nanos: nanos, last_nanos: nanos, content }
    }

    /// One more frame, in order.
    pub(crate) fn push(&mut self, kind: Kind, stream: Stream, channel: u32, nanos: u64, bytes: &[u8]) {
        self.content.extend_from_slice(&[kind.code(), stream as u8]);
        put_number(&mut self.content, u64::from(channel));
        put_number(&mut self.content, nanos.saturating_sub(self.last_nanos));
        put_number(&mut self.content, bytes.len() as u64);
        self.content.extend_from_slice(bytes);
        self.last_nanos = self.last_nanos.max(nanos);
        self.frames += 1;
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.content.len()
    }

    pub(crate) const fn session(&self) -> u64 {
        self.session
    }

    /// The buffer, for another block.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.content
    }

    const fn header(&self, plain_bytes: u32, codec: u8, body_bytes: u32) -> BlockHeader {
        let Self { session, number, first, frames, first_nanos, last_nanos, .. } = *self;
        let form = Form::Sealed;
        BlockHeader { form, session, number, first, frames, first_nanos, last_nanos, codec, plain_bytes, body_bytes }
    }
}

/// A block as it goes to the disk.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) header: BlockHeader,
    pub(crate) bytes: Vec<u8>,
}

impl Block {
    /// What its leaf says of its bytes.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }
}

/// Compresses and encrypts; in buffers that are used again, since fresh memory costs more than what is done with it.
pub(crate) struct Sealing {
    compressor: zstd::bulk::Compressor<'static>,
    packed: Vec<u8>,
    blocks: Vec<Vec<u8>>,
}

impl Sealing {
    /// The level is the fastest: a higher one was slower and not denser.
    const LEVEL: i32 = 1;

    pub(crate) fn new() -> Self {
        let compressor = zstd::bulk::Compressor::new(Self::LEVEL).expect("there is such a level");
        Self { compressor, packed: Vec::new(), blocks: Vec::new() }
    }

    /// The block of these frames, with what draws the screens before the first of them.
    pub(crate) fn seal(&mut self, gathered: &Gathered, keyframes: &[Keyframe], key: &BlockKey) -> Block {
        let with_keyframes = (!keyframes.is_empty()).then(|| {
            let mut plain = Vec::with_capacity(gathered.content.len() + 16);
            put_number(&mut plain, keyframes.len() as u64);
            keyframes.iter().for_each(|keyframe| keyframe.put(&mut plain));
            plain.extend_from_slice(&gathered.content[1..]);
            plain
        });
        let plain = with_keyframes.as_ref().unwrap_or(&gathered.content);
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        let packed = self.compressor.compress_to_buffer(plain, &mut self.packed);
        let packs = packed.is_ok_and(|length| length < plain.len());
        let (codec, body) = if packs { (ZSTD, &self.packed) } else { (PLAIN, plain) };
        let length = |bytes: usize| u32::try_from(bytes).expect("a block has some mebibytes");
        let header = gathered.header(length(plain.len()), codec, length(body.len() + TAG_BYTES));
        let mut bytes = self.blocks.pop().unwrap_or_default();
        bytes.clear();
        bytes.reserve(BLOCK_HEADER_BYTES + body.len() + TAG_BYTES);
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(body);
        let (head, sealed) = bytes.split_at_mut(BLOCK_HEADER_BYTES);
        let tag = key.0.seal_in_place_separate_tag(nonce(), Aad::from(&*head), sealed);
        let tag = tag.expect("a block is shorter than what AES-GCM takes");
        bytes.extend_from_slice(tag.as_ref());
        Block { header, bytes }
    }

    /// A block that is done with gives its buffer back.
    pub(crate) fn reuse(&mut self, block: Block) {
        self.blocks.push(block.bytes);
    }
}

/// A block of frames as they lie in segments, which follow one another in one session.
pub(crate) fn of_frames(session: u64, number: u32, frames: &[RawFrame<'_>]) -> Option<Block> {
    let (first, last) = (frames.first()?, frames.last()?);
    let body_bytes = frames.iter().map(|frame| frame.bytes().len()).sum::<usize>();
    let header = BlockHeader {
        form: Form::Frames,
        session,
        number,
        first: first.header.sequence,
        frames: u32::try_from(frames.len()).ok()?,
        first_nanos: first.header.nanos,
        last_nanos: last.header.nanos,
        codec: PLAIN,
        plain_bytes: 0,
        body_bytes: u32::try_from(body_bytes).ok()?,
    };
    let mut bytes = header.encode().to_vec();
    frames.iter().for_each(|frame| bytes.extend_from_slice(frame.bytes()));
    Some(Block { header, bytes })
}

/// What draws a channel's screen as it was when its block began: for seeking. The gate worked it out, it is no evidence, and
/// nothing but [`Store::seek`](crate::read::Store::seek) reads it. A block that has one has those of all terminals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyframe {
    /// The channel.
    pub channel: u32,
    /// The screen's columns.
    pub columns: u16,
    /// And its rows.
    pub rows: u16,
    /// Escape sequences and text that draw it on an empty screen, and behind them what came of a sequence or a character
    /// that was not whole.
    pub draws: Bytes,
}

impl Keyframe {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_number(bytes, u64::from(self.channel));
        put_number(bytes, u64::from(self.columns));
        put_number(bytes, u64::from(self.rows));
        put_number(bytes, self.draws.len() as u64);
        bytes.extend_from_slice(&self.draws);
    }

    fn parse(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        const WHAT: Malformed = Malformed("keyframe");
        let small = |number: u64| u16::try_from(number).map_err(|_| WHAT);
        let channel = u32::try_from(number(fields)?).map_err(|_| WHAT)?;
        let (columns, rows) = (small(number(fields)?)?, small(number(fields)?)?);
        let length = usize::try_from(number(fields)?).map_err(|_| WHAT)?;
        Ok(Self { channel, columns, rows, draws: Bytes::copy_from_slice(fields.bytes(length)?) })
    }
}

/// A frame taken out of a sealed block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainFrame {
    /// As it was in its segment, but for its place there.
    pub header: Header,
    /// What it holds.
    pub bytes: Bytes,
}

/// What a sealed block holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The screens before its first frame, where it has them.
    pub keyframes: Vec<Keyframe>,
    /// Its frames.
    pub frames: Vec<PlainFrame>,
}

/// Why a block gives no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockFault {
    /// The key does not open it: another session's, or the block was changed.
    #[error("the block was not made with this key, or was changed")]
    NotOpened,
    /// It opens, and what is inside is not what its header says.
    #[error("the block opens, and does not hold what its header says")]
    Content,
    /// It is no sealed block.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Opens a sealed block: `bytes` are the whole of it.
pub fn open(bytes: &[u8], key: &BlockKey) -> Result<Content, BlockFault> {
    let header = BlockHeader::parse(bytes)?;
    if header.form != Form::Sealed || bytes.len() as u64 != header.length() {
        return Err(Malformed("sealed block").into());
    }
    let (head, body) = bytes.split_at(BLOCK_HEADER_BYTES);
    let mut body = body.to_vec();
    let opened = key.0.open_in_place(nonce(), Aad::from(head), &mut body).map_err(|_| BlockFault::NotOpened)?;
    let unpacked;
    let plain: &[u8] = match header.codec {
        PLAIN => opened,
        _ => {
            unpacked = zstd::bulk::decompress(opened, header.plain_bytes as usize).map_err(|_| BlockFault::Content)?;
            &unpacked
        }
    };
    if plain.len() != header.plain_bytes as usize {
        return Err(BlockFault::Content);
    }
    content(plain, &header).map_err(|_| BlockFault::Content)
}

fn content(plain: &[u8], header: &BlockHeader) -> Result<Content, Malformed> {
    let mut fields = Fields::new(plain, "content of a block");
    let count = number(&mut fields)?;
    let keyframes = (0..count).map(|_| Keyframe::parse(&mut fields)).collect::<Result<_, _>>()?;
    let frames = read_frames(&mut fields, header)?;
    let last_nanos = frames.last().map_or(header.first_nanos, |last| last.header.nanos);
    let agrees = frames.len() == header.frames as usize && last_nanos == header.last_nanos;
    if agrees { Ok(Content { keyframes, frames }) } else { Err(Malformed("content of a block")) }
}

fn read_frames(fields: &mut Fields<'_>, block: &BlockHeader) -> Result<Vec<PlainFrame>, Malformed> {
    const WHAT: Malformed = Malformed("frame of a block");
    let (mut frames, mut nanos, mut sequence) = (Vec::new(), block.first_nanos, block.first);
    while !fields.is_at_end() {
        let (kind, stream) = (fields.u8()?, fields.u8()?);
        let kind = Kind::from_code(kind).filter(|kind| kind.is_encrypted()).ok_or(WHAT)?;
        let stream = Stream::from_code(stream).filter(|stream| (*stream != Stream::None) == (kind == Kind::Data));
        let channel = u32::try_from(number(fields)?).map_err(|_| WHAT)?;
        nanos = nanos.checked_add(number(fields)?).ok_or(WHAT)?;
        let length = usize::try_from(number(fields)?).ok().filter(|length| *length <= BODY_BYTES_MAX).ok_or(WHAT)?;
        let bytes = Bytes::copy_from_slice(fields.bytes(length)?);
        let (session, stream) = (block.session, stream.ok_or(WHAT)?);
        let (continues, batch, previous) = (false, 0, [0; 32]);
        let header =
            Header { kind, stream, continues, session, sequence, nanos, batch, channel, block: block.number, previous };
        frames.push(PlainFrame { header, bytes });
        sequence = sequence.checked_add(1).ok_or(WHAT)?;
    }
    Ok(frames)
}

/// The frames of a block that holds them as they lay in the segments: `bytes` are the whole of it. Each is whole, and they
/// are the ones that the header says.
pub fn raw_frames(bytes: &[u8]) -> Result<Vec<RawFrame<'_>>, Malformed> {
    const WHAT: Malformed = Malformed("block of frames");
    let header = BlockHeader::parse(bytes)?;
    if header.form != Form::Frames || bytes.len() as u64 != header.length() {
        return Err(WHAT);
    }
    let (mut frames, mut at) = (Vec::new(), BLOCK_HEADER_BYTES);
    while at < bytes.len() {
        let frame = frame::frame_at(bytes, at).map_err(|_| WHAT)?;
        at = usize::try_from(frame.end()).map_err(|_| WHAT)?;
        frames.push(frame);
    }
    let sequences = header.first..header.end();
    let in_order = frames.iter().map(|frame| (frame.header.session, frame.header.sequence));
    let expected = sequences.map(|sequence| (header.session, sequence));
    let times = (frames.first().map(|frame| frame.header.nanos), frames.last().map(|frame| frame.header.nanos));
    let agrees = in_order.eq(expected) && times == (Some(header.first_nanos), Some(header.last_nanos));
    if agrees && frames.iter().all(|frame| frame.header.kind.is_encrypted()) { Ok(frames) } else { Err(WHAT) }
}

/// Unsigned LEB128, shortest form.
fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn number(fields: &mut Fields<'_>) -> Result<u64, Malformed> {
    const WHAT: Malformed = Malformed("number");
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = fields.u8()?;
        let part = u64::from(byte & 0x7f);
        if shift + 7 > u64::BITS && part >> (u64::BITS - shift) != 0 {
            return Err(WHAT);
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return if byte == 0 && shift > 0 { Err(WHAT) } else { Ok(number) };
        }
    }
    Err(WHAT)
}

/// The longest block: what a reader holds at once.
pub(crate) const WHOLE_BYTES_MAX: u64 = (BLOCK_HEADER_BYTES + BLOCK_BYTES_MAX) as u64;
const _: () = assert!(BLOCK_BYTES_MAX > 2 * (BODY_BYTES_MAX + HEADER_BYTES) + KEYFRAMES_BYTES_MAX);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::Fact;

    fn gathered() -> Gathered {
        let mut gathered = Gathered::new(7, 3, 100, 1_000, Vec::new());
        gathered.push(Kind::Data, Stream::In, 1, 1_000, b"ls\r");
        gathered.push(Kind::Fact(Fact::Resize), Stream::None, 1, 1_500, &[80, 24]);
        gathered.push(Kind::Data, Stream::Out, 300, 2_000_000_000, &[b'x'; 5_000]);
        gathered
    }

    fn frames_of(gathered: &Gathered) -> Vec<PlainFrame> {
        read_frames(&mut Fields::new(&gathered.content[1..], "content of a block"), &gathered.header(0, PLAIN, 0))
            .unwrap()
    }

    fn key() -> BlockKey {
        BlockKey::new(&[4; 32])
    }

    #[test]
    fn what_was_sealed_is_opened_as_it_was_gathered() {
        let keyframes = [Keyframe { channel: 1, columns: 80, rows: 24, draws: Bytes::from_static(b"\x1b[2J$ ") }];
        let block = Sealing::new().seal(&gathered(), &keyframes, &key());
        assert!(block.bytes.len() < 300, "five thousand times the same is packed");
        let opened = open(&block.bytes, &key()).unwrap();
        assert_eq!((opened.keyframes.as_slice(), &opened.frames), (&keyframes[..], &frames_of(&gathered())));
        let sequences: Vec<_> =
            opened.frames.iter().map(|frame| (frame.header.sequence, frame.header.nanos, frame.header.block)).collect();
        assert_eq!(sequences, [(100, 1_000, 3), (101, 1_500, 3), (102, 2_000_000_000, 3)]);
        assert_eq!(BlockHeader::parse(&block.bytes).unwrap(), block.header);
        assert_eq!((block.header.end(), block.header.length()), (103, block.bytes.len() as u64));
        assert_eq!(open(&block.bytes, &BlockKey::new(&[5; 32])), Err(BlockFault::NotOpened));
    }

    #[test]
    fn noise_is_kept_as_it_is() {
        let mut noise = vec![0; 10_000];
        aws_lc_rs::rand::fill(&mut noise).unwrap();
        let mut gathered = gathered();
        gathered.push(Kind::Data, Stream::In, 0, 2_000_000_000, &noise);
        let small = Sealing::new().seal(&gathered, &[], &key());
        assert_eq!(open(&small.bytes, &key()).unwrap().frames[3].bytes, noise);
    }

    #[test]
    fn every_flipped_bit_of_a_sealed_block_is_found() {
        let good = Sealing::new().seal(&gathered(), &[], &key()).bytes;
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&bad, &key()).is_err(), "bit {bit}");
        }
        assert!(open(&good[..good.len() - 1], &key()).is_err());
    }

    #[test]
    fn frames_are_kept_as_they_lay_and_others_refused() {
        let frame_key = crate::frame::FrameKey::new(&[6; 32]);
        let mut bytes = Vec::new();
        for sequence in 5..8 {
            let (kind, stream, session) = (Kind::Data, Stream::Out, 2);
            let (continues, nanos, batch, channel, block) = (false, sequence * 10, 0, 1, 0);
            let previous = [0; 32];
            let header = Header { kind, stream, continues, session, sequence, nanos, batch, channel, block, previous };
            frame::put_sealed(&mut bytes, &header, b"bytes", &frame_key);
        }
        let one = bytes.len() / 3;
        let frames: Vec<_> = (0..3).map(|at| frame::frame_at(&bytes, at * one).unwrap()).collect();
        let block = of_frames(2, 9, &frames).unwrap();
        let read = raw_frames(&block.bytes).unwrap();
        assert!(read.iter().map(RawFrame::bytes).eq(frames.iter().map(RawFrame::bytes)));
        assert_eq!((block.header.first, block.header.end(), block.header.last_nanos), (5, 8, 70));
        let swapped = of_frames(2, 9, &[frames[1], frames[0], frames[2]]).unwrap();
        assert!(raw_frames(&swapped.bytes).is_err());
        assert!(open(&block.bytes, &key()).is_err());
        let mut torn = block.bytes.clone();
        torn[BLOCK_HEADER_BYTES + one + 90] ^= 1;
        assert!(raw_frames(&torn).is_err());
    }

    proptest! {
        #[test]
        fn numbers_read_back_in_one_spelling(numbers in prop::collection::vec(any::<u64>(), 0..20)) {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|number| put_number(&mut bytes, *number));
            let mut fields = Fields::new(&bytes, "numbers");
            for expected in numbers {
                prop_assert_eq!(number(&mut fields).unwrap(), expected);
            }
            prop_assert!(fields.is_at_end());
        }

        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (plain, header) = (bytes.clone(), gathered().header(0, PLAIN, 0));
            drop((BlockHeader::parse(&bytes), raw_frames(&bytes), content(&plain, &header)));
            let mut headed = header.encode().to_vec();
            headed.extend_from_slice(&bytes);
            drop((open(&headed, &key()), raw_frames(&headed)));
        }
    }
}

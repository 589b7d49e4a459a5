//! SFTP packets as bytes: where one ends, what its fields are, how the gate writes its own. What a packet asks for and
//! whether it may is decided elsewhere. Numbers and layouts: draft-ietf-secsh-filexfer-02 (version 3).

use bytes::{Bytes, BytesMut};

use super::super::Breach;

/// What the length field of a packet may say: OpenSSH's limit of 256 KiB, and room for the fields around so much data.
pub(crate) const PACKET_BYTES_MAX: u32 = (256 << 10) + 1024;

const LENGTH_BYTES: usize = 4;

/// Packet types.
pub(super) mod kind {
    pub(crate) const INIT: u8 = 1;
    pub(crate) const VERSION: u8 = 2;
    pub(crate) const OPEN: u8 = 3;
    pub(crate) const CLOSE: u8 = 4;
    pub(crate) const READ: u8 = 5;
    pub(crate) const WRITE: u8 = 6;
    pub(crate) const LSTAT: u8 = 7;
    pub(crate) const FSTAT: u8 = 8;
    pub(crate) const SETSTAT: u8 = 9;
    pub(crate) const FSETSTAT: u8 = 10;
    pub(crate) const OPENDIR: u8 = 11;
    pub(crate) const READDIR: u8 = 12;
    pub(crate) const REMOVE: u8 = 13;
    pub(crate) const MKDIR: u8 = 14;
    pub(crate) const RMDIR: u8 = 15;
    pub(crate) const REALPATH: u8 = 16;
    pub(crate) const STAT: u8 = 17;
    pub(crate) const RENAME: u8 = 18;
    pub(crate) const READLINK: u8 = 19;
    pub(crate) const SYMLINK: u8 = 20;
    pub(crate) const STATUS: u8 = 101;
    pub(crate) const HANDLE: u8 = 102;
    pub(crate) const DATA: u8 = 103;
    pub(crate) const NAME: u8 = 104;
    pub(crate) const ATTRS: u8 = 105;
    pub(crate) const EXTENDED: u8 = 200;
    pub(crate) const EXTENDED_REPLY: u8 = 201;
}

/// Codes of STATUS.
pub(super) mod status {
    pub(crate) const OK: u32 = 0;
    pub(crate) const EOF: u32 = 1;
    pub(crate) const PERMISSION_DENIED: u32 = 3;
    pub(crate) const FAILURE: u32 = 4;
    pub(crate) const OP_UNSUPPORTED: u32 = 8;
}

/// Flags of OPEN.
pub(super) mod open {
    pub(crate) const READ: u32 = 0x01;
    pub(crate) const WRITE: u32 = 0x02;
    pub(crate) const APPEND: u32 = 0x04;
    pub(crate) const CREATE: u32 = 0x08;
    pub(crate) const TRUNCATE: u32 = 0x10;
    pub(crate) const EXCLUSIVE: u32 = 0x20;
    pub(crate) const KNOWN: u32 = 0x3f;
}

/// The flag of ATTRS that says that a size follows.
const ATTR_SIZE: u32 = 0x01;

/// One direction's bytes, cut into whole packets. What is left of a chunk waits here for its end: at most one packet.
#[derive(Debug, Default)]
pub(super) struct Packets {
    begun: BytesMut,
}

impl Packets {
    /// Takes a chunk and gives back the stretches of it that consist of whole packets: one that was begun in an
    /// earlier chunk, then the rest, uncopied.
    pub(super) fn take(&mut self, mut chunk: Bytes) -> Result<[Bytes; 2], Breach> {
        let mut completed = Bytes::new();
        if !self.begun.is_empty() {
            self.grow_to(LENGTH_BYTES, &mut chunk);
            match whole_bytes(&self.begun)? {
                Some(whole) => self.grow_to(whole, &mut chunk),
                None => return Ok([completed, chunk]),
            }
            if whole_bytes(&self.begun)? == Some(self.begun.len()) {
                completed = self.begun.split().freeze();
            } else {
                return Ok([completed, chunk]);
            }
        }
        let mut end = 0;
        while let Some(whole) = whole_bytes(&chunk[end..])?
            && end + whole <= chunk.len()
        {
            end += whole;
        }
        self.begun.extend_from_slice(&chunk[end..]);
        chunk.truncate(end);
        Ok([completed, chunk])
    }

    fn grow_to(&mut self, bytes: usize, chunk: &mut Bytes) {
        let missing = bytes.saturating_sub(self.begun.len()).min(chunk.len());
        self.begun.extend_from_slice(&chunk.split_to(missing));
    }
}

/// The size of the packet that begins here, if its length field is there.
fn whole_bytes(bytes: &[u8]) -> Result<Option<usize>, Breach> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    match u32::from_be_bytes(*length) {
        length @ 5..=PACKET_BYTES_MAX => Ok(Some(LENGTH_BYTES + length as usize)),
        length => Err(Breach::PacketLength(length)),
    }
}

/// The first packet of a stretch of whole ones, and what follows it.
pub(super) fn first_packet(stretch: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = stretch.first_chunk::<LENGTH_BYTES>().map(|length| u32::from_be_bytes(*length) as usize)?;
    stretch.split_at_checked(LENGTH_BYTES + length)
}

/// Reads a packet's fields in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The type of a packet with its length field, and what follows the type.
    pub(super) fn of_packet(packet: &'a [u8]) -> Result<(u8, Self), Breach> {
        let (kind, fields) = packet.get(LENGTH_BYTES..).and_then(<[u8]>::split_first).ok_or(Breach::ShortPacket)?;
        Ok((*kind, Self(fields)))
    }

    /// What was not read yet.
    pub(super) const fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn u32(&mut self) -> Result<u32, Breach> {
        let (value, rest) = self.0.split_first_chunk().ok_or(Breach::ShortPacket)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*value))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Breach> {
        let (value, rest) = self.0.split_first_chunk().ok_or(Breach::ShortPacket)?;
        self.0 = rest;
        Ok(u64::from_be_bytes(*value))
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], Breach> {
        let length = self.u32()? as usize;
        let (value, rest) = self.0.split_at_checked(length).ok_or(Breach::ShortPacket)?;
        self.0 = rest;
        Ok(value)
    }

    /// The size in the attributes that stand here. Attributes that are missing name none.
    pub(super) fn size(mut self) -> Result<Option<u64>, Breach> {
        if self.is_empty() || self.u32()? & ATTR_SIZE == 0 {
            return Ok(None);
        }
        self.u64().map(Some)
    }
}

/// An INIT that offers version 3 and nothing else.
pub(super) fn init() -> Bytes {
    packet(kind::INIT, &[&3_u32.to_be_bytes()])
}

/// A VERSION that agrees to version 3 with these extensions, names and data in turn.
pub(super) fn version(extensions: &[&[u8]]) -> Bytes {
    let lengths: Vec<[u8; 4]> = extensions.iter().map(|text| length_field(text)).collect();
    let texts = lengths.iter().zip(extensions).flat_map(|(length, text)| [&length[..], *text]);
    let fields: Vec<&[u8]> = std::iter::once(&[0, 0, 0, 3][..]).chain(texts).collect();
    packet(kind::VERSION, &fields)
}

/// Attributes without the size in them; none if nothing else is there.
pub(super) fn without_size(attributes: &[u8]) -> Option<Vec<u8>> {
    let mut fields = Fields(attributes);
    let flags = fields.u32().ok()?;
    if flags & ATTR_SIZE != 0 {
        fields.u64().ok()?;
    }
    let flags = flags & !ATTR_SIZE;
    (flags != 0).then(|| [&flags.to_be_bytes(), fields.0].concat())
}

/// Attributes that say a size alone.
pub(super) fn size_alone(bytes: u64) -> [u8; 12] {
    let mut attributes = [0; 12];
    attributes[..4].copy_from_slice(&ATTR_SIZE.to_be_bytes());
    attributes[4..].copy_from_slice(&bytes.to_be_bytes());
    attributes
}

/// An OPEN. Without attributes the target's own apply.
pub(super) fn open_request(id: u32, path: &[u8], flags: u32, attributes: Option<&[u8]>) -> Bytes {
    let attributes = attributes.unwrap_or(&[0; 4]);
    packet(kind::OPEN, &[&id.to_be_bytes(), &length_field(path), path, &flags.to_be_bytes(), attributes])
}

/// A WRITE.
pub(super) fn write_request(id: u32, handle: &[u8], offset: u64, data: &[u8]) -> Bytes {
    let (id, offset, length) = (id.to_be_bytes(), offset.to_be_bytes(), length_field(data));
    packet(kind::WRITE, &[&id, &length_field(handle), handle, &offset, &length, data])
}

/// An FSETSTAT.
pub(super) fn attributes_request(id: u32, handle: &[u8], attributes: &[u8]) -> Bytes {
    packet(kind::FSETSTAT, &[&id.to_be_bytes(), &length_field(handle), handle, attributes])
}

/// An fsync, OpenSSH's PROTOCOL, 4.4.
pub(super) fn sync_request(id: u32, handle: &[u8]) -> Bytes {
    const NAME: &[u8] = b"fsync@openssh.com";
    packet(kind::EXTENDED, &[&id.to_be_bytes(), &length_field(NAME), NAME, &length_field(handle), handle])
}

/// A CLOSE.
pub(super) fn close_request(id: u32, handle: &[u8]) -> Bytes {
    packet(kind::CLOSE, &[&id.to_be_bytes(), &length_field(handle), handle])
}

/// A HANDLE.
pub(super) fn handle_reply(id: u32, handle: &[u8]) -> Bytes {
    packet(kind::HANDLE, &[&id.to_be_bytes(), &length_field(handle), handle])
}

/// An ATTRS that says a size.
pub(super) fn size_reply(id: u32, bytes: u64) -> Bytes {
    packet(kind::ATTRS, &[&id.to_be_bytes(), &size_alone(bytes)])
}

/// A STATUS with words, in English.
pub(super) fn status_reply(id: u32, code: u32, words: &str) -> Bytes {
    let (words, language) = (words.as_bytes(), b"en");
    packet(
        kind::STATUS,
        &[&id.to_be_bytes(), &code.to_be_bytes(), &length_field(words), words, &length_field(language), language],
    )
}

fn packet(kind: u8, fields: &[&[u8]]) -> Bytes {
    let length = 1 + fields.iter().map(|field| field.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + length);
    bytes.extend_from_slice(&u32::try_from(length).expect("the gate's packets are short").to_be_bytes());
    bytes.push(kind);
    fields.iter().for_each(|field| bytes.extend_from_slice(field));
    bytes.into()
}

fn length_field(text: &[u8]) -> [u8; 4] {
    u32::try_from(text.len()).expect("the gate's texts are short").to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_impossible_length_is_found_in_its_four_bytes() {
        for length in [0, 4, PACKET_BYTES_MAX + 1, u32::MAX] {
            let field = Bytes::copy_from_slice(&length.to_be_bytes());
            assert_eq!(Packets::default().take(field.clone()), Err(Breach::PacketLength(length)));
            let mut byte_by_byte = Packets::default();
            assert!((0..3).all(|n| byte_by_byte.take(field.slice(n..=n)).is_ok()));
            assert_eq!(byte_by_byte.take(field.slice(3..)), Err(Breach::PacketLength(length)));
        }
    }

    #[test]
    fn a_string_does_not_reach_beyond_its_packet() {
        let mut fields = Fields(b"\0\0\0\x05abcd");
        assert_eq!(fields.string(), Err(Breach::ShortPacket));
        let mut fields = Fields(b"\xff\xff\xff\xffabcd");
        assert_eq!(fields.string(), Err(Breach::ShortPacket));
    }

    proptest! {
        #[test]
        fn packets_come_out_whole_and_in_order(
            sizes in prop::collection::vec(1_usize..60, 0..20),
            cuts in prop::collection::vec(1_usize..40, 1..60),
        ) {
            let stream: Vec<u8> = sizes
                .iter()
                .flat_map(|size| packet(*size as u8, &[&7_u32.to_be_bytes(), &vec![*size as u8; *size]]))
                .collect();
            let (mut packets, mut seen) = (Packets::default(), Vec::new());
            let mut rest = Bytes::from(stream.clone());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let chunk = rest.split_to((*cut).min(rest.len()));
                for stretch in packets.take(chunk).unwrap() {
                    let mut left = &stretch[..];
                    while let Some((packet, more)) = first_packet(left) {
                        seen.extend_from_slice(packet);
                        left = more;
                    }
                    prop_assert!(left.is_empty());
                }
            }
            prop_assert_eq!(seen, stream);
        }
    }
}

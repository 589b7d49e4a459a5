//! What passed on TCP connections as pcapng (draft-tuexen-opsawg-pcapng), for Wireshark and its like. A pure encoder: it is
//! told what passed, in order, and gives bytes, so that a file and a live stream are written by the same hand.
//!
//! Streams of bytes were recorded, and no packets. So packets are made up around them: each connection begins with SYN and
//! ends with FIN, each piece is acknowledged at once, checksums are right, and sequence numbers run over 32 bits. A file says
//! so of itself. Which bytes of a recording are one side's wire is for [`crate::wire`] to say.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use jiff::Timestamp;

use crate::words::Words;

/// What one packet carries at most: fits an IPv4 packet and a window that is never scaled.
pub const PIECE_BYTES_MAX: usize = 16 << 10;
/// Options have a length of 16 bits; comments are cut long before.
const COMMENT_BYTES_MAX: usize = 4 << 10;

/// Said in every file, after what the caller says of it.
const SYNTHESISED: &str = "Packets and their headers are synthesised: what was seen are the bytes of each connection in order, and when they \
     came. Sequence numbers, acknowledgements, segment sizes and the times of packets without data are made up.";

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ends {
    /// Who opened it.
    pub technician: SocketAddr,
    /// To whom.
    pub target: SocketAddr,
}

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Who opened the connection.
    Technician,
    /// To whom it was opened.
    Target,
}

impl End {
    const fn index(self) -> usize {
        match self {
            Self::Technician => 0,
            Self::Target => 1,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Technician => Self::Target,
            Self::Target => Self::Technician,
        }
    }

    /// The direction of a packet in its flags (`epb_flags`): towards the target is inbound, the other way outbound.
    const fn flags(self) -> u32 {
        match self {
            Self::Technician => 1,
            Self::Target => 2,
        }
    }
}

/// The encoder. Each call appends whole blocks to `out`; what it keeps is a few numbers for each open connection.
#[derive(Debug, Default)]
pub struct Pcapng {
    connections: BTreeMap<u32, Connection>,
}

#[derive(Debug)]
struct Connection {
    ends: Ends,
    /// The sequence number of each end's next byte.
    next: [u32; 2],
    finished: [bool; 2],
    /// What the next packet says beside itself.
    comment: Option<String>,
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

impl Pcapng {
    /// Begins a section that says this of itself; `program` wrote it.
    pub fn begin(about: &str, program: &str, out: &mut Vec<u8>) -> Self {
        let about = format!("{about} {SYNTHESISED}");
        block(out, SECTION_HEADER, |out| {
            out.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
            out.extend_from_slice(&[1, 0, 0, 0]);
            out.extend_from_slice(&u64::MAX.to_le_bytes());
            option(out, COMMENT, comment(&about).as_bytes());
            option(out, USER_APPLICATION, program.as_bytes());
            option(out, END_OF_OPTIONS, &[]);
        });
        block(out, INTERFACE, |out| {
            out.extend_from_slice(&LINK_TYPE_RAW.to_le_bytes());
            out.extend_from_slice(&[0; 2 + 4]);
            option(out, INTERFACE_NAME, b"holdpoint");
            option(out, INTERFACE_DESCRIPTION, b"seen by the gate; packets are synthesised");
            option(out, TIME_RESOLUTION, &[9]);
            option(out, END_OF_OPTIONS, &[]);
        });
        Self::default()
    }

    /// A connection was opened. A connection of the same number that is still open is forgotten.
    pub fn open(&mut self, at: Timestamp, connection: u32, ends: Ends, words: Option<&str>, out: &mut Vec<u8>) {
        self.open_at(at, connection, ends, words, [0; 2], out);
    }

    fn open_at(
        &mut self,
        at: Timestamp,
        connection: u32,
        ends: Ends,
        words: Option<&str>,
        first: [u32; 2],
        out: &mut Vec<u8>,
    ) {
        let comment = words.map(comment);
        let mut opened = Connection { ends: ends.of_one_family(), next: first, finished: [false; 2], comment };
        opened.packet(at, End::Technician, SYN, &[], out);
        opened.packet(at, End::Target, SYN | ACK, &[], out);
        opened.packet(at, End::Technician, ACK, &[], out);
        self.connections.insert(connection, opened);
    }

    /// Whether a connection of this number is open.
    pub fn is_open(&self, connection: u32) -> bool {
        self.connections.contains_key(&connection)
    }

    /// Bytes that an end sent. Nothing comes of those of a connection that is not open.
    pub fn data(&mut self, at: Timestamp, connection: u32, from: End, bytes: &[u8], out: &mut Vec<u8>) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        if known.finished[from.index()] && !bytes.is_empty() {
            known.say("these bytes came behind the end of this direction");
        }
        for piece in bytes.chunks(PIECE_BYTES_MAX) {
            known.packet(at, from, PSH | ACK, piece, out);
            known.packet(at, from.other(), ACK, &[], out);
        }
    }

    /// Bytes that an end sent and that are not to be had here: so many are missing before its next ones, and the next packet
    /// says why.
    pub fn gap(&mut self, connection: u32, from: End, bytes: u64, words: &str) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        // Sequence numbers are numbers modulo 2^32.
        known.advance(from, bytes as u32);
        known.say(words);
    }

    /// Has the next packet of a connection say something beside itself.
    pub fn comment(&mut self, connection: u32, words: &str) {
        if let Some(known) = self.connections.get_mut(&connection) {
            known.say(words);
        }
    }

    /// How many packets are missing so far, of any connection; and what is to be said of the whole.
    pub fn statistics(&self, at: Timestamp, missing: u64, words: Option<&str>, out: &mut Vec<u8>) {
        block(out, INTERFACE_STATISTICS, |out| {
            out.extend_from_slice(&[0; 4]);
            put_time(out, at);
            if let Some(words) = words {
                option(out, COMMENT, comment(words).as_bytes());
            }
            option(out, INTERFACE_DROPPED, &missing.to_le_bytes());
            option(out, END_OF_OPTIONS, &[]);
        });
    }

    /// An end has no more to send.
    pub fn finish(&mut self, at: Timestamp, connection: u32, from: End, out: &mut Vec<u8>) {
        if let Some(known) = self.connections.get_mut(&connection) {
            known.finish(at, from, out);
        }
    }

    /// A connection is over: each end that has not said so says it now.
    pub fn close(&mut self, at: Timestamp, connection: u32, out: &mut Vec<u8>) {
        if let Some(mut known) = self.connections.remove(&connection) {
            known.finish(at, End::Technician, out);
            known.finish(at, End::Target, out);
        }
    }
}

impl Connection {
    fn say(&mut self, words: &str) {
        let said = self.comment.take().map(|said| said + "; ").unwrap_or_default();
        self.comment = Some(comment(&(said + words)));
    }

    fn advance(&mut self, end: End, bytes: u32) {
        let next = &mut self.next[end.index()];
        *next = next.wrapping_add(bytes);
    }

    fn finish(&mut self, at: Timestamp, from: End, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.finished[from.index()], true) {
            self.packet(at, from, FIN | ACK, &[], out);
            self.packet(at, from.other(), ACK, &[], out);
        }
    }

    fn packet(&mut self, at: Timestamp, from: End, flags: u8, payload: &[u8], out: &mut Vec<u8>) {
        let (sequence, acknowledged) = (self.next[from.index()], self.next[from.other().index()]);
        let acknowledged = if flags & ACK == 0 { 0 } else { acknowledged };
        let [from_address, to_address] = match from {
            End::Technician => [self.ends.technician, self.ends.target],
            End::Target => [self.ends.target, self.ends.technician],
        };
        let mut segment = Vec::with_capacity(TCP_HEADER_BYTES + payload.len());
        segment.extend_from_slice(&from_address.port().to_be_bytes());
        segment.extend_from_slice(&to_address.port().to_be_bytes());
        segment.extend_from_slice(&sequence.to_be_bytes());
        segment.extend_from_slice(&acknowledged.to_be_bytes());
        segment.extend_from_slice(&[(TCP_HEADER_BYTES as u8 / 4) << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend_from_slice(payload);
        let packet = ip_packet(from_address.ip(), to_address.ip(), segment);
        put_packet(out, at, from, &packet, self.comment.take().as_deref());
        let counted = u32::from(flags & (SYN | FIN) != 0) + payload.len() as u32;
        self.advance(from, counted);
    }
}

impl Ends {
    /// Where the two ends are of different families, the gate had one of each: in one packet both are written as of IPv6.
    fn of_one_family(self) -> Self {
        if self.technician.is_ipv4() == self.target.is_ipv4() {
            return self;
        }
        let mapped = |end: SocketAddr| SocketAddr::new(IpAddr::V6(as_v6(end.ip())), end.port());
        Self { technician: mapped(self.technician), target: mapped(self.target) }
    }
}

const fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

const TCP: u8 = 6;
const TCP_HEADER_BYTES: usize = 20;
const TCP_CHECKSUM_AT: usize = 16;
const TIME_TO_LIVE: u8 = 64;

/// A packet (RFC 791, RFC 8200) around a TCP segment whose checksum is not filled in yet (RFC 9293).
fn ip_packet(from: IpAddr, to: IpAddr, mut segment: Vec<u8>) -> Vec<u8> {
    let length = segment.len() as u32;
    let mut header = Vec::with_capacity(40);
    let pseudo = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let whole = 20 + segment.len() as u16;
            header.extend_from_slice(&[0x45, 0]);
            header.extend_from_slice(&whole.to_be_bytes());
            // No identification: it may not be fragmented.
            header.extend_from_slice(&[0, 0, 0x40, 0, TIME_TO_LIVE, TCP, 0, 0]);
            header.extend_from_slice(&from.octets());
            header.extend_from_slice(&to.octets());
            let sum = checksum([header.as_slice()]);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            [&header[12..20], &[0, TCP], &(length as u16).to_be_bytes()].concat()
        }
        (from, to) => {
            header.extend_from_slice(&[0x60, 0, 0, 0]);
            header.extend_from_slice(&(length as u16).to_be_bytes());
            header.extend_from_slice(&[TCP, TIME_TO_LIVE]);
            header.extend_from_slice(&as_v6(from).octets());
            header.extend_from_slice(&as_v6(to).octets());
            [&header[8..40], &length.to_be_bytes(), &[0, 0, 0, TCP]].concat()
        }
    };
    let sum = checksum([pseudo.as_slice(), segment.as_slice()]);
    segment[TCP_CHECKSUM_AT..TCP_CHECKSUM_AT + 2].copy_from_slice(&sum.to_be_bytes());
    header.append(&mut segment);
    header
}

/// The internet checksum (RFC 1071) over parts of which all but the last have an even length.
fn checksum<const N: usize>(parts: [&[u8]; N]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u64 = words.map(|word| u64::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]))).sum();
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const LINK_TYPE_RAW: u16 = 101;

const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
const PACKET_FLAGS: u16 = 2;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_DROPPED: u16 = 5;
const INTERFACE_DESCRIPTION: u16 = 3;
const USER_APPLICATION: u16 = 4;
const TIME_RESOLUTION: u16 = 9;

fn put_packet(out: &mut Vec<u8>, at: Timestamp, from: End, packet: &[u8], comment: Option<&str>) {
    block(out, ENHANCED_PACKET, |out| {
        out.extend_from_slice(&[0; 4]);
        put_time(out, at);
        out.extend_from_slice(&(packet.len() as u32).to_le_bytes());
        out.extend_from_slice(&(packet.len() as u32).to_le_bytes());
        out.extend_from_slice(packet);
        pad(out, packet.len());
        if let Some(comment) = comment {
            option(out, COMMENT, comment.as_bytes());
        }
        option(out, PACKET_FLAGS, &from.flags().to_le_bytes());
        option(out, END_OF_OPTIONS, &[]);
    });
}

/// Nanoseconds since 1970 in 64 bits; whoever's clock stood before that has them from there.
fn put_time(out: &mut Vec<u8>, at: Timestamp) {
    let nanos = u64::try_from(at.as_nanosecond()).unwrap_or(0);
    out.extend_from_slice(&((nanos >> 32) as u32).to_le_bytes());
    out.extend_from_slice(&(nanos as u32).to_le_bytes());
}

/// A block: its type and length, what `fill` puts, and its length once more.
fn block(out: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = ((out.len() - begin + 4) as u32).to_le_bytes();
    out[begin + 4..begin + 8].copy_from_slice(&length);
    out.extend_from_slice(&length);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    pad(out, value.len());
}

fn pad(out: &mut Vec<u8>, length: usize) {
    out.resize(out.len() + length.next_multiple_of(4) - length, 0);
}

/// A comment, harmless to whoever shows it.
fn comment(words: &str) -> String {
    let mut words = Words::from(words).to_string();
    words.truncate(words.floor_char_boundary(COMMENT_BYTES_MAX));
    words
}

/// What is written, read back by a reader of our own that knows nothing of the encoder, and by tshark where that is installed.
/// How many bytes at the beginning are whole blocks; none, where these are no blocks as they are written here.
pub fn whole_blocks(bytes: &[u8]) -> Option<usize> {
    const LEAST: usize = 12;
    let mut whole = 0;
    while let Some((head, _)) = bytes[whole..].split_first_chunk::<8>() {
        let [_, _, _, _, a, b, c, d] = *head;
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
        if length < LEAST || !length.is_multiple_of(4) {
            return None;
        }
        match whole.checked_add(length).filter(|end| *end <= bytes.len()) {
            Some(end) => whole = end,
            None => break,
        }
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    /// Wherever a stream breaks off, what was whole before it is kept, and no more.
    #[test]
    fn blocks_are_taken_whole() {
        let block = |length: u32| {
            let mut block = vec![6, 0, 0, 0];
            block.extend(length.to_le_bytes());
            block.resize(length as usize, 7);
            block
        };
        let bytes = [block(12), block(32), block(16)].concat();
        for cut in 0..=bytes.len() {
            let whole = [60, 44, 12, 0].into_iter().find(|end| *end <= cut).unwrap();
            assert_eq!(whole_blocks(&bytes[..cut]), Some(whole), "{cut}");
        }
        for length in [0_u32, 8, 13] {
            assert_eq!(whole_blocks(&[&[6, 0, 0, 0], &length.to_le_bytes()[..]].concat()), None);
        }
    }

    use std::collections::BTreeMap;
    use std::path::Path;
    use std::process::Command;

    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// A packet, taken apart.
    #[derive(Debug)]
    struct Packet {
        nanos: u64,
        from: SocketAddr,
        to: SocketAddr,
        sequence: u32,
        acknowledged: u32,
        flags: u8,
        direction: u32,
        payload: Vec<u8>,
        comment: Option<String>,
    }

    fn u16_be(bytes: &[u8], at: usize) -> u16 {
        u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
    }

    fn u32_be(bytes: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn u32_le(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    /// Whole blocks: kind and body.
    fn blocks(mut file: &[u8]) -> Vec<(u32, &[u8])> {
        let mut blocks = Vec::new();
        while !file.is_empty() {
            let length = u32_le(file, 4) as usize;
            assert_eq!((length % 4, u32_le(file, length - 4) as usize), (0, length), "a block's two lengths");
            blocks.push((u32_le(file, 0), &file[8..length - 4]));
            file = &file[length..];
        }
        blocks
    }

    fn options(mut bytes: &[u8]) -> BTreeMap<u16, Vec<u8>> {
        let mut options = BTreeMap::new();
        loop {
            let code = u16::from_le_bytes(bytes[..2].try_into().unwrap());
            let length = usize::from(u16::from_le_bytes(bytes[2..4].try_into().unwrap()));
            if code == 0 {
                assert_eq!((length, bytes.len()), (0, 4), "options end with their end");
                return options;
            }
            assert!(options.insert(code, bytes[4..4 + length].to_vec()).is_none(), "an option is there once");
            bytes = &bytes[4 + length.next_multiple_of(4)..];
        }
    }

    /// Whether the ones' complement sum of these is all ones, as RFC 1071 has it of what is right.
    fn sums_up(bytes: &[u8]) -> bool {
        let padded = [bytes, &[0][..bytes.len() % 2]].concat();
        let mut sum: u32 = 0;
        for at in (0..padded.len()).step_by(2) {
            sum += u32::from(u16_be(&padded, at));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum == 0xffff
    }

    fn packet(body: &[u8]) -> Packet {
        let nanos = u64::from(u32_le(body, 4)) << 32 | u64::from(u32_le(body, 8));
        let length = u32_le(body, 12) as usize;
        assert_eq!((u32_le(body, 0), u32_le(body, 16) as usize), (0, length));
        let ip = &body[20..20 + length];
        let options = options(&body[20 + length.next_multiple_of(4)..]);
        let (from, to, tcp, pseudo): (IpAddr, IpAddr, &[u8], Vec<u8>) = if ip[0] >> 4 == 4 {
            assert_eq!((usize::from(u16_be(ip, 2)), ip[9]), (ip.len(), 6));
            assert!(sums_up(&ip[..20]), "the header's checksum");
            let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).unwrap());
            let pseudo = [&ip[12..20], &[0, 6], &((ip.len() - 20) as u16).to_be_bytes()].concat();
            (address(12), address(16), &ip[20..], pseudo)
        } else {
            assert_eq!((ip[0] >> 4, usize::from(u16_be(ip, 4)), ip[6]), (6, ip.len() - 40, 6));
            let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).unwrap());
            let pseudo = [&ip[8..40], &((ip.len() - 40) as u32).to_be_bytes(), &[0, 0, 0, 6]].concat();
            (address(8), address(24), &ip[40..], pseudo)
        };
        assert!(sums_up(&[&pseudo, tcp].concat()), "the segment's checksum");
        assert_eq!(tcp[12] >> 4, 5);
        Packet {
            nanos,
            from: SocketAddr::new(from, u16_be(tcp, 0)),
            to: SocketAddr::new(to, u16_be(tcp, 2)),
            sequence: u32_be(tcp, 4),
            acknowledged: u32_be(tcp, 8),
            flags: tcp[13],
            direction: u32_le(&options[&2], 0),
            payload: tcp[20..].to_vec(),
            comment: options.get(&1).map(|comment| String::from_utf8(comment.clone()).unwrap()),
        }
    }

    fn packets(file: &[u8]) -> Vec<Packet> {
        let blocks = blocks(file);
        assert_eq!((blocks[0].0, blocks[1].0), (0x0a0d_0d0a, 1));
        let packets = blocks[2..].iter().map(|(kind, body)| {
            assert_eq!(*kind, 6);
            packet(body)
        });
        packets.collect()
    }

    /// One direction of a connection, as whoever receives it has it.
    #[derive(Default)]
    struct Received {
        next: Option<u32>,
        bytes: Vec<u8>,
        finished: bool,
    }

    /// Reassembles every direction as TCP would, and demands that nothing is out of order, missing or not acknowledged.
    fn streams(file: &[u8]) -> BTreeMap<(SocketAddr, SocketAddr), Received> {
        let mut streams: BTreeMap<(SocketAddr, SocketAddr), Received> = BTreeMap::new();
        for packet in packets(file) {
            let Packet { from, to, sequence, flags, .. } = packet;
            assert!(packet.payload.len() <= PIECE_BYTES_MAX);
            let back = streams.entry((to, from)).or_default().next;
            let stream = streams.entry((from, to)).or_default();
            if flags & SYN != 0 {
                assert!(stream.next.is_none() && packet.payload.is_empty(), "a direction begins once");
                stream.next = Some(sequence);
            }
            assert_eq!(stream.next, Some(sequence), "the next byte, and none before its SYN");
            if flags & ACK == 0 {
                assert_eq!(packet.acknowledged, 0);
            } else {
                assert_eq!(Some(packet.acknowledged), back, "all that came is acknowledged");
            }
            let counted = packet.payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
            stream.next = Some(sequence.wrapping_add(counted));
            stream.bytes.extend_from_slice(&packet.payload);
            stream.finished |= flags & FIN != 0;
        }
        streams
    }

    fn ends(number: u32, family: u8) -> Ends {
        let port = 40_000 + number as u16;
        let v4 = IpAddr::from([10, 0, 0, 1]);
        let v6: IpAddr = "fd00::7".parse().unwrap();
        let [technician, target] = match family {
            0 => [v4, IpAddr::from([10, 20, 2, 7])],
            1 => [v6, "fd00::8".parse().unwrap()],
            _ => [v6, v4],
        };
        Ends { technician: SocketAddr::new(technician, port), target: SocketAddr::new(target, 502) }
    }

    fn at(nanos: i64) -> Timestamp {
        Timestamp::constant(1_900_000_000, 0) + jiff::SignedDuration::from_nanos(nanos)
    }

    #[derive(Debug, Clone)]
    enum Event {
        Data(u32, End, Vec<u8>),
        Finish(u32, End),
        Close(u32),
    }

    fn end() -> impl Strategy<Value = End> {
        prop::sample::select(vec![End::Technician, End::Target])
    }

    fn event() -> impl Strategy<Value = Event> {
        let bytes = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            (0_usize..40_000, any::<u8>()).prop_map(|(length, salt)| (0..length).map(|n| n as u8 ^ salt).collect()),
        ];
        prop_oneof![
            8 => (0_u32..3, end(), bytes).prop_map(|(number, end, bytes)| Event::Data(number, end, bytes)),
            1 => (0_u32..3, end()).prop_map(|(number, end)| Event::Finish(number, end)),
            1 => (0_u32..3).prop_map(Event::Close),
        ]
    }

    proptest! {
        #[test]
        fn what_passed_is_what_tcp_puts_together(
            family in 0_u8..3,
            first: [u32; 2],
            events in prop::collection::vec(event(), 0..40),
        ) {
            let mut out = Vec::new();
            let mut pcapng = Pcapng::begin("a test", "holdpoint", &mut out);
            let mut sent: BTreeMap<(u32, End), Vec<u8>> = BTreeMap::new();
            for number in 0..3 {
                pcapng.open_at(at(0), number, ends(number, family), None, first, &mut out);
            }
            for (event, nanos) in events.iter().zip(1..) {
                match event {
                    Event::Data(number, from, bytes) => {
                        if pcapng.is_open(*number) {
                            sent.entry((*number, *from)).or_default().extend_from_slice(bytes);
                        }
                        pcapng.data(at(nanos), *number, *from, bytes, &mut out);
                    }
                    Event::Finish(number, from) => pcapng.finish(at(nanos), *number, *from, &mut out),
                    Event::Close(number) => pcapng.close(at(nanos), *number, &mut out),
                }
            }
            for number in 0..3 {
                pcapng.close(at(100), number, &mut out);
            }
            let streams = streams(&out);
            prop_assert_eq!(streams.len(), 6);
            for ((from, to), received) in streams {
                let technician = from.port() != 502;
                let number = u32::from(if technician { from.port() } else { to.port() } - 40_000);
                let end = if technician { End::Technician } else { End::Target };
                prop_assert!(received.finished);
                prop_assert_eq!(received.bytes, sent.remove(&(number, end)).unwrap_or_default());
            }
        }

        #[test]
        fn no_words_break_a_file(about: String, words: String) {
            let mut out = Vec::new();
            let mut pcapng = Pcapng::begin(&about, "holdpoint", &mut out);
            pcapng.open(at(0), 1, ends(1, 0), Some(&words), &mut out);
            pcapng.comment(1, &words);
            pcapng.finish(at(1), 1, End::Target, &mut out);
            prop_assert_eq!(packets(&out).len(), 5);
        }
    }

    #[test]
    fn a_file_says_that_its_packets_are_made_up_and_keeps_nanoseconds() {
        let mut out = Vec::new();
        let mut pcapng = Pcapng::begin("Session s_1.", "holdpoint 0.1.0", &mut out);
        pcapng.open(at(0), 7, ends(7, 0), Some("by hand\u{1b}[2J"), &mut out);
        pcapng.data(at(123_456_789), 7, End::Technician, b"\0\x01", &mut out);
        pcapng.finish(at(200_000_000), 7, End::Target, &mut out);
        pcapng.data(at(300_000_000), 7, End::Target, b"late", &mut out);
        let blocks = blocks(&out);
        let said = options(&blocks[0].1[16..]);
        let words = String::from_utf8(said[&1].clone()).unwrap();
        assert!(words.starts_with("Session s_1. Packets and their headers are synthesised"), "{words}");
        assert_eq!(said[&4], b"holdpoint 0.1.0");
        assert_eq!((&blocks[1].1[..2], options(&blocks[1].1[8..])[&9].as_slice()), (&[101, 0][..], &[9][..]));
        let packets = packets(&out);
        assert_eq!(packets[0].comment.as_deref(), Some(r"by hand\x1b[2J"));
        assert_eq!(packets[3].nanos, 1_900_000_000_123_456_789);
        let directions: Vec<u32> = packets.iter().map(|packet| packet.direction).collect();
        assert_eq!(directions, [1, 2, 1, 1, 2, 2, 1, 2, 1]);
        assert!(packets[7].comment.as_deref().unwrap().contains("behind the end"));
    }

    #[test]
    fn what_is_missing_of_the_whole_is_told_between_packets() {
        let mut out = Vec::new();
        let pcapng = Pcapng::begin("a test", "holdpoint", &mut out);
        pcapng.statistics(at(5), 3, Some("it ends"), &mut out);
        let blocks = blocks(&out);
        let (kind, body) = blocks[2];
        let nanos = u64::from(u32_le(body, 4)) << 32 | u64::from(u32_le(body, 8));
        let said = options(&body[12..]);
        assert_eq!((kind, nanos), (5, 1_900_000_000_000_000_005));
        assert_eq!((said[&1].as_slice(), said[&5].as_slice()), (&b"it ends"[..], &3_u64.to_le_bytes()[..]));
    }

    #[test]
    fn a_gap_is_in_the_numbers_and_the_next_packet_says_why() {
        let mut out = Vec::new();
        let mut pcapng = Pcapng::begin("a test", "holdpoint", &mut out);
        pcapng.open(at(0), 1, ends(1, 1), None, &mut out);
        pcapng.data(at(1), 1, End::Target, b"before", &mut out);
        pcapng.gap(1, End::Target, 1_000, "1000 bytes were not taken in time");
        pcapng.data(at(2), 1, End::Target, b"behind", &mut out);
        let packets = packets(&out);
        assert_eq!(packets[5].comment.as_deref(), Some("1000 bytes were not taken in time"));
        assert_eq!(packets[5].sequence, packets[3].sequence + 6 + 1_000);
        assert_eq!(packets[6].acknowledged, packets[5].sequence + 6);
        assert!(packets.iter().filter(|packet| packet.comment.is_some()).count() == 1);
    }

    /// Follows sequence numbers through more bytes than 32 bits count, and holds none of them.
    #[test]
    fn more_than_four_gibibytes_are_written_with_a_bounded_memory() {
        const CHUNK: usize = 1 << 20;
        // Short, it begins a little before the numbers wrap.
        let long = std::env::var_os("HOLDPOINT_LONG").is_some();
        let (total, first) = if long { ((4_u64 << 30) + (64 << 20), 0) } else { (24 << 20, u32::MAX - (12 << 20)) };
        let mut out = Vec::new();
        let mut pcapng = Pcapng::begin("a test", "holdpoint", &mut out);
        pcapng.open_at(at(0), 1, ends(1, 0), None, [first; 2], &mut out);
        let (mut written, mut counted, mut room, mut wraps) = (0_u64, 0_u64, 0, 0);
        let mut chunk = vec![0; CHUNK];
        let mut expected = first.wrapping_add(1);
        while counted < total {
            out.clear();
            chunk[..8].copy_from_slice(&counted.to_le_bytes());
            pcapng.data(at(counted as i64), 1, End::Target, &chunk, &mut out);
            written += out.len() as u64;
            room = room.max(out.capacity());
            for (_, body) in blocks(&out) {
                // The numbers alone: sums of gigabytes take their time.
                let payload = u32_le(body, 12) - 40;
                if payload > 0 {
                    assert_eq!(u32_be(body, 20 + 20 + 4), expected);
                    let (next, has_wrapped) = expected.overflowing_add(payload);
                    (expected, wraps) = (next, wraps + u32::from(has_wrapped));
                }
            }
            counted += CHUNK as u64;
        }
        assert!(written > total && room < 4 * CHUNK, "{written} bytes with {room} in memory");
        assert_eq!(wraps, 1, "the numbers run over 32 bits once");
    }

    /// Where tshark is not installed, the reader above is the only judge.
    fn tshark(file: &Path, arguments: &[&str]) -> Option<String> {
        let asked = Command::new("tshark").arg("-r").arg(file).args(arguments).output();
        let Ok(told) = asked else {
            println!("SKIPPED: tshark is not installed (Debian: tshark)");
            return None;
        };
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        Some(String::from_utf8(told.stdout).unwrap())
    }

    const CHECKED: [&str; 4] = ["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"];

    /// The SHA-256 of what one end sent, as tshark follows it.
    fn followed(file: &Path, stream: usize) -> Option<[Vec<u8>; 2]> {
        let follow = format!("follow,tcp,raw,{stream}");
        let told = tshark(file, &["-q", "-z", &follow])?;
        let mut sides = [Vec::new(), Vec::new()];
        let lines = told.lines().skip_while(|line| !line.starts_with("Node 1")).skip(1);
        for line in lines.take_while(|line| !line.starts_with('=')) {
            let side = usize::from(line.starts_with('\t'));
            sides[side].extend(data_encoding::HEXLOWER.decode(line.trim().as_bytes()).unwrap());
        }
        Some(sides)
    }

    #[test]
    fn tshark_follows_every_stream_and_finds_nothing_odd() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("session.pcapng");
        let mut out = Vec::new();
        let mut pcapng = Pcapng::begin("a test", "holdpoint 0.1.0", &mut out);
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n * 7 + n / 251) as u8).collect();
        let mut sent = Vec::new();
        for (number, family) in (1_u32..).zip([0, 1, 2]) {
            // The second wraps in the middle, on both sides.
            let first = if number == 2 { [u32::MAX - 40_000, u32::MAX - 70_000] } else { [0; 2] };
            let nanos = i64::from(number) * 1_000_000;
            pcapng.open_at(at(nanos), number, ends(number, family), Some("opened by hand"), first, &mut out);
            for chunk in bytes.chunks(30_011) {
                pcapng.data(at(nanos + 10), number, End::Technician, &chunk[..chunk.len() / 2], &mut out);
                pcapng.data(at(nanos + 20), number, End::Target, chunk, &mut out);
            }
            let halves: Vec<u8> = bytes.chunks(30_011).flat_map(|chunk| &chunk[..chunk.len() / 2]).copied().collect();
            sent.push([halves, bytes.clone()]);
            pcapng.close(at(nanos + 30), number, &mut out);
        }
        std::fs::write(&file, &out).unwrap();
        let odd = "tcp.analysis.flags || tcp.checksum.status == 0 || ip.checksum.status == 0 || _ws.malformed";
        let Some(odd) = tshark(&file, &[&CHECKED[..], &["-Y", odd]].concat()) else { return };
        assert_eq!(odd, "");
        let good = tshark(&file, &[&CHECKED[..], &["-Y", "tcp.checksum.status == 1"]].concat()).unwrap();
        assert_eq!(good.lines().count(), packets(&out).len(), "every checksum was looked at");
        for (stream, sent) in sent.iter().enumerate() {
            let followed = followed(&file, stream).unwrap();
            assert_eq!(followed.map(Sha256::digest), sent.each_ref().map(Sha256::digest));
        }
        let told = Command::new("capinfos").arg(&file).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        assert!(told.contains("nanoseconds (9)") && told.contains("Raw IP"), "{told}");
        assert!(told.contains("synthesised"), "{told}");
    }
}

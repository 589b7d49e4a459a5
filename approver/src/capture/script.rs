//! What a reader got, written as pcapng.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use jiff::Timestamp;
use recordings::pcapng::{End, Pcapng};

use super::{About, Connection, Frame, Inside, Piece, Wanted, What};

/// Writes pieces as packets. What it keeps is a little for each connection that is open.
#[derive(Debug)]
pub struct Script {
    pcapng: Pcapng,
    known: BTreeMap<u32, Known>,
    /// Pieces that were missed, since the beginning, and since a packet last said so.
    missed: u64,
    unsaid: u64,
    last: Timestamp,
}

/// A connection that was written of, and how far each end has come.
#[derive(Debug)]
struct Known {
    connection: Weak<Connection>,
    written: [u64; 2],
}

const PROGRAM: &str = concat!("holdpoint ", env!("CARGO_PKG_VERSION"));
const ENDS: [End; 2] = [End::Technician, End::Target];

impl Script {
    /// The beginning, that says what it is.
    pub fn begin(wanted: &Wanted, now: Timestamp, out: &mut Vec<u8>) -> Self {
        let of = match (&wanted.target, &wanted.zone) {
            (None, None) => "all targets".to_owned(),
            (Some(target), None) => format!("target {target}"),
            (None, Some(zone)) => format!("zone {zone}"),
            (Some(target), Some(zone)) => format!("target {target} in zone {zone}"),
        };
        let about = format!(
            "Holdpoint, live, {of}: what this node sends to targets in TCP sessions, and what they answer, from now on. \
             It is no recording: a reader who is too slow misses some, and that is marked where it is. Sessions by SSH to a target are \
             not in it. The technician's end is the gate's own socket."
        );
        let pcapng = Pcapng::begin(&about, PROGRAM, out);
        Self { pcapng, known: BTreeMap::new(), missed: 0, unsaid: 0, last: now }
    }

    /// The next piece.
    pub fn take(&mut self, piece: Piece, out: &mut Vec<u8>) {
        match piece.0 {
            Inside::Frame(frame) => self.frame(&frame, out),
            Inside::Missed(pieces) => {
                (self.missed, self.unsaid) = (self.missed + pieces, self.unsaid + pieces);
                self.close_what_is_over(out);
            }
        }
    }

    /// Nothing came: says how many pieces were missed so far, and so that the line stands.
    pub fn still(&self, now: Timestamp, out: &mut Vec<u8>) {
        self.pcapng.statistics(now, self.missed, None, out);
    }

    /// It ends here, and why.
    pub fn end(&self, now: Timestamp, why: &str, out: &mut Vec<u8>) {
        self.pcapng.statistics(now, self.missed, Some(why), out);
    }

    fn frame(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        let number = frame.connection.number;
        self.last = frame.at;
        if !self.known.contains_key(&number) {
            if frame.what == What::Closed {
                return;
            }
            self.open(frame, out);
        }
        self.mark_what_is_missing(frame);
        if self.unsaid > 0 {
            let unsaid = std::mem::take(&mut self.unsaid);
            self.pcapng.comment(
                number,
                &format!("the reader was too slow: {unsaid} pieces, of any connection, are missing before"),
            );
        }
        match &frame.what {
            What::Opened => {}
            What::Passed(from, bytes) => {
                self.pcapng.data(frame.at, number, *from, bytes, out);
                if let Some(known) = self.known.get_mut(&number) {
                    known.written[index(*from)] += bytes.len() as u64;
                }
            }
            What::Finished(from) => self.pcapng.finish(frame.at, number, *from, out),
            What::Closed => {
                self.pcapng.close(frame.at, number, out);
                self.known.remove(&number);
            }
        }
    }

    /// One that the reader knows nothing of begins where it is met.
    fn open(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        let Frame { at, connection, before, .. } = frame;
        let About { session, technician, target, service, zone } = &*connection.about;
        let zone = zone.as_ref().map_or("no zone".to_owned(), |zone| format!("zone {zone}"));
        let mut words = format!("session {session} of {technician} at {target} ({service}), {zone}");
        if frame.what != What::Opened {
            let [up, down] = before;
            words += &format!(
                "; it was open before, and its sequence numbers begin here: {up} bytes to the target and {down} from it are not in this stream"
            );
        }
        self.pcapng.open(*at, connection.number, connection.ends, Some(&words), out);
        let known = Known { connection: Arc::downgrade(connection), written: *before };
        self.known.insert(connection.number, known);
    }

    fn mark_what_is_missing(&mut self, frame: &Frame) {
        let number = frame.connection.number;
        let Some(known) = self.known.get_mut(&number) else { return };
        for from in ENDS {
            let (written, before) = (&mut known.written[index(from)], frame.before[index(from)]);
            let missing = before - std::mem::replace(written, before);
            if missing > 0 {
                let way = if from == End::Target { "from the target" } else { "to the target" };
                self.pcapng.gap(
                    number,
                    from,
                    missing,
                    &format!("{missing} bytes {way} are missing before this packet: the reader was too slow"),
                );
            }
        }
    }

    /// Those whose end was missed.
    fn close_what_is_over(&mut self, out: &mut Vec<u8>) {
        // Nobody carries it any more, and nothing of it waits.
        let over = self.known.extract_if(.., |_, known| known.connection.strong_count() == 0);
        for (number, _) in over {
            self.pcapng.comment(number, "it was closed among what is missing: the reader was too slow");
            self.pcapng.close(self.last, number, out);
        }
    }
}

const fn index(end: End) -> usize {
    match end {
        End::Technician => 0,
        End::Target => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use recordings::pcapng::Ends;

    use super::*;
    use crate::capture::{Capture, Captures, Passage, READERS_MAX};
    use crate::clock::Clock;

    const ROOM: usize = 4_000;

    fn about(target: &str) -> Arc<About> {
        Arc::new(About {
            session: "s_01jd0c4000000000000000000z".parse().unwrap(),
            technician: "p_01jd0c4000000000000000000z".parse().unwrap(),
            target: target.parse().unwrap(),
            service: "modbus".parse().unwrap(),
            zone: Some("packaging".parse().unwrap()),
        })
    }

    fn passage(captures: &Captures, number: usize) -> Passage {
        let port = 40_000 + u16::try_from(number).unwrap();
        let ends = Ends { technician: ([10, 0, 0, 1], port).into(), target: ([10, 20, 2, 7], 502).into() };
        captures.passage(about("plc-7"), ends)
    }

    /// A packet as whoever receives it has it: the technician's port, who sent it, its sequence number, flags and bytes.
    struct Packet {
        port: u16,
        from: End,
        sequence: u32,
        flags: u8,
        bytes: Vec<u8>,
        comment: String,
    }

    fn packets(mut file: &[u8]) -> Vec<Packet> {
        let le = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let port = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let mut packets = Vec::new();
        while !file.is_empty() {
            let (block, rest) = file.split_at(le(file, 4));
            if le(block, 0) == 6 {
                let length = le(block, 20);
                let (ip, options) = (&block[28..28 + length], &block[28 + length.next_multiple_of(4)..]);
                let tcp = &ip[20..];
                let is_comment = options[..2] == [1, 0];
                let comment = if is_comment {
                    &options[4..4 + usize::from(options[2]) + 256 * usize::from(options[3])]
                } else {
                    b""
                };
                let from = if port(tcp, 0) == 502 { End::Target } else { End::Technician };
                packets.push(Packet {
                    port: if from == End::Target { port(tcp, 2) } else { port(tcp, 0) },
                    from,
                    sequence: u32::from_be_bytes(tcp[4..8].try_into().unwrap()),
                    flags: tcp[13],
                    bytes: tcp[20..].to_vec(),
                    comment: String::from_utf8(comment.to_vec()).unwrap(),
                });
            }
            file = rest;
        }
        packets
    }

    #[derive(Debug, Clone)]
    enum Event {
        Open(usize),
        Passed(usize, bool, usize),
        Close(usize),
        Read(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            1 => (0_usize..3).prop_map(Event::Open),
            8 => (0_usize..3, any::<bool>(), 1_usize..900).prop_map(|(at, up, bytes)| Event::Passed(at, up, bytes)),
            1 => (0_usize..3).prop_map(Event::Close),
            2 => (0_usize..20).prop_map(Event::Read),
        ]
    }

    /// The byte at a place of a direction of a connection: no two places that are near are the same.
    fn byte(port: u16, from: End, at: u64) -> u8 {
        (at.wrapping_mul(31) ^ at >> 8 ^ u64::from(port) << 3 ^ index(from) as u64) as u8
    }

    fn read(capture: &mut Capture, script: &mut Script, pieces: usize, out: &mut Vec<u8>) {
        for _ in 0..pieces {
            let Some(piece) = capture.try_next() else { return };
            script.take(piece, out);
        }
    }

    proptest! {
        /// Whatever a reader misses, each byte that it has stands at its place, each hole is told, and nothing stays open.
        #[test]
        fn what_is_read_stands_at_its_place_and_what_is_missing_is_marked(
            events in prop::collection::vec(event(), 1..80),
            joins_at in 0_usize..20,
        ) {
            let captures = Captures::new(Clock::system());
            let mut open: BTreeMap<usize, (u16, Passage, [u64; 2])> = BTreeMap::new();
            let (mut out, mut reader, mut opened) = (Vec::new(), None, 0);
            for (step, event) in events.iter().enumerate() {
                if step == joins_at {
                    let capture = captures.read_with_room(Wanted::default(), ROOM).unwrap();
                    let script = Script::begin(&Wanted::default(), capture.now(), &mut out);
                    reader = Some((capture, script));
                }
                match event {
                    Event::Open(at) => {
                        opened += 1;
                        let port = 40_000 + opened;
                        open.insert(*at, (port, passage(&captures, opened.into()), [0; 2]));
                    }
                    Event::Passed(at, up, bytes) => if let Some((port, passage, passed)) = open.get_mut(at) {
                        let from = if *up { End::Technician } else { End::Target };
                        let passed = &mut passed[index(from)];
                        let piece: Vec<u8> = (*passed..*passed + *bytes as u64).map(|at| byte(*port, from, at)).collect();
                        passage.passed(from, &piece);
                        *passed += *bytes as u64;
                    }
                    Event::Close(at) => drop(open.remove(at)),
                    Event::Read(pieces) => if let Some((capture, script)) = &mut reader {
                        read(capture, script, *pieces, &mut out);
                        let held = super::super::lock(&capture.ring.held).bytes;
                        prop_assert!(held <= ROOM, "{held} bytes wait");
                    }
                }
            }
            drop(open);
            let Some((mut capture, mut script)) = reader else { return Ok(()) };
            read(&mut capture, &mut script, usize::MAX, &mut out);
            prop_assert!(script.known.is_empty(), "{:?}", script.known);
            let mut next: BTreeMap<(u16, usize), u32> = BTreeMap::new();
            let mut base: BTreeMap<(u16, usize), u64> = BTreeMap::new();
            let mut owed: BTreeMap<(u16, usize), u32> = BTreeMap::new();
            for Packet { port, from, sequence, flags, bytes, comment } in packets(&out) {
                let lane = (port, index(from));
                if flags & 2 != 0 {
                    // It says how much passed before that is not here.
                    if from == End::Technician {
                        let (up, down) = comment.split_once("begin here: ").map_or((0, 0), |(_, rest)| {
                            let mut words = rest.split(' ');
                            let up = words.next().unwrap().parse().unwrap();
                            (up, words.nth(5).unwrap().parse().unwrap())
                        });
                        base.insert((port, 0), up);
                        base.insert((port, 1), down);
                    }
                    prop_assert!(next.insert(lane, 1).is_none(), "a connection begins once");
                    continue;
                }
                for (way, end) in [(" to", 0), (" from", 1)] {
                    let told = comment.split("; ").filter_map(|words| words.split_once(&format!(" bytes{way} the target are")));
                    *owed.entry((port, end)).or_default() += told.map(|(bytes, _)| bytes.parse::<u32>().unwrap()).sum::<u32>();
                }
                prop_assert_eq!(Some(sequence - next[&lane]), owed.remove(&lane), "each hole is told, to the byte");
                let first = base[&lane] + u64::from(sequence) - 1;
                for (at, got) in (first..).zip(&bytes) {
                    prop_assert_eq!(*got, byte(port, from, at));
                }
                next.insert(lane, sequence + bytes.len() as u32 + u32::from(flags & 1));
            }
        }
    }

    #[test]
    fn a_reader_gets_what_it_wants_and_no_more_than_so_many_read() {
        let captures = Captures::new(Clock::system());
        let other = Wanted { target: Some("plc-8".parse().unwrap()), zone: None };
        let zone = Wanted { target: None, zone: Some("packaging".parse().unwrap()) };
        let [mut none, mut some] = [other, zone].map(|wanted| captures.read(wanted).unwrap());
        let open = passage(&captures, 1);
        assert!(none.try_next().is_none());
        assert!(some.try_next().is_some());
        let more: Vec<_> = std::iter::from_fn(|| captures.read(Wanted::default())).collect();
        assert_eq!(more.len(), READERS_MAX - 2);
        drop(none);
        assert!(captures.read(Wanted::default()).is_some(), "who leaves gives the place up");
        drop(open);
    }

    #[tokio::test]
    async fn a_reader_who_waits_is_told_at_once() {
        let captures = Captures::new(Clock::system());
        let mut capture = captures.read(Wanted::default()).unwrap();
        let told = tokio::spawn(async move { capture.next().await });
        tokio::task::yield_now().await;
        let _open = passage(&captures, 1);
        assert!(matches!(told.await.unwrap().0, Inside::Frame(Frame { what: What::Opened, .. })));
    }

    #[test]
    fn who_misses_the_end_of_all_learns_it_although_nothing_passes_any_more() {
        let captures = Captures::new(Clock::system());
        let mut capture = captures.read_with_room(Wanted::default(), ROOM).unwrap();
        let mut out = Vec::new();
        let mut script = Script::begin(&Wanted::default(), capture.now(), &mut out);
        let open = passage(&captures, 1);
        for _ in 0..10 {
            open.passed(End::Target, &[7; 900]);
        }
        drop(open);
        read(&mut capture, &mut script, usize::MAX, &mut out);
        let packets = packets(&out);
        let said: Vec<_> = packets.iter().filter(|packet| packet.comment.contains("closed among")).collect();
        assert_eq!((said.len(), said[0].flags & 1, script.missed), (1, 1, 8));
    }
}

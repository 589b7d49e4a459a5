//! One side's wire of a session's TCP connections, made again from what was recorded: for each connection the bytes that
//! this side sent, and those that it was sent, in order. A gate may stand between the two sides: it leaves messages out and
//! answers in the target's stead, and says where (the splices of its verdicts). Written as [`crate::pcapng`].
//!
//! It takes two readings. What a gate does with bytes stands behind them, so a first one gathers where that was, and a second
//! one writes; what is kept are those places, and of each open connection what a gate held back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use crate::frame::Stream;
use crate::leaf::{Account, Direction};
use crate::notes::{Note, Splice};
use crate::pcapng::{End, Ends, Pcapng};
use crate::read::{Moment, ReadFault, Recording, What};
use crate::words::Words;

/// Whose wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Side {
    /// What the technician sent and was sent, the gate's own answers included.
    #[default]
    Technician,
    /// What reached the target, and all that it sent.
    Target,
}

impl Side {
    const fn end(self) -> End {
        match self {
            Self::Technician => End::Technician,
            Self::Target => End::Target,
        }
    }
}

/// What goes into a file.
#[derive(Debug, Clone, Copy, Default)]
pub struct WireOptions {
    /// Whose wire.
    pub side: Side,
    /// Of one connection alone, by its channel.
    pub channel: Option<u32>,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Connections.
    pub connections: u64,
    /// Bytes that passed on them.
    pub bytes: u64,
    /// Not all places of the gate's own bytes are recorded: the gate's answers stand where they were recorded.
    pub is_rough: bool,
}

/// Why there is no file, or only its beginning.
#[derive(Debug, thiserror::Error)]
pub enum WireFault {
    /// The recording cannot be read on.
    #[error(transparent)]
    Read(#[from] ReadFault),
    /// It cannot be written.
    #[error("cannot write the packets: {0}")]
    Write(#[from] io::Error),
    /// Nothing was connected.
    #[error("no TCP connection was opened here, so there are no packets to write; `play` shows what was done")]
    NoConnection,
    /// What reached the target cannot be told from the recording.
    #[error(
        "the gate left bytes of channel {0} out or put its own between, and the recording does not say where, so what reached \
         the target cannot be told byte by byte. `--side technician` shows the technician's side, and `--as operations` what \
         was passed and refused"
    )]
    NotKnown(u32),
}

/// A direction of a channel: from the target, or from the technician.
type Lane = (u32, bool);

/// What the first reading gathers.
#[derive(Debug, Default)]
pub struct Survey {
    splices: BTreeMap<Lane, Vec<Splice>>,
    made: BTreeMap<Lane, u64>,
    refusals: BTreeSet<u32>,
    accounts: BTreeMap<Lane, Account>,
}

impl Survey {
    /// Takes in the next moment of the first reading.
    pub fn take(&mut self, moment: &Moment) {
        match &moment.what {
            What::Data(stream, bytes) if stream.is_of_the_gate() => {
                *self.made.entry((moment.channel, is_from_target(*stream))).or_default() += bytes.len() as u64;
            }
            What::Note(Note::GateVerdict { allowed, spliced, .. }) => {
                if !allowed {
                    self.refusals.insert(moment.channel);
                }
                for splice in spliced {
                    self.splices.entry((moment.channel, splice.from_target)).or_default().push(*splice);
                }
            }
            What::Sealed(sealed) => {
                let accounts = sealed.accounts.iter().flatten().map(|row| row.account);
                self.accounts
                    .extend(accounts.map(|account| ((account.channel, account.direction == Direction::Out), account)));
            }
            _ => {}
        }
    }

    /// What is known of a direction, in the order of places; those of one place in the order in which they were recorded.
    fn places(&self, lane: Lane) -> Vec<Splice> {
        let mut places = self.splices.get(&lane).cloned().unwrap_or_default();
        places.sort_by_key(|splice| splice.at);
        places
    }

    /// Whether all that was left out of a direction and put into it is known by its place.
    fn knows(&self, lane: Lane) -> bool {
        let places = self.splices.get(&lane).map_or(&[][..], Vec::as_slice);
        let (left_out, made) =
            places.iter().fold((0, 0), |(out, made), splice| (out + splice.left_out, made + splice.made));
        let is_left_out = match self.accounts.get(&lane) {
            Some(account) => account.refused == left_out,
            None => left_out > 0 || !self.refusals.contains(&lane.0),
        };
        is_left_out && self.made.get(&lane).copied().unwrap_or(0) == made
    }
}

const fn is_from_target(stream: Stream) -> bool {
    matches!(stream.direction(), Some(Direction::Out))
}

/// Writes one side's wire of a session; `survey` has taken in all of its moments before. `program` wrote it.
pub fn write_pcapng(
    out: &mut dyn Write,
    recording: &Recording,
    moments: impl IntoIterator<Item = Result<Moment, ReadFault>>,
    survey: &Survey,
    options: &WireOptions,
    program: &str,
) -> Result<Written, WireFault> {
    let opening = Opening::of(recording);
    let mut buffer = Vec::new();
    let about = about(recording, &opening, options.side);
    let pcapng = Pcapng::begin(&about, program, &mut buffer);
    let written = Written::default();
    let (connections, taken) = (BTreeMap::new(), BTreeSet::new());
    let mut writer = Writer { survey, options, opening, pcapng, buffer, connections, taken, written };
    let mut last = recording.opened.wall;
    for moment in moments {
        let moment = moment?;
        last = moment.wall;
        writer.take(&moment)?;
        out.write_all(&writer.buffer)?;
        writer.buffer.clear();
    }
    writer.leave(last);
    out.write_all(&writer.buffer)?;
    out.flush()?;
    if writer.written.connections == 0 { Err(WireFault::NoConnection) } else { Ok(writer.written) }
}

fn about(recording: &Recording, opening: &Opening, side: Side) -> String {
    let session = recording.id();
    let Opening { target, service, .. } = opening;
    let (target, service) = (Words::from(target.as_str()), Words::from(service.as_str()));
    let wire = match side {
        Side::Technician => "what the technician sent and was sent",
        Side::Target => "what reached the target, and what it sent",
    };
    format!("Holdpoint, session {session} at {target} ({service}): {wire}. Addresses are those recorded.")
}

/// What a recording's opening says of addresses.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Opening {
    source: Option<IpAddr>,
    target: String,
    service: String,
}

impl Opening {
    fn of(recording: &Recording) -> Self {
        serde_json::from_slice(&recording.opened.metadata).unwrap_or_default()
    }
}

struct Writer<'a> {
    survey: &'a Survey,
    options: &'a WireOptions,
    opening: Opening,
    pcapng: Pcapng,
    buffer: Vec<u8>,
    connections: BTreeMap<u32, Connection>,
    /// Ends of connections that were written already: each pair of them stands for one connection alone.
    taken: BTreeSet<Ends>,
    written: Written,
}

/// What an open connection's directions towards this side and from it still have to write.
struct Connection {
    /// Where it leads, while it is not written that it was opened: a target knows of no connection before a byte comes, because
    /// a gate dials when there is something to say.
    unopened: Option<(Ends, String)>,
    to_target: Way,
    to_technician: Way,
}

/// One direction, as its receiver on this side has it.
struct Way {
    places: Places,
    /// How many bytes of what came found a taker; of what did not, none reached the receiver.
    taken_up: Option<u64>,
    /// Bytes that came, up to here.
    at: u64,
    /// Those of them that are not written yet: behind a place whose own bytes are not here yet.
    held: VecDeque<Bytes>,
    made: VecDeque<Bytes>,
    lost: u64,
    has_ended: bool,
}

enum Places {
    /// As it came: what this side itself sent.
    Untouched,
    /// All are known; those that are still to come.
    Known(VecDeque<Splice>),
    /// As it was recorded.
    Rough,
}

impl Writer<'_> {
    fn take(&mut self, moment: &Moment) -> Result<(), WireFault> {
        if self.options.channel.is_some_and(|channel| channel != moment.channel) {
            return Ok(());
        }
        match &moment.what {
            What::Note(Note::ChannelOpen { kind, to: Some(to), from }) => self.open(moment, kind, to, from.as_ref()),
            What::Data(stream, bytes) => {
                self.bytes(moment, *stream, bytes);
                Ok(())
            }
            What::Note(Note::GateVerdict { allowed: false, words, .. }) => {
                self.pcapng.comment(moment.channel, &format!("holdpoint {words}"));
                Ok(())
            }
            What::Note(Note::Eof { from_target }) => {
                if let Some(connection) = self.connections.get_mut(&moment.channel) {
                    connection.way(*from_target).has_ended = true;
                }
                self.go_on(moment.wall, moment.channel, *from_target);
                Ok(())
            }
            What::Note(Note::ChannelClose) => {
                self.close(moment.wall, moment.channel);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, moment: &Moment, kind: &Words, to: &Words, from: Option<&Words>) -> Result<(), WireFault> {
        let channel = moment.channel;
        let mut words = vec![format!("channel {channel} ({kind}) to {to}")];
        let ends = self.ends(channel, to, from, &mut words);
        let (to_target, to_technician) = (self.way(channel, false)?, self.way(channel, true)?);
        let unopened = Some((ends, words.join("; ")));
        self.connections.insert(channel, Connection { unopened, to_target, to_technician });
        if self.options.side == Side::Technician {
            self.begin(moment.wall, channel);
        }
        Ok(())
    }

    fn begin(&mut self, at: Timestamp, channel: u32) {
        let unopened = self.connections.get_mut(&channel).and_then(|connection| connection.unopened.take());
        if let Some((ends, words)) = unopened {
            self.pcapng.open(at, channel, ends, Some(&words), &mut self.buffer);
            self.written.connections += 1;
        }
    }

    fn way(&mut self, channel: u32, from_target: bool) -> Result<Way, WireFault> {
        let (lane, survey) = ((channel, from_target), self.survey);
        let sender = if from_target { End::Target } else { End::Technician };
        let is_untouched = sender == self.options.side.end();
        let places = match survey.knows(lane) {
            _ if is_untouched => Places::Untouched,
            true => Places::Known(survey.places(lane).into()),
            false if self.options.side == Side::Target => return Err(WireFault::NotKnown(channel)),
            false => {
                self.written.is_rough = true;
                Places::Rough
            }
        };
        let account = survey.accounts.get(&lane).filter(|_| !is_untouched);
        let taken_up = account.map(|account| account.received.saturating_sub(account.undelivered));
        Ok(Way { places, taken_up, at: 0, held: VecDeque::new(), made: VecDeque::new(), lost: 0, has_ended: false })
    }

    /// The two ends, and what is made up of them; no two connections of a file have the same.
    fn ends(&mut self, channel: u32, to: &Words, from: Option<&Words>, words: &mut Vec<String>) -> Ends {
        let to = to.to_string();
        let target = to.parse().unwrap_or_else(|_| {
            let port = to.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(0);
            words.push(format!("{TARGET_UNKNOWN} stands for the target, whose address was not recorded"));
            SocketAddr::new(TARGET_UNKNOWN.into(), port)
        });
        let own = from.and_then(|from| from.to_string().parse::<SocketAddr>().ok());
        let own = own.map(|technician| Ends { technician, target }).filter(|ends| !self.taken.contains(ends));
        let source = self.opening.source;
        let ends = own.unwrap_or_else(|| {
            words.push("the technician's port is made up".to_owned());
            if source.is_none() {
                words.push(format!("{TECHNICIAN_UNKNOWN} stands for the technician, whose address was not recorded"));
            }
            let address = source.unwrap_or(TECHNICIAN_UNKNOWN.into());
            let with = |port: u16| Ends { technician: SocketAddr::new(address, port), target };
            let first = channel as u16 % MADE_UP_PORTS;
            let ports = (0..MADE_UP_PORTS).map(|n| u16::MAX - (first + n) % MADE_UP_PORTS);
            // With more connections than ports they are used again, as on a real wire.
            ports.map(with).find(|ends| !self.taken.contains(ends)).unwrap_or_else(|| with(u16::MAX))
        });
        self.taken.insert(ends);
        ends
    }

    fn bytes(&mut self, moment: &Moment, stream: Stream, bytes: &Bytes) {
        let from_target = is_from_target(stream);
        let Some(connection) = self.connections.get_mut(&moment.channel) else { return };
        let way = connection.way(from_target);
        match (stream.is_of_the_gate(), &way.places) {
            // The gate's own bytes are on the wire of whoever got them.
            (true, Places::Untouched) => {}
            (true, _) => way.made.push_back(bytes.clone()),
            (false, _) => way.came(bytes.clone()),
        }
        self.go_on(moment.wall, moment.channel, from_target);
    }

    /// Writes what can be written of a direction.
    fn go_on(&mut self, at: Timestamp, channel: u32, from_target: bool) {
        let from = if from_target { End::Target } else { End::Technician };
        while let Some(bytes) = self.connections.get_mut(&channel).and_then(|known| known.way(from_target).next()) {
            self.begin(at, channel);
            self.written.bytes += bytes.len() as u64;
            self.pcapng.data(at, channel, from, &bytes, &mut self.buffer);
        }
        let way = self.connections.get_mut(&channel).map(|connection| connection.way(from_target));
        if way.is_some_and(|way| way.has_ended && way.is_drained()) {
            self.pcapng.finish(at, channel, from, &mut self.buffer);
        }
    }

    fn close(&mut self, at: Timestamp, channel: u32) {
        for (from_target, whom) in [(false, "the target"), (true, "the technician")] {
            let Some(connection) = self.connections.get_mut(&channel) else { return };
            let way = connection.way(from_target);
            way.places = Places::Rough;
            if way.lost > 0 {
                let words = format!("{} bytes that came last did not reach {whom}", way.lost);
                self.pcapng.comment(channel, &words);
            }
            self.go_on(at, channel, from_target);
        }
        self.connections.remove(&channel);
        self.pcapng.close(at, channel, &mut self.buffer);
    }

    /// The recording ends with connections that nobody closed: they stay open, and nothing of them is held back.
    fn leave(&mut self, at: Timestamp) {
        let open: Vec<u32> = self.connections.keys().copied().collect();
        for (channel, from_target) in open.into_iter().flat_map(|channel| [(channel, false), (channel, true)]) {
            let Some(connection) = self.connections.get_mut(&channel) else { continue };
            let way = connection.way(from_target);
            if !way.held.is_empty() || !way.made.is_empty() {
                way.places = Places::Rough;
                self.pcapng
                    .comment(channel, "the recording ends here, and does not say whether these bytes were handed on");
                self.go_on(at, channel, from_target);
            }
        }
    }
}

/// Addresses for documentation (RFC 5737), which are nobody's.
const TECHNICIAN_UNKNOWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const TARGET_UNKNOWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Ports for passing use (RFC 6335) are 49152 and above.
const MADE_UP_PORTS: u16 = 16_384;

impl Connection {
    const fn way(&mut self, from_target: bool) -> &mut Way {
        if from_target { &mut self.to_technician } else { &mut self.to_target }
    }
}

impl Way {
    /// Takes in bytes that came; those that found no taker are counted.
    fn came(&mut self, mut bytes: Bytes) {
        if let Some(left) = &mut self.taken_up {
            let kept = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            self.lost += (bytes.len() - kept) as u64;
            bytes.truncate(kept);
            *left -= kept as u64;
        }
        self.held.push_back(bytes);
    }

    /// The next bytes that the receiver has, as far as they are here.
    fn next(&mut self) -> Option<Bytes> {
        loop {
            let next = match &mut self.places {
                Places::Untouched | Places::Rough => return self.made.pop_front().or_else(|| self.held.pop_front()),
                Places::Known(splices) => splices.front_mut(),
            };
            let Some(next) = next else { return self.made.pop_front().or_else(|| self.held.pop_front()) };
            if self.at < next.at {
                let bytes = take(&mut self.held, next.at - self.at)?;
                self.at += bytes.len() as u64;
                return Some(bytes);
            }
            if next.left_out > 0 {
                let bytes = take(&mut self.held, next.left_out)?;
                self.at += bytes.len() as u64;
                (next.at, next.left_out) = (self.at, next.left_out - bytes.len() as u64);
            } else if next.made > 0 {
                let bytes = take(&mut self.made, next.made)?;
                next.made -= bytes.len() as u64;
                return Some(bytes);
            } else if let Places::Known(splices) = &mut self.places {
                splices.pop_front();
            }
        }
    }

    /// Whether nothing more can come of it.
    fn is_drained(&self) -> bool {
        let no_places = match &self.places {
            Places::Untouched => true,
            Places::Known(splices) => splices.is_empty(),
            Places::Rough => false,
        };
        no_places && self.held.is_empty() && self.made.is_empty()
    }
}

/// At most so many bytes from the front.
fn take(queue: &mut VecDeque<Bytes>, most: u64) -> Option<Bytes> {
    let front = queue.front_mut()?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if front.len() > most { Some(front.split_to(most)) } else { queue.pop_front() }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Technician => "the technician's side",
            Self::Target => "the target's side",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(splices: Vec<Splice>) -> Way {
        let places = Places::Known(splices.into());
        Way { places, taken_up: None, at: 0, held: VecDeque::new(), made: VecDeque::new(), lost: 0, has_ended: false }
    }

    fn all(way: &mut Way) -> Vec<u8> {
        std::iter::from_fn(|| way.next()).flatten().collect()
    }

    /// What a gate does, message by message: passes, leaves out, or answers; in any pieces.
    mod gate {
        use proptest::prelude::*;

        use super::*;

        #[derive(Debug, Clone)]
        enum Act {
            Pass(Vec<u8>),
            LeaveOut(Vec<u8>),
            Make(Vec<u8>),
        }

        fn act() -> impl Strategy<Value = Act> {
            let bytes = || prop::collection::vec(any::<u8>(), 1..6);
            prop_oneof![bytes().prop_map(Act::Pass), bytes().prop_map(Act::LeaveOut), bytes().prop_map(Act::Make)]
        }

        proptest! {
            #[test]
            fn what_its_receiver_had_is_made_again(acts in prop::collection::vec(act(), 0..20), piece in 1_usize..9) {
                let (mut came, mut made, mut had, mut splices) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
                for act in &acts {
                    let at = came.len() as u64;
                    match act {
                        Act::Pass(bytes) => {
                            came.extend_from_slice(bytes);
                            had.extend_from_slice(bytes);
                        }
                        Act::LeaveOut(bytes) => {
                            came.extend_from_slice(bytes);
                            splices.push(Splice { from_target: true, at, left_out: bytes.len() as u64, made: 0 });
                        }
                        Act::Make(bytes) => {
                            made.extend_from_slice(bytes);
                            had.extend_from_slice(bytes);
                            splices.push(Splice { from_target: true, at, left_out: 0, made: bytes.len() as u64 });
                        }
                    }
                }
                let mut way = way(splices);
                let mut got = Vec::new();
                // Everything that came is recorded before anything that the gate made of it, at the worst.
                for bytes in came.chunks(piece) {
                    way.came(Bytes::copy_from_slice(bytes));
                    got.extend(all(&mut way));
                }
                for bytes in made.chunks(piece) {
                    way.made.push_back(Bytes::copy_from_slice(bytes));
                    got.extend(all(&mut way));
                }
                prop_assert_eq!(got, had);
                prop_assert!(way.is_drained());
            }
        }
    }

    #[test]
    fn what_found_no_taker_did_not_arrive() {
        let mut way = Way { taken_up: Some(5), ..way(Vec::new()) };
        way.came(Bytes::from_static(b"abc"));
        way.came(Bytes::from_static(b"defg"));
        assert_eq!((all(&mut way).as_slice(), way.lost), (&b"abcde"[..], 2));
    }
}

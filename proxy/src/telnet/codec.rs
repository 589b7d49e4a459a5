//! Telnet's own bytes (RFC 854, 855): what a terminal's bytes are on the wire, what the wire's are on the terminal, and the
//! answers to what the target asks for. Pure; it reads no socket.
//!
//! The gate asks for nothing itself, so that a machine which only shows a terminal on a socket gets no byte that nobody typed.
//! Of the four states that RFC 1143 gives each side of an option, two are left by that: an option is on or off, a request for
//! what is so already is not answered, and the two ends cannot answer each other without end. A target that asks on and on is
//! answered some hundred times and then no more.

use crate::flow::WindowSize;

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;
/// Interrupt Process, RFC 854.
const IP: u8 = 244;
/// Break, RFC 854.
const BRK: u8 = 243;

/// RFC 856.
const BINARY: u8 = 0;
/// RFC 857.
const ECHO: u8 = 1;
/// Suppress Go Ahead, RFC 858.
const SGA: u8 = 3;
/// Terminal type, RFC 1091.
const TTYPE: u8 = 24;
/// Window size, RFC 1073.
const NAWS: u8 = 31;

const TTYPE_IS: u8 = 0;
const TTYPE_SEND: u8 = 1;

/// Either end of a connection. The gate is the one that types, so that it never echoes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Gate,
    Target,
}

/// What each end may do; everything else is refused.
const fn is_known(end: End, option: u8) -> bool {
    match end {
        End::Gate => matches!(option, BINARY | SGA | TTYPE | NAWS),
        End::Target => matches!(option, BINARY | ECHO | SGA),
    }
}

/// The options that one end has on. All known ones are below 64.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Options(u64);

impl Options {
    const fn has(self, option: u8) -> bool {
        self.0 & (1 << option) != 0
    }

    const fn set(&mut self, option: u8, on: bool) {
        match on {
            true => self.0 |= 1 << option,
            false => self.0 &= !(1 << option),
        }
    }
}

/// One connection's codec, as far as the bytes have come. The same bytes in other pieces give the same.
#[derive(Debug)]
pub struct Codec {
    reading: Reading,
    after_return: bool,
    gate: Options,
    target: Options,
    term: String,
    size: WindowSize,
    answers_left: u32,
}

#[derive(Debug)]
enum Reading {
    Data,
    Command,
    Option(u8),
    /// What stands between SB and SE, and whether an IAC came last.
    Sub(Vec<u8>, bool),
}

/// What came of some bytes of the wire.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// For the terminal.
    pub data: Vec<u8>,
    /// For the wire, as they are.
    pub answers: Vec<u8>,
    /// What the two ends agreed on, or no longer do, in words.
    pub agreed: Vec<&'static str>,
}

impl Codec {
    /// A target negotiates some dozen options once, and its echo at each password. With so many answers of at most some fifty
    /// bytes no target makes the gate keep much, or talk for ever.
    pub const ANSWERS_MAX: u32 = 512;
    /// Larger than anything that is understood.
    const SUB_BYTES_MAX: usize = 64;
    /// As long as RFC 1091 lets a name be.
    const TERM_CHARS_MAX: usize = 40;

    /// Nothing agreed on, for a terminal of this type and size.
    pub fn new(term: &str, size: WindowSize) -> Self {
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-+._/".contains(*c);
        let plain: String = term.chars().filter(is_plain).take(Self::TERM_CHARS_MAX).collect();
        Self {
            reading: Reading::Data,
            after_return: false,
            gate: Options::default(),
            target: Options::default(),
            term: if plain.is_empty() { "unknown".to_owned() } else { plain },
            size,
            answers_left: Self::ANSWERS_MAX,
        }
    }

    /// What the target sent.
    pub fn decode(&mut self, wire: &[u8]) -> Decoded {
        let mut decoded = Decoded::default();
        wire.iter().for_each(|byte| self.take(*byte, &mut decoded));
        decoded
    }

    /// What the technician typed, as it goes out. Every carriage return is one: RFC 854 has NUL follow it.
    pub fn encode(&self, typed: &[u8]) -> Vec<u8> {
        let mut wire = Vec::with_capacity(typed.len() + 8);
        for byte in typed {
            match *byte {
                IAC => wire.extend([IAC, IAC]),
                b'\r' if !self.gate.has(BINARY) => wire.extend([b'\r', 0]),
                byte => wire.push(byte),
            }
        }
        wire
    }

    /// The terminal has another size: what is to be sent, if the target wants to know.
    pub fn resize(&mut self, size: WindowSize) -> Vec<u8> {
        self.size = size;
        if self.gate.has(NAWS) { self.window() } else { Vec::new() }
    }

    /// Stops the program (Ctrl-C by another way).
    pub const fn interrupt() -> [u8; 2] {
        [IAC, IP]
    }

    /// The key "break".
    pub const fn brk() -> [u8; 2] {
        [IAC, BRK]
    }

    fn take(&mut self, byte: u8, decoded: &mut Decoded) {
        match std::mem::replace(&mut self.reading, Reading::Data) {
            Reading::Data if byte == IAC => self.reading = Reading::Command,
            Reading::Data => self.datum(byte, decoded),
            Reading::Command => self.command(byte, decoded),
            Reading::Option(verb) => self.negotiate(verb, byte, decoded),
            Reading::Sub(bytes, false) if byte == IAC => self.reading = Reading::Sub(bytes, true),
            Reading::Sub(mut bytes, has_iac) => match (has_iac, byte) {
                (false, _) | (true, IAC) => {
                    if bytes.len() < Self::SUB_BYTES_MAX {
                        bytes.push(byte);
                    }
                    self.reading = Reading::Sub(bytes, false);
                }
                (true, SE) => self.subnegotiated(&bytes, decoded),
                // It was never ended: what comes now is a command.
                (true, command) => self.command(command, decoded),
            },
        }
    }

    /// Of the two that follow a carriage return, NUL alone is no byte of the terminal's.
    fn datum(&mut self, byte: u8, decoded: &mut Decoded) {
        let is_padding = std::mem::take(&mut self.after_return) && byte == 0;
        if is_padding {
            return;
        }
        self.after_return = byte == b'\r' && !self.target.has(BINARY);
        decoded.data.push(byte);
    }

    fn command(&mut self, byte: u8, decoded: &mut Decoded) {
        match byte {
            IAC => self.datum(IAC, decoded),
            DO | DONT | WILL | WONT => self.reading = Reading::Option(byte),
            SB => self.reading = Reading::Sub(Vec::new(), false),
            // Go ahead, nothing, data mark and the others are of no use to a terminal that always listens.
            _ => {}
        }
    }

    fn negotiate(&mut self, verb: u8, option: u8, decoded: &mut Decoded) {
        let (end, on) = match verb {
            DO => (End::Gate, true),
            DONT => (End::Gate, false),
            WILL => (End::Target, true),
            _ => (End::Target, false),
        };
        let is_on = is_known(end, option) && self.options(end).has(option);
        if is_on == on || self.answers_left == 0 {
            return;
        }
        let agrees = is_known(end, option);
        if agrees {
            self.options(end).set(option, on);
            decoded.agreed.extend(in_words(end, option, on));
        }
        let yes = on && agrees;
        let answer = match (end, yes) {
            (End::Gate, true) => WILL,
            (End::Gate, false) => WONT,
            (End::Target, true) => DO,
            (End::Target, false) => DONT,
        };
        self.answer(&[IAC, answer, option], decoded);
        if yes && option == NAWS {
            let window = self.window();
            decoded.answers.extend(window);
        }
    }

    fn subnegotiated(&mut self, bytes: &[u8], decoded: &mut Decoded) {
        if bytes == [TTYPE, TTYPE_SEND] && self.gate.has(TTYPE) && self.answers_left > 0 {
            let term = self.term.bytes();
            let answer: Vec<u8> = [IAC, SB, TTYPE, TTYPE_IS].into_iter().chain(term).chain([IAC, SE]).collect();
            self.answer(&answer, decoded);
        }
    }

    fn answer(&mut self, bytes: &[u8], decoded: &mut Decoded) {
        self.answers_left -= 1;
        decoded.answers.extend(bytes);
    }

    const fn options(&mut self, end: End) -> &mut Options {
        match end {
            End::Gate => &mut self.gate,
            End::Target => &mut self.target,
        }
    }

    fn window(&self) -> Vec<u8> {
        let side = |characters: u32| u16::try_from(characters).unwrap_or(u16::MAX).to_be_bytes();
        let numbers = [side(self.size.columns), side(self.size.rows)].concat();
        let mut wire = vec![IAC, SB, NAWS];
        for number in numbers {
            wire.push(number);
            if number == IAC {
                wire.push(IAC);
            }
        }
        wire.extend([IAC, SE]);
        wire
    }
}

/// What somebody who reads the recording should know of it.
const fn in_words(end: End, option: u8, on: bool) -> Option<&'static str> {
    match (end, option, on) {
        (End::Target, ECHO, true) => Some("telnet: the target shows what is typed"),
        (End::Target, ECHO, false) => Some("telnet: the target shows no longer what is typed"),
        (End::Target, BINARY, true) => Some("telnet: the target sends all bytes as they are"),
        (End::Target, BINARY, false) => Some("telnet: the target sends text"),
        (End::Gate, BINARY, true) => Some("telnet: all bytes typed are sent as they are"),
        (End::Gate, BINARY, false) => Some("telnet: what is typed is sent as text"),
        (End::Gate, TTYPE, true) => Some("telnet: the target learns the terminal's type"),
        (End::Gate, NAWS, true) => Some("telnet: the target learns the terminal's size"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: WindowSize = WindowSize { columns: 80, rows: 24, width_pixels: 0, height_pixels: 0 };

    fn codec() -> Codec {
        Codec::new("xterm-256color", SIZE)
    }

    /// What came of it, without the words.
    fn decoded(codec: &mut Codec, wire: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let Decoded { data, answers, .. } = codec.decode(wire);
        (data, answers)
    }

    #[test]
    fn a_common_greeting_is_answered_as_a_terminal_does() {
        let mut codec = codec();
        let greeting = [IAC, DO, TTYPE, IAC, DO, 32, IAC, DO, 35, IAC, DO, 39];
        let (data, answers) = decoded(&mut codec, &greeting);
        assert_eq!(data, b"");
        assert_eq!(answers, [IAC, WILL, TTYPE, IAC, WONT, 32, IAC, WONT, 35, IAC, WONT, 39]);
        let (_, answers) = decoded(&mut codec, &[IAC, SB, TTYPE, TTYPE_SEND, IAC, SE]);
        assert_eq!(answers, [&[IAC, SB, TTYPE, TTYPE_IS][..], b"xterm-256color", &[IAC, SE]].concat());
        let more = [&[IAC, WILL, SGA, IAC, DO, ECHO, IAC, DO, NAWS, IAC, WILL, ECHO][..], b"login: "].concat();
        let (data, answers) = decoded(&mut codec, &more);
        assert_eq!(data, b"login: ");
        let window = [IAC, SB, NAWS, 0, 80, 0, 24, IAC, SE];
        let expected = [&[IAC, DO, SGA, IAC, WONT, ECHO, IAC, WILL, NAWS][..], &window, &[IAC, DO, ECHO]];
        assert_eq!(answers, expected.concat());
    }

    #[test]
    fn what_is_so_already_is_not_answered_and_an_end_is_always_agreed_to() {
        let mut codec = codec();
        assert_eq!(codec.decode(&[IAC, WONT, ECHO, IAC, DONT, NAWS]), Decoded::default());
        assert_eq!(codec.decode(&[IAC, WILL, ECHO]).answers, [IAC, DO, ECHO]);
        assert_eq!(codec.decode(&[IAC, WILL, ECHO]), Decoded::default());
        let off = codec.decode(&[IAC, WONT, ECHO]);
        assert_eq!((off.answers, off.agreed.len()), (vec![IAC, DONT, ECHO], 1));
    }

    #[test]
    fn the_size_is_told_to_who_asked_alone_and_a_byte_of_it_may_be_255() {
        let mut codec = codec();
        let wide = WindowSize { columns: 255, rows: 70_000, ..SIZE };
        assert_eq!(codec.resize(wide), b"");
        let (_, answers) = decoded(&mut codec, &[IAC, DO, NAWS]);
        let numbers = [0, IAC, IAC, IAC, IAC, IAC, IAC];
        assert_eq!(answers, [&[IAC, WILL, NAWS, IAC, SB, NAWS][..], &numbers, &[IAC, SE]].concat());
        assert_eq!(codec.resize(SIZE), [IAC, SB, NAWS, 0, 80, 0, 24, IAC, SE]);
    }

    #[test]
    fn a_return_is_followed_by_nul_until_all_bytes_go_as_they_are() {
        let mut codec = codec();
        assert_eq!(codec.encode(b"ls\r\n\xff"), b"ls\r\0\n\xff\xff");
        assert_eq!(codec.decode(b"a\r\0b\r\nc\r").data, b"a\rb\r\nc\r");
        assert_eq!(codec.decode(b"\0\0").data, b"\0");
        codec.decode(&[IAC, DO, BINARY, IAC, WILL, BINARY]);
        assert_eq!(codec.encode(b"ls\r\xff"), b"ls\r\xff\xff");
        assert_eq!(codec.decode(b"a\r\0b").data, b"a\r\0b");
    }

    #[test]
    fn a_terminal_whose_name_is_none_says_so() {
        for (term, told) in [("", "unknown"), ("\u{ff}\r\n", "unknown"), ("vt100\u{ff}", "vt100")] {
            assert_eq!(Codec::new(term, SIZE).term, told);
        }
        assert_eq!(Codec::new(&"x".repeat(99), SIZE).term.len(), 40);
    }

    #[test]
    fn a_subnegotiation_without_an_end_is_bounded_and_is_ended_by_a_command() {
        let mut codec = codec();
        codec.decode(&[IAC, SB, TTYPE]);
        assert_eq!(codec.decode(&vec![b'x'; 1 << 20]), Decoded::default());
        assert!(matches!(&codec.reading, Reading::Sub(bytes, _) if bytes.len() == Codec::SUB_BYTES_MAX));
        let (data, answers) = decoded(&mut codec, &[&[IAC, WILL, ECHO][..], b"login: "].concat());
        assert_eq!((&data[..], &answers[..]), (&b"login: "[..], &[IAC, DO, ECHO][..]));
    }

    /// What a peer of the same kind would do with our answers: it answers each of them in turn.
    #[test]
    fn two_ends_that_answer_each_other_come_to_rest() {
        for first in 0..=u8::MAX {
            for verb in [DO, DONT, WILL, WONT] {
                let (mut one, mut other) = (codec(), codec());
                let mut wire = vec![IAC, verb, first];
                let mut rounds = 0;
                while !wire.is_empty() {
                    rounds += 1;
                    assert!(rounds < 6, "{verb} {first} is answered without end");
                    wire = one.decode(&wire).answers;
                    std::mem::swap(&mut one, &mut other);
                }
            }
        }
    }

    #[test]
    fn who_asks_on_and_on_is_answered_no_more() {
        let mut codec = codec();
        let toggles = [IAC, WILL, ECHO, IAC, WONT, ECHO].repeat(100_000);
        let answered = codec.decode(&toggles).answers.len() / 3;
        assert_eq!(answered, Codec::ANSWERS_MAX as usize);
        codec.decode(&[IAC, DO, TTYPE]);
        assert_eq!(codec.decode(&[IAC, SB, TTYPE, TTYPE_SEND, IAC, SE].repeat(100)), Decoded::default());
        assert_eq!(codec.decode(b"and goes on").data, b"and goes on");
    }

    /// Bytes such as targets send: text, and commands that mean something.
    fn wire() -> impl Strategy<Value = Vec<u8>> {
        let odd = prop::sample::select(vec![IAC, DO, DONT, WILL, WONT, SB, SE, 0, 1, 3, 24, 31, b'\r', b'\n', b'x']);
        prop::collection::vec(prop_oneof![4 => odd, 1 => any::<u8>()], 0..200)
    }

    proptest! {
        #[test]
        fn the_same_bytes_in_other_pieces_give_the_same(wire in wire(), ends in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
            let whole = codec().decode(&wire);
            let mut ends: Vec<_> = ends.iter().map(|end| end.index(wire.len() + 1)).chain([0, wire.len()]).collect();
            ends.sort_unstable();
            let (mut pieces, mut codec) = (Decoded::default(), codec());
            for piece in ends.windows(2) {
                let Decoded { data, answers, agreed } = codec.decode(&wire[piece[0]..piece[1]]);
                pieces.data.extend(data);
                pieces.answers.extend(answers);
                pieces.agreed.extend(agreed);
            }
            prop_assert_eq!(pieces, whole);
        }

        #[test]
        fn what_is_sent_arrives_as_it_was(bytes in prop::collection::vec(prop_oneof![1 => Just(IAC), 1 => Just(b'\r'), 1 => Just(0), 3 => any::<u8>()], 0..200), binary: bool) {
            let (mut near, mut far) = (codec(), codec());
            if binary {
                near.decode(&[IAC, DO, BINARY]);
                far.decode(&[IAC, WILL, BINARY]);
            }
            let arrived = far.decode(&near.encode(&bytes));
            prop_assert_eq!(arrived.answers, b"");
            prop_assert_eq!(arrived.data, bytes);
        }

        #[test]
        fn an_answer_is_whole_commands_and_no_longer_than_what_was_asked_allows(wire in wire()) {
            let answers = codec().decode(&wire).answers;
            prop_assert!(answers.len() <= 12 * wire.len());
            // A second codec finds no byte of a terminal in them.
            prop_assert_eq!(codec().decode(&answers).data, b"");
        }
    }
}

//! The data of a request, read after *MODBUS Application Protocol* 1.1b3, section 6, and told with the names of the book.

use super::request::{Code, Span, Table};
use crate::gates::told::{Told, Verb, counted, first_of};

/// What a request asks. Holds nothing of a request whose parts do not fit each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asks {
    Read(Span),
    WriteBits(Span, Vec<bool>),
    WriteRegisters(Span, Vec<u16>),
    /// What is neither on nor off.
    WriteOddCoil(Span, u16),
    Mask {
        register: Span,
        and: u16,
        or: u16,
    },
    WriteAndRead {
        written: Span,
        values: Vec<u16>,
        read: Span,
    },
    Queue(Span),
    ReadFile(Vec<Records>),
    WriteFile(Vec<Records>),
    /// Read code and object.
    Identification(u8, u8),
    /// What the function's name says, with this many bytes that are not read here.
    Named(Named, usize),
    Unknown,
    Misshapen,
}

/// Successive records of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Records {
    file: u16,
    first: u16,
    count: u16,
}

/// A function or sub-function that is told by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    verb: Verb,
    object: &'static str,
}

/// Reads the data behind a function code.
pub(super) fn asks(code: Code, data: &[u8]) -> Asks {
    read(code, data).unwrap_or(Asks::Misshapen)
}

/// None where the parts do not fit each other.
fn read(code: Code, data: &[u8]) -> Option<Asks> {
    match code.function {
        1 => bits(Table::Coils, data),
        2 => bits(Table::DiscreteInputs, data),
        3 => registers(Table::HoldingRegisters, data),
        4 => registers(Table::InputRegisters, data),
        5 => coil(data),
        6 => register(data),
        15 => write_bits(data),
        16 => write_registers(data),
        20 => read_file(data),
        21 => write_file(data),
        22 => mask(data),
        23 => write_and_read(data),
        24 => queue(data),
        43 if code.sub == Some(14) => identification(data),
        _ => Some(named(code, data)).filter(|asks| *asks != Asks::Misshapen),
    }
}

fn words<const N: usize>(data: &[u8]) -> Option<[u16; N]> {
    let read = pairs(data);
    (data.len() == 2 * N).then(|| read.try_into().ok()).flatten()
}

fn pairs(data: &[u8]) -> Vec<u16> {
    data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}

fn span(table: Table, first: u16, count: u16, count_max: u16) -> Option<Span> {
    (1..=count_max).contains(&count).then_some(Span { table, first, count })
}

fn bits(table: Table, data: &[u8]) -> Option<Asks> {
    let [first, count] = words(data)?;
    span(table, first, count, 2000).map(Asks::Read)
}

fn registers(table: Table, data: &[u8]) -> Option<Asks> {
    let [first, count] = words(data)?;
    span(table, first, count, 125).map(Asks::Read)
}

fn coil(data: &[u8]) -> Option<Asks> {
    let [first, value] = words(data)?;
    let coil = Span { table: Table::Coils, first, count: 1 };
    Some(match value {
        0xff00 => Asks::WriteBits(coil, vec![true]),
        0 => Asks::WriteBits(coil, vec![false]),
        odd => Asks::WriteOddCoil(coil, odd),
    })
}

fn register(data: &[u8]) -> Option<Asks> {
    let [first, value] = words(data)?;
    Some(Asks::WriteRegisters(Span { table: Table::HoldingRegisters, first, count: 1 }, vec![value]))
}

/// Bytes after their count, which has to be right.
fn counted_bytes(data: &[u8]) -> Option<&[u8]> {
    let (count, rest) = data.split_first()?;
    (rest.len() == usize::from(*count)).then_some(rest)
}

fn write_bits(data: &[u8]) -> Option<Asks> {
    let (head, rest) = data.split_at_checked(4)?;
    let [first, count] = words(head)?;
    let coils = span(Table::Coils, first, count, 1968)?;
    let bytes = counted_bytes(rest)?;
    let bit = |n: usize| bytes[n / 8] >> (n % 8) & 1 == 1;
    let count = usize::from(count);
    (bytes.len() == count.div_ceil(8)).then(|| Asks::WriteBits(coils, (0..count).map(bit).collect()))
}

fn values(span: Span, data: &[u8]) -> Option<Vec<u16>> {
    let bytes = counted_bytes(data)?;
    (bytes.len() == 2 * usize::from(span.count)).then(|| pairs(bytes))
}

fn write_registers(data: &[u8]) -> Option<Asks> {
    let (head, rest) = data.split_at_checked(4)?;
    let [first, count] = words(head)?;
    let written = span(Table::HoldingRegisters, first, count, 123)?;
    Some(Asks::WriteRegisters(written, values(written, rest)?))
}

fn mask(data: &[u8]) -> Option<Asks> {
    let [first, and, or] = words(data)?;
    Some(Asks::Mask { register: Span { table: Table::HoldingRegisters, first, count: 1 }, and, or })
}

fn write_and_read(data: &[u8]) -> Option<Asks> {
    let (head, rest) = data.split_at_checked(8)?;
    let [read_first, read_count, first, count] = words(head)?;
    let read = span(Table::HoldingRegisters, read_first, read_count, 125)?;
    let written = span(Table::HoldingRegisters, first, count, 121)?;
    Some(Asks::WriteAndRead { written, values: values(written, rest)?, read })
}

fn queue(data: &[u8]) -> Option<Asks> {
    let [first] = words(data)?;
    Some(Asks::Queue(Span { table: Table::HoldingRegisters, first, count: 1 }))
}

/// How each part of a request about files begins: reference type 6, file, record, length.
const RECORDS_BYTES: usize = 7;

fn records(head: &[u8]) -> Option<Records> {
    let (kind, rest) = head.split_first()?;
    let [file, first, count] = words(rest)?;
    (*kind == 6 && count > 0).then_some(Records { file, first, count })
}

fn read_file(data: &[u8]) -> Option<Asks> {
    let parts = counted_bytes(data)?.chunks(RECORDS_BYTES);
    let parts: Vec<Records> = parts.map(records).collect::<Option<_>>()?;
    (!parts.is_empty()).then_some(Asks::ReadFile(parts))
}

fn write_file(data: &[u8]) -> Option<Asks> {
    let mut rest = counted_bytes(data)?;
    let mut parts = Vec::new();
    while let Some((head, behind)) = rest.split_at_checked(RECORDS_BYTES) {
        let part = records(head)?;
        rest = behind.get(2 * usize::from(part.count)..)?;
        parts.push(part);
    }
    (rest.is_empty() && !parts.is_empty()).then_some(Asks::WriteFile(parts))
}

fn identification(data: &[u8]) -> Option<Asks> {
    let [_, read_code @ 1..=4, object] = *data else { return None };
    Some(Asks::Identification(read_code, object))
}

fn named(code: Code, data: &[u8]) -> Asks {
    let verb_and_object = match (code.function, code.sub) {
        (7, _) => (Verb::READ, "the exception status"),
        (8, Some(0)) => (Verb::new("ask", "asked"), "for an echo"),
        (8, Some(1)) => (Verb::new("restart", "restarted"), "communications"),
        (8, Some(2)) => (Verb::READ, "the diagnostic register"),
        (8, Some(3)) => (Verb::new("change", "changed"), "the ASCII input delimiter"),
        (8, Some(4)) => (Verb::new("force", "forced"), "listen-only mode"),
        (8, Some(10)) => (Verb::new("clear", "cleared"), "the counters and the diagnostic register"),
        (8, Some(11)) => (Verb::READ, "the count of bus messages"),
        (8, Some(12)) => (Verb::READ, "the count of bus communication errors"),
        (8, Some(13)) => (Verb::READ, "the count of bus exceptions"),
        (8, Some(14)) => (Verb::READ, "the count of server messages"),
        (8, Some(15)) => (Verb::READ, "the count of messages without answer"),
        (8, Some(16)) => (Verb::READ, "the count of NAKs"),
        (8, Some(17)) => (Verb::READ, "the count of busy answers"),
        (8, Some(18)) => (Verb::READ, "the count of character overruns"),
        (8, Some(20)) => (Verb::new("clear", "cleared"), "the overrun counter"),
        (11, _) => (Verb::READ, "the communication event counter"),
        (12, _) => (Verb::READ, "the communication event log"),
        (17, _) => (Verb::READ, "the server ID"),
        (40, _) => (Verb::USE, "programming (Concept)"),
        (42, _) => (Verb::USE, "the symbol table (Concept)"),
        (90, _) => (Verb::USE, "UMAS (Unity, Control Expert)"),
        (125, _) => (Verb::USE, "firmware replacement"),
        (126, _) => (Verb::USE, "programming (584/984)"),
        (8, None) | (43, None) => return Asks::Misshapen,
        _ => return Asks::Unknown,
    };
    if matches!(code.function, 7 | 11 | 12 | 17) && !data.is_empty() {
        return Asks::Misshapen;
    }
    Asks::Named(Named { verb: verb_and_object.0, object: verb_and_object.1 }, data.len())
}

impl Asks {
    /// What of the four tables it reaches.
    pub(super) fn spans(&self) -> Vec<Span> {
        match self {
            Self::Read(span)
            | Self::WriteBits(span, _)
            | Self::WriteRegisters(span, _)
            | Self::WriteOddCoil(span, _)
            | Self::Mask { register: span, .. } => vec![*span],
            // Behind the register that counts them stand up to 31 queued ones (6.18).
            Self::Queue(span) => {
                vec![Span { count: u16::MAX.saturating_sub(span.first).saturating_add(1).min(32), ..*span }]
            }
            Self::WriteAndRead { written, read, .. } => vec![*written, *read],
            _ => Vec::new(),
        }
    }

    /// In words.
    pub(super) fn told(&self, code: Code, unit: u8) -> Told {
        let of_unit = |object: String| format!("{object}, unit {unit}");
        match self {
            Self::Read(span) => Told::of(Verb::READ, of_unit(book_names(*span))),
            Self::WriteBits(span, bits) => Told::write(on_or_off(bits), of_unit(book_names(*span))),
            Self::WriteRegisters(span, values) => Told::write(numbers(values), of_unit(book_names(*span))),
            Self::WriteOddCoil(span, odd) => Told::write(format!("{odd:#06x}"), of_unit(book_names(*span))),
            Self::Mask { register, and, or } => {
                let object = of_unit(book_names(*register));
                let value = format!("AND {and:#06x}, OR {or:#06x}");
                let verb = Verb::new("mask", "masked");
                Told { verb, rest: format!("{object} with {value}"), object: Some(object), value: Some(value) }
            }
            Self::WriteAndRead { written, values, read } => {
                let told = Told::write(numbers(values), of_unit(book_names(*written)));
                Told { rest: format!("{}, and read {}", told.rest, book_names(*read)), ..told }
            }
            Self::Queue(span) => Told::of(Verb::READ, of_unit(format!("the queue at {}", book_names(*span)))),
            Self::ReadFile(parts) => Told::of(Verb::READ, of_unit(files(parts))),
            Self::WriteFile(parts) => Told::of(Verb::WRITE, of_unit(files(parts))),
            Self::Identification(read_code, object) => {
                Told::of(Verb::READ, of_unit(identification_name(*read_code, *object)))
            }
            Self::Named(named, bytes) => {
                let size =
                    if named.verb == Verb::USE { format!(" with {}", counted(*bytes, "byte")) } else { String::new() };
                Told::of(named.verb, of_unit(format!("{}{size}", named.object)))
            }
            Self::Unknown => Told::of(Verb::USE, of_unit(format!("unknown function {code}"))),
            Self::Misshapen => {
                Told::of(Verb::SEND, of_unit(format!("a request of function {code} whose parts do not fit each other")))
            }
        }
    }
}

/// `holding register 40101 (address 100)`: the book's number is one higher than the address and begins with the table's
/// digit; above 9999 it has six digits.
fn book_names(span: Span) -> String {
    let (name, digit) = match span.table {
        Table::Coils => ("coil", 0),
        Table::DiscreteInputs => ("discrete input", 1),
        Table::InputRegisters => ("input register", 3),
        Table::HoldingRegisters => ("holding register", 4),
    };
    let number = |address: u32| {
        let width = if address + 1 > 9999 { 5 } else { 4 };
        format!("{digit}{:0width$}", address + 1)
    };
    let (first, last) = (u32::from(span.first), span.end().saturating_sub(1));
    if span.count == 1 {
        return format!("{name} {} (address {first})", number(first));
    }
    format!("{name}s {} to {} (addresses {first} to {last})", number(first), number(last))
}

fn on_or_off(bits: &[bool]) -> String {
    first_of(bits.iter().map(|bit| if *bit { "on" } else { "off" }.to_owned()))
}

fn numbers(values: &[u16]) -> String {
    first_of(values.iter().map(u16::to_string))
}

fn files(parts: &[Records]) -> String {
    first_of(parts.iter().map(|part| {
        let last = u32::from(part.first) + u32::from(part.count) - 1;
        match part.count {
            1 => format!("record {} of file {}", part.first, part.file),
            _ => format!("records {} to {last} of file {}", part.first, part.file),
        }
    }))
}

fn identification_name(read_code: u8, object: u8) -> String {
    const OBJECTS: [&str; 7] = [
        "VendorName",
        "ProductCode",
        "MajorMinorRevision",
        "VendorUrl",
        "ProductName",
        "ModelName",
        "UserApplicationName",
    ];
    let what = match read_code {
        1 => "basic",
        2 => "regular",
        3 => "extended",
        _ => {
            let name =
                OBJECTS.get(usize::from(object)).map_or_else(|| format!("object {object}"), |name| (*name).to_owned());
            return format!("{name} of the device identification");
        }
    };
    format!("the {what} device identification")
}

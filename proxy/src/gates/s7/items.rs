//! What a read or write of variables names, with the addresses and values that STEP 7 shows.

use super::pdu::Pdu;
use crate::gates::told::{Told, Verb, counted, first_of};

/// How many items a line names.
const ITEMS_MAX: usize = 4;

/// One address of an "any" pointer (syntax 10), or that it is another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Any { size: u8, count: u16, block: u16, area: u8, address: u32 },
    Other { syntax: u8 },
}

/// What a read or write of variables says; none where its items do not fill its parameters.
pub(super) fn told(pdu: &Pdu) -> Option<Told> {
    let (head, rest) = pdu.parameters.split_at_checked(2)?;
    let items = items(rest, head[1])?;
    let shown = || items.iter().take(ITEMS_MAX);
    let more = items.len().saturating_sub(ITEMS_MAX);
    let and_more = if more == 0 { String::new() } else { format!("; and {more} more") };
    let joined = |parts: Vec<String>| format!("{}{and_more}", parts.join("; "));
    let object = joined(shown().map(|item| item.place()).collect());
    if head[0] == 0x04 {
        let rest = joined(shown().map(|item| format!("{} from {}", item.amount(), item.place())).collect());
        return Some(Told { verb: Verb::READ, rest, object: Some(object), value: None });
    }
    let values = values(&pdu.data, &items);
    let line = |(item, value): (&Item, &Option<String>)| {
        let value = value.as_ref().map_or_else(String::new, |value| format!(": {value}"));
        format!("{} to {}{value}", item.amount(), item.place())
    };
    let rest = joined(shown().zip(&values).map(line).collect());
    let value = joined(values.iter().take(ITEMS_MAX).flatten().cloned().collect());
    Some(Told { verb: Verb::WRITE, rest, object: Some(object), value: Some(value).filter(|value| !value.is_empty()) })
}

fn items(mut bytes: &[u8], count: u8) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    for _ in 0..count {
        let [0x12, length, rest @ ..] = bytes else { return None };
        let (item, behind) = rest.split_at_checked(usize::from(*length))?;
        bytes = behind;
        items.push(match *item {
            [0x10, size, c1, c0, b1, b0, area, a2, a1, a0] => Item::Any {
                size,
                count: u16::from_be_bytes([c1, c0]),
                block: u16::from_be_bytes([b1, b0]),
                area,
                address: u32::from_be_bytes([0, a2, a1, a0]),
            },
            [syntax, ..] => Item::Other { syntax },
            [] => return None,
        });
    }
    (bytes.is_empty() && !items.is_empty()).then_some(items)
}

impl Item {
    /// `4 bytes`.
    fn amount(&self) -> String {
        match self {
            Self::Any { size, count, .. } => counted(usize::from(*count), size_name(*size)),
            Self::Other { .. } => "a value".to_owned(),
        }
    }

    /// `DB1.DBB0`, `M0.3`, `C5`.
    fn place(&self) -> String {
        let (size, block, area, address) = match *self {
            Self::Any { size, block, area, address, .. } => (size, block, area, address),
            Self::Other { syntax } => return format!("an address of kind {syntax:02x}"),
        };
        let of_block = |prefix: &str| format!("{prefix}{block}.{prefix}");
        let (area, in_block) = match area {
            0x1c => return format!("C{address}"),
            0x1d => return format!("T{address}"),
            0x80 => ("P".to_owned(), false),
            0x81 => ("I".to_owned(), false),
            0x82 => ("Q".to_owned(), false),
            0x83 => ("M".to_owned(), false),
            0x84 => (of_block("DB"), true),
            0x85 => (of_block("DI"), true),
            0x86 => ("L".to_owned(), false),
            0x87 => ("V".to_owned(), false),
            other => (format!("area {other:02x} "), false),
        };
        let (byte, bit) = (address / 8, address % 8);
        match size {
            0x01 => format!("{area}{}{byte}.{bit}", if in_block { "X" } else { "" }),
            0x04 | 0x05 => format!("{area}W{byte}"),
            0x06..=0x08 => format!("{area}D{byte}"),
            _ => format!("{area}B{byte}"),
        }
    }
}

fn size_name(size: u8) -> &'static str {
    match size {
        0x01 => "bit",
        0x02 => "byte",
        0x03 => "char",
        0x04 => "word",
        0x05 => "int",
        0x06 => "dword",
        0x07 => "dint",
        0x08 => "real",
        0x1c => "counter",
        0x1d => "timer",
        _ => "element",
    }
}

/// The value for each item, as far as the data can be read.
fn values(data: &[u8], items: &[Item]) -> Vec<Option<String>> {
    let mut rest = Some(data);
    let value = |item: &Item| {
        let (bytes, behind) = value_bytes(rest?)?;
        rest = Some(behind);
        match item {
            Item::Any { size, .. } => Some(shown(*size, bytes)),
            Item::Other { .. } => None,
        }
    };
    items.iter().map(value).collect()
}

/// Return code, kind of length, length; then so many bytes, and one more where they are odd and something follows.
fn value_bytes(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let [_, kind, high, low, rest @ ..] = data else { return None };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let bytes = if matches!(kind, 0x03..=0x05) { length.div_ceil(8) } else { length };
    let (value, behind) = rest.split_at_checked(bytes)?;
    Some((value, if bytes % 2 == 1 { behind.get(1..).unwrap_or_default() } else { behind }))
}

fn shown(size: u8, bytes: &[u8]) -> String {
    let words = || bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
    let doubles = || bytes.chunks_exact(4).map(|four| [four[0], four[1], four[2], four[3]]);
    match size {
        0x01 => first_of(bytes.iter().map(|byte| if byte & 1 == 1 { "on" } else { "off" }.to_owned())),
        0x04 => first_of(words().map(|word| u16::from_be_bytes(word).to_string())),
        0x05 => first_of(words().map(|word| i16::from_be_bytes(word).to_string())),
        0x06 => first_of(doubles().map(|double| u32::from_be_bytes(double).to_string())),
        0x07 => first_of(doubles().map(|double| i32::from_be_bytes(double).to_string())),
        0x08 => first_of(doubles().map(|double| f32::from_be_bytes(double).to_string())),
        _ => first_of(bytes.iter().map(u8::to_string)),
    }
}

//! Values of tags, of the elementary types (*The CIP Networks Library*, volume 1, appendix C).

use crate::gates::told::{counted, first_of};

use super::frame::word;

/// Type and value of a write: type, count, for a fragment its place, and from `head` on the data. None for structures and
/// what does not fit.
pub(super) fn shown(data: &[u8], head: usize) -> Option<(&'static str, String)> {
    let kind = word(data.get(..2)?);
    let data = data.get(head..)?;
    let whole = |size: usize| data.len().is_multiple_of(size) && !data.is_empty();
    macro_rules! numbers {
        ($name:literal, $type:ty) => {{
            const SIZE: usize = size_of::<$type>();
            let number =
                |bytes: &[u8]| <$type>::from_le_bytes(bytes.try_into().expect("chunks of this size")).to_string();
            whole(SIZE).then(|| ($name, first_of(data.chunks_exact(SIZE).map(number))))
        }};
    }
    match kind {
        0xc1 => whole(1)
            .then(|| ("BOOL", first_of(data.iter().map(|byte| if *byte == 0 { "off" } else { "on" }.to_owned())))),
        0xc2 => numbers!("SINT", i8),
        0xc3 => numbers!("INT", i16),
        0xc4 => numbers!("DINT", i32),
        0xc5 => numbers!("LINT", i64),
        0xc6 => numbers!("USINT", u8),
        0xc7 => numbers!("UINT", u16),
        0xc8 => numbers!("UDINT", u32),
        0xc9 => numbers!("ULINT", u64),
        0xca => numbers!("REAL", f32),
        0xcb => numbers!("LREAL", f64),
        0xd1 => numbers!("BYTE", u8),
        0xd2 => numbers!("WORD", u16),
        0xd3 => numbers!("DWORD", u32),
        0xd4 => numbers!("LWORD", u64),
        _ => None,
    }
}

/// What has no type here.
pub(super) fn bytes(data: &[u8]) -> String {
    if data.is_empty() {
        return counted(0, "byte");
    }
    first_of(data.iter().map(|byte| format!("{byte:02x}")))
}

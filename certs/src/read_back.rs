//! The code that a technician reads out over the telephone, so that an operator knows who is on the line and that both mean
//! the same request. It is made of the request's digest under a key of the gate's: whoever sees the request and not the
//! technician's own screen cannot work it out.

use std::fmt;

use policies::digest::Digest;

use crate::chance;
use crate::secrets::Secrets;
use crate::vault::VaultFault;

/// Digits of it: understood in any accent, and on any keypad. A hundred million of them, where five wrong ones lock for a
/// quarter of an hour.
const DIGITS: usize = 8;
const CODES: u64 = 100_000_000;
/// What it is made for, so that no other use of the gate's key makes the same bytes.
const LABEL: &[u8] = b"holdpoint/read-back/v1";

/// Eight digits, for the technician alone. `Debug` shows none of them.
pub struct ReadBack {
    digits: String,
    of: Digest,
}

/// What was typed is not what the technician reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not the code that the technician reads: ask for the eight digits once more")]
pub struct NotHeard;

/// That somebody was told the code of what has this digest. Not `Clone`.
/// ```compile_fail
/// fn not_told(of: policies::digest::Digest) -> certs::read_back::Heard {
///     certs::read_back::Heard { of }
/// }
/// ```
#[derive(Debug)]
pub struct Heard {
    of: Digest,
}

impl ReadBack {
    /// Of the request, or of what is asked of a grant, that has this digest.
    ///
    /// # Errors
    /// The vault does not answer.
    pub fn of(secrets: &Secrets, digest: &Digest) -> Result<Self, VaultFault> {
        let tag = secrets.tag(&[LABEL, &digest.0].concat())?;
        let number = u64::from_be_bytes(*tag.first_chunk().expect("a tag has 32 bytes")) % CODES;
        Ok(Self { digits: format!("{number:08}"), of: *digest })
    }

    /// For reading out: two groups of four.
    pub fn shown(&self) -> String {
        let (first, second) = self.digits.split_at(DIGITS / 2);
        format!("{first} {second}")
    }

    /// Whether this is what was typed. Blanks and hyphens do not matter; takes as long for a wrong one as for the right one.
    ///
    /// # Errors
    /// It is another.
    pub fn heard(self, typed: &str) -> Result<Heard, NotHeard> {
        let typed: String = typed.chars().filter(|c| !c.is_whitespace() && *c != '-').take(DIGITS + 1).collect();
        if chance::same(typed.as_bytes(), self.digits.as_bytes()) { Ok(Heard { of: self.of }) } else { Err(NotHeard) }
    }
}

impl Heard {
    /// Of what.
    pub const fn of(&self) -> Digest {
        self.of
    }
}

impl fmt::Debug for ReadBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadBack(..)")
    }
}

/// What the documentation shows not to compile elsewhere compiles in here.
#[cfg(test)]
mod from_inside {
    use super::*;

    const _: fn(Digest) -> Heard = |of| Heard { of };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(key: u8, of: &[u8]) -> ReadBack {
        ReadBack::of(&Secrets::with_key(&[key; 32]), &Digest::of_bytes(of)).unwrap()
    }

    #[test]
    fn a_code_is_of_one_request_at_one_gate_and_stays_the_same() {
        assert_eq!(code(1, b"a").shown(), code(1, b"a").shown());
        assert_ne!(code(1, b"a").shown(), code(1, b"b").shown());
        assert_ne!(code(1, b"a").shown(), code(2, b"a").shown(), "nobody without the gate's key works it out");
    }

    #[test]
    fn what_is_read_out_is_heard_however_it_is_grouped_and_nothing_else_is() {
        let shown = code(1, b"a").shown();
        assert!(shown.len() == 9 && shown.chars().all(|c| c.is_ascii_digit() || c == ' '), "{shown}");
        for typed in [shown.clone(), shown.replace(' ', ""), shown.replace(' ', "-"), format!(" {shown}\n")] {
            assert_eq!(code(1, b"a").heard(&typed).unwrap().of(), Digest::of_bytes(b"a"), "{typed:?}");
        }
        for typed in ["", &shown[1..], &format!("{shown}0"), &code(1, b"b").shown()] {
            assert_eq!(code(1, b"a").heard(typed).unwrap_err(), NotHeard, "{typed:?}");
        }
    }

    #[test]
    fn debug_shows_no_code() {
        assert_eq!(format!("{:?}", code(1, b"a")), "ReadBack(..)");
    }
}

//! Fresh identifiers, salts and nonces: the chance that decisions take as an argument. Keys and codes are made in `certs`.

use jiff::Timestamp;
use policies::ids::{AskId, CutId, GuestId, LinkId, PersonId, RequestId, RestoreId, SessionId};
use ulid::Ulid;

/// So many random bytes that nobody can guess.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("AWS-LC ends the process itself where the system gives it no entropy");
    bytes
}

/// A nonce for a statement to be signed: sixteen random bytes in hexadecimal.
pub fn nonce() -> String {
    data_encoding::HEXLOWER.encode(&random::<16>())
}

fn fresh(now: Timestamp) -> Ulid {
    let millisecond = u64::try_from(now.as_millisecond()).unwrap_or_default();
    Ulid::from_parts(millisecond, u128::from_be_bytes(random()))
}

macro_rules! mints {
    ($($(#[$doc:meta])* $name:ident -> $id:ident),* $(,)?) => {$(
        $(#[$doc])*
        pub fn $name(now: Timestamp) -> $id {
            $id::new(fresh(now))
        }
    )*};
}

mints! {
    /// A new person.
    person -> PersonId,
    /// A new request.
    request -> RequestId,
    /// A new extension, widening or reopening.
    ask -> AskId,
    /// A new session.
    session -> SessionId,
    /// A new cut.
    cut -> CutId,
    /// A new enrolment link.
    link -> LinkId,
    /// A new visit of a guest.
    guest -> GuestId,
    /// A new restore.
    restore -> RestoreId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_of_one_moment_differ_and_later_ones_sort_later() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        assert_ne!(session(now), session(now));
        assert!(session(now) < session(Timestamp::from_second(1_790_000_001).unwrap()));
    }
}

//! The header beside a token: that the token's holder makes this very request, now. What is signed, and its checks,
//! are in `certs::token`; here is how it travels. The client writes it with the same code that the server reads it by.

use data_encoding::BASE64;
use jiff::Timestamp;

/// The header's name.
pub const HEADER: &str = "holdpoint-proof";
/// The header of every answer that names this run of this face. Which proofs were used is known to the run that took them
/// and to nobody else, so each proof is for one run.
pub const START: &str = "holdpoint-start";
/// What a client says that knows of no run yet. None is called so.
pub const UNKNOWN_START: &str = "unknown";
/// The refusal of a proof that is for another run: it is to be made anew, for the one that the answer names.
pub const OTHER_START: &str = "other-start";

/// How the token of someone who signed in by key alone begins. It is no JWT, so that none is taken for the other.
pub(super) const KEY_ALONE: &str = "key-alone.";

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) at: Timestamp,
    pub(super) start: String,
    pub(super) signature: String,
}

/// The header's value: when, by the holder's clock, for which run of the gate, and the signature over
/// [`request_message`](certs::token::request_message) in the namespace `holdpoint-request@v1`.
pub fn value(at: Timestamp, start: &str, signature_pem: &str) -> String {
    format!("{at} {start} {}", BASE64.encode(signature_pem.as_bytes()))
}

/// Reads [`value`].
pub(super) fn parse(text: &str) -> Option<Proof> {
    let (at, rest) = text.split_once(' ')?;
    let (start, signature) = rest.split_once(' ')?;
    let signature = BASE64.decode(signature.as_bytes()).ok()?;
    Some(Proof { at: at.parse().ok()?, start: start.to_owned(), signature: String::from_utf8(signature).ok()? })
}

/// The id of a token, which the proof of each request names; of a JWT and of a token by key alone.
pub fn token_id(token: &str) -> Option<String> {
    match token.strip_prefix(KEY_ALONE) {
        Some(rest) => rest.split_once('.').map(|(id, _)| id.to_owned()),
        None => certs::token::token_id(token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_writes_the_server_reads() {
        let at = Timestamp::from_nanosecond(1_790_000_000_000_000_001).unwrap();
        let value = value(at, "start", "-----BEGIN\nabc\n");
        assert!(value.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        let (start, signature) = ("start".to_owned(), "-----BEGIN\nabc\n".to_owned());
        assert_eq!(parse(&value), Some(Proof { at, start, signature }));
        assert!(parse("now start abc").is_none() && parse(&format!("{at} YWJj")).is_none());
    }
}

//! The header beside a token: that the token's holder makes this very request, now. What is signed, and its checks,
//! are in `certs::token`; here is how it travels. The client writes it with the same code that the server reads it by.

use data_encoding::BASE64;
use jiff::Timestamp;

/// The header's name.
pub const HEADER: &str = "holdpoint-proof";

/// How the token of someone who signed in by key alone begins. It is no JWT, so that none is taken for the other.
pub(super) const KEY_ALONE: &str = "key-alone.";

/// The header's value: when, by the holder's clock, and the signature over
/// [`request_message`](certs::token::request_message) in the namespace `holdpoint-request@v1`.
pub fn value(at: Timestamp, signature_pem: &str) -> String {
    format!("{at} {}", BASE64.encode(signature_pem.as_bytes()))
}

/// Reads [`value`].
pub(super) fn parse(text: &str) -> Option<(Timestamp, String)> {
    let (at, signature) = text.split_once(' ')?;
    let signature = BASE64.decode(signature.as_bytes()).ok()?;
    Some((at.parse().ok()?, String::from_utf8(signature).ok()?))
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
        let value = value(at, "-----BEGIN\nabc\n");
        assert!(value.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        assert_eq!(parse(&value), Some((at, "-----BEGIN\nabc\n".to_owned())));
        assert_eq!(parse("now abc"), None);
    }
}

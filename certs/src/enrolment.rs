//! One-use enrolment codes: which link, its secret, and the first 80 bits of the TLS CA's fingerprint, in one text a
//! person can paste or type. The fingerprint is in it so that first contact is not a leap of faith. Whether a link is
//! still open, and for whom, is the directory's business.

use std::fmt;

use data_encoding::{Encoding, Specification};
use policies::digest::Digest;
use policies::ids::LinkId;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::chance;
use crate::tls::CaPrefix;

/// A one-use code. Wiped when dropped; `Debug` shows only which link it is for.
pub struct EnrolmentCode {
    link: LinkId,
    secret: Zeroizing<[u8; 16]>,
    ca: CaPrefix,
}

/// Text that is no enrolment code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCode {
    /// Nothing there.
    #[error("no enrolment code was given")]
    Empty,
    /// A sign that is in no code.
    #[error("{0:?} is in no enrolment code: they are made of digits and letters, in groups of six with '-' between")]
    Sign(char),
    /// Too little or too much.
    #[error("this enrolment code has {0} signs, and a whole one has 72: copy all of it")]
    Length(usize),
    /// Something was mistyped.
    #[error("this enrolment code was mistyped somewhere: compare it sign by sign")]
    Mistyped,
}

/// Link 16 ‖ secret 16 ‖ CA 10.
const BODY_BYTES: usize = 42;
/// Catches all but one mistyped code in 16 million.
const CHECK_BYTES: usize = 3;
/// 45 bytes at five bits a sign.
const SIGNS: usize = (BODY_BYTES + CHECK_BYTES) * 8 / 5;
const GROUP: usize = 6;

impl EnrolmentCode {
    /// A new code for this link, with 128 random bits.
    pub fn generate(link: LinkId, ca: CaPrefix) -> Self {
        Self { link, secret: chance::secret(), ca }
    }

    /// Which link.
    pub const fn link(&self) -> LinkId {
        self.link
    }

    /// What the gate's TLS CA has to look like.
    pub const fn ca(&self) -> CaPrefix {
        self.ca
    }

    /// What the gate keeps of it. 128 random bits need no slow hash.
    pub fn hash(&self) -> Digest {
        let body = Sha256::new().chain_update("holdpoint/enrolment-code/v1").chain_update(self.body());
        Digest(body.finalize().into())
    }

    /// Whether this is the code of which `kept` is the hash; in constant time.
    pub fn matches(&self, kept: &Digest) -> bool {
        chance::same(&self.hash().0, &kept.0)
    }

    /// The text to hand over, once: twelve groups of six.
    pub fn reveal(&self) -> Zeroizing<String> {
        let body = self.body();
        let whole = Zeroizing::new([body.as_slice(), &check(&*body)].concat());
        let signs = Zeroizing::new(alphabet().encode(&whole));
        let groups: Vec<&str> = (0..SIGNS).step_by(GROUP).map(|from| &signs[from..from + GROUP]).collect();
        Zeroizing::new(groups.join("-"))
    }

    /// Reads a code as people type it: capitals, spaces and hyphens do not matter, O is 0, I and L are 1.
    pub fn parse(text: &str) -> Result<Self, BadCode> {
        let signs = Zeroizing::new(
            text.chars().filter(|c| !c.is_whitespace() && *c != '-').take(4 * SIGNS).collect::<String>(),
        );
        if signs.is_empty() {
            return Err(BadCode::Empty);
        }
        if let Some(strange) = signs.chars().find(|c| !c.is_ascii_alphanumeric() || matches!(c, 'u' | 'U')) {
            return Err(BadCode::Sign(strange));
        }
        if signs.len() != SIGNS {
            return Err(BadCode::Length(signs.len()));
        }
        let whole = Zeroizing::new(alphabet().decode(signs.as_bytes()).map_err(|_| BadCode::Mistyped)?);
        let (body, checked) = whole.split_first_chunk::<BODY_BYTES>().ok_or(BadCode::Mistyped)?;
        if check(body) != checked {
            return Err(BadCode::Mistyped);
        }
        Ok(Self::from_body(body))
    }

    fn body(&self) -> Zeroizing<[u8; BODY_BYTES]> {
        let mut body = Zeroizing::new([0; BODY_BYTES]);
        body[..16].copy_from_slice(&self.link.ulid().to_bytes());
        body[16..32].copy_from_slice(&*self.secret);
        body[32..].copy_from_slice(&self.ca.0);
        body
    }

    fn from_body(body: &[u8; BODY_BYTES]) -> Self {
        let (mut link, mut secret, mut ca) = ([0; 16], Zeroizing::new([0; 16]), [0; 10]);
        link.copy_from_slice(&body[..16]);
        secret.copy_from_slice(&body[16..32]);
        ca.copy_from_slice(&body[32..]);
        Self { link: LinkId::new(u128::from_be_bytes(link).into()), secret, ca: CaPrefix(ca) }
    }
}

fn check(body: &[u8]) -> [u8; CHECK_BYTES] {
    let hash = Sha256::digest(body);
    [hash[0], hash[1], hash[2]]
}

/// Crockford's base32: no I, L, O or U, and the first three are read as what they look like.
fn alphabet() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
    specification.translate.from.push_str("ABCDEFGHJKMNPQRSTVWXYZoOiIlL");
    specification.translate.to.push_str("abcdefghjkmnpqrstvwxyz001111");
    specification.encoding().expect("32 different signs, and none of the others twice")
}

impl fmt::Debug for EnrolmentCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnrolmentCode({}, ..)", self.link)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code() -> EnrolmentCode {
        EnrolmentCode::generate(LinkId::new(0x0123_4567_89ab_cdef_u128.into()), CaPrefix(*b"0123456789"))
    }

    #[test]
    fn a_code_reads_back_however_it_is_typed() {
        let code = code();
        let text = code.reveal();
        assert_eq!(text.split('-').map(str::len).collect::<Vec<_>>(), [6; 12]);
        let typed = text.to_uppercase().replace('-', " ").replace('0', "o").replace('1', "I");
        let read = EnrolmentCode::parse(&typed).unwrap();
        assert_eq!((read.link(), read.ca()), (code.link(), code.ca()));
        assert!(read.matches(&code.hash()));
    }

    #[test]
    fn another_secret_does_not_match() {
        assert!(!code().matches(&code().hash()));
    }

    #[test]
    fn each_way_to_mistype_has_its_own_error() {
        let text = code().reveal();
        let read = |text: &str| EnrolmentCode::parse(text).unwrap_err();
        assert_eq!(read(" - "), BadCode::Empty);
        assert_eq!(read(&text[..80]), BadCode::Length(69));
        assert_eq!(read(&text.replacen('-', "!", 1)), BadCode::Sign('!'));
        let last = if text.ends_with('2') { "3" } else { "2" };
        assert_eq!(read(&format!("{}{last}", &text[..text.len() - 1])), BadCode::Mistyped);
    }

    #[test]
    fn debug_shows_no_secret() {
        let code = code();
        assert_eq!(format!("{code:?}"), format!("EnrolmentCode({}, ..)", code.link()));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text: String, signs in "[0-9a-zA-Z-]{60,90}") {
            let _ = EnrolmentCode::parse(&text);
            let _ = EnrolmentCode::parse(&signs);
        }

        #[test]
        fn one_wrong_sign_is_found(at in 0_usize..SIGNS, to in "[0-9a-hjkmnp-tv-z]") {
            let text: String = code().reveal().replace('-', "");
            let mut wrong = text.clone();
            wrong.replace_range(at..=at, &to);
            prop_assert_eq!(EnrolmentCode::parse(&wrong).is_ok(), wrong == text);
        }
    }
}

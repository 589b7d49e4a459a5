//! Passkeys: what a browser's authenticator says when somebody enrols, signs in or approves (WebAuthn Level 3).
//!
//! A passkey is kept and checked in the forms that OpenSSH has for it, so that one kind of key and one kind of signature
//! serve terminal and browser, and `ssh-keygen -Y verify` checks an approval that was given on a page. The key is an
//! `sk-ecdsa-sha2-nistp256@openssh.com` key whose application is the site (the relying party's identifier); the signature is
//! OpenSSH's PROTOCOL.u2f, "webauthn-sk-ecdsa-sha2-nistp256@openssh.com", in the envelope of PROTOCOL.sshsig. The
//! challenge that the browser signs is that envelope's signed data, so it names the purpose ([`Namespace`]) and the hash of
//! the message: a sign-in never passes for an approval.
//!
//! Only ES256 (ECDSA on P-256) is taken. Attestation is not asked for: which make an authenticator is, proves nothing about
//! who holds it.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use ssh_key::encoding::{self, Decode as _, Encode as _, Reader as _};
use ssh_key::public::{EcdsaPublicKey, KeyData, SkEcdsaSha2NistP256};
use ssh_key::{HashAlg, PublicKey, SshSig};

use crate::sshsig::{self, BadSignature, Namespace, PEM_BYTES_MAX, SignatureKind};

/// The signature's algorithm, as it stands in the signature.
const ALGORITHM: &str = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com";
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
const HASH_BYTES: usize = 32;
/// Hash of the site, flags, counter.
const AUTHENTICATOR_DATA_BYTES_MIN: usize = HASH_BYTES + 1 + 4;
/// What a browser says is a few hundred bytes, and authenticators add little.
const PART_BYTES_MAX: usize = 4 * 1024;

/// What an authenticator says it did (WebAuthn Level 3, 6.1).
mod flag {
    pub(super) const PRESENT: u8 = 0x01;
    pub(super) const VERIFIED: u8 = 0x04;
    pub(super) const MAY_BE_COPIED: u8 = 0x08;
    pub(super) const IS_COPIED: u8 = 0x10;
    pub(super) const HAS_KEY: u8 = 0x40;
    pub(super) const HAS_EXTENSIONS: u8 = 0x80;
}

/// Why what a browser says does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPasskey {
    /// It cannot be read.
    #[error("what the browser says cannot be read ({0})")]
    Form(&'static str),
    /// Said on another page, or in a frame of one.
    #[error("this was done on {0:?}, which is not this gate's page")]
    Origin(String),
    /// For another purpose, or an answer to another question.
    #[error("this answers another question: load the page again")]
    Challenge,
    /// The passkey was made for another site.
    #[error("this passkey was made for another site")]
    Site,
    /// Nobody touched the authenticator, or it did not ask for PIN, fingerprint or face.
    #[error("the passkey did not check who holds it: set a PIN or a fingerprint on it, and try again")]
    NotVerified,
    /// No ES256 key.
    #[error("this authenticator makes another kind of key than is taken here (ES256): use another one")]
    Kind,
    /// Not by this key, or not over this.
    #[error("the signature does not belong to what was to be signed")]
    Wrong,
}

/// An address at which pages are, such as `https://holdpoint.mill3.local:8443`, and the site that passkeys are bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    origin: String,
    host_ends: usize,
}

const SCHEME: &str = "https://";

impl Site {
    /// Of an origin: a scheme, a name, perhaps a port, and nothing behind. Passkeys know only names, never addresses.
    pub fn of_origin(origin: &str) -> Option<Self> {
        let authority = origin.strip_prefix(SCHEME)?;
        let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        let is_name =
            host.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte))
                && host.bytes().any(|byte| byte.is_ascii_lowercase());
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok() && !port.starts_with('+'));
        (is_name && is_port).then(|| Self { origin: origin.to_owned(), host_ends: SCHEME.len() + host.len() })
    }

    /// As pages give it to the browser: `rp.id`.
    pub fn id(&self) -> &str {
        &self.origin[SCHEME.len()..self.host_ends]
    }

    /// As the browser says it.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

/// The site that a key is bound to, if it is a passkey. Whatever is not made for SSH is one.
pub fn site_of(key: &PublicKey) -> Option<&str> {
    passkey(key).map(SkEcdsaSha2NistP256::application)
}

fn passkey(key: &PublicKey) -> Option<&SkEcdsaSha2NistP256> {
    match key.key_data() {
        KeyData::SkEcdsaSha2NistP256(key) if !key.application().starts_with("ssh:") => Some(key),
        _ => None,
    }
}

/// What a page gives the browser as the challenge, so that the answer is a signature over `message` for this purpose.
pub fn challenge(namespace: Namespace, message: &[u8]) -> Vec<u8> {
    sshsig::signed_data(namespace, message)
}

/// What a browser says after `navigator.credentials.create()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// `response.clientDataJSON`.
    pub client_data: Vec<u8>,
    /// `response.getAuthenticatorData()`.
    pub authenticator_data: Vec<u8>,
}

/// A passkey that somebody made on a page of ours, just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPasskey(PublicKey);

impl NewPasskey {
    /// Its key.
    pub const fn key(&self) -> &PublicKey {
        &self.0
    }
}

/// The key that somebody made for this site, in answer to this challenge (WebAuthn Level 3, 7.1, without attestation).
///
/// # Errors
/// What was said does not count.
pub fn created(site: &Site, challenge: &[u8], said: &Created) -> Result<NewPasskey, BadPasskey> {
    let client = ClientData::parse(&said.client_data)?;
    client.check("webauthn.create", challenge)?;
    if client.origin != site.origin() {
        return Err(BadPasskey::Origin(client.origin));
    }
    let data = AuthenticatorData::parse(&said.authenticator_data)?;
    data.check(site.id())?;
    if data.flags & flag::HAS_KEY == 0 {
        return Err(BadPasskey::Form("no key is in it"));
    }
    let point = key_in(data.rest)?;
    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| BadPasskey::Kind)?;
    let Ok(EcdsaPublicKey::NistP256(key)) = EcdsaPublicKey::from_sec1_bytes(&point) else {
        return Err(BadPasskey::Kind);
    };
    Ok(NewPasskey(KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(key, site.id())).into()))
}

/// The attested credential data (WebAuthn Level 3, 6.5.1): the make, the credential's identifier, the key. CTAP2's
/// canonical CBOR leaves an ES256 key one form only (RFC 9053, 7.1.1).
fn key_in(rest: &[u8]) -> Result<[u8; 65], BadPasskey> {
    const MAKE_BYTES: usize = 16;
    /// {1 (kind): 2 (two coordinates), 3 (algorithm): -7 (ES256), -1 (curve): 1 (P-256), -2 (x): 32 bytes …
    const BEFORE_X: [u8; 10] = [0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20];
    /// … -3 (y): 32 bytes}
    const BEFORE_Y: [u8; 3] = [0x22, 0x58, 0x20];
    let (_, rest) = rest.split_at_checked(MAKE_BYTES).ok_or(BadPasskey::Form("it ends early"))?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(BadPasskey::Form("it ends early"))?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (_, rest) = rest.split_at_checked(length).ok_or(BadPasskey::Form("it ends early"))?;
    let rest = rest.strip_prefix(&BEFORE_X).ok_or(BadPasskey::Kind)?;
    let (x, rest) = rest.split_first_chunk::<32>().ok_or(BadPasskey::Form("it ends early"))?;
    let rest = rest.strip_prefix(&BEFORE_Y).ok_or(BadPasskey::Kind)?;
    let (y, _) = rest.split_first_chunk::<32>().ok_or(BadPasskey::Form("it ends early"))?;
    let mut point = [0; 65];
    point[0] = 0x04;
    point[1..33].copy_from_slice(x);
    point[33..].copy_from_slice(y);
    Ok(point)
}

/// What a browser says after `navigator.credentials.get()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asserted {
    /// `response.clientDataJSON`.
    pub client_data: Vec<u8>,
    /// `response.authenticatorData`.
    pub authenticator_data: Vec<u8>,
    /// `response.signature`, in DER.
    pub signature: Vec<u8>,
}

/// The same as the text of an SSH signature, where it was said on this very page. Whether it is right is for
/// [`sshsig::verify`] to say.
///
/// # Errors
/// The key is no passkey, or what was said cannot be read, or was said elsewhere.
pub fn as_ssh_signature(
    site: &Site,
    key: &PublicKey,
    namespace: Namespace,
    said: &Asserted,
) -> Result<String, BadPasskey> {
    let client = ClientData::parse(&said.client_data)?;
    if client.origin != site.origin() {
        return Err(BadPasskey::Origin(client.origin));
    }
    written(key, namespace, said)
}

fn written(key: &PublicKey, namespace: Namespace, said: &Asserted) -> Result<String, BadPasskey> {
    let passkey = passkey(key).ok_or(BadPasskey::Kind)?;
    let client = ClientData::parse(&said.client_data)?;
    let data = AuthenticatorData::parse(&said.authenticator_data)?;
    if data.site != Sha256::digest(passkey.application()).as_slice() {
        return Err(BadPasskey::Site);
    }
    let (r, s) = integers(&said.signature).ok_or(BadPasskey::Form("the signature is not in DER"))?;
    let signature = Signed {
        r,
        s,
        flags: data.flags,
        counter: data.counter,
        origin: &client.origin,
        client_data: &said.client_data,
        extensions: data.rest,
    };
    envelope(key, namespace, &signature).map_err(|_| BadPasskey::Form("it is too long"))
}

/// The two positive integers of an ECDSA signature in DER (RFC 3279, 2.2.3), as DER and SSH (RFC 4251, 5) both write them.
fn integers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    fn short(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
        let (&[got, length], rest) = bytes.split_first_chunk::<2>()?;
        (got == tag && length < 0x80).then(|| rest.split_at_checked(usize::from(length)))?
    }
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    let (both, rest) = short(der, SEQUENCE).filter(|(_, rest)| rest.is_empty())?;
    let (r, behind) = short(both, INTEGER)?;
    let (s, over) = short(behind, INTEGER)?;
    (rest.is_empty() && over.is_empty()).then_some((r, s))
}

/// Sixty-four bytes of r and s; each is positive, has no needless zero before it, and fits the curve.
fn fixed(r: &[u8], s: &[u8]) -> Option<[u8; 64]> {
    let mut fixed = [0; 64];
    for (integer, place) in [r, s].into_iter().zip(fixed.chunks_exact_mut(32)) {
        let digits = match integer {
            [0, first, ..] if *first >= 0x80 => &integer[1..],
            [first, ..] if *first != 0 && *first < 0x80 => integer,
            _ => return None,
        };
        let from = place.len().checked_sub(digits.len())?;
        place[from..].copy_from_slice(digits);
    }
    Some(fixed)
}

/// PROTOCOL.u2f, the parts of a signature made by a browser.
struct Signed<'a> {
    r: &'a [u8],
    s: &'a [u8],
    flags: u8,
    counter: u32,
    origin: &'a str,
    client_data: &'a [u8],
    extensions: &'a [u8],
}

fn envelope(key: &PublicKey, namespace: Namespace, signed: &Signed<'_>) -> encoding::Result<String> {
    let mut integers = Vec::new();
    signed.r.encode(&mut integers)?;
    signed.s.encode(&mut integers)?;
    let mut signature = Vec::new();
    ALGORITHM.encode(&mut signature)?;
    integers.encode(&mut signature)?;
    signed.flags.encode(&mut signature)?;
    signed.counter.encode(&mut signature)?;
    signed.origin.encode(&mut signature)?;
    signed.client_data.encode(&mut signature)?;
    signed.extensions.encode(&mut signature)?;
    let mut key_blob = Vec::new();
    key.key_data().encode(&mut key_blob)?;
    let mut whole = MAGIC.to_vec();
    SshSig::VERSION.encode(&mut whole)?;
    key_blob.encode(&mut whole)?;
    namespace.as_str().encode(&mut whole)?;
    "".encode(&mut whole)?;
    HashAlg::Sha512.as_str().encode(&mut whole)?;
    signature.encode(&mut whole)?;
    let base64 = BASE64.encode(&whole);
    let lines: Vec<&str> =
        base64.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
    Ok(format!("{BEGIN}\n{}\n{END}\n", lines.join("\n")))
}

const MAGIC: &[u8] = b"SSHSIG";

/// An envelope that was taken apart.
struct Opened {
    key: KeyData,
    namespace: String,
    hash: HashAlg,
    integers: Vec<u8>,
    flags: u8,
    counter: u32,
    origin: String,
    client_data: Vec<u8>,
    extensions: Vec<u8>,
}

fn open(pem: &str) -> Option<Opened> {
    let lines =
        pem.strip_prefix(BEGIN)?.strip_prefix('\n')?.strip_suffix('\n')?.strip_suffix(END)?.strip_suffix('\n')?;
    let base64 = Some(lines).filter(|lines| lines.len() <= PEM_BYTES_MAX)?.replace('\n', "");
    let whole = BASE64.decode(base64.as_bytes()).ok()?;
    let mut whole = whole.strip_prefix(MAGIC)?;
    if u32::decode(&mut whole).ok()? != SshSig::VERSION {
        return None;
    }
    let key = whole.read_prefixed(KeyData::decode).ok()?;
    let namespace = String::decode(&mut whole).ok()?;
    let reserved = Vec::<u8>::decode(&mut whole).ok()?;
    let hash = String::decode(&mut whole).ok()?.parse().ok()?;
    let signature = Vec::<u8>::decode(&mut whole).ok()?;
    let mut signature = signature.as_slice();
    if !reserved.is_empty() || !whole.is_empty() || String::decode(&mut signature).ok()? != ALGORITHM {
        return None;
    }
    let opened = Opened {
        key,
        namespace,
        hash,
        integers: Vec::decode(&mut signature).ok()?,
        flags: u8::decode(&mut signature).ok()?,
        counter: u32::decode(&mut signature).ok()?,
        origin: String::decode(&mut signature).ok()?,
        client_data: Vec::decode(&mut signature).ok()?,
        extensions: Vec::decode(&mut signature).ok()?,
    };
    signature.is_empty().then_some(opened)
}

/// Checks a signature by a passkey. The page that it was made on is one of the key's own site, over TLS.
pub(crate) fn verify(
    key: &PublicKey,
    namespace: Namespace,
    message: &[u8],
    pem: &str,
) -> Result<SignatureKind, BadSignature> {
    let opened = open(pem).ok_or(BadSignature::Form)?;
    if opened.key != *key.key_data() {
        return Err(BadSignature::OtherKey);
    }
    sshsig::check_namespace(&opened.namespace, namespace)?;
    let passkey = passkey(key).ok_or(BadPasskey::Kind)?;
    let signed_data = SshSig::signed_data(namespace.as_str(), opened.hash, message).map_err(|_| BadSignature::Form)?;
    let client = ClientData::parse(&opened.client_data)?;
    client.check("webauthn.get", &signed_data)?;
    let is_of_site = Site::of_origin(&client.origin).is_some_and(|site| site.id() == passkey.application());
    if !is_of_site || client.origin != opened.origin {
        return Err(BadPasskey::Origin(client.origin).into());
    }
    let site = Sha256::digest(passkey.application());
    let data = AuthenticatorData {
        site: site.as_slice(),
        flags: opened.flags,
        counter: opened.counter,
        rest: &opened.extensions,
    };
    data.check(passkey.application())?;
    if data.flags & flag::HAS_KEY != 0 || (data.flags & flag::HAS_EXTENSIONS == 0) != data.rest.is_empty() {
        return Err(BadPasskey::Form("the authenticator says more than an answer").into());
    }
    let signature = both(&opened.integers).and_then(|(r, s)| fixed(r, s)).ok_or(BadPasskey::Wrong)?;
    let message = [&data.bytes()[..], Sha256::digest(&opened.client_data).as_slice()].concat();
    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, passkey.ec_point().as_bytes())
        .ok()
        .and_then(|key| key.verify_sig(&message, &signature).ok())
        .ok_or(BadPasskey::Wrong)?;
    Ok(SignatureKind::Passkey { counter: opened.counter })
}

fn both(integers: &[u8]) -> Option<(&[u8], &[u8])> {
    fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
    }
    let (r, rest) = string(integers)?;
    string(rest).filter(|(_, rest)| rest.is_empty()).map(|(s, _)| (r, s))
}

/// What a browser says it was asked, and where (WebAuthn Level 3, 5.8.1). It may say more.
#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(rename = "crossOrigin", default)]
    in_a_frame: bool,
    #[serde(rename = "topOrigin")]
    around: Option<String>,
}

impl ClientData {
    fn parse(json: &[u8]) -> Result<Self, BadPasskey> {
        let bounded = Some(json).filter(|json| json.len() <= PART_BYTES_MAX);
        let text = bounded.and_then(|json| std::str::from_utf8(json).ok());
        text.and_then(|json| serde_json::from_str(json).ok()).ok_or(BadPasskey::Form("it is not its JSON"))
    }

    fn check(&self, kind: &str, challenge: &[u8]) -> Result<(), BadPasskey> {
        if self.kind != kind || self.challenge != BASE64URL_NOPAD.encode(challenge) {
            return Err(BadPasskey::Challenge);
        }
        if self.in_a_frame || self.around.is_some() {
            return Err(BadPasskey::Origin(self.around.clone().unwrap_or_else(|| self.origin.clone())));
        }
        Ok(())
    }
}

/// WebAuthn Level 3, 6.1.
struct AuthenticatorData<'a> {
    site: &'a [u8],
    flags: u8,
    counter: u32,
    rest: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, BadPasskey> {
        let early = BadPasskey::Form("it ends early");
        if !(AUTHENTICATOR_DATA_BYTES_MIN..=PART_BYTES_MAX).contains(&bytes.len()) {
            return Err(early);
        }
        let (site, rest) = bytes.split_at(HASH_BYTES);
        match rest {
            [flags, a, b, c, d, rest @ ..] => {
                Ok(Self { site, flags: *flags, counter: u32::from_be_bytes([*a, *b, *c, *d]), rest })
            }
            _ => Err(early),
        }
    }

    fn check(&self, site: &str) -> Result<(), BadPasskey> {
        const BOTH: u8 = flag::PRESENT | flag::VERIFIED;
        if self.site != Sha256::digest(site).as_slice() {
            return Err(BadPasskey::Site);
        }
        if self.flags & BOTH != BOTH {
            return Err(BadPasskey::NotVerified);
        }
        if self.flags & flag::IS_COPIED != 0 && self.flags & flag::MAY_BE_COPIED == 0 {
            return Err(BadPasskey::Form("it is copied and may not be"));
        }
        Ok(())
    }

    fn bytes(&self) -> Vec<u8> {
        [self.site, &[self.flags], &self.counter.to_be_bytes(), self.rest].concat()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
    use proptest::prelude::*;

    use super::*;

    mod vectors;

    const ORIGIN: &str = "https://holdpoint.mill3.example:8443";
    const SITE: &str = "holdpoint.mill3.example";
    const BOTH: u8 = flag::PRESENT | flag::VERIFIED;

    fn site() -> Site {
        Site::of_origin(ORIGIN).unwrap()
    }

    /// An authenticator made of software, in a browser made of a format string.
    pub(crate) struct Authenticator {
        pair: EcdsaKeyPair,
        site: &'static str,
    }

    impl Authenticator {
        pub(crate) fn new(site: &'static str) -> Self {
            Self { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(), site }
        }

        fn data(&self, flags: u8, rest: &[u8]) -> Vec<u8> {
            [Sha256::digest(self.site).as_slice(), &[flags, 0, 0, 1, 2], rest].concat()
        }

        fn create(&self, client_data: String, flags: u8) -> Created {
            let point = self.pair.public_key().as_ref();
            let key = [
                &[0; 16][..],
                &[0, 3, 7, 7, 7, 0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 0x20],
                &point[1..33],
                &[0x22, 0x58, 0x20],
                &point[33..],
            ];
            let data = self.data(flags | flag::HAS_KEY, &key.concat());
            Created { client_data: client_data.into_bytes(), authenticator_data: data }
        }

        pub(crate) fn key(&self) -> PublicKey {
            let said = self.create(client_data("webauthn.create", b"new", ORIGIN), BOTH);
            let site = Site::of_origin(&format!("https://{}", self.site)).unwrap();
            let said = Created { client_data: client_data("webauthn.create", b"new", site.origin()).into(), ..said };
            created(&site, b"new", &said).unwrap().key().clone()
        }

        fn get(&self, client_data: String, flags: u8, rest: &[u8]) -> Asserted {
            let data = self.data(flags, rest);
            let message = [&data[..], Sha256::digest(&client_data).as_slice()].concat();
            let signature = self.pair.sign(&SystemRandom::new(), &message).unwrap().as_ref().to_vec();
            Asserted { client_data: client_data.into_bytes(), authenticator_data: data, signature }
        }

        pub(crate) fn sign(&self, namespace: Namespace, message: &[u8], origin: &str) -> String {
            let said = self.get(client_data("webauthn.get", &challenge(namespace, message), origin), BOTH, &[]);
            as_ssh_signature(&Site::of_origin(origin).unwrap(), &self.key(), namespace, &said).unwrap()
        }
    }

    fn client_data(kind: &str, challenge: &[u8], origin: &str) -> String {
        let challenge = BASE64URL_NOPAD.encode(challenge);
        format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}","crossOrigin":false}}"#)
    }

    fn verify(key: &PublicKey, pem: &str) -> Result<SignatureKind, BadSignature> {
        sshsig::verify(key, Namespace::Approval, b"yes", pem)
    }

    /// What the gate says of an answer to the right question, in which one thing may be wrong.
    fn judged(client_data: String, flags: u8, rest: &[u8]) -> Result<SignatureKind, BadSignature> {
        let authenticator = Authenticator::new(SITE);
        let said = authenticator.get(client_data, flags, rest);
        verify(&authenticator.key(), &written(&authenticator.key(), Namespace::Approval, &said).unwrap())
    }

    fn right() -> String {
        client_data("webauthn.get", &challenge(Namespace::Approval, b"yes"), ORIGIN)
    }

    #[test]
    fn a_site_is_a_name_and_the_pages_at_any_port_of_it() {
        let of = |origin| Site::of_origin(origin).map(|site: Site| site.id().to_owned());
        assert_eq!(of("https://holdpoint.mill3.local"), Some("holdpoint.mill3.local".into()));
        assert_eq!(of("https://localhost:8443"), Some("localhost".into()));
        for origin in [
            "http://a.example",
            "https://10.0.0.1",
            "https://[::1]",
            "https://",
            "https://a/b",
            "https://A.example",
            "https://a:x",
        ] {
            assert_eq!(of(origin), None, "{origin}");
        }
    }

    #[test]
    fn a_passkey_signs_one_message_for_one_purpose_on_pages_of_its_site() {
        let (authenticator, other) = (Authenticator::new(SITE), Authenticator::new(SITE));
        let pem = authenticator.sign(Namespace::Approval, b"yes", ORIGIN);
        let key = authenticator.key();
        assert_eq!(verify(&key, &pem), Ok(SignatureKind::Passkey { counter: 0x0102 }));
        assert_eq!(verify(&other.key(), &pem), Err(BadSignature::OtherKey));
        let other_message = sshsig::verify(&key, Namespace::Approval, b"no", &pem);
        assert_eq!(other_message, Err(BadPasskey::Challenge.into()));
        let refused = sshsig::verify(&key, Namespace::Login, b"yes", &pem);
        assert!(matches!(refused, Err(BadSignature::Namespace { .. })));
    }

    #[test]
    fn the_purpose_is_in_what_was_signed_and_not_only_beside_it() {
        let authenticator = Authenticator::new(SITE);
        let said =
            authenticator.get(client_data("webauthn.get", &challenge(Namespace::Login, b"yes"), ORIGIN), BOTH, &[]);
        let relabelled = written(&authenticator.key(), Namespace::Approval, &said).unwrap();
        assert_eq!(verify(&authenticator.key(), &relabelled), Err(BadPasskey::Challenge.into()));
    }

    #[test]
    fn whoever_holds_it_was_checked() {
        assert!(judged(right(), BOTH, &[]).is_ok());
        assert!(judged(right(), BOTH | flag::MAY_BE_COPIED | flag::IS_COPIED, &[]).is_ok());
        for flags in [0, flag::PRESENT, flag::VERIFIED] {
            assert_eq!(judged(right(), flags, &[]), Err(BadPasskey::NotVerified.into()), "{flags}");
        }
        let copied = judged(right(), BOTH | flag::IS_COPIED, &[]);
        assert!(matches!(copied, Err(BadSignature::Passkey(BadPasskey::Form(_)))));
    }

    #[test]
    fn an_answer_holds_no_key_and_extensions_only_where_it_says_so() {
        assert!(judged(right(), BOTH | flag::HAS_EXTENSIONS, &[0xa0]).is_ok());
        for (flags, rest) in [(flag::HAS_EXTENSIONS, &[][..]), (0, &[0xa0]), (flag::HAS_KEY, &[0xa0])] {
            let refused = judged(right(), BOTH | flags, rest);
            assert!(matches!(refused, Err(BadSignature::Passkey(BadPasskey::Form(_)))), "{flags:x}");
        }
    }

    #[test]
    fn it_was_said_on_a_page_of_the_site_itself() {
        let challenge = challenge(Namespace::Approval, b"yes");
        let on = |origin: &str| judged(client_data("webauthn.get", &challenge, origin), BOTH, &[]);
        assert!(on("https://holdpoint.mill3.example").is_ok());
        for origin in ["https://evil.example", "http://holdpoint.mill3.example", "https://www.holdpoint.mill3.example"]
        {
            assert_eq!(on(origin), Err(BadPasskey::Origin(origin.into()).into()));
        }
        let framed = right().replace("\"crossOrigin\":false", "\"crossOrigin\":true");
        assert_eq!(judged(framed, BOTH, &[]), Err(BadPasskey::Origin(ORIGIN.into()).into()));
        let around = right().replace('}', ",\"topOrigin\":\"https://evil.example\"}");
        assert_eq!(judged(around, BOTH, &[]), Err(BadPasskey::Origin("https://evil.example".into()).into()));
    }

    #[test]
    fn another_port_of_the_name_is_another_page() {
        let authenticator = Authenticator::new(SITE);
        let elsewhere =
            client_data("webauthn.get", &challenge(Namespace::Approval, b"yes"), "https://holdpoint.mill3.example:444");
        let said = authenticator.get(elsewhere, BOTH, &[]);
        let refused = as_ssh_signature(&site(), &authenticator.key(), Namespace::Approval, &said);
        assert_eq!(refused, Err(BadPasskey::Origin("https://holdpoint.mill3.example:444".into())));
    }

    #[test]
    fn enrolling_and_answering_are_told_apart() {
        let created_as_answer = right().replace("webauthn.get", "webauthn.create");
        assert_eq!(judged(created_as_answer, BOTH, &[]), Err(BadPasskey::Challenge.into()));
        let authenticator = Authenticator::new(SITE);
        let said = authenticator.create(client_data("webauthn.get", b"new", ORIGIN), BOTH);
        assert_eq!(created(&site(), b"new", &said), Err(BadPasskey::Challenge));
    }

    #[test]
    fn a_key_is_made_in_answer_to_this_question_on_this_page() {
        let authenticator = Authenticator::new(SITE);
        let create = |challenge: &[u8], origin: &str, flags| {
            created(&site(), b"new", &authenticator.create(client_data("webauthn.create", challenge, origin), flags))
        };
        let key = create(b"new", ORIGIN, BOTH).unwrap().key().clone();
        assert_eq!(site_of(&key), Some(SITE));
        assert_eq!(PublicKey::from_openssh(&key.to_openssh().unwrap()).unwrap(), key);
        assert_eq!(create(b"old", ORIGIN, BOTH), Err(BadPasskey::Challenge));
        let elsewhere = "https://holdpoint.mill3.example:444";
        assert_eq!(create(b"new", elsewhere, BOTH), Err(BadPasskey::Origin(elsewhere.into())));
        assert_eq!(create(b"new", ORIGIN, flag::PRESENT), Err(BadPasskey::NotVerified));
        let other = Authenticator::new("evil.example");
        let said = other.create(client_data("webauthn.create", b"new", ORIGIN), BOTH);
        assert_eq!(created(&site(), b"new", &said), Err(BadPasskey::Site));
    }

    #[test]
    fn a_point_beside_the_curve_is_no_key() {
        let mut said = Authenticator::new(SITE).create(client_data("webauthn.create", b"new", ORIGIN), BOTH);
        *said.authenticator_data.last_mut().unwrap() ^= 1;
        assert_eq!(created(&site(), b"new", &said), Err(BadPasskey::Kind));
    }

    #[test]
    fn a_passkey_is_no_ssh_key_and_an_ssh_key_no_passkey() {
        let key = Authenticator::new(SITE).key();
        assert_eq!(sshsig::check_key(&key), Err(sshsig::KeyRefused::Application(SITE.into())));
        let ssh = crate::ssh_ca::fresh_key("");
        assert_eq!(site_of(ssh.public_key()), None);
        let pem = Authenticator::new(SITE).sign(Namespace::Approval, b"yes", ORIGIN);
        assert!(verify(ssh.public_key(), &pem).is_err());
    }

    proptest! {
        #[test]
        fn no_changed_bit_passes(at: prop::sample::Index, bit in 0_u8..8, cut: bool) {
            let authenticator = Authenticator::new(SITE);
            let pem = authenticator.sign(Namespace::Approval, b"yes", ORIGIN);
            let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            let mut bytes = BASE64.decode(base64.as_bytes()).unwrap();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
            let text = format!("{BEGIN}\n{}\n{END}\n", BASE64.encode(&bytes));
            prop_assert!(verify(&authenticator.key(), &text).is_err());
        }

        #[test]
        fn no_bytes_make_the_parsers_panic(client_data: Vec<u8>, data: Vec<u8>, signature: Vec<u8>) {
            let said = Created { client_data: client_data.clone(), authenticator_data: data.clone() };
            prop_assert!(created(&site(), b"new", &said).is_err());
            let key = Authenticator::new(SITE).key();
            let said = Asserted { client_data, authenticator_data: data, signature };
            prop_assert!(as_ssh_signature(&site(), &key, Namespace::Approval, &said).is_err());
        }

        #[test]
        fn a_number_has_one_form(r: [u8; 32], s: [u8; 32]) {
            let minimal = |number: &[u8; 32]| {
                let digits = number.iter().copied().skip_while(|digit| *digit == 0).collect::<Vec<_>>();
                if digits.first().is_none_or(|first| *first >= 0x80) { [vec![0], digits].concat() } else { digits }
            };
            let expected = (r != [0; 32] && s != [0; 32]).then(|| [r, s].concat());
            prop_assert_eq!(fixed(&minimal(&r), &minimal(&s)).map(|both| both.to_vec()), expected);
            prop_assert_eq!(fixed(&[&[0, 0][..], &minimal(&r)].concat(), &minimal(&s)), None);
        }
    }
}

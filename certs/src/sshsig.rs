//! Signatures by people's SSH keys over what they approve, ask or sign in with, in the format of OpenSSH's
//! PROTOCOL.sshsig, so that `ssh-keygen -Y verify` checks them too. Each purpose has a namespace of its own, so none
//! passes for another. Whose key it is, and what the signed bytes mean, is not known here.

use std::path::Path;

use policies::digest::Digest;
use ssh_key::certificate::Certificate;
use ssh_key::public::{KeyData, RsaPublicKey};
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, LineEnding, PrivateKey, PublicKey, Signature, SshSig};

use crate::keys::{self, KeyFault};
use crate::passkey::{self, BadPasskey};

/// What a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// Signing in on the command line.
    Login,
    /// A verdict.
    Approval,
    /// One request to the API, beside its token.
    Request,
    /// Adopting a plant file.
    Plant,
    /// The key and groups of an operator.
    Certify,
    /// Erasing a recording.
    Erase,
    /// Restoring the logs from an earlier state.
    Restore,
    /// Inviting a guest.
    Guest,
}

impl Namespace {
    /// Every namespace.
    pub const ALL: [Self; 8] = [
        Self::Login,
        Self::Approval,
        Self::Request,
        Self::Plant,
        Self::Certify,
        Self::Erase,
        Self::Restore,
        Self::Guest,
    ];

    /// As it stands in the signature.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "holdpoint-login@v1",
            Self::Approval => "holdpoint-approval@v1",
            Self::Request => "holdpoint-request@v1",
            Self::Plant => "holdpoint-plant@v1",
            Self::Certify => "holdpoint-certify@v1",
            Self::Erase => "holdpoint-erase@v1",
            Self::Restore => "holdpoint-restore@v1",
            Self::Guest => "holdpoint-guest@v1",
        }
    }
}

/// What kind of authenticator made a good signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureKind {
    /// A key in a file or an agent.
    Plain,
    /// A FIDO security key, and what it says it did (PROTOCOL.u2f). Its application begins with `ssh:`.
    SecurityKey {
        /// Somebody touched it.
        user_present: bool,
        /// Somebody proved to be its owner, by PIN or fingerprint.
        user_verified: bool,
        /// Its signature counter; 0 where it keeps none.
        counter: u32,
    },
    /// A passkey, on a page. Somebody touched it and proved to be its owner: no other signature of one is good.
    Passkey {
        /// Its signature counter; 0 where it keeps none.
        counter: u32,
    },
}

/// Why a key is not taken. Asked at enrolment, and again with every signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// An RSA key under 2048 bits.
    #[error("this RSA key has {0} bits, and 2048 are the least: make a new one with `ssh-keygen -t ed25519`")]
    TooShort(u32),
    /// An RSA key over 16384 bits, which only serves to keep the gate busy.
    #[error("this RSA key has {0} bits, and 16384 are the most: make a new one with `ssh-keygen -t ed25519`")]
    TooLong(u32),
    /// DSA, another curve, a certificate, or something newer than this program.
    #[error("keys of the kind {0} are not taken: use ed25519, ecdsa on P-256, RSA, or a security key (sk)")]
    Kind(String),
    /// A security key made for something else than SSH.
    #[error("this key was made for the site {0:?}, not for SSH: use it on the gate's pages")]
    Application(String),
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// Not an SSH signature at all, or one of a version this program does not know.
    #[error("this is no SSH signature of version 1 (it begins with -----BEGIN SSH SIGNATURE-----)")]
    Form,
    /// Made for another purpose.
    #[error("this signature was made for {got:?}, and {wanted:?} is needed")]
    Namespace {
        /// What it says it is for, cut short.
        got: String,
        /// What it has to be for.
        wanted: &'static str,
    },
    /// By another key.
    #[error("this signature is by another key")]
    OtherKey,
    /// The key itself is not taken.
    #[error(transparent)]
    Key(#[from] KeyRefused),
    /// SHA-1, or an algorithm that does not go with the key.
    #[error("this signature uses {0}, which is not taken: an RSA key signs with SHA-256 or SHA-512")]
    Algorithm(String),
    /// Not over these bytes.
    #[error("the signature does not belong to what was to be signed")]
    Wrong,
    /// Made on a page, and not as it has to be.
    #[error(transparent)]
    Passkey(#[from] BadPasskey),
}

/// Beyond this no signature is looked at: one by the largest RSA key taken is under 8 KiB.
pub(crate) const PEM_BYTES_MAX: usize = 16 * 1024;

/// Bits of an RSA modulus, least and most.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=16_384;

/// Whether signatures by this key are taken at all.
pub fn check_key(public_key: &PublicKey) -> Result<(), KeyRefused> {
    match public_key.key_data() {
        KeyData::Ed25519(_) => Ok(()),
        KeyData::Ecdsa(key) if key.curve() == EcdsaCurve::NistP256 => Ok(()),
        KeyData::Rsa(key) => match modulus_bits(key) {
            bits if bits < *RSA_BITS.start() => Err(KeyRefused::TooShort(bits)),
            bits if bits > *RSA_BITS.end() => Err(KeyRefused::TooLong(bits)),
            _ => Ok(()),
        },
        KeyData::SkEd25519(key) => ssh_application(key.application()),
        KeyData::SkEcdsaSha2NistP256(key) => ssh_application(key.application()),
        other => Err(KeyRefused::Kind(shown(other.algorithm().as_str()))),
    }
}

/// `key_size` counts whole bytes, so a key of 2041 bits would pass for one of 2048.
fn modulus_bits(key: &RsaPublicKey) -> u32 {
    let leading_zeros =
        key.n().as_positive_bytes().and_then(|bytes| bytes.first()).map_or(0, |byte| byte.leading_zeros());
    key.key_size().saturating_sub(leading_zeros)
}

/// A key made for a web site (`application` is its name) signs what that site says, so it does not count here.
fn ssh_application(application: &str) -> Result<(), KeyRefused> {
    if application.starts_with("ssh:") { Ok(()) } else { Err(KeyRefused::Application(shown(application))) }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// Checks that `public_key` signed `message` for exactly this purpose. Takes Ed25519, ECDSA P-256, RSA from 2048 bits
/// with SHA-256 or SHA-512, and security keys of the first two; SHA-1 never. Whether a security key has to be touched,
/// or to have verified its owner, is for the caller to demand. Of a key that was made for a site, only signatures of the
/// site's pages are taken, of which both is demanded here ([`passkey`]).
pub fn verify(
    public_key: &PublicKey,
    namespace: Namespace,
    message: &[u8],
    signature_pem: &str,
) -> Result<SignatureKind, BadSignature> {
    if passkey::site_of(public_key).is_some() {
        return passkey::verify(public_key, namespace, message, signature_pem);
    }
    check_key(public_key)?;
    let signature = parse(signature_pem)?;
    if signature.public_key() != public_key.key_data() {
        return Err(BadSignature::OtherKey);
    }
    check_namespace(signature.namespace(), namespace)?;
    fitting(public_key, signature.signature())?;
    // `PublicKey::verify` rebuilds the signed bytes from version, namespace, hash and message.
    public_key.verify(namespace.as_str(), message, &signature).map_err(|_| BadSignature::Wrong)?;
    Ok(kind(signature.signature()))
}

pub(crate) fn check_namespace(got: &str, wanted: Namespace) -> Result<(), BadSignature> {
    let wanted = wanted.as_str();
    if got == wanted { Ok(()) } else { Err(BadSignature::Namespace { got: shown(got), wanted }) }
}

fn parse(pem: &str) -> Result<SshSig, BadSignature> {
    let bounded = Some(pem).filter(|pem| pem.len() <= PEM_BYTES_MAX).ok_or(BadSignature::Form)?;
    let signature = SshSig::from_pem(bounded.trim()).map_err(|_| BadSignature::Form)?;
    let known = signature.version() == SshSig::VERSION && signature.reserved().is_empty();
    known.then_some(signature).ok_or(BadSignature::Form)
}

/// The algorithm of the signature is the key's; for RSA, with a hash that is not SHA-1.
fn fitting(public_key: &PublicKey, signature: &Signature) -> Result<(), BadSignature> {
    let fits = match (public_key.algorithm(), signature.algorithm()) {
        (Algorithm::Rsa { .. }, Algorithm::Rsa { hash }) => matches!(hash, Some(HashAlg::Sha256 | HashAlg::Sha512)),
        (of_key, of_signature) => of_key == of_signature,
    };
    if fits { Ok(()) } else { Err(BadSignature::Algorithm(shown(signature.algorithm().as_str()))) }
}

/// A security key's signature ends with one byte of flags and four of counter, which it signed (PROTOCOL.u2f).
fn kind(signature: &Signature) -> SignatureKind {
    const PRESENT: u8 = 0x01;
    const VERIFIED: u8 = 0x04;
    let is_sk = matches!(signature.algorithm(), Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256);
    match signature.as_bytes() {
        [.., flags, a, b, c, d] if is_sk => SignatureKind::SecurityKey {
            user_present: flags & PRESENT != 0,
            user_verified: flags & VERIFIED != 0,
            counter: u32::from_be_bytes([*a, *b, *c, *d]),
        },
        _ => SignatureKind::Plain,
    }
}

/// Signs with a key that is at hand. A key still locked by its passphrase, or one in a security key, cannot.
pub fn sign_with(private: &PrivateKey, namespace: Namespace, message: &[u8]) -> Result<String, KeyFault> {
    private
        .sign(namespace.as_str(), HashAlg::Sha512, message)
        .and_then(|signature| signature.to_pem(LineEnding::LF))
        .map_err(|cause| KeyFault::CannotSign { cause: cause.to_string() })
}

/// What an ssh-agent is asked to sign, so that [`wrap`] makes a whole signature of its answer. An RSA key has to be
/// asked for SHA-512 (`SSH_AGENT_RSA_SHA2_512`), or the signature is refused as SHA-1.
pub fn signed_data(namespace: Namespace, message: &[u8]) -> Vec<u8> {
    SshSig::signed_data(namespace.as_str(), HashAlg::Sha512, message)
        .expect("no namespace of ours is empty, and no hash is longer than a length can say")
}

/// The signature an agent gave for [`signed_data`], as text.
pub fn wrap(public_key: &PublicKey, namespace: Namespace, agent_signature: Signature) -> String {
    SshSig::new(public_key.key_data().clone(), namespace.as_str(), HashAlg::Sha512, agent_signature)
        .and_then(|signature| signature.to_pem(LineEnding::LF))
        .expect("no namespace of ours is empty, and an agent's answer is under 256 KiB")
}

/// What is signed to sign in: bound to the face's origin, so that a gate of another name cannot pass it on, and to a
/// nonce of the server, so that it works once.
pub fn login_message(origin: &str, nonce: &[u8; 32]) -> Vec<u8> {
    Digest::of("login", &(origin, data_encoding::HEXLOWER.encode(nonce))).0.to_vec()
}

/// Reads a private key file of OpenSSH, as the client commands do. Wrong modes are refused as `ssh` refuses them.
pub fn load_private(path: &Path, passphrase: Option<&str>) -> Result<PrivateKey, KeyFault> {
    let text = keys::read_private(path)?;
    let text = std::str::from_utf8(&text).map_err(|_| KeyFault::NotOpenSsh { path: path.to_owned() })?;
    let key = PrivateKey::from_openssh(text.trim()).map_err(|_| KeyFault::NotOpenSsh { path: path.to_owned() })?;
    if !key.is_encrypted() {
        return Ok(key);
    }
    let passphrase = passphrase.ok_or_else(|| KeyFault::PassphraseNeeded { path: path.to_owned() })?;
    key.decrypt(passphrase).map_err(|_| KeyFault::WrongPassphrase { path: path.to_owned() })
}

/// Makes a new Ed25519 key in a file that must not exist yet, and its public half beside it.
pub fn make_private(path: &Path, comment: &str) -> Result<PrivateKey, KeyFault> {
    let key = crate::ssh_ca::fresh_key(comment);
    let text = key.to_openssh(LineEnding::LF).map_err(|cause| KeyFault::CannotSign { cause: cause.to_string() })?;
    keys::write_private(path, text.as_bytes())?;
    let public = key.public_key().to_openssh().map_err(|cause| KeyFault::CannotSign { cause: cause.to_string() })?;
    let beside = path.with_added_extension("pub");
    std::fs::write(&beside, public + "\n").map_err(|source| KeyFault::Io { path: beside, source })?;
    Ok(key)
}

/// Reads a certificate file, such as `holdpoint login` writes beside the key.
pub fn load_certificate(path: &Path) -> Result<Certificate, KeyFault> {
    Certificate::read_file(path)
        .map_err(|cause| KeyFault::NoCertificate { path: path.to_owned(), cause: cause.to_string() })
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};
    use ssh_key::public::{Ed25519PublicKey, SkEd25519};

    use super::*;
    use crate::ssh_ca::fresh_key;

    /// A security key made of software: PROTOCOL.u2f, "ssh-sk-ed25519 signature".
    pub(crate) fn security_key(
        application: &str,
        namespace: Namespace,
        message: &[u8],
        flags: u8,
    ) -> (PublicKey, String) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap();
        let public = Ed25519PublicKey(pair.public_key().as_ref().try_into().unwrap());
        let public = PublicKey::from(KeyData::SkEd25519(SkEd25519::new(public, application)));
        let trailer = [flags, 0, 0, 1, 2];
        let to_sign = [
            Sha256::digest(application).as_slice(),
            &trailer,
            Sha256::digest(signed_data(namespace, message)).as_slice(),
        ]
        .concat();
        let data = [pair.sign(&to_sign).as_ref(), &trailer].concat();
        let pem = wrap(&public, namespace, Signature::new(Algorithm::SkEd25519, data).unwrap());
        (public, pem)
    }

    #[test]
    fn a_signature_is_of_one_key_over_one_message_for_one_purpose() {
        let (key, other) = (fresh_key(""), fresh_key(""));
        let pem = sign_with(&key, Namespace::Approval, b"yes").unwrap();
        let verify = |key: &PrivateKey, namespace, message: &[u8]| verify(key.public_key(), namespace, message, &pem);
        assert_eq!(verify(&key, Namespace::Approval, b"yes"), Ok(SignatureKind::Plain));
        assert_eq!(verify(&key, Namespace::Approval, b"no"), Err(BadSignature::Wrong));
        assert_eq!(verify(&other, Namespace::Approval, b"yes"), Err(BadSignature::OtherKey));
        for namespace in Namespace::ALL.into_iter().filter(|namespace| *namespace != Namespace::Approval) {
            let got = "holdpoint-approval@v1".to_owned();
            let refused = BadSignature::Namespace { got, wanted: namespace.as_str() };
            assert_eq!(verify(&key, namespace, b"yes"), Err(refused));
        }
    }

    #[test]
    fn what_an_agent_signed_is_wrapped_into_a_whole_signature() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[6; 32]).unwrap();
        let key = crate::ssh_ca::key_from_seed(&[6; 32], "");
        let raw = pair.sign(&signed_data(Namespace::Login, b"nonce"));
        let pem = wrap(key.public_key(), Namespace::Login, Signature::new(Algorithm::Ed25519, raw.as_ref()).unwrap());
        assert_eq!(pem, sign_with(&key, Namespace::Login, b"nonce").unwrap());
    }

    #[test]
    fn a_security_keys_flags_and_counter_are_told() {
        for (flags, user_present, user_verified) in
            [(0, false, false), (1, true, false), (4, false, true), (5, true, true)]
        {
            let (key, pem) = security_key("ssh:", Namespace::Approval, b"yes", flags);
            let kind = SignatureKind::SecurityKey { user_present, user_verified, counter: 0x0102 };
            assert_eq!(verify(&key, Namespace::Approval, b"yes", &pem), Ok(kind));
            assert_eq!(verify(&key, Namespace::Approval, b"no", &pem), Err(BadSignature::Wrong));
        }
    }

    #[test]
    fn a_flag_set_after_signing_is_found() {
        let (key, pem) = security_key("ssh:", Namespace::Approval, b"yes", 0);
        let signature = SshSig::from_pem(&pem).unwrap().signature().clone();
        let mut data = signature.as_bytes().to_vec();
        data[64] = 5;
        let forged = wrap(&key, Namespace::Approval, Signature::new(Algorithm::SkEd25519, data).unwrap());
        assert_eq!(verify(&key, Namespace::Approval, b"yes", &forged), Err(BadSignature::Wrong));
    }

    #[test]
    fn a_security_key_of_a_web_site_is_not_taken() {
        let (key, pem) = security_key("example.org", Namespace::Approval, b"yes", 5);
        let refused = KeyRefused::Application("example.org".into());
        assert_eq!(verify(&key, Namespace::Approval, b"yes", &pem), Err(refused.into()));
    }

    #[test]
    fn an_endless_text_is_no_signature() {
        let key = fresh_key("");
        for text in ["", "yes", &"-".repeat(PEM_BYTES_MAX + 1)] {
            assert_eq!(verify(key.public_key(), Namespace::Login, b"", text), Err(BadSignature::Form));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let key = fresh_key("");
            prop_assert!(verify(key.public_key(), Namespace::Login, b"x", &text).is_err());
            let framed = format!("-----BEGIN SSH SIGNATURE-----\n{text}\n-----END SSH SIGNATURE-----\n");
            prop_assert!(verify(key.public_key(), Namespace::Login, b"x", &framed).is_err());
        }

        #[test]
        fn no_changed_bit_passes(at: prop::sample::Index, bit in 0_u8..8, cut: bool) {
            let key = fresh_key("");
            let pem = sign_with(&key, Namespace::Login, b"x").unwrap();
            let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            let mut bytes = data_encoding::BASE64.decode(base64.as_bytes()).unwrap();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
            let lines = data_encoding::BASE64.encode(&bytes);
            let lines = lines.as_bytes().chunks(70).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
            let text = format!("-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n");
            prop_assert!(verify(key.public_key(), Namespace::Login, b"x", &text).is_err());
        }
    }
}

//! A client certificate that is shown in a request, because something in between ends TLS and no handshake can show it:
//! as a token, beside a signature of its key over this very request. Whoever reads the token on the way can make no
//! request with it.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use jiff::Timestamp;
use policies::digest::Digest;
use policies::ids::DeploymentId;
use rcgen::SigningKey as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{SignatureScheme, crypto::CryptoProvider};

use super::{ClientKey, HeldCertificate, NotHeld};
use crate::tls::{TlsCa, TlsFault, provider, setup};
use crate::token::{SignedRequest, request_message};

/// How a token that is a client certificate begins. It is no JWT, so that none is taken for the other.
pub const CERTIFICATE_TOKEN: &str = "certificate.";

/// Above any certificate of ours, which has some 700 bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// A certificate as it is shown in one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownCertificate {
    /// The certificate.
    pub token: String,
    /// That its key made this request: the signature over [`request_message`], in base64.
    pub signature: String,
}

/// Why a certificate that was shown in a request does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotShown {
    /// The certificate.
    #[error(transparent)]
    Held(#[from] NotHeld),
    /// Made too long ago, or in the future.
    #[error("this request is dated {at}, and the gate's clock says {now}: set your clock, and try again")]
    Time {
        /// What the request says.
        at: Timestamp,
        /// What the gate says.
        now: Timestamp,
    },
    /// Another key signed, or another request was signed.
    #[error("this request was not signed by the certificate's key")]
    Signature,
}

impl ClientKey {
    /// Shows a certificate of this key in a request, to the run of the gate that calls itself `start`.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn show(
        &self,
        certificate_pem: &str,
        (method, path_and_query, body): (&str, &str, Digest),
        at: Timestamp,
        start: &str,
    ) -> Result<ShownCertificate, TlsFault> {
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| TlsFault::NotACertificate)?;
        let message = request_message(method, path_and_query, body, &token_id(&certificate), at, start);
        let signature = self.0.sign(&message).map_err(setup)?;
        let token = format!("{CERTIFICATE_TOKEN}{}", BASE64URL_NOPAD.encode(&certificate));
        Ok(ShownCertificate { token, signature: BASE64.encode(&signature) })
    }
}

impl TlsCa {
    /// A client certificate that is shown in a request: it has to be ours, of this deployment, and valid at `now`, and its
    /// key has to have signed this request of late. With it goes what names the request among all others; the caller
    /// refuses one that it has seen in the last two minutes.
    ///
    /// # Errors
    /// See [`NotShown`].
    pub fn check_shown(
        &self,
        deployment: &DeploymentId,
        token: &str,
        request: &SignedRequest<'_>,
        now: Timestamp,
    ) -> Result<(HeldCertificate, Digest), NotShown> {
        let encoded = token.strip_prefix(CERTIFICATE_TOKEN).filter(|encoded| encoded.len() <= TOKEN_BYTES_MAX);
        let der = encoded.and_then(|encoded| BASE64URL_NOPAD.decode(encoded.as_bytes()).ok());
        let certificate = CertificateDer::from(der.ok_or(NotHeld::Unreadable)?);
        let claims = self.claims_of(deployment, &certificate, now)?;
        if !request.is_of(now) {
            return Err(NotShown::Time { at: request.at, now });
        }
        let message = request.message(&token_id(&certificate));
        match is_signed(&provider(), &certificate, &message, request.signature) {
            true => Ok((HeldCertificate(claims), Digest::of_bytes(&message))),
            false => Err(NotShown::Signature),
        }
    }
}

/// What the signature of a request names it by.
fn token_id(certificate: &CertificateDer<'_>) -> String {
    HEXLOWER.encode(&Digest::of_bytes(certificate).0)
}

fn is_signed(provider: &CryptoProvider, certificate: &CertificateDer<'_>, message: &[u8], signature: &str) -> bool {
    let all = provider.signature_verification_algorithms.mapping;
    let ours = all.iter().find(|(scheme, _)| *scheme == SignatureScheme::ECDSA_NISTP256_SHA256);
    let verifies = || {
        let signature = BASE64.decode(signature.as_bytes()).ok()?;
        let (_, [algorithm, ..]) = ours? else { return None };
        let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
        certificate.verify_signature(*algorithm, message, &signature).ok()
    };
    verifies().is_some()
}

#[cfg(test)]
mod tests {
    use policies::time::{Seconds, Window};

    use super::super::tests::{Side, ca, deployment, grant, minutes};
    use super::*;
    use crate::token::REQUEST_SKEW;

    const PATH: &str = "/api/v1/tcp/plc-7/modbus";
    const START: &str = "start";

    fn asked<'a>(shown: &'a ShownCertificate, path: &'a str, at: Timestamp) -> SignedRequest<'a> {
        let body = Digest::of_bytes(b"");
        SignedRequest { method: "GET", path_and_query: path, body, at, start: START, signature: &shown.signature }
    }

    fn get(path: &str) -> (&'static str, &str, Digest) {
        ("GET", path, Digest::of_bytes(b""))
    }

    #[test]
    fn a_certificate_in_a_request_serves_its_key_for_that_request_at_that_time_alone() {
        let ca = ca();
        let (side, now) = (Side::new(&ca), minutes(0));
        let certificate = side.certified();
        let shown = side.key.show(&certificate, get(PATH), now, START).unwrap();
        let check = |shown: &ShownCertificate, request: &SignedRequest<'_>, now: Timestamp| {
            ca.check_shown(&deployment(), &shown.token, request, now)
        };
        let (held, nonce) = check(&shown, &asked(&shown, PATH, now), now).unwrap();
        assert_eq!((held.claims().grant, held.claims().person), (grant(), side.login.person()));
        let refused = |request: SignedRequest<'_>, now| check(&shown, &request, now).unwrap_err();
        assert_eq!(refused(asked(&shown, "/api/v1/tcp/plc-8/modbus", now), now), NotShown::Signature);
        assert_eq!(refused(SignedRequest { method: "POST", ..asked(&shown, PATH, now) }, now), NotShown::Signature);
        let body = Digest::of_bytes(b"{}");
        assert_eq!(refused(SignedRequest { body, ..asked(&shown, PATH, now) }, now), NotShown::Signature);
        assert_eq!(refused(SignedRequest { start: "another", ..asked(&shown, PATH, now) }, now), NotShown::Signature);
        let later = Seconds(1).after(now);
        assert_eq!(refused(asked(&shown, PATH, later), later), NotShown::Signature);
        assert_eq!(refused(SignedRequest { signature: "AA==", ..asked(&shown, PATH, now) }, now), NotShown::Signature);
        assert_eq!(refused(SignedRequest { signature: "é", ..asked(&shown, PATH, now) }, now), NotShown::Signature);
        let too_late = Seconds(REQUEST_SKEW.0 + 1).after(now);
        assert_eq!(refused(asked(&shown, PATH, now), too_late), NotShown::Time { at: now, now: too_late });
        assert_eq!(refused(asked(&shown, PATH, too_late), now), NotShown::Time { at: too_late, now });
        // The same person's next request is another.
        let next = side.key.show(&certificate, get(PATH), later, START).unwrap();
        assert_ne!(check(&next, &asked(&next, PATH, later), now).unwrap().1, nonce);
        // A certificate that was read on the way, and another key.
        let thief = Side::new(&ca);
        let stolen = thief.key.show(&certificate, get(PATH), now, START).unwrap();
        assert_eq!(check(&stolen, &asked(&stolen, PATH, now), now).unwrap_err(), NotShown::Signature);
    }

    #[test]
    fn only_a_client_certificate_of_this_gate_that_lasts_is_a_token() {
        let ca = ca();
        let (side, now) = (Side::new(&ca), minutes(0));
        let refused = |certificate: &str| {
            let shown = side.key.show(certificate, get(PATH), now, START).unwrap();
            ca.check_shown(&deployment(), &shown.token, &asked(&shown, PATH, now), now).unwrap_err()
        };
        let over = Window { from: minutes(-20), until: minutes(-10) };
        assert_eq!(refused(&side.certified_at("mill-3", over)), NotShown::Held(NotHeld::Expired));
        let lasting = Window { from: minutes(-1), until: minutes(10) };
        assert_eq!(refused(&side.certified_at("mill-4", lasting)), NotShown::Held(NotHeld::Invalid));
        assert_eq!(refused(&Side::new(&super::super::tests::ca()).certified()), NotShown::Held(NotHeld::Invalid));
        assert_eq!(refused(&ca.authorities_pem()), NotShown::Held(NotHeld::Invalid));
        for token in ["", "certificate.", "certificate.AAAA", "certificate.?", "key-alone.a.b", "a.b.c"] {
            let shown = ShownCertificate { token: token.to_owned(), signature: String::new() };
            let refused = ca.check_shown(&deployment(), token, &asked(&shown, PATH, now), now).unwrap_err();
            assert!(matches!(refused, NotShown::Held(NotHeld::Unreadable | NotHeld::Invalid)), "{token}: {refused}");
        }
    }
}

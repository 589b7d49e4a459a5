//! A certificate that the plant gives a face, of its own authority or a public one, for browsers that know that one and not
//! the gate's. Our own commands go on to be shown the gate's, because its authority is what they were enrolled with.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use crate::tls::provider;

/// The protocol by which a client says that it was enrolled at the gate (ALPN, RFC 7301). No server chooses it: what is
/// spoken stays HTTP/1.1.
pub(crate) const ENROLLED: &[u8] = b"holdpoint-ca";

/// A certificate and its key, which belong together and to the face's name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct GivenCertificate {
    key: Arc<CertifiedKey>,
    issuer: String,
    valid_from: Timestamp,
    valid_until: Timestamp,
}

/// The private key of such a certificate. `Debug` shows nothing.
#[derive(Clone)]
pub struct FaceKey(pub(crate) Arc<dyn SigningKey>);

impl FaceKey {
    /// Of a key in PEM.
    ///
    /// # Errors
    /// There is none, or of a kind that TLS 1.3 has no signature for.
    pub fn read(key: &[u8]) -> Result<Self, GivenFault> {
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| GivenFault::NoKey)?;
        let loaded = provider().key_provider.load_private_key(key);
        loaded.map(Self).map_err(|cause| GivenFault::Pair(cause.to_string()))
    }

    /// Of a file with a key in PEM.
    ///
    /// # Errors
    /// As [`FaceKey::read`], or it cannot be read.
    pub fn in_file(path: &Path) -> Result<Self, GivenFault> {
        let text = std::fs::read(path).map(Zeroizing::new);
        Self::read(&text.map_err(|cause| GivenFault::NoAnswer(cause.to_string()))?)
    }
}

impl fmt::Debug for FaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaceKey(..)")
    }
}

/// Why a certificate cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GivenFault {
    /// No certificate there.
    #[error("there is no certificate in PEM in it (-----BEGIN CERTIFICATE-----), the face's own first")]
    NoCertificate,
    /// No key there.
    #[error("there is no private key in PEM in it that stands in the clear (-----BEGIN PRIVATE KEY-----)")]
    NoKey,
    /// A key of a kind that TLS 1.3 has no signature for, or one of another certificate.
    #[error("the key is not the certificate's: {0}")]
    Pair(String),
    /// The file cannot be had.
    #[error("{0}")]
    NoAnswer(String),
    /// It vouches for other names.
    #[error("the certificate is not for {0}")]
    Name(String),
    /// What browsers take for no certificate of a server.
    #[error("the certificate cannot be read: {0}")]
    Malformed(String),
}

/// What is in a file with certificates in PEM.
///
/// # Errors
/// It cannot be read.
pub fn chain_in_file(path: &Path) -> Result<Vec<u8>, GivenFault> {
    std::fs::read(path).map_err(|cause| GivenFault::NoAnswer(cause.to_string()))
}

impl GivenCertificate {
    /// Of a chain and its key, both PEM, for a face of this name. Whether it counts today is asked elsewhere: a certificate
    /// that has ended keeps no gate from starting.
    pub fn read(chain: &[u8], key: &FaceKey, host: &str) -> Result<Self, GivenFault> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(|_| GivenFault::NoCertificate)?;
        let first = chain.first().ok_or(GivenFault::NoCertificate)?.clone();
        let malformed = |cause: &dyn fmt::Display| GivenFault::Malformed(cause.to_string());
        let (_, shown) = X509Certificate::from_der(&first).map_err(|cause| malformed(&cause))?;
        let moment = |seconds| Timestamp::from_second(seconds).map_err(|cause| malformed(&cause));
        let (issuer, validity) = (shown.issuer().to_string(), shown.validity());
        let (valid_from, valid_until) =
            (moment(validity.not_before.timestamp())?, moment(validity.not_after.timestamp())?);
        let parsed = ParsedCertificate::try_from(&first).map_err(|cause| malformed(&cause))?;
        let other = || GivenFault::Name(host.to_owned());
        verify_server_name(&parsed, &ServerName::try_from(host).map_err(|_| other())?).map_err(|_| other())?;
        let key = CertifiedKey::new(chain, Arc::clone(&key.0));
        key.keys_match().map_err(|cause| GivenFault::Pair(cause.to_string()))?;
        Ok(Self { key: Arc::new(key), issuer, valid_from, valid_until })
    }

    /// Who vouches for it, as the certificate says.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// From when on it counts.
    pub const fn valid_from(&self) -> Timestamp {
        self.valid_from
    }

    /// The last second in which it counts.
    pub const fn valid_until(&self) -> Timestamp {
        self.valid_until
    }

    /// Whether this is the other one still.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

/// What a face shows: the given certificate to whoever asks for the face by its name, the gate's own to whoever was enrolled,
/// or knows only the address.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) own: Arc<CertifiedKey>,
    pub(crate) given: Option<GivenCertificate>,
    pub(crate) host: String,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_enrolled = hello.alpn().is_some_and(|mut offered| offered.any(|one| one == ENROLLED));
        let is_named = hello.server_name() == Some(&self.host);
        let given = self.given.as_ref().filter(|_| is_named && !is_enrolled);
        Some(given.map_or_else(|| Arc::clone(&self.own), |given| Arc::clone(&given.key)))
    }
}

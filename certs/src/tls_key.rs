//! A key for TLS handshakes that lies in the vault: rustls asks it for each signature, and nothing of the key is here.

use std::fmt;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

use crate::tls::{TlsFault, setup};
use crate::vault::Line;
use crate::vault::wire::{Ask, Bytes, HandshakeKey};

/// One key. `Debug` shows its schemes.
pub(crate) struct KeyInVault {
    line: Line,
    sealed: Bytes,
    public: Vec<u8>,
    schemes: Vec<SignatureScheme>,
    algorithm: SignatureAlgorithm,
}

impl KeyInVault {
    /// The key as the vault told it.
    ///
    /// # Errors
    /// It signs by no scheme that TLS 1.3 has.
    pub(crate) fn new(line: Line, told: HandshakeKey) -> Result<Self, TlsFault> {
        let schemes: Vec<_> = told.schemes.into_iter().map(SignatureScheme::from).collect();
        let algorithm = schemes.first().and_then(|scheme| algorithm_of(*scheme));
        let algorithm = algorithm.ok_or_else(|| setup("the key signs by no scheme of TLS 1.3"))?;
        Ok(Self { line, sealed: told.sealed, public: told.public.0.to_vec(), schemes, algorithm })
    }
}

/// The schemes that keys of the gate or of a plant may sign by, the best first.
pub(crate) const SCHEMES: [SignatureScheme; 7] = [
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
];

fn algorithm_of(scheme: SignatureScheme) -> Option<SignatureAlgorithm> {
    match scheme {
        SignatureScheme::ED25519 => Some(SignatureAlgorithm::ED25519),
        SignatureScheme::ECDSA_NISTP256_SHA256
        | SignatureScheme::ECDSA_NISTP384_SHA384
        | SignatureScheme::ECDSA_NISTP521_SHA512 => Some(SignatureAlgorithm::ECDSA),
        SignatureScheme::RSA_PSS_SHA256 | SignatureScheme::RSA_PSS_SHA384 | SignatureScheme::RSA_PSS_SHA512 => {
            Some(SignatureAlgorithm::RSA)
        }
        _ => None,
    }
}

impl SigningKey for KeyInVault {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = *self.schemes.iter().find(|scheme| offered.contains(scheme))?;
        Some(Box::new(OneSignature { line: self.line.clone(), sealed: self.sealed.clone(), scheme }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.public.as_slice()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }
}

impl fmt::Debug for KeyInVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyInVault({:?})", self.schemes)
    }
}

#[derive(Debug)]
struct OneSignature {
    line: Line,
    sealed: Bytes,
    scheme: SignatureScheme,
}

impl Signer for OneSignature {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let (sealed, scheme) = (self.sealed.clone(), u16::from(self.scheme));
        let signed = self.line.bytes(&Ask::SignHandshake { sealed, scheme, message: message.into() });
        signed.map(|signature| signature.to_vec()).map_err(|fault| Error::General(fault.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

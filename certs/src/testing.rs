//! For tests: an authenticator of software, as a browser hands on what one says.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use data_encoding::BASE64URL_NOPAD;

use crate::passkey::{Asserted, Created, Site};

/// A passkey of one site. Whoever holds it is always known to it.
pub struct SoftwarePasskey {
    pair: EcdsaKeyPair,
    site: Site,
}

impl SoftwarePasskey {
    /// A new one.
    ///
    /// # Panics
    /// The system gives no random bytes.
    pub fn new(site: Site) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("the system gives random bytes");
        Self { pair, site }
    }

    /// What a browser says of it when it is made, for this challenge.
    pub fn created(&self, challenge: &[u8]) -> Created {
        let point = self.pair.public_key().as_ref();
        let cose = [b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20", &point[1..33], b"\x22\x58\x20", &point[33..]].concat();
        Created {
            client_data: self.client_data("webauthn.create", challenge),
            authenticator_data: [self.data(0x45), vec![0; 18], cose].concat(),
        }
    }

    /// What a browser says when it answers this challenge.
    ///
    /// # Panics
    /// The system gives no random bytes.
    pub fn asserted(&self, challenge: &[u8]) -> Asserted {
        let client_data = self.client_data("webauthn.get", challenge);
        let to_sign = [self.data(0x05), digest(&SHA256, &client_data).as_ref().to_vec()].concat();
        let signature = self.pair.sign(&SystemRandom::new(), &to_sign).expect("the system gives random bytes");
        Asserted { client_data, authenticator_data: self.data(0x05), signature: signature.as_ref().to_vec() }
    }

    fn client_data(&self, kind: &str, challenge: &[u8]) -> Vec<u8> {
        let (challenge, origin) = (BASE64URL_NOPAD.encode(challenge), self.site.origin());
        format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}","crossOrigin":false}}"#).into_bytes()
    }

    fn data(&self, flags: u8) -> Vec<u8> {
        [digest(&SHA256, self.site.id().as_bytes()).as_ref(), &[flags, 0, 0, 0, 9]].concat()
    }
}

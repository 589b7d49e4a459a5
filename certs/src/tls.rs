//! The gate's TLS certificate authority, server certificates for its faces, and what our own commands trust. TLS 1.3
//! only: every browser and every client of ours has it. Sockets are opened elsewhere.

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use policies::digest::Digest;
use policies::time::Seconds;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme, version,
};
use zeroize::Zeroizing;

use crate::chance;
use crate::given::{ENROLLED, GivenCertificate, Shown};
use crate::ring::{Ring, Turning};
use crate::succession::{STEP_USAGE, follows};
use crate::tls_client;
use crate::tls_key::KeyInVault;
use crate::vault::wire::{Ask, ClientDraft};
use crate::vault::{Line, VaultFault};

/// How long a server certificate lasts. [`ServerTls::renew_at`] comes a third earlier.
pub const SERVER_LASTS: Seconds = Seconds(90 * 86_400);

/// A server certificate begins a day early, for engineering stations whose clock is off.
const BACKDATED: Seconds = Seconds(86_400);

/// The TLS CA, as it is now: ECDSA on P-256, because browsers take no Ed25519 in certificates. Cheap to clone; `Debug` shows
/// the fingerprint.
#[derive(Clone)]
pub struct TlsCa(Turning<Keys>);

struct Keys {
    issuing: Issuing,
    ring: Ring<CertificateDer<'static>>,
    succession: Vec<CertificateDer<'static>>,
    /// Checks chains to each of them, as those of clients.
    chains: Arc<dyn ClientCertVerifier>,
}

/// The private key of a CA (PKCS #8) and its certificate, both DER.
pub(crate) struct Pair {
    pub(crate) key: Zeroizing<Vec<u8>>,
    pub(crate) certificate: Vec<u8>,
    /// The same name and key, certified by the CA before it (see [`crate::succession`]).
    pub(crate) succession: Option<Vec<u8>>,
}

enum Issuing {
    Here(Box<Issuer<'static, KeyPair>>),
    InVault(Line),
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// A name that cannot stand in a certificate.
    #[error("{name:?} is no name for a certificate: {cause}")]
    Name {
        /// What was given.
        name: String,
        /// What the library says.
        cause: String,
    },
    /// No name at all.
    #[error("a server certificate needs at least one name")]
    NoName,
    /// Text that is no certificate.
    #[error("this is no CA certificate in PEM (it begins with -----BEGIN CERTIFICATE-----)")]
    NotACertificate,
    /// Key and certificate of the CA do not belong together, or cannot be read.
    #[error("the TLS CA's key and certificate do not belong together")]
    Pair,
    /// The vault does not answer, or will not.
    #[error(transparent)]
    Vault(#[from] VaultFault),
    /// Anything else that certificates or rustls refuse.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// What a face serves with, and when to ask for the next.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// For `tokio-rustls`. It sends the CA's certificate too, so that first contact can compare it with an enrolment code.
    pub config: Arc<ServerConfig>,
    /// From when on a new certificate should be made: a month before the end.
    pub renew_at: Timestamp,
    /// The first moment at which it is no longer valid.
    pub valid_until: Timestamp,
}

impl TlsCa {
    /// A new CA. Valid throughout this century, because a gate is set up without a trusted clock, and its CA is renewed by
    /// people.
    pub(crate) fn make() -> Pair {
        let (key, params) = Self::draft();
        let certificate = params.self_signed(&key).expect("a P-256 key signs its own certificate");
        Pair { key: Zeroizing::new(key.serialize_der()), certificate: certificate.der().to_vec(), succession: None }
    }

    /// A new CA, which this one signs as the next. rustls-webpki looks at no path length of a trust anchor, so it would lead chains
    /// over that, and what the next key signed would count for whoever trusts this one alone: hence its usage, by which it is refused.
    pub(crate) fn make_after(former: &Pair) -> Result<Pair, TlsFault> {
        let (issuer, _) = issuer_of(former)?;
        let (key, mut params) = Self::draft();
        let certificate = params.self_signed(&key).map_err(setup)?;
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(STEP_USAGE.to_vec())];
        let succession = params.signed_by(&key, &issuer).map_err(setup)?;
        let (certificate, succession) = (certificate.der().to_vec(), Some(succession.der().to_vec()));
        Ok(Pair { key: Zeroizing::new(key.serialize_der()), certificate, succession })
    }

    fn draft() -> (KeyPair, CertificateParams) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("AWS-LC makes P-256 keys");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // Two plants' CAs in one browser need different names.
        let name = format!("Holdpoint CA {}", HEXLOWER.encode(&chance::public::<4>()));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2099, 12, 31);
        (key, params)
    }

    pub(crate) fn here(pairs: &Ring<Pair>) -> Result<Self, TlsFault> {
        let (issuer, _) = issuer_of(&pairs.now.key)?;
        // One that does not go with its key is found before it would sign.
        let ring = pairs.try_map(|pair| issuer_of(pair).map(|(_, certificate)| certificate))?;
        let succession =
            pairs.believed().filter_map(|pair| pair.succession.clone().map(CertificateDer::from)).collect();
        Self::new(Issuing::Here(Box::new(issuer)), ring, succession)
    }

    pub(crate) fn in_vault(
        line: Line,
        ring: Ring<CertificateDer<'static>>,
        succession: Vec<CertificateDer<'static>>,
    ) -> Result<Self, TlsFault> {
        Self::new(Issuing::InVault(line), ring, succession)
    }

    fn new(
        issuing: Issuing,
        ring: Ring<CertificateDer<'static>>,
        succession: Vec<CertificateDer<'static>>,
    ) -> Result<Self, TlsFault> {
        let roots = Arc::new(roots(ring.believed())?);
        let chains = WebPkiClientVerifier::builder_with_provider(roots, provider()).build().map_err(setup)?;
        Ok(Self(Turning::new(Keys { issuing, ring, succession, chains })))
    }

    pub(crate) fn turn_to(&self, other: &Self) {
        self.0.turn_to(&other.0);
    }

    pub(crate) fn ring(&self) -> Ring<CertificateDer<'static>> {
        self.0.now().ring.clone()
    }

    pub(crate) fn succession(&self) -> Vec<CertificateDer<'static>> {
        self.0.now().succession.clone()
    }

    /// Checks chains to each certificate that is believed, as those of clients.
    pub(crate) fn chains(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.0.now().chains)
    }

    /// The certificate of the CA that signs.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.0.now().ring.now.key.clone()
    }

    /// The certificates that are to be believed, as PEM, for browsers and for our commands: first that of the CA that signs, then the
    /// next and the last, where there are such.
    pub fn authorities_pem(&self) -> String {
        self.0.now().ring.believed().map(pem).collect()
    }

    /// The same, and for each of them that the CA before it signed, the certificate that says so, as PEM: what our commands are told,
    /// who take over no other ([`succession::take_over`](crate::succession::take_over)).
    pub fn authorities_and_succession(&self) -> (String, String) {
        let keys = self.0.now();
        (keys.ring.believed().map(pem).collect(), keys.succession.iter().map(pem).collect())
    }

    /// The certificate that is announced, as PEM.
    pub fn next_pem(&self) -> Option<String> {
        self.0.now().ring.next.as_ref().map(|next| pem(&next.key))
    }

    /// Whether the CA that signs has signed the next, where there is one: no other do our commands take over.
    pub fn has_signed_next(&self, now: Timestamp) -> bool {
        let keys = self.0.now();
        let leads_to =
            |next: &CertificateDer<'_>| keys.succession.iter().any(|step| follows(&keys.ring.now.key, next, step, now));
        keys.ring.next.as_ref().is_none_or(|next| leads_to(&next.key))
    }

    /// The certificate of the CA that signs, as people compare it and as enrolment codes carry it.
    pub fn fingerprint(&self) -> CaFingerprint {
        CaFingerprint::of(&self.certificate())
    }

    /// A fresh key and certificate for these names (DNS names or IP addresses), valid [`SERVER_LASTS`] from `now`. The
    /// key is never written down: ask again at each start and at `renew_at`. A certificate that the plant gave is shown
    /// in its place to browsers that ask for the first of the names.
    pub fn server(
        &self,
        names: &[String],
        given: Option<&GivenCertificate>,
        now: Timestamp,
    ) -> Result<ServerTls, TlsFault> {
        let host = names.first().ok_or(TlsFault::NoName)?.clone();
        let (key, shown) = self.handshake_key()?;
        let chain = self.chain_for(names, &shown, now)?;
        let own = CertifiedKey::new(chain, key);
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Shown { own: Arc::new(own), given: given.cloned(), host }));
        let renew_at = Seconds(SERVER_LASTS.0 / 3 * 2).after(now);
        Ok(ServerTls { config: Arc::new(config), renew_at, valid_until: SERVER_LASTS.after(now) })
    }

    /// A fresh key for handshakes, never written down, and that by which [`leaf_for`](Self::leaf_for) knows it: its public
    /// half (SubjectPublicKeyInfo, DER), or the whole as a vault sealed it.
    pub(crate) fn handshake_key(&self) -> Result<(Arc<dyn SigningKey>, Vec<u8>), TlsFault> {
        match &self.0.now().issuing {
            Issuing::Here(_) => {
                let (key, public) = fresh_handshake_key();
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()));
                Ok((provider().key_provider.load_private_key(key).map_err(setup)?, public))
            }
            Issuing::InVault(line) => {
                let told = line.key(&Ask::NewHandshakeKey)?;
                let sealed = told.sealed.0.to_vec();
                Ok((Arc::new(KeyInVault::new(line.clone(), told)?), sealed))
            }
        }
    }

    /// A server certificate for a key as [`handshake_key`](Self::handshake_key) gave it. A vault certifies none but its own,
    /// and by its own clock.
    pub(crate) fn leaf_for(
        &self,
        names: &[String],
        key: &[u8],
        now: Timestamp,
    ) -> Result<CertificateDer<'static>, TlsFault> {
        self.0.now().leaf_for(names, key, now)
    }

    /// The same, and behind it the certificate of whoever signed it.
    pub(crate) fn chain_for(
        &self,
        names: &[String],
        key: &[u8],
        now: Timestamp,
    ) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
        let keys = self.0.now();
        Ok(vec![keys.leaf_for(names, key, now)?, keys.ring.now.key.clone()])
    }

    /// A client's certificate for this public key (SubjectPublicKeyInfo, DER).
    pub(crate) fn client_leaf(&self, draft: &ClientDraft, key: &[u8]) -> Result<CertificateDer<'static>, TlsFault> {
        match &self.0.now().issuing {
            Issuing::Here(issuer) => {
                signed(&tls_client::params(&draft.uri, &draft.deployment, draft.now)?, key, issuer)
            }
            Issuing::InVault(line) => {
                let made = line.bytes(&Ask::ClientCertificate { draft: draft.clone(), key: key.into() })?;
                Ok(CertificateDer::from(made.to_vec()))
            }
        }
    }
}

impl Keys {
    fn leaf_for(&self, names: &[String], key: &[u8], now: Timestamp) -> Result<CertificateDer<'static>, TlsFault> {
        match &self.issuing {
            Issuing::Here(issuer) => signed(&leaf(names, now)?, key, issuer),
            Issuing::InVault(line) => {
                let made = line.bytes(&Ask::ServerCertificate { names: names.to_vec(), sealed: key.into() })?;
                Ok(CertificateDer::from(made.to_vec()))
            }
        }
    }
}

fn issuer_of(pair: &Pair) -> Result<(Issuer<'static, KeyPair>, CertificateDer<'static>), TlsFault> {
    let key = PrivatePkcs8KeyDer::from(pair.key.as_slice());
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256).map_err(|_| TlsFault::Pair)?;
    // Two key stores under one credential have files that open in each other.
    if !pair.certificate.windows(key.public_key_raw().len()).any(|window| window == key.public_key_raw()) {
        return Err(TlsFault::Pair);
    }
    let certificate = CertificateDer::from(pair.certificate.clone());
    let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|_| TlsFault::Pair)?;
    Ok((issuer, certificate))
}

fn signed(
    params: &CertificateParams,
    key: &[u8],
    issuer: &Issuer<'static, KeyPair>,
) -> Result<CertificateDer<'static>, TlsFault> {
    let key = rcgen::SubjectPublicKeyInfo::from_der(key).map_err(setup)?;
    Ok(params.signed_by(&key, issuer).map_err(setup)?.der().clone())
}

/// A P-256 key (PKCS #8) and its public half (SubjectPublicKeyInfo, DER).
pub(crate) fn fresh_handshake_key() -> (Zeroizing<Vec<u8>>, Vec<u8>) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("AWS-LC makes P-256 keys");
    (Zeroizing::new(key.serialize_der()), key.subject_public_key_info())
}

fn leaf(names: &[String], now: Timestamp) -> Result<CertificateParams, TlsFault> {
    let first = names.first().ok_or(TlsFault::NoName)?;
    for name in names {
        ServerName::try_from(name.as_str())
            .map_err(|cause| TlsFault::Name { name: name.clone(), cause: cause.to_string() })?;
    }
    let mut params = CertificateParams::new(names).map_err(setup)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, first.chars().take(64).collect::<String>());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let from = now.checked_sub(BACKDATED.duration()).map_err(setup)?;
    valid_within(&mut params, from, SERVER_LASTS.after(now))?;
    Ok(params)
}

/// A certificate's first and last second.
pub(crate) fn valid_within(params: &mut CertificateParams, from: Timestamp, until: Timestamp) -> Result<(), TlsFault> {
    let since_1970 = |at: Timestamp| -> Result<_, TlsFault> {
        let seconds = u64::try_from(at.as_second()).map_err(|_| setup("the clock stands before 1970"))?;
        Ok(std::time::Duration::from_secs(seconds))
    };
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_1970(from)?;
    params.not_after = epoch + since_1970(until)?;
    Ok(())
}

impl fmt::Debug for TlsCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsCa({})", self.fingerprint())
    }
}

/// A client that trusts exactly this CA, or several where the gate named them so, and nothing the system trusts.
pub fn client_config(ca_pem: &str) -> Result<Arc<ClientConfig>, TlsFault> {
    client_config_with(ca_pem, [])
}

/// A client that trusts this CA and some others besides: those of a proxy that opens TLS.
pub fn client_config_with(
    ca_pem: &str,
    others: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Result<Arc<ClientConfig>, TlsFault> {
    let mut roots = roots(&authorities(ca_pem)?)?;
    roots.add_parsable_certificates(others);
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(setup)?
        .with_root_certificates(roots);
    Ok(enrolled(builder.with_no_client_auth()))
}

/// The certificates in such a text; one at least.
///
/// # Errors
/// It holds something else.
pub fn authorities(ca_pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let all = CertificateDer::pem_slice_iter(ca_pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    all.ok().filter(|all| !all.is_empty()).ok_or(TlsFault::NotACertificate)
}

/// A client for first contact: it knows of the CA only what the enrolment code says. The server sends the CA's
/// certificate; it has to be the one of the code, and everything else is checked as ever. Afterwards
/// [`CaPrefix::find`] gives the certificate to keep.
pub fn first_contact_config(ca: CaPrefix) -> Result<Arc<ClientConfig>, TlsFault> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(FirstContact { ca, provider: provider() }));
    Ok(enrolled(builder.with_no_client_auth()))
}

/// Asks for the gate's own certificate, also where browsers are shown another.
fn enrolled(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![ENROLLED.to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

pub(crate) fn roots<'a, 'c: 'a>(
    cas: impl IntoIterator<Item = &'a CertificateDer<'c>>,
) -> Result<RootCertStore, TlsFault> {
    let mut roots = RootCertStore::empty();
    for ca in cas {
        roots.add(ca.clone().into_owned()).map_err(|_| TlsFault::NotACertificate)?;
    }
    Ok(roots)
}

pub(crate) fn setup(cause: impl fmt::Display) -> TlsFault {
    TlsFault::Setup(cause.to_string())
}

/// SHA-256 of the CA's certificate (DER); as text `SHA256:` and hexadecimal, as browsers show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaFingerprint(Digest);

/// What of [`CaFingerprint`] fits into an enrolment code: its first 80 bits. Making a second CA with the same takes 2^80
/// certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaPrefix(pub [u8; 10]);

impl CaFingerprint {
    /// Of this certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Digest::of_bytes(certificate))
    }

    /// All of it.
    pub const fn digest(&self) -> Digest {
        self.0
    }

    /// What stands in an enrolment code.
    pub fn prefix(&self) -> CaPrefix {
        let (prefix, _) = self.0.0.split_first_chunk().expect("ten is less than thirty-two");
        CaPrefix(*prefix)
    }
}

impl fmt::Display for CaFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", self.0)
    }
}

impl CaPrefix {
    /// The certificate of the CA this belongs to, out of what a server sent.
    pub fn find<'a>(&self, chain: &'a [CertificateDer<'a>]) -> Option<&'a CertificateDer<'a>> {
        chain.iter().find(|certificate| CaFingerprint::of(certificate).prefix() == *self)
    }
}

/// A certificate as PEM (RFC 7468).
pub fn pem(certificate: &CertificateDer<'_>) -> String {
    let base64 = data_encoding::BASE64.encode(certificate);
    let lines = base64.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>().join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}

#[derive(Debug)]
struct FirstContact {
    ca: CaPrefix,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for FirstContact {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let ca = self.ca.find(intermediates).ok_or_else(unknown)?;
        let roots = Arc::new(roots([ca]).map_err(|_| unknown())?);
        WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone())
            .build()
            .map_err(|_| unknown())?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rustls::{ClientConnection, ConnectionCommon, ServerConnection};

    use super::*;
    use crate::given::{FaceKey, GivenFault};

    pub(crate) fn ca() -> TlsCa {
        alone(TlsCa::make()).unwrap()
    }

    fn alone(pair: Pair) -> Result<TlsCa, TlsFault> {
        TlsCa::here(&Ring::alone(pair, Timestamp::UNIX_EPOCH))
    }

    fn again(pair: &Pair) -> Pair {
        Pair { key: pair.key.clone(), certificate: pair.certificate.clone(), succession: pair.succession.clone() }
    }

    /// A server that shows these.
    fn showing(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&version::TLS13]);
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Arc::new(builder.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap())
    }

    fn server(ca: &TlsCa, names: &[&str]) -> Arc<ServerConfig> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        ca.server(&names, None, Timestamp::now()).unwrap().config
    }

    /// What one has to say reaches the other.
    pub(crate) fn flight<A, B>(from: &mut ConnectionCommon<A>, to: &mut ConnectionCommon<B>) {
        let mut wire = Vec::new();
        while from.wants_write() {
            from.write_tls(&mut wire).unwrap();
        }
        to.read_tls(&mut wire.as_slice()).unwrap();
    }

    /// A whole handshake in memory.
    fn shake(
        client: Arc<ClientConfig>,
        server: Arc<ServerConfig>,
        name: &'static str,
    ) -> Result<ClientConnection, rustls::Error> {
        let mut client = ClientConnection::new(client, name.try_into().unwrap())?;
        let mut server = ServerConnection::new(server)?;
        while client.is_handshaking() {
            flight(&mut client, &mut server);
            server.process_new_packets()?;
            flight(&mut server, &mut client);
            client.process_new_packets()?;
        }
        Ok(client)
    }

    #[test]
    fn our_client_trusts_our_ca_and_no_other() {
        let (ours, other) = (ca(), ca());
        let client = client_config(&ours.authorities_pem()).unwrap();
        let shaken = shake(client.clone(), server(&ours, &["gate.example"]), "gate.example").unwrap();
        assert_eq!(shaken.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert!(shake(client.clone(), server(&other, &["gate.example"]), "gate.example").is_err());
        assert!(shake(client, server(&ours, &["gate.example"]), "another.example").is_err());
    }

    #[test]
    fn a_certificate_may_name_addresses() {
        let ca = ca();
        let client = client_config(&ca.authorities_pem()).unwrap();
        assert!(shake(client, server(&ca, &["localhost", "127.0.0.1"]), "127.0.0.1").is_ok());
    }

    #[test]
    fn who_was_told_of_the_next_in_time_notices_nothing_and_who_was_not_is_let_in_by_nobody() {
        let member = |pair: &Pair| crate::ring::Member { key: again(pair), since: Timestamp::UNIX_EPOCH };
        let (first, second) = (TlsCa::make(), TlsCa::make());
        let ca = alone(again(&first)).unwrap();
        let before = client_config(&ca.authorities_pem()).unwrap();
        ca.turn_to(&TlsCa::here(&Ring { now: member(&first), next: Some(member(&second)), last: None }).unwrap());
        let between = client_config(&ca.authorities_pem()).unwrap();
        let shows = |client: &Arc<ClientConfig>| shake(client.clone(), server(&ca, &["gate.example"]), "gate.example");
        assert!(shows(&before).is_ok() && shows(&between).is_ok());
        ca.turn_to(&TlsCa::here(&Ring { now: member(&second), next: None, last: Some(member(&first)) }).unwrap());
        assert!(shows(&before).is_err() && shows(&between).is_ok());
        assert_eq!(ca.authorities_pem().matches("BEGIN CERTIFICATE").count(), 2);
        let shaken = shows(&between).unwrap();
        assert_eq!(shaken.peer_certificates().unwrap().last().unwrap(), &ca.certificate());
    }

    #[test]
    fn first_contact_believes_the_ca_of_the_code_and_gives_its_certificate() {
        let (ours, other) = (ca(), ca());
        let first = first_contact_config(ours.fingerprint().prefix()).unwrap();
        let shaken = shake(first.clone(), server(&ours, &["gate.example"]), "gate.example").unwrap();
        let found = ours.fingerprint().prefix().find(shaken.peer_certificates().unwrap()).map(pem);
        assert_eq!(found, Some(ours.authorities_pem()));
        assert!(shake(first.clone(), server(&other, &["gate.example"]), "gate.example").is_err());
        assert!(shake(first, server(&ours, &["another.example"]), "gate.example").is_err());
    }

    #[test]
    fn a_certificate_of_ours_beside_a_strangers_leaf_helps_nobody() {
        let (ours, other) = (ca(), ca());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let names = ["gate.example".to_owned()];
        let strangers = other.leaf_for(&names, &key.subject_public_key_info(), Timestamp::now()).unwrap();
        let server = showing(vec![strangers, ours.certificate()], &key);
        let first = first_contact_config(ours.fingerprint().prefix()).unwrap();
        assert!(shake(first, server, "gate.example").is_err());
    }

    #[test]
    fn what_the_next_signed_counts_for_nobody_who_trusts_only_the_one_that_signed_that() {
        let now = Timestamp::now();
        let first = TlsCa::make();
        let second = TlsCa::make_after(&first).unwrap();
        let step = CertificateDer::from(second.succession.clone().unwrap());
        let (first, second) = (alone(first).unwrap(), alone(second).unwrap());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let names = ["gate.example".to_owned()];
        let leaf = second.leaf_for(&names, &key.subject_public_key_info(), now).unwrap();
        let server = showing(vec![leaf, step.clone()], &key);
        let for_another_use = |error: rustls::Error| {
            use CertificateError::{InvalidPurpose, InvalidPurposeContext};
            matches!(error, rustls::Error::InvalidCertificate(InvalidPurpose | InvalidPurposeContext { .. }))
        };
        let trusts = |ca: &TlsCa| shake(client_config(&ca.authorities_pem()).unwrap(), server.clone(), "gate.example");
        assert!(trusts(&first).is_err_and(for_another_use) && trusts(&second).is_ok());
        let met = first_contact_config(first.fingerprint().prefix()).unwrap();
        assert!(shake(met, server, "gate.example").is_err());

        let (keys, mut params) = (second.0.now(), CertificateParams::default());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let Issuing::Here(issuer) = &keys.issuing else { panic!("its key is here") };
        let client = signed(&params, &key.subject_public_key_info(), issuer).unwrap();
        let checked = |ca: &TlsCa| {
            ca.chains().verify_client_cert(&client, std::slice::from_ref(&step), UnixTime::now()).map(drop)
        };
        assert!(checked(&first).is_err_and(for_another_use) && checked(&second).is_ok());
    }

    #[test]
    fn it_is_known_whether_the_next_is_signed_by_the_one_that_signs() {
        let now = Timestamp::now();
        let member = |pair: &Pair| crate::ring::Member { key: again(pair), since: Timestamp::UNIX_EPOCH };
        let first = TlsCa::make();
        let has_signed = |next: Option<&Pair>| {
            let ring = Ring { now: member(&first), next: next.map(member), last: None };
            TlsCa::here(&ring).unwrap().has_signed_next(now)
        };
        assert!(has_signed(None) && has_signed(Some(&TlsCa::make_after(&first).unwrap())));
        assert!(!has_signed(Some(&TlsCa::make())));
        assert!(!has_signed(Some(&TlsCa::make_after(&TlsCa::make()).unwrap())));
    }

    #[test]
    fn a_given_certificate_is_for_browsers_by_name_and_our_own_for_whoever_was_enrolled_or_knows_an_address() {
        let (ours, plants) = (ca(), ca());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let names = ["gate.example".to_owned(), "127.0.0.1".to_owned()];
        let chain = pem(&plants.leaf_for(&names[..1], &key.subject_public_key_info(), Timestamp::now()).unwrap());
        let read = |key: &str, host| GivenCertificate::read(chain.as_bytes(), &FaceKey::read(key.as_bytes())?, host);
        let given = |host| read(&key.serialize_pem(), host);
        assert!(matches!(given("another.example"), Err(GivenFault::Name(name)) if name == "another.example"));
        let given = given("gate.example").unwrap();
        assert!(Timestamp::now() < given.valid_until());
        let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
        let of_another = read(&other, "gate.example");
        assert!(matches!(of_another, Err(GivenFault::Pair(_))));
        for (chain, key, fault) in [("", other.as_str(), GivenFault::NoCertificate), (&chain, "", GivenFault::NoKey)] {
            let key = FaceKey::read(key.as_bytes());
            let read = key.and_then(|key| GivenCertificate::read(chain.as_bytes(), &key, "gate.example"));
            assert_eq!(read.unwrap_err(), fault);
        }
        let server = ours.server(&names, Some(&given), Timestamp::now()).unwrap().config;
        let browser = |ca: &TlsCa| {
            let roots = roots([&ca.certificate()]).unwrap();
            let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&version::TLS13]);
            Arc::new(builder.unwrap().with_root_certificates(roots).with_no_client_auth())
        };
        let shows = |client, name| shake(client, server.clone(), name).is_ok();
        assert!(shows(browser(&plants), "gate.example") && !shows(browser(&ours), "gate.example"));
        assert!(shows(browser(&ours), "127.0.0.1") && !shows(browser(&plants), "127.0.0.1"));
        assert!(shows(client_config(&ours.authorities_pem()).unwrap(), "gate.example"));
        assert!(shows(first_contact_config(ours.fingerprint().prefix()).unwrap(), "gate.example"));
    }

    #[test]
    fn a_certificate_is_renewed_a_month_before_it_ends() {
        let now = Timestamp::now();
        let tls = ca().server(&["gate.example".to_owned()], None, now).unwrap();
        assert_eq!(tls.valid_until, Seconds(90 * 86_400).after(now));
        assert_eq!(tls.renew_at, Seconds(60 * 86_400).after(now));
    }

    #[test]
    fn names_that_are_none_are_refused() {
        let server = |names: &[&str]| {
            ca().server(&names.iter().map(ToString::to_string).collect::<Vec<_>>(), None, Timestamp::now()).map(drop)
        };
        assert!(matches!(server(&[]), Err(TlsFault::NoName)));
        assert!(matches!(server(&["gate.example", "a b"]), Err(TlsFault::Name { name, .. }) if name == "a b"));
        assert!(matches!(client_config("nonsense"), Err(TlsFault::NotACertificate)));
    }

    #[test]
    fn the_ca_opens_only_with_its_own_key() {
        let (Pair { certificate, .. }, Pair { key, .. }) = (TlsCa::make(), TlsCa::make());
        assert!(matches!(alone(Pair { key, certificate, succession: None }), Err(TlsFault::Pair)));
    }
}

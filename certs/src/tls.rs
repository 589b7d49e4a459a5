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
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme, version,
};
use zeroize::Zeroizing;

use crate::chance;
use crate::given::{ENROLLED, GivenCertificate, Shown};
use crate::tls_client;
use crate::tls_key::KeyInVault;
use crate::vault::wire::{Ask, ClientDraft};
use crate::vault::{Line, VaultFault};

/// How long a server certificate lasts. [`ServerTls::renew_at`] comes a third earlier.
pub const SERVER_LASTS: Seconds = Seconds(90 * 86_400);

/// A server certificate begins a day early, for engineering stations whose clock is off.
const BACKDATED: Seconds = Seconds(86_400);

/// The TLS CA: ECDSA on P-256, because browsers take no Ed25519 in certificates. Cheap to clone; `Debug` shows nothing.
#[derive(Clone)]
pub struct TlsCa(Arc<Inner>);

struct Inner {
    issuing: Issuing,
    certificate: CertificateDer<'static>,
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
    /// A new CA: its private key (PKCS #8) and certificate, both DER. Valid throughout this century, because a gate is
    /// set up without a trusted clock, and replaced by hand or not at all.
    pub(crate) fn make() -> (Zeroizing<Vec<u8>>, Vec<u8>) {
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
        let certificate = params.self_signed(&key).expect("a P-256 key signs its own certificate");
        (Zeroizing::new(key.serialize_der()), certificate.der().to_vec())
    }

    pub(crate) fn from_der(key: &[u8], certificate: &[u8]) -> Result<Self, TlsFault> {
        let key = PrivatePkcs8KeyDer::from(key);
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256).map_err(|_| TlsFault::Pair)?;
        // Two key stores under one credential have files that open in each other.
        if !certificate.windows(key.public_key_raw().len()).any(|window| window == key.public_key_raw()) {
            return Err(TlsFault::Pair);
        }
        let certificate = CertificateDer::from(certificate.to_vec());
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|_| TlsFault::Pair)?;
        Ok(Self(Arc::new(Inner { issuing: Issuing::Here(Box::new(issuer)), certificate })))
    }

    pub(crate) fn in_vault(line: Line, certificate: CertificateDer<'static>) -> Self {
        Self(Arc::new(Inner { issuing: Issuing::InVault(line), certificate }))
    }

    /// The CA's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.0.certificate
    }

    /// The CA's certificate as PEM, for browsers and for our commands.
    pub fn certificate_pem(&self) -> String {
        pem(&self.0.certificate)
    }

    /// The CA's certificate as people compare it and as enrolment codes carry it.
    pub fn fingerprint(&self) -> CaFingerprint {
        CaFingerprint::of(&self.0.certificate)
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
        let chain = vec![self.leaf_for(names, &shown, now)?, self.0.certificate.clone()];
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
        match &self.0.issuing {
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
        match &self.0.issuing {
            Issuing::Here(issuer) => signed(&leaf(names, now)?, key, issuer),
            Issuing::InVault(line) => {
                let made = line.bytes(&Ask::ServerCertificate { names: names.to_vec(), sealed: key.into() })?;
                Ok(CertificateDer::from(made.to_vec()))
            }
        }
    }

    /// A client's certificate for this public key (SubjectPublicKeyInfo, DER).
    pub(crate) fn client_leaf(&self, draft: &ClientDraft, key: &[u8]) -> Result<CertificateDer<'static>, TlsFault> {
        match &self.0.issuing {
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

/// A client that trusts exactly this CA, and nothing the system trusts.
pub fn client_config(ca_pem: &str) -> Result<Arc<ClientConfig>, TlsFault> {
    client_config_with(ca_pem, [])
}

/// A client that trusts this CA and some others besides: those of a proxy that opens TLS.
pub fn client_config_with(
    ca_pem: &str,
    others: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Result<Arc<ClientConfig>, TlsFault> {
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|_| TlsFault::NotACertificate)?;
    let mut roots = roots(&ca)?;
    roots.add_parsable_certificates(others);
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .map_err(setup)?
        .with_root_certificates(roots);
    Ok(enrolled(builder.with_no_client_auth()))
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

pub(crate) fn roots(ca: &CertificateDer<'_>) -> Result<RootCertStore, TlsFault> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone().into_owned()).map_err(|_| TlsFault::NotACertificate)?;
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
        let roots = Arc::new(roots(ca).map_err(|_| unknown())?);
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
        let (key, certificate) = TlsCa::make();
        TlsCa::from_der(&key, &certificate).unwrap()
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
        let client = client_config(&ours.certificate_pem()).unwrap();
        let shaken = shake(client.clone(), server(&ours, &["gate.example"]), "gate.example").unwrap();
        assert_eq!(shaken.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert!(shake(client.clone(), server(&other, &["gate.example"]), "gate.example").is_err());
        assert!(shake(client, server(&ours, &["gate.example"]), "another.example").is_err());
    }

    #[test]
    fn a_certificate_may_name_addresses() {
        let ca = ca();
        let client = client_config(&ca.certificate_pem()).unwrap();
        assert!(shake(client, server(&ca, &["localhost", "127.0.0.1"]), "127.0.0.1").is_ok());
    }

    #[test]
    fn first_contact_believes_the_ca_of_the_code_and_gives_its_certificate() {
        let (ours, other) = (ca(), ca());
        let first = first_contact_config(ours.fingerprint().prefix()).unwrap();
        let shaken = shake(first.clone(), server(&ours, &["gate.example"]), "gate.example").unwrap();
        let found = ours.fingerprint().prefix().find(shaken.peer_certificates().unwrap()).map(pem);
        assert_eq!(found, Some(ours.certificate_pem()));
        assert!(shake(first.clone(), server(&other, &["gate.example"]), "gate.example").is_err());
        assert!(shake(first, server(&ours, &["another.example"]), "gate.example").is_err());
    }

    #[test]
    fn a_certificate_of_ours_beside_a_strangers_leaf_helps_nobody() {
        let (ours, other) = (ca(), ca());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let names = ["gate.example".to_owned()];
        let strangers = other.leaf_for(&names, &key.subject_public_key_info(), Timestamp::now()).unwrap();
        let chain = vec![strangers, ours.certificate().clone()];
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        let first = first_contact_config(ours.fingerprint().prefix()).unwrap();
        assert!(shake(first, Arc::new(config), "gate.example").is_err());
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
            let roots = roots(ca.certificate()).unwrap();
            let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&version::TLS13]);
            Arc::new(builder.unwrap().with_root_certificates(roots).with_no_client_auth())
        };
        let shows = |client, name| shake(client, server.clone(), name).is_ok();
        assert!(shows(browser(&plants), "gate.example") && !shows(browser(&ours), "gate.example"));
        assert!(shows(browser(&ours), "127.0.0.1") && !shows(browser(&plants), "127.0.0.1"));
        assert!(shows(client_config(&ours.certificate_pem()).unwrap(), "gate.example"));
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
        let ((_, certificate), (key, _)) = (TlsCa::make(), TlsCa::make());
        assert!(matches!(TlsCa::from_der(&key, &certificate), Err(TlsFault::Pair)));
    }
}

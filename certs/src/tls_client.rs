//! Client certificates of the TCP face: made out by the gate's TLS CA to one technician, under one grant, from one
//! address, for a key that the technician's side made and proved; and the check of one that is shown in a handshake. A
//! certificate is refused as a server's, and a server's as a client's, by what it may be used for (RFC 5280, 4.2.1.12).
//! Whether the grant still stands is not known here.

mod shown;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use policies::ids::{DeploymentId, PersonId, RequestId};
use policies::time::Seconds;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType,
};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme, version};
use ssh_key::Fingerprint;
use zeroize::Zeroizing;

pub use shown::{CERTIFICATE_TOKEN, NotShown, ShownCertificate};

use crate::proof::Authenticated;
use crate::tls::{TlsCa, TlsFault, authorities, pem, provider, roots, setup, valid_within};
use crate::vault::wire::ClientDraft;

/// The longest a client certificate lives. Until then nothing but the grant's end, a cut or the person's being put out
/// takes it back, and each of these does at once, since every use is held against what stands.
pub const LASTS_MAX: Seconds = Seconds(15 * 60);

/// What one of our own clients offers in ALPN (RFC 7301) to be told in a first line whether its connection is carried.
/// Stock clients offer nothing, and get the service's bytes alone.
pub const SPOKEN: &[u8] = b"holdpoint/1";

/// What a client certificate says, in a URI among its alternative names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientClaims {
    /// The technician.
    pub person: PersonId,
    /// The one grant it opens connections under.
    pub grant: RequestId,
    /// The SSH key they signed in with.
    pub key: Fingerprint,
    /// When they gave both factors.
    pub signed_in: Timestamp,
    /// The first moment at which it is no longer valid.
    pub until: Timestamp,
    /// The address it is good from.
    pub source: IpAddr,
}

const SCHEME: &str = "holdpoint:client/v1";

impl ClientClaims {
    fn uri(&self, deployment: &DeploymentId) -> String {
        let Self { person, grant, key, signed_in, until, source } = self;
        let (key, signed_in, until) = (HEXLOWER.encode(key.as_bytes()), signed_in.as_second(), until.as_second());
        format!("{SCHEME}/{deployment}/{person}/{grant}/{key}/{signed_in}/{until}/{source}")
    }

    /// Reads [`uri`](Self::uri), of this deployment alone.
    fn of_uri(uri: &str, deployment: &DeploymentId) -> Option<Self> {
        let rest = uri.strip_prefix(SCHEME)?.strip_prefix('/')?.strip_prefix(deployment.as_str())?.strip_prefix('/')?;
        let parts: Vec<&str> = rest.split('/').collect();
        let [person, grant, key, signed_in, until, source] = parts.as_slice() else { return None };
        let second = |text: &str| text.parse().ok().and_then(|second| Timestamp::from_second(second).ok());
        let key = HEXLOWER.decode(key.as_bytes()).ok().and_then(|key| <[u8; 32]>::try_from(key).ok())?;
        Some(Self {
            person: person.parse().ok()?,
            grant: grant.parse().ok()?,
            key: Fingerprint::Sha256(key),
            signed_in: second(signed_in)?,
            until: second(until)?,
            source: source.parse().ok()?,
        })
    }

    /// What stands in a certificate of ours; none in any other.
    fn read(certificate: &CertificateDer<'_>, deployment: &DeploymentId) -> Option<Self> {
        let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
        let mut names = certificate.valid_uri_names();
        match (names.next(), names.next()) {
            (Some(uri), None) => Self::of_uri(uri, deployment),
            _ => None,
        }
    }
}

/// A key that somebody proved to hold, in a certificate signing request (RFC 2986). Nothing else of the request counts.
#[derive(Debug)]
pub struct ProvenClientKey(Vec<u8>);

/// Why a signing request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSigningRequest {
    /// Not one, or not signed by the key in it.
    #[error(
        "this is no certificate signing request that its own key signed (PEM, -----BEGIN CERTIFICATE REQUEST-----)"
    )]
    Unreadable,
    /// Another kind of key.
    #[error("the key is to be ECDSA on P-256, as `openssl ecparam -name prime256v1 -genkey` makes it")]
    Algorithm,
}

impl ProvenClientKey {
    /// Reads a signing request in PEM, and checks that the key in it signed it.
    ///
    /// # Errors
    /// It is none, or its key is of a kind that is not taken.
    pub fn by_signing_request(request_pem: &str) -> Result<Self, BadSigningRequest> {
        let request =
            CertificateSigningRequestParams::from_pem(request_pem).map_err(|_| BadSigningRequest::Unreadable)?;
        if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(BadSigningRequest::Algorithm);
        }
        Ok(Self(request.public_key.subject_public_key_info()))
    }
}

/// What a client certificate was asked for and cannot be.
#[derive(Debug, thiserror::Error)]
pub enum NoClientCertificate {
    /// Longer than [`LASTS_MAX`], or over before it begins.
    #[error("a client certificate lasts at most fifteen minutes, and ends after it begins")]
    Time,
    /// Nobody is to be let in by a password through this door.
    #[error("a client certificate needs a sign-in with a key")]
    NoKey,
    /// A proof that serves one grant gets no certificate for another.
    #[error("this sign-in serves another grant")]
    OtherGrant,
    /// The CA cannot sign it.
    #[error(transparent)]
    Tls(#[from] TlsFault),
}

impl TlsCa {
    /// A certificate for `who`, from where they come, under `grant`, for the key that was proved; from `now` to `until`.
    /// `signed_in` is when both factors were given. The caller has looked whether the grant is theirs and stands until
    /// then. Gives it as PEM.
    ///
    /// # Errors
    /// See [`NoClientCertificate`].
    pub fn client_certificate(
        &self,
        deployment: &DeploymentId,
        who: &Authenticated,
        signed_in: Timestamp,
        grant: RequestId,
        key: &ProvenClientKey,
        (now, until): (Timestamp, Timestamp),
    ) -> Result<String, NoClientCertificate> {
        if until <= now || until > LASTS_MAX.after(now) {
            return Err(NoClientCertificate::Time);
        }
        if who.grant().is_some_and(|served| served != grant) {
            return Err(NoClientCertificate::OtherGrant);
        }
        let ssh_key = who.key().ok_or(NoClientCertificate::NoKey)?;
        let source = who.source();
        let claims = ClientClaims { person: who.person(), grant, key: ssh_key, signed_in, until, source };
        let draft = ClientDraft { uri: claims.uri(deployment), deployment: deployment.clone(), now };
        Ok(pem(&self.client_leaf(&draft, &key.0)?))
    }

    /// What the TCP face makes its handshakes with. Its own key is made here and never written down.
    ///
    /// # Errors
    /// The CA is none that rustls takes.
    pub fn client_face(&self, deployment: DeploymentId) -> Result<ClientFace, TlsFault> {
        let (signer, key) = self.handshake_key()?;
        Ok(ClientFace { ca: self.clone(), deployment, key, signer })
    }

    /// What a client certificate says that is ours, of this deployment, and valid at `now`.
    fn claims_of(
        &self,
        deployment: &DeploymentId,
        certificate: &CertificateDer<'_>,
        now: Timestamp,
    ) -> Result<ClientClaims, NotHeld> {
        let seconds = u64::try_from(now.as_second()).map_err(|_| NotHeld::Invalid)?;
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        match self.chains().verify_client_cert(certificate, &[], at) {
            Ok(_) => {}
            Err(rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) => return Err(NotHeld::Expired),
            Err(_) => return Err(NotHeld::Invalid),
        }
        let claims = ClientClaims::read(certificate, deployment).ok_or(NotHeld::Invalid)?;
        if now >= claims.until {
            return Err(NotHeld::Expired);
        }
        Ok(claims)
    }
}

/// A client certificate before it is signed, where what it says is of this installation.
pub(crate) fn params(uri: &str, deployment: &DeploymentId, now: Timestamp) -> Result<CertificateParams, TlsFault> {
    let claims = ClientClaims::of_uri(uri, deployment).ok_or_else(|| setup("this is no client's claim"))?;
    if claims.until <= now || claims.until > LASTS_MAX.after(now) {
        return Err(setup("a client certificate lasts at most fifteen minutes"));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, claims.person.to_string());
    params.subject_alt_names = vec![SanType::URI(uri.to_owned().try_into().map_err(setup)?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    valid_within(&mut params, now, claims.until)?;
    Ok(params)
}

/// Why a certificate that was shown does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotHeld {
    /// Not a certificate.
    #[error("this is no certificate in PEM")]
    Unreadable,
    /// Not from this CA, not a client's, or altered.
    #[error("this certificate is none that this gate made out to a technician")]
    Invalid,
    /// Over.
    #[error("this certificate has expired: sign in again")]
    Expired,
}

/// That somebody showed a valid client certificate and proved to hold its key. Not `Clone`, and made here alone.
/// ```compile_fail
/// use certs::tls_client::{ClientClaims, HeldCertificate};
/// fn of_somebody_else(claims: ClientClaims) -> HeldCertificate {
///     HeldCertificate(claims)
/// }
/// ```
/// ```compile_fail
/// fn twice(one: &certs::tls_client::HeldCertificate) -> certs::tls_client::HeldCertificate {
///     one.clone()
/// }
/// ```
/// ```
/// fn once(one: certs::tls_client::HeldCertificate) -> certs::tls_client::HeldCertificate {
///     one
/// }
/// ```
#[derive(Debug)]
pub struct HeldCertificate(ClientClaims);

impl HeldCertificate {
    /// What it says.
    pub const fn claims(&self) -> &ClientClaims {
        &self.0
    }
}

/// What the TCP face shakes hands with: TLS 1.3, no resumption, so that each connection proves its key anew.
pub struct ClientFace {
    ca: TlsCa,
    deployment: DeploymentId,
    /// As [`TlsCa::leaf_for`] takes it.
    key: Vec<u8>,
    signer: Arc<dyn SigningKey>,
}

/// Whether a technician who holds a valid certificate may go on; asked after they proved its key. It keeps the proof: the
/// connection that is then let in is theirs.
pub type MayEnter = Box<dyn Fn(HeldCertificate) -> bool + Send + Sync>;

impl ClientFace {
    /// The settings of one handshake, for `tokio-rustls` and for one connection: under `name`, which is the one the client asked for, known or not: so nobody learns by it what there
    /// is. Whoever has no certificate of ours, or whom `may_enter` turns away, gets an alert (RFC 8446, 6.2).
    ///
    /// # Errors
    /// The name cannot stand in a certificate.
    pub fn handshake(
        &self,
        name: &str,
        now: Timestamp,
        spoken: bool,
        may_enter: MayEnter,
    ) -> Result<Arc<ServerConfig>, TlsFault> {
        let chain = self.ca.chain_for(&[name.to_owned()], &self.key, now)?;
        let shown = CertifiedKey::new(chain, Arc::clone(&self.signer));
        let (chains, deployment) = (self.ca.chains(), self.deployment.clone());
        let check = Arc::new(Check { chains, deployment, may_enter });
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(setup)?
            .with_client_cert_verifier(check)
            .with_cert_resolver(Arc::new(Shown(Arc::new(shown))));
        // A resumed connection would prove nothing.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        if spoken {
            config.alpn_protocols = vec![SPOKEN.to_vec()];
        }
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for ClientFace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientFace({:?})", self.ca)
    }
}

#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// The checks of one handshake.
struct Check {
    chains: Arc<dyn ClientCertVerifier>,
    deployment: DeploymentId,
    may_enter: MayEnter,
}

impl Check {
    fn claims(&self, certificate: &CertificateDer<'_>) -> Result<ClientClaims, rustls::Error> {
        ClientClaims::read(certificate, &self.deployment)
            .ok_or_else(|| CertificateError::ApplicationVerificationFailure.into())
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Check(..)")
    }
}

impl ClientCertVerifier for Check {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chains.verify_client_cert(end_entity, &[], now)?;
        self.claims(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let valid = self.chains.verify_tls13_signature(message, certificate, signature)?;
        let claims = self.claims(certificate)?;
        match (self.may_enter)(HeldCertificate(claims)) {
            true => Ok(valid),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// A key of the technician's side, made there and never sent: what it asks to have certified, and what it then shows.
pub struct ClientKey(KeyPair);

impl ClientKey {
    /// A fresh one.
    ///
    /// # Panics
    /// If AWS-LC makes no key any more.
    pub fn generate() -> Self {
        Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("AWS-LC makes P-256 keys"))
    }

    /// A signing request in PEM, with nothing in it but the key.
    ///
    /// # Errors
    /// The library cannot write it.
    pub fn signing_request(&self) -> Result<String, TlsFault> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serialize_request(&self.0).and_then(|request| request.pem()).map_err(setup)
    }

    /// The private key in PEM, for the file of a stock client.
    pub fn private_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }

    /// A client that trusts exactly the CAs in `ca_pem` and shows this certificate. It offers [`SPOKEN`].
    ///
    /// # Errors
    /// The certificate is not for this key, or is none.
    pub fn config(&self, ca_pem: &str, certificate_pem: &str) -> Result<Arc<ClientConfig>, TlsFault> {
        let read = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| TlsFault::NotACertificate);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.0.serialize_der()));
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(setup)?
            .with_root_certificates(roots(&authorities(ca_pem)?)?)
            .with_client_auth_cert(vec![read(certificate_pem)?], key)
            .map_err(setup)?;
        config.alpn_protocols = vec![SPOKEN.to_vec()];
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(..)")
    }
}

/// What the documentation shows not to compile elsewhere compiles in here: so it is privacy that forbids it, and not a
/// field that is called otherwise by now.
#[cfg(test)]
mod from_inside {
    use super::*;

    const _: fn(ClientClaims) -> HeldCertificate = HeldCertificate;
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Mutex;

    use policies::digest::Digest;
    use policies::time::Window;
    use proptest::prelude::*;
    use rustls::{AlertDescription, ClientConnection, HandshakeKind, ServerConnection};

    use super::*;
    use crate::proof::tests::login_with;
    use crate::proof::{Face, Factors, NotProven};
    use crate::ssh_ca::fresh_key;
    pub(super) use crate::tls::tests::ca;
    use crate::tls::tests::flight;
    use crate::tls::{client_config, first_contact_config};
    use crate::token::SignedRequest;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
    const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 8));
    const NAME: &str = "modbus.plc-7.gate.example";

    pub(super) fn deployment() -> DeploymentId {
        "mill-3".parse().unwrap()
    }

    pub(super) fn grant() -> RequestId {
        RequestId::new(7_u128.into())
    }

    /// So many minutes from now.
    pub(super) fn minutes(n: i64) -> Timestamp {
        Timestamp::now() + jiff::SignedDuration::from_mins(n)
    }

    /// What a certificate proves that this key shows in a request made then.
    fn held(ca: &TlsCa, certificate: &str, key: &ClientKey, at: Timestamp) -> Result<HeldCertificate, NotShown> {
        let (path, body) = ("/", Digest::of_bytes(b""));
        let shown = key.show(certificate, ("GET", path, body), at, "start").unwrap();
        let signature = &shown.signature;
        let request = SignedRequest { method: "GET", path_and_query: path, body, at, start: "start", signature };
        ca.check_shown(&deployment(), &shown.token, &request, at).map(|(held, _)| held)
    }

    /// A technician's side, and what it was given.
    pub(super) struct Side {
        pub(super) key: ClientKey,
        pub(super) login: Authenticated,
        ca: TlsCa,
    }

    impl Side {
        pub(super) fn new(ca: &TlsCa) -> Self {
            let login = login_with(fresh_key("").public_key(), Face::Vendor, minutes(-30));
            Self { key: ClientKey::generate(), login, ca: ca.clone() }
        }

        fn proven(&self) -> ProvenClientKey {
            ProvenClientKey::by_signing_request(&self.key.signing_request().unwrap()).unwrap()
        }

        pub(super) fn certified_at(&self, deployment: &str, valid: Window) -> String {
            let valid = (valid.from, valid.until);
            let deployment = deployment.parse().unwrap();
            let made =
                self.ca.client_certificate(&deployment, &self.login, minutes(-30), grant(), &self.proven(), valid);
            made.unwrap()
        }

        pub(super) fn certified(&self) -> String {
            self.certified_at("mill-3", Window { from: minutes(-1), until: minutes(10) })
        }

        fn config(&self, trusting: &TlsCa, certificate: &str) -> Arc<ClientConfig> {
            self.key.config(&trusting.authorities_pem(), certificate).unwrap()
        }
    }

    /// What came of a handshake: on the gate's side, and what its client was told.
    struct Met {
        gate: Result<(), rustls::Error>,
        told: Option<AlertDescription>,
        kind: Option<HandshakeKind>,
        tickets: u32,
        proved: Option<HeldCertificate>,
    }

    fn meet(client: Arc<ClientConfig>, gate: &TlsCa, may_enter: bool) -> Met {
        let face = gate.client_face(deployment()).unwrap();
        let proved = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&proved);
        let door: MayEnter = Box::new(move |held| {
            *keep.lock().unwrap() = Some(held);
            may_enter
        });
        let config = face.handshake(NAME, Timestamp::now(), true, door).unwrap();
        let mut client = ClientConnection::new(client, NAME.try_into().unwrap()).unwrap();
        let mut server = ServerConnection::new(config).unwrap();
        let mut met = Met { gate: Ok(()), told: None, kind: None, tickets: 0, proved: None };
        for _ in 0..4 {
            flight(&mut client, &mut server);
            met.gate = met.gate.and_then(|()| server.process_new_packets().map(drop));
            flight(&mut server, &mut client);
            match client.process_new_packets() {
                Ok(_) => {}
                Err(rustls::Error::AlertReceived(alert)) => met.told = Some(alert),
                Err(error) => panic!("{error}"),
            }
        }
        assert!(met.gate.is_err() || !server.is_handshaking());
        (met.kind, met.tickets) = (server.handshake_kind(), client.tls13_tickets_received());
        met.proved = proved.lock().unwrap().take();
        met
    }

    #[test]
    fn a_certificate_of_ours_makes_its_technician_known_for_its_grant_alone() {
        let ca = ca();
        let side = Side::new(&ca);
        let met = meet(side.config(&ca, &side.certified()), &ca, true);
        assert_eq!((met.gate, met.told), (Ok(()), None));
        let held = met.proved.unwrap();
        assert_eq!((held.claims().person, held.claims().grant), (side.login.person(), grant()));
        let who = Authenticated::by_client_certificate(held, SOURCE, Timestamp::now()).unwrap();
        assert_eq!((who.person(), who.grant(), who.key()), (side.login.person(), Some(grant()), side.login.key()));
        assert_eq!((who.factors(), who.face(), who.is_complete_login()), (Factors::Certificate, Face::Vendor, false));
    }

    #[test]
    fn each_wrong_certificate_is_refused_with_an_alert_and_proves_nothing() {
        use AlertDescription::{AccessDenied, CertificateExpired, DecryptError, UnknownCA};
        let (ours, other) = (ca(), ca());
        let (side, stranger) = (Side::new(&ours), Side::new(&other));
        let at = |deployment, from, until| {
            side.certified_at(deployment, Window { from: minutes(from), until: minutes(until) })
        };
        for (what, certificate, alert) in [
            ("expired", at("mill-3", -20, -6), CertificateExpired),
            ("not yet", at("mill-3", 2, 12), CertificateExpired),
            ("another deployment", at("mill-4", -1, 10), AccessDenied),
            ("another deployment that begins alike", at("mill-33", -1, 10), AccessDenied),
        ] {
            let met = meet(side.config(&ours, &certificate), &ours, true);
            assert!(met.gate.is_err() && met.proved.is_none(), "{what}");
            assert_eq!(met.told, Some(alert), "{what}");
        }
        let met = meet(stranger.config(&ours, &stranger.certified()), &ours, true);
        assert!(met.gate.is_err() && met.proved.is_none());
        assert!(matches!(met.told, Some(UnknownCA | DecryptError)), "{:?}", met.told);
        let mut without = (*client_config(&ours.authorities_pem()).unwrap()).clone();
        without.alpn_protocols = vec![SPOKEN.to_vec()];
        let met = meet(Arc::new(without), &ours, true);
        assert_eq!(met.told, Some(AlertDescription::CertificateRequired));
        assert!(met.gate.is_err() && met.proved.is_none());
    }

    /// A client that shows this certificate with this key, whatever it is made out for.
    fn shows(ca: &TlsCa, der: CertificateDer<'static>, key: &KeyPair) -> Arc<ClientConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .with_root_certificates(roots([&ca.certificate()]).unwrap())
            .with_client_auth_cert(vec![der], key)
            .unwrap();
        Arc::new(config)
    }

    #[test]
    fn a_server_certificate_of_the_same_ca_is_no_clients_and_the_other_way_round() {
        let ca = ca();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let server =
            ca.leaf_for(&["gate.example".to_owned()], &key.subject_public_key_info(), Timestamp::now()).unwrap();
        let met = meet(shows(&ca, server, &key), &ca, true);
        assert!(met.gate.is_err() && met.proved.is_none() && met.told.is_some());

        let side = Side::new(&ca);
        let client = CertificateDer::from_pem_slice(side.certified().as_bytes()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(side.key.0.serialize_der()));
        let own = ca.certificate();
        let (parsed, root) =
            (webpki::EndEntityCert::try_from(&client).unwrap(), webpki::anchor_from_trusted_cert(&own).unwrap());
        let now = UnixTime::now();
        let algorithms = provider().signature_verification_algorithms.all;
        let is_for = |usage| {
            parsed.verify_for_usage(algorithms, std::slice::from_ref(&root), &[], now, usage, None, None).is_ok()
        };
        assert!(is_for(webpki::KeyUsage::client_auth()) && !is_for(webpki::KeyUsage::server_auth()));
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![client, ca.certificate()], key)
            .unwrap();
        let config = Arc::new(config);
        for trusting in
            [client_config(&ca.authorities_pem()).unwrap(), first_contact_config(ca.fingerprint().prefix()).unwrap()]
        {
            let mut client = ClientConnection::new(trusting, NAME.try_into().unwrap()).unwrap();
            let mut server = ServerConnection::new(Arc::clone(&config)).unwrap();
            flight(&mut client, &mut server);
            server.process_new_packets().unwrap();
            flight(&mut server, &mut client);
            assert!(matches!(client.process_new_packets(), Err(rustls::Error::InvalidCertificate(_))));
        }
    }

    #[test]
    fn whoever_may_not_enter_is_told_so_after_they_proved_their_key() {
        let ca = ca();
        let side = Side::new(&ca);
        let met = meet(side.config(&ca, &side.certified()), &ca, false);
        assert_eq!(met.told, Some(AlertDescription::AccessDenied));
        assert!(met.gate.is_err());
        assert_eq!(met.proved.unwrap().claims().person, side.login.person());
    }

    #[test]
    fn a_second_connection_proves_its_key_anew() {
        let ca = ca();
        let side = Side::new(&ca);
        let client = side.config(&ca, &side.certified());
        let first = meet(client.clone(), &ca, true);
        let second = meet(client, &ca, true);
        assert_eq!((first.kind, second.kind), (Some(HandshakeKind::Full), Some(HandshakeKind::Full)));
        assert!(first.tickets == 0 && second.proved.is_some());
    }

    #[test]
    fn a_changed_byte_makes_a_certificate_worthless() {
        let ca = ca();
        let side = Side::new(&ca);
        let der = CertificateDer::from_pem_slice(side.certified().as_bytes()).unwrap();
        for at in (0..der.len()).step_by(7) {
            let mut changed = der.to_vec();
            changed[at] ^= 1;
            let pem = pem(&CertificateDer::from(changed));
            assert!(held(&ca, &pem, &side.key, Timestamp::now()).is_err(), "byte {at}");
        }
        assert!(held(&ca, &pem(&der), &side.key, Timestamp::now()).is_ok());
    }

    #[test]
    fn a_certificate_is_shown_by_its_own_key_while_it_lasts() {
        let (ours, other) = (ca(), ca());
        let (side, stranger) = (Side::new(&ours), Side::new(&other));
        let certificate = side.certified();
        let renew = |certificate: &str, key: &ClientKey, at| {
            held(&ours, certificate, key, at).map(|held| held.claims().clone())
        };
        let not_held = |why| Err(NotShown::Held(why));
        let claims = renew(&certificate, &side.key, Timestamp::now()).unwrap();
        assert_eq!((claims.person, claims.grant, claims.source), (side.login.person(), grant(), SOURCE));
        assert_eq!(Some(claims.key), side.login.key());
        assert_eq!(renew(&certificate, &ClientKey::generate(), Timestamp::now()), Err(NotShown::Signature));
        assert_eq!(renew(&certificate, &side.key, claims.until), not_held(NotHeld::Expired));
        assert_eq!(renew(&certificate, &side.key, minutes(11)), not_held(NotHeld::Expired));
        assert_eq!(renew(&stranger.certified(), &stranger.key, Timestamp::now()), not_held(NotHeld::Invalid));
        let elsewhere = side.certified_at("mill-4", Window { from: minutes(-1), until: minutes(10) });
        assert_eq!(renew(&elsewhere, &side.key, Timestamp::now()), not_held(NotHeld::Invalid));
        let public = side.key.0.subject_public_key_info();
        let server = ours.leaf_for(&["gate.example".to_owned()], &public, Timestamp::now()).unwrap();
        assert_eq!(renew(&pem(&server), &side.key, Timestamp::now()), not_held(NotHeld::Invalid));
    }

    #[test]
    fn a_certificate_counts_from_its_own_address_within_its_time() {
        let ca = ca();
        let side = Side::new(&ca);
        let certificate = side.certified();
        let by = |source, now| {
            let held = held(&ca, &certificate, &side.key, Timestamp::now()).unwrap();
            Authenticated::by_client_certificate(held, source, now)
        };
        assert!(by(SOURCE, Timestamp::now()).is_ok());
        assert_eq!(by(ELSEWHERE, Timestamp::now()).unwrap_err(), NotProven::OtherSource);
        assert_eq!(by(SOURCE, minutes(11)).unwrap_err(), NotProven::TooLate);
        assert_eq!(by(SOURCE, minutes(-40)).unwrap_err(), NotProven::ClockSetBack);
    }

    #[test]
    fn none_is_made_out_for_longer_than_a_quarter_of_an_hour_or_for_another_grant() {
        let ca = ca();
        let side = Side::new(&ca);
        let now = Timestamp::now();
        let make = |who: &Authenticated, grant, until| {
            ca.client_certificate(&deployment(), who, now, grant, &side.proven(), (now, until)).map(drop)
        };
        assert!(make(&side.login, grant(), LASTS_MAX.after(now)).is_ok());
        for until in [now, Seconds(LASTS_MAX.0 + 1).after(now)] {
            assert!(matches!(make(&side.login, grant(), until), Err(NoClientCertificate::Time)));
        }
        let held = held(&ca, &side.certified(), &side.key, now).unwrap();
        let served = Authenticated::by_client_certificate(held, SOURCE, now).unwrap();
        assert!(make(&served, grant(), Seconds(60).after(now)).is_ok());
        let other = make(&served, RequestId::new(8_u128.into()), Seconds(60).after(now));
        assert!(matches!(other, Err(NoClientCertificate::OtherGrant)));
    }

    #[test]
    fn a_signing_request_is_signed_by_its_own_key_which_is_p_256() {
        let request = ClientKey::generate().signing_request().unwrap();
        let ProvenClientKey(key) = ProvenClientKey::by_signing_request(&request).unwrap();
        let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let other = CertificateParams::default().serialize_request(&other).unwrap().pem().unwrap();
        assert_eq!(ProvenClientKey::by_signing_request(&other).unwrap_err(), BadSigningRequest::Algorithm);
        let der = pem_body(&request);
        for at in (0..der.len()).step_by(5) {
            let mut changed = der.clone();
            changed[at] ^= 1;
            let text = pem(&CertificateDer::from(changed)).replace("CERTIFICATE", "CERTIFICATE REQUEST");
            // Some bytes of the frame mean nothing; what is taken is the key that signed.
            if let Ok(taken) = ProvenClientKey::by_signing_request(&text) {
                assert_eq!(taken.0, key, "byte {at}");
            }
        }
    }

    fn pem_body(text: &str) -> Vec<u8> {
        let lines = text.lines().filter(|line| !line.starts_with('-')).collect::<String>();
        data_encoding::BASE64.decode(lines.as_bytes()).unwrap()
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", ClientKey::generate()), "ClientKey(..)");
    }

    proptest! {
        #[test]
        fn what_a_certificate_says_reads_back_and_of_no_other_deployment(
            person: u128, grant: u128, key: [u8; 32], signed_in in 0..4_000_000_000_i64, until in 0..4_000_000_000_i64,
            source: IpAddr, deployment in "[a-z0-9]{1,8}", other in "[a-z0-9]{1,8}",
        ) {
            let claims = ClientClaims {
                person: PersonId::new(person.into()),
                grant: RequestId::new(grant.into()),
                key: Fingerprint::Sha256(key),
                signed_in: Timestamp::from_second(signed_in).unwrap(),
                until: Timestamp::from_second(until).unwrap(),
                source,
            };
            let (deployment, other) = (deployment.parse().unwrap(), other.parse().unwrap());
            let uri = claims.uri(&deployment);
            prop_assert_eq!(ClientClaims::of_uri(&uri, &other).is_some(), other == deployment);
            prop_assert_eq!(ClientClaims::of_uri(&format!("{uri}/x"), &deployment), None);
            prop_assert_eq!(ClientClaims::of_uri(&uri, &deployment), Some(claims));
        }

        #[test]
        fn no_text_makes_a_reader_panic(text: String) {
            prop_assert_eq!(ClientClaims::of_uri(&text, &deployment()), None);
            prop_assert!(ProvenClientKey::by_signing_request(&text).is_err());
        }
    }
}

//! The gate's SSH certificate authority: host certificates for the inner session, user certificates of `holdpoint
//! login`, short-lived certificates towards targets; and the check of a user certificate, which is ours to make because
//! russh looks only at dates and arithmetic. Which person a name belongs to is not known here.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use policies::ids::SessionId;
use policies::time::{Seconds, Window};
use ssh_key::certificate::{Builder, CertType};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{Algorithm, Certificate, Fingerprint, HashAlg, PrivateKey, PublicKey};

use crate::chance;
use crate::keys::Seed;
use crate::ring::{Ring, Turning};
use crate::vault::wire::{Ask, SshDraft};
use crate::vault::{Line, VaultFault};

/// The longest a user or target certificate lives: it stands for both factors, and nothing can take it back.
pub const LASTS_MAX: Seconds = Seconds(3600);

/// How long before its first moment a certificate is valid already, for targets whose clock is a little behind.
const BACKDATED: Seconds = Seconds(60);

/// The gate's SSH CA, as it is now. Cheap to clone; `Debug` shows the public half.
#[derive(Clone)]
pub struct SshCa(Turning<Keys>);

struct Keys {
    signing: Signing,
    ring: Ring<PublicKey>,
}

enum Signing {
    Here(Box<PrivateKey>),
    InVault(Line),
}

/// What a certificate was asked for and cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotCertify {
    /// A certificate without principals is valid for everyone (PROTOCOL.certkeys).
    #[error(
        "a certificate needs at least one principal, and none may be empty: without, it would be valid for everyone"
    )]
    NoPrincipal,
    /// Longer than [`LASTS_MAX`].
    #[error("a certificate that stands for a person lasts at most one hour")]
    TooLong,
    /// Ends before it begins, or lies before 1970.
    #[error("the certificate would end before it begins")]
    NoTime,
    /// Text of the vault's or the gate's that is no key or certificate.
    #[error("this is no key or certificate of OpenSSH's form")]
    Unreadable,
    /// The vault does not answer, or will not.
    #[error(transparent)]
    Vault(#[from] VaultFault),
}

impl SshCa {
    pub(crate) fn here(seeds: &Ring<Seed>) -> Self {
        let key = |seed: &Seed| key_from_seed(seed, "holdpoint-ca");
        let ring = seeds.map(|seed| key(seed).public_key().clone());
        Self(Turning::new(Keys { signing: Signing::Here(Box::new(key(&seeds.now.key))), ring }))
    }

    #[cfg(test)]
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        Self::here(&Ring::alone((*seed).into(), Timestamp::UNIX_EPOCH))
    }

    pub(crate) fn in_vault(line: Line, ring: Ring<PublicKey>) -> Self {
        Self(Turning::new(Keys { signing: Signing::InVault(line), ring }))
    }

    pub(crate) fn turn_to(&self, other: &Self) {
        self.0.turn_to(&other.0);
    }

    pub(crate) fn ring(&self) -> Ring<PublicKey> {
        self.0.now().ring.clone()
    }

    /// The public half of the key that signs.
    pub fn public_key(&self) -> PublicKey {
        self.0.now().ring.now.key.clone()
    }

    /// The public halves of those whose certificates count here.
    pub fn believed(&self) -> Vec<PublicKey> {
        self.0.now().ring.believed().cloned().collect()
    }

    /// The lines for a technician's `known_hosts`, one for each key that signs or will: every host certificate of theirs is
    /// to be believed.
    pub fn known_hosts_lines(&self) -> String {
        let lines: Vec<_> = self.announced().into_iter().map(|key| format!("@cert-authority * {key}")).collect();
        lines.join("\n")
    }

    /// The same while something of it is new to whoever was away: while there is a next key or a last one.
    pub fn renewed_known_hosts(&self) -> Option<String> {
        let Ring { next, last, .. } = self.ring();
        (next.is_some() || last.is_some()).then(|| self.known_hosts_lines())
    }

    /// The lines of the file that `TrustedUserCAKeys` of a target names, likewise.
    pub fn trusted_user_ca_keys(&self) -> String {
        self.announced().join("\n")
    }

    fn announced(&self) -> Vec<String> {
        self.0.now().ring.announced().map(text).collect()
    }

    /// A host certificate for the names in `principals` (one at least).
    pub fn host_certificate(
        &self,
        public_key: &PublicKey,
        principals: &[String],
        valid: Window,
    ) -> Result<Certificate, CannotCertify> {
        self.certify(&SshDraft::Host { key: text(public_key), principals: principals.to_vec(), valid })
    }

    /// The certificate of `holdpoint login`: stands for both factors of one person, from one address, for at most
    /// [`LASTS_MAX`]. `principal` is the person's id as text. The caller must hold a complete login of that person from
    /// `source_address` ([`crate::proof::Authenticated::is_complete_login`]), never one made by a certificate.
    pub fn user_certificate(
        &self,
        public_key: &PublicKey,
        principal: &str,
        source_address: IpAddr,
        valid: Window,
        serial: u64,
        key_id: &str,
    ) -> Result<Certificate, CannotCertify> {
        let (key, principal, key_id) = (text(public_key), principal.to_owned(), key_id.to_owned());
        self.certify(&SshDraft::User { key, principal, source: source_address, valid, serial, key_id })
    }

    /// A certificate for logging in at a target as `user`, for a session that goes on, for at most [`LASTS_MAX`]. It begins
    /// a minute early, for a target whose clock is a little behind. The target trusts it by `TrustedUserCAKeys`. A vault
    /// gives it only where it knows by itself that this session goes on and leads to that account.
    pub fn target_certificate(
        &self,
        public_key: &PublicKey,
        user: &str,
        valid: Window,
        session: SessionId,
    ) -> Result<Certificate, CannotCertify> {
        self.certify(&SshDraft::Target { key: text(public_key), user: user.to_owned(), valid, session })
    }

    pub(crate) fn certify(&self, draft: &SshDraft) -> Result<Certificate, CannotCertify> {
        match &self.0.now().signing {
            Signing::Here(ca) => {
                Ok(begun(draft)?.sign(&**ca).expect("an Ed25519 key signs any certificate that has principals"))
            }
            Signing::InVault(line) => {
                let made = line.text(&Ask::SshCertificate(draft.clone()))?;
                Certificate::from_openssh(&made).map_err(|_| CannotCertify::Unreadable)
            }
        }
    }
}

fn text(key: &PublicKey) -> String {
    key.to_openssh().expect("a public key has a text form")
}

/// A certificate as it is before it is signed.
fn begun(draft: &SshDraft) -> Result<Builder, CannotCertify> {
    let parsed = |key: &str| PublicKey::from_openssh(key).map_err(|_| CannotCertify::Unreadable);
    match draft {
        SshDraft::Host { key, principals, valid } => {
            let draft = Draft { principals, valid: *valid, kind: CertType::Host, serial: 0, key_id: "holdpoint host" };
            draft.begin(&parsed(key)?)
        }
        SshDraft::User { key, principal, source, valid, serial, key_id } => {
            at_most(*valid, LASTS_MAX)?;
            let principals = [principal.clone()];
            let (kind, serial) = (CertType::User, *serial);
            let draft = Draft { principals: &principals, valid: *valid, kind, serial, key_id };
            let mut builder = draft.begin(&parsed(key)?)?;
            set(builder.critical_option(SOURCE_ADDRESS, source.to_canonical().to_string()));
            set(builder.extension("permit-pty", ""));
            set(builder.extension("permit-port-forwarding", ""));
            Ok(builder)
        }
        SshDraft::Target { key, user, valid, .. } => {
            at_most(*valid, LASTS_MAX)?;
            let from = valid.from.checked_sub(BACKDATED.duration()).map_err(|_| CannotCertify::NoTime)?;
            let principals = [user.clone()];
            let serial = u64::from_be_bytes(chance::public());
            let valid = Window { from, ..*valid };
            let draft = Draft { principals: &principals, valid, kind: CertType::User, serial, key_id: "holdpoint" };
            let mut builder = draft.begin(&parsed(key)?)?;
            set(builder.extension("permit-pty", ""));
            Ok(builder)
        }
    }
}

fn at_most(valid: Window, longest: Seconds) -> Result<(), CannotCertify> {
    if valid.until <= longest.after(valid.from) { Ok(()) } else { Err(CannotCertify::TooLong) }
}

struct Draft<'a> {
    principals: &'a [String],
    valid: Window,
    kind: CertType,
    serial: u64,
    key_id: &'a str,
}

impl Draft<'_> {
    fn begin(self, public_key: &PublicKey) -> Result<Builder, CannotCertify> {
        if self.principals.is_empty() || self.principals.iter().any(String::is_empty) {
            return Err(CannotCertify::NoPrincipal);
        }
        let nonce = chance::public::<{ Builder::RECOMMENDED_NONCE_SIZE }>();
        let from = unix(self.valid.from).ok_or(CannotCertify::NoTime)?;
        let until = unix(self.valid.until).filter(|until| *until > from).ok_or(CannotCertify::NoTime)?;
        let mut builder =
            Builder::new(nonce, public_key.key_data().clone(), from, until).map_err(|_| CannotCertify::NoTime)?;
        set(builder.cert_type(self.kind));
        set(builder.serial(self.serial));
        set(builder.key_id(self.key_id));
        for principal in self.principals {
            set(builder.valid_principal(principal));
        }
        Ok(builder)
    }
}

fn set(field: ssh_key::Result<&mut Builder>) {
    field.expect("each field of a certificate is set once");
}

fn unix(at: Timestamp) -> Option<u64> {
    u64::try_from(at.as_second()).ok()
}

impl fmt::Debug for SshCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SshCa({})", self.public_key().fingerprint(HashAlg::Sha256))
    }
}

/// A user certificate that passed every check of [`check_user_certificate`]. Not `Clone`.
/// ```compile_fail
/// use certs::ssh_ca::CheckedCertificate;
/// fn for_ever(one: CheckedCertificate) -> CheckedCertificate {
///     CheckedCertificate { valid_until: jiff::Timestamp::MAX, ..one }
/// }
/// ```
/// ```compile_fail
/// fn twice(one: &certs::ssh_ca::CheckedCertificate) -> certs::ssh_ca::CheckedCertificate {
///     one.clone()
/// }
/// ```
/// ```
/// fn once(one: certs::ssh_ca::CheckedCertificate) -> certs::ssh_ca::CheckedCertificate {
///     one
/// }
/// ```
#[derive(Debug)]
pub struct CheckedCertificate {
    principal: String,
    serial: u64,
    valid_until: Timestamp,
    source: IpAddr,
    key: Fingerprint,
}

impl CheckedCertificate {
    /// The person's id as text.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// The serial number the CA gave it.
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// The first moment at which it is no longer valid.
    pub const fn valid_until(&self) -> Timestamp {
        self.valid_until
    }

    /// The address it is bound to.
    pub const fn source(&self) -> IpAddr {
        self.source
    }

    /// SHA-256 of the key it certifies. Whether the person holds that key is for the SSH handshake to prove.
    pub const fn key(&self) -> Fingerprint {
        self.key
    }
}

/// Why a certificate does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Signed by another key than our CA's.
    #[error("this certificate is not from this gate: run `holdpoint login` again")]
    OtherCa,
    /// The CA's signature is not over this certificate.
    #[error("the certificate was altered after it was signed")]
    Signature,
    /// A host certificate.
    #[error("this is a host's certificate, not a person's")]
    NotAUser,
    /// Not made out to exactly this person.
    #[error("this certificate is made out to somebody else")]
    Principal,
    /// No address it is bound to, or not exactly one.
    #[error("this certificate is not bound to one address")]
    NoSource,
    /// Shown from another address than it is bound to.
    #[error("this certificate is good from {bound} only, and you come from {from}: run `holdpoint login` from here")]
    Source {
        /// Where it may be used.
        bound: IpAddr,
        /// Where it was used.
        from: IpAddr,
    },
    /// A critical option that is not `source-address`: what it demands cannot be done, so the certificate does not count.
    #[error("this certificate has the option {0:?}, which does not go with this gate")]
    Option(String),
    /// Its time has not come.
    #[error("this certificate is not valid yet: compare the clocks of this machine and the gate")]
    TooEarly,
    /// Its time is over.
    #[error("this certificate has expired: run `holdpoint login` again")]
    Expired,
    /// Made out for more than an hour.
    #[error("this certificate is made out for more than an hour, which this gate does not accept")]
    TooLong,
}

const SOURCE_ADDRESS: &str = "source-address";

/// Checks what russh does not: that one of `cas` signed this certificate, for a user, for exactly this principal, with no
/// critical option but `source-address`, which is one address and `source`; valid at `now`, for no longer than
/// [`LASTS_MAX`] in all. (OpenSSH's PROTOCOL.certkeys; a network in `source-address` is refused, since we sign none.)
pub fn check_user_certificate(
    certificate: &Certificate,
    cas: &[PublicKey],
    now: Timestamp,
    source: IpAddr,
    principal: &str,
) -> Result<CheckedCertificate, Rejected> {
    signed_by_one_of(certificate, cas)?;
    if certificate.cert_type() != CertType::User {
        return Err(Rejected::NotAUser);
    }
    if certificate.valid_principals() != [principal] || principal.is_empty() {
        return Err(Rejected::Principal);
    }
    Ok(CheckedCertificate {
        principal: principal.to_owned(),
        serial: certificate.serial(),
        source: bound_to(certificate, source.to_canonical())?,
        valid_until: in_time(certificate, now)?,
        key: certificate.public_key().fingerprint(HashAlg::Sha256),
    })
}

/// The CA's own key is Ed25519, so no other algorithm is of use here.
fn signed_by_one_of(certificate: &Certificate, cas: &[PublicKey]) -> Result<(), Rejected> {
    let ca = cas.iter().find(|ca| certificate.signature_key() == ca.key_data()).ok_or(Rejected::OtherCa)?;
    if certificate.signature().algorithm() != Algorithm::Ed25519 {
        return Err(Rejected::OtherCa);
    }
    // Dates are judged in `in_time`, with words of their own; here they are made to pass.
    let fingerprint = ca.fingerprint(HashAlg::Sha256);
    certificate.validate_at(certificate.valid_after(), [&fingerprint]).map_err(|_| Rejected::Signature)
}

fn bound_to(certificate: &Certificate, source: IpAddr) -> Result<IpAddr, Rejected> {
    if let Some(name) = certificate.critical_options().keys().find(|name| *name != SOURCE_ADDRESS) {
        return Err(Rejected::Option(name.chars().take(64).collect()));
    }
    let text = certificate.critical_options().get(SOURCE_ADDRESS).ok_or(Rejected::NoSource)?;
    let bound = text.parse::<IpAddr>().map_err(|_| Rejected::NoSource)?.to_canonical();
    if bound == source { Ok(bound) } else { Err(Rejected::Source { bound, from: source }) }
}

fn in_time(certificate: &Certificate, now: Timestamp) -> Result<Timestamp, Rejected> {
    let moment = |seconds: u64| i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let from = moment(certificate.valid_after()).ok_or(Rejected::TooEarly)?;
    let until = moment(certificate.valid_before()).ok_or(Rejected::TooLong)?;
    if now < from {
        return Err(Rejected::TooEarly);
    }
    if now >= until {
        return Err(Rejected::Expired);
    }
    if until > LASTS_MAX.after(from) { Err(Rejected::TooLong) } else { Ok(until) }
}

/// An Ed25519 key nobody else has: for a login at a target that a certificate vouches for, or for a person's first key.
pub fn fresh_key(comment: &str) -> PrivateKey {
    key_from_seed(&chance::secret(), comment)
}

/// The Ed25519 key of this seed.
pub(crate) fn key_from_seed(seed: &[u8; 32], comment: &str) -> PrivateKey {
    PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(seed)), comment)
        .expect("an Ed25519 key pair is a private key")
}

/// What the documentation shows not to compile elsewhere compiles in here: so it is privacy that forbids it, and not a
/// field that is called otherwise by now.
#[cfg(test)]
mod from_inside {
    use super::*;

    const _: fn(CheckedCertificate) -> CheckedCertificate =
        |one| CheckedCertificate { valid_until: Timestamp::MAX, ..one };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ca_key() -> PrivateKey {
        key_from_seed(&[1; 32], "")
    }

    fn session() -> SessionId {
        "s_00000000000000000000000001".parse().unwrap()
    }

    const PERSON: &str = "p_00000000000000000000000001";
    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn window(from: i64, until: i64) -> Window {
        Window { from: at(from), until: at(until) }
    }

    fn ca() -> SshCa {
        SshCa::from_seed(&[1; 32])
    }

    /// A certificate that passes at 1000, before `change`.
    fn good_but(change: impl FnOnce(&mut Builder)) -> Certificate {
        built(CertType::User, &[PERSON], window(900, 1_900), Some("192.0.2.7"), change)
    }

    fn built(
        kind: CertType,
        principals: &[&str],
        valid: Window,
        source: Option<&str>,
        change: impl FnOnce(&mut Builder),
    ) -> Certificate {
        let (from, until) = (unix(valid.from).unwrap(), unix(valid.until).unwrap());
        let mut builder = Builder::new([0; 16], fresh_key("").public_key(), from, until).unwrap();
        set(builder.cert_type(kind));
        set(builder.all_principals_valid());
        principals.iter().for_each(|principal| set(builder.valid_principal(*principal)));
        if let Some(source) = source {
            set(builder.critical_option(SOURCE_ADDRESS, source));
        }
        change(&mut builder);
        builder.sign(&ca_key()).unwrap()
    }

    fn check(certificate: &Certificate) -> Result<CheckedCertificate, Rejected> {
        check_user_certificate(certificate, &ca().believed(), at(1_000), SOURCE, PERSON)
    }

    fn rejected(certificate: &Certificate) -> Rejected {
        check(certificate).unwrap_err()
    }

    #[test]
    fn our_own_certificate_passes_and_says_what_it_said() {
        let key = fresh_key("");
        let certificate =
            ca().user_certificate(key.public_key(), PERSON, SOURCE, window(1_000, 4_600), 7, "kim").unwrap();
        let checked = check(&certificate).unwrap();
        assert_eq!((checked.principal(), checked.serial(), checked.source()), (PERSON, 7, SOURCE));
        assert_eq!((checked.valid_until(), checked.key()), (at(4_600), key.fingerprint(HashAlg::Sha256)));
    }

    #[test]
    fn the_certificate_all_flips_start_from_passes() {
        assert!(check(&good_but(|_| ())).is_ok());
        assert!(check(&good_but(|builder| set(builder.extension("permit-pty", "")))).is_ok());
    }

    #[test]
    fn another_ca_is_refused() {
        let certificate = good_but(|_| ());
        let other = SshCa::from_seed(&[2; 32]);
        let checked = check_user_certificate(&certificate, &other.believed(), at(1_000), SOURCE, PERSON);
        assert_eq!(checked.unwrap_err(), Rejected::OtherCa);
    }

    #[test]
    fn a_certificate_of_the_key_before_or_after_counts_as_one_of_now() {
        let seed = |byte| Some(crate::ring::Member { key: [byte; 32].into(), since: Timestamp::UNIX_EPOCH });
        let certificate = good_but(|_| ());
        let alone = Ring::alone([2; 32].into(), Timestamp::UNIX_EPOCH);
        for seeds in [Ring { next: seed(1), ..alone.clone() }, Ring { last: seed(1), ..alone }] {
            let (ca, is_announced) = (SshCa::here(&seeds), seeds.next.is_some());
            assert!(check_user_certificate(&certificate, &ca.believed(), at(1_000), SOURCE, PERSON).is_ok());
            assert_eq!(ca.public_key(), SshCa::from_seed(&[2; 32]).public_key());
            assert_eq!(ca.known_hosts_lines().lines().count(), 1 + usize::from(is_announced));
        }
    }

    #[test]
    fn an_altered_certificate_is_refused() {
        let mut bytes = good_but(|builder| set(builder.key_id("kim"))).to_bytes().unwrap();
        let name = bytes.windows(3).position(|window| window == b"kim").unwrap();
        bytes[name] = b'J';
        assert_eq!(rejected(&Certificate::from_bytes(&bytes).unwrap()), Rejected::Signature);
    }

    #[test]
    fn a_host_certificate_is_refused() {
        let host = built(CertType::Host, &[PERSON], window(900, 1_900), Some("192.0.2.7"), |_| ());
        assert_eq!(rejected(&host), Rejected::NotAUser);
    }

    #[test]
    fn a_certificate_for_nobody_somebody_else_or_more_than_one_is_refused() {
        for principals in [&[][..], &["p_other"], &[PERSON, "p_other"], &["p_other", PERSON]] {
            let certificate = built(CertType::User, principals, window(900, 1_900), Some("192.0.2.7"), |_| ());
            assert_eq!(rejected(&certificate), Rejected::Principal, "{principals:?}");
        }
    }

    #[test]
    fn a_certificate_bound_to_no_one_address_is_refused() {
        for source in [None, Some("192.0.2.0/24"), Some("192.0.2.7,192.0.2.8"), Some("*")] {
            let certificate = built(CertType::User, &[PERSON], window(900, 1_900), source, |_| ());
            assert_eq!(rejected(&certificate), Rejected::NoSource, "{source:?}");
        }
    }

    #[test]
    fn a_certificate_from_another_address_is_refused() {
        let bound = "192.0.2.8".parse().unwrap();
        let certificate = built(CertType::User, &[PERSON], window(900, 1_900), Some("192.0.2.8"), |_| ());
        assert_eq!(rejected(&certificate), Rejected::Source { bound, from: SOURCE });
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_is_the_same_address() {
        let mapped = "::ffff:192.0.2.7".parse().unwrap();
        let certificate = good_but(|_| ());
        assert!(check_user_certificate(&certificate, &ca().believed(), at(1_000), mapped, PERSON).is_ok());
        let key = fresh_key("");
        let made = ca().user_certificate(key.public_key(), PERSON, mapped, window(900, 1_900), 0, "").unwrap();
        assert!(check(&made).is_ok());
    }

    #[test]
    fn any_other_critical_option_is_refused() {
        for (name, value) in [("force-command", "/bin/true"), ("verify-required", ""), ("a-new-one", "x")] {
            let certificate = good_but(|builder| set(builder.critical_option(name, value)));
            assert_eq!(rejected(&certificate), Rejected::Option(name.to_owned()));
        }
    }

    #[test]
    fn a_certificate_counts_from_its_first_moment_until_before_its_last() {
        let certificate = good_but(|_| ());
        let check = |second| check_user_certificate(&certificate, &ca().believed(), at(second), SOURCE, PERSON);
        assert_eq!(check(899).unwrap_err(), Rejected::TooEarly);
        assert!(check(900).is_ok() && check(1_899).is_ok());
        assert_eq!(check(1_900).unwrap_err(), Rejected::Expired);
    }

    #[test]
    fn a_certificate_of_more_than_an_hour_is_refused() {
        for until in [900 + 3_601, 1 << 33] {
            let long = built(CertType::User, &[PERSON], window(900, until), Some("192.0.2.7"), |_| ());
            assert_eq!(rejected(&long), Rejected::TooLong);
        }
        let mut builder = Builder::new([0; 16], fresh_key("").public_key(), 900, u64::MAX).unwrap();
        set(builder.cert_type(CertType::User));
        set(builder.valid_principal(PERSON));
        set(builder.critical_option(SOURCE_ADDRESS, "192.0.2.7"));
        assert_eq!(rejected(&builder.sign(&ca_key()).unwrap()), Rejected::TooLong);
    }

    #[test]
    fn what_must_not_be_certified_is_not() {
        let (ca, key) = (ca(), fresh_key(""));
        let key = key.public_key();
        let user = |name: &str, until| ca.user_certificate(key, name, SOURCE, window(900, until), 0, "").map(drop);
        assert_eq!(user("", 901), Err(CannotCertify::NoPrincipal));
        assert_eq!(user(PERSON, 900 + 3_601), Err(CannotCertify::TooLong));
        assert_eq!(user(PERSON, 900), Err(CannotCertify::NoTime));
        assert_eq!(ca.host_certificate(key, &[], window(0, 9)).map(drop), Err(CannotCertify::NoPrincipal));
        assert_eq!(
            ca.target_certificate(key, "maint", window(900, 9_999), session()).map(drop),
            Err(CannotCertify::TooLong)
        );
        assert_eq!(
            ca.target_certificate(key, "maint", window(-90, -9), session()).map(drop),
            Err(CannotCertify::NoTime)
        );
    }

    #[test]
    fn a_target_certificate_is_no_login_here() {
        let certificate =
            ca().target_certificate(fresh_key("").public_key(), PERSON, window(900, 1_900), session()).unwrap();
        assert_eq!(rejected(&certificate), Rejected::NoSource);
    }

    #[test]
    fn debug_shows_no_private_key() {
        assert!(format!("{:?}", ca()).starts_with("SshCa(SHA256:"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_check_panic_and_no_changed_bit_passes(at: prop::sample::Index, bit in 0_u8..8, junk: Vec<u8>) {
            let _ = Certificate::from_bytes(&junk).map(|certificate| check(&certificate));
            let mut bytes = good_but(|_| ()).to_bytes().unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(certificate) = Certificate::from_bytes(&bytes) {
                prop_assert!(check(&certificate).is_err());
            }
        }
    }
}

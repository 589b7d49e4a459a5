//! Who somebody has proved to be, as values: each is made by one check, only from the proofs of the factors it needs,
//! and cannot be copied. What an [`Authenticated`] person may do is decided by rules, not here.
//!
//! Nobody makes one by hand, or of another:
//! ```compile_fail
//! use certs::proof::Authenticated;
//! fn older(one: Authenticated) -> Authenticated {
//!     Authenticated { at: jiff::Timestamp::UNIX_EPOCH, ..one }
//! }
//! ```
//! ```compile_fail
//! use certs::proof::VerifiedKey;
//! fn of_somebody_else(person: policies::ids::PersonId, one: VerifiedKey) -> VerifiedKey {
//!     VerifiedKey { person, ..one }
//! }
//! ```
//! ```compile_fail
//! use certs::proof::RecentLogin;
//! fn just_now(at: jiff::Timestamp, one: RecentLogin) -> RecentLogin {
//!     RecentLogin { at, ..one }
//! }
//! ```
//! or twice of one, although one may be handed on:
//! ```compile_fail
//! fn twice(one: &certs::proof::Authenticated) -> certs::proof::Authenticated {
//!     one.clone()
//! }
//! ```
//! ```compile_fail
//! fn twice(one: &certs::proof::VerifiedKey) -> certs::proof::VerifiedKey {
//!     one.clone()
//! }
//! ```
//! ```compile_fail
//! fn twice(one: &certs::proof::RecentLogin) -> certs::proof::RecentLogin {
//!     one.clone()
//! }
//! ```
//! ```
//! use certs::proof::{Authenticated, RecentLogin, VerifiedKey};
//! fn once(one: (Authenticated, VerifiedKey, RecentLogin)) -> (Authenticated, VerifiedKey, RecentLogin) {
//!     one
//! }
//! ```
//! and a key that was only offered, its signature not checked, is no [`VerifiedKey`]:
//! ```compile_fail
//! use certs::proof::{Authenticated, Face};
//! fn too_easy(offered: ssh_key::PublicKey, code: certs::totp::SpentCode, now: jiff::Timestamp) {
//!     let _ = Authenticated::by_key_and_code(offered, code, Face::Vendor, [127, 0, 0, 1].into(), now);
//! }
//! ```
//! A proof is used up by what it proves, so one code does not serve two logins:
//! ```compile_fail
//! use certs::proof::{Authenticated, Face, VerifiedKey};
//! fn twice(a: VerifiedKey, b: VerifiedKey, code: certs::totp::SpentCode, now: jiff::Timestamp) {
//!     let _ = Authenticated::by_key_and_code(a, code, Face::Vendor, [127, 0, 0, 1].into(), now);
//!     let _ = Authenticated::by_key_and_code(b, code, Face::Vendor, [127, 0, 0, 1].into(), now);
//! }
//! ```
//! ```
//! use certs::proof::{Authenticated, Face, VerifiedKey};
//! fn once(a: VerifiedKey, code: certs::totp::SpentCode, now: jiff::Timestamp) {
//!     let _ = Authenticated::by_key_and_code(a, code, Face::Vendor, [127, 0, 0, 1].into(), now);
//! }
//! ```

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use policies::digest::Digest;
use policies::ids::{PersonId, ProviderName, RequestId};
use policies::time::Seconds;
use serde::{Deserialize, Serialize};
use ssh_key::{Fingerprint, HashAlg, PublicKey};

use crate::oidc::IdToken;
use crate::passkey::BadPasskey;
use crate::password::VerifiedPassword;
use crate::secrets::Secrets;
use crate::ssh_ca::CheckedCertificate;
use crate::sshsig::{self, BadSignature, Namespace, SignatureKind};
use crate::tls_client::{ClientClaims, HeldCertificate};
use crate::token::{CheckedToken, ProvenRequest};
use crate::totp::{CodeKind, SpentCode};
use crate::vault::VaultFault;

/// Where somebody signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Face {
    /// Technicians.
    Vendor,
    /// Operators, auditors, administrators.
    Plant,
}

/// What somebody proved. Weaker ones are told apart in the journal and on the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Factors {
    /// An SSH key and a code of an authenticator app.
    KeyAndTotp,
    /// An SSH key and a recovery code.
    KeyAndRecoveryCode,
    /// A password and a code of an authenticator app.
    PasswordAndTotp,
    /// A password and a recovery code.
    PasswordAndRecoveryCode,
    /// A certificate of `holdpoint login` or `holdpoint connect`, which stands for both.
    Certificate,
    /// An SSH key, and a complete login of the same key, source and grant within `factor_lasts`.
    KeyAndRecentLogin,
    /// A passkey, which checked who held it: two factors in one.
    Passkey,
    /// The word of an identity provider, and a code of an authenticator app.
    OidcAndTotp,
    /// The word of an identity provider, and a recovery code.
    OidcAndRecoveryCode,
    /// The word of an identity provider alone, who says that it asked for several factors, and is believed in that.
    Oidc,
    /// An SSH key alone: of a sensor or display, which has nobody beside it who could give a code.
    UnattendedKey,
}

/// That a signature by this person's SSH key was checked. Not `Clone`.
#[derive(Debug)]
pub struct VerifiedKey {
    person: PersonId,
    key: Fingerprint,
}

/// Why a login signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefused {
    /// The signature itself.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// A security key that nobody touched.
    #[error("touch the security key")]
    NotTouched,
    /// A passkey's answer to a page, given elsewhere.
    #[error("a passkey signs in on the gate's pages alone")]
    Passkey,
}

impl VerifiedKey {
    /// From a signature in the namespace [`Namespace::Login`] over `message`
    /// ([`sshsig::login_message`] with a nonce of ours that has not been used). The caller knows that `key` is this
    /// person's. A security key must have been touched.
    pub fn by_login_signature(
        person: PersonId,
        key: &PublicKey,
        message: &[u8],
        signature_pem: &str,
    ) -> Result<Self, LoginRefused> {
        match sshsig::verify(key, Namespace::Login, message, signature_pem)? {
            SignatureKind::SecurityKey { user_present: false, .. } => Err(LoginRefused::NotTouched),
            SignatureKind::Passkey { .. } => Err(LoginRefused::Passkey),
            SignatureKind::SecurityKey { .. } | SignatureKind::Plain => {
                Ok(Self { person, key: key.fingerprint(HashAlg::Sha256) })
            }
        }
    }

    /// After an SSH server has checked the signature of `publickey` user authentication (RFC 4252, 7). The evidence is
    /// the protocol's state, which no type can carry here: to be called in one place, russh's `auth_publickey` (or
    /// `auth_openssh_certificate`) callback, and never in `auth_publickey_offered`, where nothing is proved.
    pub fn after_ssh_userauth_signature(person: PersonId, key: &PublicKey) -> Self {
        Self { person, key: key.fingerprint(HashAlg::Sha256) }
    }

    /// Whose key.
    pub const fn person(&self) -> PersonId {
        self.person
    }

    /// Which key.
    pub const fn key(&self) -> Fingerprint {
        self.key
    }
}

/// That an answer by this person's passkey was checked, made on a page of ours. Not `Clone`.
#[derive(Debug)]
pub struct VerifiedPasskey {
    person: PersonId,
    key: Fingerprint,
}

impl VerifiedPasskey {
    /// From an answer to a challenge in the namespace [`Namespace::Login`] over `message`
    /// ([`sshsig::login_message`] with a nonce of ours that has not been used). The caller knows that `key` is this
    /// person's.
    pub fn by_login(
        person: PersonId,
        key: &PublicKey,
        message: &[u8],
        signature_pem: &str,
    ) -> Result<Self, LoginRefused> {
        match sshsig::verify(key, Namespace::Login, message, signature_pem)? {
            SignatureKind::Passkey { .. } => Ok(Self { person, key: key.fingerprint(HashAlg::Sha256) }),
            _ => Err(BadSignature::Passkey(BadPasskey::Kind).into()),
        }
    }
}

/// That an identity provider knows this person, just now: one factor, or several where it says so and is believed. Not `Clone`.
#[derive(Debug)]
pub struct VerifiedSubject {
    person: PersonId,
    provider: ProviderName,
    subject: Digest,
    has_several_factors: bool,
}

impl VerifiedSubject {
    /// Of an ID token that passed every check. The caller knows that its subject is linked to this person.
    ///
    /// # Errors
    /// The vault does not answer.
    #[expect(clippy::needless_pass_by_value, reason = "a proof is used up by what it proves")]
    pub fn by_id_token(person: PersonId, token: IdToken, secrets: &Secrets) -> Result<Self, VaultFault> {
        Ok(Self {
            person,
            provider: token.provider().clone(),
            subject: token.subject(secrets)?,
            has_several_factors: token.has_several_factors(),
        })
    }

    /// Who.
    pub const fn person(&self) -> PersonId {
        self.person
    }

    /// By which provider.
    pub const fn provider(&self) -> &ProviderName {
        &self.provider
    }

    /// As which subject of it.
    pub const fn subject(&self) -> Digest {
        self.subject
    }

    /// Whether it suffices by itself.
    pub const fn has_several_factors(&self) -> bool {
        self.has_several_factors
    }
}

/// A person who has proved to be one, on one face, from one address. Not `Clone`; `Debug` has no secret to show.
pub struct Authenticated {
    person: PersonId,
    factors: Factors,
    face: Face,
    source: IpAddr,
    key: Option<Fingerprint>,
    subject: Option<(ProviderName, Digest)>,
    at: Timestamp,
    complete: bool,
    grant: Option<RequestId>,
}

/// Why proofs do not add up to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// The factors are two people's.
    #[error("key and code belong to different people")]
    DifferentPeople,
    /// Another key than the one that was proved before.
    #[error("this is another key than the one you signed in with")]
    OtherKey,
    /// Another address than before.
    #[error("you come from another address than the one you signed in from")]
    OtherSource,
    /// Another grant than before.
    #[error("you signed in for another grant: give a code for this one")]
    OtherGrant,
    /// Too long ago.
    #[error("your sign-in is too long ago: give a code again")]
    TooLate,
    /// The clock stands before what it is compared with.
    #[error("the gate's clock was set back: give a code again")]
    ClockSetBack,
    /// One factor, where two are wanted.
    #[error("your company's sign-in is one factor: a code of your own app, or a passkey, is the other")]
    OneFactor,
    /// The proof of a request with another token.
    #[error("the request was signed for another token")]
    OtherToken,
}

#[expect(clippy::needless_pass_by_value, reason = "a proof is used up by what it proves")]
impl Authenticated {
    /// The technician's and operator's way: a key whose signature was checked, and a code that is spent.
    pub fn by_key_and_code(
        key: VerifiedKey,
        code: SpentCode,
        face: Face,
        source: IpAddr,
        now: Timestamp,
    ) -> Result<Self, NotProven> {
        let factors = match code.kind() {
            CodeKind::Totp => Factors::KeyAndTotp,
            CodeKind::Recovery => Factors::KeyAndRecoveryCode,
        };
        same_person(key.person, code.person())?;
        Ok(Self::new(key.person, factors, face, source, Some(key.key), now, true))
    }

    /// A passkey on a page: what it is, and that it knew who held it.
    pub fn by_passkey(passkey: VerifiedPasskey, face: Face, source: IpAddr, now: Timestamp) -> Self {
        Self::new(passkey.person, Factors::Passkey, face, source, Some(passkey.key), now, true)
    }

    /// The word of an identity provider, and a code of the gate's own.
    ///
    /// # Errors
    /// They are two people's.
    pub fn by_subject_and_code(
        subject: VerifiedSubject,
        code: SpentCode,
        face: Face,
        source: IpAddr,
        now: Timestamp,
    ) -> Result<Self, NotProven> {
        same_person(subject.person, code.person())?;
        let factors = match code.kind() {
            CodeKind::Totp => Factors::OidcAndTotp,
            CodeKind::Recovery => Factors::OidcAndRecoveryCode,
        };
        Ok(Self::of_subject(subject, factors, face, source, now))
    }

    /// The word of an identity provider that asked for several factors itself.
    ///
    /// # Errors
    /// It did not, or is not believed in that.
    pub fn by_subject(subject: VerifiedSubject, face: Face, source: IpAddr, now: Timestamp) -> Result<Self, NotProven> {
        match subject.has_several_factors {
            true => Ok(Self::of_subject(subject, Factors::Oidc, face, source, now)),
            false => Err(NotProven::OneFactor),
        }
    }

    fn of_subject(subject: VerifiedSubject, factors: Factors, face: Face, source: IpAddr, now: Timestamp) -> Self {
        let VerifiedSubject { person, provider, subject, .. } = subject;
        Self { subject: Some((provider, subject)), ..Self::new(person, factors, face, source, None, now, true) }
    }

    /// The way of what stands unattended: a key whose signature was checked. The caller knows that the key's holder is a
    /// sensor, which reads what passes, or a display, which sees and cuts; neither may do anything else.
    pub fn by_unattended_key(key: VerifiedKey, source: IpAddr, now: Timestamp) -> Self {
        Self::new(key.person, Factors::UnattendedKey, Face::Plant, source, Some(key.key), now, true)
    }

    /// Where passwords are enabled.
    pub fn by_password_and_code(
        password: VerifiedPassword,
        code: SpentCode,
        face: Face,
        source: IpAddr,
        now: Timestamp,
    ) -> Result<Self, NotProven> {
        let factors = match code.kind() {
            CodeKind::Totp => Factors::PasswordAndTotp,
            CodeKind::Recovery => Factors::PasswordAndRecoveryCode,
        };
        same_person(password.person(), code.person())?;
        Ok(Self::new(password.person(), factors, face, source, None, now, true))
    }

    /// A certificate that passed every check, and a signature by the key it certifies.
    pub fn by_certificate(
        certificate: CheckedCertificate,
        key: VerifiedKey,
        face: Face,
        source: IpAddr,
        now: Timestamp,
    ) -> Result<Self, NotProven> {
        if certificate.principal() != key.person.to_string() {
            return Err(NotProven::DifferentPeople);
        }
        if certificate.key() != key.key {
            return Err(NotProven::OtherKey);
        }
        same_source(certificate.source(), source)?;
        if now >= certificate.valid_until() {
            return Err(NotProven::TooLate);
        }
        Ok(Self::new(key.person, Factors::Certificate, face, source, Some(key.key), now, false))
    }

    /// A client certificate of the TCP face that passed every check, and the proof of its key. It serves its one grant, and
    /// stands for the SSH key that its holder signed in with, at the time of that.
    pub fn by_client_certificate(held: HeldCertificate, source: IpAddr, now: Timestamp) -> Result<Self, NotProven> {
        let claims = held.claims();
        same_source(claims.source, source)?;
        if now < claims.signed_in {
            return Err(NotProven::ClockSetBack);
        }
        if now >= claims.until {
            return Err(NotProven::TooLate);
        }
        let ClientClaims { person, key, signed_in, grant, .. } = *claims;
        let proved = Self::new(person, Factors::Certificate, Face::Vendor, source, Some(key), signed_in, false);
        Ok(Self { grant: Some(grant), ..proved })
    }

    /// A token, and the proof that its holder made this very request. Face and factors are those of the sign-in.
    pub fn by_token(
        token: CheckedToken,
        request: ProvenRequest,
        source: IpAddr,
        now: Timestamp,
    ) -> Result<Self, NotProven> {
        if !request.is_for(&token) {
            return Err(NotProven::OtherToken);
        }
        Ok(Self::new(token.person(), token.factors(), token.face(), source, Some(token.key()), now, false))
    }

    /// A further connection under `factor_lasts`: a complete login of the same key, from the same address, for the same
    /// grant, at most `lasts` ago. It prolongs nothing: only a complete login makes a [`RecentLogin`].
    pub fn by_recent_login(
        login: &RecentLogin,
        key: VerifiedKey,
        source: IpAddr,
        grant: RequestId,
        lasts: Seconds,
        now: Timestamp,
    ) -> Result<Self, NotProven> {
        same_person(login.person, key.person)?;
        if login.key != key.key {
            return Err(NotProven::OtherKey);
        }
        same_source(login.source, source)?;
        if login.grant != grant {
            return Err(NotProven::OtherGrant);
        }
        if now < login.at {
            return Err(NotProven::ClockSetBack);
        }
        if now >= lasts.after(login.at) {
            return Err(NotProven::TooLate);
        }
        let proved = Self::new(key.person, Factors::KeyAndRecentLogin, login.face, source, Some(key.key), now, false);
        Ok(Self { grant: Some(grant), ..proved })
    }

    fn new(
        person: PersonId,
        factors: Factors,
        face: Face,
        source: IpAddr,
        key: Option<Fingerprint>,
        at: Timestamp,
        complete: bool,
    ) -> Self {
        let source = source.to_canonical();
        Self { person, factors, face, source, key, subject: None, at, complete, grant: None }
    }

    /// Who.
    pub const fn person(&self) -> PersonId {
        self.person
    }

    /// By what.
    pub const fn factors(&self) -> Factors {
        self.factors
    }

    /// Where.
    pub const fn face(&self) -> Face {
        self.face
    }

    /// From which address (an IPv4 address in IPv6 form is given as IPv4).
    pub const fn source(&self) -> IpAddr {
        self.source
    }

    /// The key's SHA-256 fingerprint; none after a password.
    pub const fn key(&self) -> Option<Fingerprint> {
        self.key
    }

    /// As which subject of which identity provider; none where no provider vouched.
    pub const fn subject(&self) -> Option<&(ProviderName, Digest)> {
        self.subject.as_ref()
    }

    /// When it was proved.
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// The one grant that this serves, where a recent login stands in for the code.
    pub const fn grant(&self) -> Option<RequestId> {
        self.grant
    }

    /// Whether both factors were given just now. Only then may a token or a certificate be made out, or later
    /// connections be let in under `factor_lasts`: else one login could be prolonged for ever.
    pub const fn is_complete_login(&self) -> bool {
        self.complete
    }
}

fn same_person(a: PersonId, b: PersonId) -> Result<(), NotProven> {
    if a == b { Ok(()) } else { Err(NotProven::DifferentPeople) }
}

fn same_source(a: IpAddr, b: IpAddr) -> Result<(), NotProven> {
    if a.to_canonical() == b.to_canonical() { Ok(()) } else { Err(NotProven::OtherSource) }
}

impl fmt::Debug for Authenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authenticated({}, {:?}, {:?}, {})", self.person, self.factors, self.face, self.source)
    }
}

/// A complete login with a key, kept for `factor_lasts`. Its moment is to come from a clock that counts suspend and is
/// never set back.
#[derive(Debug)]
pub struct RecentLogin {
    person: PersonId,
    key: Fingerprint,
    source: IpAddr,
    face: Face,
    grant: RequestId,
    at: Timestamp,
}

impl RecentLogin {
    /// Remembers this login for further connections under `grant`; none where it was not a complete one, or had no key.
    pub fn of(login: &Authenticated, grant: RequestId) -> Option<Self> {
        let key = login.key.filter(|_| login.complete)?;
        Some(Self { person: login.person, key, source: login.source, face: login.face, grant, at: login.at })
    }

    /// When it was.
    pub const fn at(&self) -> Timestamp {
        self.at
    }
}

/// What the documentation shows not to compile elsewhere compiles in here: so it is privacy that forbids it, and not a
/// field that is called otherwise by now.
#[cfg(test)]
mod from_inside {
    use super::*;

    const _: fn(Authenticated) -> Authenticated = |one| Authenticated { at: Timestamp::UNIX_EPOCH, ..one };
    const _: fn(PersonId, VerifiedKey) -> VerifiedKey = |person, one| VerifiedKey { person, ..one };
    const _: fn(Timestamp, RecentLogin) -> RecentLogin = |at, one| RecentLogin { at, ..one };
}

#[cfg(test)]
pub(crate) mod tests {
    use policies::time::Window;
    use ssh_key::PrivateKey;

    use super::*;
    use crate::password::StoredPassword;
    use crate::ssh_ca::{SshCa, check_user_certificate, fresh_key};
    use crate::sshsig::{login_message, sign_with};
    use crate::totp::tests::{Steps, now_or_never, person, sealed_for};
    use crate::totp::{TotpSecret, check_code};

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
    const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 8));

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn code_of(person: PersonId) -> SpentCode {
        let secret = TotpSecret::generate();
        let code = secret.code_at(at(0));
        now_or_never(check_code(&sealed_for(&secret, person), &code, at(0), &Steps::default())).unwrap()
    }

    /// A person made of their key, so that two keys are two people.
    pub(crate) fn person_of(key: &PublicKey) -> PersonId {
        let hash = key.fingerprint(HashAlg::Sha256);
        person(hash.as_bytes().iter().take(15).fold(0, |n, byte| n << 8 | u128::from(*byte)))
    }

    pub(crate) fn login_with(key: &PublicKey, face: Face, now: Timestamp) -> Authenticated {
        let verified = VerifiedKey::after_ssh_userauth_signature(person_of(key), key);
        Authenticated::by_key_and_code(verified, code_of(person_of(key)), face, SOURCE, now).unwrap()
    }

    fn verified(key: &PrivateKey) -> VerifiedKey {
        VerifiedKey::after_ssh_userauth_signature(person_of(key.public_key()), key.public_key())
    }

    #[test]
    fn a_key_and_a_code_make_a_person_only_if_both_are_theirs() {
        let key = fresh_key("");
        let person = person_of(key.public_key());
        let proved =
            Authenticated::by_key_and_code(verified(&key), code_of(person), Face::Vendor, SOURCE, at(7)).unwrap();
        assert_eq!((proved.person(), proved.factors(), proved.face()), (person, Factors::KeyAndTotp, Face::Vendor));
        assert_eq!((proved.source(), proved.at(), proved.is_complete_login()), (SOURCE, at(7), true));
        assert_eq!(proved.key(), Some(key.fingerprint(HashAlg::Sha256)));
        let stranger = code_of(tests::person(1));
        let refused = Authenticated::by_key_and_code(verified(&key), stranger, Face::Vendor, SOURCE, at(7));
        assert_eq!(refused.unwrap_err(), NotProven::DifferentPeople);
    }

    #[test]
    fn a_password_and_a_code_make_a_person_only_if_both_are_theirs() {
        let stored = StoredPassword::new("correct horse battery").unwrap();
        let verify = || stored.verify(person(1), "correct horse battery").unwrap();
        let by = |code| Authenticated::by_password_and_code(verify(), code, Face::Vendor, SOURCE, at(0));
        let proved = by(code_of(person(1))).unwrap();
        assert_eq!((proved.factors(), proved.key()), (Factors::PasswordAndTotp, None));
        assert_eq!(by(code_of(person(2))).unwrap_err(), NotProven::DifferentPeople);
        assert!(RecentLogin::of(&proved, RequestId::new(1_u128.into())).is_none());
    }

    #[test]
    fn a_login_signature_proves_the_key_for_this_origin_and_nonce_only() {
        let key = fresh_key("");
        let message = login_message("https://gate.example", &[1; 32]);
        let pem = sign_with(&key, Namespace::Login, &message).unwrap();
        let verify = |message: &[u8], pem: &str| {
            VerifiedKey::by_login_signature(person(1), key.public_key(), message, pem).map(|verified| verified.person())
        };
        assert_eq!(verify(&message, &pem), Ok(person(1)));
        for other in [login_message("https://evil.example", &[1; 32]), login_message("https://gate.example", &[2; 32])]
        {
            assert_eq!(verify(&other, &pem), Err(BadSignature::Wrong.into()));
        }
        let approval = sign_with(&key, Namespace::Approval, &message).unwrap();
        assert!(matches!(verify(&message, &approval), Err(LoginRefused::Signature(BadSignature::Namespace { .. }))));
    }

    #[test]
    fn a_security_key_has_to_be_touched_to_sign_in() {
        for (flags, expected) in [(0, Err(LoginRefused::NotTouched)), (1, Ok(()))] {
            let (key, pem) = sshsig::tests::security_key("ssh:", Namespace::Login, b"x", flags);
            assert_eq!(VerifiedKey::by_login_signature(person(1), &key, b"x", &pem).map(drop), expected);
        }
    }

    #[test]
    fn a_passkey_alone_makes_a_person_and_another_key_does_not() {
        let message = login_message("https://gate.example", &[1; 32]);
        let passkey = crate::passkey::tests::Authenticator::new("gate.example");
        let pem = passkey.sign(Namespace::Login, &message, "https://gate.example");
        let verified = VerifiedPasskey::by_login(person(1), &passkey.key(), &message, &pem).unwrap();
        let proved = Authenticated::by_passkey(verified, Face::Plant, SOURCE, at(7));
        assert_eq!((proved.person(), proved.factors(), proved.face()), (person(1), Factors::Passkey, Face::Plant));
        assert_eq!((proved.source(), proved.at(), proved.is_complete_login()), (SOURCE, at(7), true));
        let elsewhere = VerifiedKey::by_login_signature(person(1), &passkey.key(), &message, &pem);
        assert_eq!(elsewhere.map(drop), Err(LoginRefused::Passkey));
        let approval = passkey.sign(Namespace::Approval, &message, "https://gate.example");
        assert!(VerifiedPasskey::by_login(person(1), &passkey.key(), &message, &approval).is_err());
        let key = fresh_key("");
        let pem = sign_with(&key, Namespace::Login, &message).unwrap();
        assert!(VerifiedPasskey::by_login(person(1), key.public_key(), &message, &pem).is_err());
    }

    #[test]
    fn a_providers_word_makes_a_person_with_a_code_of_theirs_or_where_it_asked_for_several_factors_itself() {
        let secrets = Secrets::with_key(&[1; 32]);
        let known = |several| {
            VerifiedSubject::by_id_token(person(1), crate::oidc::tests::token_of("a", several), &secrets).unwrap()
        };
        let with = |code| Authenticated::by_subject_and_code(known(false), code, Face::Plant, SOURCE, at(7));
        let proved = with(code_of(person(1))).unwrap();
        assert_eq!((proved.person(), proved.factors(), proved.key()), (person(1), Factors::OidcAndTotp, None));
        assert_eq!(proved.subject(), Some(&("acme".parse().unwrap(), known(false).subject())));
        assert!(proved.is_complete_login() && RecentLogin::of(&proved, RequestId::new(1_u128.into())).is_none());
        assert_eq!(with(code_of(person(2))).unwrap_err(), NotProven::DifferentPeople);
        let alone = |several| Authenticated::by_subject(known(several), Face::Plant, SOURCE, at(7));
        assert_eq!(alone(true).unwrap().factors(), Factors::Oidc);
        assert_eq!(alone(false).unwrap_err(), NotProven::OneFactor);
    }

    #[test]
    fn a_certificate_counts_with_its_own_key_person_and_address_until_it_ends() {
        let (ca, key, other) = (SshCa::from_seed(&[1; 32]), fresh_key(""), fresh_key(""));
        let principal = person_of(key.public_key()).to_string();
        let valid = Window { from: at(1_000), until: at(2_000) };
        let certificate = ca.user_certificate(key.public_key(), &principal, SOURCE, valid, 1, "").unwrap();
        let by = |key: VerifiedKey, source, now| {
            let checked = check_user_certificate(&certificate, &ca.believed(), at(1_000), SOURCE, &principal).unwrap();
            Authenticated::by_certificate(checked, key, Face::Vendor, source, at(now))
        };
        let proved = by(verified(&key), SOURCE, 1_999).unwrap();
        assert_eq!((proved.factors(), proved.is_complete_login()), (Factors::Certificate, false));
        assert_eq!(by(verified(&other), SOURCE, 1_000).unwrap_err(), NotProven::DifferentPeople);
        let same_person = VerifiedKey::after_ssh_userauth_signature(person_of(key.public_key()), other.public_key());
        assert_eq!(by(same_person, SOURCE, 1_000).unwrap_err(), NotProven::OtherKey);
        assert_eq!(by(verified(&key), ELSEWHERE, 1_000).unwrap_err(), NotProven::OtherSource);
        assert_eq!(by(verified(&key), SOURCE, 2_000).unwrap_err(), NotProven::TooLate);
    }

    #[test]
    fn a_recent_login_serves_the_same_key_source_and_grant_for_its_time_and_prolongs_nothing() {
        let (key, other) = (fresh_key(""), fresh_key(""));
        let (grant, another) = (RequestId::new(1_u128.into()), RequestId::new(2_u128.into()));
        let login = login_with(key.public_key(), Face::Vendor, at(1_000));
        let recent = RecentLogin::of(&login, grant).unwrap();
        let by = |key: VerifiedKey, source, grant, lasts, now| {
            Authenticated::by_recent_login(&recent, key, source, grant, Seconds(lasts), at(now))
        };
        let proved = by(verified(&key), SOURCE, grant, 600, 1_599).unwrap();
        assert_eq!((proved.factors(), proved.is_complete_login()), (Factors::KeyAndRecentLogin, false));
        assert_eq!((login.grant(), proved.grant()), (None, Some(grant)));
        assert!(RecentLogin::of(&proved, grant).is_none());
        assert_eq!(by(verified(&other), SOURCE, grant, 600, 1_000).unwrap_err(), NotProven::DifferentPeople);
        let same_person = VerifiedKey::after_ssh_userauth_signature(person_of(key.public_key()), other.public_key());
        assert_eq!(by(same_person, SOURCE, grant, 600, 1_000).unwrap_err(), NotProven::OtherKey);
        assert_eq!(by(verified(&key), ELSEWHERE, grant, 600, 1_000).unwrap_err(), NotProven::OtherSource);
        assert_eq!(by(verified(&key), SOURCE, another, 600, 1_000).unwrap_err(), NotProven::OtherGrant);
        assert_eq!(by(verified(&key), SOURCE, grant, 600, 999).unwrap_err(), NotProven::ClockSetBack);
        assert_eq!(by(verified(&key), SOURCE, grant, 600, 1_600).unwrap_err(), NotProven::TooLate);
        assert_eq!(by(verified(&key), SOURCE, grant, 0, 1_000).unwrap_err(), NotProven::TooLate);
    }

    #[test]
    fn debug_names_the_person_and_no_secret() {
        let key = fresh_key("");
        let shown = format!("{:?}", login_with(key.public_key(), Face::Plant, at(0)));
        assert_eq!(shown, format!("Authenticated({}, KeyAndTotp, Plant, 192.0.2.7)", person_of(key.public_key())));
    }
}

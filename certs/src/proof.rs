//! Who somebody has proved to be, as values: each is made by one check, only from the proofs of the factors it needs,
//! and cannot be copied. What an [`Authenticated`] person may do is decided by rules, not here.
//!
//! Nobody makes one by hand:
//! ```compile_fail
//! let nobody = certs::proof::Authenticated { at: jiff::Timestamp::UNIX_EPOCH };
//! ```
//! or twice of one:
//! ```compile_fail
//! fn twice(one: &certs::proof::Authenticated) -> certs::proof::Authenticated {
//!     one.clone()
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

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use policies::ids::{PersonId, RequestId};
use policies::time::Seconds;
use serde::{Deserialize, Serialize};
use ssh_key::{Fingerprint, HashAlg, PublicKey};

use crate::password::VerifiedPassword;
use crate::ssh_ca::CheckedCertificate;
use crate::sshsig::{self, BadSignature, Namespace, SignatureKind};
use crate::token::{CheckedToken, ProvenRequest};
use crate::totp::{CodeKind, SpentCode};

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
    /// A certificate of `holdpoint login`, which stands for both.
    Certificate,
    /// An SSH key, and a complete login of the same key, source and grant within `factor_lasts`.
    KeyAndRecentLogin,
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
            _ => Ok(Self { person, key: key.fingerprint(HashAlg::Sha256) }),
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

/// A person who has proved to be one, on one face, from one address. Not `Clone`; `Debug` has no secret to show.
pub struct Authenticated {
    person: PersonId,
    factors: Factors,
    face: Face,
    source: IpAddr,
    key: Option<Fingerprint>,
    at: Timestamp,
    complete: bool,
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
        Ok(Self::new(key.person, Factors::KeyAndRecentLogin, login.face, source, Some(key.key), now, false))
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
        Self { person, factors, face, source: source.to_canonical(), key, at, complete }
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

    /// When it was proved.
    pub const fn at(&self) -> Timestamp {
        self.at
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

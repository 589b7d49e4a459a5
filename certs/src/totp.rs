//! Codes that work once: TOTP (RFC 6238: six digits, 30 seconds, SHA-1, because every authenticator app does that and
//! some silently do nothing else) and recovery codes. Where secrets and used steps are kept is the directory's business.

use std::fmt;
use std::future::Future;

use data_encoding::BASE32_NOPAD;
use jiff::Timestamp;
use policies::digest::Digest;
use policies::ids::PersonId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use totp_rs::{Algorithm, Builder, Totp};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::chance;
use crate::secrets::{CannotOpen, Secrets};
use crate::vault::VaultFault;

/// How long one step lasts, in seconds.
pub const STEP_SECONDS: u64 = 30;

const DIGITS: usize = 6;
/// RFC 4226, section 4, R6: 160 bits are recommended.
const SECRET_BYTES: usize = 20;

/// What an authenticator app and the gate share. Wiped when dropped; `Debug` shows nothing; leaves this type only as the
/// texts a person scans or types, or sealed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct TotpSecret([u8; SECRET_BYTES]);

impl TotpSecret {
    /// A new one.
    pub fn generate() -> Self {
        Self(*chance::secret())
    }

    /// From its base32 text, spaces allowed.
    pub fn from_base32(text: &str) -> Option<Self> {
        let letters: Zeroizing<String> =
            Zeroizing::new(text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_uppercase()).collect());
        let bytes = Zeroizing::new(BASE32_NOPAD.decode(letters.as_bytes()).ok()?);
        Some(Self(bytes.as_slice().try_into().ok()?))
    }

    /// For typing into an app by hand: 32 letters and digits.
    pub fn base32(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE32_NOPAD.encode(&self.0))
    }

    /// For the QR code (the Key URI format of Google Authenticator). Colons in the names become spaces, since the format
    /// divides by them.
    pub fn otpauth_url(&self, issuer: &str, account: &str) -> Zeroizing<String> {
        let totp = self
            .builder()
            .with_issuer(Some(issuer.replace(':', " ")))
            .with_account_name(account.replace(':', " "))
            .build_noncompliant();
        Zeroizing::new(totp.to_url().expect("names without colons make a URL"))
    }

    /// The code an app shows at `at`.
    pub fn code_at(&self, at: Timestamp) -> Zeroizing<String> {
        self.code_of(step_at(at))
    }

    /// Sealed for the directory, bound to the person.
    ///
    /// # Errors
    /// The vault does not answer.
    pub fn seal(&self, secrets: &Secrets, person: PersonId) -> Result<Vec<u8>, VaultFault> {
        secrets.seal_labelled(&label(person), &self.0)
    }

    pub(crate) fn of_bytes(bytes: &[u8]) -> Result<Self, CannotOpen> {
        Ok(Self(bytes.try_into().map_err(|_| CannotOpen::Damaged)?))
    }

    /// The step whose code this is: the one before, this or the next. All three are computed and compared, whichever matches.
    pub(crate) fn matching_step(&self, code: &str, now: u64) -> Option<u64> {
        let given = Zeroizing::new(code.chars().filter(|c| !c.is_whitespace()).take(DIGITS + 1).collect::<String>());
        [now.checked_sub(1), Some(now), now.checked_add(1)]
            .into_iter()
            .flatten()
            .map(|step| (step, chance::same(self.code_of(step).as_bytes(), given.as_bytes())))
            .fold(None, |found, (step, matches)| if matches { Some(step) } else { found })
    }

    fn code_of(&self, step: u64) -> Zeroizing<String> {
        let totp: Totp = self.builder().build_noncompliant();
        Zeroizing::new(totp.generate(step.saturating_mul(STEP_SECONDS)).to_string())
    }

    fn builder(&self) -> Builder {
        Builder::new()
            .with_algorithm(Algorithm::SHA1)
            .with_digits(6)
            .with_skew(0)
            .with_step_duration(STEP_SECONDS)
            .with_secret(self.0.to_vec())
    }
}

/// What a person's secret is sealed under.
pub(crate) fn label(person: PersonId) -> String {
    format!("totp/{person}")
}

/// The step whose code apps show at a moment.
pub(crate) fn step_at(at: Timestamp) -> u64 {
    u64::try_from(at.as_second()).unwrap_or(0) / STEP_SECONDS
}

/// The last step whose code [`check_code`] may have taken until a moment.
pub fn last_step_taken(until: Timestamp) -> u64 {
    step_at(until) + 1
}

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret(..)")
    }
}

/// Somebody's secret as the directory has it: whoever holds the keys can compare a code with it, and nobody else can do
/// anything. `Debug` shows nothing.
pub struct SealedTotp {
    secrets: Secrets,
    person: PersonId,
    sealed: Vec<u8>,
}

impl SealedTotp {
    /// What [`TotpSecret::seal`] made for this person.
    pub const fn new(secrets: Secrets, person: PersonId, sealed: Vec<u8>) -> Self {
        Self { secrets, person, sealed }
    }
}

impl fmt::Debug for SealedTotp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedTotp(..)")
    }
}

/// Remembers which step of a person was used last. Kept by the directory.
pub trait SpendStep {
    /// Marks `step` as used. `false`: this step or a later one was used already. `true` only once that is durable, so a
    /// code works once across nodes and power cuts.
    fn spend(&self, person: PersonId, step: u64) -> impl Future<Output = Result<bool, SpendFault>> + Send;
}

/// Takes a recovery code out of those a person has left. Kept by the directory.
pub trait SpendRecovery {
    /// Removes the code of this hash. `false`: it is not there any more. `true` only once that is durable.
    fn spend(&self, person: PersonId, code: RecoveryHash) -> impl Future<Output = Result<bool, SpendFault>> + Send;
}

/// The use of a code could not be made durable, so the code does not count.
#[derive(Debug, thiserror::Error)]
#[error("the use of a code could not be kept: {0}")]
pub struct SpendFault(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// That this person gave a code that nobody can give again. Not `Clone`.
/// ```compile_fail
/// use certs::totp::{CodeKind, SpentCode};
/// fn unspent(person: policies::ids::PersonId) -> SpentCode {
///     SpentCode { person, kind: CodeKind::Totp }
/// }
/// ```
/// ```compile_fail
/// fn twice(one: &certs::totp::SpentCode) -> certs::totp::SpentCode {
///     one.clone()
/// }
/// ```
/// ```
/// fn once(one: certs::totp::SpentCode) -> certs::totp::SpentCode {
///     one
/// }
/// ```
#[derive(Debug)]
pub struct SpentCode {
    person: PersonId,
    kind: CodeKind,
}

/// Which kind of code it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeKind {
    /// From an authenticator app.
    Totp,
    /// A recovery code.
    Recovery,
}

impl SpentCode {
    /// Whose it was.
    pub const fn person(&self) -> PersonId {
        self.person
    }

    /// What it was.
    pub const fn kind(&self) -> CodeKind {
        self.kind
    }
}

/// Why a code does not count. The person is told the same in the first two cases.
#[derive(Debug, thiserror::Error)]
pub enum CodeRefused {
    /// Not a code of this time.
    #[error("this code is wrong or too old: compare your phone's clock with the gate's, and give the next code")]
    Wrong,
    /// Right, and used before.
    #[error("this code was used already: wait for the next one")]
    Used,
    /// It may be right, but its use could not be kept.
    #[error(transparent)]
    Fault(#[from] SpendFault),
    /// The secret does not open, or nobody is there to open it.
    #[error(transparent)]
    Sealed(#[from] CannotOpen),
}

/// Checks a code of the step before, this one or the next (RFC 6238, 5.2: one step for clocks and slow fingers), and
/// spends its step. Takes as long for a wrong code as for a right one, up to the spending. Spaces in the code are allowed.
pub async fn check_code(
    secret: &SealedTotp,
    code: &str,
    now: Timestamp,
    steps: &impl SpendStep,
) -> Result<SpentCode, CodeRefused> {
    let SealedTotp { secrets, person, sealed } = secret;
    let step = secrets.matching_step(*person, sealed, code, step_at(now))?.ok_or(CodeRefused::Wrong)?;
    match steps.spend(*person, step).await? {
        true => Ok(SpentCode { person: *person, kind: CodeKind::Totp }),
        false => Err(CodeRefused::Used),
    }
}

/// How many recovery codes a person gets.
pub const RECOVERY_CODES: usize = 10;

/// Ten codes for the day the phone is gone; each works once. Shown once, never kept. `Debug` shows nothing.
pub struct RecoveryCodes([Zeroizing<String>; RECOVERY_CODES]);

/// What is kept of a recovery code: SHA-256(salt ‖ code). A code has 80 random bits, so guessing it from its hash takes
/// 2^80 hashes, and no slow hash is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryHash {
    salt: [u8; 16],
    hash: Digest,
}

impl RecoveryCodes {
    /// New ones.
    pub fn generate() -> Self {
        Self(std::array::from_fn(|_| {
            Zeroizing::new(BASE32_NOPAD.encode(&*chance::secret::<10>()).to_ascii_lowercase())
        }))
    }

    /// For showing, once: four groups of four.
    pub fn shown(&self) -> impl Iterator<Item = Zeroizing<String>> + '_ {
        self.0.iter().map(|code| Zeroizing::new([&code[..4], &code[4..8], &code[8..12], &code[12..]].join("-")))
    }

    /// For keeping.
    pub fn hashes(&self) -> Vec<RecoveryHash> {
        self.0.iter().map(|code| RecoveryHash::new(chance::public(), code)).collect()
    }
}

impl fmt::Debug for RecoveryCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryCodes(..)")
    }
}

impl RecoveryHash {
    fn new(salt: [u8; 16], code: &str) -> Self {
        Self { salt, hash: Digest(Sha256::new().chain_update(salt).chain_update(code).finalize().into()) }
    }

    fn opens_with(&self, code: &str) -> bool {
        chance::same(&Self::new(self.salt, code).hash.0, &self.hash.0)
    }
}

/// Checks a recovery code against those a person has left, and spends it. Capitals, spaces and hyphens do not matter.
pub async fn check_recovery_code(
    left: &[RecoveryHash],
    person: PersonId,
    code: &str,
    spent: &impl SpendRecovery,
) -> Result<SpentCode, CodeRefused> {
    let plain = Zeroizing::new(
        code.chars().filter(|c| c.is_ascii_alphanumeric()).take(64).map(|c| c.to_ascii_lowercase()).collect::<String>(),
    );
    let found = left.iter().fold(None, |found, hash| if hash.opens_with(&plain) { Some(*hash) } else { found });
    match spent.spend(person, found.ok_or(CodeRefused::Wrong)?).await? {
        true => Ok(SpentCode { person, kind: CodeKind::Recovery }),
        false => Err(CodeRefused::Used),
    }
}

/// What the documentation shows not to compile elsewhere compiles in here: so it is privacy that forbids it, and not a
/// field that is called otherwise by now.
#[cfg(test)]
mod from_inside {
    use super::*;

    const _: fn(PersonId) -> SpentCode = |person| SpentCode { person, kind: CodeKind::Totp };
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashMap;
    use std::pin::pin;
    use std::sync::Mutex;
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use super::*;

    /// A future that never waits.
    pub(crate) fn now_or_never<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("nothing here waits"),
        }
    }

    #[derive(Default)]
    pub(crate) struct Steps(Mutex<HashMap<PersonId, u64>>);

    impl SpendStep for Steps {
        async fn spend(&self, person: PersonId, step: u64) -> Result<bool, SpendFault> {
            let mut used = self.0.lock().unwrap();
            let free = used.get(&person).is_none_or(|last| step > *last);
            if free {
                used.insert(person, step);
            }
            Ok(free)
        }
    }

    struct Broken;

    impl SpendStep for Broken {
        async fn spend(&self, _: PersonId, _: u64) -> Result<bool, SpendFault> {
            Err(SpendFault("disk".into()))
        }
    }

    #[derive(Default)]
    struct Taken(Mutex<Vec<RecoveryHash>>);

    impl SpendRecovery for Taken {
        async fn spend(&self, _: PersonId, code: RecoveryHash) -> Result<bool, SpendFault> {
            let mut taken = self.0.lock().unwrap();
            let free = !taken.contains(&code);
            taken.push(code);
            Ok(free)
        }
    }

    fn sealed(secret: &TotpSecret) -> SealedTotp {
        sealed_for(secret, person(1))
    }

    pub(crate) fn sealed_for(secret: &TotpSecret, person: PersonId) -> SealedTotp {
        let secrets = Secrets::with_key(&[5; 32]);
        let sealed = secret.seal(&secrets, person).unwrap();
        SealedTotp::new(secrets, person, sealed)
    }

    pub(crate) fn person(n: u128) -> PersonId {
        PersonId::new(n.into())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn check(secret: &TotpSecret, code: &str, second: i64, steps: &Steps) -> Result<SpentCode, CodeRefused> {
        now_or_never(check_code(&sealed(secret), code, at(second), steps))
    }

    #[test]
    fn codes_are_those_of_the_standard() {
        // RFC 6238, appendix B, SHA-1, of whose eight digits six are shown.
        let secret = TotpSecret(*b"12345678901234567890");
        for (second, code) in
            [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")]
        {
            assert_eq!(secret.code_at(at(second)).as_str(), code);
        }
    }

    #[test]
    fn a_code_counts_one_step_early_or_late_and_no_more() {
        let secret = TotpSecret::generate();
        let code = secret.code_at(at(3_000));
        for second in [2_970, 3_000, 3_059] {
            assert!(check(&secret, &code, second, &Steps::default()).is_ok(), "{second}");
        }
        for second in [2_969, 3_060] {
            assert!(matches!(check(&secret, &code, second, &Steps::default()), Err(CodeRefused::Wrong)), "{second}");
        }
    }

    #[test]
    fn a_code_works_once_and_kills_those_before_it() {
        let (secret, steps) = (TotpSecret::generate(), Steps::default());
        let (before, this) = (secret.code_at(at(2_970)), secret.code_at(at(3_000)));
        assert!(check(&secret, &this, 3_000, &steps).is_ok());
        assert!(matches!(check(&secret, &this, 3_000, &steps), Err(CodeRefused::Used)));
        assert!(matches!(check(&secret, &before, 3_000, &steps), Err(CodeRefused::Used)));
    }

    #[test]
    fn a_right_code_does_not_count_when_its_use_cannot_be_kept() {
        let secret = TotpSecret::generate();
        let code = secret.code_at(at(0));
        let checked = now_or_never(check_code(&sealed(&secret), &code, at(0), &Broken));
        assert!(matches!(checked, Err(CodeRefused::Fault(_))));
    }

    #[test]
    fn spaces_in_a_code_do_not_matter_and_anything_else_does() {
        let secret = TotpSecret::generate();
        let code = secret.code_at(at(3_000));
        let spaced = format!(" {} {}\n", &code[..3], &code[3..]);
        assert!(check(&secret, &spaced, 3_000, &Steps::default()).is_ok());
        for bad in ["", &code[1..], &format!("{}0", *code), "+00000", "٠٠٠٠٠٠"] {
            assert!(check(&secret, bad, 3_000, &Steps::default()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_texts_for_the_app_say_the_same_secret() {
        let secret = TotpSecret::generate();
        let url = secret.otpauth_url("Mill: 3", "kim");
        assert!(url.starts_with("otpauth://totp/"), "{}", *url);
        assert!(url.contains(secret.base32().as_str()) && url.contains("issuer=Mill"));
        assert_eq!(TotpSecret::from_base32(&secret.base32()).unwrap().0, secret.0);
        assert_eq!(secret.base32().len(), 32);
    }

    #[test]
    fn a_sealed_secret_opens_for_its_person_only() {
        let (secrets, secret) = (Secrets::with_key(&[3; 32]), TotpSecret::generate());
        let sealed = secret.seal(&secrets, person(1)).unwrap();
        let code = secret.code_at(at(0));
        assert_eq!(secrets.matching_step(person(1), &sealed, &code, 0), Ok(Some(0)));
        assert_eq!(secrets.matching_step(person(2), &sealed, &code, 0), Err(CannotOpen::Damaged));
    }

    #[test]
    fn a_recovery_code_works_once_however_it_is_typed() {
        let (codes, taken) = (RecoveryCodes::generate(), Taken::default());
        let left = codes.hashes();
        let typed = codes.shown().nth(3).unwrap().to_uppercase().replace('-', " ");
        let check = |code: &str| now_or_never(check_recovery_code(&left, person(1), code, &taken));
        assert_eq!(check(&typed).unwrap().kind(), CodeKind::Recovery);
        assert!(matches!(check(&typed), Err(CodeRefused::Used)));
        assert!(matches!(check("aaaa-aaaa-aaaa-aaaa"), Err(CodeRefused::Wrong)));
        assert_eq!(left.len(), 10);
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", TotpSecret::generate()), "TotpSecret(..)");
        assert_eq!(format!("{:?}", RecoveryCodes::generate()), "RecoveryCodes(..)");
    }

    proptest! {
        #[test]
        fn no_typed_text_makes_a_check_panic(code: String, second in -100_i64..10_000_000_000) {
            let secret = TotpSecret([9; 20]);
            let expected = code.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            let near = [-30, 0, 30].map(|shift| secret.code_at(at((second + shift).max(0))).to_string());
            prop_assert_eq!(check(&secret, &code, second, &Steps::default()).is_ok(), near.contains(&expected));
            let _ = TotpSecret::from_base32(&code);
        }
    }
}

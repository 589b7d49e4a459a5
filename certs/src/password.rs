//! Passwords, which count only beside a one-use code and where the plant allows them at all. Argon2id, stored in the
//! PHC string form. Whose password it is, and how often a wrong one may be tried, is decided elsewhere.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::BASE64_NOPAD;
use policies::ids::PersonId;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::chance;

/// 19 MiB, two passes, one lane: OWASP's recommendation for Argon2id (Password Storage Cheat Sheet). More memory would
/// let a handful of strangers' attempts exhaust a small gate.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// How every stored password of this program begins; hostile parameters in a damaged directory are never run.
const PREFIX: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

/// Least and most characters. The upper end keeps the work bounded.
const CHARACTERS: std::ops::RangeInclusive<usize> = 12..=256;

/// A password as it is kept. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoredPassword(String);

/// That this person gave the right password. Not `Clone`.
/// ```compile_fail
/// fn ungiven(person: policies::ids::PersonId) -> certs::password::VerifiedPassword {
///     certs::password::VerifiedPassword { person }
/// }
/// ```
/// ```compile_fail
/// fn twice(one: &certs::password::VerifiedPassword) -> certs::password::VerifiedPassword {
///     one.clone()
/// }
/// ```
/// ```
/// fn once(one: certs::password::VerifiedPassword) -> certs::password::VerifiedPassword {
///     one
/// }
/// ```
#[derive(Debug)]
pub struct VerifiedPassword {
    person: PersonId,
}

/// A password that is not taken when it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password has between 12 and 256 characters; four or five unrelated words make a good one")]
pub struct BadPassword;

/// Not the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("wrong password")]
pub struct WrongPassword;

impl StoredPassword {
    /// Hashes a new password. Takes some tens of milliseconds, so not on a thread that serves others.
    pub fn new(password: &str) -> Result<Self, BadPassword> {
        if !CHARACTERS.contains(&password.chars().count()) {
            return Err(BadPassword);
        }
        let salt = chance::public::<16>();
        let hash = argon2id(password, &salt);
        Ok(Self(format!("{PREFIX}{}${}", BASE64_NOPAD.encode(&salt), BASE64_NOPAD.encode(&*hash))))
    }

    /// One that no password opens, so that an unknown name takes as long as a wrong password.
    pub fn nobodys() -> Self {
        let (salt, hash) = (chance::public::<16>(), chance::public::<32>());
        Self(format!("{PREFIX}{}${}", BASE64_NOPAD.encode(&salt), BASE64_NOPAD.encode(&hash)))
    }

    /// Whether this is `person`'s password, compared in constant time. As slow as [`StoredPassword::new`], except for a
    /// password longer than any that is taken.
    pub fn verify(&self, person: PersonId, password: &str) -> Result<VerifiedPassword, WrongPassword> {
        let (salt, expected) = self.parts().ok_or(WrongPassword)?;
        if password.len() > CHARACTERS.end() * 4 {
            return Err(WrongPassword);
        }
        let right = chance::same(&*argon2id(password, &salt), &expected);
        right.then_some(VerifiedPassword { person }).ok_or(WrongPassword)
    }

    fn parts(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (salt, hash) = self.0.strip_prefix(PREFIX)?.split_once('$')?;
        let salt = BASE64_NOPAD.decode(salt.as_bytes()).ok().filter(|salt| salt.len() == 16)?;
        Some((salt, BASE64_NOPAD.decode(hash.as_bytes()).ok()?))
    }
}

fn argon2id(password: &str, salt: &[u8]) -> Zeroizing<[u8; 32]> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(32)).expect("the parameters are within Argon2's limits");
    let mut hash = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), salt, &mut *hash)
        .expect("salt and password are within Argon2's limits, and an allocation that fails ends the process");
    hash
}

impl VerifiedPassword {
    /// Whose it is.
    pub const fn person(&self) -> PersonId {
        self.person
    }
}

impl fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredPassword(..)")
    }
}

/// What the documentation shows not to compile elsewhere compiles in here: so it is privacy that forbids it, and not a
/// field that is called otherwise by now.
#[cfg(test)]
mod from_inside {
    use super::*;

    const _: fn(PersonId) -> VerifiedPassword = |person| VerifiedPassword { person };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::totp::tests::person;

    #[test]
    fn only_the_password_itself_opens() {
        let stored = StoredPassword::new("correct horse battery").unwrap();
        assert_eq!(stored.verify(person(1), "correct horse battery").unwrap().person(), person(1));
        for wrong in ["", "correct horse batterz", "Correct horse battery", &"x".repeat(5_000)] {
            assert!(stored.verify(person(1), wrong).is_err());
        }
    }

    #[test]
    fn short_and_endless_passwords_are_not_taken() {
        assert_eq!(StoredPassword::new("elevenchars"), Err(BadPassword));
        assert_eq!(StoredPassword::new(&"x".repeat(257)), Err(BadPassword));
    }

    #[test]
    fn the_stored_form_is_the_one_other_programs_write() {
        // python3 argon2-cffi and the reference tool `argon2` print this form.
        let stored = StoredPassword::new("correct horse battery").unwrap();
        assert_eq!(stored.0.split('$').nth(3), Some("m=19456,t=2,p=1"));
        assert_ne!(stored, StoredPassword::new("correct horse battery").unwrap());
        assert_eq!(PREFIX, format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$"));
    }

    #[test]
    fn no_password_opens_nobodys() {
        assert!(StoredPassword::nobodys().verify(person(1), "correct horse battery").is_err());
    }

    #[test]
    fn parameters_of_somebody_elses_choosing_are_not_run() {
        let stored = StoredPassword::new("correct horse battery").unwrap();
        let endless = StoredPassword(stored.0.replace("m=19456,t=2", "m=4194304,t=4294967295"));
        assert!(endless.verify(person(1), "correct horse battery").is_err());
    }

    #[test]
    fn debug_shows_no_hash() {
        assert_eq!(format!("{:?}", StoredPassword::nobodys()), "StoredPassword(..)");
    }

    proptest! {
        #[test]
        fn no_stored_text_makes_a_check_panic(text: String) {
            prop_assert!(StoredPassword(text.clone()).verify(person(1), "x").is_err());
            let framed = StoredPassword(format!("{PREFIX}{text}"));
            prop_assert!(framed.verify(person(1), "x").is_err());
        }
    }
}

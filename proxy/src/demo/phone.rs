//! The authenticator app of each person of the demo: a secret in a file, and the step that was given out last, since a
//! code works once. A real secret lies on a phone, and never beside the key.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use certs::totp::{STEP_SECONDS, TotpSecret};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::home;

/// One person's app.
pub(super) struct Phone {
    folder: PathBuf,
    secret: TotpSecret,
}

/// A code, or how long until there is one that works.
pub(super) enum Shown {
    /// Give it within the time that was asked for.
    Code(Zeroizing<String>),
    /// The present one was used.
    Wait(Duration),
}

const SECRET: &str = "totp";
const USED: &str = "totp-used";

impl Phone {
    /// Puts a secret on a new phone.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(super) fn new(folder: &Path, secret: TotpSecret) -> io::Result<Self> {
        home::write_private(&folder.join(SECRET), &secret.base32())?;
        Ok(Self { folder: folder.to_owned(), secret })
    }

    /// The phone that lies in a person's folder.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let text = Zeroizing::new(fs::read_to_string(folder.join(SECRET))?);
        let secret = TotpSecret::from_base32(&text).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { folder: folder.to_owned(), secret })
    }

    /// The oldest code that was not given out yet and that the gate still takes `within` from now: it takes those of
    /// the step before, this one and the next.
    ///
    /// # Errors
    /// That it was given out cannot be kept.
    pub(super) fn show(&self, now: Timestamp, within: Duration) -> io::Result<Shown> {
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let oldest = ((seconds + within.as_secs()) / STEP_SECONDS).saturating_sub(1);
        let step = self.used()?.map_or(oldest, |used| oldest.max(used + 1));
        let taken_from = step.saturating_sub(1) * STEP_SECONDS;
        if taken_from > seconds {
            return Ok(Shown::Wait(Duration::from_secs(taken_from - seconds)));
        }
        home::write_private(&self.folder.join(USED), &step.to_string())?;
        let at = i64::try_from(step * STEP_SECONDS).ok().and_then(|at| Timestamp::from_second(at).ok());
        Ok(Shown::Code(self.secret.code_at(at.ok_or(io::ErrorKind::InvalidData)?)))
    }

    fn used(&self) -> io::Result<Option<u64>> {
        match fs::read_to_string(self.folder.join(USED)) {
            Ok(text) => text.trim().parse().map(Some).map_err(|_| io::ErrorKind::InvalidData.into()),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn code(phone: &Phone, now: i64, within: u64) -> Option<String> {
        match phone.show(at(now), Duration::from_secs(within)).expect("a folder") {
            Shown::Code(code) => Some(code.to_string()),
            Shown::Wait(_) => None,
        }
    }

    #[test]
    fn no_code_is_given_out_twice_and_each_is_one_the_gate_takes() {
        let folder = tempfile::tempdir().expect("a folder");
        let phone = Phone::new(folder.path(), TotpSecret::generate()).expect("a folder");
        let app = |second| Some(phone.secret.code_at(at(second)).to_string());
        // In a hurry: the steps before, now and next; then the next one must begin first.
        assert_eq!(code(&phone, 3_005, 5), app(2_970));
        let again = Phone::open(folder.path()).expect("a phone");
        assert_eq!(code(&again, 3_005, 5), app(3_000));
        assert_eq!(code(&phone, 3_006, 5), app(3_030));
        assert_eq!(code(&phone, 3_006, 5), None);
        assert_eq!(code(&phone, 3_030, 5), app(3_060));
    }

    #[test]
    fn who_types_slowly_gets_the_code_that_the_app_shows() {
        let folder = tempfile::tempdir().expect("a folder");
        let phone = Phone::new(folder.path(), TotpSecret::generate()).expect("a folder");
        assert_eq!(code(&phone, 3_029, 30), Some(phone.secret.code_at(at(3_029)).to_string()));
    }
}

//! The token of an earlier sign-in, kept beside the profile for the ten minutes it lasts, so that a code is asked once and
//! not with every command. Alone it is worth nothing: each request is signed by the person's key too.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use approver::api::types::SignedIn;
use jiff::Timestamp;
use policies::ids::PersonId;
use policies::time::Seconds;
use serde::{Deserialize, Serialize};

use super::{Fault, Profile};

/// A token, and whose it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) origin: String,
    pub(super) name: String,
    pub(super) person: PersonId,
    pub(super) token: String,
    pub(super) token_id: String,
    pub(super) expires: Timestamp,
    pub(super) timezone: String,
    /// What the gate called its run then: so the next command need not ask first.
    pub(super) start: String,
}

impl Held {
    pub(super) fn of(profile: &Profile, signed_in: &SignedIn, start: String) -> Self {
        Self {
            origin: profile.origin.to_string(),
            name: profile.name.clone(),
            person: signed_in.person,
            token: signed_in.token.clone(),
            token_id: signed_in.token_id.clone(),
            expires: signed_in.expires,
            timezone: signed_in.timezone.clone(),
            start,
        }
    }
}

/// The file.
pub(super) struct TokenFile {
    path: PathBuf,
    origin: String,
    name: String,
}

/// A token that ends while its request is on the way helps nobody.
const SPARE: Seconds = Seconds(5);

impl TokenFile {
    /// The one beside a profile.
    pub(super) fn beside(profile: &Profile) -> Self {
        let path = profile.path.with_file_name("token.json");
        Self { path, origin: profile.origin.to_string(), name: profile.name.clone() }
    }

    /// The token, if it is this profile's and still lasts. A file that cannot be read is no token.
    pub(super) fn read(&self, now: Timestamp) -> Option<Held> {
        let held: Held = serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()?;
        let is_ours = held.origin == self.origin && held.name == self.name;
        (is_ours && SPARE.after(now) < held.expires).then_some(held)
    }

    /// Keeps a token in place of any other; nobody else can read it.
    pub(super) fn write(&self, held: &Held) -> Result<(), Fault> {
        let new = self.path.with_extension(format!("json.{}", std::process::id()));
        let write = || -> io::Result<()> {
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(&serde_json::to_vec(held)?)?;
            std::fs::rename(&new, &self.path)
        };
        write().map_err(|cause| Fault::File { path: self.path.clone(), cause })
    }

    /// The gate takes it no longer.
    pub(super) fn forget(&self) {
        // Whether it was there or not, the next sign-in writes over it.
        drop(std::fs::remove_file(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_kept_for_its_time_for_its_profile_and_for_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let file =
            TokenFile { path: folder.path().join("token.json"), origin: "https://gate".into(), name: "lee".into() };
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(file.read(at(0)).is_none());
        let held = Held {
            origin: "https://gate".into(),
            name: "lee".into(),
            person: PersonId::new(7_u128.into()),
            token: "secret".into(),
            token_id: "id".into(),
            expires: at(600),
            timezone: "Europe/Berlin".into(),
            start: "start".into(),
        };
        file.write(&held).unwrap();
        file.write(&held).unwrap();
        assert!(file.read(at(594)) == Some(held));
        assert!(file.read(at(595)).is_none());
        let mode = std::fs::metadata(&file.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let path = file.path.clone();
        assert!(
            TokenFile { path: path.clone(), origin: "https://gate".into(), name: "ada".into() }.read(at(0)).is_none()
        );
        assert!(TokenFile { path, origin: "https://other".into(), name: "lee".into() }.read(at(0)).is_none());
        file.forget();
        assert!(file.read(at(0)).is_none());
    }
}

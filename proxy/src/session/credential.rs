//! What opens the account at a target: a short-lived certificate of our own, or a secret that was set for it. The
//! technician sees neither, and no message names more than which one is missing.

use std::sync::Arc;

use approver::clock::Clock;
use approver::desk::Desk;
use approver::directory::DirectoryFault;
use approver::lease::Lease;
use certs::secrets::Secrets;
use certs::ssh_ca::{SshCa, fresh_key};
use policies::ids::{CredentialName, TargetName};
use policies::plant::Credential;
use policies::time::{Seconds, Window};
use russh::keys::PrivateKey;
use zeroize::Zeroizing;

use crate::ssh::target::{Certify, TargetAuth};

/// Why the gate cannot log in at a target.
#[derive(Debug, thiserror::Error)]
pub enum CredentialFault {
    /// Nobody set it.
    #[error(
        "the gate has no credential {credential} for {target} yet. An administrator sets it with `holdpoint secret set {credential}`"
    )]
    NotSet {
        /// Which.
        credential: CredentialName,
        /// For where.
        target: TargetName,
    },
    /// It is neither a private key that needs no passphrase, nor text.
    #[error(
        "the credential {credential} is neither a password nor a private key without passphrase. An administrator sets it anew"
    )]
    Unfit {
        /// Which.
        credential: CredentialName,
    },
    /// The plant file names none.
    #[error("the plant's file says no account for {0}. Ask the control room")]
    NoAccount(TargetName),
    /// The directory does not answer.
    #[error("the gate cannot look up what opens the target: {0}. Ask the control room")]
    Directory(#[from] DirectoryFault),
}

/// How the gate proves itself where this lease leads.
pub(super) async fn auth(
    lease: &Lease,
    desk: &Desk,
    secrets: &Secrets,
    ca: &SshCa,
) -> Result<TargetAuth, CredentialFault> {
    let destination = lease.destination();
    let no_account = || CredentialFault::NoAccount(lease.target().clone());
    match destination.credential.as_ref().ok_or_else(no_account)? {
        Credential::Certificate => {
            let user = destination.user.clone().ok_or_else(no_account)?;
            Ok(TargetAuth::Certificate(certify(user, desk.clock().clone(), ca.clone())))
        }
        Credential::Sealed(name) => {
            let not_set = || CredentialFault::NotSet { credential: name.clone(), target: lease.target().clone() };
            let secret = desk.directory().credential(name, secrets).await?.ok_or_else(not_set)?;
            sealed(&secret).ok_or_else(|| CredentialFault::Unfit { credential: name.clone() })
        }
    }
}

/// A key that nobody had before, vouched for as `user` for as long as a login may take on a slow line.
fn certify(user: String, clock: Clock, ca: SshCa) -> Certify {
    const LASTS: Seconds = Seconds(5 * 60);
    Arc::new(move || {
        let (key, now) = (fresh_key("holdpoint"), clock.wall());
        let certificate = ca.target_certificate(key.public_key(), &user, Window { from: now, until: LASTS.after(now) });
        match certificate {
            Ok(certificate) => Some((Arc::new(key), certificate)),
            Err(fault) => {
                tracing::error!(%fault, "the gate cannot certify itself at a target");
                None
            }
        }
    })
}

/// A private key in OpenSSH's form, or else a password: one line of text.
fn sealed(secret: &[u8]) -> Option<TargetAuth> {
    const PRIVATE_KEY: &str = "-----BEGIN ";
    let text = std::str::from_utf8(secret).ok()?;
    if text.trim_start().starts_with(PRIVATE_KEY) {
        let key = PrivateKey::from_openssh(text.trim_start()).ok().filter(|key| !key.is_encrypted())?;
        return Some(TargetAuth::Key(Arc::new(key)));
    }
    let password = text.strip_suffix('\n').unwrap_or(text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    let fits = !password.is_empty() && !password.contains('\n');
    fits.then(|| TargetAuth::Password(Zeroizing::new(password.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_private_key_or_one_line_of_text() {
        let key = fresh_key("test").to_openssh(Default::default()).expect("a key has a text form");
        assert!(matches!(sealed(key.as_bytes()), Some(TargetAuth::Key(_))));
        let Some(TargetAuth::Password(password)) = sealed(b"correct horse\r\n") else { panic!("a password") };
        assert_eq!(password.as_str(), "correct horse");
        for unfit in [&b""[..], b"\n", b"two\nlines", b"\xff", b"-----BEGIN RSA PRIVATE KEY-----\nAA==\n"] {
            assert!(sealed(unfit).is_none(), "{unfit:?}");
        }
    }
}

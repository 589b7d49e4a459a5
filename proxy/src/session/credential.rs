//! What opens the account at a target: a short-lived certificate of our own, or a secret that was set for it. The
//! technician sees neither, and no message names more than which one is missing.

use std::sync::Arc;

use approver::clock::Clock;
use approver::desk::Desk;
use approver::directory::DirectoryFault;
use approver::lease::{Destination, Lease};
use approver::vaulting::Untold;
use certs::secrets::{self, Secrets};
use certs::ssh_ca::{SshCa, fresh_key};
use certs::vault::Purpose;
use policies::ids::{CredentialName, SessionId, TargetName};
use policies::plant::{Credential, Protocol};
use policies::time::{Seconds, Window};
use zeroize::Zeroizing;

use crate::gates::vnc;
use crate::ssh::target::{Certify, TargetAuth};
use crate::telnet::Login;

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
    /// It is a key, where only a password opens anything.
    #[error(
        "the credential {credential} is a private key, and {protocol} takes a password. An administrator sets it anew"
    )]
    NoPassword {
        /// Which.
        credential: CredentialName,
        /// What is spoken there.
        protocol: Protocol,
    },
    /// Its bytes would end the line in which it is sent.
    #[error("the credential {credential} holds characters that nobody types. An administrator sets it anew")]
    Untypable {
        /// Which.
        credential: CredentialName,
    },
    /// The plant file names none.
    #[error("the plant's file says no account for {0}. Ask the control room")]
    NoAccount(TargetName),
    /// Whoever holds it cannot be told of the session.
    #[error("the gate cannot have opened what opens the target. Ask the control room")]
    Vault(#[from] Untold),
    /// The directory does not answer.
    #[error("the gate cannot look up what opens the target. Ask the control room")]
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
            Ok(TargetAuth::Certificate(certify(user, lease.session(), desk.clock().clone(), ca.clone())))
        }
        Credential::Sealed(name) => Ok(match sealed(name, lease, desk, secrets).await? {
            secrets::Credential::Key(key) => TargetAuth::Key(key),
            secrets::Credential::Password(password) => TargetAuth::Password(password),
        }),
    }
}

/// What opens the screen where this lease leads; none where it needs nothing, or leads to no screen.
pub(super) async fn of_screen(
    lease: &Lease,
    desk: &Desk,
    secrets: &Secrets,
) -> Result<Option<vnc::Password>, CredentialFault> {
    if lease.destination().protocol != Protocol::Vnc {
        return Ok(None);
    }
    Ok(password(lease, desk, secrets).await?.map(|(_, password)| vnc::Password::new(&password)))
}

/// What the gate logs in with by telnet where this lease leads.
pub(super) async fn of_terminal(lease: &Lease, desk: &Desk, secrets: &Secrets) -> Result<Login, CredentialFault> {
    let destination = lease.destination();
    let secret = match password(lease, desk, secrets).await? {
        Some((name, secret)) if secret.contains(char::is_control) => {
            return Err(CredentialFault::Untypable { credential: name.clone() });
        }
        found => found.map(|(_, secret)| secret),
    };
    Ok(Login::new(destination.user.clone(), secret, destination.prompts.clone()))
}

/// The password that the plant file names, if it names any.
async fn password<'a>(
    lease: &'a Lease,
    desk: &Desk,
    secrets: &Secrets,
) -> Result<Option<(&'a CredentialName, Zeroizing<String>)>, CredentialFault> {
    let Destination { credential, protocol, .. } = lease.destination();
    let Some(Credential::Sealed(name)) = credential else { return Ok(None) };
    match sealed(name, lease, desk, secrets).await? {
        secrets::Credential::Password(password) => Ok(Some((name, password))),
        secrets::Credential::Key(_) => {
            Err(CredentialFault::NoPassword { credential: name.clone(), protocol: *protocol })
        }
    }
}

async fn sealed(
    name: &CredentialName,
    lease: &Lease,
    desk: &Desk,
    secrets: &Secrets,
) -> Result<secrets::Credential, CredentialFault> {
    let not_set = || CredentialFault::NotSet { credential: name.clone(), target: lease.target().clone() };
    let purpose = Purpose::Session(lease.session());
    let secret = desk.directory().credential(name, secrets, purpose).await?.ok_or_else(not_set)?;
    secrets::Credential::parse(&secret).ok_or_else(|| CredentialFault::Unfit { credential: name.clone() })
}

/// A key that nobody had before, vouched for as `user` for as long as a login may take on a slow line.
fn certify(user: String, session: SessionId, clock: Clock, ca: SshCa) -> Certify {
    const LASTS: Seconds = Seconds(5 * 60);
    Arc::new(move || {
        let (key, now) = (fresh_key("holdpoint"), clock.wall());
        let valid = Window { from: now, until: LASTS.after(now) };
        match ca.target_certificate(key.public_key(), &user, valid, session) {
            Ok(certificate) => Some((Arc::new(key), certificate)),
            Err(fault) => {
                tracing::error!(%fault, "the gate cannot certify itself at a target");
                None
            }
        }
    })
}

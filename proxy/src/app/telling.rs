//! Whom this program tells, and by which ways: as the configuration says.

use std::path::PathBuf;
use std::sync::Arc;

use approver::desk::Desk;
use approver::feed::receivers::{Receiver, Way};
use approver::feed::syslog::Syslog;
use approver::notify::command::RunCommand;
use approver::notify::mail::Mail;
use approver::notify::webhook::Webhook;
use approver::notify::{Notifier, Sealed};
use approver::post::NoCa;
use certs::secrets::Secrets;
use policies::ids::CredentialName;

use crate::config::{FeedConfig, MailAt, Notify, ReceiverAt, ReceiverWay, WebhookAt};

/// Why people cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum CannotTell {
    /// Nobody who could vouch for the address.
    #[error("notify.webhook: {0}")]
    Webhook(#[from] NoCa),
    /// Nobody who could vouch for the mail server.
    #[error("notify.mail: {0}")]
    Mail(NoCa),
    /// The file of CAs of the mail server.
    #[error("notify.mail.ca: {path}: {cause}", path = .path.display())]
    MailCa {
        /// Which.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Nobody who could vouch for a receiver of the feed.
    #[error("feed.syslog: {0}")]
    Syslog(NoCa),
    /// The file of CAs of a receiver of the feed.
    #[error("feed.syslog.ca: {path}: {cause}", path = .path.display())]
    FeedCa {
        /// Which.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The file of CAs.
    #[error("notify.webhook.ca: {path}: {cause}", path = .path.display())]
    Ca {
        /// Which.
        path: std::path::PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
}

/// Whether each way that is configured could work.
///
/// # Errors
/// A way that could never work.
pub(crate) fn check(notify: &Notify) -> Result<(), CannotTell> {
    notify.webhook.as_ref().map(|at| webhook(at, None)).transpose()?;
    notify.mail.as_ref().map(|at| mail(at, "", None)).transpose()?;
    Ok(())
}

/// Every way that is configured; there may be none.
///
/// # Errors
/// A way that could never work.
pub(crate) fn ways(
    notify: &Notify,
    gate: &str,
    desk: &Desk,
    secrets: &Secrets,
) -> Result<Vec<Arc<dyn Notifier>>, CannotTell> {
    let sealed = |credential: &CredentialName| Sealed {
        credential: credential.clone(),
        desk: desk.clone(),
        secrets: secrets.clone(),
    };
    let webhook = notify.webhook.as_ref().map(|at| webhook(at, at.credential.as_ref().map(sealed))).transpose()?;
    let webhook = webhook.map(|webhook| Arc::new(webhook) as Arc<dyn Notifier>);
    let command = RunCommand::new(&notify.command).map(|command| Arc::new(command) as Arc<dyn Notifier>);
    let login = |at: &MailAt| at.login.as_ref().map(|(user, credential)| (user.clone(), sealed(credential)));
    let mail = notify.mail.as_ref().map(|at| mail(at, gate, login(at))).transpose()?;
    let mail = mail.map(|mail| Arc::new(mail) as Arc<dyn Notifier>);
    Ok(webhook.into_iter().chain(command).chain(mail).collect())
}

fn mail(at: &MailAt, gate: &str, login: Option<(String, Sealed)>) -> Result<Mail, CannotTell> {
    let MailAt { to, ca, .. } = at;
    let unreadable = |path: &PathBuf, cause| CannotTell::MailCa { path: path.clone(), cause };
    let ca = ca.as_ref().map(|path| std::fs::read_to_string(path).map_err(|cause| unreadable(path, cause)));
    Mail::new(to.clone(), login, ca.transpose()?.as_deref(), gate.to_owned()).map_err(CannotTell::Mail)
}

/// Every receiver of the feed that is configured; there may be none. `hostname` is how this gate is called in syslog.
///
/// # Errors
/// A receiver that could never be reached.
pub(crate) fn receivers(feed: &FeedConfig, hostname: &str) -> Result<Vec<Receiver>, CannotTell> {
    feed.receivers.iter().map(|at| receiver(at, hostname)).collect()
}

fn receiver(ReceiverAt { name, at }: &ReceiverAt, hostname: &str) -> Result<Receiver, CannotTell> {
    let way = match at {
        ReceiverWay::File(path) => Way::File(path.clone()),
        ReceiverWay::Syslog { to, ca } => {
            let read = |path: &PathBuf| {
                let unreadable = |cause| CannotTell::FeedCa { path: path.clone(), cause };
                std::fs::read_to_string(path).map_err(unreadable)
            };
            let ca = ca.as_ref().map(read).transpose()?;
            let syslog = Syslog::new(to.clone(), ca.as_deref(), hostname.to_owned());
            Way::Syslog(syslog.map_err(CannotTell::Syslog)?)
        }
    };
    Ok(Receiver { name: name.to_string(), way })
}

fn webhook(at: &WebhookAt, signing: Option<Sealed>) -> Result<Webhook, CannotTell> {
    let unreadable = |path: &std::path::PathBuf, cause| CannotTell::Ca { path: path.clone(), cause };
    let ca = at.ca.as_ref().map(|path| std::fs::read_to_string(path).map_err(|cause| unreadable(path, cause)));
    Ok(Webhook::new(at.url.clone(), ca.transpose()?.as_deref(), signing)?)
}

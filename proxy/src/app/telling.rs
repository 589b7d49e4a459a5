//! Whom this program tells, and by which ways: as the configuration says.

use std::sync::Arc;

use approver::notify::Notifier;
use approver::notify::command::RunCommand;
use approver::notify::webhook::Webhook;
use approver::post::NoCa;

use crate::config::{Notify, WebhookAt};

/// Why people cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum CannotTell {
    /// Nobody who could vouch for the address.
    #[error("notify.webhook: {0}")]
    Webhook(#[from] NoCa),
    /// The file of CAs.
    #[error("notify.webhook.ca: {path}: {cause}", path = .path.display())]
    Ca {
        /// Which.
        path: std::path::PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
}

/// Every way that is configured; there may be none.
///
/// # Errors
/// A way that could never work.
pub(crate) fn ways(notify: &Notify) -> Result<Vec<Arc<dyn Notifier>>, CannotTell> {
    let webhook = notify.webhook.as_ref().map(webhook).transpose()?;
    let webhook = webhook.map(|webhook| Arc::new(webhook) as Arc<dyn Notifier>);
    let command = RunCommand::new(&notify.command).map(|command| Arc::new(command) as Arc<dyn Notifier>);
    Ok(webhook.into_iter().chain(command).collect())
}

fn webhook(at: &WebhookAt) -> Result<Webhook, CannotTell> {
    let unreadable = |path: &std::path::PathBuf, cause| CannotTell::Ca { path: path.clone(), cause };
    let ca = at.ca.as_ref().map(|path| std::fs::read_to_string(path).map_err(|cause| unreadable(path, cause)));
    Ok(Webhook::new(at.url.clone(), ca.transpose()?.as_deref())?)
}

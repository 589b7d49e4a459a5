//! Whom this program tells, and by which ways, and whose word it takes: as the configuration says.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use approver::desk::Desk;
use approver::feed::receivers::{Receiver, Way};
use approver::feed::syslog::Syslog;
use approver::notify::command::RunCommand;
use approver::notify::mail::Mail;
use approver::notify::webhook::Webhook;
use approver::notify::{Notifier, Sealed};
use approver::oidc::{ProviderParts, Providers};
use approver::post::NoCa;
use approver::traces::{self, Collector, NoHeader};
use certs::secrets::Secrets;
use policies::ids::{CredentialName, GroupName, ProviderName, RoleName};
use policies::plant::Plant;
use zeroize::Zeroizing;

use crate::config::{FeedConfig, MailAt, Notify, ProviderAt, ReceiverAt, ReceiverWay, TracesAt, WebhookAt};

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
    /// Nobody who could vouch for the collector of traces.
    #[error("traces: {0}")]
    Traces(NoCa),
    /// A file that it takes to bring them.
    #[error("traces.{key}: {path}: {cause}", path = .path.display())]
    TracesFile {
        /// Under which key it is named.
        key: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// What is in the file of headers.
    #[error("traces.headers_file: {path}: {cause}", path = .path.display())]
    TracesHeaders {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        cause: NoHeader,
    },
    /// Nobody who could vouch for an identity provider.
    #[error("oidc, {0}: {1}")]
    Provider(ProviderName, NoCa),
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

/// The collector of traces, where one is configured.
///
/// # Errors
/// It could never be reached.
pub(crate) fn collector(configured: Option<&TracesAt>) -> Result<Option<Collector>, CannotTell> {
    let Some(TracesAt { endpoint, ca, headers_file, percent }) = configured else { return Ok(None) };
    let read = |key: &'static str, path: &Option<PathBuf>| {
        let unreadable = |path: &PathBuf, cause| CannotTell::TracesFile { key, path: path.clone(), cause };
        path.as_ref().map(|path| std::fs::read_to_string(path).map_err(|cause| unreadable(path, cause))).transpose()
    };
    let ca = read("ca", ca)?;
    let lines = Zeroizing::new(read("headers_file", headers_file)?.unwrap_or_default());
    let headers = traces::headers(&lines).map_err(|cause| {
        let path = headers_file.clone().unwrap_or_default();
        CannotTell::TracesHeaders { path, cause }
    })?;
    Collector::new(endpoint, ca.as_deref(), headers, *percent).map(Some).map_err(CannotTell::Traces)
}

/// Every identity provider that is configured; there may be none. `sealed` is where its secret is. One that could never be
/// believed is there, and does not answer: people have their own keys.
pub(crate) fn providers(configured: &[ProviderAt], sealed: impl Fn(&CredentialName) -> Option<Sealed>) -> Providers {
    let parts = configured.iter().map(|at| {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|cause| NoCa::of(&format_args!("{}: {cause}", path.display())))
        };
        ProviderParts {
            name: at.name.clone(),
            title: at.title.clone(),
            issuer: at.issuer.clone(),
            client: at.client.clone(),
            secret: at.credential.as_ref().and_then(&sealed),
            ca_pem: at.ca.as_ref().map(read).transpose(),
            vendor: at.vendor.clone(),
            scopes: at.scopes.clone(),
            several: at.several.clone(),
            groups: at.groups.clone(),
        }
    });
    Providers::new(parts.collect())
}

/// Whether each identity provider could be believed.
///
/// # Errors
/// One could not.
pub(crate) fn check_providers(configured: &[ProviderAt]) -> Result<(), CannotTell> {
    let providers = providers(configured, |_| None);
    let first = providers.unbelievable().next();
    first.map_or(Ok(()), |(name, no_ca)| Err(CannotTell::Provider(name.clone(), no_ca.clone())))
}

/// Which vendors, roles and groups the configuration has of identity providers that the plant file does not name, in words: of
/// a group that was mistyped nothing would be asked.
pub(crate) fn unknown_to(plant: &Plant, configured: &[ProviderAt]) -> Vec<String> {
    configured.iter().flat_map(|at| unknown_of(plant, at)).collect()
}

fn unknown_of(plant: &Plant, at: &ProviderAt) -> Vec<String> {
    let name = &at.name;
    let (what, named): (_, BTreeSet<&str>) = match &at.vendor {
        None => ("group", plant.groups().map(GroupName::as_str).collect()),
        Some(vendor) => {
            let mut of_theirs = plant.rules.iter().filter(|rule| rule.vendors.contains(vendor)).peekable();
            if of_theirs.peek().is_none() {
                return vec![format!("oidc {name}: vendor: no rule of the plant file names {vendor}")];
            }
            ("role", of_theirs.flat_map(|rule| &rule.roles).map(RoleName::as_str).collect())
        }
    };
    let wanted = at.groups.iter().flat_map(|groups| groups.wanted.keys());
    let unknown = wanted.filter(|here| !named.contains(here.as_str()));
    let told = |here| format!("oidc {name}: groups.wanted: the plant file names no {what} {here}: is it written so?");
    unknown.map(told).collect()
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

#[cfg(test)]
mod tests {
    use certs::oidc::SeveralFactors;

    use super::*;

    const PLANT: &str = include_str!("../../../policies/examples/packaging-line.toml");

    #[test]
    fn what_providers_are_asked_about_that_the_plant_file_does_not_name_is_told() {
        let plant = Plant::parse(PLANT).expect("an example");
        let group = plant.groups().next().expect("somebody approves").to_string();
        let (vendor, role) = {
            let rule = plant.rules.first().expect("a rule");
            let (vendor, role) = (rule.vendors.first(), rule.roles.first());
            (vendor.expect("one at least").clone(), role.expect("one at least").to_string())
        };
        let unknown = |vendor: Option<&str>, wanted: &[&str]| {
            let wanted = wanted.iter().map(|here| ((*here).to_owned(), ["Theirs".to_owned()].into())).collect();
            let at = ProviderAt {
                name: "mill".parse().expect("a label"),
                title: "Mill 3".into(),
                issuer: "https://login.mill3.example".parse().expect("an issuer"),
                client: "gate".into(),
                credential: None,
                ca: None,
                vendor: vendor.map(|vendor| vendor.parse().expect("a label")),
                scopes: Vec::new(),
                several: SeveralFactors::default(),
                groups: Some(approver::oidc::Groups { claim: "groups".into(), wanted }),
            };
            unknown_to(&plant, &[at])
        };
        assert_eq!(unknown(None, &[&group]), [""; 0]);
        assert_eq!(unknown(Some(vendor.as_str()), &[&role]), [""; 0]);
        let told = unknown(None, &[&group, "shfit-lead"]);
        assert!(told.len() == 1 && told[0].contains("the plant file names no group shfit-lead"), "{told:?}");
        let told = unknown(Some(vendor.as_str()), &["maintenence"]);
        assert!(told.len() == 1 && told[0].contains("names no role maintenence"), "{told:?}");
        let told = unknown(Some("umbra"), &[&role]);
        assert!(told.len() == 1 && told[0].contains("no rule of the plant file names umbra"), "{told:?}");
    }
}

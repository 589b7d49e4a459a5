//! Telling by e-mail: a short text for somebody who is woken by it. Over TLS from the first byte or by STARTTLS, which is
//! demanded, or in the clear to this machine itself. Each address gets a mail of its own, so that one that is refused
//! keeps it from nobody else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
pub use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::{Category, Code, Severity};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use policies::ids::GroupName;

use super::{NotTold, Notice, Notifier, Sealed};
use crate::post::NoCa;

/// From connecting to the last answer, for one address.
const TAKES_MAX: Duration = Duration::from_secs(30);

/// A mail server: a host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailServer {
    host: String,
    port: u16,
}

/// Text that is no mail server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no mail server: write a name and a port, for example \"mail.mill3.example:587\"")]
pub struct BadMailServer(String);

impl FromStr for MailServer {
    type Err = BadMailServer;
    fn from_str(text: &str) -> Result<Self, BadMailServer> {
        let bad = || BadMailServer(text.chars().take(200).collect());
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let host = host.trim_matches(['[', ']']);
        let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-:".contains(c));
        let port = port.parse().ok().filter(|port| *port != 0 && is_host).ok_or_else(bad)?;
        Ok(Self { host: host.to_owned(), port })
    }
}

impl MailServer {
    /// Whether it is this machine itself.
    pub fn is_this_machine(&self) -> bool {
        let is_loopback = |ip: std::net::IpAddr| ip.to_canonical().is_loopback();
        self.host == "localhost" || self.host.parse().is_ok_and(is_loopback)
    }
}

/// How what passes is kept from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// STARTTLS; a server without it gets nothing.
    StartTls,
    /// From the first byte.
    Implicit,
    /// Not at all: to this machine itself alone.
    None,
}

/// Where mail goes, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailTo {
    /// By which server.
    pub server: MailServer,
    /// How.
    pub tls: MailTls,
    /// From whom it is.
    pub from: Address,
    /// Who gets what everybody gets, and what goes to a group without addresses. Never empty.
    pub to: Vec<Address>,
    /// Who gets what goes to a group.
    pub groups: BTreeMap<GroupName, Vec<Address>>,
}

/// Notices under way at once are two; of those given up before, some are remembered.
const UNDER_WAY_MAX: usize = 16;

/// Notices, each with those who have it, in the order in which they came under way.
type Had = VecDeque<(String, BTreeSet<Address>)>;

/// A way to tell by e-mail.
pub struct Mail {
    to: MailTo,
    tls: Tls,
    /// This gate's name, in the greeting and in the text.
    gate: String,
    /// As whom one signs in there, and by what.
    login: Option<(String, Sealed)>,
    /// Who has a notice already that is under way, by its id: several are at once.
    had: Mutex<Had>,
}

impl Mail {
    /// By this server; `ca_pem` instead of the system's CAs.
    ///
    /// # Errors
    /// There is no CA that could vouch for the server.
    pub fn new(to: MailTo, login: Option<(String, Sealed)>, ca_pem: Option<&str>, gate: String) -> Result<Self, NoCa> {
        let tls = match to.tls {
            MailTls::None => Tls::None,
            MailTls::StartTls => Tls::Required(parameters(&to.server, ca_pem)?),
            MailTls::Implicit => Tls::Wrapper(parameters(&to.server, ca_pem)?),
        };
        Ok(Self { to, tls, gate, login, had: Mutex::default() })
    }

    /// Tells each address that does not have it yet.
    async fn tell(&self, notice: &Notice) -> Result<(), NotTold> {
        let transport = self.transport().await?;
        let mut failed = None;
        for address in self.addresses(notice) {
            if self.has_it(notice, &address) {
                continue;
            }
            let message = compose(notice, &self.to.from, &address, &self.gate)?;
            let sending = tokio::time::timeout(TAKES_MAX, transport.send(message)).await;
            match sending
                .map_err(|_| "it took too long".to_owned())
                .map(|sent| sent.map_err(|why| (is_about_the_address(&why), why)))
            {
                Ok(Ok(_)) => self.gets_it(notice, &address),
                Ok(Err((true, why))) => {
                    // Said again it would be refused again, and would keep what comes after it from everybody.
                    tracing::error!(id = notice.id, %why, "the mail server refuses a notice for good");
                    self.gets_it(notice, &address);
                }
                Ok(Err((false, why))) => failed = Some(chain(&why)),
                Err(why) => failed = Some(why),
            }
        }
        if failed.is_none() {
            self.had().retain(|(id, _)| *id != notice.id);
        }
        failed.map_or(Ok(()), |why| Err(NotTold(format!("{}: {why}", self.to.server.host))))
    }

    async fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, NotTold> {
        let MailServer { host, port } = &self.to.server;
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.as_str())
            .port(*port)
            .tls(self.tls.clone())
            .timeout(Some(TAKES_MAX))
            .hello_name(ClientId::Domain(self.gate.clone()));
        let Some((user, sealed)) = &self.login else { return Ok(builder.build()) };
        let password = sealed.text().await?;
        Ok(builder.credentials(Credentials::new(user.clone(), password.to_string())).build())
    }

    fn addresses(&self, notice: &Notice) -> BTreeSet<Address> {
        let everybody = self.to.to.iter();
        match notice.group.as_ref().map(|group| self.to.groups.get(group)) {
            None => everybody.chain(self.to.groups.values().flatten()).cloned().collect(),
            Some(Some(group)) => group.iter().cloned().collect(),
            Some(None) => everybody.cloned().collect(),
        }
    }

    fn has_it(&self, notice: &Notice, address: &Address) -> bool {
        self.had().iter().any(|(id, had)| *id == notice.id && had.contains(address))
    }

    /// A notice that is given up is remembered until others are: no more are under way than there are queues.
    fn gets_it(&self, notice: &Notice, address: &Address) {
        let mut had = self.had();
        match had.iter_mut().find(|(id, _)| *id == notice.id) {
            Some((_, who)) => drop(who.insert(address.clone())),
            None => had.push_back((notice.id.clone(), [address.clone()].into())),
        }
        if had.len() > UNDER_WAY_MAX {
            had.pop_front();
        }
    }

    fn had(&self) -> MutexGuard<'_, Had> {
        // No change under this lock can stop halfway.
        self.had.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same in each try, so that whoever gets it twice can tell. No text of others breaks out of the line it stands in.
fn compose(notice: &Notice, from: &Address, to: &Address, gate: &str) -> Result<Message, NotTold> {
    let Notice { id, text, since, link, red, .. } = notice;
    let text = recordings::words::Words::new(text.as_str()).to_string();
    let subject: String = [if *red { "RED: " } else { "" }, &text].concat().chars().take(SUBJECT_CHARS_MAX).collect();
    let body = format!(
        "{text}.\r\n\r\nSince {since}.\r\n\r\nLook at it and answer there, after signing in:\r\n{link}\r\n\r\n\
         Nothing is decided by this mail, or by opening the link.\r\n-- \r\n{gate}\r\n"
    );
    let auto_submitted = HeaderName::new_from_ascii_str("Auto-Submitted");
    let built = Message::builder()
        .from(Mailbox::new(Some("Holdpoint".to_owned()), from.clone()))
        .to(Mailbox::new(None, to.clone()))
        .subject(subject)
        .date(std::time::SystemTime::from(notice.at))
        .message_id(Some(format!("<{id}@{gate}>")))
        .raw_header(HeaderValue::new(auto_submitted, "auto-generated".to_owned()))
        .header(ContentType::TEXT_PLAIN)
        .body(body);
    built.map_err(|why| NotTold(why.to_string()))
}

/// What fits the lock screen of a phone.
const SUBJECT_CHARS_MAX: usize = 160;

fn parameters(server: &MailServer, ca_pem: Option<&str>) -> Result<TlsParameters, NoCa> {
    let no_ca = |cause: &dyn fmt::Display| NoCa::of(cause);
    let mut parameters = TlsParameters::builder(server.host.clone()).certificate_store(CertificateStore::None);
    for ca in crate::post::cas(ca_pem)? {
        let ca = Certificate::from_der(ca.to_vec()).map_err(|cause| no_ca(&cause))?;
        parameters = parameters.add_root_certificate(ca);
    }
    parameters.build_rustls().map_err(|cause| no_ca(&cause))
}

/// Whether the server will never take mail for this address; a login that it does not take may be mended.
fn is_about_the_address(why: &lettre::transport::smtp::Error) -> bool {
    let is_final =
        |code: Code| code.severity == Severity::PermanentNegativeCompletion && code.category == Category::MailSystem;
    why.status().is_some_and(is_final)
}

/// With its causes, which alone say what went wrong.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mail").field(&self.to.server).finish()
    }
}

impl Notifier for Mail {
    fn name(&self) -> &'static str {
        "mail"
    }

    fn notify<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), NotTold>> {
        self.tell(notice).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn who_has_a_notice_is_remembered_while_it_is_under_way_and_of_those_given_up_some() {
        let to = MailTo {
            server: "localhost:25".parse().unwrap(),
            tls: MailTls::None,
            from: address("gate@mill3.example"),
            to: vec![address("shift@mill3.example")],
            groups: BTreeMap::new(),
        };
        let mail = Mail::new(to, None, None, "gate".into()).unwrap();
        let notice = |id: usize| super::super::tests::notice(&(1_000 - id).to_string(), None, "x");
        let shift = address("shift@mill3.example");
        for id in 0..=UNDER_WAY_MAX {
            assert!(!mail.has_it(&notice(id), &shift));
            mail.gets_it(&notice(id), &shift);
            mail.gets_it(&notice(id), &address("ot@mill3.example"));
        }
        let has = |id| mail.has_it(&notice(id), &shift);
        assert!(!has(0), "the oldest was given up long ago");
        assert!((1..=UNDER_WAY_MAX).all(has), "those that came last are under way");
    }

    #[test]
    fn what_others_chose_stands_in_its_line_and_nowhere_else() {
        let text = "x\r\nBcc: evil@evil.example\r\n\r\n\u{202e}\u{1b}[2J Müller asks for shell";
        let notice = super::super::tests::notice("1", None, text);
        let (from, to) = (address("gate@mill3.example"), address("shift@mill3.example"));
        let mail = compose(&notice, &from, &to, "holdpoint.mill3.local").unwrap();
        assert_eq!(mail.envelope().to(), [to]);
        let sent = String::from_utf8(mail.formatted()).unwrap();
        let (head, body) = sent.split_once("\r\n\r\n").unwrap();
        assert!(sent.is_ascii() && !sent.contains('\u{1b}') && !body.contains("\nBcc"), "{sent}");
        let names =
            head.split("\r\n").filter(|line| !line.starts_with(' ')).map(|line| line.split(':').next().unwrap());
        let names: BTreeSet<&str> = names.collect();
        let wanted = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Type", "MIME-Version"];
        assert!(names.iter().all(|name| wanted.contains(name) || *name == "Content-Transfer-Encoding"), "{names:?}");
        assert!(head.contains("Message-ID: <1@holdpoint.mill3.local>") && head.contains("Subject: "), "{head}");
    }
}

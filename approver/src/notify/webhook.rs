//! Telling by HTTP: the notice is posted as JSON, over TLS to whom the given CA or the system's CAs vouch for, or in the
//! clear to this machine itself and nobody else.

use std::str::FromStr;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{NotTold, Notice, Notifier};
use crate::post::{BadUrl, NoCa, Poster, Url, Wanted};

/// From connecting to the answer's head.
const TAKES_MAX: Duration = Duration::from_secs(10);

/// Where notices are posted: by https, or in the clear to this machine itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

/// A way to tell by HTTP.
pub struct Webhook(Poster);

/// Text that is no place to post notices to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWebhook {
    /// Not a URL.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// In the clear to another machine.
    #[error("notices go in the clear only to this machine itself (127.0.0.1, ::1, localhost): use https")]
    Clear,
}

impl FromStr for WebhookUrl {
    type Err = BadWebhook;
    fn from_str(url: &str) -> Result<Self, BadWebhook> {
        let url: Url = url.parse()?;
        if url.is_https() || url.is_this_machine() { Ok(Self(url)) } else { Err(BadWebhook::Clear) }
    }
}

impl Webhook {
    /// To this URL; `ca_pem` instead of the system's CAs.
    ///
    /// # Errors
    /// No CA that could vouch for it.
    pub fn new(url: WebhookUrl, ca_pem: Option<&str>) -> Result<Self, NoCa> {
        Poster::new(url.0, ca_pem).map(Self)
    }

    async fn post(&self, notice: &Notice) -> Result<(), NotTold> {
        let body = serde_json::to_vec(notice).expect("a notice has string keys and finite numbers");
        match self.0.post("application/json", body, Wanted::Status).await {
            Ok((200..=299, _)) => Ok(()),
            Ok((status, _)) => Err(NotTold(format!("{}: {status}", self.0.url().host()))),
            Err(cause) => Err(NotTold(cause)),
        }
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Webhook").field(self.0.url()).finish()
    }
}

impl Notifier for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn notify<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), NotTold>> {
        async move {
            let post = tokio::time::timeout(TAKES_MAX, self.post(notice)).await;
            post.unwrap_or_else(|_| Err(NotTold(format!("{} did not answer in {TAKES_MAX:?}", self.0.url().host()))))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_leave_the_machine_under_tls_only() {
        let url = |text: &str| text.parse::<WebhookUrl>();
        for here in ["localhost", "localhost:9000", "127.0.0.1:9000", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]:9000"] {
            assert!(url(&format!("http://{here}/x")).is_ok(), "{here}");
        }
        let elsewhere =
            ["192.0.2.1", "127.0.0.1.example", "localhost.example", "localhost:80@192.0.2.1:80", "x@192.0.2.1"];
        for elsewhere in elsewhere {
            assert_eq!(url(&format!("http://{elsewhere}/x")), Err(BadWebhook::Clear), "{elsewhere}");
            assert!(url(&format!("https://{elsewhere}/x")).is_ok(), "{elsewhere}");
        }
        for none in ["alarms", "https://", "https:///x", "ftp://localhost/x", "http://"] {
            assert!(matches!(url(none), Err(BadWebhook::Url(_))), "{none}");
        }
        assert!(Webhook::new(url("https://a.example/").unwrap(), Some("x")).is_err());
    }

    #[test]
    fn debug_shows_no_token_of_the_path() {
        let shown = format!("{:?}", Webhook::new("http://localhost/hook/sesame".parse().unwrap(), None).unwrap());
        assert!(!shown.contains("sesame"), "{shown}");
    }
}

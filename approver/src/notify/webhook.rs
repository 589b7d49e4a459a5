//! Telling by HTTP: the notice is posted as JSON, over TLS to whom the given CA or the system's CAs vouch for, or in the
//! clear to this machine itself and nobody else.

use std::str::FromStr;
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use data_encoding::BASE64;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{NotTold, Notice, Notifier, Sealed};
use crate::post::{BadUrl, NoCa, Poster, Url, Wanted};

/// From connecting to the answer's head.
const TAKES_MAX: Duration = Duration::from_secs(10);

/// Where notices are posted: by https, or in the clear to this machine itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

/// A way to tell by HTTP.
pub struct Webhook {
    poster: Poster,
    signing: Option<Sealed>,
}

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
    /// To this URL; `ca_pem` instead of the system's CAs; signed with what is sealed there, so that the receiver knows who
    /// tells it, and that nobody altered or repeated it.
    ///
    /// # Errors
    /// No CA that could vouch for it.
    pub fn new(url: WebhookUrl, ca_pem: Option<&str>, signing: Option<Sealed>) -> Result<Self, NoCa> {
        Ok(Self { poster: Poster::new(url.0, ca_pem)?, signing })
    }

    async fn post(&self, notice: &Notice) -> Result<(), NotTold> {
        let body = serde_json::to_vec(notice).expect("a notice has string keys and finite numbers");
        let headers = match &self.signing {
            Some(sealed) => signed(&sealed.text().await?, &notice.id, Timestamp::now(), &body)?,
            None => HeaderMap::new(),
        };
        match self.poster.post("application/json", &headers, body, Wanted::Status).await {
            Ok((200..=299, _)) => Ok(()),
            Ok((status, _)) => Err(NotTold(format!("{}: {status}", self.poster.url().host()))),
            Err(cause) => Err(NotTold(cause)),
        }
    }
}

/// The headers of Standard Webhooks 1.0.0: id, seconds since 1970 of this try, and HMAC-SHA256 over `id.seconds.body`. The
/// key is what follows `whsec_` in base64, else the text itself.
fn signed(secret: &str, id: &str, at: Timestamp, body: &[u8]) -> Result<HeaderMap, NotTold> {
    let key = match secret.strip_prefix("whsec_") {
        Some(key) => BASE64.decode(key.as_bytes()).map_err(|_| NotTold("its secret is no base64".to_owned()))?,
        None => secret.as_bytes().to_vec(),
    };
    let key = Zeroizing::new(key);
    let seconds = at.as_second().to_string();
    let signed = [id.as_bytes(), b".", seconds.as_bytes(), b".", body].concat();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed);
    let headers = [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", seconds),
        ("webhook-signature", format!("v1,{}", BASE64.encode(tag.as_ref()))),
    ];
    let header = |(name, value): (&'static str, String)| {
        (HeaderName::from_static(name), HeaderValue::try_from(value).expect("digits, base64 and hexadecimal"))
    };
    Ok(headers.into_iter().map(header).collect())
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Webhook").field(self.poster.url()).finish()
    }
}

impl Notifier for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn notify<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), NotTold>> {
        async move {
            let post = tokio::time::timeout(TAKES_MAX, self.post(notice)).await;
            post.unwrap_or_else(|_| {
                Err(NotTold(format!("{} did not answer in {TAKES_MAX:?}", self.poster.url().host())))
            })
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
        assert!(Webhook::new(url("https://a.example/").unwrap(), Some("x"), None).is_err());
    }

    /// The example of the specification (standard-webhooks, "Verifying"), worked out anew with its Python library.
    #[test]
    fn a_notice_is_signed_as_receivers_expect_it() {
        let at = Timestamp::from_second(1_614_265_330).unwrap();
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = br#"{"test": 2432232314}"#;
        let headers = signed(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body).unwrap();
        assert_eq!(headers["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!((&headers["webhook-timestamp"], headers.len()), (&HeaderValue::from_static("1614265330"), 3));
        assert!(signed("whsec_?", "a", at, body).is_err() && signed("plain", "a", at, body).is_ok());
    }

    #[test]
    fn debug_shows_no_token_of_the_path() {
        let shown = format!("{:?}", Webhook::new("http://localhost/hook/sesame".parse().unwrap(), None, None).unwrap());
        assert!(!shown.contains("sesame"), "{shown}");
    }
}

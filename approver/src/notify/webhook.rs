//! Telling by HTTP: the notice is posted as JSON, over TLS to whom the given CA or the system's CAs vouch for, or in the
//! clear to this machine itself and nobody else. No redirect is followed.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{NotTold, Notice, Notifier};

/// From connecting to the answer's head.
const TAKES_MAX: Duration = Duration::from_secs(10);
/// Where Debian and its kin keep the system's CAs.
const SYSTEM_CAS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Where notices are posted: by https, or in the clear to this machine itself.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    host: String,
    port: u16,
    path: String,
    is_https: bool,
}

/// A way to tell by HTTP.
pub struct Webhook {
    url: WebhookUrl,
    tls: Option<TlsConnector>,
}

/// Text that is no place to post notices to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWebhook {
    /// Not a URL.
    #[error("{0:?} is no address to post to: write for example \"https://alarms.mill3.example/holdpoint\"")]
    Url(String),
    /// In the clear to another machine.
    #[error("notices go in the clear only to this machine itself (127.0.0.1, ::1, localhost): use https")]
    Clear,
}

/// No CA to trust.
#[derive(Debug, thiserror::Error)]
#[error("no CA is known that could vouch for the webhook: {0}")]
pub struct NoCa(String);

impl FromStr for WebhookUrl {
    type Err = BadWebhook;
    fn from_str(url: &str) -> Result<Self, BadWebhook> {
        let bad = || BadWebhook::Url(url.chars().take(200).collect());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?.trim_matches(['[', ']']).to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let (default, is_https) = match uri.scheme_str() {
            Some("https") => (443, true),
            Some("http") if is_this_machine(&host) => (80, false),
            Some("http") => return Err(BadWebhook::Clear),
            _ => return Err(bad()),
        };
        Ok(Self { port: uri.port_u16().unwrap_or(default), host, path, is_https })
    }
}

impl Webhook {
    /// To this URL; `ca_pem` instead of the system's CAs.
    ///
    /// # Errors
    /// No CA that could vouch for it.
    pub fn new(url: WebhookUrl, ca_pem: Option<&str>) -> Result<Self, NoCa> {
        let tls = if url.is_https { Some(connector(ca_pem)?) } else { None };
        Ok(Self { url, tls })
    }

    async fn post(&self, notice: &Notice) -> Result<(), NotTold> {
        let WebhookUrl { host, port, .. } = &self.url;
        let failed = |error: &dyn std::fmt::Display| NotTold(format!("{host}: {error}"));
        let socket = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| failed(&error))?;
        let status = match &self.tls {
            None => self.exchange(socket, notice).await,
            Some(tls) => {
                let name = ServerName::try_from(host.clone()).map_err(|error| failed(&error))?;
                let stream = tls.connect(name, socket).await.map_err(|error| failed(&error))?;
                self.exchange(stream, notice).await
            }
        };
        match status.map_err(|error| failed(&error))? {
            status if status.is_success() => Ok(()),
            status => Err(failed(&status)),
        }
    }

    /// The connection is driven here, beside the request, so that no task outlives it.
    async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        notice: &Notice,
    ) -> hyper::Result<hyper::StatusCode> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let body = serde_json::to_vec(notice).expect("a notice has string keys and finite numbers");
        let WebhookUrl { host, port, path, .. } = &self.url;
        let host = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let request = Request::post(path)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .expect("path and host were read from a URL");
        let answer = sender.send_request(request);
        tokio::pin!(connection, answer);
        tokio::select! {
            answer = &mut answer => Ok(answer?.status()),
            ended = &mut connection => {
                ended?;
                Ok(answer.await?.status())
            }
        }
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn connector(ca_pem: Option<&str>) -> Result<TlsConnector, NoCa> {
    let no_ca = |cause: &dyn std::fmt::Display| NoCa(cause.to_string());
    let pem = match ca_pem {
        Some(pem) => pem.as_bytes().to_vec(),
        None => std::fs::read(SYSTEM_CAS).map_err(|error| no_ca(&format!("{SYSTEM_CAS}: {error}")))?,
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    if roots.is_empty() {
        return Err(no_ca(&"there is no certificate in it"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| no_ca(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl std::fmt::Debug for WebhookUrl {
    /// Without the path, which may hold a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WebhookUrl({}:{})", self.host, self.port)
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Webhook").field(&self.url).finish()
    }
}

impl Notifier for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn notify<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), NotTold>> {
        async move {
            let post = tokio::time::timeout(TAKES_MAX, self.post(notice)).await;
            post.unwrap_or_else(|_| Err(NotTold(format!("{} did not answer in {TAKES_MAX:?}", self.url.host))))
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

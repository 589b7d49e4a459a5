//! One POST or GET by HTTP/1.1: under TLS to whom the given CA or the system's CAs vouch for, or in the clear. Whether it may be in
//! the clear, and what comes of the answer, is the caller's business. No redirect is followed.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Where Debian and its kin keep the system's CAs.
const SYSTEM_CAS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Where something is posted. `Debug` shows no path, which may hold a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    host: String,
    port: u16,
    path: String,
    is_https: bool,
}

/// Text that is no `http://` or `https://` address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address to post to: write for example \"https://alarms.mill3.example/holdpoint\"")]
pub struct BadUrl(pub String);

impl FromStr for Url {
    type Err = BadUrl;
    fn from_str(url: &str) -> Result<Self, BadUrl> {
        let bad = || BadUrl(url.chars().take(200).collect());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?.trim_matches(['[', ']']).to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let (default, is_https) = match uri.scheme_str() {
            Some("https") => (443, true),
            Some("http") => (80, false),
            _ => return Err(bad()),
        };
        Ok(Self { port: uri.port_u16().unwrap_or(default), host, path, is_https })
    }
}

impl Url {
    /// The name or address of whom it leads to.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// All of it, which may hold a token. A port that goes without saying is left out, so that it is signed and sent alike.
    pub(crate) fn address(&self) -> String {
        let (scheme, usual) = if self.is_https { ("https", 443) } else { ("http", 80) };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let port = if self.port == usual { String::new() } else { format!(":{}", self.port) };
        format!("{scheme}://{host}{port}{}", self.path.trim_end_matches('/'))
    }

    /// Whether it is reached under TLS.
    pub const fn is_https(&self) -> bool {
        self.is_https
    }

    /// Whether it leads to this machine itself.
    pub fn is_this_machine(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
    }

    /// The same with this name below its path.
    pub fn below(&self, name: &str) -> Self {
        Self { path: format!("{}/{name}", self.path.trim_end_matches('/')), ..self.clone() }
    }
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Url({}:{})", self.host, self.port)
    }
}

/// No CA to trust.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no CA is known that could vouch for it: {0}")]
pub struct NoCa(String);

impl NoCa {
    /// Because of this.
    pub fn of(cause: &dyn std::fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

/// Posts to one place.
pub struct Poster {
    url: Url,
    tls: Option<TlsConnector>,
}

/// What comes back of the body, at most.
#[derive(Debug, Clone, Copy)]
pub enum Wanted {
    /// Nothing is read.
    Status,
    /// So many bytes; a longer answer is none.
    Body(usize),
}

impl Poster {
    /// To this URL; `ca_pem` instead of the system's CAs.
    ///
    /// # Errors
    /// No CA that could vouch for it.
    pub fn new(url: Url, ca_pem: Option<&str>) -> Result<Self, NoCa> {
        let tls = if url.is_https { Some(connector(ca_pem)?) } else { None };
        Ok(Self { url, tls })
    }

    /// The same, by CAs that are known already.
    ///
    /// # Errors
    /// What was wrong with the CAs, where one must vouch for the place.
    pub(crate) fn over(url: Url, tls: &Result<TlsConnector, NoCa>) -> Result<Self, NoCa> {
        let tls = if url.is_https { Some(tls.clone()?) } else { None };
        Ok(Self { url, tls })
    }

    /// To where.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Posts once. Takes as long as the other side does.
    ///
    /// # Errors
    /// What went wrong, with the host's name before it.
    pub async fn post(
        &self,
        kind: &'static str,
        more: &HeaderMap,
        body: Vec<u8>,
        wanted: Wanted,
    ) -> Result<(u16, Bytes), String> {
        let mut request = Request::post(&self.url.path)
            .header(header::CONTENT_TYPE, kind)
            .body(Full::new(Bytes::from(body)))
            .expect("the path was read from a URL");
        request.headers_mut().extend(more.clone());
        self.ask(request, wanted).await
    }

    /// Reads once. Takes as long as the other side does.
    ///
    /// # Errors
    /// What went wrong, with the host's name before it.
    pub(crate) async fn get(&self, wanted: Wanted) -> Result<(u16, Bytes), String> {
        let request = Request::get(&self.url.path)
            .header(header::ACCEPT, "application/json")
            .body(Full::default())
            .expect("the path was read from a URL");
        self.ask(request, wanted).await
    }

    async fn ask(&self, request: Request<Full<Bytes>>, wanted: Wanted) -> Result<(u16, Bytes), String> {
        let Url { host, port, .. } = &self.url;
        let failed = |error: &dyn std::fmt::Display| format!("{host}: {error}");
        let socket = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| failed(&error))?;
        let answered = match &self.tls {
            None => self.exchange(socket, request, wanted).await,
            Some(tls) => {
                let name = ServerName::try_from(host.clone()).map_err(|error| failed(&error))?;
                let stream = tls.connect(name, socket).await.map_err(|error| failed(&error))?;
                self.exchange(stream, request, wanted).await
            }
        };
        answered.map_err(|error| failed(&error))
    }

    /// The connection is driven here, beside the request, so that no task outlives it.
    async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        mut request: Request<Full<Bytes>>,
        wanted: Wanted,
    ) -> Result<(u16, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let Url { host, port, .. } = &self.url;
        let host = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let host = HeaderValue::try_from(host).expect("the host was read from a URL");
        request.headers_mut().insert(header::HOST, host);
        let answer = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status().as_u16();
            let body = match wanted {
                Wanted::Status => Bytes::new(),
                Wanted::Body(most) => Limited::new(answer.into_body(), most).collect().await?.to_bytes(),
            };
            Ok((status, body))
        };
        tokio::pin!(connection, answer);
        tokio::select! {
            answer = &mut answer => answer,
            ended = &mut connection => {
                ended?;
                answer.await
            }
        }
    }
}

/// The given CAs, or the system's, as far as they can be read; one at least.
///
/// # Errors
/// There is none.
pub(crate) fn cas(ca_pem: Option<&str>) -> Result<Vec<CertificateDer<'static>>, NoCa> {
    let pem = match ca_pem {
        Some(pem) => pem.as_bytes().to_vec(),
        None => std::fs::read(SYSTEM_CAS).map_err(|error| NoCa(format!("{SYSTEM_CAS}: {error}")))?,
    };
    let counts = |certificate: &CertificateDer<'static>| RootCertStore::empty().add(certificate.clone()).is_ok();
    let all: Vec<_> = CertificateDer::pem_slice_iter(&pem).flatten().filter(counts).collect();
    if all.is_empty() { Err(NoCa("there is no certificate in it".to_owned())) } else { Ok(all) }
}

/// TLS towards whom the given CA or the system's CAs vouch for.
///
/// # Errors
/// There is no such CA.
pub(crate) fn connector(ca_pem: Option<&str>) -> Result<TlsConnector, NoCa> {
    let no_ca = |cause: &dyn std::fmt::Display| NoCa(cause.to_string());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(cas(ca_pem)?);
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| no_ca(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

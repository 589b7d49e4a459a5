//! What carries a request to a bucket: HTTP/1.1 over a connection of its own, so that no answer is ever taken for another's,
//! and under TLS as `post` makes it. Where, the request says; how long, whoever asks.

use std::fmt;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::config::{HttpClient, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, ConnectorError};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::post::{self, NoCa};

/// Carries requests.
#[derive(Clone)]
pub(super) struct Connector {
    /// None towards a service in the clear.
    tls: Option<TlsConnector>,
}

impl Connector {
    pub(super) fn new(is_https: bool, ca_pem: Option<&str>) -> Result<Self, NoCa> {
        let tls = if is_https { Some(post::connector(ca_pem)?) } else { None };
        Ok(Self { tls })
    }

    async fn carry(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let user = |error: BoxError| ConnectorError::user(error);
        let mut request = request.try_into_http1x().map_err(|error| user(error.into()))?;
        let uri = request.uri().clone();
        let host = uri.host().ok_or_else(|| user("the address names no host".into()))?.to_owned();
        let port = uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let authority = uri.authority().map_or_else(|| host.clone(), ToString::to_string);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse::<Uri>().map_err(|error| user(error.into()))?;
        if !request.headers().contains_key(HOST) {
            let value = HeaderValue::try_from(authority).map_err(|error| user(error.into()))?;
            request.headers_mut().insert(HOST, value);
        }
        let named = host.trim_matches(['[', ']']).to_owned();
        let failed = |error: BoxError| ConnectorError::io(format!("{named}: {error}").into());
        let socket = TcpStream::connect((named.as_str(), port)).await.map_err(|error| failed(error.into()))?;
        let answer = match &self.tls {
            None => exchange(socket, request).await,
            Some(tls) => {
                let name = ServerName::try_from(named.clone()).map_err(|error| failed(error.into()))?;
                let stream = tls.connect(name, socket).await.map_err(|error| failed(error.into()))?;
                exchange(stream, request).await
            }
        };
        let answer = answer.map_err(failed)?.map(SdkBody::from_body_1_x);
        HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
    }
}

async fn exchange<S>(stream: S, request: Request<SdkBody>) -> Result<hyper::Response<Answer>, BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = connection.boxed();
    let answer = {
        let answer = sender.send_request(request);
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer?,
            ended = &mut connection => {
                ended?;
                answer.await?
            }
        }
    };
    Ok(answer.map(|body| Answer { body, connection: Mutex::new(Some(connection)) }))
}

/// An answer's bytes, with the connection that brings them, so that no task outlives it.
struct Answer {
    body: Incoming,
    /// Until it has ended. Never locked: only whoever has the answer for themselves polls it.
    connection: Mutex<Option<BoxFuture<'static, hyper::Result<()>>>>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Ok(connection) = self.connection.get_mut()
            && connection.as_mut().is_some_and(|running| running.poll_unpin(cx).is_ready())
        {
            *connection = None;
        }
        Pin::new(&mut self.body).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().carry(request))
    }
}

impl HttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector(tls: {})", self.tls.is_some())
    }
}

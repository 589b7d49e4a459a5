//! TLS towards a database, by the one provider and the CAs that every other connection of ours has.

use std::path::Path;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client;
use tokio_rustls::rustls::pki_types::{InvalidDnsNameError, ServerName};

use crate::post::connector;

/// Makes connections to servers for whom these CAs vouch, by the name they are called.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// By the CAs in this file, or the system's; or why there are none.
    pub(super) fn new(ca: Option<&Path>) -> Result<Self, String> {
        let pem = ca.map(|path| std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display())));
        connector(pem.transpose()?.as_deref()).map(Self).map_err(|why| why.to_string())
    }
}

/// To one server.
pub(super) struct Towards(TlsConnector, ServerName<'static>);

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Encrypted;
    type TlsConnect = Towards;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, name: &str) -> Result<Towards, InvalidDnsNameError> {
        Ok(Towards(self.0.clone(), ServerName::try_from(name.to_owned())?))
    }
}

impl TlsConnect<Socket> for Towards {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Encrypted>>;

    fn connect(self, socket: Socket) -> Self::Future {
        async move { Ok(Encrypted(Box::new(self.0.connect(self.1, socket).await?))) }.boxed()
    }
}

/// A connection under TLS.
pub(super) struct Encrypted(Box<client::TlsStream<Socket>>);

impl TlsStream for Encrypted {
    /// None: the certificate is checked against a CA, so nobody stands between whom a binding would find out.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, to)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

//! The technician's end of a TCP connection: a forwarded channel of their SSH connection, a stream of their own, or a page of ours.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use russh::server::{self, ChannelOpenHandle};
use russh::{ChannelOpenFailure, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Mutex;

use crate::flow::{Brake, CHUNK_BYTES, Event, HIGH_BYTES, Queue, Valve};
use crate::sittings::{BROWSER, Outlet};

/// A connection of the technician's, not joined to a target yet.
pub struct VendorEnd {
    kind: Kind,
    pub(super) from: Option<SocketAddr>,
    pub(super) upload: Arc<Queue>,
    pub(super) write: Mutex<VendorWrite>,
    pub(super) read: Option<Pin<Box<dyn AsyncRead + Send + Sync>>>,
    pub(super) reply: Option<ChannelOpenHandle>,
}

/// What it is within.
enum Kind {
    Ssh,
    Tls,
    WebSocket(LastWords),
    Browser(Outlet),
}

/// Why a connection is closed, for one on which that can be said beside its bytes.
pub(crate) type LastWords = Arc<OnceLock<String>>;

/// Where what goes to the technician is written.
pub(super) enum VendorWrite {
    Channel(ChannelWriteHalf<server::Msg>),
    Stream(Pin<Box<dyn AsyncWrite + Send>>),
    Page(Outlet),
}

/// The technician is gone.
#[derive(Debug)]
pub(super) struct Gone;

impl VendorEnd {
    /// A channel of type `direct-tcpip` that was not answered yet: it is accepted when the target is reached, and else
    /// refused with words. Everything inbound comes by `upload`, the queue that
    /// [`VendorFlow::open_channel`](crate::flow::VendorFlow::open_channel) gave; the channel's read half was dropped.
    pub fn channel(write: ChannelWriteHalf<server::Msg>, upload: Arc<Queue>, reply: ChannelOpenHandle) -> Self {
        let write = Mutex::new(VendorWrite::Channel(write));
        Self { kind: Kind::Ssh, from: None, upload, write, read: None, reply: Some(reply) }
    }

    /// A stream of its own, over TLS, from this address. It is read no faster than the target takes what it brings.
    pub fn stream<S: AsyncRead + AsyncWrite + Send + Sync + 'static>(stream: S, from: SocketAddr) -> Self {
        let (read, write) = tokio::io::split(stream);
        let write = Mutex::new(VendorWrite::Stream(Box::pin(write)));
        let upload = Queue::new(Brake::Writer, Arc::new(Valve::default()));
        Self { kind: Kind::Tls, from: Some(from), upload, write, read: Some(Box::pin(read)), reply: None }
    }

    /// The stream is within a WebSocket, whose close says why it came.
    pub(crate) fn within_websocket(self, last_words: LastWords) -> Self {
        Self { kind: Kind::WebSocket(last_words), ..self }
    }

    /// A screen on a page, from where it is looked at; whoever fills `upload` sees to its bound.
    pub(crate) fn in_browser(outlet: Outlet, from: SocketAddr, upload: Arc<Queue>) -> Self {
        let write = Mutex::new(VendorWrite::Page(outlet.clone()));
        Self { kind: Kind::Browser(outlet), from: Some(from), upload, write, read: None, reply: None }
    }

    /// Refuses it, with words where its client shows any.
    pub(crate) async fn refuse(&mut self, words: &str) {
        /// RFC 4254, 5.1: connect failed.
        const CONNECT_FAILED: u32 = 2;
        match self.reply.take() {
            Some(reply) => {
                reply.reject(ChannelOpenFailure::Other { code: CONNECT_FAILED, reason: words.to_owned() }).await;
            }
            None => {
                self.say_last(words);
                self.write.get_mut().close().await;
            }
        }
        self.upload.end();
    }

    /// Says why it is closed, where there is somewhere to say it.
    pub(super) fn say_last(&self, words: &str) {
        match &self.kind {
            Kind::WebSocket(last_words) => {
                last_words.get_or_init(|| words.to_owned());
            }
            Kind::Browser(outlet) => outlet.note_why(words),
            Kind::Ssh | Kind::Tls => {}
        }
    }

    /// The kind that a recording has of it.
    pub(super) const fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Ssh => "direct-tcpip",
            Kind::Tls => "tls",
            Kind::WebSocket(_) => "websocket",
            Kind::Browser(_) => BROWSER,
        }
    }

    /// Whether it is within a WebSocket, so that something in between may read and alter it.
    pub(crate) const fn is_within_websocket(&self) -> bool {
        matches!(self.kind, Kind::WebSocket(_))
    }

    /// Whether it is on a page.
    pub(crate) const fn is_in_browser(&self) -> bool {
        matches!(self.kind, Kind::Browser(_))
    }

    /// Whether what they typed and waits is thrown away.
    pub(super) fn is_dismissed(&self) -> bool {
        matches!(&self.kind, Kind::Browser(outlet) if outlet.is_dismissed())
    }

    /// What comes from the technician.
    pub(crate) const fn upload(&self) -> &Arc<Queue> {
        &self.upload
    }

    pub(super) async fn accept(&mut self) {
        if let Some(reply) = self.reply.take() {
            reply.accept().await;
        }
    }
}

/// Fills the queue from a stream until its end.
pub(super) async fn fill(read: &mut Pin<Box<dyn AsyncRead + Send + Sync>>, upload: &Queue) {
    let mut room = BytesMut::new();
    loop {
        upload.room_below(HIGH_BYTES).await;
        if upload.is_ended() {
            return;
        }
        room.clear();
        room.reserve(CHUNK_BYTES / 2);
        match read.read_buf(&mut room).await {
            Ok(0) => return upload.push(Event::Eof),
            Ok(_) => upload.push_data(None, &room),
            Err(error) => {
                tracing::debug!(%error, "a technician's connection broke");
                return upload.end();
            }
        }
    }
}

impl VendorWrite {
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), Gone> {
        match self {
            Self::Channel(channel) => channel.data_bytes(bytes).await.map_err(|_| Gone),
            Self::Stream(stream) => async {
                stream.write_all(&bytes).await?;
                stream.flush().await
            }
            .await
            .map_err(|_: io::Error| Gone),
            Self::Page(outlet) => outlet.shown(bytes).await.map_err(|_| Gone),
        }
    }

    /// No more will come.
    pub(super) async fn finish(&mut self) -> Result<(), Gone> {
        match self {
            Self::Channel(channel) => channel.eof().await.map_err(|_| Gone),
            Self::Stream(stream) => stream.shutdown().await.map_err(|_| Gone),
            // On a page nothing ends before the connection does.
            Self::Page(_) => Ok(()),
        }
    }

    pub(super) async fn close(&mut self) {
        let closed = match self {
            Self::Channel(channel) => channel.close().await.map_err(|_| Gone),
            Self::Stream(stream) => stream.shutdown().await.map_err(|_| Gone),
            Self::Page(outlet) => {
                outlet.close();
                Ok(())
            }
        };
        if closed.is_err() {
            tracing::debug!("a technician was gone before their connection was closed");
        }
    }
}

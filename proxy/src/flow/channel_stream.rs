//! The transport of the inner session of `ssh -J`: an SSH connection that runs inside a channel of the outer one.
//! It is a vendor leg like the outer: always read, held by its windows, never shut.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use russh::{ChannelWriteHalf, server};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::gated::{Pacer, cut_error};
use super::{Brake, Event, HIGH_BYTES, Queue, Valve};

/// Reads what the outer channel's upload queue holds, writes into a queue that a task forwards.
pub struct ChannelStream {
    upload: Arc<Queue>,
    download: Arc<Queue>,
    valve: Arc<Valve>,
    pacer: Pacer,
    chunk: Bytes,
}

impl ChannelStream {
    /// The stream over an accepted outer channel, and the task that carries what is written to it, to be polled beside
    /// the inner session until it completes. `valve` is the inner session's own.
    pub fn new(
        upload: Arc<Queue>,
        channel: ChannelWriteHalf<server::Msg>,
        valve: Arc<Valve>,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let download = Queue::new(Brake::Writer, Arc::clone(&valve));
        let forwarding = forward(Arc::clone(&download), channel);
        (Self { upload, download, valve, pacer: Pacer::default(), chunk: Bytes::new() }, forwarding)
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            ready!(self.pacer.poll_turn(cx, &self.valve));
            match ready!(self.upload.poll_pop(cx)) {
                Some(Event::Data { stream: None, bytes }) if !self.valve.is_deaf() => {
                    self.valve.note_read(bytes.len());
                    self.pacer.note_read(bytes.len(), &self.valve);
                    return Poll::Ready(Some(bytes));
                }
                Some(Event::Eof | Event::Close) | None => return Poll::Ready(None),
                Some(other) => self.upload.forwarded(other.weight()),
            }
        }
    }
}

impl Drop for ChannelStream {
    fn drop(&mut self) {
        self.upload.end();
        self.download.end();
        self.valve.note_gone();
    }
}

impl AsyncRead for ChannelStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.valve.wake_reader_with(cx.waker());
        if this.valve.is_cut() {
            return Poll::Ready(Err(cut_error()));
        }
        if this.chunk.is_empty() {
            match ready!(this.poll_chunk(cx)) {
                Some(chunk) => this.chunk = chunk,
                None => return Poll::Ready(Ok(())),
            }
        }
        let given = this.chunk.len().min(buf.remaining());
        buf.put_slice(&this.chunk[..given]);
        this.chunk.advance(given);
        this.upload.forwarded(given);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ChannelStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.valve.wake_writer_with(cx.waker());
        if self.valve.is_cut() {
            return Poll::Ready(Err(cut_error()));
        }
        ready!(self.download.poll_room_below(cx, HIGH_BYTES));
        if self.download.is_ended() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.download.push_data(None, buf);
        self.valve.note_taken(buf.len());
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Says nothing, and the channel is closed when the stream is dropped. On an EOF here OpenSSH's `-J` stops reading
    /// its inner client, which then fails writing before it reads the words that came before the EOF.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Carries what the inner session writes, and closes the outer channel behind it.
async fn forward(download: Arc<Queue>, channel: ChannelWriteHalf<server::Msg>) {
    while let Some(event) = download.pop().await {
        let weight = event.weight();
        let sent = match event {
            Event::Data { bytes, .. } => channel.data_bytes(bytes).await,
            _ => Ok(()),
        };
        download.forwarded(weight);
        if sent.is_err() {
            break;
        }
    }
    download.end();
    if channel.close().await.is_err() {
        tracing::debug!("the outer session ended before its channel was closed");
    }
}

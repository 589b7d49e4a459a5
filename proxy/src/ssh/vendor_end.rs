//! The technician's end of a channel to a target that is typed to: of a client by SSH, or of a terminal on a page of ours. What
//! passes, and whether it may, is the same for both; here is how each is written to.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use recordings::notes::Note;
use recordings::words::Words;
use russh::server::{self, Handle};
use russh::{ChannelId, ChannelWriteHalf, Sig};

use super::channel::{STDERR, Voice, signal_name};
use crate::flow::{Brake, Queue, Valve};
use crate::sittings::{BROWSER, Outlet, ShellEnd};

/// A vendor channel, accepted.
pub struct VendorEnd {
    pub(super) write: VendorWrite,
    pub(super) upload: Arc<Queue>,
    pub(super) made: Arc<Queue>,
}

/// Where a channel's bytes go at the technician's: by what they came with. What cannot be sent finds nobody.
pub(super) enum VendorWrite {
    /// A channel of their SSH connection.
    Ssh { write: ChannelWriteHalf<server::Msg>, session: Handle },
    /// A page.
    Browser { outlet: Outlet, from: SocketAddr },
}

impl VendorEnd {
    /// `write` is the channel without its read half, which takes nothing once dropped and so blocks nobody: everything
    /// inbound comes by `upload`, the queue that [`VendorFlow::open_channel`](crate::flow::VendorFlow::open_channel)
    /// gave. `session` is the handle of the session the channel belongs to.
    pub fn new(write: ChannelWriteHalf<server::Msg>, session: Handle, upload: Arc<Queue>) -> Self {
        Self::of(VendorWrite::Ssh { write, session }, upload)
    }

    /// A terminal on a page, from where it is looked at.
    pub(crate) fn in_browser(outlet: Outlet, from: SocketAddr, upload: Arc<Queue>) -> Self {
        Self::of(VendorWrite::Browser { outlet, from }, upload)
    }

    fn of(write: VendorWrite, upload: Arc<Queue>) -> Self {
        // Bounded by whoever fills it: `Voice` and the relay's replies ask for room.
        let made = Queue::new(Brake::Writer, Arc::new(Valve::default()));
        Self { write, upload, made }
    }

    /// What comes from the technician.
    pub(crate) const fn upload(&self) -> &Arc<Queue> {
        &self.upload
    }

    /// Whether the technician closed the channel, or is gone.
    pub(super) fn has_left(&self) -> bool {
        self.upload.is_ended()
    }

    /// Whether it is on a page.
    pub(crate) const fn is_in_browser(&self) -> bool {
        matches!(self.write, VendorWrite::Browser { .. })
    }

    /// Whether what they typed and waits is thrown away.
    pub(super) fn is_dismissed(&self) -> bool {
        matches!(&self.write, VendorWrite::Browser { outlet, .. } if outlet.is_dismissed())
    }

    /// A way for the session to speak to the technician on this channel.
    pub fn voice(&self) -> Voice {
        Voice::on(&self.made)
    }

    /// A way past everything that waits.
    pub(crate) fn aside(&self) -> Aside {
        match &self.write {
            VendorWrite::Ssh { write, session } => Aside::Ssh { session: session.clone(), id: write.id() },
            VendorWrite::Browser { outlet, .. } => Aside::Browser(outlet.clone()),
        }
    }

    /// What the recording says of where it comes from, unless from inside the SSH connection that the session is of.
    pub(super) fn opened(&self) -> Option<Note> {
        let VendorWrite::Browser { from, .. } = &self.write else { return None };
        let from = Some(Words::from(from.to_string().as_str()));
        Some(Note::ChannelOpen { kind: BROWSER.into(), to: None, from })
    }
}

impl VendorWrite {
    pub(super) async fn data(&self, stream: Option<u32>, bytes: Bytes) -> Result<(), russh::Error> {
        match (self, stream) {
            (Self::Ssh { write, .. }, None) => write.data_bytes(bytes).await,
            (Self::Ssh { write, .. }, Some(stream)) => write.extended_data_bytes(stream, bytes).await,
            (Self::Browser { outlet, .. }, None) => outlet.shown(bytes).await,
            (Self::Browser { outlet, .. }, Some(_)) => outlet.aside(bytes).await,
        }
    }

    /// What the gate made. Its lines stand beside a page's terminal, too.
    pub(super) async fn made(&self, stream: Option<u32>, bytes: Bytes) -> Result<(), russh::Error> {
        match (self, stream) {
            (Self::Browser { outlet, .. }, Some(_)) => outlet.aside_by_gate(bytes).await,
            _ => self.data(stream, bytes).await,
        }
    }

    /// On a page nothing ends before the terminal does.
    pub(super) async fn eof(&self) -> Result<(), russh::Error> {
        match self {
            Self::Ssh { write, .. } => write.eof().await,
            Self::Browser { .. } => Ok(()),
        }
    }

    /// `made` by the gate, where no program gave it.
    pub(super) async fn exit_status(&self, status: u32, made: bool) -> Result<(), russh::Error> {
        match self {
            Self::Ssh { write, .. } => write.exit_status(status).await,
            Self::Browser { outlet, .. } => {
                outlet.note_end(if made { ShellEnd::ByGate } else { ShellEnd::Status(status) });
                Ok(())
            }
        }
    }

    pub(super) async fn exit_signal(
        &self,
        signal: Sig,
        core_dumped: bool,
        message: String,
        language: String,
    ) -> Result<(), russh::Error> {
        match self {
            Self::Ssh { write, session } => {
                let sending = session.exit_signal_request(write.id(), signal, core_dumped, message, language);
                sending.await.map_err(|()| russh::Error::SendError)
            }
            Self::Browser { outlet, .. } => {
                outlet.note_end(ShellEnd::Signal(signal_name(&signal).to_string()));
                Ok(())
            }
        }
    }

    pub(super) async fn close(&self) -> Result<(), russh::Error> {
        match self {
            Self::Ssh { write, .. } => write.close().await,
            Self::Browser { outlet, .. } => {
                outlet.close();
                Ok(())
            }
        }
    }
}

/// Speaks to a technician past everything that waits for them. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Aside {
    Ssh { session: Handle, id: ChannelId },
    Browser(Outlet),
}

/// They are gone, or read nothing.
#[derive(Debug)]
pub(crate) struct NobodyThere;

impl Aside {
    /// Says a line.
    pub(crate) async fn say(&self, line: Bytes) -> Result<(), NobodyThere> {
        match self {
            Self::Ssh { session, id } => {
                session.extended_data(*id, STDERR.unwrap_or_default(), line).await.map_err(|_| NobodyThere)
            }
            Self::Browser(outlet) => outlet.said(line).await.map_err(|_| NobodyThere),
        }
    }

    /// Says why a channel is not carried, and closes it.
    pub(crate) async fn refuse(&self, line: Bytes, status: u32) -> Result<(), NobodyThere> {
        self.say(line.clone()).await?;
        match self {
            Self::Ssh { session, id } => {
                session.exit_status_request(*id, status).await.map_err(|()| NobodyThere)?;
                session.eof(*id).await.map_err(|()| NobodyThere)?;
                session.close(*id).await.map_err(|()| NobodyThere)
            }
            Self::Browser(outlet) => {
                outlet.note_end(ShellEnd::ByGate);
                outlet.told(&line).await.map_err(|_| NobodyThere)?;
                outlet.close();
                Ok(())
            }
        }
    }
}

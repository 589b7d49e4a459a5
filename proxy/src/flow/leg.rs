//! The target's leg of a plain TCP connection: one socket, read and written apart from each other, ended by its valve.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use bytes::BytesMut;
use rustix::net::Shutdown;
use tokio::net::TcpStream;

use super::Valve;
use super::gated::cut_error;

/// A socket to a target. What is written to it is in the kernel's hands when the write returns: nothing is kept back here.
#[derive(Debug)]
pub struct Leg {
    socket: TcpStream,
    valve: Arc<Valve>,
}

impl Leg {
    /// Over a socket that `dial` opened; `valve` ends it.
    ///
    /// # Errors
    /// The system has no second handle for the socket.
    pub fn new(socket: TcpStream, valve: Arc<Valve>) -> io::Result<Self> {
        valve.close_on_cut(socket.as_fd().try_clone_to_owned()?);
        Ok(Self { socket, valve })
    }

    /// Writes all of it, unless the leg ends before. May be dropped only together with the leg: nobody would know how much
    /// was written.
    ///
    /// # Errors
    /// The connection was cut, or it broke.
    pub async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.socket.writable().await?;
            self.check_cut()?;
            match self.socket.try_write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.valve.note_written();
                    bytes = &bytes[written..];
                }
                Err(busy) if busy.kind() == io::ErrorKind::WouldBlock => {}
                Err(broken) => return Err(broken),
            }
        }
        Ok(())
    }

    /// Reads what there is behind what `room` holds; 0 at the target's end. May be dropped and called again.
    ///
    /// # Errors
    /// The connection was cut, or it broke.
    pub async fn read(&self, room: &mut BytesMut) -> io::Result<usize> {
        loop {
            self.socket.readable().await?;
            self.check_cut()?;
            match self.socket.try_read_buf(room) {
                Ok(read) => {
                    self.valve.note_read(read);
                    return Ok(read);
                }
                Err(busy) if busy.kind() == io::ErrorKind::WouldBlock => {}
                Err(broken) => return Err(broken),
            }
        }
    }

    /// Says that no more will be written, as TCP does; reading goes on.
    pub fn finish(&self) {
        if let Err(error) = rustix::net::shutdown(&self.socket, Shutdown::Write) {
            tracing::debug!(%error, "a target was gone before it was told the end");
        }
    }

    /// Whether the connection was cut.
    pub fn is_cut(&self) -> bool {
        self.valve.is_cut()
    }

    fn check_cut(&self) -> io::Result<()> {
        if self.valve.is_cut() { Err(cut_error()) } else { Ok(()) }
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        self.valve.note_gone();
    }
}

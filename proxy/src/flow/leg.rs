//! The target's leg of a plain TCP connection: one socket, read and written apart from each other, ended by its valve. What
//! passes here is what reaches the target and what it answers, so here those who read along are told.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use approver::capture::{About, Captures, Passage};
use bytes::BytesMut;
use recordings::pcapng::{End, Ends};
use rustix::net::{Shutdown, sockopt};
use tokio::net::TcpStream;

use super::Valve;
use super::gated::cut_error;

/// A socket to a target. What is written to it is in the kernel's hands when the write returns: nothing is kept back here.
#[derive(Debug)]
pub struct Leg {
    socket: TcpStream,
    valve: Arc<Valve>,
    passage: Passage,
    hides: AtomicBool,
}

impl Leg {
    /// Over a socket that `dial` opened; `valve` ends it. Who reads along `captures` learns what passes, and whose it is.
    ///
    /// # Errors
    /// The system has no second handle for the socket, or the target has left already.
    pub fn new(socket: TcpStream, valve: Arc<Valve>, captures: &Captures, about: Arc<About>) -> io::Result<Self> {
        let ends = Ends { technician: socket.local_addr()?, target: socket.peer_addr()? };
        valve.close_on_cut(socket.as_fd().try_clone_to_owned()?);
        Ok(Self { socket, valve, passage: captures.passage(about, ends), hides: AtomicBool::new(false) })
    }

    /// Writes all of it, unless the leg ends before. May be dropped only together with the leg: nobody would know how much
    /// was written.
    ///
    /// # Errors
    /// The connection was cut, or it broke.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.write_telling(bytes, |written| self.passage.passed(End::Technician, written)).await
    }

    /// As [`Leg::write`], of a secret: who reads along sees as many zeros.
    ///
    /// # Errors
    /// As [`Leg::write`].
    pub async fn write_hidden(&self, secret: &[u8]) -> io::Result<()> {
        self.write_telling(secret, |written| self.passage.passed(End::Technician, &vec![0; written.len()])).await
    }

    async fn write_telling(&self, mut bytes: &[u8], tell: impl Fn(&[u8])) -> io::Result<()> {
        while !bytes.is_empty() {
            self.socket.writable().await?;
            self.check_cut()?;
            match self.socket.try_write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.valve.note_written();
                    tell(&bytes[..written]);
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
        let held = room.len();
        loop {
            self.socket.readable().await?;
            self.check_cut()?;
            match self.socket.try_read_buf(room) {
                Ok(read) => {
                    self.valve.note_read(read);
                    if read == 0 {
                        // It may be ours: who cuts ends the socket at any moment.
                        self.check_cut()?;
                    }
                    match read {
                        0 => self.passage.finished(End::Target),
                        read if self.hides.load(Ordering::Relaxed) => self.passage.passed(End::Target, &vec![0; read]),
                        _ => self.passage.passed(End::Target, &room[held..]),
                    }
                    return Ok(read);
                }
                Err(busy) if busy.kind() == io::ErrorKind::WouldBlock => {}
                Err(broken) => return Err(broken),
            }
        }
    }

    /// Whether what the target sends may hold a secret of the gate's: who reads along sees as many zeros then.
    pub fn hide(&self, hides: bool) {
        self.hides.store(hides, Ordering::Relaxed);
    }

    /// From now on a byte that the target sends as urgent stays among the others, where telnet means it to be: else the second
    /// half of a command would be missing (RFC 854, the Synch).
    pub fn keep_urgent_in_line(&self) {
        if let Err(error) = sockopt::set_socket_oobinline(&self.socket, true) {
            tracing::debug!(%error, "urgent bytes of a target may be lost");
        }
    }

    /// Says that no more will be written, as TCP does; reading goes on.
    pub fn finish(&self) {
        if let Err(error) = rustix::net::shutdown(&self.socket, Shutdown::Write) {
            tracing::debug!(%error, "a target was gone before it was told the end");
        }
        self.passage.finished(End::Technician);
    }

    /// What ends it.
    pub const fn valve(&self) -> &Arc<Valve> {
        &self.valve
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

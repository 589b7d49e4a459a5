//! Sockets that are handed to a process, one by one, over one that it has already (`SCM_RIGHTS`, unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketType, recvmsg, sendmsg,
};

/// One goes with one byte, which nobody reads otherwise.
const BYTE: &[u8] = b"+";

/// Hands it over.
///
/// # Errors
/// The other side is gone.
pub(super) fn hand_over(door: &UnixStream, handed: &impl AsFd) -> io::Result<()> {
    let handed = [handed.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    with.push(SendAncillaryMessage::ScmRights(&handed));
    sendmsg(door, &[IoSlice::new(BYTE)], &mut with, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for what [`hand_over`] sends, and takes it; nothing where the other side is gone. What is no Unix stream is let go: a vault
/// answers nobody over a network, and writes into no file.
///
/// # Errors
/// Something else came.
pub(super) fn taken(door: &UnixStream) -> io::Result<Option<UnixStream>> {
    while let Some(handed) = received(door)? {
        if socket_domain(&handed) == Ok(AddressFamily::UNIX) && socket_type(&handed) == Ok(SocketType::STREAM) {
            return Ok(Some(UnixStream::from(handed)));
        }
        tracing::warn!("something was handed over that is no Unix stream");
    }
    Ok(None)
}

fn received(door: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let (mut byte, mut space) = ([0], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
    let mut with = RecvAncillaryBuffer::new(&mut space);
    if recvmsg(door, &mut [IoSliceMut::new(&mut byte)], &mut with, RecvFlags::CMSG_CLOEXEC)?.bytes == 0 {
        return Ok(None);
    }
    let mut handed = with.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut handed) => handed.next(),
        _ => None,
    });
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "no socket was handed over");
    handed.next().map(Some).ok_or_else(odd)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn each_that_is_handed_over_arrives_by_itself_and_nothing_else_does() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        for words in ["one", "after the other"] {
            let (mut near, far) = UnixStream::pair().unwrap();
            hand_over(&ours, &far).unwrap();
            drop(far);
            near.write_all(words.as_bytes()).unwrap();
            drop(near);
            let mut read = String::new();
            taken(&theirs).unwrap().unwrap().read_to_string(&mut read).unwrap();
            assert_eq!(read, words);
        }
        (&ours).write_all(b"+").unwrap();
        assert_eq!(taken(&theirs).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(ours);
        assert!(taken(&theirs).unwrap().is_none());
    }

    #[test]
    fn what_is_no_unix_stream_is_let_go_and_what_comes_after_it_arrives() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        hand_over(&ours, &TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        hand_over(&ours, &UnixDatagram::unbound().unwrap()).unwrap();
        hand_over(&ours, &File::open("/dev/null").unwrap()).unwrap();
        let (mut near, far) = UnixStream::pair().unwrap();
        hand_over(&ours, &far).unwrap();
        near.write_all(b"heard").unwrap();
        drop(near);
        let mut read = String::new();
        taken(&theirs).unwrap().unwrap().read_to_string(&mut read).unwrap();
        assert_eq!(read, "heard");
    }
}

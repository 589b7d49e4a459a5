//! Sockets that are handed to a process over one that it has already (`SCM_RIGHTS`, unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// They go with one byte, which nobody reads otherwise.
const BYTE: &[u8] = b"+";

/// Hands these over.
///
/// # Errors
/// The other side is gone.
pub(super) fn hand_over(stream: &UnixStream, handed: &[UnixStream; 2]) -> io::Result<()> {
    let handed = handed.each_ref().map(|one| one.as_fd());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    with.push(SendAncillaryMessage::ScmRights(&handed));
    sendmsg(stream, &[IoSlice::new(BYTE)], &mut with, SendFlags::empty())?;
    Ok(())
}

/// Takes what [`hand_over`] sends.
///
/// # Errors
/// Something else came, or nothing.
pub(super) fn taken(stream: &UnixStream) -> io::Result<[UnixStream; 2]> {
    let (mut byte, mut space) = ([0], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))]);
    let mut with = RecvAncillaryBuffer::new(&mut space);
    recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut with, RecvFlags::CMSG_CLOEXEC)?;
    let handed = with.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(handed) => Some(handed),
        _ => None,
    });
    let handed = handed.flatten().map(UnixStream::from).collect::<Vec<_>>();
    let odd = |_| io::Error::new(io::ErrorKind::InvalidData, "no sockets were handed over");
    handed.try_into().map_err(odd)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn what_is_handed_over_arrives_and_nothing_is_an_error() {
        let ((ours, theirs), (mut one, far), (other, also_far)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        hand_over(&ours, &[far, also_far]).unwrap();
        let [mut first, _] = taken(&theirs).unwrap();
        one.write_all(b"through").unwrap();
        drop((one, other));
        let mut read = String::new();
        first.read_to_string(&mut read).unwrap();
        assert_eq!(read, "through");
        drop(ours);
        assert_eq!(taken(&theirs).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

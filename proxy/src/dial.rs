//! The one place that opens a socket to a target. What is spoken over it is decided elsewhere.
//!
//! Nobody connects to a place of their own choosing:
//! ```compile_fail
//! fn anywhere(name: String, address: String) -> proxy::dial::Destination {
//!     proxy::dial::Destination { name, address }
//! }
//! ```

use std::io;
use std::time::Duration;

use approver::lease::Lease;
use rustix::net::sockopt;
use tokio::net::TcpStream;

/// A target's service that somebody approved: what to call it, and where it is.
#[derive(Clone, Debug)]
pub struct Destination {
    name: String,
    address: String,
}

impl Destination {
    /// Where a lease leads.
    pub fn of(lease: &Lease) -> Self {
        Self { name: lease.target().to_string(), address: lease.destination().address.to_string() }
    }

    /// A destination nobody approved: for tests and benches, which have their own targets.
    pub fn dangerously_unleased(name: &str, address: &str) -> Self {
        Self { name: name.to_owned(), address: address.to_owned() }
    }

    /// The target's name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Why there is no connection to a target.
#[derive(Debug, thiserror::Error)]
pub enum DialFault {
    /// Nothing came back at all: wrong address, no power, no route, or a firewall that is silent.
    #[error("{name} did not answer within {} s", within.as_secs_f32())]
    Silent {
        /// The target.
        name: String,
        /// How long was waited.
        within: Duration,
    },
    /// The network or the target said no.
    #[error("{name} cannot be reached: {cause}")]
    Unreachable {
        /// The target.
        name: String,
        /// What the system said.
        cause: io::Error,
    },
}

/// Opens a connection to the destination, or says within `patience` why not.
///
/// Small packets leave at once. A peer that vanished is noticed after a minute without traffic and after two with
/// bytes on the way, because SSH's own keepalives would end a target whose output merely waits for the technician.
pub async fn dial(destination: &Destination, patience: Duration) -> Result<TcpStream, DialFault> {
    let unreachable = |cause| DialFault::Unreachable { name: destination.name.clone(), cause };
    let stream = tokio::time::timeout(patience, TcpStream::connect(&destination.address))
        .await
        .map_err(|_| DialFault::Silent { name: destination.name.clone(), within: patience })?
        .map_err(unreachable)?;
    prepare(&stream).map_err(unreachable)?;
    Ok(stream)
}

/// Takes a socket that somebody else accepted to the thread this runs on.
pub(crate) fn take_over(accepted: std::net::TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(accepted)
}

/// Sets a TCP socket as both sides of the gate want it.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
    const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
    const KEEPALIVE_PROBES: u32 = 3;
    const UNACKNOWLEDGED_MAX_MS: u32 = 120_000;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MAX_MS)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(address: &str) -> Destination {
        Destination::dangerously_unleased("hmi-2", address)
    }

    #[tokio::test]
    async fn a_target_that_refuses_is_named_with_the_cause() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let fault = dial(&destination(&free.to_string()), Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(fault.to_string(), "hmi-2 cannot be reached: Connection refused (os error 111)");
    }

    #[tokio::test]
    async fn a_silent_target_is_given_up_in_time_and_said_so() {
        // A listener whose backlog is full answers no further SYN.
        let listener = tokio::net::TcpSocket::new_v4().unwrap();
        listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = listener.listen(1).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut held = Vec::new();
        let fault = loop {
            match dial(&destination(&address), Duration::from_millis(200)).await {
                Ok(stream) => held.push(stream),
                Err(fault) => break fault,
            }
        };
        assert_eq!(fault.to_string(), "hmi-2 did not answer within 0.2 s");
    }

    #[tokio::test]
    async fn a_connection_sends_small_packets_at_once_and_notices_a_vanished_peer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream =
            dial(&destination(&listener.local_addr().unwrap().to_string()), Duration::from_secs(5)).await.unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 120_000);
    }
}

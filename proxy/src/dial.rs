//! The one place that opens a socket to a target. What is spoken over it is decided elsewhere.
//!
//! Nobody connects but by a lease, and where it leads:
//! ```
//! async fn leased(lease: &approver::lease::Lease) {
//!     let _ = proxy::dial::dial(lease, std::time::Duration::from_secs(10)).await;
//! }
//! ```
//! and not to a place of their own choosing:
//! ```compile_fail
//! async fn anywhere(address: &str) {
//!     let _ = proxy::dial::dial(address, std::time::Duration::from_secs(10)).await;
//! }
//! ```
//! ```compile_fail
//! async fn where_one_once_led(destination: &approver::lease::Destination) {
//!     let _ = proxy::dial::dial(destination, std::time::Duration::from_secs(10)).await;
//! }
//! ```

use std::io;
use std::time::Duration;

use approver::lease::Lease;
use approver::spans::{Key, Span, Work};
use rustix::net::sockopt;
use tokio::net::TcpStream;

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

/// Opens a connection to where the lease leads, or says within `patience` why not.
///
/// Small packets leave at once. A peer that vanished is noticed after a minute without traffic and after two with
/// bytes on the way, because SSH's own keepalives would end a target whose output merely waits for the technician.
pub async fn dial(lease: &Lease, patience: Duration) -> Result<TcpStream, DialFault> {
    let name = || lease.target().to_string();
    let unreachable = |cause| DialFault::Unreachable { name: name(), cause };
    let address = lease.destination().address.to_string();
    let dialling = Span::begin(Work::Dial);
    dialling.set(Key::Session, &lease.session());
    dialling.set(Key::Target, lease.target());
    let dialled = tokio::time::timeout(patience, TcpStream::connect(address))
        .await
        .map_err(|_| DialFault::Silent { name: name(), within: patience })
        .and_then(|dialled| dialled.map_err(unreachable));
    if dialled.is_err() {
        dialling.failed("not reached");
    }
    let stream = dialled?;
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
    use approver::testing::Leased;

    use super::*;

    #[tokio::test]
    async fn a_target_that_refuses_is_named_with_the_cause() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let leased = Leased::to(&free.to_string()).await;
        let fault = dial(&leased.lease, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(fault.to_string(), "hmi-2 cannot be reached: Connection refused (os error 111)");
    }

    #[tokio::test]
    async fn a_silent_target_is_given_up_in_time_and_said_so() {
        // A listener whose backlog is full answers no further SYN.
        let listener = tokio::net::TcpSocket::new_v4().unwrap();
        listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = listener.listen(1).unwrap();
        let leased = Leased::to(&listener.local_addr().unwrap().to_string()).await;
        let mut held = Vec::new();
        let fault = loop {
            match dial(&leased.lease, Duration::from_millis(200)).await {
                Ok(stream) => held.push(stream),
                Err(fault) => break fault,
            }
        };
        assert_eq!(fault.to_string(), "hmi-2 did not answer within 0.2 s");
    }

    #[tokio::test]
    async fn a_connection_sends_small_packets_at_once_and_notices_a_vanished_peer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let leased = Leased::to(&listener.local_addr().unwrap().to_string()).await;
        let stream = dial(&leased.lease, Duration::from_secs(5)).await.unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 120_000);
    }
}

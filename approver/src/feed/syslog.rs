//! The feed as syslog: RFC 5424 messages, by octet counting over TCP (RFC 6587, 3.4.1) and TLS (RFC 5425), or as datagrams
//! (RFC 5426), of which nobody knows whether they arrive.
//!
//! Syslog knows no acknowledgement. What was sent over a connection counts as taken when the receiver, told that no more
//! comes, closes in order: by then it has read everything. Over TLS it must say so itself (RFC 5425, 4.4), so that nobody
//! on the way can.

use std::io;
use std::str::FromStr;
use std::time::Duration;

use axum::http::Uri;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::post::{NoCa, connector};

/// Where syslog goes: `tls://`, `tcp://` or `udp://`, a host, and a port where it is not 6514, 601 or 514.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogUrl {
    how: How,
    host: String,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Tls,
    Tcp,
    Udp,
}

/// Text that is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no syslog receiver: write for example \"tls://siem.mill3.example:6514\", or tcp:// or udp://")]
pub struct BadSyslogUrl(String);

impl FromStr for SyslogUrl {
    type Err = BadSyslogUrl;
    fn from_str(text: &str) -> Result<Self, BadSyslogUrl> {
        let bad = || BadSyslogUrl(text.chars().take(200).collect());
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let (how, default) = match uri.scheme_str() {
            Some("tls") => (How::Tls, 6514),
            Some("tcp") => (How::Tcp, 601),
            Some("udp") => (How::Udp, 514),
            _ => return Err(bad()),
        };
        let is_bare = uri.path().trim_matches('/').is_empty() && uri.query().is_none();
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        let host = uri.host().filter(|host| !host.is_empty() && is_bare && !has_user).ok_or_else(bad)?;
        Ok(Self { how, host: host.trim_matches(['[', ']']).to_owned(), port: uri.port_u16().unwrap_or(default) })
    }
}

impl SyslogUrl {
    /// Whether it is reached under TLS.
    pub const fn is_tls(&self) -> bool {
        matches!(self.how, How::Tls)
    }
}

/// A receiver of syslog.
pub struct Syslog {
    to: SyslogUrl,
    tls: Option<TlsConnector>,
    /// How this gate is called in messages.
    hostname: String,
    line: Option<Line>,
}

enum Line {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Udp(UdpSocket),
}

const CONNECTING_MAX: Duration = Duration::from_secs(20);
/// A receiver that takes nothing for so long, or does not close, is asked anew; what it did not take is sent again.
const STALLED_MAX: Duration = Duration::from_secs(300);

impl Syslog {
    /// To this address; `ca_pem` instead of the system's CAs.
    ///
    /// # Errors
    /// No CA that could vouch for it.
    pub fn new(to: SyslogUrl, ca_pem: Option<&str>, hostname: String) -> Result<Self, NoCa> {
        let tls = if to.is_tls() { Some(connector(ca_pem)?) } else { None };
        Ok(Self { to, tls, hostname, line: None })
    }

    /// Whether what was sent is all that will ever be known of it.
    pub(super) fn is_best_effort(&self) -> bool {
        self.to.how == How::Udp
    }

    /// Sends these lines of the feed, over a new connection where there is none.
    pub(super) async fn send(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.line.is_none() {
            let connecting = tokio::time::timeout(CONNECTING_MAX, self.connect()).await;
            self.line = Some(connecting.map_err(|_| timed_out("it does not answer"))??);
        }
        let hostname = &self.hostname;
        let messages = lines.split(|byte| *byte == b'\n').filter_map(|line| message(line, hostname));
        let line = self.line.as_mut().expect("it was connected");
        if let Line::Udp(socket) = line {
            for message in messages {
                socket.send(message.as_bytes()).await?;
            }
            return Ok(());
        }
        let framed: String = messages.map(|message| format!("{} {message}", message.len())).collect();
        let mut rest = framed.as_bytes();
        while !rest.is_empty() {
            let writing = tokio::time::timeout(STALLED_MAX, line.write(rest)).await;
            match writing.map_err(|_| timed_out("it takes nothing"))?? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => rest = &rest[written..],
            }
        }
        line.flush().await
    }

    /// Completes with an error when the other side ends the connection before we do.
    pub(super) async fn broken(&mut self) -> io::Error {
        match &mut self.line {
            None | Some(Line::Udp(_)) => std::future::pending().await,
            Some(line) => match line.read_some().await {
                Ok(_) => io::Error::new(io::ErrorKind::ConnectionAborted, "it closed the connection"),
                Err(cause) => cause,
            },
        }
    }

    /// Says that no more comes, and waits until the receiver has taken everything.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        let Some(mut line) = self.line.take() else { return Ok(()) };
        let closing = tokio::time::timeout(STALLED_MAX, line.close()).await;
        closing.map_err(|_| timed_out("it does not close, so that it is not known what it took"))?
    }

    /// Forgets the connection.
    pub(super) fn drop_line(&mut self) {
        self.line = None;
    }

    async fn connect(&self) -> io::Result<Line> {
        let SyslogUrl { how, host, port } = &self.to;
        if *how == How::Udp {
            let mut last = io::Error::other("the name has no address");
            for address in tokio::net::lookup_host((host.as_str(), *port)).await? {
                let from = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
                let socket = UdpSocket::bind(from).await?;
                match socket.connect(address).await {
                    Ok(()) => return Ok(Line::Udp(socket)),
                    Err(cause) => last = cause,
                }
            }
            return Err(last);
        }
        let socket = TcpStream::connect((host.as_str(), *port)).await?;
        match &self.tls {
            None => Ok(Line::Tcp(socket)),
            Some(tls) => {
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                Ok(Line::Tls(Box::new(tls.connect(name, socket).await?)))
            }
        }
    }
}

impl std::fmt::Debug for Syslog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Syslog").field(&self.to).finish()
    }
}

impl Line {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes).await,
            Self::Tls(stream) => stream.write(bytes).await,
            Self::Udp(socket) => socket.send(bytes).await,
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush().await,
            Self::Tls(stream) => stream.flush().await,
            Self::Udp(_) => Ok(()),
        }
    }

    /// What the other side says, which is nothing that syslog knows; 0 at its end.
    async fn read_some(&mut self) -> io::Result<usize> {
        let mut said = [0; 512];
        loop {
            let read = match self {
                Self::Tcp(stream) => stream.read(&mut said).await?,
                Self::Tls(stream) => stream.read(&mut said).await?,
                Self::Udp(_) => std::future::pending().await,
            };
            if read == 0 {
                return Ok(0);
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown().await?,
            Self::Tls(stream) => stream.shutdown().await?,
            Self::Udp(_) => return Ok(()),
        }
        match self.read_some().await {
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => Err(io::Error::new(
                cause.kind(),
                "it closes without TLS's close_notify, so that it is not known what it took; rsyslog says it with its driver `ossl`",
            )),
            read => read.map(|_| ()),
        }
    }
}

fn timed_out(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

#[derive(Deserialize)]
struct Head<'a> {
    time: jiff::Timestamp,
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    result: &'a str,
}

/// A line of the feed as a message of RFC 5424; none where it is empty. It holds ASCII alone, so it needs no byte order mark
/// (6.4).
fn message(line: &[u8], hostname: &str) -> Option<String> {
    /// "log audit" (6.2.1).
    const FACILITY: u8 = 13;
    let Head { time, id, kind, result } = serde_json::from_slice(line).ok()?;
    let severity = match (kind, result) {
        ("alarm-raised", _) => 2,
        (_, "failure") => 4,
        _ => 6,
    };
    let text = std::str::from_utf8(line).ok()?;
    // No more than six digits (6.2.3).
    Some(format!("<{}>1 {time:.6} {hostname} holdpoint - {id} - {text}", FACILITY * 8 + severity))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_what_it_looks_like_and_nothing_more() {
        let url = |text: &str| text.parse::<SyslogUrl>();
        let ports = [("tls://siem.example", 6514), ("tcp://192.0.2.1", 601), ("udp://[::1]", 514), ("tcp://a:77/", 77)];
        for (text, port) in ports {
            assert_eq!(url(text).unwrap().port, port, "{text}");
        }
        for none in ["", "siem.example", "https://siem.example", "tls://", "tls://a/b", "tls://u:p@a", "tcp://a?b"] {
            assert!(url(none).is_err(), "{none}");
        }
        assert_eq!(url("udp://[::1]:5").unwrap().host, "::1");
    }

    #[test]
    fn a_message_has_each_part_that_the_standard_wants() {
        let line = br#"{"time":"2026-11-22T14:03:07.120114999Z","id":"HP1402","type":"ended","result":"failure"}"#;
        let said = message(line, "gate.example").unwrap();
        assert!(said.starts_with("<108>1 2026-11-22T14:03:07.120114Z gate.example holdpoint - HP1402 - {"), "{said}");
        assert_eq!(message(b"", "gate.example"), None);
    }
}

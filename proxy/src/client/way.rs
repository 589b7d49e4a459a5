//! How a gate is reached: by its own name, or by an address that stands for it, straight or through a vendor's HTTP proxy
//! (CONNECT, RFC 9110, 9.3.6). What is then spoken is known elsewhere; a proxy sees TLS alone.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use data_encoding::BASE64;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

/// Where something is, and what is in between.
#[derive(Debug, Clone)]
pub(super) struct Way {
    /// The gate's name.
    pub(super) host: String,
    /// Where to connect, where the name does not lead there.
    pub(super) address: Option<IpAddr>,
    /// What is in between.
    pub(super) proxy: Option<Proxy>,
}

/// An HTTP proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    user: Option<String>,
    password: Option<Zeroizing<String>>,
}

/// Text that is no proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProxy {
    /// Not of that shape.
    #[error(
        "this is no proxy: write for example http://proxy.vendor.example:3128, or http://NAME@proxy.vendor.example:3128"
    )]
    Shape,
    /// To a proxy with TLS of its own.
    #[error(
        "a proxy that is itself reached by TLS is not spoken to: name it with http://, what passes it is TLS anyway"
    )]
    Https,
}

impl Proxy {
    /// Whether it wants a password that was not said.
    pub const fn lacks_password(&self) -> bool {
        self.user.is_some() && self.password.is_none()
    }

    /// Whether a password stands in its address.
    pub const fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// With this password.
    #[must_use]
    pub fn with_password(self, password: Zeroizing<String>) -> Self {
        Self { password: Some(password), ..self }
    }

    /// A connection through it.
    async fn tunnel(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut socket =
            TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|cause| self.fault(cause))?;
        let to = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut asked = Zeroizing::new(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n"));
        if let Some(user) = &self.user {
            let password = self.password.as_ref().map_or("", |password| password.as_str());
            let both = Zeroizing::new(format!("{user}:{password}"));
            let encoded = Zeroizing::new(BASE64.encode(both.as_bytes()));
            asked.push_str("Proxy-Authorization: Basic ");
            asked.push_str(&encoded);
            asked.push_str("\r\n");
        }
        asked.push_str("\r\n");
        socket.write_all(asked.as_bytes()).await?;
        let head = read_head(&mut socket).await.map_err(|cause| self.fault(cause))?;
        match status(&head) {
            Some(200..=299) => Ok(socket),
            // tinyproxy says 401 of a wrong password, and 407 where there is none.
            Some(401 | 407) if self.user.is_some() => Err(self.fault("it does not take this name and password")),
            Some(401 | 407) => Err(self.fault("it wants a name and a password: --proxy http://NAME@…")),
            Some(403) => Err(self.fault(format_args!("it lets nobody through to {to}"))),
            Some(other) => Err(self.fault(format_args!("it does not connect to {to} (HTTP status {other})"))),
            None => Err(self.fault("it does not answer as an HTTP proxy")),
        }
    }

    fn fault(&self, what: impl fmt::Display) -> io::Error {
        io::Error::other(format!("the proxy {self}: {what}"))
    }
}

impl FromStr for Proxy {
    type Err = BadProxy;

    fn from_str(text: &str) -> Result<Self, BadProxy> {
        if text.starts_with("https://") {
            return Err(BadProxy::Https);
        }
        let rest = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let (who, place) = rest.rsplit_once('@').map_or((None, rest), |(who, place)| (Some(who), place));
        let (host, port) = place.rsplit_once(':').ok_or(BadProxy::Shape)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if host.is_empty() || !host.chars().all(is_name) {
            return Err(BadProxy::Shape);
        }
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(BadProxy::Shape)?;
        let (user, password) = match who.map(|who| who.split_once(':').unwrap_or((who, ""))) {
            None => (None, None),
            Some((user, password)) => {
                let password = Zeroizing::new(decoded(password).ok_or(BadProxy::Shape)?);
                (Some(decoded(user).ok_or(BadProxy::Shape)?), Some(password).filter(|password| !password.is_empty()))
            }
        };
        Ok(Self { host: host.to_owned(), port, user, password })
    }
}

/// Percent-encoding undone (RFC 3986, 2.1), since passwords have every sign; nothing that would break a line of HTTP.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
                rest = after;
            }
            (b'%', _) => return None,
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

/// Never its password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// The head of an answer, and not a byte of what follows it.
async fn read_head(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    /// No proxy has more to say.
    const HEAD_BYTES_MAX: usize = 16 << 10;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return Err(io::Error::other("it does not come to an end"));
        }
        let hung_up = |cause: io::Error| match cause.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::other("it hangs up"),
            _ => cause,
        };
        head.push(socket.read_u8().await.map_err(hung_up)?);
    }
    Ok(head)
}

fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    line.split(' ').nth(1)?.parse().ok()
}

impl Way {
    /// Opens a connection to a port of the gate's.
    pub(super) async fn open(&self, port: u16) -> io::Result<TcpStream> {
        let socket = match (&self.proxy, self.address) {
            (None, Some(address)) => TcpStream::connect(SocketAddr::new(address, port)).await?,
            (None, None) => TcpStream::connect((self.host.as_str(), port)).await?,
            (Some(proxy), Some(address)) => proxy.tunnel(&address.to_string(), port).await?,
            (Some(proxy), None) => proxy.tunnel(&self.host, port).await?,
        };
        socket.set_nodelay(true)?;
        Ok(socket)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_proxy_has_a_host_a_port_and_perhaps_a_name_and_password_which_never_show() {
        let proxy: Proxy = "http://lee:p%40ss%3Aw@proxy.vendor.example:3128/".parse().unwrap();
        assert_eq!(
            (proxy.host.as_str(), proxy.port, proxy.user.as_deref()),
            ("proxy.vendor.example", 3128, Some("lee"))
        );
        assert_eq!(proxy.password.as_deref().map(String::as_str), Some("p@ss:w"));
        assert_eq!(format!("{proxy} {proxy:?}"), "proxy.vendor.example:3128 Proxy(proxy.vendor.example:3128)");
        assert!("http://lee@10.0.0.1:80".parse::<Proxy>().unwrap().lacks_password());
        assert!(!"[fd00::1]:80".parse::<Proxy>().unwrap().lacks_password());
        for bad in [
            "",
            "proxy",
            "http://proxy",
            "http://proxy:0",
            "socks5://proxy:1080",
            "http://a b:80",
            "http://%0d@x:80",
            "http://%4@x:80",
        ] {
            assert_eq!(bad.parse::<Proxy>(), Err(BadProxy::Shape), "{bad}");
        }
        assert_eq!("https://proxy:443".parse::<Proxy>(), Err(BadProxy::Https));
    }

    #[tokio::test]
    async fn what_follows_the_proxys_answer_is_the_gates() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy: Proxy = format!("http://lee:secret@{}", listener.local_addr().unwrap()).parse().unwrap();
        let served = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let asked = read_head(&mut socket).await.unwrap();
            socket.write_all(b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\nhello").await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        let mut socket = proxy.tunnel("gate.example", 443).await.unwrap();
        let mut said = [0; 5];
        socket.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"hello");
        let expected = "CONNECT gate.example:443 HTTP/1.1\r\nHost: gate.example:443\r\nProxy-Authorization: Basic bGVlOnNlY3JldA==\r\n\r\n";
        assert_eq!(served.await.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_proxy_that_says_no_is_told_by_name() {
        for (answer, words) in [
            ("HTTP/1.1 407 x\r\n\r\n", "does not take this name and password"),
            ("HTTP/1.0 401 x\r\n\r\n", "does not take this name and password"),
            ("HTTP/1.1 403 x\r\n\r\n", "lets nobody through to gate.example:443"),
            ("HTTP/1.1 502 x\r\n\r\n", "HTTP status 502"),
            ("SSH-2.0-x\r\n\r\n", "does not answer as an HTTP proxy"),
            ("", "it hangs up"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let proxy: Proxy = format!("lee:secret@{}", listener.local_addr().unwrap()).parse().unwrap();
            let serving = tokio::spawn(async move {
                let (mut socket, _) = listener.accept().await.unwrap();
                let _asked = read_head(&mut socket).await.unwrap();
                socket.write_all(answer.as_bytes()).await.unwrap();
            });
            let fault = proxy.tunnel("gate.example", 443).await.unwrap_err().to_string();
            assert!(fault.contains(words) && !fault.contains("secret"), "{answer}: {fault}");
            serving.await.unwrap();
        }
    }
}

//! What systemd is told of the program: that it serves, lives, reads its configuration again, stops. The words are those of
//! sd_notify(3), in datagrams to the socket that systemd names; where it names none, nobody is told.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A manager that reads nothing keeps nothing waiting for longer.
const PATIENCE_WITH_IT: Duration = Duration::from_secs(1);

/// The log has the rest.
const REASON_BYTES_MAX: usize = 200;

/// Whoever started the program and waits for its words.
pub(crate) struct ServiceManager {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// How long it may hear nothing before it takes the program for dead.
    patience: Option<Duration>,
}

impl ServiceManager {
    /// As the environment names it. A name that leads nowhere is logged: systemd then waits for words that never come.
    pub(crate) fn from_environment() -> Self {
        let to = env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let reached = address(&name).and_then(|address| {
                let from = UnixDatagram::unbound()?;
                from.set_write_timeout(Some(PATIENCE_WITH_IT))?;
                Ok((from, address))
            });
            reached.inspect_err(|error| tracing::error!(%error, "systemd's socket cannot be reached")).ok()
        });
        let number = |name: &str| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
        let is_ours = number("WATCHDOG_PID").is_none_or(|process| process == u64::from(std::process::id()));
        let patience = number("WATCHDOG_USEC").filter(|_| is_ours && to.is_some()).map(Duration::from_micros);
        Self { to, patience }
    }

    /// It serves.
    pub(crate) fn serves(&self) {
        self.tell("READY=1\nSTATUS=serving");
    }

    /// It serves as before: a new configuration was refused for this reason, of which the beginning is told.
    pub(crate) fn serves_as_before(&self, refused: &str) {
        let line = refused.lines().next().unwrap_or_default();
        let short = &line[..line.floor_char_boundary(REASON_BYTES_MAX)];
        self.tell(&format!("READY=1\nSTATUS=serving as before, the new configuration was refused: {short}"));
    }

    /// It reads its configuration again, until it serves.
    pub(crate) fn reloads(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// It stops, which takes no longer than this.
    pub(crate) fn stops(&self, within: Duration) {
        self.tell(&format!("STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC={}", within.as_micros()));
    }

    /// Does this, and says meanwhile that the program lives: from the same task, so that one which hangs says nothing.
    pub(crate) async fn alive_during<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            never = self.lives() => match never {},
            done = work => done,
        }
    }

    async fn lives(&self) -> std::convert::Infallible {
        let Some(patience) = self.patience.filter(|patience| !patience.is_zero()) else {
            return std::future::pending().await;
        };
        // One word that comes late is no death.
        let mut ticks = tokio::time::interval(patience / 3);
        loop {
            ticks.tick().await;
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, words: &str) {
        let Some((from, to)) = &self.to else { return };
        if let Err(error) = from.send_to_addr(words.as_bytes(), to) {
            tracing::warn!(%error, "systemd is not told");
        }
    }
}

/// A path, or behind an `@` a name that lies in no folder.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    }
}

//! What `connect` tells: lines for a person with one below them that changes, or lines of JSON.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use jiff::Timestamp;
use policies::ids::{RequestId, ServiceName, SessionId, TargetName};
use serde::Serialize;

use crate::client::Client;
use crate::commands::print_json;
use crate::commands::showing::{Clock, counted, plain, span};

/// One thing that happened.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Told<'a> {
    /// A request waits for its yes.
    Waiting {
        request: RequestId,
        target: &'a TargetName,
        needs: &'a str,
        /// What to read out to an operator on the telephone.
        #[serde(skip_serializing_if = "Option::is_none")]
        read_back: Option<&'a str>,
    },
    /// A service is to be had. Of a grant that nobody has used yet, `lasts_seconds` run from the first connection.
    Open {
        target: &'a TargetName,
        service: &'a ServiceName,
        listen: Option<SocketAddr>,
        server_name: &'a str,
        request: RequestId,
        lasts_seconds: Option<u32>,
        until: Timestamp,
    },
    /// Certificate and key lie in a file.
    Certificate { file: &'a Path, connect: String, server_name: &'a str, ca: &'a Path },
    /// A connection is carried.
    Connected { target: &'a TargetName, service: &'a ServiceName, session: SessionId },
    /// It is no more; with the gate's own words why, where it has said some beside the bytes.
    Closed {
        target: &'a TargetName,
        service: &'a ServiceName,
        session: SessionId,
        bytes_up: u64,
        bytes_down: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        words: Option<&'a str>,
    },
    /// A connection was not carried.
    NotCarried { target: &'a TargetName, service: &'a ServiceName, words: &'a str },
    /// A session ended otherwise than by leaving it.
    Ended { target: &'a TargetName, service: &'a ServiceName, session: SessionId, words: &'a str },
    /// An operator wrote a line.
    Written { target: &'a TargetName, service: &'a ServiceName, session: SessionId, words: &'a str },
    /// The grant ends soon, or otherwise than it did.
    Until { target: &'a TargetName, until: Timestamp, soon: bool },
    /// The gate restarts then, and lets nobody in before.
    Restarts { at: Timestamp },
    /// The gate names an authority that none of those that are trusted has signed.
    Stranger { words: &'a str },
    /// The gate does not answer.
    OutOfReach { words: &'a str },
    /// It answers again.
    BackInReach,
    /// The grant is over.
    Over { target: &'a TargetName, request: RequestId, words: &'a str },
}

/// To whom it is told.
pub(super) struct Voice {
    clock: RefCell<Clock>,
    json: bool,
    bar: ProgressBar,
}

impl Voice {
    pub(super) fn new(client: &Client, json: bool) -> Self {
        let bar = if json { ProgressBar::hidden() } else { ProgressBar::no_length() };
        bar.set_style(ProgressStyle::with_template("{msg}").expect("a template of ours"));
        Self { clock: RefCell::new(Clock::of(client)), json, bar }
    }

    /// Reads the clock again, for words such as "in 5 minutes".
    pub(super) fn look_at_the_clock(&self, client: &Client) {
        *self.clock.borrow_mut() = Clock::of(client);
    }

    pub(super) fn tell(&self, told: &Told<'_>) {
        if self.json {
            if let Err(failure) = print_json(told) {
                tracing::debug!(?failure, "a line could not be written");
            }
            return;
        }
        self.bar.suspend(|| say!("{}", self.in_words(told)));
    }

    /// The line that changes.
    pub(super) fn show(&self, connections: usize, (up, down): (u64, u64), until: Timestamp) {
        let (clock, connections) = (self.clock.borrow(), counted(connections, "connection"));
        let (up, down) = (HumanBytes(up), HumanBytes(down));
        self.bar.set_message(format!(
            "{connections}, {up} sent, {down} received, until {} ({})",
            clock.moment(until),
            clock.away(until)
        ));
    }

    /// Takes that line away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn in_words(&self, told: &Told<'_>) -> String {
        let clock = self.clock.borrow();
        let until = |at: Timestamp| format!("{} ({})", clock.moment(at), clock.away(at));
        match told {
            Told::Waiting { request, target, needs, read_back } => {
                let waits = format!("{target}: {request} waits for {}. Ctrl-C leaves it standing.", plain(needs));
                match read_back {
                    Some(code) => {
                        format!("{waits} If an operator answers you by telephone, read out: {}.", plain(code))
                    }
                    None => waits,
                }
            }
            Told::Open { target, service, listen, lasts_seconds, until: at, .. } => {
                let place = listen.map_or_else(|| "with the certificate".to_owned(), |listen| format!("at {listen}"));
                let when = match lasts_seconds {
                    Some(seconds) => {
                        let lasts = span((*seconds).into());
                        format!("for {lasts} from the first connection, and no later than {}", until(*at))
                    }
                    None => format!("until {}", until(*at)),
                };
                let others = if listen.is_none_or(|listen| listen.ip().is_loopback()) { "" } else { OTHERS };
                format!("{target}/{service} is open {place} {when}.{others}")
            }
            Told::Certificate { file, connect, server_name, ca } => format!(
                "{file} holds certificate and key, and is written anew before they expire:\n\n  openssl s_client -quiet \
                 -verify_return_error -connect {connect} \\\n      -servername {server_name} -cert {file} -CAfile {}\n",
                ca.display(),
                file = file.display()
            ),
            Told::Connected { target, service, session } => format!("{target}/{service}: connected, {session}."),
            Told::Closed { target, service, bytes_up, bytes_down, words, .. } => {
                let why = words.map(|words| format!(" {}", plain(words))).unwrap_or_default();
                let (up, down) = (HumanBytes(*bytes_up), HumanBytes(*bytes_down));
                format!("{target}/{service}: closed, {up} sent, {down} received.{why}")
            }
            Told::NotCarried { target, service, words } => format!("{target}/{service}: {}", plain(words)),
            Told::Ended { target, service, session, words } => {
                format!("{target}/{service}: {session} ended: {}.", plain(words))
            }
            Told::Written { target, service, words, .. } => {
                format!("{target}/{service}: an operator writes: {}", plain(words))
            }
            Told::Until { target, until: at, soon: true } => {
                format!("{target}: the grant ends {}. More time: `holdpoint extend`.", until(*at))
            }
            Told::Until { target, until: at, soon: false } => format!("{target}: the grant now ends {}.", until(*at)),
            Told::Restarts { at } => format!(
                "The gate restarts {}. Finish what you do: what is open ends then at the latest, and nothing new begins before.",
                until(*at)
            ),
            Told::Stranger { words } => format!("Beware: {words}."),
            Told::OutOfReach { words } => format!("{} Trying again.", plain(words)),
            Told::BackInReach => "The gate answers again.".to_owned(),
            Told::Over { target, words, .. } => format!("{target}: {}", plain(words)),
        }
    }
}

const OTHERS: &str =
    "\nThat is no address of the loopback: whoever reaches it from your network works under your name.";

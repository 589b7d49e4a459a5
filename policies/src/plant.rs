//! The plant as its file describes it: zones, targets with their services, rules. Values only, complete and checked;
//! how the file is read is in `plant/parse.rs`. People are not here: they are events.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::actions::Action;
use crate::digest::Digest;
use crate::ids::{CredentialName, GroupName, ServiceName, TargetName, ZoneName};
use crate::time::{Seconds, Shifts};

mod mistakes;
pub mod modbus;
mod parse;
mod prompt;
pub mod reader;
mod rule;

pub use mistakes::{Mistake, Mistakes, closest, shown};
pub use prompt::{BadPrompt, Prompt, Prompts};
pub use rule::{
    BadPattern, DeadlineEnding, Escort, Exclusive, FileCheck, IdleEnding, Pattern, Reach, Rule, Sample,
    StalenessEnding, Tell, Then, Unaccepted, Weaker, WorkOrder,
};

/// A plant file, read whole and without a mistake.
#[derive(Debug, Clone, PartialEq)]
pub struct Plant {
    /// What people call it.
    pub name: String,
    /// In which its hours are meant and its times are shown.
    pub timezone: TimeZone,
    /// Shown before anybody signs in.
    pub banner: String,
    /// Who, beside an administrator, signs a new plant file; all of them are needed. Never empty.
    pub changes: Vec<Quorum>,
    /// Until when an operator who signed in counts as on duty, and when the next take over.
    pub shifts: Shifts,
    /// How long after a change what nobody accepted may wait before it is red.
    pub accept_within: Seconds,
    /// Of whom nothing was heard for so long, is called dormant.
    pub dormant_after: Seconds,
    /// Whether connections are carried within a WebSocket: whatever opens TLS on their way reads and can alter them.
    pub websockets: bool,
    /// How old a secret may get that the gate opens accounts with, where its service says nothing else. None: as old as it will.
    pub credential_age_max: Option<Seconds>,
    /// By name.
    pub zones: BTreeMap<ZoneName, Zone>,
    /// By name; each lies in one of `zones`.
    pub targets: BTreeMap<TargetName, Target>,
    /// In file order, which decides between several that allow; identifiers are unique.
    pub rules: Vec<Rule>,
    digest: Digest,
}

impl Plant {
    /// `shifts` where the file says nothing.
    pub const SHIFTS: Shifts = Shifts::Each(Seconds(12 * 3_600));
    /// `accept_within` where the file says nothing.
    pub const ACCEPT_WITHIN: Seconds = Seconds(15 * 60);
    /// Nobody plans further ahead for a secret: ten years.
    pub const CREDENTIAL_AGE_LIMIT: Seconds = Seconds(3_650 * 86_400);
    /// `dormant_after` where the file says nothing: a quarter, as accounts are commonly reviewed as often.
    pub const DORMANT_AFTER: Seconds = Seconds(90 * 86_400);
    /// No `dormant_after` is longer: whoever was not here for two years is somebody else by now.
    pub const DORMANT_LIMIT: Seconds = Seconds(2 * 365 * 86_400);

    /// Reads a plant file. Pure: time zones come from the database in the program.
    ///
    /// # Errors
    /// Every mistake in it, by place; of broken TOML the first alone, because nothing after it can be trusted.
    pub fn parse(text: &str) -> Result<Self, Mistakes> {
        parse::plant(text)
    }

    /// Reads a plant file that was adopted, perhaps by an earlier program: what is known and not built stands in it as it
    /// was signed, and does nothing.
    ///
    /// # Errors
    /// As [`Plant::parse`].
    pub fn adopted(text: &str) -> Result<Self, Mistakes> {
        parse::adopted(text)
    }

    /// Every group of operators that it names, whatever for; one may come more than once.
    pub fn groups(&self) -> impl Iterator<Item = &GroupName> {
        let of_rules = self.rules.iter().flat_map(|rule| {
            rule.approvals.iter().map(|quorum| &quorum.from).chain(rule.tell.iter().map(|tell| &tell.group))
        });
        self.changes.iter().map(|quorum| &quorum.from).chain(of_rules)
    }

    /// SHA-256 of the file's exact bytes: what is signed and journaled when it is adopted.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// So many different operators of one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// The group.
    pub from: GroupName,
    /// How many of them, 1 to 9.
    pub count: u8,
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.count, self.from)
    }
}

/// A part of the plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Zone {
    /// Nobody reaches it, whatever the rules say.
    pub never: bool,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where it stands.
    pub zone: ZoneName,
    /// Whether its clock can be relied on.
    pub clock: TargetClock,
    /// By name; never empty.
    pub services: BTreeMap<ServiceName, Service>,
}

/// What is known of a target's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetClock {
    /// Right enough for certificates that live for minutes.
    #[default]
    Good,
    /// Not to be relied on: no short-lived certificates there.
    Unknown,
}

/// One thing a target listens for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What is spoken.
    pub protocol: Protocol,
    /// Where. No other target has the same address.
    pub address: Address,
    /// The account on the target; of `ssh` always.
    pub user: Option<String>,
    /// What opens that account; of `ssh` always.
    pub credential: Option<Credential>,
    /// How old that may get, where it is a secret and the plant says otherwise.
    pub credential_age_max: Option<Seconds>,
    /// The host key it must show; of `ssh` always.
    pub host_key: Option<HostKeyPin>,
    /// What it shows when it wants `user` and `credential`; of `telnet` alone.
    pub prompts: Prompts,
    /// Whether algorithms long given up elsewhere are admitted towards it.
    pub legacy: bool,
    /// Whether a gate that knows its protocol refuses what was not granted, or only tells what passes.
    pub gate: Gate,
    /// How many sockets may be open to it at once; of `ssh`, which has limits of its own, as many as there are channels.
    pub connections_max: u16,
    /// How many requests a gate lets through to it in a second; more wait their turn. None where nobody counts.
    pub requests_per_second: Option<NonZeroU32>,
    /// Of `modbus`: what the gate's table does not say of it.
    pub modbus: modbus::Profile,
}

impl Service {
    /// `connections_max` where the file says nothing: a controller has few, and the plant's own programs use most of them.
    pub const CONNECTIONS_MAX: u16 = 2;

    /// The actions that mean something here; a request for any other is refused. Where a gate only decodes, nothing can be
    /// allowed without the rest.
    pub const fn actions(&self) -> &'static [Action] {
        match self.gate {
            Gate::Enforce => self.protocol.actions(),
            Gate::Decode => &[Action::Tunnel],
        }
    }
}

/// What a protocol gate does with what was not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// It refuses it, in the protocol's own form. Of protocols without a gate: what the face above it refuses.
    Enforce,
    /// It lets everything pass and tells it in words.
    Decode,
}

/// What a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// SSH, ended and opened again by us.
    Ssh,
    /// A TCP connection nobody looks into.
    Tcp,
    /// Modbus/TCP.
    Modbus,
    /// S7comm.
    S7,
    /// VNC (RFB).
    Vnc,
    /// EtherNet/IP with CIP.
    Cip,
    /// Telnet: a terminal in clear text, spoken by us.
    Telnet,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 7] = [Self::Ssh, Self::Tcp, Self::Modbus, Self::S7, Self::Vnc, Self::Cip, Self::Telnet];

    /// The word for it in files and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Tcp => "tcp",
            Self::Modbus => "modbus",
            Self::S7 => "s7",
            Self::Vnc => "vnc",
            Self::Cip => "cip",
            Self::Telnet => "telnet",
        }
    }

    /// The actions that mean something on a service of this protocol, where its gate enforces.
    pub const fn actions(self) -> &'static [Action] {
        use Action::{Control, FileGet, FilePut, Observe, Operate, Program, Shell, Tunnel, Upload};
        match self {
            Self::Ssh => &[Shell, FileGet, FilePut],
            Self::Tcp => &[Tunnel],
            Self::Modbus | Self::S7 | Self::Cip => &[Observe, Upload, Operate, Program, Control, Tunnel],
            Self::Vnc => &[Observe, Operate, Control],
            Self::Telnet => &[Shell],
        }
    }

    /// What its gate does where the file says nothing; none where it has no gate. S7 and CIP decode until a plant says
    /// otherwise: how engineering tools take a refusal has not been seen on every controller.
    pub const fn gate(self) -> Option<Gate> {
        match self {
            Self::Modbus | Self::Vnc => Some(Gate::Enforce),
            Self::S7 | Self::Cip => Some(Gate::Decode),
            Self::Ssh | Self::Tcp | Self::Telnet => None,
        }
    }

    /// What whoever approves it, watches it or reads of it should know.
    pub const fn caution(self) -> Option<&'static str> {
        match self {
            Self::Telnet => Some(
                "telnet is best effort: on the plant network everything is clear text, the login included, and nothing proves \
                 which machine answers",
            ),
            Self::Ssh | Self::Tcp | Self::Modbus | Self::S7 | Self::Vnc | Self::Cip => None,
        }
    }

    /// Whether it is reached as a TCP connection of the technician's own program, by `-L` or `holdpoint connect`.
    pub const fn is_forwarded(self) -> bool {
        !self.is_typed_to()
    }

    /// Whether it is a terminal that the technician's SSH client reaches, by `-J`, by the login's name or from the lobby.
    pub const fn is_typed_to(self) -> bool {
        matches!(self, Self::Ssh | Self::Telnet)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a target's account is opened. The secret itself is never here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// By a short-lived SSH certificate of our own.
    Certificate,
    /// By a secret sealed at rest under this name.
    Sealed(CredentialName),
}

/// Where a service listens, as `host:port`; an IPv6 address stands in brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The machine.
    pub host: Host,
    /// Never 0.
    pub port: u16,
}

/// A machine's place on the network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An address of one machine.
    Ip(IpAddr),
    /// A name in lower case (RFC 1123, 2.1), looked up when it is dialled.
    Name(String),
}

/// Text that is no address of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// No `:port`, or not one from 1 to 65535.
    #[error("the port is missing or not a number from 1 to 65535: write for example 10.20.2.11:22")]
    Port,
    /// More than one colon and no brackets.
    #[error("an IPv6 address stands in brackets: write for example [fd00::11]:22")]
    Brackets,
    /// Neither an address of one machine nor a name.
    #[error("the host is neither a machine's IP address nor a name: write for example 10.20.2.11:22 or hmi-2.plant:22")]
    Host,
}

impl FromStr for Address {
    type Err = BadAddress;
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(BadAddress::Port)?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(BadAddress::Brackets);
        }
        let digits = port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port != 0).ok_or(BadAddress::Port)?;
        Ok(Self { host: host.parse()?, port })
    }
}

impl FromStr for Host {
    type Err = BadAddress;
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let ip = match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => Some(IpAddr::V6(inner.parse().map_err(|_| BadAddress::Host)?)),
            None => text.parse().ok().map(IpAddr::V4),
        };
        match ip.map(|ip| ip.to_canonical()) {
            Some(ip) if is_one_machine(ip) => Ok(Self::Ip(ip)),
            None if is_host_name(text) => Ok(Self::Name(text.to_owned())),
            _ => Err(BadAddress::Host),
        }
    }
}

fn is_one_machine(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(ip.is_unspecified() || ip.is_multicast() || broadcast)
}

/// A last label of digits alone would be a broken IPv4 address, which resolvers read in ways nobody expects.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| label.parse::<TargetName>().is_ok();
    let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    text.len() <= 253 && text.split('.').all(label) && !text.rsplit('.').next().is_some_and(numeric)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(ip) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// The fingerprint of a host key as OpenSSH prints it: `SHA256:` and 43 characters of base64. Checked for its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKeyPin(String);

/// Text that is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a host key's fingerprint: write it as `ssh-keygen -lf` prints it on the target, SHA256:…")]
pub struct BadPin;

impl HostKeyPin {
    /// The text of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostKeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HostKeyPin {
    type Err = BadPin;
    fn from_str(text: &str) -> Result<Self, BadPin> {
        let base64 = text.strip_prefix("SHA256:").ok_or(BadPin)?;
        let alphabet = base64.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
        // 43 characters carry 258 bits; the two beyond the digest's 256 are zero.
        let ends_even = base64.ends_with(|c| "AEIMQUYcgkosw048".contains(c));
        if base64.len() == 43 && alphabet && ends_even { Ok(Self(text.to_owned())) } else { Err(BadPin) }
    }
}

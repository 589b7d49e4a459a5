//! What the gate and its vault say to each other: a length of four bytes, big-endian, and as many bytes of JSON. A message
//! has a bound, because the vault believes nothing of what it reads.

use std::io::{self, Read, Write};
use std::net::IpAddr;

use data_encoding::BASE64;
use jiff::Timestamp;
use policies::ids::{CredentialName, DeploymentId, PersonId, SessionId};
use policies::time::Window;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::ring::Ring;

/// Above any message: the longest are the files of a backup, and longer ones are refused.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// What messages go over.
pub trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// Bytes, as base64; wiped when dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(pub Zeroizing<Vec<u8>>);

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(BASE64.encode(&self.0)))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        BASE64.decode(text.as_bytes()).map(|bytes| Self(Zeroizing::new(bytes))).map_err(serde::de::Error::custom)
    }
}

/// What the gate asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// Whether it is there.
    Ping,
    /// All that is not secret, and the one key that a library wants.
    Public,
    /// The same, after the keys that can be renewed were read anew.
    Reload,
    /// A log head, a seal or a cut, to be signed by the key of logs.
    SignForLog(Bytes),
    /// The header and claims of a token, to be signed.
    SignToken(String),
    /// A certificate of the SSH CA.
    SshCertificate(SshDraft),
    /// A certificate of the TLS CA for a server, from now on, for a key that the vault made.
    ServerCertificate {
        /// The names.
        names: Vec<String>,
        /// The key, as the vault gave it.
        sealed: Bytes,
    },
    /// A certificate of the TLS CA for a technician's client.
    ClientCertificate {
        /// What it says.
        draft: ClientDraft,
        /// For which key (SubjectPublicKeyInfo, DER).
        key: Bytes,
    },
    /// A fresh key for handshakes.
    NewHandshakeKey,
    /// The key for handshakes in this file, which the configuration names.
    HandshakeKeyIn(String),
    /// The certificates in this file, which the configuration names, as PEM.
    ChainIn(String),
    /// A server's handshake, to be signed by a key that the vault gave, sealed, before.
    SignHandshake {
        /// As the vault gave it.
        sealed: Bytes,
        /// By which of TLS's schemes (RFC 8446, 4.2.3).
        scheme: u16,
        /// What a server signs (RFC 8446, 4.4.3).
        message: Bytes,
    },
    /// A secret, to be sealed.
    Seal {
        /// Bound in.
        label: String,
        /// The secret.
        plain: Bytes,
    },
    /// Which step's code of a person's sealed TOTP secret this is, around the vault's own time.
    Totp {
        /// Whose.
        person: PersonId,
        /// As it was sealed.
        sealed: Bytes,
        /// What was typed.
        code: Bytes,
    },
    /// The tag of these bytes.
    Tag(Bytes),
    /// What the gate itself signs in with elsewhere.
    OpenForGate {
        /// Its name.
        name: CredentialName,
        /// As it was sealed.
        sealed: Bytes,
    },
    /// What opens a target, for a session that goes on.
    OpenForSession {
        /// Which session.
        session: SessionId,
        /// Its name.
        name: CredentialName,
        /// As it was sealed.
        sealed: Bytes,
    },
    /// Entries of the journal for who hears of it for the first time, each with its place, in order: none between them says anything to
    /// the vault.
    Brief {
        /// Each as its event was encoded.
        entries: Vec<(u64, Bytes)>,
        /// So many entries there are in all, up to now.
        until: u64,
    },
    /// Entries of the journal, from this one on.
    Tell {
        /// How many there are before.
        after: u64,
        /// Each as its event was encoded.
        entries: Vec<Bytes>,
    },
    /// The configuration's file.
    Configuration,
    /// The files around the keys, and the sealed keys, for a backup.
    Files,
}

/// By which connection a question goes, where there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What sessions and the journal wait for.
    Signing,
    /// What strangers may ask for as often as they like.
    Handshakes,
    /// What waits for a disk.
    Files,
}

impl Ask {
    /// What is asked for, in one word.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Public => "public",
            Self::Reload => "reload",
            Self::SignForLog(_) => "sign-for-log",
            Self::SignToken(_) => "sign-token",
            Self::SshCertificate(_) => "ssh-certificate",
            Self::ServerCertificate { .. } => "server-certificate",
            Self::ClientCertificate { .. } => "client-certificate",
            Self::NewHandshakeKey => "new-handshake-key",
            Self::HandshakeKeyIn(_) => "handshake-key-in",
            Self::ChainIn(_) => "chain-in",
            Self::SignHandshake { .. } => "sign-handshake",
            Self::Seal { .. } => "seal",
            Self::Totp { .. } => "totp",
            Self::Tag(_) => "tag",
            Self::OpenForGate { .. } => "open-for-gate",
            Self::OpenForSession { .. } => "open-for-session",
            Self::Tell { .. } => "tell",
            Self::Brief { .. } => "brief",
            Self::Configuration => "configuration",
            Self::Files => "files",
        }
    }

    pub(super) const fn way(&self) -> Way {
        match self {
            Self::Ping
            | Self::Public
            | Self::SignForLog(_)
            | Self::SignToken(_)
            | Self::SshCertificate(_)
            | Self::ClientCertificate { .. }
            | Self::Seal { .. }
            | Self::Totp { .. }
            | Self::Tag(_)
            | Self::OpenForGate { .. }
            | Self::OpenForSession { .. }
            | Self::Brief { .. }
            | Self::Tell { .. } => Way::Signing,
            Self::ServerCertificate { .. } | Self::NewHandshakeKey | Self::SignHandshake { .. } => Way::Handshakes,
            Self::Reload | Self::HandshakeKeyIn(_) | Self::ChainIn(_) | Self::Configuration | Self::Files => Way::Files,
        }
    }
}

/// What the vault answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// It is there, has heard what it was told, and this is its program's version.
    Here(String),
    /// See [`Ask::Public`].
    Public(Box<Public>),
    /// A signature, a certificate, a secret.
    Bytes(Bytes),
    /// A certificate, as text.
    Text(String),
    /// See [`Ask::NewHandshakeKey`].
    HandshakeKey(HandshakeKey),
    /// See [`Ask::Totp`].
    Step(Option<u64>),
    /// See [`Ask::Files`].
    Files(Files),
    /// It will not, and why.
    Refused(String),
    /// Nothing is there that opens the keys, and why.
    Sealed(String),
}

/// Files by name.
pub type Files = Vec<(String, Bytes)>;

/// What the gate has of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Public {
    /// How the keys are sealed: `file`, `passphrase` or `systemd-credential`.
    pub seal: String,
    /// The host key of the SSH face, whole, since russh signs with it itself (OpenSSH's form).
    pub ssh_host: Bytes,
    /// The public halves of it and of those beside it (OpenSSH's form).
    pub ssh_hosts: Ring<String>,
    /// The public halves of the SSH CA (OpenSSH's form).
    pub ssh_ca: Ring<String>,
    /// The TLS CA's certificates (DER).
    pub tls_ca: Ring<Bytes>,
    /// Those by which one of them, or one from before, signed the next (DER).
    pub tls_ca_succession: Vec<Bytes>,
    /// The public half of the logs' key (Ed25519).
    pub log: Bytes,
    /// The public halves of the tokens' key (Ed25519).
    pub token: Ring<Bytes>,
}

/// A key for handshakes, which the gate can have sign and cannot read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandshakeKey {
    /// Under a key that lives as long as the vault's process.
    pub sealed: Bytes,
    /// Its public half (SubjectPublicKeyInfo, DER).
    pub public: Bytes,
    /// The schemes of TLS by which it signs, the best first.
    pub schemes: Vec<u16>,
}

/// What a certificate of the SSH CA is to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SshDraft {
    /// The gate is these names.
    Host {
        /// The public key (OpenSSH's form).
        key: String,
        /// The names.
        principals: Vec<String>,
        /// When.
        valid: Window,
    },
    /// Whoever holds the key is this person, from this address.
    User {
        /// The public key (OpenSSH's form).
        key: String,
        /// The person's id.
        principal: String,
        /// Where from.
        source: IpAddr,
        /// When.
        valid: Window,
        /// Its number.
        serial: u64,
        /// What logs call it.
        key_id: String,
    },
    /// Whoever holds the key may log in at the target of this session.
    Target {
        /// The public key (OpenSSH's form).
        key: String,
        /// The account there.
        user: String,
        /// When.
        valid: Window,
        /// For which session.
        session: SessionId,
    },
}

/// What a client's certificate is to say: whoever holds the key may open connections under a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientDraft {
    /// What it says, as it stands in it.
    pub uri: String,
    /// Of which installation.
    pub deployment: DeploymentId,
    /// From now on.
    pub now: Timestamp,
}

/// A message as it goes over.
///
/// # Errors
/// It is longer than any may be.
pub fn encoded(message: &impl Serialize) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for most messages at once: a vector that grows leaves copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 << 10));
    bytes.extend_from_slice(&[0; 4]);
    serde_json::to_writer(&mut *bytes, message)?;
    let length = bytes.len() - 4;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"));
    }
    let length = u32::try_from(length).expect("the bound is below four gigabytes");
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes)
}

/// Writes a message.
///
/// # Errors
/// The stream's, or the message is too long, of which nothing was written then.
pub fn write(stream: &mut (impl Write + ?Sized), message: &impl Serialize) -> io::Result<()> {
    stream.write_all(&encoded(message)?)?;
    stream.flush()
}

/// Reads a message; none where the other side ended before one.
///
/// # Errors
/// The stream's, or what comes is none, or longer than any.
pub fn read<M: DeserializeOwned>(stream: &mut (impl Read + ?Sized)) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(ended) if ended.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is longer than any"));
    }
    let mut bytes = Zeroizing::new(vec![0; length]);
    stream.read_exact(&mut bytes)?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}

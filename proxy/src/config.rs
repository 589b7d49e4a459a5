//! `holdpoint.toml`: where this program listens, where it keeps what it must not lose, how its keys are sealed and whom
//! it tells. What people may do is not here: that is the plant file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use approver::blobs::s3::{BucketAt, BucketUrl};
use approver::feed::syslog::SyslogUrl;
use approver::notify::mail::{Address, MailServer, MailTls, MailTo};
use approver::notify::webhook::WebhookUrl;
use approver::oidc::{Groups, Issuer};
use approver::post::Url;
use approver::postgres::{DatabaseAt, Server, Standby};
use certs::oidc::SeveralFactors;
use certs::witness_key::Cosigner;
use policies::ids::{BadName, CredentialName, GroupName, NodeId, ProviderName, Recipient, RoleName, VendorId};
use policies::plant::reader::{self, Field, Kind, Reader};
use policies::plant::{Mistakes, Rule, shown};
use policies::time::Seconds;
use recordings::keys::Recipients;

use crate::settings::Settings;

/// The file, read whole and without a mistake. Paths are as the file means them: beside it, unless absolute.
#[derive(Debug, Clone)]
pub struct Config {
    /// The face technicians meet.
    pub vendor: VendorFace,
    /// The face of operators, auditors and administrators.
    pub plant: PlantFace,
    /// What is kept, and how.
    pub store: Store,
    /// How the gate's private keys are sealed at rest.
    pub seal: SealWord,
    /// Whom to tell, beside the board.
    pub notify: Notify,
    /// What the plant's own systems are told.
    pub feed: FeedConfig,
    /// By whose word people sign in, beside what they enrolled. No two of one name.
    pub oidc: Vec<ProviderAt>,
    /// Where traces are brought, if anywhere.
    pub traces: Option<TracesAt>,
    /// How long a stop waits at most for those who are at work.
    pub drain: Duration,
    /// The folder of the gate's private keys.
    pub keys: PathBuf,
    /// Which process holds them.
    pub vault: VaultAt,
    /// All of it by key, to be told and compared.
    pub(crate) settings: Settings,
}

/// Where technicians arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendorFace {
    /// How they name it.
    pub origin: Origin,
    /// Listeners that speak SSH, TLS and pages, told apart by their first bytes. Where there are none, `ssh` has some; where
    /// that has none either, other nodes show the face.
    pub listen: Vec<SocketAddr>,
    /// Listeners that speak SSH alone.
    pub ssh: Vec<SocketAddr>,
    /// The port by which technicians reach SSH, where it is not the first listener's: behind a router that forwards.
    pub ssh_port: Option<u16>,
    /// Listeners of the TCP face alone.
    pub tls: Vec<SocketAddr>,
    /// The port by which technicians reach the TCP face, where it is not the first listener's.
    pub tls_port: Option<u16>,
    /// Listeners of their API and pages alone; may be empty, since SSH does everything a technician must.
    pub pages: Vec<SocketAddr>,
    /// What browsers are shown in place of the gate's own certificate.
    pub certificate: Option<CertificateFiles>,
    /// Whether a password and a code let in who has set a password, beside a key and a code.
    pub passwords: bool,
}

impl VendorFace {
    /// Whether this node shows it.
    pub const fn is_here(&self) -> bool {
        !(self.listen.is_empty() && self.ssh.is_empty())
    }
}

/// Where the plant's own people arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlantFace {
    /// How they name it.
    pub origin: Origin,
    /// Listeners of their API and pages. Where there are none, other nodes show the face.
    pub listen: Vec<SocketAddr>,
    /// What browsers are shown in place of the gate's own certificate.
    pub certificate: Option<CertificateFiles>,
}

impl PlantFace {
    /// Whether this node shows it.
    pub const fn is_here(&self) -> bool {
        !self.listen.is_empty()
    }
}

/// Where a certificate lies that the plant gave a face, both PEM; read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The face's certificate, and behind it those of authorities between it and one that browsers know.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What is kept, and how.
#[derive(Debug, Clone)]
pub struct Store {
    /// The data folder.
    pub data: PathBuf,
    /// Who can open recordings; two at least.
    pub recipients: Vec<NamedRecipient>,
    /// Bytes of the disk below which no new session is let in.
    pub reserve_bytes: u64,
    /// Who is asked to remember elsewhere how far the logs have come.
    pub witnesses: Vec<WitnessAt>,
    /// Where decisions are kept, and the directory.
    pub journal: JournalAt,
    /// Where recordings are kept, beside the data folder.
    pub recordings: RecordingsAt,
}

/// Where recordings are kept, beside the data folder, in which each is kept first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordingsAt {
    /// Nowhere else.
    Local,
    /// In a bucket, locked there.
    Bucket {
        /// Which.
        at: Box<BucketAt>,
        /// How long the data folder keeps them at least, once their sessions ended.
        keep_local: Duration,
    },
}

/// Where decisions are kept, and the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalAt {
    /// In the data folder, which is one node's.
    Files,
    /// In a database, for one node or several; the data folder has a copy.
    Postgres {
        /// Which.
        database: Box<DatabaseAt>,
        /// What this node is called, where its data folder does not say so yet.
        node: Option<NodeId>,
    },
}

/// Somebody who can open recordings: an auditor, or whoever keeps a site key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRecipient {
    /// The public key.
    pub key: Recipient,
    /// What it is called at the plant.
    pub name: Option<String>,
}

impl FromStr for NamedRecipient {
    type Err = BadName;
    /// The key, and behind a space its name.
    fn from_str(text: &str) -> Result<Self, BadName> {
        let (key, name) = text.split_once(' ').unwrap_or((text, ""));
        let name = Some(name.trim()).filter(|name| !name.is_empty()).map(str::to_owned);
        Ok(Self { key: key.parse()?, name })
    }
}

/// A witness, and where it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessAt {
    /// The address that its `add-checkpoint` is below. In the clear will do: what passes is signed, and no secret.
    pub url: Url,
    /// Its public key under its name.
    pub key: Cosigner,
    /// The file of the CAs that may vouch for an https address, in PEM; otherwise the system's.
    pub ca: Option<PathBuf>,
}

impl Store {
    /// The recipients as the store takes them.
    ///
    /// # Panics
    /// If they were not read from a file by [`Config::parse`], which refuses bad ones.
    pub fn recipients(&self) -> Recipients {
        let keys = self.recipients.iter().map(|recipient| recipient.key.as_str());
        Recipients::parse(keys).expect("checked when the file was read")
    }

    /// What they are called, where they are.
    pub fn recipient_names(&self) -> BTreeMap<Recipient, String> {
        let name = |recipient: &NamedRecipient| Some((recipient.key.clone(), recipient.name.clone()?));
        self.recipients.iter().filter_map(name).collect()
    }
}

/// Which process holds the gate's private keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaultAt {
    /// One that the gate starts, under its own account.
    Child,
    /// A service of its own, under another account, at this socket.
    Socket(PathBuf),
}

/// The word for a seal; what opens it comes from elsewhere when the program starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SealWord {
    /// File modes alone.
    File,
    /// A passphrase asked for at each start.
    Passphrase,
    /// A credential that systemd hands over.
    SystemdCredential,
}

impl SealWord {
    /// Each, as the file writes it.
    const ALL: [(&str, Self); 3] =
        [("file", Self::File), ("passphrase", Self::Passphrase), ("systemd-credential", Self::SystemdCredential)];

    /// As the file writes it.
    pub fn as_str(self) -> &'static str {
        let written = Self::ALL.into_iter().find(|(_, word)| *word == self);
        written.expect("each is among them").0
    }
}

/// Whom to tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notify {
    /// Where notices are posted.
    pub webhook: Option<WebhookAt>,
    /// A program and its arguments, run without a shell, the notice on its standard input.
    pub command: Vec<String>,
    /// Where mail goes.
    pub mail: Option<MailAt>,
}

/// Where mail goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailAt {
    /// By which server, and to whom.
    pub to: MailTo,
    /// As whom one signs in there, and under which name the password was set.
    pub login: Option<(String, CredentialName)>,
    /// The file of the CAs that may vouch for the server, in PEM; otherwise the system's.
    pub ca: Option<PathBuf>,
}

/// The feed, and whom the gate brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedConfig {
    /// Bytes of the disk that it takes at most; what a receiver did not take by then is dropped, the oldest first.
    pub spool_bytes: u64,
    /// Those to whom it is brought. No two of one name.
    pub receivers: Vec<ReceiverAt>,
}

/// A receiver of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverAt {
    /// What it is called, and its cursor with it.
    pub name: NodeId,
    /// Where it is.
    pub at: ReceiverWay,
}

/// How a receiver gets the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiverWay {
    /// As syslog.
    Syslog {
        /// The address.
        to: SyslogUrl,
        /// The file of the CAs that may vouch for it, in PEM; otherwise the system's.
        ca: Option<PathBuf>,
    },
    /// Appended to this file.
    File(PathBuf),
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self { spool_bytes: Self::SPOOL_BYTES, receivers: Vec::new() }
    }
}

impl FeedConfig {
    /// `spool` where the file says nothing: some two hundred thousand events.
    const SPOOL_BYTES: u64 = 64 << 20;
}

/// An identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderAt {
    /// As events and addresses call it.
    pub name: ProviderName,
    /// As the button on the page calls it.
    pub title: String,
    /// What its tokens must be of.
    pub issuer: Issuer,
    /// The gate, as it calls it.
    pub client: String,
    /// Under which name the secret was set by which the gate proves itself to it; none of a public client.
    pub credential: Option<CredentialName>,
    /// The file of the CAs that may vouch for it, in PEM; otherwise the system's.
    pub ca: Option<PathBuf>,
    /// Whose technicians it knows; otherwise it knows the plant's own people.
    pub vendor: Option<VendorId>,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// When it is believed to have asked for several factors.
    pub several: SeveralFactors,
    /// Groups that must still be theirs there, too.
    pub groups: Option<Groups>,
}

/// A collector of traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracesAt {
    /// The address below which it takes them.
    pub endpoint: Url,
    /// The file of the CAs that may vouch for it, in PEM; otherwise the system's.
    pub ca: Option<PathBuf>,
    /// The file of headers that go with them, which may hold a secret.
    pub headers_file: Option<PathBuf>,
    /// Of a hundred traces so many are kept.
    pub percent: u8,
}

/// Where notices are posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookAt {
    /// The address.
    pub url: WebhookUrl,
    /// The file of the CAs that may vouch for it, in PEM; otherwise the system's.
    pub ca: Option<PathBuf>,
    /// Under which name the secret was set that notices are signed with.
    pub credential: Option<CredentialName>,
}

/// How a face is named from outside: `https://`, a DNS name in lower case, and a port where it is not 443.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    host: String,
    port: u16,
}

impl Origin {
    /// The name alone, for certificates.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port that goes with it.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            443 => write!(f, "https://{}", self.host),
            port => write!(f, "https://{}:{port}", self.host),
        }
    }
}

/// Text that is no origin of a face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadOrigin {
    /// Passkeys are bound to a name, and a certificate for an address fits nowhere else.
    #[error(
        "an IP address is no origin, because passkeys need a name: give the gate a name in your DNS and write it here"
    )]
    Address,
    /// Not a URL of that shape.
    #[error("this is no origin: write for example \"https://gate.mill3.example\", without a path")]
    Shape,
}

impl FromStr for Origin {
    type Err = BadOrigin;
    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        let rest = text.strip_prefix("https://").ok_or(BadOrigin::Shape)?;
        if rest.starts_with('[') || rest.parse::<IpAddr>().is_ok() {
            return Err(BadOrigin::Address);
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0).ok_or(BadOrigin::Shape)?),
            None => (rest, 443),
        };
        if host.parse::<IpAddr>().is_ok() {
            return Err(BadOrigin::Address);
        }
        // The same names as targets' addresses have.
        match host.parse() {
            Ok(policies::plant::Host::Name(host)) => Ok(Self { host, port }),
            _ => Err(BadOrigin::Shape),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFault {
    /// The file cannot be read.
    #[error("{path}: {cause}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The file is wrong.
    #[error("{}", .mistakes.in_file(name))]
    Mistaken {
        /// The file, as it was named.
        name: String,
        /// Every mistake in it.
        mistakes: Mistakes,
    },
}

impl Config {
    /// `reserve` where the file says nothing: a busy day of terminal sessions, and time to be told.
    pub const RESERVE_BYTES: u64 = 10 << 30;
    /// `data` where the file says nothing.
    const DATA: &str = "data";
    /// Beside the file, always: a copy of the folder is a copy of everything.
    const KEYS: &str = "keys";

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read, or every mistake in it.
    pub fn load(path: &Path) -> Result<Self, ConfigFault> {
        let unreadable = |cause| ConfigFault::Unreadable { path: path.to_owned(), cause };
        Self::of_file(path, &std::fs::read_to_string(path).map_err(unreadable)?)
    }

    /// The file at `path`, of which this is the text.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn of_file(path: &Path, text: &str) -> Result<Self, ConfigFault> {
        let unreadable = |cause| ConfigFault::Unreadable { path: path.to_owned(), cause };
        let path = std::path::absolute(path).map_err(unreadable)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        Self::parse(text, folder)
            .map_err(|mistakes| ConfigFault::Mistaken { name: path.display().to_string(), mistakes })
    }

    /// Reads the text of such a file in `folder`.
    ///
    /// # Errors
    /// Every mistake in it, by place.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Mistakes> {
        let config = reader::read(text, FILE_BYTES_MAX, &[], |reader| file(reader, folder))?;
        Ok(Self { settings: Settings::of(text), ..config })
    }
}

const OTHER: Kind = Kind("other");

/// Nobody writes more by hand.
const FILE_BYTES_MAX: usize = 64 << 10;
const ARGUMENT_CHARS_MAX: usize = 4_096;
/// Less leaves no time between the alarm and the end.
const RESERVE_BYTES_MIN: u64 = 64 << 20;

fn file(reader: &mut Reader<'_, '_>, folder: &Path) -> Option<Config> {
    let faces = reader.required("faces", "write [faces.vendor] and [faces.plant]", |field| {
        field.table(OTHER, |reader| faces(reader, folder))
    });
    let store = reader.required("store", "write [store] and its recipients", |field| {
        field.table(OTHER, |reader| store(reader, folder))
    });
    let seal = reader.required("keys", "write [keys] and how they are sealed, for example seal = \"file\"", |field| {
        field.table(OTHER, |reader| {
            let seal = reader.required("seal", "write how the keys are sealed", seal);
            let vault = reader.or("vault", VaultAt::Child, |field| {
                let at = field.plain_text(ARGUMENT_CHARS_MAX, &[])?;
                Some(if at == "child" { VaultAt::Child } else { VaultAt::Socket(folder.join(at)) })
            });
            Some((seal?, vault?))
        })
    });
    let notify = reader.or("notify", Notify::default(), |field| field.table(OTHER, |reader| notify(reader, folder)));
    let feed = reader.or("feed", FeedConfig::default(), |field| field.table(OTHER, |reader| feed(reader, folder)));
    let oidc = reader.or("oidc", Vec::new(), |field| providers(field, folder));
    let traces = reader.optional("traces", |field| field.table(OTHER, |reader| traces(reader, folder)));
    let drain = reader.or("serve", Duration::ZERO, |field| field.table(OTHER, drain));
    let (vendor, plant) = faces?;
    if !(vendor.is_here() && plant.is_here()) && matches!(store.as_ref()?.journal, JournalAt::Files) {
        let what = "a face is said to be elsewhere, and a gate with files has no other node";
        reader.note_at("faces", what, "take out `elsewhere`, or write journal = \"postgres://…\" under [store]");
        return None;
    }
    let (keys, settings) = (folder.join(Config::KEYS), Settings::default());
    let (store, (seal, vault), notify, feed, oidc) = (store?, seal?, notify?, feed?, oidc?);
    let (traces, drain) = (traces?, drain?);
    Some(Config { vendor, plant, store, seal, notify, feed, oidc, traces, drain, keys, vault, settings })
}

/// A gate that lets nobody in is not there for longer than a shift.
const DRAIN_MAX: Seconds = Seconds(12 * 3_600);

fn drain(reader: &mut Reader<'_, '_>) -> Option<Duration> {
    reader.or("drain", Duration::ZERO, |field| field.duration(Seconds(0)..=DRAIN_MAX).map(Seconds::duration))
}

fn faces(reader: &mut Reader<'_, '_>, folder: &Path) -> Option<(VendorFace, PlantFace)> {
    let vendor = reader.required("vendor", "write [faces.vendor], its origin and listen", |field| {
        field.table(OTHER, |reader| vendor_face(reader, folder))
    });
    let plant = reader.required("plant", "write [faces.plant], its origin and listen", |field| {
        field.table(OTHER, |reader| {
            let (origin, is_elsewhere) = (origin(reader), is_elsewhere(reader));
            let listen = match is_elsewhere {
                true => reader.or("listen", Vec::new(), addresses),
                false => reader.required("listen", "write for example [\"10.1.0.5:443\"]", addresses),
            };
            let certificate = certificate(reader, folder);
            if is_elsewhere {
                mean_nothing(reader, &["listen", "certificate"])?;
            }
            Some(PlantFace { origin: origin?, listen: listen?, certificate: certificate? })
        })
    });
    let (vendor, plant) = (vendor?, plant?);
    if !vendor.is_here() && !plant.is_here() {
        reader.note_at("plant", "both faces are said to be elsewhere", "let this node show one of them, at least");
        return None;
    }
    Some((vendor, plant))
}

/// Whether other nodes show a face, and this one does not.
fn is_elsewhere(reader: &mut Reader<'_, '_>) -> bool {
    reader.or("elsewhere", false, Field::flag).unwrap_or(false)
}

/// Of a face that is elsewhere.
fn mean_nothing(reader: &Reader<'_, '_>, keys: &[&str]) -> Option<()> {
    let written: Vec<_> = keys.iter().filter(|key| reader.has(key)).collect();
    for key in &written {
        let what = "this means nothing where other nodes show the face";
        reader.note_at(key, what, "leave it out, or take out `elsewhere`");
    }
    written.is_empty().then_some(())
}

fn certificate(reader: &mut Reader<'_, '_>, folder: &Path) -> Option<Option<CertificateFiles>> {
    reader.or("certificate", None, |field| {
        field.table(OTHER, |reader| {
            let right = "write for example certificate = { chain = \"holdpoint.pem\", key = \"holdpoint.key\" }";
            let chain = reader.required("chain", right, |field| file_in(field, folder));
            let key = reader.required("key", right, |field| file_in(field, folder));
            Some(Some(CertificateFiles { chain: chain?, key: key? }))
        })
    })
}

fn file_in(field: &Field<'_, '_>, folder: &Path) -> Option<PathBuf> {
    field.plain_text(ARGUMENT_CHARS_MAX, &[]).map(|path| folder.join(path))
}

fn vendor_face(reader: &mut Reader<'_, '_>, folder: &Path) -> Option<VendorFace> {
    let origin = origin(reader);
    let is_elsewhere = is_elsewhere(reader);
    let listen = reader.or("listen", Vec::new(), addresses);
    let ssh = if is_elsewhere || reader.has("listen") {
        reader.or("ssh", Vec::new(), addresses)
    } else {
        let right =
            "write for example [\"0.0.0.0:2222\"], or listen = [\"0.0.0.0:443\"] for SSH, TLS and pages on one port";
        reader.required("ssh", right, addresses)
    };
    let port = |field: &Field<'_, '_>| field.number(1..=u16::MAX.into());
    let ssh_port = match is_elsewhere {
        true => reader.required("ssh_port", "write the port by which technicians reach SSH", port).map(Some),
        false => reader.optional("ssh_port", port),
    };
    let tls = reader.or("tls", Vec::new(), addresses);
    let tls_port = reader.optional("tls_port", port);
    let pages = reader.or("pages", Vec::new(), addresses);
    let certificate = certificate(reader, folder);
    let passwords = reader.or("passwords", false, Field::flag);
    if is_elsewhere {
        mean_nothing(reader, &["listen", "ssh", "tls", "pages", "certificate", "passwords"])?;
    }
    Some(VendorFace {
        origin: origin?,
        listen: listen?,
        ssh: ssh?,
        ssh_port: ssh_port?,
        tls: tls?,
        tls_port: tls_port?,
        pages: pages?,
        certificate: certificate?,
        passwords: passwords?,
    })
}

fn origin(reader: &mut Reader<'_, '_>) -> Option<Origin> {
    reader.required("origin", "write how people name it, for example \"https://gate.mill3.example\"", Field::parsed)
}

/// Port 0 lets the system choose one, which is told when the program has started.
fn addresses(field: &Field<'_, '_>) -> Option<Vec<SocketAddr>> {
    field.filled_list("name at least one", |entry| {
        let text = entry.text()?;
        match text.parse() {
            Ok(address) => Some(address),
            Err(_) => entry.wrong(
                format!("{} is not an address and a port", shown(text)),
                "write for example \"0.0.0.0:2222\" or \"[::]:2222\"",
            ),
        }
    })
}

fn store(reader: &mut Reader<'_, '_>, folder: &Path) -> Option<Store> {
    let data = reader.or("data", folder.join(Config::DATA), |field| {
        field.plain_text(ARGUMENT_CHARS_MAX, &[]).map(|path| folder.join(path))
    });
    let journal = journal(reader, folder);
    let recordings = recordings(reader, folder);
    let recipients =
        reader.required("recipients", "write the auditors' age keys, two at least: [\"age1…\", \"age1…\"]", recipients);
    let reserve_bytes = reader.or("reserve", Config::RESERVE_BYTES, reserve);
    let witnesses = reader.or("witnesses", Vec::new(), |field| witnesses(field, folder));
    Some(Store {
        data: data?,
        recipients: recipients?,
        reserve_bytes: reserve_bytes?,
        witnesses: witnesses?,
        journal: journal?,
        recordings: recordings?,
    })
}

/// A month: whoever looks back at a session mostly does so by then, and needs no bucket for it.
const KEEP_LOCAL: Seconds = Seconds(30 * 86_400);
/// As long as any rule may keep a recording.
const KEEP_LOCAL_MAX: Seconds = Rule::RETENTION_LIMIT;

fn recordings(reader: &mut Reader<'_, '_>, folder: &Path) -> Option<RecordingsAt> {
    let url = reader.or("recordings", None, |field| match field.text()? {
        "local" => Some(None),
        text if text.starts_with("s3://") => field.parsed::<BucketUrl>().map(Some),
        text => field.wrong(format!("{} is not known here", shown(text)), "write \"local\" or \"s3://bucket/prefix\""),
    });
    let reached = reader.optional("s3", |field| field.table(OTHER, |reader| reached(reader, folder)));
    let is_elsewhere = !matches!(url, Some(None));
    if !is_elsewhere && reader.has("s3") {
        let right = "leave it out, or write recordings = \"s3://bucket/prefix\"";
        reader.note_at("s3", "this means nothing to recordings that are kept here alone", right);
        return None;
    }
    let (url, reached) = (url?, reached?);
    let Some(url) = url else { return Some(RecordingsAt::Local) };
    let Some(Reached { endpoint, region, path_style, ca, credentials, keep_local }) = reached else {
        reader.note_missing("s3", "write [store.s3] and its `credentials`");
        return None;
    };
    let at = Box::new(BucketAt { url, endpoint, region, path_style, ca, credentials });
    Some(RecordingsAt::Bucket { at, keep_local })
}

/// How the bucket is reached.
struct Reached {
    endpoint: Option<Url>,
    region: String,
    path_style: bool,
    ca: Option<PathBuf>,
    credentials: PathBuf,
    keep_local: Duration,
}

fn reached(reader: &mut Reader<'_, '_>, folder: &Path) -> Option<Reached> {
    let endpoint = reader.optional("endpoint", |field| {
        let url = field.parsed::<Url>()?;
        if url.is_https() || url.is_this_machine() {
            return Some(url);
        }
        field.wrong("the key to a bucket would go in the clear to another machine", "write an https:// address")
    });
    let region = reader.or("region", "us-east-1".to_owned(), |field| {
        let text = field.text()?;
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        match !text.is_empty() && text.len() <= 64 && text.chars().all(is_plain) {
            true => Some(text.to_owned()),
            false => field.wrong(format!("{} is no region", shown(text)), "write for example \"eu-central-1\""),
        }
    });
    let path_style = reader.or("path_style", reader.has("endpoint"), Field::flag);
    let ca = reader.optional("ca", |field| file_in(field, folder));
    let right = "write the file with the key to the bucket, for example \"s3.credentials\"";
    let credentials = reader.required("credentials", right, |field| file_in(field, folder));
    let keep_local = reader.or("keep_local", KEEP_LOCAL, |field| field.duration(Seconds(0)..=KEEP_LOCAL_MAX));
    Some(Reached {
        endpoint: endpoint?,
        region: region?,
        path_style: path_style?,
        ca: ca?,
        credentials: credentials?,
        keep_local: keep_local?.duration(),
    })
}

fn journal(reader: &mut Reader<'_, '_>, folder: &Path) -> Option<JournalAt> {
    let server = reader.or("journal", None, |field| match field.text()? {
        "files" => Some(None),
        text if text.starts_with("postgres://") || text.starts_with("postgresql://") => {
            // What stands here may be a password, so it is not shown.
            match text.parse::<Server>() {
                Ok(server) => Some(Some(server)),
                Err(bad) => field.wrong(bad.to_string(), bad.remedy()),
            }
        }
        text => field.wrong(format!("{} is not known here", shown(text)), "write \"files\" or \"postgres://…\""),
    });
    let is_in_a_database = !matches!(server, Some(None));
    let node = reader.optional("node", Field::parsed::<NodeId>);
    let reached = reader.optional("postgres", |field| {
        field.table(OTHER, |reader| {
            let password_file = reader.optional("password_file", |field| file_in(field, folder));
            let ca = reader.optional("ca", |field| file_in(field, folder));
            let standby = reader.or("standby", Standby::Synchronous, |field| {
                field.one_of(&[("synchronous", Standby::Synchronous), ("none", Standby::None)])
            });
            Some((password_file?, ca?, standby?))
        })
    });
    for key in ["node", "postgres"] {
        if !is_in_a_database && reader.has(key) {
            reader.note_at(
                key,
                "this means nothing to a journal in files",
                "leave it out, or write journal = \"postgres://…\"",
            );
            return None;
        }
    }
    let (server, node, reached) = (server?, node?, reached?);
    let Some(server) = server else { return Some(JournalAt::Files) };
    let (password_file, ca, standby) = reached.unwrap_or((None, None, Standby::Synchronous));
    let database = Box::new(DatabaseAt { server, password_file, ca, standby });
    Some(JournalAt::Postgres { database, node })
}

/// No two of one name: what is kept of a witness is known by it.
fn witnesses(field: &Field<'_, '_>, folder: &Path) -> Option<Vec<WitnessAt>> {
    let witnesses = field.list(|entry| entry.table(OTHER, |reader| witness(reader, folder)))?;
    let names: BTreeSet<&str> = witnesses.iter().map(|witness| witness.key.name()).collect();
    if names.len() < witnesses.len() {
        return field
            .wrong("two witnesses have one name", "name each witness once, and let each have a name of its own");
    }
    Some(witnesses)
}

fn witness(reader: &mut Reader<'_, '_>, folder: &Path) -> Option<WitnessAt> {
    let url = reader.required("url", "write where it is asked, for example \"http://192.0.2.7:9600\"", Field::parsed);
    let key = reader.required("key", "write the key that `holdpoint witness` prints when it starts", Field::parsed);
    let ca = reader.optional("ca", |field| file_in(field, folder));
    Some(WitnessAt { url: url?, key: key?, ca: ca? })
}

fn recipients(field: &Field<'_, '_>) -> Option<Vec<NamedRecipient>> {
    const RIGHT: &str =
        "write the line that `age-keygen` prints after \"public key:\", and behind a space a name, if you like";
    let recipients = field.filled_list("name at least two auditors", |entry| {
        let text = entry.plain_text(ARGUMENT_CHARS_MAX, &[])?;
        match text.parse::<NamedRecipient>() {
            Ok(recipient) => Some(recipient),
            Err(bad) => entry.wrong(bad.to_string(), RIGHT),
        }
    })?;
    match Recipients::parse(recipients.iter().map(|recipient| recipient.key.as_str())) {
        Ok(_) => Some(recipients),
        Err(bad) => field.wrong(bad.to_string(), RIGHT),
    }
}

fn reserve(field: &Field<'_, '_>) -> Option<u64> {
    let text = field.text()?;
    let Some(bytes) = size(text) else {
        return field.wrong(format!("{} is no size", shown(text)), "write for example \"10 GiB\" or \"500 MiB\"");
    };
    if bytes < RESERVE_BYTES_MIN {
        return field.wrong("too little to end sessions in order when the disk fills", "write \"64 MiB\" or more");
    }
    Some(bytes)
}

/// Bytes, of a whole number and a unit of 1024.
fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let shift = match text[digits..].trim_start_matches(' ') {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn seal(field: &Field<'_, '_>) -> Option<SealWord> {
    field.one_of(&SealWord::ALL)
}

fn notify(reader: &mut Reader<'_, '_>, folder: &Path) -> Option<Notify> {
    let webhook = reader.optional("webhook", |field| field.table(OTHER, |reader| webhook(reader, folder)));
    let command = reader.or("command", Vec::new(), |field| {
        field.table(OTHER, |reader| {
            reader.required("run", "write the program and its arguments: [\"/usr/local/bin/page\"]", |field| {
                field.filled_list("name a program", |entry| entry.plain_text(ARGUMENT_CHARS_MAX, &[]))
            })
        })
    });
    let mail = reader.optional("mail", |field| field.table(OTHER, |reader| mail(reader, folder)));
    Some(Notify { webhook: webhook?, command: command?, mail: mail? })
}

fn mail(reader: &mut Reader<'_, '_>, folder: &Path) -> Option<MailAt> {
    let server = reader.required("server", "write a name and a port: \"mail.mill3.example:587\"", |field| {
        field.parsed::<MailServer>()
    });
    let tls = reader.or("tls", MailTls::StartTls, |field| {
        field.one_of(&[("starttls", MailTls::StartTls), ("implicit", MailTls::Implicit), ("none", MailTls::None)])
    });
    let is_elsewhere = server.as_ref().is_some_and(|server| !server.is_this_machine());
    let is_bare = tls == Some(MailTls::None) && is_elsewhere;
    if is_bare {
        let right = "write \"starttls\" or \"implicit\"";
        reader.note_at("tls", "mail goes in the clear only to this machine itself (127.0.0.1, ::1, localhost)", right);
    }
    let from = reader.required("from", "write an address: \"holdpoint@mill3.example\"", Field::parsed);
    let to = reader.required("to", "write who gets what everybody gets: [\"control-room@mill3.example\"]", addressees);
    let groups = reader.or("groups", BTreeMap::new(), |field| {
        let right = "write for example { shift-lead = [\"shift@mill3.example\"] }";
        let groups = field.entries(right, |_: &GroupName, entry| addressees(entry))?;
        groups.into_iter().map(|(group, addresses)| Some((group, addresses?))).collect()
    });
    let user = reader.optional("user", |field| field.plain_text(ARGUMENT_CHARS_MAX, &[]));
    let credential = reader.optional("credential", Field::parsed);
    let ca = reader.optional("ca", |field| file_in(field, folder));
    match (&user, &credential) {
        (Some(Some(_)), Some(None)) => {
            let right = "write the name under which `holdpoint secret set` keeps the password";
            reader.note_missing("credential", right);
        }
        (Some(None), Some(Some(_))) => {
            reader.note_missing("user", "write as whom the gate signs in at the mail server");
        }
        _ => {}
    }
    let login = user?.zip(credential?);
    let to = MailTo { server: server?, tls: tls.filter(|_| !is_bare)?, from: from?, to: to?, groups: groups? };
    Some(MailAt { to, login, ca: ca? })
}

fn addressees(field: &Field<'_, '_>) -> Option<Vec<Address>> {
    field.filled_list("write an address at least", |entry| match entry.text()?.parse() {
        Ok(address) => Some(address),
        Err(bad) => entry.wrong(
            format!("{} is no address ({bad})", shown(entry.text()?)),
            "write for example \"shift@mill3.example\"",
        ),
    })
}

/// Less holds no night's events, and what it is made of would be too small.
const SPOOL_BYTES_MIN: u64 = 1 << 20;

fn feed(reader: &mut Reader<'_, '_>, folder: &Path) -> Option<FeedConfig> {
    let spool_bytes = reader.or("spool", FeedConfig::SPOOL_BYTES, |field| {
        let text = field.text()?;
        match size(text).filter(|bytes| *bytes >= SPOOL_BYTES_MIN) {
            Some(bytes) => Some(bytes),
            None => field.wrong(format!("{} is no size of 1 MiB or more", shown(text)), "write for example \"64 MiB\""),
        }
    });
    let mut names = BTreeSet::new();
    let of_syslog = reader.or("syslog", Vec::new(), |field| {
        let syslogs =
            field.list(|entry| entry.table(OTHER, |reader| receiver(reader, |reader| syslog(reader, folder))))?;
        each_named_once(field, &mut names, syslogs)
    });
    let of_files = reader.or("file", Vec::new(), |field| {
        let files = field.list(|entry| {
            entry.table(OTHER, |reader| {
                receiver(reader, |reader| {
                    let path = reader.required("path", "write the file that lines are appended to", |field| {
                        field.plain_text(ARGUMENT_CHARS_MAX, &[]).map(|path| folder.join(path))
                    });
                    Some(ReceiverWay::File(path?))
                })
            })
        })?;
        each_named_once(field, &mut names, files)
    });
    let receivers: Vec<ReceiverAt> = of_syslog?.into_iter().chain(of_files?).collect();
    Some(FeedConfig { spool_bytes: spool_bytes?, receivers })
}

/// A receiver's cursor bears its name.
fn each_named_once(
    field: &Field<'_, '_>,
    names: &mut BTreeSet<NodeId>,
    receivers: Vec<ReceiverAt>,
) -> Option<Vec<ReceiverAt>> {
    let known = names.len();
    names.extend(receivers.iter().map(|receiver| receiver.name.clone()));
    if names.len() < known + receivers.len() {
        return field.wrong("two receivers have one name", "let each have a name of its own: its cursor bears it");
    }
    Some(receivers)
}

fn receiver(
    reader: &mut Reader<'_, '_>,
    at: impl FnOnce(&mut Reader<'_, '_>) -> Option<ReceiverWay>,
) -> Option<ReceiverAt> {
    let name = reader.required("name", "write what it is called, for example \"siem\"", Field::parsed);
    let at = at(reader);
    Some(ReceiverAt { name: name?, at: at? })
}

fn syslog(reader: &mut Reader<'_, '_>, folder: &Path) -> Option<ReceiverWay> {
    let to = reader.required("to", "write for example \"tls://siem.mill3.example:6514\"", |field| {
        let to: SyslogUrl = field.parsed()?;
        Some(to)
    });
    let ca = reader.optional("ca", |field| file_in(field, folder));
    Some(ReceiverWay::Syslog { to: to?, ca: ca? })
}

fn traces(reader: &mut Reader<'_, '_>, folder: &Path) -> Option<TracesAt> {
    let right = "write the collector's address, for example \"https://collector.mill3.example:4318\"";
    let endpoint = reader.required("endpoint", right, |field| {
        let url = field.parsed::<Url>()?;
        if url.is_https() || url.is_this_machine() {
            return Some(url);
        }
        field.wrong("who works at what would go in the clear to another machine", "write an https:// address")
    });
    let ca = reader.optional("ca", |field| file_in(field, folder));
    let headers_file = reader.optional("headers_file", |field| file_in(field, folder));
    let percent = reader.or("percent", 100, |field| field.number(1..=100));
    Some(TracesAt { endpoint: endpoint?, ca: ca?, headers_file: headers_file?, percent: percent? })
}

/// People are linked to a provider by its name.
fn providers(field: &Field<'_, '_>, folder: &Path) -> Option<Vec<ProviderAt>> {
    let providers = field.list(|entry| entry.table(OTHER, |reader| provider(reader, folder)))?;
    let names: BTreeSet<&ProviderName> = providers.iter().map(|provider| &provider.name).collect();
    if names.len() < providers.len() {
        return field.wrong("two providers have one name", "let each have a name of its own: people are linked to it");
    }
    Some(providers)
}

const TITLE_CHARS_MAX: usize = 60;

fn provider(reader: &mut Reader<'_, '_>, folder: &Path) -> Option<ProviderAt> {
    let name =
        reader.required("name", "write what it is called in the journal, for example \"mill-login\"", Field::parsed);
    let title = reader.required("title", "write what the button says behind \"Sign in with\"", |field| {
        field.plain_text(TITLE_CHARS_MAX, &[])
    });
    let issuer =
        reader.required("issuer", "write its issuer, as it writes it: \"https://login.mill3.example\"", Field::parsed);
    let client = reader.required("client", "write the client's id that it has for this gate", |field| {
        field.plain_text(ARGUMENT_CHARS_MAX, &[])
    });
    let credential = reader.optional("credential", Field::parsed);
    let ca = reader.optional("ca", |field| file_in(field, folder));
    let vendor: Option<Option<VendorId>> = reader.optional("vendor", Field::parsed);
    let scopes = reader.or("scopes", vec!["profile".to_owned(), "email".to_owned()], |field| {
        field.list(|entry| entry.plain_text(TITLE_CHARS_MAX, &[' ']))
    });
    let several = reader.or("several_factors", SeveralFactors::default(), |field| {
        field.table(OTHER, |reader| {
            let acr = reader.or("acr", BTreeSet::new(), words);
            let amr = reader.or("amr", BTreeSet::new(), words);
            Some(SeveralFactors { acr: acr?, amr: amr? })
        })
    });
    let is_of_vendor = vendor.as_ref().is_some_and(Option::is_some);
    let groups = reader.optional("groups", |field| field.table(OTHER, |reader| groups(reader, is_of_vendor)));
    Some(ProviderAt {
        name: name?,
        title: title?,
        issuer: issuer?,
        client: client?,
        credential: credential?,
        ca: ca?,
        vendor: vendor?,
        scopes: scopes?,
        several: several?,
        groups: groups?,
    })
}

fn words(field: &Field<'_, '_>) -> Option<BTreeSet<String>> {
    let words = field.filled_list("write one at least", |entry| entry.plain_text(ARGUMENT_CHARS_MAX, &[]))?;
    Some(words.into_iter().collect())
}

/// A technician has a role where an operator has groups.
fn groups(reader: &mut Reader<'_, '_>, is_of_vendor: bool) -> Option<Groups> {
    let claim = reader.or("claim", "groups".to_owned(), |field| field.plain_text(ARGUMENT_CHARS_MAX, &[]));
    let right = "write for example { shift-lead = [\"Mill 3 shift leads\"] }";
    let wanted = reader.required("wanted", right, |field| {
        let wanted: Vec<(String, Option<BTreeSet<String>>)> = match is_of_vendor {
            true => of(field.entries(right, |_: &RoleName, entry| words(entry))?),
            false => of(field.entries(right, |_: &GroupName, entry| words(entry))?),
        };
        wanted.into_iter().map(|(name, words)| Some((name, words?))).collect()
    });
    Some(Groups { claim: claim?, wanted: wanted? })
}

fn of<N: fmt::Display, W>(entries: impl IntoIterator<Item = (N, W)>) -> Vec<(String, W)> {
    entries.into_iter().map(|(name, words)| (name.to_string(), words)).collect()
}

fn webhook(reader: &mut Reader<'_, '_>, folder: &Path) -> Option<WebhookAt> {
    let url = reader.required("url", "write where to post, beginning with https://", Field::parsed);
    let ca = reader.optional("ca", |field| file_in(field, folder));
    let credential = reader.optional("credential", Field::parsed);
    Some(WebhookAt { url: url?, ca: ca?, credential: credential? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 2] = [
        "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
        "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg",
    ];

    fn written(vendor: &str, rest: &str) -> String {
        format!(
            "[faces.vendor]\norigin = \"https://gate.mill3.example\"\n{vendor}\n\
             [faces.plant]\norigin = \"https://holdpoint.mill3.local:8443\"\nlisten = [\"127.0.0.1:0\"]\n\
             [store]\nrecipients = {KEYS:?}\n{rest}\n[keys]\nseal = \"file\"\n"
        )
    }

    fn parse(text: &str) -> Result<Config, Vec<String>> {
        Config::parse(text, Path::new("/etc/holdpoint")).map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_short_file_is_enough() {
        let config = parse(&written("ssh = [\"127.0.0.1:0\"]", "")).expect("right");
        assert_eq!(config.vendor.ssh, ["127.0.0.1:0".parse().expect("an address")]);
        assert!(config.vendor.pages.is_empty() && !config.vendor.passwords && config.vendor.ssh_port.is_none());
        assert_eq!(config.plant.origin.to_string(), "https://holdpoint.mill3.local:8443");
        assert_eq!(config.store.data, Path::new("/etc/holdpoint/data"));
        assert_eq!(config.store.reserve_bytes, 10 << 30);
        assert_eq!((config.seal, config.notify), (SealWord::File, Notify::default()));
        assert_eq!(config.keys, Path::new("/etc/holdpoint/keys"));
    }

    #[test]
    fn every_key_says_something() {
        let rest = "data = \"/var/lib/holdpoint\"\njournal = \"files\"\nrecordings = \"local\"\nreserve = \"512 MiB\"\n\
                    [notify.webhook]\nurl = \"https://chat.example/hook\"\nca = \"alarms.pem\"\ncredential = \"alarms\"\n[notify.command]\nrun = [\"/bin/page\", \"-q\"]";
        let vendor = "ssh = [\"[::]:22\"]\nssh_port = 2222\npages = [\"0.0.0.0:443\"]\npasswords = true\n\
                      listen = [\"0.0.0.0:8443\"]\ntls = [\"0.0.0.0:4443\", \"[::]:4443\"]\ntls_port = 443";
        let config = parse(&written(vendor, rest)).expect("right");
        assert_eq!(config.store.data, Path::new("/var/lib/holdpoint"));
        assert_eq!(config.store.reserve_bytes, 512 << 20);
        let ca = Some("/etc/holdpoint/alarms.pem".into());
        assert_eq!(
            config.notify.webhook,
            Some(WebhookAt {
                url: "https://chat.example/hook".parse().expect("a URL"),
                ca,
                credential: Some("alarms".parse().expect("a name"))
            })
        );
        assert_eq!(config.notify.command, ["/bin/page", "-q"]);
        let vendor = config.vendor;
        assert_eq!((vendor.ssh_port, vendor.pages.len(), vendor.passwords), (Some(2222), 1, true));
        assert_eq!((vendor.listen.len(), vendor.tls.len(), vendor.tls_port), (1, 2, Some(443)));
    }

    #[test]
    fn a_node_of_several_may_show_one_face_alone() {
        let whole = written("ssh = [\"127.0.0.1:0\"]", "journal = \"postgres://h@localhost/h\"");
        let listen = "listen = [\"127.0.0.1:0\"]";
        let apart =
            |vendor: &str, plant: &str| parse(&whole.replace("ssh = [\"127.0.0.1:0\"]", vendor).replace(listen, plant));
        let (ssh, there) = ("ssh = [\"127.0.0.1:0\"]", "elsewhere = true");
        let vendor_alone = apart(ssh, there).expect("right");
        assert!(vendor_alone.vendor.is_here() && !vendor_alone.plant.is_here());
        let plant_alone = apart("elsewhere = true\nssh_port = 22\ntls_port = 443", listen).expect("right");
        assert!(!plant_alone.vendor.is_here() && plant_alone.plant.is_here());
        assert_eq!((plant_alone.vendor.ssh_port, plant_alone.vendor.tls_port), (Some(22), Some(443)));
        for (vendor, plant, mistake) in [
            (there, listen, "faces.vendor.ssh_port: missing"),
            ("elsewhere = true\nssh_port = 22", there, "both faces are said to be elsewhere"),
            (
                "elsewhere = true\nssh_port = 22\nssh = [\"127.0.0.1:0\"]",
                listen,
                "faces.vendor.ssh: this means nothing",
            ),
            (ssh, "elsewhere = true\nlisten = [\"127.0.0.1:0\"]", "faces.plant.listen: this means nothing"),
        ] {
            let mistakes = apart(vendor, plant).expect_err(mistake);
            assert!(mistakes.len() == 1 && mistakes[0].contains(mistake), "{mistakes:?}");
        }
        let alone = parse(&written(ssh, "").replace(listen, there)).expect_err("files");
        assert!(alone.len() == 1 && alone[0].contains("a gate with files has no other node"), "{alone:?}");
    }

    #[test]
    fn one_port_for_everything_is_enough_and_none_for_ssh_is_not() {
        let config = parse(&written("listen = [\"0.0.0.0:443\"]", "")).expect("right");
        assert_eq!((config.vendor.listen.len(), config.vendor.ssh.len()), (1, 0));
        for (vendor, mistake) in [
            ("tls = [\"0.0.0.0:443\"]", "faces.vendor.ssh: missing"),
            ("listen = []", "faces.vendor.listen: "),
            ("listen = [\"0.0.0.0\"]", "faces.vendor.listen[1]: \"0.0.0.0\" is not an address and a port"),
            ("ssh = [\"0.0.0.0:22\"]\ntls_port = 0", "faces.vendor.tls_port: "),
            ("ssh = [\"0.0.0.0:22\"]\nraw = 1", "faces.vendor.raw: unknown key"),
        ] {
            let mistakes = parse(&written(vendor, "")).expect_err(vendor);
            assert!(mistakes.len() == 1 && mistakes[0].contains(mistake), "{vendor}: {mistakes:?}");
        }
    }

    #[test]
    fn what_is_not_built_is_never_ignored() {
        for (line, said) in [
            ("recordings = \"tape\"", "\"tape\" is not known here"),
            ("journal = \"sqlite\"", "\"sqlite\" is not known here"),
            ("reserve = \"10 GB\"", "\"10 GB\" is no size"),
            ("reserve = \"1 MiB\"", "too little"),
            ("[notify.webhook]\nurl = \"http://chat.example/hook\"", "in the clear"),
            ("[notify.webhook]\nurl = \"http://localhost:80@chat.example/hook\"", "in the clear"),
            ("[notify.webhook]\nurl = \"chat\"", "no address to post to"),
        ] {
            let mistakes = parse(&written("ssh = [\"127.0.0.1:0\"]", line)).expect_err(line);
            assert!(mistakes.len() == 1 && mistakes[0].contains(said), "{line}: {mistakes:?}");
        }
    }

    #[test]
    fn a_journal_in_a_database_names_the_server_and_no_password() {
        let read = |rest: &str| parse(&written("ssh = [\"127.0.0.1:0\"]", rest)).map(|config| config.store.journal);
        assert_eq!(read("journal = \"files\""), Ok(JournalAt::Files));
        let address = "journal = \"postgres://holdpoint@db.mill3.example/holdpoint\"\n";
        let more =
            "node = \"gate-2\"\n[store.postgres]\npassword_file = \"pg.password\"\nca = \"pg.pem\"\nstandby = \"none\"";
        let Ok(JournalAt::Postgres { database, node }) = read(&format!("{address}{more}")) else { panic!("right") };
        assert_eq!(node, Some("gate-2".parse().expect("a name")));
        assert_eq!(database.password_file.as_deref(), Some(Path::new("/etc/holdpoint/pg.password")));
        assert_eq!(database.ca.as_deref(), Some(Path::new("/etc/holdpoint/pg.pem")));
        assert_eq!(database.standby, Standby::None);
        let Ok(JournalAt::Postgres { database, node: None }) = read(address) else { panic!("right") };
        assert_eq!((database.standby, database.password_file, database.ca), (Standby::Synchronous, None, None));
        for (rest, said) in [
            ("journal = \"postgres://h:hunter2@db/h\"", "store.journal: a password stands in it"),
            ("journal = \"postgres://h@db/h?password=hunter2\"", "store.journal: a password stands in it"),
            ("journal = \"postgres://h@db/h?sslmode=disable\"", "store.journal: it says something of TLS"),
            ("node = \"gate-2\"", "store.node: this means nothing"),
            ("[store.postgres]\nstandby = \"none\"", "store.postgres: this means nothing"),
            (
                "journal = \"postgres://h@db/h\"\n[store.postgres]\npassword = \"hunter2\"",
                "store.postgres.password: unknown key",
            ),
            ("journal = \"postgres://h@db/h\"\n[store.postgres]\nstandby = \"maybe\"", "is not known here"),
        ] {
            let mistakes = read(rest).expect_err(said);
            assert!(mistakes.len() == 1 && mistakes[0].contains(said), "{rest}: {mistakes:?}");
            assert!(!mistakes[0].contains("hunter2"), "{mistakes:?}");
        }
    }

    #[test]
    fn recordings_in_a_bucket_name_it_and_no_key() {
        let read = |rest: &str| parse(&written("ssh = [\"127.0.0.1:0\"]", rest)).map(|config| config.store.recordings);
        assert_eq!(read("recordings = \"local\""), Ok(RecordingsAt::Local));
        let bucket = "recordings = \"s3://mill3/holdpoint\"\n";
        let table = "[store.s3]\ncredentials = \"s3.credentials\"\n";
        let more = "endpoint = \"https://s3.mill3.example:9000\"\nregion = \"mill\"\npath_style = false\nca = \"s3.pem\"\n\
                    keep_local = \"7d\"";
        let Ok(RecordingsAt::Bucket { at, keep_local }) = read(&format!("{bucket}{table}{more}")) else {
            panic!("right")
        };
        assert_eq!(
            (at.url.to_string().as_str(), at.region.as_str(), at.path_style),
            ("s3://mill3/holdpoint", "mill", false)
        );
        assert_eq!(at.ca.as_deref(), Some(Path::new("/etc/holdpoint/s3.pem")));
        assert_eq!(at.credentials, Path::new("/etc/holdpoint/s3.credentials"));
        assert_eq!(
            (at.endpoint.as_ref().map(Url::host), keep_local),
            (Some("s3.mill3.example"), Duration::from_secs(7 * 86_400))
        );
        let Ok(RecordingsAt::Bucket { at, keep_local }) = read(&format!("{bucket}{table}")) else { panic!("right") };
        assert_eq!((at.endpoint, at.path_style, at.region.as_str()), (None, false, "us-east-1"));
        assert_eq!(keep_local, Duration::from_secs(30 * 86_400));
        let here = format!("{bucket}{table}endpoint = \"http://127.0.0.1:7480\"");
        assert!(matches!(read(&here), Ok(RecordingsAt::Bucket { at, .. }) if at.path_style));
        for (rest, said) in [
            (bucket.to_owned(), "store.s3: missing"),
            (format!("{bucket}[store.s3]\nregion = \"mill\""), "store.s3.credentials: missing"),
            (table.to_owned(), "store.s3: this means nothing"),
            ("recordings = \"s3://Mill 3\"".to_owned() + "\n" + table, "names no bucket"),
            (format!("{bucket}{table}endpoint = \"http://s3.mill3.example\""), "in the clear"),
            (format!("{bucket}{table}endpoint = \"s3.mill3.example\""), "no address"),
            (format!("{bucket}{table}region = \"EU West\""), "is no region"),
            (format!("{bucket}{table}secret_key = \"hunter2\""), "store.s3.secret_key: unknown key"),
        ] {
            let mistakes = read(&rest).expect_err(said);
            assert!(mistakes.len() == 1 && mistakes[0].contains(said), "{rest}: {mistakes:?}");
            assert!(!mistakes[0].contains("hunter2"), "{mistakes:?}");
        }
    }

    #[test]
    fn mail_leaves_the_machine_under_tls_only_and_its_password_is_elsewhere() {
        let read = |rest: &str| parse(&written("ssh = [\"127.0.0.1:0\"]", &format!("[notify.mail]\n{rest}")));
        let people = "from = \"gate@mill3.example\"\nto = [\"all@mill3.example\"]\n";
        let whole = format!(
            "server = \"mail.mill3.example:587\"\n{people}groups = {{ shift-lead = [\"shift@mill3.example\"] }}\n\
             user = \"gate\"\ncredential = \"smtp\"\nca = \"mail.pem\"\n"
        );
        let MailAt { to, login, ca } = read(&whole).expect("right").notify.mail.expect("it is there");
        assert_eq!((to.tls, to.to.len(), to.groups.len()), (MailTls::StartTls, 1, 1));
        assert_eq!(login, Some(("gate".to_owned(), "smtp".parse().expect("a name"))));
        assert_eq!(ca.as_deref(), Some(Path::new("/etc/holdpoint/mail.pem")));
        for here in ["localhost:25", "127.0.0.1:25", "[::1]:25"] {
            assert!(read(&format!("server = \"{here}\"\ntls = \"none\"\n{people}")).is_ok(), "{here}");
        }
        let server = "server = \"mail.mill3.example:25\"\n";
        for (rest, said) in [
            (format!("{server}tls = \"none\"\n{people}"), "in the clear"),
            (format!("server = \"localhost.example:25\"\ntls = \"none\"\n{people}"), "in the clear"),
            (format!("{server}tls = \"maybe\"\n{people}"), "is not known here"),
            (format!("server = \"mail\"\n{people}"), "is no mail server"),
            (format!("{server}{people}user = \"gate\""), "notify.mail.credential: missing"),
            (format!("{server}{people}credential = \"smtp\""), "notify.mail.user: missing"),
            (format!("{server}{people}password = \"x\""), "notify.mail.password: unknown key"),
            (format!("{server}from = \"gate@mill3.example\"\nto = []"), "notify.mail.to: empty"),
            (format!("{server}from = \"gate\"\nto = [\"a@b.example\"]"), "notify.mail.from: "),
            (format!("{server}{people}groups = {{ shift-lead = [\"a b\"] }}"), "is no address"),
        ] {
            let mistakes = read(&rest).expect_err(said);
            assert!(mistakes.len() == 1 && mistakes[0].contains(said), "{rest}: {mistakes:?}");
        }
    }

    #[test]
    fn a_receiver_of_the_feed_has_a_name_of_its_own_and_a_place() {
        let read = |rest: &str| parse(&written("ssh = [\"127.0.0.1:0\"]", rest));
        let syslog = "[[feed.syslog]]\nname = \"siem\"\nto = \"tls://siem.example\"\nca = \"siem.pem\"\n";
        let file = |name: &str| format!("[[feed.file]]\nname = \"{name}\"\npath = \"feed.jsonl\"\n");
        let feed = read(&format!("[feed]\nspool = \"2 MiB\"\n{syslog}{}", file("here"))).expect("right").feed;
        let ca = Some("/etc/holdpoint/siem.pem".into());
        let at = ReceiverWay::Syslog { to: "tls://siem.example:6514".parse().expect("an address"), ca };
        assert_eq!((feed.spool_bytes, feed.receivers.len()), (2 << 20, 2));
        assert_eq!(feed.receivers[0], ReceiverAt { name: "siem".parse().expect("a name"), at });
        assert_eq!(feed.receivers[1].at, ReceiverWay::File("/etc/holdpoint/feed.jsonl".into()));
        for (rest, said) in [
            (format!("{syslog}{}", file("siem")), "two receivers have one name"),
            (format!("{syslog}{syslog}"), "two receivers have one name"),
            (format!("{}{}", file("a"), file("a")), "two receivers have one name"),
            (file("a/b"), "feed.file[1].name: "),
            ("[feed]\nspool = \"64 KiB\"".to_owned(), "no size of 1 MiB or more"),
            ("[[feed.syslog]]\nname = \"a\"\nto = \"https://a\"".to_owned(), "is no syslog receiver"),
            ("[[feed.syslog]]\nname = \"a\"".to_owned(), "feed.syslog[1].to: missing"),
            ("[[feed.file]]\nname = \"a\"\npath = \"b\"\nrotate = 1".to_owned(), "feed.file[1].rotate: unknown key"),
        ] {
            let mistakes = read(&rest).expect_err(said);
            assert!(mistakes.len() == 1 && mistakes[0].contains(said), "{rest}: {mistakes:?}");
        }
    }

    #[test]
    fn traces_leave_the_machine_under_tls_only_and_their_secret_is_elsewhere() {
        let read = |rest: &str| parse(&written("ssh = [\"127.0.0.1:0\"]", rest)).map(|config| config.traces);
        let short = "[traces]\nendpoint = \"https://collector.mill3.example:4318\"\n";
        let at = read(short).expect("right").expect("it is there");
        assert_eq!(
            (at.endpoint.host(), at.ca, at.headers_file, at.percent),
            ("collector.mill3.example", None, None, 100)
        );
        let more = "ca = \"c.pem\"\nheaders_file = \"traces.headers\"\npercent = 5\n";
        let at = read(&format!("{short}{more}")).expect("right").expect("it is there");
        assert_eq!(at.ca.as_deref(), Some(Path::new("/etc/holdpoint/c.pem")));
        assert_eq!((at.headers_file.as_deref(), at.percent), (Some(Path::new("/etc/holdpoint/traces.headers")), 5));
        assert_eq!(read(""), Ok(None));
        assert!(read("[traces]\nendpoint = \"http://127.0.0.1:4318\"").is_ok());
        for (rest, said) in [
            ("[traces]\npercent = 5".to_owned(), "traces.endpoint: missing"),
            ("[traces]\nendpoint = \"http://collector.mill3.example:4318\"".to_owned(), "in the clear"),
            ("[traces]\nendpoint = \"collector:4317\"".to_owned(), "no address"),
            (format!("{short}percent = 0"), "traces.percent: "),
            (format!("{short}percent = 101"), "traces.percent: "),
            (format!("{short}token = \"hunter2\""), "traces.token: unknown key"),
        ] {
            let mistakes = read(&rest).expect_err(said);
            assert!(mistakes.len() == 1 && mistakes[0].contains(said), "{rest}: {mistakes:?}");
            assert!(!mistakes[0].contains("hunter2"), "{mistakes:?}");
        }
    }

    #[test]
    fn a_witness_has_an_address_and_a_key_and_no_name_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = certs::witness_key::WitnessKey::create(&folder.path().join("key"), Some("w1")).expect("a key");
        let key = key.cosigner().to_string();
        let witness = |url: &str, key: &str| format!("[[store.witnesses]]\nurl = \"{url}\"\nkey = \"{key}\"\n");
        let read = |rest: &str| parse(&written("ssh = [\"127.0.0.1:0\"]", rest));
        let right = read(&format!("{}ca = \"w.pem\"", witness("https://w.example/a", &key))).expect("right");
        let WitnessAt { url, key: read_key, ca } = &right.store.witnesses[0];
        assert_eq!(
            (url.host(), read_key.to_string(), ca.as_deref()),
            ("w.example", key.clone(), Some(Path::new("/etc/holdpoint/w.pem")))
        );
        let at = "http://192.0.2.7:9600";
        for (rest, said) in [
            (witness("ftp://w.example", &key), "store.witnesses[1].url: "),
            (witness(at, "w1"), "store.witnesses[1].key: "),
            (format!("[[store.witnesses]]\nurl = \"{at}\""), "store.witnesses[1].key: missing"),
            (witness(at, &key) + &witness("http://192.0.2.8:9600", &key), "two witnesses have one name"),
        ] {
            let mistakes = read(&rest).expect_err(said);
            assert!(mistakes.len() == 1 && mistakes[0].contains(said), "{rest}: {mistakes:?}");
        }
    }

    #[test]
    fn an_origin_is_a_name_and_the_remedy_is_said() {
        for address in ["https://10.1.0.5", "https://[fd00::5]:443", "https://10.1.0.5:8443"] {
            assert_eq!(address.parse::<Origin>(), Err(BadOrigin::Address), "{address}");
        }
        for bad in
            ["http://gate.example", "https://", "https://gate.example/", "https://gate.example:0", "gate.example"]
        {
            assert_eq!(bad.parse::<Origin>(), Err(BadOrigin::Shape), "{bad}");
        }
        assert_eq!(
            "https://localhost:8443".parse::<Origin>().map(|origin| origin.host().to_owned()),
            Ok("localhost".into())
        );
        assert!(BadOrigin::Address.to_string().contains("name in your DNS"));
    }

    #[test]
    fn a_recipient_may_have_a_name() {
        let named = [KEYS[0].to_owned(), format!("{} site key, control room", KEYS[1])];
        let text = written("ssh = [\"127.0.0.1:0\"]", "").replace(&format!("{KEYS:?}"), &format!("{named:?}"));
        let store = parse(&text).expect("right").store;
        assert_eq!(store.recipients().names(), KEYS.map(|key| key.parse().expect("a key")).into());
        let names = [(KEYS[1].parse().expect("a key"), "site key, control room".to_owned())];
        assert_eq!(store.recipient_names(), names.into());
        let wrong = text.replace(KEYS[1], &KEYS[1].to_ascii_uppercase());
        let mistakes = parse(&wrong).expect_err("not as age writes it");
        assert!(mistakes.len() == 1 && mistakes[0].contains("is no age recipient"), "{mistakes:?}");
    }

    #[test]
    fn providers_are_named_once_by_https_and_each_key_of_one_is_read() {
        let read = |rest: &str| parse(&written("ssh = [\"127.0.0.1:0\"]", rest)).map(|config| config.oidc);
        let short = "[[oidc]]\nname = \"mill\"\ntitle = \"Mill 3\"\nissuer = \"https://login.mill3.example\"\nclient = \"gate\"\n";
        let [mill] = &read(short).expect("right")[..] else { panic!("one") };
        assert_eq!((mill.name.as_str(), mill.title.as_str(), mill.client.as_str()), ("mill", "Mill 3", "gate"));
        assert_eq!((&mill.credential, &mill.ca, &mill.vendor, &mill.groups), (&None, &None, &None, &None));
        assert_eq!(
            (&mill.scopes[..], &mill.several),
            (&["profile".to_owned(), "email".to_owned()][..], &SeveralFactors::default())
        );
        let whole = format!(
            "{short}credential = \"mill-login\"\nca = \"idp.pem\"\nvendor = \"acme\"\nscopes = [\"groups\"]\n\
             several_factors = {{ acr = [\"high\"], amr = [\"mfa\"] }}\n\
             groups = {{ claim = \"roles\", wanted = {{ maintenance = [\"Field service\"] }} }}\n"
        );
        let [whole] = &read(&whole).expect("right")[..] else { panic!("one") };
        assert_eq!(whole.credential, Some("mill-login".parse().expect("a name")));
        assert_eq!(
            (whole.ca.as_deref(), whole.vendor.as_ref().map(VendorId::as_str)),
            (Some(Path::new("/etc/holdpoint/idp.pem")), Some("acme"))
        );
        assert_eq!(whole.scopes, ["groups"]);
        assert_eq!(
            (whole.several.acr.first(), whole.several.amr.first()),
            (Some(&"high".to_owned()), Some(&"mfa".to_owned()))
        );
        let groups = whole.groups.as_ref().expect("they are there");
        assert_eq!(
            (groups.claim.as_str(), &groups.wanted["maintenance"]),
            ("roles", &["Field service".to_owned()].into())
        );
        for (rest, wrong) in [
            (format!("{short}{short}"), "two providers have one name"),
            (
                short.replace("https://login.mill3.example", "http://login.mill3.example"),
                "in the clear only on this machine",
            ),
            (short.replace("client = \"gate\"", ""), "oidc[1].client: missing"),
            (format!("{short}secret = \"x\""), "oidc[1].secret: unknown key"),
            (format!("{short}several_factors = {{ acr = [] }}"), "empty"),
            (format!("{short}groups = {{ claim = \"groups\" }}"), "oidc[1].groups.wanted: missing"),
        ] {
            let mistakes = read(&rest).expect_err(wrong);
            assert!(mistakes[0].contains(wrong), "{rest}: {mistakes:?}");
        }
    }

    #[test]
    fn one_auditor_is_not_enough() {
        let text = written("ssh = [\"127.0.0.1:0\"]", "").replace(&format!("{KEYS:?}"), &format!("[{:?}]", KEYS[0]));
        let mistakes = parse(&text).expect_err("one alone");
        assert!(mistakes[0].starts_with("8:14: store.recipients: "), "{mistakes:?}");
    }
}

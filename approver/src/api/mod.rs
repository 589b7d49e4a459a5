//! The HTTP API, `/api/v1`, on two faces that share no listener: the plant face for operators, auditors and
//! administrators, the vendor face for technicians. `routes` is the list of all doors and of who may pass each; handlers
//! stand beside it by subject. Nothing is decided here: a handler turns a body into a command for the Desk, and what
//! stands into an answer.
//!
//! No GET changes anything: three of them journal that somebody reads (`Watched`, `Fetched`, `CaptureBegun`), which is the record of the
//! reading and no effect of it. They demand a signature of their own like every request, so no scanner follows them; on pages, that
//! one is signed in, and that a page of ours asks. Nor
//! does one follow the GET that opens a WebSocket (RFC 6455, 4.1): it carries a connection and is no reading at all.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::http::HeaderValue;
use certs::log_key::Verifier;
use certs::proof::Face;
use certs::secrets::Secrets;
use certs::ssh_ca::SshCa;
use certs::tls::TlsCa;
use certs::token::TokenKey;
use policies::ids::Recipient;
use recordings::log::Log;
use tokio::sync::watch;

use crate::alarms::Alarms;
use crate::carrier::{Carrier, Sittings};
use crate::certificates::Certificates;
use crate::clock::Clock;
use crate::deposits::Deposits;
use crate::desk::Desk;
use crate::directory::Nonces;
use crate::feed::Feed;
use crate::gate::Gate;
use crate::mint;
use crate::oidc::Providers;
use crate::people::People;
use crate::traces::Traces;
use crate::witnesses::Witnesses;

mod access;
mod backup;
mod capture;
mod cards;
mod carrying;
mod closing;
mod companies;
mod connecting;
mod cuts;
mod evidence;
mod feed;
mod guard;
mod guests;
mod history;
mod keeping;
mod logs;
mod looking;
mod metrics;
mod nodes;
pub mod once;
mod openapi;
mod packing;
mod pages;
mod people;
mod pieces;
mod plant;
mod problem;
pub mod proof;
mod reports;
mod requests;
mod reviews;
pub mod routes;
mod secrets;
pub mod serve;
mod sessions;
mod shift;
mod sign_in;
mod status;
mod staying;
pub(crate) mod tar;
pub(crate) use tar::plain_files;
mod telling;
mod timing;
pub mod types;

pub use backup::{HEADS as BACKUP_HEADS, NodeFiles};
pub use openapi::document as openapi_document;
pub use serve::{Limits, Pages, serve, serve_in_the_clear};

/// What both faces are made of. Cheap to clone.
#[derive(Clone)]
pub struct ApiParts {
    /// Decides.
    pub desk: Desk,
    /// The use cases around people.
    pub people: People,
    /// Signs and checks tokens.
    pub token_key: TokenKey,
    /// Makes the certificates of `holdpoint login`.
    pub ssh_ca: SshCa,
    /// Whose certificate clients keep.
    pub tls_ca: TlsCa,
    /// Seals targets' credentials.
    pub secrets: Secrets,
    /// What a thief of the disk gets, in words.
    pub seal_word: String,
    /// The vendor face's origin, such as `https://gate.mill3.example`.
    pub vendor_origin: String,
    /// The plant face's origin.
    pub plant_origin: String,
    /// How technicians reach it by SSH.
    pub gate: Gate,
    /// Where it speaks TLS to carry services, if it does.
    pub tcp_port: Option<u16>,
    /// What carries connections that come as a WebSocket, where services are carried.
    pub carrier: Option<Arc<dyn Carrier>>,
    /// What joins pages to targets, where there is something.
    pub sittings: Option<Arc<dyn Sittings>>,
    /// Verifier keys of the logs of the journal and of recordings.
    pub logs: Vec<Verifier>,
    /// The recorder of this node, where it records.
    pub recorder: Option<Arc<Log>>,
    /// Who remembers elsewhere how far the logs have come.
    pub witnesses: Witnesses,
    /// What is brought to a bucket, where something is.
    pub deposits: Option<Deposits>,
    /// What the configuration calls recipients, beside their keys.
    pub recipient_names: watch::Receiver<BTreeMap<Recipient, String>>,
    /// What the configuration says, by key.
    pub settings: watch::Receiver<Vec<types::SettingView>>,
    /// The folder of this node's record log, from which recordings are fetched as ciphertext.
    pub records_dir: Option<PathBuf>,
    /// What this node keeps in files, to be fetched and backed up.
    pub files: Option<NodeFiles>,
    /// What the plant's own systems are told.
    pub feed: Option<Feed>,
    /// What stands and must be looked after.
    pub alarms: Alarms,
    /// What the plant gave its faces to show.
    pub certificates: Certificates,
    /// By whose word people sign in, too.
    pub providers: Providers,
    /// How it stands with the collector of traces, where there is one.
    pub traces: Option<Traces>,
}

/// The plant face: operators, auditors, administrators; pages before the API. Bodies are at most 1 MiB, and 64 KiB at the
/// vendor face.
pub fn plant_face(parts: ApiParts) -> Router {
    let api = Api::new(parts, Face::Plant);
    pages::before(routes::router(api.clone()), api)
}

/// The vendor face: technicians, and nobody else; pages before the API.
pub fn vendor_face(parts: ApiParts) -> Router {
    let api = Api::new(parts, Face::Vendor);
    pages::before(routes::router(api.clone()), api)
}

/// Where a connection comes from; put beside each request by whatever accepted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source(pub IpAddr);

/// The other end of a connection; put there likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Peer(SocketAddr);

/// One face, as its handlers know it.
#[derive(Clone)]
struct Api(Arc<Inner>);

struct Inner {
    parts: ApiParts,
    face: Face,
    /// Names this run of this face.
    start: HeaderValue,
    /// Proofs of requests and nonces of sign-ins that were used. None counts in another run.
    spent: Nonces,
    challenges: sign_in::Challenges,
    passes: sign_in::Passes,
    /// Who is signed in on pages.
    logins: pages::Logins,
    /// Sign-ins by identity providers that were begun, and those that want a second factor yet.
    begun: pages::Begun,
    /// Writes that may be sent twice.
    once: once::Once,
    /// Evidence packs that are being made.
    packing: packing::Packing,
    /// One report is made at a time.
    reporting: tokio::sync::Mutex<()>,
}

impl Api {
    fn new(parts: ApiParts, face: Face) -> Self {
        let (challenges, passes) = (sign_in::Challenges::new(), sign_in::Passes::default());
        let start = HeaderValue::try_from(mint::nonce()).expect("a nonce is letters and digits");
        let (logins, begun, once) = (pages::Logins::default(), pages::Begun::new(), once::Once::default());
        let (packing, reporting) = (packing::Packing::default(), tokio::sync::Mutex::default());
        Self(Arc::new(Inner {
            parts,
            face,
            start,
            spent: Nonces::new(),
            challenges,
            passes,
            logins,
            begun,
            once,
            packing,
            reporting,
        }))
    }

    fn parts(&self) -> &ApiParts {
        &self.0.parts
    }

    fn desk(&self) -> &Desk {
        &self.0.parts.desk
    }

    fn people(&self) -> &People {
        &self.0.parts.people
    }

    fn clock(&self) -> &Clock {
        self.desk().clock()
    }

    fn face(&self) -> Face {
        self.0.face
    }

    fn origin(&self) -> &str {
        match self.0.face {
            Face::Vendor => &self.0.parts.vendor_origin,
            Face::Plant => &self.0.parts.plant_origin,
        }
    }
}

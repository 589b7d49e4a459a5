//! The client of the API, as one person at one face: the profile says who and where, the gate's own CA is the only one
//! trusted, each request is proved by the person's key, and every answer is a value, a refusal in the gate's words, or a
//! fault. What is asked for, and how an answer is shown, is the commands' business.

use std::path::{Path, PathBuf};
use std::time::Duration;

use approver::api::types::{
    CertificateAnswer, Challenge, ChallengeWanted, KeepText, KeptText, Page, ProblemBody, SignIn, SignedIn,
};
use approver::api::{once, proof};
use approver::directory::clean_text;
use approver::mint;
use certs::keys::KeyFault;
use certs::sshsig::{Namespace, login_message};
use certs::succession::{self, TakenOver};
use certs::tls::{CaFingerprint, TlsFault, authorities, client_config, client_config_with};
use certs::token::request_message;
use data_encoding::HEXLOWER;
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use policies::digest::{Digest, Salted};
use policies::ids::PersonId;
use policies::people::SshKey;
use policies::requests::Signed;
use rustls_pki_types::CertificateDer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

mod enrolment;
mod health;
mod profile;
mod signer;
mod tcp;
mod token;
mod untar;
mod way;
mod wire;

pub use enrolment::{Enrolment, FirstContact};
pub use health::is_healthy;
pub use profile::{Profile, ProfileFault};
pub use signer::{Signer, SignerFault};
pub use tcp::{Carried, NotCarried, Stream, TcpLine, Why};
pub use untar::{NotUnpacked, Unpacker};
pub use way::{BadProxy, Proxy};

use token::{Held, TokenFile};
use wire::{Outgoing, Wire};

/// Why the gate did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The profile, or a file it names.
    #[error(transparent)]
    Profile(#[from] ProfileFault),
    /// The person's key.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// The agent that holds it.
    #[error(transparent)]
    Signer(#[from] SignerFault),
    /// The CA's certificate.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// Nobody signed in with this profile lately.
    #[error("not signed in: run `holdpoint login`")]
    NotSignedIn,
    /// A no of the gate, or a failure in its own words.
    #[error("{}", .0.detail)]
    Problem(Box<ProblemBody>),
    /// Whoever answers cannot show a certificate of the CA that is trusted.
    #[error(
        "{origin} is answered by somebody who is not the gate of this {known_by} ({cause}). Nothing was sent. {next}"
    )]
    NotTheGate {
        /// Where.
        origin: String,
        /// What the gate is known by.
        known_by: &'static str,
        /// What TLS says.
        cause: String,
        /// What to do next.
        next: &'static str,
    },
    /// The connection broke off before an answer came.
    #[error("cannot reach {origin}: {cause}. What was asked may have been done all the same")]
    Lost {
        /// Where.
        origin: String,
        /// How.
        cause: String,
    },
    /// The gate takes itself for another one.
    #[error(
        "the gate calls itself {theirs:?}, and this profile calls it {ours:?}. Correct `origin` in the profile if that is the same gate"
    )]
    OtherOrigin {
        /// What the profile says.
        ours: String,
        /// What the gate says.
        theirs: String,
    },
    /// No answer.
    #[error("cannot reach {origin}: {cause}")]
    Unreachable {
        /// Where.
        origin: String,
        /// What happened.
        cause: String,
    },
    /// An answer that makes no sense.
    #[error(
        "the gate's answer cannot be understood ({0}). Is it of another version, or does something in between answer?"
    )]
    Odd(String),
    /// A file of one's own.
    #[error("{path}: {cause}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
}

/// One person at one face.
pub struct Client {
    profile: Profile,
    signer: Signer,
    wire: Wire,
    /// The certificates of the CAs that are trusted.
    ca_pem: String,
    /// Why what the gate says of them is not in the profile's file, in words.
    unkept: Option<String>,
    /// One that the gate names, and none that is trusted has signed.
    stranger: Option<CaFingerprint>,
    tokens: TokenFile,
    held: Option<Held>,
    /// Whether something in between ends TLS, so that connections to services go as WebSockets.
    is_opened: bool,
}

/// To whoever meets somebody else than the gate of their profile.
const ASK_FOR_THE_CA: &str = "Ask the plant: if the gate's authority was renewed while you were away, they give you its new \
                              certificate, to be put in place of the one that `ca` in the profile names";

/// No answer of the gate is larger, but for streams.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The gate says at least so often that a stream stands.
const STILL_MAX: Duration = Duration::from_secs(30);

impl Client {
    /// Reads the profile, the CA, the key and what is left of an earlier sign-in. Connects to nobody yet. `passphrase` is
    /// asked where the key is locked.
    ///
    /// # Errors
    /// A file is missing or wrong.
    pub fn open(
        profile: Profile,
        passphrase: impl FnOnce(&Path) -> std::io::Result<Zeroizing<String>>,
    ) -> Result<Self, Fault> {
        let ca_pem = profile.read_ca()?;
        let signer = Signer::open(&profile.key, passphrase)?;
        let mut wire = Wire::new(client_config(&ca_pem)?, &profile.origin, profile.address, "profile");
        wire.when_not_the_gate(ASK_FOR_THE_CA);
        let tokens = TokenFile::beside(&profile);
        let held = tokens.read(Timestamp::now());
        held.iter().for_each(|held| wire.note_start(&held.start));
        Ok(Self { profile, signer, wire, ca_pem, unkept: None, stranger: None, tokens, held, is_opened: false })
    }

    /// From now on the gate is reached through this proxy, or straight.
    pub fn go_through(&mut self, proxy: Option<Proxy>) {
        self.wire.go_through(proxy);
    }

    /// From now on whoever shows a certificate of one of these CAs for the gate's name is taken for the gate too: a proxy
    /// that opens TLS. What it then reads and alters is all that passes, but no request can be signed there.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn trust_what_opens_tls(
        &mut self,
        authorities: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<(), Fault> {
        self.wire.trust(client_config_with(&self.ca_pem, authorities)?);
        self.is_opened = true;
        Ok(())
    }

    /// What is said next where somebody else answers than the gate.
    pub const fn when_not_the_gate(&mut self, next: &'static str) {
        self.wire.when_not_the_gate(next);
    }

    /// Why what the gate said of its CAs is not kept for the next command, in words; nothing where it is.
    pub fn unkept(&self) -> Option<&str> {
        self.unkept.as_deref()
    }

    /// A CA that the gate names and none that is trusted here has signed: nothing of its counts.
    pub const fn stranger(&self) -> Option<&CaFingerprint> {
        self.stranger.as_ref()
    }

    /// Who and where.
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Whether an earlier sign-in still lasts.
    pub const fn is_signed_in(&self) -> bool {
        self.held.is_some()
    }

    /// Who signed in.
    ///
    /// # Errors
    /// Nobody did.
    pub fn person(&self) -> Result<PersonId, Fault> {
        self.held.as_ref().map(|held| held.person).ok_or(Fault::NotSignedIn)
    }

    /// The plant's time zone, as the gate said when somebody signed in; UTC where nobody did, or where it is not known here.
    pub fn timezone(&self) -> TimeZone {
        let zone = self.held.as_ref().and_then(|held| TimeZoneDatabase::bundled().get(&held.timezone).ok());
        zone.unwrap_or(TimeZone::UTC)
    }

    /// Signs in with the key and a code, and keeps the token for its ten minutes.
    ///
    /// # Errors
    /// The gate refuses or cannot be reached.
    pub async fn sign_in(&mut self, code: &str) -> Result<SignedIn, Fault> {
        let form = self.login(code).await?;
        let signed_in: SignedIn = self.open_door("POST", "/api/v1/sign-in", Some(&form)).await?;
        self.keep(&signed_in)?;
        Ok(signed_in)
    }

    /// Signs in as the sensor whose profile this is, by its key alone.
    ///
    /// # Errors
    /// The gate refuses or cannot be reached.
    pub async fn sign_in_as_sensor(&mut self) -> Result<SignedIn, Fault> {
        self.sign_in("").await
    }

    /// Signs in, and gets an SSH certificate with the same code. On the vendor face alone.
    ///
    /// # Errors
    /// The gate refuses or cannot be reached.
    pub async fn sign_in_for_ssh(&mut self, code: &str) -> Result<CertificateAnswer, Fault> {
        let form = self.login(code).await?;
        let answer: CertificateAnswer = self.open_door("POST", "/api/v1/certificate", Some(&form)).await?;
        self.keep(&answer.signed_in)?;
        Ok(answer)
    }

    /// A complete login, as both doors take it.
    async fn login(&mut self, code: &str) -> Result<SignIn, Fault> {
        let wanted = ChallengeWanted { name: self.profile.name.clone() };
        let challenge: Challenge = self.open_door("POST", "/api/v1/sign-in/challenge", Some(&wanted)).await?;
        let ours = self.profile.origin.to_string();
        if challenge.origin != ours {
            return Err(Fault::OtherOrigin { ours, theirs: challenge.origin });
        }
        let nonce = HEXLOWER.decode(challenge.nonce.as_bytes()).ok().and_then(|nonce| <[u8; 32]>::try_from(nonce).ok());
        let nonce = nonce.ok_or_else(|| Fault::Odd("the nonce is none".into()))?;
        let signature = self.signer.sign(Namespace::Login, &login_message(&ours, &nonce)).await?;
        Ok(SignIn {
            name: self.profile.name.clone(),
            nonce: challenge.nonce,
            public_key: self.signer.public_text().0,
            signature,
            code: code.trim().to_owned(),
        })
    }

    fn keep(&mut self, signed_in: &SignedIn) -> Result<(), Fault> {
        let held = Held::of(&self.profile, signed_in, self.wire.start());
        self.tokens.write(&held)?;
        self.held = Some(held);
        self.take_over(&signed_in.ca_pem, &signed_in.ca_succession_pem)
    }

    /// Of the CAs that the gate names, what is trusted or signed by one that is, is trusted from then on: so whoever was there while the
    /// next one was announced notices nothing when it is in use. Where something in between opens TLS, it may say what it likes.
    fn take_over(&mut self, named: &str, succession: &str) -> Result<(), Fault> {
        if self.is_opened || named.is_empty() {
            return Ok(());
        }
        let (shown, now) = (self.wire.shown(), Timestamp::now());
        let TakenOver { ca_pem, stranger } =
            succession::take_over(&self.ca_pem, named, succession, shown.as_ref(), now)?;
        // A clean answer afterwards does not undo it.
        self.stranger = stranger.or(self.stranger);
        if authorities(&ca_pem)? == authorities(&self.ca_pem)? {
            return Ok(());
        }
        self.wire.trust(client_config(&ca_pem)?);
        self.unkept = self.profile.replace_ca(&ca_pem).err().map(|fault| fault.to_string());
        self.ca_pem = ca_pem;
        Ok(())
    }

    /// What stands at `path`.
    ///
    /// # Errors
    /// As every request: not signed in, refused, not reached.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Fault> {
        let response = self.send("GET", path, Vec::new()).await?;
        read_json(response).await
    }

    /// The whole list at `path`, page by page.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn list<T: Page>(&mut self, path: &str) -> Result<T, Fault> {
        let mut list: T = self.get(path).await?;
        while let Some(older) = list.older(path) {
            list.append(self.get(&older).await?);
        }
        Ok(list)
    }

    /// Acts at `path`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn post<T: DeserializeOwned>(&mut self, path: &str, body: &impl Serialize) -> Result<T, Fault> {
        let response = self.send("POST", path, json(body)).await?;
        read_json(response).await
    }

    /// Acts at `path`, where there is nothing to answer.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn act(&mut self, method: &'static str, path: &str, body: Option<&impl Serialize>) -> Result<(), Fault> {
        let response = self.send(method, path, body.map(json).unwrap_or_default()).await?;
        read_all(response).await.map(|_| ())
    }

    /// Sets what stands at `path`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn put<T: DeserializeOwned>(&mut self, path: &str, body: &impl Serialize) -> Result<T, Fault> {
        let response = self.send("PUT", path, json(body)).await?;
        read_json(response).await
    }

    /// Takes away what stands at `path`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn delete<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Fault> {
        let response = self.send("DELETE", path, Vec::new()).await?;
        read_json(response).await
    }

    /// What comes from `path` piece by piece.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn stream(&mut self, path: &str) -> Result<Pieces, Fault> {
        let response = self.send("GET", path, Vec::new()).await?;
        let (parts, body) = response.into_parts();
        Ok(Pieces { body, headers: parts.headers })
    }

    /// A statement with our signature over its digest.
    ///
    /// # Errors
    /// The key cannot sign.
    pub async fn sign<T>(&self, namespace: Namespace, statement: T, digest: Digest) -> Result<Signed<T>, Fault> {
        let signature = self.signer.sign(namespace, &digest.0).await?;
        Ok(Signed { statement, key: self.signer.public_text(), signature })
    }

    /// Has a text kept, and gives its digest once it was checked to be that of this very text.
    ///
    /// # Errors
    /// As [`get`](Self::get), or the gate kept something else.
    pub async fn keep_text(&mut self, text: &str) -> Result<Salted, Fault> {
        let kept: KeptText = self.post("/api/v1/texts", &KeepText { text: text.to_owned() }).await?;
        let is_ours = clean_text(text).is_ok_and(|clean| clean.as_str() == kept.text);
        if !kept.is_right() || !is_ours {
            return Err(Fault::Odd(format!("it kept {:?} and not what was said", kept.text)));
        }
        Ok(kept.digest)
    }

    /// One request with token and proof, up to the head of its answer.
    async fn send(&mut self, method: &'static str, path: &str, body: Vec<u8>) -> Result<Response<Incoming>, Fault> {
        let held = self.held.as_ref().ok_or(Fault::NotSignedIn)?;
        let mut start = ThisStart::of(&self.wire);
        // Whoever did not hear an answer asks once more; what is written is done once all the same, in one run of the gate.
        let once = (method != "GET").then(mint::nonce);
        let (mut lost, mut left) = (None, STILL_RUNNING_MAX);
        let answered = loop {
            let at = Timestamp::now();
            let message = request_message(method, path, Digest::of_bytes(&body), &held.token_id, at, &start.start);
            let signature = self.signer.sign(Namespace::Request, &message).await?;
            let credentials = Some((held.token.as_str(), proof::value(at, &start.start, &signature)));
            let asked =
                Outgoing { method, path, credentials, once: once.as_deref(), body: body.clone(), upgrade: None };
            let answered = match self.wire.send(asked).await {
                Err(fault @ Fault::Lost { .. }) if lost.is_none() => {
                    lost = Some(fault);
                    continue;
                }
                // What did not answer at first may have been done, whatever hinders asking again.
                Err(fault) => return Err(lost.unwrap_or(fault)),
                Ok(answer) => taken(answer).await,
            };
            if left > 0 && is_still_running(&answered) {
                left -= 1;
                tokio::time::sleep(ASK_AGAIN_AFTER).await;
                continue;
            }
            if !start.was_another(&answered) {
                break answered;
            }
            // Another run of the gate knows nothing of what this one was asked.
            if let Some(lost) = lost.take().filter(|_| once.is_some()) {
                return Err(lost);
            }
        };
        match answered {
            Err(Fault::Problem(problem)) if problem.refusal == "not-signed-in" => {
                self.held = None;
                self.tokens.forget();
                Err(Fault::Problem(problem))
            }
            other => other,
        }
    }

    /// A door at which nobody needs to have signed in.
    async fn open_door<T: DeserializeOwned>(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Fault> {
        let body = body.map(json).unwrap_or_default();
        let response =
            self.wire.send(Outgoing { method, path, credentials: None, once: None, body, upgrade: None }).await?;
        read_json(taken(response).await?).await
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({:?} at {})", self.profile.name, self.profile.origin)
    }
}

/// A write of ours that runs on is asked after for half a minute.
const STILL_RUNNING_MAX: u32 = 60;
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

fn is_still_running<T>(answered: &Result<T, Fault>) -> bool {
    matches!(answered, Err(Fault::Problem(problem)) if problem.refusal == once::STILL_RUNNING)
}

/// The run of the gate that a proof is for: the one that answered last. Where it is another by now, or one of several that
/// take turns, the request is made anew.
struct ThisStart<'a> {
    wire: &'a Wire,
    start: String,
    left: u8,
}

impl<'a> ThisStart<'a> {
    fn of(wire: &'a Wire) -> Self {
        Self { wire, start: wire.start(), left: 3 }
    }

    /// Whether the request was for another run than the one that answered, and is worth making anew.
    fn was_another<T>(&mut self, answered: &Result<T, Fault>) -> bool {
        let Err(Fault::Problem(problem)) = answered else { return false };
        let before = std::mem::replace(&mut self.start, self.wire.start());
        self.left = self.left.saturating_sub(1);
        problem.refusal == proof::OTHER_START && self.start != before && self.left > 0
    }
}

/// A body as it comes.
#[derive(Debug)]
pub struct Pieces {
    body: Incoming,
    headers: HeaderMap,
}

impl Pieces {
    /// What the gate says of it beside.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// The connection broke, or nothing came for half a minute.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let broken = |cause: String| Fault::Unreachable { origin: "the gate any longer".into(), cause };
        loop {
            let frame = tokio::time::timeout(STILL_MAX, self.body.frame()).await;
            match frame.map_err(|_| broken("nothing came for half a minute".into()))? {
                None => return Ok(None),
                Some(Err(cause)) => return Err(broken(cause.to_string())),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("what is sent has string keys and finite numbers")
}

/// The answer, or the problem that it tells.
async fn taken(response: Response<Incoming>) -> Result<Response<Incoming>, Fault> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let bytes = read_all(response).await?;
    match serde_json::from_slice::<ProblemBody>(&bytes) {
        Ok(problem) => Err(Fault::Problem(Box::new(problem))),
        Err(_) => Err(Fault::Odd(format!("status {status}"))),
    }
}

async fn read_json<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, Fault> {
    let status = response.status();
    let bytes = read_all(response).await?;
    if status == StatusCode::NO_CONTENT {
        return Err(Fault::Odd("it says nothing".into()));
    }
    serde_json::from_slice(&bytes).map_err(|cause| Fault::Odd(cause.to_string()))
}

async fn read_all(response: Response<Incoming>) -> Result<Vec<u8>, Fault> {
    let (parts, body) = response.into_parts();
    let mut pieces = Pieces { body, headers: parts.headers };
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await? {
        if bytes.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(Fault::Odd("it does not end".into()));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

impl Signer {
    /// The public key as it stands in the journal: without a comment.
    /// The public half as one line of text.
    pub fn public_text(&self) -> SshKey {
        let mut key = self.public_key().clone();
        key.set_comment("");
        SshKey(key.to_openssh().expect("a public key that was read can be written").trim().to_owned())
    }
}

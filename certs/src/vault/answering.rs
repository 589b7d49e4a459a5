//! The vault's end: what it answers, and what it refuses whoever holds the other end. It believes nothing that it is told but
//! the journal's entries, for the line that told them and for no other: a target's secret is for a session that goes on, by its
//! own clock. It gives certificates no longer a life, and no later a beginning, than the gate's honest use of them has, and a
//! server's only for keys that never leave it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use policies::events::Event;
use policies::ids::{CredentialName, PersonId, SessionId};
use policies::live::Live;
use policies::plant::Credential;
use policies::time::{Seconds, Window};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use ssh_key::PublicKey;
use zeroize::Zeroizing;

use super::guesses::Guesses;
use super::wire::{self, Answer, Ask, Bytes, HandshakeKey, SshDraft, Stream};
use crate::chance;
use crate::keys::KeyStore;
use crate::secrets::Secrets;
use crate::tls::{fresh_handshake_key, pem, provider};
use crate::tls_key::SCHEMES;
use crate::totp::step_at;

/// The gate and its vault ask one clock; between asking and answering it may be set.
const CLOCKS_DIFFER: Seconds = Seconds(120);
/// No host certificate of the gate's lasts longer.
const HOST_LASTS_MAX: Seconds = Seconds(2 * 86_400);
/// So many entries no journal has.
const ENTRIES_MAX: u64 = 1 << 60;
/// Seals keys for handshakes that were made here, under a key that nobody keeps. The TLS CA certifies these alone.
const MADE: &str = "handshake";
/// The same for those that the plant gave faces.
const GIVEN: &str = "face";

/// What the configuration says may be had, beside what the journal says.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    /// What the gate itself signs in with elsewhere.
    pub own: BTreeSet<CredentialName>,
    /// Private keys that the plant gave faces.
    pub face_keys: BTreeSet<PathBuf>,
    /// The certificates that go with them.
    pub face_chains: BTreeSet<PathBuf>,
    /// The configuration's file.
    pub configuration: PathBuf,
    /// Files around the keys that a backup takes.
    pub beside: Vec<PathBuf>,
}

/// The keys, opened in this process, for others.
pub struct Vault {
    keys: KeyStore,
    handshakes: Secrets,
    allowed: Allowed,
    guesses: Guesses,
    /// The latest that its clock ever showed.
    latest: Mutex<Timestamp>,
}

/// What one line told of the journal.
#[derive(Default)]
struct Heard {
    live: Live,
    /// It hears every entry from now on.
    follows: bool,
    /// An entry that this program does not know, which may say that everything is over.
    unknown: Option<String>,
}

impl Vault {
    /// These keys, which nothing else holds.
    pub fn new(keys: KeyStore, allowed: Allowed) -> Self {
        let handshakes = Secrets::with_key(&chance::secret());
        Self { keys, handshakes, allowed, guesses: Guesses::default(), latest: Mutex::new(Timestamp::MIN) }
    }

    /// Answers whoever is at the other end until they end.
    ///
    /// # Errors
    /// The stream's, or what comes is no question.
    pub fn serve(&self, stream: &mut dyn Stream, clock: impl Fn() -> Timestamp) -> io::Result<()> {
        let mut heard = Heard::default();
        while let Some(ask) = wire::read::<Ask>(stream)? {
            let now = clock();
            self.never_back(now);
            let answer = self.answer(ask, &mut heard, now).unwrap_or_else(Answer::Refused);
            let too_long = |error: io::Error| wire::encoded(&Answer::Refused(error.to_string()));
            stream.write_all(&wire::encoded(&answer).or_else(too_long)?)?;
            stream.flush()?;
        }
        Ok(())
    }

    /// Answers this to whatever is asked, where there are no keys.
    ///
    /// # Errors
    /// The stream's, or what comes is no question.
    pub fn refuse_all(stream: &mut dyn Stream, answer: &Answer) -> io::Result<()> {
        while wire::read::<Ask>(stream)?.is_some() {
            wire::write(stream, answer)?;
        }
        Ok(())
    }

    fn answer(&self, ask: Ask, heard: &mut Heard, now: Timestamp) -> Result<Answer, String> {
        Ok(match ask {
            Ask::Ping => Answer::Here(super::PROGRAM.to_owned()),
            Ask::Public => Answer::Public(Box::new(self.keys.public())),
            Ask::Reload => {
                self.keys.reload().map_err(said)?;
                Answer::Public(Box::new(self.keys.public()))
            }
            Ask::SignForLog(message) => bytes(&self.keys.log_key().sign(&message.0).map_err(said)?),
            Ask::SignToken(message) => {
                let signed = self.keys.token_key().sign_elsewhere(&message, now);
                bytes(&signed.ok_or("it signs tokens that begin now and last ten minutes, and this is none")?)
            }
            Ask::SshCertificate(draft) => {
                self.check_ssh(&draft, heard, now)?;
                let made = self.keys.ssh_ca().certify(&draft).map_err(said)?;
                Answer::Text(made.to_openssh().map_err(said)?)
            }
            Ask::ServerCertificate { names, sealed } => {
                // The TCP face shows one under whatever name it was asked for: so it is the key that says whose it is.
                let key = loaded(&self.handshakes.open_labelled(MADE, &sealed.0).map_err(said)?)?;
                let public = key.public_key().ok_or("the key has no public half")?;
                bytes(&self.keys.tls_ca().leaf_for(&names, &public, now).map_err(said)?)
            }
            Ask::ClientCertificate { draft, key } => {
                is_now(draft.now, now)?;
                bytes(&self.keys.tls_ca().client_leaf(&draft, &key.0).map_err(said)?)
            }
            Ask::NewHandshakeKey => self.handshake_key(MADE, &fresh_handshake_key().0)?,
            Ask::HandshakeKeyIn(path) => self.handshake_key_in(Path::new(&path))?,
            Ask::ChainIn(path) => self.chain_in(Path::new(&path))?,
            Ask::SignHandshake { sealed, scheme, message } => self.sign_handshake(&sealed, scheme, &message)?,
            Ask::Seal { label, plain } => bytes(&self.keys.secrets().seal_labelled(&label, &plain.0).map_err(said)?),
            Ask::Totp { person, sealed, code } => {
                let (code, secrets) = (std::str::from_utf8(&code.0).map_err(said)?, self.keys.secrets());
                let compare = || secrets.matching_step(person, &sealed.0, code, step_at(now));
                Answer::Step(self.guesses.compare(person, now, compare)?)
            }
            Ask::Tag(of) => bytes(&self.keys.secrets().tag(&of.0).map_err(said)?),
            Ask::OpenForGate { name, sealed } => {
                if !self.allowed.own.contains(&name) {
                    return Err(format!("the configuration names no {name} for the gate itself"));
                }
                self.open(&name, &sealed)?
            }
            Ask::OpenForSession { session, name, sealed } => {
                self.leads_to(heard, session, now, |by, _| *by == Credential::Sealed(name.clone()))?;
                self.open(&name, &sealed)?
            }
            Ask::Brief { entries, until } => {
                heard.be_briefed(&entries, until)?;
                Answer::Here(super::PROGRAM.to_owned())
            }
            Ask::Tell { after, entries } => {
                heard.hear(after, &entries)?;
                Answer::Here(super::PROGRAM.to_owned())
            }
            Ask::Configuration => bytes(&std::fs::read(&self.allowed.configuration).map_err(said)?),
            Ask::Files => {
                let files = self.keys.for_backup(&self.allowed.beside).map_err(said)?;
                Answer::Files(files.into_iter().map(|(name, file)| (name, file.as_slice().into())).collect())
            }
        })
    }

    /// A wall clock set back extends nothing.
    fn never_back(&self, now: Timestamp) -> Timestamp {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = now.max(*latest);
        *latest
    }

    /// Whether a session goes on and what opens its target is this, to this account.
    fn leads_to(
        &self,
        heard: &Heard,
        session: SessionId,
        now: Timestamp,
        is: impl Fn(&Credential, Option<&str>) -> bool,
    ) -> Result<(), String> {
        let account = heard.live()?.opens(session, self.never_back(now)).map_err(said)?;
        let fits = account.is_some_and(|account| is(&account.by, account.user.as_deref()));
        if fits { Ok(()) } else { Err("the plant file opens this session's target otherwise".to_owned()) }
    }

    fn open(&self, name: &CredentialName, sealed: &Bytes) -> Result<Answer, String> {
        let opened = self.keys.secrets().open(name, &sealed.0, super::Purpose::Gate);
        Ok(Answer::Bytes(Bytes(opened.map_err(said)?)))
    }

    fn check_ssh(&self, draft: &SshDraft, heard: &Heard, now: Timestamp) -> Result<(), String> {
        match draft {
            SshDraft::Host { key, valid, .. } => {
                if !PublicKey::from_openssh(key).is_ok_and(|key| self.keys.ssh_host_key().is_one(&key)) {
                    return Err("a host's certificate is for the gate's own host key".to_owned());
                }
                lasts(*valid, HOST_LASTS_MAX, now)
            }
            SshDraft::User { principal, valid, .. } => {
                // A target that trusts this CA lets in whomever a certificate names: nobody there has a person's id.
                principal.parse::<PersonId>().map_err(|_| "a person's certificate names a person".to_owned())?;
                lasts(*valid, crate::ssh_ca::LASTS_MAX, now)
            }
            SshDraft::Target { user, valid, session, .. } => {
                lasts(*valid, crate::ssh_ca::LASTS_MAX, now)?;
                let is =
                    |by: &Credential, account: Option<&str>| *by == Credential::Certificate && account == Some(user);
                self.leads_to(heard, *session, now, is)
            }
        }
    }

    fn handshake_key_in(&self, path: &Path) -> Result<Answer, String> {
        if !self.allowed.face_keys.contains(path) {
            return Err("the configuration names no such key of a face".to_owned());
        }
        let text = Zeroizing::new(std::fs::read(path).map_err(said)?);
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| "there is no private key in PEM in it")?;
        self.handshake_key(GIVEN, key.secret_der())
    }

    /// Whatever else may lie in such a file, what comes out is certificates.
    fn chain_in(&self, path: &Path) -> Result<Answer, String> {
        if !self.allowed.face_chains.contains(path) {
            return Err("the configuration names no such certificate of a face".to_owned());
        }
        let text = std::fs::read(path).map_err(said)?;
        let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_| "there is no certificate in PEM in it")?;
        Ok(bytes(chain.iter().map(pem).collect::<String>().as_bytes()))
    }

    /// The gate keeps it, and can have it used; it opens in this process alone.
    fn handshake_key(&self, label: &str, der: &[u8]) -> Result<Answer, String> {
        let key = loaded(der)?;
        let signs_by = |scheme| key.choose_scheme(&[scheme]).is_some();
        let schemes = SCHEMES.into_iter().filter(|scheme| signs_by(*scheme)).map(u16::from).collect();
        let public = key.public_key().ok_or("the key has no public half")?;
        let sealed = self.handshakes.seal_labelled(label, der).map_err(said)?;
        let (sealed, public) = (sealed.as_slice().into(), public.as_ref().into());
        Ok(Answer::HandshakeKey(HandshakeKey { sealed, public, schemes }))
    }

    /// Nothing but what a server signs: a plant's own key would else be good for requests at its authority, too.
    fn sign_handshake(&self, sealed: &Bytes, scheme: u16, message: &Bytes) -> Result<Answer, String> {
        if !is_of_server(&message.0) {
            return Err("it signs what a TLS 1.3 server signs in a handshake, and this is none".to_owned());
        }
        let opened = self.handshakes.open_labelled(MADE, &sealed.0);
        let key = loaded(&opened.or_else(|_| self.handshakes.open_labelled(GIVEN, &sealed.0)).map_err(said)?)?;
        let signer = key.choose_scheme(&[scheme.into()]).ok_or("the key does not sign so")?;
        Ok(bytes(&signer.sign(&message.0).map_err(said)?))
    }
}

impl Heard {
    /// Only who has not begun to follow can be told that something is not worth hearing.
    fn be_briefed(&mut self, entries: &[(u64, Bytes)], until: u64) -> Result<(), String> {
        if self.follows {
            return Err("it follows the journal already".to_owned());
        }
        if entries.iter().map(|(place, _)| *place).chain([until]).any(|place| place > ENTRIES_MAX) {
            return Err("no journal is so long".to_owned());
        }
        for (place, event) in entries {
            if *place < self.live()?.size() {
                return Err(format!("it heard {} entries of the journal, and not {place}", self.live.size()));
            }
            self.live.pass(*place);
            self.take(event);
        }
        self.live.pass(until);
        self.live().map(drop)
    }

    /// What is no continuation of what was heard is none of this journal's.
    fn hear(&mut self, after: u64, entries: &[Bytes]) -> Result<(), String> {
        if after != self.live()?.size() {
            return Err(format!("it heard {} entries of the journal, and not {after}", self.live.size()));
        }
        self.follows = true;
        entries.iter().for_each(|event| self.take(event));
        self.live().map(drop)
    }

    fn take(&mut self, event: &Bytes) {
        match Event::decode(&event.0) {
            Ok(event) => self.live.apply(&event),
            Err(fault) => {
                self.unknown =
                    Some(format!("it opens nothing, since the journal has an entry that it does not know: {fault}"));
            }
        }
    }

    fn live(&self) -> Result<&Live, String> {
        match &self.unknown {
            None => Ok(&self.live),
            Some(why) => Err(why.clone()),
        }
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(..)")
    }
}

/// RFC 8446, section 4.4.3: 64 spaces, these words, a zero, and the hash of all that was said before.
fn is_of_server(message: &[u8]) -> bool {
    const WORDS: &[u8] = b"TLS 1.3, server CertificateVerify\0";
    let hash = message.strip_prefix(&[b' '; 64]).and_then(|rest| rest.strip_prefix(WORDS));
    hash.is_some_and(|hash| [32, 48].contains(&hash.len()))
}

fn loaded(der: &[u8]) -> Result<std::sync::Arc<dyn rustls::sign::SigningKey>, String> {
    let key = PrivateKeyDer::try_from(der).map(|key| key.clone_key());
    let key = key.unwrap_or_else(|_| PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.to_vec())));
    provider().key_provider.load_private_key(key).map_err(said)
}

fn bytes(bytes: &[u8]) -> Answer {
    Answer::Bytes(bytes.into())
}

fn said(fault: impl std::fmt::Display) -> String {
    fault.to_string()
}

fn is_now(from: Timestamp, now: Timestamp) -> Result<(), String> {
    let fits = from <= CLOCKS_DIFFER.after(now) && now <= CLOCKS_DIFFER.after(from);
    if fits { Ok(()) } else { Err("what it signs begins now, and this does not".to_owned()) }
}

/// Whatever begins in the past has so much less to go.
fn lasts(valid: Window, most: Seconds, now: Timestamp) -> Result<(), String> {
    let fits = valid.from <= CLOCKS_DIFFER.after(now) && valid.until <= most.after(CLOCKS_DIFFER.after(now));
    if fits { Ok(()) } else { Err("what it signs begins now, and lasts no longer than it must".to_owned()) }
}

//! Identity providers of the plant and of vendors, asked by OpenID Connect's authorization code flow with PKCE: where they are
//! (Discovery 1.0), what they sign with, and what a code is worth. What an ID token proves is checked in `certs`; whose subject
//! it is here, is decided above. A provider is believed about who somebody is, and in nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use certs::oidc::{BadIdToken, Expected, IdToken, ProviderKeys, SeveralFactors, TOKEN_BYTES_MAX};
use certs::proof::Face;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use jiff::Timestamp;
use policies::ids::{ProviderName, VendorId};
use policies::people::{Kind, Person};
use serde::Deserialize;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::notify::Sealed;
use crate::post::{BadUrl, NoCa, Poster, Url, Wanted, connector};

/// From connecting to the end of the answer: somebody looks at a page meanwhile.
const TAKES_MAX: Duration = Duration::from_secs(8);
/// A provider that did not answer is not asked again at once, so that those who wait are told.
const ASKED_AGAIN: Duration = Duration::from_secs(3);
/// How long what a provider published is believed to stand: a key that it withdrew counts so long here.
const STANDS: Duration = Duration::from_secs(600);
/// How lately a provider must have answered for a browser to be sent there: who is sent to one that is gone sees no word of it.
const ANSWERED: Duration = Duration::from_secs(5);
/// How often a key that is not known is looked for: strangers cannot make tokens of the right form count, but can send them.
const LOOKED_FOR: Duration = Duration::from_secs(30);
/// Codes that are turned in at once with one provider.
const AT_ONCE: usize = 16;
/// Of these from one source: one address may be the NAT of a whole vendor, and no one address keeps the others out.
const OF_ONE_SOURCE: usize = 4;
/// Bytes of what a provider publishes, and of its answer to a code; each is some thousand.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Characters of a code; providers that put sealed state into it write some thousand.
pub(crate) const CODE_CHARS_MAX: usize = 8 << 10;

/// A provider's issuer, by https; in the clear from this machine itself alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    text: String,
    url: Url,
}

/// Text that is no issuer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadIssuer {
    /// Not a URL.
    #[error("{:?} is no issuer: write for example \"https://login.mill3.example\"", .0.0)]
    Url(#[from] BadUrl),
    /// In the clear to another machine.
    #[error(
        "an identity provider is asked in the clear only on this machine itself (127.0.0.1, ::1, localhost): use https"
    )]
    Clear,
    /// With what an issuer has not.
    #[error("an issuer has no `?` and no `#`: write what the provider calls `issuer`, sign for sign")]
    Parts,
}

impl FromStr for Issuer {
    type Err = BadIssuer;
    fn from_str(text: &str) -> Result<Self, BadIssuer> {
        if text.contains(['?', '#']) {
            return Err(BadIssuer::Parts);
        }
        let url = text.parse()?;
        if is_private(&url) { Ok(Self { text: text.to_owned(), url }) } else { Err(BadIssuer::Clear) }
    }
}

fn is_private(url: &Url) -> bool {
    url.is_https() || url.is_this_machine()
}

/// What the configuration says of a provider.
pub struct ProviderParts {
    /// As events, addresses and people's pages call it.
    pub name: ProviderName,
    /// As buttons call it.
    pub title: String,
    /// What its tokens must be of.
    pub issuer: Issuer,
    /// The gate, as it calls it.
    pub client: String,
    /// What the gate proves itself to it by; none of a client that is public.
    pub secret: Option<Sealed>,
    /// The CAs that may vouch for it, in PEM; otherwise the system's. Or why those that were meant are not known.
    pub ca_pem: Result<Option<String>, NoCa>,
    /// Whose technicians it knows; where it is nobody's, the plant's own people.
    pub vendor: Option<VendorId>,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// When it is believed to have asked for several factors.
    pub several: SeveralFactors,
    /// Groups that must still be theirs there, too.
    pub groups: Option<Groups>,
}

/// What a provider must still say of whoever is in a group here. It takes away, and gives nothing: a group counts by what the
/// journal has of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// The claim with the provider's groups.
    pub claim: String,
    /// By an operator's group, or a technician's role: in one of these they must be there.
    pub wanted: BTreeMap<String, BTreeSet<String>>,
}

/// Every provider. Cheap to clone.
#[derive(Clone, Default)]
pub struct Providers(Arc<Vec<Provider>>);

/// One provider, and what is known of it.
pub struct Provider {
    parts: ProviderParts,
    tls: Result<TlsConnector, NoCa>,
    known: tokio::sync::Mutex<Known>,
    turning_in: Mutex<HashMap<IpAddr, usize>>,
    lost: Mutex<Option<Lost>>,
}

#[derive(Default)]
struct Known {
    document: Option<(Document, Instant)>,
    keys: Option<(ProviderKeys, Instant)>,
    /// When a key was looked for last that was not among them.
    looked: Option<Instant>,
}

struct Lost {
    since: Timestamp,
    last: Instant,
    why: String,
}

/// What a provider says of itself (Discovery 1.0, 3).
#[derive(Clone, Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// Secrets of one sign-in, on both sides of the way to a provider and back.
pub struct Attempt<'a> {
    /// Comes back with the browser.
    pub state: &'a str,
    /// Comes back in the token.
    pub nonce: &'a str,
    /// Shows that whoever turns the code in has begun.
    pub verifier: &'a str,
    /// Where the browser comes back to.
    pub back: &'a str,
    /// Since when whoever comes back must have proved there anew who they are; none where they need not.
    pub anew: Option<Timestamp>,
}

/// A place among those whose codes are turned in at once.
pub struct Place<'a> {
    provider: &'a Provider,
    source: IpAddr,
}

/// Why a provider proved nobody. Fit to show, behind its title.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotProved {
    /// It does not answer, or cannot be believed to be it.
    #[error("it does not answer, so nobody can sign in by it now ({0})")]
    Lost(String),
    /// It gives no answer to this one code, whatever it says to others.
    #[error("it gives no answer to what your browser brought ({0}). Begin again")]
    Unanswered(String),
    /// It says of itself what cannot be.
    #[error("what it says of itself cannot be used: {0}. Tell an administrator")]
    Published(&'static str),
    /// The gate's own secret for it is not there.
    #[error("the gate cannot prove itself to it: {0}. Tell an administrator")]
    NoSecret(String),
    /// It does not take the code, which is used, too old, or of another sign-in.
    #[error("it does not take what your browser brought ({0}). Begin again")]
    Code(String),
    /// It does not know the gate.
    #[error("it does not know this gate any more ({0}). Tell an administrator")]
    Client(String),
    /// Another provider has answered than was asked (RFC 9207).
    #[error(
        "another provider has answered than the one that was asked. Begin again, and tell an administrator if this comes again"
    )]
    MixedUp,
    /// Its token.
    #[error("{0}")]
    Token(#[from] BadIdToken),
    /// Too many at once.
    #[error("too many people sign in by it at once: try again")]
    Busy,
}

/// Why somebody whom a provider knows does not sign in by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotItsPerson {
    /// It vouches for others.
    #[error("it signs in {0} alone")]
    Others(String),
    /// It says nothing of groups, where they are wanted.
    #[error("it says nothing of your groups, and some of yours here need its word. Tell an administrator")]
    Silent,
    /// It does not have them in a group any more.
    #[error("you are in {here} here, and there in none of {there} any more. Tell an administrator")]
    Group {
        /// What they are in here.
        here: String,
        /// In which they should be there.
        there: String,
    },
}

impl Providers {
    /// Of all that the configuration names. One for which no CA could vouch is there, and does not answer.
    pub fn new(parts: Vec<ProviderParts>) -> Self {
        let provider = |parts: ProviderParts| {
            let tls = parts.ca_pem.as_ref().map_err(Clone::clone).and_then(|pem| connector(pem.as_deref()));
            let (known, turning_in, lost) = (tokio::sync::Mutex::default(), Mutex::default(), Mutex::default());
            Provider { parts, tls, known, turning_in, lost }
        };
        Self(Arc::new(parts.into_iter().map(provider).collect()))
    }

    /// Those that sign nobody in because no CA could vouch for them, and why.
    pub fn unbelievable(&self) -> impl Iterator<Item = (&ProviderName, &NoCa)> {
        let by_https = self.0.iter().filter(|provider| provider.parts.issuer.url.is_https());
        by_https.filter_map(|provider| Some((provider.name(), provider.tls.as_ref().err()?)))
    }

    /// Those by which people sign in on a face.
    pub fn of(&self, face: Face) -> impl Iterator<Item = &Provider> {
        self.0.iter().filter(move |provider| provider.face() == face)
    }

    /// Those of a face that know people like this one.
    pub fn knowing<'a>(&'a self, face: Face, person: &'a Person) -> impl Iterator<Item = &'a Provider> {
        self.of(face).filter(|provider| provider.knows(person))
    }

    /// The one of this name on a face.
    pub fn named(&self, face: Face, name: &str) -> Option<&Provider> {
        self.of(face).find(|provider| provider.parts.name.as_str() == name)
    }
}

impl Provider {
    /// As events and addresses call it.
    pub const fn name(&self) -> &ProviderName {
        &self.parts.name
    }

    /// As people call it.
    pub fn title(&self) -> &str {
        &self.parts.title
    }

    const fn face(&self) -> Face {
        match self.parts.vendor {
            Some(_) => Face::Vendor,
            None => Face::Plant,
        }
    }

    /// Since when it does not answer, if it did not when it was asked last.
    pub fn lost_since(&self) -> Option<Timestamp> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|lost| lost.since)
    }

    /// Whether it is for people like this one: its vendor's technicians, or the plant's own people.
    fn knows(&self, person: &Person) -> bool {
        match (&self.parts.vendor, &person.kind) {
            (Some(of), Kind::Technician { vendor, .. }) => of == vendor,
            (None, Kind::Operator { .. } | Kind::Auditor | Kind::Administrator) => true,
            _ => false,
        }
    }

    /// Whether it may sign somebody in whose subject it proved: they are of those whom it knows, and it still has them in what
    /// their groups here want.
    ///
    /// # Errors
    /// It may not.
    pub fn may_vouch_for(&self, person: &Person, token: &IdToken) -> Result<(), NotItsPerson> {
        if !self.knows(person) {
            let whom = self.parts.vendor.as_ref().map(|vendor| format!("technicians of {vendor}"));
            return Err(NotItsPerson::Others(whom.unwrap_or_else(|| "people of the plant".to_owned())));
        }
        let wanted: Vec<&str> = match &person.kind {
            Kind::Technician { role, .. } => vec![role.as_str()],
            _ => person.groups.iter().map(|group| group.as_str()).collect(),
        };
        let Some(groups) = &self.parts.groups else { return Ok(()) };
        for here in wanted {
            let Some(there) = groups.wanted.get(here) else { continue };
            let said = token.groups().ok_or(NotItsPerson::Silent)?;
            if said.is_disjoint(there) {
                let there = there.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                return Err(NotItsPerson::Group { here: here.to_owned(), there });
            }
        }
        Ok(())
    }

    /// Where a browser goes to sign in there.
    ///
    /// # Errors
    /// The provider does not answer.
    pub async fn begin(&self, attempt: &Attempt<'_>, now: Timestamp) -> Result<String, NotProved> {
        let document = self.document(&mut *self.known.lock().await, ANSWERED, now).await?;
        let challenge = BASE64URL_NOPAD.encode(digest(&SHA256, attempt.verifier.as_bytes()).as_ref());
        let scope = std::iter::once("openid").chain(self.parts.scopes.iter().map(String::as_str)).collect::<Vec<_>>();
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("response_type", "code").append_pair("client_id", &self.parts.client);
        query.append_pair("redirect_uri", attempt.back).append_pair("scope", &scope.join(" "));
        query.append_pair("state", attempt.state).append_pair("nonce", attempt.nonce);
        query.append_pair("code_challenge", &challenge).append_pair("code_challenge_method", "S256");
        if attempt.anew.is_some() {
            query.append_pair("prompt", "login").append_pair("max_age", "0");
        }
        let begins = if document.authorization_endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{}{begins}{}", document.authorization_endpoint, query.finish()))
    }

    /// A place for one code of this source's.
    ///
    /// # Errors
    /// None is left, or this source has its own.
    pub fn place(&self, source: IpAddr) -> Result<Place<'_>, NotProved> {
        let source = source.to_canonical();
        let mut turning_in = self.turning_in.lock().unwrap_or_else(PoisonError::into_inner);
        let of_this = turning_in.get(&source).copied().unwrap_or_default();
        if of_this >= OF_ONE_SOURCE || turning_in.values().sum::<usize>() >= AT_ONCE {
            return Err(NotProved::Busy);
        }
        turning_in.insert(source, of_this + 1);
        Ok(Place { provider: self, source })
    }

    async fn finish(
        &self,
        attempt: &Attempt<'_>,
        (code, issuer): (&str, Option<&str>),
        now: Timestamp,
    ) -> Result<IdToken, NotProved> {
        let document = self.document(&mut *self.known.lock().await, STANDS, now).await?;
        let is_said = issuer.is_some() || document.authorization_response_iss_parameter_supported;
        if is_said && issuer != Some(&self.parts.issuer.text) {
            return Err(NotProved::MixedUp);
        }
        let token = self.turn_in(&document, attempt, code).await?;
        self.check(&document, &token, attempt, now).await
    }

    /// A key that is not known, or is another than was known by its name, is looked for once: a provider may have just begun to
    /// sign with it.
    async fn check(
        &self,
        document: &Document,
        token: &str,
        attempt: &Attempt<'_>,
        now: Timestamp,
    ) -> Result<IdToken, NotProved> {
        let expected = Expected {
            provider: &self.parts.name,
            issuer: &self.parts.issuer.text,
            client: &self.parts.client,
            nonce: attempt.nonce,
            several: &self.parts.several,
            groups_claim: self.parts.groups.as_ref().map(|groups| groups.claim.as_str()),
            since: attempt.anew,
        };
        let mut known = self.known.lock().await;
        let keys = self.keys(document, &mut known, STANDS, now).await?;
        let may_look = known.looked.is_none_or(|looked| looked.elapsed() >= LOOKED_FOR);
        match IdToken::check(token, &keys, &expected, now) {
            Err(BadIdToken::UnknownKey | BadIdToken::Signature) if may_look => {
                known.looked = Some(Instant::now());
                let keys = self.keys(document, &mut known, Duration::ZERO, now).await?;
                Ok(IdToken::check(token, &keys, &expected, now)?)
            }
            checked => Ok(checked?),
        }
    }

    async fn document(&self, known: &mut Known, stands: Duration, now: Timestamp) -> Result<Document, NotProved> {
        if let Some((document, _)) = known.document.as_ref().filter(|(_, at)| at.elapsed() < stands) {
            return Ok(document.clone());
        }
        let read = self.read(self.parts.issuer.url.below(".well-known/openid-configuration"), now).await?;
        let document: Document =
            serde_json::from_slice(&read).map_err(|_| NotProved::Published("it is no description of a provider"))?;
        if document.issuer != self.parts.issuer.text {
            return Err(NotProved::Published("it calls itself otherwise than `issuer` in the configuration"));
        }
        let ends = [&document.authorization_endpoint, &document.token_endpoint, &document.jwks_uri];
        if !ends.into_iter().all(|end| end.parse().is_ok_and(|end| self.may_lead_to(&end))) {
            return Err(NotProved::Published("it leads elsewhere than by https"));
        }
        known.document = Some((document.clone(), Instant::now()));
        Ok(document)
    }

    /// A provider on this machine may lead to this machine in the clear; nobody else leads there.
    fn may_lead_to(&self, end: &Url) -> bool {
        end.is_https() || (!self.parts.issuer.url.is_https() && end.is_this_machine())
    }

    async fn keys(
        &self,
        document: &Document,
        known: &mut Known,
        stands: Duration,
        now: Timestamp,
    ) -> Result<ProviderKeys, NotProved> {
        if let Some((keys, _)) = known.keys.as_ref().filter(|(_, at)| at.elapsed() < stands) {
            return Ok(keys.clone());
        }
        let url = document.jwks_uri.parse().map_err(|_| NotProved::Published("its keys are nowhere"))?;
        let read = self.read(url, now).await?;
        let keys = ProviderKeys::parse(&read).map_err(|_| NotProved::Published("its keys cannot be read"))?;
        known.keys = Some((keys.clone(), Instant::now()));
        Ok(keys)
    }

    async fn turn_in(
        &self,
        document: &Document,
        attempt: &Attempt<'_>,
        code: &str,
    ) -> Result<Zeroizing<String>, NotProved> {
        #[derive(Deserialize)]
        struct Answer {
            id_token: String,
        }
        #[derive(Deserialize, Default)]
        struct No {
            #[serde(default)]
            error: String,
        }
        let (body, headers) = self.proved(document, attempt, code).await?;
        let url = document.token_endpoint.parse().map_err(|_| NotProved::Published("its token endpoint is nowhere"))?;
        let kind = "application/x-www-form-urlencoded";
        let posted = async {
            let poster = Poster::over(url, &self.tls).map_err(|no_ca| no_ca.to_string())?;
            poster.post(kind, &headers, body.as_bytes().to_vec(), Wanted::Body(ANSWER_BYTES_MAX)).await
        };
        // What a code comes to says nothing of the provider to anybody else: a stranger's may be made to fail.
        match in_time(posted).await.map_err(NotProved::Unanswered)? {
            (200, body) => {
                let answer: Answer = serde_json::from_slice(&body).map_err(|_| BadIdToken::Form)?;
                Some(answer.id_token)
                    .filter(|token| token.len() <= TOKEN_BYTES_MAX)
                    .map(Zeroizing::new)
                    .ok_or(NotProved::Token(BadIdToken::Form))
            }
            (400..=499, body) => {
                let No { error } = serde_json::from_slice(&body).unwrap_or_default();
                let error = words(&error);
                tracing::debug!(provider = %self.parts.name, %error, "an identity provider did not take a code");
                Err(match error.as_str() {
                    "invalid_client" | "unauthorized_client" => NotProved::Client(error),
                    _ => NotProved::Code(error),
                })
            }
            (status, _) => Err(NotProved::Unanswered(format!("it answers {status}"))),
        }
    }

    /// What is posted with a code, and how the gate proves itself: in the header (RFC 6749, 2.3.1), where the provider takes that.
    async fn proved(
        &self,
        document: &Document,
        attempt: &Attempt<'_>,
        code: &str,
    ) -> Result<(Zeroizing<String>, HeaderMap), NotProved> {
        let secret = match &self.parts.secret {
            Some(secret) => Some(secret.text().await.map_err(|missing| NotProved::NoSecret(missing.0))?),
            None => None,
        };
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code").append_pair("code", code);
        form.append_pair("redirect_uri", attempt.back).append_pair("code_verifier", attempt.verifier);
        let mut headers = HeaderMap::new();
        let Some(secret) = secret else {
            form.append_pair("client_id", &self.parts.client);
            return Ok((Zeroizing::new(form.finish()), headers));
        };
        let takes =
            |method: &str| document.token_endpoint_auth_methods_supported.iter().flatten().any(|one| one == method);
        if takes("client_secret_post") && !takes("client_secret_basic") {
            form.append_pair("client_id", &self.parts.client).append_pair("client_secret", &secret);
            return Ok((Zeroizing::new(form.finish()), headers));
        }
        let part = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = Zeroizing::new(format!("{}:{}", part(&self.parts.client), part(&secret)));
        let mut value =
            HeaderValue::try_from(format!("Basic {}", BASE64.encode(pair.as_bytes()))).expect("base64 fits a header");
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok((Zeroizing::new(form.finish()), headers))
    }

    /// What it publishes there, within [`TAKES_MAX`], and not at all where it has just failed.
    async fn read(&self, url: Url, now: Timestamp) -> Result<Bytes, NotProved> {
        if let Some(lost) = self.lost.lock().unwrap_or_else(PoisonError::into_inner).as_ref()
            && lost.last.elapsed() < ASKED_AGAIN
        {
            return Err(NotProved::Lost(lost.why.clone()));
        }
        let asked = async {
            let poster = Poster::over(url, &self.tls).map_err(|no_ca| no_ca.to_string())?;
            match poster.get(Wanted::Body(ANSWER_BYTES_MAX)).await? {
                (200, body) => Ok(body),
                (status, _) => Err(format!("it answers {status}")),
            }
        };
        let body = in_time(asked).await.map_err(|why| self.is_lost(why, now))?;
        if self.lost.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!(provider = %self.parts.name, "an identity provider answers again");
        }
        Ok(body)
    }

    /// Told to the log once, until it answers again.
    fn is_lost(&self, why: String, now: Timestamp) -> NotProved {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.is_none() {
            tracing::warn!(provider = %self.parts.name, %why, "an identity provider does not answer");
        }
        let since = lost.as_ref().map_or(now, |lost| lost.since);
        *lost = Some(Lost { since, last: Instant::now(), why: why.clone() });
        NotProved::Lost(why)
    }
}

impl Place<'_> {
    /// Turns in the code that a browser brought back, with what came beside it.
    ///
    /// # Errors
    /// The provider does not answer, does not take it, or what it gives for it proves nobody.
    pub async fn finish(
        self,
        attempt: &Attempt<'_>,
        brought: (&str, Option<&str>),
        now: Timestamp,
    ) -> Result<IdToken, NotProved> {
        self.provider.finish(attempt, brought, now).await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut turning_in = self.provider.turning_in.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_this) = turning_in.get_mut(&self.source) {
            *of_this -= 1;
        }
        turning_in.retain(|_, of_this| *of_this > 0);
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let answered = tokio::time::timeout(TAKES_MAX, asked).await;
    answered.unwrap_or_else(|_| Err(format!("no answer within {} seconds", TAKES_MAX.as_secs())))
}

/// Why a provider sends a browser back with no code (RFC 6749, 4.1.2.1; OpenID Connect Core 1.0, 3.1.2.6). Any other word may be
/// that of whoever made the link.
const ERRORS: [&str; 11] = [
    "access_denied",
    "account_selection_required",
    "consent_required",
    "interaction_required",
    "invalid_request",
    "invalid_scope",
    "login_required",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_response_type",
];

/// The word for it, where it is one of those that providers have.
pub(crate) fn known_error(word: &str) -> Option<&'static str> {
    ERRORS.into_iter().find(|error| *error == word)
}

/// A provider's word, fit to show.
fn words(text: &str) -> String {
    let fits = |c: &char| c.is_ascii_graphic() || *c == ' ';
    text.chars().filter(fits).take(80).collect()
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|provider| provider.parts.name.as_str())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_https_or_this_machine_itself_and_has_no_query() {
        let read = |text: &str| text.parse::<Issuer>().map(drop);
        for right in ["https://login.acme.example/tenant/v2.0", "http://127.0.0.1:4500", "http://localhost:1"] {
            assert_eq!(read(right), Ok(()), "{right}");
        }
        assert_eq!(read("http://login.acme.example"), Err(BadIssuer::Clear));
        assert_eq!(read("https://login.acme.example/?a"), Err(BadIssuer::Parts));
        assert!(matches!(read("login.acme.example"), Err(BadIssuer::Url(_))));
    }

    #[test]
    fn a_providers_word_shows_nothing_odd() {
        assert_eq!(words("in\u{202e}valid\u{1b}[1m_grant"), "invalid[1m_grant");
        assert_eq!(words(&"x".repeat(500)).len(), 80);
    }
}

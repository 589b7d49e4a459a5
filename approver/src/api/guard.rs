//! What stands before every door: the body is read up to its limit, and where the table of routes says so, token and
//! proof are checked against what stands now. A handler behind it gets a [`Caller`], which nobody else makes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use certs::proof::{Authenticated, Face, Factors};
use certs::tls_client::CERTIFICATE_TOKEN;
use certs::token::{REQUEST_SKEW, SignedRequest, check_request_proof};
use jiff::Timestamp;
use policies::digest::Digest;
use policies::events::CutBy;
use policies::ids::PersonId;
use policies::people::{Kind, Person, Standing};
use policies::refusals::Refusal;
use policies::state::State as Plant;
use serde::de::DeserializeOwned;
use ssh_key::{Fingerprint, HashAlg, PublicKey};

use super::once::{Mark, once};
use super::problem::Problem;
use super::proof::Proof;
use super::routes::{Pass, Role, Who};
use super::staying::Hangup;
use super::{Api, Peer, Source, proof};

/// Bytes of a request's body: twenty times a large plant file, and outside more than the longest request.
const fn body_bytes_max(face: Face) -> usize {
    match face {
        Face::Plant => 1 << 20,
        Face::Vendor => 64 << 10,
    }
}

/// Who makes this request, and what they are. Made here alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    person: PersonId,
    role: Role,
}

impl Caller {
    pub(super) const fn person(&self) -> PersonId {
        self.person
    }

    pub(super) fn is_display(&self) -> bool {
        self.role == Role::Display
    }

    /// On whose word a cut of this caller is made.
    pub(super) const fn cuts_as(&self) -> CutBy {
        match self.role {
            Role::Display => CutBy::Display(self.person),
            _ => CutBy::Operator(self.person),
        }
    }
}

/// By what somebody signed in who makes this request by a token; none where it was a key alone.
#[derive(Clone)]
pub(super) struct Login {
    /// What token and proof proved.
    pub(super) who: Arc<Authenticated>,
    /// When both factors were given.
    pub(super) at: Timestamp,
}

/// Stands beside a request that a page makes inside the program, for whoever is signed in on it. No listener puts it there.
#[derive(Clone)]
pub(super) struct OnPage(pub(super) Login);

/// Stands before one door.
pub(super) async fn guard(State((api, pass)): State<(Api, Pass)>, request: Request, next: Next) -> Response {
    let mut response = answer(&api, pass, request, next).await;
    response.headers_mut().insert(proof::START, api.0.start.clone());
    response
}

async fn answer(api: &Api, pass: Pass, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let patience = parts.extensions.get::<Hangup>().map_or(Duration::MAX, Hangup::patience);
    let bytes_max = body_bytes_max(api.0.face);
    let body = match tokio::time::timeout(patience, to_bytes(body, bytes_max)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Problem::too_large(bytes_max).into_response(),
        // Whoever sends nothing is a stranger yet, and holds a place.
        Err(_) => return Problem::too_slow().into_response(),
    };
    let mut mark = None;
    if let Who::SignedIn(roles) = pass.who {
        match let_in(api, &pass, roles, &parts, &body) {
            Ok((caller, login)) => {
                mark = Mark::of(caller.person(), &parts, &body);
                parts.extensions.insert(caller);
                login.map(|login| parts.extensions.insert(login));
            }
            Err(problem) => return problem.into_response(),
        }
    }
    let work = next.run(Request::from_parts(parts, Body::from(body)));
    match mark {
        None => work.await,
        Some(Ok(mark)) => once(api, mark, work).await,
        Some(Err(problem)) => problem.into_response(),
    }
}

fn let_in(
    api: &Api,
    pass: &Pass,
    roles: &'static [Role],
    parts: &Parts,
    body: &Bytes,
) -> Result<(Caller, Option<Login>), Problem> {
    let (caller, login) = api.authenticate(parts, body, pass.by_certificate)?;
    if !roles.contains(&caller.role) {
        return Err(Refusal::WrongKind(Role::plural(roles)).into());
    }
    if login.is_none() && !pass.key_alone {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "key-alone",
            "you signed in by key alone, because the gate's directory did not answer: that is enough to see and to cut. Sign in again for more",
        ));
    }
    if pass.own_factors {
        login.as_ref().map_or(Ok(()), check_own_factors)?;
    }
    Ok((caller, login))
}

/// Whoever an identity provider alone signed in gives nobody a way in, lets nobody else vouch, and lets go of no evidence: it
/// would be the provider that does.
pub(super) fn check_own_factors(login: &Login) -> Result<(), Problem> {
    match login.who.factors() {
        Factors::Oidc => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "provider-alone",
            "you are signed in by a provider's word alone, which gives nobody a way in and lets no evidence go: sign in with your passkey for this",
        )),
        _ => Ok(()),
    }
}

impl Api {
    /// Token and proof, against what stands now; and the login behind the token, where it was not a key alone. A client
    /// certificate is a token where it is wanted, and nowhere else; there it is the only one.
    fn authenticate(
        &self,
        parts: &Parts,
        body: &[u8],
        by_certificate: bool,
    ) -> Result<(Caller, Option<Login>), Problem> {
        let now = self.clock().wall();
        if let Some(OnPage(login)) = parts.extensions.get() {
            return self.on_page(login, now);
        }
        let token = bearer(parts)
            .ok_or_else(|| Problem::unauthenticated("sign in first, for example with `holdpoint login`"))?;
        let Proof { at, start, signature } = proof_of(parts)
            .ok_or_else(|| Problem::unauthenticated("the header Holdpoint-Proof is missing or cannot be read"))?;
        if self.0.start != start.as_str() {
            let detail = "this request was signed for another run of the gate: sign it anew, with what the answer's header \
                          Holdpoint-Start says";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, proof::OTHER_START, detail));
        }
        let request = SignedRequest {
            method: parts.method.as_str(),
            path_and_query: parts.uri.path_and_query().map_or("/", |path| path.as_str()),
            body: Digest::of_bytes(body),
            at,
            start: &start,
            signature: &signature,
        };
        match (by_certificate, token.starts_with(CERTIFICATE_TOKEN)) {
            (true, true) => return self.by_certificate(token, &request, source(parts), now),
            (true, false) => {
                return Err(Problem::unauthenticated(
                    "this is for client certificates of a grant: show yours as a token, as `holdpoint connect` does",
                ));
            }
            (false, _) => {}
        }
        if token.starts_with(proof::KEY_ALONE) {
            let (person, nonce) = self.0.passes.check(self, token, &request, now)?;
            self.spend(nonce)?;
            return Ok((self.caller(person, now)?, None));
        }
        let refused = |error: &dyn std::fmt::Display| Problem::unauthenticated(error.to_string());
        let checked =
            self.parts().token_key.check(self.desk().deployment(), token, now).map_err(|error| refused(&error))?;
        if checked.face() != self.face() {
            return Err(Problem::unauthenticated("this token is for the other face: sign in here"));
        }
        self.check_not_restored_since(checked.issued())?;
        let key = self.key_of(checked.person(), checked.key())?;
        self.check_not_enrolled_since(checked.person(), checked.issued())?;
        let proven = check_request_proof(&checked, &key, &request, now).map_err(|error| refused(&error))?;
        self.spend(proven.nonce())?;
        let (source, at) = (source(parts), checked.issued());
        let who = Authenticated::by_token(checked, proven, source.0, now).map_err(|error| refused(&error))?;
        Ok((self.caller(who.person(), now)?, Some(Login { who: Arc::new(who), at })))
    }

    /// By a sign-in on a page, if what proved it still counts.
    pub(super) fn on_page(&self, login: &Login, now: Timestamp) -> Result<(Caller, Option<Login>), Problem> {
        self.check_not_restored_since(login.at)?;
        if let Some(key) = login.who.key() {
            self.key_of(login.who.person(), key)?;
        }
        self.check_still_linked(&login.who)?;
        self.check_not_enrolled_since(login.who.person(), login.at)?;
        Ok((self.caller(login.who.person(), now)?, Some(login.clone())))
    }

    /// Who is known to an identity provider no longer as the subject that signed them in, is signed in by it no longer.
    fn check_still_linked(&self, who: &Authenticated) -> Result<(), Problem> {
        let Some((provider, subject)) = who.subject() else { return Ok(()) };
        let known =
            |state: &Plant| state.people.get(&who.person()).is_some_and(|known| known.is_subject(provider, subject));
        match self.desk().with_state(known) {
            true => Ok(()),
            false => Err(Problem::unauthenticated("the account that you signed in by is no longer linked to you here")),
        }
    }

    /// By a client certificate that is shown in the request.
    fn by_certificate(
        &self,
        token: &str,
        request: &SignedRequest<'_>,
        Source(source): Source,
        now: Timestamp,
    ) -> Result<(Caller, Option<Login>), Problem> {
        let refused = |why: &dyn std::fmt::Display| Problem::unauthenticated(why.to_string());
        let shown = self.parts().tls_ca.check_shown(self.desk().deployment(), token, request, now);
        let (held, nonce) = shown.map_err(|why| refused(&why))?;
        self.spend(nonce)?;
        let at = held.claims().signed_in;
        self.check_not_restored_since(at)?;
        let who = Authenticated::by_client_certificate(held, source, now).map_err(|why| refused(&why))?;
        Ok((self.caller(who.person(), now)?, Some(Login { who: Arc::new(who), at })))
    }

    /// What somebody proved before they enrolled anew counts no more. Tokens know the second.
    fn check_not_enrolled_since(&self, person: PersonId, signed_in: Timestamp) -> Result<(), Problem> {
        let enrolled = self.desk().with_state(|state| state.people.get(&person).and_then(|known| known.enrolled_at));
        if enrolled.is_some_and(|enrolled| signed_in.as_second() < enrolled.as_second()) {
            return Err(Problem::unauthenticated("you enrolled anew since you signed in: sign in once more"));
        }
        Ok(())
    }

    fn check_not_restored_since(&self, signed_in: Timestamp) -> Result<(), Problem> {
        let restored = self.desk().with_state(|state| state.restores.last().map(|restore| restore.at));
        match restored.is_some_and(|restored| signed_in < restored) {
            true => Err(Problem::unauthenticated("the gate was restored from an earlier state since: sign in again")),
            false => Ok(()),
        }
    }

    /// A proof serves once.
    fn spend(&self, nonce: Digest) -> Result<(), Problem> {
        let lasts = 2 * REQUEST_SKEW.duration();
        match self.0.spent.spend(&nonce.0, lasts, self.clock().boot()) {
            true => Ok(()),
            false => Err(Problem::unauthenticated("this request was made before: sign each one anew")),
        }
    }

    /// The person's key with this fingerprint, if it is still theirs.
    pub(super) fn key_of(&self, person: PersonId, fingerprint: Fingerprint) -> Result<PublicKey, Problem> {
        let keys = self.desk().with_state(|state| state.people.get(&person).map(|person| person.keys.clone()));
        let parsed = keys.into_iter().flatten().filter_map(|key| PublicKey::from_openssh(&key.0).ok());
        let mut fitting = parsed.filter(|key| key.fingerprint(HashAlg::Sha256) == fingerprint);
        fitting
            .next()
            .ok_or_else(|| Problem::unauthenticated("this key is no longer yours here: sign in with the one that is"))
    }

    /// The person, if they count at this moment on this face.
    pub(super) fn caller(&self, person: PersonId, now: Timestamp) -> Result<Caller, Problem> {
        self.desk().with_state(|state| may_be_here(state, person, self.face(), now)).map_err(|refusal| {
            let detail = refusal.to_string();
            Problem::new(StatusCode::UNAUTHORIZED, refusal.id(), detail)
        })
    }
}

fn may_be_here(state: &Plant, person: PersonId, face: Face, now: Timestamp) -> Result<Caller, Refusal> {
    let person = state.people.get(&person).ok_or(Refusal::UnknownPerson)?;
    if person.standing != Standing::Active {
        return Err(Refusal::NotActive(person.standing));
    }
    let role = Role::of(person);
    match (face, role) {
        (Face::Vendor, Role::Technician) => check_contract(state, person, now)?,
        (Face::Vendor, _) => return Err(Refusal::WrongKind("technicians")),
        (Face::Plant, Role::Technician) => return Err(Refusal::WrongKind("people of the plant")),
        (Face::Plant, _) => {}
    }
    Ok(Caller { person: person.id, role })
}

fn check_contract(state: &Plant, person: &Person, now: Timestamp) -> Result<(), Refusal> {
    let Kind::Technician { vendor, .. } = &person.kind else { return Ok(()) };
    state.running_contract(vendor, now)?;
    state.check_visits(person.id, now)
}

fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn proof_of(parts: &Parts) -> Option<Proof> {
    proof::parse(parts.headers.get(proof::HEADER)?.to_str().ok()?)
}

/// Where no listener said otherwise, nobody is at home: rules on networks then match nothing but this machine.
pub(super) fn source(parts: &Parts) -> Source {
    parts.extensions.get::<Source>().copied().unwrap_or(Source(std::net::Ipv6Addr::LOCALHOST.into()))
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Only a door that is open to anyone has none, and its handler asks for none.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::unauthenticated("sign in first"))
    }
}

impl<S: Sync> FromRequestParts<S> for Login {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::unauthenticated("sign in first"))
    }
}

impl<S: Sync> FromRequestParts<S> for Source {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(source(parts))
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let there = || Problem::unavailable("whoever took this connection did not say where it comes from");
        parts.extensions.get::<Self>().copied().ok_or_else(there)
    }
}

/// A JSON body; whatever is wrong with it is a [`Problem`].
pub(super) struct Sent<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Sent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Json(value) = Json::<T>::from_request(request, state).await?;
        Ok(Self(value))
    }
}

/// What the path names.
pub(super) struct At<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(value) = Path::<T>::from_request_parts(parts, state).await?;
        Ok(Self(value))
    }
}

/// What the query says.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(value) = Query::<T>::from_request_parts(parts, state).await?;
        Ok(Self(value))
    }
}

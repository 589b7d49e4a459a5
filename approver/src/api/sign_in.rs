//! Signing in: a nonce of ours, a signature by one's key over it and the face's origin, and a code. Wrong name, wrong key
//! and wrong code get one answer from one timer. Where the directory does not answer, an operator's key alone, which
//! the folded journal knows, gives a pass to see and to cut, marked as such.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use certs::enrolment::EnrolmentCode;
use certs::proof::{Authenticated, Face, VerifiedKey};
use certs::ssh_ca::LASTS_MAX;
use certs::sshsig::{self, Namespace, SignatureKind, login_message};
use certs::token::{self, REQUEST_SKEW, SignedRequest};
use certs::totp::TotpSecret;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use policies::decide::Command;
use policies::digest::Digest;
use policies::ids::PersonId;
use policies::people::{Kind, Standing};
use policies::time::{Seconds, Window};
use ssh_key::{Fingerprint, PublicKey};
use zeroize::Zeroizing;

use super::guard::Sent;
use super::problem::{BAD_CODE, Problem, sign_in_refused};
use super::types::{
    CertificateAnswer, Challenge, ChallengeWanted, Enrol, EnrolledAnswer, SecondFactor, SignIn, SignedIn,
};
use super::{Api, Source, proof};
use crate::clock::Boot;
use crate::desk::Fault;
use crate::mint;
use crate::people::CodeNotTaken;

/// How long a nonce may wait for its signature: somebody types a passphrase and finds their phone.
const CHALLENGE_LASTS: Seconds = Seconds(180);
/// Every refused sign-in is answered so long after it began: longer than any of the checks takes.
const REFUSED_AFTER: Duration = Duration::from_millis(1_000);

/// Nonces that need no memory until they are used: sixteen random bytes and eight of the expiry, with eight bytes of
/// HMAC-SHA-256 over them under a key of this process.
pub(super) struct Challenges(hmac::Key);

impl Challenges {
    pub(super) fn new() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &mint::random::<32>()))
    }

    pub(super) fn make(&self, now: Timestamp) -> ([u8; 32], Timestamp) {
        let expires = CHALLENGE_LASTS.after(now);
        let mut nonce = [0; 32];
        nonce[..16].copy_from_slice(&mint::random::<16>());
        nonce[16..24].copy_from_slice(&expires.as_second().to_be_bytes());
        let tag = hmac::sign(&self.0, &nonce[..24]);
        nonce[24..].copy_from_slice(&tag.as_ref()[..8]);
        (nonce, expires)
    }

    /// Whether we made it, and it is not over.
    fn is_ours(&self, nonce: &[u8; 32], now: Timestamp) -> bool {
        let tag = hmac::sign(&self.0, &nonce[..24]);
        let second = i64::from_be_bytes(*nonce[16..24].first_chunk().expect("eight bytes are eight bytes"));
        tag.as_ref()[..8] == nonce[24..] && now.as_second() < second
    }
}

/// Who signed in by key alone. Few operators do so at once, and only while the directory is gone.
#[derive(Default)]
pub(super) struct Passes(Mutex<BTreeMap<String, KeyAlone>>);

struct KeyAlone {
    person: PersonId,
    key: Fingerprint,
    secret: Digest,
    until: Boot,
}

/// An eldest one gives way.
const PASSES_MAX: usize = 64;

impl Passes {
    fn give(&self, person: PersonId, key: Fingerprint, now: Boot) -> (String, String) {
        let mut passes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        passes.retain(|_, pass| now < pass.until);
        if passes.len() >= PASSES_MAX {
            let eldest = passes.iter().min_by_key(|(_, pass)| pass.until).map(|(id, _)| id.clone());
            eldest.and_then(|id| passes.remove(&id));
        }
        let (id, secret) = (mint::nonce(), mint::nonce());
        let until = now.after(token::LASTS.duration());
        passes.insert(id.clone(), KeyAlone { person, key, secret: Digest::of_bytes(secret.as_bytes()), until });
        (format!("{}{id}.{secret}", proof::KEY_ALONE), id)
    }

    /// Who holds this pass and made this request, and what names the request among all others.
    pub(super) fn check(
        &self,
        api: &Api,
        pass: &str,
        request: &SignedRequest<'_>,
        now: Timestamp,
    ) -> Result<(PersonId, Digest), Problem> {
        let over = || Problem::unauthenticated("this pass has expired or never was: sign in again");
        let (id, secret) =
            pass.strip_prefix(proof::KEY_ALONE).and_then(|rest| rest.split_once('.')).ok_or_else(over)?;
        let (person, key) = {
            let passes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let held = passes.get(id).filter(|held| api.clock().boot() < held.until);
            // Hashes are compared, so how much of a guess was right does not show in the time.
            let held = held.filter(|held| held.secret == Digest::of_bytes(secret.as_bytes())).ok_or_else(over)?;
            (held.person, held.key)
        };
        if now > REQUEST_SKEW.after(request.at) || request.at > REQUEST_SKEW.after(now) {
            return Err(Problem::unauthenticated("this request's time and the gate's differ: set your clock"));
        }
        let key = api.key_of(person, key)?;
        let SignedRequest { method, path_and_query, body, at, start, .. } = *request;
        let message = token::request_message(method, path_and_query, body, id, at, start);
        match sshsig::verify(&key, Namespace::Request, &message, request.signature) {
            Ok(SignatureKind::SecurityKey { user_present: false, .. }) => {
                Err(Problem::unauthenticated("touch the security key"))
            }
            Ok(_) => Ok((person, Digest::of_bytes(&message))),
            Err(bad) => Err(Problem::unauthenticated(bad.to_string())),
        }
    }
}

pub(super) async fn challenge(State(api): State<Api>, Sent(_): Sent<ChallengeWanted>) -> Json<Challenge> {
    let (nonce, expires) = api.0.challenges.make(api.clock().wall());
    Json(Challenge { nonce: HEXLOWER.encode(&nonce), origin: api.origin().to_owned(), expires })
}

pub(super) async fn sign_in(
    State(api): State<Api>,
    Source(source): Source,
    Sent(asked): Sent<SignIn>,
) -> Result<Json<SignedIn>, Problem> {
    evenly(async {
        match prove(&api, Source(source), &asked).await {
            Ok(login) => Ok(Json(token_for(&api, &login).await?)),
            Err(NotIn::NoDirectory(key)) => key_alone(&api, &key).map(Json),
            Err(NotIn::Problem(problem)) => Err(problem),
        }
    })
    .await
}

/// A certificate begets no certificate: a complete login is asked for each time.
pub(super) async fn certificate(
    State(api): State<Api>,
    Source(source): Source,
    Sent(asked): Sent<SignIn>,
) -> Result<Json<CertificateAnswer>, Problem> {
    evenly(async {
        let login = prove(&api, Source(source), &asked).await.map_err(NotIn::problem)?;
        let now = api.clock().wall();
        let signed_in = token_for(&api, &login).await?;
        let key = parse_key(&asked.public_key)?;
        let valid = Window { from: now, until: LASTS_MAX.after(now) };
        let serial = u64::from_be_bytes(mint::random());
        let principal = login.person().to_string();
        let made = api.parts().ssh_ca.user_certificate(&key, &principal, login.source(), valid, serial, &principal);
        let made = made.map_err(|refused| Problem::unavailable(refused.to_string()))?;
        let certificate = made.to_openssh().map_err(|fault| Problem::unavailable(fault.to_string()))?;
        tracing::info!(person = %login.person(), source = %login.source(), "an SSH certificate was made out");
        api.people().certificate_made(login.person(), valid.until);
        Ok(Json(CertificateAnswer {
            certificate,
            expires: valid.until,
            ssh_host: api.parts().gate.name.clone(),
            ssh_port: api.parts().gate.port,
            source: login.source(),
            signed_in,
            known_hosts: api.parts().ssh_ca.renewed_known_hosts(),
        }))
    })
    .await
}

pub(super) async fn enrol(State(api): State<Api>, Sent(asked): Sent<Enrol>) -> Result<Json<EnrolledAnswer>, Problem> {
    evenly(async {
        let code = EnrolmentCode::parse(&asked.code)
            .map_err(|bad| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, BAD_CODE, bad.to_string()))?;
        let key = parse_key(&asked.public_key)?;
        let kind = api.people().invited(&code).await?.kind;
        check_face(&api, &kind)?;
        let enrolled = api.people().enrol(&code, &key).await?;
        let second = (!kind.is_unattended()).then(|| SecondFactor {
            totp_secret: enrolled.totp.base32().to_string(),
            totp_url: api.app_url(&enrolled.totp, &enrolled.name).to_string(),
            recovery_codes: enrolled.recovery.shown().map(|code| code.to_string()).collect(),
        });
        Ok(Json(EnrolledAnswer {
            person: enrolled.person,
            second,
            standing: if enrolled.standing == Standing::Active { "active" } else { "enrolled" }.to_owned(),
            name: enrolled.name,
            face: api.face(),
            ca_pem: api.parts().tls_ca.authorities_pem(),
        }))
    })
    .await
}

/// Whether a code that opens something is used on the face of whoever it is for. It is as good as before where it is not.
pub(super) fn check_face(api: &Api, kind: &Kind) -> Result<(), Problem> {
    match (api.face(), kind) {
        (Face::Vendor, Kind::Technician { .. }) => Ok(()),
        (Face::Vendor, _) => Err(Problem::of_the_plant()),
        (Face::Plant, Kind::Technician { .. }) => Err(Problem::of_a_technician(&api.parts().vendor_origin)),
        (Face::Plant, Kind::Display) => Err(Problem::of_a_display(&api.parts().plant_origin)),
        (Face::Plant, _) => Ok(()),
    }
}

/// A refusal comes a fixed time after the question, whichever check it was.
pub(super) async fn evenly<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let answer_at = tokio::time::Instant::now() + REFUSED_AFTER;
    let answer = work.await;
    if answer.is_err() {
        tokio::time::sleep_until(answer_at).await;
    }
    answer
}

fn parse_key(text: &str) -> Result<PublicKey, Problem> {
    PublicKey::from_openssh(text.trim())
        .map_err(|_| Problem::malformed("the public key cannot be read: it looks like `ssh-ed25519 AAAA…`"))
}

/// Why somebody is not in.
enum NotIn {
    /// The directory does not answer; the signature by this key is good.
    NoDirectory(VerifiedKey),
    Problem(Problem),
}

impl NotIn {
    fn problem(self) -> Problem {
        match self {
            Self::NoDirectory(_) => no_directory(),
            Self::Problem(problem) => problem,
        }
    }
}

fn no_directory() -> Problem {
    Problem::unavailable("the gate's directory does not answer, so no code can be checked. Operators can still cut")
}

impl<P: Into<Problem>> From<P> for NotIn {
    fn from(problem: P) -> Self {
        Self::Problem(problem.into())
    }
}

async fn prove(api: &Api, source: Source, asked: &SignIn) -> Result<Authenticated, NotIn> {
    let proved = try_to_prove(api, source, asked).await;
    if let Err(NotIn::Problem(problem)) = &proved
        && problem.is_of_a_stranger()
    {
        api.desk().counts().stranger_failed(source.0, "a sign-in that was refused");
    }
    proved
}

/// Key first, code second: a code counts, and counts against somebody, only behind a key that was proved.
async fn try_to_prove(api: &Api, Source(source): Source, asked: &SignIn) -> Result<Authenticated, NotIn> {
    let now = api.clock().wall();
    let key = PublicKey::from_openssh(asked.public_key.trim()).map_err(|_| sign_in_refused())?;
    let nonce = api.our_nonce(&asked.nonce).ok_or_else(sign_in_refused)?;
    let named = api.people().by_name(&asked.name).await;
    let person = match &named {
        Ok(named) => (*named).filter(|person| holds(api, *person, &key)),
        Err(_) => api.people().by_key(&key),
    };
    let person = person.ok_or_else(sign_in_refused)?;
    let message = login_message(api.origin(), &nonce);
    let verified = VerifiedKey::by_login_signature(person, &key, &message, &asked.signature);
    let verified = verified.map_err(|_| sign_in_refused())?;
    if !api.spend_nonce(&nonce) {
        return Err(sign_in_refused().into());
    }
    if is_unattended(api, person) {
        api.people().may_sign_in(person, api.face(), now)?;
        return Ok(Authenticated::by_unattended_key(verified, source, now));
    }
    if named.is_err() {
        return Err(NotIn::NoDirectory(verified));
    }
    match api.people().check_code(&verified, &asked.code, api.face()).await {
        Ok(spent) => Authenticated::by_key_and_code(verified, spent, api.face(), source, now)
            .map_err(|_| sign_in_refused().into()),
        Err(CodeNotTaken::Fault(Fault::Directory(_))) => Err(NotIn::NoDirectory(verified)),
        Err(refused) => Err(refused.into()),
    }
}

impl Api {
    /// What an authenticator app takes, for somebody of this installation.
    pub(super) fn app_url(&self, secret: &TotpSecret, name: &str) -> Zeroizing<String> {
        secret.otpauth_url(self.desk().deployment().as_str(), name)
    }

    /// A nonce in hexadecimal, if we made it and it is not over.
    pub(super) fn our_nonce(&self, text: &str) -> Option<[u8; 32]> {
        let nonce: [u8; 32] = HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()?;
        self.0.challenges.is_ours(&nonce, self.clock().wall()).then_some(nonce)
    }

    /// A nonce of ours signs in once.
    pub(super) fn spend_nonce(&self, nonce: &[u8; 32]) -> bool {
        self.0.spent.spend(nonce, CHALLENGE_LASTS.duration(), self.clock().boot())
    }
}

/// As the folded journal knows, so a sensor or display sees on where the directory does not answer.
fn is_unattended(api: &Api, person: PersonId) -> bool {
    api.desk().with_state(|state| state.people.get(&person).is_some_and(|person| person.kind.is_unattended()))
}

fn holds(api: &Api, person: PersonId, key: &PublicKey) -> bool {
    let key = crate::people::key_text(key);
    api.desk().with_state(|state| state.people.get(&person).is_some_and(|person| person.keys.contains(&key)))
}

async fn token_for(api: &Api, login: &Authenticated) -> Result<SignedIn, Problem> {
    let now = api.clock().wall();
    let person = login.person();
    api.caller(person, now)?;
    let token = api.parts().token_key.issue(api.desk().deployment(), login, now);
    let token = token.map_err(|refused| Problem::unavailable(refused.to_string()))?;
    let token_id = token::token_id(&token).expect("a token just made has an id");
    tracing::info!(%person, factors = ?login.factors(), source = %login.source(), "signed in");
    come_on_duty(api, login).await;
    let on_duty_until =
        api.desk().with_state(|state| state.people.get(&person).and_then(|person| person.on_duty_until));
    Ok(signed_in_as(api, person, (token, token_id), false, on_duty_until))
}

/// What somebody gets who is in.
fn signed_in_as(
    api: &Api,
    person: PersonId,
    (token, token_id): (String, String),
    key_alone: bool,
    on_duty_until: Option<Timestamp>,
) -> SignedIn {
    let (ca_pem, ca_succession_pem) = api.parts().tls_ca.authorities_and_succession();
    let (expires, timezone) = (token::LASTS.after(api.clock().wall()), timezone(api));
    SignedIn { token, token_id, expires, person, key_alone, timezone, on_duty_until, ca_pem, ca_succession_pem }
}

fn timezone(api: &Api) -> String {
    api.desk().with_state(|state| state.timezone()).iana_name().unwrap_or("UTC").to_owned()
}

/// An operator who signs in on the plant face is on duty. Without the journal they see and cut all the same.
pub(super) async fn come_on_duty(api: &Api, login: &Authenticated) {
    let person = login.person();
    let is_operator =
        api.desk().with_state(|state| state.people.get(&person).is_some_and(|person| person.is_active_operator()));
    if api.face() != Face::Plant || !is_operator {
        return;
    }
    let provider = login.subject().map(|(provider, _)| provider.clone());
    if let Err(rejected) = api.desk().act(Command::ComeOnDuty { person, provider }).await {
        tracing::warn!(%person, %rejected, "signed in, and not on duty");
    }
}

fn key_alone(api: &Api, verified: &VerifiedKey) -> Result<SignedIn, Problem> {
    let person = verified.person();
    let is_operator =
        api.desk().with_state(|state| state.people.get(&person).is_some_and(|person| person.is_active_operator()));
    if api.face() != Face::Plant || !is_operator {
        return Err(no_directory());
    }
    let pass = api.0.passes.give(person, verified.key(), api.clock().boot());
    tracing::warn!(%person, "signed in by key alone, because the directory does not answer: may see and cut");
    Ok(signed_in_as(api, person, pass, true, None))
}

//! API tokens (JWT, EdDSA) and the signature beside each request that binds a token to its holder's key: a stolen token
//! alone is worth nothing. What a person may do with a request is decided above; replays are refused by whoever keeps
//! the nonces handed out here.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use policies::digest::Digest;
use policies::ids::{DeploymentId, PersonId};
use policies::time::Seconds;
use serde::{Deserialize, Serialize};
use ssh_key::{Fingerprint, HashAlg, PublicKey};

use crate::chance;
use crate::proof::{Authenticated, Face, Factors};
use crate::sshsig::{self, BadSignature, Namespace, SignatureKind};

/// How long a token lasts.
pub const LASTS: Seconds = Seconds(600);

/// How far a request's own time may lie from the gate's, either way. Nonces are to be kept for twice this long.
pub const REQUEST_SKEW: Seconds = Seconds(60);

/// Signs and checks tokens. Cheap to clone; `Debug` shows nothing.
#[derive(Clone)]
pub struct TokenKey(Arc<Inner>);

struct Inner {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: DeploymentId,
    sub: PersonId,
    face: Face,
    factors: Factors,
    cnf: Confirmation,
    iat: i64,
    exp: i64,
    jti: String,
}

/// The holder's key (RFC 7800; `ssh` is a member of our own: no registered one names an SSH key).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    ssh: String,
}

/// Why a token is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotIssued {
    /// A token or certificate begets no token: then it would never end.
    #[error("a token is given for a complete login only: sign in again")]
    NotALogin,
    /// A login without a key cannot be bound to one.
    #[error("a token is bound to an SSH key: sign in with one")]
    NoKey,
}

/// Why a token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// Not a token of this gate and deployment, or altered.
    #[error("this token is not of this gate: sign in again")]
    Invalid,
    /// Its time is over.
    #[error("this token has expired: sign in again")]
    Expired,
    /// It was made in the future, so a clock was set back, or it is made out for longer than any.
    #[error("this token's times cannot be: compare the clocks, and sign in again")]
    Times,
}

/// A token that is of this gate and in time. It says who holds it only together with a [`ProvenRequest`]. Not `Clone`.
#[derive(Debug)]
pub struct CheckedToken {
    person: PersonId,
    face: Face,
    factors: Factors,
    key: Fingerprint,
    issued: Timestamp,
    id: String,
}

/// Above any token of ours, which has some 500 characters.
const TOKEN_BYTES_MAX: usize = 4096;

impl TokenKey {
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are an Ed25519 seed");
        let pkcs8 = pair.to_pkcs8().expect("an Ed25519 key has a PKCS #8 form");
        let inner = Inner {
            encoding: EncodingKey::from_ed_der(pkcs8.as_ref()),
            decoding: DecodingKey::from_ed_der(pair.public_key().as_ref()),
        };
        Self(Arc::new(inner))
    }

    /// A token for who has just signed in with a key and a code, good for [`LASTS`].
    pub fn issue(&self, deployment: &DeploymentId, login: &Authenticated, now: Timestamp) -> Result<String, NotIssued> {
        if !login.is_complete_login() {
            return Err(NotIssued::NotALogin);
        }
        let claims = Claims {
            iss: deployment.clone(),
            sub: login.person(),
            face: login.face(),
            factors: login.factors(),
            cnf: Confirmation { ssh: login.key().ok_or(NotIssued::NoKey)?.to_string() },
            iat: now.as_second(),
            exp: LASTS.after(now).as_second(),
            jti: BASE64URL_NOPAD.encode(&chance::public::<16>()),
        };
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.0.encoding)
            .expect("claims are JSON, and the key is the one kind this algorithm takes"))
    }

    /// Checks signature, issuer and time. Whether the person still may, the journal's current state says.
    pub fn check(&self, deployment: &DeploymentId, token: &str, now: Timestamp) -> Result<CheckedToken, BadToken> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(BadToken::Invalid);
        }
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        validation.set_issuer(&[deployment]);
        // The library would ask the system's clock; `in_time` takes `now`.
        validation.validate_exp = false;
        let claims =
            jsonwebtoken::decode::<Claims>(token, &self.0.decoding, &validation).map_err(|_| BadToken::Invalid)?.claims;
        let issued = in_time(&claims, now)?;
        let key = claims.cnf.ssh.parse().map_err(|_| BadToken::Invalid)?;
        Ok(CheckedToken { person: claims.sub, face: claims.face, factors: claims.factors, key, issued, id: claims.jti })
    }
}

fn in_time(claims: &Claims, now: Timestamp) -> Result<Timestamp, BadToken> {
    let moment = |second: i64| Timestamp::from_second(second).map_err(|_| BadToken::Times);
    let (issued, expires) = (moment(claims.iat)?, moment(claims.exp)?);
    if expires <= now {
        return Err(BadToken::Expired);
    }
    if issued > REQUEST_SKEW.after(now) || expires > LASTS.after(issued) {
        return Err(BadToken::Times);
    }
    Ok(issued)
}

impl CheckedToken {
    /// Who signed in.
    pub const fn person(&self) -> PersonId {
        self.person
    }

    /// On which face; it counts on no other.
    pub const fn face(&self) -> Face {
        self.face
    }

    /// What they proved when they signed in.
    pub const fn factors(&self) -> Factors {
        self.factors
    }

    /// The key it is bound to.
    pub const fn key(&self) -> Fingerprint {
        self.key
    }

    /// When they signed in.
    pub const fn issued(&self) -> Timestamp {
        self.issued
    }

    /// Its own id, part of every [`request_message`].
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// The id of a token, as its holder reads it: for making requests, not for believing anything.
pub fn token_id(token: &str) -> Option<String> {
    let payload = BASE64URL_NOPAD.decode(token.split('.').nth(1)?.as_bytes()).ok()?;
    serde_json::from_slice::<Claims>(&payload).ok().map(|claims| claims.jti)
}

/// What the holder's key signs, in the namespace [`Namespace::Request`]: a JSON array of the parts, so that no part runs
/// into the next. `at` is the holder's clock, to the nanosecond; it goes with the request as RFC 3339.
pub fn request_message(method: &str, path_and_query: &str, body: Digest, token_id: &str, at: Timestamp) -> Vec<u8> {
    serde_json::to_vec(&("holdpoint/request/v1", method, path_and_query, body, token_id, at.to_string()))
        .expect("texts are JSON")
}

/// A request as it arrived, and what was sent to prove it.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// As in HTTP, in capitals.
    pub method: &'a str,
    /// As it was sent, before any decoding.
    pub path_and_query: &'a str,
    /// Of the body's bytes; of none where there is no body.
    pub body: Digest,
    /// When the holder made it, by their own clock.
    pub at: Timestamp,
    /// The holder's signature over [`request_message`].
    pub signature_pem: &'a str,
}

/// That the holder of a token made this request just now. Not `Clone`.
#[derive(Debug)]
pub struct ProvenRequest {
    token_id: String,
    nonce: Digest,
}

/// Why a request does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefused {
    /// Made too long ago, or in the future.
    #[error("this request is dated {at}, and the gate's clock says {now}: set your clock, and try again")]
    Time {
        /// What the request says.
        at: Timestamp,
        /// What the gate says.
        now: Timestamp,
    },
    /// The token is bound to another key.
    #[error("this token belongs to another key: sign in again with this one")]
    OtherKey,
    /// A security key that nobody touched.
    #[error("touch the security key")]
    NotTouched,
    /// The signature itself.
    #[error(transparent)]
    Signature(#[from] BadSignature),
}

/// Checks that the key of this token signed this request, within [`REQUEST_SKEW`] of `now`. The caller refuses a nonce it
/// has seen in the last two minutes.
pub fn check_request_proof(
    token: &CheckedToken,
    public_key: &PublicKey,
    request: &SignedRequest<'_>,
    now: Timestamp,
) -> Result<ProvenRequest, RequestRefused> {
    if now > REQUEST_SKEW.after(request.at) || request.at > REQUEST_SKEW.after(now) {
        return Err(RequestRefused::Time { at: request.at, now });
    }
    if public_key.fingerprint(HashAlg::Sha256) != token.key {
        return Err(RequestRefused::OtherKey);
    }
    let message = request_message(request.method, request.path_and_query, request.body, &token.id, request.at);
    match sshsig::verify(public_key, Namespace::Request, &message, request.signature_pem)? {
        SignatureKind::SecurityKey { user_present: false, .. } => Err(RequestRefused::NotTouched),
        _ => Ok(ProvenRequest { token_id: token.id.clone(), nonce: Digest::of_bytes(&message) }),
    }
}

impl ProvenRequest {
    /// What names this request among all others: SHA-256 of what was signed. A second one with it is a replay.
    pub const fn nonce(&self) -> Digest {
        self.nonce
    }

    pub(crate) fn is_for(&self, token: &CheckedToken) -> bool {
        self.token_id == token.id
    }
}

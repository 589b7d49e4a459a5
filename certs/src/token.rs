//! API tokens (JWT, EdDSA) and the signature beside each request that binds a token to its holder's key: a stolen token
//! alone is worth nothing. What a person may do with a request is decided above; replays are refused by whoever keeps
//! the nonces handed out here.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use policies::digest::Digest;
use policies::ids::{DeploymentId, PersonId};
use policies::time::Seconds;
use serde::{Deserialize, Serialize};
use ssh_key::{Fingerprint, HashAlg, PublicKey};

use crate::chance;
use crate::keys::Seed;
use crate::proof::{Authenticated, Face, Factors};
use crate::ring::{Ring, Turning};
use crate::sshsig::{self, BadSignature, Namespace, SignatureKind};
use crate::vault::wire::Ask;
use crate::vault::{Line, VaultFault};

/// How long a token lasts.
pub const LASTS: Seconds = Seconds(600);

/// How far a request's own time may lie from the gate's, either way. Nonces are to be kept for twice this long.
pub const REQUEST_SKEW: Seconds = Seconds(60);

/// Signs and checks tokens. Cheap to clone; `Debug` shows nothing.
#[derive(Clone)]
pub struct TokenKey(Turning<Keys>);

struct Keys {
    signing: Signing,
    ring: Ring<[u8; 32]>,
    /// Of those whose tokens count.
    decoding: Vec<DecodingKey>,
}

enum Signing {
    Here(Ed25519KeyPair),
    InVault(Line),
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotIssued {
    /// A token or certificate begets no token: then it would never end.
    #[error("a token is given for a complete login only: sign in again")]
    NotALogin,
    /// A login without a key cannot be bound to one.
    #[error("a token is bound to an SSH key: sign in with one")]
    NoKey,
    /// The vault does not answer.
    #[error(transparent)]
    Vault(#[from] VaultFault),
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
/// ```compile_fail
/// use certs::token::CheckedToken;
/// fn of_somebody_else(person: policies::ids::PersonId, one: CheckedToken) -> CheckedToken {
///     CheckedToken { person, ..one }
/// }
/// ```
/// ```compile_fail
/// fn twice(one: &certs::token::CheckedToken) -> certs::token::CheckedToken {
///     one.clone()
/// }
/// ```
/// ```
/// fn once(one: certs::token::CheckedToken) -> certs::token::CheckedToken {
///     one
/// }
/// ```
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
    pub(crate) fn here(seeds: &Ring<Seed>) -> Self {
        let pair =
            |seed: &Seed| Ed25519KeyPair::from_seed_unchecked(&**seed).expect("any 32 bytes are an Ed25519 seed");
        let public = |seed: &Seed| -> [u8; 32] {
            pair(seed).public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes")
        };
        Self::new(Signing::Here(pair(&seeds.now.key)), seeds.map(public))
    }

    #[cfg(test)]
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        Self::here(&Ring::alone((*seed).into(), Timestamp::UNIX_EPOCH))
    }

    pub(crate) fn in_vault(line: Line, ring: Ring<[u8; 32]>) -> Self {
        Self::new(Signing::InVault(line), ring)
    }

    fn new(signing: Signing, ring: Ring<[u8; 32]>) -> Self {
        let decoding = ring.believed().map(|public| DecodingKey::from_ed_der(public)).collect();
        Self(Turning::new(Keys { signing, ring, decoding }))
    }

    pub(crate) fn turn_to(&self, other: &Self) {
        self.0.turn_to(&other.0);
    }

    pub(crate) fn ring(&self) -> Ring<[u8; 32]> {
        self.0.now().ring.clone()
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
        Ok(self.signed(&claims)?)
    }

    /// JWS's compact form (RFC 7515, 7.1).
    fn signed(&self, claims: &Claims) -> Result<String, VaultFault> {
        let part = |json: serde_json::Result<Vec<u8>>| BASE64URL_NOPAD.encode(&json.expect("claims are JSON"));
        let header = part(serde_json::to_vec(&Header::new(Algorithm::EdDSA)));
        let message = format!("{header}.{}", part(serde_json::to_vec(claims)));
        let signature = match &self.0.now().signing {
            Signing::Here(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Signing::InVault(line) => line.bytes(&Ask::SignToken(message.clone()))?.to_vec(),
        };
        Ok(format!("{message}.{}", BASE64URL_NOPAD.encode(&signature)))
    }

    /// The signature of header and claims as they were made elsewhere, where they are a token's that begins about now and
    /// lasts no longer than any.
    pub(crate) fn sign_elsewhere(&self, message: &str, now: Timestamp) -> Option<Vec<u8>> {
        let claims = BASE64URL_NOPAD.decode(message.split_once('.')?.1.as_bytes()).ok()?;
        let claims = serde_json::from_slice::<Claims>(&claims).ok()?;
        let issued = in_time(&claims, now).ok()?;
        let keys = self.0.now();
        let Signing::Here(pair) = &keys.signing else { return None };
        (now <= REQUEST_SKEW.after(issued)).then(|| pair.sign(message.as_bytes()).as_ref().to_vec())
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
        let keys = self.0.now();
        let mut decoded = keys.decoding.iter().map(|key| jsonwebtoken::decode::<Claims>(token, key, &validation));
        let claims = decoded.find_map(Result::ok).ok_or(BadToken::Invalid)?.claims;
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
/// into the next. `at` is the holder's clock, to the nanosecond; it goes with the request as RFC 3339. `start` names the
/// one run of the gate that the request is for: so one that another run or another node has seen serves this one no more.
pub fn request_message(
    method: &str,
    path_and_query: &str,
    body: Digest,
    token_id: &str,
    at: Timestamp,
    start: &str,
) -> Vec<u8> {
    serde_json::to_vec(&("holdpoint/request/v2", method, path_and_query, body, token_id, at.to_string(), start))
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
    /// For which run of the gate; the caller has looked whether it is this one.
    pub start: &'a str,
    /// The holder's signature over [`request_message`]: of an SSH key as PEM, of a client certificate's as base64.
    pub signature: &'a str,
}

impl SignedRequest<'_> {
    /// Whether it was made within [`REQUEST_SKEW`] of `now`.
    pub(crate) fn is_of(&self, now: Timestamp) -> bool {
        now <= REQUEST_SKEW.after(self.at) && self.at <= REQUEST_SKEW.after(now)
    }

    /// What was signed, if it was made with the token of this id.
    pub(crate) fn message(&self, token_id: &str) -> Vec<u8> {
        request_message(self.method, self.path_and_query, self.body, token_id, self.at, self.start)
    }
}

/// That the holder of a token made this request just now. Not `Clone`.
/// ```compile_fail
/// use certs::token::ProvenRequest;
/// fn of_another_token(token_id: String, one: ProvenRequest) -> ProvenRequest {
///     ProvenRequest { token_id, ..one }
/// }
/// ```
/// ```compile_fail
/// fn twice(one: &certs::token::ProvenRequest) -> certs::token::ProvenRequest {
///     one.clone()
/// }
/// ```
/// ```
/// fn once(one: certs::token::ProvenRequest) -> certs::token::ProvenRequest {
///     one
/// }
/// ```
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
    if !request.is_of(now) {
        return Err(RequestRefused::Time { at: request.at, now });
    }
    if public_key.fingerprint(HashAlg::Sha256) != token.key {
        return Err(RequestRefused::OtherKey);
    }
    let message = request.message(&token.id);
    match sshsig::verify(public_key, Namespace::Request, &message, request.signature)? {
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

/// What the documentation shows not to compile elsewhere compiles in here: so it is privacy that forbids it, and not a
/// field that is called otherwise by now.
#[cfg(test)]
mod from_inside {
    use super::*;

    const _: fn(PersonId, CheckedToken) -> CheckedToken = |person, one| CheckedToken { person, ..one };
    const _: fn(String, ProvenRequest) -> ProvenRequest = |token_id, one| ProvenRequest { token_id, ..one };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ssh_key::PrivateKey;

    use super::*;
    use crate::proof::NotProven;
    use crate::proof::tests::{login_with, person_of};
    use crate::ssh_ca::fresh_key;
    use crate::sshsig::tests::security_key;

    const PATH: &str = "/api/v1/requests?all";
    const START: &str = "start";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn deployment() -> DeploymentId {
        "mill-3".parse().unwrap()
    }

    fn key() -> TokenKey {
        TokenKey::from_seed(&[4; 32])
    }

    /// A token made at 1000.
    fn token(holder: &PublicKey) -> String {
        key().issue(&deployment(), &login_with(holder, Face::Plant, at(1_000)), at(1_000)).unwrap()
    }

    fn check(token: &str, second: i64) -> Result<CheckedToken, BadToken> {
        key().check(&deployment(), token, at(second))
    }

    #[test]
    fn a_token_says_who_signed_in_where_how_and_with_which_key() {
        let holder = fresh_key("");
        let checked = check(&token(holder.public_key()), 1_000).unwrap();
        assert_eq!((checked.person(), checked.face()), (person_of(holder.public_key()), Face::Plant));
        assert_eq!((checked.factors(), checked.issued()), (Factors::KeyAndTotp, at(1_000)));
        assert_eq!(checked.key(), holder.fingerprint(HashAlg::Sha256));
    }

    #[test]
    fn a_token_counts_for_ten_minutes_and_not_before_it_was_made() {
        let token = token(fresh_key("").public_key());
        assert!(check(&token, 1_599).is_ok() && check(&token, 940).is_ok());
        assert_eq!(check(&token, 1_600).unwrap_err(), BadToken::Expired);
        assert_eq!(check(&token, 939).unwrap_err(), BadToken::Times);
    }

    #[test]
    fn a_token_made_out_for_longer_is_refused_though_the_key_is_ours() {
        let token = token(fresh_key("").public_key());
        let claims = Claims { exp: 1_601, ..claims(&token) };
        let long = key().signed(&claims).unwrap();
        assert_eq!(check(&long, 1_000).unwrap_err(), BadToken::Times);
    }

    #[test]
    fn a_token_of_the_key_before_counts_until_its_end_and_new_ones_are_the_new_keys() {
        let (token, deployment) = (token(fresh_key("").public_key()), deployment());
        let turned = key();
        let seed = |byte: u8| crate::ring::Member { key: [byte; 32].into(), since: at(0) };
        turned.turn_to(&TokenKey::here(&Ring { now: seed(5), next: None, last: Some(seed(4)) }));
        assert!(turned.check(&deployment, &token, at(1_599)).is_ok());
        assert_eq!(turned.check(&deployment, &token, at(1_600)).unwrap_err(), BadToken::Expired);
        let login = login_with(fresh_key("").public_key(), Face::Plant, at(1_000));
        let new = turned.issue(&deployment, &login, at(1_000)).unwrap();
        assert_eq!(check(&new, 1_000).unwrap_err(), BadToken::Invalid);
        turned.turn_to(&TokenKey::from_seed(&[5; 32]));
        assert_eq!(turned.check(&deployment, &token, at(1_000)).unwrap_err(), BadToken::Invalid);
        assert!(turned.check(&deployment, &new, at(1_000)).is_ok());
    }

    #[test]
    fn another_gates_deployments_or_algorithms_token_is_refused() {
        let token = token(fresh_key("").public_key());
        let other = TokenKey::from_seed(&[5; 32]).check(&deployment(), &token, at(1_000));
        assert_eq!(other.unwrap_err(), BadToken::Invalid);
        assert_eq!(key().check(&"mill-4".parse().unwrap(), &token, at(1_000)).unwrap_err(), BadToken::Invalid);
        let none = format!(
            "{}.{}.",
            BASE64URL_NOPAD.encode(br#"{"alg":"none","typ":"JWT"}"#),
            token.split('.').nth(1).unwrap()
        );
        assert_eq!(check(&none, 1_000).unwrap_err(), BadToken::Invalid);
        // The classic: the public key taken for a shared secret.
        let secret = jsonwebtoken::EncodingKey::from_secret(key().0.now().decoding[0].try_get_as_bytes().unwrap());
        let confused = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(&token), &secret).unwrap();
        assert_eq!(check(&confused, 1_000).unwrap_err(), BadToken::Invalid);
    }

    fn claims(token: &str) -> Claims {
        serde_json::from_slice(&BASE64URL_NOPAD.decode(token.split('.').nth(1).unwrap().as_bytes()).unwrap()).unwrap()
    }

    struct Holder {
        key: PrivateKey,
        token: String,
    }

    impl Holder {
        fn new() -> Self {
            let key = fresh_key("");
            Self { token: token(key.public_key()), key }
        }

        fn message(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
            request_message(method, path, Digest::of_bytes(body), &token_id(&self.token).unwrap(), at(1_000), START)
        }

        fn sign(&self, namespace: Namespace) -> String {
            sshsig::sign_with(&self.key, namespace, &self.message("POST", PATH, b"{}")).unwrap()
        }

        fn prove(
            &self,
            key: &PublicKey,
            request: &SignedRequest<'_>,
            now: i64,
        ) -> Result<ProvenRequest, RequestRefused> {
            check_request_proof(&check(&self.token, 1_000).unwrap(), key, request, at(now))
        }
    }

    fn posted(signature: &str) -> SignedRequest<'_> {
        let body = Digest::of_bytes(b"{}");
        SignedRequest { method: "POST", path_and_query: PATH, body, at: at(1_000), start: START, signature }
    }

    #[test]
    fn a_request_is_proved_within_a_minute_of_its_own_time() {
        let holder = Holder::new();
        let pem = holder.sign(Namespace::Request);
        for now in [940, 1_000, 1_060] {
            let proven = holder.prove(holder.key.public_key(), &posted(&pem), now).unwrap();
            assert_eq!(proven.nonce(), Digest::of_bytes(&holder.message("POST", PATH, b"{}")));
        }
        for now in [939, 1_061] {
            let refused = RequestRefused::Time { at: at(1_000), now: at(now) };
            assert_eq!(holder.prove(holder.key.public_key(), &posted(&pem), now).unwrap_err(), refused);
        }
    }

    #[test]
    fn a_proof_is_of_one_request_and_one_token_by_one_key_for_one_purpose() {
        let (holder, other) = (Holder::new(), Holder::new());
        let pem = holder.sign(Namespace::Request);
        let key = holder.key.public_key();
        let wrong = RequestRefused::Signature(BadSignature::Wrong);
        for changed in [
            SignedRequest { method: "PUT", ..posted(&pem) },
            SignedRequest { path_and_query: "/api/v1/requests", ..posted(&pem) },
            SignedRequest { body: Digest::of_bytes(b"[]"), ..posted(&pem) },
            SignedRequest { at: at(1_001), ..posted(&pem) },
            SignedRequest { start: "another", ..posted(&pem) },
        ] {
            assert_eq!(holder.prove(key, &changed, 1_000).unwrap_err(), wrong, "{changed:?}");
        }
        assert_eq!(other.prove(key, &posted(&pem), 1_000).unwrap_err(), RequestRefused::OtherKey);
        let again = Holder { key: holder.key.clone(), token: token(key) };
        assert_eq!(again.prove(key, &posted(&pem), 1_000).unwrap_err(), wrong);
        let login = holder.sign(Namespace::Login);
        let refused = holder.prove(key, &posted(&login), 1_000).unwrap_err();
        assert!(matches!(refused, RequestRefused::Signature(BadSignature::Namespace { .. })));
    }

    #[test]
    fn a_security_key_that_nobody_touched_proves_no_request() {
        let (key, _) = security_key("ssh:", Namespace::Request, b"", 0);
        let token = token(&key);
        let message =
            request_message("POST", PATH, Digest::of_bytes(b"{}"), &token_id(&token).unwrap(), at(1_000), START);
        for (flags, proved) in [(0, Err(RequestRefused::NotTouched)), (1, Ok(()))] {
            let (_, pem) = security_key("ssh:", Namespace::Request, &message, flags);
            let checked = check_request_proof(&check(&token, 1_000).unwrap(), &key, &posted(&pem), at(1_000));
            assert_eq!(checked.map(drop), proved);
        }
    }

    #[test]
    fn a_token_begets_no_token() {
        let holder = Holder::new();
        let pem = holder.sign(Namespace::Request);
        let proven = holder.prove(holder.key.public_key(), &posted(&pem), 1_000).unwrap();
        let checked = check(&holder.token, 1_000).unwrap();
        let person = Authenticated::by_token(checked, proven, [127, 0, 0, 1].into(), at(1_000)).unwrap();
        assert_eq!(key().issue(&deployment(), &person, at(1_000)), Err(NotIssued::NotALogin));
    }

    #[test]
    fn a_request_proved_for_one_token_does_not_serve_another_of_the_same_holder() {
        let holder = Holder::new();
        let pem = holder.sign(Namespace::Request);
        let proven = holder.prove(holder.key.public_key(), &posted(&pem), 1_000).unwrap();
        let other = check(&token(holder.key.public_key()), 1_000).unwrap();
        let person = Authenticated::by_token(other, proven, [127, 0, 0, 1].into(), at(1_000));
        assert_eq!(person.unwrap_err(), NotProven::OtherToken);
    }

    #[test]
    fn the_parts_of_a_request_do_not_run_into_each_other() {
        let message = |method, path| request_message(method, path, Digest::of_bytes(b""), "id", at(0), START);
        assert_ne!(message("GET", "/a"), message("GET/", "a"));
        assert_ne!(message("GET\",\"/a", ""), message("GET", "/a\",\""));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_check_panic_and_no_changed_sign_passes(text: String, at: prop::sample::Index, to in "[A-Za-z0-9_.-]") {
            prop_assert_eq!(check(&text, 1_000).unwrap_err(), BadToken::Invalid);
            let _ = token_id(&text);
            let good = token(fresh_key("").public_key());
            let mut changed = good.clone();
            let at = at.index(good.len());
            changed.replace_range(at..=at, &to);
            prop_assert_eq!(check(&changed, 1_000).is_ok(), changed == good);
        }
    }
}

//! Signing in, and enrolling what one signs in with.

use certs::proof::Face;
use jiff::Timestamp;
use policies::ids::PersonId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who wants to sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChallengeWanted {
    /// By which name. The answer is the same for names that nobody has.
    pub name: String,
}

/// What is to be signed to sign in: `certs::sshsig::login_message(origin, nonce)`, in the namespace
/// `holdpoint-login@v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Challenge {
    /// Thirty-two bytes in hexadecimal; good for one sign-in.
    pub nonce: String,
    /// The face's origin, which is signed too.
    pub origin: String,
    /// Void from then on.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
}

/// A complete login: a signature by one's key, and a code.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// By which name.
    pub name: String,
    /// From the challenge.
    pub nonce: String,
    /// An OpenSSH public key.
    pub public_key: String,
    /// The armoured signature (PROTOCOL.sshsig).
    pub signature: String,
    /// Of the authenticator app, or a recovery code.
    pub code: String,
}

impl std::fmt::Debug for SignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignIn({:?}, ..)", self.name)
    }
}

/// Signed in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignedIn {
    /// Goes with each request as `Authorization: Bearer`, beside a proof by the same key.
    pub token: String,
    /// What the proof of each request names.
    pub token_id: String,
    /// Void from then on.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// Who.
    #[schema(value_type = String)]
    pub person: PersonId,
    /// Signed in by key alone, because the directory does not answer: enough to see and to cut, and for nothing else.
    pub key_alone: bool,
    /// The plant's time zone (IANA), in which people are shown times.
    pub timezone: String,
    /// On duty until then, where the person is an operator on the plant face.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub on_duty_until: Option<Timestamp>,
    /// The gate's CAs from now on: several while one is renewed. Clients trust nothing else.
    #[serde(default)]
    pub ca_pem: String,
    /// For each of them that the one before it signed, the certificate that says so, in PEM (RFC 4210, 4.4: "new with old"). Clients take
    /// over no other.
    #[serde(default)]
    pub ca_succession_pem: String,
}

impl std::fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignedIn({}, ..)", self.person)
    }
}

/// A one-use code and the key that shall count.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// The enrolment code.
    pub code: String,
    /// An OpenSSH public key.
    pub public_key: String,
}

impl std::fmt::Debug for Enrol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Enrol(..)")
    }
}

/// Enrolled. The secrets are shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnrolledAnswer {
    /// Who.
    #[schema(value_type = String)]
    pub person: PersonId,
    /// The name to sign in by.
    pub name: String,
    /// `plant` or `vendor`: where to sign in.
    #[schema(value_type = String)]
    pub face: Face,
    /// What they sign in with beside their key; none of a sensor, which has its key alone.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub second: Option<SecondFactor>,
    /// `active`, or `enrolled` where others must vouch for the key first.
    pub standing: String,
    /// The gate's CA, to be kept, or several while one is renewed: clients trust nothing else.
    pub ca_pem: String,
}

/// What somebody signs in with beside their key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecondFactor {
    /// For the authenticator app, in base32.
    pub totp_secret: String,
    /// The same as `otpauth://…`, for a QR code.
    pub totp_url: String,
    /// For the day the phone is gone; each works once.
    pub recovery_codes: Vec<String>,
}

impl std::fmt::Debug for SecondFactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecondFactor(..)")
    }
}

impl std::fmt::Debug for EnrolledAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EnrolledAnswer({}, ..)", self.person)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::SecretSet;

    #[test]
    fn no_debug_output_shows_a_code_or_a_token() {
        let sign_in = SignIn {
            name: "lee".into(),
            nonce: String::new(),
            public_key: String::new(),
            signature: "sesame".into(),
            code: "sesame".into(),
        };
        let set = SecretSet { secret: "sesame".into() };
        let enrol = Enrol { code: "sesame".into(), public_key: String::new() };
        assert!(!format!("{sign_in:?}{set:?}{enrol:?}").contains("sesame"));
    }
}

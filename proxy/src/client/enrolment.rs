//! First contact and enrolment: of the gate only the one-use code is known, which carries the beginning of its CA's
//! fingerprint. Until that is found right, nothing is sent that a stranger could use.

use std::net::SocketAddr;

use approver::api::types::{Enrol, EnrolledAnswer};
use certs::enrolment::EnrolmentCode;
use certs::tls::{authorities, first_contact_config, pem};
use ssh_key::PublicKey;

use super::wire::{Outgoing, Wire};
use super::{Fault, read_all, read_json, taken};
use crate::config::Origin;

/// A gate that proved to be the one that made a code.
pub struct FirstContact {
    wire: Wire,
    ca_pem: String,
}

/// To whoever meets somebody else than the gate that made their code.
const ASK_FOR_A_CODE: &str =
    "Ask the plant: a code that was made before the gate's authority was renewed is of no use, and they make another";

/// What enrolling gave.
pub type Enrolment = EnrolledAnswer;

impl FirstContact {
    /// Connects, gets the CA's certificate, and compares it with the code. Nothing secret is sent.
    ///
    /// # Errors
    /// Nobody answers, or somebody else does.
    pub async fn make(origin: &Origin, address: Option<SocketAddr>, code: &EnrolmentCode) -> Result<Self, Fault> {
        let mut wire = Wire::new(first_contact_config(code.ca())?, origin, address, "enrolment code");
        wire.when_not_the_gate(ASK_FOR_A_CODE);
        let wanted = Outgoing {
            method: "GET",
            path: "/api/v1/ca.pem",
            credentials: None,
            once: None,
            body: Vec::new(),
            upgrade: None,
        };
        let text = read_all(taken(wire.send(wanted).await?).await?).await?;
        let cas = authorities(&String::from_utf8_lossy(&text)).map_err(|cause| Fault::Odd(cause.to_string()))?;
        // What may stand beside it is taken over at a sign-in, once this one has signed it.
        let ca_pem = code.ca().find(&cas).map(pem).ok_or_else(|| Fault::NotTheGate {
            origin: origin.to_string(),
            known_by: "enrolment code",
            cause: "it hands out another CA".into(),
            next: ASK_FOR_A_CODE,
        })?;
        Ok(Self { wire, ca_pem })
    }

    /// The certificate of its CA, to be kept.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Uses the code for this key.
    ///
    /// # Errors
    /// The gate refuses the code or the key.
    pub async fn enrol(self, code: &EnrolmentCode, key: &PublicKey) -> Result<Enrolment, Fault> {
        let public_key = key.to_openssh().map_err(|cause| Fault::Odd(cause.to_string()))?;
        let form = Enrol { code: code.reveal().to_string(), public_key };
        let body = serde_json::to_vec(&form).map_err(|cause| Fault::Odd(cause.to_string()))?;
        let form =
            Outgoing { method: "POST", path: "/api/v1/enrol", credentials: None, once: None, body, upgrade: None };
        read_json(taken(self.wire.send(form).await?).await?).await
    }
}

impl std::fmt::Debug for FirstContact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FirstContact")
    }
}

//! The second factor, where it is asked for behind the door. A technician whom a recent login let in without a code
//! comes as far as the lobby; into a session only under a grant that this login serves, and everywhere else the code is
//! asked for first.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use approver::desk::Fault;
use approver::people::CodeNotTaken;
use approver::spans::{Span, Work};
use certs::proof::{Authenticated, Face as Side, VerifiedKey};
use policies::ids::PersonId;
use russh::keys::ssh_key::PublicKey;
use zeroize::Zeroizing;

use super::Face;
use super::asking::{self, Applicant};
use super::names::Place;
use super::questions::Round;

/// Wrong codes of one connection.
pub(super) const CODES_MAX: u32 = 3;
/// Every no to a code takes this long, whether the name, the code or the person was wrong: longer than any check takes.
pub(super) const NO_TAKES: Duration = Duration::from_secs(2);
/// The one no there is.
pub(super) const WRONG: &str =
    "That does not fit: the name or the code is wrong, or the code was used. Codes work once, so wait for the next.";

/// A key that has signed in this connection.
#[derive(Clone)]
pub(super) struct SignedKey(PublicKey);

/// What a technician reads of a fault, whose cause is logged.
fn outwards(fault: &Fault) -> String {
    tracing::warn!(?fault, "a second factor could not be looked at");
    format!("{fault}.")
}

impl SignedKey {
    /// Called in russh's `auth_publickey` and `auth_openssh_certificate` callbacks alone, where the signature was checked.
    pub(super) fn checked_by_russh(key: PublicKey) -> Self {
        Self(key)
    }

    pub(super) fn of(&self, person: PersonId) -> VerifiedKey {
        VerifiedKey::after_ssh_userauth_signature(person, &self.0)
    }

    /// The key itself.
    pub(super) const fn public(&self) -> &PublicKey {
        &self.0
    }
}

/// What a technician proved of themselves on the way to the lobby, and what they can still prove.
#[derive(Clone)]
pub(super) struct Second {
    pub(super) face: Arc<Face>,
    pub(super) source: IpAddr,
    pub(super) key: SignedKey,
}

impl Second {
    /// As whom somebody goes on to a target; `None` where their code is wanted first.
    pub(super) fn serves(&self, applicant: &Applicant, place: &Place) -> Option<Applicant> {
        if applicant.who().proof.grant().is_none() {
            return Some(applicant.clone());
        }
        let proof = self.face.recent_login(&self.key, applicant.person(), self.source, Some(place))?;
        Some(applicant.clone().proved(proof))
    }

    /// Both factors, with this code; or nothing but a no, or the words of a fault. A no takes its time.
    pub(super) async fn check(&self, applicant: Applicant, code: &str) -> Result<Applicant, Option<String>> {
        let no_at = self.face.desk.clock().boot().after(NO_TAKES);
        let checked = self.face.both_factors(&self.key, applicant.person(), self.source, code).await;
        if let Err(None) = checked {
            self.face.desk.clock().sleep_until(no_at).await;
            self.face.strangers.failed(self.source, "a wrong code");
        }
        checked.map(|proof| applicant.proved(proof))
    }
}

impl Face {
    /// A proof without a code: a complete login of this key from this address still serves the grant that is open there,
    /// or, on the way to the lobby, any. Where several are open, the first channel decides which is spent, and then it is
    /// too late for a code.
    pub(super) fn recent_login(
        &self,
        key: &SignedKey,
        person: PersonId,
        source: IpAddr,
        place: Option<&Place>,
    ) -> Option<Authenticated> {
        let now = self.desk.clock().wall();
        let open: Vec<_> = self.desk.with_state(|state| {
            let cases = asking::open_grants(state, person, place, now);
            cases.map(|case| (case.request.id, case.rule.factor_lasts)).collect()
        });
        if place.is_some() && open.len() > 1 {
            return None;
        }
        open.into_iter().find_map(|(grant, lasts)| self.recent.recall(key.of(person), source, grant, lasts))
    }

    /// Both factors of one technician; or nothing but a no, or the words of a fault.
    pub(super) async fn both_factors(
        &self,
        key: &SignedKey,
        person: PersonId,
        source: IpAddr,
        code: &str,
    ) -> Result<Authenticated, Option<String>> {
        let key_of = key.of(person);
        let checked = self.people.check_code(&key_of, code, Side::Vendor);
        let spent = match Span::within(Work::Code).around(checked).await {
            Ok(spent) => spent,
            Err(CodeNotTaken::Fault(fault)) => return Err(Some(outwards(&fault))),
            Err(CodeNotTaken::Code(_) | CodeNotTaken::Password | CodeNotTaken::Refusal(_)) => return Err(None),
        };
        let now = self.desk.clock().wall();
        Authenticated::by_key_and_code(key.of(person), spent, Side::Vendor, source, now).map_err(|_| None)
    }

    /// Password and code of one technician, who may be nobody; or nothing but a no, or the words of a fault.
    pub(super) async fn password_and_code(
        &self,
        person: Option<PersonId>,
        password: Zeroizing<String>,
        code: &str,
        source: IpAddr,
    ) -> Result<Authenticated, Option<String>> {
        let checked = self.people.check_password(person, password, code, source);
        Span::within(Work::Code).around(checked).await.map_err(|not_taken| match not_taken {
            CodeNotTaken::Fault(fault) => Some(outwards(&fault)),
            CodeNotTaken::Code(_) | CodeNotTaken::Password | CodeNotTaken::Refusal(_) => None,
        })
    }

    /// The questions for a password and a code.
    pub(super) fn password_prompt(&self, complaint: &str) -> Round {
        let prompts = vec![("Password: ".to_owned(), false), (self.code_question(), false)];
        Round { instructions: complaint.to_owned(), prompts }
    }

    /// The question for a code.
    pub(super) fn code_prompt(&self, complaint: &str) -> Round {
        Round { instructions: complaint.to_owned(), prompts: vec![(self.code_question(), false)] }
    }

    /// Its words.
    pub(super) fn code_question(&self) -> String {
        let now = self.desk.clock().wall();
        let clock = self.desk.with_state(|state| state.clock(now)).to_the_second();
        format!("Code of your authenticator app (the gate's clock says {clock}): ")
    }
}

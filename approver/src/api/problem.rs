//! Every no and every failure of the API as one kind of answer (RFC 9457), and which HTTP status each has. A refusal
//! keeps its own words; of a fault the log gets the cause, and the caller what to do.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use policies::refusals::Refusal;

use super::types::ProblemBody;
use crate::desk::{Fault, Rejected};
use crate::directory::DirectoryFault;
use crate::people::{CodeNotTaken, NotAnswered, NotDone};

/// A no, or a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    id: &'static str,
    detail: String,
    mistakes: Vec<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, id: &'static str, detail: impl Into<String>) -> Self {
        Self { status, id, detail: detail.into(), mistakes: Vec::new() }
    }

    pub(super) fn with_mistakes(self, mistakes: Vec<String>) -> Self {
        Self { mistakes, ..self }
    }

    /// The same, with a name for an identifier.
    pub(super) fn naming(self, identifier: &str, name: &str) -> Self {
        Self { detail: self.detail.replace(identifier, name), ..self }
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// Not signed in, or not any more.
    pub(super) fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not-signed-in", detail)
    }

    /// A display's code, used elsewhere than in its browser, in which its key has to lie.
    pub(super) fn of_a_display(origin: &str) -> Self {
        let detail = format!("this code is for a display: open {origin}/display in the browser of its screen");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "code-of-a-display", detail)
    }

    /// A technician's code, used on the plant face. Whoever has it learns what the vendor face, which anybody reaches, would have told.
    pub(super) fn of_a_technician(origin: &str) -> Self {
        let detail = format!(
            "this code is good, and for a technician: it is used on the vendor face, at {origin}/enrol in a browser, or by `holdpoint \
             enrol --gate {origin}`"
        );
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "code-of-a-technician", detail)
    }

    /// A code for the plant face, used on the vendor face: strangers reach that one, so the other's address is not named.
    pub(super) fn of_the_plant() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "code-of-the-plant",
            "this code is good, and not for this face: it is used on the plant face, on the plant's own network. Whoever gave it to you \
             knows the address",
        )
    }

    pub(super) fn too_large(bytes_max: usize) -> Self {
        let detail = format!("a request's body may have {} KiB here. Send less", bytes_max >> 10);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    }

    /// The same, with more behind it.
    pub(super) fn and(self, more: &str) -> Self {
        Self { detail: format!("{}: {more}", self.detail), ..self }
    }

    pub(super) fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "the request's body did not come in time. Try again")
    }

    pub(super) fn too_many() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-requests",
            "too many requests from your address. Wait a moment",
        )
    }

    /// Who signed a statement, or is named in a body, is not who signed in.
    pub(super) fn not_you() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "not-you",
            "this names another person than the one who signed in. Each answers with their own name and key",
        )
    }

    /// Something that this program cannot do here and now.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    /// Whether somebody failed to prove who they are.
    pub(super) fn is_of_a_stranger(&self) -> bool {
        self.id == SIGN_IN_REFUSED
    }

    /// Whether what was sent proves nothing: neither the gate nor somebody whom it asks was in the way, and nobody who is known
    /// was refused.
    pub(super) fn is_of_what_was_sent(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED || [Refusal::LinkSpent.id(), BAD_CODE].contains(&self.id)
    }

    fn title(&self) -> &'static str {
        match self.status {
            StatusCode::BAD_REQUEST => "The request cannot be read",
            StatusCode::UNAUTHORIZED => "Not signed in",
            StatusCode::FORBIDDEN => "Refused",
            StatusCode::NOT_FOUND => "Not there",
            StatusCode::METHOD_NOT_ALLOWED => "Not done here",
            StatusCode::CONFLICT => "It stands otherwise",
            StatusCode::PAYLOAD_TOO_LARGE => "Too large",
            StatusCode::TOO_MANY_REQUESTS => "Too many requests",
            StatusCode::SERVICE_UNAVAILABLE => "Not now",
            _ => "Refused",
        }
    }

    pub(super) fn into_parts(self) -> (StatusCode, ProblemBody) {
        let body = ProblemBody {
            kind: format!("urn:holdpoint:{}", self.id),
            title: self.title().to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            refusal: self.id.to_owned(),
            mistakes: self.mistakes,
        };
        (self.status, body)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, body) = self.into_parts();
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::new(status_of(&refusal), refusal.id(), refusal.to_string())
    }
}

const fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::UnknownPerson
        | Refusal::NoSuchRequest
        | Refusal::NoSuchSession
        | Refusal::NoSuchCut
        | Refusal::NoSuchRecording
        | Refusal::NotHeld
        | Refusal::NoSuchPlantFile
        | Refusal::NoRecipient
        | Refusal::NoSuchGuest
        | Refusal::NoSuchNode(_)
        | Refusal::NoContract(_) => StatusCode::NOT_FOUND,
        Refusal::Exists
        | Refusal::NotPending(_)
        | Refusal::AlreadyVoted
        | Refusal::OtherDigest
        | Refusal::OtherJournal
        | Refusal::OtherWork
        | Refusal::AccountSame
        | Refusal::StatementExpired(_)
        | Refusal::PlantInForce
        | Refusal::StillRecording { .. }
        | Refusal::KeptUntil { .. }
        | Refusal::Held(_)
        | Refusal::Erased(_)
        | Refusal::NoEscortWanted
        | Refusal::OlderNode(_)
        | Refusal::NodeNotSilent { .. }
        | Refusal::NotWatching
        | Refusal::GuestThere { .. }
        | Refusal::GuestGone(_)
        | Refusal::GuestStillThere(_)
        | Refusal::KeyTaken
        | Refusal::PutOut
        | Refusal::InvitationsFull(_)
        | Refusal::SubjectTaken(_)
        | Refusal::KeysFull(_) => StatusCode::CONFLICT,
        Refusal::EmptySpan
        | Refusal::LongSpan(_)
        | Refusal::ManyRows(_)
        | Refusal::PlantFileWrong(_)
        | Refusal::WorkOrderWanted
        | Refusal::WorkOrderShape(..)
        | Refusal::ReasonWanted
        | Refusal::RolesWanted
        | Refusal::WindowOver
        | Refusal::WindowTooFar(_) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::FORBIDDEN,
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        // The Desk logs of secrets itself: they go on when nobody waits any more.
        if !matches!(fault, Fault::SecretNotKept(_) | Fault::SecretNotForgotten(_)) {
            tracing::warn!(?fault, "a request could not be decided");
        }
        Self::unavailable(fault.to_string())
    }
}

impl From<DirectoryFault> for Problem {
    fn from(fault: DirectoryFault) -> Self {
        Fault::from(fault).into()
    }
}

impl From<Rejected> for Problem {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::Refusal(refusal) => refusal.into(),
            Rejected::Unsigned(unsigned) => Self::new(StatusCode::FORBIDDEN, "not-signed", unsigned.to_string()),
            Rejected::Fault(fault) => fault.into(),
        }
    }
}

impl From<NotDone> for Problem {
    fn from(not_done: NotDone) -> Self {
        let unprocessable = |id, text: String| Self::new(StatusCode::UNPROCESSABLE_ENTITY, id, text);
        match not_done {
            NotDone::Rejected(rejected) => rejected.into(),
            NotDone::NameTaken(..) => Self::new(StatusCode::CONFLICT, "name-taken", not_done.to_string()),
            NotDone::BadName(_) => unprocessable("bad-name", not_done.to_string()),
            NotDone::Text(_) => unprocessable("bad-text", not_done.to_string()),
            NotDone::Key(_) => unprocessable("key-refused", not_done.to_string()),
            NotDone::BadTelephone => unprocessable("bad-telephone", not_done.to_string()),
            NotDone::Password(_) => unprocessable("bad-password", not_done.to_string()),
        }
    }
}

impl From<CodeNotTaken> for Problem {
    fn from(not_taken: CodeNotTaken) -> Self {
        match not_taken {
            CodeNotTaken::Code(_) | CodeNotTaken::Password => sign_in_refused(),
            CodeNotTaken::Refusal(refusal) => refusal.into(),
            CodeNotTaken::Fault(fault) => fault.into(),
        }
    }
}

impl From<NotAnswered> for Problem {
    fn from(not_answered: NotAnswered) -> Self {
        match not_answered {
            NotAnswered::Rejected(rejected) => rejected.into(),
            // Whoever asks is known already, so it is said which of the codes it was.
            NotAnswered::Code(CodeNotTaken::Code(wrong)) => {
                Self::new(StatusCode::FORBIDDEN, "code-refused", wrong.to_string())
            }
            NotAnswered::Code(not_taken) => not_taken.into(),
            NotAnswered::NotHeard(wrong) => Self::new(StatusCode::FORBIDDEN, "read-back-refused", wrong.to_string()),
        }
    }
}

const SIGN_IN_REFUSED: &str = "sign-in-refused";
/// What was typed is no enrolment code.
pub(super) const BAD_CODE: &str = "bad-enrolment-code";

/// The one answer to a wrong name, a wrong key and a wrong code.
pub(super) fn sign_in_refused() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        SIGN_IN_REFUSED,
        "name, key and code do not go together. Compare your phone's clock, wait for the next code, and sign in again",
    )
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        match rejection {
            JsonRejection::MissingJsonContentType(_) => Self::malformed("send the body as application/json"),
            other => Self::malformed(other.body_text()),
        }
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::not_found(rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::malformed(rejection.body_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_of_a_directory_fault_stays_in_the_log() {
        let problem = Problem::from(DirectoryFault::Unavailable("/data/directory/db: EIO".into()));
        assert_eq!(problem.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!problem.detail.contains("/data"), "{}", problem.detail);
    }
}

//! A screen in the control room that shows the board without a person, and can cut. Its browser makes a key that never
//! leaves it (Web Cryptography API, `extractable` false), and signs in with it by itself as often as it must.

use std::net::IpAddr;

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use certs::proof::{Authenticated, Face, VerifiedKey};
use certs::sshsig::login_message;
use policies::ids::PersonId;
use policies::people::Kind;
use ssh_key::PublicKey;

use super::super::Source;
use super::super::problem::Problem;
use super::super::sign_in::evenly;
use super::signing_in::{keep, parse, too_late};
use super::{Fields, Pages, Top, show as shown};

#[derive(Template)]
#[template(path = "display.html")]
struct Display {
    top: Top,
}

pub(super) async fn show(State(pages): State<Pages>) -> Response {
    shown(&Display { top: pages.top(None).await })
}

/// Asked by the page's own script, which made the key.
pub(super) async fn enrol(State(pages): State<Pages>, fields: Fields) -> Response {
    let enrolled = evenly(async {
        let code = parse(fields.get("code").trim())?;
        let people = pages.api.people();
        match people.invited(&code).await?.kind {
            Kind::Display => Ok(people.enrol(&code, &key(&fields)?).await?),
            _ => Err(not_a_displays()),
        }
    });
    enrolled.await.map_or_else(Problem::into_response, |_| StatusCode::NO_CONTENT.into_response())
}

fn not_a_displays() -> Problem {
    let detail = "this code is not for a display: people enrol with theirs on the page \u{201c}Enrol\u{201d}";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not-a-displays-code", detail)
}

fn key(fields: &Fields) -> Result<PublicKey, Problem> {
    PublicKey::from_openssh(fields.get("key"))
        .map_err(|_| Problem::malformed("this browser sent no key that can be read"))
}

/// Asked by the page's own script, which tries again until it succeeds: nobody stands before it to press a button.
pub(super) async fn sign_in(State(pages): State<Pages>, Source(source): Source, fields: Fields) -> Response {
    match evenly(async { prove(&pages, source, &fields) }).await {
        Ok(who) => ([(header::SET_COOKIE, keep(&pages, who))], StatusCode::NO_CONTENT).into_response(),
        Err(problem) => {
            pages.api.desk().counts().stranger_failed(source, "a sign-in that was refused");
            problem.into_response()
        }
    }
}

fn prove(pages: &Pages, source: IpAddr, fields: &Fields) -> Result<Authenticated, Problem> {
    let api = &pages.api;
    let now = api.clock().wall();
    let nonce = api.our_nonce(fields.get("nonce")).ok_or_else(too_late)?;
    let key = key(fields)?;
    let display = display_with(pages, &key).ok_or_else(unknown)?;
    let message = login_message(pages.site.origin(), &nonce);
    let verified = VerifiedKey::by_login_signature(display, &key, &message, fields.get("signature"));
    let verified = verified.map_err(|_| unknown())?;
    if !api.spend_nonce(&nonce) {
        return Err(too_late());
    }
    api.people().may_sign_in(display, Face::Plant, now)?;
    Ok(Authenticated::by_unattended_key(verified, source, now))
}

fn display_with(pages: &Pages, key: &PublicKey) -> Option<PersonId> {
    let person = pages.api.people().by_key(key)?;
    let is_display =
        |state: &policies::state::State| state.people.get(&person).is_some_and(|of| of.kind == Kind::Display);
    pages.api.desk().with_state(is_display).then_some(person)
}

fn unknown() -> Problem {
    Problem::unauthenticated("this browser's key is no display's here: it was disabled, or not enrolled yet")
}

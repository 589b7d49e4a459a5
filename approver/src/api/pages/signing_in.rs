//! Signing in with a passkey, and making one with the code of an invitation.

use std::net::IpAddr;
use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use certs::enrolment::EnrolmentCode;
use certs::passkey::{self, Asserted, Created};
use certs::proof::{Authenticated, Face, VerifiedPasskey};
use certs::sshsig::{Namespace, login_message};
use certs::totp::TotpSecret;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use policies::ids::PersonId;
use policies::people::{Kind, Standing};
use policies::refusals::Refusal;
use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;
use zeroize::Zeroizing;

use super::super::Source;
use super::super::guard::Login;
use super::super::problem::{BAD_CODE, Problem};
use super::super::sign_in::{check_face, come_on_duty, evenly};
use super::inside::Said;
use super::logins::Held;
use super::{Fields, Pages, Posted, Top, logins, no, picture, show, words};
use crate::desk::Rejected;
use crate::oidc::Provider;
use crate::people::{Invited, NotDone};

const NOT_PROVED: &str = "the passkey's answer does not count: it took too long, was sent twice, or is by none of your keys. Go back, \
                          and try again";

#[derive(Template)]
#[template(path = "sign-in.html")]
struct SignIn {
    top: Top,
    site: String,
    /// Where technicians get the code for a passkey.
    lobby: String,
    providers: Vec<ByProvider>,
}

/// A way to sign in by somebody else's word.
struct ByProvider {
    name: String,
    title: String,
    /// Since when it does not answer; empty where it does, as far as is known.
    lost: String,
}

pub(super) async fn form(State(pages): State<Pages>) -> Response {
    let lobby = pages.api.parts().gate.ssh("NAME");
    let (now, zone) = pages.clock();
    let by = |provider: &Provider| ByProvider {
        name: provider.name().to_string(),
        title: provider.title().to_owned(),
        lost: provider.lost_since().map(|since| words::moment(since, now, &zone)).unwrap_or_default(),
    };
    let providers = pages.api.parts().providers.of(pages.api.face()).map(by).collect();
    show(&SignIn { top: pages.top(None).await, site: pages.site.id().to_owned(), lobby, providers })
}

/// What a challenge is for.
#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(rename = "for")]
    what: String,
}

#[derive(Serialize)]
struct Fresh {
    nonce: String,
    challenge: String,
}

/// A challenge made when the button is pressed, because a page may have stood for hours. Nothing is kept of it.
pub(super) async fn challenge(State(pages): State<Pages>, Query(Wanted { what }): Query<Wanted>) -> Response {
    let (nonce, _) = pages.api.0.challenges.make(pages.api.clock().wall());
    let challenge = match what.as_str() {
        "enrol" => nonce.to_vec(),
        "display" => login_message(pages.site.origin(), &nonce),
        _ => passkey::challenge(Namespace::Login, &login_message(pages.site.origin(), &nonce)),
    };
    Json(Fresh { nonce: HEXLOWER.encode(&nonce), challenge: BASE64URL_NOPAD.encode(&challenge) }).into_response()
}

pub(super) async fn sign_in(State(pages): State<Pages>, Source(source): Source, fields: Fields) -> Response {
    let proved = evenly(async { prove(&pages, source, &fields) }).await;
    let who = match proved {
        Ok(who) => who,
        Err(problem) => {
            pages.api.desk().counts().stranger_failed(source, "a sign-in that was refused");
            return no(problem);
        }
    };
    enter(&pages, who).await
}

/// To the first page, signed in; an operator is on duty.
pub(super) async fn enter(pages: &Pages, who: Authenticated) -> Response {
    if pages.api.face() == Face::Plant {
        come_on_duty(&pages.api, &who).await;
    }
    ([(header::SET_COOKIE, keep(pages, who))], Redirect::to("/")).into_response()
}

/// Keeps a sign-in; gives the cookie that names it.
pub(super) fn keep(pages: &Pages, who: Authenticated) -> HeaderValue {
    tracing::info!(person = %who.person(), factors = ?who.factors(), source = %who.source(), "signed in on a page");
    let at = who.at();
    pages.api.0.logins.keep(Login { who: Arc::new(who), at }, pages.api.clock().boot())
}

/// The browser says who it is, and the passkey proves it: no name is typed.
pub(super) fn prove(pages: &Pages, source: IpAddr, fields: &Fields) -> Result<Authenticated, Problem> {
    let api = &pages.api;
    let now = api.clock().wall();
    let nonce = api.our_nonce(fields.get("nonce")).ok_or_else(too_late)?;
    let person: PersonId = String::from_utf8(fields.base64("user-handle"))
        .ok()
        .and_then(|handle| handle.parse().ok())
        .ok_or_else(unknown)?;
    let said = asserted(fields);
    let message = login_message(pages.site.origin(), &nonce);
    let verified = passkeys_of(pages, person).into_iter().find_map(|key| {
        let signature = passkey::as_ssh_signature(&pages.site, &key, Namespace::Login, &said).ok()?;
        VerifiedPasskey::by_login(person, &key, &message, &signature).ok()
    });
    let verified = verified.ok_or_else(unknown)?;
    if !api.spend_nonce(&nonce) {
        return Err(too_late());
    }
    api.caller(person, now)?;
    Ok(Authenticated::by_passkey(verified, api.face(), source, now))
}

/// The passkey's answer within a sign-in, for something that whoever finds a browser left alone shall not do. It serves for what
/// else asks for it as that of the sign-in did.
pub(super) async fn prove_again(
    pages: &Pages,
    held: &Held,
    source: IpAddr,
    fields: &Fields,
) -> Result<Arc<Authenticated>, Said> {
    let proved = evenly(async { prove(pages, source, fields) }).await.ok();
    let proved = proved.filter(|who| who.person() == held.login.who.person());
    let Some(who) = proved.map(Arc::new) else {
        pages.api.desk().counts().stranger_failed(source, "a passkey's answer within a sign-in that was refused");
        return Err(Said::new(StatusCode::FORBIDDEN, "Not done", NOT_PROVED));
    };
    let login = Login { who: Arc::clone(&who), at: who.at() };
    pages.api.0.logins.renew(held, login, pages.api.clock().boot());
    Ok(who)
}

pub(super) fn asserted(fields: &Fields) -> Asserted {
    Asserted {
        client_data: fields.base64("client-data"),
        authenticator_data: fields.base64("authenticator-data"),
        signature: fields.base64("signature"),
    }
}

/// Whether somebody has keys that answer on pages alone.
pub(super) fn has_passkeys_alone(pages: &Pages, person: PersonId) -> bool {
    let all = pages.api.desk().with_state(|state| state.people.get(&person).map_or(0, |person| person.keys.len()));
    all > 0 && passkeys_of(pages, person).len() == all
}

/// Those of this site.
pub(super) fn passkeys_of(pages: &Pages, person: PersonId) -> Vec<PublicKey> {
    let keys = pages.api.desk().with_state(|state| state.people.get(&person).map(|person| person.keys.clone()));
    let parsed = keys.into_iter().flatten().filter_map(|key| PublicKey::from_openssh(&key.0).ok());
    parsed.filter(|key| passkey::site_of(key) == Some(pages.site.id())).collect()
}

pub(super) fn too_late() -> Problem {
    Problem::unauthenticated("that took too long, or was sent twice. Sign in again")
}

fn unknown() -> Problem {
    Problem::unauthenticated(
        "this passkey is nobody's here. Choose the one that you made for this page, or make another one with a new code",
    )
}

pub(super) async fn sign_out(State(pages): State<Pages>, Posted { inside, .. }: Posted) -> Response {
    pages.api.0.logins.forget(inside.login());
    ([(header::SET_COOKIE, logins::no_cookie())], Redirect::to("/sign-in")).into_response()
}

#[derive(Template)]
#[template(path = "enrol.html")]
struct CodeForm {
    top: Top,
}

pub(super) async fn code_form(State(pages): State<Pages>) -> Response {
    show(&CodeForm { top: pages.top(None).await })
}

#[derive(Template)]
#[template(path = "enrol-passkey.html")]
struct KeyForm {
    top: Top,
    site: String,
    code: String,
    person: String,
    name: String,
    /// They have keys, and this is not one beside them.
    replaces: bool,
}

pub(super) async fn key_form(State(pages): State<Pages>, fields: Fields) -> Response {
    let shown = evenly(async {
        let (code, person, is_beside) = invitation(&pages, &fields).await?;
        let has_keys =
            pages.api.desk().with_state(|state| state.people.get(&person).is_some_and(|it| !it.keys.is_empty()));
        Ok(KeyForm {
            replaces: has_keys && !is_beside,
            top: pages.top(None).await,
            site: pages.site.id().to_owned(),
            code,
            person: BASE64URL_NOPAD.encode(person.to_string().as_bytes()),
            name: pages.api.people().shown(person).await,
        })
    });
    shown.await.map_or_else(no, |form| show(&form))
}

/// The code, whom it is for, and whether for a passkey beside what they have: somebody who belongs to this face.
async fn invitation(pages: &Pages, fields: &Fields) -> Result<(String, PersonId, bool), Problem> {
    let text = fields.get("code").trim();
    let Invited { person, kind, has_key } = match pages.api.people().invited(&parse(text)?).await {
        Err(NotDone::Rejected(Rejected::Refusal(Refusal::LinkSpent))) => return Err(spent(pages)),
        invited => invited?,
    };
    check_face(&pages.api, &kind)?;
    // A sensor is a program, and none of a browser.
    if kind == Kind::Sensor { Err(spent(pages)) } else { Ok((text.to_owned(), person, has_key)) }
}

/// With where the next code comes from: on the vendor face, from the lobby.
fn spent(pages: &Pages) -> Problem {
    let refused = Problem::from(Refusal::LinkSpent);
    if pages.api.face() == Face::Plant {
        return refused;
    }
    let (status, _) = refused.into_parts();
    let lobby = pages.api.parts().gate.ssh("NAME");
    let detail =
        format!("this code was used, has expired, or never was. Another one, for you and this page: {lobby} passkey");
    Problem::new(status, Refusal::LinkSpent.id(), detail)
}

pub(super) fn parse(text: &str) -> Result<EnrolmentCode, Problem> {
    EnrolmentCode::parse(text).map_err(|bad| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, BAD_CODE, bad.to_string()))
}

#[derive(Template)]
#[template(path = "enrolled.html")]
struct Enrolled {
    top: Top,
    name: String,
    is_active: bool,
    fingerprint: String,
    app: Option<App>,
}

/// For an authenticator app; shown once.
struct App {
    picture: Zeroizing<String>,
    secret: Zeroizing<String>,
}

fn app(pages: &Pages, secret: &TotpSecret, name: &str) -> App {
    let url = pages.api.app_url(secret, name);
    App { picture: picture::of(&url), secret: secret.base32() }
}

pub(super) async fn enrol(State(pages): State<Pages>, fields: Fields) -> Response {
    let enrolled = evenly(async {
        let (code, ..) = invitation(&pages, &fields).await?;
        let nonce = pages.api.our_nonce(fields.get("nonce")).ok_or_else(too_late)?;
        let said = Created {
            client_data: fields.base64("client-data"),
            authenticator_data: fields.base64("authenticator-data"),
        };
        let made = passkey::created(&pages.site, &nonce, &said);
        let made =
            made.map_err(|bad| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "passkey-refused", bad.to_string()))?;
        let enrolled = pages.api.people().enrol_passkey(&parse(&code)?, &made).await?;
        Ok(Enrolled {
            top: pages.top(None).await,
            is_active: enrolled.standing == Standing::Active,
            app: enrolled.app.as_ref().map(|secret| app(&pages, secret, &enrolled.name)),
            fingerprint: made.key().fingerprint(ssh_key::HashAlg::Sha256).to_string(),
            name: enrolled.name,
        })
    });
    enrolled.await.map_or_else(no, |page| show(&page))
}

//! Both faces' pages: what operators decide and do, and what technicians may and ask for, rendered here and made of forms, so
//! that they work without script but for passkeys and what changes by itself. A page does nothing of its own: it asks the
//! API, inside the program and in the name of whoever is signed in on it ([`inside`]), so a page can do what the table of
//! routes lets that person do, and no more.
//!
//! No GET changes anything. Each POST comes from a page of ours: it names our origin, and carries the secret that the
//! page had for this sign-in.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Form, FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use certs::passkey::Site;
use certs::proof::Face;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use policies::people::{Kind, Person, Standing};
use policies::state::State as Plant;

use super::problem::Problem;
use super::reviews::waiting;
use super::staying::Hangup;
use super::types::PersonView;
use super::{Api, guard, timing};

mod asking;
mod assets;
mod board;
mod card;
mod company;
mod display;
mod erasing;
mod guests;
mod history;
mod inside;
mod live;
mod logins;
mod mine;
mod oidc;
mod own_account;
mod own_request;
mod past;
mod people;
mod picture;
mod plant_files;
mod reports;
mod reviews;
mod session;
mod signing;
mod signing_in;
mod sitting;
mod watching;
mod words;

use inside::{Inside, Said};
pub(super) use logins::Logins;
pub(super) use oidc::Begun;

/// What pages are made of.
#[derive(Clone)]
struct Pages {
    api: Api,
    doors: Router,
    site: Site,
    tickets: Arc<sitting::Tickets>,
}

/// A face's pages before its API's doors, which serve whatever no page is called.
pub(super) fn before(doors: Router, api: Api) -> Router {
    let Some(site) = Site::of_origin(api.origin()) else { return doors };
    let own = match api.face() {
        Face::Plant => of_the_plant(),
        Face::Vendor => of_technicians(),
    };
    let pages = Pages { api, doors: doors.clone(), site, tickets: Arc::default() };
    own.route("/sign-in", get(signing_in::form).post(signing_in::sign_in))
        .route("/sign-in/code", post(oidc::code))
        .route("/sign-in/link", post(oidc::link_by_code))
        .route("/oidc/{provider}", get(oidc::back).post(oidc::finish))
        .route("/oidc/{provider}/begin", post(oidc::begin))
        .route("/oidc/{provider}/link", post(oidc::link))
        .route("/me", get(own_account::show))
        .route("/me/unlink", post(own_account::unlink))
        .route("/challenge", get(signing_in::challenge))
        .route("/sign-out", post(signing_in::sign_out))
        .route("/enrol", get(signing_in::code_form).post(signing_in::key_form))
        .route("/enrol/passkey", post(signing_in::enrol))
        .route("/events", get(live::events))
        .route("/assets/{name}", get(assets::serve))
        .route("/assets/{tree}/{*name}", get(assets::serve_novnc))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(from_fn_with_state(pages.clone(), stand_before))
        .route_layer(from_fn(timing::timed))
        .with_state(pages)
        .fallback_service(doors)
}

fn of_technicians() -> Router<Pages> {
    Router::new()
        .route("/", get(mine::show))
        .route("/ask", get(asking::form).post(asking::ask))
        .route("/requests/{request}", get(own_request::show))
        .route("/requests/{request}/open", post(sitting::page))
        .route("/requests/{request}/{act}", post(own_request::act))
        .route("/sessions", get(mine::sessions))
        .route("/company", get(company::show).post(company::invite))
        .route("/company/{person}/reinvite", post(company::reinvite))
        .route("/company/{person}/{act}", post(company::act))
        .route("/sitting", get(sitting::open))
        .route("/fetched", post(sitting::fetched))
}

fn of_the_plant() -> Router<Pages> {
    Router::new()
        .route("/", get(board::show))
        .route("/alarms/seen", post(board::seen))
        .route("/display", get(display::show))
        .route("/display/enrol", post(display::enrol))
        .route("/display/sign-in", post(display::sign_in))
        .route("/requests/{request}", get(card::request))
        .route("/requests/{request}/sign", post(signing::request))
        .route("/requests/{request}/close-out", post(signing::closing_out))
        .route("/requests/{request}/revoke", post(card::revoke))
        .route("/requests/{request}/accept", post(card::accept))
        .route("/asks/{ask}", get(card::ask))
        .route("/asks/{ask}/sign", post(signing::ask))
        .route("/sessions/{session}", get(session::show))
        .route("/sessions/{session}/watch", post(session::watch))
        .route("/sessions/{session}/sign", post(signing::session))
        .route("/sessions/{session}/tell", post(session::tell))
        .route("/sessions/{session}/screen", get(watching::screen))
        .route("/sessions/{session}/erase", post(erasing::to_sign))
        .route("/sessions/{session}/erased", post(erasing::signed))
        .route("/sessions/{session}/{act}", post(session::act))
        .route("/cut", get(session::before_cut).post(session::cut))
        .route("/cuts/{cut}", get(card::cut))
        .route("/cuts/{cut}/sign", post(signing::reopening))
        .route("/signed", post(signing::signed))
        .route("/people", get(people::list).post(people::invite))
        .route("/people/{person}", get(people::one))
        .route("/people/{person}/reinvite", post(people::reinvite))
        .route("/people/{person}/certify", post(people::certify))
        .route("/people/{person}/certified", post(people::certified))
        .route("/people/{person}/{act}", post(people::act))
        .route("/guests", get(guests::list).post(guests::to_sign))
        .route("/guests/signed", post(guests::signed))
        .route("/guests/{guest}", get(guests::one))
        .route("/guests/{guest}/end", post(guests::end))
        .route("/guests/{guest}/sign", post(guests::look_back))
        .route("/reviews", get(reviews::list))
        .route("/reports", get(reports::list))
        .route("/reports/of", get(reports::chosen))
        .route("/reports/csv/{file}", get(reports::csv))
        .route("/history", get(history::list))
        .route("/history.csv", get(history::table))
        .route("/presence", get(history::presence))
        .route("/history/requests/{request}", get(past::request))
        .route("/history/sessions/{session}", get(past::session))
        .route("/history/sessions/{session}/recording", post(past::recording))
        .route("/history/sessions/{session}/pack", post(past::pack))
        .route("/history/pack", post(past::pack_of_vendor))
        .route("/history/sessions/{session}/{act}", post(past::act))
        .route("/vendors", post(people::contract))
        .route("/vendors/{vendor}/disable", post(people::disable_vendor))
        .route("/plant-files", get(plant_files::list))
        .route("/plant-files", post(plant_files::propose).layer(DefaultBodyLimit::max(PLANT_FORM_BYTES_MAX)))
        .route("/plant-files/{digest}", get(plant_files::one))
        .route("/plant-files/{digest}/sign", post(plant_files::to_sign))
        .route("/plant-files/{digest}/signed", post(plant_files::signed))
        .route("/answered", post(signing::answered))
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What a browser is told about every page: nothing from elsewhere, no script in it, no frame around it (Content Security
/// Policy Level 3; Fetch Metadata), and to keep none of it.
const HEADERS: [(header::HeaderName, &str); 8] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        header::HeaderName::from_static("permissions-policy"),
        "camera=(), microphone=(), geolocation=(), publickey-credentials-get=(self), publickey-credentials-create=(self)",
    ),
];

async fn stand_before(State(pages): State<Pages>, request: Request, next: Next) -> Response {
    let is_ours = request.method() != axum::http::Method::POST || is_from_a_page(&pages, request.headers());
    let mut response = match is_ours {
        true => next.run(request).await,
        false => wrong(StatusCode::FORBIDDEN, "Refused", "this was sent by a page that is not this gate's"),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Lets a page have a frame, into which our own answers go: none is shown in it, but what is to be kept as a download is taken there.
fn with_a_frame(mut page: Response) -> Response {
    let policy = format!("{POLICY}; frame-src 'self'").try_into().expect("a policy is of plain signs");
    page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    page
}

/// A browser says from where a form comes (Fetch, "Origin"); other clients use the API.
fn is_from_a_page(pages: &Pages, headers: &HeaderMap) -> bool {
    let is = |name: &str, wanted: &str| headers.get(name).is_some_and(|value| value.as_bytes() == wanted.as_bytes());
    is("origin", pages.site.origin())
        && (is("sec-fetch-site", "same-origin") || !headers.contains_key("sec-fetch-site"))
}

/// A form's fields, as they were sent; a name may come more than once.
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    fn base64(&self, name: &str) -> Vec<u8> {
        data_encoding::BASE64URL_NOPAD.decode(self.get(name).as_bytes()).unwrap_or_default()
    }
}

/// Bytes of a form: the longest text that is kept, and a statement.
const FORM_BYTES_MAX: usize = 64 * 1024;
/// Of the one with a plant file: the largest that the API takes, each sign of it written as three (URL Standard, 5.2).
const PLANT_FORM_BYTES_MAX: usize = 3 << 20;

impl FromRequest<Pages> for Fields {
    type Rejection = Response;

    async fn from_request(request: Request, pages: &Pages) -> Result<Self, Response> {
        let patience = request.extensions().get::<Hangup>().map_or(Duration::MAX, Hangup::patience);
        let read = tokio::time::timeout(patience, Form::<Vec<(String, String)>>::from_request(request, pages)).await;
        let slow = |_| wrong(StatusCode::REQUEST_TIMEOUT, "That does not work", "the form did not come in time");
        match read.map_err(slow)? {
            Ok(Form(fields)) => Ok(Self(fields)),
            Err(rejection) => {
                Err(wrong(rejection.status(), "That does not work", "the form cannot be read, or is too long"))
            }
        }
    }
}

/// What stands at the top of each page.
#[derive(Debug, Clone, Default)]
struct Top {
    plant: String,
    /// Who is signed in; nobody, where it is empty.
    name: String,
    /// To be sent with each form.
    csrf: String,
    /// Answers, freezes and cuts.
    is_operator: bool,
    /// Manages people and plant files.
    is_administrator: bool,
    /// Replays, verifies, holds.
    is_auditor: bool,
    /// A screen that nobody sits at: shows the board, and cuts.
    is_display: bool,
    /// Asks for access, on the vendor face.
    is_technician: bool,
    /// Manages their company's people there.
    is_manager: bool,
    /// A rule lets operators invite guests, or one was invited.
    takes_guests: bool,
    /// They may sign in by an identity provider, too.
    has_providers: bool,
    /// What waits for somebody to look back at it.
    reviews: usize,
    style: &'static str,
    script: &'static str,
}

fn takes_guests(state: &Plant) -> bool {
    let mut rules = state.plant.iter().flat_map(|plant| &plant.rules);
    rules.any(|rule| rule.guest_limit().is_some()) || !state.guests.is_empty()
}

impl Pages {
    /// Now, and in which zone that is told.
    fn clock(&self) -> (Timestamp, TimeZone) {
        (self.api.clock().wall(), self.api.desk().with_state(|state| state.timezone()))
    }

    async fn top(&self, inside: Option<&Inside>) -> Top {
        let plant = self.api.desk().with_state(|state| state.plant.as_ref().map(|plant| plant.name.clone()));
        let (name, csrf) = match inside {
            Some(inside) => (self.api.people().shown(inside.person()).await, inside.csrf().to_owned()),
            None => Default::default(),
        };
        let (style, script) = (assets::style(), assets::script());
        let is = |test: fn(&Person) -> bool| {
            let person = inside.map(Inside::person);
            person.is_some_and(|id| self.api.desk().with_state(|state| state.people.get(&id).is_some_and(test)))
        };
        let is_operator = is(Person::is_active_operator);
        let is_administrator = is(Person::is_active_administrator);
        let is_auditor = is(|person| person.kind == Kind::Auditor && person.standing == Standing::Active);
        let is_display = is(|person| person.kind == Kind::Display);
        let is_technician = self.api.face() == Face::Vendor;
        let is_manager = is_technician && is(|person| person.is_manager);
        let has_providers = inside.is_some_and(|inside| {
            let (id, providers) = (inside.person(), &self.api.parts().providers);
            let knows = |person: &Person| providers.knowing(self.api.face(), person).next().is_some();
            self.api.desk().with_state(|state| state.people.get(&id).is_some_and(knows))
        });
        let now = self.api.clock().wall();
        let (takes_guests, reviews) = match self.api.face() {
            Face::Plant => self.api.desk().with_state(|state| (takes_guests(state), waiting(state, now))),
            Face::Vendor => (false, 0),
        };
        let plant = plant.unwrap_or_default();
        Top {
            plant,
            name,
            csrf,
            is_operator,
            is_administrator,
            is_auditor,
            is_display,
            is_technician,
            is_manager,
            takes_guests,
            has_providers,
            reviews,
            style,
            script,
        }
    }

    /// The page, or what the API said instead.
    async fn shown(&self, inside: &Inside, made: Result<impl Template, Said>) -> Response {
        match made {
            Ok(page) => show(&page),
            Err(said) => self.refused(inside, &said).await,
        }
    }

    /// The page to go on with, or what the API said instead.
    async fn then(&self, inside: &Inside, done: Result<String, Said>) -> Response {
        match done {
            Ok(page) => Redirect::to(&page).into_response(),
            Err(said) => self.refused(inside, &said).await,
        }
    }

    /// Whether a sign-in still stands, and what proved it still counts; it is forgotten where not.
    async fn is_still_signed_in(&self, inside: &Inside) -> bool {
        let logins = &self.api.0.logins;
        logins.is_held(inside.login(), self.api.clock().boot()) && self.still_counts(inside).await
    }

    /// Whether what proved a sign-in still counts; it is forgotten where not.
    async fn still_counts(&self, inside: &Inside) -> bool {
        let me: Result<PersonView, _> = inside.get("/api/v1/me").await;
        let is_out = me.is_err_and(|said| said.status == StatusCode::UNAUTHORIZED);
        if is_out {
            self.api.0.logins.forget(inside.login());
        }
        !is_out
    }

    async fn refused(&self, inside: &Inside, said: &Said) -> Response {
        if said.status == StatusCode::UNAUTHORIZED {
            self.api.0.logins.forget(inside.login());
            return if inside.is_reading() { Redirect::to("/sign-in").into_response() } else { not_done() };
        }
        let top = self.top(Some(inside)).await;
        let (title, detail, mistakes) = (&*said.title, &*said.detail, &*said.mistakes);
        let mut response = show(&Wrong { top, title, detail, mistakes, is_reading: inside.is_reading() });
        *response.status_mut() = said.status;
        response
    }
}

/// Whoever is signed in; everybody else is shown where to.
impl FromRequestParts<Pages> for Inside {
    type Rejection = Redirect;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, Redirect> {
        let source = guard::source(parts);
        let held = pages.api.0.logins.held(&parts.headers, source, pages.api.clock().boot());
        let Ok(hangup) = Hangup::from_request_parts(parts, pages).await;
        let is_reading = parts.method == axum::http::Method::GET;
        held.map(|held| Self::new(pages.doors.clone(), held, source, hangup, is_reading))
            .ok_or_else(|| Redirect::to("/sign-in"))
    }
}

/// A form that somebody signed in sent, with the secret of its page.
struct Posted {
    inside: Inside,
    fields: Fields,
}

impl FromRequest<Pages> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, pages: &Pages) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let inside = Inside::from_request_parts(&mut parts, pages).await.map_err(|_| not_done())?;
        let fields = Fields::from_request(Request::from_parts(parts, body), pages).await?;
        let (ours, sent) = (inside.csrf().as_bytes(), fields.get("csrf").as_bytes());
        match aws_lc_rs::constant_time::verify_slices_are_equal(ours, sent) {
            Ok(()) => Ok(Self { inside, fields }),
            Err(_) => Err(wrong(StatusCode::FORBIDDEN, "Refused", "this page is of an earlier sign-in: load it again")),
        }
    }
}

#[derive(Template)]
#[template(path = "wrong.html")]
struct Wrong<'a> {
    top: Top,
    title: &'a str,
    detail: &'a str,
    mistakes: &'a [String],
    /// It may be otherwise when the page is loaded again.
    is_reading: bool,
}

fn wrong(status: StatusCode, title: &str, detail: &str) -> Response {
    let top = Top { style: assets::style(), script: assets::script(), ..Top::default() };
    let mut response = show(&Wrong { top, title, detail, mistakes: &[], is_reading: false });
    *response.status_mut() = status;
    response
}

/// To whoever is not signed in any more. Nobody shall believe that a cut was made.
fn not_done() -> Response {
    wrong(StatusCode::UNAUTHORIZED, "NOT DONE", "you are signed out, so nothing was done. Sign in, and do it again")
}

/// Of a problem that no door told.
fn no(problem: Problem) -> Response {
    let said = Said::of(problem);
    wrong(said.status, &said.title, &said.detail)
}

fn show(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(fault) => {
            tracing::error!(%fault, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

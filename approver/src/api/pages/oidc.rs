//! Signing in by an identity provider's word: on to it and back, bound to one browser; then the second factor where one is
//! wanted, and linking. The way there and back is worked out of what the browser keeps and a key of this run, so nobody fills
//! memory by beginning; what a provider has said is kept until the second factor comes.
//!
//! What comes back with the browser is shown as a form of ours first: the GET does nothing, and the POST is of this site.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use askama::Template;
use aws_lc_rs::hmac;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse as _, Redirect, Response};
use certs::oidc::IdToken;
use certs::proof::{Authenticated, Face, VerifiedSubject};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use jiff::Timestamp;
use policies::digest::Digest;
use policies::ids::PersonId;
use policies::time::Seconds;
use serde::Deserialize;

use super::super::Source;
use super::super::guard::check_own_factors;
use super::super::problem::Problem;
use super::super::sign_in::evenly;
use super::inside::Said;
use super::logins::{Held, cookie};
use super::signing_in::{enter, parse, prove_again, too_late};
use super::{Fields, Pages, Posted, Top, no, show, words};
use crate::clock::Boot;
use crate::directory::Nonces;
use crate::mint;
use crate::oidc::{Attempt, CODE_CHARS_MAX, NotProved, Provider, known_error};
use crate::people::CodeNotTaken;

/// Of a way that was begun. `__Host-`: this very host alone, over TLS (RFC 6265bis, 4.1.3.2); strict, because what comes back
/// is sent by a page of ours.
const BEGUN: &str = "__Host-holdpoint-begun";
/// Of what a provider has said.
const SAID: &str = "__Host-holdpoint-said";
/// To type a password there, and to find a phone.
const BEGUN_LASTS: Seconds = Seconds(600);
/// To find the phone once more.
const SAID_LASTS: Duration = Duration::from_secs(300);
/// Each was vouched for by a provider; an eldest one gives way.
const SAID_MAX: usize = 256;

/// Ways that were begun, and what came of them.
pub(in super::super) struct Begun {
    key: hmac::Key,
    /// Apart from what other requests spend, so that whoever begins here often fills nothing else.
    spent: Nonces,
    said: Mutex<HashMap<Digest, Waiting>>,
}

/// What a way to a provider and back is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    SignIn,
    Link,
}

/// The secrets of one way.
struct Way {
    state: String,
    nonce: String,
    verifier: String,
    back: String,
    /// When it was begun, where what is proved there must be proved since.
    anew: Option<Timestamp>,
}

/// A provider said who it is, and that does not suffice.
struct Waiting {
    token: IdToken,
    source: IpAddr,
    until: Boot,
}

impl Begun {
    pub(in super::super) fn new() -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &mint::random::<32>());
        Self { key, spent: Nonces::new(), said: Mutex::default() }
    }

    /// A new way, and what the browser keeps of it.
    fn make(&self, of: &Of<'_>, now: Timestamp) -> (String, Way) {
        let begun = now.as_second();
        let kept = format!("{}.{begun}.{}", HEXLOWER.encode(&mint::random::<16>()), of.purpose.word());
        let way = self.way(of, &kept, now);
        (kept, way)
    }

    /// The way of which the browser kept this, if it is not over, and is the one that came back.
    fn find(&self, of: &Of<'_>, kept: &str, state: &str, now: Timestamp) -> Option<Way> {
        let begun = Timestamp::from_second(kept.split('.').nth(1)?.parse().ok()?).ok()?;
        let way = self.way(of, kept, begun);
        let is_it = aws_lc_rs::constant_time::verify_slices_are_equal(way.state.as_bytes(), state.as_bytes()).is_ok();
        (is_it && now < BEGUN_LASTS.after(begun)).then_some(way)
    }

    fn way(&self, of: &Of<'_>, kept: &str, begun: Timestamp) -> Way {
        let made = |what: &str| {
            // None of these has a line's end in it.
            let all = [what, of.provider, of.purpose.word(), of.login, kept].join("\n");
            BASE64URL_NOPAD.encode(hmac::sign(&self.key, all.as_bytes()).as_ref())
        };
        let back = format!("{}/oidc/{}", of.origin, of.provider);
        let anew = (of.purpose == Purpose::Link).then_some(begun);
        Way { state: made("state"), nonce: made("nonce"), verifier: made("verifier"), back, anew }
    }

    fn keep(&self, token: IdToken, source: IpAddr, now: Boot) -> HeaderValue {
        let secret = HEXLOWER.encode(&mint::random::<32>());
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|_, waiting| now < waiting.until);
        if said.len() >= SAID_MAX {
            let eldest = said.iter().min_by_key(|(_, waiting)| waiting.until).map(|(id, _)| *id);
            eldest.and_then(|id| said.remove(&id));
        }
        let waiting = Waiting { token, source: source.to_canonical(), until: now.after(SAID_LASTS) };
        said.insert(Digest::of_bytes(secret.as_bytes()), waiting);
        set(SAID, &secret, SAID_LASTS.as_secs())
    }

    /// Taken out, so that nobody uses it twice at once.
    fn take(&self, headers: &HeaderMap, source: IpAddr, now: Boot) -> Option<(Digest, Waiting)> {
        let id = Digest::of_bytes(cookie(headers, SAID)?.as_bytes());
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |waiting: &Waiting| now < waiting.until && waiting.source == source.to_canonical();
        said.get(&id).is_some_and(fits).then(|| said.remove(&id)).flatten().map(|waiting| (id, waiting))
    }

    fn put_back(&self, id: Digest, waiting: Waiting) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(id, waiting);
    }
}

/// What a way is bound to, beside a browser.
struct Of<'a> {
    provider: &'a str,
    purpose: Purpose,
    /// The secret of the sign-in whose account is linked; nothing where somebody signs in.
    login: &'a str,
    origin: &'a str,
}

impl Purpose {
    const fn word(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::Link => "link",
        }
    }
}

impl Way {
    fn attempt(&self) -> Attempt<'_> {
        let Self { state, nonce, verifier, back, anew } = self;
        Attempt { state, nonce, verifier, back, anew: *anew }
    }
}

fn set(name: &str, value: &str, seconds: u64) -> HeaderValue {
    let text = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={seconds}");
    HeaderValue::try_from(text).expect("digits, hexadecimal and words fit a header")
}

fn provider_of<'a>(pages: &'a Pages, name: &str) -> Result<&'a Provider, Problem> {
    let providers = &pages.api.parts().providers;
    providers.named(pages.api.face(), name).ok_or_else(|| Problem::not_found("there is no such page"))
}

#[derive(Template)]
#[template(path = "oidc-going.html")]
struct Going {
    top: Top,
    title: String,
    to: String,
}

/// To sign in.
pub(super) async fn begin(State(pages): State<Pages>, Path(name): Path<String>) -> Response {
    going(&pages, &name, Purpose::SignIn, "").await.unwrap_or_else(no)
}

/// To link an account to whoever is signed in, and has just proved with their passkey that it is they: whoever found a browser left
/// alone would come by an account of their own from then on.
pub(super) async fn link(
    State(pages): State<Pages>,
    Path(name): Path<String>,
    Source(source): Source,
    Posted { inside, fields }: Posted,
) -> Response {
    let gone = async {
        provider_of(&pages, &name).map_err(Said::of)?;
        prove_again(&pages, inside.login(), source, &fields).await?;
        going(&pages, &name, Purpose::Link, inside.csrf()).await.map_err(Said::of)
    };
    match gone.await {
        Ok(going) => going,
        Err(said) => pages.refused(&inside, &said).await,
    }
}

async fn going(pages: &Pages, name: &str, purpose: Purpose, login: &str) -> Result<Response, Problem> {
    let provider = provider_of(pages, name)?;
    let now = pages.api.clock().wall();
    let of = Of { provider: name, purpose, login, origin: pages.site.origin() };
    let (kept, way) = pages.api.0.begun.make(&of, now);
    let to = provider.begin(&way.attempt(), now).await;
    let to = to.map_err(|not| not_proved(provider, &not))?;
    let page = show(&Going { top: pages.top(None).await, title: provider.title().to_owned(), to });
    let seconds = u64::from(BEGUN_LASTS.0);
    Ok((AppendHeaders([(header::SET_COOKIE, set(BEGUN, &kept, seconds))]), page).into_response())
}

/// What a provider sends a browser back with (RFC 6749, 4.1.2; RFC 9207).
#[derive(Deserialize)]
pub(super) struct Answer {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

#[derive(Template)]
#[template(path = "oidc-back.html")]
struct Back {
    top: Top,
    name: String,
    title: String,
    code: String,
    state: String,
    issuer: Option<String>,
}

pub(super) async fn back(
    State(pages): State<Pages>,
    Path(name): Path<String>,
    Query(answer): Query<Answer>,
) -> Response {
    let shown = async {
        let provider = provider_of(&pages, &name)?;
        let Answer { code, state, iss, error } = answer;
        let Some(code) = code.filter(|code| !code.is_empty() && code.len() <= CODE_CHARS_MAX) else {
            let why = error.map_or("it sent no code", |error| known_error(&error).unwrap_or("it gives no reason"));
            return Err(sent_back(provider, why));
        };
        let (title, state) = (provider.title().to_owned(), state.unwrap_or_default());
        Ok(Back { top: pages.top(None).await, name: provider.name().to_string(), title, code, state, issuer: iss })
    };
    shown.await.map_or_else(no, |page| show(&page))
}

fn sent_back(provider: &Provider, why: &str) -> Problem {
    let detail = format!(
        "{} sent you back and did not say who you are ({why}). Try again, or sign in in another way",
        provider.title()
    );
    Problem::new(StatusCode::FORBIDDEN, "provider-refused", detail)
}

/// With what is left where somebody signs in.
fn not_proved(provider: &Provider, not: &NotProved) -> Problem {
    let (title, left) = (provider.title(), "Your passkey signs you in here without it");
    match not {
        NotProved::Lost(_)
        | NotProved::Unanswered(_)
        | NotProved::Published(_)
        | NotProved::NoSecret(_)
        | NotProved::Client(_) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "provider-away", format!("{title}: {not}. {left}"))
        }
        NotProved::Busy => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "provider-busy", format!("{title}: {not}")),
        NotProved::Code(_) | NotProved::MixedUp | NotProved::Token(_) => Problem::new(
            StatusCode::UNAUTHORIZED,
            "provider-refused",
            format!("Nobody is signed in. {title}: {not}. {left}"),
        ),
    }
}

/// What comes of a provider's word.
enum Arrived {
    In(Authenticated),
    /// This page is next, and what was said waits.
    Waits(IdToken, Next),
    Linked,
}

enum Next {
    Code(Box<Code>),
    Link(Box<Link>),
}

#[derive(Template)]
#[template(path = "oidc-code.html")]
struct Code {
    top: Top,
    name: String,
    title: String,
    called: String,
    is_called_otherwise: bool,
    wrong: String,
}

#[derive(Template)]
#[template(path = "oidc-link.html")]
struct Link {
    top: Top,
    title: String,
    called: String,
    lobby: String,
    wrong: String,
}

pub(super) async fn finish(
    State(pages): State<Pages>,
    Path(name): Path<String>,
    Source(source): Source,
    headers: HeaderMap,
    fields: Fields,
) -> Response {
    let arrived = Box::pin(evenly(async {
        let provider = provider_of(&pages, &name)?;
        let held = pages.api.0.logins.held(&headers, Source(source), pages.api.clock().boot());
        let (token, linking) = proved(&pages, (provider, source), held.as_ref(), &headers, &fields).await?;
        match linking {
            Some(held) => link_to(&pages, provider, held, &token).await.map(|()| Arrived::Linked),
            None => judge(&pages, provider, source, token).await,
        }
    }));
    let response = answer(&pages, source, arrived.await).await;
    (AppendHeaders([(header::SET_COOKIE, set(BEGUN, "", 0))]), response).into_response()
}

async fn answer(pages: &Pages, source: IpAddr, arrived: Result<Arrived, Problem>) -> Response {
    match arrived {
        Ok(Arrived::In(who)) => enter(pages, who).await,
        Ok(Arrived::Linked) => Redirect::to("/me").into_response(),
        Ok(Arrived::Waits(token, next)) => {
            let said = pages.api.0.begun.keep(token, source, pages.api.clock().boot());
            let page = match &next {
                Next::Code(page) => show(&**page),
                Next::Link(page) => show(&**page),
            };
            (AppendHeaders([(header::SET_COOKIE, said)]), page).into_response()
        }
        Err(problem) => {
            count_stranger(pages, source, &problem);
            no(problem)
        }
    }
}

/// Where what was sent is wrong, and nothing that is here or there stood in the way.
fn count_stranger(pages: &Pages, source: IpAddr, problem: &Problem) {
    if problem.is_of_what_was_sent() {
        pages.api.desk().counts().stranger_failed(source, "a sign-in that was refused");
    }
}

/// What a provider says of whoever went there from this browser; and whose account is to be linked, where that is what it is for.
async fn proved<'a>(
    pages: &Pages,
    (provider, source): (&Provider, IpAddr),
    held: Option<&'a Held>,
    headers: &HeaderMap,
    fields: &Fields,
) -> Result<(IdToken, Option<&'a Held>), Problem> {
    let api = &pages.api;
    let (kept, now) = (cookie(headers, BEGUN).ok_or_else(not_begun)?, api.clock().wall());
    let linking = if kept.ends_with(Purpose::Link.word()) { Some(held.ok_or_else(not_begun)?) } else { None };
    let of = Of {
        provider: provider.name().as_str(),
        purpose: if linking.is_some() { Purpose::Link } else { Purpose::SignIn },
        login: linking.map_or("", |held| &held.csrf),
        origin: pages.site.origin(),
    };
    let way = api.0.begun.find(&of, kept, fields.get("state"), now).ok_or_else(not_begun)?;
    let code = Some(fields.get("code")).filter(|code| !code.is_empty() && code.len() <= CODE_CHARS_MAX);
    let code = code.ok_or_else(not_begun)?;
    let issuer = fields.all("iss").next();
    let not_proved = |not: NotProved| not_proved(provider, &not);
    let place = provider.place(source).map_err(not_proved)?;
    // Before anybody is asked: one way takes one code there, whatever comes of it.
    if !api.0.begun.spent.spend(way.state.as_bytes(), BEGUN_LASTS.duration(), api.clock().boot()) {
        return Err(too_late());
    }
    let token = place.finish(&way.attempt(), (code, issuer), now).await.map_err(not_proved)?;
    Ok((token, linking))
}

fn not_begun() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "not-begun-here",
        "nobody is signed in: this sign-in was not begun in this browser, or took too long. Begin again",
    )
}

async fn link_to(pages: &Pages, provider: &Provider, held: &Held, token: &IdToken) -> Result<(), Problem> {
    check_own_factors(&held.login)?;
    let person = held.login.who.person();
    pages.api.on_page(&held.login, pages.api.clock().wall())?;
    may_vouch(pages, provider, person, token).await?;
    Ok(pages.api.people().link_subject((person, held.login.at), token, provider.title()).await?)
}

/// What nobody can be told who they are without.
fn no_keys(fault: &certs::vault::VaultFault) -> Problem {
    Problem::unavailable(fault.to_string())
}

/// Whether that suffices to be signed in, and what is wanted where not.
async fn judge(pages: &Pages, provider: &Provider, source: IpAddr, token: IdToken) -> Result<Arrived, Problem> {
    let (people, now) = (pages.api.people(), pages.api.clock().wall());
    let Some(person) = people.known_as(&token)? else { return nobodys(pages, provider, token).await };
    people.may_sign_in(person, pages.api.face(), now)?;
    pages.api.caller(person, now)?;
    may_vouch(pages, provider, person, &token).await?;
    let is_called_otherwise = people.is_called_otherwise(person, &token).await?;
    if token.has_several_factors() && !is_called_otherwise {
        let subject =
            VerifiedSubject::by_id_token(person, token, &pages.api.parts().secrets).map_err(|fault| no_keys(&fault))?;
        let who = Authenticated::by_subject(subject, pages.api.face(), source, now);
        return who.map(Arrived::In).map_err(|not| Problem::unauthenticated(not.to_string()));
    }
    if !people.has_codes(person).await? {
        let detail = format!(
            "{} says who you are, which is one factor here, and you have no authenticator app for the other: sign in with your passkey",
            provider.title()
        );
        return Err(Problem::unauthenticated(detail));
    }
    let page = code_page(pages, provider, &token, is_called_otherwise, String::new()).await;
    Ok(Arrived::Waits(token, Next::Code(Box::new(page))))
}

async fn nobodys(pages: &Pages, provider: &Provider, token: IdToken) -> Result<Arrived, Problem> {
    if pages.api.face() == Face::Plant {
        let detail = format!(
            "{} knows you{}, and nobody here is linked to that account. Sign in with your passkey, and link it under \u{201c}My sign-in\u{201d}",
            provider.title(),
            token.called().map(|called| format!(" as {}", words::plain(called))).unwrap_or_default()
        );
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "not-linked", detail));
    }
    let page = link_page(pages, provider, &token, String::new()).await;
    Ok(Arrived::Waits(token, Next::Link(Box::new(page))))
}

/// A no is journaled: somebody whom a provider knows was not let in by its word.
async fn may_vouch(pages: &Pages, provider: &Provider, person: PersonId, token: &IdToken) -> Result<(), Problem> {
    let known = pages.api.desk().with_state(|state| state.people.get(&person).cloned());
    let not = match known.map(|known| provider.may_vouch_for(&known, token)) {
        Some(Err(not)) => not,
        _ => return Ok(()),
    };
    pages.api.people().not_let_in(person, "provider-refused").await?;
    let detail = format!("{} does not sign you in: {not}", provider.title());
    Err(Problem::new(StatusCode::FORBIDDEN, "provider-refused", detail))
}

async fn code_page(
    pages: &Pages,
    provider: &Provider,
    token: &IdToken,
    is_called_otherwise: bool,
    wrong: String,
) -> Code {
    let name = match pages.api.people().known_as(token).ok().flatten() {
        Some(person) => pages.api.people().shown(person).await,
        None => String::new(),
    };
    Code {
        top: pages.top(None).await,
        name: words::plain(&name),
        title: provider.title().to_owned(),
        called: token.called().map(words::plain).unwrap_or_default(),
        is_called_otherwise,
        wrong,
    }
}

async fn link_page(pages: &Pages, provider: &Provider, token: &IdToken, wrong: String) -> Link {
    Link {
        top: pages.top(None).await,
        title: provider.title().to_owned(),
        called: token.called().map(words::plain).unwrap_or_default(),
        lobby: pages.api.parts().gate.ssh("NAME"),
        wrong,
    }
}

/// The second factor.
pub(super) async fn code(
    State(pages): State<Pages>,
    Source(source): Source,
    headers: HeaderMap,
    fields: Fields,
) -> Response {
    let Some((id, waiting)) = pages.api.0.begun.take(&headers, source, pages.api.clock().boot()) else {
        return no(too_late());
    };
    match evenly(give_code(&pages, source, waiting, fields.get("code").trim())).await {
        Ok(who) => {
            let entered = enter(&pages, who).await;
            (AppendHeaders([(header::SET_COOKIE, set(SAID, "", 0))]), entered).into_response()
        }
        Err(NotYet::Again(waiting, page)) => {
            pages.api.0.begun.put_back(id, *waiting);
            show(&*page)
        }
        Err(NotYet::No(problem)) => {
            count_stranger(&pages, source, &problem);
            no(problem)
        }
    }
}

/// Why a second factor did not come.
enum NotYet {
    /// The code does not count: once more.
    Again(Box<Waiting>, Box<Code>),
    No(Problem),
}

impl<P: Into<Problem>> From<P> for NotYet {
    fn from(problem: P) -> Self {
        Self::No(problem.into())
    }
}

async fn give_code(pages: &Pages, source: IpAddr, waiting: Waiting, code: &str) -> Result<Authenticated, NotYet> {
    let (api, token) = (&pages.api, &waiting.token);
    let provider = provider_of(pages, token.provider().as_str())?;
    let person = api.people().known_as(token)?.ok_or_else(not_begun)?;
    let is_called_otherwise = api.people().is_called_otherwise(person, token).await?;
    let spent = match api.people().check_code_beside(token, code, api.face()).await {
        Ok(spent) => spent,
        Err(CodeNotTaken::Code(wrong)) => {
            let page = code_page(pages, provider, token, is_called_otherwise, wrong.to_string()).await;
            return Err(NotYet::Again(Box::new(waiting), Box::new(page)));
        }
        Err(refused) => return Err(refused.into()),
    };
    let now = api.clock().wall();
    api.caller(person, now)?;
    may_vouch(pages, provider, person, token).await?;
    if is_called_otherwise {
        api.people().rename_subject(person, token).await?;
    }
    let subject =
        VerifiedSubject::by_id_token(person, waiting.token, &api.parts().secrets).map_err(|fault| no_keys(&fault))?;
    Authenticated::by_subject_and_code(subject, spent, api.face(), source, now)
        .map_err(|not| Problem::unauthenticated(not.to_string()).into())
}

/// Of a technician who works with a key: the lobby says by a code who they are here.
pub(super) async fn link_by_code(
    State(pages): State<Pages>,
    Source(source): Source,
    headers: HeaderMap,
    fields: Fields,
) -> Response {
    let Some((id, waiting)) = pages.api.0.begun.take(&headers, source, pages.api.clock().boot()) else {
        return no(too_late());
    };
    let linked = evenly(async {
        let provider = provider_of(&pages, waiting.token.provider().as_str())?;
        let code = parse(fields.get("code").trim())?;
        let person = pages.api.people().lobby_code_of(&code).await?;
        may_vouch(&pages, provider, person, &waiting.token).await?;
        pages.api.people().link_subject_by_code(&code, &waiting.token, provider.title()).await?;
        Ok(provider)
    });
    match linked.await {
        Ok(provider) => {
            let arrived = judge(&pages, provider, source, waiting.token).await;
            answer(&pages, source, arrived).await
        }
        Err(problem) => {
            count_stranger(&pages, source, &problem);
            let Ok(provider) = provider_of(&pages, waiting.token.provider().as_str()) else { return no(problem) };
            let page = link_page(&pages, provider, &waiting.token, Said::of(problem).detail).await;
            pages.api.0.begun.put_back(id, waiting);
            show(&page)
        }
    }
}

//! A page's way to the API: the same doors as from outside, opened inside the program for whoever is signed in on the page.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use certs::proof::Authenticated;
use policies::ids::PersonId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;

use super::super::Source;
use super::super::guard::OnPage;
use super::super::problem::Problem;
use super::super::staying::Hangup;
use super::super::types::{Page, ProblemBody};
use super::logins::Held;

/// Bytes of an answer: a thousand cards, each a few KiB.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// A no, as the API says it.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) status: StatusCode,
    pub(super) title: String,
    pub(super) detail: String,
    pub(super) mistakes: Vec<String>,
}

impl Said {
    pub(super) fn new(status: StatusCode, title: &str, detail: impl Into<String>) -> Self {
        Self { status, title: title.to_owned(), detail: detail.into(), mistakes: Vec::new() }
    }

    pub(super) fn of(problem: Problem) -> Self {
        let (status, body) = problem.into_parts();
        Self { status, title: body.title, detail: body.detail, mistakes: body.mistakes }
    }

    pub(super) fn not_there() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not there", "there is no such page")
    }

    /// What was typed into a form cannot be used.
    pub(super) fn mistake(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "That does not work", detail)
    }
}

pub(super) struct Inside {
    doors: Router,
    held: Held,
    source: Source,
    hangup: Hangup,
    is_reading: bool,
}

impl Inside {
    pub(super) const fn new(doors: Router, held: Held, source: Source, hangup: Hangup, is_reading: bool) -> Self {
        Self { doors, held, source, hangup, is_reading }
    }

    /// Whether a page is only looked at: nobody then believes that something was done.
    pub(super) const fn is_reading(&self) -> bool {
        self.is_reading
    }

    /// What ends this connection from beside.
    pub(super) const fn hangup(&self) -> &Hangup {
        &self.hangup
    }

    pub(super) fn person(&self) -> PersonId {
        self.held.login.who.person()
    }

    /// What they proved when they signed in.
    pub(super) fn who(&self) -> &Authenticated {
        &self.held.login.who
    }

    pub(super) fn csrf(&self) -> &str {
        &self.held.csrf
    }

    pub(super) const fn login(&self) -> &Held {
        &self.held
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Said> {
        self.ask(Method::GET, path, Body::empty()).await
    }

    /// The whole of a list.
    pub(super) async fn list<T: Page>(&self, path: &str) -> Result<T, Said> {
        let mut list: T = self.get(path).await?;
        while let Some(older) = list.older(path) {
            list.append(self.get(&older).await?);
        }
        Ok(list)
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Said> {
        let body = serde_json::to_vec(body).expect("what the API takes is JSON");
        self.ask(Method::POST, path, Body::from(body)).await
    }

    pub(super) async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Said> {
        let body = serde_json::to_vec(body).expect("what the API takes is JSON");
        self.ask(Method::PUT, path, Body::from(body)).await
    }

    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Said> {
        self.ask(Method::DELETE, path, Body::empty()).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Body) -> Result<T, Said> {
        let response = self.through(method, path, body).await;
        let status = response.status();
        if status == StatusCode::NO_CONTENT {
            return serde_json::from_str("null").map_err(|_| not_read());
        }
        if !status.is_success() {
            return Err(told(response).await);
        }
        let body = to_bytes(response.into_body(), ANSWER_BYTES_MAX).await.map_err(|_| not_read())?;
        serde_json::from_slice(&body).map_err(|fault| {
            tracing::error!(%fault, path, "an answer of the API is not what its type says");
            not_read()
        })
    }

    /// A file, as the API sends it.
    pub(super) async fn file(&self, method: Method, path: &str, body: Body) -> Result<Response, Said> {
        let response = self.through(method, path, body).await;
        if response.status().is_success() { Ok(response) } else { Err(told(response).await) }
    }

    pub(super) async fn through(&self, method: Method, path: &str, body: Body) -> Response {
        let request =
            Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json").body(body);
        let Ok(mut request) = request else { return Problem::not_found("there is no such page").into_response() };
        request.extensions_mut().insert(self.source);
        request.extensions_mut().insert(self.hangup.clone());
        request.extensions_mut().insert(OnPage(self.held.login.clone()));
        let answered = self.doors.clone().oneshot(request).await;
        answered.unwrap_or_else(|never| match never {})
    }
}

fn not_read() -> Said {
    Said::new(StatusCode::INTERNAL_SERVER_ERROR, "A fault", "the gate's own answer cannot be read")
}

/// The no that an answer is.
async fn told(response: Response) -> Said {
    let status = response.status();
    let Ok(body) = to_bytes(response.into_body(), ANSWER_BYTES_MAX).await else { return not_read() };
    match serde_json::from_slice::<ProblemBody>(&body) {
        Ok(problem) => Said { status, title: problem.title, detail: problem.detail, mistakes: problem.mistakes },
        Err(_) => not_read(),
    }
}

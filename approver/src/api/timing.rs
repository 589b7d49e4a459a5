//! Times requests of the API and of pages, by their routes. What is no route is not timed, so that strangers who look for doors leave
//! nothing; and nothing of a request but its method is looked at, its `traceparent` neither.

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use crate::spans::{Key, Span};

/// Until the answer begins: what is streamed behind that is not waited for.
pub(super) async fn timed(request: Request, next: Next) -> Response {
    let span = match request.extensions().get::<MatchedPath>() {
        Some(route) => Span::request(word(request.method()), route.as_str()),
        None => Span::default(),
    };
    let response = span.around(next.run(request)).await;
    span.set(Key::Status, response.status().as_u16());
    if response.status().is_server_error() {
        span.failed("server error");
    }
    response
}

/// A stranger may call a method as they like.
fn word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}

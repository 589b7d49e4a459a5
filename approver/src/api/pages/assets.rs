//! The one stylesheet and the one script, as parts of the program. Their names hold their digests, so a browser keeps
//! them until they change.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use policies::digest::Digest;

const STYLE: &str = include_str!("../../../assets/holdpoint.css");
const SCRIPT: &str = include_str!("../../../assets/holdpoint.js");

static STYLE_NAME: LazyLock<String> = LazyLock::new(|| named(STYLE, "css"));
static SCRIPT_NAME: LazyLock<String> = LazyLock::new(|| named(SCRIPT, "js"));

fn named(text: &str, kind: &str) -> String {
    format!("holdpoint-{}.{kind}", &Digest::of_bytes(text.as_bytes()).to_string()[..16])
}

pub(super) fn style() -> &'static str {
    &STYLE_NAME
}

pub(super) fn script() -> &'static str {
    &SCRIPT_NAME
}

pub(super) async fn serve(Path(name): Path<String>) -> Response {
    let (media, text) = match name {
        name if name == *STYLE_NAME => ("text/css; charset=utf-8", STYLE),
        name if name == *SCRIPT_NAME => ("text/javascript; charset=utf-8", SCRIPT),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let kept = "public, max-age=31536000, immutable";
    ([(header::CONTENT_TYPE, media), (header::CACHE_CONTROL, kept)], text).into_response()
}

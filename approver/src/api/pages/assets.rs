//! Stylesheets and scripts, as parts of the program: ours, and with their licences those of others that terminals and screens are shown with.
//! Their names hold their digests, so a browser keeps them until they change.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use policies::digest::Digest;

use crate::bundled;

/// One of them.
pub(super) struct Asset {
    name: LazyLock<String>,
    media: &'static str,
    bytes: &'static [u8],
}

macro_rules! asset {
    ($stem:literal, $kind:literal, $media:literal, $bytes:expr) => {
        Asset {
            name: LazyLock::new(|| named($stem, $kind, $bytes)),
            media: concat!($media, "; charset=utf-8"),
            bytes: $bytes,
        }
    };
}

pub(super) static STYLE: Asset =
    asset!("holdpoint", "css", "text/css", include_bytes!("../../../assets/holdpoint.css"));
pub(super) static SCRIPT: Asset =
    asset!("holdpoint", "js", "text/javascript", include_bytes!("../../../assets/holdpoint.js"));
pub(super) static SITTING_SCRIPT: Asset =
    asset!("sitting", "js", "text/javascript", include_bytes!("../../../assets/sitting.js"));
pub(super) static SCREEN_SCRIPT: Asset =
    asset!("screen", "js", "text/javascript", include_bytes!("../../../assets/screen.js"));
pub(super) static TERMINAL_SCRIPT: Asset =
    asset!("terminal", "js", "text/javascript", include_bytes!("../../../assets/terminal.js"));
pub(super) static FILES_SCRIPT: Asset =
    asset!("files", "js", "text/javascript", include_bytes!("../../../assets/files.js"));
pub(super) static XTERM_SCRIPT: Asset = asset!("xterm", "js", "text/javascript", bundled::XTERM_SCRIPT);
pub(super) static XTERM_STYLE: Asset = asset!("xterm", "css", "text/css", bundled::XTERM_STYLE);
pub(super) static XTERM_LICENCE: Asset = asset!("xterm-licence", "txt", "text/plain", bundled::XTERM_LICENCE);
pub(super) static FIT_SCRIPT: Asset = asset!("fit", "js", "text/javascript", bundled::FIT_SCRIPT);
pub(super) static FIT_LICENCE: Asset = asset!("fit-licence", "txt", "text/plain", bundled::FIT_LICENCE);

static ALL: [&Asset; 11] = [
    &STYLE,
    &SCRIPT,
    &SITTING_SCRIPT,
    &SCREEN_SCRIPT,
    &TERMINAL_SCRIPT,
    &FILES_SCRIPT,
    &XTERM_SCRIPT,
    &XTERM_STYLE,
    &XTERM_LICENCE,
    &FIT_SCRIPT,
    &FIT_LICENCE,
];

/// Under what noVNC's modules lie, which name each other by their places: it holds the digest of them all.
pub(super) static NOVNC: LazyLock<String> = LazyLock::new(|| {
    let all =
        bundled::NOVNC.iter().flat_map(|(name, bytes)| [Digest::of_bytes(name.as_bytes()), Digest::of_bytes(bytes)]);
    let all: String = all.map(|digest| digest.to_string()).collect();
    format!("novnc-{}", short(&all))
});

fn named(stem: &str, kind: &str, bytes: &[u8]) -> String {
    format!("{stem}-{}.{kind}", short(bytes))
}

fn short(bytes: impl AsRef<[u8]>) -> String {
    Digest::of_bytes(bytes.as_ref()).to_string()[..16].to_owned()
}

impl Asset {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

pub(super) fn style() -> &'static str {
    STYLE.name()
}

pub(super) fn script() -> &'static str {
    SCRIPT.name()
}

pub(super) async fn serve(Path(name): Path<String>) -> Response {
    let Some(asset) = ALL.iter().find(|asset| asset.name() == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    kept(asset.media, asset.bytes)
}

/// One of noVNC's.
pub(super) async fn serve_novnc(Path((tree, name)): Path<(String, String)>) -> Response {
    let found = bundled::NOVNC.iter().find(|(known, _)| tree == *NOVNC && *known == name);
    let Some((name, bytes)) = found else { return StatusCode::NOT_FOUND.into_response() };
    let is_script = std::path::Path::new(name).extension().is_some_and(|kind| kind == "js");
    kept(if is_script { "text/javascript; charset=utf-8" } else { "text/plain; charset=utf-8" }, bytes)
}

fn kept(media: &'static str, bytes: &'static [u8]) -> Response {
    let kept = "public, max-age=31536000, immutable";
    ([(header::CONTENT_TYPE, media), (header::CACHE_CONTROL, kept)], bytes).into_response()
}

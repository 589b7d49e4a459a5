//! `holdpoint play --web`: one recording as a page on the reader's own loopback. The bytes are decrypted here, where the
//! auditor's key is, and nothing leaves this machine: the page may load nothing from elsewhere, and only who knows its
//! address, which is made by chance at each start, gets anything.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use approver::api::{Limits, serve_in_the_clear};
use approver::bundled;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use recordings::disk::{Machine as _, RealMachine};
use recordings::keys::SessionKeys;
use recordings::ledger::Direction;
use recordings::notes::{Note, Size};
use recordings::pack::Copied;
use recordings::play::search;
use recordings::read::{AuditorKeys, Moment, Moments, ReadFault, Recording, Store, What};
use recordings::remarks::{self, Ran};
use recordings::timeline::{self, Done as DoneOnIt, Row, Timeline};
use recordings::verify::{Checks, Progress, Report, verify};
use recordings::window::{Shown, Window, window};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::memory::Memory;
use super::verify::trust_at;
use super::{Done, Failure};
use crate::serve;

/// One recording, opened.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) recording: Recording,
    pub(super) auditor: AuditorKeys,
    pub(super) channel: Option<u32>,
    /// The data folder that it lies in, and what the auditor trusts: all of it is checked beside.
    pub(super) data: PathBuf,
    pub(super) out_of_a_bucket: bool,
    pub(super) trust: PathBuf,
}

/// Serves the page until told to stop.
pub(super) fn run(opened: Opened, port: u16) -> Done {
    serve::harden();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)?;
    let served = runtime.block_on(until_told(opened, port));
    // A check that nobody waits for any more is let go.
    runtime.shutdown_background();
    served
}

async fn until_told(opened: Opened, port: u16) -> Done {
    let told = serve::told_to_stop().map_err(Failure::failed)?;
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(wanted).await;
    let listener = listener.map_err(|cause| Failure::failed(format_args!("{wanted}: {cause}")))?;
    let address = listener.local_addr().map_err(Failure::failed)?;
    let secret = secret();
    say!(
        "http://{address}/{secret}/\nOpen this address in a browser on this machine; nobody else can. It serves until Ctrl-C."
    );
    let guard = Guard { host: address.to_string(), secret };
    let page = Arc::new(Page { opened, keys: Mutex::new(None), check: Mutex::new(Check::Begun(None)), guard });
    let checking = Arc::clone(&page);
    let stop = CancellationToken::new();
    let serving = serve_in_the_clear(listener, router(page), LIMITS, stop.clone());
    let stopping = async {
        told.await;
        stop.cancel();
    };
    let (served, (), _) = tokio::join!(serving, stopping, stop.run_until_cancelled(check(checking)));
    served.map_err(Failure::failed)
}

/// Checks beside the page, which is told also where that breaks off.
async fn check(page: Arc<Page>) {
    let checking = Arc::clone(&page);
    if tokio::task::spawn_blocking(move || checking.verify()).await.is_err() {
        page.has_come(Check::Not(
            "the check broke off by a fault of this program: check it with `holdpoint verify`".to_owned(),
        ));
    }
}

/// One browser, whoever drags its slider.
const LIMITS: Limits = Limits {
    stalled_max: Duration::from_secs(60),
    connections: 64,
    connections_per_source: 64,
    head_wait: Duration::from_secs(10),
    burst: 400,
    requests_per_second: 100,
};

/// 128 bits of chance, in hexadecimal.
fn secret() -> String {
    let mut bytes = [0; 16];
    RealMachine.fill_random(&mut bytes);
    data_encoding::HEXLOWER.encode(&bytes)
}

struct Page {
    opened: Opened,
    /// Those of the last reader, which know the way to the blocks it read.
    keys: Mutex<Option<SessionKeys>>,
    check: Mutex<Check>,
    guard: Guard,
}

/// How far the check of the data folder has come.
#[derive(Debug, Clone)]
enum Check {
    Begun(Option<Progress>),
    Done(Value),
    /// It could not be made, and why.
    Not(String),
}

/// Who gets in: whoever was told the address, by the name it was told. A page from elsewhere knows neither, and a name of
/// its own that leads here is another host.
struct Guard {
    host: String,
    secret: String,
}

impl Guard {
    fn lets_in(&self, request: &Request) -> bool {
        let says = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let from_here = says("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
        let mut path = request.uri().path().split('/');
        let knows = path.nth(1).is_some_and(|first| same(first.as_bytes(), self.secret.as_bytes()));
        request.method() == Method::GET && says("host") == Some(&self.host) && from_here && knows
    }
}

/// Takes as long wherever they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn router(page: Arc<Page>) -> Router {
    let at = |name: &str| format!("/{}/{name}", page.guard.secret);
    let mut router = Router::new();
    for (name, kind, bytes) in FILES {
        let file = move || async move { ([(header::CONTENT_TYPE, *kind)], *bytes) };
        router = router.route(&at(name), get(file));
    }
    router
        .route(&at("about"), get(about))
        .route(&at("window"), get(show))
        .route(&at("marks"), get(marks))
        .route(&at("search"), get(find))
        .route(&at("verdict"), get(verdict))
        .layer(middleware::from_fn_with_state(Arc::clone(&page), guarded))
        .with_state(page)
}

const TEXT: &str = "text/plain; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

type File = (&'static str, &'static str, &'static [u8]);

const FILES: &[File] = &[
    ("", "text/html; charset=utf-8", include_bytes!("../../web/page.html")),
    ("page.js", SCRIPT, include_bytes!("../../web/page.js")),
    ("page.css", STYLE, include_bytes!("../../web/page.css")),
    ("player.js", SCRIPT, bundled::PLAYER_SCRIPT),
    ("player.css", STYLE, bundled::PLAYER_STYLE),
    ("player-licence.txt", TEXT, bundled::PLAYER_LICENCE),
    ("player-licence-solid.txt", TEXT, bundled::SOLID_LICENCE),
];

/// What a browser may do with the page: load what lies beside it, run the player's WebAssembly, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; \
                      font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

async fn guarded(State(page): State<Arc<Page>>, request: Request, next: Next) -> Response {
    let mut response = match page.guard.lets_in(&request) {
        true => next.run(request).await,
        false => (StatusCode::NOT_FOUND, "nothing is here\n").into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Which channel, and where; times are nanoseconds since the session was opened.
#[derive(Debug, Clone, Deserialize)]
struct Asked {
    channel: Option<u32>,
    #[serde(default)]
    from: u64,
    #[serde(default)]
    text: String,
    /// Work the screen out from all bytes before it.
    #[serde(default)]
    from_bytes: bool,
}

/// Whole nanoseconds: a page's numbers hold those of a hundred days, and no session is longer.
fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}

async fn about(State(page): State<Arc<Page>>) -> Response {
    let Opened { recording, channel, .. } = &page.opened;
    let opening: Value = serde_json::from_slice(&recording.opened.metadata).unwrap_or_default();
    let sealed = recording.sealed.as_ref();
    answer(&json!({
        "session": recording.id(),
        "target": opening["target"],
        "service": opening["service"],
        "technician": opening["technician"],
        "opened": recording.opened.wall,
        "lasted": nanos(recording.duration()),
        "ending": sealed.map(|sealed| &sealed.ending),
        "channel": channel,
    }))
}

/// What the check found, or how far it has come.
async fn verdict(State(page): State<Arc<Page>>) -> Response {
    let check = page.check.lock().unwrap_or_else(PoisonError::into_inner).clone();
    answer(&match check {
        Check::Begun(progress) => {
            json!({ "read": progress.map(|at| at.read_bytes), "total": progress.map(|at| at.total_bytes) })
        }
        Check::Done(found) => found,
        Check::Not(why) => json!({ "not": why }),
    })
}

/// A part of the replay, from some time on.
async fn show(State(page): State<Arc<Page>>, Query(asked): Query<Asked>) -> Response {
    let shown = tokio::task::spawn_blocking(move || page.window(&asked)).await;
    match shown.unwrap_or_else(|fault| Err(fault.to_string())) {
        Ok(window) => answer(&window),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
    }
}

fn answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

impl Page {
    /// As `holdpoint verify --key` does; nothing is remembered of it for the next check.
    fn verify(&self) {
        let found = self.verified(&mut |progress| self.has_come(Check::Begun(Some(progress))));
        self.has_come(found.map_or_else(Check::Not, Check::Done));
    }

    fn has_come(&self, check: Check) {
        *self.check.lock().unwrap_or_else(PoisonError::into_inner) = check;
    }

    fn verified(&self, progress: &mut dyn FnMut(Progress)) -> Result<Value, String> {
        let Opened { recording, auditor, data, out_of_a_bucket, trust, .. } = &self.opened;
        let trust = trust_at(trust).map_err(|why| format!("{why}. Say with --trust where yours is"))?;
        let memory =
            Memory::default_path().and_then(Memory::read).map_err(|why| format!("{why}: with `holdpoint verify`"))?;
        let remembered = memory.of(&trust);
        let checks = Checks {
            folder: data,
            trust: &trust,
            keys: Some(auditor),
            remembered: &remembered,
            out_of_a_bucket: *out_of_a_bucket,
        };
        Ok(found(&verify(&checks, progress), recording))
    }

    fn moments_keys(&self) -> Result<SessionKeys, String> {
        let Opened { store, recording, auditor, .. } = &self.opened;
        auditor.open(store.dir(), &recording.opened).map_err(|fault| fault.to_string())
    }

    fn moments(&self) -> Result<Moments, String> {
        Ok(self.opened.store.moments(&self.opened.recording, self.moments_keys()?))
    }

    fn window(&self, asked: &Asked) -> Result<Value, String> {
        let told = |fault: ReadFault| fault.to_string();
        let Opened { store, recording, .. } = &self.opened;
        let mut kept = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = kept.take().map_or_else(|| self.moments_keys(), Ok)?;
        let (from, channel) = (Duration::from_nanos(asked.from), asked.channel.or(self.opened.channel));
        let mut moments = match asked.from_bytes {
            true => store.moments(recording, keys),
            false => store.seek(recording, keys, from, channel).map_err(told)?,
        };
        let shown = window(&mut moments, from, channel).map_err(told)?;
        *kept = Some(moments.into_keys());
        Ok(form(&shown))
    }
}

/// As the page reads it.
fn form(window: &Window) -> Value {
    let size = |size: Size| json!([size.columns, size.rows]);
    let event = |event: &recordings::window::Event| match &event.shown {
        Shown::Drawn(text) => json!([nanos(event.at), "o", text]),
        Shown::Size(new) => json!([nanos(event.at), "r", size(*new)]),
        Shown::Typed(text) => json!([nanos(event.at), "i", text]),
        Shown::Gate(words) => json!([nanos(event.at), "g", words]),
    };
    json!({
        "from": nanos(window.from),
        "next": window.next.map(nanos),
        "keyframe": window.keyframe.map(nanos),
        "channel": window.channel,
        "size": size(window.size),
        "screen": window.screen,
        "events": window.events.iter().map(event).collect::<Vec<_>>(),
    })
}

/// What a report says of this recording and of all.
fn found(report: &Report, recording: &Recording) -> Value {
    let own = report.sessions.iter().find(|session| session.session == recording.id());
    let words = report.to_string();
    json!({
        "verdict": report.verdict(),
        "words": words.lines().last(),
        "session": own.map(|own| json!({ "verdict": own.verdict, "words": own.verdict.words() })),
        "wrong": report.failures().next().map(ToString::to_string),
        "own": report.failures().find(|finding| finding.session == Some(recording.id())).map(ToString::to_string),
        "remembrance": report.remembrance.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// Something that is worth a mark beside the replay, as a line of JSON.
#[derive(Serialize)]
struct Mark {
    at: u64,
    kind: &'static str,
    words: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<u32>,
}

/// A file of the ledger, as a line of JSON.
#[derive(Serialize)]
struct InLedger {
    at: u64,
    direction: Direction,
    file: Copied,
}

/// What happened, and in the ledger, which file it was.
#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Mark(Mark),
    File(InLedger),
}

/// What happened in the whole session beside its bytes, line by line, as it is found.
async fn marks(State(page): State<Arc<Page>>) -> Response {
    lines(move |tell| {
        let (mut is_list, mut timeline, mut last) = (None, Timeline::default(), None);
        for moment in page.moments()? {
            let moment = moment.map_err(|fault| fault.to_string())?;
            is_list = is_list.or_else(|| timeline::is_of_connections(&moment));
            let marks: Vec<Mark> = match is_list {
                Some(true) => timeline.take(&moment).iter().map(done).collect(),
                _ => mark(&moment).into_iter().collect(),
            };
            let lines: Vec<Line> = marks.into_iter().map(Line::Mark).chain(in_ledger(&moment)).collect();
            if !lines.iter().all(&mut *tell) {
                return Ok(());
            }
            last = Some(moment);
        }
        timeline.finish(last.as_ref()).iter().map(done).all(|mark| tell(&Line::Mark(mark)));
        Ok(())
    })
}

fn in_ledger(moment: &Moment) -> Option<Line> {
    let What::Note(Note::FileEntry(entry)) = &moment.what else { return None };
    let direction = entry.operation.direction();
    Some(Line::File(InLedger { at: nanos(moment.at), direction, file: Copied::of(moment.wall, entry) }))
}

/// A line of what was done on TCP connections.
fn done(row: &Row) -> Mark {
    let (kind, times) = match &row.what {
        DoneOnIt::Operation { allowed, times, .. } => (if *allowed { "passed" } else { "refused" }, *times),
        DoneOnIt::Opened { .. } | DoneOnIt::Closed { .. } | DoneOnIt::Ran { .. } => ("ran", 1),
        DoneOnIt::File { .. } => ("file", 1),
        DoneOnIt::Gate { .. } => ("gate", 1),
        DoneOnIt::Ended { .. } => ("ended", 1),
    };
    let times = if times > 1 { format!(" ({times} times)") } else { String::new() };
    Mark { at: nanos(row.after), kind, words: format!("{}{times}", row.what), channel: None }
}

fn mark(moment: &Moment) -> Option<Mark> {
    let of = |kind, words, channel| Some(Mark { at: nanos(moment.at), kind, words, channel });
    if let Some(ran) = Ran::of(moment) {
        return of("ran", format!("began {ran}"), Some(moment.channel).filter(|_| ran.is_shown()));
    }
    let words = remarks::of(moment).or_else(|| remarks::said(moment));
    match &moment.what {
        What::Note(Note::Resize { size }) => of("resized", format!("{} × {}", size.columns, size.rows), None),
        What::Note(Note::FileEntry(_)) => of("file", words?, None),
        What::Note(Note::GateVerdict { .. }) => of("refused", words?, None),
        What::Sealed(_) => of("ended", words?, None),
        _ => of("gate", words?, None),
    }
}

/// A line in which the text stood.
#[derive(Serialize)]
struct Found {
    at: u64,
    channel: u32,
    line: String,
}

async fn find(State(page): State<Arc<Page>>, Query(asked): Query<Asked>) -> Response {
    let channel = asked.channel.or(page.opened.channel);
    lines(move |tell| {
        for hit in search(page.moments()?, &asked.text, channel) {
            let hit = hit.map_err(|fault| fault.to_string())?;
            if !tell(&Found { at: nanos(hit.at), channel: hit.channel, line: hit.line }) {
                break;
            }
        }
        Ok(())
    })
}

/// Lines that may wait for the page to read them.
const LINES_WAIT_MAX: usize = 64;

/// An answer that grows line by line while it is worked out, and ends when the page goes away. A fault is a last line.
fn lines<T: Serialize>(
    work: impl FnOnce(&mut dyn FnMut(&T) -> bool) -> Result<(), String> + Send + 'static,
) -> Response {
    let (lines, told) = mpsc::channel(LINES_WAIT_MAX);
    tokio::task::spawn_blocking(move || {
        let line = |value: &Value| Bytes::from(format!("{value}\n"));
        let mut tell = |value: &T| {
            let value = serde_json::to_value(value).expect("string keys and whole numbers");
            lines.blocking_send(Ok::<_, std::convert::Infallible>(line(&value))).is_ok()
        };
        if let Err(why) = work(&mut tell) {
            drop(lines.blocking_send(Ok(line(&json!({ "fault": why })))));
        }
    });
    let stream = futures::stream::unfold(told, |mut told| async move { told.recv().await.map(|line| (line, told)) });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(stream)).into_response()
}
